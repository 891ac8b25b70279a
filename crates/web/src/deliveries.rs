//! The list of deliveries, as the API answers it, the dashboard shows it and commands print it; and the filter that
//! lists and jobs share, from the words that people write.

use std::collections::BTreeMap;

use roundtrip_domain::endpoint::Endpoint;
use roundtrip_domain::id::{Id, Kind, kind};
use roundtrip_domain::problem::{Code, Problem};
use roundtrip_domain::settings::Settings;
use roundtrip_domain::time::{Span, Timestamp};
use roundtrip_domain::webhook::Topic;
use roundtrip_store::ledger::{
    DeliveryFilter, DeliveryListed, DeliveryState, DeliveryStory, Ledger, Story, TEST_KIND,
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::conversions::{app, partner, webhook};
use crate::story::words::{self, OUTCOMES};
use crate::story::{Attempt, Named, Told};
use crate::{endpoints, known, problem, waits};

/// A delivery in a list.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct DeliveryRow {
    /// What is told, and how that stands.
    #[serde(flatten)]
    pub told: Told,
    /// What it is about, `evt_…`; of a test, an id that names nothing.
    pub event: String,
    /// Of which app or site.
    pub app: Named,
    /// When it ended, if it did.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ended_at: Option<String>,
    /// What the last send came to, while it is kept: `http_200`, `timeout`, ….
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub outcome: Option<String>,
    /// The HTTP status of its answer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub status: Option<u16>,
    /// When the last send began.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sent_at: Option<String>,
    /// How long it took, in microseconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub total_us: Option<i64>,
}

impl std::ops::Deref for DeliveryRow {
    type Target = Told;

    fn deref(&self) -> &Told {
        &self.told
    }
}

impl DeliveryRow {
    /// Who is told, and by what, for a person.
    pub fn receiver(&self) -> String {
        match (&self.webhook, &self.partner, &self.rule) {
            (Some(webhook), _, _) => format!("webhook {}", webhook.label()),
            (None, Some(partner), Some(rule)) => format!("{} by {}", partner.label(), rule.label()),
            _ => String::new(),
        }
    }
}

/// A page of deliveries.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Deliveries {
    /// The newest first.
    pub items: Vec<DeliveryRow>,
    /// Send it as `before` for the next page; absent on the last one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next: Option<String>,
    /// How many rows were looked at. A page looks at a bounded number of them.
    pub scanned: u32,
    /// Set when the filter ran into that bound: the page is shorter than asked for, and more may follow.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub note: Option<String>,
}

/// The end of a send.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct TailedSend {
    /// The delivery, as it stands by now.
    pub delivery: DeliveryRow,
    /// The send. What was sent and answered is shown only with `full`.
    pub attempt: Attempt,
}

/// What happened since a place.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Tail {
    /// Sends that ended, in their order.
    pub items: Vec<TailedSend>,
    /// Where to go on: the next call's `after`.
    pub next: String,
    /// How many ends of sends went by unseen, because they were too many to be remembered until this call.
    pub missed: u64,
    /// Whether the server was started again since: then nobody knows how many went by.
    pub restarted: bool,
}

/// Lists the latest deliveries of a workspace.
///
/// # Errors
/// With `store_unavailable` when the ledger cannot answer.
pub async fn list(
    ledger: &Ledger,
    settings: &Settings,
    filter: DeliveryFilter,
    before: Option<Id<kind::Delivery>>,
    limit: u32,
    now: Timestamp,
) -> Result<Deliveries, Problem> {
    let page = ledger.delivery_list(settings.workspace, filter, before, limit).await;
    let page = page.map_err(|error| problem::of_store(&error))?;
    let is_short = page.items.len() < limit as usize;
    let note = page.next.filter(|_| is_short).map(|_| {
        format!(
            "The filter was held against {} deliveries, as many as a page looks at; `next` goes on behind them.",
            page.rows
        )
    });
    Ok(Deliveries {
        items: page.items.iter().map(|listed| row(listed, settings, now)).collect(),
        next: page.next.map(|id| id.to_string()),
        scanned: page.rows,
        note,
    })
}

