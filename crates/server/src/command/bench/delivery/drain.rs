//! Without skew: everything that waits is told, then one at a time on the idle system, then at half of the pace.
//!
//! The rounds take turns with the yardstick, so that whatever else the machine does hits both.

use std::collections::HashMap;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use roundtrip_ambient::Clock;
use roundtrip_store::ledger::Due;

use super::super::http::{self, Connection};
use super::super::report::{Floor, Measure, median, percentile};
use super::bare::{self, Bare};
use super::{Bench, Kind, STUCK, Stage, delivered, in_seconds, memory_mb, progress, until, wall_ms};
use crate::admin_token;

/// Deliveries that are told one at a time.
const IDLE: usize = 200;
/// Of these, the first are not counted: they open the connections.
const IDLE_WARM_UP: usize = 16;
/// Endpoints that are told one at a time, so that their connections stay open.
const IDLE_ENDPOINTS: usize = 8;
/// The pause between two of them: what one leaves to do is done by then.
const IDLE_PAUSE: Duration = Duration::from_millis(25);
/// How long deliveries are told at a pace.
const PACED_S: f64 = 5.0;
/// The step of that pace, in seconds.
const STEP_S: f64 = 0.01;
/// How long after it is ready a server is not measured at a pace.
const SETTLED_MS: f64 = 500.0;
/// When the deliveries that only wait are due: in 30 days.
const FAR_S: f64 = 30.0 * 86_400.0;
/// How long memory is watched with deliveries that only wait: beyond the first sweeps of the queue.
const WATCH: Duration = Duration::from_secs(7);

/// What one round came to.
#[derive(Debug, Clone, Copy)]
struct Round {
    per_s: f64,
    cpu_us: Option<f64>,
    memory_mb: f64,
    connections: (usize, usize),
    more_than_once: f64,
    bare: Bare,
}

impl Bench {
    /// Measures one kind, from an empty directory on.
    pub(super) async fn drain(&mut self, kind: Kind, dir: &Path) -> anyhow::Result<()> {
        let name = kind.name();
        let stage = Stage::new(dir, kind, self.endpoints, self.receivers.port)?;
        stage.plan().await?.close().await;
        let (server, start_s) = stage.serve().await?;
        self.say(Measure::once(format!("{name}: memory, nothing planned"), "MB", memory_mb(&server).await?));
        self.say(Measure::once(format!("{name}: start, nothing planned"), "s", start_s));
        server.stop().await?;
        if self.args.waiting > 0 {
            self.wait_first(name, &stage).await?;
        }
        let (mut rounds, mut planned) = (Vec::new(), Vec::new());
        for number in 1..=self.args.rounds {
            let (round, of_round) = self.round(&stage).await?;
            progress(&format!(
                "{name}, round {number}: {:.0}/s settled, bare loop {:.0}/s over {} connections",
                round.per_s, round.bare.per_s, round.connections.0
            ));
            rounds.push(round);
            planned = of_round;
        }
        self.say_rounds(name, &rounds);
        self.idle(name, &stage, &planned).await?;
        let rate = median(&rounds.iter().map(|round| round.per_s).collect::<Vec<_>>()) / 2.0;
        self.paced(name, &stage, &planned, rate, start_s).await
    }

    /// Puts deliveries into the queue that are due in a month, and says what they cost.
    async fn wait_first(&mut self, name: &str, stage: &Stage) -> anyhow::Result<()> {
        let waiting = self.args.waiting;
        progress(&format!("{name}: planning {waiting} deliveries that wait"));
        let began = Instant::now();
        let mut planner = stage.plan().await?;
        let far = in_seconds(FAR_S);
        let endpoints: Vec<usize> = (0..self.endpoints).collect();
        let first = planner.plan(&endpoints, far).await?;
        // In parts, so that what is under way stays small.
        let mut left = waiting.saturating_sub(first.len() as u64);
        let mut of = first.iter().cycle();
        while left > 0 {
            let part = usize::try_from(left.min(100_000)).unwrap_or(usize::MAX);
            planner.again(of.by_ref().take(part).map(|due| (*due, far)).collect()).await?;
            left -= part as u64;
        }
        planner.close().await;
        progress(&format!("{name}: planned in {:.1} s", began.elapsed().as_secs_f64()));
        let (server, start_s) = stage.serve().await?;
        let at_start = memory_mb(&server).await?;
        tokio::time::sleep(WATCH).await;
        let later = memory_mb(&server).await?;
        server.stop().await?;
        let millions = waiting >= 1_000_000;
        let held = |measure: Measure, floor| if millions { measure.held_against(floor) } else { measure };
        let memory = Measure::once(
            format!("{name}: memory after sweeps, {waiting} waiting"),
            "MB",
            at_start.max(later),
        );
        let start = Measure::once(format!("{name}: start, {waiting} waiting"), "s", start_s);
        self.say(held(memory, Floor::AtMost(200.0)));
        self.say(held(start, Floor::AtMost(2.0)));
        Ok(())
    }

