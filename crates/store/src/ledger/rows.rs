//! The shapes of bodies in the ledger: JSON in a version envelope `{"v":1,…}`.
//!
//! Domain types derive nothing for disk; this is the seam. Fields are only ever added, with a default; a
//! change of meaning is a new version that is read beside the old one. Fixtures of each released format
//! are opened by a test.

use std::net::IpAddr;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use roundtrip_domain::attribution::{Because, Candidate, DeadEnd, MatchType, NOTES, Verdict};
use roundtrip_domain::click::{Click, Flags, LinkDialect, Touch, TouchKind};
use roundtrip_domain::click_id::ClickId;
use roundtrip_domain::condition::Unmet;
use roundtrip_domain::device::{Device, DeviceId, DeviceIdKind};
use roundtrip_domain::event::{Environment, Event, InstallReferrer, PostbackFields, Revenue, Source};
use roundtrip_domain::id::{Id, Kind, WorkspaceNo, kind};
use roundtrip_domain::link_dialect::CallbackFault;
use roundtrip_domain::location::{Country, Location};
use roundtrip_domain::money::{Amount, Currency};
use roundtrip_domain::postback::{Detail, MacroValue};
use roundtrip_domain::status::{Status, StatusChange};
use roundtrip_domain::time::{Span, Timestamp};
use serde::{Deserialize, Serialize};

use crate::Error;

/// Bytes that are nearly always text: kept readable when they are UTF-8.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub(crate) enum Bytes {
    Text(String),
    Base64 { b64: String },
}

impl Bytes {
    pub(crate) fn of(bytes: &[u8]) -> Self {
        match std::str::from_utf8(bytes) {
            Ok(text) => Self::Text(text.to_owned()),
            Err(_) => Self::Base64 { b64: BASE64.encode(bytes) },
        }
    }

    pub(crate) fn bytes(&self) -> Vec<u8> {
        match self {
            Self::Text(text) => text.clone().into_bytes(),
            Self::Base64 { b64 } => BASE64.decode(b64).unwrap_or_default(),
        }
    }
}

fn id_text<K: Kind>(id: Id<K>) -> String {
    id.to_string()
}

fn id_read<K: Kind>(text: &str) -> Option<Id<K>> {
    text.parse().ok()
}

/// Where an address was. Absent for what has no location.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(default)]
struct LocationV1 {
    #[serde(skip_serializing_if = "Option::is_none")]
    country: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    region: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    city: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    asn: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    network: Option<String>,
}

impl LocationV1 {
    fn of(location: &Location) -> Option<Self> {
        let text = |text: &Option<Box<str>>| text.as_deref().map(str::to_owned);
        (!location.is_empty()).then(|| Self {
            country: location.country.map(|country| country.to_string()),
            region: text(&location.region),
            city: text(&location.city),
            asn: location.asn,
            network: text(&location.network),
        })
    }

    fn location(self) -> Location {
        Location {
            country: self.country.as_deref().and_then(Country::parse),
            region: self.region.map(Into::into),
            city: self.city.map(Into::into),
            asn: self.asn,
            network: self.network.map(Into::into),
        }
    }
}

/// A click inside a decision.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct ClickV1 {
    id: String,
    ws: u32,
    app: String,
    campaign: String,
    partner: String,
    link: String,
    kind: u8,
    dialect: u8,
    flags: u32,
    at: i64,
    query: Bytes,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    ip: Option<IpAddr>,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    ua: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    referer: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    lang: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    location: Option<LocationV1>,
}

impl From<&Touch> for ClickV1 {
    fn from(touch: &Touch) -> Self {
        let c = &touch.click;
        Self {
            id: touch.id.to_string(),
            ws: c.workspace.0,
            app: id_text(c.app),
            campaign: id_text(c.campaign),
            partner: id_text(c.partner),
            link: id_text(c.link),
            kind: c.kind as u8,
            dialect: c.dialect as u8,
            flags: c.flags.0,
            at: c.received_at.ms(),
            query: Bytes::of(&c.query),
            ip: c.ip,
            ua: c.user_agent.clone(),
            referer: c.referer.clone(),
            lang: c.language.clone(),
            location: LocationV1::of(&c.location),
        }
    }
}

