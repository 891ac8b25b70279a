//! The ledger: everything precious. Events, decisions, conversions, deliveries, settings, counts.
//!
//! The cast: one `writer` thread groups commits; a small pool of readers serves everyone else; methods
//! are shaped like use cases and what must be atomic is one method. `event` records, `decide` turns a
//! decision and its deliveries into one transaction, `delivery` is the queue, `story` and `report` read
//! for people, `status` changes what counts, `rollup` keeps counts in the same transaction as the facts.
//!
//! Not here: what to decide (the pure functions are passed in from `domain`) and when (the engine's loops).
//! Not relied on: time. Every method is told it.
//!
//! SQLite only, for now. The PostgreSQL form will make [`Ledger`] an enum with these same methods; until
//! there is a second backend an enum of one would only be noise.

mod audit;
mod booked;
mod claim;
mod decide;
mod delivery;
mod endpoint;
mod event;
mod export;
mod fact;
mod failure;
mod filter;
mod handoff;
mod ids;
#[cfg(feature = "simulation")]
mod inline;
mod install;
mod job;
mod list;
mod listed;
mod live;
mod notice;
mod queue;
mod reconcile;
mod recover;
mod replay;
mod report;
mod retention;
mod revision;
mod rollup;
mod rows;
mod settings;
mod settle;
mod share;
mod slice;
mod snapshot;
mod statement;
mod statements;
mod status;
mod story;
mod tail;
mod tell;
mod test_delivery;
mod todo;
mod writer;

use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex};

use arc_swap::ArcSwap;
use roundtrip_ambient::Entropy;
use roundtrip_domain::click_id::CheckKey;
use roundtrip_domain::id::{Id, kind};
use roundtrip_domain::settings::Catalog;
use roundtrip_domain::statement::StatementKey;
use roundtrip_domain::time::Timestamp;
use rusqlite::config::DbConfig;
use rusqlite::{Connection, OpenFlags, OptionalExtension};
use tokio::sync::Semaphore;

pub use self::decide::{Committed, Due, Prepared};
pub use self::delivery::{AttemptRow, Outgoing};
pub use self::endpoint::{
    ACTOR_ENGINE, EndpointFigures, EndpointListed, EndpointLogRow, EndpointNews, EndpointRow, EndpointWish,
    HELD_TOO_LONG, Trouble,
};
pub use self::event::{Idempotency, NewEvent, Recorded};
pub use self::export::{
    EXPORT_PAGE_ROWS, EXPORT_SETTLED_MS, ExportMark, ExportPage, ExportWhat, ExportWish, Exported,
    ExportedConversion, ExportedDecision, ExportedDelivery, ExportedRevision,
};
pub use self::failure::{EndpointFailure, Queued};
pub use self::filter::{DeliveryFilter, DeliveryState};
#[cfg(feature = "simulation")]
pub use self::inline::{Call, Database, Fate, Hook, Standing};
pub use self::job::{Into, JOBS_OPEN_MAX, Job, JobAnswer, JobHead, JobKind, JobPlan, JobState, JobWish};
pub use self::list::{ConversionFilter, ConversionListed, ConversionRow};
pub use self::listed::{DeliveryListed, DeliveryPage, LIST_ROWS_MAX, LastAttempt};
pub use self::live::{EndpointLive, JobWait, JobWaits, LIVE_MAX, LivePicture, Why, WhyAsked, why};
pub use self::notice::{NoticeRow, RunningOut, endpoint_id, endpoint_name};
pub use self::queue::{EndpointHead, QueueDepth, QueueItem, QueueSwept, QueueWindow, WindowWish};
pub use self::reconcile::{Fact, FactDelivery, FactPage, FactsWanted};
pub use self::recover::{JobCount, JobStep, STEP_MATCHES_MAX, states_default, unfit_rule};
pub use self::replay::Replay;
pub use self::report::{
    BALANCE_WALK_MAX, BalanceKey, BalanceRow, Receiver, Recount, ReportRow, success_permille,
};
pub use self::retention::{Expired, Kept};
pub use self::rollup::{BUCKET_MS, Metric, Status};
pub use self::settings::AuditRow;
pub use self::settle::{Settled, Settlement};
pub use self::share::Shared;
pub use self::slice::FlaggedClicks;
pub(crate) use self::snapshot::{Snapshot, Turn, waiting_of};
pub use self::statement::{Arrival, ArrivalMark};
pub use self::status::{StatusAnswer, StatusWish};
pub use self::story::{ChangeStory, DeliveryStory, RuleStory, Story, StoryRevision};
pub use self::tail::{TAIL_MAX, TailItem, TailPlace, Tailed};
pub use self::test_delivery::{DeliveryTest, TEST_KIND};
pub use self::todo::{Undecided, Waiting};
pub use self::writer::WriterStats;

