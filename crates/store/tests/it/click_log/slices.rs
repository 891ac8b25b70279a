//! The life of a slice: closed, published, expired, and what a crash between leaves.

use super::{DAY, START, World, count_found, counted, gaid, is_found, stored, until};
use roundtrip_domain::location::{Country, Location};
use roundtrip_domain::time::Span;
use roundtrip_store::click_log::faults::Point;
use roundtrip_store::click_log::{ClickLog, Found, SliceCount};

#[tokio::test]
async fn slices_close_by_size_and_by_age_while_appends_go_on() {
    let mut world = World::new();
    world.config.slice_bytes_max = 20_000;
    let (log, _) = world.open();
    let tasks: Vec<_> = (0..4_u64)
        .map(|t| {
            let log = log.clone();
            let clicks: Vec<_> = (0..200).map(|n| world.click(t * 1_000 + n)).collect();
            tokio::spawn(async move {
                let mut ids = Vec::new();
                for click in clicks {
                    ids.push(stored(log.append(click).await));
                }
                ids
            })
        })
        .collect();
    let mut ids = Vec::new();
    for task in tasks {
        ids.extend(task.await.unwrap());
    }
    assert_eq!(count_found(&log, &ids).await, 800);
    world.clock.advance(3_600_000);
    let last = stored(log.append(world.click(9)).await);
    assert!(log.close_now());
    assert!(log.stats().slices_closed >= 5, "{:?}", log.stats());
    assert_eq!(count_found(&log, &ids).await, 800);
    assert!(is_found(&log, last).await);
    let publish = log.to_publish();
    assert_eq!(publish.iter().map(|s| s.clicks).sum::<u64>(), 801);
    assert_eq!(publish.last().unwrap().clicks, 1, "the old slice was closed for its age");
    for pair in publish.windows(2) {
        assert!(pair[0].id_last <= pair[1].began && pair[0].seq < pair[1].seq);
    }
    for slice in publish {
        assert!(slice.counts.iter().all(|c| c.bucket_start.ms() % (15 * 60_000) == 0));
        assert_eq!(slice.counts.iter().map(|c| c.count).sum::<u64>(), slice.clicks);
    }
}

