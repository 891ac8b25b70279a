//! A partner's list against what the partner was told: a made world in which each cause happens once.

use http::Method;
use roundtrip_domain::attribution::{Carrier, Lead, MatchType};
use roundtrip_domain::click::Touch;
use roundtrip_domain::event::{Environment, Revenue, Source};
use roundtrip_domain::id::{Id, kind};
use roundtrip_domain::money::{Amount, Currency};
use roundtrip_domain::time::Timestamp;
use roundtrip_store::ledger::{Due, Settled};
use serde_json::{Value, json};

use super::world::World;

const HOUR: i64 = 3_600_000;
/// The day of the tests, 2026-06-04, UTC.
const DAY: (&str, &str) = ("2026-06-04T00:00:00Z", "2026-06-05T00:00:00Z");

impl World {
    /// A click that earns an install at once, and what is planned to be told.
    async fn install(&self, name: &str, seed: u64) -> (Touch, Id<kind::Event>, Vec<Due>) {
        let click = self.click("Acme-Summer", &format!("click_id={name}")).await;
        self.clock.advance(60_000);
        let (event, planned) = self.earn(&click, name, seed, |_| {}).await;
        (click, event, planned)
    }

    async fn earn(
        &self,
        click: &Touch,
        name: &str,
        seed: u64,
        more: impl FnOnce(&mut roundtrip_domain::event::Event),
    ) -> (Id<kind::Event>, Vec<Due>) {
        let mut install = self.event("install", seed);
        install.install_id = Some(format!("installation-{name}"));
        install.click_id = Some(click.id.to_string());
        more(&mut install);
        let carrier = Carrier::of(&install);
        let lead = Lead::Touch { match_type: MatchType::ClickId, touch: click.clone(), carrier };
        let id = install.id;
        (id, self.decide(install, vec![lead]).await)
    }

    async fn delivered(&self, name: &str, seed: u64) -> Id<kind::Event> {
        let (_, event, planned) = self.install(name, seed).await;
        for due in planned {
            self.settle(due, 1, 200, Settled::Delivered, "delivered").await;
        }
        event
    }

    async fn sale(&self, name: &str, seed: u64, amount: &str) -> (Id<kind::Event>, Due) {
        let mut sale = self.event("sale", seed);
        sale.source = Source::Server;
        sale.source_event_id = Some(format!("order-{name}"));
        sale.install_id = Some(format!("installation-{name}"));
        sale.revenue = Some(Revenue {
            amount: Amount::parse(amount).expect("an amount"),
            currency: Currency::parse("EUR"),
            verified: true,
        });
        let id = sale.id;
        let planned = self.decide(sale, Vec::new()).await;
        let [due] = planned[..] else { panic!("one postback, not {planned:?}") };
        (id, due)
    }

    async fn reconcile(&self, rows: &Value) -> Value {
        let wish = json!({ "partner": "acme", "from": DAY.0, "to": DAY.1, "rows": rows });
        let answer = self.call(Method::POST, "/api/v1/reconcile", Some(&wish)).await.json(200);
        let total =
            |names: &[&str]| names.iter().map(|name| answer["totals"][name].as_u64().unwrap()).sum::<u64>();
        let both = total(&["matched", "other_amount", "other_time"]);
        let rows = both + total(&["duplicate", "missing_here", "outside"]);
        let facts = both + total(&["listed_not_told", "missing_there", "not_told"]);
        assert_eq!((total(&["rows"]), total(&["facts"])), (rows, facts), "{answer}");
        answer
    }
}

fn found(answer: &Value) -> Vec<(String, String, Option<u64>)> {
    let word = |finding: &Value, name: &str| finding[name].as_str().expect("a word").to_owned();
    let findings = answer["findings"].as_array().expect("findings");
    findings.iter().map(|f| (word(f, "verdict"), word(f, "cause"), f["line"].as_u64())).collect()
}

