//! Side files of a day become one, so that a look-up over a month opens thirty.

use std::fs::File;
use std::io::Write;
use std::os::unix::fs::FileExt;
use std::sync::Arc;
use std::time::Instant;

use siphasher::sip::SipHasher13;

use super::make::{Summed, UNFINISHED, Unfinished, put};
use super::{Work, ill, is_same_segment, new_seq, swap};
use crate::click_log::error::Error;
use crate::click_log::faults::Point;
use crate::click_log::manifest::Change;
use crate::click_log::pour::{Pace, Paced};
use crate::click_log::registry::{Segment, View};
use crate::click_log::segment::prints::{self, Prints};
use crate::click_log::segment::{Side, SideName};
use crate::click_log::{Shared, durable};

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
        let file = Prints::open(&path).inspect_err(|_| ill::ask(shared, side.name.seq));
        opened.push(file.map_err(Error::io("open", &path))?);
    }
    let kept: Vec<u64> = segments.iter().map(Segment::seq).collect();
    let node = segments.first().map_or(0, |segment| segment.sealed.name.node);
    let name = SideName { node, seq: new_seq(shared)? };
    let tmp = dir.join(format!("{node}-{}.prints{UNFINISHED}", name.seq));
    let _unfinished = Unfinished(&tmp);
    let file = File::create(&tmp).map_err(Error::io("create", &tmp))?;
    let mut out = Summed { out: Paced::new(file, pace), hasher: SipHasher13::new(), bytes: 0 };
    let header = {
        let mut buffered = std::io::BufWriter::with_capacity(64 << 10, &mut out);
        let mut began = Instant::now();
        let mut rest = || {
            pace.rest(began);
            began = Instant::now();
        };
        prints::merge(&opened, &kept, &mut buffered, &mut rest)
            .and_then(|header| buffered.flush().map(|()| header))
            .inspect_err(|_| sides.iter().for_each(|side| ill::ask(shared, side.name.seq)))
            .map_err(Error::io("merge side files into", &tmp))?
    };
    let bytes = out.bytes;
    out.out.file.write_all_at(&header, 0).map_err(Error::io("write", &tmp))?;
    out.out.file.sync_all().map_err(Error::io("sync", &tmp))?;
    drop(out);
    let checksum = durable::checksum(&tmp).map_err(Error::io("read", &tmp))?;
    shared.config.faults.reach(Point::BeforeSides);
    put(dir, &tmp, &name.key())?;
    let made = Side { name, segments: kept.clone(), bytes, checksum };
    let change = Change {
        sides: vec![made],
        sides_of: kept.iter().map(|segment| (*segment, name.seq)).collect(),
        sides_gone: sides.iter().map(|side| side.name.seq).collect(),
        doomed: sides.iter().map(|side| side.name.key()).collect(),
        ..Change::default()
    };
    let same = |view: &View| segments.iter().all(|segment| is_same_segment(view, segment));
    if !swap(shared, &change, same)? {
        let _ = durable::remove(&dir.join(name.key()));
        return Ok(Work::Overtaken);
    }
    let file = name.key();
    tracing::info!(side.file = file, side.segments = kept.len(), "merged side files of click segments");
    Ok(Work::SidesMerged { file, sides: sides.len(), bytes })
}
