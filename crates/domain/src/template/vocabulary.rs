//! Every macro name there is, once: what it means, an example, and who may see it.
//!
//! A name that is listed but that this version never fills is [`Availability::Later`]: it expands to
//! nothing rather than to its own text, so a template written for it works on the day it is filled.
//! This table is not a promise that a value exists for each conversion; that is the event's affair.

use super::Scope;

/// When the value of a macro is known.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Availability {
    /// From the click on: in destinations and in postbacks.
    Click,
    /// From the conversion on: in postbacks only.
    Event,
    /// Only while a request is sent, fresh for each attempt.
    Sending,
    /// Known by name, never filled by this version.
    Later,
}

/// One macro of the vocabulary.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Macro {
    /// The name between the braces.
    pub name: &'static str,
    /// What it stands for, in one line.
    pub meaning: &'static str,
    /// A value it could have.
    pub example: &'static str,
    /// Emptied when a rule does not share revenue.
    pub money: bool,
    /// Emptied when a rule tells a partner that did not win the conversion.
    pub winner_only: bool,
    /// When its value is known.
    pub availability: Availability,
}

impl Macro {
    const fn click(name: &'static str, meaning: &'static str, example: &'static str) -> Self {
        Self { name, meaning, example, money: false, winner_only: false, availability: Availability::Click }
    }

    const fn event(name: &'static str, meaning: &'static str, example: &'static str) -> Self {
        Self { name, meaning, example, money: false, winner_only: false, availability: Availability::Event }
    }

    const fn sending(name: &'static str, meaning: &'static str, example: &'static str) -> Self {
        Self { name, meaning, example, money: false, winner_only: false, availability: Availability::Sending }
    }

    const fn later(self) -> Self {
        Self { availability: Availability::Later, ..self }
    }

    const fn money(self) -> Self {
        Self { money: true, ..self }
    }

    const fn winner(self) -> Self {
        Self { winner_only: true, ..self }
    }

    /// Whether the value is a point in time, which the `date` filter can format.
    pub fn is_time(&self) -> bool {
        let stem = self.name.trim_end_matches("_ms").trim_end_matches("_iso");
        stem.ends_with("_time") || stem.ends_with("_hour") || stem == "timestamp"
    }
}

const fn m(name: &'static str, meaning: &'static str, example: &'static str) -> Macro {
    Macro::event(name, meaning, example)
}

const fn c(name: &'static str, meaning: &'static str, example: &'static str) -> Macro {
    Macro::click(name, meaning, example)
}

