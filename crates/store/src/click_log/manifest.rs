//! The list of closed slices and of sealed clicks: a small SQLite file beside them.
//!
//! It makes a missing slice noticed and keeps counts until the ledger has them. It is not the truth about clicks:
//! if it cannot be read it is set aside and made again from the slices, which are then offered for publishing once
//! more; publishing is idempotent by slice number.

mod sealed;

use std::path::{Path, PathBuf};

use roundtrip_domain::click::TouchKind;
use roundtrip_domain::id::{Id, WorkspaceNo};
use roundtrip_domain::location::Country;
use roundtrip_domain::time::Timestamp;
use rusqlite::{Connection, OptionalExtension, Row, params};

use super::error::Error;
use super::index::{Extent, SliceCount};
use super::slice::Name;

pub(super) use self::sealed::{Change, ListedSegment, Object};

pub(super) const FILE: &str = "manifest.sqlite";
const VERSION: i64 = 1;

/// What the manifest says of one slice.
#[derive(Debug, Clone)]
pub(super) struct Listed {
    pub(super) name: Name,
    pub(super) extent: Extent,
    pub(super) bytes: u64,
    pub(super) checksum: u64,
    pub(super) published: bool,
    /// Its clicks are in a segment: what is left of it is its counts.
    pub(super) elsewhere: bool,
    /// Empty once published.
    pub(super) counts: Vec<SliceCount>,
}

pub(super) struct Manifest {
    conn: Connection,
    path: PathBuf,
}

impl Manifest {
    pub(super) fn open(dir: &Path) -> Result<Self, Error> {
        let path = dir.join(FILE);
        let run = || -> rusqlite::Result<Connection> {
            let conn = Connection::open(&path)?;
            conn.pragma_update(None, "journal_mode", "wal")?;
            conn.pragma_update(None, "synchronous", "full")?;
            conn.execute_batch(include_str!("manifest.sql"))?;
            conn.execute("INSERT OR IGNORE INTO meta (name, value) VALUES ('version', ?1)", [VERSION])?;
            Ok(conn)
        };
        let conn = run().map_err(Error::sqlite("open", &path))?;
        super::durable::sync_dir(dir).map_err(Error::io("sync", dir))?;
        let this = Self { conn, path };
        match this.meta("version")? {
            Some(VERSION) => Ok(this),
            _ => Err(Error::Damaged { file: this.path, row: 0 }),
        }
    }

    fn meta(&self, name: &str) -> Result<Option<i64>, Error> {
        self.conn
            .query_row("SELECT value FROM meta WHERE name = ?1", [name], |r| r.get(0))
            .optional()
            .map_err(Error::sqlite("read", &self.path))
    }

    /// The highest slice number that was ever noted.
    pub(super) fn seq_last(&self) -> Result<u64, Error> {
        Ok(self.meta("seq_last")?.unwrap_or(0).max(0) as u64)
    }

    /// The moment that was believed last: see `believed`.
    pub(super) fn believed(&self) -> Result<Option<Timestamp>, Error> {
        Ok(self.meta("believed_ms")?.map(Timestamp::from_ms))
    }

    /// Keeps it.
    pub(super) fn believe(&self, moment: Timestamp) -> Result<(), Error> {
        let sql = "INSERT INTO meta (name, value) VALUES ('believed_ms', ?1) \
                   ON CONFLICT (name) DO UPDATE SET value = excluded.value";
        self.conn.execute(sql, [moment.ms()]).map(drop).map_err(Error::sqlite("write", &self.path))
    }

    /// The highest number of a slice whose counts the ledger confirmed.
    pub(super) fn published_last(&self) -> Result<Option<u64>, Error> {
        Ok(self.meta("published_last")?.map(|seq| seq.max(0) as u64))
    }

    /// The latest moment in an id of this node that any closed slice held, which may be gone by now.
    pub(super) fn id_last(&self, node: u16) -> Result<Option<i64>, Error> {
        self.meta(&id_last(node))
    }

