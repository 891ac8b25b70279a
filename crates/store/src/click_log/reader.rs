//! Look-ups: a bounded number at a time on blocking threads, over cached read connections, footers and pages.
//!
//! Clicks that are being written, in closed slices and in segments are searched alike. Each look-up goes by one snapshot
//! of what there is, in which every click stands once; where a file of it is gone by then, because its clicks moved on,
//! it looks once more by the newest.

use std::collections::VecDeque;
use std::io;
use std::path::Path;
use std::sync::Mutex;

use roundtrip_domain::click::Touch;
use roundtrip_domain::click_id::{self, Checked, ClickId};
use roundtrip_domain::device::Print;
use roundtrip_domain::time::Timestamp;
use rusqlite::Connection;

use super::Shared;
use super::append::lock;
use super::closer::Job;
use super::error::Error;
use super::registry::{self, Segment, Slice, State, View};
use super::segment::{Cache, Failed, Side, Source};
use super::side_file::SideFile;
use super::slice::{self, Part};

/// Connections that stay open between look-ups; each has a page cache of up to 2 MiB.
const CACHE_MAX: usize = 16;
/// A slice that is renamed or replaced during a look-up is looked at again, this often in all.
const TRIES: usize = 3;
/// Segments and side files that stay open between look-ups.
const FILES_MAX: usize = 512;
/// Most clicks of one print and file that are read to fill a look-up's limit. More have no window's worth of meaning:
/// it bounds what a device id shared by a bot farm costs.
const PRINT_ROWS_MAX: usize = 4_096;

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
    cache: Mutex<VecDeque<(Key, Connection)>>,
    /// Of segments and their side files.
    sealed: Cache,
}

impl Readers {
    /// Keeps so many bytes of segments and side files.
    pub(super) fn new(sealed_bytes_max: usize) -> Self {
        Self { cache: Mutex::default(), sealed: Cache::new(sealed_bytes_max, FILES_MAX) }
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
        let cached = {
            let mut cache = lock(&self.cache);
            let at = cache.iter().rposition(|(k, _)| *k == key);
            at.and_then(|at| cache.remove(at)).map(|(_, conn)| conn)
        };
        let conn = match cached {
            Some(conn) => conn,
            None => slice::open_reader(&path, !slice.is_live())?,
        };
        let out = run(&conn, &path);
        if out.is_ok() {
            let mut cache = lock(&self.cache);
            cache.push_back((key, conn));
            if cache.len() > CACHE_MAX {
                cache.pop_front();
            }
        }
        out
    }

    /// Lets go of a slice, segment or side file that is gone, so that the disk gets its space back.
    pub(super) fn forget(&self, seq: u64) {
        lock(&self.cache).retain(|(key, _)| key.0 != seq);
        self.sealed.forget(seq);
    }
}

