//! Judges every send at the moment it begins, by what is on the disk then, and keeps the count.
//!
//! The disk is asked directly, not through the code that decided to send: what is checked is that whoever sends knows
//! what was made durable.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::str::FromStr as _;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use roundtrip_domain::id::{Id, WorkspaceNo, kind};
use roundtrip_domain::webhook::sign::{self, Signing};
use roundtrip_store::ledger::Database;
use tokio::time::Instant;

use super::process::Process;
use super::receivers::{Answer, Outgoing};
use super::time::{Time, Trace, lock};

/// What a worker promises: most sends under way, most in memory, longest rest.
#[derive(Debug, Clone, Copy)]
pub struct Bounds {
    /// Towards an endpoint of which nothing is known yet.
    pub endpoint_at_first: u32,
    /// Towards an endpoint.
    pub endpoint: u32,
    /// Towards a scheme, host and port.
    pub host: u32,
    /// In all.
    pub total: u32,
    /// Waiting deliveries of an endpoint that memory holds.
    pub window: u64,
    /// The longest time for which an endpoint that was in trouble is not asked whether it is well again.
    pub rest: Duration,
}

/// How long after a change on the disk a send may begin that was loaded before it.
const LOADED: Duration = Duration::from_secs(2);
/// The answer of a receiver that is gone for good.
const GONE: u16 = 410;

/// One send.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Send {
    pub(super) process: u32,
    pub(super) delivery: Id<kind::Delivery>,
    pub(super) n: u32,
}

impl fmt::Display for Send {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { process, delivery, n } = self;
        write!(f, "p{process} {delivery} #{n}")
    }
}

/// A send that was judged, and what was told of it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Seen {
    pub(super) send: Send,
    pub(super) endpoint: usize,
    /// What the process was told; `None` while nothing was, and when nothing ever is.
    pub(super) answer: Option<Answer>,
}

/// What a world came to, in numbers.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Tally {
    /// Sends begun.
    pub sends: u64,
    /// Of these, such that an earlier process had begun with the same number, and whose end it did not store.
    pub repeated: u64,
    /// Sends of what another live process had settled: only while there are two.
    pub in_the_open: u64,
    /// Processes that were started.
    pub starts: u64,
    /// Deliveries that were planned.
    pub planned: u64,
    /// Of these, such that were delivered.
    pub delivered: u64,
}

/// A send that has begun.
#[derive(Debug)]
struct UnderWay {
    send: Send,
    endpoint: usize,
    origin: String,
    began: Instant,
}

/// A process let an endpoint go on that it had stopped.
#[derive(Debug, Clone, Copy)]
struct Released {
    at: Instant,
    /// Sends of it that had ended by then.
    ends: u32,
}

#[derive(Debug, Default)]
struct State {
    seen: BTreeMap<Id<kind::Delivery>, Vec<Seen>>,
    /// Sends under way, by process.
    under_way: BTreeMap<u32, Vec<UnderWay>>,
    /// Sends that ended, by process and endpoint.
    ends: BTreeMap<(u32, usize), u32>,
    wrongs: Vec<String>,
    tally: Tally,
    /// When there were last two processes that live.
    open: Option<Instant>,
    is_open: bool,
    /// Events that somebody wished to be rejected.
    rejected: BTreeSet<Id<kind::Event>>,
    /// When one of them was last decided, or a job cancelled something.
    cancelled: Option<Instant>,
    /// Whether a job that cancels is under way.
    is_cancelling: bool,
    /// What signs for the endpoints that are webhooks.
    signings: BTreeMap<usize, Signing>,
    /// What webhooks were sent first under a delivery.
    bodies: BTreeMap<Id<kind::Delivery>, Vec<u8>>,
    /// Until when a send may begin towards an endpoint that was stopped.
    stops: BTreeMap<usize, Instant>,
    /// When a receiver first said to a process that it is gone, since it was let go on last.
    gone: BTreeMap<(u32, usize), Instant>,
    /// By process and endpoint.
    released: BTreeMap<(u32, usize), Released>,
}

