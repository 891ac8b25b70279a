//! `roundtrip partner sheet` and `roundtrip partner guide`: what a partner needs to know, for one of them filled in
//! from the running server, and for all of them from the program itself.

mod guide;

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::Context as _;
use roundtrip_web::sheet::{Sheet, html, markdown};

use super::explain::encoded;
use super::with_client;
use crate::client::{self, Client};
use crate::terminal;

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, clap::Subcommand)]
enum Action {
    /// Writes what one partner needs: its links, its click parameter, the postbacks that it gets.
    ///
    /// Markdown on standard output. The partner's settings (tokens, hosts) are never in it, only their names.
    Sheet(SheetArgs),
    /// Writes what holds for every partner: parameters, macros, retries, answers. Markdown; asks no server.
    Guide,
}

#[derive(Debug, clap::Args)]
struct SheetArgs {
    /// The partner, by slug.
    partner: String,
    /// The system that the partner runs, by its name in the template library: links then end in its click macros.
    #[arg(long, value_name = "NAME")]
    system: Option<String>,
    /// Writes one HTML page that needs nothing else to this file, instead of Markdown.
    #[arg(long, value_name = "FILE", conflicts_with = "json")]
    html: Option<PathBuf>,
    /// The workspace's slug.
    #[arg(long, value_name = "SLUG", default_value = "default")]
    workspace: String,
    /// Prints JSON.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    server: client::Flags,
}

pub(crate) fn run(args: Args) -> anyhow::Result<ExitCode> {
    match args.action {
        Action::Guide => {
            terminal::line(guide::page().trim_end())?;
            Ok(ExitCode::SUCCESS)
        }
        Action::Sheet(args) => with_client(&args.server.clone(), async |client| sheet(&args, client).await),
    }
}

async fn sheet(args: &SheetArgs, client: &Client) -> anyhow::Result<ExitCode> {
    let mut path =
        format!("/api/v1/partners/{}/sheet?workspace={}", encoded(&args.partner), encoded(&args.workspace));
    if let Some(system) = &args.system {
        path.push_str(&format!("&system={}", encoded(system)));
    }
    let answer = client::accepted(client.get(&path).await?).context("read the sheet")?;
    if args.json {
        terminal::line(&answer.to_string())?;
        return Ok(ExitCode::SUCCESS);
    }
    let sheet: Sheet =
        serde_json::from_value(answer).context("read the sheet: is the server another release?")?;
    match &args.html {
        None => terminal::line(markdown::page(&sheet).trim_end())?,
        Some(file) => write(file, &html::page(&sheet).context("lay out the sheet")?)?,
    }
    Ok(ExitCode::SUCCESS)
}

fn write(file: &Path, page: &str) -> anyhow::Result<()> {
    std::fs::write(file, page).with_context(|| format!("write {}", file.display()))?;
    terminal::line(&format!("Wrote {}.", file.display()))?;
    Ok(())
}
