//! Money: a decimal amount with its ISO 4217 currency, never a float.
//!
//! The amount is read from the text that was sent, kept as sent, and booked in millionths. More
//! decimals are rounded half to even and flagged. The largest amount is 10^11 units, so that a sum of
//! tens of millions of them still fits 64 bits.

use std::fmt;

/// Millionths in one unit of a currency.
pub const MICROS: i64 = 1_000_000;
/// The largest absolute amount, in units.
pub const UNITS_MAX: i64 = 100_000_000_000;

/// An ISO 4217 alphabetic code, upper case.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Currency([u8; 3]);

impl Currency {
    /// Reads a code in any case. `None` unless it is an active code of [`CODES`].
    pub fn parse(text: &str) -> Option<Self> {
        let bytes: [u8; 3] = text.trim().as_bytes().try_into().ok()?;
        let upper = bytes.map(|b| b.to_ascii_uppercase());
        let code = std::str::from_utf8(&upper).ok()?;
        CODES.split(' ').any(|known| known == code).then_some(Self(upper))
    }

    /// The three letters.
    pub fn as_str(&self) -> &str {
        std::str::from_utf8(&self.0).unwrap_or_default()
    }

    /// Millionths in one minor unit.
    pub fn minor_micros(&self) -> i64 {
        MICROS / 10_i64.pow(self.minor_digits())
    }

    /// Decimal places of the minor unit, from ISO 4217: 0, 2, 3 or 4.
    pub fn minor_digits(&self) -> u32 {
        match self.as_str() {
            "BIF" | "CLP" | "DJF" | "GNF" | "ISK" | "JPY" | "KMF" | "KRW" | "PYG" | "RWF" | "UGX" | "UYI"
            | "VND" | "VUV" | "XAF" | "XOF" | "XPF" => 0,
            "BHD" | "IQD" | "JOD" | "KWD" | "LYD" | "OMR" | "TND" => 3,
            "CLF" | "UYW" => 4,
            _ => 2,
        }
    }
}

impl fmt::Debug for Currency {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}
impl fmt::Display for Currency {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// The active ISO 4217 alphabetic codes (list one, 2024), separated by spaces.
pub const CODES: &str = "AED AFN ALL AMD AOA ARS AUD AWG AZN BAM BBD BDT BGN BHD BIF BMD BND BOB BOV BRL BSD BTN BWP BYN BZD CAD CDF CHE CHF CHW CLF CLP CNY COP COU CRC CUP CVE CZK DJF DKK DOP DZD EGP ERN ETB EUR FJD FKP GBP GEL GHS GIP GMD GNF GTQ GYD HKD HNL HTG HUF IDR ILS INR IQD IRR ISK JMD JOD JPY KES KGS KHR KMF KPW KRW KWD KYD KZT LAK LBP LKR LRD LSL LYD MAD MDL MGA MKD MMK MNT MOP MRU MUR MVR MWK MXN MXV MYR MZN NAD NGN NIO NOK NPR NZD OMR PAB PEN PGK PHP PKR PLN PYG QAR RON RSD RUB RWF SAR SBD SCR SDG SEK SGD SHP SLE SOS SRD SSP STN SVC SYP SZL THB TJS TMT TND TOP TRY TTD TWD TZS UAH UGX USD USN UYI UYU UYW UZS VED VES VND VUV WST XAF XCD XCG XOF XPF YER ZAR ZMW ZWG";

/// An amount in millionths of a unit, with the text it was read from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Amount {
    /// Millionths of a unit.
    pub micros: i64,
    /// As sent, without surrounding space.
    pub text: String,
    /// Whether decimals beyond the sixth were rounded away.
    pub rounded: bool,
}

/// Why a text is no amount.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AmountError {
    /// Not a decimal number.
    Malformed,
    /// Below zero.
    Negative,
    /// Above [`UNITS_MAX`].
    TooLarge,
}

