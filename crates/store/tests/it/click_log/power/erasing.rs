//! The power goes before each step by which something becomes durable, while clicks of a person are taken, closed, sealed,
//! merged and erased. Whoever erases again, or goes on where it was interrupted, has erased: no file holds anything of
//! the person, also when the power goes once more right behind it, and everybody else's clicks are there, once.

use std::fs::{self, File};
use std::path::{Path, PathBuf};

use memchr::memmem;
use parquet::file::reader::{FileReader, SerializedFileReader};
use roundtrip_ambient::{Clock, Entropy};
use roundtrip_domain::click_id::ClickId;
use roundtrip_store::click_log::{Append, ClickLog, Found, SliceInfo};
use roundtrip_testkit::disk::{Disk, Unsynced};

use super::super::{DAY, START, World, gaid};
use super::{HOUR, erase, in_memory, is_of, moments_of, publish, put, seal, until};

/// Number of the person's clicks: all with one device and one click id of the partner's.
const PERSON: u64 = 900;

/// What somebody knows who heard all answers.
#[derive(Default)]
struct Known {
    /// Number and id of what was stored, by the answer.
    stored: Vec<(u64, ClickId)>,
    /// Numbers of clicks that were not answered as stored: they are there or not.
    unsure: Vec<u64>,
    /// Behind which file the erasure goes on.
    after: u64,
}

/// So many clicks fill a slice.
const FULL: u64 = 4;

/// The log of a slice is full with the page of the fourth click that has a commit of its own.
fn world(dir: PathBuf, clock: &Clock) -> World {
    let mut world = super::world(dir, clock);
    world.config.slice_bytes_max = 4_000;
    world
}

/// Takes clicks, and waits until slices that are full are closed. `false`: the power is gone.
async fn take(log: &ClickLog, world: &World, disk: &Disk, known: &mut Known, numbers: &[u64]) -> bool {
    for n in numbers.iter().copied() {
        match log.append(world.click(n)).await {
            Append::Stored(id) => known.stored.push((n, id)),
            Append::Unstored { .. } => known.unsure.push(n),
        }
    }
    let is_under_way =
        |slice: &SliceInfo| slice.state == "closing" || slice.state == "active" && slice.clicks >= FULL;
    until(disk, "closing", || !log.slices().iter().any(is_under_way));
    !disk.is_dead()
}

/// Everything that becomes of a person's clicks. Four clicks fill a slice.
async fn live(disk: &Disk, clock: &Clock, is_undisturbed: bool) -> Known {
    let mut known = Known::default();
    let world = world(disk.path().join("clicks"), clock);
    let Ok((log, _)) = ClickLog::open(world.config.clone(), clock.clone(), Entropy::seeded(1)) else {
        assert!(disk.is_dead(), "a log opens on a sound disk");
        return known;
    };
    // Two segments, each of its own hour, with a side file for both when the day is over.
    for hour in 0..2 {
        if !take(&log, &world, disk, &mut known, &[10 * hour, PERSON, 10 * hour + 1, 10 * hour + 2]).await {
            return known;
        }
        publish(disk, &log);
        seal(disk, || log.seal_now());
        clock.advance(HOUR);
    }
    clock.advance(DAY);
    while seal(disk, || log.seal(clock.now())).flatten().is_some() {}
    // A segment with a side file of its own; slices that wait to be sealed, one of them the person's alone, and to be
    // published; a slice that clicks go into.
    for (numbers, is_published, is_sealed) in
        [([30, 31, PERSON, 32], true, true), ([PERSON; 4], true, false), ([40, PERSON, 41, 42], false, false)]
    {
        if !take(&log, &world, disk, &mut known, &numbers).await {
            return known;
        }
        if is_published {
            publish(disk, &log);
        }
        if is_sealed {
            seal(disk, || log.seal_now());
        }
    }
    if !take(&log, &world, disk, &mut known, &[50, PERSON]).await {
        return known;
    }
    if is_undisturbed {
        let slices: Vec<_> = log.slices().iter().map(|slice| (slice.state, slice.clicks)).collect();
        assert_eq!(slices, [("published", 4), ("closed", 4), ("active", 2)]);
        let segments = log.segments();
        assert_eq!(segments.iter().map(|segment| segment.clicks).collect::<Vec<_>>(), [4, 4, 4]);
        // Two segments, two side files; two slices, each with a side file, and one with its log.
        assert_eq!(traces(&disk.path()).len(), 5 + 4 + 1, "{:?}", traces(&disk.path()));
    }
    if take(&log, &world, disk, &mut known, &[51, 52]).await
        && log.close_now()
        && erase(disk, &log, &is_of(PERSON), &mut known.after)
        && !disk.is_dead()
    {
        assert!(log.shutdown());
    }
    known
}

