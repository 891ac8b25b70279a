//! The owner: stops endpoints and lets them go on, ends what is held for too long, makes jobs and changes them, adds
//! webhooks while nobody runs. And looks at what an owner would see first: that something waits and nothing is done
//! about it, or that memory grows.
//!
//! Not relied on: that a wish was heard. Whoever asks may hang up before the answer comes; what was stored by then
//! holds.

use std::collections::{BTreeMap, BTreeSet};
use std::future::Future;
use std::time::Duration;

use roundtrip_domain::endpoint::{Endpoint, State};
use roundtrip_domain::id::{Id, kind};
use roundtrip_domain::rate::Rate;
use roundtrip_domain::time::{Span, Timestamp};
use roundtrip_store::Error;
use roundtrip_store::ledger::{
    DeliveryFilter, DeliveryState, EndpointRow, EndpointWish, Into, Job, JobKind, JobPlan, JobState, JobWish,
    Ledger, states_default,
};
use serde_json::json;
use tokio::time::Instant;

use super::Workers;
use super::dice::Dice;
use super::plan::{Hook, Plan};
use super::receivers::Manner;
use super::world::{WS, World, ask};

/// How long a process may take to find on the disk what it was not told.
const UNHEARD: Duration = Duration::from_secs(30);
/// How long the same may be the most overdue for an endpoint that was never ill.
const STARVED: Duration = Duration::from_secs(45);
/// How long deliveries are held before they expire.
const HELD_MS: i64 = 60_000;
/// Most jobs that are looked at.
const JOBS_MAX: u32 = 100;

/// What the owner knows.
#[derive(Debug)]
pub(super) struct Owner {
    dice: Dice,
    /// Webhooks that are to be added.
    late: Vec<Hook>,
    /// Endpoints that a process is known to have stopped, by its number.
    heard: BTreeMap<usize, u32>,
    /// Endpoints for which something can have been held for too long.
    held: BTreeSet<usize>,
    /// Endpoints that were ever anything but well.
    ill: BTreeSet<usize>,
    /// When what is most overdue for an endpoint is due, and since when that is so.
    overdue: BTreeMap<usize, (Timestamp, Instant)>,
    is_cancelling: bool,
    /// What backfills fill.
    fills: BTreeMap<Id<kind::Job>, Fill>,
    /// Single replays that were planned, and such of which that is not known.
    pub(super) replays: (u64, u64),
}

/// Which webhook a backfill fills, and with which events at least.
#[derive(Debug)]
struct Fill {
    webhook: Id<kind::Webhook>,
    events: BTreeSet<Id<kind::Event>>,
}

impl Owner {
    pub(super) fn of(plan: &Plan, dice: Dice) -> Self {
        Self {
            dice,
            late: plan.hooks.iter().filter(|hook| hook.is_late).cloned().collect(),
            heard: BTreeMap::new(),
            held: BTreeSet::new(),
            ill: BTreeSet::new(),
            overdue: BTreeMap::new(),
            is_cancelling: false,
            fills: BTreeMap::new(),
            replays: (0, 0),
        }
    }

    /// An endpoint behaves so from now on.
    pub(super) fn saw(&mut self, endpoint: usize, manner: Manner) {
        if manner != Manner::Well {
            self.ill.insert(endpoint);
        }
    }

    /// What was overdue may have a reason now.
    pub(super) fn looks_anew(&mut self) {
        self.overdue.clear();
    }

    /// Whether something of an endpoint can have been held for too long.
    pub(super) fn has_held(&self, endpoint: usize) -> bool {
        self.held.contains(&endpoint)
    }
}

/// The number in the slug `e7`.
fn number(slug: &str) -> Option<usize> {
    slug.strip_prefix('e')?.parse().ok()
}

/// What is answered unless the caller hangs up, which it does when others have had so many turns.
async fn hang_up<T: Send + 'static>(
    asked: impl Future<Output = T> + Send + 'static,
    turns: u64,
) -> Option<T> {
    let asked = tokio::spawn(asked);
    for _ in 0..turns {
        tokio::task::yield_now().await;
    }
    asked.abort();
    asked.await.ok()
}

