//! Segments in a bucket: found as before, wherever a move is interrupted and whatever the bucket answers.

mod happening;
pub(super) mod shelf;
mod trouble;

use std::sync::Arc;
use std::time::Duration;

use super::{DAY, HOUR, START, World, count_found, gaid, held, publish, seal_all};
use roundtrip_domain::click::Touch;
use roundtrip_domain::click_id::ClickId;
use roundtrip_domain::time::{Span, Timestamp};
use roundtrip_store::click_log::faults::Point;
use roundtrip_store::click_log::{ClickLog, Error, Found, SegmentInfo, Work};

use self::shelf::{Ill, Reached, Shelf};

pub(super) const NEVER: Timestamp = Timestamp::from_ms(i64::MAX / 2);
pub(super) const BUCKET: &str = "shelf://clicks/here";

impl World {
    /// A world whose segments go into a bucket as soon as they are finished.
    fn with_bucket() -> (Self, Arc<Shelf>) {
        let (mut world, shelf) = (Self::new(), Arc::new(Shelf::default()));
        world.moves_into(&shelf);
        (world, shelf)
    }

    pub(super) fn moves_into(&mut self, shelf: &Arc<Shelf>) {
        self.config.segments_bucket = Some(BUCKET.to_owned());
        self.config.segments_local = Span::from_ms(0);
        self.config.bucket_pause = Duration::ZERO;
        self.reach(shelf);
    }

    fn reach(&mut self, shelf: &Arc<Shelf>) {
        self.config.buckets = Some(Arc::new(Reached(shelf.clone())));
    }

    /// What a `kill -9` at this moment would leave here and there.
    fn crashed_with(&self, shelf: &Shelf) -> (Self, Arc<Shelf>) {
        let (mut world, shelf) = (self.crashed(), shelf.copy());
        world.reach(&shelf);
        (world, shelf)
    }

    fn is_here(&self, segment: &SegmentInfo) -> bool {
        self.dir().join(&segment.file).exists()
    }
}

fn is_moved(work: &Work) -> bool {
    matches!(work, Work::Moved { .. })
}

/// Five clicks in each of `n` hours, in published slices; the last hour is over behind it.
async fn hours(world: &World, log: &ClickLog, n: u64) -> Vec<ClickId> {
    let mut ids = Vec::new();
    for hour in 0..n {
        ids.extend(world.store(log, hour * 5..hour * 5 + 5).await);
        assert!(log.close_now());
        world.clock.advance(HOUR);
    }
    publish(log);
    ids
}

/// Each id and each device is found exactly once.
async fn assert_whole(log: &ClickLog, ids: &[ClickId], what: &str) {
    assert_eq!(count_found(log, ids).await, ids.len(), "{what}: by id");
    for (n, id) in ids.iter().enumerate() {
        let found = log.find_print(gaid(n as u64), START, NEVER, 9).await.unwrap();
        assert_eq!(
            found.iter().map(|touch| touch.id).collect::<Vec<_>>(),
            [*id],
            "{what}: click {n} by its device"
        );
    }
    let clicks = log.segments().iter().filter(|s| !s.is_missing).map(|s| s.clicks).sum::<u64>()
        + log.slices().iter().map(|slice| slice.clicks).sum::<u64>();
    assert_eq!(clicks, ids.len() as u64, "{what}: clicks in files");
}

fn of(numbers: &'static [u64]) -> impl Fn(&Touch) -> bool {
    move |touch| numbers.iter().any(|n| touch.click.prints(&touch.click.params()).contains(&gaid(*n)))
}

