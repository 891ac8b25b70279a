//! `POST /v1/events`: one event, or `{"events":[…]}`.
//!
//! | what came | answer |
//! | --- | --- |
//! | one event | 202 `accepted` or `duplicate`; 409 `conflict`; another 4xx |
//! | a batch | 202; 207 when any of it was rejected; each item has its own status |
//! | the ledger took none of it | 503, and nothing was recorded |
//!
//! A batch is not all or nothing: what can be recorded is, and the sender repeats only what was rejected for want of
//! room. Repeating all of it is safe too, as far as the events have keys.

use std::sync::Arc;

use axum::extract::{Request, State};
use axum::http::{StatusCode, header};
use axum::response::Response;
use roundtrip_domain::event::Source;
use roundtrip_domain::id::{Id, kind};
use roundtrip_domain::problem::{Code, Problem};
use roundtrip_domain::settings::{Key, KeyKind};
use roundtrip_store::Error;
use roundtrip_store::ledger::{NewEvent, Recorded};
use serde::Serialize;
use serde_json::value::RawValue;

use super::answer::Warning;
use super::counters::count;
use super::event::{self, Sender, Taken};
use super::json::{self, Object};
use super::limits::{Payer, check_head, header_text, read_body};
use super::origin::Origin;
use super::{Ingest, answer, auth};

/// Most events in a batch.
const BATCH_MAX: usize = 1_000;

/// What came of one event.
#[derive(Debug, Serialize)]
#[serde(rename_all = "snake_case", tag = "status")]
enum Outcome {
    Accepted(Kept),
    Duplicate(Kept),
    Rejected { code: &'static str, message: String, field: String, rule: &'static str, fix: String },
}

#[derive(Debug, Serialize)]
struct Kept {
    event_id: String,
    /// Under which the conversion is explained, if the event makes one: that is decided later.
    conversion_id: String,
    deduplicated: bool,
    warnings: Vec<Warning>,
}

#[derive(Debug, Serialize)]
struct Item {
    index: usize,
    #[serde(flatten)]
    outcome: Outcome,
}

#[derive(Debug, Serialize)]
struct Batch {
    accepted: usize,
    duplicate: usize,
    rejected: usize,
    results: Vec<Item>,
}

/// `POST /v1/events`.
pub(super) async fn record(State(ingest): State<Arc<Ingest>>, request: Request) -> Response {
    match answer_to(&ingest, request).await {
        Ok(response) => response,
        Err(problem) => {
            let counters = &ingest.state.counters;
            match problem.code {
                Code::KeyMissing | Code::KeyUnknown | Code::KeyKindWrong => {
                    count(&counters.credentials_refused)
                }
                Code::PlainHttpRefused => count(&counters.plain_http_refused),
                Code::StoreUnavailable => {}
                _ => count(&counters.events_rejected),
            }
            answer::problem(&problem)
        }
    }
}

async fn answer_to(ingest: &Ingest, request: Request) -> Result<Response, Problem> {
    let (parts, body) = request.into_parts();
    let state = &ingest.state;
    let origin = Origin::of(&parts, &state.options);
    refuse_plain_http(ingest, &origin)?;
    check_head(&parts)?;
    let catalog = state.ledger.catalog();
    let (settings, key) = auth::event_key(&parts.headers, &catalog)?;
    let app = key.app.and_then(|id| settings.apps.get(&id));
    // Settings that exist are consistent, so an app is always there; without it there is no one to book on.
    let app =
        app.ok_or_else(|| Problem::new(Code::KeyUnknown, "authorization", "the key's app was deleted"))?;
    let now = state.clock.now();
    if let Err(wait_s) = charge(ingest, key, 1) {
        return Ok(over_rate(ingest, wait_s));
    }
    let body = read_body(&parts, body, Code::JsonInvalid).await?;
    let document = json::document(&body)?;
    let sender = Sender {
        source: if key.kind == KeyKind::Client { Source::Client } else { Source::Server },
        workspace: settings.workspace,
        app,
        client: origin.client,
        geo: &state.geo,
        user_agent: header_text(&parts.headers, &header::USER_AGENT).ok().flatten(),
        received_at: now,
    };
    match batch_of(document)? {
        None => one(ingest, document, &sender).await,
        Some(events) => {
            // The first was paid for above; a debt is waited for by the next request.
            let _ = charge(ingest, key, (events.len() - 1) as u32);
            batch(ingest, &events, &sender).await
        }
    }
}

/// Refuses what anybody on the way could have read: keys, tokens and people's data.
pub(super) fn refuse_plain_http(ingest: &Ingest, origin: &Origin) -> Result<(), Problem> {
    if origin.is_private || ingest.state.options.allow_plain_http {
        return Ok(());
    }
    Err(Problem::new(Code::PlainHttpRefused, "", "this came over plain HTTP"))
}

fn charge(ingest: &Ingest, key: &Key, cost: u32) -> Result<(), u64> {
    if key.kind != KeyKind::Client {
        return Ok(());
    }
    let options = &ingest.state.options;
    let now = ingest.state.clock.now();
    let payer = Payer::Key(key.id.bits());
    ingest.buckets.take(payer, cost, options.client_rate_per_s, options.client_burst, now)
}

fn over_rate(ingest: &Ingest, wait_s: u64) -> Response {
    count(&ingest.state.counters.rate_limited);
    answer::rate_limited("this client key reports faster than its rate", wait_s)
}

