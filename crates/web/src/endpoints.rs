//! Endpoints as the API answers them and the dashboard shows them: who is told, how that goes, and why things wait.
//!
//! The cast: [`Endpoints`] reads them from the ledger, from the settings (an endpoint that was never told anything is
//! one as well) and from what the engine last showed of itself; [`parse`] finds the one that a person names. Stopping one
//! and letting it go on is the API's.
//!
//! Not relied on: that the figures of the last days are the books. They are counted from a bounded number of rows, for
//! people who look.

use std::collections::BTreeMap;

use roundtrip_domain::endpoint::{Endpoint, NotAllowed, State};
use roundtrip_domain::id::{Id, kind};
use roundtrip_domain::problem::{Code, Problem};
use roundtrip_domain::settings::{Partner, Rule, Settings};
use roundtrip_domain::time::{Timestamp, human};
use roundtrip_store::ledger::{
    EndpointFailure, EndpointFigures, EndpointListed, EndpointLive, EndpointRow, Ledger, Why,
};
use schemars::JsonSchema;
use serde::Serialize;

use crate::deliveries::rule;
use crate::problem::of_store;
use crate::story::{Named, words::outcome};
use crate::{books, conversions, known, sheet, waits};

/// How far back figures go, in days.
pub(crate) const FIGURES_DAYS: i64 = 7;
/// Most deliveries that figures are counted from: reading so many takes some tens of milliseconds.
const FIGURES_ROWS_MAX: u32 = 20_000;
/// What to do about a name that is none.
pub(crate) const LIST_THEM: &str = "`roundtrip endpoint list` (GET /api/v1/endpoints) names them: webhook:SLUG, \
    rule:SLUG@PARTNER; of a rule for whoever wins, the partners that it told";

/// What the engine sees of an endpoint with work, at most some seconds old.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
#[schemars(rename = "EndpointLive")]
pub(crate) struct Live {
    /// Most sends at a time, now: it grows on success and shrinks on trouble.
    pub(crate) limit: u32,
    /// Sends under way.
    pub(crate) in_flight: usize,
    /// Its breaker: `closed`, or `open` while it is left in peace after trouble.
    pub(crate) breaker: &'static str,
    /// When the next delivery may find out whether it is well, while the breaker is open.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) probe_at: Option<String>,
    /// Before when nothing is sent, because the receiver asked for a rest.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) not_before: Option<String>,
    /// What the server's own settings do not allow of its requests, if that is why the breaker is open.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) not_allowed: Option<Refusal>,
    /// What keeps its next due delivery from being sent: `due_at`, `breaker_open`, `plain_http_refused`, `port_refused`,
    /// `refused_address`, `retry_after`, `rate_limited`, `host_full`, `concurrency_full`, `quota`, `total_full`,
    /// `ledger_busy` or `next`.
    pub(crate) wait: &'static str,
    /// Until when, if that is known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) until: Option<String>,
    /// The same in words.
    pub(crate) sentence: String,
}

/// What the server's own settings do not allow of an endpoint's requests: its deliveries wait, and burn no attempts.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
#[schemars(rename = "EndpointNotAllowed")]
pub(crate) struct Refusal {
    /// `plain_http_refused`, `port_refused` or `refused_address`.
    pub(crate) code: &'static str,
    /// The switch of `roundtrip serve` that allows it.
    pub(crate) switch: &'static str,
    /// The same in words.
    pub(crate) sentence: String,
}

impl Refusal {
    fn of(what: NotAllowed) -> Self {
        let sentence = format!("It is told nothing: {}.", waits::not_allowed(what));
        Self { code: what.code(), switch: what.switch(), sentence }
    }
}

