//! Endpoints and webhooks as pages and over the API: how they stand, why things wait, and what is hidden.

use http::{Method, Request};
use roundtrip_domain::device::Device;
use roundtrip_domain::endpoint::{Endpoint, Wait};
use roundtrip_domain::id::{Id, kind};
use roundtrip_domain::webhook::Topic;
use roundtrip_store::ledger::{AttemptRow, Due, EndpointLive, LivePicture, Settled, Settlement};
use roundtrip_store::payload::Notice;
use serde_json::{Value, json};

use super::world::{ANALYST, Answer, READER, WS, World, redact};

const PATHS: [&str; 3] = ["/endpoints", "/endpoints/rule:acme-sale@acme", "/webhooks"];

async fn post(world: &World, path: &str, body: Value, status: u16) -> Value {
    world.call(Method::POST, path, Some(&body)).await.json(status)
}

/// Makes a webhook that is told of everything about conversions.
async fn hook(world: &World, slug: &str, settings: Value) -> Id<kind::Webhook> {
    post(world, "/api/v1/webhooks", json!({ "slug": slug, "settings": settings }), 201).await;
    let catalog = world.ledger.catalog();
    let settings = catalog.workspace(WS).expect("the default workspace");
    settings.webhooks.iter().find(|webhook| webhook.slug == slug).expect("it is there").id
}

/// As the engine shows an endpoint whose breaker is open.
fn open_breaker(world: &World, endpoint: Endpoint) {
    let probe_at = world.clock.now().plus_ms(90_000);
    let live = EndpointLive {
        limit: 1,
        sending: Vec::new(),
        probe_at: Some(probe_at),
        not_allowed: None,
        not_before: None,
        wait: Wait::BreakerOpen,
        until: Some(probe_at),
        retries_wait: false,
    };
    world.ledger.live_put(LivePicture::from([((WS, endpoint), live)]));
}

/// Replays the dead delivery: one that waits.
async fn waiting(world: &World, dead: Id<kind::Delivery>) -> Due {
    world.ledger.due_take();
    world.call(Method::POST, &format!("/api/v1/deliveries/{dead}/replay"), None).await.json(201);
    let [due] = world.ledger.due_take()[..] else { panic!("one replay") };
    due
}

#[tokio::test]
async fn everywhere_the_same_answer_says_why_it_waits() {
    let (world, facts) = World::furnished().await;
    let due = waiting(&world, facts.dead).await;
    let id = due.delivery.to_string();
    let read = async |path: String| world.get(&path).await.json(200);
    for (wait, until) in [("next", false), ("breaker_open", true), ("endpoint_paused", false)] {
        match wait {
            "breaker_open" => open_breaker(&world, due.endpoint),
            "endpoint_paused" => {
                let why = json!({ "reason": "their maintenance" });
                post(&world, "/api/v1/endpoints/rule:acme-sale/pause", why, 200).await;
            }
            _ => {}
        }
        let next = read(format!("/api/v1/explain/{id}")).await["next"][0].clone();
        let words = next["sentence"].as_str().expect("words").to_owned();
        match wait {
            // It is due already: when it goes on is when the endpoint is tried again.
            "breaker_open" => {
                let probe = world.clock.now().plus_ms(90_000).to_string();
                assert_eq!(next["at"], probe.as_str(), "{next}");
                assert!(words.contains("waits: its endpoint was in trouble"), "{next}");
            }
            "endpoint_paused" => assert!(words.contains("is held"), "{next}"),
            _ => assert!(next["at"].is_string() && words.starts_with("Send 1 to acme"), "{next}"),
        }
        let alone = read(format!("/api/v1/deliveries/{id}")).await["delivery"].clone();
        let story = read(format!("/api/v1/explain/{id}")).await;
        let told = story["deliveries"].as_array().expect("deliveries");
        let told = told.iter().find(|one| one["id"] == id.as_str()).expect("it is in the story");
        let list = read("/api/v1/deliveries?state=waiting".to_owned()).await["items"][0].clone();
        for answer in [&alone, told, &list] {
            assert_eq!(answer["waits"], wait, "{answer}");
            assert_eq!(answer.get("waits_until").is_some(), until, "{answer}");
        }
        assert_eq!(alone["sentence"], told["sentence"]);
        let endpoint = read("/api/v1/endpoints/rule:acme-sale".to_owned()).await["endpoint"].clone();
        match wait {
            "breaker_open" => {
                assert_eq!(
                    (&endpoint["live"]["wait"], &endpoint["live"]["breaker"]),
                    (&json!(wait), &json!("open"))
                );
                assert!(list["sentence"].as_str().expect("words").contains("left in peace"), "{list}");
            }
            "endpoint_paused" => assert_eq!(endpoint["stopped"], "Paused by admin.token: their maintenance."),
            _ => {}
        }
    }
}

