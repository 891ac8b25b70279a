//! One request and its answer on an open connection, up to one deadline. The body is read to a limit, kept
//! to a smaller one, and never decoded.

use std::error::Error as _;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http_body_util::{BodyExt as _, Full};
use hyper::body::{Body as _, Incoming};
use hyper::client::conn::http1::{self, SendRequest};
use hyper_util::rt::TokioIo;
use tokio::sync::OwnedSemaphorePermit;
use tokio::task::JoinHandle;
use tokio::time::{Instant, timeout, timeout_at};

use super::Limits;
use super::connect::Opened;
use super::evidence::{Answer, BodyEnd, Evidence, TlsFacts};
use super::outcome::{Failure, Fault};
use super::request::Prepared;
use super::tap::{Counters, Tap};

/// The largest head of an answer, and so the largest read buffer of a connection.
const HEAD_MAX: usize = 32 * 1024;
/// The most headers in an answer.
const HEADERS_MAX: usize = 128;
/// How long a connection may take to become ready for its next request before it is given up. It is a few
/// microseconds unless the peer answered before it had read the request.
const SETTLE_MAX: Duration = Duration::from_millis(20);

/// An open HTTP/1.1 connection. Dropping it closes the socket.
pub(super) struct Connection {
    sender: SendRequest<Full<Bytes>>,
    counters: Arc<Counters>,
    task: Task,
    address: SocketAddr,
    tls: Option<TlsFacts>,
    pub(super) opened_at: Instant,
    _slot: OwnedSemaphorePermit,
}

/// The task that moves a connection's bytes; it ends when its owner does.
struct Task(JoinHandle<()>);

impl Drop for Task {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// An exchange without an answer.
pub(super) struct Broken {
    pub(super) fault: Fault,
    /// Not a byte of an answer was read.
    pub(super) unanswered: bool,
    /// Not a byte of the request was written.
    pub(super) unwritten: bool,
}

impl Connection {
    pub(super) async fn new(opened: Opened, slot: OwnedSemaphorePermit) -> Result<Self, Fault> {
        let (tap, counters) = Tap::new(opened.stream);
        let (sender, connection) = http1::Builder::new()
            .max_buf_size(HEAD_MAX)
            .max_headers(HEADERS_MAX)
            .handshake(TokioIo::new(tap))
            .await
            .map_err(|error| Fault::new(Failure::Connect, error.to_string()))?;
        let task = tokio::spawn(async move {
            // What went wrong reaches the exchange through its request or its body. Between exchanges the
            // only news is that the connection is gone, which `is_closed` tells.
            let _ = connection.await;
        });
        Ok(Self {
            sender,
            counters,
            task: Task(task),
            address: opened.address,
            tls: opened.tls,
            opened_at: Instant::now(),
            _slot: slot,
        })
    }

    /// Whether a request can be written right now.
    pub(super) fn is_ready(&self) -> bool {
        self.sender.is_ready() && !self.sender.is_closed() && !self.task.0.is_finished()
    }

    /// Whether the peer (or an error) has ended the connection.
    pub(super) fn is_closed(&self) -> bool {
        self.sender.is_closed() || self.task.0.is_finished()
    }

    /// Sends `prepared` and reads the answer into `evidence`. On success, tells the status and whether the
    /// connection may serve another request.
    pub(super) async fn exchange(
        &mut self,
        prepared: &Prepared,
        limits: &Limits,
        deadline: Instant,
        evidence: &mut Evidence,
    ) -> Result<(u16, bool), Broken> {
        evidence.address = Some(self.address);
        evidence.tls.clone_from(&self.tls);
        self.counters.begin();
        let began = Instant::now();
        let sent = timeout_at(deadline, self.sender.try_send_request(prepared.to_http())).await;
        evidence.request_written |= self.counters.written() > 0;
        evidence.timings.first_byte_us = self.counters.first_byte_us(began);
        let response = match sent {
            Ok(Ok(response)) => response,
            Ok(Err(mut error)) => {
                let unwritten = error.take_message().is_some() || self.counters.written() == 0;
                return Err(self.broken(fault_of(error.error(), &self.counters), unwritten));
            }
            Err(_) => {
                let detail = match self.counters.read() {
                    0 => "no byte of the answer arrived in time".to_owned(),
                    read => format!("only {read} bytes of the answer's head arrived in time"),
                };
                return Err(self.broken(Fault::new(Failure::Timeout, detail), false));
            }
        };
        self.counters.head_done();

        let (head, body) = response.into_parts();
        let status = head.status.as_u16();
        let answer = evidence.answer.insert(Answer::from_head(&head));
        body_read(body, limits, deadline, answer).await;
        if answer.body_end.is_error() {
            evidence.error = Some(match answer.body_end {
                BodyEnd::Timeout => "the answer's body did not end in time".to_owned(),
                BodyEnd::CutShort => "the connection ended within the answer's body".to_owned(),
                _ => "the answer's body is not framed as HTTP".to_owned(),
            });
        }
        let keep = answer.body_end == BodyEnd::Complete && keeps_alive(&head);
        Ok((status, keep))
    }

