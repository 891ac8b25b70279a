//! Geography through the real server: from a visitor's address to the partner's URL, the report and the story, and
//! databases that change under it.

use std::path::{Path, PathBuf};

use http::HeaderName;
use roundtrip_testkit::Mmdb;
use serde_json::{Value, json};

use crate::house::{Call, DESKTOP, House, Line, Partners, our_click_id, until};
use crate::process::roundtrip;

/// In Berlin, until the database changes.
const VISITOR: &str = "203.0.113.9";
/// Somewhere in France.
const READER: &str = "203.0.113.200";
/// Somewhere in Austria.
const BUYER: &str = "198.51.100.7";

fn places(visitors: &str) -> Mmdb {
    let city = json!({ "country": { "iso_code": visitors }, "city": { "names": { "en": "Berlin" } }, "subdivisions": [{ "iso_code": "BE" }] });
    Mmdb::new("Test-City", 6)
        .network("203.0.113.0/25", &city)
        .network("203.0.113.128/25", &json!({ "country": { "iso_code": "FR" } }))
        .network("198.51.100.0/24", &json!({ "country": { "iso_code": "AT" } }))
}

fn networks() -> Mmdb {
    let about =
        json!({ "autonomous_system_number": 64_500, "autonomous_system_organization": "Example Net" });
    Mmdb::new("Test-ASN", 4).network("203.0.113.0/24", &about)
}

fn replace(path: &Path, bytes: &[u8]) {
    let fresh = path.with_extension("fresh");
    std::fs::write(&fresh, bytes).expect("there is room");
    std::fs::rename(&fresh, path).expect("it can be replaced");
}

/// A shop on the web. Acme is told what it earned; blue is told of everything.
fn document(host: &str) -> Value {
    let place = "country={country}&region={region}&city={city}";
    json!({
        "apps": { "shop": { "platform": "web", "currency": "EUR" } },
        "campaigns": { "summer": { "app": "shop" } },
        "partners": { "acme": { "cfg": { "host": host } }, "blue": { "cfg": { "host": host } } },
        "links": { "acme-shop": {
            "campaign": "summer", "partner": "acme",
            "destinations": { "web": "https://shop.example/{country}?click_id={click_id}" },
        } },
        "rules": {
            "winner": { "app": "shop", "on": "signup", "partner": "acme", "url": format!("http://{{cfg.host}}/acme?e={{event_id}}&{place}") },
            "other": { "app": "shop", "on": "signup", "partner": "blue", "scope": "all", "url": format!("http://{{cfg.host}}/blue?e={{event_id}}&{place}") },
        },
        "keys": { "client": { "kind": "client", "app": "shop" }, "server": { "kind": "server", "app": "shop" } },
    })
}

struct Stage {
    house: House,
    partners: Partners,
    street: Line,
    city: PathBuf,
    _files: tempfile::TempDir,
}

impl Stage {
    async fn set() -> Self {
        let files = tempfile::tempdir().expect("there is room");
        let (city, asn) = (files.path().join("city.mmdb"), files.path().join("asn.mmdb"));
        std::fs::write(&city, places("DE").bytes()).expect("there is room");
        std::fs::write(&asn, networks().bytes()).expect("there is room");
        let databases = [&city, &asn].map(|path| format!("--geo-database={}", path.display()));
        let partners = Partners::open(1).await;
        let mut flags =
            vec!["--allow-private=127.0.0.0/8", "--allow-plain-http-out", "--trusted-proxy=127.0.0.0/8"];
        flags.extend(databases.iter().map(String::as_str));
        let mut house = House::new(&flags);
        house.start();
        house.apply(&document(&partners.address().to_string())).await;
        let street = Line::to(&house.public());
        Self { house, partners, street, city, _files: files }
    }

    /// A call as the trusted proxy passes it on.
    async fn call(&mut self, call: Call, from: &str) -> crate::house::Answer {
        let call = call
            .header(HeaderName::from_static("x-forwarded-for"), from)
            .header(HeaderName::from_static("x-forwarded-proto"), "https")
            .browser(DESKTOP);
        self.street.call_again(&call).await.expect("it is answered")
    }

    /// Follows the link; where it leads, and our id.
    async fn click(&mut self, from: &str) -> (String, String) {
        let answer = self.call(Call::get("/c/acme-shop?click_id=partners-own"), from).await;
        let location = answer.location().to_owned();
        let id = our_click_id(&location).unwrap_or_else(|| panic!("no click id in {location}"));
        (location, id)
    }

    /// Reports a signup; its id.
    async fn signup(&mut self, key: &str, from: &str, more: Value) -> String {
        let mut event = json!({ "event_name": "signup" });
        event.as_object_mut().expect("an object").extend(more.as_object().expect("an object").clone());
        let call = Call::post("/v1/events", event.to_string()).json_body().bearer(&self.house.keys[key]);
        let answer = self.call(call, from).await;
        assert_eq!(answer.status, 202, "{}", answer.text());
        answer.json()["event_id"].as_str().expect("an id").to_owned()
    }

    /// What a partner was told of an event's place: country, region and city.
    fn told(&self, path: &str, event: &str) -> [String; 3] {
        let told = self.partners.told();
        let one = told.iter().find(|told| told.path == path && told.parameter("e") == event);
        let one = one.unwrap_or_else(|| panic!("{path} was not told of {event}: {told:?}"));
        ["country", "region", "city"].map(|name| one.parameter(name).to_owned())
    }

