//! Changes of a conversion's status: approved, rejected.
//!
//! A change is an event of its own, recorded in one transaction with its place in the conversion's history, and
//! decided like any other: it shares the credit of what it changes, and rules tell of it. The conversion itself is
//! decided again, which appends a revision, moves its counts, tells what waited for approval and cancels what is
//! not to be told any more. In which order the two are decided does not matter.

use roundtrip_domain::attribution::{Because, Decision};
use roundtrip_domain::device::Device;
use roundtrip_domain::event::{ConversionKind, Event, Source};
use roundtrip_domain::id::{Id, WorkspaceNo, kind};
use roundtrip_domain::status::{Asker, Status, StatusChange, Transition};
use roundtrip_domain::time::Timestamp;
use rusqlite::{Connection, OptionalExtension};

use super::decide::{Due, Step, store, take_off};
use super::event::{NewEvent, Recorded};
use super::revision::previous_decision;
use super::rollup::Rollups;
use super::statements::sql;
use super::tell::About;
use super::{Ledger, delivery, event, id_from, rows};
use crate::Error;

/// A wish to change a conversion's status.
#[derive(Debug, Clone)]
pub struct StatusWish {
    /// The conversion.
    pub conversion: Id<kind::Conversion>,
    /// What it shall be.
    pub to: Status,
    /// On whose word.
    pub asker: Asker,
    /// Who, as the story names them.
    pub by: String,
    /// Why.
    pub reason: Option<String>,
}

/// What a wish came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StatusAnswer {
    /// It is recorded and durable.
    Changed {
        /// The event of the change.
        change: Id<kind::Event>,
        /// What it was.
        from: Status,
    },
    /// It is that already; nothing was recorded.
    Same,
    /// This asker may not change what it is now; nothing was recorded.
    Refused(Status),
    /// The owner decided, and no sender changes that; nothing was recorded.
    OwnerDecided(Status),
    /// The event makes no conversion.
    NoConversion,
    /// There is no such event.
    Unknown,
}

impl Ledger {
    /// Changes a conversion's status. The same wish again changes nothing.
    pub async fn status_change(
        &self,
        ws: WorkspaceNo,
        wish: StatusWish,
        at: Timestamp,
    ) -> Result<StatusAnswer, Error> {
        let ids = self.inner.ids.clone();
        let answer = self.write(move |conn| change(conn, ws, &wish, ids.id(at), at)).await?;
        if matches!(answer, StatusAnswer::Changed { .. }) {
            self.inner.handoff.undecided();
        }
        Ok(answer)
    }

    /// Records an event that its sender rejects at once: the event and the change in one transaction, so that it
    /// never counts in between. Of a repeat nothing is changed.
    pub async fn event_record_rejected(
        &self,
        new: NewEvent,
        by: String,
        reason: Option<String>,
    ) -> Result<Recorded, Error> {
        let ids = self.inner.ids.clone();
        let (ws, at) = (new.event.workspace, new.event.received_at);
        let recorded = self
            .write(move |conn| {
                let recorded = event::record(conn, &new)?;
                if let Recorded::Accepted(id) = recorded {
                    let (by, reason) = (by.clone(), reason.clone());
                    let (conversion, to) = (id.conversion(), Status::Rejected);
                    let wish = StatusWish { conversion, to, asker: Asker::Sender, by, reason };
                    change(conn, ws, &wish, ids.id(at), at)?;
                }
                Ok(recorded)
            })
            .await?;
        if matches!(recorded, Recorded::Accepted(_)) {
            self.inner.handoff.undecided();
        }
        Ok(recorded)
    }

    /// An event, and how the conversion counts that it makes, after all changes so far. `None` when it is not kept.
    pub async fn event_status(
        &self,
        ws: WorkspaceNo,
        id: Id<kind::Event>,
    ) -> Result<Option<(Event, Status)>, Error> {
        self.read(move |conn| {
            let Some(event) = event::get(conn, ws.0, &id.bytes())? else { return Ok(None) };
            let status = last(conn, ws.0, id)?.map_or(Status::first_of(&event), |last| last.status);
            Ok(Some((event, status)))
        })
        .await
    }
}

