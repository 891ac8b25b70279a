//! Somebody puts an older copy of one store beside the other: no click is counted twice, and none that is there is left out.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use roundtrip_ambient::Clock;
use roundtrip_domain::click::Click;
use roundtrip_domain::click_id::ClickId;
use roundtrip_store::click_log::Found;
use roundtrip_store::ledger::Metric;
use roundtrip_testkit::NOON;

use crate::backup::{Pair, click, copy_dir};

const HOUR: i64 = 3_600_000;

/// Clicks by the ledger's rollups and by what it has not been told, as a report adds them.
async fn counted(pair: &Pair) -> u64 {
    let workspace = pair.ledger.catalog().workspaces()[0].workspace;
    let report =
        pair.ledger.report(workspace, NOON.plus_ms(-HOUR), NOON.plus_ms(90 * 24 * HOUR)).await.unwrap();
    let told: i64 = report.iter().filter(|row| row.metric == Metric::Touch).map(|row| row.count).sum();
    let has: BTreeSet<(u16, u64)> = pair.ledger.slices_published().await.unwrap().into_iter().collect();
    let slices = pair.clicks.active_counts().into_iter().filter(|s| !has.contains(&(s.node, s.seq)));
    told as u64 + slices.flat_map(|slice| slice.counts).map(|count| count.count).sum::<u64>()
}

async fn store(pair: &Pair, click: &Click, n: usize) -> Vec<ClickId> {
    let mut ids = Vec::new();
    for _ in 0..n {
        ids.push(pair.store(click).await);
    }
    ids
}

async fn close_and_publish(pair: &Pair) {
    pair.close_slice().await;
    pair.publish().await;
}

async fn all_found(pair: &Pair, ids: &[ClickId]) -> bool {
    let found = pair.clicks.find_batch(ids).await.unwrap();
    found.iter().all(|found| matches!(found, Found::Touch(_)))
}

