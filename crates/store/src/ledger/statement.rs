//! What arrived at a partner on a day, in the order of arrival: what a statement is made of.

use roundtrip_domain::id::{Id, WorkspaceNo, kind};
use roundtrip_domain::postback::MacroValue;
use roundtrip_domain::time::Timestamp;

use super::statements::sql;
use super::{Ledger, id_from, rows};
use crate::Error;

/// A delivery that arrived. Deliveries of sandbox events are none.
#[derive(Debug, Clone)]
pub struct Arrival {
    /// When.
    pub at: Timestamp,
    /// Which.
    pub delivery: Id<kind::Delivery>,
    /// What receivers dedupe on.
    pub fact: Id<kind::Event>,
    /// The conversion kind.
    pub kind: String,
    /// The values that it told.
    pub values: Vec<MacroValue>,
}

/// Up to where arrivals were read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ArrivalMark {
    /// When the last one arrived.
    pub at: Timestamp,
    /// Which it was.
    pub delivery: Id<kind::Delivery>,
}

impl Ledger {
    /// What arrived at a partner from `from` to before `to`, behind a mark or from the first on, at most `limit`.
    pub async fn arrivals(
        &self,
        ws: WorkspaceNo,
        partner: Id<kind::Partner>,
        (from, to): (Timestamp, Timestamp),
        after: Option<ArrivalMark>,
        limit: u32,
    ) -> Result<Vec<Arrival>, Error> {
        self.read(move |conn| {
            let (at, delivery) = after.map_or((from, [0; 16]), |mark| (mark.at, mark.delivery.bytes()));
            let mut statement = conn.prepare_cached(sql("arrivals"))?;
            let mut rows = statement.query(rusqlite::params![
                ws.0,
                at.ms(),
                to.ms(),
                delivery,
                partner.bytes(),
                limit
            ])?;
            let mut arrivals = Vec::new();
            while let Some(row) = rows.next()? {
                let (delivery, fact): (Vec<u8>, Vec<u8>) = (row.get(1)?, row.get(2)?);
                let delivery: Id<kind::Delivery> = id_from(&delivery, "finish", "delivery")?;
                arrivals.push(Arrival {
                    at: Timestamp::from_ms(row.get(0)?),
                    delivery,
                    fact: id_from(&fact, "delivery", "fact")?,
                    kind: row.get(3)?,
                    values: rows::values_read(&delivery.to_string(), &row.get::<_, String>(4)?)?,
                });
            }
            Ok(arrivals)
        })
        .await
    }
}
