//! The real binary: how it starts, answers, refuses and ends.

mod breaking;
mod commands;
mod crash;
mod house;
mod process;
mod rules;
mod serve;
