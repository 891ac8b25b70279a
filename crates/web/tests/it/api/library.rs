//! The template library.

use serde_json::json;

use super::World;

#[tokio::test]
async fn entries_are_listed_and_shown() {
    let world = World::new();
    let all = world.get("/api/v1/library").await.expect(200);
    let items = all["items"].as_array().expect("a list");
    assert_eq!(items.len(), roundtrip_library::entries().len());
    for item in items {
        assert_eq!(item["status"], "community, unverified");
    }
    let some = world.get("/api/v1/library?text=EVERFLOW").await.expect(200);
    let slugs: Vec<_> = some["items"].as_array().expect("a list").iter().map(|item| &item["slug"]).collect();
    assert_eq!(slugs, [&json!("everflow"), &json!("everflow-event")]);

    let one = world.get("/api/v1/library/snap-app").await.expect(200);
    assert_eq!((&one["method"], &one["settings"][0]["name"]), (&json!("POST"), &json!("snap_app_id")));
    assert!(one["check"]["url"].as_str().expect("a URL").contains("/events/validate?"), "{one}");
    let absent = world.get("/api/v1/library/everflaw").await;
    assert!(absent.body["error"]["message"].as_str().expect("a text").contains("`everflow`?"), "{absent:?}");
    absent.refuses(404, "not_found", "name");
}
