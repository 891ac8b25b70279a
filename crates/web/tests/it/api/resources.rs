//! The five routes that every kind of resource has.

use http::Method;
use serde_json::json;

use super::World;

#[tokio::test]
async fn a_resource_is_made_read_changed_and_deleted() {
    let world = World::new();
    let settings = json!({ "platform": "web", "currency": "EUR" });
    let made = world.post("/api/v1/apps", &json!({ "slug": "site", "settings": settings })).await;
    assert_eq!(made.headers["etag"], "\"1\"");
    let made = made.expect(201);
    assert_eq!((&made["version"], &made["resource"]["settings"]), (&json!(1), &settings));
    let id = made["resource"]["id"].as_str().expect("an id").to_owned();
    assert!(id.starts_with("app_") && id.len() == 30);
    world.post("/api/v1/apps", &json!({ "slug": "site", "settings": settings })).await.refuses(
        409,
        "already_exists",
        "slug",
    );

    let read = world.get("/api/v1/apps/site").await.expect(200);
    assert_eq!(read, made["resource"]);
    assert_eq!(
        world.put("/api/v1/apps/site", &settings).await.expect(200)["version"],
        1,
        "nothing to change"
    );

    let changed = json!({ "platform": "web", "name": "The site" });
    let put = world.put("/api/v1/apps/site", &changed).await.expect(200);
    assert_eq!(
        (&put["version"], &put["resource"]["settings"], &put["resource"]["id"]),
        (&json!(2), &changed, &json!(id))
    );
    let slug = world
        .ledger
        .catalog()
        .namespace("default")
        .expect("it is there")
        .apps
        .values()
        .map(|a| a.name.clone())
        .collect::<Vec<_>>();
    assert_eq!(slug, ["The site"], "it is in force when it is answered");

    world.put("/api/v1/apps/site", &json!({ "platform": "ios" })).await.refuses(
        422,
        "field_immutable",
        "apps.site.platform",
    );
    world.put("/api/v1/apps/new", &json!({ "platform": "web" })).await.expect(201);
    world.delete("/api/v1/apps/site").await.expect(200);
    world.delete("/api/v1/apps/site").await.refuses(404, "not_found", "slug");
    world.get("/api/v1/apps/site").await.refuses(404, "not_found", "slug");
}

#[tokio::test]
async fn what_is_needed_stays() {
    let world = World::furnished().await;
    let answer = world.delete("/api/v1/partners/acme").await;
    assert_eq!(
        answer.body["problems"].as_array().map(Vec::len),
        Some(2),
        "a link and a rule: {}",
        answer.body
    );
    answer.refuses(422, "reference_in_use", "partners.acme");
    world.get("/api/v1/partners/acme").await.expect(200);
}

#[tokio::test]
async fn lists_come_in_pages() {
    let world = World::new();
    for slug in ["c", "a", "e", "b", "d"] {
        world.put(&format!("/api/v1/partners/{slug}"), &json!({})).await.expect(201);
    }
    let mut seen = Vec::new();
    let mut after = String::new();
    for _ in 0..3 {
        let page = world.get(&format!("/api/v1/partners?limit=2&after={after}")).await.expect(200);
        let items = page["items"].as_array().expect("items");
        seen.extend(items.iter().map(|item| item["slug"].as_str().expect("a slug").to_owned()));
        match page["next"].as_str() {
            Some(next) => next.clone_into(&mut after),
            None => break,
        }
    }
    assert_eq!(seen, ["a", "b", "c", "d", "e"]);
}

#[tokio::test]
async fn a_change_can_name_the_version_it_was_made_from() {
    let world = World::new();
    let put = async |name: &str, tag: &str| {
        let body = json!({ "name": name });
        world.call(Method::PUT, "/api/v1/partners/acme", Some(&body), &[("if-match", tag)]).await
    };
    put("x", "\"1\"").await.refuses(409, "version_conflict", "If-Match");
    put("a", "*").await.expect(201);
    world.put("/api/v1/partners/other", &json!({})).await.expect(201);
    put("b", "\"1\"").await.expect(200);
    put("c", "\"1\"").await.refuses(409, "version_conflict", "If-Match");
    put("c", "W/\"3\"").await.refuses(400, "header_invalid", "If-Match");
    let stale = world.call(Method::DELETE, "/api/v1/partners/acme", None, &[("if-match", "\"1\"")]).await;
    stale.refuses(409, "version_conflict", "If-Match");
}

#[tokio::test]
async fn changes_at_the_same_time_all_go_through() {
    let world = World::new();
    let empty = json!({});
    let (a, b, c, d) = tokio::join!(
        world.put("/api/v1/partners/a", &empty),
        world.put("/api/v1/partners/b", &empty),
        world.put("/api/v1/partners/c", &empty),
        world.put("/api/v1/partners/d", &empty),
    );
    let mut versions: Vec<_> =
        [a, b, c, d].into_iter().map(|answer| answer.expect(201)["version"].as_u64()).collect();
    versions.sort_unstable();
    assert_eq!(versions, [Some(1), Some(2), Some(3), Some(4)]);
}

#[tokio::test]
async fn secrets_are_shown_once_and_masked() {
    let world = World::new();
    let key = json!({ "slug": "boss", "settings": { "kind": "admin", "scopes": ["read"] } });
    let made = world.post("/api/v1/keys", &key).await.expect(201);
    assert!(made["token"].as_str().is_some_and(|token| token.starts_with("rta_") && token.len() == 56));
    let again = world.put("/api/v1/keys/boss", &key["settings"]).await.expect(200);
    assert_eq!(again.get("token"), None);

    let settings = json!({ "cfg": { "host": "p.example", "token": "s3cr3t" } });
    let partner = world.put("/api/v1/partners/acme", &settings).await.expect(201);
    let masked = json!({ "cfg": { "host": "••••", "token": "••••" } });
    assert_eq!(partner["resource"]["settings"], masked);
    let put = world.put("/api/v1/partners/acme", &masked).await.expect(200);
    assert_eq!(put["version"], partner["version"], "what is masked stays as it is");
    let catalog = world.ledger.catalog();
    let settings = catalog.namespace("default").expect("it is there");
    assert_eq!(settings.partner_by_ref_id("acme").expect("the partner").cfg["token"], "s3cr3t");
}