/// How the deliveries of an endpoint that were planned in the last seven days ended: of the newest 20,000 of the
/// workspace, if there were more.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, JsonSchema)]
#[schemars(rename = "EndpointRecent")]
pub(crate) struct Recent {
    /// Since when they are counted.
    pub(crate) since: String,
    /// Delivered of what was delivered, given up or expired, in percent with one decimal, rounded down; absent while
    /// nothing ended.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) success_rate: Option<String>,
    /// How many arrived.
    pub(crate) delivered: u64,
    /// How many were given up.
    pub(crate) dead: u64,
    /// How many came too late.
    pub(crate) expired: u64,
    /// How many were not to be told any more.
    pub(crate) cancelled: u64,
}

/// The last send to an endpoint that failed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
#[schemars(rename = "EndpointFailure")]
pub(crate) struct LastFailure {
    /// When it began.
    pub(crate) at: String,
    /// Of which delivery, `dlv_…`.
    pub(crate) delivery: String,
    /// What it came to: `http_503`, `timeout`, ….
    pub(crate) outcome: String,
    /// The HTTP status, if there was an answer.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) status: Option<u16>,
    /// In words, with how long ago it was.
    pub(crate) sentence: String,
}

/// An endpoint: a rule and the partner that it tells, or a webhook.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
#[schemars(rename = "Endpoint")]
pub(crate) struct Shown {
    /// `wbh_…`, or `rul_…:prt_…`.
    pub(crate) id: String,
    /// By slugs: `webhook:SLUG` or `rule:SLUG@PARTNER`; stands for the id in paths too.
    pub(crate) name: String,
    /// The rule, if it tells a partner.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) rule: Option<Named>,
    /// The partner that is told.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) partner: Option<Named>,
    /// The webhook, if it tells the owner.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) webhook: Option<Named>,
    /// `active`, `paused` or `disabled`.
    pub(crate) state: &'static str,
    /// Why it is in that state: what somebody said, or `failing_for_days`, `gone`.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub(crate) reason: String,
    /// Who changed it last.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub(crate) actor: String,
    /// When.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) since: Option<String>,
    /// Deliveries that wait.
    pub(crate) waiting: u64,
    /// Deliveries that are held, because it is paused or disabled.
    pub(crate) held: u64,
    /// When the oldest of them is due.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) oldest_due: Option<String>,
    /// Since when it has been failing, if it has for some minutes; after five days it is disabled.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) failing_since: Option<String>,
    /// Since when nothing that was sent to it arrived, if its last send failed; as far back as is looked.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) trouble_since: Option<String>,
    /// Its last send that failed, if one of the newest did; absent in the answer to a change.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) last_failure: Option<LastFailure>,
    /// How its deliveries of the last days ended; absent in the answer to a change.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) recent: Option<Recent>,
    /// What the engine sees of it; absent without work.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) live: Option<Live>,
    /// Who stopped it and why, in short; absent while it is told.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) stopped: Option<String>,
    /// How it stands, in words.
    pub(crate) sentence: String,
}

/// A line of an endpoint's log.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub(crate) struct LogLine {
    /// When.
    pub(crate) at: String,
    /// `paused`, `disabled`, `active`, `endpoint_failing`, `endpoint_disabled` or `endpoint_recovered`.
    pub(crate) code: String,
    /// Why, or for how long.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub(crate) reason: String,
    /// Who.
    pub(crate) actor: String,
    /// In words.
    pub(crate) sentence: String,
}

fn unknown(message: String, fix: impl Into<Box<str>>) -> Problem {
    Problem::new(Code::IdUnknown, "id", message).fixed_by(fix)
}

/// A slug of nothing, as whatever else is asked of one answers it.
fn no_such(message: String, fix: impl Into<Box<str>>) -> Problem {
    Problem::new(Code::NotFound, "id", message).fixed_by(fix)
}

/// No webhook has that slug or id.
pub(crate) fn no_webhook(slug: &str, settings: &Settings) -> Problem {
    let names = settings.webhooks.iter().map(|webhook| webhook.slug.as_str());
    no_such(format!("there is no webhook `{slug}`"), known::one_of("webhooks", names))
}

