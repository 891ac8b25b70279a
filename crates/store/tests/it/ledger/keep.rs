//! Settings versions, the manifest, retention, and opening what an earlier process left.

use roundtrip_ambient::Entropy;
use roundtrip_domain::click::TouchKind;
use roundtrip_domain::id::Id;
use roundtrip_domain::time::{Span, Timestamp};
use roundtrip_store::Error;
use roundtrip_store::click_log::{ClosedSlice, SliceCount};
use roundtrip_store::ledger::{
    AttemptRow, Config, Kept, Ledger, Metric, SCHEMA_VERSION, Settled, Settlement,
};
use roundtrip_testkit::{NOON, Tell, World, sample};
use serde_json::json;

use super::{credit, minute, raw, rule, told, with_rules};

#[tokio::test]
async fn settings_are_versions_and_a_stale_change_is_refused() {
    let world = World::new(&sample()).await;
    let ws = world.workspace;
    assert_eq!(world.settings().version, 1);
    let two = world.apply(&json!({"partners": {"nova": {}}}), false).await;
    assert_eq!((two, world.settings().version, world.settings().partners.len()), (2, 2, 3));
    let stale = world.ledger.settings_commit(ws, 1, Vec::new(), "late".into(), NOON).await;
    assert_eq!(stale, Err(Error::VersionConflict { current: 2 }));
    let audit = world.ledger.audit_read(ws, 10).await.unwrap();
    assert_eq!(
        audit.iter().map(|a| (a.version, a.actor.as_str())).collect::<Vec<_>>(),
        [(2, "test"), (1, "test")]
    );
    assert_eq!(audit[0].summary, "partner/nova");
    assert_eq!(
        world.ledger.workspace_create("x", NOON, "test").await,
        world.ledger.workspace_create("x", NOON, "test").await
    );
    assert_eq!(world.ledger.catalog().workspaces().len(), 2);
}

#[tokio::test]
async fn a_planned_delivery_finds_the_template_of_its_own_version() {
    let world = World::new(&with_rules(json!({"i": rule("install", None)}))).await;
    let id = world.rule("i");
    let url = async |version| {
        let template = world.ledger.rule_template(world.workspace, id, version).await.unwrap();
        template.map(|t| t.to_string())
    };
    let first = url(1).await.unwrap();
    assert_eq!(first, "GET https://p.example/?c={rt_click_id}&e={event_id}");
    let mut changed = rule("install", None);
    changed["url"] = "https://p.example/new".into();
    assert_eq!(world.apply(&json!({"rules": {"i": changed}}), false).await, 2);
    assert_eq!(
        (url(1).await.unwrap(), url(2).await.unwrap()),
        (first.clone(), "GET https://p.example/new".into())
    );
    // Deleted: what was planned can still be sent.
    world.apply(&sample(), true).await;
    assert!(world.settings().rule(id).is_none());
    assert_eq!((url(1).await, url(2).await), (Some(first), Some("GET https://p.example/new".into())));
    assert_eq!(world.ledger.rule_template(world.workspace, Id::from_bits(1), 1).await.unwrap(), None);
}

#[tokio::test]
async fn everything_is_there_after_the_next_start() {
    let mut world =
        World::new(&with_rules(json!({"i": rule("install", None), "p": rule("purchase", None)}))).await;
    let click = world.click("game-acme", minute(0), "click_id=a1");
    let install = world.tell(world.event("game", "install", minute(1)).of("i1").click(&click)).await;
    let waits = world.record(world.event("game", "purchase", minute(2)).of("i1").revenue("1")).await;
    let identity = world.ledger.identity().clone();
    world.reopen().await;
    let again = world.ledger.identity();
    assert_eq!((again.node, &again.check_keys), (identity.node, &identity.check_keys));
    assert_eq!(world.settings().version, 1);
    assert_eq!(world.ledger.undecided_count().await, Ok(1));
    let story = world.story(install.event.id).await;
    assert_eq!(story.revisions[0].because, install.revisions[0].because);
    assert_eq!(told(&world, &story), ["i acme"]);
    world.decide().await;
    let story = world.story(waits).await;
    assert_eq!((credit(&world, &story), told(&world, &story)), ("acme".into(), vec!["p acme".into()]));
    world.books_balance().await;
    // Names of what was deleted since are still known to the story.
    world.apply(&sample(), true).await;
    assert_eq!(world.story(waits).await.names.values().filter(|n| *n == "p").count(), 1);
}

