//! The real binary: how it starts, answers, refuses and ends.

mod commands;
mod process;
mod serve;
