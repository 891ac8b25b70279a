//! `bench events`: how fast events are taken, decided and told, and how soon a partner hears of one.
//!
//! Every event is an install with a device id; a share of them names a click that was recorded before, and each of
//! those plans a postback to a sink in this process. Taking, deciding and telling go on at the same time, as they
//! do in life; what is left to tell when all is decided is then timed by itself.

use std::fmt::Write as _;
use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use tokio::task::JoinSet;

use super::disk::{self, Syncs};
use super::http::{self, Connection};
use super::report::{Floor, Measure, Report, percentile};
use super::server::{Counts, Server};
use super::sink::Sink;
use super::world::Random;
use super::{Shared, machine, progress, world};
use crate::terminal;

/// Partners, and so rules, endpoints and sinks.
const PARTNERS: usize = 4;
/// Batches are large; a few connections with one each keep the server busy.
const BATCH_CONNECTIONS: usize = 8;
/// How often the server is asked how far it is.
const LOOK: Duration = Duration::from_millis(50);
/// How long it may make no progress at all before a run gives up.
const STUCK: Duration = Duration::from_secs(30);
/// The pause between two events on the idle system: what one leaves to do is done by then.
const IDLE: Duration = Duration::from_millis(25);
/// Events on the idle system that are not counted: they open the connections.
const IDLE_WARM_UP: u64 = 10;
/// Fewer deliveries than this are told too fast to time.
const TOLD_MIN: f64 = 500.0;

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Events of each round.
    #[arg(long, value_name = "N", default_value_t = 20_000, value_parser = clap::value_parser!(u64).range(1_000..=2_000_000))]
    events: u64,
    /// Rounds of each; the median is reported.
    #[arg(long, value_name = "N", default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..=50))]
    rounds: u32,
    /// Connections that send single events.
    #[arg(long, value_name = "N", default_value_t = 64, value_parser = clap::value_parser!(u16).range(1..=4_000))]
    connections: u16,
    /// How many of a hundred events name a click.
    #[arg(long, value_name = "PERCENT", default_value_t = 50, value_parser = clap::value_parser!(u8).range(0..=100))]
    attributed: u8,
    /// Events sent one at a time to the idle system.
    #[arg(long, value_name = "N", default_value_t = 300, value_parser = clap::value_parser!(u64).range(20..=100_000))]
    idle: u64,
    #[command(flatten)]
    shared: Shared,
}

/// What one round came to.
#[derive(Debug, Clone, Copy, Default)]
struct Round {
    accepted_per_s: f64,
    decided_per_s: f64,
    /// Deliveries per second from the first event to the last settlement.
    told_per_s: f64,
    /// Deliveries per second once nothing was left to decide; `None` when hardly any were left.
    told_alone_per_s: Option<f64>,
    cpu_us: Option<f64>,
}

struct Bench {
    args: Args,
    server: Server,
    token: String,
    sink: Sink,
    random: Random,
    /// Events made so far; their ids count up.
    made: u64,
    report: Report,
}

pub(super) async fn run(args: Args) -> anyhow::Result<()> {
    let dir = args.shared.directory()?;
    let syncs = Syncs::probe(dir.path())?;
    let sink = Sink::start(PARTNERS).await?;
    let server =
        Server::start(dir.path(), &["--allow-private=127.0.0.0/8", "--allow-plain-http-out"]).await?;
    let keys = server.apply(&world::document(PARTNERS, &sink.addresses)).await?;
    let token = keys.into_iter().find(|(slug, _)| slug == world::KEY).map(|(_, token)| token);
    let token = token.context("make a key for the events")?;
    let report = Report { bench: "events", ..Report::default() };
    let mut bench = Bench { args, server, token, sink, random: Random::new(11), made: 0, report };
    bench.idle(&syncs).await?;
    for (name, batch) in [("single events", 1), ("batches of 100", 100), ("batches of 1,000", 1_000)] {
        bench.phase(name, batch).await?;
    }
    bench.finish(syncs, dir.path()).await
}

