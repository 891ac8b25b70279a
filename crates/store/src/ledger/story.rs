//! One event's whole story: what arrived, what was decided and why, what was told and what came back.

use std::collections::BTreeMap;

use roundtrip_domain::attribution::{Because, Credit};
use roundtrip_domain::click_id::ClickId;
use roundtrip_domain::endpoint::Endpoint;
use roundtrip_domain::event::{ConversionKind, Event};
use roundtrip_domain::id::{Id, WorkspaceNo, kind};
use roundtrip_domain::postback::{Detail, Suppressed};
use roundtrip_domain::status::{Status, StatusChange};
use roundtrip_domain::time::Timestamp;
use rusqlite::Connection;

use super::revision::StoredDecision;
use super::statements::sql;
use super::{AttemptRow, Ledger, delivery, event, id_from, rows};
use crate::Error;
use crate::settings::ResourceKind;

/// The story of an event.
#[derive(Debug, Clone)]
pub struct Story {
    /// What arrived.
    pub event: Event,
    /// Whether it still waits for a decision, or for another one.
    pub undecided: bool,
    /// What was decided, oldest first.
    pub revisions: Vec<StoryRevision>,
    /// What became of each rule that was considered.
    pub rules: Vec<RuleStory>,
    /// What is told, replays included, oldest first.
    pub deliveries: Vec<DeliveryStory>,
    /// For a change of status: the event that made the conversion which it changes.
    pub original: Option<Event>,
    /// Changes of the conversion's status, oldest first, at most 100.
    pub changes: Vec<ChangeStory>,
    /// Slugs of the apps, partners, campaigns, links and rules that are named here, by printed id; also of
    /// those that were deleted since.
    pub names: BTreeMap<String, String>,
}

/// A change of the conversion's status, and who was told of it.
#[derive(Debug, Clone)]
pub struct ChangeStory {
    /// The event that the change is.
    pub id: Id<kind::Event>,
    /// When.
    pub at: Timestamp,
    /// What, by whom and why.
    pub change: StatusChange,
    /// What became of each rule that was considered for it.
    pub rules: Vec<RuleStory>,
    /// What is told of it.
    pub deliveries: Vec<DeliveryStory>,
}

/// One revision of the decision.
#[derive(Debug, Clone)]
pub struct StoryRevision {
    /// Counts from 1.
    pub revision: u32,
    /// When.
    pub at: Timestamp,
    /// Under which settings.
    pub settings_version: u64,
    /// What conversion it makes.
    pub kind: Option<ConversionKind>,
    /// Who has the credit.
    pub credit: Credit,
    /// Why.
    pub because: Because,
    /// Whether the conversion counted.
    pub status: Status,
}

/// What became of a rule.
#[derive(Debug, Clone)]
pub struct RuleStory {
    /// The rule.
    pub rule: Id<kind::Rule>,
    /// Its version.
    pub rule_version: u64,
    /// Who is told, or would have been.
    pub partner: Option<Id<kind::Partner>>,
    /// The revision that judged it.
    pub revision: u32,
    /// Why it did not fire; `None` when it did.
    pub suppressed: Option<Suppressed>,
    /// The delivery that it made.
    pub delivery: Option<Id<kind::Delivery>>,
    /// Which condition was not met, how late it was, what was told of the revenue.
    pub detail: Option<Detail>,
}

/// What became of a delivery.
#[derive(Debug, Clone)]
pub struct DeliveryStory {
    /// Its id.
    pub id: Id<kind::Delivery>,
    /// What receivers dedupe on.
    pub fact: Id<kind::Event>,
    /// Who is told, and by what.
    pub endpoint: Endpoint,
    /// The version of the rule or webhook that planned it.
    pub teller_version: u64,
    /// The conversion kind, or the kind of a webhook's fact.
    pub kind: String,
    /// The revision that planned it.
    pub revision: u32,
    /// When it was planned.
    pub created_at: Timestamp,
    /// After which it is of no use to its receiver.
    pub deadline: Option<Timestamp>,
    /// The delivery that it replays.
    pub replay_of: Option<Id<kind::Delivery>>,
    /// `scheduled`, `held`, `delivered`, `dead`, ….
    pub state: String,
    /// Why it is in that state.
    pub reason: String,
    /// When it is sent next.
    pub due: Option<Timestamp>,
    /// Sends so far.
    pub sends: u32,
    /// How its endpoint stands, if that is stopped; whatever became of this delivery.
    pub held: Option<super::EndpointRow>,
    /// What the engine last saw of its endpoint, while it waits.
    pub live: Option<super::EndpointLive>,
    /// Every send.
    pub attempts: Vec<AttemptRow>,
}

