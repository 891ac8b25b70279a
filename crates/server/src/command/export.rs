//! `roundtrip export`: the ledger's facts, and clicks, as files for a warehouse or a spreadsheet.
//!
//! | file | who |
//! | --- | --- |
//! | `span` | cuts a span of time into whole days or hours |
//! | `place` | where files go: standard output, one file, a folder, a bucket |
//! | `count` | rows and bytes as they pass |
//! | `refused` | why there is none, with a code |
//!
//! The server reads and writes the format (`GET /api/v1/export/{what}`); this end keeps what comes under a name that it
//! does not yet have, and names it once it is whole and on the disk. A folder or bucket gets a file for each whole day or
//! hour; which of them are there says how far the export came, so the same command goes on where the last one ended,
//! however that ended. A file that is being written is never named.

mod count;
mod place;
mod refused;
mod span;

use std::io::{self, IsTerminal as _, Write as _};
use std::path::Path;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use roundtrip_domain::time::Timestamp;
use roundtrip_store::export::{Format, What};
use roundtrip_web::export::{Exports, moment};
use serde_json::json;

use self::count::Counted;
use self::place::{Head, Place, Spool};
use self::refused::{Code, Refused};
use self::span::{Split, parts};
use super::backup::telling::size;
use super::explain::encoded;
use crate::client::{self, Client};
use crate::terminal::{self, counted};

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// What: installs, events, conversions, decisions, deliveries or clicks.
    #[arg(value_name = "WHAT", value_parser = what)]
    what: What,
    #[command(flatten)]
    pub(crate) order: Order,
}

/// Which rows, and where they go, whatever they are.
#[derive(Debug, clap::Args)]
pub(crate) struct Order {
    /// Where to: a file; a folder (that is there, or ends with a slash) or bucket such as s3://NAME/FOLDER, which get a
    /// file for each whole day; or - for standard output.
    #[arg(value_name = "TO")]
    to_place: String,
    /// parquet, csv or ndjson. Absent: as the file's name ends, else parquet; on standard output ndjson.
    #[arg(long, value_name = "FORMAT", value_parser = format)]
    format: Option<Format>,
    /// Rows from then on: a day (UTC) such as 2026-06-04, or a moment of RFC 3339. Absent: from the first one.
    #[arg(long, value_name = "WHEN")]
    from: Option<String>,
    /// Rows before then. Absent: until a minute ago, or the oldest event that is undecided, behind which rows still come;
    /// in a folder until the last day that is over.
    #[arg(long, value_name = "WHEN")]
    to: Option<String>,
    /// Of this app only: its slug or id.
    #[arg(long, value_name = "APP")]
    app: Option<String>,
    /// How a folder is cut: day or hour.
    #[arg(long, value_name = "SPAN", default_value = "day", value_parser = Split::parse)]
    split: Split,
    /// Fills the columns that could tell who somebody is: device and customer ids, addresses, properties, queries.
    #[arg(long)]
    full: bool,
    /// Writes files that are there already once more: what became of conversions and deliveries changes.
    #[arg(long)]
    replace: bool,
    /// The workspace's slug.
    #[arg(long, value_name = "SLUG", default_value = "default")]
    workspace: String,
    /// Prints JSON lines: progress on standard error, the end on standard output.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    pub(crate) server: client::Flags,
}

impl Order {
    /// Who reads what goes wrong.
    pub(super) fn errors(&self) -> Errors {
        Errors { json: self.json, aside: Place::is_standard(&self.to_place) }
    }
}

fn what(text: &str) -> Result<What, String> {
    What::parse(text)
        .ok_or_else(|| "it is installs, events, conversions, decisions, deliveries or clicks".to_owned())
}

fn format(text: &str) -> Result<Format, String> {
    Format::parse(text).ok_or_else(|| "it is parquet, csv or ndjson".to_owned())
}

/// A file that is being written, or is to be.
struct Part {
    from: Option<Timestamp>,
    to: Option<Timestamp>,
    /// Its name in a folder.
    name: String,
}

