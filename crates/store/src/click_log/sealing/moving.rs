//! Finished segments go into a bucket, and objects whose segment is gone are deleted there.
//!
//! A move: the manifest notes that an object may be there by our hand. The object is put, and only where there is
//! none; that it was is noted too. All of it is read back and compared with the segment's checksum: whatever the answers said, what counts is what
//! is there. One transaction of the manifest says that the segment lies in the bucket and that its file is doomed; one
//! change of the registry has look-ups go there; the file is deleted. Name and number stay, and so does the side file.
//!
//! A crash may follow each step. Until the transaction the segment is where it was; then the move is tried again and finds
//! the object there, which is ours if it is the same. Behind it, the file is deleted by the start. An object that is noted
//! and whose segment is not listed any more (it expired, or a person was erased from it, perhaps while it was being put) is
//! deleted; the note goes once the bucket has said so.
//!
//! Everything here goes on under `sealing`, so that whoever erases a person meets no object that is on its way. What
//! fails in a bucket is told, counted and tried again after a pause; sealing does not wait for it.

use std::collections::BTreeSet;
use std::fs::File;
use std::hash::Hasher as _;
use std::io::{self, Write as _};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use roundtrip_domain::time::Span;
use siphasher::sip::SipHasher13;

use super::feed::{Rows, numbers};
use super::make::UNFINISHED;
use super::plan::{self, Rules};
use super::{Work, delete, ill, is_same_segment, leave_out, of_segment, swap};
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
/// The longest pause before something is tried again in a bucket.
const PAUSE_MAX: Duration = Duration::from_secs(60);

/// How far moving came.
#[derive(Default)]
pub(in super::super) struct Moving {
    /// Numbers of segments in buckets that somebody should look at: they did not read as they were written.
    pub(in super::super) suspects: BTreeSet<u64>,
    /// Segments, by number and checksum, that stay here: they are too large, or another object has their name.
    unmovable: BTreeSet<(u64, u64)>,
    /// Why the last try failed.
    pub(in super::super) error: Option<String>,
    deletes: Patience,
    moves: Patience,
}

/// Not to ask a bucket all the time that did not do what it was asked.
#[derive(Default)]
struct Patience {
    until: Option<Instant>,
    pause: Duration,
}

impl Patience {
    fn is_over(&self) -> bool {
        self.until.is_none_or(|until| Instant::now() >= until)
    }

    fn failed(&mut self, first: Duration) {
        self.pause = (self.pause * 2).clamp(first, PAUSE_MAX.max(first));
        self.until = Some(Instant::now() + self.pause);
    }

    fn done(&mut self) {
        *self = Self::default();
    }
}

/// Does one thing, if there is something to do: deletes an object, looks at a segment that did not read well, or moves one.
pub(super) fn step(shared: &Shared, rules: &Rules) -> Result<Option<Work>, Error> {
    if lock(&shared.moving).deletes.is_over() {
        let done = delete_one(shared);
        let mut moving = lock(&shared.moving);
        match told(&done) {
            None => {
                moving.deletes.done();
                if let Some(object) = done? {
                    return Ok(Some(Work::Deleted { file: object }));
                }
            }
            Some(why) => {
                tracing::warn!(error = why, "an object cannot be deleted from its bucket yet");
                moving.deletes.failed(shared.config.bucket_pause);
                moving.error = Some(why);
            }
        }
    }
    if !lock(&shared.moving).moves.is_over() {
        return Ok(None);
    }
    let done = suspects(shared).and_then(|()| move_one(shared, rules));
    let mut moving = lock(&shared.moving);
    match told(&done) {
        None => {
            moving.moves.done();
            if moving.deletes.until.is_none() && moving.unmovable.is_empty() {
                moving.error = None;
            }
            done
        }
        Some(why) => {
            tracing::warn!(error = why, "a click segment cannot be moved or looked at in its bucket yet");
            moving.moves.failed(shared.config.bucket_pause);
            moving.error = Some(why);
            Ok(None)
        }
    }
}

