//! What a handler is given, and what it gives back.

use std::sync::Arc;

use axum::body::Body;
use axum::response::{IntoResponse as _, Response};
use http::{HeaderValue, StatusCode, header};
use roundtrip_domain::params::Params;
use roundtrip_domain::problem::{Code, Problem};
use roundtrip_domain::settings::Settings;
use roundtrip_store::Error;
use serde_json::Value;

use super::ApiState;
use super::auth::Caller;
use crate::problem;

/// The workspace of requests that name none.
pub(super) const WORKSPACE_DEFAULT: &str = "default";
/// Most items of a page.
pub(super) const LIMIT_MAX: u32 = 1_000;
/// Items of a page when nobody says how many.
const LIMIT_DEFAULT: u32 = 100;

/// One request, checked as far as all routes have in common.
pub(super) struct Call {
    pub(super) state: ApiState,
    pub(super) caller: Caller,
    /// Path parameters, decoded.
    pub(super) path: Vec<(String, String)>,
    /// The query, whose names the route has.
    pub(super) query: Params,
    /// The version of `If-Match`.
    pub(super) if_match: Option<u64>,
    /// The body; null where the route takes none.
    pub(super) body: Value,
}

impl Call {
    /// A path parameter; empty if the route's path has none of that name.
    pub(super) fn path(&self, name: &str) -> &str {
        self.path.iter().find(|(n, _)| n == name).map_or("", |(_, value)| value)
    }

    /// The workspace that the query names, which the caller may enter.
    pub(super) fn workspace(&self) -> Result<Arc<Settings>, Problem> {
        let named = self.query.text("workspace");
        self.enter(named.as_deref().unwrap_or(WORKSPACE_DEFAULT))
    }

    /// The workspace of that slug, if the caller may enter it.
    pub(super) fn enter(&self, slug: &str) -> Result<Arc<Settings>, Problem> {
        let catalog = self.state.ledger.catalog();
        let settings = catalog.namespace(slug).cloned().ok_or_else(|| {
            Problem::new(Code::NamespaceUnknown, "workspace", format!("there is no workspace `{slug}`"))
                .fixed_by(
                    "check the slug: GET /api/v1/workspaces lists those that there are, and POST makes one",
                )
        })?;
        self.caller.enters(settings.workspace)?;
        Ok(settings)
    }

    /// `limit`: 1 to [`LIMIT_MAX`].
    pub(super) fn limit(&self) -> Result<u32, Problem> {
        match self.query.text("limit") {
            None => Ok(LIMIT_DEFAULT),
            Some(text) => {
                text.parse().ok().filter(|limit| (1..=LIMIT_MAX).contains(limit)).ok_or_else(|| {
                    Problem::new(
                        Code::ParameterInvalid,
                        "limit",
                        format!("it is a number from 1 to {LIMIT_MAX}"),
                    )
                })
            }
        }
    }

    /// Refuses a request that was made from another version than this one.
    pub(super) fn check_version(&self, version: u64) -> Result<(), Problem> {
        match self.if_match {
            Some(wanted) if wanted != version => Err(Problem::new(
                Code::VersionConflict,
                "If-Match",
                format!("it is at version {version} by now"),
            )),
            _ => Ok(()),
        }
    }
}

/// A success.
#[derive(Debug)]
pub(super) struct Answer {
    pub(super) status: StatusCode,
    pub(super) body: Value,
    /// Bytes that are answered in place of `body` while they are made, and their media type.
    pub(super) stream: Option<(&'static str, Body)>,
    /// The version that `ETag` shows.
    pub(super) version: Option<u64>,
}

impl Answer {
    pub(super) fn ok(body: Value) -> Self {
        Self { status: StatusCode::OK, body, stream: None, version: None }
    }

    pub(super) fn created(body: Value) -> Self {
        Self { status: StatusCode::CREATED, body, stream: None, version: None }
    }

    /// Bytes that are made while they are sent. What goes wrong then cuts the connection.
    pub(super) fn streamed(media: &'static str, body: Body) -> Self {
        Self { stream: Some((media, body)), ..Self::ok(Value::Null) }
    }

    pub(super) fn at(self, version: u64) -> Self {
        Self { version: Some(version), ..self }
    }

    pub(super) fn into_response(self) -> Response {
        let (media, body) =
            self.stream.unwrap_or_else(|| ("application/json", Body::from(self.body.to_string())));
        let mut response = (self.status, body).into_response();
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(media));
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
        if let Some(version) = self.version
            && let Ok(tag) = HeaderValue::from_str(&format!("\"{version}\""))
        {
            headers.insert(header::ETAG, tag);
        }
        response
    }
}

/// A refusal.
#[derive(Debug)]
pub(super) enum Failure {
    /// One problem with the request.
    One(Problem),
    /// Everything that is wrong with a document.
    All(Vec<Problem>),
    /// The store's.
    Store(Error),
}

impl From<Problem> for Failure {
    fn from(problem: Problem) -> Self {
        Self::One(problem)
    }
}

impl From<Vec<Problem>> for Failure {
    fn from(problems: Vec<Problem>) -> Self {
        Self::All(problems)
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Self::Store(error)
    }
}

impl Failure {
    pub(super) fn into_response(self) -> Response {
        match self {
            Self::One(problem) => problem::answer(&problem),
            Self::All(problems) => problem::answer_all(&problems),
            Self::Store(error) => problem::answer(&problem::of_store(&error)),
        }
    }
}
