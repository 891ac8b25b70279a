//! From due deliveries to settled ones.
//!
//! The cast: one coordinator (this file) owns the endpoints and decides what to start; each `send` is a task
//! of its own that renders, calls and reports; one settler writes the ends of sends in groups and never
//! makes the coordinator wait for a commit; one keeper writes what is learned of endpoints that fail. An
//! `endpoint` is a rule and the partner that it tells, or a webhook. Whose turn it is says `share`; what an endpoint
//! may start say its `limit`, `breaker` and `rate`, which are pure; `places` counts what a host is sent at once.
//!
//! At least once: no claim is written. What is being sent is known in memory only; after a crash it is sent
//! again, with the same event id. A delivery leaves the coordinator's books only after its settlement is
//! durable. The hand-over from commits is a shortcut: a sweep of the queue's heads, every few seconds,
//! finds what was not handed over, and counts it.
//!
//! Two clocks: deliveries are due by the wall clock, everything else waits by the steady one. When the wall clock is
//! set, what waits is read again from the table, and every endpoint starts with one send at a time.

mod breaker;
mod endpoint;
mod evidence;
mod hook;
mod keeper;
mod lane;
mod limit;
mod places;
mod quota;
mod rate;
mod reach;
mod send;
mod settle;
mod share;
mod sweep;

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use roundtrip_domain::endpoint::health::Notice;
use roundtrip_domain::endpoint::{Endpoint as Receiver, State, Wait};
use roundtrip_domain::id::{Id, WorkspaceNo, kind};
use roundtrip_domain::rate::Rate;
use roundtrip_domain::retry::TIMEOUTS;
use roundtrip_domain::settings::{Catalog, Settings};
use roundtrip_domain::time::Timestamp;
use roundtrip_store::ledger::{
    Due, EndpointLive, EndpointNews, EndpointRow, LIVE_MAX, LivePicture, QueueSwept, WindowWish,
};
use tokio::sync::mpsc;
use tokio::time::MissedTickBehavior;

use self::breaker::Change;
use self::endpoint::{Blocked, Endpoint, Key, Now, Report, Wake};
pub(crate) use self::limit::START as LIMIT_START;
use self::places::Places;
use self::quota::Quotas;
use self::rate::Bucket;
use self::reach::Reach;
use self::settle::Done;
use self::share::Share;
use crate::supervise::Shared;
use crate::{Config, Stats};

/// Most sends under way, all endpoints together.
const IN_FLIGHT_MAX: usize = 1_024;
/// An endpoint with something under way gets another place while this many times as many are free: so a few slow
/// ones cannot take all of them, and a single one gets its 64.
const FREE_PER_ENDPOINT: usize = 15;
/// A workspace has at most this many times as many places as are free, while another one has work.
const WORKSPACE_PER_FREE: usize = 4;
/// Most ends of sends that wait for their commit. Beyond this nothing new is begun: the ledger is ill.
const UNSETTLED_MAX: usize = 4_096;
/// How often the queue's heads are looked at.
const SWEEP: Duration = Duration::from_secs(5);
/// How often a picture of the endpoints is made for whoever asks why something waits.
const PICTURE: Duration = Duration::from_secs(1);
/// How long what is under way may take when stopping: the longest that a rule or webhook may wait for its receiver, and
/// 4 s for storing its end. What ends sooner is not waited for longer; what does not end by then is sent again after the
/// next start, and receivers dedupe it. With the 11 s in which requests end it is half of the 90 s that systemd gives.
pub const DRAIN_MAX: Duration = Duration::from_millis(TIMEOUTS.end().ms().cast_unsigned() + 4_000);
/// Deliveries read from an endpoint's queue at once; also the most that it holds in memory.
pub(crate) const WINDOW: usize = 64;
/// Endpoints whose queues are read in one go.
const FILL_MAX: usize = 64;
/// How far the wall clock may run off before it counts as set.
const CLOCK_SLACK_MS: i64 = 60_000;

