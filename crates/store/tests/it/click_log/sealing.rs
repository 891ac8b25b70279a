//! Sealing: whatever becomes of the files, every click is found, once, as it was stored.

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;

use super::lookup_sealed::pages_of;
use super::{
    DAY, HOUR, START, World, count_found, counted, flip, gaid, held, publish, seal_all, stored, until,
};
use proptest::prelude::*;
use roundtrip_domain::click::{Click, TouchKind};
use roundtrip_domain::click_id::ClickId;
use roundtrip_domain::id::{Id, WorkspaceNo};
use roundtrip_domain::location::Country;
use roundtrip_domain::time::{Span, Timestamp};
use roundtrip_store::click_log::faults::Point;
use roundtrip_store::click_log::{Cause, ClickLog, Found, Work};

const NEVER: Timestamp = Timestamp::from_ms(i64::MAX / 2);

/// Names of all files of sealed clicks, side files too, sorted.
fn sealed_files(world: &World) -> Vec<String> {
    let mut found = Vec::new();
    let mut below = vec![world.dir().to_owned()];
    while let Some(dir) = below.pop() {
        for entry in fs::read_dir(&dir).unwrap() {
            let path = entry.unwrap().path();
            let name = path.file_name().unwrap().to_string_lossy().into_owned();
            let is_sealed = name == "prints" || name.starts_with("dt=") || name.starts_with("hr=");
            if path.is_dir() && is_sealed {
                below.push(path);
            } else if path.is_file() && (dir != world.dir() || name.ends_with(".sealing.tmp")) {
                found.push(path.strip_prefix(world.dir()).unwrap().to_string_lossy().into_owned());
            }
        }
    }
    found.sort();
    found
}

fn segment_paths(world: &World) -> Vec<PathBuf> {
    let files = sealed_files(world);
    files.iter().filter(|f| f.ends_with(".parquet")).map(|f| world.dir().join(f)).collect()
}

/// Clicks in files that are listed, the active slice's too.
fn clicks_in_files(log: &ClickLog) -> u64 {
    let slices: u64 = log.slices().iter().map(|slice| slice.clicks).sum();
    slices + log.segments().iter().filter(|s| !s.is_missing).map(|s| s.clicks).sum::<u64>()
}

/// Each id and each device is found exactly once, and no file holds more.
async fn assert_whole(log: &ClickLog, ids: &[ClickId], what: &str) {
    assert_eq!(count_found(log, ids).await, ids.len(), "{what}: by id");
    for n in 0..ids.len() as u64 {
        let found = log.find_print(gaid(n), START, NEVER, 9).await.unwrap();
        assert_eq!(found.len(), 1, "{what}: click {n} by its device");
        assert_eq!(found[0].id, ids[n as usize], "{what}");
    }
    assert_eq!(clicks_in_files(log), ids.len() as u64, "{what}: clicks in files");
}

/// `n` closed and published slices of five clicks, all of one hour; the hour is over behind it.
async fn slices(world: &World, log: &ClickLog, n: u64) -> Vec<ClickId> {
    let mut ids = Vec::new();
    for slice in 0..n {
        ids.extend(world.store(log, slice * 5..slice * 5 + 5).await);
        assert!(log.close_now());
        world.clock.advance(1_000);
    }
    publish(log);
    world.clock.advance(HOUR);
    ids
}

fn any_click() -> impl Strategy<Value = Click> {
    let text = || proptest::option::of("[a-zäß ]{1,12}");
    let query = prop_oneof![
        proptest::collection::vec(any::<u8>(), 0..120),
        "(click_id|sub1|gaid|idfa|x)=[a-c0-9%20\u{1}]{0,9}(&(click_id|sub2|x)=[a-c]{0,6}){0,4}"
            .prop_map(String::into_bytes),
        (0_u64..9).prop_map(|n| {
            format!("click_id=partner-{n}&gaid=6d92078a-8246-4ba4-ae5b-{n:012x}").into_bytes()
        }),
    ];
    (query, text(), text(), 0_u32..3, 0_u128..3, 0_u128..2, 1_u8..5, any::<bool>()).prop_map(
        |(query, user_agent, referer, workspace, app, partner, kind, is_german)| {
            let world = World::new();
            let mut click = Click {
                workspace: WorkspaceNo(workspace),
                app: Id::from_bits(app),
                partner: Id::from_bits(partner),
                kind: TouchKind::from_number(kind).unwrap(),
                query,
                user_agent,
                referer,
                ..world.click(0)
            };
            click.location.country = is_german.then(|| Country::parse("DE").unwrap());
            click.flag();
            click
        },
    )
}

