//! Approving and rejecting, holding back, groups and conditions: what is told, cancelled and counted.

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;
use roundtrip_ambient::Entropy;
use roundtrip_domain::condition::Unmet;
use roundtrip_domain::event::Event;
use roundtrip_domain::id::{Id, kind};
use roundtrip_domain::postback::Detail;
use roundtrip_domain::status::{Asker, Status};
use roundtrip_domain::time::Timestamp;
use roundtrip_store::ledger::{
    AttemptRow, ConversionFilter, DeliveryStory, Due, Metric, NewEvent, Recorded, Replay, Settled,
    Settlement, Status as Counted, StatusAnswer, StatusWish, Story,
};
use roundtrip_testkit::{Tell, World};
use serde_json::{Value, json};

use super::{assert_at_rest, credit, minute, rule, suppressed, told, with_rules};

async fn change(
    world: &World,
    event: Id<kind::Event>,
    to: Status,
    asker: Asker,
    at: Timestamp,
) -> StatusAnswer {
    let (conversion, by, reason) = (event.conversion(), "owner".into(), Some("a reason".into()));
    let wish = StatusWish { conversion, to, asker, by, reason };
    world.ledger.status_change(world.workspace, wish, at).await.unwrap()
}

/// The owner changes it, and everything is decided; the event of the change.
async fn owner(world: &World, event: Id<kind::Event>, to: Status) -> Id<kind::Event> {
    let answer = change(world, event, to, Asker::Owner, minute(30)).await;
    world.decide().await;
    match answer {
        StatusAnswer::Changed { change, .. } => change,
        other => panic!("it is changed: {other:?}"),
    }
}

/// Rules of the shop for sales, rejections and changes.
fn document() -> Value {
    let shop = |on: &str| {
        let mut rule = rule(on, None);
        rule["app"] = "shop".into();
        rule
    };
    with_rules(json!({"sale": shop("purchase"), "no": shop("rejected"), "changed": shop("status_change")}))
}

/// A sale that acme won, pending or not.
async fn sale(world: &mut World, pending: bool) -> Story {
    let click = world.click("shop-acme", minute(0), "");
    let event = world.event("shop", "purchase", minute(1)).click(&click).revenue("10");
    world.tell(event.postback(None, pending)).await
}

/// Conversions by what they are worth, those that are none left out.
async fn counted(world: &World) -> Vec<(Counted, i64, i64)> {
    let report = world.ledger.report(world.workspace, minute(-60), minute(60)).await.unwrap();
    let mut counts: Vec<_> = report
        .iter()
        .filter(|r| r.metric == Metric::Conversion && (r.count, r.micros) != (0, 0))
        .map(|r| (r.status, r.count, r.micros))
        .collect();
    counts.sort();
    counts
}

/// How the deliveries stand, sorted: those of one millisecond have no order of their own.
fn states(story: &Story) -> Vec<(&str, &str)> {
    let mut states: Vec<_> = story.deliveries.iter().map(|d| (d.state.as_str(), d.reason.as_str())).collect();
    states.sort();
    states
}

/// The one delivery in that state.
fn in_state<'a>(story: &'a Story, state: &str) -> &'a DeliveryStory {
    story.deliveries.iter().find(|d| d.state == state).expect("a delivery in that state")
}

async fn status_listed(world: &World, event: Id<kind::Event>) -> String {
    let list =
        world.ledger.conversion_list(world.workspace, ConversionFilter::default(), None, 100).await.unwrap();
    list.into_iter().find(|c| c.row.id.event() == event).expect("it is listed").row.status
}

