//! Data directories of every format that was ever written, under `tests/fixtures/`, and each is opened: what
//! survives a crash also survives an upgrade. `UPDATE_FIXTURES=1` writes the current format's; a format that was
//! released is never written again.

use std::path::{Path, PathBuf};

use roundtrip_ambient::{Clock, Entropy};
use roundtrip_domain::click_id::CheckKey;
use roundtrip_domain::location::{Country, Location};
use roundtrip_store::click_log::{self, Append, ClickLog, Found};
use roundtrip_store::ledger::{Config, Ledger};
use roundtrip_testkit::{NOON, Tell, World, sample};
use serde_json::json;

/// The format that this release writes.
const CURRENT: &str = "v1";

fn folder(format: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures").join(format)
}

fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let path = entry.unwrap().path();
        let target = to.join(path.file_name().unwrap());
        if path.is_dir() { copy(&path, &target) } else { std::fs::copy(&path, &target).map(drop).unwrap() }
    }
}

fn click_log(dir: &Path) -> ClickLog {
    let config = click_log::Config::new(dir.join("clicks"), 1, vec![CheckKey([9; 16])]);
    ClickLog::open(config, Clock::manual(NOON), Entropy::seeded(3)).unwrap().0
}

/// Where the fixture's click was.
fn location() -> Location {
    Location {
        country: Country::parse("DE"),
        region: Location::text("BE"),
        city: Location::text("Berlin"),
        asn: Some(64_500),
        network: Location::text("Example Net"),
    }
}

/// Writes the current format: a click in a closed slice and one in the active slice, an installation, a purchase
/// and a delivery that waits.
async fn write(to: &Path) {
    let mut document = sample();
    document["rules"] =
        json!({"tell": {"app": "game", "on": "install", "url": "https://p.example/?c={click_id}"}});
    let mut world = World::new(&document).await;
    let mut touch = world.click("game-acme", NOON, "click_id=fixture&sub1=x");
    touch.click.location = location();
    let touch = world.clicks.keep(touch.click);
    world.tell(world.event("game", "install", NOON).of("i1").referrer(&touch)).await;
    world.tell(world.event("game", "purchase", NOON).of("i1").revenue("9.99")).await;
    world.ledger.close().await;
    let log = click_log(world.dir());
    for closes in [true, false] {
        assert!(matches!(log.append(touch.click.clone()).await, Append::Stored(_)));
        assert!(!closes || log.close_now());
    }
    assert!(log.shutdown());
    drop(log);
    copy(world.dir(), to);
}

#[tokio::test(flavor = "multi_thread")]
async fn every_format_opens() {
    if std::env::var_os("UPDATE_FIXTURES").is_some() {
        let to = folder(CURRENT);
        if to.exists() {
            std::fs::remove_dir_all(&to).unwrap();
        }
        write(&to).await;
    }
    let formats: Vec<_> = std::fs::read_dir(folder("")).unwrap().map(|e| e.unwrap().file_name()).collect();
    assert!(formats.iter().any(|f| f == CURRENT), "the current format has its fixture");
    for format in formats {
        let dir = tempfile::tempdir().unwrap();
        copy(&folder(format.to_str().unwrap()), dir.path());
        let (ledger, _) = Ledger::open(&Config::in_dir(dir.path()), Entropy::seeded(2), NOON).unwrap();
        let workspace = ledger.catalog().workspaces()[0].workspace;
        let listed = ledger.conversion_list(workspace, Default::default(), None, 10).await.unwrap();
        assert_eq!(listed.len(), 2, "{format:?}");
        let mut waiting = 0;
        for conversion in &listed {
            let story = ledger.story(workspace, conversion.row.id.event()).await.unwrap().unwrap();
            let winner = story.revisions[0].credit.winner().expect("a winner");
            assert_eq!(winner.touch.click.params().text("click_id").as_deref(), Some("fixture"));
            assert_eq!(winner.touch.click.location, location());
            waiting += story.deliveries.iter().filter(|d| d.state == "scheduled").count();
        }
        assert_eq!(waiting, 1, "a queue survives an upgrade too");
        ledger.close().await;
        let log = click_log(dir.path());
        assert!(log.damages().is_empty(), "{:?}", log.damages());
        let counts: u64 = log.active_counts().iter().flat_map(|c| &c.counts).map(|c| c.count).sum();
        assert_eq!(counts, 2, "both clicks are there");
        let mut countries = log.active_counts().into_iter().flat_map(|c| c.counts).map(|c| c.country);
        assert!(countries.all(|country| country == location().country));
        assert_eq!(
            log.find(roundtrip_domain::click_id::ClickId::from_bits(1)).await.unwrap(),
            Found::NotOurs
        );
        assert!(log.shutdown());
    }
}
