//! The shape of a story. Its comments are the descriptions in the API document.
//!
//! Ids are printed, with slugs beside them; times are RFC 3339 in UTC; money is decimal text. Every `sentence`
//! is for people; programs branch on the codes beside it.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::phases::Phases;

/// Something that has an id, with its slug.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Named {
    /// The printed id.
    pub id: String,
    /// Its slug, also when it was deleted since; absent if nobody knows it any more.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub slug: Option<String>,
}

impl Named {
    /// The slug, else the id.
    pub fn label(&self) -> &str {
        self.slug.as_deref().unwrap_or(&self.id)
    }
}

/// A stable code and what it means.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Coded {
    /// Stable.
    pub code: String,
    /// For people.
    pub sentence: String,
}

/// Where an address was when it arrived, by the operator's databases.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[schemars(rename = "StoryLocation")]
pub struct Location {
    /// ISO 3166-1, two letters.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub country: Option<String>,
    /// The first subdivision: its ISO 3166-2 code without the country, or its name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub region: Option<String>,
    /// The city's English name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub city: Option<String>,
    /// The number of the network that announces the address.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub asn: Option<u32>,
    /// The name of who runs that network.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub network: Option<String>,
    /// All of it, for people: `Berlin, BE, DE · Example Net (AS64500)`.
    pub sentence: String,
}

/// Money.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Money {
    /// Decimal, with a point.
    pub amount: String,
    /// ISO 4217; absent when neither the event nor the app names one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub currency: Option<String>,
    /// False for revenue that a client key reported.
    pub verified: bool,
}

/// What an id explains.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "about", rename_all = "snake_case")]
pub enum Explained {
    /// An event, from click to the partner's answer.
    Event(Box<Story>),
    /// A click, and what it earned.
    Click(Box<ClickStory>),
    /// A delivery that tells of no event: a test, or what is said about how telling goes.
    Delivery(Box<DeliveryStory>),
}

/// The story of a delivery that tells of no event: a test, or what is said about how telling goes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct DeliveryStory {
    /// All of it in one sentence.
    pub sentence: String,
    /// The delivery.
    pub delivery: Delivery,
    /// What happens next, and when. Never empty: "nothing" is said as well.
    pub next: Vec<Step>,
}

/// The story of an event.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Story {
    /// All of it in one sentence.
    pub sentence: String,
    /// What arrived.
    pub event: Event,
    /// The decision that holds; absent while there is none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub decision: Option<Decision>,
    /// Decisions that it replaced, oldest first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub earlier: Vec<Earlier>,
    /// Every rule that was considered.
    pub rules: Vec<Rule>,
    /// What is told, replays included, oldest first.
    pub deliveries: Vec<Delivery>,
    /// Changes of the conversion's status, oldest first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub changes: Vec<StatusChange>,
    /// What happens next, and when. Never empty: "nothing" is said as well.
    pub next: Vec<Step>,
}

/// Something that is still to happen.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[schemars(rename = "NextStep")]
pub struct Step {
    /// When; absent if nothing is scheduled.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub at: Option<String>,
    /// What.
    pub sentence: String,
}

/// What arrived.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[schemars(rename = "StoryEvent")]
pub struct Event {
    /// `evt_…`; what `{event_id}` prints.
    pub id: String,
    /// `cnv_…`, if it makes a conversion.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub conversion: Option<String>,
    /// Its name, as sent.
    pub name: String,
    /// Of which app or site.
    pub app: Named,
    /// `client`, `server`, `postback` or `owner`.
    pub source: String,
    /// `production` or `sandbox`.
    pub environment: String,
    /// `approved`, `pending` or `rejected`, after all changes so far.
    pub status: String,
    /// For a change of status: the event that made the conversion which it changes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub relates_to: Option<String>,
    /// When it reached Roundtrip.
    pub received_at: String,
    /// When it happened, as its sender says.
    pub occurred_at: String,
    /// What arrived, in words.
    pub sentence: String,
    /// The caller's own id of it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source_event_id: Option<String>,
    /// Money on it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub revenue: Option<Money>,
    /// The click id that it named, as sent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub click_id: Option<String>,
    /// The app's id of the installation; its middle is masked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub install_id: Option<String>,
    /// The owner's id of the person; its middle is masked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub customer_id: Option<String>,
    /// The device.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub device: Option<Device>,
    /// The address, cut to its network (/24, /48).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ip: Option<String>,
    /// Where the address was; absent if no database said so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub location: Option<Location>,
    /// The browser or app; in full stories only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user_agent: Option<String>,
    /// The store's referrer text; in full stories only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub referrer: Option<String>,
    /// Names of its properties.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub property_names: Vec<String>,
    /// The properties; in full stories only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub properties: Option<serde_json::Value>,
    /// Consent signals, as sent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub consent: Option<serde_json::Value>,
    /// What only inbound postbacks have.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub postback: Option<Postback>,
    /// What was odd about it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub findings: Vec<Coded>,
}

