//! Installations: how events find theirs, in whatever order they come, and which click each one earns.

use roundtrip_domain::event::ConversionKind;
use roundtrip_testkit::{Tell, World, sample};
use serde_json::json;

use super::{assert_at_rest, credit, minute, raw, rule, suppressed, told, with_rules};

const GAID: &str = "38400000-8cf0-11bd-b23e-10b96e40000d";
const DAY: i64 = 24 * 60;

#[tokio::test]
async fn a_clicks_install_and_what_follows_it_for_life() {
    let rules =
        json!({"i": rule("install", Some("acme")), "s": rule("signup", None), "p": rule("purchase", None)});
    let mut world = World::new(&with_rules(rules)).await;
    let click = world.click("game-acme", minute(0), "click_id=a1");
    let install =
        world.tell(world.event("game", "install", minute(5)).of("i1").referrer(&click).gaid(GAID)).await;
    assert_eq!((credit(&world, &install), told(&world, &install)), ("acme".into(), vec!["i acme".into()]));
    world.books_balance().await;
    let signup = world.tell(world.event("game", "registered", minute(9)).of("i1").customer("u1")).await;
    assert_eq!(signup.revisions[0].kind, Some(ConversionKind::Signup), "by the app's own names");
    assert_eq!(told(&world, &signup), ["s acme"]);
    // Known by its person alone, years later: credited for life, told only inside the rule's window.
    let bought =
        world.tell(world.event("game", "purchase", minute(900 * DAY)).customer("u1").revenue("3")).await;
    assert_eq!(credit(&world, &bought), "acme");
    assert_eq!(bought.revisions[0].because.notes, ["tie_customer_id"]);
    assert_eq!(suppressed(&world, &bought), ["p outside_window"]);
    let device = world.tell(world.event("game", "purchase", minute(20 * DAY)).gaid(GAID).revenue("3")).await;
    assert_eq!(device.revisions[0].because.notes, ["tie_device_id"]);
    assert_eq!(told(&world, &device), ["p acme"]);
    world.books_balance().await;
    assert_at_rest(&world).await;
}

#[tokio::test]
async fn an_event_before_its_install_waits_and_is_told_when_that_comes() {
    let mut all = rule("purchase", Some("zeta"));
    all["scope"] = "all".into();
    let mut world = World::new(&with_rules(json!({"p": rule("purchase", None), "q": all}))).await;
    let click = world.click("game-acme", minute(0), "");
    let bought = world.tell(world.event("game", "purchase", minute(10)).of("i1").revenue("3")).await;
    assert_eq!(credit(&world, &bought), "install_unknown");
    assert_eq!(suppressed(&world, &bought), ["p install_unknown", "q install_unknown"]);
    world.books_balance().await;
    world.tell(world.event("game", "install", minute(11)).of("i1").claims(minute(5)).click(&click)).await;
    let bought = world.story(bought.event.id).await;
    assert_eq!(bought.revisions.iter().map(|r| r.revision).collect::<Vec<_>>(), [1, 2]);
    assert_eq!(
        (credit(&world, &bought), told(&world, &bought)),
        ("acme".into(), vec!["p acme".into(), "q zeta".into()])
    );
    world.books_balance().await;
    assert_at_rest(&world).await;
}

/// The signup names person and installation, the purchase only the person, the install only the installation:
/// the install's arrival must wake the purchase, which it shares no key with.
#[tokio::test]
async fn an_install_wakes_those_who_know_it_only_by_a_person() {
    let mut world = World::new(&sample()).await;
    let click = world.click("game-acme", minute(0), "");
    let bought = world.tell(world.event("game", "purchase", minute(10)).customer("u1")).await;
    world.tell(world.event("game", "signup", minute(9)).of("i1").customer("u1")).await;
    assert_eq!(credit(&world, &bought), "install_unknown");
    world.tell(world.event("game", "install", minute(5)).of("i1").click(&click)).await;
    assert_eq!(credit(&world, &world.story(bought.event.id).await), "acme");
    assert_at_rest(&world).await;
}

