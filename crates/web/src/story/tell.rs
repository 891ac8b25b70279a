//! Builds an event's story from the ledger's.

use std::collections::BTreeMap;

use roundtrip_domain::attribution::{Credit, NOTES};
use roundtrip_domain::endpoint::Endpoint;
use roundtrip_domain::event::Environment;
use roundtrip_domain::id::{Id, kind};
use roundtrip_domain::money;
use roundtrip_domain::postback::Detail;
use roundtrip_domain::status::Status;
use roundtrip_domain::time::{Timestamp, human};
use roundtrip_domain::webhook::Topic;
use roundtrip_store::ledger::{self, StoryRevision};
use serde_json::Value;

use super::mask::Mask;
use super::shape::{
    Candidate, Coded, Dead, Decision, Delivery, DeliveryStory, Device, Earlier, Event, Handover, Money,
    Param, Postback, Rule, Shared, StatusChange, Step, Story, Told, Unmet,
};
use super::touch::{click, named};
use super::{Telling, evidence, touch, words};
use crate::waits;

/// The story of an event.
pub fn tell(story: &ledger::Story, telling: Telling) -> Story {
    let teller = Teller { story, mask: Mask::of(story, telling.full), now: telling.now };
    let latest = story.revisions.last();
    let earlier = story.revisions.split_last().map_or(&[][..], |(_, earlier)| earlier);
    Story {
        sentence: teller.headline(latest),
        event: teller.event(latest),
        decision: latest.map(|revision| teller.decision(revision)),
        earlier: earlier.iter().map(|revision| teller.earlier(revision)).collect(),
        rules: story.rules.iter().map(|rule| teller.rule(rule)).collect(),
        deliveries: story.deliveries.iter().map(|delivery| teller.delivery(delivery)).collect(),
        changes: story.changes.iter().map(|change| teller.change(change)).collect(),
        next: teller.next(),
    }
}

/// A delivery by itself. `of` is the story of what it tells; without one, what was sent and answered is
/// shown only to who may see personal data, because nobody knows what in it is that; but for a test and what is said about
/// how telling goes. `names` are by printed id.
pub fn tell_delivery(
    delivery: &ledger::DeliveryStory,
    of: Option<&ledger::Story>,
    names: &BTreeMap<String, String>,
    telling: Telling,
) -> Delivery {
    let mask = of.map_or_else(|| Mask::new(telling.full), |story| Mask::of(story, telling.full));
    let mut told = shown(delivery, names, &mask, telling.now);
    // What is said about how telling goes is about nobody.
    let is_about_nobody = Topic::parse(&delivery.kind).is_some_and(|topic| !topic.is_conversion());
    if of.is_none() && !telling.full && !is_about_nobody {
        for attempt in &mut told.attempts {
            (attempt.request, attempt.answer) = (None, None);
        }
    }
    told
}

/// The story of a delivery that tells of no event.
pub fn tell_alone(
    delivery: &ledger::DeliveryStory,
    names: &BTreeMap<String, String>,
    telling: Telling,
) -> DeliveryStory {
    let told = tell_delivery(delivery, None, names, telling);
    let is_test = delivery.kind == ledger::TEST_KIND;
    let what = match Topic::parse(&delivery.kind) {
        Some(Topic::Test) | None => "A test, counted nowhere".to_owned(),
        Some(topic) => format!("Said because {}", topic.sentence()),
    };
    let state = match told.state.as_str() {
        "scheduled" => "waits",
        "dead" => "given up",
        other => other,
    };
    let sentence = format!("{what}; to {} by {}: {state}.", told.receiver(), told.teller());
    let next = match step(delivery, &told.receiver(), telling.now) {
        Some(step) => step,
        None if is_test && told.state != "delivered" => Step {
            at: None,
            sentence: format!(
                "Nothing by itself; `roundtrip endpoint test {}` sends another.",
                told.address()
            ),
        },
        None if ["dead", "expired"].contains(&told.state.as_str()) => given_up(delivery, &told.receiver()),
        None => Step { at: None, sentence: "Nothing: it has ended.".to_owned() },
    };
    DeliveryStory { sentence, delivery: told, next: vec![next] }
}

