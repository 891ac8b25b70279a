//! Links of other systems: their URLs with nothing but the host changed.

use axum::body::Body;
use http::Method;
use roundtrip_domain::click::{Click, Flags, LinkDialect, TouchKind};
use roundtrip_domain::click_id::ClickId;
use roundtrip_domain::device::Print;
use roundtrip_domain::id::{Id, WorkspaceNo, kind};
use serde_json::{Value, json};

use super::{Answer, IPHONE, NOW, World};

/// A partner's click id as some send them: an encoded slash in lower case, a plus, a byte that is no UTF-8.
const RAW: &str = "A%2fb+c%ff";
const DECODED: &[u8] = b"A/b c\xff";

/// One system: how its link is set up here, and the URLs that its partners have. `CID` stands for the click id.
struct System {
    dialect: &'static str,
    id: &'static str,
    also: &'static [&'static str],
    also_impressions: &'static [&'static str],
    click: &'static str,
    impression: &'static str,
    server: &'static str,
    /// The parameter that holds the partner's click id.
    word: &'static str,
}

const SYSTEMS: &[System] = &[
    System {
        dialect: "appsflyer",
        id: "af-link",
        also: &["https://click.example.com/com.example.app?pid=acme_int"],
        also_impressions: &["https://impression.example.com/com.example.app?pid=acme_int"],
        click: "click.example.com/com.example.app?pid=acme_int&c=winter&af_siteid=7&af_sub1=one&clickid=CID",
        impression: "impression.example.com/com.example.app?pid=acme_int&c=winter&clickid=CID",
        server: "click.example.com/com.example.app?pid=acme_int&clickid=CID&af_ip=203.0.113.77&af_ua=Game%2F1&af_lang=de-DE&redirect=false",
        word: "clickid",
    },
    System {
        dialect: "adjust",
        id: "abc123",
        also: &[],
        also_impressions: &[],
        click: "app.example.com/abc123?campaign=winter&adgroup=set&creative=vid&label=one&acme_click_id=CID",
        impression: "view.example.com/impression/abc123?campaign=winter&acme_click_id=CID",
        server: "s2s.example.com/abc123?s2s=1&acme_click_id=CID&gps_adid=38400000-8cf0-11bd-b23e-10b96e40000d&ip_address=203.0.113.77&user_agent=Game%2F1",
        word: "acme_click_id",
    },
    System {
        dialect: "branch",
        id: "branch-link",
        also: &["https://acme.example.com/x1Y2z3?%243p=a_acme"],
        also_impressions: &["https://impression.example.com/impression?%243p=a_acme"],
        click: "acme.example.com/x1Y2z3?%243p=a_acme&~campaign=winter&~click_id=CID&sub1=one",
        impression: "impression.example.com/impression?%243p=a_acme&%7Eclick_id=CID",
        server: "acme.example.com/x1Y2z3?%243p=a_acme&~click_id=CID&%24s2s=true&device_ip=203.0.113.77&user_agent=Game%2F1&%24aaid=38400000-8cf0-11bd-b23e-10b96e40000d",
        word: "~click_id",
    },
    System {
        dialect: "singular",
        id: "singular-link",
        also: &["/A1b2c/d3f4?st=99&h=5ab3f0"],
        also_impressions: &["/view/A1b2c/d3f4"],
        click: "acme.example.com/A1b2c/d3f4?st=99&h=5ab3f0&pcn=winter&cl=CID&sub1=one",
        impression: "view.example.com/view/A1b2c/d3f4?cl=CID",
        server: "acme.example.com/A1b2c/d3f4?st=99&h=5ab3f0&cl=CID&s2s=1&ip=203.0.113.77&ua=Game%2F1&lc=de",
        word: "cl",
    },
    System {
        dialect: "kochava",
        id: "kochava-link",
        also: &["/v1/cpi/click?campaign_id=koacme1&network_id=9"],
        also_impressions: &["/track/impression?campaign_id=koacme1&network_id=9"],
        click: "control.example.com/v1/cpi/click?campaign_id=koacme1&network_id=9&partner_campaign_name=winter&click_id=CID&sub1=one",
        impression: "imp.example.com/track/impression?campaign_id=koacme1&network_id=9&click_id=CID",
        server: "control.example.com/v1/cpi/click?campaign_id=koacme1&network_id=9&click_id=CID&s2s=1&ip_address=203.0.113.77&device_ua=Game%2F1",
        word: "click_id",
    },
    System {
        dialect: "airbridge",
        id: "airbridge-link",
        also: &["/@shop/acme"],
        also_impressions: &[],
        click: "abr.example.com/@shop/acme?campaign=winter&sub_id_1=one&click_id=CID",
        impression: "abr.example.com/@shop/acme?ad_type=view&click_id=CID",
        server: "abr.example.com/%40shop/acme?ad_type=server_to_server_click&click_id=CID&ip=203.0.113.77&user_agent=Game%2F1&language=de",
        word: "click_id",
    },
    System {
        dialect: "appmetrica",
        id: "appmetrica-link",
        also: &["https://redirect.example.com/serve/12345"],
        also_impressions: &["https://impression.example.com/serve/12345"],
        click: "redirect.example.com/serve/12345?click_id=CID&sub1=one&campaign=winter",
        impression: "impression.example.com/serve/12345?click_id=CID",
        server: "redirect.example.com/serve/12345?click_id=CID&noredirect=1&device_ip=203.0.113.77&device_ua=Game%2F1&click_timestamp=1780564900",
        word: "click_id",
    },
    System {
        dialect: "trackier",
        id: "trackier-link",
        also: &["/c/5ab3f0?pid=acme", "/click?campaign_id=12&pub_id=7"],
        also_impressions: &["/impression/5ab3f0"],
        click: "click.example.com/c/5ab3f0?pid=acme&camp=winter&sub1=one&click_id=CID",
        impression: "click.example.com/impression/5ab3f0?click_id=CID",
        server: "trk.example.com/click?campaign_id=12&pub_id=7&p1=CID&s2s=1&ipaddr=203.0.113.77&user_agent=Game%2F1",
        word: "p1",
    },
    System {
        dialect: "tenjin",
        id: "tenjin-link",
        also: &["/v0/click/hKq8"],
        also_impressions: &["/v0/impression/hKq8"],
        click: "track.example.com/v0/click/hKq8?click_id=CID&campaign_name=winter&sub1=one",
        impression: "track.example.com/v0/impression/hKq8?click_id=CID",
        server: "track.example.com/v0/click/hKq8?click_id=CID&s2s=1&ip_address=203.0.113.77&user_agent=Game%2F1",
        word: "click_id",
    },
    System {
        dialect: "mytracker",
        id: "ab1234",
        also: &[],
        also_impressions: &[],
        click: "trk.example.com/c/ab1234?mt_network=acme&mt_campaign=winter&mt_sub1=one&click_id=CID",
        impression: "trk.example.com/i/ab1234?click_id=CID",
        server: "trk.example.com/c/ab1234?click_id=CID&s2s=1&ip=203.0.113.77&user_agent=Game%2F1",
        word: "click_id",
    },
    System {
        dialect: "tune",
        id: "tune-link",
        also: &["/aff_c?offer_id=12&aff_id=7"],
        also_impressions: &["/aff_i?offer_id=12&aff_id=7"],
        click: "acme.example.com/aff_c?offer_id=12&aff_id=7&aff_click_id=CID&aff_sub=one&campaign=winter",
        impression: "acme.example.com/aff_i?offer_id=12&aff_id=7&aff_click_id=CID",
        server: "acme.example.com/aff_c?aff_id=7&offer_id=12&aff_click_id=CID&s2s=1&ip=203.0.113.77&user_agent=Game%2F1",
        word: "aff_click_id",
    },
    System {
        dialect: "everflow",
        id: "everflow-link",
        also: &["/2CTPL/K8R4T"],
        also_impressions: &["/imp/2CTPL/K8R4T"],
        click: "www.example.com/2CTPL/K8R4T/?click_id=CID&sub1=one&source_id=7&campaign=winter",
        impression: "www.example.com/imp/2CTPL/K8R4T/?sub1=CID",
        server: "www.example.com/2CTPL/K8R4T?sub1=CID&s2s=1&ip=203.0.113.77&user_agent=Game%2F1",
        word: "sub1",
    },
    System {
        dialect: "affise",
        id: "affise-link",
        also: &["/click?offer_id=12&pid=7"],
        also_impressions: &["/impression?offer_id=12&pid=7"],
        click: "acme.example.com/click?pid=7&offer_id=12&click_id=CID&sub1=one&campaign=winter",
        impression: "acme.example.com/impression?pid=7&offer_id=12&sub1=CID",
        server: "acme.example.com/click?pid=7&offer_id=12&sub1=CID&s2s=1&ip=203.0.113.77&user_agent=Game%2F1",
        word: "sub1",
    },
    System {
        dialect: "scaleo",
        id: "scaleo-link",
        also: &["/click?o=12&a=7"],
        also_impressions: &["/view?o=12&a=7"],
        click: "acme.example.com/click?o=12&a=7&aff_click_id=CID&sub_id1=one&campaign=winter",
        impression: "acme.example.com/view?o=12&a=7&aff_click_id=CID",
        server: "acme.example.com/click?o=12&a=7&aff_click_id=CID&s2s=1&ip=203.0.113.77&user_agent=Game%2F1",
        word: "aff_click_id",
    },
    System {
        dialect: "cake",
        id: "cake-link",
        also: &["/?a=7&c=12"],
        also_impressions: &["/i.php?a=7&c=12"],
        click: "acme.example.com/?a=7&c=12&s1=one&s2=CID&campaign=winter",
        impression: "acme.example.com/i.php?a=7&c=12&s2=CID",
        server: "acme.example.com/?a=7&c=12&s2=CID&s2s=1&ip=203.0.113.77&user_agent=Game%2F1",
        word: "s2",
    },
    System {
        dialect: "keitaro",
        id: "winter26",
        also: &[],
        also_impressions: &[],
        click: "go.example.com/winter26?external_id=CID&sub_id_1=one&campaign=winter&cost=0.5&currency=EUR",
        impression: "go.example.com/i/winter26?external_id=CID",
        server: "go.example.com/winter26?external_id=CID&s2s=1&ip=203.0.113.77&user_agent=Game%2F1",
        word: "external_id",
    },
    System {
        dialect: "voluum",
        id: "7d1f3a52-7a0c-4b57-9d2e-2f0c6f1b9a11",
        also: &[],
        also_impressions: &["/impression/7d1f"],
        click: "go.example.com/7d1f3a52-7a0c-4b57-9d2e-2f0c6f1b9a11?externalid=CID&sub1=one&campaign=winter",
        impression: "go.example.com/impression/7d1f?externalid=CID",
        server: "go.example.com/7d1f3a52-7a0c-4b57-9d2e-2f0c6f1b9a11?externalid=CID&s2s=1&ip=203.0.113.77&user_agent=Game%2F1",
        word: "externalid",
    },
    System {
        dialect: "binom",
        id: "binom-link",
        also: &["/click.php?key=q7w8e9"],
        also_impressions: &["/view.php?key=q7w8e9"],
        click: "go.example.com/click.php?key=q7w8e9&externalid=CID&sub1=one&campaign=winter",
        impression: "go.example.com/view.php?key=q7w8e9&externalid=CID",
        server: "go.example.com/click.php?key=q7w8e9&externalid=CID&s2s=1&ip=203.0.113.77&user_agent=Game%2F1",
        word: "externalid",
    },
    System {
        dialect: "bemob",
        id: "bemob-link",
        also: &["/go/5f0c2b"],
        also_impressions: &["/view/5f0c2b"],
        click: "go.example.com/go/5f0c2b?externalId=CID&sub1=one&campaign=winter",
        impression: "go.example.com/view/5f0c2b?externalId=CID",
        server: "go.example.com/go/5f0c2b?externalId=CID&s2s=1&ip=203.0.113.77&user_agent=Game%2F1",
        word: "externalId",
    },
    System {
        dialect: "generic",
        id: "generic-link",
        also: &["/r/9?aid=7"],
        also_impressions: &["/r/9?aid=7&view=1"],
        click: "go.example.com/r/9?aid=7&clickid=CID&aff_sub=one&utm_campaign=winter",
        impression: "go.example.com/r/9?aid=7&view=1&clickid=CID",
        server: "go.example.com/r/9?aid=7&clickid=CID&noredirect=1&device_ip=203.0.113.77&device_ua=Game%2F1",
        word: "clickid",
    },
];

