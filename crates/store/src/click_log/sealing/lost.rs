//! Side files that a start found lost, and left for later: they are made again one after the other beside everything else, the
//! newest first, since that is where most look-ups look.
//!
//! Until then a look-up by print over their clicks is an error, and whoever decides by it waits. Reading a segment as a
//! whole in its place would answer, and each answer would take as long as making the file.

use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

use super::ill::{ask, side_again};
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

/// Makes one side file again. `false` when there is nothing more to be made.
///
/// # Errors
/// When files cannot be read or written; the next step tries again.
pub(in super::super) fn step(shared: &Shared) -> Result<bool, Error> {
    if shared.sealing_stop.load(Relaxed) {
        return Ok(false);
    }
    let Some(seq) = lock(&shared.sides_lost).last().copied() else { return Ok(false) };
    shared.config.faults.reach(Point::SideAgain);
    let is_done = match shared.registry.get(seq) {
        Some(_) => closer::verify(shared, seq).map(|_| true)?,
        None => of_segments(shared, seq)?,
    };
    let mut lost = lock(&shared.sides_lost);
    if is_done {
        lost.remove(&seq);
    }
    Ok(!lost.is_empty())
}

/// Whether nothing is left to be made in place of a side file of segments.
fn of_segments(shared: &Shared, seq: u64) -> Result<bool, Error> {
    let dir = &shared.config.dir;
    let view = shared.registry.all();
    let Some(side) = view.side(seq) else { return Ok(true) };
    if is_sound(dir, side).unwrap_or(false) {
        return Ok(true);
    }
    for segment in
        view.segments.iter().rev().filter(|s| s.side == seq && s.local().is_some() && !s.is_missing)
    {
        let name = segment.sealed.name;
        let made = side_again(dir, name, new_seq(shared)?, Pace::calm(&shared.queue), &shared.sealing_stop);
        match made {
            Ok(made) => return put(shared, side, segment, made),
            // What can be read of the segment goes on in another, with a side file of its own.
            Err(error) if error.is_damage() => ask(shared, segment.seq()),
            Err(error) => return Err(error),
        }
    }
    Ok(true)
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
