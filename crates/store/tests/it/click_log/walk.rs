//! Ways along the clicks: each once and in order, whatever is done to the files meanwhile.

use std::ops::RangeInclusive;

use super::{DAY, HOUR, START, World, flip, gaid, held, publish, seal_all, stored, unstored, until};
use proptest::prelude::*;
use roundtrip_domain::click::{Click, Touch};
use roundtrip_domain::id::{Id, WorkspaceNo};
use roundtrip_domain::time::Timestamp;
use roundtrip_store::click_log::faults::Point;
use roundtrip_store::click_log::{ClickLog, ClickWalk, ClickWish, Why};

const OURS: WorkspaceNo = WorkspaceNo(1);

fn wish() -> ClickWish {
    ClickWish { workspace: OURS, app: None, from: Timestamp::from_ms(0), to: START.plus_ms(900 * DAY) }
}

fn rest(walk: &mut ClickWalk, rows: usize) -> Vec<Touch> {
    let mut all = Vec::new();
    while let Some(touches) = walk.page_of(rows).unwrap() {
        all.extend(touches);
    }
    all
}

fn publish_and_seal(world: &World, log: &ClickLog) {
    publish(log);
    seal_all(world, log);
}

fn made(world: &World, device: u64, app: u128, workspace: u32) -> Click {
    let mut click = world.click(device);
    (click.workspace, click.app) = (WorkspaceNo(workspace), Id::from_bits(app));
    click
}

/// What happens to a log while somebody is on the way.
#[derive(Debug, Clone)]
enum Step {
    Clicks { how_many: u64, app: u128, workspace: u32 },
    Close,
    Publish,
    Seal,
    SealNow,
    Erase,
    Later(i64),
    Page(usize),
}

fn step() -> impl Strategy<Value = Step> {
    let clicks = (1_u64..6, 1_u128..3, 1_u32..3).prop_map(|(how_many, app, workspace)| Step::Clicks {
        how_many,
        app,
        workspace,
    });
    prop_oneof![
        6 => clicks,
        2 => Just(Step::Close),
        1 => Just(Step::Publish),
        2 => Just(Step::Seal),
        1 => Just(Step::SealNow),
        1 => Just(Step::Erase),
        2 => prop_oneof![Just(1), Just(HOUR), Just(DAY), Just(-2 * HOUR)].prop_map(Step::Later),
        5 => (1_usize..5).prop_map(Step::Page),
    ]
}

proptest! {
    #![proptest_config(super::cases())]

    #[test]
    fn each_click_comes_once_and_in_order_whatever_is_done_to_the_files(
        steps in proptest::collection::vec(step(), 1..60),
        app in proptest::option::of(1_u128..3),
        last_rows in 1_usize..2_000,
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let world = World::new();
            let (log, _) = world.open();
            let mut walk = log.walk(ClickWish { app: app.map(Id::from_bits), ..wish() });
            let (mut all, mut came): (Vec<Touch>, Vec<Touch>) = (Vec::new(), Vec::new());
            // Nobody has device 99 but whoever is erased, and those are left out of the account.
            let person = |touch: &Touch| touch.click.prints(&touch.click.params()).iter().any(|print| print.hash == gaid(99).hash);
            for (n, step) in steps.iter().enumerate() {
                match step {
                    Step::Clicks { how_many, app, workspace } => for m in 0..*how_many {
                        let device = if (n as u64 + m).is_multiple_of(5) { 99 } else { m };
                        let click = made(&world, device, *app, *workspace);
                        let id = stored(log.append(click.clone()).await);
                        all.push(Touch { id, click });
                    },
                    Step::Close => assert!(log.close_now()),
                    Step::Publish => publish(&log),
                    Step::Seal => publish_and_seal(&world, &log),
                    Step::SealNow => {
                        assert!(log.close_now());
                        publish(&log);
                        while log.seal_next_now().unwrap().is_some() {}
                    }
                    Step::Erase => {
                        assert!(log.close_now());
                        let mut after = 0;
                        while let Some(file) = log.erase_next(after, &person).unwrap() { after = file.seq; }
                    }
                    Step::Later(ms) => world.clock.advance(*ms),
                    Step::Page(rows) => came.extend(walk.page_of(*rows).unwrap().unwrap_or_default()),
                }
            }
            came.extend(rest(&mut walk, last_rows));
            let wanted = |touch: &&Touch| touch.click.workspace == OURS && app.is_none_or(|app| touch.click.app == Id::from_bits(app));
            let mut wanted: Vec<Touch> = all.iter().filter(wanted).cloned().collect();
            wanted.sort_by_key(|touch| touch.id);
            prop_assert!(came.windows(2).all(|pair| pair[0].id < pair[1].id), "in order, none twice");
            // Of the person those came that were not erased yet.
            prop_assert!(came.iter().all(|touch| wanted.contains(touch)), "none that is not");
            came.retain(|touch| !person(touch));
            wanted.retain(|touch| !person(touch));
            prop_assert_eq!(came, wanted);
            Ok(())
        })?;
    }
}

