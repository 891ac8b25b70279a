//! The public listener over a real click log and a real ledger.

mod dialects;
mod events;
mod links;
mod money;
mod places;
mod plain;
mod postbacks;
mod refusals;

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use axum::Router;
use axum::body::Body;
use axum::extract::ConnectInfo;
use http::{HeaderMap, Method, Request, StatusCode};
use http_body_util::BodyExt as _;
use roundtrip_ambient::{Clock, Entropy};
use roundtrip_domain::click::Click;
use roundtrip_domain::click_id::{CheckKey, ClickId};
use roundtrip_domain::event::Event;
use roundtrip_domain::id::WorkspaceNo;
use roundtrip_domain::time::Timestamp;
use roundtrip_store::click_log::faults::Faults;
use roundtrip_store::click_log::{self, ClickLog, Found};
use roundtrip_store::ledger::{self, Ledger};
use roundtrip_store::settings::hash_token;
use roundtrip_web::api::{AdminToken, ApiState};
use roundtrip_web::ingest::{Counters, IngestState, Options, router};
use serde_json::{Value, json};
use tower::ServiceExt as _;

const ADMIN: &str = "rta_the-token-of-these-tests-and-of-nothing-else";
const CLIENT: &str = "client-key-of-the-game-0123456789abcdef";
const SERVER: &str = "server-key-of-the-game-0123456789abcdef";
const SHOP_SERVER: &str = "server-key-of-the-shop-0123456789abcdef";
const TOKEN: &str = "postback-token-of-default-0123456789abcdef";
const GAME_TOKEN: &str = "postback-token-of-the-game-0123456789abcdef";
const ACME_TOKEN: &str = "postback-token-of-acme-0123456789abcdef";
/// 2026-06-04T09:21:44.120Z.
const NOW: Timestamp = Timestamp::from_ms(1_780_564_904_120);
const IPHONE: &str = "Mozilla/5.0 (iPhone; CPU iPhone OS 18_0 like Mac OS X) AppleWebKit/605.1.15";
const PIXEL: &str =
    "Mozilla/5.0 (Linux; Android 15; Pixel 9) AppleWebKit/537.36 Chrome/130 Mobile Safari/537.36";

/// The public router and what stands behind it. Requests come from loopback unless they say otherwise.
struct World {
    router: Router,
    admin: Router,
    clicks: ClickLog,
    ledger: Ledger,
    clock: Clock,
    counters: Arc<Counters>,
    faults: Faults,
    _dir: tempfile::TempDir,
}

/// An answer, read.
#[derive(Debug)]
struct Answer {
    status: StatusCode,
    headers: HeaderMap,
    bytes: Vec<u8>,
    body: Value,
}

impl Answer {
    #[track_caller]
    fn expect(self, status: u16) -> Value {
        assert_eq!(self.status.as_u16(), status, "{}", String::from_utf8_lossy(&self.bytes));
        self.body
    }

    /// That it is an error of this code about this field, in the shape of all errors.
    #[track_caller]
    fn refuses(&self, status: u16, code: &str, field: &str) {
        let error = &self.body["error"];
        let got = (self.status.as_u16(), &error["code"], &error["field"]);
        assert_eq!(got, (status, &json!(code), &json!(field)), "{}", self.body);
        for part in ["message", "rule", "fix"] {
            assert!(error[part].as_str().is_some_and(|text| !text.is_empty()), "{error}");
        }
        assert_eq!(self.headers["cache-control"], "no-store");
    }

    /// Where a redirect leads.
    #[track_caller]
    fn location(&self) -> String {
        assert_eq!(self.status, StatusCode::FOUND, "{}", String::from_utf8_lossy(&self.bytes));
        assert_eq!(self.headers["cache-control"], "no-store");
        assert!(self.headers.contains_key("referrer-policy"));
        let location = self.headers["location"].to_str().expect("ASCII").to_owned();
        assert!(!location.is_empty());
        location
    }