    /// Waits until the connection can take its next request; false when it cannot be kept.
    pub(super) async fn settle(&mut self) -> bool {
        matches!(timeout(SETTLE_MAX, self.sender.ready()).await, Ok(Ok(()))) && self.is_ready()
    }

    fn broken(&self, fault: Fault, unwritten: bool) -> Broken {
        Broken { fault, unanswered: self.counters.read() == 0, unwritten }
    }
}

async fn body_read(mut body: Incoming, limits: &Limits, deadline: Instant, answer: &mut Answer) {
    let mut kept = BytesMut::new();
    let mut read: u64 = 0;
    let end = loop {
        if body.is_end_stream() {
            break BodyEnd::Complete;
        }
        if read >= limits.body_read_max as u64 {
            break BodyEnd::ReadLimit;
        }
        match timeout_at(deadline, body.frame()).await {
            Err(_) => break BodyEnd::Timeout,
            Ok(None) => break BodyEnd::Complete,
            Ok(Some(Err(error))) => break body_end_of(&error),
            Ok(Some(Ok(frame))) => {
                // Trailers are read past; nothing here has a use for them.
                let Ok(data) = frame.into_data() else { continue };
                read += data.len() as u64;
                let room = limits.body_kept_max.saturating_sub(kept.len());
                kept.extend_from_slice(&data[..data.len().min(room)]);
            }
        }
    };
    answer.body_truncated = read > kept.len() as u64 || end != BodyEnd::Complete;
    answer.body_bytes_read = read;
    answer.body = kept.freeze();
    answer.body_end = end;
}

fn body_end_of(error: &hyper::Error) -> BodyEnd {
    let framing = io_source(error)
        .is_some_and(|io| matches!(io.kind(), io::ErrorKind::InvalidData | io::ErrorKind::InvalidInput));
    if framing || error.is_parse() { BodyEnd::Malformed } else { BodyEnd::CutShort }
}

fn keeps_alive(head: &http::response::Parts) -> bool {
    let closes = head
        .headers
        .get_all(http::header::CONNECTION)
        .iter()
        .flat_map(|value| value.as_bytes().split(|byte| *byte == b','))
        .any(|option| option.trim_ascii().eq_ignore_ascii_case(b"close"));
    head.version == http::Version::HTTP_11 && head.status != http::StatusCode::SWITCHING_PROTOCOLS && !closes
}

fn fault_of(error: &hyper::Error, counters: &Counters) -> Fault {
    if counters.head_overrun() {
        return Fault::new(Failure::Protocol, "more bytes before the answer than are read");
    }
    if error.is_parse() {
        return Fault::new(Failure::Protocol, sentence(error));
    }
    if error.is_user() {
        return Fault::new(Failure::BadRequest, sentence(error));
    }
    match io_source(error) {
        // A server that wants a client certificate says so after a TLS 1.3 handshake has succeeded.
        Some(io) if io.get_ref().is_some_and(|inner| inner.is::<rustls::Error>()) => {
            Fault::new(Failure::Tls, io.to_string())
        }
        Some(io) => Fault::new(Failure::Reset, io.to_string()),
        None => Fault::new(Failure::Reset, sentence(error)),
    }
}

fn io_source(error: &hyper::Error) -> Option<&io::Error> {
    error.source()?.downcast_ref()
}

/// The error and its cause, once each.
fn sentence(error: &hyper::Error) -> String {
    match error.source() {
        Some(source) => format!("{error}: {source}"),
        None => error.to_string(),
    }
}
