//! `roundtrip jobs`: replays, backfills and cancellations, and how far they are.

use std::process::ExitCode;

use anyhow::{Context as _, bail};
use roundtrip_web::jobs::{Job, Jobs};
use serde_json::{Value, json};

use super::explain::encoded;
use super::job;
use crate::client::{self, Client};
use crate::terminal;

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// One job (job_…). Without it, the latest ones.
    #[arg(value_name = "JOB")]
    id: Option<String>,
    /// Stops the job for now.
    #[arg(long, requires = "id", conflicts_with_all = ["resume", "cancel"])]
    pause: bool,
    /// Lets the paused job go on.
    #[arg(long, requires = "id", conflicts_with = "cancel")]
    resume: bool,
    /// Ends the job; what it did stays done.
    #[arg(long, requires = "id")]
    cancel: bool,
    /// Most jobs to show.
    #[arg(long, value_name = "N", default_value_t = 20)]
    limit: u32,
    /// The workspace's slug.
    #[arg(long, value_name = "SLUG", default_value = "default")]
    workspace: String,
    /// Prints JSON lines.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    pub(crate) server: client::Flags,
}

/// Runs the command.
///
/// # Errors
/// When the server cannot be asked, or refuses.
pub(crate) async fn run(args: Args, client: &Client) -> anyhow::Result<ExitCode> {
    let workspace = encoded(&args.workspace);
    let jobs = match &args.id {
        None => {
            let path = format!("/api/v1/jobs?workspace={workspace}&limit={}", args.limit);
            let answer = client::accepted(client.get(&path).await?).context("list jobs")?;
            let page: Jobs =
                serde_json::from_value(answer).context("read the jobs: is the server another release?")?;
            page.items
        }
        Some(id) => {
            let verb = match (args.pause, args.resume, args.cancel) {
                (true, ..) => Some("pause"),
                (_, true, _) => Some("resume"),
                (.., true) => Some("cancel"),
                _ => None,
            };
            let path = |verb: &str| format!("/api/v1/jobs/{}{verb}?workspace={workspace}", encoded(id));
            let answer = match verb {
                Some(verb) => client.post(&path(&format!("/{verb}")), &Value::Null).await?,
                None => client.get(&path("")).await?,
            };
            let answer = client::accepted(answer).context("look at the job")?;
            let job: Job =
                serde_json::from_value(answer).context("read the job: is the server another release?")?;
            vec![job]
        }
    };
    if jobs.is_empty() && !args.json {
        bail!(
            "show jobs: there are none yet; `roundtrip replay --state dead --since 24h --dry-run` is a beginning"
        );
    }
    for shown in &jobs {
        terminal::line(&if args.json { json!(shown).to_string() } else { job::text(shown) })?;
    }
    Ok(ExitCode::SUCCESS)
}
