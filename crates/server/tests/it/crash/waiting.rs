//! `kill -9` again and again while 100,000 deliveries wait, and then the question whether each arrived, how many
//! arrived once more, and whether the books know.
//!
//! | file | who |
//! | --- | --- |
//! | `stock` | fills the ledger of a server that never ran: events, decided, and told to a hundred webhooks |
//! | `sink` | the webhooks' receivers: they remember every request, and may be unwell |
//! | `judge` | holds what they heard in each of the server's lives against what lay on the disk after it |
//!
//! Each life ends when a random number of requests arrived, so the kill falls into whatever the server is doing then,
//! on a fast machine and on a slow one. Between two lives the files are read, so that not only the end is judged: what
//! was durable at a kill must never be sent again, and what was not must be.
//!
//! `ROUNDTRIP_CRASH_ROUNDS` (here 8) and `ROUNDTRIP_CRASH_SEED` (random) are read as by the test beside this one. Not
//! relied on: that nothing arrives twice. At least once is the promise; how often it is more is counted and bounded.

mod judge;
mod sink;
mod stock;

use std::path::Path;
use std::time::Instant;

use roundtrip_ambient::Entropy;
use rustix::process::Signal;

use self::judge::Judge;
use self::sink::Sink;
use self::stock::Stock;
use super::{check_log, number, stillbirth};
use crate::house::{Dice, House, say};

/// Kills when nobody says how many.
const ROUNDS: usize = 8;
/// In every so many rounds the server is killed while it starts, too.
const ROUNDS_PER_STILLBIRTH: usize = 3;
/// The waits of every webhook's retries.
const WAITS: usize = 10;
/// Most memory that a server may have had at its peak, in KiB: about twice what it has in a debug build.
const PEAK_KIB_MAX: u64 = 400 * 1_024;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn kill_nine_with_a_hundred_thousand_waiting() {
    kill_again_and_again(Weather::Fair, 1_000).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn kill_nine_with_retries_among_the_waiting() {
    kill_again_and_again(Weather::Foul, 1_000).await;
}

/// How the receivers are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Weather {
    /// They take everything.
    Fair,
    /// In the first half of the rounds they answer a third of the requests with 503.
    Foul,
}

/// Kills a server that has so many events to tell to each of a hundred webhooks.
#[expect(clippy::print_stderr, reason = "a line per life, shown after a failure or with --no-capture")]
async fn kill_again_and_again(weather: Weather, events: usize) {
    let rounds = number("ROUNDTRIP_CRASH_ROUNDS").map_or(ROUNDS, |rounds| rounds as usize);
    let seed = number("ROUNDTRIP_CRASH_SEED").unwrap_or_else(|| Entropy::System.u32().into());
    say(&format!("waiting test, {weather:?}: ROUNDTRIP_CRASH_ROUNDS={rounds} ROUNDTRIP_CRASH_SEED={seed}"));
    let dice = Dice::seeded(seed);
    let began = Instant::now();
    let sink = Sink::open(seed).await;
    let mut house = House::new(&["--allow-private=127.0.0.0/8", "--allow-plain-http-out"]);
    let stock = Stock::fill(house.data(), sink.addresses(), events, WAITS).await;
    let all = stock.deliveries.len();
    eprintln!("{all} deliveries planned, {:.0} s", began.elapsed().as_secs_f32());

    let mut judge = Judge::new(&stock, WAITS);
    let mut peak = 0;
    for round in 1..=rounds {
        if judge.arrived() == all {
            // Of very many rounds: a server always does a little more before it dies.
            say(&format!("waiting test: nothing is left after round {}", round - 1));
            break;
        }
        sink.set_unwell(weather == Weather::Foul && round * 2 <= rounds);
        tokio::task::block_in_place(|| house.start());
        // What is left is shared out, so that work is left for every round and for the end.
        let most = (all - judge.arrived()) / (rounds + 2 - round);
        sink.reach(sink.count() + 1 + dice.below(most)).await;
        peak = peak.max(peak_kib(&house));
        let log = tokio::task::block_in_place(|| house.end(Signal::KILL));
        check_log(&log, round);
        let life = judge.life_ended(sink.silence().await, &house);
        eprintln!("round {round}: {life}, peak {peak} KiB, {:.0} s", began.elapsed().as_secs_f32());
        if round % ROUNDS_PER_STILLBIRTH == 0 {
            stillbirth(&house, &dice).await;
            let life = judge.life_ended(sink.silence().await, &house);
            eprintln!("round {round}, killed while it started: {life}");
        }
    }

    sink.set_unwell(false);
    let (left, drain) = (all - judge.arrived(), Instant::now());
    tokio::task::block_in_place(|| house.start());
    sink.all_taken(all).await;
    house.drained().await;
    let rate = left as f32 / drain.elapsed().as_secs_f32();
    judge.books(&mut house.admin()).await;
    peak = peak.max(peak_kib(&house));
    let log = tokio::task::block_in_place(|| house.end(Signal::TERM));
    check_log(&log, rounds + 1);
    let life = judge.life_ended(sink.silence().await, &house);
    eprintln!("the last life: {life}");
    let twice = judge.verdict(&house).await;
    assert!(peak < PEAK_KIB_MAX, "a server with {all} waiting deliveries needed {peak} KiB");
    assert!(
        weather == Weather::Fair || judge.retries_waited() > 0,
        "no retry ever waited when the server was killed, so nothing was tried of that"
    );
    say(&format!(
        "waiting test, {weather:?}: {rounds} rounds of seed {seed}, {all} deliveries, all arrived, {twice} requests \
         once more; {left} drained at {rate:.0}/s; peak {peak} KiB; {:.0} s",
        began.elapsed().as_secs_f32()
    ));
}

/// The most memory that the running server ever had, in KiB; 0 where the system does not say.
fn peak_kib(house: &House) -> u64 {
    let status = Path::new("/proc").join(house.server().id().to_string()).join("status");
    let Ok(status) = std::fs::read_to_string(status) else { return 0 };
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).expect("it says its peak");
    let number = line.split_whitespace().next().and_then(|number| number.parse().ok());
    number.unwrap_or_else(|| panic!("a number of KiB, not {line}"))
}
