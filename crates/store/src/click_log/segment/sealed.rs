//! What sealed files are called, what is listed of each, and from where their bytes are read.
//!
//! Names are below the click log's directory (or its prefix in a bucket): `dt=2026-06-04/hr=09/0005-000000000042.parquet`
//! is segment 42 of node 5, whose first id is of that hour (UTC); `prints/0005-000000000043.prints` is a side file.
//! Numbers come from the counter that slices are numbered by, and none is used twice.

use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use parquet::errors::{ParquetError, Result as ParquetResult};
use parquet::file::reader::{ChunkReader, Length};
use roundtrip_domain::time::Timestamp;

use super::super::index::Extent;

/// Width of the hours that segments are kept by.
pub const HOUR_MS: i64 = 3_600_000;
/// Bytes that a reader fetches at a time where it does not say how many it wants.
const READ_BYTES: usize = 8 << 10;

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
    /// Bytes in memory.
    #[cfg(test)]
    Memory(Bytes),
    /// Bytes that make whoever reads them panic.
    #[cfg(test)]
    Panics,
}

impl Source {
    /// Opens a local file.
    pub(in super::super) fn open(path: &Path) -> io::Result<Self> {
        let file = File::open(path)?;
        let len = file.metadata()?.len();
        Ok(Self::File(Arc::new(file), len))
    }

    /// Tells the system that this is wanted soon. Of no consequence where that is not possible.
    pub(super) fn will_read(&self, from: u64, bytes: u32) {
        match self {
            Self::File(file, _) => {
                let len = std::num::NonZeroU64::new(u64::from(bytes));
                let _ = rustix::fs::fadvise(file, from, len, rustix::fs::Advice::WillNeed);
            }
            #[cfg(test)]
            Self::Memory(_) | Self::Panics => {}
        }
    }

    fn fetch(&self, from: u64, length: usize) -> ParquetResult<Bytes> {
        let short = || ParquetError::EOF(format!("no {length} bytes at {from}"));
        if from.checked_add(length as u64).is_none_or(|end| end > self.len()) {
            return Err(short());
        }
        match self {
            Self::File(file, _) => {
                let mut bytes = vec![0; length];
                file.read_exact_at(&mut bytes, from)?;
                Ok(bytes.into())
            }
            #[cfg(test)]
            Self::Memory(bytes) => Ok(bytes.slice(from as usize..from as usize + length)),
            #[cfg(test)]
            Self::Panics => panic!("a test ordered this panic"),
        }
    }
}

impl Length for Source {
    fn len(&self) -> u64 {
        match self {
            Self::File(_, len) => *len,
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
            self.ready = self.source.fetch(self.at, length).map_err(io::Error::other)?;
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
