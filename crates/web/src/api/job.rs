//! Jobs: replays, backfills and cancellations of many deliveries.

use std::collections::BTreeMap;

use roundtrip_domain::endpoint::Endpoint;
use roundtrip_domain::id::{Id, kind};
use roundtrip_domain::problem::{Code, Problem};
use roundtrip_domain::rate::{RATE_MAX, RATE_MIN, Rate};
use roundtrip_domain::settings::{KeyScope, Settings};
use roundtrip_domain::time::Timestamp;
use roundtrip_domain::webhook::Topic;
use roundtrip_store::ledger::{
    self, DeliveryFilter, Into, JOBS_OPEN_MAX, JobAnswer, JobKind, JobPlan, JobState, JobWish,
    states_default, unfit_rule,
};
use schemars::JsonSchema;
use serde_json::{Value, json};

use super::call::{Answer, Call, Failure};
use super::fields::Fields;
use super::route::{Needs, Route, schema};
use crate::deliveries::{FAILING, PARAMETERS, Wanted, chosen, webhooks};
use crate::jobs::{self, Job, JobTrial, Jobs};
use crate::{endpoints, known, waits};

/// Rows that are looked at to say beforehand what a job would do.
const TRIAL_ROWS_MAX: u64 = 200_000;
/// The same to know how many a job is about.
const EXPECTED_ROWS_MAX: u64 = 50_000;
/// Deliveries that a trial shows.
const SAMPLES: usize = 10;

/// What a job is to do.
#[derive(JsonSchema)]
#[schemars(deny_unknown_fields)]
#[expect(dead_code, reason = "only its schema is used; bodies are read by `Fields`")]
struct JobWanted {
    /// `replay`: the same facts once more. `backfill`: facts that a webhook was never told. `cancel`: ends what waits.
    kind: String,
    /// Which deliveries; for a backfill, facts of which app, kinds and time. At least one field.
    filter: FilterWanted,
    /// Who is told instead: `webhook:SLUG`, or `rule:SLUG` for the same partner by a rule as it is now. A backfill
    /// names the webhook that is filled.
    into: Option<String>,
    /// How many in a second, 0.1 to 10,000. Absent: a quarter of what their endpoints are given at a time, and at most
    /// 100; 10,000 for a cancellation.
    rate: Option<f64>,
    /// Only counts what it would do, and shows some.
    dry_run: Option<bool>,
}

/// A filter; fields as in the list of deliveries.
#[derive(JsonSchema)]
#[schemars(deny_unknown_fields)]
#[expect(dead_code, reason = "only its schema is used; bodies are read by `Fields`")]
struct FilterWanted {
    /// A rule, by slug or id.
    rule: Option<String>,
    /// A webhook, by slug or id.
    webhook: Option<String>,
    /// A partner, by slug or id.
    partner: Option<String>,
    /// An app, by slug or id.
    app: Option<String>,
    /// Kinds, with commas between them.
    kind: Option<String>,
    /// An event or conversion.
    event: Option<String>,
    /// A fact.
    fact: Option<String>,
    /// States, with commas between them. Absent: dead and expired ones of a replay, waiting ones of a cancellation.
    /// `all` for any.
    state: Option<String>,
    /// What the last send came to.
    outcome: Option<String>,
    /// One endpoint: `webhook:SLUG`, `rule:SLUG` or `rule:SLUG@PARTNER`.
    endpoint: Option<String>,
    /// Planned then or later: a moment, or a span ago. `failing` for what was not over when the endpoint's trouble
    /// began; the filter then names one endpoint.
    since: Option<String>,
    /// Planned before then: a moment, or a span ago.
    until: Option<String>,
}

