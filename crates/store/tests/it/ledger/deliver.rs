//! The queue: settled once, replayed as the same fact, and the books closed at every step.

use roundtrip_domain::endpoint::{NotAllowed, State};
use roundtrip_domain::id::Id;
use roundtrip_domain::time::Timestamp;
use roundtrip_store::ledger::{
    AttemptRow, Due, EndpointWish, Outgoing, QueueDepth, Replay, Settled, Settlement, WindowWish,
};
use roundtrip_testkit::{Tell, World};
use serde_json::json;

use super::{minute, rule, told, with_rules};

fn attempt(n: u32, at: Timestamp, outcome: &str) -> AttemptRow {
    AttemptRow {
        n,
        at,
        outcome: outcome.into(),
        status: Some(200),
        total_us: 1_500,
        next: "…".into(),
        body: "{}".into(),
    }
}

fn settled(item: Due, outcome: &str, next: Settled) -> Settlement {
    Settlement { item, attempt: Some(attempt(item.sends + 1, item.due, outcome)), next }
}

/// A world with one planned install postback.
async fn planned() -> (World, Due) {
    let mut world = World::new(&with_rules(json!({"i": rule("install", None)}))).await;
    let click = world.click("game-acme", minute(0), "click_id=a1");
    world.record(world.event("game", "install", minute(1)).of("i1").click(&click)).await;
    let due = world.decide().await.planned.remove(0);
    (world, due)
}

async fn load(world: &World, due: Due) -> Outgoing {
    world.ledger.delivery_load_all(vec![due]).await.unwrap().remove(0).expect("the delivery is kept")
}

/// Where everything stands: waiting, delivered, dead, replayed.
async fn books(world: &World) -> (i64, i64, i64, i64) {
    world.books_balance().await;
    let far = Timestamp::from_ms(i64::MAX / 2);
    let books = world.ledger.balance(world.workspace, Timestamp::from_ms(0), far).await.unwrap();
    let sum = |state: &str| books.values().filter_map(|b| b.finished.get(state)).sum();
    let (waiting, replayed) =
        (books.values().map(|b| b.waiting).sum(), books.values().map(|b| b.replayed).sum());
    (waiting, sum("delivered"), sum("dead"), replayed)
}

#[tokio::test]
async fn a_delivery_is_sent_again_and_delivered_and_settling_twice_changes_nothing() {
    let (world, due) = planned().await;
    let ws = world.workspace;
    assert_eq!(books(&world).await, (1, 0, 0, 0));
    let head = world.ledger.queue_endpoints().await.unwrap().remove(0);
    assert_eq!((head.endpoint, head.due, head.waiting), (due.endpoint, due.due, 1));
    let out = load(&world, due).await;
    assert_eq!((out.kind.as_str(), out.replay_of), ("install", None));
    assert!(out.values.iter().any(|v| v.name == "event_id" && v.decoded == out.fact.to_string().as_bytes()));

    let later = due.due.plus_ms(10_000);
    let again = settled(due, "http_503", Settled::Again { due: later, reason: "http_503".into() });
    for _ in 0..2 {
        world.ledger.delivery_settle(vec![again.clone()], due.due).await.unwrap();
        let wish = WindowWish { workspace: ws, endpoint: due.endpoint, firsts: 64, retries: 64 };
        let window = world.ledger.queue_windows(vec![wish]).await.unwrap().remove(0);
        assert_eq!(window.firsts, []);
        assert_eq!(window.retries.iter().map(|i| (i.due, i.sends)).collect::<Vec<_>>(), [(later, 1)]);
        assert_eq!(books(&world).await, (1, 0, 0, 0));
    }
    assert_eq!(world.ledger.queue_depth().await, Ok(QueueDepth { oldest: Some(later), waiting: 1, held: 0 }));
    let state = world.story(out.fact).await.deliveries.remove(0);
    assert_eq!(
        (state.state.as_str(), state.reason.as_str(), state.due, state.sends),
        ("scheduled", "http_503", Some(later), 1)
    );

    let done = settled(Due { due: later, sends: 1, ..due }, "http_200", Settled::Delivered);
    for _ in 0..2 {
        world.ledger.delivery_settle(vec![done.clone(), done.clone()], later).await.unwrap();
        assert_eq!(books(&world).await, (0, 1, 0, 0));
    }
    // A straggler of the first send comes after the end.
    world.ledger.delivery_settle(vec![again], later).await.unwrap();
    assert_eq!(books(&world).await, (0, 1, 0, 0));
    let state = world.story(out.fact).await.deliveries.remove(0);
    assert_eq!((state.state.as_str(), state.due, state.sends), ("delivered", None, 2));
    assert_eq!(
        state.attempts.iter().map(|a| a.outcome.as_str()).collect::<Vec<_>>(),
        ["http_503", "http_200"]
    );
    assert_eq!(world.ledger.queue_depth().await, Ok(QueueDepth::default()));
}

