//! The click log: every click durable before its answer, found by id and by print, forgotten in time.
//!
//! | file | who |
//! | ---- | --- |
//! | `append` | the bounded queue and the slot where each caller waits |
//! | `writer`, `ahead` | the one thread that mints ids and commits in groups |
//! | `closer`, `pour` | the one thread that turns a retired slice into a closed one, and verifies closed ones |
//! | `slice`, `body` | a slice as a SQLite file; a click as a blob |
//! | `index` | prints and counts of slices that are not closed, in memory |
//! | `side_file` | prints of closed slices, on disk |
//! | `segment` | sealed clicks as files: Parquet, and its side files |
//! | `bucket` | where sealed clicks can lie besides the directory, as others reach it |
//! | `sealing` | closed slices become segments, segments become larger ones |
//! | `registry`, `manifest` | which slices there are, in memory and on disk |
//! | `reader` | look-ups |
//! | `publishing` | counts of closed slices on their way into the ledger |
//! | `listing` | which files there are, for people |
//! | `walk` | every click of a span, in the order of ids: what an export reads |
//! | `held` | all of it at one moment, copied while clicks go on being taken |
//! | `agree` | the log and the ledger as copies of different moments |
//! | `believed` | which time is believed where something is deleted for its age |
//! | `opening`, `damage` | the start: what is there, what is broken, what can be saved |
//! | `faults` | troubles on order, for tests |
//!
//! The life of a slice: *active* (written) → *closing* (retired, still found) → *closed* (immutable, with a side
//! file, listed) → published (its counts are in the ledger) → *sealed* (its clicks are in a segment, the slice is gone) →
//! expired with its segment.
//!
//! Not relied on: the clock (ids go on from the last one when it steps back, windows use `received_at`), the order of
//! directory listings, a clean shutdown, the manifest (it can be made again), and the side files (likewise). Relied
//! on: that one process at a time has the directory, which the lock on the data directory sees to; that a
//! synced byte stays.
//!
//! The promises are kept by `crates/store/tests/it/click_log/`.

mod agree;
mod ahead;
mod append;
mod believed;
mod body;
pub mod bucket;
mod closer;
mod damage;
mod durable;
mod error;
#[doc(hidden)]
pub mod faults;
mod held;
mod index;
mod listing;
mod manifest;
mod opening;
mod pour;
mod publishing;
mod reader;
mod registry;
mod sealing;
pub mod segment;
mod side_file;
mod slice;
mod stats;
mod walk;
mod writer;

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU32, AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Condvar, Mutex, mpsc};
use std::time::Duration;

use roundtrip_ambient::{Clock, Entropy};
use roundtrip_domain::click::{Click, Touch};
use roundtrip_domain::click_id::{CheckKey, ClickId, Mint};
use roundtrip_domain::device::Print;
use roundtrip_domain::params::Params;
use roundtrip_domain::time::{Span, Timestamp};
use tokio::sync::Semaphore;

pub use self::append::{Append, Why};
pub use self::damage::{Cause, Damage};
pub use self::error::Error;
pub use self::index::{BUCKET_MS, SliceCount};
pub use self::listing::{SegmentInfo, SliceInfo};
pub use self::opening::{Missing, OpenReport};
pub use self::publishing::{ClosedSlice, UnpublishedCounts};
pub use self::reader::Found;
pub use self::sealing::{ErasedFile, Work};
pub use self::stats::Stats;
pub use self::walk::{ClickWalk, ClickWish};

pub(crate) use self::held::Pinned;

use self::append::{End, Pending, Queue, Slot, Waiting, lock};
use self::believed::{Belief, Looked};
use self::closer::Job;
use self::index::Noted;
use self::manifest::Manifest;
use self::reader::Readers;
use self::registry::{Registry, Slice, State};
use self::slice::Part;

/// The directory, inside the log's own, where damaged files go.
const DAMAGED: &str = "damaged";
/// Look-ups that read files at the same time. More would only queue in front of the same disk.
const READERS_MAX: usize = 4;
/// How long [`ClickLog::close_now`] and [`ClickLog::shutdown`] wait.
const CLOSE_WAIT: Duration = Duration::from_secs(30);

