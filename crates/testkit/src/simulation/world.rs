//! The world itself: processes that come and go, people who record, reject and replay, and time.

use std::collections::BTreeSet;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use roundtrip_ambient::{Clock, Entropy};
use roundtrip_domain::id::{Id, WorkspaceNo, kind};
use roundtrip_domain::status::{Asker, Status};
use roundtrip_store::ledger::{
    Database, Fate, Hook, Ledger, NewEvent, Recorded, Replay, StatusAnswer, StatusWish,
};
use tokio::time::{Instant, sleep, timeout};

use super::dice::Dice;
use super::judge::Judge;
use super::owner::Owner;
use super::plan::{Plan, Width};
use super::process::{Disk, Onlooker, Process};
use super::receivers::{Line, Manner, Receivers};
use super::time::{Time, Trace};
use super::{Report, Seat, Workers};
use crate::{Clicks, NOON};

pub(super) const WS: WorkspaceNo = WorkspaceNo::DEFAULT;
const DAY_MS: i64 = 86_400_000;
/// How long whoever calls us waits for an answer.
const CALLER_PATIENCE: Duration = Duration::from_secs(6);
/// The longest wait that a receiver asks for, and longer than any rule holds back.
pub(super) const ASKED_MS_MAX: i64 = 90_000;

/// What can happen next.
#[derive(Debug, Clone, Copy)]
enum Operation {
    Record,
    Burst,
    Replay,
    Reject,
    Behave,
    Crash,
    CrashAtCall,
    Bug,
    DiskFull,
    Jump,
    Second,
    Stop,
    Rest,
    StopEndpoint,
    LetGoOn,
    ExpireHeld,
    Job,
    ChangeJob,
}

/// A process and what runs in it.
pub(super) struct Running<W: Workers> {
    pub(super) process: Arc<Process>,
    pub(super) ledger: Ledger,
    pub(super) worker: W::Worker,
}

pub(super) struct World<'a, W: Workers> {
    workers: &'a W,
    seed: u64,
    pub(super) dice: Dice,
    pub(super) plan: Plan,
    pub(super) time: Time,
    pub(super) trace: Trace,
    database: Database,
    pub(super) receivers: Receivers,
    pub(super) judge: Judge,
    /// Looks on, and writes settings and events down.
    pub(super) kit: crate::World,
    /// Those that live, the newest last.
    pub(super) alive: Vec<Running<W>>,
    /// Workers of processes that have ended: a process that is killed drops nothing.
    gone: Vec<W::Worker>,
    starts: u32,
    /// When the next process starts, while none lives.
    starts_at: Option<Instant>,
    /// Keys of events that were asked to be recorded, and not answered with a yes.
    pub(super) unanswered: Vec<u64>,
    /// Events of which somebody was told that they are kept.
    pub(super) kept: BTreeSet<Id<kind::Event>>,
    /// Of these, such that somebody wished to be rejected.
    pub(super) rejected: BTreeSet<Id<kind::Event>>,
    /// Replays and rejections of which somebody was told that they are planned.
    pub(super) promised: BTreeSet<String>,
    keys: u64,
    pub(super) owner: Owner,
}

impl<'a, W: Workers> World<'a, W> {
    pub(super) async fn new(seed: u64, width: Width, workers: &'a W) -> Self {
        let mut dice = Dice::new(seed, 1);
        let mut plan = Plan::of(&mut dice);
        if width == Width::Full {
            plan.widen(&mut Dice::new(seed, 4));
        }
        let time = Time::begin();
        let trace = Trace::new(time.clone());
        let entropy = Entropy::seeded(Dice::new(seed, 2).roll());
        let database = Database::new(&entropy, NOON).expect("a database in memory");
        let onlooker =
            Ledger::simulated(&database, Arc::new(Onlooker), entropy.clone()).expect("a fresh ledger opens");
        let kit = crate::World::around(onlooker, entropy);
        kit.apply(&plan.document, false).await;
        let sends_max = plan.sends_max.clone();
        let judge = Judge::new(database.clone(), W::BOUNDS, sends_max, time.clone(), trace.clone());
        let receivers = Receivers::new(plan.endpoints, Dice::new(seed, 3), judge.clone(), trace.clone());
        trace.say(format_args!(
            "seed {seed}: {} endpoints, waits {:?} ms, disk {} ms, lost {}, refused {}, crashes {}, ill {}, jumps {}, two {}",
            plan.endpoints, plan.waits_ms, plan.disk_wait_ms_max, plan.answers_lost, plan.refused,
            plan.has_crashes, plan.has_illness, plan.has_jumps, plan.has_two,
        ));
        for hook in &plan.hooks {
            trace.say(format_args!("e{} is {}", hook.endpoint, hook.document));
        }
        let owner = Owner::of(&plan, Dice::new(seed, 5));
        let this = Self {
            workers,
            seed,
            dice,
            plan,
            time,
            trace,
            database,
            receivers,
            judge,
            kit,
            alive: Vec::new(),
            gone: Vec::new(),
            starts: 0,
            starts_at: None,
            unanswered: Vec::new(),
            kept: BTreeSet::new(),
            rejected: BTreeSet::new(),
            promised: BTreeSet::new(),
            keys: 0,
            owner,
        };
        this.know_webhooks();
        this
    }