/// What happens between two clicks.
#[derive(Debug, Clone, Copy)]
enum Between {
    Nothing,
    Close,
    Later(i64),
    Seal,
    SealNow,
    Restart,
}

fn any_between() -> impl Strategy<Value = Between> {
    prop_oneof![
        6 => Just(Between::Nothing),
        2 => Just(Between::Close),
        2 => prop_oneof![Just(1_000), Just(HOUR / 2), Just(HOUR), Just(DAY)].prop_map(Between::Later),
        2 => Just(Between::Seal),
        1 => Just(Between::SealNow),
        1 => Just(Between::Restart),
    ]
}

/// What a look-up by every print of these clicks says.
async fn by_print(log: &ClickLog, clicks: &[(ClickId, Click)]) -> BTreeMap<(u128, u8, u64), Vec<ClickId>> {
    let mut found = BTreeMap::new();
    for (_, click) in clicks {
        for print in click.prints(&click.params()) {
            let touches = log.find_print(print, START, NEVER, 500).await.unwrap();
            let mut ids: Vec<_> = touches.iter().map(|touch| touch.id).collect();
            ids.sort();
            found.insert((print.scope, print.kind as u8, print.hash), ids);
        }
    }
    found
}

proptest! {
    #![proptest_config(proptest::test_runner::Config { max_shrink_iters: 40, ..super::cases() })]

    #[test]
    fn every_click_is_found_as_it_was_whatever_became_of_its_file(
        steps in proptest::collection::vec((any_click(), any_between()), 1..40),
        rows_max in prop_oneof![Just(3_u64), Just(10), Just(1_000)],
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async move {
            let mut world = World::new();
            world.config.segment_rows_max = rows_max;
            let (mut log, _) = world.open();
            let mut clicks = Vec::new();
            for (mut click, between) in steps {
                click.received_at = world.clock.now();
                clicks.push((stored(log.append(click.clone()).await), click));
                match between {
                    Between::Nothing => {}
                    Between::Close => {
                        assert!(log.close_now());
                        publish(&log);
                    }
                    Between::Later(ms) => world.clock.advance(ms),
                    Between::Seal => drop(seal_all(&world, &log)),
                    Between::SealNow => drop(log.seal_now().unwrap()),
                    Between::Restart => {
                        assert!(log.shutdown());
                        let (next, report) = world.open();
                        assert!(report.damaged.is_empty() && report.missing.is_empty(), "{report:?}");
                        assert!(report.adopted.is_empty() && report.side_files_rebuilt.is_empty(), "{report:?}");
                        log = next;
                    }
                }
            }
            let before = by_print(&log, &clicks).await;
            assert!(log.close_now());
            publish(&log);
            world.clock.advance(2 * DAY);
            seal_all(&world, &log);
            assert_eq!(log.stats().slices_closed, 0, "all is sealed");
            for (id, click) in &clicks {
                let Found::Touch(touch) = log.find(*id).await.unwrap() else { panic!("{id} is not found") };
                assert_eq!((&touch.id, &touch.click), (id, click));
            }
            assert_eq!(by_print(&log, &clicks).await, before);
            for (key, ids) in &before {
                let has = |click: &Click| {
                    click.prints(&click.params()).iter().any(|p| (p.scope, p.kind as u8, p.hash) == *key)
                };
                let mut want: Vec<_> = clicks.iter().filter(|(_, c)| has(c)).map(|(id, _)| *id).collect();
                want.sort();
                assert_eq!(ids, &want, "none is left out, none is there twice");
            }
            assert_eq!(clicks_in_files(&log), clicks.len() as u64);
            assert!(log.shutdown());
        });
    }
}

