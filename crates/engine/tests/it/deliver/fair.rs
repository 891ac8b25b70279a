//! Endpoints in trouble, stopped ones, rates and set clocks, over real sockets and with the clock in the test's hand.

use std::sync::Arc;
use std::sync::atomic::{AtomicU16, Ordering};

use roundtrip_domain::endpoint::{Endpoint, State, Wait};
use roundtrip_store::ledger::{
    DeliveryFilter, DeliveryState, DeliveryTest, EndpointLive, EndpointRow, EndpointWish, TEST_KIND,
};

use super::*;

/// Answers every request with the status of the moment; 0 is no answer but a reset.
struct Moody {
    receiver: Receiver,
    status: Arc<AtomicU16>,
}

impl Moody {
    async fn new(status: u16) -> Self {
        let status = Arc::new(AtomicU16::new(status));
        let now = status.clone();
        let receiver = Receiver::start(move |_, mut stream, seen| {
            let now = now.clone();
            async move {
                while seen.request(&mut stream).await.is_some() {
                    let answer = match now.load(Ordering::SeqCst) {
                        0 => return reset(stream),
                        status => format!("HTTP/1.1 {status} So\r\ncontent-length: 0\r\n\r\n"),
                    };
                    if stream.write_all(answer.as_bytes()).await.is_err() {
                        return;
                    }
                }
            }
        })
        .await;
        Self { receiver, status }
    }

    fn answers(&self, status: u16) {
        self.status.store(status, Ordering::SeqCst);
    }

    fn asked(&self) -> usize {
        self.receiver.seen.requests().len()
    }
}

/// A house with one rule towards a receiver, and a clock that the test moves.
struct Fair {
    house: House,
    moody: Moody,
    endpoint: Endpoint,
}

impl Fair {
    async fn new(status: u16, waits_ms: &[i64], more: Value) -> Self {
        let moody = Moody::new(status).await;
        let mut tell = rule(moody.receiver.address, "");
        for (key, value) in more.as_object().expect("an object") {
            tell[key] = value.clone();
        }
        let mut house = House::new(&with(json!({"tell": tell})), waits_ms).await;
        house.config.clock = Clock::manual(Clock::System.now());
        let (rule, partner) = (house.world.rule("tell"), house.world.partner("acme"));
        Self { house, moody, endpoint: Endpoint::Postback { rule, partner } }
    }

    fn pass(&self, ms: i64) {
        self.house.config.clock.advance(ms);
    }

    /// Records so many installs that acme earned.
    async fn installs(&self, names: &str, n: usize) -> Vec<Id<kind::Event>> {
        let mut ids = Vec::new();
        for n in 0..n {
            let name = format!("{names}{n}");
            let click = self.house.click("game-acme", &format!("click_id={name}")).await;
            ids.push(self.house.world.record(self.house.event("install").of(&name).click_text(&click)).await);
        }
        ids
    }

    async fn set(&self, to: State) -> Option<EndpointRow> {
        let wish = EndpointWish {
            workspace: self.house.world.workspace,
            endpoint: self.endpoint,
            to,
            reason: "maintenance".into(),
            actor: "owner".into(),
        };
        self.house.world.ledger.endpoint_set(wish, self.house.config.clock.now()).await.expect("it is set")
    }

    fn live(&self) -> Option<EndpointLive> {
        self.house.world.ledger.live().get(&(self.house.world.workspace, self.endpoint)).cloned()
    }

    async fn until(&self, what: &str, wanted: impl AsyncFn() -> bool) {
        let deadline = tokio::time::Instant::now() + PATIENCE;
        let mut look = tokio::time::interval(Duration::from_millis(5));
        while !wanted().await {
            assert!(tokio::time::Instant::now() < deadline, "{what} did not happen: {:?}", self.live());
            look.tick().await;
        }
    }

    /// Waits until the engine's picture gives this reason.
    async fn until_waits(&self, wait: Wait) {
        self.until(wait.code(), async || self.live().is_some_and(|live| live.wait == wait)).await;
    }

    /// Waits until that many are in a state.
    async fn until_in(&self, ids: &[Id<kind::Event>], state: &str, n: usize) {
        self.until(state, async || self.count(ids, state).await == n).await;
    }

    async fn count(&self, ids: &[Id<kind::Event>], state: &str) -> usize {
        let mut n = 0;
        for id in ids {
            n += self.house.world.story(*id).await.deliveries.iter().filter(|d| d.state == state).count();
        }
        n
    }

