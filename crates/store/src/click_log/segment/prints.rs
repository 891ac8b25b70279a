//! The side file of sealed clicks: which rows of which segments have a print. One covers a segment, or a day of them.
//!
//! Rows are sorted by `(scope, kind, hash)`, then by segment and row. Scope and kind stand once for each run of theirs, in
//! a directory that is read when the file is opened. Hashes are as good as random, so that a look-up guesses where in a
//! run its hash stands, reads a block there, and is nearly always right. Integers are big-endian.
//!
//! ```text
//! header, 64 bytes:  "RTSIDE01" · segments u32 · runs u32 · rows u64 · checksum of all behind the header u64 · zero
//!                    24 bytes · checksum of the header so far u64            (SipHash-1-3, zero key)
//! segment, 8 bytes:  number
//! run, 25 bytes:     scope 16 · kind 1 · rows u64
//! row, 14 bytes:     hash 8 · segment u16 (its place in the list above) · row u32
//! ```
//!
//! Not relied on: that a row is right. It names a click, and the click itself says whether it has the print. The file
//! can always be made again from its segments.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::fs::File;
use std::hash::Hasher;
use std::io::{self, BufWriter, Write};
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

use siphasher::sip::SipHasher13;

use super::super::durable;
use super::super::pour::{Pace, Paced};
use super::sealed::{Side, SideName};

const MAGIC: &[u8; 8] = b"RTSIDE01";
const HEADER: usize = 64;
const SEGMENT: usize = 8;
const RUN: usize = 25;
pub(super) const ROW: usize = 14;
/// Rows that a look-up reads at a time.
pub(super) const BLOCK_ROWS: u64 = 64;
/// Rows that are read at a time where all of them are.
const STREAM_ROWS: u64 = 8_192;
/// Most segments of one file.
pub(in super::super) const SEGMENTS_MAX: usize = u16::MAX as usize;

/// Where a click with a print stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(in super::super) struct Entry {
    pub(in super::super) scope: u128,
    pub(in super::super) kind: u8,
    pub(in super::super) hash: u64,
    /// Place of the segment in the list of the file.
    pub(in super::super) segment: u16,
    /// Row of the segment.
    pub(in super::super) row: u32,
}

/// Writes a file under a temporary name, syncs it, renames it, syncs the directory. `entries` are sorted; `segments`
/// are their numbers, in order of time.
///
/// # Errors
/// When it cannot be written.
pub(in super::super) fn write(
    path: &Path,
    name: SideName,
    segments: &[u64],
    entries: &[Entry],
    pace: Pace<'_>,
) -> io::Result<Side> {
    let runs = Run::all(entries.iter().map(|entry| Ok(*entry)))?;
    put(path, name, segments, &runs, entries.iter().map(|entry| Ok(*entry)), pace)
}

/// Writes one file in place of several, as [`write`] does, without holding their rows in memory. `segments` is what
/// the new one covers, in order of time: rows of other segments are left out.
///
/// # Errors
/// When a file cannot be read or written, or holds its segments in another order.
pub(in super::super) fn merge(
    path: &Path,
    name: SideName,
    segments: &[u64],
    files: &[&Prints],
    pace: Pace<'_>,
    stop: &AtomicBool,
) -> io::Result<Side> {
    let entries = || {
        let merged = Merged::new(files, segments)?;
        Ok::<_, io::Error>(merged.enumerate().map(
            |(n, entry)| match (n as u64).is_multiple_of(STREAM_ROWS) {
                true if stop.load(Relaxed) => Err(io::Error::from(io::ErrorKind::Interrupted)),
                _ => entry,
            },
        ))
    };
    let runs = Run::all(entries()?)?;
    put(path, name, segments, &runs, entries()?, pace)
}

