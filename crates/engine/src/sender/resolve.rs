//! Names to addresses. Nothing is cached here: a connection in the pool is the cache, and a new connection
//! always asks again. It is NOT relied on to filter addresses; the guard checks every answer.

use std::fmt;
use std::io;
use std::net::IpAddr;
use std::sync::Arc;

use tokio::sync::Semaphore;

/// How many look-ups may occupy a thread at once. The system's resolver blocks its thread and cannot be
/// cancelled, so without a bound one slow name server could take the whole blocking pool (512 threads) from
/// the rest of the process.
const LOOKUPS_MAX: usize = 64;

type Script = dyn Fn(&str) -> io::Result<Vec<IpAddr>> + Send + Sync;

/// Where addresses come from.
#[derive(Clone)]
pub enum Resolve {
    /// The system's resolver (`getaddrinfo`), as the operator configured it.
    System(Lookups),
    /// A function in the place of DNS, so that a test can say what a name resolves to from call to call.
    Scripted(Arc<Script>),
}

/// The bound on look-ups that run at the same time.
#[derive(Clone)]
pub struct Lookups(Arc<Semaphore>);

impl Resolve {
    /// The system's resolver.
    #[must_use]
    pub fn system() -> Self {
        Self::System(Lookups(Arc::new(Semaphore::new(LOOKUPS_MAX))))
    }

    /// A scripted resolver; `script` is called once for every new connection.
    pub fn scripted(script: impl Fn(&str) -> io::Result<Vec<IpAddr>> + Send + Sync + 'static) -> Self {
        Self::Scripted(Arc::new(script))
    }

    /// The addresses of `host` in the order to try them. The caller bounds the wait.
    pub(super) async fn resolve(&self, host: &str) -> io::Result<Vec<IpAddr>> {
        match self {
            Self::Scripted(script) => script(host),
            Self::System(Lookups(slots)) => {
                let slot = slots.clone().acquire_owned().await.map_err(io::Error::other)?;
                let host = host.to_owned();
                // A task of its own keeps the slot until the look-up has really ended, even when the
                // caller has stopped waiting for it.
                let lookup = tokio::spawn(async move {
                    let found = tokio::net::lookup_host((host.as_str(), 0)).await;
                    drop(slot);
                    found.map(|addresses| addresses.map(|address| address.ip()).collect())
                });
                lookup.await.map_err(io::Error::other)?
            }
        }
    }
}

impl fmt::Debug for Resolve {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::System(_) => "Resolve::System",
            Self::Scripted(_) => "Resolve::Scripted",
        })
    }
}
