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
//! comes back by ramp, so it is not waited for. Neither is what an endpoint does not take whose breaker is open, while
//! others of the job take something; when none is known that does, sixteen wait there, for a minute at most like everything
//! that is not taken. So one endpoint cannot keep a job from the others. Why a job waits is shown to whoever asks for it.
//!
//! Not relied on: the signal of new jobs (a timer looks too), or that a step was taken only once. A step that is
//! taken again after a crash finds the job moved. A restart forgets what it waits for, which is a quarter more, once.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use roundtrip_domain::endpoint::{Endpoint, Wait};
use roundtrip_domain::id::{Id, WorkspaceNo, kind};
use roundtrip_domain::rate::Rate;
use roundtrip_domain::time::Timestamp;
use roundtrip_store::ledger::{
    Due, EndpointLive, JobHead, JobState, JobWait, JobWaits, LivePicture, STEP_MATCHES_MAX, Why,
};

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
/// How many may wait for their first send at an endpoint that takes nothing now, while the job knows of no other one: so
/// many that it soon finds one, and few enough that they do not matter to what is fresh when it takes something again.
const STOPPED_ROOM: u32 = 16;
/// Most endpoints that are remembered of a job.
const KNOWN_MAX: usize = 256;

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
    /// Endpoints that it planned for so far, as many as are remembered.
    known: BTreeSet<Endpoint>,
    /// When the last step was.
    told_at: Timestamp,
    /// Until when it rests, because a quarter of what its endpoints take is less than one.
    rests_until: Timestamp,
    /// Whether the rest after the last step has begun.
    has_rested: bool,
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
            config.ledger.job_waits_put(JobWaits::new());
            return Round::Idle;
        }
        let mut round = Round::Waiting;
        let mut waits = JobWaits::new();
        for head in heads {
            let room = match self.room(config, &head, now).await {
                Ok(Ok(room)) => room,
                Ok(Err(wait)) => {
                    waits.insert((head.workspace, head.id), wait);
                    continue;
                }
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
        config.ledger.job_waits_put(waits);
        round
    }

    /// How many deliveries a job may plan now, at most as many as one step plans; or why none.
    async fn room(
        &mut self,
        config: &Config,
        head: &JobHead,
        now: Timestamp,
    ) -> Result<Result<u32, JobWait>, roundtrip_store::Error> {
        let begin = Progress {
            // The first delivery may go at once, so that one delivery of a slow job is not waited for.
            micro: 1_000_000,
            filled_at: now,
            unsent: Vec::new(),
            told: Vec::new(),
            known: BTreeSet::new(),
            told_at: now,
            rests_until: now,
            has_rested: true,
        };
        let progress = self.under_way.entry((head.workspace, head.id)).or_insert(begin);
        let Some(rate) = head.rate else {
            progress.look(config, head.workspace, now).await?;
            let share = match progress.share(config, head.workspace, now) {
                Ok(share) => share,
                Err(wait) => return Ok(Err(wait)),
            };
            return Ok(progress.fill(share.per_1000_s, now).map(|filled| filled.min(share.room)));
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
            let room = KNOWN_MAX.saturating_sub(progress.known.len());
            progress.known.extend(progress.told.iter().take(room));
            progress.told_at = now;
            progress.has_rested = false;
        }
    }
}

/// What a job may plan beside what is fresh.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Share {
    per_1000_s: u32,
    room: u32,
}

/// The endpoints of a workspace, as the engine showed them last.
struct Picture<'a> {
    live: &'a LivePicture,
    workspace: WorkspaceNo,
    now: Timestamp,
}

impl Picture<'_> {
    fn of(&self, endpoint: Endpoint) -> Option<&EndpointLive> {
        self.live.get(&(self.workspace, endpoint))
    }

    /// How many sends an endpoint is given at a time, as far as is known.
    fn limit(&self, endpoint: Endpoint) -> u32 {
        self.of(endpoint).map_or(LIMIT_START, |live| live.limit).max(1)
    }

    /// Why an endpoint takes nothing, if it does not.
    fn stop(&self, endpoint: Endpoint) -> Option<Why> {
        self.of(endpoint)?.takes_nothing(self.now)
    }

    /// Those of the endpoints that take something.
    fn willing<'a>(&self, endpoints: impl IntoIterator<Item = &'a Endpoint>) -> Vec<Endpoint> {
        endpoints.into_iter().copied().filter(|endpoint| self.stop(*endpoint).is_none()).collect()
    }
}

