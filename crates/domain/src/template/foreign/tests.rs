//! Whole templates of other systems, and the author's own meanings.

use super::super::{BODY_BYTES_MAX, Body, Parts, Sending, Template, UrlTemplate, UseKind};
use super::*;
use std::collections::BTreeMap;

const SENDING: Sending<'static> = Sending { attempt: 1, at_ms: 1_780_564_905_250, nonce: "n0nce" };
const VALUES: [(&str, &str); 9] = [
    ("partner_click_id", "c/1"),
    ("rt_click_id", "rt-1"),
    ("sub2", "two"),
    ("event_name", "purchase"),
    ("gaid", "g-1"),
    ("status", "approved"),
    ("cfg.name", "acme"),
    ("cfg.sdk_key", "k"),
    ("param.banner", "b 1"),
];

fn parts(dialect: Dialect, url: &str) -> Parts {
    Parts { dialect, ..Parts::get(url) }
}

fn codes(findings: &[Finding]) -> Vec<&'static str> {
    findings
        .iter()
        .map(|finding| finding.code.as_str())
        .filter(|code| *code != "no_partner_click_id")
        .collect()
}

#[test]
fn templates_of_other_systems_are_filled_in() {
    for (dialect, url, expected, expected_codes) in [
        (
            Dialect::Appsflyer,
            "https://p.example/?c=(clickid)&e=(event-name)&x=a(b)c&empty=&g=(advertiserId)",
            "https://p.example/?c=c%2F1&e=purchase&x=a(b)c&empty=&g=g-1",
            &["macro_unknown"][..],
        ),
        (Dialect::Cake, "https://p.example/?c=#s2##reqid#&d=1", "https://p.example/?c=c%2F1rt-1&d=1", &[]),
        (
            Dialect::Branch,
            "https://p.example/?c=${(last_attributed_touch_data.~click_id)!}&e=${(name)!}&n=${(user_data.idfa)!\"no\"}",
            "https://p.example/?c=c%2F1&e=purchase&n=no",
            &[],
        ),
        (
            Dialect::Keitaro,
            "https://p.example/?c={external_id}&d={_external_id}&s={status: sale=dep lead=reg}",
            "https://p.example/?c=c%2F1&d=c/1&s=dep",
            &[],
        ),
        (
            Dialect::Voluum,
            "https://p.example/postback?cid=REPLACE&p=replace",
            "https://p.example/postback?cid=c%2F1&p=replace",
            &[],
        ),
        (
            Dialect::Admitad,
            "https://p.example/?c=[[[subid]]]&d=[x]",
            "https://p.example/?c=c%2F1&d=[x]",
            &["macro_syntax_foreign"],
        ),
        (
            Dialect::Affise,
            "https://offers-{name}.affise.example/postback?c={sub1}&s={status}",
            "https://offers-acme.affise.example/postback?c=c%2F1&s=1",
            &["macro_became_setting"],
        ),
        (
            Dialect::Singular,
            "https://p.example/?c={cl?Network}&a={{sdk_key}}&e={EVTNAME}",
            "https://p.example/?c=c%2F1&a=k&e=purchase",
            &["macro_became_setting"],
        ),
        (
            Dialect::Generic,
            "https://p.example/?c=##CLICK_ID##&d=[CLICK_ID]&a=%20&data[sub]=1",
            "https://p.example/?c=c%2F1&d=c%2F1&a=%20&data[sub]=1",
            &[],
        ),
    ] {
        let (template, findings) = Template::parse(parts(dialect, url));
        let rendered = template.render(&VALUES, &SENDING);
        assert_eq!(rendered.url, expected, "of {url}");
        assert_eq!(codes(&findings), expected_codes, "of {url}");
        assert_eq!(template.source().url, url);
        assert!(template.uses_partner_click_id(), "of {url}");
    }
}

