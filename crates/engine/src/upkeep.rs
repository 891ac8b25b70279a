//! What keeps the house in order: closed slices are counted in the ledger, old rows and files go.
//!
//! Everything here is done in bounded steps and may be done twice; nothing else waits for it.

use roundtrip_domain::time::Timestamp;

use crate::supervise::Shared;
use crate::{Config, Stats};

/// How often closed slices are looked for.
const PUBLISH_MS: u64 = 1_000;
/// How often old rows and files are looked for, in rounds of [`PUBLISH_MS`].
const EXPIRE_ROUNDS: u32 = 60;
/// Bounded deletes in one round, so that a backlog does not keep the writer busy.
const EXPIRE_STEPS_MAX: u32 = 20;
/// How long others have the writer to themselves between two of them.
const EXPIRE_PAUSE_MS: u64 = 50;

/// Works until told to stop.
pub async fn run(config: Config, mut shared: Shared) {
    let mut round: u32 = 0;
    while !shared.is_stopping() {
        publish(&config).await;
        if round.is_multiple_of(EXPIRE_ROUNDS) {
            let now = believed(&config).await;
            expire(&config, &mut shared, now).await;
            let expired = expire_held(&config, &mut shared, now).await;
            Stats::add(&shared.stats.held_expired, expired);
        }
        round = round.wrapping_add(1);
        shared.pause(PUBLISH_MS).await;
    }
    publish(&config).await;
}

/// Puts the counts of closed slices into the ledger. What fails is tried in the next round.
pub async fn publish(config: &Config) {
    for slice in config.clicks.to_publish() {
        let seq = slice.seq;
        if let Err(error) = config.ledger.slice_publish(slice).await {
            tracing::warn!(error = %error, slice.seq = seq, "a slice's counts cannot be stored");
            return;
        }
        if let Err(error) = config.clicks.published(seq) {
            tracing::warn!(error = %error, slice.seq = seq, "a slice cannot be marked as published");
        }
    }
}

/// By which time things are deleted for their age: a clock that runs ahead for a while deletes nothing.
async fn believed(config: &Config) -> Timestamp {
    let (clicks, now) = (config.clicks.clone(), config.clock.now());
    // On a thread of its own: now and then it commits.
    match tokio::task::spawn_blocking(move || clicks.believed(now)).await {
        Ok(believed) => believed,
        Err(error) => {
            tracing::warn!(error = %error, "deleting old slices panicked");
            Timestamp::from_ms(0)
        }
    }
}

/// Deletes what is too old, in pieces with pauses between them.
async fn expire(config: &Config, shared: &mut Shared, now: Timestamp) {
    let clicks = config.clicks.clone();
    let deleted = tokio::task::spawn_blocking(move || clicks.expire(now)).await;
    match deleted {
        Ok(Ok(files)) => {
            for file in files {
                tracing::info!(
                    slice.file = file.file,
                    slice.clicks = file.clicks,
                    "an old slice was deleted"
                );
            }
        }
        Ok(Err(error)) => tracing::warn!(error = %error, "old slices cannot be deleted"),
        Err(error) => tracing::warn!(error = %error, "deleting old slices panicked"),
    }
    let workspaces: Vec<_> = config.ledger.catalog().workspaces().iter().map(|s| s.workspace).collect();
    for workspace in workspaces {
        for _ in 0..EXPIRE_STEPS_MAX {
            if shared.is_stopping() {
                return;
            }
            match config.ledger.expire(workspace, now, config.kept).await {
                Ok(step) if step.is_partial() => shared.pause(EXPIRE_PAUSE_MS).await,
                Ok(_) => break,
                Err(error) => {
                    tracing::warn!(error = %error, "old rows cannot be deleted");
                    break;
                }
            }
        }
    }
}

/// Ends what has been held for too long, while its endpoint is as it is, in pieces with pauses between them. Returns
/// how many deliveries.
async fn expire_held(config: &Config, shared: &mut Shared, now: Timestamp) -> u64 {
    let workspaces: Vec<_> = config.ledger.catalog().workspaces().iter().map(|s| s.workspace).collect();
    let mut expired = 0;
    for workspace in workspaces {
        let mut of_workspace = 0;
        for _ in 0..EXPIRE_STEPS_MAX {
            if shared.is_stopping() {
                break;
            }
            match config.ledger.held_expire(workspace, now, config.bounds.held_kept).await {
                Ok(0) => break,
                Ok(n) => {
                    of_workspace += n;
                    shared.pause(EXPIRE_PAUSE_MS).await;
                }
                Err(error) => {
                    tracing::warn!(error = %error, "held deliveries cannot be ended");
                    break;
                }
            }
        }
        if of_workspace > 0 {
            tracing::warn!(
                workspace = workspace.0,
                deliveries = of_workspace,
                "deliveries were held for too long and expired"
            );
        }
        expired += of_workspace;
    }
    expired
}