/// A delivery as lists show it.
pub fn row(listed: &DeliveryListed, settings: &Settings, now: Timestamp) -> DeliveryRow {
    let (rule, told, hook) = match listed.endpoint {
        Endpoint::Postback { rule: id, partner: to } => {
            (Some(rule(id, settings)), Some(partner(to, settings)), None)
        }
        Endpoint::Webhook(id) => (None, None, Some(webhook(id, settings))),
    };
    let last = listed.last.as_ref();
    let why = listed.why(now);
    DeliveryRow {
        told: Told {
            id: listed.id.to_string(),
            fact: listed.fact.to_string(),
            kind: listed.kind.clone(),
            rule,
            partner: told,
            webhook: hook,
            endpoint: waits::id(listed.endpoint),
            created_at: listed.created_at.to_string(),
            replay_of: listed.replay_of.map(|id| id.to_string()),
            state: listed.state.name().to_owned(),
            reason: listed.reason.clone(),
            sentence: words::listed(&listed.reason, why, listed.held.as_ref(), now),
            due: listed.due.map(|at| at.to_string()),
            waits: why.map(|why| why.wait.code().to_owned()),
            waits_until: why.and_then(|why| why.until).map(|at| at.to_string()),
            sends: listed.sends,
        },
        event: listed.event.to_string(),
        app: app(listed.app, settings),
        ended_at: listed.ended_at.map(|at| at.to_string()),
        outcome: last.map(|last| last.outcome.clone()),
        status: last.and_then(|last| last.status),
        sent_at: last.map(|last| last.at.to_string()),
        total_us: last.map(|last| last.total_us),
    }
}

/// A rule by the settings of now.
pub fn rule(id: Id<kind::Rule>, settings: &Settings) -> Named {
    Named { id: id.to_string(), slug: settings.rule(id).map(|rule| rule.slug.clone()) }
}

/// Who stands in a delivery, by printed id: by its event's story, which knows what was deleted since, else by the
/// settings of now.
pub fn names(
    delivery: &DeliveryStory,
    story: Option<&Story>,
    settings: &Settings,
) -> BTreeMap<String, String> {
    let mut names = story.map(|story| story.names.clone()).unwrap_or_default();
    let now = match delivery.endpoint {
        Endpoint::Postback { rule: id, partner: to } => vec![rule(id, settings), partner(to, settings)],
        Endpoint::Webhook(id) => vec![webhook(id, settings)],
    };
    for named in now {
        if let (id, Some(slug)) = (named.id, named.slug) {
            names.entry(id).or_insert(slug);
        }
    }
    names
}

/// A filter as people write it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Wanted {
    /// An endpoint, by name or id: in place of rule, partner and webhook.
    pub endpoint: Option<String>,
    /// A rule, by slug or id.
    pub rule: Option<String>,
    /// A webhook, by slug or id.
    pub webhook: Option<String>,
    /// A partner, by slug or id.
    pub partner: Option<String>,
    /// An app, by slug or id.
    pub app: Option<String>,
    /// Kinds of conversions or facts.
    pub kinds: Vec<String>,
    /// An event or conversion.
    pub event: Option<String>,
    /// A fact.
    pub fact: Option<String>,
    /// States.
    pub states: Vec<String>,
    /// What the last send came to: a code, or an HTTP status.
    pub outcome: Option<String>,
    /// Planned then or later: a moment, or a span ago.
    pub since: Option<String>,
    /// Planned before then: a moment, or a span ago.
    pub until: Option<String>,
}

/// Names of the filter's parameters, for the API's document, with what they mean.
pub const PARAMETERS: [(&str, &str); 12] = [
    (
        "endpoint",
        "To this endpoint: webhook:SLUG, rule:SLUG when it tells one partner, rule:SLUG@PARTNER, or its id.",
    ),
    ("rule", "Told by this rule, by slug or id."),
    ("webhook", "Told to this webhook, by slug or id."),
    ("partner", "Told to this partner, by slug or id."),
    ("app", "Of this app, by slug or id."),
    (
        "kind",
        "Of one of these kinds, with commas between them: install, signup, purchase, event, status_change or rejected, what webhooks ask for in `events` (organic_install, postback_failed, …), or test.",
    ),
    ("event", "About this event or conversion."),
    ("fact", "Telling this fact: what receivers see as the event id."),
    (
        "state",
        "In one of these states, with commas between them: scheduled, held, delivered, dead, expired, cancelled; waiting is the first two.",
    ),
    ("outcome", "Whose last send came to that: http_404, timeout, …; 404 is http_404."),
    ("since", "Planned then or later: a moment of RFC 3339, or a span such as 24h, that long ago."),
    ("until", "Planned before then: a moment of RFC 3339, or a span, that long ago."),
];

/// Every kind that a delivery can have: those of conversions, which partners are told, and those of facts, which webhooks
/// are.
fn kinds() -> Vec<&'static str> {
    let mut kinds: Vec<&str> = Topic::ALL.iter().map(|topic| topic.name()).collect();
    let of_conversions = ["install", "signup", "purchase", "event", "status_change", "rejected"];
    kinds.extend(of_conversions.into_iter().filter(|kind| Topic::parse(kind).is_none()));
    kinds.push(TEST_KIND);
    kinds
}

