//! Jobs over the API and on their page.

use http::Method;
use roundtrip_domain::endpoint::health::Health;
use roundtrip_domain::endpoint::{NotAllowed, Wait};
use roundtrip_domain::time::Timestamp;
use roundtrip_store::ledger::{EndpointNews, JobState, JobWait, JobWaits, Why};
use roundtrip_web::waits;
use serde_json::{Value, json};

use super::world::{WRITER, WS, World, redact};

async fn post(world: &World, body: &Value, status: u16) -> Value {
    world.call(Method::POST, "/api/v1/jobs", Some(body)).await.json(status)
}

/// Takes the steps that the engine would take.
async fn run(world: &World, id: &str) -> Value {
    let job = id.parse().expect("a job's id");
    for _ in 0..10 {
        let step =
            world.ledger.job_step(WS, job, 100, world.clock.now()).await.expect("a step").expect("a job");
        if step.state.is_over() {
            assert_eq!(step.state, JobState::Done);
            return world.get(&format!("/api/v1/jobs/{id}")).await.json(200);
        }
    }
    panic!("the job does not end");
}

#[tokio::test]
async fn a_replay_is_tried_first_then_made_and_followed() {
    let (world, facts) = World::furnished().await;
    let mut wish = json!({ "kind": "replay", "filter": { "since": "24h" }, "dry_run": true });
    let trial = post(&world, &wish, 200).await;
    assert_eq!((&trial["matched"], &trial["done"], &trial["whole"]), (&1.into(), &1.into(), &true.into()));
    assert_eq!(trial["sample"][0]["id"], facts.dead.to_string());
    assert_eq!(trial["filter"]["states"], json!(["dead", "expired"]), "what is meant is said");
    assert_eq!(world.get("/api/v1/jobs").await.json(200)["items"], json!([]));

    wish["dry_run"] = false.into();
    wish["rate"] = 7.into();
    let made = post(&world, &wish, 201).await;
    let id = made["id"].as_str().expect("an id");
    assert_eq!((&made["state"], &made["expected"], &made["rate"]), (&"planned".into(), &1.into(), &7.into()));
    let done = run(&world, id).await;
    assert_eq!((&done["state"], &done["done"], &done["matched"]), (&"done".into(), &1.into(), &1.into()));
    assert_eq!(world.get("/api/v1/balance").await.json(200)["balanced"], true);
    let page = world.get("/jobs").await;
    assert_eq!(page.status, 200);
    insta::assert_snapshot!("jobs_page", redact(&page.text));
    let list = world.get("/api/v1/jobs?limit=1").await.json(200);
    assert_eq!((&list["items"][0], list.get("next")), (&done, None));

    for verb in ["pause", "resume", "cancel"] {
        let refused = world.call(Method::POST, &format!("/api/v1/jobs/{id}/{verb}"), None).await.json(409);
        assert_eq!(refused["error"]["code"], "job_refused", "{verb}");
    }
}

