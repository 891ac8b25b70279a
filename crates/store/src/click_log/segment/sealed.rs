//! What sealed files are called, what is listed of each, and from where their bytes are read.
//!
//! Names are below the click log's directory (or its prefix in a bucket): `dt=2026-06-04/hr=09/0005-000000000042.parquet`
//! is segment 42 of node 5, whose first id is of that hour (UTC); `prints/0005-000000000043.prints` is a side file.
//! Numbers come from the counter that slices are numbered by, and none is used twice.

use std::fs::File;
use std::io::{self, Read};
use std::ops::Range;
use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use parquet::errors::{ParquetError, Result as ParquetResult};
use parquet::file::reader::{ChunkReader, Length};
use roundtrip_domain::time::Timestamp;
use rustix::buffer::spare_capacity;
use rustix::io::{Errno, ReadWriteFlags};

use super::super::bucket::Reach;
use super::super::index::Extent;

/// Width of the hours that segments are kept by.
pub const HOUR_MS: i64 = 3_600_000;
/// Bytes that a reader fetches at a time where it does not say how many it wants.
const READ_BYTES: usize = 8 << 10;
/// Bytes at the end of an object that are read in one go: the footer and the index of 262,144 rows have room in it.
const TAIL_BYTES: u64 = 256 << 10;

/// What a segment is called.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SegmentName {
    /// The hour of its first id: its start, in milliseconds since the epoch.
    pub hour_ms: i64,
    /// Number of the node that wrote its clicks, 0–4095.
    pub node: u16,
    /// Its number; never used twice by one data directory.
    pub seq: u64,
}

impl SegmentName {
    /// The name of a segment whose first id is of this moment.
    pub fn new(node: u16, seq: u64, id_first_ms: i64) -> Self {
        Self { hour_ms: Timestamp::from_ms(id_first_ms).floor_to(HOUR_MS).ms(), node, seq }
    }

    /// Where it lies, below the log's directory.
    pub fn key(&self) -> String {
        let hour = jiff::Timestamp::from_millisecond(self.hour_ms).unwrap_or_default();
        format!("{}/{:04}-{:012}.parquet", hour.strftime("dt=%Y-%m-%d/hr=%H"), self.node, self.seq)
    }

    /// Reads a name that [`Self::key`] made; anything else is `None`.
    pub fn parse(key: &str) -> Option<Self> {
        let mut parts = key.split('/');
        let (date, hour, file) = (parts.next()?, parts.next()?, parts.next()?);
        let (date, hour) = (date.strip_prefix("dt=")?, hour.strip_prefix("hr=")?);
        let at: jiff::Timestamp = format!("{date}T{hour}:00:00Z").parse().ok()?;
        let (node, seq) = file.strip_suffix(".parquet")?.split_once('-')?;
        let name = Self { hour_ms: at.as_millisecond(), node: node.parse().ok()?, seq: seq.parse().ok()? };
        // One way of writing each name: no sign, no other number of digits.
        (name.node <= 4_095 && name.key() == key).then_some(name)
    }
}

/// What a side file of sealed clicks is called.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SideName {
    /// Number of the node that wrote its clicks, 0–4095.
    pub node: u16,
    /// Its number; never used twice by one data directory.
    pub seq: u64,
}

impl SideName {
    /// Where it lies, below the log's directory. It is always local.
    pub fn key(&self) -> String {
        format!("prints/{:04}-{:012}.prints", self.node, self.seq)
    }

    /// Reads a name that [`Self::key`] made; anything else is `None`.
    pub fn parse(key: &str) -> Option<Self> {
        let (node, seq) = key.strip_prefix("prints/")?.strip_suffix(".prints")?.split_once('-')?;
        let name = Self { node: node.parse().ok()?, seq: seq.parse().ok()? };
        (name.node <= 4_095 && name.key() == key).then_some(name)
    }
}

/// What is listed of a segment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in super::super) struct Sealed {
    pub(in super::super) name: SegmentName,
    /// First and last moments; `clicks` are the rows.
    pub(in super::super) extent: Extent,
    /// Bytes of the file.
    pub(in super::super) bytes: u64,
    /// SipHash-1-3 (zero key) of the file.
    pub(in super::super) checksum: u64,
}

/// What is listed of a side file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in super::super) struct Side {
    pub(in super::super) name: SideName,
    /// Numbers of the segments that it covers, in order of time, as they stand in the file.
    pub(in super::super) segments: Vec<u64>,
    /// Bytes of the file.
    pub(in super::super) bytes: u64,
    /// SipHash-1-3 (zero key) of the file's header, in which that of the rest stands.
    pub(in super::super) checksum: u64,
}

/// From where the bytes of a segment are read. Several look-ups may read at once: there is no position.
#[derive(Clone)]
pub(in super::super) enum Source {
    /// A local file.
    File(Arc<File>, u64),
    /// An object in a bucket: its name there, and its length as it is listed. Each reading is a request.
    Object(Arc<Reach>, Arc<str>, u64),
    /// Another source, parts of which are in memory.
    Ahead(Arc<Ahead>),
    /// Bytes in memory.
    #[cfg(test)]
    Memory(Bytes),
    /// Bytes that make whoever reads them panic.
    #[cfg(test)]
    Panics,
}

