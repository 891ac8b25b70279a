//! The page of jobs: what was asked for, how far it is, what was left alone and why.

use roundtrip_domain::id::{Id, kind};
use roundtrip_domain::params::Params;
use roundtrip_domain::problem::{Code, Problem};
use roundtrip_domain::settings::Settings;

use super::deliveries::age;
use super::pages::{self, Badge, JobsPage, ListedJob};
use super::{Inner, Refused};
use crate::jobs::{self, Job, JobFilter};
use crate::problem;

/// Jobs on a page.
const ROWS: u32 = 50;
/// Seconds between reloads while a job is under way.
const REFRESH_S: u32 = 5;

/// Renders the page.
pub(super) async fn render(
    inner: &Inner,
    settings: &Settings,
    query: &Params,
) -> Result<Result<String, minijinja::Error>, Refused> {
    let now = inner.now();
    let before =
        match query.text("before") {
            None => None,
            Some(text) => Some(text.parse::<Id<kind::Job>>().map_err(|_| {
                Problem::new(Code::ParameterInvalid, "before", "it is the id of a job (job_…)")
            })?),
        };
    let found = inner.state.ledger.job_list(settings.workspace, before, ROWS + 1).await;
    let mut found = found.map_err(|error| problem::of_store(&error))?;
    let is_more = found.len() > ROWS as usize;
    found.truncate(ROWS as usize);
    let rows: Vec<ListedJob> = found
        .iter()
        .map(|job| {
            let wait = inner.state.ledger.job_wait(settings.workspace, job.id);
            let job = jobs::job(job, wait, settings, now);
            ListedJob {
                age: age(&job.created_at, now),
                state: badge(&job),
                of: words(&job.filter),
                skipped: job.skipped.iter().map(|(code, n)| format!("{n}: {}", jobs::reason(code))).collect(),
                job,
            }
        })
        .collect();
    let is_moving = rows.iter().any(|row| matches!(row.job.state.as_str(), "planned" | "running"));
    Ok(pages::jobs(&JobsPage {
        refresh_s: is_moving.then_some(REFRESH_S),
        next: rows.last().filter(|_| is_more).map(|row| row.job.id.clone()),
        is_later: before.is_some(),
        rows,
    }))
}

fn badge(job: &Job) -> Badge {
    let tone = match job.state.as_str() {
        "done" => "good",
        "failed" => "bad",
        "planned" | "running" | "paused" => "wait",
        _ => "quiet",
    };
    Badge { tone, text: job.state.clone() }
}

/// What a job means, in words.
fn words(filter: &JobFilter) -> String {
    let mut parts = Vec::new();
    let mut part = |name: &str, value: Option<&str>| {
        if let Some(value) = value {
            parts.push(format!("{name} {value}"));
        }
    };
    let label = |named: &Option<crate::story::Named>| named.as_ref().map(|named| named.label().to_owned());
    let list = |list: &[String]| (!list.is_empty()).then(|| list.join(" or "));
    part("state", list(&filter.states).as_deref());
    part("rule", label(&filter.rule).as_deref());
    part("webhook", label(&filter.webhook).as_deref());
    part("partner", label(&filter.partner).as_deref());
    part("app", label(&filter.app).as_deref());
    part("kind", list(&filter.kinds).as_deref());
    part("event", filter.event.as_deref());
    part("fact", filter.fact.as_deref());
    part("last answer", filter.outcome.as_deref());
    part("since", filter.since.as_deref());
    part("until", filter.until.as_deref());
    if parts.is_empty() { "everything".to_owned() } else { parts.join(", ") }
}
