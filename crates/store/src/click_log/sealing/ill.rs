//! Segments and side files that are not what was written: noticed, set aside, made again as far as they can be read.

use std::fs::File;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use super::feed::{Feed, NEVER, Rows};
use super::lost::is_sound;
use super::make::{Made, Order, make, make_side};
use super::{change_files, is_same_segment, moving, new_seq, sides_without, swap};
use crate::click_log::append::lock;
use crate::click_log::closer::Job;
use crate::click_log::damage::{self, Cause, Damage};
use crate::click_log::error::Error;
use crate::click_log::faults::Faults;
use crate::click_log::manifest::Change;
use crate::click_log::pour::Pace;
use crate::click_log::registry::{Moved, Segment};
use crate::click_log::segment::prints::Entry;
use crate::click_log::segment::{SegmentName, Side, SideName};
use crate::click_log::{Shared, durable};

/// Has the closer look at a file, by its number.
pub(in super::super) fn ask(shared: &Shared, seq: u64) {
    if lock(&shared.suspects).insert(seq) {
        shared.closer_send(Job::Verify { seq });
    }
}

/// Whether a bucket may be asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in super::super) enum Far {
    /// By whoever holds `sealing`: one at a time has to do with a bucket.
    Asked,
    /// By nobody else.
    Left,
}

/// What looking at a file came to.
#[derive(Debug, PartialEq, Eq)]
pub(in super::super) enum Verified {
    /// It is what it should be, or is missing, or it is not there any more under this number.
    Done,
    /// It was damaged.
    Damaged(Damage),
    /// It lies in a bucket, which may not be asked.
    Far,
}

impl From<Option<Damage>> for Verified {
    fn from(damage: Option<Damage>) -> Self {
        damage.map_or(Self::Done, Self::Damaged)
    }
}

/// Compares a segment, or a side file of segments, with its checksum, byte by byte. What can be read of a damaged
/// segment goes on in a new one; a side file is made again. With its newest segment a side file is looked at too.
pub(in super::super) fn verify(shared: &Shared, seq: u64, far: Far) -> Result<Verified, Error> {
    let view = shared.registry.all();
    if let Some(segment) = view.segment(seq) {
        let damage = match &segment.moved {
            _ if segment.is_missing => return Ok(Verified::Done),
            None => verify_segment(shared, segment)?,
            Some(_) if far == Far::Left => return Ok(Verified::Far),
            Some(moved) => verify_object(shared, segment, moved)?,
        };
        if damage.is_some() {
            return Ok(damage.into());
        }
        // Only of one in a bucket: the start asks no bucket.
        if view.side(segment.side).is_none() {
            return side_of_object(shared, segment).map(|()| Verified::Done);
        }
        let newest = view.segments.iter().rev().find(|s| s.side == segment.side && !s.is_missing);
        if newest.is_none_or(|newest| newest.seq() != seq) {
            return Ok(Verified::Done);
        }
        return view
            .side(segment.side)
            .map_or(Ok(None), |side| verify_side(shared, side))
            .map(Verified::from);
    }
    view.side(seq).map_or(Ok(None), |side| verify_side(shared, side)).map(Verified::from)
}

fn verify_segment(shared: &Shared, segment: &Segment) -> Result<Option<Damage>, Error> {
    let dir = &shared.config.dir;
    let name = segment.sealed.name;
    let path = dir.join(name.key());
    let sum = match shared.config.faults.is_unreadable(name.seq) {
        true => Err(std::io::Error::from_raw_os_error(libc::EIO)),
        false => durable::checksum(&path),
    };
    match sum {
        Ok(sum) if sum == segment.sealed.checksum => Ok(None),
        sum if sum.as_ref().map_or_else(is_ill, |_| true) => give_way(shared, segment, &path, Cause::Changed),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            let _files = lock(&shared.files);
            // Merged or expired meanwhile is not missing.
            if is_same_segment(&shared.registry.all(), segment) {
                tracing::error!(segment.file = name.key(), "a click segment is missing");
                let missing = Segment { is_missing: true, ..segment.clone() };
                shared.registry.with(|view| view.put_segment(missing));
                shared.readers.forget(name.seq);
            }
            Ok(None)
        }
        Err(error) => Err(Error::io("read", &path)(error)),
        // The arm above takes it.
        Ok(_) => Ok(None),
    }
}

/// Gives up a segment that lies here and cannot be read through: what can be read of it goes on, also where its bytes are
/// those that were written.
pub(super) fn give_up(shared: &Shared, segment: &Segment) -> Result<(), Error> {
    let damage = verify_segment(shared, segment)?;
    if damage.is_some() || !is_same_segment(&shared.registry.all(), segment) {
        return Ok(());
    }
    let (name, path) = (segment.sealed.name, shared.config.dir.join(segment.sealed.name.key()));
    let rows = Rows::of_segment(&path, name, false);
    match rows.and_then(|rows| rows.all().try_for_each(|touch| touch.map(drop))) {
        Err(error) if error.is_damage() => give_way(shared, segment, &path, Cause::Unreadable).map(drop),
        other => other,
    }
}

