//! Reading an archive. It comes from a disk, a bucket, a colleague: nothing in it is believed before its hash fits,
//! and no name in it leads out of the directory that it is unpacked into.

use std::collections::BTreeSet;
use std::fs::{DirBuilder, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::Path;

use sha2::{Digest as _, Sha256};
use tar::EntryType;

use super::{
    CLICKS, COPIED, Contents, Error, FAILED, FORMAT, HEAD, Head, LEDGER, LEDGER_LOG, Listed, MANIFEST,
    MANIFEST_HASH, Manifest, Progress,
};
use crate::click_log::segment::{SegmentName, SideName};

/// Bytes that are read at once.
const CHUNK: usize = 1 << 18;
/// Longest head and comment, in bytes.
const HEAD_MAX: u64 = 1 << 16;
/// Longest list of files, in bytes: some million of them.
const MANIFEST_MAX: u64 = 1 << 29;
/// Longest name of a click log's file.
const NAME_MAX: usize = 120;

/// Reads an archive to its end and compares every byte with its hash. Writes nothing. Blocks.
///
/// # Errors
/// When it is not whole, or `from` cannot be read.
pub fn check(from: impl Read, progress: &mut dyn FnMut(Progress)) -> Result<Contents, Error> {
    read(from, None, progress)
}

/// Counts, and remembers how the bytes ended.
struct Counted<R> {
    from: R,
    bytes: u64,
    is_at_end: bool,
    failed: Option<io::Error>,
}

impl<R: Read> Read for Counted<R> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        match self.from.read(into) {
            Ok(0) if !into.is_empty() => {
                self.is_at_end = true;
                Ok(0)
            }
            Ok(n) => {
                self.bytes += n as u64;
                Ok(n)
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => Err(error),
            Err(error) => {
                let told = io::Error::new(error.kind(), error.to_string());
                self.failed = Some(error);
                Err(told)
            }
        }
    }
}

/// Reads an archive into `to`, a directory that is there, or nowhere. Files that are written are synced; whoever gets an
/// error throws them away.
pub(super) fn read(
    from: impl Read,
    to: Option<&Path>,
    progress: &mut dyn FnMut(Progress),
) -> Result<Contents, Error> {
    let from = Counted { from, bytes: 0, is_at_end: false, failed: None };
    let mut archive = tar::Archive::new(from);
    let mut reading =
        Reading { to, progress, head: None, files: Vec::new(), names: BTreeSet::new(), done: 0 };
    let ended = reading.entries(&mut archive);
    let mut from = archive.into_inner();
    let ended = ended.and_then(|end| match end {
        Some(sha256) => rest(&mut from).map(|()| sha256),
        None if from.is_at_end => Err(Failed::Archive),
        None => Err(Error::Damaged("it ends without the hash of its list of files".to_owned()).into()),
    });
    match ended {
        Ok(sha256) => reading.contents(sha256),
        Err(Failed::Ours(error)) => Err(error),
        Err(Failed::Archive) => Err(match from.failed {
            Some(cause) => Error::Io { what: "read the archive".to_owned(), cause },
            None if from.is_at_end => Error::Truncated(from.bytes),
            None if reading.head.is_none() => Error::NotOurs("it is no tar file".to_owned()),
            None => Error::Damaged(format!("a header near byte {} makes no sense", from.bytes)),
        }),
    }
}

/// After the end there is nothing but zeros.
fn rest(from: &mut impl Read) -> Result<(), Failed> {
    let mut buffer = vec![0; 1 << 16];
    loop {
        match from.read(&mut buffer) {
            Ok(0) => return Ok(()),
            Ok(n) if buffer[..n].iter().all(|byte| *byte == 0) => {}
            Ok(_) => return Err(Error::Damaged("something stands behind its end".to_owned()).into()),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(_) => return Err(Failed::Archive),
        }
    }
}

/// Why reading ended.
enum Failed {
    /// The bytes did: they ended, failed, or are no tar file. `Counted` knows which.
    Archive,
    /// We know.
    Ours(Error),
}

impl From<Error> for Failed {
    fn from(error: Error) -> Self {
        Self::Ours(error)
    }
}

