//! A data directory whose ledger is full of deliveries that nobody has sent yet, made by the functions that the API and
//! the engine call: settings are planned and committed, events recorded and decided.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::path::Path;

use roundtrip_ambient::{Clock, Entropy};
use roundtrip_domain::event::{Environment, Event, Source};
use roundtrip_domain::id::{Id, WorkspaceNo, kind};
use roundtrip_domain::time::Timestamp;
use roundtrip_store::ledger::{Config, Ledger, NewEvent, Prepared, Recorded};
use roundtrip_store::settings::{self, Before};
use rusqlite::Connection;
use serde_json::{Value, json};

/// Webhooks, each of which is told of every event.
const WEBHOOKS: usize = 100;
/// Events in one commit.
const BATCH: usize = 50;

/// What waits.
pub(super) struct Stock {
    /// Every delivery.
    pub(super) deliveries: HashMap<Id<kind::Delivery>, Wanted>,
}

/// What is to be heard of a delivery.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Wanted {
    /// The event that it tells.
    pub(super) fact: Id<kind::Event>,
    /// Where: port and path.
    pub(super) place: (u16, String),
}

impl Stock {
    /// Fills the ledger of a data directory that is not there yet, and closes it.
    pub(super) async fn fill(data: &Path, at: &[SocketAddr], events: usize, waits: usize) -> Self {
        std::fs::create_dir(data).expect("the data directory can be made");
        let (entropy, now) = (Entropy::System, Clock::System.now());
        let (ledger, _) =
            Ledger::open(&Config::in_dir(data), entropy.clone(), now).expect("a new ledger opens");
        apply(&ledger, &document(at, waits), &entropy, now).await;
        let planned = tell(&ledger, events, &entropy, now).await;
        let catalog = ledger.catalog();
        let settings = catalog.workspace(WorkspaceNo::DEFAULT).expect("there is a workspace");
        let places: HashMap<Vec<u8>, (u16, String)> = settings
            .webhooks
            .iter()
            .map(|webhook| {
                let url = url::Url::parse(&webhook.url).expect("it was judged");
                let place = (url.port().expect("it names its port"), url.path().to_owned());
                (webhook.id.bytes().to_vec(), place)
            })
            .collect();
        ledger.close().await;
        let deliveries = deliveries(data, &places);
        assert_eq!(deliveries.len(), events * WEBHOOKS, "not every webhook is told of every event");
        assert_eq!(deliveries.len(), planned, "the commits planned other deliveries than there are");
        Self { deliveries }
    }
}

fn document(at: &[SocketAddr], waits: usize) -> Value {
    let waits = vec!["1s"; waits];
    let webhook = |n: usize| {
        let url = format!("http://{}/hook/{n}", at[n % at.len()]);
        // On a machine that stands still a send may take long, and is none that failed.
        (format!("hook-{n}"), json!({ "url": url, "events": ["purchase"], "retry": waits, "timeout": "30s" }))
    };
    let webhooks: serde_json::Map<String, Value> = (0..WEBHOOKS).map(webhook).collect();
    json!({ "apps": { "shop": { "platform": "web" } }, "webhooks": webhooks })
}

async fn apply(ledger: &Ledger, document: &Value, entropy: &Entropy, at: Timestamp) {
    let workspace = WorkspaceNo::DEFAULT;
    let (version, resources) = ledger.settings_read(workspace).await.expect("settings are read");
    let edits = settings::edits_of(document, &resources, false).expect("it is a document");
    let slug = ledger.catalog().workspace(workspace).expect("there is a workspace").slug.clone();
    let before = Before { workspace, slug: &slug, version, resources: &resources };
    let world = settings::World { taken_links: &|_| false, taken_keys: &|_| false, at, entropy };
    let plan = settings::plan(before, &edits, &world).expect("it is sound");
    let commit = ledger.settings_commit(workspace, version, plan.writes, "test".into(), at);
    commit.await.expect("settings are stored");
}

/// Records events and decides them; says how many deliveries were planned.
async fn tell(ledger: &Ledger, events: usize, entropy: &Entropy, at: Timestamp) -> usize {
    let catalog = ledger.catalog();
    let settings = catalog.workspace(WorkspaceNo::DEFAULT).expect("there is a workspace");
    let app = settings.apps.values().next().expect("there is an app").id;
    let mut planned = 0;
    for first in (0..events).step_by(BATCH) {
        let batch = (first..events.min(first + BATCH))
            .map(|n| NewEvent { event: purchase(n, app, entropy, at), idempotency: None });
        for answer in ledger.event_record(batch.collect()).await {
            assert!(matches!(answer, Ok(Recorded::Accepted(_))), "an event was not accepted: {answer:?}");
        }
        let undecided = ledger.undecided(BATCH as u32, at).await.expect("what is undecided can be read");
        // Nobody clicked, so there is nothing that the click log could say.
        let prepared = undecided.into_iter().map(|undecided| Prepared { undecided, leads: Vec::new() });
        let done = ledger.decision_commit(prepared.collect(), at).await.expect("decisions are stored");
        // They would be handed to an engine, were there one.
        drop(ledger.due_take());
        planned += done.planned.len();
    }
    planned
}

fn purchase(n: usize, app: Id<kind::App>, entropy: &Entropy, at: Timestamp) -> Event {
    Event {
        id: entropy.id(at),
        workspace: WorkspaceNo::DEFAULT,
        app,
        source: Source::Server,
        source_event_id: Some(format!("order-{n}")),
        name: "purchase".to_owned(),
        environment: Environment::Production,
        received_at: at,
        occurred_at: at,
        install_id: None,
        click_id: None,
        referrer: None,
        customer_id: Some(format!("customer-{n}")),
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

fn deliveries(data: &Path, places: &HashMap<Vec<u8>, (u16, String)>) -> HashMap<Id<kind::Delivery>, Wanted> {
    let ledger = Connection::open(data.join("ledger.sqlite")).expect("the ledger opens");
    let mut select = ledger.prepare("SELECT id, fact, teller FROM delivery").expect("there are deliveries");
    let rows = select.query_map([], |row| {
        let (id, fact, teller): (Vec<u8>, Vec<u8>, Vec<u8>) = (row.get(0)?, row.get(1)?, row.get(2)?);
        Ok((id, fact, teller))
    });
    rows.expect("they can be read")
        .map(|row| {
            let (id, fact, teller) = row.expect("it can be read");
            let fact = Id::from_slice(&fact).expect("an id");
            (Id::from_slice(&id).expect("an id"), Wanted { fact, place: places[&teller].clone() })
        })
        .collect()
}
