//! The steps of jobs: what of the deliveries that a job means is told again, or ended, and what is left alone and why.
//!
//! A step walks a bounded number of rows with a reader, then judges and plans what fitted in one transaction, which
//! also moves the job. So a crash repeats nothing and leaves nothing out, and the writer is never busy for longer than
//! it takes to plan a step's deliveries. A job that was paused, cancelled or moved meanwhile is found in that
//! transaction, and nothing is done.
//!
//! A replay tells the same fact under a new delivery; the old one and its sends stay as they are. What was told since
//! by another delivery of the same fact to the same endpoint, or waits to be, is left alone.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use roundtrip_domain::endpoint::Endpoint;
use roundtrip_domain::event::ConversionKind;
use roundtrip_domain::id::{Id, WorkspaceNo, kind};
use roundtrip_domain::settings::{Rule, Settings};
use roundtrip_domain::template::{Availability, Template, vocabulary};
use roundtrip_domain::time::Timestamp;
use roundtrip_domain::webhook::{Topic, Webhook};
use rusqlite::{Connection, OptionalExtension};

use super::decide::Due;
use super::fact::{self, News};
use super::filter::{self, DeliveryState, Order, Scan};
use super::job::{self, Into, Job, JobKind, JobPlan, JobState};
use super::listed::{self, DeliveryListed};
use super::rollup::Rollups;
use super::statements::sql;
use super::{Ledger, delivery, id_from, status};
use crate::Error;

/// Most deliveries that one step plans or cancels.
pub const STEP_MATCHES_MAX: u32 = 200;
/// Most rows that one step looks at.
const STEP_ROWS_MAX: u32 = 5_000;
/// Most events that one step of a backfill looks at: each costs several look-ups.
const STEP_EVENTS_MAX: u32 = 1_000;
/// The reason of what its owner cancelled.
pub(super) const BY_OWNER: &str = "cancelled_by_owner";

/// What a step came to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct JobStep {
    /// How many it planned or cancelled.
    pub done: u32,
    /// What it planned.
    pub planned: Vec<Due>,
    /// How the job stands after it.
    pub state: JobState,
}

/// What a job would do, counted without doing it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct JobCount {
    /// How many deliveries or facts fit.
    pub matched: u64,
    /// How many of them it would plan or cancel.
    pub done: u64,
    /// How many it would leave alone, by reason.
    pub skipped: BTreeMap<String, u64>,
    /// How many rows were looked at.
    pub rows: u64,
    /// Whether that were all. If not, the counts are of the oldest ones.
    pub is_whole: bool,
    /// The first of those that it would plan or cancel.
    pub sample: Vec<DeliveryListed>,
}

/// What the templates of rules ask for, at the versions that planned deliveries; `None` when that cannot be read.
type Asked = BTreeMap<(Id<kind::Rule>, u64), Option<BTreeSet<String>>>;

/// Why a rule cannot be told in another's place; `None` when it can.
pub fn unfit_rule(source: &Rule, source_template: Option<&Template>, target: &Rule) -> Option<String> {
    let Some(template) = target.request.template() else {
        return Some(format!(
            "rule `{}` tells the clicks' own callbacks, which others do not store",
            target.slug
        ));
    };
    let Some(source_template) = source_template else {
        return Some(format!(
            "rule `{}` told the clicks' own callbacks, so it stored no values",
            source.slug
        ));
    };
    if source.app != target.app {
        return Some(format!("rule `{}` is about another app", target.slug));
    }
    let asked = keys(source_template);
    let missing: Vec<String> = keys(template).difference(&asked).map(|key| format!("{{{key}}}")).collect();
    if !missing.is_empty() {
        return Some(format!(
            "the template of `{}` needs {}, which deliveries of `{}` did not store",
            target.slug,
            missing.join(", "),
            source.slug
        ));
    }
    if source.on != target.on {
        let (asked, told) = (target.on.name(), source.on.name());
        return Some(format!(
            "rule `{}` tells of {asked}, and `{}` told of {told}",
            target.slug, source.slug
        ));
    }
    differs(source, target, template).map(|what| {
        format!("`{}` and `{}` differ in {what}, so stored values would be wrong", source.slug, target.slug)
    })
}