#[tokio::test]
async fn each_cause_of_a_difference_is_named() {
    let world = World::set_up().await;
    let now = world.clock.now();
    // Ten days ago, and never listed since.
    world.clock.advance(-10 * 24 * HOUR);
    world.delivered("old", 100).await;
    world.clock.advance(10 * 24 * HOUR);
    let click_only = world.click("Acme-Summer", "click_id=only").await;
    let of_zen = world.click("Zen-Summer", "click_id=zen").await;

    let fine = world.delivered("fine", 101).await;
    world.delivered("twice", 102).await;
    world.delivered("zone", 103).await;
    world.delivered("unlisted", 104).await;
    let (_, _, waits) = world.install("waits", 105).await;
    let (_, _, late) = world.install("late", 106).await;
    let (_, _, dead) = world.install("dead", 107).await;
    let gone = Settled::Dead { reason: "refused_by_receiver".to_owned() };
    world.settle(dead[0], 1, 404, gone, "given up").await;
    world.delivered("money", 108).await;
    let (sale, due) = world.sale("money", 109, "49.90").await;
    world.settle(due, 1, 200, Settled::Delivered, "delivered").await;
    world.delivered("back", 110).await;
    let (returned, due) = world.sale("back", 111, "5").await;
    world.settle(due, 1, 200, Settled::Delivered, "delivered").await;
    let reason = json!({ "reason": "returned" });
    world
        .call(Method::POST, &format!("/api/v1/conversions/{returned}/reject"), Some(&reason))
        .await
        .json(200);
    world.decide_rest().await;
    // The template echoes the partner's click id, and this click has none.
    let without = world.click("Acme-Summer", "").await;
    world.earn(&without, "without", 112, |_| {}).await;
    let test = world.click("Acme-Summer", "click_id=test").await;
    world.earn(&test, "test", 113, |event| event.environment = Environment::Sandbox).await;
    // It is planned today and arrives tomorrow.
    world.clock.advance(Timestamp::parse(DAY.1).expect("a time").since(world.clock.now()) + HOUR);
    world.settle(late[0], 1, 200, Settled::Delivered, "delivered").await;
    assert_eq!(waits.len(), 1);

    let at = |ms: i64| now.plus_ms(ms).to_string();
    let mut lines = vec![
        json!({ "click_id": "fine", "event": "install", "time": at(60_000) }),
        json!({ "click_id": "twice" }),
        json!({ "click_id": "twice" }),
        json!({ "click_id": "zone", "time": at(3 * 60_000 + 2 * HOUR) }),
        json!({ "click_id": "money", "event": "install" }),
        json!({ "click_id": "money", "event": "sale", "amount": "39.90", "currency": "EUR" }),
        json!({ "click_id": "back", "event": "install" }),
        json!({ "click_id": "back", "event": "sale" }),
        json!({ "click_id": "nobody-knows" }),
        json!({ "click_id": "only" }),
        json!({ "rt_click_id": of_zen.id.to_string() }),
        json!({ "click_id": "old" }),
        json!({ "click_id": "test" }),
        json!({ "order_id": "order-unknown" }),
        json!({ "event": "install" }),
        json!({ "click_id": "elsewhere", "time": at(60 * HOUR) }),
    ];
    for (at, line) in lines.iter_mut().enumerate() {
        line["line"] = (at + 1).into();
    }
    // The template tells no amount: what is listed is somebody else's figure.
    let answer = world.reconcile(&json!(lines)).await;
    let want = [
        ("duplicate", "listed_twice", Some(3)),
        ("other_time", "time_zone", Some(4)),
        ("other_amount", "amount_not_told", Some(6)),
        ("missing_here", "rejected", Some(8)),
        ("missing_here", "never_ours", Some(9)),
        ("missing_here", "click_without_conversion", Some(10)),
        ("missing_here", "other_partner", Some(11)),
        ("missing_here", "other_period", Some(12)),
        ("missing_here", "test", Some(13)),
        ("missing_here", "order_unknown", Some(14)),
        ("missing_here", "no_key", Some(15)),
        ("outside", "outside_period", Some(16)),
        ("missing_there", "delivered", None),
        ("missing_there", "waiting", None),
        ("missing_there", "late", None),
        ("missing_there", "failed", None),
        ("not_told", "never_sent", None),
    ];
    let want: Vec<_> = want.map(|(verdict, cause, line)| (verdict.to_owned(), cause.to_owned(), line)).into();
    assert_eq!(found(&answer), want, "{answer}");
    assert_eq!(answer["clean"], false);
    let of = |cause: &str| {
        let findings = answer["findings"].as_array().expect("findings");
        findings.iter().find(|f| f["cause"] == cause).cloned().expect("it is found")
    };
    assert_eq!(of("never_sent")["detail"], "no_partner_click_id");
    assert_eq!(of("failed")["replay"], dead[0].delivery.to_string());
    assert_eq!(of("failed")["detail"], "refused_by_receiver");
    assert_eq!(
        (&of("amount_not_told")["here"], &of("amount_not_told")["event"]),
        (&json!("49.90 EUR"), &json!(sale.to_string()))
    );
    assert_eq!(of("time_zone")["detail"], "+02:00");
    assert!(
        of("click_without_conversion")["detail"].as_str().unwrap().contains("clicked at"),
        "{click_only:?}"
    );
    let story = world.get(&format!("/api/v1/explain/{fine}")).await.json(200);
    assert_eq!(story["deliveries"][0]["state"], "delivered");
}

