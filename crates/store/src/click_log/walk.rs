//! The clicks of a span of time in the order of their ids, wherever they lie: what an export reads.
//!
//! The cast: [`ClickWalk`] goes by one snapshot of the files for each page, from the first id that it has not given; files
//! that are closed or sealed stay open from page to page, as long as they are listed. While it rests, files may be closed,
//! sealed, merged and erased from: the next page goes by what there is then, and since no click changes its id, each
//! comes once. A page is bounded by the rows that it looks at, not by those that fit. No lock is held while a file is read.
//!
//! The time of a click is the one in its id. [`ClickLog::first_and_settled`] says until when no click comes any more by
//! that: it raises the floor of the ids and knows what the writer has in hand, and what may come back with a slice that is
//! saved, so it also holds when the clock is set back or a sync fails.
//!
//! NOT relied on: that a file that is listed is there a moment later (the next snapshot says where its clicks went). The
//! clicks of a file that is missing are left out, and that is said in the log.

use std::collections::{BTreeSet, VecDeque};
use std::sync::atomic::Ordering::Acquire;

use roundtrip_domain::click::Touch;
use roundtrip_domain::click_id::ClickId;
use roundtrip_domain::id::{Id, WorkspaceNo, kind};
use roundtrip_domain::time::Timestamp;

use super::append::lock;
use super::error::Error;
use super::registry::{Segment, Slice, State, View};
use super::sealing::ask;
use super::segment::{Opened, STRETCH_ROWS, Source, Stream, Whose, touch_at};
use super::{ClickLog, Shared, slice};

/// How long ago a click's id must have been minted so that no more come, in milliseconds: as long as for the ledger's facts.
const SETTLED_MS: i64 = 60_000;
/// A file that is renamed or replaced while it is opened is looked for again, this often in all.
const TRIES: usize = 3;

/// Which clicks are wanted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ClickWish {
    /// Of which workspace.
    pub workspace: WorkspaceNo,
    /// Of one app only.
    pub app: Option<Id<kind::App>>,
    /// Whose ids are from then on; inclusive.
    pub from: Timestamp,
    /// Whose ids are from before then; exclusive.
    pub to: Timestamp,
}

/// A way along the clicks. Dropping it ends it.
pub struct ClickWalk {
    log: ClickLog,
    wish: ClickWish,
    /// The bits of the first id that was not given yet.
    mark: u128,
    below: u128,
    /// Files that are being read and do not change.
    open: Vec<Open>,
    /// Missing files that were told of.
    missing: BTreeSet<u64>,
}

impl std::fmt::Debug for ClickWalk {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ClickWalk").field("wish", &self.wish).finish_non_exhaustive()
    }
}

impl ClickLog {
    /// When the first click that can be exported came, of whatever workspace, `None` when there is none; and until when
    /// no click can come any more, by the time of its id. No later id is minted before that, whatever the clock says.
    pub fn first_and_settled(&self, now: Timestamp) -> (Option<Timestamp>, Timestamp) {
        let shared = self.shared();
        let over = now.plus_ms(-SETTLED_MS);
        let uncommitted_ms = {
            let mut mint = lock(&shared.mint);
            mint.raise(over);
            shared.uncommitted_ms.load(Acquire)
        };
        // Behind the other, which it takes over from.
        let unsure_ms = lock(&shared.unsure).values().copied().min().unwrap_or(i64::MAX);
        let view = shared.registry.all();
        let slices =
            view.slices.iter().filter(|s| !matches!(s.state, State::Missing { .. })).map(Slice::extent);
        let segments = view.segments.iter().filter(|s| !s.is_missing).map(Segment::extent);
        let first =
            slices.chain(segments).filter(|extent| extent.clicks > 0).map(|extent| extent.id_first_ms).min();
        (first.map(Timestamp::from_ms), Timestamp::from_ms(over.ms().min(uncommitted_ms).min(unsure_ms)))
    }