/// Waits until the log of the next slice is made, and says how long it is.
async fn spare(world: &World) -> u64 {
    let path = world.dir().join("next-wal");
    until("making a log beforehand", || path.exists()).await;
    std::fs::metadata(&path).unwrap().len()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn where_slices_fill_the_log_of_the_next_one_is_made_beforehand() {
    let mut world = World::new();
    // A click takes a page of the log, and four times so many bytes of log fill a slice.
    world.config.slice_bytes_max = 20_000;
    let (log, _) = world.open();
    let mut ids = world.store(&log, 0..1).await;
    let longest = |world: &World| {
        world.files("-wal").iter().map(|path| std::fs::metadata(path).unwrap().len()).max().unwrap_or(0)
    };
    assert!(longest(&world) < 20_000, "the first slice has none");
    // The second begins before the first is closed, and so without.
    world.faults.hold(Point::Closing);
    ids.extend(world.store(&log, 1..25).await);
    world.faults.release(Point::Closing);
    let made = spare(&world).await;
    assert!(made > 80_000, "as long as the log of the slice before");
    let bytes = std::fs::read(world.dir().join("next-wal")).unwrap();
    assert!(bytes.iter().all(|byte| *byte == 0), "nothing of anybody is in it");
    // The third takes it, before the second is closed.
    world.faults.hold(Point::Closing);
    ids.extend(world.store(&log, 25..45).await);
    assert_eq!(longest(&world), made);
    world.faults.release(Point::Closing);
    assert_eq!(count_found(&log, &ids).await, 45);
    // There is one for the fourth, which a crash leaves and a start takes away.
    spare(&world).await;
    let crashed = world.crashed();
    let (after, report) = crashed.open();
    assert!(report.damaged.is_empty(), "{report:?}");
    assert!(!crashed.dir().join("next-wal").exists());
    assert_eq!(count_found(&after, &ids).await, 45);
    assert!(after.shutdown());
    // Where clicks come slowly there is none.
    assert!(log.close_now());
    ids.extend(world.store(&log, 45..46).await);
    assert!(log.close_now() && log.shutdown());
    assert!(!world.dir().join("next-wal").exists());
    let (log, _) = world.open();
    assert_eq!(count_found(&log, &ids).await, 46);
}

#[tokio::test]
async fn a_crash_at_any_step_of_closing_loses_and_doubles_nothing() {
    for point in [Point::Closing, Point::BeforeSideFile, Point::BeforeRename, Point::BeforeManifest] {
        let world = World::new();
        let (log, _) = world.open();
        let ids = world.store(&log, 0..40).await;
        world.faults.hold(point);
        let closing = tokio::task::spawn_blocking({
            let log = log.clone();
            move || log.close_now()
        });
        assert!(world.faults.wait_held(point), "{point:?}");
        let more = world.store(&log, 40..45).await;
        let crashed = world.crashed();
        assert_eq!(count_found(&log, &ids).await, 40, "{point:?}: found meanwhile");
        assert_eq!(counted(&log), 45, "{point:?}: counted meanwhile");
        world.faults.release(point);
        assert!(closing.await.unwrap());

        let (log, report) = crashed.open();
        assert!(report.damaged.is_empty() && report.missing.is_empty(), "{point:?}: {report:?}");
        assert_eq!(count_found(&log, &ids).await + count_found(&log, &more).await, 45, "{point:?}");
        assert_eq!(counted(&log), 45, "{point:?}");
        assert_eq!(log.find_print(gaid(39), START, START, 9).await.unwrap().len(), 1, "{point:?}");
        assert!(log.close_now());
        let publish = log.to_publish();
        assert_eq!(
            publish.iter().map(|s| (s.seq, s.clicks)).collect::<Vec<_>>(),
            [(1, 40), (2, 5)],
            "{point:?}"
        );
        assert!(log.shutdown());
        let (_, report) = crashed.open();
        assert!(report.damaged.is_empty() && report.side_files_rebuilt.is_empty(), "{point:?}: {report:?}");
    }
}

#[tokio::test]
async fn publishing_twice_counts_once() {
    let world = World::new();
    let (log, _) = world.open();
    let mut absent = world.click(1);
    absent.query = b"sub1=x".to_vec();
    absent.flag();
    let mut unexpanded = world.click(2);
    unexpanded.query = b"click_id={clickid}".to_vec();
    unexpanded.flag();
    stored(log.append(absent).await);
    stored(log.append(unexpanded).await);
    world.store(&log, 3..10).await;
    let before: Vec<_> = log.active_counts().into_iter().flat_map(|u| u.counts).collect();
    assert!(log.to_publish().is_empty());
    assert!(log.close_now());
    let offered = log.to_publish();
    assert_eq!(offered.len(), 1);
    assert_eq!(offered[0].counts, before, "the same counts, active or closed");
    let count = &before[0];
    assert_eq!((count.count, count.partner_click_id_absent, count.partner_click_id_unexpanded), (9, 1, 1));
    assert_eq!((log.active_counts()[0].node, log.active_counts()[0].seq), (5, 1));
    // The process dies between the ledger's commit and this log's note of it: the same slice is offered again.
    assert!(log.shutdown());
    let (log, _) = world.open();
    assert_eq!(log.to_publish(), offered);
    log.published(1).unwrap();
    log.published(1).unwrap();
    log.published(77).unwrap();
    assert!(log.to_publish().is_empty() && log.active_counts().is_empty());
    assert!(log.shutdown());
    let (log, report) = world.open();
    assert!(report.to_publish.is_empty() && log.active_counts().is_empty());
}

/// Countries are counted apart, in memory, in the closed slice and when both are made again from what is on the disk.
#[tokio::test]
async fn countries_are_counted_apart_through_every_step() {
    let world = World::new();
    let (log, _) = world.open();
    for (n, country) in [(1, "DE"), (2, "DE"), (3, "FR"), (4, ""), (5, "DE")] {
        let mut click = world.click(n);
        click.location.country = Country::parse(country);
        click.location.city = Location::text("Somewhere");
        let id = stored(log.append(click.clone()).await);
        let Ok(Found::Touch(touch)) = log.find(id).await else { panic!("it is found") };
        assert_eq!(touch.click.location, click.location);
    }
    let want = [(None, 1), (Country::parse("DE"), 3), (Country::parse("FR"), 1)];
    let counts = |slices: &[SliceCount]| {
        let mut counts: Vec<_> = slices.iter().map(|c| (c.country, c.count)).collect();
        counts.sort_unstable();
        counts
    };
    let active =
        |log: &ClickLog| counts(&log.active_counts().into_iter().flat_map(|u| u.counts).collect::<Vec<_>>());
    assert_eq!(active(&log), want);
    assert_eq!(active(&world.crashed().open().0), want, "counted anew from the rows");
    assert!(log.close_now());
    assert_eq!(counts(&log.to_publish()[0].counts), want);
    let crashed = world.crashed();
    assert_eq!(counts(&crashed.open().0.to_publish()[0].counts), want, "read back from the manifest");
}

#[tokio::test]
async fn expiry_deletes_whole_slices_and_keeps_unpublished_counts() {
    let mut world = World::new();
    world.config.retention = Span::from_ms(10 * DAY);
    let (log, _) = world.open();
    let old = world.store(&log, 0..3).await;
    assert!(log.close_now());
    world.clock.advance(DAY);
    world.store(&log, 3..5).await;
    assert!(log.close_now());
    world.clock.advance(5 * DAY);
    let young = world.store(&log, 5..6).await;
    assert!(log.close_now());
    log.published(1).unwrap();
    assert!(log.expire(world.clock.now()).unwrap().is_empty());
    world.clock.advance(6 * DAY);
    let gone = log.expire(world.clock.now()).unwrap();
    assert_eq!(gone.iter().map(|g| (g.seq, g.clicks)).collect::<Vec<_>>(), [(1, 3), (2, 2)]);
    assert!(log.expire(world.clock.now()).unwrap().is_empty());
    assert_eq!((world.files(".closed.sqlite").len(), world.files(".prints").len()), (1, 1));
    assert_eq!(log.find(old[0]).await.unwrap(), Found::Expired);
    assert!(is_found(&log, young[0]).await);
    assert_eq!(counted(&log), 3, "slice 2 was never published: its counts are");
    log.published(2).unwrap();
    log.expire(world.clock.now()).unwrap();
    assert!(log.shutdown());
    let (log, report) = world.open();
    assert!(report.missing.is_empty() && report.damaged.is_empty(), "{report:?}");
    assert_eq!((report.to_publish, log.stats().slices_missing), (vec![3], 0));
}
