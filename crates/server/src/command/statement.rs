//! `roundtrip statement`: what arrived at a partner on a day, signed; and whether a statement that somebody holds is
//! still what the ledger says.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context as _, bail};
use roundtrip_web::statement::{PublicKey, Statement};
use serde_json::json;

use super::explain::encoded;
use crate::client::{self, Client};
use crate::terminal;

/// The largest statement that is read, in bytes.
const BYTES_MAX: u64 = 256 * 1024 * 1024;

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The partner's slug.
    #[arg(value_name = "PARTNER")]
    partner: String,
    /// The day, UTC, such as 2026-06-04.
    #[arg(value_name = "DAY")]
    day: String,
    /// Checks this statement: its signature, its sums, and whether the ledger still says the same.
    #[arg(long, value_name = "FILE")]
    verify: Option<PathBuf>,
    /// The workspace's slug.
    #[arg(long, value_name = "SLUG", default_value = "default")]
    workspace: String,
    /// Prints JSON: the statement itself, which is what partners are given.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    pub(crate) server: client::Flags,
}

/// Runs the command. Exit code 1 when a statement that is checked is not sound.
///
/// # Errors
/// When the server cannot be asked or refuses, or the file cannot be read.
pub(crate) async fn run(args: Args, client: &Client) -> anyhow::Result<ExitCode> {
    let ours = whole(client, &args).await?;
    let Some(path) = &args.verify else {
        terminal::line(&if args.json { json!(ours).to_string() } else { text(&ours, &args.partner) })?;
        return Ok(ExitCode::SUCCESS);
    };
    let key = client::accepted(client.get("/api/v1/statement/key").await?).context("read the public key")?;
    let key: PublicKey =
        serde_json::from_value(key).context("read the public key: is the server another release?")?;
    let theirs = open(path)?;
    let mut faults = theirs.faults(&key.key);
    let of = |statement: &Statement| {
        (statement.workspace.clone(), statement.partner.clone(), statement.day.clone())
    };
    if of(&theirs) != of(&ours) {
        let not = format!("and not of {} ({}) on {}", args.partner, ours.partner, ours.day);
        faults.push(format!("it is of {} on {}, {not}", theirs.partner, theirs.day));
    } else if (&theirs.total, theirs.total_entries) != (&ours.total, ours.total_entries) {
        let when = if theirs.is_final { "" } else { "; it was made before the day was over" };
        faults.push(format!(
            "the ledger has {} entries by now, and it has {}{when}",
            ours.total_entries, theirs.total_entries
        ));
    }
    let is_sound = faults.is_empty();
    terminal::line(&if args.json {
        json!({ "sound": is_sound, "faults": faults }).to_string()
    } else if is_sound {
        format!(
            "It is sound: {} entries, signed by this installation, and the ledger says the same.",
            ours.total_entries
        )
    } else {
        format!("It is not sound: {}.", faults.join("; "))
    })?;
    Ok(if is_sound { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// The statement with all its entries.
async fn whole(client: &Client, args: &Args) -> anyhow::Result<Statement> {
    let path = format!(
        "/api/v1/statement/{}/{}?workspace={}",
        encoded(&args.partner),
        encoded(&args.day),
        encoded(&args.workspace)
    );
    let mut after = String::new();
    let mut whole: Option<Statement> = None;
    loop {
        let answer = client::accepted(client.get(&format!("{path}{after}")).await?).context("make it")?;
        let page: Statement =
            serde_json::from_value(answer).context("read it: is the server another release?")?;
        let next = page.next.clone();
        let statement = match whole.take() {
            None => Statement { next: None, ..page },
            Some(mut statement) if statement.total == page.total => {
                statement.entries.extend(page.entries);
                statement
            }
            Some(_) => bail!("make it: more arrived meanwhile; the day is not over, ask again"),
        };
        let Some(next) = next else { return Ok(statement) };
        after = format!("&after={}", encoded(&next));
        whole = Some(statement);
    }
}

fn open(path: &Path) -> anyhow::Result<Statement> {
    use std::io::Read as _;
    let mut text = String::new();
    let read = std::fs::File::open(path).and_then(|file| file.take(BYTES_MAX).read_to_string(&mut text));
    read.with_context(|| format!("read {}", path.display()))?;
    serde_json::from_str(&text).with_context(|| format!("read {}: it is no statement", path.display()))
}

/// A statement for a person. `partner`: the name by which it was asked for; the statement itself has the id alone, which
/// is what is signed and never changes.
fn text(statement: &Statement, partner: &str) -> String {
    let counts: Vec<String> = statement.counts.iter().map(|(kind, n)| format!("{n} {kind}")).collect();
    let counts = if counts.is_empty() { "nothing".to_owned() } else { counts.join(", ") };
    let open = if statement.is_final { "" } else { " The day is not over: this can still grow." };
    let id = match partner == statement.partner {
        true => String::new(),
        false => format!(" ({})", statement.partner),
    };
    let workspace = match statement.workspace.as_str() {
        "default" => String::new(),
        other => format!(" in {other}"),
    };
    format!(
        "{partner}{id}{workspace} on {} (UTC): {counts} arrived.{open}\nTotal {}\nSigned {}\nKey {}\nGive the partner the output of --json; docs/books.md says how it is checked.",
        statement.day, statement.total, statement.signature, statement.key
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_statement_is_headed_by_the_partners_name() {
        let statement: Statement = serde_json::from_value(json!({
            "workspace": "default", "partner": "prt_1", "day": "2026-06-04", "final": true, "counts": {"install": 2},
            "total_entries": 2, "total": "aa", "signed": "bb", "signature": "cc", "key": "dd", "entries": [],
        }))
        .expect("a statement");
        let head = |partner: &str| text(&statement, partner).lines().next().unwrap_or_default().to_owned();
        assert_eq!(head("acme"), "acme (prt_1) on 2026-06-04 (UTC): 2 install arrived.");
        assert_eq!(head("prt_1"), "prt_1 on 2026-06-04 (UTC): 2 install arrived.");
    }
}