#[tokio::test]
async fn a_slice_is_counted_once() {
    let world = World::new(&sample()).await;
    let count = SliceCount {
        workspace: world.workspace,
        app: world.app("game"),
        partner: world.partner("acme"),
        campaign: Id::from_bits(1),
        link: Id::from_bits(2),
        bucket_start: NOON,
        kind: TouchKind::Click,
        country: None,
        count: 7,
        partner_click_id_absent: 2,
        partner_click_id_unexpanded: 1,
    };
    let slice = ClosedSlice {
        file: "slice-1.sqlite".into(),
        node: 5,
        seq: 1,
        began: NOON,
        id_first: NOON,
        id_last: minute(3),
        clicks: 7,
        bytes: 4096,
        checksum: 1,
        counts: vec![count],
    };
    for _ in 0..2 {
        world.ledger.slice_publish(slice.clone()).await.unwrap();
        let report = world.ledger.report(world.workspace, NOON, minute(60)).await.unwrap();
        let mut counts: Vec<(Metric, &str, i64)> =
            report.iter().map(|r| (r.metric, r.kind.as_str(), r.count)).collect();
        counts.sort();
        let want = [
            (Metric::Touch, "click", 7),
            (Metric::FlaggedClick, "partner_click_id_absent", 2),
            (Metric::FlaggedClick, "partner_click_id_unexpanded", 1),
        ];
        assert_eq!(counts, want);
        assert_eq!(world.ledger.slices_published().await, Ok(vec![(5, 1)]));
    }
    // Nobody expects a partner's click id on an impression, so it cannot lack there.
    let views = SliceCount { kind: TouchKind::Impression, ..slice.counts[0].clone() };
    let seen = ClosedSlice { seq: 3, counts: vec![views], ..slice.clone() };
    world.ledger.slice_publish(seen).await.unwrap();
    let report = world.ledger.report(world.workspace, NOON, minute(60)).await.unwrap();
    let sum = |metric| report.iter().filter(|r| r.metric == metric).map(|r| r.count).sum::<i64>();
    assert_eq!((sum(Metric::Touch), sum(Metric::FlaggedClick)), (14, 3));
    // The floor of later click ids never falls, whatever order slices come in.
    let older = ClosedSlice { seq: 2, id_last: minute(1), counts: Vec::new(), ..slice };
    world.ledger.slice_publish(older).await.unwrap();
    let mut world = world;
    world.reopen().await;
    assert_eq!(world.ledger.identity().click_floor, Some(minute(3)));
}

#[tokio::test]
async fn expiry_goes_in_bounded_steps_and_keeps_what_is_unfinished() {
    let mut world = World::new(&with_rules(json!({"i": rule("install", None)}))).await;
    let keys: Vec<_> = (0..600)
        .map(|n| World::keyed(world.event("game", "level", minute(0)), &format!("k{n}"), 1))
        .collect();
    for answer in world.ledger.event_record(keys).await {
        answer.unwrap();
    }
    let far = minute(401 * 24 * 60);
    let kept = Kept { attempts: Span::from_days(30), payloads: Span::from_days(60) };
    let step = async |at: Timestamp| {
        let done = world.ledger.expire(world.workspace, at, kept).await.unwrap();
        (done.event_keys, done.is_partial())
    };
    assert_eq!(step(minute(399 * 24 * 60)).await, (0, false));
    assert_eq!(step(far).await, (500, true));
    assert_eq!(step(far).await, (100, false));
    assert_eq!(step(far).await, (0, false));

    let mut due = Vec::new();
    for n in 0..2 {
        let click = world.click("game-acme", minute(n), "");
        world.record(world.event("game", "install", minute(5)).of(&format!("i{n}")).click(&click)).await;
        due.extend(world.decide().await.planned);
    }
    let attempt = AttemptRow {
        n: 1,
        at: NOON,
        outcome: "http_200".into(),
        status: Some(200),
        total_us: 1,
        next: String::new(),
        body: "{}".into(),
    };
    let [done, again] = due[..] else { panic!("two deliveries") };
    let settle = |item, next| Settlement { item, attempt: Some(attempt.clone()), next };
    let later = Settled::Again { due: minute(9), reason: "http_503".into() };
    world
        .ledger
        .delivery_settle(vec![settle(done, Settled::Delivered), settle(again, later)], NOON)
        .await
        .unwrap();
    let expired = world.ledger.expire(world.workspace, far, kept).await.unwrap();
    assert_eq!(expired.attempts, 1, "those of the finished delivery alone");

    // Bodies of webhooks and notices go by the time in their ids, each to the day.
    let conn = raw(&world);
    let id = |day: i64| (((NOON.ms() + day * 86_400_000) as u128) << 80).to_be_bytes();
    for day in 0..3 {
        for n in 0..400_u16 {
            let mut id = id(day);
            id[14..].copy_from_slice(&n.to_be_bytes());
            conn.execute("INSERT INTO payload VALUES (1, ?1, 0, 0, '{}')", [id.as_slice()]).unwrap();
        }
        conn.execute("INSERT INTO notice VALUES (1, ?1, 0, 'silence', NULL, '{}')", [id(day).as_slice()])
            .unwrap();
    }
    let step = async |day: i64| {
        let at = NOON.plus_ms((day + 60) * 86_400_000);
        let done = world.ledger.expire(world.workspace, at, kept).await.unwrap();
        (done.payloads, done.notices, done.is_partial())
    };
    assert_eq!(step(0).await, (0, 0, false));
    assert_eq!(step(1).await, (400, 1, false));
    assert_eq!(step(3).await, (500, 2, true));
    assert_eq!(step(3).await, (300, 0, false));
    world.books_balance_without_evidence().await;
}

