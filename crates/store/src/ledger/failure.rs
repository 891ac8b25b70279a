//! What people ask of an endpoint in trouble: which send failed last, since when none succeeded, how its own last days
//! went; and how much of a workspace waits.
//!
//! Read when somebody looks, from rows that stand there anyway: nothing is written for it while deliveries are sent.
//! The newest sends say it exactly for whoever was sent to lately; of an endpoint that is left in peace, the deliveries
//! that wait to be sent again and the newest that were given up say it. Not relied on: that a failure that is older
//! than all of these is found. Nothing is decided by it.

use std::collections::{BTreeMap, BTreeSet};

use roundtrip_domain::endpoint::Endpoint;
use roundtrip_domain::id::{Id, WorkspaceNo, kind};
use roundtrip_domain::time::Timestamp;
use rusqlite::{Connection, OptionalExtension};

use super::endpoint::{EndpointFigures, Trouble};
use super::filter::DeliveryFilter;
use super::statements::sql;
use super::{Ledger, id_from};
use crate::Error;

/// Newest sends that are looked at for all endpoints together, and for one.
const SENDS_MAX: u32 = 2_000;
const SENDS_OF_ONE_MAX: u32 = 10_000;
/// Newest undelivered ends that are looked at.
const ENDS_MAX: u32 = 2_000;
/// Deliveries at each end of an endpoint's retries whose last send is looked at.
const RETRIES: u32 = 8;
const RETRIES_OF_ONE: u32 = 200;

/// The last failure of an endpoint.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EndpointFailure {
    /// When that send began.
    pub at: Timestamp,
    /// Of which delivery.
    pub delivery: Id<kind::Delivery>,
    /// What it came to: `http_503`, `timeout`, ….
    pub outcome: String,
    /// The HTTP status, if there was an answer.
    pub status: Option<u16>,
    /// The first of the failures up to this one between which nothing arrived, as far as that was seen.
    pub from: Timestamp,
    /// Whether a later send arrived, or nothing that is looked at says that it goes on.
    pub is_over: bool,
    /// Its last trouble, as far as that was seen: sends that found it ill, and not those that it refused.
    pub trouble: Option<Trouble>,
}

/// What of a workspace waits.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Queued {
    /// Deliveries that wait, those outside the books among them.
    pub waiting: u64,
    /// Deliveries that are held, because their endpoint is paused or disabled.
    pub held: u64,
    /// How many of both are in no books: tests of endpoints, and what tells of sandbox events.
    pub unbooked: u64,
    /// When the first of those that wait is due; of what is held only where nothing waits.
    pub oldest: Option<Timestamp>,
}

type Found = BTreeMap<Endpoint, EndpointFailure>;

/// Whether a send found its receiver ill: no answer, 429 or 5xx; not a refusal, and not what kept us from sending.
fn is_trouble(outcome: &str) -> bool {
    match outcome.strip_prefix("http_") {
        Some(status) => status == "429" || status.starts_with('5'),
        None => {
            ["timeout", "connect", "connect_timeout", "dns", "tls", "reset", "protocol", "body_cut_short"]
                .contains(&outcome)
        }
    }
}

/// Whether the receiver answered.
fn is_answer(outcome: &str) -> bool {
    outcome.starts_with("http_") || outcome.starts_with("body_")
}

/// The two halves of an endpoint's key, to be bound; nothing where all are meant.
fn halves(one: Option<Endpoint>) -> (Option<[u8; 16]>, Option<[u8; 16]>) {
    one.map(|endpoint| (endpoint.teller(), endpoint.partner())).unzip()
}

