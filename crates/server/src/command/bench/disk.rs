//! The disk under the data directory: its file system, and how long it takes to make a write durable.
//!
//! A durable click cannot be faster than this, so no number of a run means anything without it.

use std::fs::File;
use std::os::unix::fs::FileExt as _;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::Context as _;

use super::report::percentile;

/// Writes in one probe.
const WRITES: u64 = 200;
/// Bytes of one write: four pages, about what a commit of a few dozen clicks appends.
const WRITE_BYTES: usize = 16 * 1024;
/// A probe stops here even on a disk that takes a tenth of a second for each.
const PROBE_MAX: Duration = Duration::from_secs(5);

/// Between two clicks that wait for the disk alone.
const ARRIVAL: Duration = Duration::from_micros(100);

/// What fdatasync took, in milliseconds each, sorted.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct Syncs(Vec<f64>);

impl Syncs {
    /// Appends to a file and syncs it, again and again.
    ///
    /// # Errors
    /// When the file cannot be written or synced.
    pub(super) fn probe(dir: &Path) -> anyhow::Result<Self> {
        let path = dir.join("fdatasync-probe");
        let run = || -> std::io::Result<Vec<f64>> {
            let file = File::create(&path)?;
            let block = [0x5a; WRITE_BYTES];
            let began = Instant::now();
            let mut took = Vec::new();
            for i in 0..WRITES {
                file.write_all_at(&block, i * WRITE_BYTES as u64)?;
                let start = Instant::now();
                file.sync_data()?;
                took.push(start.elapsed().as_secs_f64() * 1_000.0);
                if began.elapsed() >= PROBE_MAX {
                    break;
                }
            }
            std::fs::remove_file(&path)?;
            Ok(took)
        };
        let mut took = run().with_context(|| format!("measure fdatasync in {}", dir.display()))?;
        took.sort_by(f64::total_cmp);
        Ok(Self(took))
    }

    /// These and those.
    pub(super) fn and(mut self, other: &Self) -> Self {
        self.0.extend_from_slice(&other.0);
        self.0.sort_by(f64::total_cmp);
        self
    }

    /// The quantile `q` of 0 to 1, in milliseconds.
    pub(super) fn ms(&self, q: f64) -> f64 {
        percentile(&self.0, q)
    }
}

/// How long clicks would wait for a server that does nothing but commit, in milliseconds each, sorted: one write and sync
/// follows the other for so long, inside a file that is there already, and whoever comes during one waits for the end of the
/// next. Clicks come every [`ARRIVAL`].
///
/// # Errors
/// When the file cannot be written or synced.
pub(super) fn waits(dir: &Path, time: Duration) -> anyhow::Result<Vec<f64>> {
    let path = dir.join("commit-probe");
    let run = || -> std::io::Result<Vec<Duration>> {
        let file = File::create(&path)?;
        let (block, blocks) = ([0x5a; WRITE_BYTES], 2_048);
        for at in 0..blocks {
            file.write_all_at(&block, at * WRITE_BYTES as u64)?;
        }
        file.sync_all()?;
        let (began, mut ends) = (Instant::now(), Vec::new());
        for at in 0.. {
            file.write_all_at(&block, at % blocks * WRITE_BYTES as u64)?;
            file.sync_data()?;
            ends.push(began.elapsed());
            if began.elapsed() >= time {
                break;
            }
        }
        std::fs::remove_file(&path)?;
        Ok(ends)
    };
    let ends = run().with_context(|| format!("measure commits in {}", dir.display()))?;
    Ok(waits_of(&ends))
}

/// Waits of who comes while commits end at these moments.
fn waits_of(ends: &[Duration]) -> Vec<f64> {
    let (mut waits, mut at, mut next) = (Vec::new(), Duration::ZERO, 0);
    loop {
        while ends.get(next).is_some_and(|end| *end <= at) {
            next += 1;
        }
        // The commit that is under way began without it.
        let Some(end) = ends.get(next + 1) else { break };
        waits.push((*end - at).as_secs_f64() * 1_000.0);
        at += ARRIVAL;
    }
    waits.sort_by(f64::total_cmp);
    waits
}

/// The name of a directory's file system; one that is unknown here is named by its number.
pub(super) fn file_system(dir: &Path) -> String {
    match rustix::fs::statfs(dir) {
        // A bit pattern, signed and wider on some systems.
        Ok(stat) => name_of(stat.f_type as u32),
        Err(error) => format!("unknown ({error})"),
    }
}

/// Whether its name is that of a file system in memory, where syncing costs nothing and proves nothing.
pub(super) fn is_memory(file_system: &str) -> bool {
    matches!(file_system, "tmpfs" | "ramfs")
}

/// Linux's numbers of file systems, from `statfs(2)`.
fn name_of(magic: u32) -> String {
    let name = match magic {
        0xef53 => "ext4 (or ext2, ext3)",
        0x5846_5342 => "xfs",
        0x9123_683e => "btrfs",
        0x2fc1_2fc1 => "zfs",
        0xf2f5_2010 => "f2fs",
        0xca45_1a4e => "bcachefs",
        0x0102_1994 => "tmpfs",
        0x8584_58f6 => "ramfs",
        0x794c_7630 => "overlayfs",
        0x6969 => "nfs",
        0x6573_5546 => "fuse",
        0x0102_1997 => "9p",
        _ => return format!("unknown (0x{magic:x})"),
    };
    name.to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_probe_is_sorted_and_leaves_nothing_behind() {
        let dir = tempfile::tempdir().unwrap();
        let syncs = Syncs::probe(dir.path()).unwrap();
        assert!(syncs.ms(0.5) <= syncs.ms(0.99) && syncs.ms(0.0) > 0.0);
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0);
        let both = syncs.clone().and(&Syncs(vec![0.0, 1e9]));
        assert_eq!((both.ms(0.0), both.ms(1.0)), (0.0, 1e9));
    }

    #[test]
    fn who_comes_during_a_commit_waits_for_the_end_of_the_next() {
        let us = Duration::from_micros;
        // One ends at 0.3 ms, one at 1 ms after a stall, one at 1.1 ms; who comes later than 0.9 ms hears of no end.
        let told = waits_of(&[us(300), us(1_000), us(1_100)]);
        let want = [0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.8, 0.9, 1.0];
        assert_eq!(told.len(), want.len(), "{told:?}");
        assert!(told.iter().zip(want).all(|(told, want)| (told - want).abs() < 1e-9), "{told:?}");
        assert!(waits_of(&[]).is_empty() && waits_of(&[us(5)]).is_empty());
        let dir = tempfile::tempdir().unwrap();
        assert!(!waits(dir.path(), us(20_000)).unwrap().is_empty());
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0);
    }

    #[test]
    fn file_systems_have_names() {
        assert_eq!(name_of(0x5846_5342), "xfs");
        assert_eq!(name_of(1), "unknown (0x1)");
        assert!(is_memory(&name_of(0x0102_1994)) && !is_memory(&name_of(0xef53)));
        assert!(file_system(Path::new("/no/such/directory")).starts_with("unknown"));
    }
}
