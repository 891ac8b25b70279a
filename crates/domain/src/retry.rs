//! What follows a send: delivered, again at a time, or ended, with a reason.
//!
//! A partner that answers 500 is no error of ours: it is an [`Outcome`], and policy reads it. [`next`] says what
//! follows a send that ended, [`start`] whether one that is due is to be sent at all. Three bounds hold together: the
//! schedule's number of sends, its horizon from the first send on, and the time until which the receiver accepts
//! it. The last send before either end is pulled inside instead of being left out.
//!
//! Not relied on: that sends start when they are due. A delivery that was held, or found its receiver's
//! queue full, is looked at again when it starts.

use crate::endpoint::NotAllowed;
use crate::success::{Otherwise, Said, SuccessPattern};
use crate::time::{Span, Timestamp};

/// Waits between the sends of a postback, in milliseconds: 10 sends over 23 h 42 m 40 s.
pub const POSTBACK_WAITS_MS: &[i64] =
    &[10_000, 30_000, 120_000, 600_000, 1_800_000, 7_200_000, 18_000_000, 25_200_000, 32_400_000];
/// Waits between the sends of a webhook, in milliseconds: 12 sends over 71 h 42 m 35 s, which outlasts a weekend.
pub const WEBHOOK_WAITS_MS: &[i64] = &[
    5_000, 30_000, 120_000, 600_000, 1_800_000, 7_200_000, 18_000_000, 36_000_000, 50_400_000, 64_800_000,
    79_200_000,
];
/// The wait before what the operator's settings do not allow is looked at again, as far as its endpoint's breaker lets it
/// be: short, so that it is sent soon after a start with other settings.
pub const NOT_ALLOWED_WAIT: Span = Span::from_seconds(30);
/// The longest wait that a receiver can ask for with `Retry-After`.
pub const RETRY_AFTER_MAX_MS: i64 = 86_400_000;
/// Most waits of a schedule that somebody sets.
pub const WAITS_MAX: usize = 50;
/// The shortest wait of one.
pub const WAIT_MIN: Span = Span::from_seconds(1);
/// The most that its waits add up to, and its longest horizon.
pub const WAITS_SUM_MAX: Span = Span::from_days(30);
/// The shortest and the longest time that a send may take.
pub const TIMEOUTS: std::ops::RangeInclusive<Span> = Span::from_seconds(1)..=Span::from_seconds(30);
/// The shortest acceptance window: below it no second send would fit.
pub const ACCEPTANCE_MIN: Span = Span::from_hours(1);
/// How long before the end of an acceptance window the last send is due, beside the time that it may take: for clocks
/// that differ and queues on the way.
pub const ACCEPTANCE_MARGIN: Span = Span::from_ms(600_000);
/// The header by which a receiver says that it does not want to be sent this again: `x-roundtrip-abort: true`.
pub const ABORT_HEADER: &str = "x-roundtrip-abort";

/// The reason of what is not sent because its receiver would refuse it by now.
pub const OUTSIDE_ACCEPTANCE: &str = "outside_acceptance_window";
/// The reason of what was not delivered within its policy's horizon.
pub const HORIZON_REACHED: &str = "horizon_reached";
/// What a 2xx comes to whose body says that it was not taken.
pub const BODY_REFUSED: &str = "body_refused";
/// What a 2xx comes to whose body broke off before it said whether it was taken.
pub const BODY_CUT_SHORT: &str = "body_cut_short";

/// What a delivery's receiver is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Receiver {
    /// A partner's postback URL: what it refuses it refuses for good.
    Postback,
    /// A subscriber's endpoint: 401, 403 and 404 are common while it is deployed.
    Webhook,
}

impl Receiver {
    /// How long a send to it may take, unless somebody says otherwise.
    pub const fn timeout(self) -> Span {
        match self {
            Self::Postback => Span::from_seconds(10),
            Self::Webhook => Span::from_seconds(15),
        }
    }
}

