//! `roundtrip explain`: the story of a conversion, event, delivery or click, told in a terminal.

use std::io::{self, IsTerminal as _};
use std::process::ExitCode;

use anyhow::Context as _;
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use roundtrip_web::story::Explained;
use roundtrip_web::story::text::{self, Paper};

use crate::client::{self, Client};
use crate::terminal;

/// Columns where nobody says how wide the terminal is.
const WIDTH_DEFAULT: usize = 100;
/// Longer lines are hard to read, however wide the window.
const WIDTH_MAX: usize = 120;

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// A conversion (cnv_…), event (evt_…), delivery (dlv_…) or click (a UUID).
    #[arg(value_name = "ID")]
    id: String,
    /// Shows personal data whole: device ids, addresses, queries as received.
    #[arg(long)]
    full: bool,
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
/// When the server cannot be asked, or knows no such id.
pub(crate) async fn run(args: Args, client: &Client) -> anyhow::Result<ExitCode> {
    let path = format!(
        "/api/v1/explain/{}?workspace={}&full={}",
        encoded(&args.id),
        encoded(&args.workspace),
        args.full
    );
    let answer = client::accepted(client.get(&path).await?).context("explain it")?;
    if args.json {
        terminal::line(&answer.to_string())?;
        return Ok(ExitCode::SUCCESS);
    }
    let explained: Explained =
        serde_json::from_value(answer).context("read the story: is the server another release?")?;
    terminal::line(text::explained(&explained, paper()).trim_end())?;
    Ok(ExitCode::SUCCESS)
}

/// As a part of a path or a query.
pub(super) fn encoded(text: &str) -> String {
    utf8_percent_encode(text.trim(), NON_ALPHANUMERIC).to_string()
}

/// How wide standard output is, and whether it shows colours: only a terminal does, and `NO_COLOR` says no.
fn paper() -> Paper {
    let out = io::stdout();
    let is_terminal = out.is_terminal();
    let asked = std::env::var("COLUMNS").ok().and_then(|text| text.parse().ok());
    let seen = || rustix::termios::tcgetwinsize(&out).ok().map(|size| usize::from(size.ws_col));
    let width = asked.or_else(seen).filter(|width| *width > 0).unwrap_or(WIDTH_DEFAULT);
    Paper { width: width.min(WIDTH_MAX), colour: is_terminal && std::env::var_os("NO_COLOR").is_none() }
}
