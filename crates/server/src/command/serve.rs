//! `roundtrip serve`: a node, until a signal or a store that cannot go on.

use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context as _;
use roundtrip_ambient::{Clock, Entropy};
use tokio::signal::unix::{Signal, SignalKind, signal};

use crate::config::{Config, Durability, Flags};
use crate::node::Node;
use crate::{admin_token, telemetry, terminal};

/// How long an orderly end may take in all: requests (11 s), what is being sent (37 s), both stores, and some air. Less
/// than the 90 s after which systemd kills.
const STOP_MAX: Duration = Duration::from_secs(60);
/// How long the end may take when a store has already failed.
const STOP_FATAL_MAX: Duration = Duration::from_secs(5);

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(flatten)]
    flags: Flags,
}

pub(crate) fn run(args: Args) -> anyhow::Result<ExitCode> {
    // A variable whose name is not UTF-8 is none of ours.
    let env: Vec<_> =
        std::env::vars_os().filter_map(|(name, value)| Some((name.into_string().ok()?, value))).collect();
    let config = Config::load(&args.flags, &env)?;
    telemetry::start(&config.log);
    raise_open_files();
    refuse_huge_pages();
    let runtime =
        tokio::runtime::Builder::new_multi_thread().enable_all().build().context("start the runtime")?;
    let ended = runtime.block_on(serve(&config));
    // What still blocks a thread now has had its time; waiting longer would hang the end.
    runtime.shutdown_background();
    ended.map(|()| ExitCode::SUCCESS)
}

async fn serve(config: &Config) -> anyhow::Result<()> {
    // Listened to from the beginning: a signal during the start must end the server as well.
    let mut signals = Signals::listen()?;
    let node = Node::start(config, Clock::System, Entropy::System).await?;
    terminal::line(&ready(config, &node)).context("print that the server is ready")?;
    let fatal = tokio::select! {
        () = signals.next() => None,
        fatal = node.failed() => Some(fatal),
    };
    match fatal {
        None => {
            tracing::info!("stopping; a second signal cuts requests and sends off");
            tokio::time::timeout(STOP_MAX, node.stop(signals.next()))
                .await
                .with_context(|| format!("stop within {} s", STOP_MAX.as_secs()))?
        }
        Some(fatal) => {
            tracing::error!(reason = fatal.0, "a store cannot go on, so the process ends");
            // Whatever the stores say while closing, the first reason is the one to tell.
            let _ = tokio::time::timeout(STOP_FATAL_MAX, node.stop(std::future::ready(()))).await;
            Err(fatal.into())
        }
    }
}

/// SIGTERM and SIGINT.
struct Signals {
    terminate: Signal,
    interrupt: Signal,
}

impl Signals {
    fn listen() -> anyhow::Result<Self> {
        let listen = |kind| signal(kind).context("listen to signals");
        Ok(Self { terminate: listen(SignalKind::terminate())?, interrupt: listen(SignalKind::interrupt())? })
    }

    async fn next(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }
}

/// Has memory come in small pages. The allocator asks for pages of 2 MB, and then a few bytes in use keep all of one:
/// after 20,000 deliveries the server held 240 MB with them and 143 MB without, at the same pace.
fn refuse_huge_pages() {
    #[cfg(target_os = "linux")]
    if let Err(error) = nix::sys::prctl::set_thp_disable(true) {
        tracing::debug!(error = %error, "huge pages cannot be refused; more memory is held");
    }
}

/// A connection is a file. Most systems start a process with 1,024 and let it have more for the asking.
pub(super) fn raise_open_files() {
    use rustix::process::{Resource, getrlimit, setrlimit};
    let mut limit = getrlimit(Resource::Nofile);
    if limit.current != limit.maximum {
        limit.current = limit.maximum;
        if let Err(error) = setrlimit(Resource::Nofile, limit) {
            tracing::warn!(%error, "cannot raise the number of open files");
        }
    }
}

/// What is printed once both listeners accept.
fn ready(config: &Config, node: &Node) -> String {
    let data = node.data().display().to_string();
    if config.json {
        return serde_json::json!({
            "ready": true, "public": node.public(), "admin": node.admin(), "public_url": node.public_url(),
            "data": data, "pid": std::process::id(), "version": env!("CARGO_PKG_VERSION"),
        })
        .to_string();
    }
    let durability = match config.click_durability {
        Durability::Strict => "",
        Durability::Relaxed => {
            "\n\n  Clicks are answered before they are on the disk (click_durability = relaxed)."
        }
    };
    format!(
        "Roundtrip {} is running.\n\n  \
         public  {}  clicks, events, postbacks\n  \
         admin   {}  dashboard (open it in a browser), API and metrics\n  \
         key     {}  signs in there, and opens the API\n  \
         data    {data}{durability}\n\n\
         Ctrl-C ends it.",
        env!("CARGO_PKG_VERSION"),
        node.public_url(),
        node.admin(),
        node.data().join(admin_token::FILE).display(),
    )
}
