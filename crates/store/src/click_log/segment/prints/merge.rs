//! Side files become one, and are compared with their checksums, a block at a time: a day's may be larger than memory.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap};
use std::hash::Hasher;
use std::io::{self, Write};
use std::os::unix::fs::FileExt;

use siphasher::sip::SipHasher13;

use super::{Entry, HEADER, Prints, ROW, checksum, header, number};

/// Rows that are read at a time.
const ROWS: u64 = 1_024;

/// Writes the entries of all `sides` that are of the segments `kept`, which are in order of time, as one side file.
/// Returns the header, which stands at the file's beginning and is written there as zeros. `rest` is called every so
/// many rows.
///
/// # Errors
/// When a file cannot be read or written, or is not what its checksum says (`InvalidData`).
pub(in super::super::super) fn merge(
    sides: &[Prints],
    kept: &[u64],
    out: &mut dyn Write,
    rest: &mut dyn FnMut(),
) -> io::Result<[u8; HEADER]> {
    let mut runs: BTreeMap<(u128, u8), u64> = BTreeMap::new();
    let mut total = 0;
    each(sides, kept, rest, &mut |entry| {
        *runs.entry((entry.scope, entry.kind)).or_default() += 1;
        total += 1;
        Ok(())
    })?;
    let mut out = Hashed { out, hasher: SipHasher13::new() };
    out.out.write_all(&[0; HEADER])?;
    for seq in kept {
        out.write(&seq.to_be_bytes())?;
    }
    for ((scope, kind), rows) in &runs {
        out.write(&scope.to_be_bytes())?;
        out.write(&[*kind])?;
        out.write(&rows.to_be_bytes())?;
    }
    let mut row = [0; ROW];
    each(sides, kept, rest, &mut |entry| {
        row[..8].copy_from_slice(&entry.hash.to_be_bytes());
        row[8..10].copy_from_slice(&entry.segment.to_be_bytes());
        row[10..].copy_from_slice(&entry.row.to_be_bytes());
        out.write(&row)
    })?;
    Ok(header(kept.len() as u32, runs.len() as u32, total, out.hasher.finish()))
}

struct Hashed<'a> {
    out: &'a mut dyn Write,
    hasher: SipHasher13,
}

impl Hashed<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.hasher.write(bytes);
        self.out.write_all(bytes)
    }
}

/// Calls `with` with every entry of the segments `kept`, in order; segments are numbered by their place there.
fn each(
    sides: &[Prints],
    kept: &[u64],
    rest: &mut dyn FnMut(),
    with: &mut dyn FnMut(Entry) -> io::Result<()>,
) -> io::Result<()> {
    let mut cursors: Vec<Cursor<'_>> = sides.iter().map(|side| Cursor::new(side, kept)).collect();
    let mut heads = BinaryHeap::new();
    for (at, cursor) in cursors.iter_mut().enumerate() {
        heads.extend(cursor.next()?.map(|entry| Reverse((entry, at))));
    }
    let mut given = 0_u64;
    while let Some(Reverse((entry, at))) = heads.pop() {
        with(entry)?;
        heads.extend(cursors[at].next()?.map(|entry| Reverse((entry, at))));
        given += 1;
        if given.is_multiple_of(ROWS) {
            rest();
        }
    }
    Ok(())
}

/// One side file, from its first row to its last.
struct Cursor<'a> {
    side: &'a Prints,
    /// Where the segments of its list stand in the new one.
    places: Vec<Option<u16>>,
    run: usize,
    /// Rows of the run that were given.
    of_run: u64,
    /// The next row to be read into the block.
    at: u64,
    block: Vec<u8>,
    in_block: usize,
    hasher: SipHasher13,
}

impl<'a> Cursor<'a> {
    fn new(side: &'a Prints, kept: &[u64]) -> Self {
        let place = |seq: &u64| kept.iter().position(|k| k == seq).and_then(|at| u16::try_from(at).ok());
        let places = side.segments.iter().map(place).collect();
        Self {
            side,
            places,
            run: 0,
            of_run: 0,
            at: 0,
            block: Vec::new(),
            in_block: 0,
            hasher: SipHasher13::new(),
        }
    }

    fn rows(&self) -> u64 {
        self.side.runs.last().map_or(0, |(_, _, first, n)| first + n)
    }

    fn next(&mut self) -> io::Result<Option<Entry>> {
        loop {
            let Some((scope, kind, _, n)) = self.side.runs.get(self.run).copied() else {
                return Ok(None);
            };
            if self.of_run == n {
                (self.run, self.of_run) = (self.run + 1, 0);
                continue;
            }
            if self.in_block == self.block.len() {
                self.fill()?;
            }
            let row = &self.block[self.in_block..self.in_block + ROW];
            self.in_block += ROW;
            self.of_run += 1;
            let place = self.places.get(number(&row[8..10]) as usize).copied().flatten();
            if let Some(segment) = place {
                let (hash, row) = (number(&row[..8]), number(&row[10..]) as u32);
                return Ok(Some(Entry { scope, kind, hash, segment, row }));
            }
        }
    }

    fn fill(&mut self) -> io::Result<()> {
        if self.at == 0 {
            let mut list = vec![0; self.side.rows_at as usize - HEADER];
            self.side.file.read_exact_at(&mut list, HEADER as u64)?;
            self.hasher.write(&list);
        }
        let n = ROWS.min(self.rows() - self.at);
        self.block = self.side.block(self.at, n)?;
        self.hasher.write(&self.block);
        self.in_block = 0;
        self.at += n;
        // The last block comes before the last row is given, so that nothing of a changed file ends up in a whole one.
        if self.at == self.rows() && self.hasher.finish() != self.side.checksum {
            return Err(io::Error::new(io::ErrorKind::InvalidData, "the rows are not what was written"));
        }
        Ok(())
    }
}

impl Prints {
    /// Reads the whole file and says whether it is what was written.
    ///
    /// # Errors
    /// When it cannot be read.
    pub(in super::super::super) fn is_sound(&self) -> io::Result<bool> {
        if self.runs.is_empty() {
            let mut list = vec![0; self.rows_at as usize - HEADER];
            self.file.read_exact_at(&mut list, HEADER as u64)?;
            return Ok(checksum(&list) == self.checksum);
        }
        let mut cursor = Cursor::new(self, &[]);
        match cursor.next() {
            Ok(_) => Ok(true),
            Err(error) if error.kind() == io::ErrorKind::InvalidData => Ok(false),
            Err(error) => Err(error),
        }
    }
}
