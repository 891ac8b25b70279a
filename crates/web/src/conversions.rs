//! The list of conversions, as the API answers it and the dashboard shows it.

use std::collections::BTreeMap;

use roundtrip_domain::id::{Id, kind};
use roundtrip_domain::money;
use roundtrip_domain::problem::Problem;
use roundtrip_domain::settings::Settings;
use roundtrip_store::ledger::{ConversionFilter, ConversionListed, Ledger};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::problem;
use crate::story::Named;

/// A conversion in a list.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Conversion {
    /// `cnv_…`.
    pub id: String,
    /// The event that made it, `evt_…`.
    pub event: String,
    /// The event's name, as sent.
    pub name: String,
    /// `install`, `signup`, `purchase` or `event`; `status_change` or `rejected` where the filter asks for changes.
    pub kind: String,
    /// Of which app or site.
    pub app: Named,
    /// `attributed`, `organic` or `install_unknown`.
    pub credit: String,
    /// Who has the credit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub partner: Option<Named>,
    /// By which campaign.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub campaign: Option<Named>,
    /// By which link.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub link: Option<Named>,
    /// By which click.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub click_id: Option<String>,
    /// How the winning touch was found.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub match_type: Option<String>,
    /// `approved`, `pending` or `rejected`.
    pub status: String,
    /// `production` or `sandbox`.
    pub environment: String,
    /// When its event reached Roundtrip.
    pub received_at: String,
    /// When it happened, as its sender says.
    pub occurred_at: String,
    /// Decimal, with a point.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub amount: Option<String>,
    /// ISO 4217.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub currency: Option<String>,
    /// The latest revision of its decision.
    pub revision: u32,
    /// Its deliveries by state, replays included; `scheduled` are those that wait.
    pub postbacks: BTreeMap<String, u32>,
    /// How many rules did not fire; its story says why.
    pub suppressed: u32,
}

/// A page of conversions.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Conversions {
    /// The newest first.
    pub items: Vec<Conversion>,
    /// Send it as `before` for the next page; absent on the last one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next: Option<String>,
}

/// Lists the latest conversions of a workspace.
///
/// # Errors
/// With `store_unavailable` when the ledger cannot answer.
pub async fn list(
    ledger: &Ledger,
    settings: &Settings,
    filter: ConversionFilter,
    before: Option<Id<kind::Conversion>>,
    limit: u32,
) -> Result<Conversions, Problem> {
    // One more than asked for tells whether there is another page.
    let rows = ledger.conversion_list(settings.workspace, filter, before, limit.saturating_add(1)).await;
    let mut rows = rows.map_err(|error| problem::of_store(&error))?;
    let more = rows.len() > limit as usize;
    rows.truncate(limit as usize);
    let items: Vec<_> = rows.into_iter().map(|row| shown(row, settings)).collect();
    let next = items.last().filter(|_| more).map(|last| last.id.clone());
    Ok(Conversions { items, next })
}

fn shown(listed: ConversionListed, settings: &Settings) -> Conversion {
    let ConversionListed { row, match_type, suppressed, deliveries } = listed;
    Conversion {
        id: row.id.to_string(),
        event: row.id.event().to_string(),
        name: row.name,
        kind: row.kind,
        app: app(row.app, settings),
        credit: row.credit,
        partner: row.partner.map(|id| partner(id, settings)),
        campaign: row.campaign.map(|id| campaign(id, settings)),
        link: row.link.map(|id| link(id, settings)),
        click_id: row.click.map(|id| id.to_string()),
        match_type: match_type.map(|by| by.name().to_owned()),
        status: row.status,
        environment: row.environment,
        received_at: row.received_at.to_string(),
        occurred_at: row.occurred_at.to_string(),
        amount: row.amount_micros.map(|micros| money::decimal(micros, 2)),
        currency: row.currency,
        revision: row.revision,
        postbacks: deliveries,
        suppressed,
    }
}

/// An app by the settings of now.
pub fn app(id: Id<kind::App>, settings: &Settings) -> Named {
    Named { id: id.to_string(), slug: settings.apps.get(&id).map(|app| app.slug.clone()) }
}

/// A partner by the settings of now.
pub fn partner(id: Id<kind::Partner>, settings: &Settings) -> Named {
    Named { id: id.to_string(), slug: settings.partners.get(&id).map(|partner| partner.slug.clone()) }
}

/// A webhook by the settings of now.
pub fn webhook(id: Id<kind::Webhook>, settings: &Settings) -> Named {
    Named { id: id.to_string(), slug: settings.webhook(id).map(|webhook| webhook.slug.clone()) }
}

/// A campaign by the settings of now.
pub fn campaign(id: Id<kind::Campaign>, settings: &Settings) -> Named {
    Named { id: id.to_string(), slug: settings.campaigns.get(&id).map(|campaign| campaign.slug.clone()) }
}

/// A link by the settings of now.
pub fn link(id: Id<kind::Link>, settings: &Settings) -> Named {
    Named { id: id.to_string(), slug: settings.links.get(&id).map(|link| link.public_id.clone()) }
}
