//! What was pasted: one URL taken apart as its author wrote it, before anybody says whose it is.
//!
//! A URL with macros is often none by RFC 3986 (`#s2#`, `{Click ID}`), so it is cut by hand and nothing in it is
//! changed. What is certainly a slip (no URL, two queries, encoded twice) is refused here, with a code.

use crate::params::{bad_escape, decode};
use crate::problem::{Code, Problem};
use crate::template::URL_BYTES_MAX;

/// Most parameters of a URL; a click is read up to fewer.
const PAIRS_MAX: usize = 512;

/// One pair of a query, or of a form.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Pair {
    /// Decoded.
    pub(super) name: String,
    /// As written, with its name.
    pub(super) written: String,
    /// The value as written.
    pub(super) raw: String,
}

impl Pair {
    /// The decoded value.
    pub(super) fn text(&self) -> String {
        String::from_utf8_lossy(&decode(self.raw.as_bytes())).into_owned()
    }
}

/// A URL in its parts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Pasted {
    /// Without what stands around it.
    pub(super) text: String,
    /// Lower case: `http` or `https`, or a macro.
    pub(super) scheme: String,
    pub(super) userinfo: Option<String>,
    /// Lower case, without the port.
    pub(super) host: String,
    pub(super) port: Option<String>,
    /// As written; `/` at least.
    pub(super) path: String,
    pub(super) pairs: Vec<Pair>,
    pub(super) fragment: Option<String>,
}

impl Pasted {
    /// Reads a pasted text.
    ///
    /// # Errors
    /// When it is no URL that could be a tracking link or a postback.
    pub(super) fn read(text: &str) -> Result<Self, Problem> {
        let wrong = |code, message: &str| Problem::new(code, "url", message);
        let text = unquoted(text.trim());
        if text.is_empty() {
            return Err(wrong(Code::ImportUrlMissing, "there is nothing to import"));
        }
        if text.len() > URL_BYTES_MAX {
            let message = format!("the URL has {} bytes, and at most {URL_BYTES_MAX} are read", text.len());
            return Err(wrong(Code::ValueTooLong, &message));
        }
        if text.chars().any(char::is_control) {
            let message = "the text has a line break or control character in it; paste one URL, on one line";
            return Err(wrong(Code::ImportUrlMissing, message));
        }
        let lower = text.to_ascii_lowercase();
        if ["http%3a", "https%3a", "http%253a", "https%253a"].iter().any(|start| lower.starts_with(start)) {
            let message = "the whole URL is percent-encoded; decode it once and paste that";
            return Err(wrong(Code::ImportEncodedTwice, message));
        }
        let Some((scheme, rest)) = text.split_once("://") else { return Err(no_scheme(text)) };
        let scheme = scheme.to_ascii_lowercase();
        let is_macro = scheme.starts_with(['{', '[', '(', '<', '$', '#', '%', '_']);
        if !matches!(scheme.as_str(), "http" | "https") && !is_macro {
            return Err(no_scheme(text));
        }
        let (rest, fragment) = match fragment_at(rest) {
            Some(at) => (&rest[..at], Some(rest[at + 1..].to_owned())),
            None => (rest, None),
        };
        let (authority, rest) = rest.split_at(rest.find(['/', '?']).unwrap_or(rest.len()));
        let (userinfo, host) = match authority.rsplit_once('@') {
            Some((user, host)) => (Some(user.to_owned()), host),
            None => (None, authority),
        };
        let (host, port) = match host.rsplit_once(':') {
            Some((host, port)) if !port.is_empty() && port.bytes().all(|b| b.is_ascii_digit()) => {
                (host, Some(port.to_owned()))
            }
            _ => (host, None),
        };
        if host.is_empty() || host.contains(['\\', ' ']) && !host.contains(['{', '[', '(', '<']) {
            return Err(wrong(Code::ImportUrlMissing, "the URL has no host behind `://`"));
        }
        let (path, query) = match rest.split_once('?') {
            Some((path, query)) => (path, Some(query)),
            None => (rest, None),
        };
        let path_lower = path.to_ascii_lowercase();
        if query.is_none() && path_lower.contains("%3f") && path_lower.contains("%3d") {
            let message = "the query is percent-encoded (`%3F`, `%3D`); decode the URL once and paste that";
            return Err(wrong(Code::ImportEncodedTwice, message));
        }
        let pairs = match query {
            Some(query) => pairs(query),
            None => Vec::new(),
        };
        if pairs.len() > PAIRS_MAX {
            let message = format!("the URL has {} parameters, and at most {PAIRS_MAX} are read", pairs.len());
            return Err(wrong(Code::ValueTooLong, &message));
        }
        for pair in &pairs {
            refuse_slips(pair)?;
        }
        let path = if path.is_empty() { "/" } else { path };
        Ok(Self {
            text: text.to_owned(),
            scheme,
            userinfo,
            host: host.to_ascii_lowercase(),
            port,
            path: path.to_owned(),
            pairs,
            fragment,
        })
    }

