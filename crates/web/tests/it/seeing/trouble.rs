//! What people ask of an endpoint in trouble: which send failed last, since when nothing arrives, and how much waits.

use http::Method;
use roundtrip_domain::endpoint::{Endpoint, NotAllowed, Wait};
use roundtrip_store::ledger::{Due, EndpointLive, LivePicture, Settled};
use serde_json::{Value, json};

use super::world::{ANALYST, READER, WS, World};

async fn shown(world: &World, name: &str) -> Value {
    world.get(&format!("/api/v1/endpoints/{name}")).await.json(200)["endpoint"].clone()
}

/// The same endpoint as the list has it.
async fn listed(world: &World, name: &str) -> Value {
    let list = world.get("/api/v1/endpoints").await.json(200);
    let endpoints = list["endpoints"].as_array().expect("a list");
    endpoints.iter().find(|endpoint| endpoint["name"] == name).expect("it is listed").clone()
}

/// Replays a delivery: one that waits.
async fn replayed(world: &World, id: &str) -> Due {
    world.ledger.due_take();
    world.call(Method::POST, &format!("/api/v1/deliveries/{id}/replay"), None).await.json(201);
    let [due] = world.ledger.due_take()[..] else { panic!("one replay") };
    due
}

/// Lets a send fail; the delivery waits to be sent again.
async fn failed(world: &World, due: Due, status: u16) -> Due {
    let again = world.clock.now().plus_ms(30_000);
    let next = Settled::Again { due: again, reason: format!("http_{status}") };
    world.settle(due, due.sends + 1, status, next, "sent again in 30 s").await;
    Due { due: again, sends: due.sends + 1, ..due }
}

#[tokio::test]
async fn an_endpoint_names_its_last_failure_and_since_when_nothing_arrives() {
    let (world, facts) = World::furnished().await;
    let name = "rule:acme-sale@acme";
    // Given up at once, and nothing was sent since.
    let first = world.clock.now().plus_ms(-125_000).to_string();
    let before = shown(&world, name).await;
    assert_eq!(before["last_failure"]["outcome"], "http_404", "{before}");
    assert_eq!(before["last_failure"]["delivery"], facts.dead.to_string());
    assert_eq!(before["trouble_since"], first.as_str());

    let due = replayed(&world, &facts.dead.to_string()).await;
    let due = failed(&world, due, 503).await;
    world.clock.advance(30_000);
    let at = world.clock.now().to_string();
    let due = failed(&world, due, 500).await;
    world.clock.advance(12_000);
    let failing = shown(&world, name).await;
    let want = json!({
        "at": at, "delivery": due.delivery.to_string(), "outcome": "http_500", "status": 500,
        "sentence": "the receiver answered 500 (http_500), 12 s ago",
    });
    assert_eq!(failing["last_failure"], want);
    assert_eq!(failing["trouble_since"], first.as_str(), "the first failure since anything arrived");
    let sentence = failing["sentence"].as_str().expect("words");
    assert!(
        sentence.contains("Nothing has arrived for 2 m 47 s; the last send: the receiver answered 500"),
        "{sentence}"
    );
    assert_eq!(listed(&world, name).await, failing, "list and endpoint say the same");
    // The page leads to it.
    for path in ["/endpoints", "/endpoints/rule:acme-sale@acme"] {
        let page = world.get(path).await.text;
        let link = format!("href=\"/conversions/{0}#{0}\"", due.delivery);
        assert!(
            page.contains(&link) && page.contains("the receiver answered 500 (http_500), 12 s ago"),
            "{path}: {page}"
        );
    }
    let page = world.get("/endpoints/rule:acme-sale@acme").await.text;
    assert!(page.contains("<dt>Nothing arrived since</dt>") && page.contains(">retrying<"), "{page}");
    // Another endpoint has nothing of it; what failed once and arrived then is no trouble of now.
    let other = shown(&world, "rule:acme-install@acme").await;
    assert_eq!((&other["last_failure"]["outcome"], other.get("trouble_since")), (&json!("http_503"), None));
    assert!(shown(&world, "rule:zen-install@zen").await.get("last_failure").is_none());

    world.settle(due, 3, 200, Settled::Delivered, "delivered").await;
    let well = shown(&world, name).await;
    assert_eq!((&well["last_failure"]["outcome"], well.get("trouble_since")), (&json!("http_500"), None));
    assert!(!well["sentence"].as_str().expect("words").contains("Nothing has arrived"), "{well}");
}

