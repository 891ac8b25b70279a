//! The hand-off between a request and the writer: a bounded queue, and one slot per waiting caller.
//!
//! A slot is the only thing both sides touch. Whoever locks it first decides: the writer by minting its id, or
//! the caller by giving up. A click that was given up before its id was minted is never written, so the
//! id that its visitor left with cannot be found later by accident.

use std::collections::VecDeque;
use std::sync::atomic::{
    AtomicBool, AtomicU32,
    Ordering::{Relaxed, SeqCst},
};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use roundtrip_domain::click_id::ClickId;

use super::Shared;
use super::index::Noted;

/// Why a click was not stored, as far as its caller was told.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Why {
    /// Too many clicks were waiting already.
    QueueFull,
    /// The commit did not end within the wait. If the id was already given, it may still be stored.
    Timeout,
    /// The disk is full.
    DiskFull,
    /// This click could not be inserted, others could.
    Insert,
    /// The slice could not be opened, written or synced.
    Disk,
    /// The writer panicked with this click in hand.
    Panic,
    /// The log is shut down, or has given up.
    Stopped,
}

impl Why {
    /// All of them; the place in this list is the place in [`super::Stats`].
    pub const ALL: [Self; 7] = [
        Self::QueueFull,
        Self::Timeout,
        Self::DiskFull,
        Self::Insert,
        Self::Disk,
        Self::Panic,
        Self::Stopped,
    ];

    /// The word for logs and metrics.
    pub const fn name(self) -> &'static str {
        match self {
            Self::QueueFull => "queue_full",
            Self::Timeout => "timeout",
            Self::DiskFull => "disk_full",
            Self::Insert => "insert",
            Self::Disk => "disk",
            Self::Panic => "panic",
            Self::Stopped => "stopped",
        }
    }
}

/// What became of a click. There is an id in either case: the visitor leaves with one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Append {
    /// Committed (and synced, unless durability is relaxed), and found by id and print from now on.
    Stored(ClickId),
    /// Not known to be stored.
    Unstored {
        /// The id that the visitor leaves with.
        id: ClickId,
        /// Why.
        why: Why,
    },
}

impl Append {
    /// The id, stored or not.
    pub const fn id(self) -> ClickId {
        match self {
            Self::Stored(id) | Self::Unstored { id, .. } => id,
        }
    }
}

enum Phase {
    Queued,
    Cancelled,
    Minted(ClickId),
    /// Minted, but nobody waits any more.
    Left(ClickId),
    Done(Append),
}

/// Where one caller waits, with its click. The click stays here for as long as the caller does: what a caller's
/// thread made is freed by a caller's thread, and the writer's allocator has no part in it.
pub(super) struct Slot {
    state: Mutex<Seat>,
    /// The sweep's count when the wait began.
    since: u32,
    pub(super) body: Vec<u8>,
    pub(super) noted: Noted,
}

struct Seat {
    phase: Phase,
    waker: Option<Waker>,
    /// Others of the same commit, answered already, whom this caller wakes.
    others: Vec<Waker>,
}

/// How a wait ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum End {
    Answered(Append),
    /// It took too long and its commit is under way.
    Minted(ClickId),
    /// It took too long and the click will not be written.
    Cancelled,
}

impl Slot {
    pub(super) fn new(body: Vec<u8>, noted: Noted, since: u32) -> Arc<Self> {
        let seat = Seat { phase: Phase::Queued, waker: None, others: Vec::new() };
        Arc::new(Self { state: Mutex::new(seat), since, body, noted })
    }

    pub(super) fn poll(&self, cx: &mut Context<'_>) -> Poll<End> {
        let mut seat = lock(&self.state);
        match seat.phase {
            Phase::Done(append) => return Poll::Ready(End::Answered(append)),
            Phase::Left(id) => return Poll::Ready(End::Minted(id)),
            Phase::Cancelled => return Poll::Ready(End::Cancelled),
            Phase::Queued | Phase::Minted(_) => {}
        }
        match &mut seat.waker {
            Some(waker) => waker.clone_from(cx.waker()),
            none => *none = Some(cx.waker().clone()),
        }
        Poll::Pending
    }

    /// Ends a wait that took too long.
    fn give_up(&self) {
        let waker = {
            let mut seat = lock(&self.state);
            match seat.phase {
                Phase::Queued => seat.phase = Phase::Cancelled,
                Phase::Minted(id) => seat.phase = Phase::Left(id),
                Phase::Cancelled | Phase::Left(_) | Phase::Done(_) => return,
            }
            seat.waker.take()
        };
        if let Some(waker) = waker {
            waker.wake();
        }
    }

