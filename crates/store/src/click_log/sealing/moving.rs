//! Finished segments go into a bucket, and objects whose segment is gone are deleted there.
//!
//! A move: the bucket is asked whether it is there at all. The manifest notes that an object may be there by our hand. The
//! object is put, and only where there is none; that it was is noted too. All of it is read back and compared with the
//! segment's checksum: whatever the answers said, what counts is what is there. One transaction of the manifest says that
//! the segment lies in the bucket and that its file is doomed; one change of the registry has look-ups go there; the file
//! is deleted. Name and number stay, and so does the side file.
//!
//! A crash may follow each step. Until the transaction the segment is where it was; then the move is tried again and finds
//! the object there, which is ours if it is the same. Behind it, the file is deleted by the start. An object that is noted
//! and whose segment is not listed any more (it expired, or a person was erased from it, perhaps while it was being put) is
//! deleted; the note goes once the bucket has said so.
//!
//! Everything here goes on under `sealing`, so that whoever erases a person meets no object that is on its way. What
//! fails in a bucket is told, counted and tried again after a pause, behind the others (`turns`); sealing does not wait for
//! it.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::hash::Hasher as _;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;
use roundtrip_domain::time::Span;
use siphasher::sip::SipHasher13;

use super::feed::{Rows, numbers};
use super::ill::Far;
use super::plan::{self, Rules};
use super::turns::Turns;
use super::{Work, ill, is_same_segment, leave_out, of_segment, swap, words};
use crate::click_log::append::lock;
use crate::click_log::bucket::{Put, Reach};
use crate::click_log::error::Error;
use crate::click_log::faults::Point;
use crate::click_log::manifest::{Change, Object};
use crate::click_log::pour::{Pace, Paced};
use crate::click_log::registry::{Moved, Segment, View};
use crate::click_log::segment::{About, SegmentName};
use crate::click_log::{Shared, durable};

/// Most bytes of a segment that is moved: they are in memory meanwhile.
const BYTES_MAX: u64 = 1 << 30;
/// So many objects of one bucket that cannot be deleted are tried by whoever waits for all of them: one that does not answer
/// takes a minute for each.
const FAILURES_MAX: u32 = 4;
/// The end of the names of copies that were brought here from a bucket. A start deletes them as unfinished.
const BROUGHT: &str = ".brought.sealing.tmp";

/// How far moving came.
#[derive(Default)]
pub(in super::super) struct Moving {
    /// Numbers of segments in buckets that somebody should look at: they did not read as they were written.
    suspects: BTreeSet<u64>,
    /// The same of those whose object may be shorter than it is listed.
    doubtful: BTreeSet<u64>,
    /// Segments, by number and checksum, that stay here: they are too large, or another object has their name.
    unmovable: BTreeSet<(u64, u64)>,
    /// What does not go as it should, until it does.
    troubles: BTreeMap<Thing, String>,
    deletes: Turns<(String, String)>,
    looks: Turns<u64>,
    moves: Turns<u64>,
}

/// What is to be done in a bucket.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
enum Thing {
    /// An object is to be deleted: its bucket and name.
    Delete(String, String),
    /// A segment is to be looked at.
    Look(u64),
    /// A segment is to be moved.
    Move(u64),
    /// A segment cannot be moved.
    Stay(u64),
}

impl Moving {
    /// Has a segment in a bucket looked at, by its number.
    pub(in super::super) fn suspect(&mut self, seq: u64) {
        self.suspects.insert(seq);
    }

    /// What does not go as it should.
    pub(in super::super) fn error(&self) -> Option<String> {
        let first = self.troubles.values().next()?;
        Some(match self.troubles.len() - 1 {
            0 => first.clone(),
            more => format!("{first}; and {more} more"),
        })
    }
}

/// Does one thing, if there is something to do: deletes an object, looks at segments that did not read well, or moves one.
/// Each bucket in which something fails is asked no more than once for each of the three.
pub(super) fn step(shared: &Shared, rules: &Rules) -> Result<Option<Work>, Error> {
    if let Some(object) = delete_next(shared)? {
        return Ok(Some(Work::Deleted { file: object }));
    }
    look(shared)?;
    move_next(shared, rules)
}

