//! The engine in simulated worlds: whatever happens, nothing is lost, nothing is sent that has ended, and the books
//! close. `SIM_SEEDS=20000` lives through as many worlds, `SIM_FROM=2000` from that one on; `SIM_SEED=7` lives through that
//! one and prints it.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, Request};
use roundtrip_ambient::{Clock, Entropy};
use roundtrip_domain::click_id::CheckKey;
use roundtrip_domain::retry::Policy;
use roundtrip_domain::time::Span;
use roundtrip_engine::sender::{self, Failure, Guard, Receivers, Reply, Sender};
use roundtrip_engine::{Config, Engine};
use roundtrip_store::click_log::{self, ClickLog};
use roundtrip_store::ledger::Kept;
use roundtrip_testkit::simulation::{Answer, Bounds, Line, Outgoing, Report, Seat, Width, Workers, simulate};

/// How many worlds there are when nobody says how many.
const SEEDS: u64 = 2_000;
/// Into how many tests they are divided, so that they run beside each other.
const PARTS: u64 = 16;

/// The real engine, whose way out leads into the world.
struct Engines {
    sender: Sender,
    /// Delivery does not ask it; the configuration has one.
    clicks: ClickLog,
    _dir: tempfile::TempDir,
}

impl Engines {
    fn new() -> Self {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let config = click_log::Config::new(dir.path().join("clicks"), 1, vec![CheckKey([9; 16])]);
        let (clicks, _) =
            ClickLog::open(config, Clock::System, Entropy::System).expect("a new click log opens");
        let sender = Sender::new(&sender::Config::default(), Guard::default()).expect("a sender");
        Self { sender, clicks, _dir: dir }
    }
}

impl Workers for Engines {
    type Worker = Engine;

    const BOUNDS: Bounds = Bounds {
        endpoint_at_first: 4,
        endpoint: 64,
        host: 128,
        total: 1_024,
        window: 64,
        // The last of the breaker's waits, and a quarter.
        rest: Duration::from_millis(900_000 / 4 * 5),
    };

    fn start(&self, seat: Seat) -> Engine {
        let config = Config {
            ledger: seat.ledger,
            clicks: self.clicks.clone(),
            sender: self.sender.simulated(Arc::new(Network(seat.line))),
            clock: seat.clock,
            entropy: seat.entropy,
            policy: Policy {
                waits: seat.waits_ms.iter().copied().map(Span::from_ms).collect(),
                ..Policy::postback()
            },
            alerts: Default::default(),
            bounds: Default::default(),
            kept: Kept { attempts: Span::from_days(30), payloads: Span::from_days(30) },
        };
        Engine::start_delivery(config, seat.has_jobs)
    }

    async fn stop(worker: Engine) {
        worker.stop().await;
    }

    fn in_memory(worker: &Engine) -> u64 {
        worker.stats().in_memory.load(Ordering::Relaxed)
    }

    fn panics(worker: &Engine) -> u64 {
        worker.stats().panics.load(Ordering::Relaxed)
    }

    fn has_failed(worker: &Engine) -> bool {
        worker.stats().failed.load(Ordering::Relaxed)
    }
}

/// Carries requests into the world and answers out of it.
struct Network(Line);

impl Receivers for Network {
    fn call<'a>(
        &'a self,
        origin: &'a str,
        request: Request<Bytes>,
    ) -> Pin<Box<dyn Future<Output = Result<Reply, Failure>> + Send + 'a>> {
        let header = |name: &str| {
            request.headers().get(name).and_then(|value| value.to_str().ok()).unwrap_or_default().to_owned()
        };
        let headers = request.headers().iter();
        let headers = headers.map(|(name, value)| {
            (name.as_str().to_owned(), String::from_utf8_lossy(value.as_bytes()).into_owned())
        });
        let outgoing = Outgoing {
            origin: origin.to_owned(),
            path: request.uri().to_string(),
            delivery: header("x-roundtrip-delivery"),
            attempt: header("x-roundtrip-attempt").parse().unwrap_or(0),
            headers: headers.collect(),
            body: request.body().to_vec(),
        };
        Box::pin(async move {
            let (status, retry_after) = match self.0.call(outgoing).await {
                Answer::Status(status, retry_after) => (status, retry_after),
                Answer::Refused => return Err(Failure::Connect),
                Answer::Reset => return Err(Failure::Reset),
            };
            let mut headers = HeaderMap::new();
            if let Some(seconds) = retry_after {
                headers.insert(http::header::RETRY_AFTER, seconds.into());
            }
            Ok(Reply { status, headers, body: Bytes::new() })
        })
    }
}

