//! One endpoint in memory: what is due next, what is under way, and how much may be.
//!
//! Memory is bounded: at most [`WINDOW`](super::WINDOW) waiting deliveries are held, the rest stays in the
//! queue's table and is read when these run out. Concurrency follows what the receiver can take: it
//! starts at 4, grows by one after a full window of successes at the limit, and halves on trouble.

use std::collections::{BTreeSet, HashSet};

use roundtrip_domain::endpoint as domain;
use roundtrip_domain::id::WorkspaceNo;
use roundtrip_domain::time::Timestamp;
use roundtrip_store::ledger::{Due, QueueItem};

use super::{DeliveryId, WINDOW};

/// Sends under way at the start.
const LIMIT_START: u32 = 4;
/// Most sends under way towards one endpoint.
const LIMIT_MAX: u32 = 64;

/// What names an endpoint.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct Key {
    pub(super) workspace: WorkspaceNo,
    pub(super) endpoint: domain::Endpoint,
}

/// An endpoint with work.
#[derive(Debug)]
pub(super) struct Endpoint {
    /// What waits, by when it is due.
    waiting: BTreeSet<(Timestamp, DeliveryId, u32)>,
    /// Whether the table may hold more than `waiting`.
    pub(super) more: bool,
    /// Sent or being sent, and not settled yet.
    busy: HashSet<DeliveryId>,
    /// Being sent.
    in_flight: u32,
    limit: u32,
    /// Whether as much was under way as the limit allows, since the last change of the limit.
    reached: bool,
    successes: u32,
    /// Scheme, host and port; empty while not known.
    pub(super) host: String,
    /// Whether it waits for a place at its host.
    pub(super) host_full: bool,
    /// Whether it stands in the coordinator's list of ready ones.
    pub(super) queued: bool,
    /// When the coordinator's timer looks at it.
    pub(super) timer: Option<Timestamp>,
}

impl Default for Endpoint {
    fn default() -> Self {
        Self {
            waiting: BTreeSet::new(),
            more: false,
            busy: HashSet::new(),
            in_flight: 0,
            limit: LIMIT_START,
            reached: false,
            successes: 0,
            host: String::new(),
            host_full: false,
            queued: false,
            timer: None,
        }
    }
}

impl Endpoint {
    /// An endpoint at that host and port; empty when it is not known.
    pub(super) fn at(host: String) -> Self {
        Self { host, ..Self::default() }
    }

    /// Learns of a waiting delivery. When the window is full the one that is due last goes back to the table.
    pub(super) fn push(&mut self, due: &Due) {
        if self.busy.contains(&due.delivery) {
            return;
        }
        // With an unread rest in the table, what is due after the window's end may not be held: something in
        // the table could be due before it.
        let last = self.waiting.last().map(|(at, ..)| *at);
        if self.more && last.is_none_or(|last| due.due >= last) {
            return;
        }
        self.waiting.insert((due.due, due.delivery, due.sends));
        if self.waiting.len() > WINDOW {
            self.waiting.pop_last();
            self.more = true;
        }
    }

    pub(super) fn needs_refill(&self) -> bool {
        self.more && self.waiting.is_empty() && self.in_flight < self.limit
    }

    pub(super) fn busy(&self) -> usize {
        self.busy.len()
    }

    /// Takes over what the table holds.
    pub(super) fn fill(&mut self, items: &[QueueItem], is_all: bool) {
        self.waiting = items
            .iter()
            .filter(|item| !self.busy.contains(&item.delivery))
            .map(|item| (item.due, item.delivery, item.sends))
            .collect();
        self.more = !is_all;
        while self.waiting.len() > WINDOW {
            self.waiting.pop_last();
            self.more = true;
        }
    }

    /// Takes the next due delivery, if one may start.
    pub(super) fn take(&mut self, key: Key, now: Timestamp) -> Option<Due> {
        if self.in_flight >= self.limit {
            return None;
        }
        let (due, delivery, sends) = *self.waiting.first().filter(|(due, ..)| *due <= now)?;
        self.waiting.pop_first();
        self.busy.insert(delivery);
        self.in_flight += 1;
        self.reached |= self.in_flight == self.limit;
        Some(Due { workspace: key.workspace, endpoint: key.endpoint, due, delivery, sends })
    }

    /// When to look again; `None` when the end of a send will say so.
    pub(super) fn next_due(&self, now: Timestamp) -> Option<Timestamp> {
        if self.in_flight >= self.limit {
            return None;
        }
        self.waiting.first().map(|(due, ..)| (*due).max(now))
    }

    /// Whether a delivery could start now, its host aside.
    pub(super) fn can_take(&self, now: Timestamp) -> bool {
        self.in_flight < self.limit && self.waiting.first().is_some_and(|(due, ..)| *due <= now)
    }