/// The trouble in words, if it is the bucket's.
fn told(error: &Error) -> Option<String> {
    matches!(error, Error::Bucket { .. }).then(|| words(error))
}

/// The bucket of that name.
pub(super) fn reach(shared: &Shared, bucket: &str) -> Result<Arc<Reach>, Error> {
    shared.reaches.of(bucket).map_err(Error::bucket("open", bucket.to_owned()))
}

/// Deletes an object whose segment is gone, if there is one and its bucket does so. Returns its name.
fn delete_next(shared: &Shared) -> Result<Option<String>, Error> {
    let unlisted = lock(&shared.manifest).objects_unlisted()?;
    let thing = |object: &Object| Thing::Delete(object.bucket.clone(), object.file.clone());
    lock(&shared.moving).troubles.retain(|known, _| {
        !matches!(known, Thing::Delete(..)) || unlisted.iter().any(|object| thing(object) == *known)
    });
    let all: Vec<_> =
        unlisted.iter().map(|o| ((o.bucket.clone(), o.file.clone()), o.bucket.as_str())).collect();
    let mut failed: BTreeSet<String> = BTreeSet::new();
    loop {
        let Some(at) = lock(&shared.moving).deletes.next(&all, &failed) else { return Ok(None) };
        let (object, (key, bucket)) = (&unlisted[at], &all[at]);
        let deleted = delete_object(shared, object);
        let mut moving = lock(&shared.moving);
        match deleted {
            Ok(shown) => {
                moving.deletes.done(key, bucket);
                moving.troubles.remove(&thing(object));
                return Ok(Some(shown));
            }
            Err(error) => {
                let Some(why) = told(&error) else { return Err(error) };
                tracing::warn!(error = why, "an object cannot be deleted from its bucket yet");
                moving.deletes.failed(key.clone(), bucket, shared.config.bucket_pause);
                moving.troubles.insert(thing(object), why);
                failed.insert(object.bucket.clone());
            }
        }
    }
}

/// Deletes the objects whose segment is gone, of these: what is said to be erased is nowhere. One that is not deleted keeps
/// no other, unless so many are that its bucket is ill; the first trouble is told.
pub(super) fn delete_objects(shared: &Shared, which: impl Fn(&Object) -> bool) -> Result<(), Error> {
    let unlisted = lock(&shared.manifest).objects_unlisted()?;
    let mut done = Ok(());
    let mut failures: BTreeMap<&str, u32> = BTreeMap::new();
    for object in unlisted.iter().filter(|object| which(object)) {
        let failed = failures.entry(&object.bucket).or_default();
        if *failed >= FAILURES_MAX {
            continue;
        }
        match delete_object(shared, object) {
            Ok(_) => {}
            Err(Error::Stopped) => return Err(Error::Stopped),
            Err(error) => {
                *failed += 1;
                done = done.and(Err(error));
            }
        }
    }
    done
}

fn delete_object(shared: &Shared, object: &Object) -> Result<String, Error> {
    let shown = format!("{}/{}", object.bucket, object.file);
    // The manifest is a file like others: only names that we give are deleted for its sake.
    if SegmentName::parse(&object.file).is_some() {
        let reach = reach(shared, &object.bucket)?;
        if let Err(error) = reach.delete(&object.file) {
            // A bucket that lets nobody delete may say that there is nothing: what it refused to take is not there.
            let is_gone = matches!(reach.length(&object.file), Ok(None));
            is_gone.then_some(()).ok_or_else(|| Error::bucket("delete", shown.clone())(error))?;
        }
        tracing::info!(segment.file = shown, "deleted an object of the click log from its bucket");
    }
    lock(&shared.manifest).object_forget(object)?;
    Ok(shown)
}