use self::statements::sql;
use self::writer::Writer;
use crate::Error;

/// The newest schema that this release writes.
pub const SCHEMA_VERSION: u32 = 1;

/// How to open a ledger.
#[derive(Debug, Clone)]
pub struct Config {
    /// The SQLite file.
    pub path: PathBuf,
    /// Read connections, at least one.
    pub readers: usize,
}

impl Config {
    /// The ledger of a data directory.
    pub fn in_dir(dir: &Path) -> Self {
        Self { path: dir.join("ledger.sqlite"), readers: 4 }
    }
}

/// What opening found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OpenReport {
    /// Whether the file was made now.
    pub created: bool,
    /// The schema version that was found; migrated to [`SCHEMA_VERSION`].
    pub schema_found: u32,
}

/// What an installation needs to mint and check click ids. Lives in the ledger so that a backup of it
/// carries the keys.
#[derive(Debug, Clone)]
pub struct Identity {
    /// The node's number, 0–4095; belongs to the data directory.
    pub node: u16,
    /// Check keys; the first one mints.
    pub check_keys: Vec<CheckKey>,
    /// The newest millisecond that a published slice holds.
    pub click_floor: Option<Timestamp>,
    /// What signs daily statements to partners.
    pub statement_key: StatementKey,
}

/// A handle to the ledger; clones share it.
#[derive(Clone)]
pub struct Ledger {
    inner: Arc<Inner>,
}

struct Inner {
    way: Way,
    catalog: ArcSwap<Catalog>,
    identity: Identity,
    templates: Mutex<settings::TemplateCache>,
    ids: ids::Ids,
    handoff: handoff::Handoff,
    tail: tail::Tail,
    share_key: share::ShareKey,
    live: ArcSwap<LivePicture>,
    /// Why jobs wait, as the engine sees it.
    job_waits: ArcSwap<JobWaits>,
    /// Whether a copy of it is being made.
    copying: Arc<AtomicBool>,
}

/// The way to the tables.
enum Way {
    /// One thread writes, a few read.
    Threads { writer: Writer, readers: Readers },
    /// The calling task does it: only in simulations.
    #[cfg(feature = "simulation")]
    Inline(inline::Inline),
}

impl Way {
    /// The ledger's file; in simulations there is none.
    fn path(&self) -> &Path {
        match self {
            Self::Threads { readers, .. } => &readers.path,
            #[cfg(feature = "simulation")]
            Self::Inline(_) => Path::new(""),
        }
    }
}

struct Readers {
    idle: Arc<Mutex<Vec<Connection>>>,
    permits: Semaphore,
    path: Arc<Path>,
}

impl std::fmt::Debug for Ledger {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Ledger")
    }
}

