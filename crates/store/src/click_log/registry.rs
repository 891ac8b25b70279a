//! Which slices and segments there are, in memory: a snapshot that readers take whole and that a change replaces.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Condvar, Mutex, RwLock};
use std::time::{Duration, Instant};

use roundtrip_domain::click_id::ClickId;
use roundtrip_domain::time::Timestamp;

use super::append::lock;
use super::index::{Extent, Index};
use super::manifest::Listed;
use super::segment::{Sealed, Side};
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

/// A file of sealed clicks.
#[derive(Clone)]
pub(super) struct Segment {
    pub(super) sealed: Arc<Sealed>,
    /// Number of the side file that has its prints.
    pub(super) side: u64,
    /// In the manifest, gone from the disk or bucket.
    pub(super) is_missing: bool,
    /// Where it lies, if that is a bucket.
    pub(super) moved: Option<Arc<Moved>>,
}

/// Where a segment lies that is not in the log's directory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Moved {
    /// The bucket's name.
    pub(super) bucket: String,
    /// Numbers of the files whose clicks are in it: nobody asks a bucket for that at the start.
    pub(super) replaces: Vec<u64>,
}

impl Segment {
    pub(super) fn seq(&self) -> u64 {
        self.sealed.name.seq
    }

    pub(super) fn extent(&self) -> Extent {
        self.sealed.extent
    }

    /// Where it lies: in the log's directory, or in its bucket.
    pub(super) fn path(&self, dir: &Path) -> PathBuf {
        let key = self.sealed.name.key();
        match &self.moved {
            None => dir.join(key),
            Some(moved) => Path::new(&moved.bucket).join(key),
        }
    }

    /// Its file in the log's directory, if it is there.
    pub(super) fn local(&self) -> Option<String> {
        self.moved.is_none().then(|| self.sealed.name.key())
    }
}

/// What there is at one moment. No click is in two of its files.
#[derive(Clone, Default)]
pub(super) struct View {
    /// By the moment they began.
    pub(super) slices: Vec<Slice>,
    /// By the moment of their first id.
    pub(super) segments: Vec<Segment>,
    /// Side files of segments, by number. One may name segments that are gone.
    pub(super) sides: Vec<Arc<Side>>,
}

impl View {
    pub(super) fn slice(&self, seq: u64) -> Option<&Slice> {
        self.slices.iter().find(|s| s.name.seq == seq)
    }

    pub(super) fn segment(&self, seq: u64) -> Option<&Segment> {
        self.segments.iter().find(|s| s.seq() == seq)
    }

    pub(super) fn side(&self, seq: u64) -> Option<&Arc<Side>> {
        self.sides.binary_search_by_key(&seq, |side| side.name.seq).ok().map(|at| &self.sides[at])
    }

    /// Adds a slice or replaces the one with its number.
    pub(super) fn put(&mut self, slice: Slice) {
        self.slices.retain(|s| s.name.seq != slice.name.seq);
        let key = |s: &Slice| (s.name.began_ms, s.name.seq);
        let at = self.slices.partition_point(|s| key(s) < key(&slice));
        self.slices.insert(at, slice);
    }

    /// Adds a segment or replaces the one with its number.
    pub(super) fn put_segment(&mut self, segment: Segment) {
        self.segments.retain(|s| s.seq() != segment.seq());
        let key = |s: &Segment| (s.extent().id_first_ms, s.seq());
        let at = self.segments.partition_point(|s| key(s) < key(&segment));
        self.segments.insert(at, segment);
    }

    pub(super) fn put_side(&mut self, side: Arc<Side>) {
        self.sides.retain(|s| s.name.seq != side.name.seq);
        let at = self.sides.partition_point(|s| s.name.seq < side.name.seq);
        self.sides.insert(at, side);
    }

    /// The segments that can hold an id, newest first.
    pub(super) fn segments_holding(&self, id: ClickId) -> Vec<&Segment> {
        let end = self.segments.partition_point(|s| s.extent().id_first_ms <= id.ms());
        let holds = |s: &&Segment| {
            !s.is_missing && s.sealed.name.node == id.node() && s.extent().id_last_ms >= id.ms()
        };
        self.segments[..end].iter().rev().filter(holds).collect()
    }

    /// Side files that have prints of touches received in the span, each with the newest moment that one may be of, those
    /// with the newest first. Of what they name, only segments that are in this view count.
    ///
    /// # Errors
    /// A segment whose side file is still to be made again: nobody can say what is in it.
    pub(super) fn sides_overlapping(
        &self,
        from: Timestamp,
        to: Timestamp,
    ) -> Result<Vec<(i64, &Arc<Side>)>, &Segment> {
        let mut newest: Vec<(u64, i64, &Segment)> = Vec::new();
        for segment in
            self.segments.iter().filter(|s| !s.is_missing && s.extent().received_overlaps(from, to))
        {
            let last = segment.extent().received_last_ms;
            match newest.iter_mut().rev().find(|(side, ..)| *side == segment.side) {
                Some((_, newest, _)) => *newest = last.max(*newest),
                None => newest.push((segment.side, last, segment)),
            }
        }
        newest.sort_unstable_by_key(|(side, last, _)| std::cmp::Reverse((*last, *side)));
        let there = |(side, last, segment)| self.side(side).map(|side| (last, side)).ok_or(segment);
        newest.into_iter().map(there).collect()
    }
}

pub(super) type Slices = Arc<View>;

#[derive(Default)]
pub(super) struct Registry {
    view: Mutex<Slices>,
    changed: Condvar,
}

impl Registry {
    /// What there is now.
    pub(super) fn all(&self) -> Slices {
        lock(&self.view).clone()
    }

    pub(super) fn get(&self, seq: u64) -> Option<Slice> {
        self.all().slice(seq).cloned()
    }

    /// Changes what there is: who takes a snapshot sees it as it was before or as it is behind all of `with`. If `with`
    /// fails, nothing of what it did to the view counts.
    pub(super) fn change<T, E>(&self, with: impl FnOnce(&mut View) -> Result<T, E>) -> Result<T, E> {
        let mut guard = lock(&self.view);
        let mut view = View::clone(&guard);
        let out = with(&mut view)?;
        *guard = Arc::new(view);
        self.changed.notify_all();
        Ok(out)
    }

    /// Adds a slice or replaces the one with its number. `with` runs first, while no reader can take a snapshot;
    /// if it fails nothing changes.
    pub(super) fn put_with<E>(&self, slice: Slice, with: impl FnOnce() -> Result<(), E>) -> Result<(), E> {
        self.change(|view| {
            with()?;
            view.put(slice);
            Ok(())
        })
    }

    pub(super) fn put(&self, slice: Slice) {
        self.with(|view| view.put(slice));
    }

    pub(super) fn remove(&self, seq: u64) {
        self.with(|view| view.slices.retain(|s| s.name.seq != seq));
    }

    /// A change that cannot fail.
    pub(super) fn with(&self, change: impl FnOnce(&mut View)) {
        let done: Result<(), std::convert::Infallible> = self.change(|view| {
            change(view);
            Ok(())
        });
        match done {
            Ok(()) => {}
        }
    }

    /// Waits until `done` holds. `false` when it did not within `bound`.
    pub(super) fn wait(&self, bound: Duration, done: impl Fn(&[Slice]) -> bool) -> bool {
        let until = Instant::now() + bound;
        let mut guard = lock(&self.view);
        loop {
            if done(&guard.slices) {
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
