//! What people and their machines do in the demo: plain HTTP requests, one connection each.

use std::time::Duration;

use anyhow::{Context as _, bail};
use bytes::Bytes;
use http::header::{AUTHORIZATION, CONTENT_TYPE, HOST, LOCATION, USER_AGENT};
use http::{Method, Request};
use http_body_util::{BodyExt as _, Full};
use hyper_util::rt::TokioIo;
use serde_json::Value;

/// A phone's browser.
pub(crate) const ANDROID: &str = "Mozilla/5.0 (Linux; Android 16; Pixel 9) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/142.0.0.0 Mobile Safari/537.36";
/// Another phone's browser.
pub(crate) const IPHONE: &str = "Mozilla/5.0 (iPhone; CPU iPhone OS 19_1 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/19.1 Mobile/15E148 Safari/604.1";
/// A desk's browser.
pub(crate) const DESKTOP: &str =
    "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/142.0.0.0 Safari/537.36";

/// Longest that one request of the demo may take.
const REQUEST_MAX: Duration = Duration::from_secs(10);

/// An answer.
pub(crate) struct Answer {
    /// Status.
    pub(crate) status: u16,
    /// Where it sends the visitor.
    pub(crate) location: Option<String>,
    /// Body, read as JSON where it is some.
    pub(crate) body: Value,
}

/// Sends one request to an `http://` URL and reads the answer.
pub(crate) async fn request(
    method: Method,
    url: &str,
    user_agent: &str,
    token: Option<&str>,
    body: Option<&Value>,
) -> anyhow::Result<Answer> {
    tokio::time::timeout(REQUEST_MAX, exchange(method, url, user_agent, token, body))
        .await
        .with_context(|| format!("no answer from {url} within {} s", REQUEST_MAX.as_secs()))?
}

async fn exchange(
    method: Method,
    url: &str,
    user_agent: &str,
    token: Option<&str>,
    body: Option<&Value>,
) -> anyhow::Result<Answer> {
    let Some(rest) = url.strip_prefix("http://") else { bail!("{url} is not plain HTTP") };
    let (authority, target) = match rest.find('/') {
        Some(at) => rest.split_at(at),
        None => (rest, "/"),
    };
    let stream =
        tokio::net::TcpStream::connect(authority).await.with_context(|| format!("connect to {authority}"))?;
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
    // Its end is the answer's end or error, which is seen below.
    tokio::spawn(connection);
    let mut request =
        Request::builder().method(method).uri(target).header(HOST, authority).header(USER_AGENT, user_agent);
    if let Some(token) = token {
        request = request.header(AUTHORIZATION, format!("Bearer {token}"));
    }
    if body.is_some() {
        request = request.header(CONTENT_TYPE, "application/json");
    }
    let bytes = body.map(|b| Bytes::from(b.to_string())).unwrap_or_default();
    let answer = sender.send_request(request.body(Full::new(bytes))?).await?;
    let status = answer.status().as_u16();
    let location = answer.headers().get(LOCATION).and_then(|v| v.to_str().ok()).map(str::to_owned);
    let bytes = answer.into_body().collect().await?.to_bytes();
    let body = serde_json::from_slice(&bytes)
        .unwrap_or_else(|_| String::from_utf8_lossy(&bytes).into_owned().into());
    Ok(Answer { status, location, body })
}
