//! One slice as files: its name, its schema, its rows.
//!
//! `slice-<node>-<began_ms>-<seq>` is the base of every name. `.sqlite` is a slice that is written or being
//! closed (with its `-wal`), `.closed.sqlite` is immutable, `.prints` is the side file of a closed one.
//!
//! Nothing here decides when a slice begins or ends (`writer`, `closer`), nor what is damage (`damage`).

use std::fs::File;
use std::path::{Path, PathBuf};

use roundtrip_domain::click::Touch;
use roundtrip_domain::click_id::{COUNTER_BITS, ClickId};
use rusqlite::config::DbConfig;
use rusqlite::{Connection, OpenFlags, OptionalExtension, params};

use super::ahead;
use super::body;
use super::durable;
use super::error::Error;
use super::index::{Index, Noted};

/// Version of the files that this release writes.
const VERSION: i64 = 1;
const SCHEMA: &str = include_str!("slice.sql");
/// How long a connection waits for a lock that another thread of this process holds for moments.
const BUSY_MS: u64 = 5_000;

/// What a slice's files are called.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Name {
    pub(super) node: u16,
    pub(super) began_ms: i64,
    pub(super) seq: u64,
}

/// Which of a slice's files a name means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Part {
    Live,
    Closed,
    Prints,
    Salvaged,
    Other,
}

impl Name {
    pub(super) fn parse(file: &str) -> Option<(Self, Part)> {
        let (base, suffix) = file.split_once('.')?;
        let mut fields = base.strip_prefix("slice-")?.split('-');
        let name = Self {
            node: fields.next()?.parse().ok()?,
            began_ms: fields.next()?.parse().ok().filter(|ms| *ms >= 0)?,
            seq: fields.next()?.parse().ok()?,
        };
        let part = match suffix {
            "sqlite" => Part::Live,
            "closed.sqlite" => Part::Closed,
            "prints" => Part::Prints,
            "salvaged.tmp" => Part::Salvaged,
            _ => Part::Other,
        };
        fields.next().is_none().then_some((name, part))
    }

    pub(super) fn file(&self, part: Part) -> String {
        let suffix = match part {
            Part::Live => "sqlite",
            Part::Closed => "closed.sqlite",
            Part::Prints => "prints",
            Part::Salvaged => "salvaged.tmp",
            Part::Other => "tmp",
        };
        format!("slice-{}-{}-{}.{suffix}", self.node, self.began_ms, self.seq)
    }

    /// The row of an id. `None` when the id is from before the slice or 99 days past its beginning.
    pub(super) fn row(&self, id: ClickId) -> Option<i64> {
        let since = id.ms().checked_sub(self.began_ms)?;
        (0..1 << 33).contains(&since).then_some(since << COUNTER_BITS | i64::from(id.counter()))
    }

    /// The id of a row, given the check that stands in its body.
    pub(super) fn id(&self, row: i64, check: u32) -> ClickId {
        let ms = (self.began_ms + (row >> COUNTER_BITS)) as u128 & 0xffff_ffff_ffff;
        let counter = (row & ((1 << COUNTER_BITS) - 1)) as u128;
        ClickId::from_bits(
            ms << 80 | 7 << 76 | (self.node as u128) << 64 | 0b10 << 62 | counter << 32 | check as u128,
        )
    }

    /// Reads a row as it was written.
    pub(super) fn touch(&self, file: &Path, row: i64, body: &[u8]) -> Result<Touch, Error> {
        let (check, click) =
            body::decode(body).ok_or_else(|| Error::Damaged { file: file.to_owned(), row })?;
        Ok(Touch { id: self.id(row, check), click })
    }
}

/// Opens a slice for writing, creating its tables when `create` is set. Automatic checkpoints are off, also
/// on close: the closer alone moves pages, so until then every committed page stays under a checksum of the WAL.
pub(super) fn open_writer(path: &Path, name: &Name, create: bool, strict: bool) -> Result<Connection, Error> {
    let run = |create: bool| -> rusqlite::Result<Connection> {
        let mut flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        if create {
            flags |= OpenFlags::SQLITE_OPEN_CREATE;
        }
        let mut conn = Connection::open_with_flags(path, flags)?;
        conn.busy_timeout(std::time::Duration::from_millis(BUSY_MS))?;
        conn.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true)?;
        conn.pragma_update(None, "journal_mode", "wal")?;
        conn.pragma_update(None, "synchronous", if strict { "full" } else { "normal" })?;
        conn.pragma_update(None, "wal_autocheckpoint", 0)?;
        // A batch never writes before its commit, so a failed one leaves no frames behind.
        conn.pragma_update(None, "cache_spill", false)?;
        if create {
            let tx = conn.transaction()?;
            tx.execute_batch(SCHEMA)?;
            write_meta(&tx, name)?;
            tx.commit()?;
        }
        Ok(conn)
    };
    let failed = || Error::sqlite("open for writing", path);
    let mut conn = run(create).map_err(failed())?;
    if create {
        // The tables go into the file, so that the log is the clicks' alone, and may be one that was made beforehand.
        let is_busy: bool =
            conn.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |r| r.get(0)).map_err(failed())?;
        if let Some(dir) = path.parent() {
            if !is_busy && ahead::has_spare(dir) {
                drop(conn);
                ahead::take_spare(dir, &beside(path, "-wal"));
                conn = run(false).map_err(failed())?;
            }
            durable::sync_dir(dir).map_err(Error::io("sync", dir))?;
        }
    }
    Ok(conn)
}

