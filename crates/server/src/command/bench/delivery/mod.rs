//! `bench delivery`: how fast what is planned is told, and how soon, beside a bare `hyper` client in the same run.
//!
//! | file | who does what |
//! | --- | --- |
//! | `planner` | deliveries on the disk, by the ledger's own steps, before a server runs on it |
//! | `receiver` | who is told: one port, an address for each endpoint, answering well, late or never |
//! | `bare` | the yardstick: the same requests, the same receivers, nothing else |
//! | `drain` | without skew: all that waits is told, one is told, told at a pace |
//! | `skew` | with skew: what healthy endpoints feel of ill ones |
//!
//! The server under test never runs while deliveries are planned: it is started on what the planner left, as after a
//! long silence, and its CPU time and memory are its own.

mod bare;
mod drain;
mod planner;
mod receiver;
mod skew;

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use roundtrip_ambient::Clock;
use roundtrip_domain::time::Timestamp;
use serde_json::Value;

use self::planner::Planner;
use self::receiver::Receivers;
use super::disk::{self, Syncs};
use super::report::{Measure, Report};
use super::server::{Counts, Server};
use super::{Shared, machine, progress};
use crate::terminal;

/// How often the server is asked how far it is.
const LOOK: Duration = Duration::from_millis(20);
/// How long it may make no progress at all before a run gives up.
const STUCK: Duration = Duration::from_secs(60);

/// What is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(super) enum Kind {
    /// GET requests with macros, to partners.
    Postback,
    /// Signed POST requests of JSON, to the owner.
    Webhook,
}

impl Kind {
    const fn name(self) -> &'static str {
        match self {
            Self::Postback => "postback",
            Self::Webhook => "webhook",
        }
    }
}

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Deliveries of each round; with --skew, of the whole world, nine in ten of them the backlog. Default 20,000;
    /// with --skew 100,000.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(20..=5_000_000))]
    deliveries: Option<u64>,
    /// Endpoints that share them, each with an address of its own. Default 50; with --skew 10,000.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=60_000))]
    endpoints: Option<u32>,
    /// Rounds; the median is reported. With --skew a round is all three worlds, on a fresh ledger.
    #[arg(long, value_name = "N", default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..=50))]
    rounds: u32,
    /// What is told; both in turn unless one is named. With --skew: webhooks, unless postbacks are named.
    #[arg(long, value_name = "KIND")]
    kind: Option<Kind>,
    /// Measures what healthy endpoints feel when 1 % never answer, 1 % answer late and one holds 90 % of the backlog,
    /// against the same without these.
    #[arg(long, conflicts_with = "waiting")]
    skew: bool,
    /// Deliveries that are put into the queue first and stay there, due in 30 days; memory and start are measured
    /// with and without them.
    #[arg(long, value_name = "N", default_value_t = 0, value_parser = clap::value_parser!(u64).range(0..=20_000_000))]
    waiting: u64,
    #[command(flatten)]
    shared: Shared,
}

pub(super) async fn run(args: Args) -> anyhow::Result<()> {
    let dir = args.shared.directory()?;
    let before = Syncs::probe(dir.path())?;
    let report = Report { bench: "delivery", ..Report::default() };
    let receivers = Receivers::start()?;
    let is_skewed = args.skew;
    let endpoints = args.endpoints.unwrap_or(if is_skewed { 10_000 } else { 50 }) as usize;
    let deliveries = args.deliveries.unwrap_or(if is_skewed { 100_000 } else { 20_000 });
    let mut bench = Bench { args, receivers, report, endpoints, deliveries };
    let load = if is_skewed {
        bench.skew(dir.path()).await?
    } else {
        let kinds = bench.args.kind.map_or(vec![Kind::Postback, Kind::Webhook], |kind| vec![kind]);
        for kind in kinds {
            bench.drain(kind, dir.path()).await?;
        }
        format!(
            "{} rounds of {} deliveries to {} endpoints; receivers and yardstick on the same machine",
            bench.args.rounds, bench.deliveries, bench.endpoints
        )
    };
    bench.finish(&before, dir.path(), load)
}

