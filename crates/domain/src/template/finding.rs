//! What there is to say about a template when it is saved.

use super::{FINDINGS_MAX, Place};
use std::fmt;

/// How much a finding matters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Severity {
    /// Worth knowing.
    Info,
    /// Likely not what was meant; it can be saved.
    Warning,
    /// It cannot work, or must not; it is not saved.
    Error,
}

impl Severity {
    /// The stable word.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Info => "info",
            Self::Warning => "warning",
            Self::Error => "error",
        }
    }
}

macro_rules! codes {
    ($($variant:ident = $text:literal, $severity:ident, $doc:literal;)*) => {
        /// The stable code of a finding. Append-only.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        #[non_exhaustive]
        pub enum Code {
            $(#[doc = $doc] $variant,)*
        }

        impl Code {
            /// Every code there is, for the documentation.
            pub const ALL: &[Code] = &[$(Code::$variant,)*];

            /// The stable text of this code.
            pub const fn as_str(self) -> &'static str {
                match self { $(Code::$variant => $text,)* }
            }

            /// What the code means, in one sentence.
            pub const fn meaning(self) -> &'static str {
                match self { $(Code::$variant => $doc,)* }
            }

            /// How much it usually matters.
            pub const fn severity(self) -> Severity {
                match self { $(Code::$variant => Severity::$severity,)* }
            }
        }
    };
}

codes! {
    MacroUnknown = "macro_unknown", Warning,
        "The name is not in the vocabulary; it keeps its text unless the link has a parameter of that name.";
    MacroInHost = "macro_in_host", Error,
        "In scheme, host and port only the partner's own settings (`cfg.…`) may stand.";
    MacroUnclosed = "macro_unclosed", Error, "A macro begins and does not end.";
    MacroMalformed = "macro_malformed", Error, "Something between the braces is not a macro.";
    MacroNotFilled = "macro_not_filled", Warning, "The name is known, and this version never fills it.";
    MacroUnavailable = "macro_unavailable", Warning, "The value is not known yet where this template is used.";
    MacroSyntaxForeign = "macro_syntax_foreign", Warning,
        "The macro stands inside another system's brackets, which are sent as they are.";
    DialectLikely = "dialect_likely", Info,
        "The template looks like another system's; name its dialect and its words are understood.";
    MacroGuessed = "macro_guessed", Warning,
        "The dialect does not have the word; it is read as other systems use it, or by its parameter.";
    MacroBar = "macro_bar", Warning,
        "A single bar stands between two macros; it is read as `||`, the first that is not empty.";
    MacroBecameSetting = "macro_became_setting", Warning,
        "A word that is no macro stands where only a setting can be meant; it is the partner's own `cfg.…`.";
    MacroNested = "macro_nested", Info,
        "The macro stands in a URL inside the URL, and is percent-encoded once more for each.";
    MacroMeaning = "macro_meaning", Error, "A meaning that the template gives to a word cannot be used.";
    FilterUnknown = "filter_unknown", Error, "There is no filter of that name; the macro would be empty.";
    FilterArgument = "filter_argument", Error, "The filter's argument cannot be used; the macro would be empty.";
    FilterOneSide = "filter_one_side", Warning,
        "A hash stands after the last alternative and does not cover the ones before it.";
    FilterNested = "filter_nested", Info, "The value is percent-encoded twice, as a URL inside a URL needs.";
    UrlInvalid = "url_invalid", Error, "The URL cannot be used.";
    UrlScheme = "url_scheme", Error, "A request is sent over http or https only.";
    UrlSchemeForbidden = "url_scheme_forbidden", Error, "A visitor is never sent to a scheme that runs or reads things.";
    UrlPlainHttp = "url_plain_http", Warning,
        "The URL is plain http; it is sent only where the operator allows it, and anyone on the way can read it.";
    UrlUserinfo = "url_userinfo", Warning,
        "The user and password in the URL are sent as basic authentication, and are shown to whoever sees the template.";
    UrlFragment = "url_fragment", Warning, "What follows `#` is never sent to a server.";
    UrlPercent = "url_percent", Warning, "A `%` that begins no escape is sent as it is.";
    LiteralEncoded = "literal_encoded", Warning, "Characters a URL cannot hold are sent percent-encoded.";
    HeaderInvalid = "header_invalid", Error, "The header's name is not one.";
    HeaderReserved = "header_reserved", Error, "The header is set by the sender itself.";
    HeaderControlBytes = "header_control_bytes", Error, "A header's value cannot hold control bytes or line breaks.";
    BodyIgnored = "body_ignored", Warning, "A GET request has no body; it is not sent.";
    JsonInvalid = "json_invalid", Error, "The body is not JSON once its macros are filled.";
    NoPartnerClickId = "no_partner_click_id", Warning,
        "The template does not give the partner its click id back, so it cannot tell which click is meant.";
    RevenueWithoutCurrency = "revenue_without_currency", Warning,
        "The template tells an amount without `{currency}`; amounts are in the currency they were sent in.";
    TemplateTooLong = "template_too_long", Error, "The template is longer than what may be sent.";
    MethodInvalid = "method_invalid", Error, "The method is not GET, POST or PUT.";
    SignatureInvalid = "signature_invalid", Error, "A signature cannot be made as it is described.";
    SignatureInBody = "signature_in_body", Error,
        "A signature that covers the body stands in the body, so neither can be made before the other.";
    SignatureKeyShown = "signature_key_shown", Error, "The key of a signature stands in the request that it signs.";
    SignatureUndefined = "signature_undefined", Warning,
        "Nothing says how the signature of that name is made; it is empty.";
    SignatureUnused = "signature_unused", Warning, "A signature is described that the request does not carry.";
    AuthInvalid = "auth_invalid", Error, "What is to prove who sends the request cannot be used.";
    AuthConflict = "auth_conflict", Error,
        "`auth` makes the header `authorization`, and the request has one of its own, or a user in its URL.";
}

