//! The latest conversions for people who browse: with who won, how, and how their postbacks stand.
//!
//! Filters walk the newest rows until enough of them fit; a filter that fits nothing walks them all. Not relied
//! on for counting: that is what rollups are for.

use std::collections::BTreeMap;

use roundtrip_domain::attribution::MatchType;
use roundtrip_domain::click_id::ClickId;
use roundtrip_domain::event::ConversionKind;
use roundtrip_domain::id::{Id, WorkspaceNo, kind};
use roundtrip_domain::time::Timestamp;

use super::statements::sql;
use super::{Ledger, id_from};
use crate::Error;

/// Which conversions are listed. Everything that is `None` matches all.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ConversionFilter {
    /// Of that app.
    pub app: Option<Id<kind::App>>,
    /// Won by that partner.
    pub partner: Option<Id<kind::Partner>>,
    /// Of that kind. Changes of status are listed only where they are asked for.
    pub kind: Option<ConversionKind>,
}

/// A conversion with its latest decision.
#[derive(Debug, Clone)]
pub struct ConversionRow {
    /// The conversion.
    pub id: Id<kind::Conversion>,
    /// Its app.
    pub app: Id<kind::App>,
    /// Its kind.
    pub kind: String,
    /// The event's name.
    pub name: String,
    /// `approved`, `pending` or `rejected`.
    pub status: String,
    /// `production` or `sandbox`.
    pub environment: String,
    /// When its event reached us.
    pub received_at: Timestamp,
    /// When it happened.
    pub occurred_at: Timestamp,
    /// Amount in millionths.
    pub amount_micros: Option<i64>,
    /// Its currency.
    pub currency: Option<String>,
    /// Latest revision of the decision.
    pub revision: u32,
    /// `attributed`, `organic` or `install_unknown`.
    pub credit: String,
    /// Who has the credit.
    pub partner: Option<Id<kind::Partner>>,
    /// By which campaign.
    pub campaign: Option<Id<kind::Campaign>>,
    /// By which link.
    pub link: Option<Id<kind::Link>>,
    /// By which click.
    pub click: Option<ClickId>,
}

/// A conversion in a list.
#[derive(Debug, Clone)]
pub struct ConversionListed {
    /// The conversion and its latest decision.
    pub row: ConversionRow,
    /// How the winning touch was found.
    pub match_type: Option<MatchType>,
    /// How many rules did not fire.
    pub suppressed: u32,
    /// Its deliveries by state, replays included; `scheduled` are those that wait.
    pub deliveries: BTreeMap<String, u32>,
}

impl Ledger {
    /// The latest conversions that fit, before an id (or all), newest first.
    pub async fn conversion_list(
        &self,
        ws: WorkspaceNo,
        filter: ConversionFilter,
        before: Option<Id<kind::Conversion>>,
        limit: u32,
    ) -> Result<Vec<ConversionListed>, Error> {
        self.read(move |conn| {
            let before = before.map_or([0xff; 16], Id::bytes);
            let mut statement = conn.prepare_cached(sql("conversion_list"))?;
            let mut unfired = conn.prepare_cached(sql("suppressed_of_event"))?;
            let mut states = conn.prepare_cached(sql("states_of_event"))?;
            let mut rows = statement.query(rusqlite::params![
                ws.0,
                before.as_slice(),
                filter.app.map(Id::bytes),
                filter.kind.as_ref().map(ConversionKind::name),
                filter.partner.map(Id::bytes),
                limit,
            ])?;
            let mut list = Vec::new();
            while let Some(row) = rows.next()? {
                let (id, app): (Vec<u8>, Vec<u8>) = (row.get(0)?, row.get(1)?);
                let optional = |at| -> rusqlite::Result<Option<Vec<u8>>> { row.get(at) };
                let suppressed = unfired.query_row((ws.0, id.as_slice()), |row| row.get(0))?;
                let deliveries = states
                    .query_map((ws.0, id.as_slice()), |row| Ok((row.get(0)?, row.get(1)?)))?
                    .collect::<Result<_, _>>()?;
                list.push(ConversionListed {
                    row: ConversionRow {
                        id: id_from(&id, "conversion", "id")?,
                        app: id_from(&app, "conversion", "app")?,
                        kind: row.get(2)?,
                        name: row.get(3)?,
                        status: row.get(4)?,
                        environment: row.get(5)?,
                        received_at: Timestamp::from_ms(row.get(6)?),
                        occurred_at: Timestamp::from_ms(row.get(7)?),
                        amount_micros: row.get(8)?,
                        currency: row.get(9)?,
                        revision: row.get(10)?,
                        credit: row.get(11)?,
                        partner: optional(12)?.as_deref().and_then(Id::from_slice),
                        campaign: optional(13)?.as_deref().and_then(Id::from_slice),
                        link: optional(14)?.as_deref().and_then(Id::from_slice),
                        click: optional(15)?
                            .as_deref()
                            .and_then(roundtrip_domain::click_id::ClickId::from_slice),
                    },
                    match_type: row.get::<_, Option<u8>>(16)?.and_then(MatchType::from_number),
                    suppressed,
                    deliveries,
                });
            }
            Ok(list)
        })
        .await
    }
}
