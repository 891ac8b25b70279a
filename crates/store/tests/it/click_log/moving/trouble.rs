//! Objects that are damaged, cut, gone, or never answered about, and backups beside all of it.

use std::sync::Arc;

use super::shelf::{Ill, Reached, Shelf};
use super::{BUCKET, HOUR, assert_whole, hours, is_moved, of};
use crate::backup::{self, Pair};
use crate::click_log::{DAY, World, count_found, publish, seal_all};
use roundtrip_ambient::Clock;
use roundtrip_domain::time::Span;
use roundtrip_store::backup as copy;
use roundtrip_store::click_log::faults::Faults;
use roundtrip_store::click_log::{Error, Found};
use roundtrip_testkit::NOON;

/// A backup that could make no links reads a segment where it lies. The segment moves into its bucket, and is brought back
/// for an erasure: it does not lie twice under one name.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_backup_reads_stays_though_it_moved_and_somebody_is_erased_from_it() {
    let (dir, clock, faults) = (tempfile::tempdir().unwrap(), Clock::manual(NOON), Faults::armed());
    let shelf = Arc::new(Shelf::default());
    let (_world, click) = backup::click(NOON).await;
    let pair = Pair::open_as(dir.path(), &clock, |config| {
        config.faults = faults.clone();
        config.segments_bucket = Some(BUCKET.to_owned());
        config.segments_local = Span::from_ms(0);
        config.buckets = Some(Arc::new(Reached(shelf.clone())));
    });
    let ids = [pair.store(&click).await, pair.store(&click).await];
    pair.close_slice().await;
    pair.publish().await;
    clock.advance(HOUR);
    pair.clicks.seal_now().unwrap();
    let file = dir.path().join("clicks").join(&pair.clicks.segments()[0].file);
    faults.refuse_links(true);
    let running = copy::begin(&pair.ledger, &pair.clicks, clock.now(), "0.0.0-test").unwrap();
    let moved = pair.clicks.seal(clock.now()).unwrap();
    assert!(moved.as_ref().is_some_and(is_moved) && file.exists(), "{moved:?}");
    // First nothing is found in it, then one of its clicks.
    assert_eq!(pair.clicks.erase_next(0, &|_| false).unwrap().map(|file| file.erased), Some(0));
    let erased = pair.clicks.erase_next(0, &|touch| touch.id == ids[0]).unwrap().expect("a file");
    assert_eq!((erased.erased, erased.is_left), (1, true), "the backup reads its side file: {erased:?}");
    assert!(file.exists());
    let mut archive = Vec::new();
    running.write(&mut archive).unwrap();
    let twin = dir.path().join("twin");
    backup::unpacked(&archive, &twin).unwrap();
    let restored = Pair::open(&twin, &Clock::manual(NOON));
    for id in ids {
        assert!(matches!(restored.clicks.find(id).await.unwrap(), Found::Touch(_)));
    }
    restored.close().await;
    // Behind it nothing is left.
    let rest = pair.clicks.erase_next(erased.seq, &|_| false).unwrap().expect("the new file");
    assert_eq!(pair.clicks.erase_next(rest.seq, &|_| false).unwrap(), None);
    assert!(!file.exists() && shelf.names().is_empty());
    assert!(matches!(pair.clicks.find(ids[1]).await.unwrap(), Found::Touch(_)));
    pair.close().await;
}

