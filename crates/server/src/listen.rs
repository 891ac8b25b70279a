//! Listeners: our own accept loop under the routers, so that everything a stranger can hold has a bound.
//!
//! | what | bound, and why this one |
//! | --- | --- |
//! | connections | a semaphore taken before `accept`; more wait in the system's queue, which costs us nothing |
//! | reading a request's headers, idle keep-alive | [`HEAD_READ_MAX`] since the last answer; on the admin listener since hyper begins to wait for the next head |
//! | request target and headers | [`HEAD_BYTES_MAX`] and 100 lines, then hyper's own 431 without a body; on the admin listener [`TARGET_BYTES_MAX`], [`HEADERS_MAX`] and [`HEADERS_BYTES_MAX`], refused in JSON |
//! | one request | [`REQUEST_MAX`], then the connection is closed without an answer: silence promises nothing |
//!
//! A listener stops in two stages: [`Stage::Drain`] closes the socket and lets each connection finish the
//! request it is in; [`Stage::Cut`] drops what is left.
//!
//! Not here: TLS (a proxy before us ends it), HTTP/2, bounds on bodies (the handler that reads one knows how
//! large it may be). No line is logged per public request unless asked for: at tens of thousands a second
//! counters tell more.

use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use axum::Router;
use axum::extract::ConnectInfo;
use axum::response::Response;
use http::{Request, StatusCode};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use roundtrip_domain::problem::{Code, Problem};
use roundtrip_web::ingest::Front;
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::sync::{Semaphore, watch};
use tokio::time::Instant;
use tower::Service as _;

use self::overdue::{Aside, Bounds, Progress};
use crate::metrics::{Answer, ListenerMetrics};

mod overdue;

/// How long a request's headers may take, and how long a kept connection may be idle.
const HEAD_READ_MAX: Duration = Duration::from_secs(10);
/// The longest request target, in bytes. Landing pages stay below 8 KiB; this leaves room for a nested URL.
const TARGET_BYTES_MAX: usize = 16 * 1024;
/// The most header lines.
const HEADERS_MAX: usize = 64;
/// The most bytes in header lines together.
const HEADERS_BYTES_MAX: usize = 16 * 1024;
/// The most bytes hyper buffers for one head: both bounds above and half as much again, so that most
/// offenders are told in JSON what was wrong, and links with too much on them still work.
const HEAD_BYTES_MAX: usize = 48 * 1024;
/// How long one request may take: the 30 s that a body may trickle in, and a store's own bounds. A redirect
/// waits 250 ms at most; what comes near this is broken.
const REQUEST_MAX: Duration = Duration::from_secs(60);
/// How many connections may wait for `accept`; the system may lower it.
const BACKLOG: u32 = 4_096;
/// The pause after a failed `accept`, doubled while failures go on.
const ACCEPT_PAUSE_MIN: Duration = Duration::from_millis(10);
/// The longest such pause.
const ACCEPT_PAUSE_MAX: Duration = Duration::from_secs(1);

/// How far a listener is on its way to an end.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Stage {
    /// Accepting.
    Run,
    /// Finishing what was begun.
    Drain,
    /// Dropping what is left.
    Cut,
}

/// Which of the two listeners.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Side {
    /// For the world.
    Public,
    /// For the operator.
    Admin,
}

impl Side {
    /// The word in logs and metrics.
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Public => "public",
            Self::Admin => "admin",
        }
    }
}

/// A bound socket that does not accept yet.
#[derive(Debug)]
pub(crate) struct Listener {
    side: Side,
    socket: TcpListener,
    address: SocketAddr,
}

