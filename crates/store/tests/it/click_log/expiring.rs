//! Which clock is believed when clicks are deleted for their age.

use super::{DAY, HOUR, START, World, count_found, gaid};
use roundtrip_domain::click_id::ClickId;
use roundtrip_domain::time::{Span, Timestamp};
use roundtrip_store::click_log::{ClickLog, Found};

/// Five clicks in a segment, five in a closed slice, all counted.
async fn both(world: &World, log: &ClickLog) -> Vec<ClickId> {
    let publish = || log.to_publish().iter().for_each(|slice| log.published(slice.seq).unwrap());
    let mut ids = world.store(log, 0..5).await;
    assert!(log.close_now());
    publish();
    log.seal_now().unwrap();
    ids.extend(world.store(log, 5..10).await);
    assert!(log.close_now());
    publish();
    ids
}

/// A server that looks every hour.
fn run(world: &World, log: &ClickLog, hours: i64) -> usize {
    (0..hours)
        .map(|_| {
            world.clock.advance(HOUR);
            log.expire(world.clock.now()).unwrap().len()
        })
        .sum()
}

async fn by_device(log: &ClickLog) -> usize {
    let mut found = 0;
    for n in 0..10 {
        found += log.find_print(gaid(n), START, Timestamp::from_ms(i64::MAX / 2), 9).await.unwrap().len();
    }
    found
}

#[tokio::test]
async fn a_clock_that_runs_ahead_for_a_while_deletes_nothing() {
    let mut world = World::new();
    world.config.retention = Span::from_ms(30 * DAY);
    let (log, _) = world.open();
    let ids = both(&world, &log).await;
    assert_eq!(run(&world, &log, 5), 0);
    for ahead in [29 * DAY, 90 * DAY, 4_000 * DAY] {
        world.clock.jump(ahead);
        assert_eq!(log.expire(world.clock.now()).unwrap(), [], "{ahead} ms ahead");
        assert_eq!(run(&world, &log, 24), 0, "{ahead} ms ahead for a day");
        assert_eq!((count_found(&log, &ids).await, by_device(&log).await), (10, 10));
        world.clock.jump(-ahead);
        assert_eq!(run(&world, &log, 2), 0);
    }
    // The right clock deletes them in their time, to the hour.
    let passed = world.clock.now().since(START);
    assert_eq!(run(&world, &log, (30 * DAY - passed) / HOUR), 0);
    assert_eq!(run(&world, &log, 1), 2);
    assert_eq!(log.find(ids[0]).await.unwrap(), Found::Expired);
}

#[tokio::test]
async fn nor_does_one_that_is_ahead_at_the_start() {
    let mut world = World::new();
    world.config.retention = Span::from_ms(30 * DAY);
    let (log, _) = world.open();
    let ids = both(&world, &log).await;
    assert_eq!(run(&world, &log, 5), 0);
    for _ in 0..3 {
        assert!(log.shutdown());
        world.clock.jump(200 * DAY);
        let (log, _) = world.open();
        assert_eq!(run(&world, &log, 12), 0);
        // Clicks of that time are no witness either.
        world.store(&log, 20..21).await;
        assert!(log.close_now());
        assert_eq!(count_found(&log, &ids).await, 10);
        assert!(log.shutdown());
        world.clock.jump(-200 * DAY);
        let (log, _) = world.open();
        assert_eq!(run(&world, &log, 2), 0);
        assert!(log.shutdown());
    }
}

#[tokio::test]
async fn after_a_long_time_out_of_use_it_takes_two_days() {
    let mut world = World::new();
    world.config.retention = Span::from_ms(30 * DAY);
    let (log, _) = world.open();
    both(&world, &log).await;
    assert_eq!(run(&world, &log, 5), 0);
    assert!(log.shutdown());
    world.clock.advance(100 * DAY);
    let (log, _) = world.open();
    assert_eq!(run(&world, &log, 47), 0);
    assert_eq!(run(&world, &log, 2), 2, "nobody sent it a click, and the time comes");
}
