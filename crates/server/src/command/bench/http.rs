//! A small HTTP/1.1 client for load on loopback: kept connections, bodies by `Content-Length`, no copies to
//! spare. It costs a few microseconds per request, so that what is measured is the other side.
//!
//! Not for anything else: it speaks to our own server and sink, and knows neither TLS nor chunks.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Context as _, bail};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

/// How long one request may take; a batch of 1,000 waits for its commit.
const EXCHANGE_MAX: Duration = Duration::from_secs(60);
/// The largest answer, in bytes: metrics, and a batch of 1,000 results of some 200 bytes.
const ANSWER_BYTES_MAX: usize = 4 * 1024 * 1024;

/// A kept connection.
#[derive(Debug)]
pub(super) struct Connection {
    stream: TcpStream,
    buffer: Vec<u8>,
}

/// An answer; its texts are valid until the next request.
#[derive(Debug)]
pub(super) struct Answer<'a> {
    /// The status.
    pub(super) status: u16,
    /// The head, status line included.
    pub(super) head: &'a str,
    /// The body.
    pub(super) body: &'a [u8],
}

impl Connection {
    /// Connects.
    pub(super) async fn open(address: SocketAddr) -> anyhow::Result<Self> {
        let stream = tokio::time::timeout(Duration::from_secs(5), TcpStream::connect(address)).await;
        let stream = stream.context("connect in time")?.with_context(|| format!("connect to {address}"))?;
        stream.set_nodelay(true).context("set up the connection")?;
        Ok(Self { stream, buffer: Vec::with_capacity(16 * 1024) })
    }

    /// Sends a whole request and reads the whole answer.
    ///
    /// # Errors
    /// When the connection breaks, the answer is no HTTP/1.1 with a length, or it takes too long.
    pub(super) async fn exchange(&mut self, request: &[u8]) -> anyhow::Result<Answer<'_>> {
        let exchanged = tokio::time::timeout(EXCHANGE_MAX, async {
            self.stream.write_all(request).await.context("send a request")?;
            self.buffer.clear();
            let mut head = None;
            loop {
                if head.is_none() {
                    head = parse_head(&self.buffer)?;
                }
                if let Some(head) = &head
                    && self.buffer.len() >= head.bytes + head.body_bytes
                {
                    break;
                }
                if self.buffer.len() > ANSWER_BYTES_MAX {
                    bail!("read an answer: it is longer than {ANSWER_BYTES_MAX} bytes");
                }
                if self.stream.read_buf(&mut self.buffer).await.context("read an answer")? == 0 {
                    bail!("read an answer: the connection was closed");
                }
            }
            head.context("read an answer")
        });
        let head = exchanged.await.context("get an answer in time")??;
        let (text, body) = self.buffer.split_at(head.bytes);
        let body = body.get(..head.body_bytes).unwrap_or(body);
        Ok(Answer { status: head.status, head: std::str::from_utf8(text).unwrap_or_default(), body })
    }
}

#[derive(Debug, PartialEq, Eq)]
struct Head {
    status: u16,
    /// Bytes of the head, its empty line included.
    bytes: usize,
    body_bytes: usize,
}

/// Reads a head; `None` while it is not there as a whole.
fn parse_head(buffer: &[u8]) -> anyhow::Result<Option<Head>> {
    let Some(end) = buffer.windows(4).position(|four| four == b"\r\n\r\n") else { return Ok(None) };
    let text = std::str::from_utf8(&buffer[..end]).context("read an answer: its head is no text")?;
    let status = text.strip_prefix("HTTP/1.1 ").and_then(|rest| rest.get(..3)?.parse().ok());
    let status: u16 = status.with_context(|| format!("read an answer: `{text}` is no HTTP/1.1"))?;
    let mut body_bytes = None;
    for line in text.lines().skip(1) {
        let Some((name, value)) = line.split_once(':') else { continue };
        if name.eq_ignore_ascii_case("content-length") {
            body_bytes = value.trim().parse().ok();
        }
    }
    // These two have no body by definition.
    let body_bytes = if matches!(status, 204 | 304) { Some(0) } else { body_bytes };
    let body_bytes = body_bytes.context("read an answer: it has no length")?;
    Ok(Some(Head { status, bytes: end + 4, body_bytes }))
}

/// A GET request, connection kept.
pub(super) fn get(target: &str) -> Vec<u8> {
    format!("GET {target} HTTP/1.1\r\nhost: localhost\r\n\r\n").into_bytes()
}

/// A POST of JSON with a key, connection kept.
pub(super) fn post(target: &str, token: &str, body: &str) -> Vec<u8> {
    format!(
        "POST {target} HTTP/1.1\r\nhost: localhost\r\nauthorization: Bearer {token}\r\n\
         content-type: application/json\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    )
    .into_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn heads_are_read_when_they_are_whole() {
        let text = b"HTTP/1.1 202 Accepted\r\nContent-Type: application/json\r\ncontent-length: 2\r\n\r\n{}";
        assert_eq!(parse_head(&text[..40]).unwrap(), None);
        assert_eq!(
            parse_head(text).unwrap(),
            Some(Head { status: 202, bytes: text.len() - 2, body_bytes: 2 })
        );
        let empty = b"HTTP/1.1 204 No Content\r\n\r\n";
        assert_eq!(parse_head(empty).unwrap().map(|head| head.body_bytes), Some(0));
        for broken in
            ["HTTP/1.1 200 OK\r\n\r\n", "HTTP/1.0 200 OK\r\ncontent-length: 0\r\n\r\n", "SSH-2.0\r\n\r\n"]
        {
            assert!(parse_head(broken.as_bytes()).is_err(), "{broken}");
        }
    }

    #[test]
    fn requests_say_how_long_they_are() {
        let text = String::from_utf8(post("/v1/events", "k", "{\"é\":1}")).unwrap();
        assert!(text.contains("content-length: 8\r\n") && text.ends_with("\r\n\r\n{\"é\":1}"), "{text}");
        assert!(get("/metrics").ends_with(b"\r\n\r\n"));
    }
}
