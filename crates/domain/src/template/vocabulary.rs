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
        stem.ends_with("_time") || stem == "timestamp"
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
    // What happened.
    m("event_name", "the event's name as Roundtrip knows it", "purchase"),
    m("mapped_event_name", "the event's name as the rule renames it", "sale"),
    m("event_time", "when it happened, unix seconds", "1780564904"),
    m("event_time_ms", "when it happened, unix milliseconds", "1780564904120"),
    m("event_time_iso", "when it happened, RFC 3339", "2026-06-04T09:21:44.120Z"),
    m("event_value", "the event's properties as JSON", "{\"level\":3}").money(),
    m("revenue", "the amount in the currency it was sent in", "12.50").money(),
    m("revenue_usd", "the amount in US dollars", "13.60").money().later(),
    m("revenue_minor", "the amount in the currency's minor unit", "1250").money(),
    m("currency", "the amount's ISO 4217 currency", "EUR").money(),
    m("payout", "what the partner earns for it", "2.00").money().winner().later(),
    m("payout_currency", "the payout's ISO 4217 currency", "EUR").money().winner().later(),
    m("quantity", "how many were bought", "2"),
    m("order_id", "the order's id", "o-1001"),
    m("product_id", "the product's id", "sku-9"),
    m("is_first_event", "1 for the first event of this name, else 0", "1"),
    m("event_count", "how many events of this name so far", "3").later(),
    // The touch.
    c("campaign", "the campaign's name", "summer_uac").winner(),
    c("campaign_id", "the campaign's id", "4711").winner(),
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
    m("impression_time", "when the impression was received, unix seconds", "1780564704").winner().later(),
    m("install_time", "when the app was installed, unix seconds", "1780564900"),
    m("install_time_ms", "when the app was installed, unix milliseconds", "1780564900000"),
    m("install_time_iso", "when the app was installed, RFC 3339", "2026-06-04T09:21:40.000Z"),
    m("ctit", "seconds from click to install", "96").winner(),
    m("conversion_type", "install, reinstall, reengagement or reattribution", "install"),
    m("touch_type", "click or impression", "click").winner(),
    m("match_type", "how the touch was found", "install_referrer").winner(),
    m("is_organic", "1 when nobody earned it, else 0", "0"),
    m("is_retargeting", "1 for a re-engagement, else 0", "0").later(),
    m("is_rejected", "1 when a check refused it, else 0", "0").later(),
    m("reject_reason", "why a check refused it", "ctit_too_short").winner().later(),
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
    c("lang", "language", "de"),
    c("carrier", "mobile carrier", "Telekom").later(),
    c("ua", "user agent", "Mozilla/5.0 (Linux; Android 16)"),
    c("platform", "android, ios or web", "android"),
    c("os_version", "version of the operating system", "16"),
    c("device_brand", "brand of the device", "Google").later(),
    c("device_model", "model of the device", "Pixel 9"),
    // The app.
    c("app_id", "the app's bundle id or store id", "com.example.shop"),
    c("app_name", "the app's name", "Shop"),
    m("app_version", "the app's version", "4.2.0"),
    m("sdk_version", "the SDK's version", "3.1.0").later(),
    m("store", "the store it was installed from", "play").later(),
    m("gp_click_time", "the Play referrer's click time, unix seconds", "1780564804").winner(),
    m("gp_install_begin_time", "the Play referrer's install begin time, unix seconds", "1780564850"),
    // Cost and consent.
    c("cost_model", "how the touch is paid for", "cpi").winner(),
    c("cost_value", "what the touch costs", "1.20").winner(),
    c("cost_currency", "the cost's ISO 4217 currency", "EUR").winner(),
    m("ad_personalization", "consent to ad personalisation", "granted").later(),
    m("ad_user_data", "consent to the use of user data for ads", "granted").later(),
    m("eea", "1 when the user is in the European Economic Area", "1").later(),
    // The sending.
    Macro::sending("attempt", "number of this attempt, from 1", "1"),
    Macro::sending("timestamp", "when this attempt is sent, unix seconds", "1780564905"),
    Macro::sending("timestamp_ms", "when this attempt is sent, unix milliseconds", "1780564905250"),
    Macro::sending("timestamp_iso", "when this attempt is sent, RFC 3339", "2026-06-04T09:21:45.250Z"),
    Macro::sending("nonce", "random for each attempt, hex", "9f86d081884c7d65"),
    Macro::sending("signature", "signature of this attempt", "").later(),
];

/// Macros with a name of the owner's or the partner's choosing behind a fixed beginning.
pub const FAMILIES: &[Macro] = &[
    Macro::click("cfg.", "the partner's own setting of that name; the only macro a host may hold", "s3cr3t"),
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
        ("click_id", Scope::Postback) => "partner_click_id",
        ("click_id", Scope::Destination) => "rt_click_id",
        _ => name,
    };
    find(name)
}