impl DeliveryStory {
    /// Why it waits now; `None` when it does not.
    pub fn why(&self, now: Timestamp) -> Option<super::Why> {
        let asked = super::WhyAsked {
            delivery: self.id,
            due: self.due?,
            sends: self.sends,
            is_delayed: self.sends == 0 && self.reason == delivery::DELAYED,
        };
        Some(super::why(asked, self.held.as_ref(), self.live.as_ref(), now))
    }
}

impl Ledger {
    /// The story of an event; `None` when it is not kept.
    pub async fn story(&self, ws: WorkspaceNo, id: Id<kind::Event>) -> Result<Option<Story>, Error> {
        self.read(move |conn| {
            let Some(event) = event::get(conn, ws.0, &id.bytes())? else { return Ok(None) };
            let mut revisions = Vec::new();
            {
                let mut statement = conn.prepare_cached(sql("decision_all"))?;
                let rows = statement.query_map((ws.0, id.bytes().as_slice()), StoredDecision::from_row)?;
                for row in rows {
                    let row = row?;
                    let (credit, because) = row.credit(id)?;
                    revisions.push(StoryRevision {
                        revision: row.revision,
                        at: Timestamp::from_ms(row.at),
                        settings_version: row.settings_version,
                        kind: row.kind(),
                        credit,
                        because,
                        status: row.status(id)?,
                    });
                }
            }
            let (rules, deliveries) = (rules(conn, ws.0, id)?, deliveries(conn, ws.0, id)?);
            let changes = changes(conn, ws.0, id)?;
            let original = match &event.change {
                Some(change) => event::get(conn, ws.0, &change.of.bytes())?,
                None => None,
            };
            let undecided = conn.prepare_cached(sql("todo_has"))?.exists((ws.0, id.bytes().as_slice()))?;
            let mut story = Story {
                event,
                undecided,
                revisions,
                rules,
                deliveries,
                original,
                changes,
                names: BTreeMap::new(),
            };
            story.names = names(conn, ws, &story)?;
            Ok(Some(story))
        })
        .await
        .map(|story| story.map(|story| self.with_live(story)))
    }

    /// Adds what the engine last saw of the endpoints of what waits.
    fn with_live(&self, mut story: Story) -> Story {
        let (seen, ws) = (self.live(), story.event.workspace);
        let of_changes = story.changes.iter_mut().flat_map(|change| &mut change.deliveries);
        for delivery in story.deliveries.iter_mut().chain(of_changes).filter(|one| one.due.is_some()) {
            delivery.live = seen.get(&(ws, delivery.endpoint)).cloned();
        }
        story
    }

    /// The events that a click earned or competes for, oldest first, at most 100.
    pub async fn events_of_click(
        &self,
        ws: WorkspaceNo,
        click: ClickId,
    ) -> Result<Vec<Id<kind::Event>>, Error> {
        self.read(move |conn| {
            let mut statement = conn.prepare_cached(sql("events_of_click"))?;
            let mut rows = statement.query((ws.0, click.bytes().as_slice()))?;
            let mut events = Vec::new();
            while let Some(row) = rows.next()? {
                let id: Vec<u8> = row.get(0)?;
                events.push(id_from(&id, "decision", "event")?);
            }
            Ok(events)
        })
        .await
    }
}

/// Most changes of status that a story tells.
const CHANGES_MAX: usize = 100;

