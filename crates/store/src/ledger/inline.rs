//! The ledger without threads, for simulations: every call runs on the task that makes it, on one connection.
//!
//! The cast: a [`Database`] outlives the processes of a simulated world as a disk outlives crashes; each process
//! opens its own [`Ledger`] on it with [`Ledger::simulated`], and with it what a process has in memory. A [`Hook`]
//! says at each call what becomes of it: it waits, it is refused, or the process ends before or after the commit.
//! A process that has ended gets no answer from here any more, ever, which is all that others see of a `kill -9`.
//!
//! Not here: disks that lose what was committed. The database lives in memory and is never torn; a failed fsync and
//! a torn page are tested where the real files are.

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use arc_swap::ArcSwap;
use roundtrip_ambient::Entropy;
use roundtrip_domain::id::{Id, WorkspaceNo, kind};
use roundtrip_domain::time::Timestamp;
use rusqlite::Connection;

use super::writer::{self, WriterStats};
use super::{Identity, Inner, Ledger, Way, delivery, endpoint, handoff, identity, migrate, settings};
use crate::Error;

/// The last moment that an id can stand in, in milliseconds: nobody tells the time when a simulated process begins.
const MOMENT_MAX_MS: i64 = 0xffff_ffff_ffff;

/// What a process asks of the ledger.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Call {
    /// Something is read.
    Read,
    /// Something is written, in a transaction of its own.
    Write,
}

/// What becomes of a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fate {
    /// It is done.
    Done,
    /// It is refused as by a full disk: nothing is written.
    Unavailable,
    /// It is done, and the answer says that it was not.
    AnswerLost,
    /// Nothing is done, and the task that called panics: a bug somewhere on its way.
    Panics,
    /// The process ends before it is done.
    EndsBefore,
    /// It is done, and the process ends before it hears of it.
    EndsAfter,
}

/// Decides what becomes of the calls of one process.
pub trait Hook: Send + Sync + 'static {
    /// What becomes of this call, and how long it takes before and after it is done. At least once for each, the
    /// task lets others go first.
    fn fate(&self, call: Call) -> (Fate, Duration, Duration);

    /// Whether the process has ended.
    fn has_ended(&self) -> bool;

    /// The process ends now.
    fn end(&self);
}

/// A ledger's data, in memory.
#[derive(Clone)]
pub struct Database {
    conn: Arc<Mutex<Connection>>,
}

impl fmt::Debug for Database {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Database")
    }
}

/// How a delivery stands on the disk.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Standing {
    /// `scheduled`, `delivered`, `dead`, …; `lost` when it neither waits nor has ended.
    pub state: String,
    /// Why.
    pub reason: String,
    /// When it is due, if it waits.
    pub due: Option<Timestamp>,
    /// Sends so far.
    pub sends: u32,
    /// Whether its endpoint is paused or disabled.
    pub is_stopped: bool,
}

impl Database {
    /// An empty ledger of the newest schema.
    ///
    /// # Errors
    /// When SQLite cannot make it.
    pub fn new(entropy: &Entropy, now: Timestamp) -> Result<Self, Error> {
        let conn = Connection::open_in_memory()?;
        conn.set_prepared_statement_cache_capacity(256);
        conn.execute_batch("PRAGMA temp_store = MEMORY; PRAGMA foreign_keys = OFF")?;
        migrate(&conn, now)?;
        identity(&conn, entropy)?;
        Ok(Self { conn: Arc::new(Mutex::new(conn)) })
    }

    fn lock(&self) -> MutexGuard<'_, Connection> {
        // A job that panics is caught inside its savepoint, so what is behind a poisoned lock is whole.
        self.conn.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How a delivery stands now. Asks the tables as they are, without a hook: it is the world that looks.
    ///
    /// # Errors
    /// When a row contradicts itself.
    pub fn standing(&self, ws: WorkspaceNo, id: Id<kind::Delivery>) -> Result<Standing, Error> {
        let conn = self.lock();
        let (state, reason, due, sends) = delivery::state(&conn, ws.0, &id.bytes(), false)?;
        let is_stopped = match delivery::row(&conn, ws.0, id)? {
            Some(row) => endpoint::held(&conn, ws, row.endpoint)?.is_some(),
            None => false,
        };
        Ok(Standing { state, reason, due, sends, is_stopped })
    }
}

