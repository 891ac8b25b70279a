//! The click id: a UUIDv7 whose 74 free bits carry 12 node · 30 counter · 32 keyed check.
//!
//! The check spares the store a look-up for mangled or guessed ids. It is a filter, never
//! authorisation: an id that fails it is still recorded with its reason, because after a migration
//! other systems' ids sit in cookies for months.
//!
//! In each new millisecond the counter starts at random in its lower half and counts up, so ids tell
//! nobody the volume. When it is exhausted, or the clock steps back, time goes on from the last id.
//! Windows never use the id's time: they use the stored `received_at`.

use std::fmt;
use std::hash::Hasher;

use siphasher::sip::SipHasher24;

use crate::time::Timestamp;

/// Bits of the counter inside one millisecond.
pub const COUNTER_BITS: u32 = 30;
const COUNTER_MAX: u32 = (1 << COUNTER_BITS) - 1;
const CHECK_MASK: u128 = 0xffff_ffff;

/// Names one touch. Printed as a 36-character lower-case UUID.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ClickId(u128);

impl ClickId {
    /// The id with exactly these bits; for rows read back.
    pub const fn from_bits(bits: u128) -> Self {
        Self(bits)
    }

    /// The 128 bits.
    pub const fn bits(self) -> u128 {
        self.0
    }

    /// Big-endian bytes; they sort as the ids do.
    pub const fn bytes(self) -> [u8; 16] {
        self.0.to_be_bytes()
    }

    /// Reads [`Self::bytes`] back; `None` unless there are 16 of them.
    pub fn from_slice(bytes: &[u8]) -> Option<Self> {
        Some(Self(u128::from_be_bytes(bytes.try_into().ok()?)))
    }

    /// The millisecond in the id: places it in a slice. Never used for windows.
    pub const fn ms(self) -> i64 {
        (self.0 >> 80) as i64
    }

    /// The node that minted it, 0–4095.
    pub const fn node(self) -> u16 {
        ((self.0 >> 64) & 0xfff) as u16
    }

    /// The counter inside its millisecond, 30 bits.
    pub const fn counter(self) -> u32 {
        ((self.0 >> 32) & COUNTER_MAX as u128) as u32
    }

    /// Reads a UUID with or without hyphens, in any case. `None` for anything else.
    pub fn parse(text: &[u8]) -> Option<Self> {
        let mut bits: u128 = 0;
        let mut digits = 0;
        match text.len() {
            32 | 36 => {}
            _ => return None,
        }
        for (i, c) in text.iter().enumerate() {
            if *c == b'-' {
                if text.len() == 36 && matches!(i, 8 | 13 | 18 | 23) {
                    continue;
                }
                return None;
            }
            let v = (*c as char).to_digit(16)?;
            bits = (bits << 4) | v as u128;
            digits += 1;
        }
        (digits == 32).then_some(Self(bits))
    }
}

impl fmt::Display for ClickId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const HEX: &[u8; 16] = b"0123456789abcdef";
        let mut out = [b'-'; 36];
        let mut at = 0;
        for i in 0..32 {
            if matches!(at, 8 | 13 | 18 | 23) {
                at += 1;
            }
            out[at] = HEX[((self.0 >> (4 * (31 - i))) & 15) as usize];
            at += 1;
        }
        f.write_str(std::str::from_utf8(&out).unwrap_or_default())
    }
}

impl fmt::Debug for ClickId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// A key of the check, 16 bytes. Prints nothing of itself.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct CheckKey(pub [u8; 16]);

impl fmt::Debug for CheckKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("CheckKey(…)")
    }
}

impl CheckKey {
    fn check(&self, bits: u128) -> u128 {
        let mut hasher = SipHasher24::new_with_key(&self.0);
        hasher.write(&(bits & !CHECK_MASK).to_be_bytes());
        hasher.finish() as u128 & CHECK_MASK
    }
}

/// What the check says of an id that came back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Checked {
    /// One of our keys made it.
    Ours,
    /// A UUID, but none of our keys made it: mangled, guessed, or another system's.
    NotOurs,
}

/// Judges an id against the current and the earlier keys.
pub fn check(id: ClickId, keys: &[CheckKey]) -> Checked {
    let shape = (id.0 >> 76) & 0xf == 7 && (id.0 >> 62) & 0b11 == 0b10;
    if shape && keys.iter().any(|key| key.check(id.0) == id.0 & CHECK_MASK) {
        Checked::Ours
    } else {
        Checked::NotOurs
    }
}

/// Mints click ids in strictly rising order.
#[derive(Debug, Clone)]
pub struct Mint {
    node: u16,
    key: CheckKey,
    last_ms: i64,
    last_counter: u32,
}