/// The values that a template asks stored deliveries for: not the partner's settings, and not what only a send knows.
fn keys(template: &Template) -> BTreeSet<String> {
    let is_stored = |key: &&str| {
        !key.starts_with("cfg.")
            && !vocabulary::find(key).is_some_and(|known| known.availability == Availability::Sending)
    };
    template.macros().map(|used| used.key.as_str()).filter(is_stored).map(str::to_owned).collect()
}

/// What two rules make of the same fact differently, where the template says it.
fn differs(source: &Rule, target: &Rule, template: &Template) -> Option<&'static str> {
    let uses = |is: &dyn Fn(&str) -> bool| template.macros().any(|used| is(&used.key));
    if source.share != target.share && uses(&|key| vocabulary::find(key).is_some_and(|known| known.money)) {
        return Some("how they share revenue");
    }
    (source.rename != target.rename && uses(&|key| key == "mapped_event_name"))
        .then_some("how they name events")
}

/// A delivery of a fact to an endpoint, and how it ended, unless it waits.
type Telling = (Id<kind::Delivery>, Option<String>);

/// What a step works with.
struct Bench<'a> {
    conn: &'a Connection,
    ws: WorkspaceNo,
    settings: &'a Settings,
    asked: &'a Asked,
    job: &'a Job,
    at: Timestamp,
}

