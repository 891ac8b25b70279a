//! Roundtrip's nouns and decisions.
//!
//! Everything a decision needs arrives as an argument; what it returns is data that can be printed,
//! compared and stored. There is no I/O, no clock and no randomness here, and nothing derives a wire or
//! disk format: each edge (`store`, `web`) keeps its own shapes.

pub mod attribution;
pub mod click;
pub mod click_id;
pub mod condition;
pub mod device;
pub mod endpoint;
pub mod event;
pub mod facts;
pub mod histogram;
pub mod id;
pub mod import;
pub mod link_address;
pub mod link_dialect;
pub mod location;
pub mod money;
pub mod params;
pub mod postback;
pub mod problem;
pub mod rate;
pub mod referrer;
pub mod retry;
pub mod secret;
pub mod settings;
pub mod sharing;
pub mod statement;
pub mod status;
pub mod success;
pub mod template;
pub mod time;
pub mod webhook;