/// The judge. Clones are the same one.
#[derive(Debug, Clone)]
pub(super) struct Judge {
    state: Arc<Mutex<State>>,
    database: Database,
    bounds: Bounds,
    /// Most sends of a delivery, by endpoint.
    sends_max: Arc<Vec<u32>>,
    time: Time,
    trace: Trace,
}

impl Judge {
    pub(super) fn new(
        database: Database,
        bounds: Bounds,
        sends_max: Vec<u32>,
        time: Time,
        trace: Trace,
    ) -> Self {
        Self { state: Arc::default(), database, bounds, sends_max: Arc::new(sends_max), time, trace }
    }

    /// Most sends of a delivery to an endpoint. One that a 410 stopped is sent once more when its owner lets the
    /// endpoint go on, which is asked for by hand.
    pub(super) fn sends_max(&self, endpoint: usize, seen: &[Seen]) -> u32 {
        let policy = self.sends_max.get(endpoint).copied().unwrap_or(0);
        let is_gone = |seen: &&Seen| matches!(seen.answer, Some(Answer::Status(GONE, _)));
        let is_webhook = lock(&self.state).signings.contains_key(&endpoint);
        policy + if is_webhook { seen.iter().filter(is_gone).count() as u32 } else { 0 }
    }

    /// An endpoint is a webhook, and signed for so.
    pub(super) fn signs(&self, endpoint: usize, signing: Signing) {
        lock(&self.state).signings.insert(endpoint, signing);
    }

    /// An endpoint is stopped; whoever sends may be late to know for so long.
    pub(super) fn stops(&self, endpoint: usize, grace: Duration) {
        let mut state = lock(&self.state);
        state.stops.insert(endpoint, Instant::now() + grace.max(LOADED));
        state.released.retain(|(_, released), _| *released != endpoint);
    }

    /// An endpoint is to go on.
    pub(super) fn goes_on(&self, endpoint: usize) {
        lock(&self.state).gone.retain(|(_, gone), _| *gone != endpoint);
    }

    /// A process that had stopped an endpoint lets it go on.
    pub(super) fn releases(&self, process: &Process, endpoint: usize) {
        let mut state = lock(&self.state);
        let ends = state.ends.get(&(process.number, endpoint)).copied().unwrap_or(0);
        state.released.insert((process.number, endpoint), Released { at: Instant::now(), ends });
    }

    /// A job that cancels is under way, or is not any more.
    pub(super) fn cancels(&self, is_cancelling: bool) {
        let mut state = lock(&self.state);
        if state.is_cancelling || is_cancelling {
            state.cancelled = Some(Instant::now());
        }
        state.is_cancelling = is_cancelling;
    }

    /// Something is not as it must be.
    pub(super) fn wrong(&self, what: String) {
        self.trace.say(format_args!("WRONG: {what}"));
        lock(&self.state).wrongs.push(what);
    }

    pub(super) fn wrongs(&self) -> Vec<String> {
        lock(&self.state).wrongs.clone()
    }

    pub(super) fn has_found(&self) -> bool {
        !lock(&self.state).wrongs.is_empty()
    }

    pub(super) fn tally(&self, change: impl FnOnce(&mut Tally)) -> Tally {
        let mut state = lock(&self.state);
        change(&mut state.tally);
        state.tally
    }

    /// Whether two processes live.
    pub(super) fn open(&self, is_open: bool) {
        let mut state = lock(&self.state);
        if state.is_open || is_open {
            state.open = Some(Instant::now());
        }
        state.is_open = is_open;
    }

    /// Somebody wishes that this event is rejected: deciding it may cancel deliveries.
    pub(super) fn rejects(&self, event: Id<kind::Event>) {
        lock(&self.state).rejected.insert(event);
    }

