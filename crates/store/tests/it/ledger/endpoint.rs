//! Endpoints that hold: their rows stay, are counted apart, and end when they were held for too long.

use roundtrip_domain::endpoint::health::{Health, Notice};
use roundtrip_domain::endpoint::{Endpoint, State};
use roundtrip_domain::id::Id;
use roundtrip_domain::time::{Span, Timestamp};
use roundtrip_store::ledger::{
    Due, EndpointNews, EndpointRow, EndpointWish, QueueDepth, Settled, Settlement, WindowWish,
};
use roundtrip_testkit::{Tell, World};
use serde_json::json;

use super::{minute, rule, with_rules};

/// A world in which so many installs of acme's wait to be told.
async fn waiting(n: usize) -> (World, Endpoint) {
    waiting_and_heard(n, &[]).await
}

/// The same, with a webhook `ops` that asks for these topics; none: without one.
async fn waiting_and_heard(n: usize, events: &[&str]) -> (World, Endpoint) {
    let mut document = with_rules(json!({"i": rule("install", None)}));
    if !events.is_empty() {
        document["webhooks"] = json!({"ops": {"url": "https://owner.example/ops", "events": events}});
    }
    let mut world = World::new(&document).await;
    for n in 0..n {
        let click = world.click("game-acme", minute(0), &format!("click_id=a{n}"));
        world.record(world.event("game", "install", minute(1)).of(&format!("i{n}")).click(&click)).await;
    }
    world.decide().await;
    let endpoint = Endpoint::Postback { rule: world.rule("i"), partner: world.partner("acme") };
    (world, endpoint)
}

async fn set(world: &World, endpoint: Endpoint, to: State, at: Timestamp) -> Option<EndpointRow> {
    let wish =
        EndpointWish { workspace: world.workspace, endpoint, to, reason: "why".into(), actor: "who".into() };
    world.ledger.endpoint_set(wish, at).await.unwrap()
}

async fn depth(world: &World) -> (u64, u64) {
    let QueueDepth { waiting, held, .. } = world.ledger.queue_depth().await.unwrap();
    (waiting, held)
}

#[tokio::test]
async fn what_is_held_is_counted_apart_and_handed_to_the_engine() {
    let (mut world, endpoint) = waiting(3).await;
    assert_eq!(depth(&world).await, (3, 0));
    let row = set(&world, endpoint, State::Paused, minute(5)).await.expect("it is paused");
    assert_eq!((row.state, row.since, row.reason.as_str()), (State::Paused, minute(5), "why"));
    assert_eq!(world.ledger.endpoint_changes(), std::slice::from_ref(&row), "the engine hears of it");
    assert_eq!(world.ledger.endpoint_changes(), [], "once");
    assert_eq!(depth(&world).await, (0, 3));
    world.books_balance().await;
    world.reopen().await;
    assert_eq!(world.ledger.endpoint_rows().await.unwrap(), [row]);
    let listed = world.ledger.endpoint_list(world.workspace).await.unwrap().remove(0);
    assert_eq!((listed.row.endpoint, listed.queued), (endpoint, 3));
    assert_eq!(listed.oldest_due, world.ledger.queue_depth().await.unwrap().oldest);
    set(&world, endpoint, State::Active, minute(6)).await.expect("it goes on");
    assert_eq!(depth(&world).await, (3, 0));
    assert_eq!(world.ledger.endpoint_rows().await.unwrap(), []);
    world.books_balance().await;
}

