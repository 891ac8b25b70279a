//! What goes wrong beside the clicks: disks that cannot read, files that cannot be deleted, work that panics, ends that come
//! in the middle.

use std::fs;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::time::{Duration, Instant};

use super::{DAY, HOUR, START, World, count_found, flip, gaid, held, publish, stored, until};
use roundtrip_domain::click::Touch;
use roundtrip_domain::click_id::ClickId;
use roundtrip_domain::time::Timestamp;
use roundtrip_store::click_log::faults::Point;
use roundtrip_store::click_log::{Append, Cause, ClickLog, Error, Found, Work};

/// Five clicks in a closed slice that is counted; the hour is over behind it.
async fn slice(world: &World, log: &ClickLog, from: u64) -> Vec<ClickId> {
    let ids = world.store(log, from..from + 5).await;
    assert!(log.close_now());
    publish(log);
    world.clock.advance(HOUR);
    ids
}

/// Changes a letter of a stored browser, so that everything reads as before and says something else.
fn forge(path: &PathBuf) {
    let bytes = fs::read(path).unwrap();
    let at = bytes.windows(7).position(|w| w == b"Mozilla").expect("a browser");
    flip(path, at as u64, 1);
}

#[tokio::test]
async fn changed_bytes_do_not_get_into_a_segment_whose_checksum_is_right() {
    let mut world = World::new();
    world.config.verify_at_start = 0;
    let (log, _) = world.open();
    slice(&world, &log, 0).await;
    forge(&world.files(".closed.sqlite")[0]);
    let error = log.seal(world.clock.now()).unwrap_err();
    assert!(
        matches!(&error, Error::Damaged { file, .. } if *file == world.files(".closed.sqlite")[0]),
        "{error}"
    );
    assert_eq!(log.stats().segments, 0);
    until("setting it aside", || log.damages().iter().any(|damage| damage.cause == Cause::Changed)).await;
}

#[tokio::test]
async fn nor_into_one_that_segments_become() {
    let mut world = World::new();
    world.config.verify_at_start = 0;
    let (log, _) = world.open();
    for n in 0..2 {
        world.store(&log, n * 5..n * 5 + 5).await;
        assert!(log.close_now());
        publish(&log);
        assert_eq!(log.seal_now().unwrap().len(), 1);
    }
    world.clock.advance(HOUR);
    let first = world.dir().join(&log.segments()[0].file);
    // What the footer says of who wrote it is no part of any click: it reads as before.
    let bytes = fs::read(&first).unwrap();
    let at = bytes.windows(9).rposition(|w| w == b"roundtrip").expect("who wrote it");
    flip(&first, at as u64, 1);
    let error = log.seal(world.clock.now()).unwrap_err();
    assert!(matches!(&error, Error::Damaged { file, .. } if *file == first), "{error}");
    assert_eq!(log.segments().len(), 2, "nothing was merged");
    until("setting it aside", || log.damages().iter().any(|damage| damage.cause == Cause::Changed)).await;
}

