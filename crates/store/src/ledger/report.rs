//! Counts for people, and the books.
//!
//! Reports come from rollups. The books are counted twice: [`Ledger::balance`] from rollups and the queue,
//! [`Ledger::recount`] from the rows; a difference is a bug and is shown as one.

use std::collections::BTreeMap;
use std::ops::Range;

use roundtrip_domain::endpoint::{Endpoint, NotAllowed};
use roundtrip_domain::histogram::{self, Histogram};
use roundtrip_domain::id::{Id, WorkspaceNo, kind};
use roundtrip_domain::location::Country;
use roundtrip_domain::postback::Suppressed;
use roundtrip_domain::time::Timestamp;
use rusqlite::{Connection, OptionalExtension};

use super::rollup::{BUCKET_MS, DAY_MS, Metric, Status};
use super::statements::sql;
use super::{Ledger, id_from};
use crate::Error;

/// A count of one 15-minute bucket.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReportRow {
    /// The bucket's start.
    pub bucket: Timestamp,
    /// The app.
    pub app: Id<kind::App>,
    /// The partner with the credit, or who is told; `None`: nobody. Of a webhook's metrics, the webhook's id.
    pub partner: Option<Id<kind::Partner>>,
    /// The campaign.
    pub campaign: Option<Id<kind::Campaign>>,
    /// The link.
    pub link: Option<Id<kind::Link>>,
    /// The country, in rows of [`Ledger::report_by_country`] that are about one.
    pub country: Option<Country>,
    /// What is counted.
    pub metric: Metric,
    /// Of what kind; see [`Metric`].
    pub kind: String,
    /// What it is worth, if it is about conversions.
    pub status: Status,
    /// Currency of `micros`, else empty.
    pub currency: String,
    /// How many.
    pub count: i64,
    /// How much, in millionths.
    pub micros: i64,
}

/// The books of one partner, kind and day.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct BalanceRow {
    /// Conversions, whatever their status, for who has the credit now.
    pub conversions: i64,
    /// Rules considered.
    pub considered: i64,
    /// Deliveries planned.
    pub planned: i64,
    /// Deliveries made by replays.
    pub replayed: i64,
    /// Rules that did not fire, by reason.
    pub suppressed: BTreeMap<String, i64>,
    /// Deliveries that ended, by state.
    pub finished: BTreeMap<String, i64>,
    /// Deliveries that wait and may be sent when they are due.
    pub waiting: i64,
    /// Deliveries that wait because their endpoint is paused or disabled.
    pub held: i64,
    /// When the oldest of those that wait or are held was planned, as far as it was found.
    pub oldest: Option<Timestamp>,
    /// Sends, by outcome. Counted as long as their evidence is kept, when counted from the rows.
    pub sends: BTreeMap<String, i64>,
    /// How long sends took, in microseconds.
    pub send_time: Histogram,
    /// From planning to arrival, in milliseconds, of what was delivered.
    pub latency: Histogram,
}

/// How many of a thousand deliveries that ended had arrived, rounded down; `None` while none ended. What was cancelled is
/// left out: it was not to arrive any more. `ended` counts by state.
pub fn success_permille<'a>(ended: impl IntoIterator<Item = (&'a str, u64)>) -> Option<u64> {
    let (mut delivered, mut all) = (0_u64, 0_u64);
    for (state, n) in ended.into_iter().filter(|(state, _)| *state != "cancelled") {
        all = all.saturating_add(n);
        if state == "delivered" {
            delivered = delivered.saturating_add(n);
        }
    }
    u64::try_from(u128::from(delivered) * 1_000 / u128::from(std::num::NonZeroU64::new(all)?.get())).ok()
}

impl BalanceRow {
    /// What does not add up: considered − planned − suppressed, and planned + replayed − finished − waiting − held.
    /// Zeros unless there is a bug.
    pub fn differences(&self) -> (i64, i64) {
        (
            self.considered - self.planned - self.suppressed.values().sum::<i64>(),
            self.planned + self.replayed - self.finished.values().sum::<i64>() - self.waiting - self.held,
        )
    }

