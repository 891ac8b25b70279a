//! The books by command, on the real server: a partner's list that lacks something, its repair, and a signed day.

use std::path::Path;
use std::process::{Command, Output};

use serde_json::{Value, json};

use crate::house::{Call, DESKTOP, House, Line, Partners, our_click_id, until};
use crate::process::run;

fn document(address: std::net::SocketAddr) -> Value {
    let url = format!(
        "http://{address}/pb?e={{event_id}}&c={{click_id}}&v={{revenue}}&cur={{currency}}&t={{event_time}}"
    );
    json!({
        "apps": { "shop": { "platform": "web", "currency": "EUR" } },
        "campaigns": { "sale": { "app": "shop", "landing_page": "https://shop.example/" } },
        "partners": { "acme": {} },
        "links": { "shop-acme": { "campaign": "sale", "partner": "acme" } },
        "keys": { "shop-postback": { "kind": "postback", "app": "shop" } },
        "rules": { "sales": { "app": "shop", "partner": "acme", "on": "purchase", "url": url, "share_revenue": true } },
    })
}

fn command(house: &House, arguments: &[&str]) -> Output {
    let server = format!("--server=http://{}", house.server().address("admin"));
    let data = format!("--data={}", house.data().display());
    let mut all = arguments.to_vec();
    all.extend([server.as_str(), data.as_str()]);
    run(&all)
}

/// The exit code, and the JSON lines that were printed.
fn lines(output: &Output) -> (Option<i32>, Vec<Value>) {
    let text = String::from_utf8_lossy(&output.stdout);
    let read = |line| serde_json::from_str(line).unwrap_or_else(|_| panic!("no JSON: {line}"));
    let lines: Vec<Value> = text.lines().map(read).collect();
    assert!(!lines.is_empty(), "{}", String::from_utf8_lossy(&output.stderr));
    (output.status.code(), lines)
}

/// What the partner has, as its own system would print it: every fact once, times in New York.
fn list_of(partners: &Partners, path: &Path) {
    let mut text = "\u{feff}SubID;Payout;Conv Time;Network Note\r\n".to_owned();
    let mut seen = std::collections::BTreeSet::new();
    for told in partners.told().iter().filter(|told| told.taken) {
        if !seen.insert(told.parameter("e").to_owned()) {
            continue;
        }
        let at = jiff::Timestamp::from_second(told.parameter("t").parse().expect("seconds")).expect("a time");
        let at = at.to_zoned(jiff::tz::TimeZone::get("America/New_York").expect("a zone"));
        let amount = told.parameter("v").replace('.', ",");
        text.push_str(&format!(
            "{};\"{amount}\";{};\"a; b\"\r\n",
            told.parameter("c"),
            at.strftime("%d.%m.%Y %H:%M:%S")
        ));
    }
    std::fs::write(path, text).expect("it is written");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_list_lacks_is_named_and_repaired() {
    let partners = Partners::open(7).await;
    let mut house = House::new(&["--allow-private=127.0.0.0/8", "--allow-plain-http-out"]);
    house.start();
    house.apply(&document(partners.address())).await;
    let mut line = Line::to(&house.public());
    let token = house.keys["shop-postback"].clone();
    let mut buy = async |click: &str, order: &str, amount: &str| {
        let visit = Call::get(&format!("/c/shop-acme?click_id={click}")).browser(DESKTOP);
        let answer = line.call(&visit).await.expect("a redirect");
        let ours = our_click_id(answer.location()).expect("our click id");
        let call =
            Call::get(&format!("/postback?click_id={ours}&order_id={order}&amount={amount}&token={token}"));
        line.call(&call).await.expect("an answer").json();
    };
    buy("a1", "o-1", "10").await;
    buy("a2", "o-2", "1234.5").await;
    house.drained().await;
    partners.set_refusing(true);
    buy("a3", "o-3", "30").await;
    house.drained().await;
    partners.set_refusing(false);

    let path = house.data().join("list.csv");
    list_of(&partners, &path);
    let file = path.display().to_string();
    let today = jiff::Timestamp::now().to_zoned(jiff::tz::TimeZone::get("America/New_York").expect("a zone"));
    // The list has no line of the third sale, whose day may have begun since.
    let to = format!("--to={}", today.date());
    let mapped =
        ["--map=click_id=SubID,amount=Payout,time=Conv Time", "--tz=America/New_York", "--save-mapping"];
    let mut arguments = vec!["reconcile", &file, "--partner=acme", "--json", &to];
    arguments.extend(mapped);
    let (code, said) = lines(&command(&house, &arguments));
    assert_eq!(code, Some(2), "{said:?}");
    let totals = &said[0]["totals"];
    assert_eq!(
        (&totals["rows"], &totals["matched"], &totals["missing_there"]),
        (&json!(2), &json!(2), &json!(1)),
        "{said:?}"
    );
    assert_eq!((&said[1]["verdict"], &said[1]["cause"]), (&json!("missing_there"), &json!("failed")));

    // The mapping is kept: nothing has to be said again. Nobody can be asked here.
    let plain = ["reconcile", &file, "--partner=acme", "--replay", &to];
    let refused = command(&house, &plain);
    assert_eq!(refused.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&refused.stderr).contains("give --yes"), "{refused:?}");
    let out = house.data().join("out.csv");
    let csv = format!("--csv={}", out.display());
    let output = command(&house, &["reconcile", &file, "--partner=acme", "--replay", "--yes", &to, &csv]);
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(text.contains("1 of 1 are told once more"), "{text}");
    assert!(text.contains("amount=Payout, click_id=SubID, time=Conv Time"), "{text}");
    assert!(std::fs::read_to_string(&out).expect("it is written").contains("missing_there,failed"));
    until("it is told once more", async || {
        partners.told().iter().any(|told| told.taken && told.parameter("c") == "a3").then_some(())
    })
    .await;
    house.drained().await;
    list_of(&partners, &path);
    let (code, said) = lines(&command(&house, &["reconcile", &file, "--partner=acme", "--json", &to]));
    assert_eq!(
        (code, &said[0]["clean"], &said[0]["totals"]["matched"]),
        (Some(0), &json!(true), &json!(3)),
        "{said:?}"
    );

    // The owner's orders: one of them never came.
    let orders = house.data().join("orders.json");
    let at = jiff::Timestamp::now();
    let order = |id: &str, total: f64| json!({ "order_id": id, "total": total, "currency": "EUR", "created_at": at.to_string() });
    let list = json!({ "orders": [order("o-1", 10.0), order("o-2", 1234.5), order("o-3", 31.0), order("o-4", 5.0)] });
    std::fs::write(&orders, list.to_string()).expect("it is written");
    // The day can change between two sales.
    let from = format!("--from={}", (at - jiff::SignedDuration::from_hours(1)));
    let until_now = format!("--to={}", (at + jiff::SignedDuration::from_hours(1)));
    let orders = orders.display().to_string();
    let (code, said) =
        lines(&command(&house, &["reconcile", &orders, "--revenue", "--json", &from, &until_now]));
    let causes: Vec<&str> = said[1..].iter().filter_map(|finding| finding["cause"].as_str()).collect();
    assert_eq!((code, causes), (Some(2), vec!["amount_differs", "order_unknown"]), "{said:?}");

    statements(&house, &partners).await;
    let output = command(&house, &["status", "--days", "--partner=acme"]);
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert_eq!(output.status.code(), Some(0), "{text}");
    assert!(text.contains("1 http_404") && text.contains("3 http_200"), "{text}");
    house.end(rustix::process::Signal::TERM);
}

