//! Jobs as the API answers them, the dashboard shows them and commands print them.

use std::collections::BTreeMap;

use roundtrip_domain::rate::Rate;
use roundtrip_domain::settings::Settings;
use roundtrip_domain::time::Timestamp;
use roundtrip_store::ledger::{
    self, DeliveryFilter, DeliveryState, Into, JobCount, JobKind, JobPlan, JobState, JobWait,
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Number;

use crate::conversions::{app, partner, webhook};
use crate::deliveries::{self, DeliveryRow, rule};
use crate::story::Named;
use crate::waits;

/// What a job means.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct JobFilter {
    /// Told by this rule.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rule: Option<Named>,
    /// Told to this webhook.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub webhook: Option<Named>,
    /// Told to this partner.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub partner: Option<Named>,
    /// Of this app.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub app: Option<Named>,
    /// Of one of these kinds; empty: of any.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub kinds: Vec<String>,
    /// About this event.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub event: Option<String>,
    /// Telling this fact.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fact: Option<String>,
    /// In one of these states; empty: in any.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub states: Vec<String>,
    /// Whose last send came to that.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub outcome: Option<String>,
    /// Planned then or later.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub since: Option<String>,
    /// Planned before then.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub until: Option<String>,
    /// Not over before then: when its endpoint's trouble began, if `since` said `failing`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failing_since: Option<String>,
}

/// A job.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Job {
    /// `job_…`.
    pub id: String,
    /// `replay`, `backfill` or `cancel`.
    pub kind: String,
    /// `planned`, `running`, `paused`, `done`, `cancelled` or `failed`.
    pub state: String,
    /// All of it in one sentence.
    pub sentence: String,
    /// What it means.
    pub filter: JobFilter,
    /// Who is told instead: `webhook:…` or `rule:…`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub into: Option<String>,
    /// How many it plans in a second, at most; absent: a quarter of what its endpoints are given at a time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rate: Option<Number>,
    /// Why it plans nothing at the moment, if it does not: `rate_limited` (its rate, or the share that it has of the
    /// room), `concurrency_full`, or what keeps an endpoint from being told.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub waits: Option<String>,
    /// The endpoint that it waits for: `webhook:SLUG` or `rule:SLUG@PARTNER`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub waits_for: Option<String>,
    /// Until when it waits, if that is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub waits_until: Option<String>,
    /// Who asked for it.
    pub actor: String,
    /// When it was asked for. It means what was planned before.
    pub created_at: String,
    /// When it was last moved or changed.
    pub changed_at: String,
    /// When it was over.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ended_at: Option<String>,
    /// How many rows were looked at.
    pub scanned: u64,
    /// How many of them fitted.
    pub matched: u64,
    /// How many of those were planned or, by a cancellation, cancelled.
    pub done: u64,
    /// How many were left alone, by reason.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub skipped: BTreeMap<String, u64>,
    /// How many fitted when it was asked for; absent if they were too many to count then.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expected: Option<u64>,
    /// Why it failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub note: Option<String>,
}

impl Job {
    /// Whether nothing more comes of it.
    pub fn is_over(&self) -> bool {
        JobState::parse(&self.state).is_some_and(JobState::is_over)
    }
}

/// A page of jobs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Jobs {
    /// The newest first.
    pub items: Vec<Job>,
    /// Send it as `before` for the next page; absent on the last one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next: Option<String>,
}

/// What a job would do.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct JobTrial {
    /// `replay`, `backfill` or `cancel`.
    pub kind: String,
    /// What it would mean.
    pub filter: JobFilter,
    /// In one sentence.
    pub sentence: String,
    /// How many deliveries or facts fit.
    pub matched: u64,
    /// How many of them it would plan or cancel.
    pub done: u64,
    /// How many it would leave alone, by reason.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub skipped: BTreeMap<String, u64>,
    /// How many wait for the one endpoint that is meant, and are sent anyway: a replay leaves them alone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub waiting: Option<u64>,
    /// How many rows were looked at.
    pub scanned: u64,
    /// Whether that were all; if not, the counts are of the oldest ones.
    pub whole: bool,
    /// The oldest of those that it would plan or cancel.
    pub sample: Vec<DeliveryRow>,
}

