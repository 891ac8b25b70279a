//! The time of a simulated world, and the trace of what happens in it.

use std::fmt;
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use roundtrip_ambient::Clock;
use roundtrip_domain::time::Timestamp;
use tokio::time::{Duration, Instant};

use crate::NOON;

/// A lock that is never held over an await, in a world of one thread.
pub(super) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The world's time: the runtime's paused clock is the monotonic one, and the wall clock follows it, moved by jumps.
#[derive(Debug, Clone)]
pub(super) struct Time {
    began: Instant,
    jumped_ms: Arc<AtomicI64>,
    /// By how much the wall clock went back, all times together.
    went_back_ms: Arc<AtomicI64>,
}

impl Time {
    pub(super) fn begin() -> Self {
        Self { began: Instant::now(), jumped_ms: Arc::default(), went_back_ms: Arc::default() }
    }

    /// Monotonic time since the world began.
    pub(super) fn elapsed(&self) -> Duration {
        self.began.elapsed()
    }

    /// What the wall clock shows.
    pub(super) fn now(&self) -> Timestamp {
        NOON.plus_ms(self.elapsed().as_millis() as i64 + self.jumped_ms.load(Ordering::SeqCst))
    }

    /// The wall clock, as processes read it.
    pub(super) fn clock(&self) -> Clock {
        let this = self.clone();
        Clock::told(move || (this.now(), this.elapsed()))
    }

    /// Moves the wall clock, and nothing else.
    pub(super) fn jump(&self, by_ms: i64) {
        self.jumped_ms.fetch_add(by_ms, Ordering::SeqCst);
        if by_ms < 0 {
            self.went_back_ms.fetch_sub(by_ms, Ordering::SeqCst);
        }
    }

    /// By how much the wall clock went back, all times together.
    pub(super) fn went_back_ms(&self) -> i64 {
        self.went_back_ms.load(Ordering::SeqCst)
    }
}

/// What happened, line by line. Clones share it.
#[derive(Debug, Clone)]
pub(super) struct Trace {
    time: Time,
    lines: Arc<Mutex<Vec<String>>>,
}

impl Trace {
    pub(super) fn new(time: Time) -> Self {
        Self { time, lines: Arc::default() }
    }

    pub(super) fn say(&self, what: fmt::Arguments<'_>) {
        let ms = self.time.elapsed().as_millis();
        lock(&self.lines).push(format!("{:>6}.{:03} {what}", ms / 1_000, ms % 1_000));
    }

    pub(super) fn take(&self) -> Vec<String> {
        std::mem::take(&mut lock(&self.lines))
    }
}
