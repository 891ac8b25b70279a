//! What commits hand to the loops of the same process, so that nobody polls: a signal that there are events
//! to decide, the deliveries that became due, and endpoints that were stopped or
//! let go on.
//!
//! Correctness never leans on it: the loops also look at the tables from time to time, and count what they
//! find there that was not handed over.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};

use tokio::sync::Notify;

use super::{Due, EndpointRow, Ledger};

/// Most deliveries that are handed over in memory; more are found in the queue's table.
const DUE_MAX: usize = 100_000;

/// Most tests that are handed over in memory.
const TESTS_MAX: usize = 1_000;

#[derive(Debug, Default)]
pub(super) struct Handoff {
    due: Mutex<Vec<Due>>,
    /// Tests, which are sent to stopped endpoints too.
    tests: Mutex<Vec<Due>>,
    overflowed: AtomicBool,
    due_signal: Notify,
    undecided_signal: Notify,
    jobs_signal: Notify,
    /// Endpoints whose state changed.
    endpoints: Mutex<Vec<EndpointRow>>,
}

impl Handoff {
    pub(super) fn due(&self, items: &[Due]) {
        if items.is_empty() {
            return;
        }
        let mut due = self.due.lock().unwrap_or_else(PoisonError::into_inner);
        let room = DUE_MAX.saturating_sub(due.len());
        due.extend(items.iter().take(room));
        if items.len() > room {
            self.overflowed.store(true, Ordering::SeqCst);
        }
        drop(due);
        self.due_signal.notify_one();
    }

    pub(super) fn test(&self, item: Due) {
        let mut tests = self.tests.lock().unwrap_or_else(PoisonError::into_inner);
        // Beyond this somebody makes tests in a loop; the table has them all.
        if tests.len() < TESTS_MAX {
            tests.push(item);
        }
        drop(tests);
        self.due_signal.notify_one();
    }

    pub(super) fn endpoint(&self, row: EndpointRow) {
        self.endpoints.lock().unwrap_or_else(PoisonError::into_inner).push(row);
        self.due_signal.notify_one();
    }

    pub(super) fn undecided(&self) {
        self.undecided_signal.notify_one();
    }

    pub(super) fn jobs(&self) {
        self.jobs_signal.notify_one();
    }
}

impl Ledger {
    /// Resolves when events may wait for a decision.
    pub async fn undecided_signal(&self) {
        self.inner.handoff.undecided_signal.notified().await;
    }

    /// Resolves when a job was made or changed.
    pub async fn jobs_signal(&self) {
        self.inner.handoff.jobs_signal.notified().await;
    }

    /// Takes the endpoints whose state changed since the last call, in the order in which they changed.
    pub fn endpoint_changes(&self) -> Vec<EndpointRow> {
        std::mem::take(&mut *self.inner.handoff.endpoints.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Resolves when [`Self::due_take`] or [`Self::endpoint_changes`] may have something.
    pub async fn due_signal(&self) {
        self.inner.handoff.due_signal.notified().await;
    }

    /// Whether deliveries were planned since the last call that could not be handed over in memory: then the
    /// queue's table has to be read, for busy endpoints too.
    pub fn due_overflowed(&self) -> bool {
        self.inner.handoff.overflowed.swap(false, Ordering::SeqCst)
    }

    /// Takes the tests that were planned since the last call.
    pub fn test_take(&self) -> Vec<Due> {
        std::mem::take(&mut *self.inner.handoff.tests.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Takes the deliveries that commits planned since the last call.
    pub fn due_take(&self) -> Vec<Due> {
        std::mem::take(&mut *self.inner.handoff.due.lock().unwrap_or_else(PoisonError::into_inner))
    }
}
