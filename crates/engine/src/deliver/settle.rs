//! Making the ends of sends durable, in groups.
//!
//! Ends that arrive while a commit runs join the next one. What cannot be stored is tried again until it
//! can: an end that were dropped would be a send that nobody knows of.

use roundtrip_store::ledger::{Due, Settled, Settlement};
use tokio::sync::mpsc;

use super::DeliveryId;
use super::endpoint::Key;
use crate::Config;
use crate::supervise::Shared;

/// Most ends in one commit.
const BATCH_MAX: usize = 512;

/// An end, on its way to the ledger.
pub(super) struct Ended {
    pub(super) key: Key,
    pub(super) settlement: Settlement,
}

/// An end that is durable.
pub(super) struct Done {
    pub(super) key: Key,
    pub(super) delivery: DeliveryId,
    /// Where it waits now, if it is sent again.
    pub(super) again: Option<Due>,
}

/// Settles until every sender is gone.
pub(super) async fn run(
    config: Config,
    mut shared: Shared,
    mut ended: mpsc::UnboundedReceiver<Ended>,
    tell: impl Fn(Vec<Done>) -> bool,
) {
    let mut batch: Vec<Ended> = Vec::new();
    while ended.recv_many(&mut batch, BATCH_MAX).await > 0 {
        let mut trouble: u32 = 0;
        loop {
            let settlements = batch.iter().map(|e| e.settlement.clone()).collect();
            match config.ledger.delivery_settle(settlements, config.clock.now()).await {
                Ok(()) => break,
                Err(error) if error.is_retryable() && !shared.is_stopping() => {
                    tracing::warn!(error = %error, ends = batch.len(), "ends of sends cannot be stored yet");
                    trouble = (trouble + 1).min(6);
                    shared.pause(50 << trouble).await;
                }
                Err(error) => {
                    tracing::error!(error = %error, ends = batch.len(), "ends of sends cannot be stored");
                    if config.ledger.is_fatal() {
                        shared.give_up("the ledger lost durability");
                    }
                    // What is in the queue stays there and is sent again after the next start.
                    return;
                }
            }
        }
        let done = batch.drain(..).map(done).collect();
        if !tell(done) {
            return;
        }
    }
}

fn done(ended: Ended) -> Done {
    let item = ended.settlement.item;
    let sends = item.sends + u32::from(ended.settlement.attempt.is_some());
    let again = match ended.settlement.next {
        Settled::Again { due, .. } => Some(Due { due, sends, ..item }),
        Settled::Delivered | Settled::Dead { .. } => None,
    };
    Done { key: ended.key, delivery: item.delivery, again }
}
