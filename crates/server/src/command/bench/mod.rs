//! `roundtrip bench`: what this machine and this disk make of it, side by side with a yardstick in the same run.
//!
//! | file | who does what |
//! | --- | --- |
//! | `clicks`, `events`, `delivery`, `lookup`, `sealing` | the measurements, from start to report |
//! | `server`, `nginx`, `sink` | what is measured, what it is measured against, who receives postbacks |
//! | `wrk`, `oha`, `http` | who makes load: closed loop, open loop, events |
//! | `world` | apps, links and rules of the run; the requests that visitors send |
//! | `past` | clicks of hours that are over |
//! | `process` | processes that this one started, and their end |
//! | `disk` | the file system and how long its fdatasync takes |
//! | `report` | numbers of several rounds, floors, table and JSON lines |
//!
//! The server under test is this binary once more, as a process of its own with an empty directory and free
//! ports, so that its CPU time is its own. Everything is bounded in count and time, and whatever way a run
//! ends (done, an error, Ctrl-C), the processes it started are ended by their ids and its directory is removed.
//!
//! Not relied on: the numbers as a test. A missed floor is printed as one and does not change the exit code;
//! what does is a run that could not measure.

mod clicks;
mod delivery;
mod disk;
mod events;
mod http;
mod lookup;
mod nginx;
mod oha;
mod past;
mod process;
mod report;
mod sealing;
mod server;
mod sink;
mod world;
mod wrk;

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context as _, ensure};
use clap::Subcommand;
use tokio::signal::unix::{SignalKind, signal};

/// Exit code of a run that was interrupted, as shells count it.
const EXIT_INTERRUPTED: u8 = 130;

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, Subcommand)]
enum What {
    /// Redirects with a durable click each, side by side with nginx `return 302`.
    Clicks(clicks::Args),
    /// Events: accepted, attributed, planned, told to a sink on loopback.
    Events(events::Args),
    /// Deliveries: sent to receivers on loopback, each settled durably, side by side with a bare hyper client.
    Delivery(delivery::Args),
    /// Look-ups: a click by its id, its partner's id and its device, among millions in segments.
    Lookup(lookup::Args),
    /// Sealing: how long redirects take while clicks of a day are sealed and merged, and while they are not.
    Sealing(sealing::Args),
}

/// What all take.
#[derive(Debug, Clone, clap::Args)]
struct Shared {
    /// Where the temporary data directory is made; its file system is what is measured.
    #[arg(long, value_name = "DIR", default_value = "/var/tmp")]
    dir: PathBuf,
    /// Prints JSON lines instead of a table.
    #[arg(long)]
    json: bool,
}

impl Shared {
    /// The run's own directory, removed with everything in it when the run is over.
    fn directory(&self) -> anyhow::Result<tempfile::TempDir> {
        let directory = tempfile::Builder::new().prefix("roundtrip-bench-").tempdir_in(&self.dir);
        directory.with_context(|| format!("make a directory in {}; --dir names another", self.dir.display()))
    }
}

pub(crate) fn run(args: Args) -> anyhow::Result<ExitCode> {
    super::serve::raise_open_files();
    let runtime =
        tokio::runtime::Builder::new_multi_thread().enable_all().build().context("start the runtime")?;
    let ended = runtime.block_on(until_interrupted(async {
        match args.what {
            What::Clicks(args) => clicks::run(args).await,
            What::Events(args) => events::run(args).await,
            What::Delivery(args) => delivery::run(args).await,
            What::Lookup(args) => lookup::run(args).await,
            What::Sealing(args) => sealing::run(args).await,
        }
    }));
    runtime.shutdown_background();
    ended
}

/// Runs it until it ends or a signal asks for the end. What it holds is dropped here in either case, and with it
/// the processes that it started.
async fn until_interrupted(work: impl Future<Output = anyhow::Result<()>>) -> anyhow::Result<ExitCode> {
    let mut terminate = signal(SignalKind::terminate()).context("listen to signals")?;
    let mut interrupt = signal(SignalKind::interrupt()).context("listen to signals")?;
    tokio::select! {
        worked = work => worked.map(|()| ExitCode::SUCCESS),
        _ = terminate.recv() => Ok(ExitCode::from(EXIT_INTERRUPTED)),
        _ = interrupt.recv() => Ok(ExitCode::from(EXIT_INTERRUPTED)),
    }
}

/// A program that a run needs, and how to get it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Tool {
    name: &'static str,
    install: &'static str,
}

const NGINX: Tool = Tool { name: "nginx", install: "apt-get install nginx-light (Debian, Ubuntu)" };
const WRK: Tool = Tool { name: "wrk", install: "apt-get install wrk (Debian, Ubuntu)" };
const OHA: Tool = Tool { name: "oha", install: "cargo install oha --locked" };

/// Directories that hold daemons and are often missing from a person's `PATH`.
const MORE_DIRECTORIES: &[&str] = &["/usr/sbin", "/usr/local/sbin", "/sbin"];

/// Finds all of them, or says at once how to install those that are missing.
fn find_tools<const N: usize>(tools: [Tool; N]) -> anyhow::Result<[PathBuf; N]> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let mut directories: Vec<PathBuf> = std::env::split_paths(&path).collect();
    directories.extend(MORE_DIRECTORIES.iter().map(PathBuf::from));
    let found = tools.map(|tool| find_in(&directories, tool.name));
    let missing: Vec<String> = tools
        .iter()
        .zip(&found)
        .filter(|(_, found)| found.is_none())
        .map(|(tool, _)| format!("{} is missing: {}", tool.name, tool.install))
        .collect();
    ensure!(missing.is_empty(), "find the programs that this measurement needs\n  {}", missing.join("\n  "));
    Ok(found.map(Option::unwrap_or_default))
}

fn find_in(directories: &[PathBuf], name: &str) -> Option<PathBuf> {
    directories.iter().map(|directory| directory.join(name)).find(|path| is_program(path))
}

fn is_program(path: &Path) -> bool {
    use std::os::unix::fs::PermissionsExt as _;
    std::fs::metadata(path).is_ok_and(|meta| meta.is_file() && meta.permissions().mode() & 0o111 != 0)
}

/// Says what is going on, beside the report.
#[expect(
    clippy::print_stderr,
    reason = "progress is for the person who waits; the report goes to standard output"
)]
fn progress(text: &str) {
    eprintln!("{text}");
}

/// What is known of the machine: processors and their model.
fn machine() -> String {
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let info = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = info.lines().find_map(|line| line.strip_prefix("model name")?.split_once(':'));
    let model = model.map_or("of an unknown kind", |(_, model)| model.trim());
    format!("{cores} cores, {model}, {} {}", std::env::consts::OS, std::env::consts::ARCH)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn missing_programs_are_named_together_with_the_way_to_get_them() {
        let odd = Tool { name: "roundtrip-no-such-program", install: "nowhere" };
        let other = Tool { name: "roundtrip-neither-this", install: "build it" };
        let error = find_tools([odd, other]).unwrap_err().to_string();
        assert!(error.contains("roundtrip-no-such-program is missing: nowhere"), "{error}");
        assert!(error.contains("roundtrip-neither-this is missing: build it"), "{error}");
    }

    #[test]
    fn a_directory_or_a_plain_file_is_no_program() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir(dir.path().join("wrk")).unwrap();
        std::fs::write(dir.path().join("oha"), "text").unwrap();
        let directories = [dir.path().to_owned()];
        assert_eq!(find_in(&directories, "wrk"), None);
        assert_eq!(find_in(&directories, "oha"), None);
    }
}
