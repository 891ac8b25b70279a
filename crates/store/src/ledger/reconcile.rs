//! What a partner was told of each conversion, or why it was not: what a reconciliation compares with.
//!
//! Read in pages, each of its own read, bounded by the conversions that are looked at and not only by those that fit:
//! a partner with few conversions among millions of others never holds a reader for long. Not relied on for counting.

use roundtrip_domain::click_id::ClickId;
use roundtrip_domain::id::{Id, WorkspaceNo, kind};
use roundtrip_domain::postback::{MacroValue, Suppressed};
use roundtrip_domain::time::Timestamp;
use rusqlite::{Connection, OptionalExtension};

use super::ids::CLOCK_STEP_MAX_MS;
use super::revision::StoredDecision;
use super::statements::sql;
use super::{Ledger, event, id_from, rows};
use crate::Error;

/// Conversions that one page looks at, whether they fit or not.
const LOOKED_AT_MAX: u32 = 5_000;
/// How far the time inside an id may lie before its event arrived, in milliseconds. Behind it, ids stay in the newest one's
/// moment for a day at most when a clock steps back.
const SLACK_MS: i64 = 60_000;

/// Which conversions are wanted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FactsWanted {
    /// What this partner won or was told; `None`: all purchases, as the owner's own orders.
    pub partner: Option<Id<kind::Partner>>,
    /// Received not before.
    pub from: Timestamp,
    /// Received before.
    pub to: Timestamp,
}

/// A conversion, and what one partner was told of it.
#[derive(Debug, Clone)]
pub struct Fact {
    /// The event that made it; what receivers dedupe on.
    pub event: Id<kind::Event>,
    /// Its kind.
    pub kind: String,
    /// The event's name, as sent.
    pub name: String,
    /// `approved`, `pending` or `rejected`.
    pub status: String,
    /// `production` or `sandbox`.
    pub environment: String,
    /// When its event reached us.
    pub received_at: Timestamp,
    /// When it happened.
    pub occurred_at: Timestamp,
    /// Amount in millionths.
    pub amount_micros: Option<i64>,
    /// Its currency.
    pub currency: Option<String>,
    /// The shop's order id.
    pub order_id: Option<String>,
    /// Its sender's own id of it.
    pub source_event_id: Option<String>,
    /// Whether the partner has the credit.
    pub is_winner: bool,
    /// The winning click, if the partner has the credit.
    pub click: Option<ClickId>,
    /// The partner's id of it.
    pub partner_click_id: Option<String>,
    /// Why rules did not tell the partner, each reason once.
    pub suppressed: Vec<Suppressed>,
    /// What it is told, replays included, oldest first.
    pub deliveries: Vec<FactDelivery>,
    /// The values of the newest of them.
    pub values: Vec<MacroValue>,
}

/// A delivery to the partner.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FactDelivery {
    /// Its id.
    pub id: Id<kind::Delivery>,
    /// When it was planned.
    pub planned_at: Timestamp,
    /// The delivery that it replays.
    pub replay_of: Option<Id<kind::Delivery>>,
    /// `scheduled`, `delivered`, `dead`, ….
    pub state: String,
    /// Why it is in that state.
    pub reason: String,
    /// When it ended.
    pub ended_at: Option<Timestamp>,
}

/// A page of them, in the order in which conversions arrived.
#[derive(Debug, Clone)]
pub struct FactPage {
    /// Those that fit.
    pub facts: Vec<Fact>,
    /// Where the next page begins; `None` on the last one.
    pub next: Option<Id<kind::Event>>,
}

/// A conversion before it is known what anybody was told of it, and who has the credit.
struct Row {
    fact: Fact,
    partner: Option<[u8; 16]>,
}

impl Ledger {
    /// The facts that are wanted, after an event (or from the first on), at most `limit`.
    pub async fn facts(
        &self,
        ws: WorkspaceNo,
        wanted: FactsWanted,
        after: Option<Id<kind::Event>>,
        limit: u32,
    ) -> Result<FactPage, Error> {
        self.read(move |conn| {
            let first = Id::<kind::Event>::mint(wanted.from.plus_ms(-SLACK_MS), 0).bits();
            let last = Id::<kind::Event>::mint(wanted.to.plus_ms(CLOCK_STEP_MAX_MS), u128::MAX).bits();
            let after = after.map_or(first, |id| id.bits().max(first));
            let list = conversions(conn, ws, after.to_be_bytes(), last.to_be_bytes())?;
            let more = list.len() == LOOKED_AT_MAX as usize;
            let mut facts = Vec::new();
            let mut seen = None;
            for row in list {
                if facts.len() == limit as usize {
                    return Ok(FactPage { facts, next: seen });
                }
                seen = Some(row.fact.event);
                if !(wanted.from..wanted.to).contains(&row.fact.received_at) {
                    continue;
                }
                let is_order = row.fact.kind == "purchase" && row.fact.environment == "production";
                if wanted.partner.is_some() || is_order {
                    facts.extend(told_of(conn, ws, row, wanted.partner)?);
                }
            }
            Ok(FactPage { facts, next: seen.filter(|_| more) })
        })
        .await
    }

