//! Who waits for a decision, who goes first, and what never holds up the others.

use roundtrip_domain::id::{Id, kind};
use roundtrip_domain::time::Timestamp;
use roundtrip_store::ledger::NewEvent;
use roundtrip_testkit::{NOON, Tell, World, sample};

use super::{credit, minute, raw};

fn seconds(n: i64) -> Timestamp {
    NOON.plus_ms(n * 1_000)
}

async fn listed(world: &World, limit: u32, now: Timestamp) -> Vec<Id<kind::Event>> {
    world.ledger.undecided(limit, now).await.unwrap().into_iter().map(|u| u.event.id).collect()
}

#[tokio::test]
async fn what_cannot_be_read_steps_back_longer_each_time() {
    let world = World::new(&sample()).await;
    let bad = world.record(world.event("game", "signup", minute(0)).of("i1")).await;
    let good = world.record(world.event("game", "signup", minute(1)).of("i1")).await;
    raw(&world).execute("UPDATE event SET body = '{}' WHERE id = ?1", [bad.bytes().as_slice()]).unwrap();
    let todo = || -> (u32, i64) {
        let conn = raw(&world);
        let row = conn.query_row(
            "SELECT tries, after FROM todo WHERE event = ?1",
            [bad.bytes().as_slice()],
            |row| Ok((row.get(0)?, row.get(1)?)),
        );
        row.unwrap()
    };
    // It stands first, and takes the only place of a list; after that it waits.
    assert_eq!(listed(&world, 1, NOON).await, []);
    assert_eq!(todo(), (1, seconds(2).ms()));
    assert_eq!(listed(&world, 1, NOON).await, [good]);
    assert_eq!(listed(&world, 9, seconds(2)).await, [good], "tried again when its time has come");
    assert_eq!(todo(), (2, seconds(6).ms()));
    let mut now = seconds(6);
    for _ in 0..20 {
        listed(&world, 9, now).await;
        now = Timestamp::from_ms(todo().1);
    }
    let (tries, after) = todo();
    assert_eq!(tries, 22);
    listed(&world, 9, now).await;
    assert_eq!(todo().1 - after, 3_600_000, "an hour at most");
    assert_eq!(world.ledger.undecided_count().await, Ok(2));
}

#[tokio::test]
async fn what_cannot_be_decided_steps_back_alone_or_in_a_batch() {
    let world = World::new(&sample()).await;
    let install = world.tell(world.event("game", "install", minute(0)).of("i1")).await.event.id;
    let bad = world.record(world.event("game", "signup", minute(1)).of("i1")).await;
    raw(&world)
        .execute("UPDATE decision SET body = '{}' WHERE event = ?1", [install.bytes().as_slice()])
        .unwrap();
    let done = world.decide_step(10).await.expect("it is listed");
    assert_eq!((done.decided, done.unchanged), (0, 0));
    assert_eq!(world.decide_step(10).await.map(|done| done.decided), None, "it waits for its time");
    let good = world.record(world.event("game", "install", minute(2)).of("i2")).await;
    let batch = world.ledger.undecided(10, seconds(2)).await.unwrap();
    assert_eq!(batch.len(), 2);
    let batch = batch.into_iter().map(|u| world.clicks.prepare(u)).collect();
    let done = world.ledger.decision_commit(batch, seconds(2)).await.unwrap();
    assert_eq!((done.decided, world.story(good).await.revisions.len()), (1, 1));
    assert_eq!(listed(&world, 10, seconds(5)).await, []);
    assert_eq!(listed(&world, 10, seconds(6)).await, [bad]);
}

#[tokio::test]
async fn who_has_no_answer_from_the_click_log_is_put_off() {
    let world = World::new(&sample()).await;
    let id = world.record(world.event("game", "signup", minute(0)).of("i1")).await;
    let gone: Id<kind::Event> = Id::from_bits(7);
    world.ledger.todo_later(vec![(world.workspace, id), (world.workspace, gone)], NOON).await.unwrap();
    assert_eq!(listed(&world, 10, seconds(1)).await, []);
    assert_eq!(listed(&world, 10, seconds(2)).await, [id]);
    world.ledger.todo_later(vec![(world.workspace, id)], NOON).await.unwrap();
    // News about it does not wait: here its installation.
    world.tell(world.event("game", "install", minute(1)).of("i1")).await;
    assert_eq!(world.ledger.undecided_count().await, Ok(1), "it still waits for its time");
    assert_eq!(listed(&world, 10, seconds(4)).await, [id]);
}

