//! Look-ups: a bounded number at a time on blocking threads, over cached read connections, footers and pages.
//!
//! Clicks that are being written, in closed slices and in segments are searched alike. Each look-up goes by one snapshot
//! of what there is, in which every click stands once; where a file of it is gone by then, because its clicks moved on,
//! it looks once more by the newest.
//!
//! A look-up by print reads the candidates of a file from the last id to the first. No click was received after the moment
//! in its id (the writer sees to that), so once that moment is before the oldest of the touches that are wanted, or before
//! the window, the rest of the file holds nothing. Where the window ends before the file does, what is known of the
//! moments in it says where to begin: how far ids of a slice run ahead of the clock, and the moments of each page of a
//! segment. Not relied on: that clicks with later ids were received later.

use std::collections::VecDeque;
use std::io;
use std::path::Path;
use std::sync::Mutex;

use parquet::errors::ParquetError;
use roundtrip_domain::click::Touch;
use roundtrip_domain::click_id::{self, Checked, ClickId};
use roundtrip_domain::device::Print;
use roundtrip_domain::time::Timestamp;
use rusqlite::Connection;

use super::Shared;
use super::append::lock;
use super::error::Error;
use super::faults::Point;
use super::index::Extent;
use super::registry::{self, Segment, Slice, State, View};
use super::sealing::ask;
use super::segment::{Cache, Failed, PageSpan, Pages, Side, SideName, Source};
use super::side_file::SideFile;
use super::slice::{self, Part};

/// Connections that stay open between look-ups; each has a page cache of up to 2 MiB.
const CACHE_MAX: usize = 16;
/// A slice that is renamed or replaced during a look-up is looked at again, this often in all.
const TRIES: usize = 3;
/// Segments and side files that stay open between look-ups.
const FILES_MAX: usize = 512;
/// Ids that are taken from a slice's index or side file at a time.
const IDS_STEP: usize = 4_096;
/// So many rows of a page are read as they come; of more, the moments are read first, so that a device id shared by a bot
/// farm costs the touches that are wanted and not those beside them.
const ROWS_FEW: usize = 4;
/// Rows of a side file that may name clicks without the print before it is looked at. A sound one has none of these, unless
/// an earlier release read links otherwise. Behind them may stand those that are wanted, so the look-up goes on.
const STRANGERS_MAX: usize = 4_096;

/// What is known of a click id.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Found {
    /// The touch.
    Touch(Box<Touch>),
    /// None of our keys made this id; nothing was looked up.
    NotOurs,
    /// Ours, and not in the log: it was never stored, or its slice is lost.
    NotStored,
    /// Ours, and older than what is kept.
    Expired,
}

/// A connection's slice, and which form of it: 0 live, else the checksum of the closed file.
type Key = (u64, u64);

pub(super) struct Readers {
    open: Mutex<Open>,
    /// Of segments and their side files.
    sealed: Cache,
}

/// Connections to slices, the one that was used last at the end.
#[derive(Default)]
struct Open {
    connections: VecDeque<(Key, Connection)>,
    /// How often a file was let go. A connection that was in use meanwhile may be to one that is gone, and is not kept.
    forgets: u64,
}

impl Readers {
    /// Keeps so many bytes of segments and side files.
    pub(super) fn new(sealed_bytes_max: usize) -> Self {
        Self { open: Mutex::default(), sealed: Cache::new(sealed_bytes_max, FILES_MAX) }
    }

    pub(super) fn with<T>(
        &self,
        dir: &Path,
        slice: &Slice,
        run: impl FnOnce(&Connection, &Path) -> Result<T, Error>,
    ) -> Result<T, Error> {
        let path = dir.join(slice.name.file(slice.part()));
        let version = slice.listed().map_or(0, |l| l.checksum | 1);
        let key = (slice.name.seq, version);
        let (cached, since) = {
            let mut open = lock(&self.open);
            let at = open.connections.iter().rposition(|(k, _)| *k == key);
            (at.and_then(|at| open.connections.remove(at)).map(|(_, conn)| conn), open.forgets)
        };
        let conn = match cached {
            Some(conn) => conn,
            None => slice::open_reader(&path, !slice.is_live())?,
        };
        let out = run(&conn, &path);
        if out.is_ok() {
            let mut open = lock(&self.open);
            if open.forgets == since {
                open.connections.push_back((key, conn));
                if open.connections.len() > CACHE_MAX {
                    open.connections.pop_front();
                }
            }
        }
        out
    }

    /// Lets go of a slice, segment or side file, so that the disk gets its space back. Comes behind the deletion: whoever
    /// had the file open before does not keep it, and nobody can open it any more.
    pub(super) fn forget(&self, seq: u64) {
        let mut open = lock(&self.open);
        open.forgets += 1;
        open.connections.retain(|(key, _)| key.0 != seq);
        drop(open);
        self.sealed.forget(seq);
    }
}

