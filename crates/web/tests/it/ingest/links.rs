//! Clicks and impressions.

use axum::body::Body;
use http::Method;
use roundtrip_domain::click::{Flags, LinkDialect, TouchKind};
use roundtrip_domain::click_id::ClickId;
use roundtrip_domain::id::WorkspaceNo;
use roundtrip_domain::params::decode;
use roundtrip_domain::referrer::{self, Referrer};

use super::{IPHONE, NOW, PIXEL, World};

#[tokio::test]
async fn every_form_of_a_link_leads_on_and_is_kept() {
    let world = World::new().await;
    for (uri, host, landing, query) in [
        (
            "/c/web-link?click_id=x&sub1=a",
            "t.example",
            "https://shop.example/landing?from=a",
            "click_id=x&sub1=a",
        ),
        ("/c/web-link/?sub1=a", "t.example", "https://shop.example/landing?from=a", "sub1=a"),
        ("/c/w%65b-link?sub1=a", "t.example", "https://shop.example/landing?from=a", "sub1=a"),
        ("/?c=web-link&sub1=a", "t.example", "https://shop.example/landing?from=a", "c=web-link&sub1=a"),
        ("/?sub1=a&c=web-link", "t.example", "https://shop.example/landing?from=a", "sub1=a&c=web-link"),
        ("/web-link?sub1=a", "t.example", "https://shop.example/landing?from=a", "sub1=a"),
        ("/Strict_9?unknown=kept", "t.example", "https://shop.example/strict?", "unknown=kept"),
        (
            "/click?campaign_id=4711&ref_id=p-1&sub1=a",
            "t.example",
            "https://shop.example/landing?from=a",
            "campaign_id=4711&ref_id=p-1&sub1=a",
        ),
        (
            "/acme/click?campaign_id=4711&ref_id=p-1",
            "t.example",
            "https://acme.example/?",
            "campaign_id=4711&ref_id=p-1",
        ),
        (
            "/click?campaign_id=4711&ref_id=p-1",
            "acme-tracking.t.example:8080",
            "https://acme.example/?",
            "campaign_id=4711&ref_id=p-1",
        ),
    ] {
        let answer = world.get_with(uri, &[("host", host)]).await;
        let location = answer.location();
        let id = answer.click_id();
        assert!(location.starts_with(landing), "{uri}: {location}");
        assert!(location.ends_with(&format!("click_id={id}")), "{uri}: {location}");
        let click = world.click(id).await;
        assert_eq!((click.kind, click.query.as_slice()), (TouchKind::Click, query.as_bytes()), "{uri}");
        assert_eq!(click.received_at, NOW);
        let is_tracknow = uri.contains("/click?");
        assert_eq!(click.dialect == LinkDialect::Tracknow, is_tracknow, "{uri}");
        assert_eq!(click.workspace == WorkspaceNo::DEFAULT, !location.contains("acme"), "{uri}");
        assert!(
            !answer.headers.contains_key("x-roundtrip-click") && !answer.headers.contains_key("set-cookie")
        );
    }
    assert_eq!(world.count(|c| &c.clicks), 10);
}

#[tokio::test]
async fn the_visitor_is_the_connection_or_what_a_trusted_proxy_says() {
    let world = World::new().await;
    let headers = [
        ("user-agent", "Mozilla/5.0 (X11; Linux x86_64)"),
        ("referer", "https://blog.example/post"),
        ("accept-language", "de-DE,de;q=0.9"),
        ("x-forwarded-for", "6.6.6.6, 2001:db8::7"),
    ];
    for (peer, ip) in [("203.0.113.9", "203.0.113.9"), ("10.0.0.1", "2001:db8::7")] {
        // What a link says of address and browser is the partner's word; a visitor's own are taken instead.
        let answer = world
            .call(Method::GET, peer, "/c/web-link?ip=9.9.9.9&user_agent=x", &headers, Body::empty())
            .await;
        let click = world.click(answer.click_id()).await;
        assert_eq!(click.ip, Some(ip.parse().unwrap()));
        assert_eq!(click.user_agent.as_deref(), Some("Mozilla/5.0 (X11; Linux x86_64)"));
        assert_eq!(click.referer.as_deref(), Some("https://blog.example/post"));
        assert_eq!(click.language.as_deref(), Some("de-DE,de;q=0.9"));
    }
}

