//! Telling one delivery again, on somebody's word: once more under a new id, or, while it waits, now.
//!
//! What waits is not told twice: its next send comes now instead of when it was due, and counts as that send. Many at
//! once are a job's (`recover`), which leaves alone what waits.

use std::collections::HashMap;
use std::collections::hash_map::Entry;

use roundtrip_domain::endpoint::Endpoint;
use roundtrip_domain::id::{Id, WorkspaceNo, kind};
use roundtrip_domain::time::Timestamp;
use rusqlite::Connection;

use super::decide::Due;
use super::delivery::{self, Row};
use super::rollup::Rollups;
use super::{EndpointRow, Ledger, endpoint};
use crate::Error;

/// What a wish for a replay came to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Replay {
    /// It is planned, as a new delivery of the same fact.
    Planned(Due),
    /// It waits, and its next send is due now; nothing new is planned. What its endpoint is in trouble for, or how much
    /// it takes, holds it back all the same.
    Hastened(Due),
    /// It is held, because its endpoint is stopped; nothing was done.
    Held(Box<EndpointRow>),
    /// Its rule delays it until then, so that what it tells of can still change; nothing was done.
    Delayed(Timestamp),
    /// It tells of a conversion that is rejected; nothing was planned.
    Rejected,
    /// The delivery is not kept any more.
    Unknown,
}

impl Ledger {
    /// Tells a fact again. What has ended is planned once more: same event id, same values, new delivery id. What waits
    /// for its next send is due now, under its own id. Of a rejected conversion only changes of its status are told
    /// again. After the end of its acceptance window a new delivery has none any more: whoever asks for it by hand wants
    /// it sent.
    pub async fn delivery_replay(
        &self,
        workspace: WorkspaceNo,
        id: Id<kind::Delivery>,
        at: Timestamp,
    ) -> Result<Replay, Error> {
        let ids = self.inner.ids.clone();
        let replay = self
            .write(move |conn| {
                let Some(row) = delivery::row(conn, workspace.0, id)? else { return Ok(Replay::Unknown) };
                // A webhook is told what happened, and it happened.
                if row.endpoint.postback().is_some()
                    && super::status::is_rejected(conn, workspace.0, row.event)?
                {
                    return Ok(Replay::Rejected);
                }
                if let Some(waiting) = waiting(conn, workspace, row.endpoint, id)? {
                    return hasten(conn, waiting, at);
                }
                let delivery: Id<kind::Delivery> = ids.id(at);
                let item = Due { workspace, endpoint: row.endpoint, due: at, delivery, sends: 0 };
                // Whoever asks for it after its time wants it sent.
                let deadline = row.deadline.filter(|deadline| *deadline > at);
                let row = Row { created_at: at, deadline, replay_of: Some(id), ..row };
                let mut rollups = Rollups::default();
                delivery::plan(conn, &row, &item, "replayed", &mut rollups)?;
                rollups.flush(conn)?;
                Ok(Replay::Planned(item))
            })
            .await?;
        if let Replay::Planned(due) | Replay::Hastened(due) = &replay {
            self.inner.handoff.due(std::slice::from_ref(due));
        }
        Ok(replay)
    }

    /// Plans each of these deliveries once more, due at the time beside it, whatever became of it: all in one
    /// transaction, so that millions are planned in minutes. They come back in the same order; what is not kept is left
    /// out. For measurements of a ledger that nobody delivers from: nothing is handed over, and nobody is asked whether
    /// it makes sense.
    pub async fn delivery_again(
        &self,
        items: Vec<(Due, Timestamp)>,
        at: Timestamp,
    ) -> Result<Vec<Due>, Error> {
        let ids = self.inner.ids.clone();
        self.write(move |conn| {
            let mut known: HashMap<(WorkspaceNo, Id<kind::Delivery>), Option<Row>> = HashMap::new();
            let mut rollups = Rollups::default();
            let mut planned = Vec::with_capacity(items.len());
            for (of, due) in &items {
                let (workspace, id) = (of.workspace, of.delivery);
                let row = match known.entry((workspace, id)) {
                    Entry::Occupied(known) => known.into_mut(),
                    Entry::Vacant(vacant) => vacant.insert(delivery::row(conn, workspace.0, id)?),
                };
                let Some(row) = row else { continue };
                (row.created_at, row.replay_of) = (at, Some(id));
                let delivery: Id<kind::Delivery> = ids.id(at);
                let item = Due { workspace, endpoint: row.endpoint, due: *due, delivery, sends: 0 };
                delivery::plan(conn, row, &item, "replayed", &mut rollups)?;
                planned.push(item);
            }
            rollups.flush(conn)?;
            Ok(planned)
        })
        .await
    }
}

/// Where a delivery stands in the queue, if it does.
fn waiting(
    conn: &Connection,
    workspace: WorkspaceNo,
    endpoint: Endpoint,
    delivery: Id<kind::Delivery>,
) -> Result<Option<Due>, Error> {
    delivery::waits(conn, &Due { workspace, endpoint, due: Timestamp::from_ms(0), delivery, sends: 0 })
}

/// Has what waits be due now.
fn hasten(conn: &Connection, waiting: Due, at: Timestamp) -> Result<Replay, Error> {
    if let Some(held) = endpoint::held(conn, waiting.workspace, waiting.endpoint)? {
        return Ok(Replay::Held(Box::new(held)));
    }
    if waiting.due <= at {
        return Ok(Replay::Hastened(waiting));
    }
    if delivery::is_delayed(conn, waiting.workspace.0, &waiting.delivery.bytes())? {
        return Ok(Replay::Delayed(waiting.due));
    }
    let now = Due { due: at, ..waiting };
    let reason = delivery::waiting_reason(conn, &waiting)?;
    delivery::dequeue(conn, &waiting)?;
    delivery::enqueue(conn, &now, &reason)?;
    Ok(Replay::Hastened(now))
}
