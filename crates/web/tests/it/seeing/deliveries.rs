//! Lists of deliveries, following them live, tests of endpoints, and links that show one to somebody outside.

use http::{Method, Request};
use roundtrip_domain::id::{Id, kind};
use roundtrip_store::ledger::{Due, Settled};
use serde_json::{Value, json};

use super::world::{ADMIN, Answer, CUSTOMER, GAID, INSTALL, IP, World, redact};

fn ids(page: &Value) -> Vec<String> {
    let items = page["items"].as_array().expect("items");
    items.iter().map(|item| item["id"].as_str().unwrap_or_default().to_owned()).collect()
}

#[tokio::test]
async fn deliveries_are_listed_and_filtered() {
    let (world, facts) = World::furnished().await;
    let all = world.get("/api/v1/deliveries").await.json(200);
    insta::assert_snapshot!("deliveries_json", redact(&serde_json::to_string_pretty(&all).expect("text")));
    let (sale, install) = (facts.dead.to_string(), ids(&all)[1].clone());
    assert_eq!(ids(&all), [sale.clone(), install.clone()], "the newest first");
    let both = [&sale, &install];
    for (filter, want) in [
        ("state=dead", &both[..1]),
        ("state=delivered", &both[1..]),
        ("state=waiting", &[]),
        ("state=delivered,dead", &both),
        ("rule=acme-sale", &both[..1]),
        ("partner=acme&kind=install", &both[1..]),
        ("partner=zen", &[]),
        ("app=shop&kind=install,purchase", &both),
        ("outcome=404", &both[..1]),
        ("outcome=http_200", &both[1..]),
        ("since=24h", &both),
        ("since=2026-06-04T09:00:00Z&until=2026-06-04T09:00:01Z", &[]),
        (&format!("event={}", facts.install), &both[1..]),
        (&format!("fact={}", facts.purchase), &both[..1]),
        (&format!("event={}", facts.purchase.conversion()), &both[..1]),
        ("webhook=wbh_01KAHS8Z4N2T7QX5W3R9M6B0CD", &[]),
        ("limit=1", &both[..1]),
        (&format!("before={sale}"), &both[1..]),
    ] {
        let page = world.get(&format!("/api/v1/deliveries?{filter}")).await.json(200);
        assert_eq!(ids(&page).iter().collect::<Vec<_>>(), want, "{filter}");
    }
    for (bad, field) in [
        ("state=gone", "state"),
        ("rule=nobody", "rule"),
        ("webhook=nobody", "webhook"),
        ("partner=nobody", "partner"),
        ("app=nobody", "app"),
        ("kind=In%20stall", "kind"),
        ("event=dlv_1", "event"),
        ("fact=x", "fact"),
        ("outcome=4%2004", "outcome"),
        ("since=yesterday", "since"),
        ("since=1h&until=2h", "until"),
        ("before=evt_1", "before"),
        ("limit=0", "limit"),
        ("rule=acme-sale&webhook=wbh_01KAHS8Z4N2T7QX5W3R9M6B0CD", "webhook"),
    ] {
        let refused = world.get(&format!("/api/v1/deliveries?{bad}")).await.json(400);
        let error = &refused["error"];
        assert_eq!((&error["code"], &error["field"]), (&"parameter_invalid".into(), &field.into()), "{bad}");
    }
}

#[tokio::test]
async fn the_page_of_deliveries_leads_to_stories() {
    let (world, facts) = World::furnished().await;
    let page = world.get("/deliveries").await;
    assert_eq!(page.status, 200);
    insta::assert_snapshot!("deliveries_page", redact(&page.text));
    let filtered = world.get("/deliveries?state=delivered&partner=acme").await.text;
    assert!(!filtered.contains(&facts.dead.to_string()) && filtered.contains("value=\"acme\""), "{filtered}");
    let none = world.get("/deliveries?state=expired").await;
    assert!(none.status == 200 && none.text.contains("No delivery fits"), "{}", none.text);
    let escaped = world.get("/deliveries?kind=%3Cscript%3E").await;
    assert!(escaped.status == 400 && !escaped.text.contains("<script"), "{}", escaped.text);
    let anonymous =
        world.send(Request::get("/deliveries").body(axum::body::Body::empty()).expect("a request")).await;
    assert_eq!(anonymous.status, 303, "nobody is signed in");
}

