//! From due deliveries to settled ones.
//!
//! The cast: one coordinator (this file) owns the endpoints and decides what to start; each `send` is a task
//! of its own that renders, calls and reports; one settler writes the ends of sends in groups and never
//! makes the coordinator wait for a commit. An `endpoint` is a rule and the partner that it tells: it has
//! its own window of due deliveries and its own concurrency, so that a slow one holds up nobody else.
//!
//! At least once: no claim is written. What is being sent is known in memory only; after a crash it is sent
//! again, with the same event id. A delivery leaves the coordinator's books only after its settlement is
//! durable. The hand-over from commits is a shortcut: a sweep of the queue's table, every few seconds,
//! finds what was not handed over, and counts it.

mod endpoint;
mod evidence;
mod hook;
mod places;
mod send;
mod settle;

use std::collections::{BTreeSet, HashMap, VecDeque};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use roundtrip_domain::endpoint::Endpoint as Receiver;
use roundtrip_domain::id::Id;
use roundtrip_domain::id::kind;
use roundtrip_domain::postback::Stored;
use roundtrip_domain::time::Timestamp;
use roundtrip_store::ledger::Due;
use tokio::sync::mpsc;

use self::endpoint::{Endpoint, Key};
use self::places::Places;
use self::settle::Done;
use crate::supervise::Shared;
use crate::{Config, Stats};

/// Most sends under way, all endpoints together.
const IN_FLIGHT_MAX: usize = 1_024;
/// Most ends of sends that wait for their commit. Beyond this nothing new is begun: the ledger is ill.
const UNSETTLED_MAX: usize = 4_096;
/// How often the queue's table is looked at.
const SWEEP: Duration = Duration::from_secs(5);
/// How long what is under way may take when stopping: a send's own deadline and a margin.
const DRAIN: Duration = Duration::from_secs(12);
/// Deliveries read from an endpoint's queue at once; also the most that it holds in memory.
pub(crate) const WINDOW: usize = 64;

/// What tasks tell the coordinator.
enum Message {
    /// A send ended; its settlement is on its way.
    Ended {
        /// The endpoint.
        key: Key,
        /// The hosts at which it has a place.
        places: Vec<String>,
        /// The host that was called; empty when it says nothing about the endpoint's next send.
        host: String,
        /// Whether the endpoint is in trouble.
        is_trouble: bool,
    },
    /// Ends of sends are durable.
    Settled(Vec<Done>),
}

struct Coordinator {
    config: Config,
    stats: Arc<Stats>,
    endpoints: HashMap<Key, Endpoint>,
    /// Endpoints that may have something to start now, each at most once.
    ready: VecDeque<Key>,
    /// When the others are to be looked at.
    timers: BTreeSet<(Timestamp, Key)>,
    /// Sends under way by host.
    places: Places,
    /// Endpoints with something due that wait for a place at their host, in their order.
    host_waiting: HashMap<String, VecDeque<Key>>,
    in_flight: usize,
    unsettled: usize,
    /// Whether more was planned than could be handed over: the next sweep has every endpoint read its table.
    reread: bool,
    messages: mpsc::UnboundedSender<Message>,
    settler: mpsc::UnboundedSender<settle::Ended>,
}

/// Delivers until told to stop.
pub async fn run(config: Config, mut shared: Shared) {
    let (messages, mut inbox) = mpsc::unbounded_channel();
    let (settler, ended) = mpsc::unbounded_channel();
    let settling = tokio::spawn(settle::run(config.clone(), shared.clone(), ended, {
        let messages = messages.clone();
        move |done| messages.send(Message::Settled(done)).is_ok()
    }));
    let mut this = Coordinator {
        stats: shared.stats.clone(),
        config,
        endpoints: HashMap::new(),
        ready: VecDeque::new(),
        timers: BTreeSet::new(),
        places: Places::default(),
        host_waiting: HashMap::new(),
        in_flight: 0,
        unsettled: 0,
        reread: false,
        messages,
        settler,
    };
    let mut sweep = tokio::time::interval(SWEEP);
    let mut first = true;
    while !shared.is_stopping() {
        this.take_handed_over();
        this.start_sends().await;
        let wait = this.until_next();
        tokio::select! {
            message = inbox.recv() => {
                if let Some(message) = message { this.hear(message); }
                while let Ok(message) = inbox.try_recv() { this.hear(message); }
            }
            () = this.config.ledger.due_signal() => {}
            () = tokio::time::sleep(wait) => {}
            _ = sweep.tick() => {
                this.sweep(first).await;
                first = false;
            }
            () = shared.stopped() => {}
        }
    }
    let deadline = tokio::time::Instant::now() + DRAIN;
    while this.in_flight + this.unsettled > 0 {
        match tokio::time::timeout_at(deadline, inbox.recv()).await {
            Ok(Some(message)) => this.hear(message),
            Ok(None) | Err(_) => break,
        }
    }
    drop(this);
    // The settler ends when nobody can send to it any more.
    let _ = tokio::time::timeout_at(deadline, settling).await;
}

