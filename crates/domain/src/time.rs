//! UTC time in milliseconds, and spans of it.
//!
//! Rows keep integer milliseconds, the outside sees RFC 3339. The clock itself is elsewhere
//! (`ambient`): here time is always an argument.

use std::fmt;

/// A moment: milliseconds since 1970-01-01T00:00:00Z.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Timestamp(i64);

/// The latest moment that is printed: 9999-12-30T22:00:00Z, jiff's bound rounded down.
const MS_MAX: i64 = 253_402_207_200_000;

impl Timestamp {
    /// From milliseconds since the epoch.
    pub const fn from_ms(ms: i64) -> Self {
        Self(ms)
    }

    /// Milliseconds since the epoch.
    pub const fn ms(self) -> i64 {
        self.0
    }

    /// Whole seconds since the epoch, rounded down.
    pub const fn seconds(self) -> i64 {
        self.0.div_euclid(1000)
    }

    /// Later by this many milliseconds; stops at the ends of the range.
    #[must_use]
    pub const fn plus_ms(self, ms: i64) -> Self {
        Self(self.0.saturating_add(ms))
    }

    /// Milliseconds from `earlier` to here; negative when `earlier` is later.
    pub const fn since(self, earlier: Self) -> i64 {
        self.0.saturating_sub(earlier.0)
    }

    /// The start of the bucket of `width_ms` that holds this moment.
    #[must_use]
    pub const fn floor_to(self, width_ms: i64) -> Self {
        Self(self.0.div_euclid(width_ms) * width_ms)
    }

    /// Reads RFC 3339 (any offset), or integer seconds or milliseconds since the epoch. Integers
    /// of 10^11 and more are milliseconds: as seconds they would be past the year 5138.
    pub fn parse(text: &str) -> Option<Self> {
        let text = text.trim();
        if let Ok(number) = text.parse::<i64>() {
            return Self::from_integer(number);
        }
        let t: jiff::Timestamp = text.parse().ok()?;
        Some(Self(t.as_millisecond()))
    }

    /// Integer seconds or milliseconds, told apart as in [`Self::parse`]. Negative is no time of ours.
    pub fn from_integer(number: i64) -> Option<Self> {
        match number {
            0..100_000_000_000 => Some(Self(number * 1000)),
            100_000_000_000..=MS_MAX => Some(Self(number)),
            _ => None,
        }
    }
}

impl fmt::Display for Timestamp {
    /// RFC 3339 in UTC with milliseconds: `2026-06-04T09:21:44.120Z`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let t =
            jiff::Timestamp::from_millisecond(self.0.clamp(0, MS_MAX)).unwrap_or(jiff::Timestamp::UNIX_EPOCH);
        write!(f, "{t:.3}")
    }
}

/// A span in whole milliseconds, never negative. Printed and read as `2s`, `90m`, `7d`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Span(i64);

impl Span {
    /// From milliseconds; negative counts as none.
    pub const fn from_ms(ms: i64) -> Self {
        Self(if ms < 0 { 0 } else { ms })
    }
    /// From whole seconds.
    pub const fn from_seconds(s: i64) -> Self {
        Self::from_ms(s * 1000)
    }
    /// From whole hours.
    pub const fn from_hours(h: i64) -> Self {
        Self::from_ms(h * 3_600_000)
    }
    /// From whole days of 24 hours.
    pub const fn from_days(d: i64) -> Self {
        Self::from_ms(d * 86_400_000)
    }
    /// Milliseconds.
    pub const fn ms(self) -> i64 {
        self.0
    }

    /// Reads a number and one unit of `ms s m h d`. `None` for anything else.
    pub fn parse(text: &str) -> Option<Self> {
        let digits = text.find(|c: char| !c.is_ascii_digit())?;
        let number: i64 = text[..digits].parse().ok()?;
        let unit = match &text[digits..] {
            "ms" => 1,
            "s" => 1_000,
            "m" => 60_000,
            "h" => 3_600_000,
            "d" => 86_400_000,
            _ => return None,
        };
        number.checked_mul(unit).map(Self)
    }
}

impl fmt::Display for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let units = [(86_400_000, "d"), (3_600_000, "h"), (60_000, "m"), (1_000, "s"), (1, "ms")];
        let (width, unit) =
            units.into_iter().find(|(w, _)| self.0 != 0 && self.0 % w == 0).unwrap_or((1_000, "s"));
        write!(f, "{}{unit}", self.0 / width)
    }
}

/// A span for people, in its largest two units: `3 d 4 h`, `2 m 5 s`, `740 ms`.
pub fn human(ms: i64) -> String {
    let sign = if ms < 0 { "-" } else { "" };
    let ms = ms.unsigned_abs();
    let units = [(86_400_000, "d"), (3_600_000, "h"), (60_000, "m"), (1_000, "s"), (1, "ms")];
    let Some(first) = units.iter().position(|(w, _)| ms >= *w) else { return "0 ms".into() };
    let (width, unit) = units[first];
    let head = format!("{sign}{} {unit}", ms / width);
    match units.get(first + 1) {
        Some((next, unit)) if *unit != "ms" && ms % width / next > 0 => {
            format!("{head} {} {unit}", ms % width / next)
        }
        _ => head,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_rfc_3339_seconds_and_milliseconds() {
        let t = Timestamp::from_ms(1_780_564_904_120);
        assert_eq!(t.to_string(), "2026-06-04T09:21:44.120Z");
        for form in ["2026-06-04T09:21:44.120Z", "2026-06-04T11:21:44.120+02:00", "1780564904120"] {
            assert_eq!(Timestamp::parse(form), Some(t), "{form}");
        }
        assert_eq!(Timestamp::parse("1780564904"), Some(Timestamp::from_ms(1_780_564_904_000)));
        for bad in ["", "yesterday", "-1", "2026-06-04", "2026-06-04T09:21:44", "1e9", "999999999999999999"] {
            assert_eq!(Timestamp::parse(bad), None, "{bad}");
        }
    }

    #[test]
    fn spans_print_and_parse() {
        for text in ["2s", "7d", "90m", "500ms", "36h"] {
            assert_eq!(Span::parse(text).unwrap().to_string(), text);
        }
        for bad in ["", "7", "d", "-1s", "1w", "1.5h", "99999999999999999d"] {
            assert_eq!(Span::parse(bad), None, "{bad}");
        }
        assert_eq!(human(183_000), "3 m 3 s");
        assert_eq!(human(740), "740 ms");
        assert_eq!(human(0), "0 ms");
    }
}
