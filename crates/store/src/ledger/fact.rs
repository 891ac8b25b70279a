//! Facts for the owner: which webhooks are told of them, and what they are told.
//!
//! A fact has an id that receivers dedupe on. A conversion's own is that of its event; a change of its status is an
//! event of its own; an update of its credit, and how a postback ended, have ids made from what they are about, so
//! that they can be made again. What goes on otherwise is a `notice`.
//!
//! A body is made once, when the first webhook is told, and kept: all sends and replays of a fact say the same. When
//! it is gone it is made again from the rows. Nothing is suppressed here: a webhook either asks for a fact or not.
//!
//! Runs inside the writer's transaction, as a part of what makes the fact.

use roundtrip_domain::attribution::Decision;
use roundtrip_domain::endpoint::Endpoint;
use roundtrip_domain::event::{Environment, Event};
use roundtrip_domain::id::{Id, WorkspaceNo, kind};
use roundtrip_domain::settings::{App, Catalog, Settings};
use roundtrip_domain::status::Status;
use roundtrip_domain::time::Timestamp;
use roundtrip_domain::webhook::{Fact, Topic, Webhook};
use rusqlite::{Connection, OptionalExtension};

use super::decide::{Due, Step};
use super::delivery::{self, Row};
use super::ids::Ids;
use super::revision::{Previous, decision_at, previous_decision};
use super::rollup::Rollups;
use super::settle::{ARRIVED, Ended};
use super::statements::sql;
use super::tell::About;
use super::test_delivery::TEST_KIND;
use super::{event, id_from, key16};
use crate::Error;
use crate::payload::{self, Postback};

/// What a webhook's delivery keeps in the place of macro values.
const NO_VALUES: &str = r#"{"v":1,"values":[]}"#;

/// What makes a fact known.
pub(super) struct News<'a> {
    pub(super) conn: &'a Connection,
    pub(super) ids: &'a Ids,
    pub(super) at: Timestamp,
    pub(super) rollups: &'a mut Rollups,
}

/// A fact that is to be told, and where it is booked.
pub(super) struct Telling {
    pub(super) fact: Id<kind::Event>,
    pub(super) topic: Topic,
    /// The event that it is about.
    pub(super) event: Id<kind::Event>,
    pub(super) revision: u32,
    pub(super) app: [u8; 16],
    pub(super) booked_at: Option<Timestamp>,
}

/// The id of a fact that has none of its own, made from what it is about.
fn fact_id(kind: &str, at: Timestamp, about: &[u8]) -> Id<kind::Event> {
    Id::mint(at, u128::from_be_bytes(key16(kind, about)))
}

fn update_id(event: Id<kind::Event>, revision: u32, at: Timestamp) -> Id<kind::Event> {
    fact_id("attribution_updated", at, &[event.bytes().as_slice(), &revision.to_be_bytes()].concat())
}

/// Whether a webhook is told of a conversion that counts so.
fn is_ripe(webhook: &Webhook, status: Status) -> bool {
    match status {
        Status::Approved => true,
        Status::Pending => webhook.pending,
        Status::Rejected => false,
    }
}

