//! Jobs: replays, backfills and cancellations of many deliveries, as rows that outlive the process.
//!
//! The cast: a [`Job`] says what is meant ([`JobPlan`]), how far it is and what it came to; `recover` takes its steps.
//! This file makes jobs, shows them, and pauses, resumes and cancels them. A job means what was planned before it
//! was made: what it plans itself is never among it.
//!
//! Not relied on: that whoever takes the steps knows of a change. A step begins by reading the job's row in the
//! transaction that also moves it.

use std::collections::BTreeMap;

use roundtrip_domain::id::{Id, WorkspaceNo, kind};
use roundtrip_domain::rate::Rate;
use roundtrip_domain::time::Timestamp;
use rusqlite::{Connection, OptionalExtension, Row};
use serde::{Deserialize, Serialize};

use super::filter::{DeliveryFilter, DeliveryState};
use super::statements::sql;
use super::{Ledger, id_from};
use crate::Error;

/// Most jobs of a workspace that are not over.
pub const JOBS_OPEN_MAX: u32 = 100;

macro_rules! words {
    ($($(#[$doc:meta])* $name:ident { $($(#[$member_doc:meta])* $member:ident = $word:literal,)* })*) => {
        $(
            $(#[$doc])*
            #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
            pub enum $name {
                $($(#[$member_doc])* $member,)*
            }

            impl $name {
                /// All of them.
                pub const ALL: &'static [Self] = &[$(Self::$member,)*];

                /// Its word in the ledger and the API.
                pub const fn name(self) -> &'static str {
                    match self { $(Self::$member => $word,)* }
                }

                /// Reads [`Self::name`].
                pub fn parse(text: &str) -> Option<Self> {
                    Self::ALL.iter().copied().find(|word| word.name() == text)
                }
            }
        )*
    };
}

words! {
    /// What a job does.
    JobKind {
        /// Plans the same facts once more.
        Replay = "replay",
        /// Tells a webhook of facts that nobody told it.
        Backfill = "backfill",
        /// Ends what waits.
        Cancel = "cancel",
    }

    /// How a job stands.
    JobState {
        /// Nothing of it is done yet.
        Planned = "planned",
        /// It goes on.
        Running = "running",
        /// Somebody stopped it, and can let it go on.
        Paused = "paused",
        /// Everything that it means was looked at.
        Done = "done",
        /// Somebody ended it. What it did stays done.
        Cancelled = "cancelled",
        /// It cannot go on; its note says why.
        Failed = "failed",
    }
}

impl JobState {
    /// Whether nothing more comes of it.
    pub const fn is_over(self) -> bool {
        matches!(self, Self::Done | Self::Cancelled | Self::Failed)
    }
}

/// Another endpoint that is told instead.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Into {
    /// A webhook.
    Webhook(Id<kind::Webhook>),
    /// A rule, as it is now; the partner stays the same. The rule that planned it can be named: then its template
    /// of now is filled.
    Rule(Id<kind::Rule>),
}

/// What a job is to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct JobPlan {
    /// What it does.
    pub kind: JobKind,
    /// With which deliveries; for a backfill, with facts of which app, kinds and time.
    pub filter: DeliveryFilter,
    /// Who is told instead. A backfill names the webhook that is filled.
    pub into: Option<Into>,
    /// How many it plans in a second. `None`: as many as its endpoints take beside what is fresh, a quarter of what
    /// they are given at a time.
    pub rate: Option<Rate>,
}

/// A job.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Job {
    /// Its id.
    pub id: Id<kind::Job>,
    /// What it is to do.
    pub plan: JobPlan,
    /// How it stands.
    pub state: JobState,
    /// When it was asked for.
    pub created_at: Timestamp,
    /// By whom.
    pub actor: String,
    /// When it was last moved or changed.
    pub changed_at: Timestamp,
    /// When it was over.
    pub ended_at: Option<Timestamp>,
    /// The last delivery or fact that was looked at.
    pub after: Option<u128>,
    /// Deliveries and facts from this id on are not meant.
    pub below: u128,
    /// How many rows were looked at.
    pub rows: u64,
    /// How many of them fitted.
    pub matched: u64,
    /// How many were planned or, by a cancellation, cancelled.
    pub done: u64,
    /// How many fitted and were left alone, by reason.
    pub skipped: BTreeMap<String, u64>,
    /// How many fitted when it was asked for, if they could be counted then.
    pub expected: Option<u64>,
    /// Why it failed.
    pub note: Option<String>,
    /// 1 for the first job of its workspace, in the order in which they were made: what ended before it was made
    /// knows of fewer jobs than that, whatever the clock said.
    pub number: u64,
}

/// What is wished of a job that is under way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum JobWish {
    /// Stop for now.
    Pause,
    /// Go on.
    Resume,
    /// End.
    Cancel,
}

