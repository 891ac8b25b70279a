//! The template library, a partner's sheet and a test send, with the real binary.

use std::io::{Read as _, Write as _};
use std::net::TcpListener;
use std::process::Output;
use std::sync::mpsc;

use serde_json::{Value, json};

use crate::process::{Server, WAIT, run};

const SETTINGS: &str = r#"
[apps.shop]
platform = "android"
bundle_id = "com.example.shop"

[apps.site]
platform = "web"

[campaigns.summer]
app = "shop"

[partners.acme]
name = "Acme Ads"

[links.acme-summer]
campaign = "summer"
partner = "acme"
"#;

/// A server with an app, a partner and a link.
struct House {
    server: Server,
    dir: tempfile::TempDir,
}

impl House {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let server = Server::start(&dir.path().join("data"), &["--public-url=https://go.shop.example"]);
        let house = Self { server, dir };
        let file = house.dir.path().join("roundtrip.toml");
        std::fs::write(&file, SETTINGS).unwrap();
        let applied = house.run(&["apply", file.to_str().unwrap()]);
        assert_eq!(applied.status.code(), Some(0), "{}", words(&applied));
        house
    }

    fn run(&self, arguments: &[&str]) -> Output {
        let server = format!("--server=http://{}", self.server.address("admin"));
        let data = format!("--data={}", self.dir.path().join("data").display());
        let arguments: Vec<&str> =
            arguments.iter().copied().chain([server.as_str(), data.as_str()]).collect();
        run(&arguments)
    }

    fn add(&self, more: &[&str]) -> Output {
        let arguments: Vec<&str> = ["template", "add"].iter().chain(more).copied().collect();
        self.run(&arguments)
    }
}

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

#[test]
fn the_library_is_listed_and_shown_without_a_server() {
    let all = run(&["template", "list"]);
    expect(&all, 0, &["everflow", "Community, unverified", "links only"]);
    let lines = run(&["template", "list", "everflow", "--json"]);
    let lines = String::from_utf8(lines.stdout).unwrap();
    let slugs: Vec<Value> =
        lines.lines().map(|line| serde_json::from_str::<Value>(line).unwrap()["slug"].clone()).collect();
    assert_eq!(slugs, [json!("everflow"), json!("everflow-event")]);
    expect(&run(&["template", "list", "nothing-like-it"]), 1, &["has nothing about `nothing-like-it`"]);
    expect(&run(&["template", "show", "snap-app"]), 0, &["snap_app_id", "/events/validate?", "Unconfirmed:"]);
    expect(&run(&["template", "show", "everflaw"]), 1, &["did you mean `everflow`?"]);
    let tried = run(&["template", "test", "--library=everflow"]);
    expect(&tried, 0, &["GET https://www.acmetrk.example/?nid=1001&transaction_id=a1b2c3&"]);
    expect(&run(&["template", "test"]), 2, &["<URL>"]);
}

