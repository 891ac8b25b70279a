//! Webhooks: made, shown without their secrets, and rotated.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
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
    assert_eq!(after["changed"], true);
    let after = &after["signing"];
    assert!(after.get("plain_header_is_older_until").is_none(), "{after}");
    assert_eq!(after["older_secrets_until"].as_array().expect("a list").len(), 1, "v1 overlaps on");
    let version = world.get("/api/v1/settings").await.expect(200)["version"].clone();
    let again = world.post("/api/v1/webhooks/owner/cut-over", &json!({})).await.expect(200);
    assert_eq!(again["changed"], false, "{again}");
    assert_eq!(world.get("/api/v1/settings").await.expect(200)["version"], version, "nothing is written");
    let settings = world.get("/api/v1/webhooks/owner").await.expect(200)["settings"].clone();
    assert!(settings.get("cut_over").is_none(), "no file says it, so the document does not: {settings}");

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

#[tokio::test]
async fn a_file_that_is_applied_after_a_command_takes_nothing_back() {
    let world = World::furnished().await;
    let secret = |n: u8| format!("whsec_{}", STANDARD.encode([n; 32]));
    let file = |secret: &str| {
        json!({ "document": { "webhooks": { "owner": {
            "url": "https://owner.example/hooks", "secret": secret, "overlap": "1h",
        } } } })
    };
    world.post("/api/v1/apply", &file(&secret(1))).await.expect(200);
    let idle = world.post("/api/v1/webhooks/owner/cut-over", &json!({})).await.expect(200);
    assert_eq!(idle["changed"], false);
    assert!(idle["sentence"].as_str().expect("words").contains("no secret is being replaced"), "{idle}");
    world.post("/api/v1/webhooks/owner/rotate", &json!({})).await.expect(200);

    let refused = world.post("/api/v1/apply", &file(&secret(1))).await;
    let fix = refused.body["error"]["fix"].as_str().expect("a fix").to_owned();
    refused.refuses(422, "secret_replaced", "webhooks.owner.secret");
    assert!(fix.contains("leave secret away"), "{fix}");
    let signs = || world.ledger.catalog().namespace("default").expect("it is there").webhooks[0].clone();
    assert_ne!(signs().signing.secret.shown(), secret(1), "the rotation holds");
    // A new one from the file is a rotation of its own, and a file that names none changes nothing.
    world.post("/api/v1/apply", &file(&secret(2))).await.expect(200);
    assert_eq!(signs().signing.secret.shown(), secret(2));
    let mut silent = file("");
    silent["document"]["webhooks"]["owner"].as_object_mut().expect("a table").remove("secret");
    let same = world.post("/api/v1/apply", &silent).await.expect(200);
    assert_eq!(same["changes"], json!([]), "{same}");

    // A cut-over of the file that lies before the last rotation says nothing about that one.
    let cut = |at: &str| {
        let mut file = silent.clone();
        file["document"]["webhooks"]["owner"]["cut_over"] = at.into();
        file
    };
    world.clock.advance(60_000);
    world.post("/api/v1/apply", &cut("2020-01-01T00:00:00Z")).await.expect(200);
    let signing = world.get("/api/v1/webhooks/owner/signing").await.expect(200);
    assert!(signing.get("plain_header_is_older_until").is_some(), "{signing}");
    let over = world.post("/api/v1/webhooks/owner/cut-over", &json!({})).await.expect(200);
    assert_eq!(over["changed"], true);
    let same = world.post("/api/v1/apply", &silent).await.expect(200);
    assert_eq!(same["changes"], json!([]), "the command's cut-over is in no document: {same}");
    let signing = world.get("/api/v1/webhooks/owner/signing").await.expect(200);
    assert!(signing.get("plain_header_is_older_until").is_none(), "{signing}");
}

#[tokio::test]
async fn a_saved_mapping_outlives_a_file_that_does_not_speak_of_it() {
    let world = World::furnished().await;
    let mut partner = world.get("/api/v1/partners/acme").await.expect(200)["settings"].clone();
    partner["report"] = json!({ "columns": { "click_id": "subid" } });
    world.put("/api/v1/partners/acme", &partner).await.expect(200);
    partner.as_object_mut().expect("a table").remove("report");
    let mut file = json!({ "document": { "partners": { "acme": partner } } });
    let same = world.post("/api/v1/apply", &file).await.expect(200);
    assert_eq!(same["changes"], json!([]), "{same}");
    file["document"]["partners"]["acme"]["report"] = json!({});
    let gone = world.post("/api/v1/apply", &file).await.expect(200);
    assert_eq!(gone["changes"][0]["fields"][0]["name"], "report.columns.click_id", "{gone}");
    let now = world.get("/api/v1/partners/acme").await.expect(200);
    assert!(now["settings"].get("report").is_none(), "{now}");
}
