//! One event of `/v1/events`: from JSON to a record, or to the problem that is told.
//!
//! What cannot be right is refused, with its field; what is merely odd is taken with a warning, which is also kept as
//! a finding. At the top an unknown field is refused: a misspelt `revenue` would lose money in silence. Inside
//! `user`, `device` and `install_referrer` it is warned of, since those lists grow with the systems that fill them.

use std::borrow::Cow;
use std::net::IpAddr;

use roundtrip_domain::click_id::ClickId;
use roundtrip_domain::device::{Device, DeviceId, DeviceIdKind};
use roundtrip_domain::event::{Environment, Event, InstallReferrer, Revenue, Source};
use roundtrip_domain::id::{Id, WorkspaceNo, kind};
use roundtrip_domain::money::{Amount, AmountError, Currency};
use roundtrip_domain::problem::{Code, Problem};
use roundtrip_domain::referrer;
use roundtrip_domain::settings::App;
use roundtrip_domain::time::{Span, Timestamp};
use roundtrip_geo::Geo;
use roundtrip_store::ledger::{Idempotency, NewEvent};
use serde_json::value::RawValue;
use sha2::{Digest, Sha256};

use super::answer::Warning;
use super::json::{self, Object};

/// Longest event name, in characters.
pub(super) const NAME_CHARS_MAX: usize = 128;
/// Longest id of the caller's, in bytes.
pub(super) const ID_BYTES_MAX: usize = 256;
/// Longest other text, in bytes.
const TEXT_BYTES_MAX: usize = 256;
/// `properties` or `consent`, in bytes of JSON.
const OBJECT_BYTES_MAX: usize = 16 * 1024;
/// Longest user agent that is kept, in bytes.
const USER_AGENT_BYTES_MAX: usize = 512;
/// How far ahead a time may lie: what a wrong time zone can amount to.
const FUTURE_MAX: Span = Span::from_hours(24);
/// How far back a client key reports: an offline queue. Time stamps from apps are easily made up.
const CLIENT_AGE_MAX: Span = Span::from_days(7);
/// How far back a server key reports: as long as idempotency keys are kept.
const SERVER_AGE_MAX: Span = Span::from_days(400);

/// Who sent it, and when.
pub(super) struct Sender<'a> {
    /// Client or server.
    pub(super) source: Source,
    /// Owner.
    pub(super) workspace: WorkspaceNo,
    /// The key's app.
    pub(super) app: &'a App,
    /// The connection's address.
    pub(super) client: Option<IpAddr>,
    /// Where addresses are.
    pub(super) geo: &'a Geo,
    /// The connection's user agent.
    pub(super) user_agent: Option<&'a str>,
    /// Now.
    pub(super) received_at: Timestamp,
}

/// An event that can be recorded.
pub(super) struct Taken {
    /// The record.
    pub(super) new: NewEvent,
    /// What was odd.
    pub(super) warnings: Vec<Warning>,
}

/// What the idempotency of a derived key and of a named one is told apart by.
const KEY_NAMED: u8 = 1;
const KEY_DERIVED: u8 = 2;

/// The fields of one event as they were sent.
#[derive(Default)]
struct Fields<'a> {
    event_id: Option<Cow<'a, str>>,
    event_name: Option<Cow<'a, str>>,
    timestamp: Option<Timestamp>,
    environment: Environment,
    install_id: Option<Cow<'a, str>>,
    click_id: Option<Cow<'a, str>>,
    referrer: Option<InstallReferrer>,
    customer_id: Option<Cow<'a, str>>,
    device: Device,
    revenue: Option<Amount>,
    currency: Option<Currency>,
    properties: Option<&'a RawValue>,
    consent: Option<&'a RawValue>,
    ip: Option<IpAddr>,
    user_agent: Option<String>,
    warnings: Vec<Warning>,
}

