//! What the engine shows of its endpoints while it runs, for whoever answers "why is this waiting now".
//!
//! A shared cell: the engine puts a picture into it from time to time, and readers take the last one. Nothing is
//! decided by it, and after a start it is empty until the engine has looked around.

use std::collections::BTreeMap;
use std::sync::Arc;

use roundtrip_domain::endpoint::{Endpoint, NotAllowed, State, Wait};
use roundtrip_domain::id::{Id, WorkspaceNo, kind};
use roundtrip_domain::time::Timestamp;

use super::{EndpointRow, Ledger};

/// Most endpoints in the picture.
pub const LIVE_MAX: usize = 20_000;

/// What the engine knows of an endpoint with work.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EndpointLive {
    /// Most sends at a time, now.
    pub limit: u32,
    /// Deliveries being sent.
    pub sending: Vec<Id<kind::Delivery>>,
    /// While its breaker is open: when the next probe may start.
    pub probe_at: Option<Timestamp>,
    /// What the operator's settings do not allow of its requests, if that is why its breaker is open.
    pub not_allowed: Option<NotAllowed>,
    /// Before when nothing is sent, because the receiver asked for a rest.
    pub not_before: Option<Timestamp>,
    /// What keeps its next due delivery from being sent.
    pub wait: Wait,
    /// Until when, if that is known.
    pub until: Option<Timestamp>,
    /// Whether retries let first attempts go before.
    pub retries_wait: bool,
}

/// The picture: endpoints with work.
pub type LivePicture = BTreeMap<(WorkspaceNo, Endpoint), EndpointLive>;

impl EndpointLive {
    /// Why its receiver is left in peace whatever waits for it, and until when: its breaker is open, the operator's
    /// settings do not allow its requests, or it asked for a rest. `None` when it takes something.
    pub fn takes_nothing(&self, now: Timestamp) -> Option<Why> {
        if let Some(at) = self.probe_at {
            let wait = self.not_allowed.map_or(Wait::BreakerOpen, Wait::NotAllowed);
            return Some(Why { wait, until: Some(at) });
        }
        let until = self.not_before.filter(|at| *at > now)?;
        Some(Why { wait: Wait::RetryAfter, until: Some(until) })
    }
}

/// Why a job plans nothing at the moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct JobWait {
    /// The reason and, as far as is known, until when. `RateLimited` is the rate that its owner set, or a quarter of what
    /// its endpoints or their partners may be told; `ConcurrencyFull` a quarter of what the endpoint is given at a time.
    pub why: Why,
    /// The endpoint that it waits for; `None` when it waits for its own rate.
    pub endpoint: Option<Endpoint>,
}

/// The jobs that wait.
pub type JobWaits = BTreeMap<(WorkspaceNo, Id<kind::Job>), JobWait>;

/// Why a delivery waits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Why {
    /// The reason.
    pub wait: Wait,
    /// Until when, as far as is known.
    pub until: Option<Timestamp>,
}

/// What is asked of a delivery that waits.
#[derive(Debug, Clone, Copy)]
pub struct WhyAsked {
    /// Which.
    pub delivery: Id<kind::Delivery>,
    /// When it is due.
    pub due: Timestamp,
    /// Sends so far.
    pub sends: u32,
    /// Whether its rule delays it.
    pub is_delayed: bool,
}

/// Why a delivery waits now: what stops its endpoint for good goes first, then what the operator's settings do not allow,
/// then when it is due, then what the engine last saw.
pub fn why(asked: WhyAsked, held: Option<&EndpointRow>, live: Option<&EndpointLive>, now: Timestamp) -> Why {
    let because = |wait, until| Why { wait, until };
    match held.map(|row| row.state) {
        Some(State::Paused) => return because(Wait::Paused, None),
        Some(State::Disabled) => return because(Wait::Disabled, None),
        Some(State::Active) | None => {}
    }
    if live.is_some_and(|live| live.sending.contains(&asked.delivery)) {
        return because(Wait::Sending, None);
    }
    // What is not allowed is due again in a moment, and still is not allowed then.
    if let Some((what, live)) = live.and_then(|live| Some((live.not_allowed?, live)))
        && !asked.is_delayed
    {
        return because(Wait::NotAllowed(what), live.probe_at.map(|at| at.max(asked.due)));
    }
    if asked.due > now {
        let wait = if asked.is_delayed { Wait::Delayed } else { Wait::DueAt };
        return because(wait, Some(asked.due));
    }
    match live {
        Some(live) if live.wait == Wait::Next && asked.sends > 0 && live.retries_wait => {
            because(Wait::RetryBudget, None)
        }
        Some(live) => because(live.wait, live.until),
        None => because(Wait::Next, None),
    }
}

