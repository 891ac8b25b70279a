//! A click log of a few lines: finds touches by id and by device, and leads from evidence to them.

use roundtrip_domain::attribution::{self, Carrier, DeadEnd, Lead, MatchType, Named};
use roundtrip_domain::click::{Click, Touch};
use roundtrip_domain::click_id::{self, CheckKey, Checked, ClickId, Mint};
use roundtrip_domain::event::Event;
use roundtrip_domain::time::Timestamp;
use roundtrip_store::ledger::{Prepared, Undecided};

const KEY: CheckKey = CheckKey([9; 16]);

/// Touches in memory.
#[derive(Debug, Clone)]
pub struct Clicks {
    mint: Mint,
    touches: Vec<Touch>,
    /// Ids of touches that were let go, as if they were older than the log keeps them.
    expired: Vec<ClickId>,
}

impl Default for Clicks {
    fn default() -> Self {
        Self { mint: Mint::new(1, KEY, None), touches: Vec::new(), expired: Vec::new() }
    }
}

impl Clicks {
    /// Keeps a touch. Its id is minted at its own time where ids still rise that way.
    pub fn keep(&mut self, mut click: Click) -> Touch {
        click.flag();
        let touch = Touch { id: self.mint.next(click.received_at, 7), click };
        self.touches.push(touch.clone());
        touch
    }

    /// Keeps a touch that a click log gave its id.
    pub fn add(&mut self, touch: Touch) {
        self.touches.push(touch);
    }

    /// An id that the log would have minted, of a touch that it does not hold.
    pub fn lost(&mut self, at: Timestamp) -> ClickId {
        self.mint.next(at, 7)
    }

    /// Forgets every touch, as retention does.
    pub fn expire(&mut self) {
        self.expired.extend(self.touches.drain(..).map(|t| t.id));
    }

    /// Every touch that is held.
    pub fn touches(&self) -> &[Touch] {
        &self.touches
    }

    /// What the evidence of a listed event leads to.
    pub fn prepare(&self, undecided: Undecided) -> Prepared {
        let mut leads = Vec::new();
        for event in undecided.evidence() {
            leads.extend(attribution::evidence(event).iter().map(|named| self.by_id(event, named)));
            leads.extend(self.by_device(event));
        }
        Prepared { undecided, leads }
    }

    fn by_id(&self, event: &Event, named: &Named) -> Lead {
        let Some(id) = named.id else { return named.dead(DeadEnd::Malformed) };
        if let Some(touch) = self.touches.iter().find(|t| t.id == id) {
            return named.touch(touch.clone(), event);
        }
        named.dead(match click_id::check(id, &[KEY]) {
            Checked::NotOurs => DeadEnd::NotOurs,
            Checked::Ours if self.expired.contains(&id) => DeadEnd::Expired,
            Checked::Ours => DeadEnd::NotStored,
        })
    }

    fn by_device<'a>(&'a self, event: &'a Event) -> impl Iterator<Item = Lead> + 'a {
        let wanted = |touch: &Touch| {
            let params = touch.click.params();
            let ids = Click::device_ids(&params);
            touch.click.app == event.app
                && touch.click.received_at <= event.received_at
                && attribution::device_evidence(event).any(|id| ids.contains(id))
        };
        self.touches.iter().filter(move |touch| wanted(touch)).map(|touch| Lead::Touch {
            match_type: MatchType::DeviceId,
            touch: touch.clone(),
            carrier: Carrier::of(event),
        })
    }
}
