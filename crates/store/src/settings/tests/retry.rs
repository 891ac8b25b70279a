//! How rules are sent, and how long that is accepted, as people write it.

use roundtrip_domain::retry::{Late, Policy, Retry};
use roundtrip_domain::settings::{Accepts, AcceptsFrom, Rule};
use roundtrip_domain::success::{Otherwise, Said};

use super::*;

fn rule_with(field: &str, value: Value) -> Value {
    with(&["rules", "any-level", field], value)
}

fn compiled(document: &Value) -> Rule {
    let settings = Shelf::of(document).compile();
    let rule = settings.rules.values().flatten().find(|r| r.slug == "any-level").expect("the rule");
    (**rule).clone()
}

#[track_caller]
fn wrong(field: &str, value: Value, at: &str, says: &str) {
    let problems = Shelf::empty().apply(&rule_with(field, value.clone()), false).expect_err("it is refused");
    let [one] = problems.as_slice() else { panic!("one problem with {value}: {problems:?}") };
    assert_eq!(one.field, format!("rules.any-level.{at}"), "{value}: {one:?}");
    assert!(one.message.contains(says), "{value}: {}", one.message);
}

fn spans(texts: &[&str]) -> Vec<Span> {
    texts.iter().map(|text| Span::parse(text).expect("a span")).collect()
}

#[test]
fn a_schedule_is_a_list_or_a_table() {
    assert_eq!(compiled(&world()).retry, Retry::default());
    let list = compiled(&rule_with("retry", json!(["10s", "5m", "2h"]))).retry;
    assert_eq!(list.waits, Some(spans(&["10s", "5m", "2h"])));
    let table = json!({"waits": ["1m"], "for": "12h", "on": [404, 302]});
    let document = rule_with("retry", table);
    let retry = compiled(&document).retry;
    assert_eq!((retry.horizon, retry.on.as_slice()), (Span::parse("12h"), [404, 302].as_slice()));
    assert_eq!(retry.policy(&Policy::postback()).waits, spans(&["1m"]));
    let mut shelf = Shelf::of(&document);
    assert_eq!(shelf.apply(&document, true).expect("it is sound").changes, [], "said twice, it is the same");
    assert_eq!(compiled(&rule_with("retry", json!([]))).retry.waits, Some(Vec::new()), "sent once");
    assert_eq!(compiled(&rule_with("retry", Value::Null)).retry, Retry::default());
    let most = vec!["14h"; 50];
    assert_eq!(compiled(&rule_with("retry", json!(most))).retry.waits.map(|waits| waits.len()), Some(50));
}

#[test]
fn what_cannot_be_a_schedule_is_named() {
    for (value, at, says) in [
        (json!("10s"), "retry", "a list of waits"),
        (json!(5), "retry", "a list of waits"),
        (json!(["10s", "999ms"]), "retry[1]", "at least 1s"),
        (json!(["31d"]), "retry[0]", "at most 30d"),
        (json!(["soon"]), "retry[0]", "a duration is a number"),
        (json!([10]), "retry[0]", "such as \"10s\""),
        (json!(vec!["1s"; 51]), "retry", "at most 50 waits"),
        (json!(["20d", "11d"]), "retry", "add up to at most 30d"),
        (json!({"waits": ["10ms"]}), "retry.waits[0]", "at least 1s"),
        (json!({"waits": "10s"}), "retry.waits", "a list"),
        (json!({"for": "59s"}), "retry.for", "at least 1m"),
        (json!({"for": "31d"}), "retry.for", "at most 30d"),
        (json!({"for": 12}), "retry.for", "such as \"12h\""),
        (json!({"on": [503]}), "retry.on[0]", "sent again without saying so"),
        (json!({"on": [404, 200]}), "retry.on[1]", "from 300 to 499"),
        (json!({"on": [404, 404]}), "retry.on[1]", "listed already"),
        (json!({"on": ["404"]}), "retry.on[0]", "such as 404"),
        (json!({"wait": ["1s"]}), "retry.wait", "did you mean `waits`?"),
    ] {
        wrong("retry", value, at, says);
    }
    wrong("timeout", json!("31s"), "timeout", "at most 30s");
    wrong("timeout", json!("500ms"), "timeout", "at least 1s");
    assert_eq!(compiled(&rule_with("timeout", json!("5s"))).retry.timeout, Some(Span::from_seconds(5)));
}