#[tokio::test]
async fn of_a_persons_installations_the_latest_one_before_the_event_counts() {
    let mut world = World::new(&sample()).await;
    let (acme, zeta) = (world.click("game-acme", minute(0), ""), world.click("game-zeta", minute(50), ""));
    world.tell(world.event("game", "install", minute(1)).of("i1").click(&acme).customer("u1")).await;
    let (early, late) =
        (world.event("game", "purchase", minute(40)), world.event("game", "purchase", minute(70)));
    let early = world.tell(early.customer("u1")).await.event.id;
    let late = world.tell(late.customer("u1")).await.event.id;
    assert_eq!(credit(&world, &world.story(late).await), "acme");
    world.tell(world.event("game", "install", minute(60)).of("i2").click(&zeta).customer("u1")).await;
    assert_eq!(credit(&world, &world.story(early).await), "acme");
    assert_eq!(credit(&world, &world.story(late).await), "zeta");
    // Before all of them: the earliest.
    let before = world.tell(world.event("game", "signup", minute(-5)).customer("u1")).await;
    assert_eq!(credit(&world, &before), "acme");
    assert_at_rest(&world).await;
}

#[tokio::test]
async fn a_second_birth_is_kept_as_an_event_and_its_better_evidence_revises_the_first() {
    let mut world =
        World::new(&with_rules(json!({"i": rule("install", None), "p": rule("purchase", None)}))).await;
    let click = world.click("game-acme", minute(0), "");
    let open = world.tell(world.event("game", "open", minute(5)).of("i1")).await;
    let bought = world.tell(world.event("game", "purchase", minute(6)).of("i1").revenue("2")).await;
    assert_eq!((credit(&world, &open), credit(&world, &bought)), ("organic".into(), "organic".into()));
    let again = world.tell(world.event("game", "install", minute(7)).of("i1").referrer(&click)).await;
    assert_eq!(again.revisions.last().unwrap().kind, None);
    assert_eq!(again.revisions.last().unwrap().because.notes, ["tie_install_id", "repeat_install"]);
    assert!(again.rules.is_empty());
    for (event, want) in [(&open, "i acme"), (&bought, "p acme")] {
        let story = world.story(event.event.id).await;
        assert_eq!((credit(&world, &story), told(&world, &story)), ("acme".into(), vec![want.to_owned()]));
    }
    assert_eq!(credit(&world, &world.story(again.event.id).await), "acme");
    world.books_balance().await;
    assert_at_rest(&world).await;
}

#[tokio::test]
async fn opening_the_app_every_day_decides_nothing_anew() {
    let mut world = World::new(&sample()).await;
    let click = world.click("game-acme", minute(0), "");
    let install = world
        .tell(world.event("game", "install", minute(1)).of("i1").click(&click).gaid(GAID).customer("u"))
        .await;
    world.record(world.event("game", "purchase", minute(2)).customer("u")).await;
    world.decide().await;
    world.record(world.event("game", "open", minute(DAY)).of("i1").gaid(GAID).customer("u")).await;
    let done = world.decide().await;
    assert_eq!((done.decided, done.unchanged), (1, 0), "the open alone");
    assert_eq!(world.story(install.event.id).await.revisions.len(), 1);
}

/// A click is let go after its retention, the credit it earned is not: here a late second birth has the install
/// decided once more when the log has forgotten everything.
#[tokio::test]
async fn credit_outlives_the_click() {
    let mut world = World::new(&with_rules(json!({"p": rule("purchase", None)}))).await;
    let click = world.click("game-acme", minute(0), &format!("gaid={GAID}"));
    let other = world.click("game-zeta", minute(-1), &format!("gaid={GAID}"));
    let install =
        world.tell(world.event("game", "install", minute(5)).of("i1").referrer(&click).gaid(GAID)).await;
    world.clicks.expire();
    world.tell(world.event("game", "open", minute(200 * DAY)).of("i1").referrer(&click)).await;
    let story = world.story(install.event.id).await;
    assert_eq!((story.revisions.len(), credit(&world, &story)), (1, "acme".into()));
    assert_at_rest(&world).await;
    assert_eq!(world.story(install.event.id).await.revisions[0].because.candidates[1].touch, other);
}

