//! What one tracking URL and one postback URL of each system become, and the worked examples of `docs/import.md`.

use roundtrip_domain::event::ConversionKind;
use roundtrip_domain::import::{Imported, Input, Kind, import};
use roundtrip_web::import::answer;
use serde_json::{Value, json};

use super::batch::Batch;
use super::systems::SYSTEMS;
use super::text;

fn input(url: &str, from: &str) -> Input {
    Input {
        url: url.into(),
        from: Some(from.into()),
        app: Some("shop".into()),
        public_url: Some("https://go.shop.example".into()),
        ..Input::default()
    }
}

fn read(input: &Input) -> Imported {
    import(input).unwrap_or_else(|problem| panic!("{}: {problem:?}", input.url))
}

#[test]
fn each_systems_urls_become_these_documents() {
    let mut all = serde_json::Map::new();
    for (system, link, postback) in SYSTEMS {
        let link = read(&input(link, system));
        assert_eq!(link.kind, Kind::Link, "{system}");
        let rule = Input { partner: Some("acme".into()), ..input(postback, system) };
        let rule = read(&rule);
        assert_eq!(rule.kind, Kind::Rule, "{system}");
        let shown = |imported: &Imported| -> Value {
            let answer = answer(imported);
            json!({
                "document": answer.document,
                "url": answer.url,
                "canonical": answer.canonical.values().map(|rule| rule.url.clone()).collect::<Vec<_>>(),
                "not_carried": answer.not_carried,
                "missing": answer.missing.iter().map(|one| &one.field).collect::<Vec<_>>(),
            })
        };
        all.insert((*system).to_owned(), json!({ "link": shown(&link), "postback": shown(&rule) }));
    }
    insta::assert_json_snapshot!("systems", all);
}

#[test]
fn a_tracking_url_is_recognised_without_its_name() {
    for (system, link, _) in SYSTEMS {
        let url = Input { from: None, ..input(link, system) };
        let imported = read(&url);
        assert_eq!((imported.kind, imported.systems[0].system.as_str()), (Kind::Link, *system));
    }
}

/// The page `docs/import.md`: its examples are run, and stand there as they come out.
fn page() -> String {
    let mut page = include_str!("page.md").to_owned();
    for (system, link, postback) in SYSTEMS {
        for (word, url) in [("link", link), ("postback", postback)] {
            let mark = format!("<!-- {system} {word} -->\n");
            let Some(at) = page.find(&mark) else { continue };
            let url = if word == "postback" {
                Input { partner: Some("acme".into()), ..input(url, system) }
            } else {
                input(url, system)
            };
            let mut batch = Batch::default();
            batch.add(&url, None, url.url.clone());
            let (line, from, answer) = &batch.answers[0];
            let partner = if word == "postback" { " --partner acme" } else { "" };
            let shown = format!(
                "```console\n$ roundtrip import '{from}' \\\n    --from {system} --app shop{partner} --public-url https://go.shop.example\n```\n\n```toml\n{}\n{}\n```\n",
                text::told(*line, from, answer),
                text::toml(&batch.document).expect("it is TOML")
            );
            page.replace_range(at..at + mark.len(), &shown);
        }
    }
    page
}

#[test]
fn the_page_in_docs_is_the_generated_one() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/import.md");
    let page = page();
    assert!(!page.contains("<!--"), "an example of the page is none of SYSTEMS");
    if std::env::var_os("UPDATE_DOCS").is_some() {
        std::fs::write(path, &page).expect("docs/ is there");
    }
    let written = std::fs::read_to_string(path).unwrap_or_default();
    assert!(
        written == page,
        "docs/import.md is stale: run UPDATE_DOCS=1 cargo test -p roundtrip-server import"
    );
}

#[test]
fn what_is_printed_is_toml_and_shows_no_credential() {
    for (system, link, postback) in SYSTEMS {
        for url in [link, postback] {
            let mut batch = Batch::default();
            batch.add(&input(url, system), Some(1), (*url).to_owned());
            let (line, from, answer) = &batch.answers[0];
            let printed = format!(
                "{}\n{}",
                text::told(*line, from, answer),
                text::toml(&batch.document).expect("it is TOML")
            );
            let read: toml::Table =
                toml::from_str(&printed).unwrap_or_else(|error| panic!("{error}\n{printed}"));
            assert!(read.contains_key("links") || read.contains_key("rules"), "{printed}");
            for secret in ["9f86d081884c7d65", "1f2e3d4c", "a1b2c3d"] {
                assert!(!printed.contains(secret), "{secret} in {printed}");
            }
        }
    }
}

#[test]
fn many_urls_are_one_document() {
    let mut batch = Batch::default();
    let app = input("", "appsflyer");
    let url = |c: &str| {
        format!("https://app.appsflyer.com/com.example.shop?pid=acme_int&c={c}&clickid={{click_id}}")
    };
    batch.add(&app, Some(1), url("summer"));
    batch.add(&app, Some(2), url("summer"));
    batch.add(&app, Some(3), url("Summer"));
    batch.add(&app, Some(5), "javascript:alert(1)".to_owned());
    let slugs: Vec<&String> = batch.document.links.keys().collect();
    assert_eq!(slugs, ["acme_int-summer", "acme_int-summer-2"]);
    assert_eq!((batch.document.partners.len(), batch.document.campaigns.len()), (1, 1));
    assert_eq!(batch.document.links["acme_int-summer-2"].also, ["/com.example.shop?pid=acme_int&c=Summer"]);
    let third = &batch.answers[2].2;
    assert!(third.url.as_ref().is_some_and(|url| url.contains("/c/acme_int-summer-2?")), "{third:?}");
    assert_eq!(batch.refused.len(), 1);
    assert!(batch.refused[0].text().starts_with("line 5: "), "{}", batch.refused[0].text());
    assert!(batch.refused[0].text().contains("(import_scheme)"));

    let mut rules = Batch::default();
    let postback =
        Input { on: Some(ConversionKind::Install), partner: Some("acme".into()), ..input("", "adjust") };
    rules.add(&postback, None, "https://pb.acme.example/install?cid={click_id}".to_owned());
    rules.add(&postback, None, "https://pb.acme.example/install?cid={click_id}&x=1".to_owned());
    let slugs: Vec<&String> = rules.document.rules.keys().collect();
    assert_eq!(slugs, ["acme-install", "acme-install-2"]);
}
