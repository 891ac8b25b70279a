//! Destinations that a request asks for: `redirect`, `redirect_android`, `redirect_ios`, `redirect_web`, `deep_link`,
//! `fallback`, `url`, by whatever names the link's dialect has for them.
//!
//! A link that sends anybody anywhere is an open redirector, so such a destination counts only if it begins with one
//! of the link's own `allow_destinations`. Both are parsed first, by the rules that browsers follow, and compared by
//! scheme, host, port and path; what is sent out is the parsed form, so that no browser can read it otherwise.
//! Macros in such a destination are not filled: a stranger could ask for a partner's settings.

use roundtrip_domain::params::{Param, Params, unexpanded};
use url::Url;

/// Longest destination that a request may ask for, in received bytes. Values are cut a little above this, and half a
/// URL leads somewhere else than the whole.
const URL_BYTES_MAX: usize = 2_000;

/// Schemes that make a browser run or read something instead of going somewhere.
const FORBIDDEN: &[&str] =
    &["about", "blob", "content", "data", "file", "filesystem", "javascript", "vbscript", "view-source"];

/// Whether a visitor is never sent to this scheme. The scheme is lower-case.
pub(super) fn is_forbidden(scheme: &str) -> bool {
    FORBIDDEN.contains(&scheme)
}

/// The destinations of a request that may be followed.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Asked {
    /// `redirect_android`.
    pub(super) android: Option<String>,
    /// `redirect_ios`.
    pub(super) ios: Option<String>,
    /// `redirect_web`.
    pub(super) web: Option<String>,
    /// `redirect`, else `url`.
    pub(super) any: Option<String>,
    /// `deep_link`.
    pub(super) deep_link: Option<String>,
    /// `fallback`.
    pub(super) fallback: Option<String>,
    /// One or more were not allowed.
    pub(super) is_refused: bool,
}

impl Asked {
    /// Reads and judges them.
    pub(super) fn read(params: &Params, allowed: &[String]) -> Self {
        let mut asked = Self::default();
        let mut read = |name: &str| {
            // A macro that nobody filled asks for nothing.
            let param = params.get(name).filter(|param| !param.raw.is_empty() && !unexpanded(param.raw))?;
            let url = judge(param, allowed);
            asked.is_refused |= url.is_none();
            url
        };
        let (android, ios, web) = (read("redirect_android"), read("redirect_ios"), read("redirect_web"));
        let (any, url) = (read("redirect"), read("url"));
        let (deep_link, fallback) = (read("deep_link"), read("fallback"));
        Self { android, ios, web, any: any.or(url), deep_link, fallback, ..asked }
    }
}

fn judge(param: Param<'_>, allowed: &[String]) -> Option<String> {
    let bytes = param.bytes();
    let text = std::str::from_utf8(&bytes).ok()?;
    // Browsers take a backslash for a slash and skip control bytes; nobody honest sends either.
    if param.raw.len() > URL_BYTES_MAX
        || text.bytes().any(|b| b == b'\\' || b.is_ascii_control() || b == b' ')
    {
        return None;
    }
    let url = Url::parse(text).ok()?;
    let has_userinfo =
        !url.username().is_empty() || url.password().is_some() || authority(text).contains('@');
    if is_forbidden(url.scheme()) || has_userinfo {
        return None;
    }
    allowed.iter().any(|prefix| begins(&url, prefix)).then(|| url.into())
}

/// What stands between `//` and the path, as written.
fn authority(text: &str) -> &str {
    let after = text.split_once("//").map_or("", |(_, rest)| rest);
    after.split(['/', '?', '#']).next().unwrap_or_default()
}

/// Whether a destination begins with an allowed prefix. A prefix that ends in a letter or digit ends where a
/// path segment ends: `https://shop.example/sale` allows `/sale/x` and `/sale?x`, and not `/salesman`.
fn begins(url: &Url, prefix: &str) -> bool {
    // An app's scheme may stand alone: `myapp://` allows all of it.
    if let Some(scheme) = prefix.strip_suffix("://") {
        return !scheme.starts_with("http") && url.scheme().eq_ignore_ascii_case(scheme);
    }
    let Ok(prefix_url) = Url::parse(prefix) else { return false };
    let is_same_place = url.scheme() == prefix_url.scheme()
        && url.host_str() == prefix_url.host_str()
        && url.port_or_known_default() == prefix_url.port_or_known_default()
        && url.cannot_be_a_base() == prefix_url.cannot_be_a_base();
    if !is_same_place {
        return false;
    }
    let wanted = path_and_query(&prefix_url);
    if wanted.len() <= 1 {
        return true;
    }
    let path = url.path().to_ascii_lowercase();
    // Servers disagree about what an encoded slash in a path is, so it cannot prove where the path leads.
    if ["%2f", "%5c", "%2e"].iter().any(|escape| path.contains(escape)) {
        return false;
    }
    let Some(rest) = path_and_query(url).strip_prefix(wanted) else { return false };
    let ends_inside_word = wanted.ends_with(|c: char| c.is_ascii_alphanumeric());
    rest.is_empty() || !ends_inside_word || rest.starts_with(['/', '?', '&'])
}

