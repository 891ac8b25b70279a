//! The clicks with a print in a side file, from the last to the first, with a way to leave out those that are not wanted.
//!
//! Not relied on: that a row is right, as in `prints`.

use std::io;

use roundtrip_domain::device::Print;

use super::prints::{BLOCK_ROWS, Prints, ROW, number};

impl Prints {
    /// The clicks with this print: those of the last segment first, and in each the last row first.
    pub(in super::super) fn hits(&self, print: &Print) -> io::Result<Hits<'_>> {
        let key = (print.scope, print.kind as u8);
        let (first, until) = match self.runs.binary_search_by_key(&key, |run| (run.0, run.1)) {
            Ok(at) => {
                let (_, _, first, n) = self.runs[at];
                (first, self.behind(first, n, print.hash)?)
            }
            Err(_) => (0, 0),
        };
        Ok(Hits { prints: self, hash: print.hash, first, until, block: Vec::new(), block_at: until })
    }
}

/// Where a click with a print stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in super::super) struct Hit {
    /// Place of its segment in the list of the file.
    pub(in super::super) segment: u16,
    /// Its row there.
    pub(in super::super) row: u32,
}

/// The clicks with a print, from the last to the first. Blocks are read as they are needed.
pub(in super::super) struct Hits<'a> {
    prints: &'a Prints,
    hash: u64,
    /// Row of the file where the run begins.
    first: u64,
    /// Row of the file behind the one that comes next.
    until: u64,
    /// The rows from `block_at` on.
    block: Vec<u8>,
    block_at: u64,
}

impl Hits<'_> {
    /// The next one, left where it is.
    pub(in super::super) fn peek(&mut self) -> io::Result<Option<Hit>> {
        if self.until <= self.first {
            return Ok(None);
        }
        if self.until <= self.block_at {
            let from = self.until.saturating_sub(BLOCK_ROWS).max(self.first);
            self.block = self.prints.block(from, self.until - from)?;
            self.block_at = from;
        }
        let at = (self.until - 1 - self.block_at) as usize * ROW;
        let Some((hash, hit)) = self.block.get(at..at + ROW).map(said) else { return Ok(None) };
        if hash != self.hash {
            self.until = self.first;
            return Ok(None);
        }
        Ok(Some(hit))
    }

    /// Leaves the next one behind.
    pub(in super::super) fn step(&mut self) {
        self.until = self.until.saturating_sub(1).max(self.first);
    }

    /// Goes on with those that stand before a row of a segment, given by its place.
    pub(in super::super) fn skip_to(&mut self, segment: u16, row: u32) -> io::Result<()> {
        let stands_before = |bytes: &[u8]| {
            let (hash, hit) = said(bytes);
            (hash, hit.segment, hit.row) < (self.hash, segment, row)
        };
        let before = |block: &[u8]| {
            let rows = block.as_chunks::<ROW>().0;
            rows.partition_point(|row| stands_before(row)) as u64
        };
        // What is in hand is looked at first: mostly it is all that there is.
        let in_hand = self.until.saturating_sub(self.block_at) as usize * ROW;
        let n = before(self.block.get(..in_hand).unwrap_or_default());
        if n > 0 {
            self.until = self.until.min(self.block_at + n);
            return Ok(());
        }
        let (mut low, mut high) = (self.first, self.until.min(self.block_at));
        while low < high {
            let from = (low + (high - low) / 2).saturating_sub(BLOCK_ROWS / 2).max(low);
            let until = (from + BLOCK_ROWS).min(high);
            match before(&self.prints.block(from, until - from)?) {
                0 => high = from,
                n if n == until - from => low = until,
                n => (low, high) = (from + n, from + n),
            }
        }
        self.until = low;
        Ok(())
    }
}

fn said(row: &[u8]) -> (u64, Hit) {
    (number(&row[..8]), Hit { segment: number(&row[8..10]) as u16, row: number(&row[10..]) as u32 })
}