    /// Our click id in the place where a redirect leads.
    #[track_caller]
    fn click_id(&self) -> ClickId {
        let location = self.location();
        let text =
            ["rt_click_id%3D", "click_id="].iter().find_map(|key| Some(&location.split_once(key)?.1[..36]));
        ClickId::parse(text.expect("a click id").as_bytes()).expect("a click id")
    }

    /// The words of the warnings.
    fn warnings(&self) -> Vec<&str> {
        self.body["warnings"]
            .as_array()
            .map_or_else(Vec::new, |all| all.iter().filter_map(|w| w["code"].as_str()).collect())
    }

    fn text(&self) -> String {
        String::from_utf8_lossy(&self.bytes).into_owned()
    }
}

fn document() -> Value {
    json!({
        "apps": {
            "shop": { "platform": "web", "currency": "EUR", "postback": { "addresses": ["198.51.100.7/32"] } },
            "game": { "platform": "android", "bundle_id": "com.example.game" },
            "open": { "platform": "web", "postback": { "auth": "none" } },
        },
        "campaigns": {
            "summer": { "app": "shop", "public_id": "4711", "landing_page": "https://shop.example/landing?from={sub1}" },
            "strict": { "app": "shop", "public_id": "4712", "mandatory": ["order_id", "amount", "custom1"], "landing_page": "https://shop.example/strict" },
            "play": { "app": "game", "public_id": "4713", "name": "Play & win" },
            "anyone": { "app": "open", "public_id": "4714" },
        },
        "partners": { "net": { "name": "Net", "ref_id": "p-1" }, "other": { "ref_id": "p-2" } },
        "links": {
            "web-link": { "campaign": "summer", "partner": "net", "allow_destinations": ["https://shop.example/p/"] },
            "Strict_9": { "campaign": "strict", "partner": "net" },
            "game-link": { "campaign": "play", "partner": "net" },
            "deep-link": { "campaign": "play", "partner": "net", "destinations": { "deep_link": "mygame://level/1?from={sub1}" } },
            "lost-link": { "campaign": "anyone", "partner": "net" },
        },
        "keys": {
            "client": { "kind": "client", "app": "game", "secret": CLIENT },
            "server": { "kind": "server", "app": "game", "secret": SERVER },
            "shop-server": { "kind": "server", "app": "shop", "secret": SHOP_SERVER },
            "token": { "kind": "postback", "secret": TOKEN },
            "game-token": { "kind": "postback", "app": "game", "secret": GAME_TOKEN },
        },
    })
}

fn acme() -> Value {
    json!({
        "apps": { "store": { "platform": "web", "currency": "USD" } },
        "campaigns": { "main": { "app": "store", "public_id": "4711", "landing_page": "https://acme.example/" } },
        "partners": { "net": { "ref_id": "p-1" } },
        "links": { "acme-link": { "campaign": "main", "partner": "net" } },
        "keys": { "token": { "kind": "postback", "secret": ACME_TOKEN } },
    })
}

impl World {
    async fn new() -> Self {
        Self::with(Options {
            trusted_proxies: vec!["10.0.0.0/8".parse().expect("a net")],
            ..Options::default()
        })
        .await
    }

