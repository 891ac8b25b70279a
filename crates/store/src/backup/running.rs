//! A backup of a server that goes on working.
//!
//! [`begin`] fixes the moment: it holds the click log's files, begins a read transaction on the ledger, links and copies
//! the clicks into a folder of the data directory, and lets go. [`Running::write`] copies the ledger there and then
//! writes the archive. The folder needs room for the ledger and the slice that is being written; closed slices and segments
//! are hard links, or, where the clicks lie on another file system, read where they are. It goes away with [`Running`], or at the next start.

use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use roundtrip_domain::time::Timestamp;

use super::archive::{Archive, Source, sources};
use super::{CLICKS, Error, FORMAT, Head, LEDGER};
use crate::click_log::{ClickLog, Pinned};
use crate::ledger::{Ledger, Snapshot, Turn};

/// The folder of the data directory in which copies are made.
const SPOOL: &str = "backup.tmp";
/// Room that is left free for the server's own work, in bytes.
const ROOM_KEPT: u64 = 64 << 20;
/// How often it is said how far the copying came.
const SAY_EVERY: Duration = Duration::from_millis(500);

/// The folder, and the right to use it; gone when dropped, the folder first.
struct Spool {
    path: PathBuf,
    _turn: Turn,
}

impl Drop for Spool {
    fn drop(&mut self) {
        if let Err(error) = clear(&self.path) {
            tracing::warn!(%error, spool.path = %self.path.display(), "the copies of a backup cannot be removed; the next start does it");
        }
    }
}

fn clear(path: &Path) -> io::Result<()> {
    match fs::remove_dir_all(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        other => other,
    }
}

/// Removes what a backup left that the process did not survive. To be called at the start, before there is a backup.
///
/// # Errors
/// What the system said.
pub fn clear_leftovers(data: &Path) -> io::Result<()> {
    clear(&data.join(SPOOL))
}

/// A backup whose moment is fixed and which is to be written.
pub struct Running {
    snapshot: Snapshot,
    clicks: Vec<Source>,
    head: Head,
    spool: Spool,
    /// Keeps the files that are read where they lie.
    pinned: Option<Pinned>,
}

impl std::fmt::Debug for Running {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Running").field("head", &self.head).finish_non_exhaustive()
    }
}

/// Fixes the moment of a backup. Blocks, usually for moments; for as long as a slice is being closed at most.
///
/// # Errors
/// [`Error::Running`] while there is another one, [`Error::NoRoom`], or what a store or the system said.
pub fn begin(ledger: &Ledger, clicks: &ClickLog, now: Timestamp, made_by: &str) -> Result<Running, Error> {
    let turn = ledger.turn().ok_or(Error::Running)?;
    let spool = Spool { path: ledger.dir().join(SPOOL), _turn: turn };
    let failed = || format!("make {}", spool.path.display());
    clear(&spool.path).map_err(Error::io(failed()))?;
    let clicks_dir = spool.path.join(CLICKS);
    fs::create_dir_all(&clicks_dir).map_err(Error::io(failed()))?;

    let held = clicks.hold();
    // The order of these two is what makes the copies agree: see `click_log::held`.
    let snapshot = ledger.snapshot()?;
    let needed = snapshot.bytes() + held.bytes_to_write() + ROOM_KEPT;
    let free = rustix::fs::statvfs(&spool.path).map_err(|error| Error::io(failed())(error.into()))?;
    let free = free.f_bavail.saturating_mul(free.f_frsize);
    if free < needed {
        return Err(Error::NoRoom { needed, free });
    }
    let pinned = held.copy_into(&clicks_dir)?;
    let segments_elsewhere = Some(held.segments_elsewhere());
    drop(held);

    let mut clicks = sources(&clicks_dir, CLICKS, |_| true)?;
    for (file, path) in pinned.iter().flat_map(Pinned::files) {
        clicks.push(Source::of(format!("{CLICKS}/{file}"), path)?);
    }
    let head = Head {
        roundtrip_backup: FORMAT,
        made_by: made_by.to_owned(),
        at: now.to_string(),
        online: true,
        bytes: snapshot.bytes() + clicks.iter().map(|file| file.bytes).sum::<u64>(),
        files: clicks.len() as u64 + 1,
        segments_elsewhere,
    };
    Ok(Running { snapshot, clicks, head, spool, pinned })
}

impl Running {
    /// What the archive says of itself.
    pub const fn head(&self) -> &Head {
        &self.head
    }

    /// Copies the ledger and writes the archive. Blocks as long as that takes and `out` takes bytes.
    ///
    /// # Errors
    /// What a store, the system or `out` said; the archive then ends with the reason and without its end.
    pub fn write(self, out: impl Write) -> Result<(), Error> {
        let Self { snapshot, clicks, head, spool, pinned: _pinned } = self;
        let mut archive = Archive::begin(out, &head)?;
        let write = || -> Result<(), Error> {
            let path = spool.path.join(LEDGER);
            let of = snapshot.bytes();
            let mut said: Option<Instant> = None;
            snapshot.copy_to(&path, |done| {
                if done == of || said.is_none_or(|at| at.elapsed() >= SAY_EVERY) {
                    said = Some(Instant::now());
                    archive.copied(done, of)?;
                }
                Ok::<_, Error>(())
            })?;
            let copy = Source::of(LEDGER.to_owned(), path)?;
            if copy.bytes != of {
                return Err(Error::Store(format!("the ledger's copy has {} bytes, not {of}", copy.bytes)));
            }
            archive.file(&copy)?;
            clicks.iter().try_for_each(|file| archive.file(file))
        };
        match write() {
            Ok(()) => archive.end().map(drop),
            Err(error) => {
                archive.failed(&error);
                Err(error)
            }
        }
    }
}