impl Coordinator {
    fn key(due: &Due) -> Key {
        Key { workspace: due.workspace, endpoint: due.endpoint }
    }

    fn endpoint(&mut self, key: Key) -> &mut Endpoint {
        let config = &self.config;
        self.endpoints.entry(key).or_insert_with(|| Endpoint::at(host_of(config, key)))
    }

    fn take_handed_over(&mut self) {
        self.reread |= self.config.ledger.due_overflowed();
        for due in self.config.ledger.due_take() {
            let key = Self::key(&due);
            self.endpoint(key).push(&due);
            self.make_ready(key);
        }
    }

    fn make_ready(&mut self, key: Key) {
        let endpoint = self.endpoint(key);
        if !endpoint.queued {
            endpoint.queued = true;
            self.ready.push_back(key);
        }
    }

    /// Looks at the queue's table: every endpoint with something due that memory does not know is read again.
    async fn sweep(&mut self, first: bool) {
        let heads = match self.config.ledger.queue_endpoints().await {
            Ok(heads) => heads,
            Err(error) => {
                tracing::warn!(error = %error, "the queue cannot be read");
                return;
            }
        };
        let reread = std::mem::take(&mut self.reread);
        let late = self.config.clock.now().plus_ms(-(SWEEP.as_millis() as i64));
        for head in heads {
            let key = Key { workspace: head.workspace, endpoint: head.endpoint };
            let endpoint = self.endpoint(key);
            if endpoint.is_idle() || reread {
                if !first && !reread && head.due < late {
                    Stats::add(&self.stats.swept, 1);
                }
                self.endpoint(key).more = true;
                self.make_ready(key);
            }
        }
        // An endpoint without work costs nothing but its row here.
        self.endpoints
            .retain(|_, endpoint| endpoint.queued || endpoint.host_full || !endpoint.is_forgettable());
    }

    /// Starts what may start now: endpoints take turns, one delivery each.
    async fn start_sends(&mut self) {
        let now = self.config.clock.now();
        while let Some(at) = self.timers.first().copied().filter(|(at, _)| *at <= now) {
            self.timers.remove(&at);
            if let Some(endpoint) = self.endpoints.get_mut(&at.1) {
                endpoint.timer = None;
            }
            self.make_ready(at.1);
        }
        let mut begin: Vec<(Key, Due)> = Vec::new();
        let mut parked: Vec<Key> = Vec::new();
        while self.in_flight < IN_FLIGHT_MAX && self.unsettled < UNSETTLED_MAX {
            let Some(key) = self.ready.pop_front() else { break };
            if !self.refill(key).await {
                parked.push(key);
                continue;
            }
            let Some(endpoint) = self.endpoints.get_mut(&key) else { continue };
            endpoint.queued = false;
            if !endpoint.can_take(now) {
                if let Some(at) = endpoint.next_due(now) {
                    if let Some(old) = endpoint.timer.replace(at) {
                        self.timers.remove(&(old, key));
                    }
                    self.timers.insert((at, key));
                }
                continue;
            }
            if !self.places.take(&endpoint.host) {
                // The end of a send towards that host makes it ready again.
                if !std::mem::replace(&mut endpoint.host_full, true) {
                    self.host_waiting.entry(endpoint.host.clone()).or_default().push_back(key);
                }
                continue;
            }
            let Some(due) = endpoint.take(key, now) else {
                self.places.give_back(&endpoint.host);
                continue;
            };
            self.in_flight += 1;
            self.unsettled += 1;
            begin.push((key, due));
            self.make_ready(key);
        }
        for key in parked {
            self.ready.push_back(key);
        }
        self.stats.in_flight.store(self.in_flight as u64, Ordering::Relaxed);
        if !begin.is_empty() {
            let ends = send::Ends {
                messages: self.messages.clone(),
                settler: self.settler.clone(),
                places: self.places.clone(),
            };
            send::begin(&self.config, &self.stats, begin, ends, &self.endpoints);
        }
    }

