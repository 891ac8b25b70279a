//! Erasure: a person's clicks are gone from every file, everybody else's are as they were.

use std::path::PathBuf;

use super::{DAY, HOUR, START, World, count_found, counted, gaid, held, publish};
use roundtrip_domain::click::Touch;
use roundtrip_domain::click_id::ClickId;
use roundtrip_store::click_log::faults::Point;
use roundtrip_store::click_log::{ClickLog, ErasedFile, Work};

/// Whoever has one of these devices.
fn of(numbers: &'static [u64]) -> impl Fn(&Touch) -> bool {
    move |touch| numbers.iter().any(|n| touch.click.prints(&touch.click.params()).contains(&gaid(*n)))
}

fn erase_all(log: &ClickLog, matches: &dyn Fn(&Touch) -> bool) -> Vec<ErasedFile> {
    assert!(log.close_now());
    let (mut done, mut after) = (Vec::new(), 0);
    while let Some(file) = log.erase_next(after, matches).unwrap() {
        assert!(file.seq > after);
        after = file.seq;
        done.push(file);
    }
    done
}

/// Clicks 0–4 in a segment, 5–9 in a published slice, 10–14 in one that is not published, 15–19 in the active one.
async fn mixed(world: &World, log: &ClickLog) -> Vec<ClickId> {
    let mut ids = world.store(log, 0..5).await;
    assert!(log.close_now());
    publish(log);
    log.seal_now().unwrap();
    world.clock.advance(1_000);
    ids.extend(world.store(log, 5..10).await);
    assert!(log.close_now());
    publish(log);
    ids.extend(world.store(log, 10..15).await);
    assert!(log.close_now());
    ids.extend(world.store(log, 15..20).await);
    ids
}

async fn assert_erased(log: &ClickLog, ids: &[ClickId], gone: &[u64], what: &str) {
    let left: Vec<ClickId> =
        ids.iter().enumerate().filter(|(n, _)| !gone.contains(&(*n as u64))).map(|(_, id)| *id).collect();
    assert_eq!(
        (count_found(log, ids).await, count_found(log, &left).await),
        (left.len(), left.len()),
        "{what}"
    );
    for n in 0..ids.len() as u64 {
        let found = log.find_print(gaid(n), START, START.plus_ms(DAY), 9).await.unwrap().len();
        assert_eq!(found, usize::from(!gone.contains(&n)), "{what}: {n}");
    }
}

#[tokio::test]
async fn a_person_is_erased_from_every_file_and_nobody_else_is() {
    let world = World::new();
    let (log, _) = world.open();
    let ids = mixed(&world, &log).await;
    let gone = [1, 6, 12, 13, 19];
    let done = erase_all(&log, &of(&[1, 6, 12, 13, 19]));
    assert_erased(&log, &ids, &gone, "erased").await;
    assert_eq!(done.iter().map(|file| file.erased).sum::<u64>(), 5);
    assert_eq!(done.iter().filter(|file| file.erased > 0).count(), 4, "{done:?}");
    for file in &done {
        assert_eq!(file.replaced_by.is_some(), file.erased > 0, "{file:?}");
        assert_eq!(world.dir().join(&file.file).exists(), file.erased == 0, "{file:?}");
    }
    assert_eq!(
        counted(&log),
        10,
        "what the ledger has not been told is still told, though its slices are gone"
    );
    assert_eq!(log.to_publish().iter().map(|slice| slice.clicks).sum::<u64>(), 10);
    assert!(erase_all(&log, &of(&[1, 6, 12, 13, 19])).iter().all(|file| file.erased == 0), "nothing is left");
    assert!(log.shutdown());
    let (log, report) = world.open();
    assert!(
        report.damaged.is_empty() && report.missing.is_empty() && report.adopted.is_empty(),
        "{report:?}"
    );
    assert_eq!(counted(&log), 10);
    assert_erased(&log, &ids, &gone, "after a restart").await;
    publish(&log);
    assert_eq!(counted(&log), 0);
    world.clock.advance(2 * DAY);
    while log.seal(world.clock.now()).unwrap().is_some() {}
    assert_erased(&log, &ids, &gone, "after merging").await;
    assert!(log.set_aside().is_empty());
}

#[tokio::test]
async fn a_file_of_one_person_alone_goes_as_a_whole() {
    let world = World::new();
    let (log, _) = world.open();
    let ids = mixed(&world, &log).await;
    let done = erase_all(&log, &of(&[0, 1, 2, 3, 4, 15, 16, 17, 18, 19]));
    assert_eq!(done.iter().filter(|file| file.erased > 0).count(), 2);
    assert!(done.iter().all(|file| file.replaced_by.is_none()));
    assert_erased(&log, &ids, &[0, 1, 2, 3, 4, 15, 16, 17, 18, 19], "erased").await;
    assert!(log.shutdown());
    let (log, report) = world.open();
    assert!(report.damaged.is_empty() && report.missing.is_empty(), "{report:?}");
    assert_erased(&log, &ids, &[0, 1, 2, 3, 4, 15, 16, 17, 18, 19], "after a restart").await;
}

