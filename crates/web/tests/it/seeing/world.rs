//! A ledger and a click log with one of everything: an install with rivals, retried and delivered; a purchase that
//! follows it, given up; an organic install; an event whose installation is unknown.

use axum::Router;
use axum::body::Body;
use http::{HeaderMap, Method, Request, StatusCode};
use http_body_util::BodyExt as _;
use roundtrip_ambient::{Clock, Entropy};
use roundtrip_domain::attribution::{Carrier, DeadEnd, Lead, MatchType};
use roundtrip_domain::click::{Click, Flags, LinkDialect, Touch, TouchKind};
use roundtrip_domain::device::{Device, DeviceId, DeviceIdKind};
use roundtrip_domain::event::{Environment, Event, InstallReferrer, Revenue, Source};
use roundtrip_domain::id::{Id, WorkspaceNo, kind};
use roundtrip_domain::location::{Country, Location};
use roundtrip_domain::money::{Amount, Currency};
use roundtrip_domain::settings::Settings;
use roundtrip_domain::time::Timestamp;
use roundtrip_store::click_log::faults::Faults;
use roundtrip_store::click_log::{self, Append, ClickLog};
use roundtrip_store::ledger::{
    AttemptRow, Config, Due, Ledger, NewEvent, Prepared, Recorded, Settled, Settlement,
};
use roundtrip_store::settings::hash_token;
use roundtrip_web::api::{self, AdminToken, ApiState};
use roundtrip_web::dashboard::{self, DashboardState};
use roundtrip_web::share::{self, ShareState};
use serde_json::{Value, json};
use tower::ServiceExt as _;

pub(super) const ADMIN: &str = "rta_the-token-of-these-tests-and-of-nothing-else";
pub(super) const READER: &str = "a-reading-key-of-these-tests-with-length";
pub(super) const ANALYST: &str = "an-analysts-key-of-these-tests-with-length";
pub(super) const WRITER: &str = "a-writing-key-of-these-tests-with-length";
pub(super) const WS: WorkspaceNo = WorkspaceNo(1);
pub(super) const GAID: &str = "38400000-8cf0-11bd-b23e-10b96e40000d";
pub(super) const CUSTOMER: &str = "customer-8842-of-the-shop";
pub(super) const INSTALL: &str = "install-7f3a-of-the-app";
pub(super) const IP: &str = "203.0.113.77";
pub(super) const BROWSER: &str = "Mozilla/5.0 (Linux; Android 15; Pixel 9) Chrome/130";
/// Thursday, when the install happens.
pub(super) const NOW: Timestamp = Timestamp::from_ms(1_780_564_904_120);
const DAY: i64 = 86_400_000;

/// What the tests look at.
pub(super) struct World {
    pub(super) ledger: Ledger,
    pub(super) clicks: ClickLog,
    pub(super) clock: Clock,
    pub(super) faults: Faults,
    pub(super) router: Router,
    pub(super) dir: tempfile::TempDir,
}

/// The facts of a furnished world.
pub(super) struct Facts {
    pub(super) click: Touch,
    pub(super) install: Id<kind::Event>,
    pub(super) purchase: Id<kind::Event>,
    pub(super) organic: Id<kind::Event>,
    pub(super) orphan: Id<kind::Event>,
    pub(super) dead: Id<kind::Delivery>,
}

/// An answer, read.
pub(super) struct Answer {
    pub(super) status: StatusCode,
    pub(super) headers: HeaderMap,
    pub(super) text: String,
}

impl Answer {
    #[track_caller]
    pub(super) fn json(&self, status: u16) -> Value {
        assert_eq!(self.status.as_u16(), status, "{}", self.text);
        serde_json::from_str(&self.text).expect("JSON")
    }
}

fn document() -> Value {
    let postback =
        |path: &str| format!("https://pb.acme.example/{path}?click_id={{click_id}}&gaid={{gaid}}&ip={{ip}}");
    json!({
        "apps": { "shop": { "platform": "android", "bundle_id": "com.example.shop", "currency": "EUR", "events": { "sale": "purchase" } } },
        "campaigns": { "summer": { "app": "shop" } },
        "partners": { "acme": { "name": "Acme <b>Ads</b>" }, "zen": {} },
        "links": {
            "Acme-Summer": { "campaign": "summer", "partner": "acme" },
            "Zen-Summer": { "campaign": "summer", "partner": "zen" },
        },
        "rules": {
            "acme-install": { "app": "shop", "partner": "acme", "on": "install", "url": postback("install") },
            "acme-sale": { "app": "shop", "partner": "acme", "on": "purchase", "url": postback("sale"), "share_revenue": true },
            "zen-install": { "app": "shop", "partner": "zen", "on": "install", "url": "https://pb.zen.example/i?c={click_id}" },
        },
        "keys": {
            "reader": { "kind": "admin", "scopes": ["read"], "secret": READER },
            "analyst": { "kind": "admin", "scopes": ["read", "personal"], "secret": ANALYST },
            "writer": { "kind": "admin", "scopes": ["write"], "secret": WRITER },
        },
    })
}

