//! What is known of lines that match no fact of the period: asks the ledger and the click log, a few look-ups a line.

use roundtrip_domain::click::Touch;
use roundtrip_domain::click_id::ClickId;
use roundtrip_domain::device::Print;
use roundtrip_domain::id::{Id, WorkspaceNo, kind};
use roundtrip_domain::problem::{Code, Problem};
use roundtrip_domain::time::Timestamp;
use roundtrip_store::click_log::{ClickLog, Found};
use roundtrip_store::ledger::Ledger;

use super::verdict::Cause;
use super::{Fact, Row};
use crate::problem;

/// Clicks with the same partner click id that are looked at, the newest.
const CLICKS_MAX: usize = 10;

/// The cause of each line, in their order, with a detail.
///
/// # Errors
/// With `store_unavailable` when the ledger or the click log cannot answer.
pub async fn origins(
    ledger: &Ledger,
    clicks: &ClickLog,
    ws: WorkspaceNo,
    partner: Id<kind::Partner>,
    rows: &[Row],
    now: Timestamp,
) -> Result<Vec<(Cause, Option<String>)>, Problem> {
    let asked = Asked { ledger, clicks, ws, partner, now };
    let mut causes = Vec::with_capacity(rows.len());
    for row in rows {
        causes.push(asked.origin(row).await?);
    }
    Ok(causes)
}

struct Asked<'a> {
    ledger: &'a Ledger,
    clicks: &'a ClickLog,
    ws: WorkspaceNo,
    partner: Id<kind::Partner>,
    now: Timestamp,
}

type Known = (Cause, Option<String>);

impl Asked<'_> {
    async fn origin(&self, row: &Row) -> Result<Known, Problem> {
        let text = |value: &Option<String>| {
            value.as_deref().map(str::trim).filter(|text| !text.is_empty()).map(str::to_owned)
        };
        let (click_id, ours) = (text(&row.click_id), text(&row.rt_click_id));
        if let Some(known) = self.of_partner_click(click_id.as_deref()).await? {
            return Ok(known);
        }
        let mut cause = Cause::NeverOurs;
        for id in [&click_id, &ours].into_iter().flatten().filter_map(|id| ClickId::parse(id.as_bytes())) {
            match self.clicks.find(id).await.map_err(|error| of_log(&error))? {
                Found::Touch(touch) if touch.click.workspace == self.ws => {
                    return self.of_touch(&touch).await;
                }
                // Another workspace's clicks are nobody's business here.
                Found::Touch(_) | Found::NotOurs => {}
                Found::NotStored => cause = Cause::ClickNotStored,
                Found::Expired => cause = Cause::ClickExpired,
            }
        }
        if let Some(id) = text(&row.event_id).as_deref().and_then(event_of)
            && let Some(known) = self.of_event(id).await?
        {
            return Ok(known);
        }
        let has_click = click_id.is_some() || ours.is_some();
        let has_order = text(&row.event_id).is_some() || text(&row.order_id).is_some();
        Ok(match (has_click, has_order) {
            (true, _) => (cause, None),
            (false, true) => (Cause::OrderUnknown, None),
            (false, false) => (Cause::NoKey, None),
        })
    }

    async fn of_partner_click(&self, id: Option<&str>) -> Result<Option<Known>, Problem> {
        let Some(id) = id else { return Ok(None) };
        let print = Print::partner_click_id(self.partner, id.as_bytes());
        let found = self.clicks.find_print(print, Timestamp::from_ms(0), self.now, CLICKS_MAX).await;
        let touches = found.map_err(|error| of_log(&error))?;
        let mut known = None;
        for touch in touches {
            let is_same = touch.click.params().text("click_id").as_deref() == Some(id);
            if !is_same || touch.click.workspace != self.ws {
                continue;
            }
            let of = self.of_touch(&touch).await?;
            // Of several clicks with the same id, one that earned something says more.
            if known.is_none() || of.0 != Cause::ClickOnly {
                known = Some(of);
            }
        }
        Ok(known)
    }

    async fn of_touch(&self, touch: &Touch) -> Result<Known, Problem> {
        if touch.click.partner != self.partner {
            return Ok((Cause::OtherPartner, None));
        }
        let store = |error: roundtrip_store::Error| problem::of_store(&error);
        let events = self.ledger.events_of_click(self.ws, touch.id).await.map_err(store)?;
        for event in events {
            if let Some(known) = self.of_event(event).await? {
                return Ok(known);
            }
        }
        Ok((Cause::ClickOnly, Some(format!("clicked at {}", touch.click.received_at))))
    }

    /// What is known of an event outside of the period; `None` when it is not kept.
    async fn of_event(&self, id: Id<kind::Event>) -> Result<Option<Known>, Problem> {
        let store = |error: roundtrip_store::Error| problem::of_store(&error);
        if let Some(fact) = self.ledger.fact(self.ws, self.partner, id).await.map_err(store)? {
            let fact = Fact::of(fact);
            if fact.environment != "production" {
                return Ok(Some((Cause::Test, None)));
            }
            return Ok(Some((Cause::OtherPeriod, Some(fact.received_at))));
        }
        let kept = self.ledger.event_status(self.ws, id).await.map_err(store)?;
        Ok(kept.map(|_| (Cause::OtherPartner, None)))
    }
}

fn of_log(error: &roundtrip_store::click_log::Error) -> Problem {
    tracing::warn!(error = %error, "the click log did not answer a reconciliation");
    Problem::new(Code::StoreUnavailable, "", "the click log cannot answer now")
}

fn event_of(text: &str) -> Option<Id<kind::Event>> {
    let conversion = || text.parse::<Id<kind::Conversion>>().map(Id::event);
    text.parse().or_else(|_| conversion()).ok()
}