    fn send(&mut self, outcome: &str, bucket: u16, n: i64) {
        *self.sends.entry(outcome.to_owned()).or_default() += n;
        // What was not allowed took no time: nothing was sent.
        if NotAllowed::parse(outcome).is_none() {
            self.send_time.add(bucket, n);
        }
    }

    fn wait(&mut self, waiting: &Queued) {
        self.waiting = waiting.count;
        self.held = waiting.held;
        self.oldest = waiting.oldest;
    }
}

/// What waits of one row of the books.
#[derive(Debug, Default)]
struct Queued {
    count: i64,
    held: i64,
    oldest: Option<Timestamp>,
}

/// Who is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Receiver {
    /// A rule tells whoever won, and nobody did.
    Nobody,
    /// A partner.
    Partner(Id<kind::Partner>),
    /// A webhook of the owner's.
    Webhook(Id<kind::Webhook>),
}

impl Receiver {
    /// Of a partner's bytes, zeros for none.
    fn of_partner(bytes: [u8; 16]) -> Self {
        some_id(bytes).map_or(Self::Nobody, Self::Partner)
    }

    /// Of a delivery's teller and partner.
    fn of_delivery(teller: [u8; 16], partner: [u8; 16]) -> Self {
        match Endpoint::from_bytes(teller, partner) {
            Endpoint::Postback { partner, .. } => Self::Partner(partner),
            Endpoint::Webhook(webhook) => Self::Webhook(webhook),
        }
    }
}

/// Key of the books: start of the day (UTC), who is told, kind of conversion or, for webhooks, of fact.
pub type BalanceKey = (Timestamp, Receiver, String);

/// The books, counted anew from the rows.
pub type Recount = BTreeMap<BalanceKey, BalanceRow>;

fn some_id<K>(bytes: [u8; 16]) -> Option<Id<K>> {
    (bytes != [0; 16]).then(|| Id::from_bits(u128::from_be_bytes(bytes)))
}

impl Ledger {
    /// Of each app with conversions since `from`, the end of the quarter of an hour in which the last of them reached
    /// us: nobody is called silent who may have spoken in it. Reads all counts since then.
    pub async fn last_conversions(
        &self,
        ws: WorkspaceNo,
        from: Timestamp,
    ) -> Result<BTreeMap<Id<kind::App>, Timestamp>, Error> {
        self.read(move |conn| {
            let mut statement = conn.prepare_cached(sql("rollup_last"))?;
            let mut rows =
                statement.query((ws.0, from.floor_to(BUCKET_MS).ms(), Metric::Conversion as u8))?;
            let mut last = BTreeMap::new();
            while let Some(row) = rows.next()? {
                let app: Vec<u8> = row.get(0)?;
                last.insert(
                    id_from(&app, "rollup", "app")?,
                    Timestamp::from_ms(row.get(1)?).plus_ms(BUCKET_MS),
                );
            }
            Ok(last)
        })
        .await
    }

    /// How many sends of each workspace have ended that began on the day (UTC) of a moment, whatever they came to.
    pub async fn sends_of_day(&self, at: Timestamp) -> Result<BTreeMap<WorkspaceNo, u64>, Error> {
        let catalog = self.catalog();
        self.read(move |conn| {
            let mut statement = conn.prepare_cached(sql("send_count_get"))?;
            let mut sends = BTreeMap::new();
            for settings in catalog.workspaces() {
                let day = at.floor_to(DAY_MS).ms();
                let n = statement.query_row((settings.workspace.0, day), |row| row.get(0)).optional()?;
                sends.extend(n.map(|n: u64| (settings.workspace, n)));
            }
            Ok(sends)
        })
        .await
    }

    /// The counts of whole buckets in `from..to`.
    pub async fn report(
        &self,
        ws: WorkspaceNo,
        from: Timestamp,
        to: Timestamp,
    ) -> Result<Vec<ReportRow>, Error> {
        self.read(move |conn| counts(conn, sql("rollup_range"), ws, from, to)).await
    }

