//! The writer: one thread that mints ids and commits clicks in groups.
//!
//! Clicks that arrive while a commit runs join the next one. Where they come fast the writer gathers for a moment, because
//! a commit costs processor time whatever is in it; one click alone never waits for others. A batch ends in one of four
//! ways, and in each of them every caller is answered: it is committed; the disk is full (rolled back, the slice
//! goes on); single rows fail (they alone are unstored); or the file cannot be trusted any more (a failed
//! sync, corruption, a panic), and then the slice is retired and the next batch opens a new one.

use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed, Ordering::Release};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use roundtrip_domain::click_id::ClickId;
use roundtrip_domain::time::Timestamp;
use rusqlite::hooks::Wal;
use rusqlite::{Connection, ErrorCode, params};

use super::ahead::Ahead;
use super::append::{Append, Gather, Pending, Wakes, Why, lock};
use super::body;
use super::closer::{How, Job};
use super::damage;
use super::error::Error;
use super::faults::Point;
use super::index::Index;
use super::registry::{Slice, State};
use super::slice::{self, Name, Part};
use super::{Durability, Shared};

/// Most clicks in one commit. Bounds how long the last of them waits for the first.
const ROWS_MAX: usize = 1_024;
/// The next commit is gathered if the last one had so many clicks, until it has twice as many.
const GATHER_FROM: usize = 8;
/// How long a commit is gathered at most: about as long as a commit takes.
const GATHER_MAX: Duration = Duration::from_micros(200);
/// How often an idle writer looks at the age of its slice.
const TICK: Duration = Duration::from_secs(1);
/// The same when there is no slice to look at.
const IDLE: Duration = Duration::from_secs(60);
/// Panics without a commit between them after which the writer gives up, loudly.
const PANICS_MAX: u32 = 5;
/// A write-ahead log grows by whole pages with each commit, so at a low rate it is many times its clicks. A
/// slice is closed when its log is this many times the size that closes it.
const WAL_FACTOR: u64 = 4;

/// The slice that is being written.
pub(super) struct Active {
    pub(super) name: Name,
    pub(super) conn: Connection,
    pub(super) index: Arc<RwLock<Index>>,
    /// Bytes of the rows so far.
    pub(super) bytes: u64,
    /// Frames in the write-ahead log, as the last commit left it.
    frames: Arc<AtomicU64>,
    ahead: Ahead,
    pages_max: Option<u32>,
}

impl Active {
    /// `path` is the slice's file.
    pub(super) fn new(
        name: Name,
        mut conn: Connection,
        path: &Path,
        index: Arc<RwLock<Index>>,
        bytes: u64,
    ) -> Result<Self, Error> {
        let frames = Arc::new(AtomicU64::new(0));
        let count = frames.clone();
        // It replaces the hook of automatic checkpoints, which are off.
        conn.wal_hook(Some(move |_: &mut Wal, pages| {
            count.store(u64::from(pages as u32), Relaxed);
            Ok(())
        }))
        .map_err(Error::sqlite("watch the log of", path))?;
        let ahead = Ahead::of(&slice::beside(path, "-wal"));
        Ok(Self { name, conn, index, bytes, frames, ahead, pages_max: None })
    }

    /// Bytes of the write-ahead log that are commits.
    fn wal_bytes(&self) -> u64 {
        match self.frames.load(Relaxed) {
            0 => 0,
            n => damage::WAL_HEADER as u64 + n * damage::FRAME,
        }
    }
}

/// Why a batch failed as a whole.
#[derive(Clone, Copy)]
enum Failure {
    /// Rolled back; the file is sound.
    Full,
    /// Rolled back; the file is sound, and each click may be tried by itself.
    Retry,
    /// The file is not trusted any more.
    Retire,
}

fn judge(error: &rusqlite::Error) -> Failure {
    // The wal-index grows with the log; on a full disk that is where it shows first now and then.
    let shm_full =
        error.sqlite_error().is_some_and(|e| e.extended_code == rusqlite::ffi::SQLITE_IOERR_SHMSIZE);
    match error.sqlite_error_code() {
        _ if shm_full => Failure::Full,
        Some(ErrorCode::DiskFull) => Failure::Full,
        Some(
            ErrorCode::SystemIoFailure
            | ErrorCode::DatabaseCorrupt
            | ErrorCode::NotADatabase
            | ErrorCode::CannotOpen
            | ErrorCode::ReadOnly,
        ) => Failure::Retire,
        _ => Failure::Retry,
    }
}

