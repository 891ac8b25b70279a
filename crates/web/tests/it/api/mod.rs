//! The admin API over a real ledger.

mod access;
mod apply;
mod backup;
mod document;
mod egress;
mod endpoint;
mod export;
mod import;
mod library;
mod resources;
mod sheet;
mod template;
mod webhook;

use axum::Router;
use axum::body::Body;
use http::{HeaderMap, Method, Request, StatusCode};
use http_body_util::BodyExt as _;
use roundtrip_ambient::{Clock, Entropy};
use roundtrip_domain::time::Timestamp;
use roundtrip_store::click_log::{self, ClickLog};
use roundtrip_store::ledger::{Config, Ledger};
use roundtrip_store::settings::hash_token;
use roundtrip_web::api::{AdminToken, ApiState, Egress, router};
use serde_json::{Value, json};
use tower::ServiceExt as _;

/// The installation's token in these tests.
const ADMIN: &str = "rta_the-token-of-these-tests-and-of-nothing-else";

/// A router over a ledger of its own.
struct World {
    router: Router,
    ledger: Ledger,
    clock: Clock,
    dir: tempfile::TempDir,
}

/// An answer, read.
#[derive(Debug)]
struct Answer {
    status: StatusCode,
    headers: HeaderMap,
    body: Value,
}

impl Answer {
    #[track_caller]
    fn expect(self, status: u16) -> Value {
        assert_eq!(self.status.as_u16(), status, "{}", self.body);
        self.body
    }

    /// That it is an error of this code, in the shape of all errors.
    #[track_caller]
    fn refuses(self, status: u16, code: &str, field: &str) {
        let error = &self.body["error"];
        assert_eq!(
            (self.status.as_u16(), &error["code"], &error["field"]),
            (status, &json!(code), &json!(field)),
            "{}",
            self.body
        );
        for part in ["message", "rule", "fix"] {
            assert!(error[part].as_str().is_some_and(|text| !text.is_empty()), "{error}");
        }
        assert_eq!(self.headers["content-type"], "application/json");
        assert_eq!(self.headers["cache-control"], "no-store");
    }
}

impl World {
    fn new() -> Self {
        Self::leaving(Egress::default())
    }

    /// One whose requests leave like this.
    fn leaving(egress: Egress) -> Self {
        let dir = tempfile::tempdir().expect("a directory");
        let now = Timestamp::from_ms(1_780_564_904_120);
        let (ledger, _) =
            Ledger::open(&Config::in_dir(dir.path()), Entropy::seeded(1), now).expect("a ledger");
        let log = click_log::Config::new(dir.path().join("clicks"), 1, ledger.identity().check_keys.clone());
        let (clicks, _) = ClickLog::open(log, Clock::manual(now), Entropy::seeded(3)).expect("a click log");
        let clock = Clock::manual(now);
        let state = ApiState {
            ledger: ledger.clone(),
            clicks,
            clock: clock.clone(),
            entropy: Entropy::seeded(2),
            admin_token: AdminToken::of_hash(hash_token(ADMIN)),
            public_url: "https://go.shop.example".to_owned(),
            egress: std::sync::Arc::new(egress),
        };
        Self { router: router(state), ledger, clock, dir }
    }

    /// A world with everything that the tests need set up.
    async fn furnished() -> Self {
        let world = Self::new();
        world.post("/api/v1/apply", &json!({ "document": document() })).await.expect(200);
        world
    }

    async fn send(&self, request: Request<Body>) -> Answer {
        let response = self.router.clone().oneshot(request).await.expect("the router answers");
        let (parts, body) = response.into_parts();
        let bytes = body.collect().await.expect("a body").to_bytes();
        let body = serde_json::from_slice(&bytes).unwrap_or(Value::Null);
        Answer { status: parts.status, headers: parts.headers, body }
    }

    async fn call(
        &self,
        method: Method,
        path: &str,
        body: Option<&Value>,
        headers: &[(&str, &str)],
    ) -> Answer {
        let mut request = Request::builder().method(method).uri(path);
        if !headers.iter().any(|(name, _)| *name == "authorization") {
            request = request.header("authorization", format!("Bearer {ADMIN}"));
        }
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let body = body.map_or_else(Body::empty, |body| Body::from(body.to_string()));
        self.send(request.body(body).expect("a request")).await
    }

    async fn get(&self, path: &str) -> Answer {
        self.call(Method::GET, path, None, &[]).await
    }

    async fn post(&self, path: &str, body: &Value) -> Answer {
        self.call(Method::POST, path, Some(body), &[]).await
    }

    async fn put(&self, path: &str, body: &Value) -> Answer {
        self.call(Method::PUT, path, Some(body), &[]).await
    }

    async fn delete(&self, path: &str) -> Answer {
        self.call(Method::DELETE, path, None, &[]).await
    }
}

fn document() -> Value {
    json!({
        "apps": { "shop": { "platform": "android", "bundle_id": "com.example.shop" } },
        "campaigns": { "summer": { "app": "shop" } },
        "partners": { "acme": { "cfg": { "token": "s3cr3t" } } },
        "links": { "acme-summer": { "campaign": "summer", "partner": "acme" } },
        "rules": { "acme-install": { "app": "shop", "partner": "acme", "on": "install", "url": "https://p.example/?c={click_id}" } },
        "keys": { "shop-app": { "kind": "client", "app": "shop" } }
    })
}
