//! Every metric there is, declared once; the help text is the doc comment. Labels come from enums, so that
//! no stranger can make a new series.
//!
//! What others count (stores, loops) is read from their own counters when somebody scrapes; nothing is counted
//! twice. Not here: anything per link, partner or workspace. That is what reports are for.

use std::fmt::{self, Write as _};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use http::StatusCode;
use prometheus_client::encoding::{EncodeLabelSet, EncodeLabelValue, LabelValueEncoder};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::metrics::info::Info;
use prometheus_client::registry::Registry;
use roundtrip_ambient::Clock;
use roundtrip_engine::Stats;
use roundtrip_engine::sender::Sender;
use roundtrip_geo::Geo;
use roundtrip_store::click_log::Why;
use roundtrip_web::ingest::Counters;

use crate::listen::Side;
use crate::stores::Stores;

/// A gauge of a fraction, such as seconds.
type GaugeF64 = Gauge<f64, AtomicU64>;

/// Declares metrics: the doc comment is the help text, the string is the name after `roundtrip_`.
macro_rules! metrics {
    ($($(#[doc = $help:literal])+ $field:ident: $type:ty = $name:literal, $make:expr;)*) => {
        #[derive(Debug)]
        struct Declared { $($(#[doc = $help])+ $field: $type,)* }

        impl Declared {
            fn register(registry: &mut Registry) -> Self {
                let declared = Self { $($field: $make,)* };
                $(registry.register($name, help(concat!($($help),+)), declared.$field.clone());)*
                declared
            }
        }

        /// Name, type and help of every metric, for the documentation.
        #[cfg(test)]
        const DECLARED: &[(&str, &str, &str)] =
            &[$(($name, stringify!($type), concat!($($help),+)),)*];
    };
}

/// prometheus-client ends each help text with a stop of its own.
fn help(doc: &'static str) -> &'static str {
    doc.trim().trim_end_matches('.')
}

metrics! {
    /// Requests by listener and class of answer; none: closed without an answer after 60 s.
    requests: Family<AnswerLabels, Counter> = "http_requests", Family::default();
    /// Seconds from a request's headers to its answer, by listener.
    request_seconds: Family<ListenerLabels, Histogram, fn() -> Histogram> = "http_request_seconds", Family::new_with_constructor(latency);
    /// Open connections, by listener.
    connections: Family<ListenerLabels, Gauge> = "http_connections", Family::default();
    /// Times that a connection could not be accepted, by listener.
    accept_errors: Family<ListenerLabels, Counter> = "http_accept_errors", Family::default();
    /// Clicks and impressions that are on the disk.
    clicks_stored: Counter = "clicks_stored", Counter::default();
    /// Redirects that left without their click being stored, by reason.
    clicks_unstored: Family<WhyLabels, Counter> = "clicks_unstored", Family::default();
    /// Commits of the click log.
    click_log_commits: Counter = "click_log_commits", Counter::default();
    /// Clicks that wait for the click log's writer.
    click_log_queue: Gauge = "click_log_queue", Gauge::default();
    /// Slices of the click log, by state; a missing one is listed and not on the disk.
    click_log_slices: Family<SliceLabels, Gauge> = "click_log_slices", Family::default();
    /// Files of the click log that were damaged and set aside since the start.
    click_log_damaged: Gauge = "click_log_damaged", Gauge::default();
    /// Closed slices that are counted in the ledger and not in a Parquet file yet.
    click_log_unsealed: Gauge = "click_log_unsealed", Gauge::default();
    /// Parquet files of sealed clicks, in buckets too.
    click_log_segments: Gauge = "click_log_segments", Gauge::default();
    /// Of these, Parquet files that lie in a bucket.
    click_log_segments_moved: Gauge = "click_log_segments_moved", Gauge::default();
    /// Bytes of the Parquet files that lie in a bucket.
    click_log_moved_bytes: Gauge = "click_log_moved_bytes", Gauge::default();
    /// Requests of the click log to buckets that failed.
    click_log_bucket_failures: Counter = "click_log_bucket_failures", Counter::default();
    /// 1 when the last try to move a Parquet file into a bucket, or to delete one there, failed.
    click_log_bucket_failing: Gauge = "click_log_bucket_failing", Gauge::default();
    /// Parquet files of sealed clicks that are listed and not on the disk or in their bucket.
    click_log_segments_missing: Gauge = "click_log_segments_missing", Gauge::default();
    /// Clicks in Parquet files.
    click_log_segment_clicks: Gauge = "click_log_segment_clicks", Gauge::default();
    /// Bytes of the Parquet files on the disk.
    click_log_segment_bytes: Gauge = "click_log_segment_bytes", Gauge::default();
    /// Bytes of the side files of the Parquet files.
    click_log_side_bytes: Gauge = "click_log_side_bytes", Gauge::default();
    /// Side files that were lost and are not made again yet; decisions that look for devices among their clicks wait.
    click_log_sides_lost: Gauge = "click_log_sides_lost", Gauge::default();
    /// 1 when the last try to make a Parquet file failed.
    click_log_seal_failing: Gauge = "click_log_seal_failing", Gauge::default();
    /// Bytes of the click log on the disk.
    click_log_bytes: Gauge = "click_log_bytes", Gauge::default();
    /// Commits of the ledger.
    ledger_commits: Counter = "ledger_commits", Counter::default();
    /// Writes of the ledger that were committed.
    ledger_writes: Counter = "ledger_writes", Counter::default();
    /// Writes of the ledger that failed.
    ledger_failures: Counter = "ledger_failures", Counter::default();
    /// Groups of the ledger's writes that failed together and were tried one by one.
    ledger_retries: Counter = "ledger_retries", Counter::default();
    /// Decisions made, revisions included.
    decisions: Counter = "decisions", Counter::default();
    /// Deliveries planned.
    deliveries_planned: Counter = "deliveries_planned", Counter::default();
    /// Deliveries that reached their receiver.
    deliveries_delivered: Counter = "deliveries_delivered", Counter::default();
    /// Deliveries given up.
    deliveries_dead: Counter = "deliveries_dead", Counter::default();
    /// Deliveries that expired: their receiver does not accept them any more.
    deliveries_expired: Counter = "deliveries_expired", Counter::default();
    /// Deliveries of which only the last quarter of their acceptance window was left.
    deliveries_running_out: Counter = "deliveries_running_out", Counter::default();
    /// Sends begun.
    sends: Counter = "sends", Counter::default();
    /// Sends that are tried again.
    sends_retried: Counter = "sends_retried", Counter::default();
    /// Sends under way.
    sends_in_flight: Gauge = "sends_in_flight", Gauge::default();
    /// Due deliveries that only a sweep of the table found; stays where it is after the start.
    deliveries_swept: Counter = "deliveries_swept", Counter::default();
    /// Deliveries that jobs planned or cancelled.
    deliveries_recovered: Counter = "deliveries_recovered", Counter::default();
    /// Times that an endpoint's breaker opened.
    breakers_opened: Counter = "breakers_opened", Counter::default();
    /// Deliveries that were held for too long and expired.
    deliveries_held_expired: Counter = "deliveries_held_expired", Counter::default();
    /// Loops that panicked and were started again.
    loop_panics: Counter = "loop_panics", Counter::default();
    /// Open connections to partners and webhooks.
    sender_connections: Gauge = "sender_connections", Gauge::default();
    /// Databases of addresses that are named, by state; a stale one changed and cannot be used as it is now.
    geo_databases: Family<GeoLabels, Gauge> = "geo_databases", Family::default();
    /// Databases of addresses that were read.
    geo_loads: Counter = "geo_loads", Counter::default();
    /// Times that a database of addresses could not be read.
    geo_failures: Counter = "geo_failures", Counter::default();
    /// When the oldest database of addresses in use was built, in seconds since 1970; 0 without one.
    geo_built_seconds: Gauge = "geo_built_time_seconds", Gauge::default();
    /// 1 while the server can take everything, 0 while /readyz says why not.
    ready: Gauge = "ready", Gauge::default();
    /// When the process started, in seconds since 1970.
    start_seconds: GaugeF64 = "start_time_seconds", Gauge::default();
    /// Resident memory, in bytes; 0 where the system does not tell.
    memory_bytes: Gauge = "resident_memory_bytes", Gauge::default();
    /// Open file descriptors; 0 where the system does not tell.
    open_files: Gauge = "open_files", Gauge::default();
}

/// From 100 µs, below a durable click, to the 60 s at which a request is cut.
fn latency() -> Histogram {
    Histogram::new([
        0.000_1, 0.000_25, 0.000_5, 0.001, 0.002_5, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0,
        60.0,
    ])
}

/// The states of a slice, in the order that [`Metrics::observe`] fills them.
const SLICE_STATES: [&str; 4] = ["active", "closing", "closed", "missing"];

/// The states of a database of addresses, in the order that [`Metrics::observe`] fills them.
const GEO_STATES: [&str; 3] = ["good", "stale", "missing"];

/// The class of an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Answer {
    /// 2xx.
    Success,
    /// 3xx.
    Redirect,
    /// 4xx.
    ClientError,
    /// 5xx.
    ServerError,
    /// The connection was closed instead.
    None,
}

impl Answer {
    const ALL: [Self; 5] = [Self::Success, Self::Redirect, Self::ClientError, Self::ServerError, Self::None];

    /// The class of a status.
    pub(crate) fn of(status: StatusCode) -> Self {
        match status.as_u16() {
            0..=299 => Self::Success,
            300..=399 => Self::Redirect,
            400..=499 => Self::ClientError,
            _ => Self::ServerError,
        }
    }

    /// The label's value.
    const fn as_str(self) -> &'static str {
        match self {
            Self::Success => "2xx",
            Self::Redirect => "3xx",
            Self::ClientError => "4xx",
            Self::ServerError => "5xx",
            Self::None => "none",
        }
    }
}

/// A label value that is one of an enum's words, so that the series are bounded.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
struct Word(&'static str);

impl EncodeLabelValue for Word {
    fn encode(&self, encoder: &mut LabelValueEncoder<'_>) -> fmt::Result {
        encoder.write_str(self.0)
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ListenerLabels {
    listener: Word,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, EncodeLabelSet)]
struct AnswerLabels {
    listener: Word,
    answer: Word,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, EncodeLabelSet)]
struct WhyLabels {
    reason: Word,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, EncodeLabelSet)]
struct SliceLabels {
    state: Word,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, EncodeLabelSet)]
struct GeoLabels {
    state: Word,
}

/// All metrics of the process. Clones share them.
#[derive(Debug, Clone)]
pub(crate) struct Metrics(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    registry: Registry,
    declared: Declared,
    /// What the public routes count, in their own order; they declare names and help texts themselves.
    ingest: Vec<Counter>,
}

/// Who counts for themselves.
#[derive(Clone)]
pub(crate) struct Sources {
    /// The stores.
    pub(crate) stores: Stores,
    /// The way out.
    pub(crate) sender: Sender,
    /// The public routes.
    pub(crate) ingest: Arc<Counters>,
    /// The loops.
    pub(crate) engine: Arc<Stats>,
    /// The databases of addresses.
    pub(crate) geo: Geo,
}

impl Metrics {
    /// Declares everything.
    pub(crate) fn new(clock: &Clock) -> Self {
        let mut registry = Registry::with_prefix("roundtrip");
        let declared = Declared::register(&mut registry);
        // A series that is there at zero from the beginning can be alerted on when it moves.
        for why in Why::ALL {
            drop(declared.clicks_unstored.get_or_create(&WhyLabels { reason: Word(why.name()) }));
        }
        for state in SLICE_STATES {
            drop(declared.click_log_slices.get_or_create(&SliceLabels { state: Word(state) }));
        }
        for state in GEO_STATES {
            drop(declared.geo_databases.get_or_create(&GeoLabels { state: Word(state) }));
        }
        let build = Info::new([("version", env!("CARGO_PKG_VERSION"))]);
        registry.register("build", "The version that runs", build);
        #[expect(clippy::cast_precision_loss, reason = "milliseconds since 1970 fit 2^53 for 285,000 years")]
        declared.start_seconds.set(clock.now().ms() as f64 / 1000.0);
        let ingest = Counters::default().read().into_iter().map(|(name, text, _)| {
            let counter = Counter::default();
            registry.register(format!("ingest_{name}"), help(text), counter.clone());
            counter
        });
        let ingest = ingest.collect();
        Self(Arc::new(Inner { registry, declared, ingest }))
    }

    /// The handles of one listener, looked up once: a look-up by label takes a lock.
    pub(crate) fn listener(&self, side: Side) -> ListenerMetrics {
        let declared = &self.0.declared;
        let listener = Word(side.as_str());
        let labels = ListenerLabels { listener };
        ListenerMetrics {
            answers: Answer::ALL.map(|answer| {
                declared
                    .requests
                    .get_or_create_owned(&AnswerLabels { listener, answer: Word(answer.as_str()) })
            }),
            seconds: declared.request_seconds.get_or_create_owned(&labels),
            connections: declared.connections.get_or_create_owned(&labels),
            accept_errors: declared.accept_errors.get_or_create_owned(&labels),
        }
    }

    /// Takes over what others count for themselves.
    pub(crate) fn observe(&self, sources: &Sources) {
        let Sources { stores, sender, ingest, engine, geo } = sources;
        let declared = &self.0.declared;
        let set = |counter: &Counter, n: u64| counter.inner().store(n, Ordering::Relaxed);
        let clicks = stores.clicks.stats();
        set(&declared.clicks_stored, clicks.appended);
        for (why, n) in clicks.unstored {
            set(&declared.clicks_unstored.get_or_create(&WhyLabels { reason: Word(why.name()) }), n);
        }
        set(&declared.click_log_commits, clicks.commits);
        declared.click_log_queue.set(gauge(clicks.queue_depth as u64));
        let slices =
            [clicks.slices_active, clicks.slices_closing, clicks.slices_closed, clicks.slices_missing];
        for (state, n) in SLICE_STATES.into_iter().zip(slices) {
            declared.click_log_slices.get_or_create(&SliceLabels { state: Word(state) }).set(gauge(n as u64));
        }
        declared.click_log_damaged.set(gauge(clicks.damaged as u64));
        declared.click_log_unsealed.set(gauge(clicks.slices_unsealed as u64));
        declared.click_log_segments.set(gauge(clicks.segments as u64));
        declared.click_log_segments_moved.set(gauge(clicks.segments_moved as u64));
        declared.click_log_moved_bytes.set(gauge(clicks.bytes_moved));
        set(&declared.click_log_bucket_failures, clicks.bucket_failures);
        declared.click_log_bucket_failing.set(gauge(u64::from(clicks.bucket_error.is_some())));
        declared.click_log_segments_missing.set(gauge(clicks.segments_missing as u64));
        declared.click_log_segment_clicks.set(gauge(clicks.segments_clicks));
        declared.click_log_segment_bytes.set(gauge(clicks.bytes_segments));
        declared.click_log_side_bytes.set(gauge(clicks.bytes_sides));
        declared.click_log_sides_lost.set(gauge(clicks.sides_lost as u64));
        declared.click_log_seal_failing.set(gauge(u64::from(clicks.seal_error.is_some())));
        let bytes = [clicks.bytes_closed, clicks.bytes_active, clicks.bytes_segments, clicks.bytes_sides];
        declared.click_log_bytes.set(gauge(bytes.into_iter().fold(0, u64::saturating_add)));
        let ledger = stores.ledger.stats();
        set(&declared.ledger_commits, ledger.commits.load(Ordering::Relaxed));
        set(&declared.ledger_writes, ledger.jobs.load(Ordering::Relaxed));
        set(&declared.ledger_failures, ledger.failed.load(Ordering::Relaxed));
        set(&declared.ledger_retries, ledger.retried.load(Ordering::Relaxed));
        for (counter, (_, _, n)) in self.0.ingest.iter().zip(ingest.read()) {
            set(counter, n);
        }
        for (counter, theirs) in [
            (&declared.decisions, &engine.decided),
            (&declared.deliveries_planned, &engine.planned),
            (&declared.deliveries_delivered, &engine.delivered),
            (&declared.deliveries_dead, &engine.dead),
            (&declared.deliveries_expired, &engine.expired),
            (&declared.deliveries_running_out, &engine.running_out),
            (&declared.sends, &engine.sends),
            (&declared.sends_retried, &engine.retried),
            (&declared.deliveries_swept, &engine.swept),
            (&declared.deliveries_recovered, &engine.recovered),
            (&declared.breakers_opened, &engine.breakers_opened),
            (&declared.deliveries_held_expired, &engine.held_expired),
            (&declared.loop_panics, &engine.panics),
        ] {
            set(counter, theirs.load(Ordering::Relaxed));
        }
        declared.sends_in_flight.set(gauge(engine.in_flight.load(Ordering::Relaxed)));
        declared.sender_connections.set(gauge(sender.open_connections() as u64));
        let standing = geo.standing();
        let states = [(true, false), (true, true), (false, true)].map(|(is_read, is_in_trouble)| {
            let of = standing
                .iter()
                .filter(|s| (s.about.is_some(), s.trouble.is_some()) == (is_read, is_in_trouble));
            of.count()
        });
        for (state, n) in GEO_STATES.into_iter().zip(states) {
            declared.geo_databases.get_or_create(&GeoLabels { state: Word(state) }).set(gauge(n as u64));
        }
        let oldest = standing.iter().filter_map(|s| Some(s.about.as_ref()?.built_at.seconds())).min();
        declared.geo_built_seconds.set(oldest.unwrap_or(0));
        set(&declared.geo_loads, geo.counts().loads);
        set(&declared.geo_failures, geo.counts().failures);
    }

    /// Everything as text in the OpenMetrics form. `ready` is what `/readyz` would say.
    pub(crate) fn page(&self, ready: bool) -> String {
        let declared = &self.0.declared;
        declared.ready.set(i64::from(ready));
        declared.memory_bytes.set(memory_bytes().unwrap_or(0));
        declared.open_files.set(open_files().unwrap_or(0));
        let mut page = String::new();
        // Writing to a String does not fail; a metric that refuses to be printed must not hide the others.
        let _ = prometheus_client::encoding::text::encode(&mut page, &self.0.registry);
        page
    }
}

/// A gauge is signed; what does not fit is beyond any machine.
fn gauge(n: u64) -> i64 {
    i64::try_from(n).unwrap_or(i64::MAX)
}

fn memory_bytes() -> Option<i64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    let kib: i64 = line.trim().strip_suffix(" kB")?.trim().parse().ok()?;
    Some(kib * 1024)
}

fn open_files() -> Option<i64> {
    // Linux says it as the directory's size since 6.2; before that it was zero, and listing a thousand files takes a
    // millisecond.
    let counted = std::fs::metadata("/proc/self/fd").ok()?.len();
    let n = match counted {
        0 => std::fs::read_dir("/proc/self/fd").ok()?.count() as u64,
        counted => counted,
    };
    i64::try_from(n).ok()
}

/// The metrics of one listener.
#[derive(Debug)]
pub(crate) struct ListenerMetrics {
    answers: [Counter; 5],
    seconds: Histogram,
    connections: Gauge,
    /// Times that a connection could not be accepted.
    pub(crate) accept_errors: Counter,
}

impl ListenerMetrics {
    /// Counts one request and how long it took.
    pub(crate) fn answered(&self, answer: Answer, took: Duration) {
        self.answers[answer as usize].inc();
        self.seconds.observe(took.as_secs_f64());
    }

    /// Counts a connection as open until the answer is dropped.
    pub(crate) fn open(&self) -> Open<'_> {
        self.connections.inc();
        Open(&self.connections)
    }
}

/// One open connection.
#[derive(Debug)]
pub(crate) struct Open<'a>(&'a Gauge);

