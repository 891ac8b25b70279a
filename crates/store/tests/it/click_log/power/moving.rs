//! The power goes before each step by which something becomes durable, while segments move into a bucket, are erased from
//! it and expire there. The bucket does not notice: what was put is there, what was deleted is not, and whatever was
//! answered may have been forgotten here.
//!
//! Whoever starts again finds every click that was answered, once. When everything that is to be done is done, the bucket
//! holds just what is listed as lying there, byte for byte, and nothing of it is left here.

use std::collections::BTreeSet;
use std::sync::Arc;

use roundtrip_ambient::{Clock, Entropy};
use roundtrip_domain::click_id::ClickId;
use roundtrip_store::click_log::{Append, ClickLog, Work};
use roundtrip_testkit::disk::{Disk, Unsynced};

use super::super::moving::shelf::{Ill, Shelf};
use super::super::moving::{BUCKET, NEVER, walk};
use super::super::{DAY, START, World, gaid, is_found, publish as publish_all, seal_all, stored};
use super::{HOUR, erase, in_memory, is_of, moments_of, publish, put, seal};

/// Segments that there are before anything moves, one of each hour.
const HOURS: u64 = 4;
/// Number of a person's click, of the first hour: it is erased when it lies in the bucket.
const ERASED: u64 = 900;
/// Number of another person's clicks, one of each hour: they are erased when the power is back.
const LATER: u64 = 901;

/// What somebody knows who heard all answers.
#[derive(Debug, Clone, Default)]
struct Known {
    /// Number and id of what was stored, by the answer.
    stored: Vec<(u64, ClickId)>,
    /// Numbers of clicks that were not answered as stored: they are there or not.
    unsure: Vec<u64>,
    /// Numbers of clicks whose erasure began, and of those that are said to be erased.
    going: BTreeSet<u64>,
    gone: BTreeSet<u64>,
    /// Everything is old, and was told to go.
    is_expiring: bool,
    /// What was done of what is to be done in the background.
    done: Vec<Work>,
}

impl Known {
    /// Of the clicks with this number, how many there are at least and at most.
    fn bounds(&self, n: u64) -> (usize, usize) {
        let answered = self.stored.iter().filter(|(number, _)| *number == n).count();
        let unsure = self.unsure.iter().filter(|number| **number == n).count();
        match (self.gone.contains(&n), self.going.contains(&n) || self.is_expiring) {
            (true, _) => (0, 0),
            (false, true) => (0, answered + unsure),
            (false, false) => (answered, answered + unsure),
        }
    }

    fn numbers(&self) -> BTreeSet<u64> {
        self.stored.iter().map(|(n, _)| *n).chain(self.unsure.iter().copied()).collect()
    }
}

fn world(dir: std::path::PathBuf, clock: &Clock, shelf: &Arc<Shelf>) -> World {
    let mut world = super::world(dir, clock);
    // Slices are closed when the test says so.
    world.config.slice_bytes_max = 1 << 20;
    world.moves_into(shelf);
    world
}

/// What becomes of segments.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Life {
    /// They move into the bucket, and expire there.
    Moving,
    /// They lie there, a person is erased from one, and what is left of it moves again.
    Erasing,
}

/// A log and its bucket before the power may go.
struct Furnished {
    dir: tempfile::TempDir,
    clock: Clock,
    shelf: Arc<Shelf>,
    known: Known,
}

/// A log with segments that may move, or did, sealed and closed in order. The last hour is over.
async fn furnished(life: Life) -> Furnished {
    let (dir, clock, shelf) = (in_memory(), Clock::manual(START), Arc::default());
    let mut known = Known::default();
    let world = world(dir.path().join("clicks"), &clock, &shelf);
    let (log, _) = world.open();
    for hour in 0..HOURS {
        let person = (hour == 0).then_some(ERASED);
        for n in [10 * hour, 10 * hour + 1, LATER].into_iter().chain(person) {
            known.stored.push((n, stored(log.append(world.click(n)).await)));
        }
        assert!(log.close_now());
        clock.advance(HOUR);
    }
    publish_all(&log);
    log.seal_now().unwrap();
    assert_eq!((log.segments().len() as u64, log.stats().slices_closed), (HOURS, 0));
    if life == Life::Erasing {
        clock.advance(DAY);
        seal_all(&world, &log);
        compare_bucket(&world, &log, &shelf, "before all");
    }
    assert!(log.shutdown());
    Furnished { dir, clock, shelf, known }
}

