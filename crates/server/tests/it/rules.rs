//! Rules on the real server: a group, a delay over a kill, an approval and a rejection by command.

use rustix::process::Signal;
use serde_json::{Value, json};

use crate::house::{Call, DESKTOP, House, Line, Partners, our_click_id, until};
use crate::process::run;

fn document(address: std::net::SocketAddr) -> Value {
    let rule = |path: &str, on: &str, more: Value| {
        let url = format!(
            "http://{address}/{path}?e={{event_id}}&p={{cfg.name}}&v={{revenue}}&w={{reject_reason}}"
        );
        let mut rule = json!({ "app": "shop", "on": on, "url": url });
        if let (Some(all), Value::Object(more)) = (rule.as_object_mut(), more) {
            all.extend(more);
        }
        rule
    };
    json!({
        "apps": { "shop": { "platform": "web", "currency": "EUR", "postback": { "auth": "none" } } },
        "campaigns": { "sale": { "app": "shop", "landing_page": "https://shop.example/" } },
        "partners": { "acme": { "cfg": { "name": "acme" } }, "zeta": { "cfg": { "name": "zeta" } } },
        "partner_groups": { "both": { "partners": ["acme", "zeta"] } },
        "links": { "shop-acme": { "campaign": "sale", "partner": "acme" } },
        "rules": {
            "all": rule("all", "purchase", json!({ "group": "both", "scope": "all" })),
            "held": rule("held", "purchase", json!({ "delay": "3s", "share_revenue": { "percent": 50 } })),
            "abroad": rule("abroad", "purchase", json!({ "when": { "country": ["JP"] } })),
            "no": rule("no", "rejected", json!({})),
        },
    })
}

/// The command, and what it printed.
fn conversion(house: &House, arguments: &[&str]) -> Value {
    let server = format!("--server=http://{}", house.server().address("admin"));
    let data = format!("--data={}", house.data().display());
    let mut all = vec!["conversion"];
    all.extend(arguments);
    all.extend([server.as_str(), data.as_str(), "--json"]);
    let output = run(&all);
    assert_eq!(output.status.code(), Some(0), "{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).expect("it prints JSON")
}

#[tokio::test(flavor = "multi_thread")]
async fn approved_told_to_a_group_held_back_over_a_kill_and_rejected() {
    let partners = Partners::open(1).await;
    let mut house = House::new(&["--allow-private=127.0.0.0/8", "--allow-plain-http-out"]);
    house.start();
    house.apply(&document(partners.address())).await;
    let mut line = Line::to(&house.public());
    let visit = Call::get("/c/shop-acme?click_id=a1").browser(DESKTOP);
    let answer = line.call(&visit).await.expect("a redirect");
    let click = our_click_id(answer.location()).expect("our click id");
    let call = Call::get(&format!("/postback?click_id={click}&order_id=o-1&amount=10"));
    let kept = line.call(&call).await.expect("an answer").json();
    let id = kept["conversion_id"].as_str().expect("a conversion").to_owned();
    house.drained().await;
    assert!(partners.told().is_empty(), "it waits for approval");
    let story = house.admin().get(&format!("/api/v1/explain/{id}")).await;
    let why: Vec<_> = story["rules"].as_array().expect("rules").iter().map(|r| &r["suppressed"]).collect();
    assert_eq!(why, vec![&json!("pending"); 4], "{story}");

    let approved = conversion(&house, &["approve", &id]);
    assert_eq!((&approved["from"], &approved["changed"]), (&json!("pending"), &json!(true)));
    let mut told = until("the group is told", async || {
        let told = partners.told();
        (told.iter().filter(|t| t.path == "/all").count() == 2).then_some(told)
    })
    .await;
    told.retain(|t| t.path == "/all");
    let mut names: Vec<_> = told.iter().map(|t| t.parameter("p")).collect();
    names.sort_unstable();
    assert_eq!(names, ["acme", "zeta"]);
    let story = house.admin().get(&format!("/api/v1/explain/{id}")).await;
    let deliveries = story["deliveries"].as_array().expect("deliveries");
    let held = deliveries.iter().find(|d| d["rule"]["slug"] == "held").expect("it is planned").clone();
    assert_eq!((&held["state"], &held["reason"]), (&json!("scheduled"), &json!("delayed")), "{held}");
    let rules = story["rules"].as_array().expect("rules");
    let abroad = rules.iter().find(|r| r["rule"]["slug"] == "abroad").expect("it was considered");
    assert_eq!((&abroad["suppressed"], &abroad["condition"]["wanted"]), (&json!("condition"), &json!("JP")));

    house.end(Signal::KILL);
    assert!(!partners.told().iter().any(|t| t.path == "/held"), "killed before its time");
    house.start();
    let sent =
        until("what was held back is sent", async || partners.told().into_iter().find(|t| t.path == "/held"))
            .await;
    assert_eq!((sent.parameter("p"), sent.parameter("v")), ("acme", "5.00"));
    house.drained().await;
    let story = house.admin().get(&format!("/api/v1/explain/{id}")).await;
    let deliveries = story["deliveries"].as_array().expect("deliveries");
    let held_now = deliveries.iter().find(|d| d["id"] == held["id"]).expect("it is kept");
    assert_eq!(held_now["state"], "delivered");
    assert!(
        held_now["attempts"][0]["at"].as_str() >= held["due"].as_str(),
        "not before it was due: {held_now}"
    );

    let rejected = conversion(&house, &["reject", &id, "--reason", "returned goods"]);
    let change = rejected["event"].as_str().expect("the change").to_owned();
    let no =
        until("the rejection is told", async || partners.told().into_iter().find(|t| t.path == "/no")).await;
    assert_eq!((no.parameter("e"), no.parameter("w")), (change.as_str(), "returned goods"));
    let again = conversion(&house, &["reject", &id, "--reason", "twice"]);
    assert_eq!(again["changed"], json!(false));
    house.drained().await;
    let output = run(&[
        "conversion",
        "reject",
        &id,
        &format!("--server=http://{}", house.server().address("admin")),
        &format!("--data={}", house.data().display()),
    ]);
    assert_eq!(output.status.code(), Some(1), "a rejection says why");
    let books = house.admin().get("/api/v1/balance").await;
    assert_eq!(books["balanced"], json!(true), "{books}");
    house.end(Signal::TERM);
}