#[tokio::test]
async fn a_newer_schema_is_refused_and_left_as_it_is() {
    let world = World::new(&sample()).await;
    world.ledger.close().await;
    raw(&world).pragma_update(None, "user_version", SCHEMA_VERSION + 1).unwrap();
    let Err(Error::Refused(what)) = Ledger::open(&Config::in_dir(world.dir()), Entropy::seeded(1), NOON)
    else {
        panic!("a newer schema is not to be guessed at");
    };
    assert!(what.contains("newer release"), "{what}");
    let version: u32 = raw(&world).query_row("PRAGMA user_version", [], |row| row.get(0)).unwrap();
    assert_eq!(version, SCHEMA_VERSION + 1);
}

#[tokio::test]
async fn opening_says_what_it_found() {
    let dir = tempfile::tempdir().unwrap();
    let config = Config::in_dir(dir.path());
    let (ledger, report) = Ledger::open(&config, Entropy::seeded(1), NOON).unwrap();
    assert_eq!((report.created, report.schema_found), (true, 0));
    assert!(!ledger.is_fatal());
    ledger.probe().await.unwrap();
    ledger.close().await;
    assert!(ledger.probe().await.unwrap_err().is_retryable());
    let (_, report) = Ledger::open(&config, Entropy::seeded(1), NOON).unwrap();
    assert_eq!((report.created, report.schema_found), (false, SCHEMA_VERSION));
}

#[tokio::test]
async fn corrupt_rows_are_named() {
    let mut world = World::new(&with_rules(json!({"i": rule("install", None)}))).await;
    let click = world.click("game-acme", minute(0), "");
    let id = world.record(world.event("game", "install", minute(1)).of("i1").click(&click)).await;
    let due = world.decide().await.planned.remove(0);
    let named = |result: Result<(), Error>, want: (&str, &str)| match result {
        Err(Error::Corrupt { table, column, row, .. }) => {
            assert_eq!((table, column), want);
            assert!(!row.is_empty());
        }
        other => panic!("{other:?}"),
    };
    raw(&world).execute("UPDATE delivery SET \"values\" = 'nonsense'", []).unwrap();
    named(world.ledger.delivery_load_all(vec![due]).await.map(drop), ("delivery", "values"));
    raw(&world).execute("UPDATE decision SET body = '{\"v\":1}'", []).unwrap();
    named(world.ledger.story(world.workspace, id).await.map(drop), ("decision", "body"));
    world.ledger.close().await;
    raw(&world).execute("UPDATE resource SET body = '{}' WHERE slug = 'acme'", []).unwrap();
    let open = Ledger::open(&Config::in_dir(world.dir()), Entropy::seeded(1), NOON);
    named(open.map(drop), ("resource", "body"));
}