/// Looks at the segments that did not read well. One that cannot be looked at comes again behind the others.
fn look(shared: &Shared) -> Result<(), Error> {
    let mut failed: BTreeSet<String> = BTreeSet::new();
    loop {
        let view = shared.registry.all();
        let bucket = |seq: u64| view.segment(seq)?.moved.as_ref().map(|moved| moved.bucket.as_str());
        let wanted: Vec<(u64, &str)> = {
            let moving = &mut *lock(&shared.moving);
            // Which of them did not give all that a look-up asked for.
            for (bucket, key) in shared.reaches.doubts() {
                let segment = SegmentName::parse(&key).and_then(|name| view.segment(name.seq));
                let is_there =
                    |segment: &&Segment| segment.moved.as_ref().is_some_and(|m| m.bucket == bucket);
                moving.doubtful.extend(segment.filter(is_there).map(Segment::seq));
            }
            let seqs: BTreeSet<u64> = moving.suspects.union(&moving.doubtful).copied().collect();
            moving.troubles.retain(|known, _| !matches!(known, Thing::Look(seq) if !seqs.contains(seq)));
            // One that lies in no bucket is soon looked at.
            seqs.into_iter().map(|seq| (seq, bucket(seq).unwrap_or_default())).collect()
        };
        let Some((seq, bucket)) = lock(&shared.moving).looks.next(&wanted, &failed).map(|at| wanted[at])
        else {
            return Ok(());
        };
        let (is_suspect, is_doubtful) = {
            let moving = &mut *lock(&shared.moving);
            (moving.suspects.remove(&seq), moving.doubtful.remove(&seq))
        };
        let looked = match is_suspect {
            true => ill::verify(shared, seq, Far::Asked).map(drop),
            false => look_at_length(shared, seq),
        };
        let moving = &mut *lock(&shared.moving);
        match looked {
            Ok(()) => {
                moving.looks.done(&seq, bucket);
                moving.troubles.remove(&Thing::Look(seq));
            }
            Err(error) => {
                moving.suspects.extend(is_suspect.then_some(seq));
                moving.doubtful.extend(is_doubtful.then_some(seq));
                if matches!(error, Error::Stopped) {
                    return Err(error);
                }
                let why = words(&error);
                tracing::warn!(error = why, "a click segment cannot be moved or looked at in its bucket yet");
                moving.looks.failed(seq, bucket, shared.config.bucket_pause);
                moving.troubles.insert(Thing::Look(seq), why);
                failed.insert(bucket.to_owned());
            }
        }
    }
}

/// Has a segment looked at whose object is gone or of another length than it is listed.
fn look_at_length(shared: &Shared, seq: u64) -> Result<(), Error> {
    let view = shared.registry.all();
    let Some((segment, moved)) = view.segment(seq).and_then(|s| Some((s, s.moved.as_ref()?))) else {
        return Ok(());
    };
    let (reach, key) = (reach(shared, &moved.bucket)?, segment.sealed.name.key());
    let length = reach.length(&key).map_err(Error::bucket("look at", reach.shown(&key)))?;
    if length != Some(segment.sealed.bytes) {
        lock(&shared.moving).suspect(seq);
    }
    Ok(())
}

/// Moves a finished segment, if there is one and its bucket takes it.
fn move_next(shared: &Shared, rules: &Rules) -> Result<Option<Work>, Error> {
    let Some(bucket) = &shared.config.segments_bucket else { return Ok(None) };
    let local: Span = shared.config.segments_local;
    let left_out = lock(&shared.unsealable).clone();
    let unmovable = lock(&shared.moving).unmovable.clone();
    let view = shared.registry.all();
    // Its side file is made again from the file that is here.
    let lost = shared.sides_lost.all();
    let is_lost = |seq| view.segment(seq).is_some_and(|segment| lost.contains(&segment.side));
    let stays = |seq, checksum| {
        left_out.contains(&(seq, checksum)) || unmovable.contains(&(seq, checksum)) || is_lost(seq)
    };
    let segments = plan::to_move(&view, rules, local, &stays);
    let is_here = |seq: &u64| view.segment(*seq).is_some_and(|segment| segment.moved.is_none());
    let all: Vec<_> = segments.iter().map(|segment| (segment.seq(), bucket.as_str())).collect();
    let next = {
        let moving = &mut *lock(&shared.moving);
        moving.troubles.retain(|known, _| match known {
            Thing::Move(seq) | Thing::Stay(seq) => is_here(seq),
            Thing::Delete(..) | Thing::Look(_) => true,
        });
        moving.moves.next(&all, &BTreeSet::new())
    };
    let Some(segment) = next.map(|at| &segments[at]) else { return Ok(None) };
    let done = move_one(shared, bucket, segment);
    let moving = &mut *lock(&shared.moving);
    match done {
        Ok(work) => {
            moving.moves.done(&segment.seq(), bucket);
            moving.troubles.remove(&Thing::Move(segment.seq()));
            Ok(Some(work))
        }
        Err(Error::Stopped) => Err(Error::Stopped),
        Err(error) => {
            // The others have their turn first.
            moving.moves.failed(segment.seq(), bucket, shared.config.bucket_pause);
            let Some(why) = told(&error) else { return Err(error) };
            tracing::warn!(error = why, "a click segment cannot be moved or looked at in its bucket yet");
            moving.troubles.insert(Thing::Move(segment.seq()), why);
            Ok(None)
        }
    }
}

