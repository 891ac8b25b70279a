//! What the manifest says of sealed clicks, and the one transaction by which clicks go from files into others.

use rusqlite::{Connection, Row, params};

use super::{Extent, Manifest, note_seq};
use crate::click_log::Error;
use crate::click_log::segment::{Sealed, SegmentName, Side, SideName};

/// Files that take the place of others. All of it happens in one transaction or nothing does.
#[derive(Debug, Default)]
pub(in super::super) struct Change {
    /// Segments that are there from now on, each with the number of its side file.
    pub(in super::super) segments: Vec<(Sealed, u64)>,
    /// Side files that are there from now on.
    pub(in super::super) sides: Vec<Side>,
    /// Segments that stay and whose side file is another one from now on.
    pub(in super::super) sides_of: Vec<(u64, u64)>,
    /// Slices that are gone; the rows of those that are not published stay, for their counts.
    pub(in super::super) slices_gone: Vec<u64>,
    /// Segments that are gone.
    pub(in super::super) segments_gone: Vec<u64>,
    /// Side files that are gone.
    pub(in super::super) sides_gone: Vec<u64>,
    /// Files to be deleted, below the log's directory.
    pub(in super::super) doomed: Vec<String>,
}

impl Manifest {
    /// Every segment, by number, with the number of its side file.
    pub(in super::super) fn segments(&self) -> Result<Vec<(Sealed, u64)>, Error> {
        self.all("SELECT * FROM segment ORDER BY seq", |r| {
            let name =
                SegmentName { hour_ms: r.get("hour_ms")?, node: r.get("node")?, seq: number(r, "seq")? };
            let extent = Extent {
                id_first_ms: r.get("id_first_ms")?,
                id_last_ms: r.get("id_last_ms")?,
                received_first_ms: r.get("received_first_ms")?,
                received_last_ms: r.get("received_last_ms")?,
                clicks: number(r, "clicks")?,
            };
            let sealed =
                Sealed { name, extent, bytes: number(r, "bytes")?, checksum: number(r, "checksum")? };
            Ok((sealed, number(r, "side")?))
        })
    }

    /// Every side file of sealed clicks, by number.
    pub(in super::super) fn sides(&self) -> Result<Vec<Side>, Error> {
        self.all("SELECT * FROM side ORDER BY seq", |r| {
            let segments: Vec<u8> = r.get("segments")?;
            let (segments, _) = segments.as_chunks();
            Ok(Side {
                name: SideName { node: r.get("node")?, seq: number(r, "seq")? },
                segments: segments.iter().map(|seq| u64::from_be_bytes(*seq)).collect(),
                bytes: number(r, "bytes")?,
                checksum: number(r, "checksum")?,
            })
        })
    }

    /// Files that are to be deleted, below the log's directory.
    pub(in super::super) fn doomed(&self) -> Result<Vec<String>, Error> {
        self.all("SELECT file FROM doomed ORDER BY file", |r| r.get(0))
    }

    fn all<T>(&self, sql: &str, row: impl Fn(&Row<'_>) -> rusqlite::Result<T>) -> Result<Vec<T>, Error> {
        let failed = || Error::sqlite("read", &self.path);
        let mut select = self.conn.prepare(sql).map_err(failed())?;
        let rows = select.query_map([], |r| row(r)).map_err(failed())?;
        rows.collect::<rusqlite::Result<_>>().map_err(failed())
    }

    /// Makes the change.
    pub(in super::super) fn change(&mut self, change: &Change) -> Result<(), Error> {
        let failed = Error::sqlite("write", &self.path);
        run(&mut self.conn, change).map_err(failed)
    }

    /// Notes that files which were to be deleted are.
    pub(in super::super) fn deleted(&mut self, files: &[String]) -> Result<(), Error> {
        let failed = Error::sqlite("write", &self.path);
        let run = |conn: &mut Connection| -> rusqlite::Result<()> {
            let tx = conn.transaction()?;
            for file in files {
                tx.execute("DELETE FROM doomed WHERE file = ?1", [file])?;
            }
            tx.commit()
        };
        run(&mut self.conn).map_err(failed)
    }
}

fn number(r: &Row<'_>, column: &str) -> rusqlite::Result<u64> {
    Ok(r.get::<_, i64>(column)? as u64)
}

fn run(conn: &mut Connection, change: &Change) -> rusqlite::Result<()> {
    let tx = conn.transaction()?;
    for (sealed, side) in &change.segments {
        let Sealed { name, extent, bytes, checksum } = sealed;
        tx.execute(
            "INSERT INTO segment VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11)",
            params![
                name.seq as i64,
                name.node,
                name.hour_ms,
                extent.id_first_ms,
                extent.id_last_ms,
                extent.received_first_ms,
                extent.received_last_ms,
                extent.clicks as i64,
                *bytes as i64,
                *checksum as i64,
                *side as i64,
            ],
        )?;
        note_seq(&tx, name.seq)?;
    }
    for side in &change.sides {
        let segments: Vec<u8> = side.segments.iter().flat_map(|seq| seq.to_be_bytes()).collect();
        tx.execute(
            "INSERT INTO side VALUES (?1, ?2, ?3, ?4, ?5)",
            params![side.name.seq as i64, side.name.node, segments, side.bytes as i64, side.checksum as i64],
        )?;
        note_seq(&tx, side.name.seq)?;
    }
    for (segment, side) in &change.sides_of {
        tx.execute("UPDATE segment SET side = ?2 WHERE seq = ?1", [*segment as i64, *side as i64])?;
    }
    for seq in &change.slices_gone {
        tx.execute("UPDATE slice SET elsewhere = 1 WHERE seq = ?1", [*seq as i64])?;
        tx.execute("DELETE FROM slice WHERE seq = ?1 AND published = 1", [*seq as i64])?;
    }
    for seq in &change.segments_gone {
        tx.execute("DELETE FROM segment WHERE seq = ?1", [*seq as i64])?;
    }
    for seq in &change.sides_gone {
        tx.execute("DELETE FROM side WHERE seq = ?1", [*seq as i64])?;
    }
    for file in &change.doomed {
        tx.execute("INSERT OR IGNORE INTO doomed VALUES (?1)", [file])?;
    }
    tx.commit()
}
