//! Import: from a tracking URL or postback URL of another system to a link or a rule, and a list of what could not
//! be carried over.
//!
//! The cast:
//! - `pasted` takes the URL apart as it is written and refuses what is certainly a slip.
//! - `system` says whose it is and whether it is a link or a postback, with reasons. It proposes; a person decides.
//! - `tracking` makes a link of it, in its system's own dialect, so that the old URL goes on working once its host
//!   leads here; `callback` makes rules of the postbacks that Adjust's links carry inside.
//! - `postback` makes a rule of it; `secret` moves what is a credential into the partner's settings; `canonical`
//!   writes the same template in our own macros.
//! - `behaviour` knows the parameters whose effect does not come along.
//!
//! Every parameter and every macro of the input stands in `carried` or in `lost`: nothing is dropped without a word.
//!
//! Not relied on: nothing is changed, sent or looked up here, and whether the drafts fit what is set up already is
//! judged where settings are.

mod behaviour;
mod callback;
mod canonical;
mod name;
mod pasted;
mod postback;
mod secret;
mod system;
mod tracking;

#[cfg(test)]
mod tests;

use crate::event::ConversionKind;
use crate::link_dialect::LinkDialect;
use crate::problem::{Code, Problem};
use crate::template::{Body, Dialect, Parts};

use self::pasted::Pasted;

/// What is shown where a credential stands.
const MASKED: &str = "••••";
/// Longest piece of a value that is shown, in characters.
const SHOWN_CHARS_MAX: usize = 120;

/// What to import, and what its owner says of it.
#[derive(Debug, Clone, Default)]
pub struct Input {
    /// The pasted URL.
    pub url: String,
    /// What it is; absent: it is looked at.
    pub kind: Option<Kind>,
    /// The system it comes from, as people write its name; absent: it is looked at.
    pub from: Option<String>,
    /// The app, by slug.
    pub app: Option<String>,
    /// The campaign, by slug.
    pub campaign: Option<String>,
    /// The partner, by slug.
    pub partner: Option<String>,
    /// What the link or rule is to be called.
    pub slug: Option<String>,
    /// Which conversions a postback tells of.
    pub on: Option<ConversionKind>,
    /// Whether the partner may see amounts.
    pub share_revenue: bool,
    /// Where our own links begin, such as `https://go.shop.example`; absent: a placeholder.
    pub public_url: Option<String>,
    /// A postback's method; absent: GET, or POST where there is a body.
    pub method: Option<String>,
    /// A postback's headers.
    pub headers: Vec<(String, String)>,
    /// A postback's body.
    pub body: Body,
}

/// What a URL is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Kind {
    /// A tracking URL: a link.
    Link,
    /// A postback URL: a rule.
    Rule,
}

impl Kind {
    /// Its word in answers.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Link => "link",
            Self::Rule => "rule",
        }
    }

    /// The kind that a caller names: `link`, `postback` or `rule`.
    pub fn from_name(name: &str) -> Option<Self> {
        match name {
            "link" => Some(Self::Link),
            "postback" | "rule" => Some(Self::Rule),
            _ => None,
        }
    }
}

/// A system that it may come from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Candidate {
    /// The dialect's word, of links or of macros.
    pub system: String,
    /// Why, for a person.
    pub because: String,
    /// From 0 to 99. It orders, and is no probability.
    pub certainty: u8,
}

/// Something that came along.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Carried {
    /// `parameter NAME`, `macro TEXT`, `host`, `path`, `header NAME`, …
    pub what: String,
    /// Its value, shortened; credentials are masked.
    pub value: String,
    /// Where it went: a field of a document, or the URL to hand out.
    pub to: String,
    /// What is worth knowing of it; may be empty.
    pub note: String,
}

/// Something that did not come along, or not with its effect.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Lost {
    /// As in [`Carried::what`].
    pub what: String,
    /// Its value, shortened; credentials are masked.
    pub value: String,
    /// Why.
    pub reason: String,
    /// What to do about it.
    pub fix: String,
}

/// Something that the URL does not say and a document needs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Missing {
    /// The field of a document.
    pub field: String,
    /// What stands there now, and why that is a guess.
    pub reason: String,
    /// What to do about it.
    pub fix: String,
}

/// A campaign that the link belongs to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CampaignDraft {
    /// Its slug.
    pub slug: String,
    /// The app's slug.
    pub app: String,
    /// Its name where the URL gives one.
    pub name: Option<String>,
    /// Its public id where that is not the slug.
    pub public_id: Option<String>,
}

/// A partner. Its settings hold credentials, so it prints nothing of them.
#[derive(Clone, PartialEq, Eq)]
pub struct PartnerDraft {
    /// Its slug.
    pub slug: String,
    /// Its public id where that is not the slug.
    pub ref_id: Option<String>,
    /// Settings for `{cfg.NAME}`, in the order in which they were found.
    pub cfg: Vec<(String, String)>,
}

impl std::fmt::Debug for PartnerDraft {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let names: Vec<&str> = self.cfg.iter().map(|(name, _)| name.as_str()).collect();
        f.debug_struct("PartnerDraft")
            .field("slug", &self.slug)
            .field("ref_id", &self.ref_id)
            .field("cfg", &names)
            .finish()
    }
}