pub(super) struct Writer {
    shared: Arc<Shared>,
    active: Option<Active>,
    batch: Vec<Pending>,
    wakes: Wakes,
    panics_in_a_row: u32,
}

impl Writer {
    pub(super) fn new(shared: Arc<Shared>, active: Option<Active>) -> Self {
        Self {
            shared,
            active,
            batch: Vec::with_capacity(ROWS_MAX),
            wakes: Wakes::default(),
            panics_in_a_row: 0,
        }
    }

    /// Works until the log is shut down and the queue is empty.
    pub(super) fn run(mut self) {
        while self.panics_in_a_row < PANICS_MAX {
            match catch_unwind(AssertUnwindSafe(|| self.work())) {
                Ok(()) => break,
                Err(_) => {
                    self.panics_in_a_row += 1;
                    self.shared.counters.panics.fetch_add(1, Relaxed);
                    tracing::error!(
                        click_log.panics = self.panics_in_a_row,
                        "the click log's writer panicked"
                    );
                    self.fail_batch(Why::Panic);
                    // The index may have half of the batch, so the closer reads the file again.
                    self.retire(How::Rescan);
                    self.shared.uncommitted_ms.store(i64::MAX, Release);
                }
            }
        }
        if self.panics_in_a_row >= PANICS_MAX {
            tracing::error!("the click log's writer gives up: every click is unstored from here on");
        }
        self.batch = self.shared.queue.drain();
        self.fail_batch(Why::Stopped);
        if let Some(active) = &self.active {
            active.ahead.cut(active.wal_bytes());
        }
    }

    fn work(&mut self) {
        let mut gather = None;
        loop {
            let tick = if self.active.is_some() { TICK } else { IDLE };
            let taken = self.shared.queue.take(&mut self.batch, ROWS_MAX, tick, gather);
            if !self.batch.is_empty() {
                let rows = self.batch.len();
                self.commit_batch();
                gather = (rows >= GATHER_FROM).then_some(Gather { enough: rows * 2, at_most: GATHER_MAX });
                self.shared.uncommitted_ms.store(i64::MAX, Release);
            }
            if taken.close || self.is_due() {
                self.close_active();
            }
            if taken.stopped {
                return;
            }
        }
    }

    fn is_due(&self) -> bool {
        let Some(active) = &self.active else { return false };
        let config = &self.shared.config;
        let age = self.shared.clock.now().ms() - active.name.began_ms;
        active.bytes >= config.slice_bytes_max
            || active.wal_bytes() >= config.slice_bytes_max.saturating_mul(WAL_FACTOR)
            || age >= config.slice_age_max.ms()
    }

    /// Hands the active slice to the closer. An empty one stays: there is nothing to close.
    fn close_active(&mut self) {
        if let Some(active) = &self.active
            && index_read(&active.index).extent.clicks > 0
        {
            self.retire(How::Pour);
        }
    }

    fn retire(&mut self, how: How) {
        let Some(active) = self.active.take() else { return };
        let first_ms = self.shared.uncommitted_ms.load(Relaxed);
        if how != How::Pour && first_ms < i64::MAX {
            // What was not answered may be in the file all the same, and is found again once it is closed.
            lock(&self.shared.unsure).insert(active.name.seq, first_ms);
        }
        // Dropping the connection moves no pages: it does not checkpoint on close.
        drop(active.conn);
        let state = State::Live { index: active.index, active: false };
        self.shared.registry.put(Slice { name: active.name, state });
        self.shared.counters.bytes_active.store(0, Relaxed);
        self.shared.closer_send(Job::Close { seq: active.name.seq, how });
    }

    /// Opens a slice if there is none. Its beginning is not before any id that was minted, so that
    /// the rows of its clicks are never negative and the spans of slices follow each other.
    fn ensure_active(&mut self) -> Result<(), Error> {
        if self.active.is_some() {
            return Ok(());
        }
        let shared = &self.shared;
        let began = shared.clock.now().max(lock(&shared.mint).floor());
        let seq = shared.seq_last.fetch_add(1, Relaxed) + 1;
        let name = Name { node: shared.config.node, began_ms: began.ms().max(0), seq };
        lock(&shared.manifest).seq_note(seq)?;
        let path = shared.config.dir.join(name.file(Part::Live));
        let strict = shared.config.durability == Durability::Strict;
        let conn = slice::open_writer(&path, &name, true, strict).inspect_err(|_| {
            // Half a file would be looked at by the next start; without clicks it is worth nothing.
            for suffix in ["", "-wal", "-shm"] {
                let _ = super::durable::remove(&slice::beside(&path, suffix));
            }
        })?;
        let index = Arc::new(RwLock::new(Index::new()));
        let state = State::Live { index: index.clone(), active: true };
        shared.registry.put(Slice { name, state });
        self.active = Some(Active::new(name, conn, &path, index, 0)?);
        Ok(())
    }