#[test]
fn an_entry_becomes_a_rule_once() {
    let house = House::new();
    let base = ["everflow", "--partner=acme", "--app=shop"];
    let with = |more: &[&'static str]| [&base[..], more].concat();

    let lacking = house.add(&with(&["--yes", "--set=host=trk-acme.example"]));
    expect(&lacking, 1, &["setting_missing", "--set nid=…", "Such as 1001."]);
    assert!(!words(&lacking).contains("--set host"), "what was given is not missing");
    expect(
        &house.add(&with(&["--yes", "--set=nib=1"])),
        1,
        &["`nib` is none of its settings; it has host, nid"],
    );
    expect(&house.add(&with(&["--yes", "--on=event"])), 1, &["kind_unfit", "install, signup, purchase"]);
    expect(&house.add(&["everflow", "--partner=nobody", "--app=shop", "--yes"]), 1, &["no partner `nobody`"]);
    expect(&house.add(&["everflow", "--partner=acme", "--app=shopp", "--yes"]), 1, &["no app `shopp`"]);
    let web = ["unity-ads-android", "--partner=acme", "--app=site", "--set=game_id=1", "--yes"];
    expect(&house.add(&web), 1, &["platform_unfit", "site is on web"]);
    expect(
        &house.add(&["moloco", "--partner=acme", "--app=shop", "--yes"]),
        1,
        &["gives no postback template"],
    );

    let settings = ["--set=host=trk-acme.example", "--set=nid=90210"];
    let asked = house.add(&with(&settings));
    expect(&asked, 1, &["+ rule acme-install", "Nothing was changed"]);
    let dry = house.add(&with(&[&settings[..], &["--dry-run"]].concat()));
    expect(&dry, 0, &["+ rule acme-install", "cfg.nid", "Would create 1, update 1", "unconfirmed:"]);
    let added = house.add(&with(&[&settings[..], &["--yes"]].concat()));
    expect(&added, 0, &["~ partner acme", "Created 1, updated 1, deleted 0"]);
    assert!(!words(&added).contains("90210"), "settings are shown masked: {}", words(&added));
    expect(&house.add(&with(&[&settings[..], &["--yes"]].concat())), 0, &["Nothing to change"]);
    // The partner has them by now, and a kind of its own is a rule of its own.
    expect(
        &house.add(&with(&["--yes", "--on=purchase", "--share-revenue", "--rename=purchase=sale"])),
        0,
        &["+ rule acme-purchase"],
    );

    let read = |path: &str| -> Value {
        let token = std::fs::read_to_string(house.dir.path().join("data/admin.token")).unwrap();
        let (status, body) = house.server.get("admin", path, Some(token.trim()));
        assert_eq!(status, 200, "{body}");
        serde_json::from_str(&body).unwrap()
    };
    let rule = &read("/api/v1/rules/acme-purchase")["settings"];
    assert_eq!(rule["url"], json!(roundtrip_library::find("everflow").unwrap().url));
    assert_eq!((&rule["share_revenue"], &rule["rename"]), (&json!(true), &json!({ "purchase": "sale" })));
    let partner = &read("/api/v1/partners/acme")["settings"];
    assert_eq!(partner["name"], "Acme Ads", "the rest of the partner stays");
    assert_eq!(partner["cfg"], json!({ "host": "••••", "nid": "••••" }));

    let sheet = house.run(&["partner", "sheet", "acme", "--system=everflow"]);
    let markdown = String::from_utf8(sheet.stdout.clone()).unwrap();
    expect(
        &sheet,
        0,
        &[
            "# Acme Ads",
            "https://go.shop.example/c/acme-summer?click_id={transaction_id}",
            "acme-install",
            "your-nid",
        ],
    );
    assert!(!markdown.contains("90210") && !markdown.contains("trk-acme.example"), "{markdown}");
    let page = house.dir.path().join("acme.html");
    let html = format!("--html={}", page.display());
    expect(&house.run(&["partner", "sheet", "acme", &html]), 0, &["Wrote "]);
    let text = std::fs::read_to_string(&page).unwrap();
    assert!(
        text.starts_with("<!doctype html>") && text.contains("<style>") && !text.contains("<link"),
        "{text}"
    );
    expect(&house.run(&["partner", "sheet", "nobody"]), 1, &["no partner `nobody`"]);
    expect(&run(&["partner", "guide"]), 0, &["# For affiliates and networks"]);
}

#[test]
fn what_is_printed_can_be_applied() {
    let printed = run(&[
        "template",
        "add",
        "snap-app",
        "--partner=acme",
        "--app=shop",
        "--set=snap_app_id=abc",
        "--print",
    ]);
    expect(&printed, 0, &["env:ACME_ACCESS_TOKEN", "# Unconfirmed: ", "snap_app_id = \"abc\""]);
    let house = House::new();
    let file = house.dir.path().join("more.toml");
    let text = String::from_utf8(printed.stdout).unwrap().replace("env:ACME_ACCESS_TOKEN", "s3cr3t");
    std::fs::write(&file, text).unwrap();
    expect(&house.run(&["apply", file.to_str().unwrap()]), 0, &["+ rule acme-install"]);
}

/// A receiver of one request on loopback, which hands over what it read.
fn sink(answer: &'static str) -> (String, mpsc::Receiver<String>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let (tell, told) = mpsc::channel();
    std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        stream.set_read_timeout(Some(WAIT)).unwrap();
        let mut text = String::new();
        let mut buffer = [0; 4096];
        while !text.contains("\r\n\r\n") {
            let n = stream.read(&mut buffer).unwrap();
            // Not HTTP (a TLS handshake begins with 22): hung up on.
            if n == 0 || buffer[0] == 22 {
                return;
            }
            text.push_str(&String::from_utf8_lossy(&buffer[..n]));
        }
        stream.write_all(answer.as_bytes()).unwrap();
        tell.send(text).unwrap();
    });
    (address, told)
}

