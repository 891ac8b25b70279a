//! `bench lookup`: clicks of some hours in segments, and how long it takes to find one.
//!
//! The clicks go through the click log itself, without HTTP and on a clock moved by hand, into slices, which are closed
//! and sealed hour by hour as a server does. Then the log is opened anew twice: without room to keep anything between
//! look-ups (*cold*: each opens its files, reads the footer and all pages that it needs), and as a server opens it (*warm*:
//! after as many look-ups as are measured). After that the system is told before each look-up to forget the files, as it
//! is after a start of the machine. At last a server is started on it, which says what it takes of time and memory to
//! have so many clicks.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use roundtrip_ambient::Clock;
use roundtrip_domain::click::Touch;
use roundtrip_domain::click_id::ClickId;
use roundtrip_domain::device::{DeviceId, DeviceIdKind, Print};
use roundtrip_domain::id::Id;
use roundtrip_domain::time::Timestamp;
use roundtrip_store::click_log::{ClickLog, Config, Found};

use super::past::{self, Past, Sample};
use super::report::{Floor, Measure, Report, percentile};
use super::server::Server;
use super::world::Random;
use super::{disk, machine, progress};
use crate::terminal;

const HOUR_MS: i64 = 3_600_000;
/// How long before now the last click came, so that the day is over and nothing is too old to keep.
const AGO_MS: i64 = 3 * 24 * HOUR_MS;
/// Starts of the server.
const STARTS: usize = 3;
/// How long a server runs before its memory is looked at: beyond what it does after a start.
const SETTLED: Duration = Duration::from_secs(5);
/// Look-ups before which the system forgets the files; each waits for the disk.
const FORGOTTEN: usize = 200;

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// How many clicks there are.
    #[arg(long, default_value_t = 10_000_000, value_parser = clap::value_parser!(u64).range(1_000..))]
    clicks: u64,
    /// Over how many hours they came.
    #[arg(long, default_value_t = 24, value_parser = clap::value_parser!(u64).range(1..=600))]
    hours: u64,
    /// How many look-ups of each kind are measured.
    #[arg(long, default_value_t = 2_000, value_parser = clap::value_parser!(u64).range(10..=100_000))]
    lookups: u64,
    #[command(flatten)]
    shared: super::Shared,
}

/// Runs the measurement.
///
/// # Errors
/// When the clicks cannot be stored or sealed, or one is not found.
pub(super) async fn run(args: Args) -> anyhow::Result<()> {
    let tmp = args.shared.directory()?;
    // Where a server has its clicks.
    let data = tmp.path().join("data");
    let dir = data.join("clicks");
    let mut report = Report { bench: "lookup", ..Report::default() };
    let hours = i64::try_from(args.hours)?;
    let start = Clock::System.now().plus_ms(-AGO_MS - hours * HOUR_MS).floor_to(24 * HOUR_MS);
    let clock = Clock::manual(start);
    let samples = made(&args, &data, &clock, &mut report).await?;
    measured(&args, &dir, &clock, start, &samples, &mut report).await?;
    served(tmp.path(), &mut report).await?;
    let system = disk::file_system(tmp.path());
    if disk::is_memory(&system) {
        report.notes.push(format!("{system} is memory: nothing here was on a disk; --dir names one"));
    }
    report.about = vec![
        ("machine", machine()),
        ("file system", system),
        ("load", format!("{} clicks of {} hours, one look-up at a time", args.clicks, args.hours)),
    ];
    report.notes.push("cold: nothing stays in the process between look-ups; the system's own cache is warm unless it says forgotten".to_owned());
    terminal::line(&if args.shared.json { report.json_lines() } else { report.table() })?;
    Ok(())
}

