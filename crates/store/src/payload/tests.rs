//! The body of the design's example, its forms, and what may be left out.

use std::sync::Arc;

use roundtrip_domain::attribution::{Candidate, MatchType, Verdict, Winner};
use roundtrip_domain::click::{Click, Flags, LinkDialect, Touch, TouchKind};
use roundtrip_domain::click_id::ClickId;
use roundtrip_domain::device::Device as EventDevice;
use roundtrip_domain::event::{Revenue, Source};
use roundtrip_domain::id::WorkspaceNo;
use roundtrip_domain::location::Location;
use roundtrip_domain::money::{Amount, Currency};
use roundtrip_domain::settings::{Campaign, Destinations, Link, Partner, Platform};
use roundtrip_domain::template::{Dialect, Scope, UrlTemplate};
use roundtrip_domain::time::Span;
use roundtrip_domain::webhook::Wanted;
use roundtrip_domain::webhook::sign::{Secret, Signing};
use serde_json::json;

use super::*;

fn at(text: &str) -> Timestamp {
    Timestamp::parse(text).unwrap()
}

fn webhook(form: Form, without: &[&str], url: &str) -> Webhook {
    Webhook {
        id: Id::from_bits(1),
        slug: "orders".into(),
        version: 1,
        app: None,
        url: url.into(),
        wanted: Wanted::default(),
        form,
        without: without.iter().map(|path| (*path).to_owned()).collect(),
        headers: Vec::new(),
        signing: Signing::new(Secret::generate([1; 32])),
        sandbox: false,
        pending: false,
        rate: None,
        retry: Default::default(),
    }
}

