//! Where an export goes.
//!
//! A file is written under a name that begins with a dot, synced, and renamed; then its folder is synced. A folder says
//! in [`HEAD`] what it holds; whoever writes there holds a lock on that file. For a bucket a file is written to a
//! temporary one of no name first, so that what did not come whole is not put there.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail, ensure};
use roundtrip_store::export::Format;
use rustix::fs::{FlockOperation, flock};
use serde::{Deserialize, Serialize};

#[cfg(feature = "bucket")]
use crate::bucket::Bucket;

/// What stands for standard output in place of a path.
const DASH: &str = "-";
/// The file in which a folder or bucket says what it holds. Tools that read whole folders leave out names like this.
const HEAD: &str = "_roundtrip_export.json";
/// What a file in a folder is called until it is whole.
const PARTIAL: &str = ".partial";

/// What a folder holds.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Head {
    pub(super) export: String,
    pub(super) format: String,
    pub(super) workspace: String,
    #[serde(default)]
    pub(super) app: Option<String>,
    pub(super) split: String,
    pub(super) full: bool,
}

impl Head {
    fn check(&self, found: &[u8], place: &str) -> anyhow::Result<()> {
        let found: Self = serde_json::from_slice(found)
            .with_context(|| format!("read {HEAD} in {place}: it is not of an export"))?;
        ensure!(
            found == *self,
            "add to {place}: it holds {}, and this is {}; take the same options, or another folder",
            found.words(),
            self.words()
        );
        Ok(())
    }

    fn bytes(&self) -> anyhow::Result<Vec<u8>> {
        let mut bytes = serde_json::to_vec_pretty(self).context("write what the folder holds")?;
        bytes.push(b'\n');
        Ok(bytes)
    }

    fn words(&self) -> String {
        let of = self.app.as_deref().map(|app| format!(" of the app {app}")).unwrap_or_default();
        let full = if self.full { ", with personal data" } else { "" };
        format!(
            "{} of the workspace {}{of} as {}, a file for each {}{full}",
            self.export, self.workspace, self.format, self.split
        )
    }
}

/// Where an export goes.
pub(super) enum Place {
    Standard,
    File(PathBuf),
    Folder {
        path: PathBuf,
        /// Held while somebody writes there.
        lock: Option<File>,
    },
    #[cfg(feature = "bucket")]
    Bucket(Bucket),
}

/// What comes, until it is whole.
pub(super) enum Spool {
    Standard,
    File {
        file: File,
        path: PathBuf,
    },
    #[cfg(feature = "bucket")]
    Unnamed(File),
}

impl Spool {
    pub(super) fn take(&mut self, bytes: &[u8]) -> io::Result<()> {
        match self {
            Self::Standard => io::stdout().lock().write_all(bytes),
            Self::File { file, .. } => file.write_all(bytes),
            #[cfg(feature = "bucket")]
            Self::Unnamed(file) => file.write_all(bytes),
        }
    }

    /// Leaves nothing behind.
    pub(super) fn discard(self) {
        if let Self::File { path, .. } = self {
            // What cannot be removed is begun anew by the next export.
            let _ = std::fs::remove_file(path);
        }
    }

    /// What came, unless it is gone.
    pub(super) const fn file(&self) -> Option<&File> {
        match self {
            Self::Standard => None,
            Self::File { file, .. } => Some(file),
            #[cfg(feature = "bucket")]
            Self::Unnamed(file) => Some(file),
        }
    }
}

impl Place {
    /// What the command's argument means.
    pub(super) fn of(text: &str) -> anyhow::Result<Self> {
        if text == DASH {
            return Ok(Self::Standard);
        }
        if let Some((scheme, _)) = text.split_once("://") {
            #[cfg(feature = "bucket")]
            if crate::bucket::SCHEMES.contains(&scheme) {
                return Ok(Self::Bucket(Bucket::of(text)?));
            }
            bail!(
                "export to {text}: this program cannot write to {scheme}://; docs/export.md says how it is built with \
                 buckets, and a folder can be copied there"
            );
        }
        let path = PathBuf::from(text);
        if text.ends_with('/') || path.is_dir() {
            return Ok(Self::Folder { path, lock: None });
        }
        Ok(Self::File(path))
    }

    /// As a file's name ends.
    pub(super) fn format(&self) -> Option<Format> {
        match self {
            Self::File(path) => path.extension().and_then(|end| Format::parse(end.to_str()?)),
            _ => None,
        }
    }

    /// Whether it gets a file for each span.
    pub(super) const fn is_folder(&self) -> bool {
        !matches!(self, Self::Standard | Self::File(_))
    }

    /// Makes ready to write; refuses a folder that holds something else.
    pub(super) async fn begin(&mut self, head: &Head, replace: bool) -> anyhow::Result<()> {
        match self {
            Self::Standard => Ok(()),
            Self::File(path) => {
                ensure!(
                    replace || !path.exists(),
                    "write {}: it is there already; --replace writes it once more",
                    path.display()
                );
                Ok(())
            }
            Self::Folder { path, lock } => {
                *lock = Some(open_folder(path, head)?);
                Ok(())
            }
            #[cfg(feature = "bucket")]
            Self::Bucket(bucket) => {
                // Of two that begin at the same time one says what the bucket holds, and the other reads it.
                let found = match bucket.get(HEAD).await? {
                    None if bucket.create(HEAD, head.bytes()?).await? => return Ok(()),
                    None => bucket.get(HEAD).await?,
                    found => found,
                };
                let found = found.with_context(|| {
                    format!("read {HEAD} in {}: it is there and it is not; try again", bucket.shown())
                })?;
                head.check(&found, bucket.shown())
            }
        }
    }