/// Stores and seals all clicks; every so many become samples.
async fn made(args: &Args, data: &Path, clock: &Clock, report: &mut Report) -> anyhow::Result<Vec<Sample>> {
    let mut past = Past::new(data, clock)?;
    // Twice as many as are measured: the first half warms.
    let every = (args.clicks / (args.lookups * 4)).max(1);
    let mut samples = Vec::new();
    let (mut sealing, mut storing) = (Duration::ZERO, Duration::ZERO);
    for hour in 1..=args.hours {
        let n = args.clicks * hour / args.hours - past.stored;
        let began = Instant::now();
        samples.extend(past.store(n, HOUR_MS, every).await?);
        storing += began.elapsed();
        past.close().await?;
        sealing += sealed(&past.log, clock).await?;
        progress(&format!("hour {hour} of {}: {} clicks", args.hours, past.stored));
    }
    // The day is over, so that side files become one.
    clock.advance(48 * HOUR_MS);
    sealing += sealed(&past.log, clock).await?;
    let (stats, stored) = (past.log.stats(), past.stored);
    ensure!(stats.segments_clicks == stored, "{} of {stored} clicks are in segments", stats.segments_clicks);
    #[expect(clippy::cast_precision_loss, reason = "clicks and bytes of a run are far below 2^53")]
    let (clicks, segments, sides) = (stored as f64, stats.bytes_segments as f64, stats.bytes_sides as f64);
    #[expect(clippy::cast_precision_loss, reason = "a few hundred")]
    let files = stats.segments as f64;
    report.measures.extend([
        Measure::once("clicks stored, relaxed, without HTTP", "/s", clicks / storing.as_secs_f64()),
        Measure::once("clicks sealed and merged, without pauses", "/s", clicks / sealing.as_secs_f64()),
        Measure::once("segments", "", files),
        Measure::once("disk per sealed click", "B", segments / clicks).held_against(Floor::AtMost(90.0)),
        Measure::once("side files, per click", "B", sides / clicks).held_against(Floor::AtMost(40.0)),
    ]);
    past.end().await?;
    // Or else the disk is busy with them while it is measured.
    rustix::fs::sync();
    Ok(samples)
}

/// Seals and merges what there is to. How long it took.
async fn sealed(log: &ClickLog, clock: &Clock) -> anyhow::Result<Duration> {
    let (log, now) = (log.clone(), clock.now());
    let work = move || -> anyhow::Result<Duration> {
        let began = Instant::now();
        log.seal_now().context("seal")?;
        // Merging is what is left.
        while log.seal(now).context("merge")?.is_some() {}
        Ok(began.elapsed())
    };
    tokio::task::spawn_blocking(work).await?
}

fn device(gaid: &str) -> anyhow::Result<Print> {
    let id = DeviceId::parse(DeviceIdKind::Gaid, gaid).context("a device id that is none")?;
    Ok(Print::device(Id::from_bits(1), &id))
}

/// A look-up, and what it should give.
enum Look {
    Id(ClickId),
    Print(Print, Option<ClickId>),
}

async fn look(log: &ClickLog, start: Timestamp, look: &Look) -> anyhow::Result<f64> {
    let began = Instant::now();
    match look {
        Look::Id(id) => {
            let found = log.find(*id).await?;
            ensure!(matches!(&found, Found::Touch(touch) if touch.id == *id), "{id} is not found: {found:?}");
        }
        Look::Print(print, id) => {
            let from = start.plus_ms(-30 * 24 * HOUR_MS);
            let to = start.plus_ms(60 * 24 * HOUR_MS);
            let found: Vec<Touch> = log.find_print(*print, from, to, 50).await?;
            ensure!(found.first().map(|touch| touch.id) == *id, "another click than the one with the print");
        }
    }
    Ok(began.elapsed().as_secs_f64() * 1_000.0)
}

async fn looks(
    log: &ClickLog,
    start: Timestamp,
    looks: &[Look],
    forget: &[PathBuf],
) -> anyhow::Result<Vec<f64>> {
    let mut took = Vec::with_capacity(looks.len());
    for one in looks {
        for path in forget {
            let file = std::fs::File::open(path)?;
            rustix::fs::fadvise(&file, 0, None, rustix::fs::Advice::DontNeed)?;
        }
        took.push(look(log, start, one).await?);
    }
    took.sort_by(f64::total_cmp);
    Ok(took)
}

fn measures(report: &mut Report, what: &str, took: &[f64], floor: Floor) {
    report.measures.push(Measure::once(format!("{what}, p50"), "ms", percentile(took, 0.5)));
    report
        .measures
        .push(Measure::once(format!("{what}, p99"), "ms", percentile(took, 0.99)).held_against(floor));
}

