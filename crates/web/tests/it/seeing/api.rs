//! Stories and figures over the API, and on a terminal.

use http::Method;
use roundtrip_web::story::text::{self, Paper};
use roundtrip_web::story::{Explained, Story};
use serde_json::Value;

use super::world::{BROWSER, CUSTOMER, Facts, GAID, INSTALL, IP, World, redact};

fn event_story(value: Value) -> Story {
    match serde_json::from_value(value).expect("the shape of a story") {
        Explained::Event(story) => *story,
        Explained::Click(_) | Explained::Delivery(_) => panic!("a story of an event"),
    }
}

#[tokio::test]
async fn a_story_is_whole_and_the_same_under_every_id() {
    let (world, facts) = World::furnished().await;
    let conversion = facts.install.conversion();
    let value = world.get(&format!("/api/v1/conversions/{conversion}/explain")).await.json(200);
    insta::assert_snapshot!("install_json", redact(&serde_json::to_string_pretty(&value).expect("text")));
    assert_eq!(value, world.get(&format!("/api/v1/explain/{}", facts.install)).await.json(200));

    let story = event_story(value);
    let delivery = &story.deliveries[0].id;
    assert_eq!(event_story(world.get(&format!("/api/v1/explain/{delivery}")).await.json(200)), story);
    let paper = Paper { width: 100, colour: false };
    insta::assert_snapshot!("install_text", redact(&text::story(&story, paper)));
    let coloured = text::story(&story, Paper { colour: true, ..paper });
    assert!(coloured.contains("\x1b[32m") && !text::story(&story, paper).contains('\x1b'));
    let narrow = text::story(&story, Paper { width: 48, ..paper });
    let heads = |line: &&str| !line.starts_with(['●', '↓', '→']);
    assert!(narrow.lines().filter(heads).all(|line| line.chars().count() <= 48), "{narrow}");
}

#[tokio::test]
async fn followers_organic_and_unknown_say_why() {
    let (world, facts) = World::furnished().await;
    let mut told = String::new();
    for id in [facts.purchase, facts.organic, facts.orphan] {
        let story = event_story(world.get(&format!("/api/v1/explain/{id}")).await.json(200));
        told.push_str(&text::story(&story, Paper { width: 100, colour: false }));
        told.push('\n');
    }
    insta::assert_snapshot!("others_text", redact(&told));
}

#[tokio::test]
async fn a_click_says_what_it_earned() {
    let (world, facts) = World::furnished().await;
    let path = format!("/api/v1/clicks/{}", facts.click.id);
    let click = world.get(&path).await.json(200);
    let earned: Vec<_> =
        click["events"].as_array().expect("a list").iter().map(|e| e["event"].as_str()).collect();
    assert_eq!(earned, [Some(facts.install.to_string().as_str()), Some(facts.purchase.to_string().as_str())]);
    assert_eq!(click["click"].get("query"), None);
    let full = world.get(&format!("{path}?full=true")).await.json(200);
    assert!(full["click"]["query"].as_str().expect("the query").contains(GAID), "{full}");
    let explained = world.get(&format!("/api/v1/explain/{}", facts.click.id)).await.json(200);
    assert_eq!((&explained["about"], &explained["sentence"]), (&Value::from("click"), &click["sentence"]));
}

#[tokio::test]
async fn personal_data_is_masked_unless_asked_for() {
    let (world, facts) = World::furnished().await;
    let secrets = |facts: &Facts| {
        let click = facts.click.click.user_agent.clone().unwrap_or_default();
        [GAID, CUSTOMER, INSTALL, IP, BROWSER, "somebody@example.com", "reader=somebody"]
            .map(str::to_owned)
            .into_iter()
            .chain([click])
    };
    let install = format!("/api/v1/explain/{}", facts.install);
    let (masked, full) =
        (world.get(&install).await.text, world.get(&format!("{install}?full=true")).await.text);
    let page = world.get(&format!("/conversions/{}", facts.install)).await.text;
    let click = world.get(&format!("/api/v1/clicks/{}", facts.click.id)).await.text;
    for secret in secrets(&facts) {
        for (name, text) in [("story", &masked), ("page", &page), ("click", &click)] {
            assert!(!text.to_lowercase().contains(&secret.to_lowercase()), "{name} shows {secret}");
        }
    }
    for secret in [GAID, CUSTOMER, INSTALL, IP, BROWSER, "somebody@example.com"] {
        assert!(full.contains(secret), "the full story lacks {secret}");
    }
    for kept in
        ["3840…000d", "203.0.113.0/24", "net-123", "/p?click_id=net-123&gaid=3840…000d&ip=203.0.113.0/24"]
    {
        assert!(masked.contains(kept), "the masked story lacks {kept}: {masked}");
    }
}