pub(super) fn routes() -> Vec<Route> {
    let change = |verb: &str, summary: &str| {
        Route::post(format!("/api/v1/jobs/{{id}}/{verb}"), format!("job_{verb}"), summary)
            .in_workspace()
            .needs(Needs::Scope(KeyScope::Replay))
            .answers(200, "It is that now, or was already.", schema::<Job>)
            .codes(&[Code::IdUnknown, Code::JobRefused])
    };
    vec![
        Route::get("/api/v1/jobs", "job_list", "Lists the latest replays, backfills and cancellations")
            .in_workspace()
            .limited()
            .query(
                "before",
                "The job before which the page begins: `next` of the page before.",
                json!({ "type": "string" }),
            )
            .answers(200, "A page, the newest first.", schema::<Jobs>)
            .does(list),
        Route::post("/api/v1/jobs", "job_create", "Replays, backfills or cancels many deliveries")
            .in_workspace()
            .needs(Needs::Scope(KeyScope::Replay))
            .takes(schema::<JobWanted>)
            .answers(200, "With `dry_run`: what it would do.", schema::<JobTrial>)
            .answers(201, "It begins at once, and goes on through restarts.", schema::<Job>)
            .codes(&[
                Code::FieldMissing,
                Code::FieldType,
                Code::FieldUnknown,
                Code::ParameterInvalid,
                Code::ReplayRefused,
                Code::JobRefused,
            ])
            .does(create),
        Route::get("/api/v1/jobs/{id}", "job_read", "Shows a job and how far it is")
            .in_workspace()
            .answers(200, "The job.", schema::<Job>)
            .codes(&[Code::IdUnknown])
            .does(read),
        change("pause", "Stops a job for now").does(|call| wish(call, JobWish::Pause)),
        change("resume", "Lets a paused job go on").does(|call| wish(call, JobWish::Resume)),
        change("cancel", "Ends a job; what it did stays done").does(|call| wish(call, JobWish::Cancel)),
    ]
}

fn id_of(call: &Call) -> Result<Id<kind::Job>, Problem> {
    let refused = |_| {
        Problem::new(Code::ParameterInvalid, "id", "a job's id begins with job_")
            .fixed_by("`roundtrip jobs` lists the latest ones with their ids")
    };
    call.path("id").parse().map_err(refused)
}

fn unknown() -> Problem {
    Problem::new(Code::IdUnknown, "id", "there is no job of that id in this workspace")
        .fixed_by("`roundtrip jobs` lists the latest ones, `--workspace` those of another workspace")
}

/// A job with why it waits, if it does.
fn shown(call: &Call, job: &ledger::Job, settings: &Settings) -> Job {
    let wait = call.state.ledger.job_wait(settings.workspace, job.id);
    jobs::job(job, wait, settings, call.state.clock.now())
}

async fn list(call: Call) -> Result<Answer, Failure> {
    let limit = call.limit()?;
    let settings = call.workspace()?;
    let before =
        match call.query.text("before") {
            None => None,
            Some(text) => Some(text.parse::<Id<kind::Job>>().map_err(|_| {
                Problem::new(Code::ParameterInvalid, "before", "it is the id of a job (job_…)")
            })?),
        };
    let mut found = call.state.ledger.job_list(settings.workspace, before, limit.saturating_add(1)).await?;
    let is_more = found.len() > limit as usize;
    found.truncate(limit as usize);
    let items: Vec<Job> = found.iter().map(|job| shown(&call, job, &settings)).collect();
    let next = items.last().filter(|_| is_more).map(|job| job.id.clone());
    Ok(Answer::ok(json!(Jobs { items, next })))
}

async fn read(call: Call) -> Result<Answer, Failure> {
    let id = id_of(&call)?;
    let settings = call.workspace()?;
    let job = call.state.ledger.job_get(settings.workspace, id).await?.ok_or_else(unknown)?;
    Ok(Answer::ok(json!(shown(&call, &job, &settings))))
}

/// Why a job does not follow a wish.
fn refused(wish: JobWish, state: JobState) -> Problem {
    let to = match wish {
        JobWish::Pause => "be paused",
        JobWish::Resume => "be resumed",
        JobWish::Cancel => "be ended",
    };
    let how = match state {
        JobState::Done => "it is done",
        JobState::Cancelled => "it was ended before",
        JobState::Failed => "it failed",
        JobState::Planned | JobState::Running => "it does not pause",
        JobState::Paused => "it is paused",
    };
    let problem = Problem::new(Code::JobRefused, "id", format!("the job cannot {to}: {how}"));
    match state.is_over() {
        true => problem.fixed_by(
            "nothing is left of it to change; what it left alone or did wrong is the business of a new replay, backfill or cancellation",
        ),
        false => problem.fixed_by("`roundtrip jobs` says how it stands"),
    }
}

