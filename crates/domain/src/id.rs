//! Identifiers: what names a thing, printed one way.
//!
//! Every noun but the click carries an [`Id<K>`]: a UUIDv7 in 16 bytes, printed as a prefix and 26
//! Crockford base-32 characters, so that it sorts by time both as bytes and as text. Click ids have
//! their own shape ([`crate::click_id`]) because the outside world stores them as UUIDs.
//!
//! Nothing here asks for the time or for randomness: both are arguments.

use std::cmp::Ordering;
use std::fmt;
use std::hash::{Hash, Hasher};
use std::marker::PhantomData;
use std::str::FromStr;

use crate::time::Timestamp;

/// A noun that has an [`Id`]; names its printed prefix.
pub trait Kind {
    /// The printed prefix, without the underscore: `evt` of `evt_01HZX…`.
    const PREFIX: &'static str;
}

macro_rules! kinds {
    ($($(#[$doc:meta])* $name:ident = $prefix:literal),* $(,)?) => {
        $(
            $(#[$doc])*
            #[derive(Debug, Clone, Copy, PartialEq, Eq)]
            pub enum $name {}
            impl Kind for $name {
                const PREFIX: &'static str = $prefix;
            }
        )*
    };
}

/// The nouns that have ids. Each is an empty type used only as a mark.
pub mod kind {
    use super::Kind;

    kinds! {
        /// A mobile app or a web site.
        App = "app",
        /// A campaign of an app.
        Campaign = "cmp",
        /// An affiliate or ad network.
        Partner = "prt",
        /// A tracking link: campaign × partner.
        Link = "lnk",
        /// Partners that a rule tells together.
        PartnerGroup = "grp",
        /// What a partner is told, when and how.
        Rule = "rul",
        /// What the owner is told, where and how.
        Webhook = "wbh",
        /// An API credential.
        Key = "key",
        /// A fact to tell; also the identity of the conversion that it makes.
        Event = "evt",
        /// The conversion that an event made. Shares the bits of its event's id.
        Conversion = "cnv",
        /// One intent to tell one endpoint about one event.
        Delivery = "dlv",
        /// A replay, backfill or cancellation of many deliveries.
        Job = "job",
    }
}

/// A typed identifier: a UUIDv7 printed as `prefix_` and 26 Crockford characters.
pub struct Id<K> {
    bits: u128,
    kind: PhantomData<fn() -> K>,
}

impl<K> Id<K> {
    /// Builds an id from a time and 74 random bits (the low bits of `entropy`).
    pub fn mint(at: Timestamp, entropy: u128) -> Self {
        let ms = (at.ms().max(0) as u128) & 0xffff_ffff_ffff;
        let rand_a = (entropy >> 62) & 0xfff;
        let rand_b = entropy & 0x3fff_ffff_ffff_ffff;
        Self::from_bits((ms << 80) | (7 << 76) | (rand_a << 64) | (0b10 << 62) | rand_b)
    }

    /// The id with exactly these bits; for rows read back from a store.
    pub const fn from_bits(bits: u128) -> Self {
        Self { bits, kind: PhantomData }
    }

    /// The 128 bits.
    pub const fn bits(self) -> u128 {
        self.bits
    }

    /// Big-endian bytes, the form that stores keep: they sort as the ids do.
    pub const fn bytes(self) -> [u8; 16] {
        self.bits.to_be_bytes()
    }

    /// Reads [`Self::bytes`] back; `None` unless there are 16 of them.
    pub fn from_slice(bytes: &[u8]) -> Option<Self> {
        Some(Self::from_bits(u128::from_be_bytes(bytes.try_into().ok()?)))
    }

    /// The millisecond in which the id was minted.
    pub fn minted_at(self) -> Timestamp {
        Timestamp::from_ms((self.bits >> 80) as i64)
    }
}

impl Id<kind::Event> {
    /// The conversion that this event makes. One event makes at most one conversion, so they share
    /// their bits and `explain` takes either.
    pub const fn conversion(self) -> Id<kind::Conversion> {
        Id::from_bits(self.bits)
    }
}

impl Id<kind::Conversion> {
    /// The event that made this conversion.
    pub const fn event(self) -> Id<kind::Event> {
        Id::from_bits(self.bits)
    }
}

impl<K> Clone for Id<K> {
    fn clone(&self) -> Self {
        *self
    }
}
impl<K> Copy for Id<K> {}
impl<K> PartialEq for Id<K> {
    fn eq(&self, other: &Self) -> bool {
        self.bits == other.bits
    }
}
impl<K> Eq for Id<K> {}
impl<K> PartialOrd for Id<K> {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}
impl<K> Ord for Id<K> {
    fn cmp(&self, other: &Self) -> Ordering {
        self.bits.cmp(&other.bits)
    }
}
impl<K> Hash for Id<K> {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.bits.hash(state);
    }
}
impl<K: Kind> fmt::Debug for Id<K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

const CROCKFORD: &[u8; 32] = b"0123456789ABCDEFGHJKMNPQRSTVWXYZ";

/// 26 Crockford characters of a 128-bit number, most significant first.
pub(crate) fn crockford(bits: u128) -> [u8; 26] {
    let mut out = [0; 26];
    for (i, c) in out.iter_mut().enumerate() {
        *c = CROCKFORD[((bits >> (5 * (25 - i))) & 31) as usize];
    }
    out
}

fn crockford_value(c: u8) -> Option<u128> {
    let c = match c.to_ascii_uppercase() {
        b'O' => b'0',
        b'I' | b'L' => b'1',
        c => c,
    };
    CROCKFORD.iter().position(|x| *x == c).map(|v| v as u128)
}

impl<K: Kind> fmt::Display for Id<K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = crockford(self.bits);
        f.write_str(K::PREFIX)?;
        f.write_str("_")?;
        f.write_str(std::str::from_utf8(&text).unwrap_or_default())
    }
}

