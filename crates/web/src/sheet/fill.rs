//! From the settings to a sheet.
//!
//! What the program runs on (templates, windows) comes from [`Settings`]; what people wrote comes from the masked
//! document. A field of a rule that this file has no words for is shown as it is written, so that a sheet says less
//! nicely, but never less, than the rule.

use std::collections::{BTreeMap, BTreeSet};

use roundtrip_domain::link_dialect::CallbackKind;
use roundtrip_domain::params::VALUE_BYTES_MAX;
use roundtrip_domain::retry::POSTBACK_WAITS_MS;
use roundtrip_domain::settings::{App, Campaign, Link, Partner, Rule, Scope, Settings};
use roundtrip_domain::template::{
    Audience, Availability, Dialect, Sending, Template, VOCABULARY, Value as Sample, vocabulary,
};
use roundtrip_domain::time::human;
use roundtrip_library::Entry;
use roundtrip_store::settings::MASK;
use serde_json::Value;

use super::shape::{Example, Field, LinkSheet, Macro, Owner, PostbackSheet, Sheet, System};

/// Settings shorter than this, in bytes, are not looked for in templates: they would blot out half of them.
const SECRET_BYTES_MIN: usize = 4;
/// The fields of a rule's document that the sheet has words for.
const KNOWN: [&str; 17] = [
    "app",
    "partner",
    "on",
    "events",
    "dialect",
    "method",
    "url",
    "callback",
    "headers",
    "body",
    "scope",
    "first_only",
    "share_revenue",
    "rename",
    "sandbox",
    "pending",
    "window",
];
/// The moment of the sample request, unix milliseconds: the sample event's, and a second.
const SAMPLE_MS: i64 = 1_780_564_905_250;

/// The sheet of the partner of that slug; `None` if there is none. `document` is the workspace's settings as people
/// may see them, `system` the library's entry of what the partner runs.
pub fn fill(
    settings: &Settings,
    document: &Value,
    slug: &str,
    public_url: &str,
    system: Option<&Entry>,
) -> Option<Sheet> {
    let partner = settings.partners.values().find(|partner| partner.slug == slug)?;
    let filler = Filler { settings, document, partner, public_url: public_url.trim_end_matches('/'), system };
    let mut links: Vec<&Link> =
        settings.links.values().map(|link| &**link).filter(|link| link.partner == partner.id).collect();
    links.sort_by(|a, b| a.public_id.cmp(&b.public_id));
    let mut apps: Vec<&App> = settings.apps.values().map(|app| &**app).collect();
    apps.sort_by(|a, b| a.slug.cmp(&b.slug));
    let rules = apps.iter().flat_map(|app| {
        let rules = settings.rules.get(&app.id).map_or(&[][..], Vec::as_slice);
        rules.iter().map(move |rule| (*app, &**rule))
    });
    Some(Sheet {
        version: settings.version,
        public_url: filler.public_url.to_owned(),
        workspace: settings.slug.clone(),
        partner: Owner {
            slug: partner.slug.clone(),
            name: partner.name.clone(),
            public_id: Some(partner.ref_id.clone()),
            platform: None,
        },
        settings: partner.cfg.keys().cloned().collect(),
        system: system.map(|entry| System {
            slug: entry.slug.clone(),
            name: entry.name.clone(),
            status: entry.status.clone(),
            about: entry.click.as_ref().and_then(|click| click.about.clone()),
        }),
        links: links.into_iter().filter_map(|link| filler.link(link)).collect(),
        postbacks: rules
            .filter(|(_, rule)| match rule.partner {
                Some(told) => told == partner.id,
                None => is_of_group(document, &rule.slug, slug),
            })
            // What its links may not carry is not told.
            .filter(|(_, rule)| rule.request.template().is_some() || partner.in_link_callbacks)
            .map(|(app, rule)| filler.postback(app, rule))
            .collect(),
        notes: notes(),
    })
}

