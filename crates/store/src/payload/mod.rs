//! What the owner is told: the body of a webhook, as it is kept and sent.
//!
//! The cast: [`Payload`] is the one shape of every fact, published as a JSON Schema ([`schema`]); `of_conversion` and
//! its kin fill it; [`shape`] makes of a kept body what one webhook gets: all of it, less of it, or a Slack message.
//! A body is made once per fact and kept, so that every send and replay of it says the same, and it only grows: what
//! is in version 1 of it stays there and means the same.
//!
//! Not relied on: nothing here reads the clock, and nothing of a body is read back to decide anything.

mod slack;

use roundtrip_domain::attribution::{Because, Credit};
use roundtrip_domain::event::{Environment, Event};
use roundtrip_domain::facts::ClickValues;
use roundtrip_domain::id::{Id, kind};
use roundtrip_domain::money;
use roundtrip_domain::settings::{App, Settings};
use roundtrip_domain::status::{Status, StatusChange};
use roundtrip_domain::template::Values as _;
use roundtrip_domain::time::Timestamp;
use roundtrip_domain::webhook::{Form, Topic, Webhook};
use schemars::JsonSchema;
use serde::Serialize;
use serde_json::Value;

/// The version of the body.
pub const VERSION: u32 = 1;

/// What a webhook's `without` can name: parts of a body that are about people, money or partners.
pub const PATHS: &[&str] = &[
    "attribution",
    "attribution.source",
    "attribution.campaign",
    "attribution.ad_set",
    "attribution.ad",
    "attribution.deep_link",
    "attribution.partner",
    "attribution.link",
    "attribution.click_id",
    "attribution.partner_click_id",
    "attribution.clicked_at",
    "attribution.match_type",
    "attribution.reason",
    "device",
    "device.platform",
    "device.os_version",
    "device.model",
    "device.app_version",
    "device.country",
    "user",
    "user.customer_id",
    "user.install_id",
    "user.is_organic",
    "properties",
    "revenue",
    "currency",
    "source_event_id",
    "status_change",
    "postback",
];

/// A fact, as a webhook gets it.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
#[schemars(title = "A Roundtrip webhook")]
pub struct Payload {
    /// Names the fact, `evt_…`: the same through retries and replays. Dedupe on it.
    pub event_id: String,
    /// The event's name as its sender calls it; `install` for an installation's birth; for what is about no event, the
    /// kind.
    pub event_name: String,
    /// The kind of fact: what a webhook asks for in `events`.
    pub kind: String,
    /// When it happened, RFC 3339 in UTC.
    pub timestamp: String,
    /// When it reached Roundtrip, or became known there.
    pub received_at: String,
    /// Who earned it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub attribution: Option<Attribution>,
    /// What it happened on.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub device: Option<Device>,
    /// Who it was.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub user: Option<User>,
    /// Decimal, with a point.
    pub revenue: Option<String>,
    /// ISO 4217.
    pub currency: Option<String>,
    /// The reporter's own id of the event.
    pub source_event_id: Option<String>,
    /// The fact that this one changes or is about, `evt_…`.
    pub relates_to: Option<String>,
    /// Of which app or site, by slug.
    pub app: Option<String>,
    /// `production` or `sandbox`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub environment: Option<String>,
    /// `approved`, `pending` or `rejected`, when the fact was made.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub status: Option<String>,
    /// The conversion, `cnv_…`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub conversion: Option<String>,
    /// What the reporter sent with it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub properties: Option<Value>,
    /// What changed, if the fact is a change of a conversion's status.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub status_change: Option<Change>,
    /// The postback that it is about.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub postback: Option<Postback>,
    /// What it says about how telling goes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub notice: Option<Notice>,
    /// The version of this shape. It only grows within a version.
    pub schema: u32,
}

/// Who earned a conversion.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
pub struct Attribution {
    /// The partner's slug; `organic`: nobody; `unknown`: its installation has not been seen yet, and an
    /// `attribution_updated` follows when it is.
    pub source: String,
    /// The campaign: the link's parameter, else the campaign's name.
    pub campaign: Option<String>,
    /// The ad set or group that the link named.
    pub ad_set: Option<String>,
    /// The ad that the link named.
    pub ad: Option<String>,
    /// Where the link leads inside the app.
    pub deep_link: Option<String>,
    /// The partner, `prt_…`.
    pub partner: Option<String>,
    /// The link's public id.
    pub link: Option<String>,
    /// The click that won: ours.
    pub click_id: Option<String>,
    /// The partner's own id of it.
    pub partner_click_id: Option<String>,
    /// When that click reached us.
    pub clicked_at: Option<String>,
    /// How it was found: `install_referrer`, `click_id`, `postback`, `device_id`.
    pub match_type: Option<String>,
    /// Why, as a sentence.
    pub reason: String,
}

