//! `bench clicks`: durable redirects and nginx's, in turns, so that whatever else the machine does hits both.
//!
//! Closed loop tells how much passes, open loop at half of it how long a visitor waits: a generator that waits
//! for answers also waits with its next question, and so never sees the queue that real visitors make.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context as _, ensure};

use super::disk::{self, Syncs};
use super::http::{self, Connection};
use super::nginx::Nginx;
use super::oha::{self, Open};
use super::process::Process;
use super::report::{Floor, Measure, Report, median, percentile};
use super::server::Server;
use super::wrk::{Closed, Wrk};
use super::{NGINX, OHA, Shared, WRK, find_tools, machine, progress, world};
use crate::terminal;

/// Partners, and so links, that the clicks go through.
const PARTNERS: usize = 8;
/// URLs for the open loop: as many different partner click ids.
const URLS: usize = 20_000;
/// Seconds of load before the first round: caches, connections, the first slice.
const WARM_UP_S: u64 = 2;

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Seconds of each round of load.
    #[arg(long, value_name = "N", default_value_t = 8, value_parser = clap::value_parser!(u64).range(1..=600))]
    seconds: u64,
    /// Rounds of each; the median is reported.
    #[arg(long, value_name = "N", default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..=50))]
    rounds: u32,
    /// Connections that are kept open at once; several numbers are measured one after the other.
    #[arg(long, value_name = "N,…", value_delimiter = ',', default_values_t = [64, 256], value_parser = clap::value_parser!(u32).range(1..=4_000))]
    connections: Vec<u32>,
    #[command(flatten)]
    shared: Shared,
}

/// The floors by connections: the share of nginx's redirects.
fn share_floor(connections: u32) -> Floor {
    match connections {
        64 => Floor::AtLeast(0.50),
        256 => Floor::AtLeast(0.65),
        _ => Floor::None,
    }
}

/// Everything that a run keeps at hand.
struct Bench {
    args: Args,
    oha: PathBuf,
    wrk: Wrk,
    nginx: Nginx,
    server: Server,
    dir: tempfile::TempDir,
    urls: [PathBuf; 2],
    user_agent: String,
    report: Report,
    /// Redirects of ours that the generators saw.
    answers: u64,
}

pub(super) async fn run(args: Args) -> anyhow::Result<()> {
    let [nginx, wrk, oha] = find_tools([NGINX, WRK, OHA])?;
    let dir = args.shared.directory()?;
    let syncs = Syncs::probe(dir.path())?;
    let nginx = Nginx::start(&nginx, dir.path()).await?;
    let server = Server::start(dir.path(), &[]).await?;
    server.apply(&world::document(PARTNERS, &[])).await?;
    let wrk = Wrk::new(wrk, &world::requests(PARTNERS), dir.path())?;
    let mut urls = Vec::new();
    for (name, target, seed) in [("nginx", nginx.address, 2), ("roundtrip", server.public, 3)] {
        let file = dir.path().join(format!("{name}.urls"));
        std::fs::write(&file, world::urls(target, PARTNERS, URLS, seed)).context("write the URLs")?;
        urls.push(file);
    }
    let [first, second] = <[PathBuf; 2]>::try_from(urls).unwrap_or_default();
    let user_agent = world::user_agents().swap_remove(0);
    let report = Report { bench: "clicks", ..Report::default() };
    let mut bench =
        Bench { args, oha, wrk, nginx, server, dir, urls: [first, second], user_agent, report, answers: 0 };
    bench.check_answers().await?;
    bench.measure().await?;
    bench.finish(syncs).await
}

impl Bench {
    /// Both sides redirect, or nothing that follows means anything.
    async fn check_answers(&mut self) -> anyhow::Result<()> {
        let request = http::get(&format!("/c/{}?click_id=check&sub1=a", world::link(0)));
        for (name, address) in [("nginx", self.nginx.address), ("the server", self.server.public)] {
            let mut connection = Connection::open(address).await?;
            let answer = connection.exchange(&request).await?;
            let head = answer.head.to_ascii_lowercase();
            ensure!(
                answer.status == 302 && head.contains("\r\nlocation: http") && !head.contains("unstored"),
                "get a redirect from {name}: it answered\n{}",
                answer.head
            );
        }
        self.answers += 1;
        Ok(())
    }