    /// Begins a way along clicks. Those that come meanwhile are on it too: whoever wants it to end where clicks keep coming
    /// asks for none behind [`Self::floor`].
    pub fn walk(&self, wish: ClickWish) -> ClickWalk {
        let bits = |at: Timestamp| match at.ms() {
            ..0 => 0,
            0..=0xffff_ffff_ffff => (at.ms() as u128) << 80,
            _ => u128::MAX,
        };
        let (mark, below) = (bits(wish.from), bits(wish.to));
        ClickWalk { log: self.clone(), wish, mark, below, open: Vec::new(), missing: BTreeSet::new() }
    }
}

impl ClickWalk {
    /// The next clicks, in the order of their ids; looks at about a thousand rows, so a page can be empty and have a next
    /// one. `None` at the end. Blocks.
    ///
    /// # Errors
    /// When a file cannot be read, or is damaged, which is looked into; the same call goes on where it failed.
    pub fn page(&mut self) -> Result<Option<Vec<Touch>>, Error> {
        self.page_of(STRETCH_ROWS)
    }

    /// The same, looking at about so many rows.
    ///
    /// # Errors
    /// As [`Self::page`].
    pub fn page_of(&mut self, rows: usize) -> Result<Option<Vec<Touch>>, Error> {
        let mut tried = self.next_page(rows);
        for _ in 1..TRIES {
            if tried.is_ok() {
                break;
            }
            self.open.clear();
            tried = self.next_page(rows);
        }
        tried
    }

    fn next_page(&mut self, rows: usize) -> Result<Option<Vec<Touch>>, Error> {
        if self.mark >= self.below {
            return Ok(None);
        }
        let shared = self.log.shared().clone();
        let mut files = self.files(&shared.registry.all());
        // What is not listed any more was replaced, perhaps because somebody's clicks were erased from it.
        self.open.retain(|open| files.iter().any(|file| file.key == open.key));
        files.retain(|file| self.open.iter().all(|open| open.key != file.key));
        let (mut found, mut looked, mut came_on) = (Vec::new(), 0, false);
        while looked < rows.max(1) {
            match self.step(&shared, &mut files) {
                Ok(Some(row)) => {
                    self.mark = row.bits.saturating_add(1);
                    looked += row.looked;
                    found.extend(row.touch);
                    came_on = true;
                }
                Ok(None) => break,
                // What was read is given; the next page meets the same again, or it is over.
                Err(_) if came_on => break,
                Err(error) => return Err(error),
            }
        }
        // A slice that is written grows, and is closed.
        self.open.retain(|open| !open.is_live());
        Ok(came_on.then_some(found))
    }

    /// The files that can hold what is left, the first one last.
    fn files(&mut self, view: &View) -> Vec<Place> {
        let (mark_ms, below_ms) = ((self.mark >> 80) as i64, (self.below >> 80) as i64);
        let mut files = Vec::new();
        let mut missing = Vec::new();
        let slices = view.slices.iter().map(|slice| (slice.extent(), Place::of_slice(slice)));
        let segments = view.segments.iter().map(|segment| (segment.extent(), Place::of_segment(segment)));
        for (extent, mut place) in slices.chain(segments) {
            if extent.clicks == 0 || extent.id_last_ms < mark_ms || extent.id_first_ms > below_ms {
                continue;
            }
            place.first_ms = extent.id_first_ms;
            match place.is_missing() {
                Some(false) => files.push(place),
                Some(true) => missing.push((place.key.0, extent.clicks)),
                // Its clicks are in a segment.
                None => {}
            }
        }
        for (seq, clicks) in missing {
            if self.missing.insert(seq) {
                tracing::warn!(
                    slice.seq = seq,
                    slice.clicks = clicks,
                    "an export lacks the clicks of a missing file"
                );
            }
        }
        files.sort_by_key(|place| std::cmp::Reverse((place.first_ms, place.key.0)));
        files
    }

