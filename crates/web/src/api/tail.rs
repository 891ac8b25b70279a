//! Following deliveries live: the ends of sends as they happen.
//!
//! A long poll, not a stream: each call answers what happened since the place that the one before ended at, and waits
//! a moment when nothing did. So a proxy that buffers does no harm, a broken line loses nothing that is still
//! remembered, and a server that stops waits for nobody long. A slow reader is told how many went by.

use std::time::Duration;

use roundtrip_domain::problem::{Code, Problem};
use roundtrip_domain::settings::Settings;
use roundtrip_store::ledger::{AttemptRow, DeliveryFilter, DeliveryListed, TailPlace};
use serde_json::json;

use super::call::{Answer, Call, Failure};
use super::delivery::wanted;
use super::explain::telling;
use super::route::{Route, schema};
use crate::deliveries::{self, Tail, TailedSend};
use crate::story::{Telling, attempt};

/// The longest that a call waits, in seconds: a server that stops waits as long for its last callers.
const WAIT_MAX_S: u64 = 5;
/// Ends of sends that are read at once.
const BATCH: usize = 200;

pub(super) fn routes() -> Vec<Route> {
    vec![
        Route::get("/api/v1/tail", "tail", "Follows deliveries live: the ends of sends since a place")
            .in_workspace()
            .query(
                "after",
                "Where the call before ended: its `next`. Absent: answers at once where now is.",
                json!({ "type": "string" }),
            )
            .query(
                "wait",
                "How many seconds to wait for something to happen.",
                json!({ "type": "integer", "minimum": 0, "maximum": WAIT_MAX_S, "default": WAIT_MAX_S }),
            )
            .query(
                "full",
                "Shows what was sent and answered, personal data included. Needs the scope `personal` too.",
                json!({ "type": "boolean", "default": false }),
            )
            .filtered()
            .answers(200, "What happened.", schema::<Tail>)
            .does(tail),
    ]
}

fn place_text(place: TailPlace) -> String {
    format!("{:08x}-{}", place.run, place.n)
}

fn place_read(text: &str) -> Result<TailPlace, Problem> {
    let parts = text.split_once('-');
    let place = parts.and_then(|(run, n)| Some((u32::from_str_radix(run, 16).ok()?, n.parse().ok()?)));
    let wrong = || Problem::new(Code::ParameterInvalid, "after", "it is the `next` of an earlier answer");
    place.map(|(run, n)| TailPlace { run, n }).ok_or_else(wrong)
}

/// Whether an end of a send is meant. A filter by state goes by how the delivery stands now, one by outcome by this send.
fn is_meant(filter: &DeliveryFilter, listed: &DeliveryListed, sent: &AttemptRow) -> bool {
    let (rule, partner) = listed.endpoint.postback().unzip();
    let webhook = match listed.endpoint {
        roundtrip_domain::endpoint::Endpoint::Webhook(webhook) => Some(webhook),
        roundtrip_domain::endpoint::Endpoint::Postback { .. } => None,
    };
    (filter.rule.is_none() || filter.rule == rule)
        && (filter.webhook.is_none() || filter.webhook == webhook)
        && (filter.partner.is_none() || filter.partner == partner)
        && filter.app.is_none_or(|app| app == listed.app)
        && (filter.kinds.is_empty() || filter.kinds.contains(&listed.kind))
        && filter.event.is_none_or(|event| event == listed.event)
        && filter.fact.is_none_or(|fact| fact == listed.fact)
        && (filter.states.is_empty() || filter.states.contains(&listed.state))
        && filter.outcome.as_ref().is_none_or(|outcome| *outcome == sent.outcome)
        && filter.from.is_none_or(|from| listed.created_at >= from)
        && filter.until.is_none_or(|until| listed.created_at < until)
}

fn shown(listed: &DeliveryListed, sent: &AttemptRow, settings: &Settings, telling: Telling) -> TailedSend {
    let mut attempt = attempt(sent);
    if !telling.full {
        (attempt.request, attempt.answer) = (None, None);
    }
    TailedSend { delivery: deliveries::row(listed, settings, telling.now), attempt }
}

async fn tail(call: Call) -> Result<Answer, Failure> {
    let settings = call.workspace()?;
    let filter = wanted(&call, &settings)?;
    let asked = telling(&call)?;
    let wait = match call.query.text("wait") {
        None => WAIT_MAX_S,
        Some(text) => text.parse().ok().filter(|wait| *wait <= WAIT_MAX_S).ok_or_else(|| {
            Problem::new(
                Code::ParameterInvalid,
                "wait",
                format!("it is a number of seconds, at most {WAIT_MAX_S}"),
            )
        })?,
    };
    let ledger = &call.state.ledger;
    let mut after = match call.query.text("after") {
        None => ledger.tail_place(),
        Some(text) => place_read(&text)?,
    };
    let is_first = call.query.text("after").is_none();
    let deadline = tokio::time::Instant::now() + Duration::from_secs(wait);
    let (mut missed, mut restarted) = (0, false);
    loop {
        let seen = ledger.tail_since(settings.workspace, after, BATCH);
        missed += seen.missed.unwrap_or(0);
        restarted |= seen.missed.is_none();
        let is_behind = seen.next != after;
        after = seen.next;
        let sends = ledger.tail_read(settings.workspace, seen.items).await?;
        let meant = sends.iter().filter(|(listed, sent)| is_meant(&filter, listed, sent));
        let items: Vec<TailedSend> = meant
            .map(|(listed, sent)| {
                shown(listed, sent, &settings, Telling { now: call.state.clock.now(), ..asked })
            })
            .collect();
        let is_over = tokio::time::Instant::now() >= deadline;
        if is_first || is_over || restarted || missed > 0 || !items.is_empty() {
            return Ok(Answer::ok(json!(Tail { items, next: place_text(after), missed, restarted })));
        }
        if !is_behind {
            // Over time it answers that nothing happened.
            let _ = tokio::time::timeout_at(deadline, ledger.tail_changed(after)).await;
        }
    }
}
