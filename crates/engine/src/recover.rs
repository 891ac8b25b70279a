//! Jobs, step by step: replays, backfills and cancellations of many deliveries, at the rate that their owner set, or
//! beside what is fresh.
//!
//! The ledger knows the jobs and takes their steps; this loop decides when. Each job has an allowance that fills with
//! its rate, by the loop's own clock, and holds one second's worth; a step spends what it planned. A step of the clock
//! gives at most that second, and a restart begins with an empty allowance, so neither makes a storm. Jobs take turns,
//! one step each, and every workspace has its jobs among them.
//!
//! A job whose owner set no rate takes a share: of what it planned for an endpoint, no more wait for their first send
//! than a quarter of what the endpoint is given at a time, so fresh deliveries find the rest free and never queue
//! behind a replay. Where a quarter is less than one, it rests three quarters of the time instead. Of a rate that an
//! endpoint or its partner has, it takes a quarter too. What is planned for an endpoint that is stopped is held and
//! comes back by ramp, so it is not waited for; neither is, after a minute, what an ill endpoint does not take, so that
//! one endpoint cannot keep a job from the others.
//!
//! Not relied on: the signal of new jobs (a timer looks too), or that a step was taken only once. A step that is
//! taken again after a crash finds the job moved. A restart forgets what it waits for, which is a quarter more, once.

use std::collections::{BTreeMap, HashMap};

use roundtrip_domain::endpoint::Endpoint;
use roundtrip_domain::id::{Id, WorkspaceNo, kind};
use roundtrip_domain::rate::Rate;
use roundtrip_domain::time::Timestamp;
use roundtrip_store::ledger::{Due, JobHead, JobState, STEP_MATCHES_MAX};

use crate::deliver::{LIMIT_START, partner_rate_of, rate_of};
use crate::supervise::Shared;
use crate::{Config, Stats};

/// Jobs that take turns: every workspace's first one comes before anybody's second. A workspace has at most 100 that are
/// not over, so nobody waits for another's while fewer workspaces than these have any. One without an allowance costs
/// its row in a list.
const JOBS_MAX: u32 = 1_024;
/// How often jobs are looked for when nothing says that there are any.
const IDLE_MS: u64 = 5_000;
/// How long the loop waits between rounds while jobs have an allowance to come.
const ROUND_MS: u64 = 20;
/// How long it waits when the ledger cannot take a step.
const TROUBLE_MS: u64 = 1_000;
/// Of what an endpoint is given, a job that takes a share gets one in so many.
const SHARE: u32 = 4;
/// The most that such a job plans, in a thousand seconds.
const SHARE_PER_1000_S: u32 = 100_000;
/// How long a job waits for the first send of what it planned.
const PATIENCE_MS: i64 = 60_000;

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
#[derive(Debug, Clone)]
struct Progress {
    /// Millionths of a delivery.
    micro: i64,
    filled_at: Timestamp,
    /// What of its last steps waits for the first send, if the job takes a share.
    unsent: Vec<(Due, Timestamp)>,
    /// The endpoints that its last step planned for.
    told: Vec<Endpoint>,
    /// When that step was.
    told_at: Timestamp,
    /// Until when it rests, because a quarter of what its endpoints take is less than one.
    rests_until: Timestamp,
}

