//! Sealing: closed slices become segments, small segments become larger ones, side files of a day become one.
//!
//! | file | who |
//! | ---- | --- |
//! | `plan` | what goes together, and when; touches no file |
//! | `feed` | the clicks of several files in the order of their ids |
//! | `make` | a segment and its side file are written |
//! | `sides` | the side files of a day become one |
//! | `start` | what a start finds of all this, and puts right |
//! | `ill` | damaged and missing segments |
//! | `moving` | finished segments go into a bucket, and back for whoever needs all of one |
//! | `turns` | whose turn it is in a bucket where something fails |
//! | `lost` | side files made again in the background |
//! | `erase` | files are written anew without the clicks of a person |
//!
//! Whatever is done, it is done in the same steps. New files are written under unfinished names, synced, and given
//! their own, which nothing ever had. One transaction of the manifest lists the new files in place of the old, which
//! it notes as doomed. One change of the registry does the same for look-ups, which therefore find each click at every
//! moment, and once. Then the old files are deleted, and after that the notes.
//!
//! A crash may follow each step. A file without a row in the manifest was never seen by anybody: it is deleted, if the
//! files that it was made of are there, which it names. If they are not, the manifest is older than the files
//! (it was restored, or made again), and the file is listed. Doomed files are deleted.
//!
//! One thing is done at a time (`sealing`); the lock on the files is taken only for the change itself, so closing,
//! expiring and backups go on beside the writing. What they changed of the old files meanwhile is noticed then, and
//! the new files are thrown away.

mod erase;
mod feed;
mod ill;
mod lost;
mod make;
mod moving;
mod plan;
mod sides;
mod start;
mod turns;

use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

use roundtrip_domain::time::Timestamp;

pub use self::erase::ErasedFile;
pub(super) use self::feed::Rows;
pub(super) use self::ill::{Far, Verified, ask, verify};
pub(super) use self::lost::{Left, SidesLost, step as make_lost_side};
pub(super) use self::moving::Moving;
pub(super) use self::start::{Recovered, clear, open};

use self::feed::Feed;
use self::make::{Made, Order, make};
use self::plan::{Rules, Task};
use super::append::lock;
use super::error::Error;
use super::faults::Point;
use super::manifest::{Change, Listed, ListedSegment};
use super::pour::Pace;
use super::registry::{Segment, Slice, State, View};
pub(super) use super::segment::SliceSpan;
use super::segment::{SegmentName, SideName};
use super::slice::{Name, Part};
use super::{ClickLog, Expired, Shared, durable};

/// Steps in a row that came to nothing, after which [`ClickLog::seal_now`] ends.
const OVERTAKEN_MAX: usize = 8;

/// What one step of [`ClickLog::seal`] did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Work {
    /// Closed slices became a segment.
    Sealed {
        /// The segment, below the log's directory.
        file: String,
        /// How many slices.
        slices: usize,
        /// How many clicks.
        clicks: u64,
        /// Bytes of the segment.
        bytes: u64,
    },
    /// Segments became one.
    Merged {
        /// The new segment, below the log's directory.
        file: String,
        /// How many segments.
        segments: usize,
        /// How many clicks.
        clicks: u64,
        /// Bytes of the new segment.
        bytes: u64,
    },
    /// Side files of a day became one.
    SidesMerged {
        /// The new side file, below the log's directory.
        file: String,
        /// How many side files.
        sides: usize,
        /// Bytes of the new side file.
        bytes: u64,
    },
    /// A finished segment went into a bucket.
    Moved {
        /// The segment, below the bucket's prefix as it was below the log's directory.
        file: String,
        /// The bucket.
        bucket: String,
        /// How many clicks.
        clicks: u64,
        /// Bytes of the segment.
        bytes: u64,
    },
    /// An object whose segment is gone was deleted from its bucket.
    Deleted {
        /// The bucket and the object's name in it.
        file: String,
    },
    /// Files changed while new ones were made of them, so the new ones were thrown away.
    Overtaken,
}

