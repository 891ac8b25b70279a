//! Why a rule told, what it told of the revenue, when it tells, and who changed whether a conversion counts.

use http::Method;
use roundtrip_domain::event::{PostbackFields, Revenue};
use roundtrip_domain::money::{Amount, Currency};
use roundtrip_web::story::text::{self, Paper};
use roundtrip_web::story::{Explained, Rule, Story};
use serde_json::{Value, json};

use super::pages::{cookie, sign_in, visit};
use super::world::{ADMIN, CUSTOMER, Facts, GAID, INSTALL, READER, World, redact};

const URL: &str = "https://pb.acme.example/x?c={click_id}&g={gaid}&v={revenue}&w={reject_reason}";

impl World {
    async fn rule(&self, slug: &str, fields: Value) {
        let mut settings = json!({ "app": "shop", "partner": "acme", "on": "purchase", "url": URL });
        if let (Some(all), Value::Object(more)) = (settings.as_object_mut(), fields) {
            all.extend(more);
        }
        self.call(Method::PUT, &format!("/api/v1/rules/{slug}"), Some(&settings)).await.json(201);
    }

    async fn told(&self, id: impl std::fmt::Display) -> Story {
        let value = self.get(&format!("/api/v1/explain/{id}")).await.json(200);
        match serde_json::from_value(value).expect("the shape of a story") {
            Explained::Event(story) => *story,
            Explained::Click(_) | Explained::Delivery(_) => panic!("a story of an event"),
        }
    }

    /// A purchase of the installation that acme won, and its story.
    async fn bought(&self, seed: u64, pending: bool) -> Story {
        let mut event = self.event("sale", seed);
        event.install_id = Some(INSTALL.to_owned());
        event.customer_id = Some(CUSTOMER.to_owned());
        event.revenue = Some(Revenue {
            amount: Amount::parse("49.90").expect("an amount"),
            currency: Currency::parse("EUR"),
            verified: true,
        });
        event.postback = pending.then(|| PostbackFields { pending, ..PostbackFields::default() });
        let id = event.id;
        self.decide(event, Vec::new()).await;
        self.told(id).await
    }

    async fn change(&self, verb: &str, id: &str, reason: Option<&str>) -> Value {
        let body = reason.map_or_else(|| json!({}), |reason| json!({ "reason": reason }));
        let answer = self.call(Method::POST, &format!("/api/v1/conversions/{id}/{verb}"), Some(&body)).await;
        let answer = answer.json(200);
        self.decide_rest().await;
        answer
    }
}

fn rule<'a>(story: &'a Story, slug: &str) -> &'a Rule {
    let is_it = |rule: &&Rule| rule.rule.slug.as_deref() == Some(slug);
    story.rules.iter().find(is_it).unwrap_or_else(|| panic!("{slug} was considered"))
}

async fn world() -> (World, Facts) {
    World::furnished().await
}

#[tokio::test]
async fn a_condition_that_is_not_met_is_named_with_what_was_seen() {
    let (world, _) = world().await;
    world.rule("by-country", json!({ "when": { "country": ["FR", "AT"] } })).await;
    world.rule("by-mail", json!({ "when": { "param": { "email": ["other@example.com"] } } })).await;
    world.rule("by-sub", json!({ "when": { "param": { "sub1": ["a", "b"] } } })).await;
    world.rule("big", json!({ "when": { "min_revenue": { "amount": 50, "currency": "EUR" } } })).await;
    let story = world.bought(21, false).await;
    for (slug, sentence, seen) in [
        (
            "by-country",
            "Did not fire because its condition `country` asks for FR, AT, and DE was seen.",
            Some("DE"),
        ),
        (
            "by-mail",
            "Did not fire because its condition `param.email` asks for other@example.com, and some….com was seen.",
            Some("some….com"),
        ),
        (
            "by-sub",
            "Did not fire because its condition `param.sub1` asks for a, b, and banner <7> was seen.",
            Some("banner <7>"),
        ),
        (
            "big",
            "Did not fire because its condition `min_revenue` asks for 50.00 EUR, and 49.90 EUR was seen.",
            Some("49.90 EUR"),
        ),
    ] {
        let rule = rule(&story, slug);
        assert_eq!((rule.suppressed.as_deref(), rule.sentence.as_str()), (Some("condition"), sentence));
        assert_eq!(rule.condition.as_ref().expect("which").seen.as_deref(), seen);
    }
    let full = world.get(&format!("/api/v1/explain/{}?full=true", story.event.id)).await.text;
    assert!(full.contains("somebody@example.com was seen"), "shown whole where that is asked for");
}