/// Two owners by accident: what one has moved, the other neither moves nor sends, and what arrived is delivered.
#[tokio::test]
async fn a_settlement_holds_for_the_row_that_it_names() {
    let (world, due) = planned().await;
    let settle = async |next| {
        let settlement = settled(due, "http_503", next);
        world.ledger.delivery_settle(vec![settlement], due.due).await.unwrap().remove(0)
    };
    let again = |ms| Settled::Again { due: due.due.plus_ms(ms), reason: "http_503".into() };
    let moved = Due { due: due.due.plus_ms(10_000), sends: 1, ..due };
    assert!(load(&world, due).await.is_waiting);
    assert_eq!(settle(again(10_000)).await, Some(moved));
    assert!(!load(&world, due).await.is_waiting, "it was moved");
    assert!(load(&world, moved).await.is_waiting);
    assert_eq!(settle(again(99_000)).await, Some(moved), "the other's word counts");
    assert_eq!(settle(Settled::Dead { reason: "redirect".into() }).await, Some(moved));
    assert_eq!(settle(Settled::Ended).await, Some(moved));
    assert_eq!(books(&world).await, (1, 0, 0, 0));

    // Put off without a send: the end of a send that had begun before still holds.
    let off = Settled::Again { due: due.due.plus_ms(60_000), reason: "store_unavailable".into() };
    let off = Settlement { item: moved, attempt: None, next: off };
    let put_off = world.ledger.delivery_settle(vec![off], due.due).await.unwrap().remove(0);
    assert_eq!(put_off, Some(Due { due: due.due.plus_ms(60_000), ..moved }));
    let done = settled(moved, "http_404", Settled::Dead { reason: "refused_by_receiver".into() });
    assert_eq!(world.ledger.delivery_settle(vec![done], due.due).await.unwrap(), [None]);
    assert_eq!(books(&world).await, (0, 0, 1, 0));
}

#[tokio::test]
async fn what_arrived_is_delivered_whoever_says_it() {
    let (world, due) = planned().await;
    let again = Settled::Again { due: due.due.plus_ms(10_000), reason: "http_503".into() };
    world.ledger.delivery_settle(vec![settled(due, "http_503", again)], due.due).await.unwrap();
    let late = settled(due, "http_200", Settled::Delivered);
    assert_eq!(world.ledger.delivery_settle(vec![late], due.due).await.unwrap(), [None]);
    assert_eq!(books(&world).await, (0, 1, 0, 0));
}

/// Two owners by accident: while one sends it a second time, the other's first send turns out to have arrived.
#[tokio::test]
async fn a_send_that_was_under_way_at_the_end_counts_among_the_sends() {
    let (world, due) = planned().await;
    let fact = load(&world, due).await.fact;
    let moved = Due { due: due.due.plus_ms(10_000), sends: 1, ..due };
    let again = Settled::Again { due: moved.due, reason: "http_503".into() };
    for end in [
        settled(due, "http_503", again),
        settled(due, "http_200", Settled::Delivered),
        settled(moved, "http_200", Settled::Delivered),
    ] {
        world.ledger.delivery_settle(vec![end], moved.due).await.unwrap();
    }
    assert_eq!(books(&world).await, (0, 1, 0, 0));
    let state = world.story(fact).await.deliveries.remove(0);
    assert_eq!((state.state.as_str(), state.sends, state.attempts.len()), ("delivered", 2, 2));
}

