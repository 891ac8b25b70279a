//! Airbridge: paths in its tree of an event, as far as templates in the open show them.
//!
//! Choices: `eventTimestamp` and its kin are unix milliseconds, `…Datetime` RFC 3339. `{@trackingLink.x}` is the
//! link's parameter `x`. Flags are `true` and `false`.

use super::table::{Beyond, Row, Spelling, Vocabulary, numbered};
use crate::template::syntax::Syntax;

pub(super) const AIRBRIDGE: Vocabulary = Vocabulary {
    title: "Airbridge",
    note: "Mobile measurement; `{a.b.c}` and `{@a.b}`. Its own list of paths was not found.",
    is_incomplete: true,
    syntaxes: &[Syntax::Brace],
    spelling: Spelling::Exact,
    words: &[RESULT, DEVICE, EVENT],
    beyond: Beyond::Shared,
    called_at: &[],
    link: &[LINK, numbered!("sub_id_" => "sub": 1 2 3)],
};

/// The link parameter behind `@trackingLink.`.
pub(super) fn link_parameter(path: &str) -> Option<&str> {
    let name = path.strip_prefix("@trackingLink.")?;
    let plain = !name.is_empty() && name.bytes().all(|b| b.is_ascii_alphanumeric() || b"_-".contains(&b));
    plain.then_some(name)
}

const RESULT: &[Row] = &[
    ("attributionResult.attributedClickID", "partner_click_id"),
    ("attributionResult.attributedChannel", "partner_name"),
    ("attributionResult.attributedCampaign", "campaign"),
    ("attributionResult.attributedAdGroup", "ad_group"),
    ("attributionResult.attributedAdCreative", "ad"),
    ("attributionResult.attributedContent", "param.content"),
    ("attributionResult.attributedTerm", "keyword"),
    ("attributionResult.attributedSubPublisher", "site_id"),
    ("attributionResult.attributedSubSubPublisher1", "sub1"),
    ("attributionResult.attributedSubSubPublisher2", "sub2"),
    ("attributionResult.attributedSubSubPublisher3", "sub3"),
    ("attributionResult.attributedDatetime", "click_time_iso"),
    ("attributionResult.attributedTimestamp", "click_time_ms"),
    ("attributionResult.attributedActionType", "touch_type"),
    ("attributionResult.attributedMatchingType", "match_type"),
    ("attributionResult.attributedTargetEventName", "event_name"),
];

const DEVICE: &[Row] = &[
    ("device.deviceUUID", "install_id"),
    ("device.gaid", "gaid"),
    ("device.ifa", "idfa"),
    ("device.ifv", "idfv"),
    ("device.oaid", "oaid"),
    ("device.limitAdTracking", "lat|map:1=true,0=false"),
    ("device.deviceModel", "device_model"),
    ("device.manufacturer", "device_brand"),
    ("device.deviceType", "device_type"),
    ("device.osName", "platform"),
    ("device.osVersion", "os_version"),
    ("device.locale", "lang"),
    ("device.language", "lang"),
    ("device.country", "country"),
    ("device.city", "city"),
    ("device.timezone", "timezone"),
    ("device.clientIP", "ip"),
    ("device.userAgent", "ua"),
    ("device.network.carrier", "carrier"),
    ("app.packageName", "app_id"),
    ("app.iTunesAppID", "app_id"),
    ("app.version", "app_version"),
    ("app.appName", "app_name"),
    ("sdkVersion", "sdk_version"),
];

const EVENT: &[Row] = &[
    ("@postback.eventName", "mapped_event_name"),
    ("@postback.jsonData", "event_value"),
    ("eventUUID", "event_id"),
    ("eventDatetime", "event_time_iso"),
    ("eventTimestamp", "event_time_ms"),
    ("eventData.systemInstallTimestamp", "install_time_ms"),
    ("eventData.isFirstPerDevice", "is_first_event|map:1=true,0=false"),
    ("eventData.deeplink", "param.deep_link"),
    ("eventData.googleReferrer", "install_referrer"),
    ("eventData.category", "event_name"),
    ("eventData.goal.category", "event_name"),
    ("eventData.goal.value", "revenue"),
    ("eventData.label", "product_id"),
    ("eventData.value", "revenue"),
    ("eventData.goal.semanticAttributes.inAppPurchased", "is_verified|map:1=true,0=false"),
    ("eventData.goal.semanticAttributes.transactionID", "order_id"),
    ("eventData.goal.semanticAttributes.currency", "currency"),
    ("eventData.goal.semanticAttributes.quantity", "quantity"),
];

const LINK: &[Row] = &[
    ("click_id", "partner_click_id"),
    ("campaign", "campaign"),
    ("campaign_id", "campaign_id"),
    ("ad_group", "ad_group"),
    ("ad_group_id", "ad_group_id"),
    ("ad_creative", "ad"),
    ("ad_creative_id", "creative_id"),
    ("term", "keyword"),
    ("sub_id", "site_id"),
    ("source", "site_id"),
    ("gaid_raw", "gaid"),
    ("ifa_raw", "idfa"),
    ("ip", "click_ip"),
    ("user_agent", "click_ua"),
    ("language", "lang"),
];
