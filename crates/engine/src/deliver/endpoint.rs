//! One endpoint in memory: what is due next, what is under way, and what may start.
//!
//! The cast: two `Lane`s hold its next deliveries, first attempts and retries; `Limit` says how many may be under
//! way, `Breaker` whether any, `Bucket` how often; this file asks them all and takes the delivery whose turn it is.
//! Memory is bounded: at most [`WINDOW`](super::WINDOW) waiting deliveries are kept, the rest stays in the queue's
//! table and is read when these run out.
//!
//! Retries let first attempts go before, four to one, while both wait: so they are at most a fifth of what a
//! recovering receiver gets, and all of it when nothing else waits.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use roundtrip_domain::endpoint as domain;
use roundtrip_domain::endpoint::health::{self, Health};
use roundtrip_domain::endpoint::{State, Wait};
use roundtrip_domain::id::WorkspaceNo;
use roundtrip_domain::time::Timestamp;
use roundtrip_store::ledger::{Due, EndpointHead, EndpointRow, QueueWindow, WindowWish};

use super::breaker::{Breaker, Change, Pass};
use super::lane::Lane;
use super::limit::Limit;
use super::rate::Bucket;
use super::reach::Reach;
use super::share::Standing;
use super::{DeliveryId, WINDOW};

/// Of the window, what retries get.
const RETRIES: usize = WINDOW / 4;
/// First attempts between two retries, while both wait.
const FIRSTS_PER_RETRY: u8 = 4;

/// What names an endpoint.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct Key {
    pub(super) workspace: WorkspaceNo,
    pub(super) endpoint: domain::Endpoint,
}

/// One reading of the clock.
#[derive(Debug, Clone, Copy)]
pub(super) struct Now {
    /// By which deliveries are due.
    pub(super) wall: Timestamp,
    /// By which everything else waits.
    pub(super) steady: Duration,
}

/// When to look again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Wake {
    /// When something is due.
    Due(Timestamp),
    /// When so much time has passed.
    Steady(Duration),
}

/// Why nothing may start, and when to look again; `None`: something that ends will say so.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Blocked {
    pub(super) wait: Wait,
    pub(super) wake: Option<Wake>,
}

impl Blocked {
    const fn until(wait: Wait, at: Duration) -> Self {
        Self { wait, wake: Some(Wake::Steady(at)) }
    }

    pub(super) const fn by(wait: Wait) -> Self {
        Self { wait, wake: None }
    }
}

/// What the end of a send says about its endpoint.
#[derive(Debug, Clone, Copy)]
pub(super) struct Report {
    pub(super) reach: Reach,
    /// How long the receiver took; zero when it was not asked.
    pub(super) took: Duration,
    /// The rest that it asked for.
    pub(super) rest: Option<Duration>,
}

impl Report {
    /// Nothing was sent.
    pub(super) const UNSENT: Self = Self { reach: Reach::Unknown, took: Duration::ZERO, rest: None };
}

/// What the end of a send changed.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Ended {
    /// How long it occupied its place.
    pub(super) occupied: Duration,
    pub(super) breaker: Option<Change>,
    pub(super) health: health::Change,
}

/// An endpoint with work.
#[derive(Debug)]
pub(super) struct Endpoint {
    firsts: Lane,
    retries: Lane,
    /// First attempts since the last retry, while both wait.
    firsts_since: u8,
    /// Sent or being sent, and not settled yet; with when that began, until it ended.
    busy: BTreeMap<DeliveryId, Option<Duration>>,
    /// Being sent.
    in_flight: u32,
    limit: Limit,
    /// The limit when trouble began, for the ramp after it.
    former: u32,
    breaker: Breaker,
    probe: Option<DeliveryId>,
    /// Tests of it while it is stopped: sent all the same, and without saying anything of it to anybody but their owner.
    tests: Vec<Due>,
    /// Those of them that are under way.
    testing: BTreeSet<DeliveryId>,
    bucket: Bucket,
    /// Before this nothing is sent: the receiver asked for a rest.
    not_before: Duration,
    pub(super) state: State,
    /// When its state was learned.
    pub(super) changed_at: Duration,
    /// Whether that state is what was found here, and is not known to be stored yet.
    pub(super) is_unkept: bool,
    pub(super) health: Health,
    /// When something of it was settled last.
    settled_at: Duration,
    /// Scheme, host and port; empty while not known.
    pub(super) host: String,
    /// The settings that host and rate were read from.
    pub(super) settings_version: u64,
    /// Whether it waits for a place at its host.
    pub(super) host_full: bool,
    /// Whether it waits for a place of its workspace's.
    pub(super) workspace_full: bool,
    /// Why it could not start anything when that was tried last.
    pub(super) blocked: Option<Blocked>,
    pub(super) standing: Standing,
    /// When the coordinator's timer looks at it.
    pub(super) timer: Option<Wake>,
}

