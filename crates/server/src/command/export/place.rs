//! Where an export goes.
//!
//! A file is written under a name that begins with a dot, synced, and renamed; then its folder is synced. A folder says
//! in [`HEAD`] what it holds; whoever writes there holds a lock on that file. For a bucket a file is written to a
//! temporary one of no name first, so that what did not come whole is not put there.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use roundtrip_store::export::Format;
use rustix::fs::{FlockOperation, flock};
use serde::{Deserialize, Serialize};

use super::refused::{Code, Refused};
#[cfg(feature = "bucket")]
use crate::bucket::Bucket;
use crate::bucket_url;

/// What stands for standard output in place of a path.
const DASH: &str = "-";
/// The file in which a folder or bucket says what it holds. Tools that read whole folders leave out names like this.
const HEAD: &str = "_roundtrip_export.json";
/// What a file in a folder is called until it is whole.
const PARTIAL: &str = ".partial";

/// Schemes of buckets, whether or not this program was built for them.
const BUCKETS: [&str; 3] = ["s3", "gs", "az"];

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
        let other = |why: String| {
            let advice = format!(
                "take the same options, or another folder; if nothing of it is wanted, delete its files and {HEAD}"
            );
            Refused::new(Code::Other, format!("add to {place}: {why}"), advice)
        };
        let found: Self = serde_json::from_slice(found)
            .map_err(|error| other(format!("its {HEAD} is not of an export: {error}")))?;
        if found != *self {
            let (holds, is) = (found.words(), self.words());
            return Err(other(format!("it holds {holds}, and this is {is}")).into());
        }
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
    /// Whether it is standard output, on which rows alone go.
    pub(super) fn is_standard(text: &str) -> bool {
        text == DASH
    }

    /// What the command's argument means.
    pub(super) fn of(text: &str) -> anyhow::Result<Self> {
        if Self::is_standard(text) {
            return Ok(Self::Standard);
        }
        if let Some((scheme, rest)) = text.split_once(':')
            && (rest.starts_with("//") || BUCKETS.contains(&scheme))
        {
            return Self::bucket(text, scheme);
        }
        let path = PathBuf::from(text);
        if text.ends_with('/') || path.is_dir() {
            return Ok(Self::Folder { path, lock: None });
        }
        Ok(Self::File(path))
    }

    /// A bucket, if this program knows such.
    fn bucket(text: &str, scheme: &str) -> anyhow::Result<Self> {
        let refused = |why: String| {
            let known = bucket_url::built_for_words();
            let advice = format!(
                "name s3://NAME/FOLDER (this program knows {known}; docs/export.md says how it is built with others), or a folder \
                 and copy that"
            );
            Refused::new(Code::Place, why, advice)
        };
        if !bucket_url::built_for().contains(&scheme) {
            return Err(refused(format!("{text}: this program cannot write to {scheme}://")).into());
        }
        bucket_url::parse(text).map_err(refused)?;
        #[cfg(feature = "bucket")]
        return Ok(Self::Bucket(Bucket::of(text).map_err(|error| {
            let advice = "see to what it names in the environment: docs/export.md lists the variables";
            Refused::new(Code::Place, format!("{error:#}"), advice)
        })?));
        #[cfg(not(feature = "bucket"))]
        return Err(refused(format!("{text}: this program knows no buckets")).into());
    }

    /// As a file's name ends.
    ///
    /// # Errors
    /// When it ends in a way that says no format: a name without an end leaves it open, and so does every other place.
    pub(super) fn format_named(&self) -> anyhow::Result<Option<Format>> {
        let Self::File(path) = self else { return Ok(None) };
        let Some(end) = path.extension() else { return Ok(None) };
        let format = end.to_str().and_then(Format::parse);
        format.map(Some).ok_or_else(|| {
            let words =
                format!("{}: its name ends with .{}, which is no format", path.display(), end.display());
            Refused::new(Code::Format, words, "let it end with .parquet, .csv or .ndjson, or give --format")
                .into()
        })
    }

    /// Whether it gets a file for each span.
    pub(super) const fn is_folder(&self) -> bool {
        !matches!(self, Self::Standard | Self::File(_))
    }

    /// Makes ready to write; refuses a folder that holds something else. Where nothing is to be written yet (`is_empty`),
    /// a folder is not said to hold it either, so that whoever tried may still take other options.
    pub(super) async fn begin(&mut self, head: &Head, replace: bool, is_empty: bool) -> anyhow::Result<()> {
        match self {
            Self::Standard => Ok(()),
            Self::File(path) => {
                if replace || !path.exists() {
                    return Ok(());
                }
                let words = format!("{}: it is there already", path.display());
                Err(Refused::new(Code::There, words, "name another file; --replace writes it once more")
                    .into())
            }
            Self::Folder { path, lock } => {
                if is_empty && !path.join(HEAD).exists() {
                    let made = std::fs::create_dir_all(&path);
                    return Ok(made.map_err(|error| Refused::io("make", path, &error))?);
                }
                *lock = Some(open_folder(path, head)?);
                Ok(())
            }
            #[cfg(feature = "bucket")]
            Self::Bucket(bucket) => begin_bucket(bucket, head, is_empty).await,
        }
    }

    /// Whether a folder has that file.
    pub(super) async fn has(&self, name: &str) -> anyhow::Result<bool> {
        match self {
            Self::Standard | Self::File(_) => Ok(false),
            Self::Folder { path, .. } => {
                let path = path.join(name);
                Ok(path.try_exists().map_err(|error| Refused::io("look for", &path, &error))?)
            }
            #[cfg(feature = "bucket")]
            Self::Bucket(bucket) => Ok(bucket.has(name).await.map_err(|error| Refused::bucket(&error))?),
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
                let name = path.file_name().ok_or_else(|| {
                    let words = format!("{}: it has no name", path.display());
                    Refused::new(Code::Place, words, "name a file, or a folder with a slash at its end")
                })?;
                path.with_file_name(format!(".{}{PARTIAL}", name.to_string_lossy()))
            }
        };
        let mode = if is_personal { 0o600 } else { 0o666 };
        // What an export that was killed left there is begun anew, with the rights of this one.
        let file =
            OpenOptions::new().read(true).write(true).create(true).truncate(false).mode(mode).open(&path);
        let file = file.map_err(|error| Refused::io("make", &path, &error))?;
        lock(&file, &path)?;
        file.set_len(0).map_err(|error| Refused::io("empty", &path, &error))?;
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
            (Self::Bucket(bucket), Spool::Unnamed(file)) => {
                Ok(bucket.put_file(name, file).await.map_err(|error| Refused::bucket(&error))?)
            }
            // What went to standard output is where it belongs.
            _ => io::stdout().lock().flush().context("write it"),
        }
    }
}