    /// The row with the lowest id; opens files when it comes to them.
    fn step(&mut self, shared: &Shared, files: &mut Vec<Place>) -> Result<Option<Row>, Error> {
        loop {
            let mut front: Option<(u128, usize)> = None;
            for (at, open) in self.open.iter_mut().enumerate() {
                open.fill(shared, &self.wish, self.mark, self.below)?;
                if let Some(row) = open.ready.front()
                    && front.is_none_or(|(bits, _)| row.bits < bits)
                {
                    front = Some((row.bits, at));
                }
            }
            let is_next = |place: &Place| front.is_none_or(|(bits, _)| place.first_ms <= (bits >> 80) as i64);
            if files.last().is_some_and(is_next)
                && let Some(place) = files.pop()
            {
                self.open.push(place.open(shared, self.mark)?);
                continue;
            }
            return Ok(front.and_then(|(_, at)| self.open.get_mut(at)?.ready.pop_front()));
        }
    }
}

/// A file and the form of it: 0 of a slice that is written, else its checksum.
type Key = (u64, u64);

/// A file that is to be opened.
struct Place {
    key: Key,
    first_ms: i64,
    file: File,
}

enum File {
    Slice(Slice),
    Segment(Segment),
}

impl Place {
    fn of_slice(slice: &Slice) -> Self {
        let version = slice.listed().map_or(0, |listed| listed.checksum | 1);
        Self { key: (slice.name.seq, version), first_ms: 0, file: File::Slice(slice.clone()) }
    }

    fn of_segment(segment: &Segment) -> Self {
        let key = (segment.seq(), segment.sealed.checksum | 1);
        Self { key, first_ms: 0, file: File::Segment(segment.clone()) }
    }

    /// `None`: it has none of its clicks any more, and other files have them.
    fn is_missing(&self) -> Option<bool> {
        match &self.file {
            File::Slice(Slice { state: State::Missing { listed }, .. }) if listed.elsewhere => None,
            File::Slice(Slice { state: State::Missing { .. }, .. }) => Some(true),
            File::Slice(_) => Some(false),
            File::Segment(segment) => Some(segment.is_missing),
        }
    }

    /// Opens it where the rows from `mark` on begin.
    fn open(self, shared: &Shared, mark: u128) -> Result<Open, Error> {
        let from = match self.file {
            File::Slice(slice) => {
                // Of a whole millisecond, since ids of another node may lie in the same one.
                let since = ((mark >> 80) as i64).saturating_sub(slice.name.began_ms);
                let after = since.max(0).checked_mul(1 << 30).map_or(i64::MAX, |row| row - 1);
                From::Slice { slice, after }
            }
            File::Segment(segment) => {
                let key = segment.sealed.name.key();
                let path = segment.path(&shared.config.dir);
                let source = match &segment.moved {
                    None => Source::open(&path).map_err(|source| {
                        // It may have been replaced since the snapshot; if not, the closer finds out that it is gone.
                        if source.kind() == std::io::ErrorKind::NotFound {
                            ask(shared, segment.seq());
                        }
                        Error::io("open", &path)(source)
                    })?,
                    Some(moved) => {
                        let reach = shared.reaches.of(&moved.bucket);
                        let reach =
                            reach.map_err(Error::bucket("open", format!("{}/{key}", moved.bucket)))?;
                        Source::object(reach, &key, segment.sealed.bytes)
                    }
                };
                let opened = Opened::open(&source).map_err(Error::parquet("open", &path));
                let opened = opened.inspect_err(|error| suspect(shared, segment.seq(), error))?;
                let at = opened.stretch_from(ClickId::from_bits(mark));
                From::Segment(Box::new(OfSegment { segment, opened, source, at, stream: None }))
            }
        };
        Ok(Open { key: self.key, from, ready: VecDeque::new(), is_read: false })
    }
}

/// A row, or the last one of some that do not fit.
struct Row {
    bits: u128,
    touch: Option<Touch>,
    /// Rows that were looked at for it.
    looked: usize,
}

/// A file that is being read.
struct Open {
    key: Key,
    from: From,
    ready: VecDeque<Row>,
    /// Whether all of it was.
    is_read: bool,
}