#[tokio::test]
async fn an_approval_tells_what_waited_and_moves_the_counts() {
    let mut world = World::new(&document()).await;
    let story = sale(&mut world, true).await;
    let id = story.event.id;
    assert_eq!((told(&world, &story), suppressed(&world, &story)), (vec![], vec!["sale pending".into()]));
    assert_eq!(counted(&world).await, [(Counted::Pending, 1, 10_000_000)]);

    let changed = owner(&world, id, Status::Approved).await;
    let story = world.story(id).await;
    assert_eq!((told(&world, &story), suppressed(&world, &story)), (vec!["sale acme".into()], vec![]));
    assert_eq!(counted(&world).await, [(Counted::Approved, 1, 10_000_000)]);
    assert_eq!(status_listed(&world, id).await, "approved");
    let statuses: Vec<_> = story.revisions.iter().map(|r| r.status).collect();
    assert_eq!(statuses, [Status::Pending, Status::Approved], "history is kept");

    // Who, when and why stand in the story, with who was told of the change under an id of its own.
    let [own] = &story.changes[..] else { panic!("one change: {:?}", story.changes) };
    assert_eq!((own.id, own.at, own.change.by.as_str()), (changed, minute(30), "owner"));
    assert_eq!((own.change.from, own.change.to), (Status::Pending, Status::Approved));
    assert_eq!(own.change.reason.as_deref(), Some("a reason"));
    assert_eq!(
        (own.rules.len(), own.deliveries.len()),
        (1, 1),
        "the rule for changes, not that for rejections"
    );
    let its = world.story(changed).await;
    assert_eq!((credit(&world, &its), told(&world, &its)), ("acme".into(), vec!["changed acme".into()]));
    assert_eq!(its.original.map(|e| e.id), Some(id));

    // Again is no change; a change is no conversion; what is listed are conversions.
    let again = change(&world, id, Status::Approved, Asker::Owner, minute(31)).await;
    assert_eq!(again, StatusAnswer::Same);
    let of_change = change(&world, changed, Status::Rejected, Asker::Owner, minute(31)).await;
    assert_eq!(of_change, StatusAnswer::NoConversion);
    let nobody = Id::from_bits(7);
    assert_eq!(
        change(&world, nobody, Status::Rejected, Asker::Owner, minute(31)).await,
        StatusAnswer::Unknown
    );
    let list =
        world.ledger.conversion_list(world.workspace, ConversionFilter::default(), None, 10).await.unwrap();
    assert_eq!(list.len(), 1);
    world.books_balance().await;
    assert_at_rest(&world).await;
}

#[tokio::test]
async fn a_rejection_cancels_what_waits_and_an_approval_tells_it_again() {
    let mut world = World::new(&document()).await;
    let story = sale(&mut world, false).await;
    let id = story.event.id;
    assert_eq!(states(&story), [("scheduled", "planned")]);
    let due = Due {
        workspace: world.workspace,
        endpoint: story.deliveries[0].endpoint,
        due: story.deliveries[0].due.unwrap(),
        delivery: story.deliveries[0].id,
        sends: 0,
    };

    let rejected = owner(&world, id, Status::Rejected).await;
    let story = world.story(id).await;
    assert_eq!(states(&story), [("cancelled", "conversion_rejected")]);
    assert_eq!(counted(&world).await, [(Counted::Rejected, 1, 10_000_000)]);
    assert_eq!(told(&world, &world.story(rejected).await), ["changed acme"]);
    assert_eq!(suppressed(&world, &world.story(rejected).await), ["no never_told"]);
    let loaded = world.ledger.delivery_load_all(vec![due]).await.unwrap().remove(0).expect("it is kept");
    assert!(!loaded.is_waiting, "what was cancelled is not sent");
    world.books_balance().await;

    owner(&world, id, Status::Approved).await;
    let story = world.story(id).await;
    assert_eq!(states(&story), [("cancelled", "conversion_rejected"), ("scheduled", "planned")]);
    let again = in_state(&story, "scheduled");
    assert_eq!((again.replay_of, story.rules[0].delivery), (Some(due.delivery), Some(again.id)));
    assert_eq!(counted(&world).await, [(Counted::Approved, 1, 10_000_000)]);
    world.books_balance().await;
    assert_at_rest(&world).await;
}

#[tokio::test]
async fn what_was_told_is_not_unsent_and_the_rejection_is_told_beside_it() {
    let mut world = World::new(&document()).await;
    let story = sale(&mut world, false).await;
    settle(&world, &story, Settled::Delivered).await;
    owner(&world, story.event.id, Status::Rejected).await;
    let story = world.story(story.event.id).await;
    assert_eq!(states(&story), [("delivered", "accepted_by_receiver")]);
    assert_eq!(story.changes[0].deliveries.len(), 2);
    owner(&world, story.event.id, Status::Approved).await;
    let story = world.story(story.event.id).await;
    assert_eq!(story.deliveries.len(), 1, "told already: only the change is told");
    world.books_balance().await;
    assert_at_rest(&world).await;
}

