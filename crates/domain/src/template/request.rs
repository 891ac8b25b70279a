//! A whole request: method, URL, headers, body; and what is left of it once it is filled in.

use super::address::{UrlTemplate, check_meanings};
use super::auth::{Auth, Proof, TokenAsk};
use super::body::{Body, compile_form, compile_json, note_nested};
use super::detect::detect;
use super::expression::{Alternative, Piece, Subject};
use super::fill::{Context, Part, Report};
use super::finding::Findings;
use super::header::{check_name, compile_text, scan_value};
use super::position::Shape;
use super::reader::Reader;
use super::secret::Form;
use super::sign::{Scheme, Signatures};
use super::{
    BODY_BYTES_MAX, Code, Dialect, Finding, HEADER_BYTES_MAX, HEADERS_MAX, Place, Scope, Sending, Values,
};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use std::collections::BTreeMap;
use std::fmt;

/// The method of a request.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
pub enum Method {
    /// Everything is in the URL.
    #[default]
    Get,
    /// With a body.
    Post,
    /// With a body.
    Put,
}

impl Method {
    /// The method as it is sent.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Get => "GET",
            Self::Post => "POST",
            Self::Put => "PUT",
        }
    }

    /// Reads a method, in any case.
    pub fn from_name(name: &str) -> Option<Self> {
        [Self::Get, Self::Post, Self::Put]
            .into_iter()
            .find(|method| name.eq_ignore_ascii_case(method.as_str()))
    }
}

impl fmt::Display for Method {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// The texts a template is read from, as their author wrote them. This is what is stored.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Parts {
    /// How macros are written.
    pub dialect: Dialect,
    /// The author's own meanings: a word between the brackets, and the canonical expression it stands for
    /// (`DID` and `device_id`, `sdk_key` and `cfg.sdk_key`). They win over the dialect's vocabulary.
    pub macros: BTreeMap<String, String>,
    /// GET, POST or PUT.
    pub method: String,
    /// The URL template.
    pub url: String,
    /// Names and value templates, in order.
    pub headers: Vec<(String, String)>,
    /// The body template.
    pub body: Body,
    /// Signatures by name, in the order in which they are made: a later one can cover an earlier one. The one
    /// called `signature` is `{signature}`; each is `{signature.NAME}`.
    pub signatures: Vec<(String, Scheme)>,
    /// What proves who sends it.
    pub auth: Option<Auth>,
}

impl Parts {
    /// A GET request to a URL, the form nearly every postback has.
    pub fn get(url: impl Into<String>) -> Self {
        Self { method: "GET".to_owned(), url: url.into(), ..Self::default() }
    }
}

/// One use of a macro name in a template.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Use {
    /// The name as written.
    pub name: String,
    /// The name values are asked for: `click_id` is settled, an unknown name is `param.NAME`.
    pub key: String,
    /// The part of the request it stands in.
    pub place: Place,
    /// Byte offset of the name in that part's text.
    pub offset: usize,
    /// The whole macro as written, brackets included. Alternatives of one macro share it.
    pub text: String,
    /// What the name was settled as.
    pub kind: UseKind,
}

/// What a macro's name was settled as.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum UseKind {
    /// A value of the click, the conversion or the sending.
    Value,
    /// One of the partner's own settings.
    Setting,
    /// Nobody knows the name: a link parameter of that name if there is one, else its own text.
    Unknown,
}

impl UseKind {
    /// The stable word.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Value => "value",
            Self::Setting => "setting",
            Self::Unknown => "unknown",
        }
    }

    const fn of(alternative: &Alternative) -> Self {
        match alternative.subject {
            Subject::Setting => Self::Setting,
            Subject::Loose => Self::Unknown,
            Subject::Known | Subject::Sending | Subject::Parameter => Self::Value,
        }
    }
}

impl Use {
    /// A setting that is asked for without a macro.
    pub(super) fn setting(key: &str, place: Place) -> Self {
        let (name, key, text) = (key.to_owned(), key.to_owned(), format!("{{{key}}}"));
        Self { name, key, place, offset: 0, text, kind: UseKind::Setting }
    }

