//! Deleting what is too old, in bounded batches so that nobody waits behind it.

use roundtrip_domain::id::WorkspaceNo;
use roundtrip_domain::time::{Span, Timestamp};
use rusqlite::Connection;

use super::Ledger;
use super::statements::sql;
use crate::Error;

/// Rows that one step deletes from a table at most.
const STEP_ROWS: u32 = 500;

/// What a step deleted.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Expired {
    /// Idempotency keys.
    pub event_keys: u64,
    /// Attempts of finished deliveries.
    pub attempts: u64,
    /// Bodies of webhooks.
    pub payloads: u64,
    /// What was said about how telling goes.
    pub notices: u64,
}

/// How long things are kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Kept {
    /// Attempts of finished deliveries, from when the delivery was planned.
    pub attempts: Span,
    /// Bodies of webhooks, from when the fact became one. Those of conversions are made again when they are wanted
    /// later; others are gone.
    pub payloads: Span,
}

impl Expired {
    /// Whether there may be more.
    pub fn is_partial(&self) -> bool {
        [self.event_keys, self.attempts, self.payloads, self.notices]
            .into_iter()
            .any(|n| n >= u64::from(STEP_ROWS))
    }
}

impl Ledger {
    /// One bounded step: idempotency keys past their 400 days, attempts of finished deliveries and bodies of webhooks
    /// past their time. Facts themselves (events, decisions, conversions) are kept.
    pub async fn expire(&self, ws: WorkspaceNo, now: Timestamp, kept: Kept) -> Result<Expired, Error> {
        self.write(move |conn| step(conn, ws, now, kept)).await
    }
}

fn step(conn: &Connection, ws: WorkspaceNo, now: Timestamp, kept: Kept) -> Result<Expired, Error> {
    // Ids begin with the time at which a delivery was planned or a fact became one.
    let oldest = |span: Span| (now.plus_ms(-span.ms()).ms().max(0) as u128) << 80;
    let below = |statement: &'static str, span: Span| -> Result<u64, Error> {
        let bytes = oldest(span).to_be_bytes();
        Ok(conn.prepare_cached(sql(statement))?.execute((ws.0, bytes.as_slice(), STEP_ROWS))? as u64)
    };
    Ok(Expired {
        event_keys: conn.prepare_cached(sql("expire_event_key"))?.execute((ws.0, now.ms(), STEP_ROWS))?
            as u64,
        attempts: below("expire_attempt", kept.attempts)?,
        payloads: below("expire_payload", kept.payloads)?,
        notices: below("expire_notice", kept.payloads)?,
    })
}
