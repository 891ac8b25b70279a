//! What rules, groups and needs may say, and what advice there is on them.

use roundtrip_domain::condition::Condition;
use roundtrip_domain::location::Country;
use roundtrip_domain::money::Currency;
use roundtrip_domain::settings::{Request, Rule};
use roundtrip_domain::sharing::Share;

use super::*;

/// One rule of the sound world with a field set.
fn rule_with(field: &str, value: Value) -> Value {
    with(&["rules", "any-level", field], value)
}

fn compiled(document: &Value) -> Rule {
    let settings = Shelf::of(document).compile();
    let rule = settings.rules.values().flatten().find(|r| r.slug == "any-level").expect("the rule");
    (**rule).clone()
}

#[track_caller]
fn wrong(field: &str, value: Value, code: Code, at: &str) {
    check(&["rules", "any-level", field], value, code, &format!("rules.any-level.{at}"));
}

#[test]
fn revenue_is_shared_as_written() {
    for (written, share) in [
        (json!(true), Share::Exact),
        (json!("exact"), Share::Exact),
        (json!(false), Share::None),
        (json!("none"), Share::None),
        (json!({"rounded": "1"}), Share::Rounded(1_000_000)),
        (json!({"rounded": "0.05"}), Share::Rounded(50_000)),
        (json!({"percent": 70}), Share::Percent(70_000_000)),
        (json!({"percent": "12.5"}), Share::Percent(12_500_000)),
        (json!({"percent": 100}), Share::Percent(100_000_000)),
    ] {
        assert_eq!(compiled(&rule_with("share_revenue", written.clone())).share, share, "{written}");
    }
    let code = Code::ConfigInvalid;
    wrong("share_revenue", json!("some"), code, "share_revenue");
    wrong("share_revenue", json!(3), code, "share_revenue");
    wrong("share_revenue", json!({}), code, "share_revenue");
    wrong("share_revenue", json!({"percent": 1, "rounded": 1}), code, "share_revenue");
    wrong("share_revenue", json!({"procent": 70}), Code::ConfigUnknownKey, "share_revenue.procent");
    for (word, bad) in [
        ("percent", json!(101)),
        ("percent", json!("100.000001")),
        ("percent", json!(0)),
        ("percent", json!(-1)),
        ("percent", json!(12.5)),
        ("percent", json!("half")),
        ("percent", json!("1.0000001")),
        ("rounded", json!("0")),
        ("rounded", json!([1])),
    ] {
        wrong("share_revenue", json!({word: bad}), code, &format!("share_revenue.{word}"));
    }
}

#[test]
fn conditions_are_read_and_judged() {
    let when = json!({
        "country": ["de", "AT"], "not_country": ["FR"], "platform": ["android"], "os_min": "10", "os_max": "17.2",
        "event": ["level"], "not_event": ["x"], "min_revenue": {"amount": "0.5", "currency": "eur"},
        "param": {"sub1": ["a", "b"]}, "site": ["s"], "not_site": ["t"]
    });
    let rule = compiled(&rule_with("when", when.clone()));
    assert_eq!(rule.conditions.len(), 11);
    let countries = ["DE", "AT"].map(|c| Country::parse(c).expect("a country")).to_vec();
    assert_eq!(rule.conditions[0], Condition::Country(countries));
    let least =
        Condition::MinRevenue { micros: 500_000, currency: Currency::parse("EUR").expect("a currency") };
    assert!(rule.conditions.contains(&least));
    // What is shown can be sent back, and what is set again changes nothing.
    let document = rule_with("when", when);
    let mut shelf = Shelf::of(&document);
    assert_eq!(shelf.apply(&document, true).expect("it is sound").changes, []);

    let invalid = Code::ConfigInvalid;
    wrong("when", json!({"country": ["UK"]}), invalid, "when.country[0]");
    wrong("when", json!({"not_country": ["DE", "Germany"]}), invalid, "when.not_country[1]");
    wrong("when", json!({"platform": ["andriod"]}), invalid, "when.platform[0]");
    wrong("when", json!({"os_min": "new"}), invalid, "when.os_min");
    wrong("when", json!({"os_min": "9", "os_max": "8"}), invalid, "when.os_max");
    wrong(
        "when",
        json!({"min_revenue": {"amount": "1", "currency": "EURO"}}),
        invalid,
        "when.min_revenue.currency",
    );
    wrong(
        "when",
        json!({"min_revenue": {"amount": "-1", "currency": "EUR"}}),
        invalid,
        "when.min_revenue.amount",
    );
    wrong("when", json!({"min_revenue": {"amount": "1"}}), Code::ConfigMissing, "when.min_revenue.currency");
    wrong("when", json!({"param": {"sub1": []}}), Code::ConfigMissing, "when.param.sub1");
    wrong("when", json!({"param": {"sub1": [""]}}), invalid, "when.param.sub1[0]");
    wrong("when", json!({"site": ["a\nb"]}), invalid, "when.site[0]");
    wrong("when", json!({"event": [""]}), invalid, "when.event[0]");
    wrong("when", json!({"contry": ["DE"]}), Code::ConfigUnknownKey, "when.contry");
    wrong("when", json!({"country": vec!["DE"; 501]}), invalid, "when.country");
    let problems = Shelf::empty().apply(&rule_with("when", json!({"country": ["UK"]})), false);
    assert!(problems.expect_err("refused")[0].message.ends_with("did you mean `GB`?"));
}