    pub(super) fn of(pieces: &[Piece<'_>], place: impl Fn(usize) -> Place) -> Vec<Self> {
        let mut uses = Vec::new();
        for piece in pieces {
            let Piece::Macro { expression, .. } = piece else { continue };
            uses.extend(expression.alternatives.iter().map(|alternative| Self {
                name: alternative.name.clone(),
                key: alternative.key.clone(),
                place: place(alternative.at),
                offset: alternative.at,
                text: expression.text.clone(),
                kind: UseKind::of(alternative),
            }));
        }
        uses
    }
}

/// A request template, parsed. It is `Send + Sync` and meant to be shared by all deliveries of a rule.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Template {
    source: Parts,
    method: Method,
    url: UrlTemplate,
    headers: Vec<(String, Vec<Part>)>,
    body: Option<Vec<Part>>,
    signatures: Signatures,
    uses: Vec<Use>,
    names_content_type: bool,
    names_authorization: bool,
}

/// A request, filled in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rendered {
    /// The method.
    pub method: Method,
    /// The URL: printable ASCII, at most [`super::URL_BYTES_MAX`] bytes, without user and password. Empty when a setting
    /// in its host is: then there is nobody to send to.
    pub url: String,
    /// Headers in the template's order, then `content-type` and `authorization` where the body and the URL call
    /// for them and the template names none. Values have no control bytes but tabs the author wrote.
    pub headers: Vec<(String, Vec<u8>)>,
    /// The body, at most [`BODY_BYTES_MAX`] bytes.
    pub body: Option<Vec<u8>>,
    /// Macros that were empty for want of a value, as written; at most 100.
    pub missing: Vec<String>,
    /// Unknown macros that kept their text; at most 100.
    pub unexpanded: Vec<String>,
    /// Something was cut at its bound; the request is better not sent.
    pub too_long: bool,
    /// The token that goes into `authorization`, for whoever sends it to fetch.
    pub token: Option<TokenAsk>,
    /// A setting that proves who sends it is missing (then named in `missing`) or cannot be used; the request is better
    /// not sent.
    pub lacks_auth: bool,
    /// What filters made of the partner's settings, for [`super::secrets`]. Sorted, each once.
    pub secrets: Vec<Form>,
}

impl Template {
    /// Reads a request template. There is always one; it may be saved when no finding is an error.
    pub fn parse(source: Parts) -> (Self, Vec<Finding>) {
        let mut all = Findings::default();
        let scope = Scope::Postback;
        let method = Method::from_name(&source.method).unwrap_or_else(|| {
            let message = format!("`{}` is not GET, POST or PUT", source.method.escape_debug());
            all.add(Finding::new(Code::MethodInvalid, Place::Method, 0, message));
            Method::Get
        });
        check_meanings(&source.macros, scope, &mut all);
        let reader = Reader::url(source.dialect, &source.macros, scope);
        let url = UrlTemplate::read(&source.url, scope, source.dialect, &source.macros, &mut all);
        let mut uses: Vec<Use> = url.macros().cloned().collect();
        let mut is_proven_twice = all.has(Code::UrlUserinfo);

        let mut findings = Findings::default();
        if source.headers.len() > HEADERS_MAX {
            let message = format!("there are more than {HEADERS_MAX} headers");
            findings.add(Finding::new(Code::TemplateTooLong, Place::Header(HEADERS_MAX), 0, message));
        }
        let mut headers = Vec::new();
        for (index, (name, value)) in source.headers.iter().take(HEADERS_MAX).enumerate() {
            let place = Place::Header(index);
            if value.len() > HEADER_BYTES_MAX {
                let message = format!("the value of `{name}` is longer than {HEADER_BYTES_MAX} bytes");
                findings
                    .add(Finding::new(Code::TemplateTooLong, place, HEADER_BYTES_MAX, message).about(name));
                continue;
            }
            let reader = Reader { place, shape: Shape::Line, ..reader };
            let pieces = scan_value(reader, name, value, &mut findings);
            if source.auth.is_some() && name.eq_ignore_ascii_case("authorization") {
                is_proven_twice = true;
            } else if check_name(name, place, &mut findings) {
                uses.extend(Use::of(&pieces, |_| place));
                headers.push((name.clone(), compile_text(pieces, false)));
            }
        }

        let mut text = source.body.text();
        if text.len() > BODY_BYTES_MAX {
            let message = format!("the body is longer than {BODY_BYTES_MAX} bytes");
            findings.add(Finding::new(Code::TemplateTooLong, Place::Body, BODY_BYTES_MAX, message));
            text = "";
        }
        let sends_body = source.body != Body::None && method != Method::Get;
        if source.body != Body::None && method == Method::Get {
            findings.add(Finding::new(Code::BodyIgnored, Place::Body, 0, Code::BodyIgnored.meaning()));
        }
        let body = sends_body.then(|| {
            let shape = if matches!(source.body, Body::Form(_)) { Shape::Form } else { Shape::Line };
            let reader = Reader { place: Place::Body, shape, free_text: true, ..reader };
            let pieces = reader.scan(text, &mut findings);
            uses.extend(Use::of(&pieces, |_| Place::Body));
            match source.body {
                Body::Json(_) => compile_json(pieces, &mut findings),
                Body::Form(_) => {
                    note_nested(&pieces, |_| Place::Body, &mut findings);
                    compile_form(pieces, &mut findings)
                }
                Body::Text(_) | Body::None => compile_text(pieces, true),
            }
        });

        let signatures = Signatures::read(&source.signatures, &mut findings);
        signatures.check(&uses, &mut findings);
        uses.extend(signatures.uses().cloned());

        if let Some(auth) = &source.auth {
            auth.check(&mut findings);
            if is_proven_twice {
                let message = Code::AuthConflict.meaning();
                findings.add(Finding::new(Code::AuthConflict, Place::Auth, 0, message));
            }
            uses.extend(auth.uses());
        }

        let names = |wanted: &str| headers.iter().any(|(name, _)| name.eq_ignore_ascii_case(wanted));
        let template = Self {
            names_content_type: names("content-type"),
            names_authorization: names("authorization") || source.auth.is_some(),
            method,
            url,
            headers,
            body,
            signatures,
            uses,
            source,
        };
        template.check_uses(&mut findings);
        all.append(findings);
        template.propose_dialect(&mut all);
        (template, all.into_vec())
    }

