//! One send: load, render, call, judge.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use roundtrip_domain::endpoint::Endpoint as Receiver;
use roundtrip_domain::link_dialect::callback_template;
use roundtrip_domain::postback::{Stored, stored_callback};
use roundtrip_domain::retry::{self, Deadline, Jitter, Late, Outcome, Policy, Sent, Start, Verdict};
use roundtrip_domain::settings::Settings;
use roundtrip_domain::success::Said;
use roundtrip_domain::template::{Sending, secrets};
use roundtrip_domain::time::{Span, Timestamp, human};
use roundtrip_store::ledger::{AttemptRow, Due, HELD_TOO_LONG, Outgoing, Settled, Settlement, TEST_KIND};
use tokio::sync::mpsc;

use super::endpoint::{Endpoint, Key, Report};
use super::places::Places;
use super::reach::Reach;
use super::settle::{Ended, Notice};
use super::{Message, evidence, hook};
use crate::sender::{self, Limits, Request};
use crate::{Config, Stats};

/// Headers by which a receiver can tell one send from another. They name the evidence, not the fact: what
/// a receiver dedupes on is `{event_id}`.
const DELIVERY_HEADER: &str = "x-roundtrip-delivery";
/// Why a test is over that was not taken.
const TEST_FAILED: &str = "test_failed";
/// Why a test is over that was not sent in the minutes in which somebody waits for it.
const TEST_TOO_OLD: &str = "test_too_old";
const ATTEMPT_HEADER: &str = "x-roundtrip-attempt";

/// Starts sends: one task loads what they need in one read, then each runs by itself.
pub(super) fn begin(
    config: &Config,
    stats: &Arc<Stats>,
    begin: Vec<(Key, Due)>,
    ends: Ends,
    endpoints: &HashMap<Key, Endpoint>,
) {
    let counted: Vec<String> =
        begin.iter().map(|(key, _)| endpoints.get(key).map(|e| e.host.clone()).unwrap_or_default()).collect();
    let (config, stats) = (Arc::new(config.clone()), stats.clone());
    let began = config.clock.now();
    // Whatever happens from here on, also a panic, each end is told: a lost end would hold a place for ever.
    let guards: Vec<EndGuard> = begin
        .into_iter()
        .zip(counted)
        .map(|((key, due), host)| EndGuard {
            key,
            due,
            began,
            host,
            own_place: None,
            ends: ends.clone(),
            told: false,
        })
        .collect();
    tokio::spawn(async move {
        let items = guards.iter().map(|guard| guard.due).collect();
        let loaded = config.ledger.delivery_load_all(items).await;
        let mut loaded = match loaded {
            Ok(loaded) => loaded.into_iter().map(Ok).collect::<Vec<_>>(),
            Err(error) => guards.iter().map(|_| Err(error.clone())).collect(),
        };
        for mut guard in guards.into_iter().rev() {
            let outgoing = loaded.pop().unwrap_or(Ok(None));
            let (config, stats) = (config.clone(), stats.clone());
            tokio::spawn(async move {
                let due = guard.due;
                let end = one(&config, &stats, due, outgoing, &mut guard).await;
                guard.tell(end);
            });
        }
    });
}

/// To whom ends of sends are told, and the places that they free.
#[derive(Clone)]
pub(super) struct Ends {
    pub(super) messages: mpsc::UnboundedSender<Message>,
    pub(super) settler: mpsc::UnboundedSender<Ended>,
    pub(super) places: Places,
}

struct EndGuard {
    key: Key,
    due: Due,
    /// When it was taken to be sent.
    began: Timestamp,
    /// The endpoint's host when the send began, at which the coordinator took a place for it.
    host: String,
    /// The host of its own at which the send took a place.
    own_place: Option<String>,
    ends: Ends,
    told: bool,
}

impl EndGuard {
    /// Takes a place at a host that the coordinator could not know. `false` when there is none.
    fn take_place(&mut self, host: &str) -> bool {
        let is_taken = self.ends.places.take(host);
        self.own_place = is_taken.then(|| host.to_owned());
        is_taken
    }

