//! One process of a simulated world: how its ledger's calls fare, and whether it still lives.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use roundtrip_store::ledger::{Call, Fate, Hook};
use tokio::time::Instant;

use super::dice::Dice;
use super::time::{Trace, lock};

/// How the ledger of a process behaves.
#[derive(Debug, Clone, Default)]
pub(super) struct Disk {
    /// The longest wait of a call, in milliseconds.
    pub(super) wait_ms_max: u64,
    /// How many writes in a thousand are done although the answer says that they were not.
    pub(super) answers_lost: u64,
    /// How many calls in a thousand are refused.
    pub(super) refused: u64,
    /// Until when every call is refused.
    pub(super) full_until: Option<Instant>,
    /// After how many more calls something panics or the process ends, and how.
    pub(super) ends: Option<(u32, Fate)>,
}

/// A process, as the world sees it.
#[derive(Debug)]
pub(super) struct Process {
    /// Counts from 1.
    pub(super) number: u32,
    ended: AtomicBool,
    has_panicked: AtomicBool,
    /// Whether it ever lived beside another one.
    was_beside: AtomicBool,
    calls: AtomicU64,
    /// When its disk last refused something.
    refused_at: Mutex<Option<Instant>>,
    dice: Mutex<Dice>,
    disk: Mutex<Disk>,
    trace: Trace,
}

impl Process {
    pub(super) fn new(number: u32, dice: Dice, disk: Disk, trace: Trace) -> Arc<Self> {
        Arc::new(Self {
            number,
            ended: AtomicBool::new(false),
            has_panicked: AtomicBool::new(false),
            was_beside: AtomicBool::new(false),
            calls: AtomicU64::new(0),
            refused_at: Mutex::default(),
            dice: Mutex::new(dice),
            disk: Mutex::new(disk),
            trace,
        })
    }

    /// Calls of its ledger so far.
    pub(super) fn calls(&self) -> u64 {
        self.calls.load(Ordering::Relaxed)
    }

    /// When its disk last refused something.
    pub(super) fn refused_at(&self) -> Option<Instant> {
        *lock(&self.refused_at)
    }

    /// Another one lives beside it.
    pub(super) fn beside(&self) {
        self.was_beside.store(true, Ordering::SeqCst);
    }

    /// Whether it ever lived beside another one.
    pub(super) fn was_beside(&self) -> bool {
        self.was_beside.load(Ordering::SeqCst)
    }

    /// Whether something in it has panicked: what it knew is lost, as after a crash, and what it was sending goes on.
    pub(super) fn has_panicked(&self) -> bool {
        self.has_panicked.load(Ordering::SeqCst)
    }

    /// Changes how its ledger behaves.
    pub(super) fn with_disk(&self, change: impl FnOnce(&mut Disk)) {
        change(&mut lock(&self.disk));
    }

    /// Never returns in a process that has ended.
    pub(super) async fn pass(&self) {
        if self.has_ended() {
            std::future::pending::<()>().await;
        }
    }
}

impl Hook for Process {
    fn fate(&self, call: Call) -> (Fate, Duration, Duration) {
        self.calls.fetch_add(1, Ordering::Relaxed);
        let (mut dice, mut disk) = (lock(&self.dice), lock(&self.disk));
        let max = disk.wait_ms_max;
        let wait = |dice: &mut Dice| Duration::from_millis(if max == 0 { 0 } else { dice.between(0, max) });
        let (before, after) = (wait(&mut dice), wait(&mut dice));
        if let Some((left, how)) = &mut disk.ends {
            if *left == 0 {
                let how = *how;
                disk.ends = None;
                self.trace.say(format_args!("p{} {call:?} {how:?}", self.number));
                if how == Fate::Panics {
                    self.has_panicked.store(true, Ordering::SeqCst);
                }
                return (how, before, after);
            }
            *left -= 1;
        }
        let refused =
            disk.full_until.is_some_and(|until| Instant::now() < until) || dice.chance(disk.refused);
        let fate = match call {
            _ if refused => Fate::Unavailable,
            Call::Write if dice.chance(disk.answers_lost) => Fate::AnswerLost,
            Call::Write | Call::Read => Fate::Done,
        };
        if refused {
            *lock(&self.refused_at) = Some(Instant::now());
        }
        if fate != Fate::Done {
            self.trace.say(format_args!("p{} {call:?} {fate:?}", self.number));
        }
        (fate, before, after)
    }

    fn has_ended(&self) -> bool {
        self.ended.load(Ordering::SeqCst)
    }

    fn end(&self) {
        if !self.ended.swap(true, Ordering::SeqCst) {
            self.trace.say(format_args!("p{} has ended", self.number));
        }
    }
}

/// Whoever looks at the tables from outside the world: nothing happens to its calls.
#[derive(Debug)]
pub(super) struct Onlooker;

impl Hook for Onlooker {
    fn fate(&self, _: Call) -> (Fate, Duration, Duration) {
        (Fate::Done, Duration::ZERO, Duration::ZERO)
    }

    fn has_ended(&self) -> bool {
        false
    }

    fn end(&self) {}
}