fn open_connection(path: &Path, read_only: bool) -> Result<Connection, Error> {
    let flags = if read_only {
        OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX
    } else {
        OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_CREATE | OpenFlags::SQLITE_OPEN_NO_MUTEX
    };
    let conn = Connection::open_with_flags(path, flags)?;
    conn.set_prepared_statement_cache_capacity(128);
    // The query planner's stability guarantee. The bundled SQLite is built with STAT4 and would otherwise look at the
    // values that are bound, and prepare a statement anew for each: a third of the writer's time, measured.
    conn.set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_QPSG, true)?;
    conn.busy_timeout(std::time::Duration::from_secs(5))?;
    // Pages kept in memory, in KiB: the writer touches many tables in turn. A reader forgets all of its pages whenever
    // something was committed since it read last, so more than one read takes would be for nothing. Temporary results
    // stay in memory, never in a file of the system's.
    let cache_kib = if read_only { 2_048 } else { 49_152 };
    conn.execute_batch(&format!(
        "PRAGMA cache_size = -{cache_kib}; PRAGMA temp_store = MEMORY; PRAGMA foreign_keys = OFF"
    ))?;
    Ok(conn)
}

impl Ledger {
    /// Opens or creates the ledger, brings its schema up to date, and reads the settings.
    pub fn open(config: &Config, entropy: Entropy, now: Timestamp) -> Result<(Self, OpenReport), Error> {
        let created = !config.path.exists();
        let conn = open_connection(&config.path, false)?;
        // Most keys are hashes, so events touch pages all over the tables, and the same ones again soon: the longer the
        // log may grow before its pages are moved, the fewer are moved twice. 64 MB of it are read in moments at a start.
        conn.execute_batch(
            "PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL; PRAGMA wal_autocheckpoint = 16000; \
             PRAGMA journal_size_limit = 134217728",
        )?;
        let schema_found = migrate(&conn, now)?;
        let identity = identity(&conn, &entropy)?;
        let share_key = share::key(&conn, &entropy)?;
        let catalog = settings::load_catalog(&conn)?;
        let newest_id = ids::newest(&conn, now.plus_ms(ids::CLOCK_STEP_MAX_MS))?;
        let readers = Readers {
            idle: Arc::default(),
            permits: Semaphore::new(config.readers.max(1)),
            path: config.path.as_path().into(),
        };
        let writer = Writer::start(conn).map_err(|e| Error::Unavailable(e.to_string()))?;
        let inner = Inner {
            way: Way::Threads { writer, readers },
            catalog: ArcSwap::from_pointee(catalog),
            identity,
            templates: Mutex::default(),
            tail: tail::Tail::new(entropy.u32()),
            share_key,
            ids: ids::Ids::new(entropy, newest_id),
            handoff: handoff::Handoff::default(),
            live: ArcSwap::default(),
            job_waits: ArcSwap::default(),
            copying: Arc::default(),
        };
        Ok((Self { inner: Arc::new(inner) }, OpenReport { created, schema_found }))
    }

    /// The current settings of all workspaces.
    pub fn catalog(&self) -> Arc<Catalog> {
        self.inner.catalog.load_full()
    }

    /// What mints and checks click ids.
    pub fn identity(&self) -> &Identity {
        &self.inner.identity
    }

    /// Whether durability was lost: the process must end.
    pub fn is_fatal(&self) -> bool {
        match &self.inner.way {
            Way::Threads { writer, .. } => writer.is_fatal(),
            #[cfg(feature = "simulation")]
            Way::Inline(_) => false,
        }
    }

    /// A new id of an event that is received at this moment. It stands in a later one while the clock stands up to a day
    /// before the newest id: what was given already stays below.
    pub fn event_id(&self, at: Timestamp) -> Id<kind::Event> {
        self.inner.ids.id(at)
    }

    /// Counters of the writer.
    pub fn stats(&self) -> &WriterStats {
        match &self.inner.way {
            Way::Threads { writer, .. } => writer.stats(),
            #[cfg(feature = "simulation")]
            Way::Inline(inline) => &inline.stats,
        }
    }

    /// Whether a write can be made durable now: writes a row and waits for the commit.
    pub async fn probe(&self) -> Result<(), Error> {
        self.write(|conn| {
            conn.prepare_cached(sql("meta_put"))?.execute(("probe", 1))?;
            Ok(())
        })
        .await
    }

