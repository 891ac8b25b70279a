//! Dialects: how each system writes macros, and what its words mean here.
//!
//! A dialect is a set of [`Syntax`]es and a vocabulary. A vocabulary maps a system's word to a *canonical
//! expression*, written as text (`gaid|md5`, `idfa||gaid`, `event_time|date:%Y-%m-%d`), which is read by the same
//! reader as our own templates: there is one set of values and one set of filters behind all dialects. A word
//! means different things in different systems, so no word is looked up in another system's table.

mod adjust;
mod airbridge;
mod appmetrica;
mod appsflyer;
mod branch;
mod generic;
mod kochava;
mod linkrunner;
mod networks;
mod parameters;
mod singular;
mod table;
mod trackers;
mod tune;
mod words;

#[cfg(test)]
mod tests;

use std::borrow::Cow;

use self::table::{Beyond, Row, Spelling, Vocabulary};
use super::syntax::Syntax;
use super::{Place, Scope};

/// The words of our own templates are the vocabulary itself.
const CANONICAL: Vocabulary = Vocabulary {
    title: "Roundtrip",
    note: "Our own: `{name}`, `{name|filter:argument}`, `{first||second}`.",
    is_incomplete: false,
    syntaxes: &[Syntax::Brace],
    spelling: Spelling::Exact,
    words: &[],
    beyond: Beyond::Nothing,
    called_at: &[],
    link: &[],
};

/// All brackets. Bare words are none: in an unknown system any value could be one.
const BRACKETS: &[Syntax] = &[
    Syntax::TripleSquare,
    Syntax::DoubleSquare,
    Syntax::DoubleBrace,
    Syntax::DollarBrace,
    Syntax::HashBrace,
    Syntax::PercentBrace,
    Syntax::BraceDollar,
    Syntax::DoubleHash,
    Syntax::DoublePercent,
    Syntax::Underscores,
    Syntax::Angle,
    Syntax::Brace,
    Syntax::Round,
    Syntax::Square,
    Syntax::Hash,
    Syntax::Percent,
];

const GENERIC: Vocabulary = Vocabulary {
    title: "Shared words",
    note: "For pasted templates whose system is not known: any brackets, words in any case and spelling, and the \
           parameter's name where the word says nothing.",
    is_incomplete: false,
    syntaxes: BRACKETS,
    spelling: Spelling::Folded,
    words: words::STRONG,
    beyond: Beyond::Shared,
    called_at: &[],
    link: &[generic::LINK_TABLE],
};

/// Whose macros a template is written in. Append-only: the stored form of a rule names its dialect.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Dialect {
    /// Roundtrip's own: `{name}`, `{name|filter:argument}`, `{first||second}`.
    #[default]
    Canonical,
    /// Words that many systems share, in any syntax that cannot be mistaken: for pasted templates whose system is
    /// not known.
    Generic,
    /// Linkrunner.
    Linkrunner,
    /// AppsFlyer: `(name)`, and `{name}` in its newer pages.
    Appsflyer,
    /// Adjust: `{name}`.
    Adjust,
    /// Branch: FreeMarker over the event tree.
    Branch,
    /// Singular: `{NAME}`, `{name?Network}`.
    Singular,
    /// AppMetrica: `{name}`, and every link parameter by its own name.
    Appmetrica,
    /// Airbridge: `{a.b.c}`, `{@a.b}`.
    Airbridge,
    /// Trackier.
    Trackier,
    /// TUNE (HasOffers).
    Tune,
    /// Everflow.
    Everflow,
    /// Affise.
    Affise,
    /// Scaleo.
    Scaleo,
    /// CAKE: `#x#`.
    Cake,
    /// Voluum: `{x}`, and bare words in capitals.
    Voluum,
    /// BeMob: `{x}`, and bare words in capitals.
    Bemob,
    /// Keitaro: `{x}`, `{_x}`, `{x:map}`.
    Keitaro,
    /// Binom.
    Binom,
    /// Tracknow.
    Tracknow,
    /// Kochava; incomplete.
    Kochava,
    /// RedTrack; incomplete.
    Redtrack,
    /// admitad; incomplete: `[[[x]]]`.
    Admitad,
}