#[tokio::test]
async fn slices_wait_for_the_ledger_and_for_the_end_of_their_hour_unless_they_fill_a_segment() {
    let mut world = World::new();
    world.config.segment_rows_max = 12;
    let (log, _) = world.open();
    let mut ids = world.store(&log, 0..5).await;
    assert!(log.close_now());
    world.clock.advance(HOUR);
    assert_eq!(log.seal(world.clock.now()).unwrap(), None, "its counts are not in the ledger");
    publish(&log);
    ids.extend(world.store(&log, 5..6).await);
    assert!(matches!(log.seal(world.clock.now()).unwrap(), Some(Work::Sealed { slices: 1, clicks: 5, .. })));
    assert!(log.close_now());
    publish(&log);
    assert_eq!(log.seal(world.clock.now()).unwrap(), None, "its hour is not over");
    for n in 0..2 {
        ids.extend(world.store(&log, 6 + n * 6..12 + n * 6).await);
        assert!(log.close_now());
    }
    publish(&log);
    // One and six are seven, six more would be too many.
    assert!(matches!(log.seal(world.clock.now()).unwrap(), Some(Work::Sealed { slices: 2, clicks: 7, .. })));
    assert_eq!(log.seal(world.clock.now()).unwrap(), None);
    assert_whole(&log, &ids, "while some are sealed").await;
    let active = stored(log.append(world.click(18)).await);
    ids.push(active);
    world.clock.advance(HOUR);
    assert_eq!(log.seal(world.clock.now()).unwrap(), None, "a slice that is written has clicks of that hour");
    assert!(log.close_now());
    publish(&log);
    assert!(matches!(log.seal(world.clock.now()).unwrap(), Some(Work::Sealed { slices: 2, clicks: 7, .. })));
    assert_whole(&log, &ids, "at the end").await;
    assert!(world.files(".closed.sqlite").is_empty() && world.files(".prints").is_empty());
    let stats = log.stats();
    assert_eq!((stats.segments, stats.segments_clicks, stats.slices_unsealed), (3, 19, 0));
    assert!(stats.bytes_segments > 1_000 && stats.bytes_sides > 500 && stats.seal_error.is_none());
}

#[tokio::test]
async fn seal_after_keeps_slices_for_longer() {
    let mut world = World::new();
    world.config.seal_after = Span::from_ms(2 * HOUR);
    let (log, _) = world.open();
    let ids = slices(&world, &log, 1).await;
    world.clock.advance(HOUR);
    assert_eq!(log.seal(world.clock.now()).unwrap(), None);
    world.clock.advance(HOUR);
    assert!(matches!(log.seal(world.clock.now()).unwrap(), Some(Work::Sealed { .. })));
    assert_whole(&log, &ids, "sealed").await;
}

#[tokio::test]
async fn small_segments_of_an_hour_become_one_and_side_files_of_a_day_too() {
    let world = World::new();
    let (log, _) = world.open();
    let mut ids = Vec::new();
    for n in 0..3 {
        ids.extend(world.store(&log, n * 5..n * 5 + 5).await);
        assert!(log.close_now());
        publish(&log);
        assert_eq!(log.seal_now().unwrap().len(), 1);
        world.clock.advance(1_000);
    }
    assert_eq!(log.seal(world.clock.now()).unwrap(), None, "the hour is not over");
    world.clock.advance(HOUR);
    ids.extend(world.store(&log, 15..20).await);
    assert!(log.close_now());
    publish(&log);
    world.clock.advance(HOUR);
    let work = seal_all(&world, &log);
    assert!(
        matches!(&work[..], [Work::Sealed { slices: 1, .. }, Work::Merged { segments: 3, clicks: 15, .. }]),
        "{work:?}"
    );
    assert_whole(&log, &ids, "merged").await;
    assert_eq!(sealed_files(&world).len(), 4, "two segments, two side files");
    world.clock.advance(DAY);
    let work = seal_all(&world, &log);
    assert!(matches!(&work[..], [Work::SidesMerged { sides: 2, .. }]), "{work:?}");
    assert_whole(&log, &ids, "side files merged").await;
    assert_eq!(sealed_files(&world).len(), 3);
    assert!(log.shutdown());
    let (log, report) = world.open();
    assert!(report.damaged.is_empty() && report.side_files_rebuilt.is_empty(), "{report:?}");
    assert_eq!((report.closed, report.segments), (0, 2));
    assert_whole(&log, &ids, "after a restart").await;
    let hours: Vec<_> =
        log.segments().iter().map(|s| (s.hour.ms() - START.floor_to(HOUR).ms(), s.clicks)).collect();
    assert_eq!(hours, [(0, 15), (HOUR, 5)]);
}

