//! Troubles on order, for tests. A log opened with `Faults::default()` has none, and asks once per batch.

use std::collections::HashSet;
use std::sync::{Arc, Condvar, Mutex};
use std::time::Duration;

use super::append::lock;

/// Where the log's threads can be held.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Point {
    /// The writer has clicks in hand and has not minted their ids.
    BeforeMint,
    /// The rows are inserted and the commit has not begun.
    BeforeCommit,
    /// The closer has a slice in hand.
    Closing,
    /// The closer was asked to look at a file.
    Verifying,
    /// The slice's pages are in its file and it has no side file.
    BeforeSideFile,
    /// The side file is there and the slice is not renamed.
    BeforeRename,
    /// The slice is renamed and not in the manifest.
    BeforeManifest,
    /// A segment is written and synced, and has no name yet.
    BeforeSegment,
    /// A segment has its name and no side file.
    BeforeSegmentSide,
    /// A segment is to be moved: it is noted that its object may be there, and it is not put.
    BeforePut,
    /// The object of a segment is put, and nobody has looked whether it is what it should be.
    AfterPut,
    /// New files of sealed clicks are there, the manifest lists the old ones.
    BeforeSwap,
    /// The manifest lists the new files, none of the old ones is deleted.
    BeforeDelete,
    /// The old files are deleted, and still noted as to be deleted.
    BeforeDeleted,
    /// A side file that a start found lost is to be made again.
    SideAgain,
    /// A look-up has opened a segment, and nothing of it is kept for the next one yet.
    Opened,
}

#[derive(Debug, Default)]
struct State {
    held: HashSet<Point>,
    waiting: HashSet<Point>,
    panics: u32,
    panics_at: HashSet<Point>,
    syncs: u32,
    syncs_behind: u32,
    inserts: u32,
    pages_max: Option<u32>,
    unreadable: HashSet<u64>,
    links_refused: bool,
}

/// The hand that orders trouble; clones share it.
#[derive(Debug, Clone, Default)]
pub struct Faults(Option<Arc<(Mutex<State>, Condvar)>>);

impl Faults {
    /// A hand that can order trouble.
    pub fn armed() -> Self {
        Self(Some(Arc::default()))
    }

    fn with<T>(&self, run: impl FnOnce(&mut State) -> T) -> Option<T> {
        let (state, changed) = &**self.0.as_ref()?;
        let out = run(&mut lock(state));
        changed.notify_all();
        Some(out)
    }

    /// Holds whoever comes to the point, until [`Self::release`].
    pub fn hold(&self, point: Point) {
        self.with(|s| s.held.insert(point));
    }

    /// Lets go on.
    pub fn release(&self, point: Point) {
        self.with(|s| s.held.remove(&point));
    }

    /// Waits until a thread is held at the point; `false` after ten seconds.
    pub fn wait_held(&self, point: Point) -> bool {
        let Some(inner) = &self.0 else { return false };
        let (state, changed) = &**inner;
        let until =
            changed.wait_timeout_while(lock(state), Duration::from_secs(10), |s| !s.waiting.contains(&point));
        until.is_ok_and(|(_, timeout)| !timeout.timed_out())
    }

    /// The next `n` batches panic before their commit.
    pub fn panic(&self, n: u32) {
        self.with(|s| s.panics = n);
    }

    /// Whoever comes to the point next panics.
    pub fn panic_at(&self, point: Point) {
        self.with(|s| s.panics_at.insert(point));
    }

    /// The disk cannot read the segment with this number when it is compared with its checksum.
    pub fn unreadable(&self, seq: u64) {
        self.with(|s| s.unreadable.insert(seq));
    }

    /// Whether the file system refuses second names of files, as one does for names on another.
    pub fn refuse_links(&self, refuse: bool) {
        self.with(|s| s.links_refused = refuse);
    }

    /// The sync of the next `n` commits fails.
    pub fn fail_sync(&self, n: u32) {
        self.with(|s| s.syncs = n);
    }

    /// The sync of the next `n` commits fails, and their bytes are in the file all the same.
    pub fn fail_sync_behind(&self, n: u32) {
        self.with(|s| s.syncs_behind = n);
    }

    /// The next `n` rows fail to insert.
    pub fn fail_insert(&self, n: u32) {
        self.with(|s| s.inserts = n);
    }

    /// Database pages that a slice may have: SQLite says "full" beyond. `None` is room again.
    pub fn pages_max(&self, pages: Option<u32>) {
        self.with(|s| s.pages_max = Some(pages.unwrap_or(u32::MAX - 1)));
    }

    pub(super) fn reach(&self, point: Point) {
        let Some(inner) = &self.0 else { return };
        let (state, changed) = &**inner;
        let mut guard = lock(state);
        let is_panic = guard.panics_at.remove(&point);
        if is_panic {
            drop(guard);
            panic!("a test ordered this panic");
        }
        while guard.held.contains(&point) {
            if guard.waiting.insert(point) {
                changed.notify_all();
            }
            let Ok((next, _)) = changed.wait_timeout(guard, Duration::from_secs(1)) else { return };
            guard = next;
        }
        guard.waiting.remove(&point);
    }

    pub(super) fn panic_if_ordered(&self) {
        let ordered = self.with(|s| take(&mut s.panics)).unwrap_or(false);
        assert!(!ordered, "a test ordered this panic");
    }

    pub(super) fn take_sync(&self) -> bool {
        self.with(|s| take(&mut s.syncs)).unwrap_or(false)
    }

    pub(super) fn take_sync_behind(&self) -> bool {
        self.with(|s| take(&mut s.syncs_behind)).unwrap_or(false)
    }

    pub(super) fn take_insert(&self) -> bool {
        self.0.is_some() && self.with(|s| take(&mut s.inserts)).unwrap_or(false)
    }

    pub(super) fn is_unreadable(&self, seq: u64) -> bool {
        self.with(|s| s.unreadable.contains(&seq)).unwrap_or(false)
    }

    pub(super) fn are_links_refused(&self) -> bool {
        self.with(|s| s.links_refused).unwrap_or(false)
    }

    pub(super) fn pages(&self) -> Option<u32> {
        self.with(|s| s.pages_max).flatten()
    }
}

fn take(n: &mut u32) -> bool {
    let any = *n > 0;
    *n = n.saturating_sub(1);
    any
}
