//! Singular.
//!
//! Choices: `{CLID}` is the measurer's own click id, `{cl?Network}` the partner's. `{NETWORK=name}` is 1 for the
//! partner of that name and else 0. `{GID}` and `{SITE}` are in an old list without their meaning, and are left
//! out. `{UTC}` is unix seconds, `{UTCM}` milliseconds, `{TIME}` a text.

use super::table::{Beyond, Row, Spelling, Vocabulary, numbered};
use crate::template::syntax::Syntax;

pub(super) const SINGULAR: Vocabulary = Vocabulary {
    title: "Singular",
    note: "Mobile measurement; `{NAME}`, and `{name?Network}` for a parameter of the link.",
    is_incomplete: false,
    syntaxes: &[Syntax::Brace, Syntax::DoubleBrace],
    spelling: Spelling::AnyCase,
    words: &[WORDS, LINK, numbered!("sub" => "sub": 1 2 3 4 5 6 7 8 9 10)],
    beyond: Beyond::Shared,
    called_at: &[],
    link: &[LINK, DEVICE, numbered!("sub" => "sub": 1 2 3 4 5 6 7 8 9 10)],
};

const WORDS: &[Row] = &[
    ("APP_NAME", "app_name"),
    ("LONGNAME", "app_id"),
    ("PUBLIC_ID", "app_id"),
    ("CLID", "rt_click_id"),
    ("CID", "campaign_id"),
    ("NETWORK", "partner_name"),
    ("IS_RE_ENG", "is_retargeting"),
    ("IS_VIEWTHROUGH", "touch_type|map:impression=1,*=0"),
    ("TOUCHPOINT_IP", "click_ip"),
    ("ATTRIBUTION_IP", "ip"),
    ("EVENT_IP", "ip"),
    ("ATTRIBUTION_COUNTRY", "country"),
    ("OS_VERSION", "os_version"),
    ("APP_VERSION", "app_version"),
    ("PLATFORM", "platform"),
    ("DEVICE_MODEL", "device_model"),
    ("DEVICE_BRAND", "device_brand"),
    ("IDFA", "idfa"),
    ("IDFV", "idfv"),
    ("AIFA", "gaid"),
    ("OAID", "oaid"),
    ("ANDI", "android_id"),
    ("EVTNAME", "event_name"),
    ("EVTATTR", "event_value"),
    ("PURCHASE_PRODUCT_ID", "product_id"),
    ("PURCHASE_TRANSACTION_ID", "order_id"),
    ("RECEIPT", "receipt"),
    ("CUSTOM_USER_ID", "customer_id"),
    ("TOUCHPOINT_TIMESTAMP", "click_time"),
    ("AMOUNT", "revenue"),
    ("CURRENCY", "currency"),
    ("UTC", "event_time"),
    ("UTCM", "event_time_ms"),
    ("TIME", "event_time|date:%Y-%m-%d %H:%M:%S"),
    ("CLICK_UTC", "click_time"),
    ("CLICK_TIME", "click_time|date:%Y-%m-%d %H:%M:%S"),
    ("INSTALL_UTC", "install_time"),
    ("INSTALL_TIME", "install_time|date:%Y-%m-%d %H:%M:%S"),
    ("INSTALLER_SOURCE", "store"),
    ("USER_AGENT", "ua"),
];

/// Words of the link, which are echoed as well.
const LINK: &[Row] = &[
    ("cl", "partner_click_id"),
    ("pcid", "campaign_id"),
    ("pcn", "campaign"),
    ("pscid", "ad_group_id"),
    ("pscn", "ad_group"),
    ("pcrid", "creative_id"),
    ("pcrn", "ad"),
    ("psid", "site_id"),
    ("psn", "site_name"),
    ("pssid", "sub_site_id"),
    ("pshid", "param.pshid"),
];

const DEVICE: &[Row] = &[
    ("idfa", "idfa"),
    ("ifa1", "idfa_sha1"),
    ("ifa5", "idfa_md5"),
    ("idfv", "idfv"),
    ("aifa", "gaid"),
    ("aif1", "gaid_sha1"),
    ("aif5", "gaid_md5"),
    ("andi", "android_id"),
    ("oaid", "oaid"),
    ("ip", "click_ip"),
    ("ua", "click_ua"),
    ("lc", "lang"),
    ("p", "platform"),
    ("ve", "os_version"),
];