/// Holds the work at a point, looks at the log that goes on and at what a crash there leaves.
async fn crash_at(world: &World, log: &ClickLog, ids: &[ClickId], point: Point, kind: &str) {
    let what = format!("{kind} at {point:?}");
    world.faults.hold(point);
    let working = tokio::task::spawn_blocking({
        let (log, now) = (log.clone(), world.clock.now());
        move || log.seal(now)
    });
    held(world, point).await;
    let (crashed, twin) = (world.crashed(), world.crashed());
    assert_whole(log, ids, &format!("{what}: meanwhile")).await;
    world.faults.release(point);
    assert!(working.await.unwrap().unwrap().is_some(), "{what}");
    assert_whole(log, ids, &format!("{what}: behind it")).await;

    let (log, report) = crashed.open();
    assert!(report.damaged.is_empty() && report.missing.is_empty(), "{what}: {report:?}");
    assert!(report.adopted.is_empty() && report.side_files_rebuilt.is_empty(), "{what}: {report:?}");
    assert_whole(&log, ids, &format!("{what}: started again")).await;
    let listed = log.segments().len() + usize::from(log.stats().segments > 0);
    assert!(sealed_files(&crashed).len() <= 2 * listed, "{what}: {:?}", sealed_files(&crashed));
    seal_all(&crashed, &log);
    assert_whole(&log, ids, &format!("{what}: done again")).await;
    assert_eq!(log.stats().slices_closed, 0, "{what}");
    let expected = sealed_files(&crashed);
    assert!(log.shutdown());
    let (log, report) = crashed.open();
    assert!(report.damaged.is_empty() && report.side_files_rebuilt.is_empty(), "{what}: {report:?}");
    assert_eq!(sealed_files(&crashed), expected, "{what}: a start changes nothing");
    assert_whole(&log, ids, &format!("{what}: at the end")).await;

    // The same crash, and the manifest is lost with it.
    for end in ["", "-wal", "-shm"] {
        let path = twin.dir().join(format!("manifest.sqlite{end}"));
        if path.exists() {
            fs::remove_file(path).unwrap();
        }
    }
    let (log, report) = twin.open();
    assert!(report.damaged.is_empty() && report.missing.is_empty(), "{what}: {report:?}");
    assert_whole(&log, ids, &format!("{what}: without a manifest")).await;
    publish(&log);
    seal_all(&twin, &log);
    assert_whole(&log, ids, &format!("{what}: sealed again")).await;
    assert!(log.shutdown());
    let (log, report) = twin.open();
    assert!(report.adopted.is_empty() && report.damaged.is_empty(), "{what}: {report:?}");
    assert_whole(&log, ids, &format!("{what}: with a new manifest")).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_crash_at_any_step_of_sealing_loses_and_doubles_nothing() {
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
        let ids = slices(&world, &log, 3).await;
        crash_at(&world, &log, &ids, point, "sealing").await;
    }
    for point in points {
        let world = World::new();
        let (log, _) = world.open();
        let mut ids = Vec::new();
        for n in 0..2 {
            ids.extend(world.store(&log, n * 5..n * 5 + 5).await);
            assert!(log.close_now());
            publish(&log);
            assert_eq!(log.seal_now().unwrap().len(), 1);
        }
        world.clock.advance(HOUR);
        crash_at(&world, &log, &ids, point, "merging").await;
    }
    for point in [Point::BeforeSwap, Point::BeforeDelete, Point::BeforeDeleted] {
        let world = World::new();
        let (log, _) = world.open();
        let mut ids = Vec::new();
        for n in 0..2 {
            ids.extend(world.store(&log, n * 5..n * 5 + 5).await);
            assert!(log.close_now());
            publish(&log);
            world.clock.advance(HOUR);
            assert_eq!(seal_all(&world, &log).len(), 1);
        }
        world.clock.advance(DAY);
        crash_at(&world, &log, &ids, point, "merging side files").await;
    }
}

