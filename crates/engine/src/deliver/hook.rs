//! One send of a webhook: the body that is kept, in the form that its receiver asked for, signed afresh.

use bytes::Bytes;
use roundtrip_domain::retry::{Deadline, Late, Outcome, Policy};
use roundtrip_domain::time::Timestamp;
use roundtrip_domain::webhook::{Webhook, sign};
use roundtrip_store::ledger::{Due, Outgoing, Settled, TEST_KIND};
use roundtrip_store::payload;

use super::send::{Basis, End};
use super::{evidence, send};
use crate::sender::Request;
use crate::{Config, Stats};

/// Names the delivery that is replayed, where it is one.
const REPLAY_HEADER: &str = "x-roundtrip-replay-of";

/// Sends a webhook once.
pub(super) async fn send(
    config: &Config,
    stats: &Stats,
    webhook: &Webhook,
    item: Due,
    outgoing: Outgoing,
    now: Timestamp,
) -> End {
    let policy = webhook.retry.policy(&Policy::webhook());
    let first_at = outgoing.first_at;
    let is_test = outgoing.kind == TEST_KIND;
    let deadline = outgoing.deadline.map(|at| Deadline { at, late: Late::Expire });
    let basis = Basis {
        item,
        began: now,
        planned: outgoing.created_at,
        first_at,
        policy: &policy,
        deadline,
        window: None,
        is_test,
    };
    if let Some(end) = basis.too_late() {
        return end;
    }
    let Some(kept) = &outgoing.payload else {
        let next = Settled::Dead { reason: "payload_not_kept".into() };
        return End::unsent(item, next);
    };
    let body = payload::shape(kept, webhook);
    let request = request(webhook, &item, &outgoing, body, now);
    Stats::add(&stats.sends, 1);
    let exchange = config.sender.send(request, send::limits(&policy)).await;
    let outcome: Outcome = send::outcome(&exchange, &policy, now.ms());
    let mut evidence = exchange.evidence;
    let host = Some(evidence.origin.clone()).filter(|origin| !origin.is_empty());
    evidence.mask(&secrets(webhook));
    let body = evidence::write(&evidence, &[]);
    basis.judged(config, &outcome, &evidence, body, host)
}

fn request(webhook: &Webhook, item: &Due, outgoing: &Outgoing, body: String, now: Timestamp) -> Request {
    let mut headers = vec![("content-type".to_owned(), "application/json".to_owned())];
    headers.extend(webhook.headers.iter().cloned());
    if !webhook.is_slack() {
        headers.extend(sign::headers(&webhook.signing, &outgoing.fact.to_string(), now, body.as_bytes()));
    }
    headers.extend(send::evidence_headers(item, item.sends + 1));
    if let Some(of) = outgoing.replay_of {
        headers.push((REPLAY_HEADER.to_owned(), of.to_string()));
    }
    Request { method: http::Method::POST, url: webhook.url.clone(), headers, body: Bytes::from(body) }
}

/// What is masked in evidence: a webhook's own headers, its URL's query, and the path of a Slack hook, which alone opens
/// it.
fn secrets(webhook: &Webhook) -> Vec<String> {
    let mut secrets: Vec<String> = webhook.headers.iter().map(|(_, value)| value.clone()).collect();
    if let Ok(url) = url::Url::parse(&webhook.url) {
        if webhook.is_slack() {
            secrets.push(url.path().trim_start_matches('/').to_owned());
        }
        secrets.extend(url.query().map(str::to_owned));
    }
    secrets
}

#[cfg(test)]
mod tests {
    use roundtrip_domain::endpoint::Endpoint;
    use roundtrip_domain::id::{Id, WorkspaceNo};
    use roundtrip_domain::webhook::sign::{Secret, Signing};
    use roundtrip_domain::webhook::{Form, Wanted};

    use super::*;

    fn webhook(url: &str) -> Webhook {
        Webhook {
            id: Id::from_bits(1),
            slug: "orders".into(),
            version: 1,
            app: None,
            url: url.into(),
            wanted: Wanted::default(),
            form: Form::Full,
            without: Vec::new(),
            headers: vec![("x-key".into(), "opensesame".into())],
            signing: Signing::new(Secret::generate([7; 32])),
            sandbox: false,
            pending: false,
            retry: Default::default(),
            rate: None,
        }
    }

    fn sent(url: &str) -> Request {
        let webhook = webhook(url);
        let item = Due {
            workspace: WorkspaceNo::DEFAULT,
            endpoint: Endpoint::Webhook(webhook.id),
            due: Timestamp::from_ms(0),
            delivery: Id::from_bits(9),
            sends: 2,
        };
        let outgoing = Outgoing {
            payload: None,
            fact: Id::from_bits(5),
            teller_version: 1,
            kind: "install".into(),
            created_at: Timestamp::from_ms(0),
            deadline: None,
            replay_of: Some(Id::from_bits(8)),
            values: Vec::new(),
            is_waiting: true,
            first_at: None,
        };
        request(&webhook, &item, &outgoing, "{}".into(), Timestamp::from_ms(1_700_000_000_000))
    }

    #[test]
    fn is_signed_under_the_facts_id_and_says_which_send_it_is() {
        let request = sent("https://api.example.com/hooks");
        let header = |name: &str| {
            let found = request.headers.iter().find(|(known, _)| known == name);
            found.map(|(_, value)| value.as_str()).unwrap_or_default().to_owned()
        };
        assert_eq!(header("webhook-id"), Id::<roundtrip_domain::id::kind::Event>::from_bits(5).to_string());
        assert_eq!(header("webhook-timestamp"), "1700000000");
        assert!(header("webhook-signature").starts_with("v1,"));
        assert_eq!(header("x-roundtrip-signature").len(), 64);
        assert_eq!(header("x-roundtrip-attempt"), "3");
        assert!(header("x-roundtrip-replay-of").starts_with("dlv_"));
        assert_eq!(header("x-key"), "opensesame");
    }

    #[test]
    fn a_slack_hook_gets_no_signature_and_its_path_is_a_secret() {
        let request = sent("https://hooks.slack.com/services/T0/B0/xyz");
        assert!(request.headers.iter().all(|(name, _)| !name.contains("signature")));
        let secrets = secrets(&webhook("https://hooks.slack.com/services/T0/B0/xyz"));
        assert_eq!(secrets, ["opensesame", "services/T0/B0/xyz"]);
    }
}
