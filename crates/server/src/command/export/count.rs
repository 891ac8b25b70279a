//! Rows and bytes of a file, as they pass.

use std::fs::File;
use std::io;

use roundtrip_store::export::{Count, Format};

/// What passed so far.
pub(super) struct Counted {
    format: Format,
    rows: Count,
    bytes: u64,
}

impl Counted {
    pub(super) fn new(format: Format) -> Self {
        Self { format, rows: Count::new(format), bytes: 0 }
    }

    pub(super) fn take(&mut self, bytes: &[u8]) {
        self.rows.take(bytes);
        self.bytes += bytes.len() as u64;
    }

    pub(super) const fn bytes(&self) -> u64 {
        self.bytes
    }

    /// The rows so far, where they can be told before the end.
    pub(super) fn lines(&self) -> u64 {
        self.rows.lines()
    }

    /// The rows of what came, which is in `file` unless it went to standard output.
    ///
    /// # Errors
    /// When it is not whole.
    pub(super) fn rows(&self, file: Option<&File>) -> io::Result<u64> {
        match (file, self.format) {
            (Some(file), _) => self.rows.rows(file),
            (None, _) => Ok(self.rows.lines()),
        }
    }
}
