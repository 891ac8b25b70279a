//! A segment and its side file are made: written, synced, and given their names. Nobody knows of them yet.
//!
//! A directory is written by our own hand and not through an object store's client: that one writes a file in one
//! burst and syncs it, and the commits of the redirects stand behind it in the disk's queue. Here it is written as
//! the closer writes (see `pour`). A name is given once the whole file is synced, and is never given twice.

use std::fs::File;
use std::hash::Hasher;
use std::io::{self, Write};
use std::path::Path;

use parquet::errors::ParquetError;
use roundtrip_domain::click::Touch;
use siphasher::sip::SipHasher13;

use super::feed::{EXTENT, Feed, NAME, REPLACES, SOURCES, say};
use crate::click_log::durable;
use crate::click_log::error::Error;
use crate::click_log::faults::{Faults, Point};
use crate::click_log::index::Extent;
use crate::click_log::pour::{Pace, Paced};
use crate::click_log::segment::prints::{self, Entry};
use crate::click_log::segment::{Sealed, SegmentName, Side, SideName, encode_with};

/// The end of the names of files that are being written. A start deletes them.
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
    let replaces = feed.replaces();
    if feed.peek()?.is_none() {
        return Ok(None);
    }
    let tmp = dir.join(format!("{node}-{seq}.parquet{UNFINISHED}"));
    let _unfinished = Unfinished(&tmp);
    let file = File::create(&tmp).map_err(Error::io("create", &tmp))?;
    let mut out = Summed { out: Paced::new(file, pace), hasher: SipHasher13::new(), bytes: 0 };
    let mut entries = Vec::new();
    let extent = std::cell::Cell::new(Extent::EMPTY);
    let touches = feed.filter(|touch| touch.as_ref().map_or(true, keep)).map(|touch| {
        let touch = touch.map_err(Failed::Feed)?;
        let mut so_far = extent.get();
        let row = u32::try_from(so_far.clicks).map_err(|_| Failed::Rows)?;
        let prints = touch.click.prints(&touch.click.params());
        entries.extend(prints.iter().map(|print| Entry {
            scope: print.scope,
            kind: print.kind as u8,
            hash: print.hash,
            segment: 0,
            row,
        }));
        so_far.add(touch.id, touch.click.received_at);
        extent.set(so_far);
        Ok(touch)
    });
    let encoded = encode_with(&mut out, touches, |_| {
        let extent = extent.get();
        vec![
            (NAME, format!("{node},{seq}")),
            (SOURCES, say(sources)),
            (REPLACES, say(&replaces)),
            (EXTENT, say_extent(&extent)),
        ]
    });
    let rows = encoded.map_err(|failed| match failed {
        Failed::Feed(error) => error,
        Failed::Rows => Error::Damaged { file: tmp.clone(), row: i64::from(u32::MAX) },
        Failed::Parquet(error) => Error::parquet("write", &tmp)(error),
    })?;
    if rows == 0 {
        return Ok(None);
    }
    let Summed { out, hasher, bytes } = out;
    out.file.sync_all().map_err(Error::io("sync", &tmp))?;
    drop(out);
    let extent = extent.get();
    let name = SegmentName::new(node, seq, extent.id_first_ms);
    faults.reach(Point::BeforeSegment);
    put(dir, &tmp, &name.key())?;
    let sealed = Sealed { name, extent, bytes, checksum: hasher.finish() };
    faults.reach(Point::BeforeSegmentSide);
    match make_side(dir, node, side_seq, seq, entries, pace) {
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
    node: u16,
    seq: u64,
    segment: u64,
    mut entries: Vec<Entry>,
    pace: Pace<'_>,
) -> Result<Side, Error> {
    entries.sort_unstable();
    let bytes = prints::bytes(&[segment], &entries);
    let tmp = dir.join(format!("{node}-{seq}.prints{UNFINISHED}"));
    let _unfinished = Unfinished(&tmp);
    let file = File::create(&tmp).map_err(Error::io("create", &tmp))?;
    let mut out = Summed { out: Paced::new(file, pace), hasher: SipHasher13::new(), bytes: 0 };
    for piece in bytes.chunks(64 << 10) {
        out.write_all(piece).map_err(Error::io("write", &tmp))?;
    }
    out.out.file.sync_all().map_err(Error::io("sync", &tmp))?;
    let name = SideName { node, seq };
    put(dir, &tmp, &name.key())?;
    Ok(Side { name, segments: vec![segment], bytes: out.bytes, checksum: out.hasher.finish() })
}

/// Takes a file away that did not get its name.
pub(super) struct Unfinished<'a>(pub(super) &'a Path);

impl Drop for Unfinished<'_> {
    fn drop(&mut self) {
        // What cannot be deleted now, a start deletes.
        let _ = durable::remove(self.0);
    }
}

/// Gives a synced file its name, which nothing has.
pub(super) fn put(dir: &Path, tmp: &Path, key: &str) -> Result<(), Error> {
    let to = dir.join(key);
    durable::make_dir_of(dir, key).map_err(Error::io("make the directory of", &to))?;
    if to.exists() {
        let source = io::Error::new(io::ErrorKind::AlreadyExists, "a file with this number is there");
        return Err(Error::Io { what: "put", file: to, source });
    }
    durable::rename(tmp, &to).map_err(Error::io("rename to", &to))
}

fn say_extent(extent: &Extent) -> String {
    let Extent { id_first_ms, id_last_ms, received_first_ms, received_last_ms, clicks } = extent;
    format!("{id_first_ms},{id_last_ms},{received_first_ms},{received_last_ms},{clicks}")
}

/// Reads the extent that a segment says.
pub(super) fn read_extent(said: &str) -> Option<Extent> {
    let mut numbers = said.split(',');
    let mut number = || numbers.next()?.parse::<i64>().ok();
    let extent = Extent {
        id_first_ms: number()?,
        id_last_ms: number()?,
        received_first_ms: number()?,
        received_last_ms: number()?,
        clicks: u64::try_from(number()?).ok()?,
    };
    Some(extent)
}

enum Failed {
    Feed(Error),
    Rows,
    Parquet(ParquetError),
}

impl From<ParquetError> for Failed {
    fn from(error: ParquetError) -> Self {
        Self::Parquet(error)
    }
}

/// Counts and sums what goes by.
pub(super) struct Summed<'a> {
    pub(super) out: Paced<'a>,
    pub(super) hasher: SipHasher13,
    pub(super) bytes: u64,
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
