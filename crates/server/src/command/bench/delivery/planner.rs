//! Deliveries on the disk before anybody sends them: the ledger's own steps by hand, at times that the run chooses.
//!
//! Each endpoint has an app of its own, so that an event makes exactly one delivery. Events are recorded, led to a
//! click and decided as the engine does it, but for the click log, which holds none of these clicks: the lead says
//! what it would have answered. More of the same are replays, thousands in one write, so that ten million take
//! minutes. What is planned at a time that is still to come waits until then.
//!
//! Not relied on: how long this takes. Nothing of it is measured, and the server runs only when it is closed.

use std::collections::HashSet;
use std::net::Ipv4Addr;
use std::path::Path;

use anyhow::{Context as _, anyhow, ensure};
use roundtrip_ambient::{Clock, Entropy};
use roundtrip_domain::attribution;
use roundtrip_domain::click::{Click, Flags, LinkDialect, Touch, TouchKind};
use roundtrip_domain::click_id::{CheckKey, Mint};
use roundtrip_domain::device::{Device, DeviceId, DeviceIdKind};
use roundtrip_domain::event::{Environment, Event, Source};
use roundtrip_domain::id::{Id, WorkspaceNo, kind};
use roundtrip_domain::settings::Link;
use roundtrip_domain::time::Timestamp;
use roundtrip_store::ledger::{self, Due, Ledger, NewEvent, Prepared, Recorded, Settled, Settlement};
use roundtrip_store::settings::{self, Before};
use serde_json::{Map, Value, json};

use super::super::world::{self, Random};
use super::Kind;
use crate::data_dir::DataDir;

/// Events that are recorded and decided in one commit, unless their times say otherwise.
const BATCH: usize = 500;
/// Deliveries that are planned once more in one commit.
const AGAIN: usize = 10_000;

/// The address of an endpoint: each has one of its own, as receivers have.
pub(super) fn address(endpoint: usize) -> Ipv4Addr {
    let [_, a, b, c] = u32::try_from(endpoint + 1).unwrap_or(u32::MAX).to_be_bytes();
    Ipv4Addr::new(127, a.saturating_add(1), b, c)
}

/// The endpoint of an address.
pub(super) fn endpoint_of(address: Ipv4Addr) -> Option<usize> {
    let [net, a, b, c] = address.octets();
    let number = u32::from_be_bytes([0, a.checked_sub(1)?, b, c]);
    if net == 127 { usize::try_from(number).ok()?.checked_sub(1) } else { None }
}

/// The document that sets the world up: for each endpoint an app, a partner with a link, and either a rule that tells
/// the partner or a webhook.
pub(super) fn document(kind: Kind, endpoints: usize, port: u16) -> Value {
    let map = |entry: &dyn Fn(usize) -> (String, Value)| -> Map<String, Value> {
        (0..endpoints).map(entry).collect()
    };
    let app = |i: usize| format!("app-{i}");
    let origin = |i: usize| format!("http://{}:{port}", address(i));
    let mut document = json!({
        "apps": map(&|i| (app(i), json!({
            "platform": "android", "bundle_id": format!("com.example.bench{i}"), "currency": "EUR",
        }))),
        "campaigns": map(&|i| (format!("campaign-{i}"), json!({ "app": app(i) }))),
        "partners": map(&|i| (format!("partner-{i}"), json!({}))),
        "links": map(&|i| (world::link(i), json!({
            "campaign": format!("campaign-{i}"), "partner": format!("partner-{i}"),
            "destinations": { "fallback": "https://shop.example/lumen?click_id={click_id}" },
        }))),
    });
    let (table, tellers) = match kind {
        Kind::Postback => (
            "rules",
            map(&|i| {
                let url = format!(
                    "{}/postback?clickid={{click_id}}&event_id={{event_id}}&gaid={{gaid}}&ts={{event_time}}&sub1={{sub1}}",
                    origin(i)
                );
                let rule = json!({
                    "app": app(i), "partner": format!("partner-{i}"), "on": "install", "url": url, "timeout": "1s",
                });
                (format!("rule-{i}"), rule)
            }),
        ),
        Kind::Webhook => (
            "webhooks",
            map(&|i| {
                let url = format!("{}/hooks", origin(i));
                (
                    format!("hook-{i}"),
                    json!({ "app": app(i), "url": url, "events": ["install"], "timeout": "1s" }),
                )
            }),
        ),
    };
    document[table] = tellers.into();
    document
}

/// A ledger in the hand of the run. The server cannot start before [`Self::close`].
pub(super) struct Planner {
    ledger: Ledger,
    entropy: Entropy,
    mint: Mint,
    random: Random,
    links: Vec<Link>,
    /// Events made so far; their ids count up.
    made: u64,
    _data: DataDir,
}

impl std::fmt::Debug for Planner {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Planner").field("made", &self.made).finish_non_exhaustive()
    }
}