/// What tasks tell the coordinator.
enum Message {
    /// A send ended; its settlement is on its way.
    Ended {
        /// The endpoint.
        key: Key,
        /// What was sent.
        delivery: DeliveryId,
        /// The hosts at which it has a place.
        places: Vec<String>,
        /// The host that was called; empty when it says nothing about the endpoint's next send.
        host: String,
        /// What it says about the endpoint.
        report: Report,
    },
    /// Ends of sends are durable, or cannot be.
    Settled(Vec<Done>),
    /// What the tables had at some moment after `began`; `None` when they could not be read.
    Swept { found: Option<QueueSwept>, began: Duration },
}

struct Coordinator {
    config: Config,
    stats: Arc<Stats>,
    endpoints: HashMap<Key, Endpoint>,
    /// Whose turn it is among those that may have something to start now.
    share: Share,
    /// When endpoints are to be looked at because something is due.
    due_timers: BTreeSet<(Timestamp, Key)>,
    /// When they are to be looked at because so much time has passed.
    steady_timers: BTreeSet<(Duration, Key)>,
    /// Sends under way by host.
    places: Places,
    /// Endpoints with something due that wait for a place at their host, in their order.
    host_waiting: HashMap<String, VecDeque<Key>>,
    /// Endpoints that wait for a place of their workspace's, in their order.
    workspace_waiting: BTreeMap<WorkspaceNo, VecDeque<Key>>,
    /// How often partners are told, all their endpoints together; with the settings that it was read from.
    partners: HashMap<(WorkspaceNo, Id<kind::Partner>), (u64, Bucket)>,
    quotas: Quotas,
    in_flight: usize,
    unsettled: usize,
    /// Whether more was planned than could be handed over: the next sweep has every endpoint read its table.
    reread: bool,
    /// Whether nothing was swept yet.
    is_first_sweep: bool,
    is_sweeping: bool,
    /// The clocks, when they were read last.
    read: Now,
    messages: mpsc::UnboundedSender<Message>,
    settler: mpsc::UnboundedSender<settle::Ended>,
    keeper: mpsc::UnboundedSender<EndpointNews>,
}

/// Delivers until told to stop.
pub async fn run(config: Config, mut shared: Shared) {
    // What is stopped must be known before anything is sent.
    let Some(stopped) = stopped_endpoints(&config, &mut shared).await else { return };
    let (messages, mut inbox) = mpsc::unbounded_channel();
    let (settler, ended) = mpsc::unbounded_channel();
    let (keeper, news) = mpsc::unbounded_channel();
    let keeping = tokio::spawn(keeper::run(config.clone(), shared.clone(), news));
    let settling = tokio::spawn(settle::run(config.clone(), shared.clone(), ended, {
        let messages = messages.clone();
        move |done| {
            // Nobody hears it when the coordinator is gone; it is durable all the same.
            let _ = messages.send(Message::Settled(done));
        }
    }));
    let quotas = Quotas::load(&config).await;
    let read = Now { wall: config.clock.now(), steady: config.clock.steady() };
    let mut this = Coordinator {
        stats: shared.stats.clone(),
        endpoints: HashMap::new(),
        share: Share::default(),
        due_timers: BTreeSet::new(),
        steady_timers: BTreeSet::new(),
        places: Places::default(),
        host_waiting: HashMap::new(),
        workspace_waiting: BTreeMap::new(),
        partners: HashMap::new(),
        quotas,
        config,
        in_flight: 0,
        unsettled: 0,
        reread: false,
        is_first_sweep: true,
        is_sweeping: false,
        read,
        messages,
        settler,
        keeper,
    };
    stopped.iter().for_each(|row| this.learn(row, false));
    let mut sweep = tokio::time::interval(SWEEP);
    sweep.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut picture = tokio::time::interval(PICTURE);
    picture.set_missed_tick_behavior(MissedTickBehavior::Delay);
    while !shared.is_stopping() {
        let now = this.now();
        this.take_handed_over();
        this.start_sends(now).await;
        let wait = this.until_next();
        // In this order, so that the same world goes the same way twice. What comes seldom comes first: messages
        // under load are always there, and the sweep is what finds the rest.
        tokio::select! {
            biased;
            () = shared.stopped() => {}
            _ = sweep.tick() => this.sweep(),
            _ = picture.tick() => this.picture(),
            message = inbox.recv() => {
                if let Some(message) = message { this.hear(message); }
                while let Ok(message) = inbox.try_recv() { this.hear(message); }
            }
            () = this.config.ledger.due_signal() => {}
            () = tokio::time::sleep(wait) => {}
        }
    }
    let deadline = tokio::time::Instant::now() + DRAIN_MAX;
    while this.in_flight + this.unsettled > 0 {
        match tokio::time::timeout_at(deadline, inbox.recv()).await {
            Ok(Some(message)) => this.hear(message),
            Ok(None) | Err(_) => break,
        }
    }
    this.config.ledger.live_put(LivePicture::new());
    drop(this);
    // The settler and the keeper end when nobody can send to them any more.
    let _ = tokio::time::timeout_at(deadline, settling).await;
    let _ = tokio::time::timeout_at(deadline, keeping).await;
}