/// A link of each system beside the usual ones.
fn document() -> Value {
    let link = |system: &System| {
        (
            system.id.to_owned(),
            json!({
                "campaign": "any", "partner": "net", "dialect": system.dialect,
                "also": system.also, "also_impressions": system.also_impressions,
                "allow_destinations": ["https://shop.example/p/", "shopapp://"],
            }),
        )
    };
    let links: serde_json::Map<String, Value> = SYSTEMS.iter().map(link).collect();
    json!({
        "campaigns": { "any": {
            "app": "shop", "name": "Ours",
            "landing_page": "https://shop.example/d?cid={partner_click_id|raw}&camp={campaign}&s1={sub1}",
        } },
        "links": links,
    })
}

async fn world() -> World {
    let world = World::new().await;
    world.apply("default", &document()).await;
    world
}

/// Splits `host/path?query` and asks for it.
async fn get(world: &World, url: &str, headers: &[(&str, &str)]) -> Answer {
    let (host, path) = url.split_at(url.find('/').expect("a path"));
    let mut all = vec![("host", host)];
    all.extend_from_slice(headers);
    world.get_with(path, &all).await
}

/// The click of a server's answer with `format=json`.
async fn told(world: &World, url: &str) -> Click {
    let body = get(world, &format!("{url}&format=json"), &[]).await.expect(200);
    world.click(ClickId::parse(body["click_id"].as_str().expect("an id").as_bytes()).expect("an id")).await
}