async fn measured(
    args: &Args,
    dir: &Path,
    clock: &Clock,
    start: Timestamp,
    samples: &[Sample],
    report: &mut Report,
) -> anyhow::Result<()> {
    let n = usize::try_from(args.lookups)?;
    // Of every part of the day, in no order.
    let mut order: Vec<usize> = (0..samples.len()).collect();
    let mut random = Random::new(5);
    order.sort_by_cached_key(|_| random.bits());
    let sample = |at: usize| &samples[order[at % order.len()]];
    let ids = |from: usize| (from..from + n).map(|at| Look::Id(sample(at).id)).collect::<Vec<_>>();
    let partner_ids = |from: usize| -> Vec<Look> {
        let print = |s: &Sample| {
            let partner = Id::from_bits(u128::from(s.partner) + 1);
            Print::partner_click_id(partner, s.partner_click_id.as_bytes())
        };
        (from..from + n).map(|at| Look::Print(print(sample(at)), Some(sample(at).id))).collect()
    };
    let with_gaid: Vec<(&str, ClickId)> =
        order.iter().filter_map(|at| Some((samples[*at].gaid.as_deref()?, samples[*at].id))).collect();
    ensure!(!with_gaid.is_empty(), "no click has a device id: more clicks are needed");
    let gaids = |from: usize| -> anyhow::Result<Vec<Look>> {
        let pairs = (from..from + n).map(|at| with_gaid[at % with_gaid.len()]);
        pairs.map(|(gaid, id)| Ok(Look::Print(device(gaid)?, Some(id)))).collect()
    };
    let mut nobody = || -> anyhow::Result<Vec<Look>> {
        (0..n).map(|_| Ok(Look::Print(device(&random.gaid())?, None))).collect()
    };

    progress("look-ups, cold");
    let log = past::open(cold(dir), clock)?;
    measures(
        report,
        "look-up by id, process cold",
        &looks(&log, start, &ids(0), &[]).await?,
        Floor::AtMost(10.0),
    );
    ensure!(log.shutdown(), "the click log does not stop");

    progress("look-ups, warm");
    let began = Instant::now();
    let log = past::open(past::config(dir), clock)?;
    let opening = began.elapsed().as_secs_f64() * 1_000.0;
    report
        .measures
        .push(Measure::once("opening of the log", "ms", opening).held_against(Floor::AtMost(2_000.0)));
    for (what, warm, measure, floor) in [
        ("look-up by id, warm", ids(n), ids(2 * n), 1.0),
        ("look-up by partner click id, warm", partner_ids(n), partner_ids(2 * n), 1.0),
        ("look-up by gaid, warm", gaids(0)?, gaids(n)?, 1.0),
        ("organic install: a gaid that is nowhere, warm", nobody()?, nobody()?, 20.0),
    ] {
        looks(&log, start, &warm, &[]).await?;
        measures(report, what, &looks(&log, start, &measure, &[]).await?, Floor::AtMost(floor));
    }
    ensure!(log.shutdown(), "the click log does not stop");

    // Last: whatever comes behind it would wait for the disk too.
    progress("look-ups, files forgotten");
    let log = past::open(cold(dir), clock)?;
    let files = sealed_paths(dir, &log);
    let some: Vec<Look> = ids(0).into_iter().take(FORGOTTEN).collect();
    measures(
        report,
        "look-up by id, cold and files forgotten",
        &looks(&log, start, &some, &files).await?,
        Floor::None,
    );
    ensure!(log.shutdown(), "the click log does not stop");
    Ok(())
}

/// A log without room to keep anything between look-ups.
fn cold(dir: &Path) -> Config {
    let mut config = past::config(dir);
    config.lookup_cache_bytes = 0;
    config
}

/// Segments and side files.
fn sealed_paths(dir: &Path, log: &ClickLog) -> Vec<PathBuf> {
    let sides =
        std::fs::read_dir(dir.join("prints")).into_iter().flatten().flatten().map(|entry| entry.path());
    log.segments().iter().map(|segment| dir.join(&segment.file)).chain(sides).collect()
}

/// Starts a server on the clicks: until it is ready, and the memory that it then has.
async fn served(dir: &Path, report: &mut Report) -> anyhow::Result<()> {
    let (mut starts, mut memory) = (Vec::new(), Vec::new());
    for n in 1..=STARTS {
        progress(&format!("start {n} of {STARTS} of a server"));
        let began = Instant::now();
        let server = Server::start(dir, &[]).await?;
        starts.push(began.elapsed().as_secs_f64() * 1_000.0);
        tokio::time::sleep(SETTLED).await;
        memory.push(server.counts().await?.get("resident_memory_bytes")? / 1e6);
        server.stop().await?;
    }
    report.measures.extend([
        Measure::of_rounds("start of a server", "ms", starts).held_against(Floor::AtMost(2_000.0)),
        Measure::of_rounds("memory of a server", "MB", memory).held_against(Floor::AtMost(200.0)),
    ]);
    Ok(())
}