#[test]
fn a_success_can_ask_for_a_body() {
    let asked =
        json!({"contains": "success=true", "not_contains": "err", "matches": "(?i)ok", "else": "retry"});
    let success = compiled(&rule_with("success", asked)).retry.success;
    assert_eq!(success.otherwise, Otherwise::Retry);
    assert_eq!(success.judge(b"success=true OK", true), Said::Accepted);
    assert_eq!(success.judge(b"success=true err OK", true), Said::Refused);
    assert_eq!(success.judge(b"success=true", true), Said::Refused);
    wrong("success", json!({"matches": "("}), "success.matches", "it is no regular expression");
    wrong("success", json!({"contains": ""}), "success.contains", "1 to 512 bytes");
    wrong("success", json!({"else": "retry"}), "success", "one of which is missing");
    wrong("success", json!({"else": "again"}), "success.else", "`dead`, `retry`");
    wrong("success", json!({"contain": "x"}), "success.contain", "did you mean `contains`?");
}

#[test]
fn an_acceptance_window_is_the_rules_own_or_none() {
    let plain = compiled(&world());
    assert_eq!((plain.accepts, plain.accepts_from, plain.late), Default::default());
    let mut document = rule_with("accepts_within", json!("48h"));
    document["rules"]["any-level"]["accepts_from"] = json!("conversion");
    document["rules"]["any-level"]["late"] = json!("try_once");
    let rule = compiled(&document);
    assert_eq!(rule.accepts, Accepts::Within(Span::from_hours(48)));
    assert_eq!((rule.accepts_from, rule.late), (AcceptsFrom::Conversion, Late::TryOnce));
    assert_eq!(compiled(&rule_with("accepts_within", json!("none"))).accepts, Accepts::Always);
    wrong("accepts_within", json!("59m"), "accepts_within", "at least 1h");
    wrong("accepts_within", json!("never"), "accepts_within", "a duration is a number");
    wrong("late", json!("drop"), "late", "`expire`, `try_once`");
    document["rules"]["any-level"]["delay"] = json!("2d");
    let problems = Shelf::empty().apply(&document, false).expect_err("refused");
    assert_eq!(problems[0].field, "rules.any-level.delay");
    document["rules"]["any-level"]["delay"] = json!("47h");
    assert_eq!(compiled(&document).delay, Span::from_hours(47));
}

#[test]
fn a_partners_window_binds_its_installs() {
    let settings = Shelf::of(&with(&["partners", "acme", "accepts_within"], json!("7d"))).compile();
    let acme = settings.partners.values().find(|p| p.slug == "acme").expect("the partner");
    let of = |slug: &str| {
        let rule = settings.rules.values().flatten().find(|r| r.slug == slug).expect("the rule");
        rule.accepts_of(Some(acme))
    };
    assert_eq!((of("acme-install"), of("any-level")), (Some(Span::from_days(7)), None));
}

#[test]
fn a_click_window_beyond_what_a_rule_is_accepted_for_is_warned_of() {
    let code = "window_beyond_acceptance";
    let field = "rules.acme-install.accepts_within";
    let said = |document: &Value| {
        let plan = Shelf::empty().apply(document, false).expect("it is sound");
        plan.warnings.into_iter().filter(|w| w.code == code).map(|w| w.field).collect::<Vec<_>>()
    };
    let accepts = |span: &str| with(&["rules", "acme-install", "accepts_within"], json!(span));
    let mut document = accepts("24h");
    assert!(said(&document).is_empty(), "its link has two seconds: {:?}", said(&document));
    document["links"]["Acme-Summer"]["click_window"] = json!("2d");
    assert_eq!(said(&document), [field]);
    document["rules"]["acme-install"]["accepts_from"] = json!("conversion");
    assert!(said(&document).is_empty(), "the click's time says nothing then");

    // Said at the link, when only that is saved.
    document["rules"]["acme-install"]["accepts_from"] = json!("click");
    document["links"]["Acme-Summer"]["click_window"] = json!("2s");
    let shelf = Shelf::of(&document);
    let mut link = document["links"]["Acme-Summer"].clone();
    link["click_window"] = json!("2d");
    let edit = Edit { kind: ResourceKind::Link, slug: "Acme-Summer".into(), document: Some(link) };
    let plan = shelf.plan(&[edit]).expect("it is sound");
    let fields: Vec<_> = plan.warnings.iter().filter(|w| w.code == code).map(|w| w.field.as_str()).collect();
    assert_eq!(fields, ["links.Acme-Summer.click_window"]);
}
