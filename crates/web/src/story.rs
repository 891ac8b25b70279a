//! One event's story as people and programs read it: what arrived, what was decided and why, what was told,
//! what came back, and what happens next.
//!
//! The cast:
//! - `shape` is the one tree of structs. The API answers it as JSON, `text` prints it on a terminal, the
//!   dashboard lays it out on a page; none of them adds a fact or a reason of its own.
//! - `tell` builds it from the ledger's [`Story`](roundtrip_store::ledger::Story), `touch` from the click log.
//! - `find` goes from an id to its story. `words` turns codes into sentences; `evidence` reads what was kept of a send.
//! - `mask` hides what identifies a person unless the caller asked for everything.
//!
//! Not relied on: the clock (the moment of telling is an argument), and current settings: names come with the
//! ledger's story, also those of what was deleted since.

mod evidence;
mod find;
mod mask;
mod phases;
mod shape;
mod tell;
pub mod text;
mod touch;
pub(crate) mod words;

pub use self::find::{Finder, Reference};
pub use self::phases::Phases;
pub use self::shape::{
    Answer, Attempt, Candidate, Click, ClickStory, Coded, Dead, Decision, Delivery, DeliveryStory, Device,
    Earlier, Earned, Event, Explained, Handover, Location, Money, Named, Param, Postback, Request, Rule,
    Step, Story, Told,
};
pub use self::tell::{tell, tell_alone, tell_delivery};
pub use self::touch::{earned, tell_click};

use roundtrip_domain::time::Timestamp;

/// A send by itself, personal data and all.
pub(crate) fn attempt(row: &roundtrip_store::ledger::AttemptRow) -> Attempt {
    evidence::attempt(row, &mask::Mask::new(true), false)
}

/// How a story is told.
#[derive(Debug, Clone, Copy)]
pub struct Telling {
    /// The moment of telling: "in 2 m" counts from here.
    pub now: Timestamp,
    /// Whether personal data is shown whole: device ids, addresses, queries as received, properties.
    pub full: bool,
}
