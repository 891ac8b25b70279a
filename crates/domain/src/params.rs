//! The query of a link, event or postback: names, values, and the very bytes that came.
//!
//! A query is kept raw with the click and read again by this module whenever it is needed, so there is
//! one reading of it. Reading never fails: what is over-long is cut and flagged, a bad escape stays as
//! it came and is flagged, because a click is never dropped for its parameters.

use std::borrow::Cow;
use std::ops::Range;

use crate::link_dialect::LinkDialect;

/// Longest query that is kept, in bytes. The rest is cut at a parameter's boundary and flagged.
pub const QUERY_BYTES_MAX: usize = 16 * 1024;
/// Longest value, in received bytes.
pub const VALUE_BYTES_MAX: usize = 2_048;
/// Longest name, in received bytes; a longer one loses its parameter, flagged.
pub const NAME_BYTES_MAX: usize = 128;
/// Most parameters that are read from one query.
pub const PARAMS_MAX: usize = 128;
/// Most queries have no more.
const PARAMS_USUAL: usize = 12;

/// One parameter.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Param<'p> {
    /// Decoded name; bytes that are no UTF-8 become U+FFFD.
    pub name: &'p str,
    /// The received bytes of the value, still percent-encoded.
    pub raw: &'p [u8],
}

impl<'p> Param<'p> {
    /// The decoded bytes of the value; `+` is a space.
    pub fn bytes(self) -> Cow<'p, [u8]> {
        decoded(self.raw)
    }

    /// The decoded value as text; bytes that are no UTF-8 become U+FFFD.
    pub fn text(self) -> Cow<'p, str> {
        into_text(self.bytes())
    }
}

/// What was odd about a query. All of it is kept with the click and counted.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Oddities {
    /// A value or the whole query was longer than allowed and was cut.
    pub cut: bool,
    /// A `%` that is not followed by two hexadecimal digits.
    pub bad_escape: bool,
    /// A value whose decoded bytes are no UTF-8.
    pub bad_utf8: bool,
    /// A name that came twice; the first one counts.
    pub repeated: bool,
}

/// A query, read.
///
/// Names and values stand one behind the other, so that reading a query allocates three times and not twice for each
/// parameter: every click is read, once when it comes and once when it is sealed.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Params {
    names: String,
    values: Vec<u8>,
    /// Where each parameter's name and value end.
    ends: Vec<(usize, usize)>,
    dialect: LinkDialect,
    /// What was odd about it.
    pub oddities: Oddities,
}

impl Params {
    /// Reads a raw query (what stands behind the `?`). A second literal `?` counts as `&`, since
    /// partners glue their parameters to links that have some already.
    pub fn parse(query: &[u8]) -> Self {
        Self::parse_as(query, LinkDialect::default())
    }

    /// The same for a query in a dialect: values over the dialect's limits are cut, and names are looked up
    /// as the dialect has them.
    pub fn parse_as(query: &[u8], dialect: LinkDialect) -> Self {
        let mut this = Self { dialect, ..Self::default() };
        let limits = dialect.limits();
        let query = if query.len() > QUERY_BYTES_MAX {
            this.oddities.cut = true;
            &query[..QUERY_BYTES_MAX]
        } else {
            query
        };
        // Nothing to decode and nothing odd: most queries are so, and then nobody looks at each value for it.
        let is_simple = query.is_ascii() && is_plain(query);
        this.names.reserve(query.len() / 2);
        this.values.reserve(query.len());
        this.ends.reserve(PARAMS_USUAL);
        for pair in query.split(|b| matches!(b, b'&' | b'?')) {
            if pair.is_empty() {
                continue;
            }
            if this.ends.len() == PARAMS_MAX {
                this.oddities.cut = true;
                break;
            }
            let (name, value) = match pair.iter().position(|b| *b == b'=') {
                Some(at) => (&pair[..at], &pair[at + 1..]),
                None => (pair, &pair[pair.len()..]),
            };
            if name.is_empty() {
                continue;
            }
            if name.len() > NAME_BYTES_MAX {
                this.oddities.cut = true;
                continue;
            }
            this.oddities.bad_escape |= !is_simple && (bad_escape(name) || bad_escape(value));
            let name = into_text(decoded(name));
            if this.received(&name).is_some() {
                this.oddities.repeated = true;
                continue;
            }
            // A character has a byte at least, so that most values are let through by their length alone.
            let is_over = |limit: &&(&str, usize)| value.len() > limit.1 && limit.0 == name;
            let value = match limits.iter().find(is_over) {
                Some((_, chars_max)) => {
                    let kept = cut_chars(value, *chars_max);
                    this.oddities.cut |= kept.len() < value.len();
                    kept
                }
                None => value,
            };
            let raw = if value.len() > VALUE_BYTES_MAX {
                this.oddities.cut = true;
                cut(value, VALUE_BYTES_MAX)
            } else {
                value
            };
            this.oddities.bad_utf8 |= !is_simple && std::str::from_utf8(&decoded(raw)).is_err();
            this.names.push_str(&name);
            this.values.extend_from_slice(raw);
            this.ends.push((this.names.len(), this.values.len()));
        }
        this
    }

