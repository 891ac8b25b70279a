use std::sync::Mutex;
use std::sync::atomic::{AtomicU32, Ordering};

use axum::routing::get;
use roundtrip_ambient::Clock;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::sync::{Notify, mpsc};
use tokio::task::JoinHandle;

use super::*;
use crate::metrics::Metrics;

/// The bound of every wait; reached only when something is broken.
const WAIT: Duration = Duration::from_secs(20);

async fn within<T>(future: impl Future<Output = T>) -> T {
    tokio::time::timeout(WAIT, future).await.expect("it happens within the bound")
}

struct Running {
    address: SocketAddr,
    stage: watch::Sender<Stage>,
    serving: JoinHandle<()>,
    metrics: Metrics,
}

fn run(router: Router, connections_max: u32) -> Running {
    run_side(Side::Public, router, connections_max)
}

fn run_side(side: Side, router: Router, connections_max: u32) -> Running {
    let listener = Listener::bind(side, SocketAddr::from(([127, 0, 0, 1], 0))).unwrap();
    let address = listener.address();
    let (stage, staged) = watch::channel(Stage::Run);
    let metrics = Metrics::new(&Clock::System);
    let serving = listener.serve(router, connections_max, false, metrics.listener(side), staged);
    Running { address, stage, serving: tokio::spawn(serving), metrics }
}

/// A connection that asks and reads one answer at a time.
struct Peer(TcpStream);

impl Peer {
    async fn connect(address: SocketAddr) -> Self {
        Self(within(TcpStream::connect(address)).await.unwrap())
    }

    async fn send(&mut self, text: &str) {
        within(self.0.write_all(text.as_bytes())).await.unwrap();
    }

    /// Reads until the connection is closed; an abrupt end ends it too.
    async fn rest(&mut self) -> String {
        let mut bytes = Vec::new();
        let _ = within(self.0.read_to_end(&mut bytes)).await;
        String::from_utf8(bytes).unwrap()
    }

    /// Reads one answer whose body is `ok`.
    async fn ok(&mut self) {
        let mut seen = Vec::new();
        while !seen.ends_with(b"\r\n\r\nok") {
            let mut buffer = [0; 1024];
            let n = within(self.0.read(&mut buffer)).await.unwrap();
            assert!(n > 0, "closed after {}", String::from_utf8_lossy(&seen));
            seen.extend_from_slice(&buffer[..n]);
        }
    }
}

const GET: &str = "GET / HTTP/1.1\r\nhost: x\r\n\r\n";
const GET_LAST: &str = "GET / HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n";

#[test]
fn targets_and_headers_have_bounds() {
    let code =
        |request: http::request::Builder| oversize(&request.body(()).unwrap()).map(|problem| problem.code);
    let target = |bytes: usize| Request::get(format!("/{}", "a".repeat(bytes - 1)));
    assert_eq!(code(target(TARGET_BYTES_MAX)), None);
    assert_eq!(code(target(TARGET_BYTES_MAX + 1)), Some(Code::UriTooLong));

    let lines = |n: usize| (0..n).fold(Request::get("/"), |request, i| request.header(format!("x-{i}"), "1"));
    assert_eq!(code(lines(HEADERS_MAX)), None);
    assert_eq!(code(lines(HEADERS_MAX + 1)), Some(Code::HeaderTooLarge));

    let value = |bytes: usize| Request::get("/").header("x", "v".repeat(bytes - 5));
    assert_eq!(code(value(HEADERS_BYTES_MAX)), None);
    assert_eq!(code(value(HEADERS_BYTES_MAX + 1)), Some(Code::HeaderTooLarge));
}

