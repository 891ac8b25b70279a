//! The sample request of a sheet, and the macros in it with the values that stand there.
//!
//! Values are the vocabulary's examples, but for what is known of this partner, app and rule: names, and amounts as
//! the rule shares them. Not relied on for anything that is sent.

use std::collections::{BTreeMap, BTreeSet};

use roundtrip_domain::event::ConversionKind;
use roundtrip_domain::money::{self, Currency};
use roundtrip_domain::settings::{App, Partner, Rule};
use roundtrip_domain::template::{
    Audience, Availability, Body, Parts, Rendered, Sending, Template, Use, VOCABULARY, Value, Values as _,
    vocabulary,
};

use super::shape::Macro;

/// The moment of the sample request, unix milliseconds: the sample event's, and a second.
const SAMPLE_MS: i64 = 1_780_564_905_250;
/// The amounts of the sample, in millionths: 12.50 EUR where the currency is free, 13.60 USD where it is dollars.
const SAMPLE_MICROS: [(&str, i64); 2] = [("EUR", 12_500_000), ("USD", 13_600_000)];

/// How a partner's setting of that name stands in a sample.
pub(super) fn setting(name: &str) -> String {
    format!("your-{}", name.replace('_', "-"))
}

/// What a sample is made for.
pub(super) struct Samples<'a> {
    pub(super) partner: &'a Partner,
    pub(super) app: &'a App,
    pub(super) rule: &'a Rule,
    pub(super) template: &'a Template,
}

/// The sample values that a test delivery stores, as a real one would: what the template asks for, as far as the rule
/// tells it. Not the partner's settings, which every send reads.
pub(crate) fn sample_values(
    partner: &Partner,
    app: &App,
    rule: &Rule,
    template: &Template,
) -> BTreeMap<String, Vec<u8>> {
    let values = Samples { partner, app, rule, template }.values();
    let audience = Audience { values: &values, revenue_shared: rule.share.is_shared(), winner: true };
    let keys = template.macros().map(|used| &used.key).filter(|key| !key.starts_with("cfg."));
    keys.filter_map(|key| Some((key.clone(), audience.get(key)?.decoded.into_owned()))).collect()
}