/// Replays the dead delivery and settles the replay.
async fn replay(world: &World, dead: Id<kind::Delivery>) -> Due {
    world.ledger.due_take();
    world.call(Method::POST, &format!("/api/v1/deliveries/{dead}/replay"), None).await.json(201);
    let [due] = world.ledger.due_take()[..] else { panic!("one replay") };
    world.settle(due, 1, 200, Settled::Delivered, "delivered").await;
    due
}

#[tokio::test]
async fn sends_are_followed_as_they_end() {
    let (world, facts) = World::furnished().await;
    let begin = world.get("/api/v1/tail").await.json(200);
    assert_eq!(
        (&begin["items"], &begin["missed"], &begin["restarted"]),
        (&json!([]), &0.into(), &false.into())
    );
    let next = |answer: &Value| answer["next"].as_str().expect("a place").to_owned();
    let path = |after: &str, more: &str| format!("/api/v1/tail?after={after}&wait=0{more}");
    let place = next(&begin);
    assert_eq!(world.get(&path(&place, "")).await.json(200)["items"], json!([]));

    // A call that waits is answered by what happens meanwhile.
    let waiting = format!("/api/v1/tail?after={place}&wait=5");
    let (seen, due) = tokio::join!(world.get(&waiting), replay(&world, facts.dead));
    let seen = seen.json(200);
    let send = &seen["items"][0];
    assert_eq!(send["delivery"]["id"], due.delivery.to_string());
    assert_eq!((&send["attempt"]["n"], &send["attempt"]["outcome"]), (&1.into(), &"http_200".into()));
    assert_eq!((send["attempt"].get("request"), send["attempt"].get("answer")), (None, None), "{send}");
    assert_eq!(world.get(&path(&next(&seen), "")).await.json(200)["items"], json!([]));

    let full = world.get(&path(&place, "&full=true")).await.json(200);
    assert!(
        full["items"][0]["attempt"]["request"]["line"].as_str().expect("a line").contains(GAID),
        "{full}"
    );
    for (filter, n) in [("partner=acme", 1), ("partner=zen", 0), ("outcome=404", 0), ("state=delivered", 1)] {
        let page = world.get(&path(&place, &format!("&{filter}"))).await.json(200);
        assert_eq!(page["items"].as_array().expect("items").len(), n, "{filter}");
        assert_eq!(next(&page), next(&seen), "what is not meant is passed over");
    }
    let other_run = world.get(&path("00000000-7", "")).await.json(200);
    assert_eq!(other_run["restarted"], true);
    for bad in ["after=x", "after=zz-1", "wait=6", "wait=x", "full=perhaps"] {
        let refused = world.get(&format!("/api/v1/tail?{bad}")).await.json(400);
        assert_eq!(refused["error"]["code"], "parameter_invalid", "{bad}");
    }
}