#[tokio::test]
async fn finished_segments_move_and_are_found_where_they_are() {
    let (world, shelf) = World::with_bucket();
    let (log, _) = world.open();
    let mut ids = hours(&world, &log, 3).await;
    assert!(
        log.seal_now().unwrap().iter().all(|work| !is_moved(work)),
        "who waits for sealing waits for no bucket"
    );
    let files: Vec<Vec<u8>> =
        log.segments().iter().map(|s| std::fs::read(world.dir().join(&s.file)).unwrap()).collect();
    let work = seal_all(&world, &log);
    assert_eq!(work.iter().filter(|work| is_moved(work)).count(), 3, "{work:?}");
    for (segment, file) in log.segments().iter().zip(&files) {
        assert_eq!(segment.bucket.as_deref(), Some(BUCKET));
        assert!(!world.is_here(segment));
        assert_eq!(shelf.get(&format!("{BUCKET}/{}", segment.file)).as_ref(), Some(file), "byte for byte");
    }
    assert_whole(&log, &ids, "moved").await;
    // The hour that goes on stays.
    ids.extend(world.store(&log, 15..20).await);
    assert!(log.close_now());
    publish(&log);
    log.seal_now().unwrap();
    assert_eq!(seal_all(&world, &log), []);
    assert_whole(&log, &ids, "with newer clicks").await;
    let stats = log.stats();
    assert_eq!((stats.segments, stats.segments_moved), (4, 3));
    assert_eq!(stats.bytes_moved, files.iter().map(|file| file.len() as u64).sum::<u64>());
    assert_eq!((stats.bucket_failures, stats.bucket_error, stats.segments_clicks), (0, None, 20));
    assert!(stats.bytes_segments > 0 && stats.bytes_segments < stats.bytes_moved);

    assert!(log.shutdown());
    let before = shelf.asked();
    let (log, report) = world.open();
    assert_eq!(shelf.asked(), before, "a start asks no bucket");
    assert!(
        report.damaged.is_empty() && report.missing.is_empty() && report.adopted.is_empty(),
        "{report:?}"
    );
    assert_eq!((report.segments, report.moved), (4, 3));
    assert_whole(&log, &ids, "after a restart").await;
    // A day later the side files are one; the segments stay what they are.
    world.clock.advance(2 * DAY);
    let work = seal_all(&world, &log);
    assert!(work.iter().any(|work| matches!(work, Work::SidesMerged { sides: 4, .. })), "{work:?}");
    assert!(!work.iter().any(|work| matches!(work, Work::Merged { .. })), "{work:?}");
    assert_eq!(shelf.names().len(), 4);
    assert_whole(&log, &ids, "with one side file").await;
    for segment in log.segments() {
        assert_eq!(log.verify(segment.seq).unwrap(), None);
    }
    // They expire there too; what is refused is done later.
    shelf.order(Ill::DeleteRefused, 2);
    world.clock.advance(121 * DAY);
    assert_eq!(log.expire(world.clock.now()).unwrap().len(), 4);
    assert_eq!(log.seal(world.clock.now()).unwrap(), None, "it was refused");
    assert!(log.stats().bucket_error.unwrap().contains(BUCKET));
    assert!(log.shutdown());
    let (log, _) = world.open();
    assert_eq!(log.seal(world.clock.now()).unwrap(), None, "it is remembered, and refused again");
    let work = seal_all(&world, &log);
    assert_eq!(work.iter().filter(|work| matches!(work, Work::Deleted { .. })).count(), 4, "{work:?}");
    assert_eq!((shelf.names().len(), log.stats().bucket_error), (0, None));
}

#[tokio::test]
async fn a_segment_stays_as_long_as_it_is_to_be_here() {
    let (mut world, shelf) = World::with_bucket();
    world.config.segments_local = Span::from_ms(2 * DAY);
    let (log, _) = world.open();
    let ids = hours(&world, &log, 1).await;
    seal_all(&world, &log);
    world.clock.advance(2 * DAY - HOUR);
    seal_all(&world, &log);
    assert_eq!(shelf.asked(), (0, 0), "its last click is two days old, and not older");
    world.clock.advance(1);
    assert!(matches!(&seal_all(&world, &log)[..], [Work::Moved { clicks: 5, .. }]));
    assert_whole(&log, &ids, "moved").await;
}

