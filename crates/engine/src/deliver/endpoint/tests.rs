//! One endpoint, driven by hand.

use roundtrip_domain::id::Id;
use roundtrip_domain::rate::Rate;
use roundtrip_store::ledger::QueueItem;

use super::*;

fn key() -> Key {
    let endpoint = domain::Endpoint::Postback { rule: Id::from_bits(1), partner: Id::from_bits(2) };
    Key { workspace: WorkspaceNo::DEFAULT, endpoint }
}

/// So many milliseconds have passed on both clocks.
fn at(ms: i64) -> Now {
    Now { wall: Timestamp::from_ms(ms), steady: Duration::from_millis(ms as u64) }
}

fn sent(due: i64, n: u128, sends: u32) -> Due {
    let Key { workspace, endpoint } = key();
    Due { workspace, endpoint, due: Timestamp::from_ms(due), delivery: Id::from_bits(n), sends }
}

fn due(ms: i64, n: u128) -> Due {
    sent(ms, n, 0)
}

fn item(due: i64, n: u128) -> QueueItem {
    let due = Timestamp::from_ms(due);
    QueueItem { due, delivery: Id::from_bits(n), sends: 0, decided_at: due }
}

/// Takes what may start, as the coordinator does.
fn take(e: &mut Endpoint, now: Now) -> Option<u128> {
    e.ready(None, now).ok()?;
    Some(e.take(key(), now)?.delivery.bits())
}

fn end(reach: Reach) -> Report {
    Report { reach, took: Duration::from_millis(1), rest: None }
}

/// Takes all that may start and lets them end so. How many.
fn round(e: &mut Endpoint, reach: Reach, now: Now) -> usize {
    let taken: Vec<u128> = std::iter::from_fn(|| take(e, now)).collect();
    for n in &taken {
        e.ended(key(), Id::from_bits(*n), end(reach), now, 0);
        e.settled(Id::from_bits(*n), now);
    }
    taken.len()
}

fn reason(e: &Endpoint, now: Now) -> Wait {
    e.ready(None, now).expect_err("something holds it back").wait
}

fn fill(e: &mut Endpoint, firsts: &[QueueItem], now: Now) {
    let wish = e.wish(key(), now).expect("it has to read");
    e.fill(&wish, &QueueWindow { firsts: firsts.to_vec(), retries: Vec::new() }, now);
}

#[test]
fn holds_a_window_and_leaves_the_rest_in_the_table() {
    let mut e = Endpoint::default();
    for n in 0..200 {
        e.push(&due(n, n as u128));
        e.push(&sent(n, 1_000 + n as u128, 1));
    }
    let mut held = 0;
    let mut oldest = None;
    e.limit.ramp(64);
    while let Some(n) = take(&mut e, at(1_000)) {
        held += 1;
        oldest.get_or_insert(n);
        e.ended(key(), Id::from_bits(n), end(Reach::Delivered), at(1_000), 0);
    }
    assert_eq!((held, oldest), (WINDOW, Some(0)), "oldest first");
    let wish = e.wish(key(), at(1_000)).expect("both lanes have more");
    assert!(wish.firsts > 48 && wish.retries > 16, "reads beyond what is not settled: {wish:?}");
}

#[test]
fn what_is_due_after_the_window_stays_in_the_table() {
    let mut e = Endpoint::default();
    for n in 0..60 {
        e.push(&due(n, n as u128));
    }
    e.push(&due(199, 500));
    e.push(&due(-5, 501));
    assert_eq!(take(&mut e, at(1_000)), Some(501));
}

#[test]
fn a_refill_skips_what_is_under_way() {
    let mut e = Endpoint::default();
    e.push(&due(0, 1));
    assert_eq!(take(&mut e, at(0)), Some(1));
    e.forget();
    fill(&mut e, &[item(0, 1), item(1, 2)], at(5));
    assert_eq!(take(&mut e, at(5)), Some(2));
    assert_eq!(take(&mut e, at(5)), None);
    e.push(&due(0, 1));
    assert_eq!(take(&mut e, at(5)), None, "not sent twice at once");
}

#[test]
fn looks_again_when_the_next_one_is_due() {
    let mut e = Endpoint::default();
    e.push(&due(50, 1));
    let blocked = e.ready(None, at(49)).expect_err("it is not due");
    assert_eq!(blocked, Blocked { wait: Wait::DueAt, wake: Some(Wake::Due(Timestamp::from_ms(50))) });
    assert!(!e.is_forgettable(at(49)));
}