/// Most kinds in one filter.
const KINDS_MAX: usize = 16;
/// What a job's filter says for "since the endpoint's trouble began".
pub(crate) const FAILING: &str = "failing";

/// What a send came to, as it is stored: a status may be written alone. The error is what is wrong, and what to do.
fn outcome(text: &str) -> Result<String, (String, String)> {
    let is_status = |text: &str| text.len() == 3 && text.bytes().all(|b| b.is_ascii_digit()) && text >= "100";
    if is_status(text) {
        return Ok(format!("http_{text}"));
    }
    let is_known = OUTCOMES.iter().any(|(known, _)| *known == text);
    if is_known || text.strip_prefix("http_").is_some_and(is_status) {
        return Ok(text.to_owned());
    }
    let status = text.len().checked_sub(3).and_then(|at| text.get(at..)).filter(|end| is_status(end));
    let status = status.map(|status| format!("http_{status}"));
    let codes = || OUTCOMES.iter().map(|(known, _)| *known);
    let meant = known::did_you_mean(text, codes().chain(status.as_deref()));
    let all = codes().collect::<Vec<_>>().join(", ");
    Err((
        format!("`{}` is nothing that a send comes to", text.chars().take(64).collect::<String>()),
        format!("{meant}name a status such as 404 or http_404, or one of {all}"),
    ))
}

impl Wanted {
    /// Takes the filter's parameters one by one; lists are texts with commas.
    pub fn read(mut text: impl FnMut(&str) -> Option<String>) -> Self {
        let list = |text: Option<String>| -> Vec<String> {
            let text = text.unwrap_or_default();
            let words = text.split(',').map(str::trim).filter(|word| !word.is_empty());
            words.map(str::to_owned).collect()
        };
        let mut one = |name: &str| text(name).filter(|text| !text.is_empty());
        Self {
            endpoint: one("endpoint"),
            rule: one("rule"),
            webhook: one("webhook"),
            partner: one("partner"),
            app: one("app"),
            kinds: list(one("kind")),
            event: one("event"),
            fact: one("fact"),
            states: list(one("state")),
            outcome: one("outcome"),
            since: one("since"),
            until: one("until"),
        }
    }