#[tokio::test]
async fn a_segment_that_the_disk_cannot_read_is_as_good_as_damaged() {
    let mut world = World::new();
    world.config.verify_at_start = 0;
    let (log, _) = world.open();
    let ids = slice(&world, &log, 0).await;
    assert!(log.seal(world.clock.now()).unwrap().is_some());
    let segment = log.segments()[0].clone();
    world.faults.unreadable(segment.seq);
    let damage = log.verify(segment.seq).unwrap().expect("it is damage");
    assert_eq!((damage.cause, damage.clicks_kept), (Cause::Changed, 5));
    assert!(!world.dir().join(&segment.file).exists() && damage.set_aside[0].exists());
    assert_eq!(count_found(&log, &ids).await, 5, "what could be read goes on");
    assert!(log.segments()[0].seq > segment.seq);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn erased_is_not_said_of_files_that_are_still_there() {
    let world = World::new();
    let (log, _) = world.open();
    let ids = slice(&world, &log, 0).await;
    assert!(log.seal(world.clock.now()).unwrap().is_some());
    let path = world.dir().join(&log.segments()[0].file);
    let is_it = |touch: &Touch| touch.click.prints(&touch.click.params()).contains(&gaid(2));
    world.faults.hold(Point::BeforeDelete);
    let erasing = tokio::task::spawn_blocking({
        let log = log.clone();
        move || log.erase_next(0, &is_it)
    });
    held(&world, Point::BeforeDelete).await;
    // In its place stands something that cannot be deleted as a file.
    fs::remove_file(&path).unwrap();
    fs::create_dir_all(path.join("in the way")).unwrap();
    world.faults.release(Point::BeforeDelete);
    let erased = erasing.await.unwrap().unwrap().expect("a file");
    assert_eq!((erased.erased, erased.is_left), (1, true), "it is counted, though it is still there");
    assert_eq!(count_found(&log, &ids).await, 4, "nobody finds it any more");
    // The files that are left hold nothing of it, and it is not said that all is done.
    let rest = log.erase_next(erased.seq, &is_it).unwrap().expect("a file without it");
    assert_eq!((rest.erased, rest.is_left), (0, false));
    let error = log.erase_next(rest.seq, &is_it).unwrap_err();
    assert!(matches!(&error, Error::Io { what: "delete", file, .. } if *file == path), "{error}");
    assert!(error.is_retryable());
    fs::remove_dir_all(&path).unwrap();
    fs::write(&path, "what is left").unwrap();
    assert_eq!(log.erase_next(rest.seq, &is_it).unwrap(), None);
    assert!(!path.exists(), "it was deleted now");
}

#[tokio::test]
async fn a_panic_of_the_closer_is_counted_and_the_log_goes_on() {
    let world = World::new();
    let (log, _) = world.open();
    let mut ids = world.store(&log, 0..5).await;
    world.faults.panic_at(Point::BeforeSideFile);
    assert!(log.close_now(), "it is tried again");
    assert_eq!((log.stats().panics, log.stats().slices_closed), (1, 1));
    ids.extend(world.store(&log, 5..10).await);
    assert!(log.close_now());
    assert_eq!((count_found(&log, &ids).await, log.stats().slices_closed), (10, 2));
    assert!(log.damages().is_empty(), "{:?}", log.damages());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn the_end_waits_for_a_step_of_sealing() {
    static IS_DOWN: AtomicBool = AtomicBool::new(false);
    let world = World::new();
    let (log, _) = world.open();
    let ids = slice(&world, &log, 0).await;
    world.faults.hold(Point::BeforeSwap);
    let sealing = tokio::task::spawn_blocking({
        let (log, now) = (log.clone(), world.clock.now());
        move || log.seal(now)
    });
    held(&world, Point::BeforeSwap).await;
    let ending = tokio::task::spawn_blocking({
        let log = log.clone();
        move || {
            let ended = log.shutdown();
            IS_DOWN.store(true, SeqCst);
            ended
        }
    });
    until("stopping", || !log.stats().open).await;
    // The threads of the log have nothing to do: without the step, the end would be a matter of moments.
    let began = Instant::now();
    while began.elapsed() < Duration::from_millis(300) && !IS_DOWN.load(SeqCst) {
        tokio::task::yield_now().await;
    }
    let ended_early = IS_DOWN.load(SeqCst);
    world.faults.release(Point::BeforeSwap);
    assert!(!ended_early, "it ended in the middle of a step");
    assert!(matches!(sealing.await.unwrap(), Ok(Some(Work::Sealed { .. }))));
    assert!(ending.await.unwrap());
    let (log, report) = world.open();
    assert!(report.adopted.is_empty() && report.damaged.is_empty(), "{report:?}");
    assert_eq!((count_found(&log, &ids).await, log.segments().len()), (5, 1));
}

#[tokio::test]
async fn a_slice_without_clicks_keeps_no_other_from_being_sealed() {
    let world = World::new();
    let (log, _) = world.open();
    slice(&world, &log, 0).await;
    let ids = slice(&world, &log, 5).await;
    assert!(log.shutdown());
    // Nothing of ours writes such a one; the list of files is lost with it.
    let conn = rusqlite::Connection::open(&world.files(".closed.sqlite")[0]).unwrap();
    conn.execute_batch("PRAGMA journal_mode = DELETE; DELETE FROM click").unwrap();
    conn.close().unwrap();
    for end in ["", "-wal", "-shm"] {
        let _ = fs::remove_file(world.dir().join(format!("manifest.sqlite{end}")));
    }
    let (log, _) = world.open();
    publish(&log);
    let mut ends = Vec::new();
    while ends.len() < 20 {
        match log.seal(world.clock.now()) {
            Ok(None) => break,
            done => ends.push(done),
        }
    }
    assert!(
        matches!(&ends[..], [Err(Error::Damaged { .. }), Ok(Some(Work::Sealed { clicks: 5, .. }))]),
        "{ends:?}"
    );
    assert_eq!(count_found(&log, &ids).await, 5);
}

/// Files below the log's directory that this process has open and that nobody can open any more.
#[cfg(target_os = "linux")]
fn deleted_and_open(world: &World) -> Vec<PathBuf> {
    let open = fs::read_dir("/proc/self/fd").unwrap().filter_map(|fd| fs::read_link(fd.ok()?.path()).ok());
    open.filter(|path| path.starts_with(world.dir()) && path.to_string_lossy().ends_with(" (deleted)"))
        .collect()
}

#[cfg(target_os = "linux")]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_file_that_was_opened_as_it_was_deleted_is_let_go() {
    let world = World::new();
    let (log, _) = world.open();
    let ids = slice(&world, &log, 0).await;
    assert!(log.seal(world.clock.now()).unwrap().is_some());
    world.faults.hold(Point::Opened);
    let looking = tokio::spawn({
        let (log, id) = (log.clone(), ids[0]);
        async move { log.find(id).await }
    });
    held(&world, Point::Opened).await;
    world.clock.advance(200 * DAY);
    assert_eq!(log.expire(world.clock.now()).unwrap().len(), 1);
    assert_eq!(deleted_and_open(&world).len(), 1, "the look-up has it in hand");
    world.faults.release(Point::Opened);
    assert!(matches!(looking.await.unwrap().unwrap(), Found::Touch(_)));
    assert!(deleted_and_open(&world).is_empty(), "the disk has its space back");
    let next = world.store(&log, 9..10).await;
    assert_eq!(count_found(&log, &next).await, 1);
}

/// Whoever erases or seals everything has the slice closed first.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_slice_that_is_not_listed_yet_is_waited_for() {
    let world = World::new();
    let (log, _) = world.open();
    world.store(&log, 0..5).await;
    world.faults.hold(Point::BeforeManifest);
    let close =
        |log: ClickLog| tokio::task::spawn_blocking(move || (log.close_now(), log.to_publish().len()));
    let first = close(log.clone());
    held(&world, Point::BeforeManifest).await;
    let second = close(log.clone());
    let began = Instant::now();
    while began.elapsed() < Duration::from_millis(300) && !second.is_finished() {
        tokio::task::yield_now().await;
    }
    world.faults.release(Point::BeforeManifest);
    assert_eq!((first.await.unwrap(), second.await.unwrap()), ((true, 1), (true, 1)));
}

