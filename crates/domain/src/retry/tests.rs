//! What follows a send, as tables and as laws.

use proptest::prelude::*;

use super::*;
use crate::success::Pattern;

const SECOND: i64 = 1_000;
const HOUR: i64 = 3_600 * SECOND;
/// When the sends of the tables begin; they take no time.
const NOW: i64 = 1_000_000_000;

fn answered(status: u16) -> Outcome {
    Outcome::Answered { status, retry_after_ms: None, said: Said::Accepted, abort: false }
}

fn said(said: Said) -> Outcome {
    Outcome::Answered { status: 200, retry_after_ms: None, said, abort: false }
}

fn asks_to_wait(ms: i64) -> Outcome {
    Outcome::Answered { status: 429, retry_after_ms: Some(ms), said: Said::Accepted, abort: false }
}

fn aborts(status: u16) -> Outcome {
    Outcome::Answered { status, retry_after_ms: None, said: Said::Accepted, abort: true }
}

fn at(ms: i64) -> Timestamp {
    Timestamp::from_ms(ms)
}

fn sent(n: u32) -> Sent {
    Sent { n, first_at: at(NOW), at: at(NOW), ended_at: at(NOW) }
}

fn until(ms: i64, late: Late) -> Option<Deadline> {
    Some(Deadline { at: at(ms), late })
}

/// What followed, in short: `delivered`, `+10000` in milliseconds from now, `+10000 pulled in`, `dead: …`.
fn short(verdict: &Verdict) -> String {
    match verdict {
        Verdict::Delivered => "delivered".into(),
        Verdict::Again { due, is_pulled_in, .. } => {
            format!("+{}{}", due.since(at(NOW)), if *is_pulled_in { " pulled in" } else { "" })
        }
        Verdict::Hold { due, what } => format!("held +{} {}", due.since(at(NOW)), what.code()),
        Verdict::Dead { reason } => format!("dead: {reason}"),
        Verdict::Expired { reason } => format!("expired: {reason}"),
        Verdict::Disable => "disable".into(),
    }
}

#[track_caller]
fn check(policy: &Policy, sent: Sent, deadline: Option<Deadline>, outcome: &Outcome, want: &str) {
    assert_eq!(short(&next(policy, sent, deadline, outcome, Jitter(0))), want, "{outcome:?}");
}

#[test]
fn a_postback_follows_its_schedule() {
    let policy = Policy::postback();
    for (n, outcome, want) in [
        (1, answered(204), "delivered"),
        (1, answered(500), "+10000"),
        (9, Outcome::Trouble("timeout"), "+32400000"),
        (10, answered(503), "dead: attempts_exhausted"),
        (1, answered(404), "dead: refused_by_receiver"),
        (1, answered(410), "dead: refused_by_receiver"),
        (1, answered(302), "dead: redirect"),
        (1, Outcome::Refused("address_refused"), "dead: address_refused"),
        (1, asks_to_wait(60_000), "+60000"),
        (1, asks_to_wait(3), "+10000"),
        (1, asks_to_wait(i64::MAX), "+86400000"),
        (1, asks_to_wait(-1), "+10000"),
        (1, answered(408), "+10000"),
        (1, answered(425), "+10000"),
        (1, answered(429), "+10000"),
        (1, answered(599), "+10000"),
        (1, aborts(503), "dead: aborted_by_receiver"),
        (1, aborts(404), "dead: aborted_by_receiver"),
        (1, aborts(200), "delivered"),
        (0, answered(503), "dead: attempts_exhausted"),
    ] {
        check(&policy, sent(n), None, &outcome, want);
    }
}

#[test]
fn a_webhook_is_sent_again_after_everything_but_2xx_and_410() {
    let policy = Policy::webhook();
    for (n, outcome, want) in [
        (1, answered(200), "delivered"),
        (1, answered(302), "+5000"),
        (1, answered(401), "+5000"),
        (1, answered(404), "+5000"),
        (2, answered(503), "+30000"),
        (11, Outcome::Trouble("reset"), "+79200000"),
        (12, answered(400), "dead: attempts_exhausted"),
        (1, answered(410), "disable"),
        (1, aborts(410), "disable"),
        (1, aborts(400), "dead: aborted_by_receiver"),
        (1, Outcome::Refused("refused_address"), "dead: refused_address"),
    ] {
        check(&policy, sent(n), None, &outcome, want);
    }
}

