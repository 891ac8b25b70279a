//! `roundtrip deliveries`: the latest deliveries, and how each stands.

use std::process::ExitCode;

use anyhow::Context as _;
use roundtrip_web::deliveries::{Deliveries, DeliveryRow};

use super::explain::encoded;
use super::filter::Filter;
use crate::client::{self, Client};
use crate::terminal;

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(flatten)]
    filter: Filter,
    /// Most deliveries to show.
    #[arg(long, value_name = "N", default_value_t = 50)]
    limit: u32,
    /// The workspace's slug.
    #[arg(long, value_name = "SLUG", default_value = "default")]
    workspace: String,
    /// Prints JSON lines.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    pub(crate) server: client::Flags,
}

/// Most deliveries that the API answers at once.
const PAGE_MAX: u32 = 1_000;

/// Runs the command.
///
/// # Errors
/// When the server cannot be asked, or refuses.
pub(crate) async fn run(args: Args, client: &Client) -> anyhow::Result<ExitCode> {
    let (mut shown, mut before, mut scanned) = (0, None::<String>, 0_u64);
    loop {
        let limit = args.limit.saturating_sub(shown).clamp(1, PAGE_MAX);
        let mut path = format!(
            "/api/v1/deliveries?workspace={}&limit={limit}{}",
            encoded(&args.workspace),
            args.filter.query()
        );
        if let Some(before) = &before {
            path.push_str(&format!("&before={before}"));
        }
        let answer = client::accepted(client.get(&path).await?).context("list deliveries")?;
        let page: Deliveries =
            serde_json::from_value(answer).context("read the list: is the server another release?")?;
        scanned += u64::from(page.scanned);
        for row in &page.items {
            let line =
                if args.json { serde_json::to_string(row).context("write a delivery")? } else { text(row) };
            terminal::line(&line)?;
        }
        shown += u32::try_from(page.items.len()).unwrap_or(u32::MAX);
        match page.next {
            Some(next) if shown < args.limit => before = Some(next),
            next => {
                if !args.json && shown == 0 {
                    terminal::line(&format!("No delivery fits; {scanned} were looked at."))?;
                } else if !args.json && next.is_some() {
                    terminal::line("There are more: --limit shows them.")?;
                }
                return Ok(ExitCode::SUCCESS);
            }
        }
    }
}

/// A delivery in a line.
pub(super) fn text(row: &DeliveryRow) -> String {
    let sends = match row.sends {
        0 => "not sent".to_owned(),
        1 => "1 send".to_owned(),
        n => format!("{n} sends"),
    };
    let last = row.outcome.as_ref().map_or_else(String::new, |outcome| format!(", {outcome}"));
    let replay = if row.replay_of.is_some() { ", a replay" } else { "" };
    // Why it waits says when it goes on, where that is known; when it is due says so of those that wait for nothing else.
    let waits = match (&row.waits, &row.due) {
        (Some(wait), _) if !["due_at", "delayed", "next"].contains(&wait.as_str()) => {
            format!("; waits ({wait}): {}", row.sentence)
        }
        (_, Some(due)) => format!(", due {due}"),
        (_, None) => String::new(),
    };
    format!(
        "{} {} {:<9} {} to {}: {sends}{last}{replay}{waits}",
        row.created_at,
        row.id,
        row.state,
        row.kind,
        row.receiver()
    )
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_line_says_why_it_waits() {
        let row = |waits: &str, until: Option<&str>, sentence: &str| -> DeliveryRow {
            serde_json::from_value(json!({
                "id": "dlv_1", "fact": "evt_1", "event": "evt_1", "kind": "install", "app": {"id": "app_1", "slug": "shop"},
                "webhook": {"id": "wbh_1", "slug": "crm"}, "endpoint": "wbh_1", "created_at": "then", "state": "scheduled",
                "reason": "http_503", "sentence": sentence, "due": "at noon", "waits": waits, "waits_until": until, "sends": 2,
                "outcome": "http_503",
            }))
            .expect("a delivery")
        };
        let broken = "its endpoint was in trouble and is left in peace; one delivery finds out in 3 m";
        insta::assert_snapshot!(
            [
                text(&row("breaker_open", Some("in a while"), broken)),
                text(&row("due_at", Some("at noon"), "the receiver answered 503")),
                text(&row("paused", None, "its endpoint is paused since then by admin.token")),
            ]
            .join("\n"),
            @r"
        then dlv_1 scheduled install to webhook crm: 2 sends, http_503; waits (breaker_open): its endpoint was in trouble and is left in peace; one delivery finds out in 3 m
        then dlv_1 scheduled install to webhook crm: 2 sends, http_503, due at noon
        then dlv_1 scheduled install to webhook crm: 2 sends, http_503; waits (paused): its endpoint is paused since then by admin.token
        "
        );
    }
}
