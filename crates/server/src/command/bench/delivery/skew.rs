//! With skew: what healthy endpoints feel when others hang, are slow, or hold nearly all of the backlog.
//!
//! Healthy endpoints are told at a steady pace of times that are known in advance; measured is how long after its time
//! the first byte of each comes. Three runs: `quiet` has that and nothing else; `busy` has as much backlog as the last
//! one, shared by 1 % of the endpoints, which answer at once and are not looked at; `skewed` has the same backlog at one
//! endpoint, beside endpoints that hang and that are slow, which are told at the same pace. Between `quiet` and `skewed`
//! lies all that ill endpoints can do, and what any work does to a machine of few cores; between `busy` and `skewed` lies
//! the skew alone. No backlog is ever at an endpoint that is measured: what is due there would wait behind its own.

use std::collections::HashMap;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::ensure;
use roundtrip_ambient::Clock;
use roundtrip_store::ledger::Due;

use super::super::report::{Floor, Measure, percentile};
use super::super::world::Random;
use super::receiver::Temper;
use super::{Bench, Kind, Stage, delivered, in_seconds, memory_mb, progress, until, wall_ms};

/// The pace of all endpoints together, per second.
const PACE: f64 = 500.0;
/// The step of that pace, in seconds.
const STEP_S: f64 = 0.02;
/// How long after the backlog is due the first paced delivery is.
const HEAD_S: f64 = 1.0;
/// How long the slow take; endpoints have a timeout of 1 s.
const SLOW: Duration = Duration::from_millis(333);
/// How long after the last one was due a run waits for what is missing.
const GRACE_S: f64 = 30.0;
/// How often a run looks whether anything is missing.
const LOOK: Duration = Duration::from_millis(100);
/// When the originals are due, which are never told: in 30 days.
const FAR_S: f64 = 30.0 * 86_400.0;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum World {
    Quiet,
    Busy,
    Skewed,
}

impl World {
    const fn name(self) -> &'static str {
        match self {
            Self::Quiet => "quiet",
            Self::Busy => "busy",
            Self::Skewed => "skewed",
        }
    }
}

/// Who is who, by the endpoints' numbers.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Roles {
    hangs: std::ops::Range<usize>,
    slow: std::ops::Range<usize>,
    hoards: usize,
    healthy: std::ops::Range<usize>,
}

impl Roles {
    fn of(endpoints: usize) -> Self {
        let share = (endpoints / 100).max(1);
        let hoards = 2 * share;
        Self { hangs: 0..share, slow: share..hoards, hoards, healthy: hoards + 1..endpoints }
    }

    fn tempers(&self) -> Vec<Temper> {
        let mut tempers = vec![Temper::Hangs; self.hangs.len()];
        tempers.extend(vec![Temper::Slow(SLOW); self.slow.len()]);
        tempers
    }
}

/// What one run came to.
#[derive(Debug)]
struct Felt {
    /// From due to the first byte at healthy endpoints, in milliseconds, sorted.
    late: Vec<f64>,
    /// Paced deliveries to healthy endpoints that had not left at the end; `late` has how long they waited.
    missing: usize,
    /// Deliveries of the backlog that had left when the last paced one was due.
    backlog: usize,
    memory_mb: f64,
}