/// Whether a rule that names no partner is for this one: it names no group either, or one that the partner is in.
fn is_of_group(document: &Value, rule: &str, partner: &str) -> bool {
    let Some(group) = document["rules"][rule]["group"].as_str() else { return true };
    let members = document["partner_groups"][group]["partners"].as_array();
    members.is_some_and(|members| members.iter().any(|member| member.as_str() == Some(partner)))
}

/// What holds for every postback; the guide for partners says it at length.
fn notes() -> Vec<String> {
    vec![
        format!(
            "Your click id comes back as the very value that you sent: percent-encode it on the link, at most {VALUE_BYTES_MAX} bytes."
        ),
        "A status of 2xx means that you have it. 408, 425, 429, 5xx and no answer at all are sent again; anything else is given up. Redirects are not followed.".to_owned(),
        format!(
            "There are at most {} sends over {}. Retry-After is honoured.",
            POSTBACK_WAITS_MS.len() + 1,
            human(POSTBACK_WAITS_MS.iter().sum())
        ),
        "The same fact may be sent more than once: {event_id} is the same each time, so count it once.".to_owned(),
        "Requests leave from the operator's machine: ask for its addresses if you allow-list senders.".to_owned(),
    ]
}

struct Filler<'a> {
    settings: &'a Settings,
    document: &'a Value,
    partner: &'a Partner,
    public_url: &'a str,
    system: Option<&'a Entry>,
}