    /// How the parameters are named.
    pub fn dialect(&self) -> LinkDialect {
        self.dialect
    }

    /// The parameter that the dialect has for a canonical name: of several words for it the first that is
    /// not empty, else the first that is there.
    pub fn get(&self, name: &str) -> Option<Param<'_>> {
        self.dialect.find(self, name)
    }

    /// The first parameter that came under exactly this name.
    pub fn received(&self, name: &str) -> Option<Param<'_>> {
        let (names, wanted) = (self.names.as_bytes(), name.as_bytes());
        // Names of one length differ at their end more often than before: `sub1`, `sub2`.
        let is_it =
            |known: &[u8]| known.len() == wanted.len() && known.last() == wanted.last() && known == wanted;
        let (name, value) = self.places().find(|(known, _)| is_it(&names[known.clone()]))?;
        Some(Param { name: &self.names[name], raw: &self.values[value] })
    }

    /// The text of the parameter of that canonical name, if it is not empty.
    pub fn text(&self, name: &str) -> Option<String> {
        self.filled(name).map(Cow::into_owned)
    }

    /// The same, not copied where it stands in the query as it is.
    pub fn filled(&self, name: &str) -> Option<Cow<'_, str>> {
        self.get(name).map(Param::text).filter(|t| !t.is_empty())
    }

    /// All parameters, in the order in which they came.
    pub fn iter(&self) -> impl Iterator<Item = Param<'_>> {
        self.places().map(|(name, value)| Param { name: &self.names[name], raw: &self.values[value] })
    }

    /// Where the names and values stand.
    fn places(&self) -> impl Iterator<Item = (Range<usize>, Range<usize>)> {
        let mut from = (0, 0);
        self.ends.iter().map(move |&end| {
            let (name, value) = std::mem::replace(&mut from, end);
            (name..end.0, value..end.1)
        })
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.ends.is_empty()
    }
}

/// Bytes as text, as they are where they are text already.
fn into_text(bytes: Cow<'_, [u8]>) -> Cow<'_, str> {
    match bytes {
        Cow::Borrowed(bytes) => String::from_utf8_lossy(bytes),
        Cow::Owned(bytes) => Cow::Owned(
            String::from_utf8(bytes)
                .unwrap_or_else(|error| String::from_utf8_lossy(error.as_bytes()).into_owned()),
        ),
    }
}

/// Decodes percent escapes and `+`. A bad escape stays as it is.
pub fn decode(raw: &[u8]) -> Vec<u8> {
    decoded(raw).into_owned()
}

/// The same, not copied where nothing changes.
fn decoded(raw: &[u8]) -> Cow<'_, [u8]> {
    if is_plain(raw) {
        return raw.into();
    }
    let plussed: Cow<'_, [u8]> = if raw.contains(&b'+') {
        raw.iter().map(|b| if *b == b'+' { b' ' } else { *b }).collect::<Vec<_>>().into()
    } else {
        raw.into()
    };
    percent_encoding::percent_decode(&plussed).collect::<Vec<u8>>().into()
}

/// Whether decoding changes nothing. Most of what links carry is plain, and every click is read.
fn is_plain(raw: &[u8]) -> bool {
    !raw.iter().any(|b| matches!(b, b'%' | b'+'))
}