#[tokio::test]
async fn one_click_earns_one_install_and_the_earlier_one_has_it_in_any_order() {
    for first in [0, 1] {
        let mut world = World::new(&with_rules(json!({"i": rule("install", None)}))).await;
        let click = world.click("game-acme", minute(0), "");
        let installs =
            [5, 9].map(|at| world.event("game", "install", minute(at)).of(&format!("i{at}")).click(&click));
        let [early, late] = [installs[0].id, installs[1].id];
        let mut order = installs.to_vec();
        order.rotate_left(first);
        for event in order {
            world.tell(event).await;
            world.books_balance().await;
        }
        let (early, late) = (world.story(early).await, world.story(late).await);
        assert_eq!((credit(&world, &early), credit(&world, &late)), ("acme".into(), "organic".into()));
        let told_of = [told(&world, &early), told(&world, &late)];
        assert_eq!(told_of.concat(), ["i acme"], "one postback per rule and click");
        if first == 1 {
            assert_eq!(suppressed(&world, &early), ["i not_first"], "nothing sent is unsent");
        }
        assert_at_rest(&world).await;
    }
}

/// The loser takes its next best click, and takes the better one back when the holder finds its own better one.
#[tokio::test]
async fn a_chain_of_claims_settles() {
    let mut world = World::new(&sample()).await;
    let shared = world.click("game-acme", minute(0), &format!("gaid={GAID}"));
    let spare = world.click("game-zeta", minute(-10), "");
    let first = world.tell(world.event("game", "open", minute(5)).of("i1").gaid(GAID)).await.event.id;
    let second = world.event("game", "install", minute(9)).of("i2").referrer(&shared);
    let second = world.tell(second).await.event.id;
    assert_eq!(credit(&world, &world.story(first).await), "acme");
    assert_eq!(credit(&world, &world.story(second).await), "organic");
    world.tell(world.event("game", "install", minute(10)).of("i1").referrer(&spare)).await;
    assert_eq!(credit(&world, &world.story(first).await), "zeta", "a click id beats a device id");
    assert_eq!(credit(&world, &world.story(second).await), "acme", "what was let go is taken up");
    assert_at_rest(&world).await;
}

/// An installation that turns out to be earlier than was known takes precedence, and who held its click must hear.
#[tokio::test]
async fn precedence_follows_the_earliest_birth() {
    let mut world = World::new(&sample()).await;
    let click = world.click("game-acme", minute(0), "");
    let a = world.tell(world.event("game", "install", minute(5)).of("a").click(&click)).await.event.id;
    let b = world.tell(world.event("game", "install", minute(9)).of("b").click(&click)).await.event.id;
    assert_eq!(credit(&world, &world.story(b).await), "organic");
    // An open of b that was waiting in the app's queue.
    world.tell(world.event("game", "open", minute(20)).of("b").claims(minute(2))).await;
    assert_eq!(credit(&world, &world.story(a).await), "organic");
    assert_eq!(credit(&world, &world.story(b).await), "acme");
    assert_at_rest(&world).await;
}