impl Samples<'_> {
    /// The request with sample values.
    pub(super) fn request(&self) -> Rendered {
        self.render(self.template, &self.values())
    }

    fn render(&self, template: &Template, values: &BTreeMap<String, Value<'_>>) -> Rendered {
        let audience = Audience { values, revenue_shared: self.rule.share.is_shared(), winner: true };
        template.render(&audience, &Sending { attempt: 1, at_ms: SAMPLE_MS, nonce: "9f86d081884c7d65" })
    }

    /// The event by our name, and by the partner's.
    fn names(&self) -> (&str, &str) {
        let rule = self.rule;
        let renamed = || rule.rename.keys().next().map(String::as_str);
        let own = match &rule.on {
            ConversionKind::Install => "install",
            ConversionKind::Event => {
                rule.events.first().map(String::as_str).or_else(renamed).unwrap_or("level_up")
            }
            kind => {
                // A change is told by the name of what changed.
                let kind = if kind.is_change() { &ConversionKind::Purchase } else { kind };
                let is_told = |name: &&str| rule.rename.is_empty() || rule.rename.contains_key(*name);
                let of_app =
                    self.app.events.iter().filter(|(_, its)| *its == kind).map(|(name, _)| name.as_str());
                let mut names = of_app.chain([kind.name()]);
                names.find(is_told).or_else(renamed).unwrap_or_else(|| kind.name())
            }
        };
        (own, rule.rename.get(own).map_or(own, String::as_str))
    }

    fn values(&self) -> BTreeMap<String, Value<'static>> {
        let mut values: BTreeMap<String, Value<'static>> = VOCABULARY
            .iter()
            .filter(|known| matches!(known.availability, Availability::Click | Availability::Event))
            .map(|known| (known.name.to_owned(), Value::text(known.example)))
            .collect();
        let mut set = |name: &str, value: Option<String>| match value {
            Some(value) => values.insert(name.to_owned(), Value::text(value)),
            None => values.remove(name),
        };
        let (own, mapped) = self.names();
        set("event_name", Some(own.to_owned()));
        set("mapped_event_name", Some(mapped.to_owned()));
        set("partner", Some(self.partner.slug.clone()));
        set("partner_name", Some(self.partner.name.clone()));
        set("app_name", Some(self.app.name.clone()));
        set("platform", Some(self.app.platform.name().to_owned()));
        for (code, micros) in SAMPLE_MICROS {
            let currency = Currency::parse(code);
            let told = self.rule.share.of(micros, currency);
            let text = told.map(|micros| money::decimal(micros, 2));
            let minor = told.and_then(|micros| Some(money::minor(micros, currency?)));
            let [whole, cents] = if code == "USD" {
                ["revenue_usd", "revenue_usd_minor"]
            } else {
                ["revenue", "revenue_minor"]
            };
            set(whole, text);
            set(cents, minor);
        }
        if !self.rule.share.is_exact() {
            set("event_value", None);
        }
        let (status, before, is_rejected) = match &self.rule.on {
            ConversionKind::Rejected => ("rejected", Some("approved"), true),
            ConversionKind::StatusChange => ("approved", Some("pending"), false),
            _ => ("approved", None, false),
        };
        set("status", Some(status.to_owned()));
        set("old_status", before.map(str::to_owned));
        set("is_rejected", Some(u8::from(is_rejected).to_string()));
        if !is_rejected {
            set("reject_reason", None);
        }
        if before.is_none() {
            set("relates_to", None);
        } else {
            // A change is a fact of its own.
            set("event_id", Some("evt_01KAHTC3Q8E5M0Y7ZB2V4J9RXW".to_owned()));
        }
        for used in self.template.macros() {
            if let Some(name) = ["cfg.", "param."].iter().find_map(|family| used.key.strip_prefix(family)) {
                set(&used.key, Some(setting(name)));
            }
        }
        values
    }

    /// The macros of the template, each once, in order.
    pub(super) fn macros(&self) -> Vec<Macro> {
        let values = self.values();
        let own = &self.template.source().macros;
        let mut seen = BTreeSet::new();
        let mut list = Vec::new();
        for used in self.template.macros() {
            match own.get(&used.name) {
                Some(meaning) if seen.insert(used.name.clone()) => {
                    list.push(self.own_word(&used.name, meaning, &values));
                }
                Some(_) => {}
                None if seen.insert(format!("{} {}", used.name, used.key)) => {
                    list.push(self.known(used, &values))
                }
                None => {}
            }
        }
        list
    }

    /// A word that the rule's author gave a meaning: the meaning, and what that says and comes to.
    fn own_word(&self, name: &str, meaning: &str, values: &BTreeMap<String, Value<'_>>) -> Macro {
        let (template, _) = Template::parse(Parts {
            method: "POST".to_owned(),
            url: "https://sample.example/".to_owned(),
            body: Body::Text(format!("{{{meaning}}}")),
            ..Parts::default()
        });
        let told: Vec<(&str, Option<&str>)> =
            template.macros().map(|used| (meant(&used.key), self.empty(&used.key))).collect();
        let mut words: Vec<&str> = told.iter().map(|(words, _)| *words).collect();
        words.dedup();
        let example = self.render(&template, values).body.unwrap_or_default();
        let empty =
            told.first().and_then(|(_, why)| *why).filter(|_| told.iter().all(|(_, why)| why.is_some()));
        Macro {
            name: name.to_owned(),
            meaning: format!("{{{meaning}}}: {}", words.join("; else ")),
            example: String::from_utf8_lossy(&example).into_owned(),
            empty: empty.map(str::to_owned),
        }
    }

    fn known(&self, used: &Use, values: &BTreeMap<String, Value<'_>>) -> Macro {
        let is_setting = used.key.starts_with("cfg.") || used.key.starts_with("param.");
        let value = values.get(used.key.as_str()).filter(|_| !is_setting);
        let example = match value {
            Some(value) => String::from_utf8_lossy(&value.decoded).into_owned(),
            None => vocabulary::find(&used.key)
                .filter(|known| {
                    known.availability == Availability::Sending && !used.key.starts_with("signature")
                })
                .map_or_else(String::new, |known| known.example.to_owned()),
        };
        Macro {
            name: used.name.clone(),
            meaning: meant(&used.key).to_owned(),
            example,
            empty: self.empty(&used.key).map(str::to_owned),
        }
    }

    /// Why a macro is always empty here.
    fn empty(&self, key: &str) -> Option<&'static str> {
        let known = vocabulary::find(key)?;
        let share = self.rule.share;
        match known.name {
            _ if known.availability == Availability::Later => Some("this version never fills it"),
            _ if known.money && !share.is_shared() => Some("amounts are not told"),
            "event_value" if !share.is_exact() => Some("only told beside exact amounts"),
            "old_status" | "relates_to" if !self.rule.on.is_change() => {
                Some("only a change of status has it")
            }
            "reject_reason" if self.rule.on != ConversionKind::Rejected => Some("only a rejection has it"),
            _ => None,
        }
    }
}

/// What a macro stands for.
fn meant(key: &str) -> &'static str {
    match vocabulary::find(key) {
        _ if key == "signature" => "the signature, computed as above",
        Some(known) => known.meaning,
        None if key.starts_with("cfg.") => "your own setting of that name",
        None if key.starts_with("signature.") => "the signature of that name, computed as above",
        None if key == "body" => "the body as it is sent",
        None => "the parameter of that name on the click's link",
    }
}
