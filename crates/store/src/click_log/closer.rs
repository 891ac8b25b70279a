//! The closer: one thread that turns a retired slice into a closed one, off the writer's path.
//!
//! Steps, each of which a crash may follow: pages → side file → rename to `.closed.sqlite` → log deleted → manifest. A start
//! finds out from the files alone how far it came and goes on from there. What fails (a full disk) is tried again;
//! until it succeeds the slice stays as it is and is looked up as before.

use std::io::ErrorKind;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::sync::{Arc, RwLock};
use std::time::Duration;

use super::Shared;
use super::ahead;
use super::append::lock;
use super::damage::{self, Cause, Damage};
use super::durable;
use super::error::Error;
use super::faults::Point;
use super::index::Index;
use super::manifest::{Listed, Manifest};
use super::pour::{self, Pace};
use super::registry::{Slice, State, read};
use super::sealing::{self, Far, Left, Verified};
use super::side_file;
use super::slice::{self, Name, Part};

/// How long a slice that could not be closed waits for the next try.
const RETRY: Duration = Duration::from_secs(5);

/// So many slices may wait to be closed before the closer hurries. Each holds its index in memory.
const WAITING_CALM_MAX: usize = 2;

/// A slice that used less of its log than its size allows, divided by this, was closed for its age: clicks come slowly,
/// and the next one does without a log that is made beforehand.
const SPARE_FROM: u64 = 4;

/// How a slice is closed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum How {
    /// Move its pages; its index is right.
    Pour,
    /// Move its pages; read the index again.
    Rescan,
    /// A sync failed: copy what is committed to a new file and set the old one aside.
    Copy,
}

pub(super) enum Job {
    Close {
        seq: u64,
        how: How,
    },
    Verify {
        seq: u64,
    },
    /// Delete what was kept for a backup.
    Sweep,
    /// Make one of the side files again that a start found lost.
    Sides,
    Stop,
}

/// Works until it is told to stop or the log is gone.
pub(super) fn run(shared: &Arc<Shared>, jobs: &Receiver<Job>) {
    let mut again: Vec<(u64, How)> = Vec::new();
    let mut sides_again = false;
    loop {
        let job = if again.is_empty() && !sides_again {
            jobs.recv().map_err(|_| RecvTimeoutError::Disconnected)
        } else {
            jobs.recv_timeout(RETRY)
        };
        let mut todo = std::mem::take(&mut again);
        match job {
            Ok(Job::Close { seq, how }) => todo.push((seq, how)),
            Ok(Job::Verify { seq }) => {
                shared.config.faults.reach(Point::Verifying);
                let verified = catch_unwind(AssertUnwindSafe(|| verify_here(shared, seq)));
                if let Err(error) = verified.unwrap_or_else(|_| Err(panicked(shared, seq))) {
                    tracing::error!(
                        error = &error as &dyn std::error::Error,
                        slice.seq = seq,
                        "a click slice cannot be verified"
                    );
                }
                lock(&shared.suspects).remove(&seq);
            }
            Ok(Job::Sweep) => {
                if let Err(error) = sealing::sweep(shared) {
                    let error = &error as &dyn std::error::Error;
                    tracing::warn!(error, "old files of the click log cannot be deleted yet");
                }
            }
            Ok(Job::Stop) | Err(RecvTimeoutError::Disconnected) => return see_to_spare(shared, 0),
            Ok(Job::Sides) => sides_again = make_lost_side(shared),
            Err(RecvTimeoutError::Timeout) if sides_again => sides_again = make_lost_side(shared),
            Err(RecvTimeoutError::Timeout) => {}
        }
        for (seq, how) in todo {
            shared.config.faults.reach(Point::Closing);
            let closed = catch_unwind(AssertUnwindSafe(|| {
                let _files = lock(&shared.files);
                close(shared, seq, how)
            }));
            match closed.unwrap_or_else(|_| Err(panicked(shared, seq))) {
                Ok(log_bytes) => {
                    // What was in doubt of it is found now, or is not there.
                    lock(&shared.unsure).remove(&seq);
                    see_to_spare(shared, log_bytes);
                }
                Err(error) => {
                    tracing::error!(
                        error = &error as &dyn std::error::Error,
                        slice.seq = seq,
                        "a click slice cannot be closed yet"
                    );
                    // A slice that cannot be read as it was written is copied as far as it can be.
                    again.push((seq, if error.is_damage() { How::Copy } else { how }));
                }
            }
        }
    }
}