/// The days of a test that runs over midnight are two.
async fn statements(house: &House, partners: &Partners) {
    let now = jiff::Timestamp::now().to_zoned(jiff::tz::TimeZone::UTC).date();
    let days = [now.yesterday().expect("a day"), now];
    let key = house.admin().get("/api/v1/statement/key").await["key"].as_str().expect("a key").to_owned();
    let path = house.data().join("statement.json");
    let file = path.display().to_string();
    let mut entries = 0;
    for day in days {
        let day = day.to_string();
        let (code, said) = lines(&command(house, &["statement", "acme", &day, "--json"]));
        assert_eq!(code, Some(0));
        entries += said[0]["total_entries"].as_u64().expect("a number");
        std::fs::write(&path, said[0].to_string()).expect("it is written");
        let verify = format!("--verify={file}");
        let checked = command(house, &["statement", "acme", &day, &verify]);
        assert_eq!(checked.status.code(), Some(0), "{}", String::from_utf8_lossy(&checked.stdout));

        // The partner checks it too, with what it received on that day and nothing of ours.
        let stated = said[0]["entries"].as_array().expect("entries").iter();
        let stated: Vec<&str> = stated.filter_map(|entry| entry["event_id"].as_str()).collect();
        let mut records = "event_id,partner_click_id,kind,amount,currency\n".to_owned();
        for told in partners.told().iter().filter(|told| told.taken && stated.contains(&told.parameter("e")))
        {
            let cells = [
                told.parameter("e"),
                told.parameter("c"),
                "purchase",
                told.parameter("v"),
                told.parameter("cur"),
            ];
            records.push_str(&format!("{}\n", cells.join(",")));
        }
        let own = house.data().join("records.csv");
        std::fs::write(&own, &records).expect("it is written");
        let python = |own: &Path, key: &str| {
            let script = concat!(env!("CARGO_MANIFEST_DIR"), "/../../examples/statements/verify.py");
            let output = Command::new("python3").arg(script).arg(&path).arg(key).arg(own).output();
            let output = output.expect("python3 runs; test.sh installs it");
            (output.status.code(), String::from_utf8_lossy(&output.stdout).into_owned())
        };
        let (code, text) = python(&own, &key);
        assert_eq!(code, Some(0), "{text}");
        if stated.is_empty() {
            continue;
        }
        std::fs::write(&own, records.replacen(",purchase,", ",install,", 1)).expect("it is written");
        assert!(python(&own, &key).1.contains("other values than those that are stated"));
        let (code, text) = python(&own, "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=");
        assert!(code == Some(1) && text.contains("not that key's"), "{text}");
        let forged = said[0].to_string().replacen("purchase", "install", 1);
        std::fs::write(&path, forged).expect("it is written");
        assert_eq!(command(house, &["statement", "acme", &day, &verify]).status.code(), Some(1));
    }
    assert_eq!(entries, 3, "each fact arrived once");
}