/// Everything that a run keeps at hand.
#[derive(Debug)]
struct Bench {
    args: Args,
    receivers: Receivers,
    report: Report,
    endpoints: usize,
    deliveries: u64,
}

impl Bench {
    fn say(&mut self, measure: Measure) {
        self.report.measures.push(measure);
    }

    fn finish(self, before: &Syncs, dir: &Path, load: String) -> anyhow::Result<()> {
        let Self { args, mut report, .. } = self;
        let syncs = Syncs::probe(dir)?.and(before);
        report.measures.extend([
            Measure::once("fdatasync of 16 KiB, p50", "ms", syncs.ms(0.5)),
            Measure::once("fdatasync of 16 KiB, p99", "ms", syncs.ms(0.99)),
        ]);
        let system = disk::file_system(dir);
        if disk::is_memory(&system) {
            report.notes.push(format!("{system} is memory: nothing here was durable; --dir names a disk"));
        }
        report.about = vec![("machine", machine()), ("file system", system), ("load", load)];
        terminal::line(&if args.shared.json { report.json_lines() } else { report.table() })?;
        Ok(())
    }
}

/// One installation of the run: a directory that is planned on and served from, never both at once.
#[derive(Debug)]
struct Stage {
    dir: PathBuf,
    document: Value,
}

impl Stage {
    fn new(dir: &Path, kind: Kind, endpoints: usize, port: u16) -> anyhow::Result<Self> {
        let dir = dir.join(kind.name());
        std::fs::create_dir(&dir).with_context(|| format!("make {}", dir.display()))?;
        Ok(Self { dir, document: planner::document(kind, endpoints, port) })
    }

    fn data(&self) -> PathBuf {
        self.dir.join("data")
    }

    async fn plan(&self) -> anyhow::Result<Planner> {
        Planner::open(&self.data(), &self.document).await
    }

    /// Starts a server, and says how long that took, in seconds.
    async fn serve(&self) -> anyhow::Result<(Server, f64)> {
        let began = Instant::now();
        let more = ["--allow-private=127.0.0.0/8", "--allow-plain-http-out"];
        let server = Server::start(&self.dir, &more).await?;
        Ok((server, began.elapsed().as_secs_f64()))
    }
}

/// The server's memory now, in MB.
async fn memory_mb(server: &Server) -> anyhow::Result<f64> {
    Ok(server.counts().await?.get("resident_memory_bytes")? / 1e6)
}

/// Waits until so many deliveries were delivered since the server's start.
async fn delivered(server: &Server, n: u64) -> anyhow::Result<Counts> {
    let (mut seen, mut moved) = (0.0, Instant::now());
    #[expect(clippy::cast_precision_loss, reason = "far below 2^53")]
    let n = n as f64;
    loop {
        let counts = server.counts().await?;
        let now = counts.get("deliveries_delivered_total")?;
        if now >= n {
            return Ok(counts);
        }
        if now > seen {
            (seen, moved) = (now, Instant::now());
        }
        ensure!(
            moved.elapsed() < STUCK,
            "wait for deliveries: {now} of {n} were delivered, none since {} s",
            STUCK.as_secs()
        );
        tokio::time::sleep(LOOK).await;
    }
}

/// The wall clock, in milliseconds since 1970.
fn wall_ms(at: Timestamp) -> f64 {
    #[expect(clippy::cast_precision_loss, reason = "milliseconds since 1970 are below 2^53")]
    let ms = at.ms() as f64;
    ms
}

/// Waits until it is that time.
async fn until(at: Timestamp) {
    let ms = at.since(Clock::System.now()).max(0);
    tokio::time::sleep(Duration::from_millis(ms.cast_unsigned())).await;
}

/// The time that is so many seconds from now.
fn in_seconds(seconds: f64) -> Timestamp {
    #[expect(clippy::cast_possible_truncation, reason = "minutes")]
    let ms = (seconds * 1_000.0) as i64;
    Clock::System.now().plus_ms(ms)
}
