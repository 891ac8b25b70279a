//! Making the ends of sends durable, in groups.
//!
//! Ends that arrive while a commit runs join the next one. What cannot be stored is tried again until it
//! can: an end that were dropped would be a send that nobody knows of.

use std::sync::Arc;

use roundtrip_domain::time::Timestamp;
use roundtrip_store::ledger::{Due, RunningOut, Settled, Settlement};
use tokio::sync::mpsc;

use super::DeliveryId;
use super::endpoint::Key;
use crate::supervise::Shared;
use crate::{Config, Stats};

/// Most ends in one commit.
const BATCH_MAX: usize = 512;

/// An end, on its way to the ledger.
pub(super) struct Ended {
    pub(super) key: Key,
    pub(super) settlement: Settlement,
    /// Whether a test was sent, which says nothing about how many deliveries succeed.
    pub(super) is_test: bool,
    /// Given once the end is durable.
    pub(super) notice: Option<Notice>,
}

/// What people had better know of a delivery whose receiver accepts it for a time only.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Notice {
    /// Which delivery, and to whom.
    pub(super) item: Due,
    /// The end of its window.
    pub(super) ends_at: Timestamp,
    /// What there is to know.
    pub(super) what: What,
}

/// What there is to know of such a delivery.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum What {
    /// It is not delivered, and is sent again in the last quarter of its window.
    RunningOut,
    /// Its window is over.
    Expired,
}

impl Notice {
    /// That a delivery's time is running out.
    pub(super) const fn running_out(item: Due, ends_at: Timestamp) -> Self {
        Self { item, ends_at, what: What::RunningOut }
    }

    /// That a delivery expired.
    pub(super) const fn expired(item: Due, ends_at: Timestamp) -> Self {
        Self { item, ends_at, what: What::Expired }
    }
}

/// Logs what is durable, and was told to whoever asks for it in the same commit.
fn give_notice(stats: &Stats, notice: Notice) {
    let Notice { item, ends_at, what } = notice;
    let delivery = item.delivery;
    match what {
        What::RunningOut => {
            Stats::add(&stats.running_out, 1);
            tracing::warn!(
                delivery.id = %delivery,
                code = "delivery_running_out",
                deadline = %ends_at,
                "a delivery is not delivered yet, and is sent again in the last quarter of its acceptance window"
            );
        }
        What::Expired => tracing::warn!(
            delivery.id = %delivery,
            code = "delivery_expired",
            deadline = %ends_at,
            "a delivery expired: its receiver does not accept it any more"
        ),
    }
}

/// An end that nobody waits for any more: it is durable, or cannot be.
pub(super) struct Done {
    pub(super) key: Key,
    pub(super) delivery: DeliveryId,
    /// Whether it is durable. What is not stays in the queue's table, and is sent again by the next start only.
    pub(super) is_durable: bool,
    /// Where it waits now, by the table, if it is sent again.
    pub(super) again: Option<Due>,
}

/// Settles until every sender is gone, also for sends that a coordinator began that is gone itself.
pub(super) async fn run(
    config: Config,
    mut shared: Shared,
    mut ended: mpsc::UnboundedReceiver<Ended>,
    tell: impl Fn(Vec<Done>),
) {
    let mut batch: Vec<Ended> = Vec::new();
    while ended.recv_many(&mut batch, BATCH_MAX).await > 0 {
        let batch = Arc::new(std::mem::take(&mut batch));
        let done = loop {
            // A task of its own, so that a panic in there leaves the ends in hand.
            match tokio::spawn(settle(config.clone(), shared.clone(), batch.clone())).await {
                Ok(Some(done)) => break done,
                Ok(None) => return,
                Err(_) => {
                    Stats::add(&shared.stats.panics, 1);
                    tracing::error!(
                        engine.loop = "settle", panics = 1, "a loop panicked and is started again"
                    );
                    if shared.is_stopping() {
                        return;
                    }
                    shared.pause(1_000).await;
                }
            }
        };
        tell(done);
    }
}

