//! Which deliveries are meant: what a list shows, and what a job replays or cancels.
//!
//! The cast: [`DeliveryFilter`] is what a caller asks for; `Scan` walks the deliveries that it can mean, in the order
//! of their ids, which is that of their planning, within a number of rows. The way it walks follows from the
//! filter: of one event by its index, of what waits by the queue, of what ended undelivered by the index of those
//! ends, else all. Conditions that no index serves are judged row by row, and the rows looked at are counted, so that
//! a filter that fits nothing costs a bounded piece of work and says so.
//!
//! The builder only ever binds values. Not relied on: that a row that fitted fits still; whoever acts on it asks again
//! in the transaction that acts.

use roundtrip_domain::id::{Id, WorkspaceNo, kind};
use roundtrip_domain::time::Timestamp;
use rusqlite::Connection;
use rusqlite::types::Value;

use super::ids::CLOCK_STEP_MAX_MS;
use super::{delivery, id_from};
use crate::Error;

/// How a delivery stands, in lists, filters and stories.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum DeliveryState {
    /// It waits for a send.
    Scheduled,
    /// It waits until its endpoint, which is paused or disabled, is told again.
    Held,
    /// The receiver has it.
    Delivered,
    /// Given up.
    Dead,
    /// It was not delivered while it was of use.
    Expired,
    /// It ended before it arrived, by a decision or by its owner.
    Cancelled,
}

impl DeliveryState {
    /// All of them.
    pub const ALL: [Self; 6] =
        [Self::Scheduled, Self::Held, Self::Delivered, Self::Dead, Self::Expired, Self::Cancelled];

    /// Its word in filters and lists.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Scheduled => "scheduled",
            Self::Held => "held",
            Self::Delivered => "delivered",
            Self::Dead => "dead",
            Self::Expired => "expired",
            Self::Cancelled => "cancelled",
        }
    }

    /// Reads [`Self::name`].
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|state| state.name() == text)
    }

    /// Whether a delivery in it still waits.
    pub const fn is_waiting(self) -> bool {
        matches!(self, Self::Scheduled | Self::Held)
    }

    /// Whether a delivery in it ended without arriving.
    pub const fn is_undelivered(self) -> bool {
        matches!(self, Self::Dead | Self::Expired | Self::Cancelled)
    }
}

/// Which deliveries are meant. What is `None` or empty matches all.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct DeliveryFilter {
    /// Told by that rule.
    pub rule: Option<Id<kind::Rule>>,
    /// Told to that webhook.
    pub webhook: Option<Id<kind::Webhook>>,
    /// Told to that partner.
    pub partner: Option<Id<kind::Partner>>,
    /// Of that app.
    pub app: Option<Id<kind::App>>,
    /// Of one of those conversion kinds, or of kinds of webhook facts.
    pub kinds: Vec<String>,
    /// About that event.
    pub event: Option<Id<kind::Event>>,
    /// Telling that fact: what receivers see as the event id. For a postback it is its event.
    pub fact: Option<Id<kind::Event>>,
    /// In one of those states.
    pub states: Vec<DeliveryState>,
    /// Whose last send came to that: `http_404`, `timeout`, ….
    pub outcome: Option<String>,
    /// Planned then or later.
    pub from: Option<Timestamp>,
    /// Planned before then.
    pub until: Option<Timestamp>,
    /// Not over before then: it waits, or ended then or later.
    pub ended_from: Option<Timestamp>,
}

impl DeliveryFilter {
    /// Whether every condition is met by an index and the order of ids alone. If not, rows are looked at one by one.
    pub fn is_indexed(&self) -> bool {
        self.conditions(&mut Vec::new()).is_empty()
    }

    /// The lowest id that can be meant, and the lowest above all that can.
    pub(super) fn range(&self) -> (u128, u128) {
        let bound = |at: Timestamp| Id::<kind::Delivery>::mint(at, 0).bits() & !0xffff_ffff_ffff_ffff_ffff;
        // Nothing is told of a fact before it is one, by a clock that may have stepped back since.
        let fact = self.fact.map(|fact| fact.minted_at().plus_ms(-CLOCK_STEP_MAX_MS));
        (self.from.max(fact).map_or(0, bound), self.until.map_or(u128::MAX, bound))
    }

    /// From where rows are taken, in the order of `q`, `f` and `d`.
    fn source(&self) -> Source {
        let has = |is: fn(DeliveryState) -> bool| {
            !self.states.is_empty() && self.states.iter().all(|state| is(*state))
        };
        if self.event.is_some() {
            Source::Event
        } else if has(DeliveryState::is_waiting) {
            Source::Queue
        } else if has(DeliveryState::is_undelivered) {
            Source::Undelivered
        } else {
            Source::All
        }
    }