impl Listener {
    /// Binds. From here on connections queue up, and are answered once [`Self::serve`] runs.
    ///
    /// # Errors
    /// When the address cannot be had.
    pub(crate) fn bind(side: Side, address: SocketAddr) -> anyhow::Result<Self> {
        let bind = || -> io::Result<Self> {
            let socket = if address.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }?;
            // A restart must not wait for the old process's closed connections.
            socket.set_reuseaddr(true)?;
            socket.bind(address)?;
            let socket = socket.listen(BACKLOG)?;
            Ok(Self { side, address: socket.local_addr()?, socket })
        };
        bind().with_context(|| format!("bind the {} listener to {address}", side.as_str()))
    }

    /// Where it is bound; the port is the real one.
    pub(crate) const fn address(&self) -> SocketAddr {
        self.address
    }

    /// Serves `router` until `stage` says otherwise. Returns when the last connection is gone.
    pub(crate) async fn serve(
        self,
        answers: impl Into<Answers>,
        connections_max: u32,
        log_requests: bool,
        metrics: ListenerMetrics,
        mut stage: watch::Receiver<Stage>,
    ) {
        let Self { side, socket, .. } = self;
        let answers = answers.into();
        let slots = Arc::new(Semaphore::new(connections_max as usize));
        let shared = Arc::new(Shared { side, log_requests, metrics });
        let mut builder = http1::Builder::new();
        builder.timer(TokioTimer::new()).header_read_timeout(None).max_buf_size(HEAD_BYTES_MAX);
        if side == Side::Public {
            // Head and body of a redirect are one piece, which `write` takes at less cost.
            builder.writev(false);
        }
        if side == Side::Admin {
            // Some of its answers are long, and a slow reader takes them for as long as it likes: hyper's clock
            // begins only when it waits for a head.
            builder.header_read_timeout(HEAD_READ_MAX);
        }
        let mut pause = ACCEPT_PAUSE_MIN;
        loop {
            let accepted = tokio::select! {
                biased;
                () = reached(&mut stage, Stage::Drain) => break,
                accepted = accept(&slots, &socket) => accepted,
            };
            let (slot, stream, peer) = match accepted {
                Ok(accepted) => accepted,
                Err(error) => {
                    shared.metrics.accept_errors.inc();
                    // Out of file descriptors or memory: accepting again at once would only spin.
                    if pause == ACCEPT_PAUSE_MIN {
                        tracing::warn!(listener = side.as_str(), %error, "cannot accept connections for now");
                    }
                    tokio::select! {
                        () = reached(&mut stage, Stage::Drain) => break,
                        () = tokio::time::sleep(pause) => {}
                    }
                    pause = (pause * 2).min(ACCEPT_PAUSE_MAX);
                    continue;
                }
            };
            pause = ACCEPT_PAUSE_MIN;
            let connection =
                connection(stream, peer, builder.clone(), answers.clone(), shared.clone(), stage.clone());
            tokio::spawn(async move {
                connection.await;
                drop(slot);
            });
        }
        drop(socket);
        // Every connection holds a slot, so all slots are free when the last one is gone.
        let _all = slots.acquire_many(connections_max).await;
    }
}

/// Who answers.
#[derive(Debug, Clone)]
pub(crate) enum Answers {
    /// A router, for everything.
    Routes(Router),
    /// The public listener's own way, with a router behind it.
    Front(Front),
}

impl Answers {
    async fn to(&self, request: Request<Incoming>) -> Response {
        match self {
            Self::Routes(router) => {
                let answered = router.clone().call(request).await;
                answered.unwrap_or_else(|never: Infallible| match never {})
            }
            Self::Front(front) => front.answer(request).await,
        }
    }
}

impl From<Router> for Answers {
    fn from(router: Router) -> Self {
        Self::Routes(router)
    }
}

/// What all connections of a listener share.
struct Shared {
    side: Side,
    log_requests: bool,
    metrics: ListenerMetrics,
}

/// Waits until `stage` is at least this far. A sender that is gone counts as the end.
async fn reached(stage: &mut watch::Receiver<Stage>, at_least: Stage) {
    let _ = stage.wait_for(|now| *now >= at_least).await;
}

type Accepted = (tokio::sync::OwnedSemaphorePermit, TcpStream, SocketAddr);

async fn accept(slots: &Arc<Semaphore>, socket: &TcpListener) -> io::Result<Accepted> {
    let slot = slots.clone().acquire_owned().await.map_err(io::Error::other)?;
    loop {
        match socket.accept().await {
            Ok((stream, peer)) => return Ok((slot, stream, peer)),
            // The peer hung up before we came; that says nothing about the next one.
            Err(error)
                if matches!(
                    error.kind(),
                    io::ErrorKind::ConnectionAborted
                        | io::ErrorKind::ConnectionReset
                        | io::ErrorKind::ConnectionRefused
                        | io::ErrorKind::Interrupted
                ) => {}
            Err(error) => return Err(error),
        }
    }
}