/// What was read of a source before it was asked for: where each part begins, and its bytes.
pub(in super::super) struct Ahead {
    of: Source,
    parts: Vec<(u64, Bytes)>,
}

impl Source {
    /// An object of so many bytes. Asks nobody yet.
    pub(in super::super) fn object(reach: Arc<Reach>, key: &str, len: u64) -> Self {
        Self::Object(reach, key.into(), len)
    }

    /// Opens a local file.
    pub(in super::super) fn open(path: &Path) -> io::Result<Self> {
        let file = File::open(path)?;
        let len = file.metadata()?.len();
        Ok(Self::File(Arc::new(file), len))
    }

    /// Whether each reading is a request to somebody else.
    pub(super) fn is_far(&self) -> bool {
        match self {
            Self::Object(..) => true,
            Self::Ahead(ahead) => ahead.of.is_far(),
            Self::File(..) => false,
            #[cfg(test)]
            Self::Memory(_) | Self::Panics => false,
        }
    }

    /// The same source, to be asked for these parts next. Of a file, what the system has in memory is read at once, and the
    /// system is told that the rest is wanted soon; a bucket is asked for all of them at once. One after the other would
    /// take as many times as long.
    ///
    /// # Errors
    /// When a bucket does not give them.
    pub(super) fn ahead(&self, ranges: &[Range<u64>]) -> io::Result<Self> {
        match self {
            Self::File(file, len) => {
                let is_there = |range: &Range<u64>| range.start < range.end && range.end <= *len;
                let mut parts = Vec::with_capacity(ranges.len());
                let mut rest = ranges.iter().filter(|range| is_there(range));
                for range in rest.by_ref() {
                    let Some(bytes) = at_hand(file, range) else {
                        advise(file, range);
                        break;
                    };
                    parts.push((range.start, bytes));
                }
                // The disk is asked for them all at once.
                rest.for_each(|range| advise(file, range));
                Ok(Self::Ahead(Arc::new(Ahead { of: self.clone(), parts })))
            }
            Self::Object(reach, key, len) => {
                let there = |range: &&Range<u64>| range.start < range.end && range.end <= *len;
                let ranges: Vec<Range<u64>> = ranges.iter().filter(there).cloned().collect();
                if ranges.is_empty() {
                    return Ok(self.clone());
                }
                let read = reach.look_up(key, &ranges)?;
                let parts = ranges.into_iter().map(|range| range.start).zip(read).collect();
                Ok(Self::Ahead(Arc::new(Ahead { of: self.clone(), parts })))
            }
            Self::Ahead(ahead) => ahead.of.ahead(ranges),
            #[cfg(test)]
            Self::Memory(_) | Self::Panics => Ok(self.clone()),
        }
    }

    /// The same source, to be asked for its footer next.
    ///
    /// # Errors
    /// As [`Self::ahead`].
    pub(super) fn tail(&self) -> io::Result<Self> {
        let len = self.len();
        if !self.is_far() {
            return Ok(self.clone());
        }
        self.ahead(std::slice::from_ref(&(len.saturating_sub(TAIL_BYTES)..len)))
    }

    fn fetch(&self, from: u64, length: usize) -> ParquetResult<Bytes> {
        let short = || ParquetError::EOF(format!("no {length} bytes at {from}"));
        if from.checked_add(length as u64).is_none_or(|end| end > self.len()) {
            return Err(short());
        }
        if length == 0 {
            return Ok(Bytes::new());
        }
        match self {
            Self::File(file, _) => {
                let mut bytes = Vec::with_capacity(length);
                while bytes.len() < length {
                    let at = from + bytes.len() as u64;
                    match rustix::io::pread(file, spare_capacity(&mut bytes), at) {
                        Ok(0) => return Err(short()),
                        Ok(_) | Err(Errno::INTR) => {}
                        Err(error) => return Err(io::Error::from(error).into()),
                    }
                }
                // Room may have been made for more than was asked for.
                bytes.truncate(length);
                Ok(bytes.into())
            }
            Self::Object(reach, key, _) => {
                let mut read = reach.look_up(key, std::slice::from_ref(&(from..from + length as u64)))?;
                Ok(read.pop().unwrap_or_default())
            }
            Self::Ahead(ahead) => {
                let end = from + length as u64;
                let holds = |(start, bytes): &&(u64, Bytes)| {
                    *start <= from && end <= start.saturating_add(bytes.len() as u64)
                };
                match ahead.parts.iter().find(holds) {
                    Some((start, bytes)) => {
                        let at = (from - start) as usize;
                        Ok(bytes.slice(at..at + length))
                    }
                    None => ahead.of.fetch(from, length),
                }
            }
            #[cfg(test)]
            Self::Memory(bytes) => Ok(bytes.slice(from as usize..from as usize + length)),
            #[cfg(test)]
            Self::Panics => panic!("a test ordered this panic"),
        }
    }
}