impl World {
    /// Nothing set up.
    pub(super) fn empty() -> Self {
        let dir = tempfile::tempdir().expect("a directory");
        let clock = Clock::manual(NOW);
        let (ledger, _) =
            Ledger::open(&Config::in_dir(dir.path()), Entropy::seeded(1), NOW).expect("a ledger");
        let faults = Faults::armed();
        let mut log =
            click_log::Config::new(dir.path().join("clicks"), 1, ledger.identity().check_keys.clone());
        log.faults = faults.clone();
        // These tests do not depend on how busy the machine is.
        log.append_wait = std::time::Duration::from_secs(20);
        let (clicks, _) = ClickLog::open(log, clock.clone(), Entropy::seeded(2)).expect("a click log");
        let admin_token = AdminToken::of_hash(hash_token(ADMIN));
        let router = api::router(ApiState {
            ledger: ledger.clone(),
            clicks: clicks.clone(),
            clock: clock.clone(),
            entropy: Entropy::seeded(3),
            admin_token: admin_token.clone(),
            public_url: "https://go.shop.example".to_owned(),
            egress: std::sync::Arc::default(),
        })
        .merge(dashboard::router(DashboardState {
            ledger: ledger.clone(),
            clicks: clicks.clone(),
            clock: clock.clone(),
            entropy: Entropy::seeded(4),
            admin_token,
            public_url: "https://go.shop.example".to_owned(),
        }))
        .merge(share::router(ShareState {
            ledger: ledger.clone(),
            clicks: clicks.clone(),
            clock: clock.clone(),
        }));
        Self { ledger, clicks, clock, faults, router, dir }
    }

    /// Everything set up, nothing happened.
    pub(super) async fn set_up() -> Self {
        let world = Self::empty();
        let answer =
            world.call(Method::POST, "/api/v1/apply", Some(&json!({ "document": document() }))).await;
        answer.json(200);
        world
    }

    /// Everything set up, and one of everything happened.
    pub(super) async fn furnished() -> (Self, Facts) {
        let world = Self::set_up().await;
        let facts = world.happen().await;
        (world, facts)
    }

    pub(super) async fn send(&self, request: Request<Body>) -> Answer {
        let response = self.router.clone().oneshot(request).await.expect("the router answers");
        let (parts, body) = response.into_parts();
        let bytes = body.collect().await.expect("a body").to_bytes();
        let text = String::from_utf8(bytes.to_vec()).expect("UTF-8");
        Answer { status: parts.status, headers: parts.headers, text }
    }

    pub(super) async fn call(&self, method: Method, path: &str, body: Option<&Value>) -> Answer {
        let request =
            Request::builder().method(method).uri(path).header("authorization", format!("Bearer {ADMIN}"));
        let body = body.map_or_else(Body::empty, |body| Body::from(body.to_string()));
        self.send(request.body(body).expect("a request")).await
    }

    pub(super) async fn get(&self, path: &str) -> Answer {
        self.call(Method::GET, path, None).await
    }

    fn settings(&self) -> std::sync::Arc<Settings> {
        self.ledger.catalog().workspace(WS).expect("the default workspace").clone()
    }

    fn app(&self) -> Id<kind::App> {
        self.settings().apps.values().next().expect("an app").id
    }

    pub(super) async fn click(&self, link: &str, query: &str) -> Touch {
        let settings = self.settings();
        let link = settings.links.values().find(|l| l.public_id == link).expect("the link").clone();
        let mut click = Click {
            workspace: WS,
            app: link.app,
            campaign: link.campaign,
            partner: link.partner,
            link: link.id,
            kind: TouchKind::Click,
            dialect: LinkDialect::Linkrunner,
            flags: Flags::default(),
            received_at: self.clock.now(),
            query: query.as_bytes().to_vec(),
            ip: Some(IP.parse().expect("an address")),
            user_agent: Some(BROWSER.to_owned()),
            referer: Some("https://news.example/article?reader=somebody".to_owned()),
            language: None,
            location: Location {
                country: Country::parse("DE"),
                region: Location::text("BE"),
                city: Location::text("Berlin"),
                asn: Some(64_500),
                network: Location::text("Example Net"),
            },
        };
        click.flag();
        match self.clicks.append(click.clone()).await {
            Append::Stored(id) => Touch { id, click },
            other => panic!("the click is stored, not {other:?}"),
        }
    }

