//! Endpoints: how they stand, and stopping them or letting them go on.

use std::collections::BTreeMap;

use roundtrip_domain::endpoint::{Endpoint, State};
use roundtrip_domain::id::{Id, kind};
use roundtrip_domain::problem::{Code, Problem};
use roundtrip_domain::settings::{KeyScope, Rule, Settings};
use roundtrip_domain::time::Timestamp;
use roundtrip_store::ledger::{EndpointListed, EndpointLive, EndpointRow, EndpointWish, Why};
use schemars::JsonSchema;
use serde::Serialize;
use serde_json::json;

use super::call::{Answer, Call, Failure};
use super::fields::Fields;
use super::route::{Needs, Route, schema};
use crate::story::Named;
use crate::{conversions, known, waits};

/// Longest reason, in characters.
const REASON_CHARS_MAX: usize = 500;

/// Why an endpoint is stopped or goes on.
#[derive(JsonSchema)]
#[schemars(deny_unknown_fields)]
#[expect(dead_code, reason = "only its schema is used; bodies are read by `Fields`")]
struct Change {
    /// Why, at most 500 characters; stands in the endpoint's log.
    reason: Option<String>,
}

/// What the engine sees of an endpoint with work, at most some seconds old.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "EndpointLive")]
struct Live {
    /// Most sends at a time, now: it grows on success and shrinks on trouble.
    limit: u32,
    /// Sends under way.
    in_flight: usize,
    /// Its breaker: `closed`, or `open` while it is left in peace after trouble.
    breaker: &'static str,
    /// When the next delivery may find out whether it is well, while the breaker is open.
    #[serde(skip_serializing_if = "Option::is_none")]
    probe_at: Option<String>,
    /// Before when nothing is sent, because the receiver asked for a rest.
    #[serde(skip_serializing_if = "Option::is_none")]
    not_before: Option<String>,
    /// What keeps its next due delivery from being sent: `due_at`, `breaker_open`, `retry_after`, `rate_limited`,
    /// `host_full`, `concurrency_full`, `quota`, `total_full`, `ledger_busy` or `next`.
    wait: &'static str,
    /// Until when, if that is known.
    #[serde(skip_serializing_if = "Option::is_none")]
    until: Option<String>,
    /// The same in words.
    sentence: String,
}

/// An endpoint: a rule and the partner that it tells, or a webhook.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "Endpoint")]
struct Shown {
    /// `wbh_…`, or `rul_…:prt_…`.
    id: String,
    /// By slugs: `webhook:SLUG` or `rule:SLUG@PARTNER`; stands for the id in paths too.
    name: String,
    /// The rule, if it tells a partner.
    #[serde(skip_serializing_if = "Option::is_none")]
    rule: Option<Named>,
    /// The partner that is told.
    #[serde(skip_serializing_if = "Option::is_none")]
    partner: Option<Named>,
    /// The webhook, if it tells the owner.
    #[serde(skip_serializing_if = "Option::is_none")]
    webhook: Option<Named>,
    /// `active`, `paused` or `disabled`.
    state: &'static str,
    /// Why it is in that state: what somebody said, or `failing_for_days`, `gone`.
    #[serde(skip_serializing_if = "String::is_empty")]
    reason: String,
    /// Who changed it last.
    #[serde(skip_serializing_if = "String::is_empty")]
    actor: String,
    /// When.
    #[serde(skip_serializing_if = "Option::is_none")]
    since: Option<String>,
    /// Deliveries that wait.
    waiting: u64,
    /// Deliveries that are held, because it is paused or disabled.
    held: u64,
    /// When the oldest of them is due.
    #[serde(skip_serializing_if = "Option::is_none")]
    oldest_due: Option<String>,
    /// Since when it has been failing, if it has for some minutes; after five days it is disabled.
    #[serde(skip_serializing_if = "Option::is_none")]
    failing_since: Option<String>,
    /// What the engine sees of it; absent without work.
    #[serde(skip_serializing_if = "Option::is_none")]
    live: Option<Live>,
    /// How it stands, in words.
    sentence: String,
}

/// The endpoints of a workspace.
#[derive(Serialize, JsonSchema)]
struct List {
    /// Those that have or had work, and those that the settings name.
    endpoints: Vec<Shown>,
}

/// A line of an endpoint's log.
#[derive(Serialize, JsonSchema)]
struct LogLine {
    /// When.
    at: String,
    /// `paused`, `disabled`, `active`, `endpoint_failing`, `endpoint_disabled` or `endpoint_recovered`.
    code: String,
    /// Why, or for how long.
    #[serde(skip_serializing_if = "String::is_empty")]
    reason: String,
    /// Who.
    actor: String,
}