async fn wish(call: Call, wish: JobWish) -> Result<Answer, Failure> {
    let id = id_of(&call)?;
    let settings = call.workspace()?;
    let now = call.state.clock.now();
    match call.state.ledger.job_change(settings.workspace, id, wish, now).await? {
        JobAnswer::Is(job) => {
            tracing::info!(job.id = %id, job.state = job.state.name(), actor = call.caller.actor(), "a job was changed");
            Ok(Answer::ok(json!(shown(&call, &job, &settings))))
        }
        JobAnswer::Refused(state) => Err(refused(wish, state).into()),
        JobAnswer::Unknown => Err(unknown().into()),
    }
}

/// The filter in a body.
async fn filter_of(
    call: &Call,
    kind: JobKind,
    body: Option<Value>,
    settings: &Settings,
    now: Timestamp,
) -> Result<DeliveryFilter, Failure> {
    let inside = |mut problem: Problem| {
        problem.field = format!("filter.{}", problem.field);
        problem
    };
    let missing = || {
        let message = "it names at least one condition, such as {\"since\": \"24h\"}; {\"state\": \"all\"} means everything";
        Problem::new(Code::FieldMissing, "filter", message)
    };
    let mut fields = Fields::of(body.ok_or_else(missing)?).map_err(|_| {
        Problem::new(Code::FieldType, "filter", "it is an object such as {\"state\": \"dead\"}")
    })?;
    let mut words = BTreeMap::new();
    for (name, _) in PARAMETERS {
        if let Some(text) = fields.text(name).map_err(inside)? {
            words.insert(name, text);
        }
    }
    fields.done().map_err(inside)?;
    if words.is_empty() {
        return Err(missing().into());
    }
    let is_failing = words.get("since").is_some_and(|since| since == FAILING);
    if is_failing {
        words.remove("since");
    }
    let is_all = words.get("state").is_some_and(|state| state == "all");
    if is_all {
        words.remove("state");
    }
    let mut filter = Wanted::read(|name| words.get(name).cloned()).judge(settings, now, "filter.")?;
    if is_failing {
        filter.ended_from = Some(trouble(call, settings, &filter).await?);
    }
    if filter.states.is_empty() && !(is_all && kind == JobKind::Replay) {
        filter.states = states_default(kind);
    }
    Ok(filter)
}

/// How many wait for the endpoint that a replay means, where it means one and not what waits: whoever asks what was
/// lost sees that these are not.
async fn waiting(call: &Call, plan: &JobPlan, settings: &Settings) -> Result<Option<u64>, Failure> {
    let filter = &plan.filter;
    let means_waiting = filter.states.is_empty() || filter.states.iter().any(|state| state.is_waiting());
    let is_narrow = !filter.kinds.is_empty() || filter.event.is_some() || filter.fact.is_some();
    if plan.kind != JobKind::Replay || plan.into.is_some() || means_waiting || is_narrow {
        return Ok(None);
    }
    let Ok(endpoint) = endpoint_of(filter, settings) else { return Ok(None) };
    let found = call.state.ledger.endpoint_one(settings.workspace, endpoint).await?;
    Ok(Some(found.map_or(0, |found| found.queued)))
}

/// When the trouble of the endpoint that a filter names began.
async fn trouble(call: &Call, settings: &Settings, filter: &DeliveryFilter) -> Result<Timestamp, Failure> {
    let endpoint = endpoint_of(filter, settings)?;
    let (ledger, ws) = (&call.state.ledger, settings.workspace);
    let kept = ledger.endpoint_trouble(ws, endpoint).await?;
    let seen = ledger.endpoint_failures(ws, Some(endpoint)).await?.remove(&endpoint);
    let seen = seen.and_then(|failure| failure.trouble);
    let from = match (kept, seen) {
        (Some(kept), _) if !kept.is_over => Some(kept.from),
        // Not written down yet, or too short for that.
        (_, Some(seen)) if !seen.is_over => Some(seen.from),
        (kept, seen) => kept.map(|kept| kept.from).into_iter().chain(seen.map(|seen| seen.from)).max(),
    };
    from.ok_or_else(|| {
        let name = waits::name(endpoint, settings);
        let message =
            format!("{name} is not failing, and no trouble of it is on record: none of its newest sends found it ill");
        let fix = format!("say since when, such as 24h; `roundtrip deliveries --endpoint {name} --state dead` lists what was given up");
        Problem::new(Code::ParameterInvalid, "filter.since", message).fixed_by(fix).into()
    })
}