#[test]
fn four_first_attempts_go_before_each_retry_while_both_wait() {
    let mut e = Endpoint::default();
    for n in 0..12 {
        e.push(&due(0, n));
    }
    for n in 100..106 {
        e.push(&sent(-50, n, 1));
    }
    let mut order = Vec::new();
    while let Some(n) = take(&mut e, at(0)) {
        order.push(n >= 100);
        e.ended(key(), Id::from_bits(n), end(Reach::Delivered), at(0), 0);
    }
    let retries: Vec<usize> = (0..18).filter(|n| order[*n]).collect();
    assert_eq!(retries, [4, 9, 14, 15, 16, 17], "unbounded once no first attempt waits");
}

#[test]
fn an_open_breaker_lets_the_oldest_through_as_a_probe_and_ramps_when_it_closes() {
    let mut e = Endpoint::default();
    for n in 10..70 {
        e.push(&due(0, n));
    }
    while e.limit() < 8 {
        round(&mut e, Reach::Delivered, at(0));
    }
    let mut failed = Vec::new();
    while e.probe_at().is_none() {
        let n = take(&mut e, at(0)).expect("the breaker is closed");
        e.ended(key(), Id::from_bits(n), end(Reach::Unreachable), at(0), 0);
        e.settled(Id::from_bits(n), at(0));
        // Tried again in 10 s.
        e.push(&sent(10_000, n, 1));
        failed.push(n);
    }
    assert_eq!(failed.len(), 5);
    assert_eq!(reason(&e, at(29_999)), Wait::BreakerOpen, "nothing burns an attempt");
    assert_eq!(take(&mut e, at(30_000)), Some(failed[0]), "the one that was planned first");
    assert_eq!(reason(&e, at(30_000)), Wait::BreakerOpen, "one at a time");
    let ended = e.ended(key(), Id::from_bits(failed[0]), end(Reach::Delivered), at(30_000), 0);
    assert_eq!(ended.breaker, Some(Change::Closed));
    let ramp: Vec<usize> = (0..4).map(|_| round(&mut e, Reach::Delivered, at(30_000))).collect();
    assert_eq!(ramp, [1, 2, 4, 8], "up to what it was");
}

#[test]
fn a_rest_that_the_receiver_asks_for_holds_everything_back() {
    let mut e = Endpoint::default();
    for n in 0..5 {
        e.push(&due(0, n));
    }
    take(&mut e, at(0));
    let rest = Some(Duration::from_secs(60));
    e.ended(key(), Id::from_bits(0), Report { rest, ..end(Reach::Overloaded) }, at(0), 0);
    assert_eq!(reason(&e, at(59_999)), Wait::RetryAfter);
    assert_eq!(take(&mut e, at(60_000)), Some(1));
    e.ended(key(), Id::from_bits(1), Report { rest, ..end(Reach::Delivered) }, at(60_000), 0);
    assert_eq!(take(&mut e, at(60_000)), Some(2), "who takes it asks for no rest");
}

#[test]
fn a_rate_is_kept_and_a_partners_too() {
    let mut e = Endpoint::default();
    e.set_rate(Rate::per_s(2.0));
    for n in 0..9 {
        e.push(&due(0, n));
    }
    assert_eq!(round(&mut e, Reach::Delivered, at(0)), 2);
    assert_eq!(reason(&e, at(0)), Wait::RateLimited);
    assert_eq!(round(&mut e, Reach::Delivered, at(500)), 1);
    e.set_rate(None);
    let mut partner = Bucket::default();
    partner.set(Rate::per_s(1.0));
    assert_eq!(e.ready(Some(&partner), at(500)), Ok(()));
    partner.take(at(500).steady);
    let blocked = e.ready(Some(&partner), at(500)).expect_err("its partner has had its share");
    assert_eq!(blocked, Blocked::until(Wait::RateLimited, Duration::from_millis(1_500)));
}

fn row(state: State) -> EndpointRow {
    let Key { workspace, endpoint } = key();
    EndpointRow {
        workspace,
        endpoint,
        state,
        reason: String::new(),
        actor: String::new(),
        since: Timestamp::from_ms(0),
        health: Health::default(),
    }
}

