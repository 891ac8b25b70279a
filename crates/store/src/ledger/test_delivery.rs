//! Test deliveries: sent like any other, and in no book.
//!
//! A test tells of no event: the id that it says as its event's is its own and names nothing that is kept. It counts
//! nowhere, because it is booked nowhere.

use roundtrip_domain::endpoint::Endpoint;
use roundtrip_domain::id::{Id, WorkspaceNo, kind};
use roundtrip_domain::postback::MacroValue;
use roundtrip_domain::time::Timestamp;

use super::decide::Due;
use super::{Ledger, delivery, rows};
use crate::Error;

/// The kind of test deliveries.
pub const TEST_KIND: &str = "test";

/// A test that is wanted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeliveryTest {
    /// Who is told, and by what.
    pub endpoint: Endpoint,
    /// The version of the rule or webhook.
    pub version: u64,
    /// The app that it is about.
    pub app: Id<kind::App>,
    /// Made-up values, for a postback.
    pub values: Vec<MacroValue>,
}

impl Ledger {
    /// Plans a test. It waits in the endpoint's queue like any other delivery. `event_id` is added to its values.
    pub async fn delivery_test(
        &self,
        ws: WorkspaceNo,
        test: DeliveryTest,
        at: Timestamp,
    ) -> Result<Id<kind::Delivery>, Error> {
        let entropy = self.inner.entropy.clone();
        let due = self
            .write(move |conn| {
                let event: Id<kind::Event> = entropy.id(at);
                let delivery: Id<kind::Delivery> = entropy.id(at);
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
                    deadline: None,
                    replay_of: None,
                    values: rows::values_write(&values),
                };
                delivery::insert(conn, ws.0, delivery, &row)?;
                let item = Due { workspace: ws, endpoint: test.endpoint, due: at, delivery, sends: 0 };
                delivery::enqueue(conn, &item, TEST_KIND)?;
                Ok(item)
            })
            .await?;
        self.inner.handoff.due(std::slice::from_ref(&due));
        Ok(due.delivery)
    }
}
