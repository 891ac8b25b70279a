//! The clicks of several files in the order of their ids, a few at a time.

use std::collections::VecDeque;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::Instant;

use roundtrip_domain::click::Touch;
use rusqlite::Connection;

use crate::click_log::error::Error;
use crate::click_log::pour::Pace;
use crate::click_log::segment::{
    About, Checks, Opened, PAGE_ROWS, STRETCH_ROWS, SegmentName, SliceSpan, Source, Stream, touch_at,
};
use crate::click_log::slice::{self, Name, Part};

/// Nobody stops what a start or the closer does.
pub(super) static NEVER: AtomicBool = AtomicBool::new(false);

/// One file that is read from its first click to its last.
pub(in super::super) struct Rows {
    from: From,
    ready: VecDeque<Touch>,
    /// Numbers of the files whose clicks are in it, its own too.
    replaces: Vec<u64>,
    slices: Vec<SliceSpan>,
}

enum From {
    Slice { conn: Connection, name: Name, path: PathBuf, after: i64 },
    Segment(Box<OfSegment>),
}

struct OfSegment {
    opened: Opened,
    source: Source,
    path: PathBuf,
    /// The next stretch.
    at: usize,
    stream: Option<Stream>,
    lenient: bool,
}

impl Rows {
    /// Opens a closed slice.
    pub(super) fn of_slice(dir: &Path, name: Name) -> Result<Self, Error> {
        let path = dir.join(name.file(Part::Closed));
        let conn = slice::open_reader(&path, true)?;
        slice::check_meta(&conn, &path, &name)?;
        let ends = slice::ends(&conn, &path)?;
        let span = |(first, last)| SliceSpan::new(name.seq, name.id(first, 0), name.id(last, 0));
        let slices = ends.map(span).into_iter().collect();
        let from = From::Slice { conn, name, path, after: i64::MIN };
        Ok(Self { from, ready: VecDeque::new(), replaces: vec![name.seq], slices })
    }

    /// Opens a segment, wherever its file lies. A lenient one leaves out the stretches that cannot be read or are not what was
    /// written.
    pub(in super::super) fn of_segment(path: &Path, name: SegmentName, lenient: bool) -> Result<Self, Error> {
        let path = path.to_owned();
        let source = Source::open(&path).map_err(Error::io("open", &path))?;
        let opened = Opened::open(&source).map_err(Error::parquet("open", &path))?;
        let mut replaces = numbers(opened.said(About::REPLACES));
        replaces.push(name.seq);
        let slices = SliceSpan::all(opened.said(About::SLICES).unwrap_or_default());
        let from = From::Segment(Box::new(OfSegment { opened, source, path, at: 0, stream: None, lenient }));
        Ok(Self { from, ready: VecDeque::new(), replaces, slices })
    }

    /// The slices whose clicks are in it.
    pub(in super::super) fn slices(&self) -> &[SliceSpan] {
        &self.slices
    }

    /// All of its clicks. It ends behind the first error.
    pub(in super::super) fn all(self) -> impl Iterator<Item = Result<Touch, Error>> {
        Feed::new(vec![self], Pace::HURRIED, &NEVER)
    }

    /// What the segment says of itself. A slice says nothing.
    pub(super) fn said(&self, name: &str) -> Option<&str> {
        match &self.from {
            From::Slice { .. } => None,
            From::Segment(from) => from.opened.said(name),
        }
    }

    /// The next clicks, if there are none in hand. `false` at the end.
    fn fill(&mut self) -> Result<bool, Error> {
        while self.ready.is_empty() {
            match &mut self.from {
                From::Slice { conn, name, path, after } => {
                    let (touches, last) = slice::rows(conn, name, path, *after, STRETCH_ROWS)?;
                    if touches.is_empty() {
                        return Ok(false);
                    }
                    *after = last;
                    self.ready.extend(touches);
                }
                From::Segment(from) => {
                    let OfSegment { opened, source, path, at, stream, lenient } = &mut **from;
                    if *at >= opened.stretches() {
                        return Ok(false);
                    }
                    *at += 1;
                    let batch = match opened.read(source.clone(), *at - 1, stream) {
                        Ok(batch) => batch,
                        Err(error) if *lenient => {
                            tracing::debug!(error = %error, "a part of a damaged segment is left out");
                            continue;
                        }
                        Err(error) => return Err(Error::parquet("read", path)(error)),
                    };
                    let mut checks = Checks::default();
                    for row in 0..batch.num_rows() {
                        match touch_at(&batch, row) {
                            Some(touch) => {
                                if *lenient {
                                    checks.add(&touch);
                                }
                                self.ready.push_back(touch);
                            }
                            None if *lenient => {}
                            None => return Err(Error::Damaged { file: path.clone(), row: row as i64 }),
                        }
                    }
                    let said = opened.said(About::CHECKS).and_then(|all| all.get((*at - 1) * 16..*at * 16));
                    if *lenient && said != Some(checks.finish().as_str()) {
                        tracing::debug!(
                            "a part of a damaged segment is not what was written and is left out"
                        );
                        self.ready.clear();
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

    /// The slices whose clicks are in here, sorted.
    pub(super) fn slices(&self) -> Vec<SliceSpan> {
        let mut all: Vec<SliceSpan> =
            self.files.iter().flat_map(|rows| rows.slices.iter().cloned()).collect();
        all.sort_unstable();
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
