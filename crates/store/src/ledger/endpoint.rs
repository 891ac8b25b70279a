//! Endpoints that are stopped or failing: paused, disabled, and for how long they have been failing.
//!
//! A row stands here only for what is not as usual. Whoever changes a state says who and why, and the engine of the
//! same process hears of it at once; the queue's rows of a stopped endpoint stay where they are and are *held*.
//! Who decides that an endpoint has failed for too long is `domain::endpoint::health`; the engine asks it and tells
//! the answer here, with what somebody should know of it.

use std::collections::BTreeMap;

use roundtrip_domain::endpoint::health::{Health, Notice};
use roundtrip_domain::endpoint::{Endpoint, State};
use roundtrip_domain::id::{Id, WorkspaceNo, kind};
use roundtrip_domain::time::{Span, Timestamp};
use rusqlite::{Connection, OptionalExtension, Row};

use super::fact::News;
use super::filter::DeliveryFilter;
use super::rollup::Rollups;
use super::settle::Ended;
use super::statements::sql;
use super::{Ledger, delivery, id_from};
use crate::Error;

/// Who stands in the log for what the program itself does.
pub const ACTOR_ENGINE: &str = "roundtrip";
/// Most rows of an endpoint's log that are read.
const LOG_MAX: u32 = 100;
/// Most held deliveries that one step ends.
const STEP_ROWS: u32 = 500;

/// How an endpoint stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EndpointRow {
    /// Owner.
    pub workspace: WorkspaceNo,
    /// Which.
    pub endpoint: Endpoint,
    /// Whether it is told.
    pub state: State,
    /// Why it is in that state; empty while nobody changed it.
    pub reason: String,
    /// Who changed it last.
    pub actor: String,
    /// When.
    pub since: Timestamp,
    /// For how long it has been failing.
    pub health: Health,
}

/// An endpoint that has work or is not as usual.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EndpointListed {
    /// How it stands.
    pub row: EndpointRow,
    /// Deliveries in its queue: waiting, or held when its state holds them.
    pub queued: u64,
    /// When the oldest of them is due.
    pub oldest_due: Option<Timestamp>,
}

/// A wish to stop an endpoint or to let it go on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EndpointWish {
    /// Owner.
    pub workspace: WorkspaceNo,
    /// Which.
    pub endpoint: Endpoint,
    /// Its state from now on.
    pub to: State,
    /// Why, in a word or a sentence.
    pub reason: String,
    /// Who says so.
    pub actor: String,
}

/// What the engine learned of an endpoint.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EndpointNews {
    /// Owner.
    pub workspace: WorkspaceNo,
    /// Which.
    pub endpoint: Endpoint,
    /// For how long it has been failing.
    pub health: Health,
    /// Why it is to be disabled, if it is.
    pub disable: Option<&'static str>,
    /// What somebody should know.
    pub notice: Option<Notice>,
}

/// When an endpoint's trouble began.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Trouble {
    /// The first failure after the last success; of an endpoint that was disabled without failing, when it was.
    pub from: Timestamp,
    /// Whether it works again since, or was enabled.
    pub is_over: bool,
}

/// A line of an endpoint's log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EndpointLogRow {
    /// When.
    pub at: Timestamp,
    /// `paused`, `active`, `disabled`, or a notice's code.
    pub code: String,
    /// Why, or how long.
    pub reason: String,
    /// Who.
    pub actor: String,
}

/// How the latest deliveries of each endpoint stand.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct EndpointFigures {
    /// How many ended, by state (`delivered`, `dead`, …), of each endpoint that had any. Tests count as well: they were
    /// sent.
    pub ended: BTreeMap<Endpoint, BTreeMap<String, u64>>,
    /// How many rows were looked at.
    pub rows: u32,
    /// When the oldest of them was planned, if there were more than were looked at.
    pub cut_at: Option<Timestamp>,
}

type Key = (u32, [u8; 16], [u8; 16]);

fn key(workspace: WorkspaceNo, endpoint: Endpoint) -> Key {
    (workspace.0, endpoint.teller(), endpoint.partner())
}

fn row(row: &Row<'_>) -> rusqlite::Result<EndpointRow> {
    let time = |i| row.get::<_, Option<i64>>(i).map(|ms| ms.map(Timestamp::from_ms));
    let failing_since = time(7)?;
    Ok(EndpointRow {
        workspace: WorkspaceNo(row.get(0)?),
        endpoint: Endpoint::from_bytes(row.get(1)?, row.get(2)?),
        // A number of a later release means something that this one does not know: held is the safe side.
        state: State::from_number(row.get(3)?).unwrap_or(State::Disabled),
        reason: row.get(4)?,
        actor: row.get(5)?,
        since: Timestamp::from_ms(row.get(6)?),
        health: Health {
            failing_since,
            evidence_at: time(8)?,
            last_success: time(9)?,
            notices: row.get(10)?,
            is_kept: failing_since.is_some(),
        },
    })
}