    pub(super) fn event(&self, name: &str, seed: u64) -> Event {
        let now = self.clock.now();
        Event {
            id: Entropy::seeded(seed).id(now),
            workspace: WS,
            app: self.app(),
            source: Source::Client,
            source_event_id: None,
            name: name.to_owned(),
            environment: Environment::Production,
            received_at: now,
            occurred_at: now,
            install_id: None,
            click_id: None,
            referrer: None,
            customer_id: None,
            device: Device::default(),
            revenue: None,
            properties: None,
            consent: None,
            ip: None,
            user_agent: None,
            location: Default::default(),
            postback: None,
            change: None,
            findings: Vec::new(),
        }
    }

    /// Records an event and decides it by hand-made leads.
    pub(super) async fn decide(&self, event: Event, leads: Vec<Lead>) -> Vec<Due> {
        let id = event.id;
        let recorded = self.ledger.event_record(vec![NewEvent { event, idempotency: None }]).await;
        assert!(matches!(recorded[..], [Ok(Recorded::Accepted(_))]), "{recorded:?}");
        let undecided = self.ledger.undecided(10, self.clock.now()).await.expect("the list");
        let undecided = undecided.into_iter().find(|u| u.event.id == id).expect("it is listed");
        let batch = vec![Prepared { undecided, leads }];
        self.ledger.decision_commit(batch, self.clock.now()).await.expect("a decision").planned
    }

    /// Decides what waits, as the engine would; nothing new is looked up.
    pub(super) async fn decide_rest(&self) {
        for _ in 0..100 {
            let list = self.ledger.undecided(100, self.clock.now()).await.expect("the list");
            if list.is_empty() {
                return;
            }
            let batch = list.into_iter().map(|undecided| Prepared { undecided, leads: Vec::new() }).collect();
            self.ledger.decision_commit(batch, self.clock.now()).await.expect("decisions");
        }
        panic!("deciding does not end");
    }

    pub(super) async fn settle(&self, item: Due, n: u32, status: u16, next: Settled, words: &str) {
        let answered = if status == 200 {
            "OK, gaid noted: 38400000-8CF0-11BD-B23E-10B96E40000D"
        } else {
            "<html>try later</html>"
        };
        let body = json!({
            "v": 1, "origin": "https://pb.acme.example",
            "request": {
                "line": format!("GET /p?click_id=net-123&gaid={GAID}&ip={IP} HTTP/1.1"),
                "headers": [["host", "pb.acme.example"], ["user-agent", "Roundtrip"]], "body": "",
            },
            "answer": { "status": status, "headers": [["content-type", "text/html"]], "body": answered, "body_truncated": false },
            "missing": ["sub2"], "error": null,
        });
        let attempt = AttemptRow {
            n,
            at: self.clock.now(),
            outcome: format!("http_{status}"),
            status: Some(status),
            total_us: 34_000,
            next: words.to_owned(),
            body: body.to_string(),
        };
        let settlement = Settlement { item, attempt: Some(attempt), next };
        self.ledger.delivery_settle(vec![settlement], self.clock.now()).await.expect("settled");
    }