/// What was done.
#[derive(Default)]
struct Done {
    rows: u64,
    bytes: u64,
    files: u64,
    /// Files that were there already.
    there: u64,
    /// The end of the last span, where there was one.
    to: Option<Timestamp>,
    /// When the first span with rows is over, where none is yet.
    next: Option<Timestamp>,
}

/// How often progress is said inside of a file.
const SAY_EVERY: Duration = Duration::from_secs(1);

/// Runs the command.
///
/// # Errors
/// When the server cannot be asked or refuses, or a file cannot be written.
pub(crate) async fn run(args: Args, client: &Client) -> anyhow::Result<ExitCode> {
    export(args.what, args.order, client).await
}

/// Exports one kind of rows.
///
/// # Errors
/// As [`run`].
pub(crate) async fn export(what: What, args: Order, client: &Client) -> anyhow::Result<ExitCode> {
    let made = make(what, &args, client).await;
    last(&made.with_context(|| format!("export {}", what.name()))?, Place::is_standard(&args.to_place))?;
    Ok(ExitCode::SUCCESS)
}

/// Which errors are said as JSON too, and where.
#[derive(Debug, Clone, Copy)]
pub(super) struct Errors {
    /// Whether programs read them.
    pub(super) json: bool,
    /// Whether standard output is taken by rows.
    pub(super) aside: bool,
}

impl Errors {
    /// Says the error, if it is one and programs read it. People are told by the one place that tells them, unless that
    /// would put words behind the JSON lines on standard error.
    ///
    /// # Errors
    /// The one that was there.
    pub(super) fn tell(self, made: anyhow::Result<ExitCode>) -> anyhow::Result<ExitCode> {
        if let (true, Err(error)) = (self.json, &made) {
            last(&refused::document(error).to_string(), self.aside)?;
            if self.aside {
                return Ok(ExitCode::FAILURE);
            }
        }
        made
    }
}

/// The last line; beside standard output where rows are on that.
fn last(line: &str, is_aside: bool) -> io::Result<()> {
    match is_aside {
        true => writeln!(io::stderr().lock(), "{line}"),
        false => terminal::line(line),
    }
}

/// Makes it; the last line.
async fn make(what: What, args: &Order, client: &Client) -> anyhow::Result<String> {
    let place = Place::of(&args.to_place)?;
    let named = match args.format {
        None => place.format_named()?,
        given => given,
    };
    let format = named.unwrap_or(match place {
        Place::Standard => Format::Ndjson,
        _ => Format::Parquet,
    });
    let is_open = args.to.is_none() && !place.is_folder();
    let export = Export { what, format, place, client, said: None, args };
    let done = export.run().await?;
    if args.json {
        let line = json!({ "export": {
            "what": what.name(), "format": format.name(), "place": args.to_place, "rows": done.rows,
            "bytes": done.bytes, "files": done.files, "files_there": done.there,
            "to": done.to.map(|to| to.to_string()),
        } });
        return Ok(line.to_string());
    }
    let there = match done.there {
        0 => String::new(),
        1 => "; 1 was there already".to_owned(),
        n => format!("; {n} were there already"),
    };
    let until = match done.to {
        None => match done.next {
            None => "; there is no row yet".to_owned(),
            Some(at) => format!(
                "; no {} is over yet that could have rows: the first ends at {at}{}",
                args.split.name(),
                if args.split == Split::Day { " (--split hour makes a file for each hour)" } else { "" }
            ),
        },
        Some(to) if is_open => {
            format!("; until {to}: rows can still come to what is newer, and --to takes those that are there")
        }
        Some(to) => format!("; until {to}"),
    };
    Ok(format!(
        "{} in {}, {}{there}{until}.",
        so_many(done.rows, what),
        counted(done.files, "file"),
        size(done.bytes)
    ))
}

/// So many rows, by their name.
fn so_many(n: u64, what: What) -> String {
    let name = what.name();
    match (n, name.strip_suffix("ies"), name.strip_suffix('s')) {
        (1, Some(stem), _) => format!("1 {stem}y"),
        (1, None, Some(one)) => format!("1 {one}"),
        _ => format!("{n} {name}"),
    }
}