/// How far the jobs under way are.
#[derive(Debug, Default)]
pub struct Recovery {
    under_way: HashMap<(WorkspaceNo, Id<kind::Job>), Progress>,
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
        self.under_way
            .retain(|(workspace, id), _| heads.iter().any(|h| h.workspace == *workspace && h.id == *id));
        if heads.is_empty() {
            return Round::Idle;
        }
        let mut round = Round::Waiting;
        for head in heads {
            let room = match self.room(config, &head, now).await {
                Ok(0) => continue,
                Ok(room) => room,
                Err(error) => {
                    tracing::warn!(job.id = %head.id, error = %error, "what a job planned cannot be looked at");
                    round = Round::Trouble;
                    continue;
                }
            };
            match config.ledger.job_step(head.workspace, head.id, room, now).await {
                Ok(Some(step)) => {
                    self.spend(&head, step.done, &step.planned, now);
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
    async fn room(
        &mut self,
        config: &Config,
        head: &JobHead,
        now: Timestamp,
    ) -> Result<u32, roundtrip_store::Error> {
        let begin = Progress {
            // The first delivery may go at once, so that one delivery of a slow job is not waited for.
            micro: 1_000_000,
            filled_at: now,
            unsent: Vec::new(),
            told: Vec::new(),
            told_at: now,
            rests_until: now,
        };
        let progress = self.under_way.entry((head.workspace, head.id)).or_insert(begin);
        let Some(rate) = head.rate else {
            progress.look(config, head.workspace, now).await?;
            let share = progress.share(config, head.workspace, now);
            return Ok(progress.fill(share.per_1000_s, now).min(share.room));
        };
        Ok(progress.fill(rate.per_1000_s(), now))
    }

    fn spend(&mut self, head: &JobHead, done: u32, planned: &[Due], now: Timestamp) {
        let Some(progress) = self.under_way.get_mut(&(head.workspace, head.id)) else { return };
        progress.micro -= i64::from(done) * 1_000_000;
        if head.rate.is_none() && !planned.is_empty() {
            progress.unsent.extend(planned.iter().map(|due| (*due, now)));
            progress.told = planned.iter().map(|due| due.endpoint).collect();
            progress.told.sort_unstable();
            progress.told.dedup();
            progress.told_at = now;
        }
    }
}

/// What a job may plan beside what is fresh.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Share {
    per_1000_s: u32,
    room: u32,
}

/// How many sends an endpoint is given at a time, as far as is known.
fn limit(config: &Config, workspace: WorkspaceNo, endpoint: Endpoint) -> u32 {
    config.ledger.live().get(&(workspace, endpoint)).map_or(LIMIT_START, |live| live.limit).max(1)
}

impl Progress {
    /// Fills the allowance, and says how many whole deliveries are in it.
    fn fill(&mut self, per_1000_s: u32, now: Timestamp) -> u32 {
        let full = i64::from(per_1000_s.max(1_000)) * 1_000;
        // A clock that steps back gives nothing.
        let gained = now.since(self.filled_at).max(0).saturating_mul(i64::from(per_1000_s));
        self.micro = self.micro.saturating_add(gained).min(full);
        self.filled_at = now;
        u32::try_from(self.micro / 1_000_000).unwrap_or(0).min(STEP_MATCHES_MAX)
    }

    /// Forgets what was sent, and what was waited for long enough; and begins the rest that follows a last one.
    async fn look(
        &mut self,
        config: &Config,
        workspace: WorkspaceNo,
        now: Timestamp,
    ) -> Result<(), roundtrip_store::Error> {
        if self.unsent.is_empty() {
            return Ok(());
        }
        let patient = |at: &Timestamp| (0..PATIENCE_MS).contains(&now.since(*at));
        self.unsent.retain(|(_, at)| patient(at));
        let still = config.ledger.unsent(self.unsent.iter().map(|(due, _)| *due).collect()).await?;
        self.unsent.retain(|(due, _)| still.iter().any(|one| one.delivery == due.delivery));
        let limits = self.told.iter().map(|endpoint| limit(config, workspace, *endpoint));
        if let (true, Some(least)) = (self.unsent.is_empty(), limits.min()) {
            let took = now.since(self.told_at).clamp(0, PATIENCE_MS);
            let rest = took * i64::from(SHARE.saturating_sub(least)) / i64::from(least);
            self.rests_until = now.plus_ms(rest.min(PATIENCE_MS));
        }
        Ok(())
    }

    /// What a job may plan without a rate of its own. Who is told next is not known before it is planned, so the
    /// endpoint of the last step that has the least room decides; of the very first step it is one.
    fn share(&self, config: &Config, workspace: WorkspaceNo, now: Timestamp) -> Share {
        let mut share = Share { per_1000_s: SHARE_PER_1000_S, room: 1 };
        if (1..=PATIENCE_MS).contains(&self.rests_until.since(now)) {
            return Share { room: 0, ..share };
        }
        let mut unsent: BTreeMap<Endpoint, u32> = self.told.iter().map(|endpoint| (*endpoint, 0)).collect();
        for (due, _) in &self.unsent {
            *unsent.entry(due.endpoint).or_default() += 1;
        }
        let rooms = unsent
            .iter()
            .map(|(endpoint, n)| (limit(config, workspace, *endpoint) / SHARE).max(1).saturating_sub(*n));
        share.room = rooms.min().unwrap_or(1);
        let catalog = config.ledger.catalog();
        if let Some(settings) = catalog.workspace(workspace) {
            let rates = unsent
                .keys()
                .flat_map(|endpoint| [rate_of(settings, *endpoint), partner_rate_of(settings, *endpoint)]);
            let least = rates.flatten().min().map(|rate: Rate| (rate.per_1000_s() / SHARE).max(1));
            share.per_1000_s = share.per_1000_s.min(least.unwrap_or(SHARE_PER_1000_S));
        }
        share
    }
}
