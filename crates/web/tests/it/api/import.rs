//! Importing a URL of another system.

use serde_json::json;

use super::World;

const LINK: &str =
    "https://app.appsflyer.com/com.example.shop?pid=acme_int&c=summer&clickid={click_id}&af_prt=big";

#[tokio::test]
async fn an_import_is_a_proposal_that_can_be_applied() {
    let world = World::new();
    world
        .post("/api/v1/apply", &json!({ "document": { "apps": { "shop": { "platform": "web" } } } }))
        .await
        .expect(200);
    let before = world.get("/api/v1/settings").await.expect(200);

    let link = world.post("/api/v1/import", &json!({ "url": LINK, "app": "shop" })).await.expect(200);
    assert_eq!((&link["kind"], &link["whole"]), (&json!("link"), &json!(false)));
    assert_eq!(link["systems"][0]["system"], "appsflyer");
    assert_eq!(link["not_carried"][0]["what"], "parameter af_prt");
    let url = link["url"].as_str().expect("a URL");
    assert!(url.starts_with("https://go.shop.example/c/acme_int-summer?"), "{url}");
    let body = json!({
        "url": "https://pb.acme.example/in?cid=(clickid)", "as": "postback", "from": "AppsFlyer", "app": "shop",
        "partner": "acme_int", "on": "signup", "method": "POST", "headers": { "X-Api-Key": "9f86d081884c7d65" },
        "body": { "form": "v=(event_revenue)" }, "share_revenue": true,
    });
    let rule = world.post("/api/v1/import", &body).await.expect(200);
    let document = &rule["document"]["rules"]["acme_int-signup"];
    assert_eq!(document["headers"], json!({ "X-Api-Key": "{cfg.x_api_key}" }), "{rule}");
    assert_eq!((&document["method"], &document["share_revenue"]), (&json!("POST"), &json!(true)));
    assert_eq!(rule["canonical"]["acme_int-signup"]["body"]["form"], "v={revenue}", "{rule}");
    assert_eq!(world.get("/api/v1/settings").await.expect(200), before, "nothing was changed");

    for proposal in [link, rule] {
        world.post("/api/v1/apply", &json!({ "document": proposal["document"] })).await.expect(200);
    }
    let found = world.get("/api/v1/rules/acme_int-signup").await.expect(200);
    assert_eq!(found["settings"]["dialect"], "appsflyer");
}

#[tokio::test]
async fn what_cannot_be_read_is_refused_with_its_code() {
    let world = World::new();
    let long = format!("https://a.example/?x={}", "x".repeat(20_000));
    for (body, status, code, field) in [
        (json!({}), 400, "field_missing", "url"),
        (json!({ "url": "hello" }), 400, "import_url_missing", "url"),
        (json!({ "url": "javascript:alert(1)" }), 400, "import_scheme", "url"),
        (json!({ "url": long }), 400, "value_too_long", "url"),
        (json!({ "url": "https://a.example/x?a=1?b=2" }), 400, "import_two_queries", "url"),
        (json!({ "url": "https://a.example/x?a=%257Bb%257D" }), 400, "import_encoded_twice", "url"),
        (json!({ "url": "https://a.example/x?a={click_id}" }), 422, "import_ambiguous", "as"),
        (json!({ "url": LINK, "from": "nobody" }), 422, "import_system_unknown", "from"),
        (json!({ "url": LINK, "as": "page" }), 400, "field_type", "as"),
        (json!({ "url": LINK, "as": "link", "method": "POST" }), 422, "import_ambiguous", "as"),
        (json!({ "url": LINK, "on": "open" }), 400, "field_type", "on"),
        (json!({ "url": LINK, "urk": "x" }), 400, "field_unknown", "urk"),
    ] {
        world.post("/api/v1/import", &body).await.refuses(status, code, field);
    }
}

/// What an import proposes is what a dry run takes, whatever odd things stand in the URL.
#[tokio::test]
async fn odd_urls_make_documents_that_are_taken() {
    let world = World::new();
    world
        .post("/api/v1/apply", &json!({ "document": { "apps": { "shop": { "platform": "web" } } } }))
        .await
        .expect(200);
    for (kind, url) in [
        ("link", "https://t.example/"),
        ("link", "https://t.example/c"),
        ("link", "https://t.example/click?click_id={id}"),
        ("link", "https://app.adjust.com/Postback?campaign=%E6%97%A5%E6%9C%AC"),
        ("link", "https://x.app.link/a/b/c?%243p=__&~campaign=%00x&$desktop_url=https%3A%2F%2FSHOP.example"),
        (
            "link",
            "https://t.example/x?pid=%F0%9F%8E%88&c=%C3%A9t%C3%A9&af_dp=SHOP%3A%2F%2Fx&af_r=https%3A%2F%2F%5B%3A%3A1%5D%3A8%2Fa",
        ),
        ("link", "https://t.example/x?pid=a+b&c=a%26b%3Dc&af_click_lookback=1h"),
        ("link", "https://t.example/aff_i?offer_id=1&aff_id=2&offer_id=3"),
        ("postback", "https://p.example/x?cid={click_id}&token=%20a%20b"),
        ("postback", "https://p.example/x?cid={click_id}&event=%E6%97%A5"),
        ("postback", "https://{cfg.host}/x?cid={click_id}&sig=0123456789abcdef&key=0123456789abcdef"),
        ("postback", "https://sub.p-q.example:8443/x?cid=#s2#&t=1#frag"),
    ] {
        let body = json!({ "url": url, "as": kind, "app": "shop" });
        let proposal = world.post("/api/v1/import", &body).await.expect(200);
        let dry = json!({ "document": proposal["document"], "dry_run": true });
        let planned = world.post("/api/v1/apply", &dry).await;
        assert_eq!(planned.status.as_u16(), 200, "{url}: {} of {}", planned.body, proposal["document"]);
    }
}
