//! A world to test in: settings from documents, a ledger in a temporary directory, clicks with minted ids, and
//! events in a few words.
//!
//! The cast: [`World`] owns the ledger and does what the engine does, step by step and by hand; [`Clicks`] is a
//! click log of a few lines that answers as the real one does; [`Tell`] are the words that describe an event;
//! [`Mmdb`] writes a database of addresses; [`simulation`] is a world of its own, for delivery; `disk` loses what was not
//! synced, for those who say that nothing is lost.
//!
//! Not relied on: nothing here is fast, and nothing here decides. A test that passes because of what this crate
//! computes would prove nothing, so it only carries things to the code under test and back.

mod clicks;
#[cfg(target_os = "linux")]
pub mod disk;
mod event;
mod mmdb;
pub mod simulation;
mod world;

pub use self::clicks::Clicks;
pub use self::event::Tell;
pub use self::mmdb::Mmdb;
pub use self::world::{NOON, World, sample};