/// What a step left whose change of the manifest failed, and which was done again.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_failed_step_left_is_not_taken_for_a_segment_that_was_lost() {
    let world = World::new();
    let (log, _) = world.open();
    let ids = slices(&world, &log, 3).await;
    world.faults.hold(Point::BeforeSwap);
    let working = tokio::task::spawn_blocking({
        let (log, now) = (log.clone(), world.clock.now());
        move || log.seal(now)
    });
    held(&world, Point::BeforeSwap).await;
    let failed = world.crashed();
    world.faults.release(Point::BeforeSwap);
    assert!(working.await.unwrap().unwrap().is_some());

    let left: Vec<(PathBuf, Vec<u8>)> =
        segment_paths(&failed).into_iter().map(|path| (path.clone(), fs::read(&path).unwrap())).collect();
    assert_eq!(left.len(), 1);
    let (log, _) = failed.open();
    seal_all(&failed, &log);
    assert!(log.shutdown());
    for (path, bytes) in &left {
        assert!(!path.exists(), "a start deleted what was not finished");
        fs::write(path, bytes).unwrap();
    }
    let (log, report) = failed.open();
    assert!(report.adopted.is_empty() && report.damaged.is_empty(), "{report:?}");
    assert_whole(&log, &ids, "beside what was left").await;
    assert!(left.iter().all(|(path, _)| !path.exists()));
}

#[tokio::test]
async fn a_restored_older_manifest_takes_over_what_was_sealed_since_and_loses_no_counts() {
    let world = World::new();
    let (log, _) = world.open();
    let mut ids = world.store(&log, 0..5).await;
    assert!(log.close_now());
    let old = world.crashed();
    assert_eq!(counted(&log), 5);
    publish(&log);
    world.clock.advance(1_000);
    ids.extend(world.store(&log, 5..10).await);
    assert!(log.close_now());
    publish(&log);
    world.clock.advance(HOUR);
    assert!(matches!(&seal_all(&world, &log)[..], [Work::Sealed { slices: 2, .. }]));
    assert!(log.shutdown());
    for end in ["", "-wal", "-shm"] {
        let file = format!("manifest.sqlite{end}");
        let _ = fs::remove_file(world.dir().join(&file));
        if old.dir().join(&file).exists() {
            fs::copy(old.dir().join(&file), world.dir().join(&file)).unwrap();
        }
    }
    let (log, report) = world.open();
    assert_eq!(report.adopted.len(), 1);
    assert!(report.missing.is_empty() && report.damaged.is_empty(), "{report:?}");
    assert_whole(&log, &ids, "taken over").await;
    // The old manifest says that the ledger does not have the counts of the first slice.
    assert_eq!((counted(&log), log.to_publish().len(), log.stats().slices_missing), (5, 1, 0));
    assert!(log.shutdown());
    let (log, report) = world.open();
    assert!(report.adopted.is_empty() && report.missing.is_empty(), "{report:?}");
    assert_eq!(counted(&log), 5, "kept until they are told");
    publish(&log);
    assert_eq!(counted(&log), 0);
    assert!(log.shutdown());
    let (log, report) = world.open();
    assert!(report.to_publish.is_empty());
    assert_whole(&log, &ids, "at the end").await;
}