impl Default for Endpoint {
    fn default() -> Self {
        Self {
            firsts: Lane::new(WINDOW - RETRIES),
            retries: Lane::new(RETRIES),
            firsts_since: 0,
            busy: BTreeMap::new(),
            in_flight: 0,
            limit: Limit::default(),
            former: 0,
            breaker: Breaker::default(),
            probe: None,
            tests: Vec::new(),
            testing: BTreeSet::new(),
            bucket: Bucket::default(),
            not_before: Duration::ZERO,
            state: State::Active,
            changed_at: Duration::ZERO,
            is_unkept: false,
            health: Health::default(),
            settled_at: Duration::ZERO,
            host: String::new(),
            settings_version: 0,
            host_full: false,
            workspace_full: false,
            blocked: None,
            standing: Standing::default(),
            timer: None,
        }
    }
}

impl Endpoint {
    /// Learns of a waiting delivery.
    pub(super) fn push(&mut self, due: &Due) {
        if self.busy.contains_key(&due.delivery) {
            return;
        }
        let lane = if due.sends == 0 { &mut self.firsts } else { &mut self.retries };
        if self.state.holds() { lane.suspect() } else { lane.push(due) }
    }

    /// Learns of a test that waits. One that is to find out whether a stopped endpoint works, or one in trouble, goes at
    /// once.
    pub(super) fn push_test(&mut self, due: &Due) {
        let is_left_alone = self.state.holds() || self.breaker.open_until().is_some();
        if is_left_alone { self.tests.push(*due) } else { self.push(due) }
    }

    /// What to read of the table before anything can start; `None` when memory suffices, or nothing could start.
    pub(super) fn wish(&self, key: Key, now: Now) -> Option<WindowWish> {
        let cannot = self.state.holds()
            || self.in_flight >= self.limit.get()
            || matches!(self.breaker.pass(now.steady), Pass::Wait(_));
        if cannot || !(self.firsts.needs_refill() || self.retries.needs_refill()) {
            return None;
        }
        // What is under way still stands in the table; the read must reach beyond it.
        let reach = |lane: &Lane| if lane.needs_refill() { (lane.cap() + self.busy.len()) as u32 } else { 0 };
        Some(WindowWish {
            workspace: key.workspace,
            endpoint: key.endpoint,
            firsts: reach(&self.firsts),
            retries: reach(&self.retries),
        })
    }

    /// Takes over what the table holds.
    pub(super) fn fill(&mut self, wish: &WindowWish, window: &QueueWindow, now: Now) {
        let busy = &self.busy;
        for (lane, limit, rows) in [
            (&mut self.firsts, wish.firsts, &window.firsts),
            (&mut self.retries, wish.retries, &window.retries),
        ] {
            if limit > 0 {
                lane.fill(rows, rows.len() < limit as usize, now.wall, |id| !busy.contains_key(&id));
            }
        }
    }

    /// Whether a delivery may start now, its host and everybody else aside.
    pub(super) fn ready(&self, partner: Option<&Bucket>, now: Now) -> Result<(), Blocked> {
        match self.state {
            _ if !self.tests.is_empty() => return Ok(()),
            State::Active => {}
            State::Paused => return Err(Blocked::by(Wait::Paused)),
            State::Disabled => return Err(Blocked::by(Wait::Disabled)),
        }
        let next = [&self.firsts, &self.retries].into_iter().filter_map(|l| l.first()).map(|i| i.ready).min();
        let has_unread = self.firsts.needs_refill() || self.retries.needs_refill();
        match next {
            Some(next) if next > now.wall && !has_unread => {
                return Err(Blocked { wait: Wait::DueAt, wake: Some(Wake::Due(next)) });
            }
            None if !has_unread => return Err(Blocked::by(Wait::Next)),
            // What is not read yet may be due: what is in its way says when to read it.
            Some(_) | None => {}
        }
        let is_probe = match self.breaker.pass(now.steady) {
            Pass::Free => false,
            Pass::Probe => true,
            Pass::Wait(at) => {
                let wait = self.breaker.not_allowed().map_or(Wait::BreakerOpen, Wait::NotAllowed);
                return Err(Blocked { wait, wake: at.map(Wake::Steady) });
            }
        };
        if self.not_before > now.steady {
            return Err(Blocked::until(Wait::RetryAfter, self.not_before));
        }
        // What began before the breaker opened holds no probe back.
        if !is_probe && self.in_flight >= self.limit.get() {
            return Err(Blocked::by(Wait::ConcurrencyFull));
        }
        let at = self.bucket.ready_at(now.steady);
        let at = at.max(partner.map_or(Duration::ZERO, |bucket| bucket.ready_at(now.steady)));
        if at > now.steady {
            return Err(Blocked::until(Wait::RateLimited, at));
        }
        Ok(())
    }

