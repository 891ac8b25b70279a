//! Approving and rejecting conversions.

use roundtrip_domain::id::{Id, kind};
use roundtrip_domain::problem::{Code, Problem};
use roundtrip_domain::settings::KeyScope;
use roundtrip_domain::status::{Asker, Status};
use roundtrip_store::ledger::{StatusAnswer, StatusWish};
use schemars::JsonSchema;
use serde::Serialize;
use serde_json::json;

use super::call::{Answer, Call, Failure};
use super::fields::Fields;
use super::route::{Needs, Route, schema};

/// Longest reason, in characters: it can stand in a postback's URL.
const REASON_CHARS_MAX: usize = 500;

/// Why a conversion is approved.
#[derive(JsonSchema)]
#[schemars(deny_unknown_fields)]
#[expect(dead_code, reason = "only its schema is used; bodies are read by `Fields`")]
struct Approve {
    /// Why, at most 500 characters; stands in the story.
    reason: Option<String>,
}

/// Why a conversion is rejected.
#[derive(JsonSchema)]
#[schemars(deny_unknown_fields)]
#[expect(dead_code, reason = "only its schema is used; bodies are read by `Fields`")]
struct Reject {
    /// Why, at most 500 characters; stands in the story, and is `{reject_reason}` in templates.
    reason: String,
}

/// How a conversion counts now.
#[derive(Serialize, JsonSchema)]
struct Changed {
    /// The conversion, `cnv_…`.
    conversion: String,
    /// What it was: `approved`, `pending` or `rejected`.
    from: String,
    /// What it is now.
    status: String,
    /// Whether this call changed it; it was that already otherwise.
    changed: bool,
    /// The event of the change, `evt_…`: what partners who are told of it see as `{event_id}`.
    #[serde(skip_serializing_if = "Option::is_none")]
    event: Option<String>,
    /// In words.
    sentence: String,
}

pub(super) fn routes() -> Vec<Route> {
    let route = |verb: &str, summary: &str| {
        Route::post(format!("/api/v1/conversions/{{id}}/{verb}"), format!("conversion_{verb}"), summary)
            .in_workspace()
            .needs(Needs::Scope(KeyScope::Write))
            .answers(200, "It is that now, or was already.", schema::<Changed>)
            .codes(&[
                Code::IdUnknown,
                Code::ConversionMissing,
                Code::FieldMissing,
                Code::FieldType,
                Code::FieldUnknown,
                Code::ValueTooLong,
            ])
    };
    vec![
        route("approve", "Approves a conversion: it counts, and what waited for approval is told")
            .takes(schema::<Approve>)
            .does(|call| change(call, Status::Approved)),
        route(
            "reject",
            "Rejects a conversion: it no longer counts, and who was told hears of it by rules for that",
        )
        .takes(schema::<Reject>)
        .does(|call| change(call, Status::Rejected)),
    ]
}

/// The conversion's id; that of its event is taken too.
fn id_of(call: &Call) -> Result<Id<kind::Conversion>, Problem> {
    let text = call.path("id");
    let event = || text.parse::<Id<kind::Event>>().map(Id::<kind::Event>::conversion);
    text.parse().or_else(|_| event()).map_err(|_| {
        Problem::new(
            Code::ParameterInvalid,
            "id",
            "a conversion's id begins with cnv_, its event's with evt_",
        )
    })
}

fn reason(call: &mut Call, is_needed: bool) -> Result<Option<String>, Problem> {
    let mut fields = Fields::of(call.body.take())?;
    let reason = fields.text("reason")?.map(|text| text.trim().to_owned()).filter(|text| !text.is_empty());
    fields.done()?;
    match &reason {
        None if is_needed => {
            Err(Problem::new(Code::FieldMissing, "reason", "a rejection says why; `reason` is missing"))
        }
        Some(text) if text.chars().count() > REASON_CHARS_MAX => {
            let message = format!("it is at most {REASON_CHARS_MAX} characters");
            Err(Problem::new(Code::ValueTooLong, "reason", message))
        }
        Some(text) if text.chars().any(char::is_control) => {
            Err(Problem::new(Code::FieldType, "reason", "it is one line, without control characters"))
        }
        _ => Ok(reason),
    }
}

async fn change(mut call: Call, to: Status) -> Result<Answer, Failure> {
    let conversion = id_of(&call)?;
    let settings = call.workspace()?;
    let reason = reason(&mut call, to == Status::Rejected)?;
    let by = call.caller.actor();
    let wish = StatusWish { conversion, to, asker: Asker::Owner, by: by.clone(), reason };
    let answer = call.state.ledger.status_change(settings.workspace, wish, call.state.clock.now()).await?;
    let (from, event) = match answer {
        StatusAnswer::Changed { change, from } => (from, Some(change)),
        StatusAnswer::Same => (to, None),
        StatusAnswer::Refused(now) | StatusAnswer::OwnerDecided(now) => {
            let message = format!("the conversion is {}", now.name());
            return Err(Problem::new(Code::ConversionMissing, "id", message).into());
        }
        StatusAnswer::NoConversion => {
            let message = "the event makes no conversion, so there is nothing to approve or reject";
            return Err(Problem::new(Code::ConversionMissing, "id", message).into());
        }
        StatusAnswer::Unknown => {
            let message = "no event or conversion of that id is kept in this workspace";
            return Err(Problem::new(Code::IdUnknown, "id", message).into());
        }
    };
    if let Some(event) = event {
        tracing::info!(conversion.id = %conversion, event.id = %event, status = to.name(), actor = by, "status changed");
    }
    let sentence = match event {
        Some(_) => format!("It was {} and is {} now.", from.name(), to.name()),
        None => format!("It was {} already; nothing changed.", to.name()),
    };
    Ok(Answer::ok(json!(Changed {
        conversion: conversion.to_string(),
        from: from.name().to_owned(),
        status: to.name().to_owned(),
        changed: event.is_some(),
        event: event.map(|id| id.to_string()),
        sentence,
    })))
}
