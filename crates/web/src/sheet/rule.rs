//! What a rule says, in sentences for the partner that is told.
//!
//! Not relied on for deciding: the sentences are made from what the program runs on, and it never reads them. A field
//! of a rule's document that this file has no words for is shown as it is written, so that a sheet says less nicely,
//! but never less, than the rule.

use roundtrip_domain::condition::Condition;
use roundtrip_domain::event::ConversionKind;
use roundtrip_domain::location::Country;
use roundtrip_domain::money::{self, MICROS};
use roundtrip_domain::settings::{App, Rule, Scope, Settings};
use roundtrip_domain::sharing::Share;
use roundtrip_domain::template::Template;
use roundtrip_domain::template::sign::{DEFAULT_NAME, Encoding, Hash, Message, Scheme};
use roundtrip_domain::time::human;
use serde_json::Value;

use super::sample::setting;
use super::shape::Field;

/// The fields of a rule's document that the sheet has words for.
const KNOWN: [&str; 22] = [
    "callback",
    "app",
    "partner",
    "group",
    "on",
    "events",
    "dialect",
    "macros",
    "signatures",
    "method",
    "url",
    "headers",
    "body",
    "scope",
    "first_only",
    "share_revenue",
    "when",
    "delay",
    "rename",
    "sandbox",
    "pending",
    "window",
];

/// When a rule fires, in a sentence.
pub(super) fn fires(settings: &Settings, rule: &Rule, app: &App) -> String {
    let app = &app.name;
    let what = match &rule.on {
        ConversionKind::Install => format!("each new installation of {app}"),
        ConversionKind::Signup => format!("each signup in {app}"),
        ConversionKind::Purchase => format!("each purchase in {app}"),
        ConversionKind::Event if rule.events.is_empty() => format!("each other event in {app}"),
        ConversionKind::Event => format!("each event named {} in {app}", or(&rule.events)),
        ConversionKind::Rejected => format!("each conversion in {app} that is rejected"),
        ConversionKind::StatusChange => {
            format!("each conversion in {app} whose status changes to approved or pending")
        }
    };
    let what = if rule.first_only { format!("{what}, only the first of each user or click") } else { what };
    let whose = match rule.scope {
        Scope::All => "whoever won it; what only the winner may see is empty for others",
        Scope::Attributed => "if it was won by this partner's click",
    };
    let group = rule.group.and_then(|group| settings.groups.get(&group));
    let others = match (rule.partner, group) {
        (Some(_), _) => String::new(),
        (None, Some(group)) => format!(" (the rule is for the partners of the group {})", group.name),
        (None, None) => " (the rule tells several partners)".to_owned(),
    };
    let conditions = match rule.conditions.len() {
        0 => "",
        1 => ", and only if the condition below is met",
        _ => ", and only if all conditions below are met",
    };
    format!("For {what}, {whose}{others}{conditions}.")
}

/// One condition, in a sentence.
pub(super) fn condition(condition: &Condition) -> String {
    let codes = |list: &[Country]| or(&list.iter().map(ToString::to_string).collect::<Vec<_>>());
    match condition {
        Condition::Country(list) => format!("Only from {}.", codes(list)),
        Condition::NotCountry(list) => format!("Not from {}, nor where the country is unknown.", codes(list)),
        Condition::Platform(list) => {
            format!("Only on {}.", or(&list.iter().map(|p| p.name().to_owned()).collect::<Vec<_>>()))
        }
        Condition::OsMin(version) => format!("Only on version {version} of the device's system, or newer."),
        Condition::OsMax(version) => format!("Only on version {version} of the device's system, or older."),
        Condition::Event(names) => format!("Only for events named {}.", or(names)),
        Condition::NotEvent(names) => format!("Not for events named {}.", or(names)),
        Condition::MinRevenue { micros, currency } => {
            let digits = if micros % MICROS == 0 { 0 } else { 2 };
            let least = money::decimal(*micros, digits);
            format!("Only for revenue from {least} {currency}; other currencies are not converted.")
        }
        Condition::Param { name, values } => {
            format!("Only where {name} on the winning link was {}.", or(values))
        }
        Condition::Site(values) => format!("Only where site_id on the winning link was {}.", or(values)),
        Condition::NotSite(values) => format!("Not where site_id on the winning link was {}.", or(values)),
    }
}

/// Words with `or` before the last one.
fn or(words: &[String]) -> String {
    match words {
        [] => String::new(),
        [one] => one.clone(),
        [first @ .., last] => format!("{} or {last}", first.join(", ")),
    }
}

/// How long a delivery is delayed, in a sentence; `None` when it is not.
pub(super) fn delay(rule: &Rule) -> Option<String> {
    let time = human(rule.delay.ms());
    // An `m` alone could be a month.
    let time = time.strip_suffix(" m").map_or(time.clone(), |minutes| format!("{minutes} min"));
    (rule.delay.ms() > 0).then(|| format!("Sent {time} after we know of it."))
}

/// What is told of amounts, in a sentence.
pub(super) fn sharing(share: Share) -> String {
    match share {
        Share::None => "Amounts are not told: every money macro and {event_value} is empty.".to_owned(),
        Share::Exact => "Amounts are told as they were sent.".to_owned(),
        Share::Rounded(step) => {
            format!("Amounts are told rounded to {}; {{event_value}} is empty.", money::decimal(step, 0))
        }
        Share::Percent(percent) => {
            let percent = money::decimal(percent, 0);
            format!("{percent} percent of each amount is told; {{event_value}} is empty.")
        }
    }
}

