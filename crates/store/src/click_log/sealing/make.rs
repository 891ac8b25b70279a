//! A segment and its side file are made: written, synced, and given their names. Nobody knows of them yet.
//!
//! A directory is written by our own hand and not through an object store's client: that one writes a file in one
//! burst and syncs it, and the commits of the redirects stand behind it in the disk's queue. Here it is written as
//! the closer writes (see `pour`). A name is given once the whole file is synced, and is never given twice.

use std::fs::File;
use std::hash::Hasher;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use parquet::errors::ParquetError;
use roundtrip_domain::click::Touch;
use siphasher::sip::SipHasher13;

use super::feed::Feed;
use crate::click_log::durable;
use crate::click_log::error::Error;
use crate::click_log::faults::{Faults, Point};
use crate::click_log::index::Extent;
use crate::click_log::pour::{Pace, Paced};
use crate::click_log::segment::prints::{self, Entry};
use crate::click_log::segment::{About, Encoded, Sealed, SegmentName, Side, SideName, encode};

/// The end of the names of segments that are being written. A start deletes them.
pub(super) const UNFINISHED: &str = ".sealing.tmp";

/// Files that nobody knows of yet.
pub(super) struct Made {
    pub(super) sealed: Sealed,
    pub(super) side: Side,
}

impl Made {
    /// Takes them away again; what cannot be deleted is found by the next start.
    pub(super) fn discard(&self, dir: &Path) {
        for key in [self.side.name.key(), self.sealed.name.key()] {
            let _ = durable::remove(&dir.join(key));
        }
    }
}

/// What is made.
pub(super) struct Order<'a> {
    pub(super) dir: &'a Path,
    pub(super) node: u16,
    /// Numbers for the segment and its side file.
    pub(super) seqs: (u64, u64),
    /// Numbers of the files that are read.
    pub(super) sources: &'a [u64],
    pub(super) pace: Pace<'a>,
    pub(super) faults: &'a Faults,
}

/// Writes what `feed` gives and `keep` keeps. `None` when that is nothing.
pub(super) fn make(
    order: &Order<'_>,
    mut feed: Feed<'_>,
    keep: &dyn Fn(&Touch) -> bool,
) -> Result<Option<Made>, Error> {
    let Order { dir, node, seqs: (seq, side_seq), sources, pace, faults } = *order;
    let (replaces, slices) = (feed.replaces(), feed.slices());
    if feed.peek()?.is_none() {
        return Ok(None);
    }
    let tmp = dir.join(format!("{node}-{seq}.parquet{UNFINISHED}"));
    let _unfinished = Unfinished(&tmp);
    let file = File::create(&tmp).map_err(Error::io("create", &tmp))?;
    let mut out = Summed { out: Paced::new(file, pace), hasher: SipHasher13::new(), bytes: 0 };
    let about = About { node, seq, made_from: sources, replaces: &replaces, slices: &slices };
    let touches = feed.filter(|touch| touch.as_ref().map_or(true, keep)).map(|t| t.map_err(Failed::Feed));
    let Encoded { extent, entries } = encode(&mut out, &about, touches).map_err(|failed| match failed {
        Failed::Feed(error) => error,
        Failed::Parquet(error) => Error::parquet("write", &tmp)(error),
    })?;
    if extent.clicks == 0 {
        return Ok(None);
    }
    let Summed { out, hasher, bytes } = out;
    out.file.sync_all().map_err(Error::io("sync", &tmp))?;
    drop(out);
    let name = SegmentName::new(node, seq, extent.id_first_ms);
    faults.reach(Point::BeforeSegment);
    put(dir, &tmp, &name.key())?;
    let sealed = Sealed { name, extent, bytes, checksum: hasher.finish() };
    faults.reach(Point::BeforeSegmentSide);
    match make_side(dir, SideName { node, seq: side_seq }, seq, &entries, pace) {
        Ok(side) => Ok(Some(Made { sealed, side })),
        Err(error) => {
            let _ = durable::remove(&dir.join(name.key()));
            Err(error)
        }
    }
}

/// Writes the side file of one segment.
pub(super) fn make_side(
    dir: &Path,
    name: SideName,
    segment: u64,
    entries: &[Entry],
    pace: Pace<'_>,
) -> Result<Side, Error> {
    let path = free(dir, &name.key())?;
    prints::write(&path, name, &[segment], entries, pace).map_err(Error::io("write", &path))
}

/// Takes a file away that did not get its name.
struct Unfinished<'a>(&'a Path);

impl Drop for Unfinished<'_> {
    fn drop(&mut self) {
        // What cannot be deleted now, a start deletes.
        let _ = durable::remove(self.0);
    }
}

/// Gives a synced file its name, which nothing has.
fn put(dir: &Path, tmp: &Path, key: &str) -> Result<(), Error> {
    let to = free(dir, key)?;
    durable::rename(tmp, &to).map_err(Error::io("rename to", &to))
}

/// Where a file is to lie. The directory is there, the file is not.
pub(super) fn free(dir: &Path, key: &str) -> Result<PathBuf, Error> {
    let path = dir.join(key);
    durable::make_dir_of(dir, key).map_err(Error::io("make the directory of", &path))?;
    if path.exists() {
        let source = io::Error::new(io::ErrorKind::AlreadyExists, "a file with this number is there");
        return Err(Error::Io { what: "create", file: path, source });
    }
    Ok(path)
}

/// Reads the extent that a segment says.
pub(super) fn read_extent(said: &str) -> Option<Extent> {
    let mut numbers = said.split(',');
    let mut number = || numbers.next()?.parse::<i64>().ok();
    Some(Extent {
        id_first_ms: number()?,
        id_last_ms: number()?,
        received_first_ms: number()?,
        received_last_ms: number()?,
        clicks: u64::try_from(number()?).ok()?,
    })
}

enum Failed {
    Feed(Error),
    Parquet(ParquetError),
}

impl From<ParquetError> for Failed {
    fn from(error: ParquetError) -> Self {
        Self::Parquet(error)
    }
}

/// Counts and sums what goes by.
struct Summed<'a> {
    out: Paced<'a>,
    hasher: SipHasher13,
    bytes: u64,
}

impl Write for Summed<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let n = self.out.write(bytes)?;
        self.hasher.write(&bytes[..n]);
        self.bytes += n as u64;
        Ok(n)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }
}