impl ClickLog {
    /// Does one step of what is to be done: seals slices, merges segments or side files. `None`: nothing is to be done
    /// now. Slices are sealed once their counts are in the ledger, and their hour is over or they fill a segment. A
    /// step makes one segment at most and goes on for seconds, at a pace that leaves disk and processor to others. When
    /// nothing is to be sealed, a finished segment goes into its bucket, or an object whose segment is gone is deleted
    /// there; what a bucket refuses is logged, shown by [`Self::stats`] and tried again by a later call.
    /// Blocks.
    ///
    /// # Errors
    /// When files cannot be read or written; nothing has changed then, and the next call tries again.
    pub fn seal(&self, now: Timestamp) -> Result<Option<Work>, Error> {
        let shared = self.shared();
        step(shared, now, false, Pace::calm(&shared.queue))
    }

    /// Seals every closed slice whose counts are in the ledger, whatever the hour, without pauses. Returns what was
    /// done. Blocks.
    ///
    /// # Errors
    /// As [`Self::seal`]; what was done before stays.
    pub fn seal_now(&self) -> Result<Vec<Work>, Error> {
        let shared = self.shared();
        let mut done = Vec::new();
        while let Some(work) = step(shared, shared.clock.now(), true, Pace::HURRIED)? {
            done.push(work);
            // Whoever changes the files all the time has them sealed later.
            let overtaken = done.iter().rev().take_while(|work| **work == Work::Overtaken).count();
            if overtaken >= OVERTAKEN_MAX {
                break;
            }
        }
        Ok(done)
    }

    /// Does one step of [`Self::seal_now`], for whoever counts the time between steps. `None`: all is sealed. Blocks.
    ///
    /// # Errors
    /// As [`Self::seal`].
    pub fn seal_next_now(&self) -> Result<Option<Work>, Error> {
        let shared = self.shared();
        step(shared, shared.clock.now(), true, Pace::HURRIED)
    }

    /// Has a step of [`Self::seal`] that is under way end soon, with [`Error::Stopped`], and every later one at once.
    pub fn stop_sealing(&self) {
        self.shared().sealing_stop.store(true, Relaxed);
        self.shared().reaches.stop();
    }
}

fn step(shared: &Shared, now: Timestamp, at_once: bool, pace: Pace<'_>) -> Result<Option<Work>, Error> {
    let _one = lock(&shared.sealing);
    if shared.sealing_stop.load(Relaxed) {
        return Err(Error::Stopped);
    }
    let rules = Rules {
        now,
        seal_after: shared.config.seal_after,
        rows_max: shared.config.segment_rows_max,
        at_once,
    };
    let view = shared.registry.all();
    let unreadable = lock(&shared.unsealable).clone();
    let task = plan::next(&view, &rules, &|seq, checksum| unreadable.contains(&(seq, checksum)));
    let done = match task {
        None if at_once => Ok(None),
        None => moving::step(shared, &rules),
        Some(Task::Seal(slices)) => seal(shared, &slices, pace).map(Some),
        Some(Task::Merge(segments)) => merge(shared, &segments, pace).map(Some),
        Some(Task::Sides(sides, segments)) => sides::merge(shared, &sides, &segments, pace).map(Some),
    };
    *lock(&shared.seal_error) = done.as_ref().err().map(words);
    done
}

/// An error with its cause.
fn words(error: &Error) -> String {
    match std::error::Error::source(error) {
        Some(source) => format!("{error}: {source}"),
        None => error.to_string(),
    }
}

