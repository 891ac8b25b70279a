//! How much of an amount a partner is told.
//!
//! One [`Share`] decides for every money macro of a rule: what leaves is computed once, in integers, and all
//! macros print that. Not relied on for hiding who may see money at all: that is the template's audience.

use std::fmt;

use crate::event::Revenue;
use crate::money::{Currency, MICROS};

/// The highest percentage: more than all of it would be an invention.
pub const PERCENT_MAX: i64 = 100;

/// How a rule shares revenue.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Share {
    /// No money macro has a value, nor has `{event_value}`.
    #[default]
    None,
    /// The amount as it was booked.
    Exact,
    /// The nearest multiple of a step, a tie going to the even one. The step is in millionths, above zero.
    Rounded(i64),
    /// A part, rounded to the currency's minor unit, half to even. In millionths of a percent: 70 % is
    /// 70,000,000.
    Percent(i64),
}

impl Share {
    /// Whether money is told at all.
    pub const fn is_shared(self) -> bool {
        !matches!(self, Self::None)
    }

    /// Whether what else could tell the exact amount (`{event_value}`) may be told.
    pub const fn is_exact(self) -> bool {
        matches!(self, Self::Exact)
    }

    /// The amount that is told, in millionths; `None` when none is.
    pub fn of(self, micros: i64, currency: Option<Currency>) -> Option<i64> {
        match self {
            Self::None => None,
            Self::Exact => Some(micros),
            Self::Rounded(step) => Some(nearest(i128::from(micros), i128::from(step.max(1)))),
            Self::Percent(percent) => {
                // Without a currency cents are the best guess, as for most of them.
                let digits = currency.map_or(2, |c| c.minor_digits());
                let unit = i128::from(MICROS / 10_i64.pow(digits.min(6)));
                // Exact until the one rounding at the end: amount × percent / (100 × a million) in units of `unit`.
                let part = i128::from(micros) * i128::from(percent);
                let whole = 100 * i128::from(MICROS);
                Some((half_even(part, whole * unit) * unit) as i64)
            }
        }
    }

    /// What is told of an event's revenue.
    pub fn of_revenue(self, revenue: &Revenue) -> Option<i64> {
        self.of(revenue.amount.micros, revenue.currency)
    }
}

impl fmt::Display for Share {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::None => f.write_str("none"),
            Self::Exact => f.write_str("exact"),
            Self::Rounded(step) => write!(f, "rounded to {}", crate::money::decimal(*step, 0)),
            Self::Percent(percent) => write!(f, "{} %", crate::money::decimal(*percent, 0)),
        }
    }
}

/// The nearest multiple of a step, ties to the even one. Stays inside an `i64`: a multiple is at most one
/// step beyond the amount, and both are far below its end.
fn nearest(value: i128, step: i128) -> i64 {
    (half_even(value, step) * step).clamp(i128::from(i64::MIN), i128::from(i64::MAX)) as i64
}

/// A quotient rounded half to even; the divisor is above zero.
fn half_even(value: i128, by: i128) -> i128 {
    let (quotient, rest) = (value.div_euclid(by), value.rem_euclid(by));
    let up = rest * 2 > by || (rest * 2 == by && quotient % 2 != 0);
    quotient + i128::from(up)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::money::{Amount, decimal};

    #[track_caller]
    fn check(share: Share, amount: &str, currency: &str, want: &str) {
        let micros = Amount::parse(amount).unwrap().micros;
        let told = share.of(micros, Currency::parse(currency)).map(|m| decimal(m, 0));
        assert_eq!(told.as_deref().unwrap_or("nothing"), want, "{share} of {amount} {currency}");
    }

    #[test]
    fn shares_are_exact_to_the_minor_unit() {
        check(Share::None, "12.50", "EUR", "nothing");
        check(Share::Exact, "12.345678", "EUR", "12.345678");
        let seventy = Share::Percent(70 * MICROS);
        check(seventy, "12.50", "EUR", "8.75");
        check(seventy, "0.01", "EUR", "0.01");
        check(seventy, "0.10", "EUR", "0.07");
        check(seventy, "99", "JPY", "69");
        check(seventy, "1.001", "KWD", "0.701");
        check(seventy, "10", "", "7");
        check(Share::Percent(50 * MICROS), "0.05", "EUR", "0.02");
        check(Share::Percent(50 * MICROS), "0.07", "EUR", "0.04");
        check(Share::Percent(12_500_000), "100", "EUR", "12.5");
        check(Share::Percent(100 * MICROS), "100000000000", "EUR", "100000000000");
        check(Share::Percent(1), "100000000000", "EUR", "1000");
        let whole = Share::Rounded(MICROS);
        check(whole, "12.49", "EUR", "12");
        check(whole, "12.50", "EUR", "12");
        check(whole, "13.50", "EUR", "14");
        check(whole, "0.4", "EUR", "0");
        check(Share::Rounded(5 * MICROS), "12.50", "EUR", "10");
        check(Share::Rounded(5 * MICROS), "12.51", "EUR", "15");
        check(Share::Rounded(50_000), "1.03", "EUR", "1.05");
        check(Share::Rounded(100_000_000_000 * MICROS), "99999999999", "EUR", "100000000000");
    }

    #[test]
    fn only_exact_shares_what_could_tell_the_amount() {
        assert!(Share::Exact.is_exact() && !Share::Rounded(1).is_exact() && !Share::Percent(1).is_exact());
        assert!(!Share::None.is_shared() && Share::Percent(1).is_shared());
        assert_eq!(Share::Percent(12_500_000).to_string(), "12.5 %");
        assert_eq!(Share::Rounded(50_000).to_string(), "rounded to 0.05");
    }
}
