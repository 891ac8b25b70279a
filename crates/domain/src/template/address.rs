//! URL templates: a postback's address, or where a visitor is sent.
//!
//! The template is divided into scheme, user, host, path, query and fragment by its literal bytes alone, so no
//! value can move a border. In scheme, host and port only the partner's own settings are filled in; anything else
//! there keeps its (percent-encoded) text, which is no host, and so such a template fails closed.
//!
//! Not relied on: the checks of scheme and host here are for the author. The sender, and whoever writes a
//! `Location`, look at the rendered URL again.

use super::body::note_nested;
use super::expression::{self, Piece, Subject};
use super::fill::{Context, Part, Report};
use super::finding::Findings;
use super::place::{Out, Spot, literal_push, literal_stands, urldecode};
use super::reader::{Meanings, NO_MEANINGS, Reader};
use super::request::Use;
use super::syntax::begins_escape;
use super::{Code, Dialect, Finding, Place, Scope, Sending, URL_BYTES_MAX, Values};

/// Schemes that make a browser or an app run or read something instead of going somewhere.
const FORBIDDEN: &[&str] =
    &["about", "blob", "content", "data", "file", "filesystem", "javascript", "vbscript", "view-source"];

/// A URL with macros.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UrlTemplate {
    source: String,
    dialect: Dialect,
    scope: Scope,
    parts: Vec<Part>,
    userinfo: Vec<Part>,
    authority: Option<String>,
    uses: Vec<Use>,
    /// The scheme comes from a setting, so it can be judged only once it is filled in.
    scheme_is_filled: bool,
    /// The scheme is one a visitor is never sent to, or the text is too long; it renders to nothing.
    is_refused: bool,
}

/// A URL template filled in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RenderedUrl {
    /// The URL: printable ASCII, at most [`URL_BYTES_MAX`] bytes, without user and password. Empty when a
    /// destination's scheme is forbidden, or a setting in the host is empty: the caller goes to its fallback.
    pub url: String,
    /// User and password, decoded, as `user:password`; sent as basic authentication.
    pub userinfo: Option<Vec<u8>>,
    /// Macros that were empty for want of a value, as written; at most 100.
    pub missing: Vec<String>,
    /// Unknown macros that kept their text; at most 100.
    pub unexpanded: Vec<String>,
    /// The URL was cut at the bound, and is better not used.
    pub too_long: bool,
}

impl UrlTemplate {
    /// Reads a URL template. There is always one; whether it may be saved is for the findings to say.
    pub fn parse(source: &str, scope: Scope, dialect: Dialect) -> (Self, Vec<Finding>) {
        Self::parse_with(source, scope, dialect, &NO_MEANINGS)
    }

    /// Reads a URL template in which some words have meanings of the author's own: a word, and the canonical
    /// expression it stands for.
    pub fn parse_with(
        source: &str,
        scope: Scope,
        dialect: Dialect,
        macros: &Meanings,
    ) -> (Self, Vec<Finding>) {
        let mut findings = Findings::default();
        check_meanings(macros, scope, &mut findings);
        let url = Self::read(source, scope, dialect, macros, &mut findings);
        (url, findings.into_vec())
    }

    pub(super) fn read(
        source: &str,
        scope: Scope,
        dialect: Dialect,
        macros: &Meanings,
        all: &mut Findings,
    ) -> Self {
        if source.len() > URL_BYTES_MAX {
            let message = format!("the URL is longer than {URL_BYTES_MAX} bytes");
            all.add(Finding::new(Code::TemplateTooLong, Place::Url, URL_BYTES_MAX, message));
            return Self::unread(source, scope, dialect);
        }
        let mut findings = Findings::default();
        let pieces = Reader::url(dialect, macros, scope).scan(source, &mut findings);
        let layout = Layout::of(&pieces, source.len());
        findings.place(|at| layout.place(at));
        note_nested(&pieces, |at| layout.place(at), &mut findings);
        layout.check(source, &pieces, scope, &mut findings);

        let scheme = layout.scheme_text(source, &pieces);
        let is_refused = scope == Scope::Destination && scheme.is_some_and(is_forbidden);
        let scheme_is_filled = pieces.iter().any(|piece| match piece {
            Piece::Macro { at, .. } => layout.place(*at) == Place::Scheme || layout.is_origin(*at),
            Piece::Literal { .. } => false,
        });
        let authority = layout.authority_text(source, &pieces);
        let uses = Use::of(&pieces, |at| layout.place(at));
        let (parts, userinfo) = layout.compile(pieces, &mut findings);
        all.append(findings);
        Self {
            source: source.to_owned(),
            dialect,
            scope,
            parts,
            userinfo,
            authority,
            uses,
            scheme_is_filled,
            is_refused,
        }
    }