    /// Says which system's macros these look like, where ours are not what the author wrote. It proposes and changes
    /// nothing. Words that everybody has are proposed one by one, with each unknown word.
    fn propose_dialect(&self, findings: &mut Findings) {
        // One slip of the hand among words of ours is no other system's template.
        let unknown = self.uses.iter().filter(|used| used.kind == UseKind::Unknown).count();
        let is_foreign =
            findings.has(Code::MacroSyntaxForeign) || unknown > 0 && unknown * 2 >= self.uses.len();
        if self.source.dialect != Dialect::Canonical || !is_foreign {
            return;
        }
        let mut text = self.source.url.clone();
        for (_, value) in &self.source.headers {
            text.push('\n');
            text.push_str(value);
        }
        text.push('\n');
        text.push_str(self.source.body.text());
        let best = detect(&text, None).into_iter().next();
        if let Some(likely) =
            best.filter(|likely| !matches!(likely.dialect, Dialect::Canonical | Dialect::Generic))
        {
            let name = likely.dialect.as_str();
            let message = format!(
                "with `dialect = \"{name}\"` other words than ours are understood: {}",
                likely.because
            );
            let finding = Finding::new(Code::DialectLikely, Place::Url, 0, message);
            findings.add(finding.about(self.source.dialect.as_str()).likely(Some(name)));
        }
    }

    fn check_uses(&self, findings: &mut Findings) {
        if !self.uses_partner_click_id() {
            findings.add(Finding::new(
                Code::NoPartnerClickId,
                Place::Url,
                0,
                Code::NoPartnerClickId.meaning(),
            ));
        }
        let amount = self.told().find(|used| matches!(used.key.as_str(), "revenue" | "revenue_minor"));
        if let Some(amount) = amount
            && !self.told().any(|used| used.key == "currency")
        {
            let meaning = Code::RevenueWithoutCurrency.meaning();
            findings.add(
                Finding::new(Code::RevenueWithoutCurrency, amount.place, amount.offset, meaning)
                    .about(&amount.name),
            );
        }
    }

    /// The texts it was read from, byte for byte: parsing them again gives the same template.
    pub const fn source(&self) -> &Parts {
        &self.source
    }