/// Whether an id can be answered without looking at any file.
pub(super) fn judge(shared: &Shared, id: ClickId) -> Option<Found> {
    if click_id::check(id, &shared.config.keys) == Checked::NotOurs {
        return Some(Found::NotOurs);
    }
    if id.ms() < shared.believed().ms().saturating_sub(shared.config.retention.ms()) {
        return Some(Found::Expired);
    }
    None
}

pub(super) fn find(shared: &Shared, id: ClickId) -> Result<Found, Error> {
    if let Some(found) = judge(shared, id) {
        return Ok(found);
    }
    let found = retry(|| {
        let view = shared.registry.all();
        for slice in registry::holding(&view.slices, id) {
            if let Some(touch) = read(shared, slice, id)? {
                return Ok(Some(touch));
            }
        }
        for segment in view.segments_holding(id) {
            let found = sealed(shared, segment, |cache, open| cache.find(&segment.sealed, id, open))?;
            if found.is_some() {
                return Ok(found);
            }
        }
        Ok(None)
    })?;
    Ok(found.map_or(Found::NotStored, |touch| Found::Touch(Box::new(touch))))
}

/// What may hold touches with a print.
enum Place<'a> {
    Slice(&'a Slice),
    Side(&'a Side),
}

/// What a look-up by print wants.
struct Wanted {
    print: Print,
    from: Timestamp,
    to: Timestamp,
}

impl Wanted {
    /// Neither the side file nor the index is trusted for the wall between apps: the click itself says whose it is.
    fn is(&self, touch: &Touch) -> bool {
        let Print { scope, kind, .. } = self.print;
        let own = if kind.is_of_partner() { touch.click.partner.bits() } else { touch.click.app.bits() };
        let received = touch.click.received_at;
        own == scope && received >= self.from && received <= self.to
    }

    /// Whether clicks that were received between these moments can be wanted.
    fn may_be_among(&self, (first_ms, last_ms): (i64, i64), newest: &Newest) -> bool {
        first_ms <= self.to.ms() && last_ms >= self.from.ms() && !newest.are_after(last_ms)
    }
}

/// The newest touches that were found so far.
struct Newest {
    limit: usize,
    /// The newest first.
    touches: Vec<Touch>,
}

impl Newest {
    /// Whether there are enough, and all were received after this moment.
    fn are_after(&self, ms: i64) -> bool {
        self.touches.len() >= self.limit
            && self.touches.last().is_none_or(|touch| touch.click.received_at.ms() > ms)
    }

    fn add(&mut self, touch: Touch) {
        let key = |touch: &Touch| (touch.click.received_at, touch.id);
        let at = self.touches.partition_point(|known| key(known) > key(&touch));
        self.touches.insert(at, touch);
        self.touches.truncate(self.limit);
    }
}

/// The touches with a print that were received in `from..=to`, newest first, at most `limit`.
pub(super) fn find_print(
    shared: &Shared,
    print: Print,
    from: Timestamp,
    to: Timestamp,
    limit: usize,
) -> Result<Vec<Touch>, Error> {
    let wanted = Wanted { print, from, to };
    retry(|| {
        let view = shared.registry.all();
        let slices = registry::overlapping(&view.slices, from, to).into_iter();
        let slices = slices.map(|slice| (slice.extent().received_last_ms, Place::Slice(slice)));
        let sides = view.sides_overlapping(from, to).map_err(|segment| {
            ask_of(shared, segment);
            let source = io::Error::new(io::ErrorKind::NotFound, "it is to be made again");
            let name = SideName { node: segment.sealed.name.node, seq: segment.side };
            Error::Io { what: "search", file: shared.config.dir.join(name.key()), source }
        })?;
        let sides = sides.into_iter();
        let sides = sides.map(|(last, side)| (last, Place::Side(side)));
        let mut places: Vec<_> = slices.chain(sides).collect();
        places.sort_by_key(|(last, _)| std::cmp::Reverse(*last));
        let mut newest = Newest { limit, touches: Vec::new() };
        for (last, place) in places {
            // Nothing that is left can be newer than what is there.
            if newest.are_after(last) {
                break;
            }
            match place {
                Place::Slice(slice) => in_slice(shared, slice, &wanted, &mut newest)?,
                Place::Side(side) => in_side(shared, &view, side, &wanted, &mut newest)?,
            }
        }
        Ok(newest.touches)
    })
}

fn in_slice(shared: &Shared, slice: &Slice, wanted: &Wanted, newest: &mut Newest) -> Result<(), Error> {
    match &slice.state {
        State::Live { index, .. } => {
            let mut next = None;
            loop {
                // The lock is not held while rows are read, nor for longer than a step: the writer wants it too.
                let (ids, lag_ms) = {
                    let index = registry::read(index);
                    let (ids, more) = index.find(&wanted.print, next, IDS_STEP);
                    next = more;
                    (ids, index.lag_max_ms())
                };
                let ends = !among(shared, slice, wanted, newest, &ids, lag_ms)?;
                if ends || next.is_none() {
                    return Ok(());
                }
            }
        }
        State::Closed { .. } => {
            let path = shared.config.dir.join(slice.name.file(Part::Prints));
            let ill = |source| {
                // Whatever is wrong with it, it can be made again.
                suspect(shared, slice, true);
                Error::Io { what: "search", file: path.clone(), source }
            };
            let side = SideFile::open(&path, &slice.name).map_err(ill)?;
            let last = wanted.to.ms().saturating_add(side.lag_max_ms);
            let (first, mut until) = side.rows_of(&wanted.print, wanted.from.ms(), last).map_err(ill)?;
            while until > first {
                let from = until.saturating_sub(IDS_STEP as u64).max(first);
                let ids = side.ids(from, until).map_err(ill)?;
                if !among(shared, slice, wanted, newest, &ids, side.lag_max_ms)? {
                    break;
                }
                until = from;
            }
            Ok(())
        }
        State::Missing { .. } => Ok(()),
    }
}

/// Reads the clicks with these ids of a slice, the last first. `false` when none before them can be wanted.
fn among(
    shared: &Shared,
    slice: &Slice,
    wanted: &Wanted,
    newest: &mut Newest,
    ids: &[ClickId],
    lag_ms: i64,
) -> Result<bool, Error> {
    let last = wanted.to.ms().saturating_add(lag_ms);
    for id in ids {
        if id.ms() < wanted.from.ms() || newest.are_after(id.ms()) {
            return Ok(false);
        }
        if id.ms() > last {
            continue;
        }
        let touch = read(shared, slice, *id)?;
        if let Some(touch) = touch.filter(|touch| wanted.is(touch)) {
            newest.add(touch);
        }
    }
    Ok(true)
}

fn in_side(
    shared: &Shared,
    view: &View,
    side: &Side,
    wanted: &Wanted,
    newest: &mut Newest,
) -> Result<(), Error> {
    let path = shared.config.dir.join(side.name.key());
    let ill = |source| {
        // Whatever is wrong with it, it can be made again.
        ask(shared, side.name.seq);
        Error::Io { what: "search", file: path.clone(), source }
    };
    let prints = shared.readers.sealed.prints(side.name.seq, &path).map_err(ill)?;
    let mut hits = prints.hits(&wanted.print).map_err(ill)?;
    let mut strangers = 0;
    while let Some(hit) = hits.peek().map_err(ill)? {
        // One that is gone from this snapshot is in another of it, or expired.
        let segment = prints.segments().get(usize::from(hit.segment)).and_then(|seq| view.segment(*seq));
        let segment = segment.filter(|segment| {
            let Extent { received_first_ms, received_last_ms, .. } = segment.extent();
            !segment.is_missing
                && segment.side == side.name.seq
                && wanted.may_be_among((received_first_ms, received_last_ms), newest)
        });
        let Some(segment) = segment else {
            hits.skip_to(hit.segment, 0).map_err(ill)?;
            continue;
        };
        let pages = sealed(shared, segment, |cache, open| cache.pages(&segment.sealed, open))?;
        let Some(page) = pages.holding(hit.row) else {
            // The side file says more than there is.
            hits.skip_to(hit.segment, pages.rows()).map_err(ill)?;
            continue;
        };
        if !wanted.may_be_among(page.received, newest) {
            let before = pages.before(&page, |page| wanted.may_be_among(page.received, newest));
            hits.skip_to(hit.segment, before.map_or(0, |page| page.rows.end)).map_err(ill)?;
            continue;
        }
        let mut rows: Vec<u32> = Vec::new();
        while let Some(next) = hits.peek().map_err(ill)?
            && next.segment == hit.segment
            && page.rows.contains(&next.row)
        {
            rows.push(next.row);
            hits.step();
        }
        let before = strangers;
        in_page(shared, segment, &pages, &page, rows, wanted, newest, &mut strangers)?;
        if before <= STRANGERS_MAX && strangers > STRANGERS_MAX {
            ask(shared, side.name.seq);
        }
    }
    Ok(())
}

/// Reads what is wanted of these rows of a page, the last of which stands first.
#[expect(clippy::too_many_arguments, reason = "one step of the loop above, which would be too long with it")]
fn in_page(
    shared: &Shared,
    segment: &Segment,
    pages: &Pages,
    page: &PageSpan,
    rows: Vec<u32>,
    wanted: &Wanted,
    newest: &mut Newest,
    strangers: &mut usize,
) -> Result<(), Error> {
    // With each row, the moment that it was received at most.
    let mut rows: Vec<(i64, u32)> = rows.into_iter().map(|row| (page.received.1, row)).collect();
    if rows.len() > ROWS_FEW {
        let moments = sealed(shared, segment, |cache, _| pages.received(cache, page))?;
        for (received, row) in &mut rows {
            let at = row.saturating_sub(page.rows.start) as usize;
            *received = moments.get(at).copied().unwrap_or(*received);
        }
        rows.retain(|(received, _)| (wanted.from.ms()..=wanted.to.ms()).contains(received));
        rows.sort_unstable_by_key(|row| std::cmp::Reverse(*row));
    }
    for (received, row) in rows {
        if newest.are_after(received) {
            break;
        }
        let touch = sealed(shared, segment, |cache, open| cache.touch_at(&segment.sealed, row, open))?;
        let Some(touch) = touch else { continue };
        // A row of a damaged side file may name any click.
        if !touch.click.prints(&touch.click.params()).contains(&wanted.print) {
            *strangers += 1;
        } else if wanted.is(&touch) {
            newest.add(touch);
        }
    }
    Ok(())
}

/// Looks into a segment.
fn sealed<T>(
    shared: &Shared,
    segment: &Segment,
    run: impl FnOnce(&Cache, &dyn Fn() -> io::Result<Source>) -> Result<T, Failed>,
) -> Result<T, Error> {
    let key = segment.sealed.name.key();
    let path = segment.path(&shared.config.dir);
    let open = || match &segment.moved {
        None => {
            let source = Source::open(&path)?;
            shared.config.faults.reach(Point::Opened);
            Ok(source)
        }
        Some(moved) => Ok(Source::object(shared.reaches.of(&moved.bucket)?, &key, segment.sealed.bytes)),
    };
    run(&shared.readers.sealed, &open).map_err(|failed| {
        let said = match failed {
            Failed::Open(source) => Ok(source),
            Failed::Parquet(source) => said(source),
            Failed::Row(row) => {
                return damaged(shared, segment, Error::Damaged { file: path.clone(), row: i64::from(row) });
            }
        };
        let source = match said {
            Ok(source) => source,
            Err(source) => return damaged(shared, segment, Error::parquet("read", &path)(source)),
        };
        // It moved, was replaced or expired meanwhile: the newest view says where its clicks are.
        let is_same =
            shared.registry.all().segment(segment.seq()).is_some_and(|now| now.moved == segment.moved);
        if source.kind() == io::ErrorKind::NotFound && is_same {
            ask_of(shared, segment);
        }
        match &segment.moved {
            Some(moved) if is_same => Error::bucket("read", format!("{}/{key}", moved.bucket))(source),
            _ => Error::io("read", &path)(source),
        }
    })
}

/// Has a segment looked at that does not read as it was written.
fn damaged(shared: &Shared, segment: &Segment, error: Error) -> Error {
    if error.is_damage() {
        ask_of(shared, segment);
    }
    error
}

/// What the system or a bucket said, if the bytes are not what is wrong.
fn said(error: ParquetError) -> Result<io::Error, ParquetError> {
    match error {
        ParquetError::External(error) => match error.downcast::<io::Error>() {
            Ok(error) => Ok(*error),
            Err(error) => Err(ParquetError::External(error)),
        },
        error => Err(error),
    }
}

fn read(shared: &Shared, slice: &Slice, id: ClickId) -> Result<Option<Touch>, Error> {
    let Some(row) = slice.name.row(id) else { return Ok(None) };
    let touch = shared
        .readers
        .with(&shared.config.dir, slice, |conn, path| slice::read(conn, &slice.name, path, row))
        .inspect_err(|error| suspect(shared, slice, error.is_damage()))?;
    Ok(touch.filter(|t| t.id == id))
}

/// Has the closer look at a slice that did not read as it was written.
fn suspect(shared: &Shared, slice: &Slice, damage: bool) {
    if damage && !slice.is_live() {
        ask(shared, slice.name.seq);
    }
}

/// Has a segment looked at: by the closer, or, where that is to ask a bucket, by whoever speaks to buckets, for nothing may
/// keep slices from being closed.
fn ask_of(shared: &Shared, segment: &Segment) {
    match &segment.moved {
        None => ask(shared, segment.seq()),
        Some(_) => lock(&shared.moving).suspect(segment.seq()),
    }
}

fn retry<T>(run: impl Fn() -> Result<T, Error>) -> Result<T, Error> {
    let mut last = run();
    for _ in 1..TRIES {
        // Who asks a bucket again at once gets the same answer, later.
        if last.is_ok() || matches!(last, Err(Error::Bucket { .. })) {
            break;
        }
        last = run();
    }
    last
}
