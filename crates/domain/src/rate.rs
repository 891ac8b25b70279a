//! How many sends a second somebody takes.

use std::fmt;
use std::time::Duration;

/// The least: one every ten seconds.
pub const RATE_MIN: f64 = 0.1;
/// The most, a second.
pub const RATE_MAX: f64 = 10_000.0;

/// A number of sends a second, 0.1–10,000, kept in thousandths.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Rate {
    per_1000_s: u32,
}

impl Rate {
    /// So many a second; `None` outside [`RATE_MIN`]–[`RATE_MAX`]. More than three decimals are rounded.
    pub fn per_s(n: f64) -> Option<Self> {
        (RATE_MIN..=RATE_MAX).contains(&n).then(|| Self { per_1000_s: (n * 1_000.0).round() as u32 })
    }

    /// So many thousandths a second, as [`Self::per_1000_s`] says them; `None` outside the bounds.
    pub fn of_per_1000_s(n: u32) -> Option<Self> {
        Self::per_s(f64::from(n) / 1_000.0)
    }

    /// How many in a thousand seconds.
    pub const fn per_1000_s(self) -> u32 {
        self.per_1000_s
    }

    /// How many in a second.
    pub fn get(self) -> f64 {
        f64::from(self.per_1000_s) / 1_000.0
    }

    /// From one to the next.
    pub fn interval(self) -> Duration {
        Duration::from_nanos(1_000_000_000_000 / u64::from(self.per_1000_s.max(1)))
    }
}

impl fmt::Display for Rate {
    /// The number alone: `10`, `0.5`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.get())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn is_bounded_and_has_an_interval() {
        for n in [0.0, 0.099, -1.0, 10_000.1, f64::NAN, f64::INFINITY] {
            assert_eq!(Rate::per_s(n), None, "{n}");
        }
        let rate = |n| Rate::per_s(n).expect("within bounds");
        assert_eq!(rate(0.1).interval(), Duration::from_secs(10));
        assert_eq!(rate(10_000.0).interval(), Duration::from_micros(100));
        assert_eq!(Rate::of_per_1000_s(rate(0.25).per_1000_s()), Some(rate(0.25)));
        assert_eq!(Rate::of_per_1000_s(0), None);
        assert_eq!((rate(2.5).to_string(), rate(10.0).to_string()), ("2.5".into(), "10".into()));
    }
}
