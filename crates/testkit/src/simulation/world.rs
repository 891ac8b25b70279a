//! The world itself: processes that come and go, people who record, reject and replay, and time.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use roundtrip_ambient::{Clock, Entropy};
use roundtrip_domain::id::{Id, WorkspaceNo, kind};
use roundtrip_domain::status::{Asker, Status};
use roundtrip_domain::time::Timestamp;
use roundtrip_store::ledger::{Database, Fate, Hook, Ledger, NewEvent, Recorded, StatusWish};
use tokio::time::{Instant, sleep, timeout};

use super::dice::Dice;
use super::judge::Judge;
use super::plan::Plan;
use super::process::{Disk, Onlooker, Process};
use super::receivers::{Line, Manner, Receivers};
use super::time::{Time, Trace};
use super::{Report, Seat, Workers};
use crate::{Clicks, NOON};

const WS: WorkspaceNo = WorkspaceNo::DEFAULT;
const DAY_MS: i64 = 86_400_000;
/// How long whoever calls us waits for an answer.
const CALLER_PATIENCE: Duration = Duration::from_secs(6);
/// How long after everything is well all that is due by then may take, beyond its own waits: a hanging send's
/// deadline, the sweep, a put-off decision, and the queue of a slow one.
const GRACE_MS: i64 = 180_000;

/// The longest wait that a receiver asks for, and longer than any rule holds back.
const ASKED_MS_MAX: i64 = 90_000;

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
    DiskFull,
    Jump,
    Second,
    Stop,
    Rest,
}

/// A process and what runs in it.
struct Running<W: Workers> {
    process: Arc<Process>,
    ledger: Ledger,
    worker: W::Worker,
}

pub(super) struct World<'a, W: Workers> {
    workers: &'a W,
    seed: u64,
    dice: Dice,
    plan: Plan,
    time: Time,
    trace: Trace,
    database: Database,
    receivers: Receivers,
    judge: Judge,
    /// Looks on, and writes settings and events down.
    kit: crate::World,
    /// Those that live, the newest last.
    alive: Vec<Running<W>>,
    /// Workers of processes that have ended: a process that is killed drops nothing.
    gone: Vec<W::Worker>,
    starts: u32,
    /// When the next process starts, while none lives.
    starts_at: Option<Instant>,
    /// Keys of events that were asked to be recorded, and not answered with a yes.
    unanswered: Vec<u64>,
    /// Events of which somebody was told that they are kept.
    kept: BTreeSet<Id<kind::Event>>,
    keys: u64,
}

impl<'a, W: Workers> World<'a, W> {
    pub(super) async fn new(seed: u64, workers: &'a W) -> Self {
        let mut dice = Dice::new(seed, 1);
        let plan = Plan::of(&mut dice);
        let time = Time::begin();
        let trace = Trace::new(time.clone());
        let entropy = Entropy::seeded(Dice::new(seed, 2).roll());
        let database = Database::new(&entropy, NOON).expect("a database in memory");
        let onlooker =
            Ledger::simulated(&database, Arc::new(Onlooker), entropy.clone()).expect("a fresh ledger opens");
        let kit = crate::World::around(onlooker, entropy);
        kit.apply(&plan.document, false).await;
        let sends_max = plan.waits_ms.len() as u32 + 1;
        let judge = Judge::new(database.clone(), W::BOUNDS, sends_max, time.clone(), trace.clone());
        let receivers = Receivers::new(plan.endpoints, Dice::new(seed, 3), judge.clone(), trace.clone());
        trace.say(format_args!(
            "seed {seed}: {} endpoints, waits {:?} ms, disk {} ms, lost {}, refused {}, crashes {}, ill {}, jumps {}, two {}",
            plan.endpoints, plan.waits_ms, plan.disk_wait_ms_max, plan.answers_lost, plan.refused,
            plan.has_crashes, plan.has_illness, plan.has_jumps, plan.has_two,
        ));
        Self {
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
            keys: 0,
        }
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
        tokio::spawn(decide(ledger.clone(), clock.clone(), self.kit.clicks.clone(), self.judge.clone()));
        let worker = self.workers.start(Seat {
            ledger: ledger.clone(),
            clock,
            entropy,
            waits_ms: self.plan.waits_ms.clone(),
            line: Line::new(process.clone(), self.receivers.clone()),
        });
        self.alive.push(Running { process, ledger, worker });
        self.judge.open(self.alive.len() > 1);
    }