#[test]
fn a_delay_ends_within_a_week() {
    assert_eq!(compiled(&world()).delay, Span::from_ms(0));
    assert_eq!(compiled(&rule_with("delay", json!("10m"))).delay, Span::parse("10m").expect("a span"));
    assert_eq!(compiled(&rule_with("delay", json!("7d"))).delay, Span::from_days(7));
    for bad in ["8d", "0s", "soon", "10"] {
        wrong("delay", json!(bad), Code::ConfigInvalid, "delay");
    }
}

fn grouped() -> Value {
    let mut document = rule_with("group", json!("both"));
    document["partners"]["zeta"] = json!({});
    document["partner_groups"] = json!({"both": {"name": "Both", "partners": ["zeta", "acme"]}});
    document
}

#[test]
fn groups_are_made_changed_and_kept_while_they_are_referred_to() {
    let mut shelf = Shelf::of(&grouped());
    let settings = shelf.compile();
    let group = settings.groups.values().next().expect("the group");
    assert_eq!((group.name.as_str(), group.partners.len()), ("Both", 2));
    let rule = settings.rules.values().flatten().find(|r| r.slug == "any-level").expect("the rule");
    assert_eq!((rule.partner, rule.group), (None, Some(group.id)));

    let mut fewer = grouped();
    fewer["partner_groups"]["both"]["partners"] = json!(["acme"]);
    let plan = shelf.apply(&fewer, true).expect("it is sound");
    let changes: Vec<_> = plan.changes.iter().map(|c| (c.kind.as_str(), c.slug.as_str())).collect();
    assert_eq!(changes, [("partner_group", "both")]);

    // Created before the rule that refers to it, deleted after it.
    let order: Vec<_> = Shelf::empty().apply(&grouped(), false).expect("sound").changes;
    let at = |kind: &str| order.iter().position(|c| c.kind == kind).expect("it is made");
    assert!(at("partner") < at("partner_group") && at("partner_group") < at("rule"));
    let gone = |document: Value| {
        let edits = edits_of(&document, &shelf.rows, true).expect("a document");
        shelf
            .plan(&edits)
            .map(drop)
            .map_err(|p| p.iter().map(|p| (p.code, p.field.clone())).collect::<Vec<_>>())
    };
    let mut without_group = fewer.clone();
    without_group["partner_groups"] = json!({});
    let refused = gone(without_group.clone()).expect_err("the rule refers to it");
    assert_eq!(refused, [(Code::ReferenceUnknown, "rules.any-level.group".to_owned())]);
    without_group["rules"]["any-level"].as_object_mut().expect("a table").shift_remove("group");
    assert_eq!(gone(without_group), Ok(()));
    // A member is referred to as well, also by a group that nobody touches.
    let edit = Edit { kind: ResourceKind::Partner, slug: "acme".into(), document: None };
    let problems = shelf.plan(&[edit]).expect_err("the group names it");
    assert!(
        problems.iter().any(|p| p.code == Code::ReferenceInUse && p.message.contains("partner_groups.both"))
    );
}

