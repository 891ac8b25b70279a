//! Callbacks inside a link: Adjust's way to let a partner name its postback URL in the click itself.
//!
//! The text is a stranger's: whoever writes the click chooses the host that our server would call. So it is
//! refused unless the partner is allowed it by name, and then read by strict rules; the guarded sender looks
//! at the address again, as it does at every other. Nothing is sent from here, and when a callback is due is
//! decided where postbacks are planned.

use std::fmt;

use url::{Host, Url};

use crate::params::Params;
use crate::template::{Dialect, Parts, Severity, Template};

/// Longest callback URL, in decoded bytes.
const CALLBACK_BYTES_MAX: usize = 2_000;
/// Most callbacks that are read from one click.
const CALLBACKS_MAX: usize = 16;
/// Longest event token, in bytes; real ones have six.
const TOKEN_BYTES_MAX: usize = 32;

/// When a callback would be sent.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum CallbackKind {
    /// On an install.
    Install,
    /// On a re-engagement that earned an installation again.
    Reattribution,
    /// On an install or a reattribution.
    Conversion,
    /// On a session.
    Session,
    /// On the event with this token.
    Event(String),
    /// On an install that a check refused.
    RejectedInstall,
    /// On a reattribution that a check refused.
    RejectedReattribution,
    /// On the click itself.
    Click,
    /// On the impression itself.
    Impression,
}

impl CallbackKind {
    /// The parameter that names the kind, without the `adj_` of branded links.
    pub fn parameter(&self) -> String {
        match self {
            Self::Install => "install_callback".to_owned(),
            Self::Reattribution => "reattribution_callback".to_owned(),
            Self::Conversion => "conversion_callback".to_owned(),
            Self::Session => "session_callback".to_owned(),
            Self::Event(token) => format!("event_callback_{token}"),
            Self::RejectedInstall => "rejected_install_callback".to_owned(),
            Self::RejectedReattribution => "rejected_reattribution_callback".to_owned(),
            Self::Click => "click_callback".to_owned(),
            Self::Impression => "impression_callback".to_owned(),
        }
    }

    /// The kind that a parameter names, with or without the `adj_` of branded links.
    pub fn parse(name: &str) -> Option<Self> {
        let name = name.strip_prefix("adj_").unwrap_or(name);
        Some(match name {
            "install_callback" => Self::Install,
            "reattribution_callback" => Self::Reattribution,
            "conversion_callback" => Self::Conversion,
            "session_callback" => Self::Session,
            "rejected_install_callback" => Self::RejectedInstall,
            "rejected_reattribution_callback" => Self::RejectedReattribution,
            "click_callback" => Self::Click,
            "impression_callback" => Self::Impression,
            _ => {
                let token = name.strip_prefix("event_callback_")?;
                let is_token = (1..=TOKEN_BYTES_MAX).contains(&token.len())
                    && token.bytes().all(|b| b.is_ascii_alphanumeric());
                return is_token.then(|| Self::Event(token.to_owned()));
            }
        })
    }
}

/// Why a callback is not usable. The words are stored: append only.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CallbackFault {
    /// Longer than 2,000 bytes, or behind the 16th.
    TooLong,
    /// Its bytes are no UTF-8, or no URL.
    Malformed,
    /// Not https on its own port.
    NotHttps,
    /// A user or password stands in it.
    Userinfo,
    /// Its host is an address, a name inside a private network, or holds a macro.
    Host,
    /// Its macros cannot be read.
    Macros,
    /// The partner's links may not carry callbacks.
    NotAllowed,
}

impl CallbackFault {
    /// All faults.
    pub const ALL: [Self; 7] = [
        Self::TooLong,
        Self::Malformed,
        Self::NotHttps,
        Self::Userinfo,
        Self::Host,
        Self::Macros,
        Self::NotAllowed,
    ];

