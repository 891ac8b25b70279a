//! The power goes, before each step that the log does on its disk, and everything that was not synced is gone or torn.
//! What was answered is there, once.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use roundtrip_ambient::{Clock, Entropy};
use roundtrip_domain::click_id::ClickId;
use roundtrip_store::click_log::faults::Faults;
use roundtrip_store::click_log::{Append, ClickLog, Config, Found, SliceCount};
use roundtrip_testkit::disk::{Disk, Unsynced};

use super::{DAY, KEY, START, World, gaid};

/// Clicks of one life.
const CLICKS: u64 = 24;
/// How long something may take that should take a moment.
const PATIENCE: Duration = Duration::from_secs(60);

/// What somebody knows who heard all answers.
#[derive(Default)]
struct Known {
    /// Number and id of what was stored, by the answer.
    stored: Vec<(u64, ClickId)>,
    /// Clicks that were not answered as stored: they are there or not.
    unsure: u64,
    /// What the ledger has counted, by the number of the slice.
    counted: BTreeMap<u64, Vec<SliceCount>>,
    /// Slices that were told to go; their clicks are there or not.
    expiring: bool,
}

fn config(dir: std::path::PathBuf) -> Config {
    let mut config = Config::new(dir, 5, vec![KEY]);
    config.faults = Faults::armed();
    config.append_wait = Duration::from_secs(20);
    // A few clicks fill a slice.
    config.slice_bytes_max = 1_500;
    config
}

fn world(dir: std::path::PathBuf, clock: &Clock) -> World {
    let mut world = World::new();
    world.config = config(dir);
    world.faults = world.config.faults.clone();
    world.clock = clock.clone();
    world
}

/// Waits until `done`, or the power is gone.
fn until(disk: &Disk, what: &str, done: impl Fn() -> bool) {
    let began = Instant::now();
    while !done() && !disk.is_dead() {
        assert!(began.elapsed() < PATIENCE, "{what} takes for ever");
        std::thread::sleep(Duration::from_millis(1));
    }
}

/// Everything that a log does: takes clicks, closes slices, has them counted, forgets old ones.
async fn live(disk: &Disk, clock: &Clock) -> Known {
    let mut known = Known::default();
    let world = world(disk.path().join("clicks"), clock);
    let Ok((log, _)) = ClickLog::open(world.config.clone(), clock.clone(), Entropy::seeded(1)) else {
        assert!(disk.is_dead(), "a log opens on a sound disk");
        return known;
    };
    for n in 0..CLICKS {
        match log.append(world.click(n)).await {
            Append::Stored(id) => known.stored.push((n, id)),
            Append::Unstored { .. } => known.unsure += 1,
        }
        if n == CLICKS / 2 {
            until(disk, "closing", || log.stats().slices_closing == 0);
            count(&log, &mut known);
        }
        if disk.is_dead() {
            return known;
        }
    }
    until(disk, "closing", || log.stats().slices_closing == 0);
    count(&log, &mut known);
    if !disk.is_dead() {
        clock.advance(200 * DAY);
        known.expiring = true;
        let _ = log.expire(clock.now());
    }
    if !disk.is_dead() {
        assert!(log.shutdown());
    }
    known
}

/// The ledger takes the counts, and says so.
fn count(log: &ClickLog, known: &mut Known) {
    for slice in log.to_publish() {
        known.counted.entry(slice.seq).or_insert(slice.counts);
        if log.published(slice.seq).is_err() {
            return;
        }
    }
}

/// Opens what is left, and compares it with what is known.
async fn judge(known: &Known, disk: &Disk, clock: &Clock, unsynced: &Unsynced, moment: &str) {
    let tmp = tempfile::tempdir().unwrap();
    disk.after_power_loss(tmp.path(), unsynced).unwrap();
    let world = world(tmp.path().join("clicks"), clock);
    let (log, report) = world.open();
    assert!(report.damaged.is_empty(), "{moment}: power loss is no damage: {:?}", report.damaged);
    let mut ids = BTreeSet::new();
    for (n, id) in &known.stored {
        assert!(ids.insert(*id), "{moment}: an id was given twice");
        let is_there = matches!(log.find(*id).await.unwrap(), Found::Touch(touch) if touch.id == *id);
        let found = log.find_print(gaid(*n), START, START.plus_ms(DAY), 10).await.unwrap();
        if known.expiring {
            assert!(found.len() <= 1, "{moment}: click {n} is there twice");
        } else {
            assert!(is_there, "{moment}: click {n} is gone");
            assert_eq!(found.len(), 1, "{moment}: click {n} by its device");
        }
    }
    // What the ledger has is not counted again.
    let mut all = known.counted.clone();
    for slice in log.active_counts() {
        all.entry(slice.seq).or_insert(slice.counts);
    }
    let counted: u64 = all.values().flatten().map(|count| count.count).sum();
    let stored = known.stored.len() as u64;
    assert!((stored..=stored + known.unsure).contains(&counted), "{moment}: {counted} counted of {stored}");
    // It goes on.
    let next = world.store(&log, 100..103).await;
    assert!(next.iter().all(|id| ids.insert(*id)), "{moment}: an id was given twice");
    assert!(log.shutdown(), "{moment}");
}

/// The steps that a whole life takes; `None` where there is no such disk.
async fn steps() -> Option<u64> {
    let disk = Disk::mount()?;
    let clock = Clock::manual(START);
    let known = live(&disk, &clock).await;
    assert_eq!((known.stored.len() as u64, known.unsure, disk.is_dead()), (CLICKS, 0, false));
    assert!(known.counted.len() >= 3, "slices were closed and counted: {}", known.counted.len());
    let steps = disk.steps();
    let syncs = steps.iter().filter(|step| step.what.starts_with("sync")).count();
    assert!(syncs > 2 * CLICKS as usize / 2, "it syncs: {syncs}");
    Some(disk.done())
}

/// Cuts the power before every step whose number leaves this rest.
async fn cut_everywhere(rest: u64, of: u64) {
    let Some(steps) = steps().await else { return };
    // Threads take turns, so that a life may be a few steps longer than another.
    for step in (1..=steps + 5).filter(|step| step % of == rest) {
        let Some(disk) = Disk::mount() else { return };
        let clock = Clock::manual(START);
        disk.cut_at(step);
        let known = live(&disk, &clock).await;
        disk.cut();
        let moment = format!("step {step} of {steps}");
        judge(&known, &disk, &clock, &Unsynced::Lost, &moment).await;
        for seed in 0..3 {
            let torn = Unsynced::Torn(Entropy::seeded(seed));
            judge(&known, &disk, &clock, &torn, &format!("{moment}, torn by {seed}")).await;
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_answered_is_lost_with_the_power_at_even_steps() {
    cut_everywhere(0, 2).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_answered_is_lost_with_the_power_at_odd_steps() {
    cut_everywhere(1, 2).await;
}
