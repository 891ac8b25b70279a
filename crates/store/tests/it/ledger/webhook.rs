//! What the owner is told: which facts, under which ids, and what their bodies say.

use roundtrip_domain::endpoint::Endpoint;
use roundtrip_domain::id::{Id, kind};
use roundtrip_domain::status::{Asker, Status};
use roundtrip_domain::time::Timestamp;
use roundtrip_domain::webhook::Topic;
use roundtrip_store::ledger::{
    AttemptRow, DeliveryFilter, DeliveryTest, Due, Into, JobKind, JobPlan, JobState, Receiver, RunningOut,
    Settled, Settlement, StatusWish, Story,
};
use roundtrip_store::payload::Notice;
use roundtrip_testkit::{NOON, Tell, World};
use serde_json::{Value, json};

use super::{minute, raw, rule, with_rules};

fn document(webhooks: Value) -> Value {
    let mut document = with_rules(json!({"sale": rule("purchase", Some("acme"))}));
    document["webhooks"] = webhooks;
    document
}

fn hook(events: &[&str]) -> Value {
    json!({"app": "game", "url": "https://owner.example/hooks", "events": events})
}

/// What webhooks are told of an event: slug, kind and id of the fact, sorted: those of one millisecond have no order.
fn told(world: &World, story: &Story) -> Vec<(String, String, Id<kind::Event>)> {
    let own = story.deliveries.iter();
    let all = own.chain(story.changes.iter().flat_map(|change| &change.deliveries));
    let told = all.filter_map(|delivery| match delivery.endpoint {
        Endpoint::Postback { .. } => None,
        Endpoint::Webhook(id) => {
            let slug = world.settings().webhook(id).expect("the webhook").slug.clone();
            Some((slug, delivery.kind.clone(), delivery.fact))
        }
    });
    let mut told: Vec<_> = told.collect();
    told.sort();
    told
}

async fn body(world: &World, due: Due) -> Value {
    let loaded = world.ledger.delivery_load_all(vec![due]).await.unwrap().remove(0).expect("kept");
    serde_json::from_str(&loaded.payload.expect("a body")).unwrap()
}

fn due_of(story: &Story, kind: &str) -> Due {
    let all = story.deliveries.iter().chain(story.changes.iter().flat_map(|change| &change.deliveries));
    let found = all.into_iter().find(|d| d.kind == kind && d.endpoint.postback().is_none()).expect("planned");
    Due {
        workspace: roundtrip_domain::id::WorkspaceNo::DEFAULT,
        endpoint: found.endpoint,
        due: found.due.expect("it waits"),
        delivery: found.id,
        sends: 0,
    }
}

#[tokio::test]
async fn each_webhook_is_told_what_it_asks_for() {
    let mut world = World::new(&document(json!({
        "all": {"url": "https://owner.example/all"},
        "organic": hook(&["organic_install"]),
        "won": hook(&["install"]),
        "named": hook(&["event:level_up"]),
        "elsewhere": {"app": "tool", "url": "https://owner.example/tool"},
    })))
    .await;
    let click = world.click("game-acme", minute(-5), "click_id=p1");
    let won = world.tell(world.event("game", "install", NOON).of("i1").click(&click)).await;
    let id = won.event.id;
    assert_eq!(
        told(&world, &won),
        [("all".into(), "install".into(), id), ("won".into(), "install".into(), id)]
    );
    let own = world.tell(world.event("game", "install", NOON).of("i2")).await;
    let kinds: Vec<_> = told(&world, &own).into_iter().map(|(slug, kind, _)| (slug, kind)).collect();
    assert_eq!(
        kinds,
        [("all".into(), "organic_install".to_owned()), ("organic".into(), "organic_install".into())]
    );
    let level = world.tell(world.event("game", "level_up", minute(1)).of("i1")).await;
    let kinds: Vec<_> = told(&world, &level).into_iter().map(|(slug, kind, _)| (slug, kind)).collect();
    assert_eq!(kinds, [("all".into(), "event".to_owned()), ("named".into(), "event".into())]);

    let body = body(&world, due_of(&won, "install")).await;
    assert_eq!(body["event_id"], id.to_string());
    assert_eq!(body["attribution"]["source"], "acme");
    assert_eq!(body["attribution"]["partner_click_id"], "p1");
    assert_eq!(body["user"]["is_organic"], false);
    world.books_balance().await;
    super::assert_at_rest(&world).await;
}