    /// The stable word.
    pub const fn word(self) -> &'static str {
        match self {
            Self::TooLong => "too_long",
            Self::Malformed => "malformed",
            Self::NotHttps => "not_https",
            Self::Userinfo => "userinfo",
            Self::Host => "host",
            Self::Macros => "macros",
            Self::NotAllowed => "not_allowed",
        }
    }

    /// The fault of that word.
    pub fn parse(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|fault| fault.word() == word)
    }

    /// What is wrong, as the end of the sentence "it is refused: …".
    pub const fn sentence(self) -> &'static str {
        match self {
            Self::TooLong => "it is longer than 2,000 bytes, or behind the 16th of the link",
            Self::Malformed => "it is no URL",
            Self::NotHttps => "it is not over https, or names a port",
            Self::Userinfo => "it holds a user or password",
            Self::Host => "its host is no public name",
            Self::Macros => "its macros cannot be read",
            Self::NotAllowed => "the partner's links may not carry callbacks (`in_link_callbacks`)",
        }
    }
}

/// A callback that a link carries.
#[derive(Clone, PartialEq, Eq)]
pub struct Callback {
    /// When it would be sent.
    pub kind: CallbackKind,
    /// The URL template, decoded once, in Adjust's `{…}` syntax.
    pub url: String,
}

impl fmt::Debug for Callback {
    /// The URL may hold a partner's token.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Callback").field("kind", &self.kind).finish_non_exhaustive()
    }
}

impl Params {
    /// Whether the link carries callbacks, sound or not. Cheap where the dialect has none.
    pub fn has_callbacks(&self) -> bool {
        self.dialect().has_callbacks()
            && self.iter().any(|p| {
                p.name.contains("_callback") && !p.raw.is_empty() && CallbackKind::parse(p.name).is_some()
            })
    }

    /// The link's callbacks in the order in which they came, each judged.
    pub fn callbacks(&self) -> Vec<Result<Callback, CallbackFault>> {
        if !self.dialect().has_callbacks() {
            return Vec::new();
        }
        self.judged_callbacks().map(|(kind, url)| Ok(Callback { kind, url: url? })).collect()
    }

    /// The link's first callback of a kind, judged; `None` if it has none.
    pub fn callback(&self, wanted: &CallbackKind) -> Option<Result<Callback, CallbackFault>> {
        if !self.dialect().has_callbacks() {
            return None;
        }
        let (kind, url) = self.judged_callbacks().find(|(kind, _)| kind == wanted)?;
        Some(url.map(|url| Callback { kind, url }))
    }

    fn judged_callbacks(&self) -> impl Iterator<Item = (CallbackKind, Result<String, CallbackFault>)> {
        let named = self.iter().filter(|p| !p.raw.is_empty());
        named.filter_map(|param| Some((CallbackKind::parse(param.name)?, param))).enumerate().map(
            |(at, (kind, param))| {
                let bytes = param.bytes();
                let url = if at >= CALLBACKS_MAX || bytes.len() > CALLBACK_BYTES_MAX {
                    Err(CallbackFault::TooLong)
                } else {
                    let url = String::from_utf8(bytes.into_owned()).map_err(|_| CallbackFault::Malformed);
                    url.and_then(|url| judge(&url).map(|()| url))
                };
                (kind, url)
            },
        )
    }
}

/// Reads a callback's URL as the request that it asks for: GET, in Adjust's macros. The URL is judged again, so
/// that what was stored is believed no more than what was received. It is to be filled without the partner's own
/// settings: they may hold secrets, and whoever writes a click could ask for them.
///
/// # Errors
///
/// When it may not be sent.
pub fn callback_template(url: &str) -> Result<Template, CallbackFault> {
    if url.len() > CALLBACK_BYTES_MAX {
        return Err(CallbackFault::TooLong);
    }
    judge(url)?;
    let (template, findings) = Template::parse(Parts { dialect: Dialect::Adjust, ..Parts::get(url) });
    if findings.iter().any(|finding| finding.severity == Severity::Error) {
        return Err(CallbackFault::Macros);
    }
    Ok(template)
}

