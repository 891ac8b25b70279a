//! `/postback` and `/postback/validate`.

use axum::body::Body;
use http::Method;
use roundtrip_domain::event::Source;
use roundtrip_domain::id::WorkspaceNo;
use roundtrip_web::ingest::Options;
use serde_json::{Value, json};

use super::{ACME_TOKEN, Answer, CLIENT, GAME_TOKEN, TOKEN, World};

impl World {
    /// A postback with the token of `default`.
    async fn postback(&self, parameters: &str) -> Answer {
        self.get(&format!("/postback?token={TOKEN}&{parameters}")).await
    }

    async fn validate(&self, parameters: &str) -> Value {
        self.get(&format!("/postback/validate?token={TOKEN}&{parameters}")).await.expect(200)
    }

    /// A click on a link, and its id.
    async fn clicked(&self, link: &str) -> String {
        self.get(&format!("/c/{link}?click_id=partner-1")).await.click_id().to_string()
    }
}

#[tokio::test]
async fn a_conversion_is_kept_with_all_its_fields() {
    let world = World::new().await;
    let click = world.clicked("web-link").await;
    let query = format!(
        "click_id={click}&order_id=o-1&amount=19.99&commission=15&currency=USD&conversion_rate=0.92&coupon=SUN&goal=sale&ref_id=p-1&\
         ref_custom_id=x&comment=a%20b&customer_id=u-1&new_customer=true&skip_lifetime=1&custom1=c1&custom6=c6&unknown=kept"
    );
    let answer = world.postback(&query).await;
    assert_eq!((answer.status.as_u16(), answer.warnings()), (200, vec![]), "{}", answer.text());
    let event = world.event(&answer).await;
    let kept = answer.expect(200);
    assert_eq!(kept["status"], "accepted");
    assert_eq!(kept["conversion_id"].as_str().unwrap()[4..], kept["event_id"].as_str().unwrap()[4..]);
    assert_eq!((event.source, event.name.as_str()), (Source::Postback, "sale"));
    assert_eq!(event.click_id.as_deref(), Some(click.as_str()));
    assert_eq!(event.customer_id.as_deref(), Some("u-1"));
    let revenue = event.revenue.unwrap();
    assert_eq!((revenue.amount.micros, revenue.currency.unwrap().as_str()), (19_990_000, "USD"));
    let fields = event.postback.unwrap();
    assert_eq!(fields.goal.as_deref(), Some("sale"));
    assert_eq!(fields.order_id.as_deref(), Some("o-1"));
    assert_eq!(fields.commission.unwrap().text, "15");
    assert_eq!(fields.conversion_rate.as_deref(), Some("0.92"));
    assert_eq!(fields.coupon.as_deref(), Some("SUN"));
    assert_eq!((fields.ref_id.as_deref(), fields.ref_custom_id.as_deref()), (Some("p-1"), Some("x")));
    assert_eq!(fields.comment.as_deref(), Some("a b"));
    assert!(fields.new_customer && fields.skip_lifetime && !fields.pending && fields.campaign.is_some());
    assert_eq!(fields.query, query.as_bytes(), "all of it, the token aside");
    assert_eq!((event.ip, event.user_agent), (None, None));
}

#[tokio::test]
async fn parameters_come_in_the_query_in_a_form_or_in_both() {
    let world = World::new().await;
    let headers = [("content-type", "application/x-www-form-urlencoded; charset=utf-8")];
    for (uri, body) in [
        ("/postback", format!("token={TOKEN}&campaign_id=4711&coupon=c&order_id=o-1&amount=5\r\n")),
        ("/postback?campaign_id=4711&amount=5", format!("token={TOKEN}&coupon=c&order_id=o-1")),
        (
            "/postback?campaign_id=4711&amount=5",
            format!("token={TOKEN}&campaign_id=4711&coupon=c&order_id=o-1"),
        ),
    ] {
        let answer = world.call(Method::POST, "127.0.0.1", uri, &headers, body).await;
        assert_eq!(answer.status, 200, "{}", answer.text());
        let event = world.event(&answer).await;
        assert_eq!(event.name, "purchase", "the goal when none is named");
        assert_eq!(event.revenue.unwrap().amount.micros, 5_000_000);
    }
    let json_body = [("content-type", "application/json")];
    let answer = world.call(Method::POST, "127.0.0.1", "/postback", &json_body, "{}").await;
    answer.refuses(400, "header_invalid", "content-type");
}

