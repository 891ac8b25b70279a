//! The ledger as it is at one moment, copied while the writer goes on.
//!
//! The cast: a read transaction on a connection of its own holds the moment; SQLite's online backup copies the pages
//! in steps, and each step is followed by a pause in which the disk belongs to the commits. Other commits do not
//! disturb it, since the transaction keeps seeing its moment. What it costs: while it lasts the ledger's
//! write-ahead log cannot begin anew, so the log grows by what is written meanwhile.
//!
//! Not relied on: that the copy is durable. Whoever wants it to be syncs it.

use std::fs::File;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use rusqlite::Connection;
use rusqlite::backup::{Backup, StepResult};

use super::statements::sql;
use super::{Ledger, open_connection};
use crate::Error;

/// Bytes between two syncs of the copy: some milliseconds of a disk's time.
const STEP_BYTES: u64 = 1 << 20;
/// A pause is as long as its step took, so that the copy has half of the disk at most.
const PAUSE_MAX: Duration = Duration::from_millis(50);

/// The right to take a snapshot: there is one at a time. Given back by its drop.
#[derive(Debug)]
pub(crate) struct Turn(Arc<AtomicBool>);

impl Drop for Turn {
    fn drop(&mut self) {
        self.0.store(false, Ordering::Release);
    }
}

/// The ledger at one moment.
pub(crate) struct Snapshot {
    conn: Connection,
    bytes: u64,
    step_pages: i32,
}

impl Ledger {
    /// The directory that the ledger lies in.
    pub(crate) fn dir(&self) -> &Path {
        let path = self.inner.way.path();
        path.parent().filter(|dir| !dir.as_os_str().is_empty()).unwrap_or(Path::new("."))
    }

    /// Takes the turn to copy; `None` while somebody has it.
    pub(crate) fn turn(&self) -> Option<Turn> {
        let taken = &self.inner.copying;
        let is_free = taken.compare_exchange(false, true, Ordering::AcqRel, Ordering::Relaxed).is_ok();
        is_free.then(|| Turn(taken.clone()))
    }

    /// Holds this moment. Blocks for moments.
    pub(crate) fn snapshot(&self) -> Result<Snapshot, Error> {
        let conn = open_connection(self.inner.way.path(), true)?;
        conn.execute_batch("BEGIN")?;
        // The transaction begins with its first read.
        let pages: u64 = conn.query_row("PRAGMA page_count", [], |row| row.get(0))?;
        let _: i64 = conn.query_row("SELECT count(*) FROM sqlite_schema", [], |row| row.get(0))?;
        let page_bytes: u64 = conn.query_row("PRAGMA page_size", [], |row| row.get(0))?;
        let step_pages = i32::try_from(STEP_BYTES / page_bytes.max(512)).unwrap_or(1).max(1);
        Ok(Snapshot { conn, bytes: pages * page_bytes, step_pages })
    }
}

impl Snapshot {
    /// Bytes of the copy.
    pub(crate) const fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Writes it to a new file. `step` is told how many bytes are copied; its error ends the copy. Blocks.
    pub(crate) fn copy_to<E: From<Error>>(
        self,
        path: &Path,
        mut step: impl FnMut(u64) -> Result<(), E>,
    ) -> Result<(), E> {
        let failed = |error: rusqlite::Error| E::from(Error::from(error));
        let unwritten = |error: std::io::Error| E::from(Error::Unavailable(error.to_string()));
        let mut copy = Connection::open(path).map_err(failed)?;
        copy.execute_batch("PRAGMA journal_mode = OFF; PRAGMA synchronous = OFF; PRAGMA cache_size = -1024")
            .map_err(failed)?;
        let file = File::options().write(true).open(path).map_err(unwritten)?;
        {
            let backup = Backup::new(&self.conn, &mut copy).map_err(failed)?;
            loop {
                let began = Instant::now();
                let stepped = backup.step(self.step_pages).map_err(failed)?;
                let progress = backup.progress();
                let pages = u64::try_from(progress.pagecount.max(1)).unwrap_or(1);
                let left = u64::try_from(progress.remaining).unwrap_or(0);
                step(self.bytes - self.bytes * left / pages)?;
                match stepped {
                    StepResult::Done => break,
                    StepResult::More => {
                        file.sync_data().map_err(unwritten)?;
                        std::thread::sleep(began.elapsed().min(PAUSE_MAX));
                    }
                    // Nobody else has the copy, and readers of a write-ahead log wait for nobody.
                    _ => std::thread::sleep(PAUSE_MAX),
                }
            }
        }
        copy.close().map_err(|(_, error)| failed(error))
    }
}

/// How many deliveries wait and how many events wait for a decision, in all workspaces of a ledger's file.
pub(crate) fn waiting_of(conn: &Connection) -> rusqlite::Result<(u64, u64)> {
    let count = |name| conn.query_row(sql(name), [], |row| row.get(0));
    Ok((count("queue_count_all")?, count("todo_count_all")?))
}
