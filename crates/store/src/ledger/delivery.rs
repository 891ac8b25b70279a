//! The queue of deliveries: what is due, what was sent, how it ended.
//!
//! `queue` holds unfinished work only. The process that owns the ledger keeps in memory what it is
//! sending: no claim is written, so after a crash what was in flight is sent again (at least once, said
//! out loud). Settling is idempotent: it hangs on the queue's row, which goes away with it.

use roundtrip_domain::endpoint::Endpoint;
use roundtrip_domain::event::ConversionKind;
use roundtrip_domain::id::{Id, WorkspaceNo, kind};
use roundtrip_domain::postback::MacroValue;
use roundtrip_domain::settings::Catalog;
use roundtrip_domain::time::Timestamp;
use rusqlite::{Connection, OptionalExtension};

use super::booked::{Booked, book};
use super::decide::Due;
use super::rollup::{Metric, Rollups};
use super::statements::sql;
use super::{Ledger, RunningOut, event, fact, id_from, rows};
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

/// What follows a send.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Settled {
    /// The receiver has it.
    Delivered,
    /// It is sent again.
    Again {
        /// When.
        due: Timestamp,
        /// Why it was not delivered.
        reason: String,
    },
    /// Given up.
    Dead {
        /// Why.
        reason: String,
    },
    /// Its receiver does not accept it any more.
    Expired {
        /// Why.
        reason: String,
    },
    /// It does not wait any more as it was handed over, and was not sent: nothing is stored.
    Ended,
}

/// The end of one send.
#[derive(Debug, Clone)]
pub struct Settlement {
    /// The queue's row.
    pub item: Due,
    /// The send; `None` when it could not even be made (its rule or event is gone).
    pub attempt: Option<AttemptRow>,
    /// What follows.
    pub next: Settled,
}

