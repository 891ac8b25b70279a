//! Look-ups over clicks wherever they lie: what is found is what a plain list of them says.

use super::{DAY, START, World, gaid, publish, seal_all, stored, until};
use proptest::prelude::*;
use roundtrip_domain::click::{Click, Touch, TouchKind};
use roundtrip_domain::device::Print;
use roundtrip_domain::id::{Id, WorkspaceNo};
use roundtrip_domain::time::Timestamp;
use roundtrip_store::click_log::faults::Point;
use roundtrip_store::click_log::{ClickLog, Error, Found};

fn publish_and_seal(world: &World, log: &ClickLog) {
    publish(log);
    seal_all(world, log);
}

/// What happens to a log.
#[derive(Debug, Clone)]
enum Step {
    Click { device: u64, app: u128, partner: u128, workspace: u32, kind: u8 },
    Close,
    Seal,
    Later(i64),
    Reopen,
}

fn step() -> impl Strategy<Value = Step> {
    let click = (0_u64..3, 1_u128..3, 3_u128..5, 1_u32..3, 1_u8..5).prop_map(
        |(device, app, partner, workspace, kind)| Step::Click { device, app, partner, workspace, kind },
    );
    prop_oneof![
        8 => click,
        2 => Just(Step::Close),
        2 => Just(Step::Seal),
        // Less than none: the clock is set back.
        3 => prop_oneof![Just(1), Just(3_600_000), Just(DAY), Just(-600_000)].prop_map(Step::Later),
        1 => Just(Step::Reopen),
    ]
}

fn made(world: &World, step: &Step) -> Option<Click> {
    let Step::Click { device, app, partner, workspace, kind } = *step else { return None };
    let mut click = world.click(device);
    click.workspace = WorkspaceNo(workspace);
    click.app = Id::from_bits(app);
    click.partner = Id::from_bits(partner);
    click.kind = TouchKind::from_number(kind).unwrap();
    Some(click)
}

/// The newest of those with the print, as the list says.
fn listed(all: &[Touch], print: Print, from: Timestamp, to: Timestamp, limit: usize) -> Vec<Touch> {
    let has = |touch: &&Touch| {
        let received = touch.click.received_at;
        touch.click.prints(&touch.click.params()).contains(&print) && from <= received && received <= to
    };
    let mut found: Vec<Touch> = all.iter().filter(has).cloned().collect();
    found.sort_by_key(|touch| std::cmp::Reverse((touch.click.received_at, touch.id)));
    found.truncate(limit);
    found
}

proptest! {
    #![proptest_config(super::cases())]

    #[test]
    fn what_is_found_is_what_a_list_says(
        steps in proptest::collection::vec(step(), 1..50),
        cache_bytes in prop_oneof![Just(0_usize), Just(20_000), Just(32 << 20)],
        windows in proptest::collection::vec((0_usize..60, 0_usize..60, 1_usize..6), 6),
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let mut world = World::new();
            world.config.lookup_cache_bytes = cache_bytes;
            let (mut log, _) = world.open();
            let mut all: Vec<Touch> = Vec::new();
            for step in &steps {
                match step {
                    Step::Click { .. } => {
                        let click = made(&world, step).unwrap();
                        let id = stored(log.append(click.clone()).await);
                        all.push(Touch { id, click });
                    }
                    Step::Close => assert!(log.close_now()),
                    Step::Seal => publish_and_seal(&world, &log),
                    Step::Later(ms) => world.clock.advance(*ms),
                    Step::Reopen => {
                        assert!(log.shutdown());
                        log = world.open().0;
                    }
                }
            }
            for touch in &all {
                prop_assert_eq!(log.find(touch.id).await.unwrap(), Found::Touch(Box::new(touch.clone())));
            }
            let mut moments: Vec<Timestamp> = all.iter().map(|touch| touch.click.received_at).collect();
            moments.extend([START.plus_ms(-DAY), START.plus_ms(60 * DAY)]);
            for (a, b, limit) in windows {
                let (from, to) = (moments[a % moments.len()], moments[b % moments.len()]);
                for device in 0..3 {
                    let partner_id = Print::partner_click_id(Id::from_bits(3), format!("partner-{device}").as_bytes());
                    for print in [gaid(device), gaid(device).on_view(), partner_id] {
                        let found = log.find_print(print, from, to, limit).await.unwrap();
                        prop_assert_eq!(found, listed(&all, print, from, to, limit));
                    }
                }
            }
            Ok(())
        })?;
    }
}

