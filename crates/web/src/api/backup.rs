//! A backup, sent while it is made.
//!
//! The answer begins once the moment is fixed, which takes moments; from then on a thread of its own copies and writes,
//! a few chunks ahead of whoever reads. What goes wrong later cannot change the status any more: the archive then
//! says why, lacks its end, and the connection is cut. A reader that stops reading ends it as well.

use std::io::{self, Write};
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use axum::body::{Body, HttpBody};
use bytes::Bytes;
use http_body::Frame;
use roundtrip_domain::problem::{Code, Problem};
use roundtrip_store::backup::{self, Error};
use tokio::runtime::Handle;
use tokio::sync::mpsc;

use super::call::{Answer, Call, Failure};
use super::route::{Needs, Route};

/// What the archive is.
const MEDIA: &str = "application/x-tar";
/// Bytes of a chunk.
const CHUNK: usize = 1 << 18;
/// Chunks that may wait for the reader.
const CHUNKS_MAX: usize = 4;
/// How long a reader may take for one chunk before it counts as gone.
const READER_MAX: Duration = Duration::from_secs(60);

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
    let (chunks, sent) = mpsc::channel(CHUNKS_MAX);
    let reader = Reader { chunks, runtime: Handle::current(), chunk: Vec::with_capacity(CHUNK) };
    std::thread::Builder::new()
        .name("backup".to_owned())
        .spawn(move || write(running, reader))
        .map_err(|error| roundtrip_store::Error::Unavailable(error.to_string()))?;
    Ok(Answer::streamed(MEDIA, Body::new(Sent(sent))))
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
            let cut = Err(io::Error::other("the backup ended before it was whole"));
            // The reader may be gone.
            let _ = reader.send(cut);
        }
    }
}

/// Whoever reads the answer, for whoever writes it.
struct Reader {
    chunks: mpsc::Sender<io::Result<Bytes>>,
    runtime: Handle,
    chunk: Vec<u8>,
}

impl Reader {
    fn send(&self, chunk: io::Result<Bytes>) -> io::Result<()> {
        let sending = self.chunks.send_timeout(chunk, READER_MAX);
        self.runtime.block_on(sending).map_err(|_| {
            io::Error::new(io::ErrorKind::BrokenPipe, "whoever asked for the backup does not read it")
        })
    }
}

impl Write for Reader {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let n = bytes.len().min(CHUNK - self.chunk.len());
        self.chunk.extend_from_slice(&bytes[..n]);
        if self.chunk.len() == CHUNK {
            self.flush()?;
        }
        Ok(n)
    }

    fn flush(&mut self) -> io::Result<()> {
        if self.chunk.is_empty() {
            return Ok(());
        }
        let chunk = std::mem::replace(&mut self.chunk, Vec::with_capacity(CHUNK));
        self.send(Ok(chunk.into()))
    }
}

/// The body: what was written, in its order.
struct Sent(mpsc::Receiver<io::Result<Bytes>>);

impl HttpBody for Sent {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, io::Error>>> {
        self.0.poll_recv(context).map(|chunk| chunk.map(|chunk| chunk.map(Frame::data)))
    }
}
