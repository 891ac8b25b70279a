//! What the log counts.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use super::Durability;
use super::append::Why;

/// Counts since the log was opened, and what it holds now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stats {
    /// Clicks that were committed.
    pub appended: u64,
    /// Of these, clicks whose caller had already left with [`Why::Timeout`].
    pub appended_late: u64,
    /// Answers that said "unstored", by reason, in the order of [`Why::ALL`].
    pub unstored: [(Why, u64); Why::ALL.len()],
    /// Commits that succeeded; `appended / commits` is the size of a group.
    pub commits: u64,
    /// Rows of the largest commit.
    pub rows_per_commit_max: u64,
    /// Clicks that wait for the writer now.
    pub queue_depth: usize,
    /// Times the writer panicked and went on.
    pub panics: u64,
    /// Whether appends are taken at all.
    pub open: bool,
    /// Slices that are written now: 0 or 1.
    pub slices_active: usize,
    /// Slices that are being closed.
    pub slices_closing: usize,
    /// Closed slices.
    pub slices_closed: usize,
    /// Slices that the manifest lists and the disk does not have.
    pub slices_missing: usize,
    /// Closed slices whose counts are in the ledger and whose clicks are not in a segment yet.
    pub slices_unsealed: usize,
    /// Segments that are there, in buckets too.
    pub segments: usize,
    /// Of these, segments that lie in a bucket.
    pub segments_moved: usize,
    /// Bytes of the segments that lie in a bucket.
    pub bytes_moved: u64,
    /// Requests to buckets that failed since the log was opened, tries of the same one counted once.
    pub bucket_failures: u64,
    /// Why the last step of moving or deleting in a bucket failed; `None` when it did not.
    pub bucket_error: Option<String>,
    /// Segments that the manifest lists and the disk or bucket does not have.
    pub segments_missing: usize,
    /// Clicks in the segments that are there.
    pub segments_clicks: u64,
    /// Bytes of the segments in the log's directory.
    pub bytes_segments: u64,
    /// Bytes of their side files.
    pub bytes_sides: u64,
    /// Side files that were lost and are not made again yet: look-ups by print over their clicks fail meanwhile.
    pub sides_lost: usize,
    /// Why the last step of sealing failed; `None` when it did not.
    pub seal_error: Option<String>,
    /// Files that were set aside since the log was opened, by the opening too.
    pub damaged: usize,
    /// Bytes of the closed slices.
    pub bytes_closed: u64,
    /// Bytes of the active slice on the disk, its write-ahead log included, as of its last commit.
    pub bytes_active: u64,
    /// Whether a stored click survives power loss.
    pub durability: Durability,
}

impl Stats {
    /// Answers that said "unstored", for any reason.
    pub fn unstored_total(&self) -> u64 {
        self.unstored.iter().map(|(_, n)| n).sum()
    }

    /// Answers that said "unstored" for this reason.
    pub fn unstored_for(&self, why: Why) -> u64 {
        self.unstored.iter().find(|(w, _)| *w == why).map_or(0, |(_, n)| *n)
    }
}

#[derive(Default)]
pub(super) struct Counters {
    pub(super) appended: AtomicU64,
    pub(super) appended_late: AtomicU64,
    unstored: [AtomicU64; Why::ALL.len()],
    pub(super) commits: AtomicU64,
    pub(super) rows_per_commit_max: AtomicU64,
    pub(super) panics: AtomicU64,
    pub(super) bytes_active: AtomicU64,
}

impl Counters {
    pub(super) fn unstored(&self, why: Why) {
        if let Some((_, counter)) = Why::ALL.iter().zip(&self.unstored).find(|(w, _)| **w == why) {
            counter.fetch_add(1, Relaxed);
        }
    }

    pub(super) fn unstored_all(&self) -> [(Why, u64); Why::ALL.len()] {
        let mut out = Why::ALL.map(|why| (why, 0));
        for (slot, counter) in out.iter_mut().zip(&self.unstored) {
            slot.1 = counter.load(Relaxed);
        }
        out
    }
}
