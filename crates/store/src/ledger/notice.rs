//! Notices: what the owner should know about how telling goes, kept under their ids and told to the webhooks that ask.
//!
//! The cast: whoever learns something says it through [`News::say`] inside the transaction that makes it true, so that
//! neither is there without the other; a [`Ledger::notice`] is true by itself. This file has the words for what the
//! engine learns of endpoints and of deliveries whose time runs out.
//!
//! Not here: whether there is anything to say. That a postback ended is a fact about it, in `fact`.

use roundtrip_domain::endpoint::Endpoint;
use roundtrip_domain::endpoint::health::Notice as Learned;
use roundtrip_domain::id::{Id, WorkspaceNo, kind};
use roundtrip_domain::settings::{Catalog, Settings};
use roundtrip_domain::time::Timestamp;
use roundtrip_domain::webhook::{Fact, Topic, Webhook};
use serde_json::json;

use super::booked::About;
use super::decide::Due;
use super::fact::{News, Telling};
use super::rollup::Rollups;
use super::statements::sql;
use super::test_delivery::TEST_KIND;
use super::{EndpointNews, Ledger, id_from};
use crate::Error;
use crate::payload::{self, Notice};

/// Something that happened about how telling goes.
#[derive(Debug, Clone, PartialEq)]
pub struct NoticeRow {
    /// Its id, which is what webhooks dedupe on.
    pub id: Id<kind::Event>,
    /// When.
    pub at: Timestamp,
    /// Its topic's word.
    pub topic: String,
    /// The body, as webhooks get it.
    pub body: String,
}

/// What the engine found out about one delivery with the end of a send: it is sent again, and its receiver accepts it
/// for a short time only.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RunningOut {
    /// Which.
    pub delivery: Id<kind::Delivery>,
    /// Until when its receiver accepts it.
    pub deadline: Timestamp,
}

impl News<'_> {
    /// Keeps a notice, and plans its telling to whoever asks for it. Gives its id. What is of the sandbox is told to the
    /// webhooks that take that, and booked nowhere.
    pub(super) fn say(
        &mut self,
        catalog: &Catalog,
        workspace: WorkspaceNo,
        (topic, is_sandbox): (Topic, bool),
        app: Option<Id<kind::App>>,
        notice: Notice,
    ) -> Result<(Id<kind::Event>, Vec<Due>), Error> {
        let (at, id) = (self.at, self.ids.id(self.at));
        let settings = catalog.workspace(workspace);
        let slug = settings.zip(app).and_then(|(s, app)| Some(s.apps.get(&app)?.slug.clone()));
        let body = payload::of_notice(id, topic, at, slug, Some(notice), None).write();
        let bytes = app.map(|app| app.bytes().to_vec());
        let row = (workspace.0, id.bytes(), at.ms(), topic.name(), bytes, &body);
        self.conn.prepare_cached(sql("notice_put"))?.execute(row)?;
        let mut planned = Vec::new();
        let asked = Fact { app, topic, event: "" };
        let webhooks = settings.map_or(&[][..], |settings| settings.webhooks.as_slice());
        let hears = |webhook: &Webhook| webhook.wants(asked) && (webhook.sandbox || !is_sandbox);
        for webhook in webhooks.iter().filter(|webhook| hears(webhook)) {
            let telling = Telling {
                fact: id,
                topic,
                event: id,
                revision: 0,
                app: app.map_or([0; 16], Id::bytes),
                booked_at: (!is_sandbox).then_some(at),
            };
            planned.push(self.plan(workspace, webhook, &telling)?);
        }
        Ok((id, planned))
    }

    /// Says what was learned of an endpoint.
    pub(super) fn say_of_endpoint(
        &mut self,
        catalog: &Catalog,
        news: &EndpointNews,
        learned: Learned,
    ) -> Result<Vec<Due>, Error> {
        let name = endpoint_name(news.endpoint, catalog.workspace(news.workspace).map(AsRef::as_ref));
        let (topic, sentence, figures) = match learned {
            Learned::Failing { hours } => (
                Topic::EndpointFailing,
                format!("{name} has taken nothing for {hours} h."),
                json!({ "hours": hours }),
            ),
            Learned::Disabled => (
                Topic::EndpointDisabled,
                format!(
                    "{name} was disabled; what is for it is held. `roundtrip endpoint enable {name}` lets it go on."
                ),
                json!({ "reason": news.disable.unwrap_or_default() }),
            ),
            Learned::Recovered => {
                (Topic::EndpointRecovered, format!("{name} takes again what is sent."), json!({}))
            }
        };
        let notice = Notice { sentence, about: Some(name), figures };
        Ok(self.say(catalog, news.workspace, (topic, false), None, notice)?.1)
    }

    /// Says that the time of a delivery, sent so often, is running out. Of a test nothing is said: who asked for it
    /// looks at it.
    pub(super) fn say_running_out(
        &mut self,
        catalog: &Catalog,
        workspace: WorkspaceNo,
        out: RunningOut,
        about: &About,
        sends: u32,
    ) -> Result<Vec<Due>, Error> {
        if about.kind == TEST_KIND {
            return Ok(Vec::new());
        }
        let topic = (Topic::PostbackExpiring, !about.is_booked());
        let (delivery, deadline) = (out.delivery.to_string(), out.deadline.to_string());
        let notice = Notice {
            sentence: format!(
                "{delivery} is not delivered yet, and its receiver accepts it until {deadline}."
            ),
            about: Some(delivery.clone()),
            figures: json!({ "delivery": delivery, "deadline": deadline, "sends": sends }),
        };
        Ok(self.say(catalog, workspace, topic, Some(about.app()), notice)?.1)
    }
}