#[tokio::test]
async fn numbers_are_not_given_twice() {
    let world = World::new();
    let (log, _) = world.open();
    slices(&world, &log, 1).await;
    seal_all(&world, &log);
    let used = log.segments()[0].seq;
    assert!(log.shutdown());
    for end in ["", "-wal", "-shm"] {
        let _ = fs::remove_file(world.dir().join(format!("manifest.sqlite{end}")));
    }
    let (log, _) = world.open();
    world.store(&log, 5..6).await;
    assert!(
        log.slices().iter().all(|slice| slice.seq > used + 1),
        "its side file has the number behind its own"
    );
}

#[tokio::test]
async fn expiry_deletes_segments_and_their_side_files_and_what_is_left_empty() {
    let mut world = World::new();
    world.config.retention = Span::from_ms(10 * DAY);
    let (log, _) = world.open();
    let old = slices(&world, &log, 1).await;
    world.clock.advance(2 * HOUR);
    let mut young = world.store(&log, 5..10).await;
    assert!(log.close_now());
    publish(&log);
    world.clock.advance(DAY);
    let work = seal_all(&world, &log);
    assert!(matches!(work.last(), Some(Work::SidesMerged { sides: 2, .. })), "{work:?}");
    let first = log.segments()[0].clone();
    world.clock.advance(9 * DAY - 4 * HOUR);
    assert_eq!(log.expire(world.clock.now()).unwrap(), []);
    world.clock.advance(2 * HOUR);
    let gone = log.expire(world.clock.now()).unwrap();
    assert_eq!(
        gone.iter().map(|g| (&g.file, g.seq, g.clicks)).collect::<Vec<_>>(),
        [(&first.file, first.seq, 5)]
    );
    assert_eq!(log.find(old[0]).await.unwrap(), Found::Expired);
    assert!(log.find_print(gaid(0), START, NEVER, 9).await.unwrap().is_empty());
    assert_eq!(count_found(&log, &young).await, 5);
    assert_eq!(sealed_files(&world).len(), 2, "the side file of the day still has the other hour");
    assert!(!world.dir().join(&first.file).parent().unwrap().exists(), "an empty hour goes");
    assert!(log.shutdown());
    let (log, report) = world.open();
    assert!(report.missing.is_empty() && report.side_files_rebuilt.is_empty(), "{report:?}");
    assert_eq!(log.find_print(gaid(7), START, NEVER, 9).await.unwrap().len(), 1);
    world.clock.advance(DAY);
    assert_eq!(log.expire(world.clock.now()).unwrap().len(), 1);
    young.clear();
    assert_eq!(sealed_files(&world), [""; 0]);
    let days = fs::read_dir(world.dir()).unwrap().map(|e| e.unwrap().file_name());
    assert_eq!(days.filter(|name| name.to_string_lossy().starts_with("dt=")).count(), 0, "an empty day goes");
}

/// Enough clicks in one segment for several pages.
async fn large(world: &World) -> (ClickLog, Vec<ClickId>) {
    let (log, _) = world.open();
    let mut ids = Vec::new();
    let mut tasks = Vec::new();
    for n in 0..2_500 {
        let (log, click) = (log.clone(), world.click(n));
        tasks.push(tokio::spawn(async move { log.append(click).await }));
    }
    for task in tasks {
        ids.push(stored(task.await.unwrap()));
    }
    assert!(log.close_now());
    publish(&log);
    world.clock.advance(HOUR);
    assert!(matches!(&seal_all(world, &log)[..], [Work::Sealed { clicks: 2_500, .. }]));
    (log, ids)
}