    /// Gives the click its id, unless its caller has given up.
    pub(super) fn mint(&self, mint: impl FnOnce() -> ClickId) -> Option<ClickId> {
        let mut seat = lock(&self.state);
        if !matches!(seat.phase, Phase::Queued) {
            return None;
        }
        let id = mint();
        seat.phase = Phase::Minted(id);
        Some(id)
    }

    /// Answers the caller, who is to be woken by `wakes`. `false` when nobody waits any more.
    pub(super) fn answer(&self, append: Append, wakes: &mut Wakes) -> bool {
        let mut seat = lock(&self.state);
        if matches!(seat.phase, Phase::Left(_) | Phase::Cancelled | Phase::Done(_)) {
            return false;
        }
        seat.phase = Phase::Done(append);
        if let Some(waker) = seat.waker.take() {
            if wakes.others.len() + 1 < WAKES_MAX {
                wakes.others.push(waker);
            } else {
                seat.others = std::mem::take(&mut wakes.others);
                wakes.first.push(waker);
            }
        }
        true
    }
}

/// Whom a caller wakes in its turn, at most; itself included.
const WAKES_MAX: usize = 16;

/// Callers to be woken. The writer is a thread outside the runtime, and each of its wakes takes the lock of
/// the runtime's common queue: so it wakes one caller in [`WAKES_MAX`], and that one wakes the others from inside.
#[derive(Default)]
pub(super) struct Wakes {
    first: Vec<Waker>,
    others: Vec<Waker>,
}

impl Wakes {
    /// Wakes them, after everyone was answered and the writer let go of their clicks.
    pub(super) fn wake(&mut self) {
        for waker in self.first.drain(..).chain(self.others.drain(..)) {
            waker.wake();
        }
    }
}

/// A caller's hold on its slot. However its wait ends, also when it stops polling, it wakes whom it is to wake.
pub(super) struct Waiting(pub(super) Arc<Slot>);

impl Drop for Waiting {
    fn drop(&mut self) {
        let others = {
            let mut seat = lock(&self.0.state);
            // Whoever does not wait any more is asked to wake nobody: its task is gone, and a wake for it wakes nobody.
            seat.waker = None;
            std::mem::take(&mut seat.others)
        };
        for waker in others {
            waker.wake();
        }
    }
}

/// A click on its way to the writer.
pub(super) struct Pending {
    pub(super) slot: Arc<Slot>,
    /// The id, once minted.
    pub(super) id: Option<ClickId>,
}

/// How the writer waits for more clicks once there is one.
#[derive(Debug, Clone, Copy)]
pub(super) struct Gather {
    /// So many are enough.
    pub(super) enough: usize,
    /// So long at most.
    pub(super) at_most: Duration,
}

/// What the writer is to do next.
pub(super) struct Taken {
    /// The active slice is to be closed now.
    pub(super) close: bool,
    /// Nothing will come any more.
    pub(super) stopped: bool,
}

struct State {
    pending: VecDeque<Pending>,
    open: bool,
    idle: bool,
    close: bool,
    /// The writer gathers, and is woken by so many.
    gather: Option<usize>,
}

/// Clicks that wait for the writer.
pub(super) struct Queue {
    state: Mutex<State>,
    wake: Condvar,
    len_max: usize,
    /// Whom the writer has in hand.
    in_hand: Mutex<Vec<Arc<Slot>>>,
    sweeps: AtomicU32,
    is_swept: AtomicBool,
}

/// Sweeps in the time that a caller waits. A wait begins between two of them and ends with the last that lies within.
const SWEEPS: u32 = 8;

/// Ends the waits that take too long, as long as anyone waits. One timer for all: a timer for each click cost more
/// than its commit's share, and hardly one of them ever rang.
pub(super) async fn sweep(shared: Arc<Shared>) {
    /// The next caller starts another sweep when this one ends, also with its runtime.
    struct Swept<'a>(&'a Queue);
    impl Drop for Swept<'_> {
        fn drop(&mut self) {
            self.0.is_swept.store(false, SeqCst);
        }
    }
    let queue = &shared.queue;
    let mut late = Vec::new();
    loop {
        let swept = Swept(queue);
        while queue.has_callers() {
            tokio::time::sleep(shared.config.append_wait / SWEEPS).await;
            let now = queue.sweeps.fetch_add(1, Relaxed).wrapping_add(1);
            queue.late(now, &mut late);
            for slot in late.drain(..) {
                slot.give_up();
            }
        }
        drop(swept);
        // Whoever came since and saw the sweep still there is not left alone.
        if !queue.has_callers() || !queue.begin_sweep() {
            return;
        }
    }
}

