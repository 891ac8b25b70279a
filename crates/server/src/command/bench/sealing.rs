//! `bench sealing`: what visitors feel of sealing and merging.
//!
//! The clicks of a past day are made first: half of them in closed slices, half in small segments.
//! Then a server is started on them, again and again, in turns: one that leaves them as they are, and one that seals
//! and merges them while redirects come at a fixed rate. Both have the same files, by hard links, because sealing
//! writes new files and deletes old ones and changes none.
//!
//! Not relied on: that the work lasts as long as the load. How much was done by its end, and what is left, is told.

use std::fs;
use std::path::Path;

use anyhow::{Context as _, ensure};
use roundtrip_ambient::Clock;

use super::past::Past;
use super::report::{Floor, Measure, Report, median};
use super::server::Server;
use super::{OHA, Shared, disk, find_tools, machine, oha, progress, world};
use crate::terminal;

/// Partners, and so links, that the redirects go through.
const PARTNERS: usize = 8;
/// URLs for the open loop: as many different partner click ids.
const URLS: usize = 20_000;
/// Connections that are kept open at once.
const CONNECTIONS: u32 = 64;
/// Seconds of load before a round is measured: caches, connections, the first slice.
const WARM_UP_S: u64 = 2;
const HOUR_MS: i64 = 3_600_000;
/// Hours of the day that is sealed.
const HOURS: u64 = 24;

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// How many clicks there are, half of them to be sealed and half to be merged.
    #[arg(long, value_name = "N", default_value_t = 2_400_000, value_parser = clap::value_parser!(u64).range(24_000..))]
    clicks: u64,
    /// Redirects per second; several numbers are measured one after the other.
    #[arg(long, value_name = "N,…", value_delimiter = ',', default_values_t = [1_000, 10_000], value_parser = clap::value_parser!(u64).range(1..=200_000))]
    rates: Vec<u64>,
    /// Seconds of each round of load.
    #[arg(long, value_name = "N", default_value_t = 15, value_parser = clap::value_parser!(u64).range(1..=600))]
    seconds: u64,
    /// Rounds of each; the median is reported.
    #[arg(long, value_name = "N", default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..=50))]
    rounds: u32,
    #[command(flatten)]
    shared: Shared,
}

/// What one round saw.
struct Round {
    p50_ms: f64,
    p99_ms: f64,
    p999_ms: f64,
    /// Clicks that became sealed.
    sealed: f64,
    /// Slices that were left to be sealed when the load began, and when it ended.
    left: [f64; 2],
    unstored: f64,
}

pub(super) async fn run(args: Args) -> anyhow::Result<()> {
    let [oha] = find_tools([OHA])?;
    let tmp = args.shared.directory()?;
    made(&args, &tmp.path().join("made")).await?;
    let mut report = Report { bench: "sealing", ..Report::default() };
    for rate in args.rates.clone() {
        let (mut still, mut sealing) = (Vec::new(), Vec::new());
        for round in 1..=args.rounds {
            still.push(one(&args, &oha, tmp.path(), rate, &["--click-seal-after=30d"]).await?);
            sealing.push(one(&args, &oha, tmp.path(), rate, &[]).await?);
            let p99 = |rounds: &[Round]| rounds.last().map_or(0.0, |round| round.p99_ms);
            progress(&format!(
                "{rate}/s, round {round}: p99 {:.2} ms, with sealing {:.2} ms",
                p99(&still),
                p99(&sealing)
            ));
        }
        ensure!(still.iter().all(|round| round.sealed == 0.0), "nothing is sealed where nothing should be");
        let idle = sealing.iter().filter(|round| round.sealed == 0.0).count();
        if idle > 0 {
            let note =
                format!("{rate}/s: nothing was sealed in {idle} rounds; --clicks has more to be sealed");
            report.notes.push(note);
        }
        let of = |rounds: &[Round], f: fn(&Round) -> f64| -> Vec<f64> { rounds.iter().map(f).collect() };
        let at = |what: &str| format!("{what}, {rate}/s");
        let ratio = median(&of(&sealing, |r| r.p99_ms)) / median(&of(&still, |r| r.p99_ms));
        report.measures.extend([
            Measure::of_rounds(at("p50"), "ms", of(&still, |r| r.p50_ms)),
            Measure::of_rounds(at("p50, sealing"), "ms", of(&sealing, |r| r.p50_ms)),
            Measure::of_rounds(at("p99"), "ms", of(&still, |r| r.p99_ms)),
            Measure::of_rounds(at("p99, sealing"), "ms", of(&sealing, |r| r.p99_ms)),
            Measure::once(at("p99, sealing over not"), "×", ratio).held_against(Floor::AtMost(1.25)),
            Measure::of_rounds(at("p99.9"), "ms", of(&still, |r| r.p999_ms)),
            Measure::of_rounds(at("p99.9, sealing"), "ms", of(&sealing, |r| r.p999_ms)),
            Measure::of_rounds(at("clicks sealed meanwhile"), "", of(&sealing, |r| r.sealed)),
            Measure::of_rounds(at("slices left at the beginning"), "", of(&sealing, |r| r.left[0])),
            Measure::of_rounds(at("slices left at the end"), "", of(&sealing, |r| r.left[1])),
            Measure::of_rounds(at("redirects that said unstored"), "", of(&still, |r| r.unstored)),
            Measure::of_rounds(at("redirects that said unstored, sealing"), "", of(&sealing, |r| r.unstored)),
        ]);
    }
    report.about = vec![
        ("machine", machine()),
        ("file system", disk::file_system(tmp.path())),
        (
            "load",
            format!(
                "{} rounds of {} s each, open loop over {CONNECTIONS} connections, {} clicks of {HOURS} hours to be sealed and merged",
                args.rounds, args.seconds, args.clicks
            ),
        ),
    ];
    terminal::line(&if args.shared.json { report.json_lines() } else { report.table() })?;
    Ok(())
}