async fn settle(world: &World, story: &Story, next: Settled) {
    let delivery = story.deliveries.last().expect("a delivery");
    let item = Due {
        workspace: world.workspace,
        endpoint: delivery.endpoint,
        due: delivery.due.unwrap_or(minute(0)),
        delivery: delivery.id,
        sends: delivery.sends,
    };
    let attempt = AttemptRow {
        n: 1,
        at: minute(2),
        outcome: "http_200".into(),
        status: Some(200),
        total_us: 1,
        next: String::new(),
        body: "{}".into(),
    };
    let settlement = Settlement { item, attempt: Some(attempt), next };
    world.ledger.delivery_settle(vec![settlement], minute(40)).await.unwrap();
}

/// It was on the wire when it was cancelled: the books say what the receiver says.
#[tokio::test]
async fn what_arrives_although_it_was_cancelled_was_delivered() {
    let mut world = World::new(&document()).await;
    let waiting = sale(&mut world, false).await;
    owner(&world, waiting.event.id, Status::Rejected).await;
    settle(&world, &waiting, Settled::Delivered).await;
    let story = world.story(waiting.event.id).await;
    assert_eq!(states(&story), [("delivered", "sent_before_cancelled")]);
    world.books_balance().await;
    // Twice changes nothing, and a failure leaves it cancelled.
    settle(&world, &waiting, Settled::Delivered).await;
    world.books_balance().await;
    let other = sale(&mut world, false).await;
    owner(&world, other.event.id, Status::Rejected).await;
    settle(&world, &other, Settled::Again { due: minute(50), reason: "http_503".into() }).await;
    let other = world.story(other.event.id).await;
    assert_eq!(states(&other), [("cancelled", "conversion_rejected")]);
    assert_eq!((other.deliveries[0].sends, other.deliveries[0].attempts.len()), (1, 1));
    world.books_balance().await;
}

#[tokio::test]
async fn only_the_owner_approves_what_was_rejected_and_nobody_makes_it_pending_again() {
    let mut world = World::new(&document()).await;
    let id = sale(&mut world, true).await.event.id;
    let by = async |to, asker| change(&world, id, to, asker, minute(30)).await;
    assert!(matches!(
        by(Status::Rejected, Asker::Sender).await,
        StatusAnswer::Changed { from: Status::Pending, .. }
    ));
    assert_eq!(by(Status::Rejected, Asker::Sender).await, StatusAnswer::Same);
    assert_eq!(by(Status::Approved, Asker::Sender).await, StatusAnswer::Refused(Status::Rejected));
    assert_eq!(by(Status::Pending, Asker::Owner).await, StatusAnswer::Refused(Status::Rejected));
    assert!(matches!(
        by(Status::Approved, Asker::Owner).await,
        StatusAnswer::Changed { from: Status::Rejected, .. }
    ));
    world.decide().await;
    let story = world.story(id).await;
    let by: Vec<_> = story.changes.iter().map(|c| (c.change.from, c.change.to)).collect();
    assert_eq!(by, [(Status::Pending, Status::Rejected), (Status::Rejected, Status::Approved)]);
    // Decided once for all three: it is told as what it is, and so is what it was changed to last.
    assert_eq!(told(&world, &story), ["sale acme"]);
    assert_eq!(
        story.changes.iter().map(|c| c.deliveries.len()).collect::<Vec<_>>(),
        [0, 1],
        "only the last one"
    );
    world.books_balance().await;
}

#[tokio::test]
async fn a_later_birth_has_no_status_and_an_install_has() {
    let mut world =
        World::new(&with_rules(json!({"i": rule("install", None), "r": rule("rejected", None)}))).await;
    let click = world.click("game-acme", minute(0), "gaid=38400000-8cf0-11bd-b23e-10b96e40000a");
    let first = world.tell(world.event("game", "install", minute(1)).of("i1").click(&click)).await;
    let later = world.tell(world.event("game", "open", minute(2)).of("i1")).await;
    let refused = change(&world, later.event.id, Status::Rejected, Asker::Owner, minute(3)).await;
    assert_eq!(refused, StatusAnswer::NoConversion);
    settle(&world, &first, Settled::Delivered).await;
    let rejected = owner(&world, first.event.id, Status::Rejected).await;
    assert_eq!(told(&world, &world.story(rejected).await), ["r acme"]);
    assert_at_rest(&world).await;
}

