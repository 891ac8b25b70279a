//! Deliveries and their queue: what is planned, what is due, what a send needs, how it stands.
//!
//! `queue` holds unfinished work only. The process that owns the ledger keeps in memory what it is
//! sending: no claim is written, so after a crash what was in flight is sent again (at least once, said
//! out loud). What follows a send is `settle`'s; what telling again comes to is `replay`'s.

use roundtrip_domain::endpoint::Endpoint;
use roundtrip_domain::id::{Id, WorkspaceNo, kind};
use roundtrip_domain::postback::MacroValue;
use roundtrip_domain::settings::Catalog;
use roundtrip_domain::time::Timestamp;
use rusqlite::{Connection, OptionalExtension};

use super::booked::{Booked, book};
use super::decide::Due;
use super::rollup::{Metric, Rollups};
use super::statements::sql;
use super::{Ledger, fact, id_from, rows};
use crate::Error;

/// What a send needs.
#[derive(Debug, Clone)]
pub struct Outgoing {
    /// What receivers dedupe on: `{event_id}`, `webhook-id`.
    pub fact: Id<kind::Event>,
    /// The version of the rule or webhook that planned it.
    pub teller_version: u64,
    /// The conversion kind.
    pub kind: String,
    /// When it was planned.
    pub created_at: Timestamp,
    /// After which it is of no use to its receiver, if there is such a time.
    pub deadline: Option<Timestamp>,
    /// The delivery that this one replays.
    pub replay_of: Option<Id<kind::Delivery>>,
    /// Macro values; empty for a webhook.
    pub values: Vec<MacroValue>,
    /// Whether it still waits as the asker believes, after so many sends until then; what was cancelled or moved
    /// meanwhile is not sent.
    pub is_waiting: bool,
    /// The body of a webhook, as it is kept.
    pub payload: Option<String>,
    /// When its first send began, if there was one.
    pub first_at: Option<Timestamp>,
}

/// A send, as it is kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AttemptRow {
    /// 1 is the first.
    pub n: u32,
    /// When it began.
    pub at: Timestamp,
    /// `http_200`, `timeout`, ….
    pub outcome: String,
    /// HTTP status, if there was an answer.
    pub status: Option<u16>,
    /// From the beginning to the last kept byte, in microseconds.
    pub total_us: i64,
    /// What followed, in words.
    pub next: String,
    /// The evidence: JSON, secrets masked.
    pub body: String,
}

pub(super) fn enqueue(conn: &Connection, item: &Due, reason: &str) -> Result<(), Error> {
    conn.prepare_cached(sql("queue_insert"))?.execute((
        item.workspace.0,
        item.endpoint.teller().as_slice(),
        item.endpoint.partner().as_slice(),
        item.due.ms(),
        item.delivery.bytes().as_slice(),
        item.sends,
        reason,
    ))?;
    Ok(())
}

/// Puts a new delivery into the queue, and counts that it waits.
pub(super) fn enqueue_first(
    conn: &Connection,
    row: &Row,
    item: &Due,
    reason: &str,
    rollups: &mut Rollups,
) -> Result<(), Error> {
    enqueue(conn, item, reason)?;
    if let Some(booked_at) = row.booked_at {
        rollups.wait(item.workspace.0, item.endpoint, &row.kind, booked_at, 1);
    }
    Ok(())
}

/// A delivery's row.
#[derive(Debug, Clone)]
pub(super) struct Row {
    /// What it is about: a conversion's event, or a change of its status.
    pub(super) event: Id<kind::Event>,
    /// What receivers dedupe on.
    pub(super) fact: Id<kind::Event>,
    /// The revision of the decision that it tells.
    pub(super) revision: u32,
    /// Who is told, and by what.
    pub(super) endpoint: Endpoint,
    /// The version of the rule or webhook.
    pub(super) teller_version: u64,
    /// The app.
    pub(super) app: [u8; 16],
    /// The conversion kind, or the kind of a webhook's fact.
    pub(super) kind: String,
    /// When it was planned.
    pub(super) created_at: Timestamp,
    /// When what it is about reached us: its bucket. `None` counts nowhere.
    pub(super) booked_at: Option<Timestamp>,
    /// After which it is of no use to its receiver.
    pub(super) deadline: Option<Timestamp>,
    /// The delivery that it replays.
    pub(super) replay_of: Option<Id<kind::Delivery>>,
    /// Macro values, as stored.
    pub(super) values: String,
}