    /// From the first start to the last look at the books.
    pub(super) async fn run(mut self) -> Report {
        self.start();
        for _ in 0..self.plan.operations {
            let operation = self.choose();
            self.operate(operation).await;
            self.rest().await;
            self.look().await;
            if self.judge.has_found() {
                return self.report();
            }
        }
        self.come_to_rest().await;
        self.report()
    }

    fn report(self) -> Report {
        let tally = self.judge.tally(|_| {});
        let arrivals = self.receivers.arrivals();
        let calls: u64 = self.alive.iter().map(|running| running.process.calls()).sum();
        self.trace.say(format_args!("{tally:?}, {arrivals} arrivals, {calls} calls of the last process"));
        Report { seed: self.seed, wrongs: self.judge.wrongs(), tally, trace: self.trace.take() }
    }

    fn start(&mut self) {
        self.starts += 1;
        self.starts_at = None;
        let n = u64::from(self.starts);
        self.judge.tally(|tally| tally.starts += 1);
        self.trace.say(format_args!("p{n} starts"));
        let disk = Disk {
            wait_ms_max: self.plan.disk_wait_ms_max,
            answers_lost: self.plan.answers_lost,
            refused: self.plan.refused,
            full_until: None,
            ends: None,
        };
        let process = Process::new(self.starts, Dice::new(self.seed, 100 + 2 * n), disk, self.trace.clone());
        let entropy = Entropy::seeded(Dice::new(self.seed, 101 + 2 * n).roll());
        let ledger = match Ledger::simulated(&self.database, process.clone(), entropy.clone()) {
            Ok(ledger) => ledger,
            Err(error) => return self.judge.wrong(format!("the ledger does not open: {error}")),
        };
        let clock = self.time.clock();
        let (of_loop, clicks, judge) =
            ((ledger.clone(), clock.clone()), self.kit.clicks.clone(), self.judge.clone());
        tokio::spawn(async move {
            let (ledger, clock) = of_loop;
            // It never returns: what ends it is a panic, and it is started again.
            while tokio::spawn(decide(ledger.clone(), clock.clone(), clicks.clone(), judge.clone()))
                .await
                .is_err()
            {
                sleep(Duration::from_millis(200)).await;
            }
        });
        let worker = self.workers.start(Seat {
            ledger: ledger.clone(),
            clock,
            entropy,
            waits_ms: self.plan.waits_ms.clone(),
            has_jobs: self.plan.has_jobs,
            line: Line::new(process.clone(), self.receivers.clone()),
        });
        self.alive.push(Running { process, ledger, worker });
        if self.alive.len() > 1 {
            self.alive.iter().for_each(|running| running.process.beside());
        }
        self.judge.open(self.alive.len() > 1);
    }

    fn choose(&mut self) -> Operation {
        use Operation as O;
        let Plan { has_crashes, has_illness, has_jumps, has_two, has_bugs, has_stops, has_jobs, .. } =
            self.plan;
        let when = |is: bool, weight: u64| if is { weight } else { 0 };
        self.dice.weighed(&[
            (30, O::Record),
            (4, O::Burst),
            (4, O::Replay),
            (4, O::Reject),
            (when(has_illness, 16), O::Behave),
            (when(has_crashes, 5), O::Crash),
            (when(has_crashes, 8), O::CrashAtCall),
            (when(has_bugs, 4), O::Bug),
            (3, O::DiskFull),
            (when(has_jumps, 6), O::Jump),
            (when(has_two, 5), O::Second),
            (3, O::Stop),
            (6, O::Rest),
            (when(has_stops, 10), O::StopEndpoint),
            (when(has_stops, 10), O::LetGoOn),
            (when(has_stops, 3), O::ExpireHeld),
            (when(has_jobs, 10), O::Job),
            (when(has_jobs, 5), O::ChangeJob),
        ])
    }