#[test]
fn what_is_wrong_with_a_group_is_said() {
    let with_group = |group: Value| {
        let mut document = grouped();
        document["partner_groups"]["both"] = group;
        document
    };
    let said = |document: &Value| refused(document);
    let at = |field: &str| format!("partner_groups.both.{field}");
    assert_eq!(said(&with_group(json!({"partners": []}))), [(Code::ConfigMissing, at("partners"))]);
    assert_eq!(said(&with_group(json!({}))), [(Code::ConfigMissing, at("partners"))]);
    assert_eq!(
        said(&with_group(json!({"partners": ["acme", "acne"]}))),
        [(Code::ReferenceUnknown, at("partners[1]"))]
    );
    assert_eq!(
        said(&with_group(json!({"partners": ["acme", "acme"]}))),
        [(Code::ConfigInvalid, at("partners[1]"))]
    );
    wrong("group", json!("x"), Code::ReferenceUnknown, "group");
    let mut both = grouped();
    both["rules"]["any-level"]["partner"] = json!("acme");
    assert_eq!(said(&both), [(Code::ConfigInvalid, "rules.any-level.group".to_owned())]);
}

/// The advice on a document, with where it is said.
fn advice(document: &Value) -> Vec<(String, String)> {
    let plan = Shelf::empty().apply(document, false).expect("it is sound");
    let known = |w: &&Warning| super::advice::ADVICE.iter().any(|(code, _)| *code == w.code);
    plan.warnings.iter().filter(known).map(|w| (w.code.clone(), w.field.clone())).collect()
}

fn is_said(document: &Value, code: &str, field: &str) -> bool {
    advice(document).contains(&(code.to_owned(), field.to_owned()))
}

#[test]
fn macros_of_a_change_are_known_to_be_filled() {
    let url = "https://p.example/?c={click_id}&s={status}&o={old_status}&r={relates_to}&x={is_rejected}&w={reject_reason}&z={zzz}";
    let mut document = rule_with("url", json!(url));
    document["rules"]["any-level"]["headers"] = json!({});
    let plan = Shelf::empty().apply(&document, false).expect("it is sound");
    let told: Vec<_> =
        plan.warnings.iter().filter(|w| w.code.starts_with("macro_")).map(|w| &w.message).collect();
    assert_eq!(told.len(), 1, "{told:?}");
    assert!(told[0].contains("`zzz`"));
}

#[test]
fn every_advice_is_in_the_guide() {
    let guide = include_str!("../../../../../docs/configuration.md");
    for (code, why) in super::advice::ADVICE {
        assert!(guide.contains(&format!("`{code}`")) && !why.is_empty(), "{code}");
    }
}

#[test]
fn a_click_window_beyond_the_acceptance_window_is_warned_of() {
    let accepts = |span: &str| with(&["partners", "acme", "accepts_within"], json!(span));
    let code = "window_beyond_acceptance";
    // The link of the web app has its 30 days, the other one two seconds of its own.
    assert!(is_said(&accepts("7d"), code, "links.acme-web.click_window"));
    assert!(!is_said(&accepts("7d"), code, "links.Acme-Summer.click_window"));
    assert!(!is_said(&accepts("30d"), code, "links.acme-web.click_window"));
    let mut longer = accepts("7d");
    longer["links"]["Acme-Summer"]["click_window"] = json!("8d");
    assert!(is_said(&longer, code, "links.Acme-Summer.click_window"));
    check(
        &["partners", "acme", "accepts_within"],
        json!("59m"),
        Code::ConfigInvalid,
        "partners.acme.accepts_within",
    );
    check(
        &["partners", "acme", "accepts_within"],
        json!("week"),
        Code::ConfigInvalid,
        "partners.acme.accepts_within",
    );
    // Said where it was changed, when only that is saved.
    let shelf = Shelf::of(&world());
    let mut partner = world()["partners"]["acme"].clone();
    partner["accepts_within"] = json!("7d");
    let edit = Edit { kind: ResourceKind::Partner, slug: "acme".into(), document: Some(partner) };
    let plan = shelf.plan(&[edit]).expect("it is sound");
    let fields: Vec<_> = plan.warnings.iter().filter(|w| w.code == code).map(|w| w.field.as_str()).collect();
    assert_eq!(fields, ["partners.acme.accepts_within"]);
}