/// Whether an id can be answered without looking at any file.
pub(super) fn judge(shared: &Shared, id: ClickId) -> Option<Found> {
    if click_id::check(id, &shared.config.keys) == Checked::NotOurs {
        return Some(Found::NotOurs);
    }
    if id.ms() < shared.clock.now().ms().saturating_sub(shared.config.retention.ms()) {
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

/// What a look-up by print wants of one place.
struct Wanted {
    print: Print,
    from: Timestamp,
    to: Timestamp,
    limit: usize,
}

impl Wanted {
    /// Neither the side file nor the index is trusted for the wall between apps: the click itself says whose it is.
    fn is(&self, touch: &Touch) -> bool {
        let Print { scope, kind, .. } = self.print;
        let own = if kind.is_of_partner() { touch.click.partner.bits() } else { touch.click.app.bits() };
        let received = touch.click.received_at;
        own == scope && received >= self.from && received <= self.to
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
    let wanted = Wanted { print, from, to, limit };
    retry(|| {
        let view = shared.registry.all();
        let slices = registry::overlapping(&view.slices, from, to).into_iter();
        let slices = slices.map(|slice| (slice.extent().received_last_ms, Place::Slice(slice)));
        let sides = view.sides_overlapping(from, to).into_iter();
        let sides = sides.map(|(last, side)| (last, Place::Side(side)));
        let mut places: Vec<_> = slices.chain(sides).collect();
        places.sort_by_key(|(last, _)| std::cmp::Reverse(*last));
        let mut found: Vec<Touch> = Vec::new();
        for (last, place) in places {
            // Nothing that is left can be newer than what is there.
            if found.len() >= limit
                && found.get(limit.wrapping_sub(1)).is_none_or(|t| t.click.received_at.ms() > last)
            {
                break;
            }
            match place {
                Place::Slice(slice) => in_slice(shared, slice, &wanted, &mut found)?,
                Place::Side(side) => in_side(shared, &view, side, &wanted, &mut found)?,
            }
            found.sort_by_key(|t| std::cmp::Reverse((t.click.received_at, t.id)));
            found.truncate(limit);
        }
        Ok(found)
    })
}

fn in_slice(shared: &Shared, slice: &Slice, wanted: &Wanted, found: &mut Vec<Touch>) -> Result<(), Error> {
    let ids = match &slice.state {
        State::Live { index, .. } => registry::read(index).find(&wanted.print, PRINT_ROWS_MAX),
        State::Closed { .. } => side_find(shared, slice, &wanted.print)?,
        State::Missing { .. } => return Ok(()),
    };
    let mut left = wanted.limit;
    for id in ids {
        if left == 0 {
            break;
        }
        let Some(touch) = read(shared, slice, id)? else { continue };
        if wanted.is(&touch) {
            found.push(touch);
            left -= 1;
        }
    }
    Ok(())
}

fn in_side(
    shared: &Shared,
    view: &View,
    side: &Side,
    wanted: &Wanted,
    found: &mut Vec<Touch>,
) -> Result<(), Error> {
    let path = shared.config.dir.join(side.name.key());
    let rows = shared.readers.sealed.prints(side.name.seq, &path);
    let rows = rows.and_then(|prints| prints.find(&wanted.print, PRINT_ROWS_MAX)).map_err(|source| {
        // Whatever is wrong with it, it can be made again.
        ask(shared, side.name.seq);
        Error::Io { what: "search", file: path, source }
    })?;
    let mut left = wanted.limit;
    let mut at: Option<&Segment> = None;
    for (seq, row) in rows {
        if left == 0 {
            break;
        }
        if at.is_none_or(|segment| segment.seq() != seq) {
            at = view.segment(seq);
        }
        // One that is gone from this snapshot is in another of it, or expired.
        let Some(segment) = at.filter(|segment| {
            !segment.is_missing
                && segment.side == side.name.seq
                && segment.extent().received_overlaps(wanted.from, wanted.to)
        }) else {
            continue;
        };
        let touch = sealed(shared, segment, |cache, open| cache.touch_at(&segment.sealed, row, open))?;
        // A row of a damaged side file may name any click.
        let has_print = |touch: &Touch| touch.click.prints(&touch.click.params()).contains(&wanted.print);
        if let Some(touch) = touch.filter(|touch| wanted.is(touch) && has_print(touch)) {
            found.push(touch);
            left -= 1;
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
    let path = shared.config.dir.join(segment.sealed.name.key());
    run(&shared.readers.sealed, &|| Source::open(&path)).map_err(|failed| {
        let (error, is_gone) = match failed {
            Failed::Open(source) => {
                let is_gone = source.kind() == io::ErrorKind::NotFound;
                (Error::io("open", &path)(source), is_gone)
            }
            Failed::Parquet(source) => (Error::parquet("read", &path)(source), false),
            Failed::Row(row) => (Error::Damaged { file: path.clone(), row: i64::from(row) }, false),
        };
        if is_gone || error.is_damage() {
            ask(shared, segment.seq());
        }
        error
    })
}

fn read(shared: &Shared, slice: &Slice, id: ClickId) -> Result<Option<Touch>, Error> {
    let Some(row) = slice.name.row(id) else { return Ok(None) };
    let touch = shared
        .readers
        .with(&shared.config.dir, slice, |conn, path| slice::read(conn, &slice.name, path, row))
        .inspect_err(|error| suspect(shared, slice, error.is_damage()))?;
    Ok(touch.filter(|t| t.id == id))
}

fn side_find(shared: &Shared, slice: &Slice, print: &Print) -> Result<Vec<ClickId>, Error> {
    let path = shared.config.dir.join(slice.name.file(Part::Prints));
    SideFile::open(&path, &slice.name).and_then(|side| side.find(print, PRINT_ROWS_MAX)).map_err(|source| {
        // Whatever is wrong with it, it can be made again.
        suspect(shared, slice, true);
        Error::Io { what: "search", file: path, source }
    })
}

/// Has the closer look at a slice that did not read as it was written.
fn suspect(shared: &Shared, slice: &Slice, damage: bool) {
    if damage && !slice.is_live() {
        ask(shared, slice.name.seq);
    }
}

/// Has the closer look at a file, by its number.
pub(super) fn ask(shared: &Shared, seq: u64) {
    if lock(&shared.suspects).insert(seq) {
        shared.closer_send(Job::Verify { seq });
    }
}

fn retry<T>(run: impl Fn() -> Result<T, Error>) -> Result<T, Error> {
    let mut last = run();
    for _ in 1..TRIES {
        if last.is_ok() {
            break;
        }
        last = run();
    }
    last
}
