//! `when` of a rule: what else must be true of a conversion.

use std::collections::BTreeMap;

use roundtrip_domain::condition::{Condition, OsVersion, VALUES_MAX, assigned_country};
use roundtrip_domain::location::Country;
use roundtrip_domain::money::Currency;
use roundtrip_domain::problem::Code;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::document::Platform;
use super::form;
use super::judge::{Entry, Judge};
use super::shape::join;
use super::share::Number;

fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}

/// What must be true of a conversion for a rule to tell it; all that is named. What is not known meets nothing
/// that asks for it.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct When {
    /// The country is one of these ISO 3166-1 codes (`DE`).
    #[serde(default, skip_serializing_if = "is_default")]
    pub country: Vec<String>,
    /// The country is known and none of these.
    #[serde(default, skip_serializing_if = "is_default")]
    pub not_country: Vec<String>,
    /// The device, else the app, runs on one of these.
    #[serde(default, skip_serializing_if = "is_default")]
    pub platform: Vec<Platform>,
    /// The system's version is at least this (`14`, `17.2`).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub os_min: Option<String>,
    /// The system's version is at most this.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub os_max: Option<String>,
    /// The event's name is one of these; the birth of an installation is `install`.
    #[serde(default, skip_serializing_if = "is_default")]
    pub event: Vec<String>,
    /// The event's name is none of these.
    #[serde(default, skip_serializing_if = "is_default")]
    pub not_event: Vec<String>,
    /// Its revenue is at least this; another currency is not converted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub min_revenue: Option<MinRevenue>,
    /// The winning link's parameters have one of the values that are listed: `{sub1 = ["a", "b"]}`.
    #[serde(default, skip_serializing_if = "is_default")]
    pub param: BTreeMap<String, Vec<String>>,
    /// The partner's site (`site_id` on the link) is one of these.
    #[serde(default, skip_serializing_if = "is_default")]
    pub site: Vec<String>,
    /// The partner's site is none of these.
    #[serde(default, skip_serializing_if = "is_default")]
    pub not_site: Vec<String>,
}

/// A least amount.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct MinRevenue {
    /// The amount in units of the currency: a whole number, or a text such as `"12.50"`.
    pub amount: Number,
    /// ISO 4217 code.
    pub currency: String,
}

impl Judge<'_> {
    pub(super) fn conditions(&mut self, entry: &Entry, when: &When) -> Vec<Condition> {
        let mut all = Vec::new();
        for (field, codes) in [("when.country", &when.country), ("when.not_country", &when.not_country)] {
            let countries = self.countries(entry, field, codes);
            if !countries.is_empty() {
                let is_not = field == "when.not_country";
                all.push(if is_not {
                    Condition::NotCountry(countries)
                } else {
                    Condition::Country(countries)
                });
            }
        }
        if !when.platform.is_empty() {
            all.push(Condition::Platform(when.platform.iter().map(|p| (*p).into()).collect()));
        }
        let versions = [("when.os_min", &when.os_min), ("when.os_max", &when.os_max)].map(|(field, text)| {
            let version = OsVersion::parse(text.as_deref()?);
            if version.is_none() {
                let message = "a version is up to four numbers between dots: `14`, `17.2`";
                self.wrong(entry, Code::ConfigInvalid, field, message);
            }
            version
        });
        if let [Some(min), Some(max)] = versions
            && min > max
        {
            let message = "it is lower than os_min, so no version would meet both";
            self.wrong(entry, Code::ConfigInvalid, "when.os_max", message);
        }
        let [min, max] = versions;
        all.extend(min.map(Condition::OsMin));
        all.extend(max.map(Condition::OsMax));
        for (field, names) in [("when.event", &when.event), ("when.not_event", &when.not_event)] {
            self.values(entry, field, names, form::is_event_name, "an event's name is 1 to 128 characters");
        }
        for (field, sites) in [("when.site", &when.site), ("when.not_site", &when.not_site)] {
            self.values(entry, field, sites, is_value, "a site is 1 to 512 bytes without control characters");
        }
        let named = |list: &Vec<String>, make: fn(Vec<String>) -> Condition| {
            (!list.is_empty()).then(|| make(list.clone()))
        };
        all.extend(named(&when.event, Condition::Event));
        all.extend(named(&when.not_event, Condition::NotEvent));
        all.extend(named(&when.site, Condition::Site));
        all.extend(named(&when.not_site, Condition::NotSite));
        all.extend(when.min_revenue.as_ref().and_then(|least| self.min_revenue(entry, least)));
        for (name, values) in &when.param {
            let field = join("when.param", name);
            if !form::is_public_id(name) {
                let message = "a parameter's name is 1 to 128 characters without space";
                self.wrong(entry, Code::ConfigInvalid, &field, message);
            }
            if values.is_empty() {
                let message = "without a value nothing would meet it; list at least one";
                self.wrong(entry, Code::ConfigMissing, &field, message);
            }
            self.values(
                entry,
                &field,
                values,
                is_value,
                "a value is 1 to 512 bytes without control characters",
            );
            all.push(Condition::Param { name: name.clone(), values: values.clone() });
        }
        all
    }

    fn countries(&mut self, entry: &Entry, field: &str, codes: &[String]) -> Vec<Country> {
        if codes.len() > VALUES_MAX {
            self.wrong(entry, Code::ConfigInvalid, field, format!("it lists at most {VALUES_MAX} values"));
        }
        let mut countries = Vec::new();
        for (index, code) in codes.iter().enumerate().take(VALUES_MAX) {
            match assigned_country(code) {
                Some(country) => countries.push(country),
                None => {
                    let likely = match code.trim().to_ascii_uppercase().as_str() {
                        "UK" => "; did you mean `GB`?",
                        "EL" => "; did you mean `GR`?",
                        _ => "",
                    };
                    let message = format!(
                        "`{code}` is no country; a country is a code of ISO 3166-1 with two letters, such as DE{likely}"
                    );
                    self.wrong(entry, Code::ConfigInvalid, &format!("{field}[{index}]"), message);
                }
            }
        }
        countries
    }

    fn min_revenue(&mut self, entry: &Entry, least: &MinRevenue) -> Option<Condition> {
        let micros = least.amount.micros();
        if let Err(message) = micros {
            self.wrong(entry, Code::ConfigInvalid, "when.min_revenue.amount", message);
        }
        let currency = Currency::parse(&least.currency);
        let is_guess = self.problems.is_broken(&join(&entry.path(), "when.min_revenue.currency"));
        if currency.is_none() && !is_guess {
            let message = "a currency is an active ISO 4217 code of three letters, such as EUR";
            self.wrong(entry, Code::ConfigInvalid, "when.min_revenue.currency", message);
        }
        Some(Condition::MinRevenue { micros: micros.ok()?, currency: currency? })
    }

    fn values(
        &mut self,
        entry: &Entry,
        field: &str,
        values: &[String],
        is_sound: fn(&str) -> bool,
        rule: &str,
    ) {
        if values.len() > VALUES_MAX {
            self.wrong(entry, Code::ConfigInvalid, field, format!("it lists at most {VALUES_MAX} values"));
        }
        for (index, value) in values.iter().enumerate().take(VALUES_MAX) {
            if !is_sound(value) {
                self.wrong(entry, Code::ConfigInvalid, &format!("{field}[{index}]"), rule);
            }
        }
    }
}

fn is_value(text: &str) -> bool {
    (1..=512).contains(&text.len()) && !text.chars().any(char::is_control)
}
