//! What a caller is told, and what of it is on the disk.

use super::{DAY, KEY, START, World, count_found, counted, gaid, held, is_found, stored, unstored, until};
use roundtrip_ambient::{Clock, Entropy};
use roundtrip_domain::click_id::CheckKey;
use roundtrip_store::click_log::faults::Point;
use roundtrip_store::click_log::{Append, ClickLog, Durability, Found, Why};
use std::collections::BTreeSet;
use std::time::Duration;

#[test]
fn sqlite_was_built_with_our_flags() {
    // One variable in .cargo/config.toml carries this flag and HAVE_FDATASYNC, which SQLite does not list.
    let conn = rusqlite::Connection::open_in_memory().unwrap();
    let mut select = conn.prepare("PRAGMA compile_options").unwrap();
    let options: Vec<String> = select.query_map([], |r| r.get(0)).unwrap().collect::<Result<_, _>>().unwrap();
    assert!(options.iter().any(|o| o == "DEFAULT_MEMSTATUS=0"), "{options:?}");
}

#[tokio::test]
async fn ids_rise_when_the_clock_steps_back_and_after_a_restart() {
    let world = World::new();
    let (log, _) = world.open();
    let mut ids = world.store(&log, 0..3).await;
    world.clock.advance(-DAY);
    ids.extend(world.store(&log, 3..6).await);
    assert!(log.close_now());
    ids.extend(world.store(&log, 6..9).await);
    assert!(log.shutdown());
    let (log, report) = world.open();
    assert_eq!(report.resumed.map(|r| r.1), Some(3));
    ids.extend(world.store(&log, 9..12).await);
    assert!(ids.is_sorted_by(|a, b| a < b), "{ids:?}");
    assert_eq!(count_found(&log, &ids).await, ids.len());
    assert!(log.shutdown());

    let mut later = World::new();
    later.config.floor = Some(START.plus_ms(DAY));
    let (log, _) = later.open();
    let id = stored(log.append(later.click(1)).await);
    assert!(id.ms() > START.ms() + DAY, "the ledger's floor counts");
    assert!(is_found(&log, id).await);
    assert!(log.floor() >= START.plus_ms(DAY));
}

#[tokio::test]
async fn clicks_that_come_during_a_commit_share_the_next_one() {
    let world = World::new();
    let (log, _) = world.open();
    world.faults.hold(Point::BeforeCommit);
    let first = tokio::spawn({
        let (log, click) = (log.clone(), world.click(0));
        async move { log.append(click).await }
    });
    held(&world, Point::BeforeCommit).await;
    let others: Vec<_> = (1..100)
        .map(|n| {
            let (log, click) = (log.clone(), world.click(n));
            tokio::spawn(async move { log.append(click).await })
        })
        .collect();
    until("queueing", || log.stats().queue_depth >= 99).await;
    world.faults.release(Point::BeforeCommit);
    let mut ids = BTreeSet::from([stored(first.await.unwrap())]);
    for other in others {
        ids.insert(stored(other.await.unwrap()));
    }
    let stats = log.stats();
    assert_eq!((ids.len(), stats.appended, stats.commits, stats.rows_per_commit_max), (100, 100, 2, 99));
    assert_eq!(stats.unstored_total(), 0);
}

#[tokio::test]
async fn a_caller_waits_no_longer_than_told_and_no_orphan_is_stored() {
    let mut world = World::new();
    world.config.append_wait = Duration::from_millis(250);
    let (log, _) = world.open();
    world.faults.hold(Point::BeforeMint);
    let cancelled = unstored(log.append(world.click(1)).await, Why::Timeout);
    assert_eq!(log.find(cancelled).await.unwrap(), Found::NotStored);
    world.faults.hold(Point::BeforeCommit);
    world.faults.release(Point::BeforeMint);
    // The cancelled click is dropped; this one is minted and its commit stalls. A slow machine may not come to it in time,
    // and then it is cancelled too.
    let mut tried = Vec::new();
    loop {
        tried.push(unstored(log.append(world.click(2)).await, Why::Timeout));
        let faults = world.faults.clone();
        if tokio::task::spawn_blocking(move || faults.wait_held(Point::BeforeCommit)).await.unwrap() {
            break;
        }
    }
    assert!(tried[0] > cancelled);
    world.faults.release(Point::BeforeCommit);
    let after = loop {
        // The machine may be slow enough to time this one out too; it is the writer going on that counts.
        if let Append::Stored(id) = log.append(world.click(3)).await {
            break id;
        }
    };
    assert!(is_found(&log, after).await);
    let mut late = 0;
    for id in tried {
        late += usize::from(is_found(&log, id).await);
    }
    assert_eq!(late, 1, "its commit was under way and ended well");
    assert_eq!(log.find(cancelled).await.unwrap(), Found::NotStored);
    let prints = log.find_print(gaid(1), START, START, 10).await.unwrap();
    assert!(prints.is_empty(), "the cancelled click was never written");
    let stats = log.stats();
    assert!(stats.unstored_for(Why::Timeout) >= 2 && stats.appended_late >= 1, "{stats:?}");
}

#[tokio::test]
async fn a_full_queue_answers_at_once() {
    let mut world = World::new();
    world.config.queue_max = 2;
    let (log, _) = world.open();
    world.faults.hold(Point::BeforeCommit);
    let append = |n| {
        let (log, click) = (log.clone(), world.click(n));
        tokio::spawn(async move { log.append(click).await })
    };
    let first = append(0);
    held(&world, Point::BeforeCommit).await;
    let queued = [append(1), append(2)];
    until("queueing", || log.stats().queue_depth >= 2).await;
    let refused = unstored(log.append(world.click(3)).await, Why::QueueFull);
    world.faults.release(Point::BeforeCommit);
    for task in queued.into_iter().chain([first]) {
        assert!(is_found(&log, stored(task.await.unwrap())).await);
    }
    assert_eq!(log.find(refused).await.unwrap(), Found::NotStored);
    assert_eq!(log.stats().unstored_for(Why::QueueFull), 1);
}

