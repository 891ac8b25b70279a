//! A simulated world for delivery: one seed is one world, and the same seed is the same world again.
//!
//! The cast: `plan` and `dice` say what a seed makes of its world; `world` runs it, operation by operation, to its `ending`; a
//! `process` has a ledger of its own on the one [`Database`](roundtrip_store::ledger::Database) that outlives
//! it, and can end at any call; the `owner` stops endpoints and makes jobs; `receivers` are those who are told, well and ill; the `judge` looks at every send
//! as it begins, by what is on the disk then. Whoever delivers is under test, comes from outside as [`Workers`] and
//! is the real engine.
//!
//! Time is the runtime's paused clock, which moves on only when nobody has anything to do; the wall clock follows
//! it and can be moved alone. There is one thread. Nothing asks the machine for time or randomness.
//!
//! What is not simulated: disks that forget what was committed, sockets and TLS, threads, the click log. Waits are
//! shorter than real ones.

mod dice;
mod ending;
mod judge;
mod owner;
mod plan;
mod process;
mod receivers;
mod time;
mod world;

use std::fmt;
use std::future::Future;

use roundtrip_ambient::{Clock, Entropy};
use roundtrip_store::ledger::Ledger;

pub use self::judge::{Bounds, Tally};
pub use self::plan::Width;
pub use self::receivers::{Answer, Line, Outgoing};

/// What a worker gets when its process starts.
#[derive(Debug, Clone)]
pub struct Seat {
    /// The process's ledger.
    pub ledger: Ledger,
    /// The wall clock.
    pub clock: Clock,
    /// Randomness of its own.
    pub entropy: Entropy,
    /// Waits between sends of postbacks, in milliseconds.
    pub waits_ms: Vec<i64>,
    /// Whether there are jobs to take steps of.
    pub has_jobs: bool,
    /// The network.
    pub line: Line,
}

/// Who delivers.
pub trait Workers {
    /// One that runs.
    type Worker;

    /// Most sends under way that it promises.
    const BOUNDS: Bounds;

    /// Starts one on the current runtime.
    fn start(&self, seat: Seat) -> Self::Worker;

    /// Stops one: nothing new is begun, what is under way ends.
    fn stop(worker: Self::Worker) -> impl Future<Output = ()>;

    /// How many waiting deliveries it holds in memory.
    fn in_memory(worker: &Self::Worker) -> u64;

    /// How often something in it panicked and was started again.
    fn panics(worker: &Self::Worker) -> u64;

    /// Whether it has given up: its process is to end.
    fn has_failed(worker: &Self::Worker) -> bool;
}

/// What a seed came to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Report {
    /// The seed.
    pub seed: u64,
    /// What was not as it must be; empty when all is well.
    pub wrongs: Vec<String>,
    /// What happened, in numbers.
    pub tally: Tally,
    /// What happened, line by line: seconds since the beginning, and what.
    pub trace: Vec<String>,
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.trace.iter().try_for_each(|line| writeln!(f, "{line}"))?;
        self.wrongs.iter().try_for_each(|wrong| writeln!(f, "seed {}: {wrong}", self.seed))
    }
}

/// Lives through the world of a seed. A narrow one is what the seed has always been.
pub fn simulate<W: Workers>(seed: u64, width: Width, workers: &W) -> Report {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .start_paused(true)
        .build()
        .expect("a runtime of one thread");
    runtime.block_on(async { world::World::new(seed, width, workers).await.run().await })
}
