//! Moving the pages of a finished slice from its write-ahead log into its database file, at a pace.
//!
//! SQLite's own checkpoint writes all of them and syncs once: 64 MB in one burst, and every commit of the next slice
//! stands in the disk's queue behind it. Here a few pages at a time are written, synced, and followed by a pause in
//! which the disk belongs to the commits.
//!
//! It is a checkpoint in all but the end: pages go where they belong, in order, and the log stays as it is and is
//! what readers and a start after a crash go by, until the slice is renamed and the log deleted. Torn, half done or
//! done twice, it changes nothing that anybody reads. A frame counts here if SQLite's recovery would take it.

use std::collections::BTreeMap;
use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::time::{Duration, Instant};

use super::append::Queue;
use super::damage;

/// Bytes between two syncs. A sync of so few takes about as long as a commit's.
const STEP: usize = 256 << 10;
/// A pause is this many times what the step before it took: the closer has a third of the disk at most.
const PAUSE_FACTOR: u32 = 2;
/// The longest pause, whatever a step took: a disk that stalls is no reason to wait longer still.
const PAUSE_MAX: Duration = Duration::from_millis(50);

/// How fast the closer may write.
#[derive(Clone, Copy)]
pub(super) struct Pace<'a> {
    /// While clicks are taken, their commits want the same disk.
    beside: Option<&'a Queue>,
}

impl<'a> Pace<'a> {
    /// Without pauses: nobody else writes, or slices pile up.
    pub(super) const HURRIED: Self = Self { beside: None };

    /// With pauses, as long as the queue takes clicks.
    pub(super) const fn calm(beside: &'a Queue) -> Self {
        Self { beside: Some(beside) }
    }

    /// Leaves the processor to others for a while, behind work that began at `began`.
    pub(super) fn rest(self, began: Instant) {
        if self.beside.is_some_and(Queue::is_open) {
            std::thread::sleep((began.elapsed() * PAUSE_FACTOR).min(PAUSE_MAX));
        }
    }

    /// Syncs what was written of `file`, and leaves the disk to others for a while.
    fn step(self, file: &File) -> io::Result<()> {
        if !self.beside.is_some_and(Queue::is_open) {
            return Ok(());
        }
        let began = Instant::now();
        file.sync_data()?;
        std::thread::sleep((began.elapsed() * PAUSE_FACTOR).min(PAUSE_MAX));
        Ok(())
    }
}

/// Writes a file at a pace. What was not synced when it is done is the caller's to sync.
pub(super) struct Paced<'a> {
    pub(super) file: File,
    pace: Pace<'a>,
    unsynced: usize,
}

impl<'a> Paced<'a> {
    pub(super) const fn new(file: File, pace: Pace<'a>) -> Self {
        Self { file, pace, unsynced: 0 }
    }

    fn wrote(&mut self, n: usize) -> io::Result<()> {
        self.unsynced += n;
        if self.unsynced >= STEP {
            self.unsynced = 0;
            self.pace.step(&self.file)?;
        }
        Ok(())
    }
}

impl Write for Paced<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let n = self.file.write(bytes)?;
        self.wrote(n)?;
        Ok(n)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

/// Writes every committed page of the log into the database file, and syncs it. A log without a commit changes
/// nothing. Returns how many bytes of the log are commits, about.
pub(super) fn pour(db: &Path, wal: &Path, pace: Pace<'_>) -> io::Result<u64> {
    let places = damage::pages(wal)?;
    let file = OpenOptions::new().write(true).open(db)?;
    if places.pages.is_empty() {
        return file.sync_all().map(|()| 0);
    }
    let used = places.pages.values().max().map_or(0, |last| last + places.page_bytes as u64);
    let log = File::open(wal)?;
    let mut out = Paced::new(file, pace);
    let mut run = Run { at: 0, bytes: Vec::with_capacity(STEP) };
    for (page, from) in places.pages.range(..=places.pages_total) {
        let to = u64::from(page - 1) * places.page_bytes as u64;
        if run.bytes.len() >= STEP || to != run.at + run.bytes.len() as u64 {
            run.write(&mut out)?;
            run.at = to;
        }
        let len = run.bytes.len();
        run.bytes.resize(len + places.page_bytes, 0);
        log.read_exact_at(&mut run.bytes[len..], *from)?;
    }
    run.write(&mut out)?;
    out.file.set_len(u64::from(places.pages_total) * places.page_bytes as u64)?;
    out.file.sync_all().map(|()| used)
}

/// Pages that lie behind each other in the database file.
struct Run {
    at: u64,
    bytes: Vec<u8>,
}

impl Run {
    fn write(&mut self, out: &mut Paced<'_>) -> io::Result<()> {
        out.file.write_all_at(&self.bytes, self.at)?;
        out.wrote(self.bytes.len())?;
        self.bytes.clear();
        Ok(())
    }
}

/// Where the log holds the last committed form of each page.
#[derive(Default)]
pub(super) struct Places {
    /// Page number to offset in the log.
    pub(super) pages: BTreeMap<u32, u64>,
    /// Pages of the database after the last commit.
    pub(super) pages_total: u32,
    /// Bytes of a page.
    pub(super) page_bytes: usize,
}
