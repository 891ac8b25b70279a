//! Whose macros a pasted template is written in.
//!
//! This proposes and never applies: many systems share their words, and a host only says who receives the
//! request, not who sends it. A person decides.

use super::dialect::{Dialect, Word};
use super::foreign::is_ours;
use super::position::{Position, Shape};
use super::syntax::{Mark, Syntax, name_at};
use super::{Place, Scope, freemarker, vocabulary};

/// One guess.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Proposal {
    /// The dialect.
    pub dialect: Dialect,
    /// Why, in words for a person.
    pub because: String,
    /// From 0 to 99. It orders guesses, and is no probability.
    pub certainty: u8,
}

/// Guesses below this are not worth a person's time.
const CERTAINTY_MIN: u32 = 20;
/// By how much one system must be ahead of the next to stand out.
const AHEAD: u32 = 3;
/// What a name says; more than all words together, and less than all words and brackets.
const NAMED: u32 = 65;
/// What the name of a system says that does not write macros so.
const MISNAMED: u32 = 10;
/// What the host says, which is only who receives.
const HOST: u32 = 8;
/// The certainty of our own dialect when every macro is one of ours.
const OURS: u32 = 75;
/// Most words that are looked at; a pasted page of text has said what it is by then.
const WORDS_MAX: usize = 200;

/// Names of systems as people write them, in lower case without spaces.
const NAMES: &[(&str, Dialect)] = &[
    ("roundtrip", Dialect::Canonical),
    ("canonical", Dialect::Canonical),
    ("linkrunner", Dialect::Linkrunner),
    ("appsflyer", Dialect::Appsflyer),
    ("onelink", Dialect::Appsflyer),
    ("adjust", Dialect::Adjust),
    ("branch", Dialect::Branch),
    ("singular", Dialect::Singular),
    ("appmetrica", Dialect::Appmetrica),
    ("airbridge", Dialect::Airbridge),
    ("trackier", Dialect::Trackier),
    ("tune", Dialect::Tune),
    ("hasoffers", Dialect::Tune),
    ("everflow", Dialect::Everflow),
    ("affise", Dialect::Affise),
    ("scaleo", Dialect::Scaleo),
    ("cake", Dialect::Cake),
    ("voluum", Dialect::Voluum),
    ("bemob", Dialect::Bemob),
    ("keitaro", Dialect::Keitaro),
    ("binom", Dialect::Binom),
    ("tracknow", Dialect::Tracknow),
    ("kochava", Dialect::Kochava),
    ("redtrack", Dialect::Redtrack),
    ("admitad", Dialect::Admitad),
];

/// What is said of a template in which the named system only receives.
const RECEIVES: &[&str] = &["calls the tracker", "source macros"];

/// Hosts of systems, and whose they are.
const HOSTS: &[(&str, Dialect)] = &[
    ("abr.ge", Dialect::Airbridge),
    ("adj.st", Dialect::Adjust),
    ("adjust.com", Dialect::Adjust),
    ("admitad.com", Dialect::Admitad),
    ("affise.com", Dialect::Affise),
    ("airbridge.io", Dialect::Airbridge),
    ("app.link", Dialect::Branch),
    ("appmetrica.yandex.com", Dialect::Appmetrica),
    ("appmetrica.yandex.ru", Dialect::Appmetrica),
    ("appsflyer.com", Dialect::Appsflyer),
    ("bemobtrcks.com", Dialect::Bemob),
    ("bnc.lt", Dialect::Branch),
    ("branch.io", Dialect::Branch),
    ("everflow.io", Dialect::Everflow),
    ("go2cloud.org", Dialect::Tune),
    ("hasoffers.com", Dialect::Tune),
    ("kochava.com", Dialect::Kochava),
    ("linkrunner.io", Dialect::Linkrunner),
    ("onelink.me", Dialect::Appsflyer),
    ("rdtk.io", Dialect::Redtrack),
    ("redtrack.io", Dialect::Redtrack),
    ("scaleo.io", Dialect::Scaleo),
    ("scaletrk.com", Dialect::Scaleo),
    ("singular.net", Dialect::Singular),
    ("smart.link", Dialect::Kochava),
    ("sng.link", Dialect::Singular),
    ("tracknow.info", Dialect::Tracknow),
    ("trackier.com", Dialect::Trackier),
    ("voluumtrk.com", Dialect::Voluum),
];