impl Filler<'_> {
    fn link(&self, link: &Link) -> Option<LinkSheet> {
        let campaign = self.settings.campaigns.get(&link.campaign)?;
        let app = self.settings.apps.get(&link.app)?;
        let written = &self.document["links"][link.public_id.as_str()];
        let dialect = written["dialect"].as_str().unwrap_or("linkrunner").to_owned();
        let click = self.system.and_then(|entry| entry.click.as_ref());
        let parameter = click.map_or("click_id", |click| click.parameter.as_str());
        // Without a known system the reader puts its own macro in the place of ours.
        let suffix = click.map_or(Some("click_id={click_id}"), |click| click.suffix.as_deref());
        let base = self.address(link, campaign, &dialect);
        let with = |more: &[&str]| {
            let parts: Vec<&str> = suffix.into_iter().chain(more.iter().copied()).collect();
            match (parts.is_empty(), base.contains('?')) {
                (true, _) => base.clone(),
                (_, true) => format!("{base}&{}", parts.join("&")),
                (_, false) => format!("{base}?{}", parts.join("&")),
            }
        };
        Some(LinkSheet {
            id: link.public_id.clone(),
            campaign: named_campaign(campaign),
            app: named_app(app),
            click_parameter: parameter.to_owned(),
            click_url: with(&[]),
            server_url: with(&["s2s=1", "ip={ip}", "user_agent={user_agent}"]),
            impression_url: suffix.map_or_else(
                || format!("{}/i/{}", self.public_url, link.public_id),
                |suffix| format!("{}/i/{}?{suffix}", self.public_url, link.public_id),
            ),
            click_window: human(self.settings.click_window(app, link.id).ms()),
            allow_destinations: link.allow_destinations.clone(),
            dialect,
        })
    }

    /// The link's address in the form of its dialect.
    fn address(&self, link: &Link, campaign: &Campaign, dialect: &str) -> String {
        if dialect != "tracknow" {
            return format!("{}/c/{}", self.public_url, link.public_id);
        }
        let namespace =
            if self.settings.slug == "default" { String::new() } else { format!("/{}", self.settings.slug) };
        let (campaign, partner) = (encoded(&campaign.public_id), encoded(&self.partner.ref_id));
        format!("{}{namespace}/click?campaign_id={campaign}&ref_id={partner}", self.public_url)
    }

    fn postback(&self, app: &App, rule: &Rule) -> PostbackSheet {
        let written = &self.document["rules"][rule.slug.as_str()];
        let text = |name: &str| written[name].as_str().map(|text| self.mask(text));
        let sharing = sharing(&written["share_revenue"]);
        let names = Names::of(rule, written);
        let own = rule.request.template().map(|own| &**own);
        let body = ["json", "form", "text"].iter().find_map(|form| written["body"][form].as_str());
        PostbackSheet {
            rule: rule.slug.clone(),
            app: named_app(app),
            on: written["on"].as_str().unwrap_or_default().to_owned(),
            events: rule.events.clone(),
            rename: fields(rule.rename.iter()),
            fires: fires(rule, app),
            revenue: sharing.clone().unwrap_or_else(|| {
                "Amounts are not told: every money macro and {event_value} is empty.".to_owned()
            }),
            sandbox: rule.sandbox,
            pending: rule.pending,
            window: human(rule.window.ms()),
            also: also(written)
                .into_iter()
                .map(|field| Field { value: self.mask(&field.value), ..field })
                .collect(),
            callbacks: callbacks(rule),
            dialect: match own {
                Some(_) => text("dialect").unwrap_or_else(|| "canonical".to_owned()),
                None => Dialect::Adjust.as_str().to_owned(),
            },
            method: text("method").unwrap_or_else(|| "GET".to_owned()).to_uppercase(),
            url: text("url").unwrap_or_default(),
            headers: written["headers"]
                .as_object()
                .into_iter()
                .flatten()
                .map(|(name, value)| Field {
                    name: name.clone(),
                    value: self.mask(value.as_str().unwrap_or_default()),
                })
                .collect(),
            body: body.map(|text| self.mask(text)),
            macros: own.map(|own| macros(own, &names, sharing.is_some())).unwrap_or_default(),
            example: own.map(|own| self.example(own, &names, sharing.is_some())),
        }
    }

    /// A text without the partner's own settings.
    fn mask(&self, text: &str) -> String {
        let mut secrets: Vec<&String> =
            self.partner.cfg.values().filter(|value| value.len() >= SECRET_BYTES_MIN).collect();
        // The longest first, so that one that begins like another is not left half open.
        secrets.sort_by_key(|secret| std::cmp::Reverse(secret.len()));
        secrets.into_iter().fold(text.to_owned(), |text, secret| text.replace(secret.as_str(), MASK))
    }

    fn example(&self, template: &Template, names: &Names<'_>, revenue_shared: bool) -> Example {
        let mut values: BTreeMap<String, Sample<'_>> = VOCABULARY
            .iter()
            .filter(|known| matches!(known.availability, Availability::Click | Availability::Event))
            .map(|known| (known.name.to_owned(), Sample::text(known.example)))
            .collect();
        values.insert("event_name".to_owned(), Sample::text(names.own.to_owned()));
        values.insert("mapped_event_name".to_owned(), Sample::text(names.mapped.to_owned()));
        for used in template.macros() {
            if let Some(name) = used.key.strip_prefix("cfg.") {
                values.insert(used.key.clone(), Sample::text(format!("your-{}", name.replace('_', "-"))));
            } else if let Some(name) = used.key.strip_prefix("param.") {
                values.insert(used.key.clone(), Sample::text(format!("your-{}", name.replace('_', "-"))));
            }
        }
        let audience = Audience { values: &values, revenue_shared, winner: true };
        let sending = Sending { attempt: 1, at_ms: SAMPLE_MS, nonce: "9f86d081884c7d65" };
        let rendered = template.render(&audience, &sending);
        let lossy = |bytes: &[u8]| self.mask(&String::from_utf8_lossy(bytes));
        Example {
            line: format!("{} {}", rendered.method, self.mask(&rendered.url)),
            headers: rendered
                .headers
                .iter()
                .map(|(name, value)| Field { name: name.clone(), value: lossy(value) })
                .collect(),
            body: rendered.body.as_deref().map(lossy),
        }
    }
}