#[tokio::test]
async fn a_damaged_segment_is_set_aside_and_what_can_be_read_of_it_goes_on() {
    let mut world = World::new();
    world.config.verify_at_start = 0;
    let (log, ids) = large(&world).await;
    let path = segment_paths(&world).pop().unwrap();
    let seq = log.segments()[0].seq;
    assert_eq!(log.verify(seq).unwrap(), None);
    // The longest of the pages that hold the sixth part of the clicks.
    let longest = pages_of(&fs::read(&path).unwrap(), 5).into_iter().max_by_key(|page| page.1).unwrap();
    assert!(longest.1 > 1_000, "{longest:?}");
    flip(&path, longest.0 as u64 + 100, 400);
    let damage = log.verify(seq).unwrap().expect("it is noticed");
    assert_eq!((damage.cause, log.damages().len()), (Cause::Changed, 1));
    assert!(damage.set_aside.iter().all(|p| p.exists()) && !path.exists());
    assert!((1..2_500).contains(&damage.clicks_kept), "{damage:?}");
    let there = count_found(&log, &ids).await;
    assert_eq!(there as u64, damage.clicks_kept);
    for (n, id) in ids.iter().enumerate() {
        // A changed byte need not make a page unreadable: what is kept is what was stored all the same.
        if let Found::Touch(touch) = log.find(*id).await.unwrap() {
            let query = format!("click_id=partner-{n}&gaid=6d92078a-8246-4ba4-ae5b-{n:012x}&sub1=x");
            assert_eq!(String::from_utf8_lossy(&touch.click.query), query);
        }
    }
    assert_eq!(
        log.segments().iter().map(|s| (s.clicks, s.seq > seq)).collect::<Vec<_>>(),
        [(there as u64, true)]
    );
    assert_eq!(log.verify(log.segments()[0].seq).unwrap(), None);
    assert!(log.shutdown());

    // A cut one is noticed by the start itself; without its end nothing of it can be read.
    let path = segment_paths(&world).pop().unwrap();
    let len = fs::metadata(&path).unwrap().len();
    fs::File::options().write(true).open(&path).unwrap().set_len(len - 9).unwrap();
    let (log, report) = world.open();
    assert_eq!(
        report.damaged.iter().map(|d| (d.cause, d.clicks_kept)).collect::<Vec<_>>(),
        [(Cause::Changed, 0)]
    );
    assert_eq!((report.segments, count_found(&log, &ids).await), (0, 0));
    world.store(&log, 0..1).await;
    assert!(log.shutdown());
    assert!(world.open().1.damaged.is_empty(), "it is told once");
}

#[tokio::test]
async fn the_background_looks_at_the_newest_segments() {
    let world = World::new();
    let (log, _) = large(&world).await;
    assert!(log.shutdown());
    let path = segment_paths(&world).pop().unwrap();
    flip(&path, 2_000, 4);
    let (log, report) = world.open();
    assert!(report.damaged.is_empty());
    until("looking into it", || !log.damages().is_empty()).await;
    assert_eq!(log.damages()[0].cause, Cause::Changed);
}

#[tokio::test]
async fn a_missing_segment_is_named_until_it_expires() {
    let world = World::new();
    let (log, _) = world.open();
    let ids = slices(&world, &log, 1).await;
    seal_all(&world, &log);
    assert!(log.shutdown());
    fs::remove_file(segment_paths(&world).pop().unwrap()).unwrap();
    for _ in 0..2 {
        let (log, report) = world.open();
        assert_eq!(report.missing.iter().map(|m| m.clicks).collect::<Vec<_>>(), [5]);
        assert_eq!((report.segments, log.stats().segments, log.stats().segments_missing), (0, 0, 1));
        assert_eq!(log.find(ids[0]).await.unwrap(), Found::NotStored);
        assert!(log.find_print(gaid(0), START, NEVER, 9).await.unwrap().is_empty());
        assert!(log.shutdown());
    }
    world.clock.advance(121 * DAY);
    let (log, report) = world.open();
    assert!(report.missing.is_empty());
    assert!(log.expire(world.clock.now()).unwrap().is_empty());
    assert_eq!(log.segments().len(), 1, "the clock is not believed yet: it may have been set");
    world.clock.advance(2 * DAY);
    assert!(log.expire(world.clock.now()).unwrap().is_empty(), "nothing was there to be deleted");
    assert!(log.segments().is_empty());
}

