//! One running node: its directory, stores and listeners; how it starts, fails and ends.
//!
//! Start: directory and lock → admin key → stores → sockets → loops → accept. Sockets are bound before anything is
//! answered, so the addresses of a node with port 0 are known to all its parts.
//! End: stop accepting → finish requests, at most [`DRAIN_MAX`] → stop the loops, which wait for what is being sent, at
//! most [`ENGINE_STOP_MAX`] → close stores → give the lock free.
//!
//! `serve` runs one and waits for a signal; `demo` and `bench` run one inside their own process.
//! Not relied on: an orderly end. What was answered is on the disk before it was answered, so a killed
//! node loses nothing; an orderly end only spares the next start some work.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use axum::Router;
use roundtrip_ambient::{Clock, Entropy};
use roundtrip_domain::retry::Policy;
use roundtrip_engine::sender::{self, Guard, Sender};
use roundtrip_engine::{Engine, deliver};
use roundtrip_store::ledger::Kept;
use roundtrip_web as web;
use tokio::sync::watch;
use tokio::task::JoinHandle;

use crate::admin_token::AdminToken;
use crate::config::Config;
use crate::data_dir::DataDir;
use crate::geography;
use crate::listen::{Answers, Listener, Side, Stage};
use crate::metrics::{Metrics, Sources};
use crate::operate::{self, OperateState, Readiness};
use crate::stores::Stores;

/// How long requests may go on after the node began to stop.
const DRAIN_MAX: Duration = Duration::from_secs(10);
/// How long cut connections may take to go away; nothing of theirs is awaited any more.
const CUT_MAX: Duration = Duration::from_secs(1);
/// How long the loops may take to stop: what is being sent, and some air.
const ENGINE_STOP_MAX: Duration = deliver::DRAIN_MAX.saturating_add(Duration::from_secs(3));
/// The same once somebody is in a hurry.
const ENGINE_HURRY_MAX: Duration = Duration::from_secs(2);
/// How often a node looks whether a store lost its durability.
const FATAL_POLL: Duration = Duration::from_millis(100);
/// Connections on the admin listener: people, scrapers and scripts, not the world.
const ADMIN_CONNECTIONS_MAX: u32 = 256;

/// The node can no longer keep what a 2xx promises, and must end.
#[derive(Debug, thiserror::Error)]
#[error("keep what was promised: {0}; the process ends, and the next start goes on from what is on the disk")]
pub(crate) struct Fatal(pub(crate) String);

/// A running node.
pub(crate) struct Node {
    public: SocketAddr,
    admin: SocketAddr,
    public_url: String,
    stage: watch::Sender<Stage>,
    listeners: Vec<JoinHandle<()>>,
    engine: Engine,
    stores: Stores,
    // Dropped last of all: the lock is free only when nothing here can write any more.
    data: DataDir,
}

