//! `roundtrip key`: the admin key of a data directory. It works on the file, so it helps where nobody can sign
//! in any more, with or without a running server.

use std::path::PathBuf;
use std::process::ExitCode;

use roundtrip_ambient::Entropy;

use crate::{admin_token, terminal};

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, clap::Subcommand)]
enum Action {
    /// Replaces the admin key; the old one stops working at once, in a running server too.
    Reset(Reset),
}

#[derive(Debug, clap::Args)]
struct Reset {
    /// The data directory.
    #[arg(
        long,
        value_name = "DIR",
        env = "ROUNDTRIP_DATA",
        hide_env_values = true,
        default_value = "./roundtrip-data"
    )]
    data: PathBuf,
    /// Prints JSON.
    #[arg(long)]
    json: bool,
}

pub(crate) fn run(args: Args) -> anyhow::Result<ExitCode> {
    let Action::Reset(Reset { data, json }) = args.action;
    // Making a directory here would hide a mistyped path behind a success.
    anyhow::ensure!(data.is_dir(), "find the data directory {}", data.display());
    let path = admin_token::reset(&data, &Entropy::System)?;
    let path = path.canonicalize().unwrap_or(path);
    terminal::line(&if json {
        serde_json::json!({ "admin_token_file": path.display().to_string() }).to_string()
    } else {
        format!("The new admin key is in {}; the old one no longer works.", path.display())
    })?;
    Ok(ExitCode::SUCCESS)
}