/// The trouble in words, if it is the bucket's.
fn told<T>(done: &Result<T, Error>) -> Option<String> {
    match done {
        Err(error @ Error::Bucket { source, .. }) => Some(format!("{error}: {source}")),
        _ => None,
    }
}

/// The bucket of that name.
pub(super) fn reach(shared: &Shared, bucket: &str) -> Result<Arc<Reach>, Error> {
    shared.reaches.of(bucket).map_err(Error::bucket("open", bucket.to_owned()))
}

/// Deletes the first object whose segment is gone. Returns its name.
fn delete_one(shared: &Shared) -> Result<Option<String>, Error> {
    let unlisted = lock(&shared.manifest).objects_unlisted()?;
    unlisted.first().map(|object| delete_object(shared, object)).transpose()
}

/// Deletes every object whose segment is gone: what is said to be erased is nowhere.
pub(super) fn delete_objects(shared: &Shared) -> Result<(), Error> {
    let unlisted = lock(&shared.manifest).objects_unlisted()?;
    unlisted.iter().try_for_each(|object| delete_object(shared, object).map(drop))
}

fn delete_object(shared: &Shared, object: &Object) -> Result<String, Error> {
    let shown = format!("{}/{}", object.bucket, object.file);
    // The manifest is a file like others: only names that we give are deleted for its sake.
    if SegmentName::parse(&object.file).is_some() {
        let deleted = reach(shared, &object.bucket)?.delete(&object.file);
        deleted.map_err(Error::bucket("delete", shown.clone()))?;
        tracing::info!(segment.file = shown, "deleted an object of the click log from its bucket");
    }
    lock(&shared.manifest).object_forget(object)?;
    Ok(shown)
}

/// Looks at the segments that did not read well.
fn suspects(shared: &Shared) -> Result<(), Error> {
    loop {
        let Some(seq) = lock(&shared.moving).suspects.pop_first() else { return Ok(()) };
        if let Err(error) = ill::verify(shared, seq) {
            lock(&shared.moving).suspects.insert(seq);
            return Err(error);
        }
    }
}

fn move_one(shared: &Shared, rules: &Rules) -> Result<Option<Work>, Error> {
    let Some(bucket) = &shared.config.segments_bucket else { return Ok(None) };
    let local: Span = shared.config.segments_local;
    let left_out = lock(&shared.unsealable).clone();
    let unmovable = lock(&shared.moving).unmovable.clone();
    let view = shared.registry.all();
    // Its side file is made again from the file that is here.
    let lost = lock(&shared.sides_lost).clone();
    let is_lost = |seq| view.segment(seq).is_some_and(|segment| lost.contains(&segment.side));
    let stays = |seq, checksum| {
        left_out.contains(&(seq, checksum)) || unmovable.contains(&(seq, checksum)) || is_lost(seq)
    };
    let Some(segment) = plan::to_move(&view, rules, local, &stays) else { return Ok(None) };
    let name = segment.sealed.name;
    if segment.sealed.bytes > BYTES_MAX {
        stay(shared, &segment, name.key(), "it is larger than what is moved");
        return Ok(Some(Work::Overtaken));
    }
    let path = shared.config.dir.join(name.key());
    let bytes = match std::fs::read(&path) {
        Ok(bytes) => Bytes::from(bytes),
        // It is merged, expired or missing: whoever looks at it says which.
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            leave_out(shared, of_segment(&segment));
            return Ok(Some(Work::Overtaken));
        }
        Err(error) => return Err(Error::io("read", &path)(error)),
    };
    let mut hasher = SipHasher13::new();
    hasher.write(&bytes);
    let rows = (hasher.finish() == segment.sealed.checksum)
        .then(|| Rows::of_segment(&shared.config.dir, name, false))
        .transpose()?;
    // What was changed on the disk is not what a bucket is to keep.
    let Some(rows) = rows else {
        leave_out(shared, of_segment(&segment));
        return Ok(Some(Work::Overtaken));
    };
    let replaces = numbers(rows.said(About::REPLACES));
    drop(rows);

    let reach = reach(shared, bucket)?;
    let shown = reach.shown(&name.key());
    let mut object = Object { bucket: bucket.clone(), file: name.key(), seq: name.seq, is_put: false };
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
                stay(shared, &segment, shown, "something else is there under its name");
                return Ok(Some(Work::Overtaken));
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
        moved: vec![(name.seq, Moved { bucket: bucket.clone(), replaces })],
        doomed: vec![name.key()],
        ..Change::default()
    };
    if !swap(shared, &change, |view: &View| is_same_segment(view, &segment))? {
        return Ok(Some(Work::Overtaken));
    }
    let (clicks, bytes) = (segment.extent().clicks, segment.sealed.bytes);
    tracing::info!(segment.file = shown, segment.clicks = clicks, "moved a click segment into its bucket");
    Ok(Some(Work::Moved { file: name.key(), bucket: bucket.clone(), clicks, bytes }))
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
    moving.error = Some(format!("{shown}: {why}"));
}