    /// Plans, tells all of it, and sends as much through the yardstick.
    async fn round(&mut self, stage: &Stage) -> anyhow::Result<(Round, Vec<Due>)> {
        let n = self.deliveries;
        let mut planner = stage.plan().await?;
        let turns = (0..self.endpoints).cycle().take(usize::try_from(n).unwrap_or(usize::MAX));
        let planned = planner.plan(&turns.collect::<Vec<_>>(), Clock::System.now()).await?;
        planner.close().await;
        self.receivers.take();
        self.receivers.count_anew();
        let (server, _) = stage.serve().await?;
        let cpu_before = server.process.cpu();
        let counts = delivered(&server, n).await?;
        let ended = Instant::now();
        let cpu = server.process.cpu().zip(cpu_before).map(|(after, before)| after.saturating_sub(before));
        let memory_mb = counts.get("resident_memory_bytes")?;
        let dead = counts.get("deliveries_dead_total")?;
        ensure!(dead == 0.0, "measure a round: {dead} deliveries were given up");
        server.stop().await?;
        let connections = self.receivers.connections();
        let arrivals = self.receivers.take();
        let first = arrivals.iter().map(|arrival| arrival.at).min().context("see a delivery arrive")?;
        ensure!(
            arrivals.len() as u64 >= n,
            "measure a round: of {n} deliveries {} arrived and all count as delivered",
            arrivals.len()
        );
        let samples = self.receivers.samples();
        let bare = tokio::task::spawn_blocking(move || bare::run(&samples, connections.0, n));
        #[expect(clippy::cast_precision_loss, reason = "far below 2^53")]
        let (n, arrived) = (n as f64, arrivals.len() as f64);
        let round = Round {
            per_s: n / ended.duration_since(first).as_secs_f64(),
            cpu_us: cpu.filter(|cpu| !cpu.is_zero()).map(|cpu| cpu.as_secs_f64() * 1e6 / n),
            memory_mb: memory_mb / 1e6,
            connections,
            more_than_once: arrived - n,
            bare: bare.await.context("measure the yardstick")??,
        };
        Ok((round, planned))
    }

    fn say_rounds(&mut self, name: &str, rounds: &[Round]) {
        #[expect(clippy::cast_precision_loss, reason = "a few thousand connections")]
        let count = |n: usize| Some(n as f64);
        let of = |f: &dyn Fn(&Round) -> Option<f64>| -> Vec<f64> { rounds.iter().filter_map(f).collect() };
        let measure = |what: &str, unit, values| Measure::of_rounds(format!("{name}: {what}"), unit, values);
        let measures = [
            measure("delivered and settled durably", "/s", of(&|r| Some(r.per_s)))
                .held_against(Floor::AtLeast(8_000.0)),
            measure("bare hyper client loop", "/s", of(&|r| Some(r.bare.per_s))),
            measure("share of the bare loop", "", of(&|r| Some(r.per_s / r.bare.per_s))),
            measure("CPU per delivery", "µs", of(&|r| r.cpu_us)),
            measure("CPU per request, bare loop", "µs", of(&|r| r.bare.cpu_us)),
            measure("connections open at once, at most", "", of(&|r| count(r.connections.0))),
            measure("connections opened", "", of(&|r| count(r.connections.1))),
            measure("memory after a round", "MB", of(&|r| Some(r.memory_mb))),
            measure("requests that arrived more than once", "", of(&|r| Some(r.more_than_once))),
        ];
        self.report.measures.extend(measures.into_iter().filter(|measure| !measure.rounds.is_empty()));
    }