    fn tell(mut self, end: End) {
        self.told = true;
        self.send(end);
    }

    fn send(&self, end: End) {
        let End { settlement, notice, host, report, is_test } = end;
        let host = host.unwrap_or_else(|| self.host.clone());
        // Nobody hears it only when the engine is gone; then the next start sends it again.
        let _ = self.ends.settler.send(Ended { key: self.key, settlement, notice, is_test });
        let places = [self.host.clone()].into_iter().chain(self.own_place.clone()).collect();
        let (key, delivery) = (self.key, self.due.delivery);
        let _ = self.ends.messages.send(Message::Ended { key, delivery, places, host, report });
    }
}

/// The end of a send.
pub(super) struct End {
    settlement: Settlement,
    /// What is worth telling people of it.
    notice: Option<Notice>,
    /// The host that was called; `None` when none was.
    host: Option<String>,
    /// What it says about the endpoint.
    report: Report,
    /// Whether a test was sent.
    is_test: bool,
}

impl End {
    /// Of what was not sent.
    pub(super) fn unsent(item: Due, next: Settled) -> Self {
        let settlement = Settlement { item, attempt: None, next };
        Self { settlement, notice: None, host: None, report: Report::UNSENT, is_test: false }
    }
}

impl Drop for EndGuard {
    fn drop(&mut self) {
        if !self.told {
            let next = Settled::Again { due: self.began.plus_ms(60_000), reason: "panicked".into() };
            self.send(End::unsent(self.due, next));
        }
    }
}

