//! Dialects and addresses of links, and callbacks of partners.

use roundtrip_domain::click::LinkDialect;

use super::*;

const ALSO: &[&str] = &["links", "Acme-Summer", "also"];
const ALSO_IMPRESSIONS: &[&str] = &["links", "Acme-Summer", "also_impressions"];

#[test]
fn every_dialect_has_its_word() {
    for dialect in LinkDialect::ALL {
        let document = with(&["links", "Acme-Summer", "dialect"], json!(dialect.name()));
        let settings = Shelf::of(&document).compile();
        let link = settings.links.values().find(|l| l.public_id == "Acme-Summer").unwrap();
        assert_eq!(link.dialect, *dialect);
    }
    for (wrong, likely) in [
        ("appsflier", "appsflyer"),
        ("AppMetrica", "appmetrica"),
        ("my_tracker", "mytracker"),
        ("tunes", "tune"),
    ] {
        let document = with(&["links", "Acme-Summer", "dialect"], json!(wrong));
        let problems = Shelf::empty().apply(&document, false).expect_err("it is refused");
        assert_eq!(problems[0].field, "links.Acme-Summer.dialect");
        assert!(
            problems[0].message.ends_with(&format!("did you mean `{likely}`?")),
            "{}",
            problems[0].message
        );
    }
}

#[test]
fn addresses_are_read_and_kept() {
    let mut document =
        with(ALSO, json!(["https://Click.example.com/com.example.app?pid=acme_int", "/aff_c?offer_id=12"]));
    document["links"]["Acme-Summer"]["also_impressions"] =
        json!(["https://imp.example.com/com.example.app?pid=acme_int"]);
    document["partners"]["acme"]["in_link_callbacks"] = json!(true);
    let mut shelf = Shelf::of(&document);
    let settings = shelf.compile();
    let link = settings.links.values().find(|l| l.public_id == "Acme-Summer").unwrap();
    let printed: Vec<(String, bool)> = link.addresses.iter().map(|a| (a.to_string(), a.is_view)).collect();
    assert_eq!(
        printed,
        [
            ("//click.example.com/com.example.app?pid=acme%5Fint".to_owned(), false),
            ("/aff_c?offer%5Fid=12".to_owned(), false),
            ("//imp.example.com/com.example.app?pid=acme%5Fint".to_owned(), true),
        ]
    );
    assert!(settings.partners.values().all(|p| p.in_link_callbacks));
    assert!(
        Shelf::of(&world()).compile().partners.values().all(|p| !p.in_link_callbacks),
        "refused by default"
    );
    // What is applied again changes nothing, and an address may move from one link to another.
    assert_eq!(shelf.apply(&document, false).unwrap().writes.len(), 0);
    let moved = json!({ "links": {
        "Acme-Summer": { "campaign": "summer", "partner": "acme" },
        "acme-web": { "campaign": "web", "partner": "acme", "also": ["/aff_c?offer_id=12"] },
    }});
    assert_eq!(shelf.apply(&moved, false).unwrap().writes.len(), 2);
}

#[test]
fn what_is_no_address_or_is_a_route_is_refused() {
    for (text, code) in [
        ("click.example.com/x", Code::ConfigInvalid),
        ("/aff_c?offer_id={offer_id}", Code::ConfigInvalid),
        ("https://click.example.com/", Code::ConfigInvalid),
        ("/v1/events", Code::NameReserved),
        ("/V1/other", Code::NameReserved),
        ("/healthz", Code::NameReserved),
        ("https://click.example.com/robots.txt", Code::NameReserved),
        ("/postback?click_id=1", Code::NameReserved),
        ("/acme/postback", Code::NameReserved),
        ("/acme/postback/validate", Code::NameReserved),
        ("/i/x", Code::NameReserved),
        ("/api/x", Code::NameReserved),
        ("/click?campaign_id=1&ref_id=2", Code::NameReserved),
        ("/acme/click?campaign_id=1&ref_id=2&x=3", Code::NameReserved),
        ("/acme-web", Code::NameTaken),
        ("/acme-web/", Code::NameTaken),
        ("/acme%2dweb?pid=7", Code::NameTaken),
        ("https://click.example.com/c/acme-web?pid=7", Code::NameTaken),
        ("/?c=acme-web&a=1", Code::NameTaken),
        ("/v1/cpe/click", Code::NameReserved),
        ("/c/elsewhere?pid=7", Code::NameTaken),
        ("/Acme-Summer?pid=7", Code::ConfigInvalid),
    ] {
        check(ALSO, json!([text]), code, "links.Acme-Summer.also[0]");
        check(ALSO_IMPRESSIONS, json!([text]), code, "links.Acme-Summer.also_impressions[0]");
    }
    for text in [
        "/click?offer_id=12&pid=7",
        "/click?campaign_id=12&pub_id=7",
        "/acme/click?campaign_id=12&pub_id=7",
        "/c/5ab3f0?pid=acme",
        "/impression/abc123",
        "/abc123",
        "/?a=7&c=12",
        "/@shop/acme",
        "/serve/12345",
        "/v1/cpi/click?campaign_id=koacme1",
        "/v1.0/s2s/click/app/android/com.example.app",
        "/acme/postbacks",
    ] {
        Shelf::of(&with(ALSO, json!([text])));
    }
}

#[test]
fn an_address_leads_to_one_link() {
    check(ALSO, json!(["/x?a=1&b=2", "/x/?b=2&a=%31"]), Code::NameTaken, "links.Acme-Summer.also[1]");
    let mut document = with(ALSO, json!(["/aff_c?offer_id=12"]));
    document["links"]["acme-web"]["also_impressions"] = json!(["/aff_c?offer_id=12"]);
    assert_eq!(refused(&document), [(Code::NameTaken, "links.acme-web.also_impressions[0]".to_owned())]);
    // Whoever comes later is to blame, whatever the order of the names.
    let mut shelf =
        Shelf::of(&with(&["links", "acme-web", "also"], json!(["/aff_c?offer_id=12", "/abc123"])));
    let late = |link: Value| json!({ "links": link });
    let same = late(
        json!({"Acme-Summer": {"campaign": "summer", "partner": "acme", "also": ["/aff_c?offer_id=12"]}}),
    );
    let problems = shelf.apply(&same, false).expect_err("it is taken");
    assert_eq!(
        (problems[0].code, problems[0].field.as_str()),
        (Code::NameTaken, "links.Acme-Summer.also[0]")
    );
    assert!(problems[0].message.ends_with("links.acme-web.also[0]"), "{}", problems[0].message);
    let hides = late(json!({"abc123": {"campaign": "summer", "partner": "acme"}}));
    let problems = shelf.apply(&hides, false).expect_err("it would hide an address");
    assert_eq!((problems[0].code, problems[0].field.as_str()), (Code::NameTaken, "links.abc123"));
    assert!(problems[0].message.contains("links.acme-web.also[1]"), "{}", problems[0].message);
    assert_eq!(problems.len(), 1);
}

#[test]
fn an_address_without_a_dialect_is_worth_a_warning() {
    for (dialect, codes) in [("linkrunner", &["dialect_unset"][..]), ("tune", &[])] {
        let mut document = with(ALSO, json!(["/aff_c?offer_id=12"]));
        document["links"]["Acme-Summer"]["dialect"] = json!(dialect);
        let plan = Shelf::empty().apply(&document, false).unwrap();
        let about_links = plan.warnings.iter().filter(|warning| warning.field.starts_with("links."));
        let got: Vec<&str> = about_links.map(|warning| warning.code.as_str()).collect();
        assert_eq!(got, codes, "{dialect}");
    }
}
