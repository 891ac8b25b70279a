//! The engine's integration tests, one binary so that linking happens once.

mod alert;
mod deliver;
mod sender;
mod simulation;
mod unheard;