#[tokio::test]
async fn a_change_waits_for_the_credit_of_what_it_changes() {
    let mut purchase = rule("purchase", None);
    purchase["app"] = "game".into();
    let mut world = World::new(&with_rules(json!({"p": purchase, "r": rule("status_change", None)}))).await;
    let click = world.click("game-acme", minute(0), "");
    // Rejected before it is decided, and before anybody knows whose it is.
    let id = world.record(world.event("game", "purchase", minute(5)).of("i1")).await;
    let StatusAnswer::Changed { change: own, .. } =
        change(&world, id, Status::Rejected, Asker::Owner, minute(6)).await
    else {
        panic!("it is changed")
    };
    world.decide().await;
    assert_eq!(suppressed(&world, &world.story(own).await), ["r install_unknown"]);
    world.tell(world.event("game", "install", minute(1)).of("i1").click(&click)).await;
    let (story, its) = (world.story(id).await, world.story(own).await);
    assert_eq!(suppressed(&world, &story), ["p rejected"]);
    assert_eq!((credit(&world, &its), told(&world, &its)), ("acme".into(), vec!["r acme".into()]));
    world.books_balance().await;
    assert_at_rest(&world).await;
}

fn delayed(on: &str, partner: Option<&str>, delay: &str) -> Value {
    let mut rule = rule(on, partner);
    rule["delay"] = delay.into();
    rule
}

#[tokio::test]
async fn a_delay_is_counted_from_the_decision_and_survives_a_restart() {
    let rules = json!({"i": delayed("install", None, "10m"), "now": rule("install", None)});
    let mut world = World::new(&with_rules(rules)).await;
    let click = world.click("game-acme", minute(0), "");
    let id = world.record(world.event("game", "install", minute(1)).of("i1").click(&click)).await;
    // Decided at noon, which is what the test's clock says.
    let planned = world.decide().await.planned;
    let mut due: Vec<_> = planned.iter().map(|d| d.due).collect();
    due.sort();
    assert_eq!(due, [minute(0), minute(10)]);
    world.reopen().await;
    let story = world.story(id).await;
    let held = story.deliveries.iter().find(|d| d.reason == "delayed").expect("it is held back");
    assert_eq!((held.state.as_str(), held.due), ("scheduled", Some(minute(10))));
    let heads = world.ledger.queue_endpoints().await.unwrap();
    assert_eq!(heads.iter().map(|h| h.due).max(), Some(minute(10)));
    world.books_balance().await;
}

/// An earlier installation turns out to own the click: what was not sent yet is taken back, what was stays.
#[tokio::test]
async fn what_is_held_back_is_cancelled_when_the_credit_moves() {
    let rules = json!({"held": delayed("install", None, "10m"), "sent": rule("install", None)});
    let mut world = World::new(&with_rules(rules)).await;
    let click = world.click("game-acme", minute(0), "");
    let late = world.tell(world.event("game", "install", minute(5)).of("i1").click(&click)).await;
    assert_eq!(told(&world, &late), ["held acme", "sent acme"]);
    let early = world.tell(world.event("game", "install", minute(3)).of("i2").click(&click)).await;
    let late = world.story(late.event.id).await;
    let by_rule: BTreeMap<String, &str> = late
        .deliveries
        .iter()
        .map(|d| (world.rule_slug(d.endpoint.postback().unwrap().0), d.reason.as_str()))
        .collect();
    assert_eq!(credit(&world, &late), "organic");
    assert_eq!(by_rule["held"], "decision_changed");
    assert_eq!(by_rule["sent"], "planned");
    // Nobody heard of the one that was cancelled, so the click's install is told by the one that won.
    assert_eq!(told(&world, &early), ["held acme"]);
    assert_eq!(suppressed(&world, &early), ["sent not_first"]);
    world.books_balance().await;
    assert_at_rest(&world).await;
}

#[tokio::test]
async fn a_first_one_that_was_cancelled_was_not_the_first() {
    let mut first = delayed("purchase", None, "1h");
    first["first_only"] = true.into();
    let mut world = World::new(&with_rules(json!({"f": first}))).await;
    let click = world.click("game-acme", minute(0), "");
    world.tell(world.event("game", "install", minute(1)).of("i1").click(&click)).await;
    let one = world.tell(world.event("game", "purchase", minute(2)).of("i1")).await;
    assert_eq!(told(&world, &one), ["f acme"]);
    owner(&world, one.event.id, Status::Rejected).await;
    let two = world.tell(world.event("game", "purchase", minute(3)).of("i1")).await;
    assert_eq!(told(&world, &two), ["f acme"]);
    // The first one counts again, but another was told as the first meanwhile.
    owner(&world, one.event.id, Status::Approved).await;
    assert_eq!(states(&world.story(one.event.id).await), [("cancelled", "conversion_rejected")]);
    world.books_balance().await;
    assert_at_rest(&world).await;
}