#[test]
fn an_unknown_word_is_a_link_parameter_or_its_own_text() {
    let url = "https://p.example/?a={banner}&b={zzq}&c=##zzr##";
    let (template, findings) = Template::parse(parts(Dialect::Linkrunner, url));
    let rendered = template.render(&VALUES, &SENDING);
    assert_eq!(rendered.url, "https://p.example/?a=b%201&b=%7Bzzq%7D&c=##zzr##");
    assert_eq!(rendered.unexpanded, ["zzq"]);
    assert!(codes(&findings).contains(&"macro_unknown"), "{findings:#?}");
    let unknown = findings.iter().find(|f| f.name.as_deref() == Some("zzq")).expect("a finding");
    assert_eq!((unknown.place, unknown.offset), (Place::Query, url.find("zzq").expect("there")));
}

#[test]
fn our_families_are_read_in_every_dialect() {
    for &dialect in Dialect::ALL {
        let url = "https://{cfg.name}.p.example/{cfg.sdk_key|upper}?b={param.banner}&c={x}";
        let (template, findings) = Template::parse(parts(dialect, url));
        let rendered = template.render(&VALUES, &SENDING);
        assert!(
            rendered.url.starts_with("https://acme.p.example/K?b=b%201&c="),
            "{dialect:?}: {}",
            rendered.url
        );
        assert!(findings.iter().all(|f| f.severity != Severity::Error), "{dialect:?}: {findings:?}");
    }
    let (_, findings) = Template::parse(parts(Dialect::Cake, "https://{name}.p.example/?c=#s2#"));
    assert_eq!(codes(&findings), ["url_invalid"]);
}

#[test]
fn sentences_in_headers_and_bodies_stay() {
    let text = "App (country) <city> #ip# {gaid} [gaid]";
    let source = Parts {
        method: "POST".into(),
        headers: vec![("X-A".into(), text.into())],
        body: Body::Json(format!("{{\"a\":\"{text}\",\"b\":[true],\"c\":{{gaid}}}}")),
        ..parts(Dialect::Generic, "https://p.example/?c={clickid}&d=(gaid)")
    };
    let (template, findings) = Template::parse(source);
    let rendered = template.render(&VALUES, &SENDING);
    assert_eq!(rendered.url, "https://p.example/?c=c%2F1&d=g-1");
    assert_eq!(rendered.headers[0].1, b"App (country) <city> #ip# g-1 g-1");
    let body = String::from_utf8(rendered.body.expect("a body")).expect("utf-8");
    assert_eq!(body, "{\"a\":\"App (country) <city> #ip# g-1 g-1\",\"b\":[true],\"c\":\"g-1\"}");
    assert_eq!(codes(&findings), [""; 0]);
}

#[test]
fn own_meanings_win_over_the_dialects() {
    let macros: BTreeMap<String, String> = [
        ("DID", "idfa||gaid|upper"),
        ("sdk_key", "cfg.sdk_key"),
        ("sub1", "sub2"),
        ("click_id", "param.banner"),
    ]
    .map(|(word, meaning)| (word.to_owned(), meaning.to_owned()))
    .into();
    for dialect in [Dialect::Affise, Dialect::Canonical, Dialect::Generic] {
        let source = Parts {
            macros: macros.clone(),
            method: "POST".into(),
            headers: vec![("X-K".into(), "{sdk_key}".into())],
            body: Body::Json("{\"d\":\"{DID}\",\"n\":{sub1}}".into()),
            ..parts(dialect, "https://p.example/{DID}?k={sdk_key}&s={sub1}&c={click_id}")
        };
        let (template, findings) = Template::parse(source);
        let rendered = template.render(&VALUES, &SENDING);
        assert_eq!(rendered.url, "https://p.example/G-1?k=k&s=two&c=b%201", "{dialect:?}");
        assert_eq!(rendered.headers[0].1, b"k");
        assert_eq!(rendered.body.as_deref(), Some(&b"{\"d\":\"G-1\",\"n\":\"two\"}"[..]));
        assert_eq!(codes(&findings), [""; 0], "{dialect:?}");
        let uses: Vec<_> = template
            .macros()
            .take(3)
            .map(|used| format!("{} {} {} {}", used.text, used.name, used.key, used.kind.as_str()))
            .collect();
        assert_eq!(
            uses,
            ["{DID} DID idfa value", "{DID} DID gaid value", "{sdk_key} sdk_key cfg.sdk_key setting"]
        );
    }
}

