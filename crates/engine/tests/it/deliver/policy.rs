//! How a rule's deliveries are sent, on a clock that the test moves.
//!
//! The engine runs as it is; only its time stands still until a delivery waits, and is then moved to when that is
//! due. Jitter is real, so a due time has a quarter to move in.

use roundtrip_domain::retry::ACCEPTANCE_MARGIN;
use roundtrip_domain::time::Timestamp;

use super::*;

const MINUTE: i64 = 60_000;
const HOUR: i64 = 60 * MINUTE;

/// A house whose engine lives in the test's time. That begins a minute from now, behind the clicks, which are stored
/// at the machine's time.
async fn house(rules: Value) -> House {
    let mut house = House::new(&with(rules), &[10_000, 600_000, 7_200_000]).await;
    house.config.clock = Clock::manual(Clock::System.now().plus_ms(MINUTE));
    house
}

/// A receiver that gives the same answer to each request.
async fn answering(answer: impl Into<String>) -> Receiver {
    let answer = answer.into();
    Receiver::start(move |_, mut stream, seen| {
        let answer = answer.clone();
        async move {
            while seen.request(&mut stream).await.is_some() {
                if stream.write_all(answer.as_bytes()).await.is_err() {
                    return;
                }
            }
        }
    })
    .await
}

fn answer(status: &str, headers: &str, body: &str) -> String {
    format!("HTTP/1.1 {status}\r\n{headers}content-length: {}\r\n\r\n{body}", body.len())
}

fn rule_of(receiver: &Receiver, more: Value) -> Value {
    let mut rule = rule(receiver.address, "");
    rule.as_object_mut().expect("a table").extend(more.as_object().expect("a table").clone());
    rule
}

impl House {
    /// A click and its install, which are told by the one rule; when the click was, and the event.
    async fn install(&self, at: Timestamp) -> Id<kind::Event> {
        let click = self.click("game-acme", "click_id=p1").await;
        self.world.record(self.world.event("game", "install", at).of("i1").click_text(&click)).await
    }

    /// The one delivery, once it was sent that often and waits or has ended.
    async fn after(&self, id: Id<kind::Event>, sends: u32) -> DeliveryStory {
        let what = format!("send {sends}");
        let story = self.until(id, &what, |s| s.deliveries.first().is_some_and(|d| d.sends == sends)).await;
        story.deliveries[0].clone()
    }

    /// The one delivery, once it has ended.
    async fn ended(&self, id: Id<kind::Event>) -> DeliveryStory {
        self.until(id, "the end", finished).await.deliveries[0].clone()
    }

    /// Moves the time to when the delivery is due.
    fn go_to(&self, delivery: &DeliveryStory) {
        let due = delivery.due.expect("it waits");
        self.config.clock.advance(due.since(self.config.clock.now()));
    }
}

fn end_of(delivery: &DeliveryStory) -> (&str, &str, u32) {
    (&delivery.state, &delivery.reason, delivery.sends)
}

