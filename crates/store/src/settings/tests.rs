//! What settings may say, and what is said when they may not.

mod links;
mod retry;
mod rules;

use roundtrip_ambient::Entropy;
use roundtrip_domain::event::ConversionKind;
use roundtrip_domain::id::WorkspaceNo;
use roundtrip_domain::problem::{Code, Problem};
use roundtrip_domain::settings::{KeyKind, Settings};
use roundtrip_domain::time::{Span, Timestamp};
use serde_json::{Value, json};

use super::diff::Action;
use super::*;

/// A workspace's rows, changed by plans as the ledger would.
struct Shelf {
    version: u64,
    rows: Vec<Resource>,
    entropy: Entropy,
}

impl Shelf {
    fn empty() -> Self {
        Self { version: 0, rows: Vec::new(), entropy: Entropy::seeded(7) }
    }

    fn of(document: &Value) -> Self {
        let mut shelf = Self::empty();
        shelf.apply(document, false).expect("the document is sound");
        shelf
    }

    fn plan(&self, edits: &[Edit]) -> Result<Plan, Vec<Problem>> {
        let before = Before {
            workspace: WorkspaceNo(1),
            slug: "default",
            version: self.version,
            resources: &self.rows,
        };
        let world = World {
            taken_links: &|id| id == "elsewhere",
            taken_keys: &|hash| *hash == hash_token("a-secret-of-another-workspace-000"),
            at: Timestamp::from_ms(1_780_564_904_120),
            entropy: &self.entropy,
        };
        plan(before, edits, &world)
    }

    fn apply(&mut self, document: &Value, prune: bool) -> Result<Plan, Vec<Problem>> {
        let edits = edits_of(document, &self.rows, prune)?;
        let plan = self.plan(&edits)?;
        if !plan.writes.is_empty() {
            self.version += 1;
        }
        for write in &plan.writes {
            self.rows.retain(|row| (row.kind, &row.slug) != (write.kind, &write.slug));
            if let Some(body) = &write.body {
                let (kind, id, slug, body) = (write.kind, write.id, write.slug.clone(), body.clone());
                self.rows.push(Resource { kind, id, slug, version: self.version, body });
            }
        }
        Ok(plan)
    }

    fn compile(&self) -> Settings {
        compile(WorkspaceNo(1), "default", self.version, &self.rows, &|_| false)
            .expect("what was planned compiles")
    }
}

fn world() -> Value {
    json!({
        "workspace": "default",
        "apps": {
            "shop": {"platform": "android", "bundle_id": "com.example.shop", "currency": "EUR", "click_window": "3d",
                     "events": {"registered": "signup", "sale": "purchase", "level": "event"},
                     "postback": {"addresses": ["203.0.113.7", "198.51.100.0/24"], "auth": "none"}},
            "site": {"platform": "web", "name": "The site"}
        },
        "campaigns": {
            "summer": {"app": "shop", "public_id": "4711", "mandatory": ["order_id"]},
            "web": {"app": "site", "landing_page": "https://shop.example/?rt={click_id}"}
        },
        "partners": {"acme": {"name": "Acme", "ref_id": "12", "cfg": {"host": "p.example", "token": "s3cr3t"}}},
        "links": {
            "Acme-Summer": {"campaign": "summer", "partner": "acme", "click_window": "2s",
                            "destinations": {"deep_link": "shop://x?c={click_id}"},
                            "allow_destinations": ["https://shop.example/", "shop://"]},
            "acme-web": {"campaign": "web", "partner": "acme", "dialect": "tracknow"}
        },
        "rules": {
            "acme-install": {"app": "shop", "partner": "acme", "on": "install",
                             "url": "https://{cfg.host}/i?c={click_id}&t={cfg.token}"},
            "any-level": {"app": "shop", "on": "event", "events": ["level"], "method": "POST",
                          "url": "https://p.example/e?c={click_id}", "headers": {"X-Token": "{cfg.token}"},
                          "body": {"json": "{\"v\":{event_value}}"}, "scope": "all", "first_only": true,
                          "share_revenue": true, "rename": {"level": "lvl"}, "sandbox": true, "pending": true,
                          "window": "90d"}
        },
        "keys": {
            "app": {"kind": "client", "app": "shop"},
            "ci": {"kind": "admin", "scopes": ["read", "write"]},
            "own": {"kind": "postback", "secret": "0123456789abcdef0123456789abcdef"}
        }
    })
}