/// The name by which people know an endpoint and which commands take: `webhook:SLUG`, or `rule:SLUG@PARTNER`. One of
/// which something was deleted since is named by its id.
pub fn endpoint_name(endpoint: Endpoint, settings: Option<&Settings>) -> String {
    let name = match endpoint {
        Endpoint::Webhook(id) => {
            settings.and_then(|s| s.webhook(id)).map(|webhook| format!("webhook:{}", webhook.slug))
        }
        Endpoint::Postback { rule, partner } => settings
            .and_then(|s| Some((s.rule(rule)?, s.partners.get(&partner)?)))
            .map(|(rule, partner)| format!("rule:{}@{}", rule.slug, partner.slug)),
    };
    name.unwrap_or_else(|| endpoint_id(endpoint))
}

/// An endpoint's id: `wbh_…`, or `rul_…:prt_…`.
pub fn endpoint_id(endpoint: Endpoint) -> String {
    match endpoint {
        Endpoint::Webhook(id) => id.to_string(),
        Endpoint::Postback { rule, partner } => format!("{rule}:{partner}"),
    }
}

impl Ledger {
    /// Keeps a notice about how telling goes, and tells whoever asks for it. Gives its id.
    pub async fn notice(
        &self,
        workspace: WorkspaceNo,
        topic: Topic,
        app: Option<Id<kind::App>>,
        notice: Notice,
        at: Timestamp,
    ) -> Result<Id<kind::Event>, Error> {
        let (catalog, ids) = (self.catalog(), self.inner.ids.clone());
        let (id, planned) = self
            .write(move |conn| {
                let mut rollups = Rollups::default();
                let mut news = News { conn, ids: &ids, at, rollups: &mut rollups };
                let said = news.say(&catalog, workspace, (topic, false), app, notice.clone())?;
                rollups.flush(conn)?;
                Ok(said)
            })
            .await?;
        self.inner.handoff.due(&planned);
        Ok(id)
    }

    /// The latest notices, newest first; those before an id, if one is given.
    pub async fn notices(
        &self,
        workspace: WorkspaceNo,
        before: Option<Id<kind::Event>>,
        limit: u32,
    ) -> Result<Vec<NoticeRow>, Error> {
        self.read(move |conn| {
            let mut statement = conn.prepare_cached(sql("notice_list"))?;
            let before = before.map_or([0xff; 16], Id::bytes);
            let mut rows = statement.query((workspace.0, before, limit))?;
            let mut notices = Vec::new();
            while let Some(row) = rows.next()? {
                let id: Vec<u8> = row.get(0)?;
                notices.push(NoticeRow {
                    id: id_from(&id, "notice", "id")?,
                    at: Timestamp::from_ms(row.get(1)?),
                    topic: row.get(2)?,
                    body: row.get(3)?,
                });
            }
            Ok(notices)
        })
        .await
    }
}