    /// The same, and beside it once more what has a country, by country: those rows name one, and neither campaign
    /// nor link. Both are of one moment, so that what has no country is the difference.
    pub async fn report_by_country(
        &self,
        ws: WorkspaceNo,
        from: Timestamp,
        to: Timestamp,
    ) -> Result<Vec<ReportRow>, Error> {
        self.read(move |conn| counts(conn, sql("rollup_country_range"), ws, from, to)).await
    }

    /// The books of whole days in `from..to`: from rollups, and what waits from the queue itself while no more than
    /// [`BALANCE_WALK_MAX`] wait, else from counts that are kept.
    pub async fn balance(&self, ws: WorkspaceNo, from: Timestamp, to: Timestamp) -> Result<Recount, Error> {
        self.balance_within(ws, from, to, BALANCE_WALK_MAX).await
    }

    /// The same, looking at so many rows of the queue at most.
    pub async fn balance_within(
        &self,
        ws: WorkspaceNo,
        from: Timestamp,
        to: Timestamp,
        rows_max: u32,
    ) -> Result<Recount, Error> {
        let days = from.floor_to(DAY_MS)..to;
        let (report, waiting) = self
            .read(move |conn| {
                let report = counts(conn, sql("rollup_range"), ws, days.start, to)?;
                let queued: u64 =
                    conn.prepare_cached(sql("queue_count_of"))?.query_row([ws.0], |row| row.get(0))?;
                let waiting = match queued <= u64::from(rows_max) {
                    true => walked(conn, ws, &days)?,
                    false => counted(conn, ws, &days, rows_max)?,
                };
                Ok((report, waiting))
            })
            .await?;
        let mut books = Recount::new();
        for row in report {
            let (kind, detail) = row.kind.split_once(':').unwrap_or((&row.kind, ""));
            let receiver = match row.metric {
                Metric::WebhookPlanned
                | Metric::WebhookReplayed
                | Metric::WebhookFinished
                | Metric::WebhookSent
                | Metric::WebhookLatency => {
                    row.partner.map_or(Receiver::Nobody, |id| Receiver::Webhook(Id::from_bits(id.bits())))
                }
                _ => row.partner.map_or(Receiver::Nobody, Receiver::Partner),
            };
            let key = (row.bucket.floor_to(DAY_MS), receiver, kind.to_owned());
            let entry =
                |books: &mut Recount, f: &dyn Fn(&mut BalanceRow)| f(books.entry(key.clone()).or_default());
            match row.metric {
                Metric::Considered => entry(&mut books, &|b| b.considered += row.count),
                Metric::Planned => entry(&mut books, &|b| b.planned += row.count),
                // Whatever a webhook asks for is planned: nothing is suppressed.
                Metric::WebhookPlanned => entry(&mut books, &|b| {
                    b.considered += row.count;
                    b.planned += row.count;
                }),
                Metric::Replayed | Metric::WebhookReplayed => {
                    entry(&mut books, &|b| b.replayed += row.count);
                }
                Metric::Suppressed => {
                    entry(&mut books, &|b| *b.suppressed.entry(detail.to_owned()).or_default() += row.count);
                }
                Metric::Finished | Metric::WebhookFinished => {
                    entry(&mut books, &|b| *b.finished.entry(detail.to_owned()).or_default() += row.count);
                }
                Metric::Conversion => entry(&mut books, &|b| b.conversions += row.count),
                Metric::Sent | Metric::WebhookSent => {
                    let Some((outcome, bucket)) = detail.rsplit_once(':') else { continue };
                    let Ok(bucket) = bucket.parse() else { continue };
                    entry(&mut books, &|b| b.send(outcome, bucket, row.count));
                }
                Metric::Latency | Metric::WebhookLatency => {
                    let Ok(bucket) = detail.parse() else { continue };
                    entry(&mut books, &|b| b.latency.add(bucket, row.count));
                }
                Metric::Touch | Metric::FlaggedClick => {}
            }
        }
        for (key, waiting) in waiting {
            books.entry(key).or_default().wait(&waiting);
        }
        books.retain(|_, row| {
            row.suppressed.retain(|_, n| *n != 0);
            row.finished.retain(|_, n| *n != 0);
            *row != BalanceRow::default()
        });
        Ok(books)
    }

