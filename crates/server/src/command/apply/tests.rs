use std::path::Path;

use serde_json::json;

use super::file::Source;
use super::print::{self, Paint, Trouble};
use super::secret::{Place, resolve};

struct Drawer;

impl Place for Drawer {
    fn variable(&self, name: &str) -> Result<String, String> {
        match name {
            "TOKEN" => Ok("from the environment".into()),
            "ROUNDTRIP_DEMO_SINK" => Ok("127.0.0.1:34567".into()),
            "EMPTY" => Ok("\n".into()),
            _ => Err(format!("the variable {name} is not set")),
        }
    }

    fn file(&self, path: &str) -> Result<String, String> {
        if path == "token.txt" { Ok("from a file\r\n".into()) } else { Err(format!("{path} cannot be read")) }
    }
}

#[test]
fn a_file_becomes_a_document_with_lines() {
    let text = r#"
[server]
public = "127.0.0.1:8080"

[apps.shop]
platform = "web"
events."level.up" = "event"
postback = { addresses = [
  "203.0.113.7",
  "nonsense",
] }

[rules.acme-install]
first_only = true
"#;
    let source = Source::parse(text);
    assert_eq!(
        source.document,
        json!({
            "apps": { "shop": {
                "platform": "web", "events": { "level.up": "event" },
                "postback": { "addresses": ["203.0.113.7", "nonsense"] }
            } },
            "rules": { "acme-install": { "first_only": true } }
        })
    );
    assert!(source.troubles.is_empty() && source.is_whole);
    for (path, line) in [
        ("apps.shop", Some(5)),
        ("apps.shop.platform", Some(6)),
        ("apps.shop.events.level.up", Some(7)),
        ("apps.shop.postback.addresses[1]", Some(10)),
        ("rules.acme-install.url", Some(13)),
        ("apps.nothing", Some(5)),
        ("keys.x", None),
    ] {
        assert_eq!(source.line(path), line, "{path}");
    }
}

#[test]
fn what_is_no_toml_is_said_with_its_line() {
    let source = Source::parse("a = 1\nb = \nc = \"open\nd = 4\n[x]\n[x]\n");
    let lines: Vec<_> = source.troubles.iter().filter_map(|trouble| trouble.line).collect();
    assert!(lines.contains(&2) && lines.contains(&3), "all of them: {:?}", source.troubles);
    assert!(!source.is_whole);
}

#[test]
fn secrets_come_from_where_the_file_says() {
    let mut document = json!({
        "partners": { "acme": { "cfg": { "a": "env:TOKEN", "b": "file:token.txt", "c": "plain" } }, "x": 3 },
        "keys": { "own": { "kind": "postback", "secret": "env:TOKEN" }, "none": { "kind": "admin" } }
    });
    assert_eq!(resolve(&mut document, &Drawer), []);
    let cfg = json!({ "a": "from the environment", "b": "from a file", "c": "plain" });
    assert_eq!(document["partners"]["acme"]["cfg"], cfg);
    assert_eq!(document["keys"]["own"]["secret"], "from the environment");
}

#[test]
fn secrets_that_cannot_be_read_are_all_told() {
    let mut document = json!({
        "partners": { "acme": { "cfg": { "a": "env:NOPE", "b": "file:nope", "c": "env:EMPTY" } } },
        "keys": { "own": { "secret": "it-stands-here-for-all-to-see-0000" } }
    });
    let troubles = resolve(&mut document, &Drawer);
    let told: Vec<_> = troubles.iter().map(|t| (t.field.as_str(), t.message.as_str())).collect();
    assert_eq!(
        told,
        [
            ("partners.acme.cfg.a", "the variable NOPE is not set"),
            ("partners.acme.cfg.b", "nope cannot be read"),
            ("partners.acme.cfg.c", "the secret is empty"),
            ("keys.own.secret", "the secret of a key or webhook does not stand in the file"),
        ]
    );
    assert!(!document.to_string().contains("for-all-to-see"), "what is refused is not sent either");
}

