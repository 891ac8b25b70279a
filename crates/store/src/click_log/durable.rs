//! Files that are relied on only once they are on the disk: the file is synced, then its directory.

use std::fs::{self, File};
use std::hash::Hasher;
use std::io::{self, Read};
use std::path::Path;

use siphasher::sip::SipHasher13;

/// Makes the names in a directory durable.
pub(super) fn sync_dir(dir: &Path) -> io::Result<()> {
    File::open(dir)?.sync_all()
}

/// Makes the directory of a file below `root`, which is there, and its name durable.
pub(super) fn make_dir_of(root: &Path, key: &str) -> io::Result<()> {
    let mut dir = root.to_owned();
    let mut names: Vec<&str> = key.split('/').collect();
    names.pop();
    for name in names {
        let parent = dir.clone();
        dir.push(name);
        match fs::create_dir(&dir) {
            Ok(()) => sync_dir(&parent)?,
            // Whoever made it may have died before it was durable.
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => sync_dir(&parent)?,
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// Renames within one file system and makes the new name durable, and the old one's absence.
pub(super) fn rename(from: &Path, to: &Path) -> io::Result<()> {
    fs::rename(from, to)?;
    let (from_dir, to_dir) = (from.parent(), to.parent());
    if let Some(dir) = to_dir {
        sync_dir(dir)?;
    }
    match from_dir {
        Some(dir) if from_dir != to_dir => sync_dir(dir),
        _ => Ok(()),
    }
}

/// Removes a file if it is there.
pub(super) fn remove(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        other => other,
    }
}

/// SipHash-1-3 (zero key) of a whole file: tells damage, not malice.
pub(super) fn checksum(path: &Path) -> io::Result<u64> {
    let mut file = File::open(path)?;
    let mut hasher = SipHasher13::new();
    let mut buffer = vec![0; 1 << 18];
    loop {
        match file.read(&mut buffer)? {
            0 => return Ok(hasher.finish()),
            n => hasher.write(&buffer[..n]),
        }
    }
}
