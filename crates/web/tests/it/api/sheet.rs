//! A partner's sheet.

use roundtrip_web::sheet::{Sheet, html, markdown};
use serde_json::{Value, json};

use super::World;

const SECRETS: [&str; 2] = ["s3cr3t-t0ken", "pb.acme.example"];

fn document() -> Value {
    json!({
        "apps": {
            "shop": { "name": "Shop", "platform": "android", "bundle_id": "com.example.shop" },
            "site": { "name": "Shop's site", "platform": "web" },
        },
        "campaigns": {
            "summer": { "name": "Summer", "app": "shop" },
            "summer-web": { "app": "site", "public_id": "4711", "landing_page": "https://shop.example/?c={click_id}" },
        },
        "partners": {
            "acme": { "name": "Acme Ads", "ref_id": "12", "cfg": { "token": SECRETS[0], "host": SECRETS[1] } },
            "zen": {},
            "odd": { "name": "<b>O`dd</b> | [x](y) # z" },
        },
        "links": {
            "acme-summer": { "campaign": "summer", "partner": "acme", "click_window": "2d" },
            "acme-web": {
                "campaign": "summer-web", "partner": "acme", "dialect": "tracknow",
                "allow_destinations": ["https://shop.example/"],
            },
            "zen-summer": { "campaign": "summer", "partner": "zen" },
        },
        "rules": {
            "acme-install": {
                "app": "shop", "partner": "acme", "on": "install",
                "url": "https://{cfg.host}/i?c={click_id}&g={gaid|md5}&r={revenue}&x={banner}&k=s3cr3t-t0ken",
                "sandbox": true,
            },
            "acme-sale": {
                "app": "site", "partner": "acme", "on": "purchase", "method": "POST", "first_only": true,
                "url": "https://{cfg.host}/e", "headers": { "X-Token": "{cfg.token}" },
                "body": { "json": "{\"c\":\"{click_id}\",\"e\":\"{mapped_event_name}\",\"r\":{revenue},\"cur\":\"{currency}\"}" },
                "share_revenue": true, "rename": { "purchase": "sale" }, "window": "10d",
            },
            "everyone": { "app": "shop", "on": "event", "events": ["level_up"], "url": "https://all.example/?c={click_id}&e={event_name}" },
            "zen-install": { "app": "shop", "partner": "zen", "on": "install", "url": "https://zen.example/?c={click_id}" },
        },
    })
}

async fn world() -> World {
    let world = World::new();
    world.post("/api/v1/apply", &json!({ "document": document() })).await.expect(200);
    world
}

async fn sheet(world: &World, path: &str) -> Sheet {
    serde_json::from_value(world.get(path).await.expect(200)).expect("the documented shape")
}

#[tokio::test]
async fn it_is_as_reviewed() {
    let world = world().await;
    let sheet = sheet(&world, "/api/v1/partners/acme/sheet").await;
    insta::assert_json_snapshot!("sheet", sheet);
    insta::assert_snapshot!("sheet_markdown", markdown::page(&sheet));
    let rules: Vec<_> = sheet.postbacks.iter().map(|postback| postback.rule.as_str()).collect();
    assert_eq!(rules, ["acme-install", "everyone", "acme-sale"], "its own and those for everyone");
}

#[tokio::test]
async fn no_setting_is_ever_shown() {
    let world = world().await;
    let answer = world.get("/api/v1/partners/acme/sheet").await.expect(200);
    let sheet: Sheet = serde_json::from_value(answer.clone()).expect("the documented shape");
    for text in [answer.to_string(), markdown::page(&sheet), html::page(&sheet).expect("a page")] {
        for secret in SECRETS {
            assert!(!text.contains(secret), "{secret} in {text}");
        }
        assert!(text.contains("your-token") && text.contains("your-host"), "{text}");
    }
}

#[tokio::test]
async fn a_known_system_fills_the_link_in() {
    let world = world().await;
    let known = sheet(&world, "/api/v1/partners/zen/sheet?system=cake").await;
    assert_eq!(known.links[0].click_url, "https://go.shop.example/c/zen-summer?click_id=#reqid#");
    let by_itself = sheet(&world, "/api/v1/partners/zen/sheet?system=awin").await;
    let link = &by_itself.links[0];
    assert_eq!(
        (link.click_url.as_str(), link.click_parameter.as_str(), link.impression_url.as_str()),
        ("https://go.shop.example/c/zen-summer", "awc", "https://go.shop.example/i/zen-summer")
    );
    world.get("/api/v1/partners/zen/sheet?system=cak").await.refuses(404, "not_found", "system");
    world.get("/api/v1/partners/nobody/sheet").await.refuses(404, "not_found", "slug");
}

#[tokio::test]
async fn names_stay_in_their_place() {
    let world = world().await;
    let odd = sheet(&world, "/api/v1/partners/odd/sheet").await;
    let page = html::page(&odd).expect("a page");
    assert!(page.contains("&lt;b&gt;O`dd") && !page.contains("<b>") && !page.contains("<script"), "{page}");
    assert!(page.contains("There is no link for this partner yet."));
    let text = markdown::page(&odd);
    assert!(!text.contains("<b>") && !text.contains("\n# z") && text.contains("\\[x\\](y)"), "{text}");
}

#[tokio::test]
async fn a_rule_that_tells_callbacks_names_the_parameters_that_carry_them() {
    let world = World::new();
    let mut document = document();
    document["partners"]["zen"]["in_link_callbacks"] = json!(true);
    document["rules"] = json!({
        "births": { "app": "shop", "on": "install", "callback": true },
        "levels": {
            "app": "shop", "partner": "zen", "on": "event", "events": ["level_up"],
            "rename": { "level_up": "f0ob4r" }, "callback": true,
        },
    });
    world.post("/api/v1/apply", &json!({ "document": document })).await.expect(200);
    let zen = sheet(&world, "/api/v1/partners/zen/sheet").await;
    let told: Vec<_> = zen.postbacks.iter().map(|p| (p.callbacks.join(" "), p.dialect.as_str())).collect();
    let births = "install_callback conversion_callback".to_owned();
    assert_eq!(told, [(births, "adjust"), ("event_callback_f0ob4r".to_owned(), "adjust")]);
    assert!(zen.postbacks.iter().all(|p| p.url.is_empty() && p.example.is_none() && p.also.is_empty()));
    let text = markdown::page(&zen);
    assert!(text.contains("brings, in `install_callback` or `conversion_callback`: https"), "{text}");
    assert!(html::page(&zen).expect("a page").contains("event_callback_f0ob4r"));
    let acme = sheet(&world, "/api/v1/partners/acme/sheet").await;
    assert_eq!(acme.postbacks, [], "its links may not carry any");
}