/// What happens next to a delivery that waits.
fn step(delivery: &ledger::DeliveryStory, receiver: &str, now: Timestamp) -> Option<Step> {
    let due = delivery.due?;
    if delivery.held.is_some() {
        let sentence = format!(
            "{} is held for {receiver}, which is stopped: `roundtrip endpoint list` says why, and `enable` or `resume` releases it.",
            delivery.id
        );
        return Some(Step { at: None, sentence });
    }
    let send = format!("Send {} to {receiver} ({})", delivery.sends + 1, delivery.id);
    match delivery.why(now) {
        // When it was due says nothing of when it goes: what is in its way does.
        Some(why) if !words::is_plain(why.wait) => Some(Step {
            at: why.until.filter(|until| *until > now).map(|until| until.to_string()),
            sentence: format!("{send} waits: {}.", waits::because(why, None, now)),
        }),
        _ => {
            let sentence = format!("{send} {}.", words::from_now(due, now));
            Some(Step { at: Some(due.to_string()), sentence })
        }
    }
}

fn given_up(delivery: &ledger::DeliveryStory, receiver: &str) -> Step {
    let sentence = format!(
        "{receiver} is not told any more by itself; `roundtrip replay {}` tells it again.",
        delivery.id
    );
    Step { at: None, sentence }
}

fn shown(
    delivery: &ledger::DeliveryStory,
    names: &BTreeMap<String, String>,
    mask: &Mask,
    now: Timestamp,
) -> Delivery {
    let (rule, partner, webhook) = match delivery.endpoint {
        Endpoint::Postback { rule, partner } => (Some(named(rule, names)), Some(named(partner, names)), None),
        Endpoint::Webhook(webhook) => (None, None, Some(named(webhook, names))),
    };
    let why = delivery.why(now);
    let is_webhook = webhook.is_some();
    Delivery {
        told: Told {
            id: delivery.id.to_string(),
            fact: delivery.fact.to_string(),
            kind: delivery.kind.clone(),
            rule,
            partner,
            webhook,
            endpoint: waits::id(delivery.endpoint),
            created_at: delivery.created_at.to_string(),
            replay_of: delivery.replay_of.map(|id| id.to_string()),
            state: delivery.state.clone(),
            reason: delivery.reason.clone(),
            sentence: words::delivery(delivery, now),
            due: delivery.due.map(|due| due.to_string()),
            waits: why.map(|why| why.wait.code().to_owned()),
            waits_until: why.and_then(|why| why.until).map(|at| at.to_string()),
            sends: delivery.sends,
        },
        version: delivery.teller_version,
        revision: delivery.revision,
        deadline: delivery.deadline.map(|at| at.to_string()),
        attempts: delivery.attempts.iter().map(|row| evidence::attempt(row, mask, is_webhook)).collect(),
    }
}

struct Teller<'a> {
    story: &'a ledger::Story,
    mask: Mask,
    now: Timestamp,
}

fn json(text: Option<&str>) -> Option<Value> {
    serde_json::from_str(text?).ok()
}

