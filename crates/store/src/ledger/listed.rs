//! The latest deliveries for people who look: how each stands, and what its last send came to.
//!
//! A page costs a bounded number of rows, whatever its filter; where the filter fits few of them the page is short,
//! says how many rows were looked at, and where to go on. Not relied on for counting.

use roundtrip_domain::endpoint::Endpoint;
use roundtrip_domain::id::{Id, WorkspaceNo, kind};
use roundtrip_domain::time::Timestamp;
use rusqlite::{Connection, OptionalExtension};

use super::filter::{DeliveryFilter, DeliveryState, Order, Scan};
use super::statements::sql;
use super::{DeliveryStory, EndpointLive, EndpointRow, Ledger, Why, WhyAsked, delivery, endpoint, id_from};
use crate::Error;

/// Most rows that one page of a list looks at.
pub const LIST_ROWS_MAX: u32 = 20_000;

/// A delivery in a list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeliveryListed {
    /// The delivery.
    pub id: Id<kind::Delivery>,
    /// What it is about.
    pub event: Id<kind::Event>,
    /// What receivers dedupe on.
    pub fact: Id<kind::Event>,
    /// Who is told, and by what.
    pub endpoint: Endpoint,
    /// The app.
    pub app: Id<kind::App>,
    /// The conversion kind, or the kind of a webhook's fact.
    pub kind: String,
    /// When it was planned.
    pub created_at: Timestamp,
    /// The delivery that it replays.
    pub replay_of: Option<Id<kind::Delivery>>,
    /// How it stands.
    pub state: DeliveryState,
    /// Why.
    pub reason: String,
    /// When it is sent next, if it waits.
    pub due: Option<Timestamp>,
    /// When it ended, if it did.
    pub ended_at: Option<Timestamp>,
    /// Sends so far.
    pub sends: u32,
    /// Its last send, while that is kept.
    pub last: Option<LastAttempt>,
    /// How its endpoint stands, if that is stopped and it waits.
    pub held: Option<EndpointRow>,
    /// What the engine last saw of its endpoint, while it waits; absent in the sample of a job.
    pub live: Option<EndpointLive>,
}

impl DeliveryListed {
    /// Why it waits now, as [`DeliveryStory::why`] says it; `None` when it does not.
    pub fn why(&self, now: Timestamp) -> Option<Why> {
        let asked = WhyAsked {
            delivery: self.id,
            due: self.due?,
            sends: self.sends,
            is_delayed: self.sends == 0 && self.reason == delivery::DELAYED,
        };
        Some(super::why(asked, self.held.as_ref(), self.live.as_ref(), now))
    }
}

/// What the last send of a delivery came to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LastAttempt {
    /// When it began.
    pub at: Timestamp,
    /// `http_200`, `timeout`, ….
    pub outcome: String,
    /// HTTP status, if there was an answer.
    pub status: Option<u16>,
    /// How long it took, in microseconds.
    pub total_us: i64,
}

/// A page of deliveries.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct DeliveryPage {
    /// The newest first.
    pub items: Vec<DeliveryListed>,
    /// How many rows were looked at.
    pub rows: u32,
    /// Where the next page begins, unless there is none.
    pub next: Option<Id<kind::Delivery>>,
}

impl Ledger {
    /// The latest deliveries that fit, before an id (or all), the newest first. Looks at most at [`LIST_ROWS_MAX`]
    /// rows: a page can be short, or empty, and have a next one.
    pub async fn delivery_list(
        &self,
        ws: WorkspaceNo,
        filter: DeliveryFilter,
        before: Option<Id<kind::Delivery>>,
        limit: u32,
    ) -> Result<DeliveryPage, Error> {
        self.delivery_list_within(ws, filter, before, limit, LIST_ROWS_MAX).await
    }

    /// The same, looking at most at so many rows.
    pub async fn delivery_list_within(
        &self,
        ws: WorkspaceNo,
        filter: DeliveryFilter,
        before: Option<Id<kind::Delivery>>,
        limit: u32,
        rows_max: u32,
    ) -> Result<DeliveryPage, Error> {
        self.read(move |conn| {
            let scan = Scan {
                filter: &filter,
                order: Order::NewestFirst,
                after: before,
                below: None,
                matches_max: limit as usize,
                rows_max,
            };
            let found = scan.walk(conn, ws)?;
            let mut items = Vec::with_capacity(found.ids.len());
            for id in &found.ids {
                items.extend(listed(conn, ws, *id)?);
            }
            Ok(DeliveryPage { items, rows: found.rows, next: found.last.filter(|_| !found.is_end) })
        })
        .await
        .map(|mut page| {
            self.see(ws, page.items.iter_mut());
            page
        })
    }

