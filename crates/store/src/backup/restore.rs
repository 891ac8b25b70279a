//! From an archive to a data directory.
//!
//! [`unpack`] writes everything into a directory beside the one that is wanted and looks at the stores; [`finish`] gives
//! it its name. A process that is killed before leaves the wanted directory as it was, and one with another name, which
//! the next try throws away. The caller holds that directory's lock meanwhile.

use std::fs::{self, File};
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use rusqlite::{Connection, OpenFlags};

use super::{Contents, Error, LEDGER, Progress, reading};
use crate::ledger;

/// What was restored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Restored {
    /// What the archive holds.
    pub contents: Contents,
    /// Deliveries that wait: the server sends them when it is started, again if they arrived after the backup.
    pub waiting: u64,
    /// Events that wait for a decision.
    pub undecided: u64,
}

/// Unpacks an archive into `dir`, which is there and holds at most a `lock`, compares every byte with its hash, and
/// looks whether the ledger is sound. Everything is synced when this returns. Blocks.
///
/// # Errors
/// When the archive is not whole, or the system refuses; `dir` is then to be thrown away.
pub fn unpack(from: impl Read, dir: &Path, progress: &mut dyn FnMut(Progress)) -> Result<Restored, Error> {
    let contents = reading::read(from, Some(dir), progress)?;
    let counted = look(&dir.join(LEDGER)).map_err(|error| match error {
        Looked::Sqlite(error) => Error::Damaged(format!("the ledger in it does not open: {error}")),
        Looked::Unsound(why) => Error::Damaged(format!("the ledger in it is not sound: {why}")),
        Looked::Newer(found) => Error::Version {
            found,
            made_by: format!("{}, whose ledger has schema {found}", contents.head.made_by),
        },
    })?;
    let sync = |path: &Path| File::open(path).and_then(|file| file.sync_all());
    sync(&dir.join(LEDGER)).map_err(Error::io(format!("sync {}", dir.join(LEDGER).display())))?;
    sync_dirs(dir).map_err(Error::io(format!("sync the directories of {}", dir.display())))?;
    Ok(Restored { contents, waiting: counted.0, undecided: counted.1 })
}

/// Makes the names in a directory durable, and those in the directories below it.
fn sync_dirs(dir: &Path) -> io::Result<()> {
    for entry in fs::read_dir(dir)? {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            sync_dirs(&entry.path())?;
        }
    }
    File::open(dir)?.sync_all()
}

enum Looked {
    Sqlite(rusqlite::Error),
    Unsound(String),
    Newer(u32),
}

impl From<rusqlite::Error> for Looked {
    fn from(error: rusqlite::Error) -> Self {
        Self::Sqlite(error)
    }
}

/// Waiting deliveries and undecided events of a ledger, after it was looked at as a whole.
fn look(path: &Path) -> Result<(u64, u64), Looked> {
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let conn = Connection::open_with_flags(path, flags)?;
    let schema: u32 = conn.query_row("PRAGMA user_version", [], |row| row.get(0))?;
    if schema > ledger::SCHEMA_VERSION {
        return Err(Looked::Newer(schema));
    }
    if schema == 0 {
        return Err(Looked::Unsound("it has no tables".to_owned()));
    }
    let sound: String = conn.query_row("PRAGMA quick_check(1)", [], |row| row.get(0))?;
    if sound != "ok" {
        return Err(Looked::Unsound(sound));
    }
    let counted = ledger::waiting_of(&conn)?;
    conn.close().map_err(|(_, error)| error)?;
    Ok(counted)
}

/// Gives an unpacked directory the name that is wanted: nothing has it, or an empty directory. Durable when this returns.
///
/// # Errors
/// [`Error::NotEmpty`], [`Error::MountPoint`], or what the system said; nothing has changed then.
pub fn finish(dir: &Path, wanted: &Path) -> Result<(), Error> {
    fs::rename(dir, wanted).map_err(|source| match source.kind() {
        io::ErrorKind::DirectoryNotEmpty | io::ErrorKind::AlreadyExists | io::ErrorKind::NotADirectory => {
            Error::NotEmpty(wanted.to_owned())
        }
        io::ErrorKind::ResourceBusy | io::ErrorKind::CrossesDevices => Error::MountPoint(wanted.to_owned()),
        _ => Error::Io { what: format!("rename {} to {}", dir.display(), wanted.display()), cause: source },
    })?;
    let parent = match wanted.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent.to_owned(),
        _ => PathBuf::from("."),
    };
    let synced = File::open(&parent).and_then(|file| file.sync_all());
    synced.map_err(Error::io(format!("sync {}", parent.display())))
}
