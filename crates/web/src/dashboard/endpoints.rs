//! The page of endpoints, those in trouble first, and the page of each: how it stands, why things wait for it now, its
//! latest sends, what became of it, and the commands that change that.

use minijinja::Error;
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use roundtrip_domain::endpoint::Endpoint;
use roundtrip_domain::params::Params;
use roundtrip_domain::problem::{Code, Problem};
use roundtrip_domain::settings::Settings;
use roundtrip_domain::time::{Timestamp, human};
use roundtrip_store::ledger::{DeliveryFilter, DeliveryState};
use serde::Serialize;

use super::deliveries::age;
use super::home::state_badge;
use super::pages::{self, Badge, ListedDelivery, Moment};
use super::webhooks::{Subscription, subscription};
use super::{Inner, Refused};
use crate::deliveries::{self, DeliveryRow};
use crate::endpoints::{Endpoints, FIGURES_DAYS, LogLine, Shown, parse};

/// Endpoints on a page.
const ROWS: usize = 100;
/// Waiting deliveries that an endpoint's page shows.
const WAITING: u32 = 10;
/// Deliveries that ended last which it shows.
const LATEST: u32 = 20;
/// Seconds between reloads while something waits.
const REFRESH_S: u32 = 10;

/// How an endpoint stands, for the eye.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(super) struct Standing {
    /// Its state, or the trouble that it is in.
    badge: Badge,
    /// For how long, for people.
    since: Option<String>,
    /// How long the oldest that waits has been due.
    overdue: Option<String>,
    /// Why things wait now, or how it stands if nothing does.
    why: String,
    /// Whether somebody should look.
    is_trouble: bool,
    /// How its success rate looks.
    tone: &'static str,
}

/// An endpoint in the list.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
struct Listed {
    endpoint: Shown,
    standing: Standing,
}

/// The list.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
struct Page {
    rows: Vec<Listed>,
    /// How many there are in all, fitting or not.
    all: usize,
    /// How many fit.
    fitting: usize,
    trouble: usize,
    name: String,
    is_trouble_only: bool,
    figures_days: i64,
    older: Option<String>,
}

