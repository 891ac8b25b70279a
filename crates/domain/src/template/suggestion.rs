//! What a wrong name was likely meant to be: another case, another system's word, or a slip of the hand.
//!
//! Used for messages only. A suggestion is never applied by itself.

use super::vocabulary::VOCABULARY;

/// Words of other systems for the macros that people most often bring along. Compared in lower case with
/// `-` read as `_`. Not a dialect: the same word can mean something else in a system that is not named here.
const FOREIGN: &[(&str, &str)] = &[
    ("af_click_id", "click_id"),
    ("aff_click_id", "click_id"),
    ("external_click_id", "click_id"),
    ("publisher_ref_id", "click_id"),
    ("subid", "click_id"),
    ("cl", "click_id"),
    ("cid", "click_id"),
    ("tid", "transaction_id"),
    ("conversion_id", "transaction_id"),
    ("event", "event_name"),
    ("event_token", "event_name"),
    ("evtname", "event_name"),
    ("goal", "event_name"),
    ("mapped_iae", "mapped_event_name"),
    ("created_at", "event_time"),
    ("conversion_timestamp", "event_time"),
    ("event_timestamp", "event_time"),
    ("installed_at", "install_time"),
    ("install_ts", "install_time"),
    ("install_unix_ts", "install_time"),
    ("install_timestamp", "install_time"),
    ("click_ts", "click_time"),
    ("click_timestamp", "click_time"),
    ("gp_referer_click_ts", "gp_click_time"),
    ("gp_referer_install_ts", "gp_install_begin_time"),
    ("amount", "revenue"),
    ("monetary", "revenue_usd"),
    ("orig_monetary", "revenue"),
    ("price", "revenue"),
    ("sum", "revenue"),
    ("revenue_float", "revenue"),
    ("revenue_in_usd", "revenue_usd"),
    ("currency_code", "currency"),
    ("goal_value", "revenue"),
    ("advertiserid", "gaid"),
    ("advertiser_id", "gaid"),
    ("aaid", "gaid"),
    ("aifa", "gaid"),
    ("google_aid", "gaid"),
    ("gps_adid", "gaid"),
    ("ifa", "device_id"),
    ("ios_ifa", "idfa"),
    ("ios_device_id", "idfa"),
    ("ios_ifv", "idfv"),
    ("vendorid", "idfv"),
    ("android_device_id", "android_id"),
    ("sha1_idfa", "idfa_sha1"),
    ("md5_idfa", "idfa_md5"),
    ("sha1_advertiserid", "gaid_sha1"),
    ("sha1_advertising_id", "gaid_sha1"),
    ("md5_advertising_id", "gaid_md5"),
    ("ip_address", "ip"),
    ("device_ip", "ip"),
    ("attribution_ip", "ip"),
    ("country_code", "country"),
    ("geo", "country"),
    ("language", "lang"),
    ("useragent", "ua"),
    ("device_ua", "ua"),
    ("os", "platform"),
    ("os_name", "platform"),
    ("device_name", "device_model"),
    ("device_manufacturer", "device_brand"),
    ("bundle_id", "app_id"),
    ("app_version_name", "app_version"),
    ("c", "campaign"),
    ("campaign_name", "campaign"),
    ("network_name", "campaign"),
    ("af_c_id", "campaign_id"),
    ("adgroup", "ad_group"),
    ("adgroup_name", "ad_group"),
    ("af_adset", "ad_group"),
    ("af_adset_id", "ad_group_id"),
    ("af_ad", "ad"),
    ("creative_name", "ad"),
    ("af_ad_id", "ad_id"),
    ("af_keywords", "keyword"),
    ("af_siteid", "site_id"),
    ("publisher_id", "pub_id"),
    ("affiliate_id", "aff_id"),
    ("af_sub_siteid", "sub_site_id"),
    ("aff_sub", "sub1"),
    ("label", "sub1"),
    ("attributed_touch_type", "touch_type"),
    ("blocked_reason", "reject_reason"),
    ("rejection_reason", "reject_reason"),
];

/// Prefixes before a number that mean a sub parameter elsewhere.
const SUB_PREFIXES: &[&str] =
    &["af_sub", "aff_sub", "publisher_sub", "sub_id_", "sub_id", "subid", "sub_", "s", "p"];

/// The vocabulary's name that a wrong one likely meant.
pub(super) fn macro_name(wrong: &str) -> Option<&'static str> {
    if wrong.is_empty() || wrong.len() > 64 {
        return None;
    }
    let plain = wrong
        .trim_start_matches(['_', '$', '@', '~'])
        .trim_end_matches('_')
        .to_ascii_lowercase()
        .replace('-', "_");
    let exact = |name: &str| VOCABULARY.iter().find(|m| m.name == name).map(|m| m.name);
    if let Some(name) = exact(&plain) {
        return Some(name);
    }
    if let Some((_, name)) = FOREIGN.iter().find(|(word, _)| *word == plain) {
        return Some(name);
    }
    for prefix in SUB_PREFIXES {
        if let Some(digits) = plain.strip_prefix(prefix)
            && !digits.is_empty()
            && digits.len() <= 2
            && let Some(name) = exact(&format!("sub{digits}"))
        {
            return Some(name);
        }
    }
    let squashed = |text: &str| text.replace(['_', '.'], "");
    let bare = squashed(&plain);
    if let Some(m) = VOCABULARY.iter().find(|m| squashed(m.name) == bare) {
        return Some(m.name);
    }
    nearest(&plain, VOCABULARY.iter().map(|m| m.name))
}

/// The nearest of some words, if it is near enough to be a slip: one edit per three letters, two at most.
pub(super) fn nearest<'a>(wrong: &str, words: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    let bound = (wrong.len() / 3).min(2);
    words
        .map(|word| (distance(wrong.as_bytes(), word.as_bytes()), word))
        .filter(|(distance, _)| (1..=bound).contains(distance))
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, word)| word)
}

/// Edit distance where two letters that changed places count once.
fn distance(a: &[u8], b: &[u8]) -> usize {
    if a.len().abs_diff(b.len()) > 2 {
        return usize::MAX;
    }
    let mut before: Vec<usize> = Vec::new();
    let mut above: Vec<usize> = (0..=b.len()).collect();
    for i in 1..=a.len() {
        let mut row = vec![i; b.len() + 1];
        for j in 1..=b.len() {
            let same = usize::from(a[i - 1] != b[j - 1]);
            row[j] = (above[j] + 1).min(row[j - 1] + 1).min(above[j - 1] + same);
            if i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] {
                row[j] = row[j].min(before[j - 2] + 1);
            }
        }
        before = std::mem::replace(&mut above, row);
    }
    above[b.len()]
}
