//! `roundtrip clicks`: the files of the click log, and the clicks of a person taken out of them.
//!
//! The server does the work, for some seconds at each call; this asks again until all is done, so that a long piece of
//! work shows how far it is and goes on where it ended.

use std::collections::BTreeMap;
use std::io::{self, IsTerminal as _, Write as _};
use std::process::ExitCode;

use anyhow::Context as _;
use roundtrip_store::export::What;
use serde_json::{Value, json};

use super::backup::telling::size;
use super::explain::encoded;
use super::export::{self, Errors};
use crate::client::{self, Client};
use crate::terminal::{self, counted};

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, clap::Subcommand)]
enum Verb {
    /// Lists the files: those that clicks are written to, and the sealed ones.
    List(Common),
    /// Compares files with their checksums; sets damaged ones aside, and goes on with what can be read of them.
    ///
    /// Ends with 1 when a file is damaged, missing or cannot be read.
    Verify(Verify),
    /// Closes the file that clicks go into, and seals everything that is closed, whatever the hour.
    Seal(Common),
    /// The same as `roundtrip export clicks`: writes a workspace's clicks as Parquet, CSV or JSON lines.
    ///
    /// Unlike the others here it takes a key of the workspace too.
    Export(export::Order),
    /// Erases a person's clicks: the files that hold them are written anew without them.
    ///
    /// Asks before it begins. It can be interrupted; the same command does the rest. The audit log of the workspace says
    /// what is gone. Not reached: backups, files that were set aside as damaged, clicks that arrive later, and the ledger
    /// (events and what was decided and told of them). docs/clicks.md says more.
    Erase(Erase),
}

#[derive(Debug, clap::Args)]
struct Common {
    /// Prints JSON lines, an error as the last one.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    server: client::Flags,
}

#[derive(Debug, clap::Args)]
struct Verify {
    /// One file, as `list` prints it. Absent: all.
    #[arg(value_name = "FILE")]
    file: Option<String>,
    #[command(flatten)]
    common: Common,
}

#[derive(Debug, clap::Args)]
struct Erase {
    #[command(flatten)]
    whose: Whose,
    /// The workspace's slug; clicks of others stay.
    #[arg(long, value_name = "SLUG")]
    workspace: String,
    /// Only counts: nothing is erased.
    #[arg(long)]
    dry_run: bool,
    /// Erases without asking.
    #[arg(long)]
    yes: bool,
    /// Begins behind the file of that number, which an erasure that was interrupted named.
    #[arg(long, value_name = "NUMBER")]
    after: Option<u64>,
    #[command(flatten)]
    common: Common,
}

#[derive(Debug, clap::Args)]
#[group(required = true, multiple = false)]
struct Whose {
    /// Clicks that carry this device id, of any kind, under whatever parameter.
    #[arg(long, value_name = "ID")]
    device_id: Option<String>,
    /// The click of this id.
    #[arg(long, value_name = "ID")]
    click_id: Option<String>,
    /// Clicks that carry this click id of a partner's.
    #[arg(long, value_name = "TEXT")]
    partner_click_id: Option<String>,
    /// Clicks from this address, or that carry it.
    #[arg(long, value_name = "ADDRESS")]
    ip: Option<String>,
}

impl Whose {
    /// The body that names it.
    fn body(&self) -> Value {
        let named = [
            ("device_id", &self.device_id),
            ("click_id", &self.click_id),
            ("partner_click_id", &self.partner_click_id),
            ("ip", &self.ip),
        ];
        let given =
            named.into_iter().filter_map(|(name, value)| Some((name.to_owned(), json!(value.as_ref()?))));
        Value::Object(given.collect())
    }
}

impl Args {
    /// Which server is asked, and who reads what goes wrong.
    pub(super) fn server(&self) -> (client::Flags, Errors) {
        let common = match &self.verb {
            Verb::Export(order) => return (order.server.clone(), order.errors()),
            Verb::List(common) | Verb::Seal(common) => common,
            Verb::Verify(verify) => &verify.common,
            Verb::Erase(erase) => &erase.common,
        };
        (common.server.clone(), Errors { json: common.json, aside: false })
    }
}

