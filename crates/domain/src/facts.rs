//! The values of macros: what a conversion and its touch can say.
//!
//! [`ClickValues`] fills destinations while a visitor waits; [`Facts`] fills postbacks once a decision was
//! made. Names and who may see them are the template vocabulary's affair.

use md5::Md5;
use sha1::{Digest, Sha1};

use crate::click::{Click, TouchKind};
use crate::click_id::ClickId;
use crate::device::{DeviceId, DeviceIdKind};
use crate::event::Event;
use crate::id::{Id, kind};
use crate::money;
use crate::params::Params;
use crate::settings::{App, Partner, Platform, Rule, Settings};
use crate::status::{Status, StatusChange};
use crate::template::{Value, Values};
use crate::time::Timestamp;

use crate::attribution::{Decision, Winner};

/// Link parameters that are macros of their own name.
const LINK_PARAMETERS: &[&str] = &[
    "ad_group",
    "ad_group_id",
    "ad",
    "ad_id",
    "keyword",
    "site_id",
    "sub_site_id",
    "aff_id",
    "pub_id",
    "offer_id",
    "creative_id",
    "cost_model",
    "cost_value",
    "cost_currency",
    "sub1",
    "sub2",
    "sub3",
    "sub4",
    "sub5",
    "sub6",
    "sub7",
    "sub8",
    "sub9",
    "sub10",
];

/// What a click can say. `{click_id}` of a destination is ours: `rt_click_id`.
pub struct ClickValues<'a> {
    /// The click's id.
    pub id: ClickId,
    /// The click.
    pub click: &'a Click,
    /// Its query, read.
    pub params: &'a Params,
    /// Its workspace's settings.
    pub settings: &'a Settings,
}

impl ClickValues<'_> {
    fn received(&self, name: &str) -> Option<Value<'static>> {
        let param = self.params.get(name)?;
        (!param.raw.is_empty()).then(|| Value::received(param.bytes(), param.raw.clone()))
    }

    fn partner(&self) -> Option<&Partner> {
        self.settings.partners.get(&self.click.partner).map(|p| &**p)
    }

    fn app(&self) -> Option<&App> {
        self.settings.apps.get(&self.click.app).map(|a| &**a)
    }

    fn owned(&self, name: &str) -> Option<String> {
        let click = self.click;
        Some(match name {
            "rt_click_id" => self.id.to_string(),
            "campaign" | "campaign_id" => {
                let campaign = self.settings.campaigns.get(&click.campaign)?;
                if name == "campaign" { campaign.name.clone() } else { campaign.public_id.clone() }
            }
            "click_time" => click.received_at.seconds().to_string(),
            "click_time_ms" => click.received_at.ms().to_string(),
            "click_time_iso" => click.received_at.to_string(),
            "ip" => click.ip?.to_string(),
            "ua" => click.user_agent.clone()?,
            "lang" => click.language.as_deref()?.split([',', ';', '-']).next()?.trim().to_owned(),
            "platform" => {
                user_agent_platform(click.user_agent.as_deref().unwrap_or_default()).name().to_owned()
            }
            "app_id" => self.app()?.bundle_id.clone()?,
            "app_name" => self.app()?.name.clone(),
            "aff_id" => self.partner()?.ref_id.clone(),
            _ => {
                let ids = Click::device_ids(self.params);
                return device_value(name, &ids);
            }
        })
    }
}

impl Values for ClickValues<'_> {
    fn get(&self, name: &str) -> Option<Value<'_>> {
        if let Some(name) = name.strip_prefix("param.") {
            return self.received(name);
        }
        if let Some(name) = name.strip_prefix("cfg.") {
            return self.partner()?.cfg.get(name).map(|v| Value::text(v.as_str()));
        }
        if name == "partner_click_id" {
            return self.received("click_id");
        }
        if LINK_PARAMETERS.contains(&name)
            && let Some(value) = self.received(name)
        {
            return Some(value);
        }
        self.owned(name).map(Value::text)
    }
}

/// Which kind of device a browser says it is on.
pub fn user_agent_platform(user_agent: &str) -> Platform {
    if user_agent.contains("Android") {
        Platform::Android
    } else if ["iPhone", "iPad", "iPod"].iter().any(|word| user_agent.contains(word)) {
        Platform::Ios
    } else {
        Platform::Web
    }
}