#[tokio::test]
async fn since_failing_means_what_ended_since_the_endpoints_trouble_began() {
    let (world, facts) = World::furnished().await;
    let dead = world.ledger.delivery_story(WS, facts.dead).await.expect("it is read").expect("it is kept");
    let endpoint = dead.endpoint;
    let name = waits::name(endpoint, &world.ledger.catalog().workspace(WS).expect("it is there").clone());
    let list = world.get("/api/v1/deliveries?state=dead").await.json(200);
    let ended = list["items"][0]["ended_at"].as_str().and_then(Timestamp::parse).expect("it ended");
    let wish = |since: &str| json!({ "kind": "replay", "filter": { "endpoint": name, "since": since }, "dry_run": true });
    let refused = post(&world, &wish("failing"), 400).await;
    assert_eq!(refused["error"]["field"], "filter.since", "{refused}");
    assert!(refused["error"]["message"].as_str().expect("words").contains("is not failing"), "{refused}");
    assert!(refused["error"]["fix"].as_str().expect("words").contains(&name), "{refused}");
    let unnamed = json!({ "kind": "replay", "filter": { "since": "failing" }, "dry_run": true });
    assert_eq!(post(&world, &unnamed, 400).await["error"]["field"], "filter.since");

    // It fails since the moment at which that one was given up; then it works again.
    let news = |failing_since| EndpointNews {
        workspace: WS,
        endpoint,
        health: Health { failing_since, ..Health::default() },
        disable: None,
        notice: None,
    };
    for failing in [Some(ended), None] {
        world.ledger.endpoint_news(vec![news(failing)], world.clock.now()).await.expect("it is written");
        let trial = post(&world, &wish("failing"), 200).await;
        assert_eq!((&trial["matched"], &trial["done"]), (&1.into(), &1.into()), "{trial}");
        assert_eq!(trial["filter"]["failing_since"], ended.to_string(), "which moment it is, is said");
        assert!(trial["sentence"].as_str().expect("words").contains(&ended.to_string()), "{trial}");
    }
    // What waits is no part of it, and is not forgotten in what is said.
    let path = format!("/api/v1/deliveries/{}/replay", facts.dead);
    let again = world.call(Method::POST, &path, None).await.json(201);
    world.clock.advance(1);
    let trial = post(&world, &wish("failing"), 200).await;
    assert_eq!((&trial["done"], &trial["waiting"]), (&0.into(), &1.into()), "{trial}");
    let said = trial["sentence"].as_str().expect("words");
    assert!(said.starts_with("0 of 1 of what was given up or expired since"), "{said}");
    assert!(said.ends_with("1 more waits for it and is sent anyway, once it may be."), "{said}");
    let cancel = json!({ "kind": "cancel", "filter": { "fact": again["event"] } });
    run(&world, post(&world, &cancel, 201).await["id"].as_str().expect("an id")).await;
    let misspelt = post(&world, &wish("failin"), 400).await;
    assert!(
        misspelt["error"]["fix"].as_str().expect("words").contains("did you mean `failing`?"),
        "{misspelt}"
    );
    // A trouble that began later does not mean what had ended before.
    world.ledger.endpoint_news(vec![news(Some(ended.plus_ms(1)))], world.clock.now()).await.expect("written");
    assert_eq!(post(&world, &wish("failing"), 200).await["matched"], 0);
    let mut real = wish("failing");
    real["dry_run"] = false.into();
    let made = post(&world, &real, 201).await;
    assert_eq!(made["filter"]["failing_since"], ended.plus_ms(1).to_string(), "it is kept with the job");
    assert!(made.get("rate").is_none(), "a share: {made}");
}

#[tokio::test]
async fn a_job_is_paused_resumed_and_ended_over_the_api() {
    let (world, _) = World::furnished().await;
    let made = post(&world, &json!({ "kind": "replay", "filter": { "state": "all" } }), 201).await;
    assert_eq!(made["filter"].get("states"), None, "all of them");
    let path = |verb: &str| format!("/api/v1/jobs/{}/{verb}", made["id"].as_str().expect("an id"));
    for (verb, state) in [("pause", "paused"), ("resume", "running"), ("cancel", "cancelled")] {
        let job = world.call(Method::POST, &path(verb), None).await.json(200);
        assert_eq!(job["state"], state);
    }
    let key = world.call(Method::POST, &path("pause"), None).await.json(409);
    assert_eq!(key["error"]["code"], "job_refused");
}

#[tokio::test]
async fn what_waits_is_cancelled_and_told_after_all() {
    let (world, facts) = World::furnished().await;
    world.call(Method::POST, &format!("/api/v1/deliveries/{}/replay", facts.dead), None).await.json(201);
    // A job means what was planned before it.
    world.clock.advance(1);
    let made = post(&world, &json!({ "kind": "cancel", "filter": { "partner": "acme" } }), 201).await;
    assert_eq!(made["rate"], 10_000);
    let done = run(&world, made["id"].as_str().expect("an id")).await;
    assert_eq!(done["done"], 1);
    let list = world.get("/api/v1/deliveries?state=cancelled").await.json(200);
    assert_eq!(list["items"][0]["reason"], "cancelled_by_owner");
    world.clock.advance(1);
    let undo = json!({ "kind": "replay", "filter": { "partner": "acme", "state": "cancelled" } });
    let made = post(&world, &undo, 201).await;
    assert_eq!(run(&world, made["id"].as_str().expect("an id")).await["done"], 1);
    assert_eq!(world.get("/api/v1/balance").await.json(200)["balanced"], true);
}

