//! The visitor's answer: a 302, a page that opens the app, or a page that says that there is nowhere to go.
//!
//! It is made after the click was recorded, and whatever happened to the record: a visitor is never stranded. There is
//! never an empty `Location`; some browsers ask again and again for one, and each time is a click.

use axum::body::Body;
use axum::http::request::Parts;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::Response;
use roundtrip_domain::click::Click;
use roundtrip_domain::click_id::ClickId;
use roundtrip_domain::facts::{ClickValues, user_agent_platform};
use roundtrip_domain::params::Params;
use roundtrip_domain::problem::{Code, Problem};
use roundtrip_domain::settings::{Link, Settings};

use super::allow::Asked;
use super::counters::count;
use super::destination::{Choice, Onward};
use super::{Ingest, answer, deep_link};

/// A click that was recorded, or was to be.
pub(super) struct Followed<'a> {
    /// The id that the visitor leaves with.
    pub(super) id: ClickId,
    /// Whether the log has it.
    pub(super) is_stored: bool,
    /// What was recorded.
    pub(super) click: &'a Click,
    /// Its query, read.
    pub(super) params: &'a Params,
    /// Its workspace's settings.
    pub(super) settings: &'a Settings,
    /// The link.
    pub(super) link: &'a Link,
    /// What the request asked for.
    pub(super) asked: &'a Asked,
}

/// Sends the visitor on.
pub(super) fn answer(ingest: &Ingest, parts: &Parts, followed: &Followed<'_>) -> Response {
    let Followed { id, is_stored, click, params, settings, link, asked } = *followed;
    let platform = user_agent_platform(click.user_agent.as_deref().unwrap_or_default());
    let values = ClickValues { id, click, params, settings };
    let onward = Choice { values: &values, link, asked, platform }.onward();
    let mut response = match onward {
        Onward::Redirect(url) => redirect(url),
        Onward::OpenApp { deep_link, otherwise } => {
            let page = deep_link::page(&deep_link, otherwise.as_deref(), platform);
            let policy = HeaderValue::try_from(deep_link::POLICY.as_str()).ok();
            policy.map(|policy| answer::html(StatusCode::OK, page, policy))
        }
        Onward::Nowhere => None,
    }
    .unwrap_or_else(|| {
        count(&ingest.state.counters.destinations_missing);
        let message = "The link has no destination for this device.";
        answer::visitor_problem(&parts.headers, &Problem::new(Code::DestinationMissing, "link", message))
    });
    if !is_stored {
        let (name, value) = answer::UNSTORED;
        response.headers_mut().insert(name, value);
    }
    response
}

/// 302; `None` when the URL cannot stand in a header.
fn redirect(url: String) -> Option<Response> {
    let location = HeaderValue::try_from(url).ok()?;
    let mut response = Response::new(Body::empty());
    *response.status_mut() = StatusCode::FOUND;
    let headers = response.headers_mut();
    headers.insert(header::LOCATION, location);
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    // The landing page may know which site sent the visitor, not which page of it.
    headers.insert(header::REFERRER_POLICY, HeaderValue::from_static("strict-origin-when-cross-origin"));
    Some(response)
}
