//! `/postback` and `/postback/validate`: an advertiser's server tells of a conversion, in Tracknow's words.
//!
//! | what came | answer |
//! | --- | --- |
//! | recorded | 200 `accepted`, with its ids |
//! | recorded before | 200 `duplicate`; with `fields_differ` when it says something else now |
//! | recorded before, now with another `status` | 200 `changed`; `duplicate` where who it is or what it earned differs |
//! | its click is not to be found | 200 `accepted`, with the reason; nobody earns it |
//! | cannot be right | 400; 401 without credentials; 404 for an unknown namespace |
//! | the ledger cannot take it | 503, and nothing was recorded |
//!
//! A repeat with other fields is no error, unlike an event's: senders of postbacks repeat on any answer but 2xx, for
//! days, and the first word stands either way.

use std::sync::Arc;

use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::request::Parts;
use axum::http::{StatusCode, header};
use axum::response::Response;
use bytes::Bytes;
use roundtrip_domain::event::Event;
use roundtrip_domain::id::{Id, kind};
use roundtrip_domain::problem::{Code, Problem};
use roundtrip_domain::settings::Catalog;
use roundtrip_domain::status::{Asker, Status};
use roundtrip_store::ledger::{Recorded, StatusAnswer, StatusWish};
use serde::Serialize;

use super::answer::Warning;
use super::booking::{Booking, Desk};
use super::counters::count;
use super::differs::Differs;
use super::events::refuse_plain_http;
use super::limits::{Payer, check_head, header_text, read_body};
use super::link::{namespace, namespace_unknown};
use super::origin::Origin;
use super::parameters::Parameters;
use super::{Ingest, answer};

#[derive(Debug, Serialize)]
struct Kept {
    status: &'static str,
    event_id: String,
    conversion_id: String,
    /// How the conversion counts, where the postback names a status.
    #[serde(skip_serializing_if = "Option::is_none")]
    conversion_status: Option<&'static str>,
    warnings: Vec<Warning>,
}

/// What a postback would be booked as.
#[derive(Debug, Serialize)]
struct WouldBook {
    event_name: String,
    kind: &'static str,
    app: String,
    campaign_id: String,
    click_id: Option<String>,
    /// The public id of the partner whose click or `ref_id` it names.
    partner: Option<String>,
    amount: Option<String>,
    currency: Option<String>,
    order_id: Option<String>,
    customer_id: Option<String>,
    deduplicated: bool,
    pending: bool,
}

#[derive(Debug, Serialize)]
struct Validated {
    valid: bool,
    problems: Vec<serde_json::Value>,
    warnings: Vec<Warning>,
    would_book: Option<WouldBook>,
}

/// Whether a postback is recorded or only judged.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Purpose {
    Record,
    Validate,
}

/// `GET` and `POST /postback`.
pub(super) async fn record(State(ingest): State<Arc<Ingest>>, request: Request) -> Response {
    let problem = match answer_to(&ingest, request, Purpose::Record).await {
        Ok(response) => return response,
        Err(problem) => problem,
    };
    let counters = &ingest.state.counters;
    match problem.code {
        Code::TokenMissing | Code::TokenInvalid | Code::KeyKindWrong => count(&counters.credentials_refused),
        Code::PlainHttpRefused => count(&counters.plain_http_refused),
        Code::StoreUnavailable => count(&counters.postbacks_unavailable),
        _ => count(&counters.postbacks_rejected),
    }
    answer::problem(&problem)
}

/// `GET` and `POST /postback/validate`.
pub(super) async fn validate(State(ingest): State<Arc<Ingest>>, request: Request) -> Response {
    match answer_to(&ingest, request, Purpose::Validate).await {
        Ok(response) => response,
        Err(problem) => answer::problem(&problem),
    }
}

