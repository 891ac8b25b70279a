//! `roundtrip conversion`: approves or rejects a conversion.

use std::process::ExitCode;

use anyhow::Context as _;
use serde_json::{Value, json};

use super::explain::encoded;
use crate::client::{self, Client};
use crate::terminal;

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, clap::Subcommand)]
enum Verb {
    /// Approves it: it counts, and what waited for approval is told.
    Approve(Change),
    /// Rejects it: it no longer counts, and rules for rejections tell that.
    Reject(Change),
}

#[derive(Debug, clap::Args)]
struct Change {
    /// The conversion (cnv_…), or its event (evt_…).
    #[arg(value_name = "CONVERSION")]
    id: String,
    /// Why; a rejection needs one, and partners can be told it as {reject_reason}.
    #[arg(long, value_name = "TEXT")]
    reason: Option<String>,
    /// The workspace's slug.
    #[arg(long, value_name = "SLUG", default_value = "default")]
    workspace: String,
    /// Prints JSON.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    server: client::Flags,
}

impl Args {
    fn parts(&self) -> (&'static str, &Change) {
        match &self.verb {
            Verb::Approve(change) => ("approve", change),
            Verb::Reject(change) => ("reject", change),
        }
    }

    /// Which server is asked.
    pub(crate) fn server(&self) -> client::Flags {
        self.parts().1.server.clone()
    }
}

/// Runs the command.
///
/// # Errors
/// When the server cannot be asked, or refuses.
pub(crate) async fn run(args: Args, client: &Client) -> anyhow::Result<ExitCode> {
    let (verb, change) = args.parts();
    let path = format!(
        "/api/v1/conversions/{}/{verb}?workspace={}",
        encoded(&change.id),
        encoded(&change.workspace)
    );
    let body = change.reason.as_ref().map_or_else(|| json!({}), |reason| json!({ "reason": reason }));
    let answer: Value =
        client::accepted(client.post(&path, &body).await?).with_context(|| format!("{verb} it"))?;
    terminal::line(&if change.json {
        answer.to_string()
    } else {
        let text = |name: &str| answer[name].as_str().unwrap_or("?");
        format!("{}: {}", text("conversion"), text("sentence"))
    })?;
    Ok(ExitCode::SUCCESS)
}