fn rules(conn: &Connection, ws: u32, id: Id<kind::Event>) -> Result<Vec<RuleStory>, Error> {
    let mut rules = Vec::new();
    let mut statement = conn.prepare_cached(sql("told_list"))?;
    let mut rows = statement.query((ws, id.bytes().as_slice()))?;
    while let Some(row) = rows.next()? {
        let (rule, partner): (Vec<u8>, [u8; 16]) = (row.get(0)?, row.get(1)?);
        let reason: u8 = row.get(2)?;
        let delivery: Option<Vec<u8>> = row.get(3)?;
        let detail: Option<String> = row.get(6)?;
        let detail = match detail {
            Some(body) => rows::detail_read(&id.to_string(), &body)?,
            None => None,
        };
        rules.push(RuleStory {
            rule: id_from(&rule, "told", "rule")?,
            rule_version: row.get(4)?,
            revision: row.get(5)?,
            partner: (partner != super::decide::NOBODY).then(|| Id::from_bits(u128::from_be_bytes(partner))),
            suppressed: Suppressed::from_number(reason),
            delivery: delivery.as_deref().and_then(Id::from_slice),
            detail,
        });
    }
    Ok(rules)
}

fn deliveries(conn: &Connection, ws: u32, id: Id<kind::Event>) -> Result<Vec<DeliveryStory>, Error> {
    let mut deliveries = Vec::new();
    let mut statement = conn.prepare_cached(sql("delivery_of_event"))?;
    let mut rows = statement.query((ws, id.bytes().as_slice()))?;
    while let Some(row) = rows.next()? {
        let delivery: Vec<u8> = row.get(0)?;
        deliveries.extend(delivery::story(conn, ws, id_from(&delivery, "delivery", "id")?)?);
    }
    Ok(deliveries)
}

fn changes(conn: &Connection, ws: u32, id: Id<kind::Event>) -> Result<Vec<ChangeStory>, Error> {
    let mut changes = Vec::new();
    let mut statement = conn.prepare_cached(sql("status_list"))?;
    let mut rows = statement.query((ws, id.bytes().as_slice()))?;
    while let Some(row) = rows.next()? {
        if changes.len() == CHANGES_MAX {
            break;
        }
        let bytes: Vec<u8> = row.get(0)?;
        let Some(event) = event::get(conn, ws, &bytes)? else { continue };
        let Some(change) = event.change else { continue };
        let id = event.id;
        changes.push(ChangeStory {
            id,
            at: event.received_at,
            change: *change,
            rules: self::rules(conn, ws, id)?,
            deliveries: deliveries(conn, ws, id)?,
        });
    }
    Ok(changes)
}

fn names(conn: &Connection, ws: WorkspaceNo, story: &Story) -> Result<BTreeMap<String, String>, Error> {
    let mut wanted: Vec<(ResourceKind, [u8; 16], String)> = Vec::new();
    let mut want = |kind, bytes, text: String| wanted.push((kind, bytes, text));
    want(ResourceKind::App, story.event.app.bytes(), story.event.app.to_string());
    for rule in story.rules.iter().chain(story.changes.iter().flat_map(|c| &c.rules)) {
        want(ResourceKind::Rule, rule.rule.bytes(), rule.rule.to_string());
        if let Some(partner) = rule.partner {
            want(ResourceKind::Partner, partner.bytes(), partner.to_string());
        }
    }
    for delivery in story.deliveries.iter().chain(story.changes.iter().flat_map(|c| &c.deliveries)) {
        match delivery.endpoint {
            Endpoint::Postback { rule, partner } => {
                want(ResourceKind::Rule, rule.bytes(), rule.to_string());
                want(ResourceKind::Partner, partner.bytes(), partner.to_string());
            }
            Endpoint::Webhook(webhook) => want(ResourceKind::Webhook, webhook.bytes(), webhook.to_string()),
        }
    }
    for revision in &story.revisions {
        let winner = revision.credit.winner().map(|w| &w.touch.click);
        let touches = revision.because.candidates.iter().map(|c| &c.touch.click).chain(winner);
        for click in touches.filter(|c| c.workspace == ws) {
            want(ResourceKind::Partner, click.partner.bytes(), click.partner.to_string());
            want(ResourceKind::Campaign, click.campaign.bytes(), click.campaign.to_string());
            want(ResourceKind::Link, click.link.bytes(), click.link.to_string());
            want(ResourceKind::App, click.app.bytes(), click.app.to_string());
        }
    }
    let mut names = BTreeMap::new();
    for (kind, bytes, text) in wanted {
        if !names.contains_key(&text)
            && let Some(slug) = Ledger::last_slug(conn, ws, kind, &bytes)?
        {
            names.insert(text, slug);
        }
    }
    Ok(names)
}
