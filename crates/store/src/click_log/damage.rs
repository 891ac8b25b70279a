//! What is damage, what is a normal torn end, and what can be saved.
//!
//! SQLite reads a WAL up to the first frame whose checksum fails and drops the rest in silence. After a crash
//! that rest is the one commit group that was being written: normal, nobody was answered. If more than one
//! commit group lies behind the bad frame, answered clicks would vanish without a word: that is damage. The WAL of
//! a live slice is never reset (automatic checkpoints are off and the closer deletes it), so the whole
//! file is one generation and its length means something.
//!
//! Frames behind a bad one are still good one by one: a frame's checksum continues from the one stored in the
//! frame before it. [`image`] applies every frame that proves itself, and since a full page is written with each commit,
//! later frames carry most of what the bad one held.
//!
//! Format: SQLite's "WAL file format" page. Header 32 bytes: magic, version, page size, sequence, two salts, two
//! checksum words. Frame: page number, size of the database after a commit (else 0), the salts, checksum; then the page.

use std::fs::{self, File, OpenOptions};
use std::io::{self, BufReader, Read};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use super::durable;
use super::pour::Places;
use super::slice::{self, Name};

pub(super) const WAL_HEADER: usize = 32;
const FRAME_HEADER: usize = 24;
const PAGE: usize = 4_096;
/// Bytes of one frame with a page of the size that we write.
pub(super) const FRAME: u64 = (FRAME_HEADER + PAGE) as u64;
const MAGIC: u32 = 0x377f_0682;

/// Why a file was set aside.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cause {
    /// A frame in the middle of the write-ahead log is bad.
    Wal {
        /// Commit groups that SQLite would have dropped in silence.
        groups_behind: u64,
    },
    /// The file cannot be read as a slice, or a row makes no sense.
    Unreadable,
    /// Its length or checksum is not what the manifest says.
    Changed,
    /// A sync of it failed; what the disk holds of it is unknown.
    SyncFailed,
    /// A second file of a slice that is there in a later form, or whose number another slice has.
    Superseded,
    /// The manifest could not be read; it was made again from the slices.
    Manifest,
}

impl Cause {
    /// The word for logs and metrics.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Wal { .. } => "wal",
            Self::Unreadable => "unreadable",
            Self::Changed => "changed",
            Self::SyncFailed => "sync_failed",
            Self::Superseded => "superseded",
            Self::Manifest => "manifest",
        }
    }
}

/// A file that was set aside. Nothing is deleted: it lies in `damaged/` for whoever wants to look.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Damage {
    /// The file's name as it was.
    pub file: String,
    /// Why.
    pub cause: Cause,
    /// Where it and what belongs to it lie now.
    pub set_aside: Vec<PathBuf>,
    /// Clicks that could be read and go on in the log.
    pub clicks_kept: u64,
}

/// What the write-ahead log of a live slice looks like.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct WalState {
    /// Commit groups that are whole and are read.
    pub(super) groups: u64,
    /// Commit groups that end behind the first bad frame.
    pub(super) groups_behind: u64,
    /// Where the last whole group ends.
    pub(super) whole_bytes: u64,
    /// Bytes behind that.
    pub(super) tail_bytes: u64,
    /// Whether they are more than zeros written ahead.
    pub(super) is_torn: bool,
}

impl WalState {
    /// One group behind is the commit that a crash interrupted.
    pub(super) fn is_damaged(&self) -> bool {
        self.groups_behind > 1
    }
}

struct Frame<'a> {
    page: u32,
    commit_pages: u32,
    /// Proves itself from the checksum stored before it.
    proven: bool,
    data: &'a [u8],
}