#[tokio::test]
async fn a_damaged_object_is_set_aside_here_and_what_is_sound_of_it_goes_on() {
    let (world, shelf) = World::with_bucket();
    let (log, _) = world.open();
    let ids = world.sealed(&log, 2_500).await;
    let name = shelf.names()[0].clone();
    let whole = shelf.get(&name).unwrap();
    let mut changed = whole.clone();
    // In the first page of the ids.
    changed[20..40].fill(0xff);
    shelf.set(&name, &changed);
    let damage = log.verify(log.segments()[0].seq).unwrap().unwrap();
    assert!(damage.clicks_kept >= 1_000 && damage.clicks_kept < 2_500, "{damage:?}");
    assert_eq!(std::fs::read(&damage.set_aside[0]).unwrap(), changed);
    assert_eq!(count_found(&log, &ids).await as u64, damage.clicks_kept);
    seal_all(&world, &log);
    assert!(shelf.names().len() == 1 && shelf.names()[0] != name, "{:?}", shelf.names());
    assert_eq!(count_found(&log, &ids).await as u64, damage.clicks_kept);
    // A look-up that meets other bytes has them looked at.
    let name = shelf.names()[0].clone();
    let whole = shelf.get(&name).unwrap();
    assert!(log.shutdown());
    let (log, _) = world.open();
    shelf.set(
        &name,
        &[0; 9].iter().chain(&whole[9..whole.len() - 20]).chain(&[0; 20]).copied().collect::<Vec<_>>(),
    );
    let there = ids[2_400];
    let error = log.find(there).await.unwrap_err();
    assert!(!matches!(error, Error::Bucket { .. }), "{error:?}");
    seal_all(&world, &log);
    assert_eq!(log.stats().damaged, 1, "its footer is gone, so nothing of it can be read");
    assert!(matches!(log.find(there).await.unwrap(), Found::NotStored));
}

#[tokio::test]
async fn an_object_that_is_gone_is_missing_and_one_whose_bucket_is_not_there_is_not() {
    let (world, shelf) = World::with_bucket();
    let (log, _) = world.open();
    let ids = hours(&world, &log, 2).await;
    seal_all(&world, &log);
    let name = shelf.names()[0].clone();
    let bytes = shelf.get(&name).unwrap();
    shelf.remove(&name);
    assert!(log.find(ids[0]).await.is_err(), "nobody knows yet");
    shelf.order(Ill::Down, 1);
    assert_eq!(log.seal(world.clock.now()).unwrap(), None);
    assert!(log.find(ids[0]).await.is_err() && log.stats().segments_missing == 0, "the bucket did not say");
    seal_all(&world, &log);
    assert_eq!(log.stats().segments_missing, 1);
    assert!(matches!(log.find(ids[0]).await.unwrap(), Found::NotStored));
    assert_eq!(count_found(&log, &ids).await, 5);
    // Somebody put it back.
    shelf.set(&name, &bytes);
    assert!(log.shutdown());
    let (log, _) = world.open();
    assert_whole(&log, &ids, "put back").await;
}

/// A look-up that does not get all of what should be there has it looked at.
#[tokio::test]
async fn an_object_that_is_shorter_than_listed_is_found_and_one_that_was_answered_short_is_left_alone() {
    let (world, shelf) = World::with_bucket();
    let (log, _) = world.open();
    let ids = world.sealed(&log, 200).await;
    let name = shelf.names()[0].clone();
    let whole = shelf.get(&name).unwrap();
    // The answer is short, the object is not.
    shelf.order(Ill::ReadShort, 1);
    assert!(matches!(log.find(ids[7]).await, Err(Error::Bucket { .. })));
    let before = shelf.asked();
    seal_all(&world, &log);
    let asked = shelf.asked();
    assert_eq!(
        (asked.0 - before.0, asked.1 - before.1),
        (1, 0),
        "its length was asked for, and nothing was read"
    );
    assert_eq!(count_found(&log, &ids).await, ids.len());
    assert!(log.shutdown());
    // Now it is cut, behind what the first look-ups read.
    let (log, _) = world.open();
    shelf.set(&name, &whole[..whole.len() - 9]);
    assert!(matches!(log.find(ids[7]).await, Err(Error::Bucket { .. })));
    seal_all(&world, &log);
    assert_eq!(log.stats().damaged, 1, "its footer is gone, so nothing of it can be read");
    assert_eq!(std::fs::read(&log.damages()[0].set_aside[0]).unwrap(), whole[..whole.len() - 9]);
    assert!(matches!(log.find(ids[7]).await.unwrap(), Found::NotStored));
    seal_all(&world, &log);
    assert!(shelf.names().is_empty() && log.stats().bucket_error.is_none());
}

