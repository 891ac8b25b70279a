//! The power goes, before each step by which the log makes something durable, and everything that was not synced is gone or torn.
//! What was answered is there, once.

mod erasing;
mod moving;

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File};
use std::path::Path;
use std::time::{Duration, Instant};

use roundtrip_ambient::{Clock, Entropy};
use roundtrip_domain::click::Touch;
use roundtrip_domain::click_id::ClickId;
use roundtrip_store::click_log::faults::Faults;
use roundtrip_store::click_log::{Append, ClickLog, ClosedSlice, Config, Error, Found, SliceCount};
use roundtrip_testkit::disk::{Disk, Unsynced};

use super::{DAY, HOUR, KEY, PATIENCE, START, World, gaid};

/// Clicks of one life.
const CLICKS: u64 = 24;

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
    // A few clicks fill a slice, and a few slices a segment.
    config.slice_bytes_max = 1_500;
    config.segment_rows_max = 16;
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

/// Everything that a log does: takes clicks, closes slices, has them counted, seals them, merges what was sealed, forgets
/// what is old.
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
            count(disk, &log, &mut known);
            seal(disk, || log.seal_now());
        }
        if disk.is_dead() {
            return known;
        }
    }
    until(disk, "closing", || log.stats().slices_closing == 0);
    count(disk, &log, &mut known);
    seal(disk, || log.seal_now());
    // The hour is over, then the day: what is small becomes one.
    for passed in [HOUR, DAY] {
        clock.advance(passed);
        while seal(disk, || log.seal(clock.now())).flatten().is_some() {}
    }
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

/// One step of sealing, which fails only with the disk.
fn seal<T>(disk: &Disk, step: impl FnOnce() -> Result<T, Error>) -> Option<T> {
    let done = step();
    if let Err(error) = &done {
        assert!(disk.is_dead(), "{error}");
    }
    done.ok()
}

/// The ledger takes the counts, and says so, which fails only with the disk. Returns what it took.
fn publish(disk: &Disk, log: &ClickLog) -> Vec<ClosedSlice> {
    let mut taken = Vec::new();
    for slice in log.to_publish() {
        let said = log.published(slice.seq);
        taken.push(slice);
        if let Err(error) = said {
            assert!(disk.is_dead(), "{error}");
            break;
        }
    }
    taken
}

fn count(disk: &Disk, log: &ClickLog, known: &mut Known) {
    for slice in publish(disk, log) {
        known.counted.entry(slice.seq).or_insert(slice.counts);
    }
}

/// Whose device it is.
fn is_of(person: u64) -> impl Fn(&Touch) -> bool {
    move |touch| touch.click.prints(&touch.click.params()).contains(&gaid(person))
}

/// Erases what matches from every file behind `after`, which goes on with what is done. `false`: the power is gone.
fn erase(disk: &Disk, log: &ClickLog, matches: &dyn Fn(&Touch) -> bool, after: &mut u64) -> bool {
    loop {
        match log.erase_next(*after, matches) {
            Ok(None) => return true,
            Ok(Some(file)) => *after = file.seq,
            Err(error) => {
                assert!(disk.is_dead(), "{error}");
                return false;
            }
        }
    }
}

/// Copies a directory onto a disk, and all of it is durable.
fn put(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let from = entry.unwrap().path();
        let to = to.join(from.file_name().unwrap());
        if from.is_dir() {
            put(&from, &to);
        } else {
            fs::write(&to, fs::read(&from).unwrap()).unwrap();
            File::open(&to).unwrap().sync_all().unwrap();
        }
    }
    File::open(to).unwrap().sync_all().unwrap();
}

/// A directory in memory where there is such a place: what is there is only read, hundreds of times.
fn in_memory() -> tempfile::TempDir {
    let memory = std::path::Path::new("/dev/shm");
    if memory.is_dir() { tempfile::tempdir_in(memory) } else { tempfile::tempdir() }.unwrap()
}

/// Opens what is left, and compares it with what is known.
async fn judge(known: &Known, disk: &Disk, clock: &Clock, unsynced: &Unsynced, moment: &str) {
    let tmp = in_memory();
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
    let held = log.slices().iter().map(|slice| slice.clicks).sum::<u64>()
        + log.segments().iter().map(|segment| segment.clicks).sum::<u64>();
    let stored = known.stored.len() as u64;
    let least = if known.expiring { 0 } else { stored };
    assert!((least..=stored + known.unsure).contains(&held), "{moment}: {held} held of {stored}");
    // What the ledger has is not counted again.
    let mut all = known.counted.clone();
    for slice in log.active_counts() {
        all.entry(slice.seq).or_insert(slice.counts);
    }
    let counted: u64 = all.values().flatten().map(|count| count.count).sum();
    assert!((stored..=stored + known.unsure).contains(&counted), "{moment}: {counted} counted of {stored}");
    // It goes on.
    let next = world.store(&log, 100..103).await;
    assert!(next.iter().all(|id| ids.insert(*id)), "{moment}: an id was given twice");
    assert!(log.shutdown(), "{moment}");
}

/// The steps of a whole life before which the power is cut. `None` where there is no such disk.
async fn moments() -> Option<Vec<u64>> {
    let disk = Disk::mount()?;
    let clock = Clock::manual(START);
    let known = live(&disk, &clock).await;
    assert_eq!((known.stored.len() as u64, known.unsure, disk.is_dead()), (CLICKS, 0, false));
    assert!(known.counted.len() >= 3, "slices were closed and counted: {}", known.counted.len());
    Some(moments_of(&disk, 0))
}

/// The steps that made something durable since so many were done, as they are counted from then on, and the one behind the
/// last of all. Between them only what is answered differs, and that is most at the end.
fn moments_of(disk: &Disk, before: u64) -> Vec<u64> {
    let steps = disk.steps();
    let syncs = steps.iter().zip(1..).filter(|(step, _)| step.what.starts_with("sync")).map(|(_, n)| n);
    let all = syncs.chain([disk.done() + 1]);
    all.filter(|n| *n > before).map(|n| n - before).collect()
}

/// Cuts the power before every moment whose place in the list leaves this rest.
async fn cut_everywhere(rest: usize, of: usize) {
    let Some(moments) = moments().await else { return };
    assert!(moments.len() > CLICKS as usize, "each click is synced: {}", moments.len());
    for step in moments.iter().skip(rest).step_by(of).copied() {
        let Some(disk) = Disk::mount() else { return };
        let clock = Clock::manual(START);
        disk.cut_at(step);
        let known = live(&disk, &clock).await;
        disk.cut();
        let moment = format!("before step {step} of {}", moments.len());
        judge(&known, &disk, &clock, &Unsynced::Lost, &moment).await;
        let torn = Unsynced::Torn(Entropy::seeded(step));
        judge(&known, &disk, &clock, &torn, &format!("{moment}, torn")).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_answered_is_lost_with_the_power_at_every_other_moment() {
    cut_everywhere(0, 2).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_answered_is_lost_with_the_power_at_the_moments_between() {
    cut_everywhere(1, 2).await;
}
