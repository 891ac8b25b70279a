//! Comparing lists: what a partner was told, in pages; lines of which nothing is known; or both at once for a list that
//! fits one request.

use roundtrip_domain::id::{Id, kind};
use roundtrip_domain::problem::{Code, Problem};
use roundtrip_domain::settings::{KeyScope, Settings};
use roundtrip_domain::time::{Span, Timestamp};
use roundtrip_store::ledger::FactsWanted;
use schemars::JsonSchema;
use serde_json::{Value, json};

use super::call::{Answer, Call, Failure};
use super::explain::chosen;
use super::fields::Fields;
use super::route::{Needs, Route, schema};
use crate::known;
use crate::reconcile::{
    self, AROUND_MS, Against, Fact, Facts, Join, KINDS, Origin, Origins, ROWS_MAX, Reconciliation, Row,
    TOLERANCE_MS, Terms,
};
use crate::report::DAYS_MAX;

/// Facts of one page that the server reads for itself.
const PAGE: u32 = 1_000;
/// Facts that one request may be compared with: those that share a key with a line.
const KEPT_MAX: usize = 20_000;
/// Findings of one answer.
const FINDINGS_MAX: usize = 5_000;

/// A list to be compared.
#[derive(Debug, Clone, JsonSchema)]
struct ReconcileWish {
    /// Whose list it is, by slug or id; absent with `against = "orders"`.
    #[schemars(default)]
    partner: Option<String>,
    /// With what it is compared.
    #[schemars(default)]
    against: Against,
    /// From when, RFC 3339.
    from: String,
    /// Until when, not included.
    to: String,
    /// By how much times may differ; absent: 15m.
    #[schemars(default)]
    tolerance: Option<String>,
    /// The kinds of conversions that are compared: `install`, `signup`, `purchase`, `event`. Absent: all.
    #[schemars(default)]
    kinds: Vec<String>,
    /// The list, at most 2,000 lines.
    rows: Vec<Row>,
}

/// Lines of which nothing is known.
#[derive(Debug, Clone, JsonSchema)]
#[expect(dead_code, reason = "only its schema is used; the body is read by `Fields`")]
struct ReconcileUnknown {
    /// Whose list it is, by slug or id.
    partner: String,
    /// At most 2,000 lines.
    rows: Vec<Row>,
}

pub(super) fn routes() -> Vec<Route> {
    let text = || json!({ "type": "string" });
    vec![
        Route::post(
            "/api/v1/reconcile",
            "reconcile",
            "Compares a list with what a partner was told, or with purchases",
        )
        .needs(Needs::Scope(KeyScope::Read))
        .in_workspace()
        .takes(schema::<ReconcileWish>)
        .answers(200, "Both sums, and every difference with its cause.", schema::<Reconciliation>)
        .does(whole),
        Route::get(
            "/api/v1/reconcile/facts",
            "reconcile_facts",
            "Lists conversions with what a partner was told of each",
        )
        .in_workspace()
        .limited()
        .query("partner", "Whose, by slug or id. Absent: all purchases, as the owner's own orders.", text())
        .query("from", "From when, RFC 3339: when the conversions' events arrived.", text())
        .query("to", "Until when, not included.", text())
        .query("after", "The event after which the page begins: `next` of the page before.", text())
        .answers(200, "A page; it can be empty and have a next one.", schema::<Facts>)
        .does(facts),
        Route::post(
            "/api/v1/reconcile/origins",
            "reconcile_origins",
            "Says why nothing is known of lines of a list",
        )
        .needs(Needs::Scope(KeyScope::Read))
        .in_workspace()
        .takes(schema::<ReconcileUnknown>)
        .answers(200, "A cause for each line.", schema::<Origins>)
        .does(origins),
    ]
}

impl ReconcileWish {
    fn read(body: Value) -> Result<Self, Problem> {
        let mut fields = Fields::of(body)?;
        let wish = Self {
            partner: fields.text("partner")?,
            against: match fields.text("against")?.as_deref() {
                None | Some("told") => Against::Told,
                Some("orders") => Against::Orders,
                Some(_) => return Err(Problem::new(Code::FieldType, "against", "it is told or orders")),
            },
            from: fields.text("from")?.unwrap_or_default(),
            to: fields.text("to")?.unwrap_or_default(),
            tolerance: fields.text("tolerance")?,
            kinds: match fields.any("kinds") {
                None => Vec::new(),
                Some(value) => serde_json::from_value(value)
                    .map_err(|_| Problem::new(Code::FieldType, "kinds", "it is a list of kinds"))?,
            },
            rows: rows(fields.must("rows")?)?,
        };
        fields.done()?;
        Ok(wish)
    }
}

/// The lines of a list, few enough for one request.
fn rows(value: Value) -> Result<Vec<Row>, Problem> {
    let Value::Array(rows) = value else {
        return Err(Problem::new(Code::FieldType, "rows", "it is a list of lines"));
    };
    if rows.len() > ROWS_MAX {
        let message =
            format!("at most {ROWS_MAX} lines fit one request; `roundtrip reconcile` compares longer lists");
        return Err(Problem::new(Code::BodyTooLarge, "rows", message));
    }
    let read = |(at, row): (usize, Value)| {
        serde_json::from_value(row)
            .map_err(|error| Problem::new(Code::FieldType, format!("rows[{at}]"), error.to_string()))
    };
    rows.into_iter().enumerate().map(read).collect()
}

fn moment(name: &str, text: Option<&str>) -> Result<Timestamp, Problem> {
    text.and_then(Timestamp::parse).ok_or_else(|| {
        Problem::new(Code::ParameterInvalid, name, "it is a moment of RFC 3339, such as 2026-06-04T00:00:00Z")
    })
}

