//! A lane of an endpoint: the next few deliveries that were never sent, or that were. The rest stays in the table.

use std::collections::BTreeSet;

use roundtrip_domain::time::Timestamp;
use roundtrip_store::ledger::{Due, QueueItem};

use super::DeliveryId;

/// A delivery in memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Item {
    /// When it may be sent; its due time, unless the clock was set back since that was decided.
    pub(super) ready: Timestamp,
    pub(super) delivery: DeliveryId,
    /// The row's due time, which is part of its key.
    pub(super) due: Timestamp,
    pub(super) sends: u32,
}

impl Item {
    /// A row of the table, at `now`.
    fn of_row(row: &QueueItem, now: Timestamp) -> Self {
        // What was decided in the future was decided before the clock was set back: it waits as long as it was to wait
        // then, and not until that future comes.
        let ready = match row.decided_at > now {
            true => now.plus_ms(row.due.since(row.decided_at)),
            false => row.due,
        };
        Self { ready, delivery: row.delivery, due: row.due, sends: row.sends }
    }
}

/// A lane.
#[derive(Debug)]
pub(super) struct Lane {
    waiting: BTreeSet<Item>,
    /// Whether the table may hold more than `waiting`.
    more: bool,
    cap: usize,
}

impl Lane {
    /// An empty lane of at most so many.
    pub(super) const fn new(cap: usize) -> Self {
        Self { waiting: BTreeSet::new(), more: false, cap }
    }

    /// Learns of a waiting delivery. When the lane is full the one that is due last goes back to the table.
    pub(super) fn push(&mut self, due: &Due) {
        // Read from the table before it was handed over, it may be here already, and ready at another time: it stands
        // here once, or it would be sent twice at a time. Where its row stands elsewhere by now, somebody moved it.
        if let Some(known) = self.waiting.iter().find(|item| item.delivery == due.delivery).copied() {
            if (known.due, known.sends) == (due.due, due.sends) {
                return;
            }
            self.waiting.remove(&known);
        }
        // With an unread rest in the table, what is due after the lane's end may not be held: something in the
        // table could be due before it.
        if self.more && self.waiting.last().is_none_or(|last| due.due >= last.ready) {
            return;
        }
        let item = Item { ready: due.due, delivery: due.delivery, due: due.due, sends: due.sends };
        self.waiting.insert(item);
        self.trim();
    }

    /// Takes over what the table holds, as far as `is_wanted`.
    pub(super) fn fill(
        &mut self,
        rows: &[QueueItem],
        is_all: bool,
        now: Timestamp,
        is_wanted: impl Fn(DeliveryId) -> bool,
    ) {
        self.waiting =
            rows.iter().filter(|row| is_wanted(row.delivery)).map(|row| Item::of_row(row, now)).collect();
        self.more = !is_all;
        self.trim();
    }

    /// Forgets what it holds; it stays in the table.
    pub(super) fn forget(&mut self) {
        self.waiting.clear();
        self.more = true;
    }

    /// Has the table read when this runs out.
    pub(super) const fn suspect(&mut self) {
        self.more = true;
    }

    pub(super) fn needs_refill(&self) -> bool {
        self.more && self.waiting.is_empty()
    }

    /// Whether memory knows of no work here.
    pub(super) fn is_empty(&self) -> bool {
        self.waiting.is_empty() && !self.more
    }

    /// Whether the table may hold more.
    pub(super) const fn has_more(&self) -> bool {
        self.more
    }

    /// Whether the table, whose first is due then, has something that memory would have to hold.
    pub(super) fn lacks(&self, table: Timestamp) -> bool {
        match self.waiting.iter().map(|item| item.due).min() {
            Some(known) => table < known,
            // An empty lane with an unread rest is read before anything starts.
            None => !self.more,
        }
    }

    pub(super) fn len(&self) -> usize {
        self.waiting.len()
    }

    pub(super) fn cap(&self) -> usize {
        self.cap
    }

    /// The next one, due or not.
    pub(super) fn first(&self) -> Option<&Item> {
        self.waiting.first()
    }

    /// The next one that is due.
    pub(super) fn due(&self, now: Timestamp) -> Option<&Item> {
        self.first().filter(|item| item.ready <= now)
    }

    /// Of those that are due, the one that was planned first.
    pub(super) fn oldest(&self, now: Timestamp) -> Option<Item> {
        self.waiting.iter().take_while(|item| item.ready <= now).min_by_key(|item| item.delivery).copied()
    }

    /// Takes one out.
    pub(super) fn remove(&mut self, item: &Item) {
        self.waiting.remove(item);
    }

    fn trim(&mut self) {
        while self.waiting.len() > self.cap {
            self.waiting.pop_last();
            self.more = true;
        }
    }
}