#[tokio::test]
async fn a_namespace_is_named_by_path_or_by_host() {
    let world = World::new().await;
    let query = format!("token={ACME_TOKEN}&campaign_id=4711&coupon=c&order_id=");
    let by_path = world.get(&format!("/acme/postback?{query}1")).await;
    let by_host =
        world.get_with(&format!("/postback?{query}2"), &[("host", "acme-tracking.t.example")]).await;
    for answer in [by_path, by_host] {
        assert_eq!(answer.status, 200, "{}", answer.text());
        let acme = world.ledger.catalog().namespace("acme").unwrap().workspace;
        assert_ne!(acme, WorkspaceNo::DEFAULT);
        assert_eq!(world.event_of(&answer.body, acme).await.workspace, acme);
    }
    world.get(&format!("/postback?{query}3")).await.refuses(403, "namespace_mismatch", "token");
    world.get(&format!("/acme/postback?token={TOKEN}&campaign_id=4711&coupon=c")).await.refuses(
        403,
        "namespace_mismatch",
        "token",
    );
    world.get("/nobody/postback?x=1").await.refuses(404, "namespace_unknown", "namespace");
    world.get("/nobody/postback/validate").await.refuses(404, "namespace_unknown", "namespace");
    world.get_with("/postback", &[("host", "nobody-tracking.t.example")]).await.refuses(
        404,
        "namespace_unknown",
        "namespace",
    );
    let click = world.clicked("acme-link").await;
    world.postback(&format!("campaign_id=4711&click_id={click}")).await.refuses(
        403,
        "namespace_mismatch",
        "click_id",
    );
}

/// Sends a postback with a status and says: what became of it, how the conversion counts, what is odd.
async fn with_status(world: &World, order: &str, status: &str) -> (Value, Value, Vec<String>) {
    let answer = world.postback(&format!("campaign_id=4711&coupon=c&order_id={order}&{status}")).await;
    let warnings = answer.warnings().into_iter().map(str::to_owned).collect();
    let body = answer.expect(200);
    (body["status"].clone(), body["conversion_status"].clone(), warnings)
}

#[tokio::test]
async fn another_status_changes_the_conversion_and_the_same_again_does_not() {
    let world = World::new().await;
    let said = async |order: &'static str, status: &'static str| with_status(&world, order, status).await;
    let is = |status: &str, counts: &str| (json!(status), json!(counts), Vec::<String>::new());
    assert_eq!(said("o-1", "status=pending").await, is("accepted", "pending"));
    assert_eq!(said("o-1", "status=Hold").await, is("duplicate", "pending"));
    // The comment is the reason of the change, so another one is no difference.
    assert_eq!(said("o-1", "status=APPROVED&comment=paid").await, is("changed", "approved"));
    assert_eq!(said("o-1", "status=1").await, is("duplicate", "approved"));
    assert_eq!(said("o-1", "status=Denied&comment=returned").await, is("changed", "rejected"));
    let (status, counts, warnings) = said("o-1", "status=approved").await;
    assert_eq!((status, counts), (json!("duplicate"), json!("rejected")), "only its owner takes that back");
    assert_eq!(warnings, ["status_final"]);

    let first = world.postback("campaign_id=4711&coupon=c&order_id=o-1").await;
    assert_eq!(first.body["status"], "duplicate");
    let id = first.body["event_id"].as_str().expect("an id").parse().expect("an event's id");
    let story = world.ledger.story(WorkspaceNo::DEFAULT, id).await.expect("a store").expect("it is kept");
    assert!(story.event.postback.as_ref().is_some_and(|p| p.pending), "as it was at first");
    let history: Vec<_> = story
        .changes
        .iter()
        .map(|c| (c.change.from.name(), c.change.to.name(), c.change.by.as_str(), c.change.reason.as_deref()))
        .collect();
    assert_eq!(
        history,
        [
            ("pending", "approved", "postback", Some("paid")),
            ("approved", "rejected", "postback", Some("returned"))
        ]
    );
}

