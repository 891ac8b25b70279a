//! `roundtrip replay`: tells a partner the same fact once more.

use std::process::ExitCode;

use anyhow::Context as _;
use serde_json::Value;

use super::explain::encoded;
use crate::client::{self, Client};
use crate::terminal;

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The delivery (dlv_…).
    #[arg(value_name = "DELIVERY")]
    id: String,
    /// The workspace's slug.
    #[arg(long, value_name = "SLUG", default_value = "default")]
    workspace: String,
    /// Prints JSON.
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
    let path =
        format!("/api/v1/deliveries/{}/replay?workspace={}", encoded(&args.id), encoded(&args.workspace));
    let answer = client::accepted(client.post(&path, &Value::Null).await?).context("replay it")?;
    let text = |name: &str| answer[name].as_str().unwrap_or("?");
    terminal::line(&if args.json {
        answer.to_string()
    } else {
        format!(
            "{} tells {} again, as {} did. {}",
            text("id"),
            text("event"),
            text("replay_of"),
            text("sentence")
        )
    })?;
    Ok(ExitCode::SUCCESS)
}
