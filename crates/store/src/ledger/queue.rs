//! Reading the queue: who has work, what is next, how much waits.
//!
//! An endpoint has two lanes, first attempts and retries, each ordered by when its deliveries are due. Nothing here
//! walks the queue: who has work stands in `queue_count`, and the first of a lane is one look-up.

use roundtrip_domain::endpoint::Endpoint;
use roundtrip_domain::id::{Id, WorkspaceNo, kind};
use roundtrip_domain::time::Timestamp;
use rusqlite::Connection;

use super::statements::sql;
use super::{EndpointRow, Ledger, endpoint, id_from};
use crate::Error;

/// An endpoint with work.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct EndpointHead {
    /// Owner.
    pub workspace: WorkspaceNo,
    /// Who is told, and by what.
    pub endpoint: Endpoint,
    /// When its earliest delivery is due.
    pub due: Timestamp,
    /// When the earliest is due that was never sent; `None` when there is none.
    pub firsts: Option<Timestamp>,
    /// When the earliest is due that was sent before; `None` when there is none.
    pub retries: Option<Timestamp>,
    /// How many wait.
    pub waiting: u64,
}

/// A row of an endpoint's queue.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct QueueItem {
    /// When it is due.
    pub due: Timestamp,
    /// What.
    pub delivery: Id<kind::Delivery>,
    /// Sends so far.
    pub sends: u32,
    /// When that was decided: when it was planned, or sent last. In the future, the clock was set back since.
    pub decided_at: Timestamp,
}

/// Which window to read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct WindowWish {
    /// Owner.
    pub workspace: WorkspaceNo,
    /// Of whom.
    pub endpoint: Endpoint,
    /// Most first attempts; zero reads none.
    pub firsts: u32,
    /// Most retries; zero reads none.
    pub retries: u32,
}

/// The first rows of an endpoint's lanes, by when they are due.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct QueueWindow {
    /// Not sent yet.
    pub firsts: Vec<QueueItem>,
    /// Sent before.
    pub retries: Vec<QueueItem>,
}

/// How much waits.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct QueueDepth {
    /// When the oldest is due; of what is held too.
    pub oldest: Option<Timestamp>,
    /// How many wait, without those that are held.
    pub waiting: u64,
    /// How many are held, because their endpoint is paused or disabled.
    pub held: u64,
}

/// What a look at the whole queue shows.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct QueueSwept {
    /// Every endpoint that has work.
    pub heads: Vec<EndpointHead>,
    /// Every endpoint that is stopped or failing, as of the same moment.
    pub endpoints: Vec<EndpointRow>,
}

impl Ledger {
    /// Every endpoint that has work, with when its first is due: two look-ups for each.
    pub async fn queue_endpoints(&self) -> Result<Vec<EndpointHead>, Error> {
        self.read(heads).await
    }

    /// Every endpoint that has work, and every one that is stopped or failing.
    pub async fn queue_sweep(&self) -> Result<QueueSwept, Error> {
        self.read(|conn| Ok(QueueSwept { heads: heads(conn)?, endpoints: endpoint::rows(conn)? })).await
    }

    /// The first rows of several endpoints' queues, in the same order.
    pub async fn queue_windows(&self, wishes: Vec<WindowWish>) -> Result<Vec<QueueWindow>, Error> {
        self.read(move |conn| {
            wishes
                .iter()
                .map(|wish| {
                    Ok(QueueWindow {
                        firsts: lane(conn, wish, false, wish.firsts)?,
                        retries: lane(conn, wish, true, wish.retries)?,
                    })
                })
                .collect()
        })
        .await
    }

    /// How much waits, and since when; from counts that are kept.
    pub async fn queue_depth(&self) -> Result<QueueDepth, Error> {
        self.read(|conn| {
            Ok(conn.prepare_cached(sql("queue_depth"))?.query_row([], |row| {
                let (all, held): (u64, u64) = (row.get(1)?, row.get(2)?);
                Ok(QueueDepth {
                    oldest: row.get::<_, Option<i64>>(0)?.map(Timestamp::from_ms),
                    waiting: all.saturating_sub(held),
                    held,
                })
            })?)
        })
        .await
    }
}

fn heads(conn: &Connection) -> Result<Vec<EndpointHead>, Error> {
    let mut statement = conn.prepare_cached(sql("queue_endpoints"))?;
    let mut rows = statement.query([])?;
    let mut heads = Vec::new();
    while let Some(row) = rows.next()? {
        let (first, retry): (Option<i64>, Option<i64>) = (row.get(4)?, row.get(5)?);
        let Some(due) = first.into_iter().chain(retry).min() else { continue };
        heads.push(EndpointHead {
            workspace: WorkspaceNo(row.get(0)?),
            endpoint: Endpoint::from_bytes(row.get(1)?, row.get(2)?),
            due: Timestamp::from_ms(due),
            firsts: first.map(Timestamp::from_ms),
            retries: retry.map(Timestamp::from_ms),
            waiting: row.get(3)?,
        });
    }
    Ok(heads)
}

fn lane(conn: &Connection, wish: &WindowWish, is_retry: bool, limit: u32) -> Result<Vec<QueueItem>, Error> {
    let mut items = Vec::new();
    if limit == 0 {
        return Ok(items);
    }
    let mut statement = conn.prepare_cached(sql("queue_window"))?;
    let (teller, partner) = (wish.endpoint.teller(), wish.endpoint.partner());
    let mut rows = statement.query((wish.workspace.0, teller, partner, is_retry, limit))?;
    while let Some(row) = rows.next()? {
        let id: Vec<u8> = row.get(1)?;
        let delivery: Id<kind::Delivery> = id_from(&id, "queue", "delivery")?;
        let due = Timestamp::from_ms(row.get(0)?);
        let sent_at = row.get::<_, Option<i64>>(3)?.map(Timestamp::from_ms);
        let sends: u32 = row.get(2)?;
        // What was sent and has no attempt any more is taken at its word.
        let decided_at = sent_at.unwrap_or_else(|| if sends == 0 { delivery.minted_at() } else { due });
        items.push(QueueItem { due, delivery, sends, decided_at: decided_at.min(due) });
    }
    Ok(items)
}
