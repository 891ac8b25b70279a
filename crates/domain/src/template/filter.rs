//! Filters: what may be done to a value between the look-up and the writing.
//!
//! A missing value stays missing through every filter but `default`, `map` with a fallback and those that ask
//! whether there is one (`if`, `bool`, `not`): the hash of nothing looks like somebody's device id. A filter that
//! cannot be used empties its macro, because what a mistyped hash was meant to hide must not go out in the clear.

use super::place::{reencode, urldecode, urlencode};
use super::{Value, date, suggestion};
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use jiff::tz::TimeZone;
use sha1::Digest as _;
use std::borrow::Cow;

/// Most filters one alternative may have; each may grow the value, so their number is bounded.
pub(super) const FILTERS_MAX: usize = 8;

/// Longest argument of a filter, in bytes.
const ARGUMENT_BYTES_MAX: usize = 2048;

pub(super) const NAMES: &[&str] = &[
    "sha1",
    "sha256",
    "md5",
    "lower",
    "upper",
    "raw",
    "urlencode",
    "b64",
    "b64url",
    "default",
    "map",
    "date",
    "truncate",
    "alphanumeric",
    "urldecode",
    "json",
    "if",
    "bool",
    "not",
    "cents",
    "s",
    "ms",
];

/// Names people write for a filter, and the filter.
const OTHER_NAMES: &[(&str, &str)] = &[
    ("base64", "b64"),
    ("base64url", "b64url"),
    ("lowercase", "lower"),
    ("tolower", "lower"),
    ("uppercase", "upper"),
    ("toupper", "upper"),
    ("encode", "urlencode"),
    ("escape", "urlencode"),
    ("url_encode", "urlencode"),
    ("decode", "urldecode"),
    ("unescape", "urldecode"),
    ("url_decode", "urldecode"),
    ("boolean", "bool"),
    ("minor", "cents"),
    ("hundredths", "cents"),
    ("seconds", "s"),
    ("unix", "s"),
    ("milliseconds", "ms"),
    ("millis", "ms"),
    ("strftime", "date"),
    ("ternary", "if"),
    ("substring", "truncate"),
];

/// One filter, ready to run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Filter {
    Sha1,
    Sha256,
    Md5,
    Lower,
    Upper,
    Raw,
    Urlencode,
    Base64,
    Base64Url,
    Default(String),
    Map {
        pairs: Vec<(String, String)>,
        other: Option<String>,
    },
    Date(date::Format),
    Truncate(usize),
    Alphanumeric,
    Urldecode,
    Json,
    If {
        then: String,
        other: String,
    },
    Bool,
    Not,
    Cents,
    Seconds,
    Milliseconds,
    /// It could not be read; the macro is empty.
    Broken,
}

/// Why a filter could not be read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Problem {
    Unknown { likely: Option<&'static str> },
    Argument(String),
}

