//! How much one workspace may send: a day, and at a time. Off unless the operator sets it.
//!
//! What was sent today is counted in memory; a start goes on from the sends whose ends are stored. What a crash left
//! without an end is not among them: a quota keeps one tenant from using up a shared machine, it is no bill.

use std::collections::BTreeMap;

use roundtrip_domain::id::WorkspaceNo;
use roundtrip_domain::time::Timestamp;

use crate::{Bounds, Config};

const DAY_MS: i64 = 86_400_000;

/// The quotas, and what of them is used.
#[derive(Debug)]
pub(super) struct Quotas {
    bounds: Bounds,
    /// The day, UTC.
    day: Timestamp,
    sent: BTreeMap<WorkspaceNo, u64>,
}

impl Quotas {
    pub(super) const fn new(bounds: Bounds) -> Self {
        Self { bounds, day: Timestamp::from_ms(0), sent: BTreeMap::new() }
    }

    /// Goes on from what the ledger knows of today; from nothing when it cannot say.
    pub(super) async fn load(config: &Config) -> Self {
        let this = Self::new(config.bounds);
        if config.bounds.workspace_per_day.is_none() {
            return this;
        }
        let now = config.clock.now();
        match config.ledger.sends_of_day(now).await {
            Ok(sent) => Self { day: now.floor_to(DAY_MS), sent, ..this },
            Err(error) => {
                tracing::warn!(error = %error, "what was sent today cannot be read; quotas begin at zero");
                this
            }
        }
    }

    /// Whether a workspace with so many sends under way may have no more.
    pub(super) fn is_full(&self, in_flight: usize) -> bool {
        self.bounds.workspace_in_flight.is_some_and(|most| in_flight >= most as usize)
    }

    /// Until when nothing more is sent, if the workspace has sent what it may today.
    pub(super) fn spent_until(&self, workspace: WorkspaceNo, now: Timestamp) -> Option<Timestamp> {
        let most = self.bounds.workspace_per_day?;
        let is_today = self.day == now.floor_to(DAY_MS);
        let sent = self.sent.get(&workspace).copied().filter(|_| is_today).unwrap_or(0);
        (sent >= most).then(|| now.floor_to(DAY_MS).plus_ms(DAY_MS))
    }

    /// A send begins.
    pub(super) fn count(&mut self, workspace: WorkspaceNo, now: Timestamp) {
        if self.bounds.workspace_per_day.is_none() {
            return;
        }
        let today = now.floor_to(DAY_MS);
        if self.day != today {
            self.day = today;
            self.sent.clear();
        }
        *self.sent.entry(workspace).or_default() += 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_day_has_so_many_and_another_workspace_its_own() {
        let mut quotas = Quotas::new(Bounds { workspace_per_day: Some(2), ..Bounds::default() });
        let (one, two) = (WorkspaceNo(1), WorkspaceNo(2));
        let noon = Timestamp::from_ms(DAY_MS * 3 / 2);
        quotas.count(one, noon);
        assert_eq!(quotas.spent_until(one, noon), None);
        quotas.count(one, noon);
        let midnight = Timestamp::from_ms(2 * DAY_MS);
        assert_eq!(quotas.spent_until(one, noon), Some(midnight));
        assert_eq!(quotas.spent_until(two, noon), None);
        assert_eq!(quotas.spent_until(one, midnight), None, "a new day");
        assert!(!quotas.is_full(usize::MAX));
    }

    #[test]
    fn off_by_default() {
        let mut quotas = Quotas::new(Bounds::default());
        (0..10).for_each(|_| quotas.count(WorkspaceNo(1), Timestamp::from_ms(1)));
        assert!(quotas.sent.is_empty());
        let bounded = Quotas::new(Bounds { workspace_in_flight: Some(3), ..Bounds::default() });
        assert_eq!((bounded.is_full(2), bounded.is_full(3)), (false, true));
    }
}
