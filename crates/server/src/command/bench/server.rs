//! What is measured: `roundtrip serve` as a process of its own, set up through its API, asked through `/metrics`.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use serde_json::{Value, json};

use super::http::{self, Connection};
use super::process::Process;
use crate::client::{self, Client};

/// How long it may take to be ready.
const START_MAX: Duration = Duration::from_secs(60);

/// A running server.
#[derive(Debug)]
pub(super) struct Server {
    /// Its process.
    pub(super) process: Process,
    /// Where links and events are answered.
    pub(super) public: SocketAddr,
    /// Where its admin API is.
    pub(super) admin: SocketAddr,
    data: PathBuf,
}

impl Server {
    /// Starts one on free ports and the directory `data` below `dir`, which it makes if it is not there.
    pub(super) async fn start(dir: &Path, more: &[&str]) -> anyhow::Result<Self> {
        let data = dir.join("data");
        let mut command = Command::new(std::env::current_exe().context("find this program")?);
        for (name, _) in std::env::vars_os() {
            if name.to_string_lossy().starts_with("ROUNDTRIP_") {
                command.env_remove(name);
            }
        }
        command
            .args(["serve", "--public=127.0.0.1:0", "--admin=127.0.0.1:0", "--json"])
            .args(["--log-level=warn", "--metrics-public", "--data"])
            .arg(&data)
            .args(more);
        let mut process = Process::start("serve", &mut command, dir)?;
        let began = Instant::now();
        let ready = loop {
            process.check_runs()?;
            if let Some((line, _)) = process.printed().split_once('\n') {
                break serde_json::from_str::<Value>(line).context("read the server's line")?;
            }
            ensure!(began.elapsed() < START_MAX, "start the server within {} s", START_MAX.as_secs());
            tokio::time::sleep(Duration::from_millis(20)).await;
        };
        let address = |name: &str| -> anyhow::Result<SocketAddr> {
            let url = ready[name].as_str().and_then(|url| url.strip_prefix("http://"));
            url.context("read the server's line")?.parse().context("read the server's address")
        };
        Ok(Self { public: address("public")?, admin: address("admin")?, process, data })
    }

    /// Applies a document; the tokens of new keys come back, by slug.
    pub(super) async fn apply(&self, document: &Value) -> anyhow::Result<Vec<(String, String)>> {
        let client = Client::new(Some(format!("http://{}", self.admin)), None, &self.data)?;
        let answer = client.post("/api/v1/apply", &json!({ "document": document })).await?;
        let applied = client::accepted(answer).context("apply the settings of the measurement")?;
        let keys = applied["keys"].as_array().map(Vec::as_slice).unwrap_or_default();
        let key = |key: &Value| Some((key["slug"].as_str()?.to_owned(), key["token"].as_str()?.to_owned()));
        Ok(keys.iter().filter_map(key).collect())
    }

    /// What it counts, now.
    pub(super) async fn counts(&self) -> anyhow::Result<Counts> {
        let mut connection = Connection::open(self.admin).await?;
        let answer = connection.exchange(&http::get("/metrics")).await?;
        ensure!(answer.status == 200, "read the server's metrics: it answered {}", answer.status);
        Ok(Counts(String::from_utf8_lossy(answer.body).into_owned()))
    }

    /// Ends it in order; what it left in its click log is what its clicks take.
    pub(super) async fn stop(self) -> anyhow::Result<ClickFiles> {
        let clicks = self.data.join("clicks");
        self.process.stop().await?;
        ClickFiles::of(&clicks)
    }
}

/// A page of metrics.
#[derive(Debug, Clone)]
pub(super) struct Counts(String);

impl Counts {
    /// The sum of a metric over its labels. `name` is without `roundtrip_`, with `_total` for a counter.
    ///
    /// # Errors
    /// When there is no such metric: a number that was renamed must not be read as 0.
    pub(super) fn get(&self, name: &str) -> anyhow::Result<f64> {
        let values: Vec<f64> = self
            .0
            .lines()
            .filter_map(|line| line.strip_prefix("roundtrip_")?.strip_prefix(name))
            .filter(|rest| rest.starts_with([' ', '{']))
            .filter_map(|rest| rest.rsplit_once(' ')?.1.parse().ok())
            .collect();
        ensure!(!values.is_empty(), "read the server's metrics: roundtrip_{name} is not among them");
        Ok(values.iter().sum())
    }
}

/// Bytes on the disk, by what they are.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct ClickFiles {
    /// Closed slices.
    pub(super) closed: u64,
    /// Their side files.
    pub(super) side: u64,
    /// The slice that was being written, with its write-ahead log.
    pub(super) active: u64,
}

impl ClickFiles {
    fn of(dir: &Path) -> anyhow::Result<Self> {
        let mut files = Self::default();
        let entries = std::fs::read_dir(dir).with_context(|| format!("look into {}", dir.display()))?;
        for entry in entries.flatten() {
            let name = entry.file_name();
            let Some(name) = name.to_str().filter(|name| name.starts_with("slice-")) else { continue };
            let bytes = entry.metadata().map_or(0, |meta| meta.len());
            if name.ends_with(".closed.sqlite") {
                files.closed += bytes;
            } else if name.ends_with(".prints") {
                files.side += bytes;
            } else {
                files.active += bytes;
            }
        }
        Ok(files)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn metrics_are_summed_over_labels_and_never_mixed_up() {
        let counts = Counts(
            "# HELP roundtrip_clicks_stored x.\nroundtrip_clicks_stored_total 12\n\
             roundtrip_clicks_unstored_total{reason=\"timeout\"} 2\nroundtrip_clicks_unstored_total{reason=\"disk\"} 3\n"
                .to_owned(),
        );
        assert_eq!(counts.get("clicks_stored_total").unwrap(), 12.0);
        assert_eq!(counts.get("clicks_unstored_total").unwrap(), 5.0);
        assert!(counts.get("clicks_stored").is_err() && counts.get("nothing").is_err());
    }

    #[test]
    fn files_are_told_apart() {
        let dir = tempfile::tempdir().unwrap();
        for (name, bytes) in [
            ("slice-1-10-1.closed.sqlite", 7),
            ("slice-1-10-1.prints", 5),
            ("slice-1-20-2.sqlite", 3),
            ("slice-1-20-2.sqlite-wal", 2),
            ("manifest", 99),
        ] {
            std::fs::write(dir.path().join(name), vec![0; bytes]).unwrap();
        }
        assert_eq!(ClickFiles::of(dir.path()).unwrap(), ClickFiles { closed: 7, side: 5, active: 5 });
        assert!(ClickFiles::of(&dir.path().join("none")).is_err());
    }
}