#[test]
fn a_stopped_endpoint_holds_no_memory_and_comes_back_by_ramp() {
    let mut e = Endpoint::default();
    for n in 0..40 {
        e.push(&due(0, n));
    }
    e.set(&row(State::Paused));
    assert_eq!(reason(&e, at(0)), Wait::Paused);
    e.push(&due(0, 99));
    assert_eq!(e.firsts.first(), None, "it stays in the table");
    assert_eq!(e.wish(key(), at(0)), None, "and is not read");
    e.set(&row(State::Disabled));
    assert_eq!(reason(&e, at(0)), Wait::Disabled);
    e.set(&row(State::Active));
    let all: Vec<_> = (0..40).map(|n| item(0, n)).collect();
    fill(&mut e, &all, at(0));
    assert_eq!((0..3).map(|_| round(&mut e, Reach::Delivered, at(0))).collect::<Vec<_>>(), [1, 2, 4]);
}

#[test]
fn a_clock_set_back_delays_nothing_by_more_than_its_wait() {
    let day = 86_400_000;
    let mut e = Endpoint::default();
    e.forget();
    // Planned or sent a day from now, as it seems, and due ten seconds after.
    let old = |n| QueueItem { decided_at: Timestamp::from_ms(day), ..item(day + 10_000, n) };
    fill(&mut e, &[old(1)], at(5));
    assert_eq!(reason(&e, at(10_004)), Wait::DueAt);
    e.ready(None, at(10_005)).expect("it waited as long as it was to wait");
    assert_eq!(
        e.take(key(), at(10_005)).map(|d| d.due),
        Some(Timestamp::from_ms(day + 10_000)),
        "the row's own"
    );
    let mut e = Endpoint::default();
    (0..9).for_each(|n| e.push(&due(0, n)));
    e.clock_set(day);
    let all: Vec<_> = (0..9).map(|n| item(0, n)).collect();
    fill(&mut e, &all, at(day));
    assert_eq!(round(&mut e, Reach::Delivered, at(day)), 1, "what comes due at once comes by ramp");
}

#[test]
fn a_test_passes_an_open_breaker_and_closes_it_when_it_is_delivered() {
    let mut e = Endpoint::default();
    (0..9).for_each(|n| e.push(&due(0, n)));
    (0..4).for_each(|_| {
        round(&mut e, Reach::Unreachable, at(0));
    });
    assert_eq!(reason(&e, at(1)), Wait::BreakerOpen);
    for (n, reach, waits) in [(100, Reach::Unreachable, true), (101, Reach::Delivered, false)] {
        e.push_test(&due(0, n));
        assert_eq!(take(&mut e, at(1)), Some(n), "it does not wait for the probe");
        let ended = e.ended(key(), Id::from_bits(n), end(reach), at(1), 0);
        e.settled(Id::from_bits(n), at(1));
        assert_eq!(ended.breaker.is_none(), waits);
        assert_eq!(e.breaker.open_until().is_some(), waits);
    }
    assert_eq!(round(&mut e, Reach::Delivered, at(1)), 1, "one at a time");
}

#[test]
fn whoever_is_let_go_on_does_not_wait_for_a_probe() {
    for stop in [State::Paused, State::Disabled] {
        let mut e = Endpoint::default();
        (0..9).for_each(|n| e.push(&due(0, n)));
        (0..4).for_each(|_| {
            round(&mut e, Reach::Unreachable, at(0));
        });
        assert!(e.breaker.open_until().is_some());
        e.set(&row(stop));
        e.set(&row(State::Active));
        assert_eq!(e.breaker.open_until(), None, "{stop:?}");
    }
}

#[test]
fn what_was_read_and_then_handed_over_stands_there_once() {
    let mut e = Endpoint::default();
    e.forget();
    // Planned at 40 and read by a clock of before: it looks like of the future, and gets another ready time.
    fill(&mut e, &[QueueItem { decided_at: Timestamp::from_ms(40), ..item(40, 1) }], at(10));
    e.push(&due(40, 1));
    let wish = e.firsts.first().expect("it is there").delivery;
    e.ready(None, at(50)).expect("it is due");
    assert_eq!(e.take(key(), at(50)).map(|d| d.delivery), Some(wish));
    assert_eq!(e.firsts.first(), None, "it would be sent twice at a time");
}

#[test]
fn what_nobody_handed_over_is_read_although_memory_holds_what_is_due_later() {
    let mut e = Endpoint::default();
    e.push(&due(3_600_000, 1));
    e.forget();
    let later = QueueItem { decided_at: Timestamp::from_ms(0), ..item(3_600_000, 1) };
    fill(&mut e, &[item(5, 2), later], at(5));
    assert_eq!(take(&mut e, at(5)), Some(2), "it would wait for an hour");
}