/// A segment's bytes as a file at the place that it has in the log's directory. One that came from a bucket goes away with
/// this; after a crash, with the next start.
pub(super) struct Brought<'a> {
    shared: &'a Shared,
    /// Its name, if it came from a bucket.
    file: Option<String>,
}

impl Drop for Brought<'_> {
    fn drop(&mut self) {
        if let Some(file) = &self.file
            && let Err(error) = delete(&self.shared.config.dir, std::slice::from_ref(file))
        {
            tracing::warn!(
                error = &error as &dyn std::error::Error,
                "the copy of a segment that lies in a bucket cannot be deleted yet"
            );
        }
    }
}

/// Has a segment's bytes here, compared with its checksum if they come from a bucket.
pub(super) fn bring<'a>(shared: &'a Shared, segment: &Segment, pace: Pace<'_>) -> Result<Brought<'a>, Error> {
    let Some(moved) = &segment.moved else { return Ok(Brought { shared, file: None }) };
    let reach = reach(shared, &moved.bucket)?;
    let (brought, sum) = fetch(shared, &reach, segment, segment.sealed.bytes, pace)?;
    if sum != segment.sealed.checksum {
        lock(&shared.moving).suspects.insert(segment.seq());
        let shown = PathBuf::from(reach.shown(&segment.sealed.name.key()));
        return Err(Error::Damaged { file: shown, row: 0 });
    }
    Ok(brought)
}

/// Has so many bytes of a segment's object here, whatever they are, with their checksum.
pub(super) fn fetch<'a>(
    shared: &'a Shared,
    reach: &Reach,
    segment: &Segment,
    length: u64,
    pace: Pace<'_>,
) -> Result<(Brought<'a>, u64), Error> {
    let dir = &shared.config.dir;
    let name = segment.sealed.name;
    let key = name.key();
    let tmp = dir.join(format!("{}-{}.parquet{UNFINISHED}", name.node, name.seq));
    let path = dir.join(&key);
    let file = File::create(&tmp).map_err(Error::io("create", &tmp))?;
    let mut out = Paced::new(file, pace);
    let mut hasher = SipHasher13::new();
    let mut written = Ok(());
    let read = reach.stream(&key, length, &shared.sealing_stop, |bytes| {
        hasher.write(bytes);
        written = out.write_all(bytes);
        if written.is_ok() { Ok(()) } else { Err(io::Error::other("it cannot be written here")) }
    });
    let done = written
        .map_err(Error::io("write", &tmp))
        .and_then(|()| read.map_err(Error::bucket("read", reach.shown(&key))))
        .and_then(|()| durable::make_dir_of(dir, &key).map_err(Error::io("make the directory of", &path)))
        .and_then(|()| std::fs::rename(&tmp, &path).map_err(Error::io("rename to", &path)));
    match done {
        Ok(()) => Ok((Brought { shared, file: Some(key) }, hasher.finish())),
        Err(error) => {
            let _ = durable::remove(&tmp);
            Err(error)
        }
    }
}