/// All canonical macros, in the order the documentation lists them. Times named `*_time` are unix
/// seconds, `*_ms` unix milliseconds, `*_iso` RFC 3339 in UTC.
pub const VOCABULARY: &[Macro] = &[
    // Ids.
    c("click_id", "the partner's click id in a postback, Roundtrip's in a destination", "a1b2c3").winner(),
    c("partner_click_id", "the click id the partner put on the tracking link", "a1b2c3").winner(),
    c("rt_click_id", "Roundtrip's own click id", "019a8c3e-7b1d-7c44-9f02-5a1b6c7d8e9f").winner(),
    m("impression_id", "the impression that earned it", "019a8c3e-7b1d-7c44-9f02-5a1b6c7d8e9f")
        .winner()
        .later(),
    m(
        "event_id",
        "the fact that is told; the same through retries and replays",
        "evt_01KAHS8Z4N2T7QX5W3R9M6B0CD",
    ),
    m("install_id", "the app's stable id of the installation", "i-7f3a"),
    m("transaction_id", "the conversion's id", "cnv_01KAHS8Z4N2T7QX5W3R9M6B0CD"),
    m("customer_id", "the owner's id of the person", "u-2071").winner(),
    m("session_id", "the app session's id", "s-55").later(),
    m("email", "the person's e-mail address; never told", "ada@example.org").later(),
    m("phone", "the person's telephone number; never told", "+4930123456").later(),
    // What happened.
    m("event_name", "the event's name as Roundtrip knows it", "purchase"),
    m("mapped_event_name", "the event's name as the rule renames it", "sale"),
    m("event_time", "when it happened, unix seconds", "1780564904"),
    m("event_time_ms", "when it happened, unix milliseconds", "1780564904120"),
    m("event_time_iso", "when it happened, RFC 3339", "2026-06-04T09:21:44.120Z"),
    m("event_value", "the event's properties as JSON", "{\"level\":3}").money(),
    m("revenue", "the amount in the currency it was sent in", "12.50").money(),
    m("revenue_usd", "the amount in US dollars, when it was sent in them", "13.60").money(),
    m("revenue_usd_minor", "the amount in US cents, when it was sent in dollars", "1360").money(),
    m("reporting_revenue", "the amount in the app's own currency", "12.50").money().later(),
    m("reporting_currency", "the app's own ISO 4217 currency", "EUR").money().later(),
    m("revenue_minor", "the amount in the currency's minor unit", "1250").money(),
    m("currency", "the amount's ISO 4217 currency", "EUR").money(),
    m("payout", "what the partner earns for it", "2.00").money().winner().later(),
    m("payout_currency", "the payout's ISO 4217 currency", "EUR").money().winner().later(),
    m("quantity", "how many were bought", "2"),
    m("order_id", "the order's id", "o-1001"),
    m("product_id", "the product's id", "sku-9"),
    m("product_name", "the product's name", "Blue shoe").later(),
    m("product_category", "the product's category", "shoes").later(),
    m("shop_step", "number of the step in the shop, as AppMetrica counts them", "7").later(),
    m("receipt", "the store's receipt", "{}").later(),
    m("is_verified", "1 when no client key reported the amount, else 0", "1").money(),
    m("coupon", "the coupon code", "SUMMER10"),
    m("goal", "the goal that an inbound postback named", "registration"),
    m("status", "approved, pending until a person decides, or rejected", "approved"),
    m("old_status", "the status before a change of it", "pending"),
    m("relates_to", "the event_id of what a change of status is about", "evt_01KAHS8Z4N2T7QX5W3R9M6B0CD"),
    m("comment", "the comment of an inbound postback", "second order"),
    m("is_new_customer", "1 when an inbound postback said so, else 0", "1"),
    m("adv1", "the advertiser's own field 1 of an inbound postback", "k").money(),
    m("adv2", "the advertiser's own field 2 of an inbound postback", "l").money(),
    m("adv3", "the advertiser's own field 3 of an inbound postback", "m").money(),
    m("adv4", "the advertiser's own field 4 of an inbound postback", "n").money(),
    m("adv5", "the advertiser's own field 5 of an inbound postback", "o").money(),
    m("adv6", "the advertiser's own field 6 of an inbound postback", "p").money(),
    m("adv7", "the advertiser's own field 7 of an inbound postback", "q").money(),
    m("adv8", "the advertiser's own field 8 of an inbound postback", "r").money(),
    m("adv9", "the advertiser's own field 9 of an inbound postback", "s").money(),
    m("adv10", "the advertiser's own field 10 of an inbound postback", "t").money(),
    m("environment", "production or sandbox", "production"),
    m("time_spent", "seconds of the last session", "340").later(),
    m("is_first_event", "1 for the first event of this name, else 0", "1"),
    m("event_count", "how many events of this name so far", "3").later(),
    // The touch.
    c("campaign", "the campaign's name", "summer_uac").winner(),
    c("campaign_id", "the campaign's id", "4711").winner(),
    c("offer_name", "the offer's name", "Shop CPI DE").winner(),
    c("advertiser_id", "the advertiser's id", "77").winner(),
    c("advertiser_name", "the advertiser's name", "Example Ltd").winner(),
    c("link_id", "the tracking link's public id", "k3x9").winner(),
    m("link_name", "the tracking link's name", "Acme::summer").winner().later(),
    m("previous_link_id", "the link of the touch that was credited before", "k3x8").winner().later(),
    m("previous_link_name", "the name of that link", "Acme::spring").winner().later(),
    m("partner", "the slug of the partner that is told", "acme"),
    m("partner_name", "the name of the partner that is told", "Acme Ads"),
    c("channel", "the channel", "video").winner(),
    c("ad_group", "the ad group's name", "lookalike_2pct").winner(),
    c("ad_group_id", "the ad group's id", "815").winner(),
    c("ad", "the ad's name", "video_a").winner(),
    c("ad_id", "the ad's id", "99").winner(),
    c("keyword", "the keyword", "running shoes").winner(),
    c("site_id", "the site or sub-publisher", "site-7").winner(),
    c("sub_site_id", "the sub-publisher's own site", "site-7-3").winner(),
    c("aff_id", "the affiliate's id", "12").winner(),
    c("pub_id", "the publisher's id", "34").winner(),
    c("offer_id", "the offer's id", "56").winner(),
    c("creative_id", "the creative's id", "78").winner(),
    c("placement", "where the ad stood", "feed").winner(),
    c("ad_type", "the kind of ad", "rewarded_video").winner(),
    c("ad_size", "the size of the ad", "320x50").winner(),
    c("category", "the site's category", "games").winner(),
    c("site_name", "the site's name", "Example News").winner(),
    c("sub1", "sub parameter 1 of the link", "a").winner(),
    c("sub2", "sub parameter 2 of the link", "b").winner(),
    c("sub3", "sub parameter 3 of the link", "c").winner(),
    c("sub4", "sub parameter 4 of the link", "d").winner(),
    c("sub5", "sub parameter 5 of the link", "e").winner(),
    c("sub6", "sub parameter 6 of the link", "f").winner(),
    c("sub7", "sub parameter 7 of the link", "g").winner(),
    c("sub8", "sub parameter 8 of the link", "h").winner(),
    c("sub9", "sub parameter 9 of the link", "i").winner(),
    c("sub10", "sub parameter 10 of the link", "j").winner(),
    c("click_time", "when the click was received, unix seconds", "1780564804").winner(),
    c("click_time_ms", "when the click was received, unix milliseconds", "1780564804000").winner(),
    c("click_time_iso", "when the click was received, RFC 3339", "2026-06-04T09:20:04.000Z").winner(),
    m("is_unique_click", "1 for a visitor's first click, else 0", "1").winner().later(),
    c("click_ip", "the address the click came from", "203.0.113.9").winner(),
    c("click_ua", "the browser the click came from", "Mozilla/5.0 (Linux; Android 16)").winner(),
    c("referrer", "the page the visitor came from", "https://blog.example/post").winner(),
    m("install_referrer", "the store's referrer, as the device gave it", "utm_source=acme").winner(),
    c("landing_page", "where the visitor was sent", "https://shop.example/").winner().later(),
    m("impression_time", "when the impression was received, unix seconds", "1780564704").winner(),
    m("install_time", "when the app was installed, unix seconds", "1780564900"),
    m("install_time_ms", "when the app was installed, unix milliseconds", "1780564900000"),
    m("install_time_iso", "when the app was installed, RFC 3339", "2026-06-04T09:21:40.000Z"),
    m("install_hour", "the hour it was installed in, unix seconds", "1780563600"),
    m("reattribution_time", "when it was credited anew, unix seconds", "1780564900").later(),
    m("reinstall_time", "when it was installed again, unix seconds", "1780564900").later(),
    m("uninstall_time", "when it was removed, unix seconds", "1780864900").later(),
    m("session_time", "when the session began, unix seconds", "1780564890").later(),
    m("fallback_time", "when the credit last fell back, unix seconds", "1780564900").later(),
    m("ctit", "seconds from click to install", "96").winner(),
    m("touch_age", "seconds from the touch to the event", "100").winner(),
    m("touch_age_minutes", "whole minutes from the touch to the event", "1").winner(),
    m("touch_age_hours", "whole hours from the touch to the event", "0").winner(),
    m("touch_age_days", "whole days from the touch to the event", "0").winner(),
    m("click_window", "hours before an install in which a click counts", "168"),
    m("view_window", "hours before an install in which an impression counts", "24").later(),
    m("inactivity_window", "days without use after which a person can be won back", "7").later(),
    m("postback_window", "hours after an install in which the partner is told", "672"),
    m("attribution_window", "hours until an install can be credited anew", "672").later(),
    m("attribution_end_time", "when that is, unix seconds", "1782984100").later(),
    m("conversion_type", "install, reinstall, reengagement or reattribution", "install"),
    m("touch_type", "click or impression", "click").winner(),
    m("match_type", "how the touch was found", "install_referrer").winner(),
    m("is_organic", "1 when nobody earned it, else 0", "0"),
    m("is_attributed", "1 when the partner that is told earned it, else 0", "1"),
    m("is_retargeting", "1 for a re-engagement, else 0", "0").later(),
    m("is_rejected", "1 when it was rejected, else 0", "0"),
    m("reject_reason", "why it was rejected", "returned").winner(),
    m("reject_sub_reason", "the finer reason", "below_minimum").winner().later(),
    m("reject_value", "the value the check looked at", "2").winner().later(),
    // The device.
    c("device_id", "the raw gaid, idfa or oaid, by platform", "38400000-8cf0-11bd-b23e-10b96e40000d"),
    c("advertising_id", "the raw advertising id, by platform", "38400000-8cf0-11bd-b23e-10b96e40000d"),
    c("gaid", "Google advertising id", "38400000-8cf0-11bd-b23e-10b96e40000d"),
    c("idfa", "Apple advertising id", "6D92078A-8246-4BA4-AE5B-76104861E7DC"),
    c("idfv", "Apple vendor id", "599F9C00-92DC-4B5C-9464-7971F01F8370"),
    c("oaid", "open anonymous device id", "1fe9a970-efbb-29e0-0bdd-f5dbbf751ab5"),
    c("android_id", "Android id", "9774d56d682e549c"),
    m("fire_adid", "Amazon advertising id", "0f9a3c52-9d0b-4c0e-8f7e-3a1b5c7d9e01").later(),
    m("windows_aid", "Windows advertising id", "5bd2c1e0a9f84f0e9c3d7b6a51428fe0").later(),
    m("imei", "IMEI; never collected", "356938035643809").later(),
    m("mac", "MAC address; never collected", "02:00:00:00:00:00").later(),
    m("udid", "the old iOS device id; never collected", "2b6f0cc904d137be2e1730235f5664094b831186").later(),
    m("openudid", "OpenUDID; never collected", "2b6f0cc904d137be2e1730235f5664094b831186").later(),
    c("gaid_sha1", "SHA-1 of the Google advertising id, hex", "5b1d2d5d8a…"),
    c("gaid_md5", "MD5 of the Google advertising id, hex", "9c2f0d1e77…"),
    c("idfa_sha1", "SHA-1 of the Apple advertising id, hex", "0a4d55a8d7…"),
    c("idfa_md5", "MD5 of the Apple advertising id, hex", "7b8b965ad4…"),
    m("lat", "1 when ad tracking is limited, else 0", "0").later(),
    m("att_status", "Apple's tracking authorisation", "authorized"),
    c("ip", "the address", "203.0.113.9"),
    c("country", "ISO 3166-1 country", "DE"),
    c("region", "region", "BE"),
    c("city", "city", "Berlin"),
    m("postal_code", "postal code", "10115").later(),
    m("latitude", "latitude", "52.5").later(),
    m("longitude", "longitude", "13.4").later(),
    m("timezone", "seconds east of UTC", "7200").later(),
    c("isp", "organisation of the network that the address is in", "Deutsche Telekom AG"),
    c("asn", "number of the autonomous system that the address is in", "3320"),
    c("lang", "language", "de"),
    c("carrier", "mobile carrier", "Telekom").later(),
    m("mcc", "mobile country code", "262").later(),
    m("mnc", "mobile network code", "01").later(),
    c("connection_type", "wifi or cellular", "wifi").later(),
    c("age", "age group", "25-34").later(),
    c("gender", "gender", "f").later(),
    c("ua", "user agent", "Mozilla/5.0 (Linux; Android 16)"),
    c("browser", "the browser's name", "Chrome").later(),
    c("browser_version", "the browser's version", "142").later(),
    c("platform", "android, ios or web", "android"),
    c("os_version", "version of the operating system", "16"),
    c("device_brand", "brand of the device", "Google").later(),
    c("device_model", "model of the device", "Pixel 9"),
    c("device_type", "phone, tablet or desktop", "phone").later(),
    c("screen", "size of the screen", "1080x2424").later(),
    // The app.
    c("app_id", "the app's bundle id or store id", "com.example.shop"),
    c("app_name", "the app's name", "Shop"),
    m("app_version", "the app's version", "4.2.0"),
    m("sdk_version", "the SDK's version", "3.1.0").later(),
    m("store", "the store it was installed from", "play").later(),
    m("gp_click_time", "the Play referrer's click time, unix seconds", "1780564804").winner(),
    m("gp_install_begin_time", "the Play referrer's install begin time, unix seconds", "1780564850"),
    // What some networks report of their own campaigns, through the store or the device.
    m("asa_ad_id", "Apple Ads: the ad's id", "1").winner().later(),
    m("asa_keyword", "Apple Ads: the keyword", "shoes").winner().later(),
    m("asa_keyword_id", "Apple Ads: the keyword's id", "2").winner().later(),
    m("asa_org_id", "Apple Ads: the organisation's id", "3").winner().later(),
    m("asa_conversion_type", "Apple Ads: download or redownload", "download").winner().later(),
    m("asa_country", "Apple Ads: country or region", "DE").winner().later(),
    m("meta_referrer", "Meta: the decrypted install referrer", "{}").winner().later(),
    m("meta_account_id", "Meta: the account's id", "1").winner().later(),
    m("meta_campaign_id", "Meta: the campaign's id", "2").winner().later(),
    m("meta_campaign", "Meta: the campaign's name", "a").winner().later(),
    m("meta_campaign_group_id", "Meta: the campaign group's id", "3").winner().later(),
    m("meta_campaign_group", "Meta: the campaign group's name", "b").winner().later(),
    m("meta_ad_group_id", "Meta: the ad set's id", "4").winner().later(),
    m("meta_ad_group", "Meta: the ad set's name", "c").winner().later(),
    m("meta_ad_id", "Meta: the ad's id", "5").winner().later(),
    m("meta_objective", "Meta: the campaign's objective", "APP_INSTALLS").winner().later(),
    m("meta_platform", "Meta: where the ad was shown", "instagram").winner().later(),
    // Cost and consent.
    c("cost_model", "how the touch is paid for", "cpi").winner(),
    c("cost_value", "what the touch costs", "1.20").winner(),
    c("cost_currency", "the cost's ISO 4217 currency", "EUR").winner(),
    m("reporting_cost", "the cost in the app's own currency", "1.20").winner().later(),
    m("link_parameters", "all parameters of the link, as JSON", "{}").winner().later(),
    m("ad_personalization", "consent to ad personalisation", "granted").later(),
    m("ad_user_data", "consent to the use of user data for ads", "granted").later(),
    m("eea", "1 when the user is in the European Economic Area", "1").later(),
    // The sending.
    Macro::sending("attempt", "number of this attempt, from 1", "1"),
    Macro::sending("timestamp", "when this attempt is sent, unix seconds", "1780564905"),
    Macro::sending("timestamp_ms", "when this attempt is sent, unix milliseconds", "1780564905250"),
    Macro::sending("timestamp_iso", "when this attempt is sent, RFC 3339", "2026-06-04T09:21:45.250Z"),
    Macro::sending("nonce", "random for each attempt, hex", "9f86d081884c7d65"),
    Macro::sending("signature", "signature of this attempt, made as the template says", "9c1185a5c5e9fc54"),
];

