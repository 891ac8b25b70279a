//! `roundtrip endpoint`: who is told and how that goes; stops an endpoint and lets it go on.

use std::process::ExitCode;

use anyhow::Context as _;
use serde_json::{Value, json};

use super::endpoint_test;
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
    /// Shows one: how it stands, what failed last, what its last days were and what became of it.
    Show(One),
    /// Stops telling one for a while: what is planned for it is held.
    Pause(Change),
    /// Tells a paused one again, at first one at a time.
    Resume(Change),
    /// Tells a disabled one again, at first one at a time.
    Enable(Change),
    /// Stops telling one until it is enabled: what is planned for it is held.
    Disable(Change),
    /// Sends a test, waits for its end and prints the evidence.
    Test(endpoint_test::Args),
}

#[derive(Debug, clap::Args)]
struct List {
    #[command(flatten)]
    common: Common,
}

#[derive(Debug, clap::Args)]
struct One {
    /// webhook:SLUG, rule:SLUG when it tells one partner, rule:SLUG@PARTNER, or an id that `list --json` prints.
    #[arg(value_name = "NAME")]
    name: String,
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
            Verb::Show(one) => &one.common,
            Verb::Pause(change) | Verb::Resume(change) | Verb::Enable(change) | Verb::Disable(change) => {
                &change.common
            }
            Verb::Test(test) => return test.server.clone(),
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
        Verb::Test(test) => return endpoint_test::run(test, client).await,
        Verb::List(list) => return self::list(list, client).await,
        Verb::Show(one) => return show(one, client).await,
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

async fn show(one: &One, client: &Client) -> anyhow::Result<ExitCode> {
    let (name, workspace) = (encoded(&one.name), encoded(&one.common.workspace));
    let path = format!("/api/v1/endpoints/{name}?workspace={workspace}");
    let answer: Value =
        client::accepted(client.get(&path).await?).with_context(|| format!("show {}", one.name))?;
    terminal::line(&if one.common.json { answer.to_string() } else { shown(&answer) })?;
    Ok(ExitCode::SUCCESS)
}

/// Most lines of an endpoint's log that a person is shown.
const LOG_LINES: usize = 10;

/// An endpoint and what became of it, for a person.
fn shown(answer: &Value) -> String {
    let endpoint = &answer["endpoint"];
    let text = |value: &Value| value.as_str().map(str::to_owned);
    let mut lines = vec![line(endpoint)];
    let mut fact = |name: &str, value: Option<String>| {
        if let Some(value) = value {
            lines.push(format!("  {name:<17}{value}"));
        }
    };
    fact("id", text(&endpoint["id"]));
    let (since, actor) = (text(&endpoint["since"]), text(&endpoint["actor"]).unwrap_or_default());
    let state = text(&endpoint["state"]).unwrap_or_default();
    let state = match (since, state.as_str()) {
        (Some(since), "active") => format!("active; let go on by {actor} at {since}"),
        (Some(since), _) => format!("{state} by {actor} since {since}"),
        (None, _) => state,
    };
    fact("state", Some(state));
    fact("in trouble since", text(&endpoint["trouble_since"]));
    let failure = &endpoint["last_failure"];
    let failed = text(&failure["sentence"]).map(|sentence| {
        let part = |name| failure[name].as_str().unwrap_or("?");
        format!("{sentence}: {} of {}", part("delivery"), part("at"))
    });
    fact("last failure", failed);
    let recent = &endpoint["recent"];
    if recent.is_object() {
        let n = |name: &str| recent[name].as_u64().unwrap_or_default();
        let rate = text(&recent["success_rate"]).map_or_else(String::new, |rate| format!("{rate} %: "));
        let [delivered, dead, expired] = ["delivered", "dead", "expired"].map(n);
        fact("last days", Some(format!("{rate}{delivered} delivered, {dead} given up, {expired} expired")));
    }
    let live = &endpoint["live"];
    if live.is_object() {
        let n = |name: &str| live[name].as_u64().unwrap_or_default();
        fact("at a time", Some(format!("{} of at most {}", n("in_flight"), n("limit"))));
        fact("breaker", text(&live["breaker"]));
        let part = |name: &str| text(&live["not_allowed"][name]);
        let refused = part("code").zip(part("switch"));
        fact(
            "not allowed",
            refused.map(|(code, switch)| format!("{code}; `roundtrip serve {switch}` allows it")),
        );
    }
    let log = answer["log"].as_array().map(Vec::as_slice).unwrap_or_default();
    for entry in log.iter().take(LOG_LINES) {
        let part = |name| entry[name].as_str().unwrap_or("?");
        lines.push(format!("  {} {}", part("at"), part("sentence")));
    }
    if log.len() > LOG_LINES {
        lines.push(format!("  … and {} earlier lines; --json prints them", log.len() - LOG_LINES));
    }
    lines.join("\n")
}

/// An endpoint for a person: its name, how it stands, and what keeps the next delivery.
fn line(endpoint: &Value) -> String {
    let text = |value: &Value| value.as_str().unwrap_or("?").to_owned();
    // How it stands says already what is not allowed of it.
    let live = match endpoint["live"]["sentence"].as_str() {
        Some(_) if endpoint["live"]["not_allowed"].is_object() => String::new(),
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
        let whole = json!({
            "endpoint": {
                "name": "rule:sales@acme", "id": "rul_1:prt_1", "sentence": "It is told. Waiting: 3.", "state": "active",
                "since": "then", "actor": "admin.token", "trouble_since": "before", "waiting": 3,
                "last_failure": {"sentence": "the receiver answered 503 (http_503), 12 s ago", "delivery": "dlv_1", "at": "noon"},
                "recent": {"success_rate": "50.0", "delivered": 1, "dead": 1, "expired": 0},
                "live": {"sentence": "The next one waits.", "in_flight": 0, "limit": 4, "breaker": "open"},
            },
            "log": [{"at": "then", "sentence": "Let go on by admin.token."}],
        });
        insta::assert_snapshot!(shown(&whole), @r"
        rule:sales@acme: It is told. Waiting: 3. The next one waits.
          id               rul_1:prt_1
          state            active; let go on by admin.token at then
          in trouble since before
          last failure     the receiver answered 503 (http_503), 12 s ago: dlv_1 of noon
          last days        50.0 %: 1 delivered, 1 given up, 0 expired
          at a time        0 of at most 4
          breaker          open
          then Let go on by admin.token.
        ");
        let quiet = json!({"name": "webhook:orders", "sentence": "It is told."});
        assert_eq!(line(&quiet), "webhook:orders: It is told.");
    }
}