    /// Ends the writer after what is queued. Later writes answer `Unavailable`.
    pub async fn close(&self) {
        match &self.inner.way {
            Way::Threads { writer, .. } => {
                writer.close().await;
                let writer = writer.clone();
                // The thread has answered; joining it waits for its last checkpoint only.
                let _ = tokio::task::spawn_blocking(move || writer.join()).await;
            }
            #[cfg(feature = "simulation")]
            Way::Inline(_) => {}
        }
    }

    async fn write<T, F>(&self, job: F) -> Result<T, Error>
    where
        T: Send + 'static,
        F: FnMut(&Connection) -> Result<T, Error> + Send + 'static,
    {
        match &self.inner.way {
            Way::Threads { writer, .. } => writer.write(job).await,
            #[cfg(feature = "simulation")]
            Way::Inline(inline) => inline.write(job).await,
        }
    }

    async fn read<T, F>(&self, job: F) -> Result<T, Error>
    where
        T: Send + 'static,
        F: FnOnce(&Connection) -> Result<T, Error> + Send + 'static,
    {
        match &self.inner.way {
            Way::Threads { readers, .. } => readers.read(job).await,
            #[cfg(feature = "simulation")]
            Way::Inline(inline) => inline.read(job).await,
        }
    }
}

/// Runs everything that a job reads on one state of the tables: what is written between two of its statements would
/// otherwise be missing, or there twice.
fn at_one_moment<T>(
    conn: &Connection,
    job: impl FnOnce(&Connection) -> Result<T, Error>,
) -> Result<T, Error> {
    conn.prepare_cached("BEGIN")?.execute([])?;
    let result = job(conn);
    conn.prepare_cached("COMMIT")?.execute([])?;
    result
}

impl Readers {
    async fn read<T, F>(&self, job: F) -> Result<T, Error>
    where
        T: Send + 'static,
        F: FnOnce(&Connection) -> Result<T, Error> + Send + 'static,
    {
        let (idle, path) = (self.idle.clone(), self.path.clone());
        let permit = self.permits.acquire().await.map_err(|e| Error::Unavailable(e.to_string()))?;
        let result = tokio::task::spawn_blocking(move || {
            let conn = idle.lock().unwrap_or_else(std::sync::PoisonError::into_inner).pop();
            let conn = match conn {
                Some(conn) => conn,
                None => open_connection(&path, true)?,
            };
            let result = at_one_moment(&conn, job);
            // What could not be ended is not used again.
            if conn.is_autocommit() {
                idle.lock().unwrap_or_else(std::sync::PoisonError::into_inner).push(conn);
            }
            result
        })
        .await;
        drop(permit);
        result.unwrap_or_else(|error| Err(Error::Refused(error.to_string())))
    }
}

/// Brings the schema from whatever version is found to [`SCHEMA_VERSION`], each step in a transaction of
/// its own. A newer file than this release knows is refused: it is not to be guessed at.
fn migrate(conn: &Connection, now: Timestamp) -> Result<u32, Error> {
    let found: u32 = conn.query_row("PRAGMA user_version", [], |row| row.get(0))?;
    if found > SCHEMA_VERSION {
        return Err(Error::Refused(format!(
            "the ledger has schema {found}, and this release knows {SCHEMA_VERSION}: use the newer release"
        )));
    }
    if found < 1 {
        conn.execute_batch("BEGIN IMMEDIATE")?;
        conn.execute_batch(sql("schema_0001"))?;
        conn.prepare(sql("workspace_insert"))?.execute((1, "default", now.ms()))?;
        conn.execute_batch("PRAGMA user_version = 1; COMMIT")?;
    }
    Ok(found)
}