/// After a crash, or of two workers: both sends happened, and both are shown.
#[tokio::test]
async fn two_sends_of_one_number_are_both_kept() {
    let (world, due) = planned().await;
    let again = Settled::Again { due: due.due.plus_ms(10_000), reason: "http_503".into() };
    let first = settled(due, "http_503", again);
    let mut second = settled(due, "http_200", Settled::Delivered);
    if let Some(attempt) = &mut second.attempt {
        attempt.at = due.due.plus_ms(7);
    }
    for settlement in [first, second.clone(), second] {
        world.ledger.delivery_settle(vec![settlement], due.due).await.unwrap();
        world.books_balance().await;
    }
    let event = world.ledger.event_of_delivery(world.workspace, due.delivery).await.unwrap().unwrap();
    let delivery = world.story(event).await.deliveries.remove(0);
    let sends: Vec<_> = delivery.attempts.iter().map(|a| (a.n, a.outcome.as_str())).collect();
    assert_eq!(sends, [(1, "http_503"), (1, "http_200")]);
    let sent = world.ledger.sends_of_day(due.due).await.unwrap();
    assert_eq!(sent.into_values().collect::<Vec<_>>(), [2], "a quota counts both");
    let yesterday = world.ledger.sends_of_day(due.due.plus_ms(-86_400_000)).await.unwrap();
    assert!(yesterday.is_empty(), "{yesterday:?}");
}

/// Millions may wait: what is counted of them must not be left behind, and is read without looking at them.
#[tokio::test]
async fn what_waits_is_counted_and_nothing_of_it_stays() {
    let (world, due) = planned().await;
    let far = Timestamp::from_ms(i64::MAX / 2);
    let books = async |rows_max| {
        world.ledger.balance_within(world.workspace, Timestamp::from_ms(0), far, rows_max).await.unwrap()
    };
    let raw = super::raw(&world);
    let dead = settled(due, "http_404", Settled::Dead { reason: "refused_by_receiver".into() });
    world.ledger.delivery_settle(vec![dead], minute(59)).await.unwrap();
    for id in 0..20_u8 {
        world
            .ledger
            .delivery_replay(world.workspace, due.delivery, minute(60 + i64::from(id)))
            .await
            .unwrap();
    }
    for (rows_max, oldest) in [(20, Some(minute(60))), (19, Some(minute(60))), (0, None)] {
        let books: Vec<_> = books(rows_max).await.into_values().filter(|row| row.waiting > 0).collect();
        let [row] = &books[..] else { panic!("one row: {books:?}") };
        assert_eq!((row.waiting, row.held, row.oldest), (20, 0, oldest), "{rows_max} rows");
    }
    let wish = WindowWish { workspace: world.workspace, endpoint: due.endpoint, firsts: 64, retries: 0 };
    let window = world.ledger.queue_windows(vec![wish]).await.unwrap().remove(0);
    let all = window.firsts.iter().map(|item| {
        let item = Due { due: item.due, delivery: item.delivery, ..due };
        settled(item, "http_200", Settled::Delivered)
    });
    world.ledger.delivery_settle(all.collect(), minute(90)).await.unwrap();
    world.books_balance().await;
    let left: u32 = raw.query_row("SELECT count(*) FROM queue_books", [], |row| row.get(0)).unwrap();
    assert_eq!(left, 0);
}

#[tokio::test]
async fn many_are_planned_once_more_at_once_and_the_books_know_it() {
    let (mut world, due) = planned().await;
    let gone = Due { delivery: Id::from_bits(7), ..due };
    let items = vec![(due, minute(500)), (gone, minute(600)), (due, minute(700))];
    let again = world.ledger.delivery_again(items, minute(60)).await.unwrap();
    let all: Vec<_> = again.iter().map(|item| (item.endpoint, item.due, item.sends)).collect();
    assert_eq!(all, [(due.endpoint, minute(500), 0), (due.endpoint, minute(700), 0)]);
    let (old, new) = (load(&world, due).await, load(&world, again[1]).await);
    assert_eq!((new.fact, &new.values, new.replay_of), (old.fact, &old.values, Some(due.delivery)));
    assert_eq!(world.ledger.queue_depth().await.unwrap().waiting, 3);
    world.books_balance().await;
    world.reopen().await;
    world.books_balance().await;
}

