//! The watch over one connection: what it waits for, and since when.
//!
//! A timer per request is set and taken back tens of thousands of times a second, and never rings. Here a request only
//! notes when it began and when it was answered; one timer per connection looks at the note now and then, and is
//! set again for as long as is left. What else a connection is told from outside (to drain, to be cut) waits
//! beside that timer, in a future that is polled only when something of it happened, not with each packet.

use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, Wake, Waker};
use std::time::Duration;

use tokio::time::Instant;

/// How long a connection may wait for a request, and a request for its answer.
#[derive(Debug, Clone, Copy)]
pub(super) struct Bounds {
    /// Until the head of the next request is read. `None`: somebody else keeps it.
    pub(super) head: Option<Duration>,
    /// Until a request is answered.
    pub(super) request: Duration,
}

/// What a connection is doing, noted by its requests.
#[derive(Debug)]
pub(super) struct Progress {
    opened: Instant,
    /// Milliseconds since it was opened, doubled; odd while a request is being answered.
    since: AtomicU64,
}

impl Progress {
    pub(super) fn new(now: Instant) -> Self {
        Self { opened: now, since: AtomicU64::new(0) }
    }

    /// A request began to be answered.
    pub(super) fn began(&self, now: Instant) {
        self.note(now, 1);
    }

    /// It was answered; the next may come.
    pub(super) fn answered(&self, now: Instant) {
        self.note(now, 0);
    }

    fn note(&self, now: Instant, busy: u64) {
        let ms = now.saturating_duration_since(self.opened).as_millis() as u64;
        self.since.store(ms << 1 | busy, Ordering::Relaxed);
    }

    /// Waits until a bound was reached. Says how long a request was being answered by then, if one was.
    pub(super) async fn overdue(&self, bounds: Bounds) -> Option<Duration> {
        loop {
            let noted = self.since.load(Ordering::Relaxed);
            let began = self.opened + Duration::from_millis(noted >> 1);
            let is_busy = noted & 1 == 1;
            let now = Instant::now();
            let waited = now.saturating_duration_since(began);
            let until = match (is_busy, bounds.head) {
                (true, _) if waited >= bounds.request => return Some(waited),
                // An answer a moment later begins an idle time, whose bound is looked at in its turn.
                (true, head) => (began + bounds.request).min(now + head.unwrap_or(bounds.request)),
                (false, Some(head)) if waited >= head => return None,
                (false, Some(head)) => began + head,
                // A request that begins from here on is not overdue before that.
                (false, None) => now + bounds.request,
            };
            tokio::time::sleep_until(until).await;
        }
    }
}

/// A future that is polled only after it was woken. Beside a future that is polled with each packet, it then costs
/// one look at a flag.
pub(super) struct Aside<F> {
    future: Pin<Box<F>>,
    bell: Arc<Bell>,
    waker: Waker,
    task: Option<Waker>,
}

struct Bell {
    rang: AtomicBool,
    task: Mutex<Option<Waker>>,
}

impl Wake for Bell {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        self.rang.store(true, Ordering::Release);
        let task = self.task.lock().unwrap_or_else(PoisonError::into_inner).clone();
        if let Some(task) = task {
            task.wake();
        }
    }
}

impl<F: Future> Aside<F> {
    pub(super) fn new(future: F) -> Self {
        // The first poll counts as woken.
        let bell = Arc::new(Bell { rang: AtomicBool::new(true), task: Mutex::new(None) });
        Self { future: Box::pin(future), waker: bell.clone().into(), bell, task: None }
    }
}

impl<F: Future> Future for Aside<F> {
    type Output = F::Output;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<F::Output> {
        let this = &mut *self;
        if !this.task.as_ref().is_some_and(|task| task.will_wake(cx.waker())) {
            this.task = Some(cx.waker().clone());
            *this.bell.task.lock().unwrap_or_else(PoisonError::into_inner) = this.task.clone();
        }
        // Taken after the task is known: a ring in between is seen here or wakes that task.
        if !this.bell.rang.swap(false, Ordering::AcqRel) {
            return Poll::Pending;
        }
        this.future.as_mut().poll(&mut Context::from_waker(&this.waker))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BOUNDS: Bounds =
        Bounds { head: Some(Duration::from_millis(30)), request: Duration::from_millis(60) };

    #[tokio::test]
    async fn a_connection_is_overdue_without_a_request_and_a_request_without_an_answer() {
        let quiet = Progress::new(Instant::now());
        assert_eq!(quiet.overdue(BOUNDS).await, None);
        let stuck = Progress::new(Instant::now());
        stuck.began(Instant::now());
        assert!(stuck.overdue(BOUNDS).await.is_some_and(|waited| waited >= BOUNDS.request));
        let unbounded = Bounds { head: None, ..BOUNDS };
        let kept = tokio::time::timeout(BOUNDS.request * 3, quiet.overdue(unbounded)).await;
        assert!(kept.is_err(), "somebody else keeps that bound");
    }

    #[tokio::test]
    async fn each_answer_begins_the_wait_anew() {
        let progress = Arc::new(Progress::new(Instant::now()));
        let began = Instant::now();
        let watch = tokio::spawn({
            let progress = progress.clone();
            async move { progress.overdue(BOUNDS).await }
        });
        let mut last = began;
        for _ in 0..5 {
            tokio::time::sleep(BOUNDS.head.unwrap() / 2).await;
            last = Instant::now();
            progress.answered(last);
        }
        assert_eq!(watch.await.unwrap(), None);
        // Notes are in milliseconds. A slow machine may have let the bound pass between two of them.
        assert!(began.elapsed() >= BOUNDS.head.unwrap() && last >= began);
    }

    #[tokio::test]
    async fn what_stands_aside_is_polled_when_it_was_woken_and_only_then() {
        let polls = Arc::new(AtomicU64::new(0));
        let (ring, mut rung) = tokio::sync::oneshot::channel();
        let mut aside = Aside::new({
            let polls = polls.clone();
            std::future::poll_fn(move |cx| {
                polls.fetch_add(1, Ordering::Relaxed);
                Pin::new(&mut rung).poll(cx)
            })
        });
        for _ in 0..3 {
            assert!(std::future::poll_fn(|cx| Poll::Ready(Pin::new(&mut aside).poll(cx))).await.is_pending());
        }
        assert_eq!(polls.load(Ordering::Relaxed), 1);
        ring.send(7).unwrap();
        assert_eq!(aside.await, Ok(7));
        assert_eq!(polls.load(Ordering::Relaxed), 2);
    }
}
