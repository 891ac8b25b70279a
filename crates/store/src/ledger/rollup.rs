//! Counts in 15-minute buckets, kept in the same transaction as the facts that they count.
//!
//! A conversion and everything that follows from it (rules considered, deliveries and how they ended)
//! counts in the bucket in which its event reached us, so that a day's books close by themselves, however
//! late a delivery succeeds. How long sends took is kept by the day, not by the quarter of an hour: the buckets of
//! durations would be many rows otherwise, and nobody asks for the percentiles of a quarter of an hour.
//!
//! What has a country is counted a second time by it, per app and partner, in a table of its own: reports that
//! do not ask for countries stay as short as they were, and without a database of addresses it stays empty. What
//! has none is the difference of the two.

use std::collections::HashMap;

use roundtrip_domain::click::Click;
use roundtrip_domain::endpoint::Endpoint;
use roundtrip_domain::event::{Environment, Event};
use roundtrip_domain::location::{Country, Location};
use roundtrip_domain::postback::Suppressed;
use roundtrip_domain::status::Status as Counts;
use roundtrip_domain::time::Timestamp;
use rusqlite::Connection;

use super::statements::sql;
use crate::Error;

/// Width of a bucket: 15 minutes, so that reports fit any viewer's time zone.
pub const BUCKET_MS: i64 = 15 * 60 * 1000;
/// Width of the bucket of what is kept by the day, UTC.
pub(super) const DAY_MS: i64 = 86_400_000;

/// What is counted. Numbers are stored: append only.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum Metric {
    /// Touches; the kind says which.
    Touch = 1,
    /// Clicks whose partner click id is absent or unexpanded; the kind says which.
    FlaggedClick = 2,
    /// Conversions by kind, for who has the credit.
    Conversion = 3,
    /// Rules considered, by conversion kind.
    Considered = 4,
    /// Deliveries planned, by conversion kind.
    Planned = 5,
    /// Rules that did not fire, by reason.
    Suppressed = 6,
    /// Deliveries that ended, by state.
    Finished = 7,
    /// Sends, by outcome and the bucket of how long they took, in microseconds. One row a day.
    Sent = 8,
    /// Deliveries made by a replay.
    Replayed = 9,
    /// Deliveries planned for a webhook, whose id stands in the partner's place, by kind of fact.
    WebhookPlanned = 10,
    /// The same, made by a replay.
    WebhookReplayed = 11,
    /// The same that ended, by state.
    WebhookFinished = 12,
    /// Deliveries that arrived, by the bucket of how long that took since they were planned, in milliseconds. One row
    /// a day.
    Latency = 13,
    /// What [`Metric::Sent`] is, of a webhook.
    WebhookSent = 14,
    /// What [`Metric::Latency`] is, of a webhook.
    WebhookLatency = 15,
}

impl Metric {
    /// The metric with that number.
    pub const fn from_number(number: u8) -> Option<Self> {
        Some(match number {
            1 => Self::Touch,
            2 => Self::FlaggedClick,
            3 => Self::Conversion,
            4 => Self::Considered,
            5 => Self::Planned,
            6 => Self::Suppressed,
            7 => Self::Finished,
            8 => Self::Sent,
            9 => Self::Replayed,
            10 => Self::WebhookPlanned,
            11 => Self::WebhookReplayed,
            12 => Self::WebhookFinished,
            13 => Self::Latency,
            14 => Self::WebhookSent,
            15 => Self::WebhookLatency,
            _ => return None,
        })
    }

    /// What is counted of deliveries to partners, of those to webhooks.
    pub(super) const fn of_webhook(self) -> Self {
        match self {
            Self::Planned => Self::WebhookPlanned,
            Self::Replayed => Self::WebhookReplayed,
            Self::Finished => Self::WebhookFinished,
            Self::Sent => Self::WebhookSent,
            Self::Latency => Self::WebhookLatency,
            other => other,
        }
    }
}

/// What a conversion's count and money are worth. Numbers are stored: append only.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum Status {
    /// Not about a conversion.
    None = 0,
    /// It counts, and so does its money.
    Approved = 1,
    /// It waits for approval: it does not count yet.
    Pending = 2,
    /// It counts; its money is what a key says that ships inside an app, and anybody can say that.
    Unverified = 3,
    /// It was rejected: it does not count.
    Rejected = 4,
}

impl Status {
    /// The status with that number.
    pub const fn from_number(number: u8) -> Option<Self> {
        Some(match number {
            0 => Self::None,
            1 => Self::Approved,
            2 => Self::Pending,
            3 => Self::Unverified,
            4 => Self::Rejected,
            _ => return None,
        })
    }

    /// The status of the conversion that an event makes.
    fn of(event: &Event, counts: Counts) -> Self {
        match counts {
            Counts::Pending => Self::Pending,
            Counts::Rejected => Self::Rejected,
            Counts::Approved if event.revenue.as_ref().is_some_and(|r| !r.verified) => Self::Unverified,
            Counts::Approved => Self::Approved,
        }
    }
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct Key {
    pub(super) workspace: u32,
    pub(super) bucket: i64,
    pub(super) app: [u8; 16],
    pub(super) partner: [u8; 16],
    pub(super) campaign: [u8; 16],
    pub(super) link: [u8; 16],
    pub(super) metric: Metric,
    pub(super) kind: String,
    pub(super) status: Status,
    pub(super) currency: String,
}

/// What waits is counted by these: workspace, start of the day in which it is booked, teller, partner, kind.
type WaitingKey = (u32, i64, [u8; 16], [u8; 16], String);

/// Changes of counts, gathered over a batch and written once.
#[derive(Debug, Default)]
pub(super) struct Rollups {
    changes: HashMap<Key, (i64, i64)>,
    waiting: HashMap<WaitingKey, i64>,
    sends: HashMap<(u32, i64), i64>,
    countries: HashMap<(Country, Key), (i64, i64)>,
}

impl Rollups {
    pub(super) fn change(&mut self, key: Key, count: i64, micros: i64) {
        let entry = self.changes.entry(key).or_default();
        entry.0 += count;
        entry.1 += micros;
    }

