//! Lists, replays, tests and following by command, on the real server.

use std::collections::BTreeMap;

use rustix::process::Signal;
use serde_json::{Value, json};

use crate::house::{Call, DESKTOP, House, Line, Partners, our_click_id, until};
use crate::process::run;

fn document(address: std::net::SocketAddr) -> Value {
    json!({
        "apps": { "shop": { "platform": "web", "currency": "EUR", "postback": { "auth": "none" } } },
        "campaigns": { "sale": { "app": "shop", "landing_page": "https://shop.example/" } },
        "partners": { "acme": {} },
        "links": { "shop-acme": { "campaign": "sale", "partner": "acme" } },
        "rules": { "all": {
            "app": "shop", "on": "purchase", "pending": true,
            "url": format!("http://{address}/all?e={{event_id}}&c={{click_id}}"),
        } },
    })
}

/// A command, its exit code, and the JSON lines that it printed.
fn command(house: &House, arguments: &[&str]) -> (Option<i32>, Vec<Value>) {
    let server = format!("--server=http://{}", house.server().address("admin"));
    let data = format!("--data={}", house.data().display());
    let mut all = arguments.to_vec();
    all.extend([server.as_str(), data.as_str(), "--json"]);
    let output = run(&all);
    let text = String::from_utf8(output.stdout).expect("UTF-8");
    let lines = text.lines().map(|line| serde_json::from_str(line).expect("it prints JSON lines")).collect();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(errors.is_empty() || output.status.code() == Some(1), "{errors}");
    (output.status.code(), lines)
}

/// How often each event was told.
fn told(partners: &Partners) -> BTreeMap<String, usize> {
    let mut told = BTreeMap::new();
    for request in partners.told().iter().filter(|told| told.path == "/all") {
        *told.entry(request.parameter("e").to_owned()).or_default() += 1;
    }
    told
}

#[tokio::test(flavor = "multi_thread")]
async fn deliveries_are_listed_followed_tested_and_told_again() {
    let partners = Partners::open(1).await;
    let mut house = House::new(&["--allow-private=127.0.0.0/8", "--allow-plain-http-out"]);
    house.start();
    house.apply(&document(partners.address())).await;
    let mut line = Line::to(&house.public());
    for order in 0..3 {
        let visit = Call::get(&format!("/c/shop-acme?click_id=a{order}")).browser(DESKTOP);
        let click =
            our_click_id(line.call(&visit).await.expect("a redirect").location()).expect("a click id");
        let call = Call::get(&format!("/postback?click_id={click}&order_id=o-{order}&amount=10"));
        line.call(&call).await.expect("an answer");
    }
    until("all are told", async || (told(&partners).len() == 3).then_some(())).await;
    house.drained().await;
    let (code, listed) =
        command(&house, &["deliveries", "--state", "delivered", "--partner", "acme", "--since", "1h"]);
    assert_eq!((code, listed.len()), (Some(0), 3), "{listed:?}");
    let (code, none) = command(&house, &["deliveries", "--state", "dead"]);
    assert_eq!((code, none.len()), (Some(0), 0));

    let replay = ["replay", "--state", "delivered", "--since", "1h"];
    let (code, trial) = command(&house, &[&replay[..], &["--dry-run"]].concat());
    assert_eq!((code, &trial[0]["done"]), (Some(0), &json!(3)));
    let (code, nobody) = command(&house, &replay);
    assert_eq!((code, nobody.len()), (Some(1), 0), "nobody is there to agree");
    assert_eq!(told(&partners).values().sum::<usize>(), 3);

    // Somebody follows while a job tells all of them again.
    let follower = {
        let server = format!("--server=http://{}", house.server().address("admin"));
        let data = format!("--data={}", house.data().display());
        tokio::task::spawn_blocking(move || {
            run(&["tail", "--rule", "all", "--count", "1", "--full", "--json", &server, &data])
        })
    };
    let job = until("a job is seen to its end by somebody who follows", async || {
        let (code, job) = command(&house, &[&replay[..], &["--yes", "--rate", "1000"]].concat());
        assert_eq!((code, &job[0]["state"]), (Some(0), &json!("done")), "{job:?}");
        follower.is_finished().then_some(job)
    })
    .await;
    assert_eq!(job[0]["done"], json!(3));
    let followed = follower.await.expect("it ends by itself");
    let followed: Value = serde_json::from_slice(&followed.stdout).expect("one JSON line");
    assert_eq!(followed["attempt"]["outcome"], json!("http_200"), "{followed}");
    assert!(followed["attempt"]["request"]["line"].as_str().expect("a line").starts_with("GET /all?e=evt_"));
    house.drained().await;
    let counts = told(&partners);
    assert!(counts.len() == 3 && counts.values().all(|n| *n >= 2), "the same events again: {counts:?}");
    let (_, jobs) = command(&house, &["jobs"]);
    assert_eq!(jobs[0]["id"], job[0]["id"]);

    let (code, test) = command(&house, &["endpoint", "test", "rule:all@acme"]);
    assert_eq!((code, &test[0]["delivery"]["state"]), (Some(0), &json!("delivered")), "{test:?}");
    let attempt = &test[0]["delivery"]["attempts"][0];
    assert_eq!(attempt["address"], json!(partners.address().to_string()));
    assert!(attempt["phases"]["total_us"].as_u64().is_some_and(|us| us > 0), "{attempt}");
    let books = house.admin().get("/api/v1/balance").await;
    assert_eq!(books["balanced"], json!(true), "{books}");

    let (status, page) = house.server().get("public", "/share/nothing", None);
    assert!(status == 404 && page.contains("opens nothing"), "{page}");
    let (status, _) = house.server().get("public", "/jobs", None);
    assert_eq!(status, 404, "pages of the owner's are not on the public listener");
    house.end(Signal::TERM);
}