/// A device.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[schemars(rename = "StoryDevice")]
pub struct Device {
    /// `android`, `ios`, ….
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub platform: Option<String>,
    /// Version of the system.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub os_version: Option<String>,
    /// Model.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub model: Option<String>,
    /// Version of the app.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub app_version: Option<String>,
    /// Apple's tracking answer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub att_status: Option<String>,
    /// Its ids; their middles are masked.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub ids: Vec<Param>,
}

/// What only inbound postbacks have.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[schemars(rename = "StoryPostback")]
pub struct Postback {
    /// The campaign it is booked on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub campaign: Option<Named>,
    /// Its other parameters, as sent: goal, order_id, coupon, ref_id, ….
    pub fields: Vec<Param>,
    /// The query as received, its token removed; in full stories only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub query: Option<String>,
}

/// A name and a value.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Param {
    /// The name.
    pub name: String,
    /// The value; masked if it identifies a person.
    pub value: String,
}

/// The decision that holds.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[schemars(rename = "StoryDecision")]
pub struct Decision {
    /// Counts from 1.
    pub revision: u32,
    /// When it was made.
    pub at: String,
    /// Under which version of the settings.
    pub settings_version: u64,
    /// `install`, `signup`, `purchase` or `event`; `status_change` or `rejected` for a change of one; absent for
    /// what is kept only as an event.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kind: Option<String>,
    /// `attributed`, `organic` or `install_unknown`.
    pub credit: String,
    /// Whether the conversion counted: `approved`, `pending` or `rejected`.
    pub status: String,
    /// How the winning touch was found.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub match_type: Option<String>,
    /// The winning touch.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub winner: Option<Click>,
    /// How the click's id came from the click to the event.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub handover: Option<Handover>,
    /// Why, in words.
    pub sentence: String,
    /// Where windows end.
    pub reference_at: String,
    /// The installation's event whose credit this one shares for life.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub follows: Option<String>,
    /// Touches that were considered, the winner first.
    pub candidates: Vec<Candidate>,
    /// How many more there were.
    pub candidates_more: u32,
    /// Click ids that led nowhere.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub dead_ends: Vec<Dead>,
    /// What else mattered.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub notes: Vec<Coded>,
}

/// How the visitor came from the click to the event.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Handover {
    /// `store`, `landing`, `postback` or `device`.
    pub by: String,
    /// In words.
    pub sentence: String,
}

/// A decision that was replaced.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[schemars(rename = "EarlierDecision")]
pub struct Earlier {
    /// Counts from 1.
    pub revision: u32,
    /// When it was made.
    pub at: String,
    /// `attributed`, `organic` or `install_unknown`.
    pub credit: String,
    /// Whether the conversion counted: `approved`, `pending` or `rejected`.
    pub status: String,
    /// Who had the credit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub partner: Option<Named>,
    /// In words.
    pub sentence: String,
}

/// A touch that was considered.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Candidate {
    /// Whether it won.
    pub won: bool,
    /// Stable: `won`, `outside_window`, ….
    pub verdict: String,
    /// Why, in words.
    pub sentence: String,
    /// How it was found.
    pub match_type: String,
    /// Its tier in the waterfall, 1 the strongest.
    pub tier: u8,
    /// The event that carried the evidence.
    pub carrier: String,
    /// The window that held for it.
    pub window: String,
    /// From the touch to the reference time, for people; negative when it came after.
    pub age: String,
    /// The same in milliseconds.
    pub age_ms: i64,
    /// The touch.
    pub click: Click,
}

/// A touch.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[schemars(rename = "StoryClick")]
pub struct Click {
    /// Its id, a UUID.
    pub id: String,
    /// `click`, `server_click`, `impression` or `preview`.
    pub kind: String,
    /// When it reached Roundtrip.
    pub received_at: String,
    /// What happened, in words.
    pub sentence: String,
    /// Whose link it was.
    pub partner: Named,
    /// The link's campaign.
    pub campaign: Named,
    /// The link.
    pub link: Named,
    /// What the link promotes.
    pub app: Named,
    /// The partner's own click id.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub partner_click_id: Option<String>,
    /// The link's other parameters; masked where they can identify a person.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub params: Vec<Param>,
    /// `android`, `ios` or `web`, by the browser's word.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub platform: Option<String>,
    /// The address, cut to its network (/24, /48).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ip: Option<String>,
    /// Where the address was; absent if no database said so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub location: Option<Location>,
    /// The host that the visitor came from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub referer_host: Option<String>,
    /// The query as received; in full stories only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub query: Option<String>,
    /// The browser; in full stories only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user_agent: Option<String>,
    /// What was odd about it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub flags: Vec<String>,
}

