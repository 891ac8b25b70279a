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
async fn a_setting_that_is_written_out_is_not_shown_in_any_encoding() {
    let world = World::new();
    let mut document = document();
    document["rules"]["acme-install"]["url"] =
        json!("https://h.example/?c={click_id}&k=s3cr3t%2Dt0ken&u=%2Fp%3Fk%3Ds3cr3t%252Dt0ken");
    world.post("/api/v1/apply", &json!({ "document": document })).await.expect(200);
    let answer = world.get("/api/v1/partners/acme/sheet").await.expect(200).to_string();
    assert!(!answer.contains("s3cr3t"), "{answer}");
    assert!(answer.contains("&u=%2Fp%3Fk%3D••••"), "{answer}");
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
async fn a_link_speaks_its_dialect_and_has_its_other_addresses() {
    let world = World::new();
    let mut document = document();
    document["links"]["zen-summer"]["dialect"] = json!("appsflyer");
    document["links"]["zen-summer"]["also"] =
        json!(["/com.example.shop?pid=zen_int", "https://click.example/com.example.shop?pid=zen_int"]);
    world.post("/api/v1/apply", &json!({ "document": document })).await.expect(200);
    let sheet = sheet(&world, "/api/v1/partners/zen/sheet").await;
    let link = &sheet.links[0];
    assert_eq!(
        (link.click_url.as_str(), link.server_url.as_str()),
        (
            "https://go.shop.example/c/zen-summer?clickid={click_id}",
            "https://go.shop.example/c/zen-summer?clickid={click_id}&redirect=false&af_ip={ip}&af_ua={user_agent}",
        )
    );
    assert_eq!(
        link.also,
        [
            "https://go.shop.example/com.example.shop?pid=zen_int",
            "https://click.example/com.example.shop?pid=zen_int"
        ]
    );
    for text in [markdown::page(&sheet), html::page(&sheet).expect("a page")] {
        assert!(text.contains("com.example.shop?pid=zen_int") && text.contains("click.example"), "{text}");
    }
}

#[tokio::test]
async fn a_rule_is_told_in_sentences() {
    let world = World::new();
    let mut document = document();
    document["partner_groups"] = json!({ "nets": { "name": "Big nets", "partners": ["acme", "odd"] } });
    document["rules"]["grouped"] = json!({
        "app": "shop", "group": "nets", "on": "purchase", "delay": "10m", "share_revenue": { "percent": 70 },
        "when": { "country": ["DE", "AT"], "platform": ["android"], "min_revenue": { "amount": 50, "currency": "EUR" } },
        "url": "https://{cfg.host}/p?c={click_id}&d=[DID]&a={revenue}&m={revenue_minor}&v={event_value}&p={partner}&n={partner_name}&s={signature}",
        "dialect": "generic",
        "macros": { "DID": "gaid|lower|sha1" },
        "signatures": [{ "hash": "hmac-sha1", "encoding": "base64", "key": "cfg.token", "message": ["{partner_click_id}", "{timestamp}"], "join": ":" }],
    });
    document["apps"]["site"]["events"] = json!({ "registered": "signup" });
    document["rules"]["lead"] = json!({
        "app": "site", "partner": "acme", "on": "signup", "rename": { "registered": "lead" },
        "url": "https://{cfg.host}/l?c={click_id}&e={event_name}&m={mapped_event_name}",
    });
    document["rules"]["taken-back"] = json!({
        "app": "site", "partner": "acme", "on": "rejected",
        "url": "https://{cfg.host}/r?c={click_id}&e={event_name}&o={old_status}&w={reject_reason}&t={relates_to}",
    });
    document["rules"]["changed"] = json!({
        "app": "site", "partner": "acme", "on": "status_change", "url": "https://{cfg.host}/s?c={click_id}&s={status}",
    });
    world.post("/api/v1/apply", &json!({ "document": document })).await.expect(200);
    let told = sheet(&world, "/api/v1/partners/acme/sheet").await;
    let postback = |rule: &str| told.postbacks.iter().find(|postback| postback.rule == rule).expect(rule);
    let grouped = postback("grouped");
    insta::assert_json_snapshot!("sheet_grouped", grouped);
    assert_eq!(grouped.also, [], "everything has words");
    for text in [markdown::page(&told), html::page(&told).expect("a page")] {
        for raw in ["cfg.token", "hmac-sha1", "min_revenue", "&quot;country", "\"country"] {
            assert!(
                !text.contains(&format!("{raw}&quot;")) && !text.contains(&format!("{raw}\"")),
                "{raw}: {text}"
            );
        }
        for words in [
            "Only from DE or AT.",
            "Sent 10 min after we know of it.",
            "keyed with the secret that you were given",
        ] {
            assert!(text.contains(words), "{words}: {text}");
        }
    }
    let rejected = postback("taken-back");
    assert_eq!(
        rejected.fires,
        "For each conversion in Shop's site that is rejected, if it was won by this partner's click."
    );
    assert!(
        rejected.example.as_ref().expect("a sample").line.contains("e=purchase&o=approved&w=returned&t=evt_"),
        "{:?}",
        rejected.example
    );
    let lead = &postback("lead").example.as_ref().expect("a sample").line;
    assert!(lead.ends_with("e=registered&m=lead"), "{lead}");
    assert!(postback("changed").fires.contains("whose status changes to approved or pending"));
    let zen = sheet(&world, "/api/v1/partners/zen/sheet").await;
    assert!(zen.postbacks.iter().all(|postback| postback.rule != "grouped"), "zen is not in the group");
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