#[tokio::test]
async fn a_test_explains_itself_and_the_list_leads_to_it() {
    let (world, _) = World::furnished().await;
    world.ledger.due_take();
    let made = world.call(Method::POST, "/api/v1/endpoints/rule:acme-sale/test", None).await.json(201);
    let id = made["delivery"].as_str().expect("an id").to_owned();
    let [due] = world.ledger.test_take()[..] else { panic!("it is handed to the engine at once") };
    let waits = world.get(&format!("/api/v1/explain/{id}")).await.json(200);
    assert_eq!((&waits["about"], &waits["delivery"]["kind"]), (&json!("delivery"), &json!("test")));
    assert!(waits["next"][0]["at"].is_string(), "{waits}");
    let dead = Settled::Dead { reason: "refused_by_receiver".to_owned() };
    world.settle(due, 1, 404, dead, "given up: refused_by_receiver").await;
    let ended = world.get(&format!("/api/v1/explain/{id}")).await.json(200);
    assert_eq!(ended["sentence"], "A test, counted nowhere; to acme by rule acme-sale: given up.");
    let next = ended["next"][0]["sentence"].as_str().expect("words");
    assert!(next.contains("roundtrip endpoint test rule:acme-sale@acme"), "{next}");
    assert!(
        ended["delivery"]["attempts"][0]["request"]["line"].is_string(),
        "its evidence is shown: {ended}"
    );

    let link = format!("/conversions/{id}");
    assert!(world.get("/deliveries?kind=test").await.text.contains(&format!("href=\"{link}#{id}\"")));
    let page = world.get(&link).await;
    assert_eq!(page.status, 200);
    insta::assert_snapshot!("test_page", redact(&page.text));
    let found = world.get(&format!("/explain?id={id}")).await;
    assert_eq!(found.headers["location"], link.as_str());
    let story: roundtrip_web::story::Explained = serde_json::from_value(ended).expect("the shape of a story");
    let paper = roundtrip_web::story::text::Paper { width: 100, colour: false };
    insta::assert_snapshot!("test_text", redact(&roundtrip_web::story::text::explained(&story, paper)));

    let refused = world.call(Method::POST, &format!("/api/v1/deliveries/{id}/replay"), None).await.json(409);
    assert_eq!(refused["error"]["code"], "replay_refused");
    assert!(refused["error"]["fix"].as_str().expect("a fix").contains("endpoint test"), "{refused}");
}

#[tokio::test]
async fn a_test_of_a_stopped_endpoint_says_that_it_is_stopped() {
    let (world, _) = World::furnished().await;
    post(&world, "/api/v1/endpoints/rule:acme-sale/pause", json!({}), 200).await;
    let ids = world.get("/api/v1/endpoints/rule:acme-sale").await.json(200)["endpoint"]["id"].clone();
    let path = format!("/api/v1/endpoints/{}/test", ids.as_str().expect("an id"));
    let made = world.call(Method::POST, &path, None).await.json(201);
    assert!(made["sentence"].as_str().expect("words").contains("although the endpoint is paused"), "{made}");
}