    /// The conditions that are judged row by row. Pushes what they bind.
    fn conditions(&self, bound: &mut Vec<Value>) -> Vec<String> {
        let mut all = Vec::new();
        let mut bind = |value: Value| {
            bound.push(value);
            format!("?{}", bound.len() + BOUND_BEFORE)
        };
        let blob = |bytes: [u8; 16]| Value::Blob(bytes.to_vec());
        if let Some(rule) = self.rule {
            all.push(format!("d.teller = {} AND d.partner <> zeroblob(16)", bind(blob(rule.bytes()))));
        }
        if let Some(webhook) = self.webhook {
            all.push(format!("d.teller = {} AND d.partner = zeroblob(16)", bind(blob(webhook.bytes()))));
        }
        if let Some(partner) = self.partner {
            all.push(format!("d.partner = {}", bind(blob(partner.bytes()))));
        }
        if let Some(app) = self.app {
            all.push(format!("d.app = {}", bind(blob(app.bytes()))));
        }
        let fact = self.fact.map(|fact| format!("d.fact = {}", bind(blob(fact.bytes()))));
        let mut any_of = |what: &str, names: Vec<String>| {
            let names: Vec<String> = names.into_iter().map(|name| bind(Value::Text(name))).collect();
            format!("{what} IN ({})", names.join(", "))
        };
        if let Some(fact) = fact {
            all.push(fact);
        }
        if !self.kinds.is_empty() {
            all.push(any_of("d.kind", self.kinds.clone()));
        }
        let names = || self.states.iter().map(|state| state.name().to_owned()).collect::<Vec<_>>();
        let is_all_of = |wanted: &[DeliveryState]| wanted.iter().all(|state| self.states.contains(state));
        match self.source() {
            Source::Queue if is_all_of(&[DeliveryState::Scheduled, DeliveryState::Held]) => {}
            Source::Undelivered
                if is_all_of(&[DeliveryState::Dead, DeliveryState::Expired, DeliveryState::Cancelled]) => {}
            _ if self.states.is_empty() => {}
            Source::Queue => all.push(any_of(WAITING_STATE, names())),
            Source::Undelivered => all.push(any_of("f.state", names())),
            Source::Event | Source::All => {
                all.push(any_of(&format!("coalesce(f.state, {WAITING_STATE})"), names()));
            }
        }
        if let Some(from) = self.ended_from {
            bound.push(Value::Integer(from.ms()));
            let from = format!("?{}", bound.len() + BOUND_BEFORE);
            match self.source() {
                // What waits has not ended.
                Source::Queue => {
                    bound.pop();
                }
                Source::Undelivered => all.push(format!("f.at >= {from}")),
                Source::Event | Source::All => all.push(format!("(f.at IS NULL OR f.at >= {from})")),
            }
        }
        if let Some(outcome) = &self.outcome {
            bound.push(Value::Text(outcome.clone()));
            let outcome = format!("?{}", bound.len() + BOUND_BEFORE);
            all.push(format!(
                "(SELECT a.outcome FROM attempt a WHERE a.workspace = d.workspace AND a.delivery = d.id \
                 ORDER BY a.n DESC LIMIT 1) = {outcome}"
            ));
        }
        all
    }
}

/// What a row of the queue is: held while its endpoint is paused or disabled (any state but 0), else scheduled.
const WAITING_STATE: &str = "CASE WHEN q.sends IS NULL THEN NULL \
    WHEN EXISTS (SELECT 1 FROM endpoint e WHERE e.workspace = d.workspace AND e.teller = d.teller \
    AND e.partner = d.partner AND e.state <> 0) THEN 'held' ELSE 'scheduled' END";
/// Values that every scan binds: the workspace, the ids between which it walks, and the most rows.
const BOUND_BEFORE: usize = 4;

/// Where rows are taken from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Source {
    /// The deliveries of one event, by index.
    Event,
    /// What waits.
    Queue,
    /// What ended undelivered.
    Undelivered,
    /// All deliveries.
    All,
}

impl Source {
    /// The column of the delivery's id in the table that is walked.
    const fn id(self) -> &'static str {
        match self {
            Self::Event | Self::All => "d.id",
            Self::Queue => "q.delivery",
            Self::Undelivered => "f.delivery",
        }
    }

    /// Its statement from the tables on.
    const fn text(self) -> &'static str {
        match self {
            Self::Event => {
                "delivery d INDEXED BY delivery_by_event \
                 LEFT JOIN finish f ON f.workspace = d.workspace AND f.delivery = d.id \
                 LEFT JOIN queue q ON q.workspace = d.workspace AND q.delivery = d.id \
                 WHERE d.workspace = ?1 AND d.id >= ?2 AND d.id < ?3 AND d.event = ?5 ORDER BY {id} {order} LIMIT ?4"
            }
            Self::All => {
                "delivery d LEFT JOIN finish f ON f.workspace = d.workspace AND f.delivery = d.id \
                 LEFT JOIN queue q ON q.workspace = d.workspace AND q.delivery = d.id \
                 WHERE d.workspace = ?1 AND d.id >= ?2 AND d.id < ?3 ORDER BY {id} {order} LIMIT ?4"
            }
            Self::Queue => {
                "queue q INDEXED BY queue_by_delivery \
                 CROSS JOIN delivery d ON d.workspace = q.workspace AND d.id = q.delivery \
                 WHERE q.workspace = ?1 AND q.delivery >= ?2 AND q.delivery < ?3 ORDER BY {id} {order} LIMIT ?4"
            }
            // The partial index is taken only where its own condition stands in the text.
            Self::Undelivered => {
                "finish f INDEXED BY finish_undelivered \
                 CROSS JOIN delivery d ON d.workspace = f.workspace AND d.id = f.delivery \
                 WHERE f.workspace = ?1 AND f.delivery >= ?2 AND f.delivery < ?3 AND f.state <> 'delivered' \
                 ORDER BY {id} {order} LIMIT ?4"
            }
        }
    }
}