/// Whether a stored click survives power loss.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Durability {
    /// Each commit is synced before its callers are answered.
    #[default]
    Strict,
    /// Commits are synced by the system when it likes: the last of them may be lost with the power, never with the
    /// process.
    Relaxed,
}

impl Durability {
    /// The word of the configuration file.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Strict => "strict",
            Self::Relaxed => "relaxed",
        }
    }
}

/// How a log is opened.
#[derive(Debug, Clone)]
pub struct Config {
    /// Where the slices lie; created if it is not there.
    pub dir: PathBuf,
    /// Number of this node, 0–4095; it stands in every click id.
    pub node: u16,
    /// Keys of the click ids' check, the current one first. Earlier ones stay valid.
    pub keys: Vec<CheckKey>,
    /// A slice with this many bytes of clicks is closed. Default 64 MiB. Bounds the index in memory as well.
    pub slice_bytes_max: u64,
    /// A slice that began this long ago is closed. Default 1 h.
    pub slice_age_max: Span,
    /// How long clicks are kept. Default 120 d: the longest window, and 30 d.
    pub retention: Span,
    /// How long after the end of its hour a published slice is sealed into a segment; one that fills a segment is
    /// sealed at once. Default 0.
    pub seal_after: Span,
    /// Most clicks of a segment, unless a single slice holds more. Default 262,144, about 18 MB; so many clicks' prints
    /// are in memory while it is written, some 40 MB.
    pub segment_rows_max: u64,
    /// Who reaches buckets; `None`: segments that lie in one cannot be read. Default none.
    pub buckets: Option<Arc<dyn bucket::Buckets>>,
    /// The bucket that finished segments go into, such as `s3://NAME/PREFIX`; `None`: they stay here. Segments that are in
    /// another one stay there. Default none.
    pub segments_bucket: Option<String>,
    /// How long after its last click id a segment stays here before it goes there. Default 2 d.
    pub segments_local: Span,
    /// How long a look-up waits for a bucket. Default 5 s.
    pub bucket_wait: Duration,
    /// How long a bucket that did not answer is left alone; each time after, twice as long, up to a minute. Default 5 s.
    pub bucket_pause: Duration,
    /// Most bytes of segments and their side files that stay in memory between look-ups: footers, dictionaries, pages.
    /// Default 64 MiB.
    pub lookup_cache_bytes: usize,
    /// Default strict.
    pub durability: Durability,
    /// Clicks that may wait for the writer. Default 8,192: at 50,000/s a sixth of a second, inside the wait below.
    pub queue_max: usize,
    /// How long a caller waits for its commit. Default 250 ms: the visitor is waiting for a redirect.
    pub append_wait: Duration,
    /// The newest click id's moment that the ledger knows of; ids go on after it.
    pub floor: Option<Timestamp>,
    /// Which slices the ledger has counted, `(node, number)`: see [`crate::ledger::Ledger::slices_counted`]. Numbers go on
    /// after theirs, and where the two stores are copies of different moments no count is told twice and none is left out.
    /// `None`: nothing is compared.
    pub published: Option<BTreeSet<(u16, u64)>>,
    /// Lost side files are made again before the start ends as long as they are of so many clicks together, and in the
    /// background behind that. Default 262,144: half a second.
    pub sides_at_start_clicks: u64,
    /// How many closed slices, from the newest, and how many segments, are read and compared with their checksums after
    /// the start, in the background. Default 4.
    pub verify_at_start: usize,
    /// Troubles on order. None unless a test orders some.
    #[doc(hidden)]
    pub faults: faults::Faults,
}