/// An endpoint and what became of it.
#[derive(Serialize, JsonSchema)]
struct WithLog {
    /// How it stands.
    endpoint: Shown,
    /// What became of it, the newest first, at most 100 lines.
    log: Vec<LogLine>,
}

/// An endpoint after a change.
#[derive(Serialize, JsonSchema)]
struct Changed {
    /// How it stands.
    endpoint: Shown,
    /// Whether this call changed it; it was that already otherwise.
    changed: bool,
}

pub(super) fn routes() -> Vec<Route> {
    let change = |verb: &str, summary: &str| {
        Route::post(format!("/api/v1/endpoints/{{id}}/{verb}"), format!("endpoint_{verb}"), summary)
            .in_workspace()
            .needs(Needs::Scope(KeyScope::Write))
            .takes(schema::<Change>)
            .answers(200, "It is that now, or was already.", schema::<Changed>)
            .codes(&[
                Code::IdUnknown,
                Code::EndpointState,
                Code::FieldType,
                Code::FieldUnknown,
                Code::ValueTooLong,
            ])
    };
    vec![
        Route::get("/api/v1/endpoints", "endpoint_list", "Lists who is told, and how that goes")
            .in_workspace()
            .answers(200, "The endpoints.", schema::<List>)
            .does(list),
        Route::get("/api/v1/endpoints/{id}", "endpoint_read", "Shows an endpoint and what became of it")
            .in_workspace()
            .answers(200, "The endpoint.", schema::<WithLog>)
            .codes(&[Code::IdUnknown])
            .does(read),
        change("pause", "Stops telling it for a while: what is planned for it is held")
            .does(|call| set(call, State::Paused, None)),
        change("resume", "Tells a paused endpoint again, at first one at a time")
            .does(|call| set(call, State::Active, Some(State::Paused))),
        change("disable", "Stops telling it until it is enabled: what is planned for it is held")
            .does(|call| set(call, State::Disabled, None)),
        change("enable", "Tells a disabled endpoint again, at first one at a time")
            .does(|call| set(call, State::Active, Some(State::Disabled))),
    ]
}

fn unknown(message: String, fix: String) -> Problem {
    Problem::new(Code::IdUnknown, "id", message).fixed_by(fix)
}

/// The command that lists endpoints.
const LISTED: &str = "`roundtrip endpoint list`";

pub(super) fn no_webhook(slug: &str, settings: &Settings) -> Problem {
    let names = settings.webhooks.iter().map(|webhook| webhook.slug.as_str());
    unknown(format!("there is no webhook `{slug}`"), known::one_of("webhooks", LISTED, names))
}

pub(super) fn no_rule(slug: &str, settings: &Settings) -> Problem {
    let is_webhook = settings.webhooks.iter().any(|webhook| webhook.slug == slug);
    let names = settings.rules.values().flatten().map(|rule| rule.slug.as_str());
    let fix = match is_webhook {
        true => format!("there is a webhook of that name: webhook:{slug}"),
        false => known::one_of("rules", LISTED, names),
    };
    unknown(format!("there is no rule `{slug}`"), fix)
}

fn no_partner(slug: &str, settings: &Settings) -> Problem {
    let names = settings.partners.values().map(|partner| partner.slug.as_str());
    unknown(format!("there is no partner `{slug}`"), known::one_of("partners", LISTED, names))
}

/// The endpoint that a path names, by ids or by slugs.
pub(crate) fn parse(text: &str, settings: &Settings) -> Result<Endpoint, Problem> {
    if let Some(slug) = text.strip_prefix("webhook:") {
        let webhook = settings.webhooks.iter().find(|webhook| webhook.slug == slug);
        return webhook
            .map(|webhook| Endpoint::Webhook(webhook.id))
            .ok_or_else(|| no_webhook(slug, settings));
    }
    if let Some(rest) = text.strip_prefix("rule:") {
        let (slug, partner) = rest.split_once('@').map_or((rest, None), |(rule, of)| (rule, Some(of)));
        let rule = settings.rules.values().flatten().find(|rule| rule.slug == slug);
        let rule = rule.ok_or_else(|| no_rule(slug, settings))?;
        return told_by(rule, partner, settings).map(|partner| Endpoint::Postback { rule: rule.id, partner });
    }
    let by_ids = || match text.split_once(':') {
        Some((rule, partner)) => {
            Some(Endpoint::Postback { rule: rule.parse().ok()?, partner: partner.parse().ok()? })
        }
        None => text.parse().ok().map(Endpoint::Webhook),
    };
    by_ids().ok_or_else(|| {
        Problem::new(
            Code::ParameterInvalid,
            "id",
            "an endpoint is wbh_…, rul_…:prt_…, webhook:SLUG, rule:SLUG or rule:SLUG@PARTNER",
        )
        .fixed_by(meant(text, settings))
    })
}

