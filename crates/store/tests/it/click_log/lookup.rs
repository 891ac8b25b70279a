//! Look-ups by id and by print.

use super::{DAY, KEY, START, World, gaid, stored};
use roundtrip_domain::click::TouchKind;
use roundtrip_domain::click_id::{ClickId, Mint};
use roundtrip_domain::device::Print;
use roundtrip_domain::id::Id;
use roundtrip_store::click_log::faults::Point;
use roundtrip_store::click_log::{ClickLog, Found, OpenReport};

#[tokio::test]
async fn a_click_is_found_whole_in_every_state() {
    let world = World::new();
    let (log, report) = world.open();
    assert_eq!(report, OpenReport::default());
    let click = world.click(1);
    let id = stored(log.append(click.clone()).await);
    let check = async |log: &ClickLog| match log.find(id).await.unwrap() {
        Found::Touch(touch) => assert_eq!((touch.id, &touch.click), (id, &click)),
        other => panic!("{other:?}"),
    };
    check(&log).await;
    world.faults.hold(Point::Closing);
    let closing = tokio::task::spawn_blocking({
        let log = log.clone();
        move || log.close_now()
    });
    assert!(world.faults.wait_held(Point::Closing));
    assert_eq!(log.stats().slices_closing, 1);
    check(&log).await;
    world.faults.release(Point::Closing);
    assert!(closing.await.unwrap());
    assert_eq!((log.stats().slices_active, log.stats().slices_closed), (0, 1));
    check(&log).await;
    assert!(log.shutdown());
    let (log, report) = world.open();
    assert_eq!((report.closed, report.to_publish.len()), (1, 1));
    check(&log).await;
}

#[tokio::test]
async fn ids_that_are_not_there_say_why() {
    let world = World::new();
    let (log, _) = world.open();
    let id = stored(log.append(world.click(1)).await);
    let mangled = ClickId::from_bits(id.bits() ^ 1);
    assert_eq!(log.find(mangled).await.unwrap(), Found::NotOurs);
    let never = Mint::new(5, KEY, None).next(world.clock.now().plus_ms(1), 9);
    assert_eq!(log.find(never).await.unwrap(), Found::NotStored);
    let other_node = Mint::new(6, KEY, None).next(world.clock.now(), 9);
    assert_eq!(log.find(other_node).await.unwrap(), Found::NotStored);
    world.clock.advance(120 * DAY + 1);
    assert_eq!(log.find(id).await.unwrap(), Found::Expired);
}

#[tokio::test]
async fn prints_are_found_in_their_window_and_behind_their_wall() {
    let world = World::new();
    let (log, _) = world.open();
    let mut ids = Vec::new();
    for _ in 0..4 {
        ids.extend(world.store(&log, 1..2).await);
        // The same device at another app, and the same partner click id at another partner.
        let mut other = world.click(1);
        other.app = Id::from_bits(100);
        other.partner = Id::from_bits(300);
        stored(log.append(other).await);
        let mut preview = world.click(1);
        preview.kind = TouchKind::Preview;
        stored(log.append(preview).await);
        if ids.len() % 2 == 0 {
            assert!(log.close_now());
        }
        world.clock.advance(60_000);
    }
    ids.extend(world.store(&log, 1..2).await);
    let ids_of =
        |touches: Vec<roundtrip_domain::click::Touch>| touches.iter().map(|t| t.id).collect::<Vec<_>>();
    let at = |minute: i64| START.plus_ms(minute * 60_000);
    ids.reverse();
    let all = log.find_print(gaid(1), START, at(99), 100).await.unwrap();
    assert_eq!(ids_of(all), ids, "newest first, over the active slice and the closed ones");
    let some = log.find_print(gaid(1), START, at(99), 2).await.unwrap();
    assert_eq!(ids_of(some), ids[..2]);
    let window = log.find_print(gaid(1), at(1), at(3), 100).await.unwrap();
    assert_eq!(ids_of(window), ids[1..4], "both ends are inside");
    for (minute, id) in ids.iter().rev().enumerate() {
        let moment = log.find_print(gaid(1), at(minute as i64), at(minute as i64), 100).await.unwrap();
        assert_eq!(ids_of(moment), [*id], "its neighbours in the same slice are outside");
    }
    assert!(log.find_print(gaid(1), at(5), at(9), 100).await.unwrap().is_empty());
    assert!(log.find_print(gaid(2), START, at(99), 100).await.unwrap().is_empty());
    let partner = Print::partner_click_id(Id::from_bits(3), b"partner-1");
    assert_eq!(ids_of(log.find_print(partner, START, at(99), 100).await.unwrap()), ids);
    let other = Print::partner_click_id(Id::from_bits(300), b"partner-1");
    let others = log.find_print(other, START, at(99), 100).await.unwrap();
    assert!(others.len() == 4 && others.iter().all(|t| t.click.app == Id::from_bits(100)));
}

#[tokio::test]
async fn the_window_is_of_the_moment_received_not_of_the_ids() {
    let world = World::new();
    let (log, _) = world.open();
    world.store(&log, 0..1).await;
    world.clock.advance(-3_600_000);
    let id = world.store(&log, 1..2).await[0];
    assert!(id.ms() >= START.ms(), "its id goes on from the last one");
    for closed in [false, true] {
        let hour_before = START.plus_ms(-3_600_000);
        let found = log.find_print(gaid(1), hour_before, hour_before, 9).await.unwrap();
        assert_eq!(found.iter().map(|t| t.id).collect::<Vec<_>>(), [id], "closed: {closed}");
        assert!(log.find_print(gaid(1), START, START, 9).await.unwrap().is_empty());
        assert!(log.close_now());
    }
}