fn seal(shared: &Shared, slices: &[Slice], pace: Pace<'_>) -> Result<Work, Error> {
    let dir = &shared.config.dir;
    let suspect = |error: &Error| {
        let of = slices.iter().find(|s| error.file() == Some(&dir.join(s.name.file(Part::Closed))));
        if let Some(slice) = of {
            leave_out(shared, of_slice(slice));
        }
    };
    let open = |slice: &Slice| {
        as_written(&dir.join(slice.name.file(Part::Closed)), of_slice(slice).checksum)?;
        Rows::of_slice(dir, slice.name)
    };
    let rows: Result<Vec<Rows>, Error> =
        slices.iter().map(|slice| open(slice).inspect_err(suspect)).collect();
    let sources: Vec<u64> = slices.iter().map(|slice| slice.name.seq).collect();
    let made = made_of(shared, slices.first().map_or(0, |s| s.name.node), &sources, rows?, pace)
        .inspect_err(suspect)?;
    let same = |view: &View| slices.iter().all(|slice| is_same_slice(view, slice));
    let Some(made) = made else {
        return nothing_in(shared, &shared.registry.all(), same, slices.iter().map(of_slice));
    };
    let Made { sealed, side } = &made;
    let (file, clicks, bytes) = (sealed.name.key(), sealed.extent.clicks, sealed.bytes);
    let parts = |name: &Name| [Part::Closed, Part::Prints].map(|part| name.file(part));
    let change = Change {
        segments: vec![(sealed.clone(), side.name.seq)],
        sides: vec![side.clone()],
        slices_gone: sources,
        doomed: slices.iter().flat_map(|slice| parts(&slice.name)).collect(),
        ..Change::default()
    };
    if clicks != slices.iter().map(|slice| slice.extent().clicks).sum::<u64>() {
        made.discard(dir);
        return Err(miscounted(shared, &shared.registry.all(), same, slices.iter().map(of_slice)));
    }
    if !swap(shared, &change, same)? {
        return Ok(Work::Overtaken);
    }
    tracing::info!(segment.file = file, segment.clicks = clicks, "sealed click slices");
    Ok(Work::Sealed { file, slices: slices.len(), clicks, bytes })
}

fn merge(shared: &Shared, segments: &[Segment], pace: Pace<'_>) -> Result<Work, Error> {
    let dir = &shared.config.dir;
    let suspect = |error: &Error| {
        let of = segments.iter().find(|s| error.file() == Some(&dir.join(s.sealed.name.key())));
        if let Some(segment) = of {
            leave_out(shared, of_segment(segment));
        }
    };
    let open = |segment: &Segment| {
        let path = dir.join(segment.sealed.name.key());
        as_written(&path, segment.sealed.checksum)?;
        Rows::of_segment(&path, segment.sealed.name, false)
    };
    let rows: Result<Vec<Rows>, Error> =
        segments.iter().map(|segment| open(segment).inspect_err(suspect)).collect();
    let sources: Vec<u64> = segments.iter().map(Segment::seq).collect();
    let made = made_of(shared, segments.first().map_or(0, |s| s.sealed.name.node), &sources, rows?, pace)
        .inspect_err(suspect)?;
    let same = |view: &View| segments.iter().all(|segment| is_same_segment(view, segment));
    let Some(made) = made else {
        return nothing_in(shared, &shared.registry.all(), same, segments.iter().map(of_segment));
    };
    let Made { sealed, side } = &made;
    let (file, clicks, bytes) = (sealed.name.key(), sealed.extent.clicks, sealed.bytes);
    let gone = sides_without(&shared.registry.all(), &sources);
    let change = Change {
        segments: vec![(sealed.clone(), side.name.seq)],
        sides: vec![side.clone()],
        segments_gone: sources,
        sides_gone: gone.iter().map(|side| side.name.seq).collect(),
        doomed: segments
            .iter()
            .map(|s| s.sealed.name.key())
            .chain(gone.iter().map(|side| side.name.key()))
            .collect(),
        ..Change::default()
    };
    if clicks != segments.iter().map(|segment| segment.extent().clicks).sum::<u64>() {
        made.discard(dir);
        return Err(miscounted(shared, &shared.registry.all(), same, segments.iter().map(of_segment)));
    }
    if !swap(shared, &change, same)? {
        return Ok(Work::Overtaken);
    }
    tracing::info!(segment.file = file, segment.clicks = clicks, "merged click segments");
    Ok(Work::Merged { file, segments: segments.len(), clicks, bytes })
}

