//! Testing an endpoint: a delivery with made-up values, sent like any other and counted nowhere.

use roundtrip_domain::endpoint::Endpoint;
use roundtrip_domain::id::{Id, kind};
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
        .answers(201, "It waits in the endpoint's queue.", schema::<Testing>)
        .codes(&[Code::IdUnknown, Code::ReplayRefused, Code::ParameterMissing])
        .does(test),
    ]
}

async fn test(call: Call) -> Result<Answer, Failure> {
    let settings = call.workspace()?;
    let name = call.path("id").to_owned();
    if !name.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b':' | b'@')) {
        let message = "it is rule:SLUG, rule:SLUG@PARTNER, webhook:SLUG or an endpoint's id";
        return Err(Problem::new(Code::ParameterInvalid, "id", message).advise(endpoints::LIST_THEM).into());
    }
    let wanted = match endpoints::by_ids(&name) {
        Some(Endpoint::Webhook(id)) => of_webhook(&id.to_string(), &settings)?,
        Some(Endpoint::Postback { rule, partner }) => {
            of_rule(&call, &format!("{rule}@{partner}"), &settings)?
        }
        None => match name.split_once(':') {
            Some(("webhook", webhook)) => of_webhook(webhook, &settings)?,
            Some(("rule", rule)) => of_rule(&call, rule, &settings)?,
            _ => of_rule(&call, &name, &settings)?,
        },
    };
    let wanted_endpoint = wanted.endpoint;
    let id = call.state.ledger.delivery_test(settings.workspace, wanted, call.state.clock.now()).await?;
    let endpoint = waits::id(wanted_endpoint);
    tracing::info!(delivery.id = %id, endpoint.id = endpoint, actor = call.caller.actor(), "a test was asked for");
    let endpoints =
        Endpoints { ledger: &call.state.ledger, settings: &settings, now: call.state.clock.now() };
    let row = endpoints.find(wanted_endpoint).await?.row;
    let sentence = match row.state.holds() {
        true => format!("The test {id} is held: its endpoint is {}.", waits::stopped(&row)),
        false => format!("A test is on its way as {id}; `roundtrip endpoint test` waits for its end."),
    };
    Ok(Answer::created(json!(Testing { delivery: id.to_string(), sentence })))
}

fn of_webhook(name: &str, settings: &Settings) -> Result<DeliveryTest, Problem> {
    let id: Option<Id<kind::Webhook>> = name.parse().ok();
    let webhook = settings.webhooks.iter().find(|webhook| webhook.slug == name || Some(webhook.id) == id);
    let webhook = webhook.ok_or_else(|| endpoints::unknown(format!("there is no webhook `{name}`")))?;
    Ok(DeliveryTest {
        endpoint: Endpoint::Webhook(webhook.id),
        version: webhook.version,
        app: webhook.app.unwrap_or(Id::from_bits(0)),
        values: Vec::new(),
    })
}

/// A test of a rule: its template filled with what its partner's sheet shows.
fn of_rule(call: &Call, name: &str, settings: &Settings) -> Result<DeliveryTest, Problem> {
    let (name, named) = name.split_once('@').map_or((name, None), |(rule, partner)| (rule, Some(partner)));
    let rule = endpoints::rule_of(name, settings)?;
    let told = || settings.partners.values().filter(|partner| sheet::is_told(settings, rule, partner));
    let partner = match named.map(str::to_owned).or_else(|| call.query.text("partner")) {
        Some(text) => {
            let id: Option<Id<kind::Partner>> = text.parse().ok();
            let message = || format!("rule `{}` tells no partner `{text}`", rule.slug);
            told().find(|partner| partner.slug == text || Some(partner.id) == id).ok_or_else(|| {
                Problem::new(Code::ParameterInvalid, "partner", message()).advise(endpoints::LIST_THEM)
            })?
        }
        None => {
            let mut all = told();
            let message = || format!("rule `{}` tells several partners, or none: say which", rule.slug);
            match (all.next(), all.next()) {
                (Some(one), None) => one,
                _ => {
                    let problem = Problem::new(Code::ParameterMissing, "partner", message());
                    return Err(problem.advise("name the partner: rule:SLUG@PARTNER"));
                }
            }
        }
    };
    let (Some(app), Some(template)) = (settings.apps.get(&rule.app), rule.request.template()) else {
        let message = "the rule tells the clicks' own callbacks, which a test cannot make up";
        return Err(Problem::new(Code::ReplayRefused, "id", message));
    };
    let samples = sheet::sample_values(partner, app, rule, template);
    let values =
        samples.into_iter().map(|(name, decoded)| MacroValue { name, decoded, received: None }).collect();
    Ok(DeliveryTest {
        endpoint: Endpoint::Postback { rule: rule.id, partner: partner.id },
        version: rule.version,
        app: rule.app,
        values,
    })
}