impl Bench {
    /// One event at a time on a system that has nothing else to do.
    async fn idle(&mut self, syncs: &Syncs) -> anyhow::Result<()> {
        let clicks = self.clicks(self.args.idle + IDLE_WARM_UP).await?;
        let mut connection = Connection::open(self.server.public).await?;
        self.sink.watch();
        let (mut from_accepted, mut from_sent) = (Vec::new(), Vec::new());
        for (i, click) in (0..).zip(&clicks) {
            let event = world::install(&mut self.random, self.made, Some(click));
            self.made += 1;
            let request = http::post("/v1/events", &self.token, &event);
            let sent = Instant::now();
            check_taken(connection.exchange(&request).await?)?;
            let accepted = Instant::now();
            let arrival =
                tokio::time::timeout(STUCK, self.sink.arrival()).await.context("wait for a postback")?;
            let arrival = arrival.context("wait for a postback")?;
            if i >= IDLE_WARM_UP {
                // It may leave before the answer to the event was read; then it took no time at all.
                from_accepted.push(arrival.saturating_duration_since(accepted).as_secs_f64() * 1_000.0);
                from_sent.push(arrival.saturating_duration_since(sent).as_secs_f64() * 1_000.0);
            }
            tokio::time::sleep(IDLE).await;
        }
        from_accepted.sort_by(f64::total_cmp);
        from_sent.sort_by(f64::total_cmp);
        let sync = syncs.ms(0.5).max(f64::MIN_POSITIVE);
        self.report.measures.extend([
            Measure::once(
                "idle: event accepted to first postback byte, p50",
                "ms",
                percentile(&from_accepted, 0.5),
            ),
            Measure::once(
                "idle: event accepted to first postback byte, p99",
                "ms",
                percentile(&from_accepted, 0.99),
            )
            .held_against(Floor::AtMost(50.0)),
            Measure::once("idle: the same p50 in fdatasyncs", "", percentile(&from_accepted, 0.5) / sync),
            Measure::once("idle: event sent to first postback byte, p50", "ms", percentile(&from_sent, 0.5)),
            Measure::once("idle: event sent to first postback byte, p99", "ms", percentile(&from_sent, 0.99)),
        ]);
        progress(&format!(
            "idle: first postback byte {:.2} ms after the event",
            percentile(&from_accepted, 0.5)
        ));
        Ok(())
    }

    /// All rounds of one way to send.
    async fn phase(&mut self, name: &str, batch: usize) -> anyhow::Result<()> {
        let mut rounds = Vec::new();
        for number in 1..=self.args.rounds {
            let round = self.round(batch).await?;
            progress(&format!(
                "{name}, round {number}: accepted {:.0}/s, decided {:.0}/s, told {:.0}/s",
                round.accepted_per_s, round.decided_per_s, round.told_per_s
            ));
            rounds.push(round);
        }
        let of = |f: fn(&Round) -> Option<f64>| -> Vec<f64> { rounds.iter().filter_map(f).collect() };
        let measure = |what: &str, unit, values| Measure::of_rounds(format!("{name}: {what}"), unit, values);
        let measures = [
            measure("accepted", "/s", of(|r| Some(r.accepted_per_s))),
            measure("accepted, attributed and planned", "/s", of(|r| Some(r.decided_per_s)))
                .held_against(Floor::AtLeast(5_000.0)),
            measure(
                "deliveries settled, all together",
                "/s",
                of(|r| Some(r.told_per_s).filter(|n| *n > 0.0)),
            ),
            measure("deliveries settled, the rest by itself", "/s", of(|r| r.told_alone_per_s))
                .held_against(Floor::AtLeast(8_000.0)),
            measure("CPU per event, told and all", "µs", of(|r| r.cpu_us)),
        ];
        self.report.measures.extend(measures.into_iter().filter(|measure| !measure.rounds.is_empty()));
        Ok(())
    }