    /// What one partner was told of one event, whenever that was. `None` when the event makes no conversion, or none
    /// that is the partner's business.
    pub async fn fact(
        &self,
        ws: WorkspaceNo,
        partner: Id<kind::Partner>,
        id: Id<kind::Event>,
    ) -> Result<Option<Fact>, Error> {
        self.read(move |conn| {
            let before = (id.bits().saturating_sub(1)).to_be_bytes();
            let after = (id.bits().saturating_add(1)).to_be_bytes();
            match conversions(conn, ws, before, after)?.pop() {
                Some(row) => told_of(conn, ws, row, Some(partner)),
                None => Ok(None),
            }
        })
        .await
    }
}

fn conversions(
    conn: &Connection,
    ws: WorkspaceNo,
    after: [u8; 16],
    before: [u8; 16],
) -> Result<Vec<Row>, Error> {
    let mut statement = conn.prepare_cached(sql("fact_conversions"))?;
    let rows = statement.query_map((ws.0, after, before, LOOKED_AT_MAX), |row| {
        let fact = Fact {
            event: Id::from_bits(u128::from_be_bytes(row.get(0)?)),
            kind: row.get(1)?,
            name: row.get(2)?,
            status: row.get(3)?,
            environment: row.get(4)?,
            received_at: Timestamp::from_ms(row.get(5)?),
            occurred_at: Timestamp::from_ms(row.get(6)?),
            amount_micros: row.get(7)?,
            currency: row.get(8)?,
            order_id: None,
            source_event_id: None,
            is_winner: false,
            click: None,
            partner_click_id: None,
            suppressed: Vec::new(),
            deliveries: Vec::new(),
            values: Vec::new(),
        };
        Ok(Row { fact, partner: row.get(9)? })
    })?;
    Ok(rows.collect::<Result<_, _>>()?)
}

/// What a partner was told of a conversion; `None` when it is none of the partner's business.
fn told_of(
    conn: &Connection,
    ws: WorkspaceNo,
    row: Row,
    partner: Option<Id<kind::Partner>>,
) -> Result<Option<Fact>, Error> {
    let Row { mut fact, partner: winner } = row;
    let id = fact.event;
    fact.is_winner = partner.is_some_and(|partner| winner == Some(partner.bytes()));
    if let Some(partner) = partner {
        (fact.deliveries, fact.values) = told(conn, ws, id, partner)?;
        let mut statement = conn.prepare_cached(sql("told_list"))?;
        let mut rows = statement.query((ws.0, id.bytes().as_slice()))?;
        while let Some(row) = rows.next()? {
            let (of, reason): ([u8; 16], u8) = (row.get(1)?, row.get(2)?);
            if let Some(reason) = Suppressed::from_number(reason)
                && of == partner.bytes()
                && !fact.suppressed.contains(&reason)
            {
                fact.suppressed.push(reason);
            }
        }
        if !fact.is_winner && fact.deliveries.is_empty() {
            return Ok(None);
        }
    }
    if fact.is_winner {
        let stored = conn
            .prepare_cached(sql("decision_latest"))?
            .query_row((ws.0, id.bytes().as_slice()), StoredDecision::from_row)
            .optional()?;
        let credit = stored.map(|stored| stored.credit(id)).transpose()?.map(|(credit, _)| credit);
        if let Some(touch) = credit.as_ref().and_then(|credit| credit.winner()).map(|winner| &winner.touch) {
            fact.partner_click_id = touch.click.params().text("click_id");
            fact.click = Some(touch.id);
        }
    }
    if let Some(event) = event::get(conn, ws.0, &id.bytes())? {
        fact.order_id = match &event.postback {
            Some(postback) => postback.order_id.clone(),
            None => event.properties.as_deref().and_then(|properties| property(properties, "order_id")),
        };
        fact.source_event_id = event.source_event_id;
    }
    Ok(Some(fact))
}

/// A scalar of an event's properties, as text.
fn property(properties: &str, name: &str) -> Option<String> {
    match serde_json::from_str::<serde_json::Value>(properties).ok()?.get(name)? {
        serde_json::Value::String(text) => Some(text.clone()),
        serde_json::Value::Number(number) => Some(number.to_string()),
        _ => None,
    }
}

/// The partner's deliveries of an event, and what the newest of them says.
fn told(
    conn: &Connection,
    ws: WorkspaceNo,
    id: Id<kind::Event>,
    partner: Id<kind::Partner>,
) -> Result<(Vec<FactDelivery>, Vec<MacroValue>), Error> {
    let (mut deliveries, mut values) = (Vec::new(), Vec::new());
    let mut statement = conn.prepare_cached(sql("fact_deliveries"))?;
    let mut rows = statement.query((ws.0, id.bytes().as_slice(), partner.bytes().as_slice()))?;
    while let Some(row) = rows.next()? {
        let delivery: Vec<u8> = row.get(0)?;
        let delivery: Id<kind::Delivery> = id_from(&delivery, "delivery", "id")?;
        let (ended, waits): (Option<String>, Option<String>) = (row.get(4)?, row.get(6)?);
        let replay_of: Option<Vec<u8>> = row.get(2)?;
        values = rows::values_read(&delivery.to_string(), &row.get::<_, String>(7)?)?;
        deliveries.push(FactDelivery {
            id: delivery,
            planned_at: Timestamp::from_ms(row.get(1)?),
            replay_of: replay_of.as_deref().and_then(Id::from_slice),
            state: row.get::<_, Option<String>>(3)?.unwrap_or_else(|| "scheduled".to_owned()),
            reason: ended.or(waits).unwrap_or_default(),
            ended_at: row.get::<_, Option<i64>>(5)?.map(Timestamp::from_ms),
        });
    }
    Ok((deliveries, values))
}