    async fn attempts(&self, ids: &[Id<kind::Event>]) -> usize {
        let mut n = 0;
        for id in ids {
            n += self.house.world.story(*id).await.deliveries.iter().map(|d| d.attempts.len()).sum::<usize>();
        }
        n
    }
}

const S: i64 = 1_000;
const HOUR: i64 = 3_600 * S;
const DAY: i64 = 24 * HOUR;

#[tokio::test(flavor = "multi_thread")]
async fn a_breaker_opens_probes_with_the_oldest_and_closes() {
    let fair = Fair::new(0, &[S; 50], json!({})).await;
    let engine = Engine::start(fair.house.config.clone());
    let mut ids = fair.installs("i", 1).await;
    fair.until("the first send", async || fair.attempts(&ids).await == 1).await;
    fair.pass(1);
    ids.extend(fair.installs("j", 19).await);
    fair.until_waits(Wait::BreakerOpen).await;
    let burnt = fair.attempts(&ids).await;
    assert!((5..=8).contains(&burnt), "five in a row and what was under way: {burnt}");
    let asked = fair.moody.asked();
    // Retries come due, first attempts wait: none is sent.
    fair.pass(29 * S);
    fair.until("another picture", async || {
        let at = fair.house.config.clock.now();
        fair.live().is_some_and(|l| l.probe_at.is_some_and(|probe| probe.since(at) <= 10 * S))
    })
    .await;
    assert_eq!((fair.moody.asked(), fair.attempts(&ids).await), (asked, burnt), "no attempt is burnt");

    fair.pass(10 * S);
    fair.until("the first probe", async || fair.attempts(&ids).await == burnt + 1).await;
    let oldest = fair.house.world.story(ids[0]).await.deliveries.remove(0);
    let probed = fair.moody.receiver.seen.requests().pop().expect("the probe");
    assert!(probed.contains(&format!("e={} ", oldest.fact)), "the oldest: {probed}");
    assert_eq!(engine.stats().breakers_opened.load(Ordering::Relaxed), 1);

    fair.moody.answers(200);
    fair.pass(80 * S);
    fair.until_in(&ids, "delivered", 20).await;
    assert_eq!(fair.attempts(&ids).await, burnt + 1 + 20, "each was sent once more");
    fair.house.world.books_balance().await;
    engine.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_paused_endpoint_holds_over_a_restart_and_releases() {
    let fair = Fair::new(200, &[S], json!({})).await;
    assert!(fair.set(State::Paused).await.is_some());
    assert!(fair.set(State::Paused).await.is_none(), "it is that already");
    let engine = Engine::start(fair.house.config.clone());
    let mut ids = fair.installs("a", 6).await;
    fair.until_in(&ids, "held", 6).await;
    engine.stop().await;
    let engine = Engine::start(fair.house.config.clone());
    ids.extend(fair.installs("b", 6).await);
    fair.until_in(&ids, "held", 12).await;
    let depth = fair.house.world.ledger.queue_depth().await.expect("a depth");
    assert_eq!((depth.waiting, depth.held), (0, 12));
    let far = fair.house.config.clock.now().plus_ms(DAY);
    let from = far.plus_ms(-3 * DAY);
    let books = fair.house.world.ledger.balance(fair.house.world.workspace, from, far).await.expect("books");
    assert_eq!(
        books.values().map(|row| (row.waiting, row.held)).fold((0, 0), |a, b| (a.0 + b.0, a.1 + b.1)),
        (0, 12)
    );
    fair.house.world.books_balance().await;
    assert_eq!(fair.moody.asked(), 0, "nothing left");
    let story = fair.house.world.story(ids[0]).await.deliveries.remove(0);
    let held = story.held.expect("why");
    assert_eq!(
        (held.state, held.reason.as_str(), held.actor.as_str()),
        (State::Paused, "maintenance", "owner")
    );

    assert!(fair.set(State::Active).await.is_some());
    fair.until_in(&ids, "delivered", 12).await;
    assert_eq!(fair.moody.asked(), 12, "each once");
    // And at once while it runs.
    fair.set(State::Paused).await;
    let late = fair.installs("c", 1).await;
    fair.until_in(&late, "held", 1).await;
    fair.set(State::Active).await;
    fair.until_in(&late, "delivered", 1).await;
    let log =
        fair.house.world.ledger.endpoint_log(fair.house.world.workspace, fair.endpoint).await.expect("a log");
    assert!(
        log.iter().any(|l| l.code == "paused" && l.actor == "owner" && l.reason == "maintenance"),
        "{log:?}"
    );
    fair.house.world.books_balance().await;
    engine.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_quota_of_a_day_goes_on_after_a_restart() {
    let mut fair = Fair::new(200, &[S], json!({})).await;
    fair.house.config.bounds.workspace_per_day = Some(3);
    let engine = Engine::start(fair.house.config.clone());
    let ids = fair.installs("a", 5).await;
    fair.until_in(&ids, "delivered", 3).await;
    fair.until_waits(Wait::Quota).await;
    engine.stop().await;
    let engine = Engine::start(fair.house.config.clone());
    fair.until_waits(Wait::Quota).await;
    assert_eq!(fair.moody.asked(), 3, "a start is no new day");
    fair.pass(DAY);
    fair.until_in(&ids, "delivered", 5).await;
    fair.house.world.books_balance().await;
    engine.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_held_for_too_long_expires_although_its_endpoint_stays_disabled() {
    let mut fair = Fair::new(200, &[S], json!({})).await;
    fair.house.config.bounds.held_kept = Span::from_days(2);
    assert!(fair.set(State::Disabled).await.is_some());
    let engine = Engine::start(fair.house.config.clone());
    let ids = fair.installs("a", 3).await;
    fair.until_in(&ids, "held", 3).await;
    engine.stop().await;
    fair.pass(3 * DAY);
    let engine = Engine::start(fair.house.config.clone());
    fair.until_in(&ids, "expired", 3).await;
    fair.until("the count", async || engine.stats().held_expired.load(Ordering::SeqCst) == 3).await;
    assert_eq!(fair.moody.asked(), 0, "nothing left");
    let rows = fair.house.world.ledger.endpoint_rows().await.expect("rows");
    assert_eq!(rows[0].state, State::Disabled, "nobody let it go on");
    fair.house.world.books_balance().await;
    engine.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stopped_endpoint_is_tested_at_once_and_stays_stopped() {
    let fair = Fair::new(500, &[S; 5], json!({})).await;
    fair.set(State::Disabled).await;
    let engine = Engine::start(fair.house.config.clone());
    let ids = fair.installs("a", 2).await;
    fair.until_in(&ids, "held", 2).await;
    let (ws, ledger) = (fair.house.world.workspace, &fair.house.world.ledger);
    let test = async || {
        let rule = fair.house.world.rule("tell");
        let wanted = DeliveryTest {
            endpoint: fair.endpoint,
            version: ledger.catalog().workspace(ws).and_then(|s| s.rule(rule)).expect("the rule").version,
            app: fair.house.world.app("game"),
            values: Vec::new(),
        };
        let id = ledger.delivery_test(ws, wanted, fair.house.config.clock.now()).await.expect("a test");
        let filter = DeliveryFilter { kinds: vec![TEST_KIND.into()], ..DeliveryFilter::default() };
        let state = async || {
            let page = ledger.delivery_list(ws, filter.clone(), None, 10).await.expect("a list");
            page.items.into_iter().find(|one| one.id == id).map(|one| (one.state, one.sends))
        };
        fair.until("its end", async || state().await.is_some_and(|(state, _)| !state.is_waiting())).await;
        state().await.expect("it is listed")
    };
    assert_eq!(test().await, (DeliveryState::Dead, 1), "sent once, and not kept for later");
    fair.moody.answers(200);
    assert_eq!(test().await, (DeliveryState::Delivered, 1));
    assert_eq!((fair.moody.asked(), fair.count(&ids, "held").await), (2, 2), "the rest stays where it is");
    fair.set(State::Active).await;
    fair.until_in(&ids, "delivered", 2).await;
    assert_eq!(fair.moody.asked(), 4, "no test is released");
    // A stopped endpoint of which a test was planned while nobody was there to send it.
    engine.stop().await;
    fair.set(State::Paused).await;
    let rule = fair.house.world.rule("tell");
    let version = ledger.catalog().workspace(ws).and_then(|s| s.rule(rule)).expect("the rule").version;
    let app = fair.house.world.app("game");
    let wanted = DeliveryTest { endpoint: fair.endpoint, version, app, values: Vec::new() };
    ledger.delivery_test(ws, wanted, fair.house.config.clock.now()).await.expect("a test");
    ledger.test_take();
    fair.pass(7 * DAY);
    fair.set(State::Active).await;
    let engine = Engine::start(fair.house.config.clone());
    fair.until("its end", async || ledger.queue_depth().await.expect("a depth").waiting == 0).await;
    assert_eq!(fair.moody.asked(), 4, "a week later nobody waits for it");
    let filter = DeliveryFilter { kinds: vec![TEST_KIND.into()], ..DeliveryFilter::default() };
    let tests = ledger.delivery_list(ws, filter, None, 10).await.expect("a list").items;
    assert!(tests.iter().any(|test| test.reason == "test_too_old"), "{tests:?}");
    engine.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_time_of_a_pause_is_no_evidence_against_an_endpoint() {
    let fair = Fair::new(500, &[HOUR; 50], json!({})).await;
    let engine = Engine::start(fair.house.config.clone());
    let ids = fair.installs("p", 1).await;
    for sends in 1..=24 {
        fair.until("the next send", async || fair.attempts(&ids).await == sends).await;
        fair.pass(2 * HOUR);
    }
    fair.until("the last before the pause", async || fair.attempts(&ids).await == 25).await;
    fair.set(State::Paused).await;
    fair.pass(5 * DAY);
    fair.set(State::Active).await;
    fair.until("the first after it", async || fair.attempts(&ids).await == 26).await;
    fair.pass(2 * HOUR);
    // Only what goes on is sent once more.
    fair.until("one more", async || fair.attempts(&ids).await == 27).await;
    let rows = fair.house.world.ledger.endpoint_rows().await.expect("rows");
    assert!(rows.iter().all(|row| row.state == State::Active), "{rows:?}");
    engine.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_end_that_cannot_be_stored_keeps_nobody_waiting() {
    let fair = Fair::new(200, &[S; 5], json!({})).await;
    let file = fair.house.world.dir().join("ledger.sqlite");
    let conn = rusqlite::Connection::open(file).expect("a second connection");
    conn.busy_timeout(PATIENCE).expect("it is set");
    conn.execute_batch(
        "CREATE TRIGGER breaks BEFORE INSERT ON attempt WHEN NEW.status = 503 BEGIN SELECT RAISE(ABORT, 'broken'); END",
    )
    .expect("a trigger");
    let engine = Engine::start(fair.house.config.clone());
    let ids = fair.installs("a", 1).await;
    fair.until_in(&ids, "delivered", 1).await;
    fair.moody.answers(503);
    let stuck = fair.installs("b", 1).await;
    fair.until("its send", async || fair.moody.asked() == 2).await;
    let stopped = tokio::time::timeout(Duration::from_secs(20), engine.stop()).await;
    assert!(stopped.is_ok(), "a stop waits for what can end only");
    assert_eq!((fair.moody.asked(), fair.attempts(&stuck).await), (2, 0), "sent once by this start");
    conn.execute_batch("DROP TRIGGER breaks").expect("it is dropped");
    fair.moody.answers(200);
    let engine = Engine::start(fair.house.config.clone());
    fair.until_in(&stuck, "delivered", 1).await;
    engine.stop().await;
    fair.house.world.books_balance().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn five_days_of_failure_disable_an_endpoint_and_somebody_brings_it_back() {
    let fair = Fair::new(500, &[6 * HOUR; 50], json!({})).await;
    let mut engine = Engine::start(fair.house.config.clone());
    let ids = fair.installs("i", 1).await;
    let disabled = async || {
        let rows = fair.house.world.ledger.endpoint_rows().await.expect("rows");
        rows.into_iter().find(|row| row.state == State::Disabled)
    };
    let mut sends = 0;
    while disabled().await.is_none() {
        sends += 1;
        fair.until("the next send", async || {
            fair.attempts(&ids).await == sends || disabled().await.is_some()
        })
        .await;
        if sends == 8 {
            // What is known of two days survives.
            engine.stop().await;
            engine = Engine::start(fair.house.config.clone());
        }
        assert!(sends < 20, "it is not disabled");
        fair.pass(6 * HOUR + 6 * HOUR / 4);
    }
    assert!(sends >= 16, "not before five days: {sends}");
    let row = disabled().await.expect("it is disabled");
    assert_eq!((row.reason.as_str(), row.actor.as_str()), ("failing_for_days", "roundtrip"));
    fair.until_in(&ids, "held", 1).await;
    let log =
        fair.house.world.ledger.endpoint_log(fair.house.world.workspace, fair.endpoint).await.expect("a log");
    let mut said: Vec<String> = log.iter().rev().map(|l| format!("{} {}", l.code, l.reason)).collect();
    said.sort();
    assert_eq!(
        said,
        [
            "disabled failing_for_days",
            "endpoint_disabled ",
            "endpoint_failing 1h",
            "endpoint_failing 24h",
            "endpoint_failing 96h",
        ]
    );

    fair.moody.answers(200);
    fair.set(State::Active).await;
    fair.pass(8 * HOUR);
    fair.until_in(&ids, "delivered", 1).await;
    let row =
        fair.house.world.ledger.endpoint_list(fair.house.world.workspace).await.expect("a list").remove(0);
    assert_eq!((row.row.state, row.row.health.failing_since, row.queued), (State::Active, None, 0));
    fair.house.world.books_balance().await;
    engine.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rate_spreads_what_is_due() {
    let fair = Fair::new(200, &[S], json!({"rate": 5})).await;
    let engine = Engine::start(fair.house.config.clone());
    let ids = fair.installs("i", 12).await;
    fair.until_in(&ids, "delivered", 5).await;
    fair.until_waits(Wait::RateLimited).await;
    assert_eq!(fair.moody.asked(), 5, "a second's worth");
    fair.pass(S);
    fair.until_in(&ids, "delivered", 10).await;
    fair.until_waits(Wait::RateLimited).await;
    assert_eq!(fair.moody.asked(), 10);
    fair.pass(S);
    fair.until_in(&ids, "delivered", 12).await;
    engine.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_clock_that_is_set_neither_storms_nor_stalls() {
    let fair = Fair::new(500, &[HOUR; 50], json!({})).await;
    let engine = Engine::start(fair.house.config.clone());
    let ids = fair.installs("i", 6).await;
    fair.until("each was sent once", async || fair.attempts(&ids).await == 6).await;
    fair.until_waits(Wait::DueAt).await;
    // A day back: what was to wait an hour still waits an hour.
    fair.moody.answers(200);
    fair.house.config.clock.jump(-DAY);
    let more = fair.installs("j", 3).await;
    fair.until_in(&more, "delivered", 3).await;
    assert_eq!(fair.attempts(&ids).await, 6, "an hour has not passed");
    fair.pass(HOUR + HOUR / 4);
    fair.until_in(&ids, "delivered", 6).await;
    // A day forward: everything is due at once, and goes one at a time at first.
    fair.moody.answers(500);
    let last = fair.installs("k", 6).await;
    fair.until("each was sent once", async || fair.attempts(&last).await == 6).await;
    fair.moody.answers(200);
    fair.house.config.clock.jump(DAY);
    fair.until_in(&last, "delivered", 6).await;
    assert_eq!(fair.attempts(&last).await, 12);
    fair.house.world.books_balance().await;
    engine.stop().await;
}

/// Twenty workspaces' worth of endpoints that never answer, each with work, and one that does: it gets all of its
/// own while none of theirs has ended.
#[tokio::test(flavor = "multi_thread")]
async fn hanging_endpoints_leave_places_for_the_rest() {
    const HANGING: usize = 20;
    let mut silent = Vec::new();
    let well = Receiver::polite().await;
    let mut rules = serde_json::Map::new();
    for n in 0..HANGING {
        let receiver = Receiver::start(|_, mut stream, seen| async move {
            let _ = seen.request(&mut stream).await;
            std::future::pending::<()>().await;
        })
        .await;
        rules.insert(format!("silent{n}"), rule(receiver.address, ""));
        silent.push(receiver);
    }
    rules.insert("well".into(), rule(well.address, ""));
    let house = House::new(&with(rules.into()), &[3_600_000]).await;
    let engine = Engine::start(house.config.clone());
    let mut ids = Vec::new();
    for n in 0..30 {
        let click = house.click("game-acme", &format!("click_id=c{n}")).await;
        ids.push(house.world.record(house.event("install").of(&format!("i{n}")).click_text(&click)).await);
    }
    let well_rule = house.world.rule("well");
    for id in &ids {
        house
            .until(*id, "the well one", |s| {
                s.deliveries
                    .iter()
                    .any(|d| d.endpoint.postback().map(|e| e.0) == Some(well_rule) && d.state == "delivered")
            })
            .await;
    }
    let most = silent.iter().map(|r| r.seen.requests().len()).max();
    assert!(most <= Some(4), "a silent one is asked four at a time at first: {most:?}");
    engine.stop().await;
}