/// The one endpoint that a filter names.
fn endpoint_of(filter: &DeliveryFilter, settings: &Settings) -> Result<Endpoint, Problem> {
    let refused = |message: String, fix: String| {
        Err(Problem::new(Code::ParameterInvalid, "filter.since", message).fixed_by(fix))
    };
    let rule = filter.rule.and_then(|rule| settings.rule(rule));
    match (filter.webhook, rule, filter.partner) {
        (Some(webhook), ..) => Ok(Endpoint::Webhook(webhook)),
        (None, Some(rule), partner) => {
            let only = || endpoints::parse(&format!("rule:{}", rule.slug), settings).ok()?.postback();
            match partner.or_else(|| Some(only()?.1)) {
                Some(partner) => Ok(Endpoint::Postback { rule: rule.id, partner }),
                None => refused(
                    format!("`{FAILING}` asks about one endpoint, and the rule tells several partners"),
                    format!("name one: rule:{}@PARTNER", rule.slug),
                ),
            }
        }
        _ => refused(
            format!("`{FAILING}` asks when the trouble of one endpoint began"),
            endpoints::LIST_THEM.to_owned(),
        ),
    }
}

/// Who is told instead.
fn into_of(text: Option<String>, settings: &Settings) -> Result<Option<Into>, Problem> {
    let Some(text) = text else { return Ok(None) };
    let wrong = |message: String| Problem::new(Code::ParameterInvalid, "into", message);
    match text.split_once(':') {
        Some(("webhook", name)) => {
            let found = chosen(&Some(name.to_owned()), webhooks(settings));
            let found = found.map_err(|name| {
                let names = webhooks(settings).map(|(_, slug)| slug);
                wrong(format!("there is no webhook `{name}`")).fixed_by(known::one_of("webhooks", names))
            })?;
            Ok(found.map(Into::Webhook))
        }
        Some(("rule", name)) => {
            let rules = || settings.rules.values().flatten().map(|rule| (rule.id, rule.slug.as_str()));
            let found = chosen(&Some(name.to_owned()), rules());
            let found = found.map_err(|name| {
                let names = rules().map(|(_, slug)| slug);
                wrong(format!("there is no rule `{name}`")).fixed_by(known::one_of("rules", names))
            })?;
            Ok(found.map(Into::Rule))
        }
        _ => Err(wrong("it is webhook:SLUG or rule:SLUG".to_owned())),
    }
}

/// What a body asks for, and whether only to count.
async fn plan_of(call: &mut Call, settings: &Settings, now: Timestamp) -> Result<(JobPlan, bool), Failure> {
    let mut fields = Fields::of(call.body.take())?;
    let kind = fields.must("kind")?;
    let kind = kind
        .as_str()
        .and_then(JobKind::parse)
        .ok_or_else(|| Problem::new(Code::FieldType, "kind", "it is replay, backfill or cancel"))?;
    let filter = filter_of(call, kind, fields.any("filter"), settings, now).await?;
    let into = into_of(fields.text("into")?, settings)?;
    let rate = match fields.any("rate") {
        // Nobody outside notices a cancellation.
        None if kind == JobKind::Cancel => Rate::per_s(RATE_MAX),
        None => None,
        Some(value) => Some(value.as_f64().and_then(Rate::per_s).ok_or_else(|| {
            Problem::new(Code::FieldType, "rate", format!("it is a number from {RATE_MIN} to {RATE_MAX}, a second"))
                .fixed_by("say how many in a second, such as 50 or 0.5; without it, a replay takes a quarter of what its endpoint is given")
        })?),
    };
    let dry_run = fields.truth("dry_run")?;
    fields.done()?;
    Ok((JobPlan { kind, filter, into, rate }, dry_run))
}