/// Reads one event.
pub(super) fn read(raw: &RawValue, sender: &Sender<'_>, id: Id<kind::Event>) -> Result<Taken, Problem> {
    let mut fields = Fields::default();
    for (name, value) in Object::read(raw, "")?.0 {
        fields.read(&name, value, sender)?;
    }
    fields.taken(sender, id)
}

impl<'a> Fields<'a> {
    fn read(&mut self, name: &str, raw: &'a RawValue, sender: &Sender<'_>) -> Result<(), Problem> {
        if json::kind_of(raw) == json::Kind::Null && KNOWN.contains(&name) {
            return Ok(());
        }
        match name {
            "event_id" => self.event_id = id_text(raw, name)?,
            "event_name" => self.event_name = Some(event_name(raw)?),
            "timestamp" => self.timestamp = Some(event_time(raw, sender)?),
            "environment" => self.environment = environment(raw)?,
            "install_id" => self.install_id = id_text(raw, name)?,
            "click_id" => self.click_id = id_text(raw, name)?,
            "install_referrer" => self.referrer = Some(self.install_referrer(raw)?),
            "user" => self.user(raw)?,
            "device" => self.device(raw)?,
            "revenue" => self.revenue = amount(raw, name)?,
            "currency" => self.currency = currency(raw, name)?,
            "properties" => self.properties = Some(own_object(raw, name)?),
            "consent" => self.consent = Some(own_object(raw, name)?),
            "ip" | "user_agent" if sender.source == Source::Client => {
                let message = "a client key says nothing about address or browser; they are the connection's";
                return Err(Problem::new(Code::FieldNotAllowed, name, message));
            }
            "ip" => self.ip = address(raw)?,
            "user_agent" => {
                let text = json::scalar(raw, name)?;
                self.user_agent = text.map(|t| self.kept(&t, name, USER_AGENT_BYTES_MAX));
            }
            other => {
                let shown = json_name(other);
                let message = match likely(other) {
                    Some(meant) => format!("there is no field of this name; {meant} is one"),
                    None => "there is no field of this name".to_owned(),
                };
                return Err(Problem::new(Code::FieldUnknown, shown, message));
            }
        }
        Ok(())
    }

    /// A text that is cut rather than refused: losing the rest of it is better than losing the event.
    fn kept(&mut self, text: &str, field: &str, max: usize) -> String {
        if text.len() > max {
            self.warnings.push(Warning::new("value_cut", field, format!("only {max} bytes are kept")));
        }
        text[..text.floor_char_boundary(max)].to_owned()
    }

    fn ignored(&mut self, outer: &str, name: &str) {
        let field = format!("{outer}.{}", json_name(name));
        self.warnings.push(Warning::new(
            "field_ignored",
            field,
            "there is no field of this name; it is not kept",
        ));
    }

    fn install_referrer(&mut self, raw: &RawValue) -> Result<InstallReferrer, Problem> {
        const OUTER: &str = "install_referrer";
        let mut read = InstallReferrer::default();
        for (name, value) in Object::read(raw, OUTER)?.0 {
            let path = format!("{OUTER}.{name}");
            match &*name {
                "referrer" => {
                    let text = json::scalar(value, &path)?.unwrap_or_default();
                    read.referrer = self.kept(&text, &path, referrer::BYTES_MAX);
                }
                "click_ts" => read.click_at = store_time(value, &path)?,
                "click_ts_server" => read.click_server_at = store_time(value, &path)?,
                "install_begin_ts" => read.install_begin_at = store_time(value, &path)?,
                "install_begin_ts_server" => read.install_begin_server_at = store_time(value, &path)?,
                other => self.ignored(OUTER, other),
            }
        }
        Ok(read)
    }

    fn user(&mut self, raw: &'a RawValue) -> Result<(), Problem> {
        for (name, value) in Object::read(raw, "user")?.0 {
            match &*name {
                "customer_id" => self.customer_id = id_text(value, "user.customer_id")?,
                other => self.ignored("user", other),
            }
        }
        Ok(())
    }

