//! What a shared link shows: one delivery, on the public listener, to whoever has the link.
//!
//! `GET /share/{token}` answers a page, or JSON to whoever asks for that. It shows the delivery and its sends as a
//! story shows them to whoever may not see personal data, and nothing of what else happened to its event: not who else
//! was told, and not why. Nothing is written, nothing is loaded from elsewhere, and nothing runs.
//!
//! Not relied on: that tokens are rare. Whoever guesses is slowed down by one rate for all of them, which is far above
//! what people who look at a page need.

use std::sync::{Arc, Mutex, PoisonError};

use axum::Router;
use axum::extract::{Path, State};
use axum::response::{IntoResponse as _, Response};
use axum::routing::get;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::{HeaderMap, HeaderValue, StatusCode, header};
use roundtrip_ambient::Clock;
use roundtrip_domain::problem::{Code, Problem};
use roundtrip_domain::time::Timestamp;
use roundtrip_store::click_log::ClickLog;
use roundtrip_store::ledger::{Ledger, Shared};
use schemars::JsonSchema;
use serde::Serialize;
use sha2::{Digest as _, Sha256};

use crate::dashboard::{Badge, state_badge};
use crate::deliveries;
use crate::problem;
use crate::story::{Delivery, Finder, Telling, tell_delivery};
use crate::templates::{STYLE, Templates};

static TEMPLATES: Templates = Templates::of(&[
    ("parts.html", include_str!("../templates/parts.html")),
    ("shared.html", include_str!("../templates/shared.html")),
]);
/// Calls per second, of all links together.
const RATE_PER_S: i64 = 50;
/// Calls at once, after a pause.
const BURST: i64 = 200;

/// What the router needs.
#[derive(Clone)]
pub struct ShareState {
    /// Deliveries, and the key of links.
    pub ledger: Ledger,
    /// Asked for nothing; a [`Finder`] has it.
    pub clicks: ClickLog,
    /// Tells the time.
    pub clock: Clock,
}

/// A shared delivery.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub struct SharedDelivery {
    /// When the link ends.
    pub until: String,
    /// The delivery, personal data masked.
    pub delivery: Delivery,
}

struct Inner {
    state: ShareState,
    bucket: Mutex<(i64, Timestamp)>,
}

/// The router: `/share/{token}`.
pub fn router(state: ShareState) -> Router {
    let bucket = Mutex::new((BURST * 1_000, state.clock.now()));
    Router::new().route("/share/{token}", get(show)).with_state(Arc::new(Inner { state, bucket }))
}

impl Inner {
    /// Takes one call from the bucket.
    fn admit(&self, now: Timestamp) -> Result<(), Problem> {
        let mut bucket = self.bucket.lock().unwrap_or_else(PoisonError::into_inner);
        // A clock that steps back gives nothing and takes nothing.
        let gained = now.since(bucket.1).max(0).saturating_mul(RATE_PER_S);
        *bucket = (bucket.0.saturating_add(gained).min(BURST * 1_000), now);
        if bucket.0 < 1_000 {
            return Err(Problem::new(Code::RateLimited, "", "too many links are opened at once"));
        }
        bucket.0 -= 1_000;
        Ok(())
    }

    async fn open(&self, token: &str) -> Result<SharedDelivery, Problem> {
        let now = self.state.clock.now();
        self.admit(now)?;
        let ended = |message: &str| Err(Problem::new(Code::ShareEnded, "", message));
        let opened = self.state.ledger.share_open(token, now).await.map_err(|e| problem::of_store(&e))?;
        let (workspace, id, until) = match opened {
            Shared::Delivery { workspace, delivery, until } => (workspace, delivery, until),
            Shared::Ended => return ended("the link's time is over"),
            Shared::Revoked => return ended("the link was taken back"),
            Shared::Unknown => return Err(unknown()),
        };
        let catalog = self.state.ledger.catalog();
        let settings = catalog.workspace(workspace);
        let settings = settings.ok_or_else(unknown)?;
        let telling = Telling { now, full: false };
        let finder = Finder { ledger: &self.state.ledger, clicks: &self.state.clicks, settings, telling };
        let (mut delivery, _, story) = finder.delivery(id).await?;
        // Who stopped its endpoint and what they said of it is the owner's.
        if let Some(held) = &mut delivery.held {
            held.reason.clear();
            held.actor.clear();
        }
        let names = deliveries::names(&delivery, story.as_ref(), settings);
        let delivery = tell_delivery(&delivery, story.as_ref(), &names, telling);
        Ok(SharedDelivery { until: until.to_string(), delivery })
    }
}

fn unknown() -> Problem {
    Problem::new(Code::NotFound, "", "there is no such link")
        .fixed_by("open the whole link, as it was sent; whoever sent it can make another one")
}

/// The page's context. Absent fields are those of the other case.
#[derive(Serialize)]
struct Context<'a> {
    style: &'a str,
    delivery: Option<&'a SharedDelivery>,
    state: Option<Badge>,
    message: Option<&'a str>,
    fix: Option<&'a str>,
    code: Option<&'a str>,
}

/// A page that needs nothing else: its one style stands in it, and nothing but that is allowed.
fn page(status: StatusCode, shown: Result<&SharedDelivery, &Problem>) -> Response {
    let problem = shown.err();
    let context = Context {
        style: STYLE,
        delivery: shown.ok(),
        state: shown.ok().map(|shared| state_badge(&shared.delivery.state, 1)),
        message: problem.map(|problem| problem.message.as_str()),
        fix: problem.map(Problem::fix),
        code: problem.map(|problem| problem.code.text()),
    };
    let (status, kind, body) = match TEMPLATES.render("shared.html", &context) {
        Ok(body) => (status, "text/html; charset=utf-8", body),
        Err(error) => {
            tracing::error!(error = %error, "a page could not be rendered");
            let body = "this page could not be rendered; the log says why\n".to_owned();
            (StatusCode::INTERNAL_SERVER_ERROR, "text/plain; charset=utf-8", body)
        }
    };
    let style = STANDARD.encode(Sha256::digest(STYLE));
    let policy = format!(
        "default-src 'none'; style-src 'sha256-{style}'; form-action 'none'; base-uri 'none'; frame-ancestors 'none'"
    );
    let mut response = (status, body).into_response();
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(kind));
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    headers.insert(header::X_FRAME_OPTIONS, HeaderValue::from_static("DENY"));
    if let Ok(policy) = HeaderValue::from_str(&policy) {
        headers.insert(header::CONTENT_SECURITY_POLICY, policy);
    }
    response
}

async fn show(State(inner): State<Arc<Inner>>, Path(token): Path<String>, headers: HeaderMap) -> Response {
    let wants_json = headers
        .get(header::ACCEPT)
        .and_then(|accept| accept.to_str().ok())
        .is_some_and(|accept| accept.contains("application/json") && !accept.contains("text/html"));
    let mut response = match (inner.open(&token).await, wants_json) {
        (Ok(shared), true) => {
            let mut response = serde_json::json!(shared).to_string().into_response();
            response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
            response
        }
        (Ok(shared), false) => page(StatusCode::OK, Ok(&shared)),
        (Err(problem), true) => problem::answer(&problem),
        (Err(problem), false) => {
            let status = StatusCode::from_u16(problem.code.status()).unwrap_or(StatusCode::BAD_REQUEST);
            page(status, Err(&problem))
        }
    };
    let headers = response.headers_mut();
    headers.insert("x-robots-tag", HeaderValue::from_static("noindex, nofollow"));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(header::REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
    response
}
