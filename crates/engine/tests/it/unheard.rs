//! What is stored and was not handed over: the engine finds it in the tables.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, Request};
use roundtrip_ambient::{Clock, Entropy};
use roundtrip_domain::endpoint::{Endpoint, State};
use roundtrip_domain::retry::Policy;
use roundtrip_domain::time::Span;
use roundtrip_engine::sender::{self, Failure, Guard, Receivers, Reply, Sender};
use roundtrip_engine::{Config, Engine};
use roundtrip_store::click_log::{self, ClickLog};
use roundtrip_store::ledger::{Call, Database, EndpointWish, Fate, Hook, Kept, Ledger};
use roundtrip_testkit::{NOON, World, sample};
use serde_json::json;
use tokio::time::{Instant, sleep};

/// Nothing happens to any call.
struct Well;

impl Hook for Well {
    fn fate(&self, _: Call) -> (Fate, Duration, Duration) {
        (Fate::Done, Duration::ZERO, Duration::ZERO)
    }

    fn has_ended(&self) -> bool {
        false
    }

    fn end(&self) {}
}

/// Takes everything.
#[derive(Default)]
struct Taker(AtomicUsize);

impl Receivers for Taker {
    fn call<'a>(
        &'a self,
        _: &'a str,
        _: Request<Bytes>,
    ) -> Pin<Box<dyn Future<Output = Result<Reply, Failure>> + Send + 'a>> {
        self.0.fetch_add(1, Ordering::SeqCst);
        Box::pin(async { Ok(Reply { status: 200, headers: HeaderMap::new(), body: Bytes::new() }) })
    }
}

/// Another ledger on the same database stands for whoever hung up: what it stores, the engine's ledger never hears of.
#[tokio::test(start_paused = true)]
async fn a_stop_that_nobody_heard_of_is_found_and_so_is_its_end() {
    let entropy = Entropy::seeded(7);
    let database = Database::new(&entropy, NOON).expect("a database in memory");
    let open = || Ledger::simulated(&database, Arc::new(Well), entropy.clone()).expect("a ledger opens");
    let mut document = sample();
    document["rules"] = json!({
        "tell": {"app": "shop", "on": "event", "scope": "all", "partner": "acme", "url": "https://a.example/p"},
    });
    World::around(open(), entropy.clone()).apply(&document, false).await;
    let (world, other) = (World::around(open(), entropy.clone()), open());

    let began = Instant::now();
    let clock = Clock::told(move || {
        let passed = began.elapsed();
        (NOON.plus_ms(passed.as_millis() as i64), passed)
    });
    let dir = tempfile::tempdir().expect("a temporary directory");
    let keys = world.ledger.identity().check_keys.clone();
    let log = click_log::Config::new(dir.path().join("clicks"), 1, keys);
    let (clicks, _) = ClickLog::open(log, Clock::System, Entropy::System).expect("a new click log opens");
    let taker = Arc::new(Taker::default());
    let sender = Sender::new(&sender::Config::default(), Guard::default()).expect("a sender");
    let config = Config {
        ledger: world.ledger.clone(),
        clicks,
        sender: sender.simulated(taker.clone()),
        clock: clock.clone(),
        entropy,
        policy: Policy::postback(),
        alerts: Default::default(),
        bounds: Default::default(),
        kept: Kept { attempts: Span::from_days(30), payloads: Span::from_days(30) },
    };
    let engine = Engine::start_delivery(config, false);
    let endpoint = Endpoint::Postback { rule: world.rule("tell"), partner: world.partner("acme") };
    let set = async |to| {
        let (workspace, reason, actor) = (world.workspace, "maintenance".into(), "owner".into());
        let wish = EndpointWish { workspace, endpoint, to, reason, actor };
        other.endpoint_set(wish, clock.now()).await.expect("it is stored").expect("it changed");
        // Two sweeps.
        sleep(Duration::from_secs(10)).await;
    };
    sleep(Duration::from_secs(1)).await;

    set(State::Paused).await;
    let event = world.event("shop", "order", clock.now());
    let story = world.tell(event).await;
    sleep(Duration::from_secs(10)).await;
    assert_eq!(taker.0.load(Ordering::SeqCst), 0, "it is stopped");
    set(State::Active).await;
    let story = world.story(story.event.id).await;
    assert_eq!(story.deliveries[0].state, "delivered");
    assert_eq!(taker.0.load(Ordering::SeqCst), 1);
    engine.stop().await;
}