/// The endpoints that are stopped or failing; `None` when stopping before the ledger could say.
async fn stopped_endpoints(config: &Config, shared: &mut Shared) -> Option<Vec<EndpointRow>> {
    loop {
        // What changed before this is in the rows; what changes after it is handed over.
        config.ledger.endpoint_changes();
        match config.ledger.endpoint_rows().await {
            Ok(rows) => return Some(rows),
            Err(error) => tracing::warn!(error = %error, "the endpoints cannot be read"),
        }
        shared.pause(1_000).await;
        if shared.is_stopping() {
            return None;
        }
    }
}

impl Coordinator {
    fn key(due: &Due) -> Key {
        Key { workspace: due.workspace, endpoint: due.endpoint }
    }

    fn endpoint(&mut self, key: Key) -> &mut Endpoint {
        self.endpoints.entry(key).or_default()
    }

    /// Reads the clocks. Where the wall clock was set meanwhile, everybody starts anew.
    fn now(&mut self) -> Now {
        let now = Now { wall: self.config.clock.now(), steady: self.config.clock.steady() };
        let passed = now.steady.saturating_sub(self.read.steady).as_millis() as i64;
        let set_by = now.wall.since(self.read.wall) - passed;
        self.read = now;
        if set_by.abs() > CLOCK_SLACK_MS {
            tracing::warn!(clock.set_by_ms = set_by, "the clock was set; deliveries start one at a time");
            let mut keys: Vec<Key> = self.endpoints.keys().copied().collect();
            keys.sort_unstable();
            for key in keys {
                self.endpoint(key).clock_set(set_by);
                self.make_ready(key);
            }
        }
        now
    }

    fn take_handed_over(&mut self) {
        for row in self.config.ledger.endpoint_changes() {
            self.learn(&row, false);
        }
        self.reread |= self.config.ledger.due_overflowed();
        for due in self.config.ledger.due_take() {
            let key = Self::key(&due);
            self.endpoint(key).push(&due);
            self.make_ready(key);
        }
        for due in self.config.ledger.test_take() {
            let key = Self::key(&due);
            self.endpoint(key).push_test(&due);
            self.make_ready(key);
        }
    }

    /// Somebody stopped an endpoint or let it go on, or it was found in the table; or it was found here, and is to be
    /// stored.
    fn learn(&mut self, row: &EndpointRow, is_unkept: bool) {
        let key = Key { workspace: row.workspace, endpoint: row.endpoint };
        let (is_new, now) = (!self.endpoints.contains_key(&key), self.read.steady);
        let endpoint = self.endpoint(key);
        if is_new {
            endpoint.health = row.health;
        }
        endpoint.set(row);
        (endpoint.changed_at, endpoint.is_unkept) = (now, is_unkept);
        self.make_ready(key);
    }

    fn make_ready(&mut self, key: Key) {
        let endpoint = self.endpoints.entry(key).or_default();
        self.share.enter(key, &mut endpoint.standing);
    }

    /// Has the queue's heads read, without waiting for it.
    fn sweep(&mut self) {
        if std::mem::replace(&mut self.is_sweeping, true) {
            return;
        }
        let began = self.config.clock.steady();
        sweep::begin(self.config.ledger.clone(), self.stats.clone(), self.messages.clone(), began);
    }