impl ClickV1 {
    fn touch(self) -> Option<Touch> {
        Some(Touch {
            id: ClickId::parse(self.id.as_bytes())?,
            click: Click {
                workspace: WorkspaceNo(self.ws),
                app: id_read(&self.app)?,
                campaign: id_read(&self.campaign)?,
                partner: id_read(&self.partner)?,
                link: id_read(&self.link)?,
                kind: TouchKind::from_number(self.kind)?,
                dialect: LinkDialect::from_number(self.dialect)?,
                flags: Flags(self.flags),
                received_at: Timestamp::from_ms(self.at),
                query: self.query.bytes(),
                ip: self.ip,
                user_agent: self.ua,
                referer: self.referer,
                language: self.lang,
                location: self.location.map(LocationV1::location).unwrap_or_default(),
            },
        })
    }
}

#[derive(Debug, Serialize, Deserialize)]
struct CandidateV1 {
    click: ClickV1,
    by: u8,
    carrier: String,
    verdict: u8,
    window: i64,
    age: i64,
}

/// `decision.body`.
#[derive(Debug, Serialize, Deserialize)]
struct BecauseV1 {
    v: u8,
    reference_at: i64,
    candidates: Vec<CandidateV1>,
    rest: u32,
    dead: Vec<(u8, String, u8)>,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    follows: Option<String>,
    notes: Vec<String>,
    /// The winner of an event that follows its installation, whose own list of candidates is empty.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    inherited: Option<ClickV1>,
}

/// Writes a decision's reasons. `inherited` is the winning touch when it is not among the candidates.
pub(crate) fn because_write(because: &Because, inherited: Option<&Touch>) -> String {
    let body = BecauseV1 {
        v: 1,
        reference_at: because.reference_at.ms(),
        candidates: because
            .candidates
            .iter()
            .map(|c| CandidateV1 {
                click: (&c.touch).into(),
                by: c.match_type as u8,
                carrier: id_text(c.carrier),
                verdict: c.verdict as u8,
                window: c.window.ms(),
                age: c.age_ms,
            })
            .collect(),
        rest: because.rest,
        dead: because.dead.iter().map(|(m, text, why)| (*m as u8, text.clone(), *why as u8)).collect(),
        follows: because.follows.map(id_text),
        notes: because.notes.iter().map(|n| (*n).to_owned()).collect(),
        inherited: inherited.map(Into::into),
    };
    json(&body)
}

/// Reads a decision's reasons and the inherited touch.
pub(crate) fn because_read(row: &str, body: &str) -> Result<(Because, Option<Touch>), Error> {
    let corrupt = |what: &str| Error::Corrupt {
        table: "decision",
        column: "body",
        row: row.to_owned(),
        what: what.to_owned(),
    };
    let body: BecauseV1 = serde_json::from_str(body).map_err(|e| corrupt(&e.to_string()))?;
    if body.v != 1 {
        return Err(corrupt("a version that this release does not know"));
    }
    let mut candidates = Vec::with_capacity(body.candidates.len());
    for c in body.candidates {
        candidates.push(Candidate {
            touch: c.click.touch().ok_or_else(|| corrupt("a touch that cannot be read"))?,
            match_type: MatchType::from_number(c.by).ok_or_else(|| corrupt("an unknown match type"))?,
            carrier: id_read(&c.carrier).ok_or_else(|| corrupt("a carrier that is no event"))?,
            verdict: Verdict::from_number(c.verdict).ok_or_else(|| corrupt("an unknown verdict"))?,
            window: Span::from_ms(c.window),
            age_ms: c.age,
        });
    }
    let because = Because {
        reference_at: Timestamp::from_ms(body.reference_at),
        candidates,
        rest: body.rest,
        dead: body
            .dead
            .into_iter()
            .filter_map(|(m, text, why)| Some((MatchType::from_number(m)?, text, DeadEnd::from_number(why)?)))
            .collect(),
        follows: body.follows.as_deref().and_then(id_read),
        notes: body
            .notes
            .iter()
            .filter_map(|note| NOTES.iter().find(|(known, _)| known == note).map(|(known, _)| *known))
            .collect(),
    };
    let inherited = match body.inherited {
        Some(click) => Some(click.touch().ok_or_else(|| corrupt("an inherited touch that cannot be read"))?),
        None => None,
    };
    Ok((because, inherited))
}