fn no_rule(slug: &str, settings: &Settings) -> Problem {
    let is_webhook = settings.webhooks.iter().any(|webhook| webhook.slug == slug);
    let names = settings.rules.values().flatten().map(|rule| rule.slug.as_str());
    let fix = match is_webhook {
        true => format!("there is a webhook of that name: webhook:{slug}"),
        false => known::one_of("rules", names),
    };
    no_such(format!("there is no rule `{slug}`"), fix)
}

/// What somebody meant who wrote a slug alone.
fn meant(text: &str, settings: &Settings) -> String {
    let is_rule = settings.rules.values().flatten().any(|rule| rule.slug == text);
    match (is_rule, settings.webhooks.iter().any(|webhook| webhook.slug == text)) {
        (true, _) => format!("write rule:{text}"),
        (_, true) => format!("write webhook:{text}"),
        _ => LIST_THEM.to_owned(),
    }
}

/// The endpoint of those ids: `wbh_…`, or `rul_…:prt_…`; `None` if the text is not of that form.
pub(crate) fn by_ids(text: &str) -> Option<Endpoint> {
    match text.split_once(':') {
        Some((rule, partner)) => {
            Some(Endpoint::Postback { rule: rule.parse().ok()?, partner: partner.parse().ok()? })
        }
        None => text.parse().ok().map(Endpoint::Webhook),
    }
}

/// The endpoint that a path names, by ids or by slugs.
///
/// # Errors
/// With `not_found` for a slug of nothing; `parameter_invalid` where a rule can tell several partners and none is named,
/// and for what has no form of an endpoint's name.
pub(crate) fn parse(text: &str, settings: &Settings) -> Result<Endpoint, Problem> {
    if let Some(slug) = text.strip_prefix("webhook:") {
        let webhook = settings.webhooks.iter().find(|webhook| webhook.slug == slug);
        // An id stands for a slug everywhere: what was deleted since has no other name.
        let id = webhook.map(|webhook| webhook.id).or_else(|| slug.parse().ok());
        return id.map(Endpoint::Webhook).ok_or_else(|| no_webhook(slug, settings));
    }
    if let Some(rest) = text.strip_prefix("rule:") {
        let (slug, partner) = rest.split_once('@').map_or((rest, None), |(rule, of)| (rule, Some(of)));
        let deleted = || Some((slug.parse().ok()?, partner_of(partner?, settings)?));
        let rule = match (rule_of(slug, settings), deleted()) {
            (Err(_), Some((rule, partner))) => return Ok(Endpoint::Postback { rule, partner }),
            (rule, _) => rule?,
        };
        return told_by(rule, partner, settings).map(|partner| Endpoint::Postback { rule: rule.id, partner });
    }
    by_ids(text).ok_or_else(|| {
        Problem::new(
            Code::ParameterInvalid,
            "id",
            format!("`{text}` is no endpoint's name: those are webhook:SLUG, rule:SLUG, rule:SLUG@PARTNER, or the ids wbh_… and rul_…:prt_…"),
        )
        .fixed_by(meant(text, settings))
    })
}

/// The rule of that slug or id.
///
/// # Errors
/// With `not_found`; a webhook of that slug is named in the fix.
pub(crate) fn rule_of<'a>(slug: &str, settings: &'a Settings) -> Result<&'a Rule, Problem> {
    let id: Option<Id<kind::Rule>> = slug.parse().ok();
    let found = settings.rules.values().flatten().find(|rule| rule.slug == slug || Some(rule.id) == id);
    found.map(|rule| &**rule).ok_or_else(|| no_rule(slug, settings))
}