/// What it happened on.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
pub struct Device {
    /// `android`, `ios` or `web`.
    pub platform: String,
    /// The version of the system.
    pub os_version: Option<String>,
    /// The model.
    pub model: Option<String>,
    /// The version of the app.
    pub app_version: Option<String>,
    /// ISO 3166-1 alpha-2.
    pub country: Option<String>,
}

/// Who it was.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
pub struct User {
    /// The reporter's own id of the customer.
    pub customer_id: Option<String>,
    /// The installation.
    pub install_id: Option<String>,
    /// Whether nobody earned it; null while that is not known.
    pub is_organic: Option<bool>,
}

/// A change of a conversion's status.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
pub struct Change {
    /// What it was.
    pub from: String,
    /// What it is.
    pub to: String,
    /// Who changed it.
    pub by: String,
    /// Why.
    pub reason: Option<String>,
}

/// A postback, and how it ended or stands.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
pub struct Postback {
    /// The delivery, `dlv_…`.
    pub delivery: String,
    /// Whom it tells, by slug.
    pub partner: Option<String>,
    /// By which rule, by slug.
    pub rule: Option<String>,
    /// The conversion kind that it tells.
    pub tells: String,
    /// `delivered`, `dead`, `expired` or `scheduled`.
    pub state: String,
    /// Why; stable.
    pub reason: String,
    /// Sends so far.
    pub sends: u32,
}

/// How telling goes.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
pub struct Notice {
    /// What happened, as a sentence.
    pub sentence: String,
    /// What it is about: `webhook:SLUG`, `rule:SLUG@PARTNER`, `app:SLUG`; absent where it is about all.
    pub about: Option<String>,
    /// The figures behind it, by name.
    pub figures: Value,
}

/// A conversion that is told, as it stands.
pub(crate) struct Told<'a> {
    /// The fact.
    pub(crate) fact: Id<kind::Event>,
    /// Its kind.
    pub(crate) topic: Topic,
    /// The event that made the conversion.
    pub(crate) event: &'a Event,
    /// The change of its status that is told, and when that was recorded.
    pub(crate) change: Option<(&'a StatusChange, Timestamp)>,
    /// Whether the event is the birth of its installation.
    pub(crate) is_install: bool,
    /// Who has the credit.
    pub(crate) credit: &'a Credit,
    /// Why.
    pub(crate) because: &'a Because,
    /// How it counts.
    pub(crate) status: Status,
    /// When the fact was made.
    pub(crate) at: Timestamp,
    /// The app.
    pub(crate) app: &'a App,
    /// Names of partners, campaigns and links.
    pub(crate) settings: &'a Settings,
}

/// The body of a conversion's fact.
pub(crate) fn of_conversion(told: &Told<'_>) -> Payload {
    let event = told.event;
    let revenue = event.revenue.as_ref();
    let is_first = told.fact == event.id;
    let at = match (told.change, is_first) {
        (Some((_, at)), _) => at,
        (None, true) => event.occurred_at,
        (None, false) => told.at,
    };
    let winner = told.credit.winner().map(|winner| &winner.touch.click);
    Payload {
        event_id: told.fact.to_string(),
        event_name: if told.is_install { "install".to_owned() } else { event.name.clone() },
        kind: told.topic.name().to_owned(),
        timestamp: at.to_string(),
        received_at: if is_first { event.received_at } else { told.at }.to_string(),
        attribution: Some(attribution(told)),
        device: Some(Device {
            platform: event.device.platform.clone().unwrap_or_else(|| told.app.platform.name().to_owned()),
            os_version: event.device.os_version.clone(),
            model: event.device.model.clone(),
            app_version: event.device.app_version.clone(),
            country: roundtrip_domain::location::Location::of(event, winner)
                .country
                .map(|country| country.as_str().to_owned()),
        }),
        user: Some(User {
            customer_id: event.customer_id.clone(),
            install_id: event.install_id.clone(),
            is_organic: match told.credit {
                Credit::Touch(_) => Some(false),
                Credit::Organic => Some(true),
                Credit::InstallUnknown => None,
            },
        }),
        revenue: revenue.map(|revenue| money::decimal(revenue.amount.micros, 2)),
        currency: revenue.and_then(|revenue| revenue.currency).map(|currency| currency.to_string()),
        source_event_id: event.source_event_id.clone(),
        relates_to: (!is_first).then(|| event.id.to_string()),
        app: Some(told.app.slug.clone()),
        environment: Some(match event.environment {
            Environment::Production => "production".to_owned(),
            Environment::Sandbox => "sandbox".to_owned(),
        }),
        status: Some(told.status.name().to_owned()),
        conversion: Some(event.id.conversion().to_string()),
        properties: event.properties.as_deref().and_then(|text| serde_json::from_str(text).ok()),
        status_change: told.change.map(|(change, _)| Change {
            from: change.from.name().to_owned(),
            to: change.to.name().to_owned(),
            by: change.by.clone(),
            reason: change.reason.clone(),
        }),
        postback: None,
        notice: None,
        schema: VERSION,
    }
}

