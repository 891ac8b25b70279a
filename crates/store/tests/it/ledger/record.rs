//! Recording: once per key, durable, each item for itself.

use roundtrip_domain::location::{Country, Location};
use roundtrip_store::Error;
use roundtrip_store::ledger::{NewEvent, Recorded};
use roundtrip_testkit::{Tell, World, sample};

use super::{minute, raw};

#[tokio::test]
async fn a_key_is_recorded_once_and_other_fields_under_it_are_a_conflict() {
    let world = World::new(&sample()).await;
    let event = || world.event("game", "purchase", minute(0)).of("i1");
    let first = event();
    let id = first.id;
    let batch = vec![
        World::keyed(first, "k1", 1),
        World::keyed(event(), "k1", 1),
        World::keyed(event(), "k1", 2),
        World::keyed(event(), "k2", 1),
    ];
    let last = batch[3].event.id;
    let want = vec![
        Ok(Recorded::Accepted(id)),
        Ok(Recorded::Duplicate(id)),
        Ok(Recorded::Conflict(id)),
        Ok(Recorded::Accepted(last)),
    ];
    assert_eq!(world.ledger.event_record(batch).await, want);
    let again = world.ledger.event_record(vec![World::keyed(event(), "k1", 1)]).await;
    assert_eq!(again, [Ok(Recorded::Duplicate(id))], "in a later commit as well");
    assert_eq!(world.ledger.undecided_count().await, Ok(2));
}

#[tokio::test]
async fn a_key_is_of_its_app_and_its_workspace() {
    let world = World::new(&sample()).await;
    let other = world.workspace("other", &sample()).await;
    let mut same_app_bits = other.event("game", "signup", minute(0));
    let game = world.event("game", "signup", minute(0));
    same_app_bits.app = game.app;
    let batch = vec![
        World::keyed(game, "k", 1),
        World::keyed(world.event("tool", "signup", minute(0)), "k", 1),
        World::keyed(same_app_bits, "k", 1),
    ];
    for answer in world.ledger.event_record(batch).await {
        assert!(matches!(answer, Ok(Recorded::Accepted(_))), "{answer:?}");
    }
}

#[tokio::test]
async fn a_key_is_free_again_after_400_days() {
    let world = World::new(&sample()).await;
    let day = |n: i64| world.event("game", "signup", minute(n * 24 * 60));
    let record = async |event| world.ledger.event_record(vec![World::keyed(event, "k", 1)]).await.remove(0);
    let first = record(day(0)).await;
    assert!(matches!(first, Ok(Recorded::Accepted(_))));
    assert!(matches!(record(day(399)).await, Ok(Recorded::Duplicate(_))));
    let second = day(400);
    let id = second.id;
    assert_eq!(record(second).await, Ok(Recorded::Accepted(id)));
    assert_eq!(record(day(799)).await, Ok(Recorded::Duplicate(id)), "kept anew from its second use");
}

#[tokio::test]
async fn one_bad_item_takes_none_of_the_others_with_it() {
    let world = World::new(&sample()).await;
    let good = world.event("game", "signup", minute(0));
    // The same id twice cannot be: only a caller's bug makes it, and it must not cost the neighbours.
    let twin = good.clone();
    let other = world.event("game", "signup", minute(1));
    let batch: Vec<NewEvent> =
        [good, twin, other].map(|event| NewEvent { event, idempotency: None }).into_iter().collect();
    let answers = world.ledger.event_record(batch).await;
    assert!(
        matches!(answers[..], [Ok(Recorded::Accepted(_)), Err(Error::Refused(_)), Ok(Recorded::Accepted(_))]),
        "{answers:?}"
    );
    assert_eq!(world.ledger.undecided_count().await, Ok(2));
}

#[tokio::test]
async fn an_event_reads_back_as_it_was_written() {
    let mut world = World::new(&sample()).await;
    let click = world.click("game-acme", minute(-5), "");
    let mut full = world
        .event("game", "purchase", minute(3))
        .of("i1")
        .click(&click)
        .referrer(&click)
        .gaid("38400000-8cf0-11bd-b23e-10b96e40000d")
        .customer("u1")
        .revenue("12.345678")
        .properties(r#"{"a":1}"#)
        .claims(minute(1))
        .postback(Some("sale"), true)
        .sandbox();
    full.ip = Some([203, 0, 113, 9].into());
    full.location = Location {
        country: Country::parse("DE"),
        region: Location::text("BE"),
        city: Location::text("Berlin"),
        asn: Some(64_500),
        network: Location::text("Example Net"),
    };
    full.user_agent = Some("x".into());
    full.consent = Some("{}".into());
    full.findings = vec!["currency_missing".into()];
    full.source_event_id = Some("k".into());
    if let Some(postback) = &mut full.postback {
        postback.query = b"a=%ff\xff".to_vec();
        postback.order_id = Some("o-1".into());
        postback.new_customer = true;
    }
    let id = world.record(full.clone()).await;
    assert_eq!(world.story(id).await.event, full);
}

#[tokio::test]
async fn an_event_that_cannot_be_read_is_named_and_the_others_are_decided() {
    let world = World::new(&sample()).await;
    let bad = world.record(world.event("game", "signup", minute(0)).of("i1")).await;
    let good = world.record(world.event("game", "install", minute(1)).of("i2")).await;
    raw(&world)
        .execute("UPDATE event SET body = '{\"v\":9,\"source\":1}' WHERE id = ?1", [bad.bytes().as_slice()])
        .unwrap();
    world.decide_step(10).await.unwrap();
    assert_eq!(world.story(good).await.revisions.len(), 1);
    let Err(Error::Corrupt { table, column, row, .. }) = world.ledger.story(world.workspace, bad).await
    else {
        panic!("a body of another version is not guessed at");
    };
    assert_eq!((table, column, row), ("event", "body", bad.to_string()));
}

#[tokio::test]
async fn everyone_is_answered_when_the_ledger_closes() {
    let world = World::new(&sample()).await;
    let record = |n| {
        let new = NewEvent { event: world.event("game", "signup", minute(n)), idempotency: None };
        let ledger = world.ledger.clone();
        tokio::spawn(async move { ledger.event_record(vec![new]).await.remove(0) })
    };
    let before: Vec<_> = (0..50).map(record).collect();
    world.ledger.close().await;
    let mut accepted = 0;
    for answer in before.into_iter().chain((50..60).map(record)) {
        let wait = tokio::time::timeout(std::time::Duration::from_secs(30), answer);
        match wait.await.expect("an answer").expect("no panic") {
            Ok(Recorded::Accepted(_)) => accepted += 1,
            Ok(other) => panic!("{other:?}"),
            Err(error) => assert!(error.is_retryable(), "{error}"),
        }
    }
    assert!(accepted < 60, "what came after the end is not accepted");
    let kept: i64 = raw(&world).query_row("SELECT count(*) FROM event", [], |row| row.get(0)).unwrap();
    assert_eq!(kept, accepted, "what was answered is there, and nothing else");
}