/// A link.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct LinkDraft {
    /// Its public id.
    pub slug: String,
    /// The campaign's slug.
    pub campaign: String,
    /// The partner's slug.
    pub partner: String,
    /// How its parameters are named.
    pub dialect: LinkDialect,
    /// For Android.
    pub android: Option<String>,
    /// For iOS.
    pub ios: Option<String>,
    /// For everything else.
    pub web: Option<String>,
    /// Tried first on a phone.
    pub deep_link: Option<String>,
    /// When nothing else fits.
    pub fallback: Option<String>,
    /// Prefixes of destinations that a click may ask for.
    pub allow_destinations: Vec<String>,
    /// How long a click may earn something, as settings write it.
    pub click_window: Option<String>,
    /// Other addresses of its clicks.
    pub also: Vec<String>,
    /// Other addresses of its impressions.
    pub also_impressions: Vec<String>,
}

/// A rule.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RuleDraft {
    /// Its slug.
    pub slug: String,
    /// The app's slug.
    pub app: String,
    /// The partner's slug.
    pub partner: String,
    /// The kind of conversion.
    pub on: ConversionKind,
    /// Names of events; empty: any.
    pub events: Vec<String>,
    /// The request as it was pasted, with credentials moved to settings.
    pub parts: Parts,
    /// The same request in our own macros, where that is certain to send the same.
    pub canonical: Option<Parts>,
    /// Whether amounts are told.
    pub share_revenue: bool,
}

/// What became of a URL.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Imported {
    /// What it is.
    pub kind: Kind,
    /// Whose it may be, the best first.
    pub systems: Vec<Candidate>,
    /// The link, of a tracking URL.
    pub link: Option<LinkDraft>,
    /// The rule of a postback URL; the rules of a link's callbacks.
    pub rules: Vec<RuleDraft>,
    /// The link's campaign.
    pub campaign: Option<CampaignDraft>,
    /// The partner.
    pub partner: PartnerDraft,
    /// The URL to hand to the partner, in our own form.
    pub url: Option<String>,
    /// The pasted URL with nothing but its host changed; it works too.
    pub same_url: Option<String>,
    /// What came along.
    pub carried: Vec<Carried>,
    /// What did not.
    pub lost: Vec<Lost>,
    /// What the URL does not say.
    pub missing: Vec<Missing>,
}

impl Imported {
    /// Whether everything came along.
    pub fn is_whole(&self) -> bool {
        self.lost.is_empty()
    }
}

/// The list that is written while a URL is read.
#[derive(Debug, Default)]
struct Account {
    carried: Vec<Carried>,
    lost: Vec<Lost>,
    missing: Vec<Missing>,
}

impl Account {
    fn carry(
        &mut self,
        what: impl Into<String>,
        value: &str,
        to: impl Into<String>,
        note: impl Into<String>,
    ) {
        self.carried.push(Carried {
            what: what.into(),
            value: shown(value),
            to: to.into(),
            note: note.into(),
        });
    }

    fn lose(
        &mut self,
        what: impl Into<String>,
        value: &str,
        reason: impl Into<String>,
        fix: impl Into<String>,
    ) {
        let (what, value, reason, fix) = (what.into(), shown(value), reason.into(), fix.into());
        let lost = Lost { what, value, reason, fix };
        if !self.lost.contains(&lost) {
            self.lost.push(lost);
        }
    }

    fn miss(&mut self, field: impl Into<String>, reason: impl Into<String>, fix: impl Into<String>) {
        self.missing.push(Missing { field: field.into(), reason: reason.into(), fix: fix.into() });
    }
}

/// A value as it is shown.
fn shown(value: &str) -> String {
    if value.chars().count() <= SHOWN_CHARS_MAX {
        return value.to_owned();
    }
    let head: String = value.chars().take(SHOWN_CHARS_MAX).collect();
    format!("{head}…")
}

/// Imports a URL. It changes nothing; what comes back is a proposal.
///
/// # Errors
/// `import_url_missing`, `import_scheme`, `value_too_long`, `import_two_queries`, `import_encoded_twice` when the text
/// is no URL that can be read; `import_ambiguous` when it could be a link and a postback and the input does not say
/// which; `import_system_unknown` when the named system is none.
pub fn import(input: &Input) -> Result<Imported, Problem> {
    let url = Pasted::read(&input.url)?;
    let named = input.from.as_deref().map(system::named).transpose()?;
    let has_request = input.method.is_some() || !input.headers.is_empty() || input.body != Body::None;
    let kind = match input.kind {
        Some(Kind::Link) if has_request => {
            let message = "a link has no method, headers or body; they belong to a postback";
            return Err(Problem::new(Code::ImportAmbiguous, "as", message));
        }
        Some(kind) => kind,
        None if has_request => Kind::Rule,
        None => system::kind(&url, named)?,
    };
    match kind {
        Kind::Link => Ok(tracking::import(input, &url, named.and_then(|named| named.link))),
        Kind::Rule => Ok(postback::import(input, &url, named.and_then(|named| named.macros))),
    }
}

/// A system that was named: how its links and its macros are written, where it has such.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Named {
    link: Option<LinkDialect>,
    macros: Option<Dialect>,
}
