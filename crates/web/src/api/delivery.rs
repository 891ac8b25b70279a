//! Deliveries: the list, what one came to, telling it again, and links that show one to somebody outside.

use roundtrip_domain::endpoint::{Endpoint, State};
use roundtrip_domain::id::{Id, kind};
use roundtrip_domain::problem::{Code, Problem};
use roundtrip_domain::settings::{KeyScope, Settings};
use roundtrip_domain::time::Span;
use roundtrip_store::ledger::{DeliveryFilter, Replay, TEST_KIND};
use schemars::JsonSchema;
use serde::Serialize;
use serde_json::json;

use super::call::{Answer, Call, Failure};
use super::explain::{finder, telling};
use super::fields::Fields;
use super::route::{Needs, Route, schema};
use crate::deliveries::{self, Deliveries, PARAMETERS, Wanted};
use crate::story::{Delivery, Telling, tell, tell_delivery};
use crate::waits;

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

/// For how long a link opens.
#[derive(JsonSchema)]
#[schemars(deny_unknown_fields)]
#[expect(dead_code, reason = "only its schema is used; bodies are read by `Fields`")]
struct ShareWish {
    /// A span such as `7d`, at most `90d`; 7 days when absent.
    r#for: Option<String>,
}

/// A link that shows one delivery.
#[derive(Serialize, JsonSchema)]
struct ShareLink {
    /// Open to whoever has it, without a key.
    url: String,
    /// When it ends.
    until: String,
    /// In words.
    sentence: String,
}

/// Links that were taken back.
#[derive(Serialize, JsonSchema)]
struct Revoked {
    /// In words.
    sentence: String,
}

/// How long a link opens when nobody says.
const SHARE_DEFAULT: Span = Span::from_days(7);
/// The longest that a link opens.
const SHARE_MAX: Span = Span::from_days(90);

impl Route {
    /// Adds the parameters of a filter of deliveries; the handler asks [`wanted`].
    pub(super) fn filtered(self) -> Self {
        PARAMETERS
            .iter()
            .fold(self, |route, (name, about)| route.query(name, about, json!({ "type": "string" })))
    }
}

/// The filter in a call's query.
pub(super) fn wanted(call: &Call, settings: &Settings) -> Result<DeliveryFilter, Problem> {
    Wanted::read(|name| call.query.text(name)).judge(settings, call.state.clock.now(), "")
}

pub(super) fn routes() -> Vec<Route> {
    vec![
        Route::get("/api/v1/deliveries", "delivery_list", "Lists the latest deliveries, the newest first")
            .in_workspace()
            .limited()
            .query(
                "before",
                "The delivery before which the page begins: `next` of the page before.",
                json!({ "type": "string" }),
            )
            .filtered()
            .answers(
                200,
                "A page. It looks at a bounded number of rows, and says when the filter ran into that.",
                schema::<Deliveries>,
            )
            .does(list),
        Route::post(
            "/api/v1/deliveries/{id}/share",
            "delivery_share",
            "Makes a link that shows the delivery to whoever has it, for some days",
        )
        .in_workspace()
        .takes(schema::<ShareWish>)
        .answers(201, "The link. It shows this delivery alone, personal data masked.", schema::<ShareLink>)
        .codes(&[Code::IdUnknown, Code::FieldType, Code::FieldUnknown])
        .does(share),
        Route::delete(
            "/api/v1/deliveries/{id}/share",
            "delivery_unshare",
            "Takes back every link that shows the delivery",
        )
        .in_workspace()
        .answers(200, "None of the links made so far opens any more.", schema::<Revoked>)
        .does(unshare),
        Route::delete(
            "/api/v1/shares",
            "share_revoke_all",
            "Takes back every link that shows a delivery of the workspace",
        )
        .in_workspace()
        .answers(200, "None of the links made so far opens any more.", schema::<Revoked>)
        .does(unshare_all),
        Route::get("/api/v1/deliveries/{id}", "delivery_read", "Shows a delivery with every send")
            .in_workspace()
            .told()
            .answers(200, "The delivery.", schema::<DeliveryOfEvent>)
            .does(read),
        Route::post("/api/v1/deliveries/{id}/replay", "delivery_replay", "Tells the same fact once more")
            .in_workspace()
            .needs(Needs::Scope(KeyScope::Replay))
            .answers(201, "It is planned, under a new delivery id and the same event id.", schema::<Replayed>)
            .codes(&[Code::IdUnknown, Code::ReplayRefused, Code::ReplayWaiting, Code::ConversionRejected])
            .does(replay),
    ]
}

fn id_of(call: &Call) -> Result<Id<kind::Delivery>, Problem> {
    let text = call.path("id");
    let refused = |_| {
        let message = format!("`{text}` is no delivery's id: those are dlv_ and 26 characters");
        Problem::new(Code::ParameterInvalid, "id", message)
            .fixed_by("`roundtrip deliveries` lists the latest ones with their ids")
    };
    text.parse().map_err(refused)
}

async fn list(call: Call) -> Result<Answer, Failure> {
    let limit = call.limit()?;
    let settings = call.workspace()?;
    let before = match call.query.text("before") {
        None => None,
        Some(text) => Some(text.parse::<Id<kind::Delivery>>().map_err(|_| {
            Problem::new(Code::ParameterInvalid, "before", "it is the id of a delivery (dlv_…)")
        })?),
    };
    let filter = wanted(&call, &settings)?;
    let now = call.state.clock.now();
    Ok(Answer::ok(json!(deliveries::list(&call.state.ledger, &settings, filter, before, limit, now).await?)))
}

