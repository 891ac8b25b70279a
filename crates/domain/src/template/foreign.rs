//! What stands between the brackets of another system's macro: its word, and what some systems write after it.
//!
//! A word is looked up in the author's own meanings and then in the dialect's vocabulary; both give a canonical
//! expression. After the word may stand our own filters and alternatives (`|sha1`, `||other`), Keitaro's `:raw`,
//! `:lead=1 sale=2` and `:format,zone`, Singular's `?Network` and `=Name`, and CJ's `url(word)` around it.

use super::dialect::{Dialect, Meaning, Word};
use super::expression::{self, Alternative, Subject};
use super::filter::{self, Filter};
use super::finding::Findings;
use super::position::Position;
use super::reader::Reader;
use super::syntax::{Mark, Syntax, bare_end, name_at};
use super::vocabulary::{self, Availability};
use super::{Code, Finding, Place, Scope, Severity, suggestion};

/// Most alternatives of one macro. Each can be a list in its vocabulary.
const ALTERNATIVES_MAX: usize = 64;

/// Where a word stands.
#[derive(Debug)]
pub(super) struct Ground {
    pub(super) place: Place,
    pub(super) parameter: Option<String>,
    /// There are so many findings already that advice is not worth working out.
    pub(super) is_crowded: bool,
}