/// A start does not wait for what it can do later, and a look-up says so instead of finding nothing.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn side_files_that_are_lost_at_once_are_made_again_beside_everything_else() {
    for (kind, is_manifest_lost) in [("day", false), ("hours", false), ("hours", true), ("slices", false)] {
        let what = format!("{kind}, manifest lost: {is_manifest_lost}");
        let mut world = World::new();
        world.config.verify_at_start = 0;
        let (log, _) = world.open();
        let mut ids = Vec::new();
        for n in 0..4 {
            ids.extend(slice(&world, &log, n * 5).await);
            if kind != "slices" {
                assert!(log.seal(world.clock.now()).unwrap().is_some());
            }
        }
        if kind == "day" {
            world.clock.advance(DAY);
            while log.seal(world.clock.now()).unwrap().is_some() {}
        }
        assert!(log.shutdown());
        let mut lost: Vec<PathBuf> = world.files(".prints");
        let sides = fs::read_dir(world.dir().join("prints")).into_iter().flatten();
        lost.extend(sides.map(|entry| entry.unwrap().path()));
        assert_eq!(lost.len(), if kind == "day" { 1 } else { 4 }, "{what}");
        lost.iter().for_each(|path| fs::remove_file(path).unwrap());
        if is_manifest_lost {
            for end in ["", "-wal", "-shm"] {
                let _ = fs::remove_file(world.dir().join(format!("manifest.sqlite{end}")));
            }
        }
        // One of them is made at once.
        world.config.sides_at_start_clicks = 9;
        world.faults.hold(Point::SideAgain);
        let (log, report) = world.open();
        let (rebuilt, waiting) = (report.side_files_rebuilt.len(), report.side_files_lost.len());
        assert_eq!(log.stats().sides_lost, waiting, "{what}: {report:?}");
        assert!(waiting >= if kind == "day" { 1 } else { 3 } && rebuilt <= 1, "{what}: {report:?}");
        held(&world, Point::SideAgain).await;
        let far = Timestamp::from_ms(i64::MAX / 2);
        let mut refused = 0;
        for n in 0..20 {
            match log.find_print(gaid(n), START, far, 9).await {
                Ok(found) => assert_eq!(found.len(), 1, "{what}: {n}"),
                Err(error) => {
                    assert!(error.is_retryable(), "{what}: {error}");
                    refused += 1;
                }
            }
        }
        assert!(refused >= 15, "{what}: {refused} are refused");
        assert_eq!(count_found(&log, &ids).await, 20, "{what}: by id they are found");
        let more = stored(log.append(world.click(20)).await);
        world.faults.release(Point::SideAgain);
        until("making them again", || log.stats().sides_lost == 0).await;
        ids.push(more);
        for (n, id) in ids.iter().enumerate() {
            let found = log.find_print(gaid(n as u64), START, far, 9).await.unwrap();
            assert_eq!(found.iter().map(|touch| touch.id).collect::<Vec<_>>(), [*id], "{what}: {n}");
        }
        assert!(log.shutdown());
        let (log, report) = world.open();
        assert!(
            report.side_files_rebuilt.is_empty() && report.side_files_lost.is_empty(),
            "{what}: {report:?}"
        );
        assert!(log.damages().is_empty(), "{what}: {:?}", log.damages());
    }
}