/// The same for one that lies in a bucket. What is damaged is set aside here, and deleted there.
fn verify_object(shared: &Shared, segment: &Segment, moved: &Moved) -> Result<Option<Damage>, Error> {
    let (name, bytes) = (segment.sealed.name, segment.sealed.bytes);
    let reach = moving::reach(shared, &moved.bucket)?;
    let shown = reach.shown(&name.key());
    let first = match reach.checksum(&name.key(), bytes, &shared.sealing_stop) {
        Ok(sum) if sum == Some(segment.sealed.checksum) => return Ok(None),
        Ok(sum) => sum,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            let _files = lock(&shared.files);
            if is_same_segment(&shared.registry.all(), segment) {
                let clicks = segment.extent().clicks;
                tracing::error!(segment.file = shown, segment.clicks = clicks, "a click segment is missing");
                let missing = Segment { is_missing: true, ..segment.clone() };
                shared.registry.with(|view| view.put_segment(missing));
                shared.readers.forget(name.seq);
            }
            return Ok(None);
        }
        Err(error) => return Err(Error::bucket("read", shown)(error)),
    };
    let length = reach.length(&name.key()).map_err(Error::bucket("look at", shown.clone()))?;
    let length = length.ok_or_else(|| {
        Error::bucket("look at", shown.clone())(std::io::Error::other("it was there a moment ago"))
    })?;
    let (brought, sum) = moving::fetch(shared, &reach, segment, length, Pace::calm(&shared.queue))?;
    if (length, sum) == (bytes, segment.sealed.checksum) {
        // It was read wrong, not stored wrong.
        return Ok(None);
    }
    if first != (length == bytes).then_some(sum) {
        // What is stored wrong reads the same wrong way each time.
        let source = std::io::Error::other("it reads another way each time");
        return Err(Error::bucket("read", shown)(source));
    }
    // Soon there is no other. The object is noted, and is deleted once its segment is not listed.
    let path = brought.path();
    File::open(path).and_then(|file| file.sync_all()).map_err(Error::io("sync", path))?;
    give_way(shared, segment, path, Cause::Changed)
}

/// What can be read of a damaged segment, whose bytes are in a file at `path`, goes on in a new one; the file is set aside.
/// `None` when it is not what it was any more.
fn give_way(shared: &Shared, segment: &Segment, path: &Path, cause: Cause) -> Result<Option<Damage>, Error> {
    let (dir, name) = (&shared.config.dir, segment.sealed.name);
    let seqs = (new_seq(shared)?, new_seq(shared)?);
    let made = match salvage(dir, path, name, seqs, &shared.config.faults) {
        // It moved into a bucket, or expired.
        Err(_) if !is_same_segment(&shared.registry.all(), segment) => return Ok(None),
        other => other?,
    };
    let _files = lock(&shared.files);
    if !is_same_segment(&shared.registry.all(), segment) {
        made.iter().for_each(|made| made.discard(dir));
        return Ok(None);
    }
    let set_aside = damage::set_aside_as(dir, path, &name.key()).map_err(Error::io("set aside", path))?;
    let clicks_kept = made.as_ref().map_or(0, |made| made.sealed.extent.clicks);
    let gone = sides_without(&shared.registry.all(), &[name.seq]);
    change_files(shared, &replaced(name.seq, made, &gone))?;
    let damage = Damage { file: name.key(), cause, set_aside, clicks_kept };
    shared.damaged(damage.clone());
    Ok(Some(damage))
}

/// Makes the side file again of a segment that lies in a bucket and has none.
fn side_of_object(shared: &Shared, segment: &Segment) -> Result<(), Error> {
    let (name, pace) = (segment.sealed.name, Pace::calm(&shared.queue));
    let brought = moving::bring(shared, segment, pace)?;
    let (dir, seq) = (&shared.config.dir, new_seq(shared)?);
    let side = side_again(dir, brought.path(), name, seq, pace, &shared.sealing_stop)?;
    let sides_of = vec![(segment.seq(), side.name.seq)];
    let change = Change { sides: vec![side], sides_of, ..Change::default() };
    swap(shared, &change, |view| is_same_segment(view, segment)).map(drop)
}

/// Whether the disk says that it cannot read what it has: as bad as other bytes.
fn is_ill(error: &std::io::Error) -> bool {
    error.raw_os_error() == Some(libc::EIO)
}