#[tokio::test]
async fn a_purchase_before_its_install_is_told_at_once_and_updated_when_the_install_comes() {
    let mut world = World::new(&document(json!({"all": hook(&[])}))).await;
    let click = world.click("game-acme", minute(-5), "click_id=p1");
    let purchase = world.tell(world.event("game", "purchase", minute(2)).of("i1")).await;
    let id = purchase.event.id;
    assert_eq!(told(&world, &purchase), [("all".into(), "purchase".into(), id)]);
    let first = body(&world, due_of(&purchase, "purchase")).await;
    assert_eq!(
        (&first["attribution"]["source"], &first["user"]["is_organic"]),
        (&json!("unknown"), &Value::Null)
    );

    world.tell(world.event("game", "install", NOON).of("i1").click(&click)).await;
    let story = world.story(id).await;
    let facts = told(&world, &story);
    assert_eq!(facts.len(), 2, "{facts:?}");
    assert_eq!(facts[0].1, "attribution_updated");
    assert_ne!(facts[0].2, id, "an update is a fact of its own");
    let update = body(&world, due_of(&story, "attribution_updated")).await;
    assert_eq!(update["event_id"], facts[0].2.to_string());
    assert_eq!(update["relates_to"], id.to_string());
    assert_eq!(update["attribution"]["source"], "acme");
    assert_eq!(body(&world, due_of(&story, "purchase")).await, first, "what was said stays said");
    world.books_balance().await;
    super::assert_at_rest(&world).await;
}

#[tokio::test]
async fn what_waits_for_approval_is_told_when_it_is_approved_unless_asked_for() {
    let world = World::new(&document(json!({
        "patient": hook(&[]),
        "eager": {"app": "game", "url": "https://owner.example/eager", "pending": true},
    })))
    .await;
    let mut event = world.event("game", "purchase", NOON);
    event.postback = Some(roundtrip_domain::event::PostbackFields { pending: true, ..Default::default() });
    let story = world.tell(event).await;
    let id = story.event.id;
    let kinds = |story: &Story| -> Vec<_> {
        told(&world, story).into_iter().map(|(slug, kind, _)| format!("{slug} {kind}")).collect()
    };
    assert_eq!(kinds(&story), ["eager purchase"]);
    let wish = |to, reason: &str| StatusWish {
        conversion: id.conversion(),
        to,
        asker: Asker::Owner,
        by: "owner".into(),
        reason: Some(reason.into()),
    };
    world.ledger.status_change(world.workspace, wish(Status::Approved, "paid"), minute(5)).await.unwrap();
    world.decide().await;
    let story = world.story(id).await;
    assert_eq!(kinds(&story), ["eager approved", "eager purchase", "patient approved", "patient purchase"]);
    world.ledger.status_change(world.workspace, wish(Status::Rejected, "refund"), minute(6)).await.unwrap();
    world.decide().await;
    let story = world.story(id).await;
    assert_eq!(kinds(&story).len(), 6, "{:?}", kinds(&story));
    let rejected = body(&world, due_of(&story, "rejected")).await;
    assert_eq!(
        (&rejected["status"], &rejected["status_change"]["reason"]),
        (&json!("rejected"), &json!("refund"))
    );
    assert_eq!(rejected["relates_to"], id.to_string());
    world.books_balance().await;
    super::assert_at_rest(&world).await;
}