fn path_and_query(url: &Url) -> &str {
    &url[url::Position::BeforePath..url::Position::AfterQuery]
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALLOWED: &[&str] = &[
        "https://shop.example",
        "https://news.example/sale",
        "https://pages.example/~bob/",
        "https://cdn.example:8443/p-",
        "https://go.example/to?item=",
        "myapp://",
        "other://product/",
    ];

    #[track_caller]
    fn check(url: &str, want: Option<&str>) {
        let allowed: Vec<String> = ALLOWED.iter().map(|s| (*s).to_owned()).collect();
        let raw =
            percent_encoding::percent_encode(url.as_bytes(), percent_encoding::NON_ALPHANUMERIC).to_string();
        let asked = Asked::read(&Params::parse(format!("redirect={raw}").as_bytes()), &allowed);
        assert_eq!(asked.any.as_deref(), want, "{url}");
        assert_eq!(asked.is_refused, want.is_none(), "{url}");
    }

    #[test]
    fn what_begins_with_an_allowed_prefix_passes() {
        for (url, want) in [
            ("https://shop.example", "https://shop.example/"),
            ("https://shop.example/", "https://shop.example/"),
            ("https://shop.example?x=1", "https://shop.example/?x=1"),
            ("HTTPS://Shop.Example:443/a?b=c#d", "https://shop.example/a?b=c#d"),
            ("https://shop.example/é", "https://shop.example/%C3%A9"),
            (
                "https://shop.example/?back=https://user@evil.example",
                "https://shop.example/?back=https://user@evil.example",
            ),
            ("https://news.example/sale", "https://news.example/sale"),
            ("https://news.example/sale/shoes", "https://news.example/sale/shoes"),
            ("https://news.example/sale?x", "https://news.example/sale?x"),
            ("https://pages.example/~bob/x", "https://pages.example/~bob/x"),
            ("https://cdn.example:8443/p-12", "https://cdn.example:8443/p-12"),
            ("https://go.example/to?item=9", "https://go.example/to?item=9"),
            ("myapp://product/9?x=1", "myapp://product/9?x=1"),
            ("other://product/9", "other://product/9"),
        ] {
            check(url, Some(want));
        }
    }

    #[test]
    fn attacks_are_refused() {
        for url in [
            "https://evil.example",
            "http://shop.example/",
            "//shop.example/",
            "/relative",
            "shop.example",
            "https://shop.example@evil.example/",
            "https://shop.example:x@evil.example/",
            "https://user@shop.example/",
            "https://@shop.example/",
            "https://shop.example.evil.example/",
            "https://evil.example/https://shop.example",
            "https://evil.example#https://shop.example",
            "https://evil.example\\@shop.example/",
            "https:\\\\shop.example/",
            "https://shop.example\\.evil.example/",
            "https://shop.example:444/",
            "https://shopexample/",
            "https://shop.example%2eevil.example/",
            "https://shop.example\t/",
            "https://sh\nop.example/",
            " https://shop.example/",
            "https://shop.example/\r\nSet-Cookie: a=b",
            "https://shop.example/\0",
            "https://news.example/",
            "https://news.example/salesman",
            "https://news.example/sale/../admin",
            "https://news.example/sale/%2e%2e/admin",
            "https://news.example/sale/..%2fadmin",
            "https://news.example/sale/..%5cadmin",
            "https://pages.example/~bobby",
            "https://go.example/to?item2=9",
            "javascript:alert(1)",
            "JaVaScRiPt:alert(1)",
            "java\tscript:alert(1)",
            "data:text/html,x",
            "vbscript:x",
            "file:///etc/passwd",
            "blob:https://shop.example/1",
            "other://products/9",
            "otherapp://product/9",
        ] {
            check(url, None);
        }
        check(&format!("https://shop.example/{}", "a".repeat(2_100)), None);
    }

    #[test]
    fn nothing_is_asked_for_by_a_macro_or_an_empty_value() {
        for query in ["redirect=", "redirect=%7Bdeeplink%7D", "x=1"] {
            assert_eq!(Asked::read(&Params::parse(query.as_bytes()), &[]), Asked::default(), "{query}");
        }
        let refused = Asked::read(&Params::parse(b"redirect=https%3A%2F%2Fa.example"), &[]);
        assert!(refused.is_refused, "without an allow-list nothing is allowed");
    }

    #[test]
    fn redirect_comes_before_url() {
        let allowed = ["https://a.example".to_owned()];
        for query in [
            "url=https://a.example/u&redirect=https://a.example/r",
            "redirect=https://a.example/r&url=https://a.example/u",
        ] {
            assert_eq!(
                Asked::read(&Params::parse(query.as_bytes()), &allowed).any.as_deref(),
                Some("https://a.example/r")
            );
        }
    }
}