impl Ledger {
    /// Shows a new picture of the endpoints.
    pub fn live_put(&self, picture: LivePicture) {
        self.inner.live.store(Arc::new(picture));
    }

    /// Shows which jobs wait, and why.
    pub fn job_waits_put(&self, waits: JobWaits) {
        self.inner.job_waits.store(Arc::new(waits));
    }

    /// Why a job plans nothing at the moment, as the engine saw it last; `None` when it goes on, is over or paused.
    pub fn job_wait(&self, ws: WorkspaceNo, id: Id<kind::Job>) -> Option<JobWait> {
        self.inner.job_waits.load().get(&(ws, id)).copied()
    }

    /// The last picture of the endpoints.
    pub fn live(&self) -> Arc<LivePicture> {
        self.inner.live.load_full()
    }
}

#[cfg(test)]
mod tests {
    use roundtrip_domain::endpoint::health::Health;

    use super::*;

    #[test]
    fn every_delivery_has_a_reason() {
        let at = Timestamp::from_ms;
        let id = Id::from_bits(9);
        let row = |state| EndpointRow {
            workspace: WorkspaceNo::DEFAULT,
            endpoint: Endpoint::Webhook(Id::from_bits(1)),
            state,
            reason: String::new(),
            actor: String::new(),
            since: at(0),
            health: Health::default(),
        };
        let live = |wait, until, retries_wait| EndpointLive {
            limit: 4,
            sending: vec![Id::from_bits(8)],
            probe_at: None,
            not_allowed: None,
            not_before: None,
            wait,
            until,
            retries_wait,
        };
        let asked = |due, sends| WhyAsked { delivery: id, due: at(due), sends, is_delayed: false };
        let delayed = WhyAsked { is_delayed: true, ..asked(20, 0) };
        let sent = WhyAsked { delivery: Id::from_bits(8), ..asked(20, 0) };
        let broken = live(Wait::BreakerOpen, Some(at(30)), false);
        let refused = EndpointLive {
            probe_at: Some(at(25)),
            not_allowed: Some(NotAllowed::PlainHttp),
            ..live(Wait::DueAt, Some(at(20)), false)
        };
        let plain = Wait::NotAllowed(NotAllowed::PlainHttp);
        let next = live(Wait::Next, None, true);
        let (paused, active) = (row(State::Paused), row(State::Active));
        for (asked, held, live, wait, until) in [
            (asked(5, 0), Some(&paused), Some(&broken), Wait::Paused, None),
            (asked(5, 0), Some(&row(State::Disabled)), None, Wait::Disabled, None),
            (asked(5, 0), Some(&active), Some(&broken), Wait::BreakerOpen, Some(at(30))),
            (asked(20, 1), None, Some(&broken), Wait::DueAt, Some(at(20))),
            (asked(20, 0), None, Some(&refused), plain, Some(at(25))),
            (asked(30, 0), None, Some(&refused), plain, Some(at(30))),
            (delayed, None, Some(&refused), Wait::Delayed, Some(at(20))),
            (delayed, None, None, Wait::Delayed, Some(at(20))),
            (sent, None, Some(&next), Wait::Sending, None),
            (asked(5, 1), None, Some(&next), Wait::RetryBudget, None),
            (asked(5, 0), None, Some(&next), Wait::Next, None),
            (asked(5, 0), None, None, Wait::Next, None),
        ] {
            assert_eq!(why(asked, held, live, at(10)), Why { wait, until }, "{wait:?}");
        }
    }
}