/// Reads the newest sends, the newest first, as far as each endpoint needs: the failures, and at whom something arrived
/// lately.
fn by_sends(
    conn: &Connection,
    ws: WorkspaceNo,
    one: Option<Endpoint>,
) -> Result<(Found, BTreeSet<Endpoint>), Error> {
    /// How far an endpoint was read.
    #[derive(Default)]
    struct Seen {
        arrived: bool,
        /// Whether it answered, if only to refuse.
        is_reached: bool,
        failure: Option<EndpointFailure>,
        trouble: Option<Trouble>,
        /// Whether what was sent before its last failures arrived, and before its last trouble reached it.
        is_failure_done: bool,
        is_trouble_done: bool,
    }
    let (teller, partner) = halves(one);
    let bound = if one.is_some() { SENDS_OF_ONE_MAX } else { SENDS_MAX };
    let mut statement = conn.prepare_cached(sql("failure_sends"))?;
    let mut rows = statement.query((ws.0, bound, teller, partner))?;
    let mut all: BTreeMap<Endpoint, Seen> = BTreeMap::new();
    while let Some(row) = rows.next()? {
        let seen = all.entry(Endpoint::from_bytes(row.get(5)?, row.get(6)?)).or_default();
        if seen.is_failure_done && seen.is_trouble_done {
            continue;
        }
        let (arrived, at): (bool, i64) = (row.get(4)?, row.get(1)?);
        let (outcome, at): (String, _) = (row.get(2)?, Timestamp::from_ms(at));
        match seen.trouble.as_mut() {
            Some(trouble) if is_trouble(&outcome) && !seen.is_trouble_done => {
                trouble.from = trouble.from.min(at);
            }
            None if is_trouble(&outcome) => {
                seen.trouble = Some(Trouble { from: at, is_over: seen.is_reached });
            }
            Some(_) if is_answer(&outcome) => seen.is_trouble_done = true,
            _ => {}
        }
        seen.is_reached |= is_answer(&outcome) && !is_trouble(&outcome);
        match (arrived, seen.failure.as_mut()) {
            (true, Some(_)) => seen.is_failure_done = true,
            (true, None) => seen.arrived = true,
            (false, Some(failure)) if !seen.is_failure_done => failure.from = failure.from.min(at),
            (false, Some(_)) => {}
            (false, None) => {
                let delivery: Vec<u8> = row.get(0)?;
                seen.failure = Some(EndpointFailure {
                    at,
                    delivery: id_from(&delivery, "attempt", "delivery")?,
                    outcome,
                    status: row.get(3)?,
                    from: at,
                    is_over: seen.arrived,
                    trouble: None,
                });
            }
        }
    }
    let (mut found, mut arrived) = (Found::new(), BTreeSet::new());
    for (endpoint, seen) in all {
        if seen.arrived {
            arrived.insert(endpoint);
        }
        if let Some(failure) = seen.failure {
            found.insert(endpoint, EndpointFailure { trouble: seen.trouble, ..failure });
        }
    }
    Ok((found, arrived))
}

/// The last send of a delivery that did not arrive; `None` when it is no longer kept.
fn last_send(
    conn: &Connection,
    ws: WorkspaceNo,
    delivery: Id<kind::Delivery>,
) -> Result<Option<EndpointFailure>, Error> {
    let last = conn
        .prepare_cached(sql("attempt_last"))?
        .query_row((ws.0, delivery.bytes().as_slice()), |row| {
            let at = Timestamp::from_ms(row.get(0)?);
            let (outcome, status): (String, _) = (row.get(1)?, row.get(2)?);
            let trouble = is_trouble(&outcome).then_some(Trouble { from: at, is_over: false });
            Ok(EndpointFailure { at, delivery, outcome, status, from: at, is_over: false, trouble })
        })
        .optional()?;
    Ok(last)
}

/// Takes the later of two, with the time since when both say that it goes on.
fn later(found: &mut Found, endpoint: Endpoint, failure: EndpointFailure) {
    let Some(known) = found.get_mut(&endpoint) else {
        found.insert(endpoint, failure);
        return;
    };
    let earlier = |a: Option<Trouble>, b: Option<Trouble>| match (a, b) {
        (Some(a), Some(b)) => Some(Trouble { from: a.from.min(b.from), is_over: a.is_over && b.is_over }),
        (a, b) => a.or(b),
    };
    let (from, is_over) = (known.from.min(failure.from), known.is_over && failure.is_over);
    let trouble = earlier(known.trouble, failure.trouble);
    let last = if known.at >= failure.at { known.clone() } else { failure };
    *known = EndpointFailure { from, is_over, trouble, ..last };
}