/// Walks the frames of a WAL at their fixed stride, good or bad. `each` gets the frame and whether the unbroken
/// chain from the beginning reaches it.
fn walk(path: &Path, mut each: impl FnMut(&Frame<'_>, bool) -> io::Result<()>) -> io::Result<u64> {
    let file = match File::open(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(0),
        other => other?,
    };
    let len = file.metadata()?.len();
    let mut file = BufReader::with_capacity(1 << 18, file);
    let mut head = [0; WAL_HEADER];
    if len < WAL_HEADER as u64 {
        return Ok(len);
    }
    file.read_exact(&mut head)?;
    let word = |bytes: &[u8], at: usize| {
        u32::from_be_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]])
    };
    let big_endian = word(&head, 0) & 1 == 1;
    let mut stored = [word(&head, 24), word(&head, 28)];
    let page_size = word(&head, 8) as usize;
    let head_good = word(&head, 0) & !1 == MAGIC
        && page_size.is_power_of_two()
        && (512..=65_536).contains(&page_size)
        && add([0, 0], &head[..24], big_endian) == stored;
    // With a bad header every frame is behind damage; our own page size is the best guess at the stride.
    let page_size = if head_good { page_size } else { PAGE };
    let mut salts = head_good.then(|| [word(&head, 16), word(&head, 20)]);
    let mut unbroken = head_good;
    let mut buffer = vec![0; FRAME_HEADER + page_size];
    for _ in 0..(len - WAL_HEADER as u64) / buffer.len() as u64 {
        file.read_exact(&mut buffer)?;
        let (header, data) = buffer.split_at(FRAME_HEADER);
        let own_salts = [word(header, 8), word(header, 12)];
        let sum = add(add(stored, &header[..8], big_endian), data, big_endian);
        stored = [word(header, 16), word(header, 20)];
        let ours = *salts.get_or_insert(own_salts) == own_salts && word(header, 0) != 0;
        let proven = ours && sum == stored;
        unbroken &= proven;
        // A frame whose salts are another's has no say on where a group ends.
        let commit_pages = if ours { word(header, 4) } else { 0 };
        each(&Frame { page: word(header, 0), commit_pages, proven, data }, unbroken)?;
    }
    Ok(len)
}

fn add(mut sum: [u32; 2], bytes: &[u8], big_endian: bool) -> [u32; 2] {
    for pair in bytes.chunks_exact(8) {
        let read = |at: usize| {
            let word = [pair[at], pair[at + 1], pair[at + 2], pair[at + 3]];
            if big_endian { u32::from_be_bytes(word) } else { u32::from_le_bytes(word) }
        };
        sum[0] = sum[0].wrapping_add(read(0)).wrapping_add(sum[1]);
        sum[1] = sum[1].wrapping_add(read(4)).wrapping_add(sum[0]);
    }
    sum
}

/// Looks at a WAL without touching it. To be asked before SQLite opens the slice, since recovery drops the tail.
pub(super) fn inspect(wal: &Path) -> io::Result<WalState> {
    let mut state = WalState { groups: 0, groups_behind: 0, whole_bytes: 0, tail_bytes: 0, is_torn: false };
    let mut at = WAL_HEADER as u64;
    let mut last = 0;
    let len = walk(wal, |frame, unbroken| {
        at += (FRAME_HEADER + frame.data.len()) as u64;
        if frame.commit_pages != 0 {
            if unbroken {
                state.groups += 1;
                state.whole_bytes = at;
                last = at;
            } else {
                state.groups_behind += 1;
            }
        }
        if frame.page != 0 {
            last = at;
        }
        Ok(())
    })?;
    state.tail_bytes = len.saturating_sub(state.whole_bytes);
    // Where there is no log, or nothing but its header, there was no commit to be torn.
    let behind = len.saturating_sub(state.whole_bytes.max(WAL_HEADER as u64));
    state.is_torn = last > state.whole_bytes || (1..FRAME).contains(&behind);
    Ok(state)
}

/// Where the pages are that SQLite's recovery would read from this WAL. `InvalidData` when it would drop a commit: the
/// log of a slice that was written in order has none behind its end.
pub(super) fn pages(wal: &Path) -> io::Result<Places> {
    let mut places = Places::default();
    let mut group = Vec::new();
    let mut at = WAL_HEADER as u64;
    walk(wal, |frame, unbroken| {
        if !unbroken && frame.commit_pages != 0 {
            return Err(io::Error::new(io::ErrorKind::InvalidData, "a commit lies behind a bad frame"));
        }
        if unbroken {
            group.push((frame.page, at + FRAME_HEADER as u64));
            if frame.commit_pages != 0 {
                places.pages.extend(group.drain(..));
                places.pages_total = frame.commit_pages;
                places.page_bytes = frame.data.len();
            }
        }
        at += (FRAME_HEADER + frame.data.len()) as u64;
        Ok(())
    })?;
    Ok(places)
}

/// Cuts the torn commit off, as SQLite's recovery would in effect: otherwise what is left of it behind the next,
/// shorter commit would look like damage after a second crash.
pub(super) fn cut_tail(wal: &Path, state: &WalState) -> io::Result<()> {
    if state.tail_bytes == 0 {
        return Ok(());
    }
    let file = OpenOptions::new().write(true).open(wal)?;
    file.set_len(state.whole_bytes)?;
    file.sync_all()
}