    /// Every endpoint with something due that memory does not know is read again.
    fn swept(&mut self, found: Option<QueueSwept>, began: Duration) {
        self.is_sweeping = false;
        let is_read = found.is_some();
        if let Some(found) = &found {
            self.compare(&found.endpoints, began);
        }
        let heads = found.unwrap_or_default().heads;
        // What could not be read is still to be read, by the next one.
        let reread = is_read && std::mem::take(&mut self.reread);
        let is_first = is_read && std::mem::replace(&mut self.is_first_sweep, false);
        let late = self.read.wall.plus_ms(-(SWEEP.as_millis() as i64));
        for head in heads {
            let key = Key { workspace: head.workspace, endpoint: head.endpoint };
            let endpoint = self.endpoint(key);
            // What it settled meanwhile may be what the table still had.
            let is_unknown = endpoint.is_idle() && (is_first || !endpoint.has_settled_since(began));
            // One that is never idle does not know what nobody told it either. Read once too often does no harm.
            let is_overdue = head.due < late;
            let is_news = endpoint.is_news(&head, late, began);
            if endpoint.state.holds() || !(is_unknown || is_news || reread) {
                continue;
            }
            endpoint.forget();
            if !is_first && !reread && is_unknown && is_overdue {
                Stats::add(&self.stats.swept, 1);
            }
            self.make_ready(key);
        }
        for key in std::mem::take(&mut self.workspace_waiting).into_values().flatten() {
            self.endpoint(key).workspace_full = false;
            self.make_ready(key);
        }
        // An endpoint without work costs nothing but its row here.
        let now = self.read;
        self.endpoints.retain(|_, endpoint| !endpoint.is_forgettable(now));
        self.partners.retain(|_, (_, bucket)| !bucket.is_full(now.steady));
    }

    fn fire_timers(&mut self, now: Now) {
        while let Some((at, key)) = self.due_timers.first().copied().filter(|(at, _)| *at <= now.wall) {
            self.due_timers.remove(&(at, key));
            self.fire(key);
        }
        while let Some((at, key)) = self.steady_timers.first().copied().filter(|(at, _)| *at <= now.steady) {
            self.steady_timers.remove(&(at, key));
            self.fire(key);
        }
    }

    fn fire(&mut self, key: Key) {
        self.endpoint(key).timer = None;
        self.make_ready(key);
    }

    fn set_timer(&mut self, key: Key, wake: Option<Wake>) {
        let old = std::mem::replace(&mut self.endpoint(key).timer, wake);
        match old {
            Some(Wake::Due(at)) => drop(self.due_timers.remove(&(at, key))),
            Some(Wake::Steady(at)) => drop(self.steady_timers.remove(&(at, key))),
            None => {}
        }
        match wake {
            Some(Wake::Due(at)) => drop(self.due_timers.insert((at, key))),
            Some(Wake::Steady(at)) => drop(self.steady_timers.insert((at, key))),
            None => {}
        }
    }

    const fn has_room(&self) -> bool {
        self.in_flight < IN_FLIGHT_MAX && self.unsettled < UNSETTLED_MAX
    }

    /// Starts what may start now, in the order of turns.
    async fn start_sends(&mut self, now: Now) {
        self.fire_timers(now);
        let catalog = self.config.ledger.catalog();
        let mut begin: Vec<(Key, Due)> = Vec::new();
        let mut wishes: Vec<WindowWish> = Vec::new();
        loop {
            while self.has_room() && wishes.len() < FILL_MAX {
                let Some(key) = self.share.next() else { break };
                let Some(endpoint) = self.endpoints.get_mut(&key) else { continue };
                Share::left(&mut endpoint.standing);
                if let Some(wish) = endpoint.wish(key, now) {
                    wishes.push(wish);
                    continue;
                }
                match self.start(key, &catalog, now) {
                    Ok(due) => {
                        begin.push((key, due));
                        self.make_ready(key);
                    }
                    Err(blocked) => {
                        self.endpoint(key).blocked = Some(blocked);
                        self.set_timer(key, blocked.wake);
                    }
                }
            }
            // What was chosen does not wait for the windows of others.
            self.begin(std::mem::take(&mut begin));
            if wishes.is_empty() || !self.fill(std::mem::take(&mut wishes), now).await {
                break;
            }
        }
    }