#[tokio::test]
async fn that_a_window_runs_out_is_said_with_the_end_of_the_send() {
    let mut world = World::new(&document(json!({
        "own": hook(&["postback_expiring"]),
        "other": {"app": "tool", "url": "https://owner.example/tool", "events": ["postback_expiring"]},
    })))
    .await;
    let click = world.click("game-acme", minute(-5), "click_id=p1");
    world.tell(world.event("game", "install", NOON).of("i1").click(&click)).await;
    let story = world.tell(world.event("game", "purchase", minute(1)).of("i1")).await;
    let item = Due {
        workspace: world.workspace,
        endpoint: story.deliveries[0].endpoint,
        due: story.deliveries[0].due.unwrap(),
        delivery: story.deliveries[0].id,
        sends: 0,
    };
    let attempt = AttemptRow {
        n: 1,
        at: minute(2),
        outcome: "http_503".into(),
        status: Some(503),
        total_us: 1,
        next: "sent again".into(),
        body: "{}".into(),
    };
    let next = Settled::Again { due: minute(9), reason: "receiver_in_trouble".into() };
    let settlement = Settlement { item, attempt: Some(attempt), next };
    let out = RunningOut { delivery: item.delivery, deadline: minute(10) };
    world.ledger.due_take();
    raw(&world)
        .execute_batch(
            "CREATE TRIGGER breaks BEFORE INSERT ON notice BEGIN SELECT RAISE(ABORT, 'broken'); END",
        )
        .unwrap();
    let settle =
        async || world.ledger.delivery_settle_saying(vec![settlement.clone()], vec![out], minute(3)).await;
    settle().await.unwrap_err();
    assert_eq!(world.story(story.event.id).await.deliveries[0].sends, 0, "neither without the other");
    raw(&world).execute_batch("DROP TRIGGER breaks").unwrap();
    // Twice, as after an answer that was lost.
    for _ in 0..2 {
        assert_eq!(settle().await.unwrap()[0].map(|due| (due.due, due.sends)), Some((minute(9), 1)));
    }
    let notices = world.ledger.notices(world.workspace, None, 9).await.unwrap();
    let [notice] = &notices[..] else { panic!("said once: {notices:?}") };
    let told: Vec<_> = world.ledger.due_take();
    let [due] = told[..] else { panic!("the webhook of its app is told, and no other: {told:?}") };
    assert_eq!(
        due.endpoint,
        Endpoint::Webhook(world.settings().webhooks.iter().find(|w| w.slug == "own").unwrap().id)
    );
    let body = body(&world, due).await;
    assert_eq!(body, serde_json::from_str::<Value>(&notice.body).unwrap());
    assert_eq!(body["notice"]["figures"]["sends"], 1);
    world.books_balance().await;
}

#[tokio::test]
async fn that_a_window_of_the_sandbox_runs_out_is_told_to_who_takes_that_and_booked_nowhere() {
    let mut taking = hook(&["postback_expiring"]);
    taking["sandbox"] = json!(true);
    let mut sandbox = rule("purchase", Some("acme"));
    sandbox["sandbox"] = json!(true);
    let mut settings = with_rules(json!({"sale": sandbox}));
    settings["webhooks"] = json!({"real": hook(&["postback_expiring"]), "taking": taking});
    let mut world = World::new(&settings).await;
    let click = world.click("game-acme", minute(-5), "click_id=p1");
    let install = world.event("game", "install", NOON).of("i1").click(&click).sandbox();
    world.tell(install).await;
    let story = world.tell(world.event("game", "purchase", minute(1)).of("i1").sandbox()).await;
    let item = due_of_postback(&world, &story);
    world.ledger.due_take();
    let next = Settled::Again { due: minute(9), reason: "http_503".into() };
    let settlement = Settlement { item, attempt: None, next };
    let out = RunningOut { delivery: item.delivery, deadline: minute(10) };
    world.ledger.delivery_settle_saying(vec![settlement], vec![out], minute(3)).await.unwrap();
    let told: Vec<_> = world.ledger.due_take();
    let [due] = told[..] else { panic!("only the one that takes the sandbox is told: {told:?}") };
    let own = world.settings().webhooks.iter().find(|w| w.slug == "taking").unwrap().id;
    assert_eq!(due.endpoint, Endpoint::Webhook(own));
    let booked = "SELECT count(*) FROM delivery WHERE booked_at IS NOT NULL AND kind = 'postback_expiring'";
    assert_eq!(raw(&world).query_row(booked, [], |row| row.get::<_, i64>(0)).unwrap(), 0);
    world.books_balance().await;
}

