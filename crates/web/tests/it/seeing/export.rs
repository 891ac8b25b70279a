//! Clicks over the API of exports: whose, until when, and what of people.

use axum::body::Body;
use http::{Method, Request};
use roundtrip_domain::time::Timestamp;
use serde_json::{Value, json};

use super::world::{ANALYST, BROWSER, GAID, IP, READER, World};

impl World {
    async fn exported(&self, query: &str) -> Vec<Value> {
        let answer = self.get(&format!("/api/v1/export/clicks?{query}")).await;
        assert_eq!(answer.status, 200, "{}", answer.text);
        answer.text.lines().map(|line| serde_json::from_str(line).expect("it is JSON")).collect()
    }

    async fn asked_by(&self, key: &str, query: &str) -> (u16, String) {
        let path = format!("/api/v1/export/clicks?{query}");
        let request = Request::get(path).header("authorization", format!("Bearer {key}"));
        let answer = self.send(request.body(Body::empty()).expect("a request")).await;
        (answer.status.as_u16(), answer.text)
    }
}

fn ids(rows: &[Value]) -> Vec<&str> {
    rows.iter().map(|row| row["click_id"].as_str().expect("an id")).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn clicks_are_exported_once_settled_by_either_end_and_people_only_when_asked() {
    let world = World::set_up().await;
    let query = format!("click_id=a1&sub1=x&gaid={GAID}&own=v");
    let first = world.click("Acme-Summer", &query).await.id.to_string();
    world.clock.advance(3_600_000);
    let second = world.click("Zen-Summer", "click_id=a2").await.id.to_string();
    assert_eq!(ids(&world.exported("").await), [&first], "the second one is of this minute");
    let later = Timestamp::from_ms(world.clock.now().ms() + 1).to_string();
    assert_eq!(
        ids(&world.exported(&format!("to={later}")).await),
        [&first, &second],
        "an end that is named is kept to"
    );
    let now = world.clock.now();
    assert_eq!(
        ids(&world.exported(&format!("from={now}")).await),
        Vec::<&str>::new(),
        "from then on nothing is settled"
    );
    let about = world.get("/api/v1/export").await.json(200);
    let clicks = about["items"].as_array().and_then(|items| items.last()).expect("the last one");
    assert_eq!(
        (&clicks["name"], &clicks["settled"]),
        (&json!("clicks"), &json!(now.plus_ms(-60_000).to_string()))
    );
    assert_eq!(clicks["columns"].as_array().map(Vec::len), Some(45));
    world.clock.advance(60_001);
    // Sealed or not, they are the same.
    let rows = world.exported("").await;
    assert_eq!(ids(&rows), [&first, &second]);
    let sealed = world.call(Method::POST, "/api/v1/click-files/seal", Some(&json!({}))).await;
    assert_eq!(sealed.json(200)["done"][0]["what"], "sealed");
    assert_eq!(world.exported("").await, rows);

    let row = &rows[0];
    let wanted = json!({
        "kind": "click", "link": "Acme-Summer", "partner": "acme", "partner_click_id": "a1", "sub1": "x", "country": "DE",
        "city": "Berlin", "asn": 64_500, "network": "Example Net", "dialect": "linkrunner", "flags": null,
    });
    for (name, value) in wanted.as_object().expect("an object") {
        assert_eq!(&row[name], value, "{name}");
    }
    for personal in ["ip", "user_agent", "referer", "language", "gaid", "query"] {
        assert_eq!(row[personal], Value::Null, "{personal}");
    }
    let (status, text) = world.asked_by(READER, "").await;
    assert!(status == 200 && text.lines().count() == 2 && !text.contains(GAID) && !text.contains(IP));
    let (status, text) = world.asked_by(READER, "full=true").await;
    assert!(status == 403 && text.contains("scope_missing"), "{text}");
    let (status, text) = world.asked_by(ANALYST, "full=true").await;
    assert_eq!(status, 200, "{text}");
    let row: Value = serde_json::from_str(text.lines().next().expect("a line")).expect("it is JSON");
    assert_eq!((&row["ip"], &row["user_agent"], &row["gaid"]), (&json!(IP), &json!(BROWSER), &json!(GAID)));
    assert_eq!(row["query"], query);

    // Another workspace has none of these, and its key gets none.
    world.call(Method::POST, "/api/v1/workspaces", Some(&json!({ "slug": "other" }))).await.json(201);
    assert_eq!(world.exported("workspace=other").await, Vec::<Value>::new());
    let (status, _) = world.asked_by(ANALYST, "workspace=other").await;
    assert_eq!(status, 403);
    assert_eq!(ids(&world.exported("app=shop").await).len(), 2);
    let refused = world.get("/api/v1/export/clicks?app=nope").await.json(400);
    assert_eq!(refused["error"]["field"], "app");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_not_settled_comes_only_when_its_end_is_named() {
    let (world, _) = World::furnished().await;
    let lines = async |path: &str| world.get(path).await.text.lines().count();
    // An event that waits for its decision holds back what decisions make, and not itself.
    let about = world.get("/api/v1/export").await.json(200);
    let settled: Vec<&Value> =
        about["items"].as_array().expect("items").iter().map(|item| &item["settled"]).collect();
    let now = world.clock.now();
    let event = world.event("signup", 77);
    let id = world.ledger.event_id(now);
    let event = roundtrip_domain::event::Event { id, received_at: now, ..event };
    let answers =
        world.ledger.event_record(vec![roundtrip_store::ledger::NewEvent { event, idempotency: None }]).await;
    assert!(answers[0].is_ok(), "{settled:?}");
    world.clock.advance(3_600_000);
    let (events, decisions) = (lines("/api/v1/export/events").await, lines("/api/v1/export/decisions").await);
    let to = world.clock.now();
    assert_eq!(lines(&format!("/api/v1/export/events?to={to}")).await, events, "it is an hour old");
    world.decide_rest().await;
    assert_eq!(lines("/api/v1/export/decisions").await, decisions + 1, "it is decided");
    let event = world.event("signup", 78);
    let (id, received_at) = (world.ledger.event_id(to), to);
    let event = roundtrip_domain::event::Event { id, received_at, ..event };
    let answers =
        world.ledger.event_record(vec![roundtrip_store::ledger::NewEvent { event, idempotency: None }]).await;
    assert!(answers[0].is_ok());
    assert_eq!(lines("/api/v1/export/events").await, events, "it came a moment ago");
    let to = to.plus_ms(1);
    assert_eq!(lines(&format!("/api/v1/export/events?to={to}")).await, events + 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_export_ends_though_clicks_keep_coming() {
    let world = std::sync::Arc::new(World::set_up().await);
    let first = world.click("Acme-Summer", "click_id=a1").await.id.to_string();
    let is_over = std::sync::Arc::new(std::sync::atomic::AtomicBool::new(false));
    let coming = tokio::spawn({
        let (world, is_over) = (world.clone(), is_over.clone());
        async move {
            let mut came = 0;
            while !is_over.load(std::sync::atomic::Ordering::SeqCst) {
                world.clock.advance(1);
                world.click("Acme-Summer", "click_id=more").await;
                came += 1;
            }
            came
        }
    });
    let exported =
        tokio::time::timeout(std::time::Duration::from_secs(30), world.exported("to=2999-01-01")).await;
    is_over.store(true, std::sync::atomic::Ordering::SeqCst);
    let (rows, came) = (exported.expect("it ends"), coming.await.expect("it ends too"));
    assert_eq!(ids(&rows)[0], first);
    assert!(rows.len() <= came + 1, "{} of {came}", rows.len());
}
