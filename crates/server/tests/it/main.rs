//! The real binary: how it starts, answers, refuses and ends.

mod books;
mod breaking;
mod commands;
mod crash;
mod geography;
mod house;
mod import;
mod library;
mod process;
mod rules;
mod serve;
