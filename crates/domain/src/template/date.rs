//! Times in values, and the formats they are written in.
//!
//! A format with a `%` in it is strftime's. One without is PHP's (`Y-m-d H:i:s`), as trackers write dates; there
//! every letter means something, so what PHP has no meaning for is refused instead of being copied.

use jiff::tz::TimeZone;
use jiff::{Timestamp, Zoned, fmt::strtime};
use std::fmt::Write as _;

/// How a time is written: a form and a zone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Format {
    items: Vec<Item>,
    zone: TimeZone,
}

/// A stretch of a format.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Item {
    /// What strftime writes for this.
    Strftime(String),
    /// A PHP letter that strftime has no equal for.
    Letter(char),
}

impl Format {
    /// Reads a format whose filter escapes are still in it. The error ends a sentence that begins with `date`.
    pub(super) fn parse(format: &str, zone: TimeZone) -> Result<Self, String> {
        let items = if format.is_empty() {
            return Err("needs a format, as %Y-%m-%d or Y-m-d".to_owned());
        } else if format.contains('%') {
            vec![Item::Strftime(super::filter::unescape(format))]
        } else {
            php(format)?
        };
        let read = Self { items, zone };
        match read.try_write(Timestamp::UNIX_EPOCH) {
            Ok(_) => Ok(read),
            Err(error) => Err(format!("cannot use the format: {error}")),
        }
    }

    /// The time in that form; empty if it cannot be written so.
    pub(super) fn write(&self, time: Timestamp) -> String {
        self.try_write(time).unwrap_or_default()
    }

    fn try_write(&self, time: Timestamp) -> Result<String, jiff::Error> {
        let zoned = time.to_zoned(self.zone.clone());
        let mut text = String::new();
        for item in &self.items {
            match item {
                Item::Strftime(format) => text.push_str(&strtime::format(format, &zoned)?),
                Item::Letter(letter) => letter_push(&mut text, *letter, &zoned),
            }
        }
        Ok(text)
    }
}

/// Reads a format in PHP's style. A backslash makes the next character plain.
fn php(format: &str) -> Result<Vec<Item>, String> {
    let mut items = Vec::new();
    let mut is_date = false;
    let mut before = None;
    let mut characters = format.chars();
    while let Some(character) = characters.next() {
        if before == Some(character) && character.is_ascii_alphabetic() {
            return Err(format!("found `{character}{character}`, but one letter is a whole number: Y-m-d"));
        }
        before = Some(character);
        if let Some(same) = strftime_of(character) {
            is_date = true;
            put(&mut items, same);
        } else if LETTERS.contains(character) {
            is_date = true;
            items.push(Item::Letter(character));
        } else if character == '\\' {
            before = None;
            put(&mut items, characters.next().unwrap_or('\\').encode_utf8(&mut [0; 4]));
        } else if character.is_ascii_alphabetic() {
            return Err(format!(
                "has no letter `{character}` in a format without `%`; a plain one is written `\\{character}`"
            ));
        } else {
            put(&mut items, character.encode_utf8(&mut [0; 4]));
        }
    }
    if is_date { Ok(items) } else { Err("has a format that says nothing of the time".to_owned()) }
}

/// Adds to the strftime format at the end.
fn put(items: &mut Vec<Item>, text: &str) {
    // A `%` that was escaped as plain text stays one.
    let text = if text == "%" { "%%" } else { text };
    match items.last_mut() {
        Some(Item::Strftime(before)) => before.push_str(text),
        _ => items.push(Item::Strftime(text.to_owned())),
    }
}

/// PHP's letters that `letter_push` writes.
const LETTERS: &str = "SztLeIpZ";

/// What strftime has for a letter of PHP.
const fn strftime_of(letter: char) -> Option<&'static str> {
    Some(match letter {
        'd' => "%d",
        'D' => "%a",
        'j' => "%-d",
        'l' => "%A",
        'N' => "%u",
        'w' => "%w",
        'W' => "%V",
        'F' => "%B",
        'm' => "%m",
        'M' => "%b",
        'n' => "%-m",
        'o' => "%G",
        'Y' => "%Y",
        'y' => "%y",
        'a' => "%P",
        'A' => "%p",
        'g' => "%-I",
        'G' => "%-H",
        'h' => "%I",
        'H' => "%H",
        'i' => "%M",
        's' => "%S",
        'u' => "%6f",
        'v' => "%3f",
        'O' => "%z",
        'P' => "%:z",
        'T' => "%Z",
        'c' => "%Y-%m-%dT%H:%M:%S%:z",
        'r' => "%a, %d %b %Y %H:%M:%S %z",
        'U' => "%s",
        _ => return None,
    })
}

/// Writes a letter of PHP that strftime has no equal for.
fn letter_push(text: &mut String, letter: char, time: &Zoned) {
    let offset = time.offset().seconds();
    let number = match letter {
        'S' => {
            text.push_str(match time.day() {
                1 | 21 | 31 => "st",
                2 | 22 => "nd",
                3 | 23 => "rd",
                _ => "th",
            });
            return;
        }
        'e' => {
            text.push_str(time.time_zone().iana_name().unwrap_or("UTC"));
            return;
        }
        'p' => {
            let (sign, minutes) = (if offset < 0 { '-' } else { '+' }, offset.unsigned_abs() / 60);
            // Writing to a string does not fail.
            let _ = match offset {
                0 => write!(text, "Z"),
                _ => write!(text, "{sign}{:02}:{:02}", minutes / 60, minutes % 60),
            };
            return;
        }
        'z' => i32::from(time.day_of_year()) - 1,
        't' => i32::from(time.days_in_month()),
        'L' => i32::from(time.in_leap_year()),
        'I' => i32::from(time.time_zone().to_offset_info(time.timestamp()).dst().is_dst()),
        _ => offset,
    };
    text.push_str(&number.to_string());
}

/// Reads a time: RFC 3339, unix milliseconds or unix seconds. `name` is that of the macro when the value is still
/// the macro's own, and its ending tells the unit. Else whole numbers from 10^11 on are milliseconds: as seconds
/// they would lie beyond the year 5138.
pub(super) fn read(name: Option<&str>, bytes: &[u8]) -> Option<Timestamp> {
    let text = std::str::from_utf8(bytes).ok()?.trim();
    match text.parse::<i64>() {
        Ok(number)
            if name.is_some_and(|name| name.ends_with("_ms")) || number.unsigned_abs() >= 100_000_000_000 =>
        {
            Timestamp::from_millisecond(number).ok()
        }
        Ok(number) => Timestamp::from_second(number).ok(),
        Err(_) => text.parse().ok(),
    }
}