#[tokio::test]
async fn workspaces_and_apps_are_apart() {
    let mut world = World::new(&with_rules(json!({"i": rule("install", None)}))).await;
    let click = world.click("game-acme", minute(0), "click_id=secret");
    let mut other = world.workspace("other", &with_rules(json!({"i": rule("install", None)}))).await;
    let mine =
        world.tell(world.event("game", "install", minute(1)).of("i1").customer("u1").click(&click)).await;
    assert_eq!(credit(&world, &mine), "acme");
    // The same installation, person and click id over there.
    let theirs =
        other.tell(other.event("game", "install", minute(2)).of("i1").customer("u1").click(&click)).await;
    assert_eq!(credit(&other, &theirs), "organic");
    let candidate = &theirs.revisions[0].because.candidates[0];
    assert_eq!(candidate.verdict.code(), "other_workspace");
    assert!(candidate.touch.click.query.is_empty(), "what stands behind it is not shown");
    assert_eq!(suppressed(&other, &theirs), ["i unattributed"]);
    let body: String = raw(&world)
        .query_row("SELECT group_concat(body) FROM decision WHERE workspace = ?1", [other.workspace.0], |r| {
            r.get(0)
        })
        .unwrap();
    assert!(!body.contains("secret") && !body.contains("203.0.113.9"));
    let whose = &click.click;
    let ids = [
        whose.partner.to_string(),
        whose.campaign.to_string(),
        whose.link.to_string(),
        whose.app.to_string(),
    ];
    assert!(ids.iter().all(|id| !body.contains(id)), "nor whose it is: {body}");
    assert!(!body.contains(&whose.received_at.ms().to_string()), "nor when it was: {body}");
    assert_eq!(world.ledger.story(other.workspace, mine.event.id).await.unwrap().map(|s| s.event.id), None);
    // Another app of the same workspace neither knows the installation nor gets the click.
    let tool = world.tell(world.event("tool", "purchase", minute(3)).of("i1")).await;
    assert_eq!(credit(&world, &tool), "install_unknown");
    let tool = world.tell(world.event("tool", "install", minute(3)).of("i1").click(&click)).await;
    assert_eq!(tool.revisions[0].because.candidates[0].verdict.code(), "other_app");
    let own = other.click("game-acme", minute(0), "");
    let again = other.tell(other.event("game", "install", minute(4)).of("i2").click(&own)).await;
    assert_eq!(credit(&other, &again), "acme");
    world.books_balance().await;
    other.books_balance().await;
}

#[tokio::test]
async fn what_names_a_click_and_no_installation_stands_on_that_click() {
    let mut world = World::new(&with_rules(json!({"p": rule("purchase", None)}))).await;
    let click = world.click("game-zeta", minute(0), "");
    for n in 1..3 {
        let order = world
            .tell(world.event("game", "purchase", minute(n)).click(&click).customer("u1").revenue("5"))
            .await;
        assert_eq!(told(&world, &order), ["p zeta"], "a click earns any number of orders");
    }
    let web = world.click("shop-acme", minute(0), "");
    let order = world
        .tell(world.event("shop", "conversion", minute(3)).click(&web).postback(Some("purchase"), false))
        .await;
    assert_eq!(order.revisions[0].kind, Some(ConversionKind::Purchase), "by its goal");
    assert_eq!(order.revisions[0].credit.winner().unwrap().match_type.name(), "postback");
    world.books_balance().await;
}

#[tokio::test]
async fn a_change_of_settings_takes_no_credit_back() {
    let document = with_rules(json!({"i": rule("install", None)}));
    let mut world = World::new(&document).await;
    let click = world.click("game-acme", minute(0), "");
    let install = world.tell(world.event("game", "install", minute(5)).of("i1").referrer(&click)).await;
    let bought = world.tell(world.event("game", "purchase", minute(6)).of("i1")).await;
    let mut narrow = document.clone();
    narrow["apps"]["game"]["click_window"] = "1s".into();
    world.apply(&narrow, false).await;
    // SDKs send the referrer again with every start: known, so that nothing is decided anew.
    world.record(world.event("game", "open", minute(7)).of("i1").referrer(&click)).await;
    let done = world.decide().await;
    assert_eq!((done.decided, done.unchanged), (1, 0), "the open alone");
    // A device id that is new has the install decided again, under the settings of now.
    world.record(world.event("game", "open", minute(8)).of("i1").referrer(&click).gaid(GAID)).await;
    let done = world.decide().await;
    assert_eq!((done.decided, done.unchanged), (1, 1), "the open, and the install looked at again");
    // The same when the link goes, and with it a window of its own.
    narrow["links"].as_object_mut().unwrap().remove("game-acme");
    world.apply(&narrow, true).await;
    assert_at_rest(&world).await;
    for event in [&install, &bought] {
        let story = world.story(event.event.id).await;
        assert_eq!((story.revisions.len(), credit(&world, &story)), (1, "acme".into()));
    }
    // What comes new is judged by the settings of now.
    let other = world.click("game-zeta", minute(10), "");
    let late = world.tell(world.event("game", "install", minute(12)).of("i2").referrer(&other)).await;
    assert_eq!(credit(&world, &late), "organic");
    world.books_balance().await;
}