/// How a rule's or webhook's deliveries are sent, as far as its owner said. What is not said has the default.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Retry {
    /// The wait after the first, second, … send.
    pub waits: Option<Vec<Span>>,
    /// Nothing is sent later than this after the first send.
    pub horizon: Option<Span>,
    /// Statuses that are retried beside the usual ones; postbacks only.
    pub on: Vec<u16>,
    /// How long a send may take.
    pub timeout: Option<Span>,
    /// What the body of a 2xx must say.
    pub success: SuccessPattern,
}

impl Retry {
    /// What holds, where `default` holds for what is not said.
    pub fn policy(&self, default: &Policy) -> Policy {
        Policy {
            receiver: default.receiver,
            waits: self.waits.clone().unwrap_or_else(|| default.waits.clone()),
            horizon: self.horizon.or(default.horizon),
            on: if self.on.is_empty() { default.on.clone() } else { self.on.clone() },
            timeout: self.timeout.unwrap_or(default.timeout),
            success: if self.success.asks() { self.success.clone() } else { default.success.clone() },
        }
    }
}

/// When to send again, and until when.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Policy {
    /// To what kind of receiver.
    pub receiver: Receiver,
    /// The wait after the first, second, … send. One more send than waits.
    pub waits: Vec<Span>,
    /// Nothing is sent later than this after the first send.
    pub horizon: Option<Span>,
    /// Statuses that are retried beside the usual ones; postbacks only.
    pub on: Vec<u16>,
    /// How long a send may take, from the call to the last kept byte.
    pub timeout: Span,
    /// What the body of a 2xx must say.
    pub success: SuccessPattern,
}

impl Policy {
    fn of(receiver: Receiver, waits_ms: &[i64]) -> Self {
        Self {
            receiver,
            waits: waits_ms.iter().copied().map(Span::from_ms).collect(),
            horizon: None,
            on: Vec::new(),
            timeout: receiver.timeout(),
            success: SuccessPattern::default(),
        }
    }

    /// The default for postbacks.
    pub fn postback() -> Self {
        Self::of(Receiver::Postback, POSTBACK_WAITS_MS)
    }

    /// The default for webhooks.
    pub fn webhook() -> Self {
        Self::of(Receiver::Webhook, WEBHOOK_WAITS_MS)
    }

    /// The latest time at which a send may be due, that much before the end of the horizon as it may start late.
    fn last_by_horizon(&self, first_at: Timestamp) -> Option<Timestamp> {
        let horizon = self.horizon?.ms();
        Some(first_at.plus_ms(horizon - (horizon / 10).min(ACCEPTANCE_MARGIN.ms())))
    }
}

/// What a send came to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// The receiver answered.
    Answered {
        /// HTTP status.
        status: u16,
        /// How long it asked us to wait, in milliseconds.
        retry_after_ms: Option<i64>,
        /// What the body said, by the policy's pattern; asked of 2xx only.
        said: Said,
        /// Whether it asked not to be sent this again, by [`ABORT_HEADER`].
        abort: bool,
    },
    /// Network trouble; a stable code such as `timeout`.
    Trouble(&'static str),
    /// We would not send it, whatever the settings; a stable code such as `bad_url`.
    Refused(&'static str),
    /// The operator's settings do not allow it. Nothing was sent.
    NotAllowed(NotAllowed),
}

impl Outcome {
    /// The stable word: `http_503`, `body_refused`, or the code.
    pub fn code(&self) -> String {
        match self {
            Self::Answered { status: 200..=299, said: Said::Refused, .. } => BODY_REFUSED.to_owned(),
            Self::Answered { status: 200..=299, said: Said::CutShort, .. } => BODY_CUT_SHORT.to_owned(),
            Self::Answered { status, .. } => format!("http_{status}"),
            Self::Trouble(code) | Self::Refused(code) => (*code).to_owned(),
            Self::NotAllowed(what) => what.code().to_owned(),
        }
    }

    /// How long the receiver asked to be left in peace, in milliseconds.
    pub const fn asked_ms(&self) -> Option<i64> {
        match self {
            Self::Answered { retry_after_ms, .. } => *retry_after_ms,
            Self::Trouble(_) | Self::Refused(_) | Self::NotAllowed(_) => None,
        }
    }

    /// Whether it tells of an endpoint in trouble: network errors, 429 and 5xx.
    pub fn is_trouble(&self) -> bool {
        match self {
            Self::Answered { status: 200..=299, said, .. } => *said == Said::CutShort,
            Self::Answered { status, .. } => *status == 429 || *status >= 500,
            Self::Trouble(_) => true,
            Self::Refused(_) | Self::NotAllowed(_) => false,
        }
    }
}

/// What becomes of a delivery that its receiver would refuse by now.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
pub enum Late {
    /// It expires.
    #[default]
    Expire,
    /// It is sent once more, and expires if that fails.
    TryOnce,
}

/// Until when its receiver accepts a delivery.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Deadline {
    /// The end of the acceptance window.
    pub at: Timestamp,
    /// What follows after it.
    pub late: Late,
}