fn failures(conn: &Connection, ws: WorkspaceNo, one: Option<Endpoint>) -> Result<Found, Error> {
    let (mut found, arrived) = by_sends(conn, ws, one)?;
    let (teller, partner) = halves(one);
    let mut older = Found::new();
    let mut retrying = conn.prepare_cached(sql("failure_retrying"))?;
    let mut rows = retrying.query((ws.0, teller, partner))?;
    let lane = if one.is_some() { RETRIES_OF_ONE } else { RETRIES };
    while let Some(row) = rows.next()? {
        let (teller, partner): ([u8; 16], [u8; 16]) = (row.get(0)?, row.get(1)?);
        let endpoint = Endpoint::from_bytes(teller, partner);
        if found.contains_key(&endpoint) {
            continue;
        }
        for statement in [sql("failure_retries"), sql("failure_retries_last")] {
            let mut waiting = conn.prepare_cached(statement)?;
            let mut waiting = waiting.query((ws.0, teller, partner, lane))?;
            while let Some(row) = waiting.next()? {
                let id: Vec<u8> = row.get(0)?;
                let failure = last_send(conn, ws, id_from(&id, "queue", "delivery")?)?;
                if let Some(failure) = failure {
                    let is_over = arrived.contains(&endpoint);
                    let trouble = failure.trouble.map(|trouble| Trouble { is_over, ..trouble });
                    later(&mut older, endpoint, EndpointFailure { is_over, trouble, ..failure });
                }
            }
        }
    }
    let mut ends = conn.prepare_cached(sql("failure_ends"))?;
    let mut rows = ends.query((ws.0, ENDS_MAX, teller, partner))?;
    while let Some(row) = rows.next()? {
        let endpoint = Endpoint::from_bytes(row.get(0)?, row.get(1)?);
        if found.contains_key(&endpoint) {
            continue;
        }
        let id: Vec<u8> = row.get(2)?;
        if let Some(failure) = last_send(conn, ws, id_from(&id, "finish", "delivery")?)? {
            // That a delivery was given up once is no trouble of now.
            later(&mut older, endpoint, EndpointFailure { is_over: true, trouble: None, ..failure });
        }
    }
    found.append(&mut older);
    Ok(found)
}

impl Ledger {
    /// The last failure of every endpoint of a workspace that is known to have had one, or of one alone. Looks at a
    /// bounded number of the newest sends, retries and ends.
    pub async fn endpoint_failures(
        &self,
        ws: WorkspaceNo,
        one: Option<Endpoint>,
    ) -> Result<BTreeMap<Endpoint, EndpointFailure>, Error> {
        self.read(move |conn| failures(conn, ws, one)).await
    }

    /// What [`Self::endpoint_figures`] counts, of one endpoint alone: of the newest `rows_max` deliveries of its
    /// workspace that were planned since, only its own are looked up.
    pub async fn endpoint_figures_of(
        &self,
        ws: WorkspaceNo,
        endpoint: Endpoint,
        since: Timestamp,
        rows_max: u32,
    ) -> Result<EndpointFigures, Error> {
        let (low, _) = DeliveryFilter { from: Some(since), ..DeliveryFilter::default() }.range();
        let low = low.to_be_bytes();
        self.read(move |conn| {
            let mut figures = EndpointFigures::default();
            let mut statement = conn.prepare_cached(sql("failure_figures"))?;
            let mut rows = statement.query((ws.0, low, rows_max, endpoint.teller(), endpoint.partner()))?;
            while let Some(row) = rows.next()? {
                let (state, n): (String, u64) = (row.get(0)?, row.get(1)?);
                figures.ended.entry(endpoint).or_default().insert(state, n);
            }
            let last: Option<i64> = conn
                .prepare_cached(sql("failure_figures_cut"))?
                .query_row((ws.0, low, rows_max.saturating_sub(1)), |row| row.get(0))
                .optional()?;
            figures.cut_at = last.map(Timestamp::from_ms);
            if figures.cut_at.is_some() {
                figures.rows = rows_max;
            }
            Ok(figures)
        })
        .await
    }

    /// How much of a workspace waits and is held, or of what a partner of it is told.
    pub async fn queued(&self, ws: WorkspaceNo, partner: Option<Id<kind::Partner>>) -> Result<Queued, Error> {
        let partner = partner.map(Id::bytes);
        self.read(move |conn| {
            let mut queued = Queued::default();
            let mut oldest_held = None;
            let mut statement = conn.prepare_cached(sql("queued_of"))?;
            let mut rows = statement.query((ws.0, partner))?;
            while let Some(row) = rows.next()? {
                let (is_held, n): (bool, u64) = (row.get(0)?, row.get(1)?);
                let (first, retry): (Option<i64>, Option<i64>) = (row.get(2)?, row.get(3)?);
                let oldest = first.into_iter().chain(retry).min().map(Timestamp::from_ms);
                match is_held {
                    true => (queued.held, oldest_held) = (n, oldest),
                    false => (queued.waiting, queued.oldest) = (n, oldest),
                }
            }
            queued.oldest = queued.oldest.or(oldest_held);
            let booked: u64 =
                conn.prepare_cached(sql("queued_booked"))?.query_row((ws.0, partner), |row| row.get(0))?;
            queued.unbooked = (queued.waiting + queued.held).saturating_sub(booked);
            Ok(queued)
        })
        .await
    }
}