impl Bench<'_> {
    /// What a replay makes of a delivery: the one that is planned, or why it is left alone.
    fn replay(&self, id: Id<kind::Delivery>) -> Result<Result<delivery::Row, &'static str>, Error> {
        let (conn, ws) = (self.conn, self.ws);
        let Some(row) = delivery::row(conn, ws.0, id)? else { return Ok(Err("not_kept")) };
        let (endpoint, version) = match self.target(&row) {
            Ok(target) => target,
            Err(reason) => return Ok(Err(reason)),
        };
        if row.endpoint.postback().is_some() && status::is_rejected(conn, ws.0, row.event)? {
            return Ok(Err("conversion_rejected"));
        }
        let own: Option<(String, String, u64)> = conn
            .prepare_cached(sql("finish_get"))?
            .query_row((ws.0, id.bytes().as_slice()), |row| Ok((row.get(0)?, row.get(1)?, row.get(4)?)))
            .optional()?;
        let waiting = [DeliveryState::Scheduled, DeliveryState::Held];
        let means_waiting = self.job.plan.filter.states.iter().any(|state| waiting.contains(state));
        let is_moved = endpoint != row.endpoint;
        let was_delivered = own.as_ref().is_some_and(|(state, ..)| state == "delivered");
        match &own {
            None if !is_moved => return Ok(Err("waiting")),
            // A decision took it back, and a later one may have told something else in its place.
            Some((state, reason, _)) if state == "cancelled" && reason != BY_OWNER => {
                return Ok(Err("decided_otherwise"));
            }
            // It waited when the job was made, and what waited was not meant.
            Some((.., jobs)) if *jobs >= self.job.number && !means_waiting => {
                return Ok(Err("ended_since"));
            }
            _ => {}
        }
        let others = self.others(&row, endpoint, id)?;
        for (other, state) in &others {
            let reason = match state.as_deref() {
                None => "waiting_already",
                Some("delivered") if is_moved => "told_already",
                Some("delivered") if *other > id && !was_delivered => "delivered_since",
                _ => continue,
            };
            return Ok(Err(reason));
        }
        // Of several that fit, the last one is told again.
        let below: Id<kind::Delivery> = Id::from_bits(self.job.below);
        for (other, _) in others.iter().filter(|(other, _)| !is_moved && *other > id && *other < below) {
            if filter::fits(conn, ws, &self.job.plan.filter, *other)? {
                return Ok(Err("repeated"));
            }
        }
        // Whoever asks for it after its time wants it sent.
        let deadline = row.deadline.filter(|deadline| *deadline > self.at);
        Ok(Ok(delivery::Row {
            endpoint,
            teller_version: version,
            created_at: self.at,
            deadline,
            replay_of: Some(id),
            ..row
        }))
    }

    /// Who is told, and by which version of what.
    fn target(&self, row: &delivery::Row) -> Result<(Endpoint, u64), &'static str> {
        if row.kind == Topic::Test.name() {
            // Its values are made up: nobody is told them for real.
            return Err("test");
        }
        match (self.job.plan.into, row.endpoint) {
            (None, endpoint @ Endpoint::Postback { rule, .. }) => {
                if self.settings.rule(rule).is_none() {
                    Err("rule_deleted")
                } else {
                    Ok((endpoint, row.teller_version))
                }
            }
            (Some(Into::Rule(to)), Endpoint::Postback { rule, partner }) => {
                let target = self.settings.rule(to).ok_or("rule_deleted")?;
                let is_kind = target.on.name() == row.kind
                    || (target.on == ConversionKind::StatusChange
                        && row.kind == ConversionKind::Rejected.name());
                if !is_kind || !tells(self.settings, target, partner) {
                    return Err("target_does_not_tell");
                }
                let template = target.request.template().ok_or("values_not_stored")?;
                let asked = self.asked.get(&(rule, row.teller_version)).and_then(Option::as_ref);
                let asked = asked.ok_or("values_not_stored")?;
                if !keys(template).is_subset(asked) {
                    return Err("values_not_stored");
                }
                if self.settings.rule(rule).is_some_and(|source| differs(source, target, template).is_some())
                {
                    return Err("rules_differ");
                }
                Ok((Endpoint::Postback { rule: to, partner }, target.version))
            }
            (None, Endpoint::Webhook(webhook)) => self.webhook(webhook),
            (Some(Into::Webhook(to)), Endpoint::Webhook(_)) => {
                let app: Id<kind::App> = Id::from_bits(u128::from_be_bytes(row.app));
                let takes = |to: &Webhook| {
                    to.app.is_none_or(|own| own == app) && (row.booked_at.is_some() || to.sandbox)
                };
                if self.settings.webhook(to).is_some_and(|to| !takes(to)) {
                    return Err("not_wanted");
                }
                self.webhook(to)
            }
            (Some(Into::Webhook(_)), Endpoint::Postback { .. })
            | (Some(Into::Rule(_)), Endpoint::Webhook(_)) => Err("other_form"),
        }
    }

    /// Other deliveries of the same fact to an endpoint, oldest first: with their end, unless they wait.
    fn others(
        &self,
        row: &delivery::Row,
        endpoint: Endpoint,
        id: Id<kind::Delivery>,
    ) -> Result<Vec<Telling>, Error> {
        let mut statement = self.conn.prepare_cached(sql("delivery_tellings"))?;
        let mut rows = statement.query((
            self.ws.0,
            row.event.bytes().as_slice(),
            endpoint.teller().as_slice(),
            endpoint.partner().as_slice(),
            row.fact.bytes().as_slice(),
        ))?;
        let mut others = Vec::new();
        while let Some(row) = rows.next()? {
            let bytes: Vec<u8> = row.get(0)?;
            let other = id_from(&bytes, "delivery", "id")?;
            if other != id {
                others.push((other, row.get(1)?));
            }
        }
        Ok(others)
    }

    /// Whether a delivery waits, so that it can be cancelled.
    fn waits(&self, id: Id<kind::Delivery>) -> Result<bool, Error> {
        Ok(self.conn.prepare_cached(sql("queue_of_delivery"))?.exists((self.ws.0, id.bytes().as_slice()))?)
    }

    /// A webhook that can be told, as it is now.
    fn webhook(&self, id: Id<kind::Webhook>) -> Result<(Endpoint, u64), &'static str> {
        let webhook = self.settings.webhook(id).ok_or("webhook_deleted")?;
        Ok((Endpoint::Webhook(id), webhook.version))
    }
}

/// Whether a rule can tell a partner.
fn tells(settings: &Settings, rule: &Rule, partner: Id<kind::Partner>) -> bool {
    match (rule.partner, rule.group) {
        (Some(told), _) => told == partner,
        (None, Some(group)) => {
            settings.groups.get(&group).is_some_and(|group| group.partners.contains(&partner))
        }
        (None, None) => true,
    }
}