/// Stores a batch: all of it, or, when something in it cannot be stored at all, each by itself. `None` when the
/// ledger takes nothing any more and the process is to end or is ending: what is in the queue stays there
/// and is sent again after the next start.
async fn settle(config: Config, mut shared: Shared, batch: Arc<Vec<Ended>>) -> Option<Vec<Done>> {
    match store(&config, &mut shared, &batch).await {
        Ok(waits) => Some(batch.iter().zip(waits).map(done).collect()),
        Err(error) if config.ledger.is_fatal() || error.is_retryable() => {
            tracing::error!(error = %error, ends = batch.len(), "ends of sends cannot be stored");
            if config.ledger.is_fatal() {
                shared.give_up("the ledger lost durability");
            }
            None
        }
        Err(_) => {
            let mut all = Vec::with_capacity(batch.len());
            for one in batch.chunks(1) {
                let waits = match store(&config, &mut shared, one).await {
                    Ok(waits) => waits,
                    Err(error) if config.ledger.is_fatal() || error.is_retryable() => return None,
                    Err(error) => {
                        // It stays in the queue's table; only this process stops caring for it. The next start
                        // sends it again, and by then somebody may have read this line.
                        let id = one[0].settlement.item.delivery;
                        tracing::error!(delivery.id = %id, error = %error, "the end of a send cannot be stored");
                        all.extend(one.iter().map(|ended| Done { is_durable: false, ..done((ended, None)) }));
                        continue;
                    }
                };
                all.extend(one.iter().zip(waits).map(done));
            }
            Some(all)
        }
    }
}

/// Stores ends in one commit, again and again while the ledger only has no room or no time. Says where each waits
/// from then on.
async fn store(
    config: &Config,
    shared: &mut Shared,
    batch: &[Ended],
) -> Result<Vec<Option<Due>>, roundtrip_store::Error> {
    let mut trouble: u32 = 0;
    loop {
        let settlements = batch.iter().map(|e| e.settlement.clone()).collect();
        let running_out = batch
            .iter()
            .filter_map(|ended| ended.notice)
            .filter(|notice| notice.what == What::RunningOut)
            .map(|notice| RunningOut { delivery: notice.item.delivery, deadline: notice.ends_at })
            .collect();
        match config.ledger.delivery_settle_saying(settlements, running_out, config.clock.now()).await {
            Err(error) if error.is_retryable() && !shared.is_stopping() => {
                tracing::warn!(error = %error, ends = batch.len(), "ends of sends cannot be stored yet");
                trouble = (trouble + 1).min(6);
                shared.pause(50 << trouble).await;
            }
            Ok(waits) => {
                count(&shared.stats, batch, config.clock.now());
                batch
                    .iter()
                    .filter_map(|ended| ended.notice)
                    .for_each(|notice| give_notice(&shared.stats, notice));
                return Ok(waits);
            }
            Err(error) => return Err(error),
        }
    }
}

/// Counts ends once they are durable, so that the counters never run ahead of the books.
fn count(stats: &Stats, batch: &[Ended], now: Timestamp) {
    for ended in batch {
        let is_sent = !matches!(ended.settlement.next, Settled::Unsent { .. });
        if ended.settlement.attempt.is_some() && is_sent && !ended.is_test {
            let is_well = ended.settlement.next == Settled::Delivered;
            stats.rates.add(ended.settlement.item.workspace, now, is_well);
        }
        let counter = match &ended.settlement.next {
            Settled::Ended | Settled::Unsent { .. } => continue,
            Settled::Delivered => &stats.delivered,
            Settled::Again { .. } => &stats.retried,
            Settled::Dead { .. } => &stats.dead,
            Settled::Expired { .. } => &stats.expired,
        };
        Stats::add(counter, 1);
    }
}

fn done((ended, again): (&Ended, Option<Due>)) -> Done {
    Done { key: ended.key, delivery: ended.settlement.item.delivery, is_durable: true, again }
}

#[cfg(test)]
mod tests {
    use roundtrip_domain::endpoint::Endpoint;
    use roundtrip_domain::id::{Id, WorkspaceNo};
    use roundtrip_store::ledger::AttemptRow;

    use super::*;

    fn ended(is_test: bool, next: Settled) -> Ended {
        let (workspace, endpoint) = (WorkspaceNo::DEFAULT, Endpoint::Webhook(Id::from_bits(1)));
        let due = Timestamp::from_ms(0);
        let item = Due { workspace, endpoint, due, delivery: Id::from_bits(2), sends: 0 };
        let attempt = AttemptRow {
            n: 1,
            at: due,
            outcome: "http_500".into(),
            status: Some(500),
            total_us: 1,
            next: String::new(),
            body: "{}".into(),
        };
        let settlement = Settlement { item, attempt: Some(attempt), next };
        Ended { key: Key { workspace, endpoint }, settlement, is_test, notice: None }
    }

    #[test]
    fn tests_say_nothing_about_how_many_sends_succeed() {
        let stats = Stats::default();
        let dead = || Settled::Dead { reason: "test_failed".into() };
        let batch = [ended(true, dead()), ended(true, Settled::Delivered), ended(false, dead())];
        count(&stats, &batch, Timestamp::from_ms(0));
        assert_eq!(stats.rates.of(WorkspaceNo::DEFAULT, Timestamp::from_ms(0)), (0, 1));
    }
}
