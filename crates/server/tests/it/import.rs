//! Import with the real binary: what is printed, what is applied, and that the old URLs work once they lead here.

use std::process::Output;

use http::HeaderName;
use serde_json::{Value, json};

use crate::house::{Call, DESKTOP, House, Line, Partners, our_click_id, until};
use crate::process::{roundtrip, run};

#[path = "../../src/command/import/systems.rs"]
mod systems;

use self::systems::SYSTEMS;

const LINK: &str = "https://app.appsflyer.com/com.example.shop?pid=acme_int&c=summer&clickid={click_id}&af_sub1={pub}&af_web_dp=https%3A%2F%2Fshop.example%2Fsummer%3Fclick_id%3D";

/// What a command printed, on both streams.
fn words(output: &Output) -> String {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    format!("{}{}", text(&output.stdout), text(&output.stderr))
}

#[track_caller]
fn expect(output: &Output, code: i32, parts: &[&str]) {
    let said = words(output);
    assert_eq!(output.status.code(), Some(code), "{said}");
    for part in parts {
        assert!(said.contains(part), "`{part}` in {said}");
    }
}

/// A running server with a web shop, and the partners' port.
async fn house(partners: &Partners) -> House {
    let flags = ["--allow-private=127.0.0.0/8", "--allow-plain-http-out", "--trusted-proxy=127.0.0.0/8"];
    let mut house = House::new(&flags);
    house.start();
    let document = json!({
        "apps": { "shop": { "platform": "web", "currency": "EUR" } },
        "partners": { "acme_int": { "name": "Acme Ads", "cfg": { "host": partners.address().to_string() } } },
        "keys": { "server": { "kind": "server", "app": "shop" } },
    });
    house.apply(&document).await;
    house
}

/// Runs `roundtrip import` against a server.
fn import(house: &House, arguments: &[&str]) -> Output {
    roundtrip()
        .arg("import")
        .args(arguments)
        .env("ROUNDTRIP_SERVER", format!("http://{}", house.server().address("admin")))
        .env("ROUNDTRIP_TOKEN", &house.token)
        .stdin(std::process::Stdio::null())
        .output()
        .expect("the binary runs")
}

/// A call as a trusted proxy passes it on.
fn from_outside(call: Call) -> Call {
    call.header(HeaderName::from_static("x-forwarded-for"), "203.0.113.9")
        .header(HeaderName::from_static("x-forwarded-proto"), "https")
        .browser(DESKTOP)
}