#[tokio::test]
async fn what_was_told_of_the_revenue_and_when_it_is_sent_is_said() {
    let (world, _) = world().await;
    world.rule("part", json!({ "share_revenue": { "percent": 70 } })).await;
    world.rule("whole", json!({ "share_revenue": "exact" })).await;
    world.rule("near", json!({ "share_revenue": { "rounded": "5" } })).await;
    world.rule("held", json!({ "delay": "10m" })).await;
    world.rule("short", json!({ "window": "1m" })).await;
    let story = world.bought(22, false).await;
    let shared = |slug: &str| {
        let rule = rule(&story, slug);
        let shared = rule.shared.as_ref().map(|it| (it.amount.clone(), it.how.clone()));
        let after = rule.sentence.split(". ").nth(1).unwrap_or_default().to_owned();
        (shared, after)
    };
    let is = |amount: &str, how: &str| Some((amount.to_owned(), how.to_owned()));
    assert_eq!(
        shared("part"),
        (is("34.93", "70 %"), "Of the revenue it tells 34.93 EUR, which is 49.90 shared as 70 %.".to_owned())
    );
    assert_eq!(shared("whole"), (is("49.90", "exact"), "Of the revenue it tells all: 49.90 EUR.".to_owned()));
    assert_eq!(shared("near").0, is("50.00", "rounded to 5"));
    assert_eq!(shared("held").0, None, "it tells none");
    let held = story
        .deliveries
        .iter()
        .find(|d| d.rule.as_ref().and_then(|r| r.slug.as_deref()) == Some("held"))
        .expect("it is planned");
    let due = held.due.clone().expect("when");
    assert_eq!(held.sentence, format!("Delayed as its rule says; it is sent at {due}, in 10 m."));
    assert!(story.next.iter().any(|step| step.at.as_deref() == Some(due.as_str())));
    let late = rule(&story, "short");
    assert_eq!(late.suppressed.as_deref(), Some("outside_window"));
    assert!(late.sentence.ends_with(" later, and it tells for 1m."), "{}", late.sentence);
}

