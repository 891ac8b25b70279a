//! Open loop: requests leave at a fixed rate whether or not earlier ones were answered, and the time that one
//! had to wait for its turn counts as its own (corrected for coordinated omission).

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::Context as _;
use serde::Deserialize;

use super::process::Process;

/// How much longer than its own time oha may take.
const MARGIN: Duration = Duration::from_secs(30);
/// oha counts requests that were still under way at its end as errors of this name.
const CUT_AT_THE_END: &str = "aborted due to deadline";

/// What oha prints, as far as it is read here. Times are seconds.
#[derive(Debug, Deserialize)]
struct Printed {
    summary: Summary,
    #[serde(rename = "latencyPercentiles")]
    percentiles: BTreeMap<String, Option<f64>>,
    #[serde(rename = "statusCodeDistribution")]
    statuses: BTreeMap<String, u64>,
    #[serde(rename = "errorDistribution", default)]
    errors: BTreeMap<String, u64>,
}

#[derive(Debug, Deserialize)]
struct Summary {
    #[serde(rename = "requestsPerSec")]
    per_second: f64,
}

/// What one run came to.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Open {
    /// Requests per second that were in fact sent.
    pub(super) per_second: f64,
    /// Answers.
    pub(super) answers: u64,
    /// Answers other than 302, and requests without one.
    pub(super) failed: u64,
    /// Half of the requests took at most this long, in milliseconds.
    pub(super) p50_ms: f64,
    /// 99 % of them.
    pub(super) p99_ms: f64,
    /// 99.9 % of them.
    pub(super) p999_ms: f64,
}

/// Sends the URLs of a file at `rate` per second.
pub(super) async fn run(
    program: &Path,
    urls: &Path,
    user_agent: &str,
    connections: u32,
    rate: u64,
    seconds: u64,
    dir: &Path,
) -> anyhow::Result<Open> {
    let urls: PathBuf = urls.to_owned();
    let mut command = Command::new(program);
    command
        .args(["--no-tui", "--output-format", "json", "--latency-correction", "--redirect", "0"])
        .args([format!("-z{seconds}s"), format!("-c{connections}"), format!("-q{rate}")])
        .arg("-H")
        .arg(format!("User-Agent: {user_agent}"))
        .arg("--urls-from-file")
        .arg(urls);
    let process = Process::start("oha", &mut command, dir)?;
    parse(&process.finish(Duration::from_secs(seconds) + MARGIN).await?)
}

fn parse(printed: &str) -> anyhow::Result<Open> {
    let printed: Printed = serde_json::from_str(printed).context("read what oha printed")?;
    let ms = |name: &str| -> anyhow::Result<f64> {
        let seconds = printed.percentiles.get(name).copied().flatten();
        Ok(seconds.with_context(|| format!("read oha's {name}: nothing was answered"))? * 1_000.0)
    };
    let answers: u64 = printed.statuses.values().sum();
    let redirects = printed.statuses.get("302").copied().unwrap_or(0);
    let broken: u64 = printed.errors.iter().filter(|(name, _)| *name != CUT_AT_THE_END).map(|(_, n)| n).sum();
    Ok(Open {
        per_second: printed.summary.per_second,
        answers,
        failed: answers - redirects + broken,
        p50_ms: ms("p50")?,
        p99_ms: ms("p99")?,
        p999_ms: ms("p99.9")?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const PRINTED: &str = r#"{
      "summary": {"successRate": 1.0, "total": 10.001, "slowest": 0.02, "fastest": 0.0003, "average": 0.001, "requestsPerSec": 19998.2, "totalData": 0, "sizePerRequest": 0, "sizePerSec": 0.0},
      "responseTimeHistogram": {"0.0003": 1},
      "latencyPercentiles": {"p10": 0.0005, "p50": 0.0012, "p99": 0.0041, "p99.9": 0.0102, "p99.99": 0.02},
      "statusCodeDistribution": {"302": 199980, "404": 2},
      "errorDistribution": {"aborted due to deadline": 64, "connection refused": 1}
    }"#;

    #[test]
    fn what_oha_prints_is_read() {
        let open = parse(PRINTED).unwrap();
        assert_eq!((open.answers, open.failed), (199_982, 3));
        assert!((open.p99_ms - 4.1).abs() < 1e-9 && (open.p999_ms - 10.2).abs() < 1e-9);
    }

    #[test]
    fn no_answers_are_no_latency() {
        let silent = PRINTED.replace("\"p50\": 0.0012", "\"p50\": null");
        assert!(parse(&silent).unwrap_err().to_string().contains("p50"));
        assert!(parse("error: unexpected argument").is_err());
    }
}
