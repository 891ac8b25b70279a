//! The page of one story, from the click to the partner's answer.

use std::collections::BTreeMap;

use super::home::{state_badge, status_badge};
use super::pages::{self, Badge, ClickPage, DeliveryPage, StoryPage};
use crate::story::{Explained, Story, Telling};

/// Renders the page of whatever the id named.
pub(super) fn render(explained: Explained, id: &str, telling: Telling) -> Result<String, minijinja::Error> {
    let (id, full) = (id.trim().to_owned(), telling.full);
    match explained {
        Explained::Click(click) => pages::click(&ClickPage { id, full, click: *click }),
        Explained::Delivery(story) => pages::delivery(&DeliveryPage {
            id,
            full,
            state: state_badge(&story.delivery.state, 1),
            story: *story,
        }),
        Explained::Event(story) => pages::story(&StoryPage {
            id,
            full,
            credit: credit(&story),
            status: status_badge(&story.event.status),
            told: told(&story),
            story: *story,
        }),
    }
}

fn credit(story: &Story) -> Badge {
    let word = story.decision.as_ref().map(|decision| decision.credit.as_str());
    let winner = story.decision.as_ref().and_then(|decision| decision.winner.as_ref());
    match (word, winner) {
        (_, Some(click)) => Badge { tone: "good", text: click.partner.label().to_owned() },
        (Some("organic"), None) => Badge { tone: "quiet", text: "organic".to_owned() },
        (Some(_), None) => Badge { tone: "wait", text: "install unknown".to_owned() },
        (None, None) => Badge { tone: "wait", text: "undecided".to_owned() },
    }
}

fn told(story: &Story) -> Vec<Badge> {
    let mut states: BTreeMap<&str, i64> = BTreeMap::new();
    for delivery in &story.deliveries {
        *states.entry(&delivery.state).or_default() += 1;
    }
    states.into_iter().map(|(state, n)| state_badge(state, n)).collect()
}
