//! What is there besides: health, robots, and what is not there.

use axum::body::Body;
use http::Method;
use serde_json::Value;

use super::World;

#[tokio::test]
async fn small_pages_are_there() {
    let world = World::new().await;
    let health = world.get("/healthz").await;
    assert_eq!((health.status.as_u16(), health.text().as_str()), (200, "ok\n"));
    let robots = world.get("/robots.txt").await;
    assert_eq!((robots.status.as_u16(), robots.text().as_str()), (200, "User-agent: *\nDisallow: /\n"));
    assert_eq!(world.get("/favicon.ico").await.status, 204);
}

#[tokio::test]
async fn what_is_not_there_says_so_in_json() {
    let world = World::new().await;
    for path in ["/a/b/c", "/js/other.js", "/v1/nothing", "/postback/other/x"] {
        world.get(path).await.refuses(404, "not_found", "");
    }
    for (method, path) in [
        (Method::GET, "/v1/events"),
        (Method::DELETE, "/postback"),
        (Method::HEAD, "/postback"),
        (Method::HEAD, "/acme/postback/validate"),
        (Method::POST, "/c/web-link"),
        (Method::PUT, "/healthz"),
    ] {
        let answer = world.call(method.clone(), "127.0.0.1", path, &[], Body::empty()).await;
        assert_eq!(answer.status, 405, "{method} {path}");
        assert!(!answer.headers["allow"].is_empty(), "{method} {path}");
        if method != Method::HEAD {
            answer.refuses(405, "method_not_allowed", "");
        } else {
            assert_eq!(answer.body, Value::Null);
        }
    }
}