#[tokio::test]
async fn a_failure_is_found_behind_the_newest_sends_of_others() {
    let (world, facts) = World::furnished().await;
    let due = replayed(&world, &facts.dead.to_string()).await;
    let name = "rule:acme-sale@acme";
    let at = world.clock.now().to_string();
    let due = failed(&world, due, 502).await;
    // More sends of another endpoint than are looked at for all together.
    let install = world.get("/api/v1/deliveries?rule=acme-install").await.json(200);
    let mut other = replayed(&world, install["items"][0]["id"].as_str().expect("an id")).await;
    for n in 0..2_100 {
        let next = Settled::Again { due: other.due.plus_ms(1), reason: "http_503".to_owned() };
        world.settle(other, n + 1, 503, next, "sent again in 1 ms").await;
        other = Due { due: other.due.plus_ms(1), sends: other.sends + 1, ..other };
    }
    for endpoint in [listed(&world, name).await, shown(&world, name).await] {
        let failure = &endpoint["last_failure"];
        assert_eq!((&failure["at"], &failure["delivery"]), (&json!(at), &json!(due.delivery.to_string())));
        assert_eq!(failure["outcome"], "http_502", "{endpoint}");
    }
    // Given up, it stands among the newest ends.
    let dead = Settled::Dead { reason: "attempts_exhausted".to_owned() };
    world.settle(due, 2, 501, dead, "given up: attempts_exhausted").await;
    assert_eq!(listed(&world, name).await["last_failure"]["outcome"], "http_501");
}

#[tokio::test]
async fn the_figures_of_one_are_those_of_the_list() {
    let (world, facts) = World::furnished().await;
    replayed(&world, &facts.dead.to_string()).await;
    for name in ["rule:acme-sale@acme", "rule:acme-install@acme", "rule:zen-install@zen"] {
        assert_eq!(shown(&world, name).await["recent"], listed(&world, name).await["recent"], "{name}");
    }
    let since = world.clock.now().plus_ms(-86_400_000);
    let all = world.ledger.endpoint_figures(WS, since, 1).await.expect("figures");
    let Some(endpoint) = all.ended.keys().next().copied().or_else(|| {
        let catalog = world.ledger.catalog();
        let settings = catalog.workspace(WS)?;
        let rule = settings.rules.values().flatten().find(|rule| rule.slug == "acme-sale")?;
        Some(Endpoint::Postback { rule: rule.id, partner: rule.partner? })
    }) else {
        panic!("there is an endpoint")
    };
    let one = world.ledger.endpoint_figures_of(WS, endpoint, since, 1).await.expect("figures");
    assert_eq!((one.cut_at, one.rows), (all.cut_at, all.rows), "both say where they were cut");
}

#[tokio::test]
async fn what_waits_is_one_figure_everywhere() {
    let (world, facts) = World::furnished().await;
    let due = replayed(&world, &facts.dead.to_string()).await;
    world.call(Method::POST, "/api/v1/endpoints/rule:zen-install/test", None).await.json(201);
    let books = world.get("/api/v1/balance").await.json(200);
    let (waiting, total) = (&books["waiting"], &books["total"]);
    assert_eq!((&waiting["deliveries"], &waiting["unbooked"]), (&json!(2), &json!(1)), "{waiting}");
    assert_eq!(total["waiting"], 1, "the test is in no book");
    let list = world.get("/api/v1/endpoints").await.json(200);
    let sum: u64 = list["endpoints"]
        .as_array()
        .expect("a list")
        .iter()
        .map(|one| one["waiting"].as_u64().expect("a number"))
        .sum();
    assert_eq!(sum, 2, "endpoints count the same");
    let rows = world.get("/api/v1/deliveries?state=waiting").await.json(200);
    assert_eq!(rows["items"].as_array().expect("rows").len(), 2, "and so does the list");
    world.clock.advance(40_000);
    let home = world.get("/").await.text;
    let line = "2 waiting, the oldest due for 40 s; 1 of them tests or sandbox, outside the books";
    assert!(home.contains(line), "{home}");
    assert!(!home.contains("waiting ·") && !home.contains(">1 waiting<"), "no second figure of it: {home}");
    // Of one partner, and of what is held.
    let acme = world.get("/api/v1/balance?partner=acme").await.json(200)["waiting"].clone();
    assert_eq!((&acme["deliveries"], &acme["unbooked"]), (&json!(1), &json!(0)), "{acme}");
    world.call(Method::POST, "/api/v1/endpoints/rule:acme-sale/pause", Some(&json!({}))).await.json(200);
    let held = world.get("/api/v1/balance").await.json(200)["waiting"].clone();
    assert_eq!((&held["deliveries"], &held["held"], &held["unbooked"]), (&json!(1), &json!(1), &json!(1)));
    assert!(due.sends == 0);
}

