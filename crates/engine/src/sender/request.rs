//! From what a caller wants sent to what can be written on a connection: the URL is parsed once, here, and
//! every header is checked, so that nothing a template produced can add a line to the request.

use std::fmt;
use std::net::IpAddr;

use base64::Engine as _;
use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Uri, header};
use http_body_util::Full;
use percent_encoding::percent_decode_str;
use url::{Host, Url};

use super::evidence::{SentRequest, header_shown};
use super::outcome::{Failure, Fault};
use super::pool::Key;

/// Headers that the sender writes itself, or that would change how the message is framed or answered.
/// `accept-encoding` is among them because an answer is never decoded.
const RESERVED: [HeaderName; 10] = [
    header::HOST,
    header::CONTENT_LENGTH,
    header::TRANSFER_ENCODING,
    header::CONNECTION,
    header::TE,
    header::TRAILER,
    header::UPGRADE,
    header::EXPECT,
    header::ACCEPT_ENCODING,
    header::PROXY_AUTHORIZATION,
];
/// The same, without a constant in `http`.
const RESERVED_NAMES: [&str; 2] = ["keep-alive", "proxy-connection"];

/// One outbound request. Its `Debug` form shows neither the URL nor headers, which hold tokens.
#[derive(Clone)]
pub struct Request {
    /// The method; anything but `CONNECT`.
    pub method: Method,
    /// An absolute `http://` or `https://` URL. Userinfo becomes basic authentication unless the headers
    /// hold an `authorization`; a fragment is dropped.
    pub url: String,
    /// Headers in the order to write them. `user-agent` replaces ours; the headers that frame the message
    /// are refused.
    pub headers: Vec<(String, String)>,
    /// The body; empty for none.
    pub body: Bytes,
}

impl Request {
    /// A `GET` of `url` without further headers.
    pub fn get(url: impl Into<String>) -> Self {
        Self { method: Method::GET, url: url.into(), headers: Vec::new(), body: Bytes::new() }
    }

    /// A `POST` of `body` to `url`, as `content_type`.
    pub fn post(url: impl Into<String>, content_type: &str, body: impl Into<Bytes>) -> Self {
        let headers = vec![("content-type".to_owned(), content_type.to_owned())];
        Self { method: Method::POST, url: url.into(), headers, body: body.into() }
    }
}

impl fmt::Debug for Request {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Request")
            .field("method", &self.method)
            .field("headers", &self.headers.len())
            .field("body_bytes", &self.body.len())
            .finish_non_exhaustive()
    }
}

/// Where to connect.
#[derive(Clone, Debug)]
pub(super) struct Target {
    pub(super) key: Key,
    /// The address, when the URL names one instead of a host name.
    pub(super) address: Option<IpAddr>,
}

/// A request that can be written as it is, any number of times.
pub(super) struct Prepared {
    pub(super) target: Target,
    pub(super) origin: String,
    method: Method,
    uri: Uri,
    headers: HeaderMap,
    body: Bytes,
}

impl Prepared {
    pub(super) fn new(request: &Request, user_agent: &HeaderValue) -> Result<Self, Fault> {
        let bad_url = |detail: &str| Fault::new(Failure::BadUrl, detail);
        let url = Url::parse(&request.url).map_err(|error| bad_url(&error.to_string()))?;
        let https = match url.scheme() {
            "https" => true,
            "http" => false,
            _ => return Err(bad_url("the scheme is neither http nor https")),
        };
        let host = url.host_str().filter(|host| !host.is_empty()).ok_or_else(|| bad_url("no host"))?;
        let port = url.port_or_known_default().ok_or_else(|| bad_url("no port"))?;
        let address = match url.host() {
            Some(Host::Ipv4(address)) => Some(IpAddr::V4(address)),
            Some(Host::Ipv6(address)) => Some(IpAddr::V6(address)),
            Some(Host::Domain(_)) | None => None,
        };
        let path_and_query = match url.query() {
            Some(query) => format!("{}?{query}", url.path()),
            None => url.path().to_owned(),
        };
        let uri = Uri::try_from(path_and_query).map_err(|error| bad_url(&error.to_string()))?;
        if request.method == Method::CONNECT {
            return Err(Fault::new(
                Failure::BadRequest,
                "the method CONNECT opens tunnels, it sends nothing",
            ));
        }

        let authority = match url.port() {
            Some(port) => format!("{host}:{port}"),
            None => host.to_owned(),
        };
        let mut headers = HeaderMap::with_capacity(request.headers.len() + 4);
        let host_value = HeaderValue::from_str(&authority).map_err(|error| bad_url(&error.to_string()))?;
        headers.insert(header::HOST, host_value);
        for (name, value) in &request.headers {
            let (name, value) = header_checked(name, value)?;
            headers.append(name, value);
        }
        if !headers.contains_key(header::USER_AGENT) {
            headers.insert(header::USER_AGENT, user_agent.clone());
        }
        if let Some(basic) = basic_auth(&url)
            && !headers.contains_key(header::AUTHORIZATION)
        {
            headers.insert(header::AUTHORIZATION, basic);
        }
        let expects_body = [Method::POST, Method::PUT, Method::PATCH].contains(&request.method);
        if expects_body || !request.body.is_empty() {
            headers.insert(header::CONTENT_LENGTH, HeaderValue::from(request.body.len()));
        }

        Ok(Self {
            target: Target { key: Key { https, host: host.to_owned(), port }, address },
            origin: format!("{}://{authority}", url.scheme()),
            method: request.method.clone(),
            uri,
            headers,
            body: request.body.clone(),
        })
    }

    /// Whether sending it twice does what sending it once does, by its method.
    pub(super) fn is_safe(&self) -> bool {
        self.method.is_safe()
    }

    pub(super) fn to_http(&self) -> http::Request<Full<Bytes>> {
        let mut request = http::Request::new(Full::new(self.body.clone()));
        *request.method_mut() = self.method.clone();
        *request.uri_mut() = self.uri.clone();
        *request.headers_mut() = self.headers.clone();
        request
    }

    pub(super) fn shown(&self) -> SentRequest {
        SentRequest {
            line: format!("{} {} HTTP/1.1", self.method, self.uri),
            headers: self
                .headers
                .iter()
                .map(|(name, value)| (name.as_str().to_owned(), header_shown(name, value)))
                .collect(),
            body: self.body.clone(),
        }
    }
}

fn header_checked(name: &str, value: &str) -> Result<(HeaderName, HeaderValue), Fault> {
    // The name is not repeated in the message: a template may have put anything into it.
    let bad = |detail: &str| Fault::new(Failure::BadRequest, detail);
    let name = HeaderName::from_bytes(name.as_bytes()).map_err(|_| bad("a header name is not a token"))?;
    if RESERVED.contains(&name) || RESERVED_NAMES.contains(&name.as_str()) {
        return Err(bad(&format!("the header {name} belongs to the sender")));
    }
    let value = HeaderValue::from_bytes(value.as_bytes())
        .map_err(|_| bad(&format!("the header {name} holds a line break or control character")))?;
    Ok((name, value))
}

fn basic_auth(url: &Url) -> Option<HeaderValue> {
    if url.username().is_empty() && url.password().is_none() {
        return None;
    }
    let mut pair: Vec<u8> = percent_decode_str(url.username()).collect();
    pair.push(b':');
    pair.extend(percent_decode_str(url.password().unwrap_or_default()));
    let value = format!("Basic {}", base64::engine::general_purpose::STANDARD.encode(pair));
    let mut value = HeaderValue::from_str(&value).ok()?;
    value.set_sensitive(true);
    Some(value)
}
