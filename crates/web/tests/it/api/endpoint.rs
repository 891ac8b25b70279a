//! Endpoints: listed, stopped and let go on, by id and by name.

use serde_json::{Value, json};

use super::World;

fn named<'a>(list: &'a Value, name: &str) -> &'a Value {
    let all = list["endpoints"].as_array().expect("a list");
    all.iter().find(|one| one["name"] == name).unwrap_or_else(|| panic!("{name}: {list}"))
}

#[tokio::test]
async fn an_endpoint_is_paused_and_resumed_by_name_and_by_id() {
    let world = World::furnished().await;
    let webhook = json!({ "slug": "owner", "settings": { "url": "https://owner.example/" } });
    world.post("/api/v1/webhooks", &webhook).await.expect(201);
    let list = world.get("/api/v1/endpoints").await.expect(200);
    let rule = named(&list, "rule:acme-install@acme");
    assert_eq!((&rule["state"], &rule["waiting"], &rule["held"]), (&json!("active"), &json!(0), &json!(0)));
    let id = rule["id"].as_str().expect("an id").to_owned();
    assert!(id.starts_with("rul_") && id.contains(":prt_"), "{id}");
    assert_eq!(named(&list, "webhook:owner")["webhook"]["slug"], "owner");

    let why = json!({ "reason": "their maintenance" });
    let paused = world.post("/api/v1/endpoints/rule:acme-install/pause", &why).await.expect(200);
    assert_eq!((&paused["changed"], &paused["endpoint"]["state"]), (&json!(true), &json!("paused")));
    assert_eq!(paused["endpoint"]["reason"], "their maintenance");
    let sentence = paused["endpoint"]["sentence"].as_str().expect("a sentence");
    assert!(
        sentence.contains("held until it is resumed") && sentence.contains("their maintenance"),
        "{sentence}"
    );
    let again = world.post(&format!("/api/v1/endpoints/{id}/pause"), &json!({})).await.expect(200);
    assert_eq!(again["changed"], false);
    world.post(&format!("/api/v1/endpoints/{id}/enable"), &json!({})).await.refuses(
        409,
        "endpoint_state",
        "id",
    );

    let disabled = world.post(&format!("/api/v1/endpoints/{id}/disable"), &json!({})).await.expect(200);
    assert_eq!(disabled["endpoint"]["state"], "disabled");
    for verb in ["pause", "resume"] {
        let path = format!("/api/v1/endpoints/rule:acme-install@acme/{verb}");
        world.post(&path, &json!({})).await.refuses(409, "endpoint_state", "id");
    }
    world.post(&format!("/api/v1/endpoints/{id}/enable"), &json!({})).await.expect(200);
    let read = world.get(&format!("/api/v1/endpoints/{id}")).await.expect(200);
    assert_eq!(read["endpoint"]["state"], "active");
    let codes: Vec<&str> =
        read["log"].as_array().expect("a log").iter().filter_map(|line| line["code"].as_str()).collect();
    assert_eq!(codes.len(), 3, "{read}");
    assert!(
        codes.contains(&"paused") && codes.contains(&"disabled") && codes.contains(&"active"),
        "{codes:?}"
    );
}

#[tokio::test]
async fn what_names_no_endpoint_is_refused() {
    let world = World::furnished().await;
    let post =
        async |id: &str, body: Value| world.post(&format!("/api/v1/endpoints/{id}/pause"), &body).await;
    post("webhook:nobody", json!({})).await.refuses(404, "not_found", "id");
    post("rule:nobody", json!({})).await.refuses(404, "not_found", "id");
    post("rule:acme-install@nobody", json!({})).await.refuses(404, "not_found", "id");
    post("acme", json!({})).await.refuses(400, "parameter_invalid", "id");
    post("wbh_00000000000000000000000001", json!({})).await.refuses(404, "id_unknown", "id");
    post("rule:acme-install", json!({ "reason": 1 })).await.refuses(400, "field_type", "reason");
    post("rule:acme-install", json!({ "why": "x" })).await.refuses(400, "field_unknown", "why");
    post("rule:acme-install", json!({ "reason": "x".repeat(501) })).await.refuses(
        400,
        "value_too_long",
        "reason",
    );
}