    fn begin(&self, chosen: Vec<(Key, Due)>) {
        self.stats.in_flight.store(self.in_flight as u64, Ordering::Relaxed);
        if !chosen.is_empty() {
            let ends = send::Ends {
                messages: self.messages.clone(),
                settler: self.settler.clone(),
                places: self.places.clone(),
            };
            send::begin(&self.config, &self.stats, chosen, ends, &self.endpoints);
        }
    }

    /// Starts the endpoint's next delivery, or says what stands in the way.
    fn start(&mut self, key: Key, catalog: &Catalog, now: Now) -> Result<Due, Blocked> {
        let settings = catalog.workspace(key.workspace);
        let version = settings.map_or(0, |s| s.version + 1);
        let Some(endpoint) = self.endpoints.get_mut(&key) else { return Err(Blocked::by(Wait::Next)) };
        if endpoint.settings_version != version {
            endpoint.settings_version = version;
            endpoint.host = settings.map_or_else(String::new, |s| send::host_of(s, key.endpoint));
            endpoint.set_rate(settings.and_then(|s| rate_of(s, key.endpoint)));
        }
        let mut partner = match (settings, key.endpoint.postback()) {
            (Some(settings), Some((_, id))) => partner_bucket(&mut self.partners, settings, id, version),
            _ => None,
        };
        endpoint.ready(partner.as_deref(), now)?;
        let free = IN_FLIGHT_MAX - self.in_flight;
        let own = endpoint.in_flight() as usize;
        if own > 0 && own * FREE_PER_ENDPOINT >= free {
            // The end of one of its sends makes it ready again.
            return Err(Blocked::by(Wait::TotalFull));
        }
        let of_workspace = self.share.in_flight(key.workspace);
        let is_crowded = of_workspace >= WORKSPACE_PER_FREE * free && self.share.is_shared();
        if is_crowded || self.quotas.is_full(of_workspace) {
            // The end of a send of the workspace's makes it ready again.
            let wait = if is_crowded { Wait::TotalFull } else { Wait::Quota };
            if !std::mem::replace(&mut endpoint.workspace_full, true) {
                self.workspace_waiting.entry(key.workspace).or_default().push_back(key);
            }
            return Err(Blocked::by(wait));
        }
        if let Some(tomorrow) = self.quotas.spent_until(key.workspace, now.wall) {
            return Err(Blocked { wait: Wait::Quota, wake: Some(Wake::Due(tomorrow)) });
        }
        if !self.places.take(&endpoint.host) {
            // The end of a send towards that host makes it ready again.
            if !std::mem::replace(&mut endpoint.host_full, true) {
                self.host_waiting.entry(endpoint.host.clone()).or_default().push_back(key);
            }
            return Err(Blocked::by(Wait::HostFull));
        }
        let Some(due) = endpoint.take(key, now) else {
            self.places.give_back(&endpoint.host);
            return Err(Blocked::by(Wait::Next));
        };
        if let Some(bucket) = &mut partner {
            bucket.take(now.steady);
        }
        self.quotas.count(key.workspace, now.wall);
        self.share.began(key, &mut endpoint.standing);
        self.in_flight += 1;
        self.unsettled += 1;
        Ok(due)
    }

    /// Reads the next windows of endpoints whose memory has run out. `false` when the ledger cannot answer.
    async fn fill(&mut self, wishes: Vec<WindowWish>, now: Now) -> bool {
        let read = self.config.ledger.queue_windows(wishes.clone()).await;
        let windows = read.unwrap_or_else(|error| {
            tracing::warn!(error = %error, "the endpoints' queues cannot be read");
            Vec::new()
        });
        // Time passed while it was read: by the clock of before, what was planned meanwhile would be of the future.
        let now = Now { wall: self.config.clock.now(), ..now };
        for (n, wish) in wishes.iter().enumerate() {
            let key = Key { workspace: wish.workspace, endpoint: wish.endpoint };
            if let Some(window) = windows.get(n) {
                self.endpoint(key).fill(wish, window, now);
            }
            self.make_ready(key);
        }
        !windows.is_empty()
    }