    /// What is too long is not read, and renders to nothing.
    fn unread(source: &str, scope: Scope, dialect: Dialect) -> Self {
        Self {
            source: source.to_owned(),
            dialect,
            scope,
            parts: Vec::new(),
            userinfo: Vec::new(),
            authority: None,
            uses: Vec::new(),
            scheme_is_filled: false,
            is_refused: true,
        }
    }

    /// The text it was read from, byte for byte.
    pub fn source(&self) -> &str {
        &self.source
    }

    /// What it is for.
    pub const fn scope(&self) -> Scope {
        self.scope
    }

    /// The dialect it is written in.
    pub const fn dialect(&self) -> Dialect {
        self.dialect
    }

    /// Host and port as written, when no setting has to be filled in to know them.
    pub fn authority(&self) -> Option<&str> {
        self.authority.as_deref()
    }

    /// The macros it uses, in order; alternatives each for themselves.
    pub fn macros(&self) -> impl Iterator<Item = &Use> {
        self.uses.iter()
    }

    /// Fills the URL in. `sending` is what only an attempt knows; destinations have none.
    pub fn render(&self, values: &dyn Values, sending: Option<&Sending<'_>>) -> RenderedUrl {
        let mut report = Report::default();
        let (url, userinfo) = self.fill(Context::of(values, sending), &mut report);
        RenderedUrl {
            url,
            userinfo,
            missing: report.missing,
            unexpanded: report.unexpanded,
            too_long: report.too_long,
        }
    }

    pub(super) fn fill(&self, context: Context<'_>, report: &mut Report) -> (String, Option<Vec<u8>>) {
        if self.is_refused {
            return (String::new(), None);
        }
        let bytes = context.fill(&self.parts, URL_BYTES_MAX, report);
        // All writers of URL parts write ASCII; the other branch is there so that nothing rests on that.
        let mut url = String::from_utf8(bytes).unwrap_or_else(|error| error.to_string());
        if report.no_host {
            url.clear();
        }
        if self.scheme_is_filled
            && self.scope == Scope::Destination
            && url.split_once(':').is_some_and(|(scheme, _)| is_forbidden(scheme))
        {
            url.clear();
        }
        let userinfo = (!self.userinfo.is_empty()).then(|| {
            let mut pair = urldecode(&context.fill(&self.userinfo, URL_BYTES_MAX, report));
            if !self.userinfo.iter().any(|part| matches!(part, Part::Fixed(fixed) if fixed.contains(&b':'))) {
                pair.push(b':');
            }
            pair
        });
        (url, userinfo)
    }
}

/// Reports meanings of the author's own that are none.
pub(super) fn check_meanings(macros: &Meanings, scope: Scope, findings: &mut Findings) {
    for (word, text) in macros {
        let (alternatives, told) = expression::meaning(text, scope);
        let wrong = if word.is_empty() {
            Some("there is no word before it".to_owned())
        } else if let Some(error) = told.worst() {
            Some(error.message.clone())
        } else if let Some(loose) = alternatives.iter().find(|one| one.subject == Subject::Loose) {
            Some(format!("`{}` is no macro of ours; a link parameter is `param.{0}`", loose.name))
        } else {
            alternatives.is_empty().then(|| "it is no expression, as `click_id` or `gaid||idfa`".to_owned())
        };
        if let Some(wrong) = wrong {
            let message = format!("`{word}` cannot mean `{text}`: {wrong}");
            findings.add(Finding::new(Code::MacroMeaning, Place::Url, 0, message).about(word));
        }
    }
}

