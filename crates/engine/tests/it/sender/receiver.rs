//! A receiver whose every byte the test decides.

use std::future::Future;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;

/// What a receiver has seen, shared with its connections.
#[derive(Clone, Default)]
pub(crate) struct Seen {
    connections: Arc<AtomicUsize>,
    requests: Arc<Mutex<Vec<Vec<u8>>>>,
    ended: Arc<AtomicUsize>,
}

impl Seen {
    pub(crate) fn connections(&self) -> usize {
        self.connections.load(Ordering::SeqCst)
    }

    pub(crate) fn requests(&self) -> Vec<String> {
        let requests = self.requests.lock().unwrap();
        requests.iter().map(|request| String::from_utf8_lossy(request).into_owned()).collect()
    }

    /// How many connections ended (the other side closed, or the script did).
    pub(crate) fn ended(&self) -> usize {
        self.ended.load(Ordering::SeqCst)
    }

    /// Reads one whole request; `None` when the other side closed first.
    pub(crate) async fn request(&self, stream: &mut (impl AsyncRead + Unpin)) -> Option<Vec<u8>> {
        let mut read = Vec::new();
        loop {
            if let Some(head) = read.windows(4).position(|four| four == b"\r\n\r\n") {
                let text = String::from_utf8_lossy(&read[..head]).to_ascii_lowercase();
                let length = text
                    .lines()
                    .find_map(|line| line.strip_prefix("content-length: ")?.parse::<usize>().ok())
                    .unwrap_or(0);
                if read.len() >= head + 4 + length {
                    self.requests.lock().unwrap().push(read.clone());
                    return Some(read);
                }
            }
            if stream.read_buf(&mut read).await.ok()? == 0 {
                return None;
            }
        }
    }
}

/// A listener on a free loopback port, gone when it is dropped.
pub(crate) struct Receiver {
    pub(crate) address: SocketAddr,
    pub(crate) seen: Seen,
    task: JoinHandle<()>,
}

impl Drop for Receiver {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Receiver {
    /// Runs `script` for each connection; its number counts from zero.
    pub(crate) async fn start<F>(script: impl Fn(usize, TcpStream, Seen) -> F + Send + 'static) -> Self
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let seen = Seen::default();
        let shared = seen.clone();
        let task = tokio::spawn(async move {
            let mut connections = tokio::task::JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                let number = shared.connections.fetch_add(1, Ordering::SeqCst);
                let script = script(number, stream, shared.clone());
                let ended = shared.ended.clone();
                connections.spawn(async move {
                    script.await;
                    ended.fetch_add(1, Ordering::SeqCst);
                });
            }
        });
        Self { address, seen, task }
    }

    /// Reads one request per connection, writes `answer`, closes.
    pub(crate) async fn once(answer: impl Into<Vec<u8>>) -> Self {
        let answer = answer.into();
        Self::start(move |_, mut stream, seen| {
            let answer = answer.clone();
            async move {
                if seen.request(&mut stream).await.is_some() {
                    let _ = stream.write_all(&answer).await;
                    let _ = stream.shutdown().await;
                }
            }
        })
        .await
    }

    /// Reads one request per connection, writes `answer`, and then keeps silent without closing.
    pub(crate) async fn then_silent(answer: impl Into<Vec<u8>>) -> Self {
        let answer = answer.into();
        Self::start(move |_, mut stream, seen| {
            let answer = answer.clone();
            async move {
                if seen.request(&mut stream).await.is_some() {
                    let _ = stream.write_all(&answer).await;
                    let _ = stream.read(&mut [0; 64]).await;
                }
            }
        })
        .await
    }

    /// Reads one request, writes `first`, then `again` for ever, as fast as it is read.
    pub(crate) async fn endless(first: &'static str, again: impl Into<Vec<u8>>) -> Self {
        let again = again.into();
        Self::start(move |_, mut stream, seen| {
            let again = again.clone();
            async move {
                if seen.request(&mut stream).await.is_some() {
                    let mut written = stream.write_all(first.as_bytes()).await;
                    while written.is_ok() {
                        written = stream.write_all(&again).await;
                    }
                }
            }
        })
        .await
    }

    /// A well-behaved one: answers each request of a connection with 200 and `ok`.
    pub(crate) async fn polite() -> Self {
        Self::start(|_, mut stream, seen| async move {
            while seen.request(&mut stream).await.is_some() {
                if stream.write_all(OK.as_bytes()).await.is_err() {
                    break;
                }
            }
        })
        .await
    }

    /// Answers each request with the status, headers and body that `answer` says; requests count from zero over all
    /// connections.
    pub(crate) async fn answering(
        answer: impl Fn(usize, &str) -> (u16, String) + Send + Sync + 'static,
    ) -> Self {
        let answer = Arc::new(answer);
        let count = Arc::new(AtomicUsize::new(0));
        Self::start(move |_, mut stream, seen| {
            let (answer, count) = (answer.clone(), count.clone());
            async move {
                while let Some(request) = seen.request(&mut stream).await {
                    let number = count.fetch_add(1, Ordering::SeqCst);
                    let (status, body) = answer(number, &String::from_utf8_lossy(&request));
                    let length = body.len();
                    let text = format!("HTTP/1.1 {status} X\r\ncontent-length: {length}\r\n\r\n{body}");
                    if stream.write_all(text.as_bytes()).await.is_err() {
                        break;
                    }
                }
            }
        })
        .await
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{}/hook", self.address)
    }
}

/// A small answer that keeps the connection.
pub(crate) const OK: &str = "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok";

/// Closes with RST instead of FIN.
pub(crate) fn reset(stream: TcpStream) {
    stream.set_zero_linger().unwrap();
    drop(stream);
}
