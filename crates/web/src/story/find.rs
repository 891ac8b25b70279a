//! From an id that somebody has in hand to its story.

use roundtrip_domain::attribution::Credit;
use roundtrip_domain::click::Touch;
use roundtrip_domain::click_id::ClickId;
use roundtrip_domain::id::{Id, kind};
use roundtrip_domain::problem::{Code, Problem};
use roundtrip_domain::settings::Settings;
use roundtrip_store::click_log::{ClickLog, Found};
use roundtrip_store::ledger::{self, Ledger};

use super::shape::{ClickStory, Explained};
use super::{Telling, earned, tell, tell_alone, tell_click};
use crate::{deliveries, problem};

/// What an id names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reference {
    /// An event, or the conversion that it made.
    Event(Id<kind::Event>),
    /// A delivery.
    Delivery(Id<kind::Delivery>),
    /// A click.
    Click(ClickId),
}

impl Reference {
    /// Reads `cnv_…`, `evt_…`, `dlv_…` or a click's UUID; surrounding space is ignored.
    ///
    /// # Errors
    /// With `parameter_invalid` for anything else.
    pub fn parse(text: &str) -> Result<Self, Problem> {
        let text = text.trim();
        let event = text.parse::<Id<kind::Event>>().map(Self::Event).ok();
        let conversion = || text.parse::<Id<kind::Conversion>>().map(|id| Self::Event(id.event())).ok();
        let delivery = || text.parse::<Id<kind::Delivery>>().map(Self::Delivery).ok();
        let click = || ClickId::parse(text.as_bytes()).map(Self::Click);
        event.or_else(conversion).or_else(delivery).or_else(click).ok_or_else(|| {
            let message =
                "it is a conversion (cnv_…), an event (evt_…), a delivery (dlv_…) or a click (a UUID)";
            Problem::new(Code::ParameterInvalid, "id", message)
                .fixed_by("give the whole id, as a page, a list or the log shows it")
        })
    }
}

fn unknown(message: impl Into<String>) -> Problem {
    Problem::new(Code::IdUnknown, "id", message)
}

/// Where stories are found, inside one workspace.
#[derive(Debug, Clone, Copy)]
pub struct Finder<'a> {
    /// Events, decisions, deliveries.
    pub ledger: &'a Ledger,
    /// Clicks.
    pub clicks: &'a ClickLog,
    /// The workspace's settings of now.
    pub settings: &'a Settings,
    /// How it is told.
    pub telling: Telling,
}

