//! Partners on loopback: they take every postback at once, count it, and say when its first byte came.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Instant;

use anyhow::Context as _;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio::task::JoinSet;

const ANSWER: &[u8] = b"HTTP/1.1 204 No Content\r\n\r\n";
/// A postback of the run is far smaller; whoever sends more is cut off.
const REQUEST_BYTES_MAX: usize = 64 * 1024;

#[derive(Debug)]
struct Shared {
    taken: AtomicU64,
    is_watched: AtomicBool,
    arrivals: mpsc::UnboundedSender<Instant>,
}

/// The running sink. Dropping it closes it.
#[derive(Debug)]
pub(super) struct Sink {
    /// Where each partner listens.
    pub(super) addresses: Vec<SocketAddr>,
    shared: Arc<Shared>,
    arrivals: mpsc::UnboundedReceiver<Instant>,
    _listeners: JoinSet<()>,
}

impl Sink {
    /// Starts one with this many partners.
    pub(super) async fn start(partners: usize) -> anyhow::Result<Self> {
        let (sender, arrivals) = mpsc::unbounded_channel();
        let shared = Arc::new(Shared {
            taken: AtomicU64::new(0),
            is_watched: AtomicBool::new(false),
            arrivals: sender,
        });
        let mut listeners = JoinSet::new();
        let mut addresses = Vec::new();
        for _ in 0..partners {
            let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.context("start the sink")?;
            addresses.push(listener.local_addr().context("start the sink")?);
            let shared = shared.clone();
            listeners.spawn(async move {
                let mut connections = JoinSet::new();
                while let Ok((stream, _)) = listener.accept().await {
                    connections.spawn(serve(stream, shared.clone()));
                    while connections.try_join_next().is_some() {}
                }
            });
        }
        Ok(Self { addresses, shared, arrivals, _listeners: listeners })
    }

    /// Postbacks that were answered so far.
    pub(super) fn taken(&self) -> u64 {
        self.shared.taken.load(Ordering::Relaxed)
    }

    /// Begins to note when postbacks arrive, for [`Self::arrival`].
    pub(super) fn watch(&self) {
        self.shared.is_watched.store(true, Ordering::Relaxed);
    }

    /// When the first byte of the next postback came. Waits for it.
    pub(super) async fn arrival(&mut self) -> Option<Instant> {
        self.arrivals.recv().await
    }
}

/// One connection. Postbacks here are GET requests, so a head is all of one.
async fn serve(mut stream: TcpStream, shared: Arc<Shared>) {
    let _ = stream.set_nodelay(true);
    let mut buffer: Vec<u8> = Vec::with_capacity(4 * 1024);
    loop {
        let is_first = buffer.is_empty();
        match stream.read_buf(&mut buffer).await {
            Ok(n) if n > 0 && buffer.len() <= REQUEST_BYTES_MAX => {}
            _ => return,
        }
        if is_first && shared.is_watched.load(Ordering::Relaxed) {
            let _ = shared.arrivals.send(Instant::now());
        }
        while let Some(end) = buffer.windows(4).position(|four| four == b"\r\n\r\n") {
            buffer.drain(..end + 4);
            shared.taken.fetch_add(1, Ordering::Relaxed);
            if stream.write_all(ANSWER).await.is_err() {
                return;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::http::{Connection, get};
    use super::*;

    #[tokio::test]
    async fn postbacks_are_counted_and_timed() {
        let mut sink = Sink::start(2).await.unwrap();
        let mut connection = Connection::open(sink.addresses[1]).await.unwrap();
        assert_eq!(connection.exchange(&get("/a")).await.unwrap().status, 204);
        sink.watch();
        let before = Instant::now();
        assert_eq!(connection.exchange(&get("/b")).await.unwrap().status, 204);
        assert_eq!(sink.taken(), 2);
        assert!(sink.arrival().await.unwrap() >= before);
    }
}