/// One worker gave it up, or it was held for too long, and another one's send arrived.
#[tokio::test]
async fn what_arrives_although_it_was_given_up_or_expired_was_delivered_and_that_is_told() {
    let mut world =
        World::new(&document(json!({"ends": hook(&["postback_delivered", "postback_failed"])}))).await;
    let click = world.click("game-acme", minute(-5), "click_id=p1");
    world.tell(world.event("game", "install", NOON).of("i1").click(&click)).await;
    let reason = || "attempts_exhausted".to_owned();
    for other in [Settled::Dead { reason: reason() }, Settled::Expired { reason: reason() }] {
        let story = world.tell(world.event("game", "purchase", minute(1)).of("i1")).await;
        let item = due_of_postback(&world, &story);
        let settle = |next| Settlement { item, attempt: None, next };
        let both = vec![settle(other.clone()), settle(Settled::Delivered)];
        // Twice changes nothing; nor does a failure that is heard of later.
        world.ledger.delivery_settle(both.clone(), minute(2)).await.unwrap();
        world.ledger.delivery_settle(both, minute(3)).await.unwrap();
        let story = world.story(story.event.id).await;
        let ended = story.deliveries.iter().find(|d| d.id == item.delivery).unwrap();
        assert_eq!((ended.state.as_str(), ended.reason.as_str()), ("delivered", "arrived_after_all"));
        let facts = told(&world, &story);
        let kinds: Vec<_> = facts.iter().map(|(_, kind, _)| kind.as_str()).collect();
        assert_eq!(kinds, ["postback_delivered", "postback_failed"]);
        assert_ne!(facts[0].2, facts[1].2, "two facts");
        let body = body(&world, due_of(&story, "postback_delivered")).await;
        assert_eq!(body["postback"]["reason"], "arrived_after_all");
        world.books_balance().await;
    }
    let far = Timestamp::from_ms(i64::MAX / 2);
    let kept = world.ledger.balance(world.workspace, Timestamp::from_ms(0), far).await.unwrap();
    let counted = world.ledger.recount(world.workspace).await.unwrap();
    for books in [kept, counted] {
        let of = |state: &str| books.values().filter_map(|row| row.finished.get(state)).sum::<i64>();
        assert_eq!((of("delivered"), of("dead"), of("expired")), (2, 0, 0));
    }
}

#[tokio::test]
async fn how_a_test_of_a_rule_ended_is_told_to_nobody() {
    let mut taking = hook(&["postback_delivered", "postback_failed"]);
    taking["sandbox"] = json!(true);
    let world = World::new(&document(json!({"ends": taking}))).await;
    let endpoint = Endpoint::Postback { rule: world.rule("sale"), partner: world.partner("acme") };
    for next in [Settled::Delivered, Settled::Dead { reason: "test_failed".into() }] {
        let wanted = DeliveryTest { endpoint, version: 1, app: world.app("game"), values: Vec::new() };
        let id = world.ledger.delivery_test(world.workspace, wanted, minute(1)).await.unwrap();
        let item = Due { workspace: world.workspace, endpoint, due: minute(1), delivery: id, sends: 0 };
        world.ledger.due_take();
        let settlement = Settlement { item, attempt: None, next };
        assert_eq!(world.ledger.delivery_settle(vec![settlement], minute(2)).await.unwrap(), [None]);
        assert_eq!(world.ledger.due_take().into_iter().collect::<Vec<_>>(), []);
    }
}

fn due_of_postback(world: &World, story: &Story) -> Due {
    let [delivery] = &story.deliveries[..] else { panic!("one postback: {:?}", story.deliveries) };
    Due {
        workspace: world.workspace,
        endpoint: delivery.endpoint,
        due: delivery.due.expect("it waits"),
        delivery: delivery.id,
        sends: 0,
    }
}