/// A command and what it is for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
struct Command {
    about: &'static str,
    command: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
struct OnePage {
    refresh_s: Option<u32>,
    endpoint: Shown,
    standing: Standing,
    /// What waits, with what keeps it now.
    waiting: Vec<ListedDelivery>,
    /// What ended last.
    latest: Vec<ListedDelivery>,
    /// The query of the page of all its deliveries.
    query: String,
    log: Vec<LogLine>,
    webhook: Option<Subscription>,
    commands: Vec<Command>,
    figures_days: i64,
}

/// How an endpoint stands, for the eye.
pub(super) fn standing(endpoint: &Shown, now: Timestamp) -> Standing {
    let is_open = endpoint.live.as_ref().is_some_and(|live| live.breaker == "open");
    let refusal = endpoint.live.as_ref().and_then(|live| live.not_allowed.as_ref());
    let (tone, text) = match endpoint.state {
        "disabled" => ("bad", "disabled"),
        "paused" => ("wait", "paused"),
        _ if refusal.is_some() => ("bad", "not allowed"),
        _ if is_open => ("bad", "in trouble"),
        _ if endpoint.failing_since.is_some() => ("bad", "failing"),
        _ if endpoint.waiting > 0 && endpoint.trouble_since.is_some() => ("wait", "retrying"),
        _ if endpoint.waiting > 0 => ("wait", "waiting"),
        _ => ("good", "active"),
    };
    let overdue = endpoint.oldest_due.as_deref().and_then(Timestamp::parse).map(|due| now.since(due));
    // An active one was let go on then, which is no news.
    let since = endpoint.since.as_deref().filter(|_| endpoint.stopped.is_some());
    let is_failing = tone == "bad" || text == "retrying";
    let trouble = endpoint.trouble_since.as_deref().filter(|_| is_failing);
    let since = since.or(trouble).and_then(Timestamp::parse);
    let since = since.map(|at| human(now.since(at).max(1_000)));
    let why = match (&endpoint.live, &endpoint.stopped) {
        (_, Some(stopped)) => stopped.clone(),
        (Some(live), _) if endpoint.waiting > 0 => live.sentence.clone(),
        (None, _) if endpoint.waiting > 0 => {
            "The engine has not looked at it yet since the start.".to_owned()
        }
        _ => "Nothing waits.".to_owned(),
    };
    let recent = endpoint.recent.as_ref();
    let (failed, delivered) =
        recent.map_or((0, 0), |recent| (recent.dead + recent.expired, recent.delivered));
    Standing {
        badge: Badge { tone, text: text.to_owned() },
        since,
        overdue: overdue.filter(|late| *late >= 1_000).map(human),
        why,
        // What is sent again by itself, and by its schedule, needs nobody yet.
        is_trouble: tone == "bad" || text == "paused",
        tone: match (failed, delivered) {
            (0, _) => "",
            // More than one of ten failed.
            (failed, delivered) if failed * 9 > delivered => "bad",
            _ => "wait",
        },
    }
}

/// Renders the list.
pub(super) async fn render(
    inner: &Inner,
    settings: &Settings,
    query: &Params,
) -> Result<Result<String, Error>, Refused> {
    let now = inner.now();
    let name = query.text("name").unwrap_or_default().trim().to_lowercase();
    let is_trouble_only = match query.text("show").as_deref() {
        None | Some("" | "all") => false,
        Some("trouble") => true,
        Some(_) => return Err(Problem::new(Code::ParameterInvalid, "show", "it is trouble or all").into()),
    };
    let from: usize = match query.text("from") {
        None => 0,
        Some(text) => {
            text.parse().map_err(|_| Problem::new(Code::ParameterInvalid, "from", "it is a number"))?
        }
    };
    let all = Endpoints { ledger: &inner.state.ledger, settings, now }.list().await?;
    let in_all = all.len();
    let mut rows: Vec<Listed> =
        all.into_iter().map(|endpoint| Listed { standing: standing(&endpoint, now), endpoint }).collect();
    let trouble = rows.iter().filter(|row| row.standing.is_trouble).count();
    rows.retain(|row| {
        let is_named = name.is_empty() || row.endpoint.name.to_lowercase().contains(&name);
        is_named && (!is_trouble_only || row.standing.is_trouble)
    });
    // Sorted by name already, and the sort is stable: who needs somebody comes first, then who waits, then the others.
    rows.sort_by_key(|row| match row.standing.badge.tone {
        "bad" => 0,
        _ if row.standing.is_trouble => 1,
        "wait" => 2,
        _ => 3,
    });
    let fitting = rows.len();
    let older = (from.saturating_add(ROWS) < fitting).then(|| {
        let show = if is_trouble_only { "trouble" } else { "all" };
        let name = utf8_percent_encode(&name, NON_ALPHANUMERIC);
        format!("/endpoints?show={show}&name={name}&from={}", from.saturating_add(ROWS))
    });
    let rows = rows.into_iter().skip(from).take(ROWS).collect();
    Ok(pages::render(
        "endpoints.html",
        &Page {
            rows,
            all: in_all,
            fitting,
            trouble,
            name,
            is_trouble_only,
            figures_days: FIGURES_DAYS,
            older,
        },
    ))
}

/// Renders the page of one.
pub(super) async fn render_one(
    inner: &Inner,
    settings: &Settings,
    id: &str,
) -> Result<Result<String, Error>, Refused> {
    let now = inner.now();
    let ledger = &inner.state.ledger;
    let endpoints = Endpoints { ledger, settings, now };
    let which = parse(id.trim(), settings)?;
    let endpoint = endpoints.read(which).await?;
    let filter = match which {
        Endpoint::Postback { rule, partner } => {
            DeliveryFilter { rule: Some(rule), partner: Some(partner), ..DeliveryFilter::default() }
        }
        Endpoint::Webhook(webhook) => DeliveryFilter { webhook: Some(webhook), ..DeliveryFilter::default() },
    };
    let query = match which {
        Endpoint::Postback { rule, partner } => format!("rule={rule}&partner={partner}"),
        Endpoint::Webhook(webhook) => format!("webhook={webhook}"),
    };
    let waits =
        DeliveryFilter { states: vec![DeliveryState::Scheduled, DeliveryState::Held], ..filter.clone() };
    let listed = |row: DeliveryRow| ListedDelivery {
        age: age(&row.created_at, now),
        state: state_badge(&row.state, 1),
        why: Some(row.sentence.clone()),
        goes_on: goes_on(&row, now),
        row,
    };
    let waiting = match endpoint.waiting + endpoint.held {
        0 => Vec::new(),
        _ => deliveries::list(ledger, settings, waits, None, WAITING, now).await?.items,
    };
    let ended = DeliveryState::ALL.into_iter().filter(|state| !state.is_waiting());
    let ended = DeliveryFilter { states: ended.collect(), ..filter };
    let latest = deliveries::list(ledger, settings, ended, None, LATEST, now).await?.items;
    let standing = standing(&endpoint, now);
    let mut waiting: Vec<ListedDelivery> = waiting.into_iter().map(listed).collect();
    let mut latest: Vec<ListedDelivery> = latest.into_iter().map(listed).collect();
    // What stands above the table, or in the line before, is not said again in each line.
    let is_said = |why: &String| endpoint.stopped.is_some() || standing.why.contains(why.as_str());
    waiting.iter_mut().for_each(|row| row.why = row.why.take().filter(|why| !is_said(why)));
    unrepeated(&mut waiting);
    latest.iter_mut().filter(|row| row.row.state == "delivered").for_each(|row| row.why = None);
    unrepeated(&mut latest);
    let webhook = match which {
        Endpoint::Webhook(id) => settings.webhook(id).map(|webhook| subscription(webhook, settings, now)),
        Endpoint::Postback { .. } => None,
    };
    Ok(pages::render(
        "endpoint.html",
        &OnePage {
            refresh_s: (!waiting.is_empty()).then_some(REFRESH_S),
            standing,
            commands: commands(&endpoint),
            waiting,
            latest,
            query,
            log: endpoints.log(which).await?,
            webhook,
            endpoint,
            figures_days: FIGURES_DAYS,
        },
    ))
}

/// When a delivery that waits goes on: when what keeps it is over, or when it is due.
fn goes_on(row: &DeliveryRow, now: Timestamp) -> Option<Moment> {
    let is_plain = row.waits.as_deref().is_none_or(|wait| ["due_at", "delayed", "next"].contains(&wait));
    let at = row.waits_until.as_deref().or(row.due.as_deref().filter(|_| is_plain))?;
    let left = Timestamp::parse(at)?.since(now);
    let words = if left <= 0 { "now".to_owned() } else { format!("in {}", human(left.max(1_000))) };
    Some(Moment { at: at.to_owned(), words })
}

/// Leaves out what a line says as the one before it did.
fn unrepeated(rows: &mut [ListedDelivery]) {
    let mut before: Option<String> = None;
    for row in rows {
        let said = std::mem::replace(&mut before, row.why.clone());
        if row.why.is_some() && row.why == said {
            row.why = None;
        }
    }
}

/// What somebody may want to do, by how it stands. These pages change nothing, so they are commands.
fn commands(endpoint: &Shown) -> Vec<Command> {
    let name = &endpoint.name;
    let command = |about, text: String| Command { about, command: format!("roundtrip {text}") };
    let mut all = vec![command("Send it a test, and see what comes back", format!("endpoint test {name}"))];
    all.push(match endpoint.state {
        "paused" => command(
            "Let it go on: what is held is sent, one at a time at first",
            format!("endpoint resume {name}"),
        ),
        "disabled" => command(
            "Let it go on, once its receiver works: what is held is sent, one at a time at first",
            format!("endpoint enable {name}"),
        ),
        _ => command(
            "Hold what is planned for it, for the time of a maintenance for instance",
            format!("endpoint pause {name} --reason 'their maintenance'"),
        ),
    });
    let of = match (&endpoint.webhook, &endpoint.rule, &endpoint.partner) {
        (Some(webhook), _, _) => format!("--webhook {}", webhook.label()),
        (None, Some(rule), Some(partner)) => {
            format!("--rule {} --partner {}", rule.label(), partner.label())
        }
        _ => return all,
    };
    if endpoint.recent.as_ref().is_some_and(|recent| recent.dead + recent.expired > 0) {
        all.push(command(
            "See what telling it again what it did not get would do",
            format!("replay {of} --state dead,expired --since 7d --dry-run"),
        ));
    }
    all.push(command("Follow what is sent to it, as it happens", format!("tail {of}")));
    all
}
