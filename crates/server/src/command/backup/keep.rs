//! Keeping an archive that comes in pieces: on the disk, under another name until it is whole.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::mpsc;
use std::thread::JoinHandle;

use anyhow::Context as _;
use bytes::Bytes;
use roundtrip_store::backup::{self, Contents};
use rustix::fs::{CWD, RenameFlags, renameat_with};
use rustix::io::Errno;

use super::DASH;
use super::telling::Telling;

/// Bytes between two syncs of the file. One burst at the end would stand before the commits of a server on the same disk.
const SYNC_EVERY: u64 = 8 << 20;
/// Pieces that may wait to be compared.
const PIECES_MAX: usize = 16;

/// Takes an archive's bytes. Dropped before [`Keeper::end`] it leaves nothing.
pub(super) struct Keeper {
    out: Out,
    pieces: Option<mpsc::SyncSender<Bytes>>,
    reading: Option<JoinHandle<Result<Contents, backup::Error>>>,
}

enum Out {
    Standard,
    File { file: File, unsynced: u64, partial: PathBuf, wanted: PathBuf },
}

impl Keeper {
    /// Begins a file beside `wanted`, of mode 0600; standard output for a dash.
    pub(super) fn begin(wanted: &Path, telling: Telling) -> anyhow::Result<Self> {
        let out = if wanted == Path::new(DASH) {
            Out::Standard
        } else {
            let mut partial = wanted.as_os_str().to_owned();
            partial.push(format!(".{}.partial", std::process::id()));
            let partial = PathBuf::from(partial);
            let file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&partial);
            let file = file.with_context(|| format!("make {}", partial.display()))?;
            Out::File { file, unsynced: 0, partial, wanted: wanted.to_owned() }
        };
        let (pieces, received) = mpsc::sync_channel(PIECES_MAX);
        let reading = std::thread::Builder::new().name("compare".to_owned()).spawn(move || {
            let pieces = Pieces { received, piece: Bytes::new() };
            backup::check(pieces, &mut |progress| telling.progress(progress))
        });
        let reading = Some(reading.context("start a thread")?);
        Ok(Self { out, pieces: Some(pieces), reading })
    }

    /// Takes the next bytes.
    ///
    /// # Errors
    /// When they cannot be written. That they are not as they should be is told by [`Self::end`], or by a broken pipe.
    pub(super) fn take(&mut self, bytes: &Bytes) -> io::Result<()> {
        match &mut self.out {
            Out::Standard => io::stdout().lock().write_all(bytes)?,
            Out::File { file, unsynced, .. } => {
                file.write_all(bytes)?;
                *unsynced += bytes.len() as u64;
                if *unsynced >= SYNC_EVERY {
                    *unsynced = 0;
                    file.sync_data()?;
                }
            }
        }
        let sent = self.pieces.as_ref().map(|pieces| pieces.send(bytes.clone()));
        match sent {
            Some(Ok(())) => Ok(()),
            _ => Err(io::Error::new(io::ErrorKind::BrokenPipe, "it is not an archive that can be used")),
        }
    }

    /// Ends it: syncs it and gives it its name, if it is whole. `came` is what whoever sent the bytes said; when
    /// both know that something went wrong, the archive's own word is the nearer one.
    ///
    /// # Errors
    /// When the archive is not whole or has no place; nothing is left then.
    pub(super) fn end(mut self, came: anyhow::Result<()>) -> anyhow::Result<Contents> {
        drop(self.pieces.take());
        let read = match self.reading.take().map(JoinHandle::join) {
            Some(Ok(read)) => read,
            _ => anyhow::bail!("compare it with its hashes: the thread that does it panicked"),
        };
        let contents = match (came, read) {
            (Ok(()), read) => read?,
            // The end is missing because it broke off, and that has a reason.
            (Err(error), Ok(_) | Err(backup::Error::Truncated(_))) => return Err(error),
            (Err(_), Err(error)) => return Err(error.into()),
        };
        match &mut self.out {
            Out::Standard => io::stdout().lock().flush()?,
            Out::File { file, partial, wanted, .. } => {
                file.sync_all().with_context(|| format!("sync {}", partial.display()))?;
                name(partial, wanted)?;
                let parent = wanted.parent().filter(|parent| !parent.as_os_str().is_empty());
                let parent = parent.unwrap_or(Path::new("."));
                File::open(parent)
                    .and_then(|dir| dir.sync_all())
                    .with_context(|| format!("sync {}", parent.display()))?;
            }
        }
        Ok(contents)
    }
}

impl Drop for Keeper {
    fn drop(&mut self) {
        drop(self.pieces.take());
        if let Some(reading) = self.reading.take() {
            // Its error is told by whoever dropped us; its progress must not come after that.
            let _ = reading.join();
        }
        if let Out::File { partial, .. } = &self.out {
            // It has its name by now, or has no value.
            let _ = fs::remove_file(partial);
        }
    }
}

impl Write for Keeper {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.take(&Bytes::copy_from_slice(bytes))?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Gives a file a name that nobody has.
fn name(partial: &Path, wanted: &Path) -> anyhow::Result<()> {
    let renaming = || format!("rename it to {}", wanted.display());
    match renameat_with(CWD, partial, CWD, wanted, RenameFlags::NOREPLACE) {
        // Some file systems cannot promise that nothing is replaced; then it is looked first.
        Err(Errno::INVAL | Errno::NOSYS) => {
            anyhow::ensure!(!wanted.try_exists()?, "{}: it is there by now", renaming());
            fs::rename(partial, wanted).with_context(renaming)
        }
        other => other.map_err(io::Error::from).with_context(renaming),
    }
}

/// The pieces, as one thing to read.
struct Pieces {
    received: mpsc::Receiver<Bytes>,
    piece: Bytes,
}

impl Read for Pieces {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        while self.piece.is_empty() {
            match self.received.recv() {
                Ok(piece) => self.piece = piece,
                Err(_) => return Ok(0),
            }
        }
        let n = self.piece.len().min(into.len());
        into[..n].copy_from_slice(&self.piece.split_to(n));
        Ok(n)
    }
}
