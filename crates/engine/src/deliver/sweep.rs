//! Looking at the tables beside the coordinator, for what nobody handed over: the heads of the queue, and which endpoints
//! are stopped.
//!
//! The coordinator asks for one reading at a time and waits for its end before it asks for the next. So the end is told
//! whatever happens: a reading that panicked and said nothing would be the last one, and what only the sweep finds
//! would wait for ever.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use roundtrip_domain::endpoint::State;
use roundtrip_store::ledger::{EndpointRow, Ledger};
use tokio::sync::mpsc;

use super::endpoint::Key;
use super::{Coordinator, Message};
use crate::Stats;

/// Reads the tables and tells what they hold, with the moment `began` after which they were looked at.
pub(super) fn begin(
    ledger: Ledger,
    stats: Arc<Stats>,
    messages: mpsc::UnboundedSender<Message>,
    began: Duration,
) {
    tokio::spawn(async move {
        let found = match tokio::spawn(async move { ledger.queue_sweep().await }).await {
            Ok(Ok(found)) => Some(found),
            Ok(Err(error)) => {
                tracing::warn!(error = %error, "the queue cannot be read");
                None
            }
            Err(_) => {
                Stats::add(&stats.panics, 1);
                tracing::error!(engine.loop = "sweep", panics = 1, "a loop panicked and is started again");
                None
            }
        };
        // Nobody hears it only when the engine is gone.
        let _ = messages.send(Message::Swept { found, began });
    });
}

impl Coordinator {
    /// Learns of endpoints that were stopped or let go on and nobody said so: whoever asked for it hung up before that
    /// was done, or got no answer.
    pub(super) fn compare(&mut self, rows: &[EndpointRow], began: Duration) {
        let mut unlike: Vec<EndpointRow> = Vec::new();
        let mut stored: BTreeMap<Key, &EndpointRow> = BTreeMap::new();
        for row in rows {
            stored.insert(Key { workspace: row.workspace, endpoint: row.endpoint }, row);
        }
        for (key, endpoint) in &mut self.endpoints {
            let row = stored.remove(key);
            let state = row.map_or(State::Active, |row| row.state);
            if state == endpoint.state {
                endpoint.is_unkept = false;
            } else if !endpoint.is_unkept && endpoint.changed_at < began {
                // What is as usual has no row.
                unlike.push(row.cloned().unwrap_or_else(|| EndpointRow {
                    workspace: key.workspace,
                    endpoint: key.endpoint,
                    state,
                    reason: String::new(),
                    actor: String::new(),
                    since: self.read.wall,
                    health: endpoint.health,
                }));
            }
        }
        unlike.extend(stored.into_values().filter(|row| row.state.holds()).cloned());
        unlike.sort_by_key(|row| (row.workspace, row.endpoint));
        unlike.iter().for_each(|row| self.learn(row, false));
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use roundtrip_ambient::Entropy;
    use roundtrip_domain::time::Timestamp;
    use roundtrip_store::ledger::{Call, Database, Fate, Hook, QueueSwept};

    use super::*;

    /// What becomes of the next calls.
    struct Fates(Mutex<Vec<Fate>>);

    impl Hook for Fates {
        fn fate(&self, _: Call) -> (Fate, Duration, Duration) {
            let fate = self.0.lock().expect("nobody panics with it").remove(0);
            (fate, Duration::ZERO, Duration::ZERO)
        }

        fn has_ended(&self) -> bool {
            false
        }

        fn end(&self) {}
    }

    #[tokio::test]
    async fn the_end_is_told_whatever_happens() {
        let entropy = Entropy::seeded(1);
        let database = Database::new(&entropy, Timestamp::from_ms(0)).unwrap();
        let fates = Fates(Mutex::new(vec![Fate::Panics, Fate::Unavailable, Fate::Done]));
        let ledger = Ledger::simulated(&database, Arc::new(fates), entropy).unwrap();
        let stats = Arc::new(Stats::default());
        let (messages, mut inbox) = mpsc::unbounded_channel();
        for expected in [None, None, Some(QueueSwept::default())] {
            begin(ledger.clone(), stats.clone(), messages.clone(), Duration::from_secs(7));
            let heard = tokio::time::timeout(Duration::from_secs(60), inbox.recv()).await;
            match heard.expect("it is told") {
                Some(Message::Swept { found, began }) => {
                    assert_eq!((found, began), (expected, Duration::from_secs(7)));
                }
                _ => panic!("the end of a reading is told"),
            }
        }
        assert_eq!(stats.panics.load(std::sync::atomic::Ordering::Relaxed), 1);
    }
}