#[test]
fn what_the_operator_does_not_allow_is_held_and_uses_up_no_send() {
    let (postback, webhook) = (Policy::postback(), Policy::webhook());
    let once = Policy { waits: Vec::new(), ..Policy::postback() };
    for what in NotAllowed::ALL {
        let held = format!("held +30000 {}", what.code());
        for (policy, n) in [(&postback, 1), (&postback, 10), (&webhook, 12), (&once, 1)] {
            check(policy, sent(n), None, &Outcome::NotAllowed(what), &held);
        }
    }
    // The bounds hold all the same: the time in which its receiver accepts it, and the horizon after a first send.
    let plain = Outcome::NotAllowed(NotAllowed::PlainHttp);
    let gone = "expired: outside_acceptance_window";
    check(&postback, sent(1), until(NOW + HOUR, Late::Expire), &plain, "held +30000 plain_http_refused");
    check(&postback, sent(1), until(NOW + 5 * SECOND, Late::Expire), &plain, gone);
    check(&postback, sent(1), until(NOW, Late::TryOnce), &plain, gone);
    let short = Policy { horizon: Some(Span::from_hours(2)), ..Policy::postback() };
    let late = Sent { n: 2, first_at: at(NOW - 2 * HOUR), at: at(NOW), ended_at: at(NOW) };
    check(&short, late, None, &plain, "dead: horizon_reached");
}

#[test]
fn the_schedules_are_as_they_are_written() {
    let sum = |waits: &[i64]| waits.iter().sum::<i64>() / SECOND;
    assert_eq!(POSTBACK_WAITS_MS.len() + 1, 10);
    assert_eq!(sum(POSTBACK_WAITS_MS), 23 * 3600 + 42 * 60 + 40);
    assert_eq!(WEBHOOK_WAITS_MS.len() + 1, 12);
    assert_eq!(sum(WEBHOOK_WAITS_MS), 71 * 3600 + 42 * 60 + 35);
}

#[test]
fn a_body_that_says_no_is_given_up_or_sent_again_as_the_rule_says() {
    let mut policy = Policy::postback();
    policy.success.matches = Some(Pattern::parse("success=true").expect("an expression"));
    assert_eq!(said(Said::Refused).code(), "body_refused");
    assert!(!said(Said::Refused).is_trouble() && said(Said::CutShort).is_trouble());
    check(&policy, sent(1), None, &said(Said::Accepted), "delivered");
    check(&policy, sent(1), None, &said(Said::Refused), "dead: body_refused");
    check(&policy, sent(1), None, &said(Said::CutShort), "+10000");
    policy.success.otherwise = Otherwise::Retry;
    check(&policy, sent(1), None, &said(Said::Refused), "+10000");
    check(&policy, sent(10), None, &said(Said::Refused), "dead: attempts_exhausted");
    let no = Outcome::Answered { status: 200, retry_after_ms: None, said: Said::Refused, abort: true };
    check(&policy, sent(1), None, &no, "dead: aborted_by_receiver");
}

#[test]
fn a_rule_can_have_further_statuses_retried() {
    let retry = Retry { on: vec![404, 302], ..Retry::default() };
    let policy = retry.policy(&Policy::postback());
    check(&policy, sent(1), None, &answered(404), "+10000");
    check(&policy, sent(1), None, &answered(302), "+10000");
    check(&policy, sent(1), None, &answered(503), "+10000");
    check(&policy, sent(1), None, &answered(403), "dead: refused_by_receiver");
    assert_eq!(policy.waits, Policy::postback().waits, "what is not said has the default");
    assert_eq!(Retry::default().policy(&Policy::webhook()), Policy::webhook());
}

#[test]
fn nothing_is_sent_after_the_horizon() {
    let retry = Retry { horizon: Some(Span::from_hours(12)), ..Retry::default() };
    let policy = retry.policy(&Policy::postback());
    let last = 12 * HOUR - 600 * SECOND;
    let nth = |n, ms| Sent { n, first_at: at(NOW), at: at(NOW + ms), ended_at: at(NOW + ms) };
    check(&policy, nth(7, 2 * HOUR), None, &answered(500), &format!("+{}", 7 * HOUR));
    check(&policy, nth(8, 8 * HOUR), None, &answered(500), &format!("+{last} pulled in"));
    check(&policy, nth(8, 8 * HOUR), None, &asks_to_wait(20 * HOUR), &format!("+{last} pulled in"));
    check(&policy, nth(9, last), None, &answered(500), "dead: horizon_reached");
    let begin = |ms| start(&policy, Some(at(NOW)), None, at(NOW + ms));
    assert_eq!(begin(12 * HOUR), Start::Send);
    assert_eq!(begin(12 * HOUR + 1), Start::Dead { reason: HORIZON_REACHED });
    assert_eq!(start(&policy, None, None, at(NOW + 400 * HOUR)), Start::Send, "the first send begins it");
    let short = Retry { horizon: Some(Span::from_seconds(60)), ..Retry::default() };
    check(&short.policy(&Policy::postback()), nth(3, 0), None, &answered(500), "+54000 pulled in");
}