#[tokio::test]
async fn a_first_word_can_be_any_status_and_words_that_nobody_uses_are_named() {
    let world = World::new().await;
    let (status, counts, _) = with_status(&world, "o-1", "status=rejected").await;
    assert_eq!((status, counts), (json!("accepted"), json!("rejected")));
    let (_, counts, _) = with_status(&world, "o-2", "status=sale").await;
    assert_eq!(counts, json!("approved"));
    let (status, counts, warnings) = with_status(&world, "o-3", "status=maybe").await;
    assert_eq!(
        (status, counts, warnings),
        (json!("accepted"), Value::Null, vec!["status_unknown".to_owned()])
    );
    // Without an order id the click and the goal tell which conversion is meant.
    let click = world.clicked("web-link").await;
    world.postback(&format!("click_id={click}&goal=lead&status=pending")).await.expect(200);
    let changed = world.postback(&format!("click_id={click}&goal=lead&status=approved")).await;
    assert_eq!(changed.expect(200)["status"], "changed");
}

#[tokio::test]
async fn a_word_for_a_repeat_says_nothing_about_the_first_one() {
    let world = World::new().await;
    with_status(&world, "o-1", "status=approved").await;
    for word in ["duplicate", "Double"] {
        let said = with_status(&world, "o-1", &format!("status={word}")).await;
        assert_eq!(said, (json!("duplicate"), Value::Null, vec![]));
    }
    let (_, counts, _) = with_status(&world, "o-1", "status=approved").await;
    assert_eq!(counts, json!("approved"), "the first one is what it was");
    let (_, counts, _) = with_status(&world, "o-2", "status=duplicate").await;
    assert_eq!(counts, json!("rejected"), "a first one is booked as that");
}

#[tokio::test]
async fn a_status_is_applied_to_what_it_matches() {
    let world = World::new().await;
    let one = world.clicked("web-link").await;
    let two = world.clicked("web-link").await;
    let first = format!("click_id={one}&order_id=o-1&amount=10&customer_id=u&status=pending");
    world.postback(&first).await.expect(200);
    for other in [
        format!("click_id={one}&order_id=o-1&amount=11&status=approved"),
        format!("click_id={one}&order_id=o-1&amount=10&currency=USD&status=approved"),
        format!("click_id={two}&order_id=o-1&amount=10&status=approved"),
        format!("click_id={one}&order_id=o-1&amount=10&customer_id=v&status=rejected"),
    ] {
        let answer = world.postback(&other).await;
        assert_eq!(answer.warnings(), ["fields_differ"], "{other}");
        let body = answer.expect(200);
        assert_eq!((&body["status"], &body["conversion_status"]), (&json!("duplicate"), &json!("pending")));
        let message = body["warnings"][0]["message"].as_str().expect("a message");
        assert!(message.contains("was not applied"), "{message}");
    }
    // What it leaves out it does not deny; what else differs is told of, and the comment is the reason.
    let rest = format!("click_id={one}&order_id=o-1&coupon=SUN&comment=paid&status=approved");
    let answer = world.postback(&rest).await;
    assert_eq!(answer.warnings(), ["fields_differ"]);
    let body = answer.expect(200);
    assert_eq!((&body["status"], &body["conversion_status"]), (&json!("changed"), &json!("approved")));
    let message = body["warnings"][0]["message"].as_str().expect("a message");
    assert!(message.contains("coupon") && !message.contains("comment"), "{message}");

    // Without an order id anything else can be another conversion of the same click.
    let by_click = format!("click_id={one}&goal=lead");
    world.postback(&format!("{by_click}&status=pending")).await.expect(200);
    let other = world.postback(&format!("{by_click}&coupon=SUN&status=approved")).await;
    assert_eq!(other.warnings(), ["deduplicated_by_click", "fields_differ"]);
    let body = other.expect(200);
    assert_eq!((&body["status"], &body["conversion_status"]), (&json!("duplicate"), &json!("pending")));
    let same = world.postback(&format!("{by_click}&comment=paid&status=approved")).await.expect(200);
    assert_eq!(same["status"], "changed");
}