#[tokio::test]
async fn a_dead_delivery_is_replayed_as_the_same_fact() {
    let (mut world, due) = planned().await;
    let ws = world.workspace;
    let dead = settled(due, "http_404", Settled::Dead { reason: "refused_by_receiver".into() });
    world.ledger.delivery_settle(vec![dead], due.due).await.unwrap();
    assert_eq!(books(&world).await, (0, 0, 1, 0));

    let replay = world.ledger.delivery_replay(ws, due.delivery, minute(60)).await.unwrap();
    let Replay::Planned(replay) = replay else { panic!("it is planned: {replay:?}") };
    assert_ne!(replay.delivery, due.delivery);
    assert_eq!(books(&world).await, (1, 0, 1, 1));
    let (old, new) = (load(&world, due).await, load(&world, replay).await);
    assert_eq!((new.fact, &new.values, new.teller_version), (old.fact, &old.values, old.teller_version));
    assert_eq!(new.replay_of, Some(due.delivery));
    assert_eq!(world.ledger.event_of_delivery(ws, replay.delivery).await, Ok(Some(old.fact)));
    world.reopen().await;
    assert_eq!(books(&world).await, (1, 0, 1, 1), "what waits survives the process");

    world
        .ledger
        .delivery_settle(vec![settled(replay, "http_200", Settled::Delivered)], minute(61))
        .await
        .unwrap();
    assert_eq!(books(&world).await, (0, 1, 1, 1));
    let story = world.story(old.fact).await;
    assert_eq!(told(&world, &story), ["i acme"], "a replay is no second telling");
    let states: Vec<&str> = story.deliveries.iter().map(|d| d.state.as_str()).collect();
    assert_eq!(states.len(), 2);
    assert!(states.contains(&"dead") && states.contains(&"delivered"));
    assert_eq!(
        world.ledger.delivery_replay(ws, roundtrip_domain::id::Id::from_bits(1), minute(62)).await.unwrap(),
        Replay::Unknown
    );
}

#[tokio::test]
async fn a_send_that_could_not_be_made_ends_without_an_attempt() {
    let (world, due) = planned().await;
    let gone = Settlement { item: due, attempt: None, next: Settled::Dead { reason: "rule_deleted".into() } };
    world.ledger.delivery_settle(vec![gone], due.due).await.unwrap();
    assert_eq!(books(&world).await, (0, 0, 1, 0));
    let event = world.ledger.event_of_delivery(world.workspace, due.delivery).await.unwrap().unwrap();
    let state = world.story(event).await.deliveries.remove(0);
    assert_eq!((state.reason.as_str(), state.sends, state.attempts.len()), ("rule_deleted", 0, 0));
}

/// A world with one planned install postback that is accepted for a day after its click, which was at minute 0.
async fn planned_for_a_day() -> (World, Due) {
    let mut accepted = rule("install", None);
    accepted["accepts_within"] = json!("24h");
    let mut world = World::new(&with_rules(json!({"i": accepted}))).await;
    let click = world.click("game-acme", minute(0), "click_id=a1");
    world.record(world.event("game", "install", minute(1)).of("i1").click(&click)).await;
    let due = world.decide().await.planned.remove(0);
    (world, due)
}

#[tokio::test]
async fn a_deadline_is_stored_and_what_expired_is_counted() {
    let (world, due) = planned_for_a_day().await;
    let out = load(&world, due).await;
    assert_eq!((out.deadline, out.first_at), (Some(minute(24 * 60)), None));
    let later = Due { due: minute(90), sends: 1, ..due };
    let again = settled(due, "http_503", Settled::Again { due: later.due, reason: "http_503".into() });
    world.ledger.delivery_settle(vec![again], due.due).await.unwrap();
    let third = Due { due: minute(120), sends: 2, ..due };
    let again = settled(later, "http_503", Settled::Again { due: third.due, reason: "http_503".into() });
    world.ledger.delivery_settle(vec![again], later.due).await.unwrap();
    assert_eq!(load(&world, third).await.first_at, Some(due.due), "when its first send began");

    let expired = Settled::Expired { reason: "outside_acceptance_window".into() };
    let end = Settlement { item: third, attempt: None, next: expired };
    for _ in 0..2 {
        world.ledger.delivery_settle(vec![end.clone()], minute(1500)).await.unwrap();
        assert_eq!(books(&world).await, (0, 0, 0, 0));
    }
    let far = Timestamp::from_ms(i64::MAX / 2);
    let kept = world.ledger.balance(world.workspace, Timestamp::from_ms(0), far).await.unwrap();
    let counted = world.ledger.recount(world.workspace).await.unwrap();
    for books in [kept, counted] {
        let expired: i64 = books.values().filter_map(|row| row.finished.get("expired")).sum();
        assert_eq!(expired, 1);
    }
    let story = world.story(out.fact).await.deliveries.remove(0);
    assert_eq!(
        (story.state.as_str(), story.reason.as_str(), story.sends, story.deadline),
        ("expired", "outside_acceptance_window", 2, Some(minute(24 * 60)))
    );
}