#[derive(Debug, Serialize, Deserialize)]
struct AmountV1 {
    micros: i64,
    text: String,
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    rounded: bool,
}

impl From<&Amount> for AmountV1 {
    fn from(a: &Amount) -> Self {
        Self { micros: a.micros, text: a.text.clone(), rounded: a.rounded }
    }
}
impl From<AmountV1> for Amount {
    fn from(a: AmountV1) -> Self {
        Self { micros: a.micros, text: a.text, rounded: a.rounded }
    }
}

#[derive(Debug, Serialize, Deserialize)]
struct RevenueV1 {
    amount: AmountV1,
    currency: Option<String>,
    verified: bool,
}

#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(default)]
struct ReferrerV1 {
    referrer: String,
    click_at: Option<i64>,
    click_server_at: Option<i64>,
    install_begin_at: Option<i64>,
    install_begin_server_at: Option<i64>,
}

#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(default)]
struct PostbackV1 {
    campaign: Option<String>,
    goal: Option<String>,
    order_id: Option<String>,
    commission: Option<AmountV1>,
    conversion_rate: Option<String>,
    coupon: Option<String>,
    ref_id: Option<String>,
    ref_custom_id: Option<String>,
    new_customer: bool,
    skip_lifetime: bool,
    comment: Option<String>,
    pending: bool,
    query: Option<Bytes>,
}

#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(default)]
struct DeviceV1 {
    platform: Option<String>,
    os_version: Option<String>,
    model: Option<String>,
    app_version: Option<String>,
    att_status: Option<String>,
    ids: Vec<(u8, String)>,
}

/// A change of a conversion's status.
#[derive(Debug, Serialize, Deserialize)]
struct ChangeV1 {
    of: String,
    from: u8,
    to: u8,
    by: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    reason: Option<String>,
}

impl ChangeV1 {
    fn change(self) -> Option<StatusChange> {
        Some(StatusChange {
            of: id_read(&self.of)?,
            from: Status::from_number(self.from)?,
            to: Status::from_number(self.to)?,
            by: self.by,
            reason: self.reason,
        })
    }
}

/// `event.body`. What stands in the row's own columns is not repeated.
#[derive(Debug, Serialize, Deserialize)]
struct EventV1 {
    v: u8,
    source: u8,
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    sandbox: bool,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    source_event_id: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    install_id: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    click_id: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    referrer: Option<ReferrerV1>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    customer_id: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    device: Option<DeviceV1>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    revenue: Option<RevenueV1>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    properties: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    consent: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    ip: Option<IpAddr>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    ua: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    location: Option<LocationV1>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    postback: Option<PostbackV1>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    change: Option<ChangeV1>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    findings: Vec<String>,
}

/// Writes an event's body.
pub(crate) fn event_write(event: &Event) -> String {
    let ms = |t: Option<Timestamp>| t.map(Timestamp::ms);
    let d = &event.device;
    let body = EventV1 {
        v: 1,
        source: event.source as u8,
        sandbox: event.environment == Environment::Sandbox,
        source_event_id: event.source_event_id.clone(),
        install_id: event.install_id.clone(),
        click_id: event.click_id.clone(),
        referrer: event.referrer.as_ref().map(|r| ReferrerV1 {
            referrer: r.referrer.clone(),
            click_at: ms(r.click_at),
            click_server_at: ms(r.click_server_at),
            install_begin_at: ms(r.install_begin_at),
            install_begin_server_at: ms(r.install_begin_server_at),
        }),
        customer_id: event.customer_id.clone(),
        device: (*d != Device::default()).then(|| DeviceV1 {
            platform: d.platform.clone(),
            os_version: d.os_version.clone(),
            model: d.model.clone(),
            app_version: d.app_version.clone(),
            att_status: d.att_status.clone(),
            ids: d.ids.iter().map(|id| (id.kind as u8, id.text.clone())).collect(),
        }),
        revenue: event.revenue.as_ref().map(|r| RevenueV1 {
            amount: (&r.amount).into(),
            currency: r.currency.map(|c| c.to_string()),
            verified: r.verified,
        }),
        properties: event.properties.clone(),
        consent: event.consent.clone(),
        ip: event.ip,
        ua: event.user_agent.clone(),
        location: LocationV1::of(&event.location),
        postback: event.postback.as_ref().map(|p| PostbackV1 {
            campaign: p.campaign.map(id_text),
            goal: p.goal.clone(),
            order_id: p.order_id.clone(),
            commission: p.commission.as_ref().map(Into::into),
            conversion_rate: p.conversion_rate.clone(),
            coupon: p.coupon.clone(),
            ref_id: p.ref_id.clone(),
            ref_custom_id: p.ref_custom_id.clone(),
            new_customer: p.new_customer,
            skip_lifetime: p.skip_lifetime,
            comment: p.comment.clone(),
            pending: p.pending,
            query: Some(Bytes::of(&p.query)),
        }),
        change: event.change.as_ref().map(|c| ChangeV1 {
            of: id_text(c.of),
            from: c.from as u8,
            to: c.to as u8,
            by: c.by.clone(),
            reason: c.reason.clone(),
        }),
        findings: event.findings.clone(),
    };
    json(&body)
}