/// A device that a bot farm shares, or an id that everybody sends.
#[tokio::test]
async fn thousands_of_clicks_of_one_device_hide_none_of_those_in_the_window() {
    const MINUTE: i64 = 60_000;
    let world = World::new();
    let (log, _) = world.open();
    let mut all: Vec<Touch> = Vec::new();
    for chunk in 0..60 {
        // In the middle the clock is set back, and again later on.
        world.clock.advance(if chunk % 25 == 24 { -20 * MINUTE } else { MINUTE });
        let mut tasks = Vec::new();
        for n in 0..75 {
            let (log, mut click) = (log.clone(), world.click(7));
            click.query.extend_from_slice(format!("&sub2={chunk}-{n}").as_bytes());
            // They wait for their commit, some longer than others.
            click.received_at = click.received_at.plus_ms(-(n * 37 % 500));
            tasks.push(tokio::spawn(async move { (log.append(click.clone()).await, click) }));
        }
        for task in tasks {
            let (append, click) = task.await.unwrap();
            all.push(Touch { id: stored(append), click });
        }
    }
    assert!(all.iter().all(|touch| touch.id.ms() >= touch.click.received_at.ms()));
    let mut moments: Vec<Timestamp> = all.iter().step_by(1_201).map(|t| t.click.received_at).collect();
    moments.extend([START.plus_ms(-DAY), START.plus_ms(DAY)]);
    for state in ["active", "closed", "sealed", "after a restart"] {
        let log = match state {
            "closed" => {
                assert!(log.close_now());
                log.clone()
            }
            "sealed" => {
                world.clock.advance(DAY);
                publish_and_seal(&world, &log);
                assert_eq!((log.segments().len(), log.stats().slices_closed), (1, 0));
                log.clone()
            }
            "after a restart" => {
                assert!(log.shutdown());
                world.open().0
            }
            _ => log.clone(),
        };
        for from in &moments {
            for (n, to) in moments.iter().enumerate() {
                let limit = [1, 50][n % 2];
                let found = log.find_print(gaid(7), *from, *to, limit).await.unwrap();
                let list = listed(&all, gaid(7), *from, *to, limit);
                assert!(found == list, "{state}: {from} to {to}, {limit}: {} of {}", found.len(), list.len());
            }
        }
    }
}

/// What lies outside of the window, or behind what is wanted, is not read.
#[tokio::test]
async fn a_flood_costs_what_is_wanted_of_it() {
    let mut world = World::new();
    world.config.verify_at_start = 0;
    let (log, _) = world.open();
    let mut moments = Vec::new();
    for _ in 0..5 {
        world.clock.advance(60_000);
        moments.push(world.clock.now());
        let tasks: Vec<_> = (0..1_024).map(|_| (log.clone(), world.click(7))).collect();
        let tasks: Vec<_> = tasks
            .into_iter()
            .map(|(log, click)| tokio::spawn(async move { log.append(click).await }))
            .collect();
        for task in tasks {
            stored(task.await.unwrap());
        }
    }
    assert!(log.close_now());
    world.clock.advance(DAY);
    publish_and_seal(&world, &log);
    let [segment] = &log.segments()[..] else { panic!("{:?}", log.segments()) };
    let path = world.dir().join(&segment.file);
    assert_eq!(segment.clicks, 5 * 1_024);
    let bytes = std::fs::read(&path).unwrap();
    // A minute's clicks are four pages of each column; those of the second and the fourth are spoiled.
    let spoiled = |minute: usize, bytes: &[u8]| -> Vec<u8> {
        let mut spoiled = bytes.to_vec();
        for (offset, length) in (minute * 4..minute * 4 + 4).flat_map(|page| pages_of(bytes, page)) {
            spoiled[offset..offset + length].fill(0xff);
        }
        spoiled
    };
    std::fs::write(&path, spoiled(3, &spoiled(1, &bytes))).unwrap();
    assert!(log.shutdown());
    let (log, _) = world.open();
    for minute in [0, 2, 4] {
        let at = moments[minute];
        let found = log.find_print(gaid(7), at, at, 20).await.unwrap();
        assert_eq!(found.len(), 20, "minute {minute}");
        assert!(found.iter().all(|touch| touch.click.received_at == at));
    }
    let found = log.find_print(gaid(7), START, moments[4], 20).await.unwrap();
    assert!(found.iter().all(|touch| touch.click.received_at == moments[4]), "the newest are enough");
    assert!(log.find_print(gaid(7), moments[1], moments[1], 20).await.is_err(), "this one had to be read");
}

/// Stores one click of a device and then so many of another, and seals them.
async fn one_before_many(world: &World, log: &ClickLog, one: u64, many: (u64, usize)) {
    stored(log.append(world.click(one)).await);
    let tasks: Vec<_> = (0..many.1)
        .map(|_| {
            let (log, click) = (log.clone(), world.click(many.0));
            tokio::spawn(async move { log.append(click).await })
        })
        .collect();
    for task in tasks {
        stored(task.await.unwrap());
    }
    assert!(log.close_now());
    world.clock.advance(DAY);
    publish_and_seal(world, log);
}

