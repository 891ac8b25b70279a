//! Every receiver of a run: one port, an address of 127.0.0.0/8 for each endpoint, one thread.
//!
//! It reads whole requests, notes when the first byte of each came and of which delivery it was, and answers at once,
//! late or never, as its endpoint's temper says. It is far cheaper than what it measures.
//!
//! It listens on all addresses of the machine, because listening on ten thousand takes ten thousand sockets; whoever
//! comes from anywhere but loopback is cut off before a byte is read. Networks other than Linux's may not have all of
//! 127.0.0.0/8.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use anyhow::Context as _;
use roundtrip_ambient::Clock;
use roundtrip_domain::id::{Id, kind};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinSet;

use super::planner;

/// Connections that wait to be accepted. All endpoints are one socket here, and thousands begin at once: with the usual
/// 128, some would be refused in silence and tried again after a second, which no receiver of its own would do.
const BACKLOG: u32 = 4_096;
const ANSWER: &[u8] = b"HTTP/1.1 204 No Content\r\n\r\n";
/// A request of the run is far smaller; whoever sends more is cut off.
const REQUEST_BYTES_MAX: usize = 256 * 1024;
/// Requests that are kept to be sent again, as they were.
const SAMPLES_MAX: usize = 256;

/// How an endpoint takes what it is sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Temper {
    /// It answers at once.
    Well,
    /// It answers after that time.
    Slow(Duration),
    /// It never answers.
    Hangs,
}

/// A request whose first byte came.
#[derive(Debug, Clone, Copy)]
pub(super) struct Arrival {
    /// Which delivery it is of.
    pub(super) delivery: Id<kind::Delivery>,
    /// When its first byte came.
    pub(super) at: Instant,
    /// The same by the wall clock, in milliseconds since 1970.
    pub(super) wall_ms: f64,
}

/// What connections share.
#[derive(Debug)]
struct Shared {
    /// The same moment on both clocks: the second in milliseconds since 1970.
    zero: (Instant, f64),
    tempers: Mutex<Arc<[Temper]>>,
    arrivals: mpsc::UnboundedSender<Arrival>,
    samples: Mutex<HashMap<usize, Vec<u8>>>,
    open: AtomicUsize,
    open_peak: AtomicUsize,
    opened: AtomicUsize,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // Every change is a single step, so a panic elsewhere leaves nothing half done.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The running receivers. Dropping it closes them.
#[derive(Debug)]
pub(super) struct Receivers {
    /// Where they listen.
    pub(super) port: u16,
    shared: Arc<Shared>,
    arrivals: mpsc::UnboundedReceiver<Arrival>,
    _stop: oneshot::Sender<()>,
}

impl Receivers {
    /// Starts them on a thread of their own; all answer at once.
    pub(super) fn start() -> anyhow::Result<Self> {
        let (sender, arrivals) = mpsc::unbounded_channel();
        let shared = Arc::new(Shared {
            zero: same_moment(),
            tempers: Mutex::new(Arc::new([])),
            arrivals: sender,
            samples: Mutex::default(),
            open: AtomicUsize::new(0),
            open_peak: AtomicUsize::new(0),
            opened: AtomicUsize::new(0),
        });
        let socket = TcpSocket::new_v4().context("start the sink")?;
        socket.bind(SocketAddr::from((Ipv4Addr::UNSPECIFIED, 0))).context("start the sink")?;
        let port = socket.local_addr().context("start the sink")?.port();
        let (stop, stopped) = oneshot::channel();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let runtime = runtime.context("start the sink")?;
        // Before anybody connects, and known to the runtime that accepts.
        let listener = {
            let _within = runtime.enter();
            socket.listen(BACKLOG).context("start the sink")?
        };
        let thread = std::thread::Builder::new().name("bench-sink".to_owned());
        let here = shared.clone();
        thread
            .spawn(move || {
                runtime.block_on(async {
                    tokio::select! {
                        () = accept(listener, here) => {}
                        // Its other end is dropped with the receivers.
                        _ = stopped => {}
                    }
                });
            })
            .context("start the sink")?;
        Ok(Self { port, shared, arrivals, _stop: stop })
    }