impl Reader<'_> {
    pub(super) fn ground(self, position: &Position<'_>, findings: &Findings) -> Ground {
        Ground {
            place: position.place().unwrap_or(self.place),
            parameter: position.parameter(),
            is_crowded: findings.is_full(),
        }
    }

    /// Reads what stands between brackets that can hold more than a word. `None`: it is text.
    pub(super) fn inner(
        self,
        mark: Mark<'_>,
        ground: &Ground,
        findings: &mut Findings,
    ) -> Option<Vec<Alternative>> {
        let inner = mark.inner;
        if let Some(known) = self.known(inner, mark.inner_at, ground, findings) {
            return Some(known);
        }
        let read = self.grammar(mark, ground, findings);
        if read.is_none() && mark.syntax != Syntax::DoubleBrace {
            let is_word =
                |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-' | b'.' | b' ');
            if !self.free_text
                && inner.bytes().all(is_word)
                && inner.bytes().any(|byte| byte.is_ascii_alphabetic())
            {
                return Some(self.word(inner, mark.inner_at, mark.syntax, ground, findings));
            }
            if !self.free_text || !name_at(inner, 0).is_empty() {
                let message = format!("`{inner}` between the brackets is no macro; it is sent as it is");
                findings.add(
                    Finding::new(Code::MacroMalformed, self.place, mark.at, message)
                        .about(inner)
                        .severity(Severity::Warning),
                );
            }
        }
        read
    }

    fn grammar(self, mark: Mark<'_>, ground: &Ground, findings: &mut Findings) -> Option<Vec<Alternative>> {
        let inner = mark.inner;
        let mut name = name_at(inner, 0);
        if name.is_empty() {
            return None;
        }
        let mut name_at_byte = 0;
        let mut at = name.len();
        if matches!(name, "url" | "p" | "encodeURIComponent" | "urlencode") && inner.len() > at {
            // `{url(x)}` and `{p:x}`: the value of the parameter `x`, percent-encoded as all values are.
            let (open, close) = if name == "p" { (":", "") } else { ("(", ")") };
            let word = name_at(inner, at + 1);
            if inner[at..].starts_with(open)
                && !word.is_empty()
                && inner[at + 1 + word.len()..].starts_with(close)
            {
                (name, name_at_byte) = (word, at + 1);
                at += 1 + word.len() + close.len();
            }
        }
        let offset = |at: usize| mark.inner_at + at;
        let mut told = Findings::default();
        let mut all = self.word(name, offset(name_at_byte), mark.syntax, ground, &mut told);
        let mut begin = 0;
        let rest_end = at + bare_end(&inner[at..], b"|");
        let suffix = &inner[at..rest_end.min(inner.len())];
        if !suffix.is_empty() {
            self.suffix(suffix, offset(at), &mut all, &mut told)?;
            at = rest_end;
        }
        while at < inner.len() {
            // A bar stands here: the loop and the suffix end at nothing else.
            if inner[at..].starts_with("||") {
                let next = name_at(inner, at + 2);
                if next.is_empty() {
                    return None;
                }
                begin = all.len();
                all.extend(self.word(next, offset(at + 2), mark.syntax, ground, &mut told));
                at += 2 + next.len();
                if at < inner.len() && !inner[at..].starts_with('|') {
                    return None;
                }
                continue;
            }
            let segment_end = (at + 1 + bare_end(&inner[at + 1..], b"|")).min(inner.len());
            let segment = &inner[at + 1..segment_end];
            let (filter, argument) = match segment.get(..bare_end(segment, b":")) {
                Some(filter) if filter.len() < segment.len() => (filter, Some(&segment[filter.len() + 1..])),
                _ => (segment, None),
            };
            if argument.is_none() && !filter::NAMES.contains(&filter) && self.is_name(filter, ground) {
                begin = all.len();
                all.extend(self.word(filter, offset(at + 1), mark.syntax, ground, &mut told));
                let message =
                    format!("a single bar before `{filter}` is read as `||`: the first that is not empty");
                told.add(Finding::new(Code::MacroBar, self.place, offset(at + 1), message).about(filter));
            } else {
                self.filter_word(&mut all[begin..], filter, argument, offset(at + 1), &mut told);
            }
            at = segment_end;
        }
        all.truncate(ALTERNATIVES_MAX);
        findings.append(told);
        Some(all)
    }

    /// What stands between a word and the first bar. `None`: it is nothing that anyone writes there.
    fn suffix(
        self,
        suffix: &str,
        at: usize,
        word: &mut [Alternative],
        findings: &mut Findings,
    ) -> Option<()> {
        let rest = suffix.get(1..).unwrap_or_default();
        match suffix.as_bytes()[0] {
            // `{cl?Network}`: as the network sent it.
            b'?' if !rest.is_empty() && rest.bytes().all(|b| b.is_ascii_alphanumeric() || b == b' ') => {}
            // `{NETWORK=Some Name}`: 1 or 0.
            b'=' if !rest.is_empty() => {
                self.map_word(word, &[(rest, "1")], Some("0"), at, findings);
            }
            b':' => {
                let rest = rest.trim_start();
                let is_time = word.first().is_some_and(is_time);
                if rest.is_empty() {
                    return None;
                } else if filter::NAMES.contains(&rest) && !matches!(rest, "date" | "map" | "default") {
                    self.filter_word(word, rest, None, at, findings);
                } else if is_time {
                    for alternative in word.iter_mut() {
                        alternative.filters.retain(|filter| !matches!(filter, Filter::Date { .. }));
                    }
                    self.filter_word(word, "date", Some(rest), at, findings);
                } else if !rest.contains('=')
                    && (self.scope == Scope::Link || self.dialect == Dialect::Generic)
                {
                    // `{keyword:shoes}` and `{ifmobile:m}` of search ads: what stands there when there is no value.
                    self.filter_word(word, "default", Some(&escape(rest)), at, findings);
                } else if self.dialect == Dialect::Keitaro
                    && word.first().is_some_and(|word| matches!(word.name.as_str(), "random" | "offer_value"))
                {
                    // `{random:1,99}`, `{offer_value:price}`: which of several, or within which bounds, is left out.
                } else {
                    let plain = rest.replace("%20", " ").replace('+', " ");
                    let pairs: Option<Vec<_>> =
                        plain.split_ascii_whitespace().map(|pair| pair.split_once('=')).collect();
                    self.map_word(word, &pairs?, None, at, findings);
                }
            }
            _ => return None,
        }
        Some(())
    }

    /// A word alone: what it means, or what becomes of it when nobody knows.
    pub(super) fn word(
        self,
        name: &str,
        at: usize,
        syntax: Syntax,
        ground: &Ground,
        findings: &mut Findings,
    ) -> Vec<Alternative> {
        if let Some(known) = self.known(name, at, ground, findings) {
            return known;
        }
        if self.dialect == Dialect::Keitaro
            && let Some(plain) = name.strip_prefix('_').filter(|plain| name_at(plain, 0) == *plain)
            && !plain.is_empty()
        {
            let mut word = self.word(plain, at + 1, syntax, ground, findings);
            self.filter_word(&mut word, "raw", None, at, findings);
            return word;
        }
        if !self.is_typed_in(syntax)
            && let Some(guessed) = self.guessed(name, at, ground, findings)
        {
            return guessed;
        }
        self.unknown(name, at, syntax, ground, findings)
    }

    /// Whether such brackets hold what was typed in when the partner was set up, as Singular's `{{app_id}}` do.
    fn is_typed_in(self, syntax: Syntax) -> bool {
        self.dialect == Dialect::Singular && syntax == Syntax::DoubleBrace
    }

    /// Whether a word is a name for certain, here or among our own.
    fn is_name(self, name: &str, ground: &Ground) -> bool {
        vocabulary::resolve(name, self.scope).is_some()
            || self.known(name, 0, ground, &mut Findings::default()).is_some()
    }

    /// What a word that the dialect does not have may mean all the same.
    fn guessed(
        self,
        name: &str,
        at: usize,
        ground: &Ground,
        findings: &mut Findings,
    ) -> Option<Vec<Alternative>> {
        let word =
            Word { name, parameter: ground.parameter.as_deref(), place: ground.place, scope: self.scope };
        let Meaning::Expression(text) = self.dialect.guess(&word)?;
        let (mut word, _) = expression::meaning(&text, self.scope);
        for alternative in &mut word {
            (alternative.name, alternative.at) = (name.to_owned(), at);
        }
        if word.is_empty() {
            return None;
        }
        // A word of ours that the system does not have can only be ours; no guess is needed.
        if text != name {
            let message = format!("`{name}` is no word of this dialect; it is read as `{{{text}}}`");
            findings.add(Finding::new(Code::MacroGuessed, self.place, at, message).about(name));
        }
        self.note_availability(name, at, &word, findings);
        Some(word)
    }

    /// What a word means by the author's own meanings, by ours (`cfg.…`, `param.…`), or in the dialect.
    pub(super) fn known(
        self,
        name: &str,
        at: usize,
        ground: &Ground,
        findings: &mut Findings,
    ) -> Option<Vec<Alternative>> {
        let text = if let Some(own) = self.macros.get(name) {
            own.as_str().into()
        } else if is_ours(name) {
            name.into()
        } else if self.dialect == Dialect::Canonical {
            vocabulary::resolve(name, self.scope)?;
            name.into()
        } else {
            let word =
                Word { name, parameter: ground.parameter.as_deref(), place: ground.place, scope: self.scope };
            let Meaning::Expression(text) = self.dialect.lookup(&word)?;
            text
        };
        let (mut word, _) = expression::meaning(&text, self.scope);
        for alternative in &mut word {
            (alternative.name, alternative.at) = (name.to_owned(), at);
        }
        self.note_availability(name, at, &word, findings);
        (!word.is_empty()).then_some(word)
    }

    /// A word that nobody knows: a setting where only a setting can be meant, else a link parameter of that name,
    /// or its own text.
    pub(super) fn unknown(
        self,
        name: &str,
        at: usize,
        syntax: Syntax,
        ground: &Ground,
        findings: &mut Findings,
    ) -> Vec<Alternative> {
        let is_typed_in = match ground.place {
            Place::Scheme | Place::Host | Place::Userinfo => self.dialect != Dialect::Canonical,
            Place::Path => self.dialect == Dialect::Generic,
            _ => false,
        } || self.is_typed_in(syntax);
        let setting = setting_name(name);
        let (subject, key) = if is_typed_in && !setting.is_empty() {
            let message = format!("`{name}` is taken for the partner's own setting `cfg.{setting}`");
            findings.add(Finding::new(Code::MacroBecameSetting, self.place, at, message).about(name));
            (Subject::Setting, format!("cfg.{setting}"))
        } else {
            let message =
                format!("`{name}` is no macro here; it keeps its text unless the link has such a parameter");
            let likely = if ground.is_crowded { None } else { suggestion::macro_name(name) };
            findings
                .add(Finding::new(Code::MacroUnknown, self.place, at, message).about(name).likely(likely));
            (Subject::Loose, format!("param.{name}"))
        };
        vec![Alternative { name: name.to_owned(), key, subject, filters: Vec::new(), at }]
    }

    fn note_availability(self, name: &str, at: usize, word: &[Alternative], findings: &mut Findings) {
        let is = |wanted: fn(Availability) -> bool| {
            !word.is_empty()
                && word.iter().all(|alternative| {
                    matches!(alternative.subject, Subject::Known | Subject::Sending)
                        && vocabulary::find(&alternative.key).is_some_and(|m| wanted(m.availability))
                })
        };
        let (code, message) = if is(|availability| availability == Availability::Later) {
            (Code::MacroNotFilled, "is known but never filled by this version")
        } else if self.scope != Scope::Postback
            && is(|availability| matches!(availability, Availability::Event | Availability::Sending))
        {
            (Code::MacroUnavailable, "is not known at the click; it is empty here")
        } else {
            return;
        };
        findings.add(Finding::new(code, self.place, at, format!("`{name}` {message}")).about(name));
    }

    /// Puts a filter on a word, which may be several alternatives. A default belongs to the last of them: after
    /// the first, no other would ever be asked.
    pub(super) fn filter_word(
        self,
        word: &mut [Alternative],
        name: &str,
        argument: Option<&str>,
        at: usize,
        findings: &mut Findings,
    ) {
        let from = if name == "default" { word.len().saturating_sub(1) } else { 0 };
        let mut told = Findings::default();
        for (index, alternative) in word.iter_mut().enumerate().skip(from) {
            let into = if index == from { &mut *findings } else { &mut told };
            self.reading().filter(alternative, name, argument, at, into);
        }
    }

    /// Maps the value of a word, which may be several alternatives. `other` is for all values that are not
    /// listed, and for none.
    pub(super) fn map_word(
        self,
        word: &mut [Alternative],
        pairs: &[(&str, &str)],
        other: Option<&str>,
        at: usize,
        findings: &mut Findings,
    ) {
        let mut argument: Vec<String> =
            pairs.iter().map(|(from, to)| format!("{}={}", escape(from), escape(to))).collect();
        if let Some(other) = other {
            argument.push(format!("*={}", escape(other)));
        }
        let last = word.len().saturating_sub(1);
        let (before, after) = word.split_at_mut(last);
        for alternative in before {
            // Nothing stays nothing, so that the next one is asked.
            let mut argument = argument.clone();
            argument.retain(|pair| !pair.starts_with('='));
            argument.insert(0, "=".to_owned());
            self.reading().filter(alternative, "map", Some(&argument.join(",")), at, findings);
        }
        for alternative in after {
            self.reading().filter(alternative, "map", Some(&argument.join(",")), at, findings);
        }
    }
}

