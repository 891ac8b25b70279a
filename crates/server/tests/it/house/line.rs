//! One connection to a server: what a browser, an app or a script has. It is kept while it lasts and made anew after
//! it broke.

use std::fmt;

use bytes::Bytes;
use http::header::{AUTHORIZATION, CONTENT_TYPE, HOST, LOCATION, USER_AGENT};
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request};
use http_body_util::{BodyExt as _, Full};
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper_util::rt::TokioIo;
use serde_json::Value;
use tokio::net::TcpStream;

use crate::process::WAIT;

/// A phone's browser.
pub(crate) const ANDROID: &str = "Mozilla/5.0 (Linux; Android 16; Pixel 9) AppleWebKit/537.36 (KHTML, like Gecko) \
                                  Chrome/142.0.0.0 Mobile Safari/537.36";
/// A desktop's browser.
pub(crate) const DESKTOP: &str =
    "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/142.0.0.0 Safari/537.36";

/// A request, to be made as often as one likes.
#[derive(Debug, Clone)]
pub(crate) struct Call {
    method: Method,
    target: String,
    headers: HeaderMap,
    body: Bytes,
}

impl Call {
    /// A GET.
    pub(crate) fn get(target: &str) -> Self {
        Self { method: Method::GET, target: target.to_owned(), headers: HeaderMap::new(), body: Bytes::new() }
    }

    /// A POST.
    pub(crate) fn post(target: &str, body: impl Into<Bytes>) -> Self {
        Self { method: Method::POST, body: body.into(), ..Self::get(target) }
    }

    /// Adds a header.
    pub(crate) fn header(mut self, name: HeaderName, value: impl AsRef<[u8]>) -> Self {
        let value = HeaderValue::from_bytes(value.as_ref()).expect("a header can carry it");
        self.headers.append(name, value);
        self
    }

    /// Adds a browser.
    pub(crate) fn browser(self, name: &str) -> Self {
        self.header(USER_AGENT, name)
    }

    /// Adds a key.
    pub(crate) fn bearer(self, token: &str) -> Self {
        self.header(AUTHORIZATION, format!("Bearer {token}"))
    }

    /// Says that the body is JSON.
    pub(crate) fn json_body(self) -> Self {
        self.header(CONTENT_TYPE, "application/json")
    }

    fn request(&self, host: &str) -> Request<Full<Bytes>> {
        let mut request = Request::new(Full::new(self.body.clone()));
        *request.method_mut() = self.method.clone();
        *request.uri_mut() = self.target.parse().expect("it is a request target");
        *request.headers_mut() = self.headers.clone();
        let host = HeaderValue::from_str(host).expect("an address is a host");
        request.headers_mut().insert(HOST, host);
        request
    }
}

/// What came back.
#[derive(Debug, Clone)]
pub(crate) struct Answer {
    /// The status.
    pub(crate) status: u16,
    /// The headers.
    pub(crate) headers: HeaderMap,
    /// The body.
    pub(crate) body: Bytes,
}

impl Answer {
    /// The body as text.
    pub(crate) fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// The body as a document.
    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|error| panic!("{error} in {}", self.text()))
    }

    /// Where a visitor is sent.
    pub(crate) fn location(&self) -> &str {
        self.headers.get(LOCATION).and_then(|value| value.to_str().ok()).unwrap_or_default()
    }

    /// Whether the server says that it may not have the click.
    pub(crate) fn is_unstored(&self) -> bool {
        self.headers.get("x-roundtrip-click").is_some_and(|value| value == "unstored")
    }
}

/// There was no answer: the connection broke before it was whole, so nothing was promised.
#[derive(Debug)]
pub(crate) struct Unanswered(String);

impl fmt::Display for Unanswered {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A connection.
pub(crate) struct Line {
    address: String,
    sender: Option<SendRequest<Full<Bytes>>>,
}

impl Line {
    /// One that is opened with the first call.
    pub(crate) fn to(address: &str) -> Self {
        Self { address: address.to_owned(), sender: None }
    }

    /// Makes a request. A server that neither answers nor hangs up within the bound fails the test.
    pub(crate) async fn call(&mut self, call: &Call) -> Result<Answer, Unanswered> {
        let answered = tokio::time::timeout(WAIT, self.exchange(call)).await;
        let answered = answered.unwrap_or_else(|_| panic!("{} {} hangs", call.method, call.target));
        if answered.is_err() {
            self.sender = None;
        }
        answered
    }

    /// Makes a request that may be made twice: a kept connection can be closed just when it is used again.
    pub(crate) async fn call_again(&mut self, call: &Call) -> Result<Answer, Unanswered> {
        let was_kept = self.sender.is_some();
        match self.call(call).await {
            Err(_) if was_kept => self.call(call).await,
            answered => answered,
        }
    }

    async fn exchange(&mut self, call: &Call) -> Result<Answer, Unanswered> {
        let why = |error: &dyn fmt::Display| Unanswered(error.to_string());
        let mut sender = match self.sender.take().filter(|sender| !sender.is_closed()) {
            Some(sender) => sender,
            None => {
                let stream = TcpStream::connect(&self.address).await.map_err(|error| why(&error))?;
                let (sender, connection) =
                    handshake(TokioIo::new(stream)).await.map_err(|error| why(&error))?;
                // It ends with the connection, and what ends it is seen by the request.
                tokio::spawn(async move { drop(connection.await) });
                sender
            }
        };
        sender.ready().await.map_err(|error| why(&error))?;
        let answer = sender.send_request(call.request(&self.address)).await.map_err(|error| why(&error))?;
        let (head, body) = answer.into_parts();
        let body = body.collect().await.map_err(|error| why(&error))?.to_bytes();
        self.sender = Some(sender);
        Ok(Answer { status: head.status.as_u16(), headers: head.headers, body })
    }
}

/// Our click id in a destination: a UUID in Play's referrer, or as a parameter.
pub(crate) fn our_click_id(location: &str) -> Option<String> {
    let query = location.split_once('?')?.1;
    let decoded: String = url::form_urlencoded::parse(query.as_bytes())
        .map(|(name, value)| format!("{name}={value}&"))
        .collect();
    let at = decoded.find("click_id=")? + "click_id=".len();
    let id: String = decoded[at..].chars().take_while(|c| c.is_ascii_hexdigit() || *c == '-').collect();
    (id.len() == 36).then_some(id)
}