/// A device-id macro from a list of raw ids.
fn device_value(name: &str, ids: &[DeviceId]) -> Option<String> {
    let raw = |kind: DeviceIdKind| ids.iter().find(|id| id.kind == kind).map(DeviceId::display);
    match name {
        "gaid" => raw(DeviceIdKind::Gaid),
        "idfa" => raw(DeviceIdKind::Idfa),
        "idfv" => raw(DeviceIdKind::Idfv),
        "oaid" => raw(DeviceIdKind::Oaid),
        "android_id" => raw(DeviceIdKind::AndroidId),
        // The platform decides which one a device has; in this order none hides another.
        "device_id" | "advertising_id" => {
            raw(DeviceIdKind::Gaid).or_else(|| raw(DeviceIdKind::Idfa)).or_else(|| raw(DeviceIdKind::Oaid))
        }
        "gaid_sha1" => raw(DeviceIdKind::Gaid).map(|id| hex::encode(Sha1::digest(id))),
        "gaid_md5" => raw(DeviceIdKind::Gaid).map(|id| hex::encode(Md5::digest(id))),
        "idfa_sha1" => raw(DeviceIdKind::Idfa).map(|id| hex::encode(Sha1::digest(id))),
        "idfa_md5" => raw(DeviceIdKind::Idfa).map(|id| hex::encode(Md5::digest(id))),
        _ => None,
    }
}

/// A parameter of the link whose touch won, as text; `None` without a winner or a value.
pub fn link_parameter(decision: &Decision, name: &str) -> Option<String> {
    let winner = decision.credit.winner()?;
    winner.touch.click.params().text(name)
}

/// Macros of the status, which a vocabulary that does not know them takes for link parameters.
const STATUS_MACROS: &[&str] = &["status", "old_status", "relates_to"];

/// Whether [`Facts`] fills a macro although the vocabulary says that nothing does, or does not know it: what a
/// change of a conversion's status says.
pub fn fills(name: &str) -> bool {
    STATUS_MACROS.contains(&name) || matches!(name, "is_rejected" | "reject_reason")
}

