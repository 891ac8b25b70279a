//! What is kept of a send: `attempt.body`, JSON in a version envelope.
//!
//! Written straight from what the sender noted: a tree of values in between was a tenth of the time of a send.

use std::borrow::Cow;
use std::net::SocketAddr;

use serde::Serialize;

use crate::sender::{self, BodyEnd, Evidence, Timings, TokenEvidence};

/// About what is written around the texts of an attempt, in bytes.
const ENVELOPE_BYTES: usize = 640;

#[derive(Serialize)]
struct BodyV1<'a> {
    v: u8,
    origin: &'a str,
    address: Option<SocketAddr>,
    via: Option<&'a str>,
    reused: bool,
    repeated: bool,
    request_written: bool,
    tls: Option<Tls<'a>>,
    request: Request<'a>,
    answer: Option<Answer<'a>>,
    timings_us: Phases,
    token: Option<Token<'a>>,
    missing: &'a [String],
    error: Option<&'a str>,
}

#[derive(Serialize)]
struct Tls<'a> {
    version: &'a str,
    cipher: &'a str,
}

#[derive(Serialize)]
struct Request<'a> {
    line: &'a str,
    headers: &'a [(String, String)],
    body: Cow<'a, str>,
}

#[derive(Serialize)]
struct Answer<'a> {
    status: u16,
    version: &'a str,
    headers: &'a [(String, String)],
    body: Cow<'a, str>,
    body_bytes_read: u64,
    body_truncated: bool,
    body_end: &'static str,
    location: Option<&'a str>,
}

#[derive(Serialize)]
struct Phases {
    dns: Option<u64>,
    connect: Option<u64>,
    tls: Option<u64>,
    first_byte: Option<u64>,
    total: u64,
}

#[derive(Serialize)]
struct Token<'a> {
    origin: &'a str,
    fetched: bool,
    outcome: Option<&'a str>,
    wait_us: u64,
    error: Option<&'a str>,
    /// The first sending, when a kept token was refused and the request sent again with a new one.
    refused: Option<Refused<'a>>,
}

#[derive(Serialize)]
struct Refused<'a> {
    address: Option<SocketAddr>,
    answer: Option<Answer<'a>>,
    timings_us: Phases,
}

impl<'a> Answer<'a> {
    fn of(answer: &'a sender::Answer) -> Self {
        Self {
            status: answer.status,
            version: answer.http_version,
            headers: &answer.headers,
            body: String::from_utf8_lossy(&answer.body),
            body_bytes_read: answer.body_bytes_read,
            body_truncated: answer.body_truncated,
            body_end: body_end(answer.body_end),
            location: answer.location.as_deref(),
        }
    }
}

impl Phases {
    const fn of(timings: Timings) -> Self {
        Self {
            dns: timings.dns_us,
            connect: timings.connect_us,
            tls: timings.tls_us,
            first_byte: timings.first_byte_us,
            total: timings.total_us,
        }
    }
}

impl<'a> Token<'a> {
    fn of(token: &'a TokenEvidence) -> Self {
        Self {
            origin: &token.origin,
            fetched: token.fetched,
            outcome: token.outcome.as_deref(),
            wait_us: token.wait_us,
            error: token.error.as_deref(),
            refused: token.refused.as_deref().map(|refused| Refused {
                address: refused.address,
                answer: refused.answer.as_ref().map(Answer::of),
                timings_us: Phases::of(refused.timings),
            }),
        }
    }
}

/// Writes the evidence. Secrets have been masked by the caller.
pub(super) fn write(evidence: &Evidence, missing: &[String]) -> String {
    let body = BodyV1 {
        v: 1,
        origin: &evidence.origin,
        address: evidence.address,
        via: evidence.via.as_deref(),
        reused: evidence.reused,
        repeated: evidence.repeated,
        request_written: evidence.request_written,
        tls: evidence.tls.as_ref().map(|tls| Tls { version: &tls.version, cipher: &tls.cipher }),
        request: Request {
            line: &evidence.request.line,
            headers: &evidence.request.headers,
            body: String::from_utf8_lossy(&evidence.request.body),
        },
        answer: evidence.answer.as_ref().map(Answer::of),
        timings_us: Phases::of(evidence.timings),
        token: evidence.token.as_ref().map(Token::of),
        missing,
        error: evidence.error.as_deref(),
    };
    let headers = |list: &[(String, String)]| list.iter().map(|(n, v)| n.len() + v.len() + 8).sum::<usize>();
    let answered = evidence.answer.as_ref().map_or(0, |answer| headers(&answer.headers) + answer.body.len());
    let sent = &evidence.request;
    let about = ENVELOPE_BYTES + sent.line.len() + headers(&sent.headers) + sent.body.len() + answered;
    let mut written = Vec::with_capacity(about + about / 8);
    // Texts, numbers and lists of them: there is nothing in it that JSON cannot say.
    let is_written = serde_json::to_writer(&mut written, &body).is_ok();
    String::from_utf8(written).ok().filter(|_| is_written).unwrap_or_else(|| r#"{"v":1}"#.to_owned())
}

const fn body_end(end: BodyEnd) -> &'static str {
    match end {
        BodyEnd::Complete => "complete",
        BodyEnd::ReadLimit => "read_limit",
        BodyEnd::Timeout => "timeout",
        BodyEnd::CutShort => "cut_short",
        BodyEnd::Malformed => "malformed",
    }
}