#[tokio::test]
async fn orders_are_compared_with_purchases_of_anybody() {
    let world = World::set_up().await;
    world.delivered("a", 201).await;
    world.sale("a", 202, "10").await;
    world.delivered("b", 203).await;
    world.sale("b", 204, "20").await;
    let rows = json!([
        { "line": 1, "order_id": "order-a", "amount": "10.00", "currency": "EUR" },
        { "line": 2, "order_id": "order-c", "amount": "30.00", "currency": "EUR" },
    ]);
    let wish = json!({ "against": "orders", "from": DAY.0, "to": DAY.1, "rows": rows });
    let answer = world.call(Method::POST, "/api/v1/reconcile", Some(&wish)).await.json(200);
    let want = [("missing_here", "order_unknown", Some(2)), ("missing_there", "not_in_orders", None)];
    let want: Vec<_> = want.map(|(verdict, cause, line)| (verdict.to_owned(), cause.to_owned(), line)).into();
    assert_eq!(found(&answer), want, "{answer}");
}

#[tokio::test]
async fn pages_of_facts_are_the_facts() {
    let world = World::set_up().await;
    for (at, name) in ["a", "b", "c", "d", "e"].into_iter().enumerate() {
        world.delivered(name, 300 + at as u64).await;
    }
    let path = format!("/api/v1/reconcile/facts?partner=acme&from={}&to={}", DAY.0, DAY.1);
    let whole = world.get(&path).await.json(200);
    assert_eq!((whole["items"].as_array().map(Vec::len), &whole["next"]), (Some(5), &Value::Null));
    let mut after = String::new();
    let mut paged = Vec::new();
    for _ in 0..10 {
        let page = world.get(&format!("{path}&limit=2{after}")).await.json(200);
        paged.extend(page["items"].as_array().expect("items").clone());
        let Some(next) = page["next"].as_str() else { break };
        after = format!("&after={next}");
    }
    assert_eq!(json!(paged), whole["items"]);
    for (path, field) in [
        (
            "/api/v1/reconcile/facts?partner=nobody&from=2026-06-04T00:00:00Z&to=2026-06-05T00:00:00Z",
            "partner",
        ),
        ("/api/v1/reconcile/facts?from=yesterday&to=2026-06-05T00:00:00Z", "from"),
        ("/api/v1/reconcile/facts?from=2026-06-05T00:00:00Z&to=2026-06-04T00:00:00Z", "to"),
        ("/api/v1/reconcile/facts?from=2024-06-05T00:00:00Z&to=2026-06-04T00:00:00Z", "to"),
    ] {
        assert_eq!(world.get(path).await.json(400)["error"]["field"], field, "{path}");
    }
    let rows: Vec<Value> = (0..2_001).map(|line| json!({ "line": line })).collect();
    for (wish, status, field) in [
        (json!({ "partner": "acme", "from": DAY.0, "to": DAY.1, "rows": rows }), 413, "rows"),
        (
            json!({ "partner": "acme", "from": DAY.0, "to": DAY.1, "rows": [{ "line": 1, "clickid": "x" }] }),
            400,
            "rows[0]",
        ),
        (json!({ "from": DAY.0, "to": DAY.1, "rows": [] }), 400, "partner"),
        (
            json!({ "partner": "acme", "against": "orders", "from": DAY.0, "to": DAY.1, "rows": [] }),
            400,
            "partner",
        ),
    ] {
        let refused = world.call(Method::POST, "/api/v1/reconcile", Some(&wish)).await.json(status);
        assert_eq!(refused["error"]["field"], field);
    }
}