async fn take(log: &ClickLog, world: &World, known: &mut Known, n: u64) {
    match log.append(world.click(n)).await {
        Append::Stored(id) => known.stored.push((n, id)),
        Append::Unstored { .. } => known.unsure.push(n),
    }
}

/// Does so many steps of what is to be done, if there are so many. `false`: the power is gone.
fn work(disk: &Disk, clock: &Clock, log: &ClickLog, known: &mut Known, steps: usize) -> bool {
    let step = || seal(disk, || log.seal(clock.now())).flatten();
    known.done.extend(std::iter::from_fn(step).take(steps));
    !disk.is_dead()
}

/// Segments move. `false`: the power is gone.
async fn moves(
    disk: &Disk,
    clock: &Clock,
    world: &World,
    log: &ClickLog,
    shelf: &Shelf,
    known: &mut Known,
) -> bool {
    // All is well; it is put and the answer says that it is not; it is not put, and is tried again.
    for (n, ill) in (100..).zip([None, Some(Ill::PutAnsweredWrong), Some(Ill::PutRefused)]) {
        if let Some(ill) = ill {
            shelf.order(ill, 1);
        }
        if !work(disk, clock, log, known, 1) {
            return false;
        }
        take(log, world, known, n).await;
    }
    if !work(disk, clock, log, known, usize::MAX) {
        return false;
    }
    // The day is over, and so is the hour of what came meanwhile.
    clock.advance(DAY);
    if !log.close_now() {
        return false;
    }
    publish(disk, log);
    work(disk, clock, log, known, usize::MAX)
}

/// A person is erased from the bucket; what is left of that file moves as any other. `false`: the power is gone.
fn erases(disk: &Disk, clock: &Clock, log: &ClickLog, known: &mut Known) -> bool {
    known.going.insert(ERASED);
    if !erase(disk, log, &is_of(ERASED), &mut 0) {
        return false;
    }
    known.gone.insert(ERASED);
    work(disk, clock, log, known, usize::MAX)
}

/// Everything that becomes of segments in a bucket.
async fn live(life: Life, disk: &Disk, clock: &Clock, shelf: &Arc<Shelf>, known: &mut Known) {
    let world = world(disk.path().join("clicks"), clock, shelf);
    let Ok((log, _)) = ClickLog::open(world.config.clone(), clock.clone(), Entropy::seeded(1)) else {
        assert!(disk.is_dead(), "a log opens on a sound disk");
        return;
    };
    let is_on = match life {
        Life::Moving => moves(disk, clock, &world, &log, shelf, known).await,
        Life::Erasing => erases(disk, clock, &log, known),
    };
    if !is_on {
        return;
    }
    clock.advance(121 * DAY);
    known.is_expiring = true;
    let expired = log.expire(clock.now());
    if expired.is_err() || !work(disk, clock, &log, known, usize::MAX) {
        assert!(disk.is_dead(), "{expired:?}");
        return;
    }
    log.shutdown();
}

/// Each click is there once.
async fn compare(known: &Known, log: &ClickLog, moment: &str) {
    for (n, id) in &known.stored {
        let is_there = is_found(log, *id).await;
        match known.bounds(*n) {
            (0, 0) => assert!(!is_there, "{moment}: click {n} is erased"),
            (0, _) => {}
            (_, _) => assert!(is_there, "{moment}: click {n} by its id"),
        }
    }
    let (mut least_held, mut most_held) = (0, 0);
    for n in known.numbers() {
        let (least, most) = known.bounds(n);
        let found = log.find_print(gaid(n), START, NEVER, 99).await.unwrap().len();
        assert!((least..=most).contains(&found), "{moment}: click {n} by its device: {found} of {least}");
        (least_held, most_held) = (least_held + least as u64, most_held + most as u64);
    }
    let held = log.slices().iter().map(|slice| slice.clicks).sum::<u64>()
        + log.segments().iter().map(|segment| segment.clicks).sum::<u64>();
    assert!((least_held..=most_held).contains(&held), "{moment}: {held} held of {least_held}");
}

/// All segments lie in the bucket, and nothing else does.
fn compare_bucket(world: &World, log: &ClickLog, shelf: &Shelf, moment: &str) {
    let segments = log.segments();
    assert!(
        segments.iter().all(|s| s.bucket.as_deref() == Some(BUCKET) && !s.is_missing),
        "{moment}: {segments:?}"
    );
    let mut listed: Vec<String> = segments.iter().map(|s| format!("{BUCKET}/{}", s.file)).collect();
    listed.sort();
    assert_eq!(shelf.names(), listed, "{moment}");
    let here: Vec<String> = walk(world).into_iter().filter(|file| file.ends_with(".parquet")).collect();
    assert_eq!(here, [""; 0], "{moment}");
    for segment in segments {
        assert_eq!(log.verify(segment.seq).unwrap(), None, "{moment}");
    }
}