#[test]
fn the_last_send_is_pulled_inside_the_acceptance_window() {
    let policy = Policy::postback();
    let end = NOW + 24 * HOUR;
    // A day, without ten minutes for what lies between and ten seconds for the send itself.
    let last = 24 * HOUR - 610 * SECOND;
    let expire = until(end, Late::Expire);
    let nth = |n, ms| Sent { n, first_at: at(NOW), at: at(NOW + ms), ended_at: at(NOW + ms) };
    check(&policy, nth(9, 14 * HOUR), expire, &answered(500), &format!("+{}", 23 * HOUR));
    check(&policy, nth(9, 16 * HOUR), expire, &answered(500), &format!("+{last} pulled in"));
    check(&policy, nth(1, 0), expire, &asks_to_wait(24 * HOUR), &format!("+{last} pulled in"));
    check(&policy, nth(9, last), expire, &answered(500), "expired: outside_acceptance_window");
    check(&policy, nth(9, last), expire, &answered(404), "dead: refused_by_receiver");
    check(&policy, nth(9, last), expire, &answered(200), "delivered");
    check(&policy, nth(10, last), expire, &answered(500), "dead: attempts_exhausted");
    check(&policy, nth(2, 23 * HOUR), expire, &answered(500), &format!("+{}", 23 * HOUR + 30 * SECOND));
}

#[test]
fn what_is_late_expires_or_is_tried_once() {
    let policy = Policy::postback();
    let end = NOW + 24 * HOUR;
    let nth = |n, ms| Sent { n, first_at: at(NOW), at: at(NOW + ms), ended_at: at(NOW + ms + 5) };
    for (late, now, want) in [
        (Late::Expire, end - 1, Start::Send),
        (Late::Expire, end, Start::Expired { reason: OUTSIDE_ACCEPTANCE }),
        (Late::TryOnce, end, Start::Send),
        (Late::TryOnce, end + 900 * HOUR, Start::Send),
    ] {
        assert_eq!(start(&policy, None, until(end, late), at(now)), want, "{late:?} at {now}");
    }
    let once = until(end, Late::TryOnce);
    // Inside, and too late for another inside: once more behind the end, when the schedule says so.
    let inside = 24 * HOUR - 100 * SECOND;
    let natural = inside + 5 + 1_800 * SECOND;
    check(&policy, nth(5, inside), once, &answered(500), &format!("+{natural}"));
    check(&policy, nth(1, inside), once, &answered(500), &format!("+{}", 24 * HOUR));
    let gone = "expired: outside_acceptance_window";
    check(&policy, nth(1, 30 * HOUR), once, &answered(500), gone);
    check(&policy, nth(1, 30 * HOUR), once, &answered(404), gone);
    check(&policy, nth(1, 30 * HOUR), once, &answered(200), "delivered");
    check(&policy, nth(1, 30 * HOUR), once, &Outcome::Refused("bad_url"), "dead: bad_url");
    let short =
        Retry { horizon: Some(Span::from_seconds(24 * 3600 + 540)), ..Retry::default() }.policy(&policy);
    check(&short, nth(6, inside), once, &answered(500), gone);
}

#[test]
fn that_time_runs_out_is_said_once() {
    let window = Span::from_hours(24);
    let is_said = |n, due, again| is_running_out(window, at(24 * HOUR), n, at(due * HOUR), at(again * HOUR));
    assert!(!is_said(1, 0, 17));
    assert!(is_said(2, 17, 18), "the next send falls into the last quarter");
    assert!(!is_said(3, 18, 20), "it was said before");
    assert!(is_said(1, 20, 21), "its first send was late already");
}

