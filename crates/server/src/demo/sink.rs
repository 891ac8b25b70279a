//! The other side of the demo: two partners' endpoints and a shop, on one loopback port.
//!
//! It answers 200 to everything under a partner's name and remembers what it got. It checks nothing: the
//! demo compares what came with what had to come.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::Context as _;
use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use http::{Method, Uri};
use tokio::sync::Notify;

/// A postback as a partner got it.
#[derive(Debug, Clone)]
pub(crate) struct Received {
    /// GET or POST.
    pub(crate) method: String,
    /// Path and query.
    pub(crate) target: String,
    /// The body.
    pub(crate) body: String,
}

impl Received {
    /// The value of a query parameter, decoded.
    pub(crate) fn parameter(&self, name: &str) -> Option<String> {
        let query = self.target.split_once('?')?.1;
        url::form_urlencoded::parse(query.as_bytes()).find(|(n, _)| n == name).map(|(_, v)| v.into_owned())
    }
}

#[derive(Default)]
struct Inbox {
    received: Mutex<Vec<Received>>,
    arrived: Notify,
}

/// The running sink.
#[derive(Clone)]
pub(crate) struct Sink {
    address: SocketAddr,
    inbox: Arc<Inbox>,
}

impl Sink {
    /// Starts it on a free loopback port. It ends with the process.
    pub(crate) async fn start() -> anyhow::Result<Self> {
        let listener =
            tokio::net::TcpListener::bind(("127.0.0.1", 0)).await.context("open the partners' port")?;
        let address = listener.local_addr()?;
        let inbox = Arc::new(Inbox::default());
        let router = Router::new()
            .route("/shop/{*page}", axum::routing::get(async || "Welcome to the Lumen shop.\n"))
            .fallback(take)
            .with_state(inbox.clone());
        tokio::spawn(async move {
            if let Err(error) = axum::serve(listener, router).await {
                tracing::error!(%error, "the partners' port of the demo ended");
            }
        });
        Ok(Self { address, inbox })
    }

    /// Host and port.
    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// How many postbacks came so far.
    pub(crate) fn count(&self) -> usize {
        self.inbox.received.lock().unwrap_or_else(PoisonError::into_inner).len()
    }

    /// The postback number `n`, from 0; waits for it.
    pub(crate) async fn wait_for(&self, n: usize, at_most: Duration) -> Option<Received> {
        let deadline = tokio::time::Instant::now() + at_most;
        loop {
            let arrived = self.inbox.arrived.notified();
            if let Some(received) = self.inbox.received.lock().unwrap_or_else(PoisonError::into_inner).get(n)
            {
                return Some(received.clone());
            }
            tokio::time::timeout_at(deadline, arrived).await.ok()?;
        }
    }
}

async fn take(State(inbox): State<Arc<Inbox>>, method: Method, uri: Uri, body: Bytes) -> &'static str {
    let target = uri.path_and_query().map_or_else(String::new, ToString::to_string);
    let body = String::from_utf8_lossy(&body).into_owned();
    let received = Received { method: method.to_string(), target, body };
    inbox.received.lock().unwrap_or_else(PoisonError::into_inner).push(received);
    inbox.arrived.notify_waiters();
    "OK\n"
}