    /// The books of everything that is kept, counted from the rows.
    pub async fn recount(&self, ws: WorkspaceNo) -> Result<Recount, Error> {
        self.read(move |conn| {
            let mut books = Recount::new();
            let mut statement = conn.prepare_cached(sql("recount_told"))?;
            let mut rows = statement.query([ws.0])?;
            while let Some(row) = rows.next()? {
                let day = Timestamp::from_ms(row.get(2)?).floor_to(DAY_MS);
                let entry = books.entry((day, Receiver::of_partner(row.get(0)?), row.get(1)?)).or_default();
                entry.considered += 1;
                match Suppressed::from_number(row.get(3)?) {
                    Some(reason) => *entry.suppressed.entry(reason.code().to_owned()).or_default() += 1,
                    None if row.get(4)? => entry.planned += 1,
                    None => {}
                }
            }
            let mut statement = conn.prepare_cached(sql("recount_deliveries"))?;
            let mut rows = statement.query([ws.0])?;
            while let Some(row) = rows.next()? {
                let day = Timestamp::from_ms(row.get(2)?).floor_to(DAY_MS);
                let receiver = Receiver::of_delivery(row.get(5)?, row.get(0)?);
                let entry = books.entry((day, receiver, row.get(1)?)).or_default();
                if let Some(state) = row.get::<_, Option<String>>(3)? {
                    if state == "delivered" {
                        let (created_at, at): (i64, i64) = (row.get(6)?, row.get(7)?);
                        entry.latency.add(histogram::bucket(at - created_at), 1);
                    }
                    *entry.finished.entry(state).or_default() += 1;
                }
                let is_replay: bool = row.get(4)?;
                entry.replayed += i64::from(is_replay);
                if matches!(receiver, Receiver::Webhook(_)) && !is_replay {
                    entry.considered += 1;
                    entry.planned += 1;
                }
            }
            let mut statement = conn.prepare_cached(sql("recount_conversions"))?;
            let mut rows = statement.query([ws.0])?;
            while let Some(row) = rows.next()? {
                let day = Timestamp::from_ms(row.get(2)?).floor_to(DAY_MS);
                let receiver =
                    row.get::<_, Option<[u8; 16]>>(0)?.map_or(Receiver::Nobody, Receiver::of_partner);
                books.entry((day, receiver, row.get(1)?)).or_default().conversions += 1;
            }
            let mut statement = conn.prepare_cached(sql("recount_attempts"))?;
            let mut rows = statement.query([ws.0])?;
            while let Some(row) = rows.next()? {
                let day = Timestamp::from_ms(row.get(2)?).floor_to(DAY_MS);
                let receiver = Receiver::of_delivery(row.get(5)?, row.get(0)?);
                let outcome: String = row.get(3)?;
                let entry = books.entry((day, receiver, row.get(1)?)).or_default();
                entry.send(&outcome, histogram::bucket(row.get(4)?), 1);
            }
            let ever = Timestamp::from_ms(i64::MIN)..Timestamp::from_ms(i64::MAX);
            for (key, waiting) in walked(conn, ws, &ever)? {
                books.entry(key).or_default().wait(&waiting);
            }
            Ok(books)
        })
        .await
    }
}

fn counts(
    conn: &Connection,
    statement: &'static str,
    ws: WorkspaceNo,
    from: Timestamp,
    to: Timestamp,
) -> Result<Vec<ReportRow>, Error> {
    let mut statement = conn.prepare_cached(statement)?;
    let has_country = statement.column_count() > 11;
    let mut rows = statement.query((ws.0, from.ms(), to.ms()))?;
    let mut report = Vec::new();
    while let Some(row) = rows.next()? {
        let app: Vec<u8> = row.get(1)?;
        let number: u8 = row.get(5)?;
        let (metric, status) = (Metric::from_number(number), Status::from_number(row.get(7)?));
        let (Some(metric), Some(status)) = (metric, status) else { continue };
        report.push(ReportRow {
            bucket: Timestamp::from_ms(row.get(0)?),
            app: id_from(&app, "rollup", "app")?,
            partner: some_id(row.get(2)?),
            campaign: some_id(row.get(3)?),
            link: some_id(row.get(4)?),
            country: if has_country { Country::parse(&row.get::<_, String>(11)?) } else { None },
            metric,
            kind: row.get(6)?,
            status,
            currency: row.get(8)?,
            count: row.get(9)?,
            micros: row.get(10)?,
        });
    }
    Ok(report)
}