    /// Country, clicks and signups of each row of the report by country, and the totals.
    async fn report(&self) -> Vec<(String, i64, i64)> {
        let report = self.house.admin().get("/api/v1/report?by=country").await;
        let counts = |row: &Value, name: &str| {
            let n = |what: &str| row[what].as_i64().unwrap_or_else(|| panic!("{what} in {row}"));
            (name.to_owned(), n("clicks"), n("signups"))
        };
        let rows = report["rows"].as_array().expect("there are rows");
        let name = |row: &Value| row["group"]["id"].as_str().unwrap_or("-").to_owned();
        let mut lines: Vec<_> = rows.iter().map(|row| counts(row, &name(row))).collect();
        lines.push(counts(&report["total"], "all"));
        lines
    }
}

fn row(country: &str, clicks: i64, signups: i64) -> (String, i64, i64) {
    (country.to_owned(), clicks, signups)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_place_goes_from_the_click_to_partner_report_and_story() {
    let mut stage = Stage::set().await;
    let (location, click) = stage.click(VISITOR).await;
    assert!(location.starts_with("https://shop.example/DE?"), "{location}");
    let proxies_own = stage.click("127.0.0.1").await.0;
    assert!(proxies_own.starts_with("https://shop.example/?"), "nothing stands for nothing: {proxies_own}");

    let by_browser = stage.signup("client", READER, json!({ "click_id": click })).await;
    let by_server = stage.signup("server", READER, json!({ "click_id": click })).await;
    let with_ip = stage.signup("server", READER, json!({ "click_id": click, "ip": BUYER })).await;
    stage.house.drained().await;
    let texts = |texts: [&str; 3]| texts.map(str::to_owned);
    assert_eq!(stage.told("/acme", &by_browser), texts(["FR", "", ""]), "the browser's own place");
    assert_eq!(stage.told("/acme", &by_server), texts(["DE", "BE", "Berlin"]), "the click's");
    assert_eq!(stage.told("/acme", &with_ip), texts(["AT", "", ""]), "that of the address it named");
    assert_eq!(stage.told("/blue", &by_browser), texts(["FR", "", ""]));
    assert_eq!(stage.told("/blue", &by_server), texts(["", "", ""]), "acme's click is acme's");

    let want = [row("AT", 0, 1), row("DE", 1, 1), row("FR", 0, 1), row("-", 1, 0), row("all", 2, 3)];
    assert_eq!(stage.report().await, want);
    let output = roundtrip()
        .args(["report", "--by=country"])
        .env("ROUNDTRIP_SERVER", format!("http://{}", stage.house.server().address("admin")))
        .env("ROUNDTRIP_TOKEN", &stage.house.token)
        .output()
        .expect("the binary runs");
    let table = String::from_utf8(output.stdout).expect("text");
    assert!(table.contains("  AT  ") && table.contains("(unknown)"), "{table}");

    let mut admin = stage.house.admin();
    let story = admin.get(&format!("/api/v1/explain/{by_server}")).await;
    let told = &story["decision"]["winner"]["location"];
    assert_eq!(told["sentence"], "Berlin, BE, DE · Example Net (AS64500)", "{story}");
    assert_eq!((&told["asn"], &told["city"]), (&json!(64_500), &json!("Berlin")));
    assert_eq!(story["event"]["location"], Value::Null, "it named no address");
    let story = admin.get(&format!("/api/v1/explain/{with_ip}")).await;
    assert_eq!(story["event"]["location"]["sentence"], "AT");
    let log = stage.house.end(rustix::process::Signal::TERM);
    assert_eq!(log.matches("read a database of addresses").count(), 2, "{log}");
    assert!(!log.contains(VISITOR) && !log.contains("Berlin"), "no place of anybody's is logged: {log}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_database_that_breaks_is_named_and_a_whole_one_is_taken() {
    let mut stage = Stage::set().await;
    assert!(stage.click(VISITOR).await.0.starts_with("https://shop.example/DE?"));
    assert_eq!(stage.house.metric("roundtrip_geo_databases{state=\"good\"}").await, 2.0);

    let bytes = places("CH").bytes();
    replace(&stage.city, &bytes[..bytes.len() / 2]);
    let mut admin = stage.house.admin();
    let note = until("the torn file is noticed", async || {
        let ready = admin.get("/readyz").await;
        assert_eq!(ready["ready"], true, "nothing else suffers: {ready}");
        ready["notes"][0].as_str().map(str::to_owned)
    })
    .await;
    assert!(note.starts_with("geography: ") && note.contains("city.mmdb: it is no whole"), "{note}");
    assert_eq!(stage.house.metric("roundtrip_geo_databases{state=\"stale\"}").await, 1.0);
    assert!(stage.click(VISITOR).await.0.starts_with("https://shop.example/DE?"), "the old one is used on");

    replace(&stage.city, &bytes);
    until("the whole file is taken", async || {
        let ready = admin.get("/readyz").await;
        ready["notes"].as_array().expect("there is a list").is_empty().then_some(())
    })
    .await;
    assert!(stage.click(VISITOR).await.0.starts_with("https://shop.example/CH?"));
    assert_eq!(stage.house.metric("roundtrip_geo_databases{state=\"good\"}").await, 2.0);
    assert_eq!(stage.report().await, [row("CH", 1, 0), row("DE", 2, 0), row("all", 3, 0)]);
}