/// The sound world with one value replaced or added at a path of segments.
fn with(path: &[&str], value: Value) -> Value {
    let mut document = world();
    let mut at = &mut document;
    for segment in path {
        at = &mut at[*segment];
    }
    *at = value;
    document
}

fn without(path: &[&str]) -> Value {
    let mut document = world();
    let (last, outer) = path.split_last().expect("a path");
    let mut at = &mut document;
    for segment in outer {
        at = &mut at[*segment];
    }
    at.as_object_mut().expect("a table").shift_remove(*last);
    document
}

#[track_caller]
fn refused(document: &Value) -> Vec<(Code, String)> {
    let problems = Shelf::empty().apply(document, false).expect_err("it is refused");
    problems.into_iter().map(|p| (p.code, p.field)).collect()
}

#[track_caller]
fn check(path: &[&str], value: Value, code: Code, field: &str) {
    assert_eq!(refused(&with(path, value)), [(code, field.to_owned())], "{path:?}");
}

#[test]
fn a_document_becomes_what_the_program_runs_on() {
    let settings = Shelf::of(&world()).compile();
    let app = settings.apps.values().find(|a| a.slug == "shop").expect("the app");
    assert_eq!((app.name.as_str(), app.click_window), ("shop", Span::from_days(3)));
    assert_eq!(app.kind_of("registered"), ConversionKind::Signup);
    assert_eq!(app.postback.addresses.len(), 2);
    assert!(
        app.postback.none
            && app.postback.addresses[0].contains(&"203.0.113.7".parse::<std::net::IpAddr>().unwrap())
    );
    let site = settings.apps.values().find(|a| a.slug == "site").expect("the site");
    assert_eq!((site.name.as_str(), site.click_window), ("The site", Span::from_days(30)));
    assert_eq!(settings.campaign_by_public_id("4711").map(|c| c.app), Some(app.id));
    assert_eq!(
        settings.campaign_by_public_id("web").map(|c| c.app),
        Some(site.id),
        "the slug is the default"
    );
    let partner = settings.partner_by_ref_id("12").expect("the partner");
    assert_eq!(partner.cfg["token"], "s3cr3t");
    let link = settings.links.values().find(|l| l.public_id == "Acme-Summer").expect("the link");
    assert_eq!(
        (link.app, link.partner, link.click_window),
        (app.id, partner.id, Some(Span::from_seconds(2)))
    );
    let rules = &settings.rules[&app.id];
    assert_eq!(rules.iter().map(|r| r.slug.as_str()).collect::<Vec<_>>(), ["acme-install", "any-level"]);
    assert_eq!(
        (rules[0].partner, rules[0].window, rules[0].version),
        (Some(partner.id), Span::from_days(30), 1)
    );
    assert!(
        rules[1].first_only
            && rules[1].share == roundtrip_domain::sharing::Share::Exact
            && rules[1].sandbox
            && rules[1].pending
    );
    assert_eq!(
        rules[1].request.template().expect("a request").source().headers,
        [("X-Token".to_owned(), "{cfg.token}".to_owned())]
    );
    let own = &settings.keys[&hash_token("0123456789abcdef0123456789abcdef")];
    assert_eq!((own.kind, own.app), (KeyKind::Postback, None));
}

