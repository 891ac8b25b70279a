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
use roundtrip_domain::endpoint::NotAllowed;
use roundtrip_domain::problem::{Code, Problem};
use roundtrip_geo::Geo;
use roundtrip_store::ledger::LivePicture;
use tokio::sync::watch;

use crate::admin_token::AdminToken;
use crate::geography;
use crate::listen::Stage;
use crate::metrics::{Metrics, Sources};
use crate::stores::Stores;

/// The media type of the OpenMetrics text form, which Prometheus asks for and other scrapers read.
const OPENMETRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// Knows why the server cannot take everything now.
#[derive(Clone)]
pub(crate) struct Readiness {
    /// Asked how they are.
    pub(crate) stores: Stores,
    /// Asked what its files lack.
    pub(crate) geo: Geo,
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

    /// What is wrong and does not keep the server from taking everything.
    pub(crate) fn notes(&self) -> Vec<String> {
        let mut notes = geography::troubles(&self.geo);
        notes.extend(self.stores.notes());
        notes.extend(not_allowed(&self.stores.ledger.live()));
        notes
    }
}

/// What the operator's own settings keep from being told, one note for each switch that would allow it.
fn not_allowed(live: &LivePicture) -> impl Iterator<Item = String> {
    NotAllowed::ALL.into_iter().filter_map(|what| {
        let endpoints = live.values().filter(|live| live.not_allowed == Some(what)).count();
        (endpoints > 0).then(|| {
            let told_nothing = match endpoints {
                1 => "1 endpoint is told nothing".to_owned(),
                n => format!("{n} endpoints are told nothing"),
            };
            format!(
                "delivery: {told_nothing} because this server's settings do not allow {}; \
                 {} does",
                what.what(),
                what.switch()
            )
        })
    })
}

/// What the operator's routes need.
#[derive(Clone)]
pub(crate) struct OperateState {
    /// Why not ready.
    pub(crate) readiness: Readiness,
    /// What is counted here.
    pub(crate) metrics: Metrics,
    /// What is counted elsewhere.
    pub(crate) sources: Sources,
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
    ready_of(State(state.readiness)).await
}

async fn ready_of(State(readiness): State<Readiness>) -> Response {
    let reasons = readiness.reasons().await;
    let status = if reasons.is_empty() { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    let body =
        serde_json::json!({ "ready": reasons.is_empty(), "reasons": reasons, "notes": readiness.notes() });
    let headers = [(CONTENT_TYPE, "application/json"), (CACHE_CONTROL, "no-store")];
    (status, headers, format!("{body}\n")).into_response()
}

async fn metrics(State(state): State<OperateState>, headers: HeaderMap) -> Response {
    if let Some(token) = &state.metrics_for {
        let presented =
            headers.get(AUTHORIZATION).and_then(|value| value.to_str().ok()?.strip_prefix("Bearer "));
        let refused = match presented {
            None => Some(Problem::new(Code::KeyMissing, "authorization", "the metrics need the admin key")),
            Some(presented) if !token.matches(presented) => {
                Some(Problem::new(Code::KeyUnknown, "authorization", "this is not the admin key"))
            }
            Some(_) => None,
        };
        if let Some(problem) = refused {
            return roundtrip_web::problem::answer(&problem);
        }
    }
    state.metrics.observe(&state.sources);
    let page = state.metrics.page(state.readiness.reasons().await.is_empty());
    ([(CONTENT_TYPE, OPENMETRICS)], page).into_response()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use http_body_util::BodyExt as _;
    use roundtrip_ambient::{Clock, Entropy};
    use roundtrip_domain::endpoint::{Endpoint, Wait};
    use roundtrip_domain::id::{Id, WorkspaceNo};
    use roundtrip_store::ledger::EndpointLive;
    use tower::ServiceExt as _;

    use super::*;
    use crate::config::{Config, Flags};
    use crate::data_dir::DataDir;

    async fn readyz(readiness: &Readiness) -> (u16, String) {
        let router = Router::new().route("/readyz", get(ready_of)).with_state(readiness.clone());
        let request = http::Request::get("/readyz").body(axum::body::Body::empty()).unwrap();
        let answer = router.oneshot(request).await.unwrap();
        let status = answer.status().as_u16();
        let body = answer.into_body().collect().await.unwrap().to_bytes();
        (status, String::from_utf8(body.to_vec()).unwrap())
    }

    #[tokio::test]
    async fn not_ready_says_why() {
        let dir = tempfile::tempdir().unwrap();
        let given = BTreeMap::from([("data", vec![dir.path().display().to_string()])]);
        let config = Config::load(&Flags { config: None, given }, &[]).unwrap();
        let data = DataDir::open(&config.data).unwrap();
        let stores = Stores::open(&data, &config, &Clock::System, &Entropy::System).unwrap();
        let (stage, staged) = watch::channel(Stage::Run);
        let mut readiness = Readiness { stores: stores.clone(), geo: Geo::default(), stage: staged };
        let ready = "{\"ready\":true,\"reasons\":[],\"notes\":[]}\n";
        assert_eq!(readyz(&readiness).await, (200, ready.to_owned()));
        readiness.geo = Geo::open(vec![dir.path().join("nothing.mmdb")]).0;
        let (status, body) = readyz(&readiness).await;
        assert!(status == 200 && body.contains("nothing.mmdb: it cannot be read"), "{body}");
        readiness.geo = Geo::default();
        let live = |id, not_allowed| {
            let live = EndpointLive {
                limit: 4,
                sending: Vec::new(),
                probe_at: None,
                not_allowed,
                not_before: None,
                wait: Wait::Next,
                until: None,
                retries_wait: false,
            };
            ((WorkspaceNo::DEFAULT, Endpoint::Webhook(Id::from_bits(id))), live)
        };
        let plain = Some(NotAllowed::PlainHttp);
        stores.ledger.live_put([live(1, plain), live(2, plain), live(3, None)].into());
        let (status, body) = readyz(&readiness).await;
        let note = "delivery: 2 endpoints are told nothing because this server's settings do not allow plain http URLs; \
                    --allow-plain-http-out does";
        assert!(status == 200 && body.contains(note) && !body.contains("--allow-private"), "{body}");
        stores.ledger.live_put(LivePicture::new());

        stores.close().await.unwrap();
        let again = readyz(&readiness).await;
        assert_eq!(again.0, 200, "a probe's result stands for a second, so that probes cost nothing");
        stores.forget_probe().await;
        let (status, body) = readyz(&readiness).await;
        assert!(status == 503 && body.contains("ledger: ") && body.contains("click log: "), "{body}");

        stage.send_replace(Stage::Drain);
        assert_eq!(
            readyz(&readiness).await,
            (503, "{\"ready\":false,\"reasons\":[\"stopping\"],\"notes\":[]}\n".to_owned())
        );
    }
}
