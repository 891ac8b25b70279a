//! The stores of one node: opened together, asked together how they are, closed together.
//!
//! The ledger is opened first, because it holds the keys that mint and check click ids; it is closed last,
//! because closing slices of the click log end up in it.

use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use roundtrip_ambient::{Clock, Entropy};
use roundtrip_store::click_log::{self, ClickLog};
use roundtrip_store::ledger::{self, Ledger};
use tokio::sync::Mutex;

use crate::config::{Config, Durability};
use crate::data_dir::DataDir;

/// Read connections of the ledger: reports and look-ups of a few people, beside one writer.
const LEDGER_READERS: usize = 4;
/// The object that is asked for at the start; there is none of that name.
#[cfg(feature = "bucket")]
const BUCKET_LOOK: &str = "is-it-there";
/// How long that may take.
#[cfg(feature = "bucket")]
const BUCKET_LOOK_MAX: Duration = Duration::from_secs(30);
/// How long a probe of the ledger may take before it counts as a trouble.
const PROBE_MAX: Duration = Duration::from_secs(2);
/// How long a probe's result stands. A probe is a commit, and anybody who reaches the admin listener may ask.
const PROBE_KEPT: Duration = Duration::from_secs(1);

/// The click log and the ledger. Clones share them.
#[derive(Debug, Clone)]
pub(crate) struct Stores {
    /// Clicks and impressions.
    pub(crate) clicks: ClickLog,
    /// Everything else.
    pub(crate) ledger: Ledger,
    probed: Arc<Mutex<Option<Probed>>>,
}

/// Who reaches buckets for the click log, whether or not anything is to go into one: something may lie in one from before.
/// The one that is named must be one that can be reached.
#[cfg(feature = "bucket")]
fn buckets(named: Option<&str>) -> anyhow::Result<Option<Arc<dyn click_log::bucket::Buckets>>> {
    let buckets: Arc<dyn click_log::bucket::Buckets> = Arc::new(crate::bucket::SegmentBuckets::default());
    if let Some(name) = named {
        let bucket = buckets.open(name).with_context(|| format!("open the bucket {name} for clicks"))?;
        let name = name.to_owned();
        // The start does not wait for it: clicks are taken whether or not it answers.
        let looking = std::thread::Builder::new().name("bucket-look".to_owned());
        looking.spawn(move || look(&name, &*bucket)).context("start a thread")?;
    }
    Ok(Some(buckets))
}

/// Asks a bucket for something that is not there, so that a name or credentials that are wrong are told of at the start and
/// not days later, when the first segment is old enough to be moved. That it may be written to is seen then.
#[cfg(feature = "bucket")]
fn look(name: &str, bucket: &dyn click_log::bucket::Bucket) {
    match bucket.length(BUCKET_LOOK, BUCKET_LOOK_MAX) {
        Ok(_) => tracing::info!(bucket = name, "the bucket for sealed clicks answers"),
        // The server ends.
        Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
        Err(error) => tracing::warn!(
            bucket = name,
            %error,
            advice = crate::bucket::Said::within(&error).and_then(crate::bucket::Said::advice),
            "the bucket for sealed clicks does not answer as it should; they stay in the data directory until it does"
        ),
    }
}

/// A program that was built without them reaches none.
#[cfg(not(feature = "bucket"))]
fn buckets(_: Option<&str>) -> anyhow::Result<Option<Arc<dyn click_log::bucket::Buckets>>> {
    Ok(None)
}

/// What a probe found, and when.
type Probed = (Instant, Vec<String>);