/// Whoever replays what waits wants it sent now, and not twice.
#[tokio::test]
async fn what_waits_is_not_told_twice_but_sent_now() {
    let (mut world, due) = planned().await;
    let ws = world.workspace;
    let replay = async |world: &World, at| world.ledger.delivery_replay(ws, due.delivery, at).await.unwrap();
    assert_eq!(replay(&world, minute(60)).await, Replay::Hastened(due), "it is due already");
    let again = Settled::Again { due: minute(600), reason: "http_503".into() };
    world.ledger.delivery_settle(vec![settled(due, "http_503", again)], minute(61)).await.unwrap();
    world.ledger.due_take();
    let now = Due { due: minute(62), sends: 1, ..due };
    assert_eq!(replay(&world, minute(62)).await, Replay::Hastened(now));
    assert_eq!(world.ledger.due_take(), [now], "the engine is handed it at once");
    assert_eq!(books(&world).await, (1, 0, 0, 0), "nothing new is planned");
    assert!(
        load(&world, now).await.is_waiting && !load(&world, Due { due: minute(600), ..now }).await.is_waiting
    );
    let story = world.story(load(&world, now).await.fact).await.deliveries.remove(0);
    assert_eq!((story.reason.as_str(), story.sends), ("http_503", 1), "why it waits is still told");
    world.reopen().await;
    world.books_balance().await;

    let stop = |to| EndpointWish {
        workspace: ws,
        endpoint: due.endpoint,
        to,
        reason: String::new(),
        actor: "owner".into(),
    };
    world.ledger.endpoint_set(stop(State::Paused), minute(63)).await.unwrap();
    let held = replay(&world, minute(64)).await;
    assert!(matches!(&held, Replay::Held(row) if row.state == State::Paused), "{held:?}");
    world.ledger.endpoint_set(stop(State::Active), minute(65)).await.unwrap();
    let end = settled(now, "http_200", Settled::Delivered);
    world.ledger.delivery_settle(vec![end], minute(66)).await.unwrap();
    assert!(matches!(replay(&world, minute(67)).await, Replay::Planned(_)), "what has ended is told again");
    world.books_balance().await;
}

#[tokio::test]
async fn what_its_rule_delays_is_not_sent_before_that_is_over() {
    let mut slow = rule("install", None);
    slow["delay"] = json!("1h");
    let mut world = World::new(&with_rules(json!({"i": slow}))).await;
    let click = world.click("game-acme", minute(0), "click_id=a1");
    world.record(world.event("game", "install", minute(1)).of("i1").click(&click)).await;
    let due = world.decide().await.planned.remove(0);
    let replay = async |at| world.ledger.delivery_replay(world.workspace, due.delivery, at).await.unwrap();
    assert_eq!(replay(minute(2)).await, Replay::Delayed(due.due));
    assert_eq!(replay(due.due).await, Replay::Hastened(due));
    world.books_balance().await;
}

