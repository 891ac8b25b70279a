//! The power goes, before each step by which the ledger makes something durable, and what was not synced is gone or torn.
//! Everything that was answered is there, and the books close.

use std::collections::BTreeSet;
use std::path::Path;

use roundtrip_ambient::Entropy;
use roundtrip_domain::id::{Id, kind};
use roundtrip_store::ledger::{
    AttemptRow, Config, Ledger, NewEvent, Prepared, Recorded, Settled, Settlement,
};
use roundtrip_testkit::disk::{Disk, Unsynced};
use roundtrip_testkit::{NOON, Tell, World};
use serde_json::json;

use super::{minute, rule, with_rules};

/// Installs in one life.
const EVENTS: u32 = 8;

/// What somebody knows who heard all answers.
#[derive(Default)]
struct Known {
    recorded: Vec<Id<kind::Event>>,
    planned: BTreeSet<Id<kind::Delivery>>,
    delivered: BTreeSet<Id<kind::Delivery>>,
}

fn open(dir: &Path) -> Ledger {
    Ledger::open(&Config::in_dir(dir), Entropy::seeded(1), NOON).expect("the ledger opens").0
}

/// Records, decides and settles; ends with the first answer that is an error.
async fn live(world: &mut World, known: &mut Known) -> Result<(), roundtrip_store::Error> {
    for n in 0..EVENTS {
        let click = world.click("game-acme", minute(0), &format!("click_id=a{n}"));
        let event = world.event("game", "install", minute(1)).of(&format!("i{n}")).click(&click);
        match world.ledger.event_record(vec![NewEvent { event, idempotency: None }]).await.remove(0) {
            Ok(Recorded::Accepted(id)) => known.recorded.push(id),
            Ok(_) => panic!("it is new"),
            Err(error) => return Err(error),
        }
        let list = world.ledger.undecided(10, NOON).await?;
        let batch: Vec<Prepared> = list.into_iter().map(|u| world.clicks.prepare(u)).collect();
        let planned = world.ledger.decision_commit(batch, NOON).await?.planned;
        known.planned.extend(planned.iter().map(|due| due.delivery));
        for due in planned {
            let attempt = AttemptRow {
                n: 1,
                at: due.due,
                outcome: "http_200".into(),
                status: Some(200),
                total_us: 1_500,
                next: "delivered".into(),
                body: "{}".into(),
            };
            let settlement = Settlement { item: due, attempt: Some(attempt), next: Settled::Delivered };
            world.ledger.delivery_settle(vec![settlement], due.due).await?;
            known.delivered.insert(due.delivery);
        }
    }
    Ok(())
}

/// A life on a disk whose power goes before the step that comes so many after the settings are stored.
async fn life(disk: &Disk, after: Option<u64>) -> (Known, u64) {
    let mut world = World::around(open(&disk.path()), Entropy::seeded(2));
    world.apply(&with_rules(json!({"i": rule("install", None)})), false).await;
    let begins = disk.done();
    disk.steps();
    if let Some(after) = after {
        disk.cut_at(begins + after);
    }
    let mut known = Known::default();
    let ended = live(&mut world, &mut known).await;
    assert!(ended.is_ok() || disk.is_dead(), "{ended:?}");
    world.ledger.close().await;
    (known, begins)
}

async fn judge(known: &Known, disk: &Disk, unsynced: &Unsynced, moment: &str) {
    // In memory where there is such a place: what is there is only read, hundreds of times.
    let memory = Path::new("/dev/shm");
    let tmp = if memory.is_dir() { tempfile::tempdir_in(memory) } else { tempfile::tempdir() }.unwrap();
    disk.after_power_loss(tmp.path(), unsynced).unwrap();
    let world = World::around(open(tmp.path()), Entropy::seeded(3));
    let mut found = BTreeSet::new();
    let mut delivered = BTreeSet::new();
    for event in &known.recorded {
        let story = world.ledger.story(world.workspace, *event).await.unwrap();
        let story = story.unwrap_or_else(|| panic!("{moment}: event {event} is gone"));
        for delivery in story.deliveries {
            assert!(found.insert(delivery.id), "{moment}: a delivery is there twice");
            if delivery.state == "delivered" {
                delivered.insert(delivery.id);
            }
        }
    }
    assert!(known.planned.is_subset(&found), "{moment}: a planned delivery is gone");
    assert!(known.delivered.is_subset(&delivered), "{moment}: what was delivered would be sent again");
    world.books_balance().await;
    world.ledger.close().await;
}

#[tokio::test]
async fn nothing_answered_is_lost_with_the_power() {
    let Some(disk) = Disk::mount() else { return };
    let (known, begins) = life(&disk, None).await;
    assert_eq!((known.recorded.len(), known.delivered.len()), (EVENTS as usize, EVENTS as usize));
    let steps = disk.steps();
    let syncs = steps.iter().zip(1..).filter(|(step, _)| step.what.starts_with("sync")).map(|(_, n)| n);
    let moments: Vec<u64> = syncs.chain([disk.done() - begins + 1]).collect();
    assert!(moments.len() > 3 * EVENTS as usize, "each commit is synced: {}", moments.len());
    for after in moments {
        let Some(disk) = Disk::mount() else { return };
        let (known, _) = life(&disk, Some(after)).await;
        disk.cut();
        judge(&known, &disk, &Unsynced::Lost, &format!("before step {after}")).await;
        let torn = Unsynced::Torn(Entropy::seeded(after));
        judge(&known, &disk, &torn, &format!("before step {after}, torn")).await;
    }
}