/// A send that ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sent {
    /// Its number; 1 is the first.
    pub n: u32,
    /// When the first send of the delivery began.
    pub first_at: Timestamp,
    /// When this one began.
    pub at: Timestamp,
    /// When it ended.
    pub ended_at: Timestamp,
}

/// What follows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// The receiver has it.
    Delivered,
    /// Send again.
    Again {
        /// Not before.
        due: Timestamp,
        /// Why it was not delivered: the outcome's code.
        reason: String,
        /// Whether it is due earlier than the schedule or the receiver says, because it is the last that fits.
        is_pulled_in: bool,
    },
    /// Nothing was sent, because the operator's settings do not allow it, and no send of the schedule is used up: look
    /// at it again.
    Hold {
        /// Not before.
        due: Timestamp,
        /// What is not allowed.
        what: NotAllowed,
    },
    /// Given up; listed and replayable.
    Dead {
        /// Stable reason: `refused_by_receiver`, `attempts_exhausted`, `redirect`, `body_refused`,
        /// `aborted_by_receiver`, `horizon_reached`, or why we would not send.
        reason: &'static str,
    },
    /// The time in which its receiver accepts it is over.
    Expired {
        /// Stable reason: `outside_acceptance_window`.
        reason: &'static str,
    },
    /// A webhook's receiver is gone (410): it is disabled, and holds this and what follows.
    Disable,
}

/// What to do with a delivery that is due.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Start {
    /// Send it.
    Send,
    /// It ends without this send, as [`Verdict::Dead`] would.
    Dead {
        /// Stable reason.
        reason: &'static str,
    },
    /// It ends without this send, as [`Verdict::Expired`] would.
    Expired {
        /// Stable reason.
        reason: &'static str,
    },
}

/// A share of the additive jitter, in thousandths: 0–250 is 0–25 %.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Jitter(u16);

impl Jitter {
    /// From random bits.
    pub const fn from_entropy(bits: u32) -> Self {
        Self((bits % 251) as u16)
    }
}

