//! Trying a template out: whose words it is written in, what its author says of them, and made-up values.
//!
//! Not relied on for anything that is sent. A person sees the result and decides.

use super::detect::{self, detect};
use super::syntax::Syntax;
use super::vocabulary;
use super::{Dialect, Parts, Place, Scope, Template, UrlTemplate, Use, UseKind, Value, Values};
use std::collections::BTreeMap;

/// The dialect that a template is tried in, whatever `parts` says. `hint` is what its author calls the system, and
/// decides where it names one whose macros the template has.
///
/// Words alone decide little: many systems have `{click_id}`, and for some it is the partner's and for some their own.
/// So without a name a system is taken only for brackets that are its own, or for words that nobody else has; else the
/// shared words are. On a tracking link the words are the network's and the parameters the tracker's, so there only
/// the tracker's name and host are asked.
pub fn dialect(parts: &Parts, scope: Scope, hint: Option<&str>) -> Dialect {
    let is_system = |dialect: &Dialect| !matches!(dialect, Dialect::Canonical | Dialect::Generic);
    let systems = |text: &str, hint: Option<&str>| {
        detect(text, hint).into_iter().map(|guess| guess.dialect).filter(is_system).collect::<Vec<_>>()
    };
    if scope == Scope::Link {
        // "Keitaro (source macros)": what stands behind the name is about the words.
        let name =
            hint.and_then(|hint| hint.split('(').next()).map(str::trim).filter(|name| !name.is_empty());
        return name
            .and_then(detect::named)
            .or_else(|| detect::host_owner(&parts.url))
            .unwrap_or(Dialect::Generic);
    }
    let uses = |dialect| -> Vec<Use> {
        if scope == Scope::Postback {
            let (template, _) = Template::parse(Parts { dialect, ..parts.clone() });
            template.macros().cloned().collect()
        } else {
            let (template, _) = UrlTemplate::parse_with(&parts.url, scope, dialect, &parts.macros);
            template.macros().cloned().collect()
        }
    };
    // A system that echoes link parameters knows every word, in a way.
    let is_lost = |used: &&Use| used.kind == UseKind::Unknown || used.key == format!("param.{}", used.name);
    let unknown = |uses: &[Use]| uses.iter().filter(is_lost).count();
    // Shared words are read in any brackets, so a dialect that finds less leaves macros as text.
    let shared = uses(Dialect::Generic);
    let named = hint.and_then(detect::named);
    let has_own_brackets = |dialect: Dialect, uses: &[Use]| {
        let mut own =
            dialect.syntaxes().iter().filter(|syntax| !matches!(syntax, Syntax::Brace | Syntax::Bare));
        own.any(|syntax| uses.iter().any(|used| used.text.starts_with(syntax.brackets().0)))
    };
    // Alternatives of one macro are several uses.
    let count = |uses: &[Use]| {
        let mut last = None;
        uses.iter()
            .filter(|used| {
                let is_next = |(place, begin, end): (Place, usize, usize)| {
                    place != used.place || !(begin..end).contains(&used.offset)
                };
                let is_new = last.is_none_or(is_next);
                if is_new {
                    // Where in the macro the word stands is not known; its length is enough to pass over the others.
                    last = Some((used.place, used.offset, used.offset + used.text.len()));
                }
                is_new
            })
            .count()
    };
    // Double braces are what was typed in where Singular writes them, and anything elsewhere.
    let is_misread = |dialect: Dialect, uses: &[Use]| {
        dialect == Dialect::Singular
            && named != Some(dialect)
            && uses.iter().any(|used| used.text.starts_with("{{"))
    };
    // Bare words are read by nobody else.
    let is_bare = |uses: &[Use]| {
        shared.is_empty() && uses.iter().all(|used| matches!(used.text.as_str(), "REPLACE" | "OPTIONAL"))
    };
    let fits = |dialect: &Dialect| {
        let found = uses(*dialect);
        count(&found) >= count(&shared).max(1)
            && !is_misread(*dialect, &found)
            && (named == Some(*dialect)
                || has_own_brackets(*dialect, &found)
                || unknown(&found) < unknown(&shared)
                || is_bare(&found))
    };
    let mut text = parts.url.clone();
    for more in parts.headers.iter().map(|(_, value)| value.as_str()).chain([parts.body.text()]) {
        text.push('\n');
        text.push_str(more);
    }
    if let Some(system) = systems(&text, hint).into_iter().find(fits) {
        return system;
    }
    // The shared words read ours as well: a template is ours only if all of it is, and nobody says otherwise.
    let is_free = hint.is_none_or(|hint| matches!(hint.trim(), "" | "any" | "canonical" | "roundtrip"));
    let ours = uses(Dialect::Canonical);
    if is_free && ours.len() == shared.len() && unknown(&ours) == 0 {
        Dialect::Canonical
    } else {
        Dialect::Generic
    }
}

