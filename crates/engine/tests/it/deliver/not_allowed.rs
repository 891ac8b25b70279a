//! What the operator's settings do not allow: held as long as they do not, bounded by what bounds everything that waits,
//! and sent once a server is started that allows it. The sender and its guard are the real ones.

use roundtrip_domain::endpoint::{Endpoint, NotAllowed, Wait};
use roundtrip_store::ledger::{WhyAsked, why};

use super::*;

const MINUTE: i64 = 60_000;
const HOUR: i64 = 60 * MINUTE;

/// A sender of a server that was started with those switches.
fn sender(allow_plain_http: bool, allow_private: &[&str]) -> Sender {
    let allow_private = allow_private.iter().map(|block| block.parse().expect("a subnet")).collect();
    let guard = Guard { allow_plain_http, allow_private, ..Guard::default() };
    Sender::new(&sender::Config::default(), guard).expect("a sender")
}

/// A house with one rule, a sender, and a clock that the test moves.
async fn house(rule: Value, sender: Sender) -> House {
    let mut house = House::new(&with(json!({"tell": rule})), &[10_000, 60_000]).await;
    house.config.clock = Clock::manual(Clock::System.now());
    house.config.sender = sender;
    house
}

impl House {
    async fn installs_of(&self, n: usize) -> Vec<Id<kind::Event>> {
        let mut ids = Vec::new();
        for n in 0..n {
            let click = self.click("game-acme", &format!("click_id=p{n}")).await;
            let event = self.event("install").of(&format!("i{n}")).click_text(&click);
            ids.push(self.world.record(event).await);
        }
        ids
    }

    async fn told(&self, ids: &[Id<kind::Event>]) -> Vec<DeliveryStory> {
        let mut told = Vec::new();
        for id in ids {
            told.extend(self.world.story(*id).await.deliveries);
        }
        told
    }

    /// Waits until the deliveries of these are as wanted.
    async fn until_told(
        &self,
        ids: &[Id<kind::Event>],
        what: &str,
        wanted: impl Fn(&[DeliveryStory]) -> bool,
    ) -> Vec<DeliveryStory> {
        let deadline = tokio::time::Instant::now() + PATIENCE;
        let mut look = tokio::time::interval(Duration::from_millis(10));
        loop {
            let told = self.told(ids).await;
            if told.len() == ids.len() && wanted(&told) {
                return told;
            }
            assert!(tokio::time::Instant::now() < deadline, "{what} did not happen: {told:?}");
            look.tick().await;
        }
    }

    fn refused(&self, endpoint: Endpoint) -> Option<NotAllowed> {
        self.world.ledger.live().get(&(self.world.workspace, endpoint))?.not_allowed
    }

