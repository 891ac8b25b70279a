//! The columns of every export: names, types, meanings, and what of a fact stands in them.
//!
//! A column and the way to its value are one line, so that no value can come to stand under another's name. Columns are
//! only added, at the end of their table; names and types never change. What could tell who somebody is, is marked
//! `personal` and empty unless it was asked for.

use roundtrip_domain::attribution::Winner;
use roundtrip_domain::click::Touch;
use roundtrip_domain::device::DeviceIdKind;
use roundtrip_domain::endpoint::Endpoint;
use roundtrip_domain::event::{ConversionKind, Environment, Event, PostbackFields};
use roundtrip_domain::id::{Id, Kind, kind};
use roundtrip_domain::location::Country;
use roundtrip_domain::money::Currency;
use roundtrip_domain::params::Params;
use roundtrip_domain::settings::Settings;
use roundtrip_domain::time::Timestamp;
use serde_json::json;

use super::What;
use super::clicks::CLICKS;
use crate::ledger::{
    ExportWhat, Exported, ExportedConversion, ExportedDecision, ExportedDelivery, ExportedRevision,
};

/// A column, as it is documented.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Column {
    /// Its name in every format.
    pub name: &'static str,
    /// What type it has.
    pub form: Form,
    /// Whether every row has a value.
    pub required: bool,
    /// Whether it could tell who somebody is, and is empty unless asked for.
    pub personal: bool,
    /// What it holds.
    pub means: &'static str,
}

/// The type of a column.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Form {
    /// UTF-8.
    Text,
    /// A moment, milliseconds, UTC.
    Time,
    /// A whole number of 64 bits.
    Number,
    /// A decimal number with six places, in millionths here.
    Money,
    /// Yes or no.
    Flag,
}

impl Form {
    /// As Parquet calls it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Text => "STRING",
            Self::Time => "TIMESTAMP (milliseconds, UTC)",
            Self::Number => "INT64",
            Self::Money => "DECIMAL(18, 6)",
            Self::Flag => "BOOLEAN",
        }
    }
}

/// A value in a column.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Cell {
    /// None.
    Empty,
    /// Of [`Form::Text`].
    Text(String),
    /// Of [`Form::Time`].
    Time(Timestamp),
    /// Of [`Form::Number`].
    Number(i64),
    /// Of [`Form::Money`], in millionths.
    Money(i64),
    /// Of [`Form::Flag`].
    Flag(bool),
}

/// The columns of an export, in their order.
pub fn columns(what: impl Into<What>) -> Vec<Column> {
    fn of<T>(fields: &[Field<T>]) -> Vec<Column> {
        fields.iter().map(|field| field.column).collect()
    }
    match what.into() {
        What::Ledger(ExportWhat::Installs) => of(INSTALLS),
        What::Ledger(ExportWhat::Events) => of(EVENTS),
        What::Ledger(ExportWhat::Conversions) => of(CONVERSIONS),
        What::Ledger(ExportWhat::Decisions) => of(DECISIONS),
        What::Ledger(ExportWhat::Deliveries) => of(DELIVERIES),
        What::Clicks => of(CLICKS),
    }
}

/// Gives `take` the cells of each fact, in the order of [`columns`]. `personal` fills those that could tell who somebody
/// is. Slugs are those of `settings`, empty for what was deleted.
///
/// # Errors
/// What `take` said.
pub fn rows<E>(
    what: ExportWhat,
    facts: &Exported,
    settings: &Settings,
    personal: bool,
    mut take: impl FnMut(&[Cell]) -> Result<(), E>,
) -> Result<(), E> {
    match (facts, what) {
        (Exported::Events(facts), _) => each(EVENTS, facts, settings, personal, &mut take),
        (Exported::Conversions(facts), ExportWhat::Installs) => {
            each(INSTALLS, facts, settings, personal, &mut take)
        }
        (Exported::Conversions(facts), _) => each(CONVERSIONS, facts, settings, personal, &mut take),
        (Exported::Decisions(facts), _) => each(DECISIONS, facts, settings, personal, &mut take),
        (Exported::Deliveries(facts), _) => each(DELIVERIES, facts, settings, personal, &mut take),
    }
}