    /// Whether a parameter stands in it, with a value or without.
    pub(super) fn has(&self, name: &str) -> bool {
        self.pairs.iter().any(|pair| pair.name == name)
    }

    /// The decoded value of the first parameter of that name that is not empty and no macro.
    pub(super) fn literal(&self, name: &str) -> Option<String> {
        let pair = self.pairs.iter().find(|pair| pair.name == name)?;
        (!pair.raw.is_empty() && !varies(&pair.raw)).then(|| pair.text())
    }

    /// The segments of its path.
    pub(super) fn segments(&self) -> impl Iterator<Item = &str> {
        self.path.split('/').filter(|segment| !segment.is_empty())
    }

    /// Whether its host is one of a domain.
    pub(super) fn is_at(&self, domain: &str) -> bool {
        self.host.strip_suffix(domain).is_some_and(|before| before.is_empty() || before.ends_with('.'))
    }
}

/// A text without the quotes that stand around the whole of it. One that stands at one end only is the URL's own.
fn unquoted(text: &str) -> &str {
    [('"', '"'), ('\'', '\''), ('`', '`'), ('<', '>')]
        .into_iter()
        .find_map(|(open, close)| text.strip_prefix(open)?.strip_suffix(close))
        .map_or(text, str::trim)
}

fn no_scheme(text: &str) -> Problem {
    let head: String = text.chars().take(40).collect();
    let scheme = text.split(':').next().unwrap_or_default();
    let is_scheme = text.contains(':')
        && !scheme.is_empty()
        && !scheme.contains(['.', '/'])
        && scheme.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'+' | b'-'));
    if is_scheme {
        let message = format!("`{scheme}:` is no scheme of a tracking link or postback; it is http or https");
        return Problem::new(Code::ImportScheme, "url", message);
    }
    let message = format!("`{head}` is no URL: it begins with https:// and a host");
    Problem::new(Code::ImportUrlMissing, "url", message)
}

/// Whether a written value is filled in later, as a whole or in part.
pub(super) fn varies(raw: &str) -> bool {
    let decoded = String::from_utf8_lossy(&decode(raw.as_bytes())).into_owned();
    crate::params::unexpanded(raw.as_bytes())
        || has_brackets(&decoded, '{', '}')
        || has_brackets(&decoded, '[', ']')
        || has_brackets(&decoded, '<', '>')
        || hash_macro(&decoded).is_some()
}

fn has_brackets(text: &str, open: char, close: char) -> bool {
    text.find(open).is_some_and(|at| text[at + 1..].find(close).is_some_and(|length| length > 0))
}

/// Where a `#word#` begins, if one stands there.
fn hash_macro(text: &str) -> Option<usize> {
    text.match_indices('#').map(|(at, _)| at).find(|at| hash_end(text, *at).is_some())
}

/// The end of a `#word#` that begins at an offset.
fn hash_end(text: &str, at: usize) -> Option<usize> {
    let rest = &text[at + 1..];
    let length = rest.find('#')?;
    let is_word = length > 0 && rest[..length].bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_');
    is_word.then_some(at + 1 + length + 1)
}

/// Where the fragment's `#` stands; those of macros (`#s2#`, `##x##`, `#{x}`, `<#if …>`) are none.
fn fragment_at(text: &str) -> Option<usize> {
    let mut at = 0;
    while let Some(found) = text[at..].find('#').map(|found| at + found) {
        let after = &text[found + 1..];
        if let Some(end) = hash_end(text, found) {
            at = end;
        } else if is_marked(&text[..found], after) {
            at = found + 1;
        } else {
            return Some(found);
        }
    }
    None
}

/// Whether a `#` between these texts belongs to a macro that is no plain `#word#`.
fn is_marked(before: &str, after: &str) -> bool {
    let is_doubled = after.starts_with('#') && hash_end(after, 0).is_some();
    is_doubled || after.starts_with('{') || before.ends_with(['<', '[', '#']) || before.ends_with("</")
}

/// The pairs of a query. A `&` between braces belongs to a macro.
pub(super) fn pairs(query: &str) -> Vec<Pair> {
    let mut pieces = Vec::new();
    let (mut begin, mut depth) = (0, 0_usize);
    for (at, byte) in query.bytes().enumerate() {
        match byte {
            b'{' if query[at..].contains('}') => depth += 1,
            b'}' => depth = depth.saturating_sub(1),
            b'&' if depth == 0 => {
                pieces.push(&query[begin..at]);
                begin = at + 1;
            }
            _ => {}
        }
    }
    pieces.push(&query[begin..]);
    pieces
        .into_iter()
        .filter(|piece| !piece.is_empty())
        .map(|piece| {
            let (name, raw) = piece.split_once('=').unwrap_or((piece, ""));
            let name = String::from_utf8_lossy(&decode(name.as_bytes())).into_owned();
            Pair { name, written: piece.to_owned(), raw: raw.to_owned() }
        })
        .collect()
}

