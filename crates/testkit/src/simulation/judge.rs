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
use roundtrip_store::ledger::Database;
use tokio::time::Instant;

use super::process::Process;
use super::receivers::{Answer, Outgoing};
use super::time::{Time, Trace, lock};

/// Most sends under way: towards one endpoint, one host, and in all.
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
    /// The longest time for which an endpoint that was in trouble is not asked whether it is well again.
    pub rest: Duration,
}

/// How long after a change on the disk a send may begin that was loaded before it.
const LOADED: Duration = Duration::from_secs(2);

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

#[derive(Debug, Default)]
struct State {
    seen: BTreeMap<Id<kind::Delivery>, Vec<Seen>>,
    /// Sends under way, by process.
    under_way: BTreeMap<u32, Vec<(Send, usize, String)>>,
    /// Sends that ended, by process and endpoint.
    ends: BTreeMap<(u32, usize), u32>,
    wrongs: Vec<String>,
    tally: Tally,
    /// When there were last two processes that live.
    open: Option<Instant>,
    is_open: bool,
    /// Events that somebody wished to be rejected.
    rejected: BTreeSet<Id<kind::Event>>,
    /// When one of them was last decided.
    cancelled: Option<Instant>,
}

/// The judge. Clones are the same one.
#[derive(Debug, Clone)]
pub(super) struct Judge {
    state: Arc<Mutex<State>>,
    database: Database,
    bounds: Bounds,
    sends_max: u32,
    time: Time,
    trace: Trace,
}

impl Judge {
    pub(super) fn new(database: Database, bounds: Bounds, sends_max: u32, time: Time, trace: Trace) -> Self {
        Self { state: Arc::default(), database, bounds, sends_max, time, trace }
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
        let wrongs = self.judge(process, &send, endpoint, &request.origin);
        wrongs.into_iter().for_each(|wrong| self.wrong(format!("{send} to e{endpoint}: {wrong}")));
        let mut state = lock(&self.state);
        state.tally.sends += 1;
        state.under_way.entry(send.process).or_default().push((send, endpoint, request.origin.clone()));
        state.seen.entry(delivery).or_default().push(Seen { send, endpoint, answer: None });
        Begun { judge: self.clone(), send, endpoint, process: process.clone() }
    }

    fn judge(&self, process: &Process, send: &Send, endpoint: usize, origin: &str) -> Vec<String> {
        let is_restarted = process.has_panicked();
        let mut wrongs = Vec::new();
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
            "cancelled" if state.cancelled.is_some_and(|at| at.elapsed() < LOADED) => {}
            _ if is_open => state.tally.in_the_open += 1,
            ended => wrongs.push(format!("it is {ended} ({})", standing.reason)),
        }
        if send.n > self.sends_max {
            wrongs.push(format!("the policy is {} sends", self.sends_max));
        }
        let before = state.seen.get(&send.delivery).map_or(&[][..], Vec::as_slice);
        let is_repeat = before.iter().any(|seen| seen.send.n == send.n && seen.send.process != send.process);
        let is_again = before.iter().any(|seen| seen.send == *send);
        if is_again && !is_restarted {
            wrongs.push("the same process sent it with this number before".into());
        }
        state.tally.repeated += u64::from(is_repeat);

        let under_way = state.under_way.get(&send.process).map_or(&[][..], Vec::as_slice);
        if under_way.iter().any(|(other, ..)| other.delivery == send.delivery) && !is_restarted {
            wrongs.push("it is under way already".into());
        }
        let ends = state.ends.get(&(send.process, endpoint)).copied().unwrap_or(0);
        let of = |same: &dyn Fn(usize, &str) -> bool| {
            under_way.iter().filter(|(_, endpoint, origin)| same(*endpoint, origin)).count() as u32
        };
        // What is taken and then not sent, because it was cancelled or the disk refused, ends too, and is not seen here.
        let is_seen = !process.was_refused() && state.rejected.is_empty();
        let learnt = match is_seen {
            true => self.bounds.endpoint_at_first.saturating_add(ends).min(self.bounds.endpoint),
            false => self.bounds.endpoint,
        };
        for (whose, there, bound) in [
            ("the endpoint", of(&|e, _| e == endpoint), learnt),
            ("the host", of(&|_, o| o == origin), self.bounds.host),
            ("everybody", under_way.len() as u32, self.bounds.total),
        ] {
            if there >= bound && !is_restarted {
                wrongs.push(format!("{there} are under way towards {whose}, at most {bound} may be"));
            }
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
            && let Some(at) = under_way.iter().position(|(send, ..)| *send == self.send)
        {
            under_way.swap_remove(at);
        }
        *state.ends.entry((self.process.number, self.endpoint)).or_default() += 1;
    }
}
