//! Standard output: what a command was asked to print. Log lines and errors go to standard error.

use std::io::{self, IsTerminal as _, Write as _};

use anyhow::{Context as _, bail};

/// Prints a text and a line break.
///
/// # Errors
/// What the system said. A reader that went away (`| head`) is no error: it has what it wanted.
pub(crate) fn line(text: &str) -> io::Result<()> {
    let mut out = io::stdout().lock();
    match writeln!(out, "{text}").and_then(|()| out.flush()) {
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        other => other,
    }
}

/// Asks the person at the terminal whether to go on, after saying what that means.
///
/// # Errors
/// When nobody is there to ask: standard input is no terminal. `what` finishes the sentence "failed to …".
pub(crate) fn agree(what: &str, meaning: &str) -> anyhow::Result<bool> {
    if !io::stdin().is_terminal() {
        bail!("{what}: nobody is there to ask; give --yes to go on without a question");
    }
    let mut err = io::stderr().lock();
    write!(err, "{meaning}\nGo on? [y/N] ").and_then(|()| err.flush()).context("ask")?;
    let mut answer = String::new();
    io::stdin().read_line(&mut answer).context("read the answer")?;
    Ok(matches!(answer.trim(), "y" | "Y" | "yes"))
}

/// So many of something.
pub(crate) fn counted(n: u64, what: &str) -> String {
    if n == 1 { format!("1 {what}") } else { format!("{n} {what}s") }
}

/// The rows of a table, one line each: the first `left` columns aligned to the left, the others, which are numbers,
/// to the right.
pub(crate) fn aligned(rows: &[Vec<String>], left: usize) -> Vec<String> {
    let columns = rows.iter().map(Vec::len).max().unwrap_or(0);
    let width = |at: usize| rows.iter().filter_map(|row| row.get(at)).map(|cell| cell.chars().count()).max();
    let widths: Vec<usize> = (0..columns).map(|at| width(at).unwrap_or(0)).collect();
    let line = |row: &Vec<String>| {
        let cells = row.iter().zip(&widths).enumerate().map(|(at, (cell, width))| {
            if at < left { format!("{cell:<width$}") } else { format!("{cell:>width$}") }
        });
        cells.collect::<Vec<_>>().join("  ").trim_end().to_owned()
    };
    rows.iter().map(line).collect()
}