/// The partner that a rule tells: the one that is named, else the only one. Whether it can tell the one that is named is
/// [`Endpoints::find`]'s to say: it may have told that one before.
fn told_by(rule: &Rule, partner: Option<&str>, settings: &Settings) -> Result<Id<kind::Partner>, Problem> {
    if let Some(text) = partner {
        return partner_of(text, settings).ok_or_else(|| {
            no_such(format!("there is no partner `{text}`"), one_that_is_told(rule, settings))
        });
    }
    let slug = &rule.slug;
    let says = match tellable(rule, settings).collect::<Vec<_>>()[..] {
        [partner] => return Ok(partner.id),
        [] => format!("the rule `{slug}` can tell nobody"),
        _ => format!("the rule `{slug}` can tell several partners; name one: rule:{slug}@PARTNER"),
    };
    Err(Problem::new(Code::ParameterInvalid, "id", says).fixed_by(one_that_is_told(rule, settings)))
}

/// The partner of that slug, or that id: what was deleted since has no other name.
fn partner_of(text: &str, settings: &Settings) -> Option<Id<kind::Partner>> {
    let found = settings.partners.values().find(|partner| partner.slug == text);
    found.map(|partner| partner.id).or_else(|| text.parse().ok())
}

/// The partners that a rule can tell.
fn tellable<'a>(rule: &Rule, settings: &'a Settings) -> impl Iterator<Item = &'a Partner> {
    let partners = settings.partners.values().map(AsRef::as_ref);
    partners.filter(move |partner| sheet::is_told(settings, rule, partner))
}

/// What to do about a partner that a rule cannot tell.
fn one_that_is_told(rule: &Rule, settings: &Settings) -> String {
    let mut names = tellable(rule, settings).map(|partner| partner.slug.as_str()).peekable();
    if names.peek().is_none() && !settings.partners.is_empty() {
        return format!("the rule `{}` tells a group without partners; add one to the group", rule.slug);
    }
    // The request that lists all partners would list those that this one does not tell, too.
    match (rule.partner, rule.group) {
        (None, None) => known::one_of("partners", names),
        _ => format!("it tells {}", names.collect::<Vec<_>>().join(", ")),
    }
}

/// The partners that a rule names; none when it tells whoever won.
fn told(rule: &Rule, settings: &Settings) -> Vec<Id<kind::Partner>> {
    match (rule.partner, rule.group) {
        (None, None) => Vec::new(),
        _ => tellable(rule, settings).map(|partner| partner.id).collect(),
    }
}

/// What the newest rows say of endpoints.
struct Looked {
    figures: EndpointFigures,
    failures: BTreeMap<Endpoint, EndpointFailure>,
}

/// The endpoints of a workspace.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Endpoints<'a> {
    /// Queues, states and ends.
    pub(crate) ledger: &'a Ledger,
    /// The workspace's settings of now.
    pub(crate) settings: &'a Settings,
    /// Now.
    pub(crate) now: Timestamp,
}