/// Reads the installation's identity, and makes it at the first start.
fn identity(conn: &Connection, entropy: &Entropy) -> Result<Identity, Error> {
    let get = |name: &str| -> Result<Option<Vec<u8>>, Error> {
        Ok(conn.prepare(sql("meta_get"))?.query_row([name], |row| row.get(0)).optional()?)
    };
    let keys = match get("check_keys")? {
        Some(bytes) => bytes,
        None => {
            let mut key = vec![0; 16];
            entropy.fill(&mut key);
            conn.prepare(sql("meta_put"))?.execute(("check_keys", &key))?;
            key
        }
    };
    let node = match get("node")? {
        Some(bytes) => {
            u16::from_be_bytes([bytes.first().copied().unwrap_or(0), bytes.get(1).copied().unwrap_or(0)])
        }
        None => {
            // Random, so that two installations whose data is merged one day rarely share a number.
            let node = (entropy.u32() & 0xfff) as u16;
            conn.prepare(sql("meta_put"))?.execute(("node", node.to_be_bytes().to_vec()))?;
            node
        }
    };
    let check_keys: Vec<CheckKey> =
        keys.chunks_exact(16).filter_map(|k| Some(CheckKey(k.try_into().ok()?))).collect();
    if check_keys.is_empty() {
        return Err(Error::Corrupt {
            table: "meta",
            column: "value",
            row: "check_keys".into(),
            what: "no key of 16 bytes".into(),
        });
    }
    let seed = match get("statement_key")? {
        Some(bytes) => bytes,
        None => {
            let mut seed = vec![0; 32];
            entropy.fill(&mut seed);
            conn.prepare(sql("meta_put"))?.execute(("statement_key", &seed))?;
            seed
        }
    };
    let seed: [u8; 32] = seed.try_into().map_err(|_| Error::Corrupt {
        table: "meta",
        column: "value",
        row: "statement_key".into(),
        what: "no key of 32 bytes".into(),
    })?;
    let click_floor = get("click_floor")?
        .and_then(|bytes| Some(Timestamp::from_ms(i64::from_be_bytes(bytes.as_slice().try_into().ok()?))));
    Ok(Identity { node, check_keys, click_floor, statement_key: StatementKey::from_seed(seed) })
}

/// The 16 bytes of an id from a row, or an error that names the row.
fn id_from<K>(
    bytes: &[u8],
    table: &'static str,
    column: &'static str,
) -> Result<roundtrip_domain::id::Id<K>, Error> {
    roundtrip_domain::id::Id::from_slice(bytes).ok_or_else(|| Error::Corrupt {
        table,
        column,
        row: format!("{bytes:02x?}"),
        what: "an id that has not 16 bytes".into(),
    })
}

/// The first 16 bytes of a SHA-256: keys of rows made from outside values, which can be personal data.
fn key16(kind: &str, text: &[u8]) -> [u8; 16] {
    use sha2::{Digest, Sha256};
    let mut hash = Sha256::new();
    hash.update(kind.as_bytes());
    hash.update([0]);
    hash.update(text);
    let digest = hash.finalize();
    let mut out = [0; 16];
    out.copy_from_slice(&digest[..16]);
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn what_a_reader_reads_is_of_one_moment() {
        let dir = tempfile::tempdir().unwrap();
        let config = Config::in_dir(dir.path());
        let (ledger, _) = Ledger::open(&config, Entropy::System, Timestamp::from_ms(0)).unwrap();
        let other = open_connection(&config.path, false).unwrap();
        let count = |conn: &Connection| -> Result<u32, Error> {
            Ok(conn.query_row("SELECT count(*) FROM send_count", [], |row| row.get(0))?)
        };
        let seen = ledger
            .read(move |conn| {
                let before = count(conn)?;
                other.execute("INSERT INTO send_count VALUES (1, 0, 1)", [])?;
                Ok((before, count(conn)?))
            })
            .await;
        assert_eq!(seen, Ok((0, 0)));
        assert_eq!(ledger.read(move |conn| count(conn)).await, Ok(1), "and the next reader sees it");
        ledger.close().await;
    }
}
