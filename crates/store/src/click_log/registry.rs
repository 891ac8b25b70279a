//! Which slices there are, in memory: a snapshot that readers take whole and that a change replaces.

use std::sync::{Arc, Condvar, Mutex, RwLock};
use std::time::{Duration, Instant};

use roundtrip_domain::click_id::ClickId;
use roundtrip_domain::time::Timestamp;

use super::append::lock;
use super::index::{Extent, Index};
use super::manifest::Listed;
use super::slice::{Name, Part};

/// What a slice is at this moment.
#[derive(Clone)]
pub(super) enum State {
    /// Being written (`active`) or waiting to be closed; looked up by its index.
    Live { index: Arc<RwLock<Index>>, active: bool },
    /// Immutable, with a side file. `recorded` once the manifest has it.
    Closed { listed: Arc<Listed>, recorded: bool },
    /// In the manifest, gone from the disk. Its counts may still be unpublished.
    Missing { listed: Arc<Listed> },
}

#[derive(Clone)]
pub(super) struct Slice {
    pub(super) name: Name,
    pub(super) state: State,
}

impl Slice {
    pub(super) fn extent(&self) -> Extent {
        match &self.state {
            State::Live { index, .. } => read(index).extent,
            State::Closed { listed, .. } | State::Missing { listed } => listed.extent,
        }
    }

    pub(super) fn part(&self) -> Part {
        match self.state {
            State::Live { .. } => Part::Live,
            State::Closed { .. } | State::Missing { .. } => Part::Closed,
        }
    }

    pub(super) fn is_live(&self) -> bool {
        matches!(self.state, State::Live { .. })
    }

    /// Its counts, as long as they are not in the ledger.
    pub(super) fn listed(&self) -> Option<&Arc<Listed>> {
        match &self.state {
            State::Live { .. } => None,
            State::Closed { listed, .. } | State::Missing { listed } => Some(listed),
        }
    }
}

pub(super) type Slices = Arc<Vec<Slice>>;

#[derive(Default)]
pub(super) struct Registry {
    slices: Mutex<Slices>,
    changed: Condvar,
}

impl Registry {
    /// All slices, by the moment they began.
    pub(super) fn all(&self) -> Slices {
        lock(&self.slices).clone()
    }

    pub(super) fn get(&self, seq: u64) -> Option<Slice> {
        self.all().iter().find(|s| s.name.seq == seq).cloned()
    }

    /// Adds a slice or replaces the one with its number. `with` runs first, while no reader can take a snapshot;
    /// if it fails nothing changes.
    pub(super) fn put_with<E>(&self, slice: Slice, with: impl FnOnce() -> Result<(), E>) -> Result<(), E> {
        let mut guard = lock(&self.slices);
        with()?;
        let slices = Arc::make_mut(&mut guard);
        slices.retain(|s| s.name.seq != slice.name.seq);
        let at =
            slices.partition_point(|s| (s.name.began_ms, s.name.seq) < (slice.name.began_ms, slice.name.seq));
        slices.insert(at, slice);
        self.changed.notify_all();
        Ok(())
    }

    pub(super) fn put(&self, slice: Slice) {
        let done: Result<(), std::convert::Infallible> = self.put_with(slice, || Ok(()));
        match done {
            Ok(()) => {}
        }
    }

    pub(super) fn remove(&self, seq: u64) {
        Arc::make_mut(&mut lock(&self.slices)).retain(|s| s.name.seq != seq);
        self.changed.notify_all();
    }

    /// Waits until `done` holds. `false` when it did not within `bound`.
    pub(super) fn wait(&self, bound: Duration, done: impl Fn(&[Slice]) -> bool) -> bool {
        let until = Instant::now() + bound;
        let mut guard = lock(&self.slices);
        loop {
            if done(&guard) {
                return true;
            }
            let Some(left) = until.checked_duration_since(Instant::now()) else { return false };
            match self.changed.wait_timeout(guard, left) {
                Ok((next, _)) => guard = next,
                Err(_) => return false,
            }
        }
    }
}

/// The slices that can hold an id, newest first: those of its node whose span has its millisecond.
pub(super) fn holding(slices: &[Slice], id: ClickId) -> Vec<&Slice> {
    let end = slices.partition_point(|s| s.name.began_ms <= id.ms());
    let mut found = Vec::new();
    for slice in slices[..end].iter().rev().filter(|s| s.name.node == id.node()) {
        let active = matches!(slice.state, State::Live { active: true, .. });
        let extent = slice.extent();
        if !active && extent.clicks == 0 {
            continue;
        }
        if !active && extent.id_last_ms < id.ms() {
            // Ids of one node rise from slice to slice, so the earlier ones end earlier still.
            break;
        }
        if !matches!(slice.state, State::Missing { .. }) {
            found.push(slice);
        }
    }
    found
}

/// The slices with touches received in the span, those with the newest first.
pub(super) fn overlapping(slices: &[Slice], from: Timestamp, to: Timestamp) -> Vec<&Slice> {
    let mut found: Vec<_> = slices
        .iter()
        .filter(|s| !matches!(s.state, State::Missing { .. }))
        .map(|s| (s.extent(), s))
        .filter(|(extent, _)| extent.received_overlaps(from, to))
        .collect();
    found.sort_by_key(|(extent, s)| std::cmp::Reverse((extent.received_last_ms, s.name.seq)));
    found.into_iter().map(|(_, s)| s).collect()
}

/// Reads a lock whose data stays meaningful when a holder panicked.
pub(super) fn read(index: &RwLock<Index>) -> std::sync::RwLockReadGuard<'_, Index> {
    index.read().unwrap_or_else(std::sync::PoisonError::into_inner)
}