    /// Notes counts of a slice that the ledger is to be told once more. Interrupted, it leaves a slice that nothing is
    /// known of, which comes to the same.
    pub(super) fn count_again(&mut self, slice: &Listed) -> Result<(), Error> {
        self.forget(slice.name.seq)?;
        self.record(slice)
    }

    /// Copies it as it is into a new file.
    pub(super) fn copy_to(&self, path: &Path) -> Result<(), Error> {
        super::held::copy(&self.conn, path).map_err(Error::sqlite("copy", &self.path))
    }

    /// All slices, by number.
    pub(super) fn list(&self) -> Result<Vec<Listed>, Error> {
        let failed = || Error::sqlite("read", &self.path);
        let mut select = self.conn.prepare("SELECT * FROM slice ORDER BY seq").map_err(failed())?;
        let mut slices = select
            .query_map([], |r| {
                Ok(Listed {
                    name: Name {
                        node: r.get("node")?,
                        began_ms: r.get("began_ms")?,
                        seq: r.get::<_, i64>("seq")? as u64,
                    },
                    extent: Extent {
                        id_first_ms: r.get("id_first_ms")?,
                        id_last_ms: r.get("id_last_ms")?,
                        received_first_ms: r.get("received_first_ms")?,
                        received_last_ms: r.get("received_last_ms")?,
                        clicks: r.get::<_, i64>("clicks")? as u64,
                    },
                    bytes: r.get::<_, i64>("bytes")? as u64,
                    checksum: r.get::<_, i64>("checksum")? as u64,
                    published: r.get("published")?,
                    elsewhere: r.get("elsewhere")?,
                    counts: Vec::new(),
                })
            })
            .and_then(Iterator::collect::<rusqlite::Result<Vec<_>>>)
            .map_err(failed())?;
        for slice in slices.iter_mut().filter(|s| !s.published) {
            slice.counts = self.counts(slice.name.seq)?;
        }
        Ok(slices)
    }

    fn counts(&self, seq: u64) -> Result<Vec<SliceCount>, Error> {
        let failed = || Error::sqlite("read", &self.path);
        let mut select =
            self.conn.prepare_cached("SELECT * FROM slice_count WHERE seq = ?1").map_err(failed())?;
        let rows = select
            .query_map([seq as i64], |r| Ok(count(r)))
            .and_then(Iterator::collect::<rusqlite::Result<Vec<_>>>)
            .map_err(failed())?;
        let damaged = || Error::Damaged { file: self.path.clone(), row: seq as i64 };
        let mut counts: Vec<_> = rows.into_iter().collect::<Option<_>>().ok_or_else(damaged)?;
        counts.sort_unstable();
        Ok(counts)
    }

    /// Notes a closed slice. If it is listed already (a salvaged one) its counts and whether it was published stay.
    pub(super) fn record(&mut self, slice: &Listed) -> Result<(), Error> {
        let failed = Error::sqlite("write", &self.path);
        let run = |conn: &mut Connection| -> rusqlite::Result<()> {
            let tx = conn.transaction()?;
            let seq = slice.name.seq as i64;
            let known: bool =
                tx.query_row("SELECT count(*) FROM slice WHERE seq = ?1", [seq], |r| r.get(0))?;
            tx.execute(
                "INSERT INTO slice VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12) ON CONFLICT (seq) DO UPDATE SET \
                 id_first_ms = excluded.id_first_ms, id_last_ms = excluded.id_last_ms, \
                 received_first_ms = excluded.received_first_ms, received_last_ms = excluded.received_last_ms, \
                 clicks = excluded.clicks, bytes = excluded.bytes, checksum = excluded.checksum",
                params![
                    seq,
                    slice.name.node,
                    slice.name.began_ms,
                    slice.extent.id_first_ms,
                    slice.extent.id_last_ms,
                    slice.extent.received_first_ms,
                    slice.extent.received_last_ms,
                    slice.extent.clicks as i64,
                    slice.bytes as i64,
                    slice.checksum as i64,
                    slice.published,
                    slice.elsewhere,
                ],
            )?;
            if !known && !slice.published {
                let mut insert = tx.prepare(
                    "INSERT INTO slice_count VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12)",
                )?;
                for c in &slice.counts {
                    insert.execute(params![
                        seq,
                        c.workspace.0,
                        c.app.bytes(),
                        c.campaign.bytes(),
                        c.partner.bytes(),
                        c.link.bytes(),
                        c.kind as u8,
                        c.country.as_ref().map_or("", Country::as_str),
                        c.bucket_start.ms(),
                        c.count as i64,
                        c.partner_click_id_absent as i64,
                        c.partner_click_id_unexpanded as i64,
                    ])?;
                }
            }
            note_seq(&tx, slice.name.seq)?;
            note_max(&tx, &id_last(slice.name.node), slice.extent.id_last_ms)?;
            tx.commit()
        };
        run(&mut self.conn).map_err(failed)
    }