/// Sends one delivery.
///
/// The request is that of the rule's version which planned it, but how often it is sent and what counts as a success
/// is what the rule says now: who mends a rule whose receiver is in trouble means what waits. Of a rule that is gone the
/// defaults hold. Until when the receiver accepts it was stored when it was planned.
async fn one(
    config: &Config,
    stats: &Stats,
    item: Due,
    outgoing: Result<Option<Outgoing>, roundtrip_store::Error>,
    guard: &mut EndGuard,
) -> End {
    let now = config.clock.now();
    let unsent = |next| End::unsent(item, next);
    let later = |reason: &str| Settled::Again { due: now.plus_ms(10_000), reason: reason.into() };
    let outgoing = match outgoing {
        // It was cancelled after it was handed over.
        Ok(Some(outgoing)) if !outgoing.is_waiting => return unsent(Settled::Ended),
        Ok(Some(outgoing)) => outgoing,
        Ok(None) => return unsent(Settled::Dead { reason: "delivery_not_kept".into() }),
        Err(error) => {
            tracing::warn!(delivery.id = %item.delivery, error = %error, "a delivery cannot be read");
            return unsent(later("store_unavailable"));
        }
    };
    let catalog = config.ledger.catalog();
    let settings = catalog.workspace(item.workspace);
    let (rule, partner) = match item.endpoint {
        Receiver::Postback { rule, partner } => (rule, partner),
        Receiver::Webhook(webhook) => {
            return match settings.and_then(|settings| settings.webhook(webhook)) {
                Some(webhook) => hook::send(config, stats, webhook, item, outgoing, now).await,
                None => unsent(Settled::Dead { reason: "webhook_deleted".into() }),
            };
        }
    };
    let partner = settings.and_then(|s| s.partners.get(&partner)).cloned();
    let ruled = settings.and_then(|s| s.rule(rule));
    let policy = ruled.map_or_else(|| config.policy.clone(), |ruled| ruled.retry.policy(&config.policy));
    let deadline =
        outgoing.deadline.map(|at| Deadline { at, late: ruled.map(|ruled| ruled.late).unwrap_or_default() });
    let window = ruled.and_then(|ruled| ruled.accepts_of(partner.as_deref()));
    let is_test = outgoing.kind == TEST_KIND;
    let deadline =
        deadline.map(|deadline| if is_test { Deadline { late: Late::Expire, ..deadline } } else { deadline });
    let first_at = outgoing.first_at;
    let basis = Basis {
        item,
        began: now,
        planned: outgoing.created_at,
        first_at,
        policy: &policy,
        deadline,
        window,
        is_test,
    };
    if let Some(end) = basis.too_late() {
        return end;
    }
    let callback = stored_callback(&outgoing.values);
    let is_callback = callback.is_some();
    let template = match callback {
        Some(url) => {
            // What was allowed when it was planned may have been taken back since.
            let is_allowed = partner.as_deref().is_some_and(|p| p.in_link_callbacks);
            match url.and_then(callback_template) {
                Ok(template) if is_allowed => Arc::new(template),
                Ok(_) | Err(_) => return unsent(Settled::Dead { reason: "callback_refused".into() }),
            }
        }
        None => match config.ledger.rule_template(item.workspace, rule, outgoing.teller_version).await {
            Ok(Some(template)) => template,
            Ok(None) => return unsent(Settled::Dead { reason: "template_not_kept".into() }),
            Err(error) => {
                tracing::warn!(delivery.id = %item.delivery, error = %error, "a rule's template cannot be read");
                return unsent(later("store_unavailable"));
            }
        },
    };
    let n = item.sends + 1;
    let nonce = format!("{:032x}", config.entropy.u128());
    let sending = Sending { attempt: n, at_ms: now.ms(), nonce: &nonce };
    // The partner's settings may hold secrets; whoever wrote a click with a callback does not get to read them.
    let cfg = partner.as_deref().filter(|_| !is_callback).map(|p| &p.cfg);
    let rendered = template.render(&Stored { values: &outgoing.values, cfg }, &sending);
    if is_callback && !guard.take_place(&origin_of(&rendered.url)) {
        return unsent(later("host_full"));
    }

    Stats::add(&stats.sends, 1);
    let (outcome, mut evidence) = if rendered.too_long {
        (Outcome::Refused("request_too_long"), sender::Evidence::default())
    } else if rendered.url.is_empty() {
        (Outcome::Refused("host_missing"), sender::Evidence::default())
    } else if rendered.lacks_auth {
        (Outcome::Refused("auth_missing"), sender::Evidence::default())
    } else {
        let own = rendered.headers.into_iter();
        let mut headers: Vec<(String, String)> =
            own.map(|(name, value)| (name, String::from_utf8_lossy(&value).into_owned())).collect();
        headers.extend(evidence_headers(&item, n));
        let request = Request {
            method: http::Method::from_bytes(rendered.method.as_str().as_bytes()).unwrap_or_default(),
            url: rendered.url,
            headers,
            body: rendered.body.map(Bytes::from).unwrap_or_default(),
        };
        let exchange = match &rendered.token {
            Some(ask) => config.sender.send_with_token(request, ask, limits(&policy)).await,
            None => config.sender.send(request, limits(&policy)).await,
        };
        let outcome = match outcome(&exchange, &policy, now.ms()) {
            // Whoever wrote the click chose where it goes: that it may not go there is their mistake, or an attack, and
            // nothing that the operator is to mend.
            Outcome::NotAllowed(what) if is_callback => Outcome::Refused(what.code()),
            outcome => outcome,
        };
        (outcome, exchange.evidence)
    };
    // Where one click's callback went says nothing about the next one's.
    let called = if is_callback { String::new() } else { evidence.origin.clone() };
    let host = Some(called).filter(|origin| is_callback || !origin.is_empty());
    let settings = partner.iter().flat_map(|partner| &partner.cfg);
    evidence.mask(&secrets(template.macros(), settings, &rendered.secrets));

    let body = evidence::write(&evidence, &rendered.missing);
    basis.judged(config, &outcome, &evidence, body, host)
}

/// The headers by which a receiver can tell one send from another.
pub(super) fn evidence_headers(item: &Due, n: u32) -> [(String, String); 2] {
    [(DELIVERY_HEADER.into(), item.delivery.to_string()), (ATTEMPT_HEADER.into(), n.to_string())]
}

