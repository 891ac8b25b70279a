//! Rows as CSV and as JSON lines.
//!
//! | | CSV | JSON lines |
//! | --- | --- | --- |
//! | head | a line of names | none: every line names all columns |
//! | no value | nothing between the commas | `null` |
//! | an empty text | `""` | `""` |
//! | time | RFC 3339 in UTC with milliseconds | the same, as a text |
//! | money | a decimal number | the same, as a text: a JSON number would be read as a float |
//!
//! CSV is RFC 4180's, lines ended by CR LF. A text that a spreadsheet would take for a formula gets an apostrophe in front
//! ([`guarded`]); numbers never do, negative ones included.

use roundtrip_domain::money;
use serde_json::Value;

use super::columns::{Cell, Column};

/// How a formula of a spreadsheet can begin. Where Chinese, Japanese or Korean is written the full-width forms are taken
/// for the others.
const FORMULA: [char; 8] = ['=', '+', '-', '@', '＝', '＋', '－', '＠'];
/// What can stand before it: programs leave out blanks, breaks, byte order marks and NULs at the beginning of a cell, each
/// its own set of them.
const SKIPPED: [char; 10] = [' ', '\t', '\r', '\n', '\u{b}', '\u{c}', '\0', '\u{a0}', '\u{3000}', '\u{feff}'];
/// With these at the beginning a cell is guarded whatever follows: a program that splits at them begins a cell behind.
const BREAKS: [char; 3] = ['\t', '\r', '\n'];

/// Whether a spreadsheet could take a text for a formula, or it looks as if it had been guarded against that.
fn is_formula(text: &str) -> bool {
    let text = text.trim_start_matches('\'');
    text.starts_with(BREAKS) || text.trim_start_matches(SKIPPED).starts_with(FORMULA)
}

/// A text as it stands in a CSV cell: behind an apostrophe if it begins as a formula does, or with apostrophes and then as
/// one. So each text has one form, and [`unguarded`] finds it again.
pub fn guarded(text: &str) -> String {
    if is_formula(text) { format!("'{text}") } else { text.to_owned() }
}

/// The text that [`guarded`] was given.
pub fn unguarded(cell: &str) -> &str {
    match cell.strip_prefix('\'') {
        Some(text) if is_formula(text) => text,
        _ => cell,
    }
}

/// Writes the line of names.
pub(super) fn csv_head(columns: &[Column], out: &mut Vec<u8>) {
    let names: Vec<&str> = columns.iter().map(|column| column.name).collect();
    out.extend_from_slice(names.join(",").as_bytes());
    out.extend_from_slice(b"\r\n");
}

/// Writes a row.
pub(super) fn csv_row(cells: &[Cell], out: &mut Vec<u8>) {
    for (at, cell) in cells.iter().enumerate() {
        if at > 0 {
            out.push(b',');
        }
        match cell {
            Cell::Text(text) => quoted(&guarded(text), out),
            cell => out.extend_from_slice(plain(cell).unwrap_or_default().as_bytes()),
        }
    }
    out.extend_from_slice(b"\r\n");
}

fn quoted(text: &str, out: &mut Vec<u8>) {
    if !text.is_empty() && !text.contains(['"', ',', '\r', '\n']) {
        out.extend_from_slice(text.as_bytes());
        return;
    }
    out.push(b'"');
    out.extend_from_slice(text.replace('"', "\"\"").as_bytes());
    out.push(b'"');
}

/// A value that is no text, as people write it; `None` when there is none.
fn plain(cell: &Cell) -> Option<String> {
    Some(match cell {
        Cell::Empty => return None,
        Cell::Text(text) => text.clone(),
        Cell::Time(at) => at.to_string(),
        Cell::Number(number) => number.to_string(),
        Cell::Money(micros) => money::decimal(*micros, 2),
        Cell::Flag(flag) => flag.to_string(),
    })
}

/// Writes a row.
pub(super) fn json_row(columns: &[Column], cells: &[Cell], out: &mut Vec<u8>) {
    let value = |cell: &Cell| match cell {
        Cell::Number(number) => Value::from(*number),
        Cell::Flag(flag) => Value::from(*flag),
        cell => plain(cell).map_or(Value::Null, Value::from),
    };
    for (at, (column, cell)) in columns.iter().zip(cells).enumerate() {
        out.extend_from_slice(if at == 0 { b"{\"" } else { b",\"" });
        // Names are words of our own and need no escapes.
        out.extend_from_slice(column.name.as_bytes());
        out.extend_from_slice(b"\":");
        out.extend_from_slice(value(cell).to_string().as_bytes());
    }
    out.extend_from_slice(b"}\n");
}

/// Counts the rows of a text as its bytes pass.
#[derive(Debug, Default)]
pub(super) struct LineCount {
    pub(super) lines: u64,
    is_quoted: bool,
}

impl LineCount {
    /// Line ends inside quotes do not count. No JSON line has an unescaped quote of its own that could confuse it: there
    /// only `quotes` is false.
    pub(super) fn take(&mut self, bytes: &[u8], quotes: bool) {
        for byte in bytes {
            match byte {
                b'"' if quotes => self.is_quoted = !self.is_quoted,
                b'\n' if !self.is_quoted => self.lines += 1,
                _ => {}
            }
        }
    }
}
