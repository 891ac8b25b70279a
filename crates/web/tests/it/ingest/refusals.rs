//! Each kind of bad input has its own code.

use axum::body::Body;
use http::Method;
use serde_json::json;

use super::{CLIENT, NOW, SERVER, TOKEN, World};

#[tokio::test]
async fn of_keys() {
    let world = World::new().await;
    let post = |headers: Vec<(&'static str, String)>| {
        let world = &world;
        async move {
            let headers: Vec<(&str, &str)> = headers.iter().map(|(n, v)| (*n, v.as_str())).collect();
            world.call(Method::POST, "127.0.0.1", "/v1/events", &headers, Body::from("{}")).await
        }
    };
    post(vec![]).await.refuses(401, "key_missing", "authorization");
    post(vec![("authorization", "Basic abc".into())]).await.refuses(401, "key_missing", "authorization");
    post(vec![("authorization", "Bearer ".into())]).await.refuses(401, "key_missing", "authorization");
    let unknown = post(vec![("authorization", "Bearer nobody-knows-this-one".into())]).await;
    unknown.refuses(401, "key_unknown", "authorization");
    assert_eq!(unknown.headers["www-authenticate"], "Bearer");
    assert!(!unknown.text().contains("nobody-knows"), "no token is repeated");
    post(vec![("authorization", format!("Bearer {TOKEN}"))]).await.refuses(
        403,
        "key_kind_wrong",
        "authorization",
    );
    assert_eq!(world.count(|c| &c.credentials_refused), 5);
    let request = http::Request::post("/v1/events")
        .header("authorization", http::HeaderValue::from_bytes(b"Bearer \xff").unwrap())
        .body(Body::from("{}"))
        .unwrap();
    world.send("127.0.0.1", request).await.refuses(400, "header_invalid", "authorization");
}

#[tokio::test]
async fn of_sizes() {
    let world = World::new().await;
    let key = format!("Bearer {SERVER}");
    let auth = ("authorization", key.as_str());
    let post = |uri: String, headers: Vec<(String, String)>, body: Body| {
        let world = &world;
        async move {
            let mut all = vec![auth];
            all.extend(headers.iter().map(|(n, v)| (n.as_str(), v.as_str())));
            world.call(Method::POST, "127.0.0.1", &uri, &all, body).await
        }
    };
    let events = || "/v1/events".to_owned();
    let long = "x".repeat(17 * 1024);
    post(format!("/v1/events?x={long}"), vec![], Body::empty()).await.refuses(414, "uri_too_long", "");
    world.get(&format!("/postback?x={long}")).await.refuses(414, "uri_too_long", "");
    post(events(), vec![("x-a".into(), long.clone())], Body::empty()).await.refuses(
        431,
        "header_too_large",
        "",
    );
    let many = (0..70).map(|i| (format!("x-{i}"), "1".to_owned())).collect();
    post(events(), many, Body::empty()).await.refuses(431, "header_too_large", "");
    let big = vec![b' '; (1 << 20) + 1];
    post(events(), vec![], Body::from(big.clone())).await.refuses(413, "body_too_large", "");
    post(events(), vec![("content-length".into(), "2000000".into())], Body::empty()).await.refuses(
        413,
        "body_too_large",
        "",
    );
    post("/postback".into(), vec![], Body::from(big)).await.refuses(413, "body_too_large", "");
    post(events(), vec![("content-encoding".into(), "gzip".into())], Body::empty()).await.refuses(
        400,
        "header_invalid",
        "content-encoding",
    );
    // A body that is exactly as large as allowed is read.
    let mut fits = json!({ "event_id": "1", "event_name": "x", "install_id": "i" }).to_string();
    fits.push_str(&" ".repeat((1 << 20) - fits.len()));
    post(events(), vec![], Body::from(fits)).await.expect(202);
    // A link is answered whatever its length.
    let answer = world.get_with(&format!("/c/web-link?click_id=a&x={long}"), &[("cookie", &long)]).await;
    assert_eq!(answer.status, 302);
}