fn move_one(shared: &Shared, bucket: &str, segment: &Segment) -> Result<Work, Error> {
    let name = segment.sealed.name;
    if segment.sealed.bytes > BYTES_MAX {
        stay(shared, segment, name.key(), "it is larger than what is moved");
        return Ok(Work::Overtaken);
    }
    let path = shared.config.dir.join(name.key());
    let bytes = match std::fs::read(&path) {
        Ok(bytes) => Bytes::from(bytes),
        // It is merged, expired or missing: whoever looks at it says which.
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            leave_out(shared, of_segment(segment));
            return Ok(Work::Overtaken);
        }
        Err(error) => return Err(Error::io("read", &path)(error)),
    };
    let mut hasher = SipHasher13::new();
    hasher.write(&bytes);
    let rows = (hasher.finish() == segment.sealed.checksum)
        .then(|| Rows::of_segment(&path, name, false))
        .transpose()?;
    // What was changed on the disk is not what a bucket is to keep.
    let Some(rows) = rows else {
        leave_out(shared, of_segment(segment));
        return Ok(Work::Overtaken);
    };
    let replaces = numbers(rows.said(About::REPLACES));
    drop(rows);

    let reach = reach(shared, bucket)?;
    let shown = reach.shown(&name.key());
    // A bucket that was named by mistake says nothing of it: nothing is put there, and no erasure has to wait for it.
    reach.length(&name.key()).map_err(Error::bucket("look for", shown.clone()))?;
    let mut object = Object { bucket: bucket.to_owned(), file: name.key(), seq: name.seq, is_put: false };
    object.is_put = lock(&shared.manifest).object_note(&object)?;
    shared.config.faults.reach(Point::BeforePut);
    let put = reach.put_new(&object.file, bytes);
    shared.config.faults.reach(Point::AfterPut);
    if matches!(put, Ok(Put::Done)) {
        object.is_put = true;
        lock(&shared.manifest).object_note(&object)?;
    }
    let look = || reach.checksum(&object.file, segment.sealed.bytes, &shared.sealing_stop);
    let ours = Some(segment.sealed.checksum);
    match look() {
        Ok(sum) if sum == ours => {}
        // It is ours and is not whole.
        Ok(_) if object.is_put => {
            let source = io::Error::other("what is there now is not what was put");
            reach.delete(&object.file).map_err(Error::bucket("delete", shown.clone()))?;
            lock(&shared.manifest).object_forget(&object)?;
            return Err(Error::bucket("put", shown)(source));
        }
        // Whose it is will be known when the bucket says that something is there.
        Ok(_) if put.is_err() => return Err(refused(put, shown)),
        Ok(sum) => match look() {
            Ok(again) if again == ours => {}
            Ok(again) if again == sum => {
                // It is somebody else's, and is not ours to delete when this segment goes.
                lock(&shared.manifest).object_forget(&object)?;
                stay(shared, segment, shown, "something else is there under its name");
                return Ok(Work::Overtaken);
            }
            Ok(_) => {
                let source = io::Error::other("it reads another way each time");
                return Err(Error::bucket("read", shown)(source));
            }
            Err(error) => return Err(Error::bucket("read", shown)(error)),
        },
        // What was said when it was put tells more.
        Err(_) if put.is_err() => return Err(refused(put, shown)),
        Err(error) => return Err(Error::bucket("read", shown)(error)),
    }

    let change = Change {
        moved: vec![(name.seq, Moved { bucket: bucket.to_owned(), replaces })],
        doomed: vec![name.key()],
        ..Change::default()
    };
    if !swap(shared, &change, |view: &View| is_same_segment(view, segment))? {
        return Ok(Work::Overtaken);
    }
    let (clicks, bytes) = (segment.extent().clicks, segment.sealed.bytes);
    tracing::info!(segment.file = shown, segment.clicks = clicks, "moved a click segment into its bucket");
    Ok(Work::Moved { file: name.key(), bucket: bucket.to_owned(), clicks, bytes })
}

