//! Conditions of a rule: what else must be true of a conversion for a partner to be told.
//!
//! All conditions of a rule must be met; the first one that is not is named, with the value that was seen, so
//! that a story can say why. What is not known meets no condition that asks for it. Pure.
//!
//! Not relied on for privacy: what was seen can be personal, and whoever shows it masks it.

use std::fmt;

use crate::attribution::Decision;
use crate::event::Event;
use crate::facts::link_parameter;
use crate::location::{Country, Location};
use crate::money::{self, Currency};
use crate::settings::{App, Platform};

/// Most values that one condition lists.
pub const VALUES_MAX: usize = 500;

/// The officially assigned codes of ISO 3166-1 alpha-2 (249), and `XK`, which address databases use for Kosovo;
/// separated by spaces.
pub const COUNTRIES: &str = "AD AE AF AG AI AL AM AO AQ AR AS AT AU AW AX AZ BA BB BD BE BF BG BH BI BJ BL BM BN BO BQ BR BS BT BV BW BY BZ CA CC CD CF CG CH CI CK CL CM CN CO CR CU CV CW CX CY CZ DE DJ DK DM DO DZ EC EE EG EH ER ES ET FI FJ FK FM FO FR GA GB GD GE GF GG GH GI GL GM GN GP GQ GR GS GT GU GW GY HK HM HN HR HT HU ID IE IL IM IN IO IQ IR IS IT JE JM JO JP KE KG KH KI KM KN KP KR KW KY KZ LA LB LC LI LK LR LS LT LU LV LY MA MC MD ME MF MG MH MK ML MM MN MO MP MQ MR MS MT MU MV MW MX MY MZ NA NC NE NF NG NI NL NO NP NR NU NZ OM PA PE PF PG PH PK PL PM PN PR PS PT PW PY QA RE RO RS RU RW SA SB SC SD SE SG SH SI SJ SK SL SM SN SO SR SS ST SV SX SY SZ TC TD TF TG TH TJ TK TL TM TN TO TR TT TV TW TZ UA UG UM US UY UZ VA VC VE VG VI VN VU WF WS XK YE YT ZA ZM ZW";

/// A country that a person wrote, in any case. `None` unless it is one of [`COUNTRIES`]: a condition on a code that
/// no database gives would never be met, or always.
pub fn assigned_country(text: &str) -> Option<Country> {
    Country::parse(text).filter(|country| COUNTRIES.split(' ').any(|known| known == country.as_str()))
}

/// The country of a conversion: where its address is (the event's own, else the winning click's), and where no
/// database knows that, the event's property `country`, which a server that knows it can send.
pub fn country_of(event: &Event, decision: &Decision) -> Option<Country> {
    let winner = decision.credit.winner().map(|winner| &winner.touch.click);
    Location::of(event, winner).country.or_else(|| {
        let properties: serde_json::Value = serde_json::from_str(event.properties.as_deref()?).ok()?;
        assigned_country(properties.get("country")?.as_str()?)
    })
}

/// A version of a system as conditions compare it: up to four numbers between dots, the rest zeros.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct OsVersion([u32; 4]);

impl OsVersion {
    /// Reads `17`, `17.2`, `14.0.1`. `None` for anything else.
    pub fn parse(text: &str) -> Option<Self> {
        let mut numbers = [0; 4];
        for (at, part) in text.trim().split('.').enumerate() {
            let digits = !part.is_empty() && part.len() <= 9 && part.bytes().all(|b| b.is_ascii_digit());
            *numbers.get_mut(at).filter(|_| digits)? = part.parse().ok()?;
        }
        Some(Self(numbers))
    }
}

impl fmt::Display for OsVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let shown = self.0.iter().rposition(|n| *n != 0).map_or(1, |last| last + 1);
        let texts: Vec<String> = self.0[..shown].iter().map(u32::to_string).collect();
        f.write_str(&texts.join("."))
    }
}

/// One condition.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Condition {
    /// The country is one of these.
    Country(Vec<Country>),
    /// The country is known and none of these.
    NotCountry(Vec<Country>),
    /// The device, else the app, runs on one of these.
    Platform(Vec<Platform>),
    /// The system's version is at least this.
    OsMin(OsVersion),
    /// The system's version is at most this.
    OsMax(OsVersion),
    /// The event's name is one of these; the birth of an installation is `install`.
    Event(Vec<String>),
    /// The event's name is none of these.
    NotEvent(Vec<String>),
    /// It has revenue in this currency of at least so many millionths.
    MinRevenue {
        /// Millionths of a unit.
        micros: i64,
        /// The currency; another one is not converted and does not meet it.
        currency: Currency,
    },
    /// The winning link's parameter of that name has one of these values.
    Param {
        /// The parameter's name.
        name: String,
        /// Values, compared byte for byte.
        values: Vec<String>,
    },
    /// The partner's site (`site_id` of the winning link) is one of these.
    Site(Vec<String>),
    /// The partner's site is none of these; no site is none of them.
    NotSite(Vec<String>),
}

/// A condition that was not met.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unmet {
    /// Which: the field in the rule's `when`, such as `country` or `param.sub1`.
    pub condition: String,
    /// What it asks for.
    pub wanted: String,
    /// What was there; `None` when nothing is known.
    pub seen: Option<String>,
}

/// What conditions look at.
#[derive(Clone, Copy)]
pub struct Seen<'a> {
    /// The event that makes the conversion.
    pub event: &'a Event,
    /// The decision about it.
    pub decision: &'a Decision,
    /// Its app.
    pub app: &'a App,
    /// Whether it is the birth of its installation.
    pub is_install: bool,
}

