//! The receivers of all webhooks: a few loopback ports that remember every request, in the order of arrival.
//!
//! Not relied on: that a request is read before its sender is dead. What a killed server wrote last can still lie in a
//! socket, so [`Sink::silence`] waits until the sockets of the dead are read to their end.

use std::collections::HashSet;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use http::{HeaderMap, Request, Response, StatusCode};
use http_body_util::{BodyExt as _, Empty};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use roundtrip_domain::id::{Id, kind};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

use crate::house::{Call, Dice, Line};
use crate::process::WAIT;

/// Ports: several, so that more can be under way than one host is given.
const PORTS: usize = 4;
/// A delivery is refused in its first sends only, so that none is ever given up.
const REFUSED_MAX: u32 = 5;
/// The path at which a port only answers.
const FENCE: &str = "/fence";

/// A request, as a receiver sees it.
#[derive(Debug, Clone)]
pub(super) struct Heard {
    /// `x-roundtrip-delivery`.
    pub(super) delivery: Id<kind::Delivery>,
    /// `x-roundtrip-attempt`.
    pub(super) attempt: u32,
    /// `webhook-id`.
    pub(super) fact: Id<kind::Event>,
    /// Where it arrived: port and path.
    pub(super) place: (u16, String),
    /// Whether it was answered 200.
    pub(super) is_taken: bool,
}

#[derive(Default)]
struct Inbox {
    heard: Vec<Heard>,
    /// Deliveries that were answered 200.
    taken: HashSet<Id<kind::Delivery>>,
    /// Requests that are none of a webhook.
    strange: Vec<String>,
}

struct Shared {
    inbox: Mutex<Inbox>,
    /// Requests heard, and deliveries taken.
    count: watch::Sender<(usize, usize)>,
    /// Open connections.
    open: watch::Sender<usize>,
    is_unwell: AtomicBool,
    dice: Dice,
}

impl Shared {
    fn inbox(&self) -> MutexGuard<'_, Inbox> {
        self.inbox.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The ports. They end with the test's runtime.
pub(super) struct Sink {
    addresses: Vec<SocketAddr>,
    shared: Arc<Shared>,
}

impl Sink {
    /// Opens them.
    pub(super) async fn open(seed: u64) -> Self {
        let shared = Arc::new(Shared {
            inbox: Mutex::default(),
            count: watch::channel((0, 0)).0,
            open: watch::channel(0).0,
            is_unwell: AtomicBool::new(false),
            dice: Dice::seeded(seed),
        });
        let mut addresses = Vec::new();
        for _ in 0..PORTS {
            let listener = TcpListener::bind(("127.0.0.1", 0)).await.expect("there is a free port");
            addresses.push(listener.local_addr().expect("it is bound"));
            tokio::spawn(listen(listener, shared.clone()));
        }
        Self { addresses, shared }
    }

    /// Hosts and ports.
    pub(super) fn addresses(&self) -> &[SocketAddr] {
        &self.addresses
    }

    /// Whether a third of the requests is answered 503.
    pub(super) fn set_unwell(&self, is_unwell: bool) {
        self.shared.is_unwell.store(is_unwell, Ordering::SeqCst);
    }

    /// How many requests were heard so far.
    pub(super) fn count(&self) -> usize {
        self.shared.count.borrow().0
    }

    /// Waits until so many requests were heard.
    pub(super) async fn reach(&self, goal: usize) {
        self.wait(|(heard, _)| heard >= goal, &format!("{goal} requests")).await;
    }

    /// Waits until so many deliveries were taken.
    pub(super) async fn all_taken(&self, goal: usize) {
        self.wait(|(_, taken)| taken >= goal, &format!("{goal} deliveries")).await;
    }