async fn answer_to(ingest: &Ingest, request: Request, purpose: Purpose) -> Result<Response, Problem> {
    let (parts, body) = request.into_parts();
    let state = &ingest.state;
    let origin = Origin::of(&parts, &state.options);
    refuse_plain_http(ingest, &origin)?;
    check_head(&parts)?;
    let catalog = state.ledger.catalog();
    let suffix = match purpose {
        Purpose::Record => "/postback",
        Purpose::Validate => "/postback/validate",
    };
    let settings = namespace(ingest, &parts, &catalog, suffix).ok_or_else(namespace_unknown)?;
    let now = state.clock.now();
    let rate = state.options.postback_rate_per_s;
    let payer = Payer::Postbacks(settings.workspace.0);
    // A burst of ten seconds' worth: shops report their orders in batches.
    if let Err(wait_s) = ingest.buckets.take(payer, 1, rate, rate.saturating_mul(10), now) {
        count(&state.counters.rate_limited);
        return Ok(answer::rate_limited("this namespace gets postbacks faster than its rate", wait_s));
    }
    let body = form(&parts, body).await?;
    let read = Parameters::read(parts.uri.query().unwrap_or_default().as_bytes(), &body);
    let first_only = purpose == Purpose::Record;
    let desk = Desk { ingest, catalog: &catalog, settings, origin, now, first_only };
    let booking = desk.book(read).await?;
    match purpose {
        Purpose::Record => book(ingest, booking).await,
        Purpose::Validate => Ok(validated(&catalog, booking)),
    }
}

/// The form in the body; empty for GET. A type that is no form is refused, since its content would be lost.
async fn form(parts: &Parts, body: Body) -> Result<Bytes, Problem> {
    let body = read_body(parts, body, Code::ParameterInvalid).await?;
    let content_type = header_text(&parts.headers, &header::CONTENT_TYPE)?.unwrap_or_default();
    let essence = content_type.split(';').next().unwrap_or_default().trim();
    let is_form = essence.is_empty()
        || essence.eq_ignore_ascii_case("application/x-www-form-urlencoded")
        || essence.eq_ignore_ascii_case("text/plain");
    if !body.is_empty() && !is_form {
        let message = "the body is read as application/x-www-form-urlencoded only";
        return Err(Problem::new(Code::HeaderInvalid, "content-type", message));
    }
    Ok(body)
}

async fn book(ingest: &Ingest, booking: Booking) -> Result<Response, Problem> {
    let Booking { problems, mut warnings, new, status: wanted, says_repeat, .. } = booking;
    if let Some(problem) = problems.into_iter().next() {
        return Err(problem);
    }
    let unavailable = |why: &str| Problem::new(Code::StoreUnavailable, "", why);
    let new = new.ok_or_else(|| unavailable("the postback could not be read"))?;
    let sent = new.event.clone();
    let comment = sent.postback.as_ref().and_then(|p| p.comment.clone());
    let ledger = &ingest.state.ledger;
    // A first postback is approved or pending by itself; that it is rejected is a change, made with it or not at all.
    let recorded = if wanted == Some(Status::Rejected) {
        Some(ledger.event_record_rejected(new, BY.to_owned(), comment).await)
    } else {
        ledger.event_record(vec![new]).await.into_iter().next()
    };
    let recorded = match recorded {
        Some(Ok(recorded)) => recorded,
        Some(Err(error)) => return Err(crate::problem::of_store(&error)),
        None => return Err(unavailable("the store gave no answer")),
    };
    let counters = &ingest.state.counters;
    let answer = |status, id: Id<kind::Event>, conversion_status: Option<Status>, warnings| {
        let (event_id, conversion_id) = (id.to_string(), id.conversion().to_string());
        let conversion_status = conversion_status.map(Status::name);
        Ok(answer::json(
            StatusCode::OK,
            &Kept { status, event_id, conversion_id, conversion_status, warnings },
        ))
    };
    let (id, is_other) = match recorded {
        Recorded::Accepted(id) => {
            count(&counters.postbacks_accepted);
            return answer("accepted", id, wanted, warnings);
        }
        Recorded::Duplicate(id) => (id, false),
        Recorded::Conflict(id) => (id, true),
    };
    count(&counters.postbacks_duplicate);
    // That it came before is what the answer says anyway; it says nothing about the first one.
    let wanted = wanted.filter(|_| !says_repeat);
    if is_other {
        let first = ledger.event_status(sent.workspace, id).await;
        let (first, now) = first
            .map_err(|error| crate::problem::of_store(&error))?
            .ok_or_else(|| unavailable("the first one could not be read"))?;
        let differs = Differs::between(&first, &sent, wanted.is_some());
        differs.warn(wanted, &mut warnings);
        if wanted.is_some() && differs.forbids_status {
            return answer("duplicate", id, Some(now), warnings);
        }
    }
    let Some(to) = wanted else { return answer("duplicate", id, None, warnings) };
    let (status, now, warning) = repeat(ingest, &sent, id, to).await?;
    warnings.extend(warning);
    answer(status, id, now, warnings)
}