fn listed(r: &Row<'_>) -> Result<EndpointListed, rusqlite::Error> {
    let (first, retry): (Option<i64>, Option<i64>) = (r.get(12)?, r.get(13)?);
    Ok(EndpointListed {
        row: row(r)?,
        queued: r.get(11)?,
        oldest_due: first.into_iter().chain(retry).min().map(Timestamp::from_ms),
    })
}

fn get(conn: &Connection, key: Key) -> Result<Option<EndpointRow>, Error> {
    Ok(conn.prepare_cached(sql("endpoint_get"))?.query_row(key, row).optional()?)
}

/// Every endpoint that is stopped or failing.
pub(super) fn rows(conn: &Connection) -> Result<Vec<EndpointRow>, Error> {
    let mut statement = conn.prepare_cached(sql("endpoint_rows"))?;
    let rows = statement.query_map([], row)?.collect::<Result<_, _>>()?;
    Ok(rows)
}

/// Whether the endpoint's deliveries are held; and why.
pub(super) fn held(
    conn: &Connection,
    workspace: WorkspaceNo,
    endpoint: Endpoint,
) -> Result<Option<EndpointRow>, Error> {
    Ok(get(conn, key(workspace, endpoint))?.filter(|row| row.state.holds()))
}

/// Adds a line to an endpoint's log. `false` when it stands there already.
fn log(conn: &Connection, key: Key, at: Timestamp, line: (&str, &str, &str)) -> Result<bool, Error> {
    let (code, reason, actor) = line;
    let added = conn.prepare_cached(sql("endpoint_log_put"))?.execute((
        key.0,
        key.1,
        key.2,
        at.ms(),
        code,
        reason,
        actor,
    ))?;
    Ok(added > 0)
}

/// How an endpoint stands that has no row.
fn usual(workspace: WorkspaceNo, endpoint: Endpoint, at: Timestamp) -> EndpointRow {
    EndpointRow {
        workspace,
        endpoint,
        state: State::Active,
        reason: String::new(),
        actor: String::new(),
        since: at,
        health: Health::default(),
    }
}

/// Changes a state; `None` when it is that already.
fn set(conn: &Connection, wish: &EndpointWish, at: Timestamp) -> Result<Option<EndpointRow>, Error> {
    let key = key(wish.workspace, wish.endpoint);
    let before = get(conn, key)?;
    if before.as_ref().map_or(State::Active, |row| row.state) == wish.to {
        return Ok(None);
    }
    conn.prepare_cached(sql("endpoint_put_state"))?.execute((
        key.0,
        key.1,
        key.2,
        wish.to as u8,
        &wish.reason,
        &wish.actor,
        at.ms(),
    ))?;
    if let Some(before) = before.filter(|_| wish.to == State::Active) {
        // While it was stopped it had no chance to succeed: it begins anew. When the trouble began that is over now is
        // remembered: what was lost since then may be wanted. A pause by itself is no trouble.
        let since = (before.state == State::Disabled).then(|| before.since.ms());
        if since.is_some() || before.health.failing_since.is_some() {
            conn.prepare_cached(sql("endpoint_forgive"))?.execute((key.0, key.1, key.2, since))?;
        }
    }
    log(conn, key, at, (wish.to.name(), &wish.reason, &wish.actor))?;
    get(conn, key)
}

impl Ledger {
    /// Every endpoint that is stopped or failing.
    pub async fn endpoint_rows(&self) -> Result<Vec<EndpointRow>, Error> {
        self.read(rows).await
    }

    /// Pauses, disables or lets go on. Returns how the endpoint stands now; `None` when it was that already, and then
    /// nothing is written.
    pub async fn endpoint_set(
        &self,
        wish: EndpointWish,
        at: Timestamp,
    ) -> Result<Option<EndpointRow>, Error> {
        let changed = self.write(move |conn| set(conn, &wish, at)).await?;
        if let Some(row) = &changed {
            self.inner.handoff.endpoint(row.clone());
        }
        Ok(changed)
    }

    /// Has the engine hear again how an endpoint stands in the tables: when what it has in memory could not be written.
    pub async fn endpoint_recall(
        &self,
        workspace: WorkspaceNo,
        endpoint: Endpoint,
        at: Timestamp,
    ) -> Result<(), Error> {
        let row = self.read(move |conn| get(conn, key(workspace, endpoint))).await?;
        self.inner.handoff.endpoint(row.unwrap_or_else(|| usual(workspace, endpoint, at)));
        Ok(())
    }

