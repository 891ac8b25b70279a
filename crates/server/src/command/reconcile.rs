//! `roundtrip reconcile`: compares somebody's own list with what was told, names the cause of every difference, and
//! repairs what a replay can.
//!
//! The list is read and compared here, not on the server: the server answers pages of facts, so that neither side holds
//! more than the list itself.

mod amounts;
mod mapping;
mod table;

use std::collections::BTreeMap;
use std::io::{self, BufRead as _, IsTerminal as _};
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context as _, bail};
use jiff::civil::Date;
use jiff::tz::TimeZone;
use roundtrip_domain::time::{Span, Timestamp};
use roundtrip_store::settings::document::{DecimalSign, PartnerReport};
use roundtrip_web::reconcile::{
    AROUND_MS, Against, Facts, Finding, Join, KINDS, Origins, ROWS_MAX, Reconciliation, Row, TOLERANCE_MS,
    Terms, Totals, Verdict, kinds,
};
use serde_json::{Value, json};

use self::mapping::{List, Mapping};
use self::table::Table;
use super::explain::encoded;
use crate::client::{self, Client};
use crate::terminal;

/// Exit code when the two sides differ.
const EXIT_DIFFERENT: u8 = 2;
/// Lines of a request that asks why nothing is known of them; well below [`ROWS_MAX`], for each is looked up.
const ORIGINS_PAGE: usize = 500;
const _: () = assert!(ORIGINS_PAGE <= ROWS_MAX);
/// Examples of a cause in the table.
const EXAMPLES: usize = 3;

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The list: CSV (any delimiter), JSON or JSON lines, at most 64 MiB; - is standard input.
    #[arg(value_name = "FILE")]
    file: PathBuf,
    /// Whose list it is: the partner's slug.
    #[arg(long, value_name = "SLUG", required_unless_present = "revenue", conflicts_with = "revenue")]
    partner: Option<String>,
    /// The list is the owner's own orders, and is compared with purchases.
    #[arg(long)]
    revenue: bool,
    /// Compares conversions of these kinds alone: install, signup, purchase, event.
    #[arg(long, value_name = "KINDS", value_delimiter = ',', conflicts_with = "revenue")]
    kind: Vec<String>,
    /// What stands in which column: click_id=subid,amount=payout,time=conv_time,event=goal,order_id=…
    #[arg(long, value_name = "WHAT=COLUMN,…", value_delimiter = ',')]
    map: Vec<String>,
    /// Whose times they are, where they say no offset: an IANA name such as Europe/Berlin. Absent: the partner's, else UTC.
    #[arg(long, value_name = "ZONE")]
    tz: Option<String>,
    /// The currency of amounts, where no column says it.
    #[arg(long, value_name = "CODE")]
    currency: Option<String>,
    /// How times are written, such as %d.%m.%Y %H:%M.
    #[arg(long, value_name = "FORMAT")]
    date_format: Option<String>,
    /// The decimal sign of amounts. Absent: whichever most of them end with.
    #[arg(long, value_name = "SIGN", value_parser = ["point", "comma"])]
    decimal: Option<String>,
    /// Keeps the mapping with the partner.
    #[arg(long, conflicts_with = "revenue")]
    save_mapping: bool,
    /// The first day that is compared, in the list's time zone, or a moment. Absent: the list's first day.
    #[arg(long, value_name = "WHEN")]
    from: Option<String>,
    /// The last day, or the moment of the end. Absent: the list's last day.
    #[arg(long, value_name = "WHEN")]
    to: Option<String>,
    /// Whose days --from and --to are. Absent: the list's.
    #[arg(long, value_name = "ZONE")]
    days_of: Option<String>,
    /// By how much times may differ.
    #[arg(long, value_name = "SPAN", default_value = "15m")]
    tolerance: String,
    /// Tells once more what is missing there and a replay can mend.
    #[arg(long, conflicts_with = "revenue")]
    replay: bool,
    /// Replays without asking.
    #[arg(long)]
    yes: bool,
    /// Writes every finding to this file.
    #[arg(long, value_name = "FILE")]
    csv: Option<PathBuf>,
    /// The workspace's slug.
    #[arg(long, value_name = "SLUG", default_value = "default")]
    workspace: String,
    /// Prints JSON lines: the sums, then every finding.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    pub(crate) server: client::Flags,
}

