//! Figures: reports, and the books.

use roundtrip_domain::problem::{Code, Problem};
use serde_json::{Value, json};

use super::call::{Answer, Call, Failure};
use super::explain::chosen;
use super::route::{Route, schema};
use crate::books::{self, Asked, Books};
use crate::report::{By, Period, Report, Sources};

/// How many days the books have when nobody says, in milliseconds: what partners argue about.
const BOOKS_MS: i64 = 30 * 86_400_000;

pub(super) fn routes() -> Vec<Route> {
    let text = || json!({ "type": "string" });
    vec![
        Route::get("/api/v1/report", "report_read", "Counts clicks, conversions and postbacks by day")
            .in_workspace()
            .query(
                "from",
                "A day such as 2026-06-04, or a moment of RFC 3339. Absent: seven days before `to`.",
                text(),
            )
            .query("to", "A day, which is included, or a moment, which is not. Absent: today.", text())
            .query("tz", "Whose days: an IANA name such as Europe/Berlin. Absent: UTC.", text())
            .query("by", "What rows are grouped by, beside the day.", by_schema())
            .answers(200, "The report.", schema::<Report>)
            .does(report),
        Route::get("/api/v1/balance", "balance_read", "Shows the books, and what does not add up")
            .in_workspace()
            .query("from", "A day such as 2026-06-04, UTC. Absent: 30 days ago.", text())
            .query("to", "A day, which is included. Absent: today.", text())
            .query("partner", "Only what this partner is told: its slug or id.", text())
            .query(
                "by",
                "`day`: a row per day, partner and kind; `period`: one per partner and kind.",
                json!({ "enum": ["day", "period"], "default": "day" }),
            )
            .answers(200, "The books.", schema::<Books>)
            .does(balance),
    ]
}

fn by_schema() -> Value {
    json!({ "enum": By::ALL.map(By::name), "default": By::default().name() })
}

async fn report(call: Call) -> Result<Answer, Failure> {
    let settings = call.workspace()?;
    let text = |name: &str| call.query.text(name);
    let (from, to, tz) = (text("from"), text("to"), text("tz"));
    let period = Period::parse(from.as_deref(), to.as_deref(), tz.as_deref(), call.state.clock.now())?;
    let by = match text("by") {
        None => By::default(),
        Some(text) => By::parse(&text).ok_or_else(|| {
            Problem::new(Code::ParameterInvalid, "by", "it is partner, campaign, link, app or country")
        })?,
    };
    let sources = Sources { ledger: &call.state.ledger, clicks: &call.state.clicks, settings: &settings };
    Ok(Answer::ok(json!(sources.report(&period, by).await?)))
}

async fn balance(call: Call) -> Result<Answer, Failure> {
    let settings = call.workspace()?;
    let now = call.state.clock.now();
    let from = call.query.text("from").unwrap_or_else(|| now.plus_ms(-BOOKS_MS).to_string());
    let period = Period::parse(Some(&from), call.query.text("to").as_deref(), None, now)?;
    let partners = settings.partners.values().map(|partner| (partner.id, partner.slug.as_str()));
    let partner = chosen(&call, "partner", partners)?;
    let whole_period = match call.query.text("by").as_deref() {
        None | Some("day") => false,
        Some("period") => true,
        Some(_) => return Err(Problem::new(Code::ParameterInvalid, "by", "it is day or period").into()),
    };
    let asked = Asked { partner, whole_period };
    Ok(Answer::ok(json!(books::read(&call.state.ledger, &settings, &period, asked, now).await?)))
}