impl Dialect {
    /// All dialects, in the order in which they are listed to people.
    pub const ALL: &'static [Self] = &[
        Self::Canonical,
        Self::Generic,
        Self::Linkrunner,
        Self::Appsflyer,
        Self::Adjust,
        Self::Branch,
        Self::Singular,
        Self::Appmetrica,
        Self::Airbridge,
        Self::Trackier,
        Self::Tune,
        Self::Everflow,
        Self::Affise,
        Self::Scaleo,
        Self::Cake,
        Self::Voluum,
        Self::Bemob,
        Self::Keitaro,
        Self::Binom,
        Self::Tracknow,
        Self::Kochava,
        Self::Redtrack,
        Self::Admitad,
    ];

    /// The stable word for this dialect in configuration and stored rules.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Canonical => "canonical",
            Self::Generic => "generic",
            Self::Linkrunner => "linkrunner",
            Self::Appsflyer => "appsflyer",
            Self::Adjust => "adjust",
            Self::Branch => "branch",
            Self::Singular => "singular",
            Self::Appmetrica => "appmetrica",
            Self::Airbridge => "airbridge",
            Self::Trackier => "trackier",
            Self::Tune => "tune",
            Self::Everflow => "everflow",
            Self::Affise => "affise",
            Self::Scaleo => "scaleo",
            Self::Cake => "cake",
            Self::Voluum => "voluum",
            Self::Bemob => "bemob",
            Self::Keitaro => "keitaro",
            Self::Binom => "binom",
            Self::Tracknow => "tracknow",
            Self::Kochava => "kochava",
            Self::Redtrack => "redtrack",
            Self::Admitad => "admitad",
        }
    }

    /// Reads the stable word back.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|dialect| dialect.as_str() == name)
    }

    const fn vocabulary(self) -> &'static Vocabulary {
        match self {
            Self::Canonical => &CANONICAL,
            Self::Generic => &GENERIC,
            Self::Linkrunner => &linkrunner::LINKRUNNER,
            Self::Appsflyer => &appsflyer::APPSFLYER,
            Self::Adjust => &adjust::ADJUST,
            Self::Branch => &branch::BRANCH,
            Self::Singular => &singular::SINGULAR,
            Self::Appmetrica => &appmetrica::APPMETRICA,
            Self::Airbridge => &airbridge::AIRBRIDGE,
            Self::Trackier => &networks::TRACKIER,
            Self::Tune => &tune::TUNE,
            Self::Everflow => &networks::EVERFLOW,
            Self::Affise => &networks::AFFISE,
            Self::Scaleo => &networks::SCALEO,
            Self::Cake => &networks::CAKE,
            Self::Voluum => &trackers::VOLUUM,
            Self::Bemob => &trackers::BEMOB,
            Self::Keitaro => &trackers::KEITARO,
            Self::Binom => &trackers::BINOM,
            Self::Tracknow => &networks::TRACKNOW,
            Self::Kochava => &kochava::KOCHAVA,
            Self::Redtrack => &trackers::REDTRACK,
            Self::Admitad => &networks::ADMITAD,
        }
    }

    /// The system's name, for people.
    pub const fn title(self) -> &'static str {
        self.vocabulary().title
    }

    /// Who uses it, and what is worth knowing of it, in a sentence or two.
    pub const fn note(self) -> &'static str {
        self.vocabulary().note
    }

    /// Whether the system's own list of words could not be read to the end. A word that is not here may still be one.
    pub const fn is_incomplete(self) -> bool {
        self.vocabulary().is_incomplete
    }

    /// Its words, and the canonical expression that each stands for. Words that the parameter settles have their
    /// usual meaning. Our own words are in [`super::VOCABULARY`] instead.
    pub fn words(self) -> impl Iterator<Item = (&'static str, &'static str)> {
        let shared: &'static [&'static [Row]] = if self == Self::Generic { generic::TABLES } else { &[] };
        self.vocabulary().words.iter().chain(shared).flat_map(|table| table.iter().copied())
    }

    /// The parameters of its tracking links, and the canonical name of what each holds.
    pub fn link_parameters(self) -> impl Iterator<Item = (&'static str, &'static str)> {
        self.vocabulary().link.iter().flat_map(|table| table.iter().copied())
    }

    /// How macros are written in it, longest brackets first.
    pub(super) const fn syntaxes(self) -> &'static [Syntax] {
        self.vocabulary().syntaxes
    }

    /// How macros are written in a template of that use. A link's macros are the network's, whoever the tracker is.
    pub(super) const fn syntaxes_for(self, scope: Scope) -> &'static [Syntax] {
        match (self, scope) {
            (Self::Canonical, _) | (_, Scope::Postback | Scope::Destination) => self.syntaxes(),
            (_, Scope::Link) => Self::Generic.syntaxes(),
        }
    }

    /// What a word of this dialect stands for when nothing is known of where it stands.
    pub(super) fn word(self, word: &str) -> Option<&'static str> {
        match self {
            Self::Generic => generic::word(word),
            _ => self.vocabulary().find(word),
        }
    }

    /// What a word of this dialect means. `None`: its vocabulary does not have it. In scheme and host nothing has a
    /// meaning: only a setting may stand there, whatever its name.
    pub(super) fn lookup(self, word: &Word<'_>) -> Option<Meaning> {
        if matches!(word.place, Place::Scheme | Place::Host | Place::Userinfo) {
            return None;
        }
        let own = self.vocabulary();
        let found = match self {
            Self::Canonical => None,
            _ if word.scope == Scope::Link => {
                let link = if self == Self::Generic { &[] } else { own.link };
                generic::lookup_link(word, link)
            }
            Self::Generic => generic::lookup(word),
            _ => self.lookup_own(word),
        };
        found.map(Meaning::Expression)
    }

    fn lookup_own(self, word: &Word<'_>) -> Option<Cow<'static, str>> {
        let own = self.vocabulary();
        let is_called = |(parameter, name): &Row| {
            word.parameter == Some(parameter) && table::is_same(name, word.name, own.spelling)
        };
        if own.called_at.iter().any(is_called) {
            return Some("partner_click_id".into());
        }
        match self {
            Self::Voluum | Self::Bemob => {
                if let Some(expression) = trackers::bare(word) {
                    return Some(expression.into());
                }
            }
            Self::Tune => return tune::special(word.name),
            _ => {}
        }
        if let Some(expression) = own.find(word.name) {
            return Some(expression.into());
        }
        let parameter = match self {
            Self::Branch => branch::touch_parameter(word.name),
            Self::Airbridge => airbridge::link_parameter(word.name),
            _ => None,
        };
        parameter.map(|name| format!("param.{name}").into())
    }

    /// What a macro may mean that [`Self::lookup`] does not know: by the words that many systems share, by its last
    /// parts, or by the parameter. To be asked only where there is a macro for certain: at a parameter like
    /// `clickid` any word has some meaning.
    pub(super) fn guess(self, word: &Word<'_>) -> Option<Meaning> {
        if matches!(word.place, Place::Scheme | Place::Host | Place::Userinfo) {
            return None;
        }
        let own = self.vocabulary();
        let is_name = |name: &str| {
            name.bytes().next().is_some_and(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
                && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"_-".contains(&byte))
        };
        let found = match self {
            Self::Canonical => None,
            _ if word.scope == Scope::Link => {
                let link = if self == Self::Generic { &[] } else { own.link };
                generic::guess_link(word, link)
            }
            _ => match own.beyond {
                Beyond::Nothing => None,
                Beyond::Shared => {
                    let shared = generic::lookup(word).or_else(|| generic::guess(word));
                    let shared = shared.map(|shared| generic::echoed(self, shared, word.name));
                    shared.or_else(|| generic::echo(self, word.name))
                }
                Beyond::Parameter => is_name(word.name).then(|| format!("param.{}", word.name).into()),
            },
        };
        found.map(Meaning::Expression)
    }
}

/// The plain canonical name that a word of some system likely stands for.
pub(super) fn likely_name(word: &str) -> Option<&'static str> {
    generic::plain_name(word)
}

/// A macro's word, and where it stands.
#[derive(Debug, Clone, Copy)]
pub(super) struct Word<'a> {
    /// The text between the brackets, filters and maps taken off.
    pub(super) name: &'a str,
    /// The decoded name of the query or form parameter whose value it is, or is part of.
    pub(super) parameter: Option<&'a str>,
    /// The part of the request.
    pub(super) place: Place,
    /// What the template is for.
    pub(super) scope: Scope,
}

/// What a foreign word means.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Meaning {
    /// A canonical expression without its braces: `gaid|md5`, `idfa||gaid`, `cfg.token`, `param.banner`.
    Expression(Cow<'static, str>),
}
