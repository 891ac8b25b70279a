//! Where a delivery counts, and what is counted of it.

use roundtrip_domain::endpoint::Endpoint;
use roundtrip_domain::histogram;
use roundtrip_domain::id::{Id, kind};
use roundtrip_domain::time::Timestamp;
use rusqlite::Connection;

use super::decide::Due;
use super::delivery::AttemptRow;
use super::id_from;
use super::rollup::{DAY_MS, Metric, Rollups, of_partner};
use super::statements::sql;
use crate::Error;

/// Counts something of a delivery, by its kind and perhaps its state.
#[expect(clippy::too_many_arguments, reason = "a count is kept by all of these")]
pub(super) fn book(
    ws: u32,
    endpoint: Endpoint,
    metric: Metric,
    kind: &str,
    booked_at: Timestamp,
    app: [u8; 16],
    n: i64,
    rollups: &mut Rollups,
) {
    let (who, metric) = match endpoint {
        Endpoint::Postback { partner, .. } => (partner.bytes(), metric),
        Endpoint::Webhook(webhook) => (webhook.bytes(), metric.of_webhook()),
    };
    rollups.change(of_partner(ws, booked_at, app, who, metric, kind), n, 0);
}

/// Counts something of a delivery, by conversion kind and state, in the bucket where it is booked.
pub(super) fn count(
    conn: &Connection,
    item: &Due,
    metric: Metric,
    state: Option<&str>,
    n: i64,
    rollups: &mut Rollups,
) -> Result<(), Error> {
    Booked::read(conn, item)?.count(metric, state, n, rollups);
    Ok(())
}

/// What counting the end of a send takes, of the delivery's row.
pub(super) struct Booked {
    /// `None` when it is not kept any more.
    pub(super) about: Option<About>,
}

pub(super) struct About {
    workspace: u32,
    pub(super) event: Id<kind::Event>,
    pub(super) kind: String,
    /// `None` counts nowhere.
    booked_at: Option<Timestamp>,
    app: [u8; 16],
    created_at: Timestamp,
    endpoint: Endpoint,
}

impl Booked {
    pub(super) fn read(conn: &Connection, item: &Due) -> Result<Self, Error> {
        let mut statement = conn.prepare_cached(sql("delivery_booked"))?;
        let mut rows = statement.query((item.workspace.0, item.delivery.bytes().as_slice()))?;
        let Some(row) = rows.next()? else { return Ok(Self { about: None }) };
        let event: [u8; 16] = row.get(4)?;
        let about = About {
            workspace: item.workspace.0,
            event: id_from(&event, "delivery", "event")?,
            kind: row.get(0)?,
            booked_at: row.get::<_, Option<i64>>(1)?.map(Timestamp::from_ms),
            app: row.get(2)?,
            created_at: Timestamp::from_ms(row.get(3)?),
            endpoint: item.endpoint,
        };
        Ok(Self { about: Some(about) })
    }

    /// What is counted, and in which bucket; `None`: nowhere.
    fn counted(&self) -> Option<(&About, Timestamp)> {
        let about = self.about.as_ref()?;
        Some((about, about.booked_at?))
    }

    pub(super) fn count(&self, metric: Metric, state: Option<&str>, n: i64, rollups: &mut Rollups) {
        let Some((about, at)) = self.counted() else { return };
        match state {
            None => about.change(at, metric, &about.kind, n, rollups),
            Some(state) => about.change(at, metric, &format!("{}:{state}", about.kind), n, rollups),
        }
    }

    /// Counts that it does not wait any more.
    pub(super) fn left(&self, rollups: &mut Rollups) {
        if let Some((about, at)) = self.counted() {
            rollups.wait(about.workspace, about.endpoint, &about.kind, at, -1);
        }
    }

    /// Counts a send, by what it came to and how long it took.
    pub(super) fn sent(&self, attempt: &AttemptRow, rollups: &mut Rollups) {
        let Some((about, at)) = self.counted() else { return };
        let kind = format!("{}:{}:{}", about.kind, attempt.outcome, histogram::bucket(attempt.total_us));
        about.change(at.floor_to(DAY_MS), Metric::Sent, &kind, 1, rollups);
    }

    /// Counts that it arrived, and how long that took.
    pub(super) fn delivered(&self, at: Timestamp, rollups: &mut Rollups) {
        self.count(Metric::Finished, Some("delivered"), 1, rollups);
        let Some((about, booked_at)) = self.counted() else { return };
        let kind = format!("{}:{}", about.kind, histogram::bucket(at.since(about.created_at)));
        about.change(booked_at.floor_to(DAY_MS), Metric::Latency, &kind, 1, rollups);
    }
}

impl About {
    pub(super) fn app(&self) -> Id<kind::App> {
        Id::from_bits(u128::from_be_bytes(self.app))
    }

    /// Whether it counts anywhere; what is of the sandbox does not.
    pub(super) const fn is_booked(&self) -> bool {
        self.booked_at.is_some()
    }

    fn change(&self, at: Timestamp, metric: Metric, kind: &str, n: i64, rollups: &mut Rollups) {
        book(self.workspace, self.endpoint, metric, kind, at, self.app, n, rollups);
    }
}
