//! Other addresses of a link: the URLs that partners have already, with nothing but the host changed.
//!
//! An address is a path, a host where that matters, and the query pairs that must be there: `/aff_c` with
//! `offer_id=12` and `aff_id=7`, or `https://click.example.com/com.example.app` with `pid=acme_int`. All else in
//! a request's query is the click's. [`Addresses`] finds a link by one look at the path and one at the values
//! of the pairs, however many links there are.
//!
//! Not relied on: that an address is free. Whether a route of ours or another link has it is judged where
//! settings are.

use std::collections::HashMap;
use std::fmt;

use crate::params::{Params, decode, unexpanded};

/// Longest address, in bytes.
pub const ADDRESS_BYTES_MAX: usize = 1_024;
/// Most query pairs of an address.
pub const PAIRS_MAX: usize = 8;

/// What a path does not show as it is: what would end it, and what no URL holds.
const IN_PATH: &percent_encoding::AsciiSet = &percent_encoding::CONTROLS
    .add(b' ')
    .add(b'"')
    .add(b'#')
    .add(b'%')
    .add(b'<')
    .add(b'>')
    .add(b'?')
    .add(b'\\');

/// Why a text is no address.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum AddressError {
    /// Longer than [`ADDRESS_BYTES_MAX`].
    #[error("it is longer than 1,024 bytes")]
    TooLong,
    /// Neither a path nor a URL.
    #[error("it begins with `https://` and a host, or with the path's `/`")]
    Form,
    /// Port, user or fragment.
    #[error("it has no port, no user and no `#`")]
    Extra,
    /// A path or query whose bytes are no text.
    #[error("a `%` stands for two hexadecimal digits, and the decoded text has no control characters")]
    Escape,
    /// A macro.
    #[error("a macro stands for what varies: leave its parameter out, and keep those that name the link")]
    Macro,
    /// A name without a value, a name twice, or too many.
    #[error("its query has at most 8 pairs, each a name and a value that stand once")]
    Pairs,
    /// It would take every request of a host.
    #[error("the path `/` alone names no link: add what tells the link from others, such as `?offer_id=12`")]
    Everything,
}

/// An address of a link.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Address {
    host: Option<String>,
    path: String,
    /// Decoded, by name.
    pairs: Vec<(String, String)>,
    /// Whether requests there are impressions.
    pub is_view: bool,
}

impl Address {
    /// Reads `https://host/path?name=value` or `/path?name=value`.
    ///
    /// # Errors
    /// When the text is no address; the error's text says the rule.
    pub fn parse(text: &str, is_view: bool) -> Result<Self, AddressError> {
        if text.len() > ADDRESS_BYTES_MAX {
            return Err(AddressError::TooLong);
        }
        if text.contains('#') {
            return Err(AddressError::Extra);
        }
        let (host, rest) = if text.starts_with('/') && !text.starts_with("//") {
            (None, text)
        } else {
            let web = ["https://", "http://"].into_iter().find_map(|scheme| text.strip_prefix(scheme));
            let rest = web.ok_or(AddressError::Form)?;
            let (authority, rest) = rest.split_at(rest.find(['/', '?']).unwrap_or(rest.len()));
            if authority.contains(['@', ':']) {
                return Err(AddressError::Extra);
            }
            let host = url::Host::parse(authority).map_err(|_| AddressError::Form)?.to_string();
            let host = host.strip_suffix('.').unwrap_or(&host);
            if host.split('.').any(str::is_empty) {
                return Err(AddressError::Form);
            }
            (Some(host.to_owned()), rest)
        };
        let (path, query) = rest.split_once('?').unwrap_or((rest, ""));
        let path = text_of(path)?;
        let path = without_end(&path).to_owned();
        if unexpanded_part(&path) {
            return Err(AddressError::Macro);
        }
        let params = Params::parse(query.as_bytes());
        let odd = params.oddities;
        if odd.bad_escape || odd.bad_utf8 {
            return Err(AddressError::Escape);
        }
        if odd.repeated || odd.cut || params.iter().count() > PAIRS_MAX {
            return Err(AddressError::Pairs);
        }
        let mut pairs = Vec::new();
        for param in params.iter() {
            // What was no UTF-8 in a name came as this, and would never be found again.
            if param.name.contains(char::REPLACEMENT_CHARACTER) {
                return Err(AddressError::Escape);
            }
            let value = text_of_value(&param.bytes())?;
            if unexpanded(param.raw) || value.contains(['{', '}']) {
                return Err(AddressError::Macro);
            }
            if value.is_empty() {
                return Err(AddressError::Pairs);
            }
            pairs.push((text_of_value(param.name.as_bytes())?, value));
        }
        pairs.sort();
        if path == "/" && pairs.is_empty() {
            return Err(AddressError::Everything);
        }
        Ok(Self { host, path, pairs, is_view })
    }