/// What of a job's deliveries or, of a backfill, events fits from where it is.
struct Found {
    ids: Vec<u128>,
    rows: u32,
    last: Option<u128>,
    is_end: bool,
}

/// Walks on from where a job is.
fn walk(conn: &Connection, settings: &Settings, job: &Job, matches_max: u32) -> Result<Found, Error> {
    let ws = settings.workspace;
    if job.plan.kind == JobKind::Backfill {
        return walk_events(conn, settings, job, matches_max);
    }
    let scan = Scan {
        filter: &job.plan.filter,
        order: Order::OldestFirst,
        after: job.after.map(Id::from_bits),
        below: Some(Id::from_bits(job.below)),
        matches_max: matches_max as usize,
        rows_max: STEP_ROWS_MAX,
    };
    let found = scan.walk(conn, ws)?;
    Ok(Found {
        ids: found.ids.into_iter().map(Id::bits).collect(),
        rows: found.rows,
        last: found.last.map(Id::bits),
        is_end: found.is_end,
    })
}

/// Walks on over the events of which a webhook was not told.
fn walk_events(conn: &Connection, settings: &Settings, job: &Job, matches_max: u32) -> Result<Found, Error> {
    let filter = &job.plan.filter;
    let webhook = match job.plan.into {
        Some(Into::Webhook(id)) => settings.webhook(id),
        _ => None,
    };
    let webhook = webhook.ok_or_else(|| Error::Refused("the webhook was deleted".to_owned()))?;
    let (low, high) = filter.range();
    let low = job.after.map_or(low, |after| low.max(after.saturating_add(1)));
    let ids = low..high.min(job.below);
    let page = fact::facts_page(conn, settings.workspace.0, filter.app, ids, STEP_EVENTS_MAX)?;
    let mut found =
        Found { ids: Vec::new(), rows: page.rows, last: page.last, is_end: page.rows < STEP_EVENTS_MAX };
    for event in page.events {
        if fact::untold(conn, settings, webhook, event, &filter.kinds)?.is_none() {
            continue;
        }
        found.ids.push(event.bits());
        if found.ids.len() >= matches_max as usize {
            // What is behind it is looked at by the next step.
            found.is_end = found.is_end && found.last == Some(event.bits());
            found.last = Some(event.bits());
            break;
        }
    }
    Ok(found)
}