/// In which order rows are walked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Order {
    /// For people who look.
    NewestFirst,
    /// For jobs: the receiver hears things in the order in which they were planned.
    OldestFirst,
}

/// A walk.
#[derive(Debug, Clone, Copy)]
pub(super) struct Scan<'a> {
    pub(super) filter: &'a DeliveryFilter,
    pub(super) order: Order,
    /// Where the walk before this one ended.
    pub(super) after: Option<Id<kind::Delivery>>,
    /// Nothing from this id on is meant.
    pub(super) below: Option<Id<kind::Delivery>>,
    /// Ends when so many fit.
    pub(super) matches_max: usize,
    /// Ends when so many rows were looked at.
    pub(super) rows_max: u32,
}

/// What a walk came to.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Scanned {
    /// Those that fit, in order.
    pub(super) ids: Vec<Id<kind::Delivery>>,
    /// How many rows were looked at.
    pub(super) rows: u32,
    /// The last row that was looked at: where the next walk goes on.
    pub(super) last: Option<Id<kind::Delivery>>,
    /// Whether there is nothing behind it.
    pub(super) is_end: bool,
}

impl Scan<'_> {
    /// Walks.
    pub(super) fn walk(&self, conn: &Connection, ws: WorkspaceNo) -> Result<Scanned, Error> {
        let (mut low, mut high) = self.filter.range();
        if let Some(below) = self.below {
            high = high.min(below.bits());
        }
        match (self.order, self.after) {
            (_, None) => {}
            (Order::NewestFirst, Some(after)) => high = high.min(after.bits()),
            (Order::OldestFirst, Some(after)) => low = low.max(after.bits().saturating_add(1)),
        }
        let event = self.filter.event.map(|event| Value::Blob(event.bytes().to_vec()));
        let mut bound: Vec<Value> = event.into_iter().collect();
        let conditions = self.filter.conditions(&mut bound);
        let is_match = if conditions.is_empty() { "1".to_owned() } else { conditions.join(" AND ") };
        let text = format!("SELECT {{id}}, ({is_match}) FROM {}", self.filter.source().text());
        let text = text.replace("{order}", if self.order == Order::NewestFirst { "DESC" } else { "ASC" });
        let text = text.replace("{id}", self.filter.source().id());
        let mut all: Vec<Value> = vec![
            i64::from(ws.0).into(),
            low.to_be_bytes().to_vec().into(),
            high.to_be_bytes().to_vec().into(),
            i64::from(self.rows_max).into(),
        ];
        all.extend(bound);
        let mut statement = conn.prepare_cached(&text)?;
        let mut rows = statement.query(rusqlite::params_from_iter(all))?;
        let mut found = Scanned::default();
        while let Some(row) = rows.next()? {
            let bytes: Vec<u8> = row.get(0)?;
            let id = id_from(&bytes, "delivery", "id")?;
            found.rows += 1;
            found.last = Some(id);
            if row.get::<_, Option<bool>>(1)? == Some(true) {
                found.ids.push(id);
                if found.ids.len() >= self.matches_max {
                    return Ok(found);
                }
            }
        }
        found.is_end = found.rows < self.rows_max;
        Ok(found)
    }
}

/// Whether one delivery fits a filter, now. Its place in the order of ids is judged too.
pub(super) fn fits(
    conn: &Connection,
    ws: WorkspaceNo,
    filter: &DeliveryFilter,
    id: Id<kind::Delivery>,
) -> Result<bool, Error> {
    let Some(row) = delivery::row(conn, ws.0, id)? else { return Ok(false) };
    let mut of_event = filter.clone();
    if filter.event.is_some_and(|event| event != row.event) {
        return Ok(false);
    }
    of_event.event = Some(row.event);
    let before = Id::from_bits(id.bits().saturating_sub(1));
    let scan = Scan {
        filter: &of_event,
        order: Order::OldestFirst,
        after: Some(before),
        below: Some(Id::from_bits(id.bits().saturating_add(1))),
        matches_max: 1,
        rows_max: 1,
    };
    Ok(scan.walk(conn, ws)?.ids.first() == Some(&id))
}
