//! The values of macros: what a conversion and its touch can say.
//!
//! [`ClickValues`] fills destinations while a visitor waits; [`Facts`] fills postbacks once a decision was
//! made. Names and who may see them are the template vocabulary's affair.

use md5::Md5;
use sha1::{Digest, Sha1};

use crate::click::{Click, TouchKind};
use crate::click_id::ClickId;
use crate::device::{DeviceId, DeviceIdKind};
use crate::event::{Environment, Event};
use crate::id::{Id, kind};
use crate::location::Location;
use crate::money;
use crate::params::{Param, Params, unexpanded};
use crate::settings::{App, Partner, Platform, Rule, Settings};
use crate::status::{Status, StatusChange};
use crate::template::{Value, Values};
use crate::time::{Span, Timestamp};

use crate::attribution::{Decision, Winner};

/// Link parameters that are macros of their canonical name, whatever the link's dialect calls them.
const LINK_PARAMETERS: &[&str] = &[
    "campaign",
    "campaign_id",
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
    "offer_name",
    "advertiser_id",
    "advertiser_name",
    "channel",
    "placement",
    "ad_type",
    "ad_size",
    "category",
    "site_name",
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

/// Macros of hashed device ids, which links can carry under these names.
const HASHED_IDS: &[&str] = &["gaid_sha1", "gaid_md5", "idfa_sha1", "idfa_md5"];

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
    /// A link's parameter by its canonical name.
    fn canonical(&self, name: &str) -> Option<Value<'_>> {
        self.params.get(name).and_then(value)
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
            "ip" | "click_ip" => click.ip?.to_string(),
            "ua" | "click_ua" => click.user_agent.clone()?,
            "referrer" => click.referer.clone()?,
            "link_id" => self.settings.links.get(&click.link)?.public_id.clone(),
            name if Location::MACROS.contains(&name) => click.location.value(name)?,
            "lang" => click.language.as_deref()?.split([',', ';', '-']).next()?.trim().to_owned(),
            "platform" => {
                user_agent_platform(click.user_agent.as_deref().unwrap_or_default()).name().to_owned()
            }
            "app_id" => self.app()?.bundle_id.clone()?,
            "app_name" => self.app()?.name.clone(),
            "aff_id" => self.partner()?.ref_id.clone(),
            _ => {
                let mut ids = Click::device_ids(self.params);
                // Some systems have one parameter for the id of whatever device it is.
                if let Some(app) = self.app() {
                    ids.retain(|id| id.kind.runs_on(app.platform));
                }
                return device_value(name, &ids);
            }
        })
    }
}

