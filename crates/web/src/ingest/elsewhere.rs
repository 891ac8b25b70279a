//! Links at other addresses: requests in the URL forms of other systems, as links list them.
//!
//! Our own forms are looked at first, so that a link's public id costs one look and nothing more. What they do not
//! know is asked for here by host, path and query pairs; only then a link is unknown.

use std::sync::Arc;

use axum::extract::{Request, State};
use axum::http::Method;
use axum::http::request::Parts;
use axum::response::Response;
use roundtrip_domain::click::TouchKind;
use roundtrip_domain::settings::Catalog;

use super::Ingest;
use super::link::{follow, query};
use super::origin::{host, namespace_of_host};

/// Whatever no route has.
pub(super) async fn any(State(ingest): State<Arc<Ingest>>, request: Request) -> Response {
    let (parts, _) = request.into_parts();
    if matches!(parts.method, Method::GET | Method::HEAD) {
        let catalog = ingest.state.ledger.catalog();
        if let Some(response) = at(&ingest, &parts, &catalog).await {
            return response;
        }
    }
    crate::problem::not_found()
}

/// Records and answers the touch, if a link has this address.
pub(super) async fn at(ingest: &Ingest, parts: &Parts, catalog: &Catalog) -> Option<Response> {
    let host = host(parts);
    let (settings, link, is_view) = catalog.link_at(host, parts.uri.path(), query(parts))?;
    // A namespace's own host speaks for nobody else.
    let namespace = host.and_then(|host| namespace_of_host(host, &ingest.state.options));
    if namespace.is_some_and(|slug| !slug.eq_ignore_ascii_case(&settings.slug)) {
        return None;
    }
    let kind = if is_view { TouchKind::Impression } else { TouchKind::Click };
    Some(follow(ingest, parts, settings, link, link.dialect, kind).await)
}
