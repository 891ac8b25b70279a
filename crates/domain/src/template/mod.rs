//! Postback and destination templates: text with macros in it, parsed once when it is saved and
//! filled in each time something is sent.
//!
//! The cast:
//! - [`vocabulary`] lists every macro name there is, with what may be shown to whom.
//! - `expression` reads `{name|filter:argument||other}` and nothing else; what is not exactly that is text.
//! - `reader` reads text in any [`Dialect`]: `syntax` finds a macro by its brackets, `position` knows the part of
//!   the URL and the parameter it stands in, `foreign` and `freemarker` settle what stands between the brackets as
//!   canonical expressions, and `nested` looks into values that are URLs themselves. [`detect`] guesses dialects.
//! - `filter` changes a value; `place` writes it so that it cannot leave the spot it stands in; `fill` is
//!   the loop that joins the two with the text between.
//! - [`UrlTemplate`] knows scheme, host, path, query and fragment; [`Template`] adds method, headers and
//!   body and is what a rule points to.
//! - [`secrets`] says what of the settings must not be kept or shown once a request is filled in.
//! - [`auth`] is how a request proves who sends it. [`sign`] is how a request's own signatures are made; `date` how times are read and written.
//! - [`Values`] is where values come from. It is asked for canonical names only: a word that means two
//!   things (`click_id`) is settled by the [`Scope`] while parsing, so no caller has to remember it.
//!
//! Parsing reports [`Finding`]s and always gives a template; rendering is total and reports what was
//! missing in [`Rendered`]. A template whose findings contain an error is not meant to be saved, but even
//! then rendering it cannot panic, break a line, or show a value that a mistyped filter should have hidden.
//!
//! Not relied on: this module never decides *whether* something is told ([`Audience`] only hides what a
//! decision said to hide), never connects anywhere, and its check of hosts is a courtesy to the author. The
//! sender checks addresses when it connects.

mod address;
pub mod auth;
mod body;
mod date;
pub mod detect;
mod dialect;
mod expression;
mod fill;
mod filter;
mod finding;
mod foreign;
mod freemarker;
mod header;
mod nested;
pub mod page;
mod place;
mod position;
mod reader;
mod request;
pub mod sample;
mod secret;
pub mod sign;
mod suggestion;
mod syntax;
mod value;
pub mod vocabulary;

#[cfg(test)]
mod properties;
#[cfg(test)]
mod tests;

pub use self::address::{RenderedUrl, UrlTemplate};
pub use self::body::Body;
pub use self::dialect::Dialect;
pub use self::finding::{Code, Finding, Severity};
pub use self::header::is_framing_header;
pub use self::place::Place;
pub use self::request::{Method, Parts, Rendered, Template, Use, UseKind};
pub use self::secret::{Form, secrets};
pub use self::value::{Audience, Sending, Value, Values};
pub use self::vocabulary::{Availability, FAMILIES, Macro, VOCABULARY};

/// Longest URL that is rendered, in bytes. Longer ones are cut and marked, and are better not sent: most
/// servers refuse a request line well before this.
pub const URL_BYTES_MAX: usize = 16 * 1024;
/// Longest header value that is rendered, in bytes; the usual limit of a whole header block elsewhere.
pub const HEADER_BYTES_MAX: usize = 8 * 1024;
/// Most headers a template may have.
pub const HEADERS_MAX: usize = 64;
/// Longest body that is rendered, in bytes.
pub const BODY_BYTES_MAX: usize = 256 * 1024;
/// Most findings one parse reports. A pasted page of nonsense should not answer with a megabyte.
pub const FINDINGS_MAX: usize = 100;

/// What a template is for. It settles the words that mean two things, and which macros have a value.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Scope {
    /// A request to a partner: `{click_id}` is the partner's own click id.
    Postback,
    /// Where a visitor is sent (landing page, store, deep link): `{click_id}` is Roundtrip's click id.
    Destination,
    /// A tracking URL as a network's own template, filled in by the network: `{click_id}` is the partner's. For
    /// reading and trying such URLs; nobody is sent anywhere by it.
    Link,
}
