//! The yardstick: a loop around `hyper`'s client that sends the same requests to the same receivers, over as many kept
//! connections as the engine had, and does nothing else: no ledger, no checks, no evidence, no retries.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use bytes::Bytes;
use http::Request;
use http_body_util::{BodyExt as _, Full};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio::task::JoinSet;

use super::super::process;

/// The header by which receivers tell the yardstick's requests from deliveries.
pub(super) const MARK: &str = "x-bench-yardstick";
/// The name of its threads.
const THREADS: &str = "bench-bare";

/// What it came to.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Bare {
    /// Requests answered per second.
    pub(super) per_s: f64,
    /// CPU time of one, user and system, in microseconds; `None` where the system does not tell.
    pub(super) cpu_us: Option<f64>,
}

/// Sends `n` requests over that many connections.
///
/// # Errors
/// When there is nothing to send, or a receiver does not take it.
pub(super) fn run(samples: &[(SocketAddr, Vec<u8>)], connections: usize, n: u64) -> anyhow::Result<Bare> {
    ensure!(!samples.is_empty(), "measure the yardstick: nothing was sent that could be sent again");
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().thread_name(THREADS).build();
    let runtime = runtime.context("start the yardstick")?;
    let requests: Vec<(SocketAddr, Arc<Request<Full<Bytes>>>)> = samples
        .iter()
        .map(|(address, bytes)| anyhow::Ok((*address, Arc::new(parse(bytes)?))))
        .collect::<Result<_, _>>()?;
    let (took, cpu) = runtime.block_on(runtime.spawn(drive(requests, connections.max(1), n)))??;
    #[expect(clippy::cast_precision_loss, reason = "far below 2^53")]
    let n = n as f64;
    Ok(Bare {
        per_s: n / took.as_secs_f64(),
        cpu_us: cpu.filter(|cpu| !cpu.is_zero()).map(|cpu| cpu.as_secs_f64() * 1e6 / n),
    })
}

async fn drive(
    requests: Vec<(SocketAddr, Arc<Request<Full<Bytes>>>)>,
    connections: usize,
    n: u64,
) -> anyhow::Result<(Duration, Option<Duration>)> {
    let left = Arc::new(AtomicU64::new(n));
    let mut tasks: JoinSet<anyhow::Result<()>> = JoinSet::new();
    let began = Instant::now();
    for (address, request) in requests.iter().cycle().take(connections) {
        let (address, request, left) = (*address, request.clone(), left.clone());
        tasks.spawn(async move {
            let stream = TcpStream::connect(address).await.context("connect to the sink")?;
            stream.set_nodelay(true).context("connect to the sink")?;
            let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
            let driven = tokio::spawn(connection);
            while left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(1)).is_ok()
            {
                sender.ready().await?;
                let answer = sender.send_request((*request).clone()).await?;
                ensure!(answer.status().is_success(), "send to the sink: it answered {}", answer.status());
                answer.into_body().collect().await?;
            }
            drop(sender);
            driven.await??;
            Ok(())
        });
    }
    while let Some(done) = tasks.join_next().await {
        done.context("send to the sink")??;
    }
    Ok((began.elapsed(), process::cpu_of_threads(THREADS)))
}

/// A request as it came, to be sent once more.
fn parse(bytes: &[u8]) -> anyhow::Result<Request<Full<Bytes>>> {
    let head = bytes.windows(4).position(|four| four == b"\r\n\r\n").context("read a request")?;
    let text = std::str::from_utf8(&bytes[..head]).context("read a request")?;
    let mut lines = text.lines();
    let mut first = lines.next().unwrap_or_default().split(' ');
    let mut request = Request::builder()
        .method(first.next().unwrap_or_default())
        .uri(first.next().unwrap_or_default())
        .header(MARK, "1");
    for line in lines {
        let (name, value) = line.split_once(':').context("read a request's header")?;
        request = request.header(name, value.trim());
    }
    let body = Bytes::copy_from_slice(&bytes[head + 4..]);
    request.body(Full::new(body)).context("read a request")
}

#[cfg(test)]
mod tests {
    use super::super::receiver::Receivers;
    use super::*;

    #[test]
    fn the_yardstick_sends_what_was_sent_and_counts_for_nobody() {
        let mut receivers = Receivers::start().unwrap();
        let address = SocketAddr::from((super::super::planner::address(3), receivers.port));
        let sample = b"POST /hooks?a=1 HTTP/1.1\r\nhost: a\r\ncontent-length: 2\r\n\r\n{}".to_vec();
        let request = parse(&sample).unwrap();
        assert_eq!((request.method().as_str(), request.uri().path()), ("POST", "/hooks"));
        let bare = run(&[(address, sample)], 2, 40).unwrap();
        assert!(bare.per_s > 0.0);
        assert!(receivers.take().is_empty());
        assert_eq!(receivers.connections(), (2, 2));
        assert!(run(&[], 2, 40).is_err());
    }
}
