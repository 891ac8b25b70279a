//! `POST /v1/events`: what is taken, once.

use axum::body::Body;
use http::Method;
use roundtrip_domain::device::DeviceIdKind;
use roundtrip_domain::event::{Environment, Source};
use roundtrip_domain::time::Timestamp;
use roundtrip_web::ingest::Options;
use serde_json::{Value, json};

use super::{CLIENT, NOW, SERVER, World};

#[tokio::test]
async fn an_event_is_kept_field_by_field() {
    let world = World::new().await;
    let body = r#"{
        "event_id": "e-1", "event_name": "install", "timestamp": "2026-06-04T11:21:00.5+02:00", "environment": "sandbox",
        "install_id": "i-1", "click_id": "0198c3d2-2a00-7005-8000-00630badcafe",
        "install_referrer": {"referrer": "rt_click_id=x&utm_source=y", "click_ts": 1780564800, "click_ts_server": 1780564801,
            "install_begin_ts": "1780564850", "install_begin_ts_server": 0},
        "user": {"customer_id": 42},
        "device": {"platform": "Android", "os_version": "15", "model": "Pixel 9", "app_version": "4.2.0", "att_status": null,
            "gaid": "38400000-8CF0-11BD-B23E-10B96E40000D", "idfa": "00000000-0000-0000-0000-000000000000", "oaid": "0"},
        "revenue": 12.10, "currency": "eur",
        "properties": {"sku" : "a b", "n": 1.50}, "consent": {"eea": true},
        "ip": "::ffff:203.0.113.7", "user_agent": "Game/4.2 (Android)"
    }"#;
    let answer = world.events(SERVER, body).await;
    assert_eq!(answer.warnings(), Vec::<&str>::new());
    let event = world.event(&answer).await;
    let kept = answer.expect(202);
    assert_eq!(kept["status"], "accepted");
    assert_eq!(kept["deduplicated"], true);
    assert_eq!(kept["conversion_id"].as_str().unwrap()[4..], kept["event_id"].as_str().unwrap()[4..]);
    assert_eq!(event.source, Source::Server);
    assert_eq!(event.source_event_id.as_deref(), Some("e-1"));
    assert_eq!((event.name.as_str(), event.environment), ("install", Environment::Sandbox));
    assert_eq!(event.occurred_at.to_string(), "2026-06-04T09:21:00.500Z");
    assert_eq!(event.received_at, NOW);
    assert_eq!(event.install_id.as_deref(), Some("i-1"));
    assert_eq!(event.click_id.as_deref(), Some("0198c3d2-2a00-7005-8000-00630badcafe"));
    let referrer = event.referrer.unwrap();
    assert_eq!(referrer.referrer, "rt_click_id=x&utm_source=y");
    assert_eq!(referrer.click_at, Some(Timestamp::from_ms(1_780_564_800_000)));
    assert_eq!(referrer.install_begin_at, Some(Timestamp::from_ms(1_780_564_850_000)));
    assert_eq!(referrer.install_begin_server_at, None, "the store says 0 when it knows none");
    assert_eq!(event.customer_id.as_deref(), Some("42"));
    assert_eq!(event.device.platform.as_deref(), Some("android"));
    assert_eq!(event.device.ids.len(), 1, "withheld ids are absent");
    assert_eq!(event.device.id(DeviceIdKind::Gaid).unwrap().text, "38400000-8cf0-11bd-b23e-10b96e40000d");
    let revenue = event.revenue.unwrap();
    assert_eq!(
        (revenue.amount.micros, revenue.amount.text.as_str(), revenue.verified),
        (12_100_000, "12.10", true)
    );
    assert_eq!(revenue.currency.unwrap().as_str(), "EUR");
    assert_eq!(event.properties.as_deref(), Some(r#"{"sku" : "a b", "n": 1.50}"#), "as sent");
    assert_eq!(event.consent.as_deref(), Some(r#"{"eea": true}"#));
    assert_eq!(event.ip, Some("203.0.113.7".parse().unwrap()));
    assert_eq!(event.user_agent.as_deref(), Some("Game/4.2 (Android)"));
}

#[tokio::test]
async fn a_client_s_word_is_marked_and_its_connection_is_the_person_s() {
    let world = World::new().await;
    let body = json!({ "event_id": "e-1", "event_name": "purchase", "install_id": "i-1", "revenue": "9.99", "currency": "USD" });
    let answer = world.events(CLIENT, body.to_string()).await;
    let event = world.event(&answer).await;
    assert_eq!(event.source, Source::Client);
    assert!(!event.revenue.unwrap().verified);
    assert_eq!(
        (event.ip, event.user_agent.as_deref()),
        (Some("127.0.0.1".parse().unwrap()), Some("Game/1.0"))
    );
    // A server's own address says nothing about the person.
    let answer = world
        .events(SERVER, json!({ "event_id": "e-2", "event_name": "x", "install_id": "i" }).to_string())
        .await;
    let event = world.event(&answer).await;
    assert_eq!((event.ip, event.user_agent), (None, None));
}

#[tokio::test]
async fn the_same_key_and_fields_are_recorded_once() {
    let world = World::new().await;
    let event = |revenue: &str| {
        format!(
            r#"{{"event_id":"e-1","event_name":"purchase","install_id":"i","revenue":{revenue},"currency":"EUR","properties":{{"a":1,"b":2}}}}"#
        )
    };
    let first = world.events(SERVER, event("5")).await.expect(202);
    assert_eq!(first["status"], "accepted");
    // The same in other words: order, white space, and the way the amount is written.
    let again = r#"{ "properties": {"b":2, "a":1}, "currency":"eur", "revenue":"5.00", "install_id":"i", "event_name":"purchase", "event_id":"e-1" }"#;
    for body in [event("5"), again.to_owned()] {
        let second = world.events(SERVER, body).await.expect(202);
        assert_eq!((&second["status"], &second["event_id"]), (&json!("duplicate"), &first["event_id"]));
    }
    let other = world.events(SERVER, event("6")).await;
    other.refuses(409, "conflict", "event_id");
    assert!(other.body["error"]["message"].as_str().unwrap().contains(first["event_id"].as_str().unwrap()));
    // Another app has its own keys.
    let shop = world.events(super::SHOP_SERVER, event("5")).await.expect(202);
    assert_eq!(shop["status"], "accepted");
    assert_eq!(
        (
            world.count(|c| &c.events_accepted),
            world.count(|c| &c.events_duplicate),
            world.count(|c| &c.events_rejected)
        ),
        (2, 2, 1)
    );
}

#[tokio::test]
async fn a_key_is_derived_only_from_an_event_that_names_its_time() {
    let world = World::new().await;
    let timed = json!({ "event_name": "level", "install_id": "i", "timestamp": NOW.ms() }).to_string();
    assert_eq!(world.events(CLIENT, timed.clone()).await.expect(202)["status"], "accepted");
    world.clock.advance(60_000);
    let again = world.events(CLIENT, timed).await.expect(202);
    assert_eq!((&again["status"], &again["deduplicated"]), (&json!("duplicate"), &json!(true)));

    let untimed = json!({ "event_name": "level", "install_id": "i" }).to_string();
    for _ in 0..2 {
        let answer = world.events(CLIENT, untimed.clone()).await;
        assert_eq!(answer.warnings(), ["not_deduplicated"]);
        assert_eq!(world.event(&answer).await.findings, ["not_deduplicated"]);
        let kept = answer.expect(202);
        assert_eq!((&kept["status"], &kept["deduplicated"]), (&json!("accepted"), &json!(false)));
    }
}

/// What a batch brings together is listed in its order: ids of one millisecond are random otherwise.
#[tokio::test]
async fn ids_rise_inside_a_batch() {
    let world = World::new().await;
    let events: Vec<Value> =
        (0..50).map(|n| json!({ "event_name": "level", "install_id": format!("i{n}") })).collect();
    let body = world.events(SERVER, json!({ "events": events }).to_string()).await.expect(202);
    let ids: Vec<&str> =
        body["results"].as_array().unwrap().iter().map(|r| r["event_id"].as_str().unwrap()).collect();
    assert_eq!(ids.len(), 50);
    assert!(ids.is_sorted_by(|a, b| a < b), "{ids:?}");
}

/// A client key can be read out of an app, and order numbers can be guessed.
#[tokio::test]
async fn a_client_cannot_occupy_the_id_of_a_servers_event() {
    let world = World::new().await;
    let event = |revenue: i64| {
        json!({ "event_id": "order-1", "event_name": "purchase", "install_id": "i", "revenue": revenue, "currency": "EUR" })
            .to_string()
    };
    assert_eq!(world.events(CLIENT, event(1)).await.expect(202)["status"], "accepted");
    let real = world.events(SERVER, event(49)).await.expect(202);
    assert_eq!(real["status"], "accepted");
    assert_eq!(world.events(SERVER, event(49)).await.expect(202)["status"], "duplicate");
    assert_eq!(world.events(CLIENT, event(1)).await.expect(202)["status"], "duplicate");
    world.events(CLIENT, event(2)).await.refuses(409, "conflict", "event_id");
}

#[tokio::test]
async fn a_batch_answers_for_each_item() {
    let world = World::new().await;
    let event = |id: &str, name: &str| json!({ "event_id": id, "event_name": name, "install_id": "i" });
    let all_good = json!({ "events": [event("1", "open"), event("2", "level"), event("1", "open")] });
    let body = world.events(SERVER, all_good.to_string()).await.expect(202);
    let statuses = |body: &Value| -> Vec<String> {
        body["results"].as_array().unwrap().iter().map(|r| r["status"].as_str().unwrap().to_owned()).collect()
    };
    assert_eq!(statuses(&body), ["accepted", "accepted", "duplicate"]);
    assert_eq!(body["results"][2]["event_id"], body["results"][0]["event_id"]);
    assert_eq!((&body["accepted"], &body["duplicate"], &body["rejected"]), (&json!(2), &json!(1), &json!(0)));

    let mixed = json!({ "events": [
        event("3", "open"), 7, event("1", "other"), { "event_name": "x", "revenue": -1 }, event("4", "open"), event("1", "open"),
    ] });
    let body = world.events(SERVER, mixed.to_string()).await.expect(207);
    assert_eq!(statuses(&body), ["accepted", "rejected", "rejected", "rejected", "accepted", "duplicate"]);
    for (index, code, field) in [
        (1, "field_type", "events[1]"),
        (2, "conflict", "events[2].event_id"),
        (3, "amount_negative", "events[3].revenue"),
    ] {
        let result = &body["results"][index];
        assert_eq!(
            (&result["index"], &result["code"], &result["field"]),
            (&json!(index), &json!(code), &json!(field))
        );
        assert!(
            !result["message"].as_str().unwrap().is_empty() && !result["fix"].as_str().unwrap().is_empty()
        );
    }
    assert_eq!(
        world
            .event_of(&body["results"][4], roundtrip_domain::id::WorkspaceNo::DEFAULT)
            .await
            .source_event_id
            .as_deref(),
        Some("4")
    );
    let hopeless = json!({ "events": [1, 2] });
    assert_eq!(world.events(SERVER, hopeless.to_string()).await.expect(207)["rejected"], 2);
    let full: Vec<Value> = (0..1_000).map(|i| event(&format!("f{i}"), "open")).collect();
    assert_eq!(
        world.events(SERVER, json!({ "events": full }).to_string()).await.expect(202)["accepted"],
        1_000
    );
}

#[tokio::test]
async fn what_is_merely_odd_is_taken_with_a_warning_and_a_finding() {
    let world = World::new().await;
    for (fields, words) in [
        (json!({ "revenue": 1, "install_id": "i" }), vec!["currency_missing"]),
        (json!({ "revenue": 0.1234567, "currency": "EUR", "install_id": "i" }), vec!["amount_rounded"]),
        (json!({ "click_id": "{click_id}" }), vec!["click_id_malformed"]),
        (
            json!({ "install_id": "i", "device": { "gaid": "not an id", "gaid2": "x" } }),
            vec!["device_id_invalid", "field_ignored"],
        ),
        (json!({ "install_id": "i", "user": { "email": "a@b.example" } }), vec!["field_ignored"]),
        (
            json!({ "install_referrer": { "referrer": "r".repeat(5_000), "install_version": "1" } }),
            vec!["field_ignored", "value_cut"],
        ),
        (json!({}), vec!["identity_missing"]),
    ] {
        let mut event = json!({ "event_id": format!("{words:?}"), "event_name": "x" });
        event.as_object_mut().unwrap().extend(fields.as_object().unwrap().clone());
        let answer = world.events(SERVER, event.to_string()).await;
        assert_eq!(answer.status, 202, "{}", answer.text());
        let mut told = answer.warnings();
        told.sort_unstable();
        assert_eq!(told, words);
        assert_eq!(world.event(&answer).await.findings, words);
        assert!(!answer.text().contains("a@b.example"), "nobody's data is repeated");
    }
    let answer = world
        .events(SERVER, json!({ "event_id": "m", "event_name": "x", "click_id": "{click_id}" }).to_string())
        .await;
    assert_eq!(world.event(&answer).await.click_id.as_deref(), Some("{click_id}"), "kept as it came");
}

#[tokio::test]
async fn a_client_key_stays_under_its_rate() {
    let world = World::with(Options { client_rate_per_s: 10, client_burst: 20, ..Options::default() }).await;
    let batch =
        |n: usize| json!({ "events": vec![json!({ "event_name": "x", "install_id": "i" }); n] }).to_string();
    world.events(CLIENT, batch(20)).await.expect(202);
    let limited = world.events(CLIENT, batch(1)).await;
    limited.refuses(429, "rate_limited", "");
    assert_eq!(limited.headers["retry-after"], "1");
    for _ in 0..5 {
        world.events(SERVER, batch(50)).await.expect(202);
    }
    world.clock.advance(1_000);
    world.events(CLIENT, batch(10)).await.expect(202);
    world.events(CLIENT, batch(1)).await.refuses(429, "rate_limited", "");
    assert_eq!(world.count(|c| &c.rate_limited), 2);
}

#[tokio::test]
async fn what_cannot_be_stored_is_answered_503() {
    let world = World::new().await;
    world.ledger.close().await;
    let event = json!({ "event_id": "1", "event_name": "x", "install_id": "i" });
    for body in [event.clone(), json!({ "events": [event.clone(), 1] })] {
        let answer = world.events(SERVER, body.to_string()).await;
        answer.refuses(503, "store_unavailable", "");
        assert!(answer.headers.contains_key("retry-after"));
    }
    assert_eq!(world.count(|c| &c.events_unavailable), 2);
    // The visitor leaves all the same.
    world.get("/c/web-link?click_id=a").await.location();
}

#[tokio::test]
async fn plain_http_from_outside_is_refused() {
    let world = World::new().await;
    let key = format!("Bearer {SERVER}");
    let event = || Body::from(json!({ "event_name": "x", "install_id": "i" }).to_string());
    for (peer, proto, status) in [
        ("203.0.113.9", None, 403),
        ("203.0.113.9", Some("https"), 403),
        ("10.0.0.1", None, 403),
        ("10.0.0.1", Some("http"), 403),
        ("10.0.0.1", Some("https"), 202),
        ("127.0.0.1", None, 202),
        ("[::1]", None, 202),
    ] {
        let mut headers = vec![("authorization", key.as_str()), ("x-forwarded-for", "203.0.113.9")];
        headers.extend(proto.map(|p| ("x-forwarded-proto", p)));
        let answer = world.call(Method::POST, peer, "/v1/events", &headers, event()).await;
        assert_eq!(answer.status, status, "{peer} {proto:?}");
        if status == 403 {
            answer.refuses(403, "plain_http_refused", "");
        }
        let postback = world.call(Method::GET, peer, "/postback?x=1", &headers, Body::empty()).await;
        assert_eq!(postback.body["error"]["code"] == "plain_http_refused", status == 403, "{peer} {proto:?}");
    }
    let open = World::with(Options { allow_plain_http: true, ..Options::default() }).await;
    let answer =
        open.call(Method::POST, "203.0.113.9", "/v1/events", &[("authorization", &key)], event()).await;
    assert_eq!(answer.status, 202);
}