impl std::fmt::Display for UrlTemplate {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.source)
    }
}

fn is_forbidden(scheme: &str) -> bool {
    // Browsers skip white space and control bytes before and inside a scheme.
    let plain: String = scheme.chars().filter(|c| !c.is_whitespace() && !c.is_control()).collect();
    FORBIDDEN.contains(&plain.to_ascii_lowercase().as_str())
}

/// Where the parts of a URL begin, as offsets in its text.
#[derive(Debug, Default)]
struct Layout {
    /// The `:` after the scheme.
    scheme: Option<usize>,
    /// Where a setting that holds scheme and host ends.
    origin: usize,
    /// Host and port with user and password.
    authority: Option<(usize, usize)>,
    /// The `@` after user and password.
    at: Option<usize>,
    query: Option<usize>,
    fragment: Option<usize>,
}

impl Layout {
    fn of(pieces: &[Piece<'_>], len: usize) -> Self {
        let mut layout = Self::default();
        let find = |from: usize, to: usize, stops: &[u8]| {
            literals(pieces).find(|(at, byte)| (from..to).contains(at) && stops.contains(byte))
        };
        let is_literal = |at: usize, wanted: u8| literals(pieces).any(|found| found == (at, wanted));
        let opens_with_macro = matches!(pieces.first(), Some(Piece::Macro { .. }));
        let mut path = 0;
        match find(0, len, b":/?#") {
            Some((colon, b':')) if is_literal(colon + 1, b'/') && is_literal(colon + 2, b'/') => {
                layout.scheme = Some(colon);
                let start = colon + 3;
                let end = find(start, len, b"/?#\\").map_or(len, |(at, _)| at);
                layout.authority = Some((start, end));
                layout.at = literals(pieces)
                    .filter(|(at, byte)| (start..end).contains(at) && *byte == b'@')
                    .map(|f| f.0)
                    .last();
                path = end;
            }
            _ if opens_with_macro => {
                layout.origin = find(0, len, b"/?#").map_or(len, |(at, _)| at);
                path = layout.origin;
            }
            Some((colon, b':')) => {
                layout.scheme = Some(colon);
                path = colon + 1;
            }
            _ => {}
        }
        layout.fragment = find(path, len, b"#").map(|(at, _)| at);
        layout.query = find(path, layout.fragment.unwrap_or(len), b"?").map(|(at, _)| at);
        layout
    }

    fn is_origin(&self, offset: usize) -> bool {
        offset < self.origin
    }

    fn place(&self, offset: usize) -> Place {
        let scheme_end =
            self.authority.map(|(start, _)| start).or(self.scheme.map(|colon| colon + 1)).unwrap_or(0);
        if self.is_origin(offset) {
            return Place::Host;
        }
        if offset < scheme_end {
            return Place::Scheme;
        }
        if let Some((_, end)) = self.authority
            && offset < end
        {
            return if self.at.is_some_and(|at| offset <= at) { Place::Userinfo } else { Place::Host };
        }
        if self.fragment.is_some_and(|fragment| offset >= fragment) {
            return Place::Fragment;
        }
        if self.query.is_some_and(|query| offset >= query) {
            return Place::Query;
        }
        Place::Path
    }

    /// The scheme, when it is written out.
    fn scheme_text<'t>(&self, source: &'t str, pieces: &[Piece<'_>]) -> Option<&'t str> {
        let colon = self.scheme?;
        let is_plain = !pieces.iter().any(|piece| matches!(piece, Piece::Macro { at, .. } if *at < colon));
        is_plain.then(|| &source[..colon])
    }

    fn authority_text(&self, source: &str, pieces: &[Piece<'_>]) -> Option<String> {
        let (start, end) = self.authority?;
        let start = self.at.map_or(start, |at| at + 1);
        let has_macro =
            pieces.iter().any(|piece| matches!(piece, Piece::Macro { at, .. } if (start..end).contains(at)));
        (!has_macro).then(|| source[start..end].to_owned())
    }

    fn check(&self, source: &str, pieces: &[Piece<'_>], scope: Scope, findings: &mut Findings) {
        let mut add = |code, place, at, message: String| findings.add(Finding::new(code, place, at, message));
        let mut is_sound = true;
        if let Some((at, _)) = literals(pieces).find(|(_, byte)| byte.is_ascii_control()) {
            is_sound = false;
            add(Code::UrlInvalid, self.place(at), at, "the URL holds a line break or control byte".into());
        }
        if let Some((at, _)) =
            literals(pieces).find(|(at, byte)| matches!(byte, b'{' | b'}') && self.place(*at) == Place::Host)
        {
            is_sound = false;
            add(Code::UrlInvalid, Place::Host, at, "no host has a brace in it".into());
        }
        for piece in pieces {
            let Piece::Macro { at, expression } = piece else { continue };
            let place = self.place(*at);
            if matches!(place, Place::Scheme | Place::Host | Place::Userinfo) && !expression.is_setting() {
                is_sound = false;
                let message =
                    format!("`{}` stands in the URL's {place}, where only `cfg.…` may", expression.text);
                findings.add(Finding::new(Code::MacroInHost, place, *at, message).about(&expression.text));
            }
        }
        let mut add = |code, place, at, message: String| findings.add(Finding::new(code, place, at, message));
        let scheme = self.scheme_text(source, pieces);
        let lower = scheme.map(str::to_ascii_lowercase);
        match (lower.as_deref(), scope) {
            (None, _) if self.scheme.is_none() && self.origin == 0 => {
                is_sound = false;
                add(
                    Code::UrlInvalid,
                    Place::Url,
                    0,
                    "the URL does not begin with a scheme, as https://".into(),
                );
            }
            (None, _) => {}
            (Some(scheme), Scope::Destination) if is_forbidden(scheme) => {
                is_sound = false;
                add(
                    Code::UrlSchemeForbidden,
                    Place::Scheme,
                    0,
                    format!("a visitor is never sent to `{scheme}:`"),
                );
            }
            (Some(scheme), _) if !is_scheme(scheme) => {
                is_sound = false;
                add(
                    Code::UrlInvalid,
                    Place::Scheme,
                    0,
                    format!("`{}` is not a scheme", scheme.escape_debug()),
                );
            }
            (Some("https"), _) => {}
            (Some("http"), Scope::Postback | Scope::Link) => {
                add(Code::UrlPlainHttp, Place::Scheme, 0, "the URL is plain http, not https".into());
            }
            (Some(scheme), Scope::Postback | Scope::Link) => {
                is_sound = false;
                add(Code::UrlScheme, Place::Scheme, 0, format!("`{scheme}:` is neither http nor https"));
            }
            (Some(_), Scope::Destination) => {}
        }
        let is_web = matches!(lower.as_deref(), Some("http" | "https"));
        match self.authority {
            None if is_web => {
                is_sound = false;
                add(Code::UrlInvalid, Place::Url, 0, "`//` and a host are missing after the scheme".into());
            }
            Some((start, end)) if is_web && self.at.map_or(start, |at| at + 1) == end => {
                is_sound = false;
                add(Code::UrlInvalid, Place::Host, end, "the host is missing".into());
            }
            Some((_, end)) if source.as_bytes().get(end) == Some(&b'\\') => {
                is_sound = false;
                add(Code::UrlInvalid, Place::Host, end, "a backslash ends the host".into());
            }
            _ => {}
        }
        if self.at.is_some() {
            add(
                Code::UrlUserinfo,
                Place::Userinfo,
                self.authority.map_or(0, |a| a.0),
                Code::UrlUserinfo.meaning().into(),
            );
        }
        if let Some(at) = self.fragment
            && scope == Scope::Postback
        {
            add(Code::UrlFragment, Place::Fragment, at, Code::UrlFragment.meaning().into());
        }
        if is_sound && let Err(error) = url::Url::parse(&self.sample(pieces)) {
            add(Code::UrlInvalid, Place::Url, 0, format!("the URL cannot be used: {error}"));
        }
    }

    /// The URL with harmless values in it, to be checked by the same parser the sender uses.
    fn sample(&self, pieces: &[Piece<'_>]) -> String {
        let mut sample = String::new();
        for piece in pieces {
            match piece {
                Piece::Literal { text, .. } => sample.push_str(text),
                Piece::Macro { at, .. } if self.is_origin(*at) => {
                    sample.push_str(if sample.is_empty() { "https://h" } else { "1" });
                }
                Piece::Macro { at, .. } if self.place(*at) == Place::Scheme => {
                    sample.push_str(if sample.is_empty() { "https" } else { "" });
                }
                Piece::Macro { .. } => sample.push('1'),
            }
        }
        sample
    }

    /// Makes the URL ready to be written: its parts, and those of user and password.
    fn compile(&self, pieces: Vec<Piece<'_>>, findings: &mut Findings) -> (Vec<Part>, Vec<Part>) {
        let (mut parts, mut userinfo) = (Vec::new(), Vec::new());
        let (mut told_encoded, mut told_percent) = (false, false);
        let mut written = Vec::with_capacity(3);
        for piece in pieces {
            match piece {
                Piece::Literal { at, text } => {
                    let bytes = text.as_bytes();
                    for (index, &byte) in bytes.iter().enumerate() {
                        let offset = at + index;
                        let place = self.place(offset);
                        if !literal_stands_here(self, offset, place, byte) {
                            // Braces have their own findings, and so have control bytes.
                            if !told_encoded && !matches!(byte, b'{' | b'}') && !byte.is_ascii_control() {
                                told_encoded = true;
                                let message = "a URL cannot hold this character; it is sent percent-encoded";
                                findings.add(Finding::new(Code::LiteralEncoded, place, offset, message));
                            }
                        } else if byte == b'%' && !told_percent && !begins_escape(&bytes[index..]) {
                            told_percent = true;
                            let message = "this `%` begins no escape; a literal one is written `%25`";
                            findings.add(Finding::new(Code::UrlPercent, place, offset, message));
                        }
                        let into = if place == Place::Userinfo { &mut userinfo } else { &mut parts };
                        if place == Place::Userinfo && self.at == Some(offset) {
                            continue;
                        }
                        written.clear();
                        if literal_stands_here(self, offset, place, byte) {
                            written.push(byte);
                        } else {
                            literal_push(&mut written, place, byte);
                        }
                        Part::fix(into, &written);
                    }
                }
                Piece::Macro { at, expression } => {
                    let place = self.place(at);
                    let spot = match place {
                        _ if self.is_origin(at) => Spot::Origin,
                        Place::Scheme | Place::Host => Spot::Host,
                        Place::Userinfo => Spot::Userinfo,
                        Place::Path => Spot::Path,
                        _ => Spot::Query,
                    };
                    let into = if place == Place::Userinfo { &mut userinfo } else { &mut parts };
                    if matches!(place, Place::Scheme | Place::Host | Place::Userinfo)
                        && !expression.is_setting()
                    {
                        let mut kept = Out::new(usize::MAX, 0);
                        kept.kept(spot, &expression.text);
                        Part::fix(into, &kept.into_bytes());
                    } else {
                        into.push(Part::Fill { expression, spot });
                    }
                }
            }
        }
        // A user that is there but empty still means basic authentication.
        if self.at.is_some() && userinfo.is_empty() {
            userinfo.push(Part::Fixed(b":".to_vec()));
        }
        (parts, userinfo)
    }
}

/// The `?` and `#` that begin a query and a fragment stand; further ones are bytes like others.
fn literal_stands_here(layout: &Layout, offset: usize, place: Place, byte: u8) -> bool {
    layout.query == Some(offset) || layout.fragment == Some(offset) || literal_stands(place, byte)
}

fn is_scheme(text: &str) -> bool {
    text.bytes().next().is_some_and(|byte| byte.is_ascii_alphabetic())
        && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'-' | b'.'))
}

/// All literal bytes with their offsets.
fn literals(pieces: &[Piece<'_>]) -> impl Iterator<Item = (usize, u8)> {
    pieces.iter().flat_map(|piece| {
        let (at, text) = match piece {
            Piece::Literal { at, text } => (*at, *text),
            Piece::Macro { at, .. } => (*at, ""),
        };
        text.bytes().enumerate().map(move |(index, byte)| (at + index, byte))
    })
}