#[tokio::test]
async fn a_page_does_not_say_the_same_in_each_line() {
    let (world, facts) = World::furnished().await;
    let install = world.get("/api/v1/deliveries?rule=acme-install").await.json(200);
    let install = install["items"][0]["id"].as_str().expect("an id").to_owned();
    for _ in 0..3 {
        let due = replayed(&world, &install).await;
        failed(&world, due, 503).await;
        world.clock.advance(1_000);
    }
    let page = world.get("/endpoints/rule:acme-install@acme").await.text;
    let table = page.split("aria-label=\"What waits\"").nth(1).expect("what waits").split("</table>").next();
    let table = table.expect("its table");
    assert_eq!(table.matches("<tr>").count(), 4, "a head and three that wait: {table}");
    assert_eq!(table.matches("the receiver answered 503").count(), 1, "{table}");
    assert!(table.contains(">in 27 s</time>") && table.contains(">in 29 s</time>"), "{table}");
    assert!(!page.contains("the receiver has it"), "that it was delivered stands in its column: {page}");
    // What came back is marked by what it meant.
    let story = world.get(&format!("/conversions/{}", facts.install)).await.text;
    assert!(story.contains("<pre class=\"wire back bad\" aria-label=\"What came back\">503"), "{story}");
    assert!(story.contains("<pre class=\"wire back\" aria-label=\"What came back\">200"), "{story}");
}

#[tokio::test]
async fn whole_data_on_the_pages_takes_the_scope_for_it() {
    let (world, facts) = World::furnished().await;
    let sign_in = async |key: &str| {
        let body = axum::body::Body::from(format!("token={key}"));
        let request = http::Request::post("/login").body(body).expect("a request");
        let answer = world.send(request).await;
        answer.headers["set-cookie"].to_str().expect("text").split(';').next().expect("a cookie").to_owned()
    };
    let visit = async |cookie: &str, path: &str| {
        let request = http::Request::get(path).header("cookie", cookie);
        world.send(request.body(axum::body::Body::empty()).expect("a request")).await
    };
    let story = format!("/conversions/{}", facts.install);
    let (reader, analyst) = (sign_in(READER).await, sign_in(ANALYST).await);
    let full = format!("{story}?full=true");
    let refused = visit(&reader, &full).await;
    assert_eq!(refused.status, 403);
    assert!(refused.text.contains("scope_missing") && refused.text.contains("personal"), "{}", refused.text);
    assert_eq!(visit(&reader, &story).await.status, 200, "the session goes on");
    let shown = visit(&analyst, &full).await;
    assert!(shown.status == 200 && shown.text.contains(super::world::CUSTOMER), "{}", shown.text);
    let tail = async |key: &str| {
        let request = http::Request::get("/api/v1/tail?full=true&wait=0");
        let request = request.header("authorization", format!("Bearer {key}"));
        world.send(request.body(axum::body::Body::empty()).expect("a request")).await.status.as_u16()
    };
    assert_eq!((tail(READER).await, tail(ANALYST).await), (403, 200));
}

#[tokio::test]
async fn since_failing_knows_a_trouble_that_nobody_has_written_down_yet() {
    let (world, facts) = World::furnished().await;
    let wish = json!({
        "kind": "replay", "filter": { "endpoint": "rule:acme-sale", "since": "failing" }, "dry_run": true,
    });
    let ask = async |status: u16| world.call(Method::POST, "/api/v1/jobs", Some(&wish)).await.json(status);
    // That it refused one (404) is no trouble of it.
    assert_eq!(ask(400).await["error"]["field"], "filter.since");
    let due = replayed(&world, &facts.dead.to_string()).await;
    let began = world.clock.now().to_string();
    let due = failed(&world, due, 503).await;
    world.clock.advance(30_000);
    let dead = Settled::Dead { reason: "attempts_exhausted".to_owned() };
    world.settle(due, 2, 502, dead, "given up: attempts_exhausted").await;
    let trial = ask(200).await;
    assert_eq!(trial["filter"]["failing_since"], began, "the first that found it ill: {trial}");
    assert_eq!((&trial["matched"], &trial["sample"][0]["id"]), (&json!(1), &json!(due.delivery.to_string())));
    // Over, it is still the last there was.
    let again = replayed(&world, &due.delivery.to_string()).await;
    world.settle(again, 1, 200, Settled::Delivered, "delivered").await;
    assert_eq!(ask(200).await["filter"]["failing_since"], began);
}