/// Clicks of some hours, one every ten minutes, all sealed but the last hour's.
async fn some_hours(world: &World, log: &ClickLog, hours: i64) -> Vec<Touch> {
    let mut all = Vec::new();
    for n in 0..6 * hours {
        let click = made(world, n as u64, 1 + n as u128 % 2, 1 + n as u32 % 2);
        let id = stored(log.append(click.clone()).await);
        all.push(Touch { id, click });
        world.clock.advance(HOUR / 6);
        if n % 6 == 5 && n + 1 < 6 * hours {
            assert!(log.close_now());
            publish_and_seal(world, log);
        }
    }
    all
}

#[tokio::test]
async fn spans_that_touch_hold_each_click_once() {
    let world = World::new();
    let (log, _) = world.open();
    let all = some_hours(&world, &log, 4).await;
    assert!(log.segments().len() >= 2 && log.slices().iter().any(|slice| slice.clicks > 0));
    let span = |from: Timestamp, to: Timestamp| rest(&mut log.walk(ClickWish { from, to, ..wish() }), 7);
    let ours: Vec<Touch> = all.iter().filter(|touch| touch.click.workspace == OURS).cloned().collect();
    assert_eq!(span(Timestamp::from_ms(0), START.plus_ms(DAY)), ours);
    let mut cut = Vec::new();
    for n in 0..30 {
        cut.extend(span(START.plus_ms(n * HOUR / 6), START.plus_ms((n + 1) * HOUR / 6)));
    }
    assert_eq!(cut, ours);
    let one = &ours[5];
    let at = Timestamp::from_ms(one.id.ms());
    assert_eq!(span(at, at.plus_ms(1)), std::slice::from_ref(one), "its beginning is in it");
    assert_eq!(span(at.plus_ms(-1), at), [], "its end is not");
    assert_eq!(span(START.plus_ms(2 * DAY), START), []);
    let theirs = ClickWish { workspace: WorkspaceNo(9), ..wish() };
    assert_eq!(rest(&mut log.walk(theirs), 7), [], "nothing of others");
    let (first, settled) = log.first_and_settled(world.clock.now());
    assert_eq!(
        (first, settled),
        (Some(Timestamp::from_ms(all[0].id.ms())), world.clock.now().plus_ms(-60_000))
    );
}

#[tokio::test]
async fn a_large_segment_is_gone_along_from_its_middle() {
    let world = World::new();
    let (log, _) = world.open();
    let mut ids = Vec::new();
    for n in 0..3_000_u64 {
        ids.push(stored(log.append(made(&world, n, 1, 1 + (n / 1_000) as u32 % 2)).await));
        world.clock.advance(10);
    }
    assert!(log.close_now());
    publish_and_seal(&world, &log);
    while log.seal_next_now().unwrap().is_some() {}
    let [segment] = &log.segments()[..] else { panic!("{:?}", log.segments()) };
    assert_eq!(segment.clicks, 3_000);
    let came = |range: RangeInclusive<usize>| {
        let (from, to) =
            (Timestamp::from_ms(ids[*range.start()].ms()), Timestamp::from_ms(ids[*range.end()].ms() + 1));
        let touches = rest(&mut log.walk(ClickWish { from, to, ..wish() }), 500);
        let wanted: Vec<_> = range.filter(|n| n / 1_000 % 2 == 0).map(|n| ids[n]).collect();
        assert_eq!(touches.iter().map(|touch| touch.id).collect::<Vec<_>>(), wanted);
    };
    came(0..=2_999);
    came(1_023..=1_024);
    came(990..=2_047);
    came(2_048..=2_048);
    came(1_100..=1_900);
}