/// Whether a `%` stands without its two hexadecimal digits.
pub fn bad_escape(raw: &[u8]) -> bool {
    raw.iter().enumerate().any(|(i, b)| {
        *b == b'%' && !raw.get(i + 1..i + 3).is_some_and(|d| d.iter().all(u8::is_ascii_hexdigit))
    })
}

/// Cuts raw bytes without splitting an escape or, where it is UTF-8, a character.
fn cut(raw: &[u8], max: usize) -> &[u8] {
    let mut end = max;
    if let Some(at) = raw[..end].iter().rposition(|b| *b == b'%')
        && at + 3 > end
    {
        end = at;
    }
    while end > 0 && end < raw.len() && (raw[end] & 0xc0) == 0x80 {
        end -= 1;
    }
    &raw[..end]
}

/// Cuts raw bytes behind so many characters of their decoded form, escapes left whole. Bytes that are no
/// UTF-8 count one each.
fn cut_chars(raw: &[u8], chars_max: usize) -> &[u8] {
    if raw.len() <= chars_max {
        return raw;
    }
    let (mut at, mut chars) = (0, 0);
    while at < raw.len() {
        let escaped = match raw[at] {
            b'%' => raw.get(at + 1..at + 3).and_then(|digits| {
                let digits = std::str::from_utf8(digits).ok()?;
                u8::from_str_radix(digits, 16).ok().filter(|_| !digits.starts_with('+'))
            }),
            _ => None,
        };
        let (byte, width) = escaped.map_or((raw[at], 1), |byte| (byte, 3));
        // A byte inside a UTF-8 character belongs to the one before it.
        if byte & 0xc0 != 0x80 || chars == 0 {
            if chars == chars_max {
                return &raw[..at];
            }
            chars += 1;
        }
        at += width;
    }
    raw
}

/// Whether a value is still a macro that its sender did not fill: `{clickid}`, `__CLICKID__`,
/// `[CLICK_ID]`, `${x}`, `{{x}}`, `%x%`, `#x#`, `<x>`, also percent-encoded once.
pub fn unexpanded(raw: &[u8]) -> bool {
    if is_plain(raw) {
        return is_macro(raw);
    }
    let once = decoded(raw);
    // A second decode finds templates that were encoded twice on their way.
    is_macro(raw) || is_macro(&once) || is_macro(&decoded(&once))
}

/// Whether a value, as it stands, is a macro.
fn is_macro(value: &[u8]) -> bool {
    // Hardly any value ends as macros do, and every value is asked. What may be a space is left to the reading below.
    let last = value.iter().rfind(|b| **b > b' ');
    if !last.is_some_and(|b| matches!(b, b'}' | b']' | b'_' | b'%' | b'#' | b'>' | b')' | 0x80..)) {
        return false;
    }
    let Ok(text) = std::str::from_utf8(value) else { return false };
    let text = text.trim();
    let is_name = |b: u8| {
        b.is_ascii_alphanumeric()
            || matches!(
                b,
                b'_' | b'-'
                    | b'.'
                    | b' '
                    | b'{'
                    | b'}'
                    | b'['
                    | b']'
                    | b'#'
                    | b'@'
                    | b':'
                    | b'('
                    | b')'
                    | b'!'
                    | b'~'
                    | b'|'
            )
    };
    let inside = |open: &str, close: &str| {
        text.len() > open.len() + close.len()
            && text
                .strip_prefix(open)
                .and_then(|t| t.strip_suffix(close))
                .is_some_and(|name| name.bytes().all(is_name))
    };
    MACROS.iter().any(|(open, close)| inside(open, close))
}

/// What stands around the names of macros.
const MACROS: [(&str, &str); 10] = [
    ("{", "}"),
    ("${", "}"),
    ("%{", "}"),
    ("[", "]"),
    ("__", "__"),
    ("%", "%"),
    ("#", "#"),
    ("<", ">"),
    ("(", ")"),
    ("$(", ")"),
];

/// What a partner's click id on a link is worth.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PartnerClickId {
    /// There is one.
    Present,
    /// The parameter is missing or empty.
    Absent,
    /// Still a macro.
    Unexpanded,
}