impl News<'_> {
    /// Plans the telling of one webhook.
    pub(super) fn plan(
        &mut self,
        workspace: WorkspaceNo,
        webhook: &Webhook,
        telling: &Telling,
    ) -> Result<Due, Error> {
        let endpoint = Endpoint::Webhook(webhook.id);
        let row = Row {
            event: telling.event,
            fact: telling.fact,
            revision: telling.revision,
            endpoint,
            teller_version: webhook.version,
            app: telling.app,
            kind: telling.topic.name().to_owned(),
            created_at: self.at,
            booked_at: telling.booked_at,
            deadline: None,
            replay_of: None,
            values: NO_VALUES.to_owned(),
        };
        let item = Due { workspace, endpoint, due: self.at, delivery: self.ids.id(self.at), sends: 0 };
        delivery::plan(self.conn, &row, &item, "planned", self.rollups)?;
        Ok(item)
    }

    /// Keeps the body of a fact as a revision tells it: who is told later, by another one, is told that.
    fn keep(&self, ws: u32, telling: &Telling, body: &str) -> Result<(), Error> {
        let row = (ws, telling.fact.bytes(), telling.revision, self.at.ms(), body);
        self.conn.prepare_cached(sql("payload_put"))?.execute(row)?;
        Ok(())
    }

    /// Tells of a postback that ended, whoever asks for that. A test is none: who asked for it looks at it.
    pub(super) fn of_end(mut self, catalog: &Catalog, item: &Due, ended: &Ended) -> Result<Vec<Due>, Error> {
        let Some((rule, partner)) = item.endpoint.postback() else { return Ok(Vec::new()) };
        let Some(settings) = catalog.workspace(item.workspace) else { return Ok(Vec::new()) };
        let topic = if ended.state == "delivered" { Topic::PostbackDelivered } else { Topic::PostbackFailed };
        if !settings.webhooks.iter().any(|webhook| webhook.wanted.has_topic(topic)) {
            return Ok(Vec::new());
        }
        let ws = item.workspace.0;
        let Some(row) = delivery::row(self.conn, ws, item.delivery)? else { return Ok(Vec::new()) };
        if row.kind == TEST_KIND {
            return Ok(Vec::new());
        }
        // Both ends of one that arrived after all can be of the same moment, and are two facts.
        let kind = if ended.reason == ARRIVED { ARRIVED } else { "postback" };
        let fact = fact_id(kind, self.at, &item.delivery.bytes());
        let telling = Telling {
            fact,
            topic,
            event: row.event,
            revision: row.revision,
            app: row.app,
            booked_at: row.booked_at,
        };
        let about = Postback {
            delivery: item.delivery.to_string(),
            partner: settings.partners.get(&partner).map(|partner| partner.slug.clone()),
            rule: settings.rule(rule).map(|rule| rule.slug.clone()),
            tells: row.kind.clone(),
            state: ended.state.to_owned(),
            reason: ended.reason.clone(),
            sends: ended.sends,
        };
        self.tell_postback(settings, item.workspace, &telling, about)
    }

    fn tell_postback(
        &mut self,
        settings: &Settings,
        workspace: WorkspaceNo,
        telling: &Telling,
        about: Postback,
    ) -> Result<Vec<Due>, Error> {
        let app = Id::from_bits(u128::from_be_bytes(telling.app));
        let asked = Fact { app: Some(app), topic: telling.topic, event: "" };
        let mut planned = Vec::new();
        for webhook in settings.webhooks.iter().filter(|webhook| webhook.wants(asked)) {
            if telling.booked_at.is_none() && !webhook.sandbox {
                continue;
            }
            planned.push(self.plan(workspace, webhook, telling)?);
        }
        if !planned.is_empty() {
            let slug = settings.apps.get(&app).map(|app| app.slug.clone());
            let postback = Some((about, telling.event));
            let body = payload::of_notice(telling.fact, telling.topic, self.at, slug, None, postback);
            self.keep(workspace.0, telling, &body.write())?;
        }
        Ok(planned)
    }
}

impl Step<'_> {
    /// Tells the owner of a decision: the conversion when it is first told, and later what changed about it.
    pub(super) fn tell_owner(
        &mut self,
        about: About<'_>,
        decision: &Decision,
        revision: u32,
        previous: Option<&Previous>,
    ) -> Result<Vec<Due>, Error> {
        let Some(conversion) = &decision.kind else { return Ok(Vec::new()) };
        let settings = self.settings;
        let is_sandbox = about.row.environment == Environment::Sandbox;
        let mut hearers =
            settings.webhooks.iter().filter(|webhook| !is_sandbox || webhook.sandbox).peekable();
        if hearers.peek().is_none() {
            return Ok(Vec::new());
        }
        let (conn, ws) = (self.conn, self.ws());
        let is_install = about.born.is_some_and(|(id, _)| id == about.event.id);
        let name = if is_install { "install" } else { about.event.name.as_str() };
        let first = Topic::of_conversion(conversion, &decision.credit, about.status);
        let moved = previous.is_some_and(|previous| !previous.credit.same(&decision.credit));
        let own = (first, about.row.id);
        let update = (Topic::AttributionUpdated, update_id(about.row.id, revision, self.at));
        let mut planned = Vec::new();
        for webhook in hearers {
            let was_told = || {
                let key = (ws, about.row.id.bytes(), webhook.id.bytes(), about.row.id.bytes());
                Ok::<_, Error>(conn.prepare_cached(sql("webhook_told"))?.exists(key)?)
            };
            let (topic, fact) = if about.change.is_some() {
                // A change is what it is, whoever has the credit.
                if previous.is_some() {
                    continue;
                }
                own
            } else if !is_ripe(webhook, about.status) {
                continue;
            } else if previous.is_none()
                // What it was not told of so far, because it did not ask for that or it did not count, is news.
                || ((moved || !previous.is_some_and(|p| is_ripe(webhook, p.status))) && !was_told()?)
            {
                own
            } else if moved {
                update
            } else {
                continue;
            };
            if !webhook.wants(Fact { app: Some(self.app.id), topic, event: name }) {
                continue;
            }
            let telling = Telling {
                fact,
                topic,
                event: about.row.id,
                revision,
                app: self.app.id.bytes(),
                booked_at: (!is_sandbox).then_some(about.row.received_at),
            };
            let (ids, at) = (self.ids, self.at);
            let mut news = News { conn, ids, at, rollups: self.rollups };
            planned.push(news.plan(about.row.workspace, webhook, &telling)?);
            let told = payload::Told {
                fact,
                topic,
                event: about.event,
                change: about.change.map(|(_, change)| (change, about.row.received_at)),
                is_install,
                credit: &decision.credit,
                because: &decision.because,
                status: about.status,
                at,
                app: self.app,
                settings,
            };
            news.keep(ws, &telling, &payload::of_conversion(&told).write())?;
        }
        Ok(planned)
    }
}

