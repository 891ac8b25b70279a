//! What `roundtrip demo` plays: the partners ([`sink`]), the people ([`visitor`]), and the scenes ([`scenes`]).
//!
//! Nothing here reaches into the server: settings go in through `roundtrip apply`, everything else through
//! HTTP, and the story comes out of `roundtrip explain`. What the demo shows is what a user gets.

pub(crate) mod scenes;
pub(crate) mod sink;
pub(crate) mod visitor;

/// The sample world: `examples/demo/roundtrip.toml`.
pub(crate) const WORLD: &str = include_str!("../../../../examples/demo/roundtrip.toml");
/// The variable by which the sample world learns where the demo's partners listen.
pub(crate) const SINK_VARIABLE: &str = "ROUNDTRIP_DEMO_SINK";