/// What an outcome asks for, times and bounds aside.
enum Asked {
    Delivered,
    Again { at_least_ms: i64 },
    Hold(NotAllowed),
    Dead(&'static str),
    Disable,
}

/// Whether a delivery that is due is sent now. `first_at` is when its first send began, if there was one.
pub fn start(
    policy: &Policy,
    first_at: Option<Timestamp>,
    deadline: Option<Deadline>,
    now: Timestamp,
) -> Start {
    if deadline.is_some_and(|deadline| deadline.late == Late::Expire && now >= deadline.at) {
        return Start::Expired { reason: OUTSIDE_ACCEPTANCE };
    }
    let is_over =
        first_at.zip(policy.horizon).is_some_and(|(first, horizon)| now > first.plus_ms(horizon.ms()));
    if is_over { Start::Dead { reason: HORIZON_REACHED } } else { Start::Send }
}

/// Decides what follows a send.
pub fn next(
    policy: &Policy,
    sent: Sent,
    deadline: Option<Deadline>,
    outcome: &Outcome,
    jitter: Jitter,
) -> Verdict {
    let now = sent.ended_at;
    // What began after the window was the one that is tried late: whatever it came to, it is not sent again.
    let is_late = deadline.is_some_and(|deadline| sent.at >= deadline.at);
    let mut held = None;
    let asked_ms = match asked(policy, outcome) {
        Asked::Delivered => return Verdict::Delivered,
        Asked::Disable => return Verdict::Disable,
        Asked::Dead(reason) if !is_late || matches!(outcome, Outcome::Refused(_)) => {
            return Verdict::Dead { reason };
        }
        Asked::Dead(_) => return Verdict::Expired { reason: OUTSIDE_ACCEPTANCE },
        Asked::Again { at_least_ms } => at_least_ms,
        Asked::Hold(what) => {
            held = Some(what);
            0
        }
    };
    if is_late {
        return Verdict::Expired { reason: OUTSIDE_ACCEPTANCE };
    }
    let scheduled = || sent.n.checked_sub(1).and_then(|i| policy.waits.get(i as usize)).copied();
    let Some(wait) = held.map_or_else(scheduled, |_| Some(NOT_ALLOWED_WAIT)) else {
        return Verdict::Dead { reason: "attempts_exhausted" };
    };
    let wait_ms = wait.ms() + (i128::from(wait.ms()) * i128::from(jitter.0) / 1000) as i64;
    let wanted = now.plus_ms(wait_ms.max(asked_ms.clamp(0, RETRY_AFTER_MAX_MS)));
    let soonest = now.plus_ms(WAIT_MIN.ms());
    let mut due = wanted;
    let horizon = policy.last_by_horizon(sent.first_at);
    if let Some(last) = horizon {
        if soonest > last {
            return Verdict::Dead { reason: HORIZON_REACHED };
        }
        due = due.min(last);
    }
    if let Some(Deadline { at, late }) = deadline {
        let last = at.plus_ms(-policy.timeout.ms() - ACCEPTANCE_MARGIN.ms());
        if due > last && soonest <= last {
            due = last;
        } else if due > last {
            due = due.max(at);
            if late == Late::Expire || horizon.is_some_and(|last| due > last) {
                return Verdict::Expired { reason: OUTSIDE_ACCEPTANCE };
            }
        }
    }
    match held {
        Some(what) => Verdict::Hold { due, what },
        None => Verdict::Again { due, reason: outcome.code(), is_pulled_in: due < wanted },
    }
}

fn asked(policy: &Policy, outcome: &Outcome) -> Asked {
    let (status, retry_after_ms, said, abort) = match outcome {
        Outcome::Trouble(_) => return Asked::Again { at_least_ms: 0 },
        Outcome::Refused(code) => return Asked::Dead(code),
        Outcome::NotAllowed(what) => return Asked::Hold(*what),
        Outcome::Answered { status, retry_after_ms, said, abort } => {
            (*status, *retry_after_ms, *said, *abort)
        }
    };
    let again = Asked::Again { at_least_ms: retry_after_ms.unwrap_or(0) };
    if let 200..=299 = status {
        return match said {
            Said::Accepted => Asked::Delivered,
            _ if abort => Asked::Dead("aborted_by_receiver"),
            Said::CutShort => again,
            Said::Refused if policy.success.otherwise == Otherwise::Retry => again,
            Said::Refused => Asked::Dead(BODY_REFUSED),
        };
    }
    match (policy.receiver, status) {
        (Receiver::Webhook, 410) => Asked::Disable,
        _ if abort => Asked::Dead("aborted_by_receiver"),
        (Receiver::Webhook, _) => again,
        (Receiver::Postback, status) if is_retried(status) || policy.on.contains(&status) => again,
        (Receiver::Postback, 300..=399) => Asked::Dead("redirect"),
        (Receiver::Postback, _) => Asked::Dead("refused_by_receiver"),
    }
}

/// Whether every postback is sent again after an answer of that status: 408, 425, 429 and 5xx.
pub const fn is_retried(status: u16) -> bool {
    matches!(status, 408 | 425 | 429 | 500..=599)
}

/// Whether it is news that a delivery may not arrive before its receiver stops accepting it: it is sent again at
/// `again`, in the last quarter of its window, and its send number `n` was due at `due`, before that. So it is said
/// once; a delivery whose first send is that late already is spoken of after it.
pub fn is_running_out(window: Span, ends_at: Timestamp, n: u32, due: Timestamp, again: Timestamp) -> bool {
    let last_quarter = ends_at.plus_ms(-window.ms() / 4);
    again >= last_quarter && (n <= 1 || due < last_quarter)
}

#[cfg(test)]
mod tests;