/// Guesses whose macros a template has, the best first; there is always one. `hint` is what its author calls the
/// system it comes from (`AppsFlyer`, `TUNE (HasOffers)`, `any`).
pub fn detect(text: &str, hint: Option<&str>) -> Vec<Proposal> {
    let seen = Seen::of(text);
    // A system whose brackets the template does not have was named for something else.
    let (named, misnamed) = match hint.and_then(name) {
        Some(dialect) if seen.can_be(dialect) => (Some(dialect), None),
        other => (None, other),
    };
    let host = host(text).and_then(|host| owner(&host));
    let mut guesses: Vec<(u32, Proposal)> = Vec::new();
    for &dialect in Dialect::ALL {
        let mut reasons = Vec::new();
        let mut score = seen.score(dialect, &mut reasons);
        if named == Some(dialect) {
            score += NAMED;
            reasons.insert(0, "it is named".to_owned());
        } else if misnamed == Some(dialect) {
            score += MISNAMED;
            reasons.insert(0, "it is named, but does not write macros like this".to_owned());
        }
        if let Some((known, _)) = host.filter(|(_, owner)| *owner == dialect) {
            score += HOST;
            reasons.push(format!("the URL leads to {known}"));
        }
        guesses.push((score, Proposal { dialect, because: reasons.join("; "), certainty: 0 }));
    }
    let mut systems: Vec<(u32, Dialect)> = guesses
        .iter()
        .filter(|(_, guess)| is_system(guess.dialect))
        .map(|(score, guess)| (*score, guess.dialect))
        .collect();
    systems.sort_by_key(|(score, _)| std::cmp::Reverse(*score));
    let (best, dialect) = systems.first().copied().unwrap_or((0, Dialect::Generic));
    let next = systems.get(1).map_or(0, |(score, _)| *score);
    let is_bare = !seen.words.is_empty() && seen.words.iter().all(|word| word.syntax == Syntax::Bare);
    // Bare words are read by nobody else, so the first who has them is as good a guess as there is.
    let stands_out = named.is_some() || is_bare || seen.has_most(dialect) && best >= next + AHEAD;
    for (score, guess) in &mut guesses {
        match guess.dialect {
            Dialect::Generic => {
                // Everybody's words are the generic ones too, so having them says nothing for it.
                *score = (*score / 2).max(CERTAINTY_MIN);
                if !stands_out {
                    *score = (*score).max(best + 1);
                    guess.because = "no system stands out".to_owned();
                }
            }
            Dialect::Canonical if !seen.is_canonical() => *score /= 2,
            Dialect::Canonical if named.is_some_and(is_system) => {}
            Dialect::Canonical => *score = (*score).max(OURS),
            _ => {}
        }
        guess.certainty = u8::try_from((*score).min(99)).unwrap_or(99);
    }
    guesses.retain(|(score, _)| *score >= CERTAINTY_MIN);
    guesses.sort_by_key(|(score, _)| std::cmp::Reverse(*score));
    guesses.into_iter().map(|(_, guess)| guess).collect()
}

/// Whether it is the dialect of some system, and not ours or everybody's.
const fn is_system(dialect: Dialect) -> bool {
    !matches!(dialect, Dialect::Canonical | Dialect::Generic)
}