#[tokio::test]
async fn of_bodies() {
    let world = World::new().await;
    let too_many = json!({ "events": vec![json!({ "event_name": "x" }); 1_001] }).to_string();
    for (body, status, code, field) in [
        (b"".to_vec(), 400, "json_invalid", ""),
        (b"{\"event_name\":".to_vec(), 400, "json_invalid", ""),
        (b"{\"event_name\":\"x\"} trailing".to_vec(), 400, "json_invalid", ""),
        (b"{\"event_name\":\"\xff\"}".to_vec(), 400, "utf8_invalid", ""),
        (b"{\"event_name\":\"\\ud800\"}".to_vec(), 400, "utf8_invalid", "event_name"),
        (b"[]".to_vec(), 400, "field_type", ""),
        (b"\"x\"".to_vec(), 400, "field_type", ""),
        (b"{\"events\":[]}".to_vec(), 400, "batch_empty", "events"),
        (b"{\"events\":{}}".to_vec(), 400, "field_type", "events"),
        (b"{\"events\":[1],\"event_name\":\"x\"}".to_vec(), 400, "field_unknown", "event_name"),
        (b"{\"events\":[1],\"events\":[2]}".to_vec(), 400, "field_duplicate", "events"),
        (too_many.into_bytes(), 413, "batch_too_large", "events"),
    ] {
        let shown = String::from_utf8_lossy(&body[..body.len().min(60)]).into_owned();
        let answer = world.events(SERVER, body).await;
        assert_eq!(answer.body["error"]["code"], code, "{shown}");
        answer.refuses(status, code, field);
    }
}