#[tokio::test]
async fn a_look_up_asks_a_bucket_three_times_and_then_no_more() {
    let (world, shelf) = World::with_bucket();
    let (log, _) = world.open();
    let ids = world.store(&log, 0..200).await;
    assert!(log.close_now());
    publish(&log);
    world.clock.advance(HOUR);
    seal_all(&world, &log);
    assert!(log.shutdown());
    let (log, _) = world.open();
    let (_, before) = shelf.asked();
    assert!(matches!(log.find(ids[100]).await.unwrap(), Found::Touch(_)));
    assert_eq!(shelf.asked().1 - before, 3, "the footer, a page of each column, their dictionaries");
    assert_eq!(count_found(&log, &ids).await, 200);
    assert_eq!(shelf.asked().1 - before, 3, "they are in the cache");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_crash_at_any_step_of_a_move_leaves_one_whole_form() {
    let points =
        [Point::BeforePut, Point::AfterPut, Point::BeforeSwap, Point::BeforeDelete, Point::BeforeDeleted];
    for point in points {
        let (world, shelf) = World::with_bucket();
        let (log, _) = world.open();
        let ids = hours(&world, &log, 2).await;
        log.seal_now().unwrap();
        world.faults.hold(point);
        let working = tokio::task::spawn_blocking({
            let (log, now) = (log.clone(), world.clock.now());
            move || log.seal(now)
        });
        held(&world, point).await;
        assert_whole(&log, &ids, &format!("{point:?}: meanwhile")).await;
        let (crashed, left) = world.crashed_with(&shelf);
        world.faults.release(point);
        assert!(is_moved(&working.await.unwrap().unwrap().unwrap()), "{point:?}");
        assert_whole(&log, &ids, &format!("{point:?}: behind it")).await;

        let (log, report) = crashed.open();
        assert!(report.damaged.is_empty() && report.missing.is_empty(), "{point:?}: {report:?}");
        assert!(report.adopted.is_empty(), "{point:?}: {report:?}");
        assert_whole(&log, &ids, &format!("{point:?}: after a crash")).await;
        seal_all(&crashed, &log);
        assert_eq!(left.names().len(), 2, "{point:?}");
        assert!(log.segments().iter().all(|s| s.bucket.is_some() && !crashed.is_here(s)), "{point:?}");
        assert_whole(&log, &ids, &format!("{point:?}: moved")).await;
        assert!(log.shutdown());
        let (log, _) = crashed.open();
        assert_whole(&log, &ids, &format!("{point:?}: after another start")).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_expires_while_it_is_put_is_deleted_there() {
    for crashes in [false, true] {
        let (world, shelf) = World::with_bucket();
        let (log, _) = world.open();
        hours(&world, &log, 1).await;
        log.seal_now().unwrap();
        world.faults.hold(Point::AfterPut);
        let working = tokio::task::spawn_blocking({
            let (log, now) = (log.clone(), world.clock.now());
            move || log.seal(now)
        });
        held(&world, Point::AfterPut).await;
        world.clock.advance(121 * DAY);
        assert_eq!(log.expire(world.clock.now()).unwrap().len(), 1);
        let (crashed, left) = world.crashed_with(&shelf);
        world.faults.release(Point::AfterPut);
        assert_eq!(working.await.unwrap().unwrap(), Some(Work::Overtaken));
        let (world, shelf) = if crashes { (crashed, left) } else { (world, shelf) };
        let log = if crashes { world.open().0 } else { log };
        assert_eq!(shelf.names().len(), 1);
        assert!(matches!(&seal_all(&world, &log)[..], [Work::Deleted { .. }]), "{crashes}");
        assert!(shelf.names().is_empty());
    }
}

#[tokio::test]
async fn whatever_a_put_answers_what_is_there_counts() {
    for ill in [
        Ill::PutAnsweredWrong,
        Ill::PutRefused,
        Ill::PutChanged,
        Ill::ReadChanged,
        Ill::ReadShort,
        Ill::ReadLate,
        Ill::Down,
    ] {
        let (world, shelf) = World::with_bucket();
        let (log, _) = world.open();
        let ids = hours(&world, &log, 1).await;
        log.seal_now().unwrap();
        shelf.order(ill, 1);
        let first = log.seal(world.clock.now()).unwrap();
        let is_first = ill == Ill::PutAnsweredWrong || ill == Ill::Down;
        assert_eq!(first.as_ref().is_some_and(is_moved), ill == Ill::PutAnsweredWrong, "{ill:?}");
        assert_eq!(world.is_here(&log.segments()[0]), ill != Ill::PutAnsweredWrong, "{ill:?}");
        assert_eq!(log.stats().bucket_error.is_some(), ill != Ill::PutAnsweredWrong, "{ill:?}");
        let is_left = is_first || matches!(ill, Ill::ReadShort | Ill::ReadLate);
        assert!(shelf.names().len() <= usize::from(is_left), "{ill:?}: {:?}", shelf.names());
        assert_whole(&log, &ids, &format!("{ill:?}: tried once")).await;
        seal_all(&world, &log);
        assert!(log.segments()[0].bucket.is_some() && !world.is_here(&log.segments()[0]), "{ill:?}");
        assert_eq!(log.stats().bucket_error, None, "{ill:?}");
        assert_whole(&log, &ids, &format!("{ill:?}: moved")).await;
    }
}

#[tokio::test]
async fn what_is_there_already_is_ours_if_it_is_the_same() {
    let (world, shelf) = World::with_bucket();
    let (log, _) = world.open();
    let ids = hours(&world, &log, 3).await;
    log.seal_now().unwrap();
    let segments = log.segments();
    let name = |n: usize| format!("{BUCKET}/{}", segments[n].file);
    let same = std::fs::read(world.dir().join(&segments[0].file)).unwrap();
    shelf.set(&name(0), &same);
    let mut other = std::fs::read(world.dir().join(&segments[1].file)).unwrap();
    other[100] ^= 1;
    shelf.set(&name(1), &other);
    let work = seal_all(&world, &log);
    assert_eq!(work.iter().filter(|work| is_moved(work)).count(), 2, "{work:?}");
    let now = log.segments();
    assert_eq!(
        now.iter().map(|s| (s.bucket.is_some(), world.is_here(s))).collect::<Vec<_>>(),
        [(true, false), (false, true), (true, false)]
    );
    assert_eq!(shelf.get(&name(1)), Some(other.clone()), "what is not ours stays what it is");
    assert!(log.stats().bucket_error.unwrap().contains(&name(1)));
    assert_whole(&log, &ids, "one stays").await;
    let asked = shelf.asked().0;
    assert_eq!(log.seal(world.clock.now()).unwrap(), None);
    assert_eq!(shelf.asked().0, asked, "it is not tried again and again");
    // It expires here, and what is not ours is not deleted.
    world.clock.advance(121 * DAY);
    log.expire(world.clock.now()).unwrap();
    seal_all(&world, &log);
    assert_eq!(shelf.names(), [name(1)]);
}

#[tokio::test]
async fn a_bucket_that_does_not_answer_delays_nobody_else_and_answers_for_nobody() {
    let (mut world, shelf) = World::with_bucket();
    world.config.bucket_pause = Duration::from_secs(600);
    let (log, _) = world.open();
    let mut ids = hours(&world, &log, 2).await;
    seal_all(&world, &log);
    ids.extend(world.store(&log, 10..15).await);
    for ill in [Ill::Down, Ill::ReadShort, Ill::ReadLate] {
        assert!(log.shutdown());
        let (log, _) = world.open();
        shelf.order(ill, u32::MAX);
        let before = shelf.asked().0;
        for id in &ids[..10] {
            let error = log.find(*id).await.unwrap_err();
            assert!(matches!(error, Error::Bucket { .. }) && error.is_retryable(), "{ill:?}: {error:?}");
        }
        for n in 0..10 {
            assert!(log.find_print(gaid(n), START, NEVER, 9).await.is_err(), "{ill:?}");
        }
        assert_eq!(shelf.asked().0 - before, 1, "{ill:?}: it is left alone for a while");
        assert_eq!(count_found(&log, &ids[10..]).await, 5, "{ill:?}");
        assert_eq!(log.find_print(gaid(12), START, NEVER, 9).await.unwrap().len(), 1, "{ill:?}");
        shelf.order(ill, 0);
        assert!(log.stats().damaged == 0 && log.stats().segments_missing == 0, "{ill:?}");
        assert!(log.shutdown());
    }
    world.config.bucket_pause = Duration::ZERO;
    let (log, _) = world.open();
    shelf.order(Ill::ReadLate, 2);
    assert!(log.find(ids[0]).await.is_err());
    assert!(log.find(ids[0]).await.is_err());
    assert_whole(&log, &ids, "it answers again").await;
    assert_eq!(log.stats().bucket_failures, 2);
}

#[tokio::test]
async fn a_person_is_erased_from_a_bucket_too() {
    let (world, shelf) = World::with_bucket();
    let (log, _) = world.open();
    let ids = hours(&world, &log, 2).await;
    seal_all(&world, &log);
    let names = shelf.names();
    assert_eq!(names.len(), 2);
    // A bucket that does not give one is an error, and nothing is erased.
    shelf.order(Ill::ReadLate, 1);
    assert!(matches!(log.erase_next(0, &of(&[1, 2])), Err(Error::Bucket { .. })));
    // One that deletes none is not: what was erased is counted, and it is not said that all is done before it is so.
    shelf.order(Ill::DeleteRefused, 2);
    let first = log.erase_next(0, &of(&[1, 2])).unwrap().expect("a file");
    assert_eq!((first.erased, first.is_left), (2, true), "{first:?}");
    assert_eq!(shelf.names(), names, "it could not be deleted");
    let (mut done, mut after) = (Vec::new(), first.seq);
    let error = loop {
        match log.erase_next(after, &of(&[1, 2])) {
            Ok(file) => done.extend(file.inspect(|file| after = file.seq)),
            Err(error) => break error,
        }
        assert!(done.len() < 9, "it was said that all is done");
    };
    assert!(matches!(&error, Error::Bucket { what: "delete", .. }), "{error}");
    assert_eq!((done.len(), shelf.names()), (2, names.clone()));
    assert!(done.iter().all(|file| file.erased == 0 && !file.is_left), "{done:?}");
    assert_eq!(log.erase_next(after, &of(&[1, 2])).unwrap(), None);
    assert_eq!(shelf.names(), names[1..]);
    let left: Vec<ClickId> =
        ids.iter().enumerate().filter(|(n, _)| ![1, 2].contains(n)).map(|(_, id)| *id).collect();
    assert_eq!((count_found(&log, &ids).await, count_found(&log, &left).await), (8, 8));
    assert_eq!(log.find_print(gaid(1), START, NEVER, 9).await.unwrap().len(), 0);
    let here: Vec<_> = log.segments().into_iter().filter(|s| s.bucket.is_none()).collect();
    assert!(here.len() == 1 && here[0].clicks == 3 && world.is_here(&here[0]), "{here:?}");
    let copies = walk(&world).into_iter().filter(|f| f.contains(".parquet") || f.contains(".tmp")).count();
    assert_eq!(copies, 1, "what was read of the other is gone again");
    // A file of one person alone.
    let mut after = 0;
    while let Some(file) = log.erase_next(after, &of(&[5, 6, 7, 8, 9])).unwrap() {
        after = file.seq;
    }
    seal_all(&world, &log);
    assert!(log.shutdown());
    let (log, report) = world.open();
    assert!(report.damaged.is_empty() && report.missing.is_empty(), "{report:?}");
    assert_eq!(count_found(&log, &ids).await, 3);
    assert_eq!(shelf.names().len(), 1, "the new file moved as any other");
}

/// Names of all files below the log's directory.
pub(super) fn walk(world: &World) -> Vec<String> {
    let (mut found, mut below) = (Vec::new(), vec![world.dir().to_owned()]);
    while let Some(dir) = below.pop() {
        for entry in std::fs::read_dir(&dir).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                below.push(path);
            } else {
                found.push(path.strip_prefix(world.dir()).unwrap().to_string_lossy().into_owned());
            }
        }
    }
    found
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_crash_at_any_step_of_erasing_from_a_bucket_is_gone_on_from() {
    for point in [Point::BeforeSegment, Point::BeforeSwap, Point::BeforeDelete, Point::BeforeDeleted] {
        let (world, shelf) = World::with_bucket();
        let (log, _) = world.open();
        let ids = hours(&world, &log, 1).await;
        seal_all(&world, &log);
        world.faults.hold(point);
        let working = tokio::task::spawn_blocking({
            let log = log.clone();
            move || log.erase_next(0, &of(&[1]))
        });
        held(&world, point).await;
        let (crashed, left) = world.crashed_with(&shelf);
        world.faults.release(point);
        assert_eq!(working.await.unwrap().unwrap().map(|file| file.erased), Some(1), "{point:?}");
        assert!(shelf.names().is_empty(), "{point:?}");
        let (log, report) = crashed.open();
        assert!(report.damaged.is_empty() && report.missing.is_empty(), "{point:?}: {report:?}");
        let mut after = 0;
        while let Some(file) = log.erase_next(after, &of(&[1])).unwrap() {
            after = file.seq;
        }
        assert_eq!(count_found(&log, &ids).await, 4, "{point:?}");
        assert!(left.names().is_empty(), "{point:?}: {:?}", left.names());
        seal_all(&crashed, &log);
        assert_eq!(count_found(&log, &ids).await, 4, "{point:?}");
        assert_eq!(left.names().len(), 1, "{point:?}");
    }
}

#[tokio::test]
async fn a_changed_setting_loses_nothing() {
    let (mut world, shelf) = World::with_bucket();
    let (log, _) = world.open();
    let mut ids = hours(&world, &log, 1).await;
    seal_all(&world, &log);
    assert!(log.shutdown());
    world.config.segments_bucket = Some("shelf://other".to_owned());
    let (log, _) = world.open();
    ids.extend(world.store(&log, 5..10).await);
    assert!(log.close_now());
    publish(&log);
    world.clock.advance(HOUR);
    seal_all(&world, &log);
    let buckets: Vec<_> = log.segments().iter().map(|s| s.bucket.clone().unwrap()).collect();
    assert_eq!(buckets, [BUCKET, "shelf://other"]);
    assert_whole(&log, &ids, "in two buckets").await;
    assert!(log.shutdown());
    world.config.segments_bucket = None;
    let (log, _) = world.open();
    seal_all(&world, &log);
    assert_whole(&log, &ids, "all new ones stay here").await;
    assert!(log.shutdown());
    let buckets = world.config.buckets.take();
    let (log, report) = world.open();
    assert!(report.missing.is_empty() && report.moved == 2, "{report:?}");
    let error = log.find(ids[0]).await.unwrap_err();
    assert!(error.is_retryable(), "nobody reaches it, and nobody says that it is not there: {error}");
    assert!(log.shutdown());
    world.config.buckets = buckets;
    let (log, _) = world.open();
    world.clock.advance(121 * DAY);
    log.expire(world.clock.now()).unwrap();
    seal_all(&world, &log);
    assert!(shelf.names().is_empty(), "they expire wherever they are");
}

#[tokio::test]
async fn a_side_file_that_is_lost_is_made_again_from_the_bucket_and_nobody_decides_before() {
    let (world, shelf) = World::with_bucket();
    let (log, _) = world.open();
    let ids = hours(&world, &log, 2).await;
    seal_all(&world, &log);
    assert!(log.shutdown());
    std::fs::remove_dir_all(world.dir().join("prints")).unwrap();
    let before = shelf.asked();
    let (log, report) = world.open();
    assert!(report.missing.is_empty() && report.damaged.is_empty(), "{report:?}");
    assert_eq!(shelf.asked(), before, "a start asks no bucket");
    assert_eq!(count_found(&log, &ids).await, 10);
    assert!(log.find_print(gaid(3), START, NEVER, 9).await.is_err());
    shelf.order(Ill::Down, 1);
    assert_eq!(log.seal(world.clock.now()).unwrap(), None);
    assert!(log.find_print(gaid(3), START, NEVER, 9).await.is_err());
    seal_all(&world, &log);
    assert_whole(&log, &ids, "made again").await;
    // While it runs, too.
    let side = walk(&world).into_iter().find(|file| file.ends_with(".prints")).unwrap();
    super::flip(&world.dir().join(side), 70, 8);
    for segment in log.segments() {
        log.verify(segment.seq).unwrap();
    }
    seal_all(&world, &log);
    assert_whole(&log, &ids, "made again while it runs").await;
    assert!(log.shutdown());
    let (log, _) = world.open();
    assert_whole(&log, &ids, "after a restart").await;
}