impl Queue {
    pub(super) fn new(len_max: usize) -> Self {
        let state = State { pending: VecDeque::new(), open: true, idle: false, close: false, gather: None };
        Self {
            state: Mutex::new(state),
            wake: Condvar::new(),
            len_max,
            in_hand: Mutex::default(),
            sweeps: AtomicU32::new(0),
            is_swept: AtomicBool::new(false),
        }
    }

    /// Where the sweep is, for a wait that begins.
    pub(super) fn sweeps(&self) -> u32 {
        self.sweeps.load(Relaxed)
    }

    /// Whether the caller is to start the sweep.
    pub(super) fn begin_sweep(&self) -> bool {
        !self.is_swept.load(SeqCst) && !self.is_swept.swap(true, SeqCst)
    }

    fn has_callers(&self) -> bool {
        // In this order: the writer takes a click in hand before it lets go of the queue.
        !lock(&self.state).pending.is_empty() || !lock(&self.in_hand).is_empty()
    }

    /// Whose wait ends with this sweep.
    fn late(&self, now: u32, late: &mut Vec<Arc<Slot>>) {
        let is_late = |slot: &Arc<Slot>| now.wrapping_sub(slot.since) >= SWEEPS;
        // Those who have waited longest stand in front.
        late.extend(lock(&self.state).pending.iter().map(|p| &p.slot).take_while(|s| is_late(s)).cloned());
        late.extend(lock(&self.in_hand).iter().filter(|s| is_late(s)).cloned());
    }

    /// The writer has these in hand.
    pub(super) fn hand_full<'p>(&self, batch: impl Iterator<Item = &'p Pending>) {
        let mut in_hand = lock(&self.in_hand);
        in_hand.clear();
        in_hand.extend(batch.map(|p| p.slot.clone()));
    }

    /// The writer is done with what it had in hand, and about to answer. From here on the callers alone hold their
    /// clicks, besides the writer.
    pub(super) fn hand_empty(&self) {
        lock(&self.in_hand).clear();
    }

    /// Queues a click, or says why not.
    pub(super) fn push(&self, pending: Pending) -> Result<(), Why> {
        let mut state = lock(&self.state);
        if !state.open {
            return Err(Why::Stopped);
        }
        if state.pending.len() >= self.len_max {
            return Err(Why::QueueFull);
        }
        state.pending.push_back(pending);
        // Only a sleeping writer needs waking: while a commit runs, this click simply joins the next one.
        let is_enough = state.gather.is_some_and(|enough| state.pending.len() >= enough);
        if std::mem::take(&mut state.idle) || is_enough {
            state.gather = None;
            drop(state);
            self.wake.notify_one();
        }
        Ok(())
    }

    /// Moves up to `rows_max` clicks to `batch`; waits at most `tick` for the first, and then as `gather` says.
    pub(super) fn take(
        &self,
        batch: &mut Vec<Pending>,
        rows_max: usize,
        tick: Duration,
        gather: Option<Gather>,
    ) -> Taken {
        let mut state = lock(&self.state);
        if state.pending.is_empty() && state.open && !state.close {
            state.idle = true;
            state = self.wake.wait_timeout(state, tick).unwrap_or_else(PoisonError::into_inner).0;
            state.idle = false;
        }
        if let Some(Gather { enough, at_most }) = gather
            && !state.pending.is_empty()
        {
            let until = Instant::now() + at_most;
            state.gather = Some(enough);
            while state.pending.len() < enough && state.open && !state.close {
                let left = until.saturating_duration_since(Instant::now());
                if left.is_zero() {
                    break;
                }
                state = self.wake.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner).0;
            }
            state.gather = None;
        }
        let n = state.pending.len().min(rows_max);
        batch.extend(state.pending.drain(..n));
        self.hand_full(batch.iter());
        let stopped = !state.open && state.pending.is_empty();
        Taken { close: std::mem::take(&mut state.close), stopped }
    }

    pub(super) fn request_close(&self) {
        lock(&self.state).close = true;
        self.wake.notify_one();
    }

    /// Takes nothing more; what is queued is still written.
    pub(super) fn stop(&self) {
        lock(&self.state).open = false;
        self.wake.notify_one();
    }

    /// Takes nothing more and returns what was never written, to be answered.
    pub(super) fn drain(&self) -> Vec<Pending> {
        let mut state = lock(&self.state);
        state.open = false;
        state.pending.drain(..).collect()
    }

    pub(super) fn len(&self) -> usize {
        lock(&self.state).pending.len()
    }

    pub(super) fn is_open(&self) -> bool {
        lock(&self.state).open
    }
}