/// Macros with a name of the owner's or the partner's choosing behind a fixed beginning.
pub const FAMILIES: &[Macro] = &[
    Macro::click("cfg.", "the partner's own setting of that name; the only macro a host may hold", "s3cr3t"),
    Macro::sending(
        "signature.",
        "the template's signature of that name, of this attempt",
        "9c1185a5c5e9fc54",
    ),
    Macro::click("param.", "the link parameter of that name, as the click brought it", "blue").winner(),
];

/// Second words for the same macro, which are accepted as they are.
const SYNONYMS: &[(&str, &str)] = &[("user_agent", "ua")];

/// The macro of exactly this name.
pub fn find(name: &str) -> Option<&'static Macro> {
    let name = SYNONYMS.iter().find(|(word, _)| *word == name).map_or(name, |(_, same)| same);
    VOCABULARY.iter().find(|m| m.name == name)
}

/// The macro a word means in a scope. This is the one place that settles the two meanings of `click_id`:
/// what comes back is `partner_click_id` or `rt_click_id`, never `click_id` itself.
pub(super) fn resolve(name: &str, scope: Scope) -> Option<&'static Macro> {
    let name = match (name, scope) {
        ("click_id", Scope::Postback | Scope::Link) => "partner_click_id",
        ("click_id", Scope::Destination) => "rt_click_id",
        _ => name,
    };
    find(name)
}