/// What cannot be made again keeps nothing else waiting.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_side_file_that_cannot_be_made_again_keeps_no_other_from_it() {
    let mut world = World::new();
    world.config.verify_at_start = 0;
    let (log, _) = world.open();
    let mut ids = Vec::new();
    for n in 0..3 {
        ids.extend(slice(&world, &log, n * 5).await);
        assert!(log.seal(world.clock.now()).unwrap().is_some());
    }
    assert!(log.shutdown());
    fs::remove_dir_all(world.dir().join("prints")).unwrap();
    world.config.sides_at_start_clicks = 0;
    world.faults.hold(Point::SideAgain);
    let (log, report) = world.open();
    assert_eq!((log.stats().sides_lost, report.side_files_lost.len()), (3, 3), "{report:?}");
    held(&world, Point::SideAgain).await;
    // The newest is tried first. In the place of its segment stands something that cannot be read.
    let newest = world.dir().join(&log.segments()[2].file);
    let bytes = fs::read(&newest).unwrap();
    fs::remove_file(&newest).unwrap();
    fs::create_dir(&newest).unwrap();
    world.faults.release(Point::SideAgain);
    until("making the others", || log.stats().sides_lost <= 1).await;
    let far = Timestamp::from_ms(i64::MAX / 2);
    let before = Timestamp::from_ms(START.ms() + 2 * HOUR - 1);
    for n in 0..10 {
        assert_eq!(log.find_print(gaid(n), START, before, 9).await.unwrap().len(), 1, "{n}");
    }
    assert!(log.find_print(gaid(12), START, far, 9).await.is_err(), "this one is not there yet");
    fs::remove_dir(&newest).unwrap();
    fs::write(&newest, bytes).unwrap();
    until("making the last", || log.stats().sides_lost == 0).await;
    assert_eq!(log.find_print(gaid(12), START, far, 9).await.unwrap().len(), 1);
    assert_eq!(count_found(&log, &ids).await, 15);
    assert!(log.damages().is_empty(), "{:?}", log.damages());
}