/// Why an object was not put.
fn refused(put: io::Result<Put>, shown: String) -> Error {
    Error::bucket("put", shown)(put.err().unwrap_or_else(|| io::ErrorKind::Other.into()))
}

/// Has a segment stay where it is until the next start.
fn stay(shared: &Shared, segment: &Segment, shown: String, why: &str) {
    tracing::error!(segment.file = shown, reason = why, "a click segment is not moved into its bucket");
    let mut moving = lock(&shared.moving);
    moving.unmovable.insert((segment.seq(), segment.sealed.checksum));
    moving.troubles.insert(Thing::Stay(segment.seq()), format!("{shown}: {why}"));
}

/// A segment's bytes as a file. Those that came from a bucket lie under a name of their own, since a file with the segment's
/// may be here still, for a backup that reads it; they go away with this, and after a crash with the next start.
pub(super) struct Brought {
    path: PathBuf,
    is_copy: bool,
}

impl Brought {
    /// Where they are.
    pub(super) fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for Brought {
    fn drop(&mut self) {
        if self.is_copy
            && let Err(error) = durable::remove(&self.path)
        {
            tracing::warn!(
                error = &error as &dyn std::error::Error,
                "the copy of a segment that lies in a bucket cannot be deleted yet"
            );
        }
    }
}

/// Deletes copies that could not be deleted before. The caller holds `sealing`: nobody reads one.
pub(super) fn clear_brought(shared: &Shared) -> Result<(), Error> {
    let dir = &shared.config.dir;
    for entry in std::fs::read_dir(dir).map_err(Error::io("list", dir))?.flatten() {
        if entry.file_name().to_string_lossy().ends_with(BROUGHT) {
            let path = entry.path();
            durable::remove(&path).map_err(Error::io("delete", &path))?;
        }
    }
    Ok(())
}

/// Has a segment's bytes here, compared with its checksum if they come from a bucket. The caller holds `sealing`.
pub(super) fn bring(shared: &Shared, segment: &Segment, pace: Pace<'_>) -> Result<Brought, Error> {
    let Some(moved) = &segment.moved else {
        let path = shared.config.dir.join(segment.sealed.name.key());
        return Ok(Brought { path, is_copy: false });
    };
    let reach = reach(shared, &moved.bucket)?;
    let (brought, sum) = fetch(shared, &reach, segment, segment.sealed.bytes, pace)?;
    if sum != segment.sealed.checksum {
        lock(&shared.moving).suspect(segment.seq());
        let shown = PathBuf::from(reach.shown(&segment.sealed.name.key()));
        return Err(Error::Damaged { file: shown, row: 0 });
    }
    Ok(brought)
}

/// Has so many bytes of a segment's object here, whatever they are, with their checksum. The caller holds `sealing`.
pub(super) fn fetch(
    shared: &Shared,
    reach: &Reach,
    segment: &Segment,
    length: u64,
    pace: Pace<'_>,
) -> Result<(Brought, u64), Error> {
    let name = segment.sealed.name;
    let key = name.key();
    let path = shared.config.dir.join(format!("{}-{}{BROUGHT}", name.node, name.seq));
    let brought = Brought { path, is_copy: true };
    let path = brought.path();
    let file = File::create(path).map_err(Error::io("create", path))?;
    let mut out = Paced::new(file, pace);
    let mut hasher = SipHasher13::new();
    let mut written = Ok(());
    let read = reach.stream(&key, length, &shared.sealing_stop, |bytes| {
        hasher.write(bytes);
        written = out.write_all(bytes);
        if written.is_ok() { Ok(()) } else { Err(io::Error::other("it cannot be written here")) }
    });
    written.map_err(Error::io("write", path))?;
    read.map_err(Error::bucket("read", reach.shown(&key)))?;
    Ok((brought, hasher.finish()))
}