/// What a conversion can say to the one that a rule tells.
pub struct Facts<'a> {
    /// The event that makes the conversion.
    pub event: &'a Event,
    /// Whether the conversion counts.
    pub status: Status,
    /// The change of the conversion that is told, and the event that it is.
    pub change: Option<(Id<kind::Event>, &'a StatusChange)>,
    /// The installation's event, when it is known and not the same.
    pub install: Option<&'a Event>,
    /// Births of the same installation, when the event is one of them.
    pub births: &'a [Event],
    /// When the installation was born, if the event belongs to one.
    pub install_at: Option<Timestamp>,
    /// Whether this event is the installation's birth.
    pub is_install: bool,
    /// Whether it is the first of its kind for its subject.
    pub is_first: bool,
    /// The winning touch, read.
    pub winner: Option<(&'a Winner, Params)>,
    /// Whether the one that is told is who won. What only the click knows (its address, browser, device
    /// ids) is another partner's otherwise, and is not handed on.
    pub is_winner: bool,
    /// The app.
    pub app: &'a App,
    /// The rule that tells.
    pub rule: &'a Rule,
    /// The partner that is told.
    pub partner: Option<&'a Partner>,
    /// All settings.
    pub settings: &'a Settings,
}

impl Facts<'_> {
    /// The other events that speak of the same installation, the one that it was born by first.
    fn others(&self) -> impl Iterator<Item = &Event> {
        let births = self.births.iter().filter(|birth| birth.id != self.event.id);
        self.install.into_iter().chain(births)
    }

    fn owned(&self, name: &str) -> Option<String> {
        let event = self.event;
        let touch = self.winner.as_ref().map(|(w, _)| &w.touch);
        if let Some(text) = device_value(name, &event.device.ids) {
            return Some(text);
        }
        if let Some(text) = self.others().find_map(|other| device_value(name, &other.device.ids)) {
            return Some(text);
        }
        let conversion: Id<kind::Conversion> = event.id.conversion();
        let revenue = event.revenue.as_ref();
        let shared = revenue.and_then(|r| self.rule.share.of_revenue(r));
        let referrer = event.referrer.as_ref().or_else(|| self.others().find_map(|o| o.referrer.as_ref()));
        Some(match name {
            "event_id" => self.change.map_or(event.id, |(id, _)| id).to_string(),
            "relates_to" => self.change.map(|_| event.id.to_string())?,
            "status" => self.status.name().to_owned(),
            "old_status" => self.change?.1.from.name().to_owned(),
            "is_rejected" => u8::from(self.status == Status::Rejected).to_string(),
            "reject_reason" => {
                self.change.filter(|(_, change)| change.to == Status::Rejected)?.1.reason.clone()?
            }
            "transaction_id" => conversion.to_string(),
            "install_id" => event.install_id.clone()?,
            "event_name" if self.is_install => "install".into(),
            "event_name" => event.name.clone(),
            "mapped_event_name" => {
                let name = if self.is_install { "install" } else { &event.name };
                self.rule.rename.get(name).cloned().unwrap_or_else(|| name.to_owned())
            }
            "event_time" => event.occurred_at.seconds().to_string(),
            "event_time_ms" => event.occurred_at.ms().to_string(),
            "event_time_iso" => event.occurred_at.to_string(),
            // Properties can hold the very amount: they are told only where that is.
            "event_value" if self.rule.share.is_exact() => event.properties.clone()?,
            "revenue" => money::decimal(shared?, 2),
            "revenue_minor" => money::minor(shared?, revenue?.currency?),
            "currency" => revenue?.currency?.to_string(),
            "order_id" => match &event.postback {
                Some(p) => p.order_id.clone()?,
                None => self.property("order_id")?,
            },
            "product_id" => self.property("product_id")?,
            "quantity" => self.property("quantity")?,
            "is_first_event" => u8::from(self.is_first).to_string(),
            "install_time" => self.install_at?.seconds().to_string(),
            "install_time_ms" => self.install_at?.ms().to_string(),
            "install_time_iso" => self.install_at?.to_string(),
            "ctit" => (self.install_at?.since(touch?.click.received_at) / 1000).max(0).to_string(),
            "conversion_type" if self.is_install => "install".into(),
            "touch_type" => match touch?.click.kind {
                TouchKind::Impression => "impression".into(),
                _ => "click".into(),
            },
            "match_type" => self.winner.as_ref()?.0.match_type.name().into(),
            "is_organic" => u8::from(touch.is_none()).to_string(),
            "att_status" => event.device.att_status.clone()?,
            "ip" => event.ip.or(touch.filter(|_| self.is_winner).and_then(|t| t.click.ip))?.to_string(),
            "ua" => event
                .user_agent
                .clone()
                .or_else(|| touch.filter(|_| self.is_winner).and_then(|t| t.click.user_agent.clone()))?,
            "platform" => event.device.platform.clone().unwrap_or_else(|| self.app.platform.name().into()),
            "os_version" => event.device.os_version.clone()?,
            "device_model" => event.device.model.clone()?,
            "app_id" => self.app.bundle_id.clone()?,
            "app_name" => self.app.name.clone(),
            "app_version" => event.device.app_version.clone()?,
            "gp_click_time" => referrer?.click_server_at.or(referrer?.click_at)?.seconds().to_string(),
            "gp_install_begin_time" => {
                referrer?.install_begin_server_at.or(referrer?.install_begin_at)?.seconds().to_string()
            }
            _ => return None,
        })
    }

    /// The status where a template that does not know its macro asks for a link parameter of that name, and
    /// the link has none.
    fn status_macro(&self, name: &str) -> Option<String> {
        let name = name.strip_prefix("param.").filter(|name| STATUS_MACROS.contains(name))?;
        let on_link = self.winner.as_ref().and_then(|(_, params)| params.get(name));
        if on_link.is_some() { None } else { self.owned(name) }
    }

    /// A scalar of the event's properties, as text.
    fn property(&self, name: &str) -> Option<String> {
        let value: serde_json::Value = serde_json::from_str(self.event.properties.as_deref()?).ok()?;
        match value.get(name)? {
            serde_json::Value::String(text) => Some(text.clone()),
            serde_json::Value::Number(number) => Some(number.to_string()),
            serde_json::Value::Bool(is) => Some(is.to_string()),
            _ => None,
        }
    }
}

impl Values for Facts<'_> {
    fn get(&self, name: &str) -> Option<Value<'_>> {
        if let Some(name) = name.strip_prefix("cfg.") {
            return self.partner?.cfg.get(name).map(|v| Value::text(v.as_str()));
        }
        if let Some(text) = self.owned(name) {
            return Some(Value::text(text));
        }
        if let Some(text) = self.status_macro(name) {
            return Some(Value::text(text));
        }
        let (winner, params) = self.winner.as_ref()?;
        // Link parameters pass: the audience empties them, which is not the same as not knowing their name.
        if !self.is_winner && !name.starts_with("param.") {
            return None;
        }
        let click =
            ClickValues { id: winner.touch.id, click: &winner.touch.click, params, settings: self.settings };
        click.get(name).map(|v| Value {
            decoded: v.decoded.into_owned().into(),
            received: v.received.map(|r| r.into_owned().into()),
        })
    }
}
