//! Writing down what is learned of endpoints that fail, so that a restart does not forget it.
//!
//! A few rows a day: the coordinator says something only when it changes. What cannot be written is tried again while
//! the engine runs; what is lost with it is learned again at the next failure.

use roundtrip_domain::endpoint::Endpoint;
use roundtrip_domain::endpoint::health::Notice;
use roundtrip_domain::webhook::Topic;
use roundtrip_store::ledger::EndpointNews;
use roundtrip_store::payload;
use serde_json::json;
use tokio::sync::mpsc;

use crate::Config;
use crate::supervise::Shared;

/// Most news in one commit.
const BATCH_MAX: usize = 256;

/// Writes until every sender is gone.
pub(super) async fn run(config: Config, mut shared: Shared, mut news: mpsc::UnboundedReceiver<EndpointNews>) {
    let mut batch: Vec<EndpointNews> = Vec::new();
    while news.recv_many(&mut batch, BATCH_MAX).await > 0 {
        let batch = std::mem::take(&mut batch);
        let mut trouble: u32 = 0;
        loop {
            match config.ledger.endpoint_news(batch.clone(), config.clock.now()).await {
                Ok(()) => {
                    for news in &batch {
                        tell(news);
                        tell_owner(&config, news).await;
                    }
                    break;
                }
                Err(error) if error.is_retryable() && !config.ledger.is_fatal() && !shared.is_stopping() => {
                    tracing::warn!(error = %error, "the state of endpoints cannot be stored yet");
                    trouble = (trouble + 1).min(6);
                    shared.pause(50 << trouble).await;
                }
                Err(error) => {
                    tracing::error!(error = %error, "the state of endpoints cannot be stored");
                    break;
                }
            }
        }
    }
}

/// The name by which people know an endpoint: `webhook:SLUG`, or `rule:SLUG@PARTNER`; the ids of what was deleted.
fn name(config: &Config, news: &EndpointNews) -> String {
    let catalog = config.ledger.catalog();
    let settings = catalog.workspace(news.workspace);
    match news.endpoint {
        Endpoint::Webhook(id) => {
            let slug = settings.and_then(|settings| settings.webhook(id)).map(|webhook| webhook.slug.clone());
            format!("webhook:{}", slug.unwrap_or_else(|| id.to_string()))
        }
        Endpoint::Postback { rule, partner } => {
            let slug = settings.and_then(|settings| settings.rule(rule)).map(|rule| rule.slug.clone());
            let whose = settings.and_then(|s| s.partners.get(&partner)).map(|partner| partner.slug.clone());
            format!(
                "rule:{}@{}",
                slug.unwrap_or_else(|| rule.to_string()),
                whose.unwrap_or_else(|| partner.to_string())
            )
        }
    }
}

/// Keeps the notice and tells the webhooks that ask for it. An endpoint's own failing is told to others.
async fn tell_owner(config: &Config, news: &EndpointNews) {
    let Some(notice) = news.notice else { return };
    let name = name(config, news);
    let (topic, sentence, figures) = match notice {
        Notice::Failing { hours } => (
            Topic::EndpointFailing,
            format!("{name} has taken nothing for {hours} h."),
            json!({ "hours": hours }),
        ),
        Notice::Disabled => (
            Topic::EndpointDisabled,
            format!(
                "{name} was disabled; what is for it is held. `roundtrip endpoint enable {name}` lets it go on."
            ),
            json!({ "reason": news.disable.unwrap_or_default() }),
        ),
        Notice::Recovered => {
            (Topic::EndpointRecovered, format!("{name} takes again what is sent."), json!({}))
        }
    };
    let notice = payload::Notice { sentence, about: Some(name), figures };
    let now = config.clock.now();
    if let Err(error) = config.ledger.notice(news.workspace, topic, None, notice, now).await {
        tracing::warn!(error = %error, "a notice cannot be kept");
    }
}

fn tell(news: &EndpointNews) {
    let Some(notice) = news.notice else { return };
    let (teller, partner) = super::names(news.endpoint);
    let code = notice.code();
    match notice {
        Notice::Failing { hours } => {
            tracing::warn!(
                code,
                endpoint.teller = teller,
                endpoint.partner = partner,
                hours,
                "an endpoint has been failing"
            );
        }
        Notice::Disabled => {
            let reason = news.disable.unwrap_or_default();
            tracing::error!(
                code,
                endpoint.teller = teller,
                endpoint.partner = partner,
                reason,
                "an endpoint was disabled"
            );
        }
        Notice::Recovered => {
            tracing::info!(
                code,
                endpoint.teller = teller,
                endpoint.partner = partner,
                "an endpoint recovered"
            );
        }
    }
}