/// Runs the command. Exit code 0 when nothing differs, 2 when something does.
///
/// # Errors
/// When the list cannot be read, or the server cannot be asked or refuses.
pub(crate) async fn run(args: Args, client: &Client) -> anyhow::Result<ExitCode> {
    let kinds = kinds(&args.kind).map_err(|word| {
        anyhow::anyhow!("use --kind {word}: it is no kind of conversion; the kinds are {}", KINDS.join(", "))
    })?;
    let table = Table::open(&args.file)?;
    let partner = match &args.partner {
        Some(slug) => Some(Settings::of(client, &args, slug).await?),
        None => None,
    };
    let mapping = Mapping::of(&table, said(&args)?, partner.as_ref().and_then(|p| p.report.clone()))?;
    let list = mapping.read(&table);
    let (from, to) = period(&args, &mapping, &list)?;
    let against = if args.revenue { Against::Orders } else { Against::Told };
    let tolerance_ms = match args.tolerance.as_str() {
        "15m" => TOLERANCE_MS,
        text => {
            Span::parse(text).with_context(|| format!("use --tolerance {text}: a span is 15m or 2h"))?.ms()
        }
    };
    if !args.json {
        for line in preface(&args, &mapping, &list, (from, to)) {
            terminal::line(&line)?;
        }
    }
    if let (Some(partner), true) = (&partner, args.save_mapping) {
        partner.save(client, &args, &mapping.report).await?;
    }
    let terms = Terms { against, from, to, listed: list.days, tolerance_ms };
    let mut result = compared(client, &args, list.rows.clone(), kinds, terms).await?;
    if against == Against::Told {
        ask_origins(client, &args, &list.rows, &mut result).await?;
    }
    if let Some(path) = &args.csv {
        write_csv(path, &result.findings)?;
    }
    if args.json {
        let mut head = json!(result);
        if let Some(fields) = head.as_object_mut() {
            fields.shift_remove("findings");
            fields.insert("from".into(), from.to_string().into());
            fields.insert("to".into(), to.to_string().into());
            fields.insert("mapping".into(), json!(mapping.report));
            fields.insert("unreadable_cells".into(), list.odd_count.into());
        }
        terminal::line(&head.to_string())?;
        for finding in &result.findings {
            terminal::line(&json!(finding).to_string())?;
        }
    } else {
        terminal::line(&text(&result, &list.rows))?;
    }
    if args.replay {
        replay(client, &args, &result.findings).await?;
    }
    Ok(if result.clean { ExitCode::SUCCESS } else { ExitCode::from(EXIT_DIFFERENT) })
}

/// A partner's settings, as the server has them.
struct Settings {
    path: String,
    settings: Value,
    report: Option<PartnerReport>,
}

impl Settings {
    async fn of(client: &Client, args: &Args, slug: &str) -> anyhow::Result<Self> {
        let path = format!("/api/v1/partners/{}?workspace={}", encoded(slug), encoded(&args.workspace));
        let answer =
            client::accepted(client.get(&path).await?).with_context(|| format!("read the partner {slug}"))?;
        let settings = answer["settings"].clone();
        let report = match &settings["report"] {
            Value::Null => None,
            report => Some(
                serde_json::from_value(report.clone())
                    .context("read the partner's mapping: is the server another release?")?,
            ),
        };
        Ok(Self { path, settings, report })
    }

    async fn save(&self, client: &Client, args: &Args, report: &PartnerReport) -> anyhow::Result<()> {
        let mut settings = self.settings.clone();
        if let Some(fields) = settings.as_object_mut() {
            fields.insert("report".into(), json!(report));
        }
        client::accepted(client.put(&self.path, &settings).await?).context("keep the mapping")?;
        if !args.json {
            terminal::line(
                "The mapping is kept with the partner, also when a file is applied that says nothing of it.",
            )?;
            if self.report.is_some() {
                terminal::line(
                    "Does a file say another `report` of the partner? Change it there too: what it says holds.",
                )?;
            }
        }
        Ok(())
    }
}

