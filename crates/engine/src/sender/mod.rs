//! The guarded outbound HTTP client. Postbacks, webhooks, token calls and test sends all leave through it.
//!
//! Destinations are hostile: the URL comes from a partner's template, the name from a partner's DNS, the
//! answer from a partner's server. So every connection is checked where it is made, and time, bytes and
//! connections have bounds.
//!
//! | file | who does what |
//! | --- | --- |
//! | `guard` | which addresses and ports may be connected to |
//! | `request` | the URL, parsed once, and the headers, checked |
//! | `resolve`, `connect`, `tls` | look up, check all, connect to a checked address, handshake |
//! | `tap` | counters under HTTP: written, read, first byte, bound on heads |
//! | `exchange` | one request and its answer on one connection |
//! | `pool` | keep-alive, bounded over all hosts |
//! | `token` | a request with a token that is fetched, kept and renewed |
//! | `proxy` | the operator's proxy, when there is one |
//! | `evidence`, `mask` | what is kept of it, without secrets |
//! | `outcome` | what it came to |
//!
//! What it does not do: follow redirects, read proxies from the environment, ask for compression or decode
//! it, keep cookies, cache DNS, retry (policy lives with deliveries; the one exception is a request that
//! met a closed keep-alive connection and surely was not processed, or is a safe method). It speaks HTTP/1.1
//! only and offers only that by ALPN; HTTP/2 is not implemented.
//!
//! What is not relied on: that hyper bounds interim answers (the tap does), that a closed idle connection
//! is noticed before it is used, that a resolver gives the same answer twice.

mod connect;
mod evidence;
mod exchange;
mod guard;
mod mask;
mod outcome;
mod pool;
mod proxy;
mod request;
mod resolve;
#[cfg(feature = "simulation")]
mod simulated;
mod tap;
mod tls;
mod token;

use std::fmt;
use std::net::{Ipv4Addr, Ipv6Addr};
use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use http::HeaderValue;
use tokio::time::Instant;

use connect::Connector;
use exchange::Connection;
use outcome::Fault;
use pool::{Bounds, Pool};
use request::Prepared;
use tap::micros;

pub use evidence::{Answer, BodyEnd, Evidence, RETRY_AFTER_MAX, SentRequest, Timings, TlsFacts, retry_after};
pub use guard::{Guard, Refusal, Subnet, SubnetError};
pub use outcome::{Failure, Outcome};
pub use proxy::{Proxy, ProxyError};
pub use request::Request;
pub use resolve::{Lookups, Resolve};
#[cfg(feature = "simulation")]
pub use simulated::{Receivers, Reply};
pub use token::{Refused, TokenEvidence};

/// How the sender is set up, once per process.
#[derive(Clone, Debug)]
pub struct Config {
    /// An https URL about this sender, put into `user-agent` so that receivers can find out who calls.
    pub docs_url: Option<String>,
    /// A PEM file with root certificates to trust besides the web's own, for receivers with a private
    /// authority.
    pub extra_roots_file: Option<PathBuf>,
    /// Where addresses come from.
    pub resolve: Resolve,
    /// The IPv4 address to send from; the system chooses when it is absent.
    pub bind_v4: Option<Ipv4Addr>,
    /// The IPv6 address to send from; the system chooses when it is absent.
    pub bind_v6: Option<Ipv6Addr>,
    /// The proxy that all requests leave through; none unless the operator names one. Proxies of the environment are
    /// never read.
    pub proxy: Option<Proxy>,
    /// Open connections in all, idle and busy. The default is the engine's bound on concurrent attempts.
    pub connections_max: usize,
    /// Idle connections kept per scheme, host and port. The default is the most that one endpoint uses at once: with
    /// fewer, an endpoint at full speed would throw connections away and open them anew.
    pub idle_per_key_max: usize,
    /// How long an idle connection is kept, in milliseconds.
    pub idle_max_ms: u64,
    /// How old a connection may be when it is reused, in milliseconds. DNS moves, and only a new connection
    /// looks.
    pub age_max_ms: u64,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            docs_url: None,
            extra_roots_file: None,
            resolve: Resolve::system(),
            bind_v4: None,
            bind_v6: None,
            proxy: None,
            connections_max: 1_024,
            idle_per_key_max: 64,
            idle_max_ms: 30_000,
            age_max_ms: 300_000,
        }
    }
}

