//! `roundtrip restore`: a data directory from a backup.
//!
//! Everything is unpacked into a directory beside the wanted one, `.NAME.restoring`, whose lock is held meanwhile. It gets
//! the wanted name when all of it was compared and synced; a process that is killed before leaves that directory to
//! the next try. The lock goes along, so that no server starts on the directory before the command is done.

use std::fs::{self, File};
use std::io::{self, Read};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::Context as _;
use roundtrip_store::backup::{self, Contents, Restored};
use serde_json::json;

use super::backup::DASH;
use super::backup::telling::{Telling, size};
use crate::data_dir::DataDir;
use crate::terminal::counted;

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The backup, or - for standard input.
    #[arg(value_name = "ARCHIVE")]
    archive: PathBuf,
    /// The data directory to make: one that is not there, or an empty one.
    #[arg(
        long,
        value_name = "DIR",
        env = "ROUNDTRIP_DATA",
        hide_env_values = true,
        required_unless_present = "check"
    )]
    data: Option<PathBuf>,
    /// Only reads the backup and compares every byte with its hash; writes nothing.
    #[arg(long)]
    check: bool,
    /// Prints JSON lines: progress, then the end.
    #[arg(long)]
    json: bool,
}

/// Runs the command.
///
/// # Errors
/// When the archive is not whole, or the directory cannot be made of it; it is as it was then.
pub(crate) fn run(args: &Args) -> anyhow::Result<ExitCode> {
    let telling = Telling::new(args.json, false);
    let done = match &args.data {
        Some(data) if !args.check => restore(&args.archive, data, &telling),
        _ => check(&args.archive, &telling),
    };
    telling.end();
    match done {
        Ok((document, text)) => {
            telling.line(&if args.json { document.to_string() } else { text })?;
            Ok(ExitCode::SUCCESS)
        }
        Err(error) => {
            telling.failed(&error)?;
            Err(error)
        }
    }
}

/// What is printed at the end: for programs, and for people.
type Said = (serde_json::Value, String);

fn check(archive: &Path, telling: &Telling) -> anyhow::Result<Said> {
    let checking = || format!("check {}", archive.display());
    let from = open(archive).with_context(checking)?;
    let contents = backup::check(from, &mut |progress| telling.progress(progress)).with_context(checking)?;
    let text = format!("{} is whole: {}.", archive.display(), described(&contents));
    Ok((json!({ "checked": document(&contents) }), text))
}

fn restore(archive: &Path, data: &Path, telling: &Telling) -> anyhow::Result<Said> {
    let restoring = || format!("restore {} into {}", archive.display(), data.display());
    let wanted = std::path::absolute(data).with_context(restoring)?;
    refuse_used(&wanted).with_context(restoring)?;
    let from = open(archive).with_context(restoring)?;
    let dir = DataDir::open(&beside(&wanted).with_context(restoring)?).with_context(restoring)?;
    let restored = fill(from, &dir, &wanted, telling);
    if restored.is_err() {
        // What the failure was is what is told.
        let _ = fs::remove_dir_all(dir.path());
    }
    let restored = restored.with_context(restoring)?;
    let text = format!(
        "{} is restored: {}.\n{}\n`roundtrip serve --data {}` goes on from there.",
        wanted.display(),
        described(&restored.contents),
        going_on(&restored),
        wanted.display()
    );
    let mut document = document(&restored.contents);
    document["data"] = wanted.display().to_string().into();
    document["deliveries_waiting"] = restored.waiting.into();
    document["events_undecided"] = restored.undecided.into();
    Ok((json!({ "restored": document }), text))
}

fn fill(from: impl Read, dir: &DataDir, wanted: &Path, telling: &Telling) -> Result<Restored, backup::Error> {
    dir.clear()
        .map_err(|cause| backup::Error::Io { what: format!("clear {}", dir.path().display()), cause })?;
    let restored = backup::unpack(from, dir.path(), &mut |progress| telling.progress(progress))?;
    backup::finish(dir.path(), wanted)?;
    Ok(restored)
}

fn open(archive: &Path) -> io::Result<Box<dyn Read>> {
    if archive == Path::new(DASH) {
        return Ok(Box::new(io::stdin()));
    }
    Ok(Box::new(File::open(archive)?))
}

/// Refuses a directory that holds something, or that nothing can be renamed onto, before anything is read.
fn refuse_used(wanted: &Path) -> Result<(), backup::Error> {
    let looking = |cause| backup::Error::Io { what: format!("look at {}", wanted.display()), cause };
    let meta = match fs::symlink_metadata(wanted) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        other => other.map_err(looking)?,
    };
    if !meta.is_dir() || fs::read_dir(wanted).map_err(looking)?.next().is_some() {
        return Err(backup::Error::NotEmpty(wanted.to_owned()));
    }
    match wanted.parent().map(fs::metadata) {
        Some(Ok(parent)) if parent.dev() == meta.dev() => Ok(()),
        _ => Err(backup::Error::MountPoint(wanted.to_owned())),
    }
}

/// The directory that is filled before it gets the wanted name.
fn beside(wanted: &Path) -> anyhow::Result<PathBuf> {
    let name = wanted.file_name().context("use a directory that has a name")?;
    let mut hidden = std::ffi::OsString::from(".");
    hidden.push(name);
    hidden.push(".restoring");
    Ok(wanted.with_file_name(hidden))
}

fn document(contents: &Contents) -> serde_json::Value {
    json!({
        "at": contents.head.at, "made_by": contents.head.made_by, "online": contents.head.online,
        "bytes": contents.head.bytes, "files": contents.head.files, "ledger_bytes": contents.ledger_bytes,
        "click_files": contents.click_files, "sha256": contents.sha256,
        "segments_elsewhere": contents.head.segments_elsewhere,
    })
}

fn described(contents: &Contents) -> String {
    let elsewhere = match contents.head.segments_elsewhere {
        Some(1) => "; 1 sealed file lies in a bucket and is not in it".to_owned(),
        Some(n) if n > 1 => format!("; {n} sealed files lie in buckets and are not in it"),
        _ => String::new(),
    };
    format!(
        "the installation at {}, made by release {}; ledger {}, {} of the click log{elsewhere}",
        contents.head.at,
        contents.head.made_by,
        size(contents.ledger_bytes),
        counted(contents.click_files, "file")
    )
}

fn going_on(restored: &Restored) -> String {
    if restored.waiting == 0 && restored.undecided == 0 {
        return "Nothing waits to be sent.".to_owned();
    }
    let deliveries = match restored.waiting {
        1 => "1 delivery waits".to_owned(),
        n => format!("{n} deliveries wait"),
    };
    let events = match restored.undecided {
        1 => "1 event is undecided".to_owned(),
        n => format!("{n} events are undecided"),
    };
    format!(
        "{deliveries} and {events}. They are sent and decided when the server starts: what arrived after the backup \
         was made arrives again, with the same event ids."
    )
}