/// The signatures of a template and how each is computed.
pub(super) fn signatures(template: &Template) -> Vec<Field> {
    let all = template.source().signatures.iter();
    all.map(|(name, scheme)| Field { name: signature_macro(name), value: computed(scheme) }).collect()
}

/// The macro of a signature.
fn signature_macro(name: &str) -> String {
    if name == DEFAULT_NAME { "{signature}".to_owned() } else { format!("{{signature.{name}}}") }
}

fn computed(scheme: &Scheme) -> String {
    let hash = match scheme.hash {
        Hash::Md5 => "MD5",
        Hash::Sha1 => "SHA-1",
        Hash::Sha256 => "SHA-256",
        Hash::Sha512 => "SHA-512",
        Hash::HmacMd5 => "HMAC with MD5",
        Hash::HmacSha1 => "HMAC with SHA-1",
        Hash::HmacSha256 => "HMAC with SHA-256",
        Hash::HmacSha512 => "HMAC with SHA-512",
        other => other.as_str(),
    };
    let name = scheme.key.as_deref().and_then(|key| key.strip_prefix("cfg."));
    let key = name.map_or_else(String::new, |name| {
        let sample = setting(name);
        format!(", keyed with the secret that you were given (your setting {name}; {sample} in the sample),")
    });
    let written = match scheme.encoding {
        Encoding::Hex => "lower-case hex",
        Encoding::HexUpper => "upper-case hex",
        Encoding::Base64 => "Base64",
        Encoding::Base64Url => "Base64 of the URL alphabet, without padding",
        other => other.as_str(),
    };
    let of = match &scheme.message {
        Message::Text(text) => format!("of the text {text} with each macro replaced by its value"),
        Message::Join { by, parts } => {
            let parts = parts.join(" then ");
            let between = match by.as_str() {
                "" => "with nothing between them".to_owned(),
                " " => "with a space between each two".to_owned(),
                "\n" => "with a line break (LF) between each two".to_owned(),
                by => format!("with {by} between each two"),
            };
            format!("of {parts}, {between}; one with an empty value is left out")
        }
    };
    format!(
        "{hash}{key} {of}. Written as {written}. Values go in decoded (a + in a URL is a space), {{x|raw}} as its \
         received bytes."
    )
}

/// What else a rule's document says.
pub(super) fn also(written: &Value) -> Vec<Field> {
    let rest = written.as_object().into_iter().flatten().filter(|(name, _)| !KNOWN.contains(&name.as_str()));
    let bare = |value: &Value| value.as_str().map_or_else(|| value.to_string(), str::to_owned);
    rest.map(|(name, value)| Field { name: name.clone(), value: bare(value) }).collect()
}

#[cfg(test)]
mod tests {
    use roundtrip_domain::condition::{OsVersion, assigned_country};
    use roundtrip_domain::money::Currency;
    use roundtrip_domain::settings::Platform;
    use serde_json::json;

    use super::*;

    #[test]
    fn every_form_of_sharing_has_words() {
        for (share, words) in [
            (Share::None, "Amounts are not told: every money macro and {event_value} is empty."),
            (Share::Exact, "Amounts are told as they were sent."),
            (Share::Rounded(500_000), "Amounts are told rounded to 0.5; {event_value} is empty."),
            (Share::Percent(70 * MICROS), "70 percent of each amount is told; {event_value} is empty."),
        ] {
            assert_eq!(sharing(share), words);
        }
    }

    #[test]
    fn every_condition_has_words() {
        let country = |code| assigned_country(code).unwrap();
        let currency = Currency::parse("EUR").unwrap();
        let list = |words: &[&str]| words.iter().map(|word| (*word).to_owned()).collect::<Vec<_>>();
        for (one, words) in [
            (Condition::Country(vec![country("DE"), country("AT")]), "Only from DE or AT."),
            (Condition::NotCountry(vec![country("US")]), "Not from US, nor where the country is unknown."),
            (Condition::Platform(vec![Platform::Android]), "Only on android."),
            (
                Condition::OsMin(OsVersion::parse("14").unwrap()),
                "Only on version 14 of the device's system, or newer.",
            ),
            (
                Condition::OsMax(OsVersion::parse("17.2").unwrap()),
                "Only on version 17.2 of the device's system, or older.",
            ),
            (Condition::Event(list(&["a", "b", "c"])), "Only for events named a, b or c."),
            (Condition::NotEvent(list(&["a"])), "Not for events named a."),
            (
                Condition::MinRevenue { micros: 50 * MICROS, currency },
                "Only for revenue from 50 EUR; other currencies are not converted.",
            ),
            (
                Condition::MinRevenue { micros: 12_500_000, currency },
                "Only for revenue from 12.50 EUR; other currencies are not converted.",
            ),
            (
                Condition::Param { name: "sub1".into(), values: list(&["x"]) },
                "Only where sub1 on the winning link was x.",
            ),
            (Condition::Site(list(&["s"])), "Only where site_id on the winning link was s."),
            (Condition::NotSite(list(&["s"])), "Not where site_id on the winning link was s."),
        ] {
            assert_eq!(condition(&one), words);
        }
    }

    #[test]
    fn what_has_no_words_is_shown_as_written() {
        let written = json!({ "app": "shop", "url": "x", "delay": "2h", "new": { "country": ["DE"] } });
        let shown: Vec<_> = also(&written).into_iter().map(|field| (field.name, field.value)).collect();
        assert_eq!(shown, [("new".to_owned(), "{\"country\":[\"DE\"]}".to_owned())]);
    }
}