/// Why a sender cannot be set up.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file of extra root certificates cannot be read, or holds something else.
    #[error("read the root certificates in {}: {reason}", path.display())]
    RootsRead {
        /// The file.
        path: PathBuf,
        /// What was wrong with it.
        reason: String,
    },
    /// `docs_url` cannot stand in a header.
    #[error("use the docs URL: it holds a line break or control character")]
    DocsUrl,
    /// The TLS library refused its own settings.
    #[error("set up TLS: {0}")]
    Tls(String),
}

/// The bounds of one exchange.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Look-up, TCP and TLS together, in milliseconds. Never longer than what `total_ms` leaves.
    pub connect_ms: u64,
    /// The whole exchange, from the call to the last kept byte, in milliseconds.
    pub total_ms: u64,
    /// How many bytes of an answer's body are read before the connection is closed. The read that crosses
    /// it may bring up to one buffer (32 KiB) more.
    pub body_read_max: usize,
    /// How many bytes of the body are kept.
    pub body_kept_max: usize,
}

impl Limits {
    /// The defaults for a postback: connect 5 s, in all 10 s.
    pub const POSTBACK: Self =
        Self { connect_ms: 5_000, total_ms: 10_000, body_read_max: 64 * 1024, body_kept_max: 4 * 1024 };
    /// The defaults for a webhook: connect 5 s, in all 15 s.
    pub const WEBHOOK: Self = Self { total_ms: 15_000, ..Self::POSTBACK };
    /// The shortest and the longest that an exchange may be set to take, in milliseconds.
    pub const TOTAL_MS: RangeInclusive<u64> = 1_000..=30_000;

    /// The same limits over another time in all, which is brought into [`Self::TOTAL_MS`].
    #[must_use]
    pub fn within_ms(self, total_ms: u64) -> Self {
        let total_ms = total_ms.clamp(*Self::TOTAL_MS.start(), *Self::TOTAL_MS.end());
        Self { connect_ms: self.connect_ms.min(total_ms), total_ms, ..self }
    }

    /// The same limits over what is left of the time until `deadline`.
    fn until(self, deadline: Instant) -> Self {
        let left = deadline.saturating_duration_since(Instant::now()).as_millis();
        let total_ms = u64::try_from(left).unwrap_or(u64::MAX).clamp(1, self.total_ms);
        Self { total_ms, ..self }
    }
}

impl Default for Limits {
    fn default() -> Self {
        Self::POSTBACK
    }
}

/// What came of one `send`.
#[derive(Clone, Debug)]
pub struct Exchange {
    /// How it ended.
    pub outcome: Outcome,
    /// What happened on the way. Secrets other than credentials in headers are still in it: call
    /// [`Evidence::mask`] before it is kept or shown.
    pub evidence: Evidence,
}

/// The client. Cheap to clone; clones share the pool.
#[derive(Clone)]
pub struct Sender(
    Arc<Inner>,
    /// Who answers in the place of the network.
    #[cfg(feature = "simulation")]
    Option<Arc<dyn Receivers>>,
);

struct Inner {
    connector: Connector,
    pool: Pool,
    tokens: token::Tokens,
    user_agent: HeaderValue,
}

impl fmt::Debug for Sender {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sender").field("connections", &self.open_connections()).finish_non_exhaustive()
    }
}

impl Sender {
    /// Sets up a sender. The guard stays as it is for the sender's life, which is what makes reusing a
    /// checked connection sound; changed rules mean a new sender.
    ///
    /// # Errors
    /// When the extra root certificates cannot be read or the docs URL cannot stand in a header.
    pub fn new(config: &Config, guard: Guard) -> Result<Self, ConfigError> {
        let version = env!("CARGO_PKG_VERSION");
        let user_agent = match &config.docs_url {
            Some(url) => format!("Roundtrip/{version} (+{url})"),
            None => format!("Roundtrip/{version}"),
        };
        let connector = Connector {
            guard,
            resolve: config.resolve.clone(),
            tls: tls::connector(config.extra_roots_file.as_deref())?,
            bind_v4: config.bind_v4,
            bind_v6: config.bind_v6,
            proxy: config.proxy.clone(),
        };
        let pool = Pool::new(Bounds {
            connections_max: config.connections_max.max(1),
            idle_per_key_max: config.idle_per_key_max,
            idle_max: Duration::from_millis(config.idle_max_ms),
            age_max: Duration::from_millis(config.age_max_ms),
        });
        let user_agent = HeaderValue::from_str(&user_agent).map_err(|_| ConfigError::DocsUrl)?;
        let inner = Inner { connector, pool, tokens: token::Tokens::default(), user_agent };
        Ok(Self(
            Arc::new(inner),
            #[cfg(feature = "simulation")]
            None,
        ))
    }