/// The columns of an event's row.
pub(crate) struct EventColumns {
    pub(crate) workspace: WorkspaceNo,
    pub(crate) id: Id<kind::Event>,
    pub(crate) app: Id<kind::App>,
    pub(crate) name: String,
    pub(crate) received_at: i64,
    pub(crate) occurred_at: i64,
}

/// Reads an event back.
pub(crate) fn event_read(columns: EventColumns, body: &str) -> Result<Event, Error> {
    let corrupt = |what: &str| Error::Corrupt {
        table: "event",
        column: "body",
        row: columns.id.to_string(),
        what: what.to_owned(),
    };
    let body: EventV1 = serde_json::from_str(body).map_err(|e| corrupt(&e.to_string()))?;
    if body.v != 1 {
        return Err(corrupt("a version that this release does not know"));
    }
    let at = |ms: Option<i64>| ms.map(Timestamp::from_ms);
    let change = match body.change {
        None => None,
        Some(change) => {
            Some(Box::new(change.change().ok_or_else(|| corrupt("a status change that cannot be read"))?))
        }
    };
    let device = body.device.unwrap_or_default();
    let ids = device
        .ids
        .into_iter()
        .filter_map(|(number, text)| {
            let kind = DeviceIdKind::ALL.into_iter().find(|kind| *kind as u8 == number)?;
            Some(DeviceId { kind, text })
        })
        .collect();
    Ok(Event {
        source: Source::from_number(body.source).ok_or_else(|| corrupt("an unknown source"))?,
        id: columns.id,
        workspace: columns.workspace,
        app: columns.app,
        name: columns.name,
        received_at: Timestamp::from_ms(columns.received_at),
        occurred_at: Timestamp::from_ms(columns.occurred_at),
        source_event_id: body.source_event_id,
        environment: if body.sandbox { Environment::Sandbox } else { Environment::Production },
        install_id: body.install_id,
        click_id: body.click_id,
        referrer: body.referrer.map(|r| InstallReferrer {
            referrer: r.referrer,
            click_at: at(r.click_at),
            click_server_at: at(r.click_server_at),
            install_begin_at: at(r.install_begin_at),
            install_begin_server_at: at(r.install_begin_server_at),
        }),
        customer_id: body.customer_id,
        device: Device {
            platform: device.platform,
            os_version: device.os_version,
            model: device.model,
            app_version: device.app_version,
            att_status: device.att_status,
            ids,
        },
        revenue: body.revenue.map(|r| Revenue {
            amount: r.amount.into(),
            currency: r.currency.as_deref().and_then(Currency::parse),
            verified: r.verified,
        }),
        properties: body.properties,
        consent: body.consent,
        ip: body.ip,
        user_agent: body.ua,
        location: body.location.map(LocationV1::location).unwrap_or_default(),
        postback: body.postback.map(|p| PostbackFields {
            campaign: p.campaign.as_deref().and_then(id_read),
            goal: p.goal,
            order_id: p.order_id,
            commission: p.commission.map(Into::into),
            conversion_rate: p.conversion_rate,
            coupon: p.coupon,
            ref_id: p.ref_id,
            ref_custom_id: p.ref_custom_id,
            new_customer: p.new_customer,
            skip_lifetime: p.skip_lifetime,
            comment: p.comment,
            pending: p.pending,
            query: p.query.map(|q| q.bytes()).unwrap_or_default(),
        }),
        change,
        findings: body.findings,
    })
}