    /// The host, lower case; `None`: any.
    pub fn host(&self) -> Option<&str> {
        self.host.as_deref()
    }

    /// The path, decoded, without a slash at its end.
    pub fn path(&self) -> &str {
        &self.path
    }

    /// The value that a pair must have, decoded.
    pub fn value(&self, name: &str) -> Option<&str> {
        self.pairs.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }

    /// The names of its pairs, in order.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.pairs.iter().map(|(name, _)| name.as_str())
    }
}

impl fmt::Display for Address {
    /// The address in one fixed form: two that lead to the same requests print the same. It begins with `/`,
    /// with `//` where a host is named.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(host) = &self.host {
            write!(f, "//{host}")?;
        }
        write!(f, "{}", percent_encoding::utf8_percent_encode(&self.path, IN_PATH))?;
        for (at, (name, value)) in self.pairs.iter().enumerate() {
            let encoded =
                |text| percent_encoding::utf8_percent_encode(text, percent_encoding::NON_ALPHANUMERIC);
            write!(f, "{}{}={}", if at == 0 { '?' } else { '&' }, encoded(name), encoded(value))?;
        }
        Ok(())
    }
}

/// A path without slashes at its end; the root keeps its one.
fn without_end(path: &str) -> &str {
    match path.trim_end_matches('/') {
        "" => "/",
        path => path,
    }
}

/// Whether a part of a path is still a macro.
fn unexpanded_part(path: &str) -> bool {
    path.contains(['{', '}']) || path.split('/').any(|part| unexpanded(part.as_bytes()))
}

fn text_of(raw: &str) -> Result<String, AddressError> {
    if crate::params::bad_escape(raw.as_bytes()) {
        return Err(AddressError::Escape);
    }
    // A `+` in a path is a plus.
    text_of_value(&percent_encoding::percent_decode_str(raw).collect::<Vec<u8>>())
}

fn text_of_value(bytes: &[u8]) -> Result<String, AddressError> {
    let text = std::str::from_utf8(bytes).map_err(|_| AddressError::Escape)?;
    if text.chars().any(char::is_control) { Err(AddressError::Escape) } else { Ok(text.to_owned()) }
}

/// What separates values in a key; no value of an address holds it.
const SEPARATOR: u8 = 0;

/// The addresses of one path that name the same host and the same parameters.
#[derive(Debug, Clone)]
struct Shape<T> {
    host: Option<String>,
    names: Vec<String>,
    by_values: HashMap<Vec<u8>, (bool, T)>,
}

/// Addresses with what they lead to.
#[derive(Debug, Clone)]
pub struct Addresses<T>(HashMap<String, Vec<Shape<T>>>);

impl<T> Default for Addresses<T> {
    fn default() -> Self {
        Self(HashMap::new())
    }
}

impl<T: Copy> Addresses<T> {
    /// Adds an address; of two that are the same the first one stays.
    pub fn add(&mut self, address: &Address, target: T) {
        let shapes = self.0.entry(address.path.clone()).or_default();
        let names: Vec<String> = address.names().map(str::to_owned).collect();
        let known = shapes.iter().position(|shape| shape.host == address.host && shape.names == names);
        let at = known.unwrap_or_else(|| {
            let shape = Shape { host: address.host.clone(), names, by_values: HashMap::new() };
            // What says more is asked first: a host before none, more pairs before fewer.
            let place = |s: &Shape<T>| (s.host.is_none(), std::cmp::Reverse(s.names.len()), s.names.clone());
            let at = shapes.partition_point(|other| place(other) < place(&shape));
            shapes.insert(at, shape);
            at
        });
        let values: Vec<&[u8]> = address.pairs.iter().map(|(_, value)| value.as_bytes()).collect();
        shapes[at].by_values.entry(values.join(&SEPARATOR)).or_insert((address.is_view, target));
    }