/// The events of a batch; `None` for a single event.
fn batch_of(document: &RawValue) -> Result<Option<Vec<&RawValue>>, Problem> {
    let Object(fields) = Object::read(document, "")?;
    let Some((_, events)) = fields.iter().find(|(name, _)| name == "events") else { return Ok(None) };
    if let Some((other, _)) = fields.iter().find(|(name, _)| name != "events") {
        let name: String = other.chars().take(64).collect();
        return Err(Problem::new(Code::FieldUnknown, name, "beside events a batch has no field"));
    }
    let events = json::elements(events, "events")?;
    match events.len() {
        0 => Err(Problem::new(Code::BatchEmpty, "events", "the batch is empty")),
        n if n > BATCH_MAX => {
            Err(Problem::new(Code::BatchTooLarge, "events", format!("the batch has {n} events")))
        }
        _ => Ok(Some(events)),
    }
}

/// Ids for a request's events, rising: they share a millisecond, and what came first in a batch comes first in
/// every list that is ordered by id.
fn mint(ingest: &Ingest, sender: &Sender<'_>, count: usize) -> Vec<Id<kind::Event>> {
    let mut ids: Vec<Id<kind::Event>> =
        std::iter::repeat_with(|| ingest.state.ledger.event_id(sender.received_at)).take(count).collect();
    ids.sort_unstable_by_key(|id| id.bits());
    ids
}

async fn one(ingest: &Ingest, raw: &RawValue, sender: &Sender<'_>) -> Result<Response, Problem> {
    let id = ingest.state.ledger.event_id(sender.received_at);
    let Taken { new, warnings } = event::read(raw, sender, id)?;
    let deduplicated = new.idempotency.is_some();
    let answers = ingest.state.ledger.event_record(vec![new]).await;
    let recorded = match answers.into_iter().next() {
        Some(Ok(recorded)) => recorded,
        Some(Err(error)) => return Err(unavailable(ingest, &error, 1)),
        None => return Err(unavailable(ingest, &no_answer(), 1)),
    };
    let outcome = outcome(ingest, recorded, deduplicated, warnings)?;
    Ok(answer::json(StatusCode::ACCEPTED, &outcome))
}

async fn batch(ingest: &Ingest, raws: &[&RawValue], sender: &Sender<'_>) -> Result<Response, Problem> {
    let mut news: Vec<NewEvent> = Vec::with_capacity(raws.len());
    let mut reads: Vec<Result<(bool, Vec<Warning>), Problem>> = Vec::with_capacity(raws.len());
    for (raw, id) in raws.iter().zip(mint(ingest, sender, raws.len())) {
        reads.push(event::read(raw, sender, id).map(|taken| {
            let deduplicated = taken.new.idempotency.is_some();
            news.push(taken.new);
            (deduplicated, taken.warnings)
        }));
    }
    let recorded = if news.is_empty() { Vec::new() } else { ingest.state.ledger.event_record(news).await };
    let failures = recorded.iter().filter(|r| r.is_err()).count();
    // What the log says is said once, not once for each of a thousand.
    let failure =
        recorded.iter().find_map(|r| r.as_ref().err()).map(|error| unavailable(ingest, error, failures));
    if let Some(problem) = &failure
        && failures == recorded.len()
    {
        return Err(problem.clone());
    }
    let lost = || Problem::new(Code::StoreUnavailable, "", "the store cannot take this now");
    let mut recorded = recorded.into_iter();
    let mut batch = Batch { accepted: 0, duplicate: 0, rejected: 0, results: Vec::with_capacity(raws.len()) };
    for (index, read) in reads.into_iter().enumerate() {
        let is_read = read.is_ok();
        let result = read.and_then(|(deduplicated, warnings)| match recorded.next() {
            Some(Ok(recorded)) => outcome(ingest, recorded, deduplicated, warnings),
            Some(Err(_)) | None => Err(failure.clone().unwrap_or_else(lost)),
        });
        let outcome = result.unwrap_or_else(|problem| {
            if !is_read || problem.code == Code::Conflict {
                count(&ingest.state.counters.events_rejected);
            }
            rejected(problem.inside(&format!("events[{index}]")))
        });
        match outcome {
            Outcome::Accepted(_) => batch.accepted += 1,
            Outcome::Duplicate(_) => batch.duplicate += 1,
            Outcome::Rejected { .. } => batch.rejected += 1,
        }
        batch.results.push(Item { index, outcome });
    }
    let status = if batch.rejected == 0 { StatusCode::ACCEPTED } else { StatusCode::MULTI_STATUS };
    Ok(answer::json(status, &batch))
}

fn outcome(
    ingest: &Ingest,
    recorded: Recorded,
    deduplicated: bool,
    warnings: Vec<Warning>,
) -> Result<Outcome, Problem> {
    let counters = &ingest.state.counters;
    let kept = |id: Id<kind::Event>| Kept {
        event_id: id.to_string(),
        conversion_id: id.conversion().to_string(),
        deduplicated,
        warnings,
    };
    match recorded {
        Recorded::Accepted(id) => {
            count(&counters.events_accepted);
            Ok(Outcome::Accepted(kept(id)))
        }
        Recorded::Duplicate(id) => {
            count(&counters.events_duplicate);
            Ok(Outcome::Duplicate(kept(id)))
        }
        Recorded::Conflict(id) => {
            let message = format!("{id} came with this event_id and other fields; this one is not recorded");
            Err(Problem::new(Code::Conflict, "event_id", message))
        }
    }
}

fn rejected(problem: Problem) -> Outcome {
    Outcome::Rejected {
        code: problem.code.text(),
        rule: problem.code.rule(),
        fix: problem.fix().to_owned(),
        message: problem.message,
        field: problem.field,
    }
}

fn unavailable(ingest: &Ingest, error: &Error, events: usize) -> Problem {
    ingest.state.counters.events_unavailable.fetch_add(events as u64, std::sync::atomic::Ordering::Relaxed);
    crate::problem::of_store(error)
}

fn no_answer() -> Error {
    Error::Unavailable("the ledger gave no answer".into())
}