fn put(from: &Path, to: &Path) {
    let _ = fs::remove_dir_all(to);
    copy_dir(from, to);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_older_click_log_beside_a_newer_ledger() {
    let (_world, click) = click(NOON).await;
    for is_empty in [false, true] {
        let dir = tempfile::tempdir().unwrap();
        let (clicks, older) = (dir.path().join("clicks"), dir.path().join("older"));
        let clock = Clock::manual(NOON);
        let pair = Pair::open(dir.path(), &clock);
        let first = store(&pair, &click, 3).await;
        close_and_publish(&pair).await;
        let second = store(&pair, &click, 2).await;
        pair.close().await;
        copy_dir(&clicks, &older);
        // The slice of two goes on, and is counted with six.
        let pair = Pair::open(dir.path(), &clock);
        let mut ids = store(&pair, &click, 4).await;
        close_and_publish(&pair).await;
        ids.extend(store(&pair, &click, 5).await);
        close_and_publish(&pair).await;
        assert_eq!(counted(&pair).await, 14);
        pair.close().await;

        match is_empty {
            false => put(&older, &clicks),
            true => fs::remove_dir_all(&clicks).unwrap(),
        }
        let (pair, report) = Pair::try_open(dir.path(), &clock);
        assert!(report.is_older && report.told_again.is_empty() && report.uncounted.is_empty(), "{report:?}");
        assert_eq!(counted(&pair).await, 14, "what was counted is counted once");
        if !is_empty {
            assert!(all_found(&pair, &first).await && all_found(&pair, &second).await);
        }
        let next = store(&pair, &click, 7).await;
        assert!(next.iter().all(|id| !ids.contains(id) && !second.contains(id)), "an id was given twice");
        assert_eq!(counted(&pair).await, 21);
        close_and_publish(&pair).await;
        assert_eq!(counted(&pair).await, 21);
        assert!(pair.clicks.to_publish().is_empty() && all_found(&pair, &next).await);
        pair.close().await;
        let (pair, report) = Pair::try_open(dir.path(), &clock);
        assert!(!report.is_older, "it goes on from there: {report:?}");
        assert_eq!(counted(&pair).await, 21);
        pair.close().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_older_ledger_beside_a_newer_click_log() {
    let (_world, click) = click(NOON).await;
    let dir = tempfile::tempdir().unwrap();
    let clock = Clock::manual(NOON);
    let pair = Pair::open(dir.path(), &clock);
    let mut ids = store(&pair, &click, 3).await;
    close_and_publish(&pair).await;
    pair.close().await;
    let ledger = fs::read(dir.path().join("ledger.sqlite")).unwrap();
    assert!(!dir.path().join("ledger.sqlite-wal").exists(), "it was closed in order");

    let pair = Pair::open(dir.path(), &clock);
    ids.extend(store(&pair, &click, 4).await);
    close_and_publish(&pair).await;
    ids.extend(store(&pair, &click, 1).await);
    close_and_publish(&pair).await;
    // Three slices in one segment, of which the older ledger knows the first.
    clock.advance(HOUR);
    assert!(pair.clicks.seal(clock.now()).unwrap().is_some());
    // One in a segment of its own, one in none, one that nobody was told of, and one that is written.
    for _ in 0..2 {
        ids.extend(store(&pair, &click, 5).await);
        close_and_publish(&pair).await;
        clock.advance(HOUR);
        if pair.clicks.segments().len() < 2 {
            assert!(pair.clicks.seal(clock.now()).unwrap().is_some());
        }
    }
    ids.extend(store(&pair, &click, 6).await);
    pair.close_slice().await;
    ids.extend(store(&pair, &click, 2).await);
    assert_eq!((counted(&pair).await, pair.clicks.segments().len()), (26, 2));
    pair.close().await;

    let older = || {
        for end in ["-wal", "-shm"] {
            let _ = fs::remove_file(dir.path().join(format!("ledger.sqlite{end}")));
        }
        fs::write(dir.path().join("ledger.sqlite"), &ledger).unwrap();
    };
    older();
    let (pair, report) = Pair::try_open(dir.path(), &clock);
    assert!(!report.is_older && report.uncounted.is_empty(), "{report:?}");
    assert_eq!(report.told_again.len(), 4, "{report:?}");
    assert_eq!(counted(&pair).await, 26, "before they are told");
    // Half of them are told, and the process dies.
    for slice in pair.clicks.to_publish().into_iter().take(2) {
        let seq = slice.seq;
        pair.ledger.slice_publish(slice).await.unwrap();
        pair.clicks.published(seq).unwrap();
    }
    pair.close().await;
    let (pair, _) = Pair::try_open(dir.path(), &clock);
    assert_eq!(counted(&pair).await, 26, "some are told");
    close_and_publish(&pair).await;
    assert!(pair.clicks.to_publish().is_empty());
    assert_eq!(counted(&pair).await, 26, "all are told");
    assert!(all_found(&pair, &ids).await);
    pair.close().await;
    let (pair, report) = Pair::try_open(dir.path(), &clock);
    assert!(report.told_again.is_empty() && !report.is_older, "{report:?}");
    assert_eq!(counted(&pair).await, 26);
    pair.close().await;

    // The same ledger once more, after everything was sealed and merged.
    let pair = Pair::open(dir.path(), &clock);
    clock.advance(48 * HOUR);
    while pair.clicks.seal(clock.now()).unwrap().is_some() {}
    assert_eq!(pair.clicks.stats().slices_closed, 0);
    pair.close().await;
    older();
    let (pair, report) = Pair::try_open(dir.path(), &clock);
    assert_eq!((report.told_again.len(), counted(&pair).await), (6, 26), "{report:?}");
    pair.publish().await;
    assert_eq!(counted(&pair).await, 26);
    pair.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn counts_that_cannot_be_made_again_are_named() {
    let (_world, click) = click(NOON).await;
    let dir = tempfile::tempdir().unwrap();
    let clock = Clock::manual(NOON);
    let pair = Pair::open(dir.path(), &clock);
    store(&pair, &click, 1).await;
    close_and_publish(&pair).await;
    pair.close().await;
    let ledger = fs::read(dir.path().join("ledger.sqlite")).unwrap();
    let pair = Pair::open(dir.path(), &clock);
    store(&pair, &click, 2).await;
    close_and_publish(&pair).await;
    clock.advance(HOUR);
    assert!(pair.clicks.seal(clock.now()).unwrap().is_some());
    let file = pair.clicks.segments()[0].file.clone();
    pair.close().await;
    fs::remove_file(dir.path().join("clicks").join(&file)).unwrap();
    fs::write(dir.path().join("ledger.sqlite"), &ledger).unwrap();
    let (pair, report) = Pair::try_open(dir.path(), &clock);
    assert_eq!((report.uncounted, report.told_again), (vec![file], Vec::new()));
    assert_eq!(counted(&pair).await, 1);
    pair.close().await;
}