/// The system that is named, if it speaks and does not only receive.
fn name(hint: &str) -> Option<Dialect> {
    let lower = hint.to_lowercase();
    if RECEIVES.iter().any(|phrase| lower.contains(phrase)) {
        return None;
    }
    let words = || lower.split(|c: char| !c.is_alphanumeric()).filter(|word| !word.is_empty());
    let joined: String = words().collect();
    NAMES
        .iter()
        .find(|(known, _)| words().any(|word| word == *known) || joined == *known)
        .map(|(_, dialect)| *dialect)
        .or_else(|| Dialect::from_name(&joined).filter(|dialect| *dialect != Dialect::Generic))
}

/// The URL's host in lower case, without user and port.
fn host(text: &str) -> Option<String> {
    let (_, rest) = text.split_once("://")?;
    let authority = rest.split(['/', '?', '#', '\\']).next()?;
    let host = authority.rsplit('@').next()?.split(':').next()?;
    Some(host.to_ascii_lowercase())
}

/// The system that a hint names, if it speaks and does not only receive.
pub(super) fn named(hint: &str) -> Option<Dialect> {
    name(hint).filter(|dialect| is_system(*dialect))
}

/// The system whose host a URL leads to.
pub(super) fn host_owner(url: &str) -> Option<Dialect> {
    host(url).and_then(|host| owner(&host)).map(|(_, dialect)| *dialect)
}

/// Whose host it is.
fn owner(host: &str) -> Option<&'static (&'static str, Dialect)> {
    HOSTS.iter().find(|(known, _)| {
        host.strip_suffix(known).is_some_and(|before| before.is_empty() || before.ends_with('.'))
    })
}

/// The words of a template, each once.
struct Seen {
    words: Vec<SeenWord>,
    /// In scheme or host stands what we would not fill in.
    has_foreign_host: bool,
}

/// A word, and who has it.
struct SeenWord {
    syntax: Syntax,
    inner: String,
    known: Vec<Dialect>,
}

impl Seen {
    fn of(text: &str) -> Self {
        let mut seen = Self { words: Vec::new(), has_foreign_host: false };
        let mut position = Position::new(text, Shape::Url);
        let mut at = 0;
        while at < text.len() && seen.words.len() < WORDS_MAX {
            let Some(found) = find(text, at, &mut position) else {
                at += 1;
                continue;
            };
            let (end, syntax, inner) = found;
            seen.add(syntax, inner, &position);
            if syntax == Syntax::Bare {
                position.advance(end);
            } else {
                position.skip(end);
            }
            at = end;
        }
        seen
    }

    fn add(&mut self, syntax: Syntax, inner: &str, position: &Position<'_>) {
        // In scheme and host a macro is the partner's own setting in every dialect, and so says nothing.
        let is_told = self.words.iter().any(|word| word.syntax == syntax && word.inner == inner);
        if position.place() == Some(Place::Host) {
            self.has_foreign_host |= !inner.starts_with("cfg.");
            return;
        }
        if is_told || syntax == Syntax::Brace && is_ours(name_at(inner, 0)) {
            return;
        }
        let parameter = position.parameter();
        let has = |dialect: Dialect, name: &str| {
            if dialect == Dialect::Canonical {
                return vocabulary::resolve(name, Scope::Postback).is_some()
                    || name.starts_with("cfg.")
                    || name.starts_with("param.");
            }
            let place = position.place().unwrap_or(Place::Url);
            let word = Word { name, parameter: parameter.as_deref(), place, scope: Scope::Postback };
            dialect.lookup(&word).is_some()
        };
        let name = name_at(inner, 0);
        let known: Vec<Dialect> = Dialect::ALL
            .iter()
            .copied()
            .filter(|dialect| is_written(*dialect, syntax))
            .filter(|dialect| has(*dialect, inner) || !name.is_empty() && has(*dialect, name))
            .collect();
        // A bare word is a word only if somebody has it.
        if syntax != Syntax::Bare || !known.is_empty() {
            self.words.push(SeenWord { syntax, inner: inner.to_owned(), known });
        }
    }

    /// Whether a system could have written any of it.
    fn can_be(&self, dialect: Dialect) -> bool {
        self.words.is_empty() || self.words.iter().any(|word| is_written(dialect, word.syntax))
    }

