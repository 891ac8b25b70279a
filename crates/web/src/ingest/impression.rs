//! Impressions: `/i/{link}`, and `/impression/{link}` as Adjust writes it, answer with a 1×1 picture, whatever
//! becomes of the record.

use std::sync::Arc;

use axum::extract::{Request, State};
use axum::http::StatusCode;
use axum::response::Response;
use roundtrip_domain::click::{Click, TouchKind};
use roundtrip_domain::params::Params;
use roundtrip_domain::problem::{Code, Problem};

use super::counters::count;
use super::link::{count_click, follow, stored, told};
use super::{Ingest, answer, elsewhere};

/// A transparent GIF of one pixel, 43 bytes.
pub(super) const PIXEL: &[u8; 43] = b"GIF89a\x01\x00\x01\x00\x80\x00\x00\x00\x00\x00\xff\xff\xff\
\x21\xf9\x04\x01\x00\x00\x00\x00\x2c\x00\x00\x00\x00\x01\x00\x01\x00\x00\x02\x02\x44\x01\x00\x3b";

/// `GET /i/{link}`.
pub(super) async fn impression(State(ingest): State<Arc<Ingest>>, request: Request) -> Response {
    let (parts, _) = request.into_parts();
    let path = parts.uri.path();
    let id = ["/i/", "/impression/"].iter().find_map(|prefix| path.strip_prefix(prefix)).unwrap_or_default();
    let catalog = ingest.state.ledger.catalog();
    let Some((settings, link)) = catalog.link(id.strip_suffix('/').unwrap_or(id)) else {
        if let Some(response) = elsewhere::at(&ingest, &parts, &catalog).await {
            return response;
        }
        count(&ingest.state.counters.links_unknown);
        return answer::problem(&Problem::new(Code::LinkUnknown, "link", "there is no link of that id"));
    };
    follow(&ingest, &parts, settings, link, link.dialect, TouchKind::Impression).await
}

/// Records an impression and answers it.
pub(super) async fn answer(
    ingest: &Ingest,
    click: &Click,
    params: &Params,
    is_told_by_server: bool,
) -> Response {
    count_click(ingest, click);
    let append = ingest.state.clicks.append_read(click, params).await;
    if is_told_by_server {
        return told(ingest, append, params);
    }
    let mut response = answer::with_type(StatusCode::OK, "image/gif", PIXEL.as_slice());
    if !stored(ingest, &append) {
        let (name, value) = answer::UNSTORED;
        response.headers_mut().insert(name, value);
    }
    response
}