    /// How endpoints take what they are sent from now on, by number; those not named answer at once. Connections that
    /// are open keep to what held when they were opened.
    pub(super) fn temper(&self, tempers: Vec<Temper>) {
        *lock(&self.shared.tempers) = tempers.into();
    }

    /// Waits for the next arrival.
    pub(super) async fn next(&mut self) -> Option<Arrival> {
        self.arrivals.recv().await
    }

    /// Everything that arrived and was not taken yet.
    pub(super) fn take(&mut self) -> Vec<Arrival> {
        std::iter::from_fn(|| self.arrivals.try_recv().ok()).collect()
    }

    /// Begins to count connections anew.
    pub(super) fn count_anew(&self) {
        self.shared.open_peak.store(self.shared.open.load(Ordering::Relaxed), Ordering::Relaxed);
        self.shared.opened.store(0, Ordering::Relaxed);
    }

    /// Most connections open at once, and how many were opened in all, since [`Self::count_anew`].
    pub(super) fn connections(&self) -> (usize, usize) {
        (self.shared.open_peak.load(Ordering::Relaxed), self.shared.opened.load(Ordering::Relaxed))
    }

    /// A request as it came, for each of some endpoints.
    pub(super) fn samples(&self) -> Vec<(SocketAddr, Vec<u8>)> {
        let samples = lock(&self.shared.samples);
        let mut all: Vec<_> = samples.iter().map(|(endpoint, bytes)| (*endpoint, bytes.clone())).collect();
        all.sort_by_key(|(endpoint, _)| *endpoint);
        let address = |endpoint| SocketAddr::from((planner::address(endpoint), self.port));
        all.into_iter().map(|(endpoint, bytes)| (address(endpoint), bytes)).collect()
    }
}

/// Waits for the next millisecond of the wall clock to begin, which has nothing finer, and notes it on both clocks.
fn same_moment() -> (Instant, f64) {
    let before = Clock::System.now();
    loop {
        let now = Clock::System.now();
        if now != before {
            return (Instant::now(), super::wall_ms(now));
        }
        std::hint::spin_loop();
    }
}

async fn accept(listener: TcpListener, shared: Arc<Shared>) {
    let mut connections = JoinSet::new();
    while let Ok((stream, peer)) = listener.accept().await {
        if !peer.ip().is_loopback() {
            continue;
        }
        connections.spawn(serve(stream, shared.clone()));
        while connections.try_join_next().is_some() {}
    }
}

/// Counts a connection for as long as it lives.
struct Open<'a>(&'a Shared);

impl<'a> Open<'a> {
    fn new(shared: &'a Shared) -> Self {
        let open = shared.open.fetch_add(1, Ordering::Relaxed) + 1;
        shared.open_peak.fetch_max(open, Ordering::Relaxed);
        shared.opened.fetch_add(1, Ordering::Relaxed);
        Self(shared)
    }
}

impl Drop for Open<'_> {
    fn drop(&mut self) {
        self.0.open.fetch_sub(1, Ordering::Relaxed);
    }
}

async fn serve(mut stream: TcpStream, shared: Arc<Shared>) {
    let _ = stream.set_nodelay(true);
    let Ok(SocketAddr::V4(local)) = stream.local_addr() else { return };
    let endpoint = match IpAddr::from(*local.ip()) {
        IpAddr::V4(address) => planner::endpoint_of(address),
        IpAddr::V6(_) => None,
    };
    let Some(endpoint) = endpoint else { return };
    let temper = lock(&shared.tempers).get(endpoint).copied().unwrap_or(Temper::Well);
    let _open = Open::new(&shared);
    let mut buffer: Vec<u8> = Vec::with_capacity(4 * 1024);
    let mut began = None;
    loop {
        match stream.read_buf(&mut buffer).await {
            Ok(n) if n > 0 && buffer.len() <= REQUEST_BYTES_MAX => {}
            _ => return,
        }
        let at = *began.get_or_insert_with(Instant::now);
        let Some(request) = Parsed::of(&buffer) else { continue };
        if let Some(delivery) = request.delivery {
            let (zero, zero_ms) = shared.zero;
            let wall_ms = zero_ms + at.duration_since(zero).as_secs_f64() * 1_000.0;
            {
                let mut samples = lock(&shared.samples);
                if samples.len() < SAMPLES_MAX && !samples.contains_key(&endpoint) {
                    samples.insert(endpoint, buffer[..request.bytes].to_vec());
                }
            }
            // Last, so that whoever is told of the arrival finds the sample. Nobody takes it only at the end of the run.
            let _ = shared.arrivals.send(Arrival { delivery, at, wall_ms });
        }
        buffer.drain(..request.bytes);
        began = None;
        match temper {
            Temper::Well => {}
            Temper::Slow(wait) => tokio::time::sleep(wait).await,
            Temper::Hangs => {
                // Until the other side has had enough.
                let mut rest = [0; 64];
                while stream.read(&mut rest).await.is_ok_and(|n| n > 0) {}
                return;
            }
        }
        if stream.write_all(ANSWER).await.is_err() {
            return;
        }
    }
}