/// Most rows of the queue that the books look at.
pub const BALANCE_WALK_MAX: u32 = 10_000;
/// How far a delivery's id may lie before the event that it tells: clocks step back.
const SLACK_MS: i64 = DAY_MS;

/// What waits of what is booked in `days`, from the queue's own rows: row by row, so that it takes no memory.
fn walked(
    conn: &Connection,
    ws: WorkspaceNo,
    days: &Range<Timestamp>,
) -> Result<BTreeMap<BalanceKey, Queued>, Error> {
    let mut counts: BTreeMap<BalanceKey, Queued> = BTreeMap::new();
    let mut statement = conn.prepare_cached(sql("recount_queue"))?;
    let mut rows = statement.query([ws.0])?;
    while let Some(row) = rows.next()? {
        let day = Timestamp::from_ms(row.get(2)?).floor_to(DAY_MS);
        if !days.contains(&day) {
            continue;
        }
        let receiver = Receiver::of_delivery(row.get(4)?, row.get(0)?);
        let created_at = Timestamp::from_ms(row.get(3)?);
        let entry = counts.entry((day, receiver, row.get(1)?)).or_default();
        let is_held: bool = row.get(5)?;
        *(if is_held { &mut entry.held } else { &mut entry.count }) += 1;
        entry.oldest = Some(entry.oldest.map_or(created_at, |oldest| oldest.min(created_at)));
    }
    Ok(counts)
}

/// The same from the counts; the oldest of each as far as it is among the first `rows_max` that wait.
fn counted(
    conn: &Connection,
    ws: WorkspaceNo,
    days: &Range<Timestamp>,
    rows_max: u32,
) -> Result<BTreeMap<BalanceKey, Queued>, Error> {
    let mut counts: BTreeMap<BalanceKey, Queued> = BTreeMap::new();
    let mut statement = conn.prepare_cached(sql("queue_books"))?;
    let mut rows = statement.query((ws.0, days.start.ms(), days.end.ms()))?;
    while let Some(row) = rows.next()? {
        let receiver = Receiver::of_delivery(row.get(1)?, row.get(2)?);
        let entry = counts.entry((Timestamp::from_ms(row.get(0)?), receiver, row.get(3)?)).or_default();
        let is_held: bool = row.get(5)?;
        *(if is_held { &mut entry.held } else { &mut entry.count }) += row.get::<_, i64>(4)?;
    }
    // Ids begin with the time of planning, so whoever is met first is the oldest of its kind.
    let mut unknown = counts.len();
    let from: Id<kind::Delivery> = Id::mint(days.start.plus_ms(-SLACK_MS).max(Timestamp::from_ms(0)), 0);
    let mut statement = conn.prepare_cached(sql("queue_oldest"))?;
    let mut rows = statement.query((ws.0, from.bytes(), rows_max))?;
    while unknown > 0 {
        let Some(row) = rows.next()? else { break };
        let Some(booked_at) = row.get::<_, Option<i64>>(0)? else { continue };
        let day = Timestamp::from_ms(booked_at).floor_to(DAY_MS);
        let key = (day, Receiver::of_delivery(row.get(1)?, row.get(2)?), row.get(3)?);
        let Some(entry) = counts.get_mut(&key).filter(|entry| entry.oldest.is_none()) else { continue };
        entry.oldest = Some(Timestamp::from_ms(row.get(4)?));
        unknown -= 1;
    }
    Ok(counts)
}