    /// Whether a folder has that file.
    pub(super) async fn has(&self, name: &str) -> anyhow::Result<bool> {
        match self {
            Self::Standard | Self::File(_) => Ok(false),
            Self::Folder { path, .. } => Ok(path.join(name).try_exists()?),
            #[cfg(feature = "bucket")]
            Self::Bucket(bucket) => bucket.has(name).await,
        }
    }

    /// Where the next file goes until it is whole. What is personal is its owner's alone.
    pub(super) fn spool(&self, is_personal: bool) -> anyhow::Result<Spool> {
        let path = match self {
            Self::Standard => return Ok(Spool::Standard),
            #[cfg(feature = "bucket")]
            Self::Bucket(_) => {
                return Ok(Spool::Unnamed(tempfile::tempfile().context("make a temporary file")?));
            }
            Self::Folder { path, .. } => path.join(PARTIAL),
            Self::File(path) => {
                let name =
                    path.file_name().with_context(|| format!("write {}: it has no name", path.display()))?;
                path.with_file_name(format!(".{}{PARTIAL}", name.to_string_lossy()))
            }
        };
        let mode = if is_personal { 0o600 } else { 0o666 };
        // What an export that was killed left there is begun anew, with the rights of this one.
        let file =
            OpenOptions::new().read(true).write(true).create(true).truncate(false).mode(mode).open(&path);
        let file = file.with_context(|| format!("make {}", path.display()))?;
        lock(&file, &path)?;
        file.set_len(0).with_context(|| format!("empty {}", path.display()))?;
        Ok(Spool::File { file, path })
    }

    /// Gives what came its name. It is on the disk, or in the bucket, when this returns.
    pub(super) async fn keep(&self, spool: Spool, name: &str) -> anyhow::Result<()> {
        match (self, spool) {
            (Self::Folder { path, .. }, Spool::File { file, path: partial }) => {
                let wanted = path.join(name);
                for folder in folders(path, &wanted) {
                    make_folder(&folder)?;
                }
                rename(&file, &partial, &wanted)
            }
            (Self::File(wanted), Spool::File { file, path }) => rename(&file, &path, wanted),
            #[cfg(feature = "bucket")]
            (Self::Bucket(bucket), Spool::Unnamed(file)) => bucket.put_file(name, file).await,
            // What went to standard output is where it belongs.
            _ => io::stdout().lock().flush().context("write it"),
        }
    }
}

fn lock(file: &File, path: &Path) -> anyhow::Result<()> {
    flock(file, FlockOperation::NonBlockingLockExclusive).with_context(|| {
        format!("lock {}: another export seems to write there; wait until it has ended", path.display())
    })
}

/// Makes the folder what it is to be, or sees that it is; its lock.
fn open_folder(path: &Path, head: &Head) -> anyhow::Result<File> {
    std::fs::create_dir_all(path).with_context(|| format!("make {}", path.display()))?;
    let name = path.join(HEAD);
    let file = OpenOptions::new().read(true).write(true).create(true).truncate(false).open(&name);
    let mut file = file.with_context(|| format!("open {}", name.display()))?;
    lock(&file, &name)?;
    let found = std::fs::read(&name).with_context(|| format!("read {}", name.display()))?;
    if found.is_empty() {
        file.write_all(&head.bytes()?).and_then(|()| file.sync_all())?;
        sync_folder(path)?;
    } else {
        head.check(&found, &path.display().to_string())?;
    }
    Ok(file)
}

/// The folders between `top` and a file, from the top on.
fn folders(top: &Path, wanted: &Path) -> Vec<PathBuf> {
    let mut between: Vec<PathBuf> =
        wanted.ancestors().skip(1).take_while(|folder| *folder != top).map(Path::to_owned).collect();
    between.reverse();
    between
}

fn make_folder(folder: &Path) -> anyhow::Result<()> {
    match std::fs::create_dir(folder) {
        Ok(()) => sync_folder(folder.parent().unwrap_or(Path::new("."))),
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        Err(error) => Err(error).with_context(|| format!("make {}", folder.display())),
    }
}

fn rename(file: &File, partial: &Path, wanted: &Path) -> anyhow::Result<()> {
    file.sync_all().with_context(|| format!("sync {}", partial.display()))?;
    std::fs::rename(partial, wanted).with_context(|| format!("name it {}", wanted.display()))?;
    let folder = wanted.parent().filter(|folder| !folder.as_os_str().is_empty());
    sync_folder(folder.unwrap_or(Path::new(".")))
}

fn sync_folder(folder: &Path) -> anyhow::Result<()> {
    let synced = File::open(folder).and_then(|folder| folder.sync_all());
    synced.with_context(|| format!("sync {}", folder.display()))
}