    /// Takes the delivery whose turn it is; only after [`Self::ready`].
    pub(super) fn take(&mut self, key: Key, now: Now) -> Option<Due> {
        if let Some(test) = self.tests.pop() {
            self.busy.insert(test.delivery, Some(now.steady));
            self.in_flight += 1;
            self.testing.insert(test.delivery);
            self.blocked = None;
            return Some(test);
        }
        let is_probe = self.breaker.pass(now.steady) == Pass::Probe;
        let next = |lane: &Lane| if is_probe { lane.oldest(now.wall) } else { lane.due(now.wall).copied() };
        let (first, retry) = (next(&self.firsts), next(&self.retries));
        let takes_retry = match (first, retry) {
            (None, None) => return None,
            (Some(_), None) => false,
            (None, Some(_)) => true,
            // The probe is the one that waits longest: the one that was planned first.
            (Some(first), Some(retry)) if is_probe => retry.delivery < first.delivery,
            (Some(_), Some(_)) => self.firsts_since >= FIRSTS_PER_RETRY,
        };
        self.firsts_since = match takes_retry {
            true => 0,
            false => (self.firsts_since + 1).min(FIRSTS_PER_RETRY),
        };
        let item = if takes_retry { retry } else { first }?;
        if takes_retry {
            self.retries.remove(&item)
        } else {
            self.firsts.remove(&item)
        }
        self.busy.insert(item.delivery, Some(now.steady));
        self.in_flight += 1;
        self.limit.began(self.in_flight);
        self.bucket.take(now.steady);
        if is_probe {
            self.breaker.probe();
            self.probe = Some(item.delivery);
        }
        self.blocked = None;
        Some(Due {
            workspace: key.workspace,
            endpoint: key.endpoint,
            due: item.due,
            delivery: item.delivery,
            sends: item.sends,
        })
    }

    /// A send ended. `jitter` is any random number.
    pub(super) fn ended(
        &mut self,
        key: Key,
        delivery: DeliveryId,
        report: Report,
        now: Now,
        jitter: u32,
    ) -> Ended {
        self.in_flight = self.in_flight.saturating_sub(1);
        let began = self.busy.get_mut(&delivery).and_then(Option::take);
        let occupied = began.map_or(Duration::ZERO, |at| now.steady.saturating_sub(at));
        if self.testing.remove(&delivery) {
            // Somebody looked after it, and it works: what waits need not wait for the next probe.
            let is_mended = report.reach == Reach::Delivered
                && !self.state.holds()
                && self.breaker.open_until().is_some();
            if is_mended {
                self.begin_anew();
            }
            return Ended { occupied, breaker: is_mended.then_some(Change::Closed), ..Ended::default() };
        }
        let is_probe = self.probe == Some(delivery);
        if is_probe {
            self.probe = None;
        }
        let reach = report.reach;
        if !reach.says_something() {
            self.bucket.give_back();
        }
        if reach.is_trouble() {
            // Of several troubles in a row, the limit before the first of them is where the ramp leads.
            self.former = self.former.max(self.limit.get());
        }
        if reach.asks_for_less() {
            self.limit.failed();
        } else if reach.says_something() && !reach.is_trouble() {
            self.limit.succeeded(report.took);
        }
        if let Some(rest) = report.rest.filter(|_| reach.is_trouble()) {
            self.not_before = self.not_before.max(now.steady + rest);
        }
        let breaker = self.breaker.ended(reach, is_probe, now.steady, jitter);
        if breaker == Some(Change::Closed) {
            self.limit.ramp(self.former);
        }
        if reach == Reach::Delivered && self.breaker.is_quiet() {
            self.former = 0;
        }
        Ended { occupied, breaker, health: self.judge(key, reach, now) }
    }

    /// What the end says of how long it has been failing. A webhook's receiver that refuses what it asked for fails
    /// too; a partner that refuses one conversion says something about that conversion.
    fn judge(&mut self, key: Key, reach: Reach, now: Now) -> health::Change {
        let is_webhook = matches!(key.endpoint, domain::Endpoint::Webhook(_));
        match reach {
            Reach::Delivered => self.health.succeeded(now.wall),
            Reach::Overloaded | Reach::Failing | Reach::Unreachable => self.health.failed(now.wall),
            Reach::Refused if is_webhook => self.health.failed(now.wall),
            Reach::Refused | Reach::Gone | Reach::NotAllowed(_) | Reach::Unknown => health::Change::default(),
        }
    }

    /// The end of a delivery is durable.
    pub(super) fn settled(&mut self, delivery: DeliveryId, now: Now) {
        self.busy.remove(&delivery);
        self.settled_at = now.steady;
    }