/// Has the log of the next slice ready, if the last one used so many bytes of its own that it is worth it.
fn see_to_spare(shared: &Shared, log_bytes: u64) {
    let dir = &shared.config.dir;
    let is_wanted = shared.queue.is_open() && log_bytes >= shared.config.slice_bytes_max / SPARE_FROM;
    let done = match is_wanted {
        true => ahead::make_spare(dir, log_bytes, Pace::calm(&shared.queue)),
        false => ahead::drop_spare(dir),
    };
    if let Err(error) = done {
        tracing::warn!(%error, "no room can be made ahead for the log of the next click slice; it makes its own");
    }
}

/// Compares a file that lies here. Who speaks to buckets does it for the others: slices are to be closed meanwhile.
fn verify_here(shared: &Shared, seq: u64) -> Result<(), Error> {
    if verify(shared, seq, Far::Left)? == Verified::Far {
        lock(&shared.moving).suspect(seq);
    }
    Ok(())
}

/// Compares a file wherever it lies, for whoever may wait until nobody else has to do with a bucket.
pub(super) fn verify_anywhere(shared: &Shared, seq: u64) -> Result<Option<Damage>, Error> {
    let verified = match verify(shared, seq, Far::Left)? {
        Verified::Far => {
            let _one = lock(&shared.sealing);
            verify(shared, seq, Far::Asked)?
        }
        here => here,
    };
    Ok(match verified {
        Verified::Damaged(damage) => Some(damage),
        Verified::Done | Verified::Far => None,
    })
}

/// Makes a side file again, and has the next one made: others come between. Whether only those are left that failed, which
/// are tried again later.
fn make_lost_side(shared: &Arc<Shared>) -> bool {
    let made = catch_unwind(AssertUnwindSafe(|| sealing::make_lost_side(shared)));
    match made.unwrap_or_else(|_| Err(panicked(shared, 0))) {
        Ok(()) => {}
        Err(Error::Stopped) => return false,
        Err(error) => {
            let error = &error as &dyn std::error::Error;
            tracing::error!(error, "a side file that was lost cannot be made again yet");
        }
    }
    match shared.sides_lost.left() {
        Left::Nothing => false,
        Left::Later => true,
        Left::More => {
            shared.closer_send(Job::Sides);
            false
        }
    }
}

/// One file that makes us panic does not keep the others from being closed.
fn panicked(shared: &Shared, seq: u64) -> Error {
    shared.counters.panics.fetch_add(1, Relaxed);
    tracing::error!(slice.seq = seq, "the click log's closer panicked");
    Error::Panicked
}

/// Returns how many bytes of its log a slice had used, about; 0 where nobody knows.
fn close(shared: &Shared, seq: u64, how: How) -> Result<u64, Error> {
    let Some(found) = shared.registry.get(seq) else { return Ok(0) };
    let name = found.name;
    if let State::Live { index, .. } = &found.state {
        if how == How::Copy {
            return copy(shared, name, Cause::SyncFailed).map(|()| 0);
        }
        let Some((listed, log_bytes)) = finish(shared, name, index, how)? else { return Ok(0) };
        shared.config.faults.reach(Point::BeforeManifest);
        return record(shared, listed).map(|()| log_bytes);
    }
    match found.state {
        // An earlier try came as far as the rename.
        State::Closed { listed, recorded: false } => record(shared, (*listed).clone()).map(|()| 0),
        _ => Ok(0),
    }
}