/// Files below a directory that hold anything of the person: a device id, a partner's click id, the hash of the device id.
/// Also those that are not finished, of which that cannot be told.
fn traces(dir: &Path) -> Vec<PathBuf> {
    let device = format!("6d92078a-8246-4ba4-ae5b-{PERSON:012x}");
    let partner = format!("partner-{PERSON}");
    let hash = gaid(PERSON).hash.to_be_bytes();
    let mut found = Vec::new();
    let mut dirs = vec![dir.to_owned()];
    while let Some(dir) = dirs.pop() {
        for entry in fs::read_dir(dir).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                dirs.push(path);
                continue;
            }
            let bytes = fs::read(&path).unwrap();
            let has = |part: &[u8]| memmem::find(&bytes, part).is_some();
            let is_in_rows = || {
                let rows = SerializedFileReader::new(File::open(&path).unwrap()).unwrap();
                let rows: Vec<_> =
                    rows.get_row_iter(None).unwrap().map(|row| row.unwrap().to_string()).collect();
                rows.iter().any(|row| row.contains(&device) || row.contains(&partner))
            };
            let name = path.file_name().unwrap_or_default().to_string_lossy();
            if has(device.as_bytes())
                || has(partner.as_bytes())
                || has(&hash)
                || name.contains(".tmp")
                || name.ends_with(".parquet") && is_in_rows()
            {
                found.push(path);
            }
        }
    }
    found.sort();
    found
}

/// Everybody's clicks are there once, but the person's.
async fn compare(known: &Known, log: &ClickLog, moment: &str) {
    let by_print = async |n: u64| {
        let found = log.find_print(gaid(n), START, START.plus_ms(3 * DAY), 99).await;
        found.unwrap().len()
    };
    for (n, id) in &known.stored {
        let is_there = matches!(log.find(*id).await.unwrap(), Found::Touch(touch) if touch.id == *id);
        assert_eq!(is_there, *n != PERSON, "{moment}: click {n} by its id");
        assert_eq!(by_print(*n).await, usize::from(*n != PERSON), "{moment}: click {n} by its device");
    }
    for n in &known.unsure {
        assert!(by_print(*n).await <= usize::from(*n != PERSON), "{moment}: click {n} by its device");
    }
    let held = log.slices().iter().map(|slice| slice.clicks).sum::<u64>()
        + log.segments().iter().map(|segment| segment.clicks).sum::<u64>();
    let of_others = |numbers: &mut dyn Iterator<Item = u64>| numbers.filter(|n| *n != PERSON).count() as u64;
    let stored = of_others(&mut known.stored.iter().map(|(n, _)| *n));
    let unsure = of_others(&mut known.unsure.iter().copied());
    assert!((stored..=stored + unsure).contains(&held), "{moment}: {held} held of {stored}");
}

/// Erases again on what is left, and has the power go once more.
async fn judge(known: &Known, disk: &Disk, clock: &Clock, unsynced: &Unsynced, moment: &str) {
    let Some(again) = Disk::mount() else { return };
    let left = in_memory();
    disk.after_power_loss(left.path(), unsynced).unwrap();
    put(left.path(), &again.path());
    let (log, report) = world(again.path().join("clicks"), clock).open();
    assert!(
        report.damaged.is_empty() && report.missing.is_empty(),
        "{moment}: power loss is no damage: {report:?}"
    );
    let mut after = match unsynced {
        // From the beginning, or where it was interrupted.
        Unsynced::Lost => 0,
        Unsynced::Torn(_) => known.after,
    };
    if after == 0 {
        assert!(log.close_now(), "{moment}");
    }
    assert!(erase(&again, &log, &is_of(PERSON), &mut after), "{moment}");
    assert!(log.set_aside().is_empty(), "{moment}");
    compare(known, &log, moment).await;
    assert_eq!(traces(&again.path()), [] as [PathBuf; 0], "{moment}");
    again.cut();
    let left = in_memory();
    again.after_power_loss(left.path(), &Unsynced::Lost).unwrap();
    assert_eq!(traces(left.path()), [] as [PathBuf; 0], "{moment}, and the power went once more");
    drop(log);
    let (log, report) = world(left.path().join("clicks"), clock).open();
    assert!(report.damaged.is_empty() && report.missing.is_empty(), "{moment}: {report:?}");
    compare(known, &log, &format!("{moment}, and the power went once more")).await;
    assert!(log.shutdown(), "{moment}");
}

/// Cuts the power before every moment whose place in the list leaves this rest.
async fn cut_everywhere(rest: usize, of: usize) {
    let Some(disk) = Disk::mount() else { return };
    let known = live(&disk, &Clock::manual(START), true).await;
    assert_eq!((known.stored.len(), known.unsure.len(), disk.is_dead()), (24, 0, false));
    assert_eq!(traces(&disk.path()), [] as [PathBuf; 0]);
    let moments = moments_of(&disk, 0);
    drop(disk);
    for (at, step) in moments.into_iter().skip(rest).step_by(of).enumerate() {
        let Some(disk) = Disk::mount() else { return };
        let clock = Clock::manual(START);
        disk.cut_at(step);
        let known = live(&disk, &clock, false).await;
        disk.cut();
        let moment = format!("before step {step}");
        judge(&known, &disk, &clock, &Unsynced::Lost, &moment).await;
        // What is torn is left to chance: for that every other moment will do.
        if at % 2 == 1 {
            continue;
        }
        let torn = Unsynced::Torn(Entropy::seeded(step));
        judge(&known, &disk, &clock, &torn, &format!("{moment}, torn")).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_person_is_erased_whenever_the_power_goes_1_of_4() {
    cut_everywhere(0, 4).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_person_is_erased_whenever_the_power_goes_2_of_4() {
    cut_everywhere(1, 4).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_person_is_erased_whenever_the_power_goes_3_of_4() {
    cut_everywhere(2, 4).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_person_is_erased_whenever_the_power_goes_4_of_4() {
    cut_everywhere(3, 4).await;
}
