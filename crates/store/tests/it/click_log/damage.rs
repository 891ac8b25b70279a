//! What is broken is named, what can be read goes on, what is torn is normal.

use super::{START, World, count_found, counted, flip, gaid, is_found, unstored, until};
use roundtrip_store::click_log::{Cause, Found, Why};
use std::collections::BTreeSet;
use std::fs;

#[tokio::test]
async fn a_failed_sync_retires_the_slice_and_loses_nothing_that_was_answered() {
    let world = World::new();
    let (log, _) = world.open();
    let before = world.store(&log, 0..20).await;
    world.faults.fail_sync(1);
    let lost = unstored(log.append(world.click(20)).await, Why::Disk);
    let after = world.store(&log, 21..25).await;
    assert!(log.close_now());
    assert_eq!(count_found(&log, &before).await, 20);
    assert_eq!(count_found(&log, &after).await, 4);
    assert_eq!(log.find(lost).await.unwrap(), Found::NotStored);
    let damages = log.damages();
    assert_eq!((damages.len(), damages[0].cause, damages[0].clicks_kept), (1, Cause::SyncFailed, 20));
    assert!(damages[0].set_aside.iter().all(|p| p.exists()));
    assert_eq!(counted(&log), 24);
    assert_eq!(log.find_print(gaid(7), START, START, 5).await.unwrap().len(), 1);
}

#[tokio::test]
async fn a_torn_last_commit_is_normal() {
    let world = World::new();
    let (log, _) = world.open();
    let ids = world.store(&log, 0..30).await;
    assert!(log.shutdown());
    let wal = world.files(".sqlite-wal").pop().unwrap();
    let whole = fs::read(&wal).unwrap();
    for cut in [1, 100, 4_000, 4_100] {
        fs::write(&wal, &whole[..whole.len() - cut]).unwrap();
        let crashed = world.crashed();
        let (log, report) = crashed.open();
        assert!(report.damaged.is_empty(), "{cut}: {report:?}");
        assert_eq!(report.resumed.as_ref().map(|r| r.1), Some(29));
        let left = fs::metadata(crashed.files(".sqlite-wal").pop().unwrap()).unwrap().len();
        assert_eq!((left - 32) % (24 + 4_096), 0, "the torn commit is cut off");
        assert_eq!(count_found(&log, &ids).await, 29);
        let next = crashed.store(&log, 50..52).await;
        assert!(next[0] > ids[28]);
        assert_eq!(count_found(&log, &next).await, 2);
        assert!(log.shutdown());
        assert!(
            crashed.open().1.damaged.is_empty(),
            "nothing of the torn commit is left behind the new ones"
        );
    }
    // The last commit is there in full length, but not all of its bytes reached the disk.
    let mut torn = whole.clone();
    let at = whole.len() - 2_000;
    torn[at..].fill(0);
    fs::write(&wal, &torn).unwrap();
    let crashed = world.crashed();
    let (log, report) = crashed.open();
    assert!(report.damaged.is_empty(), "{report:?}");
    assert_eq!(count_found(&log, &ids).await, 29);
}

#[tokio::test]
async fn zeros_written_ahead_of_the_log_are_no_damage() {
    let world = World::new();
    let (log, _) = world.open();
    let ids = world.store(&log, 0..40).await;
    let wal = world.files(".sqlite-wal").pop().unwrap();
    // The answers are given before the zeros are written.
    let zeros = || fs::read(&wal).unwrap().iter().rev().take_while(|b| **b == 0).count();
    until("writing zeros", || zeros() >= 100_000).await;
    let crashed = world.crashed();
    assert!(log.shutdown());
    assert_ne!(
        fs::read(&wal).unwrap().last_chunk::<4_096>(),
        Some(&[0; 4_096]),
        "an orderly end takes them away"
    );
    let (log, report) = crashed.open();
    assert!(report.damaged.is_empty(), "{report:?}");
    assert_eq!(report.resumed.as_ref().map(|r| r.1), Some(40));
    let next = crashed.store(&log, 40..42).await;
    assert!(log.close_now());
    assert_eq!(count_found(&log, &ids).await + count_found(&log, &next).await, 42);
    assert!(log.shutdown());
    assert!(crashed.open().1.damaged.is_empty());
}

#[tokio::test]
async fn a_log_that_outlived_its_slice_is_deleted() {
    let world = World::new();
    let (log, _) = world.open();
    let ids = world.store(&log, 0..5).await;
    let wal = world.files(".sqlite-wal").pop().unwrap();
    let left = fs::read(&wal).unwrap();
    assert!(log.close_now() && log.shutdown());
    // As a crash between the renaming and the deleting leaves it.
    fs::write(&wal, left).unwrap();
    let (log, report) = world.open();
    assert!(report.damaged.is_empty() && !wal.exists(), "{report:?}");
    assert_eq!(count_found(&log, &ids).await, 5);
}