    async fn happen(&self) -> Facts {
        self.clock.advance(-9 * DAY);
        let old = self.click("Zen-Summer", &format!("click_id=zen-1&gaid={GAID}")).await;
        self.clock.advance(9 * DAY - 2 * 3_600_000);
        let rival = self.click("Zen-Summer", &format!("click_id=zen-2&gaid={GAID}")).await;
        self.clock.advance(2 * 3_600_000 - 185_000);
        let query = format!("click_id=net-123&sub1=banner%20<7>&gaid={GAID}&email=somebody%40example.com");
        let click = self.click("Acme-Summer", &query).await;
        self.clock.advance(185_000);

        let gaid = DeviceId::parse(DeviceIdKind::Gaid, GAID).expect("an id");
        let mut install = self.event("install", 11);
        install.install_id = Some(INSTALL.to_owned());
        install.customer_id = Some(CUSTOMER.to_owned());
        install.device = Device {
            platform: Some("android".into()),
            os_version: Some("15".into()),
            ids: vec![gaid],
            ..Device::default()
        };
        install.ip = Some(IP.parse().expect("an address"));
        install.user_agent = Some(BROWSER.to_owned());
        install.properties = Some(r#"{"plan":"pro","mail":"somebody@example.com"}"#.to_owned());
        install.referrer = Some(InstallReferrer {
            referrer: format!("rt_click_id={}&utm_source=acme", click.id),
            click_server_at: Some(NOW.plus_ms(-184_000)),
            install_begin_server_at: Some(NOW.plus_ms(-142_000)),
            ..InstallReferrer::default()
        });
        let carrier = Carrier::of(&install);
        let lead = |match_type, touch: &Touch| Lead::Touch {
            match_type,
            touch: touch.clone(),
            carrier: carrier.clone(),
        };
        let leads = vec![
            lead(MatchType::InstallReferrer, &click),
            lead(MatchType::DeviceId, &rival),
            lead(MatchType::DeviceId, &old),
            Lead::Dead { match_type: MatchType::ClickId, text: "{clickid}".into(), why: DeadEnd::Malformed },
        ];
        let install_id = install.id;
        let planned = self.decide(install, leads).await;
        let [due] = planned[..] else { panic!("one postback, not {planned:?}") };
        let again = self.clock.now().plus_ms(10_000);
        let next = Settled::Again { due: again, reason: "http_503".to_owned() };
        self.settle(due, 1, 503, next, "sent again in 10 s").await;
        self.clock.advance(10_000);
        let due = Due { due: again, sends: 1, ..due };
        self.settle(due, 2, 200, Settled::Delivered, "delivered").await;

        self.clock.advance(60_000);
        let mut purchase = self.event("sale", 12);
        purchase.source = Source::Server;
        purchase.source_event_id = Some("order-4711".to_owned());
        purchase.install_id = Some(INSTALL.to_owned());
        purchase.revenue = Some(Revenue {
            amount: Amount::parse("49.90").expect("an amount"),
            currency: Currency::parse("EUR"),
            verified: true,
        });
        let purchase_id = purchase.id;
        let planned = self.decide(purchase, Vec::new()).await;
        let [due] = planned[..] else { panic!("one postback, not {planned:?}") };
        let dead = Settled::Dead { reason: "refused_by_receiver".to_owned() };
        self.settle(due, 1, 404, dead, "given up: refused_by_receiver").await;

        self.clock.advance(60_000);
        let mut organic = self.event("install", 13);
        organic.install_id = Some("another-installation".to_owned());
        let organic_id = organic.id;
        self.decide(organic, Vec::new()).await;

        self.clock.advance(60_000);
        let mut orphan = self.event("<script>alert(1)</script>", 14);
        orphan.install_id = Some("a-third-installation".to_owned());
        let orphan_id = orphan.id;
        self.decide(orphan, Vec::new()).await;
        self.clock.advance(5_000);
        Facts {
            click,
            install: install_id,
            purchase: purchase_id,
            organic: organic_id,
            orphan: orphan_id,
            dead: due.delivery,
        }
    }
}

/// Ids become their kind, so that snapshots outlive a change of how they are made.
pub(super) fn redact(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    'text: while let Some(first) = rest.chars().next() {
        let is_start = out.chars().next_back().is_none_or(|c| !c.is_ascii_alphanumeric());
        for prefix in ["evt_", "cnv_", "dlv_", "app_", "prt_", "cmp_", "lnk_", "rul_", "job_", "wbh_"] {
            if is_start
                && rest.starts_with(prefix)
                && rest.len() >= 30
                && rest.as_bytes()[4..30].iter().all(u8::is_ascii_alphanumeric)
            {
                out.push_str(&format!("[{}]", &prefix[..3]));
                rest = &rest[30..];
                continue 'text;
            }
        }
        let uuid = rest.as_bytes().get(..36).filter(|_| is_start).is_some_and(|bytes| {
            bytes
                .iter()
                .enumerate()
                .all(|(i, b)| if [8, 13, 18, 23].contains(&i) { *b == b'-' } else { b.is_ascii_hexdigit() })
        });
        if uuid {
            out.push_str("[click]");
            rest = &rest[36..];
            continue;
        }
        out.push(first);
        rest = &rest[first.len_utf8()..];
    }
    out
}
