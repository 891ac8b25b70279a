//! `roundtrip replay`: tells the same facts once more, one delivery or many.

use std::process::ExitCode;

use anyhow::{Context as _, bail};
use serde_json::{Value, json};

use super::explain::encoded;
use super::filter::Filter;
use super::job;
use crate::client::{self, Client};
use crate::terminal;

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// One delivery (dlv_…). Without it, all that the filter means.
    #[arg(value_name = "DELIVERY")]
    id: Option<String>,
    #[command(flatten)]
    filter: Filter,
    /// Tells another endpoint instead: webhook:SLUG, or rule:SLUG, the same partner by that rule as it is now.
    #[arg(long, value_name = "ENDPOINT")]
    into: Option<String>,
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
    let is_filtered = !args.filter.given().is_empty();
    let Some(id) = &args.id else {
        if !is_filtered {
            bail!(
                "replay: say what, a delivery (dlv_…) or a filter such as --since 24h; --state all means everything"
            );
        }
        let mut body = json!({ "kind": "replay", "filter": args.filter.object() });
        if let Some(into) = &args.into {
            body["into"] = into.as_str().into();
        }
        return job::run(client, body, &args.job).await;
    };
    if is_filtered || args.into.is_some() {
        bail!(
            "replay {id}: one delivery takes no filter and goes where it went; --event names what it is about"
        );
    }
    let path =
        format!("/api/v1/deliveries/{}/replay?workspace={}", encoded(id), encoded(&args.job.workspace));
    let answer = client::accepted(client.post(&path, &Value::Null).await?).context("replay it")?;
    terminal::line(&if args.job.json { answer.to_string() } else { replayed(&answer) })?;
    Ok(ExitCode::SUCCESS)
}

/// What came of one delivery, for a person. What waited keeps its id: nothing is told twice.
fn replayed(answer: &Value) -> String {
    let text = |name: &str| answer[name].as_str().unwrap_or("?");
    let (id, of, sentence) = (text("id"), text("replay_of"), text("sentence"));
    match id == of {
        true => format!("{id}: {sentence}"),
        false => format!("{id} tells {} again, as {of} did. {sentence}", text("event")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_waited_is_not_said_to_be_told_again() {
        let mut answer =
            json!({ "id": "dlv_2", "replay_of": "dlv_1", "event": "evt_1", "sentence": "It is sent." });
        assert_eq!(replayed(&answer), "dlv_2 tells evt_1 again, as dlv_1 did. It is sent.");
        answer["replay_of"] = "dlv_2".into();
        assert_eq!(replayed(&answer), "dlv_2: It is sent.");
    }
}
