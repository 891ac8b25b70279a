//! The public listener: links and impressions, events, inbound postbacks.
//!
//! | file | what |
//! | --- | --- |
//! | `link`, `elsewhere`, `preview`, `impression` | from a request to a recorded touch |
//! | `allow`, `destination`, `play`, `redirect`, `deep_link` | where the visitor goes, and how |
//! | `events`, `event`, `json` | `POST /v1/events` |
//! | `postback`, `booking`, `parameters` | `/postback`, `/postback/validate` |
//! | `auth`, `origin`, `limits` | who asks, from where, how much |
//! | `answer`, `counters` | what they hear, and what we count |
//!
//! Ingest records and decides nothing: whether a click earned an event is found out by the engine, from what is in
//! the stores. Everything here is bounded, and a 2xx is said only after the commit. A visitor's redirect is the one
//! exception: it leaves whatever happened to the record, marked and counted.
//!
//! Not relied on: that callers behave, that headers are true (see `origin`), or that a request arrives once.

mod allow;
mod answer;
mod auth;
mod booking;
mod counters;
mod deep_link;
mod destination;
mod differs;
mod elsewhere;
mod event;
mod events;
mod impression;
mod json;
mod limits;
mod link;
mod origin;
mod parameters;
mod play;
mod postback;
mod preview;
mod redirect;

use std::convert::Infallible;
use std::sync::Arc;

use axum::Router;
use axum::body::{Bytes, HttpBody};
use axum::http::{HeaderValue, Request, StatusCode, header};
use axum::response::Response;
use axum::routing::{get, post};
use ipnet::IpNet;
use roundtrip_ambient::Clock;
use roundtrip_geo::Geo;
use roundtrip_store::click_log::ClickLog;
use roundtrip_store::ledger::Ledger;
use tower::Service as _;
use url::Url;

pub use self::counters::Counters;
pub use self::limits::{BODY_BYTES_MAX, HEADER_BYTES_MAX, HEADER_LINES_MAX, TARGET_BYTES_MAX};

/// How the public listener behaves; the operator's choices, checked.
#[derive(Debug, Clone)]
pub struct Options {
    /// How the world reaches it. Its own host names no namespace.
    pub public_url: Option<Url>,
    /// Whose `X-Forwarded-For` and `X-Forwarded-Proto` count.
    pub trusted_proxies: Vec<IpNet>,
    /// Takes events and postbacks over plain HTTP from anywhere.
    pub allow_plain_http: bool,
    /// Events per second that one client key may report; 0: no limit. A client key is shared by every copy of an
    /// app, so this bounds an app, not a phone. Default 1,000.
    pub client_rate_per_s: u32,
    /// Events that one client key may report at once after a pause. Default 10,000: ten full batches, which
    /// is what phones send that come back from a flight together.
    pub client_burst: u32,
    /// Inbound postbacks per second of one workspace; 0, the default: no limit.
    pub postback_rate_per_s: u32,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            public_url: None,
            trusted_proxies: Vec::new(),
            allow_plain_http: false,
            client_rate_per_s: 1_000,
            client_burst: 10_000,
            postback_rate_per_s: 0,
        }
    }
}

/// What the public listener works with.
pub struct IngestState {
    /// Where touches go.
    pub clicks: ClickLog,
    /// Where events go, and where the settings are.
    pub ledger: Ledger,
    /// The time.
    pub clock: Clock,
    /// Where addresses are.
    pub geo: Geo,
    /// The operator's choices.
    pub options: Options,
    /// What is counted.
    pub counters: Arc<Counters>,
}

/// The state and what the router keeps for itself.
struct Ingest {
    state: IngestState,
    buckets: limits::Buckets,
}

/// The public listener's answers. It wants the peer's address as `ConnectInfo<SocketAddr>` in each request's
/// extensions; without one the client counts as unknown and from outside.
///
/// Visits go straight to their handler and everything else through the [`router`]: what a router does for a request
/// (matching, parameters, a handler in a box) was a tenth of the time of a redirect.
#[derive(Clone)]
pub struct Front {
    ingest: Arc<Ingest>,
    router: Router,
}

impl std::fmt::Debug for Front {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Front")
    }
}

impl Front {
    /// With its router.
    pub fn new(state: IngestState) -> Self {
        let ingest = Arc::new(Ingest { state, buckets: limits::Buckets::default() });
        Self { router: router_of(ingest.clone()), ingest }
    }

    /// With routes of others on the same listener.
    #[must_use]
    pub fn beside(self, others: Router) -> Self {
        Self { router: self.router.merge(others), ..self }
    }

    /// Answers one request.
    pub async fn answer<B>(&self, request: Request<B>) -> Response
    where
        B: HttpBody<Data = Bytes> + Send + 'static,
        B::Error: Into<axum::BoxError>,
    {
        if link::is_visit(request.method(), request.uri().path()) {
            return link::follow_path(&self.ingest, &request.into_parts().0).await;
        }
        let answered = self.router.clone().call(request).await;
        answered.unwrap_or_else(|never: Infallible| match never {})
    }
}

/// The routes by themselves.
pub fn router(state: IngestState) -> Router {
    Front::new(state).router
}

fn router_of(ingest: Arc<Ingest>) -> Router {
    // HEAD is answered by GET routes; on postbacks it must not record anything, so it is refused by name.
    let postback = || get(postback::record).post(postback::record).head(wrong_method);
    let validate = || get(postback::validate).post(postback::validate).head(wrong_method);
    Router::new()
        .route("/", get(link::by_query))
        .route("/c/{link}", get(link::by_path))
        .route("/c/{link}/", get(link::by_path))
        .route("/i/{link}", get(impression::impression))
        .route("/i/{link}/", get(impression::impression))
        .route("/impression/{link}", get(impression::impression))
        .route("/impression/{link}/", get(impression::impression))
        .route("/{link}", get(link::by_path))
        .route("/click", get(link::by_campaign))
        .route("/{namespace}/click", get(link::by_campaign))
        .route("/v1/events", post(events::record))
        .route("/postback", postback())
        .route("/postback/validate", validate())
        .route("/{namespace}/postback", postback())
        .route("/{namespace}/postback/validate", validate())
        .route("/healthz", get(healthz))
        .route("/robots.txt", get(robots))
        .route("/favicon.ico", get(favicon))
        .fallback(elsewhere::any)
        .method_not_allowed_fallback(method_not_allowed)
        .with_state(ingest)
}

async fn healthz() -> Response {
    answer::with_type(StatusCode::OK, "text/plain; charset=utf-8", "ok\n")
}

/// Nothing here is for search engines: following a link would count as a visit.
async fn robots() -> Response {
    answer::with_type(StatusCode::OK, "text/plain; charset=utf-8", "User-agent: *\nDisallow: /\n")
}

async fn favicon() -> Response {
    let mut response = answer::empty(StatusCode::NO_CONTENT);
    response.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static("max-age=86400"));
    response
}

async fn method_not_allowed() -> Response {
    crate::problem::method_not_allowed()
}

async fn wrong_method() -> Response {
    let mut response = crate::problem::method_not_allowed();
    response.headers_mut().insert(header::ALLOW, HeaderValue::from_static("GET,POST"));
    response
}