    /// The method.
    pub const fn method(&self) -> Method {
        self.method
    }

    /// The URL template.
    pub const fn url(&self) -> &UrlTemplate {
        &self.url
    }

    /// Host and port as written, when no setting has to be filled in to know them.
    pub fn authority(&self) -> Option<&str> {
        self.url.authority()
    }

    /// The macros whose values are sent as they are, and not only signed or proof.
    fn told(&self) -> impl Iterator<Item = &Use> {
        self.uses.iter().filter(|used| !matches!(used.place, Place::Signature(_) | Place::Auth))
    }

    /// The macros it uses: URL, then headers, body, signatures and auth; alternatives each for themselves.
    pub fn macros(&self) -> impl Iterator<Item = &Use> + Clone {
        self.uses.iter()
    }

    /// Whether the partner gets its own click id back.
    pub fn uses_partner_click_id(&self) -> bool {
        self.told().any(|used| used.key == "partner_click_id")
    }

    /// Whether it says nothing to the partner without its click id: some macro is that and has no other choice. Then a
    /// conversion of a click without one is not told.
    pub fn needs_partner_click_id(&self) -> bool {
        let uses: Vec<&Use> = self.told().collect();
        let is_beside = |a: &Use, b: &Use| {
            a.place == b.place
                && a.text == b.text
                && a.offset.abs_diff(b.offset) < a.text.len()
                && a.key != b.key
        };
        uses.iter()
            .filter(|used| used.key == "partner_click_id")
            .any(|used| !uses.iter().any(|other| is_beside(used, other)))
    }

    /// Fills the request in. Total: whatever the values hold, there is a request, and what was missing is said.
    pub fn render(&self, values: &dyn Values, sending: &Sending<'_>) -> Rendered {
        let mut report = Report::default();
        let (mut in_body, mut in_signatures) = (Report::default(), Report::default());
        let unsigned = Context::of(values, Some(sending));
        let mut signed = self.signatures.sign(unsigned, &mut in_signatures);
        let context = unsigned.signed(&signed);
        let body = self.body.as_ref().map(|parts| context.fill(parts, BODY_BYTES_MAX, &mut in_body));
        self.signatures.sign_body(unsigned, body.as_deref(), &mut signed, &mut in_signatures);
        let context = unsigned.signed(&signed);
        let (url, userinfo) = self.url.fill(context, &mut report);
        let mut headers: Vec<(String, Vec<u8>)> = self
            .headers
            .iter()
            .map(|(name, parts)| (name.clone(), context.fill(parts, HEADER_BYTES_MAX, &mut report)))
            .collect();
        report.append(in_body);
        report.append(in_signatures);
        if let Some(kind) = self.source.body.content_type()
            && body.is_some()
            && !self.names_content_type
        {
            headers.push(("content-type".to_owned(), kind.as_bytes().to_vec()));
        }
        if let Some(pair) = userinfo
            && !self.names_authorization
        {
            let pair = STANDARD.encode(pair);
            headers.push(("authorization".to_owned(), format!("Basic {pair}").into_bytes()));
            report.secrets.push(Form { key: String::new(), bytes: pair.into_bytes() });
        }
        let auth = self.source.auth.as_ref();
        let proof = auth.map_or_else(|| Some(Proof::default()), |auth| auth.fill(unsigned, &mut report));
        let lacks_auth = proof.is_none();
        let Proof { header, token } = proof.unwrap_or_default();
        headers.extend(header.map(|value| ("authorization".to_owned(), value)));
        report.secrets.sort_unstable();
        report.secrets.dedup();
        Rendered {
            method: self.method,
            url,
            headers,
            body,
            missing: report.missing,
            unexpanded: report.unexpanded,
            too_long: report.too_long,
            token,
            lacks_auth,
            secrets: report.secrets,
        }
    }
}

/// The request as people write one down: method and URL, headers, an empty line, the body.
impl fmt::Display for Template {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.source.method, self.source.url)?;
        for (name, value) in &self.source.headers {
            write!(f, "\n{name}: {value}")?;
        }
        match self.source.body.text() {
            "" => Ok(()),
            text => write!(f, "\n\n{text}"),
        }
    }
}
