//! Parameters of tracking links whose effect does not come along, and what can be done about each.
//!
//! All of them are kept with every click and can be told as `{param.NAME}`; what is lost is what their own system
//! does on seeing them. A parameter that is not here and has no canonical name is data, and data comes along.

use crate::link_dialect::LinkDialect;

use LinkDialect as D;

/// Parameters, the system that they belong to, what is lost, what to do.
type Row = (LinkDialect, &'static [&'static str], &'static str, &'static str);

const ROWS: &[Row] = &[
    (
        D::AppsFlyer,
        &["af_reengagement_window", "af_inactivity_window"],
        "re-engagement has no window of its own here",
        "count re-engagements within the link's click_window",
    ),
    (
        D::AppsFlyer,
        &["af_fp_lookback_window", "af_vt_fp_lookback_window"],
        "clicks are not matched by address and browser here",
        "leave it out of the URL",
    ),
    (
        D::AppsFlyer,
        &["af_prt"],
        "an agency is no party of its own here; the value is kept with each click",
        "tell the agency by a rule of its own, or name it as the partner",
    ),
    (
        D::AppsFlyer,
        &["deep_link_value", "deep_link_sub1", "deep_link_sub2", "deep_link_sub3", "af_sub_deep_link"],
        "it is a value for the app, not an address, and reaches the app only as a parameter of the click",
        "put the whole address into destinations.deep_link",
    ),
    (
        D::AppsFlyer,
        &["af_force_deeplink", "af_param_forwarding", "af_ios_store_cpp", "af_android_custom_url"],
        "there is no such switch here; destinations are set on the link",
        "set the link's destinations as you want them",
    ),
    (
        D::AppsFlyer,
        &["is_incentivized", "af_installpostback", "af_attr", "af_lp_src", "shortlink", "esp_name"],
        "its system's own bookkeeping; it has no effect here",
        "leave it out of the URL",
    ),
    (
        D::AppsFlyer,
        &["expires", "signature", "kid"],
        "click signatures are not checked here",
        "leave it out of the URL",
    ),
    (
        D::Adjust,
        &["redirect_macos", "redirect_windows", "redirect_windows-phone", "adj_redirect_macos"],
        "destinations are by Android, iOS and all others",
        "put the page into destinations.web, which all others get",
    ),
    (
        D::Adjust,
        &["tracker_limit", "ttl", "deferred_deeplink", "adj_deferred_deeplink"],
        "its system's own switch; it has no effect here",
        "leave it out of the URL",
    ),
    (
        D::Adjust,
        &["cost_id"],
        "costs cannot be added to a click later; the value is kept with it",
        "send cost_type, cost_amount and cost_currency with the click",
    ),
    (
        D::Branch,
        &["$deeplink_path", "$ios_deeplink_path", "$android_deeplink_path", "$canonical_identifier"],
        "it is a path inside the app, not an address, and reaches the app only as a parameter of the click",
        "put the whole address into destinations.deep_link",
    ),
    (
        D::Branch,
        &[
            "$web_only",
            "$ios_deepview",
            "$android_deepview",
            "$uri_redirect_mode",
            "$passive_deepview",
            "$one_time_use",
        ],
        "there is no such switch here; destinations are set on the link",
        "set the link's destinations as you want them",
    ),
    (
        D::Branch,
        &["~agency"],
        "an agency is no party of its own here; the value is kept with each click",
        "tell the agency by a rule of its own, or name it as the partner",
    ),
    (
        D::Singular,
        &["h"],
        "the hash by which its system checks the link is not checked here",
        "leave it out of the URL",
    ),
    (
        D::Singular,
        &["_ddl"],
        "a deep link of a first open is not handed to the app",
        "put the address into destinations.deep_link, for phones that have the app",
    ),
    (
        D::Airbridge,
        &["tracking_template_id", "routing_short_id", "og_tag_id"],
        "it names settings of its system, which are not in the URL",
        "set the link's destinations as they are set there",
    ),
    (
        D::AppMetrica,
        &["appmetrica_js_redirect"],
        "its system's own switch; it has no effect here",
        "leave it out of the URL",
    ),
    (
        D::Kochava,
        &["append_app_conv_trk_params", "att", "skad_campaign_id"],
        "its system's own switch; it has no effect here",
        "leave it out of the URL",
    ),
    (
        D::Tune,
        &["url_id", "file_id"],
        "it names a landing page or creative in its system, which the URL does not have",
        "set destinations.web to the page that it stands for",
    ),
    (
        D::Tune,
        &["url"],
        "a page that the affiliate chooses is followed only inside allow_destinations",
        "add the beginning of its pages to allow_destinations, and name the parameter `redirect`",
    ),
    (
        D::Everflow,
        &["uid", "creative_id"],
        "it names a page or creative in its system, which the URL does not have",
        "set destinations.web to the page that it stands for",
    ),
    (
        D::Everflow,
        &["__gdpr", "__ov", "_ef_transaction_id"],
        "its system's own switch; it has no effect here",
        "leave it out of the URL",
    ),
    (
        D::Scaleo,
        &["link_id"],
        "it names a landing page in its system, which the URL does not have",
        "set destinations.web to the page that it stands for",
    ),
    (
        D::Cake,
        &["p", "r", "ckmrdr"],
        "its system's own switch; it has no effect here",
        "set the link's destinations as you want them",
    ),
    (
        D::Binom,
        &["lp", "lp_key", "to_offer", "uclick"],
        "landing pages and rotations of its system are not in the URL",
        "set destinations.web to the page that it leads to",
    ),
    (
        D::Keitaro,
        &["_subid", "_token"],
        "its system's own click, which nobody here knows",
        "leave it out of the URL",
    ),
];

/// What is lost of a parameter, and what to do about it; `None` where nothing is.
pub(super) fn of(dialect: LinkDialect, name: &str) -> Option<(&'static str, &'static str)> {
    let rows = ROWS.iter().filter(|(system, ..)| *system == dialect);
    rows.into_iter().find(|(_, names, ..)| names.contains(&name)).map(|(_, _, reason, fix)| (*reason, *fix))
}