    fn commit_batch(&mut self) {
        self.shared.config.faults.reach(Point::BeforeMint);
        if self.is_due() {
            self.close_active();
        }
        if let Err(error) = self.ensure_active() {
            let full = matches!(&error, Error::Sqlite { source, .. } if matches!(judge(source), Failure::Full))
                || matches!(&error, Error::Io { source, .. } if source.kind() == std::io::ErrorKind::StorageFull);
            tracing::error!(error = &error as &dyn std::error::Error, "the click log cannot open a slice");
            return self.fail_batch(if full { Why::DiskFull } else { Why::Disk });
        }
        self.mint_batch();
        let Some(active) = &mut self.active else { return };
        if let Some(pages) = self.shared.config.faults.pages()
            && active.pages_max != Some(pages)
        {
            active.pages_max = Some(pages);
            let _ = active.conn.pragma_update(None, "max_page_count", pages);
        }
        let refused = match write(&self.shared, active, &self.batch) {
            Ok(refused) => refused,
            Err(error) => {
                roll_back(&active.conn);
                let failure = judge(&error);
                tracing::error!(
                    error = &error as &dyn std::error::Error,
                    click_log.rows = self.batch.len(),
                    "a commit of the click log failed"
                );
                return match failure {
                    Failure::Full => self.fail_batch(Why::DiskFull),
                    Failure::Retire => {
                        self.fail_batch(Why::Disk);
                        self.retire(How::Copy);
                    }
                    Failure::Retry => self.commit_one_by_one(),
                };
            }
        };
        self.settle(&refused, true);
    }

    /// Gives ids to those who still wait; the others leave the batch. The moment in an id is not before that at which its
    /// click was received, nor before its slice began, also when the clock was set back between: look-ups rely on it.
    fn mint_batch(&mut self) {
        let shared = &self.shared;
        let began = self.active.as_ref().map_or(0, |active| active.name.began_ms);
        let now = shared.clock.now().max(Timestamp::from_ms(began));
        let entropy = shared.entropy.u32();
        let mut mint = lock(&shared.mint);
        self.batch.retain_mut(|pending| {
            let received = pending.slot.noted.received_at();
            pending.id = pending.slot.mint(|| mint.next(now.max(received), entropy));
            pending.id.is_some()
        });
        // While the mint is held, so that whoever raises its floor knows what was minted before.
        if let Some(first) = self.batch.first().and_then(|pending| pending.id) {
            shared.uncommitted_ms.store(first.ms(), Release);
        }
    }

    /// After a commit: the index first, then the answers, so that whoever is answered can be found. `is_all` says that
    /// nothing else that was minted is to be committed.
    fn settle(&mut self, refused: &[usize], is_all: bool) {
        let Some(active) = &mut self.active else { return };
        let counters = &self.shared.counters;
        let stored = (self.batch.len() - refused.len()) as u64;
        if stored > 0 {
            let mut index = active.index.write().unwrap_or_else(PoisonError::into_inner);
            for (i, pending) in self.batch.iter().enumerate() {
                if let Some(id) = pending.id
                    && !refused.contains(&i)
                {
                    index.add(id, &pending.slot.noted);
                    active.bytes += pending.slot.body.len() as u64 + 12;
                }
            }
            drop(index);
            self.panics_in_a_row = 0;
            counters.commits.fetch_add(1, Relaxed);
            counters.appended.fetch_add(stored, Relaxed);
            counters.rows_per_commit_max.fetch_max(stored, Relaxed);
            counters.bytes_active.store(active.wal_bytes(), Relaxed);
        }
        if is_all {
            self.shared.uncommitted_ms.store(i64::MAX, Release);
        }
        self.shared.queue.hand_empty();
        for (i, pending) in self.batch.drain(..).enumerate() {
            let Some(id) = pending.id else { continue };
            if refused.contains(&i) {
                if pending.slot.answer(Append::Unstored { id, why: Why::Insert }, &mut self.wakes) {
                    counters.unstored(Why::Insert);
                }
            } else if !pending.slot.answer(Append::Stored(id), &mut self.wakes) {
                counters.appended_late.fetch_add(1, Relaxed);
            }
        }
        self.wakes.wake();
        // Nobody waits for this.
        let used = active.wal_bytes();
        active.ahead.reach(used);
    }