impl Ledger {
    /// Takes a step of a job: plans or cancels at most `room` deliveries, and at most [`STEP_MATCHES_MAX`]. `None`
    /// when there is no such job.
    pub async fn job_step(
        &self,
        ws: WorkspaceNo,
        id: Id<kind::Job>,
        room: u32,
        at: Timestamp,
    ) -> Result<Option<JobStep>, Error> {
        let Some(job) = self.job_get(ws, id).await? else { return Ok(None) };
        if !matches!(job.state, JobState::Planned | JobState::Running) {
            return Ok(Some(JobStep { done: 0, planned: Vec::new(), state: job.state }));
        }
        let room = room.clamp(1, STEP_MATCHES_MAX);
        let settings = self.settings_of(ws)?;
        let (walked, its) = (job.clone(), settings.clone());
        let (found, versions) = self
            .read(move |conn| {
                let found = walk(conn, &its, &walked, room)?;
                let versions = versions(conn, ws, &walked.plan, &found.ids)?;
                Ok((found, versions))
            })
            .await?;
        let asked = self.asked(ws, versions).await?;
        let ids = self.inner.ids.clone();
        let step = self
            .write(move |conn| {
                let Some(now) = job::get(conn, ws, id)? else { return Ok(None) };
                // Paused, cancelled or moved since it was read.
                let is_same =
                    matches!(now.state, JobState::Planned | JobState::Running) && now.after == job.after;
                if !is_same {
                    return Ok(Some(JobStep { done: 0, planned: Vec::new(), state: now.state }));
                }
                // What it plans is never among what it means, also after a step back of the clock, and a start.
                ids.raise(Id::<kind::Delivery>::from_bits(now.below).minted_at());
                let at_id = at.max(now.created_at);
                let bench = Bench { conn, ws, settings: &settings, asked: &asked, job: &now, at: at_id };
                let (mut skipped, mut done, mut planned) = (now.skipped.clone(), 0, Vec::new());
                let mut rollups = Rollups::default();
                for id in &found.ids {
                    let id = *id;
                    let reason = match now.plan.kind {
                        JobKind::Cancel => {
                            match delivery::cancel(conn, ws.0, Id::from_bits(id), BY_OWNER, at, &mut rollups)?
                            {
                                true => None,
                                false => Some("ended_meanwhile"),
                            }
                        }
                        JobKind::Backfill => {
                            let to = match now.plan.into {
                                Some(Into::Webhook(to)) => settings.webhook(to),
                                _ => None,
                            };
                            let mut news = News { conn, ids: &ids, at: at_id, rollups: &mut rollups };
                            let event = Id::from_bits(id);
                            match to
                                .map(|to| fact::fill(&mut news, &settings, to, event, &now.plan.filter.kinds))
                            {
                                None => Some("webhook_deleted"),
                                Some(filled) => match filled? {
                                    Some(item) => {
                                        planned.push(item);
                                        None
                                    }
                                    None => Some("told_already"),
                                },
                            }
                        }
                        JobKind::Replay => match bench.replay(Id::from_bits(id))? {
                            Err(reason) => Some(reason),
                            Ok(row) => {
                                let delivery: Id<kind::Delivery> = ids.id(at_id);
                                let item = Due {
                                    workspace: ws,
                                    endpoint: row.endpoint,
                                    due: at,
                                    delivery,
                                    sends: 0,
                                };
                                delivery::plan(conn, &row, &item, "replayed", &mut rollups)?;
                                planned.push(item);
                                None
                            }
                        },
                    };
                    match reason {
                        Some(reason) => *skipped.entry(reason.to_owned()).or_default() += 1,
                        None => done += 1,
                    }
                }
                rollups.flush(conn)?;
                let state = if found.is_end { JobState::Done } else { JobState::Running };
                let after = found.last.or(now.after);
                conn.prepare_cached(sql("job_move"))?.execute(rusqlite::params![
                    ws.0,
                    id.bytes().as_slice(),
                    state.name(),
                    at.ms(),
                    state.is_over().then_some(at.ms()),
                    after.map(|bits| bits.to_be_bytes().to_vec()),
                    found.rows,
                    found.ids.len() as u64,
                    done,
                    serde_json::to_string(&skipped).unwrap_or_else(|_| "{}".to_owned()),
                ])?;
                Ok(Some(JobStep { done, planned, state }))
            })
            .await?;
        self.inner.handoff.due(step.as_ref().map_or(&[], |step| &step.planned));
        Ok(step)
    }

    /// Which of these deliveries wait for their first send, at an endpoint that is told.
    pub async fn unsent(&self, items: Vec<Due>) -> Result<Vec<Due>, Error> {
        self.read(move |conn| {
            let mut statement = conn.prepare_cached(sql("delivery_unsent"))?;
            let mut unsent = Vec::new();
            for item in items {
                let (teller, partner) = (item.endpoint.teller(), item.endpoint.partner());
                if statement.exists((item.workspace.0, item.delivery.bytes(), teller, partner))? {
                    unsent.push(item);
                }
            }
            Ok(unsent)
        })
        .await
    }

