//! One send: load, render, call, judge.

use std::collections::HashMap;
use std::sync::Arc;

use bytes::Bytes;
use roundtrip_domain::endpoint::Endpoint as Receiver;
use roundtrip_domain::link_dialect::callback_template;
use roundtrip_domain::postback::{Stored, stored_callback};
use roundtrip_domain::retry::{self, Jitter, Outcome, Verdict};
use roundtrip_domain::template::{Sending, secrets};
use roundtrip_domain::time::{Timestamp, human};
use roundtrip_store::ledger::{AttemptRow, Due, Outgoing, Settled, Settlement};
use tokio::sync::mpsc;

use super::endpoint::{Endpoint, Key};
use super::places::Places;
use super::settle::Ended;
use super::{Message, evidence, hook};
use crate::sender::{self, Failure, Limits, Request};
use crate::{Config, Stats};

/// Headers by which a receiver can tell one send from another. They name the evidence, not the fact: what
/// a receiver dedupes on is `{event_id}`.
const DELIVERY_HEADER: &str = "x-roundtrip-delivery";
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
    let (config, stats) = (config.clone(), stats.clone());
    tokio::spawn(async move {
        let items = begin.iter().map(|(_, due)| *due).collect();
        let loaded = config.ledger.delivery_load_all(items).await;
        let mut loaded = match loaded {
            Ok(loaded) => loaded.into_iter().map(Ok).collect::<Vec<_>>(),
            Err(error) => begin.iter().map(|_| Err(error.clone())).collect(),
        };
        for ((key, due), host) in begin.into_iter().zip(counted).rev() {
            let outgoing = loaded.pop().unwrap_or(Ok(None));
            let (config, stats) = (config.clone(), stats.clone());
            let ends = ends.clone();
            tokio::spawn(async move {
                // Whatever happens in here, also a panic, its end is told: a lost end would hold a place for ever.
                let mut guard = EndGuard { key, due, host, own_place: None, ends, told: false };
                let (settlement, host, is_trouble) = one(&config, &stats, due, outgoing, &mut guard).await;
                guard.tell(settlement, host, is_trouble);
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

    fn tell(mut self, settlement: Settlement, host: Option<String>, is_trouble: bool) {
        self.told = true;
        let host = host.unwrap_or_else(|| self.host.clone());
        self.send(settlement, host, is_trouble);
    }

    fn send(&self, settlement: Settlement, host: String, is_trouble: bool) {
        // Nobody hears it only when the engine is gone; then the next start sends it again.
        let _ = self.ends.settler.send(Ended { key: self.key, settlement });
        let places = [self.host.clone()].into_iter().chain(self.own_place.clone()).collect();
        let _ = self.ends.messages.send(Message::Ended { key: self.key, places, host, is_trouble });
    }
}

impl Drop for EndGuard {
    fn drop(&mut self) {
        if !self.told {
            let next = Settled::Again { due: self.due.due.plus_ms(60_000), reason: "panicked".into() };
            let settlement = Settlement { item: self.due, attempt: None, next };
            self.send(settlement, self.host.clone(), false);
        }
    }
}

/// Sends one delivery. Returns its settlement, the host that was called, and whether the endpoint is in
/// trouble.
async fn one(
    config: &Config,
    stats: &Stats,
    item: Due,
    outgoing: Result<Option<Outgoing>, roundtrip_store::Error>,
    guard: &mut EndGuard,
) -> (Settlement, Option<String>, bool) {
    let now = config.clock.now();
    let unsent = |next| (Settlement { item, attempt: None, next }, None, false);
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
    let (rule, partner) = match item.endpoint {
        Receiver::Postback { rule, partner } => (rule, partner),
        Receiver::Webhook(webhook) => {
            let settings = catalog.workspace(item.workspace);
            return match settings.and_then(|settings| settings.webhook(webhook)) {
                Some(webhook) => hook::send(config, stats, webhook, item, outgoing, now).await,
                None => unsent(Settled::Dead { reason: "webhook_deleted".into() }),
            };
        }
    };
    let partner = catalog.workspace(item.workspace).and_then(|s| s.partners.get(&partner)).cloned();
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
        let exchange = config.sender.send(request, Limits::POSTBACK).await;
        (outcome(&exchange, now.ms()), exchange.evidence)
    };
    // Where one click's callback went says nothing about the next one's.
    let called = if is_callback { String::new() } else { evidence.origin.clone() };
    let host = Some(called).filter(|origin| is_callback || !origin.is_empty());
    let settings = partner.iter().flat_map(|partner| &partner.cfg);
    evidence.mask(&secrets(template.macros(), settings, &rendered.secrets));

    let body = evidence::write(&evidence, &rendered.missing);
    let (settlement, is_trouble) = judged(config, item, now, &outcome, &evidence, body);
    (settlement, host, is_trouble)
}

/// The headers by which a receiver can tell one send from another.
pub(super) fn evidence_headers(item: &Due, n: u32) -> [(String, String); 2] {
    [(DELIVERY_HEADER.into(), item.delivery.to_string()), (ATTEMPT_HEADER.into(), n.to_string())]
}

/// What follows a send: its settlement, and whether its endpoint is in trouble.
pub(super) fn judged(
    config: &Config,
    item: Due,
    began: Timestamp,
    outcome: &Outcome,
    evidence: &sender::Evidence,
    body: String,
) -> (Settlement, bool) {
    let n = item.sends + 1;
    let ended_at = config.clock.now();
    let jitter = Jitter::from_entropy(config.entropy.u32());
    let verdict = retry::next(&config.policy, n, outcome, ended_at, jitter);
    let (next, next_words) = match &verdict {
        Verdict::Delivered => (Settled::Delivered, "delivered".to_owned()),
        Verdict::Again { due } => (
            Settled::Again { due: *due, reason: outcome.code() },
            format!("sent again in {}", human(due.since(ended_at))),
        ),
        Verdict::Dead { reason } => {
            (Settled::Dead { reason: (*reason).to_owned() }, format!("given up: {reason}"))
        }
    };
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
        at: began,
        outcome: outcome.code(),
        status: match outcome {
            Outcome::Answered { status, .. } => Some(*status),
            _ => None,
        },
        total_us: evidence.timings.total_us as i64,
        next: next_words,
        body,
    };
    // A full pool is ours, not the endpoint's.
    let is_trouble = outcome.is_trouble() && *outcome != Outcome::Trouble(Failure::PoolFull.code());
    (Settlement { item, attempt: Some(attempt), next }, is_trouble)
}

/// Scheme, host and port of a URL; empty when it has none.
pub(super) fn origin_of(url: &str) -> String {
    url::Url::parse(url).map_or_else(|_| String::new(), |url| url.origin().ascii_serialization())
}

pub(super) fn outcome(exchange: &sender::Exchange, now_ms: i64) -> Outcome {
    match &exchange.outcome {
        sender::Outcome::Answered { status } => Outcome::Answered {
            status: *status,
            retry_after_ms: exchange.evidence.retry_after(now_ms).map(|wait| wait.as_millis() as i64),
        },
        sender::Outcome::Failed(failure) if failure.is_trouble() || *failure == Failure::PoolFull => {
            Outcome::Trouble(failure.code())
        }
        sender::Outcome::Failed(failure) => Outcome::Refused(failure.code()),
    }
}
