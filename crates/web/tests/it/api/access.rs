//! Who may call what, and what every route refuses.

use axum::body::Body;
use http::{Method, Request};
use serde_json::{Value, json};

use super::{ADMIN, World};

async fn key(world: &World, workspace: &str, slug: &str, settings: Value) -> String {
    let path = format!("/api/v1/keys?workspace={workspace}");
    let body = world.post(&path, &json!({ "slug": slug, "settings": settings })).await.expect(201);
    format!("Bearer {}", body["token"].as_str().expect("a token"))
}

#[tokio::test]
async fn every_route_of_the_table_answers() {
    let world = World::furnished().await;
    let group = json!({ "slug": "both", "settings": { "partners": ["acme"] } });
    world.post("/api/v1/partner_groups", &group).await.expect(201);
    let webhook = json!({ "slug": "owner", "settings": { "url": "https://owner.example/" } });
    let made = world.post("/api/v1/webhooks", &webhook).await;
    made.expect(201);
    for (method, path) in roundtrip_web::api::table() {
        // The noun's own slug, so that a route that looks something up finds it.
        let slug = match path.split('/').nth(3) {
            Some("apps") => "shop",
            Some("campaigns") => "summer",
            Some("partners") => "acme",
            Some("links") => "acme-summer",
            Some("partner_groups") => "both",
            Some("rules") => "acme-install",
            Some("webhooks") => "owner",
            Some("keys") => "shop-app",
            _ => "",
        };
        let path = path.replace("{slug}", slug).replace("{name}", "everflow");
        let body = json!({});
        let answer = world.call(method.clone(), &path, Some(&body), &[]).await;
        assert!(
            ![404, 405].contains(&answer.status.as_u16()),
            "{method} {path}: {} {}",
            answer.status,
            answer.body
        );
        let anonymous = world.call(method.clone(), &path, Some(&body), &[("authorization", "")]).await;
        let is_open = path.ends_with("/openapi.json") || path.ends_with("/schema/webhook");
        assert_eq!(anonymous.status.as_u16(), if is_open { 200 } else { 401 }, "{method} {path}");
    }
}

#[tokio::test]
async fn keys_open_what_they_are_for() {
    let world = World::furnished().await;
    let call = async |authorization: &str, method: Method, path: &str| {
        world.call(method, path, Some(&json!({})), &[("authorization", authorization)]).await
    };
    let at = "Authorization";
    call("Basic eDp5", Method::GET, "/api/v1/apps").await.refuses(401, "key_missing", at);
    call("Bearer", Method::GET, "/api/v1/apps").await.refuses(401, "key_missing", at);
    call("Bearer nope", Method::GET, "/api/v1/apps").await.refuses(401, "key_unknown", at);
    let answer = call("Bearer nope", Method::GET, "/api/v1/apps").await;
    assert_eq!(answer.headers["www-authenticate"], "Bearer");
    let odd = Request::get("/api/v1/apps")
        .header("authorization", &b"Bearer \xff"[..])
        .body(Body::empty())
        .expect("a request");
    world.send(odd).await.refuses(400, "header_invalid", at);

    let client = key(&world, "default", "client", json!({ "kind": "client", "app": "shop" })).await;
    call(&client, Method::GET, "/api/v1/apps").await.refuses(403, "key_kind_wrong", at);

    let reader = key(&world, "default", "reader", json!({ "kind": "admin", "scopes": ["read"] })).await;
    call(&reader, Method::GET, "/api/v1/apps").await.expect(200);
    call(&reader.to_lowercase().replace("bearer rta_", "bearer RTA_"), Method::GET, "/api/v1/apps")
        .await
        .refuses(401, "key_unknown", at);
    call(&reader, Method::POST, "/api/v1/apply").await.refuses(403, "scope_missing", at);
    call(&reader, Method::DELETE, "/api/v1/rules/acme-install").await.refuses(403, "scope_missing", at);

    let writer =
        key(&world, "default", "writer", json!({ "kind": "admin", "scopes": ["read", "write"] })).await;
    call(&writer, Method::DELETE, "/api/v1/rules/acme-install").await.expect(200);
    call(&writer, Method::POST, "/api/v1/workspaces").await.refuses(403, "scope_missing", at);
    let audit = world.get("/api/v1/audit?limit=1").await.expect(200);
    assert_eq!(audit["items"][0]["actor"], "key writer");
    assert_eq!(audit["items"].as_array().map(Vec::len), Some(1));

    world.delete("/api/v1/keys/reader").await.expect(200);
    call(&reader, Method::GET, "/api/v1/apps").await.refuses(401, "key_unknown", at);
}

