//! Side files that a start found lost, and left for later: they are made again one after the other beside everything else, the
//! newest first, since that is where most look-ups look. One that cannot be made comes again behind the others. Where a
//! segment cannot be read through for it, the segment is given up, and what can be read of it goes on.
//!
//! Until then a look-up by print over their clicks is an error, and whoever decides by it waits. Reading a segment as a
//! whole in its place would answer, and each answer would take as long as making the file.

use std::collections::BTreeSet;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::{Arc, Mutex};

use super::ill::{Far, give_up, side_again};
use super::{change_files, is_same_segment, new_seq};
use crate::click_log::append::lock;
use crate::click_log::error::Error;
use crate::click_log::faults::Point;
use crate::click_log::manifest::Change;
use crate::click_log::pour::Pace;
use crate::click_log::registry::Segment;
use crate::click_log::segment::Side;
use crate::click_log::segment::prints::Prints;
use crate::click_log::{Shared, closer, durable};

/// The side files that are to be made again.
#[derive(Default)]
pub(in super::super) struct SidesLost(Mutex<Lost>);

/// By numbers: those of slices and of side files of segments.
#[derive(Default)]
struct Lost {
    all: BTreeSet<u64>,
    /// Those that were tried since the others had their turn.
    tried: BTreeSet<u64>,
}

/// What is left to be made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in super::super) enum Left {
    /// Nothing.
    Nothing,
    /// Something that was not tried yet.
    More,
    /// Only what failed.
    Later,
}

impl SidesLost {
    /// With these to be made.
    pub(in super::super) fn new(all: BTreeSet<u64>) -> Self {
        Self(Mutex::new(Lost { all, tried: BTreeSet::new() }))
    }

    /// All that are left.
    pub(in super::super) fn all(&self) -> BTreeSet<u64> {
        lock(&self.0).all.clone()
    }

    /// How many are left.
    pub(in super::super) fn len(&self) -> usize {
        lock(&self.0).all.len()
    }

    /// Whether one is left, by its number.
    pub(in super::super) fn contains(&self, seq: u64) -> bool {
        lock(&self.0).all.contains(&seq)
    }

    /// What is left. Where only those are that failed, they have their turn again.
    pub(in super::super) fn left(&self) -> Left {
        let lost = &mut *lock(&self.0);
        if lost.all.is_empty() {
            return Left::Nothing;
        }
        if lost.all.iter().any(|seq| !lost.tried.contains(seq)) {
            return Left::More;
        }
        lost.tried.clear();
        Left::Later
    }

    /// The newest that was not tried.
    fn next(&self) -> Option<u64> {
        let lost = &mut *lock(&self.0);
        let seq = lost.all.iter().rev().copied().find(|seq| !lost.tried.contains(seq))?;
        // Until it says otherwise it failed, so that a panic is one of those too.
        lost.tried.insert(seq);
        Some(seq)
    }

    /// It did not fail, and is done with or not.
    fn went_on(&self, seq: u64, is_done: bool) {
        let lost = &mut *lock(&self.0);
        lost.tried.remove(&seq);
        if is_done {
            lost.all.remove(&seq);
        }
    }
}

/// Makes one side file again, if there is one to be made. One that fails comes again behind the others.
///
/// # Errors
/// When files cannot be read or written.
pub(in super::super) fn step(shared: &Shared) -> Result<(), Error> {
    if shared.sealing_stop.load(Relaxed) {
        return Err(Error::Stopped);
    }
    let Some(seq) = shared.sides_lost.next() else { return Ok(()) };
    shared.config.faults.reach(Point::SideAgain);
    let is_done = match shared.registry.get(seq) {
        Some(_) => closer::verify(shared, seq, Far::Left).map(|_| true)?,
        None => of_segments(shared, seq)?,
    };
    shared.sides_lost.went_on(seq, is_done);
    Ok(())
}

/// Makes one in place of a side file of segments, for one of them. Whether nothing is left to be made in its place.
fn of_segments(shared: &Shared, seq: u64) -> Result<bool, Error> {
    let dir = &shared.config.dir;
    let view = shared.registry.all();
    let Some(side) = view.side(seq) else { return Ok(true) };
    if is_sound(dir, side).unwrap_or(false) {
        return Ok(true);
    }
    let is_of_it = |s: &&Segment| s.side == seq && s.local().is_some() && !s.is_missing;
    for segment in view.segments.iter().rev().filter(is_of_it) {
        let name = segment.sealed.name;
        let (path, pace) = (dir.join(name.key()), Pace::calm(&shared.queue));
        match side_again(dir, &path, name, new_seq(shared)?, pace, &shared.sealing_stop) {
            Ok(made) => return put(shared, side, segment, made),
            // What can be read of the segment goes on in another, with a side file of its own.
            Err(error) if error.is_damage() => give_up(shared, segment)?,
            // It moved, or expired.
            Err(_) if !is_same_segment(&shared.registry.all(), segment) => return Ok(false),
            Err(error) => return Err(error),
        }
    }
    Ok(!shared.registry.all().segments.iter().any(|segment| is_of_it(&segment)))
}

/// Whether a side file is what is listed.
pub(super) fn is_sound(dir: &std::path::Path, side: &Side) -> std::io::Result<bool> {
    let prints = Prints::open(&dir.join(side.name.key()))?;
    Ok(prints.side(side.name)? == *side && prints.verify()?)
}

/// Lists a side file for a segment. Returns whether the old one is done with.
fn put(shared: &Shared, side: &Arc<Side>, segment: &Segment, made: Side) -> Result<bool, Error> {
    let _files = lock(&shared.files);
    let now = shared.registry.all();
    if now.side(side.name.seq).is_none() || !is_same_segment(&now, segment) {
        let _ = durable::remove(&shared.config.dir.join(made.name.key()));
        return Ok(now.side(side.name.seq).is_none());
    }
    let is_last = !now.segments.iter().any(|s| s.side == side.name.seq && s.seq() != segment.seq());
    let mut change =
        Change { sides_of: vec![(segment.seq(), made.name.seq)], sides: vec![made], ..Change::default() };
    if is_last {
        change.sides_gone.push(side.name.seq);
        change.doomed.push(side.name.key());
    }
    change_files(shared, &change)?;
    tracing::info!(
        side.file = side.name.key(),
        segment.file = segment.sealed.name.key(),
        "made a side file again"
    );
    Ok(is_last)
}