/// What a wish came to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum JobAnswer {
    /// It is that now, or was already.
    Is(Box<Job>),
    /// It is over, or cannot be resumed because it does not pause.
    Refused(JobState),
    /// No such job.
    Unknown,
}

/// A job that wants steps.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct JobHead {
    /// Owner.
    pub workspace: WorkspaceNo,
    /// The job.
    pub id: Id<kind::Job>,
    /// How many it plans in a second; `None`: a share of what its endpoints take.
    pub rate: Option<Rate>,
}

/// `job.body`.
#[derive(Debug, Serialize, Deserialize)]
struct BodyV1 {
    v: u8,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    rule: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    webhook: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    partner: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    app: Option<String>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    kinds: Vec<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    event: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    fact: Option<String>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    states: Vec<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    outcome: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    from: Option<i64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    until: Option<i64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    ended_from: Option<i64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    into_webhook: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    into_rule: Option<String>,
}

fn body_write(plan: &JobPlan) -> String {
    let filter = &plan.filter;
    let body = BodyV1 {
        v: 1,
        rule: filter.rule.map(|id| id.to_string()),
        webhook: filter.webhook.map(|id| id.to_string()),
        partner: filter.partner.map(|id| id.to_string()),
        app: filter.app.map(|id| id.to_string()),
        kinds: filter.kinds.clone(),
        event: filter.event.map(|id| id.to_string()),
        fact: filter.fact.map(|id| id.to_string()),
        states: filter.states.iter().map(|state| state.name().to_owned()).collect(),
        outcome: filter.outcome.clone(),
        from: filter.from.map(Timestamp::ms),
        until: filter.until.map(Timestamp::ms),
        ended_from: filter.ended_from.map(Timestamp::ms),
        into_webhook: match plan.into {
            Some(Into::Webhook(id)) => Some(id.to_string()),
            _ => None,
        },
        into_rule: match plan.into {
            Some(Into::Rule(id)) => Some(id.to_string()),
            _ => None,
        },
    };
    serde_json::to_string(&body).unwrap_or_default()
}

/// Reads [`body_write`]. What cannot be read is never taken for "all": a filter that lost a condition would mean more
/// than its owner asked for.
fn body_read(text: &str) -> Result<(DeliveryFilter, Option<Into>), String> {
    fn id<K: roundtrip_domain::id::Kind>(text: Option<String>) -> Result<Option<Id<K>>, String> {
        text.map(|text| text.parse().map_err(|_| format!("`{text}` is no id of its kind"))).transpose()
    }
    let body: BodyV1 = serde_json::from_str(text).map_err(|error| error.to_string())?;
    if body.v != 1 {
        return Err("a version that this release does not know".to_owned());
    }
    let state = |name: String| DeliveryState::parse(&name).ok_or_else(|| format!("`{name}` is no state"));
    let filter = DeliveryFilter {
        rule: id(body.rule)?,
        webhook: id(body.webhook)?,
        partner: id(body.partner)?,
        app: id(body.app)?,
        kinds: body.kinds,
        event: id(body.event)?,
        fact: id(body.fact)?,
        states: body.states.into_iter().map(state).collect::<Result<_, _>>()?,
        outcome: body.outcome,
        from: body.from.map(Timestamp::from_ms),
        until: body.until.map(Timestamp::from_ms),
        ended_from: body.ended_from.map(Timestamp::from_ms),
    };
    let into = match (id(body.into_webhook)?, id(body.into_rule)?) {
        (Some(webhook), _) => Some(Into::Webhook(webhook)),
        (None, Some(rule)) => Some(Into::Rule(rule)),
        (None, None) => None,
    };
    Ok((filter, into))
}