#[tokio::test]
async fn an_open_with_the_stores_referrer_on_a_slow_phone_is_attributed() {
    let mut world = World::new(&sample()).await;
    let click = world.click("game-acme", minute(0), "");
    let open = world.event("game", "open", minute(5)).of("i1").claims(minute(-60)).referrer(&click);
    let open = world.tell(open).await;
    assert_eq!(
        (credit(&world, &open), open.revisions[0].kind.clone()),
        ("acme".into(), Some(ConversionKind::Install))
    );
    assert_eq!(open.revisions[0].because.notes, ["clock_skew"]);
}

#[tokio::test]
async fn sandbox_events_take_nothing_from_production() {
    let mut asks = rule("install", None);
    asks["sandbox"] = true.into();
    let mut first = rule("purchase", None);
    first["sandbox"] = true.into();
    first["first_only"] = true.into();
    first["app"] = "shop".into();
    let mut world = World::new(&with_rules(json!({"a": asks, "f": first}))).await;
    let (click, web) = (world.click("game-acme", minute(0), ""), world.click("shop-acme", minute(0), ""));
    let install = |n: i64, of: &str| world.event("game", "install", minute(n)).of(of);
    // The same installation: production's is born by its own event.
    world.tell(install(1, "i6").customer("u1").sandbox()).await;
    let bought = world.tell(world.event("game", "purchase", minute(2)).customer("u1")).await;
    assert_eq!(credit(&world, &bought), "install_unknown", "nor is a person known by it");
    let real = world.tell(install(3, "i6").gaid(GAID)).await;
    assert_eq!(real.revisions[0].kind, Some(ConversionKind::Install));
    // The same click: production's earns it all the same, and its partner is told.
    let played = world.tell(install(4, "i7").click(&click).sandbox()).await;
    let real = world.tell(install(5, "i8").click(&click)).await;
    for story in [&played, &real] {
        assert_eq!((credit(&world, story), told(&world, story)), ("acme".into(), vec!["a acme".into()]));
    }
    // Inside the sandbox the rules are the same.
    let again = world.tell(install(6, "i9").click(&click).sandbox()).await;
    assert_eq!(credit(&world, &again), "organic");
    // "First" is counted apart as well.
    let order = |n: i64| world.event("shop", "purchase", minute(n)).click(&web).customer("u2");
    assert_eq!(told(&world, &world.tell(order(7).sandbox()).await), ["f acme"]);
    assert_eq!(told(&world, &world.tell(order(8)).await), ["f acme"]);
    world.books_balance().await;
    assert_at_rest(&world).await;
}

#[tokio::test]
async fn one_click_earns_one_install_through_whichever_door() {
    for born_first in [true, false] {
        let mut world = World::new(&with_rules(json!({"i": rule("install", None)}))).await;
        let click = world.click("game-acme", minute(0), "");
        let report = |n: i64| {
            let event = world.event("game", "conversion", minute(n)).click(&click);
            event.postback(Some("install"), false)
        };
        let (one, two) = (report(1), report(2));
        let born = world.event("game", "install", minute(5)).of("i1").click(&click);
        let ids = [one.id, two.id, born.id];
        let mut order = vec![one, two, born];
        order.rotate_left(if born_first { 2 } else { 0 });
        for event in order {
            world.tell(event).await;
            world.books_balance().await;
        }
        let mut credits = Vec::new();
        let mut sent = Vec::new();
        for id in ids {
            let story = world.story(id).await;
            assert_eq!(story.revisions[0].kind, Some(ConversionKind::Install));
            credits.push(credit(&world, &story));
            sent.extend(told(&world, &story));
        }
        // What follows an installation hangs on its credit, so what the app itself saw goes first.
        assert_eq!(credits, ["organic", "organic", "acme"], "born first: {born_first}");
        assert_eq!(sent, ["i acme"]);
        assert_at_rest(&world).await;
    }
    let mut world = World::new(&sample()).await;
    let click = world.click("shop-acme", minute(0), "");
    let report =
        |n| world.event("shop", "conversion", minute(n)).click(&click).postback(Some("install"), false);
    let (late, early) = (report(9), report(8));
    let (late, early) = (world.tell(late).await.event.id, world.tell(early).await.event.id);
    assert_eq!(credit(&world, &world.story(early).await), "acme", "else the earlier one");
    let late = world.story(late).await;
    assert_eq!(late.revisions.last().unwrap().because.candidates[0].verdict.code(), "already_earned");
    assert_at_rest(&world).await;
}

