//! Side files of a day become one, so that a look-up over a month opens thirty.

use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

use super::make::free;
use super::{Whole, Work, is_same_segment, leave_out, new_seq, swap};
use crate::click_log::Shared;
use crate::click_log::error::Error;
use crate::click_log::manifest::Change;
use crate::click_log::pour::Pace;
use crate::click_log::registry::{Segment, View};
use crate::click_log::segment::prints::{self, Prints};
use crate::click_log::segment::{Side, SideName};

/// Makes one side file of these, which are those of these segments, in order of time.
pub(super) fn merge(
    shared: &Shared,
    sides: &[Arc<Side>],
    segments: &[Segment],
    pace: Pace<'_>,
) -> Result<Work, Error> {
    let dir = &shared.config.dir;
    let mut opened = Vec::with_capacity(sides.len());
    for side in sides {
        let path = dir.join(side.name.key());
        // What was changed on the disk must not get into a file whose checksum is right.
        let sound = Prints::open(&path).and_then(|prints| match prints.verify()? {
            true => Ok(prints),
            false => Err(io::Error::new(io::ErrorKind::InvalidData, "the rows are not what was written")),
        });
        let whole = Whole { seq: side.name.seq, checksum: side.checksum, file: side.name.key() };
        let sound = sound.inspect_err(|_| leave_out(shared, whole));
        if shared.sealing_stop.load(Relaxed) {
            return Err(Error::Stopped);
        }
        opened.push(sound.map_err(Error::io("read", &path))?);
    }
    let kept: Vec<u64> = segments.iter().map(Segment::seq).collect();
    let node = segments.first().map_or(0, |segment| segment.sealed.name.node);
    let name = SideName { node, seq: new_seq(shared)? };
    let path = free(dir, &name.key())?;
    let opened: Vec<&Prints> = opened.iter().collect();
    let made =
        prints::merge(&path, name, &kept, &opened, pace, &shared.sealing_stop).map_err(
            |error| match error.kind() {
                io::ErrorKind::Interrupted => Error::Stopped,
                _ => Error::io("write", &path)(error),
            },
        )?;
    let bytes = made.bytes;
    let change = Change {
        sides: vec![made],
        sides_of: kept.iter().map(|segment| (*segment, name.seq)).collect(),
        sides_gone: sides.iter().map(|side| side.name.seq).collect(),
        doomed: sides.iter().map(|side| side.name.key()).collect(),
        ..Change::default()
    };
    let same = |view: &View| segments.iter().all(|segment| is_same_segment(view, segment));
    if !swap(shared, &change, same)? {
        return Ok(Work::Overtaken);
    }
    let file = name.key();
    tracing::info!(side.file = file, side.segments = kept.len(), "merged side files of click segments");
    Ok(Work::SidesMerged { file, sides: sides.len(), bytes })
}
