//! The commands. Each has a file with its arguments (`Args`) and a `run`; this one lists them.
//!
//! A new command is a file, a line in [`Command`] and a line in [`Command::run`].

mod apply;
mod backfill;
mod backup;
mod bench;
mod cancel;
mod clicks;
mod conversion;
mod deliveries;
mod demo;
mod endpoint;
mod endpoint_test;
mod explain;
mod export;
mod filter;
mod import;
mod job;
mod jobs;
mod key;
mod library;
mod partner;
mod reconcile;
mod replay;
mod report;
mod restore;
mod serve;
mod share;
mod statement;
mod status;
mod tail;
mod template;
mod webhook;

#[cfg(test)]
mod tests;

use std::process::ExitCode;

use clap::{CommandFactory as _, FromArgMatches as _, Parser, Subcommand};

use crate::client::{self, Client};
use crate::config;
use crate::node::Fatal;

/// Exit code of arguments or settings that cannot be used; clap's own.
const EXIT_USAGE: u8 = 2;
/// Exit code of a store that can no longer promise durability; `EX_SOFTWARE` of sysexits.
const EXIT_FATAL: u8 = 70;

/// Measures which click earned an install, signup, purchase or web conversion, and tells everyone who must know.
#[derive(Debug, Parser)]
#[command(name = "roundtrip", version)]
pub(crate) struct Cli {
    #[command(subcommand)]
    command: Command,
}

/// Every command.
#[derive(Debug, Subcommand)]
enum Command {
    /// Runs the server.
    Serve(serve::Args),
    /// Makes the settings what roundtrip.toml says, after showing the difference.
    Apply(apply::Args),
    /// Shows the whole path with a real server, on an empty directory and free ports.
    Demo(demo::Args),
    /// Tells the story of a conversion, event, delivery or click: what was decided, told and answered, and why.
    Explain(explain::Args),
    /// Writes installs, events, conversions, decisions, deliveries or clicks as Parquet, CSV or JSON lines.
    ///
    /// A folder or bucket gets a file for each whole day; run again, it goes on where it was. docs/export.md lists the
    /// columns, docs/queries.md has queries for them.
    Export(Box<export::Args>),
    /// Lists, verifies and seals the files of the click log; exports clicks, erases a person's.
    Clicks(Box<clicks::Args>),
    /// Counts clicks, conversions and postbacks by day.
    Report(report::Args),
    /// Shows whether the books balance, and what waits.
    Status(status::Args),
    /// Compares a partner's own list, or the owner's orders, with what was told; names every cause, and repairs.
    Reconcile(Box<reconcile::Args>),
    /// States what arrived at a partner on a day, signed; checks such a statement.
    Statement(statement::Args),
    /// Approves or rejects a conversion.
    Conversion(conversion::Args),
    /// Lists the latest deliveries, and how each stands.
    Deliveries(deliveries::Args),
    /// Tells the same facts once more: one delivery, or all that a filter means.
    ///
    /// With a filter it is a job: it says beforehand what it would do and asks, goes on through restarts, and can be
    /// paused and ended (`roundtrip jobs`). Without --state it means what was given up or came too late.
    Replay(Box<replay::Args>),
    /// Tells a webhook of facts from the past that nobody told it.
    Backfill(backfill::Args),
    /// Ends deliveries that wait; `roundtrip replay --state cancelled` is the way back.
    Cancel(Box<cancel::Args>),
    /// Shows replays, backfills and cancellations, and pauses, resumes or ends them.
    Jobs(jobs::Args),
    /// Follows deliveries live, and can send webhooks on to a program on this machine.
    Tail(Box<tail::Args>),
    /// Makes a link that shows one postback to whoever has it, for some days; takes such links back.
    Share(share::Args),
    /// Lists who is told and how that goes; stops an endpoint and lets it go on.
    Endpoint(endpoint::Args),
    /// Copies a whole installation into one file, while its server works or while it is down.
    ///
    /// The file holds everything that the server knows, secrets included, and is readable by its owner alone. It shows
    /// one moment: what was answered before the command began is in it. docs/backup.md says what is not.
    Backup(backup::Args),
    /// Makes a data directory of a backup, or only checks one.
    ///
    /// Every byte is compared with its hash before the directory gets its name. Deliveries that waited when the backup
    /// was made are sent once the server is started, with the same event ids.
    Restore(restore::Args),
    /// Measures this machine and disk: redirects beside nginx, events, postbacks.
    Bench(bench::Args),
    /// Makes and replaces the admin key.
    Key(key::Args),
    /// Makes a link or rule of another system's tracking URL or postback URL, and lists what it cannot carry.
    ///
    /// Prints TOML to paste into roundtrip.toml, with the list as comments, or has the server apply it (--apply). Exit
    /// code 0 when everything came along, 3 when something did not, 1 when a URL could not be read.
    Import(Box<import::Args>),
    /// Tries a postback template, and the library of known ones.
    Template(template::Args),
    /// What a partner needs to know, filled in.
    Partner(partner::Args),
    /// What signs for a webhook, and a new secret for it.
    Webhook(webhook::Args),
}

