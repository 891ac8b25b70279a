//! Test deliveries: sent like any other, and in no book.
//!
//! A test is sent once, and within minutes or not at all: what nobody waits for any more is no test. To an endpoint that is
//! stopped it is sent all the same, for that is how its owner finds out whether it works again.
//!
//! A test tells of no event: the id that it says as its event's is its own and names nothing that is kept. It counts
//! nowhere, because it is booked nowhere.

use roundtrip_domain::endpoint::Endpoint;
use roundtrip_domain::id::{Id, WorkspaceNo, kind};
use roundtrip_domain::postback::MacroValue;
use roundtrip_domain::time::Timestamp;
use roundtrip_domain::webhook::Topic;

use super::decide::Due;
use super::statements::sql;
use super::{Ledger, delivery, rows};
use crate::Error;
use crate::payload::{self, Notice};

/// The kind of test deliveries.
pub const TEST_KIND: &str = "test";

/// After which a test is not sent any more, in milliseconds.
const USEFUL_MS: i64 = 10 * 60_000;

/// A test that is wanted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeliveryTest {
    /// Who is told, and by what.
    pub endpoint: Endpoint,
    /// The version of the rule or webhook.
    pub version: u64,
    /// The app that it is about; zeros for a webhook of all apps.
    pub app: Id<kind::App>,
    /// Made-up values, for a postback.
    pub values: Vec<MacroValue>,
}

impl Ledger {
    /// Plans a test. It waits in the endpoint's queue like any other delivery; the engine of the same process sends it at
    /// once where that endpoint is stopped. `event_id` is added to its values.
    pub async fn delivery_test(
        &self,
        ws: WorkspaceNo,
        test: DeliveryTest,
        at: Timestamp,
    ) -> Result<Id<kind::Delivery>, Error> {
        let (catalog, ids) = (self.catalog(), self.inner.ids.clone());
        let due = self
            .write(move |conn| {
                let event: Id<kind::Event> = ids.id(at);
                let delivery: Id<kind::Delivery> = ids.id(at);
                let own = MacroValue {
                    name: "event_id".to_owned(),
                    decoded: event.to_string().into_bytes(),
                    received: None,
                };
                let mut values: Vec<MacroValue> =
                    test.values.iter().filter(|value| value.name != own.name).cloned().collect();
                values.push(own);
                let row = delivery::Row {
                    event,
                    fact: event,
                    revision: 0,
                    endpoint: test.endpoint,
                    teller_version: test.version,
                    app: test.app.bytes(),
                    kind: TEST_KIND.to_owned(),
                    created_at: at,
                    booked_at: None,
                    deadline: Some(at.plus_ms(USEFUL_MS)),
                    replay_of: None,
                    values: rows::values_write(&values),
                };
                delivery::insert(conn, ws.0, delivery, &row)?;
                if let Endpoint::Webhook(webhook) = test.endpoint {
                    let settings = catalog.workspace(ws);
                    let slug =
                        settings.and_then(|settings| settings.webhook(webhook)).map(|w| w.slug.clone());
                    let notice = Notice {
                        sentence: "This is a test: nothing happened.".to_owned(),
                        about: slug.map(|slug| format!("webhook:{slug}")),
                        figures: serde_json::json!({}),
                    };
                    let app = settings.and_then(|s| s.apps.get(&test.app)).map(|app| app.slug.clone());
                    let body = payload::of_notice(event, Topic::Test, at, app, Some(notice), None).write();
                    let bytes = event.bytes();
                    conn.prepare_cached(sql("payload_put"))?.execute((ws.0, bytes, 0, at.ms(), &body))?;
                }
                let item = Due { workspace: ws, endpoint: test.endpoint, due: at, delivery, sends: 0 };
                delivery::enqueue(conn, &item, TEST_KIND)?;
                Ok(item)
            })
            .await?;
        self.inner.handoff.test(due);
        Ok(due.delivery)
    }
}
