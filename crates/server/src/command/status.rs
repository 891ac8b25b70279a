//! `roundtrip status`: the books, and what waits. A difference is a bug and is shown as one.

use std::process::ExitCode;

use anyhow::Context as _;
use roundtrip_web::books::Books;

use super::explain::encoded;
use crate::client::{self, Client};
use crate::terminal;

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The first day of the books, UTC, such as 2026-06-04. Absent: 30 days ago.
    #[arg(long, value_name = "WHEN")]
    from: Option<String>,
    /// The last day. Absent: today.
    #[arg(long, value_name = "WHEN")]
    to: Option<String>,
    /// The workspace's slug.
    #[arg(long, value_name = "SLUG", default_value = "default")]
    workspace: String,
    /// Prints JSON.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    pub(crate) server: client::Flags,
}

/// Runs the command. Exit code 1 when the books do not balance.
///
/// # Errors
/// When the server cannot be asked, or refuses.
pub(crate) async fn run(args: Args, client: &Client) -> anyhow::Result<ExitCode> {
    let mut path = format!("/api/v1/balance?workspace={}", encoded(&args.workspace));
    for (name, value) in [("from", &args.from), ("to", &args.to)] {
        if let Some(value) = value {
            path.push_str(&format!("&{name}={}", encoded(value)));
        }
    }
    let answer = client::accepted(client.get(&path).await?).context("read the books")?;
    let books: Books =
        serde_json::from_value(answer.clone()).context("read the books: is the server another release?")?;
    terminal::line(&if args.json { answer.to_string() } else { text(&books) })?;
    Ok(if books.balanced { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn text(books: &Books) -> String {
    let mut lines = vec![books.sentence.clone()];
    for row in books.rows.iter().filter(|row| !row.figures.is_balanced()) {
        let partner = row.partner.as_ref().map_or("(nobody)", |partner| partner.label());
        lines.push(format!(
            "  {} {partner} {}: {} rules, {} deliveries off",
            row.day, row.kind, row.figures.difference_rules, row.figures.difference_deliveries
        ));
    }
    let suppressed: Vec<String> =
        books.total.suppressed.iter().map(|(reason, n)| format!("{n} {reason}")).collect();
    if !suppressed.is_empty() {
        lines.push(format!("Not told, by reason: {}.", suppressed.join(", ")));
    }
    if let Some(rate) = &books.success_rate {
        lines.push(format!("Delivered of all that ended: {rate} %."));
    }
    let waiting = &books.waiting;
    lines.push(match (waiting.deliveries, &waiting.overdue, &waiting.oldest_due) {
        (0, _, _) => "No delivery waits.".to_owned(),
        (n, Some(overdue), _) => format!("Waiting: {n}, the oldest due since {overdue}."),
        (n, None, due) => format!("Waiting: {n}, the first due at {}.", due.as_deref().unwrap_or("?")),
    });
    if waiting.held > 0 {
        lines.push(format!("Held: {}; `roundtrip endpoint list` says for whom and why.", waiting.held));
    }
    if waiting.undecided > 0 {
        lines.push(format!("Events that wait for a decision: {}.", waiting.undecided));
    }
    lines.push(format!("{} to {}.", books.from, books.to));
    lines.join("\n")
}

#[cfg(test)]
mod tests {
    use roundtrip_web::books::{Figures, Row, Waiting};

    use super::*;

    #[test]
    fn a_difference_is_named() {
        let figures = Figures { considered: 3, planned: 2, difference_rules: 1, ..Figures::default() };
        let books = Books {
            from: "2026-05-05T00:00:00.000Z".into(),
            to: "2026-06-05T00:00:00.000Z".into(),
            balanced: false,
            sentence: "The books do not add up.".into(),
            rows: vec![Row {
                day: "2026-06-04".into(),
                partner: None,
                webhook: None,
                kind: "install".into(),
                figures: figures.clone(),
            }],
            total: figures,
            success_rate: Some("99.5".into()),
            waiting: Waiting { deliveries: 2, overdue: Some("3 m".into()), ..Waiting::default() },
        };
        insta::assert_snapshot!("status_difference", text(&books));
    }
}