/// Plans a delivery: its row, its place in the queue, and its count.
pub(super) fn plan(
    conn: &Connection,
    row: &Row,
    item: &Due,
    reason: &str,
    rollups: &mut Rollups,
) -> Result<(), Error> {
    let ws = item.workspace.0;
    insert(conn, ws, item.delivery, row)?;
    enqueue_first(conn, row, item, reason, rollups)?;
    if let Some(booked_at) = row.booked_at {
        let metric = if row.replay_of.is_some() { Metric::Replayed } else { Metric::Planned };
        book(ws, item.endpoint, metric, &row.kind, booked_at, row.app, 1, rollups);
    }
    Ok(())
}

/// Stores an intent to tell. Whoever does so also puts it into the queue and counts it.
pub(super) fn insert(conn: &Connection, ws: u32, id: Id<kind::Delivery>, row: &Row) -> Result<(), Error> {
    conn.prepare_cached(sql("delivery_insert"))?.execute(rusqlite::params![
        ws,
        id.bytes().as_slice(),
        row.event.bytes().as_slice(),
        row.fact.bytes().as_slice(),
        row.revision,
        row.endpoint.teller().as_slice(),
        row.teller_version,
        row.endpoint.partner().as_slice(),
        row.app.as_slice(),
        row.kind,
        row.created_at.ms(),
        row.booked_at.map(Timestamp::ms),
        row.deadline.map(Timestamp::ms),
        row.replay_of.map(|of| of.bytes().to_vec()),
        row.values,
    ])?;
    Ok(())
}

pub(super) fn row(conn: &Connection, ws: u32, id: Id<kind::Delivery>) -> Result<Option<Row>, Error> {
    let mut statement = conn.prepare_cached(sql("delivery_get"))?;
    let mut rows = statement.query((ws, id.bytes().as_slice()))?;
    let Some(row) = rows.next()? else { return Ok(None) };
    let (event, fact): (Vec<u8>, Vec<u8>) = (row.get(0)?, row.get(1)?);
    let replay_of: Option<Vec<u8>> = row.get(11)?;
    Ok(Some(Row {
        event: id_from(&event, "delivery", "event")?,
        fact: id_from(&fact, "delivery", "fact")?,
        revision: row.get(2)?,
        endpoint: Endpoint::from_bytes(row.get(3)?, row.get(5)?),
        teller_version: row.get(4)?,
        app: row.get(6)?,
        kind: row.get(7)?,
        created_at: Timestamp::from_ms(row.get(8)?),
        booked_at: row.get::<_, Option<i64>>(9)?.map(Timestamp::from_ms),
        deadline: row.get::<_, Option<i64>>(10)?.map(Timestamp::from_ms),
        replay_of: replay_of.as_deref().and_then(Id::from_slice),
        values: row.get(12)?,
    }))
}

impl Ledger {
    /// What several sends need, in the same order.
    pub async fn delivery_load_all(&self, items: Vec<Due>) -> Result<Vec<Option<Outgoing>>, Error> {
        let catalog = self.catalog();
        self.read(move |conn| items.iter().map(|item| load(conn, item, &catalog)).collect()).await
    }

    /// The event that a delivery tells.
    pub async fn event_of_delivery(
        &self,
        workspace: WorkspaceNo,
        id: Id<kind::Delivery>,
    ) -> Result<Option<Id<kind::Event>>, Error> {
        self.read(move |conn| Ok(row(conn, workspace.0, id)?.map(|row| row.event))).await
    }
}

fn load(conn: &Connection, item: &Due, catalog: &Catalog) -> Result<Option<Outgoing>, Error> {
    let (ws, id) = (item.workspace.0, item.delivery);
    let Some(row) = row(conn, ws, id)? else { return Ok(None) };
    let payload = match row.endpoint {
        Endpoint::Postback { .. } => None,
        Endpoint::Webhook(_) => fact::body(conn, item.workspace.0, &row, catalog)?,
    };
    let first_at: Option<i64> = match item.sends {
        0 => None,
        _ => conn
            .prepare_cached(sql("attempt_first"))?
            .query_row((ws, id.bytes().as_slice()), |row| row.get(0))
            .optional()?,
    };
    Ok(Some(Outgoing {
        payload,
        fact: row.fact,
        teller_version: row.teller_version,
        kind: row.kind,
        created_at: row.created_at,
        deadline: row.deadline,
        replay_of: row.replay_of,
        values: rows::values_read(&id.to_string(), &row.values)?,
        is_waiting: stands(conn, item)?,
        first_at: first_at.map(Timestamp::from_ms),
    }))
}