struct Export<'a> {
    what: What,
    args: &'a Order,
    format: Format,
    place: Place,
    client: &'a Client,
    said: Option<Instant>,
}

impl Export<'_> {
    async fn run(mut self) -> anyhow::Result<Done> {
        let mut done = Done::default();
        let parts = self.parts(&mut done).await?;
        self.place.begin(&self.head(), self.args.replace, parts.is_empty()).await?;
        for part in parts {
            done.to = part.to;
            if !self.args.replace && self.place.has(&part.name).await? {
                done.there += 1;
                continue;
            }
            self.part(&part, &mut done).await.with_context(|| match part.name.is_empty() {
                true => format!("write {}", self.args.to_place),
                false => format!("write {} in {}", part.name, self.args.to_place),
            })?;
        }
        if !self.args.json && io::stderr().is_terminal() {
            let _ = write!(io::stderr().lock(), "\r\x1b[K");
        }
        Ok(done)
    }

    /// What a folder holds; a folder of something else is not added to.
    fn head(&self) -> Head {
        Head {
            export: self.what.name().to_owned(),
            format: self.format.name().to_owned(),
            workspace: self.args.workspace.clone(),
            app: self.args.app.clone(),
            split: self.args.split.name().to_owned(),
            full: self.args.full,
        }
    }

    /// The files to be, oldest first. Where there are none, `done` learns when the first one can be.
    async fn parts(&self, done: &mut Done) -> anyhow::Result<Vec<Part>> {
        let refused = |name: &str, why: String, advice: &str| {
            anyhow::Error::new(Refused::new(Code::Span, format!("--{name}: {why}"), advice))
        };
        let end = |name: &str, text: &Option<String>| -> anyhow::Result<Option<Timestamp>> {
            let read = text.as_deref().map(|text| moment(name, text)).transpose();
            read.map_err(|problem| {
                refused(name, problem.message, "give 2026-06-04 or 2026-06-04T09:00:00Z, in UTC")
            })
        };
        let (from, to) = (end("from", &self.args.from)?, end("to", &self.args.to)?);
        if from.zip(to).is_some_and(|(from, to)| to < from) {
            let why = "it lies before --from, so nothing is meant".to_owned();
            return Err(refused("to", why, "give an end behind the beginning"));
        }
        let known = self.known().await?;
        let settled = Timestamp::parse(&known.settled).context("read until when all is there")?;
        if !self.place.is_folder() {
            // Said here and not left to the server, so that the last line can name it.
            let to = to.unwrap_or_else(|| from.map_or(settled, |from| settled.max(from)));
            return Ok(vec![Part { from, to: Some(to), name: String::new() }]);
        }
        let split = self.args.split;
        for (name, at) in [("from", from), ("to", to)] {
            if let Some(at) = at.filter(|at| *at != split.floor(*at)) {
                let why = format!(
                    "in a folder each file holds a whole {}, and {at} does not begin one",
                    split.name()
                );
                let advice = match split {
                    Split::Day => "take the beginning of one, --split hour, or one file",
                    Split::Hour => "take the beginning of one, or one file",
                };
                return Err(refused(name, why, advice));
            }
        }
        let over = split.floor(settled);
        if to.is_some_and(|to| to > over) {
            let why = format!(
                "in a folder each file holds a whole {}, and the last one that is over ends at {over}, by which every event \
                 is decided",
                split.name()
            );
            return Err(refused("to", why, "take that, leave --to away, or write one file"));
        }
        let first = known.first.as_deref().and_then(Timestamp::parse);
        let Some(first) = first else { return Ok(Vec::new()) };
        // Before the first row there is nothing, whatever was asked for.
        let from = from.unwrap_or(first).max(split.floor(first));
        let parts: Vec<Part> = parts(split, from, to.unwrap_or(over))
            .map(|(from, to)| Part {
                from: Some(from),
                to: Some(to),
                name: split.file(from, self.what, self.format),
            })
            .collect();
        if parts.is_empty() && to.is_none() {
            done.next = Some(split.end(from));
        }
        Ok(parts)
    }

    /// What the server says of this export.
    async fn known(&self) -> anyhow::Result<roundtrip_web::export::Export> {
        let path = format!("/api/v1/export?workspace={}", encoded(&self.args.workspace));
        let answer = client::accepted(self.client.get(&path).await?).context("ask what there is")?;
        let exports: Exports =
            serde_json::from_value(answer).context("ask what there is: is the server another release?")?;
        let known = exports.items.into_iter().find(|export| export.name == self.what.name());
        known.context("ask what there is: is the server another release?")
    }

    /// Fetches a file, and gives it its name once it is whole.
    async fn part(&mut self, part: &Part, done: &mut Done) -> anyhow::Result<()> {
        let mut path = format!(
            "/api/v1/export/{}?workspace={}&format={}",
            self.what.name(),
            encoded(&self.args.workspace),
            self.format.name()
        );
        let ends = [("from", part.from), ("to", part.to)];
        for (name, at) in ends.iter().filter_map(|(name, at)| at.map(|at| (name, at))) {
            path.push_str(&format!("&{name}={}", encoded(&at.to_string())));
        }
        if let Some(app) = &self.args.app {
            path.push_str(&format!("&app={}", encoded(app)));
        }
        if self.args.full {
            path.push_str("&full=true");
        }
        let mut spool = self.place.spool(self.args.full)?;
        let mut counted = Counted::new(self.format);
        let rows = match self.fetch(&path, part, done, &mut spool, &mut counted).await {
            Ok(rows) => rows,
            Err(error) => {
                spool.discard();
                return Err(error);
            }
        };
        // A whole day without a row has no file; asked again it has none again.
        if rows > 0 || !self.place.is_folder() {
            self.place.keep(spool, &part.name).await?;
            done.files += 1;
            done.bytes += counted.bytes();
        } else {
            spool.discard();
        }
        done.rows += rows;
        self.say(part, done, &Counted::new(self.format), true);
        Ok(())
    }

    /// Takes what the server sends; the rows of it.
    async fn fetch(
        &mut self,
        path: &str,
        part: &Part,
        done: &Done,
        spool: &mut Spool,
        counted: &mut Counted,
    ) -> anyhow::Result<u64> {
        let client = self.client;
        let answered = client
            .read(path, |bytes| {
                counted.take(&bytes);
                spool
                    .take(&bytes)
                    .map_err(|error| Refused::io("write", Path::new(&self.args.to_place), &error))?;
                self.say(part, done, counted, false);
                Ok(())
            })
            .await?;
        client::accepted(answered)?;
        counted.rows(spool.file()).context("read what came")
    }

    /// Says how far it came, on standard error: to people on a terminal, or as JSON lines.
    fn say(&mut self, part: &Part, done: &Done, counted: &Counted, is_end: bool) {
        let is_due = self.said.is_none_or(|at| at.elapsed() >= SAY_EVERY);
        if !(is_due || is_end && self.args.json) {
            return;
        }
        self.said = Some(Instant::now());
        let (rows, bytes) = (done.rows + counted.lines(), done.bytes + counted.bytes());
        let mut out = io::stderr().lock();
        // A reader of progress that went away must not end the work.
        if self.args.json {
            let line = json!({ "progress": { "file": part.name, "files": done.files, "rows": rows, "bytes": bytes } });
            let _ = writeln!(out, "{line}");
        } else if io::stderr().is_terminal() {
            let rows = terminal::counted(rows, "row");
            let _ = write!(out, "\r\x1b[K{} {}: {rows}, {}", self.what.name(), part.name, size(bytes));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_are_called_by_their_number() {
        let said = |n, name| so_many(n, What::parse(name).unwrap());
        assert_eq!([said(1, "clicks"), said(1, "deliveries")], ["1 click", "1 delivery"]);
        assert_eq!([said(0, "events"), said(2, "deliveries")], ["0 events", "2 deliveries"]);
    }
}