/// One object that is never deleted, one that can never be looked at, one that is never taken: the others go on.
#[tokio::test]
async fn one_bad_thing_in_a_bucket_keeps_no_other_waiting() {
    let (world, shelf) = World::with_bucket();
    let (log, _) = world.open();
    let mut ids = hours(&world, &log, 3).await;
    log.seal_now().unwrap();
    let names: Vec<String> = log.segments().iter().map(|s| format!("{BUCKET}/{}", s.file)).collect();
    shelf.forbid(&names[0]);
    let moved: Vec<_> = (0..4).filter_map(|_| log.seal(world.clock.now()).unwrap()).collect();
    assert_eq!(moved.iter().filter(|work| is_moved(work)).count(), 2, "{moved:?}");
    assert_eq!(shelf.names(), names[1..]);
    assert!(log.stats().bucket_error.unwrap().contains(&names[0]), "it is told as long as it is so");
    assert_whole(&log, &ids, "two of three moved").await;
    shelf.allow(&names[0]);
    seal_all(&world, &log);
    assert_eq!((shelf.names(), log.stats().bucket_error), (names.clone(), None));

    // Two that read wrong. The first cannot be looked at, the other one can, and a new one is moved meanwhile.
    assert!(log.shutdown());
    let (log, _) = world.open();
    for name in &names[..2] {
        let mut bytes = shelf.get(name).unwrap();
        let end = bytes.len() - 20;
        bytes[end..].fill(0);
        shelf.set(name, &bytes);
    }
    assert!(log.find(ids[0]).await.is_err() && log.find(ids[5]).await.is_err());
    ids.extend(world.store(&log, 15..20).await);
    assert!(log.close_now());
    publish(&log);
    world.clock.advance(HOUR);
    log.seal_now().unwrap();
    shelf.forbid(&names[0]);
    for _ in 0..6 {
        log.seal(world.clock.now()).unwrap();
    }
    assert_eq!(log.damages().len(), 1, "{:?}", log.damages());
    assert_eq!(log.segments().iter().filter(|s| s.bucket.is_some()).count(), 3, "{:?}", log.segments());
    assert!(log.stats().bucket_error.unwrap().contains(&names[0]));
    // Nor does an erasure stop where one cannot be deleted.
    world.clock.advance(121 * DAY);
    assert_eq!(log.expire(world.clock.now()).unwrap().len(), 3);
    let error = log.erase_next(0, &of(&[1])).unwrap_err();
    assert!(error.to_string().contains(&names[0]), "{error}");
    assert_eq!(shelf.names(), names[..1], "the others are deleted");
    assert_eq!(log.seal(world.clock.now()).unwrap(), None);
    assert!(log.stats().bucket_error.unwrap().contains(&names[0]));
    shelf.allow(&names[0]);
    seal_all(&world, &log);
    assert_eq!((shelf.names().len(), log.stats().bucket_error), (0, None));
}

#[tokio::test]
async fn an_object_that_is_not_deleted_keeps_no_other_from_it() {
    let (world, shelf) = World::with_bucket();
    let (log, _) = world.open();
    hours(&world, &log, 3).await;
    seal_all(&world, &log);
    let names = shelf.names();
    shelf.forbid(&names[0]);
    world.clock.advance(121 * DAY);
    assert_eq!(log.expire(world.clock.now()).unwrap().len(), 3);
    for _ in 0..6 {
        log.seal(world.clock.now()).unwrap();
    }
    assert_eq!(shelf.names(), names[..1]);
    assert!(log.stats().bucket_error.unwrap().contains(&names[0]));
}

#[tokio::test]
async fn a_bucket_that_was_named_by_mistake_holds_up_no_erasure() {
    // There is none of that name, or it is somebody else's: nothing is answered. Or it can be read, and takes and deletes
    // nothing.
    for ills in [&[Ill::Down][..], &[Ill::PutRefused, Ill::DeleteRefused]] {
        let (world, shelf) = World::with_bucket();
        let (log, _) = world.open();
        let ids = hours(&world, &log, 1).await;
        log.seal_now().unwrap();
        for ill in ills {
            shelf.order(*ill, u32::MAX);
        }
        assert_eq!(log.seal(world.clock.now()).unwrap(), None, "{ills:?}");
        assert!(log.stats().bucket_error.is_some(), "{ills:?}");
        let (mut erased, mut after) = (0, 0);
        while let Some(file) = log.erase_next(after, &of(&[1])).unwrap() {
            (erased, after) = (erased + file.erased, file.seq);
            assert!(!file.is_left, "{file:?}");
        }
        assert_eq!((erased, count_found(&log, &ids).await), (1, ids.len() - 1), "{ills:?}");
        assert!(shelf.names().is_empty(), "{ills:?}");
    }
}
