//! `bench lookup`: clicks of some hours in segments, and how long it takes to find one.
//!
//! The clicks go through the click log itself, without HTTP and on a clock moved by hand, into slices, which are closed
//! and sealed hour by hour as a server does. Then the log is opened anew twice: without room to keep anything between
//! look-ups (*cold*: each opens its files, reads the footer and all pages that it needs; for some of them the system
//! is told to forget the files before), and as a server opens it (*warm*: after as many look-ups as are measured).
//!
//! Not relied on: the ledger. Nobody publishes counts here, so the slices are said to be published.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use roundtrip_ambient::{Clock, Entropy};
use roundtrip_domain::click::{Click, Flags, LinkDialect, Touch, TouchKind};
use roundtrip_domain::click_id::{CheckKey, ClickId};
use roundtrip_domain::device::{DeviceId, DeviceIdKind, Print};
use roundtrip_domain::id::{Id, WorkspaceNo};
use roundtrip_domain::time::Timestamp;
use roundtrip_store::click_log::{Append, ClickLog, Config, Durability, Found};
use tokio::task::JoinSet;

use super::report::{Floor, Measure, Report, percentile};
use super::world::{self, Random};
use super::{disk, machine, progress};
use crate::terminal;

/// Links and partners of the clicks.
const PARTNERS: u64 = 20;
/// When the first click came: 2026-06-04T00:00:00Z.
const START: Timestamp = Timestamp::from_ms(1_780_531_200_000);
const HOUR_MS: i64 = 3_600_000;
/// Clicks that are on their way at the same time.
const IN_FLIGHT: u64 = 2_048;
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

/// A click that is looked for.
struct Sample {
    id: ClickId,
    partner_click_id: String,
    partner: u64,
    gaid: Option<String>,
}

