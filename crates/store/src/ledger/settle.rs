//! The ends of sends, made durable: what was sent, and what follows.
//!
//! Settling is idempotent: it hangs on the queue's row, which goes away with it. A settlement holds only for the row
//! that it names, but for what arrived, which is true whoever says it.

use roundtrip_domain::event::ConversionKind;
use roundtrip_domain::time::Timestamp;
use rusqlite::{Connection, OptionalExtension};

use super::booked::Booked;
use super::decide::Due;
use super::delivery::{AttemptRow, dequeue, enqueue, waits};
use super::rollup::{Metric, Rollups};
use super::statements::sql;
use super::{Ledger, RunningOut, event, fact};
use crate::Error;

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
    /// Nothing was sent, because the operator's settings do not allow it: it waits on, and no send is used up. What was
    /// tried is kept once, as the evidence of it.
    Unsent {
        /// When it is looked at again.
        due: Timestamp,
        /// What is not allowed.
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

impl Settlement {
    /// Whether nothing was sent although somebody tried.
    const fn is_unsent(&self) -> bool {
        matches!(self.next, Settled::Unsent { .. })
    }
}

impl Ledger {
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
        let (catalog, ids) = (self.catalog(), self.inner.ids.clone());
        let (still, is_news, planned) = self
            .write(move |conn| {
                let mut rollups = Rollups::default();
                let mut is_news = false;
                let (mut still, mut planned) = (Vec::with_capacity(batch.len()), Vec::new());
                for settlement in &batch {
                    let item = &settlement.item;
                    let booked = Booked::read(conn, item)?;
                    let (waits, came) = settle(conn, settlement, &booked, at, &mut rollups)?;
                    let mut news = fact::News { conn, ids: &ids, at, rollups: &mut rollups };
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
}

/// A partner heard something for the first time: changes of the conversion's status that were kept from it because
/// it knew nothing are judged once more. Says whether there are any.
fn heard(conn: &Connection, settlement: &Settlement, booked: &Booked) -> Result<bool, Error> {
    let is_first = settlement.attempt.as_ref().is_some_and(|attempt| attempt.n == 1);
    if !is_first || settlement.is_unsent() {
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

/// The reason of what was given up or expired, and had arrived all the same.
pub(super) const ARRIVED: &str = "arrived_after_all";

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

/// Whether what was tried and not sent stands with the delivery already, from the last time.
fn is_kept(conn: &Connection, ws: u32, delivery: &[u8], attempt: &AttemptRow) -> Result<bool, Error> {
    let mut statement = conn.prepare_cached(sql("attempt_exists"))?;
    Ok(statement.exists((ws, delivery, attempt.n, &attempt.outcome))?)
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
    if let Some(attempt) = &settlement.attempt
        && !(settlement.is_unsent() && is_kept(conn, ws, &delivery, attempt)?)
    {
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
    let mut sends = item.sends + u32::from(settlement.attempt.is_some() && !settlement.is_unsent());
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
        Settled::Again { due, reason } | Settled::Unsent { due, reason } => {
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