#[test]
fn meanings_that_are_none_are_named() {
    for (word, meaning) in [
        ("a", ""),
        ("a", "clickid"),
        ("a", "gaid|sha265"),
        ("a", "gaid}x"),
        ("a", "{gaid}"),
        ("a", "gaid||"),
        ("a", "event_time|date:%!"),
        ("", "gaid"),
    ] {
        let macros = BTreeMap::from([(word.to_owned(), meaning.to_owned())]);
        let source = Parts { macros: macros.clone(), ..parts(Dialect::Tune, "https://p.example/?c={a}") };
        let (template, findings) = Template::parse(source);
        let wrong: Vec<_> = findings.iter().filter(|f| f.code == Code::MacroMeaning).collect();
        assert_eq!(wrong.len(), 1, "of {meaning}: {findings:#?}");
        assert_eq!(wrong[0].severity, Severity::Error);
        assert_eq!(wrong[0].name.as_deref(), Some(word));
        // What a mistyped hash was meant to hide does not go out.
        assert!(!template.render(&VALUES, &SENDING).url.contains("g-1"), "of {meaning}");
        let (_, findings) =
            UrlTemplate::parse_with("https://p.example/", Scope::Destination, Dialect::Tune, &macros);
        assert_eq!(codes(&findings), ["macro_meaning"]);
    }
}

#[test]
fn a_link_is_a_networks_own_template() {
    let url = "https://track.example/c/x?click_id={CLICKID}&s={click_id}";
    let (template, _) = UrlTemplate::parse(url, Scope::Link, Dialect::Generic);
    assert!(
        template.macros().all(|used| used.key == "partner_click_id"),
        "{:?}",
        template.macros().collect::<Vec<_>>()
    );
    assert_eq!(template.render(&VALUES, None).url, "https://track.example/c/x?click_id=c%2F1&s=c%2F1");
    let (template, _) =
        UrlTemplate::parse("https://t.example/?c={click_id}", Scope::Link, Dialect::Canonical);
    assert_eq!(template.render(&VALUES, None).url, "https://t.example/?c=c%2F1");
    let first =
        |url: &str| UrlTemplate::parse(url, Scope::Link, Dialect::Generic).1.first().map(|f| f.code.as_str());
    assert_eq!(first("myapp://x"), Some("url_scheme"));
    assert_eq!(first("javascript:x"), Some("url_scheme"));
    assert_eq!(first("http://track.example/"), Some("url_plain_http"));
    assert_eq!(first("https://track.example/#x"), None);
    // What only a conversion has is empty on a link.
    let (template, findings) =
        UrlTemplate::parse("https://t.example/?c={event_name}", Scope::Link, Dialect::Canonical);
    assert_eq!(codes(&findings), ["macro_unavailable"]);
    assert_eq!(template.macros().next().map(|used| used.kind), Some(UseKind::Value));
}

#[test]
fn beginnings_without_end_are_read_once_each() {
    let generic = ["{a", "(a", "__a", "%a", "[[[a", "#a", "a=%7Bx%7D&"].map(|text| (Dialect::Generic, text));
    let branch = ["${", "${a", "${\"{", "<#if "].map(|text| (Dialect::Branch, text));
    for (dialect, text) in generic.into_iter().chain(branch) {
        let source = Parts {
            method: "POST".into(),
            body: Body::Form(text.repeat(BODY_BYTES_MAX / 4 / text.len())),
            ..parts(dialect, "https://p.example/?c={click_id}")
        };
        let (template, findings) = Template::parse(source);
        assert!(findings.len() <= super::super::FINDINGS_MAX);
        assert!(template.macros().count() <= 1, "{text}");
    }
}

#[test]
fn the_number_of_macros_is_bounded() {
    let source = Parts {
        method: "POST".into(),
        body: Body::Form("{cfg.a}".repeat(3000)),
        ..parts(Dialect::Tune, "https://p.example/?c={zzq}")
    };
    let (template, findings) = Template::parse(source);
    assert!(codes(&findings).contains(&"template_too_long"), "{findings:?}");
    assert_eq!(template.macros().filter(|used| used.place == Place::Body).count(), 1000);
    let body = template.render(&VALUES, &SENDING).body.expect("a body");
    assert!(body.ends_with(b"%7Bcfg.a%7D"), "the rest is text");
}