    fn until_next(&self) -> Duration {
        let due = self.due_timers.first().map(|(at, _)| at.since(self.read.wall).clamp(0, 1_000) as u64);
        let steady = self
            .steady_timers
            .first()
            .map(|(at, _)| at.saturating_sub(self.read.steady).as_millis().min(1_000) as u64);
        let ms = due.into_iter().chain(steady).min().unwrap_or(1_000);
        Duration::from_millis(ms + 1)
    }

    fn hear(&mut self, message: Message) {
        match message {
            Message::Ended { key, delivery, places, host, report } => {
                self.in_flight = self.in_flight.saturating_sub(1);
                self.ended(key, delivery, host, report);
                places.iter().for_each(|host| self.free_host(host));
                self.make_ready(key);
                let waiting = self.workspace_waiting.get_mut(&key.workspace).and_then(VecDeque::pop_front);
                if let Some(key) = waiting {
                    self.endpoint(key).workspace_full = false;
                    self.make_ready(key);
                }
            }
            Message::Settled(done) => {
                let now = self.read;
                for done in done {
                    self.unsettled = self.unsettled.saturating_sub(1);
                    // It stays among those under way here, so that the sweep does not have it sent again and again.
                    if !done.is_durable {
                        continue;
                    }
                    let endpoint = self.endpoint(done.key);
                    endpoint.settled(done.delivery, now);
                    if let Some(due) = done.again {
                        endpoint.push(&due);
                    }
                    self.make_ready(done.key);
                }
            }
            Message::Swept { found, began } => self.swept(found, began),
        }
    }

    /// A send ended: what it says of its endpoint.
    fn ended(&mut self, key: Key, delivery: DeliveryId, host: String, report: Report) {
        let now = Now { wall: self.config.clock.now(), steady: self.config.clock.steady() };
        let jitter = self.config.entropy.u32();
        let endpoint = self.endpoints.entry(key).or_default();
        let ended = endpoint.ended(key, delivery, report, now, jitter);
        endpoint.host = host;
        let (health, state) = (endpoint.health, endpoint.state);
        self.share.ended(key, &mut endpoint.standing, ended.occupied.as_millis() as u64);
        if !report.reach.says_something()
            && let Some((_, partner)) = key.endpoint.postback()
            && let Some((_, bucket)) = self.partners.get_mut(&(key.workspace, partner))
        {
            bucket.give_back();
        }
        let (teller, partner) = names(key.endpoint);
        match ended.breaker {
            Some(Change::Opened) => {
                Stats::add(&self.stats.breakers_opened, 1);
                tracing::warn!(
                    endpoint.teller = teller,
                    endpoint.partner = partner,
                    "an endpoint is in trouble: its breaker opened"
                );
            }
            Some(Change::NotAllowed(what)) => tracing::warn!(
                code = what.code(),
                endpoint.teller = teller,
                endpoint.partner = partner,
                switch = what.switch(),
                "the server's own settings do not allow an endpoint's requests; its deliveries wait"
            ),
            Some(Change::Closed) => {
                tracing::info!(
                    endpoint.teller = teller,
                    endpoint.partner = partner,
                    "an endpoint works again: its breaker closed"
                );
            }
            None => {}
        }
        let disable = match (report.reach, ended.health.notice) {
            // What began before it was stopped may still end.
            _ if state.holds() => None,
            (Reach::Gone, _) => Some("gone"),
            (_, Some(Notice::Disabled)) => Some("failing_for_days"),
            _ => None,
        };
        if !ended.health.is_news && disable.is_none() {
            return;
        }
        let notice = match disable {
            Some(_) => Some(Notice::Disabled),
            None => ended.health.notice.filter(|notice| *notice != Notice::Disabled),
        };
        let (workspace, endpoint) = (key.workspace, key.endpoint);
        // Nobody hears it only when stopping; what is not written down is found again at the next failure.
        let _ = self.keeper.send(EndpointNews { workspace, endpoint, health, disable, notice });
        if let Some(reason) = disable {
            let row = EndpointRow {
                workspace,
                endpoint,
                state: State::Disabled,
                reason: reason.to_owned(),
                actor: roundtrip_store::ledger::ACTOR_ENGINE.to_owned(),
                since: now.wall,
                health,
            };
            self.learn(&row, true);
        }
    }

