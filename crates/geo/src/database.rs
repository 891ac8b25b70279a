//! One database: a file, read whole and checked before it is used.

use std::collections::HashSet;
use std::fs::{File, Metadata};
use std::io::Read as _;
use std::net::IpAddr;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

use maxminddb::{Reader, WithinOptions};
use roundtrip_domain::time::Timestamp;

use crate::About;
use crate::record::Record;

/// The largest file that is read, in bytes: 512 MiB. The largest city databases have about a quarter of that; while one
/// is replaced, the old and the new are in memory together.
pub const BYTES_MAX: u64 = 512 * 1024 * 1024;

/// Why a file cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// The system does not give it.
    #[error("it cannot be read: {0}")]
    Unreadable(String),
    /// It is a directory, a pipe, or something else.
    #[error("it is no regular file")]
    NoFile,
    /// It is beyond [`BYTES_MAX`].
    #[error("it has {0} bytes; at most {BYTES_MAX} are read")]
    TooLarge(u64),
    /// It was written to meanwhile.
    #[error("it changed while it was read; replace it by renaming a finished file over it")]
    Changed,
    /// It is no database, or a torn one.
    #[error("it is no whole MaxMind database: {0}")]
    Damaged(String),
    /// Nothing in it says where an address is.
    #[error("it is a {0} database, and none of its records names a country, a city or a network")]
    Useless(String),
}

/// By what a change of a file is noticed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Stamp {
    device: u64,
    inode: u64,
    bytes: u64,
    modified: (i64, i64),
    changed: (i64, i64),
}

impl Stamp {
    pub(crate) fn of(path: &Path) -> std::io::Result<Self> {
        std::fs::metadata(path).map(|metadata| Self::from(&metadata))
    }
}

impl From<&Metadata> for Stamp {
    fn from(metadata: &Metadata) -> Self {
        Self {
            device: metadata.dev(),
            inode: metadata.ino(),
            bytes: metadata.len(),
            modified: (metadata.mtime(), metadata.mtime_nsec()),
            changed: (metadata.ctime(), metadata.ctime_nsec()),
        }
    }
}

/// A database in memory.
#[derive(Debug)]
pub(crate) struct Database {
    reader: Reader<Vec<u8>>,
    pub(crate) about: About,
}

impl Database {
    /// Reads and checks a file.
    pub(crate) fn read(path: &Path) -> Result<(Self, Stamp), Refused> {
        let unreadable = |error: std::io::Error| Refused::Unreadable(error.to_string());
        // Before it is opened: opening a pipe waits for somebody who writes to it.
        if !std::fs::metadata(path).map_err(unreadable)?.is_file() {
            return Err(Refused::NoFile);
        }
        let mut file = File::open(path).map_err(unreadable)?;
        let before = file.metadata().map_err(unreadable)?;
        let bytes = before.len();
        if bytes > BYTES_MAX {
            return Err(Refused::TooLarge(bytes));
        }
        let capacity = usize::try_from(bytes).unwrap_or(usize::MAX).saturating_add(1);
        let mut content = Vec::new();
        content.try_reserve_exact(capacity).map_err(|error| Refused::Unreadable(error.to_string()))?;
        (&mut file).take(bytes.saturating_add(1)).read_to_end(&mut content).map_err(unreadable)?;
        let stamp = Stamp::from(&file.metadata().map_err(unreadable)?);
        if stamp != Stamp::from(&before) || content.len() as u64 != bytes {
            return Err(Refused::Changed);
        }
        Ok((Self::check(content)?, stamp))
    }

    /// Takes a database only if every record that a look-up can reach can be read.
    pub(crate) fn check(content: Vec<u8>) -> Result<Self, Refused> {
        let damaged = |error: maxminddb::MaxMindDbError| Refused::Damaged(error.to_string());
        let bytes = content.len() as u64;
        let reader = Reader::from_source(content).map_err(damaged)?;
        let metadata = reader.metadata();
        // A whole tree has one network more than nodes; what goes on for longer goes in a circle.
        let most = u64::from(metadata.node_count).saturating_mul(3);
        let mut networks = 0;
        let mut seen = HashSet::new();
        let mut is_useful = false;
        for network in reader.networks(WithinOptions::default()).map_err(damaged)? {
            let network = network.map_err(damaged)?;
            networks += 1;
            if networks > most {
                return Err(Refused::Damaged("its search tree goes in a circle".to_owned()));
            }
            if network.offset().is_some_and(|offset| seen.insert(offset)) {
                let record: Option<Record<'_>> = network.decode().map_err(damaged)?;
                is_useful |= record.is_some_and(|record| !record.is_empty());
            }
        }
        let about = About {
            kind: metadata.database_type.clone(),
            built_at: Timestamp::from_ms(
                i64::try_from(metadata.build_epoch).unwrap_or(i64::MAX).saturating_mul(1_000),
            ),
            networks,
            bytes,
        };
        if !is_useful {
            return Err(Refused::Useless(about.kind));
        }
        Ok(Self { reader, about })
    }

    /// What it knows of an address.
    pub(crate) fn record(&self, ip: IpAddr) -> Option<Record<'_>> {
        // Of version 6 addresses a database for version 4 knows nothing, which the reader calls an error; others
        // were excluded when it was checked.
        self.reader.lookup(ip).ok()?.decode().ok()?
    }
}