async fn read(call: Call) -> Result<Answer, Failure> {
    let id = id_of(&call)?;
    let (settings, telling) = (call.workspace()?, telling(&call)?);
    let (delivery, event, story) = finder(&call, &settings, telling).delivery(id).await?;
    let names = deliveries::names(&delivery, story.as_ref(), &settings);
    let event_sentence = match &story {
        Some(story) => tell(story, telling).sentence,
        None => "It tells of no event.".to_owned(),
    };
    Ok(Answer::ok(json!(DeliveryOfEvent {
        event: event.to_string(),
        event_sentence,
        delivery: tell_delivery(&delivery, story.as_ref(), &names, telling),
    })))
}

async fn share(mut call: Call) -> Result<Answer, Failure> {
    let id = id_of(&call)?;
    let settings = call.workspace()?;
    let now = call.state.clock.now();
    let mut fields = Fields::of(call.body.take())?;
    let life = match fields.text("for")? {
        None => SHARE_DEFAULT,
        Some(text) => Span::parse(&text)
            .filter(|span| (Span::from_seconds(1)..=SHARE_MAX).contains(span))
            .ok_or_else(|| Problem::new(Code::FieldType, "for", "it is a span such as 7d, from 1s to 90d"))?,
    };
    fields.done()?;
    let delivery = finder(&call, &settings, Telling { now, full: false }).delivery(id).await?.0;
    if delivery.endpoint.postback().is_none() {
        let message = "it tells you, not a partner: what a webhook says is not shared";
        let advice = "a postback's delivery can be shared; `roundtrip explain ID` shows this one to you";
        return Err(Problem::new(Code::ParameterInvalid, "id", message).fixed_by(advice).into());
    }
    let (token, until) = call.state.ledger.share_make(settings.workspace, id, life, now).await?;
    tracing::info!(delivery.id = %id, share.until = %until, actor = call.caller.actor(), "a delivery is shared");
    Ok(Answer::created(json!(ShareLink {
        url: format!("{}/share/{token}", call.state.public_url),
        until: until.to_string(),
        sentence: format!(
            "Whoever has the link sees this one delivery, personal data masked, until {until}."
        ),
    })))
}

async fn unshare(call: Call) -> Result<Answer, Failure> {
    let id = id_of(&call)?;
    revoke(call, Some(id)).await
}

async fn unshare_all(call: Call) -> Result<Answer, Failure> {
    revoke(call, None).await
}

async fn revoke(call: Call, id: Option<Id<kind::Delivery>>) -> Result<Answer, Failure> {
    let settings = call.workspace()?;
    call.state.ledger.share_revoke(settings.workspace, id, call.state.clock.now()).await?;
    let of = id.map_or_else(|| "all deliveries".to_owned(), |id| id.to_string());
    tracing::info!(share.of = of, actor = call.caller.actor(), "links to deliveries were taken back");
    let sentence = format!("No link to {of} that was made so far opens any more.");
    Ok(Answer::ok(json!(Revoked { sentence })))
}

async fn replay(call: Call) -> Result<Answer, Failure> {
    let id = id_of(&call)?;
    let settings = call.workspace()?;
    let now = call.state.clock.now();
    let finder = finder(&call, &settings, Telling { now, full: false });
    let (delivery, event, _) = finder.delivery(id).await?;
    if delivery.kind == TEST_KIND {
        let problem = Problem::new(Code::ReplayRefused, "id", "it is a test, and a test is not told again");
        return Err(problem.fixed_by("`roundtrip endpoint test NAME` sends another").into());
    }
    let is_known = |endpoint: Endpoint| match endpoint {
        Endpoint::Postback { rule, .. } => settings.rule(rule).is_some(),
        Endpoint::Webhook(webhook) => settings.webhook(webhook).is_some(),
    };
    if !is_known(delivery.endpoint) {
        let message = "the rule or webhook that planned it was deleted, so nobody is told by it any more";
        return Err(Problem::new(Code::ReplayRefused, "id", message).into());
    }
    // The ledger hands what it plans to the engine itself; nobody has to be woken from here.
    let planned = call.state.ledger.delivery_replay(settings.workspace, id, now).await?;
    let planned = match planned {
        Replay::Planned(planned) => planned,
        Replay::Hastened(due) => {
            tracing::info!(delivery.id = %id, actor = call.caller.actor(), "sent before it was due");
            let live = call.state.ledger.live();
            let seen = live.get(&(settings.workspace, delivery.endpoint));
            let look = format!("`roundtrip explain {id}` shows the answer");
            return Ok(Answer::created(json!(Replayed {
                id: id.to_string(),
                replay_of: id.to_string(),
                event: event.to_string(),
                due: due.due.to_string(),
                sentence: match seen.and_then(|seen| seen.takes_nothing(now)) {
                    None => format!("It waited for its next send and is sent now, under its own id; {look}."),
                    Some(why) => format!(
                        "It is due now, under its own id, and waits all the same: {}; {look}.",
                        waits::because(why, None, now)
                    ),
                },
            })));
        }
        Replay::Held(row) => {
            let problem =
                Problem::new(Code::ReplayWaiting, "id", format!("its endpoint is {}", waits::stopped(&row)));
            let end = if row.state == State::Paused { "resume" } else { "enable" };
            let name = waits::name(row.endpoint, &settings);
            return Err(problem.fixed_by(format!("`roundtrip endpoint {end} {name}` lets it go on")).into());
        }
        Replay::Delayed(until) => {
            let message = format!("its rule delays it until {until}");
            let fix = "wait for that, or end it with `roundtrip cancel` and replay it then";
            return Err(Problem::new(Code::ReplayWaiting, "id", message).fixed_by(fix).into());
        }
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
