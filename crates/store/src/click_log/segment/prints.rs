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

use std::fs::File;
use std::hash::Hasher;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;

use roundtrip_domain::device::Print;
use siphasher::sip::SipHasher13;

const MAGIC: &[u8; 8] = b"RTSIDE01";
const HEADER: usize = 64;
const SEGMENT: usize = 8;
const RUN: usize = 25;
const ROW: usize = 14;
/// Rows that a look-up reads at a time.
const BLOCK_ROWS: u64 = 64;
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

/// Makes the bytes of a file. `entries` are sorted; `segments` are their numbers, in order of time.
pub(in super::super) fn bytes(segments: &[u64], entries: &[Entry]) -> Vec<u8> {
    let mut runs: Vec<(u128, u8, u64)> = Vec::new();
    for entry in entries {
        match runs.last_mut() {
            Some((scope, kind, rows)) if (*scope, *kind) == (entry.scope, entry.kind) => *rows += 1,
            _ => runs.push((entry.scope, entry.kind, 1)),
        }
    }
    let len = HEADER + segments.len() * SEGMENT + runs.len() * RUN + entries.len() * ROW;
    let mut out = Vec::with_capacity(len);
    out.resize(HEADER, 0);
    out.extend(segments.iter().flat_map(|seq| seq.to_be_bytes()));
    for (scope, kind, rows) in &runs {
        out.extend(scope.to_be_bytes());
        out.push(*kind);
        out.extend(rows.to_be_bytes());
    }
    for entry in entries {
        out.extend(entry.hash.to_be_bytes());
        out.extend(entry.segment.to_be_bytes());
        out.extend(entry.row.to_be_bytes());
    }
    let checksum = checksum(&out[HEADER..]);
    let head = header(segments.len() as u32, runs.len() as u32, entries.len() as u64, checksum);
    out[..HEADER].copy_from_slice(&head);
    out
}

fn checksum(bytes: &[u8]) -> u64 {
    let mut hasher = SipHasher13::new();
    hasher.write(bytes);
    hasher.finish()
}

fn header(segments: u32, runs: u32, rows: u64, sum: u64) -> [u8; HEADER] {
    let mut out = [0; HEADER];
    out[..8].copy_from_slice(MAGIC);
    out[8..12].copy_from_slice(&segments.to_be_bytes());
    out[12..16].copy_from_slice(&runs.to_be_bytes());
    out[16..24].copy_from_slice(&rows.to_be_bytes());
    out[24..32].copy_from_slice(&sum.to_be_bytes());
    let own = checksum(&out[..56]);
    out[56..].copy_from_slice(&own.to_be_bytes());
    out
}

/// A side file whose header, directory and length are right.
#[derive(Debug)]
pub(in super::super) struct Prints {
    file: File,
    segments: Vec<u64>,
    /// Scope, kind, first row, rows.
    runs: Vec<(u128, u8, u64, u64)>,
    rows_at: u64,
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
        let segments = list.chunks_exact(SEGMENT).map(number).collect();
        Ok(Self { file, segments, runs, rows_at, checksum: sum })
    }

    /// Segment numbers and rows of the clicks with this print, newest first, at most `limit`.
    pub(in super::super) fn find(&self, print: &Print, limit: usize) -> io::Result<Vec<(u64, u32)>> {
        let key = (print.scope, print.kind as u8);
        let Ok(at) = self.runs.binary_search_by_key(&key, |run| (run.0, run.1)) else {
            return Ok(Vec::new());
        };
        let (_, _, first, n) = self.runs[at];
        let end = self.behind(first, n, print.hash)?;
        let mut found = Vec::new();
        let mut until = end;
        // Backwards from the last row with the hash, which is the newest.
        'blocks: while until > first && found.len() < limit {
            let from = until.saturating_sub(BLOCK_ROWS).max(first);
            let block = self.block(from, until - from)?;
            for row in block.chunks_exact(ROW).rev() {
                if number(&row[..8]) != print.hash || found.len() == limit {
                    break 'blocks;
                }
                if let Some(segment) = self.segments.get(number(&row[8..10]) as usize) {
                    found.push((*segment, number(&row[10..]) as u32));
                }
            }
            until = from;
        }
        Ok(found)
    }

    /// The first row of a run of `n` rows from `first` whose hash is greater.
    fn behind(&self, first: u64, n: u64, hash: u64) -> io::Result<u64> {
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

    fn block(&self, from: u64, rows: u64) -> io::Result<Vec<u8>> {
        let mut block = vec![0; rows as usize * ROW];
        self.file.read_exact_at(&mut block, self.rows_at + from * ROW as u64)?;
        Ok(block)
    }

    /// Bytes of memory that it takes.
    pub(in super::super) fn memory(&self) -> usize {
        size_of::<Self>() + self.segments.len() * 8 + self.runs.len() * size_of::<(u128, u8, u64, u64)>()
    }

    /// The segments that it covers, in order of time.
    pub(in super::super) fn segments(&self) -> &[u64] {
        &self.segments
    }

    /// Reads the whole file and compares its checksum; gives its entries, sorted.
    pub(in super::super) fn entries(&self) -> io::Result<Option<Vec<Entry>>> {
        let len = self.file.metadata()?.len();
        let mut all = vec![0; (len as usize).saturating_sub(HEADER)];
        self.file.read_exact_at(&mut all, HEADER as u64)?;
        if checksum(&all) != self.checksum {
            return Ok(None);
        }
        let rows = &all[self.rows_at as usize - HEADER..];
        let mut rows = rows.chunks_exact(ROW);
        let mut entries = Vec::with_capacity(rows.len());
        for (scope, kind, _, n) in &self.runs {
            entries.extend(rows.by_ref().take(*n as usize).map(|row| Entry {
                scope: *scope,
                kind: *kind,
                hash: number(&row[..8]),
                segment: number(&row[8..10]) as u16,
                row: number(&row[10..]) as u32,
            }));
        }
        Ok(Some(entries))
    }
}

fn number(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0, |n, byte| n << 8 | u64::from(*byte))
}
