//! The log's files, held as they are while a copy of all of them is made.
//!
//! Closing, publishing, sealing, expiring and replacing of slices wait meanwhile; taking and finding clicks does not.
//! Closed slices and segments never change, so the copy gets them as hard links, which take no room and outlive their
//! expiry. Where there can be no links, because the copy lies on another file system, they are not copied at all: they are
//! read where they lie, and *pinned*, which keeps whatever becomes of them meanwhile from being deleted until they are read.
//! The slices
//! that are being written and the manifest are copied by SQLite's online backup, each as of one commit.
//!
//! Whoever holds the files before the ledger's moment is fixed and lets them go after the copy gets both stores in
//! agreement: no click that the ledger knew then is missing, since clicks are stored before anybody can name them,
//! and no slice is marked as counted in the ledger that this ledger does not count.

use std::path::{Path, PathBuf};
use std::sync::atomic::Ordering::Relaxed;
use std::sync::{Arc, MutexGuard};

use rusqlite::Connection;
use rusqlite::backup::Backup;

use super::append::lock;
use super::closer::Job;
use super::error::Error;
use super::registry::{Segment, State};
use super::slice::{self, Part};
use super::{ClickLog, Shared, manifest};

/// Pages between two looks at whether all are copied.
const STEP_PAGES: i32 = 4_096;

/// Files of the log that stay as they are while this lives. Dropped in the thread that made it.
pub(crate) struct Held<'a> {
    shared: &'a Arc<Shared>,
    _files: MutexGuard<'a, ()>,
}

/// Files of the log that are not deleted while this lives.
pub(crate) struct Pinned {
    shared: Arc<Shared>,
    files: Vec<String>,
}

impl Pinned {
    fn new(shared: &Arc<Shared>) -> Self {
        shared.pins.fetch_add(1, Relaxed);
        Self { shared: shared.clone(), files: Vec::new() }
    }

    /// Their names below the log's directory, and where they are.
    pub(crate) fn files(&self) -> impl Iterator<Item = (&str, PathBuf)> {
        self.files.iter().map(|file| (file.as_str(), self.shared.config.dir.join(file)))
    }
}

impl Drop for Pinned {
    fn drop(&mut self) {
        self.shared.pins.fetch_sub(1, Relaxed);
        // What was to be deleted meanwhile; if the log has stopped, the next start does it.
        self.shared.closer_send(Job::Sweep);
    }
}

impl Shared {
    /// Whether somebody reads files that may be gone by now. Asked and changed by whoever holds the files, but for the end.
    pub(super) fn is_pinned(&self) -> bool {
        self.pins.load(Relaxed) > 0
    }
}

impl ClickLog {
    /// Holds the files. Blocks while a slice is being closed.
    pub(crate) fn hold(&self) -> Held<'_> {
        let shared = self.shared();
        Held { shared, _files: lock(&shared.files) }
    }
}

impl Held<'_> {
    /// Bytes that [`Self::copy_into`] is going to write, about: what is not linked.
    pub(crate) fn bytes_to_write(&self) -> u64 {
        let size = |path: &Path| path.metadata().map_or(0, |meta| meta.len());
        let dir = &self.shared.config.dir;
        let slices = self.shared.registry.all();
        let live = slices.slices.iter().filter(|slice| slice.is_live()).map(|slice| {
            let path = dir.join(slice.name.file(Part::Live));
            size(&path) + size(&slice::beside(&path, "-wal"))
        });
        live.sum::<u64>() + size(&dir.join(manifest::FILE))
    }

    /// Segments that lie in buckets: the copy names them and does not hold them.
    pub(crate) fn segments_elsewhere(&self) -> u64 {
        let view = self.shared.registry.all();
        view.segments.iter().filter(|segment| !segment.is_missing && segment.moved.is_some()).count() as u64
    }

    /// Makes the copy in `to`, a directory that is there. The copy is not synced. What belongs to it and could not be
    /// linked is returned, to be read where it lies.
    pub(crate) fn copy_into(&self, to: &Path) -> Result<Option<Pinned>, Error> {
        let mut pinned = Pinned::new(self.shared);
        let dir = &self.shared.config.dir;
        // The manifest comes first: nothing can be added to it meanwhile.
        lock(&self.shared.manifest).copy_to(&to.join(manifest::FILE))?;
        // A slice stands here before any click in it is answered, so whatever the ledger knows of is in one of these.
        let view = self.shared.registry.all();
        for slice in &view.slices {
            match &slice.state {
                State::Closed { .. } => {
                    self.link(to, slice.name.file(Part::Closed), &mut pinned);
                    self.link(to, slice.name.file(Part::Prints), &mut pinned);
                }
                State::Live { .. } => {
                    let name = slice.name.file(Part::Live);
                    let from = dir.join(&name);
                    let conn = slice::open_reader(&from, false)?;
                    copy(&conn, &to.join(&name)).map_err(Error::sqlite("copy", &from))?;
                }
                State::Missing { .. } => {}
            }
        }
        // One that lies in a bucket stays there; the manifest's copy says where.
        for file in view.segments.iter().filter(|segment| !segment.is_missing).filter_map(Segment::local) {
            self.link(to, file, &mut pinned);
        }
        for side in &view.sides {
            self.link(to, side.name.key(), &mut pinned);
        }
        Ok(Some(pinned).filter(|pinned| !pinned.files.is_empty()))
    }

    /// Gives a file that never changes a name in the copy, or pins it.
    fn link(&self, to: &Path, file: String, pinned: &mut Pinned) {
        let (from, to) = (self.shared.config.dir.join(&file), to.join(&file));
        let linked = match self.shared.config.faults.are_links_refused() {
            true => Err(std::io::ErrorKind::CrossesDevices.into()),
            false => link(&from, &to),
        };
        match linked {
            Ok(()) => {}
            // A start makes a side file again, and reports what else the manifest lists.
            _ if !from.exists() => {
                tracing::error!(slice.file = file, "a file of the click log is missing");
            }
            Err(_) => pinned.files.push(file),
        }
    }
}

fn link(from: &Path, to: &Path) -> std::io::Result<()> {
    if let Some(parent) = to.parent() {
        std::fs::create_dir_all(parent)?;
    }
    std::fs::hard_link(from, to)
}

/// Copies a database as of its last commit into a new file.
pub(super) fn copy(from: &Connection, to: &Path) -> rusqlite::Result<()> {
    let mut out = Connection::open(to)?;
    out.execute_batch("PRAGMA journal_mode = OFF; PRAGMA synchronous = OFF")?;
    // One moment for all steps, however many commits come between them.
    from.execute_batch("BEGIN")?;
    let _: i64 = from.query_row("SELECT count(*) FROM sqlite_schema", [], |row| row.get(0))?;
    let copied = Backup::new(from, &mut out)?.run_to_completion(STEP_PAGES, std::time::Duration::ZERO, None);
    from.execute_batch("ROLLBACK")?;
    copied?;
    out.close().map_err(|(_, error)| error)
}
