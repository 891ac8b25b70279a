//! A ledger with settings, and the steps of the engine by hand.

use std::path::Path;
use std::sync::Arc;

use roundtrip_ambient::Entropy;
use roundtrip_domain::click::{Click, Flags, LinkDialect, Touch, TouchKind};
use roundtrip_domain::endpoint::NotAllowed;
use roundtrip_domain::event::{Environment, Event, Source};
use roundtrip_domain::id::{Id, WorkspaceNo, kind};
use roundtrip_domain::settings::Settings;
use roundtrip_domain::time::Timestamp;
use roundtrip_store::ledger::{
    BalanceRow, Committed, Config, Idempotency, Ledger, NewEvent, Prepared, Recorded, Story,
};
use roundtrip_store::settings::{self, Before};
use serde_json::{Value, json};

use crate::Clicks;

/// When most tests happen: 2026-06-04, noon UTC.
pub const NOON: Timestamp = Timestamp::from_ms(1_780_574_400_000);

/// Rounds of deciding after which a loop is said not to end.
const ROUNDS_MAX: u32 = 500;

/// A sample: an Android app, an iOS app and a shop; two partners with a link to each; no rules.
pub fn sample() -> Value {
    json!({
        "apps": {
            "game": {"platform": "android", "bundle_id": "com.example.game", "events": {"registered": "signup"}},
            "tool": {"platform": "ios", "bundle_id": "com.example.tool"},
            "shop": {"platform": "web"}
        },
        "campaigns": {
            "summer": {"app": "game"},
            "autumn": {"app": "tool"},
            "sale": {"app": "shop", "landing_page": "https://shop.example/"}
        },
        "partners": {
            "acme": {"cfg": {"token": "s3cr3t"}},
            "zeta": {}
        },
        "links": {
            "game-acme": {"campaign": "summer", "partner": "acme"},
            "game-zeta": {"campaign": "summer", "partner": "zeta"},
            "tool-acme": {"campaign": "autumn", "partner": "acme"},
            "tool-zeta": {"campaign": "autumn", "partner": "zeta"},
            "shop-acme": {"campaign": "sale", "partner": "acme"},
            "shop-zeta": {"campaign": "sale", "partner": "zeta"}
        }
    })
}

/// A ledger in a temporary directory, one workspace of it, and its clicks.
pub struct World {
    dir: Arc<tempfile::TempDir>,
    /// The ledger.
    pub ledger: Ledger,
    /// The workspace that the methods below are about.
    pub workspace: WorkspaceNo,
    /// The clicks.
    pub clicks: Clicks,
    entropy: Entropy,
}

impl World {
    /// A fresh ledger whose default workspace is set up as the document says.
    pub async fn new(document: &Value) -> Self {
        let dir = Arc::new(tempfile::tempdir().expect("a temporary directory"));
        let entropy = Entropy::seeded(1);
        let (ledger, _) =
            Ledger::open(&Config::in_dir(dir.path()), entropy.clone(), NOON).expect("a new ledger opens");
        let world = Self { dir, ledger, workspace: WorkspaceNo::DEFAULT, clicks: Clicks::default(), entropy };
        world.apply(document, false).await;
        world
    }

    /// An empty default workspace on a ledger that somebody else opened.
    pub fn around(ledger: Ledger, entropy: Entropy) -> Self {
        let dir = Arc::new(tempfile::tempdir().expect("a temporary directory"));
        Self { dir, ledger, workspace: WorkspaceNo::DEFAULT, clicks: Clicks::default(), entropy }
    }

    /// The same ledger seen from another workspace, which is made and set up. Ids of its links carry its
    /// slug in front, since links are unique in an installation.
    pub async fn workspace(&self, slug: &str, document: &Value) -> Self {
        let workspace = self.ledger.workspace_create(slug, NOON, "test").await.expect("a workspace");
        let (dir, ledger) = (self.dir.clone(), self.ledger.clone());
        let world =
            Self { dir, ledger, workspace, clicks: self.clicks.clone(), entropy: self.entropy.clone() };
        let mut document = document.clone();
        if let Some(links) = document.get_mut("links").and_then(Value::as_object_mut) {
            *links =
                std::mem::take(links).into_iter().map(|(id, link)| (format!("{slug}-{id}"), link)).collect();
        }
        world.apply(&document, false).await;
        world
    }

    /// The directory.
    pub fn dir(&self) -> &Path {
        self.dir.path()
    }

