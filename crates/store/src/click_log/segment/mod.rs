//! Sealed clicks: immutable Parquet files that every data tool opens.
//!
//! | file | who |
//! | ---- | --- |
//! | `columns` | which columns there are; a touch as a row and back |
//! | `frame` | the query with the values that stand in columns of their own taken out |
//! | `write` | rows in the order of their ids become the bytes of a file |
//! | `lookup` | one row of a file, by its id or its place |
//! | `value` | one value out of a page |
//! | `row` | the values of a row, whichever way they were found |
//! | `cache` | footers and pages that stay in memory between look-ups |
//! | `read` | a file read from its first row to its last, a stretch at a time |
//! | `hits` | the clicks with a print in a side file, and how some of them are left out |
//! | `prints` | side files: which rows have a device or a partner click id |
//! | `sealed` | what the files are called, what is listed of them, from where they are read |
//!
//! A segment holds the clicks of one or more slices, sorted by click id, in pages of at most 256 rows with a
//! page index, zstd, for all workspaces: a column says whose a row is. A row reads back as the very click that was
//! written. The columns are documented in `docs/data-model.md` and only ever added to.
//!
//! Not relied on: that a file was written by this release (columns are found by name), statistics other than those
//! of `click_id` and `received_at`.

mod cache;
mod columns;
mod frame;
mod hits;
mod lookup;
pub(super) mod prints;
mod read;
mod row;
mod sealed;
mod value;
mod write;

pub(super) use self::cache::Cache;
pub use self::columns::{COLUMNS, Column};
pub(super) use self::lookup::{Failed, PageSpan, Pages};
pub(super) use self::read::{Opened, Stream, Whose, touch_at};
pub use self::sealed::{HOUR_MS, SegmentName, SideName};
pub(super) use self::sealed::{Sealed, Side, Source};
pub(super) use self::write::{About, Checks, Encoded, SliceSpan, encode};

/// Most rows of a page: what a look-up decompresses. Smaller pages take less time to look into and more room: with 1,024
/// rows a click took 6 B less.
pub(super) const PAGE_ROWS: usize = 256;
/// Most rows that are read at a time where a file is read as a whole, and of which there is one checksum.
pub(super) const STRETCH_ROWS: usize = 1_024;
/// Most rows of a page that is read at all: a file that says more has changed bytes, and room would be made for them.
pub(super) const PAGE_ROWS_MAX: usize = 1 << 16;
/// Most rows of a row group. Each has its own dictionaries, which stay in memory while it is looked into: few and large
/// groups need less of it. In this crate's own tests they are small, so that a file has several.
pub(super) const GROUP_ROWS: usize = if cfg!(test) { 8_192 } else { 262_144 };

#[cfg(test)]
mod tests;
