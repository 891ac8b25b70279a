//! Branch: paths in its tree of an event. Times are unix milliseconds.
//!
//! Choices: `customer_event_alias` is what the rule renames the event to. A touch's fields that are not listed are
//! the link's parameters of those names, which is what Branch keeps there. `custom_data` and `content_items` hold
//! what the owner's app sent in Branch's own form and have no match here. Branch fills the counts in hours and
//! minutes only up to 24 and 60; here they are filled always.

use super::table::{Beyond, Row, Spelling, Vocabulary};
use crate::template::syntax::Syntax;

pub(super) const BRANCH: Vocabulary = Vocabulary {
    title: "Branch",
    note: "Deep links and mobile measurement; FreeMarker, which is read for import.",
    is_incomplete: false,
    syntaxes: &[Syntax::FreeMarker],
    spelling: Spelling::Exact,
    words: &[WORDS, TOUCH, USER, EVENT],
    beyond: Beyond::Nothing,
    called_at: &[],
    link: &[LINK],
};

/// The trees that hold a touch's data, with the parameters of its link.
const TOUCHES: &[&str] = &["last_attributed_touch_data.", "last_cta_view_data."];

/// The name of the link parameter that a touch's field is, if it is one.
pub(super) fn touch_parameter(path: &str) -> Option<&str> {
    let name = TOUCHES.iter().find_map(|tree| path.strip_prefix(tree))?;
    let plain = !name.is_empty() && name.bytes().all(|b| b.is_ascii_alphanumeric() || b"_-~$".contains(&b));
    plain.then_some(name)
}

const WORDS: &[Row] = &[
    ("name", "event_name"),
    ("customer_event_alias", "mapped_event_name"),
    ("id", "event_id"),
    ("event_timestamp", "event_time_ms"),
    ("timestamp", "event_time_ms"),
    ("organization_id", "cfg.organization_id"),
    ("organization_name", "cfg.organization_name"),
    ("origin", "cfg.origin"),
    ("attributed", "is_attributed"),
    ("first_event_for_user", "is_first_event"),
    ("days_from_last_attributed_touch_to_event", "touch_age_days"),
    ("hours_from_last_attributed_touch_to_event", "touch_age_hours"),
    ("minutes_from_last_attributed_touch_to_event", "touch_age_minutes"),
    ("seconds_from_last_attributed_touch_to_event", "touch_age"),
    ("last_attributed_touch_type", "touch_type"),
    ("last_attributed_touch_timestamp", "click_time_ms"),
    ("install_activity.timestamp", "install_time_ms"),
];

const TOUCH: &[Row] = &[
    ("last_attributed_touch_data.~click_id", "partner_click_id"),
    ("last_attributed_touch_data.$3p", "partner"),
    ("last_attributed_touch_data.~advertising_partner_name", "partner_name"),
    ("last_attributed_touch_data.~campaign", "campaign"),
    ("last_attributed_touch_data.~campaign_id", "campaign_id"),
    ("last_attributed_touch_data.~channel", "channel"),
    ("last_attributed_touch_data.~ad_set_name", "ad_group"),
    ("last_attributed_touch_data.~ad_set_id", "ad_group_id"),
    ("last_attributed_touch_data.~ad_name", "ad"),
    ("last_attributed_touch_data.~ad_id", "ad_id"),
    ("last_attributed_touch_data.~creative_name", "ad"),
    ("last_attributed_touch_data.~creative_id", "creative_id"),
    ("last_attributed_touch_data.~keyword", "keyword"),
    ("last_attributed_touch_data.~placement", "placement"),
    ("last_attributed_touch_data.~secondary_publisher", "site_id"),
    ("last_attributed_touch_data.~sub_site_name", "sub_site_id"),
    ("last_attributed_touch_data.~cost_model", "cost_model"),
    ("last_attributed_touch_data.~cost_value", "cost_value"),
    ("last_attributed_touch_data.~cost_currency", "cost_currency"),
    ("last_attributed_touch_data.~id", "link_id"),
];

const USER: &[Row] = &[
    ("user_data.idfa", "idfa"),
    ("user_data.idfv", "idfv"),
    ("user_data.aaid", "gaid"),
    ("user_data.oaid", "oaid"),
    ("user_data.android_id", "android_id"),
    ("user_data.ip", "ip"),
    ("user_data.user_agent", "ua"),
    ("user_data.os", "platform|upper"),
    ("user_data.os_version", "os_version"),
    ("user_data.platform", "platform"),
    ("user_data.model", "device_model"),
    ("user_data.brand", "device_brand"),
    ("user_data.carrier_name", "carrier"),
    ("user_data.country", "country"),
    ("user_data.geo_country_code", "country"),
    ("user_data.geo_region_en", "region"),
    ("user_data.geo_city_en", "city"),
    ("user_data.language", "lang"),
    ("user_data.limit_ad_tracking", "lat"),
    ("user_data.opted_in_status", "att_status"),
    ("user_data.developer_identity", "customer_id"),
    ("user_data.app_version", "app_version"),
    ("user_data.sdk_version", "sdk_version"),
    ("user_data.app_store", "store"),
    ("user_data.environment", "environment"),
    ("user_data.browser", "browser"),
    ("user_data.http_referrer", "referrer"),
];

const EVENT: &[Row] = &[
    ("event_data.revenue", "revenue"),
    ("event_data.revenue_in_usd", "revenue_usd"),
    ("event_data.currency", "currency"),
    ("event_data.transaction_id", "order_id"),
    ("event_data.coupon", "coupon"),
];

const LINK: &[Row] = &[
    ("$3p", "partner"),
    ("~click_id", "partner_click_id"),
    ("~secondary_publisher", "site_id"),
    ("~campaign", "campaign"),
    ("~campaign_id", "campaign_id"),
    ("~channel", "channel"),
    ("~ad_set_name", "ad_group"),
    ("~ad_set_id", "ad_group_id"),
    ("~ad_name", "ad"),
    ("~ad_id", "ad_id"),
    ("~creative_name", "ad"),
    ("~creative_id", "creative_id"),
    ("~keyword", "keyword"),
    ("~placement", "placement"),
    ("~cost_model", "cost_model"),
    ("~cost_value", "cost_value"),
    ("~cost_currency", "cost_currency"),
    ("$aaid", "gaid"),
    ("$idfa", "idfa"),
    ("$android_id", "android_id"),
    ("device_ip", "click_ip"),
    ("user_agent", "click_ua"),
];