    /// Notes that a number is in use, so that it is never given again even if its slice vanishes.
    pub(super) fn seq_note(&self, seq: u64) -> Result<(), Error> {
        note_seq(&self.conn, seq).map_err(Error::sqlite("write", &self.path))
    }

    /// Notes that the ledger has the counts. Doing it twice does nothing.
    pub(super) fn publish(&mut self, seq: u64) -> Result<(), Error> {
        let failed = Error::sqlite("write", &self.path);
        let run = |conn: &mut Connection| -> rusqlite::Result<()> {
            let tx = conn.transaction()?;
            tx.execute("UPDATE slice SET published = 1 WHERE seq = ?1", [seq as i64])?;
            note_max(&tx, "published_last", seq as i64)?;
            tx.execute("DELETE FROM slice_count WHERE seq = ?1", [seq as i64])?;
            tx.commit()
        };
        run(&mut self.conn).map_err(failed)
    }

    /// Forgets an expired slice.
    pub(super) fn forget(&mut self, seq: u64) -> Result<(), Error> {
        let failed = Error::sqlite("write", &self.path);
        let run = |conn: &mut Connection| -> rusqlite::Result<()> {
            let tx = conn.transaction()?;
            tx.execute("DELETE FROM slice WHERE seq = ?1", [seq as i64])?;
            tx.execute("DELETE FROM slice_count WHERE seq = ?1", [seq as i64])?;
            tx.commit()
        };
        run(&mut self.conn).map_err(failed)
    }
}

fn note_seq(conn: &Connection, seq: u64) -> rusqlite::Result<()> {
    note_max(conn, "seq_last", seq as i64)
}

/// The name that the latest moment in an id of a node has.
fn id_last(node: u16) -> String {
    format!("id_last_ms.{node}")
}

fn note_max(conn: &Connection, name: &str, value: i64) -> rusqlite::Result<()> {
    conn.execute(
        "INSERT INTO meta (name, value) VALUES (?1, ?2) \
         ON CONFLICT (name) DO UPDATE SET value = max(value, excluded.value)",
        params![name, value],
    )?;
    Ok(())
}

fn count(r: &Row<'_>) -> Option<SliceCount> {
    let id = |column: &str| r.get::<_, Vec<u8>>(column).ok();
    Some(SliceCount {
        workspace: WorkspaceNo(r.get("workspace").ok()?),
        app: Id::from_slice(&id("app")?)?,
        campaign: Id::from_slice(&id("campaign")?)?,
        partner: Id::from_slice(&id("partner")?)?,
        link: Id::from_slice(&id("link")?)?,
        kind: TouchKind::from_number(r.get("kind").ok()?)?,
        country: Country::parse(&r.get::<_, String>("country").ok()?),
        bucket_start: Timestamp::from_ms(r.get("bucket_start").ok()?),
        count: r.get::<_, i64>("count").ok()?.max(0) as u64,
        partner_click_id_absent: r.get::<_, i64>("absent").ok()?.max(0) as u64,
        partner_click_id_unexpanded: r.get::<_, i64>("unexpanded").ok()?.max(0) as u64,
    })
}
