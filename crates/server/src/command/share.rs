//! `roundtrip share`: a link that shows one postback to whoever has it, for some days; and taking such links back.
//!
//! Links are signed and not stored, so there is nothing to list: `--revoke` takes back every link to a delivery that was
//! made so far, whichever there are, and `--revoke-all` those to all of a workspace, after asking.

use std::process::ExitCode;

use anyhow::{Context as _, bail};
use serde_json::{Value, json};

use super::explain::encoded;
use crate::client::{self, Client};
use crate::terminal;

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The delivery (dlv_…), a postback.
    #[arg(value_name = "DELIVERY", required_unless_present = "revoke_all")]
    id: Option<String>,
    /// For how many days the link opens, 1 to 90. Absent: 7.
    #[arg(long, value_name = "N", conflicts_with_all = ["revoke", "revoke_all"])]
    days: Option<u32>,
    /// Takes back every link to the delivery that was made so far.
    #[arg(long)]
    revoke: bool,
    /// Takes back every link to any delivery of the workspace.
    #[arg(long, conflicts_with_all = ["id", "revoke"])]
    revoke_all: bool,
    /// Takes all back without asking.
    #[arg(long, conflicts_with_all = ["id", "revoke"])]
    yes: bool,
    /// The workspace's slug.
    #[arg(long, value_name = "SLUG", default_value = "default")]
    workspace: String,
    /// Prints JSON.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    pub(crate) server: client::Flags,
}

/// The longest that a link opens, in days.
const DAYS_MAX: u32 = 90;

/// Runs the command.
///
/// # Errors
/// When the server cannot be asked, or refuses.
pub(crate) async fn run(args: Args, client: &Client) -> anyhow::Result<ExitCode> {
    let workspace = encoded(&args.workspace);
    let of = |id: &str| format!("/api/v1/deliveries/{}/share?workspace={workspace}", encoded(id));
    let answer: Value = match &args.id {
        None => {
            let question = format!(
                "Every link that was made so far to any delivery of the workspace {} stops working, and none can be made valid again.",
                args.workspace
            );
            if !args.yes && !terminal::agree("take every link back", &question)? {
                return Ok(ExitCode::FAILURE);
            }
            let path = format!("/api/v1/shares?workspace={workspace}");
            client::accepted(client.delete(&path).await?).context("take the links back")?
        }
        Some(id) if args.revoke => {
            client::accepted(client.delete(&of(id)).await?).context("take the links back")?
        }
        Some(id) => {
            let body = match args.days {
                None => json!({}),
                Some(days @ 1..=DAYS_MAX) => json!({ "for": format!("{days}d") }),
                Some(days) => bail!("share {id} --days {days}: a link opens for 1 to {DAYS_MAX} days"),
            };
            client::accepted(client.post(&of(id), &body).await?).context("share the delivery")?
        }
    };
    if args.json {
        terminal::line(&answer.to_string())?;
        return Ok(ExitCode::SUCCESS);
    }
    for line in [&answer["url"], &answer["sentence"]].into_iter().filter_map(Value::as_str) {
        terminal::line(line)?;
    }
    if let Some(id) = args.id.as_ref().filter(|_| answer["url"].is_string()) {
        terminal::line(&format!("To take it back: roundtrip share {id} --revoke"))?;
    }
    Ok(ExitCode::SUCCESS)
}