#[tokio::test]
async fn a_group_for_everything_tells_each_member_once() {
    let mut document = with_rules(json!({"all": rule("install", None), "won": rule("install", None)}));
    document["partner_groups"] = json!({"both": {"partners": ["acme", "zeta"]}});
    document["rules"]["all"]["group"] = "both".into();
    document["rules"]["all"]["scope"] = "all".into();
    document["rules"]["won"]["group"] = "both".into();
    let mut world = World::new(&document).await;
    let click = world.click("game-acme", minute(0), "");
    let story = world.tell(world.event("game", "install", minute(1)).of("i1").click(&click)).await;
    assert_eq!(told(&world, &story), ["all acme", "all zeta", "won acme"]);
    let organic = world.tell(world.event("game", "install", minute(1)).of("i2")).await;
    assert_eq!(told(&world, &organic), ["all acme", "all zeta"]);
    assert_eq!(suppressed(&world, &organic), ["won unattributed"]);
    world.books_balance().await;
    assert_at_rest(&world).await;
}

#[tokio::test]
async fn why_a_rule_did_not_fire_and_what_was_shared_is_kept() {
    let mut abroad = rule("purchase", None);
    abroad["when"] = json!({"country": ["DE", "AT"]});
    let mut part = rule("purchase", None);
    part["share_revenue"] = json!({"percent": 70});
    part["url"] = "https://p.example/?v={revenue}&x={event_value}".into();
    let mut late = rule("purchase", None);
    late["window"] = "1m".into();
    let mut world = World::new(&with_rules(json!({"abroad": abroad, "part": part, "late": late}))).await;
    let click = world.click("game-acme", minute(0), "");
    world.tell(world.event("game", "install", minute(1)).of("i1").click(&click)).await;
    let bought = world.event("game", "purchase", minute(5)).of("i1").revenue("12.50");
    let story = world.tell(bought.properties(r#"{"country":"FR","amount":12.5}"#)).await;
    let detail =
        |slug: &str| story.rules.iter().find(|r| world.rule_slug(r.rule) == slug).expect(slug).detail.clone();
    let unmet = Unmet { condition: "country".into(), wanted: "DE, AT".into(), seen: Some("FR".into()) };
    assert_eq!(detail("abroad"), Some(Detail::Condition(unmet)));
    let Some(Detail::Window { age_ms, .. }) = detail("late") else { panic!("how late it was") };
    assert_eq!(age_ms, 4 * 60_000);
    let Some(Detail::Shared { how, micros, of_micros, .. }) = detail("part") else {
        panic!("what was shared")
    };
    assert_eq!((how.as_str(), micros, of_micros), ("70 %", 8_750_000, 12_500_000));
    assert_eq!(suppressed(&world, &story), ["abroad condition", "late outside_window"]);
    world.books_balance().await;
}

/// What a delivery says as our click id.
async fn click_said(world: &World, story: &Story, state: &str) -> String {
    let delivery = in_state(story, state);
    let (endpoint, due) = (delivery.endpoint, minute(0));
    let item = Due { workspace: world.workspace, endpoint, due, delivery: delivery.id, sends: 0 };
    let loaded = world.ledger.delivery_load_all(vec![item]).await.unwrap().remove(0).expect("it is kept");
    let value = loaded.values.iter().find(|v| v.name.ends_with("click_id")).expect("a click id");
    String::from_utf8(value.decoded.clone()).unwrap()
}

/// The credit moves to another click of the same partner: what is held back says the one that won.
#[tokio::test]
async fn what_is_held_back_says_what_the_last_decision_says() {
    let mut held = delayed("purchase", None, "10m");
    held["first_only"] = true.into();
    let mut world = World::new(&with_rules(json!({"held": held}))).await;
    let one = world.click("game-acme", minute(0), "");
    let two = world.click("game-acme", minute(1), "");
    world.tell(world.event("game", "install", minute(5)).of("i1").click(&one)).await;
    let bought = world.tell(world.event("game", "purchase", minute(6)).of("i1")).await;
    assert_eq!(click_said(&world, &bought, "scheduled").await, one.id.to_string());
    // Another purchase was not the first, and stays that: the first is planned anew and not taken back.
    let second = world.tell(world.event("game", "purchase", minute(7)).of("i1")).await;
    world.tell(world.event("game", "install", minute(5)).of("i1").click(&two)).await;
    let bought = world.story(bought.event.id).await;
    assert_eq!(states(&bought), [("cancelled", "decision_changed"), ("scheduled", "delayed")]);
    assert_eq!(click_said(&world, &bought, "scheduled").await, two.id.to_string());
    assert_eq!(in_state(&bought, "scheduled").replay_of, Some(in_state(&bought, "cancelled").id));
    assert_eq!(suppressed(&world, &world.story(second.event.id).await), ["held not_first"]);
    world.books_balance().await;
    assert_at_rest(&world).await;
}

/// A pending sale that is held back says `pending`; approved, it says that.
#[tokio::test]
async fn what_is_held_back_says_the_status_that_holds() {
    let mut held = delayed("purchase", None, "10m");
    (held["app"], held["pending"]) = ("shop".into(), true.into());
    held["url"] = "https://p.example/?s={status}".into();
    let mut world = World::new(&with_rules(json!({"held": held}))).await;
    let story = sale(&mut world, true).await;
    owner(&world, story.event.id, Status::Approved).await;
    let story = world.story(story.event.id).await;
    assert_eq!(states(&story), [("cancelled", "decision_changed"), ("scheduled", "delayed")]);
    world.books_balance().await;
}

fn deliveries_of(story: &Story, change: usize) -> Vec<(&str, &str)> {
    story.changes[change].deliveries.iter().map(|d| (d.state.as_str(), d.reason.as_str())).collect()
}

#[tokio::test]
async fn a_change_that_waits_is_cancelled_when_the_next_one_is_recorded() {
    let mut document = document();
    document["rules"]["no"]["first_only"] = true.into();
    let mut world = World::new(&document).await;
    let story = sale(&mut world, false).await;
    settle(&world, &story, Settled::Delivered).await;
    let id = story.event.id;
    let first = owner(&world, id, Status::Rejected).await;
    assert_eq!(told(&world, &world.story(first).await), ["changed acme", "no acme"]);
    // One of them was tried and is to be sent again: it must not arrive after what is told now.
    let its = world.story(first).await;
    settle(&world, &its, Settled::Again { due: minute(50), reason: "http_503".into() }).await;

    // At once, before anything is decided.
    change(&world, id, Status::Approved, Asker::Owner, minute(31)).await;
    let waits = [("cancelled", "status_changed"); 2];
    assert_eq!(deliveries_of(&world.story(id).await, 0), waits);
    world.books_balance().await;
    world.decide().await;
    owner(&world, id, Status::Rejected).await;
    let story = world.story(id).await;
    assert_eq!(deliveries_of(&story, 0), waits);
    assert_eq!(deliveries_of(&story, 1), [("cancelled", "status_changed")]);
    assert_eq!(deliveries_of(&story, 2), [("scheduled", "planned"); 2], "told once, and as the first");
    world.books_balance().await;
    assert_at_rest(&world).await;
}

#[tokio::test]
async fn a_rejection_is_told_to_those_who_heard_of_the_conversion() {
    let mut world = World::new(&document()).await;
    // Nothing was sent when it was rejected, but it was under way: then the partner knows it, and is told.
    let story = sale(&mut world, false).await;
    let id = story.event.id;
    let rejected = owner(&world, id, Status::Rejected).await;
    assert_eq!(suppressed(&world, &world.story(rejected).await), ["no never_told"]);
    settle(&world, &story, Settled::Again { due: minute(50), reason: "timeout".into() }).await;
    world.decide().await;
    assert_eq!(told(&world, &world.story(rejected).await), ["changed acme", "no acme"]);
    world.books_balance().await;
    assert_at_rest(&world).await;
    // A pending one that was never told.
    let pending = sale(&mut world, true).await;
    let rejected = owner(&world, pending.event.id, Status::Rejected).await;
    assert_eq!(suppressed(&world, &world.story(rejected).await), ["no never_told"]);
    world.books_balance().await;
}

#[tokio::test]
async fn a_rejection_cancels_replays_and_what_is_rejected_is_not_replayed() {
    let mut world = World::new(&document()).await;
    let story = sale(&mut world, false).await;
    let (ws, id, delivery) = (world.workspace, story.event.id, story.deliveries[0].id);
    settle(&world, &story, Settled::Dead { reason: "http_404".into() }).await;
    let replay = world.ledger.delivery_replay(ws, delivery, minute(3)).await.unwrap();
    assert!(matches!(replay, Replay::Planned(_)), "{replay:?}");
    let rejected = owner(&world, id, Status::Rejected).await;
    let story = world.story(id).await;
    assert_eq!(states(&story), [("cancelled", "conversion_rejected"), ("dead", "http_404")]);
    for delivery in &story.deliveries {
        let refused = world.ledger.delivery_replay(ws, delivery.id, minute(31)).await.unwrap();
        assert_eq!(refused, Replay::Rejected);
    }
    // That it was rejected may be told again.
    let change = world.story(rejected).await;
    settle(&world, &change, Settled::Dead { reason: "http_404".into() }).await;
    let of_change = change.deliveries.last().expect("it is told").id;
    let replay = world.ledger.delivery_replay(ws, of_change, minute(32)).await.unwrap();
    assert!(matches!(replay, Replay::Planned(_)), "{replay:?}");
    // A replay of a change is outdated like the change itself.
    owner(&world, id, Status::Approved).await;
    let story = world.story(id).await;
    assert!(
        story.changes[0].deliveries.iter().all(|d| d.id == of_change || d.reason == "status_changed"),
        "{:?}",
        story.changes[0]
    );
    world.books_balance().await;
    assert_at_rest(&world).await;
}

#[tokio::test]
async fn what_the_owner_decided_no_sender_changes() {
    let mut world = World::new(&document()).await;
    let id = sale(&mut world, true).await.event.id;
    let by = async |to, asker| change(&world, id, to, asker, minute(30)).await;
    assert!(matches!(by(Status::Approved, Asker::Owner).await, StatusAnswer::Changed { .. }));
    assert_eq!(by(Status::Rejected, Asker::Sender).await, StatusAnswer::OwnerDecided(Status::Approved));
    assert_eq!(by(Status::Approved, Asker::Sender).await, StatusAnswer::Same);
    assert!(matches!(by(Status::Rejected, Asker::Owner).await, StatusAnswer::Changed { .. }));
}

/// Nobody can see it as anything but rejected: it is one transaction.
#[tokio::test]
async fn what_is_rejected_at_once_was_never_told() {
    let mut document = document();
    document["rules"]["sale"]["pending"] = true.into();
    let mut world = World::new(&document).await;
    let click = world.click("shop-acme", minute(0), "");
    let event = world.event("shop", "purchase", minute(1)).click(&click).postback(None, true);
    let new = NewEvent { event, idempotency: None };
    let jobs = || world.ledger.stats().jobs.load(std::sync::atomic::Ordering::Relaxed);
    let before = jobs();
    let recorded =
        world.ledger.event_record_rejected(new, "postback".into(), Some("fraud".into())).await.unwrap();
    let Recorded::Accepted(id) = recorded else { panic!("it is new: {recorded:?}") };
    assert_eq!(jobs() - before, 1);
    world.decide().await;
    let story = world.story(id).await;
    assert_eq!(suppressed(&world, &story), ["sale rejected"]);
    assert_eq!((story.revisions.len(), story.changes.len()), (1, 1));
    assert_eq!(story.changes[0].change.reason.as_deref(), Some("fraud"));
    let (_, status) = world.ledger.event_status(world.workspace, id).await.unwrap().expect("it is kept");
    assert_eq!(status, Status::Rejected);
    world.books_balance().await;
    assert_at_rest(&world).await;
}

/// One purchase: whether it is pending, and what becomes of it in turn (`true` approves, `false` rejects).
#[derive(Debug, Clone)]
struct Bought {
    pending: bool,
    changes: Vec<bool>,
}

#[derive(Debug, Clone)]
struct Case {
    bought: Vec<Bought>,
    orders: [u64; 3],
}

fn case() -> impl Strategy<Value = Case> {
    let bought = (any::<bool>(), prop::collection::vec(any::<bool>(), 0..4))
        .prop_map(|(pending, changes)| Bought { pending, changes });
    (prop::collection::vec(bought, 1..4), any::<[u64; 3]>())
        .prop_map(|(bought, orders)| Case { bought, orders })
}

/// Something that happens; what is about one purchase happens in its order.
#[derive(Clone)]
enum Step {
    Record(Box<Event>),
    Change(Id<kind::Event>, Status),
}

/// What holds in any order: credit and status of each event, and who was told what, cancelled deliveries aside.
type Outcome = (BTreeMap<String, (String, Status)>, BTreeSet<(String, String, String)>);

async fn run(case: &Case, order: Option<u64>) -> Outcome {
    let with = |on: &str, app: &str| {
        let mut rule = rule(on, None);
        rule["app"] = app.into();
        rule
    };
    let mut held = with("purchase", "game");
    held["delay"] = "1h".into();
    let mut early = with("purchase", "game");
    early["pending"] = true.into();
    let rules = json!({
        "sale": with("purchase", "game"), "held": held, "early": early,
        "no": with("rejected", "game"), "changed": with("status_change", "game"),
    });
    let mut world = World::new(&with_rules(rules)).await;
    let click = world.click("game-acme", minute(0), "");
    let install = world.event("game", "install", minute(1)).of("i1").click(&click);
    let mut queues: Vec<Vec<Step>> = vec![vec![Step::Record(Box::new(install))]];
    let mut ids = Vec::new();
    for (n, bought) in case.bought.iter().enumerate() {
        let mut event = world.event("game", "purchase", minute(2 + n as i64)).of("i1").revenue("1");
        event.source_event_id = Some(format!("e{n}"));
        // An event of the app that its sender marks pending, as a postback does.
        event.postback =
            Some(roundtrip_domain::event::PostbackFields { pending: bought.pending, ..Default::default() });
        ids.push(event.id);
        let to = |approve: &bool| if *approve { Status::Approved } else { Status::Rejected };
        let changes = bought.changes.iter().map(|approve| Step::Change(event.id, to(approve)));
        queues.push(std::iter::once(Step::Record(Box::new(event.clone()))).chain(changes).collect());
    }
    let dice = Entropy::seeded(order.unwrap_or_default());
    while !queues.is_empty() {
        let at = order.map_or(0, |_| dice.u32() as usize % queues.len());
        match queues[at].remove(0) {
            Step::Record(event) => {
                let new = NewEvent { event: *event, idempotency: None };
                assert!(world.ledger.event_record(vec![new]).await.remove(0).is_ok());
            }
            Step::Change(event, to) => drop(change(&world, event, to, Asker::Owner, minute(30)).await),
        }
        queues.retain(|queue| !queue.is_empty());
        match order.map_or(9, |_| dice.u32() % 4) {
            0 => {}
            1 => drop(world.decide_step(1).await),
            _ => drop(world.decide().await),
        }
    }
    world.decide().await;
    world.books_balance().await;
    assert_at_rest(&world).await;
    let (mut decisions, mut told) = (BTreeMap::new(), BTreeSet::new());
    for id in ids {
        let story = world.story(id).await;
        let fact = story.event.source_event_id.clone().expect("a key");
        let last = story.revisions.last().expect("a decision");
        assert!(matches!(last.status, Status::Rejected) == suppressed_or_cancelled(&story), "{fact}");
        decisions.insert(fact.clone(), (credit(&world, &story), last.status));
        let mut hear = |fact: String, deliveries: &[DeliveryStory]| {
            for delivery in deliveries.iter().filter(|d| d.state != "cancelled") {
                let (rule, partner) = delivery.endpoint.postback().unwrap();
                let (rule, partner) = (world.rule_slug(rule), world.partner_slug(partner));
                assert!(told.insert((rule.clone(), partner, fact.clone())), "{rule} told {fact} twice");
            }
        };
        hear(fact.clone(), &story.deliveries);
        for (n, own) in story.changes.iter().enumerate() {
            hear(format!("{fact} change {n}"), &own.deliveries);
        }
    }
    world.ledger.close().await;
    (decisions, told)
}

/// Whether nothing of the conversion itself is told, or will be.
fn suppressed_or_cancelled(story: &Story) -> bool {
    story.deliveries.iter().all(|d| d.state == "cancelled")
}

fn cases() -> ProptestConfig {
    let config =
        ProptestConfig { max_shrink_iters: 500, failure_persistence: None, ..ProptestConfig::default() };
    if std::env::var_os("PROPTEST_CASES").is_some() { config } else { ProptestConfig { cases: 24, ..config } }
}

proptest! {
    #![proptest_config(cases())]

    /// In whatever order conversions, their installation and their changes are recorded and decided.
    #[test]
    fn the_order_of_deciding_changes_does_not_matter(case in case()) {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let first = runtime.block_on(run(&case, None));
        for order in case.orders {
            prop_assert_eq!(&runtime.block_on(run(&case, Some(order))), &first);
        }
    }
}