/// Gives `take` the cells of each fact.
pub(super) fn each<T, E>(
    fields: &[Field<T>],
    facts: &[T],
    settings: &Settings,
    personal: bool,
    take: &mut impl FnMut(&[Cell]) -> Result<(), E>,
) -> Result<(), E> {
    let mut cells = Vec::with_capacity(fields.len());
    for fact in facts {
        cells.clear();
        cells.extend(fields.iter().map(|field| match field.column.personal && !personal {
            true => Cell::Empty,
            false => (field.read)(fact, settings),
        }));
        take(&cells)?;
    }
    Ok(())
}

/// A column and what of a fact stands in it.
pub(super) struct Field<T: 'static> {
    pub(super) column: Column,
    pub(super) read: fn(&T, &Settings) -> Cell,
}

macro_rules! fields {
    ($(#[$doc:meta])* $table:ident of $fact:ty; $($name:ident $form:ident $need:ident $means:literal => $read:expr;)*) => {
        $(#[$doc])*
        pub(super) const $table: &[Field<$fact>] = &[$(Field {
            column: Column {
                name: stringify!($name),
                form: Form::$form,
                required: fields!(@required $need),
                personal: fields!(@personal $need),
                means: $means,
            },
            read: $read,
        },)*];
    };
    (@required required) => { true };
    (@required $need:ident) => { false };
    (@personal personal) => { true };
    (@personal $need:ident) => { false };
}
pub(super) use fields;

fields! {
    /// What was reported.
    EVENTS of Event;
    event_id Text required "its id, `evt_…`" => |e, _| printed(e.id);
    received_at Time required "when it reached Roundtrip" => |e, _| Cell::Time(e.received_at);
    occurred_at Time required "when it happened, as its sender says" => |e, _| Cell::Time(e.occurred_at);
    app_id Text required "of which app or site" => |e, _| printed(e.app);
    app Text optional "its slug" => |e, s| app(e.app, s);
    name Text required "its name, as sent" => |e, _| word(&e.name);
    source Text required "client, server, postback or owner" => |e, _| word(e.source.name());
    environment Text required "production or sandbox" => |e, _| word(environment(e));
    source_event_id Text optional "the sender's own key for it" => |e, _| text(&e.source_event_id);
    click_id Text optional "our click id, as the sender passed it on" => |e, _| text(&e.click_id);
    install_id Text personal "the app's id of the installation" => |e, _| text(&e.install_id);
    customer_id Text personal "the owner's id of the person" => |e, _| text(&e.customer_id);
    amount Money optional "money on it" => |e, _| money(e.revenue.as_ref().map(|r| r.amount.micros));
    currency Text optional "its currency, ISO 4217" => |e, _| currency(e.revenue.as_ref().and_then(|r| r.currency));
    verified Flag optional "false where a client key reported the money" => |e, _| flag(e.revenue.as_ref().map(|r| r.verified));
    order_id Text optional "the shop's own order id" => |e, _| text(postback(e, |p| p.order_id.clone()));
    goal Text optional "what a postback called it" => |e, _| text(postback(e, |p| p.goal.clone()));
    coupon Text optional "a postback's coupon" => |e, _| text(postback(e, |p| p.coupon.clone()));
    platform Text optional "the device's platform, as sent" => |e, _| text(&e.device.platform);
    os_version Text optional "version of its system" => |e, _| text(&e.device.os_version);
    device_model Text optional "its model" => |e, _| text(&e.device.model);
    app_version Text optional "version of the app" => |e, _| text(&e.device.app_version);
    att_status Text optional "what the person allowed on iOS" => |e, _| text(&e.device.att_status);
    gaid Text personal "Google advertising id" => |e, _| device(e, DeviceIdKind::Gaid);
    idfa Text personal "Apple advertising id" => |e, _| device(e, DeviceIdKind::Idfa);
    idfv Text personal "Apple vendor id" => |e, _| device(e, DeviceIdKind::Idfv);
    oaid Text personal "open advertising id" => |e, _| device(e, DeviceIdKind::Oaid);
    android_id Text personal "Android's device id" => |e, _| device(e, DeviceIdKind::AndroidId);
    country Text optional "where its address was, two letters" => |e, _| text(e.location.country.as_ref().map(Country::to_string));
    region Text optional "the first subdivision" => |e, _| text(e.location.region.as_deref());
    city Text optional "by its English name" => |e, _| text(e.location.city.as_deref());
    asn Number optional "number of its network" => |e, _| number(e.location.asn);
    network Text optional "who runs it" => |e, _| text(e.location.network.as_deref());
    ip Text personal "its address" => |e, _| text(e.ip.map(|ip| ip.to_string()));
    user_agent Text personal "its browser or app" => |e, _| text(&e.user_agent);
    referrer Text personal "the store's referrer, as it came" => |e, _| text(e.referrer.as_ref().map(|r| &r.referrer));
    properties Text personal "the sender's own properties: a JSON object, as sent" => |e, _| text(&e.properties);
    consent Text optional "consent signals: a JSON object, as sent" => |e, _| text(&e.consent);
    changes_id Text optional "the conversion whose status it changes, `cnv_…`" => |e, _| text(e.change.as_ref().map(|c| c.of.conversion().to_string()));
    status_from Text optional "the status before that change" => |e, _| text(e.change.as_ref().map(|c| c.from.name()));
    status_to Text optional "and after it" => |e, _| text(e.change.as_ref().map(|c| c.to.name()));
    findings Text optional "what was odd about it: words with commas between them" => |e, _| joined(&e.findings);
}

fields! {
    /// Conversions of the kind install.
    INSTALLS of ExportedConversion;
    conversion_id Text required "its id, `cnv_…`" => |c, _| printed(c.id);
    event_id Text required "the event that told of it, `evt_…`" => |c, _| printed(c.id.event());
    received_at Time required "when that reached Roundtrip" => |c, _| Cell::Time(c.received_at);
    occurred_at Time required "when it happened, as its sender says" => |c, _| Cell::Time(c.occurred_at);
    installed_at Time required "the earliest word of the installation, which windows count back from" => |c, _| Cell::Time(c.decision.because.reference_at);
    app_id Text required "of which app" => |c, _| printed(c.app);
    app Text optional "its slug" => |c, s| app(c.app, s);
    name Text required "the event's name, as sent" => |c, _| word(&c.name);
    environment Text required "production or sandbox" => |c, _| word(&c.environment);
    status Text required "approved, pending or rejected" => |c, _| word(&c.status);
    credit Text required "attributed, organic or install_unknown" => |c, _| word(c.decision.credit.name());
    partner_id Text optional "who has the credit" => |c, _| id_of(&c.decision, |t| t.click.partner);
    partner Text optional "its slug" => |c, s| partner(winner(&c.decision).map(|t| t.click.partner), s);
    campaign_id Text optional "by which campaign" => |c, _| id_of(&c.decision, |t| t.click.campaign);
    campaign Text optional "its slug" => |c, s| campaign(&c.decision, s);
    link_id Text optional "by which link" => |c, _| id_of(&c.decision, |t| t.click.link);
    link Text optional "its public id" => |c, s| link(&c.decision, s);
    click_id Text optional "our id of the winning click" => |c, _| text(c.decision.click().map(|id| id.to_string()));
    click_at Time optional "when that click came" => |c, _| time(winner(&c.decision).map(|t| t.click.received_at));
    match_type Text optional "how it was found" => |c, _| match_type(&c.decision);
    partner_click_id Text optional "the partner's own id of that click" => |c, _| param(&c.decision, "click_id");
    site_id Text optional "the publisher, as the click named it" => |c, _| param(&c.decision, "site_id");
    sub1 Text optional "sub parameter 1 of the click" => |c, _| param(&c.decision, "sub1");
    sub2 Text optional "sub parameter 2 of the click" => |c, _| param(&c.decision, "sub2");
    sub3 Text optional "sub parameter 3 of the click" => |c, _| param(&c.decision, "sub3");
    sub4 Text optional "sub parameter 4 of the click" => |c, _| param(&c.decision, "sub4");
    sub5 Text optional "sub parameter 5 of the click" => |c, _| param(&c.decision, "sub5");
    revision Number required "the latest revision of its decision" => |c, _| Cell::Number(c.decision.revision.into());
    decided_at Time required "when that was decided" => |c, _| Cell::Time(c.decision.at);
    install_id Text personal "the app's id of the installation" => |c, _| text(&c.event.install_id);
    customer_id Text personal "the owner's id of the person" => |c, _| text(&c.event.customer_id);
    platform Text optional "the device's platform, as sent" => |c, _| text(&c.event.device.platform);
    os_version Text optional "version of its system" => |c, _| text(&c.event.device.os_version);
    device_model Text optional "its model" => |c, _| text(&c.event.device.model);
    app_version Text optional "version of the app" => |c, _| text(&c.event.device.app_version);
    gaid Text personal "Google advertising id" => |c, _| device(&c.event, DeviceIdKind::Gaid);
    idfa Text personal "Apple advertising id" => |c, _| device(&c.event, DeviceIdKind::Idfa);
    idfv Text personal "Apple vendor id" => |c, _| device(&c.event, DeviceIdKind::Idfv);
    oaid Text personal "open advertising id" => |c, _| device(&c.event, DeviceIdKind::Oaid);
    android_id Text personal "Android's device id" => |c, _| device(&c.event, DeviceIdKind::AndroidId);
    country Text optional "where its address was, two letters" => |c, _| text(c.event.location.country.as_ref().map(Country::to_string));
    ip Text personal "its address" => |c, _| text(c.event.ip.map(|ip| ip.to_string()));
    user_agent Text personal "its browser or app" => |c, _| text(&c.event.user_agent);
}

fields! {
    /// What events count as.
    CONVERSIONS of ExportedConversion;
    conversion_id Text required "its id, `cnv_…`" => |c, _| printed(c.id);
    event_id Text required "the event that made it, `evt_…`" => |c, _| printed(c.id.event());
    received_at Time required "when that reached Roundtrip" => |c, _| Cell::Time(c.received_at);
    occurred_at Time required "when it happened, as its sender says" => |c, _| Cell::Time(c.occurred_at);
    app_id Text required "of which app or site" => |c, _| printed(c.app);
    app Text optional "its slug" => |c, s| app(c.app, s);
    kind Text required "install, signup, purchase or event" => |c, _| word(&c.kind);
    name Text required "the event's name, as sent" => |c, _| word(&c.name);
    environment Text required "production or sandbox" => |c, _| word(&c.environment);
    status Text required "approved, pending or rejected" => |c, _| word(&c.status);
    amount Money optional "what it was worth" => |c, _| money(c.amount_micros);
    currency Text optional "its currency, ISO 4217" => |c, _| text(&c.currency);
    verified Flag required "false where a client key reported the money" => |c, _| Cell::Flag(c.verified);
    payout Money optional "what its partner gets" => |c, _| money(c.payout_micros);
    payout_currency Text optional "the payout's currency, ISO 4217" => |c, _| text(&c.payout_currency);
    credit Text required "attributed, organic or install_unknown" => |c, _| word(c.decision.credit.name());
    partner_id Text optional "who has the credit" => |c, _| id_of(&c.decision, |t| t.click.partner);
    partner Text optional "its slug" => |c, s| partner(winner(&c.decision).map(|t| t.click.partner), s);
    campaign_id Text optional "by which campaign" => |c, _| id_of(&c.decision, |t| t.click.campaign);
    campaign Text optional "its slug" => |c, s| campaign(&c.decision, s);
    link_id Text optional "by which link" => |c, _| id_of(&c.decision, |t| t.click.link);
    link Text optional "its public id" => |c, s| link(&c.decision, s);
    click_id Text optional "our id of the winning click" => |c, _| text(c.decision.click().map(|id| id.to_string()));
    click_at Time optional "when that click came" => |c, _| time(winner(&c.decision).map(|t| t.click.received_at));
    match_type Text optional "how it was found" => |c, _| match_type(&c.decision);
    partner_click_id Text optional "the partner's own id of that click" => |c, _| param(&c.decision, "click_id");
    site_id Text optional "the publisher, as the click named it" => |c, _| param(&c.decision, "site_id");
    sub1 Text optional "sub parameter 1 of the click" => |c, _| param(&c.decision, "sub1");
    sub2 Text optional "sub parameter 2 of the click" => |c, _| param(&c.decision, "sub2");
    sub3 Text optional "sub parameter 3 of the click" => |c, _| param(&c.decision, "sub3");
    sub4 Text optional "sub parameter 4 of the click" => |c, _| param(&c.decision, "sub4");
    sub5 Text optional "sub parameter 5 of the click" => |c, _| param(&c.decision, "sub5");
    revision Number required "the latest revision of its decision" => |c, _| Cell::Number(c.decision.revision.into());
    decided_at Time required "when that was decided" => |c, _| Cell::Time(c.decision.at);
    settings_version Number required "under which settings" => |c, _| big(c.decision.settings_version);
    install_event_id Text optional "the installation whose credit it shares, `evt_…`" => |c, _| text(c.decision.because.follows.map(|id| id.to_string()));
    source_event_id Text optional "the sender's own key for its event" => |c, _| text(&c.event.source_event_id);
    order_id Text optional "the shop's own order id" => |c, _| text(postback(&c.event, |p| p.order_id.clone()));
    country Text optional "where its address was, two letters" => |c, _| text(c.event.location.country.as_ref().map(Country::to_string));
    customer_id Text personal "the owner's id of the person" => |c, _| text(&c.event.customer_id);
}

fields! {
    /// Revisions of decisions.
    DECISIONS of ExportedDecision;
    event_id Text required "the event that it is about, `evt_…`" => |d, _| printed(d.event);
    revision Number required "counts from 1; the highest of an event holds" => |d, _| Cell::Number(d.revision.revision.into());
    decided_at Time required "when" => |d, _| Cell::Time(d.revision.at);
    settings_version Number required "under which settings" => |d, _| big(d.revision.settings_version);
    app_id Text required "of which app or site" => |d, _| printed(d.app);
    app Text optional "its slug" => |d, s| app(d.app, s);
    kind Text optional "what the event counts as: install, signup, purchase or event; for a change of status, status_change or rejected" => |d, _| text(d.revision.kind.as_ref().map(ConversionKind::name));
    status Text required "whether the conversion counted then: approved, pending or rejected" => |d, _| word(d.revision.status.name());
    credit Text required "attributed, organic or install_unknown" => |d, _| word(d.revision.credit.name());
    partner_id Text optional "who has the credit" => |d, _| id_of(&d.revision, |t| t.click.partner);
    partner Text optional "its slug" => |d, s| partner(winner(&d.revision).map(|t| t.click.partner), s);
    campaign_id Text optional "by which campaign" => |d, _| id_of(&d.revision, |t| t.click.campaign);
    campaign Text optional "its slug" => |d, s| campaign(&d.revision, s);
    link_id Text optional "by which link" => |d, _| id_of(&d.revision, |t| t.click.link);
    link Text optional "its public id" => |d, s| link(&d.revision, s);
    click_id Text optional "our id of the winning click" => |d, _| text(d.revision.click().map(|id| id.to_string()));
    click_at Time optional "when that click came" => |d, _| time(winner(&d.revision).map(|t| t.click.received_at));
    match_type Text optional "how it was found" => |d, _| match_type(&d.revision);
    reference_at Time required "what windows count back from" => |d, _| Cell::Time(d.revision.because.reference_at);
    install_event_id Text optional "the installation whose credit it shares, `evt_…`" => |d, _| text(d.revision.because.follows.map(|id| id.to_string()));
    touches Number required "how many touches were considered, those that are not listed included" => |d, _| big(d.revision.because.candidates.len() as u64 + u64::from(d.revision.because.rest));
    candidates Text required "those that are listed, as a JSON array: click_id, partner_id, link_id, received_at, match_type, verdict, window_ms, age_ms" => |d, _| candidates(&d.revision);
    notes Text optional "what else mattered: words with commas between them" => |d, _| joined(&d.revision.because.notes);
}

fields! {
    /// Intents to tell somebody.
    DELIVERIES of ExportedDelivery;
    delivery_id Text required "its id, `dlv_…`" => |d, _| printed(d.listed.id);
    event_id Text required "the event that it is about, `evt_…`" => |d, _| printed(d.listed.event);
    fact_id Text required "what receivers see as the event id and dedupe on" => |d, _| printed(d.listed.fact);
    created_at Time required "when it was planned" => |d, _| Cell::Time(d.listed.created_at);
    booked_at Time optional "the moment by which the books count it; none: they do not" => |d, _| time(d.booked_at);
    app_id Text required "of which app or site" => |d, _| printed(d.listed.app);
    app Text optional "its slug" => |d, s| app(d.listed.app, s);
    kind Text required "what is told: install, purchase, …, a webhook's kind of fact, or test" => |d, _| word(&d.listed.kind);
    channel Text required "postback or webhook" => |d, _| word(if d.endpoint().postback().is_some() { "postback" } else { "webhook" });
    rule_id Text optional "the rule that tells a partner" => |d, _| text(rule(d).map(|id| id.to_string()));
    rule Text optional "its slug" => |d, s| text(rule(d).and_then(|id| s.rule(id)).map(|rule| &rule.slug));
    partner_id Text optional "the partner that is told" => |d, _| text(d.endpoint().postback().map(|(_, id)| id.to_string()));
    partner Text optional "its slug" => |d, s| partner(d.endpoint().postback().map(|(_, id)| id), s);
    webhook_id Text optional "the webhook that is told" => |d, _| text(webhook(d).map(|id| id.to_string()));
    webhook Text optional "its slug" => |d, s| text(webhook(d).and_then(|id| s.webhook(id)).map(|webhook| &webhook.slug));
    version Number required "the settings version of the rule or webhook that planned it" => |d, _| big(d.teller_version);
    revision Number required "the revision of the decision that planned it" => |d, _| Cell::Number(d.revision.into());
    replay_of Text optional "the delivery that it replays" => |d, _| text(d.listed.replay_of.map(|id| id.to_string()));
    deadline Time optional "after which it is of no use to its receiver" => |d, _| time(d.deadline);
    state Text required "scheduled, held, delivered, dead, expired or cancelled" => |d, _| word(d.listed.state.name());
    reason Text required "why; can be empty" => |d, _| word(&d.listed.reason);
    due_at Time optional "when it is sent next, while it waits" => |d, _| time(d.listed.due);
    ended_at Time optional "when it ended" => |d, _| time(d.listed.ended_at);
    sends Number required "sends so far" => |d, _| Cell::Number(d.listed.sends.into());
    last_at Time optional "when its last send began; attempts are kept for some days" => |d, _| time(d.listed.last.as_ref().map(|l| l.at));
    last_outcome Text optional "what that came to: http_200, timeout, …" => |d, _| text(d.listed.last.as_ref().map(|l| &l.outcome));
    last_status Number optional "its HTTP status" => |d, _| number(d.listed.last.as_ref().and_then(|l| l.status));
    last_took_us Number optional "how long it took, in microseconds" => |d, _| number(d.listed.last.as_ref().map(|l| l.total_us));
}

pub(super) fn printed(id: impl std::fmt::Display) -> Cell {
    Cell::Text(id.to_string())
}

pub(super) fn word(text: &str) -> Cell {
    Cell::Text(text.to_owned())
}

pub(super) fn text(text: impl IntoText) -> Cell {
    text.into_text().map_or(Cell::Empty, Cell::Text)
}

/// What can stand in a column of texts.
pub(super) trait IntoText {
    fn into_text(self) -> Option<String>;
}

impl IntoText for Option<String> {
    fn into_text(self) -> Option<String> {
        self
    }
}

impl IntoText for Option<&str> {
    fn into_text(self) -> Option<String> {
        self.map(str::to_owned)
    }
}

impl IntoText for Option<&String> {
    fn into_text(self) -> Option<String> {
        self.cloned()
    }
}

impl IntoText for &Option<String> {
    fn into_text(self) -> Option<String> {
        self.clone()
    }
}

pub(super) fn time(at: Option<Timestamp>) -> Cell {
    at.map_or(Cell::Empty, Cell::Time)
}

pub(super) fn number(number: Option<impl Into<i64>>) -> Cell {
    number.map_or(Cell::Empty, |number| Cell::Number(number.into()))
}

fn big(number: u64) -> Cell {
    Cell::Number(i64::try_from(number).unwrap_or(i64::MAX))
}

fn money(micros: Option<i64>) -> Cell {
    micros.map_or(Cell::Empty, Cell::Money)
}

fn currency(currency: Option<Currency>) -> Cell {
    text(currency.map(|currency| currency.to_string()))
}

fn flag(flag: Option<bool>) -> Cell {
    flag.map_or(Cell::Empty, Cell::Flag)
}

pub(super) fn joined(words: &[impl AsRef<str>]) -> Cell {
    let words: Vec<&str> = words.iter().map(AsRef::as_ref).collect();
    text((!words.is_empty()).then(|| words.join(",")))
}

const fn environment(event: &Event) -> &'static str {
    match event.environment {
        Environment::Production => "production",
        Environment::Sandbox => "sandbox",
    }
}

fn postback(event: &Event, read: impl Fn(&PostbackFields) -> Option<String>) -> Option<String> {
    event.postback.as_ref().and_then(read)
}

fn device(event: &Event, kind: DeviceIdKind) -> Cell {
    text(event.device.ids.iter().find(|id| id.kind == kind).map(|id| &id.text))
}

fn winner(revision: &ExportedRevision) -> Option<&Touch> {
    revision.credit.winner().map(|winner: &Winner| &winner.touch)
}

fn match_type(revision: &ExportedRevision) -> Cell {
    text(revision.credit.winner().map(|winner| winner.match_type.name()))
}

fn id_of<K: Kind>(revision: &ExportedRevision, read: impl Fn(&Touch) -> Id<K>) -> Cell {
    text(winner(revision).map(|touch| read(touch).to_string()))
}

fn param(revision: &ExportedRevision, name: &str) -> Cell {
    text(winner(revision).and_then(|t| Params::parse_as(&t.click.query, t.click.dialect).text(name)))
}

pub(super) fn app(id: Id<kind::App>, settings: &Settings) -> Cell {
    text(settings.apps.get(&id).map(|app| &app.slug))
}

pub(super) fn partner(id: Option<Id<kind::Partner>>, settings: &Settings) -> Cell {
    text(id.and_then(|id| settings.partners.get(&id)).map(|partner| &partner.slug))
}

fn campaign(revision: &ExportedRevision, settings: &Settings) -> Cell {
    let known = winner(revision).and_then(|touch| settings.campaigns.get(&touch.click.campaign));
    text(known.map(|campaign| &campaign.slug))
}

fn link(revision: &ExportedRevision, settings: &Settings) -> Cell {
    let known = winner(revision).and_then(|touch| settings.links.get(&touch.click.link));
    text(known.map(|link| &link.public_id))
}

fn rule(delivery: &ExportedDelivery) -> Option<Id<kind::Rule>> {
    delivery.endpoint().postback().map(|(rule, _)| rule)
}

fn webhook(delivery: &ExportedDelivery) -> Option<Id<kind::Webhook>> {
    match delivery.endpoint() {
        Endpoint::Webhook(webhook) => Some(webhook),
        Endpoint::Postback { .. } => None,
    }
}

/// Without the visitor's address, browser and query: a decision is not personal.
fn candidates(revision: &ExportedRevision) -> Cell {
    let list = revision.because.candidates.iter().map(|candidate| {
        json!({
            "click_id": candidate.touch.id.to_string(),
            "partner_id": candidate.touch.click.partner.to_string(),
            "link_id": candidate.touch.click.link.to_string(),
            "received_at": candidate.touch.click.received_at.to_string(),
            "match_type": candidate.match_type.name(),
            "verdict": candidate.verdict.code(),
            "window_ms": candidate.window.ms(),
            "age_ms": candidate.age_ms,
        })
    });
    Cell::Text(serde_json::Value::Array(list.collect()).to_string())
}