/// The event of the sample: by our name, and by the partner's.
struct Names<'a> {
    own: &'a str,
    mapped: &'a str,
}

impl<'a> Names<'a> {
    fn of(rule: &'a Rule, written: &'a Value) -> Self {
        let own = match written["on"].as_str().unwrap_or("event") {
            "event" => rule.events.first().or(rule.rename.keys().next()).map_or("level_up", String::as_str),
            on => on,
        };
        Self { own, mapped: rule.rename.get(own).map_or(own, String::as_str) }
    }
}

fn encoded(text: &str) -> String {
    percent_encoding::utf8_percent_encode(text, percent_encoding::NON_ALPHANUMERIC).to_string()
}

fn named_app(app: &App) -> Owner {
    Owner {
        slug: app.slug.clone(),
        name: app.name.clone(),
        public_id: app.bundle_id.clone(),
        platform: Some(app.platform.name().to_owned()),
    }
}

fn named_campaign(campaign: &Campaign) -> Owner {
    Owner {
        slug: campaign.slug.clone(),
        name: campaign.name.clone(),
        public_id: Some(campaign.public_id.clone()),
        platform: None,
    }
}

fn fields<'a>(pairs: impl Iterator<Item = (&'a String, &'a String)>) -> Vec<Field> {
    pairs.map(|(name, value)| Field { name: name.clone(), value: value.clone() }).collect()
}

/// What is told of amounts, in a sentence; `None`: nothing. A form that this file does not know stands as it is
/// written in the rule.
fn sharing(written: &Value) -> Option<String> {
    let exact = "Amounts are told as they were sent.";
    let sentence = match written {
        Value::Null | Value::Bool(false) => return None,
        Value::String(word) if word == "none" => return None,
        Value::Bool(true) => exact.to_owned(),
        Value::String(word) if word == "exact" => exact.to_owned(),
        Value::Object(form) => match (form.get("rounded"), form.get("percent")) {
            (Some(step), None) => format!("Amounts are told rounded to {}.", bare(step)),
            (None, Some(share)) => format!("{} percent of each amount is told.", bare(share)),
            _ => format!("Amounts are told: {written}."),
        },
        other => format!("Amounts are told: {}.", bare(other)),
    };
    Some(sentence)
}

