//! What is told once, what is told first, and the counts kept beside it.

use roundtrip_domain::time::Timestamp;
use roundtrip_store::ledger::{ConversionFilter, Metric, Status};
use roundtrip_testkit::{Tell, World, sample};
use serde_json::json;

use super::{assert_at_rest, credit, minute, rule, suppressed, told, with_rules};

#[tokio::test]
async fn a_rule_for_the_first_tells_one_of_a_subject() {
    let mut first = rule("purchase", None);
    first["first_only"] = true.into();
    let mut shop = first.clone();
    shop["app"] = "shop".into();
    let mut world = World::new(&with_rules(json!({"f": first, "s": shop}))).await;
    let click = world.click("game-acme", minute(0), "");
    world.tell(world.event("game", "install", minute(1)).of("i1").click(&click).customer("u1")).await;
    let one = world.tell(world.event("game", "purchase", minute(2)).of("i1").revenue("1")).await;
    let two = world.tell(world.event("game", "purchase", minute(3)).customer("u1").revenue("1")).await;
    assert_eq!(
        (told(&world, &one), suppressed(&world, &two)),
        (vec!["f acme".into()], vec!["f not_first".into()])
    );
    // On the web the subject is the customer, else the click.
    let web = world.click("shop-zeta", minute(0), "");
    let order = |n: i64| world.event("shop", "purchase", minute(n)).click(&web).postback(None, false);
    assert_eq!(told(&world, &world.tell(order(1)).await), ["s zeta"]);
    assert_eq!(suppressed(&world, &world.tell(order(2)).await), ["s not_first"]);
    assert_eq!(told(&world, &world.tell(order(3).customer("u1")).await), ["s zeta"]);
    assert_eq!(suppressed(&world, &world.tell(order(4).customer("u1")).await), ["s not_first"]);
    world.books_balance().await;
    assert_at_rest(&world).await;
}

/// Told while the installation was unknown, two purchases of one installation would both have been "the first".
#[tokio::test]
async fn what_waits_for_its_installation_is_not_told_as_the_first() {
    let mut first = rule("purchase", Some("zeta"));
    first["first_only"] = true.into();
    first["scope"] = "all".into();
    let world = World::new(&with_rules(json!({"f": first}))).await;
    let one = world.tell(world.event("game", "purchase", minute(2)).of("i1")).await.event.id;
    let two = world.tell(world.event("game", "purchase", minute(3)).of("i1")).await.event.id;
    world.tell(world.event("game", "install", minute(1)).of("i1")).await;
    let (one, two) = (world.story(one).await, world.story(two).await);
    assert_eq!([told(&world, &one), told(&world, &two)].concat(), ["f zeta"]);
    assert_at_rest(&world).await;
}

/// The credit stays organic, the window does not: it begins with the birth, which turns out to be another one.
#[tokio::test]
async fn rules_are_judged_again_when_the_installation_moves() {
    let mut all = rule("purchase", Some("zeta"));
    all["scope"] = "all".into();
    all["window"] = "1h".into();
    let world = World::new(&with_rules(json!({"q": all}))).await;
    world.tell(world.event("game", "install", minute(0)).of("i1").customer("u1")).await;
    let bought = world.tell(world.event("game", "purchase", minute(200)).customer("u1")).await;
    assert_eq!(suppressed(&world, &bought), ["q outside_window"]);
    world.tell(world.event("game", "install", minute(190)).of("i2").customer("u1")).await;
    let bought = world.story(bought.event.id).await;
    assert_eq!((bought.revisions.len(), told(&world, &bought)), (2, vec!["q zeta".into()]));
    world.books_balance().await;
    assert_at_rest(&world).await;
}

#[tokio::test]
async fn sandbox_events_are_told_where_asked_and_counted_nowhere() {
    let mut asks = rule("install", None);
    asks["sandbox"] = true.into();
    let mut world = World::new(&with_rules(json!({"a": asks, "b": rule("install", None)}))).await;
    let click = world.click("game-acme", minute(0), "");
    let story = world.tell(world.event("game", "install", minute(1)).of("i1").click(&click).sandbox()).await;
    assert_eq!(
        (told(&world, &story), suppressed(&world, &story)),
        (vec!["a acme".into()], vec!["b sandbox".into()])
    );
    let far = Timestamp::from_ms(i64::MAX / 2);
    assert_eq!(world.ledger.report(world.workspace, minute(-99_999), far).await.unwrap(), []);
    assert!(world.ledger.balance(world.workspace, minute(-99_999), far).await.unwrap().is_empty());
    world.books_balance().await;
}

