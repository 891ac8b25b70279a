//! The one thread that writes the ledger, and how callers share its commits.
//!
//! Jobs that arrive while a commit runs join the next one; there are no timers. Each job runs inside its own
//! savepoint, or has the transaction to itself, so a job that fails takes back its own rows and nobody else's. If the commit itself fails,
//! the batch is rolled back and its jobs are run again one by one, each in a transaction of its own, so
//! that one that cannot fit does not take the others with it. A job may therefore run twice: it must
//! compute its result anew each time.
//!
//! A failed fsync is different: what is on the disk is not known any more. Everyone who waits gets
//! [`Error::Fatal`], and so does everyone after; the process is to end.
//!
//! Nobody is left hanging: a request that is dropped anywhere (a panic, a shutdown) answers by its drop.

use std::sync::Arc;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use rusqlite::Connection;
use tokio::sync::{mpsc, oneshot};

use crate::Error;

/// Most jobs in one commit.
const BATCH_MAX: usize = 512;
/// Most jobs that may wait; one more is answered `Unavailable`.
const QUEUE_MAX: usize = 16_384;

pub(super) type Job = Box<dyn FnMut(&Connection) -> Result<(), Error> + Send>;

struct Request {
    job: Job,
    done: oneshot::Sender<Result<(), Error>>,
}

/// Counters of the writer.
#[derive(Debug, Default)]
pub struct WriterStats {
    /// Transactions committed.
    pub commits: AtomicU64,
    /// Jobs committed.
    pub jobs: AtomicU64,
    /// Jobs that failed.
    pub failed: AtomicU64,
    /// Batches whose commit failed and whose jobs were run again one by one.
    pub retried: AtomicU64,
}

/// A handle to the writer thread.
#[derive(Debug, Clone)]
pub(super) struct Writer {
    queue: mpsc::Sender<Request>,
    fatal: Arc<AtomicBool>,
    stats: Arc<WriterStats>,
    thread: Arc<Mutex<Option<std::thread::JoinHandle<()>>>>,
}

impl Writer {
    /// Starts the thread on its connection.
    pub(super) fn start(conn: Connection) -> std::io::Result<Self> {
        let (queue, requests) = mpsc::channel(QUEUE_MAX);
        let fatal = Arc::new(AtomicBool::new(false));
        let stats = Arc::new(WriterStats::default());
        let thread = {
            let (fatal, stats) = (fatal.clone(), stats.clone());
            std::thread::Builder::new()
                .name("ledger-writer".into())
                .spawn(move || run(&conn, requests, &fatal, &stats))?
        };
        Ok(Self { queue, fatal, stats, thread: Arc::new(Mutex::new(Some(thread))) })
    }

    /// Runs a job in the next commit and answers after it.
    pub(super) async fn write<T, F>(&self, mut job: F) -> Result<T, Error>
    where
        T: Send + 'static,
        F: FnMut(&Connection) -> Result<T, Error> + Send + 'static,
    {
        let slot = Arc::new(Mutex::new(None));
        let filled = slot.clone();
        let (done, answer) = oneshot::channel();
        let job: Job = Box::new(move |conn| {
            let value = job(conn)?;
            *filled.lock().unwrap_or_else(std::sync::PoisonError::into_inner) = Some(value);
            Ok(())
        });
        self.queue.try_send(Request { job, done }).map_err(|error| match error {
            mpsc::error::TrySendError::Full(_) => Error::Unavailable("too many writes are waiting".into()),
            mpsc::error::TrySendError::Closed(_) => self.gone(),
        })?;
        answer.await.map_err(|_| self.gone())??;
        let value = slot.lock().unwrap_or_else(std::sync::PoisonError::into_inner).take();
        value.ok_or_else(|| Error::Refused("a job committed without a result".into()))
    }

    fn gone(&self) -> Error {
        if self.is_fatal() {
            Error::Fatal("an earlier write could not be made durable".into())
        } else {
            Error::Unavailable("the ledger is closing".into())
        }
    }

    /// Whether the process must end.
    pub(super) fn is_fatal(&self) -> bool {
        self.fatal.load(Ordering::SeqCst)
    }

    pub(super) fn stats(&self) -> &WriterStats {
        &self.stats
    }

    /// Waits for the thread once every other handle is gone or `closing` was sent.
    pub(super) fn join(&self) {
        let thread = self.thread.lock().unwrap_or_else(std::sync::PoisonError::into_inner).take();
        if let Some(thread) = thread
            && thread.join().is_err()
        {
            tracing::error!("the ledger's writer panicked");
        }
    }