    fn device(&mut self, raw: &RawValue) -> Result<(), Problem> {
        let mut ids: Vec<DeviceId> = Vec::new();
        for (name, value) in Object::read(raw, "device")?.0 {
            let path = format!("device.{name}");
            let slot = match &*name {
                "platform" => &mut self.device.platform,
                "os_version" => &mut self.device.os_version,
                "model" => &mut self.device.model,
                "app_version" => &mut self.device.app_version,
                "att_status" => &mut self.device.att_status,
                other => {
                    let Some(kind) = DeviceIdKind::ALL.into_iter().find(|kind| kind.name() == other) else {
                        self.ignored("device", other);
                        continue;
                    };
                    let text = json::scalar(value, &path)?.unwrap_or_default();
                    let is_withheld = text.trim().bytes().all(|b| matches!(b, b'0' | b'-'));
                    match DeviceId::parse(kind, &text) {
                        Some(id) => ids.push(id),
                        None if is_withheld => {}
                        None => {
                            let message = "this is no device id; it counts as absent";
                            self.warnings.push(Warning::new("device_id_invalid", path, message));
                        }
                    }
                    continue;
                }
            };
            *slot = bounded(json::scalar(value, &path)?, &path, TEXT_BYTES_MAX)?.map(Cow::into_owned);
        }
        ids.sort_by_key(|id| DeviceIdKind::ALL.iter().position(|kind| *kind == id.kind));
        self.device.ids = ids;
        if let Some(platform) = &mut self.device.platform {
            platform.make_ascii_lowercase();
        }
        Ok(())
    }

    /// The hash over what was sent; the connection's address and our own defaults are no part of it, so
    /// that the same event sent again over another network is the same.
    fn hash(&self) -> Result<[u8; 32], Problem> {
        let mut hasher = Sha256::new();
        let mut text = |value: Option<&str>| match value {
            Some(value) => {
                hasher.update([1]);
                json::frame(&mut hasher, value.as_bytes());
            }
            None => hasher.update([0]),
        };
        text(self.event_name.as_deref());
        text(Some(match self.environment {
            Environment::Production => "production",
            Environment::Sandbox => "sandbox",
        }));
        for value in [&self.install_id, &self.click_id, &self.customer_id] {
            text(value.as_deref());
        }
        let device = &self.device;
        for value in
            [&device.platform, &device.os_version, &device.model, &device.app_version, &device.att_status]
        {
            text(value.as_deref());
        }
        for kind in DeviceIdKind::ALL {
            text(device.id(kind).map(|id| id.text.as_str()));
        }
        text(self.referrer.as_ref().map(|r| r.referrer.as_str()));
        text(self.currency.as_ref().map(Currency::as_str));
        text(self.ip.map(|ip| ip.to_string()).as_deref());
        text(self.user_agent.as_deref());
        let referrer = self.referrer.clone().unwrap_or_default();
        for number in [
            self.timestamp.map(Timestamp::ms),
            self.revenue.as_ref().map(|r| r.micros),
            referrer.click_at.map(Timestamp::ms),
            referrer.click_server_at.map(Timestamp::ms),
            referrer.install_begin_at.map(Timestamp::ms),
            referrer.install_begin_server_at.map(Timestamp::ms),
        ] {
            hasher.update([u8::from(number.is_some())]);
            hasher.update(number.unwrap_or_default().to_be_bytes());
        }
        for (name, object) in [("properties", self.properties), ("consent", self.consent)] {
            hasher.update([u8::from(object.is_some())]);
            if let Some(object) = object {
                json::hash(object, name, &mut hasher)?;
            }
        }
        Ok(hasher.finalize().into())
    }