#[test]
fn printing_needs_no_server_and_says_by_its_code_what_came_along() {
    let whole = run(&["import", LINK, "--app=shop"]);
    expect(&whole, 0, &["Everything came along.", "[links.acme_int-summer]", "dialect = \"appsflyer\""]);
    let partly = run(&["import", &format!("{LINK}&af_prt=big"), "--app=shop", "--print"]);
    expect(&partly, 3, &["NOT carried:", "parameter af_prt = big"]);
    expect(&run(&["import", "javascript:alert(1)"]), 1, &["(import_scheme)"]);
    expect(&run(&["import", "https://a.example/x?a={click_id}"]), 1, &["(import_ambiguous)", "--as link"]);
    expect(&run(&["import", LINK, "--from=nobody"]), 1, &["(import_system_unknown)", "appsflyer"]);
    expect(&run(&["import"]), 2, &["<URL>"]);
    expect(&run(&["import", LINK, "--header=s3cr3t"]), 1, &["--header"]);

    let line = run(&["import", LINK, "--json"]);
    let line: Value = serde_json::from_slice(&line.stdout).expect("one JSON line");
    assert_eq!(
        (&line["type"], &line["kind"], &line["whole"]),
        (&json!("import"), &json!("link"), &json!(true))
    );
    let refused = run(&["import", "hello", "--json"]);
    let refused: Value = serde_json::from_slice(&refused.stdout).expect("one JSON line");
    assert_eq!((&refused["type"], &refused["code"]), (&json!("refused"), &json!("import_url_missing")));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_old_url_is_clicked_here_and_its_partner_is_told() {
    let partners = Partners::open(1).await;
    let mut house = house(&partners).await;

    let asked = import(&house, &[LINK, "--app=shop", "--apply"]);
    expect(&asked, 1, &["+ link acme_int-summer", "+ campaign summer", "Nothing was changed"]);
    let dry = import(&house, &[LINK, "--app=shop", "--apply", "--dry-run"]);
    expect(&dry, 0, &["Would create 2"]);
    let applied = import(&house, &[LINK, "--app=shop", "--apply", "--yes"]);
    expect(&applied, 0, &["Created 2, updated 0, deleted 0"]);
    let postback =
        format!("http://{}/told?cid=(clickid)&pub=(af_sub1)&token=9f86d081884c7d65", partners.address());
    let rule = ["--from=appsflyer", "--as=postback", "--partner=acme_int", "--app=shop", "--on=signup"];
    let arguments = [&[postback.as_str()][..], &rule[..], &["--apply", "--yes"][..]].concat();
    let applied = import(&house, &arguments);
    expect(&applied, 3, &["scheme = http: plain http", "+ rule acme_int-signup", "~ partner acme_int"]);
    assert!(!words(&applied).contains("9f86d081884c7d65"), "{}", words(&applied));
    expect(&import(&house, &arguments), 3, &["Nothing to change"]);
    let partner = house.admin().get("/api/v1/partners/acme_int").await;
    assert_eq!(partner["settings"]["name"], "Acme Ads", "the rest of the partner stays");

    let mut street = Line::to(&house.public());
    let old = "/com.example.shop?pid=acme_int&c=summer&clickid=own%2f1+x&af_sub1=p9&af_web_dp=https%3A%2F%2Fshop.example%2Fsummer%3Fclick_id%3D";
    let answer = street.call_again(&from_outside(Call::get(old))).await.expect("it is answered");
    assert_eq!(answer.status, 302, "{}", answer.text());
    assert!(answer.location().starts_with("https://shop.example/summer?"), "{}", answer.location());
    let view = house.admin().get("/api/v1/links/acme_int-summer").await;
    assert_eq!(view["settings"]["allow_destinations"], json!(["https://shop.example/"]));

    // The landing page gets our id where the link's own destination places it.
    let change = json!({ "document": { "links": { "acme_int-summer": {
        "campaign": "summer", "partner": "acme_int", "dialect": "appsflyer", "also": view["settings"]["also"],
        "destinations": { "web": "https://shop.example/summer?click_id={click_id}" },
    } } } });
    house.admin().post("/api/v1/apply", &change).await;
    let answer = street.call_again(&from_outside(Call::get(old))).await.expect("it is answered");
    let click = our_click_id(answer.location()).unwrap_or_else(|| panic!("no id in {}", answer.location()));

    let event = json!({ "event_name": "signup", "click_id": click });
    let call = Call::post("/v1/events", event.to_string()).json_body().bearer(&house.keys["server"]);
    let answer = street.call_again(&from_outside(call)).await.expect("it is answered");
    assert_eq!(answer.status, 202, "{}", answer.text());
    let told = until("the partner is told", async || partners.told().into_iter().next()).await;
    assert_eq!(told.path, "/told");
    assert_eq!(
        ["cid", "pub", "token"].map(|name| told.parameter(name).to_owned()),
        ["own/1 x", "p9", "9f86d081884c7d65"].map(str::to_owned)
    );
    house.end(rustix::process::Signal::TERM);
}

#[tokio::test(flavor = "multi_thread")]
async fn every_systems_old_url_finds_its_link_here() {
    let partners = Partners::open(1).await;
    let mut house = house(&partners).await;
    let dir = tempfile::tempdir().expect("there is room");
    let list = dir.path().join("urls.txt");
    let lines: Vec<String> = SYSTEMS.iter().map(|(_, link, _)| (*link).to_owned()).collect();
    std::fs::write(&list, format!("# links of others\n\n{}\nnonsense\n", lines.join("\n")))
        .expect("there is room");
    let file = format!("--file={}", list.display());
    let nameless = import(&house, &[&file, "--app=shop", "--apply", "--yes"]);
    expect(&nameless, 1, &["--partner SLUG", "--campaign SLUG", "nothing was changed"]);
    let named = [&file, "--app=shop", "--partner=acme", "--campaign=summer", "--apply", "--yes"];
    let applied = import(&house, &named);
    let counted = format!("{} URLs:", SYSTEMS.len() + 1);
    expect(
        &applied,
        1,
        &["line 22: `nonsense` is no URL", &counted, "1 refused", "(import_url_missing)", "Created"],
    );

    // A page for all of them, so that a click that finds its link leads somewhere.
    let settings = house.admin().get("/api/v1/settings").await;
    let mut document = settings["document"].clone();
    for (_, link) in document["links"].as_object_mut().expect("there are links") {
        link["destinations"]["fallback"] = json!("https://shop.example/any");
    }
    house.admin().post("/api/v1/apply", &json!({ "document": document })).await;

    let mut street = Line::to(&house.public());
    for (system, link, _) in SYSTEMS {
        let rest = link.split_once("://").and_then(|(_, rest)| rest.find('/').map(|at| &rest[at..]));
        let target = rest.expect("it has a path").replace(['{', '}'], "x");
        let answer = street.call_again(&from_outside(Call::get(&target))).await.expect("it is answered");
        assert!(matches!(answer.status, 200 | 302), "{system} {target}: {} {}", answer.status, answer.text());
        assert!(!answer.is_unstored(), "{system}");
    }
    let report = house.admin().get("/api/v1/report?by=link").await;
    assert_eq!(report["total"]["clicks"], json!(SYSTEMS.len()), "{report}");
    house.end(rustix::process::Signal::TERM);
}