/// Who changes a status that a postback names.
const BY: &str = "postback";

/// Applies the status that a repeat names: what became of it, how the conversion counts, what is odd.
async fn repeat(
    ingest: &Ingest,
    sent: &Event,
    id: Id<kind::Event>,
    to: Status,
) -> Result<(&'static str, Option<Status>, Option<Warning>), Problem> {
    let reason = sent.postback.as_ref().and_then(|p| p.comment.clone());
    let wish =
        StatusWish { conversion: id.conversion(), to, asker: Asker::Sender, by: BY.to_owned(), reason };
    let changed = ingest.state.ledger.status_change(sent.workspace, wish, ingest.state.clock.now()).await;
    let is_final = |message: String| Some(Warning::new("status_final", "status", message));
    Ok(match changed.map_err(|error| crate::problem::of_store(&error))? {
        StatusAnswer::Changed { .. } => ("changed", Some(to), None),
        StatusAnswer::Same => ("duplicate", Some(to), None),
        StatusAnswer::Refused(now) => {
            let message = format!(
                "the conversion is {}, and a postback does not make it {} again",
                now.name(),
                to.name()
            );
            ("duplicate", Some(now), is_final(message))
        }
        StatusAnswer::OwnerDecided(now) => {
            let message = format!(
                "the owner decided that the conversion is {}, and a postback does not change that",
                now.name()
            );
            ("duplicate", Some(now), is_final(message))
        }
        StatusAnswer::NoConversion | StatusAnswer::Unknown => ("duplicate", None, None),
    })
}

fn validated(catalog: &Catalog, booking: Booking) -> Response {
    let Booking { problems, warnings, new, campaign, partner, status: _, says_repeat: _ } = booking;
    let would_book = new.zip(campaign).and_then(|(new, campaign)| {
        let event = new.event;
        let app = catalog.workspace(event.workspace)?.apps.get(&event.app)?;
        let (amount, currency) = match event.revenue.as_ref() {
            Some(revenue) => (
                Some(roundtrip_domain::money::decimal(revenue.amount.micros, 2)),
                revenue.currency.map(|c| c.to_string()),
            ),
            None => (None, None),
        };
        let postback = event.postback.unwrap_or_default();
        Some(WouldBook {
            kind: app.kind_of(&event.name).name(),
            event_name: event.name,
            app: app.slug.clone(),
            campaign_id: campaign.public_id.clone(),
            click_id: event.click_id,
            partner: partner.map(|p| p.ref_id.clone()),
            amount,
            currency,
            order_id: postback.order_id,
            customer_id: event.customer_id,
            deduplicated: new.idempotency.is_some(),
            pending: postback.pending,
        })
    });
    answer::json(
        StatusCode::OK,
        &Validated {
            valid: problems.is_empty(),
            problems: problems.iter().map(crate::problem::value).collect(),
            warnings,
            would_book,
        },
    )
}