    fn taken(mut self, sender: &Sender<'_>, id: Id<kind::Event>) -> Result<Taken, Problem> {
        let hash = self.hash()?;
        let Some(name) = self.event_name.take() else {
            return Err(Problem::new(Code::FieldMissing, "event_name", "there is no event_name"));
        };
        let key = match (&self.event_id, self.timestamp) {
            (Some(event_id), _) => Some([&[KEY_NAMED], event_id.as_bytes()].concat()),
            (None, Some(_)) => Some([&[KEY_DERIVED], hash.as_slice()].concat()),
            (None, None) => {
                let message =
                    "there is neither event_id nor timestamp, so the same event sent again is recorded again";
                self.warnings.push(Warning::new("not_deduplicated", "event_id", message));
                None
            }
        };
        let mut fields = [0; 16];
        fields.copy_from_slice(&hash[..16]);
        // A client key ships inside apps: whoever reads it out must not be able to occupy the ids that a server
        // is going to send.
        let key = key.map(|key| [&[sender.source as u8], key.as_slice()].concat());
        let idempotency = key.map(|key| Idempotency { scope: sender.app.id.bits(), key, fields });

        let revenue = self.revenue.take().map(|amount| Revenue {
            currency: self.currency.or(sender.app.currency),
            amount,
            verified: sender.source != Source::Client,
        });
        if let Some(revenue) = &revenue {
            warn_of_money(revenue, "revenue", &mut self.warnings);
        }
        if self.click_id.as_deref().is_some_and(|text| ClickId::parse(text.trim().as_bytes()).is_none()) {
            self.warnings.push(click_id_malformed());
        }
        let is_nobody = self.install_id.is_none()
            && self.click_id.is_none()
            && self.customer_id.is_none()
            && self.referrer.is_none()
            && self.device.ids.is_empty();
        if is_nobody {
            let message = "without install_id, click_id, user.customer_id, install_referrer or a device id nobody can earn it";
            self.warnings.push(Warning::new("identity_missing", "", message));
        }
        let is_client = sender.source == Source::Client;
        let own_user_agent =
            sender.user_agent.map(|text| text[..text.floor_char_boundary(USER_AGENT_BYTES_MAX)].to_owned());
        let owned = |text: Option<Cow<'_, str>>| text.map(Cow::into_owned);
        let ip = if is_client { sender.client } else { self.ip };
        let event = Event {
            id,
            workspace: sender.workspace,
            app: sender.app.id,
            source: sender.source,
            source_event_id: owned(self.event_id),
            name: name.into_owned(),
            environment: self.environment,
            received_at: sender.received_at,
            occurred_at: self.timestamp.unwrap_or(sender.received_at),
            install_id: owned(self.install_id),
            click_id: owned(self.click_id),
            referrer: self.referrer,
            customer_id: owned(self.customer_id),
            device: self.device,
            revenue,
            properties: self.properties.map(|raw| raw.get().to_owned()),
            consent: self.consent.map(|raw| raw.get().to_owned()),
            ip,
            location: ip.map(|ip| sender.geo.look_up(ip)).unwrap_or_default(),
            user_agent: if is_client { own_user_agent } else { self.user_agent },
            postback: None,
            change: None,
            findings: findings(&self.warnings),
        };
        Ok(Taken { new: NewEvent { event, idempotency }, warnings: self.warnings })
    }
}

/// The warnings' words, each once.
pub(super) fn findings(warnings: &[Warning]) -> Vec<String> {
    let mut words: Vec<String> = warnings.iter().map(|w| w.code.to_owned()).collect();
    words.sort_unstable();
    words.dedup();
    words
}

/// Warns of an amount without a currency, or with more decimals than are booked.
pub(super) fn warn_of_money(revenue: &Revenue, field: &str, warnings: &mut Vec<Warning>) {
    if revenue.currency.is_none() {
        let message = "neither the event nor the app names a currency; the amount adds up with nothing";
        warnings.push(Warning::new("currency_missing", "currency", message));
    }
    if revenue.amount.rounded {
        warnings.push(Warning::new("amount_rounded", field, "decimals beyond the sixth are rounded away"));
    }
}

/// Warns of a click id that is none.
pub(super) fn click_id_malformed() -> Warning {
    Warning::new(
        Code::ClickIdMalformed.text(),
        "click_id",
        "this is no click id of ours: a UUID has 32 or 36 characters",
    )
}