fn from_row(row: &Row<'_>) -> Result<Job, Error> {
    let bytes: Vec<u8> = row.get(0)?;
    let id: Id<kind::Job> = id_from(&bytes, "job", "id")?;
    let corrupt = |column: &'static str, what: String| Error::Corrupt {
        table: "job",
        column,
        row: id.to_string(),
        what,
    };
    let word = |at: usize| row.get::<_, String>(at);
    let kind = JobKind::parse(&word(1)?).ok_or_else(|| corrupt("kind", "an unknown word".to_owned()))?;
    let state = JobState::parse(&word(2)?).ok_or_else(|| corrupt("state", "an unknown word".to_owned()))?;
    let (filter, into) = body_read(&word(16)?).map_err(|what| corrupt("body", what))?;
    let bits = |bytes: Vec<u8>| <[u8; 16]>::try_from(bytes).map(u128::from_be_bytes);
    let after: Option<Vec<u8>> = row.get(8)?;
    let below: Vec<u8> = row.get(9)?;
    let short = |_| corrupt("after", "an id that has not 16 bytes".to_owned());
    let skipped: String = row.get(13)?;
    Ok(Job {
        id,
        plan: JobPlan { kind, filter, into, rate: Rate::of_per_1000_s(row.get(7)?) },
        state,
        created_at: Timestamp::from_ms(row.get(3)?),
        changed_at: Timestamp::from_ms(row.get(4)?),
        ended_at: row.get::<_, Option<i64>>(5)?.map(Timestamp::from_ms),
        actor: row.get(6)?,
        after: after.map(bits).transpose().map_err(short)?,
        below: bits(below).map_err(short)?,
        rows: row.get(10)?,
        matched: row.get(11)?,
        done: row.get(12)?,
        skipped: serde_json::from_str(&skipped).map_err(|error| corrupt("skipped", error.to_string()))?,
        expected: row.get(14)?,
        note: row.get(15)?,
        number: row.get(17)?,
    })
}

pub(super) fn get(conn: &Connection, ws: WorkspaceNo, id: Id<kind::Job>) -> Result<Option<Job>, Error> {
    let mut statement = conn.prepare_cached(sql("job_get"))?;
    let mut rows = statement.query((ws.0, id.bytes().as_slice()))?;
    rows.next()?.map(from_row).transpose()
}

fn set_state(
    conn: &Connection,
    ws: WorkspaceNo,
    job: &Job,
    state: JobState,
    at: Timestamp,
    note: Option<&str>,
) -> Result<(), Error> {
    let ended_at = state.is_over().then_some(at.ms());
    conn.prepare_cached(sql("job_state"))?.execute((
        ws.0,
        job.id.bytes().as_slice(),
        state.name(),
        at.ms(),
        ended_at,
        note,
    ))?;
    Ok(())
}

impl Ledger {
    /// Makes a job; `None` when [`JOBS_OPEN_MAX`] jobs are not over yet. It means what was planned before `at`.
    pub async fn job_create(
        &self,
        ws: WorkspaceNo,
        plan: JobPlan,
        expected: Option<u64>,
        actor: String,
        at: Timestamp,
    ) -> Result<Option<Job>, Error> {
        let ids = self.inner.ids.clone();
        let made = self
            .write(move |conn| {
                let open: u32 =
                    conn.prepare_cached(sql("job_open_count"))?.query_row([ws.0], |row| row.get(0))?;
                if open >= JOBS_OPEN_MAX {
                    return Ok(None);
                }
                let id: Id<kind::Job> = ids.id(at);
                let below: Id<kind::Delivery> = ids.fence(at);
                conn.prepare_cached(sql("job_insert"))?.execute(rusqlite::params![
                    ws.0,
                    id.bytes().as_slice(),
                    plan.kind.name(),
                    JobState::Planned.name(),
                    at.ms(),
                    actor,
                    plan.rate.map_or(0, Rate::per_1000_s),
                    below.bytes().as_slice(),
                    expected,
                    body_write(&plan),
                ])?;
                get(conn, ws, id)
            })
            .await?;
        self.inner.handoff.jobs();
        Ok(made)
    }

    /// A job.
    pub async fn job_get(&self, ws: WorkspaceNo, id: Id<kind::Job>) -> Result<Option<Job>, Error> {
        self.read(move |conn| get(conn, ws, id)).await
    }

    /// The latest jobs before one (or all), the newest first.
    pub async fn job_list(
        &self,
        ws: WorkspaceNo,
        before: Option<Id<kind::Job>>,
        limit: u32,
    ) -> Result<Vec<Job>, Error> {
        self.read(move |conn| {
            let before = before.map_or([0xff; 16], Id::bytes);
            let mut statement = conn.prepare_cached(sql("job_list"))?;
            let mut rows = statement.query((ws.0, before.as_slice(), limit))?;
            let mut jobs = Vec::new();
            while let Some(row) = rows.next()? {
                jobs.push(from_row(row)?);
            }
            Ok(jobs)
        })
        .await
    }