impl Drop for Open<'_> {
    fn drop(&mut self) {
        self.0.dec();
    }
}

/// The page of all metrics, in Markdown; `docs/metrics.md`.
#[cfg(test)]
fn page() -> String {
    let mut page = String::from(
        "# Metrics\n\n`/metrics` on the admin listener, in the OpenMetrics text form. It needs the admin key unless \
         `metrics_public` is set. Labels come from fixed lists; what concerns one link, partner or workspace is in \
         reports, not here. A counter's name ends in `_total` on the wire, and starts again at zero with the \
         process.\n\n\
         This page is generated from the code (`crates/server/src/metrics.rs`); a test compares.\n\n\
         | name | type | labels | what |\n| --- | --- | --- | --- |\n",
    );
    for (name, kind, help) in DECLARED {
        let labels = [
            ("AnswerLabels", "`listener`, `answer`"),
            ("ListenerLabels", "`listener`"),
            ("WhyLabels", "`reason`"),
            ("SliceLabels", "`state`"),
            ("GeoLabels", "`state`"),
        ];
        let labels = labels.iter().find(|(ty, _)| kind.contains(ty)).map_or("", |(_, labels)| labels);
        let kinds = ["Counter", "Histogram", "Gauge"];
        let kind = kinds.iter().find(|word| kind.contains(**word)).map_or("", |word| word);
        page.push_str(&format!(
            "| `roundtrip_{name}` | {} | {labels} | {} |\n",
            kind.to_lowercase(),
            help.trim()
        ));
    }
    for (name, help, _) in Counters::default().read() {
        page.push_str(&format!("| `roundtrip_ingest_{name}` | counter |  | {help} |\n"));
    }
    page.push_str("| `roundtrip_build_info` | info | `version` | The version that runs. |\n");
    page
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_page_in_docs_is_the_generated_one() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/metrics.md");
        if std::env::var_os("UPDATE_DOCS").is_some() {
            std::fs::write(path, page()).unwrap();
        }
        let written = std::fs::read_to_string(path).unwrap_or_default();
        assert!(
            written == page(),
            "docs/metrics.md is stale: run UPDATE_DOCS=1 cargo test -p roundtrip-server metrics"
        );
    }

    #[test]
    fn every_metric_is_on_the_page_with_its_help() {
        let metrics = Metrics::new(&Clock::System);
        let listener = metrics.listener(Side::Public);
        listener.answered(Answer::Redirect, Duration::from_micros(120));
        drop(listener.open());
        let page = metrics.page(true);
        for (name, _, help) in DECLARED {
            let line = format!("# HELP roundtrip_{name} {}.\n", help.trim().trim_end_matches('.'));
            assert!(page.contains(&line), "{line}{page}");
        }
        for line in [
            r#"roundtrip_http_requests_total{listener="public",answer="3xx"} 1"#,
            r#"roundtrip_http_connections{listener="public"} 0"#,
            "roundtrip_ready 1",
        ] {
            assert!(page.contains(line), "{line} in {page}");
        }
    }
}