    async fn operate(&mut self, operation: Operation) {
        match operation {
            Operation::Record => {
                let count = self.dice.between(1, 3);
                self.record(count).await;
            }
            Operation::Burst => {
                let count = self.dice.between(4, self.plan.burst_max);
                self.record(count).await;
            }
            Operation::Replay => self.replay().await,
            Operation::Reject => self.reject().await,
            Operation::Behave => self.behave(),
            Operation::Crash => {
                // The oldest: with two, it is the one that was to have ended.
                if let Some(running) = self.alive.first() {
                    running.process.end();
                }
            }
            Operation::CrashAtCall => {
                let calls = self.dice.between(0, 30) as u32;
                let how = *self.dice.one_of(&[Fate::EndsBefore, Fate::EndsAfter]);
                if let Some(running) = self.alive.first() {
                    running.process.with_disk(|disk| disk.ends = Some((calls, how)));
                }
            }
            Operation::Bug => {
                let calls = self.dice.between(0, 20) as u32;
                if let Some(running) = self.alive.first() {
                    running.process.with_disk(|disk| disk.ends = Some((calls, Fate::Panics)));
                }
            }
            Operation::DiskFull => {
                let until = Instant::now() + Duration::from_secs(self.dice.between(1, 20));
                self.trace.say(format_args!("the disk is full for a while"));
                for running in &self.alive {
                    running.process.with_disk(|disk| disk.full_until = Some(until));
                }
            }
            Operation::Jump => {
                let by = match self.dice.between(0, 3) {
                    0 => DAY_MS,
                    1 => -DAY_MS,
                    2 => self.dice.between(1, 120_000) as i64,
                    _ => -(self.dice.between(1, 120_000) as i64),
                };
                self.jump(by);
            }
            Operation::Second if self.alive.len() == 1 => self.start(),
            Operation::Stop if self.alive.len() == 1 => self.stop().await,
            Operation::Second | Operation::Stop => {}
            Operation::Rest => sleep(Duration::from_secs(self.dice.between(5, 60))).await,
            Operation::StopEndpoint => self.stop_endpoint().await,
            Operation::LetGoOn => self.let_go_on().await,
            Operation::ExpireHeld => self.expire_held().await,
            Operation::Job => self.make_job().await,
            Operation::ChangeJob => self.change_job().await,
        }
    }

    pub(super) fn jump(&mut self, by_ms: i64) {
        self.trace.say(format_args!("the clock jumps by {by_ms} ms"));
        self.owner.looks_anew();
        self.time.jump(by_ms);
    }

    fn behave(&mut self) {
        let endpoint = self.dice.between(0, self.plan.endpoints as u64 - 1) as usize;
        let status = *self.dice.one_of(&[500, 502, 503, 408, 404, 400, 302, 410]);
        let seconds = self.dice.between(0, ASKED_MS_MAX as u64 / 1_000);
        let manner = self.dice.weighed(&[
            (20, Manner::Well),
            (10, Manner::Slow),
            (10, Manner::Hanging),
            (10, Manner::Down),
            (15, Manner::Answering(status)),
            (8, Manner::Asking(seconds)),
            (10, Manner::Flapping),
            (10, Manner::Breaking),
            (6, Manner::Late),
        ]);
        self.owner.saw(endpoint, manner);
        self.receivers.behave(endpoint, manner);
    }

    pub(super) async fn stop(&mut self) {
        let Some(Running { process, worker, .. }) = self.alive.pop() else { return };
        self.trace.say(format_args!("p{} is told to stop", process.number));
        if timeout(Duration::from_secs(60), W::stop(worker)).await.is_err() && !process.has_ended() {
            self.judge.wrong(format!("p{} does not stop", process.number));
        }
        process.end();
    }

    /// Mostly moments, sometimes half a minute.
    async fn rest(&mut self) {
        let wait_ms = match self.dice.weighed(&[(5, 0), (8, 1), (2, 2)]) {
            0 => self.dice.between(0, 20),
            1 => self.dice.between(20, 2_000),
            _ => self.dice.between(2_000, 30_000),
        };
        sleep(Duration::from_millis(wait_ms)).await;
    }

    /// Lets go of who has ended, and starts the next one when it is time. While nobody lives the books stand still
    /// and are counted.
    pub(super) async fn look(&mut self) {
        for running in &self.alive {
            if W::has_failed(&running.worker) {
                running.process.end();
            }
        }
        let (ended, alive) = std::mem::take(&mut self.alive)
            .into_iter()
            .partition::<Vec<_>, _>(|running| running.process.has_ended());
        self.alive = alive;
        self.gone.extend(ended.into_iter().map(|running| running.worker));
        self.judge.open(self.alive.len() > 1);
        self.look_at_work().await;
        if !self.alive.is_empty() {
            return;
        }
        match self.starts_at {
            None => {
                let wait = Duration::from_millis(self.dice.between(0, 5_000));
                self.starts_at = Some(Instant::now() + wait);
                self.count_the_books().await;
            }
            Some(at) if at <= Instant::now() => {
                self.add_webhooks().await;
                self.start();
            }
            Some(_) => {}
        }
    }