/// What of the mapping stands on the command line.
fn said(args: &Args) -> anyhow::Result<PartnerReport> {
    let mut columns = BTreeMap::new();
    for pair in &args.map {
        let Some((what, column)) = pair.split_once('=') else {
            bail!("use --map {pair}: it is WHAT=COLUMN, such as click_id=subid");
        };
        columns.insert(what.trim().to_owned(), column.trim().to_owned());
    }
    let decimal = args.decimal.as_deref().map(|sign| match sign {
        "comma" => DecimalSign::Comma,
        _ => DecimalSign::Point,
    });
    Ok(PartnerReport {
        columns,
        time_zone: args.tz.clone(),
        currency: args.currency.clone(),
        date_format: args.date_format.clone(),
        decimal,
    })
}

/// What is compared: the days that were asked for, else those of the list.
fn period(args: &Args, mapping: &Mapping, list: &List) -> anyhow::Result<(Timestamp, Timestamp)> {
    let zone = match &args.days_of {
        Some(name) => TimeZone::get(name).with_context(|| format!("use --days-of {name}"))?,
        None => mapping.zone().clone(),
    };
    let end = |name: &str, text: &str, days: i64| -> anyhow::Result<Timestamp> {
        if let Ok(date) = text.parse::<Date>()
            && text.len() == 10
        {
            let date = date.checked_add(jiff::Span::new().try_days(days)?)?;
            return Ok(Timestamp::from_ms(date.to_zoned(zone.clone())?.timestamp().as_millisecond()));
        }
        Timestamp::parse(text)
            .with_context(|| format!("use --{name} {text}: it is a day or a moment of RFC 3339"))
    };
    let unknown = "the list has no times that can be read: give --from and --to, or --map time=COLUMN";
    let from = match (&args.from, list.days) {
        (Some(text), _) => end("from", text, 0)?,
        (None, Some((from, _))) => from,
        (None, None) => bail!("find the period: {unknown}"),
    };
    let to = match (&args.to, list.days) {
        (Some(text), _) => end("to", text, 1)?,
        (None, Some((_, to))) => to,
        (None, None) => bail!("find the period: {unknown}"),
    };
    if from >= to {
        bail!("find the period: it ends at {to}, before it begins at {from}");
    }
    Ok((from, to))
}

fn preface(args: &Args, mapping: &Mapping, list: &List, (from, to): (Timestamp, Timestamp)) -> Vec<String> {
    let report = &mapping.report;
    let columns: Vec<String> =
        report.columns.iter().map(|(what, column)| format!("{what}={column}")).collect();
    let zone = report.time_zone.as_deref().unwrap_or("UTC");
    let mut lines = vec![
        format!(
            "{}: {} lines, compared with {} from {from} to {to}.",
            args.file.display(),
            list.rows.len(),
            args.partner.as_ref().map_or("purchases".to_owned(), |slug| format!("what {slug} was told")),
        ),
        format!("Columns: {}. Times without an offset are of {zone}.", columns.join(", ")),
    ];
    if !mapping.guessed.is_empty() {
        lines.push(format!(
            "Guessed by their names: {}. Say otherwise with --map.",
            mapping.guessed.join(", ")
        ));
    }
    if list.odd_count > 0 {
        lines.push(format!(
            "{} cells cannot be read and are not compared: {}.",
            list.odd_count,
            list.odd.join("; ")
        ));
    }
    lines
}

/// Reads all facts around the period, page by page, and joins them with the list.
async fn compared(
    client: &Client,
    args: &Args,
    rows: Vec<Row>,
    kinds: Vec<&'static str>,
    terms: Terms,
) -> anyhow::Result<Reconciliation> {
    let mut join = Join::new(rows, terms).of_kinds(kinds);
    let mut path = format!(
        "/api/v1/reconcile/facts?limit=1000&workspace={}&from={}&to={}",
        encoded(&args.workspace),
        encoded(&terms.from.plus_ms(-AROUND_MS).to_string()),
        encoded(&terms.to.plus_ms(AROUND_MS).to_string())
    );
    if let Some(partner) = &args.partner {
        path.push_str(&format!("&partner={}", encoded(partner)));
    }
    let mut after: Option<String> = None;
    loop {
        let page = match &after {
            None => path.clone(),
            Some(id) => format!("{path}&after={}", encoded(id)),
        };
        let answer = client::accepted(client.get(&page).await?).context("read what was told")?;
        let page: Facts =
            serde_json::from_value(answer).context("read what was told: is the server another release?")?;
        page.items.into_iter().for_each(|fact| join.offer(fact));
        after = page.next;
        if after.is_none() {
            return Ok(join.finish(usize::MAX));
        }
    }
}

