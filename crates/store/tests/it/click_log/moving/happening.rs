//! Whatever happens to a log and its bucket, one after the other: in the end each click is there once.

use proptest::prelude::*;
use roundtrip_domain::click::Touch;
use roundtrip_domain::click_id::ClickId;

use super::shelf::Ill;
use super::{BUCKET, DAY, HOUR, NEVER, START, World, count_found, gaid, publish, seal_all, walk};

/// What happens to a log and its bucket.
#[derive(Debug, Clone, Copy)]
enum Happens {
    Clicks(u64),
    Later(i64),
    Sealing,
    Trouble(Ill, u32),
    Restart,
    Crash,
    Erasure(u64),
    Verifying,
}

fn any_happening() -> impl Strategy<Value = Happens> {
    let ill = proptest::sample::select(vec![
        Ill::PutAnsweredWrong,
        Ill::PutChanged,
        Ill::PutRefused,
        Ill::ReadShort,
        Ill::ReadChanged,
        Ill::ReadLate,
        Ill::DeleteRefused,
        Ill::Down,
    ]);
    prop_oneof![
        5 => (1_u64..6).prop_map(Happens::Clicks),
        4 => prop_oneof![Just(1_000), Just(HOUR / 2), Just(HOUR), Just(DAY)].prop_map(Happens::Later),
        4 => Just(Happens::Sealing),
        3 => (ill, 1_u32..4).prop_map(|(ill, times)| Happens::Trouble(ill, times)),
        1 => Just(Happens::Restart),
        1 => Just(Happens::Crash),
        1 => any::<u64>().prop_map(Happens::Erasure),
        1 => Just(Happens::Verifying),
    ]
}

proptest! {
    #![proptest_config(super::super::cases())]

    /// Whatever happens, in the end every click that was not erased is found once, and the bucket holds just what is listed
    /// as lying there.
    #[test]
    fn whatever_happens_to_a_bucket_no_click_is_lost_or_doubled(
        happenings in proptest::collection::vec(any_happening(), 5..40)
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(all_happens(&happenings));
    }
}

#[tokio::test]
async fn what_reads_another_way_each_time_is_not_taken_for_damage() {
    all_happens(&[
        Happens::Clicks(1),
        Happens::Later(HOUR),
        Happens::Sealing,
        Happens::Trouble(Ill::ReadChanged, 2),
        Happens::Verifying,
    ])
    .await;
}

#[tokio::test]
async fn the_id_of_an_erased_click_is_not_given_again() {
    // The clock stands still, and no file is left that the id was in.
    all_happens(&[
        Happens::Clicks(1),
        Happens::Erasure(0),
        Happens::Sealing,
        Happens::Restart,
        Happens::Clicks(1),
    ])
    .await;
}

async fn all_happens(happenings: &[Happens]) {
    let (mut world, mut shelf) = World::with_bucket();
    let (mut log, _) = world.open();
    let mut ids: Vec<ClickId> = Vec::new();
    let mut gone: Vec<u64> = Vec::new();
    for happens in happenings {
        match *happens {
            Happens::Clicks(n) => {
                let from = ids.len() as u64;
                ids.extend(world.store(&log, from..from + n).await);
            }
            Happens::Later(ms) => world.clock.advance(ms),
            Happens::Sealing => {
                assert!(log.close_now());
                publish(&log);
                for _ in 0..4 {
                    log.seal(world.clock.now()).unwrap();
                }
            }
            Happens::Trouble(ill, times) => shelf.order(ill, times),
            Happens::Restart => {
                assert!(log.shutdown());
                log = world.open().0;
            }
            Happens::Crash => {
                let (crashed, left) = world.crashed_with(&shelf);
                assert!(log.shutdown());
                (world, shelf) = (crashed, left);
                log = world.open().0;
            }
            Happens::Erasure(n) if !ids.is_empty() => {
                let n = n % ids.len() as u64;
                assert!(log.close_now());
                let of = |touch: &Touch| touch.click.prints(&touch.click.params()).contains(&gaid(n));
                let mut after = 0;
                loop {
                    match log.erase_next(after, &of) {
                        Ok(Some(file)) => after = file.seq,
                        Ok(None) => break,
                        // Trouble is over at some time, and the same step goes on.
                        Err(_) => shelf.well(),
                    }
                }
                gone.push(n);
            }
            Happens::Erasure(_) => {}
            Happens::Verifying => {
                for segment in log.segments() {
                    // An object that reads wrong is not taken for one that is.
                    if let Ok(found) = log.verify(segment.seq) {
                        assert_eq!(found, None, "{happenings:?}");
                    }
                }
            }
        }
    }
    shelf.well();
    assert!(log.close_now());
    publish(&log);
    world.clock.advance(2 * DAY);
    for what in ["in the end", "after a restart"] {
        // What is not whole there is taken away first, and tried again later.
        for _ in 0..5 {
            seal_all(&world, &log);
        }
        let left: Vec<ClickId> =
            (0_u64..).zip(&ids).filter(|(n, _)| !gone.contains(n)).map(|(_, id)| *id).collect();
        assert_eq!(count_found(&log, &ids).await, left.len(), "{what}: {happenings:?}");
        assert_eq!(count_found(&log, &left).await, left.len(), "{what}: {happenings:?}");
        for n in 0..ids.len() as u64 {
            let found = log.find_print(gaid(n), START, NEVER, 9).await.unwrap().len();
            assert_eq!(found, usize::from(!gone.contains(&n)), "{what}: {n}: {happenings:?}");
        }
        let segments = log.segments();
        assert!(
            segments.iter().all(|s| s.bucket.as_deref() == Some(BUCKET) && !s.is_missing),
            "{what}: {segments:?}"
        );
        assert_eq!(
            segments.iter().map(|s| s.clicks).sum::<u64>(),
            left.len() as u64,
            "{what}: {happenings:?}"
        );
        let mut listed: Vec<String> = segments.iter().map(|s| format!("{BUCKET}/{}", s.file)).collect();
        listed.sort();
        assert_eq!(shelf.names(), listed, "{what}: {happenings:?}");
        assert!(!walk(&world).iter().any(|file| file.ends_with(".parquet")), "{what}: {:?}", walk(&world));
        assert!(log.damages().is_empty(), "{what}: {:?}: {happenings:?}", log.damages());
        assert!(log.shutdown());
        log = world.open().0;
    }
}