    fn choose(&mut self) -> Operation {
        use Operation as O;
        let Plan { has_crashes, has_illness, has_jumps, has_two, .. } = self.plan;
        let when = |is: bool, weight: u64| if is { weight } else { 0 };
        self.dice.weighed(&[
            (30, O::Record),
            (4, O::Burst),
            (4, O::Replay),
            (4, O::Reject),
            (when(has_illness, 16), O::Behave),
            (when(has_crashes, 5), O::Crash),
            (when(has_crashes, 8), O::CrashAtCall),
            (3, O::DiskFull),
            (when(has_jumps, 6), O::Jump),
            (when(has_two, 5), O::Second),
            (3, O::Stop),
            (6, O::Rest),
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
        }
    }

    fn jump(&mut self, by_ms: i64) {
        self.trace.say(format_args!("the clock jumps by {by_ms} ms"));
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
        self.receivers.behave(endpoint, manner);
    }

    async fn stop(&mut self) {
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
    async fn look(&mut self) {
        let (ended, alive) = std::mem::take(&mut self.alive)
            .into_iter()
            .partition::<Vec<_>, _>(|running| running.process.has_ended());
        self.alive = alive;
        self.gone.extend(ended.into_iter().map(|running| running.worker));
        self.judge.open(self.alive.len() > 1);
        if !self.alive.is_empty() {
            return;
        }
        match self.starts_at {
            None => {
                let wait = Duration::from_millis(self.dice.between(0, 5_000));
                self.starts_at = Some(Instant::now() + wait);
                self.count_the_books().await;
            }
            Some(at) if at <= Instant::now() => self.start(),
            Some(_) => {}
        }
    }

    async fn record(&mut self, count: u64) {
        let keys = (self.keys + 1..=self.keys + count).collect();
        self.keys += count;
        self.submit(keys).await;
    }

    /// Asks for events to be kept; what gets no yes is asked for again later, as a caller does.
    async fn submit(&mut self, keys: Vec<u64>) {
        let Some(running) = self.alive.last() else {
            self.unanswered.extend(keys);
            return;
        };
        let at = self.time.now();
        let new = |key: &u64| crate::World::keyed(self.kit.event("shop", "order", at), &format!("k{key}"), 1);
        let batch: Vec<NewEvent> = keys.iter().map(new).collect();
        let answers = timeout(CALLER_PATIENCE, running.ledger.event_record(batch)).await;
        let answers = answers.unwrap_or_default();
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

    fn some_event(&mut self) -> Option<Id<kind::Event>> {
        let n = self.dice.between(0, (self.kept.len() as u64).saturating_sub(1)) as usize;
        self.kept.iter().nth(n).copied()
    }

    async fn replay(&mut self) {
        let Some(event) = self.some_event() else { return };
        let story = self.kit.story(event).await;
        let Some(delivery) = story.deliveries.first() else { return };
        let Some(running) = self.alive.last() else { return };
        let replay = running.ledger.delivery_replay(WS, delivery.id, self.time.now());
        let answer = timeout(CALLER_PATIENCE, replay).await;
        self.trace.say(format_args!("replay of {}: {answer:?}", delivery.id));
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
        let answer = timeout(CALLER_PATIENCE, running.ledger.status_change(WS, wish, self.time.now())).await;
        self.trace.say(format_args!("reject {event}: {answer:?}"));
    }

    async fn count_the_books(&self) {
        let far = Timestamp::from_ms(i64::MAX / 2);
        let ledger = &self.kit.ledger;
        let (kept, counted) =
            (ledger.balance(WS, Timestamp::from_ms(0), far).await, ledger.recount(WS).await);
        let (Ok(mut kept), Ok(mut counted)) = (kept, counted) else {
            return self.judge.wrong("the books cannot be read".into());
        };
        for books in [&mut kept, &mut counted] {
            books.values_mut().for_each(|row| row.finished.retain(|_, n| *n != 0));
            books.retain(|_, row| *row != Default::default());
        }
        if kept != counted {
            self.judge.wrong(format!("the books kept differ from those counted: {kept:?} {counted:?}"));
        }
        for (key, row) in &kept {
            if row.differences() != (0, 0) {
                self.judge.wrong(format!("the books do not close: {key:?} {row:?}"));
            }
        }
    }

    /// Everything becomes well, and everything that was asked for must come to its end by itself.
    async fn come_to_rest(&mut self) {
        self.trace.say(format_args!("everything becomes well"));
        for endpoint in 0..self.plan.endpoints {
            self.receivers.behave(endpoint, Manner::Well);
        }
        (self.plan.answers_lost, self.plan.refused) = (0, 0);
        for running in &self.alive {
            running.process.with_disk(|disk| {
                let wait_ms_max = disk.wait_ms_max;
                *disk = Disk { wait_ms_max, ..Disk::default() };
            });
        }
        // Of two, the one that was to have ended ends now.
        if self.alive.len() > 1 {
            self.alive[0].process.end();
        }
        while self.alive.is_empty() || self.alive[0].process.has_ended() {
            self.look().await;
            sleep(Duration::from_secs(1)).await;
        }
        self.look().await;
        for _ in 0..10 {
            let again = std::mem::take(&mut self.unanswered);
            if again.is_empty() {
                break;
            }
            self.submit(again).await;
        }
        if !self.unanswered.is_empty() {
            self.judge.wrong(format!("{} events cannot be recorded", self.unanswered.len()));
        }
        let mut patience: Option<Instant> = None;
        // What ends can make an event be decided again, and that can plan more: it is looked at until it stays so.
        let mut calm = 0;
        while calm < 3 {
            self.put_the_clock_right().await;
            let Some((latest, waiting)) = self.latest_due().await else { return };
            let undecided = self.kit.ledger.undecided_count().await.unwrap_or(u64::MAX);
            calm = if waiting == 0 && undecided == 0 { calm + 1 } else { 0 };
            let left_ms = latest.since(self.time.now()).max(0) + GRACE_MS;
            let until =
                *patience.get_or_insert_with(|| Instant::now() + Duration::from_millis(left_ms as u64));
            if Instant::now() > until {
                self.judge.wrong(format!("{waiting} deliveries and {undecided} events are stuck"));
                return;
            }
            if self.judge.has_found() {
                return;
            }
            sleep(Duration::from_secs(1)).await;
        }
        self.count_the_books().await;
        self.settle_up().await;
        if let Some(running) = self.alive.pop() {
            if W::panics(&running.worker) > 0 {
                self.judge.wrong("a loop panicked".into());
            }
            self.alive.push(running);
        }
        self.stop().await;
    }

    /// A clock that went back leaves work days away: it is put right, as people do, when that is so.
    async fn put_the_clock_right(&mut self) {
        let Some((latest, _)) = self.latest_due().await else { return };
        let away_ms = latest.since(self.time.now());
        let longest = self.plan.waits_ms.iter().max().copied().unwrap_or(0).max(ASKED_MS_MAX) * 5 / 4;
        if away_ms > longest {
            if away_ms > longest + self.time.went_back_ms() {
                self.judge.wrong(format!("something is due in {away_ms} ms, and no clock is why"));
            }
            self.jump(away_ms - longest);
        }
    }

    /// When the last of what waits is due, and how much waits.
    async fn latest_due(&self) -> Option<(Timestamp, u64)> {
        let ledger = &self.kit.ledger;
        let (mut latest, mut waiting) = (Timestamp::from_ms(0), 0);
        for head in ledger.queue_endpoints().await.ok()? {
            waiting += head.waiting;
            let all = u32::try_from(head.waiting).unwrap_or(u32::MAX);
            let items = ledger.queue_window(head.workspace, head.endpoint, all).await.ok()?;
            latest = latest.max(items.last()?.due);
        }
        Some((latest, waiting))
    }

    /// Every event that somebody was told is kept, and every delivery of it.
    async fn settle_up(&self) {
        let sends_max = self.plan.waits_ms.len() as u32 + 1;
        for event in &self.kept {
            let story = match self.kit.ledger.story(WS, *event).await {
                Ok(Some(story)) => story,
                other => {
                    self.judge.wrong(format!("{event} was said to be kept: {other:?}"));
                    continue;
                }
            };
            if story.revisions.is_empty() {
                self.judge.wrong(format!("{event} was never decided"));
            }
            for rule in &story.rules {
                if rule.suppressed.is_none() && rule.delivery.is_none() {
                    self.judge.wrong(format!("{event}: {} fired and nothing was planned", rule.rule));
                }
            }
            let changes =
                story.changes.iter().flat_map(|change| change.deliveries.iter().map(|d| (change.id, d)));
            for (told, delivery) in story.deliveries.iter().map(|d| (*event, d)).chain(changes) {
                self.trace.say(format_args!(
                    "{} {} {} {}",
                    delivery.id, delivery.state, delivery.reason, delivery.sends
                ));
                let wrong = |what: String| self.judge.wrong(format!("{}: {what}", delivery.id));
                let seen = self.judge.seen(delivery.id);
                self.judge.tally(|tally| {
                    tally.planned += 1;
                    tally.delivered += u64::from(delivery.state == "delivered");
                });
                let answers = seen.iter().filter_map(|seen| seen.answer);
                let is_told = |wanted: fn(u16) -> bool| {
                    answers
                        .clone()
                        .any(|answer| matches!(answer, super::Answer::Status(status, _) if wanted(status)))
                };
                match (delivery.state.as_str(), delivery.reason.as_str()) {
                    ("delivered", _) => {
                        if !is_told(|status| (200..300).contains(&status)) {
                            wrong("it is delivered, and nobody said so".into());
                        }
                        let has =
                            seen.iter().any(|seen| self.receivers.has(seen.endpoint, &told.to_string()));
                        if !has {
                            wrong("it is delivered, and nobody has it".into());
                        }
                    }
                    ("dead", "attempts_exhausted") if delivery.sends != sends_max => {
                        wrong(format!("it is given up after {} of {sends_max} sends", delivery.sends));
                    }
                    ("dead", "attempts_exhausted") | ("cancelled", _) => {}
                    ("dead", "refused_by_receiver" | "redirect") => {
                        if !is_told(|status| (300..500).contains(&status)) {
                            wrong("it is refused, and nobody said so".into());
                        }
                    }
                    (state, reason) => wrong(format!("it ended as {state} ({reason})")),
                }
                if delivery.sends > sends_max {
                    wrong(format!("it was sent {} times, {sends_max} are the policy", delivery.sends));
                }
                let rows: Vec<u32> = delivery.attempts.iter().map(|attempt| attempt.n).collect();
                // What was under way when it was cancelled has left a row, and is no send of the plan.
                let all = if delivery.state == "cancelled" { rows.len() as u32 } else { delivery.sends };
                if rows != (1..=all).collect::<Vec<_>>() {
                    wrong(format!("{} sends, and attempts {rows:?} are kept", delivery.sends));
                }
            }
        }
    }
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
