//! `roundtrip backup`: a whole installation in one file.
//!
//! `keep` takes the bytes, wherever they come from, writes them beside the wanted name and has a thread compare them
//! with their hashes as they pass; only a whole archive gets the name. `telling` says how far it came.

mod keep;
pub(super) mod telling;

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::Context as _;
use roundtrip_ambient::Clock;
use roundtrip_store::backup::{self, Contents};
use serde_json::json;

use self::keep::Keeper;
use self::telling::{Telling, size};
use crate::client::{self, Client};
use crate::data_dir::DataDir;
use crate::terminal::counted;

/// The release, as archives name it.
const RELEASE: &str = env!("CARGO_PKG_VERSION");
/// What stands for standard output or input in place of a path.
pub(super) const DASH: &str = "-";

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The file to write, which must not be there yet; or a directory, in which it is named by the time; or - for standard output.
    #[arg(value_name = "FILE_OR_DIR")]
    to: PathBuf,
    /// Copies the files of the data directory (--data) of a server that does not run.
    #[arg(long)]
    offline: bool,
    /// Prints JSON lines: progress, then the end.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    server: client::Flags,
}

/// Runs the command.
///
/// # Errors
/// When the server cannot be asked or refuses, the directory is in use, or the file cannot be written.
pub(crate) fn run(args: &Args) -> anyhow::Result<ExitCode> {
    let telling = Telling::new(args.json, args.to == Path::new(DASH));
    let made = make(args, telling.clone());
    telling.end();
    match made {
        Ok((path, contents)) => {
            telling.line(&if args.json {
                document(&path, &contents).to_string()
            } else {
                text(&path, &contents)
            })?;
            Ok(ExitCode::SUCCESS)
        }
        Err(error) => {
            telling.failed(&error)?;
            Err(error)
        }
    }
}

fn make(args: &Args, telling: Telling) -> anyhow::Result<(PathBuf, Contents)> {
    let path = named(&args.to)?;
    let making = || format!("back up to {}", path.display());
    let contents = if args.offline {
        let data = &args.server.data;
        // Locking makes the directory, which would hide a mistyped path.
        if !data.join("ledger.sqlite").is_file() {
            return Err(backup::Error::NoData(data.clone())).with_context(making);
        }
        let data = DataDir::open(data).with_context(
            || "back up offline: while its server runs, leave --offline away and the server makes the copy",
        )?;
        let mut keeper = Keeper::begin(&path, telling).with_context(making)?;
        let written = backup::write_offline(data.path(), Clock::System.now(), RELEASE, &mut keeper);
        keeper.end(written.map(drop).map_err(Into::into)).with_context(making)?
    } else {
        let client = Client::from_flags(&args.server)?;
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        // Nothing is made on this side before the server has agreed.
        let mut keeper = None;
        let downloaded = runtime.block_on(client.download("/api/v1/backup", |bytes| {
            let keeper = match &mut keeper {
                Some(keeper) => keeper,
                None => keeper.insert(Keeper::begin(&path, telling.clone())?),
            };
            keeper.take(&bytes).context("write it")
        }));
        match (keeper, downloaded) {
            (Some(keeper), downloaded) => keeper.end(downloaded.map(drop)).with_context(making)?,
            (None, Err(error)) => {
                return Err(error.context("make a backup (without a running server: --offline --data DIR)"));
            }
            (None, Ok(answered)) => {
                client::accepted(answered).context("make a backup")?;
                anyhow::bail!("make a backup: the server sent nothing");
            }
        }
    };
    Ok((path, contents))
}

/// The file's path: as given, or named by the time in a directory.
fn named(to: &Path) -> anyhow::Result<PathBuf> {
    if to == Path::new(DASH) {
        return Ok(to.to_owned());
    }
    let path = if to.is_dir() {
        let now = Clock::System.now().to_string();
        let digits: String = now.split('.').next().unwrap_or(&now).replace(['-', ':'], "");
        to.join(format!("roundtrip-{digits}Z.tar"))
    } else {
        anyhow::ensure!(
            !to.as_os_str().as_encoded_bytes().ends_with(b"/"),
            "back up to {}: there is no such directory; make it first",
            to.display()
        );
        to.to_owned()
    };
    anyhow::ensure!(
        !path.try_exists()?,
        "back up to {}: it is there already; backups replace nothing",
        path.display()
    );
    Ok(path)
}

fn document(path: &Path, contents: &Contents) -> serde_json::Value {
    json!({ "backup": {
        "path": path.display().to_string(), "at": contents.head.at, "made_by": contents.head.made_by,
        "online": contents.head.online, "bytes": contents.head.bytes, "files": contents.head.files,
        "ledger_bytes": contents.ledger_bytes, "click_files": contents.click_files, "sha256": contents.sha256,
        "segments_elsewhere": contents.head.segments_elsewhere,
    } })
}

fn text(path: &Path, contents: &Contents) -> String {
    format!(
        "{} shows the installation at {}: ledger {}, {} of the click log, {} in all.\n{}\
         It holds secrets, and is readable by you alone. `roundtrip restore --check {0}` reads it again.",
        path.display(),
        contents.head.at,
        size(contents.ledger_bytes),
        counted(contents.click_files, "file"),
        size(contents.head.bytes),
        elsewhere(contents).map(|line| format!("{line}\n")).unwrap_or_default(),
    )
}

/// What of the click log is not in a backup because it lies in buckets, for a person.
pub(super) fn elsewhere(contents: &Contents) -> Option<String> {
    let n = contents.head.segments_elsewhere.filter(|n| *n > 0)?;
    Some(match n {
        1 => "1 sealed file lies in a bucket and is not in it: keep that bucket as long as the backup."
            .to_owned(),
        n => format!(
            "{n} sealed files lie in buckets and are not in it: keep those buckets as long as the backup."
        ),
    })
}