impl<W: Workers> World<'_, W> {
    /// Which endpoint that is.
    pub(super) fn index_of(&self, endpoint: Endpoint) -> Option<usize> {
        let settings = self.kit.settings();
        match endpoint {
            Endpoint::Postback { rule, .. } => number(&settings.rule(rule)?.slug),
            Endpoint::Webhook(webhook) => number(&settings.webhook(webhook)?.slug),
        }
    }

    fn endpoint_of(&self, n: usize) -> Option<Endpoint> {
        let settings = self.kit.settings();
        let rule = settings.rules.values().flatten().find(|rule| number(&rule.slug) == Some(n));
        if let Some(rule) = rule {
            return Some(Endpoint::Postback { rule: rule.id, partner: rule.partner? });
        }
        let webhook = settings.webhooks.iter().find(|webhook| number(&webhook.slug) == Some(n))?;
        Some(Endpoint::Webhook(webhook.id))
    }

    /// Tells the judge what signs for the webhooks that are there.
    pub(super) fn know_webhooks(&self) {
        for webhook in &self.kit.settings().webhooks {
            if let Some(n) = number(&webhook.slug) {
                self.judge.signs(n, webhook.signing.clone());
            }
        }
    }

    /// Adds webhooks while nobody runs: who runs reads the settings when it starts.
    pub(super) async fn add_webhooks(&mut self) {
        self.owner.looks_anew();
        for hook in std::mem::take(&mut self.owner.late) {
            if self.owner.dice.chance(500) {
                self.owner.late.push(hook);
                continue;
            }
            self.trace.say(format_args!("e{} is added", hook.endpoint));
            let mut webhooks = serde_json::Map::new();
            webhooks.insert(format!("e{}", hook.endpoint), hook.document);
            self.kit.apply(&json!({ "webhooks": webhooks }), false).await;
            self.know_webhooks();
        }
    }

    /// Endpoints that are stopped, as the disk has it.
    async fn stopped(&self) -> Vec<EndpointRow> {
        let mut rows = self.kit.ledger.endpoint_rows().await.unwrap_or_default();
        rows.retain(|row| row.state.holds());
        rows
    }

    pub(super) async fn stop_endpoint(&mut self) {
        let n = self.owner.dice.between(0, self.plan.endpoints as u64 - 1) as usize;
        let Some(endpoint) = self.endpoint_of(n) else { return };
        let to = if self.owner.dice.chance(700) { State::Paused } else { State::Disabled };
        self.set_endpoint(n, endpoint, to).await;
    }

    pub(super) async fn let_go_on(&mut self) {
        let stopped = self.stopped().await;
        if stopped.is_empty() {
            return;
        }
        let row = self.owner.dice.one_of(&stopped);
        let (endpoint, Some(n)) = (row.endpoint, self.index_of(row.endpoint)) else { return };
        self.set_endpoint(n, endpoint, State::Active).await;
    }

    async fn set_endpoint(&mut self, n: usize, endpoint: Endpoint, to: State) {
        let Some(running) = self.alive.last() else { return };
        let (ledger, process, at) = (running.ledger.clone(), running.process.clone(), self.time.now());
        let wish = EndpointWish {
            workspace: WS,
            endpoint,
            to,
            reason: "the owner wants it".into(),
            actor: "owner".into(),
        };
        match to.holds() {
            true => self.judge.stops(n, 2 * UNHEARD),
            false => self.judge.goes_on(n),
        }
        let asked = async move { ledger.endpoint_set(wish, at).await };
        let answer = self.ask_or_hang_up(asked).await;
        let is_heard = matches!(answer, Some(Ok(Some(_))));
        self.trace.say(format_args!("e{n} is to be {}: {}", to.name(), said(&answer)));
        self.owner.overdue.remove(&n);
        let known = self.owner.heard.remove(&n);
        if to.holds() {
            self.judge.stops(n, if is_heard { Duration::ZERO } else { UNHEARD });
            if is_heard {
                self.owner.heard.insert(n, process.number);
            }
        } else if is_heard && known == Some(process.number) {
            self.judge.releases(&process, n);
        }
    }

    /// Ends what has been held for too long.
    pub(super) async fn expire_held(&mut self) {
        let Some(running) = self.alive.last() else { return };
        let (ledger, at) = (running.ledger.clone(), self.time.now());
        self.note_held().await;
        let ended = self
            .ask_or_hang_up(async move { ledger.held_expire(WS, at, Span::from_ms(HELD_MS)).await })
            .await;
        self.trace.say(format_args!("what is held for too long ends: {}", said(&ended)));
        self.note_held().await;
    }

    async fn note_held(&mut self) {
        let stopped = self.stopped().await;
        let stopped: Vec<usize> = stopped.iter().filter_map(|row| self.index_of(row.endpoint)).collect();
        self.owner.held.extend(stopped);
    }

    async fn jobs(&self) -> Vec<Job> {
        self.kit.ledger.job_list(WS, None, JOBS_MAX).await.unwrap_or_default()
    }

    /// What is answered to whoever asks, who sometimes hangs up before that.
    pub(super) async fn ask_or_hang_up<T: Send + 'static>(
        &mut self,
        asked: impl Future<Output = T> + Send + 'static,
    ) -> Option<T> {
        // In a narrow world everybody waits.
        match self.plan.is_full && self.owner.dice.chance(250) {
            true => hang_up(asked, self.owner.dice.between(0, 3)).await,
            false => ask(asked).await,
        }
    }

    /// How many jobs are not over.
    pub(super) async fn open_jobs(&self) -> usize {
        self.jobs().await.iter().filter(|job| !job.state.is_over()).count()
    }

    pub(super) async fn make_job(&mut self) {
        let Some(running) = self.alive.last() else { return };
        let (ledger, at) = (running.ledger.clone(), self.time.now());
        let settings = self.kit.settings();
        let dice = &mut self.owner.dice;
        let kind = dice.weighed(&[(5, JobKind::Replay), (3, JobKind::Cancel), (4, JobKind::Backfill)]);
        let mut filter = DeliveryFilter { states: states_default(kind), ..DeliveryFilter::default() };
        let mut into = None;
        if kind == JobKind::Backfill {
            if settings.webhooks.is_empty() {
                return;
            }
            into = Some(Into::Webhook(dice.one_of(&settings.webhooks).id));
        } else {
            if kind == JobKind::Replay && dice.chance(300) {
                filter.states = DeliveryState::ALL.to_vec();
            }
            let n = dice.between(0, self.plan.endpoints as u64) as usize;
            match self.endpoint_of(n) {
                Some(Endpoint::Postback { rule, .. }) => filter.rule = Some(rule),
                Some(Endpoint::Webhook(webhook)) => filter.webhook = Some(webhook),
                None => {}
            }
        }
        let rate_per_s = *self.owner.dice.one_of(&[10.0, 50.0, 200.0]);
        let fills = match into {
            // What is not decided yet is told to whoever asks for it then.
            Some(Into::Webhook(webhook)) if self.kit.ledger.undecided_count().await == Ok(0) => {
                let events = self.kept.iter().filter(|event| event.minted_at() < at).copied().collect();
                Some(Fill { webhook, events })
            }
            _ => None,
        };
        if kind == JobKind::Cancel {
            self.owner.is_cancelling = true;
            self.judge.cancels(true);
        }
        let what = format!("{} of {:?} {:?} at {rate_per_s}/s", kind.name(), filter.rule, filter.webhook);
        let plan = JobPlan { kind, filter, into, rate: Rate::per_s(rate_per_s) };
        let made = self
            .ask_or_hang_up(async move { ledger.job_create(WS, plan, None, "owner".to_owned(), at).await })
            .await;
        self.trace.say(format_args!("a job: {what}: {}", said(&made)));
        if let (Some(Ok(Some(job))), Some(fills)) = (made, fills) {
            self.owner.fills.insert(job.id, fills);
        }
    }

    pub(super) async fn change_job(&mut self) {
        let open: Vec<Job> = self.jobs().await.into_iter().filter(|job| !job.state.is_over()).collect();
        let Some(running) = self.alive.last() else { return };
        if open.is_empty() {
            return;
        }
        let id = self.owner.dice.one_of(&open).id;
        let wish =
            self.owner.dice.weighed(&[(3, JobWish::Pause), (4, JobWish::Resume), (1, JobWish::Cancel)]);
        let (ledger, at) = (running.ledger.clone(), self.time.now());
        let answer = self.ask_or_hang_up(async move { ledger.job_change(WS, id, wish, at).await }).await;
        self.trace.say(format_args!("{id} {wish:?}: {}", said(&answer)));
    }

    /// Lets everything go on that is stopped.
    pub(super) async fn let_all_go_on(&mut self) {
        for row in self.stopped().await {
            if let Some(n) = self.index_of(row.endpoint) {
                self.set_endpoint(n, row.endpoint, State::Active).await;
            }
        }
        for job in self.jobs().await.into_iter().filter(|job| job.state == JobState::Paused) {
            let Some(running) = self.alive.last() else { return };
            let (ledger, at): (Ledger, _) = (running.ledger.clone(), self.time.now());
            let _ = ask(async move { ledger.job_change(WS, job.id, JobWish::Resume, at).await }).await;
        }
    }

    /// Whether memory is bounded, and nothing that is due waits for nothing.
    pub(super) async fn look_at_work(&mut self) {
        if self.owner.is_cancelling {
            let is_open = |job: &Job| job.plan.kind == JobKind::Cancel && !job.state.is_over();
            self.owner.is_cancelling = self.jobs().await.iter().any(is_open);
            self.judge.cancels(self.owner.is_cancelling);
        }
        let most = W::BOUNDS.window * self.plan.endpoints as u64;
        for running in &self.alive {
            let held = W::in_memory(&running.worker);
            if held > most {
                self.judge.wrong(format!("{held} deliveries are held in memory, at most {most} may be"));
            }
        }
        let is_quiet = match &self.alive[..] {
            [running] => {
                let process = &running.process;
                !process.was_beside()
                    && !process.has_panicked()
                    && process.refused_at().is_none_or(|at| at.elapsed() > STARVED)
            }
            _ => false,
        };
        if !is_quiet {
            self.owner.looks_anew();
            return;
        }
        let Ok(heads) = self.kit.ledger.queue_endpoints().await else { return };
        let stopped = self.stopped().await;
        let now = self.time.now();
        let mut overdue = BTreeMap::new();
        for head in heads {
            let is_held = stopped.iter().any(|row| row.endpoint == head.endpoint);
            let Some(n) = self.index_of(head.endpoint).filter(|n| !self.owner.ill.contains(n)) else {
                continue;
            };
            if is_held || head.due > now {
                continue;
            }
            let known = self.owner.overdue.get(&n).filter(|(due, _)| *due == head.due);
            let since = known.map_or_else(Instant::now, |(_, since)| *since);
            if since.elapsed() > STARVED {
                self.judge.wrong(format!("e{n} is well, and what is due for it is not sent"));
            }
            overdue.insert(n, (head.due, since));
        }
        self.owner.overdue = overdue;
    }

    /// Every job came to what it says, and nothing was told again that nobody asked for.
    pub(super) async fn settle_jobs(&self, replays: u64, cancelled: (u64, u64)) {
        let jobs = self.jobs().await;
        let sum =
            |kind: JobKind| jobs.iter().filter(|job| job.plan.kind == kind).map(|job| job.done).sum::<u64>();
        for job in &jobs {
            let accounted = job.done + job.skipped.values().sum::<u64>();
            if accounted != job.matched {
                self.judge.wrong(format!("{}: {accounted} of {} are accounted for", job.id, job.matched));
            }
            if job.state == JobState::Failed {
                self.judge.wrong(format!("{} failed: {:?}", job.id, job.note));
            }
        }
        let asked = sum(JobKind::Replay) + self.owner.replays.0;
        if replays < asked || replays > asked + self.owner.replays.1 {
            self.judge.wrong(format!("{replays} deliveries are replays, {asked} were asked for"));
        }
        let (ended, mended) = cancelled;
        let asked = sum(JobKind::Cancel);
        if ended > asked || ended + mended < asked {
            self.judge
                .wrong(format!("{ended} deliveries are cancelled by the owner, {asked} were asked for"));
        }
    }

    /// Whether a webhook that was added later is to have an event: a job that filled it has been through.
    pub(super) async fn is_filled(&self, webhook: Id<kind::Webhook>, event: Id<kind::Event>) -> bool {
        self.jobs().await.iter().filter(|job| job.state == JobState::Done).any(|job| {
            let fill = self.owner.fills.get(&job.id);
            fill.is_some_and(|fill| fill.webhook == webhook && fill.events.contains(&event))
        })
    }
}

/// An answer in a word.
fn said<T>(answer: &Option<Result<T, Error>>) -> String {
    match answer {
        Some(Ok(_)) => "yes".to_owned(),
        Some(Err(error)) => error.to_string(),
        None => "no answer".to_owned(),
    }
}
