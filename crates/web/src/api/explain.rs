//! Stories: of conversions, events, deliveries and clicks.

use roundtrip_domain::click_id::ClickId;
use roundtrip_domain::event::ConversionKind;
use roundtrip_domain::id::{Id, Kind, kind};
use roundtrip_domain::problem::{Code, Problem};
use roundtrip_domain::settings::Settings;
use roundtrip_store::ledger::ConversionFilter;
use serde_json::json;

use super::call::{Answer, Call, Failure};
use super::route::{Route, schema};
use crate::conversions::{self, Conversions};
use crate::story::{ClickStory, Explained, Finder, Reference, Telling};

pub(super) fn routes() -> Vec<Route> {
    let text = || json!({ "type": "string" });
    let story = |path: &str, id: &str, summary: &str| {
        Route::get(path, id, summary)
            .in_workspace()
            .told()
            .answers(200, "The story.", schema::<Explained>)
            .does(explain)
    };
    vec![
        Route::get(
            "/api/v1/conversions",
            "conversion_list",
            "Lists the latest conversions, the newest first",
        )
        .in_workspace()
        .limited()
        .query("before", "The conversion before which the page begins: `next` of the page before.", text())
        .query("app", "Only of this app, by slug or id.", text())
        .query("partner", "Only those that this partner won, by slug or id.", text())
        .query(
            "kind",
            "Only of this kind; changes of status are listed only by their own.",
            json!({ "enum": ["install", "signup", "purchase", "event", "status_change", "rejected"] }),
        )
        .answers(200, "A page.", schema::<Conversions>)
        .does(list),
        story(
            "/api/v1/conversions/{id}/explain",
            "conversion_explain",
            "Tells a conversion's story; takes the id of its event, of one of its deliveries, or of a click too",
        ),
        story("/api/v1/explain/{id}", "explain", "Tells the story of a conversion, event, delivery or click"),
        Route::get("/api/v1/clicks/{id}", "click_read", "Shows a click and what it earned")
            .in_workspace()
            .told()
            .answers(200, "The click.", schema::<ClickStory>)
            .does(click),
    ]
}

impl Route {
    /// Adds `full`, and the refusals of a route that takes an id of a fact.
    pub(super) fn told(self) -> Self {
        let about = "Shows personal data whole: device ids, addresses, queries as received, properties. Needs the scope `personal` too.";
        self.query("full", about, json!({ "type": "boolean", "default": false })).codes(&[Code::IdUnknown])
    }
}

/// How the caller wants stories told.
pub(super) fn telling(call: &Call) -> Result<Telling, Problem> {
    let full = match call.query.text("full").as_deref() {
        None | Some("false") => false,
        Some("true") => {
            call.caller.sees_whole()?;
            true
        }
        Some(_) => return Err(Problem::new(Code::ParameterInvalid, "full", "it is true or false")),
    };
    Ok(Telling { now: call.state.clock.now(), full })
}

/// Looks stories up as the caller wants them.
pub(super) fn finder<'a>(call: &'a Call, settings: &'a Settings, telling: Telling) -> Finder<'a> {
    Finder { ledger: &call.state.ledger, clicks: &call.state.clicks, settings, telling }
}

async fn explain(call: Call) -> Result<Answer, Failure> {
    let reference = Reference::parse(call.path("id"))?;
    let (settings, telling) = (call.workspace()?, telling(&call)?);
    let explained = finder(&call, &settings, telling).explain(reference).await?;
    Ok(Answer::ok(json!(explained)))
}

async fn click(call: Call) -> Result<Answer, Failure> {
    let id = ClickId::parse(call.path("id").as_bytes())
        .ok_or_else(|| Problem::new(Code::ParameterInvalid, "id", "a click's id is a UUID"))?;
    let (settings, telling) = (call.workspace()?, telling(&call)?);
    Ok(Answer::ok(json!(finder(&call, &settings, telling).click(id).await?)))
}

async fn list(call: Call) -> Result<Answer, Failure> {
    let limit = call.limit()?;
    let settings = call.workspace()?;
    let before = match call.query.text("before") {
        None => None,
        Some(text) => Some(text.parse::<Id<kind::Conversion>>().map_err(|_| {
            Problem::new(Code::ParameterInvalid, "before", "it is the id of a conversion (cnv_…)")
        })?),
    };
    let apps = settings.apps.values().map(|app| (app.id, app.slug.as_str()));
    let partners = settings.partners.values().map(|partner| (partner.id, partner.slug.as_str()));
    let filter = ConversionFilter {
        app: chosen(&call, "app", apps)?,
        partner: chosen(&call, "partner", partners)?,
        kind: match call.query.text("kind") {
            None => None,
            Some(text) => Some(ConversionKind::parse(&text).ok_or_else(|| {
                Problem::new(
                    Code::ParameterInvalid,
                    "kind",
                    "it is install, signup, purchase, event, status_change or rejected",
                )
            })?),
        },
    };
    let page = conversions::list(&call.state.ledger, &settings, filter, before, limit).await?;
    Ok(Answer::ok(json!(page)))
}

/// The resource that a filter names by slug or id. A well-formed id needs no resource behind it: facts outlive
/// the settings they were made under.
pub(super) fn chosen<'a, K: Kind>(
    call: &Call,
    name: &str,
    mut known: impl Iterator<Item = (Id<K>, &'a str)>,
) -> Result<Option<Id<K>>, Problem> {
    let Some(text) = call.query.text(name) else { return Ok(None) };
    if let Ok(id) = text.parse() {
        return Ok(Some(id));
    }
    let found = known.find(|(_, slug)| *slug == text).map(|(id, _)| id);
    found
        .map(Some)
        .ok_or_else(|| Problem::new(Code::ParameterInvalid, name, format!("there is no {name} `{text}`")))
}