fn partner(world: &World) -> Id<kind::Partner> {
    let catalog = world.ledger.catalog();
    let settings = catalog.workspace(WorkspaceNo::DEFAULT).expect("the workspace");
    settings.partners.values().find(|partner| partner.slug == "net").expect("the partner").id
}

#[test]
fn every_foreign_dialect_has_its_system_here() {
    for dialect in LinkDialect::ALL {
        let is_ours = matches!(dialect, LinkDialect::Linkrunner | LinkDialect::Tracknow);
        assert!(is_ours || SYSTEMS.iter().any(|system| system.dialect == dialect.name()), "{dialect:?}");
    }
}

#[tokio::test]
async fn every_system_s_click_works_with_its_host_changed() {
    let world = world().await;
    for system in SYSTEMS {
        let url = system.click.replace("CID", RAW);
        let answer = get(&world, &url, &[]).await;
        let id = answer.click_id();
        let want = format!("https://shop.example/d?cid={RAW}&camp=winter&s1=one&click_id={id}");
        assert_eq!(answer.location(), want, "{url}: the very bytes, the link's campaign, the first sub");
        let click = world.click(id).await;
        assert_eq!((click.kind, click.dialect.name()), (TouchKind::Click, system.dialect), "{url}");
        assert_eq!(click.query, url.split_once('?').expect("a query").1.as_bytes(), "kept as received");
        assert_eq!(
            click.params().get("click_id").map(|param| param.bytes()).as_deref(),
            Some(DECODED),
            "{url}"
        );
        let flags: Vec<&str> = click.flags.names().collect();
        assert_eq!(flags, ["utf8_invalid"], "{url}");
        let print = Print::partner_click_id(partner(&world), DECODED);
        let found = world.clicks.find_print(print, NOW, NOW, 100).await.expect("the log can be read");
        assert!(found.iter().any(|touch| touch.id == id), "{url}: found by its partner's click id");
    }
    assert_eq!(world.count(|c| &c.clicks), SYSTEMS.len() as u64);
    assert_eq!(world.count(|c| &c.links_unknown), 0);
}

