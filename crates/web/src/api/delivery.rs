//! Deliveries: what one came to, and telling it again.

use roundtrip_domain::endpoint::Endpoint;
use roundtrip_domain::id::{Id, kind};
use roundtrip_domain::problem::{Code, Problem};
use roundtrip_domain::settings::KeyScope;
use roundtrip_store::ledger::Replay;
use schemars::JsonSchema;
use serde::Serialize;
use serde_json::json;

use super::call::{Answer, Call, Failure};
use super::explain::{finder, telling};
use super::route::{Needs, Route, schema};
use crate::story::{Delivery, Telling, tell};

/// A delivery and what it tells of.
#[derive(Serialize, JsonSchema)]
struct DeliveryOfEvent {
    /// The event, `evt_…`; the same for every replay.
    event: String,
    /// The event's story in one sentence.
    event_sentence: String,
    /// The delivery.
    delivery: Delivery,
}

/// A replay that was planned.
#[derive(Serialize, JsonSchema)]
struct Replayed {
    /// The new delivery, `dlv_…`.
    id: String,
    /// The delivery that it replays.
    replay_of: String,
    /// The event that both tell of: receivers dedupe on it.
    event: String,
    /// When it is sent.
    due: String,
    /// In words.
    sentence: String,
}

pub(super) fn routes() -> Vec<Route> {
    vec![
        Route::get("/api/v1/deliveries/{id}", "delivery_read", "Shows a delivery with every send")
            .in_workspace()
            .told()
            .answers(200, "The delivery.", schema::<DeliveryOfEvent>)
            .does(read),
        Route::post("/api/v1/deliveries/{id}/replay", "delivery_replay", "Tells the same fact once more")
            .in_workspace()
            .needs(Needs::Scope(KeyScope::Replay))
            .answers(201, "It is planned, under a new delivery id and the same event id.", schema::<Replayed>)
            .codes(&[Code::IdUnknown, Code::ReplayRefused, Code::ConversionRejected])
            .does(replay),
    ]
}

fn id_of(call: &Call) -> Result<Id<kind::Delivery>, Problem> {
    let refused = |_| Problem::new(Code::ParameterInvalid, "id", "a delivery's id begins with dlv_");
    call.path("id").parse().map_err(refused)
}

async fn read(call: Call) -> Result<Answer, Failure> {
    let id = id_of(&call)?;
    let (settings, telling) = (call.workspace()?, telling(&call)?);
    let finder = finder(&call, &settings, telling);
    let event = finder.event_of(id).await?;
    let story = tell(&finder.story(event).await?, telling);
    let delivery = story.deliveries.into_iter().find(|delivery| delivery.id == id.to_string());
    let delivery =
        delivery.ok_or_else(|| Problem::new(Code::IdUnknown, "id", "the delivery is no longer kept"))?;
    Ok(Answer::ok(json!(DeliveryOfEvent { event: story.event.id, event_sentence: story.sentence, delivery })))
}

async fn replay(call: Call) -> Result<Answer, Failure> {
    let id = id_of(&call)?;
    let settings = call.workspace()?;
    let now = call.state.clock.now();
    let finder = finder(&call, &settings, Telling { now, full: false });
    let event = finder.event_of(id).await?;
    let story = finder.story(event).await?;
    let rule = story.deliveries.iter().find(|delivery| delivery.id == id).map(|delivery| delivery.endpoint);
    let is_known = |endpoint: Endpoint| match endpoint {
        Endpoint::Postback { rule, .. } => settings.rule(rule).is_some(),
        Endpoint::Webhook(webhook) => settings.webhook(webhook).is_some(),
    };
    if !rule.is_some_and(is_known) {
        let message = "the rule or webhook that planned it was deleted, so nobody is told by it any more";
        return Err(Problem::new(Code::ReplayRefused, "id", message).into());
    }
    // The ledger hands what it plans to the engine itself; nobody has to be woken from here.
    let planned = call.state.ledger.delivery_replay(settings.workspace, id, now).await?;
    let planned = match planned {
        Replay::Planned(planned) => planned,
        Replay::Rejected => {
            let message = "it tells of a conversion that was rejected, so it is not told again";
            return Err(Problem::new(Code::ConversionRejected, "id", message).into());
        }
        Replay::Unknown => {
            return Err(Problem::new(Code::IdUnknown, "id", "the delivery is no longer kept").into());
        }
    };
    tracing::info!(delivery.id = %planned.delivery, delivery.replay_of = %id, actor = call.caller.actor(), "replayed");
    Ok(Answer::created(json!(Replayed {
        id: planned.delivery.to_string(),
        replay_of: id.to_string(),
        event: event.to_string(),
        due: planned.due.to_string(),
        sentence: format!(
            "It is sent again now as {}; `roundtrip explain {}` shows the answer.",
            planned.delivery, planned.delivery
        ),
    })))
}