#[tokio::test]
async fn the_list_has_pages_and_filters() {
    let (world, facts) = World::furnished().await;
    let all = world.get("/api/v1/conversions").await.json(200);
    let ids = |page: &Value| -> Vec<String> {
        page["items"]
            .as_array()
            .expect("items")
            .iter()
            .map(|i| i["event"].as_str().unwrap_or_default().to_owned())
            .collect()
    };
    let newest_first: Vec<String> =
        [facts.orphan, facts.organic, facts.purchase, facts.install].map(|id| id.to_string()).into();
    assert_eq!(ids(&all), newest_first);
    assert_eq!(all.get("next"), None);
    let first = world.get("/api/v1/conversions?limit=3").await.json(200);
    let next = first["next"].as_str().expect("another page");
    let second = world.get(&format!("/api/v1/conversions?limit=3&before={next}")).await.json(200);
    assert_eq!(ids(&second), newest_first[3..]);
    let item = &second["items"][0];
    assert_eq!(
        (&item["match_type"], &item["partner"]["slug"]),
        (&Value::from("install_referrer"), &Value::from("acme"))
    );
    assert_eq!((&item["postbacks"]["delivered"], &item["suppressed"]), (&Value::from(1), &Value::from(1)));
    for (filter, want) in
        [("partner=acme", 2), ("partner=zen", 0), ("kind=install", 2), ("app=shop&kind=purchase", 1)]
    {
        let page = world.get(&format!("/api/v1/conversions?{filter}")).await.json(200);
        assert_eq!(ids(&page).len(), want, "{filter}");
    }
    for (bad, field) in [
        ("partner=nobody", "partner"),
        ("kind=refund", "kind"),
        ("before=evt_1", "before"),
        ("limit=0", "limit"),
    ] {
        let refused = world.get(&format!("/api/v1/conversions?{bad}")).await.json(400);
        assert_eq!(
            (&refused["error"]["code"], &refused["error"]["field"]),
            (&"parameter_invalid".into(), &field.into())
        );
    }
}

#[tokio::test]
async fn the_report_counts_clicks_that_are_not_published_yet() {
    let (world, _) = World::furnished().await;
    let report = world.get("/api/v1/report?from=2026-05-01&to=2026-06-04").await.json(200);
    insta::assert_json_snapshot!("report_by_partner", report, { ".rows[].group.id" => "[prt]" });
    for slice in closed(&world) {
        world.ledger.slice_publish(slice.clone()).await.expect("published");
        let same = world.get("/api/v1/report?from=2026-05-01&to=2026-06-04").await.json(200);
        assert_eq!(same["total"], report["total"], "published in the ledger, not yet confirmed in the log");
        world.clicks.published(slice.seq).expect("confirmed");
    }
    for by in ["campaign", "link", "app"] {
        let other =
            world.get(&format!("/api/v1/report?from=2026-05-01&to=2026-06-04&by={by}")).await.json(200);
        assert_eq!(other["total"]["clicks"], report["total"]["clicks"], "{by}");
        assert_eq!(other["total"]["installs"], report["total"]["installs"], "{by}");
        assert_eq!(other["total"]["postbacks"].is_object(), by == "app", "{by}");
    }
    // The clicks and what follows from them came from Germany; of other events nobody knows.
    let other = world.get("/api/v1/report?from=2026-05-01&to=2026-06-04&by=country").await.json(200);
    for name in
        ["clicks", "clicks_without_id", "installs", "signups", "purchases", "events", "pending", "revenue"]
    {
        assert_eq!(other["total"][name], report["total"][name], "{name}");
    }
    insta::assert_json_snapshot!("report_by_country", other);
    let local =
        world.get("/api/v1/report?from=2026-06-05&to=2026-06-05&tz=Pacific/Kiritimati").await.json(200);
    assert_eq!(local["total"]["installs"], 0, "09:21 UTC is 23:21 of the same day fourteen hours ahead");
}