#[test]
fn a_request_is_really_sent_and_shown() {
    let (address, told) =
        sink("HTTP/1.1 202 Accepted\r\nx-seen: topsecret-1\r\ncontent-length: 6\r\n\r\nthanks");
    let url = format!("http://{address}/pb?c={{click_id}}&t={{cfg.token}}&b={{colour}}");
    let arguments = [
        "template",
        "test",
        &url,
        "--send",
        "--value=cfg.token=topsecret-1",
        "--value=click_id=a b",
        "--value=colour=blue",
    ];
    expect(&run(&arguments), 1, &["Nothing was sent", "plain_http_refused"]);
    let plain: Vec<&str> = arguments.iter().copied().chain(["--allow-plain-http-out"]).collect();
    expect(&run(&plain), 1, &["Nothing was sent", "refused_address", "loopback"]);
    assert!(told.try_recv().is_err(), "nothing reached it");

    let allowed: Vec<&str> = plain.iter().copied().chain(["--allow-private=127.0.0.0/8"]).collect();
    let sent = run(&allowed);
    let seen = told.recv_timeout(WAIT).expect("it was really sent");
    assert!(seen.starts_with("GET /pb?c=a%20b&t=topsecret-1&b=blue HTTP/1.1\r\n"), "{seen}");
    expect(
        &sent,
        0,
        &[
            &format!("Sending one real request to http://{address}. It counts at the receiver"),
            "GET /pb?c=a%20b&t=***&b=blue HTTP/1.1",
            "HTTP/1.1 202",
            "x-seen: ***",
            "first byte",
            "It counts as a success: status 202.",
        ],
    );
    assert!(!words(&sent).contains("topsecret"), "{}", words(&sent));
}

#[test]
fn an_entry_is_sent_with_its_own_settings_and_judged_by_its_own_rule() {
    let lacking = run(&["template", "test", "--library=tiktok-app", "--send", "--value=cfg.tiktok_app_id=1"]);
    expect(&lacking, 1, &["setting_missing", "--value cfg.access_token=…", "nothing was sent"]);
    let unfit = run(&[
        "template",
        "test",
        "--library=awin",
        "--send",
        "--value=cfg.merchant=1",
        "--value=cfg.commission_group=D",
    ]);
    expect(&unfit, 1, &["--value awc=…"]);
    expect(&run(&["template", "test", "--library=mintegral", "--send"]), 1, &["gives no postback template"]);
    let broken = run(&["template", "test", "https://{gaid}.example/", "--send"]);
    expect(&broken, 1, &["macro_in_host", "nothing was sent"]);
    // The entry's host is a setting, so it can be a sink; it is called by https only, which the sink does not speak.
    let (address, _told) = sink("HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n");
    let host = format!("--value=cfg.host={address}");
    let refused = run(&[
        "template",
        "test",
        "--library=exoclick",
        "--send",
        "--json",
        &host,
        "--value=cfg.goal=1b9b",
        "--allow-private=127.0.0.0/8",
    ]);
    let said: Value = serde_json::from_slice(&refused.stdout).unwrap();
    assert_eq!((&said["success"], &said["outcome"]), (&json!(false), &json!("tls")), "{said}");
    assert_eq!(refused.status.code(), Some(1));
}

#[test]
fn a_page_shows_the_sheet_to_who_is_signed_in() {
    let house = House::new();
    let token = std::fs::read_to_string(house.dir.path().join("data/admin.token")).unwrap();
    let (status, page) = house.server.get("admin", "/partners/acme", Some(token.trim()));
    assert_eq!(status, 200, "{page}");
    // Slashes are escaped too.
    assert!(
        page.contains("go.shop.example&#x2f;c&#x2f;acme-summer") && page.contains("/assets/style.css"),
        "{page}"
    );
    assert_eq!(house.server.get("admin", "/partners/acme", None).0, 303, "to the door");
    assert_eq!(house.server.get("admin", "/partners/nobody", Some(token.trim())).0, 404);
}
