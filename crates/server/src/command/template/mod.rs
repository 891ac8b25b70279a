//! `roundtrip template`: what a template becomes, and what is odd about it. It calls the same pure code that saves and
//! sends templates, so it needs no server, and it connects to nobody, unless it is told to send (`send`). The template
//! library's commands live in `library` beside this folder.

mod file;
mod send;
mod test;

use std::process::ExitCode;

use roundtrip_domain::template::{Availability, VOCABULARY};

use super::library;
use crate::terminal;

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, clap::Subcommand)]
enum Action {
    /// Fills templates in with sample values and lists what is wrong with them.
    ///
    /// Macros are `{name}`, or whatever another system writes with --dialect. Each has a sample value; --value gives
    /// another. With --file every template of a JSON array is tried, each in the dialect that fits it best. Exit code
    /// 1 when a template could not be saved.
    Test(Box<test::Test>),
    /// Lists every macro: its name, what it means, an example.
    Macros(Macros),
    /// Lists the template library: networks and trackers whose postbacks are known.
    List(library::List),
    /// Shows an entry of the library whole.
    Show(library::Show),
    /// Makes a rule and the partner's settings from an entry of the library.
    Add(Box<library::Add>),
}

#[derive(Debug, clap::Args)]
struct Macros {
    /// Prints one JSON line per macro.
    #[arg(long)]
    json: bool,
}

pub(crate) fn run(args: Args) -> anyhow::Result<ExitCode> {
    match args.action {
        Action::Test(test) => test::run(&test),
        Action::Macros(Macros { json }) => {
            terminal::line(&macros(json))?;
            Ok(ExitCode::SUCCESS)
        }
        Action::List(args) => library::list(&args),
        Action::Show(args) => library::show(&args),
        Action::Add(args) => library::add(*args),
    }
}

fn macros(json: bool) -> String {
    let width = VOCABULARY.iter().map(|known| known.name.len()).max().unwrap_or(0);
    let line = |known: &roundtrip_domain::template::Macro| {
        let later = known.availability == Availability::Later;
        if json {
            return serde_json::json!({
                "name": known.name, "meaning": known.meaning, "example": known.example, "money": known.money,
                "winner_only": known.winner_only, "filled": !later,
            })
            .to_string();
        }
        let note = if later { " (empty in this version)" } else { "" };
        format!("{:width$}  {}, such as {}{note}", known.name, known.meaning, known.example)
    };
    VOCABULARY.iter().map(line).collect::<Vec<_>>().join("\n")
}
