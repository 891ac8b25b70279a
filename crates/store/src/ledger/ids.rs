//! New ids of events and deliveries, which never fall below those that were given already.
//!
//! The cast: whoever makes a fact tells the time and asks [`Ids`]; what the newest id's moment is, a start reads from the
//! tables. While the clock stands before that moment, ids stay in it: lists and exports go by ids, and a row that came in
//! below what was read already would be missed by them or told twice. `received_at` and `created_at` are told apart from
//! ids and follow the clock.
//!
//! A clock that was set back by more than [`CLOCK_STEP_MAX_MS`] is believed: it was wrong before, and for months all rows
//! would stand in one moment of the future. What was exported in that time is exported again (`--replace`).
//!
//! NOT relied on: that ids of one millisecond rise; they are random within it.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use roundtrip_ambient::Entropy;
use roundtrip_domain::id::{Id, Kind, kind};
use roundtrip_domain::time::Timestamp;
use rusqlite::{Connection, OptionalExtension};

use super::statements::sql;
use crate::Error;

/// How far the clock may have been set back, in milliseconds, so that ids wait for it: a day. Whatever looks rows up by the
/// moment of their ids allows for it.
pub(super) const CLOCK_STEP_MAX_MS: i64 = 86_400_000;

/// Gives ids. Clones share the floor.
#[derive(Debug, Clone)]
pub(super) struct Ids {
    entropy: Entropy,
    /// The newest id's moment, in milliseconds.
    floor_ms: Arc<AtomicI64>,
}

impl Ids {
    /// Goes on from the newest moment that is given.
    pub(super) fn new(entropy: Entropy, floor: Timestamp) -> Self {
        Self { entropy, floor_ms: Arc::new(AtomicI64::new(floor.ms())) }
    }

    /// A new id, minted at `at`, or in the newest id's moment while the clock stands a little before it.
    pub(super) fn id<K: Kind>(&self, at: Timestamp) -> Id<K> {
        self.entropy.id(self.raise(at))
    }

    /// From here on no id is minted before `at`, unless the clock is set back by more than is waited for. The moment of
    /// the next id.
    pub(super) fn raise(&self, at: Timestamp) -> Timestamp {
        let next = |floor: i64| {
            if floor.saturating_sub(at.ms()) > CLOCK_STEP_MAX_MS { at.ms() } else { floor.max(at.ms()) }
        };
        let before =
            self.floor_ms.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |floor| Some(next(floor)));
        // The closure always gives a value, so it is never refused.
        Timestamp::from_ms(next(before.unwrap_or_else(|floor| floor)))
    }

    /// The lowest bits of an id that all that are minted from here on lie at or above, and that what was minted before
    /// this moment lies below.
    pub(super) fn fence<K: Kind>(&self, at: Timestamp) -> Id<K> {
        // In the newest moment ids may stand already, also in that of `at`.
        let from = self.raise(self.raise(at).plus_ms(1));
        Id::from_bits((from.ms().max(0) as u128) << 80)
    }
}

/// The newest moment that an event's or delivery's id stands in, as far as it is below `below`: an id from further ahead
/// was minted by a clock that was wrong.
pub(super) fn newest(conn: &Connection, below: Timestamp) -> Result<Timestamp, Error> {
    let below = Id::<kind::Event>::mint(below, 0).bits() & !0xffff_ffff_ffff_ffff_ffff;
    let mut newest = Timestamp::from_ms(0);
    let mut workspaces = conn.prepare(sql("workspace_numbers"))?;
    let workspaces: Vec<u32> = workspaces.query_map([], |row| row.get(0))?.collect::<Result<_, _>>()?;
    for workspace in workspaces {
        for newest_of in [sql("ids_newest_event"), sql("ids_newest_delivery")] {
            let id: Option<Vec<u8>> = conn
                .prepare_cached(newest_of)?
                .query_row((workspace, below.to_be_bytes().as_slice()), |row| row.get(0))
                .optional()?;
            if let Some(bytes) = id {
                let id = super::id_from::<kind::Event>(&bytes, "event", "id")?;
                newest = newest.max(id.minted_at());
            }
        }
    }
    Ok(newest)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(ids: &Ids, ms: i64) -> i64 {
        ids.id::<kind::Event>(Timestamp::from_ms(ms)).minted_at().ms()
    }

    #[test]
    fn ids_wait_for_a_clock_that_was_set_back_and_not_for_one_that_was_wrong_by_months() {
        const DAY: i64 = CLOCK_STEP_MAX_MS;
        let ids = Ids::new(Entropy::seeded(1), Timestamp::from_ms(10 * DAY));
        assert_eq!(at(&ids, 10 * DAY - 5), 10 * DAY, "the floor of the start");
        assert_eq!(at(&ids, 10 * DAY + 7), 10 * DAY + 7);
        assert_eq!(at(&ids.clone(), 9 * DAY + 7), 10 * DAY + 7, "a day back, it stays where it was");
        assert_eq!(at(&ids, 10 * DAY + 8), 10 * DAY + 8, "and goes on with the clock");
        assert_eq!(ids.raise(Timestamp::from_ms(10 * DAY + 9)).ms(), 10 * DAY + 9);
        assert_eq!(at(&ids, 10 * DAY), 10 * DAY + 9, "what was promised counts as given");
        assert_eq!(at(&ids, 900 * DAY), 900 * DAY);
        assert_eq!(at(&ids, 11 * DAY), 11 * DAY, "a clock that was wrong by months");
        assert_eq!(at(&ids, 11 * DAY - 5), 11 * DAY, "and its floor is the right one from there on");
    }
}