impl Node {
    /// Starts a node. When this returns, both listeners accept.
    ///
    /// # Errors
    /// When the directory is in use or unusable, a store cannot be opened, or an address cannot be had.
    pub(crate) async fn start(config: &Config, clock: Clock, entropy: Entropy) -> anyhow::Result<Self> {
        for note in &config.notes {
            tracing::warn!(note, "a variable looks like a setting and is none");
        }
        let data = DataDir::open(&config.data)?;
        let token = Arc::new(AdminToken::open_or_create(data.path(), &entropy)?);
        let stores = Stores::open(&data, config, &clock, &entropy)?;
        let geo = geography::open(config);
        let public = Listener::bind(Side::Public, config.public)?;
        let admin = Listener::bind(Side::Admin, config.admin)?;
        let (public_at, admin_at) = (public.address(), admin.address());
        if !admin_at.ip().is_loopback() {
            tracing::warn!(
                listener.address = %admin_at,
                "the admin listener is reachable from other machines and speaks plain HTTP; put a proxy with TLS before it"
            );
        }
        let public_url = match &config.public_url {
            Some(url) => url.as_str().trim_end_matches('/').to_owned(),
            None => url_of(public_at),
        };

        let sender = sender(config, vec![public_at, admin_at])?;

        let engine = Engine::start(roundtrip_engine::Config {
            ledger: stores.ledger.clone(),
            clicks: stores.clicks.clone(),
            sender: sender.clone(),
            clock: clock.clone(),
            entropy: entropy.clone(),
            policy: Policy::postback(),
            kept: Kept { attempts: config.attempts_kept, payloads: config.payload_kept },
            alerts: roundtrip_engine::alert::Alerts {
                success_rate: u8::try_from(config.alert_success_rate).ok().filter(|percent| *percent > 0),
                silence: config.alert_silence,
            },
            bounds: roundtrip_engine::Bounds {
                workspace_per_day: Some(u64::from(config.workspace_sends_day)).filter(|n| *n > 0),
                workspace_in_flight: Some(config.workspace_sends_at_once).filter(|n| *n > 0),
                held_kept: config.held_retention,
            },
        });

        let counters = Arc::new(web::ingest::Counters::default());
        let front = web::ingest::Front::new(web::ingest::IngestState {
            clicks: stores.clicks.clone(),
            ledger: stores.ledger.clone(),
            clock: clock.clone(),
            geo: geo.clone(),
            options: ingest_options(config),
            counters: counters.clone(),
        })
        .beside(web::share::router(web::share::ShareState {
            ledger: stores.ledger.clone(),
            clicks: stores.clicks.clone(),
            clock: clock.clone(),
        }));

        let (stage, staged) = watch::channel(Stage::Run);
        let metrics = Metrics::new(&clock);
        let state = OperateState {
            readiness: Readiness { stores: stores.clone(), geo: geo.clone(), stage: staged.clone() },
            metrics: metrics.clone(),
            sources: Sources {
                stores: stores.clone(),
                sender: sender.clone(),
                ingest: counters.clone(),
                engine: engine.stats().clone(),
                geo: geo.clone(),
            },
            metrics_for: (!config.metrics_public).then(|| token.clone()),
        };
        let admin_token = web::api::AdminToken::known_by(move |presented| token.matches(presented));
        let pages = web::dashboard::DashboardState {
            ledger: stores.ledger.clone(),
            clicks: stores.clicks.clone(),
            clock: clock.clone(),
            entropy: entropy.clone(),
            admin_token: admin_token.clone(),
            public_url: public_url.clone(),
        };
        let api = web::api::ApiState {
            ledger: stores.ledger.clone(),
            clicks: stores.clicks.clone(),
            clock,
            entropy,
            admin_token,
            public_url: public_url.clone(),
            egress: Arc::new(egress(config, &sender)),
        };
        let admin_router: Router = operate::health_router()
            .merge(operate::admin_router(state))
            .merge(web::api::router(api))
            .merge(web::dashboard::router(pages))
            .fallback(async |headers: http::HeaderMap, uri: http::Uri| {
                web::dashboard::not_found(&headers, uri.path())
            });
        let serve = |listener: Listener, answers: Answers, connections_max, log_requests, side| {
            let counted = metrics.listener(side);
            tokio::spawn(listener.serve(answers, connections_max, log_requests, counted, staged.clone()))
        };
        // It ends with the node's stage, and is waited for by nobody: it holds nothing that must be closed.
        tokio::spawn(geography::watch(geo, staged.clone()));
        let listeners = vec![
            serve(public, Answers::Front(front), config.connections_max, config.log_requests, Side::Public),
            serve(admin, admin_router.into(), ADMIN_CONNECTIONS_MAX, config.log_requests, Side::Admin),
        ];
        tracing::info!(
            public.address = %public_at,
            admin.address = %admin_at,
            data_dir.path = %data.path().display(),
            click_log.durability = ?config.click_durability,
            "ready"
        );
        Ok(Self { public: public_at, admin: admin_at, public_url, stage, listeners, engine, stores, data })
    }

    /// Where the public listener is reached from this machine.
    pub(crate) fn public(&self) -> String {
        url_of(self.public)
    }

    /// Where the admin listener is reached from this machine.
    pub(crate) fn admin(&self) -> String {
        url_of(self.admin)
    }

    /// How the world reaches the public listener.
    pub(crate) fn public_url(&self) -> &str {
        &self.public_url
    }

    /// The data directory, absolute.
    pub(crate) fn data(&self) -> &Path {
        self.data.path()
    }

    /// Waits until the node cannot go on. Never returns while it can.
    pub(crate) async fn failed(&self) -> Fatal {
        loop {
            if self.stores.is_fatal() {
                return Fatal("the ledger could not be synced to the disk".to_owned());
            }
            if self.listeners.iter().any(JoinHandle::is_finished) {
                return Fatal("a listener ended by itself".to_owned());
            }
            tokio::select! {
                () = self.engine.failed() => {
                    return Fatal("a loop of the engine failed again and again, or lost its store".to_owned());
                }
                () = tokio::time::sleep(FATAL_POLL) => {}
            }
        }
    }