#[test]
fn everything_that_can_be_wrong_has_its_code_and_path() {
    use Code::*;
    check(&["rules", "acme-install", "urll"], json!("x"), ConfigUnknownKey, "rules.acme-install.urll");
    check(&["ruls"], json!({}), ConfigUnknownKey, "ruls");
    check(&["server"], json!({}), ConfigUnknownKey, "server");
    check(&["apps"], json!([]), ConfigInvalid, "apps");
    check(&["apps", "site"], json!(3), ConfigInvalid, "apps.site");
    check(
        &["rules", "acme-install", "first_only"],
        json!("yes"),
        ConfigInvalid,
        "rules.acme-install.first_only",
    );
    check(&["links", "acme-web", "dialect"], json!("tracknov"), ConfigInvalid, "links.acme-web.dialect");
    check(&["apps", "shop", "events", "x"], json!("install"), ConfigInvalid, "apps.shop.events.x");
    check(&["apps", "shop", "events", ""], json!("event"), ConfigInvalid, "apps.shop.events.");
    check(&["apps", "shop", "currency"], json!("XXQ"), ConfigInvalid, "apps.shop.currency");
    check(&["apps", "shop", "name"], json!("a\nb"), ConfigInvalid, "apps.shop.name");
    check(&["apps", "shop", "bundle_id"], json!("a b"), ConfigInvalid, "apps.shop.bundle_id");
    check(&["apps", "shop", "store_url"], json!("javascript:alert(1)"), ConfigInvalid, "apps.shop.store_url");
    check(&["apps", "shop", "click_window"], json!("91d"), ConfigInvalid, "apps.shop.click_window");
    check(&["apps", "shop", "click_window"], json!("0s"), ConfigInvalid, "apps.shop.click_window");
    check(
        &["links", "acme-web", "click_window"],
        json!("a week"),
        ConfigInvalid,
        "links.acme-web.click_window",
    );
    check(&["rules", "any-level", "window"], json!("3651d"), ConfigInvalid, "rules.any-level.window");
    check(
        &["apps", "shop", "postback", "addresses"],
        json!(["x"]),
        ConfigInvalid,
        "apps.shop.postback.addresses[0]",
    );
    check(&["campaigns", "web", "mandatory"], json!(["a b"]), ConfigInvalid, "campaigns.web.mandatory[0]");
    check(&["campaigns", "web", "public_id"], json!(""), ConfigInvalid, "campaigns.web.public_id");
    check(&["partners", "acme", "cfg", "a b"], json!("x"), ConfigInvalid, "partners.acme.cfg.a b");
    check(&["partners", "acme", "cfg", "new"], json!(MASK), ConfigInvalid, "partners.acme.cfg.new");
    check(&["partners", "acme", "cfg", "new"], json!("env:X"), SecretInvalid, "partners.acme.cfg.new");
    check(&["partners", "acme", "cfg", "new"], json!("a\r\nb"), ConfigInvalid, "partners.acme.cfg.new");
    check(&["rules", "acme-install", "events"], json!(["x"]), ConfigInvalid, "rules.acme-install.events");
    check(
        &["rules", "acme-install", "dialect"],
        json!("nobody"),
        ConfigInvalid,
        "rules.acme-install.dialect",
    );
    check(&["rules", "acme-install", "body"], json!({}), ConfigMissing, "rules.acme-install.body");
    check(&["rules", "any-level", "body", "text"], json!("x"), ConfigInvalid, "rules.any-level.body");
    check(&["apps", "UPPER"], json!({"platform": "web"}), SlugInvalid, "apps.UPPER");
    check(&["apps", ""], json!({"platform": "web"}), SlugInvalid, "apps.");
    let link = json!({"campaign": "summer", "partner": "acme"});
    check(&["links", "ab"], link.clone(), LinkIdInvalid, "links.ab");
    check(&["links", "a.b.c"], link.clone(), LinkIdInvalid, "links.a.b.c");
    check(&["links", "Postback"], link.clone(), NameReserved, "links.Postback");
    check(&["links", "elsewhere"], link, NameTaken, "links.elsewhere");
    check(&["campaigns", "web", "public_id"], json!("4711"), NameTaken, "campaigns.web.public_id");
    check(&["campaigns", "4711"], json!({"app": "shop"}), NameTaken, "campaigns.summer.public_id");
    check(&["partners", "beta"], json!({"ref_id": "12"}), NameTaken, "partners.beta.ref_id");
}

