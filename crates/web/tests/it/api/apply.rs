//! Applying a whole document.

use http::Method;
use serde_json::json;

use super::{World, document};

#[tokio::test]
async fn a_document_is_applied_once() {
    let world = World::new();
    let dry =
        world.post("/api/v1/apply", &json!({ "document": document(), "dry_run": true })).await.expect(200);
    assert_eq!((&dry["version"], &dry["keys"]), (&json!(0), &json!([])));
    assert_eq!(dry["changes"].as_array().map(Vec::len), Some(6));
    assert_eq!(
        world.get("/api/v1/settings").await.expect(200)["document"],
        json!({ "workspace": "default" })
    );

    let applied = world.post("/api/v1/apply", &json!({ "document": document() })).await.expect(200);
    assert_eq!((&applied["version"], &applied["changes"]), (&json!(1), &dry["changes"]));
    assert_eq!(applied["keys"][0]["slug"], "shop-app");
    let rule = &applied["changes"][4];
    assert_eq!(
        (&rule["kind"], &rule["slug"], &rule["action"]),
        (&json!("rule"), &json!("acme-install"), &json!("create"))
    );

    let again =
        world.post("/api/v1/apply", &json!({ "document": document(), "prune": true })).await.expect(200);
    // Advice is given each time: it is about what is set up, not about the change.
    let advice = json!([{
        "code": "events_few", "severity": "info", "field": "rules.acme-install.on",
        "message": "of `shop`, `acme` hears of 0 events behind the install; most networks optimise on 3 to 5, and learn too little from fewer",
    }]);
    assert_eq!(again, json!({ "version": 1, "changes": [], "warnings": advice, "keys": [] }));

    let shown = world.get("/api/v1/settings").await;
    assert_eq!(shown.headers["etag"], "\"1\"");
    let shown = shown.expect(200);
    assert_eq!(shown["document"]["partners"]["acme"]["cfg"]["token"], "••••");
    let back = world
        .post("/api/v1/apply", &json!({ "document": shown["document"], "prune": true }))
        .await
        .expect(200);
    assert_eq!(back["changes"], json!([]), "what is shown can be sent back");
    assert!(!shown.to_string().contains("s3cr3t"));
}

#[tokio::test]
async fn all_problems_come_at_once_and_nothing_is_written() {
    let world = World::new();
    let mut document = document();
    document["rules"]["acme-install"]["urll"] = json!("x");
    document["rules"]["acme-install"]["partner"] = json!("acmee");
    document["apps"]["shop"]["currency"] = json!("XXQ");
    let answer = world.post("/api/v1/apply", &json!({ "document": document })).await;
    let problems = answer.body["problems"].as_array().expect("problems").clone();
    let told: Vec<_> =
        problems.iter().map(|p| (p["code"].as_str().unwrap(), p["field"].as_str().unwrap())).collect();
    assert_eq!(
        told,
        [
            ("config_invalid", "apps.shop.currency"),
            ("reference_unknown", "rules.acme-install.partner"),
            ("config_unknown_key", "rules.acme-install.urll"),
        ]
    );
    assert!(problems[1]["message"].as_str().is_some_and(|m| m.ends_with("did you mean `acme`?")));
    answer.refuses(422, "config_invalid", "apps.shop.currency");
    assert_eq!(world.get("/api/v1/settings").await.expect(200)["version"], 0);
}

#[tokio::test]
async fn prune_deletes_what_is_not_named() {
    let world = World::furnished().await;
    let empty = json!({ "document": {}, "prune": true, "dry_run": true });
    let dry = world.post("/api/v1/apply", &empty).await.expect(200);
    let actions: Vec<_> =
        dry["changes"].as_array().expect("changes").iter().map(|c| c["action"].clone()).collect();
    assert_eq!(actions, vec![json!("delete"); 6]);
    let kept = world.post("/api/v1/apply", &json!({ "document": {} })).await.expect(200);
    assert_eq!(kept["changes"], json!([]));
    let gone = world.post("/api/v1/apply", &json!({ "document": {}, "prune": true })).await.expect(200);
    assert_eq!((&gone["version"], &gone["changes"]), (&json!(2), &dry["changes"]));
    assert_eq!(
        world.get("/api/v1/settings").await.expect(200)["document"],
        json!({ "workspace": "default" })
    );
}

#[tokio::test]
async fn the_workspace_is_named_once() {
    let world = World::new();
    world.post("/api/v1/workspaces", &json!({ "slug": "other" })).await.expect(201);
    let own = json!({ "document": { "workspace": "other", "partners": { "p": {} } } });
    world.post("/api/v1/apply", &own).await.expect(200);
    world.get("/api/v1/partners/p?workspace=other").await.expect(200);
    world.get("/api/v1/partners/p").await.refuses(404, "not_found", "slug");
    world.post("/api/v1/apply?workspace=other", &own).await.expect(200);
    world.post("/api/v1/apply?workspace=default", &own).await.refuses(400, "parameter_invalid", "workspace");
    let odd = json!({ "document": { "workspace": 3 } });
    world.post("/api/v1/apply", &odd).await.refuses(422, "config_invalid", "workspace");
}

#[tokio::test]
async fn a_stale_document_is_refused() {
    let world = World::furnished().await;
    let body = json!({ "document": { "partners": { "p": {} } } });
    let stale = world.call(Method::POST, "/api/v1/apply", Some(&body), &[("if-match", "\"0\"")]).await;
    stale.refuses(409, "version_conflict", "If-Match");
    let stale = json!({ "document": {}, "base_version": 0 });
    world.post("/api/v1/apply", &stale).await.refuses(409, "version_conflict", "base_version");
    world.post("/api/v1/apply", &json!({ "document": {}, "base_version": "1" })).await.refuses(
        400,
        "field_type",
        "base_version",
    );
    world.call(Method::POST, "/api/v1/apply", Some(&body), &[("if-match", "\"1\"")]).await.expect(200);
    let audit = world.get("/api/v1/audit").await.expect(200);
    assert_eq!(audit["items"][0]["actor"], "admin.token");
    assert_eq!(
        (&audit["items"][0]["version"], &audit["items"][0]["at"]),
        (&json!(2), &json!("2026-06-04T09:21:44.120Z"))
    );
}