impl Planner {
    /// Opens the ledger of a data directory, makes it where there is none, and applies the document.
    pub(super) async fn open(data: &Path, document: &Value) -> anyhow::Result<Self> {
        let data = DataDir::open(data)?;
        let (entropy, now) = (Entropy::System, Clock::System.now());
        let config = ledger::Config { path: data.ledger(), readers: 2 };
        let (ledger, _) = Ledger::open(&config, entropy.clone(), now).context("open the ledger")?;
        apply(&ledger, document, &entropy, now).await?;
        let catalog = ledger.catalog();
        let settings = catalog.workspace(WorkspaceNo::DEFAULT).context("read the settings")?;
        let endpoints = document["links"].as_object().map_or(0, Map::len);
        let mut links = Vec::with_capacity(endpoints);
        let by_name: std::collections::HashMap<&str, &Link> =
            settings.links.values().map(|link| (link.public_id.as_str(), &**link)).collect();
        for endpoint in 0..endpoints {
            let link = by_name.get(world::link(endpoint).as_str()).copied();
            links.push(link.context("find a link of the run")?.clone());
        }
        let random = Random::new(u64::from(entropy.u32()));
        let mint = Mint::new(1, CheckKey([9; 16]), None);
        Ok(Self { ledger, entropy, mint, random, links, made: 0, _data: data })
    }

    /// Plans one delivery for each of the endpoints named, due at `at`. They come back in the same order.
    pub(super) async fn plan(&mut self, endpoints: &[usize], at: Timestamp) -> anyhow::Result<Vec<Due>> {
        let mut planned = Vec::with_capacity(endpoints.len());
        for batch in endpoints.chunks(BATCH) {
            let now = Clock::System.now();
            let (mut events, mut touches) = (Vec::new(), Vec::new());
            for endpoint in batch {
                let (event, touch) = self.install(*endpoint, now)?;
                events.push(NewEvent { event, idempotency: None });
                touches.push(touch);
            }
            let ids: Vec<Id<kind::Event>> = events.iter().map(|new| new.event.id).collect();
            for answer in self.ledger.event_record(events).await {
                ensure!(matches!(answer, Ok(Recorded::Accepted(_))), "record an event: {answer:?}");
            }
            let limit = u32::try_from(batch.len()).unwrap_or(u32::MAX);
            let mut listed = self.ledger.undecided(limit, now).await.context("list what is undecided")?;
            listed.sort_by_key(|undecided| ids.iter().position(|id| *id == undecided.event.id));
            ensure!(listed.len() == batch.len(), "list what is undecided: {} are", listed.len());
            let prepared = listed.into_iter().zip(&touches).map(|(undecided, touch)| {
                let event = undecided.event.clone();
                let named = attribution::evidence(&event);
                let leads = named.iter().map(|named| named.touch(touch.clone(), &event)).collect();
                Prepared { undecided, leads }
            });
            let done = self.ledger.decision_commit(prepared.collect(), now).await.context("decide")?;
            ensure!(
                done.planned.len() == batch.len(),
                "plan one delivery for each event: {} events made {}",
                batch.len(),
                done.planned.len()
            );
            planned.extend(self.put_off(done.planned.into_iter().map(|due| (due, at)).collect()).await?);
            // Nobody takes them in this process.
            drop(self.ledger.due_take());
        }
        Ok(planned)
    }

    /// Plans each of these once more, due at the time beside it, as a replay. They come back in the same order.
    pub(super) async fn again(&self, items: Vec<(Due, Timestamp)>) -> anyhow::Result<Vec<Due>> {
        let mut planned = Vec::with_capacity(items.len());
        for batch in items.chunks(AGAIN) {
            let done = self.ledger.delivery_again(batch.to_vec(), Clock::System.now()).await;
            planned.extend(done.context("plan deliveries once more")?);
        }
        ensure!(
            planned.len() == items.len(),
            "plan deliveries once more: {} of {}",
            planned.len(),
            items.len()
        );
        Ok(planned)
    }

    /// Puts what was planned off until the time beside it, as a send does that is to be made again. It is planned now
    /// and due later: what was planned in the future would say that the clock was set back since, and not wait for it.
    async fn put_off(&self, items: Vec<(Due, Timestamp)>) -> anyhow::Result<Vec<Due>> {
        let now = Clock::System.now();
        for batch in items.chunks(BATCH) {
            let later = batch.iter().filter(|(_, at)| *at > now).map(|(item, at)| {
                let next = Settled::Again { due: *at, reason: "put_off".to_owned() };
                Settlement { item: *item, attempt: None, next }
            });
            self.ledger.delivery_settle(later.collect(), now).await.context("put deliveries off")?;
        }
        Ok(items
            .into_iter()
            .map(|(item, at)| if at > now { Due { due: at, ..item } } else { item })
            .collect())
    }

    /// Closes the ledger, so that a server can open it.
    pub(super) async fn close(self) {
        self.ledger.close().await;
    }

