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
use roundtrip_domain::id::{Id, kind};
use roundtrip_domain::retry::Policy;
use roundtrip_domain::time::Span;
use roundtrip_engine::sender::{self, Failure, Guard, Receivers, Reply, Sender};
use roundtrip_engine::{Config, Engine};
use roundtrip_store::click_log::{self, ClickLog};
use roundtrip_store::ledger::{Call, Database, Due, EndpointWish, Fate, Hook, Kept, Ledger, Story};
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

/// Takes everything, after a while.
#[derive(Default)]
struct Taker(AtomicUsize);

/// How long it takes.
const TAKES: Duration = Duration::from_millis(300);

impl Receivers for Taker {
    fn call<'a>(
        &'a self,
        _: &'a str,
        _: Request<Bytes>,
    ) -> Pin<Box<dyn Future<Output = Result<Reply, Failure>> + Send + 'a>> {
        self.0.fetch_add(1, Ordering::SeqCst);
        Box::pin(async {
            sleep(TAKES).await;
            Ok(Reply { status: 200, headers: HeaderMap::new(), body: Bytes::new() })
        })
    }
}

/// An engine on a simulated ledger, and another ledger on the same database, which stands for whoever hung up: of what
/// that one stores, the engine's never hears.
struct House {
    world: World,
    other: Ledger,
    clock: Clock,
    taker: Arc<Taker>,
    endpoint: Endpoint,
    engine: Engine,
    _dir: tempfile::TempDir,
}

impl House {
    async fn new(delay: Option<&str>) -> Self {
        let entropy = Entropy::seeded(7);
        let database = Database::new(&entropy, NOON).expect("a database in memory");
        let open = || Ledger::simulated(&database, Arc::new(Well), entropy.clone()).expect("a ledger opens");
        let mut document = sample();
        document["rules"] = json!({
            "tell": {"app": "shop", "on": "event", "scope": "all", "partner": "acme", "url": "https://a.example/p"},
        });
        if let Some(delay) = delay {
            document["rules"]["tell"]["delay"] = delay.into();
        }
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
        let endpoint = Endpoint::Postback { rule: world.rule("tell"), partner: world.partner("acme") };
        let engine = Engine::start_delivery(config, false);
        // It looks at the tables once at the start.
        sleep(Duration::from_secs(1)).await;
        Self { world, other, clock, taker, endpoint, engine, _dir: dir }
    }

    async fn set(&self, to: State) {
        let (workspace, endpoint) = (self.world.workspace, self.endpoint);
        let (reason, actor) = ("maintenance".into(), "owner".into());
        let wish = EndpointWish { workspace, endpoint, to, reason, actor };
        self.other.endpoint_set(wish, self.clock.now()).await.expect("it is stored").expect("it changed");
        // Two sweeps.
        sleep(Duration::from_secs(10)).await;
    }

    async fn order(&self) -> Story {
        self.world.tell(self.world.event("shop", "order", self.clock.now())).await
    }

    /// Replays a delivery, of which the engine does not hear. The new one.
    async fn replay(&self, of: &Story) -> Id<kind::Delivery> {
        let now = self.clock.now();
        let (workspace, endpoint) = (self.world.workspace, self.endpoint);
        let of = Due { workspace, endpoint, due: now, delivery: of.deliveries[0].id, sends: 0 };
        // What waits is planned once more all the same, which a replay would not do.
        let planned = self.other.delivery_again(vec![(of, now)], now).await.expect("it is planned");
        planned[0].delivery
    }

    async fn state(&self, id: Id<kind::Delivery>) -> String {
        let story = self.world.ledger.delivery_story(self.world.workspace, id).await;
        story.expect("it is read").expect("it is kept").state
    }

    fn calls(&self) -> usize {
        self.taker.0.load(Ordering::SeqCst)
    }
}

#[tokio::test(start_paused = true)]
async fn a_stop_is_found_and_so_is_its_end() {
    let house = House::new(None).await;
    house.set(State::Paused).await;
    let story = house.order().await;
    sleep(Duration::from_secs(10)).await;
    assert_eq!(house.calls(), 0, "it is stopped");
    house.set(State::Active).await;
    let story = house.world.story(story.event.id).await;
    assert_eq!((story.deliveries[0].state.as_str(), house.calls()), ("delivered", 1));
    house.engine.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_delivery_is_found_although_its_endpoint_never_rests() {
    let house = House::new(None).await;
    let replay = house.replay(&house.order().await).await;
    // Another one before the last one has ended, again and again.
    for _ in 0..100 {
        house.order().await;
        sleep(TAKES / 2).await;
    }
    assert_eq!(house.state(replay).await, "delivered");
    house.engine.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_delivery_is_found_although_memory_is_full_of_what_is_due_later() {
    let house = House::new(Some("2h")).await;
    let first = house.order().await;
    // With one in memory, and with more than memory holds.
    for more in [0, 80] {
        for _ in 0..more {
            house.order().await;
        }
        let replay = house.replay(&first).await;
        sleep(Duration::from_secs(15)).await;
        assert_eq!(house.state(replay).await, "delivered", "{more} more are due later");
    }
    assert_eq!(house.calls(), 2);
    house.engine.stop().await;
}