impl Stores {
    /// Opens both. Damage is reported in the log and does not stop the start.
    ///
    /// # Errors
    /// When one of them cannot be read or written, or was written by a newer release.
    pub(crate) fn open(
        data: &DataDir,
        config: &Config,
        clock: &Clock,
        entropy: &Entropy,
    ) -> anyhow::Result<Self> {
        if let Err(error) = roundtrip_store::backup::clear_leftovers(data.path()) {
            tracing::warn!(%error, "the copies of an earlier backup cannot be removed");
        }
        let ledger_config = ledger::Config { path: data.ledger(), readers: LEDGER_READERS };
        let (ledger, report) = Ledger::open(&ledger_config, entropy.clone(), clock.now())
            .with_context(|| format!("open the ledger {}", data.ledger().display()))?;
        tracing::info!(
            ledger.created = report.created,
            ledger.schema = report.schema_found,
            "opened the ledger"
        );

        let identity = ledger.identity();
        let buckets = buckets(config.click_segments_bucket.as_deref())?;
        let log_config = click_log::Config {
            durability: match config.click_durability {
                Durability::Strict => click_log::Durability::Strict,
                Durability::Relaxed => click_log::Durability::Relaxed,
            },
            retention: config.click_retention,
            seal_after: config.click_seal_after,
            segment_rows_max: config.click_segment_rows,
            buckets,
            segments_bucket: config.click_segments_bucket.clone(),
            segments_local: config.click_segments_local,
            floor: identity.click_floor,
            published: Some(ledger.slices_counted().context("read which slices the ledger has counted")?),
            ..click_log::Config::new(data.clicks(), identity.node, identity.check_keys.clone())
        };
        let (clicks, report) =
            ClickLog::open(log_config, clock.clone(), entropy.clone()).context("open the click log")?;
        tracing::info!(
            click_log.damaged = report.damaged.len(),
            click_log.missing = report.missing.len(),
            click_log.slices = report.closed,
            click_log.segments = report.segments,
            click_log.moved = report.moved,
            click_log.sides_lost = report.side_files_lost.len(),
            "opened the click log"
        );
        Ok(Self { clicks, ledger, probed: Arc::default() })
    }

    /// Whether durability was lost, so that the process must end.
    pub(crate) fn is_fatal(&self) -> bool {
        self.ledger.is_fatal()
    }

    /// Why they cannot take everything now, in words for an operator; empty when they can. At most one probe a
    /// second reaches the disk.
    pub(crate) async fn troubles(&self) -> Vec<String> {
        let mut probed = self.probed.lock().await;
        if let Some((at, troubles)) = &*probed
            && at.elapsed() < PROBE_KEPT
        {
            return troubles.clone();
        }
        let mut troubles = Vec::new();
        match tokio::time::timeout(PROBE_MAX, self.ledger.probe()).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => troubles.push(format!("ledger: {error}")),
            Err(_) => troubles.push(format!("ledger: no commit within {} s", PROBE_MAX.as_secs())),
        }
        if !self.clicks.stats().open {
            troubles.push("click log: it takes no clicks; redirects leave with unstored ids".to_owned());
        }
        *probed = Some((Instant::now(), troubles.clone()));
        troubles
    }

    /// What is wrong and keeps nobody from being answered, in words for an operator.
    pub(crate) fn notes(&self) -> Vec<String> {
        let stats = self.clicks.stats();
        let sides = match stats.sides_lost {
            0 => None,
            1 => Some("1 side file is made again".to_owned()),
            n => Some(format!("{n} side files are made again")),
        };
        let sides = sides
            .map(|told| format!("{told}; decisions that look for devices among their clicks wait for that"));
        let seal = stats.seal_error.map(|why| format!("clicks cannot be sealed yet: {why}"));
        let bucket = stats
            .bucket_error
            .map(|why| format!("something is not done yet in a bucket of sealed clicks: {why}"));
        [sides, seal, bucket].into_iter().flatten().map(|note| format!("click log: {note}")).collect()
    }

    /// Lets the next question reach the disk whatever the last one found.
    #[cfg(test)]
    pub(crate) async fn forget_probe(&self) {
        *self.probed.lock().await = None;
    }

    /// Closes both; what is queued is written first. Later calls to them are refused.
    ///
    /// # Errors
    /// When the click log's threads did not end within its own bound.
    pub(crate) async fn close(&self) -> anyhow::Result<()> {
        let clicks = self.clicks.clone();
        let closed = tokio::task::spawn_blocking(move || clicks.shutdown()).await.unwrap_or(false);
        self.ledger.close().await;
        anyhow::ensure!(closed, "close the click log: its threads did not end in time");
        Ok(())
    }
}
