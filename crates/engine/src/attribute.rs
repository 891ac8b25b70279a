//! From recorded events to decisions.
//!
//! One step: list undecided events, ask the click log what their evidence leads to, hand both to the
//! ledger, which decides inside its transaction. There is one such loop per ledger; it may run a step twice
//! (after a crash, after a retry) because deciding is idempotent. Batches are committed one after the other, in the
//! order of their lists; only the listing and the looking up of the next one run beside a commit.
//!
//! A click log that cannot answer is no answer: the event stays undecided and the step is tried again. To
//! take "cannot read" for "not there" would call a paid install organic.

use std::collections::{HashMap, HashSet};

use roundtrip_domain::attribution::{self, Carrier, DeadEnd, Lead, MatchType, Named};
use roundtrip_domain::click::Touch;
use roundtrip_domain::click_id::ClickId;
use roundtrip_domain::device::Print;
use roundtrip_domain::event::Event;
use roundtrip_domain::id::{Id, WorkspaceNo, kind};
use roundtrip_domain::settings::CLICK_WINDOW_MAX;
use roundtrip_store::click_log::{ClickLog, Found, PrintQuery};
use roundtrip_store::ledger::{Prepared, Undecided, Waiting};

use crate::supervise::Shared;
use crate::{Config, Stats};

/// Most events in one step.
const BATCH_MAX: u32 = 512;
/// Most clicks that one device id leads to. The newest come first and the newest wins, so more cannot win.
const TOUCHES_PER_PRINT_MAX: usize = 64;
/// Most touches that are only told of in the story: clicks that came too late, and impressions.
const TOLD_PER_PRINT_MAX: usize = 8;

/// What a step came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// Nothing was undecided.
    Idle,
    /// A batch was decided; there may be more.
    Decided,
    /// A store could not answer; try again later.
    Later,
}

/// A batch in hand that has at least so many events is a sign of more to come.
const AHEAD_MIN: usize = 32;

/// Steps until told to stop. While one batch is committed the next is made ready: under load the ledger's writer
/// otherwise waits for half of the time.
pub async fn run(config: Config, mut shared: Shared) {
    let mut trouble: u32 = 0;
    let mut ahead = None;
    while !shared.is_stopping() {
        let ready = match ahead.take() {
            Some(prepared) => Ok(prepared),
            None => prepare(&config, HashSet::new()).await,
        };
        let step = match ready {
            Ok(prepared) if prepared.len() < AHEAD_MIN => commit(&config, &shared.stats, prepared).await,
            Ok(prepared) => {
                let in_hand =
                    prepared.iter().map(|p| &p.undecided.event).map(|e| (e.workspace, e.id)).collect();
                let (step, next) =
                    tokio::join!(commit(&config, &shared.stats, prepared), prepare(&config, in_hand));
                // After trouble it is listed anew: what was made ready would only grow old.
                ahead = next.ok().filter(|_| step == Step::Decided);
                step
            }
            Err(step) => step,
        };
        match step {
            Step::Decided => trouble = 0,
            Step::Idle => {
                trouble = 0;
                // The timer is the safety net behind the signal.
                tokio::select! {
                    () = config.ledger.undecided_signal() => {}
                    () = shared.pause(1_000) => {}
                }
            }
            Step::Later => {
                if config.ledger.is_fatal() {
                    return shared.give_up("the ledger lost durability");
                }
                trouble = (trouble + 1).min(6);
                shared.pause(50 << trouble).await;
            }
        }
    }
}

/// Decides one batch.
pub async fn step(config: &Config, stats: &Stats) -> Step {
    match prepare(config, HashSet::new()).await {
        Ok(prepared) => commit(config, stats, prepared).await,
        Err(step) => step,
    }
}

/// Lists undecided events that are not in hand, and looks up what their evidence leads to. Never an empty batch:
/// then it says what the step comes to.
async fn prepare(config: &Config, in_hand: HashSet<Waiting>) -> Result<Vec<Prepared>, Step> {
    let list = match config.ledger.undecided_beside(BATCH_MAX, config.clock.now(), in_hand).await {
        Ok(list) if list.is_empty() => return Err(Step::Idle),
        Ok(list) => list,
        Err(error) => {
            tracing::warn!(error = %error, "undecided events cannot be listed");
            return Err(Step::Later);
        }
    };
    let Led { prepared, unanswered } = leads(&config.clicks, list).await;
    if !unanswered.is_empty()
        && let Err(error) = config.ledger.todo_later(unanswered, config.clock.now()).await
    {
        tracing::warn!(error = %error, "events that wait for the click log cannot be put off");
    }
    if prepared.is_empty() { Err(Step::Later) } else { Ok(prepared) }
}

async fn commit(config: &Config, stats: &Stats, prepared: Vec<Prepared>) -> Step {
    match config.ledger.decision_commit(prepared, config.clock.now()).await {
        Ok(done) => {
            Stats::add(&stats.decided, done.decided.into());
            Stats::add(&stats.planned, done.planned.len() as u64);
            if done.decided + done.unchanged == 0 { Step::Later } else { Step::Decided }
        }
        Err(error) => {
            tracing::warn!(error = %error, "decisions cannot be stored");
            Step::Later
        }
    }
}