#[tokio::test]
async fn a_booking_without_proof_is_approved_by_nothing_but_its_like() {
    let world = World::with(Options { allow_plain_http: true, ..Options::default() }).await;
    let stranger = "/postback?campaign_id=4714&coupon=mine&order_id=1&amount=99";
    world.call(Method::GET, "203.0.113.1", stranger, &[], Body::empty()).await.expect(200);
    for other in ["coupon=c&amount=99", "coupon=mine", "coupon=mine&amount=98"] {
        let query = format!("campaign_id=4714&order_id=1&{other}&status=approved");
        let answer = world.postback(&query).await;
        assert!(answer.warnings().contains(&"fields_differ"), "{other}");
        let body = answer.expect(200);
        assert_eq!((&body["status"], &body["conversion_status"]), (&json!("duplicate"), &json!("pending")));
    }
    let like = world.postback("campaign_id=4714&order_id=1&coupon=mine&amount=99&status=approved").await;
    assert_eq!(like.expect(200)["status"], "changed");
}

#[tokio::test]
async fn nobody_approves_a_conversion_without_proof_of_who_it_is() {
    let world = World::with(Options { allow_plain_http: true, ..Options::default() }).await;
    let send = |query: &'static str| {
        let world = &world;
        async move {
            world.call(Method::GET, "203.0.113.1", &format!("/postback?{query}"), &[], Body::empty()).await
        }
    };
    let open = send("campaign_id=4714&coupon=c&order_id=1&status=approved").await;
    assert_eq!(open.warnings(), ["pending", "status_untrusted"]);
    assert!(world.event(&open).await.postback.unwrap().pending);
    let again = send("campaign_id=4714&coupon=c&order_id=1&status=approved").await;
    assert_eq!(
        (&again.body["status"], &again.body["conversion_status"]),
        (&json!("duplicate"), &Value::Null)
    );
    // Who has the token may.
    let token = format!("/postback?token={TOKEN}&campaign_id=4714&coupon=c&order_id=1&status=approved");
    assert_eq!(world.get(&token).await.expect(200)["status"], "changed");
}

#[tokio::test]
async fn a_token_an_address_or_the_owner_s_own_hand_lets_in() {
    let world = World::with(Options { allow_plain_http: true, ..Options::default() }).await;
    let send = |peer: &'static str, query: &'static str| {
        let world = &world;
        async move { world.call(Method::GET, peer, &format!("/postback?{query}"), &[], Body::empty()).await }
    };
    let listed = send("198.51.100.7", "campaign_id=4711&coupon=c&order_id=1").await;
    assert_eq!(listed.status, 200, "{}", listed.text());
    assert!(!world.event(&listed).await.postback.unwrap().pending);
    send("198.51.100.8", "campaign_id=4711&coupon=c&order_id=2").await.refuses(401, "token_missing", "token");
    send("198.51.100.7", "campaign_id=4713&coupon=c&order_id=2").await.refuses(401, "token_missing", "token");
    send("198.51.100.7", "campaign_id=nobody&coupon=c").await.refuses(401, "token_missing", "token");
    send("198.51.100.7", "token=&campaign_id=4713&coupon=c").await.refuses(401, "token_missing", "token");
    send("198.51.100.7", "token=wrong&campaign_id=4711&coupon=c").await.refuses(
        401,
        "token_invalid",
        "token",
    );
    let open = send("203.0.113.1", "campaign_id=4714&coupon=c&order_id=1").await;
    assert_eq!(open.warnings(), ["pending"]);
    assert!(world.event(&open).await.postback.unwrap().pending, "anyone's word waits for approval");

    world.get(&format!("/postback?token={CLIENT}&campaign_id=4711&coupon=c")).await.refuses(
        403,
        "key_kind_wrong",
        "token",
    );
    world.get(&format!("/postback?token={GAME_TOKEN}&campaign_id=4711&coupon=c")).await.refuses(
        401,
        "token_invalid",
        "token",
    );
    world
        .get(&format!("/postback?token={GAME_TOKEN}&campaign_id=4713&coupon=c&order_id=9"))
        .await
        .expect(200);
    // In acme nobody could be let in without a token.
    world.get("/acme/postback?campaign_id=4711&coupon=c").await.refuses(401, "token_missing", "token");
    assert_eq!(world.count(|c| &c.credentials_refused), 8);
}