fn closed(world: &World) -> Vec<roundtrip_store::click_log::ClosedSlice> {
    assert!(world.clicks.close_now(), "the slice closes in time");
    let slices = world.clicks.to_publish();
    assert!(!slices.is_empty());
    slices
}

#[tokio::test]
async fn the_books_balance_and_say_so() {
    let (world, _) = World::furnished().await;
    let books = world.get("/api/v1/balance").await.json(200);
    assert_eq!(books["balanced"], true, "{books}");
    assert_eq!(
        (&books["total"]["considered"], &books["total"]["planned"]),
        (&5.into(), &2.into()),
        "{books}"
    );
    assert_eq!(books["success_rate"], "50.0");
    insta::assert_snapshot!("books_sentence", books["sentence"].as_str().expect("a sentence"));
}

#[tokio::test]
async fn a_replay_tells_the_same_event_under_a_new_delivery() {
    let (world, facts) = World::furnished().await;
    world.ledger.due_take();
    let path = format!("/api/v1/deliveries/{}", facts.dead);
    let delivery = world.get(&path).await.json(200);
    assert_eq!(
        (&delivery["delivery"]["state"], &delivery["event"]),
        (&"dead".into(), &facts.purchase.to_string().into())
    );

    let replayed = world.call(Method::POST, &format!("{path}/replay"), None).await.json(201);
    assert_eq!(replayed["event"], delivery["event"]);
    assert_ne!(replayed["id"], delivery["delivery"]["id"]);
    let handed: Vec<String> = world.ledger.due_take().iter().map(|due| due.delivery.to_string()).collect();
    assert_eq!(handed, [replayed["id"].as_str().expect("an id")], "the engine is handed it at once");
    let story = event_story(world.get(&format!("/api/v1/explain/{}", facts.purchase)).await.json(200));
    assert_eq!(story.deliveries.len(), 2);
    assert_eq!(story.deliveries[1].replay_of.as_deref(), Some(facts.dead.to_string().as_str()));
    assert!(story.next.iter().all(|step| !step.sentence.contains("roundtrip replay")), "{:?}", story.next);
    assert_eq!(world.get("/api/v1/balance").await.json(200)["balanced"], true);

    let conversion = format!("/api/v1/conversions/{}", facts.purchase);
    let reason = serde_json::json!({ "reason": "returned" });
    world.call(Method::POST, &format!("{conversion}/reject"), Some(&reason)).await.json(200);
    let refused = world.call(Method::POST, &format!("{path}/replay"), None).await.json(409);
    assert_eq!(refused["error"]["code"], "conversion_rejected");
    world.call(Method::POST, &format!("{conversion}/approve"), Some(&serde_json::json!({}))).await.json(200);
    world.call(Method::POST, &format!("{path}/replay"), None).await.json(201);

    world.call(Method::DELETE, "/api/v1/rules/acme-sale", None).await.json(200);
    let refused = world.call(Method::POST, &format!("{path}/replay"), None).await.json(409);
    assert_eq!(refused["error"]["code"], "replay_refused");
}

#[tokio::test]
async fn ids_of_nothing_are_refused() {
    let world = World::set_up().await;
    let unknown = "01KAHS8Z4N2T7QX5W3R9M6B0CD";
    let cases = [
        (format!("/api/v1/explain/evt_{unknown}"), 404, "id_unknown"),
        (format!("/api/v1/explain/dlv_{unknown}"), 404, "id_unknown"),
        (format!("/api/v1/deliveries/dlv_{unknown}"), 404, "id_unknown"),
        ("/api/v1/clicks/0197a3f0-0000-7000-8000-000000000000".to_owned(), 404, "id_unknown"),
        ("/api/v1/clicks/4711".to_owned(), 400, "parameter_invalid"),
        (format!("/api/v1/deliveries/evt_{unknown}"), 400, "parameter_invalid"),
        ("/api/v1/explain/prt_4711".to_owned(), 400, "parameter_invalid"),
        (format!("/api/v1/explain/evt_{unknown}?full=perhaps"), 400, "parameter_invalid"),
        ("/api/v1/report?by=weather".to_owned(), 400, "parameter_invalid"),
        ("/api/v1/report?from=yesterday".to_owned(), 400, "parameter_invalid"),
    ];
    for (path, status, code) in cases {
        assert_eq!(world.get(&path).await.json(status)["error"]["code"], code, "{path}");
    }
}