impl Config {
    /// The defaults. `keys` holds the current key first.
    pub fn new(dir: impl Into<PathBuf>, node: u16, keys: Vec<CheckKey>) -> Self {
        Self {
            dir: dir.into(),
            node,
            keys,
            slice_bytes_max: 64 << 20,
            slice_age_max: Span::from_ms(3_600_000),
            retention: Span::from_ms(120 * 86_400_000),
            seal_after: Span::from_ms(0),
            segment_rows_max: 262_144,
            buckets: None,
            segments_bucket: None,
            segments_local: Span::from_ms(2 * 86_400_000),
            bucket_wait: Duration::from_secs(5),
            bucket_pause: Duration::from_secs(5),
            lookup_cache_bytes: 64 << 20,
            durability: Durability::Strict,
            queue_max: 8_192,
            append_wait: Duration::from_millis(250),
            floor: None,
            published: None,
            sides_at_start_clicks: 262_144,
            verify_at_start: 4,
            faults: faults::Faults::default(),
        }
    }
}

/// What [`ClickLog::expire`] deleted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Expired {
    /// The slice or segment, below the log's directory.
    pub file: String,
    /// Its number.
    pub seq: u64,
    /// Touches that are gone with it.
    pub clicks: u64,
}

/// A look-up by print: the arguments of [`ClickLog::find_print`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PrintQuery {
    /// What is looked for.
    pub print: Print,
    /// Received not before.
    pub from: Timestamp,
    /// Received not after.
    pub to: Timestamp,
    /// Most touches, the newest.
    pub limit: usize,
}

/// What the threads and the handles share.
struct Shared {
    config: Config,
    clock: Clock,
    entropy: Entropy,
    mint: Mutex<Mint>,
    queue: Queue,
    registry: Registry,
    readers: Readers,
    permits: Semaphore,
    manifest: Mutex<Manifest>,
    /// Held by whoever renames, replaces or deletes files of slices that are not active.
    files: Mutex<()>,
    /// How many read files that must not be deleted.
    pins: AtomicU32,
    belief: Mutex<Belief>,
    /// Held by whoever makes new files of old ones; comes before `files`.
    sealing: Mutex<()>,
    /// Set once nothing more is to be sealed.
    sealing_stop: AtomicBool,
    /// Slices, with their checksums, that could not be read when they were to be sealed.
    unsealable: Mutex<BTreeSet<(u64, u64)>>,
    /// Why the last step of sealing failed, if it did.
    seal_error: Mutex<Option<String>>,
    reaches: bucket::Reaches,
    /// How far moving segments into buckets came. Held for moments; who moves holds `sealing`.
    moving: Mutex<sealing::Moving>,
    /// Closed slices, segments and side files that the closer was asked to look at.
    suspects: Mutex<BTreeSet<u64>>,
    /// Slices and side files of segments, by number, whose side file is made again in the background.
    sides_lost: sealing::SidesLost,
    jobs: Mutex<mpsc::Sender<Job>>,
    counters: stats::Counters,
    damage: Mutex<Vec<Damage>>,
    seq_last: AtomicU64,
    /// The moment of the first id that the writer has minted and not committed, in milliseconds; else `i64::MAX`.
    uncommitted_ms: AtomicI64,
    /// Slices that are being saved, by number, each with the moment of the first id that may come back with it.
    unsure: Mutex<BTreeMap<u64, i64>>,
    threads: (Mutex<u32>, Condvar),
}

impl Shared {
    fn mint_one(&self) -> ClickId {
        let entropy = self.entropy.u32();
        let mut mint = lock(&self.mint);
        mint.next(self.clock.now(), entropy)
    }

    /// What is believed of the time now.
    fn believed(&self) -> Timestamp {
        lock(&self.belief).of(self.clock.now(), self.clock.steady())
    }

    fn closer_send(&self, job: Job) {
        // Without a closer (the log is shutting down) the next start does the job.
        let _ = lock(&self.jobs).send(job);
    }

    fn damaged(&self, damage: Damage) {
        tracing::error!(
            slice.file = damage.file,
            damage.cause = damage.cause.name(),
            slice.clicks_kept = damage.clicks_kept,
            "a file of the click log was damaged"
        );
        lock(&self.damage).push(damage);
    }