#[tokio::test]
async fn a_test_is_sent_like_any_other_and_stands_in_no_book() {
    let (world, _) = World::furnished().await;
    world.ledger.due_take();
    let before = world.get("/api/v1/balance").await.json(200);
    let made = world.call(Method::POST, "/api/v1/endpoints/rule:acme-sale/test", None).await.json(201);
    let id = made["delivery"].as_str().expect("an id");
    assert_eq!((&made["endpoint"], &made["state"]), (&"rule:acme-sale@acme".into(), &"active".into()));
    let [due] = world.ledger.test_take()[..] else { panic!("it is handed to the engine at once") };
    assert_eq!(due.delivery.to_string(), id);
    let outgoing = world.ledger.delivery_load_all(vec![due]).await.expect("loaded").remove(0).expect("kept");
    let value = |name: &str| {
        let value = outgoing.values.iter().find(|value| value.name == name);
        value.map(|value| String::from_utf8_lossy(&value.decoded).into_owned())
    };
    assert_eq!(value("event_id"), Some(outgoing.fact.to_string()), "an id of its own");
    assert!(value("partner_click_id").is_some_and(|id| id != "net-123"), "made up: {:?}", outgoing.values);
    let waiting = world.get(&format!("/api/v1/deliveries/{id}")).await.json(200);
    assert_eq!(
        (&waiting["delivery"]["kind"], &waiting["delivery"]["state"]),
        (&"test".into(), &"scheduled".into())
    );

    world.settle(due, 1, 200, Settled::Delivered, "delivered").await;
    let ended = world.get(&format!("/api/v1/deliveries/{id}")).await.json(200);
    assert_eq!(ended["delivery"]["state"], "delivered");
    assert_eq!(ended["delivery"]["rule"]["slug"], "acme-sale");
    assert!(
        ended["delivery"]["attempts"][0]["request"]["line"].is_string(),
        "its evidence is shown: {ended}"
    );
    let after = world.get("/api/v1/balance").await.json(200);
    assert_eq!(before["total"], after["total"]);
    assert_eq!(after["balanced"], true);

    for (path, status, code) in [
        ("rule:nobody", 404, "not_found"),
        ("webhook:nobody", 404, "not_found"),
        ("zen-install?partner=acme", 404, "id_unknown"),
    ] {
        let (name, query) = path.split_once('?').map_or((path, String::new()), |(n, q)| (n, format!("?{q}")));
        let path = format!("/api/v1/endpoints/{name}/test{query}");
        let refused = world.call(Method::POST, &path, None).await.json(status);
        assert_eq!(refused["error"]["code"], code, "{path}");
    }
    assert!(world.ledger.due_take().is_empty());
}

/// Opens a link as somebody outside: without a key.
async fn open(world: &World, path: &str, accept: &str) -> Answer {
    let request = Request::get(path).header("accept", accept);
    world.send(request.body(axum::body::Body::empty()).expect("a request")).await
}

async fn share(world: &World, id: Id<kind::Delivery>, life: &str) -> String {
    let path = format!("/api/v1/deliveries/{id}/share");
    let made = world.call(Method::POST, &path, Some(&json!({ "for": life }))).await.json(201);
    let url = made["url"].as_str().expect("a link");
    url.strip_prefix("https://go.shop.example").expect("on the public listener").to_owned()
}

#[tokio::test]
async fn a_link_shows_one_delivery_and_nothing_else_until_it_ends() {
    let (world, facts) = World::furnished().await;
    let install = ids(&world.get("/api/v1/deliveries?state=delivered").await.json(200)).remove(0);
    let path = share(&world, install.parse().expect("an id"), "7d").await;
    let page = open(&world, &path, "text/html").await;
    assert_eq!(page.status, 200, "{}", page.text);
    insta::assert_snapshot!("shared_page", redact(page.text.split("</style>").nth(1).expect("a body")));
    let value = open(&world, &path, "application/json").await;
    assert_eq!(value.json(200)["delivery"]["id"], install);
    for answer in [&page, &value] {
        assert_eq!(answer.headers["x-robots-tag"], "noindex, nofollow");
        assert_eq!(answer.headers["cache-control"], "no-store");
        for secret in [GAID, CUSTOMER, INSTALL, IP, "zen", "sale", "organic", ADMIN] {
            assert!(!answer.text.to_lowercase().contains(&secret.to_lowercase()), "it shows {secret}");
        }
        for shown in ["net-123", "3840…000d", "203.0.113.0/24"] {
            assert!(answer.text.replace("&#x2f;", "/").contains(shown), "it lacks {shown}");
        }
    }
    let policy = page.headers["content-security-policy"].to_str().expect("text");
    assert!(policy.starts_with("default-src 'none'") && !policy.contains("unsafe"), "{policy}");

    let mut tampered = path.clone().into_bytes();
    let last = tampered.len() - 9;
    tampered[last] = if tampered[last] == b'A' { b'B' } else { b'A' };
    let tampered = String::from_utf8(tampered).expect("text");
    for bad in [tampered.as_str(), "/share/x", "/share/%20"] {
        assert_eq!(
            open(&world, bad, "application/json").await.json(404)["error"]["code"],
            "not_found",
            "{bad}"
        );
    }
    let short = share(&world, facts.dead, "1h").await;
    world.clock.advance(3_599_000);
    assert_eq!(open(&world, &short, "text/html").await.status, 200);
    world.clock.advance(1_000);
    let ended = open(&world, &short, "text/html").await;
    assert!(ended.status == 410 && ended.text.contains("time is over"), "{}", ended.text);
    assert_eq!(open(&world, &path, "text/html").await.status, 200, "the other one goes on");
}

