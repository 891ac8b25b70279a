//! A receiver of Roundtrip's webhooks: checks, records each event once, answers.
//!
//! ```sh
//! WEBHOOK_SECRET=whsec_… cargo run -p roundtrip-server --example receiver
//! ```
//!
//! `LISTEN` is `127.0.0.1:9000` and `DATABASE` is `received.db` unless set. It stands on `axum` (features `http1` and
//! `tokio`), `tokio`, `rusqlite` and `standardwebhooks`. What to do with an event belongs into a worker of yours that
//! reads the table `received`: the answer is due within 15 s, and an event that was recorded is never lost.

#![expect(clippy::print_stdout, reason = "it says where it listens")]

use std::error::Error;
use std::sync::{Arc, Mutex, PoisonError};

use axum::Router;
use axum::body::Bytes;
use axum::extract::{DefaultBodyLimit, State};
use axum::http::{HeaderMap, StatusCode};
use axum::routing::post;
use rusqlite::Connection;
use standardwebhooks::Webhook;

/// Longer bodies are refused with 413. Roundtrip's are a few kilobytes.
const BODY_BYTES_MAX: usize = 1024 * 1024;

struct Receiver {
    webhook: Webhook,
    database: Mutex<Connection>,
}

impl Receiver {
    /// Keeps an event unless it is known already. The id is the same through retries and replays; the primary key
    /// also settles a race of two.
    fn record(&self, id: &str, body: &str) -> rusqlite::Result<()> {
        let database = self.database.lock().unwrap_or_else(PoisonError::into_inner);
        database.execute("INSERT OR IGNORE INTO received (id, body) VALUES (?1, ?2)", [id, body])?;
        Ok(())
    }
}

async fn receive(State(receiver): State<Arc<Receiver>>, headers: HeaderMap, body: Bytes) -> StatusCode {
    // The raw body, before anything parses it: the signature covers its bytes. The library checks the time too.
    if receiver.webhook.verify(&body, &headers).is_err() {
        return StatusCode::UNAUTHORIZED;
    }
    let id = headers.get("webhook-id").and_then(|id| id.to_str().ok());
    let (Some(id), Ok(body)) = (id, std::str::from_utf8(&body)) else {
        return StatusCode::BAD_REQUEST;
    };
    match receiver.record(id, body) {
        Ok(()) => StatusCode::NO_CONTENT,
        // Not recorded, so not received: it is sent again later.
        Err(_) => StatusCode::INTERNAL_SERVER_ERROR,
    }
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn Error>> {
    let setting = |name: &str, default: &str| std::env::var(name).unwrap_or_else(|_| default.to_owned());
    let webhook = Webhook::new(&std::env::var("WEBHOOK_SECRET").map_err(|_| "WEBHOOK_SECRET is not set")?)?;
    let database = Connection::open(setting("DATABASE", "received.db"))?;
    database
        .execute_batch("CREATE TABLE IF NOT EXISTS received (id TEXT PRIMARY KEY, body TEXT NOT NULL)")?;

    let receiver = Arc::new(Receiver { webhook, database: Mutex::new(database) });
    let router = Router::new()
        .route("/webhooks", post(receive))
        .layer(DefaultBodyLimit::max(BODY_BYTES_MAX))
        .with_state(receiver);
    let listener = tokio::net::TcpListener::bind(setting("LISTEN", "127.0.0.1:9000")).await?;
    println!("listening on http://{}/webhooks", listener.local_addr()?);
    axum::serve(listener, router).await?;
    Ok(())
}