    /// Replays one delivery at a time through the API; its answer comes when it is planned durably.
    async fn idle(&mut self, name: &str, stage: &Stage, planned: &[Due]) -> anyhow::Result<()> {
        let (server, _) = stage.serve().await?;
        let token = admin_token::read_from(&stage.data())?;
        let mut connection = Connection::open(server.admin).await?;
        self.receivers.take();
        let (mut from_committed, mut from_asked) = (Vec::new(), Vec::new());
        let of_few = planned.iter().enumerate().filter(|(i, _)| i % self.endpoints < IDLE_ENDPOINTS);
        for (number, (_, due)) in of_few.take(IDLE + IDLE_WARM_UP).enumerate() {
            let request = http::post(&format!("/api/v1/deliveries/{}/replay", due.delivery), &token, "{}");
            let asked = Instant::now();
            let answer = connection.exchange(&request).await?;
            let committed = Instant::now();
            ensure!(answer.status == 201, "replay a delivery: the server answered {}", answer.status);
            let arrival = tokio::time::timeout(STUCK, self.receivers.next()).await;
            let arrival = arrival.context("wait for a delivery")?.context("wait for a delivery")?;
            if number >= IDLE_WARM_UP {
                // It may leave before the answer was read; then it took no time at all.
                from_committed.push(arrival.at.saturating_duration_since(committed).as_secs_f64() * 1_000.0);
                from_asked.push(arrival.at.saturating_duration_since(asked).as_secs_f64() * 1_000.0);
            }
            tokio::time::sleep(IDLE_PAUSE).await;
        }
        server.stop().await?;
        from_committed.sort_by(f64::total_cmp);
        from_asked.sort_by(f64::total_cmp);
        if from_asked.is_empty() {
            return Ok(());
        }
        for (what, values) in
            [("idle: planned to first byte", &from_committed), ("idle: asked to first byte", &from_asked)]
        {
            for (quantile, q) in [("p50", 0.5), ("p99", 0.99)] {
                let what = format!("{name}: {what}, {quantile}");
                self.say(Measure::once(what, "ms", percentile(values, q)));
            }
        }
        Ok(())
    }

    /// Deliveries that are due one after the other, at that rate; how late each leaves.
    async fn paced(
        &mut self,
        name: &str,
        stage: &Stage,
        like: &[Due],
        rate: f64,
        start_s: f64,
    ) -> anyhow::Result<()> {
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "a run's deliveries, far below 2^53"
        )]
        let n = ((rate * PACED_S) as usize).min(like.len());
        #[expect(clippy::cast_precision_loss, reason = "a run's deliveries, far below 2^53")]
        let count = n as f64;
        let planner = stage.plan().await?;
        let begin = in_seconds(3.0 + 3.0 * start_s + count / 5_000.0);
        let items = like.iter().take(n).enumerate().map(|(i, due)| {
            #[expect(clippy::cast_precision_loss, reason = "a run's deliveries, far below 2^53")]
            let step = (i as f64 / rate / STEP_S).floor();
            #[expect(clippy::cast_possible_truncation, reason = "seconds")]
            let ms = (step * STEP_S * 1_000.0) as i64;
            (*due, begin.plus_ms(ms))
        });
        let planned = planner.again(items.collect()).await?;
        planner.close().await;
        self.receivers.take();
        let (server, _) = stage.serve().await?;
        let ready_ms = wall_ms(Clock::System.now()) + SETTLED_MS;
        until(begin).await;
        delivered(&server, n as u64).await?;
        server.stop().await?;
        let due: HashMap<_, f64> = planned.iter().map(|due| (due.delivery, wall_ms(due.due))).collect();
        let mut late: Vec<f64> = Vec::new();
        for arrival in self.receivers.take() {
            if let Some(due) = due.get(&arrival.delivery).filter(|due| **due >= ready_ms) {
                late.push((arrival.wall_ms - due).max(0.0));
            }
        }
        ensure!(
            late.len() * 2 >= n,
            "measure at a pace: the machine is so busy that most deliveries were due before the server ran"
        );
        late.sort_by(f64::total_cmp);
        let what = format!("{name}: at {rate:.0}/s: due to first byte");
        self.say(Measure::once(format!("{what}, p50"), "ms", percentile(&late, 0.5)));
        self.say(Measure::once(format!("{what}, p99"), "ms", percentile(&late, 0.99)));
        Ok(())
    }
}