#[tokio::test]
async fn how_a_postback_ended_is_told_to_those_who_ask() {
    let mut world =
        World::new(&document(json!({"ends": hook(&["postback_delivered", "postback_failed"])}))).await;
    let click = world.click("game-acme", minute(-5), "click_id=p1");
    world.tell(world.event("game", "install", NOON).of("i1").click(&click)).await;
    let mut ended = Vec::new();
    for next in [Settled::Delivered, Settled::Dead { reason: "refused_by_receiver".into() }] {
        let story = world.tell(world.event("game", "purchase", minute(1)).of("i1")).await;
        let [delivery] = &story.deliveries[..] else { panic!("one postback: {:?}", story.deliveries) };
        let item = Due {
            workspace: world.workspace,
            endpoint: delivery.endpoint,
            due: delivery.due.unwrap(),
            delivery: delivery.id,
            sends: 0,
        };
        let settlement = Settlement { item, attempt: None, next };
        // Settling twice says it once.
        for _ in 0..2 {
            world.ledger.delivery_settle(vec![settlement.clone()], minute(2)).await.unwrap();
        }
        let story = world.story(story.event.id).await;
        let facts = told(&world, &story);
        assert_eq!(facts.len(), 1, "{facts:?}");
        let body = body(&world, due_of(&story, &facts[0].1)).await;
        assert_eq!(body["postback"]["delivery"], item.delivery.to_string());
        assert_eq!(body["relates_to"], story.event.id.to_string());
        ended.push((facts[0].1.clone(), body["postback"]["reason"].as_str().unwrap().to_owned()));
    }
    assert_eq!(
        ended,
        [
            ("postback_delivered".into(), "accepted_by_receiver".to_owned()),
            ("postback_failed".into(), "refused_by_receiver".into())
        ]
    );
    world.books_balance().await;
}

#[tokio::test]
async fn a_new_webhook_is_filled_from_the_past_and_nothing_is_told_twice() {
    let mut world = World::new(&document(json!({}))).await;
    let click = world.click("game-acme", minute(-5), "click_id=p1");
    let install = world.tell(world.event("game", "install", NOON).of("i1").click(&click)).await;
    let purchase = world.tell(world.event("game", "purchase", minute(1)).of("i1")).await;
    assert!(told(&world, &install).is_empty());
    world.apply(&json!({"webhooks": {"late": hook(&["purchase"])}}), false).await;
    let webhook = world.settings().webhooks[0].id;
    let backfill = async |at| {
        let into = Some(Into::Webhook(webhook));
        let plan = JobPlan { kind: JobKind::Backfill, filter: DeliveryFilter::default(), into, rate: None };
        let job = world.ledger.job_create(world.workspace, plan, None, "test".into(), at).await.unwrap();
        let job = job.expect("room for a job");
        let step = world.ledger.job_step(world.workspace, job.id, 10, at).await.unwrap().expect("it is kept");
        assert_eq!(step.state, JobState::Done, "all of it fits into a step");
        step.planned
    };
    let planned = backfill(minute(60)).await;
    assert_eq!(planned.len(), 1, "it asks for purchases");
    let story = world.story(purchase.event.id).await;
    assert_eq!(told(&world, &story), [("late".into(), "purchase".into(), purchase.event.id)]);
    assert_eq!(body(&world, planned[0]).await["attribution"]["source"], "acme");
    assert!(backfill(minute(61)).await.is_empty());
    world.books_balance().await;
}

#[tokio::test]
async fn a_body_that_is_gone_is_made_again_the_same() {
    let mut world = World::new(&document(json!({"all": hook(&[])}))).await;
    let click = world.click("game-acme", minute(-5), "click_id=p1");
    let story = world.tell(world.event("game", "install", NOON).of("i1").click(&click)).await;
    let due = due_of(&story, "install");
    let before = body(&world, due).await;
    assert_eq!(raw(&world).execute("DELETE FROM payload", []).unwrap(), 1);
    assert_eq!(body(&world, due).await, before);
}