#[tokio::test(flavor = "multi_thread")]
async fn the_last_send_is_pulled_inside_the_window_and_then_it_expires() {
    let ill = answering(answer("503 Busy", "", "")).await;
    let more = json!({"accepts_within": "24h", "retry": ["1h", "23h", "20h"], "timeout": "5s"});
    let house = house(json!({"tell": rule_of(&ill, more)})).await;
    let engine = Engine::start(house.config.clone());
    let id = house.install(house.config.clock.now()).await;
    let one = house.after(id, 1).await;
    let deadline = one.deadline.expect("it has an end");
    let since_click = deadline.since(house.config.clock.now());
    assert!(since_click > 23 * HOUR && since_click <= 24 * HOUR, "a day after the click: {since_click}");
    house.go_to(&one);
    let two = house.after(id, 2).await;
    let last = deadline.plus_ms(-5_000 - ACCEPTANCE_MARGIN.ms());
    assert_eq!(two.due, Some(last), "an hour and 23 are a day");
    assert!(two.attempts[1].next.ends_with(", the last time that there is for it"), "{two:?}");
    house.go_to(&two);
    let three = house.ended(id).await;
    assert_eq!(end_of(&three), ("expired", "outside_acceptance_window", 3));
    assert_eq!(three.attempts[2].next, "expired: outside_acceptance_window");
    assert_eq!(ill.seen.requests().len(), 3);
    let stats = engine.stats();
    assert_eq!(stats.expired.load(std::sync::atomic::Ordering::Relaxed), 1);
    assert_eq!(stats.running_out.load(std::sync::atomic::Ordering::Relaxed), 1, "said once, before");
    house.world.books_balance().await;
    engine.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_too_late_when_it_was_planned_expires_unsent_or_is_tried_once() {
    let ill = answering(answer("503 Busy", "", "")).await;
    let well = Receiver::polite().await;
    let rules = json!({
        "expire": rule_of(&well, json!({"accepts_within": "1h"})),
        "once": rule_of(&well, json!({"accepts_within": "1h", "late": "try_once"})),
        "vain": rule_of(&ill, json!({"accepts_within": "1h", "late": "try_once"})),
        "ever": rule_of(&well, json!({"accepts_within": "none"})),
    });
    let mut document = with(rules);
    document["partners"]["acme"]["accepts_within"] = json!("1h");
    let mut house = House::new(&document, &[10_000]).await;
    house.config.clock = Clock::manual(Clock::System.now().plus_ms(3 * HOUR));
    let engine = Engine::start(house.config.clone());
    let id = house.install(house.config.clock.now()).await;
    let story = house.until(id, "every end", |s| s.deliveries.len() == 4 && finished(s)).await;
    let of = |slug: &str| {
        let rule = Some(house.world.rule(slug));
        let of = |d: &&DeliveryStory| d.endpoint.postback().map(|(rule, _)| rule) == rule;
        end_of(story.deliveries.iter().find(of).expect("the delivery"))
    };
    assert_eq!(of("expire"), ("expired", "outside_acceptance_window", 0));
    assert_eq!(of("once"), ("delivered", "accepted_by_receiver", 1));
    assert_eq!(of("vain"), ("expired", "outside_acceptance_window", 1));
    assert_eq!(of("ever"), ("delivered", "accepted_by_receiver", 1));
    assert_eq!((well.seen.requests().len(), ill.seen.requests().len()), (2, 1));
    house.world.books_balance().await;
    engine.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_receiver_that_asks_to_wait_is_waited_for() {
    let busy = answering(answer("429 Slow", "retry-after: 7200\r\n", "")).await;
    let house = house(json!({"tell": rule(busy.address, "")})).await;
    let engine = Engine::start(house.config.clone());
    let began = house.config.clock.now();
    let id = house.install(began).await;
    let one = house.after(id, 1).await;
    assert_eq!(one.due.map(|due| due.since(began)), Some(2 * HOUR));
    // An hour later nothing has happened.
    house.config.clock.advance(HOUR);
    let other = house.world.record(house.world.event("game", "install", began).of("i2")).await;
    house.until(other, "a decision", |s| !s.revisions.is_empty()).await;
    assert_eq!(busy.seen.requests().len(), 1);
    house.go_to(&one);
    assert_eq!(house.after(id, 2).await.attempts[1].outcome, "http_429");
    engine.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_body_that_says_no_is_no_success() {
    let refusing = answering(answer("200 OK", "", "success=false; err_msg=Invalid click;")).await;
    let taking = answering(answer("200 OK", "", "success=true;")).await;
    let asked = json!({"contains": "success=true"});
    let again = json!({"matches": "success\\s*=\\s*true", "else": "retry"});
    let rules = json!({
        "dead": rule_of(&refusing, json!({"success": asked})),
        "retry": rule_of(&refusing, json!({"success": again, "retry": ["1s"]})),
        "well": rule_of(&taking, json!({"success": asked})),
        "mute": rule(refusing.address, ""),
    });
    let house = house(rules).await;
    let engine = Engine::start(house.config.clone());
    let id = house.install(house.config.clock.now()).await;
    let waits = |s: &Story| s.deliveries.len() == 4 && s.deliveries.iter().all(|d| d.sends == 1);
    let story = house.until(id, "a send each", waits).await;
    let waiting = story.deliveries.iter().find(|d| d.state == "scheduled").expect("one is tried again");
    assert_eq!((waiting.reason.as_str(), waiting.attempts[0].status), ("body_refused", Some(200)));
    house.go_to(waiting);
    let story = house.until(id, "every end", finished).await;
    let of = |slug: &str| {
        let rule = Some(house.world.rule(slug));
        let of = |d: &&DeliveryStory| d.endpoint.postback().map(|(rule, _)| rule) == rule;
        end_of(story.deliveries.iter().find(of).expect("the delivery"))
    };
    assert_eq!(of("dead"), ("dead", "body_refused", 1));
    assert_eq!(of("retry"), ("dead", "attempts_exhausted", 2));
    assert_eq!(of("well"), ("delivered", "accepted_by_receiver", 1));
    assert_eq!(of("mute"), ("delivered", "accepted_by_receiver", 1), "nobody asked for a body");
    house.world.books_balance().await;
    engine.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_receiver_can_stop_it() {
    let stopping = answering(answer("503 Busy", "X-Roundtrip-Abort: True\r\n", "")).await;
    let other = answering(answer("404 No", "", "")).await;
    let rules = json!({
        "stop": rule(stopping.address, ""),
        "on": rule_of(&other, json!({"retry": {"on": [404], "waits": ["1h"]}})),
    });
    let house = house(rules).await;
    let engine = Engine::start(house.config.clone());
    let id = house.install(house.config.clock.now()).await;
    let sent = |s: &Story| s.deliveries.len() == 2 && s.deliveries.iter().all(|d| d.sends == 1);
    let story = house.until(id, "a send each", sent).await;
    let of = |slug: &str| {
        let rule = Some(house.world.rule(slug));
        let of = |d: &&DeliveryStory| d.endpoint.postback().map(|(rule, _)| rule) == rule;
        end_of(story.deliveries.iter().find(of).expect("the delivery"))
    };
    assert_eq!(of("stop"), ("dead", "aborted_by_receiver", 1));
    assert_eq!(of("on"), ("scheduled", "http_404", 1), "its rule has 404 sent again");
    engine.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rule_that_is_mended_counts_for_what_waits() {
    let ill = answering(answer("404 No", "", "")).await;
    let document =
        |on: Value| with(json!({"tell": rule_of(&ill, json!({"retry": {"on": on, "waits": ["1h", "1h"]}}))}));
    let mut house = House::new(&document(json!([404])), &[]).await;
    house.config.clock = Clock::manual(Clock::System.now().plus_ms(MINUTE));
    let engine = Engine::start(house.config.clone());
    let id = house.install(house.config.clock.now()).await;
    let one = house.after(id, 1).await;
    assert_eq!(one.state, "scheduled");
    house.world.apply(&document(json!([])), false).await;
    house.go_to(&one);
    assert_eq!(end_of(&house.ended(id).await), ("dead", "refused_by_receiver", 2));
    engine.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_horizon_ends_a_schedule() {
    let ill = answering(answer("500 No", "", "")).await;
    let more = json!({"retry": {"waits": ["1h", "5h", "10h", "10h"], "for": "8h"}});
    let house = house(json!({"tell": rule_of(&ill, more)})).await;
    let engine = Engine::start(house.config.clone());
    let began = house.config.clock.now();
    let id = house.install(began).await;
    for sends in 1..=3 {
        let delivery = house.after(id, sends).await;
        if sends == 3 {
            assert_eq!(delivery.due.map(|due| due.since(began)), Some(8 * HOUR - 10 * MINUTE));
            assert!(delivery.attempts[2].next.ends_with("the last time that there is for it"));
        }
        house.go_to(&delivery);
    }
    assert_eq!(end_of(&house.ended(id).await), ("dead", "horizon_reached", 4));
    engine.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rules_own_time_for_a_send_holds() {
    let silent = Receiver::then_silent("").await;
    let house = house(json!({"tell": rule_of(&silent, json!({"timeout": "1s", "retry": []}))})).await;
    let engine = Engine::start(house.config.clone());
    let id = house.install(house.config.clock.now()).await;
    let delivery = house.ended(id).await;
    assert_eq!(end_of(&delivery), ("dead", "attempts_exhausted", 1));
    let attempt = &delivery.attempts[0];
    assert_eq!(attempt.outcome, "timeout");
    assert!((900_000..5_000_000).contains(&attempt.total_us), "a second, not ten: {}", attempt.total_us);
    engine.stop().await;
}