/// The first condition that is not met.
pub fn first_unmet(conditions: &[Condition], seen: Seen<'_>) -> Option<Unmet> {
    conditions.iter().find_map(|condition| condition.unmet(seen))
}

impl Condition {
    /// Its field in a rule's `when`.
    pub fn name(&self) -> String {
        match self {
            Self::Country(_) => "country".into(),
            Self::NotCountry(_) => "not_country".into(),
            Self::Platform(_) => "platform".into(),
            Self::OsMin(_) => "os_min".into(),
            Self::OsMax(_) => "os_max".into(),
            Self::Event(_) => "event".into(),
            Self::NotEvent(_) => "not_event".into(),
            Self::MinRevenue { .. } => "min_revenue".into(),
            Self::Param { name, .. } => format!("param.{name}"),
            Self::Site(_) => "site".into(),
            Self::NotSite(_) => "not_site".into(),
        }
    }

    fn wanted(&self) -> String {
        match self {
            Self::Country(list) | Self::NotCountry(list) => words(list.iter().map(Country::as_str)),
            Self::Platform(list) => words(list.iter().map(|p| p.name())),
            Self::OsMin(version) | Self::OsMax(version) => version.to_string(),
            Self::Event(list) | Self::NotEvent(list) | Self::Site(list) | Self::NotSite(list) => {
                words(list.iter().map(String::as_str))
            }
            Self::MinRevenue { micros, currency } => format!("{} {currency}", money::decimal(*micros, 2)),
            Self::Param { values, .. } => words(values.iter().map(String::as_str)),
        }
    }

    fn unmet(&self, it: Seen<'_>) -> Option<Unmet> {
        let (met, seen) = self.judge(it);
        (!met).then(|| Unmet { condition: self.name(), wanted: self.wanted(), seen })
    }

    /// Whether it is met, and what was seen.
    fn judge(&self, it: Seen<'_>) -> (bool, Option<String>) {
        let event = it.event;
        let among = |list: &[String], value: Option<&String>| value.is_some_and(|v| list.contains(v));
        match self {
            Self::Country(list) => {
                let country = country_of(event, it.decision);
                (country.is_some_and(|c| list.contains(&c)), country.map(|c| c.to_string()))
            }
            Self::NotCountry(list) => {
                let country = country_of(event, it.decision);
                (country.is_some_and(|c| !list.contains(&c)), country.map(|c| c.to_string()))
            }
            Self::Platform(list) => {
                let named = event.device.platform.as_deref();
                let platform = named.map_or(it.app.platform.name(), str::trim);
                let met = list.iter().any(|p| p.name().eq_ignore_ascii_case(platform));
                (met, Some(platform.to_owned()))
            }
            Self::OsMin(_) | Self::OsMax(_) => {
                let text = event.device.os_version.clone();
                let version = text.as_deref().and_then(OsVersion::parse);
                let met = version.is_some_and(|version| match self {
                    Self::OsMin(min) => version >= *min,
                    Self::OsMax(max) => version <= *max,
                    _ => false,
                });
                (met, text)
            }
            Self::Event(list) => {
                let name = told_name(event, it.is_install).to_owned();
                (list.contains(&name), Some(name))
            }
            Self::NotEvent(list) => {
                let name = told_name(event, it.is_install).to_owned();
                (!list.contains(&name), Some(name))
            }
            Self::MinRevenue { micros, currency } => match &event.revenue {
                None => (false, None),
                Some(revenue) => {
                    let met = revenue.currency == Some(*currency) && revenue.amount.micros >= *micros;
                    let own = revenue.currency.map_or("without a currency".to_owned(), |c| c.to_string());
                    (met, Some(format!("{} {own}", money::decimal(revenue.amount.micros, 2))))
                }
            },
            Self::Param { name, values } => {
                let value = link_parameter(it.decision, name);
                (among(values, value.as_ref()), value)
            }
            Self::Site(list) => {
                let value = link_parameter(it.decision, "site_id");
                (among(list, value.as_ref()), value)
            }
            Self::NotSite(list) => {
                let value = link_parameter(it.decision, "site_id");
                (!among(list, value.as_ref()), value)
            }
        }
    }
}

/// The name that partners hear of: the birth of an installation is `install`, whatever reported it.
pub fn told_name(event: &Event, is_install: bool) -> &str {
    if is_install { "install" } else { &event.name }
}

fn words<'a>(list: impl Iterator<Item = &'a str>) -> String {
    list.collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn countries_are_those_of_the_standard() {
        assert_eq!(COUNTRIES.split(' ').count(), 250);
        assert_eq!(assigned_country("de").map(|c| c.to_string()).as_deref(), Some("DE"));
        for bad in ["", "D", "DEU", "UK", "EU", "ZZ", "é"] {
            assert_eq!(assigned_country(bad), None, "{bad}");
        }
        let mut sorted: Vec<_> = COUNTRIES.split(' ').collect();
        sorted.dedup();
        assert!(sorted.is_sorted() && sorted.len() == 250);
    }

    #[test]
    fn versions_compare_by_number() {
        let v = |text| OsVersion::parse(text).unwrap();
        assert!(v("9") < v("10") && v("17.2") < v("17.10") && v("14") == v("14.0.0"));
        assert_eq!(v("14.0.1").to_string(), "14.0.1");
        assert_eq!(v("16").to_string(), "16");
        for bad in ["", "a", "1.", ".1", "1..2", "-1", "1.2.3.4.5", "9999999999", "17 beta"] {
            assert_eq!(OsVersion::parse(bad), None, "{bad}");
        }
    }
}