#[tokio::test]
async fn a_partner_s_server_tells_of_clicks() {
    let world = World::new().await;
    let plain = world.get("/c/game-link?s2s=1&click_id=a").await;
    assert_eq!((plain.status.as_u16(), plain.bytes.len()), (204, 0));
    assert_eq!(plain.headers["cache-control"], "no-store");
    for uri in [
        "/c/game-link?s2s=1&format=json&click_id=a&ip=2001:db8::1&user_agent=Game%2F1",
        "/?c=game-link&s2s=true&format=json&click_id=a&ip=2001:db8::1&user_agent=Game%2F1",
    ] {
        let told = world.get_with(uri, &[("user-agent", "curl/8"), ("referer", "https://x.example")]).await;
        let body = told.expect(200);
        let click = world.click(ClickId::parse(body["click_id"].as_str().unwrap().as_bytes()).unwrap()).await;
        assert_eq!(click.kind, TouchKind::ServerClick);
        assert_eq!(
            (click.ip, click.user_agent.as_deref()),
            (Some("2001:db8::1".parse().unwrap()), Some("Game/1"))
        );
        assert_eq!((click.referer, click.language), (None, None));
    }
    // The partner's server is not the visitor.
    let body = world.get("/c/game-link?s2s=1&format=json&ip={ip}&user_agent=%7Bua%7D").await.expect(200);
    let click = world.click(ClickId::parse(body["click_id"].as_str().unwrap().as_bytes()).unwrap()).await;
    assert_eq!((click.ip, click.user_agent), (None, None));
    assert_eq!(world.count(|c| &c.server_clicks), 4);
}

#[tokio::test]
async fn impressions_are_a_pixel() {
    let world = World::new().await;
    for uri in ["/i/web-link?click_id=x", "/i/web-link/?click_id=x"] {
        let answer = world.get(uri).await;
        assert_eq!((answer.status.as_u16(), answer.bytes.len()), (200, 43));
        assert_eq!(answer.headers["content-type"], "image/gif");
        assert_eq!(answer.headers["cache-control"], "no-store");
        assert!(answer.bytes.starts_with(b"GIF89a") && answer.bytes.ends_with(b"\x3b"));
    }
    let body = world.get("/i/web-link?s2s=1&format=json").await.expect(200);
    let click = world.click(ClickId::parse(body["click_id"].as_str().unwrap().as_bytes()).unwrap()).await;
    assert_eq!(click.kind, TouchKind::Impression);
    world.get("/i/nobody").await.refuses(404, "link_unknown", "link");
    assert_eq!(world.count(|c| &c.impressions), 3);
}

#[tokio::test]
async fn previews_are_answered_and_kept_and_are_no_clicks() {
    let world = World::new().await;
    for (method, name, value) in [
        (Method::HEAD, "accept", "*/*"),
        (Method::GET, "sec-purpose", "prefetch;prerender"),
        (Method::GET, "purpose", "prefetch"),
        (Method::GET, "x-moz", "prefetch"),
        (Method::GET, "x-purpose", "preview"),
        (Method::GET, "user-agent", "WhatsApp/2.23.20.0"),
    ] {
        let answer =
            world.call(method, "127.0.0.1", "/c/web-link?click_id=a", &[(name, value)], Body::empty()).await;
        let click = world.click(answer.click_id()).await;
        assert_eq!(click.kind, TouchKind::Preview, "{name}: {value}");
        assert!(click.prints(&click.params()).is_empty(), "nothing finds it");
    }
    assert_eq!((world.count(|c| &c.previews), world.count(|c| &c.clicks)), (6, 0));
}