    /// Somebody paused or disabled it, or let it go on: then it starts with one at a time.
    pub(super) fn set(&mut self, row: &EndpointRow) {
        let before = std::mem::replace(&mut self.state, row.state);
        if before == row.state {
            return;
        }
        if row.state.holds() {
            self.forget();
            return;
        }
        // The table has those that were not sent yet.
        self.tests.clear();
        self.begin_anew();
        // While it was stopped it had no chance to succeed: that time is no evidence against it.
        self.health.forgive();
        self.forget();
    }

    /// Starts with one at a time, whatever trouble it was in.
    fn begin_anew(&mut self) {
        self.breaker = Breaker::default();
        self.not_before = Duration::ZERO;
        self.limit.ramp(self.former.max(self.limit.get()));
    }

    /// Forgets what waits, so that the table is read again before memory is trusted: what memory holds may be due long
    /// after what it does not know.
    pub(super) fn forget(&mut self) {
        self.firsts.forget();
        self.retries.forget();
    }

    /// The wall clock was set: what waits is read again, and starts with one at a time.
    pub(super) fn clock_set(&mut self, by_ms: i64) {
        self.forget();
        let limit = self.limit.get();
        self.limit.ramp(limit);
        self.health.moved(by_ms);
    }

    /// The rate of the endpoint itself.
    pub(super) fn set_rate(&mut self, rate: Option<roundtrip_domain::rate::Rate>) {
        self.bucket.set(rate);
    }

    /// Whether memory knows of no work here.
    pub(super) fn is_idle(&self) -> bool {
        self.busy.is_empty() && self.tests.is_empty() && self.firsts.is_empty() && self.retries.is_empty()
    }

    /// Whether it settled something since then.
    pub(super) fn has_settled_since(&self, at: Duration) -> bool {
        self.settled_at >= at
    }

    /// Whether nothing is lost by forgetting it: no work, and everything as at the start.
    pub(super) fn is_forgettable(&self, now: Now) -> bool {
        self.is_idle()
            && self.timer.is_none()
            && !self.host_full
            && !self.workspace_full
            && !self.standing.is_queued()
            && self.state == State::Active
            && self.limit.is_usual()
            && self.breaker.is_quiet()
            && self.bucket.is_full(now.steady)
            && self.not_before <= now.steady
            && self.health.failing_since.is_none()
    }

    pub(super) fn limit(&self) -> u32 {
        self.limit.get()
    }

    pub(super) const fn in_flight(&self) -> u32 {
        self.in_flight
    }

    /// Whether the table, as read at `began`, has what memory cannot know of: more than it takes for all, or in a lane
    /// something that is due before the lane's first. What was due before `late` is looked at although the reading may
    /// be older than what memory knows.
    pub(super) fn is_news(&self, head: &EndpointHead, late: Timestamp, began: Duration) -> bool {
        let is_fresh = !self.has_settled_since(began);
        if !self.firsts.has_more() && !self.retries.has_more() {
            let known = (self.in_memory() + self.busy.len()) as u64;
            return head.waiting > known && (is_fresh || head.due < late);
        }
        // One lane says nothing of the other: a backlog of retries that is due first hides no first attempt.
        let lanes = [(&self.firsts, head.firsts), (&self.retries, head.retries)];
        lanes.into_iter().filter_map(|(lane, due)| Some((lane, due?))).any(|(lane, due)| {
            // What is under way may be the table's first. One that is never idle is read once a sweep for that, at most.
            lane.lacks(due) && (due < late || (is_fresh && self.busy.is_empty()))
        })
    }

    /// How many waiting deliveries it holds in memory.
    pub(super) fn in_memory(&self) -> usize {
        self.firsts.len() + self.retries.len()
    }

    /// What is being sent.
    pub(super) fn sending(&self) -> impl Iterator<Item = DeliveryId> {
        self.busy.iter().filter(|(_, began)| began.is_some()).map(|(id, _)| *id)
    }

    /// When the next probe may start, while the breaker is open.
    pub(super) const fn probe_at(&self) -> Option<Duration> {
        self.breaker.open_until()
    }

    /// What the operator's settings do not allow of its requests, if that is why nothing is sent.
    pub(super) const fn not_allowed(&self) -> Option<domain::NotAllowed> {
        self.breaker.not_allowed()
    }

    pub(super) const fn not_before(&self) -> Duration {
        self.not_before
    }

    /// Whether a retry is due and lets a first attempt go before.
    pub(super) fn retries_wait(&self, now: Now) -> bool {
        self.firsts.due(now.wall).is_some() && self.retries.due(now.wall).is_some()
    }
}

#[cfg(test)]
mod tests;