#[tokio::test]
async fn every_system_s_impression_is_a_picture() {
    let world = world().await;
    for (at, system) in SYSTEMS.iter().enumerate() {
        // Each system has a click id of its own here, since a picture's answer names none of ours.
        let url = system.impression.replace("CID", &format!("{RAW}{at}"));
        let answer = get(&world, &url, &[("user-agent", IPHONE)]).await;
        assert_eq!((answer.status.as_u16(), answer.bytes.len()), (200, 43), "{url}");
        let value = [DECODED, at.to_string().as_bytes()].concat();
        let print = Print::partner_click_id(partner(&world), &value).on_view();
        let found = world.clicks.find_print(print, NOW, NOW, 10).await.expect("the log can be read");
        let [touch] = found.as_slice() else { panic!("{url}: {} touches", found.len()) };
        assert_eq!(
            (touch.click.kind, touch.click.dialect.name()),
            (TouchKind::Impression, system.dialect),
            "{url}"
        );
        assert_eq!(touch.click.user_agent.as_deref(), Some(IPHONE));
    }
    assert_eq!((world.count(|c| &c.impressions), world.count(|c| &c.clicks)), (SYSTEMS.len() as u64, 0));
}

#[tokio::test]
async fn every_system_s_server_is_heard() {
    let world = world().await;
    for system in SYSTEMS {
        let url = system.server.replace("CID", RAW);
        let plain = get(&world, &url, &[]).await;
        assert_eq!((plain.status.as_u16(), plain.bytes.len()), (204, 0), "{url}");
        let click = told(&world, &url).await;
        assert_eq!((click.kind, click.dialect.name()), (TouchKind::ServerClick, system.dialect), "{url}");
        assert_eq!(click.ip, Some("203.0.113.77".parse().unwrap()), "{url}");
        assert_eq!(click.user_agent.as_deref(), Some("Game/1"), "{url}");
        assert_eq!(
            click.params().get("click_id").map(|param| param.bytes()).as_deref(),
            Some(DECODED),
            "{url}"
        );
        let language = ["af_lang=de-DE", "lc=de", "language=de"].iter().find(|pair| url.contains(**pair));
        assert_eq!(click.language.as_deref(), language.map(|pair| pair.split_once('=').unwrap().1), "{url}");
    }
    assert_eq!(world.count(|c| &c.server_clicks), 2 * SYSTEMS.len() as u64);
}