/// Asks why nothing is known of lines, and writes the answers into the findings.
async fn ask_origins(
    client: &Client,
    args: &Args,
    rows: &[Row],
    result: &mut Reconciliation,
) -> anyhow::Result<()> {
    let path = format!("/api/v1/reconcile/origins?workspace={}", encoded(&args.workspace));
    let by_line: BTreeMap<u64, &Row> = rows.iter().map(|row| (row.line, row)).collect();
    let mut unknown: Vec<&mut Finding> = result.findings.iter_mut().filter(|f| f.is_unknown()).collect();
    for page in unknown.chunks_mut(ORIGINS_PAGE) {
        let rows: Vec<&Row> = page.iter().filter_map(|f| by_line.get(&f.line?).copied()).collect();
        let body = json!({ "partner": args.partner, "rows": rows });
        let answer = client::accepted(client.post(&path, &body).await?).context("ask for unknown lines")?;
        let origins: Origins = serde_json::from_value(answer)
            .context("ask for unknown lines: is the server another release?")?;
        for (finding, origin) in page.iter_mut().zip(origins.items) {
            finding.set(origin.cause, origin.detail);
        }
    }
    Ok(())
}

/// The sums, how many of each cause, and which amounts and times differ.
fn text(result: &Reconciliation, rows: &[Row]) -> String {
    let Totals { rows: listed, facts, matched, other_amount, other_time, duplicate, missing_here, .. } =
        result.totals;
    let Totals { outside, listed_not_told, missing_there, not_told, .. } = result.totals;
    let mut lines = vec![
        String::new(),
        format!(
            "In the list: {listed} = {matched} matched + {other_amount} other amount + {other_time} other time + {duplicate} duplicate + {missing_here} missing here + {outside} outside the period"
        ),
        format!(
            "Here:        {facts} = {matched} matched + {other_amount} other amount + {other_time} other time + {listed_not_told} listed though not told + {missing_there} missing there + {not_told} not told, and not listed"
        ),
    ];
    lines.extend(amounts::sums(result, rows));
    let mut causes: BTreeMap<(Verdict, _), (u64, String, Vec<String>)> = BTreeMap::new();
    for finding in &result.findings {
        let reason = match finding.verdict {
            Verdict::NotTold | Verdict::MissingHere => {
                finding.detail.clone().filter(|_| finding.event.is_some())
            }
            _ => None,
        };
        let entry = causes
            .entry((finding.verdict, (finding.cause, reason)))
            .or_insert_with(|| (0, finding.cause.sentence().to_owned(), Vec::new()));
        entry.0 += 1;
        if entry.2.len() < EXAMPLES {
            let line = finding.line.map(|line| format!("line {line}"));
            entry.2.extend(line.or_else(|| finding.event.clone()));
        }
    }
    if !causes.is_empty() {
        lines.push(String::new());
        let mut table =
            vec![["verdict", "cause", "in words", "such as", "how many"].map(str::to_owned).to_vec()];
        for ((verdict, (cause, reason)), (n, sentence, examples)) in causes {
            let sentence = match reason {
                Some(reason) => format!("{sentence} ({reason})"),
                None => sentence,
            };
            let words =
                [verdict.name().replace('_', " "), cause.name().to_owned(), sentence, examples.join(", ")];
            table.push(words.into_iter().chain([n.to_string()]).collect());
        }
        lines.extend(terminal::aligned(&table, 4));
    }
    lines.extend(amounts::differences(&result.findings));
    lines.push(String::new());
    if let Some(off_by) = &result.time_zone_off_by {
        lines.push(format!(
            "Most times are off by {off_by}: the list is in another time zone. Say which with --tz."
        ));
    }
    lines.push(if result.clean { "Nothing differs.".to_owned() } else { "The two sides differ.".to_owned() });
    lines.join("\n")
}