const KNOWN: &[&str] = &[
    "event_id",
    "event_name",
    "timestamp",
    "environment",
    "install_id",
    "click_id",
    "install_referrer",
    "user",
    "device",
    "revenue",
    "currency",
    "properties",
    "consent",
    "ip",
    "user_agent",
];

/// Names that other systems use for our fields.
const MEANT: &[(&str, &str)] = &[
    ("name", "event_name"),
    ("event", "event_name"),
    ("id", "event_id"),
    ("time", "timestamp"),
    ("event_time", "timestamp"),
    ("ts", "timestamp"),
    ("amount", "revenue"),
    ("value", "revenue"),
    ("price", "revenue"),
    ("customer_id", "user.customer_id"),
    ("user_id", "user.customer_id"),
    ("referrer", "install_referrer.referrer"),
    ("event_value", "properties"),
    ("data", "properties"),
    ("gaid", "device.gaid"),
    ("idfa", "device.idfa"),
    ("idfv", "device.idfv"),
    ("oaid", "device.oaid"),
    ("android_id", "device.android_id"),
    ("platform", "device.platform"),
];

/// The field that was likely meant: another system's word for it, or ours with one or two letters wrong.
fn likely(name: &str) -> Option<&'static str> {
    let plain: String =
        name.chars().filter(char::is_ascii_alphanumeric).take(64).collect::<String>().to_ascii_lowercase();
    let meant = MEANT.iter().find(|(word, _)| word.replace('_', "") == plain).map(|(_, field)| *field);
    meant.or_else(|| {
        KNOWN.iter().copied().find(|known| distance(&known.replace('_', ""), &plain) <= 2 && plain.len() > 3)
    })
}

/// Levenshtein's distance.
fn distance(a: &str, b: &str) -> usize {
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.bytes().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, y) in b.bytes().enumerate() {
            let replaced = diagonal + usize::from(x != y);
            diagonal = row[j + 1];
            row[j + 1] = replaced.min(row[j] + 1).min(diagonal + 1);
        }
    }
    row[b.len()]
}

/// A name from outside, short enough for a message.
fn json_name(name: &str) -> String {
    name.chars().filter(|c| !c.is_control()).take(64).collect()
}

fn bounded<'a>(text: Option<Cow<'a, str>>, path: &str, max: usize) -> Result<Option<Cow<'a, str>>, Problem> {
    match text.filter(|t| !t.trim().is_empty()) {
        Some(text) if text.len() > max => {
            let message = format!("the text has {} bytes, at most {max} are allowed", text.len());
            Err(Problem::new(Code::ValueTooLong, path, message))
        }
        other => Ok(other),
    }
}

fn id_text<'a>(raw: &'a RawValue, path: &str) -> Result<Option<Cow<'a, str>>, Problem> {
    bounded(json::scalar(raw, path)?, path, ID_BYTES_MAX)
}

fn event_name(raw: &RawValue) -> Result<Cow<'_, str>, Problem> {
    let field = "event_name";
    if json::kind_of(raw) != json::Kind::Text {
        let message = format!("{} is no text", json::a(json::kind_of(raw)));
        return Err(Problem::new(Code::FieldType, field, message));
    }
    let name = json::text(raw, field)?;
    check_name(&name, field)?;
    Ok(name)
}

/// Judges an event's name.
pub(super) fn check_name(name: &str, field: &str) -> Result<(), Problem> {
    let chars = name.chars().count();
    let problem = |message: String| Err(Problem::new(Code::EventNameInvalid, field, message));
    if name.trim().is_empty() {
        return problem("the name is empty".to_owned());
    }
    if chars > NAME_CHARS_MAX {
        return problem(format!("the name has {chars} characters"));
    }
    if name.chars().any(char::is_control) {
        return problem("the name holds a control character".to_owned());
    }
    Ok(())
}