    /// Jobs that want steps, at most `limit`: the first of every workspace, then the second of each, and so on, so that
    /// no workspace takes the places of another.
    pub async fn job_unfinished(&self, limit: u32) -> Result<Vec<JobHead>, Error> {
        self.read(move |conn| {
            let mut statement = conn.prepare_cached(sql("job_unfinished"))?;
            let mut rows = statement.query([limit])?;
            let mut heads = Vec::new();
            while let Some(row) = rows.next()? {
                let id: Vec<u8> = row.get(1)?;
                heads.push(JobHead {
                    workspace: WorkspaceNo(row.get(0)?),
                    id: id_from(&id, "job", "id")?,
                    rate: Rate::of_per_1000_s(row.get(2)?),
                });
            }
            Ok(heads)
        })
        .await
    }

    /// Pauses, resumes or ends a job.
    pub async fn job_change(
        &self,
        ws: WorkspaceNo,
        id: Id<kind::Job>,
        wish: JobWish,
        at: Timestamp,
    ) -> Result<JobAnswer, Error> {
        let answer = self
            .write(move |conn| {
                let Some(job) = get(conn, ws, id)? else { return Ok(JobAnswer::Unknown) };
                let to = match (wish, job.state) {
                    (JobWish::Pause, JobState::Planned | JobState::Running) => JobState::Paused,
                    (JobWish::Resume, JobState::Paused) => JobState::Running,
                    (JobWish::Cancel, JobState::Planned | JobState::Running | JobState::Paused) => {
                        JobState::Cancelled
                    }
                    (JobWish::Pause, JobState::Paused)
                    | (JobWish::Resume, JobState::Planned | JobState::Running)
                    | (JobWish::Cancel, JobState::Cancelled) => return Ok(JobAnswer::Is(Box::new(job))),
                    (_, state) => return Ok(JobAnswer::Refused(state)),
                };
                set_state(conn, ws, &job, to, at, None)?;
                Ok(get(conn, ws, id)?.map_or(JobAnswer::Unknown, |job| JobAnswer::Is(Box::new(job))))
            })
            .await?;
        self.inner.handoff.jobs();
        Ok(answer)
    }

    /// Ends a job that cannot go on.
    pub async fn job_fail(
        &self,
        ws: WorkspaceNo,
        id: Id<kind::Job>,
        why: String,
        at: Timestamp,
    ) -> Result<(), Error> {
        self.write(move |conn| {
            // Its row may be what cannot be read, so only the state is asked for.
            let state: Option<String> = conn
                .prepare_cached(sql("job_state_get"))?
                .query_row((ws.0, id.bytes().as_slice()), |row| row.get(0))
                .optional()?;
            if state.as_deref().and_then(JobState::parse).is_some_and(|state| !state.is_over()) {
                conn.prepare_cached(sql("job_state"))?.execute((
                    ws.0,
                    id.bytes().as_slice(),
                    JobState::Failed.name(),
                    at.ms(),
                    at.ms(),
                    &why,
                ))?;
            }
            Ok(())
        })
        .await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_plan_comes_back_as_it_was_and_a_broken_one_is_never_all() {
        let plan = JobPlan {
            kind: JobKind::Replay,
            filter: DeliveryFilter {
                rule: Some(Id::from_bits(1)),
                webhook: None,
                partner: Some(Id::from_bits(2)),
                app: Some(Id::from_bits(3)),
                kinds: vec!["install".into()],
                event: Some(Id::from_bits(4)),
                fact: Some(Id::from_bits(5)),
                states: DeliveryState::ALL.to_vec(),
                outcome: Some("http_404".into()),
                from: Some(Timestamp::from_ms(6)),
                until: Some(Timestamp::from_ms(7)),
                ended_from: Some(Timestamp::from_ms(9)),
            },
            into: Some(Into::Rule(Id::from_bits(8))),
            rate: None,
        };
        let text = body_write(&plan);
        assert_eq!(body_read(&text), Ok((plan.filter, plan.into)));
        for broken in ["{}", r#"{"v":2}"#, r#"{"v":1,"rule":"x"}"#, r#"{"v":1,"states":["gone"]}"#, ""] {
            assert!(body_read(broken).is_err(), "{broken}");
        }
    }
}