/// A whole request at the beginning of a buffer.
#[derive(Debug, PartialEq, Eq)]
struct Parsed {
    /// Its bytes, head and body.
    bytes: usize,
    /// Whose send it is; a request of the yardstick says that it is nobody's.
    delivery: Option<Id<kind::Delivery>>,
}

impl Parsed {
    fn of(buffer: &[u8]) -> Option<Self> {
        let head = buffer.windows(4).position(|four| four == b"\r\n\r\n")? + 4;
        let (mut body, mut delivery, mut is_yardstick) = (0, None, false);
        for line in buffer[..head].split(|byte| *byte == b'\n') {
            let Some(colon) = line.iter().position(|byte| *byte == b':') else { continue };
            let name = &line[..colon];
            let value = || std::str::from_utf8(&line[colon + 1..]).unwrap_or_default().trim();
            if name.eq_ignore_ascii_case(b"content-length") {
                body = value().parse().unwrap_or(0);
            } else if name.eq_ignore_ascii_case(b"x-roundtrip-delivery") {
                delivery = value().parse().ok();
            } else if name.eq_ignore_ascii_case(super::bare::MARK.as_bytes()) {
                is_yardstick = true;
            }
        }
        let bytes = head.checked_add(body)?;
        (buffer.len() >= bytes).then_some(Self { bytes, delivery: delivery.filter(|_| !is_yardstick) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_are_read_when_they_are_whole() {
        let id: Id<kind::Delivery> = Id::from_bits(77);
        let text =
            format!("POST /h HTTP/1.1\r\nX-Roundtrip-Delivery: {id}\r\ncontent-length: 3\r\n\r\nabcGET");
        let whole = text.len() - 3;
        assert_eq!(Parsed::of(&text.as_bytes()[..whole - 1]), None);
        assert_eq!(Parsed::of(text.as_bytes()), Some(Parsed { bytes: whole, delivery: Some(id) }));
        let bare = format!(
            "GET / HTTP/1.1\r\n{}: 1\r\nx-roundtrip-delivery: {id}\r\n\r\n",
            super::super::bare::MARK
        );
        assert_eq!(Parsed::of(bare.as_bytes()), Some(Parsed { bytes: bare.len(), delivery: None }));
    }

    #[tokio::test]
    async fn tempers_are_kept_apart_by_address() {
        let mut receivers = Receivers::start().unwrap();
        receivers.temper(vec![Temper::Well, Temper::Hangs]);
        let id: Id<kind::Delivery> = Id::from_bits(5);
        let request = format!("GET /a HTTP/1.1\r\nx-roundtrip-delivery: {id}\r\n\r\n");
        let mut streams = Vec::new();
        for endpoint in [0, 1] {
            let address = (planner::address(endpoint), receivers.port);
            let mut stream = TcpStream::connect(address).await.unwrap();
            stream.write_all(request.as_bytes()).await.unwrap();
            assert_eq!(receivers.next().await.unwrap().delivery, id);
            streams.push(stream);
        }
        let mut answer = vec![0; ANSWER.len()];
        streams[0].read_exact(&mut answer).await.unwrap();
        assert_eq!(answer, ANSWER);
        assert_eq!(receivers.connections(), (2, 2));
        assert_eq!(receivers.samples().len(), 2);
        // The other one got its request, as its arrival says, and answers nothing until its sender has had enough.
        streams[1].shutdown().await.unwrap();
        let mut answered = Vec::new();
        streams[1].read_to_end(&mut answered).await.unwrap();
        assert_eq!(answered, b"");
    }
}