#[test]
fn what_a_partner_needs_and_no_template_sends_is_warned_of() {
    let code = "need_missing";
    let own = rule_with("needs", json!(["click_id", "currency"]));
    let said: Vec<_> = advice(&own).into_iter().filter(|(c, _)| c == code).collect();
    assert_eq!(said, [(code.to_owned(), "rules.any-level.url".to_owned())], "only the currency");
    let theirs = with(&["partners", "acme", "needs"], json!(["click_id", "event_id"]));
    assert!(is_said(&theirs, code, "rules.acme-install.url"));
    // It may win on the app, so what whoever won is told counts as well.
    assert!(is_said(&theirs, code, "rules.any-level.url"));
    check(&["partners", "acme", "needs"], json!(["clickid"]), Code::ConfigInvalid, "partners.acme.needs[0]");
    wrong("needs", json!(["currency", "x"]), Code::ConfigInvalid, "needs[1]");
}

#[test]
fn too_few_and_too_many_optimisation_events_are_advised_on() {
    assert!(is_said(&world(), "events_few", "rules.acme-install.on"));
    let names: Vec<String> = (0..5).map(|n| format!("e{n}")).collect();
    let of = |names: &[String]| {
        let mut document = rule_with("rename", json!({}));
        document["rules"]["any-level"]["events"] = json!(names);
        document
    };
    assert_eq!(advice(&of(&names)), [], "five are enough");
    assert_eq!(advice(&of(&names[..3])), []);
    let many: Vec<String> = (0..6).map(|n| format!("e{n}")).collect();
    assert!(is_said(&of(&many), "events_many", "rules.acme-install.on"));
    // A rule for any event tells as many as there are.
    assert_eq!(advice(&of(&[])), []);
    // Nobody optimises a web shop's sales that way.
    let mut web = world();
    web["rules"] = json!({"sale": {"app": "site", "partner": "acme", "on": "purchase", "url": "https://p.example/?c={click_id}"}});
    assert_eq!(advice(&web), []);
}

#[test]
fn a_rule_speaks_another_dialect_with_its_authors_own_meanings_and_signatures() {
    let mut document = rule_with("dialect", json!("appsflyer"));
    let rule = &mut document["rules"]["any-level"];
    rule["headers"] = json!({});
    rule["url"] = json!("https://p.example/?c=(clickid)&d=(DID)&s={signature.install}");
    rule["macros"] = json!({ "DID": "idfa||gaid" });
    rule["signatures"] = json!([
        { "name": "inner", "hash": "sha256", "message": "app:{cfg.app};" },
        { "name": "install", "hash": "hmac-sha1", "key": "cfg.secret", "encoding": "base64url", "message": ["{signature.inner}", "{idfa}"], "join": ":" },
    ]);
    let template = compiled(&document).request.template().cloned().expect("a request");
    let keys: Vec<_> = template.macros().map(|used| used.key.as_str()).collect();
    for key in ["partner_click_id", "idfa", "gaid", "cfg.app"] {
        assert!(keys.contains(&key), "{key} is not among {keys:?}");
    }
    assert!(template.uses_partner_click_id());
}

#[test]
fn what_is_wrong_with_dialects_meanings_and_signatures_names_its_place() {
    wrong("dialect", json!("appsflier"), Code::ConfigInvalid, "dialect");
    wrong("macros", json!({ "DID": "idfa|nope" }), Code::TemplateInvalid, "macros.DID");
    let code = Code::ConfigInvalid;
    wrong("signatures", json!([{ "message": "a", "hash": "sha3" }]), code, "signatures[0].hash");
    wrong("signatures", json!([{ "message": "a", "encoding": "hax" }]), code, "signatures[0].encoding");
    wrong("signatures", json!([{ "message": "a", "join": ":" }]), code, "signatures[0].join");
    // The second one is the template's own to judge: it has no key.
    let two = json!([{ "name": "a", "hash": "md5", "message": "x" }, { "message": "a" }]);
    wrong("signatures", two, Code::TemplateInvalid, "signatures[1]");
    let bare = rule_with("signatures", json!([{ "hash": "md5" }]));
    let problems = Shelf::empty().apply(&bare, false).expect_err("it has no message");
    assert!(problems.iter().any(|p| p.field == "rules.any-level.signatures[0].message"), "{problems:?}");
}

