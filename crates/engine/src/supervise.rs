//! Keeping a loop alive: back off and start again after a panic, stop the process when panics repeat.

use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::Instant;

use super::Stats;

/// Panics within [`PANIC_WINDOW`] after which the process ends.
const PANICS_MAX: usize = 5;
const PANIC_WINDOW: Duration = Duration::from_secs(60);

/// What every loop gets.
#[derive(Clone)]
pub struct Shared {
    pub(super) stopping: watch::Receiver<bool>,
    pub(super) stats: Arc<Stats>,
    pub(super) fail: Arc<watch::Sender<bool>>,
}

impl Shared {
    /// Whether nothing new is to be begun.
    pub(super) fn is_stopping(&self) -> bool {
        // A closed channel means that the engine was dropped, which is the same.
        *self.stopping.borrow() || self.stopping.has_changed().is_err()
    }

    /// Resolves when the loop is to end.
    pub(super) async fn stopped(&mut self) {
        // An error means that the engine was dropped, which is the same.
        let _ = self.stopping.wait_for(|stop| *stop).await;
    }

    /// Says that the process must end.
    pub(super) fn give_up(&self, why: &str) {
        tracing::error!(reason = why, "the engine gives up; the process must end");
        self.stats.failed.store(true, Ordering::SeqCst);
        self.fail.send_replace(true);
    }

    /// Waits, unless stopping.
    pub(super) async fn pause(&mut self, for_ms: u64) {
        // In this order, so that the same world goes the same way twice.
        tokio::select! {
            biased;
            () = self.stopped() => {}
            () = tokio::time::sleep(Duration::from_millis(for_ms)) => {}
        }
    }
}

/// Runs a loop until it returns, which it does only when it is told to stop.
pub(super) fn run<F, L>(name: &'static str, mut shared: Shared, start: L) -> JoinHandle<()>
where
    F: Future<Output = ()> + Send + 'static,
    L: Fn(Shared) -> F + Send + 'static,
{
    tokio::spawn(async move {
        let mut panics: Vec<Instant> = Vec::new();
        loop {
            match tokio::spawn(start(shared.clone())).await {
                Ok(()) => return,
                Err(error) if error.is_cancelled() => return,
                Err(_) => {}
            }
            Stats::add(&shared.stats.panics, 1);
            let now = Instant::now();
            panics.retain(|at| now.duration_since(*at) < PANIC_WINDOW);
            panics.push(now);
            tracing::error!(engine.loop = name, panics = panics.len(), "a loop panicked and is started again");
            if panics.len() >= PANICS_MAX {
                shared.give_up("a loop panicked too often");
                return;
            }
            shared.pause(100 << panics.len()).await;
            if shared.is_stopping() {
                return;
            }
        }
    })
}
