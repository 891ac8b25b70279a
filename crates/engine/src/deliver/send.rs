//! One send: load, render, call, judge.

use std::collections::HashMap;
use std::sync::Arc;

use bytes::Bytes;
use roundtrip_domain::postback::Stored;
use roundtrip_domain::retry::{self, Jitter, Outcome, Verdict};
use roundtrip_domain::template::{Sending, secrets};
use roundtrip_domain::time::human;
use roundtrip_store::ledger::{AttemptRow, Due, Outgoing, Settled, Settlement};
use tokio::sync::mpsc;

use super::endpoint::{Endpoint, Key};
use super::settle::Ended;
use super::{Message, evidence};
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
    messages: &mpsc::UnboundedSender<Message>,
    settler: &mpsc::UnboundedSender<Ended>,
    endpoints: &HashMap<Key, Endpoint>,
) {
    let counted: Vec<String> =
        begin.iter().map(|(key, _)| endpoints.get(key).map(|e| e.host.clone()).unwrap_or_default()).collect();
    let (config, stats) = (config.clone(), stats.clone());
    let (messages, settler) = (messages.clone(), settler.clone());
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
            let (messages, settler) = (messages.clone(), settler.clone());
            tokio::spawn(async move {
                // Whatever happens in here, also a panic, its end is told: a lost end would hold a place for ever.
                let guard = EndGuard { key, due, host, messages, settler, told: false };
                let (settlement, host, is_trouble) = one(&config, &stats, due, outgoing).await;
                guard.tell(settlement, host, is_trouble);
            });
        }
    });
}

struct EndGuard {
    key: Key,
    due: Due,
    host: String,
    messages: mpsc::UnboundedSender<Message>,
    settler: mpsc::UnboundedSender<Ended>,
    told: bool,
}

impl EndGuard {
    fn tell(mut self, settlement: Settlement, host: Option<String>, is_trouble: bool) {
        self.told = true;
        let host = host.unwrap_or_else(|| self.host.clone());
        self.send(settlement, host, is_trouble);
    }

    fn send(&self, settlement: Settlement, host: String, is_trouble: bool) {
        // Nobody hears it only when the engine is gone; then the next start sends it again.
        let _ = self.settler.send(Ended { key: self.key, settlement });
        let counted = self.host.clone();
        let _ = self.messages.send(Message::Ended { key: self.key, counted, host, is_trouble });
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
    let template = match config.ledger.rule_template(item.workspace, item.rule, outgoing.rule_version).await {
        Ok(Some(template)) => template,
        Ok(None) => return unsent(Settled::Dead { reason: "template_not_kept".into() }),
        Err(error) => {
            tracing::warn!(delivery.id = %item.delivery, error = %error, "a rule's template cannot be read");
            return unsent(later("store_unavailable"));
        }
    };
    let catalog = config.ledger.catalog();
    let partner = catalog.workspace(item.workspace).and_then(|s| s.partners.get(&item.partner)).cloned();
    let n = item.sends + 1;
    let nonce = format!("{:032x}", config.entropy.u128());
    let sending = Sending { attempt: n, at_ms: now.ms(), nonce: &nonce };
    let values = Stored { values: &outgoing.values, cfg: partner.as_deref().map(|p| &p.cfg) };
    let rendered = template.render(&values, &sending);

    Stats::add(&stats.sends, 1);
    let (outcome, mut evidence) = if rendered.too_long {
        (Outcome::Refused("request_too_long"), sender::Evidence::default())
    } else if rendered.url.is_empty() {
        (Outcome::Refused("host_missing"), sender::Evidence::default())
    } else {
        let mut headers: Vec<(String, String)> = rendered
            .headers
            .into_iter()
            .map(|(name, value)| (name, String::from_utf8_lossy(&value).into_owned()))
            .collect();
        headers.push((DELIVERY_HEADER.into(), item.delivery.to_string()));
        headers.push((ATTEMPT_HEADER.into(), n.to_string()));
        let request = Request {
            method: http::Method::from_bytes(rendered.method.as_str().as_bytes()).unwrap_or_default(),
            url: rendered.url,
            headers,
            body: rendered.body.map(Bytes::from).unwrap_or_default(),
        };
        let exchange = config.sender.send(request, Limits::POSTBACK).await;
        (outcome(&exchange, now.ms()), exchange.evidence)
    };
    let host = Some(evidence.origin.clone()).filter(|origin| !origin.is_empty());
    let settings = partner.iter().flat_map(|partner| &partner.cfg);
    evidence.mask(&secrets(template.macros(), settings, &rendered.secrets));

    let ended_at = config.clock.now();
    let jitter = Jitter::from_entropy(config.entropy.u32());
    let verdict = retry::next(&config.policy, n, &outcome, ended_at, jitter);
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
        at: now,
        outcome: outcome.code(),
        status: match outcome {
            Outcome::Answered { status, .. } => Some(status),
            _ => None,
        },
        total_us: evidence.timings.total_us as i64,
        next: next_words,
        body: evidence::write(&evidence, &rendered.missing),
    };
    // A full pool is ours, not the endpoint's.
    let is_trouble = outcome.is_trouble() && outcome != Outcome::Trouble(Failure::PoolFull.code());
    (Settlement { item, attempt: Some(attempt), next }, host, is_trouble)
}

fn outcome(exchange: &sender::Exchange, now_ms: i64) -> Outcome {
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
