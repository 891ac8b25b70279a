//! The click log's manifest: which slices are counted here.

use std::collections::BTreeSet;

use rusqlite::{Connection, OptionalExtension};

use super::Ledger;
use super::rollup::{Key, Metric, Rollups, Status};
use super::statements::sql;
use crate::Error;
use crate::click_log::{ClosedSlice, SliceCount};

impl Ledger {
    /// Puts a closed slice's counts into the rollups, in the same transaction as its manifest row. The row
    /// makes a second time do nothing. The slice's last moment becomes the floor of later click ids.
    pub async fn slice_publish(&self, slice: ClosedSlice) -> Result<(), Error> {
        self.write(move |conn| publish(conn, &slice)).await
    }

    /// The slices whose counts are in the rollups: `(node, seq)`.
    pub async fn slices_published(&self) -> Result<Vec<(u16, u64)>, Error> {
        self.read(published).await
    }

    /// The same, for the start of the click log. Blocks.
    ///
    /// # Errors
    /// When the ledger cannot be read.
    pub fn slices_counted(&self) -> Result<BTreeSet<(u16, u64)>, Error> {
        let conn = super::open_connection(self.inner.way.path(), true)?;
        Ok(published(&conn)?.into_iter().collect())
    }
}

fn published(conn: &Connection) -> Result<Vec<(u16, u64)>, Error> {
    let mut statement = conn.prepare_cached(sql("slice_list"))?;
    let rows = statement.query_map([], |row| Ok((row.get(0)?, row.get(1)?)))?;
    Ok(rows.collect::<Result<_, _>>()?)
}

fn publish(conn: &Connection, slice: &ClosedSlice) -> Result<(), Error> {
    let body = serde_json::json!({
        "v": 1, "file": slice.file, "began": slice.began.ms(), "id_first": slice.id_first.ms(),
        "id_last": slice.id_last.ms(), "clicks": slice.clicks, "bytes": slice.bytes,
        "checksum": format!("{:016x}", slice.checksum),
    });
    let new = conn.prepare_cached(sql("slice_put"))?.execute((
        slice.node,
        slice.seq,
        "closed",
        body.to_string(),
    ))?;
    if new == 0 {
        return Ok(());
    }
    let mut rollups = Rollups::default();
    for count in &slice.counts {
        add(count, &mut rollups);
    }
    rollups.flush(conn)?;
    // A slice that is published late (offered again after a crash) must not lower what a later one raised.
    let known: Option<Vec<u8>> =
        conn.prepare_cached(sql("meta_get"))?.query_row(["click_floor"], |row| row.get(0)).optional()?;
    let known = known.and_then(|bytes| Some(i64::from_be_bytes(bytes.as_slice().try_into().ok()?)));
    let floor = slice.id_last.ms().max(known.unwrap_or(i64::MIN)).to_be_bytes().to_vec();
    conn.prepare_cached(sql("meta_put"))?.execute(("click_floor", floor))?;
    Ok(())
}

fn add(count: &SliceCount, rollups: &mut Rollups) {
    let mut one = |metric, kind: &str, n: u64| {
        let key = Key {
            workspace: count.workspace.0,
            bucket: count.bucket_start.ms(),
            app: count.app.bytes(),
            partner: count.partner.bytes(),
            campaign: count.campaign.bytes(),
            link: count.link.bytes(),
            metric,
            kind: kind.to_owned(),
            status: Status::None,
            currency: String::new(),
        };
        rollups.change_in(count.country, key, n as i64, 0);
    };
    one(Metric::Touch, count.kind.name(), count.count);
    if let Some(flagged) = count.flagged_clicks() {
        one(Metric::FlaggedClick, "partner_click_id_absent", flagged.absent);
        one(Metric::FlaggedClick, "partner_click_id_unexpanded", flagged.unexpanded);
    }
}

/// Clicks whose partner click id is no use.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FlaggedClicks {
    /// It was not there.
    pub absent: u64,
    /// It was still a macro.
    pub unexpanded: u64,
}

impl SliceCount {
    /// The clicks among these touches whose partner click id is no use; `None` where the touches are no clicks:
    /// of impressions and previews nobody expects one.
    pub fn flagged_clicks(&self) -> Option<FlaggedClicks> {
        let (absent, unexpanded) = (self.partner_click_id_absent, self.partner_click_id_unexpanded);
        self.kind.is_click().then_some(FlaggedClicks { absent, unexpanded })
    }
}