fn number(name: &str) -> Option<u64> {
    let text = std::env::var(name).ok()?;
    Some(text.parse().unwrap_or_else(|_| panic!("{name}={text} is no number")))
}

#[expect(clippy::print_stderr, reason = "whoever asks for one world wants to read it")]
fn live_through(part: u64) {
    let engines = Engines::new();
    if let Some(seed) = number("SIM_SEED") {
        if seed % PARTS == part {
            let report = simulate(seed, Width::Full, &engines);
            eprintln!("{report}");
            assert!(report.wrongs.is_empty(), "seed {seed}");
        }
        return;
    }
    let seeds = number("SIM_SEEDS").unwrap_or(SEEDS);
    let mut wrong: Vec<Report> = Vec::new();
    let first = number("SIM_FROM").unwrap_or(0);
    for seed in (first..first + seeds).filter(|seed| seed % PARTS == part) {
        let report = simulate(seed, Width::Full, &engines);
        if !report.wrongs.is_empty() {
            wrong.push(report);
        }
    }
    let Some(Report { seed, wrongs, trace, .. }) = wrong.first() else { return };
    let last = trace.iter().rev().take(12).rev().map(|line| format!("  {line}\n")).collect::<String>();
    let others: Vec<_> = wrong.iter().skip(1).map(|report| (report.seed, &report.wrongs[0])).collect();
    panic!(
        "in the world of seed {seed}: {wrongs:#?}\nit ended so:\n{last}read all of it with: \
         SIM_SEED={seed} cargo test -p roundtrip-engine --test it simulation -- --nocapture\nothers: {others:#?}"
    );
}

macro_rules! parts {
    ($($name:ident: $part:literal,)*) => {
        $(
            #[test]
            fn $name() {
                live_through($part);
            }
        )*
    };
}

parts! {
    worlds_01: 0,
    worlds_02: 1,
    worlds_03: 2,
    worlds_04: 3,
    worlds_05: 4,
    worlds_06: 5,
    worlds_07: 6,
    worlds_08: 7,
    worlds_09: 8,
    worlds_10: 9,
    worlds_11: 10,
    worlds_12: 11,
    worlds_13: 12,
    worlds_14: 13,
    worlds_15: 14,
    worlds_16: 15,
}

/// Narrow worlds that once went wrong, each for its own reason; what they found is told beside them.
#[test]
fn worlds_that_went_wrong() {
    let engines = Engines::new();
    for (seed, what) in [
        (253, "two workers: one put a delivery off while the other sent it, and its end was not stored"),
        (86, "two workers: what one had settled was sent by the other with the same number"),
        (11, "a panic while ends were stored lost the settler, and with it every later end"),
        (116, "a panic while sends were loaded lost them, and their places with them"),
        (451, "a panic while the queue's heads were read was the end of all sweeps"),
        (1_896, "two workers: a send that was under way at the end did not count among the sends"),
    ] {
        let report = simulate(seed, Width::Narrow, &engines);
        assert!(report.wrongs.is_empty(), "seed {seed}, {what}: {:#?}", report.wrongs);
    }
}

#[test]
fn the_same_seed_is_the_same_world() {
    let engines = Engines::new();
    for seed in [0, 1, 2, 3, 4, 5, 6, 7] {
        assert_eq!(simulate(seed, Width::Full, &engines), simulate(seed, Width::Full, &engines));
    }
}
