//! Jobs, step by step: replays, backfills and cancellations of many deliveries, at the rate that their owner set.
//!
//! The ledger knows the jobs and takes their steps; this loop decides when. Each job has an allowance that fills with
//! its rate, by the loop's own clock, and holds one second's worth; a step spends what it planned. A step of the clock
//! gives at most that second, and a restart begins with an empty allowance, so neither makes a storm. Jobs take turns,
//! one step each, and every workspace has its jobs among them.
//!
//! Not relied on: the signal of new jobs (a timer looks too), or that a step was taken only once. A step that is
//! taken again after a crash finds the job moved.

use std::collections::HashMap;

use roundtrip_domain::id::{Id, WorkspaceNo, kind};
use roundtrip_domain::time::Timestamp;
use roundtrip_store::ledger::{JobHead, JobState, STEP_MATCHES_MAX};

use crate::supervise::Shared;
use crate::{Config, Stats};

/// Jobs that take turns: every workspace's first one comes before anybody's second. A workspace has at most 100 that are
/// not over, so nobody waits for another's while fewer workspaces than these have any. One without an allowance costs
/// its row in a list.
const JOBS_MAX: u32 = 1_024;
/// How often jobs are looked for when nothing says that there are any.
const IDLE_MS: u64 = 5_000;
/// How long the loop waits between rounds while jobs have an allowance to come.
const ROUND_MS: u64 = 50;
/// How long it waits when the ledger cannot take a step.
const TROUBLE_MS: u64 = 1_000;

/// What a round came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Round {
    /// No job wants steps.
    Idle,
    /// Every job has used its allowance.
    Waiting,
    /// Steps were taken, and there is room for more.
    Busy,
    /// The ledger could not take a step.
    Trouble,
}

/// What a job may plan now.
#[derive(Debug, Clone, Copy)]
struct Allowance {
    /// Thousandths of a delivery.
    milli: i64,
    filled_at: Timestamp,
}

/// The allowances of the jobs under way.
#[derive(Debug, Default)]
pub struct Recovery {
    allowances: HashMap<(WorkspaceNo, Id<kind::Job>), Allowance>,
}

/// Steps until told to stop.
pub async fn run(config: Config, mut shared: Shared) {
    let mut recovery = Recovery::default();
    while !shared.is_stopping() {
        match recovery.round(&config, &shared.stats, config.clock.now()).await {
            Round::Idle => {
                // In this order, so that the same world goes the same way twice.
                tokio::select! {
                    biased;
                    () = config.ledger.jobs_signal() => {}
                    () = shared.pause(IDLE_MS) => {}
                }
            }
            Round::Waiting => shared.pause(ROUND_MS).await,
            // Whoever else writes gets a turn of the writer between any two steps.
            Round::Busy => tokio::task::yield_now().await,
            Round::Trouble => {
                if config.ledger.is_fatal() {
                    return shared.give_up("the ledger lost durability");
                }
                shared.pause(TROUBLE_MS).await;
            }
        }
    }
}

impl Recovery {
    /// Takes a step of every job that has an allowance.
    pub async fn round(&mut self, config: &Config, stats: &Stats, now: Timestamp) -> Round {
        let heads = match config.ledger.job_unfinished(JOBS_MAX).await {
            Ok(heads) => heads,
            Err(error) => {
                tracing::warn!(error = %error, "jobs cannot be listed");
                return Round::Trouble;
            }
        };
        self.allowances
            .retain(|(workspace, id), _| heads.iter().any(|h| h.workspace == *workspace && h.id == *id));
        if heads.is_empty() {
            return Round::Idle;
        }
        let mut round = Round::Waiting;
        for head in heads {
            let room = self.fill(&head, now);
            if room == 0 {
                continue;
            }
            match config.ledger.job_step(head.workspace, head.id, room, now).await {
                Ok(Some(step)) => {
                    self.spend(&head, step.done);
                    Stats::add(&stats.recovered, step.done.into());
                    if step.state == JobState::Done {
                        tracing::info!(job.id = %head.id, "a job is done");
                    }
                    // What fitted nothing costs no allowance, so there is room for another step at once.
                    if round != Round::Trouble {
                        round = Round::Busy;
                    }
                }
                Ok(None) => {}
                Err(error) if error.is_retryable() || config.ledger.is_fatal() => {
                    tracing::warn!(job.id = %head.id, error = %error, "a job's step cannot be taken yet");
                    round = Round::Trouble;
                }
                Err(error) => {
                    tracing::error!(job.id = %head.id, error = %error, "a job cannot go on");
                    let why = error.to_string();
                    if let Err(error) = config.ledger.job_fail(head.workspace, head.id, why, now).await {
                        tracing::warn!(job.id = %head.id, error = %error, "a job's end cannot be stored");
                        round = Round::Trouble;
                    }
                }
            }
        }
        round
    }

    /// How many deliveries a job may plan now, at most as many as one step plans.
    fn fill(&mut self, head: &JobHead, now: Timestamp) -> u32 {
        let full = i64::from(head.rate_per_s.max(1)) * 1_000;
        // The first delivery may go at once, so that one delivery of a slow job is not waited for.
        let begin = Allowance { milli: 1_000, filled_at: now };
        let allowance = self.allowances.entry((head.workspace, head.id)).or_insert(begin);
        // A clock that steps back gives nothing.
        let gained = now.since(allowance.filled_at).max(0).saturating_mul(i64::from(head.rate_per_s));
        allowance.milli = allowance.milli.saturating_add(gained).min(full);
        allowance.filled_at = now;
        u32::try_from(allowance.milli / 1_000).unwrap_or(0).min(STEP_MATCHES_MAX)
    }

    fn spend(&mut self, head: &JobHead, done: u32) {
        if let Some(allowance) = self.allowances.get_mut(&(head.workspace, head.id)) {
            allowance.milli -= i64::from(done) * 1_000;
        }
    }
}