impl Teller<'_> {
    fn label<K: roundtrip_domain::id::Kind>(&self, id: Id<K>) -> String {
        named(id, &self.story.names).label().to_owned()
    }

    fn money(&self) -> Option<Money> {
        let revenue = self.story.event.revenue.as_ref()?;
        Some(Money {
            amount: money::decimal(revenue.amount.micros, 2),
            currency: revenue.currency.map(|currency| currency.to_string()),
            verified: revenue.verified,
        })
    }

    /// What it is: "purchase (`sale`) of 12.50 EUR in shop".
    fn what(&self, revision: Option<&StoryRevision>) -> String {
        let event = &self.story.event;
        if let Some(change) = &event.change {
            let (from, to) = (change.from.name(), change.to.name());
            let of = change.of.conversion();
            return format!("change of {of} from {from} to {to} in {}", self.label(event.app));
        }
        let mut text = match revision.and_then(|r| r.kind.as_ref()).map(|kind| kind.name()) {
            Some(kind) if kind == event.name || kind == "event" => event.name.clone(),
            Some(kind) => format!("{kind} ({})", event.name),
            None => event.name.clone(),
        };
        if let Some(money) = self.money() {
            text.push_str(&format!(" of {}", words::money(&money.amount, money.currency.as_deref())));
        }
        format!("{text} in {}", self.label(event.app))
    }

    fn headline(&self, latest: Option<&StoryRevision>) -> String {
        let mut what = self.what(latest);
        if let Some(first) = what.get_mut(..1) {
            first.make_ascii_uppercase();
        }
        let credit = match latest.map(|revision| &revision.credit) {
            None => "not decided yet".to_owned(),
            Some(Credit::Touch(winner)) => {
                let click = &winner.touch.click;
                let found = match latest.and_then(|r| r.because.follows) {
                    Some(_) => "through its installation".to_owned(),
                    None => format!("found by {}", words::found_by(winner.match_type)),
                };
                format!("won by {} with link {}, {found}", self.label(click.partner), self.label(click.link))
            }
            Some(Credit::Organic) => "organic: no partner won it".to_owned(),
            Some(Credit::InstallUnknown) => "its installation has not been seen yet".to_owned(),
        };
        let counts = match latest.map(|revision| revision.status) {
            Some(Status::Pending) if self.story.event.change.is_none() => "; it waits for approval",
            Some(Status::Rejected) if self.story.event.change.is_none() => "; it was rejected",
            _ => "",
        };
        let told = self.told();
        format!("{what}: {credit}{counts}; {told}.")
    }

    /// How the postbacks stand: "1 postback delivered, 1 waits".
    fn told(&self) -> String {
        let count = |state: &str| self.story.deliveries.iter().filter(|d| d.state == state).count();
        let (delivered, waiting, dead) = (count("delivered"), count("scheduled"), count("dead"));
        let (held, expired, cancelled) = (count("held"), count("expired"), count("cancelled"));
        let other = self.story.deliveries.len() - delivered - waiting - held - dead - expired - cancelled;
        let states = [
            (delivered, "delivered"),
            (waiting, "waiting"),
            (held, "held"),
            (dead, "given up"),
            (expired, "expired"),
            (cancelled, "cancelled"),
            (other, "in another state"),
        ];
        let parts: Vec<String> =
            states.into_iter().filter(|(n, _)| *n > 0).map(|(n, word)| format!("{n} {word}")).collect();
        match (parts.is_empty(), self.story.rules.len()) {
            (false, _) => format!("postbacks: {}", parts.join(", ")),
            (true, 0) => "no rule tells anybody of it".to_owned(),
            (true, 1) => "its one rule did not fire".to_owned(),
            (true, n) => format!("none of its {n} rules fired"),
        }
    }

    fn event(&self, latest: Option<&StoryRevision>) -> Event {
        let event = &self.story.event;
        let mask = &self.mask;
        let full = mask.shows_all();
        let properties = json(event.properties.as_deref());
        let source = match event.source.name() {
            "client" => "The app or page reported it",
            "server" => "The owner's server reported it",
            "owner" => "The owner changed it",
            _ => "It came as an inbound postback",
        };
        let late = event.received_at.since(event.occurred_at);
        let delay = match late {
            late if late >= 1_000 => format!(", {} after it happened", human(late)),
            late if late <= -1_000 => format!(", although its sender dates it {} later", human(-late)),
            _ => String::new(),
        };
        let device = &event.device;
        let ids: Vec<Param> = device
            .ids
            .iter()
            .map(|id| Param { name: id.kind.name().to_owned(), value: mask.id(&id.display()) })
            .collect();
        let device = (*device != Default::default()).then(|| Device {
            platform: device.platform.clone(),
            os_version: device.os_version.clone(),
            model: device.model.clone(),
            app_version: device.app_version.clone(),
            att_status: device.att_status.clone(),
            ids,
        });
        Event {
            id: event.id.to_string(),
            conversion: latest.and_then(|r| r.kind.as_ref()).map(|_| event.id.conversion().to_string()),
            name: event.name.clone(),
            app: named(event.app, &self.story.names),
            source: event.source.name().to_owned(),
            environment: match event.environment {
                Environment::Production => "production".to_owned(),
                Environment::Sandbox => "sandbox".to_owned(),
            },
            status: latest.map_or(Status::first_of(event), |revision| revision.status).name().to_owned(),
            relates_to: event.change.as_ref().map(|change| change.of.to_string()),
            received_at: event.received_at.to_string(),
            occurred_at: event.occurred_at.to_string(),
            sentence: format!("{source} {}{delay}.", words::from_now(event.received_at, self.now)),
            source_event_id: event.source_event_id.clone(),
            revenue: self.money(),
            click_id: event.click_id.clone(),
            install_id: event.install_id.as_deref().map(|id| mask.id(id)),
            customer_id: event.customer_id.as_deref().map(|id| mask.id(id)),
            device,
            ip: event.ip.map(|ip| mask.ip(ip)),
            location: touch::location(&event.location),
            user_agent: event.user_agent.clone().filter(|_| full),
            referrer: event.referrer.as_ref().map(|r| r.referrer.clone()).filter(|_| full),
            property_names: match &properties {
                Some(Value::Object(map)) => map.keys().cloned().collect(),
                _ => Vec::new(),
            },
            properties: properties.filter(|_| full),
            consent: json(event.consent.as_deref()),
            postback: self.postback(),
            findings: event
                .findings
                .iter()
                .map(|code| Coded { code: code.clone(), sentence: words::finding(code).to_owned() })
                .collect(),
        }
    }

    fn postback(&self) -> Option<Postback> {
        let postback = self.story.event.postback.as_ref()?;
        let texts = [
            ("goal", &postback.goal),
            ("order_id", &postback.order_id),
            ("conversion_rate", &postback.conversion_rate),
            ("coupon", &postback.coupon),
            ("ref_id", &postback.ref_id),
            ("ref_custom_id", &postback.ref_custom_id),
            ("comment", &postback.comment),
        ];
        let mut fields: Vec<Param> = texts
            .into_iter()
            .filter_map(|(name, value)| Some(Param { name: name.to_owned(), value: value.clone()? }))
            .collect();
        if let Some(commission) = &postback.commission {
            fields.push(Param { name: "commission".to_owned(), value: money::decimal(commission.micros, 2) });
        }
        for (name, is) in [("new_customer", postback.new_customer), ("skip_lifetime", postback.skip_lifetime)]
        {
            if is {
                fields.push(Param { name: name.to_owned(), value: "true".to_owned() });
            }
        }
        let query = String::from_utf8_lossy(&postback.query).into_owned();
        Some(Postback {
            campaign: postback.campaign.map(|campaign| named(campaign, &self.story.names)),
            fields,
            query: self.mask.shows_all().then_some(query),
        })
    }

    /// Why the credit is where it is.
    fn why(&self, revision: &StoryRevision) -> String {
        let because = &revision.because;
        let considered = because.candidates.len() + because.rest as usize;
        if let (Some(_), Some(of)) = (&self.story.event.change, because.follows) {
            let who = match &revision.credit {
                Credit::Touch(winner) => format!("{} has", self.label(winner.touch.click.partner)),
                Credit::Organic | Credit::InstallUnknown => "Nobody has".to_owned(),
            };
            return format!(
                "{who} the credit, because a change shares the credit of the conversion that it changes; that is {of}."
            );
        }
        match (&revision.credit, because.follows) {
            (Credit::Touch(winner), Some(install)) => {
                let click = &winner.touch.click;
                format!(
                    "{} has the credit, because an event belongs to its installation's winner for life; the installation is {install}, and its click came {} before this event.",
                    self.label(click.partner),
                    human(self.story.event.reference_at().since(click.received_at).max(0))
                )
            }
            (Credit::Organic, Some(install)) => {
                format!("Nobody has the credit, because its installation {install} is organic, and an event shares its installation's credit for life.")
            }
            (Credit::Touch(winner), None) => {
                let click = &winner.touch.click;
                let age = because.reference_at.since(click.received_at);
                let came = match age {
                    age if age < 0 => format!("{} after the time that the event claims, inside what a wrong clock can amount to", human(-age)),
                    age => format!("{} before it", human(age)),
                };
                let rivals = match considered {
                    0 | 1 => "it is the only touch that was found".to_owned(),
                    n => format!("of {n} touches it is the latest of the strongest tier inside its window"),
                };
                format!(
                    "{} has the credit, because its click came {came} and {rivals}; found by {}.",
                    self.label(click.partner),
                    words::found_by(winner.match_type)
                )
            }
            (Credit::Organic, None) if considered == 0 && because.dead.is_empty() => {
                "Nobody has the credit, because the event carries nothing that leads to a click.".to_owned()
            }
            (Credit::Organic, None) if considered == 0 => {
                "Nobody has the credit, because the click ids that it carries lead nowhere.".to_owned()
            }
            (Credit::Organic, None) if considered == 1 => {
                "Nobody has the credit, because the one touch that was found may not earn it.".to_owned()
            }
            (Credit::Organic, None) => {
                format!("Nobody has the credit, because none of the {considered} touches that were found may earn it.")
            }
            (Credit::InstallUnknown, _) => {
                "Not known yet: the event's installation has not been seen. It is decided again when that arrives.".to_owned()
            }
        }
    }

    fn decision(&self, revision: &StoryRevision) -> Decision {
        let because = &revision.because;
        let names = &self.story.names;
        let winner = revision.credit.winner();
        Decision {
            revision: revision.revision,
            at: revision.at.to_string(),
            settings_version: revision.settings_version,
            kind: revision.kind.as_ref().map(|kind| kind.name().to_owned()),
            credit: revision.credit.name().to_owned(),
            status: revision.status.name().to_owned(),
            match_type: winner.map(|winner| winner.match_type.name().to_owned()),
            winner: winner.map(|winner| click(&winner.touch, names, &self.mask, self.now)),
            handover: winner.map(|winner| self.handover(winner.match_type)),
            sentence: self.why(revision),
            reference_at: because.reference_at.to_string(),
            follows: because.follows.map(|event| event.to_string()),
            candidates: because
                .candidates
                .iter()
                .map(|candidate| Candidate {
                    won: candidate.verdict.code() == "won",
                    verdict: candidate.verdict.code().to_owned(),
                    sentence: words::candidate(candidate),
                    match_type: candidate.match_type.name().to_owned(),
                    tier: candidate.match_type.tier(),
                    carrier: candidate.carrier.to_string(),
                    window: candidate.window.to_string(),
                    age: human(candidate.age_ms),
                    age_ms: candidate.age_ms,
                    click: click(&candidate.touch, names, &self.mask, self.now),
                })
                .collect(),
            candidates_more: because.rest,
            dead_ends: because
                .dead
                .iter()
                .map(|(match_type, text, why)| Dead {
                    text: self.mask.text(text),
                    match_type: match_type.name().to_owned(),
                    code: why.code().to_owned(),
                    sentence: words::dead_end(*why).to_owned(),
                })
                .collect(),
            notes: because.notes.iter().map(|code| note(code)).collect(),
        }
    }

    /// How the visitor came from click to event, with the store's own times where it told them.
    fn handover(&self, match_type: roundtrip_domain::attribution::MatchType) -> Handover {
        let (by, sentence) = words::handover(match_type);
        let mut sentence = sentence.to_owned();
        if let Some(referrer) = &self.story.event.referrer {
            let clicked = referrer.click_server_at.or(referrer.click_at);
            let began = referrer.install_begin_server_at.or(referrer.install_begin_at);
            match (clicked, began) {
                (Some(clicked), Some(began)) => sentence.push_str(&format!(
                    " It saw the click at {clicked} and began the installation {} later.",
                    human(began.since(clicked).max(0))
                )),
                (Some(clicked), None) => sentence.push_str(&format!(" It saw the click at {clicked}.")),
                (None, Some(began)) => sentence.push_str(&format!(" It began the installation at {began}.")),
                (None, None) => {}
            }
        }
        Handover { by: by.to_owned(), sentence }
    }

    fn earlier(&self, revision: &StoryRevision) -> Earlier {
        Earlier {
            revision: revision.revision,
            at: revision.at.to_string(),
            credit: revision.credit.name().to_owned(),
            status: revision.status.name().to_owned(),
            partner: revision.credit.winner().map(|w| named(w.touch.click.partner, &self.story.names)),
            sentence: format!("{}{}", self.why(revision), self.counted(revision)),
        }
    }

    /// Whether the conversion counted by an earlier revision, where that is not how it counts now.
    fn counted(&self, revision: &StoryRevision) -> String {
        let now = self.story.revisions.last().map(|latest| latest.status);
        match revision.status {
            status if Some(status) == now => String::new(),
            Status::Pending => " The conversion waited for approval.".to_owned(),
            status => format!(" The conversion was {}.", status.name()),
        }
    }

    fn change(&self, change: &ledger::ChangeStory) -> StatusChange {
        let it = &change.change;
        let why = it.reason.as_ref().map(|reason| format!(" Reason: {reason}.")).unwrap_or_default();
        let when = words::from_now(change.at, self.now);
        StatusChange {
            event: change.id.to_string(),
            at: change.at.to_string(),
            from: it.from.name().to_owned(),
            to: it.to.name().to_owned(),
            by: it.by.clone(),
            reason: it.reason.clone(),
            sentence: format!("{} made it {} {when}; it was {}.{why}", it.by, it.to.name(), it.from.name()),
            rules: change.rules.iter().map(|rule| self.rule(rule)).collect(),
            deliveries: change.deliveries.iter().map(|delivery| self.delivery(delivery)).collect(),
        }
    }

    /// What was seen where a condition was not met, as far as it may be shown.
    fn seen(&self, condition: &str, seen: &str) -> String {
        match condition {
            "site" | "not_site" => self.mask.param("site_id", seen),
            _ => match condition.strip_prefix("param.") {
                Some(name) => self.mask.param(name, seen),
                None => seen.to_owned(),
            },
        }
    }

    fn rule(&self, rule: &ledger::RuleStory) -> Rule {
        let condition = match &rule.detail {
            Some(Detail::Condition(unmet)) => Some(Unmet {
                name: unmet.condition.clone(),
                wanted: unmet.wanted.clone(),
                seen: unmet.seen.as_deref().map(|seen| self.seen(&unmet.condition, seen)),
            }),
            _ => None,
        };
        let shared = match &rule.detail {
            Some(Detail::Shared { how, micros, of_micros, currency }) => Some(Shared {
                how: how.clone(),
                amount: money::decimal(*micros, 2),
                of: money::decimal(*of_micros, 2),
                currency: currency.map(|c| c.to_string()),
            }),
            _ => None,
        };
        let partner = rule.partner.map(|partner| named(partner, &self.story.names));
        let delivery = rule.delivery.map(|delivery| delivery.to_string());
        Rule {
            rule: named(rule.rule, &self.story.names),
            version: rule.rule_version,
            revision: rule.revision,
            fired: rule.suppressed.is_none(),
            suppressed: rule.suppressed.map(|reason| reason.code().to_owned()),
            sentence: words::rule(
                rule,
                partner.as_ref().map(|p| p.label()),
                delivery.as_deref(),
                condition.as_ref(),
                shared.as_ref(),
            ),
            partner,
            delivery,
            condition,
            shared,
        }
    }

    fn delivery(&self, delivery: &ledger::DeliveryStory) -> Delivery {
        shown(delivery, &self.story.names, &self.mask, self.now)
    }

    fn next(&self) -> Vec<Step> {
        let mut steps = Vec::new();
        if self.story.undecided {
            let again = if self.story.revisions.is_empty() { "decided" } else { "decided again" };
            steps.push(Step { at: None, sentence: format!("It is {again} within moments.") });
        } else if matches!(self.story.revisions.last().map(|r| &r.credit), Some(Credit::InstallUnknown)) {
            let sentence =
                "It is decided again when its installation arrives; what was not told yet is told then.";
            steps.push(Step { at: None, sentence: sentence.to_owned() });
        }
        if let Some(latest) = self.story.revisions.last()
            && latest.status == Status::Pending
            && latest.kind.is_some()
        {
            let id = self.story.event.id.conversion();
            let sentence = format!(
                "It waits for approval: `roundtrip conversion approve {id}`, or `reject` with a reason."
            );
            steps.push(Step { at: None, sentence });
        }
        let of_changes = self.story.changes.iter().flat_map(|change| &change.deliveries);
        for delivery in self.story.deliveries.iter().chain(of_changes) {
            let receiver = match delivery.endpoint {
                Endpoint::Postback { partner, .. } => self.label::<kind::Partner>(partner),
                Endpoint::Webhook(webhook) => format!("webhook {}", self.label::<kind::Webhook>(webhook)),
            };
            if let Some(step) = step(delivery, &receiver, self.now) {
                steps.push(step);
            } else if ["dead", "expired"].contains(&delivery.state.as_str()) && !self.is_mended(delivery) {
                steps.push(given_up(delivery, &receiver));
            }
        }
        if steps.is_empty() {
            steps.push(Step { at: None, sentence: "Nothing: all that is to be told was told.".to_owned() });
        }
        steps
    }

    /// Whether a later replay of a dead or expired delivery waits or arrived.
    fn is_mended(&self, dead: &ledger::DeliveryStory) -> bool {
        self.story.deliveries.iter().any(|other| {
            (other.endpoint, other.fact) == (dead.endpoint, dead.fact)
                && other.id > dead.id
                && !["dead", "expired"].contains(&other.state.as_str())
        })
    }
}

fn note(code: &str) -> Coded {
    let words = NOTES.iter().find(|(known, _)| *known == code).map_or("", |(_, words)| words);
    let mut sentence = format!("{words}.");
    if let Some(first) = sentence.get_mut(..1) {
        first.make_ascii_uppercase();
    }
    Coded { code: code.to_owned(), sentence }
}