    async fn with(options: Options) -> Self {
        let dir = tempfile::tempdir().expect("a directory");
        let clock = Clock::manual(NOW);
        let config = ledger::Config::in_dir(dir.path());
        let (ledger, _) = Ledger::open(&config, Entropy::seeded(1), NOW).expect("a ledger");
        let faults = Faults::armed();
        let mut config = click_log::Config::new(dir.path().join("clicks"), 1, vec![CheckKey([7; 16])]);
        config.faults = faults.clone();
        // On a busy machine a commit may take longer than a visitor would wait; here it is waited for.
        config.append_wait = std::time::Duration::from_secs(30);
        let (clicks, _) = ClickLog::open(config, clock.clone(), Entropy::seeded(2)).expect("a click log");
        let counters = Arc::new(Counters::default());
        let admin = roundtrip_web::api::router(ApiState {
            ledger: ledger.clone(),
            clicks: clicks.clone(),
            clock: clock.clone(),
            entropy: Entropy::seeded(3),
            admin_token: AdminToken::of_hash(hash_token(ADMIN)),
            public_url: "https://go.shop.example".to_owned(),
            egress: std::sync::Arc::default(),
        });
        let database = dir.path().join("places.mmdb");
        std::fs::write(&database, places::database().bytes()).expect("there is room");
        let (geo, _) = roundtrip_geo::Geo::open(vec![database]);
        let state = IngestState {
            clicks: clicks.clone(),
            ledger: ledger.clone(),
            clock: clock.clone(),
            geo,
            options,
            counters: counters.clone(),
        };
        let world = Self { router: router(state), admin, clicks, ledger, clock, counters, faults, _dir: dir };
        world.ledger.workspace_create("acme", NOW, "test").await.expect("a workspace");
        world.apply("default", &document()).await;
        world.apply("acme", &acme()).await;
        world
    }

    async fn apply(&self, workspace: &str, document: &Value) {
        let mut document = document.clone();
        document["workspace"] = json!(workspace);
        let request = Request::post("/api/v1/apply")
            .header("authorization", format!("Bearer {ADMIN}"))
            .body(Body::from(json!({ "document": document }).to_string()))
            .expect("a request");
        let response = self.admin.clone().oneshot(request).await.expect("an answer");
        let status = response.status();
        let body = response.into_body().collect().await.expect("a body").to_bytes();
        assert_eq!(status, StatusCode::OK, "{}", String::from_utf8_lossy(&body));
    }

    async fn send(&self, peer: &str, mut request: Request<Body>) -> Answer {
        let peer: SocketAddr = format!("{peer}:40000").parse().expect("an address");
        request.extensions_mut().insert(ConnectInfo(peer));
        let response = self.router.clone().oneshot(request).await.expect("the router answers");
        let (parts, body) = response.into_parts();
        let bytes = body.collect().await.expect("a body").to_bytes().to_vec();
        let body = serde_json::from_slice(&bytes).unwrap_or(Value::Null);
        Answer { status: parts.status, headers: parts.headers, bytes, body }
    }

    async fn call(
        &self,
        method: Method,
        peer: &str,
        uri: &str,
        headers: &[(&str, &str)],
        body: impl Into<Body>,
    ) -> Answer {
        let mut request = Request::builder().method(method).uri(uri);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        self.send(peer, request.body(body.into()).expect("a request")).await
    }

    async fn get(&self, uri: &str) -> Answer {
        self.call(Method::GET, "127.0.0.1", uri, &[], Body::empty()).await
    }

    async fn get_with(&self, uri: &str, headers: &[(&str, &str)]) -> Answer {
        self.call(Method::GET, "127.0.0.1", uri, headers, Body::empty()).await
    }

    /// Sends a body of events with a key.
    async fn events(&self, key: &str, body: impl Into<Body>) -> Answer {
        let authorization = format!("Bearer {key}");
        let headers = [("authorization", authorization.as_str()), ("user-agent", "Game/1.0")];
        self.call(Method::POST, "127.0.0.1", "/v1/events", &headers, body).await
    }

    async fn click(&self, id: ClickId) -> Click {
        match self.clicks.find(id).await.expect("the log can be read") {
            Found::Touch(touch) => touch.click,
            other => panic!("no touch: {other:?}"),
        }
    }

    /// The event that an answer says is recorded.
    async fn event(&self, answer: &Answer) -> Event {
        self.event_of(&answer.body, WorkspaceNo::DEFAULT).await
    }

    async fn event_of(&self, kept: &Value, workspace: WorkspaceNo) -> Event {
        let id = kept["event_id"].as_str().expect("an id").parse().expect("an id");
        self.ledger.story(workspace, id).await.expect("the ledger can be read").expect("it is recorded").event
    }

    fn count(&self, counter: impl Fn(&Counters) -> &AtomicU64) -> u64 {
        counter(&self.counters).load(Ordering::SeqCst)
    }
}
