//! `roundtrip endpoint test`: sends a test to an endpoint, waits for its end and prints the evidence.

use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context as _;
use roundtrip_web::story::Delivery;
use roundtrip_web::story::text::clean;
use serde_json::Value;

use super::explain::encoded;
use crate::client::{self, Client};
use crate::terminal;

/// How often the delivery is asked for.
const LOOK: Duration = Duration::from_millis(200);

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// rule:SLUG, rule:SLUG@PARTNER or webhook:SLUG; a slug alone is a rule's.
    #[arg(value_name = "ENDPOINT")]
    name: String,
    /// Which of the partners that the rule tells, where it tells several.
    #[arg(long, value_name = "PARTNER")]
    partner: Option<String>,
    /// How many seconds to wait for the first send's end.
    #[arg(long, value_name = "S", default_value_t = 30)]
    wait: u64,
    /// The workspace's slug.
    #[arg(long, value_name = "SLUG", default_value = "default")]
    workspace: String,
    /// Prints JSON.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    pub(crate) server: client::Flags,
}

/// Runs the command. Exit code 1 when the receiver did not take the test in time.
///
/// # Errors
/// When the server cannot be asked, or refuses.
pub(crate) async fn run(args: &Args, client: &Client) -> anyhow::Result<ExitCode> {
    let workspace = encoded(&args.workspace);
    let name = args.name.trim();
    let mut path = format!("/api/v1/endpoints/{name}/test?workspace={workspace}");
    if let Some(partner) = &args.partner {
        path.push_str(&format!("&partner={}", encoded(partner)));
    }
    let made = client::accepted(client.post(&path, &Value::Null).await?).context("test the endpoint")?;
    let id = made["delivery"].as_str().context("read the answer: is the server another release?")?;
    let path = format!("/api/v1/deliveries/{}?workspace={workspace}&full=true", encoded(id));
    let deadline = tokio::time::Instant::now() + Duration::from_secs(args.wait);
    loop {
        let answer = client::accepted(client.get(&path).await?).context("look at the test")?;
        let delivery: Delivery = serde_json::from_value(answer["delivery"].clone())
            .context("read the delivery: is the server another release?")?;
        if !delivery.attempts.is_empty() || tokio::time::Instant::now() >= deadline {
            terminal::line(&if args.json { answer.to_string() } else { text(&delivery) })?;
            if let Some(line) = (!args.json).then(|| offer(&made, &delivery.state)).flatten() {
                terminal::line(&line)?;
            }
            return Ok(if delivery.state == "delivered" { ExitCode::SUCCESS } else { ExitCode::FAILURE });
        }
        tokio::time::sleep(LOOK).await;
    }
}

/// The way back of an endpoint that is stopped and took the test.
fn offer(made: &Value, came_to: &str) -> Option<String> {
    let name = made["endpoint"].as_str()?;
    let (state, verb) = match made["state"].as_str()? {
        "paused" => ("paused", "resume"),
        "disabled" => ("disabled", "enable"),
        _ => return None,
    };
    Some(match came_to {
        "delivered" => format!(
            "{name} is {state}, and works: `roundtrip endpoint {verb} {name}` lets it go on and releases what is held, \
             `roundtrip cancel --endpoint {name}` drops that first."
        ),
        _ => format!("{name} stays {state}: what is planned for it is held."),
    })
}

fn text(delivery: &Delivery) -> String {
    let mut lines = vec![format!("{}: {}", delivery.id, delivery.sentence)];
    for attempt in &delivery.attempts {
        lines.push(format!("Send {}: {}", attempt.n, attempt.sentence));
        let connection: Vec<&str> =
            [&attempt.address, &attempt.tls].into_iter().flatten().map(String::as_str).collect();
        if !connection.is_empty() {
            lines.push(format!("  {}", connection.join(", ")));
        }
        if let Some(phases) = &attempt.phases {
            lines.push(format!("  {}", phases.text()));
        }
        if let Some(request) = &attempt.request {
            lines.push(format!("→ {}", request.line));
            lines.extend(request.headers.iter().map(|header| format!("→ {}: {}", header.name, header.value)));
            lines.extend(request.body.iter().flat_map(|body| body.lines()).map(|line| format!("→ {line}")));
        }
        if let Some(answer) = &attempt.answer {
            lines.push(format!("← {}", answer.status));
            lines.extend(answer.headers.iter().map(|header| format!("← {}: {}", header.name, header.value)));
            lines.extend(answer.body.iter().flat_map(|body| body.lines()).map(|line| format!("← {line}")));
        }
        lines.extend(attempt.error.iter().map(|error| format!("  {error}")));
    }
    if delivery.attempts.is_empty() {
        lines.push(
            "It was not sent yet: `roundtrip endpoint list` says what the endpoint waits for. It is sent within ten minutes or not at all."
                .to_owned(),
        );
    }
    let lines: Vec<String> = lines.iter().map(|line| clean(line)).collect();
    lines.join("\n")
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_stopped_endpoint_that_takes_a_test_is_offered_its_way_back() {
        let made = |state: &str| json!({ "endpoint": "webhook:crm", "state": state });
        let offered = offer(&made("disabled"), "delivered").unwrap();
        assert!(offered.contains("`roundtrip endpoint enable webhook:crm`"), "{offered}");
        let offered = offer(&made("paused"), "delivered").unwrap();
        assert!(offered.contains("`roundtrip endpoint resume webhook:crm`"), "{offered}");
        assert!(!offer(&made("disabled"), "dead").unwrap().contains("enable"));
        assert_eq!(offer(&made("active"), "delivered"), None);
    }
}
