//! Writing down what is learned of endpoints that fail, so that a restart does not forget it.
//!
//! A few rows a day: the coordinator says something only when it changes. What cannot be written is tried again while
//! the engine runs; what is lost with it is learned again at the next failure.

use roundtrip_domain::endpoint::health::Notice;
use roundtrip_store::ledger::EndpointNews;
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
        // One time for all tries: what was written although the answer was lost is not written twice.
        let (at, mut trouble) = (config.clock.now(), 0_u32);
        loop {
            match config.ledger.endpoint_news(batch.clone(), at).await {
                Ok(()) => {
                    for news in &batch {
                        tell(news);
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
