//! Impressions: `/i/{link}` answers with a 1×1 picture, whatever becomes of the record.

use std::sync::Arc;

use axum::extract::{Request, State};
use axum::http::StatusCode;
use axum::response::Response;
use roundtrip_domain::click::TouchKind;
use roundtrip_domain::problem::{Code, Problem};

use super::counters::count;
use super::link::{count_click, says_server_to_server, stored, told, touch};
use super::{Ingest, answer};

/// A transparent GIF of one pixel, 43 bytes.
pub(super) const PIXEL: &[u8; 43] = b"GIF89a\x01\x00\x01\x00\x80\x00\x00\x00\x00\x00\xff\xff\xff\
\x21\xf9\x04\x01\x00\x00\x00\x00\x2c\x00\x00\x00\x00\x01\x00\x01\x00\x00\x02\x02\x44\x01\x00\x3b";

/// `GET /i/{link}`.
pub(super) async fn impression(State(ingest): State<Arc<Ingest>>, request: Request) -> Response {
    let (parts, _) = request.into_parts();
    let path = parts.uri.path();
    let id = path.strip_prefix("/i/").unwrap_or_default();
    let catalog = ingest.state.ledger.catalog();
    let Some((settings, link)) = catalog.link(id.strip_suffix('/').unwrap_or(id)) else {
        count(&ingest.state.counters.links_unknown);
        return answer::problem(&Problem::new(Code::LinkUnknown, "link", "there is no link of that id"));
    };
    let (click, params) = touch(&ingest, &parts, settings, link, link.dialect, TouchKind::Impression);
    count_click(&ingest, &click);
    let append = ingest.state.clicks.append_read(&click, &params).await;
    if says_server_to_server(&params) {
        return told(&ingest, append, &params);
    }
    let mut response = answer::with_type(StatusCode::OK, "image/gif", PIXEL.as_slice());
    if !stored(&ingest, &append) {
        let (name, value) = answer::UNSTORED;
        response.headers_mut().insert(name, value);
    }
    response
}