impl fmt::Display for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// One thing to say about a template, and where.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// The stable code.
    pub code: Code,
    /// How much it matters here.
    pub severity: Severity,
    /// The part of the request it is about.
    pub place: Place,
    /// Byte offset in that part's text: in the whole URL, in the header's value, in the body.
    pub offset: usize,
    /// The macro, filter or header it is about, as written.
    pub name: Option<String>,
    /// The name that was likely meant.
    pub likely: Option<String>,
    /// The sentence for a person.
    pub message: String,
}

impl Finding {
    pub(super) fn new(code: Code, place: Place, offset: usize, message: impl Into<String>) -> Self {
        Self {
            code,
            severity: code.severity(),
            place,
            offset,
            name: None,
            likely: None,
            message: message.into(),
        }
    }

    pub(super) fn about(mut self, name: &str) -> Self {
        self.name = Some(name.to_owned());
        self
    }

    pub(super) fn likely(mut self, name: Option<&str>) -> Self {
        if let Some(name) = name {
            self.message.push_str(&format!("; did you mean `{name}`?"));
            self.likely = Some(name.to_owned());
        }
        self
    }

    pub(super) fn severity(mut self, severity: Severity) -> Self {
        self.severity = severity;
        self
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { code, severity, place, offset, message, .. } = self;
        write!(f, "{} {code} at {place}:{offset}: {message}", severity.as_str())
    }
}

/// Findings being collected, up to [`FINDINGS_MAX`]. An error is never pushed out by warnings before it.
#[derive(Debug, Default)]
pub(super) struct Findings(Vec<Finding>);

impl Findings {
    pub(super) fn add(&mut self, finding: Finding) {
        if self.0.len() < FINDINGS_MAX {
            self.0.push(finding);
        } else if finding.severity == Severity::Error
            && let Some(weaker) = self.0.iter_mut().rev().find(|known| known.severity != Severity::Error)
        {
            *weaker = finding;
        }
    }

    /// Whether there is one of this code.
    pub(super) fn has(&self, code: Code) -> bool {
        self.0.iter().any(|finding| finding.code == code)
    }

    /// Whether more findings will mostly be dropped, so that costly advice is not worth working out.
    pub(super) fn is_full(&self) -> bool {
        self.0.len() >= FINDINGS_MAX
    }

    /// An error, if there is one.
    pub(super) fn worst(&self) -> Option<&Finding> {
        self.0.iter().find(|finding| finding.severity == Severity::Error)
    }

    /// Adds what another collection holds.
    pub(super) fn append(&mut self, others: Findings) {
        others.0.into_iter().for_each(|finding| self.add(finding));
    }

    /// Says for each finding so far which part of the request its offset is in.
    pub(super) fn place(&mut self, place: impl Fn(usize) -> Place) {
        for finding in &mut self.0 {
            finding.place = place(finding.offset);
        }
    }

    pub(super) fn into_vec(self) -> Vec<Finding> {
        self.0
    }
}