/// Locks a mutex whose data stays meaningful when a holder panicked.
pub(super) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicUsize;
    use std::task::Wake;

    use roundtrip_domain::click::{Click, Flags, LinkDialect, TouchKind};
    use roundtrip_domain::id::{Id, WorkspaceNo};
    use roundtrip_domain::time::Timestamp;

    use super::*;

    #[derive(Default)]
    struct Rung(AtomicUsize);

    impl Wake for Rung {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, SeqCst);
        }
    }

    #[test]
    fn the_writer_gathers_until_there_are_enough_or_the_time_is_over() {
        let queue = Arc::new(Queue::new(100));
        let push = |queue: &Queue| queue.push(Pending { slot: slot(), id: None }).unwrap();
        let mut batch = Vec::new();
        // The time is over.
        push(&queue);
        let short = Gather { enough: 3, at_most: Duration::from_millis(1) };
        queue.take(&mut batch, 100, Duration::ZERO, Some(short));
        assert_eq!(batch.len(), 1);
        // There are enough: whoever brings the last of them wakes the writer, long before the time is over.
        batch.clear();
        push(&queue);
        let other = queue.clone();
        let long = Gather { enough: 3, at_most: Duration::from_secs(600) };
        let writer = std::thread::spawn(move || {
            other.take(&mut batch, 100, Duration::ZERO, Some(long));
            batch.len()
        });
        push(&queue);
        push(&queue);
        assert_eq!(writer.join().unwrap(), 3);
        // Nobody waits for more when the log ends, nor for a first one that does not come.
        queue.take(&mut Vec::new(), 100, Duration::ZERO, Some(long));
        push(&queue);
        queue.stop();
        assert!(queue.take(&mut Vec::new(), 100, Duration::ZERO, Some(long)).stopped);
    }

    fn slot() -> Arc<Slot> {
        let click = Click {
            workspace: WorkspaceNo::DEFAULT,
            app: Id::from_bits(1),
            campaign: Id::from_bits(2),
            partner: Id::from_bits(3),
            link: Id::from_bits(4),
            kind: TouchKind::Click,
            dialect: LinkDialect::Linkrunner,
            flags: Flags::default(),
            received_at: Timestamp::from_ms(0),
            query: Vec::new(),
            ip: None,
            location: Default::default(),
            user_agent: None,
            referer: None,
            language: None,
        };
        Slot::new(Vec::new(), Noted::of(&click, &click.params()), 0)
    }

    #[test]
    fn whoever_leaves_while_its_commit_runs_takes_nobodys_wake_along() {
        // Whoever would have been the one to wake the others is gone, in each place of a commit's first two groups.
        for gone in 0..2 * WAKES_MAX {
            let callers: Vec<_> = (0..2 * WAKES_MAX + 3).map(|_| (slot(), Arc::<Rung>::default())).collect();
            let mut waiting: Vec<_> = callers.iter().map(|(slot, _)| Some(Waiting(slot.clone()))).collect();
            for (slot, rung) in &callers {
                let waker = Waker::from(rung.clone());
                assert_eq!(slot.poll(&mut Context::from_waker(&waker)), Poll::Pending);
                slot.mint(|| ClickId::from_bits(1));
            }
            waiting[gone] = None;
            let mut wakes = Wakes::default();
            for (slot, _) in &callers {
                slot.answer(Append::Stored(ClickId::from_bits(1)), &mut wakes);
            }
            wakes.wake();
            // Who was woken polls, is answered and goes, and wakes others in its turn.
            for _ in 0..callers.len() {
                for (at, (_, rung)) in callers.iter().enumerate() {
                    if rung.0.load(SeqCst) > 0 {
                        waiting[at] = None;
                    }
                }
            }
            for (at, (_, rung)) in callers.iter().enumerate().filter(|(at, _)| *at != gone) {
                assert!(rung.0.load(SeqCst) > 0, "{at} is not woken when {gone} is gone");
            }
        }
    }
}
