//! Recording events: exactly once per key, durable before the answer.

use roundtrip_domain::event::{Environment, Event, Source};
use roundtrip_domain::id::{Id, kind};
use rusqlite::{Connection, OptionalExtension};

use super::rows::{self, EventColumns};
use super::statements::sql;
use super::{Ledger, id_from, key16};
use crate::Error;

/// How long an idempotency key is kept: 400 days.
const KEY_KEPT_MS: i64 = 400 * 86_400_000;

/// The kinds of keys by which an event finds its installation. Numbers are stored: append only.
pub(super) const TIE_INSTALL: u8 = 1;
pub(super) const TIE_CUSTOMER: u8 = 2;
/// A raw device id; the kind of id is inside the key's hash.
pub(super) const TIE_DEVICE: u8 = 3;

/// What makes an event the same as an earlier one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Idempotency {
    /// Inside what the key is unique: the bits of an app's or a campaign's id.
    pub scope: u128,
    /// The caller's key.
    pub key: Vec<u8>,
    /// The first 16 bytes of a SHA-256 over the caller's parsed fields.
    pub fields: [u8; 16],
}

/// An event to record.
#[derive(Debug, Clone)]
pub struct NewEvent {
    /// The event, its id minted.
    pub event: Event,
    /// Its key; without one it is always new.
    pub idempotency: Option<Idempotency>,
}

/// What recording came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Recorded {
    /// It is on the disk, under this id.
    Accepted(Id<kind::Event>),
    /// The same key came with the same fields before; the id is the first one's.
    Duplicate(Id<kind::Event>),
    /// The same key came with other fields before; the id is the first one's. Nothing was recorded.
    Conflict(Id<kind::Event>),
}

impl Ledger {
    /// Records events; one answer each, in the same order, after the commit. If the batch fails as a whole
    /// for what one of them does, they are recorded one by one.
    pub async fn event_record(&self, events: Vec<NewEvent>) -> Vec<Result<Recorded, Error>> {
        let answers = self.event_record_all(events).await;
        if answers.iter().any(|a| matches!(a, Ok(Recorded::Accepted(_)))) {
            self.inner.handoff.undecided();
        }
        answers
    }

    async fn event_record_all(&self, events: Vec<NewEvent>) -> Vec<Result<Recorded, Error>> {
        let count = events.len();
        let together = events.clone();
        let result = self
            .write(move |conn| together.iter().map(|e| record(conn, e)).collect::<Result<Vec<_>, _>>())
            .await;
        match result {
            Ok(all) => all.into_iter().map(Ok).collect(),
            Err(error @ (Error::Unavailable(_) | Error::Fatal(_))) => vec![Err(error); count],
            Err(error) if count == 1 => vec![Err(error)],
            Err(_) => {
                let mut answers = Vec::with_capacity(count);
                for event in events {
                    answers.push(self.write(move |conn| record(conn, &event)).await);
                }
                answers
            }
        }
    }
}

pub(super) fn record(conn: &Connection, new: &NewEvent) -> Result<Recorded, Error> {
    let event = &new.event;
    let ws = event.workspace.0;
    if let Some(key) = &new.idempotency {
        let scope = key.scope.to_be_bytes();
        let hash = key16("event_key", &key.key);
        let known: Option<(Vec<u8>, Vec<u8>)> = conn
            .prepare_cached(sql("event_key_get"))?
            .query_row((ws, scope.as_slice(), hash.as_slice(), event.received_at.ms()), |row| {
                Ok((row.get(0)?, row.get(1)?))
            })
            .optional()?;
        if let Some((id, fields)) = known {
            let id = id_from(&id, "event_key", "event")?;
            return Ok(if fields == key.fields { Recorded::Duplicate(id) } else { Recorded::Conflict(id) });
        }
        conn.prepare_cached(sql("event_key_put"))?.execute((
            ws,
            scope.as_slice(),
            hash.as_slice(),
            event.id.bytes().as_slice(),
            key.fields.as_slice(),
            event.received_at.ms() + KEY_KEPT_MS,
        ))?;
    }
    let (id, app) = (event.id.bytes(), event.app.bytes());
    conn.prepare_cached(sql("event_insert"))?.execute((
        ws,
        id.as_slice(),
        app.as_slice(),
        &event.name,
        event.received_at.ms(),
        event.occurred_at.ms(),
        rows::event_write(event),
    ))?;
    for (kind, key) in ties(event) {
        let births = if kind == TIE_INSTALL { birth_rank(event) } else { 0 };
        conn.prepare_cached(sql("tie_insert"))?.execute((
            ws,
            app.as_slice(),
            kind,
            key.as_slice(),
            id.as_slice(),
            births,
        ))?;
    }
    conn.prepare_cached(sql("todo_insert"))?.execute((ws, id.as_slice()))?;
    Ok(Recorded::Accepted(event.id))
}