fn put(
    path: &Path,
    name: SideName,
    segments: &[u64],
    runs: &[Run],
    entries: impl Iterator<Item = io::Result<Entry>>,
    pace: Pace<'_>,
) -> io::Result<Side> {
    if segments.len() > SEGMENTS_MAX {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "too many segments for one side file"));
    }
    let tmp = path.with_extension("prints.tmp");
    let mut out = Hashed {
        to: BufWriter::with_capacity(1 << 18, Paced::new(File::create(&tmp)?, pace)),
        hasher: SipHasher13::new(),
    };
    out.to.write_all(&[0; HEADER])?;
    for segment in segments {
        out.write(&segment.to_be_bytes())?;
    }
    let mut rows = 0;
    for Run { scope, kind, rows: n } in runs {
        out.write(&scope.to_be_bytes())?;
        out.write(&[*kind])?;
        out.write(&n.to_be_bytes())?;
        rows += n;
    }
    for entry in entries {
        let entry = entry?;
        let mut row = [0; ROW];
        row[..8].copy_from_slice(&entry.hash.to_be_bytes());
        row[8..10].copy_from_slice(&entry.segment.to_be_bytes());
        row[10..].copy_from_slice(&entry.row.to_be_bytes());
        out.write(&row)?;
    }
    let head = header(segments.len() as u32, runs.len() as u32, rows, out.hasher.finish());
    let file = out.to.into_inner().map_err(io::IntoInnerError::into_error)?.file;
    file.write_all_at(&head, 0)?;
    file.sync_all()?;
    let bytes = file.metadata()?.len();
    drop(file);
    durable::rename(&tmp, path)?;
    Ok(Side { name, segments: segments.to_vec(), bytes, checksum: number(&head[56..]) })
}

struct Hashed<W> {
    to: W,
    hasher: SipHasher13,
}

impl<W: Write> Hashed<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.hasher.write(bytes);
        self.to.write_all(bytes)
    }
}

/// Rows that share a scope and a kind.
#[derive(Debug, Clone, Copy)]
struct Run {
    scope: u128,
    kind: u8,
    rows: u64,
}

impl Run {
    fn all(entries: impl Iterator<Item = io::Result<Entry>>) -> io::Result<Vec<Self>> {
        let mut runs: Vec<Self> = Vec::new();
        for entry in entries {
            let Entry { scope, kind, .. } = entry?;
            match runs.last_mut() {
                Some(run) if (run.scope, run.kind) == (scope, kind) => run.rows += 1,
                _ => runs.push(Self { scope, kind, rows: 1 }),
            }
        }
        Ok(runs)
    }
}

/// The rows of several files in one order, those of listed segments only.
struct Merged<'a> {
    inputs: Vec<(Entries<'a>, Vec<Option<u16>>)>,
    /// The next row of each input, the least first.
    next: BinaryHeap<Reverse<(Entry, usize)>>,
}

impl<'a> Merged<'a> {
    fn new(files: &[&'a Prints], segments: &[u64]) -> io::Result<Self> {
        let place =
            |segment: &u64| segments.iter().position(|s| s == segment).and_then(|at| u16::try_from(at).ok());
        let mut this = Self { inputs: Vec::new(), next: BinaryHeap::new() };
        for file in files {
            let places: Vec<_> = file.segments.iter().map(place).collect();
            if !places.iter().flatten().is_sorted() {
                return Err(io::Error::new(io::ErrorKind::InvalidInput, "segments in another order"));
            }
            this.inputs.push((file.rows()?, places));
        }
        for at in 0..this.inputs.len() {
            this.refill(at)?;
        }
        Ok(this)
    }

    fn refill(&mut self, at: usize) -> io::Result<()> {
        let Some((entries, places)) = self.inputs.get_mut(at) else { return Ok(()) };
        for entry in entries {
            let mut entry = entry?;
            if let Some(Some(segment)) = places.get(usize::from(entry.segment)) {
                entry.segment = *segment;
                self.next.push(Reverse((entry, at)));
                break;
            }
        }
        Ok(())
    }
}

impl Iterator for Merged<'_> {
    type Item = io::Result<Entry>;

    fn next(&mut self) -> Option<Self::Item> {
        let Reverse((entry, at)) = self.next.pop()?;
        Some(self.refill(at).map(|()| entry))
    }
}

fn header(segments: u32, runs: u32, rows: u64, sum: u64) -> [u8; HEADER] {
    let mut out = [0; HEADER];
    out[..8].copy_from_slice(MAGIC);
    out[8..12].copy_from_slice(&segments.to_be_bytes());
    out[12..16].copy_from_slice(&runs.to_be_bytes());
    out[16..24].copy_from_slice(&rows.to_be_bytes());
    out[24..32].copy_from_slice(&sum.to_be_bytes());
    let mut hasher = SipHasher13::new();
    hasher.write(&out[..56]);
    out[56..].copy_from_slice(&hasher.finish().to_be_bytes());
    out
}