/// One request brings both; their ids share a millisecond. The same one makes the conversion, whichever is decided
/// first, and a partner is told what the other knew of the device.
#[tokio::test]
async fn of_births_known_together_the_install_makes_the_conversion() {
    for turn in 0..2 {
        let mut told_device = rule("install", None);
        told_device["url"] = "https://p.example/?g={gaid}&t={gp_click_time}".into();
        let mut world = World::new(&with_rules(json!({"i": told_device}))).await;
        let click = world.click("game-acme", minute(0), "");
        let mut events = vec![
            world.event("game", "open", minute(5)).of("i1").referrer(&click).gaid(GAID),
            world.event("game", "install", minute(5)).of("i1"),
        ];
        events[0].referrer.as_mut().unwrap().click_at = Some(minute(1));
        let mut ids = [events[0].id, events[1].id];
        ids.sort_by_key(|id| id.bits());
        ids.rotate_left(turn);
        (events[0].id, events[1].id) = (ids[0], ids[1]);
        for event in events {
            world.record(event).await;
        }
        let due = world.decide().await.planned;
        let (open, install) = (world.story(ids[0]).await, world.story(ids[1]).await);
        assert_eq!(
            (&install.revisions[0].kind, &open.revisions[0].kind),
            (&Some(ConversionKind::Install), &None)
        );
        assert_eq!((credit(&world, &install), open.revisions.len()), ("acme".into(), 1));
        assert_eq!(open.revisions[0].because.follows, Some(install.event.id));
        let sent = world.ledger.delivery_load_all(due).await.unwrap().remove(0).unwrap();
        let value = |name: &str| sent.values.iter().find(|v| v.name == name).map(|v| v.decoded.clone());
        assert_eq!(value("gaid"), Some(GAID.into()));
        assert_eq!(value("gp_click_time"), Some(minute(1).seconds().to_string().into()));
        world.books_balance().await;
        assert_at_rest(&world).await;
    }
}

#[tokio::test]
async fn an_event_whose_app_was_deleted_says_so() {
    let mut world = World::new(&sample()).await;
    let click = world.click("tool-acme", minute(0), "");
    let before = world.tell(world.event("tool", "install", minute(1)).of("i1").click(&click)).await;
    let waiting = world.record(world.event("tool", "signup", minute(2)).of("i1")).await;
    let mut without = sample();
    without["apps"].as_object_mut().unwrap().remove("tool");
    without["campaigns"].as_object_mut().unwrap().remove("autumn");
    for link in ["tool-acme", "tool-zeta"] {
        without["links"].as_object_mut().unwrap().remove(link);
    }
    world.apply(&without, true).await;
    assert_eq!(world.decide().await.decided, 1);
    let story = world.story(waiting).await;
    assert_eq!((credit(&world, &story), story.undecided), ("organic".into(), false));
    assert_eq!(
        (&story.revisions[0].kind, &story.revisions[0].because.notes[..]),
        (&None, &["app_deleted"][..])
    );
    assert!(story.rules.is_empty());
    assert_at_rest(&world).await;
    assert_eq!(world.story(before.event.id).await.revisions.len(), 1, "what was decided stands");
}