/// Deletes the segments whose newest id is from before `before`. The caller holds the files.
pub(super) fn expire(shared: &Shared, before_ms: i64) -> Result<Vec<Expired>, Error> {
    let view = shared.registry.all();
    let old: Vec<&Segment> = view.segments.iter().filter(|s| s.extent().id_last_ms < before_ms).collect();
    if old.is_empty() {
        return Ok(Vec::new());
    }
    let segments: Vec<u64> = old.iter().map(|segment| segment.seq()).collect();
    let sides = sides_without(&view, &segments);
    let files = old.iter().filter_map(|s| s.local()).chain(sides.iter().map(|side| side.name.key()));
    let change = Change {
        doomed: files.collect(),
        segments_gone: segments,
        sides_gone: sides.iter().map(|side| side.name.seq).collect(),
        ..Change::default()
    };
    change_files(shared, &change)?;
    let gone = |s: &&Segment| Expired { file: s.sealed.name.key(), seq: s.seq(), clicks: s.extent().clicks };
    Ok(old.iter().filter(|s| !s.is_missing).map(gone).collect())
}

/// Side files that none but these segments have.
fn sides_without(view: &View, segments: &[u64]) -> Vec<Arc<super::segment::Side>> {
    let stays = |seq: u64| view.segments.iter().any(|s| s.side == seq && !segments.contains(&s.seq()));
    let goes = |seq: u64| view.segments.iter().any(|s| s.side == seq && segments.contains(&s.seq()));
    view.sides.iter().filter(|side| goes(side.name.seq) && !stays(side.name.seq)).cloned().collect()
}

/// Writes a segment and its side file with numbers of their own.
fn made_of(
    shared: &Shared,
    node: u16,
    sources: &[u64],
    rows: Vec<Rows>,
    pace: Pace<'_>,
) -> Result<Option<Made>, Error> {
    let seqs = (new_seq(shared)?, new_seq(shared)?);
    let order = Order { dir: &shared.config.dir, node, seqs, sources, pace, faults: &shared.config.faults };
    make(&order, Feed::new(rows, pace, &shared.sealing_stop), &|_| true)
}

/// A file by its number and its bytes: one that was replaced meanwhile is another.
#[derive(Debug, Clone)]
struct Whole {
    seq: u64,
    checksum: u64,
    file: String,
}

fn of_slice(slice: &Slice) -> Whole {
    let checksum = slice.listed().map_or(0, |listed| listed.checksum);
    Whole { seq: slice.name.seq, checksum, file: slice.name.file(Part::Closed) }
}

fn of_segment(segment: &Segment) -> Whole {
    Whole { seq: segment.seq(), checksum: segment.sealed.checksum, file: segment.sealed.name.key() }
}

/// Has a file looked at that does not read as it was written. As long as it stays as it is, nothing is made of it, and
/// the others do not wait for it.
fn leave_out(shared: &Shared, file: Whole) {
    ill::ask(shared, file.seq);
    lock(&shared.unsealable).insert((file.seq, file.checksum));
}

/// What was changed on the disk must not get into a file whose checksum is right.
fn as_written(path: &std::path::Path, checksum: u64) -> Result<(), Error> {
    match durable::checksum(path) {
        Ok(sum) if sum == checksum => Ok(()),
        Ok(_) => Err(Error::Damaged { file: path.to_owned(), row: 0 }),
        Err(error) => Err(Error::io("read", path)(error)),
    }
}

/// The files gave another number of clicks than they are known to hold. Unless they were changed meanwhile, that
/// would be so the next time too.
fn miscounted(
    shared: &Shared,
    view: &View,
    same: impl FnOnce(&View) -> bool,
    files: impl Iterator<Item = Whole>,
) -> Error {
    let mut error = Error::Stopped;
    if same(view) {
        for file in files {
            error = Error::Damaged { file: shared.config.dir.join(&file.file), row: 0 };
            leave_out(shared, file);
        }
    }
    error
}