#[tokio::test]
async fn conversions_are_counted_for_whoever_has_the_credit_now() {
    let mut world = World::new(&sample()).await;
    let click = world.click("game-acme", minute(0), "");
    world.tell(world.event("game", "purchase", minute(3)).of("i1").revenue("2.50")).await;
    world.tell(world.event("game", "install", minute(1)).of("i1").click(&click)).await;
    let report = world.ledger.report(world.workspace, minute(-60), minute(60)).await.unwrap();
    let mut counts: Vec<(String, Option<String>, i64, i64)> = report
        .into_iter()
        .filter(|r| r.metric == Metric::Conversion && (r.count, r.micros) != (0, 0))
        .map(|r| (r.kind, r.partner.map(|p| world.partner_slug(p)), r.count, r.micros))
        .collect();
    counts.sort();
    let acme = Some("acme".to_owned());
    assert_eq!(counts, [("install".into(), acme.clone(), 1, 0), ("purchase".into(), acme, 1, 2_500_000)]);
    let all = ConversionFilter::default;
    let latest = world.ledger.conversion_list(world.workspace, all(), None, 10).await.unwrap();
    assert_eq!(
        latest.iter().map(|c| (c.row.kind.as_str(), c.row.revision)).collect::<Vec<_>>(),
        [("purchase", 2), ("install", 1)]
    );
    let older =
        world.ledger.conversion_list(world.workspace, all(), Some(latest[0].row.id), 10).await.unwrap();
    assert_eq!(older.len(), 1);
    let events = world.ledger.events_of_click(world.workspace, click.id).await.unwrap();
    assert_eq!(events.len(), 2);
}

#[tokio::test]
async fn pending_and_unverified_money_is_counted_apart() {
    let mut world = World::new(&sample()).await;
    let click = world.click("shop-acme", minute(0), "");
    let order =
        |n: i64, revenue: &str| world.event("shop", "purchase", minute(n)).click(&click).revenue(revenue);
    world.tell(order(1, "10").postback(None, false)).await;
    world.tell(order(2, "20").postback(None, true)).await;
    let mut claimed = order(3, "30");
    claimed.revenue.as_mut().unwrap().verified = false;
    world.tell(claimed).await;
    let report = world.ledger.report(world.workspace, minute(-60), minute(60)).await.unwrap();
    let mut counts: Vec<(Status, i64, i64)> = report
        .iter()
        .filter(|r| r.metric == Metric::Conversion)
        .map(|r| (r.status, r.count, r.micros))
        .collect();
    counts.sort();
    let want = [
        (Status::Approved, 1, 10_000_000),
        (Status::Pending, 1, 20_000_000),
        (Status::Unverified, 1, 30_000_000),
    ];
    assert_eq!(counts, want);
}

/// Nothing sent is unsent, and nothing is told twice: so the decision says that the winner was told too early.
#[tokio::test]
async fn a_rule_that_told_the_winner_before_it_won_says_so() {
    let mut all = rule("install", Some("acme"));
    all["scope"] = "all".into();
    let mut world = World::new(&with_rules(json!({"q": all, "i": rule("install", None)}))).await;
    let click = world.click("game-acme", minute(0), "");
    let open = world.tell(world.event("game", "open", minute(5)).of("i1")).await;
    assert_eq!((credit(&world, &open), told(&world, &open)), ("organic".into(), vec!["q acme".into()]));
    world.tell(world.event("game", "install", minute(6)).of("i1").referrer(&click)).await;
    let story = world.story(open.event.id).await;
    assert_eq!(
        (credit(&world, &story), told(&world, &story)),
        ("acme".into(), vec!["i acme".into(), "q acme".into()])
    );
    let notes: Vec<bool> =
        story.revisions.iter().map(|r| r.because.notes.contains(&"told_before_winning")).collect();
    assert_eq!(notes, [false, true]);
    world.books_balance().await;
    assert_at_rest(&world).await;
    // Who wins from the beginning is told then, and there is nothing to say.
    let other = world.click("game-acme", minute(10), "");
    let clean = world.tell(world.event("game", "install", minute(11)).of("i2").referrer(&other)).await;
    assert!(clean.revisions[0].because.notes.is_empty());
}