    /// What a job would do if it were made now, without doing it. Looks at no more than about `rows_max` rows, in
    /// pieces, so that nobody waits behind it.
    pub async fn job_count(
        &self,
        ws: WorkspaceNo,
        plan: JobPlan,
        samples: usize,
        rows_max: u64,
        at: Timestamp,
    ) -> Result<JobCount, Error> {
        let below = self.inner.ids.fence::<kind::Delivery>(at).bits();
        let mut job = Job {
            id: Id::from_bits(0),
            plan,
            state: JobState::Planned,
            created_at: at,
            actor: String::new(),
            changed_at: at,
            ended_at: None,
            after: None,
            below,
            rows: 0,
            matched: 0,
            done: 0,
            skipped: BTreeMap::new(),
            expected: None,
            note: None,
            // What has ended by now ended before it.
            number: i64::MAX.cast_unsigned(),
        };
        let mut count = JobCount::default();
        // What is replayed under one delivery is not replayed under another: a job would find the new one waiting.
        let mut taken: BTreeSet<([u8; 16], [u8; 16], Id<kind::Event>)> = BTreeSet::new();
        let settings = self.settings_of(ws)?;
        while count.rows < rows_max {
            let (walked, its) = (job.clone(), settings.clone());
            let (found, versions) = self
                .read(move |conn| {
                    let found = walk(conn, &its, &walked, STEP_ROWS_MAX)?;
                    let versions = versions(conn, ws, &walked.plan, &found.ids)?;
                    Ok((found, versions))
                })
                .await?;
            let asked = self.asked(ws, versions).await?;
            let (settings, judged) = (settings.clone(), job.clone());
            let ids = found.ids.clone();
            let room = samples.saturating_sub(count.sample.len());
            let outcomes = self
                .read(move |conn| {
                    let bench = Bench {
                        conn,
                        ws,
                        settings: &settings,
                        asked: &asked,
                        job: &judged,
                        at: judged.created_at,
                    };
                    let (mut outcomes, mut sample) = (Vec::new(), Vec::new());
                    for id in ids.into_iter().map(Id::from_bits) {
                        let outcome = match judged.plan.kind {
                            JobKind::Cancel => match bench.waits(id)? {
                                true => Ok(None),
                                false => Err("ended_meanwhile"),
                            },
                            JobKind::Backfill => Ok(None),
                            JobKind::Replay => bench
                                .replay(id)?
                                .map(|row| Some((row.endpoint.teller(), row.endpoint.partner(), row.fact))),
                        };
                        if outcome.is_ok() && sample.len() < room {
                            sample.extend(listed::listed(conn, ws, id)?);
                        }
                        outcomes.push(outcome);
                    }
                    Ok((outcomes, sample))
                })
                .await?;
            count.sample.extend(outcomes.1);
            for outcome in outcomes.0 {
                count.matched += 1;
                let reason = match outcome {
                    Err(reason) => reason,
                    Ok(Some(telling)) if !taken.insert(telling) => "waiting_already",
                    Ok(_) => {
                        count.done += 1;
                        continue;
                    }
                };
                *count.skipped.entry(reason.to_owned()).or_default() += 1;
            }
            count.rows += u64::from(found.rows);
            job.after = found.last.or(job.after);
            if found.is_end {
                count.is_whole = true;
                break;
            }
        }
        Ok(count)
    }

    fn settings_of(&self, ws: WorkspaceNo) -> Result<Arc<Settings>, Error> {
        let settings = self.catalog().workspace(ws).cloned();
        settings.ok_or_else(|| Error::Refused(format!("workspace {} is not there", ws.0)))
    }

    async fn asked(
        &self,
        ws: WorkspaceNo,
        versions: BTreeSet<(Id<kind::Rule>, u64)>,
    ) -> Result<Asked, Error> {
        let mut asked = Asked::new();
        for (rule, version) in versions {
            let template = self.rule_template(ws, rule, version).await?;
            asked.insert((rule, version), template.as_deref().map(keys));
        }
        Ok(asked)
    }
}

/// The versions of rules whose templates tell whether another rule can be told instead.
fn versions(
    conn: &Connection,
    ws: WorkspaceNo,
    plan: &JobPlan,
    ids: &[u128],
) -> Result<BTreeSet<(Id<kind::Rule>, u64)>, Error> {
    let mut versions = BTreeSet::new();
    if matches!(plan.into, Some(Into::Rule(_))) {
        for id in ids {
            if let Some(row) = delivery::row(conn, ws.0, Id::from_bits(*id))?
                && let Some((rule, _)) = row.endpoint.postback()
            {
                versions.insert((rule, row.teller_version));
            }
        }
    }
    Ok(versions)
}

/// The states whose deliveries a job means when its owner names none: what was given up or came too late, of a
/// replay; what waits, of a cancellation.
pub fn states_default(kind: JobKind) -> Vec<DeliveryState> {
    match kind {
        JobKind::Replay => vec![DeliveryState::Dead, DeliveryState::Expired],
        JobKind::Cancel => vec![DeliveryState::Scheduled, DeliveryState::Held],
        JobKind::Backfill => Vec::new(),
    }
}
