//! The log's files, held as they are while a copy of all of them is made.
//!
//! Closing, publishing, sealing, expiring and replacing of slices wait meanwhile; taking and finding clicks does not.
//! Closed slices and segments never change, so the copy gets them as hard links, which take no room and outlive their
//! expiry. The slices
//! that are being written and the manifest are copied by SQLite's online backup, each as of one commit.
//!
//! Whoever holds the files before the ledger's moment is fixed and lets them go after the copy gets both stores in
//! agreement: no click that the ledger knew then is missing, since clicks are stored before anybody can name them,
//! and no slice is marked as counted in the ledger that this ledger does not count.

use std::path::Path;
use std::sync::MutexGuard;

use rusqlite::Connection;
use rusqlite::backup::Backup;

use super::append::lock;
use super::error::Error;
use super::registry::{Segment, State};
use super::slice::{self, Part};
use super::{ClickLog, Shared, durable, manifest};

/// Pages between two looks at whether all are copied.
const STEP_PAGES: i32 = 4_096;

/// Files of the log that stay as they are while this lives. Dropped in the thread that made it.
pub(crate) struct Held<'a> {
    shared: &'a Shared,
    _files: MutexGuard<'a, ()>,
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

    /// Makes the copy in `to`, a directory that is there and on the same file system. The copy is not synced.
    pub(crate) fn copy_into(&self, to: &Path) -> Result<(), Error> {
        let dir = &self.shared.config.dir;
        // The manifest comes first: nothing can be added to it meanwhile.
        lock(&self.shared.manifest).copy_to(&to.join(manifest::FILE))?;
        // A slice stands here before any click in it is answered, so whatever the ledger knows of is in one of these.
        let view = self.shared.registry.all();
        for slice in &view.slices {
            match &slice.state {
                State::Closed { .. } => {
                    link(dir, to, &slice.name.file(Part::Closed))?;
                    link(dir, to, &slice.name.file(Part::Prints))?;
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
            link(dir, to, &file)?;
        }
        for side in &view.sides {
            link(dir, to, &side.name.key())?;
        }
        Ok(())
    }
}

/// Gives a file that never changes a name in the copy.
fn link(dir: &Path, to: &Path, file: &str) -> Result<(), Error> {
    let (from, to) = (dir.join(file), to.join(file));
    if let Some(parent) = to.parent() {
        std::fs::create_dir_all(parent).map_err(Error::io("create", parent))?;
    }
    match durable::link_or_copy(&from, &to) {
        // A start makes a side file again, and reports what else the manifest lists.
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            tracing::error!(slice.file = file, "a file of the click log is missing");
            Ok(())
        }
        other => other.map_err(Error::io("link", &from)),
    }
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