    async fn round(&mut self, batch: usize) -> anyhow::Result<Round> {
        let events = self.args.events;
        let clicks = self.clicks(events * u64::from(self.args.attributed) / 100).await?;
        let loads = self.loads(&clicks, batch);
        let before = self.server.counts().await?;
        let cpu_before = self.server.process.cpu();
        let began = Instant::now();
        let mut tasks = JoinSet::new();
        for load in loads {
            let mut connection = Connection::open(self.server.public).await?;
            tasks.spawn(async move {
                for request in load {
                    check_taken(connection.exchange(&request).await?)?;
                }
                anyhow::Ok(())
            });
        }
        while let Some(done) = tasks.join_next().await {
            done.context("send events")??;
        }
        let accepted_s = began.elapsed().as_secs_f64();
        #[expect(clippy::cast_precision_loss, reason = "at most two million")]
        let events = events as f64;
        let decided = self.until(&before, "decisions_total", events).await?;
        let decided_s = began.elapsed().as_secs_f64();
        let planned = decided.get("deliveries_planned_total")? - before.get("deliveries_planned_total")?;
        let told = decided.get("deliveries_delivered_total")? - before.get("deliveries_delivered_total")?;
        let settled = self.until(&before, "deliveries_delivered_total", planned).await?;
        let settled_s = began.elapsed().as_secs_f64();
        let dead = settled.get("deliveries_dead_total")? - before.get("deliveries_dead_total")?;
        ensure!(dead == 0.0, "measure a round: {dead} deliveries were given up");
        let used =
            self.server.process.cpu().zip(cpu_before).map(|(after, before)| after.saturating_sub(before));
        let rest = planned - told;
        Ok(Round {
            accepted_per_s: events / accepted_s,
            decided_per_s: events / decided_s,
            told_per_s: planned / settled_s,
            told_alone_per_s: (rest >= TOLD_MIN).then(|| rest / (settled_s - decided_s)),
            cpu_us: used.map(|used| used.as_secs_f64() * 1e6 / events),
        })
    }

    /// Waits until a count has grown by that much.
    async fn until(&self, before: &Counts, name: &str, by: f64) -> anyhow::Result<Counts> {
        let start = before.get(name)?;
        let (mut seen, mut moved) = (0.0, Instant::now());
        loop {
            let counts = self.server.counts().await?;
            let grown = counts.get(name)? - start;
            if grown >= by {
                return Ok(counts);
            }
            if grown > seen {
                (seen, moved) = (grown, Instant::now());
            }
            ensure!(
                moved.elapsed() < STUCK,
                "wait for {name}: it stands at {grown} of {by} since {} s",
                STUCK.as_secs()
            );
            tokio::time::sleep(LOOK).await;
        }
    }

    /// The requests of one round, rendered before it begins, by connection.
    fn loads(&mut self, clicks: &[String], batch: usize) -> Vec<Vec<Vec<u8>>> {
        let connections = if batch == 1 { usize::from(self.args.connections) } else { BATCH_CONNECTIONS };
        let mut loads: Vec<Vec<Vec<u8>>> = vec![Vec::new(); connections];
        let mut clicks = clicks.iter();
        let mut left = self.args.events;
        let mut at = 0;
        let share = u64::from(self.args.attributed);
        while left > 0 {
            let n = left.min(batch as u64);
            let mut body = String::from(if batch == 1 { "" } else { "{\"events\":[" });
            for i in 0..n {
                // Spread evenly: of any hundred events in a row, as many name a click as the share says.
                let number = self.made;
                self.made += 1;
                let is_attributed = (number + 1) * share / 100 > number * share / 100;
                let click = if is_attributed { clicks.next() } else { None };
                let event = world::install(&mut self.random, number, click.map(String::as_str));
                let _ = write!(body, "{}{event}", if i == 0 { "" } else { "," });
            }
            if batch > 1 {
                body.push_str("]}");
            }
            loads[at % connections].push(http::post("/v1/events", &self.token, &body));
            at += 1;
            left -= n;
        }
        loads
    }