#[test]
fn references_templates_and_keys_have_their_codes_too() {
    use Code::*;
    check(
        &["rules", "acme-install", "partner"],
        json!("acmee"),
        ReferenceUnknown,
        "rules.acme-install.partner",
    );
    check(&["rules", "acme-install", "app"], json!("shopp"), ReferenceUnknown, "rules.acme-install.app");
    check(&["links", "acme-web", "campaign"], json!("x"), ReferenceUnknown, "links.acme-web.campaign");
    check(&["links", "acme-web", "partner"], json!("x"), ReferenceUnknown, "links.acme-web.partner");
    check(&["campaigns", "summer", "app"], json!("x"), ReferenceUnknown, "campaigns.summer.app");
    check(&["keys", "app", "app"], json!("x"), ReferenceUnknown, "keys.app.app");
    check(
        &["rules", "acme-install", "url"],
        json!("https://{click_id}/"),
        TemplateInvalid,
        "rules.acme-install.url",
    );
    check(&["rules", "acme-install", "method"], json!("YELL"), TemplateInvalid, "rules.acme-install.method");
    check(
        &["rules", "any-level", "headers", "Host"],
        json!("x"),
        TemplateInvalid,
        "rules.any-level.headers.Host",
    );
    check(&["rules", "any-level", "body", "json"], json!("{"), TemplateInvalid, "rules.any-level.body.json");
    check(
        &["links", "acme-web", "destinations"],
        json!({"fallback": "javascript:alert(1)"}),
        TemplateInvalid,
        "links.acme-web.destinations.fallback",
    );
    check(
        &["campaigns", "web", "landing_page"],
        json!("https://x/{click_id"),
        TemplateInvalid,
        "campaigns.web.landing_page",
    );
    check(&["keys", "own", "secret"], json!("short"), SecretInvalid, "keys.own.secret");
    check(&["keys", "own", "secret"], json!("env:NAME"), SecretInvalid, "keys.own.secret");
    check(&["keys", "own", "secret"], json!("ä".repeat(40)), SecretInvalid, "keys.own.secret");
    check(
        &["keys", "own", "secret"],
        json!("a-secret-of-another-workspace-000"),
        SecretInvalid,
        "keys.own.secret",
    );
    let twin = json!({"kind": "postback", "secret": "0123456789abcdef0123456789abcdef"});
    check(&["keys", "twin"], twin, SecretInvalid, "keys.twin.secret");
    check(&["keys", "app", "scopes"], json!(["read"]), ConfigInvalid, "keys.app.scopes");
    check(&["keys", "ci", "scopes"], json!([]), ConfigMissing, "keys.ci.scopes");
    check(&["keys", "ci", "app"], json!("shop"), ConfigInvalid, "keys.ci.app");
    for (path, field) in [
        (["apps", "site", "platform"], "apps.site.platform"),
        (["links", "acme-web", "partner"], "links.acme-web.partner"),
        (["rules", "acme-install", "url"], "rules.acme-install.url"),
        (["rules", "any-level", "on"], "rules.any-level.on"),
        (["keys", "app", "kind"], "keys.app.kind"),
        (["keys", "app", "app"], "keys.app.app"),
    ] {
        assert_eq!(refused(&without(&path)), [(ConfigMissing, field.to_owned())]);
    }
}