/// Whether a name is of one of our families, which are the same in every dialect.
pub(super) fn is_ours(name: &str) -> bool {
    ["cfg.", "param.", "signature."].iter().any(|family| {
        name.strip_prefix(family).is_some_and(|rest| !rest.is_empty() && name_at(name, 0) == name)
    })
}

/// Whether a word's value is a time, so that what stands after its colon is a format.
fn is_time(alternative: &Alternative) -> bool {
    alternative.filters.iter().any(|filter| matches!(filter, Filter::Date { .. }))
        || vocabulary::find(&alternative.key).is_some_and(vocabulary::Macro::is_time)
}

/// Makes text plain in a filter's argument.
pub(super) fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for character in text.chars() {
        if matches!(character, '\\' | '|' | '{' | '}' | ',' | '=' | '*') {
            escaped.push('\\');
        }
        escaped.push(character);
    }
    escaped
}

/// The name of a setting for a word: lower case, letters, digits and `_`; empty if nothing is left.
pub(super) fn setting_name(word: &str) -> String {
    let mut name = String::with_capacity(word.len());
    for character in word.chars() {
        let plain = if character.is_ascii_alphanumeric() { character.to_ascii_lowercase() } else { '_' };
        if plain != '_' || !name.ends_with('_') {
            name.push(plain);
        }
    }
    let name = name.trim_matches('_');
    name.get(..64).unwrap_or(name).to_owned()
}

#[cfg(test)]
mod tests;