/// The key of the installation that an event names or is: its `install_id`, else, for a birth, its raw
/// device id, else the event itself.
pub(super) fn install_key(event: &Event) -> Option<[u8; 16]> {
    if let Some(install_id) = &event.install_id {
        return Some(keyed(event, "install", install_id.as_bytes()));
    }
    if !event.names_install() {
        return None;
    }
    Some(match event.device.ids.first() {
        Some(id) => device_key(event, id),
        None => keyed(event, "birth", &event.id.bytes()),
    })
}

/// A key inside the event's environment. Sandbox events have installations, persons and claims of their own: a
/// key that ships inside an app may send them, so they must not touch production's.
pub(super) fn keyed(event: &Event, kind: &str, text: &[u8]) -> [u8; 16] {
    match event.environment {
        Environment::Production => key16(kind, text),
        Environment::Sandbox => key16(&format!("sandbox {kind}"), text),
    }
}

fn device_key(event: &Event, id: &roundtrip_domain::device::DeviceId) -> [u8; 16] {
    keyed(event, id.kind.name(), id.text.as_bytes())
}

/// The most that a birth can be worth as evidence; see [`birth_rank`].
pub(super) const BIRTH_RANK_MAX: u8 = 4;

/// How much a birth is worth as evidence: 0 is no birth, 1 names nothing, 2 a device, 3 a click, 4 is an
/// `install` that names a click. Numbers are stored: append only.
fn birth_rank(event: &Event) -> u8 {
    match event.name.as_str() {
        _ if !event.names_install() => 0,
        "install" if event.click_id.is_some() || event.referrer.is_some() => BIRTH_RANK_MAX,
        _ if event.click_id.is_some() || event.referrer.is_some() => 3,
        _ if !event.device.ids.is_empty() => 2,
        _ => 1,
    }
}

/// The keys of persons and devices on an event.
pub(super) fn identities(event: &Event) -> Vec<(u8, [u8; 16])> {
    let customer =
        event.customer_id.as_deref().map(|c| (TIE_CUSTOMER, keyed(event, "customer", c.as_bytes())));
    let devices = event.device.ids.iter().map(|id| (TIE_DEVICE, device_key(event, id)));
    customer.into_iter().chain(devices).collect()
}

/// By which keys an event finds its installation: by the installation's own, else, when it names no click
/// of its own, by customer and device. What names a click stands on it, so that the order of arrival
/// cannot matter.
pub(super) fn ties(event: &Event) -> Vec<(u8, [u8; 16])> {
    if event.source == Source::Postback {
        return Vec::new();
    }
    match install_key(event) {
        Some(key) => vec![(TIE_INSTALL, key)],
        None if event.click_id.is_some() || event.referrer.is_some() => Vec::new(),
        None => identities(event),
    }
}

/// Reads one event.
pub(super) fn get(conn: &Connection, ws: u32, id: &[u8]) -> Result<Option<Event>, Error> {
    let mut statement = conn.prepare_cached(sql("event_get"))?;
    let mut rows = statement.query((ws, id))?;
    rows.next()?.map(read_row).transpose()
}

/// Reads an event from a row with the columns of `event_get`.
pub(super) fn read_row(row: &rusqlite::Row<'_>) -> Result<Event, Error> {
    let (id, app): (Vec<u8>, Vec<u8>) = (row.get(1)?, row.get(2)?);
    let columns = EventColumns {
        workspace: roundtrip_domain::id::WorkspaceNo(row.get(0)?),
        id: id_from(&id, "event", "id")?,
        app: id_from(&app, "event", "app")?,
        name: row.get(3)?,
        received_at: row.get(4)?,
        occurred_at: row.get(5)?,
    };
    let body: String = row.get(6)?;
    rows::event_read(columns, &body)
}