    /// Closes the ledger and opens it again.
    pub async fn reopen(&mut self) {
        self.ledger.close().await;
        let config = Config::in_dir(self.dir.path());
        (self.ledger, _) = Ledger::open(&config, self.entropy.clone(), NOON).expect("the ledger opens again");
    }

    /// Applies a document as `roundtrip apply` does; says the version that it made.
    pub async fn apply(&self, document: &Value, prune: bool) -> u64 {
        let (version, resources) =
            self.ledger.settings_read(self.workspace).await.expect("settings are read");
        let edits = settings::edits_of(document, &resources, prune).expect("a document");
        let slug = self.settings().slug.clone();
        let before = Before { workspace: self.workspace, slug: &slug, version, resources: &resources };
        let world = settings::World {
            taken_links: &|_| false,
            taken_keys: &|_| false,
            at: NOON,
            entropy: &self.entropy,
        };
        let plan = settings::plan(before, &edits, &world).expect("a sound document");
        let commit = self.ledger.settings_commit(self.workspace, version, plan.writes, "test".into(), NOON);
        commit.await.expect("settings are stored")
    }

    /// The current settings.
    pub fn settings(&self) -> Arc<Settings> {
        self.ledger.catalog().workspace(self.workspace).expect("the workspace").clone()
    }

    /// The app of that slug.
    pub fn app(&self, slug: &str) -> Id<kind::App> {
        self.settings().apps.values().find(|a| a.slug == slug).expect("the app").id
    }

    /// The partner of that slug.
    pub fn partner(&self, slug: &str) -> Id<kind::Partner> {
        self.settings().partners.values().find(|p| p.slug == slug).expect("the partner").id
    }

    /// The rule of that slug.
    pub fn rule(&self, slug: &str) -> Id<kind::Rule> {
        self.settings().rules.values().flatten().find(|r| r.slug == slug).expect("the rule").id
    }

    /// The slug of a rule.
    pub fn rule_slug(&self, rule: Id<kind::Rule>) -> String {
        self.settings().rule(rule).expect("the rule").slug.clone()
    }

    /// The slug of a partner.
    pub fn partner_slug(&self, partner: Id<kind::Partner>) -> String {
        self.settings().partners.get(&partner).expect("the partner").slug.clone()
    }

    /// A click on a link.
    pub fn click(&mut self, link: &str, at: Timestamp, query: &str) -> Touch {
        self.touch(TouchKind::Click, link, at, query)
    }

    /// A touch of any kind on a link.
    pub fn touch(&mut self, kind: TouchKind, link: &str, at: Timestamp, query: &str) -> Touch {
        let settings = self.settings();
        let ends = format!("-{link}");
        let is_named = |id: &str| id == link || id.ends_with(&ends);
        let link = settings.links.values().find(|l| is_named(&l.public_id)).expect("the link");
        self.clicks.keep(Click {
            workspace: self.workspace,
            app: link.app,
            campaign: link.campaign,
            partner: link.partner,
            link: link.id,
            kind,
            dialect: LinkDialect::Linkrunner,
            flags: Flags::default(),
            received_at: at,
            query: query.as_bytes().to_vec(),
            ip: Some([203, 0, 113, 9].into()),
            user_agent: Some("Mozilla/5.0 (Linux; Android 16)".into()),
            referer: None,
            language: Some("de".into()),
            location: Default::default(),
        })
    }

