//! The page of deliveries: a filter, and rows that lead to stories.

use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use roundtrip_domain::id::{Id, kind};
use roundtrip_domain::params::Params;
use roundtrip_domain::problem::{Code, Problem};
use roundtrip_domain::settings::Settings;
use roundtrip_domain::time::{Timestamp, human};

use super::home::state_badge;
use super::pages::{self, Choice, DeliveriesPage, FilterFields, ListedDelivery};
use super::{Inner, Refused};
use crate::deliveries::{self, PARAMETERS, Wanted};

/// Deliveries on a page.
const ROWS: u32 = 50;
/// The states that can be chosen, with their words.
const STATES: [(&str, &str); 8] = [
    ("waiting", "waiting or held"),
    ("held", "held"),
    ("delivered", "delivered"),
    ("dead", "given up"),
    ("expired", "expired"),
    ("cancelled", "cancelled"),
    ("dead,expired", "given up or expired"),
    ("scheduled", "waiting"),
];

/// Renders the page.
pub(super) async fn render(
    inner: &Inner,
    settings: &Settings,
    query: &Params,
) -> Result<Result<String, minijinja::Error>, Refused> {
    let now = inner.now();
    let text =
        |name: &str| query.text(name).map(|text| text.trim().to_owned()).filter(|text| !text.is_empty());
    let before = match text("before") {
        None => None,
        Some(text) => Some(text.parse::<Id<kind::Delivery>>().map_err(|_| {
            Problem::new(Code::ParameterInvalid, "before", "it is the id of a delivery (dlv_…)")
        })?),
    };
    let is_all = before.is_none() && PARAMETERS.iter().all(|(name, _)| text(name).is_none());
    let filter = Wanted::read(text).judge(settings, now, "")?;
    let page = deliveries::list(&inner.state.ledger, settings, filter, before, ROWS, now).await?;
    let older = page.next.map(|next| {
        let mut path = format!("/deliveries?before={next}");
        for (name, _) in PARAMETERS {
            if let Some(value) = text(name) {
                path.push_str(&format!("&{name}={}", utf8_percent_encode(&value, NON_ALPHANUMERIC)));
            }
        }
        path
    });
    let chosen = text("state").unwrap_or_default();
    let field = |name: &str| text(name).unwrap_or_default();
    Ok(pages::deliveries(&DeliveriesPage {
        states: STATES
            .into_iter()
            .map(|(value, label)| Choice { value, label, chosen: value == chosen })
            .collect(),
        wanted: FilterFields {
            partner: field("partner"),
            rule: field("rule"),
            webhook: field("webhook"),
            kind: field("kind"),
            outcome: field("outcome"),
            since: field("since"),
        },
        rows: page
            .items
            .into_iter()
            .map(|row| ListedDelivery {
                age: age(&row.created_at, now),
                state: state_badge(&row.state, 1),
                why: None,
                goes_on: None,
                row,
            })
            .collect(),
        note: page.note,
        is_all,
        older,
    }))
}

/// How long ago a moment was.
pub(super) fn age(at: &str, now: Timestamp) -> String {
    let age = Timestamp::parse(at).map_or(0, |at| now.since(at).max(0));
    if age < 1_000 { "now".to_owned() } else { format!("{} ago", human(age)) }
}