/// How long a job waits before it is worth a sentence: its own rate holds it up again and again, for moments.
const WAIT_MS: i64 = 1_000;

/// A job as people and programs read it. `wait`: why it plans nothing, as the engine saw it last.
pub fn job(job: &ledger::Job, wait: Option<JobWait>, settings: &Settings, now: Timestamp) -> Job {
    let wait = wait.filter(|_| matches!(job.state, JobState::Planned | JobState::Running));
    let mut sentence = sentence(job);
    let is_long =
        |wait: &JobWait| wait.endpoint.is_some() || wait.why.until.is_some_and(|at| at.since(now) >= WAIT_MS);
    if let Some(wait) = wait.filter(is_long) {
        let because = waits::job_because(wait, job.plan.rate.is_some(), settings, now);
        sentence.push_str(&format!(" It waits because {because}."));
    }
    Job {
        id: job.id.to_string(),
        kind: job.plan.kind.name().to_owned(),
        state: job.state.name().to_owned(),
        sentence,
        filter: filter(&job.plan.filter, settings),
        into: into(job.plan.into, settings),
        rate: job.plan.rate.and_then(number),
        waits: wait.map(|wait| wait.why.wait.code().to_owned()),
        waits_for: wait.and_then(|wait| wait.endpoint).map(|endpoint| waits::name(endpoint, settings)),
        waits_until: wait.and_then(|wait| wait.why.until).map(|at| at.to_string()),
        actor: job.actor.clone(),
        created_at: job.created_at.to_string(),
        changed_at: job.changed_at.to_string(),
        ended_at: job.ended_at.map(|at| at.to_string()),
        scanned: job.rows,
        matched: job.matched,
        done: job.done,
        skipped: job.skipped.clone(),
        expected: job.expected,
        note: job.note.clone(),
    }
}

/// A rate as a number: whole where it is.
fn number(rate: Rate) -> Option<Number> {
    let per_1000_s = rate.per_1000_s();
    match per_1000_s % 1_000 {
        0 => Some((per_1000_s / 1_000).into()),
        _ => Number::from_f64(rate.get()),
    }
}

/// What is counted, where it is not all that there is: `of what was given up or expired`.
fn counted(filter: &DeliveryFilter) -> String {
    let word = |state: &DeliveryState| match state {
        DeliveryState::Scheduled => "waits",
        DeliveryState::Held => "is held",
        DeliveryState::Delivered => "was delivered",
        DeliveryState::Dead => "was given up",
        DeliveryState::Expired => "expired",
        DeliveryState::Cancelled => "was cancelled",
    };
    match &filter.states[..] {
        [] => String::new(),
        states => format!(" of what {}", states.iter().map(word).collect::<Vec<_>>().join(" or ")),
    }
}

/// What a job would do, as people and programs read it. `waiting`: how many wait for the one endpoint that a replay means,
/// which it leaves alone.
pub fn trial(
    plan: &JobPlan,
    count: &JobCount,
    waiting: Option<u64>,
    settings: &Settings,
    now: Timestamp,
) -> JobTrial {
    let skipped: u64 = count.skipped.values().sum();
    let would = match plan.kind {
        JobKind::Replay => "would be told again",
        JobKind::Backfill => "would be told",
        JobKind::Cancel => "would be cancelled",
    };
    let since =
        plan.filter.ended_from.map_or_else(String::new, |at| format!(" since {at}, when its trouble began,"));
    let of = match plan.kind {
        JobKind::Replay | JobKind::Cancel => counted(&plan.filter),
        JobKind::Backfill => String::new(),
    };
    let mut sentence = match of.is_empty() && since.is_empty() {
        true => format!("{} of {} {would}", count.done, count.matched),
        false => format!("{} of {}{of}{since} {would}", count.done, count.matched),
    };
    if skipped > 0 {
        sentence.push_str(&format!(", {skipped} left alone"));
    }
    sentence.push_str(match count.is_whole {
        true => ".",
        false => ", among the oldest; there are more than are counted beforehand.",
    });
    if let Some(n) = waiting.filter(|n| *n > 0) {
        let verb = if n == 1 { "waits for it and is" } else { "wait for it and are" };
        sentence.push_str(&format!(" {n} more {verb} sent anyway, once it may be."));
    }
    JobTrial {
        kind: plan.kind.name().to_owned(),
        filter: filter(&plan.filter, settings),
        sentence,
        matched: count.matched,
        done: count.done,
        skipped: count.skipped.clone(),
        waiting,
        scanned: count.rows,
        whole: count.is_whole,
        sample: count.sample.iter().map(|listed| deliveries::row(listed, settings, now)).collect(),
    }
}

