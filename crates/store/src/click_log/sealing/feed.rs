//! The clicks of several files in the order of their ids, a few at a time.

use std::collections::VecDeque;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::Instant;

use roundtrip_domain::click::Touch;
use rusqlite::Connection;

use crate::click_log::error::Error;
use crate::click_log::pour::Pace;
use crate::click_log::segment::{About, Opened, PAGE_ROWS, SegmentName, Source, touch_at};
use crate::click_log::slice::{self, Name, Part};

/// Nobody stops what a start or the closer does.
pub(super) static NEVER: AtomicBool = AtomicBool::new(false);

/// One file that is read from its first click to its last.
pub(super) struct Rows {
    from: From,
    ready: VecDeque<Touch>,
    /// Numbers of the files whose clicks are in it, its own too.
    replaces: Vec<u64>,
}

enum From {
    Slice { conn: Connection, name: Name, path: PathBuf, after: i64 },
    Segment { opened: Opened, source: Source, path: PathBuf, page: usize, lenient: bool },
}

impl Rows {
    /// Opens a closed slice.
    pub(super) fn of_slice(dir: &Path, name: Name) -> Result<Self, Error> {
        let path = dir.join(name.file(Part::Closed));
        let conn = slice::open_reader(&path, true)?;
        slice::check_meta(&conn, &path, &name)?;
        let from = From::Slice { conn, name, path, after: i64::MIN };
        Ok(Self { from, ready: VecDeque::new(), replaces: vec![name.seq] })
    }

    /// Opens a segment. A lenient one leaves out what cannot be read.
    pub(super) fn of_segment(dir: &Path, name: SegmentName, lenient: bool) -> Result<Self, Error> {
        let path = dir.join(name.key());
        let source = Source::open(&path).map_err(Error::io("open", &path))?;
        let opened = Opened::open(&source).map_err(Error::parquet("open", &path))?;
        let mut replaces = numbers(opened.said(About::REPLACES));
        replaces.push(name.seq);
        let from = From::Segment { opened, source, path, page: 0, lenient };
        Ok(Self { from, ready: VecDeque::new(), replaces })
    }

    /// What the segment says of itself. A slice says nothing.
    pub(super) fn said(&self, name: &str) -> Option<&str> {
        match &self.from {
            From::Slice { .. } => None,
            From::Segment { opened, .. } => opened.said(name),
        }
    }

    /// The next clicks, if there are none in hand. `false` at the end.
    fn fill(&mut self) -> Result<bool, Error> {
        while self.ready.is_empty() {
            match &mut self.from {
                From::Slice { conn, name, path, after } => {
                    let (touches, last) = slice::rows(conn, name, path, *after, PAGE_ROWS)?;
                    if touches.is_empty() {
                        return Ok(false);
                    }
                    *after = last;
                    self.ready.extend(touches);
                }
                From::Segment { opened, source, path, page, lenient } => {
                    if *page >= opened.pages() {
                        return Ok(false);
                    }
                    *page += 1;
                    let batch = match opened.read(source.clone(), *page - 1) {
                        Ok(batch) => batch,
                        Err(error) if *lenient => {
                            tracing::debug!(error = %error, "a page of a damaged segment is left out");
                            continue;
                        }
                        Err(error) => return Err(Error::parquet("read", path)(error)),
                    };
                    for row in 0..batch.num_rows() {
                        match touch_at(&batch, row) {
                            // A changed id may be any; the order must hold.
                            Some(touch)
                                if *lenient
                                    && (opened.page_of_id(touch.id) != Some(*page - 1)
                                        || self.ready.back().is_some_and(|last| last.id >= touch.id)) => {}
                            Some(touch) => self.ready.push_back(touch),
                            None if *lenient => {}
                            None => return Err(Error::Damaged { file: path.clone(), row: row as i64 }),
                        }
                    }
                }
            }
        }
        Ok(true)
    }
}

/// Reads numbers as a segment says them.
pub(super) fn numbers(said: Option<&str>) -> Vec<u64> {
    said.unwrap_or_default().split(',').filter_map(|number| number.parse().ok()).collect()
}

/// The clicks of all files, in the order of their ids. It ends behind the first error.
pub(super) struct Feed<'a> {
    files: Vec<Rows>,
    pace: Pace<'a>,
    /// Once it is set, nothing more is given.
    stop: &'a AtomicBool,
    began: Instant,
    given: usize,
    failed: bool,
}

impl<'a> Feed<'a> {
    pub(super) fn new(files: Vec<Rows>, pace: Pace<'a>, stop: &'a AtomicBool) -> Self {
        Self { files, pace, stop, began: Instant::now(), given: 0, failed: false }
    }

    /// Numbers of the files whose clicks are in here, the files' own too, sorted.
    pub(super) fn replaces(&self) -> Vec<u64> {
        let mut all: Vec<u64> = self.files.iter().flat_map(|rows| rows.replaces.iter().copied()).collect();
        all.sort_unstable();
        all.dedup();
        all
    }

    /// The next click, left where it is.
    pub(super) fn peek(&mut self) -> Result<Option<&Touch>, Error> {
        let at = self.first()?;
        Ok(at.and_then(|at| self.files[at].ready.front()))
    }

    /// The file with the lowest id in front.
    fn first(&mut self) -> Result<Option<usize>, Error> {
        let mut first = None;
        for (at, rows) in self.files.iter_mut().enumerate() {
            if !rows.fill()? {
                continue;
            }
            if let Some(touch) = rows.ready.front()
                && first.is_none_or(|(id, _)| touch.id < id)
            {
                first = Some((touch.id, at));
            }
        }
        Ok(first.map(|(_, at)| at))
    }
}

impl Iterator for Feed<'_> {
    type Item = Result<Touch, Error>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.failed {
            return None;
        }
        if self.given.is_multiple_of(PAGE_ROWS) && self.given > 0 {
            self.pace.rest(self.began);
            self.began = Instant::now();
            if self.stop.load(Relaxed) {
                self.failed = true;
                return Some(Err(Error::Stopped));
            }
        }
        match self.first() {
            Ok(at) => {
                self.given += 1;
                self.files[at?].ready.pop_front().map(Ok)
            }
            Err(error) => {
                self.failed = true;
                Some(Err(error))
            }
        }
    }
}
