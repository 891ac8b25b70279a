//! The stream under HTTP, with counters on it. They answer what hyper does not tell: whether any byte of
//! the request went out, whether any byte of the answer came, when the first one did, and how many bytes
//! of heads a peer has made us read (interim 1xx answers are unlimited in hyper).

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::time::Instant;
use tokio_rustls::client::TlsStream;

/// The most bytes read before the final answer's head is complete. One head may have 32 KiB (see
/// `exchange`); the rest is room for interim answers and for what was read beyond the head.
const HEAD_BYTES_MAX: u64 = 128 * 1024;

/// The most bytes taken from the socket at once. hyper's own limit on its buffer is soft: a buffer that has
/// grown is filled to its capacity, so a fast peer could hand over twice the limit in one piece.
const READ_MAX: usize = 16 * 1024;

/// What one exchange moved so far. Written by the connection's task, read by the exchange.
#[derive(Debug)]
pub(super) struct Counters {
    base: Instant,
    written: AtomicU64,
    read: AtomicU64,
    /// Microseconds after `base` plus one; zero while nothing has arrived.
    first_read: AtomicU64,
    reading_head: AtomicBool,
    head_overrun: AtomicBool,
}

impl Counters {
    fn new() -> Self {
        Self {
            base: Instant::now(),
            written: AtomicU64::new(0),
            read: AtomicU64::new(0),
            first_read: AtomicU64::new(0),
            reading_head: AtomicBool::new(false),
            head_overrun: AtomicBool::new(false),
        }
    }

    /// A new exchange begins on this connection.
    pub(super) fn begin(&self) {
        self.written.store(0, Relaxed);
        self.read.store(0, Relaxed);
        self.first_read.store(0, Relaxed);
        self.reading_head.store(true, Relaxed);
    }

    /// The final answer's head is complete: from here on the exchange bounds what is read.
    pub(super) fn head_done(&self) {
        self.reading_head.store(false, Relaxed);
    }

    pub(super) fn written(&self) -> u64 {
        self.written.load(Relaxed)
    }

    pub(super) fn read(&self) -> u64 {
        self.read.load(Relaxed)
    }

    pub(super) fn head_overrun(&self) -> bool {
        self.head_overrun.load(Relaxed)
    }

    /// Microseconds from `since` to the first byte of the answer.
    pub(super) fn first_byte_us(&self, since: Instant) -> Option<u64> {
        let at = self.first_read.load(Relaxed).checked_sub(1)?;
        Some(at.saturating_sub(micros(since.saturating_duration_since(self.base))))
    }

    fn note_read(&self, bytes: u64) -> io::Result<()> {
        if bytes == 0 {
            return Ok(());
        }
        let total = self.read.fetch_add(bytes, Relaxed) + bytes;
        if self.first_read.load(Relaxed) == 0 {
            self.first_read.store(micros(self.base.elapsed()) + 1, Relaxed);
        }
        if self.reading_head.load(Relaxed) && total > HEAD_BYTES_MAX {
            self.head_overrun.store(true, Relaxed);
            return Err(io::Error::new(io::ErrorKind::InvalidData, "too many bytes before the answer"));
        }
        Ok(())
    }
}

/// A duration in whole microseconds.
pub(super) fn micros(duration: std::time::Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}

/// A connected stream, plain or encrypted.
pub(super) enum Stream {
    Plain(TcpStream),
    Tls(Box<TlsStream<TcpStream>>),
}

/// A stream that counts what passes through it, above TLS.
pub(super) struct Tap {
    stream: Stream,
    counters: Arc<Counters>,
}

impl Tap {
    pub(super) fn new(stream: Stream) -> (Self, Arc<Counters>) {
        let counters = Arc::new(Counters::new());
        (Self { stream, counters: counters.clone() }, counters)
    }
}

impl AsyncRead for Tap {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let room = buf.remaining().min(READ_MAX);
        let mut part = ReadBuf::new(buf.initialize_unfilled_to(room));
        ready!(match &mut this.stream {
            Stream::Plain(stream) => Pin::new(stream).poll_read(cx, &mut part),
            Stream::Tls(stream) => Pin::new(stream.as_mut()).poll_read(cx, &mut part),
        })?;
        let read = part.filled().len();
        buf.advance(read);
        Poll::Ready(this.counters.note_read(read as u64))
    }
}

impl AsyncWrite for Tap {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let wrote = ready!(match &mut this.stream {
            Stream::Plain(stream) => Pin::new(stream).poll_write(cx, buf),
            Stream::Tls(stream) => Pin::new(stream.as_mut()).poll_write(cx, buf),
        })?;
        this.counters.written.fetch_add(wrote as u64, Relaxed);
        Poll::Ready(Ok(wrote))
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let wrote = ready!(match &mut this.stream {
            Stream::Plain(stream) => Pin::new(stream).poll_write_vectored(cx, bufs),
            Stream::Tls(stream) => Pin::new(stream.as_mut()).poll_write_vectored(cx, bufs),
        })?;
        this.counters.written.fetch_add(wrote as u64, Relaxed);
        Poll::Ready(Ok(wrote))
    }

    fn is_write_vectored(&self) -> bool {
        match &self.stream {
            Stream::Plain(stream) => stream.is_write_vectored(),
            Stream::Tls(stream) => stream.is_write_vectored(),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.get_mut().stream {
            Stream::Plain(stream) => Pin::new(stream).poll_flush(cx),
            Stream::Tls(stream) => Pin::new(stream.as_mut()).poll_flush(cx),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.get_mut().stream {
            Stream::Plain(stream) => Pin::new(stream).poll_shutdown(cx),
            Stream::Tls(stream) => Pin::new(stream.as_mut()).poll_shutdown(cx),
        }
    }
}