#[tokio::test]
async fn too_large_heads_are_told_so_and_counted() {
    let router = || Router::new().route("/", get(async || "ok"));
    let running = run_side(Side::Admin, router(), 8);
    let public = run(router(), 8);
    let ask = async |running: &Running, head: String| {
        let mut peer = Peer::connect(running.address).await;
        peer.send(&format!("{head}\r\nhost: x\r\nconnection: close\r\n\r\n")).await;
        peer.rest().await
    };
    let target = ask(&running, format!("GET /{} HTTP/1.1", "a".repeat(17_000))).await;
    assert!(target.starts_with("HTTP/1.1 414 ") && target.contains(r#""code":"uri_too_long""#), "{target}");
    let headers = ask(&running, format!("GET / HTTP/1.1\r\nx: {}", "a".repeat(17_000))).await;
    assert!(
        headers.starts_with("HTTP/1.1 431 ") && headers.contains(r#""code":"header_too_large""#),
        "{headers}"
    );
    let enormous = ask(&running, format!("GET / HTTP/1.1\r\nx: {}", "a".repeat(60_000))).await;
    assert!(enormous.is_empty() || enormous.starts_with("HTTP/1.1 431 "), "{enormous}");

    let visitor =
        ask(&public, format!("GET /?{} HTTP/1.1\r\nx: {}", "a".repeat(17_000), "b".repeat(17_000))).await;
    assert!(visitor.starts_with("HTTP/1.1 200 "), "a link works whatever comes with it: {visitor}");

    let page = running.metrics.page(true);
    let line = r#"roundtrip_http_requests_total{listener="admin",answer="4xx"} 2"#;
    assert!(page.contains(line), "{page}");
}

#[tokio::test]
async fn handlers_learn_the_peer_and_the_connection_is_kept() {
    let seen: Arc<Mutex<Vec<SocketAddr>>> = Arc::default();
    let noted = seen.clone();
    let handler = async move |ConnectInfo(peer): ConnectInfo<SocketAddr>| {
        noted.lock().unwrap().push(peer);
        "ok"
    };
    let running = run(Router::new().route("/", get(handler)), 8);
    let mut peer = Peer::connect(running.address).await;
    for _ in 0..2 {
        peer.send(GET).await;
        peer.ok().await;
    }
    assert_eq!(*seen.lock().unwrap(), vec![peer.0.local_addr().unwrap(); 2]);
}

/// A router whose handler says that it has begun, and answers when it is let go.
fn held() -> (Router, mpsc::UnboundedReceiver<()>, Arc<Notify>) {
    let (begun, begins) = mpsc::unbounded_channel();
    let release = Arc::new(Notify::new());
    let released = release.clone();
    let handler = async move || {
        begun.send(()).expect("the test listens");
        released.notified().await;
        "ok"
    };
    (Router::new().route("/", get(handler)), begins, release)
}

#[tokio::test]
async fn a_drain_refuses_new_connections_and_finishes_what_has_begun() {
    let (router, mut begins, release) = held();
    let running = run(router, 8);
    let mut busy = Peer::connect(running.address).await;
    let mut idle = Peer::connect(running.address).await;
    busy.send(GET).await;
    within(begins.recv()).await.unwrap();

    running.stage.send_replace(Stage::Drain);
    assert_eq!(idle.rest().await, "", "an idle connection is closed");
    within(async {
        while TcpStream::connect(running.address).await.is_ok() {
            tokio::task::yield_now().await;
        }
    })
    .await;
    assert!(!running.serving.is_finished(), "it waits for the request");

    release.notify_one();
    let answer = busy.rest().await;
    assert!(answer.starts_with("HTTP/1.1 200 ") && answer.ends_with("ok"), "{answer}");
    within(running.serving).await.unwrap();
}

#[tokio::test]
async fn a_cut_drops_what_is_left() {
    let (router, mut begins, _release) = held();
    let running = run(router, 8);
    let mut busy = Peer::connect(running.address).await;
    busy.send(GET).await;
    within(begins.recv()).await.unwrap();
    running.stage.send_replace(Stage::Cut);
    assert_eq!(busy.rest().await, "");
    within(running.serving).await.unwrap();
}

#[tokio::test]
async fn connections_beyond_the_bound_wait_their_turn() {
    let served: Arc<AtomicU32> = Arc::default();
    let counted = served.clone();
    let handler = async move || {
        counted.fetch_add(1, Ordering::SeqCst);
        "ok"
    };
    let running = run(Router::new().route("/", get(handler)), 1);
    let mut first = Peer::connect(running.address).await;
    first.send(GET).await;
    first.ok().await;
    let mut second = Peer::connect(running.address).await;
    second.send(GET_LAST).await;
    // The server is alive all the while and serves the one it has.
    for _ in 0..20 {
        first.send(GET).await;
        first.ok().await;
    }
    assert_eq!(served.load(Ordering::SeqCst), 21, "the second one was not served");
    drop(first);
    assert!(second.rest().await.ends_with("ok"));
    assert_eq!(served.load(Ordering::SeqCst), 22);
}
