//! Connections that wait for their next request. hyper's own pools have no bound over all hosts, so this
//! one counts every open connection, busy or idle, and gives up the one idle for longest to make room.
//! Nobody's correctness leans on it: a connection that is not found here is opened.

use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, sleep, timeout_at};

use super::exchange::Connection;
use super::outcome::{Failure, Fault};

/// The shortest pause between two looks for expired connections.
const SWEEP_PAUSE_MIN: Duration = Duration::from_millis(20);

/// Who is at the other end. Userinfo is no part of it: it travels in each request's own header.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Key {
    pub(super) https: bool,
    /// As `url` prints it: lower case, IPv6 in brackets.
    pub(super) host: String,
    pub(super) port: u16,
}

/// The bounds, from [`super::Config`].
#[derive(Clone, Copy, Debug)]
pub(super) struct Bounds {
    pub(super) connections_max: usize,
    pub(super) idle_per_key_max: usize,
    pub(super) idle_max: Duration,
    pub(super) age_max: Duration,
}

pub(super) struct Pool(Arc<Shared>);

struct Shared {
    bounds: Bounds,
    slots: Arc<Semaphore>,
    /// Who waits for a slot. While anybody does, no connection is parked: its slot is what they wait for.
    waiting: AtomicUsize,
    idle: Mutex<Idle>,
}

#[derive(Default)]
struct Idle {
    by_key: HashMap<Key, Vec<Parked>>,
    sweeping: bool,
}

struct Parked {
    connection: Connection,
    since: Instant,
}

impl Pool {
    pub(super) fn new(bounds: Bounds) -> Self {
        Self(Arc::new(Shared {
            bounds,
            slots: Arc::new(Semaphore::new(bounds.connections_max.clamp(1, Semaphore::MAX_PERMITS))),
            waiting: AtomicUsize::new(0),
            idle: Mutex::default(),
        }))
    }

    /// The connection to `key` that was used last, if one is open, ready and young enough.
    pub(super) fn checkout(&self, key: &Key) -> Option<Connection> {
        let now = Instant::now();
        let mut idle = self.0.idle();
        let parked = idle.by_key.get_mut(key)?;
        let mut found = None;
        while let Some(last) = parked.pop() {
            if last.is_usable(now, &self.0.bounds) {
                found = Some(last.connection);
                break;
            }
        }
        if parked.is_empty() {
            idle.by_key.remove(key);
        }
        found
    }

    /// The right to open one more connection, for which an idle one may have to go.
    pub(super) async fn slot(&self, deadline: Instant) -> Result<OwnedSemaphorePermit, Fault> {
        if let Ok(slot) = self.0.slots.clone().try_acquire_owned() {
            return Ok(slot);
        }
        let _waiting = Waiting::new(&self.0.waiting);
        self.0.idle().drop_longest_idle();
        let full = || Fault::new(Failure::PoolFull, "all connections were in use until the deadline");
        match timeout_at(deadline, self.0.slots.clone().acquire_owned()).await {
            Ok(Ok(slot)) => Ok(slot),
            Ok(Err(_)) | Err(_) => Err(full()),
        }
    }

    /// Takes back a connection whose exchange ended well.
    pub(super) fn park(&self, key: Key, connection: Connection) {
        let bounds = &self.0.bounds;
        if bounds.idle_per_key_max == 0 || bounds.idle_max.is_zero() {
            return;
        }
        let mut idle = self.0.idle();
        if self.0.waiting.load(SeqCst) > 0 {
            return;
        }
        let parked = idle.by_key.entry(key).or_default();
        if parked.len() >= bounds.idle_per_key_max {
            parked.remove(0);
        }
        parked.push(Parked { connection, since: Instant::now() });
        if !idle.sweeping {
            idle.sweeping = true;
            tokio::spawn(sweep(Arc::downgrade(&self.0), (bounds.idle_max / 4).max(SWEEP_PAUSE_MIN)));
        }
    }

    /// How many connections wait here and are still open.
    pub(super) fn idle_count(&self) -> usize {
        self.0.idle().by_key.values().flatten().filter(|parked| !parked.connection.is_closed()).count()
    }

    /// How many connections are open, busy ones included.
    pub(super) fn open_count(&self) -> usize {
        self.0.bounds.connections_max.saturating_sub(self.0.slots.available_permits())
    }
}

impl Shared {
    fn idle(&self) -> MutexGuard<'_, Idle> {
        // A panic while the lock was held leaves at worst a connection too few.
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Idle {
    fn drop_longest_idle(&mut self) {
        // The oldest of a key stands first. With at most a thousand keys, and only when the pool is full,
        // looking at each is cheaper than keeping an order up to date.
        let oldest = self
            .by_key
            .iter()
            .filter_map(|(key, parked)| Some((parked.first()?.since, key)))
            .min_by_key(|(since, _)| *since)
            .map(|(_, key)| key.clone());
        let Some(key) = oldest else { return };
        if let Some(parked) = self.by_key.get_mut(&key) {
            parked.remove(0);
            if parked.is_empty() {
                self.by_key.remove(&key);
            }
        }
    }
}

impl Parked {
    fn is_usable(&self, now: Instant, bounds: &Bounds) -> bool {
        self.connection.is_ready() && !self.is_expired(now, bounds)
    }

    fn is_expired(&self, now: Instant, bounds: &Bounds) -> bool {
        self.connection.is_closed()
            || now.saturating_duration_since(self.since) >= bounds.idle_max
            || now.saturating_duration_since(self.connection.opened_at) >= bounds.age_max
    }
}

/// Closes what expired, so that an idle sender holds no sockets. Runs while anything is parked.
async fn sweep(shared: Weak<Shared>, pause: Duration) {
    loop {
        sleep(pause).await;
        let Some(shared) = shared.upgrade() else { return };
        let now = Instant::now();
        let mut idle = shared.idle();
        idle.by_key.retain(|_, parked| {
            parked.retain(|parked| !parked.is_expired(now, &shared.bounds));
            !parked.is_empty()
        });
        if idle.by_key.is_empty() {
            idle.sweeping = false;
            return;
        }
    }
}

/// Counts one waiter for as long as it lives, also when its future is dropped.
struct Waiting<'a>(&'a AtomicUsize);

impl<'a> Waiting<'a> {
    fn new(count: &'a AtomicUsize) -> Self {
        count.fetch_add(1, SeqCst);
        Self(count)
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, SeqCst);
    }
}
