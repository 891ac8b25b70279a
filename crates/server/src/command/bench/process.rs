//! Processes that a run started: their output, their CPU time, their end.
//!
//! Each is in a process group of its own, so that Ctrl-C at a terminal reaches this process alone, which then
//! ends them in order. Output goes to files in the run's directory: nobody has to keep reading a pipe.
//!
//! Not relied on: that a process obeys. One that ignores SIGTERM is killed, with what it started.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use rustix::process::{Pid, Signal, kill_process, kill_process_group};

/// How long a process may take to end when it is asked to: a server closes its stores.
const END_MAX: Duration = Duration::from_secs(20);
/// How often it is looked at.
const LOOK: Duration = Duration::from_millis(10);

/// A running process. Dropping it ends it.
#[derive(Debug)]
pub(super) struct Process {
    name: &'static str,
    child: Child,
    out: PathBuf,
    err: PathBuf,
}

impl Process {
    /// Starts it; its output goes to `dir`.
    ///
    /// # Errors
    /// When it cannot be started.
    pub(super) fn start(name: &'static str, command: &mut Command, dir: &Path) -> anyhow::Result<Self> {
        use std::os::unix::process::CommandExt as _;
        let file = |end: &str| -> anyhow::Result<(PathBuf, File)> {
            let path = dir.join(format!("{name}.{end}"));
            let file = File::create(&path).with_context(|| format!("make {}", path.display()))?;
            Ok((path, file))
        };
        let ((out, stdout), (err, stderr)) = (file("out")?, file("err")?);
        command.stdin(Stdio::null()).stdout(stdout).stderr(stderr).process_group(0);
        let child = command.spawn().with_context(|| format!("start {name}"))?;
        Ok(Self { name, child, out, err })
    }

    /// Its process id.
    pub(super) fn id(&self) -> u32 {
        self.child.id()
    }

    /// What it printed so far.
    pub(super) fn printed(&self) -> String {
        std::fs::read_to_string(&self.out).unwrap_or_default()
    }

    /// Fails, with what it said, when it has ended.
    pub(super) fn check_runs(&mut self) -> anyhow::Result<()> {
        match self.child.try_wait().with_context(|| format!("look at {}", self.name))? {
            None => Ok(()),
            Some(status) => bail!("keep {} running: it ended with {status}{}", self.name, self.complaint()),
        }
    }

    /// Waits for its end and returns what it printed.
    ///
    /// # Errors
    /// When it does not end in time (it is then ended), or ends with another status than 0.
    pub(super) async fn finish(mut self, within: Duration) -> anyhow::Result<String> {
        let status = self.ended(within).await?;
        if !status.success() {
            bail!("run {}: it ended with {status}{}", self.name, self.complaint());
        }
        Ok(self.printed())
    }

    /// Asks it to end, and waits until it has.
    pub(super) async fn stop(mut self) -> anyhow::Result<()> {
        self.signal(Signal::TERM);
        self.ended(END_MAX).await.map(drop)
    }

    async fn ended(&mut self, within: Duration) -> anyhow::Result<ExitStatus> {
        let began = Instant::now();
        loop {
            if let Some(status) = self.child.try_wait().with_context(|| format!("look at {}", self.name))? {
                return Ok(status);
            }
            if began.elapsed() >= within {
                bail!("wait for the end of {} within {} s", self.name, within.as_secs());
            }
            tokio::time::sleep(LOOK).await;
        }
    }

    /// The last lines of its standard error.
    fn complaint(&self) -> String {
        let text = std::fs::read_to_string(&self.err).unwrap_or_default();
        let lines: Vec<&str> = text.lines().collect();
        lines[lines.len().saturating_sub(5)..].iter().map(|line| format!("\n  {line}")).collect()
    }

    fn signal(&self, signal: Signal) {
        if let Some(pid) = self.pid() {
            // It may have ended by itself; it was not waited for yet, so the id is still its own.
            let _ = kill_process(pid, signal);
        }
    }

    fn pid(&self) -> Option<Pid> {
        i32::try_from(self.id()).ok().and_then(Pid::from_raw)
    }

