//! The data directory: made, locked, and what stands where in it.
//!
//! The lock is an advisory one on the file `lock`, held for the life of [`DataDir`] and forgotten by the system
//! when the process dies, however it dies. The process id in that file is for the message to whoever comes
//! second and is NOT relied upon for anything else: it may be stale.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use anyhow::Context as _;

/// A data directory that this process, and no other, works in.
#[derive(Debug)]
pub(crate) struct DataDir {
    path: PathBuf,
    lock: File,
}

/// The directory is in use.
#[derive(Debug, thiserror::Error)]
#[error(
    "use the data directory {}: {} holds it; end it first, or give this one another --data",
    path.display(),
    holder(*.pid)
)]
pub(crate) struct InUse {
    /// The directory.
    pub(crate) path: PathBuf,
    /// The process that holds it, where it wrote its id down.
    pub(crate) pid: Option<u32>,
}

fn holder(pid: Option<u32>) -> String {
    pid.map_or_else(|| "another process".to_owned(), |pid| format!("process {pid}"))
}

impl DataDir {
    /// Makes the directory where it is missing (mode 0700, parents too) and takes its lock.
    ///
    /// # Errors
    /// [`InUse`] when another process holds it; otherwise what the system said.
    pub(crate) fn open(path: &Path) -> anyhow::Result<Self> {
        fs::DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(path)
            .with_context(|| format!("make the data directory {}", path.display()))?;
        let path =
            path.canonicalize().with_context(|| format!("find the data directory {}", path.display()))?;
        let mode = fs::metadata(&path).map_or(0o700, |meta| meta.permissions().mode());
        if mode & 0o077 != 0 {
            tracing::warn!(
                data_dir.path = %path.display(),
                data_dir.mode = format!("{:04o}", mode & 0o7777),
                "other users of this machine can look into the data directory; chmod 700 keeps them out"
            );
        }
        let lock_path = path.join("lock");
        let mut lock = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .open(&lock_path)
            .with_context(|| format!("open {}", lock_path.display()))?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                let mut text = String::new();
                // Sixteen bytes hold any process id; what else a stranger put there is not read.
                let _ = (&lock).take(16).read_to_string(&mut text);
                return Err(InUse { path, pid: text.trim().parse().ok() }.into());
            }
            Err(TryLockError::Error(error)) => {
                return Err(error).with_context(|| format!("lock {}", lock_path.display()));
            }
        }
        // The id is for a message only; a disk that is full must not keep the server from starting.
        if let Err(error) = lock.set_len(0).and_then(|()| writeln!(lock, "{}", std::process::id())) {
            tracing::warn!(%error, lock.path = %lock_path.display(), "the process id cannot be written into the lock");
        }
        Ok(Self { path, lock })
    }

    /// The directory, absolute.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Removes what is in it, but for the lock: work that another process left half done.
    ///
    /// # Errors
    /// What the system said.
    pub(crate) fn clear(&self) -> io::Result<()> {
        for entry in fs::read_dir(&self.path)? {
            let entry = entry?;
            if entry.file_name() == "lock" {
                continue;
            }
            match entry.file_type()?.is_dir() {
                true => fs::remove_dir_all(entry.path())?,
                false => fs::remove_file(entry.path())?,
            }
        }
        Ok(())
    }

    /// The ledger's file.
    pub(crate) fn ledger(&self) -> PathBuf {
        self.path.join("ledger.sqlite")
    }

    /// The click log's directory.
    pub(crate) fn clicks(&self) -> PathBuf {
        self.path.join("clicks")
    }
}

impl Drop for DataDir {
    fn drop(&mut self) {
        // A stale id would only mislead; the file stays, because removing it would let two processes lock two
        // files of the same name.
        let _ = self.lock.set_len(0);
    }
}

/// Writes a file of mode 0600 that is there whole or not at all, also after a power loss.
///
/// # Errors
/// What the system said; nothing is left behind then but, at worst, a file ending in `.new`.
pub(crate) fn write_private(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut new_name = path.as_os_str().to_owned();
    new_name.push(format!(".{}.new", std::process::id()));
    let new_path = PathBuf::from(new_name);
    // One that is left from a crash under the same process id has no value and may have another mode.
    match fs::remove_file(&new_path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&new_path)?;
    file.write_all(bytes)?;
    file.sync_all()?;
    fs::rename(&new_path, path)?;
    match path.parent().filter(|parent| !parent.as_os_str().is_empty()) {
        Some(parent) => File::open(parent)?.sync_all(),
        None => File::open(".")?.sync_all(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_process_at_a_time_and_the_second_learns_who() {
        let parent = tempfile::tempdir().unwrap();
        let path = parent.path().join("a/b");
        let first = DataDir::open(&path).unwrap();
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o700);

        let error = DataDir::open(&path).unwrap_err();
        let in_use = error.downcast_ref::<InUse>().unwrap();
        assert_eq!(in_use.pid, Some(std::process::id()));
        assert!(error.to_string().contains(&format!("process {} holds it", std::process::id())), "{error}");

        drop(first);
        assert_eq!(fs::read(path.join("lock")).unwrap(), b"", "no stale process id");
        DataDir::open(&path).unwrap();
    }

    #[test]
    fn private_files_are_replaced_whole() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("x");
        fs::write(&path, "old and longer").unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();
        write_private(&path, b"new").unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"new");
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
    }
}
