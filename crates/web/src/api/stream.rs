//! An answer that is made while it is sent: by a thread of its own, a few chunks ahead of whoever reads.
//!
//! What goes wrong after the answer began cannot change its status any more: [`Reader::cut`] cuts the connection, and
//! whoever reads sees that it is not whole. A reader that stops reading ends the work as well.

use std::io::{self, Write};
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use axum::body::{Body, HttpBody};
use bytes::Bytes;
use http_body::Frame;
use tokio::runtime::Handle;
use tokio::sync::mpsc;

/// Bytes of a chunk.
const CHUNK: usize = 1 << 18;
/// Chunks that may wait for the reader.
const CHUNKS_MAX: usize = 4;
/// How long a reader may take for one chunk before it counts as gone.
const READER_MAX: Duration = Duration::from_secs(60);

/// Both ends of an answer: where it is written, and the body. Inside a runtime only.
pub(super) fn open() -> (Reader, Body) {
    let (chunks, sent) = mpsc::channel(CHUNKS_MAX);
    let reader = Reader { chunks, runtime: Handle::current(), chunk: Vec::with_capacity(CHUNK) };
    (reader, Body::new(Sent(sent)))
}

/// Whoever reads the answer, for whoever writes it. Blocks.
pub(super) struct Reader {
    chunks: mpsc::Sender<io::Result<Bytes>>,
    runtime: Handle,
    chunk: Vec<u8>,
}

impl Reader {
    /// Ends the answer so that it is seen not to be whole.
    pub(super) fn cut(&self, why: &'static str) {
        // The reader may be gone.
        let _ = self.send(Err(io::Error::other(why)));
    }

    /// Tells whether nobody reads any more. Dropped before the answer can end.
    pub(super) fn watch(&self) -> impl Fn() -> bool + use<> {
        let chunks = self.chunks.clone();
        move || chunks.is_closed()
    }

    fn send(&self, chunk: io::Result<Bytes>) -> io::Result<()> {
        let sending = self.chunks.send_timeout(chunk, READER_MAX);
        self.runtime.block_on(sending).map_err(|_| {
            io::Error::new(io::ErrorKind::BrokenPipe, "whoever asked for it does not read the answer")
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