/// The files gave no click at all, and there is no file of none. Unless they were changed meanwhile they are left out from
/// now on: the next try would come to the same, and the others would wait behind it for ever.
fn nothing_in(
    shared: &Shared,
    view: &View,
    same: impl FnOnce(&View) -> bool,
    files: impl Iterator<Item = Whole>,
) -> Result<Work, Error> {
    match miscounted(shared, view, same, files) {
        Error::Stopped => Ok(Work::Overtaken),
        error => Err(error),
    }
}

/// Puts files in place of others, if those are what they were. New files that did not get there are taken away again:
/// a start would find them unlisted, and what they were made of gone meanwhile.
fn swap(shared: &Shared, change: &Change, same: impl FnOnce(&View) -> bool) -> Result<bool, Error> {
    let done = apply_to_same(shared, change, same);
    let is_listed = || {
        let side = change.sides.first()?;
        let sides = lock(&shared.manifest).sides().ok()?;
        Some(sides.iter().any(|listed| listed.name == side.name))
    };
    // What cannot be known is left there.
    if matches!(done, Ok(false)) || done.is_err() && is_listed() == Some(false) {
        discard(&shared.config.dir, change);
    }
    done
}

/// Takes away the new files of a change that came to nothing.
fn discard(dir: &std::path::Path, change: &Change) {
    let segments = change.segments.iter().map(|(sealed, _)| sealed.name.key());
    for key in change.sides.iter().map(|side| side.name.key()).chain(segments) {
        if let Err(error) = durable::remove(&dir.join(&key)) {
            tracing::warn!(
                error = &error as &dyn std::error::Error,
                segment.file = key,
                "a file that was not finished cannot be deleted"
            );
        }
    }
}

/// A number that no file ever had, nor will have.
fn new_seq(shared: &Shared) -> Result<u64, Error> {
    let seq = shared.seq_last.fetch_add(1, Relaxed) + 1;
    lock(&shared.manifest).seq_note(seq)?;
    Ok(seq)
}

/// Puts files in place of others, if those are what they were: `false` when they are not.
fn apply_to_same(shared: &Shared, change: &Change, same: impl FnOnce(&View) -> bool) -> Result<bool, Error> {
    let _files = lock(&shared.files);
    if !same(&shared.registry.all()) {
        return Ok(false);
    }
    shared.config.faults.reach(Point::BeforeSwap);
    change_files(shared, change)?;
    Ok(true)
}

/// The change itself. The caller holds the files.
fn change_files(shared: &Shared, change: &Change) -> Result<(), Error> {
    {
        let mut manifest = lock(&shared.manifest);
        if let Err(error) = manifest.change(change) {
            // A commit whose end is unknown counts if it can be read.
            let is_listed = match (change.sides.first(), change.moved.first()) {
                (Some(side), _) => manifest.sides()?.iter().any(|listed| listed.name == side.name),
                (None, Some((seq, moved))) => {
                    let is_it =
                        |s: &ListedSegment| s.sealed.name.seq == *seq && s.moved.as_ref() == Some(moved);
                    manifest.segments()?.iter().any(is_it)
                }
                (None, None) => false,
            };
            if !is_listed {
                return Err(error);
            }
        }
    }
    shared.registry.with(|view| apply(view, change));
    shared.config.faults.reach(Point::BeforeDelete);
    delete_doomed(shared, &change.doomed);
    // Behind the deletion: nobody can open them any more.
    let gone = change.slices_gone.iter().chain(&change.segments_gone).chain(&change.sides_gone);
    gone.chain(change.moved.iter().map(|(seq, _)| seq)).for_each(|seq| shared.readers.forget(*seq));
    Ok(())
}

