//! Closed loop: as many requests as the other side answers, each connection waiting for its answer.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::Context as _;
use serde::Deserialize;

use super::process::Process;

/// The program that wrk runs for each request.
const SCRIPT: &str = include_str!("requests.lua");
/// How much longer than its own time wrk may take.
const MARGIN: Duration = Duration::from_secs(30);
/// Before the line that the script prints at its end.
const MARK: &str = "roundtrip ";

/// wrk, its script and the requests.
#[derive(Debug)]
pub(super) struct Wrk {
    program: PathBuf,
    script: PathBuf,
    requests: PathBuf,
    dir: PathBuf,
    runs: std::cell::Cell<u64>,
}

/// What one run came to.
#[derive(Debug, Clone, Copy, PartialEq, Deserialize)]
pub(super) struct Closed {
    /// Answers.
    pub(super) requests: u64,
    /// How long it ran, in microseconds.
    pub(super) duration_us: u64,
    /// Answers with a status of 400 or above.
    pub(super) refused: u64,
    /// Connections that broke, and answers that took too long.
    pub(super) broken: u64,
    /// Half of the answers took at most this long, in microseconds.
    pub(super) p50_us: f64,
    /// 99 % of them.
    pub(super) p99_us: f64,
    /// 99.9 % of them.
    pub(super) p999_us: f64,
}

impl Closed {
    /// Answers per second.
    pub(super) fn per_second(&self) -> f64 {
        #[expect(clippy::cast_precision_loss, reason = "a run of minutes is far below 2^53 of either")]
        let (requests, us) = (self.requests as f64, self.duration_us.max(1) as f64);
        requests * 1_000_000.0 / us
    }
}

impl Wrk {
    /// Writes script and requests to `dir`.
    pub(super) fn new(program: PathBuf, requests: &str, dir: &Path) -> anyhow::Result<Self> {
        let write = |name: &str, text: &str| -> anyhow::Result<PathBuf> {
            let path = dir.join(name);
            std::fs::write(&path, text).with_context(|| format!("write {}", path.display()))?;
            Ok(path)
        };
        Ok(Self {
            program,
            script: write("requests.lua", SCRIPT)?,
            requests: write("requests.http", requests)?,
            dir: dir.to_owned(),
            runs: std::cell::Cell::new(0),
        })
    }

    /// Runs it against an address.
    pub(super) async fn run(
        &self,
        target: SocketAddr,
        connections: u32,
        seconds: u64,
    ) -> anyhow::Result<Closed> {
        // One thread per core: with fewer, nginx waits for the generator and looks slower than it is.
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        let threads = cores.min(connections as usize).max(1);
        // The thread's own number is added to the seed, so seeds of runs lie further apart than threads are many.
        let seed = (self.runs.replace(self.runs.get() + 1) + 1) * 1_000;
        let mut command = Command::new(&self.program);
        command
            .args([format!("-t{threads}"), format!("-c{connections}"), format!("-d{seconds}s")])
            .args(["--timeout", "10s", "-s"])
            .arg(&self.script)
            .arg(format!("http://{target}/"))
            .arg("--")
            .arg(&self.requests)
            .arg(seed.to_string());
        let process = Process::start("wrk", &mut command, &self.dir)?;
        let printed = process.finish(Duration::from_secs(seconds) + MARGIN).await?;
        parse(&printed)
    }
}

/// Reads the script's line out of what wrk printed.
fn parse(printed: &str) -> anyhow::Result<Closed> {
    let line = printed.lines().find_map(|line| line.strip_prefix(MARK));
    let line =
        line.with_context(|| format!("read what wrk printed: the script's line is missing in\n{printed}"))?;
    serde_json::from_str(line).context("read the script's line of wrk")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_line_is_found_among_what_wrk_prints() {
        let printed = "Running 10s test @ http://127.0.0.1:1/\n  2 threads and 64 connections\n\
            Requests/sec:  44000.10\nTransfer/sec:     10.00MB\n\n\
            roundtrip {\"requests\":440001,\"duration_us\":10000000,\"refused\":0,\"broken\":1,\"p50_us\":1300,\"p99_us\":4100,\"p999_us\":9000}\n";
        let closed = parse(printed).unwrap();
        assert_eq!((closed.requests, closed.broken, closed.p99_us), (440_001, 1, 4_100.0));
        assert!((closed.per_second() - 44_000.1).abs() < 0.01);
        assert!(parse("unable to connect to 127.0.0.1:1").is_err());
        assert!(parse("roundtrip {\"requests\":1}").is_err());
    }
}