    /// What a request's host, path and query lead to, and whether it is an impression.
    pub fn find(&self, host: Option<&str>, path: &str, query: &[u8]) -> Option<(bool, T)> {
        if self.0.is_empty() {
            return None;
        }
        let decoded;
        let path = if path.contains('%') {
            decoded = percent_encoding::percent_decode_str(path).decode_utf8().ok()?;
            &*decoded
        } else {
            path
        };
        let shapes = self.0.get(without_end(path))?;
        let host = host.map(|host| host.strip_suffix('.').unwrap_or(host));
        shapes.iter().find_map(|shape| {
            let is_here = shape
                .host
                .as_deref()
                .is_none_or(|wanted| host.is_some_and(|host| wanted.eq_ignore_ascii_case(host)));
            if !is_here {
                return None;
            }
            let mut key = Vec::new();
            for (at, name) in shape.names.iter().enumerate() {
                if at > 0 {
                    key.push(SEPARATOR);
                }
                key.extend_from_slice(&first_value(query, name.as_bytes())?);
            }
            shape.by_values.get(&key).copied()
        })
    }
}

/// The decoded bytes of the first parameter of that name.
fn first_value(query: &[u8], wanted: &[u8]) -> Option<Vec<u8>> {
    query.split(|b| matches!(b, b'&' | b'?')).find_map(|pair| {
        let at = pair.iter().position(|b| *b == b'=')?;
        let name = &pair[..at];
        let is_it =
            name == wanted || (name.iter().any(|b| matches!(b, b'%' | b'+')) && decode(name) == wanted);
        is_it.then(|| decode(&pair[at + 1..]))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(addresses: &[&str], request: &str) -> Option<usize> {
        let mut all = Addresses::default();
        for (at, text) in addresses.iter().enumerate() {
            all.add(&Address::parse(text, false).unwrap(), at);
        }
        let (host, rest) = request.split_at(request.find('/').unwrap());
        let (path, query) = rest.split_once('?').unwrap_or((rest, ""));
        all.find(Some(host).filter(|host| !host.is_empty()), path, query.as_bytes()).map(|(_, at)| at)
    }

    #[test]
    fn a_request_finds_the_address_that_says_most() {
        let all = [
            "/aff_c?offer_id=12&aff_id=7",
            "/aff_c?offer_id=12",
            "https://Click.Example.com/aff_c?offer_id=12",
            "/@shop/acme%20net/",
            "https://go.example?a=1&c=2",
            "/com.example.app?%243p=a_x",
        ];
        for (request, want) in [
            ("t.example/aff_c?offer_id=12&aff_id=7&aff_sub=x", Some(0)),
            ("t.example/aff_c/?aff_id=7&x=1?offer_id=12", Some(0)),
            ("t.example/aff_c?offer_id=12&aff_id=8", Some(1)),
            ("/aff_c?offer_id=12&aff_id=8", Some(1)),
            ("click.example.com/aff_c?offer_id=12&aff_id=7", Some(2)),
            ("CLICK.example.com./aff_c?offer_id=12", Some(2)),
            ("t.example/aff_c?offer_id=13", None),
            ("t.example/aff_c?offer_id=13&offer_id=12", None),
            ("t.example/aff_c?aff_id=7", None),
            ("t.example/AFF_C?offer_id=12", None),
            ("t.example/@shop/acme%20net?x", Some(3)),
            ("t.example/%40shop/acme%20net", Some(3)),
            ("t.example/@shop", None),
            ("go.example/?c=2&s2=x&a=1", Some(4)),
            ("go.example/?a=%31&c=2", Some(4)),
            ("t.example/?a=1&c=2", None),
            ("t.example/com.example.app?%243p=a_x", Some(5)),
            ("t.example/com.example.app?$3p=a_x", Some(5)),
            ("t.example/%ff", None),
            ("t.example/", None),
        ] {
            assert_eq!(found(&all, request), want, "{request}");
        }
        assert_eq!(found(&[], "t.example/aff_c"), None);
    }

    #[test]
    fn values_are_not_mistaken_for_their_joints() {
        assert_eq!(found(&["/x?a=1&b=2"], "t.example/x?a=1%002&b="), None);
        assert_eq!(found(&["/x?a=1&b=2"], "t.example/x?a=1%00&b=2"), None);
    }

    #[test]
    fn the_same_requests_print_the_same() {
        for (text, want) in [
            ("/x?b=2&a=1", "/x?a=1&b=2"),
            ("/x/?a=%31&b=2", "/x?a=1&b=2"),
            ("https://T.Example/x?a=1", "//t.example/x?a=1"),
            ("http://t.example/x?a=1", "//t.example/x?a=1"),
            ("https://t.example?a=1", "//t.example/?a=1"),
            ("/x?~n=a%26b", "/x?%7En=a%26b"),
            ("/x%3Fa=1?b=2", "/x%3Fa=1?b=2"),
            ("/@shop/acme net", "/@shop/acme%20net"),
            ("https://t.example./x", "//t.example/x"),
        ] {
            assert_eq!(Address::parse(text, false).unwrap().to_string(), want, "{text}");
        }
    }

    proptest::proptest! {
        #[test]
        fn any_text_is_judged_and_an_address_prints_as_itself(text in "(https://[a-z.]{1,9})?/[ -~é]{0,30}(\\?[a-z0-9=&%~$]{0,30})?") {
            if let Ok(address) = Address::parse(&text, false) {
                let printed = address.to_string();
                let pasted = if address.host().is_some() { format!("https:{printed}") } else { printed.clone() };
                proptest::prop_assert_eq!(Address::parse(&pasted, false), Ok(address.clone()));
                let mut all = Addresses::default();
                all.add(&address, ());
                let (head, query) = text.split_once('?').unwrap_or((&text, ""));
                let path = head.strip_prefix("https://").map_or(head, |rest| rest.split_at(rest.find('/').unwrap_or(rest.len())).1);
                proptest::prop_assert!(all.find(address.host(), path, query.as_bytes()).is_some(), "{} as {}", text, printed);
            }
        }

        #[test]
        fn any_request_is_looked_up(host in "[ -~]{0,9}", path in "/[ -~]{0,20}", query in proptest::collection::vec(proptest::prelude::any::<u8>(), 0..60)) {
            let mut all = Addresses::default();
            all.add(&Address::parse("/x?a=1", false).unwrap(), ());
            let found = all.find(Some(&host), &path, &query).is_some();
            proptest::prop_assert!(!found || path.contains('x') || path.contains("%78"));
        }
    }

    #[test]
    fn what_is_no_address_says_why() {
        let long = format!("/{}", "x".repeat(ADDRESS_BYTES_MAX));
        for (text, error) in [
            ("", AddressError::Form),
            ("click.example.com/x", AddressError::Form),
            ("//click.example.com/x", AddressError::Form),
            ("ftp://click.example.com/x", AddressError::Form),
            ("https:///x", AddressError::Form),
            ("https://./x", AddressError::Form),
            ("https://a b/x", AddressError::Form),
            ("https://click.example.com:8443/x", AddressError::Extra),
            ("https://u@click.example.com/x", AddressError::Extra),
            ("/x#y", AddressError::Extra),
            ("/x%zz", AddressError::Escape),
            ("/x%00", AddressError::Escape),
            ("/x?a=%zz", AddressError::Escape),
            ("/x?a=%ff", AddressError::Escape),
            ("/x?%ff=a", AddressError::Escape),
            ("/x?a=%0a", AddressError::Escape),
            ("/x?a={clickid}", AddressError::Macro),
            ("/x?a=1_{clickid}", AddressError::Macro),
            ("/x?a=__CLICKID__", AddressError::Macro),
            ("/{offer}/x", AddressError::Macro),
            ("/x?a=", AddressError::Pairs),
            ("/x?a", AddressError::Pairs),
            ("/x?a=1&a=1", AddressError::Pairs),
            ("/x?1=1&2=1&3=1&4=1&5=1&6=1&7=1&8=1&9=1", AddressError::Pairs),
            ("/", AddressError::Everything),
            ("https://click.example.com", AddressError::Everything),
            ("https://click.example.com/", AddressError::Everything),
            (long.as_str(), AddressError::TooLong),
        ] {
            assert_eq!(Address::parse(text, false), Err(error), "{text}");
        }
    }
}
