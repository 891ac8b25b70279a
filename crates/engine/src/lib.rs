//! The loops that move work along.
//!
//! The cast: [`attribute`] turns recorded events into decisions and planned deliveries; [`deliver`] sends
//! what is due through the guarded [`sender`] and settles it; [`recover`] takes the steps of jobs; [`upkeep`] publishes
//! closed slices of the click log and deletes what is too old; [`alert`] tells the owner how it goes. Each is a thin
//! shell over steps that a test can drive. [`Engine`] starts
//! them, restarts one that panics, and gives up loudly when panics repeat.
//!
//! Not here: what to decide and when to try again (pure, in `domain`), and HTTP towards us (`web`). The two
//! never meet: a test send is a queued delivery.

pub mod alert;
pub mod attribute;
pub mod deliver;
pub mod recover;
pub mod seal;
pub mod sender;
mod supervise;
pub mod upkeep;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use roundtrip_ambient::{Clock, Entropy};
use roundtrip_domain::retry::Policy;
use roundtrip_domain::time::Span;
use roundtrip_store::click_log::ClickLog;
use roundtrip_store::ledger::{Kept, Ledger};
use tokio::sync::watch;
use tokio::task::JoinHandle;

use self::sender::Sender;

/// What the loops work with.
#[derive(Clone)]
pub struct Config {
    /// Events, decisions, deliveries.
    pub ledger: Ledger,
    /// Touches.
    pub clicks: ClickLog,
    /// The way out.
    pub sender: Sender,
    /// The time.
    pub clock: Clock,
    /// Randomness for jitter and nonces.
    pub entropy: Entropy,
    /// How a postback is sent and tried again, where its rule says nothing else.
    pub policy: Policy,
    /// How long attempts of finished deliveries and bodies of webhooks are kept.
    pub kept: Kept,
    /// When the owner is told how telling goes.
    pub alerts: alert::Alerts,
    /// What deliveries are bounded by.
    pub bounds: Bounds,
}

/// What the operator bounds deliveries by.
#[derive(Debug, Clone, Copy)]
pub struct Bounds {
    /// Sends of one workspace a day (UTC); `None` is no bound, the default.
    pub workspace_per_day: Option<u64>,
    /// Sends of one workspace at a time; `None` is no bound, the default.
    pub workspace_in_flight: Option<u32>,
    /// How long deliveries are held for an endpoint that is paused or disabled, before they expire. Default 30 d.
    pub held_kept: Span,
}

impl Default for Bounds {
    fn default() -> Self {
        Self { workspace_per_day: None, workspace_in_flight: None, held_kept: Span::from_days(30) }
    }
}

/// Counters of the loops.
#[derive(Debug, Default)]
pub struct Stats {
    /// Revisions decided.
    pub decided: AtomicU64,
    /// Deliveries planned.
    pub planned: AtomicU64,
    /// Deliveries that jobs planned or cancelled.
    pub recovered: AtomicU64,
    /// Sends begun.
    pub sends: AtomicU64,
    /// Deliveries delivered.
    pub delivered: AtomicU64,
    /// Sends that are tried again.
    pub retried: AtomicU64,
    /// Deliveries given up.
    pub dead: AtomicU64,
    /// Deliveries whose receiver does not accept them any more.
    pub expired: AtomicU64,
    /// Deliveries of which it was said that their acceptance window is running out.
    pub running_out: AtomicU64,
    /// Ends of sends in the last hour.
    pub rates: alert::Rates,
    /// Sends under way.
    pub in_flight: AtomicU64,
    /// Waiting deliveries in memory; the rest is in the queue's table. As of the last second.
    pub in_memory: AtomicU64,
    /// Due deliveries that a sweep of the table found and nobody had handed over. Should stay zero
    /// after the start.
    pub swept: AtomicU64,
    /// Times an endpoint's breaker opened.
    pub breakers_opened: AtomicU64,
    /// Held deliveries that expired.
    pub held_expired: AtomicU64,
    /// Loops that panicked and were started again.
    pub panics: AtomicU64,
    /// Set when a loop panicked too often, or durability was lost: the process must end.
    pub failed: AtomicBool,
}

/// The running loops.
pub struct Engine {
    stop: watch::Sender<bool>,
    loops: Vec<JoinHandle<()>>,
    stats: Arc<Stats>,
    failed: watch::Receiver<bool>,
}

impl std::fmt::Debug for Engine {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Engine")
    }
}

impl Engine {
    /// Starts the loops on the current runtime.
    pub fn start(config: Config) -> Self {
        let (stop, stopping) = watch::channel(false);
        let (fail, failed) = watch::channel(false);
        let fail = Arc::new(fail);
        let stats = Arc::new(Stats::default());
        let shared = supervise::Shared { stopping, stats: stats.clone(), fail };
        let loops = vec![
            supervise::run("attribute", shared.clone(), {
                let config = config.clone();
                move |shared| attribute::run(config.clone(), shared)
            }),
            supervise::run("deliver", shared.clone(), {
                let config = config.clone();
                move |shared| deliver::run(config.clone(), shared)
            }),
            supervise::run("recover", shared.clone(), {
                let config = config.clone();
                move |shared| recover::run(config.clone(), shared)
            }),
            supervise::run("alert", shared.clone(), {
                let config = config.clone();
                move |shared| alert::run(config.clone(), shared)
            }),
            supervise::run("seal", shared.clone(), {
                let config = config.clone();
                move |shared| seal::run(config.clone(), shared)
            }),
            supervise::run("upkeep", shared, move |shared| upkeep::run(config.clone(), shared)),
        ];
        Self { stop, loops, stats, failed }
    }

    /// Starts delivery and, where there are any, jobs alone: the other loops read a click log, which has threads, and a
    /// simulated world has none.
    #[cfg(feature = "simulation")]
    pub fn start_delivery(config: Config, has_jobs: bool) -> Self {
        let (stop, stopping) = watch::channel(false);
        let (fail, failed) = watch::channel(false);
        let stats = Arc::new(Stats::default());
        let shared = supervise::Shared { stopping, stats: stats.clone(), fail: Arc::new(fail) };
        let of_jobs = config.clone();
        let mut loops = vec![supervise::run("deliver", shared.clone(), move |shared| {
            deliver::run(config.clone(), shared)
        })];
        if has_jobs {
            loops
                .push(supervise::run("recover", shared, move |shared| recover::run(of_jobs.clone(), shared)));
        }
        Self { stop, loops, stats, failed }
    }

    /// Counters.
    pub fn stats(&self) -> &Arc<Stats> {
        &self.stats
    }

    /// Resolves when the process must end.
    pub async fn failed(&self) {
        let mut failed = self.failed.clone();
        // The other end lives as long as the loops; if they are all gone nothing moves any more.
        let _ = failed.wait_for(|failed| *failed).await;
    }

    /// Stops: nothing new is begun, what is under way ends or runs into its own deadline.
    pub async fn stop(self) {
        // Nobody listens only if every loop is gone already.
        let _ = self.stop.send(true);
        for task in self.loops {
            let _ = task.await;
        }
    }
}

impl Stats {
    fn add(counter: &AtomicU64, n: u64) {
        counter.fetch_add(n, Ordering::Relaxed);
    }
}
