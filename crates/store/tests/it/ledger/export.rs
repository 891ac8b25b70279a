//! Exports: every row once whatever the pages, whole spans, and nothing of others.

use roundtrip_domain::endpoint::{Endpoint, State};
use roundtrip_domain::id::WorkspaceNo;
use roundtrip_domain::status::{Asker, Status};
use roundtrip_domain::time::Timestamp;
use roundtrip_store::export::{Cell, columns, rows};
use roundtrip_store::ledger::{EndpointWish, ExportMark, ExportWhat, ExportWish, StatusWish};
use roundtrip_testkit::{Tell, World};
use serde_json::json;

use super::{minute, rule, with_rules};

/// A moment after everything that the tests do.
fn far() -> Timestamp {
    minute(100_000)
}

/// The rows of a span, page by page.
async fn span(
    world: &World,
    what: ExportWhat,
    (from, to): (Timestamp, Timestamp),
    page_rows: u32,
    personal: bool,
) -> Vec<Vec<Cell>> {
    let wish = ExportWish { workspace: world.workspace, what, app: None, to };
    walk(world, wish, from, page_rows, personal).await
}

async fn walk(
    world: &World,
    wish: ExportWish,
    from: Timestamp,
    page_rows: u32,
    personal: bool,
) -> Vec<Vec<Cell>> {
    let mut all = Vec::new();
    let mut mark = Some(ExportMark::at(from));
    while let Some(from) = mark {
        let page = world.ledger.export_page_of(wish, from, page_rows).await.unwrap();
        assert!(page.next.is_none_or(|next| next > from), "it goes on");
        let settings = world.settings();
        rows::<std::convert::Infallible>(wish.what, &page.rows, &settings, personal, |cells| {
            all.push(cells.to_vec());
            Ok(())
        })
        .unwrap();
        mark = page.next;
    }
    all
}

async fn all(world: &World, what: ExportWhat) -> Vec<Vec<Cell>> {
    span(world, what, (minute(-1_000), far()), 500, true).await
}

/// Where a column stands.
fn at(what: ExportWhat, name: &str) -> usize {
    columns(what).iter().position(|column| column.name == name).expect("the column")
}

fn texts(what: ExportWhat, rows: &[Vec<Cell>], name: &str) -> Vec<String> {
    let column = at(what, name);
    let text = |row: &Vec<Cell>| match &row[column] {
        Cell::Text(text) => text.clone(),
        other => format!("{other:?}"),
    };
    rows.iter().map(text).collect()
}