fn filter(filter: &DeliveryFilter, settings: &Settings) -> JobFilter {
    JobFilter {
        rule: filter.rule.map(|id| rule(id, settings)),
        webhook: filter.webhook.map(|id| webhook(id, settings)),
        partner: filter.partner.map(|id| partner(id, settings)),
        app: filter.app.map(|id| app(id, settings)),
        kinds: filter.kinds.clone(),
        event: filter.event.map(|id| id.to_string()),
        fact: filter.fact.map(|id| id.to_string()),
        states: filter.states.iter().map(|state| state.name().to_owned()).collect(),
        outcome: filter.outcome.clone(),
        since: filter.from.map(|at| at.to_string()),
        until: filter.until.map(|at| at.to_string()),
        failing_since: filter.ended_from.map(|at| at.to_string()),
    }
}

fn into(into: Option<Into>, settings: &Settings) -> Option<String> {
    Some(match into? {
        Into::Webhook(id) => format!("webhook:{}", webhook(id, settings).label()),
        Into::Rule(id) => format!("rule:{}", rule(id, settings).label()),
    })
}

fn sentence(job: &ledger::Job) -> String {
    let (doing, did) = match job.plan.kind {
        JobKind::Replay => ("Telling again", "told again"),
        JobKind::Backfill => ("Filling", "told"),
        JobKind::Cancel => ("Cancelling", "cancelled"),
    };
    let skipped: u64 = job.skipped.values().sum();
    let of = job.expected.map_or_else(String::new, |n| format!(" of about {n}"));
    let left = if skipped > 0 { format!(", {skipped} left alone") } else { String::new() };
    let so_far = format!("{}{of} {did}{left}", job.done);
    match job.state {
        JobState::Planned => format!("{doing} begins in a moment."),
        JobState::Running => format!("{doing}: {so_far}."),
        JobState::Paused => format!("Paused: {so_far}."),
        JobState::Done => format!("Done: {} {did}{left}.", job.done),
        JobState::Cancelled => format!("Ended before its end: {so_far}."),
        JobState::Failed => {
            format!("It cannot go on, after {so_far}: {}.", job.note.as_deref().unwrap_or("nobody knows why"))
        }
    }
}

/// Why a job left something alone, in words.
pub fn reason(code: &str) -> &str {
    match code {
        "waiting" => "waits and is sent anyway",
        "waiting_already" => "already waits under another delivery",
        "delivered_since" => "was delivered since, by another delivery",
        "told_already" => "that endpoint has it already",
        "ended_since" => "it waited when the job was made, and has ended since",
        "repeated" => "a later delivery of the same fact is told again instead",
        "conversion_rejected" => "its conversion was rejected",
        "decided_otherwise" => "a later decision took it back",
        "rule_deleted" => "its rule was deleted",
        "webhook_deleted" => "its webhook was deleted",
        "target_does_not_tell" => "the rule does not tell that partner",
        "values_not_stored" => "the rule's template needs values that were not stored",
        "rules_differ" => "the two rules differ in what they say of it",
        "other_form" => "a postback and a webhook say different things",
        "ended_meanwhile" => "ended before it could be cancelled",
        "payload_expired" => "its payload is no longer kept",
        "not_wanted" => "the webhook is not told of that",
        "not_kept" => "is no longer kept",
        other => other,
    }
}