/// A click id that led nowhere.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[schemars(rename = "DeadEnd")]
pub struct Dead {
    /// The click id as it was sent.
    pub text: String,
    /// Where it stood.
    pub match_type: String,
    /// Stable: `click_id_malformed`, ….
    pub code: String,
    /// In words.
    pub sentence: String,
}

/// A rule that was considered.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[schemars(rename = "StoryRule")]
pub struct Rule {
    /// The rule.
    pub rule: Named,
    /// Its version.
    pub version: u64,
    /// Who is told, or would have been.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub partner: Option<Named>,
    /// The decision's revision that judged it.
    pub revision: u32,
    /// Whether it fired.
    pub fired: bool,
    /// Why it did not; stable.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub suppressed: Option<String>,
    /// The delivery that it made.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub delivery: Option<String>,
    /// The condition that was not met.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub condition: Option<Unmet>,
    /// What was told of the revenue.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub shared: Option<Shared>,
    /// In words.
    pub sentence: String,
}

/// A condition of a rule that was not met.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[schemars(rename = "UnmetCondition")]
pub struct Unmet {
    /// The field in the rule's `when`: `country`, `param.sub1`, ….
    pub name: String,
    /// What it asks for.
    pub wanted: String,
    /// What was there, masked if it can identify a person; absent when nothing is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub seen: Option<String>,
}

/// What a partner was told of the revenue.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[schemars(rename = "SharedRevenue")]
pub struct Shared {
    /// How the rule shared: `exact`, `70 %`, `rounded to 1`.
    pub how: String,
    /// The amount that was told.
    pub amount: String,
    /// The amount as it was booked.
    pub of: String,
    /// ISO 4217; absent for amounts that came without one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub currency: Option<String>,
}

/// A change of a conversion's status, and who was told of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct StatusChange {
    /// The event that the change is, `evt_…`: what `{event_id}` prints where it is told.
    pub event: String,
    /// When.
    pub at: String,
    /// What it was: `approved`, `pending` or `rejected`.
    pub from: String,
    /// What it is since.
    pub to: String,
    /// Who changed it: an actor of the API, or `postback`.
    pub by: String,
    /// Why, in the words of who changed it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// In words.
    pub sentence: String,
    /// Every rule that was considered for it.
    pub rules: Vec<Rule>,
    /// What is told of it.
    pub deliveries: Vec<Delivery>,
}

/// What is told, to whom, and how that stands: the same in lists and in stories.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Told {
    /// `dlv_…`.
    pub id: String,
    /// What receivers see as the event id and dedupe on, `evt_…`; the same for every replay.
    pub fact: String,
    /// What it tells: a kind of conversion, or of a webhook's fact; `test` for a test.
    pub kind: String,
    /// The rule that tells; absent for a webhook.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rule: Option<Named>,
    /// The partner that is told; absent for a webhook.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub partner: Option<Named>,
    /// The webhook that is told; absent for a postback.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub webhook: Option<Named>,
    /// Its endpoint, `wbh_…` or `rul_…:prt_…`.
    #[serde(default)]
    pub endpoint: String,
    /// When it was planned.
    pub created_at: String,
    /// The delivery that it replays.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub replay_of: Option<String>,
    /// `scheduled`, `held`, `delivered`, `dead`, `expired` or `cancelled`.
    pub state: String,
    /// Why it is in that state; stable.
    pub reason: String,
    /// How it stands and why, in words.
    pub sentence: String,
    /// When it is sent next, if it waits.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub due: Option<String>,
    /// Why it waits now, if it does: `delayed`, `due_at`, `endpoint_paused`, `endpoint_disabled`, `plain_http_refused`,
    /// `port_refused`, `refused_address` (the server's own settings do not allow it), `breaker_open`, `retry_after`,
    /// `rate_limited`, `host_full`, `concurrency_full`, `retry_budget`, `quota`, `total_full`, `ledger_busy`,
    /// `sending` or `next`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub waits: Option<String>,
    /// Until when that lasts, as far as is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub waits_until: Option<String>,
    /// Sends so far.
    pub sends: u32,
}