#[tokio::test]
async fn a_log_damaged_in_the_middle_is_named_and_salvaged() {
    let world = World::new();
    let (log, _) = world.open();
    let ids = world.store(&log, 0..60).await;
    assert!(log.shutdown());
    let wal = world.files(".sqlite-wal").pop().unwrap();
    let len = fs::metadata(&wal).unwrap().len();
    flip(&wal, len / 2, 300);
    let (log, report) = world.open();
    assert_eq!(report.damaged.len(), 1, "{report:?}");
    let damage = &report.damaged[0];
    assert!(matches!(damage.cause, Cause::Wal { groups_behind } if groups_behind > 10), "{damage:?}");
    assert!(damage.set_aside.len() >= 2 && damage.set_aside.iter().all(|p| p.exists()));
    // Each commit wrote the whole last page again, so later frames hold what the bad one lost.
    assert_eq!(damage.clicks_kept, 60);
    assert_eq!(count_found(&log, &ids).await, 60);
    assert_eq!(log.find_print(gaid(59), START, START, 5).await.unwrap().len(), 1);
    let next = world.store(&log, 60..62).await;
    assert!(next[0] > ids[59]);
    assert!(log.shutdown());
    let (_, report) = world.open();
    assert!(report.damaged.is_empty(), "it is told once: {report:?}");
}

#[tokio::test]
async fn a_log_that_is_damaged_before_its_slice_is_closed_loses_no_click() {
    let world = World::new();
    let (log, _) = world.open();
    let ids = world.store(&log, 0..60).await;
    let wal = world.files(".sqlite-wal").pop().unwrap();
    flip(&wal, 60_000, 300);
    // The first try finds it, the second one saves what can be read.
    assert!(log.close_now());
    assert_eq!(log.damages().len(), 1);
    assert_eq!(count_found(&log, &ids).await, 60);
}

#[tokio::test]
async fn a_live_slice_that_is_no_database_is_set_aside() {
    let world = World::new();
    let (log, _) = world.open();
    world.store(&log, 0..5).await;
    assert!(log.close_now());
    let kept = world.store(&log, 5..8).await;
    assert!(log.close_now());
    let gone = world.store(&log, 8..12).await;
    assert!(log.shutdown());
    let live = world.files(".sqlite").into_iter().find(|p| !p.to_string_lossy().contains("closed")).unwrap();
    fs::write(&live, vec![0x42; 9_000]).unwrap();
    fs::write(live.with_extension("sqlite-wal"), b"nonsense").unwrap();
    let (log, report) = world.open();
    assert_eq!(report.damaged.len(), 1, "{report:?}");
    assert_eq!((report.damaged[0].cause, report.damaged[0].clicks_kept), (Cause::Unreadable, 0));
    assert_eq!(count_found(&log, &kept).await, 3);
    assert_eq!(count_found(&log, &gone).await, 0);
    let id = world.store(&log, 20..21).await[0];
    assert!(is_found(&log, id).await);
    assert!(log.close_now());
    let seqs: BTreeSet<_> = log.to_publish().iter().map(|s| s.seq).collect();
    assert_eq!(seqs.len(), 3, "the number of the lost slice is not used again");
    assert_eq!(seqs.last(), Some(&4));
}

#[tokio::test]
async fn a_closed_slice_damaged_in_the_middle_is_named_and_salvaged() {
    let mut world = World::new();
    world.config.verify_at_start = 0;
    let (log, _) = world.open();
    let ids = world.store(&log, 0..200).await;
    assert!(log.close_now());
    let seq = log.to_publish()[0].seq;
    assert_eq!(log.verify(seq).unwrap(), None);
    assert!(log.shutdown());
    let closed = world.files(".closed.sqlite").pop().unwrap();
    let len = fs::metadata(&closed).unwrap().len();
    flip(&closed, len / 2 / 4_096 * 4_096, 200);

    let (log, report) = world.open();
    assert!(report.damaged.is_empty(), "its length is right: {report:?}");
    let damage = log.verify(seq).unwrap().expect("the checksum tells");
    assert_eq!(damage.cause, Cause::Changed);
    assert!(damage.clicks_kept >= 150 && damage.clicks_kept < 200, "{damage:?}");
    assert_eq!(count_found(&log, &ids).await as u64, damage.clicks_kept);
    assert!(is_found(&log, ids[0]).await && is_found(&log, ids[199]).await, "both ends are kept");
    let publish = log.to_publish();
    assert_eq!(publish[0].counts.iter().map(|c| c.count).sum::<u64>(), 200, "what was counted stays counted");
    assert_eq!(log.verify(seq).unwrap(), None, "what was kept is whole");
    assert!(log.shutdown());

    // Verified by itself after a start.
    world.config.verify_at_start = 4;
    flip(&closed, 20_000, 10);
    let (log, _) = world.open();
    until("looking into it", || !log.damages().is_empty()).await;
    assert_eq!(log.damages()[0].cause, Cause::Changed);
    assert!(log.shutdown());

    // A cut one is noticed by the start itself.
    let closed = world.files(".closed.sqlite").pop().unwrap();
    let len = fs::metadata(&closed).unwrap().len();
    fs::File::options().write(true).open(&closed).unwrap().set_len(len - 8_192).unwrap();
    let (_, report) = world.open();
    assert_eq!((report.damaged.len(), report.damaged[0].cause), (1, Cause::Changed));
    assert!(report.damaged[0].clicks_kept > 50, "{report:?}");
}

