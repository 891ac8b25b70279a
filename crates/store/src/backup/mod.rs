//! Backups: both stores at one moment, as one archive, and back.
//!
//! | file | who |
//! | ---- | --- |
//! | `running` | copies the stores of a server that goes on working |
//! | `offline` | takes the files of a directory that no server has, as they are |
//! | `archive` | writes the archive |
//! | `reading` | reads one, believes nothing, and unpacks it |
//! | `restore` | turns an archive into a data directory |
//!
//! An archive is a tar file: `roundtrip-backup.json` (who made it, when, how much there is), `ledger.sqlite`, `clicks/…`,
//! then `manifest.json` with size and SHA-256 of each file and `manifest.sha256` with the manifest's own. Every byte
//! that is unpacked is under one of these hashes, and an archive without its end is refused. Between the files stand
//! records of tar's own kind for comments, which say how far the copying came; other programs skip them.
//!
//! What the two copies owe each other: every click that the ledger's copy knows of is in the clicks' copy, where it
//! is kept at all, and the counts of each slice are in exactly one of the two. [`crate::click_log`]'s `held` says how.
//!
//! Not in it: the admin key (`admin.token`), the server's own settings, databases of addresses, and files of the click log
//! that were set aside as damaged. In it: everything else, **secrets included**: the keys that check click ids,
//! the partners' secrets, hashes of API keys. Not relied on: the file system that an archive lay on, its name, its
//! owner.

mod archive;
mod offline;
mod reading;
mod restore;
mod running;

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

pub use self::offline::write_offline;
pub use self::reading::check;
pub use self::restore::{Restored, finish, unpack};
pub use self::running::{Running, begin, clear_leftovers};

/// The form of the archives that this release writes, and the newest that it reads.
pub const FORMAT: u32 = 1;
/// The first entry.
const HEAD: &str = "roundtrip-backup.json";
/// The entry that lists the files.
const MANIFEST: &str = "manifest.json";
/// The last entry.
const MANIFEST_HASH: &str = "manifest.sha256";
/// The ledger's file.
const LEDGER: &str = "ledger.sqlite";
/// The ledger's log, in archives of a directory at rest.
const LEDGER_LOG: &str = "ledger.sqlite-wal";
/// The folder of the click log.
const CLICKS: &str = "clicks";
/// What a comment begins with that says how far the copying came.
const COPIED: &str = "roundtrip copied ";
/// What a comment begins with that says why the archive ends here.
const FAILED: &str = "roundtrip failed ";

/// Why a backup was not made, or an archive not taken.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Another backup of the same server is being made.
    #[error("another backup of this server is being made; wait for its end")]
    Running,
    /// The disk has no room for the copy of the ledger.
    #[error("the copy needs {needed} bytes of room beside the data directory's files, and {free} are free")]
    NoRoom {
        /// What the copy takes, with a margin, in bytes.
        needed: u64,
        /// What the file system has, in bytes.
        free: u64,
    },
    /// The directory holds no ledger.
    #[error("{} is no data directory: there is no ledger.sqlite in it", .0.display())]
    NoData(PathBuf),
    /// A store could not be copied.
    #[error("copy the stores: {0}")]
    Store(String),
    /// A file could not be read or written.
    #[error("{what}: {cause}")]
    Io {
        /// What was being done.
        what: String,
        /// What the system said.
        cause: std::io::Error,
    },
    /// Whoever made the archive said that it could not finish it.
    #[error("the server could not finish the backup: {0}")]
    Unfinished(String),
    /// It does not begin as an archive of ours does.
    #[error("it is no backup of Roundtrip: {0}")]
    NotOurs(String),
    /// A newer release made it.
    #[error(
        "it has form {found}, and this release knows {FORMAT}: use the release that made it ({made_by}) or a newer one"
    )]
    Version {
        /// The form that it says it has.
        found: u32,
        /// The release that made it.
        made_by: String,
    },
    /// Its end is missing.
    #[error("it ends too early, after {0} bytes: it was cut off, or the backup was never finished")]
    Truncated(u64),
    /// It is not what was written.
    #[error("it was changed or damaged: {0}")]
    Damaged(String),
    /// The directory to restore into holds something.
    #[error("{} is not empty; restore into a directory that is empty or not there", .0.display())]
    NotEmpty(PathBuf),
    /// The directory to restore into is a mount, which nothing can be renamed onto.
    #[error("{} is a mount point; restore into a directory inside it", .0.display())]
    MountPoint(PathBuf),
}

impl Error {
    /// Every code, in the order of the documentation.
    pub const CODES: [&'static str; 12] = [
        "backup_running",
        "backup_no_room",
        "backup_no_data",
        "backup_store",
        "backup_io",
        "backup_unfinished",
        "archive_not_ours",
        "archive_version",
        "archive_truncated",
        "archive_damaged",
        "restore_not_empty",
        "restore_mount_point",
    ];

    /// A stable code, to branch on.
    pub const fn code(&self) -> &'static str {
        Self::CODES[match self {
            Self::Running => 0,
            Self::NoRoom { .. } => 1,
            Self::NoData(_) => 2,
            Self::Store(_) => 3,
            Self::Io { .. } => 4,
            Self::Unfinished(_) => 5,
            Self::NotOurs(_) => 6,
            Self::Version { .. } => 7,
            Self::Truncated(_) => 8,
            Self::Damaged(_) => 9,
            Self::NotEmpty(_) => 10,
            Self::MountPoint(_) => 11,
        }]
    }

    fn io(what: impl Into<String>) -> impl FnOnce(std::io::Error) -> Self {
        let what = what.into();
        move |cause| Self::Io { what, cause }
    }
}

impl From<crate::Error> for Error {
    fn from(error: crate::Error) -> Self {
        Self::Store(error.to_string())
    }
}

impl From<crate::click_log::Error> for Error {
    fn from(error: crate::click_log::Error) -> Self {
        use std::error::Error as _;
        let source = error.source().map_or_else(String::new, |source| format!(": {source}"));
        Self::Store(format!("{error}{source}"))
    }
}

/// What an archive says of itself at its beginning.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Head {
    /// [`FORMAT`].
    pub roundtrip_backup: u32,
    /// The release that made it.
    pub made_by: String,
    /// The moment that it shows, RFC 3339.
    pub at: String,
    /// Whether the server ran.
    pub online: bool,
    /// Bytes of all files in it.
    pub bytes: u64,
    /// How many files are in it.
    pub files: u64,
    /// Segments of the click log that lie in buckets: they are not in it, and its list of files says where they are.
    /// `None`: nobody looked, because nothing is opened while the server is down.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub segments_elsewhere: Option<u64>,
}

/// What an archive says of itself at its end.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Manifest {
    /// The beginning once more, under the hash that the end is under.
    head: Head,
    files: Vec<Listed>,
}

/// One file of an archive.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Listed {
    path: String,
    bytes: u64,
    sha256: String,
}

/// How far an archive has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Progress {
    /// The server is copying its ledger, before anything else is sent.
    Copying {
        /// Bytes copied.
        done: u64,
        /// Bytes of the ledger.
        of: u64,
    },
    /// Files are written or read.
    Files {
        /// Bytes of files so far.
        done: u64,
        /// Bytes of all files.
        of: u64,
    },
}

/// A whole archive, read and compared with its hashes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Contents {
    /// What it says of itself.
    pub head: Head,
    /// Bytes of the ledger in it, its log included.
    pub ledger_bytes: u64,
    /// Files of the click log in it.
    pub click_files: u64,
    /// SHA-256 of its list of files, hex: names this backup.
    pub sha256: String,
}