/// Starts again with what is left here and in the bucket.
async fn judge(
    known: &Known,
    disk: &Disk,
    clock: &Clock,
    shelf: &Shelf,
    unsynced: &Unsynced,
    erases: bool,
    moment: &str,
) {
    let (left, clock, shelf) = (in_memory(), Clock::manual(clock.now()), shelf.copy());
    disk.after_power_loss(left.path(), unsynced).unwrap();
    let world = world(left.path().join("clicks"), &clock, &shelf);
    let mut known = known.clone();
    let open = || {
        let (log, report) = world.open();
        let is_sound = report.damaged.is_empty() && report.missing.is_empty() && report.adopted.is_empty();
        assert!(is_sound, "{moment}: power loss is no damage: {report:?}");
        log
    };
    let log = open();
    compare(&known, &log, moment).await;
    for (n, id) in (200..).zip(world.store(&log, 200..202).await) {
        assert!(known.stored.iter().all(|(_, given)| *given != id), "{moment}: an id was given twice");
        known.stored.push((n, id));
    }
    clock.advance(HOUR);
    assert!(log.close_now(), "{moment}");
    publish_all(&log);
    if erases {
        // Whatever the bucket has of the files that the person was in goes, whether or not they were known to have moved.
        for person in [ERASED, LATER] {
            let mut after = 0;
            while let Some(file) = log.erase_next(after, &is_of(person)).unwrap() {
                after = file.seq;
            }
            known.gone.insert(person);
        }
    }
    seal_all(&world, &log);
    compare(&known, &log, &format!("{moment}: all done")).await;
    compare_bucket(&world, &log, &shelf, moment);
    assert!(log.shutdown(), "{moment}");
    let log = open();
    compare(&known, &log, &format!("{moment}: after another start")).await;
    compare_bucket(&world, &log, &shelf, moment);
    assert!(log.shutdown(), "{moment}");
}

/// Cuts the power before every moment of a life whose place in the list leaves this rest.
async fn cut_everywhere(life: Life, rest: usize, of: usize) {
    let from = furnished(life).await;
    // A disk with the log, its bucket, and how many steps that took.
    let begin = || {
        let disk = Disk::mount()?;
        put(from.dir.path(), &disk.path());
        let before = disk.done();
        Some((disk, from.shelf.copy(), Clock::manual(from.clock.now()), from.known.clone(), before))
    };
    let Some((disk, shelf, clock, mut known, before)) = begin() else { return };
    live(life, &disk, &clock, &shelf, &mut known).await;
    assert_eq!((known.unsure.len(), known.is_expiring, disk.is_dead()), (0, true, false));
    let done = |is_it: fn(&&Work) -> bool| known.done.iter().filter(is_it).count();
    let wanted = match life {
        // Of the four hours, and the one behind them.
        Life::Moving => (5, 1, 5),
        // What was left of one.
        Life::Erasing => (1, 1, 4),
    };
    assert_eq!(
        (
            done(|work| matches!(work, Work::Moved { .. })),
            done(|work| matches!(work, Work::SidesMerged { .. })),
            done(|work| matches!(work, Work::Deleted { .. })),
        ),
        wanted,
        "{:?}",
        known.done
    );
    assert_eq!(shelf.names(), [""; 0]);
    let moments = moments_of(&disk, before);
    drop(disk);
    for (at, step) in moments.into_iter().skip(rest).step_by(of).enumerate() {
        let Some((disk, shelf, clock, mut known, before)) = begin() else { return };
        disk.cut_at(before + step);
        live(life, &disk, &clock, &shelf, &mut known).await;
        disk.cut();
        let moment = format!("before step {step}");
        for erases in [false, true] {
            judge(&known, &disk, &clock, &shelf, &Unsynced::Lost, erases, &moment).await;
        }
        let torn = Unsynced::Torn(Entropy::seeded(step));
        judge(&known, &disk, &clock, &shelf, &torn, at % 2 == 0, &format!("{moment}, torn")).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_segment_is_whole_in_one_place_whenever_the_power_goes_1_of_2() {
    cut_everywhere(Life::Moving, 0, 2).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_segment_is_whole_in_one_place_whenever_the_power_goes_2_of_2() {
    cut_everywhere(Life::Moving, 1, 2).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_person_is_erased_from_a_bucket_whenever_the_power_goes() {
    cut_everywhere(Life::Erasing, 0, 1).await;
}