#[test]
fn a_first_attempt_that_nobody_handed_over_is_read_although_a_backlog_of_retries_is_due_before_it() {
    let mut e = Endpoint::default();
    for n in 0..100 {
        e.push(&sent(n, 1_000 + n as u128, 1));
    }
    e.push(&due(5, 1));
    assert_eq!(take(&mut e, at(200)), Some(1), "it is under way, and the lane of firsts empty");
    let ms = Timestamp::from_ms;
    let head = |firsts: Option<i64>| EndpointHead {
        workspace: key().workspace,
        endpoint: key().endpoint,
        due: ms(0),
        firsts: firsts.map(ms),
        retries: Some(ms(0)),
        waiting: 101,
    };
    let news = |e: &Endpoint, firsts, late| e.is_news(&head(firsts), ms(late), Duration::from_millis(300));
    assert!(!news(&e, Some(5), 5), "it may be the one that is under way");
    assert!(!news(&e, None, 1_000), "memory has the first of the retries");
    assert!(news(&e, Some(250), 1_000), "nobody handed that over");
    e.ended(key(), Id::from_bits(1), end(Reach::Delivered), at(250), 0);
    e.settled(Id::from_bits(1), at(250));
    assert!(news(&e, Some(250), 250), "nothing is under way, so it is looked at before it is late");
    e.forget();
    assert!(e.wish(key(), at(300)).expect("it has to read").firsts > 0);
}

#[test]
fn a_test_is_sent_to_a_stopped_endpoint_and_says_nothing_of_it() {
    let mut e = Endpoint::default();
    e.set(&row(State::Disabled));
    e.push(&due(0, 1));
    e.push_test(&due(0, 2));
    assert_eq!((take(&mut e, at(0)), take(&mut e, at(0))), (Some(2), None), "the test alone");
    let ended = e.ended(key(), Id::from_bits(2), end(Reach::Delivered), at(0), 0);
    assert!(ended.breaker.is_none() && !ended.health.is_news);
    e.settled(Id::from_bits(2), at(0));
    assert_eq!((reason(&e, at(0)), e.in_flight()), (Wait::Disabled, 0));
    // One that was not sent before somebody let the endpoint go on is in the table like everything else.
    e.push_test(&due(0, 3));
    e.set(&row(State::Active));
    fill(&mut e, &[item(0, 1), item(0, 3)], at(0));
    let all: Vec<usize> = (0..2).map(|_| round(&mut e, Reach::Delivered, at(0))).collect();
    assert_eq!(all.iter().sum::<usize>(), 2, "each once");
}

