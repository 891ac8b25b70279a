//! Making a job and following it to its end, for the commands that do: `replay`, `backfill`, `cancel`.

use std::io::{self, IsTerminal as _, Write as _};
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context as _;
use roundtrip_domain::rate::{RATE_MAX, RATE_MIN, Rate};
use roundtrip_web::jobs::{self, Job, JobTrial};
use serde_json::{Value, json};

use super::deliveries;
use super::explain::encoded;
use crate::client::{self, Client};
use crate::terminal;

/// How often a job is asked for while it is under way.
const LOOK: Duration = Duration::from_millis(500);

/// How a job is made and followed.
#[derive(Debug, Clone, clap::Args)]
pub(crate) struct Making {
    /// How many in a second, at most: 0.1 to 10000. Absent: a quarter of what their endpoints are given, so that what is
    /// fresh is not kept waiting; of a cancellation 10000.
    #[arg(long, value_name = "N", allow_negative_numbers = true)]
    pub(crate) rate: Option<String>,
    /// Only says what would be done, and shows some of it.
    #[arg(long)]
    dry_run: bool,
    /// Does not ask.
    #[arg(long)]
    yes: bool,
    /// Does not wait for the end; `roundtrip jobs` shows how far it is.
    #[arg(long, conflicts_with = "dry_run")]
    detach: bool,
    /// The workspace's slug.
    #[arg(long, value_name = "SLUG", default_value = "default")]
    pub(crate) workspace: String,
    /// Prints JSON.
    #[arg(long)]
    pub(crate) json: bool,
}

/// Makes a job, after saying what it would do, and follows it. Exit code 1 when it did not come to its end.
///
/// # Errors
/// When the server cannot be asked, or refuses, or nobody is there to agree.
pub(crate) async fn run(client: &Client, mut body: Value, flags: &Making) -> anyhow::Result<ExitCode> {
    let path = format!("/api/v1/jobs?workspace={}", encoded(&flags.workspace));
    if let Some(text) = &flags.rate {
        let rate = text.parse::<f64>().ok().and_then(Rate::per_s).with_context(|| {
            format!("use --rate {text}: it is how many in a second, from {RATE_MIN} to {RATE_MAX}, such as 50 or 0.5")
        })?;
        body["rate"] = rate.get().into();
    }
    if flags.dry_run || !flags.yes {
        let mut trial = body.clone();
        trial["dry_run"] = true.into();
        let answer = client::accepted(client.post(&path, &trial).await?).context("see what it would do")?;
        if flags.dry_run && flags.json {
            terminal::line(&answer.to_string())?;
            return Ok(ExitCode::SUCCESS);
        }
        let trial: JobTrial =
            serde_json::from_value(answer).context("read the answer: is the server another release?")?;
        if flags.dry_run {
            terminal::line(&trial_text(&trial))?;
            return Ok(ExitCode::SUCCESS);
        }
        if trial.whole && trial.done == 0 {
            terminal::line(&if flags.json { json!(trial).to_string() } else { trial_text(&trial) })?;
            return Ok(ExitCode::SUCCESS);
        }
        if !terminal::agree("go on", &trial_text(&trial))? {
            return Ok(ExitCode::FAILURE);
        }
    }
    let answer = client::accepted(client.post(&path, &body).await?).context("make the job")?;
    let job: Job =
        serde_json::from_value(answer.clone()).context("read the job: is the server another release?")?;
    if flags.detach {
        let text = format!("{}: {} `roundtrip jobs {}` shows how far it is.", job.id, job.sentence, job.id);
        terminal::line(&if flags.json { answer.to_string() } else { text })?;
        return Ok(ExitCode::SUCCESS);
    }
    follow(client, job, flags).await
}

/// Looks at a job until it is over or paused.
async fn follow(client: &Client, mut job: Job, flags: &Making) -> anyhow::Result<ExitCode> {
    let path = format!("/api/v1/jobs/{}?workspace={}", encoded(&job.id), encoded(&flags.workspace));
    let shows = io::stderr().is_terminal() && !flags.json;
    while !job.is_over() && job.state != "paused" {
        if shows {
            progress(&job.sentence)?;
        }
        tokio::time::sleep(LOOK).await;
        let answer = client::accepted(client.get(&path).await?).context("look at the job")?;
        job = serde_json::from_value(answer).context("read the job: is the server another release?")?;
    }
    if shows {
        progress("")?;
    }
    terminal::line(&if flags.json { json!(job).to_string() } else { text(&job) })?;
    Ok(if job.state == "done" { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Writes over the line of progress.
fn progress(sentence: &str) -> io::Result<()> {
    let mut err = io::stderr().lock();
    write!(err, "\r\x1b[2K{sentence}")?;
    err.flush()
}

fn reasons(skipped: &std::collections::BTreeMap<String, u64>) -> Vec<String> {
    skipped.iter().map(|(code, n)| format!("  {n} left alone: {}", jobs::reason(code))).collect()
}

fn trial_text(trial: &JobTrial) -> String {
    let mut lines = vec![trial.sentence.clone()];
    lines.extend(reasons(&trial.skipped));
    lines.extend(trial.sample.iter().map(|row| format!("  {}", deliveries::text(row))));
    let shown = trial.sample.len() as u64;
    if trial.done > shown && shown > 0 {
        lines.push(format!("  … and {} more", trial.done - shown));
    }
    lines.join("\n")
}

/// A job for a person.
pub(super) fn text(job: &Job) -> String {
    let mut lines = vec![format!("{} {} {}: {}", job.created_at, job.id, job.kind, job.sentence)];
    lines.extend(reasons(&job.skipped));
    lines.join("\n")
}