fn write_meta(conn: &Connection, name: &Name) -> rusqlite::Result<()> {
    let mut insert = conn.prepare("INSERT INTO meta (name, value) VALUES (?1, ?2)")?;
    insert.execute(params!["version", VERSION])?;
    insert.execute(params!["node", name.node])?;
    insert.execute(params!["began_ms", name.began_ms])?;
    insert.execute(params!["seq", name.seq as i64])?;
    Ok(())
}

/// Whether the file is a slice of a version we read, and the one that its name says.
pub(super) fn check_meta(conn: &Connection, path: &Path, name: &Name) -> Result<(), Error> {
    let value = |field: &str| {
        conn.query_row("SELECT value FROM meta WHERE name = ?1", [field], |row| row.get::<_, i64>(0))
            .map_err(Error::sqlite("read meta of", path))
    };
    let same = value("version")? == VERSION
        && value("node")? == i64::from(name.node)
        && value("began_ms")? == name.began_ms
        && value("seq")? == name.seq as i64;
    if same { Ok(()) } else { Err(Error::Damaged { file: path.to_owned(), row: 0 }) }
}

/// Opens a slice for reading. A closed one is opened as immutable: no locks, no `-wal`, no `-shm`.
pub(super) fn open_reader(path: &Path, closed: bool) -> Result<Connection, Error> {
    let mut flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let conn = if closed {
        flags |= OpenFlags::SQLITE_OPEN_URI;
        let mut uri = String::from("file:");
        for c in path.to_string_lossy().chars() {
            match c {
                '%' => uri.push_str("%25"),
                '?' => uri.push_str("%3f"),
                '#' => uri.push_str("%23"),
                c => uri.push(c),
            }
        }
        uri.push_str("?immutable=1");
        Connection::open_with_flags(uri, flags)
    } else {
        Connection::open_with_flags(path, flags)
    }
    .map_err(Error::sqlite("open", path))?;
    conn.busy_timeout(std::time::Duration::from_millis(BUSY_MS)).map_err(Error::sqlite("open", path))?;
    // A reader that happens to be the last to leave must not touch the log either.
    conn.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true)
        .map_err(Error::sqlite("open", path))?;
    Ok(conn)
}

/// The first and the last row. `None` when there is none.
pub(super) fn ends(conn: &Connection, path: &Path) -> Result<Option<(i64, i64)>, Error> {
    // Two questions: for both in one, SQLite would read all rows.
    let sql = "SELECT (SELECT min(id) FROM click), (SELECT max(id) FROM click)";
    let ends = conn.query_row(sql, [], |row| Ok((row.get(0)?, row.get(1)?)));
    let (first, last): (Option<i64>, Option<i64>) =
        ends.map_err(Error::sqlite("read the clicks of", path))?;
    Ok(first.zip(last))
}

/// One row, if it is there.
pub(super) fn read(conn: &Connection, name: &Name, path: &Path, row: i64) -> Result<Option<Touch>, Error> {
    let failed = || Error::sqlite("read a click from", path);
    let mut select = conn.prepare_cached("SELECT body FROM click WHERE id = ?1").map_err(failed())?;
    let found = select
        .query_row([row], |r| Ok(r.get_ref(0)?.as_blob().map(<[u8]>::to_vec)))
        .optional()
        .map_err(failed())?;
    match found {
        None => Ok(None),
        Some(Ok(body)) => name.touch(path, row, &body).map(Some),
        Some(Err(_)) => Err(Error::Damaged { file: path.to_owned(), row }),
    }
}

/// The rows behind `after` in their order, at most `limit`, and the last one's number.
pub(super) fn rows(
    conn: &Connection,
    name: &Name,
    path: &Path,
    after: i64,
    limit: usize,
) -> Result<(Vec<Touch>, i64), Error> {
    let failed = || Error::sqlite("read the clicks of", path);
    let sql = "SELECT id, body FROM click WHERE id > ?1 ORDER BY id LIMIT ?2";
    let mut select = conn.prepare_cached(sql).map_err(failed())?;
    let mut rows = select.query(params![after, limit as i64]).map_err(failed())?;
    let (mut touches, mut last) = (Vec::with_capacity(limit), after);
    while let Some(row) = rows.next().map_err(failed())? {
        last = row.get(0).map_err(failed())?;
        let body = row.get_ref(1).map_err(failed())?;
        let body = body.as_blob().map_err(|_| Error::Damaged { file: path.to_owned(), row: last })?;
        touches.push(name.touch(path, last, body)?);
    }
    Ok((touches, last))
}