    async fn measure(&mut self) -> anyhow::Result<()> {
        progress("warming up");
        self.wrk.run(self.nginx.address, 64, WARM_UP_S).await?;
        self.answers += self.wrk.run(self.server.public, 64, WARM_UP_S).await?.requests;
        for connections in self.args.connections.clone() {
            let rate = self.closed(connections).await?;
            self.open(connections, rate / 2.0).await?;
        }
        Ok(())
    }

    /// Closed loop, ABAB; returns our redirects per second.
    async fn closed(&mut self, connections: u32) -> anyhow::Result<f64> {
        let (mut nginx, mut ours, mut share) = (Vec::new(), Vec::new(), Vec::new());
        let (mut nginx_cpu, mut our_cpu, mut rows, mut p99) =
            (Vec::new(), Vec::new(), Vec::new(), Vec::new());
        for round in 1..=self.args.rounds {
            let (theirs, cpu) =
                loaded(&self.wrk, &self.nginx.process, self.nginx.address, connections, self.args.seconds)
                    .await?;
            nginx_cpu.extend(cpu);
            let before = self.server.counts().await?;
            let (our, cpu) =
                loaded(&self.wrk, &self.server.process, self.server.public, connections, self.args.seconds)
                    .await?;
            our_cpu.extend(cpu);
            let after = self.server.counts().await?;
            self.answers += our.requests;
            let grown = |name| anyhow::Ok(after.get(name)? - before.get(name)?);
            rows.push(grown("clicks_stored_total")? / grown("click_log_commits_total")?.max(1.0));
            nginx.push(theirs.per_second());
            ours.push(our.per_second());
            share.push(our.per_second() / theirs.per_second().max(1.0));
            p99.push(our.p99_us / 1_000.0);
            progress(&format!(
                "{connections} connections, round {round}: nginx {:.0}/s, durable redirects {:.0}/s",
                theirs.per_second(),
                our.per_second()
            ));
        }
        let rate = median(&ours);
        let at = |what: &str| format!("{what}, {connections} connections");
        let measures = [
            Measure::of_rounds(at("nginx return 302"), "/s", nginx),
            Measure::of_rounds(at("durable redirect"), "/s", ours),
            Measure::of_rounds(at("share of nginx"), "", share).held_against(share_floor(connections)),
            Measure::of_rounds(at("p99, closed loop"), "ms", p99),
            Measure::of_rounds(at("clicks per commit"), "", rows),
            Measure::of_rounds(at("CPU per click"), "µs", our_cpu).held_against(Floor::AtMost(24.0)),
            Measure::of_rounds(at("CPU per nginx redirect"), "µs", nginx_cpu),
        ];
        // A system that does not tell CPU time leaves those two empty.
        self.report.measures.extend(measures.into_iter().filter(|measure| !measure.rounds.is_empty()));
        Ok(rate)
    }