#[tokio::test]
async fn what_could_never_be_done_is_refused() {
    let (world, _) = World::furnished().await;
    let cases = [
        (json!({}), 400, "field_missing", "kind"),
        (json!({ "kind": "resend", "filter": { "state": "all" } }), 400, "field_type", "kind"),
        (json!({ "kind": "replay" }), 400, "field_missing", "filter"),
        (json!({ "kind": "replay", "filter": {} }), 400, "field_missing", "filter"),
        (json!({ "kind": "replay", "filter": [] }), 400, "field_type", "filter"),
        (json!({ "kind": "replay", "filter": { "sate": "dead" } }), 400, "field_unknown", "filter.sate"),
        (json!({ "kind": "replay", "filter": { "state": 1 } }), 400, "field_type", "filter.state"),
        (
            json!({ "kind": "replay", "filter": { "state": "gone" } }),
            400,
            "parameter_invalid",
            "filter.state",
        ),
        (
            json!({ "kind": "replay", "filter": { "rule": "nobody" } }),
            400,
            "parameter_invalid",
            "filter.rule",
        ),
        (
            json!({ "kind": "replay", "filter": { "state": "waiting" } }),
            409,
            "replay_refused",
            "filter.state",
        ),
        (json!({ "kind": "replay", "filter": { "state": "dead" }, "rate": 0 }), 400, "field_type", "rate"),
        (
            json!({ "kind": "replay", "filter": { "state": "dead" }, "into": "acme" }),
            400,
            "parameter_invalid",
            "into",
        ),
        (
            json!({ "kind": "replay", "filter": { "state": "dead" }, "into": "webhook:x" }),
            400,
            "parameter_invalid",
            "into",
        ),
        (
            json!({ "kind": "replay", "filter": { "state": "dead" }, "into": "rule:acme-sale" }),
            400,
            "field_missing",
            "filter.rule",
        ),
        (
            json!({ "kind": "replay", "filter": { "rule": "zen-install" }, "into": "rule:acme-sale" }),
            409,
            "replay_refused",
            "into",
        ),
        (
            json!({ "kind": "cancel", "filter": { "state": "dead" } }),
            400,
            "parameter_invalid",
            "filter.state",
        ),
        (
            json!({ "kind": "cancel", "filter": { "state": "all" }, "into": "rule:acme-sale" }),
            400,
            "parameter_invalid",
            "into",
        ),
        (json!({ "kind": "backfill", "filter": { "since": "30d" } }), 400, "parameter_invalid", "into"),
        (
            json!({ "kind": "replay", "filter": { "state": "dead" }, "rates": 1 }),
            400,
            "field_unknown",
            "rates",
        ),
    ];
    for (body, status, code, field) in cases {
        let refused = post(&world, &body, status).await;
        let error = &refused["error"];
        assert_eq!((&error["code"], &error["field"]), (&code.into(), &field.into()), "{body}: {refused}");
    }
    let missing = post(
        &world,
        &json!({ "kind": "replay", "filter": { "rule": "zen-install" }, "into": "rule:acme-sale" }),
        409,
    )
    .await;
    let message = missing["error"]["message"].as_str().expect("a message");
    assert!(message.contains("{gaid}") && message.contains("acme-sale"), "{message}");
    assert_eq!(world.get("/api/v1/jobs").await.json(200)["items"], json!([]));
    for (path, status, code) in [
        ("/api/v1/jobs/job_01KAHS8Z4N2T7QX5W3R9M6B0CD", 404, "id_unknown"),
        ("/api/v1/jobs/evt_1", 400, "parameter_invalid"),
        ("/api/v1/jobs?before=evt_1", 400, "parameter_invalid"),
    ] {
        assert_eq!(world.get(path).await.json(status)["error"]["code"], code, "{path}");
    }
}

#[tokio::test]
async fn jobs_need_the_scope_of_replays() {
    let (world, _) = World::furnished().await;
    let request = http::Request::post("/api/v1/jobs").header("authorization", format!("Bearer {WRITER}"));
    let body = json!({ "kind": "replay", "filter": { "state": "all" } }).to_string();
    let refused = world.send(request.body(axum::body::Body::from(body)).expect("a request")).await.json(403);
    assert_eq!(refused["error"]["code"], "scope_missing");
}

