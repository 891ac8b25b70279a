//! `/postback` and `/postback/validate`: an advertiser's server tells of a conversion, in Tracknow's words.
//!
//! | what came | answer |
//! | --- | --- |
//! | recorded | 200 `accepted`, with its ids |
//! | recorded before | 200 `duplicate`; with `fields_differ` when it says something else now |
//! | recorded before, now with another `status` | 200 `changed` |
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
use roundtrip_domain::problem::{Code, Problem};
use roundtrip_domain::settings::Catalog;
use roundtrip_domain::status::{Asker, Status};
use roundtrip_store::ledger::{Recorded, StatusAnswer, StatusWish};
use serde::Serialize;

use super::answer::Warning;
use super::booking::{Booking, Desk};
use super::counters::count;
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
    let Booking { problems, mut warnings, new, status: wanted, .. } = booking;
    if let Some(problem) = problems.into_iter().next() {
        return Err(problem);
    }
    let unavailable = |why: &str| Problem::new(Code::StoreUnavailable, "", why);
    let new = new.ok_or_else(|| unavailable("the postback could not be read"))?;
    let workspace = new.event.workspace;
    let comment = new.event.postback.as_ref().and_then(|p| p.comment.clone());
    let recorded = ingest.state.ledger.event_record(vec![new]).await;
    let recorded = match recorded.into_iter().next() {
        Some(Ok(recorded)) => recorded,
        Some(Err(error)) => return Err(crate::problem::of_store(&error)),
        None => return Err(unavailable("the store gave no answer")),
    };
    let counters = &ingest.state.counters;
    let is_new = matches!(recorded, Recorded::Accepted(_));
    let (mut status, id) = match recorded {
        Recorded::Accepted(id) => {
            count(&counters.postbacks_accepted);
            ("accepted", id)
        }
        Recorded::Duplicate(id) => {
            count(&counters.postbacks_duplicate);
            ("duplicate", id)
        }
        Recorded::Conflict(id) => {
            count(&counters.postbacks_duplicate);
            let message = "it was recorded before with other values; those stay, and these are not recorded";
            warnings.push(Warning::new("fields_differ", "", message));
            ("duplicate", id)
        }
    };
    let mut conversion_status = wanted.map(Status::name);
    // A first postback is approved or pending by itself; what it says beyond that, and what a repeat says, is a
    // change. Sent again after a failure in between, it is made then.
    if let Some(to) = wanted.filter(|to| !is_new || *to == Status::Rejected) {
        let wish = StatusWish {
            conversion: id.conversion(),
            to,
            asker: Asker::Sender,
            by: "postback".to_owned(),
            reason: comment,
        };
        let changed = ingest.state.ledger.status_change(workspace, wish, ingest.state.clock.now()).await;
        match changed.map_err(|error| crate::problem::of_store(&error))? {
            StatusAnswer::Changed { .. } if !is_new => status = "changed",
            StatusAnswer::Changed { .. } | StatusAnswer::Same => {}
            StatusAnswer::Refused(now) => {
                conversion_status = Some(now.name());
                let message = format!(
                    "the conversion is {}, and a postback does not make it {} again",
                    now.name(),
                    to.name()
                );
                warnings.push(Warning::new("status_final", "status", message));
            }
            StatusAnswer::NoConversion | StatusAnswer::Unknown => conversion_status = None,
        }
    }
    let (event_id, conversion_id) = (id.to_string(), id.conversion().to_string());
    Ok(answer::json(StatusCode::OK, &Kept { status, event_id, conversion_id, conversion_status, warnings }))
}

fn validated(catalog: &Catalog, booking: Booking) -> Response {
    let Booking { problems, warnings, new, campaign, partner, status: _ } = booking;
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
