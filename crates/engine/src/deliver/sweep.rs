//! Reading the queue's heads, beside the coordinator.
//!
//! The coordinator asks for one reading at a time and waits for its end before it asks for the next. So the end is told
//! whatever happens: a reading that panicked and said nothing would be the last one, and what only the sweep finds
//! would wait for ever.

use std::sync::Arc;
use std::time::Duration;

use roundtrip_store::ledger::Ledger;
use tokio::sync::mpsc;

use super::Message;
use crate::Stats;

/// Reads the heads and tells them, with the moment `began` after which the table was looked at.
pub(super) fn begin(
    ledger: Ledger,
    stats: Arc<Stats>,
    messages: mpsc::UnboundedSender<Message>,
    began: Duration,
) {
    tokio::spawn(async move {
        let heads = match tokio::spawn(async move { ledger.queue_endpoints().await }).await {
            Ok(Ok(heads)) => Some(heads),
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
        let _ = messages.send(Message::Swept { heads, began });
    });
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use roundtrip_ambient::Entropy;
    use roundtrip_domain::time::Timestamp;
    use roundtrip_store::ledger::{Call, Database, Fate, Hook};

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
        for expected in [None, None, Some(Vec::new())] {
            begin(ledger.clone(), stats.clone(), messages.clone(), Duration::from_secs(7));
            let heard = tokio::time::timeout(Duration::from_secs(60), inbox.recv()).await;
            match heard.expect("it is told") {
                Some(Message::Swept { heads, began }) => {
                    assert_eq!((heads, began), (expected, Duration::from_secs(7)));
                }
                _ => panic!("the end of a reading is told"),
            }
        }
        assert_eq!(stats.panics.load(std::sync::atomic::Ordering::Relaxed), 1);
    }
}