fn judge(text: &str) -> Result<(), CallbackFault> {
    if text.bytes().any(|b| b == b'\\' || b == b' ' || b.is_ascii_control()) {
        return Err(CallbackFault::Malformed);
    }
    let authority = text.split_once("://").map_or("", |(_, rest)| rest);
    let authority = authority.split(['/', '?', '#']).next().unwrap_or_default();
    if authority.contains(['{', '}', '%']) {
        return Err(CallbackFault::Host);
    }
    let url = Url::parse(text).map_err(|_| CallbackFault::Malformed)?;
    // URL readers forgive a wrong number of slashes; then the text above would be another host than theirs.
    if authority.is_empty() {
        return Err(CallbackFault::Malformed);
    }
    if url.scheme() != "https" || url.port().is_some() {
        return Err(CallbackFault::NotHttps);
    }
    if authority.contains('@') {
        return Err(CallbackFault::Userinfo);
    }
    match url.host() {
        Some(Host::Domain(name)) if is_public(name) => Ok(()),
        _ => Err(CallbackFault::Host),
    }
}

/// Whether a lower-case name can be one of the public DNS. Endings from RFC 6761, RFC 6762 and RFC 8375,
/// and those that private networks use in spite of them.
fn is_public(name: &str) -> bool {
    let name = name.strip_suffix('.').unwrap_or(name);
    let Some((_, last)) = name.rsplit_once('.') else { return false };
    let is_private =
        ["local", "localhost", "internal", "intranet", "lan", "home", "corp", "private", "test", "invalid"]
            .contains(&last)
            || name.ends_with(".home.arpa")
            || name.ends_with(".in-addr.arpa");
    !is_private && !last.bytes().all(|b| b.is_ascii_digit())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::link_dialect::LinkDialect;

    fn read(query: &str) -> Vec<Result<Callback, CallbackFault>> {
        Params::parse_as(query.as_bytes(), LinkDialect::Adjust).callbacks()
    }

    fn encoded(url: &str) -> String {
        percent_encoding::utf8_percent_encode(url, percent_encoding::NON_ALPHANUMERIC).to_string()
    }

    #[test]
    fn kinds_are_read_with_and_without_the_prefix() {
        let url = "https://partner.example/p?id={gps_adid}&c=a%2Fb";
        for (name, kind) in [
            ("install_callback", CallbackKind::Install),
            ("adj_install_callback", CallbackKind::Install),
            ("reattribution_callback", CallbackKind::Reattribution),
            ("conversion_callback", CallbackKind::Conversion),
            ("session_callback", CallbackKind::Session),
            ("event_callback_f0ob4r", CallbackKind::Event("f0ob4r".into())),
            ("adj_event_callback_f0ob4r", CallbackKind::Event("f0ob4r".into())),
            ("rejected_install_callback", CallbackKind::RejectedInstall),
            ("rejected_reattribution_callback", CallbackKind::RejectedReattribution),
            ("click_callback", CallbackKind::Click),
            ("impression_callback", CallbackKind::Impression),
        ] {
            let query = format!("label=x&{name}={}", encoded(url));
            assert_eq!(read(&query), [Ok(Callback { kind, url: url.into() })], "{name}");
            assert!(Params::parse_as(query.as_bytes(), LinkDialect::Adjust).has_callbacks());
            let other = Params::parse_as(query.as_bytes(), LinkDialect::AppsFlyer);
            assert!(!other.has_callbacks() && other.callbacks().is_empty(), "another dialect has none");
        }
        for name in ["callback", "my_callback", "event_callback_", "event_callback_a.b", "installcallback"] {
            assert_eq!(read(&format!("{name}={}", encoded(url))), [], "{name}");
        }
        assert_eq!(read("install_callback="), []);
    }

    #[test]
    fn only_a_public_https_host_is_taken() {
        for (url, fault) in [
            ("http://partner.example/", CallbackFault::NotHttps),
            ("https://partner.example:8443/", CallbackFault::NotHttps),
            ("ftp://partner.example/", CallbackFault::NotHttps),
            ("partner.example/x", CallbackFault::Malformed),
            ("https://partner.example/a b", CallbackFault::Malformed),
            ("https://partner.example\\@10.0.0.1/", CallbackFault::Malformed),
            ("https:partner.example/x", CallbackFault::Malformed),
            ("https:u:p@partner.example/x", CallbackFault::Malformed),
            ("https:///partner.example/x", CallbackFault::Malformed),
            ("https://u:p@partner.example/", CallbackFault::Userinfo),
            ("https://@partner.example/", CallbackFault::Userinfo),
            ("https://127.0.0.1/", CallbackFault::Host),
            ("https://2130706433/", CallbackFault::Host),
            ("https://0x7f.1/", CallbackFault::Host),
            ("https://[::1]/", CallbackFault::Host),
            ("https://203.0.113.9/", CallbackFault::Host),
            ("https://localhost/", CallbackFault::Host),
            ("https://a.localhost/", CallbackFault::Host),
            ("https://metadata.google.internal/", CallbackFault::Host),
            ("https://printer.local./", CallbackFault::Host),
            ("https://router.home.arpa/", CallbackFault::Host),
            ("https://intranet/", CallbackFault::Host),
            ("https://{label}/", CallbackFault::Host),
            ("https://{label}.partner.example/", CallbackFault::Host),
        ] {
            assert_eq!(read(&format!("install_callback={}", encoded(url))), [Err(fault)], "{url}");
        }
        let long = format!("https://partner.example/{}", "a".repeat(CALLBACK_BYTES_MAX));
        assert_eq!(read(&format!("install_callback={long}")), [Err(CallbackFault::TooLong)]);
        assert_eq!(read("install_callback=https://p.example/%ff"), [Err(CallbackFault::Malformed)]);
        let many: String = (0..20).map(|n| format!("event_callback_{n}=https://p.example/&")).collect();
        let many = read(&many);
        assert_eq!(many.iter().filter(|callback| callback.is_ok()).count(), CALLBACKS_MAX);
    }

    #[test]
    fn a_kind_is_found_by_itself_and_named_as_it_is_read() {
        let params = |query: &str| Params::parse_as(query.as_bytes(), LinkDialect::Adjust);
        let query = "install_callback=http://p.example/&adj_conversion_callback=https://p.example/a\
                     &conversion_callback=https://p.example/b";
        assert_eq!(params(query).callback(&CallbackKind::Install), Some(Err(CallbackFault::NotHttps)));
        let found = params(query).callback(&CallbackKind::Conversion).unwrap().unwrap();
        assert_eq!(found.url, "https://p.example/a", "the first");
        assert_eq!(params(query).callback(&CallbackKind::Session), None);
        let other = Params::parse_as(query.as_bytes(), LinkDialect::AppsFlyer);
        assert_eq!(other.callback(&CallbackKind::Install), None);
        for kind in [CallbackKind::Install, CallbackKind::RejectedInstall, CallbackKind::Event("a1".into())] {
            assert_eq!(CallbackKind::parse(&kind.parameter()), Some(kind));
        }
        for fault in CallbackFault::ALL {
            assert_eq!(CallbackFault::parse(fault.word()), Some(fault));
        }
    }

    #[test]
    fn a_callback_is_read_in_adjusts_macros() {
        let template = callback_template("https://p.example/?d={gps_adid}&l={label}&x=%7Bi%7D").unwrap();
        let keys: Vec<&str> = template.macros().map(|used| used.key.as_str()).collect();
        assert_eq!(keys.first(), Some(&"gaid"), "{keys:?}");
        for (url, fault) in
            [("http://p.example/", CallbackFault::NotHttps), ("https://127.0.0.1/", CallbackFault::Host)]
        {
            assert_eq!(callback_template(url).unwrap_err(), fault, "{url}");
        }
    }
}
