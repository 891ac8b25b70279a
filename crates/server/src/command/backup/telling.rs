//! How far long work has come, for people and for programs.

use std::io::{self, IsTerminal as _, Write as _};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use roundtrip_store::backup::{self, Progress};
use serde_json::json;

use crate::terminal;

/// How often it is said.
const SAY_EVERY: Duration = Duration::from_secs(1);

/// Says how far it came: JSON lines, one line of a terminal that is written again and again, or nothing.
#[derive(Clone)]
pub(in crate::command) struct Telling {
    json: bool,
    /// Whether standard output is taken by something else.
    aside: bool,
    said: Arc<Mutex<Said>>,
}

#[derive(Default)]
struct Said {
    at: Option<Instant>,
    stage: Option<&'static str>,
    is_line_open: bool,
}

impl Telling {
    /// `aside` keeps off standard output.
    pub(in crate::command) fn new(json: bool, aside: bool) -> Self {
        Self { json, aside, said: Arc::default() }
    }

    /// Says it, unless it was said a moment ago.
    pub(in crate::command) fn progress(&self, progress: Progress) {
        let (stage, words, done, of) = match progress {
            Progress::Copying { done, of } => ("copying", "the server copies its ledger", done, of),
            Progress::Files { done, of } => ("files", "files", done, of),
        };
        let mut said = self.said.lock().unwrap_or_else(PoisonError::into_inner);
        let is_end = done >= of || said.stage != Some(stage);
        if !is_end && said.at.is_some_and(|at| at.elapsed() < SAY_EVERY) {
            return;
        }
        said.at = Some(Instant::now());
        said.stage = Some(stage);
        let percent = done.min(of).saturating_mul(100).checked_div(of).unwrap_or(100);
        if self.json {
            let line = json!({ "progress": { "stage": stage, "bytes": done, "bytes_total": of, "percent": percent } });
            // A reader that went away must not end the work.
            let _ = self.line(&line.to_string());
        } else if io::stderr().is_terminal() {
            said.is_line_open = true;
            let _ = write!(io::stderr().lock(), "\r\x1b[K{words}: {percent} % of {}", size(of));
        }
    }

    /// No more progress comes.
    pub(in crate::command) fn end(&self) {
        let mut said = self.said.lock().unwrap_or_else(PoisonError::into_inner);
        if std::mem::take(&mut said.is_line_open) {
            let _ = write!(io::stderr().lock(), "\r\x1b[K");
        }
    }

    /// Prints a line where lines of this command go.
    pub(in crate::command) fn line(&self, text: &str) -> io::Result<()> {
        if self.aside { writeln!(io::stderr().lock(), "{text}") } else { terminal::line(text) }
    }

    /// Tells programs why there is nothing; people are told by the one place that tells them.
    pub(in crate::command) fn failed(&self, error: &anyhow::Error) -> io::Result<()> {
        if !self.json {
            return Ok(());
        }
        let known = error.chain().find_map(|cause| cause.downcast_ref::<backup::Error>());
        let code = known.map_or("failed", backup::Error::code);
        self.line(&json!({ "error": { "code": code, "message": format!("{error:#}") } }).to_string())
    }
}

/// Bytes for people, in thousands as disks count.
pub(in crate::command) fn size(bytes: u64) -> String {
    let units = ["kB", "MB", "GB", "TB"];
    let mut value = bytes as f64;
    let mut unit = "B";
    for next in units {
        if value < 1_000.0 {
            break;
        }
        value /= 1_000.0;
        unit = next;
    }
    if unit == "B" { format!("{bytes} B") } else { format!("{value:.1} {unit}") }
}

#[cfg(test)]
mod tests {
    use super::size;

    #[test]
    fn sizes_are_readable() {
        let shown: Vec<_> = [0, 999, 1_000, 1_500_000, 20_000_000_000].into_iter().map(size).collect();
        assert_eq!(shown, ["0 B", "999 B", "1.0 kB", "1.5 MB", "20.0 GB"]);
    }
}