#[derive(Debug, Serialize, Deserialize)]
struct ValuesV1 {
    v: u8,
    values: Vec<(String, Bytes, Option<Bytes>)>,
}

/// Writes a delivery's macro values.
pub(crate) fn values_write(values: &[MacroValue]) -> String {
    let values = values
        .iter()
        .map(|v| (v.name.clone(), Bytes::of(&v.decoded), v.received.as_deref().map(Bytes::of)))
        .collect();
    json(&ValuesV1 { v: 1, values })
}

/// Reads a delivery's macro values.
pub(crate) fn values_read(row: &str, body: &str) -> Result<Vec<MacroValue>, Error> {
    let corrupt =
        |what: String| Error::Corrupt { table: "delivery", column: "values", row: row.to_owned(), what };
    let body: ValuesV1 = serde_json::from_str(body).map_err(|e| corrupt(e.to_string()))?;
    if body.v != 1 {
        return Err(corrupt("a version that this release does not know".into()));
    }
    Ok(body
        .values
        .into_iter()
        .map(|(name, decoded, received)| MacroValue {
            name,
            decoded: decoded.bytes(),
            received: received.map(|r| r.bytes()),
        })
        .collect())
}

/// `told.detail`: one of the four.
#[derive(Debug, Serialize, Deserialize)]
struct DetailV1 {
    v: u8,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    condition: Option<(String, String, Option<String>)>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    window: Option<(i64, i64)>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    shared: Option<(String, i64, i64, Option<String>)>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    callback: Option<(String, Option<String>)>,
}

/// Writes what else there is to say about a rule that was considered.
pub(crate) fn detail_write(detail: &Detail) -> String {
    let mut body = DetailV1 { v: 1, condition: None, window: None, shared: None, callback: None };
    match detail {
        Detail::Condition(unmet) => {
            body.condition = Some((unmet.condition.clone(), unmet.wanted.clone(), unmet.seen.clone()));
        }
        Detail::Window { window, age_ms } => body.window = Some((window.ms(), *age_ms)),
        Detail::Shared { how, micros, of_micros, currency } => {
            body.shared = Some((how.clone(), *micros, *of_micros, currency.map(|c| c.to_string())));
        }
        Detail::Callback { parameter, fault } => {
            body.callback = Some((parameter.clone(), fault.map(|fault| fault.word().to_owned())));
        }
    }
    json(&body)
}

/// Reads it back.
pub(crate) fn detail_read(row: &str, body: &str) -> Result<Option<Detail>, Error> {
    let corrupt =
        |what: String| Error::Corrupt { table: "told", column: "detail", row: row.to_owned(), what };
    let body: DetailV1 = serde_json::from_str(body).map_err(|e| corrupt(e.to_string()))?;
    if body.v != 1 {
        return Err(corrupt("a version that this release does not know".into()));
    }
    Ok(match body {
        DetailV1 { condition: Some((condition, wanted, seen)), .. } => {
            Some(Detail::Condition(Unmet { condition, wanted, seen }))
        }
        DetailV1 { window: Some((window, age_ms)), .. } => {
            Some(Detail::Window { window: Span::from_ms(window), age_ms })
        }
        DetailV1 { shared: Some((how, micros, of_micros, currency)), .. } => Some(Detail::Shared {
            how,
            micros,
            of_micros,
            currency: currency.as_deref().and_then(Currency::parse),
        }),
        DetailV1 { callback: Some((parameter, fault)), .. } => {
            let fault = match fault {
                None => None,
                Some(word) => Some(
                    CallbackFault::parse(&word)
                        .ok_or_else(|| corrupt(format!("`{word}` is no fault of a callback")))?,
                ),
            };
            Some(Detail::Callback { parameter, fault })
        }
        DetailV1 { .. } => None,
    })
}

/// These shapes have no maps with keys that are no text, so writing them cannot fail.
fn json<T: Serialize>(value: &T) -> String {
    serde_json::to_string(value).unwrap_or_default()
}