/// A segment that cannot be read through is not taken for one whose clicks have no prints.
#[tokio::test]
async fn a_damaged_segment_without_a_side_file_answers_nothing_by_print_until_it_is_given_up() {
    let mut world = World::new();
    world.config.verify_at_start = 0;
    let (log, _) = world.open();
    let ids = world.sealed(&log, 2_500).await;
    assert!(log.shutdown());
    fs::remove_dir_all(world.dir().join("prints")).unwrap();
    // In the first page of the ids.
    flip(&world.dir().join(&log.segments()[0].file), 20, 20);
    world.faults.hold(Point::SideAgain);
    let (log, report) = world.open();
    assert!(report.side_files_rebuilt.is_empty() && report.side_files_lost.len() == 1, "{report:?}");
    held(&world, Point::SideAgain).await;
    let far = Timestamp::from_ms(i64::MAX / 2);
    for n in [3, 2_400] {
        let error = log.find_print(gaid(n), START, far, 9).await.unwrap_err();
        assert!(error.is_retryable(), "{error}");
    }
    world.faults.release(Point::SideAgain);
    until("giving it up", || log.stats().sides_lost == 0).await;
    let damages = log.damages();
    assert_eq!(damages.len(), 1, "{damages:?}");
    assert!((1_000..2_500).contains(&damages[0].clicks_kept), "{damages:?}");
    assert_eq!(count_found(&log, &ids).await as u64, damages[0].clicks_kept);
    let found = log.find_print(gaid(2_400), START, far, 9).await.unwrap();
    assert_eq!(found.iter().map(|touch| touch.id).collect::<Vec<_>>(), [ids[2_400]]);
    assert!(log.find_print(gaid(3), START, far, 9).await.unwrap().is_empty(), "it is gone by now");
    assert!(log.shutdown());
    let (_, report) = world.open();
    assert!(report.damaged.is_empty() && report.side_files_rebuilt.is_empty(), "{report:?}");
}

/// The same while the log runs: whoever asks by print has both looked into.
#[tokio::test]
async fn a_segment_and_its_side_file_that_are_damaged_together_are_given_up_for_a_look_up() {
    let mut world = World::new();
    world.config.verify_at_start = 0;
    let (log, _) = world.open();
    let ids = world.store_at_once(&log, 0..2_500).await;
    assert!(log.close_now());
    publish(&log);
    // A second segment, which is well, with the same side file.
    world.clock.advance(HOUR);
    let next = slice(&world, &log, 2_500).await;
    world.clock.advance(2 * DAY);
    while log.seal(world.clock.now()).unwrap().is_some() {}
    assert_eq!(log.segments().len(), 2);
    let side = fs::read_dir(world.dir().join("prints")).unwrap().next().unwrap().unwrap().path();
    fs::remove_file(side).unwrap();
    flip(&world.dir().join(&log.segments()[0].file), 20, 20);
    let far = Timestamp::from_ms(i64::MAX / 2);
    let error = log.find_print(gaid(2_400), START, far, 9).await.unwrap_err();
    assert!(error.is_retryable(), "{error}");
    until("giving it up", || log.damages().len() >= 2).await;
    for (n, id) in [(2_400, ids[2_400]), (2_502, next[2])] {
        let found = log.find_print(gaid(n), START, far, 9).await.unwrap();
        assert_eq!(found.iter().map(|touch| touch.id).collect::<Vec<_>>(), [id]);
    }
    assert!(log.find_print(gaid(3), START, far, 9).await.unwrap().is_empty(), "it is gone by now");
}

/// The clock is set back between the moment at which a click is received and its commit.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_id_is_before_its_click() {
    let world = World::new();
    let (log, _) = world.open();
    world.faults.hold(Point::BeforeMint);
    let appending = tokio::spawn({
        let (log, click) = (log.clone(), world.click(0));
        async move { log.append(click).await }
    });
    held(&world, Point::BeforeMint).await;
    world.clock.jump(-HOUR);
    world.faults.release(Point::BeforeMint);
    let Append::Stored(id) = appending.await.unwrap() else { panic!("it is stored") };
    assert_eq!(id.ms(), START.ms());
    let found = log.find_print(gaid(0), START, Timestamp::from_ms(START.ms()), 9).await.unwrap();
    assert_eq!(found.len(), 1);
}