/// Whether what is told under an event's id is a conversion that is rejected now. A change of a status is none.
pub(super) fn is_rejected(conn: &Connection, ws: u32, event: Id<kind::Event>) -> Result<bool, Error> {
    Ok(last(conn, ws, event)?.is_some_and(|last| last.status == Status::Rejected))
}

fn change(
    conn: &Connection,
    ws: WorkspaceNo,
    wish: &StatusWish,
    id: Id<kind::Event>,
    at: Timestamp,
) -> Result<StatusAnswer, Error> {
    let of = wish.conversion.event();
    let Some(original) = event::get(conn, ws.0, &of.bytes())? else { return Ok(StatusAnswer::Unknown) };
    // A later birth of an installation was decided, and makes none.
    let is_none = previous_decision(conn, ws.0, of)?.is_some_and(|known| known.kind.is_none());
    if is_none || original.change.is_some() {
        return Ok(StatusAnswer::NoConversion);
    }
    let last = last(conn, ws.0, of)?;
    let (n, from) = last.as_ref().map_or((0, Status::first_of(&original)), |last| (last.n, last.status));
    let by = last.map(|last| last.asker);
    match Transition::of(from, wish.to, wish.asker, by) {
        Transition::Same => return Ok(StatusAnswer::Same),
        Transition::Refused if wish.asker == Asker::Sender && by == Some(Asker::Owner) => {
            return Ok(StatusAnswer::OwnerDecided(from));
        }
        Transition::Refused => return Ok(StatusAnswer::Refused(from)),
        Transition::Change => {}
    }
    let change = StatusChange { of, from, to: wish.to, by: wish.by.clone(), reason: wish.reason.clone() };
    let name = kind_of(wish.to).name().to_owned();
    let own = Event {
        id,
        workspace: ws,
        app: original.app,
        source: if wish.asker == Asker::Owner { Source::Owner } else { Source::Postback },
        source_event_id: None,
        name,
        environment: original.environment,
        received_at: at,
        occurred_at: at,
        install_id: None,
        click_id: None,
        referrer: None,
        customer_id: None,
        device: Device::default(),
        revenue: None,
        properties: None,
        consent: None,
        ip: None,
        user_agent: None,
        location: Default::default(),
        postback: None,
        change: Some(Box::new(change)),
        findings: Vec::new(),
    };
    let (own_id, app) = (id.bytes(), own.app.bytes());
    conn.prepare_cached(sql("event_insert"))?.execute((
        ws.0,
        own_id.as_slice(),
        app.as_slice(),
        &own.name,
        at.ms(),
        at.ms(),
        rows::event_write(&own),
    ))?;
    // What waits of earlier changes is not true any more: the last one is told, and what is told stays in its order.
    // That they were the first of something is taken back when they are decided once more.
    let mut rollups = Rollups::default();
    for earlier in changes(conn, ws.0, of)? {
        delivery::cancel_of_event(conn, ws.0, earlier, "status_changed", at, &mut rollups)?;
        conn.prepare_cached(sql("todo_insert"))?.execute((ws.0, earlier.bytes().as_slice()))?;
    }
    rollups.flush(conn)?;
    conn.prepare_cached(sql("status_put"))?.execute((
        ws.0,
        of.bytes().as_slice(),
        n + 1,
        own_id.as_slice(),
        wish.to as u8,
        wish.asker as u8,
    ))?;
    for event in [of.bytes(), own_id] {
        conn.prepare_cached(sql("todo_insert"))?.execute((ws.0, event.as_slice()))?;
    }
    Ok(StatusAnswer::Changed { change: id, from })
}

/// The last change of a conversion's status.
struct Last {
    /// Counts from 1.
    n: u32,
    /// What it is since.
    status: Status,
    /// The event of the change.
    change: Id<kind::Event>,
    /// On whose word.
    asker: Asker,
}

fn last(conn: &Connection, ws: u32, of: Id<kind::Event>) -> Result<Option<Last>, Error> {
    let row: Option<(u32, u8, Vec<u8>, u8)> = conn
        .prepare_cached(sql("status_now"))?
        .query_row((ws, of.bytes().as_slice()), |row| {
            Ok((row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?))
        })
        .optional()?;
    row.map(|(n, status, change, asker)| {
        let corrupt = |column: &'static str, what: String| Error::Corrupt {
            table: "status_change",
            column,
            row: format!("{of} {n}"),
            what,
        };
        Ok(Last {
            n,
            status: Status::from_number(status)
                .ok_or_else(|| corrupt("status", format!("{status} is no status")))?,
            change: id_from(&change, "status_change", "change")?,
            asker: Asker::from_number(asker)
                .ok_or_else(|| corrupt("asker", format!("{asker} is no asker")))?,
        })
    })
    .transpose()
}