#[test]
fn a_rule_proves_itself_by_its_partners_settings() {
    let with_auth = |auth: Value| {
        let mut document = rule_with("auth", auth);
        document["rules"]["any-level"]["headers"] = json!({});
        document
    };
    let full = json!({"oauth2": {
        "token_url": "https://login.example/t", "client_id": "cfg.id", "client_secret": "cfg.secret",
        "scope": "a b", "audience": "x", "style": "body"
    }});
    for (auth, keys) in [
        (json!({"basic": {"user": "me", "password": "cfg.password"}}), &["cfg.password"][..]),
        (json!({"bearer": "cfg.token"}), &["cfg.token"]),
        (full, &["cfg.id", "cfg.secret"]),
    ] {
        let document = with_auth(auth.clone());
        let template = compiled(&document).request.template().cloned().expect("a request");
        assert!(template.source().auth.is_some());
        let used: Vec<_> = template.macros().map(|used| used.key.as_str()).collect();
        assert!(keys.iter().all(|key| used.contains(key)), "{used:?}");
        // A delivery that was planned before the rule changed is sent as it was planned.
        let rule = document["rules"]["any-level"].clone();
        let rule = document::Any::from_value(ResourceKind::Rule, rule).expect("a rule");
        let row = stored::encode(&stored::Stored::plain(rule));
        let again = rule_template(&row).expect("a template");
        assert_eq!(again.source().auth, template.source().auth);
        // What is shown can be sent back, and what is set again changes nothing.
        let mut shelf = Shelf::of(&document);
        assert_eq!(shelf.apply(&document, true).expect("it is sound").changes, []);
    }
    let refused = |auth: Value, code: Code, at: &str, says: &str| {
        let problems = Shelf::empty().apply(&with_auth(auth), false).expect_err(at);
        let at = format!("rules.any-level.{at}");
        let found = problems.iter().find(|p| p.field == at && p.code == code);
        assert!(found.is_some_and(|p| p.message.contains(says)), "{at}: {problems:?}");
    };
    let (invalid, template) = (Code::ConfigInvalid, Code::TemplateInvalid);
    refused(json!({}), Code::ConfigMissing, "auth", "one of basic, bearer and oauth2");
    let two = json!({"bearer": "cfg.a", "basic": {"user": "u", "password": "cfg.p"}});
    refused(two, invalid, "auth", "only one of");
    refused(json!({"bearer": "s3cr3t"}), template, "auth.bearer", "never written into a rule");
    refused(json!({"basic": {"user": "me"}}), Code::ConfigMissing, "auth.basic.password", "missing");
    let style = json!({"oauth2": {"token_url": "https://h/", "client_id": "i", "client_secret": "cfg.s", "style": "post"}});
    refused(style, invalid, "auth.oauth2.style", "`basic`, `body`");
    refused(json!({"oauth": {}}), Code::ConfigUnknownKey, "auth.oauth", "did you mean `oauth2`");
    let mut both = with_auth(json!({"bearer": "cfg.token"}));
    both["rules"]["any-level"]["headers"] = json!({"Authorization": "Token {cfg.token}"});
    let problems = Shelf::empty().apply(&both, false).expect_err("two proofs");
    assert!(
        problems.iter().any(|p| p.field == "rules.any-level.auth" && p.message.contains("auth_conflict"))
    );
    let mut callback = calling_back();
    callback["rules"]["any-level"]["auth"] = json!({"bearer": "cfg.token"});
    let problems = Shelf::empty().apply(&callback, false).expect_err("a callback has no proof");
    assert!(problems.iter().any(|p| p.field == "rules.any-level.auth"), "{problems:?}");
}

/// The sound world whose rule tells the click's own callback.
fn calling_back() -> Value {
    let mut document = rule_with("callback", json!(true));
    document["partners"]["acme"]["in_link_callbacks"] = json!(true);
    let rule = document["rules"]["any-level"].as_object_mut().expect("a table");
    let more = ["url", "headers", "scope", "method", "dialect", "body", "needs"];
    rule.retain(|name, _| !more.contains(&name.as_str()));
    rule.insert("partner".into(), json!("acme"));
    document
}