    /// The filter. `prefix` stands before the names of fields in problems.
    ///
    /// # Errors
    /// With `parameter_invalid` for a word that means nothing, or a slug of nothing.
    pub fn judge(
        &self,
        settings: &Settings,
        now: Timestamp,
        prefix: &str,
    ) -> Result<DeliveryFilter, Problem> {
        let wrong = |name: &str, message: String| {
            Problem::new(Code::ParameterInvalid, format!("{prefix}{name}"), message)
        };
        if self.rule.is_some() && self.webhook.is_some() {
            return Err(wrong(
                "webhook",
                "a delivery is told by a rule or to a webhook, not both".to_owned(),
            ));
        }
        if self.kinds.len() > KINDS_MAX {
            return Err(wrong(
                "kind",
                format!("it names at most {KINDS_MAX} kinds, such as install,purchase"),
            ));
        }
        if let Some(kind) = self.kinds.iter().find(|kind| !kinds().contains(&kind.as_str())) {
            let meant = known::did_you_mean(kind, kinds());
            return Err(wrong("kind", format!("`{kind}` is no kind of conversion or fact"))
                .fixed_by(format!("{meant}the kinds are {}", kinds().join(", "))));
        }
        let mut states = Vec::new();
        for word in &self.states {
            match (DeliveryState::parse(word), word.as_str()) {
                (Some(state), _) => states.push(state),
                (None, "waiting") => states.extend([DeliveryState::Scheduled, DeliveryState::Held]),
                (None, _) => {
                    let names = DeliveryState::ALL.iter().map(|state| state.name()).chain(["waiting"]);
                    let names: Vec<&str> = names.collect();
                    let meant = known::did_you_mean(word, names.iter().copied());
                    return Err(wrong("state", format!("`{word}` is no state of a delivery"))
                        .fixed_by(format!("{meant}the states are {}", names.join(", "))));
                }
            }
        }
        states.sort();
        states.dedup();
        let outcome = self.outcome.as_deref().map(outcome).transpose();
        let outcome = outcome.map_err(|(message, fix)| wrong("outcome", message).fixed_by(fix))?;
        let event = |name: &str, text: &Option<String>| -> Result<Option<Id<kind::Event>>, Problem> {
            let Some(text) = text else { return Ok(None) };
            let conversion = || text.parse::<Id<kind::Conversion>>().map(Id::event);
            let id = text.parse().or_else(|_| conversion());
            id.map(Some).map_err(|_| wrong(name, "it is an event (evt_…) or a conversion (cnv_…)".to_owned()))
        };
        let moment = |name: &str, text: &Option<String>| -> Result<Option<Timestamp>, Problem> {
            let Some(text) = text else { return Ok(None) };
            let ago = || Span::parse(text).map(|span| now.plus_ms(-span.ms()));
            let at = Timestamp::parse(text).or_else(ago);
            at.map(Some).ok_or_else(|| {
                let fix = match known::nearest(text, [FAILING]) {
                    Some(_) if name == "since" && prefix.is_empty() => {
                        "say since when, such as 24h; `failing` is for replays and cancellations of one endpoint"
                            .to_owned()
                    }
                    Some(_) if name == "since" => {
                        format!("did you mean `{FAILING}`? That is since the trouble of the one endpoint that is named began")
                    }
                    _ => "write 24h or 7d for as long ago, or a moment such as 2026-06-04T09:00:00Z".to_owned(),
                };
                wrong(name, format!("`{text}` is neither a span ago nor a moment of RFC 3339")).fixed_by(fix)
            })
        };
        let rules = || settings.rules.values().flatten().map(|rule| (rule.id, rule.slug.as_str()));
        let partners = || settings.partners.values().map(|partner| (partner.id, partner.slug.as_str()));
        let apps = || settings.apps.values().map(|app| (app.id, app.slug.as_str()));
        let none = |name: &str, text: String, names: &mut dyn Iterator<Item = &str>| {
            let fix = known::one_of(&format!("{name}s"), names);
            wrong(name, format!("there is no {name} `{text}`")).fixed_by(fix)
        };
        let mut filter = DeliveryFilter {
            rule: chosen(&self.rule, rules())
                .map_err(|text| none("rule", text, &mut rules().map(|(_, slug)| slug)))?,
            webhook: chosen(&self.webhook, webhooks(settings))
                .map_err(|text| none("webhook", text, &mut webhooks(settings).map(|(_, slug)| slug)))?,
            partner: chosen(&self.partner, partners())
                .map_err(|text| none("partner", text, &mut partners().map(|(_, slug)| slug)))?,
            app: chosen(&self.app, apps())
                .map_err(|text| none("app", text, &mut apps().map(|(_, slug)| slug)))?,
            kinds: self.kinds.clone(),
            event: event("event", &self.event)?,
            fact: event("fact", &self.fact)?,
            states,
            outcome,
            from: moment("since", &self.since)?,
            until: moment("until", &self.until)?,
            ended_from: None,
        };
        if let Some(name) = &self.endpoint {
            if filter.rule.is_some() || filter.webhook.is_some() || filter.partner.is_some() {
                let message = "it names the rule and partner, or the webhook, so nothing else does";
                return Err(wrong("endpoint", message.to_owned()));
            }
            let field = format!("{prefix}endpoint");
            let named = |problem| Problem { code: Code::ParameterInvalid, field, ..problem };
            match endpoints::parse(name, settings).map_err(named)? {
                Endpoint::Webhook(webhook) => filter.webhook = Some(webhook),
                Endpoint::Postback { rule, partner } => {
                    (filter.rule, filter.partner) = (Some(rule), Some(partner));
                }
            }
        }
        if filter.from.is_some_and(|from| filter.until.is_some_and(|until| until <= from)) {
            return Err(wrong("until", "it lies before `since`, so nothing is meant".to_owned()));
        }
        Ok(filter)
    }
}

/// Webhooks by their slugs.
pub(crate) fn webhooks(settings: &Settings) -> impl Iterator<Item = (Id<kind::Webhook>, &str)> {
    settings.webhooks.iter().map(|webhook| (webhook.id, webhook.slug.as_str()))
}

/// The resource of that slug or id. A well-formed id needs no resource behind it: facts outlive the settings they were
/// made under. The error is the text that names nothing.
pub(crate) fn chosen<'a, K: Kind>(
    text: &Option<String>,
    mut known: impl Iterator<Item = (Id<K>, &'a str)>,
) -> Result<Option<Id<K>>, String> {
    let Some(text) = text else { return Ok(None) };
    if let Ok(id) = text.parse() {
        return Ok(Some(id));
    }
    known.find(|(_, slug)| slug == text).map(|(id, _)| Some(id)).ok_or_else(|| text.clone())
}