/// The body of a webhook's delivery: as it is kept, or made again. `None` when nothing that it is about is kept, or
/// its app is gone.
pub(super) fn body(
    conn: &Connection,
    ws: u32,
    row: &Row,
    catalog: &Catalog,
) -> Result<Option<String>, Error> {
    let fact = row.fact.bytes();
    let kept: Option<String> = conn
        .prepare_cached(sql("payload_get"))?
        .query_row((ws, fact, row.revision), |row| row.get(0))
        .optional()?;
    if kept.is_some() {
        return Ok(kept);
    }
    let kept: Option<String> =
        conn.prepare_cached(sql("notice_get"))?.query_row((ws, fact), |row| row.get(0)).optional()?;
    if kept.is_some() {
        return Ok(kept);
    }
    let app: Id<kind::App> = Id::from_bits(u128::from_be_bytes(row.app));
    let Some(settings) = catalog.workspace(WorkspaceNo(ws)) else { return Ok(None) };
    let Some(app) = settings.apps.get(&app) else { return Ok(None) };
    let Some(topic) = Topic::parse(&row.kind).filter(|topic| topic.is_conversion()) else { return Ok(None) };
    let Some(event) = event::get(conn, ws, &row.event.bytes())? else { return Ok(None) };
    let original = match &event.change {
        Some(change) => event::get(conn, ws, &change.of.bytes())?,
        None => None,
    };
    let about = original.as_ref().unwrap_or(&event);
    let Some((credit, because, status)) = decision_at(conn, ws, event.id, row.revision)? else {
        return Ok(None);
    };
    // A change follows what it changes; that says by which birth that was decided.
    let known = match &original {
        Some(original) => previous_decision(conn, ws, original.id)?.map(|known| known.because),
        None => None,
    };
    let follows = known.as_ref().unwrap_or(&because).follows;
    let told = payload::Told {
        fact: row.fact,
        topic,
        event: about,
        change: event.change.as_deref().map(|change| (change, event.received_at)),
        is_install: is_birth(app, about, follows),
        credit: &credit,
        because: &because,
        status: event.change.as_ref().map_or(status, |change| change.to),
        at: row.created_at,
        app,
        settings,
    };
    Ok(Some(payload::of_conversion(&told).write()))
}

fn is_birth(app: &App, event: &Event, follows: Option<Id<kind::Event>>) -> bool {
    app.platform.is_mobile() && event.names_install() && follows.is_none()
}

/// What a webhook was not told of an event.
pub(super) struct Untold {
    row: Event,
    original: Option<Event>,
    known: Previous,
    is_install: bool,
    is_sandbox: bool,
    topic: Topic,
}