/// What was read so far.
struct Reading<'a> {
    to: Option<&'a Path>,
    progress: &'a mut dyn FnMut(Progress),
    head: Option<Head>,
    files: Vec<Listed>,
    names: BTreeSet<String>,
    done: u64,
}

impl Reading<'_> {
    /// All entries. `Some` is the manifest's hash, and the archive is whole; `None` when the entries end without it.
    fn entries<R: Read>(&mut self, archive: &mut tar::Archive<R>) -> Result<Option<String>, Failed> {
        let mut manifest: Option<Vec<u8>> = None;
        for entry in archive.entries().map_err(|_| Failed::Archive)?.raw(true) {
            let mut entry = entry.map_err(|_| Failed::Archive)?;
            let kind = entry.header().entry_type();
            let name = String::from_utf8_lossy(&entry.path_bytes()).into_owned();
            let bytes = entry.header().entry_size().map_err(|_| Failed::Archive)?;
            if self.head.is_none() {
                if kind != EntryType::Regular || name != HEAD {
                    return Err(Error::NotOurs(format!("it begins with {}", shown(&name))).into());
                }
                self.head = Some(head(&small(&mut entry, bytes, HEAD_MAX)?)?);
                continue;
            }
            match (kind, &manifest) {
                (EntryType::XGlobalHeader, _) => self.comment(&small(&mut entry, bytes, HEAD_MAX)?)?,
                (EntryType::Regular, None) if name == MANIFEST => {
                    manifest = Some(small(&mut entry, bytes, MANIFEST_MAX)?);
                }
                (EntryType::Regular, Some(manifest)) if name == MANIFEST_HASH => {
                    let said = small(&mut entry, bytes, HEAD_MAX)?;
                    return Ok(Some(self.compare(manifest, &said)?));
                }
                (EntryType::Regular, None) => self.file(&mut entry, name, bytes)?,
                _ => {
                    return Err(Error::Damaged(format!("{} does not belong there", shown(&name))).into());
                }
            }
        }
        Ok(None)
    }

    fn comment(&mut self, record: &[u8]) -> Result<(), Failed> {
        let record = String::from_utf8_lossy(record);
        let comment = record.split_once(" comment=").map_or("", |(_, text)| text.trim_end_matches('\n'));
        if let Some(why) = comment.strip_prefix(FAILED) {
            return Err(Error::Unfinished(why.to_owned()).into());
        }
        let numbers = comment.strip_prefix(COPIED).and_then(|rest| rest.split_once(' '));
        if let Some((done, of)) = numbers
            && let (Ok(done), Ok(of)) = (done.parse(), of.parse())
        {
            (self.progress)(Progress::Copying { done, of });
        }
        Ok(())
    }

    fn file(&mut self, entry: &mut impl Read, name: String, bytes: u64) -> Result<(), Failed> {
        if !is_name(&name) {
            return Err(Error::Damaged(format!("a file of the name {}", shown(&name))).into());
        }
        if !self.names.insert(name.clone()) {
            return Err(Error::Damaged(format!("{name} stands in it twice")).into());
        }
        let of = self.head.as_ref().map_or(0, |head| head.bytes);
        let mut out = match self.to {
            Some(dir) => Some(create(dir, &name)?),
            None => None,
        };
        let mut hash = Sha256::new();
        let mut buffer = vec![0; CHUNK];
        let mut left = bytes;
        while left > 0 {
            let n = match entry.read(&mut buffer) {
                Ok(0) => return Err(Failed::Archive),
                Ok(n) => n,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(_) => return Err(Failed::Archive),
            };
            hash.update(&buffer[..n]);
            if let Some(out) = &mut out {
                out.write_all(&buffer[..n]).map_err(Error::io(format!("write {name}")))?;
            }
            left = left.saturating_sub(n as u64);
            self.done += n as u64;
            (self.progress)(Progress::Files { done: self.done, of });
        }
        if let Some(out) = out {
            out.sync_all().map_err(Error::io(format!("sync {name}")))?;
        }
        self.files.push(Listed { path: name, bytes, sha256: hex::encode(hash.finalize()) });
        Ok(())
    }

    /// Compares what was read with what the manifest says, and the manifest with its hash, which is returned.
    fn compare(&self, manifest: &[u8], said: &[u8]) -> Result<String, Error> {
        let sha256 = hex::encode(Sha256::digest(manifest));
        if said.trim_ascii() != sha256.as_bytes() {
            return Err(Error::Damaged(
                "the list of its files does not have the hash that it had".to_owned(),
            ));
        }
        let manifest: Manifest = serde_json::from_slice(manifest)
            .map_err(|error| Error::Damaged(format!("the list of its files: {error}")))?;
        for (at, listed) in manifest.files.iter().enumerate() {
            match self.files.get(at) {
                Some(found) if found == listed => {}
                Some(found) if found.path == listed.path => {
                    return Err(Error::Damaged(format!("{} is not what it was", listed.path)));
                }
                _ => return Err(Error::Damaged(format!("{} is not where it was", listed.path))),
            }
        }
        if let Some(more) = self.files.get(manifest.files.len()) {
            return Err(Error::Damaged(format!("{} was added to it", more.path)));
        }
        if self.head.as_ref() != Some(&manifest.head) {
            return Err(Error::Damaged("its beginning is not what it was".to_owned()));
        }
        if !self.names.contains(LEDGER) {
            return Err(Error::Damaged("there is no ledger in it".to_owned()));
        }
        Ok(sha256)
    }

    fn contents(self, sha256: String) -> Result<Contents, Error> {
        let Some(head) = self.head else { return Err(Error::NotOurs("it has no head".to_owned())) };
        let of_ledger = self.files.iter().filter(|file| file.path.starts_with(LEDGER));
        let click_files = self.files.iter().filter(|file| file.path.starts_with(CLICKS)).count() as u64;
        if self.done != head.bytes || self.files.len() as u64 != head.files {
            return Err(Error::Damaged("its beginning and its end do not fit together".to_owned()));
        }
        Ok(Contents { ledger_bytes: of_ledger.map(|file| file.bytes).sum(), click_files, sha256, head })
    }
}

