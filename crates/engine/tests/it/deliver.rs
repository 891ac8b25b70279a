//! The engine's loops over a real ledger, a real click log and real sockets.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use roundtrip_ambient::{Clock, Entropy};
use roundtrip_domain::attribution::Credit;
use roundtrip_domain::click::{Click, Flags, LinkDialect, TouchKind};
use roundtrip_domain::event::Event;
use roundtrip_domain::id::{Id, kind};
use roundtrip_domain::retry::Policy;
use roundtrip_domain::status::{Asker, Status};
use roundtrip_domain::time::Span;
use roundtrip_engine::sender::{self, Guard, Resolve, Sender};
use roundtrip_engine::{Bounds, Config, Engine};
use roundtrip_store::click_log::{self, Append, ClickLog};
use roundtrip_store::ledger::{DeliveryStory, Kept, Replay, StatusAnswer, StatusWish, Story};
use roundtrip_testkit::{Tell, World, sample};
use serde_json::{Value, json};
use tokio::io::AsyncWriteExt as _;

use crate::sender::receiver::{OK, Receiver, reset};

mod auth;
mod callback;
mod fair;
mod not_allowed;
mod policy;
mod recover;
mod webhook;

/// Far longer than anything here takes; only a hang reaches it.
const PATIENCE: Duration = Duration::from_secs(60);

/// A world with its clicks in a real log, and the engine's configuration.
pub(crate) struct House {
    pub(crate) world: World,
    pub(crate) config: Config,
}

impl House {
    pub(crate) async fn new(document: &Value, waits_ms: &[i64]) -> Self {
        Self::with_names(document, waits_ms, Resolve::system()).await
    }

    /// With something in the place of DNS.
    async fn with_names(document: &Value, waits_ms: &[i64], resolve: Resolve) -> Self {
        let world = World::new(document).await;
        let keys = world.ledger.identity().check_keys.clone();
        let (clicks, _) = ClickLog::open(
            click_log::Config::new(world.dir().join("clicks"), 1, keys),
            Clock::System,
            Entropy::System,
        )
        .expect("a new click log opens");
        let guard = Guard {
            allow_private: vec!["127.0.0.0/8".parse().expect("a subnet")],
            allow_plain_http: true,
            ..Guard::default()
        };
        let config = Config {
            ledger: world.ledger.clone(),
            clicks,
            sender: Sender::new(&sender::Config { resolve, ..Default::default() }, guard).expect("a sender"),
            clock: Clock::System,
            entropy: Entropy::System,
            policy: Policy {
                waits: waits_ms.iter().copied().map(Span::from_ms).collect(),
                ..Policy::postback()
            },
            kept: Kept { attempts: Span::from_days(30), payloads: Span::from_days(30) },
            alerts: Default::default(),
            bounds: Bounds::default(),
        };
        Self { world, config }
    }

    async fn click(&self, link: &str, query: &str) -> String {
        self.touch(TouchKind::Click, link, query).await
    }

    async fn touch(&self, kind: TouchKind, link: &str, query: &str) -> String {
        self.touch_as(kind, LinkDialect::Linkrunner, link, query).await
    }

    async fn touch_as(&self, kind: TouchKind, dialect: LinkDialect, link: &str, query: &str) -> String {
        let settings = self.world.settings();
        let link = settings.links.values().find(|l| l.public_id == link).expect("the link");
        let click = Click {
            workspace: settings.workspace,
            app: link.app,
            campaign: link.campaign,
            partner: link.partner,
            link: link.id,
            kind,
            dialect,
            flags: Flags::default(),
            received_at: Clock::System.now(),
            query: query.as_bytes().to_vec(),
            ip: None,
            user_agent: None,
            referer: None,
            language: None,
            location: Default::default(),
        };
        match self.config.clicks.append(click).await {
            Append::Stored(id) => id.to_string(),
            Append::Unstored { why, .. } => panic!("the click was not stored: {why:?}"),
        }
    }

    fn event(&self, name: &str) -> Event {
        self.world.event("game", name, Clock::System.now())
    }