/// A process's way to its database.
pub(super) struct Inline {
    database: Database,
    hook: Arc<dyn Hook>,
    pub(super) stats: WriterStats,
}

impl Inline {
    pub(super) async fn write<T: Send + 'static>(
        &self,
        mut job: impl FnMut(&Connection) -> Result<T, Error> + Send + 'static,
    ) -> Result<T, Error> {
        self.run(Call::Write, |conn| {
            let slot = Arc::new(Mutex::new(None));
            let filled = slot.clone();
            writer::alone(
                conn,
                &self.stats,
                Box::new(move |conn| {
                    let value = job(conn)?;
                    *filled.lock().unwrap_or_else(PoisonError::into_inner) = Some(value);
                    Ok(())
                }),
            )?;
            let value = slot.lock().unwrap_or_else(PoisonError::into_inner).take();
            value.ok_or_else(|| Error::Refused("a job committed without a result".into()))
        })
        .await
    }

    pub(super) async fn read<T>(
        &self,
        job: impl FnOnce(&Connection) -> Result<T, Error>,
    ) -> Result<T, Error> {
        self.run(Call::Read, job).await
    }

    async fn run<T>(
        &self,
        call: Call,
        job: impl FnOnce(&Connection) -> Result<T, Error>,
    ) -> Result<T, Error> {
        let unavailable = || Error::Unavailable("the simulated disk is full".into());
        let (fate, before, after) = self.hook.fate(call);
        self.pass(before).await;
        let answer = match fate {
            Fate::Done => job(&self.database.lock()),
            Fate::Unavailable => Err(unavailable()),
            Fate::AnswerLost => job(&self.database.lock()).and_then(|_| Err(unavailable())),
            Fate::Panics => panic!("a simulated bug"),
            Fate::EndsBefore => {
                self.hook.end();
                Err(unavailable())
            }
            Fate::EndsAfter => {
                let done = job(&self.database.lock());
                self.hook.end();
                done
            }
        };
        self.pass(after).await;
        answer
    }

    /// Lets others go first, for a while; never returns in a process that has ended.
    async fn pass(&self, wait: Duration) {
        if wait.is_zero() {
            tokio::task::yield_now().await;
        } else {
            tokio::time::sleep(wait).await;
        }
        if self.hook.has_ended() {
            std::future::pending::<()>().await;
        }
    }
}

impl Ledger {
    /// A process's ledger on a simulated database: its catalog is read now, and nothing is in its memory yet.
    ///
    /// # Errors
    /// When what is stored cannot be read.
    pub fn simulated(database: &Database, hook: Arc<dyn Hook>, entropy: Entropy) -> Result<Self, Error> {
        let (identity, catalog, share_key, newest_id): (Identity, _, _, _) = {
            let conn = database.lock();
            let newest_id = super::ids::newest(&conn, Timestamp::from_ms(MOMENT_MAX_MS))?;
            let share_key = super::share::key(&conn, &entropy)?;
            (identity(&conn, &entropy)?, settings::load_catalog(&conn)?, share_key, newest_id)
        };
        let inner = Inner {
            way: Way::Inline(Inline { database: database.clone(), hook, stats: WriterStats::default() }),
            catalog: ArcSwap::from_pointee(catalog),
            identity,
            templates: Mutex::default(),
            ids: super::ids::Ids::new(entropy, newest_id),
            handoff: handoff::Handoff::default(),
            live: ArcSwap::default(),
            job_waits: ArcSwap::default(),
            tail: super::tail::Tail::new(0),
            share_key,
            copying: Arc::default(),
        };
        Ok(Self { inner: Arc::new(inner) })
    }
}