    /// These are decided now; what that cancels may have been loaded already.
    pub(super) fn decides(&self, mut events: impl Iterator<Item = Id<kind::Event>>) {
        let mut state = lock(&self.state);
        if events.any(|event| state.rejected.contains(&event)) {
            state.cancelled = Some(Instant::now());
        }
    }

    pub(super) fn seen(&self, delivery: Id<kind::Delivery>) -> Vec<Seen> {
        lock(&self.state).seen.get(&delivery).cloned().unwrap_or_default()
    }

    /// A send begins.
    pub(super) fn begin(&self, process: &Arc<Process>, endpoint: usize, request: &Outgoing) -> Begun {
        let delivery = Id::from_str(&request.delivery).unwrap_or_else(|_| {
            self.wrong(format!("{:?} is no delivery's id", request.delivery));
            Id::from_bits(0)
        });
        let send = Send { process: process.number, delivery, n: request.attempt };
        self.trace.say(format_args!("e{endpoint} is called by {send}"));
        let mut wrongs = self.judge(process, &send, endpoint, &request.origin);
        wrongs.extend(self.judge_webhook(&send, endpoint, request));
        wrongs.into_iter().for_each(|wrong| self.wrong(format!("{send} to e{endpoint}: {wrong}")));
        let mut state = lock(&self.state);
        state.tally.sends += 1;
        let (origin, began) = (request.origin.clone(), Instant::now());
        state.under_way.entry(send.process).or_default().push(UnderWay { send, endpoint, origin, began });
        state.seen.entry(delivery).or_default().push(Seen { send, endpoint, answer: None });
        Begun { judge: self.clone(), send, endpoint, process: process.clone() }
    }

    fn judge(&self, process: &Process, send: &Send, endpoint: usize, origin: &str) -> Vec<String> {
        let is_restarted = process.has_panicked();
        let mut wrongs = Vec::new();
        let sends_max = self.sends_max(endpoint, &self.seen(send.delivery));
        let mut state = lock(&self.state);
        // A loop that was started again beside its own old sends is a second worker, too.
        let is_open = state.is_open || is_restarted || state.open.is_some_and(|at| at.elapsed() < LOADED);
        let standing = match self.database.standing(WorkspaceNo::DEFAULT, send.delivery) {
            Ok(standing) => standing,
            Err(error) => return vec![error.to_string()],
        };
        let now = self.time.now();
        match standing.state.as_str() {
            "scheduled" => {
                if standing.sends + 1 != send.n {
                    match is_open {
                        true => state.tally.in_the_open += 1,
                        false => wrongs.push(format!("{} sends are on the disk", standing.sends)),
                    }
                }
                // What was scheduled by a clock that went back since is not left to wait for it: as far as jumps back
                // explain it, a send before its due time is what is wanted.
                if let Some(due) = standing.due.filter(|due| *due > now)
                    && !is_open
                    && due.since(now) > self.time.went_back_ms()
                {
                    wrongs.push(format!("it is due in {} ms", due.since(now)));
                }
            }
            "cancelled" if state.is_cancelling || state.cancelled.is_some_and(|at| at.elapsed() < LOADED) => {
            }
            _ if is_open => state.tally.in_the_open += 1,
            ended => wrongs.push(format!("it is {ended} ({})", standing.reason)),
        }
        if send.n > sends_max {
            wrongs.push(format!("the policy is {sends_max} sends"));
        }
        // Of two that live, one does not hear what the other is told.
        if standing.is_stopped
            && !process.was_beside()
            && state.stops.get(&endpoint).is_none_or(|until| *until < Instant::now())
            // What was loaded when the receiver said that it is gone may still begin.
            && state.gone.get(&(send.process, endpoint)).is_none_or(|at| at.elapsed() > LOADED)
        {
            wrongs.push("its endpoint is stopped".into());
        }
        let before = state.seen.get(&send.delivery).map_or(&[][..], Vec::as_slice);
        let is_repeat = before.iter().any(|seen| seen.send.n == send.n && seen.send.process != send.process);
        let is_again = before.iter().any(|seen| seen.send == *send);
        if is_again && !is_restarted {
            wrongs.push("the same process sent it with this number before".into());
        }
        state.tally.repeated += u64::from(is_repeat);

        let under_way = state.under_way.get(&send.process).map_or(&[][..], Vec::as_slice);
        if under_way.iter().any(|other| other.send.delivery == send.delivery) && !is_restarted {
            wrongs.push("it is under way already".into());
        }
        let ends = state.ends.get(&(send.process, endpoint)).copied().unwrap_or(0);
        let of = |is: &dyn Fn(&UnderWay) -> bool| under_way.iter().filter(|other| is(other)).count() as u32;
        // Only what a receiver took lets it be sent more at a time, and one end one more.
        let learnt = self.bounds.endpoint_at_first.saturating_add(ends).min(self.bounds.endpoint);
        // Let go on, it starts with one at a time.
        let released = state.released.get(&(send.process, endpoint));
        let ramp = released.map_or(u32::MAX, |released| 1 + ends - released.ends);
        let since = |other: &UnderWay| released.is_some_and(|released| other.began >= released.at);
        for (whose, there, bound) in [
            ("the endpoint", of(&|other| other.endpoint == endpoint), learnt),
            ("the endpoint that goes on", of(&|other| other.endpoint == endpoint && since(other)), ramp),
            ("the host", of(&|other| other.origin == origin), self.bounds.host),
            ("everybody", under_way.len() as u32, self.bounds.total),
        ] {
            if there >= bound && !is_restarted {
                wrongs.push(format!("{there} are under way towards {whose}, at most {bound} may be"));
            }
        }
        wrongs
    }