/// As the engine shows an endpoint that it leaves in peace.
fn in_peace(world: &World, endpoint: Endpoint, refused: Option<NotAllowed>) {
    let probe_at = world.clock.now().plus_ms(10_000);
    let live = EndpointLive {
        limit: 1,
        sending: Vec::new(),
        probe_at: Some(probe_at),
        not_allowed: refused,
        not_before: None,
        wait: refused.map_or(Wait::BreakerOpen, Wait::NotAllowed),
        until: Some(probe_at),
        retries_wait: false,
    };
    world.ledger.live_put(LivePicture::from([((WS, endpoint), live)]));
}

#[tokio::test]
async fn what_the_settings_do_not_allow_names_its_switch() {
    let (world, facts) = World::furnished().await;
    let due = replayed(&world, &facts.dead.to_string()).await;
    let name = "rule:acme-sale@acme";
    for what in NotAllowed::ALL {
        in_peace(&world, due.endpoint, Some(what));
        let one = shown(&world, name).await;
        assert_eq!(listed(&world, name).await["live"], one["live"]);
        let (refused, words) = (&one["live"]["not_allowed"], one["sentence"].as_str().expect("words"));
        assert_eq!((&refused["code"], &refused["switch"]), (&what.code().into(), &what.switch().into()));
        assert_eq!(one["live"]["wait"], what.code());
        let sentence = refused["sentence"].as_str().expect("words").trim_end_matches('.');
        assert_eq!(
            words.strip_prefix(sentence),
            Some(
                ". Waiting: 1. Nothing has arrived for 2 m 5 s; the last send: the receiver answered 404 (http_404), 2 m 5 s ago."
            )
        );
        assert!(words.contains(&format!("`roundtrip serve {}` does", what.switch())), "{words}");
        for path in ["/endpoints", "/endpoints/rule:acme-sale@acme"] {
            let page = world.get(path).await.text;
            assert!(page.contains(">not allowed</span>"), "{path}: {page}");
            let option = what.switch().split(' ').next().expect("it has a name");
            assert!(page.contains(option) && !page.contains("in trouble</span>"), "{path}: {page}");
        }
        let trouble = world.get("/endpoints?show=trouble").await.text;
        assert!(trouble.contains(">not allowed</span>"), "somebody has to look: {trouble}");
    }
    // Stopped by somebody it would be told nothing all the same.
    world.call(Method::POST, "/api/v1/endpoints/rule:acme-sale/pause", Some(&json!({}))).await.json(200);
    let paused = shown(&world, name).await;
    assert!(
        paused.get("live").is_none()
            && paused["sentence"].as_str().expect("words").starts_with("It is paused")
    );
}

#[tokio::test]
async fn what_waits_is_sent_now_under_its_own_id() {
    let (world, facts) = World::furnished().await;
    let due = replayed(&world, &facts.dead.to_string()).await;
    let path = format!("/api/v1/deliveries/{}/replay", due.delivery);
    for (refused, says) in [
        (None, "waits all the same: its endpoint was in trouble and is left in peace"),
        (Some(NotAllowed::PlainHttp), "--allow-plain-http-out does"),
    ] {
        in_peace(&world, due.endpoint, refused);
        let kept = world.call(Method::POST, &path, None).await.json(201);
        assert!(kept["sentence"].as_str().expect("words").contains(says), "{kept}");
    }
    world.ledger.live_put(LivePicture::new());
    let waits = failed(&world, due, 503).await;
    world.ledger.due_take();
    let now = world.call(Method::POST, &path, None).await.json(201);
    assert_eq!((&now["id"], &now["replay_of"]), (&json!(due.delivery.to_string()), &now["id"]));
    assert_eq!(now["due"], world.clock.now().to_string());
    let words = now["sentence"].as_str().expect("words");
    assert!(words.contains("is sent now, under its own id"), "{words}");
    let [handed] = world.ledger.due_take()[..] else { panic!("the engine is told at once") };
    assert_eq!((handed.delivery, handed.due < waits.due), (due.delivery, true));
    let listed = world.get("/api/v1/deliveries?state=waiting").await.json(200);
    assert_eq!(
        listed["items"].as_array().expect("a list").len(),
        1,
        "nothing is planned beside it: {listed}"
    );
}
