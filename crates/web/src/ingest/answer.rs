//! Answers: JSON, small pages, and problems in the form that the caller can read.

use axum::body::Body;
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use axum::response::Response;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use roundtrip_domain::problem::{Code, Problem};
use serde::Serialize;
use sha2::{Digest as _, Sha256};

use super::deep_link::escape;
/// A problem for a program.
pub(super) use crate::problem::answer as problem;

/// One thing that the caller should know although its event was taken.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(super) struct Warning {
    /// A stable word; also a finding on the event.
    pub(super) code: &'static str,
    /// The field or parameter; empty for the whole.
    pub(super) field: String,
    /// For a person.
    pub(super) message: String,
}

impl Warning {
    pub(super) fn new(code: &'static str, field: impl Into<String>, message: impl Into<String>) -> Self {
        Self { code, field: field.into(), message: message.into() }
    }
}

const NO_STORE: HeaderValue = HeaderValue::from_static("no-store");

/// JSON with a status.
pub(super) fn json(status: StatusCode, body: &impl Serialize) -> Response {
    // Our own shapes serialise; the fallback is there so that nothing rests on that.
    let body = serde_json::to_vec(body).unwrap_or_else(|_| b"{}".to_vec());
    with_type(status, "application/json", body)
}

/// A small page.
pub(super) fn html(status: StatusCode, page: String, policy: HeaderValue) -> Response {
    let mut response = with_type(status, "text/html; charset=utf-8", page);
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_SECURITY_POLICY, policy);
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    headers.insert(header::REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
    response
}

/// An answer without a body.
pub(super) fn empty(status: StatusCode) -> Response {
    let mut response = Response::new(Body::empty());
    *response.status_mut() = status;
    response.headers_mut().insert(header::CACHE_CONTROL, NO_STORE);
    response
}

/// A body of a type, never cached.
pub(super) fn with_type(status: StatusCode, content_type: &'static str, body: impl Into<Body>) -> Response {
    let mut response = Response::new(body.into());
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(content_type));
    headers.insert(header::CACHE_CONTROL, NO_STORE);
    response
}

/// 429, and when to come again.
pub(super) fn rate_limited(message: &str, wait_s: u64) -> Response {
    let mut response = problem(&Problem::new(Code::RateLimited, "", message));
    response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from(wait_s));
    response
}

/// How the page of a link that leads nowhere looks.
const NOWHERE_STYLE: &str = "body{font:16px/1.5 system-ui,sans-serif;max-width:32rem;margin:12vh auto;padding:0 1.25rem}\
                             h1{font-size:1.3rem}code{opacity:.7}";

/// A problem for a visitor: a page if the browser asks for one, else JSON.
pub(super) fn visitor_problem(headers: &HeaderMap, told: &Problem) -> Response {
    if !wants_html(headers) {
        return problem(told);
    }
    let status = StatusCode::from_u16(told.code.status()).unwrap_or(StatusCode::NOT_FOUND);
    let page = format!(
        "<!doctype html><html lang=\"en\"><head><meta charset=\"utf-8\"><meta name=\"viewport\" \
         content=\"width=device-width,initial-scale=1\"><meta name=\"color-scheme\" content=\"light dark\">\
         <title>This link leads nowhere</title><style>{NOWHERE_STYLE}</style></head>\
         <body><h1>This link leads nowhere</h1><p>{}</p><p><code>{}</code></p></body></html>",
        escape(&told.message),
        told.code.text(),
    );
    // Its one style stands in it, and nothing but that is allowed.
    let style = STANDARD.encode(Sha256::digest(NOWHERE_STYLE));
    let policy = format!(
        "default-src 'none'; style-src 'sha256-{style}'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    );
    let policy = HeaderValue::from_str(&policy).unwrap_or(HeaderValue::from_static("default-src 'none'"));
    html(status, page, policy)
}

fn wants_html(headers: &HeaderMap) -> bool {
    headers.get(header::ACCEPT).is_some_and(|accept| {
        let accept = accept.as_bytes();
        accept.windows(9).any(|part| part.eq_ignore_ascii_case(b"text/html"))
    })
}

/// Says with a click's answer that its record is not known to be on the disk.
pub(super) const UNSTORED: (HeaderName, HeaderValue) =
    (HeaderName::from_static("x-roundtrip-click"), HeaderValue::from_static("unstored"));