impl Finder<'_> {
    /// The story of whatever the reference names.
    ///
    /// # Errors
    /// With `id_unknown` when it is not kept in this workspace, `store_unavailable` when a store cannot answer.
    pub async fn explain(&self, reference: Reference) -> Result<Explained, Problem> {
        let event = match reference {
            Reference::Click(click) => return Ok(Explained::Click(Box::new(self.click(click).await?))),
            Reference::Event(event) => event,
            Reference::Delivery(id) => match self.delivery(id).await? {
                (_, event, Some(_)) => event,
                (delivery, _, None) => {
                    let names = deliveries::names(&delivery, None, self.settings);
                    let alone = tell_alone(&delivery, &names, self.telling);
                    return Ok(Explained::Delivery(Box::new(alone)));
                }
            },
        };
        Ok(Explained::Event(Box::new(tell(&self.story(event).await?, self.telling))))
    }

    /// The ledger's story of an event.
    ///
    /// # Errors
    /// As [`Self::explain`].
    pub async fn story(&self, event: Id<kind::Event>) -> Result<ledger::Story, Problem> {
        let found = self.ledger.story(self.settings.workspace, event).await;
        let found = found.map_err(|error| problem::of_store(&error))?;
        found.ok_or_else(|| unknown("no event or conversion of that id is kept in this workspace"))
    }

    /// The event that a delivery tells.
    ///
    /// # Errors
    /// As [`Self::explain`].
    pub async fn event_of(&self, delivery: Id<kind::Delivery>) -> Result<Id<kind::Event>, Problem> {
        let found = self.ledger.event_of_delivery(self.settings.workspace, delivery).await;
        let found = found.map_err(|error| problem::of_store(&error))?;
        found.ok_or_else(|| unknown("no delivery of that id is kept in this workspace"))
    }

    /// A delivery by itself, and the story of the event that it tells; a test, and what is said about how telling goes,
    /// tell of none.
    ///
    /// # Errors
    /// As [`Self::explain`].
    pub async fn delivery(
        &self,
        id: Id<kind::Delivery>,
    ) -> Result<(ledger::DeliveryStory, Id<kind::Event>, Option<ledger::Story>), Problem> {
        let event = self.event_of(id).await?;
        let of_store = |error| problem::of_store(&error);
        let story = self.ledger.story(self.settings.workspace, event).await.map_err(of_store)?;
        let delivery = self.ledger.delivery_story(self.settings.workspace, id).await.map_err(of_store)?;
        let delivery = delivery.ok_or_else(|| unknown("the delivery is no longer kept"))?;
        Ok((delivery, event, story))
    }

    /// A click's story: from the click log, else from a decision that kept a copy of it.
    ///
    /// # Errors
    /// As [`Self::explain`].
    pub async fn click(&self, id: ClickId) -> Result<ClickStory, Problem> {
        let found = self.clicks.find(id).await.map_err(|error| {
            tracing::warn!(error = %error, click.id = %id, "the click log could not answer");
            Problem::new(Code::StoreUnavailable, "", "the click log cannot answer now")
        })?;
        let ws = self.settings.workspace;
        let events = self.ledger.events_of_click(ws, id).await.map_err(|error| problem::of_store(&error))?;
        let mut kept_copy = None;
        let mut earned_events = Vec::with_capacity(events.len());
        for event in events {
            let story = self.story(event).await?;
            kept_copy = kept_copy.or_else(|| copy(&story, id));
            earned_events.push(earned(&story, id, self.telling));
        }
        let (touch, kept) = match (found, kept_copy) {
            (Found::Touch(touch), _) if touch.click.workspace == ws => (*touch, true),
            (_, Some(touch)) => (touch, false),
            (Found::Touch(_), None) => return Err(unknown("no click of that id is kept in this workspace")),
            (Found::NotOurs, None) => {
                return Err(unknown(
                    "none of this installation's keys made that click id: it was changed on the way, or is another system's",
                ));
            }
            (Found::NotStored, None) => {
                return Err(unknown(
                    "this installation made that click id, but its click was lost when it was made",
                ));
            }
            (Found::Expired, None) => return Err(unknown("that click is older than clicks are kept")),
        };
        Ok(tell_click(&touch, kept, self.settings, earned_events, self.telling))
    }
}

/// The copy of a click that a decision kept.
fn copy(story: &ledger::Story, id: ClickId) -> Option<Touch> {
    story.revisions.iter().find_map(|revision| {
        let winner = match &revision.credit {
            Credit::Touch(winner) => Some(&winner.touch),
            Credit::Organic | Credit::InstallUnknown => None,
        };
        let touches = revision.because.candidates.iter().map(|candidate| &candidate.touch).chain(winner);
        touches.into_iter().find(|touch| touch.id == id).cloned()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_of_four_kinds_are_read_and_others_refused() {
        let event: Id<kind::Event> = Id::from_bits(7);
        assert_eq!(Reference::parse(&event.to_string()).unwrap(), Reference::Event(event));
        assert_eq!(Reference::parse(&format!(" {} ", event.conversion())).unwrap(), Reference::Event(event));
        let delivery: Id<kind::Delivery> = Id::from_bits(8);
        assert_eq!(Reference::parse(&delivery.to_string()).unwrap(), Reference::Delivery(delivery));
        let click = ClickId::from_bits(9);
        assert_eq!(
            Reference::parse(&click.to_string().replace('-', "").to_uppercase()).unwrap(),
            Reference::Click(click)
        );
        for bad in ["", "evt_", "prt_01KAHS8Z4N2T7QX5W3R9M6B0CD", "4711"] {
            assert_eq!(Reference::parse(bad).unwrap_err().code, Code::ParameterInvalid, "{bad}");
        }
    }
}