#[tokio::test]
async fn a_click_id_that_is_missing_or_a_macro_is_counted_in_every_dialect() {
    let world = world().await;
    for (at, system) in SYSTEMS.iter().enumerate() {
        let base = system.server.replace("CID", "");
        let absent = told(&world, &base).await;
        assert!(absent.flags.has(Flags::PARTNER_CLICK_ID_ABSENT), "{base}");
        assert!(
            system.server.contains(&format!("{}=CID", system.word)),
            "{}: {}",
            system.server,
            system.word
        );
        for left in ["%7Bclickid%7D", "__CLICKID__"] {
            let url = system.server.replace("CID", left);
            let click = told(&world, &url).await;
            assert!(click.flags.has(Flags::PARTNER_CLICK_ID_UNEXPANDED), "{url}");
            assert!(!click.flags.has(Flags::PARTNER_CLICK_ID_ABSENT), "{url}");
        }
        let n = at as u64 + 1;
        assert_eq!(world.count(|c| &c.partner_click_ids_absent), n, "{base}");
        assert_eq!(world.count(|c| &c.partner_click_ids_unexpanded), 2 * n, "{base}");
    }
}

#[tokio::test]
async fn what_no_link_has_is_unknown() {
    let world = world().await;
    for url in [
        "click.example.com/com.example.app?pid=other_int",
        "click.example.com/com.example.app",
        "other.example.com/com.example.app?pid=acme_int",
        "t.example/aff_c?offer_id=12&aff_id=8",
        "t.example/?a=7&c=13",
        "t.example/click?o=12&a=8",
        "t.example/impression/5ab3f1",
    ] {
        get(&world, url, &[]).await.refuses(404, "link_unknown", "link");
    }
    for url in ["t.example/@shop/other", "t.example/serve/12345", "t.example/2CTPL"] {
        assert_eq!(get(&world, url, &[]).await.status, 404, "{url}");
    }
    // Only visitors' methods are links.
    let post = world.call(Method::POST, "127.0.0.1", "/2CTPL/K8R4T", &[], Body::empty()).await;
    assert_eq!(post.status, 404);
    assert_eq!(world.clicks.stats().appended, 0);
    let head = world.call(Method::HEAD, "127.0.0.1", "/2CTPL/K8R4T?sub1=x", &[], Body::empty()).await;
    assert_eq!(world.click(head.click_id()).await.kind, TouchKind::Preview);
}