/// A segment gives way to what could be read of it.
pub(super) fn replaced(seq: u64, made: Option<Made>, sides_gone: &[Arc<Side>]) -> Change {
    let mut change = Change {
        segments_gone: vec![seq],
        sides_gone: sides_gone.iter().map(|side| side.name.seq).collect(),
        doomed: sides_gone.iter().map(|side| side.name.key()).collect(),
        ..Change::default()
    };
    if let Some(Made { sealed, side }) = made {
        change.segments.push((sealed, side.name.seq));
        change.sides.push(side);
    }
    change
}

/// Makes a segment of what can be read of a damaged one, whose bytes are in a file at `path` and stay there. `None`:
/// nothing can.
pub(super) fn salvage(
    dir: &Path,
    path: &Path,
    name: SegmentName,
    seqs: (u64, u64),
    faults: &Faults,
) -> Result<Option<Made>, Error> {
    let rows = match Rows::of_segment(path, name, true) {
        Err(error) if error.is_damage() => return Ok(None),
        other => other?,
    };
    let order = Order { dir, node: name.node, seqs, sources: &[name.seq], pace: Pace::HURRIED, faults };
    make(&order, Feed::new(vec![rows], Pace::HURRIED, &NEVER), &|_| true)
}

fn verify_side(shared: &Shared, side: &Arc<Side>) -> Result<Option<Damage>, Error> {
    let dir = &shared.config.dir;
    let path = dir.join(side.name.key());
    // It is made again as it is.
    if shared.sides_lost.contains(side.name.seq) {
        return Ok(None);
    }
    match is_sound(dir, side) {
        Ok(true) => return Ok(None),
        Err(error)
            if !is_ill(&error)
                && !matches!(
                    error.kind(),
                    std::io::ErrorKind::NotFound | std::io::ErrorKind::InvalidData
                ) =>
        {
            return Err(Error::io("read", &path)(error));
        }
        _ => {}
    }
    let view = shared.registry.all();
    // A segment in a bucket has none for a while: this may be the closer, which does not wait for buckets.
    let is_of_it = |s: &&Segment| s.side == side.name.seq && !s.is_missing;
    let (far, of_it): (Vec<&Segment>, Vec<&Segment>) =
        view.segments.iter().filter(is_of_it).partition(|s| s.moved.is_some());
    let mut made = Vec::new();
    for segment in &of_it {
        let (name, seq) = (segment.sealed.name, new_seq(shared)?);
        match side_again(dir, &dir.join(name.key()), name, seq, Pace::HURRIED, &NEVER) {
            Ok(side) => made.push(side),
            Err(error) => {
                take_away(dir, &made);
                if error.is_damage() {
                    give_up(shared, segment)?;
                }
                // One that was given up has a side file of its own now; one that moved or expired needs none here.
                return match is_same_segment(&shared.registry.all(), segment) {
                    true => Err(error),
                    false => verify_side(shared, side),
                };
            }
        }
    }
    let _files = lock(&shared.files);
    let now = shared.registry.all();
    if now.side(side.name.seq).is_none() || !of_it.iter().all(|segment| is_same_segment(&now, segment)) {
        take_away(dir, &made);
        return Ok(None);
    }
    let change = Change {
        sides_of: of_it.iter().zip(&made).map(|(s, side)| (s.seq(), side.name.seq)).collect(),
        sides: made,
        sides_gone: vec![side.name.seq],
        doomed: vec![side.name.key()],
        ..Change::default()
    };
    change_files(shared, &change)?;
    far.iter().for_each(|segment| lock(&shared.moving).suspect(segment.seq()));
    let clicks_kept = of_it.iter().map(|segment| segment.extent().clicks).sum();
    let damage = Damage { file: side.name.key(), cause: Cause::Changed, set_aside: Vec::new(), clicks_kept };
    shared.damaged(damage.clone());
    Ok(Some(damage))
}

/// Takes side files away that nobody knows of yet; what cannot be deleted is found by the next start.
fn take_away(dir: &Path, made: &[Side]) {
    for side in made {
        let _ = durable::remove(&dir.join(side.name.key()));
    }
}

/// Makes a side file again from its segment, whose bytes are in a file at `path`.
pub(super) fn side_again(
    dir: &Path,
    path: &Path,
    name: SegmentName,
    seq: u64,
    pace: Pace<'_>,
    stop: &AtomicBool,
) -> Result<Side, Error> {
    let mut entries = Vec::new();
    let rows = vec![Rows::of_segment(path, name, false)?];
    for (row, touch) in Feed::new(rows, pace, stop).enumerate() {
        let touch = touch?;
        let row = u32::try_from(row)
            .map_err(|_| Error::Damaged { file: path.to_owned(), row: i64::from(u32::MAX) })?;
        entries.extend(touch.click.prints(&touch.click.params()).iter().map(|print| Entry {
            scope: print.scope,
            kind: print.kind as u8,
            hash: print.hash,
            segment: 0,
            row,
        }));
    }
    entries.sort_unstable();
    make_side(dir, SideName { node: name.node, seq }, name.seq, &entries, pace)
}