#[tokio::test]
async fn a_statement_is_what_arrived_and_can_be_checked() {
    use roundtrip_web::statement::Statement;

    let world = World::set_up().await;
    let first = world.delivered("a", 401).await;
    world.delivered("b", 402).await;
    let (_, due) = world.sale("b", 403, "12.5").await;
    world.settle(due, 1, 200, Settled::Delivered, "delivered").await;
    world.install("waits", 404).await;
    let read = async |day: &str| {
        let answer = world.get(&format!("/api/v1/statement/acme/{day}")).await.json(200);
        serde_json::from_value::<Statement>(answer).expect("a statement")
    };
    let key = world.get("/api/v1/statement/key").await.json(200)["key"].as_str().expect("a key").to_owned();
    let open = read("2026-06-04").await;
    assert_eq!((open.is_final, open.total_entries), (false, 3));
    assert_eq!((open.counts["install"], open.counts["purchase"]), (2, 1));
    assert_eq!(open.entries[0].event_id, first.to_string());
    assert_eq!(open.faults(&key), Vec::<String>::new());
    // What was told is what is hashed: the receiver can do the same.
    let entry = roundtrip_domain::statement::Entry {
        event_id: first.to_string(),
        partner_click_id: "a".into(),
        kind: "install".into(),
        amount: String::new(),
        currency: String::new(),
        delivered_at: Timestamp::parse(&open.entries[0].delivered_at).expect("a time"),
    };
    assert_eq!(entry.hash(), open.entries[0].hash);
    world.clock.advance(24 * HOUR);
    let closed = read("2026-06-04").await;
    assert_eq!((closed.is_final, &closed.total), (true, &open.total));
    assert_eq!(read("2026-06-05").await.total_entries, 0);
    let path = format!("/api/v1/statement/acme/2026-06-04?after={}", closed.entries[1].delivery);
    let rest = world.get(&path).await.json(200);
    assert_eq!((&rest["entries"], &rest["signed"]), (&json!([closed.entries[2]]), &json!(closed.signed)));
    let path = format!("/api/v1/statement/acme/2026-06-05?after={}", closed.entries[1].delivery);
    assert_eq!(world.get(&path).await.json(400)["error"]["field"], "after");
    let forge = |change: &dyn Fn(&mut Statement)| {
        let mut forged = closed.clone();
        change(&mut forged);
        forged.faults(&key)
    };
    assert!(forge(&|s| s.is_final = true).is_empty());
    assert_eq!(forge(&|s| s.entries.truncate(1)).len(), 2);
    assert_eq!(forge(&|s| s.day = "2026-06-03".into()), ["what is signed is not what it says"]);
    assert_eq!(forge(&|s| s.signature = open.signature.clone()), ["its signature is not the key's"]);
    let other = "MCowBQYDK2VwAyEA";
    assert_eq!(closed.faults(other).len(), 2);
    world.get("/api/v1/statement/acme/today").await.json(400);
    world.get("/api/v1/statement/nobody/2026-06-04").await.json(400);
}
