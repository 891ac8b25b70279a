//! The clock and the entropy source, real and hand-driven: the only code that asks the machine for
//! either. Everything else is handed a [`Clock`] or an [`Entropy`], so that a test can hold the hand.
//!
//! The clock has two faces. [`Clock::now`] is the wall clock, and nothing promises that two readings rise: people
//! and time servers set it. [`Clock::steady`] only rises, and says nothing but how long something took.

use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use roundtrip_domain::id::{Id, Kind};
use roundtrip_domain::time::Timestamp;

/// Tells the time, UTC.
#[derive(Debug, Clone, Default)]
pub enum Clock {
    /// The machine's.
    #[default]
    System,
    /// Moved by hand; clones share the hands.
    Manual(Arc<Hands>),
    /// Asked of somebody who keeps the time of a simulated world.
    Told(Teller),
}

/// Tells the time of a simulated world: what the wall clock shows, and how long the world has lasted.
#[derive(Clone)]
pub struct Teller(Arc<dyn Fn() -> (Timestamp, Duration) + Send + Sync>);

impl std::fmt::Debug for Teller {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Teller")
    }
}

/// The hands of a manual clock, in milliseconds.
#[derive(Debug, Default)]
pub struct Hands {
    wall: AtomicI64,
    steady: AtomicU64,
}

impl Clock {
    /// A clock that stands at `at` until moved.
    pub fn manual(at: Timestamp) -> Self {
        Self::Manual(Arc::new(Hands { wall: AtomicI64::new(at.ms()), steady: AtomicU64::new(0) }))
    }

    /// A clock that asks `teller` at each look: for what the wall clock shows, and how long the world has lasted.
    pub fn told(teller: impl Fn() -> (Timestamp, Duration) + Send + Sync + 'static) -> Self {
        Self::Told(Teller(Arc::new(teller)))
    }

    /// The time now.
    #[expect(clippy::disallowed_methods, reason = "this is the one place that asks the machine")]
    pub fn now(&self) -> Timestamp {
        match self {
            Self::System => {
                let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
                Timestamp::from_ms(since.map_or(0, |d| d.as_millis() as i64))
            }
            Self::Manual(hands) => Timestamp::from_ms(hands.wall.load(Ordering::SeqCst)),
            Self::Told(Teller(teller)) => teller().0,
        }
    }

    /// Time since some moment of this process; never falls, whatever becomes of the wall clock.
    pub fn steady(&self) -> Duration {
        static ORIGIN: OnceLock<Instant> = OnceLock::new();
        match self {
            Self::System => ORIGIN.get_or_init(Instant::now).elapsed(),
            Self::Manual(hands) => Duration::from_millis(hands.steady.load(Ordering::SeqCst)),
            Self::Told(Teller(teller)) => teller().1,
        }
    }

    /// Lets this many milliseconds pass on a manual clock. Fewer than none sets its wall clock back, as
    /// [`Self::jump`] does. Does nothing to the others.
    pub fn advance(&self, by_ms: i64) {
        if let Self::Manual(hands) = self {
            hands.wall.fetch_add(by_ms, Ordering::SeqCst);
            hands.steady.fetch_add(u64::try_from(by_ms).unwrap_or(0), Ordering::SeqCst);
        }
    }

    /// Sets the wall clock of a manual clock forward or back, while no time passes.
    pub fn jump(&self, by_ms: i64) {
        if let Self::Manual(hands) = self {
            hands.wall.fetch_add(by_ms, Ordering::SeqCst);
        }
    }
}

/// Gives random bits.
#[derive(Debug, Clone, Default)]
pub enum Entropy {
    /// The machine's cryptographic source.
    #[default]
    System,
    /// A repeatable sequence from a seed; clones share the sequence. For tests, never for keys.
    Seeded(Arc<AtomicU64>),
}

impl Entropy {
    /// A repeatable sequence.
    pub fn seeded(seed: u64) -> Self {
        Self::Seeded(Arc::new(AtomicU64::new(seed)))
    }

    /// Fills a buffer. Panics if the machine has no randomness to give: no key may be made without it.
    #[expect(clippy::disallowed_methods, reason = "this is the one place that asks the machine")]
    pub fn fill(&self, buffer: &mut [u8]) {
        match self {
            Self::System => getrandom::fill(buffer).expect("the machine gives random bits"),
            Self::Seeded(state) => {
                for chunk in buffer.chunks_mut(8) {
                    // SplitMix64 (Steele, Lea, Flood 2014).
                    let mut z = state
                        .fetch_add(0x9e37_79b9_7f4a_7c15, Ordering::SeqCst)
                        .wrapping_add(0x9e37_79b9_7f4a_7c15);
                    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
                    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
                    let bytes = (z ^ (z >> 31)).to_le_bytes();
                    chunk.copy_from_slice(&bytes[..chunk.len()]);
                }
            }
        }
    }

    /// 32 random bits.
    pub fn u32(&self) -> u32 {
        let mut bytes = [0; 4];
        self.fill(&mut bytes);
        u32::from_le_bytes(bytes)
    }

    /// 128 random bits.
    pub fn u128(&self) -> u128 {
        let mut bytes = [0; 16];
        self.fill(&mut bytes);
        u128::from_le_bytes(bytes)
    }

    /// A new id minted at `at`.
    pub fn id<K: Kind>(&self, at: Timestamp) -> Id<K> {
        Id::mint(at, self.u128())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_hand_is_shared_and_the_sequence_repeats() {
        let clock = Clock::manual(Timestamp::from_ms(5));
        clock.clone().advance(-2);
        assert_eq!((clock.now(), clock.steady()), (Timestamp::from_ms(3), Duration::ZERO));
        clock.advance(7);
        clock.jump(90);
        assert_eq!((clock.now(), clock.steady()), (Timestamp::from_ms(100), Duration::from_millis(7)));
        assert!(Clock::System.steady() <= Clock::System.steady());
        let told = Clock::told(|| (Timestamp::from_ms(9), Duration::ZERO));
        told.advance(5);
        assert_eq!(told.now(), Timestamp::from_ms(9), "only its teller moves it");
        assert_eq!(Entropy::seeded(1).u128(), Entropy::seeded(1).u128());
        assert_ne!(Entropy::seeded(1).u128(), Entropy::seeded(2).u128());
        assert_ne!(Entropy::System.u128(), Entropy::System.u128());
    }
}