/// Pages, side file, rename. With it, how many bytes of its log were used. `None`: there was no click in it, and it is gone.
fn finish(
    shared: &Shared,
    name: Name,
    index: &Arc<RwLock<Index>>,
    how: How,
) -> Result<Option<(Listed, u64)>, Error> {
    let dir = &shared.config.dir;
    let live = dir.join(name.file(Part::Live));
    let closed = dir.join(name.file(Part::Closed));
    let pace = pace(shared);
    let rescanned = match how {
        How::Rescan => {
            let conn = slice::open_writer(&live, &name, false, true)?;
            Some(slice::scan(&conn, &name, &live)?)
        }
        _ => None,
    };
    let clicks = rescanned.as_ref().map_or_else(|| read(index).extent.clicks, |index| index.extent.clicks);
    if clicks == 0 {
        shared.registry.remove(name.seq);
        slice::remove_live(&live)?;
        return Ok(None);
    }
    let log_bytes =
        pour::pour(&live, &slice::beside(&live, "-wal"), pace).map_err(|error| match error.kind() {
            ErrorKind::InvalidData => Error::Damaged { file: live.clone(), row: 0 },
            _ => Error::io("move pages into", &live)(error),
        })?;
    shared.config.faults.reach(Point::BeforeSideFile);
    let (prints, lag_ms, extent, counts) = {
        let of = |index: &Index| (index.prints_sorted(), index.lag_max_ms(), index.extent, index.counts());
        match &rescanned {
            Some(index) => of(index),
            None => of(&read(index)),
        }
    };
    let side = dir.join(name.file(Part::Prints));
    side_file::write(&side, &name, &prints, lag_ms, pace).map_err(Error::io("write", &side))?;
    shared.config.faults.reach(Point::BeforeRename);
    let listed = Listed {
        name,
        extent,
        bytes: std::fs::metadata(&live).map_err(Error::io("look at", &live))?.len(),
        checksum: durable::checksum(&live).map_err(Error::io("read", &live))?,
        published: false,
        elsewhere: false,
        counts,
    };
    let state = State::Closed { listed: Arc::new(listed.clone()), recorded: false };
    shared
        .registry
        .put_with(Slice { name, state }, || std::fs::rename(&live, &closed))
        .map_err(Error::io("rename", &live))?;
    // The log goes last: with it gone and the name old, a start would find a whole slice all the same, and with the
    // name new and the log there it deletes the log.
    // Connections to the old name would keep its log's space.
    shared.readers.forget(name.seq);
    for suffix in ["-wal", "-shm"] {
        let left = slice::beside(&live, suffix);
        durable::remove(&left).map_err(Error::io("remove", &left))?;
    }
    durable::sync_dir(dir).map_err(Error::io("sync", dir))?;
    Ok(Some((listed, log_bytes)))
}

/// Calm, unless slices come faster than they are closed.
fn pace(shared: &Shared) -> Pace<'_> {
    let waiting = shared
        .registry
        .all()
        .slices
        .iter()
        .filter(|s| matches!(s.state, State::Live { active: false, .. }))
        .count();
    if waiting <= WAITING_CALM_MAX { Pace::calm(&shared.queue) } else { Pace::HURRIED }
}

fn record(shared: &Shared, listed: Listed) -> Result<(), Error> {
    lock(&shared.manifest).record(&listed)?;
    let name = listed.name;
    let clicks = listed.extent.clicks;
    shared.registry.put(Slice { name, state: State::Closed { listed: Arc::new(listed), recorded: true } });
    tracing::info!(slice.seq = name.seq, slice.clicks = clicks, "closed a click slice");
    Ok(())
}

/// Saves the committed rows of a live slice into a closed one and sets the live files aside.
fn copy(shared: &Shared, name: Name, cause: Cause) -> Result<(), Error> {
    let dir = &shared.config.dir;
    let (clicks_kept, set_aside) = damage::salvage_live(dir, &name)?;
    shared.damaged(Damage { file: name.file(Part::Live), cause, set_aside, clicks_kept });
    if clicks_kept == 0 {
        shared.registry.remove(name.seq);
        return Ok(());
    }
    let listed = adopt(dir, &mut lock(&shared.manifest), name, None)?;
    shared.registry.put(Slice { name, state: State::Closed { listed: Arc::new(listed), recorded: true } });
    Ok(())
}