impl Progress {
    /// Fills the allowance, and says how many whole deliveries are in it, or until when there is none.
    fn fill(&mut self, per_1000_s: u32, now: Timestamp) -> Result<u32, JobWait> {
        let full = i64::from(per_1000_s.max(1_000)) * 1_000;
        // A clock that steps back gives nothing.
        let gained = now.since(self.filled_at).max(0).saturating_mul(i64::from(per_1000_s));
        self.micro = self.micro.saturating_add(gained).min(full);
        self.filled_at = now;
        let whole = u32::try_from(self.micro / 1_000_000).unwrap_or(0).min(STEP_MATCHES_MAX);
        if whole > 0 {
            return Ok(whole);
        }
        let lacking = 1_000_000 - self.micro;
        let wait_ms = lacking / i64::from(per_1000_s.max(1)) + 1;
        let why = Why { wait: Wait::RateLimited, until: Some(now.plus_ms(wait_ms)) };
        Err(JobWait { why, endpoint: None })
    }

    /// The endpoints that the job waits for: of those of its last step the ones that take something, else such that it
    /// told before; and when none takes anything, those of its last step all the same.
    fn waited_for(&self, picture: &Picture<'_>) -> Vec<Endpoint> {
        let mut endpoints = picture.willing(&self.told);
        if endpoints.is_empty() {
            endpoints = picture.willing(&self.known);
        }
        if endpoints.is_empty() { self.told.clone() } else { endpoints }
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
        let live = config.ledger.live();
        let picture = Picture { live: &live, workspace, now };
        self.unsent.retain(|(_, at)| (0..PATIENCE_MS).contains(&now.since(*at)));
        let still = config.ledger.unsent(self.unsent.iter().map(|(due, _)| *due).collect()).await?;
        self.unsent.retain(|(due, _)| still.iter().any(|one| one.delivery == due.delivery));
        let is_waited_for = self.waited_for(&picture);
        // What is not waited for holds up no rest either.
        let is_sent = !self.unsent.iter().any(|(due, _)| is_waited_for.contains(&due.endpoint));
        let limits = is_waited_for.iter().map(|endpoint| picture.limit(*endpoint));
        if is_sent
            && !std::mem::replace(&mut self.has_rested, true)
            && let Some(least) = limits.min()
        {
            let took = now.since(self.told_at).clamp(0, PATIENCE_MS);
            let rest = took * i64::from(SHARE.saturating_sub(least)) / i64::from(least);
            self.rests_until = now.plus_ms(rest.min(PATIENCE_MS));
        }
        Ok(())
    }

    /// What a job may plan without a rate of its own. Who is told next is not known before it is planned, so the
    /// endpoint of the last step that has the least room decides; of the very first step it is one.
    fn share(&self, config: &Config, workspace: WorkspaceNo, now: Timestamp) -> Result<Share, JobWait> {
        let mut share = Share { per_1000_s: SHARE_PER_1000_S, room: 1 };
        if (1..=PATIENCE_MS).contains(&self.rests_until.since(now)) {
            let why = Why { wait: Wait::RateLimited, until: Some(self.rests_until) };
            return Err(JobWait { why, endpoint: None });
        }
        let live = config.ledger.live();
        let picture = Picture { live: &live, workspace, now };
        let mut unsent: BTreeMap<Endpoint, u32> =
            self.waited_for(&picture).into_iter().map(|endpoint| (endpoint, 0)).collect();
        for (due, _) in &self.unsent {
            if let Some(n) = unsent.get_mut(&due.endpoint) {
                *n += 1;
            }
        }
        let room = |endpoint| match picture.stop(endpoint) {
            Some(_) => STOPPED_ROOM,
            None => (picture.limit(endpoint) / SHARE).max(1),
        };
        let rooms = unsent.iter().map(|(endpoint, n)| (room(*endpoint).saturating_sub(*n), *endpoint));
        if let Some((room, endpoint)) = rooms.min() {
            if room == 0 {
                let full = Why { wait: Wait::ConcurrencyFull, until: None };
                let why = picture.stop(endpoint).unwrap_or(full);
                return Err(JobWait { why, endpoint: Some(endpoint) });
            }
            share.room = room;
        }
        let catalog = config.ledger.catalog();
        if let Some(settings) = catalog.workspace(workspace) {
            let rates = unsent
                .keys()
                .flat_map(|endpoint| [rate_of(settings, *endpoint), partner_rate_of(settings, *endpoint)]);
            let least = rates.flatten().min().map(|rate: Rate| (rate.per_1000_s() / SHARE).max(1));
            share.per_1000_s = share.per_1000_s.min(least.unwrap_or(SHARE_PER_1000_S));
        }
        Ok(share)
    }
}