/// What a row of templates says of the system: its `mmp`, or, where that is `any` and the macros are bare words, the
/// network itself, which hands such addresses out.
pub fn hint<'r>(
    mmp: Option<&'r str>,
    network: Option<&'r str>,
    macro_style: Option<&str>,
) -> Option<&'r str> {
    let is_bare = macro_style.is_some_and(|style| style.to_ascii_lowercase().contains("uppercase"));
    match mmp.map(str::trim) {
        None | Some("" | "any") if is_bare => network,
        mmp => mmp,
    }
}

/// Functions of an author's meaning, and the filters that they are.
const FUNCTIONS: &[(&str, &str)] = &[
    ("md5", "md5"),
    ("sha1", "sha1"),
    ("sha256", "sha256"),
    ("lower", "lower"),
    ("upper", "upper"),
    ("base64", "b64"),
    ("urlencode", "urlencode"),
];

/// The canonical expression of a meaning as people write one down: `idfa|gaid`, `md5(idfa|gaid)`,
/// `credential.sdk_key`, `is_attributed(0/1)`, `link parameter`, with remarks behind a blank. `name` is the word that it
/// is the meaning of. `None`: it says nothing that can be used.
pub fn own_meaning(name: &str, text: &str) -> Option<String> {
    let text = text.trim();
    let is_name = |name: &str| {
        !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"_-".contains(&byte))
    };
    if ["link parameter", "link param", "click parameter"].iter().any(|words| text.starts_with(words)) {
        return is_name(name).then(|| format!("param.{name}"));
    }
    let word = text.split([' ', ';', ',']).next()?;
    let rest = text[word.len()..].trim_start();
    // "click macro is [clickid]" begins with no name of a macro; "event_time, unix seconds" does.
    let is_prose = !(rest.is_empty() || rest.starts_with(['(', ';', ',']));
    if is_prose && !word.contains(['|', '(', '.']) && vocabulary::find(word).is_none() {
        let (_, bracketed) = text.split_once('[')?;
        return plain_meaning(bracketed.split_once(']')?.0);
    }
    let (inner, filter) = match word.split_once('(') {
        Some((function, rest)) => {
            let argument = rest.strip_suffix(')')?;
            match FUNCTIONS.iter().find(|(known, _)| function.eq_ignore_ascii_case(known)) {
                Some((_, filter)) => (argument, Some(*filter)),
                // `is_attributed(0/1)`: the values it has.
                None if argument.contains('/') => (function, None),
                None => return None,
            }
        }
        None => (word, None),
    };
    let mut alternatives = Vec::new();
    for name in inner.split('|').filter(|name| !name.is_empty()) {
        let expression = plain_meaning(name)?;
        let expression = match filter {
            Some(filter) => format!("{expression}|{filter}"),
            None => expression,
        };
        if !alternatives.contains(&expression) {
            alternatives.push(expression);
        }
    }
    (!alternatives.is_empty()).then(|| alternatives.join("||"))
}

/// What bare words mean that are whole values of a URL's query, in capitals: `click_id=CLICK_ID&ip=IP_ADDRESS`. To be
/// asked only where the author writes macros so, because `currency=USD` is just text.
pub fn bare_meanings(url: &str) -> BTreeMap<String, String> {
    let query = url.split_once('?').map_or("", |(_, query)| query.split('#').next().unwrap_or(query));
    let pairs = query.split('&').filter_map(|pair| pair.split_once('='));
    let is_capital = |byte: u8| byte.is_ascii_uppercase() || byte.is_ascii_digit() || byte == b'_';
    pairs
        .filter(|(_, word)| word.len() > 1 && word.bytes().all(is_capital))
        .filter_map(|(_, word)| Some((word.to_owned(), plain_meaning(&word.to_ascii_lowercase())?)))
        .collect()
}

fn plain_meaning(name: &str) -> Option<String> {
    for family in ["credential.", "credentials.", "config.", "setting.", "cfg."] {
        if let Some(setting) = name.strip_prefix(family) {
            let is_name = !setting.is_empty()
                && setting.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"_-".contains(&byte));
            return is_name.then(|| format!("cfg.{setting}"));
        }
    }
    match vocabulary::find(name) {
        Some(_) if name == "click_id" => Some("partner_click_id".to_owned()),
        Some(known) => Some(known.name.to_owned()),
        None => Dialect::Generic.word(name).map(str::to_owned),
    }
}

