//! What operators and their machines ask: alive, ready, metrics.
//!
//! `/healthz` says that the process runs and answers, nothing about stores: a supervisor that restarted a server
//! because its disk is full would make things worse. `/readyz` is for load balancers and says why not.

use std::sync::Arc;

use axum::Router;
use axum::extract::State;
use axum::response::{IntoResponse as _, Response};
use axum::routing::get;
use http::header::{AUTHORIZATION, CACHE_CONTROL, CONTENT_TYPE};
use http::{HeaderMap, StatusCode};
use roundtrip_domain::problem::{Code, Problem};
use roundtrip_engine::sender::Sender;
use tokio::sync::watch;

use crate::admin_token::AdminToken;
use crate::listen::{Stage, refusal};
use crate::metrics::Metrics;
use crate::stores::Stores;

/// The media type of the OpenMetrics text form, which Prometheus asks for and other scrapers read.
const OPENMETRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// Knows why the server cannot take everything now.
#[derive(Clone)]
pub(crate) struct Readiness {
    /// Asked how they are.
    pub(crate) stores: Stores,
    /// How far the server is on its way to an end.
    pub(crate) stage: watch::Receiver<Stage>,
}

impl Readiness {
    /// The reasons, in words for an operator; empty when the server is ready.
    pub(crate) async fn reasons(&self) -> Vec<String> {
        if *self.stage.borrow() != Stage::Run {
            return vec!["stopping".to_owned()];
        }
        self.stores.troubles().await
    }
}

/// What the operator's routes need.
#[derive(Clone)]
pub(crate) struct OperateState {
    /// Why not ready.
    pub(crate) readiness: Readiness,
    /// What is counted here.
    pub(crate) metrics: Metrics,
    /// What sends, and counts for itself.
    pub(crate) sender: Sender,
    /// Who may read it; `None` opens it to everybody who reaches the listener.
    pub(crate) metrics_for: Option<Arc<AdminToken>>,
}

/// `/healthz`, for both listeners.
pub(crate) fn health_router() -> Router {
    Router::new().route("/healthz", get(async || ([(CACHE_CONTROL, "no-store")], "ok\n")))
}

/// `/readyz` and `/metrics`, for the admin listener.
pub(crate) fn admin_router(state: OperateState) -> Router {
    Router::new().route("/readyz", get(ready)).route("/metrics", get(metrics)).with_state(state)
}

async fn ready(State(state): State<OperateState>) -> Response {
    let reasons = state.readiness.reasons().await;
    let status = if reasons.is_empty() { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    let body = serde_json::json!({ "ready": reasons.is_empty(), "reasons": reasons });
    let headers = [(CONTENT_TYPE, "application/json"), (CACHE_CONTROL, "no-store")];
    (status, headers, format!("{body}\n")).into_response()
}

async fn metrics(State(state): State<OperateState>, headers: HeaderMap) -> Response {
    if let Some(token) = &state.metrics_for {
        let presented = headers.get(AUTHORIZATION).and_then(|value| value.to_str().ok()?.strip_prefix("Bearer "));
        let refused = match presented {
            None => Some(Problem::new(Code::KeyMissing, "authorization", "the metrics need the admin key")),
            Some(presented) if !token.matches(presented) => {
                Some(Problem::new(Code::KeyUnknown, "authorization", "this is not the admin key"))
            }
            Some(_) => None,
        };
        if let Some(problem) = refused {
            return refusal(&problem);
        }
    }
    state.metrics.observe(&state.readiness.stores, &state.sender);
    let page = state.metrics.page(state.readiness.reasons().await.is_empty());
    ([(CONTENT_TYPE, OPENMETRICS)], page).into_response()
}
