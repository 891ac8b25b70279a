//! Dialects: how each system writes macros, and what its words mean here.
//!
//! A dialect is a set of [`Syntax`]es and a vocabulary. A vocabulary maps a system's word to a *canonical
//! expression*, written as text (`gaid|md5`, `idfa||gaid`, `event_time|date:%Y-%m-%d`), which is read by the same
//! reader as our own templates: there is one set of values and one set of filters behind all dialects. A word
//! means different things in different systems, so no word is looked up in another system's table.

use std::borrow::Cow;

use super::syntax::Syntax;
use super::{Place, Scope};

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

    /// How macros are written in it, longest brackets first.
    pub(super) const fn syntaxes(self) -> &'static [Syntax] {
        &[Syntax::Brace]
    }

    /// What a word of this dialect means. `None`: its vocabulary does not have it.
    pub(super) fn lookup(self, _word: &Word<'_>) -> Option<Meaning> {
        None
    }
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