#[tokio::test]
async fn what_cannot_be_right_is_refused_in_order() {
    let world = World::new().await;
    let click = world.clicked("web-link").await;
    let of_strict = format!("campaign_id=4712&click_id={click}");
    for (query, status, code, field) in [
        ("amount=%zz&coupon=c", 400, "percent_escape_invalid", "amount"),
        ("comment=%ff&coupon=c", 400, "utf8_invalid", "comment"),
        ("amount=1&amount=2", 400, "parameter_repeated", "amount"),
        ("coupon=c", 400, "campaign_missing", "campaign_id"),
        ("click_id=nonsense", 400, "campaign_missing", "campaign_id"),
        ("campaign_id=9999&coupon=c", 400, "campaign_unknown", "campaign_id"),
        (&of_strict, 400, "campaign_mismatch", "campaign_id"),
        ("campaign_id=4711", 400, "identity_missing", "click_id"),
        ("campaign_id=4711&click_id=&coupon=%20", 400, "identity_missing", "click_id"),
        ("campaign_id=4711&ref_id=nobody", 400, "partner_unknown", "ref_id"),
        ("campaign_id=4712&coupon=c&order_id=1&amount=1", 400, "parameter_missing", "custom1"),
        ("campaign_id=4712&coupon=c&amount=-1", 400, "parameter_missing", "order_id"),
        ("campaign_id=4711&coupon=c&amount=1,5", 400, "amount_invalid", "amount"),
        ("campaign_id=4711&coupon=c&amount=-5", 400, "amount_negative", "amount"),
        ("campaign_id=4711&coupon=c&amount=1e15", 400, "amount_too_large", "amount"),
        ("campaign_id=4711&coupon=c&commission=x", 400, "amount_invalid", "commission"),
        ("campaign_id=4711&coupon=c&conversion_rate=x", 400, "amount_invalid", "conversion_rate"),
        ("campaign_id=4711&coupon=c&currency=XXQ", 400, "currency_invalid", "currency"),
        ("campaign_id=4711&coupon=c&new_customer=maybe", 400, "parameter_invalid", "new_customer"),
        ("campaign_id=4711&coupon=c&goal=a%0Ab", 400, "event_name_invalid", "goal"),
    ] {
        world.postback(query).await.refuses(status, code, field);
    }
    world.postback(&format!("campaign_id=4711&coupon={}", "x".repeat(300))).await.refuses(
        400,
        "value_too_long",
        "coupon",
    );
    world.postback(&format!("campaign_id=4711&coupon=c&x={}", "x".repeat(3_000))).await.refuses(
        400,
        "value_too_long",
        "x",
    );
    let error = world.get(&format!("/postback?token={TOKEN}x&coupon=c")).await;
    assert!(!error.text().contains(TOKEN), "no token is repeated");
    assert_eq!(world.count(|c| &c.postbacks_rejected), 22);
    assert_eq!(world.count(|c| &c.postbacks_accepted), 0);
}

