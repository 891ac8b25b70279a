//! Testing an endpoint: a delivery with made-up values, sent like any other and counted nowhere.

use roundtrip_domain::endpoint::{Endpoint, State};
use roundtrip_domain::id::Id;
use roundtrip_domain::postback::MacroValue;
use roundtrip_domain::problem::{Code, Problem};
use roundtrip_domain::settings::{KeyScope, Settings};
use roundtrip_store::ledger::DeliveryTest;
use schemars::JsonSchema;
use serde::Serialize;
use serde_json::json;

use super::call::{Answer, Call, Failure};
use super::route::{Needs, Route, schema};
use crate::endpoints::Endpoints;
use crate::{endpoints, sheet, waits};

/// A test that is on its way.
#[derive(Serialize, JsonSchema)]
struct Testing {
    /// The test delivery, `dlv_…`: `GET /api/v1/deliveries/{id}` shows what it came to.
    delivery: String,
    /// Who is tested, by name.
    endpoint: String,
    /// How it stands: `active`, `paused` or `disabled`. It is tested all the same.
    state: &'static str,
    /// In words.
    sentence: String,
}

pub(super) fn routes() -> Vec<Route> {
    vec![
        Route::post(
            "/api/v1/endpoints/{id}/test",
            "endpoint_test",
            "Sends a test to an endpoint: made-up values, like any other delivery, counted nowhere",
        )
        .in_workspace()
        .query(
            "partner",
            "Which of the partners that the rule tells, by slug or id, where it tells several.",
            json!({ "type": "string" }),
        )
        .needs(Needs::Scope(KeyScope::Replay))
        .answers(
            201,
            "It is sent once, within ten minutes; also while the endpoint is stopped.",
            schema::<Testing>,
        )
        .codes(&[Code::IdUnknown, Code::ReplayRefused])
        .does(test),
    ]
}

async fn test(call: Call) -> Result<Answer, Failure> {
    let settings = call.workspace()?;
    let name = call.path("id").to_owned();
    if !name.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b':' | b'@')) {
        let message = "it is rule:SLUG, rule:SLUG@PARTNER, webhook:SLUG or an endpoint's id";
        return Err(Problem::new(Code::ParameterInvalid, "id", message)
            .fixed_by(endpoints::LIST_THEM)
            .into());
    }
    // A slug alone is a rule's.
    let full = match name.contains(':') || endpoints::by_ids(&name).is_some() {
        true => name,
        false => format!("rule:{name}"),
    };
    let full = match call.query.text("partner") {
        Some(partner) if full.starts_with("rule:") && !full.contains('@') => format!("{full}@{partner}"),
        _ => full,
    };
    let endpoint = endpoints::parse(&full, &settings)?;
    let endpoints =
        Endpoints { ledger: &call.state.ledger, settings: &settings, now: call.state.clock.now() };
    // What it was told before, by other settings, cannot be tested by those of now.
    endpoints.could_be(endpoint)?;
    let wanted = made_up(endpoint, &settings)?;
    let state = endpoints.find(endpoint).await?.row.state;
    let id = call.state.ledger.delivery_test(settings.workspace, wanted, call.state.clock.now()).await?;
    tracing::info!(delivery.id = %id, endpoint.id = waits::id(endpoint), actor = call.caller.actor(), "a test was asked for");
    Ok(Answer::created(json!(Testing {
        delivery: id.to_string(),
        endpoint: waits::name(endpoint, &settings),
        state: state.name(),
        sentence: format!(
            "A test is on its way as {id}, {}; `roundtrip endpoint test` waits for its end.",
            match state {
                State::Active => "behind what waits for the endpoint".to_owned(),
                _ => format!("although the endpoint is {}", state.name()),
            }
        ),
    })))
}

/// A test of an endpoint: a rule's template filled with what its partner's sheet shows.
fn made_up(endpoint: Endpoint, settings: &Settings) -> Result<DeliveryTest, Problem> {
    let gone = || Problem::new(Code::IdUnknown, "id", "it was deleted").fixed_by(endpoints::LIST_THEM);
    let (rule, partner) = match endpoint {
        Endpoint::Webhook(id) => {
            let webhook = settings.webhook(id).ok_or_else(gone)?;
            let (version, app) = (webhook.version, webhook.app.unwrap_or(Id::from_bits(0)));
            return Ok(DeliveryTest { endpoint, version, app, values: Vec::new() });
        }
        Endpoint::Postback { rule, partner } => {
            (settings.rule(rule).ok_or_else(gone)?, settings.partners.get(&partner).ok_or_else(gone)?)
        }
    };
    let (Some(app), Some(template)) = (settings.apps.get(&rule.app), rule.request.template()) else {
        let message = "the rule tells the clicks' own callbacks, which a test cannot make up";
        return Err(Problem::new(Code::ReplayRefused, "id", message));
    };
    let samples = sheet::sample_values(partner, app, rule, template);
    let values =
        samples.into_iter().map(|(name, decoded)| MacroValue { name, decoded, received: None }).collect();
    Ok(DeliveryTest { endpoint, version: rule.version, app: rule.app, values })
}
