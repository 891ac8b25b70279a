//! Callbacks that clicks bring: who is called, with what, and when nobody is.
//!
//! A callback names a public host over https without a port, so no receiver of a test can stand there. What is
//! looked at is the request that was written down for the host that DNS was asked for, and that the guard refuses it
//! an address inside a private network.

use std::io;
use std::sync::Mutex;

use roundtrip_domain::link_dialect::CallbackFault;
use roundtrip_domain::postback::{Detail, Suppressed};

use super::*;

/// A rule for acme's callbacks, allowed or not.
fn document(is_allowed: bool) -> Value {
    let mut document = with(json!({"own": {"app": "game", "on": "install", "callback": true}}));
    document["partners"]["acme"]["in_link_callbacks"] = json!(is_allowed);
    document
}

async fn click(house: &House, url: &str) -> String {
    let url = url.replace('%', "%25").replace('&', "%26").replace('?', "%3F");
    let query = format!("label=l%201&install_callback={url}");
    house.touch_as(TouchKind::Click, LinkDialect::Adjust, "game-acme", &query).await
}

/// What names resolve to, and the names that were asked for.
fn names(found: &'static str) -> (Resolve, Arc<Mutex<Vec<String>>>) {
    let asked = Arc::new(Mutex::new(Vec::new()));
    let resolve = {
        let asked = asked.clone();
        Resolve::scripted(move |host| {
            asked.lock().expect("nobody panics with it").push(host.to_owned());
            found.parse().map(|ip| vec![ip]).map_err(|_| io::Error::other("no such name"))
        })
    };
    (resolve, asked)
}

#[tokio::test(flavor = "multi_thread")]
async fn each_click_is_told_at_its_own_callback() {
    let (resolve, asked) = names("nowhere");
    let house = House::with_names(&document(true), &[], resolve).await;
    let engine = Engine::start(house.config.clone());
    for host in ["a.partner.example", "b.partner.example"] {
        let url = format!("https://{host}/p?e={{event_name}}&l={{label}}&t={{app_token}}&s={{cfg.token}}");
        let click = click(&house, &url).await;
        let id = house.world.record(house.event("install").of(host).click_text(&click)).await;
        let story = house.until(id, "the delivery", finished).await;
        let delivery = &story.deliveries[0];
        assert_eq!((delivery.state.as_str(), delivery.sends), ("dead", 1), "{story:?}");
        let attempt = &delivery.attempts[0];
        assert_eq!(attempt.outcome, "dns");
        let body: Value = serde_json::from_str(&attempt.body).expect("evidence");
        assert_eq!(body["origin"], format!("https://{host}"));
        let line = body["request"]["line"].as_str().expect("a request line");
        // A setting would be masked in the evidence: that nothing stands there says that nothing was sent.
        let target = line.split(' ').nth(1);
        assert_eq!(target, Some("/p?e=install&l=l%201&t=&s="), "a click's writer reads no settings");

        // A replay goes where the first one went.
        let replayed =
            house.world.ledger.delivery_replay(house.world.workspace, delivery.id, Clock::System.now()).await;
        assert!(matches!(replayed, Ok(Replay::Planned(_))), "{replayed:?}");
        let story = house.until(id, "the replay", |s| s.deliveries.len() == 2 && finished(s)).await;
        let again: Value = serde_json::from_str(&story.deliveries[1].attempts[0].body).expect("evidence");
        assert_eq!(
            (&again["origin"], &again["request"]["line"]),
            (&body["origin"], &body["request"]["line"])
        );
    }
    let [a, b] = ["a.partner.example", "b.partner.example"];
    assert_eq!(*asked.lock().expect("nobody panicked with it"), [a, a, b, b]);
    house.world.books_balance().await;
    engine.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_public_name_with_a_private_address_is_not_called() {
    let (resolve, _) = names("10.1.2.3");
    let house = House::with_names(&document(true), &[5], resolve).await;
    let engine = Engine::start(house.config.clone());
    let click = click(&house, "https://a.partner.example/").await;
    let id = house.world.record(house.event("install").of("i1").click_text(&click)).await;
    let story = house.until(id, "the delivery", finished).await;
    let delivery = &story.deliveries[0];
    assert_eq!((delivery.state.as_str(), delivery.reason.as_str()), ("dead", "refused_address"));
    engine.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_not_allowed_is_neither_planned_nor_sent() {
    let (resolve, asked) = names("nowhere");
    let house = House::with_names(&document(false), &[], resolve).await;
    let engine = Engine::start(house.config.clone());
    let clicked = click(&house, "https://a.partner.example/").await;
    let id = house.world.record(house.event("install").of("i1").click_text(&clicked)).await;
    let story = house.until(id, "the decision", |s| !s.rules.is_empty()).await;
    assert_eq!(story.rules[0].suppressed, Some(Suppressed::CallbackRefused));
    let detail =
        Detail::Callback { parameter: "install_callback".into(), fault: Some(CallbackFault::NotAllowed) };
    assert_eq!(story.rules[0].detail, Some(detail));
    assert!(story.deliveries.is_empty());
    engine.stop().await;

    // Planned while it was allowed, and due after it no longer was.
    house.world.apply(&document(true), false).await;
    let clicked = click(&house, "https://a.partner.example/").await;
    let engine = Engine::start(house.config.clone());
    let id = house.world.record(house.event("install").of("i2").click_text(&clicked)).await;
    let story = house.until(id, "the delivery", finished).await;
    let planned = story.deliveries[0].id;
    let before = asked.lock().expect("nobody panicked with it").len();
    assert_eq!(before, 1);
    house.world.apply(&document(false), false).await;
    let replayed =
        house.world.ledger.delivery_replay(house.world.workspace, planned, Clock::System.now()).await;
    assert!(matches!(replayed, Ok(Replay::Planned(_))), "{replayed:?}");
    let story = house.until(id, "the replay", |s| s.deliveries.len() == 2 && finished(s)).await;
    let again = &story.deliveries[1];
    assert_eq!((again.state.as_str(), again.reason.as_str(), again.sends), ("dead", "callback_refused", 0));
    assert_eq!(asked.lock().expect("nobody panicked with it").len(), before, "nobody was called");
    house.world.books_balance().await;
    engine.stop().await;
}
