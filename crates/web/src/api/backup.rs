//! A backup, sent while it is made.
//!
//! The answer begins once the moment is fixed, which takes moments; from then on a thread of its own copies and writes,
//! a few chunks ahead of whoever reads. What goes wrong later cannot change the status any more: the archive then
//! says why, lacks its end, and the connection is cut. A reader that stops reading ends it as well.

use roundtrip_domain::problem::{Code, Problem};
use roundtrip_store::backup::{self, Error};

use super::call::{Answer, Call, Failure};
use super::route::{Needs, Route};
use super::stream::{self, Reader};

/// What the archive is.
const MEDIA: &str = "application/x-tar";

pub(super) fn routes() -> Vec<Route> {
    vec![
        Route::post(
            "/api/v1/backup",
            "backup_make",
            "Sends a backup of the whole installation, secrets included, as it is at this moment",
        )
        .needs(Needs::Installation)
        .media(MEDIA)
        .answers(
            200,
            "The archive. Without its last entry it is not whole.",
            |_| schemars::json_schema!({ "type": "string", "contentMediaType": "application/x-tar" }),
        )
        .codes(&[Code::BackupRunning, Code::BackupNoRoom])
        .does(make),
    ]
}

async fn make(call: Call) -> Result<Answer, Failure> {
    let (state, actor) = (call.state, call.caller.actor());
    let begun = tokio::task::spawn_blocking(move || {
        backup::begin(&state.ledger, &state.clicks, state.clock.now(), env!("CARGO_PKG_VERSION"))
    });
    let running = match begun.await {
        Ok(begun) => begun.map_err(|error| refused(&error))?,
        Err(_) => return Err(Problem::new(Code::StoreUnavailable, "", "the backup did not begin").into()),
    };
    tracing::info!(actor, backup.bytes = running.head().bytes, "began a backup");
    let (reader, sent) = stream::open();
    std::thread::Builder::new()
        .name("backup".to_owned())
        .spawn(move || write(running, reader))
        .map_err(|error| roundtrip_store::Error::Unavailable(error.to_string()))?;
    Ok(Answer::streamed(MEDIA, sent))
}

/// What a caller is told when a backup cannot begin.
fn refused(error: &Error) -> Problem {
    let code = match error {
        Error::Running => Code::BackupRunning,
        Error::NoRoom { .. } => Code::BackupNoRoom,
        error => {
            tracing::warn!(%error, "a backup could not begin");
            return Problem::new(Code::StoreUnavailable, "", "the stores cannot be copied now");
        }
    };
    Problem::new(code, "", error.to_string())
}

fn write(running: backup::Running, mut reader: Reader) {
    let bytes = running.head().bytes;
    match running.write(&mut reader) {
        Ok(()) => tracing::info!(backup.bytes = bytes, "sent a backup"),
        Err(error) => {
            tracing::warn!(%error, "a backup ended before it was whole");
            reader.cut("the backup ended before it was whole");
        }
    }
}
