//! Side files of a day become one, so that a look-up over a month opens thirty.

use std::io;
use std::path::Path;
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
        let whole = Whole { seq: side.name.seq, checksum: side.checksum, file: side.name.key() };
        let sound = sound(&path).inspect_err(|_| leave_out(shared, whole));
        if shared.sealing_stop.load(Relaxed) {
            return Err(Error::Stopped);
        }
        opened.push(sound.map_err(Error::io("read", &path))?);
    }
    let kept: Vec<u64> = segments.iter().map(Segment::seq).collect();
    let node = segments.first().map_or(0, |segment| segment.sealed.name.node);
    let name = SideName { node, seq: new_seq(shared)? };
    let made = write(shared, name, &kept, &opened.iter().collect::<Vec<_>>(), pace)?;
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

/// Opens a side file that is what was written: what was changed on the disk must not get into a file whose checksum is
/// right. `InvalidData` when it is not.
pub(super) fn sound(path: &Path) -> io::Result<Prints> {
    let prints = Prints::open(path)?;
    match prints.verify()? {
        true => Ok(prints),
        false => Err(io::Error::new(io::ErrorKind::InvalidData, "the rows are not what was written")),
    }
}

/// Writes one in place of several, for these segments, in order of time. Nobody knows of it yet.
pub(super) fn write(
    shared: &Shared,
    name: SideName,
    segments: &[u64],
    files: &[&Prints],
    pace: Pace<'_>,
) -> Result<Side, Error> {
    let path = free(&shared.config.dir, &name.key())?;
    let made = prints::merge(&path, name, segments, files, pace, &shared.sealing_stop);
    made.map_err(|error| match error.kind() {
        io::ErrorKind::Interrupted => Error::Stopped,
        _ => Error::io("write", &path)(error),
    })
}