/// A side file whose header, directory and length are right.
#[derive(Debug)]
pub(in super::super) struct Prints {
    file: File,
    segments: Vec<u64>,
    /// Scope, kind, first row, rows.
    pub(super) runs: Vec<(u128, u8, u64, u64)>,
    rows_at: u64,
    rows_n: u64,
    checksum: u64,
}

impl Prints {
    /// Opens it. Anything but a sound header and directory is `InvalidData`.
    pub(in super::super) fn open(path: &Path) -> io::Result<Self> {
        let bad = |what: &'static str| io::Error::new(io::ErrorKind::InvalidData, what);
        let file = File::open(path)?;
        let len = file.metadata()?.len();
        let mut head = [0; HEADER];
        if len < HEADER as u64 {
            return Err(bad("shorter than its header"));
        }
        file.read_exact_at(&mut head, 0)?;
        let (segments_n, runs_n, rows, sum) =
            (number(&head[8..12]), number(&head[12..16]), number(&head[16..24]), number(&head[24..32]));
        if head != header(segments_n as u32, runs_n as u32, rows, sum) {
            return Err(bad("bad header"));
        }
        let rows_at = HEADER as u64 + segments_n * SEGMENT as u64 + runs_n * RUN as u64;
        if rows.checked_mul(ROW as u64).and_then(|n| n.checked_add(rows_at)) != Some(len) {
            return Err(bad("length and header disagree"));
        }
        // Not longer than the file, as was just seen.
        let mut list = vec![0; rows_at as usize - HEADER];
        file.read_exact_at(&mut list, HEADER as u64)?;
        let (list, directory) = list.split_at(segments_n as usize * SEGMENT);
        let mut first = 0_u64;
        let mut runs = Vec::with_capacity(runs_n as usize);
        for run in directory.chunks_exact(RUN) {
            let scope = u128::from_be_bytes(run[..16].try_into().unwrap_or_default());
            let n = number(&run[17..]);
            runs.push((scope, run[16], first, n));
            first = first.checked_add(n).ok_or_else(|| bad("bad directory"))?;
        }
        if first != rows {
            return Err(bad("directory and header disagree"));
        }
        if !runs.is_sorted_by_key(|run| (run.0, run.1)) {
            return Err(bad("directory out of order"));
        }
        let segments = list.chunks_exact(SEGMENT).map(number).collect();
        Ok(Self { file, segments, runs, rows_at, rows_n: rows, checksum: sum })
    }

    /// The first row of a run of `n` rows from `first` whose hash is greater.
    pub(super) fn behind(&self, first: u64, n: u64, hash: u64) -> io::Result<u64> {
        let (mut low, mut high) = (first, first + n);
        let (mut hash_low, mut hash_high) = (0_u64, u64::MAX);
        let mut guesses = 0;
        while low < high {
            // Hashes are spread evenly; where they are not, halving takes over.
            let middle = if guesses < 4 && hash_high > hash_low {
                let share = u128::from(hash.clamp(hash_low, hash_high) - hash_low) * u128::from(high - low)
                    / (u128::from(hash_high - hash_low) + 1);
                low + share as u64
            } else {
                low + (high - low) / 2
            };
            guesses += 1;
            let from = middle.saturating_sub(BLOCK_ROWS / 2).max(low);
            let until = (from + BLOCK_ROWS).min(high);
            let block = self.block(from, until - from)?;
            let hashes: Vec<u64> = block.chunks_exact(ROW).map(|row| number(&row[..8])).collect();
            let greater = hashes.partition_point(|h| *h <= hash) as u64;
            if greater == 0 {
                (high, hash_high) = (from, hashes[0]);
            } else if greater == until - from {
                (low, hash_low) = (until, hashes[hashes.len() - 1]);
            } else {
                return Ok(from + greater);
            }
        }
        Ok(low)
    }

    pub(super) fn block(&self, from: u64, rows: u64) -> io::Result<Vec<u8>> {
        let mut block = vec![0; rows as usize * ROW];
        self.file.read_exact_at(&mut block, self.rows_at + from * ROW as u64)?;
        Ok(block)
    }