#[tokio::test]
async fn another_workspace_cannot_take_an_address_and_its_own_forms_go_on() {
    let world = world().await;
    let apply = async |link: &str, also: &[&str]| {
        let document = json!({
            "workspace": "acme",
            "links": { link: { "campaign": "main", "partner": "net", "also": also } },
        });
        let body = json!({ "document": document }).to_string();
        let mut request = http::Request::post("/api/v1/apply").body(Body::from(body)).unwrap();
        let token = format!("Bearer {}", super::ADMIN).parse().unwrap();
        request.headers_mut().insert("authorization", token);
        tower::ServiceExt::oneshot(world.admin.clone(), request).await.unwrap().status().as_u16()
    };
    // The same, one that says less or more, and one that names a host: each would take clicks of the other's path.
    for taken in [
        "/aff_c?aff_id=7&offer_id=12",
        "/aff_c?aff_id=7",
        "/aff_c?aff_id=7&offer_id=12&aff_sub2=x",
        "https://click.example.com/aff_c?aff_id=7&offer_id=12",
    ] {
        assert_eq!(apply("acme-tune", &[taken]).await, 422, "{taken}");
    }
    // A link's own id is looked at before addresses, so it would hide them.
    for id in ["x1Y2z3", "5ab3f0"] {
        assert_eq!(apply(id, &[]).await, 422, "{id}");
    }
    assert_eq!(apply("acme-own", &["https://click.acme.example/own_path?x=1"]).await, 200);
    // Tracknow's form is looked at before addresses, in its namespace and without one.
    for (uri, landing) in [
        ("/click?campaign_id=4711&ref_id=p-1&pub_id=7", "https://shop.example/landing"),
        ("/acme/click?campaign_id=4711&ref_id=p-1", "https://acme.example/"),
        ("/click?campaign_id=12&pub_id=7&p1=x", "https://shop.example/d?cid=x"),
        ("/nobody/click?campaign_id=12&pub_id=7", ""),
    ] {
        let answer = world.get(uri).await;
        if landing.is_empty() {
            answer.refuses(404, "namespace_unknown", "namespace");
        } else {
            assert!(answer.location().starts_with(landing), "{uri}: {}", answer.location());
        }
    }
}