impl Amount {
    /// Reads a decimal number as JSON writes one, exponent included: `12.50`, `1e3`, `.5` is refused.
    /// The text is at most 64 characters.
    pub fn parse(text: &str) -> Result<Self, AmountError> {
        let text = text.trim();
        if text.is_empty() || text.len() > 64 {
            return Err(AmountError::Malformed);
        }
        let (negative, rest) = match text.strip_prefix('-') {
            Some(rest) => (true, rest),
            None => (false, text.strip_prefix('+').unwrap_or(text)),
        };
        let (mantissa, exponent) = match rest.find(['e', 'E']) {
            Some(at) => (&rest[..at], rest[at + 1..].parse::<i32>().map_err(|_| AmountError::Malformed)?),
            None => (rest, 0),
        };
        let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
        let digits_only = |s: &str| s.bytes().all(|b| b.is_ascii_digit());
        if whole.is_empty()
            || !digits_only(whole)
            || !digits_only(fraction)
            || (mantissa.contains('.') && fraction.is_empty())
        {
            return Err(AmountError::Malformed);
        }
        // The digits as one integer, and how many of them stand behind the point of the millionths.
        let digits: Vec<u8> = whole.bytes().chain(fraction.bytes()).map(|b| b - b'0').collect();
        let keep = whole.len() as i64 + i64::from(exponent.clamp(-200, 200)) + 6;
        let mut micros: i128 = 0;
        for i in 0..keep.max(0) as usize {
            micros = micros * 10 + i128::from(digits.get(i).copied().unwrap_or(0));
            if micros > i128::from(UNITS_MAX) * i128::from(MICROS) {
                return Err(if negative { AmountError::Negative } else { AmountError::TooLarge });
            }
        }
        let dropped: &[u8] = if keep >= 0 { digits.get(keep as usize..).unwrap_or(&[]) } else { &digits };
        let rounded = dropped.iter().any(|d| *d != 0);
        if rounded && keep >= 0 {
            let more = dropped[1..].iter().any(|d| *d != 0);
            let up = dropped[0] > 5 || (dropped[0] == 5 && (more || micros % 2 == 1));
            micros += i128::from(up);
        }
        if negative && (micros != 0 || rounded) {
            return Err(AmountError::Negative);
        }
        if micros > i128::from(UNITS_MAX) * i128::from(MICROS) {
            return Err(AmountError::TooLarge);
        }
        Ok(Self { micros: micros as i64, text: text.to_owned(), rounded })
    }
}

/// Prints millionths as a plain decimal with at least `min_digits` decimals and no more than needed.
pub fn decimal(micros: i64, min_digits: usize) -> String {
    let sign = if micros < 0 { "-" } else { "" };
    let abs = micros.unsigned_abs();
    let mut fraction = format!("{:06}", abs % MICROS as u64);
    while fraction.len() > min_digits && fraction.ends_with('0') {
        fraction.pop();
    }
    let whole = abs / MICROS as u64;
    if fraction.is_empty() { format!("{sign}{whole}") } else { format!("{sign}{whole}.{fraction}") }
}

/// Prints millionths as an integer of the currency's minor unit, rounded half to even.
pub fn minor(micros: i64, currency: Currency) -> String {
    let per = currency.minor_micros();
    let (quotient, rest) = (micros.div_euclid(per), micros.rem_euclid(per));
    let up = rest * 2 > per || (rest * 2 == per && quotient % 2 != 0);
    (quotient + i64::from(up)).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(text: &str, want: Result<(i64, bool), AmountError>) {
        assert_eq!(Amount::parse(text).map(|a| (a.micros, a.rounded)), want, "{text}");
    }

    #[test]
    fn reads_amounts_exactly() {
        check("12.50", Ok((12_500_000, false)));
        check("0", Ok((0, false)));
        check("-0", Ok((0, false)));
        check("0.000001", Ok((1, false)));
        check("0.0000005", Ok((0, true)));
        check("0.0000015", Ok((2, true)));
        check("0.00000051", Ok((1, true)));
        check("1e3", Ok((1_000_000_000, false)));
        check("1.5E-2", Ok((15_000, false)));
        check("12.3e-9", Ok((0, true)));
        check("100000000000", Ok((UNITS_MAX * MICROS, false)));
        check("100000000000.000001", Err(AmountError::TooLarge));
        check("1e99", Err(AmountError::TooLarge));
        check("-12.5", Err(AmountError::Negative));
        check("-0.0000001", Err(AmountError::Negative));
        for bad in ["", ".5", "5.", "1,5", "1_000", "NaN", "inf", "0x10", "1e", "--1", "1 2", "€5"] {
            check(bad, Err(AmountError::Malformed));
        }
    }

    #[test]
    fn prints_what_partners_read() {
        assert_eq!(decimal(12_500_000, 2), "12.50");
        assert_eq!(decimal(12_345_678, 2), "12.345678");
        assert_eq!(decimal(-5, 0), "-0.000005");
        assert_eq!(decimal(7_000_000, 0), "7");
        let eur = Currency::parse("eur").unwrap();
        assert_eq!(minor(12_345_000, eur), "1234");
        assert_eq!(minor(12_355_000, eur), "1236");
        assert_eq!(minor(500_000_000, Currency::parse("JPY").unwrap()), "500");
        assert_eq!(Currency::parse("XXQ"), None);
    }
}