/// What a send is judged by.
pub(super) struct Basis<'a> {
    pub(super) item: Due,
    pub(super) began: Timestamp,
    /// When it was planned.
    pub(super) planned: Timestamp,
    pub(super) first_at: Option<Timestamp>,
    pub(super) policy: &'a Policy,
    pub(super) deadline: Option<Deadline>,
    /// How long its receiver accepts it, if that is bounded.
    pub(super) window: Option<Span>,
    /// Whether it is a test: sent once, and of no interest to anybody but whoever waits for it.
    pub(super) is_test: bool,
}

impl Basis<'_> {
    /// The end of what is not sent any more.
    pub(super) fn too_late(&self) -> Option<End> {
        let item = self.item;
        match retry::start(self.policy, self.first_at, self.deadline, self.began) {
            Start::Send => None,
            Start::Dead { reason } => Some(End::unsent(item, Settled::Dead { reason: reason.into() })),
            Start::Expired { .. } if self.is_test => {
                Some(End::unsent(item, Settled::Expired { reason: TEST_TOO_OLD.into() }))
            }
            Start::Expired { reason } => {
                let end = End::unsent(item, Settled::Expired { reason: reason.into() });
                let notice = self.deadline.map(|deadline| Notice::expired(item, deadline.at));
                Some(End { notice, ..end })
            }
        }
    }

    /// The end of a send.
    pub(super) fn judged(
        &self,
        config: &Config,
        outcome: &Outcome,
        evidence: &sender::Evidence,
        body: String,
        host: Option<String>,
    ) -> End {
        let (item, n) = (self.item, self.item.sends + 1);
        let ended_at = config.clock.now();
        let jitter = Jitter::from_entropy(config.entropy.u32());
        let first_at = self.first_at.unwrap_or(self.began);
        let sent = Sent { n, first_at, at: self.began, ended_at };
        let verdict = match retry::next(self.policy, sent, self.deadline, outcome, jitter) {
            // As what waits for an endpoint that is stopped.
            Verdict::Hold { .. } if ended_at.since(self.planned) > config.bounds.held_kept.ms() => {
                Verdict::Expired { reason: HELD_TOO_LONG }
            }
            verdict => verdict,
        };
        let reach = Reach::of(&verdict, outcome);
        let (next, next_words) = match verdict {
            Verdict::Delivered => (Settled::Delivered, "delivered".to_owned()),
            Verdict::Again { .. } | Verdict::Hold { .. } | Verdict::Disable | Verdict::Expired { .. }
                if self.is_test =>
            {
                (Settled::Dead { reason: TEST_FAILED.into() }, "a test is sent once".to_owned())
            }
            Verdict::Again { due, reason, is_pulled_in } => {
                let wait = human(due.since(ended_at));
                let why = if is_pulled_in { ", the last time that there is for it" } else { "" };
                (Settled::Again { due, reason }, format!("sent again in {wait}{why}"))
            }
            Verdict::Hold { due, what } => {
                let wait = human(due.since(ended_at));
                let words = format!(
                    "held: the server's settings do not allow {}, {} does; looked at again in {wait}",
                    what.what(),
                    what.switch()
                );
                (Settled::Unsent { due, reason: what.code().into() }, words)
            }
            Verdict::Dead { reason } => {
                (Settled::Dead { reason: reason.into() }, format!("given up: {reason}"))
            }
            Verdict::Expired { reason } => {
                (Settled::Expired { reason: reason.into() }, format!("expired: {reason}"))
            }
            Verdict::Disable => {
                let held = Settled::Again { due: ended_at, reason: "endpoint_gone".into() };
                (held, "held: the endpoint is disabled".into())
            }
        };
        let notice = self.deadline.and_then(|Deadline { at, .. }| match &next {
            Settled::Expired { .. } => Some(Notice::expired(item, at)),
            Settled::Again { due, .. } | Settled::Unsent { due, .. } => {
                // What was not sent keeps its number: that it is the first says nothing about what was said before.
                let n = if matches!(next, Settled::Unsent { .. }) { n.max(2) } else { n };
                self.window
                    .filter(|window| retry::is_running_out(*window, at, n, item.due, *due))
                    .map(|_| Notice::running_out(item, at))
            }
            _ => None,
        });
        tracing::debug!(
            delivery.id = %item.delivery,
            attempt = n,
            outcome = outcome.code(),
            next = next_words,
            total_us = evidence.timings.total_us,
            "attempt"
        );
        let attempt = AttemptRow {
            n,
            at: self.began,
            outcome: outcome.code(),
            status: match outcome {
                Outcome::Answered { status, .. } => Some(*status),
                _ => None,
            },
            total_us: evidence.timings.total_us as i64,
            next: next_words,
            body,
        };
        let report = Report {
            reach,
            took: Duration::from_micros(evidence.timings.total_us),
            rest: outcome.asked_ms().map(|ms| Duration::from_millis(ms.unsigned_abs())),
        };
        let settlement = Settlement { item, attempt: Some(attempt), next };
        End { settlement, notice, host, report, is_test: self.is_test }
    }
}