/// Reads every row into an index. It visits each page of the table, so it is the damage check as well.
pub(super) fn scan(conn: &Connection, name: &Name, path: &Path) -> Result<Index, Error> {
    let failed = || Error::sqlite("read the clicks of", path);
    check_meta(conn, path, name)?;
    let mut index = Index::new();
    let mut select = conn.prepare("SELECT id, body FROM click ORDER BY id").map_err(failed())?;
    let mut rows = select.query([]).map_err(failed())?;
    while let Some(row) = rows.next().map_err(failed())? {
        let number: i64 = row.get(0).map_err(failed())?;
        let body = row.get_ref(1).map_err(failed())?;
        let body = body.as_blob().map_err(|_| Error::Damaged { file: path.to_owned(), row: number })?;
        let touch = name.touch(path, number, body)?;
        index.add(touch.id, &Noted::of(&touch.click, &touch.click.params()));
    }
    Ok(index)
}

/// Copies what can be read of `from` into a new file `to`, which is durable when this returns. Rows are read
/// upwards until one fails, then downwards until one fails: a bad page in the middle costs its own rows.
/// Returns how many clicks were kept.
pub(super) fn salvage(from: &Path, to: &Path, name: &Name) -> Result<u64, Error> {
    durable::remove(to).map_err(Error::io("remove", to))?;
    let failed = || Error::sqlite("salvage into", to);
    let mut out = Connection::open(to).map_err(failed())?;
    out.pragma_update(None, "journal_mode", "off").map_err(failed())?;
    out.pragma_update(None, "synchronous", "off").map_err(failed())?;
    let tx = out.transaction().map_err(failed())?;
    tx.execute_batch(SCHEMA).map_err(failed())?;
    write_meta(&tx, name).map_err(failed())?;
    if let Ok(conn) = open_reader(from, true) {
        // Without this SQLite refuses a file that is shorter than its header says.
        let _ = conn.pragma_update(None, "writable_schema", true);
        let last = copy_rows(&conn, &tx, name, from, "SELECT id, body FROM click ORDER BY id", i64::MIN)?;
        if let Some(last) = last {
            copy_rows(&conn, &tx, name, from, "SELECT id, body FROM click ORDER BY id DESC", last)?;
        }
    }
    let kept: i64 = tx.query_row("SELECT count(*) FROM click", [], |r| r.get(0)).map_err(failed())?;
    tx.commit().map_err(failed())?;
    drop(out);
    File::open(to).and_then(|file| file.sync_all()).map_err(Error::io("sync", to))?;
    Ok(kept.max(0) as u64)
}

/// Copies rows in the order of `sql` until reading fails or a row at or before `stop` comes. `Some(row)` is the
/// last one copied before a failure (`i64::MIN` when there was none), `None` means that all was read. A row whose
/// bytes make no sense is left out.
fn copy_rows(
    from: &Connection,
    to: &Connection,
    name: &Name,
    file: &Path,
    sql: &str,
    stop: i64,
) -> Result<Option<i64>, Error> {
    let mut last = i64::MIN;
    let mut insert = to
        .prepare("INSERT OR IGNORE INTO click (id, body) VALUES (?1, ?2)")
        .map_err(Error::sqlite("salvage into", file))?;
    let Ok(mut select) = from.prepare(sql) else { return Ok(Some(last)) };
    let Ok(mut rows) = select.query([]) else { return Ok(Some(last)) };
    loop {
        let row = match rows.next() {
            Ok(Some(row)) => row,
            Ok(None) => return Ok(None),
            Err(_) => return Ok(Some(last)),
        };
        let Ok(number) = row.get::<_, i64>(0) else { return Ok(Some(last)) };
        if number <= stop {
            return Ok(None);
        }
        if let Ok(rusqlite::types::ValueRef::Blob(body)) = row.get_ref(1)
            && name.touch(file, number, body).is_ok()
        {
            insert.execute(params![number, body]).map_err(Error::sqlite("salvage into", file))?;
        }
        last = number;
    }
}

/// Removes a live slice that holds no click.
pub(super) fn remove_live(path: &Path) -> Result<(), Error> {
    for suffix in ["-wal", "-shm", ""] {
        let file = beside(path, suffix);
        durable::remove(&file).map_err(Error::io("remove", &file))?;
    }
    Ok(())
}

/// The `-wal` or `-shm` beside a slice.
pub(super) fn beside(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    PathBuf::from(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_rows_are_arithmetic() {
        let name = Name { node: 5, began_ms: 1_000, seq: 9 };
        for part in [Part::Live, Part::Closed, Part::Prints, Part::Salvaged] {
            assert_eq!(Name::parse(&name.file(part)), Some((name, part)));
        }
        for bad in [
            "slice-5-1000.sqlite",
            "slice-5-1000-9-1.sqlite",
            "slice-x-1-1.sqlite",
            "manifest.sqlite",
            "slice-5-1000-9",
        ] {
            assert_eq!(Name::parse(bad), None, "{bad}");
        }
        let id = name.id(77 << COUNTER_BITS | 42, 0xabcd);
        assert_eq!((id.ms(), id.counter(), id.node()), (1_077, 42, 5));
        assert_eq!(name.row(id), Some(77 << COUNTER_BITS | 42));
        let early = Name { began_ms: 1_078, ..name };
        assert_eq!(early.row(id), None);
    }
}
