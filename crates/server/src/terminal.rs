//! Standard output: what a command was asked to print. Log lines and errors go to standard error.

use std::io::{self, Write as _};

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