#[tokio::test]
async fn a_full_disk_is_told_and_passes() {
    let world = World::new();
    let (log, _) = world.open();
    let before = world.store(&log, 0..5).await;
    world.faults.pages_max(Some(1));
    let mut refused = Vec::new();
    // The last page has room for a few more rows; SQLite is full when it wants a new one.
    for n in 5..60 {
        if let Append::Unstored { id, why } = log.append(world.click(n)).await {
            assert_eq!(why, Why::DiskFull);
            refused.push(id);
        }
    }
    assert!(refused.len() > 10, "{}", refused.len());
    world.faults.pages_max(None);
    let after = world.store(&log, 60..65).await;
    assert_eq!(count_found(&log, &before).await + count_found(&log, &after).await, 10);
    assert_eq!(count_found(&log, &refused).await, 0);
    assert_eq!(log.stats().unstored_for(Why::DiskFull), refused.len() as u64);
    assert!(log.damages().is_empty());
    assert!(log.shutdown());
    let (log, report) = world.open();
    assert!(report.damaged.is_empty(), "{report:?}");
    assert_eq!(count_found(&log, &before).await + count_found(&log, &after).await, 10);
}

#[tokio::test]
async fn one_bad_row_does_not_take_the_others_down() {
    let world = World::new();
    let (log, _) = world.open();
    world.faults.hold(Point::BeforeMint);
    let append = |n| {
        let (log, click) = (log.clone(), world.click(n));
        tokio::spawn(async move { log.append(click).await })
    };
    let tasks: Vec<_> = (0..10).map(append).collect();
    held(&world, Point::BeforeMint).await;
    world.faults.fail_insert(3);
    world.faults.release(Point::BeforeMint);
    let (mut good, mut bad) = (Vec::new(), Vec::new());
    for task in tasks {
        match task.await.unwrap() {
            Append::Stored(id) => good.push(id),
            Append::Unstored { id, why: Why::Insert } => bad.push(id),
            other => panic!("{other:?}"),
        }
    }
    assert_eq!((good.len(), bad.len()), (7, 3));
    assert_eq!((count_found(&log, &good).await, count_found(&log, &bad).await), (7, 0));
    assert_eq!(log.stats().unstored_for(Why::Insert), 3);
}

#[tokio::test]
async fn a_panic_answers_everyone_and_the_log_goes_on_until_it_does_not() {
    let world = World::new();
    let (log, _) = world.open();
    let before = world.store(&log, 0..3).await;
    world.faults.panic(1);
    unstored(log.append(world.click(3)).await, Why::Panic);
    let after = world.store(&log, 4..6).await;
    assert!(log.close_now());
    assert_eq!(count_found(&log, &before).await + count_found(&log, &after).await, 5);
    assert_eq!(counted(&log), 5, "the index was read again from the file");
    world.faults.panic(u32::MAX);
    for n in 0..5 {
        unstored(log.append(world.click(n)).await, Why::Panic);
    }
    let given_up = log.append(world.click(9)).await;
    unstored(given_up, Why::Stopped);
    assert!(log.shutdown());
    assert!(!log.stats().open);
    assert_eq!(count_found(&log, &before).await, 3, "what is there is still found");
}

#[tokio::test]
async fn shutting_down_writes_what_waits_and_refuses_what_comes_later() {
    let world = World::new();
    let (log, _) = world.open();
    world.faults.hold(Point::BeforeCommit);
    let tasks: Vec<_> = (0..20)
        .map(|n| {
            let (log, click) = (log.clone(), world.click(n));
            tokio::spawn(async move { log.append(click).await })
        })
        .collect();
    held(&world, Point::BeforeCommit).await;
    let stopping = tokio::task::spawn_blocking({
        let log = log.clone();
        move || log.shutdown()
    });
    until("stopping", || !log.stats().open).await;
    let refused = log.append(world.click(99)).await;
    unstored(refused, Why::Stopped);
    world.faults.release(Point::BeforeCommit);
    assert!(stopping.await.unwrap());
    let mut kept = Vec::new();
    for task in tasks {
        match task.await.unwrap() {
            Append::Stored(id) => kept.push(id),
            // It had not reached the queue when the log was told to stop.
            other => drop(unstored(other, Why::Stopped)),
        }
    }
    assert!(!kept.is_empty());
    let (log, _) = world.open();
    assert_eq!(count_found(&log, &kept).await, kept.len());
}

#[tokio::test]
async fn relaxed_durability_is_shown_and_old_keys_stay_valid() {
    let mut world = World::new();
    world.config.durability = Durability::Relaxed;
    let (log, _) = world.open();
    let ids = world.store(&log, 0..3).await;
    assert_eq!(log.stats().durability, Durability::Relaxed);
    assert!(log.shutdown());
    world.config.keys = vec![CheckKey([9; 16]), KEY];
    let (log, _) = world.open();
    let new = world.store(&log, 3..4).await;
    assert_eq!(count_found(&log, &[ids, new].concat()).await, 4);
    assert!(log.shutdown());
    world.config.keys.clear();
    assert!(ClickLog::open(world.config.clone(), Clock::System, Entropy::System).is_err());
}