fn attribution(told: &Told<'_>) -> Attribution {
    let nobody = |source: &str, reason: &str| Attribution {
        source: source.to_owned(),
        campaign: None,
        ad_set: None,
        ad: None,
        deep_link: None,
        partner: None,
        link: None,
        click_id: None,
        partner_click_id: None,
        clicked_at: None,
        match_type: None,
        reason: reason.to_owned(),
    };
    let winner = match told.credit {
        Credit::Touch(winner) => winner,
        Credit::Organic if told.because.candidates.is_empty() => {
            return nobody("organic", "No touch of a partner was found.");
        }
        Credit::Organic => return nobody("organic", "No touch that was found could earn it."),
        Credit::InstallUnknown => {
            return nobody("unknown", "Its installation has not been seen yet.");
        }
    };
    let (click, settings) = (&winner.touch.click, told.settings);
    let params = click.params();
    let values = ClickValues { id: winner.touch.id, click, params: &params, settings };
    let text = |name: &str| {
        let value = values.get(name)?;
        Some(String::from_utf8_lossy(&value.decoded).into_owned()).filter(|text| !text.is_empty())
    };
    let link = settings.links.get(&click.link);
    let found = told.because.candidates.iter().find(|candidate| candidate.touch.id == winner.touch.id);
    let how = winner.match_type.name().replace('_', " ");
    Attribution {
        source: settings
            .partners
            .get(&click.partner)
            .map_or_else(|| click.partner.to_string(), |p| p.slug.clone()),
        campaign: text("campaign"),
        ad_set: text("ad_group"),
        ad: text("ad"),
        deep_link: link
            .and_then(|link| link.destinations.deep_link.as_ref())
            .map(|url| url.render(&values, None).url),
        partner: Some(click.partner.to_string()),
        link: link.map(|link| link.public_id.clone()),
        click_id: Some(winner.touch.id.to_string()),
        partner_click_id: text("partner_click_id"),
        clicked_at: Some(click.received_at.to_string()),
        match_type: Some(winner.match_type.name().to_owned()),
        reason: match found {
            Some(candidate) => format!("Found by {how}; it won because {}.", candidate.verdict.sentence()),
            None => format!("Found by {how}; it follows its installation, which that touch won."),
        },
    }
}

/// The body of something that is no conversion: `about` says what it is about.
pub(crate) fn of_notice(
    fact: Id<kind::Event>,
    topic: Topic,
    at: Timestamp,
    app: Option<String>,
    notice: Option<Notice>,
    postback: Option<(Postback, Id<kind::Event>)>,
) -> Payload {
    let at = at.to_string();
    let (postback, relates_to) = match postback {
        Some((postback, event)) => (Some(postback), Some(event.to_string())),
        None => (None, None),
    };
    Payload {
        event_id: fact.to_string(),
        event_name: topic.name().to_owned(),
        kind: topic.name().to_owned(),
        timestamp: at.clone(),
        received_at: at,
        attribution: None,
        device: None,
        user: None,
        revenue: None,
        currency: None,
        source_event_id: None,
        relates_to,
        app,
        environment: None,
        status: None,
        conversion: None,
        properties: None,
        status_change: None,
        postback,
        notice,
        schema: VERSION,
    }
}

impl Payload {
    /// As it is kept.
    pub(crate) fn write(&self) -> String {
        // Texts, numbers and JSON values, which always serialize.
        serde_json::to_string(self).unwrap_or_default()
    }
}

/// The JSON Schema of the body.
pub fn schema() -> Value {
    schemars::schema_for!(Payload).to_value()
}

/// What a webhook gets of a body that is kept. The same body and the same webhook give the same bytes.
pub fn shape(body: &str, webhook: &Webhook) -> String {
    if webhook.is_slack() {
        return slack::message(body);
    }
    if webhook.form == Form::Full && webhook.without.is_empty() {
        return body.to_owned();
    }
    let Ok(Value::Object(mut fields)) = serde_json::from_str(body) else { return body.to_owned() };
    if webhook.form == Form::Thin {
        fields.retain(|name, _| THIN.contains(&name.as_str()));
    }
    for path in &webhook.without {
        let (outer, inner) = path.split_once('.').unwrap_or((path, ""));
        match inner {
            "" => drop(fields.shift_remove(outer)),
            inner => {
                if let Some(Value::Object(part)) = fields.get_mut(outer) {
                    part.shift_remove(inner);
                }
            }
        }
    }
    Value::Object(fields).to_string()
}

/// What a thin body holds.
const THIN: &[&str] = &[
    "event_id",
    "event_name",
    "kind",
    "timestamp",
    "received_at",
    "relates_to",
    "app",
    "environment",
    "status",
    "conversion",
    "schema",
];

#[cfg(test)]
mod tests;