#[tokio::test]
async fn a_damaged_side_file_of_a_segment_is_made_again() {
    let mut world = World::new();
    world.config.verify_at_start = 0;
    let (log, _) = world.open();
    let ids = slices(&world, &log, 2).await;
    seal_all(&world, &log);
    assert!(log.shutdown());
    for damage in ["header", "cut", "gone"] {
        let file = sealed_files(&world).into_iter().find(|f| f.ends_with(".prints")).unwrap();
        let side = world.dir().join(file);
        let good = fs::read(&side).unwrap();
        match damage {
            "header" => flip(&side, 3, 1),
            "cut" => fs::write(&side, &good[..good.len() - 7]).unwrap(),
            _ => fs::remove_file(&side).unwrap(),
        }
        let (log, report) = world.open();
        assert_eq!(report.side_files_rebuilt.len(), 1, "{damage}");
        assert!(report.damaged.is_empty(), "{damage}: {report:?}");
        assert_whole(&log, &ids, damage).await;
        assert_eq!(sealed_files(&world).len(), 2, "{damage}: the old one is gone");
        assert!(log.shutdown());
    }
    let file = sealed_files(&world).into_iter().find(|f| f.ends_with(".prints")).unwrap();
    let side = world.dir().join(file);
    let len = fs::metadata(&side).unwrap().len();
    flip(&side, len - 20, 3);
    let (log, report) = world.open();
    assert!(report.side_files_rebuilt.is_empty(), "a row is not looked at by the start");
    assert!(log.verify(log.segments()[0].seq).unwrap().is_some());
    assert_whole(&log, &ids, "behind it").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_changes_while_it_is_sealed_is_sealed_later() {
    let mut world = World::new();
    world.config.verify_at_start = 0;
    let (log, _) = world.open();
    let ids = world.store(&log, 0..200).await;
    assert!(log.close_now());
    publish(&log);
    world.clock.advance(HOUR);
    world.faults.hold(Point::BeforeSegmentSide);
    let working = tokio::task::spawn_blocking({
        let (log, now) = (log.clone(), world.clock.now());
        move || log.seal(now)
    });
    held(&world, Point::BeforeSegmentSide).await;
    let closed = world.files(".closed.sqlite").pop().unwrap();
    flip(&closed, 3 * 4_096 + 100, 50);
    let damage = log.verify(1).unwrap().expect("it is damaged meanwhile");
    world.faults.release(Point::BeforeSegmentSide);
    assert_eq!(working.await.unwrap().unwrap(), Some(Work::Overtaken));
    assert_eq!(sealed_files(&world), [""; 0], "what was made is thrown away");
    assert_eq!(count_found(&log, &ids).await as u64, damage.clicks_kept);
    assert!(
        matches!(&seal_all(&world, &log)[..], [Work::Sealed { clicks, .. }] if *clicks == damage.clicks_kept)
    );
    assert_eq!(count_found(&log, &ids).await as u64, damage.clicks_kept);
}

#[tokio::test]
async fn a_slice_that_cannot_be_read_keeps_no_other_from_being_sealed() {
    let mut world = World::new();
    world.config.verify_at_start = 0;
    let (log, _) = world.open();
    let ids = slices(&world, &log, 1).await;
    let later = world.store(&log, 5..10).await;
    assert!(log.close_now());
    publish(&log);
    world.clock.advance(HOUR);
    fs::remove_file(&world.files(".closed.sqlite")[0]).unwrap();
    assert!(log.seal(world.clock.now()).is_err());
    assert!(log.stats().seal_error.is_some());
    assert!(matches!(&seal_all(&world, &log)[..], [Work::Sealed { slices: 1, clicks: 5, .. }]));
    assert_eq!(log.stats().seal_error, None);
    assert_eq!((count_found(&log, &ids).await, count_found(&log, &later).await), (0, 5));
    until("missing it", || log.stats().slices_missing > 0).await;
}

#[tokio::test]
async fn stopping_ends_it_and_leaves_nothing_behind() {
    let world = World::new();
    let (log, _) = world.open();
    let ids = slices(&world, &log, 1).await;
    log.stop_sealing();
    assert!(log.seal(world.clock.now()).is_err());
    assert_eq!(sealed_files(&world), [""; 0]);
    assert_whole(&log, &ids, "stopped").await;
}