/// Says what the bucket holds, or sees that it holds that.
#[cfg(feature = "bucket")]
async fn begin_bucket(bucket: &Bucket, head: &Head, is_empty: bool) -> anyhow::Result<()> {
    let refused = |error: anyhow::Error| Refused::bucket(&error);
    // Of two that begin at the same time one says what the bucket holds, and the other reads it.
    let found = match bucket.get(HEAD).await.map_err(refused)? {
        None if is_empty => return Ok(()),
        None if bucket.create(HEAD, head.bytes()?).await.map_err(refused)? => return Ok(()),
        None => bucket.get(HEAD).await.map_err(refused)?,
        found => found,
    };
    let found = found.ok_or_else(|| {
        let words = format!("read {HEAD} in {}: it is there and it is not", bucket.shown());
        Refused::new(Code::Bucket, words, "run the same command again")
    })?;
    head.check(&found, bucket.shown())
}

fn lock(file: &File, path: &Path) -> Result<(), Refused> {
    flock(file, FlockOperation::NonBlockingLockExclusive).map_err(|error| match error {
        rustix::io::Errno::WOULDBLOCK => {
            let words = format!("lock {}: another export writes there", path.display());
            Refused::new(Code::Running, words, "wait until it has ended")
        }
        error => Refused::io("lock", path, &error.into()),
    })
}

/// Makes the folder what it is to be, or sees that it is; its lock.
fn open_folder(path: &Path, head: &Head) -> anyhow::Result<File> {
    std::fs::create_dir_all(path).map_err(|error| Refused::io("make", path, &error))?;
    let name = path.join(HEAD);
    let file = OpenOptions::new().read(true).write(true).create(true).truncate(false).open(&name);
    let mut file = file.map_err(|error| Refused::io("open", &name, &error))?;
    lock(&file, &name)?;
    let found = std::fs::read(&name).map_err(|error| Refused::io("read", &name, &error))?;
    if found.is_empty() {
        let written = file.write_all(&head.bytes()?).and_then(|()| file.sync_all());
        written.map_err(|error| Refused::io("write", &name, &error))?;
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

fn make_folder(folder: &Path) -> Result<(), Refused> {
    match std::fs::create_dir(folder) {
        Ok(()) => sync_folder(folder.parent().unwrap_or(Path::new("."))),
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        Err(error) => Err(Refused::io("make", folder, &error)),
    }
}

fn rename(file: &File, partial: &Path, wanted: &Path) -> anyhow::Result<()> {
    file.sync_all().map_err(|error| Refused::io("sync", partial, &error))?;
    std::fs::rename(partial, wanted).map_err(|error| Refused::io("name it", wanted, &error))?;
    let folder = wanted.parent().filter(|folder| !folder.as_os_str().is_empty());
    Ok(sync_folder(folder.unwrap_or(Path::new(".")))?)
}

fn sync_folder(folder: &Path) -> Result<(), Refused> {
    let synced = File::open(folder).and_then(|folder| folder.sync_all());
    synced.map_err(|error| Refused::io("sync", folder, &error))
}
