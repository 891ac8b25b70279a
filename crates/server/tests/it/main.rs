//! The real binary: how it starts, answers, refuses and ends.

mod process;
mod serve;
mod commands;
