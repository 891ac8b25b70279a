//! `roundtrip report`: clicks → installs → events → postbacks, by day and partner, campaign, link, app or country.

use std::process::ExitCode;

use anyhow::Context as _;
use clap::builder::PossibleValuesParser;
use roundtrip_web::report::{By, Counts, Report};

use super::explain::encoded;
use crate::client::{self, Client};
use crate::terminal;

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The first day, such as 2026-06-04, or a moment of RFC 3339. Absent: seven days before the end.
    #[arg(long, value_name = "WHEN")]
    from: Option<String>,
    /// The last day, or the moment of the end. Absent: today.
    #[arg(long, value_name = "WHEN")]
    to: Option<String>,
    /// Whose days: an IANA name such as Europe/Berlin. Absent: UTC.
    #[arg(long, value_name = "ZONE")]
    tz: Option<String>,
    /// What rows are grouped by, beside the day.
    #[arg(long, value_name = "WHAT", default_value = "partner", value_parser = PossibleValuesParser::new(By::ALL.map(By::name)))]
    by: String,
    /// The workspace's slug.
    #[arg(long, value_name = "SLUG", default_value = "default")]
    workspace: String,
    /// Prints JSON.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    pub(crate) server: client::Flags,
}

/// Runs the command.
///
/// # Errors
/// When the server cannot be asked, or refuses.
pub(crate) async fn run(args: Args, client: &Client) -> anyhow::Result<ExitCode> {
    let mut path = format!("/api/v1/report?by={}&workspace={}", encoded(&args.by), encoded(&args.workspace));
    for (name, value) in [("from", &args.from), ("to", &args.to), ("tz", &args.tz)] {
        if let Some(value) = value {
            path.push_str(&format!("&{name}={}", encoded(value)));
        }
    }
    let answer = client::accepted(client.get(&path).await?).context("report")?;
    if args.json {
        terminal::line(&answer.to_string())?;
        return Ok(ExitCode::SUCCESS);
    }
    let report: Report =
        serde_json::from_value(answer).context("read the report: is the server another release?")?;
    terminal::line(&text(&report))?;
    Ok(ExitCode::SUCCESS)
}

fn cells(day: &str, group: &str, counts: &Counts) -> Vec<String> {
    let revenue = counts.money();
    let numbers =
        [counts.clicks, counts.installs, counts.signups, counts.purchases, counts.events, counts.pending];
    let mut cells = vec![day.to_owned(), group.to_owned()];
    cells.extend(numbers.map(|n| n.to_string()));
    cells.push(if revenue.is_empty() { "-".to_owned() } else { revenue.join(" + ") });
    match &counts.postbacks {
        Some(p) => {
            cells.extend([p.delivered, p.waiting, p.dead, p.expired, p.suppressed].map(|n| n.to_string()))
        }
        None => cells.extend(["-"; 5].map(str::to_owned)),
    }
    cells
}

/// The table, its numbers aligned to the right.
fn text(report: &Report) -> String {
    let head = [
        "day",
        &report.by,
        "clicks",
        "installs",
        "signups",
        "purchases",
        "events",
        "pending",
        "revenue",
        "told",
        "waiting",
        "given up",
        "expired",
        "not told",
    ];
    let mut rows = vec![head.map(str::to_owned).to_vec()];
    for row in &report.rows {
        let nobody = if report.by == By::Country.name() { "(unknown)" } else { "(nobody)" };
        let group = row.group.as_ref().map_or(nobody, |group| group.label());
        rows.push(cells(&row.day, group, &row.counts));
    }
    rows.push(cells("total", "", &report.total));
    let mut lines = terminal::aligned(&rows, 2);
    if report.rows.is_empty() {
        lines.insert(1, "(nothing happened)".to_owned());
    }
    if report.total.postbacks.is_none() {
        lines.push(format!("Postbacks are counted by partner and by app, not by {}.", report.by));
    }
    lines.push(format!("{} to {}, days of {}.", report.from, report.to, report.tz));
    lines.join("\n")
}

#[cfg(test)]
mod tests {
    use roundtrip_web::report::{PostbackCounts, Row, Sum};
    use roundtrip_web::story::Named;

    use super::*;

    #[test]
    fn the_table_is_aligned() {
        let sum = Sum { amount: "49.90".into(), currency: Some("EUR".into()) };
        let postbacks =
            Some(PostbackCounts { delivered: 12, dead: 1, suppressed: 3, ..PostbackCounts::default() });
        let counts =
            Counts { clicks: 12_345, installs: 7, revenue: vec![sum], postbacks, ..Counts::default() };
        let group = Some(Named { id: "prt_1".into(), slug: Some("acme".into()) });
        let none = Counts { postbacks: Some(PostbackCounts::default()), ..Counts::default() };
        let rows = vec![
            Row { day: "2026-06-04".into(), group, counts: counts.clone() },
            Row { day: "2026-06-04".into(), group: None, counts: none },
        ];
        let report = Report {
            from: "2026-06-04T00:00:00.000Z".into(),
            to: "2026-06-05T00:00:00.000Z".into(),
            tz: "UTC".into(),
            by: "partner".into(),
            rows,
            total: counts,
        };
        insta::assert_snapshot!("report_table", text(&report));
    }
}
