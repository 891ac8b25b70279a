//! Exports over the API: who may, what is refused, and what comes.

use http::{Method, Request};
use http_body_util::BodyExt as _;
use roundtrip_domain::id::WorkspaceNo;
use roundtrip_store::export::{Format, What, columns};
use roundtrip_store::ledger::NewEvent;
use roundtrip_testkit::{Tell, World as Facts};
use serde_json::{Value, json};
use tower::ServiceExt as _;

use super::{ADMIN, World};

/// Three events of an hour, one a minute, in the default workspace.
async fn with_events(world: &World) {
    let facts = Facts::around(world.ledger.clone(), roundtrip_ambient::Entropy::seeded(9));
    assert_eq!(facts.workspace, WorkspaceNo::DEFAULT);
    for n in 0..3 {
        let at = world.clock.now().plus_ms(-3_600_000 + 60_000 * n);
        let event = facts.event("shop", &format!("e{n}"), at).of(&format!("installation-{n}"));
        let answers = world.ledger.event_record(vec![NewEvent { event, idempotency: None }]).await;
        assert!(answers[0].is_ok());
    }
}

/// What an export sends: its type and its bytes.
async fn sent(world: &World, path: &str) -> (String, Vec<u8>) {
    let request = Request::get(path).header("authorization", format!("Bearer {ADMIN}"));
    let request = request.body(axum::body::Body::empty()).expect("a request");
    let answer = world.router.clone().oneshot(request).await.expect("the router answers");
    assert_eq!(answer.status(), 200, "{path}");
    let media = answer.headers()["content-type"].to_str().expect("it is text").to_owned();
    (media, answer.into_body().collect().await.expect("it comes whole").to_bytes().to_vec())
}

async fn names(world: &World, query: &str) -> Vec<String> {
    let (_, bytes) = sent(world, &format!("/api/v1/export/events?{query}")).await;
    let line = |line: &str| -> Value { serde_json::from_str(line).expect("it is JSON") };
    let text = String::from_utf8(bytes).expect("it is text");
    text.lines().map(|text| line(text)["name"].as_str().expect("a name").to_owned()).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rows_come_in_every_format_and_from_one_end_to_before_the_other() {
    let world = World::furnished().await;
    with_events(&world).await;
    for format in Format::ALL {
        let (media, bytes) = sent(&world, &format!("/api/v1/export/events?format={}", format.name())).await;
        assert_eq!(media, format.media());
        let begins = match format {
            Format::Parquet => "PAR1",
            Format::Csv => "event_id,received_at,",
            Format::Ndjson => "{\"event_id\":\"evt_",
        };
        assert!(bytes.starts_with(begins.as_bytes()), "{format:?}");
    }
    // The clock stands at 09:21:44.120; the events are of 08:21:44.120 and the two minutes behind it.
    assert_eq!(names(&world, "").await, ["e0", "e1", "e2"]);
    assert_eq!(names(&world, "from=2026-06-04T08:22:44.120Z").await, ["e1", "e2"], "its beginning is in it");
    assert_eq!(names(&world, "from=2026-06-04&to=2026-06-04T08:22:44.120Z").await, ["e0"], "its end is not");
    assert_eq!(names(&world, "to=2026-06-04").await, [""; 0]);
    assert_eq!(names(&world, "app=shop").await.len(), 3);

    let about = world.get("/api/v1/export").await.expect(200);
    assert_eq!(about["now"], "2026-06-04T09:21:44.120Z");
    let items = about["items"].as_array().expect("a list");
    for (item, what) in items.iter().zip(What::ALL) {
        assert_eq!(item["name"], what.name());
        assert_eq!(item["columns"].as_array().map(Vec::len), Some(columns(what).len()));
    }
    assert_eq!((&items[1]["first"], &items[4]["first"]), (&json!("2026-06-04T08:21:44.120Z"), &Value::Null));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn keys_export_their_own_workspace_and_people_only_when_asked() {
    let world = World::furnished().await;
    with_events(&world).await;
    world.post("/api/v1/workspaces", &json!({ "slug": "other" })).await.expect(201);
    let key = async |workspace: &str, slug: &str, scopes: Value| {
        let body = json!({ "slug": slug, "settings": { "kind": "admin", "scopes": scopes } });
        let made = world.post(&format!("/api/v1/keys?workspace={workspace}"), &body).await.expect(201);
        format!("Bearer {}", made["token"].as_str().expect("a token"))
    };
    let ask = async |bearer: &str, path: &str| {
        world.call(Method::GET, path, None, &[("authorization", bearer)]).await
    };
    let theirs = key("other", "theirs", json!(["read"])).await;
    let writer = key("default", "writer", json!(["write"])).await;
    let reader = key("default", "reader", json!(["read"])).await;
    let at = "Authorization";
    for path in ["/api/v1/export", "/api/v1/export/events"] {
        ask(&theirs, path).await.refuses(403, "namespace_mismatch", "workspace");
        ask(&writer, path).await.refuses(403, "scope_missing", at);
        assert_eq!(ask(&reader, path).await.status, 200);
    }
    let path = "/api/v1/export/events?workspace=other";
    assert_eq!(ask(&theirs, path).await.status, 200);
    ask(&reader, path).await.refuses(403, "namespace_mismatch", "workspace");
    assert_eq!(names(&world, "workspace=other").await, [""; 0], "nothing of the other's");

    let text = async |query: &str| {
        String::from_utf8(sent(&world, &format!("/api/v1/export/events?{query}")).await.1)
            .expect("it is text")
    };
    assert!(!text("").await.contains("installation-1"));
    assert!(text("full=true").await.contains("\"install_id\":\"installation-1\""));
}

#[tokio::test]
async fn what_means_nothing_is_refused() {
    let world = World::furnished().await;
    for (path, field) in [
        ("clickz", "what"),
        ("events?format=xlsx", "format"),
        ("events?from=yesterday", "from"),
        ("events?to=2026-13-01", "to"),
        ("events?from=2026-06-05&to=2026-06-04", "to"),
        ("events?app=nope", "app"),
        ("events?full=1", "full"),
        ("events?limit=5", "limit"),
    ] {
        world.get(&format!("/api/v1/export/{path}")).await.refuses(400, "parameter_invalid", field);
    }
}