/// Ends a delivery that waits, without a send. `false` when it does not wait any more.
pub(super) fn cancel(
    conn: &Connection,
    ws: u32,
    id: Id<kind::Delivery>,
    reason: &str,
    at: Timestamp,
    rollups: &mut Rollups,
) -> Result<bool, Error> {
    Ok(end_unsent(conn, ws, id, ("cancelled", reason), at, rollups)?.is_some())
}

/// Ends a delivery that waits, in a state and for a reason, without a send. Gives where it waited; `None` when it does
/// not wait any more.
pub(super) fn end_unsent(
    conn: &Connection,
    ws: u32,
    id: Id<kind::Delivery>,
    (state, reason): (&str, &str),
    at: Timestamp,
    rollups: &mut Rollups,
) -> Result<Option<Due>, Error> {
    let Some(row) = row(conn, ws, id)? else { return Ok(None) };
    let waiting: Option<(i64, u32)> = conn
        .prepare_cached(sql("queue_of_delivery"))?
        .query_row((ws, id.bytes().as_slice()), |row| Ok((row.get(0)?, row.get(1)?)))
        .optional()?;
    let Some((due, sends)) = waiting else { return Ok(None) };
    let item = Due {
        workspace: WorkspaceNo(ws),
        endpoint: row.endpoint,
        due: Timestamp::from_ms(due),
        delivery: id,
        sends,
    };
    dequeue(conn, &item)?;
    let end = (ws, id.bytes(), state, reason, at.ms(), sends);
    conn.prepare_cached(sql("finish_insert"))?.execute(end)?;
    let booked = Booked::read(conn, &item)?;
    booked.count(Metric::Finished, Some(state), 1, rollups);
    booked.left(rollups);
    Ok(Some(item))
}

/// Ends everything that waits under an event's id, whatever planned it: replays too.
pub(super) fn cancel_of_event(
    conn: &Connection,
    ws: u32,
    event: Id<kind::Event>,
    reason: &str,
    at: Timestamp,
    rollups: &mut Rollups,
) -> Result<(), Error> {
    let waiting: Vec<Vec<u8>> = conn
        .prepare_cached(sql("queue_of_event"))?
        .query_map((ws, event.bytes().as_slice()), |row| row.get(0))?
        .collect::<Result<_, _>>()?;
    for id in waiting {
        cancel(conn, ws, id_from(&id, "delivery", "id")?, reason, at, rollups)?;
    }
    Ok(())
}

/// The values that a delivery says; `None` when it is not kept any more.
pub(super) fn values(
    conn: &Connection,
    ws: u32,
    id: Id<kind::Delivery>,
) -> Result<Option<Vec<MacroValue>>, Error> {
    row(conn, ws, id)?.map(|row| rows::values_read(&id.to_string(), &row.values)).transpose()
}

/// Whether a delivery was cancelled; `None` when it has not ended.
pub(super) fn is_cancelled(conn: &Connection, ws: u32, id: &[u8]) -> Result<Option<bool>, Error> {
    let state: Option<String> =
        conn.prepare_cached(sql("finish_get"))?.query_row((ws, id), |row| row.get(0)).optional()?;
    Ok(state.map(|state| state == "cancelled"))
}

/// Whether it waits for its very first send because its rule delays it.
pub(super) fn is_delayed(conn: &Connection, ws: u32, id: &[u8]) -> Result<bool, Error> {
    let delayed: Option<bool> = conn
        .prepare_cached(sql("queue_of_delivery"))?
        .query_row((ws, id), |row| Ok(row.get::<_, u32>(1)? == 0 && row.get::<_, String>(2)? == DELAYED))
        .optional()?;
    Ok(delayed.unwrap_or(false))
}

/// The reason in the queue of what its rule delays.
pub(super) const DELAYED: &str = "delayed";