    /// Moves the time behind the next probe, and waits until that was looked at.
    async fn probe(&self, ids: &[Id<kind::Event>]) {
        self.config.clock.advance(2 * HOUR);
        let now = self.config.clock.now();
        self.until_told(ids, "a probe", |told| {
            told.iter().any(|d| d.state != "scheduled" || d.due.is_some_and(|due| due > now))
        })
        .await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_not_allowed_is_held_until_the_server_allows_it() {
    for (what, off) in
        [(NotAllowed::PlainHttp, sender(false, &["127.0.0.0/8"])), (NotAllowed::Address, sender(true, &[]))]
    {
        let receiver = Receiver::polite().await;
        let mut house = house(rule(receiver.address, ""), off).await;
        let (rule, partner) = (house.world.rule("tell"), house.world.partner("acme"));
        let endpoint = Endpoint::Postback { rule, partner };
        let engine = Engine::start(house.config.clone());
        let ids = house.installs_of(3).await;
        house.until_told(&ids, "a refusal", |told| told.iter().any(|d| !d.attempts.is_empty())).await;
        // Far beyond the schedule of three sends, and beyond a day.
        for _ in 0..13 {
            house.probe(&ids).await;
        }
        let told = house.told(&ids).await;
        assert!(told.iter().all(|d| (d.state.as_str(), d.sends) == ("scheduled", 0)), "{told:?}");
        // What the breaker held back was not looked at; the oldest is looked at again and again.
        assert!(told.iter().all(|d| d.attempts.len() <= 1), "kept once: {told:?}");
        for delivery in told.iter().filter(|d| !d.attempts.is_empty()) {
            assert_eq!(delivery.attempts[0].n, 1);
            assert_eq!(delivery.reason, what.code());
            let attempt = &delivery.attempts[0];
            assert_eq!((attempt.outcome.as_str(), attempt.status), (what.code(), None));
            assert!(
                attempt.next.starts_with("held: ") && attempt.next.contains(what.switch()),
                "{attempt:?}"
            );
            assert!(attempt.body.contains(what.switch()), "the evidence says what allows it: {attempt:?}");
        }
        let deadline = tokio::time::Instant::now() + PATIENCE;
        let mut look = tokio::time::interval(Duration::from_millis(10));
        while house.refused(endpoint) != Some(what) {
            assert!(tokio::time::Instant::now() < deadline, "the picture says so");
            look.tick().await;
        }
        let live = house.world.ledger.live();
        let asked = WhyAsked {
            delivery: told[0].id,
            due: told[0].due.expect("it waits"),
            sends: 0,
            is_delayed: false,
        };
        let live = live.get(&(house.world.workspace, endpoint));
        assert_eq!(why(asked, None, live, house.config.clock.now()).wait, Wait::NotAllowed(what));
        let stats = engine.stats();
        let count =
            |counter: &std::sync::atomic::AtomicU64| counter.load(std::sync::atomic::Ordering::Relaxed);
        assert_eq!((count(&stats.dead), count(&stats.retried), count(&stats.breakers_opened)), (0, 0, 0));
        house.world.books_balance().await;
        engine.stop().await;
        assert!(receiver.seen.requests().is_empty());

        // The same data, and a server that was started with the switches.
        house.config.sender = sender(true, &["127.0.0.0/8"]);
        house.config.clock.advance(MINUTE);
        let engine = Engine::start(house.config.clone());
        let told = house
            .until_told(&ids, "the deliveries", |told| told.iter().all(|d| d.state == "delivered"))
            .await;
        assert!(told.iter().all(|d| d.sends == 1), "the schedule begins with the first send: {told:?}");
        assert_eq!(receiver.seen.requests().len(), 3);
        house.world.books_balance().await;
        engine.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_not_allowed_waits_no_longer_than_its_receiver_accepts_it_or_than_it_is_held() {
    let receiver = Receiver::polite().await;
    let mut bounded = rule(receiver.address, "");
    bounded["accepts_within"] = json!("2h");
    let windowed = house(bounded, sender(false, &[])).await;
    let engine = Engine::start(windowed.config.clone());
    let ids = windowed.installs_of(1).await;
    windowed.until_told(&ids, "a refusal", |told| !told[0].attempts.is_empty()).await;
    windowed.config.clock.advance(3 * HOUR);
    let told = windowed.until_told(&ids, "the end", |told| told[0].state == "expired").await;
    assert_eq!(told[0].reason, "outside_acceptance_window");
    windowed.world.books_balance().await;
    engine.stop().await;

    let held = house(rule(receiver.address, ""), sender(false, &[])).await;
    let engine = Engine::start(held.config.clone());
    let ids = held.installs_of(3).await;
    held.until_told(&ids, "a refusal", |told| told.iter().any(|d| !d.attempts.is_empty())).await;
    held.config.clock.advance(31 * 24 * HOUR);
    // One that is too old says nothing of the next one: all of them end without a wait in between.
    let told = held.until_told(&ids, "the end", |told| told.iter().all(|d| d.state == "expired")).await;
    assert!(told.iter().all(|d| d.reason == "held_too_long"), "{told:?}");
    held.world.books_balance().await;
    engine.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_name_that_leads_to_a_private_address_is_held_and_our_own_listener_is_not() {
    let resolve = Resolve::scripted(|_| Ok(vec!["10.1.2.3".parse().expect("an address")]));
    let url = "https://tracker.example/p?click={click_id}";
    let document = with(json!({"tell": {"app": "game", "on": "install", "url": url}}));
    let house = House::with_names(&document, &[10], resolve).await;
    let engine = Engine::start(house.config.clone());
    let ids = house.installs_of(1).await;
    let told = house.until_told(&ids, "a refusal", |told| !told[0].attempts.is_empty()).await;
    assert_eq!((told[0].state.as_str(), told[0].reason.as_str()), ("scheduled", "refused_address"));
    engine.stop().await;

    let receiver = Receiver::polite().await;
    let guard = Guard {
        allow_private: vec!["127.0.0.0/8".parse().expect("a subnet")],
        allow_plain_http: true,
        own_listeners: vec![receiver.address],
        ..Guard::default()
    };
    let sender = Sender::new(&sender::Config::default(), guard).expect("a sender");
    let house = self::house(rule(receiver.address, ""), sender).await;
    let engine = Engine::start(house.config.clone());
    let ids = house.installs_of(1).await;
    let told = house.until_told(&ids, "the end", |told| told[0].state == "dead").await;
    assert_eq!(told[0].reason, "own_listener");
    engine.stop().await;
}
