//! Trying templates.

use serde_json::json;

use super::World;

#[tokio::test]
async fn a_template_is_filled_with_samples_or_given_values() {
    let world = World::new();
    let body = json!({
        "url": "https://{cfg.host}/i?c={click_id}&x={colour}&m={clik_id}", "method": "post",
        "headers": { "X-Token": "{cfg.token}" }, "body": { "json": "{\"r\":{revenue}}" },
        "values": { "cfg.host": "p.example", "click_id": "a b", "colour": "blue" }
    });
    let tried = world.post("/api/v1/template/test", &body).await.expect(200);
    assert_eq!(
        tried["request"],
        json!({
            "method": "POST", "url": "https://p.example/i?c=a%20b&x=blue&m=%7Bclik_id%7D",
            "headers": [{ "name": "X-Token", "value": "" }, { "name": "content-type", "value": "application/json" }],
            "body": "{\"r\":null}"
        })
    );
    assert_eq!((&tried["ok"], &tried["unexpanded"]), (&json!(true), &json!(["clik_id"])));
    let kinds: Vec<_> =
        tried["macros"].as_array().expect("macros").iter().map(|m| m["kind"].as_str().unwrap()).collect();
    assert_eq!(kinds, ["setting", "click", "parameter", "parameter", "setting", "event"]);
    let likely: Vec<_> =
        tried["findings"].as_array().expect("findings").iter().filter_map(|f| f["likely"].as_str()).collect();
    assert!(likely.contains(&"click_id"), "{tried}");

    let sample = world
        .post("/api/v1/template/test", &json!({ "url": "https://p.example/?c={click_id}" }))
        .await
        .expect(200);
    assert_eq!(sample["request"]["url"], "https://p.example/?c=a1b2c3");
    let ours = json!({ "url": "https://x.example/?c={click_id}", "scope": "destination", "values": { "click_id": "ours" } });
    assert_eq!(
        world.post("/api/v1/template/test", &ours).await.expect(200)["request"]["url"],
        "https://x.example/?c=ours"
    );
}

#[tokio::test]
async fn a_bad_template_is_an_answer_and_a_bad_request_is_none() {
    let world = World::new();
    let tried =
        world.post("/api/v1/template/test", &json!({ "url": "https://{click_id}/" })).await.expect(200);
    assert_eq!((&tried["ok"], &tried["findings"][0]["code"]), (&json!(false), &json!("macro_in_host")));
    for (body, code, field) in [
        (json!({}), "field_missing", "url"),
        (json!({ "url": 1 }), "field_type", "url"),
        (json!({ "url": "x", "scope": "y" }), "field_type", "scope"),
        (json!({ "url": "x", "dialect": "y" }), "field_type", "dialect"),
        (json!({ "url": "x", "headers": { "a": 1 } }), "field_type", "headers.a"),
        (json!({ "url": "x", "body": { "xml": "y" } }), "field_unknown", "body"),
        (json!({ "url": "x", "body": { "json": "y", "text": "y" } }), "field_type", "body"),
        (json!({ "url": "x", "values": [] }), "field_type", "values"),
        (json!({ "url": "x", "valeus": {} }), "field_unknown", "valeus"),
    ] {
        world.post("/api/v1/template/test", &body).await.refuses(400, code, field);
    }
}

#[tokio::test]
async fn another_systems_template_is_proposed_read_and_signed() {
    let world = World::new();
    let pasted = json!({ "url": "https://p.example/i?c=(clickid)&e=(event-name)" });
    let tried = world.post("/api/v1/template/test", &pasted).await.expect(200);
    assert_eq!(
        (&tried["dialect"], &tried["guesses"][0]["dialect"]),
        (&json!("canonical"), &json!("appsflyer"))
    );
    let likely =
        tried["findings"].as_array().expect("findings").iter().find(|f| f["code"] == "dialect_likely");
    assert_eq!(likely.expect("it is said")["likely"], "appsflyer");

    let body = json!({
        "url": "https://p.example/i?c=(clickid)&k=(DID)&sig={signature}", "dialect": "appsflyer",
        "macros": { "DID": "idfa||gaid" },
        "signatures": [{ "hash": "sha1", "message": "{partner_click_id};{cfg.token}" }],
        "values": { "click_id": "a/b", "gaid": "g1", "cfg.token": "t" }
    });
    let tried = world.post("/api/v1/template/test", &body).await.expect(200);
    let sha1 = "d1907b742d2b3c78d08b7b041ef9eb736bc2a283";
    assert_eq!(tried["request"]["url"], format!("https://p.example/i?c=a%2Fb&k=g1&sig={sha1}"));
    assert_eq!(tried["ok"], true, "{tried}");
    for (signature, field) in [
        (json!({ "message": "a", "hash": "sha2" }), "signatures[0].hash"),
        (json!({ "message": "a", "nmae": "x" }), "signatures"),
        (json!({ "hash": "sha1" }), "signatures"),
    ] {
        let body = json!({ "url": "https://p.example/", "signatures": [signature] });
        world.post("/api/v1/template/test", &body).await.refuses(400, "field_type", field);
    }
}
