//! The guarded client against real sockets on loopback, most of them hostile.

mod early;
mod evidence;
mod guard;
mod hostile;
mod injection;
mod proxy;
pub(crate) mod receiver;
mod reuse;
mod tls;
mod token;

use std::time::Duration;

use roundtrip_engine::sender::{Config, Guard, Limits, Sender};

/// Short enough that a receiver which stalls costs a test a third of a second.
const SHORT: Limits = Limits { connect_ms: 300, total_ms: 300, ..Limits::POSTBACK };

/// Long enough for a machine that is busy with other tests; nothing should ever come near it.
const AMPLE: Limits = Limits { connect_ms: 5_000, total_ms: 5_000, ..Limits::POSTBACK };

/// Every wait in these tests ends here at the latest.
const PATIENCE: Duration = Duration::from_secs(5);

fn loopback_guard() -> Guard {
    Guard {
        allow_private: vec!["127.0.0.0/8".parse().unwrap(), "::1".parse().unwrap()],
        allow_plain_http: true,
        ..Guard::default()
    }
}

fn sender() -> Sender {
    sender_with(Config::default())
}

fn sender_with(config: Config) -> Sender {
    Sender::new(&config, loopback_guard()).unwrap()
}

/// Lets other tasks run until `state` holds.
async fn until(what: &str, state: impl Fn() -> bool) {
    let reached = tokio::time::timeout(PATIENCE, async {
        while !state() {
            tokio::task::yield_now().await;
        }
    });
    assert!(reached.await.is_ok(), "never came true: {what}");
}