/// A part of a file, if the system has it in memory.
fn at_hand(file: &File, range: &Range<u64>) -> Option<Bytes> {
    let mut bytes = vec![0; usize::try_from(range.end - range.start).ok()?];
    let into = &mut [io::IoSliceMut::new(&mut bytes)];
    let n = rustix::io::preadv2(file, into, range.start, ReadWriteFlags::NOWAIT).ok()?;
    (n == bytes.len()).then(|| bytes.into())
}

/// Tells the system that a part is wanted soon. Of no consequence where it is not possible.
fn advise(file: &File, range: &Range<u64>) {
    let len = std::num::NonZeroU64::new(range.end - range.start);
    let _ = rustix::fs::fadvise(file, range.start, len, rustix::fs::Advice::WillNeed);
}

impl Length for Source {
    fn len(&self) -> u64 {
        match self {
            Self::File(_, len) | Self::Object(.., len) => *len,
            Self::Ahead(ahead) => ahead.of.len(),
            #[cfg(test)]
            Self::Memory(bytes) => bytes.len() as u64,
            #[cfg(test)]
            Self::Panics => 1 << 20,
        }
    }
}

impl ChunkReader for Source {
    type T = From;

    fn get_read(&self, start: u64) -> ParquetResult<From> {
        Ok(From { source: self.clone(), at: start, ready: Bytes::new() })
    }

    fn get_bytes(&self, start: u64, length: usize) -> ParquetResult<Bytes> {
        self.fetch(start, length)
    }
}

/// Reads a source from a place on.
pub(in super::super) struct From {
    source: Source,
    at: u64,
    ready: Bytes,
}

impl Read for From {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        if self.ready.is_empty() {
            let left = self.source.len().saturating_sub(self.at);
            if left == 0 {
                return Ok(0);
            }
            let length = left.min(out.len().max(READ_BYTES) as u64) as usize;
            self.ready = self.source.fetch(self.at, length).map_err(|error| match error {
                // What the system or the bucket said stays what it is.
                ParquetError::External(error) => match error.downcast::<io::Error>() {
                    Ok(error) => *error,
                    Err(error) => io::Error::other(error),
                },
                error => io::Error::other(error),
            })?;
            self.at += length as u64;
        }
        let n = out.len().min(self.ready.len());
        out[..n].copy_from_slice(&self.ready.split_to(n));
        Ok(n)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_written_one_way() {
        let name = SegmentName::new(5, 42, 1_780_565_000_000);
        assert_eq!(name.key(), "dt=2026-06-04/hr=09/0005-000000000042.parquet");
        assert_eq!(SegmentName::parse(&name.key()), Some(name));
        let side = SideName { node: 5, seq: 43 };
        assert_eq!(side.key(), "prints/0005-000000000043.prints");
        assert_eq!(SideName::parse(&side.key()), Some(side));
        let huge = SegmentName::new(4_095, u64::MAX, 0);
        assert_eq!(SegmentName::parse(&huge.key()), Some(huge));
        for bad in [
            "dt=2026-06-04/hr=09/5-42.parquet",
            "dt=2026-06-04/hr=9/0005-000000000042.parquet",
            "dt=2026-06-31/hr=09/0005-000000000042.parquet",
            "dt=2026-06-04/hr=24/0005-000000000042.parquet",
            "dt=2026-06-04/hr=09/4096-000000000042.parquet",
            "dt=2026-06-04/hr=09/0005-+00000000042.parquet",
            "dt=2026-06-04/hr=09/0005-000000000042.parquet.tmp",
            "dt=2026-06-04/hr=09/x/0005-000000000042.parquet",
            "../0005-000000000042.parquet",
            "",
        ] {
            assert_eq!(SegmentName::parse(bad), None, "{bad}");
        }
        for bad in ["prints/5-43.prints", "0005-000000000043.prints", "prints/0005-000000000043.prints.tmp"] {
            assert_eq!(SideName::parse(bad), None, "{bad}");
        }
    }

    #[test]
    fn a_source_is_read_from_anywhere_and_never_past_its_end() {
        let all: Vec<u8> = (0..20_000_u32).map(|n| n as u8).collect();
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("x");
        std::fs::write(&path, &all).expect("it is written");
        for source in [Source::open(&path).expect("it opens"), Source::Memory(all.clone().into())] {
            assert_eq!(source.get_bytes(17, 19_983).expect("it reads"), all[17..]);
            assert!(source.get_bytes(17, 19_984).is_err());
            assert!(source.get_bytes(u64::MAX, 2).is_err());
            let mut rest = Vec::new();
            source.get_read(5).expect("a reader").read_to_end(&mut rest).expect("it reads");
            assert_eq!(rest, all[5..]);
            assert_eq!(source.get_read(30_000).expect("a reader").read(&mut [0; 4]).expect("it reads"), 0);
        }
    }
}