/// Tells once more what a replay can mend, after asking.
async fn replay(client: &Client, args: &Args, findings: &[Finding]) -> anyhow::Result<()> {
    let wanted: Vec<&str> = findings.iter().filter_map(|finding| finding.replay.as_deref()).collect();
    let say = |text: String| if args.json { Ok(()) } else { terminal::line(&text) };
    if wanted.is_empty() {
        say("There is nothing that a replay would mend.".to_owned())?;
        return Ok(());
    }
    if !args.yes {
        if !io::stdin().is_terminal() || args.json || args.file.as_os_str() == "-" {
            bail!("replay {} deliveries: nobody can be asked here; give --yes", wanted.len());
        }
        terminal::line(&format!("Tell {} of them once more? [y/N]", wanted.len()))?;
        let mut answer = String::new();
        io::stdin().lock().read_line(&mut answer).context("read the answer")?;
        if !matches!(answer.trim(), "y" | "Y" | "yes") {
            return Ok(say("Nothing was sent.".to_owned())?);
        }
    }
    let mut planned = 0_u64;
    for id in &wanted {
        let path =
            format!("/api/v1/deliveries/{}/replay?workspace={}", encoded(id), encoded(&args.workspace));
        let (status, answer) = client.post(&path, &Value::Null).await?;
        let is_planned = (200..300).contains(&status);
        planned += u64::from(is_planned);
        if args.json {
            terminal::line(&json!({ "replay_of": id, "planned": is_planned, "answer": answer }).to_string())?;
        } else if !is_planned {
            terminal::line(&format!("{id}: {}", client::refusal(status, &answer)))?;
        }
    }
    say(format!("{planned} of {} are told once more, each under its own event id.", wanted.len()))?;
    Ok(())
}

/// Every finding, one a line.
fn write_csv(path: &std::path::Path, findings: &[Finding]) -> anyhow::Result<()> {
    let write = || -> anyhow::Result<()> {
        let mut out = csv::Writer::from_path(path)?;
        out.write_record([
            "verdict", "cause", "detail", "line", "event", "kind", "click_id", "order_id", "here", "there",
            "replay",
        ])?;
        for finding in findings {
            let cell = |value: &Option<String>| plain_cell(value.as_deref().unwrap_or_default());
            out.write_record([
                finding.verdict.name().to_owned(),
                finding.cause.name().to_owned(),
                cell(&finding.detail),
                finding.line.map(|line| line.to_string()).unwrap_or_default(),
                cell(&finding.event),
                cell(&finding.kind),
                cell(&finding.click_id),
                cell(&finding.order_id),
                cell(&finding.here),
                cell(&finding.there),
                cell(&finding.replay),
            ])?;
        }
        out.flush()?;
        Ok(())
    };
    write().with_context(|| format!("write {}", path.display()))
}

/// A cell that no spreadsheet takes for a formula: what came from elsewhere may begin like one.
fn plain_cell(text: &str) -> String {
    match text.chars().next() {
        Some('=' | '+' | '-' | '@' | '\t' | '\r') => format!("'{text}"),
        _ => text.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use roundtrip_web::reconcile::Cause;

    use super::*;

    #[test]
    fn sums_and_causes_are_shown() {
        let finding = |verdict, cause, line, event: Option<&str>| {
            let mut finding = Finding {
                verdict,
                cause,
                detail: None,
                sentence: String::new(),
                line,
                event: event.map(str::to_owned),
                kind: None,
                click_id: Some("=1+1".into()),
                order_id: None,
                here: None,
                there: None,
                replay: None,
            };
            finding.set(cause, Some("not_first".into()).filter(|_| cause == Cause::NeverSent));
            finding
        };
        let findings = vec![
            finding(Verdict::Duplicate, Cause::ListedTwice, Some(7), Some("evt_1")),
            finding(Verdict::MissingHere, Cause::NeverOurs, Some(8), None),
            finding(Verdict::MissingHere, Cause::NeverOurs, Some(9), None),
            finding(Verdict::NotTold, Cause::NeverSent, None, Some("evt_2")),
        ];
        let totals = Totals {
            rows: 5,
            facts: 3,
            matched: 2,
            duplicate: 1,
            missing_here: 2,
            not_told: 1,
            ..Totals::default()
        };
        assert_eq!(totals.differences(), (0, 0));
        let result = Reconciliation {
            totals,
            clean: false,
            findings,
            findings_left_off: 0,
            time_zone_off_by: Some("+02:00".into()),
        };
        insta::assert_snapshot!("reconcile_text", text(&result, &[]));
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("out.csv");
        write_csv(&path, &result.findings).unwrap();
        insta::assert_snapshot!("reconcile_csv", std::fs::read_to_string(&path).unwrap());
    }
}