/// Rows of a damaged side file name clicks that do not have the print; the one that has it stands behind all of them.
#[tokio::test]
async fn thousands_of_rows_that_are_wrong_hide_none_that_is_right() {
    let mut world = World::new();
    world.config.verify_at_start = 0;
    let (log, _) = world.open();
    one_before_many(&world, &log, 8, (7, 7_000)).await;
    assert!(log.shutdown());
    let dir = std::fs::read_dir(world.dir().join("prints")).unwrap().next().unwrap().unwrap().path();
    let mut bytes = std::fs::read(&dir).unwrap();
    let number = |at: usize, n: usize| bytes[at..at + n].iter().fold(0, |sum, b| sum << 8 | usize::from(*b));
    let rows_at = 64 + 8 * number(8, 4) + 25 * number(12, 4);
    // Every row of either device says that it is of the one, in the order of the rows.
    let (one, other) = (gaid(8).hash.to_be_bytes(), gaid(7).hash.to_be_bytes());
    let of_both: Vec<usize> = (rows_at..bytes.len())
        .step_by(14)
        .filter(|at| [one, other].iter().any(|hash| bytes[*at..*at + 8] == hash[..]))
        .collect();
    assert_eq!(of_both.len(), 7_001);
    let mut rows: Vec<Vec<u8>> = of_both.iter().map(|at| bytes[at + 8..at + 14].to_vec()).collect();
    rows.sort();
    for (at, row) in of_both.iter().zip(rows) {
        bytes[*at..*at + 8].copy_from_slice(&one);
        bytes[at + 8..at + 14].copy_from_slice(&row);
    }
    std::fs::write(&dir, bytes).unwrap();
    let (log, _) = world.open();
    let found = log.find_print(gaid(8), START, START.plus_ms(DAY), 9).await.unwrap();
    assert_eq!(found.len(), 1, "it stands behind those that are wrong");
    // The side file is looked at, and made again.
    until("looking into it", || !log.damages().is_empty()).await;
    assert_eq!(log.damages().len(), 1);
    assert_eq!(log.find_print(gaid(7), START, START.plus_ms(DAY), 9).await.unwrap().len(), 9);
    assert_eq!(log.find_print(gaid(8), START, START.plus_ms(DAY), 9).await.unwrap().len(), 1);
}

/// Where a page of rows lies in a file: its place and length in each column that holds anything.
pub(super) fn pages_of(file: &[u8], page: usize) -> Vec<(usize, usize)> {
    use parquet::file::metadata::{PageIndexPolicy, ParquetMetaDataReader};
    let reader = ParquetMetaDataReader::new().with_page_index_policy(PageIndexPolicy::Required);
    let metadata = reader.parse_and_finish(&bytes::Bytes::copy_from_slice(file)).unwrap();
    let index = metadata.page_index().unwrap();
    let columns = 0..metadata.row_group(0).num_columns();
    let places = columns.map(|column| index.offset_index(0, column).unwrap().page_locations().clone());
    places
        .filter(|places| places.len() > page)
        .map(|places| (places[page].offset as usize, places[page].compressed_page_size as usize))
        .collect()
}

#[tokio::test]
async fn a_changed_page_is_an_error_that_names_the_file_and_is_looked_into() {
    let world = World::new();
    let (log, _) = world.open();
    let ids = world.store(&log, 0..40).await;
    assert!(log.close_now());
    world.clock.advance(3_600_000);
    publish_and_seal(&world, &log);
    let [segment] = &log.segments()[..] else { panic!("{:?}", log.segments()) };
    let path = world.dir().join(&segment.file);
    let bytes = std::fs::read(&path).unwrap();
    // The first bytes of a page that every look-up in this file reads.
    let mut changed = bytes.clone();
    changed[4..40].fill(0xff);
    std::fs::write(&path, &changed).unwrap();
    world.faults.hold(Point::Verifying);
    let error = log.find(ids[3]).await.unwrap_err();
    assert!(matches!(&error, Error::Parquet { file, .. } if *file == path), "{error:?}");
    assert!(!error.is_retryable() && error.to_string().contains(&segment.file), "{error}");
    // The closer compares the file with its checksum and sets it aside.
    world.faults.release(Point::Verifying);
    let seq = segment.seq;
    until("looking into it", || !log.damages().is_empty()).await;
    assert_eq!(log.damages().len(), 1);
    assert!(log.segments().iter().all(|s| s.seq != seq));
    assert!(log.find(ids[3]).await.is_ok(), "the damaged file is no longer asked");
}