/// What a webhook has not been told yet of an event, by the decision that holds. `None` when there is nothing to tell,
/// it does not ask for that, or it was told. `kinds` are the topics that are meant; none: all.
pub(super) fn untold(
    conn: &Connection,
    settings: &Settings,
    webhook: &Webhook,
    id: Id<kind::Event>,
    kinds: &[String],
) -> Result<Option<Untold>, Error> {
    let ws = settings.workspace.0;
    let Some(row) = event::get(conn, ws, &id.bytes())? else { return Ok(None) };
    let Some(app) = settings.apps.get(&row.app) else { return Ok(None) };
    let Some(known) = previous_decision(conn, ws, id)? else { return Ok(None) };
    let Some(conversion) = &known.kind else { return Ok(None) };
    let is_sandbox = row.environment == Environment::Sandbox;
    if (is_sandbox && !webhook.sandbox) || (row.change.is_none() && !is_ripe(webhook, known.status)) {
        return Ok(None);
    }
    let original = match &row.change {
        Some(change) => event::get(conn, ws, &change.of.bytes())?,
        None => None,
    };
    let follows = match &original {
        Some(original) => previous_decision(conn, ws, original.id)?.and_then(|known| known.because.follows),
        None => known.because.follows,
    };
    let about = original.as_ref().unwrap_or(&row);
    let is_install = is_birth(app, about, follows);
    let topic = Topic::of_conversion(conversion, &known.credit, known.status);
    let name = if is_install { "install" } else { about.name.as_str() };
    if !(kinds.is_empty() || kinds.iter().any(|kind| kind == topic.name()))
        || !webhook.wants(Fact { app: Some(app.id), topic, event: name })
        || conn.prepare_cached(sql("webhook_told"))?.exists((
            ws,
            id.bytes(),
            webhook.id.bytes(),
            id.bytes(),
        ))?
    {
        return Ok(None);
    }
    Ok(Some(Untold { row, original, known, is_install, is_sandbox, topic }))
}

/// Plans what a webhook has not been told yet of an event: what fills it from the past. `None` as [`untold`] says.
pub(super) fn fill(
    news: &mut News<'_>,
    settings: &Settings,
    webhook: &Webhook,
    id: Id<kind::Event>,
    kinds: &[String],
) -> Result<Option<Due>, Error> {
    let workspace = settings.workspace;
    let Some(untold) = untold(news.conn, settings, webhook, id, kinds)? else { return Ok(None) };
    let Untold { row, original, known, is_install, is_sandbox, topic } = untold;
    let Some(app) = settings.apps.get(&row.app) else { return Ok(None) };
    let telling = Telling {
        fact: id,
        topic,
        event: id,
        revision: known.revision,
        app: app.id.bytes(),
        booked_at: (!is_sandbox).then_some(row.received_at),
    };
    let due = news.plan(workspace, webhook, &telling)?;
    let told = payload::Told {
        fact: id,
        topic,
        event: original.as_ref().unwrap_or(&row),
        change: row.change.as_deref().map(|change| (change, row.received_at)),
        is_install,
        credit: &known.credit,
        because: &known.because,
        status: known.status,
        at: news.at,
        app,
        settings,
    };
    news.keep(workspace.0, &telling, &payload::of_conversion(&told).write())?;
    Ok(Some(due))
}

/// Events in the order of their ids, which is that of their arrival, as far as they can be facts to tell.
pub(super) struct FactsPage {
    /// Those of the app, if one is meant.
    pub(super) events: Vec<Id<kind::Event>>,
    /// How many rows were looked at.
    pub(super) rows: u32,
    /// The last row that was looked at.
    pub(super) last: Option<u128>,
}

/// A page of events after one and before another.
pub(super) fn facts_page(
    conn: &Connection,
    ws: u32,
    app: Option<Id<kind::App>>,
    ids: std::ops::Range<u128>,
    rows_max: u32,
) -> Result<FactsPage, Error> {
    let mut statement = conn.prepare_cached(sql("event_page"))?;
    let (low, high) = (ids.start.to_be_bytes(), ids.end.to_be_bytes());
    let mut rows = statement.query((ws, low, high, rows_max))?;
    let mut page = FactsPage { events: Vec::new(), rows: 0, last: None };
    while let Some(row) = rows.next()? {
        let bytes: Vec<u8> = row.get(0)?;
        let id: Id<kind::Event> = id_from(&bytes, "event", "id")?;
        page.rows += 1;
        page.last = Some(id.bits());
        if app.is_none_or(|app| row.get::<_, [u8; 16]>(1).is_ok_and(|own| own == app.bytes())) {
            page.events.push(id);
        }
    }
    Ok(page)
}