async fn connection(
    stream: TcpStream,
    peer: SocketAddr,
    builder: http1::Builder,
    answers: Answers,
    shared: Arc<Shared>,
    mut stage: watch::Receiver<Stage>,
) {
    // A redirect is one small packet; waiting for a second one helps nobody. Failing means the peer is gone.
    let _ = stream.set_nodelay(true);
    let open = shared.metrics.open();
    let bounds =
        Bounds { head: (shared.side == Side::Public).then_some(HEAD_READ_MAX), request: REQUEST_MAX };
    let progress = Arc::new(Progress::new(Instant::now()));
    let service = hyper::service::service_fn(|request: Request<Incoming>| {
        let (answers, shared, progress) = (answers.clone(), shared.clone(), progress.clone());
        async move { Ok::<_, Infallible>(answer(request, peer, &answers, &shared, &progress).await) }
    });
    let mut connection = pin!(builder.serve_connection(TokioIo::new(stream), service));
    // What is overdue is dropped without an answer: silence promises nothing.
    let overdue = async || {
        if let Some(waited) = progress.overdue(bounds).await {
            shared.metrics.answered(Answer::None, waited);
        }
    };
    {
        let mut aside = Aside::new(async {
            tokio::select! {
                () = reached(&mut stage, Stage::Drain) => false,
                () = overdue() => true,
            }
        });
        tokio::select! {
            biased;
            // What goes wrong with a stranger's connection is counted where it matters and logged nowhere.
            _ = connection.as_mut() => return drop(open),
            is_overdue = &mut aside => {
                if is_overdue {
                    return drop(open);
                }
                connection.as_mut().graceful_shutdown();
            }
        }
    }
    tokio::select! {
        _ = connection => {}
        () = overdue() => {}
        () = reached(&mut stage, Stage::Cut) => {}
    }
}

async fn answer(
    mut request: Request<Incoming>,
    peer: SocketAddr,
    answers: &Answers,
    shared: &Shared,
    progress: &Progress,
) -> Response {
    let began = Instant::now();
    progress.began(began);
    let line =
        (shared.side == Side::Admin || shared.log_requests || tracing::enabled!(tracing::Level::DEBUG))
            .then(|| (request.method().clone(), path(&request)));
    let refused = (shared.side == Side::Admin).then(|| oversize(&request)).flatten();
    let response = match refused {
        Some(problem) => roundtrip_web::problem::answer(&problem),
        None => {
            request.extensions_mut().insert(ConnectInfo(peer));
            answers.to(request).await
        }
    };
    let status = response.status();
    let now = Instant::now();
    progress.answered(now);
    let took = now.saturating_duration_since(began);
    shared.metrics.answered(Answer::of(status), took);
    if let Some((method, path)) = line {
        log(shared, &method, &path, status, took);
    }
    response
}

/// The path for a log line: never the query, and cut.
fn path(request: &Request<Incoming>) -> String {
    request.uri().path().chars().take(200).collect()
}

fn log(shared: &Shared, method: &http::Method, path: &str, status: StatusCode, took: Duration) {
    let listener = shared.side.as_str();
    let (status, took_us) = (status.as_u16(), u64::try_from(took.as_micros()).unwrap_or(u64::MAX));
    let probe = matches!(path, "/healthz" | "/readyz" | "/metrics");
    let loud = shared.log_requests || (shared.side == Side::Admin && !probe);
    if loud {
        tracing::info!(listener, %method, path, status, took_us, "answered a request");
    } else {
        tracing::debug!(listener, %method, path, status, took_us, "answered a request");
    }
}

/// On the admin listener alone. Public routes judge for themselves, by the same bounds: a visitor on a link is
/// sent on whatever came with the link, and everything else is refused in the same words.
fn oversize<B>(request: &Request<B>) -> Option<Problem> {
    let target_bytes = request.uri().path_and_query().map_or(0, |target| target.as_str().len());
    if target_bytes > TARGET_BYTES_MAX {
        return Some(Problem::new(Code::UriTooLong, "", format!("the target has {target_bytes} bytes")));
    }
    let headers = request.headers();
    // Each line also has a colon, a space and a line break.
    let bytes: usize = headers.iter().map(|(name, value)| name.as_str().len() + value.len() + 4).sum();
    if headers.len() > HEADERS_MAX || bytes > HEADERS_BYTES_MAX {
        let message = format!("there are {} header lines of {bytes} bytes", headers.len());
        return Some(Problem::new(Code::HeaderTooLarge, "", message));
    }
    None
}

#[cfg(test)]
mod tests;