#[test]
fn all_problems_come_at_once_and_say_what_was_likely_meant() {
    let document = json!({
        "aps": {},
        "apps": {"x": {"platform": "andriod", "nme": 1}},
        "rules": {"r": {"app": "y", "on": "install", "url": 5, "window": "x", "metod": "GET"}}
    });
    let problems = Shelf::empty().apply(&document, false).expect_err("it is refused");
    let fields: Vec<_> = problems.iter().map(|p| p.field.as_str()).collect();
    assert_eq!(
        fields,
        ["aps", "apps.x.nme", "apps.x.platform", "rules.r.metod", "rules.r.url"],
        "outline and shape"
    );
    assert!(problems[0].message.ends_with("did you mean `apps`?"));
    assert!(problems[1].message.ends_with("did you mean `name`?"));
    assert!(problems[2].message.ends_with("did you mean `android`?"));
    assert!(problems[3].message.ends_with("did you mean `method`?"));

    let mut document = document;
    document.as_object_mut().expect("a table").shift_remove("aps");
    let problems = Shelf::empty().apply(&document, false).expect_err("it is refused");
    let fields: Vec<_> = problems.iter().map(|p| p.field.as_str()).collect();
    let all =
        ["apps.x.nme", "apps.x.platform", "rules.r.app", "rules.r.metod", "rules.r.url", "rules.r.window"];
    assert_eq!(fields, all, "shape and content");
}

#[test]
fn allowed_destinations_end_where_no_other_host_begins() {
    for good in ["https://shop.example/", "https://shop.example:8443/a", "shop://", "shop://product/"] {
        assert!(form::is_destination_prefix(good), "{good}");
    }
    for bad in [
        "",
        "https://",
        "https://shop.example",
        "https:///",
        "https://u@shop.example/",
        "javascript://x/",
        "DATA://x",
        "shop.example/",
        "https://shop.example?/",
        "https://shop .example/",
        "https://a\\b/",
        "1x://",
        "://x/",
    ] {
        assert!(!form::is_destination_prefix(bad), "{bad}");
    }
    check(
        &["links", "acme-web", "allow_destinations"],
        json!(["https://a"]),
        Code::ConfigInvalid,
        "links.acme-web.allow_destinations[0]",
    );
}

#[test]
fn the_same_document_again_changes_nothing() {
    let mut shelf = Shelf::of(&world());
    let again = shelf.apply(&world(), true).expect("it is sound");
    assert_eq!((again.changes, again.writes, again.keys), (vec![], vec![], vec![]));
    assert_eq!(shelf.version, 1);
    let defaults = with(&["rules", "acme-install", "scope"], json!("attributed"));
    let defaults = shelf.apply(&defaults, false).expect("it is sound");
    assert_eq!(defaults.changes, [], "a default that is written out is no change");
}

#[test]
fn keys_are_made_once_and_kept_as_hashes() {
    let mut shelf = Shelf::empty();
    let plan = shelf.apply(&world(), false).expect("it is sound");
    let made: Vec<_> = plan.keys.iter().map(|k| (k.slug.as_str(), &k.token[..4], k.token.len())).collect();
    assert_eq!(made, [("app", "rtc_", 56), ("ci", "rta_", 56)]);
    let settings = shelf.compile();
    for key in &plan.keys {
        assert_eq!(settings.keys[&hash_token(&key.token)].slug, key.slug);
    }
    let everything = format!("{:?} {:?}", shelf.rows, plan);
    for secret in [&plan.keys[0].token, "0123456789abcdef0123456789abcdef", "s3cr3t"] {
        assert!(!everything.contains(secret), "a token is neither stored nor printed");
    }
    let rotated = with(&["keys", "own", "secret"], json!("another-secret-of-32-characters-"));
    let plan = shelf.apply(&rotated, false).expect("it is sound");
    let [change] = &plan.changes[..] else { panic!("one change") };
    assert_eq!((change.slug.as_str(), change.fields.len()), ("own", 1));
    assert_eq!((&change.fields[0].from, &change.fields[0].to), (&json!(MASK), &json!(MASK)));
}