/// What the archive says of itself, of a form that this release knows.
fn head(text: &[u8]) -> Result<Head, Error> {
    let value: serde_json::Value =
        serde_json::from_slice(text).map_err(|error| Error::Damaged(format!("its head: {error}")))?;
    let form = value["roundtrip_backup"].as_u64().unwrap_or(0);
    if form > u64::from(FORMAT) {
        let made_by = value["made_by"].as_str().unwrap_or("of unknown number");
        let found = u32::try_from(form).unwrap_or(u32::MAX);
        return Err(Error::Version { found, made_by: made_by.chars().take(40).collect() });
    }
    if form == 0 {
        return Err(Error::NotOurs("its head names no form".to_owned()));
    }
    serde_json::from_value(value).map_err(|error| Error::Damaged(format!("its head: {error}")))
}

/// All of a short entry.
fn small(entry: &mut impl Read, bytes: u64, max: u64) -> Result<Vec<u8>, Failed> {
    if bytes > max {
        return Err(Error::Damaged(format!("an entry of {bytes} bytes where {max} are the most")).into());
    }
    let mut text = Vec::new();
    entry.read_to_end(&mut text).map_err(|_| Failed::Archive)?;
    if text.len() as u64 == bytes { Ok(text) } else { Err(Failed::Archive) }
}

/// The names that our archives have, and no other.
fn is_name(name: &str) -> bool {
    let Some(file) = name.strip_prefix(CLICKS).and_then(|rest| rest.strip_prefix('/')) else {
        return name == LEDGER || name == LEDGER_LOG;
    };
    if file.contains('/') {
        return SegmentName::parse(file).is_some() || SideName::parse(file).is_some();
    }
    let is_plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_');
    !file.is_empty() && file.len() <= NAME_MAX && !file.starts_with('.') && file.chars().all(is_plain)
}

/// A name for a message: short, and on one line.
fn shown(name: &str) -> String {
    format!("`{}`", name.chars().filter(|c| !c.is_control()).take(80).collect::<String>())
}

fn create(dir: &Path, name: &str) -> Result<File, Error> {
    let path = dir.join(name);
    if let Some(parent) = path.parent()
        && !parent.is_dir()
    {
        let made = DirBuilder::new().recursive(true).mode(0o700).create(parent);
        made.map_err(Error::io(format!("make {}", parent.display())))?;
    }
    OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(&path)
        .map_err(Error::io(format!("make {}", path.display())))
}