    /// Writes down what the engine learned of endpoints, all in one transaction: how long they have been failing,
    /// that some are disabled, what somebody should know of it, and the telling of that to whoever asks for it. Writing
    /// the same at the same time once more changes nothing and says nothing.
    pub async fn endpoint_news(&self, news: Vec<EndpointNews>, at: Timestamp) -> Result<(), Error> {
        let (catalog, ids) = (self.catalog(), self.inner.ids.clone());
        let (disabled, planned) = self
            .write(move |conn| {
                let (mut disabled, mut planned) = (Vec::new(), Vec::new());
                let mut rollups = Rollups::default();
                for one in &news {
                    let (row, says) = learn(conn, one, at)?;
                    disabled.extend(row);
                    if let Some(notice) = says {
                        let mut news = News { conn, ids: &ids, at, rollups: &mut rollups };
                        planned.extend(news.say_of_endpoint(&catalog, one, notice)?);
                    }
                }
                rollups.flush(conn)?;
                Ok((disabled, planned))
            })
            .await?;
        self.inner.handoff.due(&planned);
        for row in disabled {
            self.inner.handoff.endpoint(row);
        }
        Ok(())
    }

    /// The endpoints of a workspace that have or had work, or are not as usual.
    pub async fn endpoint_list(&self, ws: WorkspaceNo) -> Result<Vec<EndpointListed>, Error> {
        self.read(move |conn| {
            let mut statement = conn.prepare_cached(sql("endpoint_list"))?;
            let listed = statement.query_map([ws.0], listed)?.collect::<Result<_, _>>()?;
            Ok(listed)
        })
        .await
    }

    /// One endpoint as [`Self::endpoint_list`] has it; `None` if it is not among those.
    pub async fn endpoint_one(
        &self,
        ws: WorkspaceNo,
        endpoint: Endpoint,
    ) -> Result<Option<EndpointListed>, Error> {
        self.read(move |conn| {
            let mut statement = conn.prepare_cached(sql("endpoint_one"))?;
            Ok(statement.query_row(key(ws, endpoint), listed).optional()?)
        })
        .await
    }

    /// How the latest deliveries ended, by endpoint: the newest that were planned since, at most so many. Kept for people
    /// who look; the books count on their own.
    pub async fn endpoint_figures(
        &self,
        ws: WorkspaceNo,
        since: Timestamp,
        rows_max: u32,
    ) -> Result<EndpointFigures, Error> {
        let (low, _) = DeliveryFilter { from: Some(since), ..DeliveryFilter::default() }.range();
        self.read(move |conn| {
            let mut figures = EndpointFigures::default();
            let mut statement = conn.prepare_cached(sql("endpoint_figures"))?;
            let mut rows = statement.query((ws.0, low.to_be_bytes(), rows_max))?;
            let mut oldest: Option<i64> = None;
            while let Some(row) = rows.next()? {
                let endpoint = Endpoint::from_bytes(row.get(0)?, row.get(1)?);
                let (state, n, at): (Option<String>, u32, i64) = (row.get(2)?, row.get(3)?, row.get(4)?);
                figures.rows = figures.rows.saturating_add(n);
                oldest = Some(oldest.map_or(at, |oldest| oldest.min(at)));
                if let Some(state) = state {
                    *figures.ended.entry(endpoint).or_default().entry(state).or_default() += u64::from(n);
                }
            }
            figures.cut_at = oldest.filter(|_| figures.rows >= rows_max).map(Timestamp::from_ms);
            Ok(figures)
        })
        .await
    }

    /// When an endpoint's trouble began: of now, or else the last that is over. `None` when there was none that was
    /// worth writing down, which is some minutes of failures without a success.
    pub async fn endpoint_trouble(
        &self,
        ws: WorkspaceNo,
        endpoint: Endpoint,
    ) -> Result<Option<Trouble>, Error> {
        self.read(move |conn| {
            let time = |row: &Row<'_>, i| row.get::<_, Option<i64>>(i).map(|ms| ms.map(Timestamp::from_ms));
            let found = conn
                .prepare_cached(sql("endpoint_trouble"))?
                .query_row(key(ws, endpoint), |row| {
                    Ok((row.get(0)?, time(row, 1)?, time(row, 2)?, time(row, 3)?))
                })
                .optional()?;
            let Some((state, since, failing, before)) = found else { return Ok(None) };
            let disabled = since.filter(|_| State::from_number(state) == Some(State::Disabled));
            let now = failing.or(disabled).map(|from| Trouble { from, is_over: false });
            Ok(now.or(before.map(|from| Trouble { from, is_over: true })))
        })
        .await
    }

