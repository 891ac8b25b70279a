//! Closed slices of clicks become Parquet files, and small files larger ones.
//!
//! The click log decides what is to be done and does it in steps of some seconds, on a thread of its own and at a pace
//! that leaves the disk to the redirects. Here it is only asked, again and again. Nothing waits for it: clicks are
//! found before, meanwhile and after.

use roundtrip_store::click_log::Work;

use crate::Config;
use crate::supervise::Shared;

/// How often it is looked whether something is to be done.
const LOOK_MS: u64 = 10_000;
/// Between two steps, while there are more.
const STEP_MS: u64 = 200;
/// After a step that failed: usually the disk is full, and each try writes.
const FAILED_MS: u64 = 60_000;

/// Works until told to stop.
pub async fn run(config: Config, mut shared: Shared) {
    while !shared.is_stopping() {
        let pause = step(&config, &mut shared).await;
        shared.pause(pause).await;
    }
}

/// One step. Returns how long to wait for the next, in milliseconds.
async fn step(config: &Config, shared: &mut Shared) -> u64 {
    let (clicks, now) = (config.clicks.clone(), config.clock.now());
    let mut working = tokio::task::spawn_blocking(move || clicks.seal(now));
    let done = tokio::select! {
        done = &mut working => done,
        () = shared.stopped() => {
            // What is half done is thrown away, and done again after the next start.
            config.clicks.stop_sealing();
            working.await
        }
    };
    match done {
        Ok(Ok(None)) => LOOK_MS,
        Ok(Ok(Some(Work::Overtaken))) => LOOK_MS,
        Ok(Ok(Some(_))) => STEP_MS,
        Ok(Err(_)) if shared.is_stopping() => LOOK_MS,
        Ok(Err(error)) => {
            let error = &error as &dyn std::error::Error;
            tracing::error!(error, "clicks cannot be sealed yet");
            FAILED_MS
        }
        Err(error) => {
            tracing::error!(error = %error, "sealing clicks panicked");
            FAILED_MS
        }
    }
}
