//! The route that sends a backup: to whom, whole, and to nobody who went away.

use axum::body::Body;
use http::{Method, Request};
use http_body_util::BodyExt as _;
use roundtrip_store::backup;
use serde_json::json;
use tower::ServiceExt as _;

use super::{ADMIN, World};

fn request() -> Request<Body> {
    let request = Request::post("/api/v1/backup").header("authorization", format!("Bearer {ADMIN}"));
    request.body(Body::empty()).expect("a request")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_installation_sends_itself_to_its_owner_alone() {
    let world = World::furnished().await;
    let key = json!({ "slug": "k", "settings": { "kind": "admin", "scopes": ["read", "write", "replay"] } });
    let key = world.post("/api/v1/keys", &key).await.expect(201);
    let bearer = format!("Bearer {}", key["token"].as_str().expect("a token"));
    let answer = world.call(Method::POST, "/api/v1/backup", None, &[("authorization", &bearer)]).await;
    answer.refuses(403, "scope_missing", "Authorization");

    let answer = world.router.clone().oneshot(request()).await.expect("the router answers");
    assert_eq!(answer.status(), 200);
    assert_eq!(answer.headers()["content-type"], "application/x-tar");
    assert_eq!(answer.headers()["cache-control"], "no-store");
    let archive = answer.into_body().collect().await.expect("it comes whole").to_bytes();
    let contents = backup::check(archive.as_ref(), &mut |_| {}).expect("it is whole");
    assert!(contents.head.online && contents.ledger_bytes > 0, "{contents:?}");
    assert_eq!(contents.head.at, "2026-06-04T09:21:44.120Z", "it shows the moment of the request");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_backup_is_made_at_a_time_and_ends_with_its_reader() {
    let world = World::furnished().await;
    // More than the chunks that may wait for a reader, so that this one cannot end by itself.
    for note in ["a", "b", "c"] {
        let partner = |n: i32| (format!("partner-{n}"), json!({ "cfg": { "note": note.repeat(300) } }));
        let partners: serde_json::Map<_, _> = (0..2_000).map(partner).collect();
        world.post("/api/v1/apply", &json!({ "document": { "partners": partners } })).await.expect(200);
    }
    let first = world.router.clone().oneshot(request()).await.expect("the router answers");
    assert_eq!(first.status(), 200);
    let second = world.call(Method::POST, "/api/v1/backup", None, &[]).await;
    second.refuses(409, "backup_running", "");
    let spool = world.dir.path().join("backup.tmp");
    assert!(spool.exists());
    drop(first);
    let gone = async {
        let mut looks = tokio::time::interval(std::time::Duration::from_millis(10));
        while spool.exists() {
            looks.tick().await;
        }
    };
    tokio::time::timeout(std::time::Duration::from_secs(30), gone).await.expect("its copies go away");
    let again = world.router.clone().oneshot(request()).await.expect("the router answers");
    assert_eq!(again.status(), 200);
    assert!(again.into_body().collect().await.is_ok());
}
