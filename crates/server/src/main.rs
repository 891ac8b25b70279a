//! The `roundtrip` binary: configuration, wiring, commands, telemetry, shutdown.
//!
//! | file | who does what |
//! | --- | --- |
//! | `command/` | one file per command; `command/mod.rs` lists them |
//! | `config` | the server's settings: flags, environment, file; raw, then checked |
//! | `data_dir`, `admin_token` | the directory, its lock, the first admin key |
//! | `node`, `stores` | one running server: stores, loops, listeners, and their end |
//! | `listen`, `operate`, `metrics`, `telemetry` | the accept loop; probes; counters; log lines |
//! | `demo` | what the demo plays: partners, people, scenes |
//! | `client`, `terminal` | what commands speak to, and where they print |
//! | `bucket`, `bucket_url` | S3 and its like, for exports and for segments of clicks; how they are named |
//!
//! Nothing here decides anything about clicks, events or postbacks.

mod admin_token;
#[cfg(feature = "bucket")]
mod bucket;
mod bucket_url;
mod client;
mod command;
mod config;
mod data_dir;
mod demo;
mod geography;
mod listen;
mod metrics;
mod node;
mod operate;
mod stores;
mod telemetry;
mod terminal;

use std::process::ExitCode;

/// Requests are made of many small allocations: with the system's allocator they were a sixth of the time of a
/// redirect (docs/decisions/0005-dependencies.md).
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    command::main()
}