    /// Reads the endpoint's next window when memory has run out. `false` when the ledger cannot answer.
    async fn refill(&mut self, key: Key) -> bool {
        let needs = self.endpoints.get(&key).is_some_and(Endpoint::needs_refill);
        if !needs {
            return true;
        }
        // What is under way still stands in the table; the read must reach beyond it.
        let busy = self.endpoints.get(&key).map_or(0, Endpoint::busy);
        let limit = (WINDOW + busy) as u32;
        match self.config.ledger.queue_window(key.workspace, key.endpoint, limit).await {
            Ok(items) => {
                let is_all = items.len() < limit as usize;
                self.endpoint(key).fill(&items, is_all);
                true
            }
            Err(error) => {
                tracing::warn!(error = %error, "an endpoint's queue cannot be read");
                false
            }
        }
    }

    fn until_next(&self) -> Duration {
        let now = self.config.clock.now();
        let ms = self.timers.first().map_or(1_000, |(at, _)| at.since(now).clamp(0, 1_000));
        Duration::from_millis(ms as u64 + 1)
    }

    fn hear(&mut self, message: Message) {
        match message {
            Message::Ended { key, places, host, is_trouble } => {
                self.in_flight = self.in_flight.saturating_sub(1);
                self.endpoint(key).ended(host, is_trouble);
                places.iter().for_each(|host| self.free_host(host));
                self.make_ready(key);
            }
            Message::Settled(done) => {
                for done in done {
                    self.unsettled = self.unsettled.saturating_sub(1);
                    let endpoint = self.endpoint(done.key);
                    endpoint.settled(done.delivery);
                    if let Some(due) = done.again {
                        endpoint.push(&due);
                    }
                    self.make_ready(done.key);
                }
            }
        }
    }

    fn free_host(&mut self, host: &str) {
        self.places.give_back(host);
        // One place became free: the first that still has something due gets it.
        let now = self.config.clock.now();
        while let Some(key) = self.host_waiting.get_mut(host).and_then(VecDeque::pop_front) {
            let endpoint = self.endpoint(key);
            endpoint.host_full = false;
            let takes_it = endpoint.can_take(now);
            self.make_ready(key);
            if takes_it {
                break;
            }
        }
        if self.host_waiting.get(host).is_some_and(VecDeque::is_empty) {
            self.host_waiting.remove(host);
        }
    }
}

/// Where an endpoint's requests go, as far as its rule and the partner's settings say now: only those may stand
/// in a URL's host. Empty when the rule is gone; then the first send tells. Empty too for a rule that tells the clicks'
/// own callbacks, each of which has its own host.
fn host_of(config: &Config, key: Key) -> String {
    let catalog = config.ledger.catalog();
    let Some(settings) = catalog.workspace(key.workspace) else { return String::new() };
    let (rule, partner) = match key.endpoint {
        Receiver::Postback { rule, partner } => (rule, partner),
        Receiver::Webhook(webhook) => {
            return settings
                .webhook(webhook)
                .map_or_else(String::new, |webhook| send::origin_of(&webhook.url));
        }
    };
    let Some(rule) = settings.rule(rule) else { return String::new() };
    let cfg = settings.partners.get(&partner).map(|p| &p.cfg);
    let Some(template) = rule.request.template() else { return String::new() };
    let rendered = template.url().render(&Stored { values: &[], cfg }, None);
    send::origin_of(&rendered.url)
}

/// What names a delivery in messages.
pub(crate) type DeliveryId = Id<kind::Delivery>;
