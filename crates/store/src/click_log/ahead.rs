//! Zeros written ahead of a slice's write-ahead log.
//!
//! A commit that makes its file longer has to sync the file's length and its place on the disk besides its bytes; one
//! that falls into bytes that are there already does not, and takes half as long. SQLite reads a log up to the
//! first frame that does not prove itself, and zeros prove nothing, so they may stand behind the last commit.
//!
//! Writing them while commits go on makes some of the commits wait: for the zeros, and for the file system's journal, which
//! may have the bytes of other files to write first. So where clicks come fast the closer makes the whole log of the next
//! slice beforehand (the spare), and the writer only gives it its name. There is one at most, as long as the log of the slice
//! before, and none between runs: what a start finds may be half of one, and it deletes it.
//!
//! Only the writer's thread calls the rest, between its commits: nobody else may write behind the end of the log. What
//! cannot be written here (a full disk) is given up without a word; SQLite then makes the file longer itself,
//! and says so if it cannot.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::FileExt;
use std::path::Path;

use super::durable;
use super::pour::{Pace, Paced};

/// A log gets none before it has this many bytes: most slices of a quiet installation never come so far.
const BEGINS: u64 = 128 << 10;
/// So many bytes at least lie ahead. A full commit of usual clicks has fewer.
const ROOM: u64 = 64 << 10;
/// So many are written at once. They are synced with the next commit, whose callers wait for them.
const STEP: u64 = 512 << 10;

/// The log of the next slice.
const SPARE: &str = "next-wal";
/// The same while it is being written.
const SPARE_UNFINISHED: &str = "next-wal.tmp";
/// No spare is longer.
const SPARE_MAX: u64 = 512 << 20;

/// Sees to it that there is a log for the next slice, of which the last one used so many bytes.
pub(super) fn make_spare(dir: &Path, used: u64, pace: Pace<'_>) -> io::Result<()> {
    let (spare, unfinished) = (dir.join(SPARE), dir.join(SPARE_UNFINISHED));
    if spare.exists() {
        return Ok(());
    }
    let write = || -> io::Result<()> {
        let mut out = Paced::new(File::create(&unfinished)?, pace);
        let zeros = [0; 64 << 10];
        // As long as the last one and a bit: slices end by their clicks, and commits are of different sizes.
        let bytes = (used + used / 8).min(SPARE_MAX);
        for _ in 0..bytes.div_ceil(zeros.len() as u64) {
            out.write_all(&zeros)?;
        }
        out.file.sync_all()?;
        fs::rename(&unfinished, &spare)
    };
    write().inspect_err(|_| {
        // Half of it takes room that the clicks may need.
        let _ = durable::remove(&unfinished);
    })
}

/// Deletes what there is of a log for the next slice.
pub(super) fn drop_spare(dir: &Path) -> io::Result<()> {
    durable::remove(&dir.join(SPARE)).and_then(|()| durable::remove(&dir.join(SPARE_UNFINISHED)))
}

/// Whether there is one.
pub(super) fn has_spare(dir: &Path) -> bool {
    dir.join(SPARE).exists()
}

/// Gives it to a slice. If it is gone meanwhile the slice makes its own.
pub(super) fn take_spare(dir: &Path, wal: &Path) {
    if let Err(error) = fs::rename(dir.join(SPARE), wal) {
        tracing::debug!(%error, "a click slice does without the log that was made beforehand");
    }
}

/// What lies ahead of a log.
pub(super) struct Ahead {
    file: Option<File>,
    /// The length of the file, as far as we made it.
    end: u64,
}

impl Ahead {
    /// Opens the log beside SQLite. Its locks are on other files, so opening and closing this one takes none away.
    pub(super) fn of(wal: &Path) -> Self {
        let file = OpenOptions::new().write(true).open(wal).ok();
        let end = file.as_ref().and_then(|file| file.metadata().ok()).map_or(0, |about| about.len());
        Self { file, end }
    }

    /// Sees to it that there is room behind the first `used` bytes.
    pub(super) fn reach(&mut self, used: u64) {
        if used < BEGINS || used + ROOM <= self.end {
            return;
        }
        let Some(file) = &self.file else { return };
        let zeros = [0; 16 << 10];
        let mut write = || -> std::io::Result<()> {
            // A large commit may have gone past what was there.
            self.end = self.end.max(used).max(file.metadata()?.len());
            let until = self.end + STEP;
            while self.end < until {
                file.write_all_at(&zeros, self.end)?;
                self.end += zeros.len() as u64;
            }
            Ok(())
        };
        if write().is_err() {
            self.file = None;
        }
    }

    /// Takes back what lies behind the first `used` bytes: a log that was left in order ends with its last commit.
    pub(super) fn cut(&self, used: u64) {
        if let Some(file) = &self.file
            && (1..self.end).contains(&used)
            && let Err(error) = file.set_len(used)
        {
            tracing::warn!(%error, "zeros stay behind the log of a click slice; the next start takes them away");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_that_was_written_is_touched_and_a_short_log_is_left_alone() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("x-wal");
        std::fs::write(&path, vec![7; BEGINS as usize + 3]).unwrap();
        let mut ahead = Ahead::of(&path);
        ahead.reach(BEGINS - 1);
        assert_eq!(std::fs::metadata(&path).unwrap().len(), BEGINS + 3);
        // The log is used up to less than is there: what stands behind may be a commit that was not counted.
        ahead.reach(BEGINS);
        let bytes = std::fs::read(&path).unwrap();
        let (written, zeros) = bytes.split_at(BEGINS as usize + 3);
        assert!(written.iter().all(|b| *b == 7) && zeros.iter().all(|b| *b == 0));
        assert_eq!(zeros.len() as u64, STEP);
        ahead.reach(BEGINS + STEP / 2);
        assert_eq!(std::fs::metadata(&path).unwrap().len(), bytes.len() as u64, "there is room");
        ahead.reach(BEGINS + STEP);
        assert_eq!(std::fs::metadata(&path).unwrap().len(), bytes.len() as u64 + STEP);
        ahead.cut(0);
        assert_eq!(
            std::fs::metadata(&path).unwrap().len(),
            bytes.len() as u64 + STEP,
            "nothing is known to be used"
        );
        ahead.cut(BEGINS + 3);
        assert_eq!(std::fs::metadata(&path).unwrap().len(), BEGINS + 3);
        let mut nowhere = Ahead::of(&dir.path().join("none"));
        nowhere.reach(BEGINS);
        assert!(!dir.path().join("none").exists());
    }
}