#[test]
fn tokens_use_all_their_bits() {
    let token = secret::mint_token(KeyKind::Server, &Entropy::seeded(3));
    let mut bytes = [0; 32];
    Entropy::seeded(3).fill(&mut bytes);
    // The first five bits and the last one, by hand.
    let alphabet = b"0123456789ABCDEFGHJKMNPQRSTVWXYZ";
    assert_eq!(token.as_bytes()[4], alphabet[usize::from(bytes[0] >> 3)]);
    assert_eq!(token.as_bytes()[55], alphabet[usize::from(bytes[31] & 1) << 4]);
    assert_ne!(token, secret::mint_token(KeyKind::Server, &Entropy::seeded(4)));
}

#[test]
fn what_was_masked_stays_and_differences_do_not_tell_secrets() {
    let mut shelf = Shelf::of(&world());
    let shown = document_of("default", &shelf.rows).expect("it reads");
    assert_eq!(shown["partners"]["acme"]["cfg"], json!({"host": MASK, "token": MASK}));
    assert_eq!(shown["keys"]["own"], json!({"kind": "postback"}));
    assert!(!shown.to_string().contains("s3cr3t"));
    assert_eq!(shelf.apply(&shown, true).expect("what is shown can be sent back").changes, []);

    let changed = with(&["partners", "acme", "cfg"], json!({"host": MASK, "token": "other", "more": "x"}));
    let plan = shelf.apply(&changed, false).expect("it is sound");
    assert!(!format!("{:?}", plan.changes).contains("other"));
    let names: Vec<_> = plan.changes[0].fields.iter().map(|f| f.name.as_str()).collect();
    assert_eq!(names, ["cfg.more", "cfg.token"]);
    let partner = shelf.compile().partner_by_ref_id("12").cloned().expect("the partner");
    assert_eq!((partner.cfg["host"].as_str(), partner.cfg["token"].as_str()), ("p.example", "other"));
}

#[test]
fn ids_stay_and_versions_follow_the_rows_that_changed() {
    let mut shelf = Shelf::of(&world());
    let before = shelf.compile();
    shelf.apply(&with(&["rules", "acme-install", "first_only"], json!(true)), false).expect("it is sound");
    let after = shelf.compile();
    let rule = |s: &Settings, slug: &str| {
        s.rules.values().flatten().find(|r| r.slug == slug).cloned().expect("a rule")
    };
    assert_eq!(rule(&before, "acme-install").id, rule(&after, "acme-install").id);
    assert_eq!((rule(&after, "acme-install").version, rule(&after, "any-level").version), (2, 1));
}

#[test]
fn what_facts_refer_to_does_not_change() {
    let mut shelf = Shelf::of(&world());
    for (path, value, field) in [
        (["apps", "shop", "platform"], "ios", "apps.shop.platform"),
        (["campaigns", "summer", "app"], "site", "campaigns.summer.app"),
        (["links", "acme-web", "campaign"], "summer", "links.acme-web.campaign"),
    ] {
        let problems = shelf.apply(&with(&path, json!(value)), false).expect_err("it is refused");
        let told: Vec<_> = problems.iter().map(|p| (p.code, p.field.as_str())).collect();
        assert_eq!(told, [(Code::FieldImmutable, field)]);
    }
    let typo = shelf
        .apply(&with(&["links", "acme-web", "partner"], json!("acmee")), false)
        .expect_err("it is refused");
    let told: Vec<_> = typo.iter().map(|p| (p.code, p.field.as_str())).collect();
    let field = "links.acme-web.partner";
    assert_eq!(
        told,
        [(Code::FieldImmutable, field), (Code::ReferenceUnknown, field)],
        "it may be only a slip"
    );
    let mut other = with(&["partners", "beta"], json!({}));
    other["links"]["acme-web"]["partner"] = json!("beta");
    let problems = shelf.apply(&other, false).expect_err("it is refused");
    assert_eq!(
        (problems[0].code, problems[0].field.as_str()),
        (Code::FieldImmutable, "links.acme-web.partner")
    );
}

