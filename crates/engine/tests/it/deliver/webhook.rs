//! Webhooks over real sockets: signed, sent again with the same id, replayed, and told of how postbacks end.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use roundtrip_domain::endpoint::Endpoint;
use roundtrip_domain::time::Timestamp;
use roundtrip_domain::webhook::sign;
use roundtrip_engine::Engine;
use roundtrip_store::ledger::{Replay, Story};
use roundtrip_testkit::{Tell, sample};
use serde_json::{Value, json};
use tokio::io::AsyncWriteExt as _;

use super::{House, finished};
use crate::sender::receiver::Receiver;

/// Answers 503 to the first request and takes every other.
async fn busy_once() -> Receiver {
    Receiver::start(|n, mut stream, seen| async move {
        if seen.request(&mut stream).await.is_some() {
            let status = if n == 0 { "503 Busy" } else { "200 OK" };
            let answer = format!("HTTP/1.1 {status}\r\ncontent-length: 0\r\nconnection: close\r\n\r\n");
            // A sender that went away is seen by what the test waits for.
            let _ = stream.write_all(answer.as_bytes()).await;
        }
    })
    .await
}

fn header<'a>(request: &'a str, name: &str) -> &'a str {
    let line = request.lines().find(|line| line.to_ascii_lowercase().starts_with(&format!("{name}:")));
    line.and_then(|line| line.split_once(':')).map(|(_, value)| value.trim()).unwrap_or_default()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_webhook_is_signed_afresh_at_each_send_and_keeps_its_id() {
    let receiver = busy_once().await;
    let mut document = sample();
    document["webhooks"] = json!({"owner": {"url": format!("http://{}/hooks", receiver.address), "headers": {"x-key": "opensesame"}}});
    let house = House::new(&document, &[5, 5]).await;
    let engine = Engine::start(house.config.clone());
    let id = house.world.record(house.event("install").of("i1")).await;
    let story = house.until(id, "it is delivered", finished).await;
    let [delivery] = &story.deliveries[..] else { panic!("one webhook: {:?}", story.deliveries) };
    let webhook = house.world.settings().webhooks[0].clone();
    assert_eq!(delivery.endpoint, Endpoint::Webhook(webhook.id));
    assert_eq!((delivery.state.as_str(), delivery.sends), ("delivered", 2));
    let planned = house
        .world
        .ledger
        .delivery_replay(house.world.workspace, delivery.id, house.config.clock.now())
        .await;
    let Ok(Replay::Planned(replay)) = planned else { panic!("it is planned: {planned:?}") };
    let is_replayed =
        |story: &Story| story.deliveries.iter().any(|d| d.id == replay.delivery && d.state == "delivered");
    let story = house.until(id, "the replay is delivered", is_replayed).await;

    let requests = receiver.seen.requests();
    assert_eq!(requests.len(), 3);
    for (n, request) in requests.iter().enumerate() {
        let (head, body) = request.split_once("\r\n\r\n").expect("a whole request");
        assert!(head.starts_with("POST /hooks HTTP/1.1"), "{head}");
        assert_eq!(header(head, "webhook-id"), id.to_string(), "receivers dedupe on it");
        let at =
            Timestamp::from_ms(header(head, "webhook-timestamp").parse::<i64>().expect("seconds") * 1000);
        for (name, value) in sign::headers(&webhook.signing, &id.to_string(), at, body.as_bytes()) {
            assert_eq!(header(head, &name), value, "{name} of send {n}");
        }
        let event: Value = serde_json::from_str(body).expect("JSON");
        assert_eq!((&event["event_id"], &event["kind"]), (&json!(id.to_string()), &json!("organic_install")));
        let of = if n == 2 { replay.delivery } else { delivery.id };
        assert_eq!(header(head, "x-roundtrip-delivery"), of.to_string());
        assert_eq!(header(head, "x-roundtrip-replay-of").is_empty(), n != 2);
    }
    // Evidence shows what was sent, and none of its secrets.
    let evidence = &story.deliveries[0].attempts[0].body;
    assert!(evidence.contains("webhook-signature") && !evidence.contains("opensesame"), "{evidence}");
    engine.stop().await;
    house.world.books_balance().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_end_of_a_postback_is_told_as_soon_as_it_is_known() {
    let receiver = busy_once().await;
    let owner = busy_once().await;
    let mut document = sample();
    document["rules"] = json!({"a": super::rule(receiver.address, "")});
    document["webhooks"] =
        json!({"ends": {"url": format!("http://{}/", owner.address), "events": ["postback_delivered"]}});
    let house = House::new(&document, &[5, 5]).await;
    let engine = Engine::start(house.config.clone());
    let click = house.click("game-acme", "click_id=p1").await;
    let id = house.world.record(house.event("install").of("i1").click_text(&click)).await;
    let both = |story: &Story| story.deliveries.len() == 2 && finished(story);
    let story = house.until(id, "both are delivered", both).await;
    assert!(
        story.deliveries.iter().all(|d| (d.state.as_str(), d.sends) == ("delivered", 2)),
        "{:?}",
        story.deliveries
    );
    engine.stop().await;
    house.world.books_balance().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_written_of_an_endpoint_does_not_hold_in_memory_alone() {
    let is_well = Arc::new(AtomicBool::new(false));
    let well = is_well.clone();
    let receiver = Receiver::start(move |_, mut stream, seen| {
        let well = well.clone();
        async move {
            while seen.request(&mut stream).await.is_some() {
                let status = if well.load(Ordering::SeqCst) { "200 OK" } else { "410 Gone" };
                let answer = format!("HTTP/1.1 {status}\r\ncontent-length: 0\r\n\r\n");
                if stream.write_all(answer.as_bytes()).await.is_err() {
                    return;
                }
            }
        }
    })
    .await;
    let mut document = sample();
    document["webhooks"] = json!({"owner": {"url": format!("http://{}/", receiver.address)}});
    let house = House::new(&document, &[5, 5]).await;
    let raw = rusqlite::Connection::open(house.world.dir().join("ledger.sqlite")).expect("the ledger's file");
    raw.execute_batch(
        "CREATE TRIGGER breaks BEFORE INSERT ON endpoint BEGIN SELECT RAISE(ABORT, 'broken'); END",
    )
    .expect("a trigger");
    let engine = Engine::start(house.config.clone());
    let id = house.world.record(house.event("install").of("i1")).await;
    house.until(id, "it is refused", |story| story.deliveries.iter().any(|d| d.sends == 1)).await;
    is_well.store(true, Ordering::SeqCst);
    let story = house.until(id, "it is sent again", finished).await;
    assert_eq!((story.deliveries[0].state.as_str(), story.deliveries[0].sends), ("delivered", 2));
    engine.stop().await;
    house.world.books_balance().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_webhook_that_is_gone_is_disabled_holds_what_is_for_it_and_the_others_hear_of_it() {
    let gone = Receiver::start(|_, mut stream, seen| async move {
        while seen.request(&mut stream).await.is_some() {
            if stream.write_all(b"HTTP/1.1 410 Gone\r\ncontent-length: 0\r\n\r\n").await.is_err() {
                return;
            }
        }
    })
    .await;
    let ops = busy_once().await;
    let mut document = sample();
    document["webhooks"] = json!({
        "gone": {"url": format!("http://{}/", gone.address), "events": ["organic_install"]},
        "ops": {"url": format!("http://{}/", ops.address), "events": ["endpoint_disabled"]},
    });
    let house = House::new(&document, &[5, 5]).await;
    let engine = Engine::start(house.config.clone());
    let id = house.world.record(house.event("install").of("i1")).await;
    house.until(id, "it is held", |story| story.deliveries.iter().any(|d| d.sends == 1)).await;
    let deadline = tokio::time::Instant::now() + super::PATIENCE;
    while ops.seen.requests().len() < 2 {
        assert!(tokio::time::Instant::now() < deadline, "nobody was told that it was disabled");
        tokio::task::yield_now().await;
    }
    let body = ops.seen.requests().pop().expect("a request");
    let body: Value = serde_json::from_str(body.split_once("\r\n\r\n").expect("whole").1).expect("JSON");
    assert_eq!(
        (&body["kind"], &body["notice"]["about"]),
        (&json!("endpoint_disabled"), &json!("webhook:gone"))
    );
    // What comes later is held too, and nothing is sent.
    let later = house.world.record(house.event("install").of("i2")).await;
    house.until(later, "it is planned", |story| !story.deliveries.is_empty()).await;
    let story = house.world.story(id).await;
    assert!(story.deliveries.iter().all(|d| d.state == "held"), "{:?}", story.deliveries);
    assert_eq!(gone.seen.requests().len(), 1);
    engine.stop().await;
    house.world.books_balance().await;
}