#[tokio::test]
async fn a_job_says_why_it_waits_and_for_whom() {
    let (world, facts) = World::furnished().await;
    let dead = world.ledger.delivery_story(WS, facts.dead).await.expect("it is read").expect("it is kept");
    let made = post(&world, &json!({ "kind": "replay", "filter": { "since": "24h" } }), 201).await;
    assert_eq!((made.get("waits"), made.get("waits_for")), (None, None));
    let path = format!("/api/v1/jobs/{}", made["id"].as_str().expect("an id"));
    let id = made["id"].as_str().expect("an id").parse().expect("a job's id");
    let now = world.clock.now();
    let put = |wait, ms: Option<i64>, endpoint| {
        let why = Why { wait, until: ms.map(|ms| now.plus_ms(ms)) };
        world.ledger.job_waits_put(JobWaits::from([((WS, id), JobWait { why, endpoint })]));
    };
    let name = "rule:acme-sale@acme";
    let plain = Wait::NotAllowed(NotAllowed::PlainHttp);
    for (wait, ms, endpoint, says) in [
        (
            Wait::RateLimited,
            Some(5_000),
            None,
            "most of the room is left to what is fresh; it goes on in 5 s.",
        ),
        (Wait::RateLimited, Some(200), None, "begins in a moment."),
        (
            Wait::ConcurrencyFull,
            None,
            Some(dead.endpoint),
            "what it planned for rule:acme-sale@acme is not sent yet, and a job has a quarter of its room.",
        ),
        (
            Wait::BreakerOpen,
            Some(90_000),
            Some(dead.endpoint),
            "rule:acme-sale@acme was in trouble and is left in peace; one delivery finds out in 1 m 30 s.",
        ),
        (
            Wait::RetryAfter,
            Some(60_000),
            Some(dead.endpoint),
            "the receiver of rule:acme-sale@acme asked for a rest; it goes on in 1 m.",
        ),
        (
            plain,
            Some(9_000),
            Some(dead.endpoint),
            "rule:acme-sale@acme is told nothing: this server's own settings do not allow plain http URLs; `roundtrip serve --allow-plain-http-out` does.",
        ),
    ] {
        put(wait, ms, endpoint);
        let one = world.get(&path).await.json(200);
        assert_eq!(world.get("/api/v1/jobs").await.json(200)["items"][0], one);
        assert_eq!(one["waits"], wait.code(), "{one}");
        assert_eq!(one.get("waits_for"), endpoint.map(|_| json!(name)).as_ref(), "{one}");
        assert_eq!(one.get("waits_until"), ms.map(|ms| json!(now.plus_ms(ms).to_string())).as_ref());
        let words = one["sentence"].as_str().expect("words");
        assert!(words.ends_with(says), "{words}");
        let page = world.get("/jobs").await.text;
        assert_eq!(page.contains("href=\"/endpoints/rule:acme-sale@acme\""), endpoint.is_some(), "{page}");
        assert!(page.contains(says.split([';', '\'']).next().expect("a beginning")), "{page}");
    }
    let paused = world.call(Method::POST, &format!("{path}/pause"), None).await.json(200);
    assert_eq!((&paused["state"], paused.get("waits")), (&json!("paused"), None), "it waits for its owner");
}

#[tokio::test]
async fn a_job_with_a_rate_waits_for_that() {
    let (world, _) = World::furnished().await;
    let wish = json!({ "kind": "replay", "filter": { "since": "24h" }, "rate": 0.1 });
    let made = post(&world, &wish, 201).await;
    let id = made["id"].as_str().expect("an id");
    let why = Why { wait: Wait::RateLimited, until: Some(world.clock.now().plus_ms(10_000)) };
    let wait = JobWait { why, endpoint: None };
    world.ledger.job_waits_put(JobWaits::from([((WS, id.parse().expect("a job's id")), wait)]));
    let job = world.get(&format!("/api/v1/jobs/{id}")).await.json(200);
    let words = job["sentence"].as_str().expect("words");
    assert!(words.ends_with("it is not to go faster than it was asked to; it goes on in 10 s."), "{words}");
}