fn period(from: Option<&str>, to: Option<&str>) -> Result<(Timestamp, Timestamp), Problem> {
    let (from, to) = (moment("from", from)?, moment("to", to)?);
    if from >= to || to.since(from) > (DAYS_MAX + 5) * 86_400_000 {
        let message = format!("the period ends after it begins, and has at most {DAYS_MAX} days");
        return Err(Problem::new(Code::ParameterInvalid, "to", message));
    }
    Ok((from, to))
}

/// The partner of that slug, or id.
pub(super) fn partner_of(settings: &Settings, text: &str) -> Result<Id<kind::Partner>, Problem> {
    let by_slug = settings.partners.values().find(|partner| partner.slug == text).map(|partner| partner.id);
    by_slug.or_else(|| text.parse().ok()).ok_or_else(|| {
        let names = settings.partners.values().map(|partner| partner.slug.as_str());
        Problem::new(Code::ParameterInvalid, "partner", format!("there is no partner `{text}`"))
            .fixed_by(known::one_of("partners", names))
    })
}

async fn facts(call: Call) -> Result<Answer, Failure> {
    let settings = call.workspace()?;
    let text = |name: &str| call.query.text(name);
    let partners = settings.partners.values().map(|partner| (partner.id, partner.slug.as_str()));
    let partner = chosen(&call, "partner", partners)?;
    let (from, to) = period(text("from").as_deref(), text("to").as_deref())?;
    let after = match text("after") {
        None => None,
        Some(text) => Some(text.parse::<Id<kind::Event>>().map_err(|_| {
            Problem::new(Code::ParameterInvalid, "after", "it is the id of an event (evt_…)")
        })?),
    };
    let wanted = FactsWanted { partner, from, to };
    let page = call.state.ledger.facts(settings.workspace, wanted, after, call.limit()?).await?;
    let items = page.facts.into_iter().map(Fact::of).collect();
    Ok(Answer::ok(json!(Facts { items, next: page.next.map(|id| id.to_string()) })))
}

async fn origins(mut call: Call) -> Result<Answer, Failure> {
    let mut fields = Fields::of(call.body.take())?;
    let (named, rows) = (fields.text("partner")?.unwrap_or_default(), rows(fields.must("rows")?)?);
    fields.done()?;
    let settings = call.workspace()?;
    let partner = partner_of(&settings, &named)?;
    let (state, ws) = (&call.state, settings.workspace);
    let causes =
        reconcile::origins(&state.ledger, &state.clicks, ws, partner, &rows, state.clock.now()).await?;
    let items = rows.iter().zip(causes);
    let items = items.map(|(row, (cause, detail))| Origin { line: row.line, cause, detail }).collect();
    Ok(Answer::ok(json!(Origins { items })))
}

async fn whole(mut call: Call) -> Result<Answer, Failure> {
    let wish = ReconcileWish::read(call.body.take())?;
    let settings = call.workspace()?;
    let (from, to) = period(Some(&wish.from), Some(&wish.to))?;
    let partner = match (wish.against, &wish.partner) {
        (Against::Orders, None) => None,
        (Against::Told, Some(text)) => Some(partner_of(&settings, text)?),
        (Against::Told, None) => {
            return Err(Problem::new(Code::FieldMissing, "partner", "it names whose list it is").into());
        }
        (Against::Orders, Some(_)) => {
            return Err(Problem::new(
                Code::ParameterInvalid,
                "partner",
                "the owner's own orders have no partner",
            )
            .into());
        }
    };
    let tolerance_ms = match &wish.tolerance {
        None => TOLERANCE_MS,
        Some(text) => Span::parse(text)
            .ok_or_else(|| Problem::new(Code::ParameterInvalid, "tolerance", "it is a span such as 15m"))?
            .ms(),
    };
    let terms = Terms { against: wish.against, from, to, listed: None, tolerance_ms };
    let kinds = reconcile::kinds(&wish.kinds).map_err(|word| {
        Problem::new(Code::ParameterInvalid, "kinds", format!("`{word}` is no kind of conversion"))
            .fixed_by(format!("the kinds are {}", KINDS.join(", ")))
    })?;
    let mut join = Join::new(wish.rows.clone(), terms).of_kinds(kinds);
    let wanted = FactsWanted { partner, from: from.plus_ms(-AROUND_MS), to: to.plus_ms(AROUND_MS) };
    let mut after = None;
    loop {
        let page = call.state.ledger.facts(settings.workspace, wanted, after, PAGE).await?;
        page.facts.into_iter().for_each(|fact| join.offer(Fact::of(fact)));
        if join.kept() > KEPT_MAX {
            let message =
                "too many conversions have the keys of these lines; `roundtrip reconcile` compares them";
            return Err(Problem::new(Code::ParameterInvalid, "rows", message).into());
        }
        after = page.next;
        if after.is_none() {
            break;
        }
    }
    let mut result = join.finish(FINDINGS_MAX);
    if let Some(partner) = partner {
        let findings = result.findings.iter_mut().filter(|finding| finding.is_unknown());
        let unknown: Vec<&mut reconcile::Finding> = findings.collect();
        let row_of = |finding: &&mut reconcile::Finding| {
            wish.rows.iter().find(|row| Some(row.line) == finding.line).cloned().unwrap_or_default()
        };
        let rows: Vec<Row> = unknown.iter().map(row_of).collect();
        let (state, ws) = (&call.state, settings.workspace);
        let causes =
            reconcile::origins(&state.ledger, &state.clicks, ws, partner, &rows, state.clock.now()).await?;
        for (finding, (cause, detail)) in unknown.into_iter().zip(causes) {
            finding.set(cause, detail);
        }
    }
    Ok(Answer::ok(json!(result)))
}