    /// The segments that it covers, in order of time.
    pub(in super::super) fn segments(&self) -> &[u64] {
        &self.segments
    }

    /// What is listed of it.
    pub(in super::super) fn side(&self, name: SideName) -> io::Result<Side> {
        let mut sum = [0; 8];
        self.file.read_exact_at(&mut sum, 56)?;
        let bytes = self.file.metadata()?.len();
        Ok(Side { name, segments: self.segments.clone(), bytes, checksum: number(&sum) })
    }

    /// Bytes of memory that it takes.
    pub(in super::super) fn memory(&self) -> usize {
        size_of::<Self>() + self.segments.len() * 8 + self.runs.len() * size_of::<(u128, u8, u64, u64)>()
    }

    /// Reads the whole file and compares the checksum of all behind its header.
    pub(in super::super) fn verify(&self) -> io::Result<bool> {
        let mut hasher = SipHasher13::new();
        let mut buffer = vec![0; 1 << 18];
        let len = self.file.metadata()?.len();
        let mut at = HEADER as u64;
        while at < len {
            let n = buffer.len().min((len - at) as usize);
            self.file.read_exact_at(&mut buffer[..n], at)?;
            hasher.write(&buffer[..n]);
            at += n as u64;
        }
        Ok(hasher.finish() == self.checksum)
    }

    /// All rows, in order.
    pub(in super::super) fn rows(&self) -> io::Result<Entries<'_>> {
        Ok(Entries { prints: self, run: 0, at: 0, block: Vec::new(), block_at: 0 })
    }
}

/// The rows of a file, read a block at a time.
pub(in super::super) struct Entries<'a> {
    prints: &'a Prints,
    run: usize,
    /// Row of the file.
    at: u64,
    block: Vec<u8>,
    block_at: u64,
}

impl Iterator for Entries<'_> {
    type Item = io::Result<Entry>;

    fn next(&mut self) -> Option<Self::Item> {
        let (scope, kind) = loop {
            let (scope, kind, first, n) = *self.prints.runs.get(self.run)?;
            if self.at < first + n {
                break (scope, kind);
            }
            self.run += 1;
        };
        let mut from = (self.at - self.block_at) as usize * ROW;
        if from >= self.block.len() {
            let rows = (self.prints.rows_n - self.at).min(STREAM_ROWS);
            match self.prints.block(self.at, rows) {
                Ok(block) => self.block = block,
                Err(error) => {
                    // Nothing more comes: whoever goes on after an error would get the same one for ever.
                    self.run = usize::MAX;
                    return Some(Err(error));
                }
            }
            (self.block_at, from) = (self.at, 0);
        }
        let row = &self.block[from..from + ROW];
        self.at += 1;
        let (hash, segment, row) = (number(&row[..8]), number(&row[8..10]) as u16, number(&row[10..]) as u32);
        Some(Ok(Entry { scope, kind, hash, segment, row }))
    }
}

pub(super) fn number(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0, |n, byte| n << 8 | u64::from(*byte))
}

#[cfg(test)]
mod tests {
    use super::super::hits::Hit;
    use super::*;
    use proptest::prelude::*;

    static GOES_ON: AtomicBool = AtomicBool::new(false);
    use roundtrip_domain::device::{Print, PrintKind};

    const NAME: SideName = SideName { node: 5, seq: 9 };

    fn written(dir: &Path, seq: u64, segments: &[u64], entries: &[Entry]) -> Prints {
        let path = dir.join(format!("{seq}.prints"));
        let side =
            write(&path, SideName { seq, ..NAME }, segments, entries, Pace::HURRIED).expect("it is written");
        let prints = Prints::open(&path).expect("it opens");
        assert_eq!(prints.side(side.name).expect("it reads"), side);
        assert!(prints.verify().expect("it reads"));
        prints
    }

    fn print(scope: u128, kind: u8, hash: u64) -> Print {
        let kind = if kind == 1 { PrintKind::Gaid } else { PrintKind::PartnerClickId };
        Print { scope, kind, hash }
    }