/// The events of all changes of a conversion's status so far, in their order.
fn changes(conn: &Connection, ws: u32, of: Id<kind::Event>) -> Result<Vec<Id<kind::Event>>, Error> {
    let mut statement = conn.prepare_cached(sql("status_list"))?;
    let mut rows = statement.query((ws, of.bytes().as_slice()))?;
    let mut changes = Vec::new();
    while let Some(row) = rows.next()? {
        let id: Vec<u8> = row.get(0)?;
        changes.push(id_from(&id, "status_change", "change")?);
    }
    Ok(changes)
}

/// What rules hear of a change to that status.
const fn kind_of(to: Status) -> ConversionKind {
    match to {
        Status::Rejected => ConversionKind::Rejected,
        Status::Approved | Status::Pending => ConversionKind::StatusChange,
    }
}

impl Step<'_> {
    /// Whether the conversion counts, after all changes so far.
    pub(super) fn status_now(&self, event: &Event) -> Result<Status, Error> {
        Ok(last(self.conn, self.ws(), event.id)?.map_or(Status::first_of(event), |last| last.status))
    }

    /// Whether a later change of the same conversion is recorded.
    pub(super) fn is_superseded(&self, own: Id<kind::Event>, of: Id<kind::Event>) -> Result<bool, Error> {
        Ok(last(self.conn, self.ws(), of)?.is_some_and(|last| last.change != own))
    }

    /// Decides a change: it has the credit of what it changes. `None` when that stands, or is not known yet; the
    /// decision about the conversion puts its changes back on the list.
    pub(super) fn decide_change(&mut self, change: &StatusChange) -> Result<Option<Vec<Due>>, Error> {
        let own = self.event().clone();
        take_off(self.conn, &own)?;
        let original = event::get(self.conn, self.ws(), &change.of.bytes())?;
        let Some(original) = original else {
            return Err(Error::Corrupt {
                table: "status_change",
                column: "event",
                row: own.id.to_string(),
                what: "a change of an event that is not kept".into(),
            });
        };
        let Some(known) = previous_decision(self.conn, self.ws(), original.id)? else { return Ok(None) };
        let decision = Decision {
            event: own.id,
            kind: known.kind.as_ref().map(|_| kind_of(change.to)),
            credit: known.credit.clone(),
            because: Because {
                reference_at: known.because.reference_at,
                candidates: Vec::new(),
                rest: 0,
                dead: Vec::new(),
                follows: Some(original.id),
                notes: Vec::new(),
            },
            settings_version: self.settings.version,
        };
        let previous = previous_decision(self.conn, self.ws(), own.id)?;
        let is_superseded = self.is_superseded(own.id, change.of)?;
        let stands = previous.as_ref().is_some_and(|p| p.stands(&decision, change.to));
        let known_revision = previous.as_ref().map_or(0, |p| p.revision);
        let revision = if stands { known_revision } else { known_revision + 1 };
        if stands {
            // Nothing about it moved, but who may be told of it can have.
            let was_kept = self
                .conn
                .prepare_cached(sql("told_never"))?
                .exists((self.ws(), own.id.bytes().as_slice()))?;
            if !is_superseded && !was_kept {
                return Ok(None);
            }
        } else {
            store(self.conn, self.ws(), &decision, change.to, revision, self.at)?;
            if revision == 1 {
                self.convert(&own, &decision, change.to)?;
            }
        }
        let (born, births) = self.origin(&original, &known.because)?;
        let about = About {
            row: &own,
            event: &original,
            births: &births,
            born,
            status: change.to,
            change: Some((own.id, change)),
            is_superseded,
        };
        let mut planned = self.tell(about, &decision, revision)?;
        if !stands {
            planned.extend(self.tell_owner(about, &decision, revision, previous.as_ref())?);
        }
        Ok((!stands || !planned.is_empty()).then_some(planned))
    }
}