fn environment(raw: &RawValue) -> Result<Environment, Problem> {
    match json::scalar(raw, "environment")?.as_deref() {
        Some("production") | None => Ok(Environment::Production),
        Some("sandbox") => Ok(Environment::Sandbox),
        Some(_) => Err(Problem::new(Code::EnvironmentInvalid, "environment", "this is no environment")),
    }
}

fn time(raw: &RawValue, path: &str) -> Result<Timestamp, Problem> {
    let text = json::scalar(raw, path)?.unwrap_or_default();
    Timestamp::parse(&text).ok_or_else(|| Problem::new(Code::TimestampInvalid, path, "this is no time"))
}

fn event_time(raw: &RawValue, sender: &Sender<'_>) -> Result<Timestamp, Problem> {
    let at = time(raw, "timestamp")?;
    let age_ms = sender.received_at.since(at);
    let age_max = if sender.source == Source::Client { CLIENT_AGE_MAX } else { SERVER_AGE_MAX };
    if -age_ms > FUTURE_MAX.ms() {
        return Err(Problem::new(
            Code::TimestampFuture,
            "timestamp",
            format!("{at} is more than 24 hours ahead"),
        ));
    }
    if age_ms > age_max.ms() {
        return Err(Problem::new(
            Code::TimestampTooOld,
            "timestamp",
            format!("{at} is more than {age_max} ago"),
        ));
    }
    Ok(at)
}

/// A time of the store's referrer; the store says 0 when it knows none.
fn store_time(raw: &RawValue, path: &str) -> Result<Option<Timestamp>, Problem> {
    match json::scalar(raw, path)?.as_deref().map(str::trim) {
        None | Some("" | "0") => Ok(None),
        Some(_) => time(raw, path).map(Some),
    }
}

fn amount(raw: &RawValue, path: &str) -> Result<Option<Amount>, Problem> {
    json::scalar(raw, path)?.map(|text| read_amount(&text, path)).transpose()
}

/// Reads an amount from its text.
pub(super) fn read_amount(text: &str, field: &str) -> Result<Amount, Problem> {
    Amount::parse(text).map_err(|error| match error {
        AmountError::Malformed => Problem::new(Code::AmountInvalid, field, "this is no decimal number"),
        AmountError::Negative => Problem::new(Code::AmountNegative, field, "the amount is below zero"),
        AmountError::TooLarge => {
            Problem::new(Code::AmountTooLarge, field, "the amount is above 100,000,000,000")
        }
    })
}

fn currency(raw: &RawValue, path: &str) -> Result<Option<Currency>, Problem> {
    let text = json::scalar(raw, path)?.filter(|text| !text.trim().is_empty());
    text.map(|text| read_currency(&text, path)).transpose()
}

/// Reads a currency from its text.
pub(super) fn read_currency(text: &str, field: &str) -> Result<Currency, Problem> {
    Currency::parse(text)
        .ok_or_else(|| Problem::new(Code::CurrencyInvalid, field, "this is no active ISO 4217 code"))
}

fn own_object<'a>(raw: &'a RawValue, path: &str) -> Result<&'a RawValue, Problem> {
    if json::kind_of(raw) != json::Kind::Object {
        let message = format!("{} is no object", json::a(json::kind_of(raw)));
        return Err(Problem::new(Code::FieldType, path, message));
    }
    if raw.get().len() > OBJECT_BYTES_MAX {
        let message =
            format!("the object has {} bytes, at most {OBJECT_BYTES_MAX} are allowed", raw.get().len());
        return Err(Problem::new(Code::ValueTooLong, path, message));
    }
    Ok(raw)
}

fn address(raw: &RawValue) -> Result<Option<IpAddr>, Problem> {
    let text = json::scalar(raw, "ip")?.filter(|text| !text.trim().is_empty());
    let parse = |text: Cow<'_, str>| text.trim().parse::<IpAddr>().map(|ip| ip.to_canonical());
    text.map(parse).transpose().map_err(|_| Problem::new(Code::IpInvalid, "ip", "this is no IP address"))
}