    /// Numbers of segments, and rows.
    fn found(prints: &Prints, wanted: &Print) -> io::Result<Vec<(u64, u32)>> {
        let mut hits = prints.hits(wanted)?;
        let mut found = Vec::new();
        while let Some(hit) = hits.peek()? {
            found.extend(prints.segments().get(usize::from(hit.segment)).map(|seq| (*seq, hit.row)));
            hits.step();
        }
        Ok(found)
    }

    fn all(prints: &Prints) -> Vec<Entry> {
        prints.rows().expect("rows").collect::<io::Result<_>>().expect("they read")
    }

    prop_compose! {
        // Hashes that crowd together are what guessing is bad at.
        fn any_entry()(
            scope in 0_u128..3, kind in prop_oneof![Just(1_u8), Just(32)],
            hash in prop_oneof![0_u64..40, any::<u64>(), Just(u64::MAX)], segment in 0_u16..4, row in 0_u32..100,
        ) -> Entry {
            Entry { scope, kind, hash, segment, row }
        }
    }

    proptest! {
        #![proptest_config(proptest::test_runner::Config::with_cases(48))]

        #[test]
        fn what_is_found_is_what_a_list_says(
            mut entries in proptest::collection::vec(any_entry(), 0..900),
        ) {
            let dir = tempfile::tempdir().expect("a directory");
            entries.sort_unstable();
            let segments = [70, 30, 50, 90];
            let prints = written(dir.path(), 1, &segments, &entries);
            prop_assert_eq!(&all(&prints), &entries);
            let beside = [Entry { scope: 1, kind: 1, hash: 41, segment: 0, row: 0 }];
            for entry in entries.iter().chain(&beside) {
                let wanted = print(entry.scope, entry.kind, entry.hash);
                let mut list: Vec<(u64, u32)> = entries
                    .iter()
                    .filter(|e| (e.scope, e.kind, e.hash) == (entry.scope, entry.kind, entry.hash))
                    .map(|e| (segments[usize::from(e.segment)], e.row))
                    .collect();
                list.reverse();
                prop_assert_eq!(found(&prints, &wanted).expect("it reads"), list);
            }
        }

        // Many rows of one print, over many blocks, between others.
        #[test]
        fn skipping_is_leaving_out(
            rows in proptest::collection::btree_set((0_u16..4, 0_u32..400), 0..700),
            around in 0_u32..200,
            skips in proptest::collection::vec((0_u16..5, 0_u32..410, 0_usize..150), 1..12),
        ) {
            let dir = tempfile::tempdir().expect("a directory");
            let entry = |hash, segment, row| Entry { scope: 7, kind: 1, hash, segment, row };
            let mut entries: Vec<Entry> = rows.iter().map(|(segment, row)| entry(50, *segment, *row)).collect();
            entries.extend((0..around).flat_map(|row| [entry(49, 3, row), entry(51, 0, row)]));
            entries.sort_unstable();
            let prints = written(dir.path(), 1, &[70, 30, 50, 90], &entries);
            let mut hits = prints.hits(&print(7, 1, 50)).expect("it reads");
            let mut left: Vec<Hit> = rows.iter().map(|(segment, row)| Hit { segment: *segment, row: *row }).collect();
            for (segment, row, steps) in skips {
                for _ in 0..steps {
                    prop_assert_eq!(hits.peek().expect("it reads"), left.pop());
                    hits.step();
                }
                hits.skip_to(segment, row).expect("it reads");
                left.retain(|hit| (hit.segment, hit.row) < (segment, row));
                prop_assert_eq!(hits.peek().expect("it reads"), left.last().copied());
            }
        }

        #[test]
        fn several_files_become_one(parts in proptest::collection::vec(proptest::collection::vec(any_entry(), 0..200), 1..4)) {
            let dir = tempfile::tempdir().expect("a directory");
            let mut files = Vec::new();
            let mut segments = Vec::new();
            let mut wanted = Vec::new();
            for (n, mut entries) in parts.into_iter().enumerate() {
                entries.sort_unstable();
                let own: Vec<u64> = (0..4).map(|at| 10 * (n as u64 + 1) + at).collect();
                files.push(written(dir.path(), n as u64, &own, &entries));
                // The third segment of each has expired.
                let kept: Vec<u64> = own.iter().copied().filter(|seq| seq % 10 != 2).collect();
                wanted.extend(entries.iter().filter(|e| e.segment != 2).map(|e| Entry {
                    segment: (segments.len() + usize::from(e.segment) - usize::from(e.segment > 2)) as u16,
                    ..*e
                }));
                segments.extend(kept);
            }
            wanted.sort_unstable();
            let path = dir.path().join("merged.prints");
            let files: Vec<&Prints> = files.iter().collect();
            let side = merge(&path, NAME, &segments, &files, Pace::HURRIED, &GOES_ON).expect("it is written");
            prop_assert_eq!(&side.segments, &segments);
            let merged = Prints::open(&path).expect("it opens");
            prop_assert!(merged.verify().expect("it reads"));
            prop_assert_eq!(merged.segments(), &segments[..]);
            prop_assert_eq!(all(&merged), wanted);
            // The same bytes as if they had been one from the start.
            let once = dir.path().join("once.prints");
            write(&once, NAME, &segments, &all(&merged), Pace::HURRIED).expect("it is written");
            prop_assert!(std::fs::read(&once).expect("it reads") == std::fs::read(&path).expect("it reads"));
        }
    }