/// What a wish for a replay came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Replay {
    /// It is planned.
    Planned(Due),
    /// It tells of a conversion that is rejected; nothing was planned.
    Rejected,
    /// The delivery is not kept any more.
    Unknown,
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

    /// Stores the ends of sends, all in one transaction. Applying one twice changes nothing.
    ///
    /// Answers, in the same order, where each waits from now on; `None` when it has ended. That is what the table
    /// says, which is not what was settled when somebody else moved the row meanwhile: a settlement holds only for the
    /// row that it names, but for `Delivered`, which is true whoever says it.
    pub async fn delivery_settle(
        &self,
        batch: Vec<Settlement>,
        at: Timestamp,
    ) -> Result<Vec<Option<Due>>, Error> {
        self.delivery_settle_saying(batch, Vec::new(), at).await
    }

    /// The same; and of those deliveries of the batch that are sent again it is said, in the same transaction, that
    /// their time is running out.
    pub async fn delivery_settle_saying(
        &self,
        batch: Vec<Settlement>,
        running_out: Vec<RunningOut>,
        at: Timestamp,
    ) -> Result<Vec<Option<Due>>, Error> {
        let sends = super::tail::sends(&batch);
        let (catalog, entropy) = (self.catalog(), self.inner.entropy.clone());
        let (still, is_news, planned) = self
            .write(move |conn| {
                let mut rollups = Rollups::default();
                let mut is_news = false;
                let (mut still, mut planned) = (Vec::with_capacity(batch.len()), Vec::new());
                for settlement in &batch {
                    let item = &settlement.item;
                    let booked = Booked::read(conn, item)?;
                    let (waits, came) = settle(conn, settlement, &booked, at, &mut rollups)?;
                    let mut news = fact::News { conn, entropy: &entropy, at, rollups: &mut rollups };
                    match came {
                        Came::Nothing => {}
                        Came::Again { sends } => {
                            let out = running_out.iter().find(|out| out.delivery == item.delivery);
                            if let (Some(out), Some(about)) = (out, &booked.about) {
                                let said =
                                    news.say_running_out(&catalog, item.workspace, *out, about, sends)?;
                                planned.extend(said);
                            }
                        }
                        Came::Ended(ended) => planned.extend(news.of_end(&catalog, item, &ended)?),
                    }
                    still.push(waits);
                    is_news |= heard(conn, settlement, &booked)?;
                }
                rollups.flush(conn)?;
                Ok((still, is_news, planned))
            })
            .await?;
        self.inner.handoff.due(&planned);
        if is_news {
            self.inner.handoff.undecided();
        }
        self.inner.tail.push(sends.into_iter());
        Ok(still)
    }

    /// Plans the same fact once more: same event id, same values, new delivery id. Of a rejected conversion only
    /// changes of its status are told again. After the end of its acceptance window it has none any more: whoever
    /// asks for it by hand wants it sent.
    pub async fn delivery_replay(
        &self,
        workspace: WorkspaceNo,
        id: Id<kind::Delivery>,
        at: Timestamp,
    ) -> Result<Replay, Error> {
        let entropy = self.inner.entropy.clone();
        let replay = self
            .write(move |conn| {
                let Some(row) = row(conn, workspace.0, id)? else { return Ok(Replay::Unknown) };
                // A webhook is told what happened, and it happened.
                if row.endpoint.postback().is_some()
                    && super::status::is_rejected(conn, workspace.0, row.event)?
                {
                    return Ok(Replay::Rejected);
                }
                let delivery: Id<kind::Delivery> = entropy.id(at);
                let item = Due { workspace, endpoint: row.endpoint, due: at, delivery, sends: 0 };
                // Whoever asks for it after its time wants it sent.
                let deadline = row.deadline.filter(|deadline| *deadline > at);
                let row = Row { created_at: at, deadline, replay_of: Some(id), ..row };
                let mut rollups = Rollups::default();
                plan(conn, &row, &item, "replayed", &mut rollups)?;
                rollups.flush(conn)?;
                Ok(Replay::Planned(item))
            })
            .await?;
        if let Replay::Planned(due) = &replay {
            self.inner.handoff.due(std::slice::from_ref(due));
        }
        Ok(replay)
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

/// A partner heard something for the first time: changes of the conversion's status that were kept from it because
/// it knew nothing are judged once more. Says whether there are any.
fn heard(conn: &Connection, settlement: &Settlement, booked: &Booked) -> Result<bool, Error> {
    if settlement.attempt.as_ref().is_none_or(|attempt| attempt.n != 1) {
        return Ok(false);
    }
    let ws = settlement.item.workspace.0;
    let Some((_, partner)) = settlement.item.endpoint.postback() else { return Ok(false) };
    let Some(about) = &booked.about else { return Ok(false) };
    let is_change = ConversionKind::parse(&about.kind).is_some_and(|kind| kind.is_change());
    let of = match is_change {
        true => event::get(conn, ws, &about.event.bytes())?.and_then(|event| event.change).map(|c| c.of),
        false => Some(about.event),
    };
    let Some(of) = of else { return Ok(false) };
    let woken = conn.prepare_cached(sql("todo_by_heard"))?.execute((
        ws,
        of.bytes().as_slice(),
        partner.bytes().as_slice(),
    ))?;
    Ok(woken > 0)
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

/// The reason of what was given up or expired, and had arrived all the same.
pub(super) const ARRIVED: &str = "arrived_after_all";

/// Where a delivery waits in the queue.
fn waits(conn: &Connection, item: &Due) -> Result<Option<Due>, Error> {
    let row: Option<(i64, u32)> = conn
        .prepare_cached(sql("queue_of_delivery"))?
        .query_row((item.workspace.0, item.delivery.bytes().as_slice()), |row| Ok((row.get(0)?, row.get(1)?)))
        .optional()?;
    Ok(row.map(|(due, sends)| Due { due: Timestamp::from_ms(due), sends, ..*item }))
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
fn dequeue(conn: &Connection, item: &Due) -> Result<bool, Error> {
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

/// How a delivery ended.
pub(super) struct Ended {
    pub(super) state: &'static str,
    pub(super) reason: String,
    pub(super) sends: u32,
}

/// What became of a delivery with the end of a send.
enum Came {
    /// Nothing: it was settled before, or somebody else moved it.
    Nothing,
    /// It is sent again, after so many sends.
    Again { sends: u32 },
    /// It ended.
    Ended(Ended),
}

/// Whether a settlement holds for a row that was moved since: the send that it tells of is the row's next one, or it
/// arrived, which is true whoever says it.
fn is_next_of(settlement: &Settlement, moved: &Due) -> bool {
    let is_next = settlement.attempt.is_some() && moved.sends == settlement.item.sends;
    is_next || settlement.next == Settled::Delivered
}

/// Settles one send. Says where the delivery waits from now on, and how it ended if it did so now.
fn settle(
    conn: &Connection,
    settlement: &Settlement,
    booked: &Booked,
    at: Timestamp,
    rollups: &mut Rollups,
) -> Result<(Option<Due>, Came), Error> {
    let item = &settlement.item;
    let (ws, delivery) = (item.workspace.0, item.delivery.bytes());
    if let Some(attempt) = &settlement.attempt {
        let added = conn.prepare_cached(sql("attempt_insert"))?.execute(rusqlite::params![
            ws,
            delivery.as_slice(),
            attempt.n,
            attempt.at.ms(),
            attempt.outcome,
            attempt.status,
            attempt.total_us,
            attempt.next,
            attempt.body,
        ])?;
        if added > 0 {
            rollups.send(ws, attempt.at);
            booked.sent(attempt, rollups);
        }
    }
    let mut sends = item.sends + u32::from(settlement.attempt.is_some());
    if settlement.next != Settled::Ended && !dequeue(conn, item)? {
        // Settled before, moved or cancelled: the row in the queue is what says that it is unfinished, and since when.
        match waits(conn, item)? {
            // Put off without a send, or sent by somebody else too, in vain.
            Some(moved) if is_next_of(settlement, &moved) => {
                dequeue(conn, &moved)?;
                sends = sends.max(moved.sends);
            }
            Some(moved) => return Ok((Some(moved), Came::Nothing)),
            None if settlement.next == Settled::Delivered => {
                return Ok((None, arrived(conn, item, booked, sends, at, rollups)?));
            }
            None => {
                ended_before(conn, item, sends)?;
                return Ok((None, Came::Nothing));
            }
        }
    }
    let (state, reason) = match &settlement.next {
        Settled::Again { due, reason } => {
            let again = Due { due: *due, sends, ..*item };
            enqueue(conn, &again, reason)?;
            return Ok((Some(again), Came::Again { sends }));
        }
        Settled::Delivered => ("delivered", "accepted_by_receiver"),
        Settled::Dead { reason } => ("dead", reason.as_str()),
        Settled::Expired { reason } => ("expired", reason.as_str()),
        Settled::Ended => return Ok((waits(conn, item)?, Came::Nothing)),
    };
    conn.prepare_cached(sql("finish_insert"))?.execute((
        ws,
        delivery.as_slice(),
        state,
        reason,
        at.ms(),
        sends,
    ))?;
    booked.left(rollups);
    match &settlement.next {
        Settled::Delivered => booked.delivered(at, rollups),
        _ => booked.count(Metric::Finished, Some(state), 1, rollups),
    }
    Ok((None, Came::Ended(Ended { state, reason: reason.to_owned(), sends })))
}

/// What arrived although it had ended otherwise while it was under way was delivered, and the books say so.
fn arrived(
    conn: &Connection,
    item: &Due,
    booked: &Booked,
    sends: u32,
    at: Timestamp,
    rollups: &mut Rollups,
) -> Result<Came, Error> {
    let (ws, delivery) = (item.workspace.0, item.delivery.bytes());
    let former: Option<String> = conn
        .prepare_cached(sql("finish_get"))?
        .query_row((ws, delivery.as_slice()), |row| row.get(0))
        .optional()?;
    let Some(former) = former.filter(|state| state != "delivered") else {
        ended_before(conn, item, sends)?;
        return Ok(Came::Nothing);
    };
    let reason = if former == "cancelled" { "sent_before_cancelled" } else { ARRIVED };
    let mended = (ws, delivery.as_slice(), reason, at.ms(), sends);
    conn.prepare_cached(sql("finish_mend"))?.execute(mended)?;
    booked.count(Metric::Finished, Some(&former), -1, rollups);
    booked.delivered(at, rollups);
    Ok(Came::Ended(Ended { state: "delivered", reason: reason.to_owned(), sends }))
}

/// What had ended while this send was under way was sent more often than its end knew.
fn ended_before(conn: &Connection, item: &Due, sends: u32) -> Result<(), Error> {
    conn.prepare_cached(sql("finish_sent"))?.execute((
        item.workspace.0,
        item.delivery.bytes().as_slice(),
        sends,
    ))?;
    Ok(())
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