/// What somebody meant who wrote a slug alone.
fn meant(text: &str, settings: &Settings) -> String {
    let is_rule = settings.rules.values().flatten().any(|rule| rule.slug == text);
    match (is_rule, settings.webhooks.iter().any(|webhook| webhook.slug == text)) {
        (true, _) => format!("write rule:{text}"),
        (_, true) => format!("write webhook:{text}"),
        _ => format!("{LISTED} lists them by name"),
    }
}

/// The partner that a rule tells: the one that is named, else the only one.
fn told_by(rule: &Rule, partner: Option<&str>, settings: &Settings) -> Result<Id<kind::Partner>, Problem> {
    if let Some(slug) = partner {
        let known = settings.partners.values().find(|partner| partner.slug == slug);
        return known.map(|partner| partner.id).ok_or_else(|| no_partner(slug, settings));
    }
    match told(rule, settings)[..] {
        [partner] => Ok(partner),
        _ => Err(Problem::new(
            Code::ParameterInvalid,
            "id",
            format!("the rule `{0}` can tell several partners; name one: rule:{0}@PARTNER", rule.slug),
        )
        .fixed_by(known::one_of(
            "partners",
            LISTED,
            settings.partners.values().map(|partner| partner.slug.as_str()),
        ))),
    }
}

/// The partners that a rule names; none when it tells whoever won.
fn told(rule: &Rule, settings: &Settings) -> Vec<Id<kind::Partner>> {
    let group = rule.group.and_then(|group| settings.groups.get(&group));
    let of_group = group.into_iter().flat_map(|group| group.partners.iter().copied());
    rule.partner.into_iter().chain(of_group).collect()
}

/// The endpoints of a workspace: those that the ledger knows, and those that the settings name.
async fn all(call: &Call, settings: &Settings) -> Result<BTreeMap<Endpoint, EndpointListed>, Failure> {
    let listed = call.state.ledger.endpoint_list(settings.workspace).await?;
    let mut all: BTreeMap<Endpoint, EndpointListed> =
        listed.into_iter().map(|one| (one.row.endpoint, one)).collect();
    let webhooks = settings.webhooks.iter().map(|webhook| Endpoint::Webhook(webhook.id));
    let rules = settings.rules.values().flatten();
    let postbacks = rules.flat_map(|rule| {
        told(rule, settings).into_iter().map(|partner| Endpoint::Postback { rule: rule.id, partner })
    });
    for endpoint in webhooks.chain(postbacks) {
        all.entry(endpoint).or_insert_with(|| EndpointListed {
            row: EndpointRow {
                workspace: settings.workspace,
                endpoint,
                state: State::Active,
                reason: String::new(),
                actor: String::new(),
                since: Timestamp::from_ms(0),
                health: Default::default(),
            },
            queued: 0,
            oldest_due: None,
        });
    }
    Ok(all)
}

fn live(live: &EndpointLive, now: Timestamp) -> Live {
    let why = Why { wait: live.wait, until: live.until };
    Live {
        limit: live.limit,
        in_flight: live.sending.len(),
        breaker: if live.probe_at.is_some() { "open" } else { "closed" },
        probe_at: live.probe_at.map(|at| at.to_string()),
        not_before: live.not_before.map(|at| at.to_string()),
        wait: live.wait.code(),
        until: live.until.map(|at| at.to_string()),
        sentence: format!("The next one waits because {}.", waits::because(why, None, now)),
    }
}

fn show(call: &Call, settings: &Settings, listed: &EndpointListed) -> Shown {
    let now = call.state.clock.now();
    let row = &listed.row;
    let (rule, partner, webhook) = match row.endpoint {
        Endpoint::Postback { rule, partner } => {
            let slug = settings.rule(rule).map(|rule| rule.slug.clone());
            let rule = Named { id: rule.to_string(), slug };
            (Some(rule), Some(conversions::partner(partner, settings)), None)
        }
        Endpoint::Webhook(id) => (None, None, Some(conversions::webhook(id, settings))),
    };
    let (waiting, held) = if row.state.holds() { (0, listed.queued) } else { (listed.queued, 0) };
    let seen = call.state.ledger.live();
    // The picture is of some seconds ago: what it says of the next delivery is true only while there is one.
    let live = seen.get(&(row.workspace, row.endpoint)).filter(|_| !row.state.holds() && listed.queued > 0);
    let mut sentence = waits::state(row.state).to_owned();
    if row.state.holds() {
        sentence = format!("{sentence} It is {}. Held: {held}.", waits::stopped(row));
    } else if waiting > 0 {
        sentence = format!("{sentence} Waiting: {waiting}.");
    }
    Shown {
        id: waits::id(row.endpoint),
        name: waits::name(row.endpoint, settings),
        rule,
        partner,
        webhook,
        state: row.state.name(),
        reason: row.reason.clone(),
        actor: row.actor.clone(),
        since: Some(row.since).filter(|_| !row.actor.is_empty()).map(|at| at.to_string()),
        waiting,
        held,
        oldest_due: listed.oldest_due.map(|at| at.to_string()),
        failing_since: row.health.failing_since.map(|at| at.to_string()),
        live: live.map(|seen| self::live(seen, now)),
        sentence,
    }
}