/// The install of the public example: a click of a network, found by the store's referrer.
fn install() -> String {
    let mut settings = Settings::empty(WorkspaceNo::DEFAULT, "default");
    let (app, campaign, partner, link) =
        (Id::from_bits(1), Id::from_bits(2), Id::from_bits(3), Id::from_bits(4));
    let shop = App {
        id: app,
        slug: "shop".into(),
        name: "Shop".into(),
        platform: Platform::Android,
        bundle_id: None,
        store_url: None,
        currency: None,
        events: Default::default(),
        click_window: Span::from_days(7),
        postback: Default::default(),
    };
    settings.campaigns.insert(
        campaign,
        Arc::new(Campaign {
            id: campaign,
            slug: "summer".into(),
            name: "summer_uac".into(),
            app,
            public_id: "summer".into(),
            landing_page: None,
            mandatory: Vec::new(),
        }),
    );
    settings.partners.insert(
        partner,
        Arc::new(Partner {
            slug: "meta".into(),
            name: "Meta".into(),
            ref_id: "meta".into(),
            ..partner_of(partner)
        }),
    );
    let (deep_link, findings) =
        UrlTemplate::parse("myapp://product/{sub1}", Scope::Destination, Dialect::Canonical);
    assert!(findings.is_empty(), "{findings:?}");
    settings.links.insert(
        link,
        Arc::new(Link {
            destinations: Destinations { deep_link: Some(Arc::new(deep_link)), ..Destinations::default() },
            ..link_of(link, campaign, partner, app)
        }),
    );
    let click = Click {
        workspace: WorkspaceNo::DEFAULT,
        app,
        campaign,
        partner,
        link,
        kind: TouchKind::Click,
        dialect: LinkDialect::Linkrunner,
        flags: Flags::default(),
        received_at: at("2026-06-04T09:00:00Z"),
        query: b"click_id=abc&ad_group=lookalike_2pct&sub1=123".to_vec(),
        ip: None,
        user_agent: None,
        referer: None,
        language: None,
        location: Location::default(),
    };
    let touch = Touch { id: ClickId::from_bits(7), click };
    let event = Event {
        id: Id::from_bits(9),
        workspace: WorkspaceNo::DEFAULT,
        app,
        source: Source::Server,
        source_event_id: Some("s-1".into()),
        name: "open".into(),
        environment: Environment::Production,
        received_at: at("2026-06-04T09:21:45Z"),
        occurred_at: at("2026-06-04T09:21:44.120Z"),
        install_id: Some("i-1".into()),
        click_id: None,
        referrer: None,
        customer_id: Some("u_8842".into()),
        device: EventDevice { app_version: Some("4.2.0".into()), ..EventDevice::default() },
        revenue: Some(Revenue {
            amount: Amount::parse("12.50").unwrap(),
            currency: Currency::parse("EUR"),
            verified: true,
        }),
        properties: Some(r#"{"plan":"gold"}"#.into()),
        consent: None,
        ip: None,
        user_agent: None,
        location: Location::default(),
        postback: None,
        change: None,
        findings: Vec::new(),
    };
    let because = Because {
        reference_at: event.occurred_at,
        candidates: vec![Candidate {
            touch: touch.clone(),
            match_type: MatchType::InstallReferrer,
            carrier: event.id,
            window: Span::from_days(7),
            age_ms: 1,
            verdict: Verdict::Won,
        }],
        rest: 0,
        dead: Vec::new(),
        follows: None,
        notes: Vec::new(),
    };
    let credit = Credit::Touch(Box::new(Winner { touch, match_type: MatchType::InstallReferrer }));
    of_conversion(&Told {
        fact: event.id,
        topic: Topic::Install,
        event: &event,
        change: None,
        is_install: true,
        credit: &credit,
        because: &because,
        status: Status::Approved,
        at: at("2026-06-04T09:21:46Z"),
        app: &shop,
        settings: &settings,
    })
    .write()
}

#[test]
fn the_body_of_an_install_is_the_published_one() {
    let body: Value = serde_json::from_str(&install()).unwrap();
    insta::assert_json_snapshot!(body);
}

#[test]
fn every_body_is_as_the_schema_says() {
    let schema = schema();
    let body: Value = serde_json::from_str(&install()).unwrap();
    let known = schema["properties"].as_object().unwrap();
    for (name, value) in body.as_object().unwrap() {
        assert!(known.contains_key(name), "{name} is not in the schema");
        let Some(reference) = known[name].get("anyOf").and_then(|any| any[0].get("$ref")) else { continue };
        let definition = reference.as_str().unwrap().trim_start_matches("#/$defs/");
        let inner = schema["$defs"][definition]["properties"].as_object().unwrap();
        for name in value.as_object().unwrap().keys() {
            assert!(inner.contains_key(name), "{definition}.{name} is not in the schema");
        }
    }
    for required in schema["required"].as_array().unwrap() {
        assert!(body.get(required.as_str().unwrap()).is_some(), "{required} is missing");
    }
}

#[test]
fn what_can_be_left_out_is_there_to_be_left_out() {
    let body: Value = serde_json::from_str(&install()).unwrap();
    for path in PATHS.iter().filter(|path| !["status_change", "postback"].contains(path)) {
        let pointer = format!("/{}", path.replace('.', "/"));
        assert!(body.pointer(&pointer).is_some(), "{path} is nowhere in the body");
        let less: Value =
            serde_json::from_str(&shape(&install(), &webhook(Form::Full, &[path], "https://a.example")))
                .unwrap();
        assert!(less.pointer(&pointer).is_none(), "{path} was not left out");
    }
}

#[test]
fn a_thin_body_says_nothing_of_people_or_money() {
    let thin = shape(&install(), &webhook(Form::Thin, &[], "https://a.example"));
    let body: Value = serde_json::from_str(&thin).unwrap();
    assert_eq!(body["event_id"], json!(Id::<kind::Event>::from_bits(9).to_string()));
    for word in ["12.50", "u_8842", "meta", "abc", "gold"] {
        assert!(!thin.contains(word), "{word} is in {thin}");
    }
}

#[test]
fn slack_gets_blocks_and_what_outsiders_sent_is_escaped() {
    let slack = webhook(Form::Full, &[], "https://hooks.slack.com/services/T/B/x");
    let message: Value = serde_json::from_str(&shape(&install(), &slack)).unwrap();
    insta::assert_json_snapshot!(message);
    let evil = install().replace("lookalike_2pct", "x").replace("summer_uac", "<!channel> & <@U1>");
    let message = shape(&evil, &slack);
    assert!(message.contains("&lt;!channel&gt; &amp; &lt;@U1&gt;"), "{message}");
    assert!(!message.contains("<!channel>"));
}

fn partner_of(id: Id<kind::Partner>) -> Partner {
    Partner {
        id,
        slug: String::new(),
        name: String::new(),
        ref_id: String::new(),
        cfg: Default::default(),
        in_link_callbacks: false,
        rate: None,
        accepts_within: None,
    }
}

fn link_of(
    id: Id<kind::Link>,
    campaign: Id<kind::Campaign>,
    partner: Id<kind::Partner>,
    app: Id<kind::App>,
) -> Link {
    Link {
        id,
        public_id: "shop-meta".into(),
        app,
        campaign,
        partner,
        dialect: LinkDialect::Linkrunner,
        destinations: Destinations::default(),
        allow_destinations: Vec::new(),
        click_window: None,
        addresses: Vec::new(),
    }
}

#[test]
fn the_schema_in_docs_is_the_generated_one() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/webhook.schema.json");
    let text = format!("{}\n", serde_json::to_string_pretty(&schema()).unwrap());
    if std::env::var_os("UPDATE_DOCS").is_some() {
        std::fs::write(path, text).expect("the schema is written");
        return;
    }
    let written = std::fs::read_to_string(path).unwrap_or_default();
    assert!(
        written == text,
        "docs/webhook.schema.json is stale: run UPDATE_DOCS=1 cargo test -p roundtrip-store payload"
    );
}