/// Takes a closed file that the manifest does not describe as it is: reads it, makes its side file, lists it.
/// What the ledger has been told already (`known`) stays told.
pub(super) fn adopt(
    dir: &Path,
    manifest: &mut Manifest,
    name: Name,
    known: Option<&Listed>,
) -> Result<Listed, Error> {
    let closed = dir.join(name.file(Part::Closed));
    let conn = slice::open_reader(&closed, true)?;
    let index = slice::scan(&conn, &name, &closed)?;
    drop(conn);
    let side = dir.join(name.file(Part::Prints));
    side_file::write(&side, &name, &index.prints_sorted(), index.lag_max_ms(), Pace::HURRIED)
        .map_err(Error::io("write", &side))?;
    let listed = Listed {
        name,
        extent: index.extent,
        bytes: std::fs::metadata(&closed).map_err(Error::io("look at", &closed))?.len(),
        checksum: durable::checksum(&closed).map_err(Error::io("read", &closed))?,
        published: known.is_some_and(|k| k.published),
        elsewhere: false,
        counts: known.map_or_else(|| index.counts(), |k| k.counts.clone()),
    };
    manifest.record(&listed)?;
    Ok(listed)
}

/// Sets a damaged closed slice aside and goes on with what can be read of it. `None`: nothing could.
pub(super) fn replace(
    dir: &Path,
    manifest: &mut Manifest,
    name: Name,
    cause: Cause,
    known: Option<&Listed>,
) -> Result<(Damage, Option<Listed>), Error> {
    let (clicks_kept, set_aside) = damage::salvage_closed(dir, &name)?;
    let damage = Damage { file: name.file(Part::Closed), cause, set_aside, clicks_kept };
    let listed = if clicks_kept > 0 { Some(adopt(dir, manifest, name, known)?) } else { None };
    Ok((damage, listed))
}

/// Makes a side file again from its slice.
pub(super) fn side_file_rebuild(dir: &Path, name: Name) -> Result<(), Error> {
    let closed = dir.join(name.file(Part::Closed));
    let index = slice::scan(&slice::open_reader(&closed, true)?, &name, &closed)?;
    let side = dir.join(name.file(Part::Prints));
    side_file::write(&side, &name, &index.prints_sorted(), index.lag_max_ms(), Pace::HURRIED)
        .map_err(Error::io("write", &side))
}

/// Compares a closed slice and its side file with their checksums, byte by byte. A damaged slice is set aside and
/// what can be read of it goes on; a damaged side file is made again.
pub(super) fn verify(shared: &Shared, seq: u64, far: Far) -> Result<Verified, Error> {
    match shared.registry.get(seq) {
        None => sealing::verify(shared, seq, far),
        Some(_) => verify_slice(shared, seq).map(Verified::from),
    }
}

fn verify_slice(shared: &Shared, seq: u64) -> Result<Option<Damage>, Error> {
    let _files = lock(&shared.files);
    let Some(Slice { name, state: State::Closed { listed, recorded: true } }) = shared.registry.get(seq)
    else {
        return Ok(None);
    };
    let dir = &shared.config.dir;
    let closed = dir.join(name.file(Part::Closed));
    match durable::checksum(&closed) {
        Ok(sum) if sum == listed.checksum => {}
        Ok(_) => {
            let (damage, kept) =
                replace(dir, &mut lock(&shared.manifest), name, Cause::Changed, Some(&listed))?;
            let state = match kept {
                Some(kept) => State::Closed { listed: Arc::new(kept), recorded: true },
                None => State::Missing { listed },
            };
            shared.registry.put(Slice { name, state });
            shared.readers.forget(seq);
            shared.damaged(damage.clone());
            return Ok(Some(damage));
        }
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            tracing::error!(slice.seq = seq, "a click slice is missing");
            shared.registry.put(Slice { name, state: State::Missing { listed } });
            shared.readers.forget(seq);
            return Ok(None);
        }
        Err(error) => return Err(Error::io("read", &closed)(error)),
    }
    let side = dir.join(name.file(Part::Prints));
    if !side_file::verify(&side, &name).unwrap_or(false) {
        side_file_rebuild(dir, name)?;
        tracing::error!(slice.seq = seq, "a side file was damaged and made again");
        let damage = Damage {
            file: name.file(Part::Prints),
            cause: Cause::Changed,
            set_aside: Vec::new(),
            clicks_kept: listed.extent.clicks,
        };
        shared.damaged(damage.clone());
        return Ok(Some(damage));
    }
    Ok(None)
}