/// A receiver that never takes it, and the sends that a policy makes of that.
fn sends(
    policy: &Policy,
    deadline: Option<Deadline>,
    outcome: &Outcome,
    took: i64,
    bits: u32,
) -> (Vec<i64>, String) {
    let mut begun = Vec::new();
    let mut now = at(NOW);
    loop {
        let first_at = begun.first().copied().map(at);
        match start(policy, first_at, deadline, now) {
            Start::Send => {}
            Start::Dead { reason } | Start::Expired { reason } => return (begun, reason.to_owned()),
        }
        begun.push(now.ms());
        let sent =
            Sent { n: begun.len() as u32, first_at: at(begun[0]), at: now, ended_at: now.plus_ms(took) };
        match next(policy, sent, deadline, outcome, Jitter::from_entropy(bits.rotate_left(sent.n))) {
            Verdict::Again { due, .. } => {
                assert!(due.since(sent.ended_at) >= WAIT_MIN.ms(), "no storm: {due} after {}", sent.ended_at);
                let since_first = due.since(sent.first_at);
                assert!(
                    policy.horizon.is_none_or(|horizon| since_first < horizon.ms()),
                    "{due} is behind the horizon"
                );
                if let Some(Deadline { at, late }) = deadline {
                    let last = at.plus_ms(-policy.timeout.ms() - ACCEPTANCE_MARGIN.ms());
                    assert!(
                        due <= last || (late == Late::TryOnce && due >= at),
                        "{due} is behind the window"
                    );
                }
                now = due;
            }
            other => return (begun, short(&other)),
        }
    }
}

fn a_policy() -> impl Strategy<Value = Policy> {
    let waits = prop::collection::vec(1..=200_000_i64, 0..=WAITS_MAX);
    let horizon = prop::option::of(60..=2_592_000_i64);
    (waits, horizon, 1..=30_i64, any::<bool>()).prop_map(|(waits, horizon, timeout, is_webhook)| Policy {
        waits: waits.into_iter().map(Span::from_seconds).collect(),
        horizon: horizon.map(Span::from_seconds),
        timeout: Span::from_seconds(timeout),
        ..if is_webhook { Policy::webhook() } else { Policy::postback() }
    })
}

fn a_deadline() -> impl Strategy<Value = Option<Deadline>> {
    let late = prop_oneof![Just(Late::Expire), Just(Late::TryOnce)];
    prop::option::of(
        (-100 * HOUR..=900 * HOUR, late).prop_map(|(ms, late)| Deadline { at: at(NOW + ms), late }),
    )
}

proptest! {
    #[test]
    fn every_schedule_ends_inside_its_bounds(
        policy in a_policy(),
        deadline in a_deadline(),
        asked in 0..=200 * HOUR,
        took in 0..=30 * SECOND,
        bits: u32,
    ) {
        let (begun, end) = sends(&policy, deadline, &asks_to_wait(asked), took, bits);
        prop_assert!(begun.len() <= policy.waits.len() + 1, "{} sends", begun.len());
        if let (Some(horizon), Some(first), Some(last)) = (policy.horizon, begun.first(), begun.last()) {
            prop_assert!(last - first <= horizon.ms());
        }
        if let Some(Deadline { at, late }) = deadline {
            let late_ones = begun.iter().filter(|begun| **begun >= at.ms()).count();
            prop_assert!(late_ones <= usize::from(late == Late::TryOnce), "{late_ones} were sent late");
            // What is sent again inside the window has the time that it may take, and the margin.
            let last = at.ms() - policy.timeout.ms() - ACCEPTANCE_MARGIN.ms();
            prop_assert!(begun.iter().skip(1).all(|begun| *begun <= last || *begun >= at.ms()));
        }
        prop_assert!(deadline.is_some() || !end.contains("outside_acceptance_window"));
    }

    #[test]
    fn without_a_bound_nothing_is_sent_earlier_than_scheduled(policy in a_policy(), asked in 0..=20 * HOUR, bits: u32) {
        let policy = Policy { horizon: None, ..policy };
        let (begun, end) = sends(&policy, None, &asks_to_wait(asked), 7, bits);
        prop_assert_eq!(begun.len(), policy.waits.len() + 1);
        prop_assert_eq!(end, "dead: attempts_exhausted");
        for (wait, pair) in policy.waits.iter().zip(begun.windows(2)) {
            let gap = pair[1] - pair[0] - 7;
            let most = (wait.ms() + wait.ms() / 4).max(asked);
            prop_assert!(gap >= wait.ms().max(asked) && gap <= most, "{gap} ms after {wait}");
        }
    }
}