#[tokio::test]
async fn workspaces_are_walls() {
    let world = World::furnished().await;
    world.post("/api/v1/workspaces", &json!({ "slug": "other" })).await.expect(201);
    world.post("/api/v1/workspaces", &json!({ "slug": "other" })).await.expect(200);
    for (slug, code) in [("Other", "slug_invalid"), ("", "slug_invalid"), ("postback", "name_reserved")] {
        world.post("/api/v1/workspaces", &json!({ "slug": slug })).await.refuses(422, code, "slug");
    }
    let listed = world.get("/api/v1/workspaces").await.expect(200);
    let slugs: Vec<_> =
        listed["items"].as_array().expect("items").iter().map(|w| w["slug"].clone()).collect();
    assert_eq!(slugs, ["default", "other"]);

    assert_eq!(world.get("/api/v1/apps?workspace=other").await.expect(200)["items"], json!([]));
    world.get("/api/v1/apps?workspace=nowhere").await.refuses(404, "namespace_unknown", "workspace");
    let other = key(&world, "other", "boss", json!({ "kind": "admin", "scopes": ["read", "write"] })).await;
    let bearer = [("authorization", other.as_str())];
    world.call(Method::GET, "/api/v1/apps?workspace=other", None, &bearer).await.expect(200);
    world.call(Method::GET, "/api/v1/apps", None, &bearer).await.refuses(
        403,
        "namespace_mismatch",
        "workspace",
    );
    let own = world.call(Method::GET, "/api/v1/workspaces", None, &bearer).await.expect(200);
    assert_eq!(own["items"].as_array().map(Vec::len), Some(1));
    let elsewhere = json!({ "document": { "workspace": "default" } });
    let answer = world.call(Method::POST, "/api/v1/apply", Some(&elsewhere), &bearer).await;
    answer.refuses(403, "namespace_mismatch", "workspace");

    // Link ids are unique in the installation, not only in the workspace.
    let mut document = super::document();
    document["workspace"] = json!("other");
    let answer = world.post("/api/v1/apply", &json!({ "document": document })).await;
    answer.refuses(422, "name_taken", "links.acme-summer");
}

#[tokio::test]
async fn requests_that_cannot_be_read_say_why() {
    let world = World::furnished().await;
    let raw = async |body: Vec<u8>| {
        let request = Request::post("/api/v1/apply").header("authorization", format!("Bearer {ADMIN}"));
        world.send(request.body(Body::from(body)).expect("a request")).await
    };
    raw(b"{".to_vec()).await.refuses(400, "json_invalid", "");
    raw(b"\"\xff\"".to_vec()).await.refuses(400, "utf8_invalid", "");
    raw(br#"{"document":{"apps":{"a":{},"a":{}}}}"#.to_vec()).await.refuses(400, "field_duplicate", "a");
    raw(vec![b' '; 1024 * 1024 + 1]).await.refuses(413, "body_too_large", "");
    raw(b"[]".to_vec()).await.refuses(400, "field_type", "");
    raw(b"{}".to_vec()).await.refuses(400, "field_missing", "document");
    raw(br#"{"document":{},"dryrun":true}"#.to_vec()).await.refuses(400, "field_unknown", "dryrun");
    raw(br#"{"document":{},"dry_run":1}"#.to_vec()).await.refuses(400, "field_type", "dry_run");

    world.get("/api/v1/apps?limt=1").await.refuses(400, "parameter_invalid", "limt");
    for bad in ["0", "1001", "x", "-1"] {
        world.get(&format!("/api/v1/apps?limit={bad}")).await.refuses(400, "parameter_invalid", "limit");
    }
    world.get("/api/v1/apps?limit=1&limit=2").await.refuses(400, "parameter_repeated", "");
    world.get("/api/v1/apps?after=%zz").await.refuses(400, "parameter_invalid", "");
    world.get("/api/v1/apps/%ff").await.refuses(400, "percent_escape_invalid", "");
    world.get("/api/v1/nothing").await.refuses(404, "not_found", "");
    world.get("/api").await.refuses(404, "not_found", "");
    let answer = world.call(Method::PATCH, "/api/v1/apps", None, &[]).await;
    assert_eq!(answer.headers["allow"], "GET,HEAD,POST");
    answer.refuses(405, "method_not_allowed", "");
}