/// Runs the measurement.
///
/// # Errors
/// When the clicks cannot be stored or sealed, or one is not found.
pub(super) async fn run(args: Args) -> anyhow::Result<()> {
    let tmp = args.shared.directory()?;
    let dir = tmp.path().join("clicks");
    let mut report = Report { bench: "lookup", ..Report::default() };
    let clock = Clock::manual(START);
    let samples = made(&args, &dir, &clock, &mut report).await?;
    let samples = Arc::new(samples);
    measured(&args, &dir, &clock, &samples, &mut report).await?;
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

fn config(dir: &Path) -> Config {
    let mut config = Config::new(dir, 1, vec![CheckKey([7; 16])]);
    // Clicks are made faster than any server gets them, and nobody waits for one.
    config.durability = Durability::Relaxed;
    config.append_wait = Duration::from_secs(60);
    config.verify_at_start = 0;
    config
}

fn open(config: Config, clock: &Clock) -> anyhow::Result<ClickLog> {
    Ok(ClickLog::open(config, clock.clone(), Entropy::seeded(1)).context("open the click log")?.0)
}

fn publish(log: &ClickLog) -> anyhow::Result<()> {
    log.to_publish().iter().try_for_each(|slice| log.published(slice.seq)).context("note the counts")
}

/// Stores and seals all clicks; every so many become samples.
async fn made(args: &Args, dir: &Path, clock: &Clock, report: &mut Report) -> anyhow::Result<Vec<Sample>> {
    let log = open(config(dir), clock)?;
    let mut random = Random::new(11);
    let agents = world::user_agents();
    // Twice as many as are measured: the first half warms.
    let every = (args.clicks / (args.lookups * 4)).max(1);
    let mut samples = Vec::new();
    let (mut stored, mut sealing, mut storing) = (0, Duration::ZERO, Duration::ZERO);
    for hour in 0..args.hours {
        let until = args.clicks * (hour + 1) / args.hours;
        let began = Instant::now();
        let of_hour = (until - stored).max(1);
        let first = stored;
        while stored < until {
            let n = IN_FLIGHT.min(until - stored);
            let at = START.ms() + HOUR_MS * hour as i64 + HOUR_MS * (stored - first) as i64 / of_hour as i64;
            clock.advance(at - clock.now().ms());
            let mut flight = JoinSet::new();
            for i in stored..stored + n {
                let (click, sample) = click(&mut random, &agents, i, clock.now());
                let log = log.clone();
                let sample = i.is_multiple_of(every).then_some(sample);
                flight.spawn(async move { (log.append(click).await, sample) });
            }
            while let Some(ended) = flight.join_next().await {
                let (append, sample) = ended?;
                let Append::Stored(id) = append else { anyhow::bail!("a click was not stored: {append:?}") };
                samples.extend(sample.map(|sample| Sample { id, ..sample }));
            }
            stored += n;
        }
        storing += began.elapsed();
        clock.advance(START.ms() + HOUR_MS * (hour as i64 + 1) - clock.now().ms());
        sealing += sealed(&log, clock).await?;
        progress(&format!("hour {} of {}: {stored} clicks", hour + 1, args.hours));
    }
    // The day is over, so that side files become one.
    clock.advance(48 * HOUR_MS);
    sealing += sealed(&log, clock).await?;
    let stats = log.stats();
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
    ensure!(log.shutdown(), "the click log does not stop");
    Ok(samples)
}

/// Closes, seals and merges what there is to. How long it took.
async fn sealed(log: &ClickLog, clock: &Clock) -> anyhow::Result<Duration> {
    let (log, now) = (log.clone(), clock.now());
    let work = move || -> anyhow::Result<Duration> {
        ensure!(log.close_now(), "a slice is not closed in time");
        publish(&log)?;
        let began = Instant::now();
        log.seal_now().context("seal")?;
        // Merging is what is left.
        while log.seal(now).context("merge")?.is_some() {}
        Ok(began.elapsed())
    };
    tokio::task::spawn_blocking(work).await?
}

fn click(random: &mut Random, agents: &[String], n: u64, now: Timestamp) -> (Click, Sample) {
    let partner_click_id = random.partner_click_id();
    let rest = world::query_rest(random);
    let gaid = rest.split_once("&gaid=").map(|(_, gaid)| gaid.to_owned());
    let bits = random.bits();
    let partner = n % PARTNERS;
    let agent = usize::try_from(bits >> 32).unwrap_or_default() % agents.len();
    let mut click = Click {
        workspace: WorkspaceNo::DEFAULT,
        app: Id::from_bits(1),
        campaign: Id::from_bits(2),
        partner: Id::from_bits(u128::from(partner) + 1),
        link: Id::from_bits(u128::from(partner) + 100),
        kind: TouchKind::Click,
        dialect: LinkDialect::default(),
        flags: Flags::default(),
        received_at: now,
        query: format!("click_id={partner_click_id}{rest}").into_bytes(),
        ip: Some([bits as u8 % 223 + 1, (bits >> 8) as u8, (bits >> 16) as u8, (bits >> 24) as u8].into()),
        user_agent: Some(agents[agent].clone()),
        referer: None,
        language: Some("en-US,en;q=0.9".to_owned()),
        location: Default::default(),
    };
    click.flag();
    let id = ClickId::from_bits(0);
    (click, Sample { id, partner_click_id, partner, gaid })
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

async fn look(log: &ClickLog, look: &Look) -> anyhow::Result<f64> {
    let began = Instant::now();
    match look {
        Look::Id(id) => {
            let found = log.find(*id).await?;
            ensure!(matches!(&found, Found::Touch(touch) if touch.id == *id), "{id} is not found: {found:?}");
        }
        Look::Print(print, id) => {
            let from = START.plus_ms(-30 * 24 * HOUR_MS);
            let to = START.plus_ms(60 * 24 * HOUR_MS);
            let found: Vec<Touch> = log.find_print(*print, from, to, 50).await?;
            ensure!(found.first().map(|touch| touch.id) == *id, "another click than the one with the print");
        }
    }
    Ok(began.elapsed().as_secs_f64() * 1_000.0)
}

async fn looks(log: &ClickLog, looks: &[Look], forget: &[PathBuf]) -> anyhow::Result<Vec<f64>> {
    let mut took = Vec::with_capacity(looks.len());
    for one in looks {
        for path in forget {
            let file = std::fs::File::open(path)?;
            rustix::fs::fadvise(&file, 0, None, rustix::fs::Advice::DontNeed)?;
        }
        took.push(look(log, one).await?);
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
    samples: &Arc<Vec<Sample>>,
    report: &mut Report,
) -> anyhow::Result<()> {
    let n = usize::try_from(args.lookups)?;
    // Of every part of the day, in no order.
    let mut order: Vec<usize> = (0..samples.len()).collect();
    let mut random = Random::new(5);
    order.sort_by_key(|_| random.bits());
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
    let mut cold = config(dir);
    cold.lookup_cache_bytes = 0;
    let log = open(cold, clock)?;
    measures(report, "look-up by id, process cold", &looks(&log, &ids(0), &[]).await?, Floor::AtMost(10.0));
    let files = sealed_paths(dir, &log);
    let some: Vec<Look> = ids(0).into_iter().take(FORGOTTEN).collect();
    measures(
        report,
        "look-up by id, cold and files forgotten",
        &looks(&log, &some, &files).await?,
        Floor::None,
    );
    ensure!(log.shutdown(), "the click log does not stop");

    progress("look-ups, warm");
    let began = Instant::now();
    let log = open(config(dir), clock)?;
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
        looks(&log, &warm, &[]).await?;
        measures(report, what, &looks(&log, &measure, &[]).await?, Floor::AtMost(floor));
    }
    report.measures.push(Measure::once("this process's memory at the end", "MB", resident_mb()?));
    ensure!(log.shutdown(), "the click log does not stop");
    Ok(())
}

/// Segments and side files.
fn sealed_paths(dir: &Path, log: &ClickLog) -> Vec<PathBuf> {
    let sides =
        std::fs::read_dir(dir.join("prints")).into_iter().flatten().flatten().map(|entry| entry.path());
    log.segments().iter().map(|segment| dir.join(&segment.file)).chain(sides).collect()
}

fn resident_mb() -> anyhow::Result<f64> {
    let status = std::fs::read_to_string("/proc/self/status").context("read /proc/self/status")?;
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("VmRSS:"))
        .context("no VmRSS in /proc/self/status")?;
    let kib: f64 = line.trim().trim_end_matches("kB").trim().parse().context("VmRSS is no number")?;
    Ok(kib * 1_024.0 / 1e6)
}
