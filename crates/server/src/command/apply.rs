//! `roundtrip apply`: makes the settings what `roundtrip.toml` says, after showing the difference.
//!
//! Who does what: `file` reads the TOML and knows on which line everything stands; `secret` puts what `env:` and
//! `file:` name in its place; `print` writes differences and problems. The checking itself is the server's, so
//! that file, API and pages refuse the same things in the same words. What is applied is what was shown: the
//! change names the version that the difference was made from, and is refused if that is no longer the current one.

mod file;
mod print;
mod secret;

#[cfg(test)]
mod tests;

use std::io::{self, BufRead as _, IsTerminal as _};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::Context as _;
use serde_json::{Value, json};

use self::file::Source;
use self::print::{Paint, Trouble};
use crate::client::{self, Client};
use crate::terminal;

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The file.
    #[arg(value_name = "FILE", default_value = "roundtrip.toml")]
    file: PathBuf,
    /// Shows what would change and changes nothing.
    #[arg(long)]
    dry_run: bool,
    /// Deletes what is set up and not in the file.
    #[arg(long)]
    prune: bool,
    /// Deletes without asking; only a terminal is asked.
    #[arg(long)]
    yes: bool,
    /// Prints one JSON line per change, warning, problem and new key, and one at the end.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    pub(crate) server: client::Flags,
}

/// Runs the command. Exit code 1 when the file has problems, or when a person said no.
///
/// # Errors
/// When the file cannot be read, or the server cannot be asked or refuses for another reason than the file's
/// content.
pub(crate) async fn run(args: Args, client: &Client) -> anyhow::Result<ExitCode> {
    let text = read(&args.file)?;
    let mut source = Source::parse(&text);
    let folder = args.file.parent().unwrap_or(Path::new(""));
    let mut troubles = std::mem::take(&mut source.troubles);
    troubles.extend(secret::resolve(&mut source.document, &secret::Machine { folder }));

    // Problems of secrets do not keep the server from judging the rest: all come at once.
    let request = |dry_run: bool, base: Option<u64>| {
        let mut body = json!({ "document": source.document, "dry_run": dry_run, "prune": args.prune });
        if let Some(base) = base {
            body["base_version"] = base.into();
        }
        body
    };
    let planned = if source.is_whole {
        let (status, answer) = client.post("/api/v1/apply", &request(true, None)).await?;
        match Trouble::of_answer(status, &answer) {
            Some(more) => {
                for trouble in more {
                    if !troubles.iter().any(|known| known.field == trouble.field) {
                        troubles.push(trouble);
                    }
                }
                None
            }
            None => Some(client::accepted((status, answer))?),
        }
    } else {
        None
    };
    let Some(planned) = planned.filter(|_| troubles.is_empty()) else {
        return refuse(&args, &source, troubles);
    };

    let paint = Paint::of_stdout();
    let changes = planned["changes"].as_array().map_or(&[][..], Vec::as_slice);
    for warning in planned["warnings"].as_array().into_iter().flatten() {
        say(args.json, "warning", warning, || print::warning(warning, &source, &args.file, paint))?;
    }
    for change in changes {
        say(args.json, "change", change, || print::change(change, paint))?;
    }
    if changes.is_empty() || args.dry_run {
        let end = json!({ "version": planned["version"], "changes": changes.len(), "applied": false });
        say(args.json, "end", &end, || print::outcome(changes, &planned["version"], args.dry_run))?;
        return Ok(ExitCode::SUCCESS);
    }
    if args.prune
        && !args.yes
        && !args.json
        && print::deletions(changes) > 0
        && !agreed(print::deletions(changes))?
    {
        terminal::line("Nothing was changed.")?;
        return Ok(ExitCode::FAILURE);
    }

    let base = planned["version"].as_u64();
    let answer = client.post("/api/v1/apply", &request(false, base)).await?;
    let applied = client::accepted(answer).with_context(|| format!("apply {}", args.file.display()))?;
    for key in applied["keys"].as_array().into_iter().flatten() {
        say(args.json, "key", key, || print::key(key))?;
    }
    let end = json!({ "version": applied["version"], "changes": changes.len(), "applied": true });
    say(args.json, "end", &end, || print::outcome(changes, &applied["version"], false))?;
    Ok(ExitCode::SUCCESS)
}

/// Puts what `env:` and `file:` name in its place, relative to the current folder, for commands that make a document
/// themselves. Says what could not be read, in lines for people.
pub(super) fn resolve(document: &mut Value) -> Vec<String> {
    let troubles = secret::resolve(document, &secret::Machine { folder: Path::new("") });
    troubles.iter().map(|trouble| format!("{}: {}", trouble.field, trouble.message)).collect()
}

/// A planned change in words for the terminal, as `apply` prints it.
pub(super) fn change_in_words(change: &Value) -> String {
    print::change(change, Paint::of_stdout())
}

/// What came of a planned or applied list of changes, as `apply` prints it.
pub(super) fn outcome_in_words(changes: &[Value], version: &Value, is_dry: bool) -> String {
    print::outcome(changes, version, is_dry)
}

/// Reads the file, at most as much as the server would take.
fn read(path: &Path) -> anyhow::Result<String> {
    use std::io::Read as _;
    const BYTES_MAX: u64 = 1024 * 1024;
    let mut bytes = Vec::new();
    let file = std::fs::File::open(path).with_context(|| format!("open {}", path.display()))?;
    file.take(BYTES_MAX + 1).read_to_end(&mut bytes).with_context(|| format!("read {}", path.display()))?;
    anyhow::ensure!(
        bytes.len() as u64 <= BYTES_MAX,
        "read {}: it is larger than {BYTES_MAX} bytes",
        path.display()
    );
    String::from_utf8(bytes).with_context(|| format!("read {}", path.display()))
}

/// Says every problem with its line. For people they are one error, which goes where errors go.
fn refuse(args: &Args, source: &Source, mut troubles: Vec<Trouble>) -> anyhow::Result<ExitCode> {
    for trouble in &mut troubles {
        trouble.line = trouble.line.or_else(|| source.line(&trouble.field));
    }
    troubles.sort_by_key(|trouble| trouble.line);
    if args.json {
        for trouble in &troubles {
            terminal::line(&trouble.json().to_string())?;
        }
        return Ok(ExitCode::FAILURE);
    }
    let mut message = format!("apply {}: {}", args.file.display(), print::count(troubles.len(), "problem"));
    for trouble in &troubles {
        message.push_str("\n\n");
        message.push_str(&trouble.text(&args.file));
    }
    Err(anyhow::anyhow!(message))
}

/// Prints an item: a JSON line with its type, or words.
fn say(as_json: bool, kind: &str, item: &Value, words: impl FnOnce() -> String) -> io::Result<()> {
    if !as_json {
        return terminal::line(&words());
    }
    let mut line = serde_json::Map::new();
    line.insert("type".into(), kind.into());
    if let Value::Object(fields) = item {
        line.extend(fields.iter().map(|(name, value)| (name.clone(), value.clone())));
    }
    terminal::line(&Value::Object(line).to_string())
}

/// Asks a person before deleting. Where nobody can answer, `--prune` was the answer.
fn agreed(deletions: usize) -> anyhow::Result<bool> {
    if !io::stdin().is_terminal() || !io::stdout().is_terminal() {
        return Ok(true);
    }
    terminal::line(&format!("Delete {}? [y/N]", print::count(deletions, "resource")))?;
    let mut answer = String::new();
    io::stdin().lock().read_line(&mut answer).context("read the answer")?;
    Ok(matches!(answer.trim(), "y" | "Y" | "yes"))
}