/// A value for every macro: the vocabulary's example, and made ones for settings and link parameters. A word that
/// nobody knows has none, and keeps its text.
#[derive(Debug, Clone, Default)]
pub struct Samples {
    /// Values that are known better.
    pub given: BTreeMap<String, String>,
}

impl Samples {
    /// Samples for a template's macros.
    pub fn of<'u>(uses: impl Iterator<Item = &'u Use>) -> Self {
        let parameters = uses.filter(|used| used.kind != UseKind::Unknown && used.key.starts_with("param."));
        Self { given: parameters.map(|used| (used.key.clone(), "sample".to_owned())).collect() }
    }

    /// Makes the setting that a URL begins with a whole address, if it begins with one.
    pub fn with_origin(mut self, key: &str) -> Self {
        self.given.insert(key.to_owned(), "https://partner.example".to_owned());
        self
    }
}

impl Values for Samples {
    fn get(&self, name: &str) -> Option<Value<'_>> {
        if let Some(given) = self.given.get(name) {
            return Some(Value::text(given.as_str()));
        }
        if let Some(setting) = name.strip_prefix("cfg.") {
            let says = |words: &[&str]| words.iter().any(|word| setting.contains(word));
            return Some(Value::text(match setting {
                "port" => "8443",
                _ if says(&["host", "domain", "server"]) => "partner.example",
                _ => "sample",
            }));
        }
        vocabulary::find(name)
            .filter(|known| !known.example.is_empty())
            .map(|known| Value::text(known.example))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn meanings_as_people_write_them() {
        for (text, expected) in [
            ("idfa|gaid", Some("idfa||gaid")),
            ("md5(idfa|gaid)", Some("idfa|md5||gaid|md5")),
            ("sha1(android_id)", Some("android_id|sha1")),
            ("credential.sdk_key", Some("cfg.sdk_key")),
            ("is_attributed(0/1)", Some("is_attributed")),
            ("limit_ad_tracking(0/1)", Some("lat")),
            ("itunes_id|bundle_id", Some("app_id")),
            ("link parameter", Some("param.word")),
            ("click_id", Some("partner_click_id")),
            ("event_time (unix s)", Some("event_time")),
            ("event_name (install -> \"install\")", Some("event_name")),
            ("event_time, unix seconds", Some("event_time")),
            ("event time in milliseconds", None),
            ("click macro is [clickid]", Some("partner_click_id")),
            ("click macro is [zoneid]", Some("site_id")),
            ("one of iphone, ipad", None),
            ("frobnicate(x)", None),
            ("", None),
        ] {
            assert_eq!(own_meaning("word", text).as_deref(), expected, "{text}");
        }
    }

    #[test]
    fn bare_words_have_meanings_where_they_are_whole_values() {
        let found = bare_meanings(
            "https://CLICK_ID.example/PAYOUT?c=CLICK_ID&cur=USD&x=CLICK_IDx&ip=IP_ADDRESS#a=REVENUE",
        );
        let found: Vec<_> = found.iter().map(|(word, meaning)| (word.as_str(), meaning.as_str())).collect();
        assert_eq!(found, [("CLICK_ID", "partner_click_id"), ("IP_ADDRESS", "ip")]);
        assert!(bare_meanings("c=CLICK_ID").is_empty());
    }

    #[test]
    fn the_dialect_is_the_one_that_is_named_or_writes_so() {
        for (url, hint, expected) in [
            // Alternatives of one macro do not count as more macros.
            ("https://p.example/?cid={sub2}&sum={sum}", Some("Affise"), Dialect::Affise),
            // Double braces are many systems', bare words of a host's own are one's.
            ("https://p.example/?cid={{EXTERNAL_ID}}&c={{COUNTRY}}", None, Dialect::Generic),
            ("https://p.example/?cid={{EXTERNAL_ID}}&k={cl?Network}", Some("Singular"), Dialect::Singular),
            ("https://a.voluumtrk.com/postback?cid=REPLACE&payout=OPTIONAL", None, Dialect::Voluum),
            ("https://p.example/?click_id=CLICK_ID&currency=USD", None, Dialect::Canonical),
        ] {
            let parts = Parts::get(url);
            assert_eq!(dialect(&parts, Scope::Postback, hint), expected, "{url}");
        }
    }

    #[test]
    fn every_macro_has_a_sample() {
        let samples = Samples::default();
        for known in super::super::VOCABULARY {
            let sending = known.availability == super::super::Availability::Sending;
            assert!(sending || samples.get(known.name).is_some(), "{}", known.name);
        }
    }
}