#[tokio::test]
async fn approving_and_rejecting_is_told_with_who_when_and_why() {
    let (world, _) = world().await;
    world.rule("no", json!({ "on": "rejected" })).await;
    world.rule("changed", json!({ "on": "status_change" })).await;
    let story = world.bought(23, true).await;
    let conversion = story.event.conversion.clone().expect("a conversion");
    assert_eq!(
        (story.event.status.as_str(), rule(&story, "acme-sale").suppressed.as_deref()),
        ("pending", Some("pending"))
    );
    assert!(story.sentence.contains("; it waits for approval; "), "{}", story.sentence);
    assert!(story.next.iter().any(|step| step.sentence.contains(&format!("approve {conversion}"))));

    world.clock.advance(60_000);
    let answer = world.change("approve", &conversion, None).await;
    assert_eq!(
        (&answer["from"], &answer["status"], &answer["changed"]),
        (&json!("pending"), &json!("approved"), &json!(true))
    );
    let again = world.change("approve", &conversion, Some("twice")).await;
    assert_eq!((&again["changed"], &again["event"]), (&json!(false), &Value::Null));
    world.clock.advance(60_000);
    // The event's id is taken as well.
    let answer = world.change("reject", &story.event.id, Some("returned <b>")).await;
    let change = answer["event"].as_str().expect("the change").to_owned();

    let story = world.told(&conversion).await;
    assert_eq!((story.event.status.as_str(), story.changes.len()), ("rejected", 2));
    assert!(story.sentence.contains("; it was rejected; "), "{}", story.sentence);
    let [approved, rejected] = &story.changes[..] else { panic!("two changes") };
    assert_eq!((approved.from.as_str(), approved.to.as_str()), ("pending", "approved"));
    assert_eq!(
        (rejected.event.as_str(), rejected.reason.as_deref()),
        (change.as_str(), Some("returned <b>"))
    );
    assert_eq!(rejected.deliveries.len(), 1, "who never heard of it is told by rules for changes only");
    let cancelled = &story.deliveries[0];
    assert_eq!((cancelled.state.as_str(), cancelled.reason.as_str()), ("cancelled", "conversion_rejected"));
    assert_eq!(
        cancelled.sentence,
        "Cancelled before it was sent, because the conversion was rejected before."
    );
    let statuses: Vec<_> = story.earlier.iter().map(|e| e.status.as_str()).collect();
    assert_eq!(statuses, ["pending", "approved"]);
    assert!(story.earlier[0].sentence.ends_with("The conversion waited for approval."));
    insta::assert_snapshot!("status_text", redact(&text::story(&story, Paper { width: 100, colour: false })));

    let page = world.get(&format!("/conversions/{conversion}")).await;
    let (head, _) = page.text.split_once("<p class=\"lead\">").expect("a header");
    assert!(head.contains("<span class=\"badge bad\">rejected</span>"), "{head}");

    // The change has a story of its own, in which nothing personal of the conversion stands in plain.
    let its = world.told(&change).await;
    assert_eq!(its.event.relates_to.as_deref(), Some(story.event.id.as_str()));
    assert_eq!(its.event.source, "owner");
    assert!(its.sentence.starts_with("Change of cnv_"), "{}", its.sentence);
    assert!(its.decision.expect("decided").sentence.contains("shares the credit of the conversion"));
    let cookie = cookie(&sign_in(&world, ADMIN).await);
    let page =
        visit(&world, Method::GET, &format!("/conversions/{conversion}"), &[("cookie", &cookie)], "").await;
    assert!(page.text.contains("Status: rejected"), "{}", page.text);
    assert!(page.text.contains("returned &lt;b&gt;") && !page.text.contains("returned <b>"), "it is escaped");

    // What is listed and counted follows.
    let list = world.get("/api/v1/conversions?kind=purchase").await.json(200);
    let listed = list["items"].as_array().expect("a list").iter().find(|c| c["id"] == json!(conversion));
    assert_eq!(listed.expect("it is listed")["status"], "rejected");
    let report = world.get("/api/v1/report").await.json(200);
    assert_eq!(
        (&report["total"]["rejected"], &report["total"]["pending"]),
        (&json!(1), &json!(0)),
        "{report}"
    );
    let changes = world.get("/api/v1/conversions?kind=rejected").await.json(200);
    assert_eq!(changes["items"].as_array().map(Vec::len), Some(1));
}

/// What was sent for a change carries values of the conversion; they are masked as in the conversion's own story.
#[tokio::test]
async fn the_story_of_a_change_hides_what_the_conversion_hides() {
    let (world, facts) = world().await;
    world.rule("no", json!({ "on": "rejected" })).await;
    let answer = world.change("reject", &facts.install.to_string(), Some("fraud")).await;
    let change = answer["event"].as_str().expect("the change");
    let ledger = world
        .ledger
        .story(super::world::WS, change.parse().expect("an id"))
        .await
        .expect("a store")
        .expect("kept");
    let delivery = ledger.deliveries[0].clone();
    let item = roundtrip_store::ledger::Due {
        workspace: super::world::WS,
        endpoint: delivery.endpoint,
        due: delivery.due.expect("it waits"),
        delivery: delivery.id,
        sends: 0,
    };
    world.settle(item, 1, 200, roundtrip_store::ledger::Settled::Delivered, "delivered").await;
    for id in [change.to_owned(), facts.install.to_string()] {
        let text = world.get(&format!("/api/v1/explain/{id}")).await.text;
        assert!(text.contains("3840…000d") && !text.to_lowercase().contains(GAID), "{text}");
    }
}