    /// An install, and the click that led to it.
    fn install(&mut self, endpoint: usize, now: Timestamp) -> anyhow::Result<(Event, Touch)> {
        let link = self.links.get(endpoint).context("find the link of an endpoint")?;
        let (number, random) = (self.made, &mut self.random);
        self.made += 1;
        let query = format!("click_id={}{}", random.partner_click_id(), world::query_rest(random));
        let id = self.mint.next(now, self.entropy.u32());
        let click = Click {
            workspace: WorkspaceNo::DEFAULT,
            app: link.app,
            campaign: link.campaign,
            partner: link.partner,
            link: link.id,
            kind: TouchKind::Click,
            dialect: LinkDialect::Linkrunner,
            flags: Flags::default(),
            received_at: now.plus_ms(-60_000),
            query: query.into_bytes(),
            ip: Some([203, 0, 113, 9].into()),
            user_agent: Some("Mozilla/5.0 (Linux; Android 14; SM-S911B)".to_owned()),
            referer: None,
            language: Some("en-US".to_owned()),
            location: Default::default(),
        };
        let gaid = DeviceId::parse(DeviceIdKind::Gaid, &random.gaid());
        let event = Event {
            id: self.entropy.id(now),
            workspace: WorkspaceNo::DEFAULT,
            app: link.app,
            source: Source::Server,
            source_event_id: Some(format!("bench-{number}")),
            name: "install".to_owned(),
            environment: Environment::Production,
            received_at: now,
            occurred_at: now,
            install_id: Some(format!("i-{:032x}", self.entropy.u128())),
            click_id: Some(id.to_string()),
            referrer: None,
            customer_id: None,
            device: Device {
                platform: Some("android".to_owned()),
                os_version: Some("14".to_owned()),
                model: Some("SM-S911B".to_owned()),
                app_version: Some("4.2.0".to_owned()),
                att_status: None,
                ids: gaid.into_iter().collect(),
            },
            revenue: None,
            properties: None,
            consent: None,
            ip: Some([203, 0, 113, 9].into()),
            user_agent: None,
            location: Default::default(),
            postback: None,
            change: None,
            findings: Vec::new(),
        };
        Ok((event, Touch { id, click }))
    }
}

/// Applies a document as `roundtrip apply` does, unless it was applied before.
async fn apply(ledger: &Ledger, document: &Value, entropy: &Entropy, now: Timestamp) -> anyhow::Result<()> {
    let workspace = WorkspaceNo::DEFAULT;
    let (version, resources) = ledger.settings_read(workspace).await.context("read the settings")?;
    let known: HashSet<&str> = resources.iter().map(|resource| resource.slug.as_str()).collect();
    if known.contains("app-0") {
        return Ok(());
    }
    let wrong = |problems: Vec<roundtrip_domain::problem::Problem>| {
        anyhow!("apply the settings of the measurement: {:?}", problems.first())
    };
    let edits = settings::edits_of(document, &resources, false).map_err(wrong)?;
    let before = Before { workspace, slug: "default", version, resources: &resources };
    let world = settings::World { taken_links: &|_| false, taken_keys: &|_| false, at: now, entropy };
    let plan = settings::plan(before, &edits, &world).map_err(wrong)?;
    let commit = ledger.settings_commit(workspace, version, plan.writes, "bench".to_owned(), now);
    commit.await.context("store the settings of the measurement")?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_endpoint_has_an_address_of_its_own() {
        for endpoint in [0, 1, 254, 255, 256, 65_534, 65_535, 70_000, 99_999] {
            let address = address(endpoint);
            assert!(address.is_loopback(), "{address}");
            assert_eq!(endpoint_of(address), Some(endpoint), "{address}");
        }
        assert_eq!(endpoint_of(Ipv4Addr::LOCALHOST), None);
        assert_eq!(endpoint_of(Ipv4Addr::new(10, 1, 0, 1)), None);
    }

    #[tokio::test]
    async fn each_event_makes_one_delivery_at_its_time_and_replays_make_more() {
        for kind in [Kind::Postback, Kind::Webhook] {
            let dir = tempfile::tempdir().unwrap();
            let document = document(kind, 3, 9);
            let mut planner = Planner::open(dir.path(), &document).await.unwrap();
            let at = Clock::System.now().plus_ms(3_600_000);
            let planned = planner.plan(&[2, 0, 2], at).await.unwrap();
            assert_eq!(planned.len(), 3);
            assert!(planned.iter().all(|due| due.due == at));
            assert_eq!(planned[0].endpoint, planned[2].endpoint);
            assert_ne!(planned[0].endpoint, planned[1].endpoint);
            let later = at.plus_ms(5_000);
            let more = planner.again(vec![(planned[1], at), (planned[0], later)]).await.unwrap();
            assert_eq!((more[0].endpoint, more[0].due), (planned[1].endpoint, at));
            assert_eq!((more[1].endpoint, more[1].due), (planned[0].endpoint, later));
            let heads = planner.ledger.queue_endpoints().await.unwrap();
            let waiting = |of: &Due| heads.iter().find(|head| head.endpoint == of.endpoint).unwrap().waiting;
            assert_eq!((waiting(&planned[0]), waiting(&planned[1])), (3, 2));
            planner.close().await;
            let again = Planner::open(dir.path(), &document).await.unwrap();
            again.close().await;
        }
    }
}
