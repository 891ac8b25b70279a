//! AppMetrica: its complete list, and every link parameter by its own name.
//!
//! Choices: `{transaction_id}` stands among the touch's words and is the measurer's own click id. `*_ipv6` is the
//! address as it is; an IPv4 address is not written as IPv6. `{price}` and `{ecom_revenue}` are the same amount
//! here.

use super::table::{Beyond, Row, Spelling, Vocabulary};
use crate::template::syntax::Syntax;

pub(super) const APPMETRICA: Vocabulary = Vocabulary {
    title: "AppMetrica",
    note: "Mobile measurement; `{name}`, and every parameter of the tracking link by its own name.",
    is_incomplete: false,
    syntaxes: &[Syntax::Brace],
    spelling: Spelling::Exact,
    words: &[TOUCH, CONVERSION, DEVICE, MONEY],
    beyond: Beyond::Parameter,
    called_at: &[],
    link: &[LINK],
};

const TOUCH: &[Row] = &[
    ("adwords_link_id", "cfg.adwords_link_id"),
    ("click_id", "partner_click_id"),
    ("match_type", "match_type|map:install_referrer=referrer,click_id=referrer,device_id=identifier"),
    ("attributed_touch_type", "touch_type"),
    ("transaction_id", "rt_click_id"),
    ("click_user_agent", "click_ua"),
    ("click_datetime", "click_time_iso"),
    ("click_timestamp", "click_time"),
    ("click_timezone", "timezone"),
    ("click_ipv6", "click_ip"),
];

const CONVERSION: &[Row] = &[
    ("conversion_datetime", "event_time_iso"),
    ("conversion_timestamp", "event_time"),
    ("conversion_timezone", "timezone"),
    ("conversion_event_name", "event_name"),
    ("conversion_event_json", "event_value"),
    ("install_datetime", "install_time_iso"),
    ("install_timestamp", "install_time"),
    ("install_timezone", "timezone"),
    ("install_ipv6", "ip"),
    ("start_datetime", "session_time|date:%Y-%m-%dT%H:%M:%SZ"),
    ("start_timestamp", "session_time"),
    ("start_timezone", "timezone"),
    ("session_id", "session_id"),
];

const DEVICE: &[Row] = &[
    ("adwords_rdid", "advertising_id"),
    ("appmetrica_device_id", "install_id"),
    ("profile_id", "customer_id"),
    ("limit_ad_tracking", "lat"),
    ("google_aid", "gaid"),
    ("ios_ifa", "idfa"),
    ("ios_ifv", "idfv"),
    ("oaid", "oaid"),
    ("windows_aid", "windows_aid"),
    ("device_manufacturer", "device_brand"),
    ("device_model", "device_model"),
    ("device_type", "device_type"),
    ("device_locale", "lang"),
    ("os_name", "platform"),
    ("os_version", "os_version"),
    ("operator_name", "carrier"),
    ("mcc", "mcc"),
    ("mnc", "mnc"),
    ("app_version_name", "app_version"),
    ("app_package_name", "app_id"),
    ("appmetrica_sdk_version", "sdk_version"),
    ("store_app_id", "app_id"),
];

const MONEY: &[Row] = &[
    ("price", "revenue"),
    ("currency", "currency"),
    ("product_id", "product_id"),
    ("order_id", "order_id"),
    ("inapp_transaction_id", "order_id"),
    ("inapp_validated", "is_verified"),
    ("inapp_receipt", "receipt"),
    ("ecom_revenue", "revenue"),
    ("ecom_quantity", "quantity"),
    ("ecom_product_name", "product_name"),
    ("ecom_promocodes", "coupon"),
    ("ecom_type", "shop_step"),
    ("ecom_category_path_1", "product_category"),
    ("ecom_category_path_2", "product_category"),
    ("ecom_category_path_3", "product_category"),
    ("ecom_category_path_4", "product_category"),
    ("ecom_category_path_5", "product_category"),
    ("ecom_category_path_6", "product_category"),
    ("ecom_category_path_7", "product_category"),
    ("ecom_category_path_8", "product_category"),
    ("ecom_category_path_9", "product_category"),
    ("ecom_category_path_10", "product_category"),
];

const LINK: &[Row] = &[
    ("click_id", "partner_click_id"),
    ("external_click_id", "partner_click_id"),
    ("google_aid", "gaid"),
    ("google_aid_sha1", "gaid_sha1"),
    ("google_aid_md5", "gaid_md5"),
    ("ios_ifa", "idfa"),
    ("ios_ifa_sha1", "idfa_sha1"),
    ("ios_ifa_md5", "idfa_md5"),
    ("oaid", "oaid"),
    ("windows_aid", "windows_aid"),
    ("device_ip", "click_ip"),
    ("device_ua", "click_ua"),
    ("click_timestamp", "click_time"),
    ("afpub_id", "site_id"),
    ("site_id", "site_id"),
    ("creative_id", "creative_id"),
];