async fn list(call: Call) -> Result<Answer, Failure> {
    let settings = call.workspace()?;
    let all = all(&call, &settings).await?;
    let mut endpoints: Vec<Shown> = all.values().map(|one| show(&call, &settings, one)).collect();
    endpoints.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(Answer::ok(json!(List { endpoints })))
}

async fn find(call: &Call, settings: &Settings, endpoint: Endpoint) -> Result<EndpointListed, Failure> {
    let found = all(call, settings).await?.remove(&endpoint);
    let could_be = match endpoint {
        Endpoint::Postback { rule, partner } => {
            settings.rule(rule).is_some() && settings.partners.contains_key(&partner)
        }
        Endpoint::Webhook(_) => false,
    };
    match found {
        Some(found) => Ok(found),
        // A rule that tells whoever won may tell this partner tomorrow.
        None if could_be => Ok(EndpointListed {
            row: EndpointRow {
                workspace: settings.workspace,
                endpoint,
                state: State::Active,
                reason: String::new(),
                actor: String::new(),
                since: Timestamp::from_ms(0),
                health: Default::default(),
            },
            queued: 0,
            oldest_due: None,
        }),
        None => {
            let message = "no such endpoint is known in this workspace".to_owned();
            Err(unknown(message, format!("{LISTED} lists those that are")).into())
        }
    }
}

/// How an endpoint stands.
pub(super) async fn state(call: &Call, settings: &Settings, endpoint: Endpoint) -> Result<State, Failure> {
    Ok(all(call, settings).await?.get(&endpoint).map_or(State::Active, |listed| listed.row.state))
}

async fn read(call: Call) -> Result<Answer, Failure> {
    let settings = call.workspace()?;
    let endpoint = parse(call.path("id"), &settings)?;
    let listed = find(&call, &settings, endpoint).await?;
    let log = call.state.ledger.endpoint_log(settings.workspace, endpoint).await?;
    let log = log
        .into_iter()
        .map(|line| LogLine {
            at: line.at.to_string(),
            code: line.code,
            reason: line.reason,
            actor: line.actor,
        })
        .collect();
    Ok(Answer::ok(json!(WithLog { endpoint: show(&call, &settings, &listed), log })))
}

fn reason(call: &mut Call) -> Result<String, Problem> {
    let mut fields = Fields::of(call.body.take())?;
    let reason = fields.text("reason")?.unwrap_or_default().trim().to_owned();
    fields.done()?;
    if reason.chars().count() > REASON_CHARS_MAX {
        let message = format!("it is at most {REASON_CHARS_MAX} characters");
        return Err(Problem::new(Code::ValueTooLong, "reason", message));
    }
    if reason.chars().any(char::is_control) {
        return Err(Problem::new(Code::FieldType, "reason", "it is one line, without control characters"));
    }
    Ok(reason)
}

/// Changes a state. `from`: the state that this call ends; another one is not ended by it.
async fn set(mut call: Call, to: State, from: Option<State>) -> Result<Answer, Failure> {
    let reason = reason(&mut call)?;
    let settings = call.workspace()?;
    let endpoint = parse(call.path("id"), &settings)?;
    let now = find(&call, &settings, endpoint).await?.row.state;
    let is_other = now.holds()
        && (from.is_some_and(|from| from != now) || (to, now) == (State::Paused, State::Disabled));
    if is_other {
        let end = if now == State::Paused { "resume" } else { "enable" };
        let message = format!("the endpoint is {}; `{end}` lets it go on", now.name());
        return Err(Problem::new(Code::EndpointState, "id", message).into());
    }
    let actor = call.caller.actor();
    let wish = EndpointWish { workspace: settings.workspace, endpoint, to, reason, actor: actor.clone() };
    let changed = call.state.ledger.endpoint_set(wish, call.state.clock.now()).await?.is_some();
    if changed {
        tracing::info!(
            endpoint.id = waits::id(endpoint),
            state = to.name(),
            actor,
            "an endpoint's state changed"
        );
    }
    let listed = find(&call, &settings, endpoint).await?;
    Ok(Answer::ok(json!(Changed { endpoint: show(&call, &settings, &listed), changed })))
}