proptest::proptest! {
    #![proptest_config(proptest::test_runner::Config::with_cases(40))]

    /// However many first attempts wait, and whatever is read, handed over or set meanwhile: while a retry is due, at most
    /// four of them go before it.
    #[test]
    fn a_due_retry_waits_for_four_first_attempts_at_most(steps in proptest::collection::vec((0_u8..8, 1_i64..5_000), 1..120)) {
        let mut e = Endpoint::default();
        e.limit.ramp(64);
        let (mut now, mut next, mut before) = (0_i64, 0_u128, 0_u32);
        let mut table: BTreeMap<u128, Due> = BTreeMap::new();
        let refill = |e: &mut Endpoint, table: &BTreeMap<u128, Due>, now: Now| {
            let Some(wish) = e.wish(key(), now) else { return };
            let mut rows: Vec<&Due> = table.values().collect();
            rows.sort_by_key(|d| (d.due, d.delivery));
            let lane = |is_retry: bool, limit: u32| rows.iter()
                .filter(|d| (d.sends > 0) == is_retry).take(limit as usize)
                .map(|d| QueueItem { due: d.due, delivery: d.delivery, sends: d.sends, decided_at: d.due.min(now.wall) }).collect();
            let window = QueueWindow { firsts: lane(false, wish.firsts), retries: lane(true, wish.retries) };
            e.fill(&wish, &window, now);
        };
        for (step, ms) in steps {
            match step {
                // A burst of what is fresh; retries of now, and of a day from now; a burst that nobody hands over.
                0 => for _ in 0..100 { let d = due(now, next); table.insert(next, d); e.push(&d); next += 1; },
                1 | 2 => for _ in 0..5 { let d = sent(now + ms, next, 1); table.insert(next, d); e.push(&d); next += 1; },
                3 => for _ in 0..40 { let d = sent(now + 86_400_000, next, 1); table.insert(next, d); e.push(&d); next += 1; },
                4 => {
                    for n in 0..150 { table.insert(next, sent(now, next, n % 2)); next += 1; }
                    e.forget();
                }
                5 => { e.set(&row(State::Paused)); e.set(&row(State::Active)); }
                _ => now += ms,
            }
            for _ in 0..50 {
                refill(&mut e, &table, at(now));
                let is_due = table.values().any(|d| d.sends > 0 && d.due <= Timestamp::from_ms(now));
                let Some(n) = take(&mut e, at(now)) else { break };
                let taken = table.remove(&n).expect("it waits");
                before = if is_due && taken.sends == 0 { before + 1 } else { 0 };
                assert!(before <= 4, "{before} first attempts before a retry that is due");
                e.ended(key(), Id::from_bits(n), end(Reach::Delivered), at(now), 0);
                e.settled(Id::from_bits(n), at(now));
            }
        }
    }

    /// Whatever happens, nothing is sent twice at once, nor beyond the limit, and what is pushed is sent in the end.
    #[test]
    fn loses_nothing(steps in proptest::collection::vec((0_u8..6, 1_i64..3_000, 0_usize..7), 1..300)) {
        let mut e = Endpoint::default();
        let (mut now, mut next) = (0_i64, 0_u128);
        let mut under_way: Vec<u128> = Vec::new();
        let mut table: BTreeMap<u128, Due> = BTreeMap::new();
        let refill = |e: &mut Endpoint, table: &BTreeMap<u128, Due>, now: Now| {
            let Some(wish) = e.wish(key(), now) else { return };
            let mut rows: Vec<&Due> = table.values().collect();
            rows.sort_by_key(|d| (d.due, d.delivery));
            let lane = |is_retry: bool, limit: u32| rows.iter()
                .filter(|d| (d.sends > 0) == is_retry).take(limit as usize)
                .map(|d| QueueItem { due: d.due, delivery: d.delivery, sends: d.sends, decided_at: d.due }).collect();
            let window = QueueWindow { firsts: lane(false, wish.firsts), retries: lane(true, wish.retries) };
            e.fill(&wish, &window, now);
        };
        for (step, ms, reach) in steps {
            now += ms;
            let now = at(now);
            match step {
                0 | 1 => { for _ in 0..30 { let d = due(now.wall.ms(), next); table.insert(next, d); e.push(&d); next += 1; } }
                2 | 3 => {
                    refill(&mut e, &table, now);
                    while let Some(n) = take(&mut e, now) {
                        assert!(!under_way.contains(&n), "sent twice at once");
                        assert!(table.contains_key(&n), "sent after its end");
                        under_way.push(n);
                        refill(&mut e, &table, now);
                    }
                    assert!(under_way.len() <= 65, "{}", under_way.len());
                }
                4 => e.clock_set(0),
                _ => for n in under_way.drain(..) {
                    let reach = Reach::ALL[reach];
                    e.ended(key(), Id::from_bits(n), end(reach), now, 0);
                    e.settled(Id::from_bits(n), now);
                    let d = table.remove(&n).expect("it was under way");
                    if reach.is_trouble() || reach == Reach::Unknown {
                        let again = Due { due: now.wall.plus_ms(10_000), sends: d.sends + 1, ..d };
                        table.insert(n, again);
                        e.push(&again);
                    }
                },
            }
        }
        for n in under_way.drain(..) {
            e.ended(key(), Id::from_bits(n), end(Reach::Delivered), at(now), 0);
            e.settled(Id::from_bits(n), at(now));
            table.remove(&n);
        }
        // From here on time passes only as far as the endpoint asks for: what it does not ask for is a stall.
        while !table.is_empty() {
            refill(&mut e, &table, at(now));
            while let Some(n) = take(&mut e, at(now)) {
                e.ended(key(), Id::from_bits(n), end(Reach::Delivered), at(now), 0);
                e.settled(Id::from_bits(n), at(now));
                table.remove(&n).expect("it was in the table");
                refill(&mut e, &table, at(now));
            }
            if table.is_empty() { break; }
            let blocked = e.ready(None, at(now)).expect_err("nothing could be taken");
            let wake = match blocked.wake {
                Some(Wake::Due(due)) => due.ms(),
                Some(Wake::Steady(steady)) => steady.as_millis() as i64,
                None => panic!("{} wait, and nothing will wake it: {blocked:?}", table.len()),
            };
            assert!(wake > now, "it would be asked for ever: {blocked:?}");
            now = wake;
        }
        // It may have had to forget and not have read since; reading the empty table, it knows.
        refill(&mut e, &table, at(now));
        assert!(e.is_idle());
    }
}