    /// Records this many clicks and returns their ids.
    async fn clicks(&mut self, n: u64) -> anyhow::Result<Vec<String>> {
        let mut tasks = JoinSet::new();
        let tellers = 64;
        for teller in 0..tellers {
            let share = n / tellers + u64::from(teller < n % tellers);
            let mut random = Random::new(self.random.bits());
            let public = self.server.public;
            tasks.spawn(async move {
                let mut ids = Vec::new();
                let mut connection = Connection::open(public).await?;
                for i in 0..share {
                    #[expect(clippy::cast_possible_truncation, reason = "a remainder of a few partners")]
                    let partner = ((teller + i) % PARTNERS as u64) as usize;
                    let request = http::get(&world::told_click(&mut random, partner));
                    let answer = connection.exchange(&request).await?;
                    let told: serde_json::Value = serde_json::from_slice(answer.body).unwrap_or_default();
                    let id = told["click_id"].as_str();
                    ids.push(id.with_context(|| format!("record a click: {}", answer.head))?.to_owned());
                }
                anyhow::Ok(ids)
            });
        }
        let mut ids = Vec::new();
        while let Some(done) = tasks.join_next().await {
            ids.extend(done.context("record clicks")??);
        }
        Ok(ids)
    }

    async fn finish(self, syncs: Syncs, dir: &std::path::Path) -> anyhow::Result<()> {
        let Self { args, server, sink, mut report, .. } = self;
        let counts = server.counts().await?;
        let delivered = counts.get("deliveries_delivered_total")?;
        #[expect(clippy::cast_precision_loss, reason = "far below 2^53")]
        let taken = sink.taken() as f64;
        server.stop().await?;
        let syncs = Syncs::probe(dir)?.and(&syncs);
        report.measures.extend([
            Measure::once("events in all", "", counts.get("decisions_total")?),
            Measure::once("deliveries in all", "", delivered),
            Measure::once("deliveries that reached nobody", "", (delivered - taken).max(0.0))
                .held_against(Floor::AtMost(0.0)),
            Measure::once("postbacks that arrived more than once", "", (taken - delivered).max(0.0)),
            Measure::once(
                "due deliveries that only a sweep found",
                "",
                counts.get("deliveries_swept_total")?,
            ),
            Measure::once("server's memory at the end", "MB", counts.get("resident_memory_bytes")? / 1e6),
            Measure::once("fdatasync of 16 KiB, p50", "ms", syncs.ms(0.5)),
            Measure::once("fdatasync of 16 KiB, p99", "ms", syncs.ms(0.99)),
        ]);
        let system = disk::file_system(dir);
        if disk::is_memory(&system) {
            report.notes.push(format!("{system} is memory: nothing here was durable; --dir names a disk"));
        }
        report.about = vec![
            ("machine", machine()),
            ("file system", system),
            (
                "load",
                format!(
                    "{} rounds of {} installs each, {} % with a click; single events over {} connections, batches over \
                     {BATCH_CONNECTIONS}; generator and sink on the same machine",
                    args.rounds, args.events, args.attributed, args.connections
                ),
            ),
        ];
        terminal::line(&if args.shared.json { report.json_lines() } else { report.table() })?;
        Ok(())
    }
}

/// 202 is the answer when all was taken; a batch with anything rejected answers 207.
fn check_taken(answer: http::Answer<'_>) -> anyhow::Result<()> {
    let said = || String::from_utf8_lossy(&answer.body[..answer.body.len().min(400)]).into_owned();
    ensure!(answer.status == 202, "send an event: the server answered {}: {}", answer.status, said());
    Ok(())
}