#[tokio::test]
async fn a_click_that_is_not_to_be_found_does_not_lose_the_conversion() {
    let world = World::new().await;
    let game = world.clicked("game-link").await;
    for (click_id, word) in [
        ("not-a-click-id", "click_id_malformed"),
        ("%7Bclick_id%7D", "click_id_malformed"),
        ("27d65ddb-803f-4f59-88b3-753c8059dcba", "click_id_not_ours"),
        ("0198c3d2-2a00-7005-8000-00630badcafe", "click_id_not_ours"),
        (&game, "click_other_app"),
    ] {
        let answer =
            world.postback(&format!("campaign_id=4711&order_id={click_id}&click_id={click_id}")).await;
        assert_eq!((answer.status.as_u16(), answer.warnings()), (200, vec![word]), "{}", answer.text());
        let event = world.event(&answer).await;
        assert_eq!(
            event.click_id.as_deref(),
            Some(click_id.replace("%7B", "{").replace("%7D", "}").as_str()),
            "kept as it came"
        );
        assert_eq!(event.findings, [word]);
    }
    let click = world.clicked("web-link").await;
    for form in [click.clone(), click.to_uppercase(), click.replace('-', "")] {
        let answer = world.postback(&format!("order_id={form}&click_id={form}")).await;
        assert_eq!(
            (answer.status.as_u16(), answer.warnings()),
            (200, vec![]),
            "the campaign is the click's: {}",
            answer.text()
        );
    }
    // A record that was lost when it was made: ours by its check, and nowhere.
    world.faults.fail_insert(1);
    let lost = world.clicked("web-link").await;
    let answer = world.postback(&format!("campaign_id=4711&order_id=lost&click_id={lost}")).await;
    assert_eq!(
        (answer.status.as_u16(), answer.warnings()),
        (200, vec!["click_not_stored"]),
        "{}",
        answer.text()
    );
}

#[tokio::test]
async fn a_repeat_is_a_duplicate_and_the_first_word_stands() {
    let world = World::new().await;
    let click = world.clicked("web-link").await;
    let status = |answer: &Answer| answer.body["status"].as_str().unwrap_or_default().to_owned();

    let first = world.postback("campaign_id=4711&coupon=c&order_id=1&amount=5").await;
    let again = world.postback("amount=5.00&campaign_id=4711&order_id=1&coupon=c&extra=1").await;
    assert_eq!((status(&first), status(&again)), ("accepted".into(), "duplicate".into()));
    assert_eq!(first.body["event_id"], again.body["event_id"]);
    assert_eq!(again.warnings(), Vec::<&str>::new());
    let other = world.postback("campaign_id=4711&coupon=c&order_id=1&amount=6").await;
    assert_eq!(
        (other.status.as_u16(), status(&other), other.warnings()),
        (200, "duplicate".into(), vec!["fields_differ"])
    );
    assert_eq!(world.event(&other).await.revenue.unwrap().amount.micros, 5_000_000);
    let goal = world.postback("campaign_id=4711&coupon=c&order_id=1&amount=5&goal=upsell").await;
    assert_eq!(status(&goal), "accepted", "another goal of the same order");

    let by_click = world.postback(&format!("click_id={click}")).await;
    assert_eq!((status(&by_click), by_click.warnings()), ("accepted".into(), vec!["deduplicated_by_click"]));
    let by_click = world.postback(&format!("click_id={}", click.to_uppercase().replace('-', ""))).await;
    assert_eq!(status(&by_click), "duplicate", "the same id in another form");
    for _ in 0..2 {
        let nothing = world.postback("campaign_id=4711&coupon=c").await;
        assert_eq!((status(&nothing), nothing.warnings()), ("accepted".into(), vec!["not_deduplicated"]));
    }
    assert_eq!((world.count(|c| &c.postbacks_accepted), world.count(|c| &c.postbacks_duplicate)), (5, 3));
}