    /// Waits until the story of an event is as wanted.
    async fn until(&self, id: Id<kind::Event>, what: &str, wanted: impl Fn(&Story) -> bool) -> Story {
        let deadline = tokio::time::Instant::now() + PATIENCE;
        let mut look = tokio::time::interval(Duration::from_millis(10));
        loop {
            let story = self.world.story(id).await;
            if wanted(&story) {
                return story;
            }
            assert!(tokio::time::Instant::now() < deadline, "{what} did not happen: {story:?}");
            look.tick().await;
        }
    }
}

fn rule(address: SocketAddr, more: &str) -> Value {
    json!({"app": "game", "on": "install", "url": format!("http://{address}/p?click={{click_id}}&e={{event_id}}{more}")})
}

fn finished(story: &Story) -> bool {
    !story.deliveries.is_empty()
        && story.deliveries.iter().all(|d| !matches!(d.state.as_str(), "scheduled" | "held"))
}

fn with(rules: Value) -> Value {
    let mut document = sample();
    document["rules"] = rules;
    document
}

#[tokio::test(flavor = "multi_thread")]
async fn a_click_becomes_a_postback() {
    let receiver = Receiver::polite().await;
    let house = House::new(&with(json!({"tell": rule(receiver.address, "&t={cfg.token}")})), &[10]).await;
    let engine = Engine::start(house.config.clone());
    let click = house.click("game-acme", "click_id=a%2fb+c&sub1=x").await;
    let id = house.world.record(house.event("install").of("i1").click_text(&click)).await;
    let story = house.until(id, "the delivery", finished).await;
    assert!(matches!(&story.revisions[0].credit, Credit::Touch(w) if w.touch.id.to_string() == click));
    assert_eq!(story.deliveries[0].state, "delivered");
    let requests = receiver.seen.requests();
    assert!(requests[0].starts_with(&format!("GET /p?click=a%2Fb+c&e={id}&t=s3cr3t ")), "{requests:?}");
    let body = &story.deliveries[0].attempts[0].body;
    assert!(
        !body.contains("s3cr3t") && body.contains("\"status\":200"),
        "evidence is kept, secrets are not: {body}"
    );
    house.world.books_balance().await;
    engine.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn evidence_holds_no_form_of_a_secret() {
    let receiver = Receiver::polite().await;
    let more = "&up={cfg.token|upper}&b={cfg.token|b64}&u={cfg.token|b64url}&l={cfg.token|lower}\
        &cb=https%3A%2F%2Fi.example%3Ft%3D%7Bcfg.token%7D%26u%3Dhttps%253A%252F%252Fj.example%253Fs%253D%257Bcfg.token%257D";
    let url = format!("{{cfg.at}}/p?click={{click_id}}{more}");
    let mut document = with(json!({"tell": {"app": "game", "on": "install", "url": url}}));
    let at = format!("http://{}/t0ken-of-path", receiver.address);
    document["partners"]["acme"]["cfg"] = json!({"token": "se+cret/Tok=en", "at": at});
    let house = House::new(&document, &[10]).await;
    let engine = Engine::start(house.config.clone());
    let click = house.click("game-acme", "click_id=c1").await;
    let id = house.world.record(house.event("install").of("i1").click_text(&click)).await;
    let story = house.until(id, "the delivery", finished).await;
    let requests = receiver.seen.requests();
    let body = &story.deliveries[0].attempts[0].body;
    for form in [
        "t0ken-of-path",
        "SE%2BCRET%2FTOK%3DEN",
        "se%2Bcret%2Ftok%3Den",
        "c2UrY3JldC9Ub2s9ZW4%3D",
        "c2UrY3JldC9Ub2s9ZW4&",
        "se%252Bcret%252FTok%253Den",
        "se%25252Bcret%25252FTok%25253Den",
    ] {
        assert!(requests[0].contains(form), "sent with {form}: {requests:?}");
        assert!(!body.contains(form), "kept without {form}: {body}");
    }
    assert!(!body.to_lowercase().contains("cret") && !body.contains("c2UrY3Jl"), "{body}");
    assert!(
        body.contains(&format!("\"origin\":\"http://{}\"", receiver.address)),
        "the host is shown: {body}"
    );
    assert!(body.contains("GET /***/p?click=c1&up=***&b=***&u=***&l=***&cb="), "{body}");
    engine.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn trouble_is_tried_again_until_the_schedule_ends_and_refusals_are_not() {
    let receiver = Receiver::start(|n, mut stream, seen| async move {
        if seen.request(&mut stream).await.is_some() {
            let status = if n == 0 { "503 Busy" } else { "200 OK" };
            let answer = format!("HTTP/1.1 {status}\r\ncontent-length: 0\r\nconnection: close\r\n\r\n");
            // A sender that went away is seen by what the test waits for.
            let _ = stream.write_all(answer.as_bytes()).await;
        }
    })
    .await;
    let always = Receiver::start(|_, mut stream, seen| async move {
        while seen.request(&mut stream).await.is_some() {
            if stream.write_all(b"HTTP/1.1 500 No\r\ncontent-length: 0\r\n\r\n").await.is_err() {
                return;
            }
        }
    })
    .await;
    let refusing = Receiver::start(|_, mut stream, seen| async move {
        while seen.request(&mut stream).await.is_some() {
            if stream.write_all(b"HTTP/1.1 404 No\r\ncontent-length: 0\r\n\r\n").await.is_err() {
                return;
            }
        }
    })
    .await;
    let rules = json!({"a": rule(receiver.address, ""), "b": rule(always.address, ""), "c": rule(refusing.address, "")});
    let house = House::new(&with(rules), &[5, 5]).await;
    let engine = Engine::start(house.config.clone());
    let click = house.click("game-acme", "click_id=p1").await;
    let id = house.world.record(house.event("install").of("i1").click_text(&click)).await;
    let story = house.until(id, "every end", finished).await;
    let of = |slug: &str| -> &DeliveryStory {
        story
            .deliveries
            .iter()
            .find(|d| d.endpoint.postback().map(|e| e.0) == Some(house.world.rule(slug)))
            .expect("the delivery")
    };
    assert_eq!((of("a").state.as_str(), of("a").sends), ("delivered", 2));
    assert_eq!(
        (of("b").state.as_str(), of("b").reason.as_str(), of("b").sends),
        ("dead", "attempts_exhausted", 3)
    );
    assert_eq!(
        (of("c").state.as_str(), of("c").reason.as_str(), of("c").sends),
        ("dead", "refused_by_receiver", 1)
    );
    assert!(of("b").attempts.iter().all(|a| a.outcome == "http_500"), "each attempt is kept");

    // A person replays the dead one: the same event id, another delivery id.
    let dead = of("c").id;
    let replayed = house.world.ledger.delivery_replay(house.world.workspace, dead, Clock::System.now()).await;
    let Ok(Replay::Planned(replayed)) = replayed else { panic!("it is planned: {replayed:?}") };
    let story = house.until(id, "the replay", |s| s.deliveries.len() == 4 && finished(s)).await;
    let again = story.deliveries.iter().find(|d| d.id == replayed.delivery).expect("the replay");
    assert_eq!((again.replay_of, again.state.as_str()), (Some(dead), "dead"));
    let seen = refusing.seen.requests();
    assert!(seen.len() == 2 && seen.iter().all(|r| r.contains(&format!("e={id} "))), "{seen:?}");
    house.world.books_balance().await;
    engine.stop().await;
}

/// Endpoints that hang, reset, answer garbage, answer 10 MB or 500, and one that is well. All are told of the same
/// installs; the well one has all of its postbacks while the hanging one has answered none.
#[tokio::test(flavor = "multi_thread")]
async fn an_ill_endpoint_delays_nobody() {
    const INSTALLS: usize = 40;
    let well = Receiver::polite().await;
    let hanging = Receiver::start(|_, mut stream, seen| async move {
        let _ = seen.request(&mut stream).await;
        // Never answers; the sender's own deadline ends it.
        std::future::pending::<()>().await;
    })
    .await;
    let resetting = Receiver::start(|_, mut stream, seen| async move {
        let _ = seen.request(&mut stream).await;
        reset(stream);
    })
    .await;
    let garbage = Receiver::endless("\x16\x03garbage\r\n\r\n", "garbage").await;
    let huge =
        Receiver::endless("HTTP/1.1 200 OK\r\ncontent-length: 10485760\r\n\r\n", vec![b'x'; 65_536]).await;
    let ill = Receiver::start(|_, mut stream, seen| async move {
        while seen.request(&mut stream).await.is_some() {
            if stream.write_all(b"HTTP/1.1 500 No\r\ncontent-length: 0\r\n\r\n").await.is_err() {
                return;
            }
        }
    })
    .await;
    let all = [
        ("hang", &hanging),
        ("reset", &resetting),
        ("garbage", &garbage),
        ("huge", &huge),
        ("ill", &ill),
        ("well", &well),
    ];
    let rules: serde_json::Map<String, Value> =
        all.iter().map(|(slug, receiver)| ((*slug).to_owned(), rule(receiver.address, ""))).collect();
    // The schedule's first wait is longer than the test: one send each is what is looked at.
    let house = House::new(&with(rules.into()), &[3_600_000]).await;
    let engine = Engine::start(house.config.clone());
    let mut installs = Vec::new();
    for n in 0..INSTALLS {
        let click = house.click("game-acme", &format!("click_id=c{n}")).await;
        installs
            .push(house.world.record(house.event("install").of(&format!("i{n}")).click_text(&click)).await);
    }
    let rule_of = |slug: &str| house.world.rule(slug);
    for id in &installs {
        for slug in ["well", "huge"] {
            let rule = rule_of(slug);
            house
                .until(*id, slug, |s| {
                    s.deliveries
                        .iter()
                        .any(|d| d.endpoint.postback().map(|e| e.0) == Some(rule) && d.state == "delivered")
                })
                .await;
        }
    }
    let hang = rule_of("hang");
    let mut ended = 0;
    for id in &installs {
        let story = house.world.story(*id).await;
        ended += story
            .deliveries
            .iter()
            .filter(|d| d.endpoint.postback().map(|e| e.0) == Some(hang) && !d.attempts.is_empty())
            .count();
    }
    assert!(ended < INSTALLS, "the hanging endpoint cannot have ended all of its sends by now");
    assert_eq!(well.seen.requests().len(), INSTALLS, "each told once");
    let stats = Arc::clone(engine.stats());
    house.world.books_balance().await;
    engine.stop().await;
    assert_eq!(stats.panics.load(std::sync::atomic::Ordering::Relaxed), 0);
}

/// More endpoints than one host may be asked at once. All are told, and the host is never asked more than its bound:
/// a place that were not given back would stop the rest for ever.
#[tokio::test(flavor = "multi_thread")]
async fn many_endpoints_behind_one_host_share_its_places() {
    const RULES: usize = 200;
    const INSTALLS: usize = 2;
    let under_way = Arc::new(std::sync::atomic::AtomicUsize::new(0));
    let most = Arc::new(std::sync::atomic::AtomicUsize::new(0));
    let receiver = {
        let (under_way, most) = (under_way.clone(), most.clone());
        Receiver::start(move |_, mut stream, seen| {
            let (under_way, most) = (under_way.clone(), most.clone());
            async move {
                while seen.request(&mut stream).await.is_some() {
                    let now = under_way.fetch_add(1, std::sync::atomic::Ordering::SeqCst) + 1;
                    most.fetch_max(now, std::sync::atomic::Ordering::SeqCst);
                    // Others get their turn to arrive while this one is under way.
                    for _ in 0..50 {
                        tokio::task::yield_now().await;
                    }
                    under_way.fetch_sub(1, std::sync::atomic::Ordering::SeqCst);
                    if stream.write_all(OK.as_bytes()).await.is_err() {
                        return;
                    }
                }
            }
        })
        .await
    };
    let rules: serde_json::Map<String, Value> =
        (0..RULES).map(|n| (format!("r{n}"), rule(receiver.address, ""))).collect();
    let house = House::new(&with(rules.into()), &[10]).await;
    let engine = Engine::start(house.config.clone());
    for n in 0..INSTALLS {
        let click = house.click("game-acme", &format!("click_id=c{n}")).await;
        let id = house.world.record(house.event("install").of(&format!("i{n}")).click_text(&click)).await;
        let all =
            |s: &Story| s.deliveries.len() == RULES && s.deliveries.iter().all(|d| d.state == "delivered");
        house.until(id, "every delivery", all).await;
    }
    let most = most.load(std::sync::atomic::Ordering::SeqCst);
    assert!(most <= 128, "{most} requests at once towards one host");
    assert_eq!(receiver.seen.requests().len(), RULES * INSTALLS);
    engine.stop().await;
}

/// Any number of impressions with the same device id, from whomever, cannot hide the click that earned an install.
#[tokio::test(flavor = "multi_thread")]
async fn impressions_cannot_hide_a_click() {
    let receiver = Receiver::polite().await;
    let house = House::new(&with(json!({"tell": rule(receiver.address, "")})), &[10]).await;
    let gaid = "38400000-8cf0-11bd-b23e-10b96e40000d";
    let click = house.click("game-acme", &format!("click_id=c1&gaid={gaid}")).await;
    for _ in 0..80 {
        house.touch(TouchKind::Impression, "game-zeta", &format!("gaid={gaid}")).await;
    }
    let engine = Engine::start(house.config.clone());
    let id = house.world.record(house.event("install").of("i").gaid(gaid)).await;
    let story = house.until(id, "the decision", |s| !s.revisions.is_empty()).await;
    assert!(
        matches!(&story.revisions[0].credit, Credit::Touch(w) if w.touch.id.to_string() == click),
        "{story:?}"
    );
    let told = story.revisions[0].because.candidates.len();
    assert!(told > 1 && told < 20, "a few impressions are told of: {told}");
    engine.stop().await;
}

/// The engine goes away while sends are under way, as in a crash, and another one starts on the same ledger.
#[tokio::test(flavor = "multi_thread")]
async fn what_was_under_way_is_sent_again_with_the_same_event_id() {
    let receiver = Receiver::start(|n, mut stream, seen| async move {
        while seen.request(&mut stream).await.is_some() {
            if n == 0 {
                std::future::pending::<()>().await;
            }
            if stream.write_all(OK.as_bytes()).await.is_err() {
                return;
            }
        }
    })
    .await;
    let house = House::new(&with(json!({"tell": rule(receiver.address, "")})), &[3_600_000]).await;
    let first = tokio::runtime::Builder::new_multi_thread().enable_all().build().expect("a runtime");
    let engine = first.block_on_engine(house.config.clone());
    let click = house.click("game-acme", "click_id=c").await;
    let id = house.world.record(house.event("install").of("i").click_text(&click)).await;
    let deadline = tokio::time::Instant::now() + PATIENCE;
    let mut look = tokio::time::interval(Duration::from_millis(5));
    while receiver.seen.requests().is_empty() {
        assert!(tokio::time::Instant::now() < deadline, "the first send did not begin");
        look.tick().await;
    }
    drop(engine);
    first.shutdown_background();

    let engine = Engine::start(house.config.clone());
    let story = house.until(id, "the second send", finished).await;
    assert_eq!(story.deliveries[0].state, "delivered");
    let requests = receiver.seen.requests();
    assert_eq!(requests.len(), 2, "at least once: {requests:?}");
    assert!(requests.iter().all(|r| r.contains(&format!("e={id} "))), "the same event id: {requests:?}");
    house.world.books_balance().await;
    engine.stop().await;
}

/// An orderly end waits for what is under way, as long as a rule lets its receiver take.
#[tokio::test(flavor = "multi_thread")]
async fn a_stop_waits_for_a_slow_receiver_and_nothing_is_sent_twice() {
    /// Less than the rule's timeout, and more than most have.
    const SLOW: Duration = Duration::from_millis(12_500);
    let receiver = Receiver::start(|_, mut stream, seen| async move {
        while seen.request(&mut stream).await.is_some() {
            tokio::time::sleep(SLOW).await;
            if stream.write_all(OK.as_bytes()).await.is_err() {
                return;
            }
        }
    })
    .await;
    let mut slow = rule(receiver.address, "");
    slow["timeout"] = json!("30s");
    let house = House::new(&with(json!({"tell": slow})), &[3_600_000]).await;
    let engine = Engine::start(house.config.clone());
    let click = house.click("game-acme", "click_id=c").await;
    let id = house.world.record(house.event("install").of("i").click_text(&click)).await;
    let deadline = tokio::time::Instant::now() + PATIENCE;
    let mut look = tokio::time::interval(Duration::from_millis(5));
    while receiver.seen.requests().is_empty() {
        assert!(tokio::time::Instant::now() < deadline, "the send did not begin");
        look.tick().await;
    }
    engine.stop().await;
    let story = house.world.story(id).await;
    assert_eq!((story.deliveries[0].state.as_str(), story.deliveries[0].sends), ("delivered", 1));
    house.world.books_balance().await;
}

/// Starting an engine on a runtime of its own, so that dropping the runtime kills it mid-way.
trait BlockOnEngine {
    fn block_on_engine(&self, config: Config) -> Engine;
}

impl BlockOnEngine for tokio::runtime::Runtime {
    fn block_on_engine(&self, config: Config) -> Engine {
        let _inside = self.enter();
        Engine::start(config)
    }
}

/// Held back as the rule says, over a restart; what is rejected meanwhile is never sent, and the rejection is.
#[tokio::test(flavor = "multi_thread")]
async fn what_a_rule_holds_back_is_sent_when_it_is_due_unless_it_is_rejected() {
    const DELAY_MS: i64 = 600_000;
    let (held, receiver) = (Receiver::polite().await, Receiver::polite().await);
    let mut slow = rule(held.address, "");
    slow["delay"] = "10m".into();
    let mut no = rule(receiver.address, "&r={reject_reason}&x={is_rejected}");
    no["on"] = "rejected".into();
    let mut house =
        House::new(&with(json!({"slow": slow, "now": rule(receiver.address, ""), "no": no})), &[10]).await;
    house.config.clock = Clock::manual(Clock::System.now());
    let clock = house.config.clock.clone();
    let install = async |name: &str| {
        let click = house.click("game-acme", &format!("click_id={name}")).await;
        house.world.record(house.event("install").of(name).click_text(&click)).await
    };
    let slow = house.world.rule("slow");
    let of_slow =
        |s: &Story| s.deliveries.iter().find(|d| d.endpoint.postback().map(|e| e.0) == Some(slow)).cloned();
    let engine = Engine::start(house.config.clone());
    let kept = install("kept").await;
    let rejected = install("rejected").await;
    for id in [kept, rejected] {
        let is_told =
            |s: &Story| s.deliveries.len() == 2 && s.deliveries.iter().any(|d| d.state == "delivered");
        let story = house.until(id, "the one that is sent at once", is_told).await;
        let waiting = of_slow(&story).expect("it was planned");
        assert_eq!((waiting.state.as_str(), waiting.reason.as_str()), ("scheduled", "delayed"));
        assert_eq!(waiting.due.expect("when").since(waiting.created_at), DELAY_MS);
    }
    let reject = async |id: Id<kind::Event>| {
        let wish = StatusWish {
            conversion: id.conversion(),
            to: Status::Rejected,
            asker: Asker::Owner,
            by: "owner".into(),
            reason: Some("bot farm".into()),
        };
        let answer = house.world.ledger.status_change(house.world.workspace, wish, clock.now()).await;
        let Ok(StatusAnswer::Changed { change, .. }) = answer else { panic!("it is changed: {answer:?}") };
        house.until(change, "the rejection", finished).await;
        let told = receiver.seen.requests();
        assert!(told.iter().any(|r| r.contains(&format!("e={change}&r=bot%20farm&x=1 "))), "{told:?}");
    };
    reject(rejected).await;
    engine.stop().await;

    assert!(held.seen.requests().is_empty(), "its time has not come");
    let engine = Engine::start(house.config.clone());
    // This one stands in the engine's memory when it is rejected, and is passed over there.
    let known = install("known").await;
    let is_told = |s: &Story| of_slow(s).is_some() && s.deliveries.iter().any(|d| d.state == "delivered");
    house.until(known, "its plan, and the one that is sent at once", is_told).await;
    reject(known).await;
    clock.advance(DELAY_MS);
    let story = house.until(kept, "what was held back", finished).await;
    assert_eq!(of_slow(&story).map(|d| d.state).as_deref(), Some("delivered"));
    // One more that is due after the rejected ones would have been: then those were passed over for good.
    let last = install("last").await;
    house.until(last, "its plan", |s| of_slow(s).is_some()).await;
    clock.advance(DELAY_MS);
    house.until(last, "the last one", finished).await;
    let requests = held.seen.requests();
    assert_eq!(requests.len(), 2, "{requests:?}");
    for id in [rejected, known] {
        assert!(!requests.iter().any(|r| r.contains(&id.to_string())), "{requests:?}");
        let cancelled = of_slow(&house.world.story(id).await).expect("it is kept");
        assert_eq!(
            (cancelled.state.as_str(), cancelled.reason.as_str()),
            ("cancelled", "conversion_rejected")
        );
    }
    house.world.books_balance().await;
    engine.stop().await;
}
