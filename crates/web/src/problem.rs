//! Errors as HTTP answers: `{"error":{"code","message","field","rule","fix"}}`, the same everywhere.
//!
//! Code, rule, fix and status come from [`Code`]; the message and field from the [`Problem`]. What the log is
//! told of a store's failure is not what the caller is told: paths and SQL stay inside.

use axum::response::{IntoResponse as _, Response};
use http::{HeaderValue, StatusCode, header};
use roundtrip_domain::problem::{Code, Problem};
use roundtrip_store::Error;
use serde_json::{Value, json};

/// One error, as the value of `error` in an answer.
pub fn value(problem: &Problem) -> Value {
    json!({
        "code": problem.code.text(),
        "message": problem.message,
        "field": problem.field,
        "rule": problem.code.rule(),
        "fix": problem.fix(),
    })
}

/// The answer to a request that one problem ends.
pub fn answer(problem: &Problem) -> Response {
    respond(status(problem.code), &json!({ "error": value(problem) }), problem.code)
}

/// The answer to a document with problems: the first as `error`, all of them as `problems`. Its status is the
/// first one's. Nothing to say about is answered as a store that could not answer, for want of a better word.
pub fn answer_all(problems: &[Problem]) -> Response {
    let Some(first) = problems.first() else {
        return answer(&Problem::new(Code::StoreUnavailable, "", "the request failed without a reason"));
    };
    let all: Vec<Value> = problems.iter().map(value).collect();
    respond(status(first.code), &json!({ "error": value(first), "problems": all }), first.code)
}

/// What a caller is told when a store failed. The log is told the whole of it here, and nowhere else.
pub fn of_store(error: &Error) -> Problem {
    match error {
        Error::VersionConflict { current } => {
            Problem::new(Code::VersionConflict, "", format!("the settings are at version {current} by now"))
        }
        Error::Unavailable(_) => {
            tracing::warn!(error = %error, "the store could not answer");
            Problem::new(Code::StoreUnavailable, "", "the store cannot take this now")
        }
        Error::Corrupt { .. } | Error::Fatal(_) | Error::Refused(_) => {
            tracing::error!(error = %error, "the store failed");
            Problem::new(Code::StoreUnavailable, "", "the store failed; its log says why")
        }
    }
}

/// The answer to a path that is none.
pub fn not_found() -> Response {
    answer(&Problem::new(Code::NotFound, "", "there is nothing at this path"))
}

/// The answer to a method that a path does not have. The router adds `Allow`.
pub fn method_not_allowed() -> Response {
    answer(&Problem::new(Code::MethodNotAllowed, "", "this path does not have this method"))
}

fn status(code: Code) -> StatusCode {
    StatusCode::from_u16(code.status()).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR)
}

fn respond(status: StatusCode, body: &Value, code: Code) -> Response {
    let mut response = (status, body.to_string()).into_response();
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    if status == StatusCode::UNAUTHORIZED {
        headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
    }
    if code == Code::StoreUnavailable {
        headers.insert(header::RETRY_AFTER, HeaderValue::from_static("1"));
    }
    response
}