impl Filter {
    /// Reads a filter from its name and the text after its colon, escapes still in it.
    pub(super) fn parse(name: &str, argument: Option<&str>) -> Result<Self, Problem> {
        let bad = |message: &str| Err(Problem::Argument(message.to_owned()));
        let plain = match name {
            "sha1" => Some(Self::Sha1),
            "sha256" => Some(Self::Sha256),
            "md5" => Some(Self::Md5),
            "lower" => Some(Self::Lower),
            "upper" => Some(Self::Upper),
            "raw" => Some(Self::Raw),
            "urlencode" => Some(Self::Urlencode),
            "b64" => Some(Self::Base64),
            "b64url" => Some(Self::Base64Url),
            "alphanumeric" => Some(Self::Alphanumeric),
            "urldecode" => Some(Self::Urldecode),
            "json" => Some(Self::Json),
            "bool" => Some(Self::Bool),
            "not" => Some(Self::Not),
            "cents" => Some(Self::Cents),
            "s" => Some(Self::Seconds),
            "ms" => Some(Self::Milliseconds),
            _ => None,
        };
        if let Some(filter) = plain {
            return if argument.is_some() { bad("takes no argument") } else { Ok(filter) };
        }
        if !NAMES.contains(&name) {
            let lower = name.trim().to_ascii_lowercase().replace('-', "");
            if lower.starts_with("hmac") {
                return bad("needs a key, which only a signature has: describe one and write `{signature}`");
            }
            let known = |word: &str| NAMES.iter().find(|known| **known == word).copied();
            let likely = OTHER_NAMES
                .iter()
                .find(|(word, _)| *word == lower)
                .map(|(_, name)| *name)
                .or_else(|| known(&lower))
                .or_else(|| suggestion::nearest(&lower, NAMES.iter().copied()));
            return Err(Problem::Unknown { likely });
        }
        let Some(argument) = argument else { return bad("needs an argument after `:`") };
        if argument.len() > ARGUMENT_BYTES_MAX {
            return bad("has an argument that is too long");
        }
        if has_bare_brace(argument) {
            return bad("cannot hold a macro in its argument; write `{first||second}` for a second choice");
        }
        match name {
            "default" => Ok(Self::Default(unescape(argument))),
            "truncate" => match argument.parse::<usize>() {
                Ok(count) if (1..=65_536).contains(&count) => Ok(Self::Truncate(count)),
                _ => bad("needs a number of characters from 1 to 65536"),
            },
            "map" => Self::parse_map(argument),
            "date" => Self::parse_date(argument),
            "if" => match split_bare(argument, b',').as_slice() {
                [then] => Ok(Self::If { then: unescape(then), other: String::new() }),
                [then, other] => Ok(Self::If { then: unescape(then), other: unescape(other) }),
                _ => bad("takes two texts, `if:then,else`; write `\\,` in a text"),
            },
            _ => Err(Problem::Unknown { likely: None }),
        }
    }

    fn parse_map(argument: &str) -> Result<Self, Problem> {
        let mut pairs = Vec::new();
        let mut other = None;
        for entry in split_bare(argument, b',') {
            let sides = split_bare(entry, b'=');
            let Some((from, to)) = entry.split_at_checked(sides[0].len()) else { continue };
            let Some(to) = to.strip_prefix('=') else {
                return Err(Problem::Argument(format!("needs `from=to`, found `{entry}`")));
            };
            if from == "*" {
                other = Some(unescape(to));
            } else {
                pairs.push((unescape(from), unescape(to)));
            }
        }
        Ok(Self::Map { pairs, other })
    }

    fn parse_date(argument: &str) -> Result<Self, Problem> {
        let sides = split_bare(argument, b',');
        let zone = match sides.get(1..) {
            None | Some([]) => TimeZone::UTC,
            Some([zone]) => {
                let name = unescape(zone);
                TimeZone::get(name.trim()).map_err(|_| {
                    Problem::Argument(format!(
                        "does not know the time zone `{name}` (IANA names, as Europe/Berlin)"
                    ))
                })?
            }
            Some(_) => {
                return Err(Problem::Argument(
                    "takes a format and a time zone; write `\\,` in a format".into(),
                ));
            }
        };
        date::Format::parse(sides[0], zone).map(Self::Date).map_err(Problem::Argument)
    }

    /// Whether the filter makes nothing of a value that is not a point in time.
    pub(super) const fn reads_time(&self) -> bool {
        matches!(self, Self::Date(_) | Self::Seconds | Self::Milliseconds)
    }