    /// The CPU time that it and the processes it started have used; `None` where the system does not tell.
    pub(super) fn cpu(&self) -> Option<Duration> {
        let mut ticks = stat_of(self.id())?.ticks;
        for entry in std::fs::read_dir("/proc").ok()?.flatten() {
            let id = entry.file_name().to_str().and_then(|name| name.parse::<u32>().ok());
            if let Some(stat) = id.and_then(stat_of)
                && stat.parent == self.id()
            {
                ticks += stat.ticks;
            }
        }
        Some(time_of(ticks))
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        if !matches!(self.child.try_wait(), Ok(None)) {
            return;
        }
        self.signal(Signal::TERM);
        let began = Instant::now();
        while began.elapsed() < END_MAX {
            if !matches!(self.child.try_wait(), Ok(None)) {
                return;
            }
            std::thread::sleep(LOOK);
        }
        if let Some(pid) = self.pid() {
            // The group holds this process and what it started, and nothing else.
            let _ = kill_process_group(pid, Signal::KILL);
        }
        let _ = self.child.wait();
    }
}

/// The CPU time that this process's threads of that name have used; `None` where the system does not tell. A thread
/// that has ended counts no more.
pub(super) fn cpu_of_threads(name: &str) -> Option<Duration> {
    let mut ticks = 0;
    for entry in std::fs::read_dir("/proc/self/task").ok()?.flatten() {
        let Ok(text) = std::fs::read_to_string(entry.path().join("stat")) else { continue };
        if text.contains(&format!("({name})")) {
            ticks += parse_stat(&text)?.ticks;
        }
    }
    Some(time_of(ticks))
}

fn time_of(ticks: u64) -> Duration {
    let per_second = rustix::param::clock_ticks_per_second().max(1);
    #[expect(clippy::cast_precision_loss, reason = "ticks of a run of minutes are far below 2^53")]
    let seconds = ticks as f64 / per_second as f64;
    Duration::from_secs_f64(seconds)
}

#[derive(Debug, PartialEq, Eq)]
struct Stat {
    parent: u32,
    ticks: u64,
}

fn stat_of(id: u32) -> Option<Stat> {
    parse_stat(&std::fs::read_to_string(format!("/proc/{id}/stat")).ok()?)
}

/// Reads `/proc/<id>/stat`. The name in it is in parentheses and may hold anything, these too.
fn parse_stat(text: &str) -> Option<Stat> {
    let mut fields = text.get(text.rfind(')')? + 1..)?.split_ascii_whitespace().skip(1);
    let parent = fields.next()?.parse().ok()?;
    let user: u64 = fields.nth(9)?.parse().ok()?;
    let system: u64 = fields.next()?.parse().ok()?;
    Some(Stat { parent, ticks: user + system })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stat_is_read_whatever_the_name() {
        let text = "4711 (a) b (c) S 12 4711 4711 0 -1 4194560 1 2 3 4 150 50 0 0 20 0 4 0 99 1000 10\n";
        assert_eq!(parse_stat(text), Some(Stat { parent: 12, ticks: 200 }));
        for broken in ["", "1 (a", "1 (a) S", "1 (a) S x", "1 (a) S 2 3"] {
            assert_eq!(parse_stat(broken), None, "{broken}");
        }
    }

    #[test]
    fn dropping_one_ends_it() {
        let dir = tempfile::tempdir().unwrap();
        let mut process = Process::start("sleep", Command::new("sleep").arg("1000"), dir.path()).unwrap();
        process.check_runs().unwrap();
        let id = process.id();
        assert!(stat_of(id).is_some() || !Path::new("/proc").exists());
        drop(process);
        assert!(stat_of(id).is_none());
    }

    #[tokio::test]
    async fn a_failure_says_what_the_program_said() {
        let dir = tempfile::tempdir().unwrap();
        let mut command = Command::new("sh");
        command.args(["-c", "echo fine; echo broken >&2; exit 3"]);
        let process = Process::start("sh", &mut command, dir.path()).unwrap();
        let error = process.finish(Duration::from_secs(60)).await.unwrap_err().to_string();
        assert!(error.contains("broken") && error.contains('3'), "{error}");
        let process = Process::start("sh", Command::new("sh").args(["-c", "echo fine"]), dir.path()).unwrap();
        assert_eq!(process.finish(Duration::from_secs(60)).await.unwrap(), "fine\n");
    }
}
