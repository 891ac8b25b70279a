//! Writing an archive, into anything that takes bytes in their order.

use std::fs::File;
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

use sha2::{Digest as _, Sha256};
use tar::{EntryType, Header};

use super::{COPIED, Error, FAILED, HEAD, Head, Listed, MANIFEST, MANIFEST_HASH, Manifest};

/// Bytes that are read at once.
const CHUNK: usize = 1 << 18;
/// Longest comment, in bytes; a longer one is cut.
const COMMENT_MAX: usize = 400;

/// A file that is to be in the archive.
#[derive(Debug, Clone)]
pub(super) struct Source {
    /// Its name in the archive.
    pub(super) name: String,
    /// Where it is.
    pub(super) path: PathBuf,
    /// Its length in bytes, which does not change any more.
    pub(super) bytes: u64,
}

impl Source {
    pub(super) fn of(name: String, path: PathBuf) -> Result<Self, Error> {
        let meta = path.metadata().map_err(Error::io(format!("look at {}", path.display())))?;
        Ok(Self { name, path, bytes: meta.len() })
    }
}

/// The files of a folder, sorted by name, as sources below `prefix`.
pub(super) fn sources(
    dir: &Path,
    prefix: &str,
    is_wanted: impl Fn(&str) -> bool,
) -> Result<Vec<Source>, Error> {
    let listed = || -> io::Result<Vec<(String, PathBuf)>> {
        let mut found = Vec::new();
        let mut below = vec![(dir.to_owned(), String::new())];
        while let Some((dir, before)) = below.pop() {
            for entry in std::fs::read_dir(dir)? {
                let entry = entry?;
                let Ok(name) = entry.file_name().into_string() else { continue };
                let kind = entry.file_type()?;
                // Sealed clicks lie in directories of their own; what was set aside as damaged stays where it is.
                if kind.is_dir() && (name == "prints" || name.starts_with("dt=") || name.starts_with("hr=")) {
                    below.push((entry.path(), format!("{before}{name}/")));
                } else if kind.is_file() && is_wanted(&name) {
                    found.push((format!("{before}{name}"), entry.path()));
                }
            }
        }
        found.sort();
        Ok(found)
    };
    let found = listed().map_err(Error::io(format!("list {}", dir.display())))?;
    found.into_iter().map(|(name, path)| Source::of(format!("{prefix}/{name}"), path)).collect()
}

/// An archive that is being written.
pub(super) struct Archive<W: Write> {
    out: W,
    head: Head,
    listed: Vec<Listed>,
}

impl<W: Write> Archive<W> {
    /// Begins one.
    pub(super) fn begin(out: W, head: &Head) -> Result<Self, Error> {
        let mut this = Self { out, head: head.clone(), listed: Vec::new() };
        let text = json(head)?;
        this.entry(HEAD, text.as_bytes())?;
        Ok(this)
    }

    /// Says how many bytes of the ledger are copied, which also keeps the connection in use.
    pub(super) fn copied(&mut self, done: u64, of: u64) -> Result<(), Error> {
        self.comment(&format!("{COPIED}{done} {of}"))?;
        self.out.flush().map_err(Error::io("write the archive"))
    }

    /// Says why there is no more; whoever reads it learns it without asking the server's log.
    pub(super) fn failed(&mut self, error: &Error) {
        // The reader may be what failed.
        let _ = self.comment(&format!("{FAILED}{}: {error}", error.code()));
        let _ = self.out.flush();
    }

    /// Adds a file, whole.
    pub(super) fn file(&mut self, source: &Source) -> Result<(), Error> {
        let reading = || format!("read {}", source.path.display());
        let mut file = File::open(&source.path).map_err(Error::io(reading()))?;
        self.header(EntryType::Regular, &source.name, source.bytes)?;
        let mut hash = Sha256::new();
        let mut left = source.bytes;
        let mut buffer = vec![0; CHUNK];
        while left > 0 {
            let want = usize::try_from(left).unwrap_or(CHUNK).min(CHUNK);
            file.read_exact(&mut buffer[..want]).map_err(Error::io(reading()))?;
            hash.update(&buffer[..want]);
            self.write(&buffer[..want])?;
            left -= want as u64;
        }
        self.pad(source.bytes)?;
        let sha256 = hex::encode(hash.finalize());
        self.listed.push(Listed { path: source.name.clone(), bytes: source.bytes, sha256 });
        Ok(())
    }

    /// Writes the end.
    pub(super) fn end(mut self) -> Result<W, Error> {
        let manifest = Manifest { head: self.head.clone(), files: std::mem::take(&mut self.listed) };
        let text = json(&manifest)?;
        self.entry(MANIFEST, text.as_bytes())?;
        let hash = format!("{}\n", hex::encode(Sha256::digest(text.as_bytes())));
        self.entry(MANIFEST_HASH, hash.as_bytes())?;
        self.write(&[0; 1_024])?;
        self.out.flush().map_err(Error::io("write the archive"))?;
        Ok(self.out)
    }

    fn entry(&mut self, name: &str, bytes: &[u8]) -> Result<(), Error> {
        self.header(EntryType::Regular, name, bytes.len() as u64)?;
        self.write(bytes)?;
        self.pad(bytes.len() as u64)
    }

    /// A global header of the pax form, which may say anything in `comment`.
    fn comment(&mut self, text: &str) -> Result<(), Error> {
        let clean: String = text.chars().filter(|c| !c.is_control()).collect();
        let text = &clean[..clean.floor_char_boundary(COMMENT_MAX)];
        // A record begins with its own length, digits included.
        let rest = " comment=".len() + text.len() + 1;
        let mut len = rest + 1;
        while len != rest + len.to_string().len() {
            len = rest + len.to_string().len();
        }
        let record = format!("{len} comment={text}\n");
        self.header(EntryType::XGlobalHeader, "pax_global_header", record.len() as u64)?;
        self.write(record.as_bytes())?;
        self.pad(record.len() as u64)
    }

    fn header(&mut self, kind: EntryType, name: &str, bytes: u64) -> Result<(), Error> {
        let mut header = Header::new_gnu();
        header.set_entry_type(kind);
        header.set_path(name).map_err(Error::io(format!("name {name} in the archive")))?;
        header.set_size(bytes);
        header.set_mode(0o600);
        header.set_uid(0);
        header.set_gid(0);
        header.set_mtime(0);
        header.set_cksum();
        self.write(header.as_bytes())
    }

    fn pad(&mut self, bytes: u64) -> Result<(), Error> {
        let over = (bytes % 512) as usize;
        if over == 0 { Ok(()) } else { self.write(&[0; 512][over..]) }
    }

    fn write(&mut self, bytes: &[u8]) -> Result<(), Error> {
        self.out.write_all(bytes).map_err(Error::io("write the archive"))
    }
}

fn json(value: &impl serde::Serialize) -> Result<String, Error> {
    serde_json::to_string_pretty(value).map_err(|error| Error::Store(error.to_string()))
}