    async fn record(&mut self, count: u64) {
        let keys = (self.keys + 1..=self.keys + count).collect();
        self.keys += count;
        self.submit(keys).await;
    }

    /// Asks for events to be kept; what gets no yes is asked for again later, as a caller does.
    pub(super) async fn submit(&mut self, keys: Vec<u64>) {
        let Some(running) = self.alive.last() else {
            self.unanswered.extend(keys);
            return;
        };
        let at = self.time.now();
        let new = |key: &u64| crate::World::keyed(self.kit.event("shop", "order", at), &format!("k{key}"), 1);
        let batch: Vec<NewEvent> = keys.iter().map(new).collect();
        let ledger = running.ledger.clone();
        let answers =
            self.ask_or_hang_up(async move { ledger.event_record(batch).await }).await.unwrap_or_default();
        self.trace.say(format_args!("{} events: {} answers", keys.len(), answers.len()));
        for (n, key) in keys.into_iter().enumerate() {
            match answers.get(n) {
                Some(Ok(Recorded::Accepted(id) | Recorded::Duplicate(id))) => {
                    self.kept.insert(*id);
                }
                Some(Ok(Recorded::Conflict(id))) => {
                    self.judge.wrong(format!("the same event conflicts with {id}"));
                }
                Some(Err(_)) | None => self.unanswered.push(key),
            }
        }
    }

    pub(super) fn some_event(&mut self) -> Option<Id<kind::Event>> {
        let n = self.dice.between(0, (self.kept.len() as u64).saturating_sub(1)) as usize;
        self.kept.iter().nth(n).copied()
    }

    async fn replay(&mut self) {
        let Some(event) = self.some_event() else { return };
        let story = self.kit.story(event).await;
        let Some(delivery) = story.deliveries.first() else { return };
        let Some(running) = self.alive.last() else { return };
        let (ledger, id, at) = (running.ledger.clone(), delivery.id, self.time.now());
        let answer = self.ask_or_hang_up(async move { ledger.delivery_replay(WS, id, at).await }).await;
        self.trace.say(format_args!("replay of {}: {answer:?}", delivery.id));
        match answer {
            Some(Ok(Replay::Planned(due))) => {
                self.owner.replays.0 += 1;
                self.promised.insert(due.delivery.to_string());
            }
            // What waits is sent sooner under its own id, or goes on waiting.
            Some(Ok(Replay::Hastened(_) | Replay::Held(_) | Replay::Delayed(_))) => {}
            Some(Ok(Replay::Rejected | Replay::Unknown)) => {}
            Some(Err(_)) | None => self.owner.replays.1 += 1,
        }
    }

    async fn reject(&mut self) {
        let Some(event) = self.some_event() else { return };
        let Some(running) = self.alive.last() else { return };
        self.judge.rejects(event);
        let wish = StatusWish {
            conversion: event.conversion(),
            to: Status::Rejected,
            asker: Asker::Owner,
            by: "owner".into(),
            reason: None,
        };
        let (ledger, at) = (running.ledger.clone(), self.time.now());
        let answer = self.ask_or_hang_up(async move { ledger.status_change(WS, wish, at).await }).await;
        self.trace.say(format_args!("reject {event}: {answer:?}"));
        self.rejected.insert(event);
        if let Some(Ok(StatusAnswer::Changed { change, .. })) = answer {
            self.promised.insert(change.to_string());
        }
    }
}

/// What is answered within the patience of whoever asked; nothing when the process ends or panics meanwhile.
pub(super) async fn ask<T: Send + 'static>(asked: impl Future<Output = T> + Send + 'static) -> Option<T> {
    timeout(CALLER_PATIENCE, tokio::spawn(asked)).await.ok()?.ok()
}

/// Decides what is recorded, as the engine's loop does, with a click log that knows nobody.
async fn decide(ledger: Ledger, clock: Clock, clicks: Clicks, judge: Judge) {
    loop {
        let done = match ledger.undecided(64, clock.now()).await {
            Ok(list) if list.is_empty() => {
                let _ = timeout(Duration::from_secs(1), ledger.undecided_signal()).await;
                continue;
            }
            Ok(list) => {
                let ids: Vec<_> = list.iter().map(|undecided| undecided.event.id).collect();
                let batch = list.into_iter().map(|undecided| clicks.prepare(undecided)).collect();
                judge.decides(ids.iter().copied());
                let done = ledger.decision_commit(batch, clock.now()).await;
                judge.decides(ids.into_iter());
                done.map(drop)
            }
            Err(error) => Err(error),
        };
        if done.is_err() {
            sleep(Duration::from_millis(100)).await;
        }
    }
}