#[test]
fn differences_read_as_what_happens() {
    let changes = json!([
        { "kind": "app", "slug": "shop", "action": "create", "fields": [{ "name": "platform", "from": null, "to": "web" }] },
        { "kind": "rule", "slug": "r", "action": "update", "fields": [
            { "name": "first_only", "from": true, "to": null },
            { "name": "cfg.token", "from": "••••", "to": "••••" },
            { "name": "url", "from": "https://a", "to": "https://\u{1b}[2J" }
        ] },
        { "kind": "link", "slug": "old", "action": "delete", "fields": [{ "name": "partner", "from": "acme", "to": null }] }
    ]);
    let changes = changes.as_array().expect("a list");
    let words: Vec<_> = changes.iter().map(|change| print::change(change, Paint::Plain)).collect();
    insta::assert_snapshot!(words.join("\n"), @r#"
    + app shop
        platform = "web"
    ~ rule r
        first_only: true → (default)
        cfg.token: changed, and secret
        url: "https://a" → "https://\u001b[2J"
    - link old
    "#);
    assert_eq!(print::change(&changes[2], Paint::Colour), "\u{1b}[31m- link old\u{1b}[0m");
    assert_eq!(print::deletions(changes), 1);
    assert_eq!(
        print::outcome(changes, &json!(7), false),
        "Created 1, updated 1, deleted 1; the settings are at version 7."
    );
    assert!(print::outcome(changes, &json!(7), true).starts_with("Would create 1, update 1, delete 1."));
    assert_eq!(print::outcome(&[], &json!(7), false), "Nothing to change; the settings are at version 7.");
}

#[test]
fn a_problem_names_its_line_and_its_repair() {
    let answer = json!({ "error": {}, "problems": [
        { "code": "config_unknown_key", "field": "apps.shop.nme", "message": "`nme` is no setting here", "rule": "r", "fix": "look" }
    ] });
    let mut troubles = Trouble::of_answer(422, &answer).expect("problems");
    assert_eq!(Trouble::of_answer(401, &answer), None);
    assert_eq!(Trouble::of_answer(422, &json!({})), None);
    let mut trouble = troubles.remove(0);
    trouble.line = Some(7);
    let text = trouble.text(Path::new("roundtrip.toml"));
    assert_eq!(
        text,
        "roundtrip.toml:7: apps.shop.nme: `nme` is no setting here (config_unknown_key)\n  to fix it: look"
    );
    let warning = json!({ "code": "c", "severity": "warning", "field": "apps.shop.x", "message": "m" });
    let source = Source::parse("[apps.shop]\nx = 1\n");
    assert_eq!(
        print::warning(&warning, &source, Path::new("f"), Paint::Plain),
        "warning: f:2: apps.shop.x: m (c)"
    );
}

/// The sample world of the demo, and every block of settings in the documentation, can be applied.
#[test]
fn what_we_show_can_be_applied() {
    use roundtrip_ambient::Entropy;
    use roundtrip_domain::id::WorkspaceNo;
    use roundtrip_domain::time::Timestamp;
    use roundtrip_store::settings::{Before, Plan, World, edits_of, plan};

    let apply = |text: &str| -> Plan {
        let mut source = Source::parse(text);
        assert_eq!(source.troubles, [], "{text}");
        assert_eq!(resolve(&mut source.document, &Drawer), [], "{text}");
        let world = World {
            taken_links: &|_| false,
            taken_keys: &|_| false,
            at: Timestamp::from_ms(1_780_564_904_120),
            entropy: &Entropy::seeded(1),
        };
        let before = Before { workspace: WorkspaceNo::DEFAULT, slug: "default", version: 0, resources: &[] };
        edits_of(&source.document, &[], true)
            .and_then(|edits| plan(before, &edits, &world))
            .unwrap_or_else(|problems| panic!("{problems:#?}\n{text}"))
    };
    let demo = apply(include_str!("../../../../../examples/demo/roundtrip.toml"));
    for kind in ["app", "campaign", "partner", "link", "rule", "key"] {
        assert!(demo.changes.iter().any(|change| change.kind == kind), "the demo shows a {kind}");
    }
    // Plain http is for the demo's own sink only, and is said.
    assert!(demo.warnings.iter().any(|warning| warning.code == "url_plain_http"));

    let guides = [
        include_str!("../../../../../docs/configuration.md"),
        include_str!("../../../../../docs/templates.md"),
    ];
    let blocks: Vec<&str> = guides
        .iter()
        .flat_map(|guide| guide.split("```toml\n").skip(1))
        .filter_map(|rest| rest.split("```").next())
        .collect();
    assert!(blocks.len() > guides.len());
    // The blocks are one file in pieces.
    let whole = apply(&blocks.join("\n"));
    let is_odd = |warning: &&roundtrip_store::settings::Warning| warning.severity != "info";
    let odd: Vec<_> = whole.warnings.iter().filter(is_odd).collect();
    assert!(odd.is_empty(), "{odd:#?}");
}