impl Command {
    fn run(self) -> anyhow::Result<ExitCode> {
        match self {
            Self::Serve(args) => serve::run(args),
            Self::Apply(args) => {
                with_client(&args.server.clone(), async |client| apply::run(args, client).await)
            }
            Self::Demo(args) => demo::run(&args),
            Self::Explain(args) => {
                with_client(&args.server.clone(), async |client| explain::run(args, client).await)
            }
            Self::Export(args) => {
                let (server, errors) = (args.order.server.clone(), args.order.errors());
                errors.tell(with_client(&server, async |client| export::run(*args, client).await))
            }
            Self::Clicks(args) => {
                let (server, errors) = args.server();
                errors.tell(with_client(&server, async |client| clicks::run(*args, client).await))
            }
            Self::Report(args) => {
                with_client(&args.server.clone(), async |client| report::run(args, client).await)
            }
            Self::Status(args) => {
                with_client(&args.server.clone(), async |client| status::run(args, client).await)
            }
            Self::Reconcile(args) => {
                with_client(&args.server.clone(), async |client| reconcile::run(*args, client).await)
            }
            Self::Statement(args) => {
                with_client(&args.server.clone(), async |client| statement::run(args, client).await)
            }
            Self::Conversion(args) => {
                with_client(&args.server(), async |client| conversion::run(args, client).await)
            }
            Self::Deliveries(args) => {
                with_client(&args.server.clone(), async |client| deliveries::run(args, client).await)
            }
            Self::Endpoint(args) => {
                with_client(&args.server(), async |client| endpoint::run(args, client).await)
            }
            Self::Replay(args) => {
                with_client(&args.server.clone(), async |client| replay::run(*args, client).await)
            }
            Self::Backfill(args) => {
                with_client(&args.server.clone(), async |client| backfill::run(args, client).await)
            }
            Self::Cancel(args) => {
                with_client(&args.server.clone(), async |client| cancel::run(*args, client).await)
            }
            Self::Jobs(args) => {
                with_client(&args.server.clone(), async |client| jobs::run(args, client).await)
            }
            Self::Tail(args) => {
                with_client(&args.server.clone(), async |client| tail::run(*args, client).await)
            }
            Self::Share(args) => {
                with_client(&args.server.clone(), async |client| share::run(args, client).await)
            }
            Self::Backup(args) => backup::run(&args),
            Self::Restore(args) => restore::run(&args),
            Self::Bench(args) => bench::run(args),
            Self::Key(args) => key::run(args),
            Self::Import(args) => import::run(*args),
            Self::Template(args) => template::run(args),
            Self::Partner(args) => partner::run(args),
            Self::Webhook(args) => {
                with_client(&args.server(), async |client| webhook::run(args, client).await)
            }
        }
    }
}

/// Reads the arguments, runs the command and says what went wrong, once.
#[expect(clippy::print_stderr, reason = "the one place that tells a person why a command failed")]
pub(crate) fn main() -> ExitCode {
    let parsed = command().try_get_matches().and_then(|matches| Cli::from_arg_matches(&matches));
    // Prints help, or what is wrong with the arguments, and ends the process as clap does.
    let cli = parsed.unwrap_or_else(|error| error.exit());
    match cli.command.run() {
        Ok(code) => code,
        Err(error) => {
            eprintln!("roundtrip: failed to {error:#}");
            ExitCode::from(exit_code(&error))
        }
    }
}

/// The arguments. What is shown as the usage of a command that was called wrongly is that of its help: by itself clap
/// names every option that is set, as if it were needed, and those that the environment sets are no part of what was typed.
fn command() -> clap::Command {
    fn with_usage(mut command: clap::Command) -> clap::Command {
        let usage = command.render_usage().to_string();
        let usage = usage.trim_start_matches("Usage: ").to_owned();
        let names: Vec<String> = command.get_subcommands().map(|one| one.get_name().to_owned()).collect();
        for name in names {
            command = command.mut_subcommand(name, with_usage);
        }
        command.override_usage(usage)
    }
    let mut command = Cli::command();
    command.build();
    with_usage(command)
}

/// What the caller of the process learns: usage, a store that gave up, or just a failure.
fn exit_code(error: &anyhow::Error) -> u8 {
    if error.is::<config::Refused>() {
        EXIT_USAGE
    } else if error.is::<Fatal>() {
        EXIT_FATAL
    } else {
        1
    }
}

/// Runs a command that speaks to a server's admin API.
pub(crate) fn with_client<F>(flags: &client::Flags, run: F) -> anyhow::Result<ExitCode>
where
    F: AsyncFnOnce(&Client) -> anyhow::Result<ExitCode>,
{
    let client = Client::from_flags(flags)?;
    tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(run(&client))
}
