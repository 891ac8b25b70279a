//! `roundtrip backfill`: tells a webhook of facts from the past that nobody told it.

use std::process::ExitCode;

use serde_json::{Map, json};

use super::job;
use crate::client::{self, Client};

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The webhook, by slug or id; `webhook:` may stand before it.
    #[arg(value_name = "WEBHOOK")]
    webhook: String,
    /// Facts of then or later: a moment of RFC 3339, or a span such as 30d, that long ago.
    #[arg(long, value_name = "WHEN")]
    since: String,
    /// Facts before then: a moment, or a span, that long ago.
    #[arg(long, value_name = "WHEN")]
    until: Option<String>,
    /// Of this app, by slug or id.
    #[arg(long, value_name = "APP")]
    app: Option<String>,
    /// Of one of these kinds of facts; of all that the webhook asks for when absent.
    #[arg(long, value_name = "KINDS")]
    kind: Option<String>,
    #[command(flatten)]
    job: job::Making,
    #[command(flatten)]
    pub(crate) server: client::Flags,
}

/// Runs the command.
///
/// # Errors
/// When the server cannot be asked, or refuses.
pub(crate) async fn run(args: Args, client: &Client) -> anyhow::Result<ExitCode> {
    let name = args.webhook.strip_prefix("webhook:").unwrap_or(&args.webhook);
    let mut filter = Map::new();
    filter.insert("since".to_owned(), args.since.clone().into());
    for (field, value) in [("until", &args.until), ("app", &args.app), ("kind", &args.kind)] {
        if let Some(value) = value {
            filter.insert(field.to_owned(), value.clone().into());
        }
    }
    let body = json!({ "kind": "backfill", "filter": filter, "into": format!("webhook:{name}") });
    job::run(client, body, &args.job).await
}