/// Side files of segments that have a row for the device.
fn side_files_with(world: &World, n: u64) -> Vec<PathBuf> {
    let hash = gaid(n).hash.to_be_bytes();
    let files = std::fs::read_dir(world.dir().join("prints")).unwrap().map(|entry| entry.unwrap().path());
    let has = |path: &PathBuf| std::fs::read(path).unwrap().windows(8).any(|bytes| bytes == hash);
    files.filter(has).collect()
}

/// Twelve clicks of an hour, sealed.
async fn sealed(world: &World, log: &ClickLog, numbers: std::ops::Range<u64>) -> Vec<ClickId> {
    let ids = world.store(log, numbers).await;
    assert!(log.close_now());
    publish(log);
    log.seal_now().unwrap();
    ids
}

#[tokio::test]
async fn a_side_file_that_others_need_is_written_anew() {
    let mut world = World::new();
    world.config.segment_rows_max = 20;
    let (log, _) = world.open();
    // Two segments of an hour, which would not fit into one, and one of the next hour; a side file for all of them.
    let mut ids = sealed(&world, &log, 0..12).await;
    ids.extend(sealed(&world, &log, 12..24).await);
    world.clock.advance(HOUR);
    ids.extend(sealed(&world, &log, 24..36).await);
    world.clock.advance(DAY);
    while log.seal(world.clock.now()).unwrap().is_some() {}
    assert_eq!(log.segments().iter().map(|segment| segment.clicks).collect::<Vec<_>>(), [12, 12, 12]);
    let day = side_files_with(&world, 1);
    assert_eq!((day.len(), &side_files_with(&world, 13)), (1, &day), "one for all");

    let gone = [1, 2, 3, 4, 5];
    erase_all(&log, &of(&[1, 2, 3, 4, 5]));
    assert_erased(&log, &ids, &gone, "erased").await;
    assert_eq!(side_files_with(&world, 1), [] as [PathBuf; 0]);
    assert_eq!(side_files_with(&world, 13).len(), 1, "the others are found by it");

    // What is left of the first fits with the second into one now. The side file of the second stays, for the third.
    let merged = log.seal(world.clock.now()).unwrap();
    assert!(matches!(merged, Some(Work::Merged { clicks: 19, .. })), "{merged:?}");
    assert_eq!(side_files_with(&world, 13).len(), 2, "the old one has rows of a segment that is gone");
    erase_all(&log, &of(&[13]));
    assert_eq!(side_files_with(&world, 13), [] as [PathBuf; 0]);
    let gone = [1, 2, 3, 4, 5, 13];
    assert_erased(&log, &ids, &gone, "erased after merging").await;
    assert!(log.shutdown());
    let (log, report) = world.open();
    assert!(report.damaged.is_empty() && report.side_files_rebuilt.is_empty(), "{report:?}");
    assert_erased(&log, &ids, &gone, "after a restart").await;
    while log.seal(world.clock.now()).unwrap().is_some() {}
    assert_erased(&log, &ids, &gone, "after merging side files").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_crash_at_any_step_of_erasing_keeps_the_others_and_it_goes_on() {
    let points = [
        Point::BeforeSegment,
        Point::BeforeSegmentSide,
        Point::BeforeSwap,
        Point::BeforeDelete,
        Point::BeforeDeleted,
    ];
    for point in points {
        let world = World::new();
        let (log, _) = world.open();
        let ids = mixed(&world, &log).await;
        assert!(log.close_now());
        world.clock.advance(HOUR);
        // The first file is the segment.
        world.faults.hold(point);
        let working = tokio::task::spawn_blocking({
            let log = log.clone();
            move || log.erase_next(0, &of(&[1, 6]))
        });
        held(&world, point).await;
        let crashed = world.crashed();
        world.faults.release(point);
        working.await.unwrap().unwrap();
        let (log, report) = crashed.open();
        assert!(report.damaged.is_empty() && report.missing.is_empty(), "{point:?}: {report:?}");
        erase_all(&log, &of(&[1, 6]));
        assert_erased(&log, &ids, &[1, 6], &format!("{point:?}")).await;
        assert!(log.shutdown());
        let (log, _) = crashed.open();
        assert_erased(&log, &ids, &[1, 6], &format!("{point:?}: after a restart")).await;
    }
}
