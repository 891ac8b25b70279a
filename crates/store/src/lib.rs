//! Durable truth, in two shapes: clicks are a log, everything else is a ledger.
//!
//! Clicks are many, immutable, and worth nothing after their window ([`click_log`]); events, decisions,
//! deliveries and settings are few, precious and transactional ([`ledger`]). The rest of the program does not
//! know which form of either it runs on. A store is told the time, it never asks.

pub mod backup;
pub mod click_log;
mod error;
pub mod export;
pub mod ledger;
pub mod payload;
pub mod settings;

pub use self::error::Error;
