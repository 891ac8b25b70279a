//! Webhooks: made, shown without their secrets, and rotated.

use serde_json::json;

use super::World;

#[tokio::test]
async fn a_webhook_is_made_with_a_secret_that_is_shown_once() {
    let world = World::new();
    let settings = json!({ "url": "https://owner.example/hooks", "headers": { "x-key": "opensesame" } });
    let made =
        world.post("/api/v1/webhooks", &json!({ "slug": "owner", "settings": settings })).await.expect(201);
    let secret = made["token"].as_str().expect("a secret").to_owned();
    assert!(secret.starts_with("whsec_"), "{secret}");
    let shown = world.get("/api/v1/webhooks/owner").await.expect(200).to_string();
    assert!(!shown.contains(&secret) && !shown.contains("opensesame"), "{shown}");
    let signing = world.get("/api/v1/webhooks/owner/signing").await.expect(200);
    assert_eq!(
        (&signing["plain_header"], &signing["older_secrets_until"]),
        (&json!("x-roundtrip-signature"), &json!([]))
    );

    // Written back as it was shown, nothing changes, neither secret nor header.
    let settings = world.get("/api/v1/webhooks/owner").await.expect(200)["settings"].clone();
    let put = world.put("/api/v1/webhooks/owner", &settings).await.expect(200);
    assert_eq!(put["version"], 1, "nothing to change: {put}");
}

#[tokio::test]
async fn a_secret_is_rotated_with_an_overlap_and_cut_over() {
    let world = World::new();
    let settings = json!({ "url": "https://owner.example/hooks", "ed25519": true });
    let made =
        world.post("/api/v1/webhooks", &json!({ "slug": "owner", "settings": settings })).await.expect(201);
    let first = made["token"].clone();
    let rotated = world.post("/api/v1/webhooks/owner/rotate", &json!({ "overlap": "2d" })).await.expect(200);
    assert_ne!(rotated["secret"], first);
    assert!(rotated["secret"].as_str().expect("shown").starts_with("whsec_"));
    let signing = &rotated["signing"];
    assert_eq!(signing["older_secrets_until"].as_array().expect("a list").len(), 1);
    assert_eq!(signing["plain_header_is_older_until"], signing["older_secrets_until"][0]);
    assert!(signing["public_key"].as_str().expect("a key").starts_with("whpk_"));
    let webhook = world.ledger.catalog().namespace("default").expect("it is there").webhooks[0].clone();
    assert_eq!(webhook.signing.secret.shown(), rotated["secret"].as_str().expect("shown"), "it is in force");
    assert_eq!(webhook.signing.older_secrets[0].secret.shown(), first.as_str().expect("shown"));

    let after = world.post("/api/v1/webhooks/owner/cut-over", &json!({})).await.expect(200);
    assert!(after.get("plain_header_is_older_until").is_none(), "{after}");
    assert_eq!(after["older_secrets_until"].as_array().expect("a list").len(), 1, "v1 overlaps on");

    world.post("/api/v1/webhooks/owner/rotate", &json!({ "overlap": "31d" })).await.refuses(
        422,
        "config_invalid",
        "webhooks.owner.overlap",
    );
    world.post("/api/v1/webhooks/nobody/rotate", &json!({})).await.refuses(404, "not_found", "slug");
}

#[tokio::test]
async fn what_is_wrong_with_a_webhook_is_said_all_at_once() {
    let world = World::new();
    let settings = json!({
        "url": "owner.example", "events": ["instal", "reinstall", "event:"], "without": ["user.name"],
        "headers": { "webhook-id": "x", "x-ok": "a\r\nb" }, "secret": "whsec_short", "overlap": "40d",
    });
    let refused = world.post("/api/v1/webhooks", &json!({ "slug": "owner", "settings": settings })).await;
    let body = refused.body.to_string();
    for field in [
        "webhooks.owner.url",
        "webhooks.owner.events[0]",
        "webhooks.owner.events[1]",
        "webhooks.owner.events[2]",
        "webhooks.owner.without[0]",
        "webhooks.owner.headers.webhook-id",
        "webhooks.owner.headers.x-ok",
        "webhooks.owner.secret",
        "webhooks.owner.overlap",
    ] {
        assert!(body.contains(&format!("\"{field}\"")), "{field} is not in {body}");
    }
    assert!(body.contains("did you mean `install`"), "{body}");
}

#[tokio::test]
async fn a_slack_url_is_a_secret_and_a_rotation_keeps_the_usual_overlap() {
    let world = World::new();
    let settings = json!({ "url": "https://hooks.slack.com/services/T0/B0/xyzsecret" });
    world.post("/api/v1/webhooks", &json!({ "slug": "channel", "settings": settings })).await.expect(201);
    let shown = world.get("/api/v1/webhooks/channel").await.expect(200);
    assert!(!shown.to_string().contains("xyzsecret"), "{shown}");
    let put = world.put("/api/v1/webhooks/channel", &shown["settings"]).await.expect(200);
    assert_eq!(put["version"], 1, "nothing to change: {put}");
    let url = world.ledger.catalog().namespace("default").expect("it is there").webhooks[0].url.clone();
    assert!(url.ends_with("xyzsecret"), "it is kept");

    world.post("/api/v1/webhooks/channel/rotate", &json!({ "overlap": "0s" })).await.expect(200);
    let after = world.get("/api/v1/webhooks/channel").await.expect(200);
    assert!(after["settings"].get("overlap").is_none(), "{after}");
    let usual = world.post("/api/v1/webhooks/channel/rotate", &json!({})).await.expect(200);
    assert_eq!(usual["signing"]["older_secrets_until"].as_array().expect("a list").len(), 1, "{usual}");
}
