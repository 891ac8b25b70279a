//! What is kept of an attempt: enough to argue with a partner about it, bounded, and with secrets masked.

use std::fmt;
use std::net::SocketAddr;
use std::time::{Duration, UNIX_EPOCH};

use bytes::Bytes;
use http::{HeaderMap, HeaderName, header};

use super::mask::{MASK, mask_bytes, mask_text};
use super::token::TokenEvidence;

/// The most bytes of answer headers kept, counted as `name: value` and a line end.
const HEADERS_KEPT_MAX: usize = 8 * 1024;
/// The most bytes kept of a `Location`. Beyond this it explains nothing.
const LOCATION_KEPT_MAX: usize = 2 * 1024;
/// The most bytes kept of a `Retry-After`. The longest valid one, an HTTP date, has 33.
const RETRY_AFTER_KEPT_MAX: usize = 64;
/// The longest wait a `Retry-After` can ask of us.
pub const RETRY_AFTER_MAX: Duration = Duration::from_secs(24 * 60 * 60);

/// What happened in one exchange, whatever its outcome. What was not reached is `None`.
#[derive(Clone, Debug, Default)]
pub struct Evidence {
    /// Scheme, host and port that were called, without userinfo.
    pub origin: String,
    /// The request as it was handed to the connection.
    pub request: SentRequest,
    /// Whether any byte of the request was written. While it is false the receiver cannot have acted on it.
    pub request_written: bool,
    /// The address connected to, or the last one tried.
    pub address: Option<SocketAddr>,
    /// Host and port of the proxy that it went through, when there is one.
    pub via: Option<String>,
    /// Whether the exchange ran on a connection that had served an earlier one.
    pub reused: bool,
    /// Whether a reused connection turned out to be closed and the request was sent again on a fresh one.
    pub repeated: bool,
    /// The TLS facts, for https.
    pub tls: Option<TlsFacts>,
    /// How long each phase took.
    pub timings: Timings,
    /// The answer, when its head arrived.
    pub answer: Option<Answer>,
    /// How it came by its token, when it needs one that is fetched.
    pub token: Option<TokenEvidence>,
    /// One sentence about what went wrong, for a person.
    pub error: Option<String>,
}

/// Phases in microseconds. Phases that a reused connection skips are `None`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Timings {
    /// Name look-up.
    pub dns_us: Option<u64>,
    /// TCP connection, all tried addresses together.
    pub connect_us: Option<u64>,
    /// TLS handshake.
    pub tls_us: Option<u64>,
    /// From handing the request to the connection to the first byte of the answer.
    pub first_byte_us: Option<u64>,
    /// The whole exchange, to the last kept byte.
    pub total_us: u64,
}

/// What the TLS handshake agreed on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TlsFacts {
    /// The protocol version, such as `TLSv1_3`.
    pub version: String,
    /// The cipher suite, such as `TLS13_AES_256_GCM_SHA384`.
    pub cipher: String,
}

/// The request as sent, credentials in headers already masked. Its `Debug` form leaves out everything that
/// may hold personal data, because evidence passes through log statements.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct SentRequest {
    /// The request line, without the line end.
    pub line: String,
    /// Headers in the order they were written.
    pub headers: Vec<(String, String)>,
    /// The whole body.
    pub body: Bytes,
}

impl fmt::Debug for SentRequest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let method = self.line.split(' ').next().unwrap_or_default();
        f.debug_struct("SentRequest").field("method", &method).field("body_bytes", &self.body.len()).finish()
    }
}

/// The answer, as far as it was read. Its `Debug` form leaves out header values and the body.
#[derive(Clone, PartialEq, Eq)]
pub struct Answer {
    /// The HTTP status code.
    pub status: u16,
    /// The answer's HTTP version, `HTTP/1.1` or `HTTP/1.0`.
    pub http_version: &'static str,
    /// Headers, at most 8 KiB of them.
    pub headers: Vec<(String, String)>,
    /// Whether headers were left out or cut.
    pub headers_truncated: bool,
    /// `Location`, which is shown and never followed.
    pub location: Option<String>,
    /// `Retry-After` as it was sent.
    pub retry_after: Option<String>,
    /// The first bytes of the body, never decoded.
    pub body: Bytes,
    /// How many bytes of the body were read, kept or not.
    pub body_bytes_read: u64,
    /// Whether there was more body than is kept here.
    pub body_truncated: bool,
    /// Why reading the body ended. Anything but `Complete` means that a pattern over the body was judged
    /// on a part of it.
    pub body_end: BodyEnd,
}

impl fmt::Debug for Answer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Answer")
            .field("status", &self.status)
            .field("http_version", &self.http_version)
            .field("headers", &self.headers.len())
            .field("headers_truncated", &self.headers_truncated)
            .field("body_bytes_kept", &self.body.len())
            .field("body_bytes_read", &self.body_bytes_read)
            .field("body_truncated", &self.body_truncated)
            .field("body_end", &self.body_end)
            .finish_non_exhaustive()
    }
}

/// Why reading an answer's body ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BodyEnd {
    /// The body was read to its end.
    Complete,
    /// `Limits::body_read_max` bytes were read; the connection was closed.
    ReadLimit,
    /// The deadline passed.
    Timeout,
    /// The connection ended before the body did.
    CutShort,
    /// The body's framing (chunk sizes) is not HTTP.
    Malformed,
}

impl BodyEnd {
    /// The stable code, in snake case.
    #[must_use]
    pub const fn code(self) -> &'static str {
        match self {
            Self::Complete => "complete",
            Self::ReadLimit => "read_limit",
            Self::Timeout => "timeout",
            Self::CutShort => "cut_short",
            Self::Malformed => "malformed",
        }
    }

    /// Whether the body broke off through the peer or the network. A body longer than we care to read is
    /// no error.
    #[must_use]
    pub const fn is_error(self) -> bool {
        match self {
            Self::Complete | Self::ReadLimit => false,
            Self::Timeout | Self::CutShort | Self::Malformed => true,
        }
    }
}