#[test]
fn a_rule_has_a_url_or_tells_callbacks() {
    let document = calling_back();
    assert_eq!(compiled(&document).request, Request::Callback);
    // What is shown can be sent back, and what is set again changes nothing.
    let mut shelf = Shelf::of(&document);
    assert_eq!(shelf.apply(&document, true).expect("it is sound").changes, []);
    let mut anyone = document.clone();
    anyone["rules"]["any-level"].as_object_mut().expect("a table").shift_remove("partner");
    anyone["partners"]["acme"]["in_link_callbacks"] = json!(false);
    assert_eq!(compiled(&anyone).request, Request::Callback, "whoever won is asked when it is planned");

    let (invalid, missing) = (Code::ConfigInvalid, Code::ConfigMissing);
    let refused = |change: &dyn Fn(&mut Value)| {
        let mut document = document.clone();
        change(&mut document);
        let problems = Shelf::empty().apply(&document, false).expect_err("it is refused");
        problems.into_iter().map(|p| (p.code, p.field)).collect::<Vec<_>>()
    };
    let at = |code, field: &str| vec![(code, format!("rules.any-level.{field}"))];
    let rule = |field: &'static str, value: Value| {
        move |document: &mut Value| document["rules"]["any-level"][field] = value.clone()
    };
    assert_eq!(refused(&rule("callback", json!(false))), at(missing, "url"), "none of the two");
    assert_eq!(
        refused(&rule("url", json!("https://p.example/?c={click_id}"))),
        at(invalid, "callback"),
        "both"
    );
    assert_eq!(
        refused(&|d| d["partners"]["acme"]["in_link_callbacks"] = json!(false)),
        at(invalid, "callback")
    );
    for (field, value) in [
        ("scope", json!("all")),
        ("dialect", json!("adjust")),
        ("method", json!("POST")),
        ("headers", json!({"x-a": "b"})),
        ("body", json!({"json": "{}"})),
        ("macros", json!({"a": "click_id"})),
        ("needs", json!(["click_id"])),
    ] {
        assert_eq!(refused(&rule(field, value)), at(invalid, field), "{field}");
    }
    let status = |document: &mut Value| {
        document["rules"]["any-level"].as_object_mut().expect("a table").shift_remove("events");
        document["rules"]["any-level"]["on"] = json!("status_change");
    };
    assert_eq!(refused(&status), at(invalid, "on"));
}

#[test]
fn how_a_partners_list_is_read_is_checked_when_it_is_saved() {
    let report = json!({
        "columns": { "click_id": "SubID", "amount": "Payout", "time": "Conv Time" },
        "time_zone": "Europe/Berlin", "currency": "EUR", "date_format": "%d.%m.%Y %H:%M", "decimal": "comma",
    });
    let kept = Shelf::of(&with(&["partners", "acme", "report"], report.clone()));
    let row = kept.rows.iter().find(|row| row.kind == ResourceKind::Partner && row.slug == "acme");
    let body: Value = serde_json::from_str(&row.expect("the partner").body).expect("JSON");
    assert_eq!(body["report"], report, "{body}");
    for (path, value, field) in [
        (&["columns", "payout"][..], json!("Payout"), "columns.payout"),
        (&["columns", "click_id"], json!(" "), "columns.click_id"),
        (&["columns", "click_id"], json!(7), "columns.click_id"),
        (&["time_zone"], json!("Mars/Olympus"), "time_zone"),
        (&["currency"], json!("XXQ"), "currency"),
        (&["date_format"], json!("dd.mm.yyyy"), "date_format"),
        (&["date_format"], json!("%!"), "date_format"),
        (&["decimal"], json!("dot"), "decimal"),
    ] {
        let mut document = with(&["partners", "acme", "report"], report.clone());
        let mut at = &mut document["partners"]["acme"]["report"];
        for name in path {
            at = &mut at[*name];
        }
        *at = value;
        assert_eq!(
            refused(&document),
            [(Code::ConfigInvalid, format!("partners.acme.report.{field}"))],
            "{path:?}"
        );
    }
}