    /// Open loop at a fixed rate; nginx too, so that the generator's own share can be seen.
    async fn open(&mut self, connections: u32, rate: f64) -> anyhow::Result<()> {
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "a rate is small and positive"
        )]
        let rate = rate.max(1.0) as u64;
        let mut rounds: [Vec<Open>; 2] = Default::default();
        let mut disk_alone = Vec::new();
        for round in 1..=self.args.rounds {
            let (dir, time) = (self.dir.path().to_owned(), Duration::from_secs(self.args.seconds));
            let waits = tokio::task::spawn_blocking(move || disk::waits(&dir, time)).await??;
            disk_alone.push(percentile(&waits, 0.99));
            for (urls, into) in self.urls.iter().zip(&mut rounds) {
                let seconds = self.args.seconds;
                let open =
                    oha::run(&self.oha, urls, &self.user_agent, connections, rate, seconds, self.dir.path());
                into.push(open.await?);
            }
            let [theirs, ours] =
                rounds.each_ref().map(|rounds| rounds.last().map_or(0.0, |open| open.p99_ms));
            progress(&format!(
                "{connections} connections, {rate}/s, round {round}: p99 nginx {theirs:.2} ms, durable redirects {ours:.2} ms, \
                 the disk by itself {:.2} ms",
                disk_alone.last().copied().unwrap_or_default()
            ));
        }
        let [theirs, ours] = &rounds;
        self.answers += ours.iter().map(|open| open.answers).sum::<u64>();
        let at = |what: &str| format!("{what}, open loop, {connections} connections");
        let of = |rounds: &[Open], f: fn(&Open) -> f64| -> Vec<f64> { rounds.iter().map(f).collect() };
        self.report.measures.extend([
            Measure::of_rounds(at("rate reached"), "/s", of(ours, |open| open.per_second)),
            Measure::of_rounds(at("p50"), "ms", of(ours, |open| open.p50_ms)),
            Measure::of_rounds(at("p99"), "ms", of(ours, |open| open.p99_ms))
                .held_against(Floor::AtMost(10.0)),
            Measure::of_rounds(at("p99.9"), "ms", of(ours, |open| open.p999_ms)),
            Measure::of_rounds(at("nginx p99"), "ms", of(theirs, |open| open.p99_ms)),
            Measure::of_rounds(
                format!("p99 of the disk by itself, {connections} connections"),
                "ms",
                disk_alone,
            ),
        ]);
        let failed: u64 = rounds.iter().flatten().map(|open| open.failed).sum();
        if failed > 0 {
            self.report.notes.push(format!("{failed} requests of the open loop were not answered with 302"));
        }
        let reached = median(&of(ours, |open| open.per_second));
        #[expect(clippy::cast_precision_loss, reason = "a rate is far below 2^53")]
        if reached < rate as f64 * 0.98 {
            self.report.notes.push(format!(
                "the open loop reached {reached:.0}/s of {rate}/s: its times are no open loop's"
            ));
        }
        Ok(())
    }

    async fn finish(self, syncs: Syncs) -> anyhow::Result<()> {
        let Self { args, server, dir, mut report, answers, .. } = self;
        let counts = server.counts().await?;
        let (stored, unstored) = (counts.get("clicks_stored_total")?, counts.get("clicks_unstored_total")?);
        let memory = counts.get("resident_memory_bytes")?;
        let files = server.stop().await?;
        let syncs = Syncs::probe(dir.path())?.and(&syncs);
        #[expect(clippy::cast_precision_loss, reason = "clicks and bytes of a run are far below 2^53")]
        let (answers, log, side) = (answers as f64, (files.closed + files.active) as f64, files.side as f64);
        report.measures.extend([
            Measure::once("clicks stored", "", stored),
            Measure::once("redirects that said unstored", "", unstored).held_against(Floor::AtMost(0.0)),
            Measure::once("redirects answered and nowhere", "", (answers - stored - unstored).max(0.0))
                .held_against(Floor::AtMost(0.0)),
            Measure::once("click log on the disk, per click", "B", log / stored.max(1.0))
                .held_against(Floor::Waits("90 B is for Parquet segments")),
            Measure::once("side files, per click", "B", side / stored.max(1.0))
                .held_against(Floor::Waits("40 B is for the side files of segments")),
            Measure::once("server's memory at the end", "MB", memory / 1e6),
            Measure::once("fdatasync of 16 KiB, p50", "ms", syncs.ms(0.5)),
            Measure::once("fdatasync of 16 KiB, p99", "ms", syncs.ms(0.99)),
        ]);
        let system = disk::file_system(dir.path());
        if disk::is_memory(&system) {
            report.notes.push(format!("{system} is memory: nothing here was durable; --dir names a disk"));
        }
        report.about = vec![
            ("machine", machine()),
            ("file system", system),
            (
                "load",
                format!("{} rounds of {} s each, wrk and oha on the same machine", args.rounds, args.seconds),
            ),
        ];
        terminal::line(&if args.shared.json { report.json_lines() } else { report.table() })?;
        Ok(())
    }
}

/// One round of load, and the CPU time in microseconds that each answer took on the other side.
async fn loaded(
    wrk: &Wrk,
    process: &Process,
    target: std::net::SocketAddr,
    connections: u32,
    seconds: u64,
) -> anyhow::Result<(Closed, Option<f64>)> {
    let before = process.cpu();
    let closed = wrk.run(target, connections, seconds).await?;
    let used: Option<Duration> =
        process.cpu().zip(before).map(|(after, before)| after.saturating_sub(before));
    ensure!(closed.requests > 0, "measure a round: nothing was answered");
    ensure!(
        closed.refused == 0 && closed.broken == 0,
        "measure a round: {} answers were errors and {} connections broke",
        closed.refused,
        closed.broken
    );
    #[expect(clippy::cast_precision_loss, reason = "a round has far fewer than 2^53 answers")]
    let each = used.map(|used| used.as_secs_f64() * 1e6 / closed.requests as f64);
    Ok((closed, each))
}