#[tokio::test]
async fn what_cannot_be_changed_is_said() {
    let (world, facts) = world().await;
    let ask = async |verb: &str, id: &str, body: Value| {
        let answer = world.call(Method::POST, &format!("/api/v1/conversions/{id}/{verb}"), Some(&body)).await;
        let value = answer.json(answer.status.as_u16());
        let text = |name: &str| value["error"][name].as_str().unwrap_or_default().to_owned();
        (answer.status.as_u16(), text("code"), text("field"))
    };
    let is = |status: u16, code: &str, field: &str| (status, code.to_owned(), field.to_owned());
    let id = facts.install.to_string();
    assert_eq!(ask("reject", &id, json!({})).await, is(400, "field_missing", "reason"));
    assert_eq!(ask("reject", &id, json!({ "reason": "  " })).await, is(400, "field_missing", "reason"));
    assert_eq!(
        ask("reject", &id, json!({ "reason": "x".repeat(501) })).await,
        is(400, "value_too_long", "reason")
    );
    assert_eq!(ask("reject", &id, json!({ "reason": "a\nb" })).await, is(400, "field_type", "reason"));
    assert_eq!(ask("approve", &id, json!({ "why": "x" })).await, is(400, "field_unknown", "why"));
    assert_eq!(ask("approve", "prt_1", json!({})).await, is(400, "parameter_invalid", "id"));
    let nobody = "cnv_01KAHS8Z4N2T7QX5W3R9M6B0CD";
    assert_eq!(ask("approve", nobody, json!({})).await, is(404, "id_unknown", "id"));
    let change =
        world.change("reject", &id, Some("fraud")).await["event"].as_str().expect("a change").to_owned();
    assert_eq!(ask("approve", &change, json!({})).await, is(409, "conversion_missing", "id"));
    let request = http::Request::post(format!("/api/v1/conversions/{id}/approve"))
        .header("authorization", format!("Bearer {READER}"))
        .body(axum::body::Body::from("{}"))
        .expect("a request");
    assert_eq!(world.send(request).await.status.as_u16(), 403, "reading is not enough");
}

#[tokio::test]
async fn groups_are_made_shown_changed_and_deleted_like_everything_else() {
    let world = World::set_up().await;
    let group = json!({ "name": "Both", "partners": ["acme", "zen"] });
    let made = world
        .call(Method::POST, "/api/v1/partner_groups", Some(&json!({ "slug": "both", "settings": group })))
        .await;
    let made = made.json(201);
    assert!(made["resource"]["id"].as_str().expect("an id").starts_with("grp_"));
    assert_eq!(world.get("/api/v1/partner_groups/both").await.json(200)["settings"], group);
    world.rule("all", json!({ "partner": null, "group": "both", "scope": "all" })).await;
    let refused = world.call(Method::DELETE, "/api/v1/partner_groups/both", None).await.json(422);
    assert_eq!(refused["error"]["code"], "reference_in_use");
    let empty =
        world.call(Method::PUT, "/api/v1/partner_groups/both", Some(&json!({ "partners": [] }))).await;
    assert_eq!(empty.json(422)["error"]["code"], "config_missing");
    let put =
        world.call(Method::PUT, "/api/v1/partner_groups/both", Some(&json!({ "partners": ["zen"] }))).await;
    put.json(200);
    world.call(Method::DELETE, "/api/v1/rules/all", None).await.json(200);
    world.call(Method::DELETE, "/api/v1/partner_groups/both", None).await.json(200);
    assert_eq!(world.get("/api/v1/partner_groups").await.json(200)["items"], json!([]));
}

#[tokio::test]
async fn a_callback_that_is_not_there_is_named() {
    let (world, _) = world().await;
    let settings = json!({ "app": "shop", "on": "purchase", "callback": true });
    world.call(Method::PUT, "/api/v1/rules/own", Some(&settings)).await.json(201);
    let story = world.bought(22, false).await;
    let rule = rule(&story, "own");
    assert_eq!(rule.suppressed.as_deref(), Some("no_callback"));
    let sentence = "Did not fire because the click's link carries no callback for it: there is no `event_callback_sale`.";
    assert_eq!(rule.sentence, sentence);
}