    /// Waits until at most `left` threads run. `false` when it takes longer than the bound.
    fn wait_threads(&self, left: u32) -> bool {
        let (running, changed) = &self.threads;
        changed
            .wait_timeout_while(lock(running), CLOSE_WAIT, |n| *n > left)
            .is_ok_and(|(_, timeout)| !timeout.timed_out())
    }
}

/// Counts a thread out when it ends, in whatever way.
struct Running(Arc<Shared>);

impl Drop for Running {
    fn drop(&mut self) {
        *lock(&self.0.threads.0) -= 1;
        self.0.threads.1.notify_all();
    }
}

/// The last handle to go stops the threads; they finish what they have in hand.
struct Handle(Arc<Shared>);

impl Drop for Handle {
    fn drop(&mut self) {
        self.0.queue.stop();
        self.0.closer_send(Job::Stop);
    }
}

/// The log. Cheap to clone. Before the same directory is opened again, [`ClickLog::shutdown`] must have returned: the
/// last handle to go only tells the threads to stop.
#[derive(Clone)]
pub struct ClickLog(Arc<Handle>);

impl std::fmt::Debug for ClickLog {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ClickLog").field("dir", &self.shared().config.dir).finish_non_exhaustive()
    }
}

impl ClickLog {
    /// Opens the log, creating it if it is not there. Damaged and missing files are named in the report and do not
    /// stop it.
    ///
    /// # Errors
    /// When the directory cannot be read or written, when no key is given, or a thread cannot be started.
    pub fn open(config: Config, clock: Clock, entropy: Entropy) -> Result<(Self, OpenReport), Error> {
        let invalid = |what: &'static str| {
            let source = std::io::Error::new(std::io::ErrorKind::InvalidInput, what);
            Error::Io { what: "open", file: config.dir.clone(), source }
        };
        let Some(key) = config.keys.first().copied() else { return Err(invalid("no key is given")) };
        if config.node > 4_095 {
            return Err(invalid("the node number is above 4095"));
        }
        let opened = opening::open(&config, clock.now())?;
        for damage in &opened.report.damaged {
            tracing::error!(
                slice.file = damage.file,
                damage.cause = damage.cause.name(),
                slice.clicks_kept = damage.clicks_kept,
                "a file of the click log was damaged"
            );
        }
        let (jobs, receiver) = mpsc::channel();
        let shared = Arc::new(Shared {
            mint: Mutex::new(Mint::new(config.node, key, opened.floor)),
            queue: Queue::new(config.queue_max),
            registry: Registry::default(),
            readers: Readers::new(config.lookup_cache_bytes),
            permits: Semaphore::new(READERS_MAX),
            manifest: Mutex::new(opened.manifest),
            files: Mutex::new(()),
            pins: AtomicU32::new(0),
            belief: Mutex::new(Belief::new(opened.believed, clock.now(), clock.steady())),
            sealing: Mutex::new(()),
            sealing_stop: AtomicBool::new(false),
            unsealable: Mutex::default(),
            seal_error: Mutex::default(),
            reaches: bucket::Reaches::new(config.buckets.clone(), config.bucket_wait, config.bucket_pause),
            moving: Mutex::default(),
            suspects: Mutex::default(),
            sides_lost: sealing::SidesLost::new(opened.sides_lost),
            jobs: Mutex::new(jobs),
            counters: stats::Counters::default(),
            damage: Mutex::new(opened.report.damaged.clone()),
            seq_last: AtomicU64::new(opened.seq_last),
            uncommitted_ms: AtomicI64::new(i64::MAX),
            unsure: Mutex::default(),
            threads: (Mutex::new(0), Condvar::new()),
            config: Config { published: None, ..config },
            clock,
            entropy,
        });
        // A start asks no bucket, so these have no side file yet.
        let far =
            opened.view.segments.iter().filter(|s| s.moved.is_some() && opened.view.side(s.side).is_none());
        far.for_each(|segment| lock(&shared.moving).suspect(segment.seq()));
        shared.registry.with(|view| *view = opened.view);
        for job in opened.jobs {
            shared.closer_send(job);
        }
        let log = Self(Arc::new(Handle(shared.clone())));
        let writer = writer::Writer::new(shared.clone(), opened.active);
        spawn(&shared, "click-writer", move |_| writer.run())?;
        spawn(&shared, "click-closer", move |shared| closer::run(shared, &receiver))?;
        Ok((log, opened.report))
    }

    fn shared(&self) -> &Arc<Shared> {
        &self.0.0
    }

    /// Stores a click. Waits for its commit, at most as long as configured; then the visitor leaves with an id all
    /// the same. Needs a Tokio runtime with timers. A caller that stops polling is not missed: the click is stored.
    pub async fn append(&self, click: Click) -> Append {
        self.append_read(&click, &click.params()).await
    }

    /// The same for a caller that has read the click's query already and goes on needing both.
    pub async fn append_read(&self, click: &Click, params: &Params) -> Append {
        let shared = self.shared();
        // Encoding is done here, on the caller's thread: the writer is what bounds the log.
        let slot = Slot::new(body::encode(click), Noted::of(click, params), shared.queue.sweeps());
        let waiting = Waiting(slot.clone());
        if let Err(why) = shared.queue.push(Pending { slot, id: None }) {
            shared.counters.unstored(why);
            return Append::Unstored { id: shared.mint_one(), why };
        }
        if shared.queue.begin_sweep() {
            tokio::spawn(append::sweep(shared.clone()));
        }
        let why = Why::Timeout;
        let id = match std::future::poll_fn(|cx| waiting.0.poll(cx)).await {
            End::Answered(append) => return append,
            End::Minted(id) => id,
            End::Cancelled => shared.mint_one(),
        };
        shared.counters.unstored(why);
        Append::Unstored { id, why }
    }

    /// What is known of a click id.
    ///
    /// # Errors
    /// When its slice cannot be read; a damaged one is set aside in the background meanwhile.
    pub async fn find(&self, id: ClickId) -> Result<Found, Error> {
        if let Some(found) = reader::judge(self.shared(), id) {
            return Ok(found);
        }
        self.read(move |shared| reader::find(shared, id)).await
    }

    /// The same for many ids, in their order.
    ///
    /// # Errors
    /// As [`Self::find`]; the first error ends it.
    pub async fn find_batch(&self, ids: &[ClickId]) -> Result<Vec<Found>, Error> {
        let ids = ids.to_vec();
        self.read(move |shared| ids.into_iter().map(|id| reader::find(shared, id)).collect()).await
    }

    /// Touches with this print that were received in `from..=to`, newest first, at most `limit`. Their app or partner is
    /// the print's; the value itself is the caller's to compare, since two values may share a print. What it reads is
    /// bounded by what it gives, however many clicks have the print, unless the clock was set back while they came.
    ///
    /// # Errors
    /// As [`Self::find`].
    pub async fn find_print(
        &self,
        print: Print,
        from: Timestamp,
        to: Timestamp,
        limit: usize,
    ) -> Result<Vec<Touch>, Error> {
        self.read(move |shared| reader::find_print(shared, print, from, to, limit)).await
    }

    /// Answers many of [`Self::find_print`] in one go, in their order; each has its own answer.
    ///
    /// # Errors
    /// When the log has stopped; else each answer has its own.
    pub async fn find_prints(
        &self,
        wanted: Vec<PrintQuery>,
    ) -> Result<Vec<Result<Vec<Touch>, Error>>, Error> {
        self.read(move |shared| {
            Ok(wanted.iter().map(|q| reader::find_print(shared, q.print, q.from, q.to, q.limit)).collect())
        })
        .await
    }

    async fn read<T: Send + 'static>(
        &self,
        run: impl FnOnce(&Shared) -> Result<T, Error> + Send + 'static,
    ) -> Result<T, Error> {
        let shared = self.shared().clone();
        let _permit = self.shared().permits.acquire().await.map_err(|_| Error::Stopped)?;
        tokio::task::spawn_blocking(move || run(&shared)).await.map_err(|_| Error::Stopped)?
    }

    /// By which time things may be deleted for their age, when the wall clock shows `now`: never later than that, and not
    /// more than two days beyond what the time that passed leads to, unless the clock has gone steadily for two days.
    /// A clock that runs ahead for a while deletes nothing before its time. To be asked at least every few hours; blocks
    /// for one small commit once an hour.
    pub fn believed(&self, now: Timestamp) -> Timestamp {
        let shared = self.shared();
        let Looked { believed, keep, ahead_ms } = lock(&shared.belief).look(now, shared.clock.steady());
        if let Some(clock_ahead_ms) = ahead_ms {
            tracing::warn!(
                clock.ahead_ms = clock_ahead_ms,
                "the clock is far ahead of what a steady run leads to: nothing is deleted for its age by it yet"
            );
        }
        if let Some(moment) = keep
            && let Err(error) = lock(&shared.manifest).believe(moment)
        {
            let error = &error as &dyn std::error::Error;
            tracing::warn!(error, "the time that is believed cannot be kept");
        }
        believed
    }

    /// Deletes the closed slices and the segments whose newest click is older than the retention, with their side
    /// files, by the time that is [`Self::believed`]. Counts that are not published yet are kept. While a backup reads
    /// files, slices wait for the next call. Blocks.
    ///
    /// # Errors
    /// When a file cannot be deleted or the manifest not be written; the next call goes on.
    pub fn expire(&self, now: Timestamp) -> Result<Vec<Expired>, Error> {
        let now = self.believed(now);
        let shared = self.shared();
        let dir = &shared.config.dir;
        let before = now.ms().saturating_sub(shared.config.retention.ms());
        let _files = lock(&shared.files);
        let mut gone = Vec::new();
        let mut forget = Vec::new();
        for slice in shared.registry.all().slices.iter() {
            let (listed, there) = match &slice.state {
                State::Closed { listed, recorded: true } => (listed, true),
                State::Missing { listed } => (listed, false),
                _ => continue,
            };
            if listed.extent.id_last_ms >= before || there && shared.is_pinned() {
                continue;
            }
            let (name, seq) = (slice.name, slice.name.seq);
            // Out of sight first, so that no look-up meets half of it.
            if listed.published {
                shared.registry.remove(seq);
                forget.push(seq);
            } else {
                shared.registry.put(Slice { name, state: State::Missing { listed: listed.clone() } });
            }
            if there {
                for part in [Part::Closed, Part::Prints] {
                    let path = dir.join(name.file(part));
                    durable::remove(&path).map_err(Error::io("delete", &path))?;
                }
                shared.readers.forget(seq);
                gone.push(Expired { file: name.file(Part::Closed), seq, clicks: listed.extent.clicks });
            }
        }
        if !gone.is_empty() {
            durable::sync_dir(dir).map_err(Error::io("sync", dir))?;
        }
        for seq in forget {
            lock(&shared.manifest).forget(seq)?;
        }
        gone.extend(sealing::expire(shared, before)?);
        Ok(gone)
    }

    /// Compares one closed slice or segment and its side file with their checksums, reading all of both. What is damaged
    /// is set aside and what can be read of it goes on; a side file is made again. Says what it found. The number may
    /// also be that of a side file of segments. Blocks.
    ///
    /// # Errors
    /// When files cannot be read or written.
    pub fn verify(&self, seq: u64) -> Result<Option<Damage>, Error> {
        closer::verify_anywhere(self.shared(), seq)
    }

    /// Closes the active slice now and waits until every slice that was not closed at the call is. Blocks for
    /// 30 s at most; `false` means that it takes longer.
    pub fn close_now(&self) -> bool {
        let shared = self.shared();
        // One whose row is not in the manifest yet is not closed: nobody is told its counts, and no erasure reaches it.
        let is_open = |s: &&Slice| match &s.state {
            State::Live { .. } => s.extent().clicks > 0,
            State::Closed { recorded, .. } => !recorded,
            State::Missing { .. } => false,
        };
        let live: Vec<u64> =
            shared.registry.all().slices.iter().filter(is_open).map(|s| s.name.seq).collect();
        if live.is_empty() {
            return true;
        }
        shared.queue.request_close();
        shared.registry.wait(CLOSE_WAIT, |slices| {
            let done =
                |s: &Slice| matches!(s.state, State::Closed { recorded: true, .. } | State::Missing { .. });
            slices.iter().all(|s| done(s) || !live.contains(&s.name.seq))
        })
    }

    /// Stops taking clicks, commits those that wait, finishes the closings that began, and waits for both threads,
    /// 30 s each at most; `false` means that one still runs. The active slice goes on at the next start. Blocks.
    pub fn shutdown(&self) -> bool {
        let shared = self.shared();
        shared.queue.stop();
        // A step of sealing ends soon; nobody may change files behind this.
        self.stop_sealing();
        drop(lock(&shared.sealing));
        if !shared.wait_threads(1) {
            return false;
        }
        shared.closer_send(Job::Stop);
        shared.wait_threads(0)
    }

    /// What the log counts and holds now.
    pub fn stats(&self) -> Stats {
        let shared = self.shared();
        let view = shared.registry.all();
        let slices = &view.slices;
        let counters = &shared.counters;
        let there = view.segments.iter().filter(|s| !s.is_missing);
        let count = |is: fn(&State) -> bool| slices.iter().filter(|s| is(&s.state)).count();
        Stats {
            appended: counters.appended.load(Relaxed),
            appended_late: counters.appended_late.load(Relaxed),
            unstored: counters.unstored_all(),
            commits: counters.commits.load(Relaxed),
            rows_per_commit_max: counters.rows_per_commit_max.load(Relaxed),
            queue_depth: shared.queue.len(),
            panics: counters.panics.load(Relaxed),
            open: shared.queue.is_open(),
            slices_active: count(|s| matches!(s, State::Live { active: true, .. })),
            slices_closing: count(|s| {
                matches!(s, State::Live { active: false, .. } | State::Closed { recorded: false, .. })
            }),
            slices_closed: count(|s| matches!(s, State::Closed { recorded: true, .. })),
            slices_missing: count(|s| matches!(s, State::Missing { listed } if !listed.elsewhere)),
            slices_unsealed: count(
                |s| matches!(s, State::Closed { listed, recorded: true } if listed.published),
            ),
            segments: there.clone().count(),
            segments_moved: there.clone().filter(|s| s.moved.is_some()).count(),
            bytes_moved: there.clone().filter(|s| s.moved.is_some()).map(|s| s.sealed.bytes).sum(),
            bucket_failures: shared.reaches.failures(),
            bucket_error: lock(&shared.moving).error(),
            segments_missing: view.segments.iter().filter(|s| s.is_missing).count(),
            segments_clicks: there.clone().map(|s| s.extent().clicks).sum(),
            bytes_segments: there.filter(|s| s.moved.is_none()).map(|s| s.sealed.bytes).sum(),
            bytes_sides: view.sides.iter().map(|side| side.bytes).sum(),
            sides_lost: shared.sides_lost.len(),
            seal_error: lock(&shared.seal_error).clone(),
            damaged: lock(&shared.damage).len(),
            bytes_closed: slices
                .iter()
                .map(|s| if let State::Closed { listed, .. } = &s.state { listed.bytes } else { 0 })
                .sum(),
            bytes_active: counters.bytes_active.load(Relaxed),
            durability: shared.config.durability,
        }
    }

    /// Every damage since the log was opened, the opening's own too.
    pub fn damages(&self) -> Vec<Damage> {
        lock(&self.shared().damage).clone()
    }

    /// The newest click id's moment; the ledger keeps it as the floor of the next start.
    pub fn floor(&self) -> Timestamp {
        lock(&self.shared().mint).floor()
    }
}

fn spawn(
    shared: &Arc<Shared>,
    name: &str,
    run: impl FnOnce(&Arc<Shared>) + Send + 'static,
) -> Result<(), Error> {
    *lock(&shared.threads.0) += 1;
    let running = Running(shared.clone());
    let spawned = std::thread::Builder::new().name(name.to_owned()).spawn(move || run(&running.0));
    spawned.map(|_| ()).map_err(Error::io("start a thread for", &shared.config.dir))
}
