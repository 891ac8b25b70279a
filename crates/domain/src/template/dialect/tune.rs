//! TUNE, formerly HasOffers: its affiliate platform and its attribution words. All times are UTC.
//!
//! Choices: `{transaction_id}` is the network's own click id, `{aff_click_id}` and `{publisher_ref_id}` the
//! partner's. `{adv_sub}` is where advertisers put the order. `{aff_sub}` is a sub parameter; where a link
//! carries the click id in it, the parameter it is sent to says so (see the words that many systems share).

use super::table::{Beyond, Row, Spelling, Vocabulary, filtered, numbered};
use crate::template::syntax::Syntax;
use std::borrow::Cow;

pub(super) const TUNE: Vocabulary = Vocabulary {
    title: "TUNE (HasOffers)",
    note: "Affiliate networks and attribution; `_lower`, `_md5`, `_sha1`, `_sha256`, `_alphanumeric` behind a word \
           filter it, `_milliseconds`, `_date`, `_datetime` write a time.",
    is_incomplete: false,
    syntaxes: &[Syntax::Brace],
    spelling: Spelling::Exact,
    words: &[
        WORDS,
        ATTRIBUTION,
        numbered!("aff_sub" => "sub": 2 3 4 5),
        numbered!("publisher_sub" => "sub": 1 2 3 4 5),
        numbered!("aff_unique" => "param.aff_unique": 1 2 3 4 5),
        numbered!("adv_sub" => "adv": 2 3 4 5),
    ],
    beyond: Beyond::Shared,
    called_at: &[("transaction_id", "transaction_id")],
    link: &[LINK, numbered!("aff_sub" => "sub": 2 3 4 5)],
};

const ENDINGS: &[Row] = &[
    ("_lower", "lower"),
    ("_upper", "upper"),
    ("_md5", "md5"),
    ("_sha1", "sha1"),
    ("_sha256", "sha256"),
    ("_alphanumeric", "alphanumeric"),
];

/// Endings before which an ending may stand, as in `{google_aid_lower_md5}`; more is no word of TUNE.
const ENDINGS_MAX: usize = 3;

/// A word with endings: filters, or the form of a time.
pub(super) fn special(word: &str) -> Option<Cow<'static, str>> {
    ended(word, ENDINGS_MAX)
}

fn ended(word: &str, depth: usize) -> Option<Cow<'static, str>> {
    if let Some(expression) = TUNE.find(word) {
        return Some(expression.into());
    }
    for (ending, form) in [("_milliseconds", ""), ("_datetime", "%Y-%m-%d %H:%M:%S"), ("_date", "%Y-%m-%d")] {
        let Some(time) = word.strip_suffix(ending).and_then(|stem| TUNE.find(stem)) else { continue };
        if !time.ends_with("_time") {
            continue;
        }
        return Some(match form {
            "" => format!("{time}_ms").into(),
            form => format!("{time}|date:{form}").into(),
        });
    }
    let depth = depth.checked_sub(1)?;
    let (stem, filter) =
        ENDINGS.iter().find_map(|(ending, filter)| Some((word.strip_suffix(ending)?, *filter)))?;
    Some(filtered(&ended(stem, depth)?, filter))
}

const WORDS: &[Row] = &[
    ("aff_click_id", "partner_click_id"),
    ("transaction_id", "rt_click_id"),
    ("aff_sub", "sub1"),
    ("source", "site_id"),
    ("affiliate_id", "aff_id"),
    ("affiliate_name", "partner_name"),
    ("affiliate_ref", "aff_id"),
    ("advertiser_id", "advertiser_id"),
    ("advertiser_ref", "param.advertiser_ref"),
    ("offer_id", "offer_id"),
    ("offer_name", "offer_name"),
    ("offer_ref", "param.offer_ref"),
    ("offer_file_id", "creative_id"),
    ("offer_url_id", "param.offer_url_id"),
    ("goal_id", "mapped_event_name"),
    ("goal_name", "event_name"),
    ("goal_ref", "goal"),
    ("payout", "payout"),
    ("sale_amount", "revenue"),
    ("amount", "revenue"),
    ("currency", "payout_currency||currency"),
    ("status", "status"),
    ("adv_sub", "order_id||adv1"),
    ("promo_code", "coupon"),
    ("ip", "ip"),
    ("country_code", "country"),
    ("region_code", "region"),
    ("city", "city"),
    ("user_agent", "ua"),
    ("referer", "referrer"),
    ("device_brand", "device_brand"),
    ("device_model", "device_model"),
    ("device_os", "platform"),
    ("device_os_version", "os_version"),
    ("device_id", "device_id"),
    ("mobile_carrier", "carrier"),
    ("mobile_ip", "ip"),
    ("google_aid", "gaid"),
    ("ios_ifa", "idfa"),
    ("ios_ifv", "idfv"),
    ("android_id", "android_id"),
    ("windows_aid", "windows_aid"),
    ("unid", "device_id"),
    ("user_id", "customer_id"),
    ("date", "event_time|date:%Y-%m-%d"),
    ("time", "event_time|date:%H:%M:%S"),
    ("datetime", "event_time|date:%Y-%m-%d %H:%M:%S"),
    ("ran", "event_id|md5|truncate:16"),
];

const ATTRIBUTION: &[Row] = &[
    ("my_campaign", "campaign"),
    ("my_adgroup", "ad_group"),
    ("my_ad", "ad"),
    ("my_keyword", "keyword"),
    ("my_placement", "placement"),
    ("my_site", "site_id"),
    ("my_publisher", "pub_id"),
    ("my_partner", "partner_name"),
    ("publisher_ref_id", "partner_click_id"),
    ("publisher_id", "pub_id"),
    ("publisher_name", "partner_name"),
    ("sub_publisher_id", "site_id"),
    ("campaign_id", "campaign_id"),
    ("campaign_name", "campaign"),
    ("event_name", "event_name"),
    ("event_value", "event_value"),
    ("conversion_timestamp", "event_time"),
    ("event_timestamp", "event_time"),
    ("click_timestamp", "click_time"),
    ("impression_timestamp", "impression_time"),
    ("install_timestamp", "install_time"),
    ("device_ip", "ip"),
    ("os_version", "os_version"),
    ("language", "lang"),
    ("package_name", "app_id"),
    ("app_name", "app_name"),
    ("app_version", "app_version"),
    ("sdk_version", "sdk_version"),
    ("revenue", "revenue"),
    ("revenue_in_usd", "revenue_usd"),
    ("currency_code", "currency"),
    ("order_id", "order_id"),
    ("is_attributed", "is_attributed"),
    ("is_view_through", "touch_type|map:impression=1,*=0"),
    ("is_reengagement", "is_retargeting"),
    ("is_first_event", "is_first_event"),
    ("is_first_purchase", "is_first_event"),
];

const LINK: &[Row] = &[
    ("aff_click_id", "partner_click_id"),
    ("publisher_ref_id", "partner_click_id"),
    ("aff_id", "aff_id"),
    ("offer_id", "offer_id"),
    ("source", "site_id"),
    ("aff_sub", "sub1"),
    ("google_aid", "gaid"),
    ("ios_ifa", "idfa"),
    ("ios_ifv", "idfv"),
    ("android_id", "android_id"),
];