#[tokio::test]
async fn what_is_odd_is_flagged_and_never_refused() {
    let world = World::new().await;
    let long = format!("/c/web-link?click_id=a&sub2={}", "x".repeat(3_000));
    let whole = format!("/c/web-link?click_id=a&{}", "sub2=y&".repeat(4_000));
    for (uri, flag) in [
        ("/c/web-link", Flags::PARTNER_CLICK_ID_ABSENT),
        ("/c/web-link?click_id=", Flags::PARTNER_CLICK_ID_ABSENT),
        ("/c/web-link?click_id=%7Bclickid%7D", Flags::PARTNER_CLICK_ID_UNEXPANDED),
        ("/c/web-link?click_id=__CLICKID__", Flags::PARTNER_CLICK_ID_UNEXPANDED),
        (&long, Flags::CUT),
        (&whole, Flags::CUT),
        ("/c/web-link?click_id=a&sub1=%zz", Flags::BAD_ESCAPE),
        ("/c/web-link?click_id=a&sub1=%ff", Flags::BAD_UTF8),
        ("/c/web-link?click_id=a&sub1=1&sub1=2", Flags::REPEATED),
        ("/c/web-link?click_id=a&redirect=https://evil.example", Flags::DESTINATION_REFUSED),
    ] {
        let answer = world.get(uri).await;
        assert!(answer.location().starts_with("https://shop.example/landing"), "{uri}");
        let click = world.click(answer.click_id()).await;
        assert!(click.flags.has(flag), "{uri}: {:?}", click.flags.names().collect::<Vec<_>>());
    }
    assert_eq!(world.count(|c| &c.partner_click_ids_absent), 2);
    assert_eq!(world.count(|c| &c.partner_click_ids_unexpanded), 2);
    assert_eq!(world.count(|c| &c.values_cut), 2);
    assert_eq!(world.count(|c| &c.destinations_refused), 1);
    let agent = "a".repeat(2_000);
    let click = world
        .click(world.get_with("/c/web-link?click_id=a", &[("user-agent", &agent)]).await.click_id())
        .await;
    assert!(click.flags.has(Flags::CUT) && click.user_agent.unwrap().len() == 512);
}

#[tokio::test]
async fn a_request_chooses_its_destination_inside_the_allow_list_only() {
    let world = World::new().await;
    let allowed = world.get("/c/web-link?redirect=https%3A%2F%2Fshop.example%2Fp%2F9%3Fa%3D1%23top").await;
    let id = allowed.click_id();
    assert_eq!(allowed.location(), format!("https://shop.example/p/9?a=1&click_id={id}#top"));
    for attack in [
        "https://evil.example/",
        "https://shop.example@evil.example/p/",
        "https://shop.example/p/../admin",
        "https://shop.example.evil.example/p/",
        "//shop.example/p/",
        "https%3A%5C%5Cshop.example%5Cp%5C",
        "javascript:alert(1)",
        "data:text/html,x",
        "https://shop.example/p/%250d%250aSet-Cookie:a=b%0d%0ax",
    ] {
        for name in ["redirect", "url", "fallback", "deep_link", "redirect_android", "redirect_ios"] {
            let answer =
                world.get_with(&format!("/c/web-link?{name}={attack}"), &[("user-agent", IPHONE)]).await;
            let location = answer.location();
            assert!(
                location.starts_with("https://shop.example/landing?from=&click_id="),
                "{name}={attack}: {location}"
            );
        }
    }
    assert_eq!(world.count(|c| &c.destinations_refused), 54);
}

#[tokio::test]
async fn android_goes_to_play_and_its_referrer_is_read_back_in_both_encodings() {
    let world = World::new().await;
    let answer = world.get_with("/c/game-link?click_id=a&gclid=G1", &[("user-agent", PIXEL)]).await;
    let location = answer.location();
    let (page, raw) = location.split_once("&referrer=").unwrap();
    assert_eq!(page, "https://play.google.com/store/apps/details?id=com.example.game");
    let text = String::from_utf8(decode(raw.as_bytes())).unwrap();
    let id = answer.click_id();
    assert_eq!(
        text,
        format!(
            "rt_click_id={id}&utm_source=Net&utm_medium=affiliate&utm_campaign=Play%20%26%20win&gclid=G1"
        )
    );
    for form in [text.as_str(), raw] {
        assert_eq!(referrer::parse(form), Referrer::Ours { click_id: id.to_string() });
    }
}