#[test]
fn only_prune_deletes_and_never_what_is_needed() {
    let mut shelf = Shelf::of(&world());
    assert_eq!(shelf.apply(&json!({}), false).expect("nothing to do").changes, []);

    let edit = Edit { kind: ResourceKind::Partner, slug: "acme".into(), document: None };
    let problems = shelf.plan(&[edit]).expect_err("links and rules refer to it");
    assert!(problems.iter().all(|p| (p.code, p.field.as_str()) == (Code::ReferenceInUse, "partners.acme")));
    assert_eq!(problems.len(), 3, "each referrer is named: {problems:?}");

    let problems = shelf.apply(&without(&["apps", "site"]), true).expect_err("a campaign needs it");
    let told: Vec<_> = problems.iter().map(|p| (p.code, p.field.as_str())).collect();
    assert_eq!(told, [(Code::ReferenceUnknown, "campaigns.web.app")], "the file itself still refers to it");

    let plan = shelf.apply(&json!({}), true).expect("all of it may go");
    assert!(plan.changes.iter().all(|c| c.action == Action::Delete));
    let kinds: Vec<_> = plan.changes.iter().map(|c| c.kind.as_str()).collect();
    assert_eq!((kinds.first(), kinds.last()), (Some(&"key"), Some(&"app")), "referrers go first");
    assert!(shelf.rows.is_empty());
}

#[test]
fn warnings_do_not_prevent_saving() {
    let mut document = with(&["campaigns", "web", "landing_page"], Value::Null);
    document["apps"]["phone"] = json!({"platform": "ios"});
    document["rules"]["acme-install"]["url"] = json!("http://p.example/{clickid}");
    let plan = Shelf::empty().apply(&document, false).expect("it is sound");
    let told: Vec<_> = plan.warnings.iter().map(|w| (w.code.as_str(), w.field.as_str())).collect();
    for expected in [
        ("store_unknown", "apps.phone.store_url"),
        ("destination_missing", "links.acme-web.destinations.web"),
        ("url_plain_http", "rules.acme-install.url"),
        ("macro_unknown", "rules.acme-install.url"),
        ("no_partner_click_id", "rules.acme-install.url"),
    ] {
        assert!(told.contains(&expected), "{expected:?} in {told:?}");
    }
}