impl Endpoints<'_> {
    /// How one stands of which nothing is kept.
    fn blank(&self, endpoint: Endpoint) -> EndpointListed {
        EndpointListed {
            row: EndpointRow {
                workspace: self.settings.workspace,
                endpoint,
                state: State::Active,
                reason: String::new(),
                actor: String::new(),
                since: Timestamp::from_ms(0),
                health: Default::default(),
            },
            queued: 0,
            oldest_due: None,
        }
    }

    /// Those that the ledger knows, and those that the settings name.
    async fn known(&self) -> Result<BTreeMap<Endpoint, EndpointListed>, Problem> {
        let settings = self.settings;
        let listed = self.ledger.endpoint_list(settings.workspace).await.map_err(|e| of_store(&e))?;
        let mut all: BTreeMap<Endpoint, EndpointListed> =
            listed.into_iter().map(|one| (one.row.endpoint, one)).collect();
        let webhooks = settings.webhooks.iter().map(|webhook| Endpoint::Webhook(webhook.id));
        let rules = settings.rules.values().flatten();
        let postbacks = rules.flat_map(|rule| {
            told(rule, settings).into_iter().map(|partner| Endpoint::Postback { rule: rule.id, partner })
        });
        for endpoint in webhooks.chain(postbacks) {
            all.entry(endpoint).or_insert_with(|| self.blank(endpoint));
        }
        Ok(all)
    }

    /// What was counted of all, or of one.
    async fn looked(&self, one: Option<Endpoint>) -> Result<Looked, Problem> {
        let (ledger, ws) = (self.ledger, self.settings.workspace);
        let since = self.now.plus_ms(-FIGURES_DAYS * 86_400_000);
        let figures = match one {
            None => ledger.endpoint_figures(ws, since, FIGURES_ROWS_MAX).await,
            Some(one) => ledger.endpoint_figures_of(ws, one, since, FIGURES_ROWS_MAX).await,
        };
        let figures = figures.map_err(|error| of_store(&error))?;
        let failures = ledger.endpoint_failures(ws, one).await.map_err(|error| of_store(&error))?;
        Ok(Looked { figures, failures })
    }

    /// All of them, by name.
    ///
    /// # Errors
    /// With `store_unavailable` when the ledger cannot answer.
    pub(crate) async fn list(&self) -> Result<Vec<Shown>, Problem> {
        let (known, looked) = (self.known().await?, self.looked(None).await?);
        let mut all: Vec<Shown> = known.values().map(|one| self.show(one, Some(&looked))).collect();
        all.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(all)
    }

    /// How one stands in the ledger.
    ///
    /// # Errors
    /// With `id_unknown` when nobody of the workspace is or could be told by it.
    pub(crate) async fn find(&self, endpoint: Endpoint) -> Result<EndpointListed, Problem> {
        let found = self.ledger.endpoint_one(self.settings.workspace, endpoint).await;
        match found.map_err(|error| of_store(&error))? {
            Some(found) => Ok(found),
            // A rule that tells whoever won may tell this partner tomorrow.
            None => self.could_be(endpoint).map(|()| self.blank(endpoint)),
        }
    }

    /// Whether the settings of now can have it told.
    ///
    /// # Errors
    /// With `id_unknown` if not.
    pub(crate) fn could_be(&self, endpoint: Endpoint) -> Result<(), Problem> {
        let settings = self.settings;
        let is_known = match endpoint {
            Endpoint::Postback { rule, partner } => {
                match (settings.rule(rule), settings.partners.get(&partner)) {
                    (Some(rule), Some(partner)) if !sheet::is_told(settings, rule, partner) => {
                        let message = format!("the rule `{}` tells no partner `{}`", rule.slug, partner.slug);
                        return Err(unknown(message, one_that_is_told(rule, settings)));
                    }
                    (rule, partner) => rule.is_some() && partner.is_some(),
                }
            }
            Endpoint::Webhook(id) => settings.webhook(id).is_some(),
        };
        match is_known {
            true => Ok(()),
            false => Err(unknown("no such endpoint is known in this workspace".to_owned(), LIST_THEM)),
        }
    }

    /// One of them after a change, without the figures of its last days: they are many rows to read.
    ///
    /// # Errors
    /// As [`Self::find`].
    pub(crate) async fn read_state(&self, endpoint: Endpoint) -> Result<Shown, Problem> {
        Ok(self.show(&self.find(endpoint).await?, None))
    }

    /// One of them.
    ///
    /// # Errors
    /// As [`Self::find`].
    pub(crate) async fn read(&self, endpoint: Endpoint) -> Result<Shown, Problem> {
        let found = self.find(endpoint).await?;
        Ok(self.show(&found, Some(&self.looked(Some(endpoint)).await?)))
    }

    /// What became of one, the newest first.
    ///
    /// # Errors
    /// With `store_unavailable` when the ledger cannot answer.
    pub(crate) async fn log(&self, endpoint: Endpoint) -> Result<Vec<LogLine>, Problem> {
        let log = self.ledger.endpoint_log(self.settings.workspace, endpoint).await;
        let line = |line: roundtrip_store::ledger::EndpointLogRow| LogLine {
            at: line.at.to_string(),
            sentence: waits::became(&line),
            code: line.code,
            reason: line.reason,
            actor: line.actor,
        };
        Ok(log.map_err(|error| of_store(&error))?.into_iter().map(line).collect())
    }

    fn last_failure(&self, failure: &EndpointFailure) -> LastFailure {
        let ago = human(self.now.since(failure.at).max(0));
        LastFailure {
            at: failure.at.to_string(),
            delivery: failure.delivery.to_string(),
            outcome: failure.outcome.clone(),
            status: failure.status,
            sentence: format!("{} ({}), {ago} ago", outcome(&failure.outcome), failure.outcome),
        }
    }

    fn recent(&self, endpoint: Endpoint, figures: &EndpointFigures) -> Recent {
        let ended = figures.ended.get(&endpoint);
        let n = |state: &str| ended.and_then(|ended| ended.get(state)).copied().unwrap_or_default();
        let (delivered, dead, expired) = (n("delivered"), n("dead"), n("expired"));
        Recent {
            since: figures.cut_at.unwrap_or(self.now.plus_ms(-FIGURES_DAYS * 86_400_000)).to_string(),
            success_rate: books::rate(ended.into_iter().flatten().map(|(state, n)| (state.as_str(), *n))),
            delivered,
            dead,
            expired,
            cancelled: n("cancelled"),
        }
    }

    fn live(&self, live: &EndpointLive) -> Live {
        let why = Why { wait: live.wait, until: live.until };
        Live {
            limit: live.limit,
            in_flight: live.sending.len(),
            breaker: if live.probe_at.is_some() { "open" } else { "closed" },
            probe_at: live.probe_at.map(|at| at.to_string()),
            not_before: live.not_before.map(|at| at.to_string()),
            not_allowed: live.not_allowed.map(Refusal::of),
            wait: live.wait.code(),
            until: live.until.map(|at| at.to_string()),
            sentence: format!("The next one waits because {}.", waits::because(why, None, self.now)),
        }
    }

    fn show(&self, listed: &EndpointListed, looked: Option<&Looked>) -> Shown {
        let (row, settings) = (&listed.row, self.settings);
        let (rule, partner, webhook) = match row.endpoint {
            Endpoint::Postback { rule: id, partner } => {
                (Some(rule(id, settings)), Some(conversions::partner(partner, settings)), None)
            }
            Endpoint::Webhook(id) => (None, None, Some(conversions::webhook(id, settings))),
        };
        let (waiting, held) = if row.state.holds() { (0, listed.queued) } else { (listed.queued, 0) };
        let seen = self.ledger.live();
        let live = seen.get(&(row.workspace, row.endpoint)).filter(|_| !row.state.holds());
        let failure = looked.and_then(|looked| looked.failures.get(&row.endpoint));
        let failing = failure.filter(|failure| !failure.is_over).map(|failure| failure.from);
        let trouble = failing.into_iter().chain(row.health.failing_since).min();
        let last_failure = failure.map(|failure| self.last_failure(failure));
        let mut sentence = waits::stands(row, listed.queued, live.and_then(|seen| seen.not_allowed));
        // How it stands says already what is not allowed; nothing was sent that could have failed.
        let was_sent = failure.is_some_and(|failure| NotAllowed::parse(&failure.outcome).is_none());
        if let (Some(from), Some(last), true) = (trouble, &last_failure, was_sent) {
            let since = human(self.now.since(from).max(1_000));
            sentence
                .push_str(&format!(" Nothing has arrived for {since}; the last send: {}.", last.sentence));
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
            trouble_since: trouble.map(|at| at.to_string()),
            last_failure,
            recent: looked.map(|looked| self.recent(row.endpoint, &looked.figures)),
            live: live.map(|seen| self.live(seen)),
            stopped: row.state.holds().then(|| waits::stopped_by(row)),
            sentence,
        }
    }
}
