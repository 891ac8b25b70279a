//! The latest ends of sends, for those who follow them live.
//!
//! A ring in memory: which delivery, which send. It is bounded; who reads too slowly is told how many went by. The
//! facts themselves are read from the rows when somebody asks, so following costs a send nothing but its place here.
//! A place is good for one run of the process only, and says of which.
//!
//! Not relied on: nothing that must not be lost. The list of deliveries has everything.

use std::collections::VecDeque;
use std::sync::{Mutex, PoisonError};

use roundtrip_domain::id::{Id, WorkspaceNo, kind};
use roundtrip_domain::time::Timestamp;
use rusqlite::OptionalExtension;
use tokio::sync::watch;

use super::statements::sql;
use super::{AttemptRow, DeliveryListed, Ledger, Settled, Settlement, listed};
use crate::Error;

/// Ends of sends that are remembered.
pub const TAIL_MAX: usize = 4_096;

/// Where somebody who follows is: in which run of the process, and how many ends of sends they know of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TailPlace {
    /// The run of the process.
    pub run: u32,
    /// Ends of sends before this place.
    pub n: u64,
}

/// The end of a send.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TailItem {
    /// The place behind it.
    pub n: u64,
    /// The delivery.
    pub delivery: Id<kind::Delivery>,
    /// Which send it was.
    pub attempt: u32,
}

/// What happened since a place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tailed {
    /// In their order.
    pub items: Vec<TailItem>,
    /// How many went by unseen: they are no longer remembered, or happened in an earlier run of the process, where
    /// nobody counted them (then it is `None`).
    pub missed: Option<u64>,
    /// Where to go on.
    pub next: TailPlace,
}

#[derive(Debug)]
pub(super) struct Tail {
    run: u32,
    ring: Mutex<Ring>,
    changed: watch::Sender<u64>,
}

#[derive(Debug, Default)]
struct Ring {
    /// Ends of sends in this run.
    n: u64,
    items: VecDeque<(WorkspaceNo, TailItem)>,
}

impl Tail {
    pub(super) fn new(run: u32) -> Self {
        Self { run, ring: Mutex::default(), changed: watch::Sender::new(0) }
    }

    /// Remembers the ends of sends that are durable.
    pub(super) fn push(&self, settled: impl Iterator<Item = (WorkspaceNo, Id<kind::Delivery>, u32)>) {
        let mut ring = self.ring.lock().unwrap_or_else(PoisonError::into_inner);
        for (workspace, delivery, attempt) in settled {
            ring.n += 1;
            if ring.items.len() == TAIL_MAX {
                ring.items.pop_front();
            }
            let n = ring.n;
            ring.items.push_back((workspace, TailItem { n, delivery, attempt }));
        }
        let n = ring.n;
        drop(ring);
        self.changed.send_replace(n);
    }

    fn since(&self, ws: WorkspaceNo, after: TailPlace, limit: usize) -> Tailed {
        let ring = self.ring.lock().unwrap_or_else(PoisonError::into_inner);
        let is_same_run = after.run == self.run && after.n <= ring.n;
        let after = if is_same_run { after.n } else { 0 };
        let first = ring.items.front().map_or(ring.n, |(_, item)| item.n - 1);
        let missed = is_same_run.then(|| first.saturating_sub(after));
        let behind = ring.items.partition_point(|(_, item)| item.n <= after);
        let (mut items, mut next) = (Vec::new(), ring.n);
        for (workspace, item) in ring.items.range(behind..) {
            if items.len() == limit {
                break;
            }
            next = item.n;
            if *workspace == ws {
                items.push(*item);
            }
        }
        Tailed { items, missed, next: TailPlace { run: self.run, n: next } }
    }
}

/// The sends in a batch of settlements.
pub(super) fn sends(batch: &[Settlement]) -> Vec<(WorkspaceNo, Id<kind::Delivery>, u32)> {
    batch
        .iter()
        .filter(|settlement| settlement.next != Settled::Ended)
        .filter_map(|s| Some((s.item.workspace, s.item.delivery, s.attempt.as_ref()?.n)))
        .collect()
}