/// A second query, or a value that was encoded once too often.
fn refuse_slips(pair: &Pair) -> Result<(), Problem> {
    let decoded = pair.text();
    let is_url = decoded.contains("://") || decoded.contains("%3A") || decoded.contains("%3a");
    let mut outside = String::new();
    let mut depth = 0_usize;
    for character in pair.written.chars() {
        match character {
            '{' | '[' | '(' | '<' => depth += 1,
            '}' | ']' | ')' | '>' => depth = depth.saturating_sub(1),
            other if depth == 0 => outside.push(other),
            _ => {}
        }
    }
    // `?b=2` behind a value is a query glued to another one; inside a URL, or a macro, it belongs there.
    if !is_url
        && let Some((_, rest)) = outside.split_once('?')
        && (rest.contains('=') || rest.is_empty())
    {
        let message = format!(
            "a second `?` stands in `{}`: what follows it was likely meant to follow `&`; write it so",
            pair.name
        );
        return Err(Problem::new(Code::ImportTwoQueries, "url", message));
    }
    let lower = pair.raw.to_ascii_lowercase();
    let twice = ["%257b", "%255b", "%2523", "%2526", "%253d"];
    if !is_url && twice.iter().any(|escape| lower.contains(escape)) && !bad_escape(pair.raw.as_bytes()) {
        let message = format!("the value of `{}` is percent-encoded twice; decode it once", pair.name);
        return Err(Problem::new(Code::ImportEncodedTwice, "url", message));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_are_as_written() {
        let url =
            Pasted::read(" \"HTTPS://u:p@Go.Example:8443/a/{b}?x=1&~n=%7Bc%7D&s2=#s2#&f=${a?x(b&c)}#top\" ");
        let url = url.unwrap();
        assert_eq!(
            (url.scheme.as_str(), url.host.as_str(), url.path.as_str()),
            ("https", "go.example", "/a/{b}")
        );
        assert_eq!((url.userinfo.as_deref(), url.port.as_deref()), (Some("u:p"), Some("8443")));
        let names: Vec<&str> = url.pairs.iter().map(|pair| pair.name.as_str()).collect();
        assert_eq!((names, url.fragment.as_deref()), (vec!["x", "~n", "s2", "f"], Some("top")));
        assert_eq!(url.literal("x").as_deref(), Some("1"));
        assert!(url.literal("~n").is_none() && url.literal("s2").is_none());
        let bare = Pasted::read("https://go.example?a=##b##").unwrap();
        assert_eq!((bare.path.as_str(), bare.fragment.as_deref()), ("/", None));
        let angle = Pasted::read("<https://go.example/?a=<b>>").unwrap();
        assert_eq!((angle.pairs[0].raw.as_str(), angle.text.as_str()), ("<b>", "https://go.example/?a=<b>"));
        assert_eq!(Pasted::read("https://go.example/?a=<b>").unwrap().pairs, angle.pairs);
        assert!(bare.is_at("example") && !bare.is_at("o.example"));
    }

    #[test]
    fn slips_have_codes() {
        for (text, code) in [
            ("", Code::ImportUrlMissing),
            ("hello", Code::ImportUrlMissing),
            ("app.appsflyer.com/com.example.app?pid=x", Code::ImportUrlMissing),
            ("https:///path", Code::ImportUrlMissing),
            ("https://a.example/\nhttps://b.example/", Code::ImportUrlMissing),
            ("javascript:alert(1)", Code::ImportScheme),
            ("ftp://a.example/x", Code::ImportScheme),
            ("javascript://a.example/%0aalert(1)", Code::ImportScheme),
            ("https://a.example/x?a=1?b=2", Code::ImportTwoQueries),
            ("https://a.example/x?a=1?", Code::ImportTwoQueries),
            ("https%3A%2F%2Fa.example%2Fx%3Fa%3D1", Code::ImportEncodedTwice),
            ("https://a.example/x%3Fa%3D1", Code::ImportEncodedTwice),
            ("https://a.example/x?click_id=%257Bclick_id%257D", Code::ImportEncodedTwice),
        ] {
            let problem = Pasted::read(text).expect_err(text);
            assert_eq!((problem.code, problem.field.as_str()), (code, "url"), "{text}: {problem:?}");
        }
        let long = format!("https://a.example/?a={}", "x".repeat(URL_BYTES_MAX));
        assert_eq!(Pasted::read(&long).expect_err("it is too long").code, Code::ValueTooLong);
        let many = format!("https://a.example/?{}", "a&".repeat(PAIRS_MAX + 1));
        assert_eq!(Pasted::read(&many).expect_err("they are too many").code, Code::ValueTooLong);
        for fine in [
            "https://a.example/x?r=https://b.example/?c=1",
            "https://a.example/x?r=https%3A%2F%2Fb.example%2F%3Fc%3D%257Bx%257D",
            "https://a.example/x?c={cl?Network}",
        ] {
            assert!(Pasted::read(fine).is_ok(), "{fine}");
        }
    }
}