#[test]
fn a_stored_row_of_the_future_is_named_not_guessed() {
    let mut shelf = Shelf::of(&world());
    shelf.rows[0].body = shelf.rows[0].body.replace("\"v\":1", "\"v\":2");
    let problems =
        compile(WorkspaceNo(1), "default", 1, &shelf.rows, &|_| false).expect_err("it cannot be read");
    assert_eq!(problems[0].field, format!("{}.{}", shelf.rows[0].kind.table(), shelf.rows[0].slug));
    for (body, why) in [("[]", "object"), ("{", "JSON"), ("{}", "version"), (r#"{"v":1,"hash":3}"#, "hash")] {
        assert!(stored::decode(ResourceKind::App, body).expect_err("refused").contains(why));
    }
}

#[test]
fn a_stored_rule_gives_its_template_alone() {
    let shelf = Shelf::of(&world());
    let row = shelf.rows.iter().find(|r| r.slug == "any-level").expect("the rule");
    let template = rule_template(&row.body).expect("it reads");
    let settings = shelf.compile();
    let rule = settings.rules.values().flatten().find(|r| r.slug == "any-level").expect("the rule");
    assert_eq!(Some(&template), rule.request.template().map(|own| &**own));
    assert_eq!(rule_template("{}"), None);
}

#[test]
fn the_shape_check_knows_every_field() {
    // A document with every field of every kind set passes, so no field is unknown to the schema reader; and a
    // stand-in of every kind can be read, so one missing field never hides the other problems.
    let everything = Shelf::of(&world());
    assert_eq!(everything.rows.len(), 12);
    for kind in ResourceKind::ALL {
        let mut problems = problems::Problems::default();
        assert!(shape::read(kind, &json!({}), "x", &mut problems).is_some(), "{}", kind.name());
        let mut problems = problems::Problems::default();
        assert!(shape::read(kind, &json!({"": 1}), "x", &mut problems).is_some());
        assert!(problems.into_result().is_err());
    }
}

/// The tables of fields in the guide, from the schema.
fn field_tables() -> String {
    let mut page = String::new();
    for kind in ResourceKind::ALL {
        let mut generator = schemars::SchemaGenerator::default();
        document::schema_of(kind, &mut generator);
        let definitions = generator.take_definitions(true);
        let name = match kind {
            ResourceKind::App => "App",
            ResourceKind::Campaign => "Campaign",
            ResourceKind::Partner => "Partner",
            ResourceKind::Link => "Link",
            ResourceKind::PartnerGroup => "PartnerGroup",
            ResourceKind::Rule => "Rule",
            ResourceKind::Webhook => "Webhook",
            ResourceKind::Key => "Key",
        };
        page.push_str(&format!(
            "\n### `[{}.SLUG]`\n\n| field | type | meaning |\n| --- | --- | --- |\n",
            kind.table()
        ));
        rows(&definitions, &definitions[name], "", &mut page);
    }
    page.push('\n');
    page
}

fn rows(definitions: &serde_json::Map<String, Value>, schema: &Value, path: &str, page: &mut String) {
    let required = schema["required"].as_array().cloned().unwrap_or_default();
    for (name, field) in schema["properties"].as_object().into_iter().flatten() {
        let about = field["description"].as_str().unwrap_or_default().replace('\n', " ");
        let shapes = |schema: &Value| -> Vec<Value> {
            let is_shape = |s: &&Value| s["type"] != "null";
            schema["anyOf"].as_array().map_or_else(Vec::new, |l| l.iter().filter(is_shape).cloned().collect())
        };
        let own = shapes(field);
        let alternatives = if own.len() == 1 { &own[0] } else { field };
        let inner =
            alternatives["$ref"].as_str().and_then(|r| r.rsplit('/').next()).and_then(|n| definitions.get(n));
        let target = inner.unwrap_or(alternatives);
        let must = if required.contains(&json!(name)) { ", must be there" } else { "" };
        let several: Vec<&str> = shapes(target)
            .iter()
            .filter_map(|shape| shape["type"].as_str())
            .map(|kind| match kind {
                "string" => "text",
                "boolean" => "true or false",
                "object" => "table",
                "array" => "list",
                _ => "whole number",
            })
            .collect();
        let word = match (&target["oneOf"], &target["properties"], &target["type"]) {
            _ if several.len() > 1 => {
                let mut words = several;
                words.dedup();
                words.join(", ")
            }
            (Value::Array(choices), _, _) => choices
                .iter()
                .filter_map(|c| c["const"].as_str())
                .map(|w| format!("`{w}`"))
                .collect::<Vec<_>>()
                .join(", "),
            (_, Value::Object(_), _) => "table".to_owned(),
            (_, _, Value::String(kind)) => {
                kind.replace("string", "text").replace("array", "list").replace("object", "table by name")
            }
            _ => "text".to_owned(),
        };
        page.push_str(&format!("| `{path}{name}` | {word}{must} | {about} |\n"));
        if target["properties"].is_object() {
            rows(definitions, target, &format!("{path}{name}."), page);
        }
    }
}

#[test]
fn the_tables_in_docs_are_the_generated_ones() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/configuration.md");
    let written = std::fs::read_to_string(path).expect("the guide");
    let (before, rest) = written.split_once("<!-- fields -->\n").expect("where the tables begin");
    let (tables, after) = rest.split_once("<!-- /fields -->").expect("where they end");
    if std::env::var_os("UPDATE_DOCS").is_some() {
        let page = format!("{before}<!-- fields -->\n{}<!-- /fields -->{after}", field_tables());
        std::fs::write(path, page).expect("the guide is written");
        return;
    }
    assert!(
        tables == field_tables(),
        "docs/configuration.md is stale: run UPDATE_DOCS=1 cargo test -p roundtrip-store settings"
    );
}