/// Scheme, host and port of a URL; empty when it has none.
pub(super) fn origin_of(url: &str) -> String {
    url::Url::parse(url).map_or_else(|_| String::new(), |url| url.origin().ascii_serialization())
}

/// Where an endpoint's requests go, as far as its rule and the partner's settings say now: only those may stand
/// in a URL's host. Empty when the rule is gone; then the first send tells. Empty too for a rule that tells the clicks'
/// own callbacks, each of which has its own host.
pub(super) fn host_of(settings: &Settings, endpoint: Receiver) -> String {
    let (rule, partner) = match endpoint {
        Receiver::Postback { rule, partner } => (rule, partner),
        Receiver::Webhook(webhook) => {
            return settings.webhook(webhook).map_or_else(String::new, |webhook| origin_of(&webhook.url));
        }
    };
    let Some(rule) = settings.rule(rule) else { return String::new() };
    let cfg = settings.partners.get(&partner).map(|p| &p.cfg);
    let Some(template) = rule.request.template() else { return String::new() };
    let rendered = template.url().render(&Stored { values: &[], cfg }, None);
    origin_of(&rendered.url)
}

/// The bounds of an exchange under that policy.
pub(super) fn limits(policy: &Policy) -> Limits {
    let total_ms = policy.timeout.ms().cast_unsigned();
    Limits { total_ms, connect_ms: Limits::POSTBACK.connect_ms.min(total_ms), ..Limits::POSTBACK }
}

pub(super) fn outcome(exchange: &sender::Exchange, policy: &Policy, now_ms: i64) -> Outcome {
    match &exchange.outcome {
        sender::Outcome::Answered { status } => {
            let answer = exchange.evidence.answer.as_ref();
            Outcome::Answered {
                status: *status,
                retry_after_ms: exchange.evidence.retry_after(now_ms).map(|wait| wait.as_millis() as i64),
                said: answer.map_or(Said::Accepted, |answer| {
                    policy.success.judge(&answer.body, !answer.body_end.is_error())
                }),
                abort: answer.is_some_and(asks_to_stop),
            }
        }
        sender::Outcome::Failed(failure) if failure.is_trouble() || failure.is_ours() => {
            Outcome::Trouble(failure.code())
        }
        sender::Outcome::Failed(failure) => {
            failure.not_allowed().map_or(Outcome::Refused(failure.code()), Outcome::NotAllowed)
        }
    }
}

/// Whether the receiver does not want to be sent this again.
fn asks_to_stop(answer: &sender::Answer) -> bool {
    let mut headers =
        answer.headers.iter().filter(|(name, _)| name.eq_ignore_ascii_case(retry::ABORT_HEADER));
    headers.any(|(_, value)| value.trim().eq_ignore_ascii_case("true"))
}