/// Shows a change to look-ups.
fn apply(view: &mut View, change: &Change) {
    for side in &change.sides {
        view.put_side(Arc::new(side.clone()));
    }
    for (sealed, side) in &change.segments {
        let sealed = Arc::new(sealed.clone());
        view.put_segment(Segment { sealed, side: *side, is_missing: false, moved: None });
    }
    for (seq, moved) in &change.moved {
        if let Some(segment) = view.segments.iter_mut().find(|s| s.seq() == *seq) {
            segment.moved = Some(Arc::new(moved.clone()));
        }
    }
    for (seq, side) in &change.sides_of {
        if let Some(segment) = view.segments.iter_mut().find(|s| s.seq() == *seq) {
            segment.side = *side;
        }
    }
    let mut for_counts = Vec::new();
    view.slices.retain(|slice| {
        let goes = change.slices_gone.contains(&slice.name.seq);
        // Its counts are still to be told.
        if goes && let Some(listed) = slice.listed().filter(|listed| !listed.published) {
            let listed = Arc::new(Listed { elsewhere: true, ..Listed::clone(listed) });
            for_counts.push(Slice { name: slice.name, state: State::Missing { listed } });
        }
        !goes
    });
    for_counts.into_iter().for_each(|slice| view.put(slice));
    view.segments.retain(|segment| !change.segments_gone.contains(&segment.seq()));
    view.sides.retain(|side| !change.sides_gone.contains(&side.name.seq));
}

/// Deletes files that nothing lists. What cannot be deleted stays noted, and the next start deletes it; what a backup
/// reads is deleted behind it.
fn delete_doomed(shared: &Shared, files: &[String]) {
    if shared.is_pinned() {
        return;
    }
    let deleted = delete(&shared.config.dir, files);
    shared.config.faults.reach(Point::BeforeDeleted);
    if let Err(error) = deleted.and_then(|()| lock(&shared.manifest).deleted(files)) {
        tracing::warn!(
            error = &error as &dyn std::error::Error,
            "old files of the click log cannot be deleted yet"
        );
    }
}

/// Deletes what is noted as to be deleted and was kept for a backup.
pub(super) fn sweep(shared: &Shared) -> Result<(), Error> {
    let _files = lock(&shared.files);
    let doomed = lock(&shared.manifest).doomed()?;
    delete_doomed(shared, &doomed.iter().filter(|file| is_ours(file)).cloned().collect::<Vec<_>>());
    doomed.iter().filter_map(|file| number_of(file)).for_each(|seq| shared.readers.forget(seq));
    Ok(())
}

/// The number in the name of a file of ours; `None` where it is none.
fn number_of(file: &str) -> Option<u64> {
    let slice = Name::parse(file).map(|(name, _)| name.seq);
    let segment = || SegmentName::parse(file).map(|name| name.seq);
    slice.or_else(segment).or_else(|| SideName::parse(file).map(|name| name.seq))
}

/// Whether a name is one that we give. The manifest is a file like others: only these are deleted for its sake.
fn is_ours(file: &str) -> bool {
    number_of(file).is_some()
}

/// Deletes files, makes that durable, and takes away the directories that are left empty.
fn delete(dir: &std::path::Path, files: &[String]) -> Result<(), Error> {
    let mut dirs = std::collections::BTreeSet::new();
    for file in files {
        let path = dir.join(file);
        durable::remove(&path).map_err(Error::io("delete", &path))?;
        dirs.extend(path.parent().map(ToOwned::to_owned));
    }
    for parent in dirs {
        match durable::sync_dir(&parent) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => continue,
            other => other.map_err(Error::io("sync", &parent))?,
        }
        // An hour's directory, then its day's. One that holds something stays.
        if parent.file_name().is_some_and(|name| name.to_string_lossy().starts_with("hr="))
            && std::fs::remove_dir(&parent).is_ok()
            && let Some(day) = parent.parent()
        {
            let _ = std::fs::remove_dir(day);
        }
    }
    Ok(())
}

fn is_same_slice(view: &View, slice: &Slice) -> bool {
    let now = view.slice(slice.name.seq).map(|s| &s.state);
    match (now, &slice.state) {
        (Some(State::Closed { listed, recorded: true }), State::Closed { listed: then, .. }) => {
            listed.checksum == then.checksum && listed.published
        }
        _ => false,
    }
}

fn is_same_segment(view: &View, segment: &Segment) -> bool {
    view.segment(segment.seq()).is_some_and(|now| {
        !now.is_missing
            && now.side == segment.side
            && now.sealed.checksum == segment.sealed.checksum
            && now.moved == segment.moved
    })
}
