//! What the manifest says of sealed clicks, and the one transaction by which clicks go from files into others.

use rusqlite::{Connection, Row, params};

use std::collections::BTreeSet;

use super::{Extent, Manifest, note_seq};
use crate::click_log::Error;
use crate::click_log::registry::Moved;
use crate::click_log::segment::{Sealed, SegmentName, Side, SideName};

/// A segment as it is listed.
#[derive(Debug)]
pub(in super::super) struct ListedSegment {
    pub(in super::super) sealed: Sealed,
    /// Number of its side file.
    pub(in super::super) side: u64,
    /// Where it lies, if that is a bucket.
    pub(in super::super) moved: Option<Moved>,
}

/// What may be in a bucket by our hand.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in super::super) struct Object {
    pub(in super::super) bucket: String,
    /// Its name in the bucket: the segment's.
    pub(in super::super) file: String,
    /// Number of the segment.
    pub(in super::super) seq: u64,
    /// The bucket said that it was put by us, so that nobody else's is there.
    pub(in super::super) is_put: bool,
}

/// Files that take the place of others. All of it happens in one transaction or nothing does.
#[derive(Debug, Default)]
pub(in super::super) struct Change {
    /// Segments that are there from now on, each with the number of its side file.
    pub(in super::super) segments: Vec<(Sealed, u64)>,
    /// Side files that are there from now on.
    pub(in super::super) sides: Vec<Side>,
    /// Segments of the log's directory that lie in a bucket from now on.
    pub(in super::super) moved: Vec<(u64, Moved)>,
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
    /// Every segment, by number.
    pub(in super::super) fn segments(&self) -> Result<Vec<ListedSegment>, Error> {
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
            let bucket: Option<String> = r.get("bucket")?;
            let replaces: Option<Vec<u8>> = r.get("replaces")?;
            let moved =
                bucket.map(|bucket| Moved { bucket, replaces: numbers(&replaces.unwrap_or_default()) });
            Ok(ListedSegment { sealed, side: number(r, "side")?, moved })
        })
    }

    /// Objects that may be in buckets, by bucket and name.
    pub(in super::super) fn objects(&self) -> Result<Vec<Object>, Error> {
        self.all("SELECT * FROM object ORDER BY bucket, file", |r| {
            let (bucket, file, seq) = (r.get("bucket")?, r.get("file")?, number(r, "seq")?);
            Ok(Object { bucket, file, seq, is_put: r.get("put")? })
        })
    }

    /// Objects that may be in buckets and that no listed segment is.
    pub(in super::super) fn objects_unlisted(&self) -> Result<Vec<Object>, Error> {
        let listed: BTreeSet<u64> =
            self.all("SELECT seq FROM segment", |r| number(r, "seq"))?.into_iter().collect();
        Ok(self.objects()?.into_iter().filter(|object| !listed.contains(&object.seq)).collect())
    }

    /// Notes that an object may be in a bucket from now on. Returns whether it was known to be put by us, or is now.
    pub(in super::super) fn object_note(&self, object: &Object) -> Result<bool, Error> {
        let Object { bucket, file, seq, is_put } = object;
        let failed = || Error::sqlite("write", &self.path);
        // In two steps: of a statement that also returns rows the commit comes behind the last one, and whoever takes the
        // first and goes never hears that it failed.
        let note = "INSERT INTO object VALUES (?1, ?2, ?3, ?4) \
                    ON CONFLICT DO UPDATE SET seq = excluded.seq, put = max(put, excluded.put)";
        self.conn.execute(note, params![bucket, file, *seq as i64, is_put]).map_err(failed())?;
        let known = "SELECT put FROM object WHERE bucket = ?1 AND file = ?2";
        self.conn.query_row(known, params![bucket, file], |r| r.get(0)).map_err(failed())
    }

    /// Notes that an object is not in its bucket.
    pub(in super::super) fn object_forget(&self, object: &Object) -> Result<(), Error> {
        let Object { bucket, file, .. } = object;
        let done =
            self.conn.execute("DELETE FROM object WHERE bucket = ?1 AND file = ?2", params![bucket, file]);
        done.map(drop).map_err(Error::sqlite("write", &self.path))
    }

    /// Every side file of sealed clicks, by number.
    pub(in super::super) fn sides(&self) -> Result<Vec<Side>, Error> {
        self.all("SELECT * FROM side ORDER BY seq", |r| {
            let segments: Vec<u8> = r.get("segments")?;
            Ok(Side {
                name: SideName { node: r.get("node")?, seq: number(r, "seq")? },
                segments: numbers(&segments),
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

/// Numbers, 8 bytes each, big-endian.
fn numbers(bytes: &[u8]) -> Vec<u64> {
    bytes.as_chunks().0.iter().map(|number| u64::from_be_bytes(*number)).collect()
}

fn bytes(numbers: &[u64]) -> Vec<u8> {
    numbers.iter().flat_map(|number| number.to_be_bytes()).collect()
}

fn run(conn: &mut Connection, change: &Change) -> rusqlite::Result<()> {
    let tx = conn.transaction()?;
    for (sealed, side) in &change.segments {
        let Sealed { name, extent, bytes, checksum } = sealed;
        tx.execute(
            "INSERT INTO segment VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, NULL, NULL)",
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
        let segments = bytes(&side.segments);
        tx.execute(
            "INSERT INTO side VALUES (?1, ?2, ?3, ?4, ?5)",
            params![side.name.seq as i64, side.name.node, segments, side.bytes as i64, side.checksum as i64],
        )?;
        note_seq(&tx, side.name.seq)?;
    }
    for (segment, Moved { bucket, replaces }) in &change.moved {
        tx.execute(
            "UPDATE segment SET bucket = ?2, replaces = ?3 WHERE seq = ?1",
            params![*segment as i64, bucket, bytes(replaces)],
        )?;
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