#[tokio::test]
async fn what_is_held_for_too_long_expires_in_steps_and_nothing_else_does() {
    let (world, endpoint) = waiting(5).await;
    let kept = Span::from_days(30);
    let day = |n: i64| minute(n * 24 * 60);
    let item = world.ledger.queue_windows(vec![wish(&world, endpoint)]).await.unwrap()[0].firsts[0];
    let (workspace, id) = (world.workspace, item.delivery);
    let item = Due { workspace, endpoint, due: item.due, delivery: id, sends: 0 };
    let dead = Settlement { item, attempt: None, next: Settled::Dead { reason: "template_not_kept".into() } };
    world.ledger.delivery_settle(vec![dead], day(1)).await.unwrap();
    assert_eq!(
        world.ledger.held_expire(world.workspace, day(40), kept).await,
        Ok(0),
        "it waits, and is not held"
    );
    set(&world, endpoint, State::Disabled, day(10)).await.expect("it is disabled");
    assert_eq!(world.ledger.held_expire(world.workspace, day(39), kept).await, Ok(0), "held for 29 days");
    world.ledger.delivery_replay(world.workspace, id, day(38)).await.unwrap();
    assert_eq!(depth(&world).await, (0, 5));
    assert_eq!(world.ledger.held_expire(world.workspace, day(41), kept).await, Ok(4));
    assert_eq!(depth(&world).await, (0, 1), "the one that came three days ago stays");
    world.books_balance().await;
    let far = Timestamp::from_ms(i64::MAX / 2);
    let books = world.ledger.balance(world.workspace, Timestamp::from_ms(0), far).await.unwrap();
    assert!(books.values().any(|row| row.finished.get("expired") == Some(&4) && row.held == 1), "{books:?}");
}

#[tokio::test]
async fn that_a_held_postback_expired_is_told_and_another_way_of_holding_begins_nothing_anew() {
    let (world, endpoint) = waiting_and_heard(2, &["postback_failed"]).await;
    let kept = Span::from_days(30);
    let day = |n: i64| minute(n * 24 * 60);
    set(&world, endpoint, State::Paused, day(1)).await.expect("it is paused");
    set(&world, endpoint, State::Active, day(10)).await.expect("it goes on");
    set(&world, endpoint, State::Paused, day(11)).await.expect("it is paused again");
    set(&world, endpoint, State::Disabled, day(30)).await.expect("it is disabled");
    world.ledger.due_take();
    assert_eq!(world.ledger.held_expire(world.workspace, day(40), kept).await, Ok(0), "held for 29 days");
    assert_eq!(world.ledger.held_expire(world.workspace, day(41), kept).await, Ok(2));
    let told = world.ledger.due_take();
    assert!(told.len() == 2 && told.iter().all(|due| due.endpoint.postback().is_none()), "{told:?}");
    let loaded = world.ledger.delivery_load_all(told).await.unwrap();
    for outgoing in loaded {
        let payload = outgoing.and_then(|outgoing| outgoing.payload).expect("a body");
        let body: serde_json::Value = serde_json::from_str(&payload).unwrap();
        assert_eq!(
            (&body["event_name"], &body["postback"]["state"]),
            (&json!("postback_failed"), &json!("expired"))
        );
        assert_eq!(body["postback"]["reason"], "held_too_long");
    }
    let rows = world.ledger.endpoint_rows().await.unwrap();
    assert_eq!(rows[0].state, State::Disabled, "it stays as it is");
    world.books_balance().await;
}

fn wish(world: &World, endpoint: Endpoint) -> WindowWish {
    WindowWish { workspace: world.workspace, endpoint, firsts: 9, retries: 9 }
}