/// Refuses what could never be done, so that nobody waits for a job that leaves everything alone.
async fn check(call: &Call, plan: &JobPlan, settings: &Settings) -> Result<(), Failure> {
    let wrong = |field: &str, message: &str| Problem::new(Code::ParameterInvalid, field, message);
    let refused =
        |field: &str, message: String| Err(Problem::new(Code::ReplayRefused, field, message).into());
    let filter = &plan.filter;
    let is_waiting = !filter.states.is_empty() && filter.states.iter().all(|state| state.is_waiting());
    match (plan.kind, plan.into) {
        (JobKind::Cancel, Some(_)) => Err(wrong("into", "a cancellation tells nobody").into()),
        (JobKind::Cancel, None) if !is_waiting => {
            Err(wrong("filter.state", "only what waits can be cancelled: scheduled, held").into())
        }
        (JobKind::Cancel, None) => Ok(()),
        (JobKind::Replay, None) if is_waiting => refused(
            "filter.state",
            "what waits is sent anyway; to send it at once is not a replay".to_owned(),
        ),
        (JobKind::Replay, None) => Ok(()),
        (JobKind::Replay, Some(Into::Webhook(_))) if filter.rule.is_some() || filter.partner.is_some() => {
            refused(
                "into",
                "a postback and a webhook say different things; a backfill fills a webhook".to_owned(),
            )
        }
        (JobKind::Replay, Some(Into::Webhook(_))) => Ok(()),
        (JobKind::Replay, Some(Into::Rule(to))) => {
            let Some(from) = filter.rule else {
                let message =
                    "with `into` a rule, the filter names the rule whose deliveries are told instead";
                return Err(Problem::new(Code::FieldMissing, "filter.rule", message).into());
            };
            let (Some(source), Some(target)) = (settings.rule(from), settings.rule(to)) else {
                return refused("filter.rule", "the rule was deleted".to_owned());
            };
            let template = call.state.ledger.rule_template(settings.workspace, from, source.version).await?;
            match unfit_rule(source, template.as_deref(), target) {
                Some(why) => refused("into", why),
                None => Ok(()),
            }
        }
        (JobKind::Backfill, Some(Into::Webhook(to))) => {
            if settings.webhook(to).is_none() {
                return refused("into", "the webhook was deleted".to_owned());
            }
            let is_plain = DeliveryFilter {
                app: filter.app,
                kinds: filter.kinds.clone(),
                from: filter.from,
                until: filter.until,
                ..DeliveryFilter::default()
            } == *filter;
            let unknown = |kind: &&String| Topic::parse(kind).is_none_or(|topic| !topic.is_conversion());
            match filter.kinds.iter().find(unknown) {
                _ if !is_plain => Err(wrong(
                    "filter",
                    "a backfill is about facts: the filter names app, kind, since and until alone",
                )
                .into()),
                Some(kind) => {
                    let names = Topic::ALL.into_iter().filter(|topic| topic.is_conversion());
                    let names: Vec<&str> = names.map(Topic::name).collect();
                    let message = format!("`{kind}` is no kind of fact about a conversion");
                    Err(wrong("filter.kind", &message)
                        .fixed_by(format!("the kinds are {}", names.join(", ")))
                        .into())
                }
                None => Ok(()),
            }
        }
        (JobKind::Backfill, _) => {
            Err(wrong("into", "a backfill names the webhook that it fills: webhook:SLUG").into())
        }
    }
}

async fn create(mut call: Call) -> Result<Answer, Failure> {
    let settings = call.workspace()?;
    let now = call.state.clock.now();
    let (plan, dry_run) = plan_of(&mut call, &settings, now).await?;
    check(&call, &plan, &settings).await?;
    let ledger = &call.state.ledger;
    let ws = settings.workspace;
    // Each event of a backfill costs several look-ups.
    let dear = if plan.kind == JobKind::Backfill { 10 } else { 1 };
    if dry_run {
        let count = ledger.job_count(ws, plan.clone(), SAMPLES, TRIAL_ROWS_MAX / dear, now).await?;
        let waiting = waiting(&call, &plan, &settings).await?;
        return Ok(Answer::ok(json!(jobs::trial(&plan, &count, waiting, &settings, now))));
    }
    let count = ledger.job_count(ws, plan.clone(), 0, EXPECTED_ROWS_MAX / dear, now).await?;
    let expected = count.is_whole.then_some(count.matched);
    let actor = call.caller.actor();
    let Some(job) = ledger.job_create(ws, plan, expected, actor.clone(), now).await? else {
        let message = format!("{JOBS_OPEN_MAX} jobs of the workspace are not over yet");
        let advice = "wait for the end of one, or end one: `roundtrip jobs` lists them, `roundtrip jobs ID --cancel` ends one";
        return Err(Problem::new(Code::JobRefused, "", message).fixed_by(advice).into());
    };
    tracing::info!(job.id = %job.id, job.kind = job.plan.kind.name(), actor, "a job was made");
    Ok(Answer::created(json!(shown(&call, &job, &settings))))
}