#[tokio::test]
async fn the_pages_of_endpoints_are_as_reviewed() {
    let (world, facts) = World::furnished().await;
    hook(&world, "orders", json!({ "url": "https://owner.example/hooks?k=opensesame" })).await;
    let due = waiting(&world, facts.dead).await;
    world.clock.advance(70_000);
    open_breaker(&world, due.endpoint);
    let why = json!({ "reason": "<b>their</b> maintenance" });
    post(&world, "/api/v1/endpoints/rule:acme-install/pause", why, 200).await;
    world.clock.advance(5_000);
    let list = world.get("/endpoints").await;
    assert_eq!(list.status, 200);
    insta::assert_snapshot!("endpoints_page", redact(&list.text));
    let page = world.get("/endpoints/rule:acme-sale@acme").await;
    assert_eq!(page.status, 200);
    insta::assert_snapshot!("endpoint_page", redact(&page.text));
    let stopped = world.get("/endpoints/rule:acme-install").await.text;
    assert!(stopped.contains("roundtrip endpoint resume rule:acme-install@acme"), "{stopped}");
    assert!(
        stopped.contains("Paused by admin.token: &lt;b&gt;their") && !stopped.contains("<b>their"),
        "{stopped}"
    );

    let names = |text: &str| -> Vec<String> {
        let rows = text.split("<td class=\"who title\">").skip(1);
        rows.map(|row| row.split(['>', '<']).nth(2).unwrap_or_default().to_owned()).collect()
    };
    let all = ["rule:acme-sale@acme", "rule:acme-install@acme", "rule:zen-install@zen", "webhook:orders"];
    assert_eq!(names(&list.text), all, "who is in trouble stands first");
    assert_eq!(names(&world.get("/endpoints?show=trouble").await.text), all[..2]);
    assert_eq!(names(&world.get("/endpoints?name=ZEN").await.text), all[2..3]);
    for (path, says) in [
        ("/endpoints?name=%3Cscript%3E", "No endpoint fits"),
        ("/endpoints?from=4", "There are no more"),
        ("/endpoints?show=trouble&name=zen", "No endpoint fits"),
    ] {
        let page = world.get(path).await;
        assert!(page.status == 200 && page.text.contains(says) && !page.text.contains("<script"), "{path}");
    }
    for (path, status) in [
        ("/endpoints?show=some", 400),
        ("/endpoints?from=x", 400),
        ("/endpoints/rule:nobody", 404),
        ("/endpoints/nobody", 400),
        ("/endpoints/wbh_00000000000000000000000001", 404),
    ] {
        let page = world.get(path).await;
        assert_eq!(page.status.as_u16(), status, "{path}");
        let leads_on = ["roundtrip endpoint list", "name one of"].iter().any(|fix| page.text.contains(fix));
        assert!(leads_on || path.contains('?'), "{path}: {}", page.text);
    }
}

#[tokio::test]
async fn the_page_of_webhooks_shows_what_signs_and_no_secret() {
    let (world, _) = World::furnished().await;
    let settings = json!({
        "url": "https://owner.example/hooks?k=opensesame", "events": ["install", "event:level_up"],
        "headers": { "x-key": "opensesame" }, "without": ["device"], "sandbox": true,
    });
    let id = hook(&world, "orders", settings).await;
    hook(&world, "channel", json!({ "url": "https://hooks.slack.com/services/T0/B0/xyzsecret" })).await;
    let first = world.ledger.catalog().workspace(WS).expect("there").webhook(id).expect("there").clone();
    let rotated = post(&world, "/api/v1/webhooks/orders/rotate", json!({ "overlap": "2d" }), 200).await;
    world.clock.advance(3_600_000);
    let page = world.get("/webhooks").await;
    assert_eq!(page.status, 200);
    insta::assert_snapshot!("webhooks_page", redact(&page.text));
    let one = world.get("/endpoints/webhook:orders").await;
    assert!(
        one.text.contains("A rotation is under way") && one.text.contains("event:level_up"),
        "{}",
        one.text
    );
    let secret = rotated["secret"].as_str().expect("shown once");
    for text in [&page.text, &one.text] {
        for hidden in [secret, first.signing.secret.shown(), "opensesame", "xyzsecret"] {
            assert!(!text.contains(hidden), "it shows {hidden}");
        }
    }
    post(&world, "/api/v1/webhooks/orders/cut-over", json!({}), 200).await;
    assert!(world.get("/webhooks").await.text.contains("A rotation ends by itself in 1 d 23 h"));
}

#[tokio::test]
async fn pages_with_nothing_on_them_say_what_to_do_and_let_nobody_in_unasked() {
    let world = World::empty();
    for (path, says) in [("/endpoints", "[rules."), ("/webhooks", "[webhooks.")] {
        let page = world.get(path).await;
        assert!(page.status == 200 && page.text.contains(says), "{path}: {}", page.text);
        assert!(page.text.contains("roundtrip apply roundtrip.toml"), "{path}");
    }
    let world = World::set_up().await;
    let quiet = world.get("/endpoints/rule:acme-sale").await.text;
    assert!(quiet.contains("roundtrip endpoint test rule:acme-sale@acme"), "{quiet}");
    for path in PATHS {
        let request = Request::get(path).body(axum::body::Body::empty()).expect("a request");
        assert_eq!(world.send(request).await.status, 303, "{path}");
    }
}