    /// Ends the node in order. `hurry` ends the wait for requests that are still going on, and for partners.
    ///
    /// # Errors
    /// When a store did not close; its data is safe, the next start has more to read.
    pub(crate) async fn stop(self, hurry: impl Future<Output = ()>) -> anyhow::Result<()> {
        let Self { stage, mut listeners, engine, stores, data, .. } = self;
        stage.send_replace(Stage::Drain);
        let drained = async {
            for listener in &mut listeners {
                // A listener that panicked has no connections to wait for.
                let _ = listener.await;
            }
        };
        let mut hurry = std::pin::pin!(hurry);
        let (is_orderly, is_hurried) = tokio::select! {
            () = drained => (true, false),
            () = tokio::time::sleep(DRAIN_MAX) => (false, false),
            () = &mut hurry => (false, true),
        };
        if !is_orderly {
            tracing::warn!("requests were still going on and are cut off");
            stage.send_replace(Stage::Cut);
            let cut = async {
                for listener in listeners.iter_mut().filter(|listener| !listener.is_finished()) {
                    let _ = listener.await;
                }
            };
            let _ = tokio::time::timeout(CUT_MAX, cut).await;
        }
        let engine_max = if is_hurried { ENGINE_HURRY_MAX } else { ENGINE_STOP_MAX };
        let has_stopped = tokio::select! {
            () = engine.stop() => true,
            () = tokio::time::sleep(engine_max) => false,
            () = &mut hurry, if !is_hurried => false,
        };
        if !has_stopped {
            tracing::warn!(
                "the loops did not stop in time; what they were sending is sent again after the next start"
            );
        }
        let closed = stores.close().await;
        drop(data);
        tracing::info!("stopped");
        closed
    }
}

/// The public routes' share of the settings.
fn ingest_options(config: &Config) -> web::ingest::Options {
    web::ingest::Options {
        public_url: config.public_url.clone(),
        trusted_proxies: config.trusted_proxies.clone(),
        allow_plain_http: config.allow_plain_http,
        client_rate_per_s: config.client_rate,
        client_burst: config.client_burst,
        postback_rate_per_s: config.postback_rate,
    }
}

/// The one way out. It may not call this node's own listeners, whatever private ranges are allowed.
fn sender(config: &Config, own_listeners: Vec<SocketAddr>) -> anyhow::Result<Sender> {
    let guard = Guard {
        allow_private: config.allow_private.clone(),
        allow_plain_http: config.allow_plain_http_out,
        ports_extra: config.outbound_ports.clone(),
        own_listeners,
        ..Guard::default()
    };
    let bound = [
        ("outbound_bind_v4", config.outbound_bind_v4.map(IpAddr::V4)),
        ("outbound_bind_v6", config.outbound_bind_v6.map(IpAddr::V6)),
    ];
    for (key, address) in bound.into_iter().filter_map(|(key, address)| Some((key, address?))) {
        // Found at the start rather than by each delivery. No packet is sent.
        UdpSocket::bind((address, 0)).with_context(|| {
            format!("send from {address}: the machine has no such address; correct `{key}`, or leave it out")
        })?;
    }
    let sender_config = sender::Config {
        extra_roots_file: config.extra_roots.clone(),
        bind_v4: config.outbound_bind_v4,
        bind_v6: config.outbound_bind_v6,
        proxy: config.outbound_proxy.clone(),
        ..sender::Config::default()
    };
    Sender::new(&sender_config, guard).context("set up sending")
}

/// What receivers may know of the way out.
fn egress(config: &Config, sender: &Sender) -> web::api::Egress {
    web::api::Egress {
        addresses: config.egress_addresses.clone(),
        bind_v4: config.outbound_bind_v4.map(|address| address.to_string()),
        bind_v6: config.outbound_bind_v6.map(|address| address.to_string()),
        proxy: config.outbound_proxy.as_ref().map(ToString::to_string),
        user_agent: sender.user_agent().to_owned(),
        plain_http: config.allow_plain_http_out,
        private_ranges: config.allow_private.iter().map(ToString::to_string).collect(),
        ports: config.outbound_ports.clone(),
    }
}

/// The URL that reaches a listener from this machine: "every address" is reached through loopback.
fn url_of(address: SocketAddr) -> String {
    let ip = match address.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(ip) if ip.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
        ip => ip,
    };
    format!("http://{}", SocketAddr::new(ip, address.port()))
}