#[tokio::test]
async fn a_link_does_not_say_who_stopped_the_endpoint_and_why() {
    let (world, facts) = World::furnished().await;
    world.ledger.due_take();
    world.call(Method::POST, &format!("/api/v1/deliveries/{}/replay", facts.dead), None).await.json(201);
    let id = world.ledger.due_take().pop().expect("it waits").delivery;
    let told = world.get(&format!("/api/v1/deliveries/{id}")).await.json(200);
    let endpoint = told["delivery"]["endpoint"].clone();
    let reason = json!({ "reason": "they owe us March" });
    let pause = format!("/api/v1/endpoints/{}/pause", endpoint.as_str().expect("its endpoint"));
    world.call(Method::POST, &pause, Some(&reason)).await.json(200);
    let own = world.get(&format!("/api/v1/deliveries/{id}")).await.text;
    assert!(own.contains("they owe us March"), "{own}");
    let path = share(&world, id, "7d").await;
    for accept in ["text/html", "application/json"] {
        let shown = open(&world, &path, accept).await;
        assert!(shown.text.contains("its endpoint is paused since"), "{}", shown.text);
        for own in ["March", " by key_", " by admin"] {
            assert!(!shown.text.contains(own), "it says {own}: {}", shown.text);
        }
    }
}

#[tokio::test]
async fn links_are_taken_back() {
    let (world, facts) = World::furnished().await;
    let (one, other) = (share(&world, facts.dead, "7d").await, share(&world, facts.dead, "30d").await);
    let install: Id<kind::Delivery> =
        ids(&world.get("/api/v1/deliveries?state=delivered").await.json(200))[0].parse().expect("an id");
    let install = share(&world, install, "7d").await;
    let unshare = format!("/api/v1/deliveries/{}/share", facts.dead);
    world.call(Method::DELETE, &unshare, None).await.json(200);
    for path in [&one, &other] {
        let gone = open(&world, path, "application/json").await.json(410);
        assert_eq!(gone["error"]["code"], "share_ended");
    }
    assert_eq!(open(&world, &install, "text/html").await.status, 200);
    let again = share(&world, facts.dead, "7d").await;
    assert_eq!(
        open(&world, &again, "text/html").await.status,
        200,
        "a new one opens, in the same millisecond too"
    );
    world.call(Method::DELETE, "/api/v1/shares", None).await.json(200);
    for path in [&install, &again] {
        assert_eq!(open(&world, path, "text/html").await.status, 410);
    }
    for (bad, field) in
        [(json!({ "for": "91d" }), "for"), (json!({ "for": 7 }), "for"), (json!({ "till": "7d" }), "till")]
    {
        let refused = world.call(Method::POST, &unshare, Some(&bad)).await.json(400);
        assert_eq!(refused["error"]["field"], field);
    }
}

#[tokio::test]
async fn links_are_opened_at_a_bounded_rate() {
    let (world, facts) = World::furnished().await;
    let path = share(&world, facts.dead, "7d").await;
    let mut answers = Vec::new();
    for _ in 0..205 {
        answers.push(open(&world, "/share/guess", "application/json").await.status.as_u16());
    }
    assert_eq!((answers[199], answers[200]), (404, 429));
    assert_eq!(open(&world, &path, "text/html").await.status, 429);
    world.clock.advance(1_000);
    assert_eq!(open(&world, &path, "text/html").await.status, 200);
}
