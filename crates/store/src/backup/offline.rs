//! A backup of a data directory that no server has: its files as they are, logs included. Nothing in it is opened or
//! changed, so it also works on stores that do not open any more, and before an upgrade.

use std::io::Write;
use std::path::Path;

use roundtrip_domain::time::Timestamp;

use super::archive::{Archive, Source, sources};
use super::{CLICKS, Error, FORMAT, Head, LEDGER, LEDGER_LOG};

/// The end of the name of what was saved of a damaged slice.
const SALVAGED: &str = ".salvaged.tmp";

/// Writes the archive of a directory whose lock the caller holds. Blocks. Returns what the archive says of itself.
///
/// # Errors
/// [`Error::NoData`] when there is no ledger, or what the system or `out` said.
pub fn write_offline(data: &Path, now: Timestamp, made_by: &str, out: impl Write) -> Result<Head, Error> {
    if !data.join(LEDGER).is_file() {
        return Err(Error::NoData(data.to_owned()));
    }
    let mut files = vec![Source::of(LEDGER.to_owned(), data.join(LEDGER))?];
    if data.join(LEDGER_LOG).exists() {
        files.push(Source::of(LEDGER_LOG.to_owned(), data.join(LEDGER_LOG))?);
    }
    let clicks = data.join(CLICKS);
    if clicks.is_dir() {
        // The index of a log is made anew from the log; unfinished files are worth nothing.
        files.extend(sources(&clicks, CLICKS, |name| !name.ends_with("-shm") && !name.contains(".tmp"))?);
        // What was saved of a damaged slice is whole once the slice was set aside: the next start would put it there.
        for saved in sources(&clicks, CLICKS, |name| name.ends_with(SALVAGED))? {
            let name = saved.name.replace(SALVAGED, ".closed.sqlite");
            let is_aside = clicks.join("damaged").join(name.trim_start_matches("clicks/")).exists();
            if is_aside && !files.iter().any(|file| file.name == name) {
                files.push(Source { name, ..saved });
            }
        }
    }
    let head = Head {
        roundtrip_backup: FORMAT,
        made_by: made_by.to_owned(),
        at: now.to_string(),
        online: false,
        bytes: files.iter().map(|file| file.bytes).sum(),
        files: files.len() as u64,
        segments_elsewhere: None,
    };
    let mut archive = Archive::begin(out, &head)?;
    match files.iter().try_for_each(|file| archive.file(file)) {
        Ok(()) => archive.end().map(|_| head),
        Err(error) => {
            archive.failed(&error);
            Err(error)
        }
    }
}