    /// Whether the filter hides the value behind a hash, and the ending such macros have.
    pub(super) fn hash_ending(&self) -> Option<&'static str> {
        match self {
            Self::Sha1 => Some("_sha1"),
            Self::Sha256 => Some("_sha256"),
            Self::Md5 => Some("_md5"),
            _ => None,
        }
    }

    /// Whether it only writes the value with escapes.
    pub(super) const fn only_escapes(&self) -> bool {
        matches!(self, Self::Urlencode | Self::Json | Self::Raw)
    }

    /// Whether what it makes of a value still shows the value or a part of it: no hash, and no text of the author's.
    pub(super) fn shows(&self, bytes: &[u8]) -> bool {
        match self {
            Self::If { .. } | Self::Bool | Self::Not => false,
            Self::Map { pairs, other } => {
                other.is_none() && !pairs.iter().any(|(from, _)| from.as_bytes() == bytes)
            }
            _ => self.hash_ending().is_none(),
        }
    }

    /// Applies the filter. `name` is the macro's, whose ending tells the unit of a time.
    pub(super) fn apply(&self, name: &str, flow: &mut Flow<'_>) {
        if flow.bytes.is_empty() {
            match self {
                Self::Default(text) => flow.change(text.as_bytes().to_vec()),
                Self::Map { pairs, other } => {
                    let to =
                        pairs.iter().find(|(from, _)| from.is_empty()).map(|(_, to)| to).or(other.as_ref());
                    if let Some(to) = to {
                        flow.change(to.as_bytes().to_vec());
                    }
                }
                Self::Raw => flow.verbatim = true,
                Self::If { other, .. } => flow.change(other.as_bytes().to_vec()),
                Self::Bool => flow.change(b"0".to_vec()),
                Self::Not => flow.change(b"1".to_vec()),
                _ => {}
            }
            return;
        }
        let own_name = (!flow.is_changed).then_some(name);
        let bytes: &[u8] = &flow.bytes;
        let changed = match self {
            Self::Sha1 => hex::encode(sha1::Sha1::digest(bytes)).into_bytes(),
            Self::Sha256 => hex::encode(sha2::Sha256::digest(bytes)).into_bytes(),
            Self::Md5 => hex::encode(md5::Md5::digest(bytes)).into_bytes(),
            Self::Lower => match std::str::from_utf8(bytes) {
                Ok(text) => text.to_lowercase().into_bytes(),
                Err(_) => bytes.to_ascii_lowercase(),
            },
            Self::Upper => match std::str::from_utf8(bytes) {
                Ok(text) => text.to_uppercase().into_bytes(),
                Err(_) => bytes.to_ascii_uppercase(),
            },
            Self::Raw => {
                flow.verbatim = true;
                if let Some(received) = flow.received.take() {
                    flow.bytes = received;
                }
                return;
            }
            Self::Urlencode => flow.received.as_deref().map_or_else(|| urlencode(bytes), reencode),
            Self::Base64 => STANDARD.encode(bytes).into_bytes(),
            Self::Base64Url => URL_SAFE_NO_PAD.encode(bytes).into_bytes(),
            Self::Default(_) => return,
            Self::Map { pairs, other } => {
                let to = pairs
                    .iter()
                    .find(|(from, _)| from.as_bytes() == bytes)
                    .map(|(_, to)| to)
                    .or(other.as_ref());
                match to {
                    Some(to) => to.as_bytes().to_vec(),
                    None => return,
                }
            }
            Self::Date(format) => {
                date::read(own_name, bytes).map(|time| format.write(time)).unwrap_or_default().into_bytes()
            }
            Self::Seconds => number(date::read(own_name, bytes).map(|time| time.as_second())),
            Self::Milliseconds => number(date::read(own_name, bytes).map(|time| time.as_millisecond())),
            Self::Urldecode => urldecode(bytes),
            Self::Json => json_inside(&String::from_utf8_lossy(bytes)),
            Self::If { then, other } => if is_true(bytes) { then } else { other }.as_bytes().to_vec(),
            Self::Bool => vec![b'0' + u8::from(is_true(bytes))],
            Self::Not => vec![b'0' + u8::from(!is_true(bytes))],
            Self::Cents => cents(bytes).unwrap_or_default().into_bytes(),
            Self::Truncate(count) => match std::str::from_utf8(bytes) {
                Ok(text) => text.chars().take(*count).collect::<String>().into_bytes(),
                Err(_) => bytes[..bytes.len().min(*count)].to_vec(),
            },
            Self::Alphanumeric => String::from_utf8_lossy(bytes)
                .chars()
                .filter(|character| character.is_alphanumeric())
                .collect::<String>()
                .into_bytes(),
            Self::Broken => Vec::new(),
        };
        flow.change(changed);
    }
}