#[tokio::test]
async fn an_app_s_own_scheme_is_tried_by_a_page() {
    let world = World::new().await;
    let uri = "/c/deep-link?click_id=a&sub1=%22%3E%3Cscript%3Ealert(1)%3C/script%3E";
    let answer = world.get_with(uri, &[("user-agent", PIXEL), ("accept", "text/html")]).await;
    assert_eq!(answer.status, 200);
    assert_eq!(answer.headers["content-type"], "text/html; charset=utf-8");
    assert_eq!(answer.headers["cache-control"], "no-store");
    assert_eq!(answer.headers["referrer-policy"], "no-referrer");
    assert_eq!(answer.headers["x-content-type-options"], "nosniff");
    let policy = answer.headers["content-security-policy"].to_str().unwrap();
    assert!(
        policy.contains("default-src 'none'")
            && policy.contains("script-src 'sha256-")
            && !policy.contains("unsafe")
    );
    let page = answer.text();
    assert!(
        page.contains(
            "href=\"mygame://level/1?from=%22%3E%3Cscript%3Ealert%281%29%3C%2Fscript%3E&amp;click_id="
        ),
        "{page}"
    );
    assert!(page.contains(
        "href=\"https://play.google.com/store/apps/details?id=com.example.game&amp;referrer=rt_click_id%3D"
    ));
    assert!(!page.contains("alert(1)"));
    // On a desktop there is no app to open.
    assert!(world.get("/c/deep-link").await.location().starts_with("https://play.google.com/"));
    assert_eq!(world.count(|c| &c.clicks), 2);
}

#[tokio::test]
async fn an_unknown_link_says_so_in_the_visitor_s_own_form() {
    let world = World::new().await;
    for uri in [
        "/c/nobody",
        "/nobody",
        "/?c=nobody",
        "/?x=1",
        "/",
        "/c/WEB-LINK",
        "/click?campaign_id=4711",
        "/click?campaign_id=x&ref_id=p-1",
        "/click?campaign_id=4711&ref_id=p-2",
    ] {
        world.get(uri).await.refuses(404, "link_unknown", "link");
    }
    world.get("/nobody/click?campaign_id=4711&ref_id=p-1").await.refuses(
        404,
        "namespace_unknown",
        "namespace",
    );
    let page = world.get_with("/c/nobody", &[("accept", "text/html,application/xhtml+xml")]).await;
    assert_eq!(
        (page.status.as_u16(), page.headers["content-type"].to_str().unwrap()),
        (404, "text/html; charset=utf-8")
    );
    assert!(page.text().contains("<code>link_unknown</code>") && !page.headers.contains_key("location"));
    assert_eq!(world.count(|c| &c.links_unknown), 10);
}

#[tokio::test]
async fn a_link_without_a_destination_keeps_its_click() {
    let world = World::new().await;
    world.get("/c/lost-link?click_id=a").await.refuses(404, "destination_missing", "link");
    let page = world.get_with("/c/lost-link?click_id=a", &[("accept", "text/html")]).await;
    assert!(page.status == 404 && page.text().contains("destination_missing"));
    assert_eq!((world.count(|c| &c.clicks), world.count(|c| &c.destinations_missing)), (2, 2));
    assert_eq!(world.clicks.stats().appended, 2);
}

#[tokio::test]
async fn an_ill_log_never_strands_a_visitor() {
    let world = World::new().await;
    world.faults.fail_insert(1);
    let answer = world.get("/c/web-link?click_id=a").await;
    assert!(answer.location().contains("click_id="), "it leaves with an id all the same");
    assert_eq!(answer.headers["x-roundtrip-click"], "unstored");
    world.faults.fail_insert(1);
    let pixel = world.get("/i/web-link").await;
    assert_eq!((pixel.bytes.len(), &pixel.headers["x-roundtrip-click"]), (43, &"unstored".parse().unwrap()));
    // A server can send again, so it is told.
    world.faults.fail_insert(1);
    let told = world.get("/c/web-link?s2s=1").await;
    told.refuses(503, "store_unavailable", "");
    assert_eq!(told.headers["x-roundtrip-click"], "unstored");
    assert!(told.headers.contains_key("retry-after"));
    assert_eq!(world.count(|c| &c.touches_unstored), 3);
    assert!(!world.get("/c/web-link?click_id=a").await.headers.contains_key("x-roundtrip-click"));
    assert_eq!(world.clicks.stats().appended, 1);
}