    /// Deliveries as lists show them, in the order asked for.
    pub async fn delivery_listed(
        &self,
        ws: WorkspaceNo,
        ids: Vec<Id<kind::Delivery>>,
    ) -> Result<Vec<Option<DeliveryListed>>, Error> {
        let read = self.read(move |conn| ids.into_iter().map(|id| listed(conn, ws, id)).collect()).await;
        read.map(|mut listed: Vec<Option<DeliveryListed>>| {
            self.see(ws, listed.iter_mut().flatten());
            listed
        })
    }

    /// Adds what the engine last saw of the endpoints of what waits.
    pub(super) fn see<'a>(&self, ws: WorkspaceNo, listed: impl Iterator<Item = &'a mut DeliveryListed>) {
        let seen = self.live();
        for one in listed.filter(|one| one.due.is_some()) {
            one.live = seen.get(&(ws, one.endpoint)).cloned();
        }
    }

    /// One delivery with every send, by itself: also of a test, which tells of no event.
    pub async fn delivery_story(
        &self,
        ws: WorkspaceNo,
        id: Id<kind::Delivery>,
    ) -> Result<Option<DeliveryStory>, Error> {
        let read = self.read(move |conn| delivery::story(conn, ws.0, id)).await;
        read.map(|story| {
            story.map(|mut story| {
                if story.due.is_some() {
                    story.live = self.live().get(&(ws, story.endpoint)).cloned();
                }
                story
            })
        })
    }
}

/// A delivery as lists show it; `None` when it is not kept.
pub(super) fn listed(
    conn: &Connection,
    ws: WorkspaceNo,
    id: Id<kind::Delivery>,
) -> Result<Option<DeliveryListed>, Error> {
    let mut statement = conn.prepare_cached(sql("delivery_listed"))?;
    let mut rows = statement.query((ws.0, id.bytes().as_slice()))?;
    let Some(row) = rows.next()? else { return Ok(None) };
    let (event, fact, app): (Vec<u8>, Vec<u8>, Vec<u8>) = (row.get(0)?, row.get(1)?, row.get(4)?);
    let replay_of: Option<Vec<u8>> = row.get(7)?;
    let receiver = Endpoint::from_bytes(row.get(2)?, row.get(3)?);
    let finish: Option<(String, String, i64, u32)> = match row.get::<_, Option<String>>(8)? {
        Some(state) => Some((state, row.get(9)?, row.get(10)?, row.get(11)?)),
        None => None,
    };
    let waits: Option<(i64, u32, String)> = match row.get::<_, Option<i64>>(12)? {
        Some(due) => Some((due, row.get(13)?, row.get(14)?)),
        None => None,
    };
    let corrupt = |what: &str| Error::Corrupt {
        table: "delivery",
        column: "state",
        row: id.to_string(),
        what: what.to_owned(),
    };
    let mut held = None;
    let (state, reason, due, ended_at, sends) = match (finish, waits) {
        (Some((state, reason, at, sends)), _) => {
            let state = DeliveryState::parse(&state).ok_or_else(|| corrupt("ended in an unknown state"))?;
            (state, reason, None, Some(Timestamp::from_ms(at)), sends)
        }
        (None, Some((due, sends, reason))) => {
            held = endpoint::held(conn, ws, receiver)?;
            let state = if held.is_some() { DeliveryState::Held } else { DeliveryState::Scheduled };
            (state, reason, Some(Timestamp::from_ms(due)), None, sends)
        }
        (None, None) => return Err(corrupt("neither waiting nor finished")),
    };
    let last = conn
        .prepare_cached(sql("attempt_last"))?
        .query_row((ws.0, id.bytes().as_slice()), |row| {
            let at = Timestamp::from_ms(row.get(0)?);
            Ok(LastAttempt { at, outcome: row.get(1)?, status: row.get(2)?, total_us: row.get(3)? })
        })
        .optional()?;
    Ok(Some(DeliveryListed {
        id,
        event: id_from(&event, "delivery", "event")?,
        fact: id_from(&fact, "delivery", "fact")?,
        endpoint: receiver,
        app: id_from(&app, "delivery", "app")?,
        kind: row.get(5)?,
        created_at: Timestamp::from_ms(row.get(6)?),
        replay_of: replay_of.as_deref().and_then(Id::from_slice),
        state,
        reason,
        due,
        ended_at,
        sends,
        last,
        held,
        live: None,
    }))
}