/// Whether a value that is not empty says yes.
fn is_true(bytes: &[u8]) -> bool {
    !["0", "false", "no"].iter().any(|no| bytes.eq_ignore_ascii_case(no.as_bytes()))
}

fn number(number: Option<i64>) -> Vec<u8> {
    number.map(|number| number.to_string()).unwrap_or_default().into_bytes()
}

/// The text as it stands between the quotes of a JSON string.
fn json_inside(text: &str) -> Vec<u8> {
    let quoted = serde_json::Value::from(text).to_string();
    quoted.strip_prefix('"').and_then(|rest| rest.strip_suffix('"')).unwrap_or_default().as_bytes().to_vec()
}

/// A decimal amount times one hundred as a whole number, rounded half to even, whatever its length.
fn cents(bytes: &[u8]) -> Option<String> {
    let text = std::str::from_utf8(bytes).ok()?.trim();
    let (sign, plain) = match text.strip_prefix('-') {
        Some(rest) => ("-", rest),
        None => ("", text.strip_prefix('+').unwrap_or(text)),
    };
    let (whole, fraction) = plain.split_once('.').unwrap_or((plain, ""));
    if whole.len() + fraction.len() == 0 || !whole.bytes().chain(fraction.bytes()).all(|b| b.is_ascii_digit())
    {
        return None;
    }
    let (kept, rest) = fraction.split_at(fraction.len().min(2));
    let mut digits = format!("0{whole}{kept:0<2}").into_bytes();
    let is_odd = digits.last().is_some_and(|digit| digit % 2 == 1);
    let is_up = match rest.as_bytes() {
        [] => false,
        [b'5', tail @ ..] => is_odd || tail.iter().any(|digit| *digit != b'0'),
        [first, ..] => *first > b'5',
    };
    if is_up {
        // The leading zero takes the last carry.
        for digit in digits.iter_mut().rev() {
            if *digit == b'9' {
                *digit = b'0';
            } else {
                *digit += 1;
                break;
            }
        }
    }
    let digits = String::from_utf8(digits).ok()?;
    Some(match digits.trim_start_matches('0') {
        "" => "0".to_owned(),
        digits => format!("{sign}{digits}"),
    })
}

/// Splits at a byte that no backslash stands before. There is always at least one piece.
fn split_bare(text: &str, at: u8) -> Vec<&str> {
    let mut pieces = Vec::new();
    let (mut start, mut escaped) = (0, false);
    for (index, byte) in text.bytes().enumerate() {
        if escaped {
            escaped = false;
        } else if byte == b'\\' {
            escaped = true;
        } else if byte == at {
            pieces.push(&text[start..index]);
            start = index + 1;
        }
    }
    pieces.push(&text[start..]);
    pieces
}

fn has_bare_brace(text: &str) -> bool {
    split_bare(text, b'{').len() > 1
}

/// Takes the backslashes away: each stands for the character after it. A last one stands for itself.
pub(super) fn unescape(text: &str) -> String {
    let mut plain = String::with_capacity(text.len());
    let mut characters = text.chars();
    while let Some(character) = characters.next() {
        plain.push(if character == '\\' { characters.next().unwrap_or('\\') } else { character });
    }
    plain
}

/// A value on its way through the filters.
#[derive(Debug, Default)]
pub(super) struct Flow<'a> {
    pub(super) bytes: Cow<'a, [u8]>,
    /// The bytes as they came, while they still stand for the value.
    pub(super) received: Option<Cow<'a, [u8]>>,
    /// The author asked for `raw`.
    pub(super) verbatim: bool,
    /// A filter made the value, so the macro's name says nothing of its unit.
    is_changed: bool,
}

impl<'a> From<Value<'a>> for Flow<'a> {
    fn from(value: Value<'a>) -> Self {
        Self { bytes: value.decoded, received: value.received, verbatim: false, is_changed: false }
    }
}

impl Flow<'_> {
    /// Replaces the value by a changed one, which has no received form any more.
    fn change(&mut self, bytes: Vec<u8>) {
        self.bytes = Cow::Owned(bytes);
        self.received = None;
        self.is_changed = true;
    }
}
