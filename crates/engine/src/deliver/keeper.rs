//! Writing down what is learned of endpoints that fail, so that a restart does not forget it.
//!
//! A few rows a day: the coordinator says something only when it changes. What cannot be written is tried again while
//! the engine runs; what is lost with it is learned again at the next failure. What the ledger does not take at all is
//! given up, and the coordinator goes by what the tables say.

use roundtrip_domain::endpoint::health::Notice;
use roundtrip_domain::time::Timestamp;
use roundtrip_store::ledger::EndpointNews;
use tokio::sync::mpsc;

use crate::supervise::Shared;
use crate::{Config, Stats};

/// Most news in one commit.
const BATCH_MAX: usize = 256;

/// How often something is tried that the ledger does not take, before the engine goes by what the ledger has.
const TRIES_MAX: u32 = 5;
/// How long the keeper waits before the second try; twice as long before each of the next.
const TRY_MS: u64 = 250;

/// Writes until every sender is gone.
pub(super) async fn run(config: Config, mut shared: Shared, mut news: mpsc::UnboundedReceiver<EndpointNews>) {
    let mut batch: Vec<EndpointNews> = Vec::new();
    while news.recv_many(&mut batch, BATCH_MAX).await > 0 {
        let batch = std::mem::take(&mut batch);
        // One time for all tries: what was written although the answer was lost is not written twice.
        let at = config.clock.now();
        if keep(&config, &mut shared, &batch, at, 1).await {
            continue;
        }
        // One of them may be what is not taken.
        for one in batch.chunks(1) {
            if !keep(&config, &mut shared, one, at, TRIES_MAX).await {
                recall(&config, &mut shared, &one[0]).await;
            }
        }
    }
}

/// Writes news: again and again while the ledger only has no room or no time, else so many times. `false` when it is
/// not written.
async fn keep(
    config: &Config,
    shared: &mut Shared,
    batch: &[EndpointNews],
    at: Timestamp,
    tries_max: u32,
) -> bool {
    let (mut trouble, mut tries) = (0_u32, 0_u32);
    loop {
        let (ledger, news) = (config.ledger.clone(), batch.to_vec());
        // A task of its own, so that a panic in there leaves the news in hand.
        let answer = tokio::spawn(async move { ledger.endpoint_news(news, at).await }).await;
        match answer {
            Ok(Ok(())) => {
                batch.iter().for_each(tell);
                return true;
            }
            Ok(Err(error)) if error.is_retryable() && !config.ledger.is_fatal() && !shared.is_stopping() => {
                tracing::warn!(error = %error, "the state of endpoints cannot be stored yet");
                trouble = (trouble + 1).min(6);
                shared.pause(50 << trouble).await;
                continue;
            }
            Ok(Err(error)) => tracing::error!(error = %error, "the state of endpoints cannot be stored"),
            Err(_) => {
                Stats::add(&shared.stats.panics, 1);
                tracing::error!(
                    engine.loop = "keeper", panics = 1, "a loop panicked and is started again"
                );
            }
        }
        tries += 1;
        if tries >= tries_max || config.ledger.is_fatal() || shared.is_stopping() {
            return false;
        }
        shared.pause(TRY_MS << (tries - 1)).await;
    }
}

/// What cannot be written must not hold in memory alone: nobody could let an endpoint go on that the ledger does not
/// know to be disabled. The coordinator hears how it stands in the tables; the next failure is news again.
async fn recall(config: &Config, shared: &mut Shared, news: &EndpointNews) {
    let at = config.clock.now();
    while let Err(error) = config.ledger.endpoint_recall(news.workspace, news.endpoint, at).await {
        tracing::warn!(error = %error, "the endpoints cannot be read");
        if config.ledger.is_fatal() || shared.is_stopping() {
            return;
        }
        shared.pause(1_000).await;
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
