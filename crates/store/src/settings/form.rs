//! The forms of names: slugs, link ids, and what nothing may be named.

/// First segments of routes on either listener. A link id or workspace of that name would hide a route, or
/// be hidden by it. Append-only in spirit: taking a word later can break a link that exists.
pub const RESERVED: &[&str] = &[
    "api",
    "c",
    "click",
    "conversion",
    "dashboard",
    "docs",
    "favicon.ico",
    "healthz",
    "i",
    "impression",
    "js",
    "login",
    "logout",
    "metrics",
    "pixel",
    "portal",
    "postback",
    "readyz",
    "robots.txt",
    "share",
    "sitemap.xml",
    "static",
    "stories",
    "story",
    "v1",
    "v2",
];

/// Whether a link id or workspace slug would collide with a route, in any case.
pub fn is_reserved(name: &str) -> bool {
    RESERVED.iter().any(|word| word.eq_ignore_ascii_case(name))
}

/// A slug: 1 to 64 characters of `a-z`, `0-9`, `-` and `_`, beginning with a letter or digit.
pub(super) fn is_slug(text: &str) -> bool {
    let inner = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || matches!(b, b'-' | b'_');
    (1..=64).contains(&text.len())
        && text.bytes().all(inner)
        && text.bytes().next().is_some_and(|b| b.is_ascii_alphanumeric())
}

/// A link id: 3 to 64 characters of `A-Z`, `a-z`, `0-9`, `-` and `_`.
pub(super) fn is_link_id(text: &str) -> bool {
    (3..=64).contains(&text.len())
        && text.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_'))
}

/// A workspace's slug: the namespace in paths and host names, so a DNS label of at most 50 characters
/// (`{namespace}-tracking` has to fit into 63).
pub fn is_workspace_slug(text: &str) -> bool {
    let inner = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-';
    (1..=50).contains(&text.len())
        && text.bytes().all(inner)
        && !text.starts_with('-')
        && !text.ends_with('-')
}

/// A public id of a campaign or partner: 1 to 128 visible characters without space.
pub(super) fn is_public_id(text: &str) -> bool {
    (1..=128).contains(&text.len()) && text.chars().all(|c| !c.is_control() && !c.is_whitespace())
}

/// Whether a text for people is 1 to 200 characters without control characters.
pub(super) fn is_name(text: &str) -> bool {
    !text.trim().is_empty() && text.chars().count() <= 200 && !text.chars().any(char::is_control)
}

/// An event's name: 1 to 128 characters without control characters.
pub(super) fn is_event_name(text: &str) -> bool {
    !text.is_empty() && text.chars().count() <= 128 && !text.chars().any(char::is_control)
}

/// Whether a prefix of allowed destinations ends where no other host can begin: a scheme other than http(s)
/// with its `://`, or http(s) with a host and the slash behind it. `https://shop.example` alone would also
/// allow `https://shop.example.attacker.example`.
pub(super) fn is_destination_prefix(text: &str) -> bool {
    let Some((scheme, rest)) = text.split_once("://") else { return false };
    let is_scheme = scheme.bytes().next().is_some_and(|b| b.is_ascii_alphabetic())
        && scheme.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'+' | b'-' | b'.'));
    let is_plain = !text.chars().any(|c| c.is_whitespace() || c.is_control() || c == '\\');
    let runs = ["javascript", "data", "vbscript", "file", "blob", "about", "content", "filesystem"]
        .iter()
        .any(|bad| scheme.eq_ignore_ascii_case(bad));
    let is_web = scheme.eq_ignore_ascii_case("http") || scheme.eq_ignore_ascii_case("https");
    let host_is_closed =
        rest.split_once('/').is_some_and(|(host, _)| !host.is_empty() && !host.contains(['@', '?', '#']));
    is_scheme && is_plain && !runs && (!is_web || host_is_closed)
}
