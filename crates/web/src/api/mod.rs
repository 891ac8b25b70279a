//! The admin API: `/api/v1`.
//!
//! The cast:
//! - `route` describes one route: method, path, who may call it, what comes in and goes out, and the function
//!   that answers. The router and the OpenAPI document are both made from the same list of them (`routes`),
//!   so a route that answers is a route that is documented.
//! - `auth` tells who calls; `call` is what a handler is given; `json` and `fields` read bodies strictly.
//! - One file per noun holds its routes and handlers: `resources`, `settings`, `workspaces`, `audit`,
//!   `webhook`, `template`, `library`, `import`, `sheet`, `explain`, `delivery`, `job`, `tail`, `endpoint`,
//!   `endpoint_test`, `status`, `report`, `egress`, `backup`, `export`, `click_files`, `click_erase`; `stream` sends what is made while it is sent. To add a noun, add a file with
//!   `routes()` and one line to `routes`.
//! - `change` is the only way to write settings: plan, commit, and again if somebody was faster.
//! - `openapi` writes the document.
//!
//! Not relied on: this router knows nothing of ingest or of the dashboard, keeps no session and reads no cookie.
//! Where it is mounted (the admin listener only) is the server's affair.

mod audit;
mod auth;
mod backup;
mod call;
mod change;
mod click_erase;
mod click_files;
mod delivery;
mod egress;
mod endpoint;
mod endpoint_test;
mod explain;
mod export;
mod fields;
mod import;
mod job;
mod json;
mod library;
mod openapi;
mod reconcile;
mod report;
mod resources;
mod route;
mod settings;
mod sheet;
mod statement;
mod status;
mod stream;
mod tail;
mod template;
mod webhook;
mod workspaces;

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::Router;
use axum::routing::{MethodFilter, MethodRouter};
use roundtrip_ambient::{Clock, Entropy};
use roundtrip_store::click_log::ClickLog;
use roundtrip_store::ledger::Ledger;

use self::route::{Route, dispatch};
use crate::problem;

pub use self::auth::AdminToken;
pub(crate) use self::auth::may_read;
pub use self::egress::Egress;

/// Longest request body, in bytes.
pub const BODY_BYTES_MAX: usize = 1024 * 1024;

/// What the API needs.
#[derive(Clone)]
pub struct ApiState {
    /// The ledger.
    pub ledger: Ledger,
    /// The click log.
    pub clicks: ClickLog,
    /// Tells the time.
    pub clock: Clock,
    /// Randomness for ids and tokens.
    pub entropy: Entropy,
    /// The installation's own admin token.
    pub admin_token: AdminToken,
    /// How the world reaches the public listener; for the links that a partner's sheet shows.
    pub public_url: String,
    /// How requests leave.
    pub egress: Arc<Egress>,
}

/// Every route, noun by noun.
fn routes() -> Vec<Route> {
    let mut routes = Vec::new();
    routes.extend(webhook::routes());
    routes.extend(resources::routes());
    routes.extend(workspaces::routes());
    routes.extend(settings::routes());
    routes.extend(audit::routes());
    routes.extend(template::routes());
    routes.extend(library::routes());
    routes.extend(import::routes());
    routes.extend(sheet::routes());
    routes.extend(explain::routes());
    routes.extend(delivery::routes());
    routes.extend(job::routes());
    routes.extend(tail::routes());
    routes.extend(endpoint_test::routes());
    routes.extend(endpoint::routes());
    routes.extend(status::routes());
    routes.extend(report::routes());
    routes.extend(reconcile::routes());
    routes.extend(statement::routes());
    routes.extend(egress::routes());
    routes.extend(backup::routes());
    routes.extend(export::routes());
    routes.extend(click_files::routes());
    routes.extend(click_erase::routes());
    routes.extend(openapi::routes());
    routes
}

/// The API's router. Its paths are whole (`/api/v1/…`), so it is merged with others, not nested; it answers
/// everything below `/api/` and nothing else.
pub fn router(state: ApiState) -> Router {
    let mut by_path: BTreeMap<String, MethodRouter> = BTreeMap::new();
    for route in routes() {
        let route = Arc::new(route);
        // Every method of the table has a filter; one that had none would be found by the test that calls all.
        let Ok(filter) = MethodFilter::try_from(route.method.clone()) else { continue };
        let path = by_path.entry(route.path.clone()).or_default();
        let (state, own) = (state.clone(), route.clone());
        *path = std::mem::take(path)
            .on(filter, move |request: axum::extract::Request| dispatch(state.clone(), own.clone(), request));
    }
    let mut router = Router::new();
    for (path, methods) in by_path {
        router = router.route(&path, methods.fallback(async || problem::method_not_allowed()));
    }
    for rest in ["/api", "/api/", "/api/{*rest}"] {
        router = router.route(rest, axum::routing::any(async || problem::not_found()));
    }
    router
}

/// The OpenAPI document, as `GET /api/v1/openapi.json` answers it.
pub fn openapi() -> serde_json::Value {
    openapi::document(&routes())
}

/// Method and path of every route, for tests that call them all.
pub fn table() -> Vec<(http::Method, String)> {
    routes().into_iter().map(|route| (route.method, route.path)).collect()
}
