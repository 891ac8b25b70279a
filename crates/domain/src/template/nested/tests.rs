//! Templates in templates: what is filled in how deep, and what is left alone.

use super::super::{Body, Parts, Place, Sending, Template, UrlTemplate, UseKind};
use super::*;
use proptest::prelude::*;

const SENDING: Sending<'static> = Sending { attempt: 1, at_ms: 1_780_564_905_250, nonce: "n0nce" };
const VALUES: [(&str, &str); 3] = [("partner_click_id", "a/b c"), ("sub1", "x&y"), ("cfg.token", "t/k")];

fn codes(findings: &[Finding]) -> Vec<&'static str> {
    findings
        .iter()
        .map(|finding| finding.code.as_str())
        .filter(|code| *code != "no_partner_click_id")
        .collect()
}

#[track_caller]
fn check(url: &str, expected: &str, expected_codes: &[&str]) -> Template {
    let (template, findings) = Template::parse(Parts::get(url));
    assert_eq!(template.render(&VALUES, &SENDING).url, expected, "of {url}");
    assert_eq!(codes(&findings), expected_codes, "of {url}");
    template
}

#[test]
fn a_value_that_is_a_url_is_filled_in_encoded_once_more() {
    let template = check(
        "https://p.example/?cb=https%3A%2F%2Fa.example%2F%3Fc%3D%7Bclick_id%7D%26s%3D%7bsub1%7d&x={sub1}",
        "https://p.example/?cb=https%3A%2F%2Fa.example%2F%3Fc%3Da%252Fb%2520c%26s%3Dx%2526y&x=x%26y",
        &["macro_nested", "macro_nested"],
    );
    let first = template.macros().next().cloned().expect("a macro");
    assert_eq!((first.text.as_str(), first.place, first.offset), ("%7Bclick_id%7D", Place::Query, 58));
    assert_eq!(first.kind, UseKind::Value);
    assert!(template.uses_partner_click_id());
    // Twice encoded.
    check(
        "https://p.example/?a=https%3A%2F%2Fa.example%2F%3Fb%3Dhttps%253A%252F%252Fb.example%252F%253Fc%253D%257Bclick_id%257D%26d%3D%7Bsub1%7D",
        "https://p.example/?a=https%3A%2F%2Fa.example%2F%3Fb%3Dhttps%253A%252F%252Fb.example%252F%253Fc%253Da%25252Fb%252520c%26d%3Dx%2526y",
        &["macro_nested", "macro_nested"],
    );
    // Filters in it, a setting, and the received bytes.
    check(
        "https://p.example/?cb=https%3A%2F%2Fa.example%2F%7Bcfg.token%7D%3Fc%3D%7Bsub1%7Cupper%7D",
        "https://p.example/?cb=https%3A%2F%2Fa.example%2Ft%252Fk%3Fc%3DX%2526Y",
        &["macro_nested", "macro_nested"],
    );
    // One macro of the outer URL in the same value.
    check(
        "https://p.example/?cb=https%3A%2F%2Fa.example%2F{sub1}%3Fc%3D%7Bsub1%7D",
        "https://p.example/?cb=https%3A%2F%2Fa.example%2Fx%26y%3Fc%3Dx%2526y",
        &["macro_nested"],
    );
}

#[test]
fn a_form_body_nests_too() {
    let body = Body::Form("a=1&cb=https%3A%2F%2Fa.example%2F%3Fc%3D%7Bclick_id%7D".into());
    let parts = Parts { method: "POST".into(), body, ..Parts::get("https://p.example/") };
    let (template, findings) = Template::parse(parts);
    let body = template.render(&VALUES, &SENDING).body.expect("a body");
    assert_eq!(String::from_utf8_lossy(&body), "a=1&cb=https%3A%2F%2Fa.example%2F%3Fc%3Da%252Fb%2520c");
    assert_eq!(codes(&findings), ["macro_nested"]);
}

#[test]
fn what_is_no_url_or_no_macro_keeps_its_bytes() {
    for url in [
        "https://p.example/%7Bclick_id%7D?a=1",
        "https://p.example/?cb=https%3A%2F%2Fa.example%2F%3Fc%3D%7Bclick_id",
        "https://p.example/?cb=https%3A%2F%2Fa.example%2F%3Fc%3D%7B%22a%22:1%7D",
        "https://p.example/?cb=https%3A%2F%2Fa.example%2F%3Fc%3D%25257Bclick_id%25257D",
        "https://p.example/?cb=https%3A%2F%2Fa.example%2F%ff%3Fc%3D%7Bclick_id%7D",
    ] {
        let (template, findings) = Template::parse(Parts::get(url));
        assert_eq!(template.render(&VALUES, &SENDING).url, url);
        assert_eq!(codes(&findings), [""; 0], "of {url}");
    }
    let url = "https://p.example/?c=%7Bclick_id%7D";
    check(url, url, &["macro_syntax_foreign"]);
    // Unknown to everyone: it keeps the text it was written with.
    let url = "https://p.example/?cb=https%3A%2F%2Fa.example%2F%3Fc%3D%7Bnope%7D";
    check(url, url, &["macro_nested"]);
}

#[test]
fn links_and_destinations_carry_templates_of_others() {
    let url = "https://app.adjust.example/abc?g={sub1}&install_callback=http%3A%2F%2Fa.example%2Fi%3Fc%3D%7Bclick_id%7D%26i%3D%7Bidfa%7D";
    for scope in [Scope::Destination, Scope::Link] {
        let (template, findings) = UrlTemplate::parse(url, scope, Dialect::Canonical);
        assert_eq!(template.render(&VALUES, None).url, url.replace("{sub1}", "x%26y"), "{scope:?}");
        assert_eq!(codes(&findings), [""; 0]);
        assert_eq!(template.macros().count(), 1);
    }
}

#[test]
fn other_systems_brackets_around_a_whole_value_are_told_of() {
    for value in ["[CLICK_ID]", "##CLICK_ID##", "__CLICK_ID__", "(clickid)", "%clickid%", "[[[subid]]]"] {
        let (_, findings) =
            Template::parse(Parts::get(format!("https://p.example/?a={value}&b={{click_id}}")));
        let found: Vec<_> = findings
            .iter()
            .filter(|f| f.code != Code::DialectLikely)
            .map(|f| (f.code.as_str(), f.name.as_deref()))
            .collect();
        let mut expected = vec![("macro_syntax_foreign", Some(value))];
        match value.as_bytes()[0] {
            b'%' => expected.push(("url_percent", None)),
            b'#' => expected.push(("url_fragment", None)),
            _ => {}
        }
        assert_eq!(found, expected);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, failure_persistence: None, ..ProptestConfig::default() })]

    /// Whoever decodes the outer value, and then the inner one, has the value.
    #[test]
    fn decoding_each_level_gives_the_value(value in "\\PC{1,20}", deep in any::<bool>()) {
        let inner = "https%3A%2F%2Fb.example%2F%3Fc%3D%7Bsub1%7D";
        let url = if deep {
            format!("https://p.example/?a=https%3A%2F%2Fa.example%2F%3Fb%3D{}", inner.replace('%', "%25"))
        } else {
            format!("https://p.example/?a={inner}")
        };
        let values = [("sub1", value.as_str())];
        let rendered = Template::parse(Parts::get(url)).0.render(&values, &SENDING).url;
        let query = |url: &str| {
            let (_, value) = url.split_once('=').expect("a query");
            String::from_utf8(urldecode(value.as_bytes())).expect("utf-8")
        };
        let mut url = query(&rendered);
        if deep {
            url = query(&url);
        }
        prop_assert_eq!(query(&url), value);
    }
}
