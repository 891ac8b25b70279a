//! `roundtrip status`: the books, and what waits. A difference is a bug and is shown as one.

use std::collections::BTreeMap;
use std::process::ExitCode;

use anyhow::Context as _;
use roundtrip_domain::endpoint::NotAllowed;
use roundtrip_domain::time::human;
use roundtrip_web::books::{Books, Figures, Row};

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
    /// Only what this partner is told: its slug.
    #[arg(long, value_name = "SLUG")]
    partner: Option<String>,
    /// A row per day, not one for the whole period.
    #[arg(long)]
    days: bool,
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
    path.push_str(if args.days { "&by=day" } else { "&by=period" });
    for (name, value) in [("from", &args.from), ("to", &args.to), ("partner", &args.partner)] {
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
        let day = row.day.as_deref().map(|day| format!("{day} ")).unwrap_or_default();
        lines.push(format!(
            "  {day}{} {}: {} rules, {} deliveries off",
            receiver(row),
            row.kind,
            row.figures.difference_rules,
            row.figures.difference_deliveries
        ));
    }
    if !books.rows.is_empty() {
        lines.push(String::new());
        lines.extend(table(books));
        lines.push(String::new());
    }
    let listed = |counts: &BTreeMap<String, i64>| {
        let words: Vec<String> = counts.iter().map(|(word, n)| format!("{n} {word}")).collect();
        words.join(", ")
    };
    if !books.total.suppressed.is_empty() {
        lines.push(format!("Not told, by reason: {}.", listed(&books.total.suppressed)));
    }
    if let Some(rate) = &books.success_rate {
        lines.push(format!("Delivered of all that ended: {rate} %."));
    }
    let (refused, sends): (BTreeMap<_, _>, BTreeMap<_, _>) =
        books.total.sends.clone().into_iter().partition(|(code, _)| NotAllowed::parse(code).is_some());
    if !sends.is_empty() {
        lines.push(format!("Sends, by answer: {}.", listed(&sends)));
    }
    if !refused.is_empty() {
        lines.push(format!(
            "Looked at and not sent, because this server's own settings do not allow it: {}.",
            listed(&refused)
        ));
    }
    if let Some(took) = &books.total.send_us {
        let [half, tenth, most] = [took.p50, took.p90, took.p99].map(micros);
        lines.push(format!("A send took {half} (half), {tenth} (9 of 10), {most} (99 of 100)."));
    }
    if let Some(took) = &books.total.latency_ms {
        let [half, tenth, most] = [took.p50, took.p90, took.p99].map(human);
        lines.push(format!(
            "From planned to delivered: {half} (half), {tenth} (9 of 10), {most} (99 of 100)."
        ));
    }
    let waiting = &books.waiting;
    lines.push(match (waiting.words(), &waiting.overdue, &waiting.oldest_due) {
        (None, ..) => "No delivery waits.".to_owned(),
        (Some(words), None, Some(due)) => format!("Now: {words}; the first is due at {due}."),
        (Some(words), ..) => format!("Now: {words}."),
    });
    if waiting.held > 0 || waiting.overdue.is_some() {
        lines.push("`roundtrip endpoint list` says who waits, and why.".to_owned());
    }
    if waiting.undecided > 0 {
        lines.push(format!("Events that wait for a decision: {}.", waiting.undecided));
    }
    lines.push(format!("{} to {}.", books.from, books.to));
    lines.join("\n")
}

fn receiver(row: &Row) -> String {
    match (&row.partner, &row.webhook) {
        (Some(partner), _) => partner.label().to_owned(),
        (None, Some(webhook)) => format!("webhook {}", webhook.label()),
        (None, None) => "(nobody)".to_owned(),
    }
}

/// Microseconds for people.
fn micros(us: i64) -> String {
    if us < 1_000 { format!("{us} µs") } else { human(us / 1_000) }
}

/// The books' rows, numbers aligned to the right.
fn table(books: &Books) -> Vec<String> {
    let has_days = books.rows.iter().any(|row| row.day.is_some());
    let cells = |day: &str, who: &str, kind: &str, figures: &Figures| {
        let mut cells: Vec<String> = if has_days { vec![day.to_owned()] } else { Vec::new() };
        cells.extend([who, kind].map(str::to_owned));
        let numbers = [
            figures.conversions,
            figures.suppressed_all(),
            figures.ended_as("delivered"),
            figures.waiting,
            figures.held,
            figures.ended_as("dead"),
            figures.ended_as("expired"),
            figures.ended_as("cancelled"),
        ];
        cells.extend(numbers.map(|n| n.to_string()));
        let or_dash = |text: Option<String>| text.unwrap_or_else(|| "-".to_owned());
        cells.push(or_dash(figures.success_rate.as_ref().map(|rate| format!("{rate} %"))));
        cells.push(or_dash(figures.latency_ms.map(|took| human(took.p50))));
        cells.push(or_dash(figures.latency_ms.map(|took| human(took.p99))));
        cells.push(or_dash(figures.oldest_age.clone()));
        cells
    };
    let mut head = if has_days { vec!["day"] } else { Vec::new() };
    head.extend(["told", "kind", "conversions", "not told", "delivered", "waiting", "held", "given up"]);
    head.extend(["expired", "cancelled", "rate", "p50", "p99", "oldest"]);
    let mut rows = vec![head.iter().map(|cell| (*cell).to_owned()).collect::<Vec<_>>()];
    for row in &books.rows {
        rows.push(cells(row.day.as_deref().unwrap_or_default(), &receiver(row), &row.kind, &row.figures));
    }
    rows.push(cells("total", if has_days { "" } else { "total" }, "", &books.total));
    terminal::aligned(&rows, if has_days { 3 } else { 2 })
}

#[cfg(test)]
mod tests {
    use roundtrip_web::books::{Percentiles, Waiting};

    use super::*;

    #[test]
    fn a_difference_is_named() {
        let took = Some(Percentiles { p50: 900, p90: 40_000, p99: 2_500_000 });
        let figures = Figures {
            conversions: 3,
            considered: 3,
            planned: 2,
            difference_rules: 1,
            sends: [("http_200".to_owned(), 2), ("timeout".to_owned(), 1), ("port_refused".to_owned(), 4)]
                .into(),
            send_us: took,
            latency_ms: took,
            ..Figures::default()
        };
        let books = Books {
            from: "2026-05-05T00:00:00.000Z".into(),
            to: "2026-06-05T00:00:00.000Z".into(),
            balanced: false,
            sentence: "The books do not add up.".into(),
            rows: vec![Row {
                day: Some("2026-06-04".into()),
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