/// A parameter's value, unless it is empty.
fn value(param: Param<'_>) -> Option<Value<'_>> {
    (!param.raw.is_empty()).then(|| Value::received(param.bytes(), param.raw))
}

impl Values for ClickValues<'_> {
    fn get(&self, name: &str) -> Option<Value<'_>> {
        if let Some(name) = name.strip_prefix("param.") {
            return self.params.received(name).and_then(value);
        }
        if let Some(name) = name.strip_prefix("cfg.") {
            return self.partner()?.cfg.get(name).map(|v| Value::text(v.as_str()));
        }
        if name == "partner_click_id" {
            return self.canonical("click_id");
        }
        // Of what we know ourselves too, a macro that the sender did not fill says less than we do.
        let is_ours_too = || matches!(name, "campaign" | "campaign_id" | "aff_id");
        let is_worth = |param: &Param<'_>| !is_ours_too() || !unexpanded(param.raw);
        if LINK_PARAMETERS.contains(&name)
            && let Some(value) = self.params.get(name).filter(is_worth).and_then(value)
        {
            return Some(value);
        }
        // A hash that the link brought stands where the id itself is not known.
        self.owned(name)
            .map(Value::text)
            .or_else(|| if HASHED_IDS.contains(&name) { self.canonical(name) } else { None })
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

/// A span in whole hours.
fn hours(span: Span) -> i64 {
    span.ms() / 3_600_000
}

impl DeviceIdKind {
    /// Whether devices of the platform have it. Whoever is on a web page can be on any.
    const fn runs_on(self, platform: Platform) -> bool {
        !matches!(
            (self, platform),
            (Self::Gaid | Self::Oaid | Self::AndroidId, Platform::Ios)
                | (Self::Idfa | Self::Idfv, Platform::Android)
        )
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
        let dollars =
            shared.filter(|_| revenue.is_some_and(|r| r.currency.is_some_and(|c| c.as_str() == "USD")));
        let postback = event.postback.as_ref();
        let age = || Some(event.occurred_at.since(touch?.click.received_at).max(0) / 1000);
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
            "revenue_usd" => money::decimal(dollars?, 2),
            "revenue_usd_minor" => money::minor(dollars?, revenue?.currency?),
            "is_verified" => u8::from(revenue?.verified).to_string(),
            "currency" => revenue?.currency?.to_string(),
            "order_id" => match postback {
                Some(p) => p.order_id.clone()?,
                None => self.property("order_id")?,
            },
            "coupon" => match postback {
                Some(p) => p.coupon.clone()?,
                None => self.property("coupon")?,
            },
            "goal" => postback?.goal.clone()?,
            "is_new_customer" => u8::from(postback?.new_customer).to_string(),
            "comment" => postback?.comment.clone()?,
            "customer_id" => event.customer_id.clone()?,
            "environment" => match event.environment {
                Environment::Production => "production".into(),
                Environment::Sandbox => "sandbox".into(),
            },
            "partner" => self.partner?.slug.clone(),
            "partner_name" => self.partner?.name.clone(),
            "is_attributed" => u8::from(self.is_winner).to_string(),
            "touch_age" => age()?.to_string(),
            "touch_age_minutes" => (age()? / 60).to_string(),
            "touch_age_hours" => (age()? / 3_600).to_string(),
            "touch_age_days" => (age()? / 86_400).to_string(),
            "click_window" => hours(self.app.click_window).to_string(),
            "postback_window" => hours(self.rule.window).to_string(),
            "install_hour" => (self.install_at?.seconds().div_euclid(3_600) * 3_600).to_string(),
            "impression_time" => {
                let touch = touch.filter(|t| t.click.kind == TouchKind::Impression)?;
                touch.click.received_at.seconds().to_string()
            }
            "install_referrer" => referrer.map(|r| r.referrer.clone()).filter(|text| !text.is_empty())?,
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
            name if Location::MACROS.contains(&name) => {
                let click = touch.filter(|_| self.is_winner).map(|touch| &touch.click);
                Location::of(event, click).value(name)?
            }
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
            // A field of the advertiser's own can hold the very amount, as properties can.
            _ if self.rule.share.is_exact() => return self.advertiser_field(name.strip_prefix("adv")?),
            _ => return None,
        })
    }

    /// A field of the advertiser's own that an inbound postback brought, in any of the systems' names for it.
    fn advertiser_field(&self, number: &str) -> Option<String> {
        let number: u8 = number.parse().ok().filter(|number| (1..=10).contains(number))?;
        let params = Params::parse(&self.event.postback.as_ref()?.query);
        let first = (number == 1).then_some("adv_sub");
        ["adv", "custom", "adv_sub", "adv_param", "custom_field"]
            .iter()
            .map(|stem| format!("{stem}{number}"))
            .chain(first.map(str::to_owned))
            .find_map(|name| params.text(&name))
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
        // What is not known of the event's own place is not taken from the click's.
        if Location::MACROS.contains(&name) {
            return None;
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

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::click::{Flags, LinkDialect};
    use crate::id::WorkspaceNo;
    use crate::settings::Campaign;

    const GAID: &str = "38400000-8cf0-11bd-b23e-10b96e40000d";

    /// What a click on a link of the dialect says for each macro, on an app of the platform.
    #[track_caller]
    fn check(dialect: LinkDialect, platform: Platform, query: &str, says: &[(&str, Option<&str>)]) {
        let mut settings = Settings::empty(WorkspaceNo::DEFAULT, "default");
        let (app, campaign, partner) = (Id::from_bits(1), Id::from_bits(2), Id::from_bits(3));
        settings.apps.insert(
            app,
            Arc::new(App {
                id: app,
                slug: "game".into(),
                name: "Game".into(),
                platform,
                bundle_id: None,
                store_url: None,
                currency: None,
                events: Default::default(),
                click_window: platform.click_window(),
                postback: Default::default(),
            }),
        );
        settings.campaigns.insert(
            campaign,
            Arc::new(Campaign {
                id: campaign,
                slug: "summer".into(),
                name: "Our summer".into(),
                app,
                public_id: "4711".into(),
                landing_page: None,
                mandatory: Vec::new(),
            }),
        );
        let click = Click {
            workspace: WorkspaceNo::DEFAULT,
            app,
            campaign,
            partner,
            link: Id::from_bits(4),
            kind: TouchKind::Click,
            dialect,
            flags: Flags::default(),
            received_at: Timestamp::from_ms(0),
            query: query.into(),
            ip: None,
            user_agent: None,
            referer: None,
            language: None,
            location: Location::default(),
        };
        let params = click.params();
        let values =
            ClickValues { id: ClickId::from_bits(7), click: &click, params: &params, settings: &settings };
        for (name, want) in says {
            let got = values.get(name).map(|value| String::from_utf8_lossy(&value.decoded).into_owned());
            assert_eq!(got.as_deref(), *want, "{dialect:?}: {name} of {query}");
        }
    }

    #[test]
    fn a_click_says_canonical_names_whatever_its_dialect() {
        use LinkDialect as D;
        use Platform::{Android, Web};
        check(
            D::AppsFlyer,
            Android,
            "c=af+summer&af_c_id=9&clickid=X&af_sub1=a&af_siteid=s&mine=1",
            &[
                ("partner_click_id", Some("X")),
                ("campaign", Some("af summer")),
                ("campaign_id", Some("9")),
                ("sub1", Some("a")),
                ("site_id", Some("s")),
                ("param.af_sub1", Some("a")),
                ("param.sub1", None),
                ("param.mine", Some("1")),
            ],
        );
        // Ours stands where the link has nothing, or only a macro that its sender did not fill.
        for query in ["", "campaign=", "campaign=%7Bcampaign%7D&campaign_id=__CID__"] {
            check(
                D::Linkrunner,
                Web,
                query,
                &[("campaign", Some("Our summer")), ("campaign_id", Some("4711"))],
            );
        }
        check(
            D::Linkrunner,
            Web,
            "campaign=theirs&campaign_id=1",
            &[("campaign", Some("theirs")), ("campaign_id", Some("1"))],
        );
        // Other parameters are handed on as they came, so that their sender sees its mistake.
        check(D::Linkrunner, Web, "sub1=%7Bsub%7D", &[("sub1", Some("{sub}"))]);
    }

    #[test]
    fn one_parameter_for_two_ids_is_the_one_that_the_app_s_devices_have() {
        use LinkDialect as D;
        let query = format!("device_id={GAID}");
        let upper = GAID.to_ascii_uppercase();
        check(
            D::Kochava,
            Platform::Android,
            &query,
            &[("gaid", Some(GAID)), ("idfa", None), ("device_id", Some(GAID))],
        );
        check(
            D::Kochava,
            Platform::Ios,
            &query,
            &[("gaid", None), ("idfa", Some(&upper)), ("device_id", Some(&upper))],
        );
        // A hash that came stands for the id; the id itself makes its own.
        check(
            D::Singular,
            Platform::Android,
            "aif1=abc&ifa5=def",
            &[("gaid_sha1", Some("abc")), ("idfa_md5", Some("def")), ("gaid", None)],
        );
        let sha1 = hex::encode(Sha1::digest(GAID));
        check(
            D::Singular,
            Platform::Android,
            &format!("aifa={GAID}&aif1=abc"),
            &[("gaid_sha1", Some(&sha1))],
        );
    }
}
