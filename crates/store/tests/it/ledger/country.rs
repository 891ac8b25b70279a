//! Counts by country: beside those of everything, and always as they follow from the same facts.

use std::collections::BTreeSet;

use roundtrip_domain::click::TouchKind;
use roundtrip_domain::id::Id;
use roundtrip_domain::location::{Country, Location};
use roundtrip_store::click_log::{ClosedSlice, SliceCount};
use roundtrip_store::ledger::Metric;
use roundtrip_testkit::{NOON, Tell, World, sample};

use super::minute;

/// What `report_by_country` says of one country, `-` for the rows about all: metric, partner's part and sum.
async fn counted(world: &World, country: &str, metric: Metric) -> (i64, i64, BTreeSet<String>) {
    let report = world.ledger.report_by_country(world.workspace, NOON, minute(60)).await.unwrap();
    let rows = report.iter().filter(|row| row.metric == metric);
    let rows = rows.filter(|row| row.country.map_or_else(|| "-".to_owned(), |c| c.to_string()) == country);
    let rows: Vec<_> = rows.filter(|row| row.count != 0).collect();
    assert!(country == "-" || rows.iter().all(|row| row.link.is_none() && row.campaign.is_none()));
    let partners = rows.iter().filter_map(|row| Some(world.partner_slug(row.partner?))).collect();
    (rows.iter().map(|row| row.count).sum(), rows.iter().map(|row| row.micros).sum(), partners)
}

fn set<const N: usize>(slugs: [&str; N]) -> BTreeSet<String> {
    slugs.map(str::to_owned).into()
}

#[tokio::test]
async fn what_has_a_country_is_counted_by_it_too() {
    let mut world = World::new(&sample()).await;
    let berlin =
        Location { country: Country::parse("DE"), city: Location::text("Berlin"), ..Default::default() };
    let mut touch = world.click("game-acme", NOON, "click_id=a");
    touch.click.location = berlin.clone();
    let touch = world.clicks.keep(touch.click);
    // An address of its own, then none: the click's place, then an address that nobody knows.
    let address = Some([203, 0, 113, 7].into());
    let mut install = world.event("game", "install", minute(1)).of("i1").referrer(&touch);
    (install.ip, install.location) =
        (address, Location { country: Country::parse("FR"), ..Default::default() });
    world.tell(install).await;
    world.tell(world.event("game", "purchase", minute(2)).of("i1").revenue("9.99")).await;
    let mut nowhere = world.event("game", "purchase", minute(3)).of("i1").revenue("1");
    nowhere.ip = address;
    world.tell(nowhere).await;
    let conversion = Metric::Conversion;
    assert_eq!(counted(&world, "FR", conversion).await, (1, 0, set(["acme"])));
    assert_eq!(counted(&world, "DE", conversion).await, (1, 9_990_000, set(["acme"])));
    assert_eq!(
        counted(&world, "-", conversion).await,
        (3, 10_990_000, set(["acme"])),
        "all are in what all are in"
    );
    let plain = world.ledger.report(world.workspace, NOON, minute(60)).await.unwrap();
    assert!(plain.iter().all(|row| row.country.is_none()));
    assert_eq!(plain.iter().filter(|row| row.metric == conversion).map(|row| row.count).sum::<i64>(), 3);

    // The place is kept with the event and with the decision's click.
    let events = world.ledger.conversion_list(world.workspace, Default::default(), None, 10).await.unwrap();
    let mut places = Vec::new();
    for listed in &events {
        let story = world.story(listed.row.id.event()).await;
        let winner = story.revisions[0].credit.winner().unwrap();
        assert_eq!(winner.touch.click.location, berlin);
        places.push((story.event.name.clone(), story.event.location.country.map(|c| c.to_string())));
    }
    places.sort();
    let purchase = || ("purchase".to_owned(), None);
    assert_eq!(places, [("install".to_owned(), Some("FR".to_owned())), purchase(), purchase()]);

    // Slices bring their countries along, once.
    let count = |country: Option<&str>, count| SliceCount {
        workspace: world.workspace,
        app: world.app("game"),
        partner: world.partner("acme"),
        campaign: Id::from_bits(1),
        link: Id::from_bits(2),
        bucket_start: NOON,
        kind: TouchKind::Click,
        country: country.and_then(Country::parse),
        count,
        partner_click_id_absent: count - 1,
        partner_click_id_unexpanded: 0,
    };
    let slice = ClosedSlice {
        file: "slice-1.sqlite".into(),
        node: 5,
        seq: 1,
        began: NOON,
        id_first: NOON,
        id_last: minute(3),
        clicks: 12,
        bytes: 4096,
        checksum: 1,
        counts: vec![count(None, 2), count(Some("DE"), 3), count(Some("AT"), 7)],
    };
    for _ in 0..2 {
        world.ledger.slice_publish(slice.clone()).await.unwrap();
        assert_eq!(counted(&world, "-", Metric::Touch).await, (12, 0, set(["acme"])));
        assert_eq!(counted(&world, "DE", Metric::Touch).await.0, 3);
        assert_eq!(counted(&world, "AT", Metric::Touch).await.0, 7);
        assert_eq!(counted(&world, "AT", Metric::FlaggedClick).await.0, 6);
        assert_eq!(counted(&world, "-", Metric::FlaggedClick).await.0, 9);
    }
}

/// A country follows the credit: what another partner wins meanwhile is taken from the country of the first
/// one's click as well.
#[tokio::test]
async fn a_changed_decision_moves_the_country_too() {
    let mut world = World::new(&sample()).await;
    let mut place = |link: &str, at, country: &str| {
        let mut touch = world.click(link, at, "click_id=a");
        touch.click.location.country = Country::parse(country);
        world.clicks.keep(touch.click)
    };
    let (first, second) = (place("game-acme", minute(0), "DE"), place("game-zeta", minute(1), "FR"));
    world.tell(world.event("game", "install", minute(5)).of("i1").referrer(&first)).await;
    let conversion = Metric::Conversion;
    assert_eq!(counted(&world, "DE", conversion).await, (1, 0, set(["acme"])));
    // The same installation's better evidence, from before.
    world.tell(world.event("game", "install", minute(4)).of("i1").referrer(&second)).await;
    assert_eq!(counted(&world, "DE", conversion).await.0, 0);
    assert_eq!(counted(&world, "FR", conversion).await, (1, 0, set(["zeta"])));
    assert_eq!(counted(&world, "-", conversion).await, (1, 0, set(["zeta"])));
}