    fn free_host(&mut self, host: &str) {
        self.places.give_back(host);
        // One place became free: the first that still has something to start gets it.
        while let Some(key) = self.host_waiting.get_mut(host).and_then(VecDeque::pop_front) {
            let now = self.read;
            let endpoint = self.endpoint(key);
            endpoint.host_full = false;
            let takes_it = endpoint.ready(None, now).is_ok();
            self.make_ready(key);
            if takes_it {
                break;
            }
        }
        if self.host_waiting.get(host).is_some_and(VecDeque::is_empty) {
            self.host_waiting.remove(host);
        }
    }

    /// Shows how the endpoints with work stand, for whoever asks why something waits.
    fn picture(&self) {
        let held = self.endpoints.values().map(|endpoint| endpoint.in_memory() as u64).sum();
        self.stats.in_memory.store(held, Ordering::Relaxed);
        let now = self.read;
        let wall = |at: Duration| now.wall.plus_ms(at.saturating_sub(now.steady).as_millis() as i64);
        let crowd = match self.has_room() {
            true => Wait::Next,
            false if self.unsettled >= UNSETTLED_MAX => Wait::LedgerBusy,
            false => Wait::TotalFull,
        };
        let with_work = self.endpoints.iter().filter(|(_, e)| !e.is_idle() && !e.state.holds());
        let picture: LivePicture = with_work
            .take(LIVE_MAX)
            .map(|(key, endpoint)| {
                let blocked = endpoint.blocked.filter(|_| !endpoint.standing.is_queued());
                let (wait, wake) = blocked.map_or((crowd, None), |b| (b.wait, b.wake));
                let live = EndpointLive {
                    limit: endpoint.limit(),
                    sending: endpoint.sending().collect(),
                    probe_at: endpoint.probe_at().map(wall),
                    not_allowed: endpoint.not_allowed(),
                    not_before: Some(endpoint.not_before()).filter(|at| *at > now.steady).map(wall),
                    wait,
                    until: wake.map(|wake| match wake {
                        Wake::Due(at) => at,
                        Wake::Steady(at) => wall(at),
                    }),
                    retries_wait: endpoint.retries_wait(now),
                };
                ((key.workspace, key.endpoint), live)
            })
            .collect();
        self.config.ledger.live_put(picture);
    }
}

/// The rate at which a partner is told, if its settings give one.
fn partner_bucket<'a>(
    partners: &'a mut HashMap<(WorkspaceNo, Id<kind::Partner>), (u64, Bucket)>,
    settings: &Settings,
    partner: Id<kind::Partner>,
    version: u64,
) -> Option<&'a mut Bucket> {
    let key = (settings.workspace, partner);
    let known = partners.get(&key).map(|(known, _)| *known);
    if known != Some(version) {
        let rate = settings.partners.get(&partner).and_then(|p| p.rate);
        if known.is_none() && rate.is_none() {
            return None;
        }
        let (known, bucket) = partners.entry(key).or_default();
        *known = version;
        bucket.set(rate);
    }
    partners.get_mut(&key).map(|(_, bucket)| bucket)
}

/// How often the endpoint itself is told, if its settings bound that.
pub(crate) fn rate_of(settings: &Settings, endpoint: Receiver) -> Option<Rate> {
    match endpoint {
        Receiver::Postback { rule, .. } => settings.rule(rule)?.rate,
        Receiver::Webhook(webhook) => settings.webhook(webhook)?.rate,
    }
}

/// How often the partner of an endpoint is told, by all endpoints together, if its settings bound that.
pub(crate) fn partner_rate_of(settings: &Settings, endpoint: Receiver) -> Option<Rate> {
    let (_, partner) = endpoint.postback()?;
    settings.partners.get(&partner)?.rate
}

/// An endpoint in log lines: the rule or webhook, and the partner.
fn names(endpoint: Receiver) -> (String, String) {
    match endpoint {
        Receiver::Postback { rule, partner } => (rule.to_string(), partner.to_string()),
        Receiver::Webhook(webhook) => (webhook.to_string(), String::new()),
    }
}

/// What names a delivery in messages.
pub(crate) type DeliveryId = Id<kind::Delivery>;