impl Evidence {
    /// How long the answer's `Retry-After` asks to wait; see [`retry_after`].
    #[must_use]
    pub fn retry_after(&self, now_unix_ms: i64) -> Option<Duration> {
        retry_after(self.answer.as_ref()?.retry_after.as_deref()?, now_unix_ms)
    }

    /// Replaces every occurrence of the given secrets, plain, percent-encoded up to three times or JSON-escaped,
    /// in what was sent, where to, and in what came back (receivers like to echo). Credentials in headers and
    /// userinfo are masked from the start and need no mention. Empty secrets are ignored.
    pub fn mask(&mut self, secrets: &[impl AsRef<[u8]>]) {
        let secrets: Vec<&[u8]> =
            secrets.iter().map(AsRef::as_ref).filter(|secret| !secret.is_empty()).collect();
        if secrets.is_empty() {
            return;
        }
        mask_text(&mut self.origin, &secrets, false);
        mask_text(&mut self.request.line, &secrets, false);
        for (_, value) in &mut self.request.headers {
            mask_text(value, &secrets, false);
        }
        mask_bytes(&mut self.request.body, &secrets, false);
        if let Some(error) = &mut self.error {
            mask_text(error, &secrets, true);
        }
        if let Some(token) = &mut self.token {
            mask_text(&mut token.origin, &secrets, false);
            if let Some(error) = &mut token.error {
                mask_text(error, &secrets, true);
            }
        }
        let refused = self.token.as_mut().and_then(|token| token.refused.as_mut());
        for answer in self.answer.iter_mut().chain(refused.and_then(|refused| refused.answer.as_mut())) {
            for (_, value) in &mut answer.headers {
                mask_text(value, &secrets, answer.headers_truncated);
            }
            for kept in [&mut answer.location, &mut answer.retry_after].into_iter().flatten() {
                mask_text(kept, &secrets, true);
            }
            let cut = answer.body_truncated || answer.body_end != BodyEnd::Complete;
            mask_bytes(&mut answer.body, &secrets, cut);
        }
    }
}

impl Answer {
    /// The answer's head; the body is filled in as it is read.
    pub(super) fn from_head(head: &http::response::Parts) -> Self {
        let (headers, headers_truncated) = headers_kept(&head.headers);
        Self {
            status: head.status.as_u16(),
            http_version: if head.version == http::Version::HTTP_10 { "HTTP/1.0" } else { "HTTP/1.1" },
            headers,
            headers_truncated,
            location: header_kept(&head.headers, &header::LOCATION, LOCATION_KEPT_MAX),
            retry_after: header_kept(&head.headers, &header::RETRY_AFTER, RETRY_AFTER_KEPT_MAX),
            body: Bytes::new(),
            body_bytes_read: 0,
            body_truncated: false,
            body_end: BodyEnd::Timeout,
        }
    }
}

/// A header's value as evidence shows it: credentials masked, bytes that are not UTF-8 replaced.
pub(super) fn header_shown(name: &HeaderName, value: &http::HeaderValue) -> String {
    let credential = [
        header::AUTHORIZATION,
        header::PROXY_AUTHORIZATION,
        header::COOKIE,
        // What a receiver hands out as a session is as much a credential as what we would send back.
        header::SET_COOKIE,
    ]
    .contains(name);
    if credential { MASK.to_owned() } else { String::from_utf8_lossy(value.as_bytes()).into_owned() }
}

fn headers_kept(headers: &HeaderMap) -> (Vec<(String, String)>, bool) {
    let mut kept = Vec::new();
    let mut room = HEADERS_KEPT_MAX;
    for (name, value) in headers {
        let mut shown = header_shown(name, value);
        let around = name.as_str().len() + 4;
        let whole = around + shown.len() <= room;
        if !whole {
            cut(&mut shown, room.saturating_sub(around));
        }
        if whole || !shown.is_empty() {
            room = room.saturating_sub(around + shown.len());
            kept.push((name.as_str().to_owned(), shown));
        }
        if !whole {
            return (kept, true);
        }
    }
    (kept, false)
}

fn header_kept(headers: &HeaderMap, name: &HeaderName, max: usize) -> Option<String> {
    let mut value = header_shown(name, headers.get(name)?);
    cut(&mut value, max);
    Some(value)
}

/// Shortens `text` to at most `max` bytes, on a character boundary.
fn cut(text: &mut String, max: usize) {
    text.truncate(text.floor_char_boundary(max));
}

/// How long a `Retry-After` value asks to wait, counted from `now_unix_ms` (milliseconds since 1970, UTC).
///
/// Whole seconds and HTTP dates are read. A date in the past, a negative number or anything else asks for
/// nothing (`None`). What asks for more than a day gets a day ([`RETRY_AFTER_MAX`]).
#[must_use]
pub fn retry_after(value: &str, now_unix_ms: i64) -> Option<Duration> {
    let value = value.trim();
    let wait = if !value.is_empty() && value.bytes().all(|byte| byte.is_ascii_digit()) {
        // More digits than fit into 64 bits is still a well-formed "very long".
        Duration::from_secs(value.parse().unwrap_or(u64::MAX))
    } else {
        let at = httpdate::parse_http_date(value).ok()?.duration_since(UNIX_EPOCH).ok()?;
        let at_ms = i64::try_from(at.as_millis()).ok()?;
        Duration::from_millis(u64::try_from(at_ms.checked_sub(now_unix_ms)?).ok()?)
    };
    Some(wait.min(RETRY_AFTER_MAX))
}