#[tokio::test]
async fn destinations_of_other_systems_pass_the_allow_list_or_are_refused() {
    let world = world().await;
    let allowed = "https%3A%2F%2Fshop.example%2Fp%2F1";
    let desktop = "Mozilla/5.0 (X11; Linux x86_64)";
    let cases = [
        ("click.example.com/com.example.app?pid=acme_int&af_r=URL", desktop, true),
        ("click.example.com/com.example.app?pid=acme_int&af_r=URL", IPHONE, true),
        ("click.example.com/com.example.app?pid=acme_int&af_web_dp=URL", desktop, true),
        ("click.example.com/com.example.app?pid=acme_int&af_web_dp=URL", IPHONE, false),
        ("click.example.com/com.example.app?pid=acme_int&af_ios_url=URL", IPHONE, true),
        ("click.example.com/com.example.app?pid=acme_int&af_android_url=URL", IPHONE, false),
        ("app.example.com/abc123?redirect=URL", desktop, true),
        ("acme.example.com/x1Y2z3?%243p=a_acme&%24desktop_url=URL", desktop, true),
        ("acme.example.com/x1Y2z3?%243p=a_acme&%24ios_url=URL", IPHONE, true),
        ("acme.example.com/click?o=12&a=7&deep_link=URL", desktop, true),
        ("acme.example.com/A1b2c/d3f4?st=99&h=5ab3f0&_ios_redirect=URL", IPHONE, true),
    ];
    for (url, agent, follows) in cases {
        let to = get(&world, &url.replace("URL", allowed), &[("user-agent", agent)]).await.location();
        assert_eq!(to.starts_with("https://shop.example/p/1?click_id="), follows, "{url}: {to}");
    }
    assert_eq!(world.count(|c| &c.destinations_refused), 0);
    for (url, agent, _) in cases {
        let answer =
            get(&world, &url.replace("URL", "https%3A%2F%2Fevil.example"), &[("user-agent", agent)]).await;
        assert!(answer.location().starts_with("https://shop.example/d?"), "{url}: {}", answer.location());
    }
    assert_eq!(world.count(|c| &c.destinations_refused), cases.len() as u64);
    let app = "click.example.com/com.example.app?pid=acme_int&af_dp=shopapp%3A%2F%2Fp%2F1&deep_link_value=p1";
    let page = get(&world, app, &[("user-agent", IPHONE)]).await;
    assert!(page.status == 200 && page.text().contains("href=\"shopapp://p/1"), "{}", page.text());
}

#[tokio::test]
async fn an_address_in_a_header_counts_from_trusted_proxies_only() {
    let world = world().await;
    let told = async |peer: &str, uri: &str, host: &str, header: &str| {
        let headers = [("host", host), (header, "198.51.100.9")];
        let body = world.call(Method::GET, peer, uri, &headers, Body::empty()).await.expect(200);
        world.click(ClickId::parse(body["click_id"].as_str().unwrap().as_bytes()).unwrap()).await.ip
    };
    let branch = "/x1Y2z3?%243p=a_acme&%24s2s=true&format=json";
    let adjust = "/abc123?s2s=1&format=json";
    let header = Some("198.51.100.9".parse().unwrap());
    for (peer, uri, host, name, ip) in [
        ("10.0.0.1", branch, "acme.example.com", "x-ip-override", header),
        ("203.0.113.5", branch, "acme.example.com", "x-ip-override", None),
        ("10.0.0.1", adjust, "s2s.example.com", "x-adjust-forwarded-for", header),
        ("203.0.113.5", adjust, "s2s.example.com", "x-adjust-forwarded-for", None),
        ("10.0.0.1", adjust, "s2s.example.com", "x-ip-override", None),
    ] {
        assert_eq!(told(peer, uri, host, name).await, ip, "{peer} {name}");
    }
    let parameter = format!("{branch}&device_ip=203.0.113.77");
    let ip = told("10.0.0.1", &parameter, "acme.example.com", "x-ip-override").await;
    assert_eq!(ip, Some("203.0.113.77".parse().unwrap()), "a parameter comes before the header");
}

