//! Everybody who is told: endpoints that are well, slow, ill or gone, and what each of them saw.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use roundtrip_domain::webhook::sign;

use super::dice::Dice;
use super::judge::{Judge, Send};
use super::process::Process;
use super::time::{Trace, lock};

/// How an endpoint behaves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Manner {
    /// 200 within 200 ms.
    Well,
    /// 200 after one to eight seconds.
    Slow,
    /// Never answers.
    Hanging,
    /// Refuses the connection.
    Down,
    /// Answers this status.
    Answering(u16),
    /// 429, and asks for so many seconds.
    Asking(u64),
    /// Well or 503, as it happens.
    Flapping,
    /// Has it, but the connection breaks before the answer.
    Breaking,
    /// Has it, but answers later than anybody waits.
    Late,
}

/// What came of a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Answer {
    /// The status, and the seconds of `Retry-After`.
    Status(u16, Option<u64>),
    /// The connection was refused.
    Refused,
    /// The connection broke.
    Reset,
}

/// A request that leaves a process.
#[derive(Debug, Clone)]
pub struct Outgoing {
    /// Scheme, host and port.
    pub origin: String,
    /// Path and query.
    pub path: String,
    /// The printed id of the delivery.
    pub delivery: String,
    /// Which send of it this says it is; 1 is the first.
    pub attempt: u32,
    /// All headers: names in lower case, and values.
    pub headers: Vec<(String, String)>,
    /// The body.
    pub body: Vec<u8>,
}

impl Outgoing {
    /// A header's value; empty when it is not there.
    pub(super) fn header(&self, name: &str) -> &str {
        self.headers.iter().find(|(known, _)| known == name).map_or("", |(_, value)| value)
    }
}

#[derive(Debug)]
struct Receiver {
    manner: Manner,
    /// Ids of the events that it has.
    has: BTreeSet<String>,
    arrivals: u64,
}

/// All endpoints. Clones share them.
#[derive(Debug, Clone)]
pub(super) struct Receivers {
    all: Arc<Mutex<Vec<Receiver>>>,
    dice: Arc<Mutex<Dice>>,
    pub(super) judge: Judge,
    trace: Trace,
}

impl Receivers {
    pub(super) fn new(endpoints: usize, dice: Dice, judge: Judge, trace: Trace) -> Self {
        let all = (0..endpoints)
            .map(|_| Receiver { manner: Manner::Well, has: BTreeSet::new(), arrivals: 0 })
            .collect();
        Self { all: Arc::new(Mutex::new(all)), dice: Arc::new(Mutex::new(dice)), judge, trace }
    }

    pub(super) fn behave(&self, endpoint: usize, manner: Manner) {
        if let Some(receiver) = lock(&self.all).get_mut(endpoint)
            && receiver.manner != manner
        {
            receiver.manner = manner;
            self.trace.say(format_args!("e{endpoint} is {manner:?}"));
        }
    }

    /// Whether an endpoint has an event.
    pub(super) fn has(&self, endpoint: usize, event: &str) -> bool {
        lock(&self.all).get(endpoint).is_some_and(|r| r.has.contains(event))
    }

    /// Requests that arrived anywhere.
    pub(super) fn arrivals(&self) -> u64 {
        lock(&self.all).iter().map(|r| r.arrivals).sum()
    }

    /// What happens to a request now: how long it travels, whether it is taken, and after which more time what is
    /// answered, if anything is.
    fn fare(&self, endpoint: usize) -> Fare {
        let mut dice = lock(&self.dice);
        let manner = lock(&self.all).get(endpoint).map_or(Manner::Down, |r| r.manner);
        let travel = dice.between(1, 80);
        let soon = dice.between(1, 120);
        let (arrives, takes, after, answer) = match manner {
            Manner::Well => (true, true, soon, Some(Answer::Status(200, None))),
            Manner::Slow => (true, true, dice.between(1_000, 8_000), Some(Answer::Status(204, None))),
            Manner::Hanging => (true, false, 0, None),
            Manner::Down => (false, false, 1, Some(Answer::Refused)),
            Manner::Answering(status) => (true, false, soon, Some(Answer::Status(status, None))),
            Manner::Asking(seconds) => (true, false, soon, Some(Answer::Status(429, Some(seconds)))),
            Manner::Flapping if dice.chance(500) => (true, true, soon, Some(Answer::Status(200, None))),
            Manner::Flapping => (true, false, soon, Some(Answer::Status(503, None))),
            Manner::Breaking => (true, true, soon, Some(Answer::Reset)),
            Manner::Late => (true, true, 60_000, Some(Answer::Status(200, None))),
        };
        Fare {
            travel: Duration::from_millis(travel),
            arrives,
            takes,
            after: Duration::from_millis(after),
            answer,
        }
    }

    fn arrive(&self, endpoint: usize, event: &str, send: &Send, takes: bool) {
        if let Some(receiver) = lock(&self.all).get_mut(endpoint) {
            receiver.arrivals += 1;
            if takes {
                receiver.has.insert(event.to_owned());
            }
        }
        let taken = if takes { "has" } else { "saw" };
        self.trace.say(format_args!("e{endpoint} {taken} {event} by {send}"));
    }
}

struct Fare {
    travel: Duration,
    arrives: bool,
    takes: bool,
    after: Duration,
    answer: Option<Answer>,
}

/// The network as one process sees it.
#[derive(Debug, Clone)]
pub struct Line {
    process: Arc<Process>,
    receivers: Receivers,
}

impl Line {
    pub(super) fn new(process: Arc<Process>, receivers: Receivers) -> Self {
        Self { process, receivers }
    }

    /// Carries a request to whom it names. What is on its way arrives also when the caller goes away; the answer
    /// then reaches nobody. Never ends where nothing is answered.
    pub async fn call(&self, request: Outgoing) -> Answer {
        self.process.pass().await;
        let Self { process, receivers } = self;
        let (endpoint, mut event) = address(&request.path);
        if event.is_empty() {
            event = request.header(sign::ID_HEADER).to_owned();
        }
        let begun = receivers.judge.begin(process, endpoint, &request);
        let fare = receivers.fare(endpoint);
        if fare.arrives {
            let (receivers, send, takes, travel) = (receivers.clone(), begun.send(), fare.takes, fare.travel);
            tokio::spawn(async move {
                tokio::time::sleep(travel).await;
                receivers.arrive(endpoint, &event, &send, takes);
            });
        }
        let Some(answer) = fare.answer else { return std::future::pending().await };
        tokio::time::sleep(fare.travel + fare.after).await;
        process.pass().await;
        begun.answered(answer);
        answer
    }
}

/// The endpoint's number, and the event's id in `/e3?e=evt_…`; a webhook's is in a header.
fn address(path: &str) -> (usize, String) {
    let (path, query) = path.split_once('?').unwrap_or((path, ""));
    let endpoint = path.strip_prefix("/e").and_then(|n| n.parse().ok()).unwrap_or(usize::MAX);
    let event = query.split('&').find_map(|pair| pair.strip_prefix("e=")).unwrap_or_default();
    (endpoint, event.to_owned())
}