/// What the click log answered about a batch.
#[derive(Debug, Default)]
pub struct Led {
    /// Events whose evidence was looked up.
    pub prepared: Vec<Prepared>,
    /// Events whose evidence cannot be read now: they stay undecided, and step back.
    pub unanswered: Vec<(WorkspaceNo, Id<kind::Event>)>,
}

/// Asks the click log what the evidence of a batch leads to. The others do not wait for an event whose evidence
/// cannot be read now.
pub async fn leads(clicks: &ClickLog, list: Vec<Undecided>) -> Led {
    let evidence = list.iter().flat_map(|u| u.evidence()).flat_map(attribution::evidence);
    let mut ids: Vec<ClickId> = evidence.filter_map(|named| named.id).collect();
    ids.sort_unstable();
    ids.dedup();
    let found: HashMap<ClickId, Found> = match clicks.find_batch(&ids).await {
        Ok(answers) => ids.into_iter().zip(answers).collect(),
        // One that cannot be read fails the batch: then each is asked for by itself.
        Err(_) => {
            let mut found = HashMap::new();
            for id in ids {
                if let Ok(answer) = clicks.find(id).await {
                    found.insert(id, answer);
                }
            }
            found
        }
    };
    // One hop to a reader for the whole batch: a hop for each look-up cost more than the look-ups. A log that
    // has stopped answers none of them.
    let wanted = list.iter().flat_map(|u| u.evidence()).flat_map(print_queries).collect();
    let mut by_print = clicks.find_prints(wanted).await.unwrap_or_default().into_iter();
    let mut led = Led::default();
    for undecided in list {
        match leads_of(&undecided, &found, &mut by_print) {
            Ok(leads) => led.prepared.push(Prepared { undecided, leads }),
            Err(why) => {
                let event = &undecided.event;
                tracing::warn!(event.id = %event.id, error = why, "the click log cannot answer; the event stays undecided");
                led.unanswered.push((event.workspace, event.id));
            }
        }
    }
    led
}

/// Takes the answers of this event's look-ups from `by_print`, all of them, also when one of them failed.
fn leads_of(
    undecided: &Undecided,
    found: &HashMap<ClickId, Found>,
    by_print: &mut impl Iterator<Item = Result<Vec<Touch>, roundtrip_store::click_log::Error>>,
) -> Result<Vec<Lead>, String> {
    let mut leads = Vec::new();
    let mut failed = None;
    for event in undecided.evidence() {
        for named in attribution::evidence(event) {
            match lead(&named, event, found) {
                Ok(lead) => leads.push(lead),
                Err(why) => failed = Some(why),
            }
        }
        let mut touches: Vec<Touch> = Vec::new();
        for _ in print_queries(event) {
            match by_print.next() {
                Some(Ok(more)) => {
                    for touch in more {
                        if !touches.iter().any(|known| known.id == touch.id) {
                            touches.push(touch);
                        }
                    }
                }
                Some(Err(error)) => failed = Some(error.to_string()),
                None => failed = Some("the click log has stopped".into()),
            }
        }
        leads.extend(touches.into_iter().map(|touch| Lead::Touch {
            match_type: MatchType::DeviceId,
            touch,
            carrier: Carrier::of(event),
        }));
    }
    failed.map_or(Ok(leads), Err)
}

fn lead(named: &Named, event: &Event, found: &HashMap<ClickId, Found>) -> Result<Lead, String> {
    let Some(id) = named.id else { return Ok(named.dead(DeadEnd::Malformed)) };
    Ok(match found.get(&id) {
        Some(Found::Touch(touch)) => named.touch((**touch).clone(), event),
        Some(Found::NotOurs) => named.dead(DeadEnd::NotOurs),
        Some(Found::Expired) => named.dead(DeadEnd::Expired),
        Some(Found::NotStored) => named.dead(DeadEnd::NotStored),
        None => return Err(format!("click {id} cannot be read")),
    })
}

/// The look-ups for touches that carried one of the event's device ids. Clicks before the event fill a bound of
/// their own, so that neither later clicks nor impressions can crowd out the one that earned it; a few of
/// those are looked up for the story only.
fn print_queries(event: &Event) -> Vec<PrintQuery> {
    let ends = event.reference_at();
    let from = ends.plus_ms(-CLICK_WINDOW_MAX.ms());
    let mut queries = Vec::new();
    for id in attribution::device_evidence(event) {
        let print = Print::device(event.app, id);
        queries.push(PrintQuery { print, from, to: ends, limit: TOUCHES_PER_PRINT_MAX });
        let to = event.received_at;
        if to > ends {
            queries.push(PrintQuery { print, from: ends.plus_ms(1), to, limit: TOLD_PER_PRINT_MAX });
        }
        queries.push(PrintQuery { print: print.on_view(), from, to, limit: TOLD_PER_PRINT_MAX });
    }
    queries
}
