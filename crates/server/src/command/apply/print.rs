//! Differences, warnings and problems in words. Everything that came from elsewhere is printed without control
//! characters, so that a name in a file cannot speak to the terminal.

use std::io::IsTerminal as _;
use std::path::Path;

use serde_json::{Value, json};

use super::file::Source;

/// Something wrong with the file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Trouble {
    pub(super) code: String,
    pub(super) field: String,
    pub(super) message: String,
    pub(super) fix: String,
    pub(super) line: Option<usize>,
}

impl Trouble {
    /// The problems of a server's answer; `None` if it is not about the document's content.
    pub(super) fn of_answer(status: u16, answer: &Value) -> Option<Vec<Self>> {
        let problems = answer["problems"].as_array().filter(|list| !list.is_empty() && status == 422)?;
        let text = |problem: &Value, name: &str| problem[name].as_str().unwrap_or_default().to_owned();
        Some(
            problems
                .iter()
                .map(|problem| Self {
                    code: text(problem, "code"),
                    field: text(problem, "field"),
                    message: text(problem, "message"),
                    fix: text(problem, "fix"),
                    line: None,
                })
                .collect(),
        )
    }

    /// For people.
    pub(super) fn text(&self, file: &Path) -> String {
        let Self { code, field, message, fix, line } = self;
        let at = line.map_or_else(|| file.display().to_string(), |line| format!("{}:{line}", file.display()));
        let field = if field.is_empty() { String::new() } else { format!("{}: ", plain(field)) };
        format!("{at}: {field}{} ({})\n  to fix it: {}", plain(message), plain(code), plain(fix))
    }

    /// For programs.
    pub(super) fn json(&self) -> Value {
        let Self { code, field, message, fix, line } = self;
        json!({ "type": "problem", "code": code, "field": field, "message": message, "fix": fix, "line": line })
    }
}

/// Whether to colour.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Paint {
    Plain,
    Colour,
}

impl Paint {
    /// Colours on a terminal whose user did not ask for none (<https://no-color.org>).
    pub(super) fn of_stdout() -> Self {
        let wanted = std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
        if wanted && std::io::stdout().is_terminal() { Self::Colour } else { Self::Plain }
    }

    fn brush(self, colour: u8, text: &str) -> String {
        match self {
            Self::Plain => text.to_owned(),
            Self::Colour => format!("\x1b[{colour}m{text}\x1b[0m"),
        }
    }
}

/// A change and its fields.
pub(super) fn change(change: &Value, paint: Paint) -> String {
    let text = |name: &str| plain(change[name].as_str().unwrap_or_default());
    let (sign, colour) = match change["action"].as_str() {
        Some("create") => ("+", 32),
        Some("update") => ("~", 33),
        _ => ("-", 31),
    };
    let mut words = paint.brush(colour, &format!("{sign} {} {}", text("kind"), text("slug")));
    if change["action"] == "delete" {
        return words;
    }
    for field in change["fields"].as_array().into_iter().flatten() {
        let name = plain(field["name"].as_str().unwrap_or_default());
        let line = match (&field["from"], &field["to"]) {
            (Value::Null, to) => format!("{name} = {to}"),
            (from, Value::Null) => format!("{name}: {from} → (default)"),
            (from, to) if from == to => format!("{name}: changed, and secret"),
            (from, to) => format!("{name}: {from} → {to}"),
        };
        words.push_str("\n    ");
        words.push_str(&line);
    }
    words
}

/// A warning and its line.
pub(super) fn warning(warning: &Value, source: &Source, file: &Path, paint: Paint) -> String {
    let text = |name: &str| plain(warning[name].as_str().unwrap_or_default());
    let field = warning["field"].as_str().unwrap_or_default();
    let at = source.line(field).map_or_else(String::new, |line| format!(":{line}"));
    let head = paint.brush(if warning["severity"] == "info" { 36 } else { 33 }, &text("severity"));
    format!("{head}: {}{at}: {}: {} ({})", file.display(), plain(field), text("message"), text("code"))
}

/// A new key.
pub(super) fn key(key: &Value) -> String {
    let text = |name: &str| plain(key[name].as_str().unwrap_or_default());
    format!("{} {}: {}  (shown this once)", text("kind"), text("slug"), text("token"))
}

/// What came of it all.
pub(super) fn outcome(changes: &[Value], version: &Value, is_dry: bool) -> String {
    if changes.is_empty() {
        return format!("Nothing to change; the settings are at version {version}.");
    }
    let many = |action: &str| changes.iter().filter(|change| change["action"] == action).count();
    let (new, changed, gone) = (many("create"), many("update"), many("delete"));
    if is_dry {
        format!("Would create {new}, update {changed}, delete {gone}. Nothing was changed (--dry-run).")
    } else {
        format!("Created {new}, updated {changed}, deleted {gone}; the settings are at version {version}.")
    }
}

/// How many changes take something away.
pub(super) fn deletions(changes: &[Value]) -> usize {
    changes.iter().filter(|change| change["action"] == "delete").count()
}

/// A number of things.
pub(super) fn count(number: usize, one: &str) -> String {
    if number == 1 { format!("1 {one}") } else { format!("{number} {one}s") }
}

/// A text without control characters.
fn plain(text: &str) -> String {
    text.chars()
        .flat_map(|c| if c.is_control() { c.escape_default().collect::<Vec<_>>() } else { vec![c] })
        .collect()
}