impl PartnerClickId {
    /// Judges the parameter.
    pub fn judge(param: Option<Param<'_>>) -> Self {
        match param {
            None => Self::Absent,
            Some(p) if p.bytes().iter().all(u8::is_ascii_whitespace) => Self::Absent,
            Some(p) if unexpanded(p.raw) => Self::Unexpanded,
            Some(_) => Self::Present,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keeps_received_bytes_and_decodes_values() {
        let p = Params::parse(b"click_id=a%2fb+c%20%ff&sub1=&x&=y&~n=1&click_id=second?glued=1");
        assert_eq!(p.get("click_id").unwrap().raw, b"a%2fb+c%20%ff");
        assert_eq!(*p.get("click_id").unwrap().bytes(), *b"a/b c \xff");
        assert_eq!(p.get("sub1").unwrap().raw, b"");
        assert_eq!(p.text("sub1"), None);
        assert_eq!(p.text("~n").as_deref(), Some("1"));
        assert_eq!(p.text("glued").as_deref(), Some("1"));
        assert_eq!(p.oddities, Oddities { cut: false, bad_escape: false, bad_utf8: true, repeated: true });
    }

    #[test]
    fn cuts_and_flags_instead_of_dropping() {
        let long = [b"a=".as_slice(), "é".repeat(3_000).as_bytes(), b"&b=2"].concat();
        let p = Params::parse(&long);
        assert!(p.oddities.cut && !p.oddities.bad_utf8, "cut at a character");
        assert_eq!(p.text("b").as_deref(), Some("2"));
        let escapes = [b"a=".as_slice(), b"%41".repeat(1_000).as_slice()].concat();
        let p = Params::parse(&escapes);
        assert!(p.oddities.cut && !p.oddities.bad_escape);
        assert!(!bad_escape(p.get("a").unwrap().raw), "no escape is split");
        assert!(Params::parse(&b"a=1&".repeat(9_000)).oddities.cut);
        assert!(Params::parse(b"a=%zz").oddities.bad_escape);
    }

    #[test]
    fn a_dialect_s_limits_count_characters() {
        for (raw, chars, want) in [
            ("abc", 3, "abc"),
            ("abcd", 3, "abc"),
            ("%61%62%63%64", 3, "%61%62%63"),
            ("%C3%A9%C3%A9%C3%A9", 2, "%C3%A9%C3%A9"),
            ("éé%C3%A9é", 3, "éé%C3%A9"),
            ("a%zzb", 3, "a%z"),
            ("a+b+", 3, "a+b"),
            ("%ff%fe%fd", 2, "%ff%fe"),
            ("%80%80", 1, "%80%80"),
        ] {
            assert_eq!(cut_chars(raw.as_bytes(), chars), want.as_bytes(), "{raw}");
        }
        let long = format!("s1={}&s6={}", "x".repeat(51), "x".repeat(51));
        let p = Params::parse_as(long.as_bytes(), LinkDialect::Cake);
        assert_eq!((p.get("sub1").unwrap().raw.len(), p.received("s6").unwrap().raw.len()), (50, 51));
        assert!(p.oddities.cut && !Params::parse_as(b"s1=x", LinkDialect::Cake).oddities.cut);
        assert!(!Params::parse(long.as_bytes()).oddities.cut, "other dialects have other limits");
    }

    #[test]
    fn tells_macros_that_nobody_filled() {
        for left in [
            "{clickid}",
            "%7Bclickid%7D",
            "__CLICKID__",
            "[CLICK_ID]",
            "${click.id}",
            "{{x}}",
            "%257Bclick_id%257D",
            "##ID##",
            "%clickid%",
            "<id>",
            "(clickid)",
        ] {
            assert!(unexpanded(left.as_bytes()), "{left}");
        }
        for value in ["", "abc", "a{b}c", "{\"json\":1}", "__a", "50%", "%20", "a__b__", "[]", "{}"] {
            assert!(!unexpanded(value.as_bytes()), "{value}");
        }
        assert_eq!(
            PartnerClickId::judge(Params::parse(b"click_id=%20").get("click_id")),
            PartnerClickId::Absent
        );
    }
}