    /// Sends one request and reads its answer. Every way this can end is an [`Outcome`]. Dropping the
    /// future closes its connection.
    pub async fn send(&self, request: Request, limits: Limits) -> Exchange {
        let began = Instant::now();
        let mut evidence = Evidence::default();
        let outcome = match self.run(&request, &limits, began, &mut evidence).await {
            Ok(status) => Outcome::Answered { status },
            Err(Fault { failure, detail }) => {
                evidence.error = Some(detail);
                Outcome::Failed(failure)
            }
        };
        Exchange { outcome, evidence }
    }

    /// What requests that name no `user-agent` of their own are sent with.
    #[must_use]
    pub fn user_agent(&self) -> &str {
        // It was made of a text.
        self.0.user_agent.to_str().unwrap_or_default()
    }

    /// How many connections wait, open, for their next request.
    #[must_use]
    pub fn idle_connections(&self) -> usize {
        self.0.pool.idle_count()
    }

    /// How many connections are open, busy ones included.
    #[must_use]
    pub fn open_connections(&self) -> usize {
        self.0.pool.open_count()
    }

    async fn run(
        &self,
        request: &Request,
        limits: &Limits,
        began: Instant,
        evidence: &mut Evidence,
    ) -> Result<u16, Fault> {
        let deadline = began + Duration::from_millis(limits.total_ms);
        let ended = self.run_until(request, limits, deadline, evidence).await;
        evidence.timings.total_us = micros(began.elapsed());
        let (status, keep) = ended?;
        if let Some((key, mut connection)) = keep
            && connection.settle().await
        {
            self.0.pool.park(key, connection);
        }
        Ok(status)
    }

    async fn run_until(
        &self,
        request: &Request,
        limits: &Limits,
        deadline: Instant,
        evidence: &mut Evidence,
    ) -> Result<(u16, Option<(pool::Key, Connection)>), Fault> {
        let Inner { connector, pool, user_agent, .. } = &*self.0;
        let prepared = Prepared::new(request, user_agent)?;
        evidence.origin.clone_from(&prepared.origin);
        evidence.request = prepared.shown();
        let target = &prepared.target;
        connector.guard.check_scheme_and_port(target.key.https, target.key.port)?;
        #[cfg(feature = "simulation")]
        if let Some(receivers) = &self.1 {
            let status = simulated::exchange(receivers.as_ref(), &prepared, deadline, evidence).await?;
            return Ok((status, None));
        }
        evidence.via = connector.proxy.as_ref().map(ToString::to_string);
        let kept = |connection, keep: bool| keep.then(|| (target.key.clone(), connection));

        if let Some(mut connection) = pool.checkout(&target.key) {
            evidence.reused = true;
            match connection.exchange(&prepared, limits, deadline, evidence).await {
                Ok((status, keep)) => return Ok((status, kept(connection, keep))),
                Err(broken) => {
                    // The peer may close an idle connection at the very moment we write to it. Sending
                    // again is sound only if it cannot make the receiver count twice: nothing was written,
                    // or the method is safe and nothing was answered.
                    let stale = broken.fault.failure == Failure::Reset
                        && broken.unanswered
                        && (broken.unwritten || prepared.is_safe());
                    if !stale {
                        return Err(broken.fault);
                    }
                    evidence.reused = false;
                    evidence.repeated = true;
                    evidence.address = None;
                    evidence.tls = None;
                }
            }
        }

        let slot = pool.slot(deadline).await?;
        let connect_deadline = deadline.min(Instant::now() + Duration::from_millis(limits.connect_ms));
        let opened = connector.open(target, connect_deadline, evidence).await?;
        let mut connection = Connection::new(opened, slot).await?;
        match connection.exchange(&prepared, limits, deadline, evidence).await {
            Ok((status, keep)) => Ok((status, kept(connection, keep))),
            Err(broken) => Err(broken.fault),
        }
    }
}
