//! The engine's integration tests, one binary so that linking happens once.

mod deliver;
mod sender;
mod simulation;