#[tokio::test]
async fn a_workspace_with_a_backlog_leaves_the_others_their_share() {
    let world = World::new(&sample()).await;
    let other = world.workspace("other", &sample()).await;
    for n in 0..10 {
        world.record(world.event("game", "level", minute(n)).of("i1")).await;
    }
    let theirs = [
        other.record(other.event("game", "level", minute(0)).of("i1")).await,
        other.record(other.event("game", "level", minute(1)).of("i1")).await,
    ];
    let list = listed(&world, 4, NOON).await;
    assert_eq!(list.len(), 4);
    assert!(theirs.iter().all(|id| list.contains(id)));
    assert_eq!(listed(&world, 8, NOON).await.len(), 8, "what one does not need the other has");
    assert_eq!(listed(&world, 100, NOON).await.len(), 12);
}

#[tokio::test]
async fn an_install_that_names_its_click_counts_after_a_hundred_opens() {
    let mut world = World::new(&sample()).await;
    let click = world.click("game-acme", minute(-1), "");
    let opens = (0..100).map(|n| world.event("game", "open", minute(n)).of("i1"));
    let opens = opens.map(|event| NewEvent { event, idempotency: None }).collect();
    let first = world.ledger.event_record(opens).await.remove(0);
    world.decide().await;
    world.tell(world.event("game", "install", minute(200)).of("i1").claims(minute(0)).referrer(&click)).await;
    let Ok(roundtrip_store::ledger::Recorded::Accepted(first)) = first else { panic!("{first:?}") };
    assert_eq!(credit(&world, &world.story(first).await), "acme");
}

#[tokio::test]
async fn a_customer_whom_everybody_shares_wakes_a_bounded_number() {
    let world = World::new(&sample()).await;
    let guest = |n: i64| world.event("game", "purchase", minute(n)).customer("guest");
    let waiting = (0..1_100).map(|n| NewEvent { event: guest(n), idempotency: None }).collect();
    for answer in world.ledger.event_record(waiting).await {
        answer.unwrap();
    }
    assert_eq!(world.decide().await.decided, 1_100);
    let install = |n: i64| world.event("game", "install", minute(n)).of(&format!("i{n}")).customer("guest");
    let first = world.record(install(0)).await;
    assert_eq!(world.decide().await.decided, 1_001, "the install, and the newest 1,000 of those that wait");
    assert!(world.story(first).await.revisions[0].because.notes.contains(&"wake_capped"));
    // With 200 installations it is nobody's name: a new one has nothing decided again.
    let many = (2_000..2_200).map(|n| NewEvent { event: install(n), idempotency: None }).collect();
    for answer in world.ledger.event_record(many).await {
        answer.unwrap();
    }
    world.decide().await;
    let last = world.record(install(9_000)).await;
    let done = world.decide().await;
    assert_eq!((done.decided, done.unchanged), (1, 0));
    assert!(world.story(last).await.revisions[0].because.notes.contains(&"crowded_identity"));
    let bought = world.tell(guest(9_001)).await;
    assert!(bought.revisions[0].because.notes.contains(&"crowded_identity"));
}

#[tokio::test]
async fn what_is_in_hand_is_not_listed_and_takes_no_place_in_the_list() {
    let world = World::new(&sample()).await;
    let mut ids = Vec::new();
    for n in 0..4 {
        ids.push(world.record(world.event("game", "signup", minute(n)).of("i1")).await);
    }
    let first = world.ledger.undecided(2, NOON).await.unwrap();
    let in_hand = first.iter().map(|u| (u.event.workspace, u.event.id)).collect();
    let second = world.ledger.undecided_beside(2, NOON, in_hand).await.unwrap();
    let listed: Vec<_> = first.iter().chain(&second).map(|u| u.event.id).collect();
    assert_eq!(listed, ids);
    let in_hand = listed.into_iter().map(|id| (first[0].event.workspace, id)).collect();
    assert!(world.ledger.undecided_beside(2, NOON, in_hand).await.unwrap().is_empty());
}
