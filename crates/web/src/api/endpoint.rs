//! Endpoints: how they stand, and stopping them or letting them go on.

use roundtrip_domain::endpoint::State;
use roundtrip_domain::problem::{Code, Problem};
use roundtrip_domain::settings::{KeyScope, Settings};
use roundtrip_store::ledger::EndpointWish;
use schemars::JsonSchema;
use serde::Serialize;
use serde_json::json;

use super::call::{Answer, Call, Failure};
use super::fields::Fields;
use super::route::{Needs, Route, schema};
use crate::endpoints::{Endpoints, LogLine, Shown, parse};
use crate::waits;

/// Longest reason, in characters.
const REASON_CHARS_MAX: usize = 500;

/// Why an endpoint is stopped or goes on.
#[derive(JsonSchema)]
#[schemars(deny_unknown_fields)]
#[expect(dead_code, reason = "only its schema is used; bodies are read by `Fields`")]
struct Change {
    /// Why, at most 500 characters; stands in the endpoint's log.
    reason: Option<String>,
}

/// The endpoints of a workspace.
#[derive(Serialize, JsonSchema)]
struct List {
    /// Those that have or had work, and those that the settings name.
    endpoints: Vec<Shown>,
}

/// An endpoint and what became of it.
#[derive(Serialize, JsonSchema)]
struct WithLog {
    /// How it stands.
    endpoint: Shown,
    /// What became of it, the newest first, at most 100 lines.
    log: Vec<LogLine>,
}

/// An endpoint after a change.
#[derive(Serialize, JsonSchema)]
struct Changed {
    /// How it stands.
    endpoint: Shown,
    /// Whether this call changed it; it was that already otherwise.
    changed: bool,
}

pub(super) fn routes() -> Vec<Route> {
    let change = |verb: &str, summary: &str| {
        Route::post(format!("/api/v1/endpoints/{{id}}/{verb}"), format!("endpoint_{verb}"), summary)
            .in_workspace()
            .needs(Needs::Scope(KeyScope::Write))
            .takes(schema::<Change>)
            .answers(200, "It is that now, or was already.", schema::<Changed>)
            .codes(&[
                Code::IdUnknown,
                Code::EndpointState,
                Code::FieldType,
                Code::FieldUnknown,
                Code::ValueTooLong,
            ])
    };
    vec![
        Route::get("/api/v1/endpoints", "endpoint_list", "Lists who is told, and how that goes")
            .in_workspace()
            .answers(200, "The endpoints.", schema::<List>)
            .does(list),
        Route::get("/api/v1/endpoints/{id}", "endpoint_read", "Shows an endpoint and what became of it")
            .in_workspace()
            .answers(200, "The endpoint.", schema::<WithLog>)
            .codes(&[Code::IdUnknown])
            .does(read),
        change("pause", "Stops telling it for a while: what is planned for it is held")
            .does(|call| set(call, State::Paused, None)),
        change("resume", "Tells a paused endpoint again, at first one at a time")
            .does(|call| set(call, State::Active, Some(State::Paused))),
        change("disable", "Stops telling it until it is enabled: what is planned for it is held")
            .does(|call| set(call, State::Disabled, None)),
        change("enable", "Tells a disabled endpoint again, at first one at a time")
            .does(|call| set(call, State::Active, Some(State::Disabled))),
    ]
}

fn endpoints<'a>(call: &'a Call, settings: &'a Settings) -> Endpoints<'a> {
    Endpoints { ledger: &call.state.ledger, settings, now: call.state.clock.now() }
}

async fn list(call: Call) -> Result<Answer, Failure> {
    let settings = call.workspace()?;
    Ok(Answer::ok(json!(List { endpoints: endpoints(&call, &settings).list().await? })))
}

async fn read(call: Call) -> Result<Answer, Failure> {
    let settings = call.workspace()?;
    let endpoint = parse(call.path("id"), &settings)?;
    let endpoints = endpoints(&call, &settings);
    let shown = WithLog { endpoint: endpoints.read(endpoint).await?, log: endpoints.log(endpoint).await? };
    Ok(Answer::ok(json!(shown)))
}

fn reason(call: &mut Call) -> Result<String, Problem> {
    let mut fields = Fields::of(call.body.take())?;
    let reason = fields.text("reason")?.unwrap_or_default().trim().to_owned();
    fields.done()?;
    if reason.chars().count() > REASON_CHARS_MAX {
        let message = format!("it is at most {REASON_CHARS_MAX} characters");
        return Err(Problem::new(Code::ValueTooLong, "reason", message));
    }
    if reason.chars().any(char::is_control) {
        return Err(Problem::new(Code::FieldType, "reason", "it is one line, without control characters"));
    }
    Ok(reason)
}

/// Changes a state. `from`: the state that this call ends; another one is not ended by it.
async fn set(mut call: Call, to: State, from: Option<State>) -> Result<Answer, Failure> {
    let reason = reason(&mut call)?;
    let settings = call.workspace()?;
    let endpoint = parse(call.path("id"), &settings)?;
    let now = endpoints(&call, &settings).find(endpoint).await?.row.state;
    let is_other = now.holds()
        && (from.is_some_and(|from| from != now) || (to, now) == (State::Paused, State::Disabled));
    if is_other {
        let (end, advice) = match now {
            State::Paused => ("resume", "`roundtrip endpoint resume NAME` lets it go on"),
            _ => ("enable", "`roundtrip endpoint enable NAME` lets it go on, once its receiver works again"),
        };
        let message =
            format!("`{}` is {}; `{end}` lets it go on", waits::name(endpoint, &settings), now.name());
        return Err(Problem::new(Code::EndpointState, "id", message).fixed_by(advice).into());
    }
    let actor = call.caller.actor();
    let wish = EndpointWish { workspace: settings.workspace, endpoint, to, reason, actor: actor.clone() };
    let changed = call.state.ledger.endpoint_set(wish, call.state.clock.now()).await?.is_some();
    if changed {
        tracing::info!(
            endpoint.id = waits::id(endpoint),
            state = to.name(),
            actor,
            "an endpoint's state changed"
        );
    }
    let endpoint = endpoints(&call, &settings).read_state(endpoint).await?;
    Ok(Answer::ok(json!(Changed { endpoint, changed })))
}