#[tokio::test]
async fn validate_says_everything_and_records_nothing() {
    let world = World::new().await;
    let click = world.clicked("web-link").await;
    let body =
        world.validate("campaign_id=4712&amount=-1&currency=XXQ&commission=a&new_customer=maybe&x=%zz").await;
    assert_eq!((&body["valid"], &body["would_book"]), (&json!(false), &Value::Null));
    let problems: Vec<_> = body["problems"]
        .as_array()
        .unwrap()
        .iter()
        .map(|p| (p["code"].as_str().unwrap(), p["field"].as_str().unwrap()))
        .collect();
    assert_eq!(
        problems,
        [
            ("percent_escape_invalid", "x"),
            ("identity_missing", "click_id"),
            ("parameter_missing", "order_id"),
            ("parameter_missing", "custom1"),
            ("amount_negative", "amount"),
            ("amount_invalid", "commission"),
            ("currency_invalid", "currency"),
            ("parameter_invalid", "new_customer"),
        ]
    );
    assert!(body["problems"][0]["fix"].is_string() && body["problems"][0]["rule"].is_string());

    let body = world.validate(&format!("click_id={click}&order_id=1&amount=19.990&customer_id=u")).await;
    assert_eq!(
        body,
        json!({ "valid": true, "problems": [], "warnings": [], "would_book": {
            "event_name": "purchase", "kind": "purchase", "app": "shop", "campaign_id": "4711", "click_id": click, "partner": "p-1",
            "amount": "19.99", "currency": "EUR", "order_id": "1", "customer_id": "u", "deduplicated": true, "pending": false,
        } })
    );
    let posted = world
        .call(
            Method::POST,
            "127.0.0.1",
            "/postback/validate",
            &[],
            format!("token={TOKEN}&click_id={click}&order_id=1"),
        )
        .await;
    assert_eq!(posted.expect(200)["valid"], true);
    let acme = world
        .get(&format!("/acme/postback/validate?token={ACME_TOKEN}&campaign_id=4711&coupon=c"))
        .await
        .expect(200);
    assert_eq!((&acme["valid"], &acme["warnings"][0]["code"]), (&json!(true), &json!("not_deduplicated")));

    // Someone without credentials hears nothing of what exists.
    let stranger = world
        .get(&format!("/postback/validate?token=wrong&campaign_id=9999&click_id={click}&amount=-1"))
        .await
        .expect(200);
    assert_eq!(stranger["problems"].as_array().unwrap().len(), 1);
    assert_eq!(stranger["problems"][0]["code"], "token_invalid");

    // Nothing was recorded: the same order is new.
    let recorded = world.postback(&format!("click_id={click}&order_id=1&amount=19.99&customer_id=u")).await;
    assert_eq!(recorded.expect(200)["status"], "accepted");
    assert_eq!(world.count(|c| &c.postbacks_accepted), 1);
    assert_eq!(world.count(|c| &c.postbacks_rejected), 0);
}

#[tokio::test]
async fn what_cannot_be_stored_is_answered_503_and_over_limits_429() {
    let world = World::with(Options { postback_rate_per_s: 1, ..Options::default() }).await;
    for order in 0..10 {
        world.postback(&format!("campaign_id=4711&coupon=c&order_id={order}")).await.expect(200);
    }
    let limited = world.postback("campaign_id=4711&coupon=c&order_id=x").await;
    limited.refuses(429, "rate_limited", "");
    assert_eq!(limited.headers["retry-after"], "1");
    world.clock.advance(2_000);
    world.ledger.close().await;
    let down = world.postback("campaign_id=4711&coupon=c&order_id=x").await;
    down.refuses(503, "store_unavailable", "");
    assert!(down.headers.contains_key("retry-after"));
    assert_eq!(world.count(|c| &c.postbacks_unavailable), 1);
    // Judging needs no ledger.
    assert_eq!(world.validate("campaign_id=4711&coupon=c&order_id=x").await["valid"], true);
}