#[tokio::test]
async fn a_notice_is_kept_and_told() {
    let world = World::new(&document(json!({
        "ops": {"url": "https://owner.example/ops", "events": ["endpoint_disabled"]},
        "other": hook(&["silence"]),
    })))
    .await;
    let notice = Notice {
        sentence: "It was disabled.".into(),
        about: Some("webhook:orders".into()),
        figures: json!({"sends": 7}),
    };
    let id =
        world.ledger.notice(world.workspace, Topic::EndpointDisabled, None, notice, minute(3)).await.unwrap();
    let kept = world.ledger.notices(world.workspace, None, 10).await.unwrap();
    assert_eq!(
        kept.iter().map(|n| (n.id, n.at, n.topic.as_str())).collect::<Vec<_>>(),
        [(id, minute(3), "endpoint_disabled")]
    );
    let [due] = world.ledger.due_take()[..] else { panic!("one webhook asks for it") };
    let body = body(&world, due).await;
    assert_eq!((&body["event_id"], &body["notice"]["figures"]["sends"]), (&json!(id.to_string()), &json!(7)));
    let far = Timestamp::from_ms(i64::MAX / 2);
    let books = world.ledger.balance(world.workspace, Timestamp::from_ms(0), far).await.unwrap();
    let webhook = world.settings().webhooks[0].id;
    let (key, row) = books.iter().next().expect("it is in the books");
    assert_eq!((key.1, row.planned, row.waiting), (Receiver::Webhook(webhook), 1, 1));
    world.books_balance().await;
}

#[tokio::test]
async fn an_install_that_was_organic_first_is_told_to_those_who_asked_for_installs() {
    let mut world = World::new(&document(json!({
        "won": hook(&["install"]),
        "both": hook(&["install", "organic_install", "attribution_updated"]),
    })))
    .await;
    let click = world.click("game-acme", minute(-5), "click_id=p1");
    let open = world.tell(world.event("game", "open", NOON).of("i1")).await;
    let id = open.event.id;
    assert_eq!(told(&world, &open), [("both".into(), "organic_install".into(), id)]);
    world.tell(world.event("game", "install", minute(1)).of("i1").click(&click)).await;
    let story = world.story(id).await;
    let facts = told(&world, &story);
    let kinds: Vec<_> =
        facts.iter().map(|(slug, kind, fact)| (slug.as_str(), kind.as_str(), *fact == id)).collect();
    assert_eq!(
        kinds,
        [("both", "attribution_updated", false), ("both", "organic_install", true), ("won", "install", true)]
    );
    let won = body(&world, due_of(&story, "install")).await;
    assert_eq!((&won["kind"], &won["attribution"]["source"]), (&json!("install"), &json!("acme")));
    let first = body(&world, due_of(&story, "organic_install")).await;
    assert_eq!(
        (&first["kind"], &first["attribution"]["source"]),
        (&json!("organic_install"), &json!("organic"))
    );
    world.books_balance().await;
    super::assert_at_rest(&world).await;
}

#[tokio::test]
async fn who_waits_for_approval_is_told_that_it_was_approved_and_not_what_others_heard_before() {
    let world = World::new(&document(json!({
        "patient": hook(&["purchase"]),
        "eager": {"app": "game", "url": "https://owner.example/eager", "events": ["purchase"], "pending": true},
    })))
    .await;
    let mut event = world.event("game", "purchase", NOON);
    event.postback = Some(roundtrip_domain::event::PostbackFields { pending: true, ..Default::default() });
    let id = world.tell(event).await.event.id;
    let wish = StatusWish {
        conversion: id.conversion(),
        to: Status::Approved,
        asker: Asker::Owner,
        by: "owner".into(),
        reason: None,
    };
    world.ledger.status_change(world.workspace, wish, minute(5)).await.unwrap();
    world.decide().await;
    let story = world.story(id).await;
    let status = async |slug: &str| {
        let webhook = world.settings().webhooks.iter().find(|w| w.slug == slug).expect("it").id;
        let found =
            story.deliveries.iter().find(|d| d.endpoint == Endpoint::Webhook(webhook)).expect("planned");
        let due = Due {
            workspace: world.workspace,
            endpoint: found.endpoint,
            due: found.due.expect("it waits"),
            delivery: found.id,
            sends: 0,
        };
        let kept = body(&world, due).await;
        // Made again from the rows, it says the same.
        raw(&world).execute("DELETE FROM payload", []).unwrap();
        assert_eq!(body(&world, due).await, kept);
        kept["status"].as_str().expect("a status").to_owned()
    };
    assert_eq!(status("eager").await, "pending");
    assert_eq!(status("patient").await, "approved");
}