/// A value without the quotes of a text.
fn bare(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

/// The parameters that carry the click's own URL, where the rule has none; `TOKEN` stands for any event's name.
fn callbacks(rule: &Rule) -> Vec<String> {
    use roundtrip_domain::event::ConversionKind as On;
    if rule.request.template().is_some() {
        return Vec::new();
    }
    let known = |kinds: &[CallbackKind]| kinds.iter().map(CallbackKind::parameter).collect();
    let names: Vec<&str> = match &rule.on {
        On::Install => return known(&[CallbackKind::Install, CallbackKind::Conversion]),
        On::Rejected => return known(&[CallbackKind::RejectedInstall]),
        On::StatusChange => return Vec::new(),
        On::Signup | On::Purchase => vec![rule.on.name()],
        On::Event if !rule.events.is_empty() => rule.events.iter().map(String::as_str).collect(),
        On::Event if !rule.rename.is_empty() => rule.rename.keys().map(String::as_str).collect(),
        On::Event => vec!["TOKEN"],
    };
    let token = |name: &str| rule.rename.get(name).map_or_else(|| name.to_owned(), String::clone);
    names.into_iter().map(|name| CallbackKind::Event(token(name)).parameter()).collect()
}

/// When a rule fires, in a sentence.
fn fires(rule: &Rule, app: &App) -> String {
    use roundtrip_domain::event::ConversionKind;
    let what = match &rule.on {
        ConversionKind::Install => format!("each new installation of {}", app.name),
        ConversionKind::Signup => format!("each signup in {}", app.name),
        ConversionKind::Purchase => format!("each purchase in {}", app.name),
        ConversionKind::Event if rule.events.is_empty() => format!("each other event in {}", app.name),
        _ if !rule.events.is_empty() => {
            format!("each event named {} in {}", rule.events.join(", "), app.name)
        }
        other => format!("each {} in {}", other.name().replace('_', " "), app.name),
    };
    let what = if rule.first_only { format!("{what}, only the first of each user or click") } else { what };
    let whose = match (rule.scope, rule.partner) {
        (Scope::All, _) => "whoever won it; what only the winner may see is empty for others",
        (Scope::Attributed, Some(_)) => "if it was won by this partner's click",
        (Scope::Attributed, None) => {
            "if it was won by this partner's click (the rule tells several partners)"
        }
    };
    format!("For {what}, {whose}.")
}

/// What else a rule's document says.
fn also(written: &Value) -> Vec<Field> {
    let rest = written.as_object().into_iter().flatten().filter(|(name, _)| !KNOWN.contains(&name.as_str()));
    rest.map(|(name, value)| Field { name: name.clone(), value: bare(value) }).collect()
}

fn macros(template: &Template, names: &Names<'_>, revenue_shared: bool) -> Vec<Macro> {
    let mut seen = BTreeSet::new();
    let fresh = template.macros().filter(|used| seen.insert(used.key.clone()));
    fresh
        .map(|used| {
            let known = vocabulary::find(&used.key);
            let (meaning, example) = match known {
                Some(known) if known.name == "event_name" => (known.meaning, names.own),
                Some(known) if known.name == "mapped_event_name" => (known.meaning, names.mapped),
                Some(known) => (known.meaning, known.example),
                None if used.key.starts_with("cfg.") => ("your own setting of that name", ""),
                None => ("the parameter of that name on the click's link", ""),
            };
            let empty = known.and_then(|known| {
                if known.availability == Availability::Later {
                    Some("this version never fills it")
                } else if known.money && !revenue_shared {
                    Some("amounts are not told")
                } else {
                    None
                }
            });
            Macro {
                name: used.name.clone(),
                meaning: meaning.to_owned(),
                example: example.to_owned(),
                empty: empty.map(str::to_owned),
            }
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn every_form_of_sharing_has_words() {
        for nothing in [json!(null), json!(false), json!("none")] {
            assert_eq!(sharing(&nothing), None, "{nothing}");
        }
        for (written, words) in [
            (json!(true), "Amounts are told as they were sent."),
            (json!("exact"), "Amounts are told as they were sent."),
            (json!({ "rounded": "0.5" }), "Amounts are told rounded to 0.5."),
            (json!({ "percent": 70 }), "70 percent of each amount is told."),
            (json!("some"), "Amounts are told: some."),
            (json!({ "new": 1 }), "Amounts are told: {\"new\":1}."),
        ] {
            assert_eq!(sharing(&written).as_deref(), Some(words));
        }
    }

    #[test]
    fn a_group_is_told_and_others_are_not() {
        let document = json!({
            "rules": { "all": {}, "some": { "group": "big" }, "lost": { "group": "gone" } },
            "partner_groups": { "big": { "partners": ["acme"] } },
        });
        let told = |rule, partner| is_of_group(&document, rule, partner);
        assert!(told("all", "acme") && told("all", "zen"));
        assert!(told("some", "acme") && !told("some", "zen") && !told("lost", "acme"));
    }

    #[test]
    fn what_has_no_words_is_shown_as_written() {
        let written = json!({ "app": "shop", "url": "x", "delay": "2h", "when": { "country": ["DE"] } });
        let shown: Vec<_> = also(&written).into_iter().map(|field| (field.name, field.value)).collect();
        let wanted = [("delay", "2h"), ("when", "{\"country\":[\"DE\"]}")];
        assert_eq!(shown, wanted.map(|(name, value)| (name.to_owned(), value.to_owned())));
    }
}