impl Bench {
    /// Measures the three worlds, one after the other; gives a sentence about them.
    pub(super) async fn skew(&mut self, dir: &Path) -> anyhow::Result<String> {
        ensure!(self.endpoints >= 4, "measure skew: it takes at least 4 endpoints, not {}", self.endpoints);
        let kind = self.args.kind.unwrap_or(Kind::Webhook);
        let roles = Roles::of(self.endpoints);
        let paced = usize::try_from(self.deliveries / 10).unwrap_or(usize::MAX);
        let backlog = usize::try_from(self.deliveries).unwrap_or(usize::MAX).saturating_sub(paced);
        let mut said: Vec<(String, &'static str, Vec<f64>)> = Vec::new();
        let (mut to_quiet, mut to_busy) = (Vec::new(), Vec::new());
        for round in 1..=self.args.rounds {
            // What the ill ones of one round still wait for is not told in the next one.
            let dir = dir.join(format!("round-{round}"));
            std::fs::create_dir(&dir)?;
            let stage = Stage::new(&dir, kind, self.endpoints, self.receivers.port)?;
            let p99 = self.skewed_round(round, &stage, &roles, (paced, backlog), &mut said).await?;
            let share = |of: World| p99[World::Skewed.name()] / p99[of.name()].max(f64::MIN_POSITIVE);
            to_quiet.push(share(World::Quiet));
            to_busy.push(share(World::Busy));
            drop(stage);
            std::fs::remove_dir_all(&dir)?;
        }
        let said = said.into_iter().map(|(what, unit, rounds)| Measure::of_rounds(what, unit, rounds));
        self.report.measures.extend(said);
        self.report.measures.extend([
            Measure::of_rounds("p99 of healthy, skewed to quiet", "", to_quiet)
                .held_against(Floor::AtMost(2.0)),
            Measure::of_rounds("p99 of healthy, skewed to busy", "", to_busy),
        ]);
        self.report.notes.push(format!(
            "scaled: timeouts are 1 s (default 10 s for postbacks, 15 s for webhooks) and the slow answer after {} ms",
            SLOW.as_millis()
        ));
        Ok(format!(
            "{} endpoints ({kind:?}): {} hang, {} answer after {} ms, 1 has a backlog of {backlog}; {paced} paced deliveries \
             at {PACE:.0}/s, shared by all",
            self.endpoints,
            roles.hangs.len(),
            roles.slow.len(),
            SLOW.as_millis()
        ))
    }

    /// All three worlds; the p99 of each.
    async fn skewed_round(
        &mut self,
        round: u32,
        stage: &Stage,
        roles: &Roles,
        (paced, backlog): (usize, usize),
        said: &mut Vec<(String, &'static str, Vec<f64>)>,
    ) -> anyhow::Result<HashMap<&'static str, f64>> {
        let began = Instant::now();
        let mut planner = stage.plan().await?;
        let all: Vec<usize> = (0..self.endpoints).collect();
        let originals = planner.plan(&all, in_seconds(FAR_S)).await?;
        planner.close().await;
        progress(&format!("{} endpoints in {:.1} s", self.endpoints, began.elapsed().as_secs_f64()));
        let (server, mut start_s) = stage.serve().await?;
        server.stop().await?;
        let mut p99 = HashMap::new();
        // Planning is quick, but how quick is not known before it was done once.
        let mut plans_per_s = 5_000.0;
        for world in [World::Quiet, World::Busy, World::Skewed] {
            let felt = self
                .live(world, stage, roles, &originals, (paced, backlog), &mut start_s, &mut plans_per_s)
                .await?;
            let name = world.name();
            let p = |q| percentile(&felt.late, q);
            progress(&format!("round {round}, {name}: p50 {:.2} ms, p99 {:.2} ms", p(0.5), p(0.99)));
            p99.insert(name, p(0.99));
            #[expect(clippy::cast_precision_loss, reason = "far below 2^53")]
            let count = |n: usize| n as f64;
            let mut say = |what: &str, unit, value| {
                let what = format!("{name}: {what}");
                match said.iter_mut().find(|(known, ..)| *known == what) {
                    Some((.., rounds)) => rounds.push(value),
                    None => said.push((what, unit, vec![value])),
                }
            };
            say("healthy, due to first byte, p50", "ms", p(0.5));
            say("healthy, due to first byte, p99", "ms", p(0.99));
            say("healthy, due to first byte, most", "ms", p(1.0));
            say("healthy that had not left at the end", "", count(felt.missing));
            if world != World::Quiet {
                say("backlog told while it was measured", "", count(felt.backlog));
            }
            say("memory at the end", "MB", felt.memory_mb);
        }
        Ok(p99)
    }

    /// One run of one world.
    #[expect(clippy::too_many_arguments, reason = "what is learnt from run to run, and what it is made of")]
    async fn live(
        &mut self,
        world: World,
        stage: &Stage,
        roles: &Roles,
        originals: &[Due],
        (paced, backlog): (usize, usize),
        start_s: &mut f64,
        plans_per_s: &mut f64,
    ) -> anyhow::Result<Felt> {
        #[expect(clippy::cast_precision_loss, reason = "far below 2^53")]
        let float = |n: usize| n as f64;
        let of = |endpoint: usize| originals[endpoint];
        let told: Vec<usize> = match world {
            World::Skewed => shuffled(0..self.endpoints),
            World::Quiet | World::Busy => shuffled(roles.healthy.clone()),
        };
        let backlog: Vec<usize> = match world {
            World::Quiet => Vec::new(),
            World::Busy => roles.hangs.clone().cycle().take(backlog).collect(),
            World::Skewed => vec![roles.hoards; backlog],
        };
        let planner = stage.plan().await?;
        let n = paced + backlog.len();
        let begin = in_seconds(2.0 + 3.0 * *start_s + 1.5 * float(n) / *plans_per_s);
        let paced_at = |i: usize| {
            let step = (float(i) / PACE / STEP_S).floor();
            #[expect(clippy::cast_possible_truncation, reason = "minutes")]
            let ms = ((HEAD_S + step * STEP_S) * 1_000.0) as i64;
            begin.plus_ms(ms)
        };
        let mut items: Vec<(Due, _)> =
            told.iter().cycle().take(paced).enumerate().map(|(i, e)| (of(*e), paced_at(i))).collect();
        items.extend(backlog.iter().map(|endpoint| (of(*endpoint), begin)));
        let began = Instant::now();
        let planned = planner.again(items).await?;
        planner.close().await;
        *plans_per_s = float(n) / began.elapsed().as_secs_f64().max(0.001);

        self.receivers.temper(if world == World::Skewed { roles.tempers() } else { Vec::new() });
        self.receivers.take();
        let (server, took) = stage.serve().await?;
        *start_s = took.max(*start_s);
        let ready = Clock::System.now();
        ensure!(
            begin.since(ready) > 0,
            "measure skew: the machine is so busy that deliveries were due {} ms before the server ran",
            -begin.since(ready)
        );
        // Healthy ones by delivery; those of the others load the system and are not looked at.
        let is_healthy = |i: usize| roles.healthy.contains(&told[i % told.len()]);
        let mut missing: HashMap<_, f64> = (0..paced)
            .filter(|i| is_healthy(*i))
            .map(|i| (planned[i].delivery, wall_ms(planned[i].due)))
            .collect();
        let of_backlog: std::collections::HashSet<_> =
            planned[paced..].iter().map(|due| due.delivery).collect();
        let last = paced_at(paced.saturating_sub(1));
        let end = last.plus_ms((GRACE_S * 1_000.0) as i64);
        let mut felt = Felt { late: Vec::new(), missing: 0, backlog: 0, memory_mb: 0.0 };
        until(begin).await;
        loop {
            let now = Clock::System.now();
            for arrival in self.receivers.take() {
                if let Some(due) = missing.remove(&arrival.delivery) {
                    felt.late.push((arrival.wall_ms - due).max(0.0));
                } else if of_backlog.contains(&arrival.delivery) && arrival.wall_ms <= wall_ms(last) {
                    felt.backlog += 1;
                }
            }
            if (missing.is_empty() && now >= last) || now >= end {
                break;
            }
            tokio::time::sleep(LOOK).await;
        }
        felt.missing = missing.len();
        felt.late.extend(missing.values().map(|due| wall_ms(Clock::System.now()) - due));
        felt.late.sort_by(f64::total_cmp);
        felt.memory_mb = memory_mb(&server).await?;
        if world == World::Busy {
            // The next run begins with an empty queue.
            delivered(&server, n as u64).await?;
        }
        server.stop().await?;
        Ok(felt)
    }
}

/// Endpoints in an order that has nothing to do with their numbers, the same in each run.
fn shuffled(endpoints: std::ops::Range<usize>) -> Vec<usize> {
    let mut all: Vec<usize> = endpoints.collect();
    let mut random = Random::new(5);
    for i in (1..all.len()).rev() {
        #[expect(clippy::cast_possible_truncation, reason = "a remainder of a few thousand")]
        let j = (random.bits() % (i as u64 + 1)) as usize;
        all.swap(i, j);
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_world_is_the_one_that_was_asked_for() {
        let roles = Roles::of(10_000);
        assert_eq!((roles.hangs.len(), roles.slow.len(), roles.healthy.len()), (100, 100, 9_799));
        assert_eq!(roles.hoards, 200);
        let tempers = roles.tempers();
        assert_eq!((tempers[99], tempers[100], tempers.get(200)), (Temper::Hangs, Temper::Slow(SLOW), None));
        assert_eq!(Roles::of(4).healthy, 3..4);
        let mut order = shuffled(3..50);
        assert_ne!(order[..5], [3, 4, 5, 6, 7]);
        order.sort_unstable();
        assert_eq!(order, (3..50).collect::<Vec<_>>());
    }
}