    /// An event that says only its name, received when it happened.
    pub fn event(&self, app: &str, name: &str, at: Timestamp) -> Event {
        Event {
            id: self.entropy.id(at),
            workspace: self.workspace,
            app: self.app(app),
            source: Source::Client,
            source_event_id: None,
            name: name.to_owned(),
            environment: Environment::Production,
            received_at: at,
            occurred_at: at,
            install_id: None,
            click_id: None,
            referrer: None,
            customer_id: None,
            device: Default::default(),
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

    /// An event with its key, as ingest makes it: unique inside its app.
    pub fn keyed(event: Event, key: &str, fields: u8) -> NewEvent {
        let scope = event.app.bits();
        NewEvent { event, idempotency: Some(Idempotency { scope, key: key.into(), fields: [fields; 16] }) }
    }

    /// Records one event without a key.
    pub async fn record(&self, event: Event) -> Id<kind::Event> {
        let answers = self.ledger.event_record(vec![NewEvent { event, idempotency: None }]).await;
        match answers.first() {
            Some(Ok(Recorded::Accepted(id))) => *id,
            other => panic!("not accepted: {other:?}"),
        }
    }

    /// Decides up to `limit` events once, as one step of the engine does. `None` when there was nothing.
    pub async fn decide_step(&self, limit: u32) -> Option<Committed> {
        let list = self.ledger.undecided(limit, NOON).await.expect("the list of undecided events");
        if list.is_empty() {
            return None;
        }
        let batch: Vec<Prepared> = list.into_iter().map(|u| self.clicks.prepare(u)).collect();
        Some(self.ledger.decision_commit(batch, NOON).await.expect("decisions are stored"))
    }

    /// Makes a second batch ready before the first is committed, as the engine does, and commits both.
    pub async fn decide_ahead(&self, limit: u32) {
        let first = self.ledger.undecided(limit, NOON).await.expect("the list of undecided events");
        let in_hand = first.iter().map(|u| (u.event.workspace, u.event.id)).collect();
        let second = self.ledger.undecided_beside(limit, NOON, in_hand).await.expect("the rest of the list");
        for list in [first, second] {
            let batch: Vec<Prepared> = list.into_iter().map(|u| self.clicks.prepare(u)).collect();
            self.ledger.decision_commit(batch, NOON).await.expect("decisions are stored");
        }
    }

    /// Decides until nothing is left to decide; panics when that does not end.
    pub async fn decide(&self) -> Committed {
        let mut all = Committed::default();
        for _ in 0..ROUNDS_MAX {
            let Some(done) = self.decide_step(100).await else { return all };
            all.decided += done.decided;
            all.unchanged += done.unchanged;
            all.planned.extend(done.planned);
        }
        panic!("deciding does not end");
    }

    /// Records events and decides.
    pub async fn tell(&self, event: Event) -> Story {
        let id = self.record(event).await;
        self.decide().await;
        self.story(id).await
    }

    /// The story of an event.
    pub async fn story(&self, event: Id<kind::Event>) -> Story {
        self.ledger.story(self.workspace, event).await.expect("a story").expect("the event is kept")
    }

    /// Panics unless the books are the same counted both ways, with zero differences: every conversion, rule,
    /// delivery, send and duration. Call it at the end of every scenario.
    pub async fn books_balance(&self) {
        self.books_balance_where(|_, _| {}).await;
    }

    /// The same where evidence of sends was deleted after its time, so that they cannot be counted from the rows.
    pub async fn books_balance_without_evidence(&self) {
        self.books_balance_where(|kept, counted| {
            (counted.sends, counted.send_time) = (kept.sends.clone(), kept.send_time.clone());
        })
        .await;
    }

    async fn books_balance_where(&self, mend: impl Fn(&BalanceRow, &mut BalanceRow)) {
        let far = Timestamp::from_ms(i64::MAX / 2);
        let kept = self.ledger.balance(self.workspace, Timestamp::from_ms(0), far).await.expect("books");
        let mut counted = self.ledger.recount(self.workspace).await.expect("a recount");
        for (key, row) in &mut counted {
            if let Some(kept) = kept.get(key) {
                mend(kept, row);
            }
        }
        // What waits is the same without a look at the queue, but for the oldest.
        let from = Timestamp::from_ms(0);
        let mut unwalked = self.ledger.balance_within(self.workspace, from, far, 0).await.expect("books");
        for (key, row) in &mut unwalked {
            row.oldest = kept.get(key).and_then(|kept| kept.oldest);
        }
        assert_eq!(kept, unwalked, "the counts of the queue differ from its rows");
        // A count that went to zero is not there in what is kept.
        counted.retain(|_, row| *row != Default::default());
        assert_eq!(kept, counted, "the books kept differ from those counted");
        for (key, row) in &kept {
            assert_eq!(row.differences(), (0, 0), "{key:?}: {row:?}");
            let delivered = row.finished.get("delivered").copied().unwrap_or_default();
            assert_eq!(row.latency.total(), delivered, "{key:?}: every arrival has its duration: {row:?}");
            // What the server's own settings do not allow was sent to nobody.
            let sends = row.sends.iter().filter(|(code, _)| NotAllowed::parse(code).is_none());
            let sends: i64 = sends.map(|(_, n)| n).sum();
            assert_eq!(row.send_time.total(), sends, "{key:?}: every send has its duration: {row:?}");
            assert_eq!(row.oldest.is_some(), row.waiting + row.held > 0, "{key:?}: {row:?}");
        }
    }
}

impl std::fmt::Debug for World {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("World").field("workspace", &self.workspace).finish_non_exhaustive()
    }
}