/// Makes one database file of a slice and every frame of its WAL that proves itself, up to the last commit.
pub(super) fn image(db: &Path, wal: &Path, out: &Path) -> io::Result<()> {
    durable::remove(out)?;
    fs::copy(db, out)?;
    let file = OpenOptions::new().write(true).open(out)?;
    let mut frames = 0_u64;
    let mut last_commit = 0_u64;
    walk(wal, |frame, _| {
        frames += 1;
        if frame.commit_pages != 0 && frame.proven {
            last_commit = frames;
        }
        Ok(())
    })?;
    let mut at = 0_u64;
    let mut bytes = 0_u64;
    walk(wal, |frame, _| {
        at += 1;
        if at <= last_commit && frame.proven {
            let size = frame.data.len() as u64;
            file.write_all_at(frame.data, u64::from(frame.page - 1) * size)?;
            if frame.commit_pages != 0 {
                bytes = u64::from(frame.commit_pages) * size;
            }
        }
        Ok(())
    })?;
    if bytes > 0 {
        file.set_len(bytes)?;
    }
    Ok(())
}

/// Moves a file, with its `-wal` and `-shm`, into `damaged/`. A name that is taken gets a number. `file` is below `dir`.
pub(super) fn set_aside(dir: &Path, file: &str) -> io::Result<Vec<PathBuf>> {
    set_aside_as(dir, &dir.join(file), file)
}

/// The same for a file that lies at `path` and goes by the name `file`.
pub(super) fn set_aside_as(dir: &Path, path: &Path, file: &str) -> io::Result<Vec<PathBuf>> {
    let damaged = dir.join(super::DAMAGED);
    if !damaged.is_dir() {
        fs::create_dir_all(&damaged)?;
        durable::sync_dir(dir)?;
    }
    let name = file.rsplit('/').next().unwrap_or(file);
    let free = |n: u32| match n {
        0 => damaged.join(name),
        n => damaged.join(format!("{name}.{n}")),
    };
    let to = (0..1_000).map(free).find(|path| !path.exists()).unwrap_or_else(|| free(1_000));
    let mut moved = Vec::new();
    // The log first: a database file left behind by a crash would otherwise look like a whole slice.
    for suffix in ["-wal", "-shm", ""] {
        let from = slice::beside(path, suffix);
        if from.exists() {
            let to = slice::beside(&to, suffix);
            fs::rename(&from, &to)?;
            moved.push(to);
        }
    }
    durable::sync_dir(&damaged)?;
    durable::sync_dir(path.parent().unwrap_or(dir))?;
    Ok(moved)
}

/// Saves what can be read of a live slice into the closed form and sets the live files aside. Returns how many
/// clicks were kept; with none there is no closed file.
pub(super) fn salvage_live(dir: &Path, name: &Name) -> Result<(u64, Vec<PathBuf>), super::Error> {
    let live = dir.join(name.file(slice::Part::Live));
    let whole = dir.join(name.file(slice::Part::Other));
    let out = dir.join(name.file(slice::Part::Salvaged));
    let closed = dir.join(name.file(slice::Part::Closed));
    image(&live, &slice::beside(&live, "-wal"), &whole).map_err(super::Error::io("copy", &live))?;
    let kept = slice::salvage(&whole, &out, name)?;
    for suffix in ["", "-wal", "-shm"] {
        let left = slice::beside(&whole, suffix);
        durable::remove(&left).map_err(super::Error::io("remove", &left))?;
    }
    if kept > 0 {
        durable::rename(&out, &closed).map_err(super::Error::io("rename", &out))?;
    } else {
        durable::remove(&out).map_err(super::Error::io("remove", &out))?;
    }
    let moved =
        set_aside(dir, &name.file(slice::Part::Live)).map_err(super::Error::io("set aside", &live))?;
    Ok((kept, moved))
}

/// The same for a closed slice. If a crash comes between setting aside and renaming, the next start finishes it.
pub(super) fn salvage_closed(dir: &Path, name: &Name) -> Result<(u64, Vec<PathBuf>), super::Error> {
    let closed = dir.join(name.file(slice::Part::Closed));
    let out = dir.join(name.file(slice::Part::Salvaged));
    let kept = slice::salvage(&closed, &out, name)?;
    let moved =
        set_aside(dir, &name.file(slice::Part::Closed)).map_err(super::Error::io("set aside", &closed))?;
    if kept > 0 {
        durable::rename(&out, &closed).map_err(super::Error::io("rename", &out))?;
    } else {
        durable::remove(&out).map_err(super::Error::io("remove", &out))?;
    }
    Ok((kept, moved))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_log_that_is_not_there_or_empty_is_not_torn() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("slice-wal");
        let inspected = inspect(&path).unwrap();
        assert_eq!((inspected.is_torn, inspected.tail_bytes), (false, 0), "a restored copy has none");
        let mut log = vec![7; WAL_HEADER];
        fs::write(&path, &log).unwrap();
        assert!(!inspect(&path).unwrap().is_torn, "a header alone says of no commit");
        log.extend([7; 100]);
        fs::write(&path, &log).unwrap();
        assert!(inspect(&path).unwrap().is_torn, "the begin of a frame does");
    }
}