    /// Each click in a commit of its own: those that fail are unstored, the others are not taken down with them.
    fn commit_one_by_one(&mut self) {
        let mut rest: VecDeque<Pending> = std::mem::take(&mut self.batch).into();
        while let Some(pending) = rest.pop_front() {
            self.batch.push(pending);
            // The answers before this one emptied the writer's hand, and the others still wait.
            self.shared.queue.hand_full(self.batch.iter().chain(&rest));
            let Some(active) = &mut self.active else {
                self.fail_batch(Why::Disk);
                continue;
            };
            match write(&self.shared, active, &self.batch) {
                Ok(refused) => self.settle(&refused, rest.is_empty()),
                Err(error) => {
                    roll_back(&active.conn);
                    match judge(&error) {
                        Failure::Full => self.fail_batch(Why::DiskFull),
                        Failure::Retry => self.fail_batch(Why::Insert),
                        Failure::Retire => {
                            self.fail_batch(Why::Disk);
                            self.retire(How::Copy);
                        }
                    }
                }
            }
        }
    }

    /// Answers everyone in the batch, minted or not.
    fn fail_batch(&mut self, why: Why) {
        self.shared.queue.hand_empty();
        for pending in self.batch.drain(..) {
            let id = pending.id.unwrap_or_else(|| self.shared.mint_one());
            if pending.slot.answer(Append::Unstored { id, why }, &mut self.wakes) {
                self.shared.counters.unstored(why);
            }
        }
        self.wakes.wake();
    }
}

fn index_read(index: &RwLock<Index>) -> std::sync::RwLockReadGuard<'_, Index> {
    super::registry::read(index)
}

fn roll_back(conn: &Connection) {
    // A full disk or an I/O error may have ended the transaction already.
    if !conn.is_autocommit()
        && let Err(error) = conn.execute_batch("ROLLBACK")
    {
        tracing::error!(error = &error as &dyn std::error::Error, "the click log cannot roll back");
    }
}

/// Inserts and commits. Returns the places of rows that were refused on their own account: a failing INSERT undoes
/// itself and leaves the transaction as it was, so no savepoint is needed around each.
fn write(shared: &Shared, active: &Active, batch: &[Pending]) -> rusqlite::Result<Vec<usize>> {
    let mut refused = Vec::new();
    if batch.is_empty() {
        return Ok(refused);
    }
    let conn = &active.conn;
    conn.prepare_cached("BEGIN IMMEDIATE")?.execute([])?;
    let mut insert = conn.prepare_cached("INSERT INTO click (id, body) VALUES (?1, ?2)")?;
    // The caller's own body stays as it is: only here is its check known.
    let mut body = Vec::with_capacity(1_024);
    for (i, pending) in batch.iter().enumerate() {
        let row = pending.id.and_then(|id: ClickId| Some((active.name.row(id)?, id.bits() as u32)));
        let Some((row, check)) = row.filter(|_| !shared.config.faults.take_insert()) else {
            refused.push(i);
            continue;
        };
        body.clear();
        body.extend_from_slice(&pending.slot.body);
        body::set_check(&mut body, check);
        if let Err(error) = insert.execute(params![row, body.as_slice()]) {
            if conn.is_autocommit() || !matches!(judge(&error), Failure::Retry) {
                return Err(error);
            }
            tracing::error!(error = &error as &dyn std::error::Error, "the click log refused a click");
            refused.push(i);
        }
    }
    drop(insert);
    shared.config.faults.reach(Point::BeforeCommit);
    shared.config.faults.panic_if_ordered();
    if shared.config.faults.take_sync() {
        return Err(failed_sync());
    }
    conn.prepare_cached("COMMIT")?.execute([])?;
    if shared.config.faults.take_sync_behind() {
        return Err(failed_sync());
    }
    Ok(refused)
}

/// What SQLite says when a sync fails.
fn failed_sync() -> rusqlite::Error {
    rusqlite::Error::SqliteFailure(rusqlite::ffi::Error::new(rusqlite::ffi::SQLITE_IOERR_FSYNC), None)
}

/// Now, or the newest id's moment if that is later.
pub(super) fn floor_of(moments: impl Iterator<Item = i64>) -> Option<Timestamp> {
    moments.max().map(Timestamp::from_ms)
}