/// A day of clicks. Its first half is sealed, in two segments for each hour, which are to be merged; the other half is in
/// closed slices.
async fn made(args: &Args, dir: &Path) -> anyhow::Result<()> {
    let hours = i64::try_from(HOURS)?;
    let start = Clock::System.now().plus_ms(-(hours + 2) * HOUR_MS).floor_to(HOUR_MS);
    let clock = Clock::manual(start);
    let mut past = Past::new(dir, &clock)?;
    for half_hour in 0..HOURS * 2 {
        past.store(args.clicks / HOURS / 2, HOUR_MS / 2, u64::MAX).await?;
        past.close().await?;
        if half_hour < HOURS {
            let log = past.log.clone();
            tokio::task::spawn_blocking(move || log.seal_now().context("seal")).await??;
        }
    }
    progress(&format!("{} clicks of {HOURS} hours", past.stored));
    past.end().await?;
    // Or else the disk is busy with them while it is measured.
    rustix::fs::sync();
    Ok(())
}

/// A server on the clicks that were made, and redirects for a while.
async fn one(args: &Args, oha: &Path, tmp: &Path, rate: u64, settings: &[&str]) -> anyhow::Result<Round> {
    let dir = tempfile::tempdir_in(tmp).context("make a directory")?;
    linked(&tmp.join("made"), &dir.path().join("data"))?;
    let server = Server::start(dir.path(), settings).await?;
    server.apply(&world::document(PARTNERS, &[])).await?;
    let urls = dir.path().join("urls");
    fs::write(&urls, world::urls(server.public, PARTNERS, URLS, 3)).context("write the URLs")?;
    let agent = world::user_agents().swap_remove(0);
    let load = |seconds| oha::run(oha, &urls, &agent, CONNECTIONS, rate, seconds, dir.path());
    load(WARM_UP_S).await?;
    let before = server.counts().await?;
    let open = load(args.seconds).await?;
    let after = server.counts().await?;
    ensure!(open.failed == 0, "{} redirects were none", open.failed);
    let grown = |name| anyhow::Ok(after.get(name)? - before.get(name)?);
    let round = Round {
        p50_ms: open.p50_ms,
        p99_ms: open.p99_ms,
        p999_ms: open.p999_ms,
        sealed: grown("click_log_segment_clicks")?,
        left: [before.get("click_log_unsealed")?, after.get("click_log_unsealed")?],
        unstored: grown("clicks_unstored_total")?,
    };
    server.stop().await?;
    Ok(round)
}

/// The same files under another directory. What is changed in place is copied: databases that are still written to.
fn linked(from: &Path, to: &Path) -> anyhow::Result<()> {
    fs::create_dir_all(to).with_context(|| format!("make {}", to.display()))?;
    for entry in fs::read_dir(from).with_context(|| format!("look into {}", from.display()))? {
        let entry = entry?;
        let (path, name) = (entry.path(), entry.file_name());
        let is_fixed =
            [".closed.sqlite", ".prints", ".parquet"].iter().any(|end| name.to_string_lossy().ends_with(end));
        if entry.file_type()?.is_dir() {
            linked(&path, &to.join(name))?;
        } else if is_fixed {
            fs::hard_link(&path, to.join(name)).with_context(|| format!("link {}", path.display()))?;
        } else {
            fs::copy(&path, to.join(name)).with_context(|| format!("copy {}", path.display()))?;
        }
    }
    Ok(())
}
