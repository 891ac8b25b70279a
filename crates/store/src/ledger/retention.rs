//! Deleting what is too old, in bounded batches so that nobody waits behind it.

use roundtrip_domain::id::{Id, WorkspaceNo};
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
}

impl Expired {
    /// Whether there may be more.
    pub fn is_partial(&self) -> bool {
        self.event_keys.max(self.attempts) >= u64::from(STEP_ROWS)
    }
}

impl Ledger {
    /// One bounded step: idempotency keys past their 400 days, and attempts of finished deliveries older
    /// than `attempts_kept`. Facts themselves (events, decisions, conversions) are kept.
    pub async fn expire(
        &self,
        ws: WorkspaceNo,
        now: Timestamp,
        attempts_kept: Span,
    ) -> Result<Expired, Error> {
        self.write(move |conn| step(conn, ws, now, attempts_kept)).await
    }
}

fn step(conn: &Connection, ws: WorkspaceNo, now: Timestamp, attempts_kept: Span) -> Result<Expired, Error> {
    // Delivery ids begin with the time at which they were planned.
    let oldest: Id<roundtrip_domain::id::kind::Delivery> = Id::mint(now.plus_ms(-attempts_kept.ms()), 0);
    Ok(Expired {
        event_keys: conn.prepare_cached(sql("expire_event_key"))?.execute((ws.0, now.ms(), STEP_ROWS))?
            as u64,
        attempts: conn.prepare_cached(sql("expire_attempt"))?.execute((
            ws.0,
            oldest.bytes().as_slice(),
            STEP_ROWS,
        ))? as u64,
    })
}
