//! Look-ups: a bounded number at a time on blocking threads, over cached read connections.

use std::collections::VecDeque;
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
use super::registry::{self, Slice, State};
use super::side_file::SideFile;
use super::slice::{self, Part};

/// Connections that stay open between look-ups; each has a page cache of up to 2 MiB.
const CACHE_MAX: usize = 16;
/// A slice that is renamed or replaced during a look-up is looked at again, this often in all.
const TRIES: usize = 3;
/// Most clicks of one print and slice that are read to fill a look-up's limit. More have no window's worth of meaning:
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

#[derive(Default)]
pub(super) struct Readers {
    cache: Mutex<VecDeque<(Key, Connection)>>,
}

impl Readers {
    fn with<T>(
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

    /// Drops the connections of slices whose files are gone, so that the disk gets their space back.
    pub(super) fn forget(&self, seq: u64) {
        lock(&self.cache).retain(|(key, _)| key.0 != seq);
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
        let slices = shared.registry.all();
        for slice in registry::holding(&slices.slices, id) {
            if let Some(touch) = read(shared, slice, id)? {
                return Ok(Some(touch));
            }
        }
        Ok(None)
    })?;
    Ok(found.map_or(Found::NotStored, |touch| Found::Touch(Box::new(touch))))
}

/// The touches with a print that were received in `from..=to`, newest first, at most `limit`.
pub(super) fn find_print(
    shared: &Shared,
    print: Print,
    from: Timestamp,
    to: Timestamp,
    limit: usize,
) -> Result<Vec<Touch>, Error> {
    retry(|| {
        let slices = shared.registry.all();
        let mut found = Vec::new();
        for slice in registry::overlapping(&slices.slices, from, to) {
            if found.len() >= limit {
                break;
            }
            let ids = match &slice.state {
                State::Live { index, .. } => registry::read(index).find(&print, PRINT_ROWS_MAX),
                State::Closed { .. } => side_find(shared, slice, &print)?,
                State::Missing { .. } => continue,
            };
            let mut here = Vec::new();
            for id in ids {
                if found.len() + here.len() >= limit {
                    break;
                }
                let Some(touch) = read(shared, slice, id)? else { continue };
                let scope = if print.kind.is_of_partner() {
                    touch.click.partner.bits()
                } else {
                    touch.click.app.bits()
                };
                let received = touch.click.received_at;
                // The side file is not trusted for the wall between apps: the click itself says whose it is.
                if scope == print.scope && received >= from && received <= to {
                    here.push(touch);
                }
            }
            found.append(&mut here);
        }
        found.sort_by_key(|t| std::cmp::Reverse((t.click.received_at, t.id)));
        Ok(found)
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
    if damage && !slice.is_live() && lock(&shared.suspects).insert(slice.name.seq) {
        shared.closer_send(Job::Verify { seq: slice.name.seq });
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