/// What the operator's settings do not allow was not sent: it stands with the delivery once, and uses up nothing.
#[tokio::test]
async fn what_was_not_sent_is_kept_once_and_counts_as_no_send() {
    let (mut world, due) = planned().await;
    let mut item = due;
    let codes = NotAllowed::ALL.map(NotAllowed::code);
    for code in codes.into_iter().chain(codes) {
        let next = Settled::Unsent { due: item.due.plus_ms(30_000), reason: code.into() };
        let waits = world.ledger.delivery_settle(vec![settled(item, code, next)], item.due).await.unwrap();
        let waits = waits[0].expect("it waits");
        assert_eq!((waits.sends, waits.due), (0, item.due.plus_ms(30_000)));
        item = waits;
        world.books_balance().await;
    }
    let fact = load(&world, item).await.fact;
    let story = world.story(fact).await.deliveries.remove(0);
    let kept: Vec<_> = story.attempts.iter().map(|a| (a.n, a.outcome.as_str())).collect();
    assert_eq!(kept, codes.map(|code| (1, code)));
    assert_eq!((story.state.as_str(), story.reason.as_str(), story.sends), ("scheduled", codes[2], 0));
    // Its first send is the first one: the horizon counts from there.
    let again = Settled::Again { due: minute(90), reason: "http_503".into() };
    let sent = settled(item, "http_503", again);
    let first_at = sent.attempt.as_ref().expect("a send").at;
    let waits = world.ledger.delivery_settle(vec![sent], minute(80)).await.unwrap()[0].expect("it waits");
    assert_eq!((waits.sends, load(&world, waits).await.first_at), (1, Some(first_at)));
    world.reopen().await;
    world.books_balance().await;
}

#[tokio::test]
async fn a_replay_after_the_window_has_none_and_one_before_keeps_it() {
    let (world, due) = planned_for_a_day().await;
    let dead = settled(due, "http_404", Settled::Dead { reason: "refused_by_receiver".into() });
    world.ledger.delivery_settle(vec![dead], due.due).await.unwrap();
    for (at, deadline) in
        [(minute(60), Some(minute(24 * 60))), (minute(24 * 60), None), (minute(9_000), None)]
    {
        let replay = world.ledger.delivery_replay(world.workspace, due.delivery, at).await.unwrap();
        let Replay::Planned(replay) = replay else { panic!("it is planned: {replay:?}") };
        assert_eq!(load(&world, replay).await.deadline, deadline, "{at}");
    }
}

#[tokio::test]
async fn what_is_planned_after_its_window_is_planned_all_the_same() {
    let mut accepted = rule("install", None);
    accepted["accepts_within"] = json!("1h");
    accepted["delay"] = json!("10m");
    let mut world = World::new(&with_rules(json!({"i": accepted}))).await;
    let click = world.click("game-acme", minute(0), "click_id=a1");
    world.record(world.event("game", "install", minute(180)).of("i1").click(&click)).await;
    let due = world.decide().await.planned.remove(0);
    let deadline = load(&world, due).await.deadline;
    assert_eq!(deadline, Some(minute(60)));
    assert_eq!(books(&world).await, (1, 0, 0, 0), "it waits, and the engine says that it expired");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_books_balance_at_every_moment_while_deliveries_end() {
    let document = json!({
        "apps": {"shop": {"platform": "web"}},
        "webhooks": {"all": {"url": "https://owner.example/all", "events": ["purchase"]}},
    });
    let world = World::new(&document).await;
    for n in 0..200 {
        world.record(world.event("shop", "purchase", minute(n))).await;
    }
    let planned = world.decide().await.planned;
    assert_eq!(planned.len(), 200);
    let (ledger, ws) = (world.ledger.clone(), world.workspace);
    let ending = tokio::spawn(async move {
        for due in planned {
            let end = settled(due, "http_200", Settled::Delivered);
            ledger.delivery_settle(vec![end], due.due).await.expect("it is stored");
        }
    });
    let far = Timestamp::from_ms(i64::MAX / 2);
    let mut between = 0;
    loop {
        let is_over = ending.is_finished();
        let books = world.ledger.balance(ws, Timestamp::from_ms(0), far).await.unwrap();
        for (key, row) in &books {
            assert_eq!(row.differences(), (0, 0), "{key:?}: {row:?}");
        }
        let waiting: i64 = books.values().map(|row| row.waiting).sum();
        between += u32::from((1..200).contains(&waiting));
        if is_over {
            break;
        }
    }
    ending.await.expect("all have ended");
    assert!(between > 0, "the books were never read while deliveries ended, so nothing was tried");
    assert_eq!(books(&world).await, (0, 200, 0, 0));
}