/// A delivery with every send.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[schemars(rename = "StoryDelivery")]
pub struct Delivery {
    /// What is told, and how that stands.
    #[serde(flatten)]
    pub told: Told,
    /// The version of the rule or webhook.
    pub version: u64,
    /// The decision's revision that planned it.
    pub revision: u32,
    /// After which it is of no use to its receiver, if there is such a time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deadline: Option<String>,
    /// Every send.
    pub attempts: Vec<Attempt>,
}

impl std::ops::Deref for Delivery {
    type Target = Told;

    fn deref(&self) -> &Told {
        &self.told
    }
}

impl Told {
    /// What carries it: `postback` or `webhook`.
    pub const fn medium(&self) -> &'static str {
        if self.webhook.is_some() { "webhook" } else { "postback" }
    }

    /// Who is told, for a person.
    pub fn receiver(&self) -> String {
        match (&self.partner, &self.webhook) {
            (Some(partner), _) => partner.label().to_owned(),
            (None, Some(webhook)) => webhook.label().to_owned(),
            (None, None) => String::new(),
        }
    }

    /// Its endpoint as commands take it: `webhook:SLUG`, `rule:SLUG@PARTNER`, or the ids of what nobody knows any more.
    pub fn address(&self) -> String {
        let slug = |named: &Option<Named>| named.as_ref().and_then(|named| named.slug.clone());
        match (slug(&self.rule), slug(&self.partner), slug(&self.webhook)) {
            (_, _, Some(webhook)) => format!("webhook:{webhook}"),
            (Some(rule), Some(partner), None) => format!("rule:{rule}@{partner}"),
            _ => self.endpoint.clone(),
        }
    }

    /// What tells, for a person: the rule, or the webhook.
    pub fn teller(&self) -> String {
        match (&self.rule, &self.webhook) {
            (Some(rule), _) => format!("rule {}", rule.label()),
            (None, Some(webhook)) => format!("webhook {}", webhook.label()),
            (None, None) => String::new(),
        }
    }
}

/// A send.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[schemars(rename = "StoryAttempt")]
pub struct Attempt {
    /// 1 is the first.
    pub n: u32,
    /// When it began.
    pub at: String,
    /// `http_200`, `timeout`, …; stable.
    pub outcome: String,
    /// HTTP status, if there was an answer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub status: Option<u16>,
    /// How long it took, in microseconds.
    pub total_us: i64,
    /// What it came to and what followed, in words.
    pub sentence: String,
    /// Why it is sent again and when, or why not, in words.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub next: String,
    /// The address that was called.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub address: Option<String>,
    /// What TLS agreed on: protocol and cipher suite.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tls: Option<String>,
    /// How long each phase took.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub phases: Option<Phases>,
    /// Whether the connection had served an earlier send.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub is_reused: bool,
    /// What was sent, secrets and personal data masked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub request: Option<Request>,
    /// What came back.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub answer: Option<Answer>,
    /// What went wrong on the way.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
    /// Macros of the template that had no value and were sent empty.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub empty_macros: Vec<String>,
}

/// What was sent.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[schemars(rename = "SentRequest")]
pub struct Request {
    /// Scheme, host and port.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub origin: Option<String>,
    /// The request line.
    pub line: String,
    /// Headers, in order.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub headers: Vec<Param>,
    /// The body.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub body: Option<String>,
}

/// What came back.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[schemars(rename = "ReceivedAnswer")]
pub struct Answer {
    /// HTTP status.
    pub status: u16,
    /// Headers, in order.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub headers: Vec<Param>,
    /// The beginning of the body.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub body: Option<String>,
    /// Whether there was more of it.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub is_cut: bool,
}

/// The story of a click.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ClickStory {
    /// All of it in one sentence.
    pub sentence: String,
    /// The click.
    pub click: Click,
    /// Whether the click log still has it; else it is told from a decision that it took part in.
    pub kept: bool,
    /// The events that it earned, or had earned for a while; oldest first, at most 100.
    pub events: Vec<Earned>,
}

/// An event that a click earned.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[schemars(rename = "EarnedEvent")]
pub struct Earned {
    /// `evt_…`.
    pub event: String,
    /// Its name, as sent.
    pub name: String,
    /// `install`, …; absent for what is kept only as an event.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kind: Option<String>,
    /// When it reached Roundtrip.
    pub received_at: String,
    /// Whether the click has the credit by the decision that holds.
    pub holds: bool,
    /// The event's story in one sentence.
    pub sentence: String,
}