/// Where a delivery waits in the queue.
pub(super) fn waits(conn: &Connection, item: &Due) -> Result<Option<Due>, Error> {
    let row: Option<(i64, u32)> = conn
        .prepare_cached(sql("queue_of_delivery"))?
        .query_row((item.workspace.0, item.delivery.bytes().as_slice()), |row| Ok((row.get(0)?, row.get(1)?)))
        .optional()?;
    Ok(row.map(|(due, sends)| Due { due: Timestamp::from_ms(due), sends, ..*item }))
}

/// Why a delivery that waits does so, by its row in the queue.
pub(super) fn waiting_reason(conn: &Connection, item: &Due) -> Result<String, Error> {
    let reason: Option<String> = conn
        .prepare_cached(sql("queue_of_delivery"))?
        .query_row((item.workspace.0, item.delivery.bytes().as_slice()), |row| row.get(2))
        .optional()?;
    Ok(reason.unwrap_or_default())
}

/// Whether a delivery waits just as that says.
fn stands(conn: &Connection, item: &Due) -> Result<bool, Error> {
    let (workspace, endpoint) = (item.workspace.0, item.endpoint);
    let key =
        (workspace, endpoint.teller(), endpoint.partner(), item.due.ms(), item.delivery.bytes(), item.sends);
    let sends: Option<u32> =
        conn.prepare_cached(sql("queue_sends"))?.query_row(key, |row| row.get(0)).optional()?;
    Ok(sends == Some(item.sends))
}

/// Removes a row of the queue. `false` when it does not stand there.
pub(super) fn dequeue(conn: &Connection, item: &Due) -> Result<bool, Error> {
    let removed = conn.prepare_cached(sql("queue_delete"))?.execute((
        item.workspace.0,
        item.endpoint.teller().as_slice(),
        item.endpoint.partner().as_slice(),
        item.due.ms(),
        item.delivery.bytes().as_slice(),
        item.sends,
    ))?;
    Ok(removed > 0)
}

/// How a delivery stands: its state, the reason, when it is due if it waits, and its sends. What waits for an endpoint
/// that is stopped is `held`.
pub(super) fn state(
    conn: &Connection,
    ws: u32,
    delivery: &[u8],
    is_held: bool,
) -> Result<(String, String, Option<Timestamp>, u32), Error> {
    let finish = conn
        .prepare_cached(sql("finish_get"))?
        .query_row((ws, delivery), |row| {
            Ok((row.get::<_, String>(0)?, row.get::<_, String>(1)?, None, row.get::<_, u32>(3)?))
        })
        .optional()?;
    if let Some(finish) = finish {
        return Ok(finish);
    }
    let waiting = conn
        .prepare_cached(sql("queue_of_delivery"))?
        .query_row((ws, delivery), |row| {
            let due = Timestamp::from_ms(row.get(0)?);
            let state = if is_held { "held" } else { "scheduled" };
            Ok((state.to_owned(), row.get::<_, String>(2)?, Some(due), row.get::<_, u32>(1)?))
        })
        .optional()?;
    Ok(waiting.unwrap_or_else(|| {
        ("lost".into(), "neither waiting nor finished: a bug, please report it".into(), None, 0)
    }))
}

/// A delivery, for a story.
pub(super) fn story(
    conn: &Connection,
    ws: u32,
    id: Id<kind::Delivery>,
) -> Result<Option<super::DeliveryStory>, Error> {
    let Some(row) = row(conn, ws, id)? else { return Ok(None) };
    let held = super::endpoint::held(conn, WorkspaceNo(ws), row.endpoint)?;
    let (state, reason, due, sends) = state(conn, ws, &id.bytes(), held.is_some())?;
    let mut statement = conn.prepare_cached(sql("attempt_list"))?;
    let attempts = statement
        .query_map((ws, id.bytes().as_slice()), |row| {
            Ok(AttemptRow {
                n: row.get(0)?,
                at: Timestamp::from_ms(row.get(1)?),
                outcome: row.get(2)?,
                status: row.get(3)?,
                total_us: row.get(4)?,
                next: row.get(5)?,
                body: row.get(6)?,
            })
        })?
        .collect::<Result<Vec<_>, _>>()?;
    Ok(Some(super::DeliveryStory {
        id,
        fact: row.fact,
        endpoint: row.endpoint,
        teller_version: row.teller_version,
        kind: row.kind,
        revision: row.revision,
        created_at: row.created_at,
        deadline: row.deadline,
        replay_of: row.replay_of,
        state,
        reason,
        due,
        sends,
        held,
        live: None,
        attempts,
    }))
}