    /// A webhook is signed for this moment, under the fact's id, and every send of a delivery says the same.
    fn judge_webhook(&self, send: &Send, endpoint: usize, request: &Outgoing) -> Vec<String> {
        let mut wrongs = Vec::new();
        let mut state = lock(&self.state);
        let Some(signing) = state.signings.get(&endpoint) else { return wrongs };
        let now = self.time.now();
        let headers = sign::headers(signing, request.header(sign::ID_HEADER), now, &request.body);
        for (name, value) in headers {
            if request.header(&name) != value {
                wrongs.push(format!("{name} is {:?}", request.header(&name)));
            }
        }
        let first = state.bodies.entry(send.delivery).or_insert_with(|| request.body.clone());
        if *first != request.body {
            wrongs.push("its body is another one than before".into());
        }
        wrongs
    }
}

/// A send that began.
#[derive(Debug)]
pub(super) struct Begun {
    judge: Judge,
    send: Send,
    endpoint: usize,
    process: Arc<Process>,
}

impl Begun {
    pub(super) fn send(&self) -> Send {
        self.send
    }

    /// The process is told this.
    pub(super) fn answered(&self, answer: Answer) {
        self.judge.trace.say(format_args!("{} is told {answer:?}", self.send));
        let mut state = lock(&self.judge.state);
        if matches!(answer, Answer::Status(GONE, _)) {
            state.gone.entry((self.send.process, self.endpoint)).or_insert_with(Instant::now);
        }
        let seen = state.seen.get_mut(&self.send.delivery).into_iter().flatten();
        if let Some(seen) = seen.rev().find(|seen| seen.send == self.send) {
            seen.answer = Some(answer);
        }
    }
}

impl Drop for Begun {
    fn drop(&mut self) {
        let mut state = lock(&self.judge.state);
        if let Some(under_way) = state.under_way.get_mut(&self.process.number)
            && let Some(at) = under_way.iter().position(|other| other.send == self.send)
        {
            under_way.swap_remove(at);
        }
        *state.ends.entry((self.process.number, self.endpoint)).or_default() += 1;
    }
}