    /// A send to that host ended.
    pub(super) fn ended(&mut self, host: String, is_trouble: bool) {
        self.in_flight = self.in_flight.saturating_sub(1);
        if is_trouble {
            self.limit = (self.limit / 2).max(1);
            self.successes = 0;
            self.reached = false;
        } else {
            // Only a limit that was reached says anything about what lies above it.
            self.successes += u32::from(self.reached);
            if self.successes >= self.limit {
                self.limit = (self.limit + 1).min(LIMIT_MAX);
                self.successes = 0;
                self.reached = false;
            }
        }
        self.host = host;
    }

    pub(super) fn settled(&mut self, delivery: DeliveryId) {
        self.busy.remove(&delivery);
    }

    /// Whether memory knows of no work here.
    pub(super) fn is_idle(&self) -> bool {
        self.waiting.is_empty() && self.busy.is_empty() && !self.more
    }

    /// Whether nothing is lost by forgetting it: idle, and its limit is where it starts.
    pub(super) fn is_forgettable(&self) -> bool {
        self.is_idle() && self.timer.is_none() && self.limit >= LIMIT_START
    }
}

#[cfg(test)]
mod tests {
    use roundtrip_domain::id::Id;

    use super::*;

    fn key() -> Key {
        let endpoint = domain::Endpoint::Postback { rule: Id::from_bits(1), partner: Id::from_bits(2) };
        Key { workspace: WorkspaceNo::DEFAULT, endpoint }
    }

    fn due(at: i64, n: u128) -> Due {
        let key = key();
        Due {
            workspace: key.workspace,
            endpoint: key.endpoint,
            due: Timestamp::from_ms(at),
            delivery: Id::from_bits(n),
            sends: 0,
        }
    }

    fn item(at: i64, n: u128) -> QueueItem {
        QueueItem { due: Timestamp::from_ms(at), delivery: Id::from_bits(n), sends: 0 }
    }

    #[test]
    fn holds_a_window_and_leaves_the_rest_in_the_table() {
        let mut e = Endpoint::default();
        for n in 0..200 {
            e.push(&due(n, n as u128));
        }
        assert_eq!(e.waiting.len(), WINDOW);
        assert!(e.more);
        assert_eq!(
            e.take(key(), Timestamp::from_ms(1_000)).unwrap().delivery,
            Id::from_bits(0),
            "oldest first"
        );
        e.push(&due(199, 500));
        assert_eq!(e.waiting.len(), WINDOW - 1, "what is due after the window stays in the table");
        e.push(&due(-5, 501));
        assert_eq!(e.take(key(), Timestamp::from_ms(1_000)).unwrap().delivery, Id::from_bits(501));
    }

    #[test]
    fn a_refill_skips_what_is_under_way() {
        let mut e = Endpoint::default();
        e.push(&due(0, 1));
        let taken = e.take(key(), Timestamp::from_ms(0)).unwrap();
        e.fill(&[item(0, 1), item(1, 2)], true);
        assert_eq!(e.take(key(), Timestamp::from_ms(5)).unwrap().delivery, Id::from_bits(2));
        assert_eq!(e.take(key(), Timestamp::from_ms(5)), None);
        e.push(&taken);
        assert_eq!(e.take(key(), Timestamp::from_ms(5)), None, "not sent twice at once");
    }

    #[test]
    fn concurrency_grows_on_success_and_halves_on_trouble() {
        let mut e = Endpoint::default();
        let mut n = 0;
        let mut round = |e: &mut Endpoint, trouble| {
            let mut taken = 0;
            for _ in 0..100 {
                n += 1;
                e.push(&due(0, n));
            }
            while e.take(key(), Timestamp::from_ms(0)).is_some() {
                taken += 1;
            }
            for _ in 0..taken {
                e.ended("h".into(), trouble);
            }
            e.fill(&[], true);
            taken
        };
        assert_eq!(round(&mut e, false), 4);
        for _ in 0..600 {
            round(&mut e, false);
        }
        assert_eq!(round(&mut e, false), LIMIT_MAX);
        round(&mut e, true);
        assert_eq!(round(&mut e, true), 1, "a receiver in trouble is asked one at a time");
    }

    #[test]
    fn looks_again_when_the_next_one_is_due() {
        let mut e = Endpoint::default();
        e.push(&due(50, 1));
        assert_eq!(e.take(key(), Timestamp::from_ms(49)), None);
        assert_eq!(e.next_due(Timestamp::from_ms(49)), Some(Timestamp::from_ms(50)));
        assert!(!e.is_forgettable());
    }
}