    /// What became of an endpoint, the newest first, at most 100 lines.
    pub async fn endpoint_log(
        &self,
        ws: WorkspaceNo,
        endpoint: Endpoint,
    ) -> Result<Vec<EndpointLogRow>, Error> {
        self.read(move |conn| {
            let (ws, teller, partner) = key(ws, endpoint);
            let mut statement = conn.prepare_cached(sql("endpoint_log_list"))?;
            let rows = statement
                .query_map((ws, teller, partner, LOG_MAX), |row| {
                    Ok(EndpointLogRow {
                        at: Timestamp::from_ms(row.get(0)?),
                        code: row.get(1)?,
                        reason: row.get(2)?,
                        actor: row.get(3)?,
                    })
                })?
                .collect::<Result<_, _>>()?;
            Ok(rows)
        })
        .await
    }

    /// One bounded step: deliveries that have been held for longer than `kept` end as `expired`, because of
    /// `held_too_long`, while their endpoint stays as it is; whoever asks for the ends of postbacks is told. It holds
    /// since it was paused or disabled first; that it was paused and is disabled now begins nothing anew. Returns how
    /// many; fewer than 500 are all.
    pub async fn held_expire(&self, ws: WorkspaceNo, now: Timestamp, kept: Span) -> Result<u64, Error> {
        let (catalog, ids) = (self.catalog(), self.inner.ids.clone());
        let (ended, planned) = self
            .write(move |conn| {
                let mut rollups = Rollups::default();
                let (mut ended, mut planned) = (0, Vec::new());
                for id in held_too_long(conn, ws, now.plus_ms(-kept.ms()))? {
                    let how = (EXPIRED, HELD_TOO_LONG);
                    let item = delivery::end_unsent(conn, ws.0, id, how, now, &mut rollups)?;
                    let Some(item) = item else { continue };
                    ended += 1;
                    let end = Ended { state: how.0, reason: how.1.to_owned(), sends: item.sends };
                    let news = News { conn, ids: &ids, at: now, rollups: &mut rollups };
                    planned.extend(news.of_end(&catalog, &item, &end)?);
                }
                rollups.flush(conn)?;
                Ok((ended, planned))
            })
            .await?;
        self.inner.handoff.due(&planned);
        Ok(ended)
    }
}

/// Writes down what was learned of an endpoint. Gives how it stands, if this disabled it, and what there is to say.
fn learn(
    conn: &Connection,
    news: &EndpointNews,
    at: Timestamp,
) -> Result<(Option<EndpointRow>, Option<Notice>), Error> {
    let key = key(news.workspace, news.endpoint);
    let health = &news.health;
    conn.prepare_cached(sql("endpoint_put_health"))?.execute((
        key.0,
        key.1,
        key.2,
        at.ms(),
        health.failing_since.map(Timestamp::ms),
        health.evidence_at.map(Timestamp::ms),
        health.last_success.map(Timestamp::ms),
        health.notices,
    ))?;
    let mut disabled = None;
    if let Some(reason) = news.disable {
        let wish = EndpointWish {
            workspace: news.workspace,
            endpoint: news.endpoint,
            to: State::Disabled,
            reason: reason.to_owned(),
            actor: ACTOR_ENGINE.to_owned(),
        };
        disabled = set(conn, &wish, at)?;
    }
    // What somebody else disabled meanwhile is no news.
    let Some(notice) = news.notice.filter(|notice| *notice != Notice::Disabled || disabled.is_some()) else {
        return Ok((disabled, None));
    };
    let how_long = match notice {
        Notice::Failing { hours } => format!("{hours}h"),
        Notice::Disabled | Notice::Recovered => String::new(),
    };
    let is_new = log(conn, key, at, (notice.code(), &how_long, ACTOR_ENGINE))?;
    Ok((disabled, is_new.then_some(notice)))
}

/// Why what was held for too long has expired.
pub const HELD_TOO_LONG: &str = "held_too_long";
/// The state of what was held for too long.
const EXPIRED: &str = "expired";

/// Deliveries that have been held since before then, as many as one step ends.
fn held_too_long(
    conn: &Connection,
    ws: WorkspaceNo,
    before: Timestamp,
) -> Result<Vec<Id<kind::Delivery>>, Error> {
    let holding: Vec<([u8; 16], [u8; 16])> = conn
        .prepare_cached(sql("endpoint_holding"))?
        .query_map((ws.0, before.ms()), |row| Ok((row.get(0)?, row.get(1)?)))?
        .collect::<Result<_, _>>()?;
    let mut held = Vec::new();
    for (teller, partner) in holding {
        for is_retry in [false, true] {
            let room = STEP_ROWS - held.len() as u32;
            let mut statement = conn.prepare_cached(sql("held_too_long"))?;
            let mut rows = statement.query((ws.0, teller, partner, is_retry, before.ms(), room))?;
            while let Some(row) = rows.next()? {
                let id: Vec<u8> = row.get(0)?;
                held.push(id_from(&id, "queue", "delivery")?);
            }
        }
        if held.len() as u32 >= STEP_ROWS {
            break;
        }
    }
    Ok(held)
}