    /// Asks the thread to end after what is queued.
    pub(super) async fn close(&self) {
        let (done, answer) = oneshot::channel();
        let job: Job = Box::new(|_| Err(Error::Unavailable(CLOSE.into())));
        if self.queue.send(Request { job, done }).await.is_ok() {
            // The answer is the error above; it only says that the thread came that far.
            let _ = answer.await;
        }
    }
}

/// The message by which [`Writer::close`] ends the loop.
const CLOSE: &str = "closing the ledger";

fn run(conn: &Connection, mut requests: mpsc::Receiver<Request>, fatal: &AtomicBool, stats: &WriterStats) {
    let mut closing = false;
    while !closing {
        let Some(first) = requests.blocking_recv() else { break };
        let mut batch = vec![first];
        while batch.len() < BATCH_MAX {
            match requests.try_recv() {
                Ok(request) => batch.push(request),
                Err(_) => break,
            }
        }
        let results = commit(conn, &mut batch, stats);
        for (request, result) in batch.into_iter().zip(results) {
            match &result {
                Ok(()) => {
                    stats.jobs.fetch_add(1, Ordering::Relaxed);
                }
                Err(Error::Unavailable(what)) if what == CLOSE => closing = true,
                Err(error) => {
                    stats.failed.fetch_add(1, Ordering::Relaxed);
                    tracing::warn!(error = %error, "a write to the ledger failed");
                    if matches!(error, Error::Fatal(_)) {
                        fatal.store(true, Ordering::SeqCst);
                    }
                }
            }
            // A caller that went away does not need its answer.
            let _ = request.done.send(result);
        }
        if fatal.load(Ordering::SeqCst) {
            tracing::error!("the ledger could not make a write durable; it takes no more writes");
            break;
        }
    }
    if let Err(error) = conn.execute_batch("PRAGMA wal_checkpoint(TRUNCATE)") {
        tracing::warn!(error = %error, "the last checkpoint of the ledger failed");
    }
}

/// Runs a batch in one transaction; falls back to one transaction per job.
fn commit(conn: &Connection, batch: &mut [Request], stats: &WriterStats) -> Vec<Result<(), Error>> {
    match together(conn, batch) {
        Ok(results) => {
            if results.len() > 1 || results.iter().any(Result::is_ok) {
                stats.commits.fetch_add(1, Ordering::Relaxed);
            }
            results
        }
        Err(error @ Error::Fatal(_)) => vec![Err(error); batch.len()],
        Err(error) => {
            tracing::warn!(error = %error, jobs = batch.len(), "a commit failed; its jobs are run one by one");
            stats.retried.fetch_add(1, Ordering::Relaxed);
            let mut results = Vec::with_capacity(batch.len());
            for i in 0..batch.len() {
                let result = together(conn, &mut batch[i..=i]).and_then(|mut one| one.remove(0));
                let is_fatal = matches!(result, Err(Error::Fatal(_)));
                if result.is_ok() {
                    stats.commits.fetch_add(1, Ordering::Relaxed);
                }
                results.push(result.clone());
                if is_fatal {
                    results.resize(batch.len(), result);
                    break;
                }
            }
            results
        }
    }
}

fn together(conn: &Connection, batch: &mut [Request]) -> Result<Vec<Result<(), Error>>, Error> {
    run_cached(conn, "BEGIN IMMEDIATE")?;
    if let [only] = batch {
        return alone_in_it(conn, &mut only.job);
    }
    let mut results = Vec::with_capacity(batch.len());
    for request in batch.iter_mut() {
        let result = savepoint(conn, &mut request.job);
        // A full disk or an I/O error can end the whole transaction: then nothing of the batch stands.
        if conn.is_autocommit() {
            return Err(result
                .err()
                .unwrap_or_else(|| Error::Unavailable("the transaction was ended".into())));
        }
        results.push(result);
    }
    end(conn)?;
    Ok(results)
}

/// Runs a job that has the transaction to itself: taking that back is taking the job back. A savepoint would have
/// SQLite keep a copy of every page that the job changes, and large jobs nearly always come alone.
fn alone_in_it(conn: &Connection, job: &mut Job) -> Result<Vec<Result<(), Error>>, Error> {
    let result = caught(conn, job);
    if conn.is_autocommit() {
        return Err(result.err().unwrap_or_else(|| Error::Unavailable("the transaction was ended".into())));
    }
    match result {
        Ok(()) => end(conn)?,
        // Nothing of it is to stand, so there is nothing to make durable.
        Err(_) => conn.execute_batch("ROLLBACK")?,
    }
    Ok(vec![result])
}