/// Runs the command.
///
/// # Errors
/// When the server cannot be asked, or refuses.
pub(crate) async fn run(args: Args, client: &Client) -> anyhow::Result<ExitCode> {
    match args.verb {
        Verb::List(common) => list(&common, client).await,
        Verb::Verify(args) => verify(&args, client).await,
        Verb::Seal(common) => seal(&common, client).await,
        Verb::Export(order) => export::export(What::Clicks, order, client).await,
        Verb::Erase(args) => erase(&args, client).await,
    }
}

fn items(value: &Value) -> &[Value] {
    value.as_array().map(Vec::as_slice).unwrap_or_default()
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or("?")
}

fn n(value: &Value) -> u64 {
    value.as_u64().unwrap_or_default()
}

/// So many of something, of which something was done.
fn was(n: u64, what: &str) -> String {
    let was = if n == 1 { "was" } else { "were" };
    format!("{} {was}", counted(n, what))
}

/// Says on a terminal how far it came, on a line that is written again and again. An empty one ends it.
fn progress(words: &str) {
    let mut err = io::stderr().lock();
    if err.is_terminal() {
        // A terminal that went away must not end the work.
        let _ = write!(err, "\r\x1b[K{words}").and_then(|()| err.flush());
    }
}

async fn list(common: &Common, client: &Client) -> anyhow::Result<ExitCode> {
    let answer =
        client::accepted(client.get("/api/v1/click-files").await?).context("list the click files")?;
    if common.json {
        terminal::line(&answer.to_string())?;
    } else {
        for line in listed(&answer) {
            terminal::line(&line)?;
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// The list for a person.
fn listed(answer: &Value) -> Vec<String> {
    let files = items(&answer["files"]);
    let head = ["number", "state", "hour", "file", "clicks", "bytes"].map(str::to_owned).to_vec();
    let rows = files.iter().map(|file| {
        // An hour is known by its first 13 characters.
        let hour: String = text(&file["hour"]).chars().take(13).collect();
        vec![
            n(&file["number"]).to_string(),
            text(&file["state"]).to_owned(),
            hour,
            text(&file["file"]).to_owned(),
            n(&file["clicks"]).to_string(),
            size(n(&file["bytes"])),
        ]
    });
    let mut lines = terminal::aligned(&std::iter::once(head).chain(rows).collect::<Vec<_>>(), 4);
    lines.push(format!(
        "{}, {}, {}; side files {}.",
        counted(files.len() as u64, "file"),
        counted(n(&answer["clicks"]), "click"),
        size(n(&answer["bytes"])),
        size(n(&answer["side_bytes"]))
    ));
    lines.extend(in_buckets(answer));
    lines.extend(aside(answer));
    lines
}

/// Which of the files lie in buckets, for a person.
fn in_buckets(answer: &Value) -> Vec<String> {
    let mut buckets: BTreeMap<&str, (u64, u64)> = BTreeMap::new();
    for file in items(&answer["files"]) {
        if let Some(bucket) = file["bucket"].as_str() {
            let (files, bytes) = buckets.entry(bucket).or_default();
            (*files, *bytes) = (*files + 1, *bytes + n(&file["bytes"]));
        }
    }
    let line = |(bucket, (files, bytes)): (&str, (u64, u64))| {
        format!("In {bucket}: {}, {}.", counted(files, "file"), size(bytes))
    };
    buckets.into_iter().map(line).collect()
}

/// What was set aside, for a person.
fn aside(answer: &Value) -> Option<String> {
    let names: Vec<&str> = items(&answer["set_aside"]).iter().map(text).collect();
    (!names.is_empty()).then(|| format!("Set aside in clicks/damaged/: {}.", names.join(", ")))
}

async fn verify(args: &Verify, client: &Client) -> anyhow::Result<ExitCode> {
    let (mut after, mut looked, mut bad) = (None, 0, 0);
    loop {
        let mut body = json!({});
        if let Some(file) = &args.file {
            body["file"] = json!(file);
        }
        if let Some(after) = after {
            body["after"] = json!(after);
        }
        let asked = client.post("/api/v1/click-files/verify", &body).await;
        let answer = asked
            .and_then(client::accepted)
            .inspect_err(|_| progress(""))
            .context("verify the click files")?;
        for file in items(&answer["files"]) {
            let is_good = matches!(text(&file["result"]), "sound" | "replaced");
            looked += 1;
            bad += u64::from(!is_good);
            if args.common.json {
                terminal::line(&file.to_string())?;
            } else if !is_good {
                progress("");
                terminal::line(&found(file))?;
            }
        }
        progress(&format!("{looked} of {}", counted(n(&answer["of"]), "file")));
        after = answer["next"].as_u64();
        if after.is_none() {
            break;
        }
    }
    progress("");
    if !args.common.json {
        terminal::line(&compared(looked, bad))?;
    }
    Ok(if bad == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// The end of a comparison, for a person.
fn compared(looked: u64, bad: u64) -> String {
    match (looked, bad) {
        (0, _) => {
            "No file is closed yet; `roundtrip clicks seal` closes the one that clicks go into.".to_owned()
        }
        (_, 0) => format!("Closed files that were compared: {looked}. Each is what was written."),
        (_, bad) => {
            format!("Closed files that were compared: {looked}. Damaged, missing or not to be read: {bad}.")
        }
    }
}

/// What is wrong with a file, for a person.
fn found(file: &Value) -> String {
    let name = text(&file["file"]);
    match text(&file["result"]) {
        "damaged" => {
            let (kept, of) = (n(&file["clicks_kept"]), n(&file["clicks"]));
            let mut line = format!(
                "{} was damaged; {kept} of {} can be read.",
                text(&file["damaged"]),
                counted(of, "click")
            );
            line.extend(aside(file).map(|aside| format!(" {aside}")));
            line
        }
        "missing" => {
            format!("{name} is missing, with {}: a backup may have it.", counted(n(&file["clicks"]), "click"))
        }
        _ => format!("{name} cannot be read; the server's log says why."),
    }
}

async fn seal(common: &Common, client: &Client) -> anyhow::Result<ExitCode> {
    let (mut done, mut clicks) = (0, 0);
    let waiting = loop {
        let asked = client.post("/api/v1/click-files/seal", &json!({})).await?;
        let answer = client::accepted(asked).context("seal the click files")?;
        for step in items(&answer["done"]) {
            done += 1;
            clicks += if step["what"] == "sealed" { n(&step["clicks"]) } else { 0 };
            if common.json {
                terminal::line(&step.to_string())?;
            } else if let Some(file) = step["file"].as_str() {
                let from = n(&step["from"]);
                terminal::line(&format!("{}: {file}, of {}", text(&step["what"]), counted(from, "file")))?;
            }
        }
        if answer["more"] != true {
            break n(&answer["waiting"]);
        }
    };
    if !common.json {
        let rest = match waiting {
            0 => String::new(),
            1 => " One file with clicks waits: written since, or not closed in time.".to_owned(),
            n => format!(" {n} files with clicks wait: written since, or not closed in time."),
        };
        terminal::line(&match done {
            0 => format!("Nothing was to be done.{rest}"),
            _ => format!("{} sealed.{rest}", was(clicks, "click")),
        })?;
    }
    Ok(ExitCode::SUCCESS)
}

async fn erase(args: &Erase, client: &Client) -> anyhow::Result<ExitCode> {
    let question = format!(
        "The clicks of the workspace {} that match are erased for good; look-ups no longer find them. Backups keep theirs.",
        args.workspace
    );
    if !args.dry_run && !args.yes && !terminal::agree("erase clicks", &question)? {
        return Ok(ExitCode::FAILURE);
    }
    let path = format!("/api/v1/click-files/erase?workspace={}", encoded(&args.workspace));
    let (mut after, mut clicks, mut files, mut looked) = (args.after, 0, 0, 0);
    let last = loop {
        let mut body = args.whose.body();
        body["dry_run"] = json!(args.dry_run);
        if let Some(after) = after {
            body["after"] = json!(after);
        }
        let asked = client.post(&path, &body).await;
        let answer =
            asked.and_then(client::accepted).inspect_err(|_| progress("")).with_context(|| match after {
                None => "erase clicks".to_owned(),
                Some(after) => format!("erase clicks behind file {after} (--after {after} goes on there)"),
            })?;
        for file in items(&answer["files"]) {
            files += 1;
            if args.common.json {
                terminal::line(&file.to_string())?;
            }
        }
        clicks += n(&answer["erased"]);
        looked += n(&answer["looked_through"]);
        progress(&format!("{} looked through, {} found", counted(looked, "file"), counted(clicks, "click")));
        after = answer["next"].as_u64();
        if after.is_none() {
            break answer;
        }
    };
    progress("");
    if args.common.json {
        let end = json!({ "end": {
            "dry_run": args.dry_run, "erased": clicks, "files": files, "looked_through": looked,
            "fingerprint": last["fingerprint"], "set_aside": last["set_aside"],
        } });
        terminal::line(&end.to_string())?;
        return Ok(ExitCode::SUCCESS);
    }
    for line in ended(args.dry_run, clicks, files, looked, &last) {
        terminal::line(&line)?;
    }
    Ok(ExitCode::SUCCESS)
}

/// The end of an erasure, for a person.
fn ended(is_dry: bool, clicks: u64, files: u64, looked: u64, last: &Value) -> Vec<String> {
    if is_dry {
        return vec![format!(
            "{} of {} would be erased; {} looked through. Nothing was changed.",
            counted(clicks, "click"),
            counted(files, "file"),
            was(looked, "file")
        )];
    }
    let mut lines = vec![
        format!(
            "{} of {} {} gone; {} looked through.",
            counted(clicks, "click"),
            counted(files, "file"),
            if clicks == 1 { "is" } else { "are" },
            was(looked, "file")
        ),
        format!("The audit log says so, by the keyed hash {}.", text(&last["fingerprint"])),
        "Not reached: backups, and the ledger's events and what was told of them.".to_owned(),
    ];
    lines.extend(aside(last).map(|aside| format!("{aside} They may hold such clicks: delete them.")));
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_is_a_table_with_its_sums() {
        let answer = json!({
            "files": [
                {"number": 7, "state": "sealed", "hour": "2026-06-04T09:00:00.000Z", "file": "dt=2026-06-04/hr=09/1-7.parquet",
                 "clicks": 1200, "bytes": 65_536},
                {"number": 8, "state": "moved", "hour": "2026-06-04T08:00:00.000Z", "file": "dt=2026-06-04/hr=08/1-8.parquet",
                 "bucket": "s3://clicks/here", "clicks": 800, "bytes": 40_000},
                {"number": 12, "state": "active", "hour": "2026-06-04T10:00:00.000Z", "file": "1-12.open", "clicks": 3, "bytes": 0},
            ],
            "clicks": 2003, "bytes": 65_536, "side_bytes": 4_096, "set_aside": ["1-3.parquet"],
        });
        insta::assert_snapshot!(listed(&answer).join("\n"), @r"
        number  state   hour           file                             clicks    bytes
        7       sealed  2026-06-04T09  dt=2026-06-04/hr=09/1-7.parquet    1200  65.5 kB
        8       moved   2026-06-04T08  dt=2026-06-04/hr=08/1-8.parquet     800  40.0 kB
        12      active  2026-06-04T10  1-12.open                             3      0 B
        3 files, 2003 clicks, 65.5 kB; side files 4.1 kB.
        In s3://clicks/here: 1 file, 40.0 kB.
        Set aside in clicks/damaged/: 1-3.parquet.
        ");
    }

    #[test]
    fn what_is_wrong_with_a_file_is_said_in_words() {
        let damaged = json!({
            "file": "a.parquet", "result": "damaged", "clicks": 10, "damaged": "a.parquet", "clicks_kept": 8,
            "set_aside": ["1-3.parquet"],
        });
        let missing = json!({ "file": "a.parquet", "result": "missing", "clicks": 10 });
        let unreadable = json!({ "file": "a.parquet", "result": "unreadable", "clicks": 10 });
        insta::assert_snapshot!([damaged, missing, unreadable].map(|file| found(&file)).join("\n"), @r"
        a.parquet was damaged; 8 of 10 clicks can be read. Set aside in clicks/damaged/: 1-3.parquet.
        a.parquet is missing, with 10 clicks: a backup may have it.
        a.parquet cannot be read; the server's log says why.
        ");
    }

    #[test]
    fn an_erasure_says_what_it_did_not_reach() {
        let last = json!({ "fingerprint": "00ff", "set_aside": ["1-3.parquet"] });
        let both = [ended(true, 3, 2, 9, &last), ended(false, 3, 2, 9, &last)].concat();
        insta::assert_snapshot!(both.join("\n"), @r"
        3 clicks of 2 files would be erased; 9 files were looked through. Nothing was changed.
        3 clicks of 2 files are gone; 9 files were looked through.
        The audit log says so, by the keyed hash 00ff.
        Not reached: backups, and the ledger's events and what was told of them.
        Set aside in clicks/damaged/: 1-3.parquet. They may hold such clicks: delete them.
        ");
    }
}