impl Ledger {
    /// Where somebody stands who begins to follow now.
    pub fn tail_place(&self) -> TailPlace {
        let tail = &self.inner.tail;
        TailPlace { run: tail.run, n: *tail.changed.borrow() }
    }

    /// Ends of sends of a workspace since a place, at most `limit`.
    pub fn tail_since(&self, ws: WorkspaceNo, after: TailPlace, limit: usize) -> Tailed {
        self.inner.tail.since(ws, after, limit)
    }

    /// Resolves when a send ended after a place, in any workspace.
    pub async fn tail_changed(&self, after: TailPlace) {
        let tail = &self.inner.tail;
        if after.run != tail.run {
            return;
        }
        let mut changed = tail.changed.subscribe();
        // The other end lives as long as the ledger.
        let _ = changed.wait_for(|n| *n > after.n).await;
    }

    /// The deliveries of ends of sends, and the sends themselves; what is no longer kept is left out.
    pub async fn tail_read(
        &self,
        ws: WorkspaceNo,
        items: Vec<TailItem>,
    ) -> Result<Vec<(DeliveryListed, AttemptRow)>, Error> {
        self.read(move |conn| {
            let mut read = Vec::with_capacity(items.len());
            for item in items {
                let attempt = conn
                    .prepare_cached(sql("attempt_get"))?
                    .query_row((ws.0, item.delivery.bytes().as_slice(), item.attempt), |row| {
                        Ok(AttemptRow {
                            n: item.attempt,
                            at: Timestamp::from_ms(row.get(0)?),
                            outcome: row.get(1)?,
                            status: row.get(2)?,
                            total_us: row.get(3)?,
                            next: row.get(4)?,
                            body: row.get(5)?,
                        })
                    })
                    .optional()?;
                if let (Some(attempt), Some(listed)) = (attempt, listed::listed(conn, ws, item.delivery)?) {
                    read.push((listed, attempt));
                }
            }
            Ok(read)
        })
        .await
        .map(|mut read: Vec<(DeliveryListed, AttemptRow)>| {
            self.see(ws, read.iter_mut().map(|(listed, _)| listed));
            read
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const WS: WorkspaceNo = WorkspaceNo(1);

    fn push(tail: &Tail, ws: u32, ids: std::ops::Range<u64>) {
        tail.push(ids.map(|n| (WorkspaceNo(ws), Id::from_bits(u128::from(n)), 1)));
    }

    #[test]
    fn who_reads_too_slowly_is_told_how_many_went_by() {
        let tail = Tail::new(7);
        let begin = TailPlace { run: 7, n: 0 };
        assert_eq!(tail.since(WS, begin, 10), Tailed { items: vec![], missed: Some(0), next: begin });
        push(&tail, 1, 0..3);
        push(&tail, 2, 3..4);
        let seen = tail.since(WS, begin, 2);
        assert_eq!((seen.items.len(), seen.missed, seen.next.n), (2, Some(0), 2));
        let seen = tail.since(WS, seen.next, 10);
        assert_eq!(
            (seen.items.len(), seen.missed, seen.next.n),
            (1, Some(0), 4),
            "another workspace's is not shown"
        );
        push(&tail, 1, 0..TAIL_MAX as u64 + 5);
        let slow = tail.since(WS, seen.next, 1);
        assert_eq!((slow.missed, slow.items[0].n), (Some(5), 10));
        assert_eq!(*tail.changed.borrow(), TAIL_MAX as u64 + 9);
    }

    #[test]
    fn a_place_of_another_run_begins_anew_and_says_so() {
        let tail = Tail::new(7);
        push(&tail, 1, 0..3);
        for place in [TailPlace { run: 6, n: 1 }, TailPlace { run: 7, n: 99 }] {
            let seen = tail.since(WS, place, 10);
            assert_eq!((seen.items.len(), seen.missed, seen.next), (3, None, TailPlace { run: 7, n: 3 }));
        }
    }
}