/// Commits.
fn end(conn: &Connection) -> Result<(), Error> {
    let Err(error) = conn.execute_batch("COMMIT") else { return Ok(()) };
    if !conn.is_autocommit() {
        // Nothing else can be done about a rollback that fails: the next BEGIN will say so.
        let _ = conn.execute_batch("ROLLBACK");
    }
    Err(error.into())
}

/// Runs one job in a transaction of its own, as one that nobody came beside.
#[cfg(feature = "simulation")]
pub(super) fn alone(conn: &Connection, stats: &WriterStats, job: Job) -> Result<(), Error> {
    let (done, _) = oneshot::channel();
    commit(conn, &mut [Request { job, done }], stats).pop().unwrap_or(Ok(()))
}

/// Runs a statement that is run for every job: parsed once, not each time.
fn run_cached(conn: &Connection, statement: &str) -> Result<(), Error> {
    conn.prepare_cached(statement)?.execute([])?;
    Ok(())
}

/// Runs a job; that it panicked is an error like others.
fn caught(conn: &Connection, job: &mut Job) -> Result<(), Error> {
    let outcome = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| job(conn)));
    outcome.unwrap_or_else(|_| Err(Error::Refused("the job panicked".into())))
}

fn savepoint(conn: &Connection, job: &mut Job) -> Result<(), Error> {
    run_cached(conn, "SAVEPOINT job")?;
    let result = caught(conn, job);
    if conn.is_autocommit() {
        return result.and(Err(Error::Unavailable("the transaction was ended".into())));
    }
    match result {
        Ok(()) => run_cached(conn, "RELEASE job")?,
        Err(_) => conn.execute_batch("ROLLBACK TO job; RELEASE job")?,
    }
    result
}

#[cfg(test)]
mod tests {
    use super::*;

    fn runtime() -> tokio::runtime::Runtime {
        tokio::runtime::Builder::new_current_thread().build().unwrap()
    }

    fn writer(setup: &str) -> Writer {
        let conn = Connection::open_in_memory().unwrap();
        conn.execute_batch("CREATE TABLE t (x INTEGER PRIMARY KEY, y BLOB)").unwrap();
        conn.execute_batch(setup).unwrap();
        Writer::start(conn).unwrap()
    }

    fn insert(x: i64) -> impl FnMut(&Connection) -> Result<i64, Error> + Send + 'static {
        move |conn| {
            conn.execute("INSERT INTO t VALUES (?1, NULL)", [x])?;
            Ok(x)
        }
    }

    #[test]
    fn a_failing_job_takes_only_itself_back() {
        let writer = writer("");
        runtime().block_on(async {
            let (a, b, c, d) = tokio::join!(
                writer.write(insert(1)),
                writer.write(insert(1)),
                writer.write(|_| -> Result<(), Error> { panic!("a bug") }),
                writer.write(insert(2)),
            );
            assert_eq!((a, d), (Ok(1), Ok(2)));
            assert!(matches!(b, Err(Error::Refused(_))) && matches!(c, Err(Error::Refused(_))));
            let count = writer
                .write(|conn| Ok(conn.query_row("SELECT count(*) FROM t", [], |r| r.get::<_, i64>(0))?));
            assert_eq!(count.await, Ok(2));
        });
    }

    #[test]
    fn what_does_not_fit_fails_alone_and_it_goes_on_when_there_is_room() {
        let writer = writer("PRAGMA max_page_count = 20");
        runtime().block_on(async {
            let big = |conn: &Connection| {
                conn.execute("INSERT INTO t VALUES (900, zeroblob(200000))", [])?;
                Ok(())
            };
            let (a, b, c) = tokio::join!(writer.write(insert(1)), writer.write(big), writer.write(insert(2)));
            assert_eq!((a, c), (Ok(1), Ok(2)), "the neighbours of a job that is too big are kept");
            assert!(b.unwrap_err().is_retryable());
            writer.write(|conn| Ok(conn.execute_batch("PRAGMA max_page_count = 2000")?)).await.unwrap();
            assert_eq!(writer.write(big).await, Ok(()));
        });
    }

    #[test]
    fn closing_answers_everyone() {
        let writer = writer("");
        runtime().block_on(async {
            writer.close().await;
            assert!(writer.write(insert(1)).await.unwrap_err().is_retryable());
        });
        writer.join();
    }
}
