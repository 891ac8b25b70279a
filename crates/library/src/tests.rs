use std::collections::{BTreeMap, BTreeSet};

use roundtrip_domain::template::{
    Audience, Dialect, FAMILIES, Sending, Severity, Template, VOCABULARY, Value, vocabulary,
};
use url::Url;

use super::*;

fn samples(entry: &Entry) -> BTreeMap<String, Value<'static>> {
    let mut values: BTreeMap<String, Value<'static>> =
        VOCABULARY.iter().map(|known| (known.name.to_owned(), Value::text(known.example))).collect();
    for setting in &entry.settings {
        values.insert(format!("cfg.{}", setting.name), Value::text(setting.example.clone()));
    }
    for name in &entry.needs {
        if name.starts_with("param.") {
            values.insert(name.clone(), Value::text("a1b2c3"));
        }
    }
    values
}

#[test]
fn the_files_are_read_whole() {
    let entries = read().unwrap_or_else(|error| panic!("{error}"));
    assert!(entries.len() >= 30, "{}", entries.len());
    assert_eq!(entries, super::entries());
    let slugs: BTreeSet<&str> = entries.iter().map(|entry| entry.slug.as_str()).collect();
    assert_eq!(slugs.len(), entries.len(), "a slug stands twice");
    for entry in &entries {
        let slug = &entry.slug;
        assert!(slug.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-'), "{slug}");
        assert_eq!(entry.status, STATUS, "{slug}");
        assert!(!entry.source.is_empty() && entry.known.starts_with("20"), "{slug}");
        for page in &entry.source {
            assert!(Url::parse(page).is_ok_and(|page| page.host_str().is_some()), "{slug}: {page}");
        }
        assert!(Dialect::from_name(&entry.dialect).is_some(), "{slug}");
        if let Some(dialect) = &entry.partner_dialect {
            assert!(Dialect::from_name(dialect).is_some(), "{slug}: {dialect}");
        }
        assert_eq!(entry.url.is_none(), entry.on.is_empty(), "{slug}: a template tells of something");
        assert!(
            entry.url.is_some() || !entry.unconfirmed.is_empty(),
            "{slug}: an entry without a template says why"
        );
    }
}

#[test]
fn every_template_can_be_saved_and_makes_a_request() {
    for entry in entries() {
        for parts in [entry.parts(), entry.check_parts()].into_iter().flatten() {
            let (template, findings) = Template::parse(parts);
            let slug = &entry.slug;
            for finding in &findings {
                assert!(finding.severity != Severity::Error, "{slug}: {finding}");
                // Plain http, unknown macros and their like are no mistakes that a library should hand on.
                let may_be = ["macro_not_filled", "no_partner_click_id", "revenue_without_currency"];
                assert!(may_be.contains(&finding.code.as_str()), "{slug}: {finding}");
            }
            let values = samples(entry);
            let audience = Audience { values: &values, revenue_shared: true, winner: true };
            let sending = Sending { attempt: 1, at_ms: 1_780_564_905_250, nonce: "9f86d081884c7d65" };
            let rendered = template.render(&audience, &sending);
            assert_eq!(rendered.missing, Vec::<String>::new(), "{slug}");
            assert_eq!(rendered.unexpanded, Vec::<String>::new(), "{slug}");
            let url = Url::parse(&rendered.url).unwrap_or_else(|error| panic!("{slug}: {error}"));
            assert_eq!(url.scheme(), "https", "{slug}");
            assert!(!rendered.too_long, "{slug}: {}", rendered.url);
            for name in &entry.needs {
                let keys: Vec<&str> = template.macros().map(|used| used.key.as_str()).collect();
                let wanted = if name == "click_id" { "partner_click_id" } else { name };
                assert!(keys.contains(&wanted), "{slug} needs {name} and does not send it");
            }
        }
    }
}

#[test]
fn settings_are_declared_and_used() {
    for entry in entries() {
        let parts = [entry.parts(), entry.check_parts()];
        let used: BTreeSet<String> = parts
            .into_iter()
            .flatten()
            .flat_map(|parts| {
                let (template, _) = Template::parse(parts);
                template
                    .macros()
                    .filter_map(|used| used.key.strip_prefix("cfg.").map(str::to_owned))
                    .collect::<Vec<_>>()
            })
            .collect();
        let declared: BTreeSet<String> = entry.settings.iter().map(|setting| setting.name.clone()).collect();
        assert_eq!(used, declared, "{}", entry.slug);
    }
}

#[test]
fn macros_that_are_needed_exist() {
    for entry in entries() {
        for name in &entry.needs {
            let is_family = FAMILIES.iter().any(|family| name.starts_with(family.name));
            assert!(is_family || vocabulary::find(name).is_some(), "{}: {name}", entry.slug);
        }
    }
}

#[test]
fn a_click_id_finds_its_way() {
    for entry in entries() {
        let Some(click) = &entry.click else { continue };
        let (slug, parameter) = (&entry.slug, &click.parameter);
        if let Some(suffix) = &click.suffix {
            let first = suffix.split('&').next().unwrap_or_default();
            let carries =
                first.split_once('=').is_some_and(|(name, value)| name == "click_id" && !value.is_empty());
            assert!(carries, "{slug}: {suffix}");
            assert!(!suffix.contains(char::is_whitespace), "{slug}: {suffix}");
        } else {
            assert_ne!(parameter, "click_id", "{slug}: neither a suffix nor a parameter of its own");
        }
    }
}

#[test]
fn success_is_a_status_and_what_the_vendor_says() {
    let plain = Success::default();
    assert!(plain.holds(204, b"") && !plain.holds(301, b"OK") && !plain.holds(500, b"OK"));
    let exoclick = &find("exoclick").expect("it is there").success;
    assert!(exoclick.holds(200, b"OK\n") && !exoclick.holds(200, b"ERROR: Tag is invalid!"));
    let tiktok = &find("tiktok-app").expect("it is there").success;
    assert!(tiktok.holds(200, br#"{"code":0,"message":"OK"}"#));
    assert!(!tiktok.holds(200, br#"{"code":40002,"message":"no"}"#));
    assert!(!tiktok.holds(200, b""));
}

#[test]
fn what_is_missing_is_named() {
    let everflow = find("everflow").expect("it is there");
    let names =
        |list: Vec<&Setting>| list.into_iter().map(|setting| setting.name.clone()).collect::<Vec<_>>();
    assert_eq!(names(everflow.missing(|_| false)), ["host", "nid"], "the token may be absent");
    assert_eq!(names(everflow.missing(|name| name == "host")), ["nid"]);
    assert!(everflow.tells_money() && !find("cake").expect("it is there").tells_money());
    assert_eq!(find("nothing"), None);
    assert_eq!(likely("evreflow"), None);
    assert_eq!(likely("everflaw"), Some("everflow"));
    assert_eq!(likely("unity"), Some("unity-ads-android"));
    assert!(everflow.matches("EVERFLOW") && everflow.matches("tracker") && !everflow.matches("unity"));
}

#[test]
fn the_page_in_docs_is_the_generated_one() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/library.md");
    if std::env::var_os("UPDATE_DOCS").is_some() {
        std::fs::write(path, page()).expect("the page is written");
    }
    let written = std::fs::read_to_string(path).unwrap_or_default();
    assert!(
        written == page(),
        "docs/library.md is stale: run UPDATE_DOCS=1 cargo test -p roundtrip-library page"
    );
}