#[tokio::test]
async fn a_missing_slice_is_named_and_its_counts_are_not_lost() {
    let world = World::new();
    let (log, _) = world.open();
    let gone = world.store(&log, 0..4).await;
    assert!(log.close_now());
    let kept = world.store(&log, 4..6).await;
    assert!(log.close_now());
    assert!(log.shutdown());
    fs::remove_file(&world.files(".closed.sqlite")[0]).unwrap();
    let (log, report) = world.open();
    assert_eq!(report.missing.iter().map(|m| (m.seq, m.clicks)).collect::<Vec<_>>(), [(1, 4)]);
    assert_eq!((report.closed, log.stats().slices_missing), (1, 1));
    assert_eq!(log.find(gone[0]).await.unwrap(), Found::NotStored);
    assert_eq!(count_found(&log, &kept).await, 2);
    assert_eq!(counted(&log), 6);
    assert_eq!(log.to_publish().len(), 2);
}

#[tokio::test]
async fn a_damaged_side_file_is_made_again() {
    let mut world = World::new();
    world.config.verify_at_start = 0;
    let (log, _) = world.open();
    world.store(&log, 0..50).await;
    assert!(log.close_now());
    assert!(log.shutdown());
    let side = world.files(".prints").pop().unwrap();
    let good = fs::read(&side).unwrap();
    for damage in ["header", "cut", "gone"] {
        match damage {
            "header" => flip(&side, 3, 1),
            "cut" => fs::write(&side, &good[..good.len() - 7]).unwrap(),
            _ => fs::remove_file(&side).unwrap(),
        }
        let (log, report) = world.open();
        assert_eq!(report.side_files_rebuilt.len(), 1, "{damage}");
        assert_eq!(log.find_print(gaid(7), START, START, 5).await.unwrap().len(), 1);
        assert!(log.shutdown());
        assert_eq!(fs::read(&side).unwrap(), good);
    }
    flip(&side, 1_000, 3);
    let (log, report) = world.open();
    assert!(report.side_files_rebuilt.is_empty(), "a row is not looked at by the start");
    assert!(log.verify(1).unwrap().is_some());
    assert_eq!(fs::read(&side).unwrap(), good);
}

#[tokio::test]
async fn a_damaged_manifest_is_made_again_from_the_slices() {
    let world = World::new();
    let (log, _) = world.open();
    let ids = world.store(&log, 0..5).await;
    assert!(log.close_now());
    log.published(1).unwrap();
    assert!(log.shutdown());
    for end in ["", "-wal", "-shm"] {
        let path = world.dir().join(format!("manifest.sqlite{end}"));
        if path.exists() {
            fs::write(path, b"no manifest at all").unwrap();
        }
    }
    let (log, report) = world.open();
    assert_eq!(report.damaged.iter().map(|d| d.cause).collect::<Vec<_>>(), [Cause::Manifest]);
    assert_eq!(report.to_publish, [1], "offered again, under the same number");
    assert_eq!(count_found(&log, &ids).await, 5);
}

#[tokio::test]
async fn leftovers_of_interrupted_work_are_cleared() {
    let world = World::new();
    let (log, _) = world.open();
    world.store(&log, 0..5).await;
    assert!(log.close_now());
    assert!(log.shutdown());
    // A slice that was being created, a side file that was being written, a salvage that had not ended.
    for (file, bytes) in [
        ("slice-5-1780565000001-2.sqlite", &[][..]),
        ("slice-5-1780565000001-2.sqlite-wal", b"torn"),
        ("slice-5-1780565000000-1.prints.tmp", b"half"),
        ("slice-5-1780565000000-1.salvaged.tmp", b"half"),
        ("slice-5-1780565000000-1.tmp", b"half"),
    ] {
        fs::write(world.dir().join(file), bytes).unwrap();
    }
    let (log, report) = world.open();
    assert!(report.damaged.is_empty() && report.missing.is_empty(), "{report:?}");
    assert_eq!((report.closed, report.resumed), (1, None));
    assert!(world.files(".tmp").is_empty() && world.files("-2.sqlite").is_empty());
    world.store(&log, 5..6).await;
    assert!(log.close_now());
    assert_eq!(log.to_publish().last().map(|s| s.seq), Some(3), "a number that was seen is not given again");
}