/// A webhook is told of an install, and its receiver repeats what it got.
async fn told(world: &World, customer: &str) -> Id<kind::Delivery> {
    let hook = hook(world, "owner", json!({ "url": "https://owner.example/" })).await;
    let mut install = world.event("install", 31);
    install.install_id = Some("an-installation-of-ours".to_owned());
    install.customer_id = Some(customer.to_owned());
    install.device = Device { platform: Some("android".into()), ..Device::default() };
    install.properties = Some(r#"{"plan":"gold","mail":"somebody@example.com"}"#.to_owned());
    let planned = world.decide(install, Vec::new()).await;
    let due = planned.into_iter().find(|due| due.endpoint == Endpoint::Webhook(hook)).expect("it is told");
    let outgoing = world.ledger.delivery_load_all(vec![due]).await.expect("loaded").remove(0).expect("kept");
    let catalog = world.ledger.catalog();
    let webhook = catalog.workspace(WS).expect("there").webhook(hook).expect("there").clone();
    let payload = roundtrip_store::payload::shape(&outgoing.payload.expect("a body"), &webhook);
    assert!(payload.contains("somebody@example.com") && payload.contains(customer), "{payload}");
    let body = json!({
        "v": 1, "origin": "https://owner.example",
        "request": { "line": "POST / HTTP/1.1", "headers": [["x-user", customer]], "body": payload },
        "answer": { "status": 200, "headers": [], "body": json!({ "data": payload }).to_string(), "body_truncated": false },
    });
    let attempt = AttemptRow {
        n: 1,
        at: world.clock.now(),
        outcome: "http_200".to_owned(),
        status: Some(200),
        total_us: 1_000,
        next: "delivered".to_owned(),
        body: body.to_string(),
    };
    let settlement = Settlement { item: due, attempt: Some(attempt), next: Settled::Delivered };
    world.ledger.delivery_settle(vec![settlement], world.clock.now()).await.expect("settled");
    due.delivery
}

#[tokio::test]
async fn who_it_is_about_is_hidden_in_a_webhooks_evidence_unless_asked_for() {
    let world = World::set_up().await;
    let id = told(&world, "c-42").await;
    let as_who = async |key: &str, path: String| -> Answer {
        let request = Request::get(path).header("authorization", format!("Bearer {key}"));
        world.send(request.body(axum::body::Body::empty()).expect("a request")).await
    };
    let read = async |path: String| as_who(READER, path).await;
    let personal = ["somebody@example.com", "gold", "c-42", "an-installation-of-ours"];
    for path in
        [format!("/api/v1/deliveries/{id}"), format!("/api/v1/explain/{id}"), format!("/conversions/{id}")]
    {
        let masked = read(path.clone()).await;
        assert_eq!(masked.status, 200, "{path}");
        for value in personal {
            assert!(!masked.text.contains(value), "{path} shows {value}: {}", masked.text);
        }
        let refused = read(format!("{path}?full=true")).await.json(403)["error"].clone();
        assert_eq!(refused["code"], "scope_missing", "{path}: {refused}");
        assert!(refused["message"].as_str().expect("words").contains("`personal`"), "{refused}");
        let full = as_who(ANALYST, format!("{path}?full=true")).await.text;
        assert!(personal.iter().all(|value| full.contains(value)), "{path}: {full}");
    }
    let shown = read(format!("/api/v1/deliveries/{id}")).await.json(200)["delivery"].clone();
    assert_eq!(shown["sentence"], "Delivered: the webhook has it, after 1 send.");
    let body = shown["attempts"][0]["request"]["body"].as_str().expect("a body");
    let body: Value = serde_json::from_str(body).expect("still JSON");
    assert_eq!(body["properties"], json!({ "plan": "…", "mail": "…" }), "the names are left");
    assert_eq!((&body["user"]["customer_id"], &body["event_name"]), (&json!("c…2"), &json!("install")));
}

#[tokio::test]
async fn what_is_refused_is_refused_with_a_way_out() {
    let (world, _) = World::furnished().await;
    let made =
        post(&world, "/api/v1/jobs", json!({ "kind": "replay", "filter": { "state": "all" } }), 201).await;
    let job = format!("/api/v1/jobs/{}", made["id"].as_str().expect("an id"));
    post(&world, &format!("{job}/cancel"), json!({}), 200).await;
    let settings = json!({ "url": "https://owner.example/", "ed25519": true });
    hook(&world, "owner", settings).await;
    post(&world, "/api/v1/webhooks/owner/rotate", json!({}), 200).await;
    let pause = format!("{job}/pause");
    let calls = [
        (Method::GET, "/api/v1/webhooks/nope/signing", "no webhook `nope`", "there is one: owner"),
        (Method::GET, "/api/v1/partners/nope", "no partner `nope`", "lists those that there are"),
        (Method::POST, "/api/v1/endpoints/nope/test", "no rule `nope`", "name one of acme-install"),
        (Method::POST, "/api/v1/endpoints/owner/test", "no rule `owner`", "webhook:owner"),
        (Method::POST, "/api/v1/endpoints/nope/pause", "webhook:SLUG", "roundtrip endpoint list"),
        (Method::POST, "/api/v1/endpoints/webhook:nope/test", "no webhook `nope`", "there is one: owner"),
        (Method::POST, pause.as_str(), "cannot be paused: it was ended before", "new replay"),
        (
            Method::GET,
            "/api/v1/deliveries?kind=instal",
            "no kind of conversion or fact",
            "organic_install, signup, purchase",
        ),
        (
            Method::GET,
            "/api/v1/deliveries?outcome=htp_404",
            "nothing that a send comes to",
            "did you mean `http_404`?",
        ),
        (
            Method::GET,
            "/api/v1/deliveries?outcome=timout",
            "nothing that a send comes to",
            "did you mean `timeout`?",
        ),
        (
            Method::GET,
            "/api/v1/deliveries?outcome=never",
            "nothing that a send comes to",
            "such as 404 or http_404",
        ),
        (Method::GET, "/api/v1/deliveries?state=deed", "no state of a delivery", "did you mean `dead`?"),
        (Method::GET, "/api/v1/deliveries?since=failing", "neither a span", "for replays and cancellations"),
        (Method::GET, "/api/v1/deliveries?until=soon", "neither a span", "write 24h"),
        (
            Method::GET,
            "/api/v1/tail?kind=instal&wait=0",
            "no kind of conversion or fact",
            "organic_install, signup, purchase",
        ),
        (Method::POST, "/api/v1/webhooks/owner/rotate", "promised until 2026-06-05T09:2", "overlap of 0s"),
    ];
    for (method, path, message, fix) in calls {
        let body = (method == Method::POST).then(|| json!({}));
        let answer = world.call(method, path, body.as_ref()).await;
        assert!((400..500).contains(&answer.status.as_u16()), "{path}: {}", answer.text);
        let error = serde_json::from_str::<Value>(&answer.text).expect("JSON")["error"].clone();
        let says = |name: &str, what: &str| {
            assert!(
                error[name].as_str().expect("words").contains(what),
                "{path}: {name} lacks {what}: {error}"
            );
        };
        says("message", message);
        says("fix", fix);
    }
    let wish = json!({ "kind": "replay", "filter": { "kind": "instal" } });
    let refused = post(&world, "/api/v1/jobs", wish, 400).await;
    assert_eq!(refused["error"]["field"], "filter.kind", "{refused}");
    let list = post(
        &world,
        "/api/v1/jobs",
        json!({ "kind": "replay", "filter": { "kind": "status_change,test" }, "dry_run": true }),
        200,
    );
    assert_eq!(list.await["filter"]["kinds"], json!(["status_change", "test"]));
}

#[tokio::test]
async fn who_can_never_be_told_is_neither_stopped_nor_tested() {
    let world = World::set_up().await;
    let catalog = world.ledger.catalog();
    let settings = catalog.workspace(WS).expect("the default workspace").clone();
    let partner = |slug: &str| settings.partners.values().find(|one| one.slug == slug).expect("there").id;
    let rule = settings.rules.values().flatten().find(|rule| rule.slug == "acme-install").expect("there").id;
    let (acme, zen) = (partner("acme"), partner("zen"));
    for name in [
        "rule:acme-install@zen/pause".to_owned(),
        format!("rule:acme-install@{zen}/disable"),
        format!("{rule}:{zen}/pause"),
        "rule:acme-install@zen/test".to_owned(),
        "acme-install/test?partner=zen".to_owned(),
        format!("rule:{rule}@zen/test"),
    ] {
        let refused = post(&world, &format!("/api/v1/endpoints/{name}"), json!({}), 404).await;
        let error = &refused["error"];
        assert_eq!(error["code"], "id_unknown", "{name}: {refused}");
        assert_eq!(error["message"], "the rule `acme-install` tells no partner `zen`", "{name}");
        assert!(error["fix"].as_str().expect("words").contains("it tells acme"), "{name}: {refused}");
    }
    let nobody = post(&world, "/api/v1/endpoints/rule:acme-install@nope/pause", json!({}), 404).await;
    assert!(!nobody["error"]["fix"].as_str().expect("words").contains("zen"), "{nobody}");
    // Every name of one that can be told is taken, ids and slugs mixed; what a change answers reads no figures.
    for name in [
        "rule:acme-install".to_owned(),
        format!("rule:acme-install@{acme}"),
        format!("rule:{rule}@acme"),
        format!("rule:{rule}@{acme}"),
        format!("{rule}:{acme}"),
    ] {
        let paused = post(&world, &format!("/api/v1/endpoints/{name}/pause"), json!({}), 200).await;
        let shown = &paused["endpoint"];
        assert_eq!((&shown["name"], &shown["state"]), (&json!("rule:acme-install@acme"), &json!("paused")));
        assert!(shown.get("recent").is_none(), "{paused}");
    }
    // What was deleted since is found by its ids, and named by them.
    let deleted = world.call(Method::DELETE, "/api/v1/rules/acme-install", None).await;
    assert!(deleted.status.is_success(), "{}", deleted.text);
    for name in [format!("{rule}:{acme}"), format!("rule:{rule}@{acme}"), format!("rule:{rule}@acme")] {
        let shown = world.get(&format!("/api/v1/endpoints/{name}")).await.json(200)["endpoint"].clone();
        let id = json!(format!("{rule}:{acme}"));
        assert_eq!((&shown["name"], &shown["state"]), (&id, &json!("paused")), "{name}");
        post(&world, &format!("/api/v1/endpoints/{name}/test"), json!({}), 404).await;
    }
}

#[tokio::test]
async fn figures_are_of_the_last_days() {
    let (world, _) = World::furnished().await;
    let recent = async |name: &str| {
        let path = format!("/api/v1/endpoints/{name}");
        world.get(&path).await.json(200)["endpoint"]["recent"].clone()
    };
    let sale = recent("rule:acme-sale").await;
    assert_eq!((&sale["dead"], &sale["success_rate"]), (&json!(1), &json!("0.0")), "{sale}");
    let install = recent("rule:acme-install").await;
    assert_eq!((&install["delivered"], &install["success_rate"]), (&json!(1), &json!("100.0")));
    let quiet = recent("rule:zen-install@zen").await;
    assert_eq!((&quiet["delivered"], quiet.get("success_rate")), (&json!(0), None));
    world.clock.advance(8 * 86_400_000);
    assert_eq!(recent("rule:acme-sale").await["dead"], 0, "a week is over");
}

#[tokio::test]
async fn what_is_said_about_how_telling_goes_explains_itself_and_is_told_again() {
    let world = World::set_up().await;
    hook(&world, "owner", json!({ "url": "https://owner.example/", "events": ["endpoint_disabled"] })).await;
    let notice = Notice {
        sentence: "It was disabled.".to_owned(),
        about: Some("rule:acme-sale@acme".to_owned()),
        figures: json!({}),
    };
    world.ledger.due_take();
    let now = world.clock.now();
    world.ledger.notice(WS, Topic::EndpointDisabled, None, notice, now).await.expect("kept");
    let [due] = world.ledger.due_take()[..] else { panic!("one webhook asks for it") };
    let id = due.delivery;
    let story = world.get(&format!("/api/v1/explain/{id}")).await.json(200);
    assert_eq!(story["about"], "delivery");
    let sentence = story["sentence"].as_str().expect("words");
    assert!(sentence.starts_with("Said because an endpoint was disabled"), "{sentence}");
    let page = world.get(&format!("/conversions/{id}")).await;
    assert!(page.status == 200 && page.text.contains("Endpoint disabled"), "{}", page.text);
    world.settle(due, 1, 500, Settled::Dead { reason: "attempts_exhausted".to_owned() }, "given up").await;
    let ended = world.get(&format!("/api/v1/explain/{id}")).await.json(200);
    let next = ended["next"][0]["sentence"].as_str().expect("words");
    assert!(next.contains(&format!("roundtrip replay {id}")), "{next}");
    let again = world.call(Method::POST, &format!("/api/v1/deliveries/{id}/replay"), None).await.json(201);
    assert_eq!(again["replay_of"], id.to_string());
    assert_eq!(world.get("/api/v1/balance").await.json(200)["balanced"], true);
}
