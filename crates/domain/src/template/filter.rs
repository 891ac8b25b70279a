//! Filters: what may be done to a value between the look-up and the writing.
//!
//! A missing value stays missing through every filter but `default` and `map` with a fallback: the hash of
//! nothing looks like somebody's device id. A filter that cannot be used empties its macro, because what a
//! mistyped hash was meant to hide must not go out in the clear.

use super::expression::Flow;
use super::place::urlencode;
use super::suggestion;
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use jiff::tz::TimeZone;
use jiff::{Timestamp, fmt::strtime};
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
    Date {
        format: String,
        zone: TimeZone,
    },
    Truncate(usize),
    Alphanumeric,
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
            _ => None,
        };
        if let Some(filter) = plain {
            return if argument.is_some() { bad("takes no argument") } else { Ok(filter) };
        }
        if !NAMES.contains(&name) {
            let lower = name.trim().to_ascii_lowercase().replace('-', "");
            let known = |word: &str| NAMES.iter().find(|known| **known == word).copied();
            let likely = match lower.as_str() {
                "base64" => Some("b64"),
                "base64url" => Some("b64url"),
                "lowercase" | "tolower" => Some("lower"),
                "uppercase" | "toupper" => Some("upper"),
                "encode" | "escape" | "url_encode" => Some("urlencode"),
                other => known(other).or_else(|| suggestion::nearest(other, NAMES.iter().copied())),
            };
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
        let format = unescape(sides[0]);
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
        if format.is_empty() {
            return Err(Problem::Argument("needs a format, as %Y-%m-%d".into()));
        }
        match strtime::format(&format, &Timestamp::UNIX_EPOCH.to_zoned(zone.clone())) {
            Ok(_) => Ok(Self::Date { format, zone }),
            Err(error) => Err(Problem::Argument(format!("cannot use the format: {error}"))),
        }
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
                _ => {}
            }
            return;
        }
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
            Self::Urlencode => urlencode(bytes),
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
            Self::Date { format, zone } => time(name, bytes)
                .and_then(|time| strtime::format(format, &time.to_zoned(zone.clone())).ok())
                .unwrap_or_default()
                .into_bytes(),
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

/// Reads a time: RFC 3339, unix milliseconds or unix seconds. Without a telling name, whole numbers from
/// 10^11 on are milliseconds: as seconds they would lie beyond the year 5138.
fn time(name: &str, bytes: &[u8]) -> Option<Timestamp> {
    let text = std::str::from_utf8(bytes).ok()?.trim();
    match text.parse::<i64>() {
        Ok(number) if name.ends_with("_ms") || number.unsigned_abs() >= 100_000_000_000 => {
            Timestamp::from_millisecond(number).ok()
        }
        Ok(number) => Timestamp::from_second(number).ok(),
        Err(_) => text.parse().ok(),
    }
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
fn unescape(text: &str) -> String {
    let mut plain = String::with_capacity(text.len());
    let mut characters = text.chars();
    while let Some(character) = characters.next() {
        plain.push(if character == '\\' { characters.next().unwrap_or('\\') } else { character });
    }
    plain
}

impl<'a> Flow<'a> {
    /// Replaces the value by a changed one, which has no received form any more.
    fn change(&mut self, bytes: Vec<u8>) {
        self.bytes = Cow::Owned(bytes);
        self.received = None;
    }
}