impl Mint {
    /// A mint that continues after `floor`, the millisecond of the newest id known to have left.
    pub fn new(node: u16, key: CheckKey, floor: Option<Timestamp>) -> Self {
        Self {
            node: node & 0xfff,
            key,
            last_ms: floor.map_or(i64::MIN, Timestamp::ms),
            // The floor's own millisecond counts as used up.
            last_counter: COUNTER_MAX,
        }
    }

    /// The next id. `entropy` is 32 random bits, used only when a new millisecond begins.
    pub fn next(&mut self, now: Timestamp, entropy: u32) -> ClickId {
        let now = now.ms().max(0);
        if now > self.last_ms {
            self.last_ms = now;
            self.last_counter = entropy & (COUNTER_MAX >> 1);
        } else if self.last_counter < COUNTER_MAX {
            self.last_counter += 1;
        } else {
            self.last_ms = self.last_ms.max(0) + 1;
            self.last_counter = entropy & (COUNTER_MAX >> 1);
        }
        let bits = ((self.last_ms as u128 & 0xffff_ffff_ffff) << 80)
            | (7 << 76)
            | ((self.node as u128) << 64)
            | (0b10 << 62)
            | ((self.last_counter as u128) << 32);
        ClickId(bits | self.key.check(bits))
    }

    /// From here on no id is of that moment or an earlier one.
    pub fn raise(&mut self, floor: Timestamp) {
        if floor.ms() > self.last_ms {
            self.last_ms = floor.ms();
            self.last_counter = COUNTER_MAX;
        }
    }

    /// The millisecond of the newest id; the floor to keep.
    pub fn floor(&self) -> Timestamp {
        Timestamp::from_ms(self.last_ms.max(0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: CheckKey = CheckKey([7; 16]);

    fn mint() -> Mint {
        Mint::new(5, KEY, None)
    }

    #[test]
    fn prints_as_uuid_and_is_read_back_in_every_accepted_form() {
        let id = mint().next(Timestamp::from_ms(1_780_565_000_123), 99);
        let text = id.to_string();
        assert_eq!(text.len(), 36);
        assert_eq!(&text[14..15], "7");
        for form in [text.clone(), text.to_uppercase(), text.replace('-', "")] {
            assert_eq!(ClickId::parse(form.as_bytes()), Some(id), "{form}");
        }
        for bad in ["", "x", "{click_id}", &text[1..], &text.replace('-', "_"), &format!("{text}0")] {
            assert_eq!(ClickId::parse(bad.as_bytes()), None, "{bad}");
        }
    }

    #[test]
    fn a_floor_that_is_raised_lies_below_every_later_id() {
        let mut mint = mint();
        let before = mint.next(Timestamp::from_ms(42), 99);
        mint.raise(Timestamp::from_ms(70));
        mint.raise(Timestamp::from_ms(60));
        let after = mint.next(Timestamp::from_ms(50), 99);
        assert!(before.ms() == 42 && after.ms() == 71, "{before} {after}");
        assert_eq!(mint.next(Timestamp::from_ms(80), 99).ms(), 80);
    }

    #[test]
    fn carries_node_counter_time_and_check() {
        let id = mint().next(Timestamp::from_ms(42), 99);
        assert_eq!((id.ms(), id.node(), id.counter()), (42, 5, 99));
        assert_eq!(check(id, &[KEY]), Checked::Ours);
        assert_eq!(check(id, &[CheckKey([1; 16]), KEY]), Checked::Ours, "old keys stay valid");
        assert_eq!(check(id, &[CheckKey([1; 16])]), Checked::NotOurs);
        for bit in 0..128 {
            assert_eq!(
                check(ClickId::from_bits(id.bits() ^ (1 << bit)), &[KEY]),
                Checked::NotOurs,
                "bit {bit}"
            );
        }
    }

    #[test]
    fn rises_through_clock_steps_and_exhaustion() {
        let mut mint = mint();
        let mut last = mint.next(Timestamp::from_ms(1_000), u32::MAX);
        assert!(last.counter() <= COUNTER_MAX / 2, "starts in the lower half");
        for now in [1_000, 1_000, 999, 5, 1_001, 0, 1_000_000, 3] {
            let id = mint.next(Timestamp::from_ms(now), 7);
            assert!(id > last);
            last = id;
        }
        mint.last_counter = COUNTER_MAX;
        let id = mint.next(Timestamp::from_ms(0), 1);
        assert!(id > last && id.ms() == last.ms() + 1);
    }

    #[test]
    fn goes_on_after_the_floor() {
        let id = Mint::new(0, KEY, Some(Timestamp::from_ms(500))).next(Timestamp::from_ms(400), 1);
        assert_eq!(id.ms(), 501);
    }
}