#[tokio::test]
async fn of_fields() {
    let world = World::new().await;
    let long = json!("x".repeat(257)).to_string();
    let name = json!("é".repeat(129)).to_string();
    // A second beyond the bound, in either direction.
    let days = |n: i64| NOW.plus_ms(-n * 86_400_000 - 1_000 * n.signum()).to_string();
    let (future, old, client_old) = (json!(days(-1)), json!(days(400)), json!(days(7)));
    let properties = json!({ "a": "x".repeat(17 * 1024) }).to_string();
    let deep = format!("{{\"a\":{}1{}}}", "[".repeat(40), "]".repeat(40));
    for (key, fields, code, field) in [
        (SERVER, r#""x":1"#.to_owned(), "field_unknown", "x"),
        (SERVER, r#""revenu":1"#.to_owned(), "field_unknown", "revenu"),
        (SERVER, r#""event_name":"x""#.to_owned(), "field_duplicate", "event_name"),
        (SERVER, r#""device":{"model":"a","model":"b"}"#.to_owned(), "field_duplicate", "device.model"),
        (SERVER, r#""properties":{"a":{"b":1,"b":2}}"#.to_owned(), "field_duplicate", "properties.b"),
        (SERVER, format!(r#""install_id":{long}"#), "value_too_long", "install_id"),
        (SERVER, format!(r#""event_id":{long}"#), "value_too_long", "event_id"),
        (SERVER, format!(r#""click_id":{long}"#), "value_too_long", "click_id"),
        (SERVER, format!(r#""user":{{"customer_id":{long}}}"#), "value_too_long", "user.customer_id"),
        (SERVER, format!(r#""device":{{"model":{long}}}"#), "value_too_long", "device.model"),
        (SERVER, format!(r#""properties":{properties}"#), "value_too_long", "properties"),
        (SERVER, format!(r#""properties":{deep}"#), "value_too_long", "properties"),
        (SERVER, r#""properties":[]"#.to_owned(), "field_type", "properties"),
        (SERVER, r#""consent":"yes""#.to_owned(), "field_type", "consent"),
        (SERVER, r#""device":"Pixel""#.to_owned(), "field_type", "device"),
        (SERVER, r#""user":1"#.to_owned(), "field_type", "user"),
        (SERVER, r#""install_id":true"#.to_owned(), "field_type", "install_id"),
        (SERVER, r#""revenue":{}"#.to_owned(), "field_type", "revenue"),
        (SERVER, r#""revenue":"1,50""#.to_owned(), "amount_invalid", "revenue"),
        (SERVER, r#""revenue":"""#.to_owned(), "amount_invalid", "revenue"),
        (SERVER, r#""revenue":"NaN""#.to_owned(), "amount_invalid", "revenue"),
        (SERVER, r#""revenue":-0.01"#.to_owned(), "amount_negative", "revenue"),
        (SERVER, r#""revenue":100000000001"#.to_owned(), "amount_too_large", "revenue"),
        (SERVER, r#""revenue":1e308"#.to_owned(), "amount_too_large", "revenue"),
        (SERVER, r#""currency":"EURO""#.to_owned(), "currency_invalid", "currency"),
        (SERVER, r#""currency":"XXX""#.to_owned(), "currency_invalid", "currency"),
        (SERVER, r#""timestamp":"yesterday""#.to_owned(), "timestamp_invalid", "timestamp"),
        (SERVER, r#""timestamp":1780564904.12"#.to_owned(), "timestamp_invalid", "timestamp"),
        (SERVER, r#""timestamp":-1"#.to_owned(), "timestamp_invalid", "timestamp"),
        (SERVER, r#""timestamp":"2026-02-30T00:00:00Z""#.to_owned(), "timestamp_invalid", "timestamp"),
        (SERVER, format!(r#""timestamp":{future}"#), "timestamp_future", "timestamp"),
        (SERVER, format!(r#""timestamp":{old}"#), "timestamp_too_old", "timestamp"),
        (CLIENT, format!(r#""timestamp":{client_old}"#), "timestamp_too_old", "timestamp"),
        (
            SERVER,
            r#""install_referrer":{"click_ts":"soon"}"#.to_owned(),
            "timestamp_invalid",
            "install_referrer.click_ts",
        ),
        (SERVER, r#""environment":"test""#.to_owned(), "environment_invalid", "environment"),
        (SERVER, r#""ip":"999.1.1.1""#.to_owned(), "ip_invalid", "ip"),
        (CLIENT, r#""ip":"203.0.113.7""#.to_owned(), "field_not_allowed", "ip"),
        (CLIENT, r#""user_agent":"x""#.to_owned(), "field_not_allowed", "user_agent"),
    ] {
        let answer = world.events(key, format!(r#"{{"event_name":"x",{fields}}}"#)).await;
        let shown = &fields[..fields.len().min(60)];
        assert_eq!(answer.body["error"]["code"], code, "{shown}: {}", answer.text());
        assert_eq!(answer.body["error"]["field"], field, "{shown}");
        assert!((400..500).contains(&answer.status.as_u16()));
    }
    for (body, code) in [
        ("{}".to_owned(), "field_missing"),
        (r#"{"event_name":null}"#.to_owned(), "field_missing"),
        (r#"{"event_name":" "}"#.to_owned(), "event_name_invalid"),
        (r#"{"event_name":"a\nb"}"#.to_owned(), "event_name_invalid"),
        (format!(r#"{{"event_name":{name}}}"#), "event_name_invalid"),
        (r#"{"event_name":7}"#.to_owned(), "field_type"),
    ] {
        let answer = world.events(SERVER, body).await;
        answer.refuses(400, code, "event_name");
    }
    assert_eq!(world.count(|c| &c.events_accepted), 0);
    // Likely meant.
    for (wrong, right) in [
        ("revenu", "revenue"),
        ("eventName", "event_name"),
        ("user_id", "user.customer_id"),
        ("amount", "revenue"),
        ("gaid", "device.gaid"),
        ("timestmp", "timestamp"),
    ] {
        let answer = world.events(SERVER, format!(r#"{{"{wrong}":1}}"#)).await;
        let message = answer.body["error"]["message"].as_str().unwrap();
        assert!(message.contains(&format!("; {right} is one")), "{message}");
    }
    // Just inside.
    let inside = json!({ "event_name": "é".repeat(128), "install_id": "x".repeat(256), "timestamp": NOW.plus_ms(86_399_000).ms() });
    world.events(SERVER, inside.to_string()).await.expect(202);
    let late =
        json!({ "event_name": "x", "install_id": "i", "timestamp": NOW.plus_ms(-7 * 86_400_000).ms() });
    world.events(CLIENT, late.to_string()).await.expect(202);
}