#[tokio::test]
async fn callbacks_in_a_link_are_refused_unless_the_partner_is_allowed_them() {
    let world = world().await;
    let sound = "https%3A%2F%2Fpartner.example%2Fp%3Fid%3D%7Bgps_adid%7D";
    let inside = "https%3A%2F%2F10.0.0.1%2Fp";
    let flagged = async |query: &str| {
        let answer = world.get(&format!("/abc123?acme_click_id=x&{query}")).await;
        let click = world.click(answer.click_id()).await;
        assert_eq!(click.query, format!("acme_click_id=x&{query}").as_bytes(), "kept as received");
        click.flags.has(Flags::CALLBACK_REFUSED)
    };
    assert!(!flagged("label=x").await);
    assert!(flagged(&format!("install_callback={sound}")).await);
    assert!(flagged(&format!("adj_event_callback_f0ob4r={sound}")).await);
    assert_eq!(world.count(|c| &c.callbacks_refused), 2);
    world
        .apply(
            "default",
            &json!({ "partners": { "net": { "name": "Net", "ref_id": "p-1", "in_link_callbacks": true } } }),
        )
        .await;
    assert!(!flagged(&format!("install_callback={sound}")).await);
    assert!(flagged(&format!("install_callback={inside}")).await, "allowed, but not to everywhere");
    assert!(flagged(&format!("install_callback={sound}&click_callback=http%3A%2F%2Fpartner.example")).await);
    assert_eq!(world.count(|c| &c.callbacks_refused), 4);
    // The word means nothing in another dialect.
    let other = get(&world, &format!("acme.example.com/?a=7&c=12&s2=x&install_callback={inside}"), &[]).await;
    assert!(!world.click(other.click_id()).await.flags.has(Flags::CALLBACK_REFUSED));
}

#[tokio::test]
async fn a_story_hides_persons_whatever_a_system_calls_their_parameters() {
    let world = world().await;
    let url = "click.example.com/com.example.app?pid=acme_int&clickid=x-1&af_sub1=one&af_ip=203.0.113.77\
               &advertising_id=38400000-8cf0-11bd-b23e-10b96e40000d";
    let id = get(&world, url, &[]).await.click_id();
    let request = http::Request::get(format!("/api/v1/clicks/{id}"))
        .header("authorization", format!("Bearer {}", super::ADMIN))
        .body(Body::empty())
        .unwrap();
    let response = tower::ServiceExt::oneshot(world.admin.clone(), request).await.unwrap();
    let bytes = http_body_util::BodyExt::collect(response.into_body()).await.unwrap().to_bytes();
    let story: Value = serde_json::from_slice(&bytes).unwrap();
    let click = &story["click"];
    assert_eq!(click["partner_click_id"], "x-1", "{story}");
    let shown = |name: &str| {
        let params = click["params"].as_array().expect("parameters");
        params.iter().find(|param| param["name"] == name).map(|param| param["value"].clone())
    };
    assert_eq!(shown("af_ip"), Some(json!("203.0.113.0/24")));
    assert_eq!(shown("advertising_id"), Some(json!("3840…000d")));
    assert_eq!(shown("af_sub1"), Some(json!("one")));
    assert_eq!(shown("clickid"), None, "it has its own place");
}

#[tokio::test]
async fn appsflyer_s_engagements_are_told_by_servers() {
    let world = world().await;
    let target = "/app/android/com.example.app?af_media_source=acme_int";
    world
        .apply(
            "default",
            &json!({ "links": { "engaged": {
                "campaign": "any", "partner": "net", "dialect": "appsflyer",
                "also": [format!("/v1.0/s2s/click{target}")],
                "also_impressions": [format!("/v1.0/s2s/impression{target}")],
            } } }),
        )
        .await;
    let more = "&af_campaign_id=7&af_campaign=winter&af_click_id=x-1&af_ip=203.0.113.77&af_user_agent=Game%2F1\
                &af_device_id_type=advertising_id&af_device_id_value=38400000-8cf0-11bd-b23e-10b96e40000d";
    for (path, kind) in [("click", TouchKind::ServerClick), ("impression", TouchKind::Impression)] {
        let url = format!("t.example/v1.0/s2s/{path}{target}{more}");
        let plain = get(&world, &url, &[]).await;
        assert_eq!((plain.status.as_u16(), plain.bytes.len()), (204, 0), "{url}");
        let click = told(&world, &url).await;
        assert_eq!(click.kind, kind);
        assert_eq!(
            (click.ip, click.user_agent.as_deref()),
            (Some("203.0.113.77".parse().unwrap()), Some("Game/1"))
        );
        let params = click.params();
        assert_eq!(params.text("click_id").as_deref(), Some("x-1"));
        assert_eq!(params.text("campaign").as_deref(), Some("winter"));
        assert_eq!(Click::device_ids(&params).len(), 1);
    }
}