#[tokio::test]
async fn news_of_the_engine_is_kept_and_disables_once() {
    let (world, endpoint) = waiting(1).await;
    let health = Health {
        failing_since: Some(minute(0)),
        evidence_at: Some(minute(800)),
        last_success: None,
        notices: 3,
        is_kept: true,
    };
    let news =
        |disable, notice| EndpointNews { workspace: world.workspace, endpoint, health, disable, notice };
    let at = minute(7_300);
    world
        .ledger
        .endpoint_news(vec![news(None, Some(Notice::Failing { hours: 1 }))], minute(60))
        .await
        .unwrap();
    for _ in 0..2 {
        let all = vec![news(Some("failing_for_days"), Some(Notice::Disabled))];
        world.ledger.endpoint_news(all, at).await.unwrap();
    }
    let row = world.ledger.endpoint_rows().await.unwrap().remove(0);
    assert_eq!((row.state, row.health, row.actor.as_str()), (State::Disabled, health, "roundtrip"));
    assert_eq!(world.ledger.endpoint_changes().len(), 1);
    let log = world.ledger.endpoint_log(world.workspace, endpoint).await.unwrap();
    let codes: Vec<&str> = log.iter().map(|line| line.code.as_str()).collect();
    assert_eq!(codes, ["disabled", "endpoint_disabled", "endpoint_failing"]);
    set(&world, endpoint, State::Active, minute(8_000)).await.expect("somebody enables it");
    let listed = world.ledger.endpoint_list(world.workspace).await.unwrap().remove(0);
    assert_eq!(listed.row.health, Health::default(), "it begins anew");
    assert_eq!(
        world.ledger.endpoint_log(world.workspace, Endpoint::Webhook(Id::from_bits(7))).await,
        Ok(vec![])
    );
}

#[tokio::test]
async fn what_disables_an_endpoint_and_the_word_of_it_are_one_write() {
    let (world, endpoint) = waiting_and_heard(1, &["endpoint_disabled", "endpoint_failing"]).await;
    let health = Health { failing_since: Some(minute(0)), is_kept: true, ..Health::default() };
    let news = EndpointNews {
        workspace: world.workspace,
        endpoint,
        health,
        disable: Some("gone"),
        notice: Some(Notice::Disabled),
    };
    world.ledger.due_take();
    let raw = super::raw(&world);
    let breaks = "CREATE TRIGGER breaks BEFORE INSERT ON notice BEGIN SELECT RAISE(ABORT, 'broken'); END";
    raw.execute_batch(breaks).unwrap();
    world.ledger.endpoint_news(vec![news.clone()], minute(60)).await.unwrap_err();
    assert_eq!(world.ledger.endpoint_rows().await.unwrap(), [], "neither without the other");
    raw.execute_batch("DROP TRIGGER breaks").unwrap();
    // Twice, as after an answer that was lost.
    for _ in 0..2 {
        world.ledger.endpoint_news(vec![news.clone()], minute(60)).await.unwrap();
    }
    let notices = world.ledger.notices(world.workspace, None, 9).await.unwrap();
    assert_eq!(notices.iter().map(|notice| notice.topic.as_str()).collect::<Vec<_>>(), ["endpoint_disabled"]);
    assert!(notices[0].body.contains("rule:i@acme was disabled"), "{}", notices[0].body);
    let told = world.ledger.due_take();
    assert!(matches!(told[..], [due] if due.endpoint.postback().is_none()), "{told:?}");
    assert_eq!(world.ledger.endpoint_changes().len(), 1);
    world.books_balance().await;
}

#[tokio::test]
async fn figures_are_of_the_newest_rows_and_say_when_there_were_more() {
    let (world, endpoint) = waiting(4).await;
    let read = async |world: &World, since, rows| {
        world.ledger.endpoint_figures(world.workspace, since, rows).await.unwrap()
    };
    let none = read(&world, minute(0), 10).await;
    assert_eq!((none.ended.is_empty(), none.rows, none.cut_at), (true, 4, None), "what waits has not ended");
    let day = |n: i64| minute(n * 24 * 60);
    set(&world, endpoint, State::Disabled, minute(5)).await.expect("it is disabled");
    assert_eq!(world.ledger.held_expire(world.workspace, day(41), Span::from_days(30)).await, Ok(4));
    let expired = |n| [(endpoint, [("expired".to_owned(), n)].into())].into();
    let all = read(&world, minute(0), 10).await;
    assert_eq!((all.ended, all.rows, all.cut_at), (expired(4), 4, None));
    let some = read(&world, minute(0), 3).await;
    assert_eq!((some.ended, some.rows), (expired(3), 3));
    assert!(some.cut_at.is_some(), "there were more");
    assert_eq!(read(&world, day(1), 10).await.rows, 0, "they were planned before that");
}
