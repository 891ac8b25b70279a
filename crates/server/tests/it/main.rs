//! The real binary: how it starts, answers, refuses and ends.

mod asking;
mod backup;
mod bench;
mod books;
mod breaking;
mod buckets;
mod click_files;
mod clients;
mod commands;
mod crash;
mod egress;
mod exports;
mod geography;
mod house;
mod import;
mod library;
mod process;
mod receivers;
mod recovery;
mod rules;
mod serve;