/// Why a text is no id of the wanted kind.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("not an id of the form {prefix}_ and 26 letters and digits")]
pub struct ParseError {
    /// The wanted prefix.
    pub prefix: &'static str,
}

impl<K: Kind> FromStr for Id<K> {
    type Err = ParseError;

    fn from_str(text: &str) -> Result<Self, ParseError> {
        let error = ParseError { prefix: K::PREFIX };
        let body = text
            .strip_prefix(K::PREFIX)
            .and_then(|rest| rest.strip_prefix('_'))
            .ok_or_else(|| error.clone())?
            .as_bytes();
        if body.len() != 26 {
            return Err(error);
        }
        let mut bits: u128 = 0;
        for (i, c) in body.iter().enumerate() {
            let v = crockford_value(*c).ok_or_else(|| error.clone())?;
            // The first character carries only three bits: 26 × 5 = 130.
            if i == 0 && v > 7 {
                return Err(error);
            }
            bits = (bits << 5) | v;
        }
        Ok(Self::from_bits(bits))
    }
}

/// The number of a workspace inside one installation. Starts every primary key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct WorkspaceNo(pub u32);

impl WorkspaceNo {
    /// The workspace `default`, which exists from the first start.
    pub const DEFAULT: Self = Self(1);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn prints_and_parses_one_way() {
        let id: Id<kind::Event> = Id::mint(Timestamp::from_ms(1_780_565_000_123), u128::MAX);
        let text = id.to_string();
        assert_eq!(text.len(), 4 + 26);
        assert_eq!(text.parse::<Id<kind::Event>>().unwrap(), id);
        assert_eq!(text.to_lowercase().parse::<Id<kind::Event>>().unwrap(), id);
        assert_eq!(id.minted_at(), Timestamp::from_ms(1_780_565_000_123));
        assert_eq!(id.bits() >> 76 & 0xf, 7, "UUID version 7");
        assert_eq!(id.bits() >> 62 & 0b11, 0b10, "RFC 9562 variant");
    }

    #[test]
    fn refuses_what_is_not_an_id_of_the_kind() {
        for bad in [
            "",
            "evt_",
            "evt_01",
            "dlv_01KAHS8Z4N2T7QX5W3R9M6B0CD",
            "evt_U1KAHS8Z4N2T7QX5W3R9M6B0CD",
            "evt_81KAHS8Z4N2T7QX5W3R9M6B0CD",
        ] {
            assert!(bad.parse::<Id<kind::Event>>().is_err(), "{bad}");
        }
    }

    #[test]
    fn sorts_by_time_as_bytes_and_as_text() {
        let a: Id<kind::Event> = Id::mint(Timestamp::from_ms(1), u128::MAX);
        let b: Id<kind::Event> = Id::mint(Timestamp::from_ms(2), 0);
        assert!(a < b && a.bytes() < b.bytes() && a.to_string() < b.to_string());
    }
}