    /// Counts what came into the queue (1) or left it (-1), of what is booked.
    pub(super) fn wait(
        &mut self,
        workspace: u32,
        endpoint: Endpoint,
        kind: &str,
        booked_at: Timestamp,
        n: i64,
    ) {
        let day = booked_at.floor_to(DAY_MS).ms();
        let key = (workspace, day, endpoint.teller(), endpoint.partner(), kind.to_owned());
        *self.waiting.entry(key).or_default() += n;
    }

    /// Counts a send that began then.
    pub(super) fn send(&mut self, workspace: u32, at: Timestamp) {
        *self.sends.entry((workspace, at.floor_to(DAY_MS).ms())).or_default() += 1;
    }

    /// Counts what may have a country.
    pub(super) fn change_in(&mut self, country: Option<Country>, key: Key, count: i64, micros: i64) {
        if let Some(country) = country {
            let key = Key { campaign: [0; 16], link: [0; 16], ..key.clone() };
            let entry = self.countries.entry((country, key)).or_default();
            entry.0 += count;
            entry.1 += micros;
        }
        self.change(key, count, micros);
    }

    /// Counts a conversion for a click's partner, or for nobody; −1 takes it back.
    pub(super) fn convert(
        &mut self,
        event: &Event,
        click: Option<&Click>,
        kind: &str,
        status: Counts,
        count: i64,
    ) {
        let micros = event.revenue.as_ref().map_or(0, |r| r.amount.micros);
        let currency = event.revenue.as_ref().and_then(|r| r.currency).map(|c| c.to_string());
        let key = Key {
            workspace: event.workspace.0,
            bucket: event.received_at.floor_to(BUCKET_MS).ms(),
            app: event.app.bytes(),
            partner: click.map(|c| c.partner.bytes()).unwrap_or_default(),
            campaign: click.map(|c| c.campaign.bytes()).unwrap_or_default(),
            link: click.map(|c| c.link.bytes()).unwrap_or_default(),
            metric: Metric::Conversion,
            kind: kind.to_owned(),
            status: Status::of(event, status),
            currency: currency.unwrap_or_default(),
        };
        self.change_in(Location::of(event, click).country, key, count, count * micros);
    }

    /// Counts a rule that was considered, and what became of it. Sandbox events count nowhere.
    pub(super) fn consider(
        &mut self,
        event: &Event,
        partner: &[u8; 16],
        reason: Option<Suppressed>,
        kind: &str,
        count: i64,
    ) {
        if event.environment == Environment::Sandbox {
            return;
        }
        let mut one = |metric, kind: &str| {
            let key =
                of_partner(event.workspace.0, event.received_at, event.app.bytes(), *partner, metric, kind);
            self.change(key, count, 0);
        };
        one(Metric::Considered, kind);
        match reason {
            None => one(Metric::Planned, kind),
            Some(reason) => one(Metric::Suppressed, &format!("{kind}:{}", reason.code())),
        }
    }

    /// Writes the changes.
    pub(super) fn flush(self, conn: &Connection) -> Result<(), Error> {
        let mut statement = conn.prepare_cached(sql("rollup_add"))?;
        for (key, (count, micros)) in self.changes {
            if (count, micros) == (0, 0) {
                continue;
            }
            statement.execute(rusqlite::params![
                key.workspace,
                key.bucket,
                key.app.as_slice(),
                key.partner.as_slice(),
                key.campaign.as_slice(),
                key.link.as_slice(),
                key.metric as u8,
                key.kind,
                key.status as u8,
                key.currency,
                count,
                micros,
            ])?;
        }
        for ((workspace, day), n) in self.sends {
            conn.prepare_cached(sql("send_count_add"))?.execute((workspace, day, n))?;
        }
        for ((workspace, day, teller, partner, kind), n) in self.waiting.into_iter().filter(|(_, n)| *n != 0)
        {
            conn.prepare_cached(sql("queue_books_add"))?
                .execute((workspace, day, teller, partner, &kind, n))?;
            if n < 0 {
                conn.prepare_cached(sql("queue_books_none"))?
                    .execute((workspace, day, teller, partner, &kind))?;
            }
        }
        if self.countries.is_empty() {
            return Ok(());
        }
        let mut statement = conn.prepare_cached(sql("rollup_country_add"))?;
        for ((country, key), (count, micros)) in self.countries {
            if (count, micros) == (0, 0) {
                continue;
            }
            statement.execute(rusqlite::params![
                key.workspace,
                key.bucket,
                country.as_str(),
                key.app.as_slice(),
                key.partner.as_slice(),
                key.metric as u8,
                key.kind,
                key.status as u8,
                key.currency,
                count,
                micros,
            ])?;
        }
        Ok(())
    }
}

/// A key of what is counted per app and partner only.
pub(super) fn of_partner(
    workspace: u32,
    received_at: Timestamp,
    app: [u8; 16],
    partner: [u8; 16],
    metric: Metric,
    kind: &str,
) -> Key {
    Key {
        workspace,
        bucket: received_at.floor_to(BUCKET_MS).ms(),
        app,
        partner,
        campaign: [0; 16],
        link: [0; 16],
        metric,
        kind: kind.to_owned(),
        status: Status::None,
        currency: String::new(),
    }
}
