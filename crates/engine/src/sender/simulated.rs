//! Receivers of a simulated world in the place of the network, for simulations.
//!
//! The request is prepared and judged, and deadlines are kept, by the same code as everything else that leaves;
//! only what lies behind the socket is the world's.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use bytes::Bytes;
use http::HeaderMap;
use tokio::time::Instant;

use super::Sender;
use super::evidence::{Answer, BodyEnd, Evidence};
use super::outcome::{Failure, Fault};
use super::request::Prepared;
use super::tap::micros;

/// What a receiver answers.
#[derive(Debug, Clone)]
pub struct Reply {
    /// The status.
    pub status: u16,
    /// The headers.
    pub headers: HeaderMap,
    /// The whole body.
    pub body: Bytes,
}

/// Everybody who can be called.
pub trait Receivers: Send + Sync {
    /// Takes a request to that origin (scheme, host and port) and answers, or fails. It need not end: the deadline
    /// is kept by the sender, which then drops the future.
    fn call<'a>(
        &'a self,
        origin: &'a str,
        request: http::Request<Bytes>,
    ) -> Pin<Box<dyn Future<Output = Result<Reply, Failure>> + Send + 'a>>;
}

impl Sender {
    /// The same sender with those receivers in the place of the network.
    #[must_use]
    pub fn simulated(&self, receivers: Arc<dyn Receivers>) -> Self {
        Self(self.0.clone(), Some(receivers))
    }
}

/// One request and its answer. The status, once its head is there.
pub(super) async fn exchange(
    receivers: &dyn Receivers,
    prepared: &Prepared,
    deadline: Instant,
    evidence: &mut Evidence,
) -> Result<u16, Fault> {
    let began = Instant::now();
    let (head, _) = prepared.to_http().into_parts();
    let request = http::Request::from_parts(head, prepared.shown().body);
    evidence.request_written = true;
    let reply = tokio::time::timeout_at(deadline, receivers.call(&prepared.origin, request))
        .await
        .map_err(|_| Fault::new(Failure::Timeout, "no answer by the deadline"))?
        .map_err(|failure| Fault::new(failure, "a simulated failure"))?;
    evidence.timings.first_byte_us = Some(micros(began.elapsed()));
    let mut parts = http::response::Response::new(()).into_parts().0;
    parts.status = http::StatusCode::from_u16(reply.status)
        .map_err(|error| Fault::new(Failure::Protocol, error.to_string()))?;
    parts.headers = reply.headers;
    let mut answer = Answer::from_head(&parts);
    answer.body_bytes_read = reply.body.len() as u64;
    answer.body = reply.body;
    answer.body_end = BodyEnd::Complete;
    evidence.answer = Some(answer);
    Ok(reply.status)
}