enum From {
    Slice { slice: Slice, after: i64 },
    Segment(Box<OfSegment>),
}

struct OfSegment {
    segment: Segment,
    opened: Opened,
    source: Source,
    /// The next stretch.
    at: usize,
    stream: Option<Stream>,
}

impl Open {
    fn is_live(&self) -> bool {
        matches!(&self.from, From::Slice { slice, .. } if slice.is_live())
    }

    /// Reads on until there is a row in hand or nothing more.
    fn fill(&mut self, shared: &Shared, wish: &ClickWish, mark: u128, below: u128) -> Result<(), Error> {
        while self.ready.is_empty() && !self.is_read {
            let seq = self.key.0;
            let read = self.read(shared, wish, mark, below);
            read.inspect_err(|error| suspect(shared, seq, error))?;
        }
        Ok(())
    }

    fn read(&mut self, shared: &Shared, wish: &ClickWish, mark: u128, below: u128) -> Result<(), Error> {
        let dir = &shared.config.dir;
        let fits = |touch: &Touch| {
            let click = &touch.click;
            click.workspace == wish.workspace && wish.app.is_none_or(|app| app == click.app)
        };
        let mut skipped = Skipped::default();
        match &mut self.from {
            From::Slice { slice, after } => {
                let name = slice.name;
                let (touches, to) = shared
                    .readers
                    .with(dir, slice, |conn, path| slice::rows(conn, &name, path, *after, STRETCH_ROWS))?;
                *after = to;
                self.is_read = touches.is_empty();
                for touch in touches {
                    let bits = touch.id.bits();
                    if bits >= below {
                        self.is_read = true;
                        break;
                    }
                    if bits >= mark {
                        self.ready.extend(skipped.or_row(bits, fits(&touch).then_some(touch)));
                    }
                }
            }
            From::Segment(from) => {
                let OfSegment { segment, opened, source, at, stream } = &mut **from;
                if *at >= opened.stretches() {
                    self.is_read = true;
                    return Ok(());
                }
                let path = segment.path(dir);
                let whose = opened.whose(source.clone(), *at).map_err(Error::parquet("read", &path))?;
                let inside = |row: &Whose| mark <= row.id.bits() && row.id.bits() < below;
                let batch = match whose.iter().any(|row| row.workspace == wish.workspace && inside(row)) {
                    true => {
                        let batch = opened.read(source.clone(), *at, stream);
                        Some(batch.map_err(Error::parquet("read", &path))?)
                    }
                    false => None,
                };
                for (n, row) in whose.iter().enumerate().filter(|(_, row)| inside(row)) {
                    let touch = match &batch {
                        Some(batch) if row.workspace == wish.workspace => {
                            let damaged = || Error::Damaged { file: path.clone(), row: n as i64 };
                            Some(touch_at(batch, n).ok_or_else(damaged)?)
                        }
                        _ => None,
                    };
                    self.ready.extend(skipped.or_row(row.id.bits(), touch.filter(&fits)));
                }
                *at += 1;
                self.is_read = whose.last().is_some_and(|row| row.id.bits() >= below);
            }
        }
        self.ready.extend(skipped.last());
        Ok(())
    }
}

/// Rows that do not fit, on their way to the next one that does.
#[derive(Default)]
struct Skipped {
    last: u128,
    rows: usize,
}

impl Skipped {
    fn or_row(&mut self, bits: u128, touch: Option<Touch>) -> Option<Row> {
        (self.last, self.rows) = (bits, self.rows + 1);
        touch.map(|touch| Row { bits, touch: Some(touch), looked: std::mem::take(&mut self.rows) })
    }

    /// Stands for those at the end: whoever goes on behind it does not look at them again.
    fn last(self) -> Option<Row> {
        (self.rows > 0).then_some(Row { bits: self.last, touch: None, looked: self.rows })
    }
}

/// Has the closer look at a file that does not read as it was written.
fn suspect(shared: &Shared, seq: u64, error: &Error) {
    if error.is_damage() {
        ask(shared, seq);
    }
}
