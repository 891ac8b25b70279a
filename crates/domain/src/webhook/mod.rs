//! Webhooks: what an app's own receivers are told.
//!
//! The cast: [`sign`] makes the headers by which a receiver knows that a request is ours. Not relied on: nothing
//! here sends; that is `engine::deliver`.

pub mod sign;
