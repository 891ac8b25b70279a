//! `roundtrip endpoint`: who is told and how that goes; stops an endpoint and lets it go on.

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
    /// Lists who is told: what waits, what is held, and why.
    List(List),
    /// Stops telling one for a while: what is planned for it is held.
    Pause(Change),
    /// Tells a paused one again, at first one at a time.
    Resume(Change),
    /// Tells a disabled one again, at first one at a time.
    Enable(Change),
    /// Stops telling one until it is enabled: what is planned for it is held.
    Disable(Change),
}

#[derive(Debug, clap::Args)]
struct List {
    #[command(flatten)]
    common: Common,
}

#[derive(Debug, clap::Args)]
struct Change {
    /// webhook:SLUG, rule:SLUG when it tells one partner, rule:SLUG@PARTNER, or an id that `list --json` prints.
    #[arg(value_name = "NAME")]
    name: String,
    /// Why; stands in the endpoint's log.
    #[arg(long, value_name = "TEXT")]
    reason: Option<String>,
    #[command(flatten)]
    common: Common,
}

#[derive(Debug, clap::Args)]
struct Common {
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
    /// Which server is asked.
    pub(crate) fn server(&self) -> client::Flags {
        let common = match &self.verb {
            Verb::List(list) => &list.common,
            Verb::Pause(change) | Verb::Resume(change) | Verb::Enable(change) | Verb::Disable(change) => {
                &change.common
            }
        };
        common.server.clone()
    }
}

/// Runs the command.
///
/// # Errors
/// When the server cannot be asked, or refuses.
pub(crate) async fn run(args: Args, client: &Client) -> anyhow::Result<ExitCode> {
    let (verb, change) = match &args.verb {
        Verb::List(list) => return self::list(list, client).await,
        Verb::Pause(change) => ("pause", change),
        Verb::Resume(change) => ("resume", change),
        Verb::Enable(change) => ("enable", change),
        Verb::Disable(change) => ("disable", change),
    };
    let path = format!(
        "/api/v1/endpoints/{}/{verb}?workspace={}",
        encoded(&change.name),
        encoded(&change.common.workspace)
    );
    let body = change.reason.as_ref().map_or_else(|| json!({}), |reason| json!({ "reason": reason }));
    let answer: Value =
        client::accepted(client.post(&path, &body).await?).with_context(|| format!("{verb} it"))?;
    terminal::line(&if change.common.json { answer.to_string() } else { line(&answer["endpoint"]) })?;
    Ok(ExitCode::SUCCESS)
}

async fn list(list: &List, client: &Client) -> anyhow::Result<ExitCode> {
    let path = format!("/api/v1/endpoints?workspace={}", encoded(&list.common.workspace));
    let answer: Value = client::accepted(client.get(&path).await?).context("list the endpoints")?;
    let endpoints = answer["endpoints"].as_array().cloned().unwrap_or_default();
    if list.common.json {
        for endpoint in &endpoints {
            terminal::line(&endpoint.to_string())?;
        }
    } else if endpoints.is_empty() {
        terminal::line(
            "Nobody is told: there are no rules that name a partner, no webhooks, and nothing was planned.",
        )?;
    }
    for endpoint in endpoints.iter().filter(|_| !list.common.json) {
        terminal::line(&line(endpoint))?;
    }
    Ok(ExitCode::SUCCESS)
}

/// An endpoint for a person: its name, how it stands, and what keeps the next delivery.
fn line(endpoint: &Value) -> String {
    let text = |value: &Value| value.as_str().unwrap_or("?").to_owned();
    let live = match endpoint["live"]["sentence"].as_str() {
        Some(sentence) => format!(" {sentence}"),
        None => String::new(),
    };
    format!("{}: {}{live}", text(&endpoint["name"]), text(&endpoint["sentence"]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_says_how_it_stands_and_what_it_waits_for() {
        let endpoint = json!({
            "name": "rule:sales@acme", "sentence": "It is told. Waiting: 3.",
            "live": {"sentence": "The next one waits because it is not due; it is sent in 10 s."},
        });
        let want = "rule:sales@acme: It is told. Waiting: 3. The next one waits because it is not due; it is sent in 10 s.";
        assert_eq!(line(&endpoint), want);
        let quiet = json!({"name": "webhook:orders", "sentence": "It is told."});
        assert_eq!(line(&quiet), "webhook:orders: It is told.");
    }
}