    /// Waits as long as something new arrives within the bound.
    async fn wait(&self, is_enough: impl Fn((usize, usize)) -> bool, what: &str) {
        let mut count = self.shared.count.subscribe();
        loop {
            let now = *count.borrow_and_update();
            if is_enough(now) {
                return;
            }
            let more = tokio::time::timeout(WAIT, count.changed()).await;
            assert!(more.is_ok(), "nothing arrives any more; {what} were to come, and there are {now:?}");
        }
    }

    /// After the server is dead: waits until all that it wrote is read. Gives everything heard since the last time.
    pub(super) async fn silence(&self) -> Vec<Heard> {
        for address in &self.addresses {
            // Connections are accepted in their order: all of the dead server's stand before this one.
            let fence = Line::to(&address.to_string()).call(&Call::get(FENCE)).await;
            assert_eq!(fence.expect("a port answers").status, 200);
        }
        let mut open = self.shared.open.subscribe();
        let closed = tokio::time::timeout(WAIT, open.wait_for(|open| *open == 0)).await;
        assert!(closed.is_ok(), "connections of a dead server stay open");
        let mut inbox = self.shared.inbox();
        assert!(inbox.strange.is_empty(), "requests that no webhook makes: {:?}", inbox.strange);
        std::mem::take(&mut inbox.heard)
    }
}

async fn listen(listener: TcpListener, shared: Arc<Shared>) {
    loop {
        match listener.accept().await {
            Ok((stream, _)) => {
                shared.open.send_modify(|open| *open += 1);
                tokio::spawn(talk(stream, shared.clone()));
            }
            // The one who called is gone already; the next may be well.
            Err(_) => tokio::task::yield_now().await,
        }
    }
}

async fn talk(stream: TcpStream, shared: Arc<Shared>) {
    let port = stream.local_addr().map_or(0, |address| address.port());
    let answer = |request: Request<Incoming>| {
        let shared = shared.clone();
        async move { take(port, request, &shared).await }
    };
    // A connection that breaks is a server that was killed.
    let _ = http1::Builder::new().serve_connection(TokioIo::new(stream), service_fn(answer)).await;
    shared.open.send_modify(|open| *open -= 1);
}

async fn take(
    port: u16,
    request: Request<Incoming>,
    shared: &Shared,
) -> Result<Response<Empty<Bytes>>, hyper::Error> {
    let (head, body) = request.into_parts();
    // A request that is not whole was never made.
    let body = body.collect().await?.to_bytes();
    let mut response = Response::new(Empty::new());
    if head.uri.path() == FENCE {
        return Ok(response);
    }
    let place = (port, head.uri.path().to_owned());
    let mut inbox = shared.inbox();
    match read(&head.headers, place, &body) {
        Ok(mut heard) => {
            let is_unwell = shared.is_unwell.load(Ordering::SeqCst) && heard.attempt <= REFUSED_MAX;
            heard.is_taken = !(is_unwell && shared.dice.one_in(3));
            if heard.is_taken {
                inbox.taken.insert(heard.delivery);
            } else {
                *response.status_mut() = StatusCode::SERVICE_UNAVAILABLE;
            }
            inbox.heard.push(heard);
        }
        Err(why) => inbox.strange.push(format!("{why}: {:?}", head.headers)),
    }
    let taken = inbox.taken.len();
    drop(inbox);
    shared.count.send_modify(|count| *count = (count.0 + 1, count.1.max(taken)));
    Ok(response)
}

fn read(headers: &HeaderMap, place: (u16, String), body: &[u8]) -> Result<Heard, &'static str> {
    let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let fact = text("webhook-id");
    if !std::str::from_utf8(body).is_ok_and(|body| body.contains(fact)) {
        return Err("the body does not name the fact");
    }
    Ok(Heard {
        delivery: text("x-roundtrip-delivery").parse().map_err(|_| "no delivery")?,
        attempt: text("x-roundtrip-attempt").parse().map_err(|_| "no attempt")?,
        fact: fact.parse().map_err(|_| "no fact")?,
        place,
        is_taken: true,
    })
}
