//! `kill -9` at random moments, again and again on the same directory, and then the question whether anything that was
//! answered is gone, doubled or told to the wrong one.
//!
//! | file | who |
//! | --- | --- |
//! | `world` | what is set up: apps, partners, links, rules, keys |
//! | `visitor` | those who click, install, sign up and buy, and what they saw |
//! | `judge` | compares what they saw with what the server and its files say in the end |
//! | `waiting` | the same with 100,000 deliveries that wait: a test of its own |
//!
//! An answer is a promise; silence is none. So a click or event that was never answered may be there or not, but
//! what is there has to be consistent. Each round ends when a random number of requests were answered, so the kill falls
//! into whatever the server is doing then, on a fast machine and on a slow one.
//!
//! `ROUNDTRIP_CRASH_ROUNDS` (50) and `ROUNDTRIP_CRASH_SEED` (random) are read. The seed repeats what visitors do and
//! after how many answers the server dies, not what the machine's scheduler makes of it. After a failure the data
//! directory is kept.

mod judge;
mod visitor;
mod waiting;
mod world;

use std::process::{Child, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use roundtrip_ambient::Entropy;
use rustix::process::Signal;
use tokio::sync::watch;
use tokio::task::JoinSet;

use self::visitor::{Memory, Street, Visitor};
use crate::house::{Dice, House, Partners, say};
use crate::process::{WAIT, roundtrip, serve_arguments};

/// Visitors at the same time, each with a connection of its own.
const VISITORS: usize = 16;
/// Most answers in one round.
const ANSWERS_MAX: usize = 400;
/// In every so many rounds the slice is old enough to be closed by the next start, which is killed like all others.
const ROUNDS_PER_SLICE: usize = 3;
/// In every so many rounds the server is killed while it starts, too.
const ROUNDS_PER_STILLBIRTH: usize = 6;
/// Rounds at the end in which partners are well, so that nothing waits for a retry long after the last kill.
const ROUNDS_WELL: usize = 5;

fn number(variable: &str) -> Option<u64> {
    let text = std::env::var(variable).ok()?;
    Some(text.trim().parse().unwrap_or_else(|_| panic!("{variable} is a number, not {text}")))
}

#[expect(clippy::print_stderr, reason = "a line per round, shown after a failure or with --nocapture")]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn kill_nine_loses_nothing() {
    let rounds = number("ROUNDTRIP_CRASH_ROUNDS").unwrap_or(50) as usize;
    let seed = number("ROUNDTRIP_CRASH_SEED").unwrap_or_else(|| Entropy::System.u32().into());
    say(&format!("crash test: ROUNDTRIP_CRASH_ROUNDS={rounds} ROUNDTRIP_CRASH_SEED={seed}"));
    let dice = Dice::seeded(seed);
    let partners = Partners::open(seed).await;
    let mut house = House::new(&["--allow-private=127.0.0.0/8", "--allow-plain-http-out"]);
    house.start();
    house.apply(&world::document(&partners.address().to_string())).await;

    let memory = Arc::new(Memory::default());
    let (street, seen) =
        watch::channel(Street { address: Some(house.public()), round: 0, is_closing: false });
    let answers = Arc::new(AtomicU64::new(0));
    let mut visitors = JoinSet::new();
    for who in 0..VISITORS {
        let dice = Dice::seeded(seed.wrapping_mul(1_000_003).wrapping_add(who as u64));
        let visitor =
            Visitor::new(who, dice, seen.clone(), answers.clone(), memory.clone(), house.keys.clone());
        visitors.spawn(visitor.live());
    }
    drop(seen);

    let began = Instant::now();
    for round in 1..=rounds {
        partners.set_unwell(round + ROUNDS_WELL < rounds);
        let goal = answers.load(Ordering::SeqCst) + 1 + dice.below(ANSWERS_MAX) as u64;
        let reached = reach(&answers, goal, &mut visitors).await;
        assert!(reached, "the visitors got stuck in round {round} of seed {seed}");
        let log = house.end(Signal::KILL);
        check_log(&log, round);
        street.send_modify(|street| street.address = None);
        if round % ROUNDS_PER_SLICE == 0 {
            house.age_slices();
        }
        if round % ROUNDS_PER_STILLBIRTH == 0 {
            stillbirth(&house, &dice).await;
        }
        let started = Instant::now();
        tokio::task::block_in_place(|| house.start());
        let ms = started.elapsed().as_millis();
        street.send_modify(|street| {
            street.address = Some(house.public());
            street.round = round;
        });
        if round % 10 == 0 || round == rounds {
            say(&format!(
                "crash test: round {round}/{rounds}, start {ms} ms, {memory}, {:.0} s",
                began.elapsed().as_secs_f32()
            ));
        } else {
            eprintln!(
                "round {round}: killed after {goal} answers, start {ms} ms, {memory}, {:.0} s",
                began.elapsed().as_secs_f32()
            );
        }
    }

    street.send_modify(|street| street.is_closing = true);
    let finish = async {
        while let Some(ended) = visitors.join_next().await {
            ended.unwrap_or_else(|error| std::panic::resume_unwind(error.into_panic()));
        }
    };
    tokio::time::timeout(2 * WAIT, finish).await.expect("the visitors finish what they began");
    house.drained().await;
    let memory = Arc::into_inner(memory).expect("the visitors are gone").into_seen();
    judge::judge(&mut house, &partners, &memory).await;
    let log = house.end(Signal::TERM);
    check_log(&log, rounds + 1);
    judge::judge_files(&house, &memory);
    let closed = house.slice_files(".closed.sqlite").len();
    assert!(
        closed > 0 || rounds < 2 * ROUNDS_PER_SLICE,
        "no slice was ever closed, so nothing was tried of that"
    );
    say(&format!(
        "crash test: {rounds} rounds of seed {seed} lost nothing, {:.0} s",
        began.elapsed().as_secs_f32()
    ));
}

/// Waits until so many requests were answered. Passes on what a visitor found wrong.
async fn reach(answers: &AtomicU64, goal: u64, visitors: &mut JoinSet<()>) -> bool {
    let mut looks = tokio::time::interval(Duration::from_millis(1));
    let count = async {
        while answers.load(Ordering::SeqCst) < goal {
            looks.tick().await;
        }
    };
    tokio::select! {
        reached = tokio::time::timeout(2 * WAIT, count) => reached.is_ok(),
        Some(ended) = visitors.join_next() => match ended {
            Ok(()) => panic!("a visitor went home before the street was closed"),
            Err(error) => std::panic::resume_unwind(error.into_panic()),
        },
    }
}

/// A crash is nothing to be called damage, and no reason to panic.
fn check_log(log: &str, round: usize) {
    for line in log.lines() {
        assert!(!line.contains("\"level\":\"ERROR\"") && !line.contains("panicked"), "round {round}: {line}");
    }
}

/// A server that is killed while it starts.
async fn stillbirth(house: &House, dice: &Dice) {
    struct Killed(Child);
    impl Drop for Killed {
        fn drop(&mut self) {
            let _ = self.0.kill();
            let _ = self.0.wait();
        }
    }
    let mut command = roundtrip();
    command.args(serve_arguments(house.data())).args(house.flags());
    let child = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn();
    let mut child = Killed(child.expect("the binary starts"));
    let mut ticks = tokio::time::interval(Duration::from_millis(2));
    for _ in 0..=dice.below(60) {
        ticks.tick().await;
    }
    let ended = child.0.try_wait().expect("it can be asked for");
    assert!(ended.is_none(), "it ended by itself: {ended:?}");
}
