//! `roundtrip webhook`: what signs for a webhook, a new secret for it, and the moment when that takes over.

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
    /// Shows what signs for it: headers, overlaps and the public key. Never a secret.
    Show(One),
    /// Gives it a new secret, shown once; the old one signs on beside it for a while.
    Rotate(Rotate),
    /// Lets the newest secret sign the plain header from now on.
    CutOver(One),
}

#[derive(Debug, clap::Args)]
struct One {
    /// The webhook's slug; with `webhook:` before it, as lists print it, too.
    #[arg(value_name = "SLUG")]
    slug: String,
    /// The workspace's slug.
    #[arg(long, value_name = "SLUG", default_value = "default")]
    workspace: String,
    /// Prints JSON.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    server: client::Flags,
}

#[derive(Debug, clap::Args)]
struct Rotate {
    #[command(flatten)]
    one: One,
    /// How long the old secret signs on, 0s to 30d; absent: as the webhook says, else 24h.
    #[arg(long, value_name = "SPAN")]
    overlap: Option<String>,
}

impl Args {
    const fn one(&self) -> &One {
        match &self.verb {
            Verb::Show(one) | Verb::CutOver(one) => one,
            Verb::Rotate(rotate) => &rotate.one,
        }
    }

    /// Which server is asked.
    pub(crate) fn server(&self) -> client::Flags {
        self.one().server.clone()
    }
}

/// Runs the command.
///
/// # Errors
/// When the server cannot be asked, or refuses.
pub(crate) async fn run(args: Args, client: &Client) -> anyhow::Result<ExitCode> {
    let one = args.one();
    let slug = one.slug.strip_prefix("webhook:").unwrap_or(&one.slug);
    let path = |what: &str| {
        format!("/api/v1/webhooks/{}/{what}?workspace={}", encoded(slug), encoded(&one.workspace))
    };
    let answer: Value = match &args.verb {
        Verb::Show(_) => client::accepted(client.get(&path("signing")).await?).context("read what signs")?,
        Verb::Rotate(rotate) => {
            let body = rotate.overlap.as_ref().map_or_else(|| json!({}), |span| json!({ "overlap": span }));
            client::accepted(client.post(&path("rotate"), &body).await?).context("rotate the secret")?
        }
        Verb::CutOver(_) => {
            let post = client.post(&path("cut-over"), &json!({})).await?;
            client::accepted(post).context("let the new secret take over")?
        }
    };
    if one.json {
        terminal::line(&answer.to_string())?;
        return Ok(ExitCode::SUCCESS);
    }
    if let Some(secret) = answer["secret"].as_str() {
        terminal::line(&format!("secret: {secret}  (shown this once)"))?;
    }
    if let Some(sentence) = answer["sentence"].as_str() {
        terminal::line(sentence)?;
    }
    if answer["secret"].is_string() {
        terminal::line(
            "Does your file name this webhook's secret? Put the new one where it finds it: `apply` refuses the old one.",
        )?;
    }
    let signing = answer.get("signing").unwrap_or(&answer);
    for line in lines(signing) {
        terminal::line(&line)?;
    }
    Ok(ExitCode::SUCCESS)
}

fn lines(signing: &Value) -> Vec<String> {
    let text = |name: &str| signing[name].as_str();
    let mut lines = vec![format!("webhook {}", text("webhook").unwrap_or("?"))];
    let header = text("plain_header").unwrap_or("?");
    lines.push(match text("plain_header_is_older_until") {
        Some(until) => format!("  {header}: signed by the secret before this one until {until}"),
        None => format!("  {header}: signed by the newest secret"),
    });
    for until in signing["older_secrets_until"].as_array().into_iter().flatten() {
        lines.push(format!(
            "  an older secret signs webhook-signature too, until {}",
            until.as_str().unwrap_or("?")
        ));
    }
    if let Some(key) = text("public_key") {
        lines.push(format!("  public key of v1a: {key}"));
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn says_who_signs_what() {
        let signing = json!({
            "webhook": "orders", "plain_header": "x-roundtrip-signature",
            "plain_header_is_older_until": "2026-06-05T00:00:00.000Z",
            "older_secrets_until": ["2026-06-05T00:00:00.000Z"], "older_keys_until": [], "public_key": "whpk_abc",
        });
        insta::assert_snapshot!(lines(&signing).join("\n"), @r"
        webhook orders
          x-roundtrip-signature: signed by the secret before this one until 2026-06-05T00:00:00.000Z
          an older secret signs webhook-signature too, until 2026-06-05T00:00:00.000Z
          public key of v1a: whpk_abc
        ");
    }
}