/// Installs of two partners and an organic one, purchases with money, a delivery that is held, one that waits.
async fn lively() -> World {
    let rules = json!({"i": rule("install", None), "p": rule("purchase", Some("acme"))});
    let mut document = with_rules(rules);
    document["apps"]["game"]["events"] = json!({"registered": "signup", "paid": "purchase"});
    document["webhooks"] = json!({"ops": {"url": "https://owner.example/ops", "events": ["install"]}});
    let mut world = World::new(&document).await;
    for n in 0..6 {
        let link = if n % 2 == 0 { "game-acme" } else { "game-zeta" };
        let click = world.click(link, minute(n), &format!("click_id=a{n}&sub1==cmd&site_id=s{n}"));
        let install = world.event("game", "install", minute(10 + n)).of(&format!("i{n}")).click(&click);
        world.record(install.gaid(&format!("aaaaaaaa-bbbb-4ccc-8ddd-00000000000{n}")).customer("u=1")).await;
        let paid = world.event("game", "paid", minute(20 + n)).of(&format!("i{n}"));
        world.record(paid.revenue("12.345678").properties(r#"{"mail":"a@b.example"}"#)).await;
    }
    world.record(world.event("tool", "install", minute(30)).of("organic")).await;
    world.decide().await;
    let endpoint = Endpoint::Postback { rule: world.rule("p"), partner: world.partner("acme") };
    let wish = EndpointWish {
        workspace: world.workspace,
        endpoint,
        to: State::Paused,
        reason: "why".into(),
        actor: "who".into(),
    };
    world.ledger.endpoint_set(wish, minute(40)).await.unwrap();
    world
}

#[tokio::test]
async fn pages_of_any_size_are_the_same_rows() {
    let world = lively().await;
    for what in ExportWhat::ALL {
        let whole = all(&world, what).await;
        assert!(whole.len() >= 7, "{what:?}: {}", whole.len());
        for page_rows in [1, 2, 3, whole.len() as u32] {
            let paged = span(&world, what, (minute(-1_000), far()), page_rows, true).await;
            assert_eq!(paged, whole, "{what:?} in pages of {page_rows}");
        }
        // Every cell is of its column's form, and what is required is there.
        for (row, column) in whole.iter().flat_map(|row| row.iter().zip(columns(what))) {
            use roundtrip_store::export::Form;
            let fits = match (row, column.form) {
                (Cell::Empty, _) => !column.required,
                (Cell::Text(_), Form::Text) | (Cell::Time(_), Form::Time) | (Cell::Flag(_), Form::Flag) => {
                    true
                }
                (Cell::Number(_), Form::Number) | (Cell::Money(_), Form::Money) => true,
                _ => false,
            };
            assert!(fits, "{what:?}.{}: {row:?}", column.name);
        }
    }
}

#[tokio::test]
async fn a_span_holds_its_beginning_and_not_its_end() {
    let world = lively().await;
    let what = ExportWhat::Installs;
    let names = async |from, to| {
        let rows = span(&world, what, (from, to), 2, true).await;
        texts(what, &rows, "install_id")
    };
    assert_eq!(names(minute(11), minute(13)).await, ["i1", "i2"]);
    assert_eq!(names(minute(11).plus_ms(1), minute(13).plus_ms(1)).await, ["i2", "i3"]);
    assert_eq!(names(minute(13), minute(13)).await, [""; 0]);
    assert_eq!(names(minute(13), minute(12)).await, [""; 0]);
    assert_eq!(names(Timestamp::from_ms(0), Timestamp::from_ms(i64::MAX)).await.len(), 7);
    // Spans that touch hold every row once.
    for what in ExportWhat::ALL {
        let mut cut = Vec::new();
        for n in 0..20 {
            cut.extend(span(&world, what, (minute(3 * n), minute(3 * n + 3)), 2, true).await);
        }
        assert_eq!(cut, span(&world, what, (minute(0), minute(60)), 500, true).await, "{what:?}");
    }
    let asked =
        async |what, now| world.ledger.export_first_and_settled(world.workspace, what, now).await.unwrap();
    assert_eq!(asked(ExportWhat::Events, minute(60)).await, (Some(minute(10)), minute(59)));
    assert_eq!(asked(ExportWhat::Decisions, minute(60)).await.1, minute(59), "all is decided");
    // What a decision makes comes when it is decided, and has the time of its event.
    let late = world.event("game", "install", minute(70)).of("late");
    world.record(late).await;
    for what in [ExportWhat::Installs, ExportWhat::Conversions, ExportWhat::Decisions] {
        assert_eq!(asked(what, minute(90)).await.1, minute(70), "{what:?}");
    }
    assert_eq!(asked(ExportWhat::Events, minute(90)).await.1, minute(89));
    world.decide().await;
    assert_eq!(asked(ExportWhat::Conversions, minute(90)).await.1, minute(89));
}

#[tokio::test]
async fn facts_stand_under_their_names() {
    let world = lively().await;
    let installs = all(&world, ExportWhat::Installs).await;
    let of = |name| texts(ExportWhat::Installs, &installs, name);
    let who = ["acme", "zeta", "acme", "zeta", "acme", "zeta", "Empty"];
    assert_eq!(of("partner"), who);
    assert_eq!(of("credit")[5..], ["attributed", "organic"]);
    assert_eq!(of("link")[0], "game-acme");
    assert_eq!((of("partner_click_id")[1].as_str(), of("sub1")[1].as_str()), ("a1", "=cmd"));
    assert_eq!(of("gaid")[2], "aaaaaaaa-bbbb-4ccc-8ddd-000000000002");
    assert_eq!(of("match_type")[0], "click_id");
    assert!(of("conversion_id")[0].starts_with("cnv_") && of("event_id")[0].starts_with("evt_"));
    assert_eq!(of("click_id")[0].len(), 36, "a UUID");

    let conversions = all(&world, ExportWhat::Conversions).await;
    assert_eq!(conversions.len(), 13, "installs and purchases");
    let money = at(ExportWhat::Conversions, "amount");
    let sum: i64 =
        conversions.iter().map(|row| if let Cell::Money(micros) = row[money] { micros } else { 0 }).sum();
    assert_eq!(sum, 6 * 12_345_678);
    let of = |name| texts(ExportWhat::Conversions, &conversions, name);
    assert_eq!((of("kind")[12].as_str(), of("app")[12].as_str()), ("install", "tool"));
    assert_eq!(
        (of("kind")[11].as_str(), of("currency")[11].as_str(), of("partner")[11].as_str()),
        ("purchase", "EUR", "zeta")
    );
    assert_eq!(of("install_event_id")[11], of("event_id")[5], "it shares its installation's credit");

    let deliveries = all(&world, ExportWhat::Deliveries).await;
    let of = |name| texts(ExportWhat::Deliveries, &deliveries, name);
    let states = of("state");
    let held = states.iter().zip(of("rule")).filter(|(state, _)| *state == "held");
    assert!(held.clone().all(|(_, rule)| rule == "p") && held.count() == 3, "{states:?}");
    assert_eq!(of("channel").iter().filter(|channel| *channel == "webhook").count(), 6);
    assert!(of("fact_id").iter().all(|fact| fact.starts_with("evt_")));

    let decisions = all(&world, ExportWhat::Decisions).await;
    let candidates = texts(ExportWhat::Decisions, &decisions, "candidates");
    assert!(candidates[0].contains(r#""verdict":"won""#), "{}", candidates[0]);
    assert!(candidates.iter().all(|text| !text.contains("203.0.113")), "addresses stay where they are");
}

#[tokio::test]
async fn a_change_of_a_status_is_an_event_and_no_conversion() {
    let mut world = World::new(&with_rules(json!({}))).await;
    let click = world.click("game-acme", minute(1), "");
    let install = world.record(world.event("game", "install", minute(10)).of("i").click(&click)).await;
    world.decide().await;
    let count = async |what| all(&world, what).await.len();
    let kinds = [ExportWhat::Events, ExportWhat::Decisions, ExportWhat::Conversions, ExportWhat::Installs];
    for what in kinds {
        assert_eq!(count(what).await, 1, "{what:?}");
    }
    let wish = StatusWish {
        conversion: install.conversion(),
        to: Status::Rejected,
        asker: Asker::Owner,
        by: "owner".into(),
        reason: None,
    };
    world.ledger.status_change(world.workspace, wish, minute(30)).await.unwrap();
    world.decide().await;
    // The change has a decision of its own, and the install a new one.
    for (what, wanted) in kinds.into_iter().zip([2, 3, 1, 1]) {
        assert_eq!(count(what).await, wanted, "{what:?}");
    }
    for what in &kinds[2..] {
        assert_eq!(texts(*what, &all(&world, *what).await, "status"), ["rejected"], "{what:?}");
    }
}

#[tokio::test]
async fn what_is_personal_is_empty_unless_asked_for() {
    let world = lively().await;
    for what in ExportWhat::ALL {
        let (full, masked) =
            (all(&world, what).await, span(&world, what, (minute(-1_000), far()), 500, false).await);
        for (full, masked) in full.iter().zip(&masked) {
            for ((full, masked), column) in full.iter().zip(masked).zip(columns(what)) {
                let wanted = if column.personal { &Cell::Empty } else { full };
                assert_eq!(masked, wanted, "{what:?}.{}", column.name);
            }
        }
        let text = format!("{masked:?}");
        for personal in ["u=1", "aaaaaaaa-bbbb", "a@b.example", "203.0.113", "Mozilla", "\"i1\""] {
            assert!(!text.contains(personal), "{what:?} names {personal}");
        }
    }
}

#[tokio::test]
async fn an_export_is_of_one_workspace_and_of_the_app_that_is_named() {
    let world = lively().await;
    let other = world.workspace("other", &with_rules(json!({"i": rule("install", None)}))).await;
    let mut theirs = other;
    let click = theirs.click("game-acme", minute(1), "click_id=theirs");
    theirs.record(theirs.event("game", "install", minute(12)).of("theirs").click(&click)).await;
    theirs.decide().await;
    for what in ExportWhat::ALL {
        let (ours, theirs_rows) = (all(&world, what).await, all(&theirs, what).await);
        assert_eq!(theirs_rows.len(), 1, "{what:?}");
        assert!(ours.len() > 1 && !ours.contains(&theirs_rows[0]), "{what:?}");
        let app = ExportWish { workspace: world.workspace, what, app: Some(world.app("tool")), to: far() };
        let of_app = walk(&world, app, minute(-1_000), 2, true).await;
        let wanted = texts(what, &ours, "app").into_iter().filter(|app| app == "tool").count();
        assert_eq!(of_app.len(), wanted, "{what:?}");
        assert!(texts(what, &of_app, "app").iter().all(|app| app == "tool"));
        let nobody = ExportWish { workspace: WorkspaceNo(99), what, app: None, to: far() };
        assert_eq!(walk(&world, nobody, minute(-1_000), 2, true).await.len(), 0);
    }
}

#[tokio::test]
async fn every_revision_is_there_once_though_a_page_ends_between_two() {
    let mut world = World::new(&with_rules(json!({}))).await;
    // Each earlier birth takes the credit of the purchase with it.
    world.record(world.event("game", "registered", minute(50)).of("i")).await;
    world.decide().await;
    for n in 0..3 {
        let click = world.click("game-acme", minute(20 - 5 * n), &format!("click_id=a{n}"));
        world.record(world.event("game", "install", minute(40 - n)).of("i").click(&click)).await;
        world.decide().await;
    }
    let what = ExportWhat::Decisions;
    let whole = all(&world, what).await;
    let revision = at(what, "revision");
    let most = whole.iter().map(|row| if let Cell::Number(n) = row[revision] { n } else { 0 }).max();
    assert!(most >= Some(2), "{most:?}: there is more than one revision");
    for page_rows in [1, 2, 3] {
        assert_eq!(span(&world, what, (minute(-1_000), far()), page_rows, true).await, whole);
    }
}

#[tokio::test]
async fn what_comes_after_a_step_back_of_the_clock_lies_behind_what_was_exported() {
    let mut world = lively().await;
    let newest = minute(100);
    let recorded = |world: &World, at: Timestamp| {
        let id = world.ledger.event_id(at);
        roundtrip_domain::event::Event {
            id,
            ..world.event("game", "install", at).of(&format!("x{}", at.ms()))
        }
    };
    world.record(recorded(&world, newest)).await;
    // An hour back, events and what is planned for them stay behind.
    let event = recorded(&world, minute(40));
    assert_eq!(
        (event.id.minted_at(), event.received_at),
        (newest, minute(40)),
        "the id waits, the time does not"
    );
    let click = world.click("game-acme", minute(39), "click_id=late");
    world.record(event.click(&click)).await;
    let planned = world.decide().await.planned;
    assert!(
        !planned.is_empty() && planned.iter().all(|due| due.delivery.minted_at() >= newest),
        "{planned:?}"
    );
    // Also behind a start, by the tables alone.
    world.reopen().await;
    assert_eq!(world.ledger.event_id(minute(50)).minted_at(), newest);
    // Whoever was told that a span is over is kept to it.
    let what = ExportWhat::Events;
    let (_, settled) =
        world.ledger.export_first_and_settled(world.workspace, what, minute(200)).await.unwrap();
    assert_eq!(settled, minute(199));
    assert_eq!(world.ledger.event_id(minute(120)).minted_at(), settled);
    let before = span(&world, what, (minute(-1_000), settled), 500, true).await;
    world.record(recorded(&world, minute(130))).await;
    assert_eq!(span(&world, what, (minute(-1_000), settled), 500, true).await, before);
    // A clock that was wrong by months is not waited for.
    assert_eq!(world.ledger.event_id(minute(1_000_000)).minted_at(), minute(1_000_000));
    assert_eq!(world.ledger.event_id(minute(300)).minted_at(), minute(300));
}