    #[test]
    fn a_merge_ends_when_it_is_told_to_and_gives_nothing_its_name() {
        let dir = tempfile::tempdir().expect("a directory");
        let entry = |row| Entry { scope: 1, kind: 1, hash: u64::from(row), segment: 0, row };
        let file = written(dir.path(), 1, &[7], &(0..20).map(entry).collect::<Vec<_>>());
        let stop = AtomicBool::new(true);
        let path = dir.path().join("merged.prints");
        let merged = merge(&path, NAME, &[7], &[&file], Pace::HURRIED, &stop);
        assert_eq!(merged.map_err(|error| error.kind()), Err(io::ErrorKind::Interrupted));
        assert!(!path.exists());
        stop.store(false, Relaxed);
        merge(&path, NAME, &[7], &[&file], Pace::HURRIED, &stop).expect("it is written");
    }

    #[test]
    fn segments_in_another_order_are_refused() {
        let dir = tempfile::tempdir().expect("a directory");
        let file = written(dir.path(), 1, &[1, 2], &[]);
        let merged = merge(&dir.path().join("x"), NAME, &[2, 1], &[&file], Pace::HURRIED, &GOES_ON);
        assert_eq!(merged.map_err(|e| e.kind()), Err(io::ErrorKind::InvalidInput));
    }

    #[test]
    fn a_file_that_is_cut_or_changed_is_refused_or_harmless() {
        let dir = tempfile::tempdir().expect("a directory");
        let entries: Vec<Entry> = (0..300_u32)
            .map(|row| Entry {
                scope: u128::from(row / 100),
                kind: 1,
                hash: u64::from(row % 100) << 57,
                segment: 0,
                row,
            })
            .collect();
        let mut entries = entries;
        entries.sort_unstable();
        let good = written(dir.path(), 1, &[7], &entries);
        let bytes = std::fs::read(dir.path().join("1.prints")).expect("it reads");
        let rows_at = good.rows_at as usize;
        let path = dir.path().join("changed.prints");
        for at in (0..rows_at).chain((rows_at..bytes.len()).step_by(61)) {
            let mut changed = bytes.clone();
            changed[at] ^= 0x55;
            std::fs::write(&path, &changed).expect("it is written");
            match Prints::open(&path) {
                Err(error) => assert_eq!(error.kind(), io::ErrorKind::InvalidData, "byte {at}"),
                Ok(prints) => {
                    assert!(at >= HEADER, "byte {at} of the header was not noticed");
                    assert!(!prints.verify().expect("it reads"), "byte {at}");
                    for entry in &entries {
                        let found = found(&prints, &print(entry.scope, 1, entry.hash));
                        assert!(found.is_ok_and(|found| found.len() <= 300));
                    }
                    assert_eq!(all(&prints).len(), 300);
                }
            }
        }
        for len in [0, 63, HEADER, rows_at, bytes.len() - 1] {
            std::fs::write(&path, &bytes[..len]).expect("it is written");
            assert!(Prints::open(&path).is_err(), "{len} bytes");
        }
    }
}
