//! `roundtrip cancel`: ends deliveries that wait.

use std::process::ExitCode;

use anyhow::bail;
use serde_json::json;

use super::filter::Filter;
use super::job;
use crate::client::{self, Client};

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(flatten)]
    filter: Filter,
    #[command(flatten)]
    job: job::Making,
    #[command(flatten)]
    pub(crate) server: client::Flags,
}

/// Runs the command. `roundtrip replay --state cancelled` is the way back.
///
/// # Errors
/// When the server cannot be asked, or refuses.
pub(crate) async fn run(args: Args, client: &Client) -> anyhow::Result<ExitCode> {
    if args.filter.given().is_empty() {
        bail!("cancel: say what, such as --webhook crm; --state waiting means everything that waits");
    }
    job::run(client, json!({ "kind": "cancel", "filter": args.filter.object() }), &args.job).await
}