#[tokio::test]
async fn what_is_missing_is_left_out_and_what_is_damaged_is_said() {
    let world = World::new();
    let (log, _) = world.open();
    let all = some_hours(&world, &log, 4).await;
    let segments = log.segments();
    let (lost, ill) = (&segments[0], &segments[1]);
    // It is not looked into before it was met.
    world.faults.hold(Point::Verifying);
    flip(&world.dir().join(&ill.file), 4, 30);
    let mut walk = log.walk(wish());
    let mut came = Vec::new();
    let error = loop {
        match walk.page_of(3) {
            Ok(page) => came.extend(page.expect("the error comes before the end")),
            Err(error) => break error,
        }
    };
    assert!(error.to_string().contains(&ill.file), "{error}");
    assert!(came.iter().all(|touch| touch.id.ms() < ill.id_first.ms()), "what lies before it came");
    // It is looked into; what can be read of it goes on, and so does the way.
    world.faults.release(Point::Verifying);
    until("looking into it", || !log.damages().is_empty()).await;
    assert_eq!(log.damages().len(), 1, "{error:?}");
    came.extend(rest(&mut walk, 3));
    let is_ill = |touch: &Touch| (ill.id_first.ms()..=ill.id_last.ms()).contains(&touch.id.ms());
    let ours = |touch: &&Touch| touch.click.workspace == OURS;
    let wanted: Vec<Touch> = all.iter().filter(ours).filter(|touch| !is_ill(touch)).cloned().collect();
    came.retain(|touch| !is_ill(touch));
    assert_eq!(came, wanted);

    std::fs::remove_file(world.dir().join(&lost.file)).unwrap();
    world.faults.hold(Point::Verifying);
    let mut walk = log.walk(wish());
    assert!(walk.page_of(3).is_err(), "nobody knew yet that it is gone");
    world.faults.release(Point::Verifying);
    until("missing it", || log.segments().iter().any(|segment| segment.is_missing)).await;
    let is_lost = |touch: &Touch| touch.id.ms() <= lost.id_last.ms();
    let mut came = rest(&mut walk, 3);
    came.retain(|touch| !is_ill(touch));
    let wanted: Vec<Touch> = wanted.into_iter().filter(|touch| !is_lost(touch)).collect();
    assert_eq!(came, wanted, "the others come");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_settled_stays_so_though_a_commit_is_slow_and_the_clock_is_set_back() {
    let world = World::new();
    let (log, _) = world.open();
    world.store(&log, 0..1).await;
    world.clock.advance(10 * HOUR);
    let (_, settled) = log.first_and_settled(world.clock.now());
    assert_eq!(settled, world.clock.now().plus_ms(-60_000));
    world.clock.jump(-5 * HOUR);
    let id = stored(log.append(world.click(1)).await);
    assert!(id.ms() >= settled.ms(), "nothing comes behind what was said to be over");

    // A commit hangs; what it writes has its id already.
    world.clock.jump(5 * HOUR);
    world.faults.hold(Point::BeforeCommit);
    let minted_at = world.clock.now();
    let waiting = tokio::spawn({
        let (log, click) = (log.clone(), world.click(2));
        async move { log.append(click).await }
    });
    held(&world, Point::BeforeCommit).await;
    world.clock.advance(HOUR);
    let (_, settled) = log.first_and_settled(world.clock.now());
    assert_eq!(settled, minted_at, "not before it is written");
    world.faults.release(Point::BeforeCommit);
    let id = stored(waiting.await.unwrap());
    assert_eq!(id.ms(), minted_at.ms());
    let over = world.clock.now().plus_ms(-60_000);
    until("settling", || log.first_and_settled(world.clock.now()).1 == over).await;
}

/// A commit whose sync failed may be in the file all the same; so may one in which the writer panicked.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_is_settled_behind_clicks_that_may_come_back_with_their_slice() {
    for is_panic in [false, true] {
        let world = World::new();
        let (log, _) = world.open();
        world.store(&log, 0..1).await;
        world.clock.advance(HOUR);
        world.faults.hold(Point::Closing);
        let why = if is_panic {
            world.faults.panic(1);
            Why::Panic
        } else {
            world.faults.fail_sync_behind(1);
            Why::Disk
        };
        let lost = unstored(log.append(world.click(1)).await, why);
        held(&world, Point::Closing).await;
        world.clock.advance(HOUR);
        let later = stored(log.append(world.click(2)).await);
        let (_, settled) = log.first_and_settled(world.clock.now());
        assert_eq!(settled.ms(), lost.ms(), "panic {is_panic}: it may come back");
        world.faults.release(Point::Closing);
        let over = world.clock.now().plus_ms(-60_000);
        until("settling", || log.first_and_settled(world.clock.now()).1 == over).await;
        let behind = ClickWish { from: Timestamp::from_ms(lost.ms()), ..wish() };
        let came: Vec<_> = rest(&mut log.walk(behind), 9).into_iter().map(|touch| touch.id).collect();
        assert_eq!(came, if is_panic { vec![later] } else { vec![lost, later] }, "panic {is_panic}");
    }
}

#[tokio::test]
async fn who_is_erased_on_the_way_does_not_come_any_more() {
    let world = World::new();
    let (log, _) = world.open();
    let all = some_hours(&world, &log, 3).await;
    let mut walk = log.walk(wish());
    let first = walk.page_of(1).unwrap().expect("there is one");
    assert_eq!(first.len(), 1);
    // One of the very file that is being read, and one of a later one.
    let ours: Vec<&Touch> = all.iter().filter(|touch| touch.click.workspace == OURS).collect();
    let gone = [ours[1].id, ours[5].id];
    assert!(log.close_now());
    let mut after = 0;
    while let Some(file) = log.erase_next(after, &|touch| gone.contains(&touch.id)).unwrap() {
        after = file.seq;
    }
    let came: Vec<_> = first.into_iter().chain(rest(&mut walk, 1)).map(|touch| touch.id).collect();
    let wanted: Vec<_> = ours.iter().map(|touch| touch.id).filter(|id| !gone.contains(id)).collect();
    assert_eq!(came, wanted);
}