    /// Whether a system has all words, or at least four of five.
    fn has_most(&self, dialect: Dialect) -> bool {
        let count = self.words.iter().filter(|word| word.known.contains(&dialect)).count();
        let all = self.words.len();
        count > 0 && (count == all || all >= 5 && count * 5 >= all * 4)
    }

    /// Whether everything in it is a macro of ours.
    fn is_canonical(&self) -> bool {
        let plain = |word: &SeenWord| {
            let name = name_at(&word.inner, 0);
            let rest = &word.inner[name.len()..];
            word.known.contains(&Dialect::Canonical) && (rest.is_empty() || rest.starts_with('|'))
        };
        !self.has_foreign_host && self.words.iter().all(plain)
    }

    /// How well a dialect fits: up to 40 for the share of the words that it has, up to 20 for those that few
    /// others have, up to 10 for its brackets.
    fn score(&self, dialect: Dialect, reasons: &mut Vec<String>) -> u32 {
        if self.words.is_empty() {
            return 0;
        }
        let has = |word: &&SeenWord| word.known.contains(&dialect);
        let count = self.words.iter().filter(has).count();
        let systems = |word: &SeenWord| word.known.iter().filter(|dialect| is_system(**dialect)).count();
        let rarity = |word: &SeenWord| 1000_usize.checked_div(systems(word)).unwrap_or_default();
        let rare: usize = self.words.iter().filter(has).map(rarity).sum();
        let all: usize = self.words.iter().map(rarity).sum();
        let mut score = 40 * count / self.words.len();
        score += (20 * rare).checked_div(all).unwrap_or_default();
        if count > 0 {
            reasons.push(format!("it has {count} of the {} words", self.words.len()));
        }
        let own = self.words.iter().find(|word| {
            // Many write double braces, each for something else.
            !matches!(word.syntax, Syntax::Brace | Syntax::DoubleBrace | Syntax::Bare)
                && is_written(dialect, word.syntax)
        });
        if let Some(word) = own
            && dialect != Dialect::Generic
        {
            score += 10;
            let (open, close) = word.syntax.brackets();
            reasons.push(format!("it writes macros as `{open}x{close}`"));
        }
        u32::try_from(score).unwrap_or_default()
    }
}

/// Whether a dialect has such brackets.
fn is_written(dialect: Dialect, syntax: Syntax) -> bool {
    match dialect {
        Dialect::Canonical => syntax == Syntax::Brace,
        _ => dialect.syntaxes().contains(&syntax),
    }
}

/// The macro that begins at an offset in anybody's syntax: its end, its syntax and its word.
fn find<'t>(text: &'t str, at: usize, position: &mut Position<'_>) -> Option<(usize, Syntax, &'t str)> {
    text.get(at..).filter(|rest| rest.is_char_boundary(0))?;
    if let Some((end, path)) = freemarker::find(text, at).and_then(|found| Some((found.end, found.path()?)))
        && (text[at..].starts_with('<') || text[at..end].contains(['!', '?', '(', '.']))
    {
        position.advance(at);
        return Some((end, Syntax::FreeMarker, path));
    }
    let marks = Syntax::BRACKETS.iter().filter_map(|syntax| syntax.mark(text, at));
    for mark in marks {
        position.advance(at);
        if is_macro(text, &mark, position) {
            return Some((mark.end, mark.syntax, mark.inner));
        }
    }
    None
}

fn is_macro(text: &str, mark: &Mark<'_>, position: &Position<'_>) -> bool {
    if mark.syntax.is_sure() {
        return true;
    }
    if position.is_in_name() || mark.could_be_escape(text) {
        return false;
    }
    match mark.syntax {
        Syntax::Bare => {
            position.is_whole(mark.at, mark.end) && !mark.inner.bytes().any(|byte| byte.is_ascii_lowercase())
        }
        _ => position.value().is_some() || position.is_whole(mark.at, mark.end),
    }
}

#[cfg(test)]
mod tests;
