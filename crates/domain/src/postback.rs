//! From a decision to what partners are told, and why others are not.
//!
//! [`plan`] is pure: every rule of the app and kind is considered, and each one ends as planned or as
//! suppressed with a reason. Nothing is planned twice for the same partner by the same rule.

use self::callback::Asked;
use crate::attribution::{Credit, Decision, Winner};
use crate::condition::{self, Seen, Unmet, told_name};
use crate::event::{ConversionKind, Environment, Event};
use crate::facts::Facts;
use crate::id::{Id, kind};
use crate::link_dialect::CallbackFault;
use crate::money::Currency;
use crate::params::PartnerClickId;
use crate::settings::{AcceptsFrom, App, Rule, Scope, Settings};
use crate::sharing::Share;
use crate::status::{Status, StatusChange};
use crate::template::{Audience, Value, Values};
use crate::time::{Span, Timestamp};

mod callback;
#[cfg(test)]
mod tests;

/// The stored value that holds the URL of a click's own callback. No macro can have this name: what a template does
/// not know is asked for as `param.NAME`.
const CALLBACK: &str = "link.callback";

/// Why a rule that was considered did not fire. Numbers are stored: append only.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum Suppressed {
    /// Nobody won it, and the rule tells only of what its partner won.
    Unattributed = 1,
    /// Another partner won it.
    OtherPartner = 2,
    /// The event's installation has not been seen yet.
    InstallUnknown = 3,
    /// The rule renames events and does not name this one.
    Unmapped = 4,
    /// The rule's list of events does not name this one.
    OtherEvent = 5,
    /// Longer after the install (or click) than the rule tells.
    OutsideWindow = 6,
    /// The first one was told already.
    NotFirst = 7,
    /// The template echoes the partner's click id and the click had none.
    NoPartnerClickId = 8,
    /// The conversion waits for approval.
    Pending = 9,
    /// A sandbox event, and the rule does not ask for those.
    Sandbox = 10,
    /// The rule names no partner and nobody won: there is nobody to tell.
    NobodyToTell = 11,
    /// A condition of the rule is not met; the detail says which.
    Condition = 12,
    /// The conversion was rejected.
    Rejected = 13,
    /// The rule tells the click's own callback, and the click has none for that.
    NoCallback = 14,
    /// The click's own callback may not be told; the detail says why.
    CallbackRefused = 15,
    /// The rule tells that a conversion was rejected, and this partner was never told of the conversion.
    NeverTold = 16,
    /// The conversion's status was changed once more before this change was told.
    Superseded = 17,
}

impl Suppressed {
    /// All reasons.
    pub const ALL: [Self; 17] = [
        Self::Unattributed,
        Self::OtherPartner,
        Self::InstallUnknown,
        Self::Unmapped,
        Self::OtherEvent,
        Self::OutsideWindow,
        Self::NotFirst,
        Self::NoPartnerClickId,
        Self::Pending,
        Self::Sandbox,
        Self::NobodyToTell,
        Self::Condition,
        Self::Rejected,
        Self::NoCallback,
        Self::CallbackRefused,
        Self::NeverTold,
        Self::Superseded,
    ];

    /// The reason with that number.
    pub fn from_number(number: u8) -> Option<Self> {
        Self::ALL.into_iter().find(|r| *r as u8 == number)
    }

    /// The stable reason.
    pub const fn code(self) -> &'static str {
        match self {
            Self::Unattributed => "unattributed",
            Self::OtherPartner => "other_partner",
            Self::InstallUnknown => "install_unknown",
            Self::Unmapped => "unmapped",
            Self::OtherEvent => "other_event",
            Self::OutsideWindow => "outside_window",
            Self::NotFirst => "not_first",
            Self::NoPartnerClickId => "no_partner_click_id",
            Self::Pending => "pending",
            Self::Sandbox => "sandbox",
            Self::NobodyToTell => "nobody_to_tell",
            Self::Condition => "condition",
            Self::Rejected => "rejected",
            Self::NoCallback => "no_callback",
            Self::CallbackRefused => "callback_refused",
            Self::NeverTold => "never_told",
            Self::Superseded => "superseded",
        }
    }

    /// The reason as the end of the sentence "it was not sent because …".
    pub const fn sentence(self) -> &'static str {
        match self {
            Self::Unattributed => {
                "no partner won the conversion, and the rule tells only of what its partner won"
            }
            Self::OtherPartner => "another partner won the conversion",
            Self::InstallUnknown => {
                "the event's installation has not been seen yet; it is planned when that arrives"
            }
            Self::Unmapped => "the rule renames events and does not name this one",
            Self::OtherEvent => "the rule lists the events that it tells of, and this is none of them",
            Self::OutsideWindow => "it happened longer after the install or click than the rule tells",
            Self::NotFirst => "the rule tells only the first, and the first was told already",
            Self::NoPartnerClickId => {
                "the template echoes the partner's click id, and the click came without one"
            }
            Self::Pending => "the conversion is pending, and the rule does not tell of those",
            Self::Sandbox => "it is a sandbox event, and the rule does not ask for those",
            Self::NobodyToTell => "the rule tells whoever won, and nobody did",
            Self::Condition => "a condition of the rule is not met",
            Self::Rejected => "the conversion was rejected",
            Self::NoCallback => "the click's link carries no callback for it",
            Self::CallbackRefused => "the callback that the click's link carries may not be told",
            Self::NeverTold => "the conversion was rejected, and nothing of it was ever sent to this partner",
            Self::Superseded => "the conversion's status was changed again, and only the last change is told",
        }
    }
}

/// A macro's value as it is stored with a delivery.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MacroValue {
    /// The key that values are asked for.
    pub name: String,
    /// The decoded bytes.
    pub decoded: Vec<u8>,
    /// The received bytes, when it came on the wire.
    pub received: Option<Vec<u8>>,
}

/// What else there is to say about a rule that was considered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Detail {
    /// Which condition was not met, and what was seen.
    Condition(Unmet),
    /// How long after the install or click it happened, and how long the rule told at that time.
    Window {
        /// The rule's window when it was judged.
        window: Span,
        /// From the install or click to the event, in milliseconds.
        age_ms: i64,
    },
    /// What was told of the revenue.
    Shared {
        /// How the rule shares, in words.
        how: String,
        /// The amount that was told, in millionths.
        micros: i64,
        /// The amount as it was booked, in millionths.
        of_micros: i64,
        /// The currency of both.
        currency: Option<Currency>,
    },
    /// Which callback of the click's link it is about.
    Callback {
        /// The parameter that carries it, or was looked for.
        parameter: String,
        /// Why it is not told; `None`: there is none.
        fault: Option<CallbackFault>,
    },
}

/// What became of one rule, for one partner that it tells.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Considered {
    /// The rule.
    pub rule: Id<kind::Rule>,
    /// Its version.
    pub rule_version: u64,
    /// Who is told, or would have been.
    pub partner: Option<Id<kind::Partner>>,
    /// Planned with its macro values, or suppressed.
    pub outcome: Result<Vec<MacroValue>, Suppressed>,
    /// More about that.
    pub detail: Option<Detail>,
    /// How long after the decision it is sent.
    pub delay: Span,
    /// When its receiver stops accepting it; only of what is planned, and only where there is such a time.
    pub deadline: Option<Timestamp>,
}

/// What else planning needs to know.
#[derive(Clone, Copy)]
pub struct Context<'a> {
    /// The installation's event, when known and not the event itself.
    pub install: Option<&'a Event>,
    /// The births of the event's own installation, when it is one of them: what its partner may be told of the
    /// device can stand in any.
    pub births: &'a [Event],
    /// When the installation was born.
    pub install_at: Option<Timestamp>,
    /// Whether the event is the birth of its installation.
    pub is_install: bool,
    /// Whether the conversion counts.
    pub status: Status,
    /// For a change of the conversion's status: the event that it is, and what changed. Then the event that is
    /// planned for is the one that made the conversion.
    pub change: Option<(Id<kind::Event>, &'a StatusChange)>,
    /// Whether a later change of the conversion's status is known: then this one is not told any more.
    pub is_superseded: bool,
    /// Whether anything of the conversion was ever sent to a partner: asked for rules on rejections, which take
    /// back what was said.
    pub heard: &'a dyn Fn(Id<kind::Partner>) -> bool,
    /// Whether a rule told an earlier event of the same subject: asked for `first_only` rules.
    pub told_before: &'a dyn Fn(&Rule, Option<Id<kind::Partner>>) -> bool,
}

/// Considers every rule of the app and kind, once for each partner that it tells. In the order of the rules'
/// slugs.
pub fn plan(
    event: &Event,
    decision: &Decision,
    app: &App,
    settings: &Settings,
    context: Context<'_>,
) -> Vec<Considered> {
    let Some(kind) = &decision.kind else { return Vec::new() };
    let rules = settings.rules.get(&app.id).map_or(&[][..], Vec::as_slice);
    let winner = decision.credit.winner();
    let mut all = Vec::new();
    for rule in rules.iter().filter(|rule| tells_of(rule, kind)) {
        for partner in recipients(rule, settings, winner) {
            let asked = judge(event, decision, app, settings, kind, rule, partner, context);
            let (outcome, detail) = match asked {
                Err((reason, detail)) => (Err(reason), detail),
                Ok(asked) => (
                    Ok(values(event, decision, app, settings, rule, &asked, partner, context)),
                    shared(event, rule, &asked),
                ),
            };
            let told = partner.and_then(|partner| settings.partners.get(&partner));
            let accepts = rule.accepts_of(told.map(|told| &**told)).filter(|_| outcome.is_ok());
            all.push(Considered {
                rule: rule.id,
                rule_version: rule.version,
                partner,
                outcome,
                detail,
                delay: rule.delay,
                deadline: accepts
                    .map(|window| accepted_from(event, rule, winner, partner).plus_ms(window.ms())),
            });
        }
    }
    all
}

/// From when the time counts in which that partner accepts it. Another partner's click is nothing that it knows of.
fn accepted_from(
    event: &Event,
    rule: &Rule,
    winner: Option<&Winner>,
    partner: Option<Id<kind::Partner>>,
) -> Timestamp {
    let click = winner.map(|winner| &winner.touch.click).filter(|click| Some(click.partner) == partner);
    match (rule.accepts_from, click) {
        (AcceptsFrom::Click, Some(click)) => click.received_at,
        (AcceptsFrom::Click, None) | (AcceptsFrom::Conversion, _) => event.reference_at(),
    }
}

/// Whether a rule is about that kind. A rejection is a change of status too.
fn tells_of(rule: &Rule, kind: &ConversionKind) -> bool {
    rule.on == *kind || (*kind == ConversionKind::Rejected && rule.on == ConversionKind::StatusChange)
}

/// Whom a rule tells: its partner, the members of its group, else whoever won. `None` stands for nobody.
fn recipients(rule: &Rule, settings: &Settings, winner: Option<&Winner>) -> Vec<Option<Id<kind::Partner>>> {
    let won = winner.map(|w| w.touch.click.partner);
    if rule.partner.is_some() {
        return vec![rule.partner];
    }
    let Some(group) = rule.group else { return vec![won] };
    let members = settings.groups.get(&group).map_or(&[][..], |g| g.partners.as_slice());
    match rule.scope {
        Scope::Attributed => vec![won.filter(|partner| members.contains(partner))],
        Scope::All if members.is_empty() => vec![None],
        Scope::All => members.iter().copied().map(Some).collect(),
    }
}

/// What a rule asks to be sent, when nothing speaks against it; else why it does not fire.
#[expect(clippy::too_many_arguments, reason = "a rule is judged by all that is known")]
fn judge(
    event: &Event,
    decision: &Decision,
    app: &App,
    settings: &Settings,
    kind: &ConversionKind,
    rule: &Rule,
    partner: Option<Id<kind::Partner>>,
    context: Context<'_>,
) -> Result<Asked, (Suppressed, Option<Detail>)> {
    let plain = |reason| Err((reason, None));
    let winner = decision.credit.winner();
    let won = winner.is_some_and(|w| Some(w.touch.click.partner) == partner);
    let name = told_name(event, context.is_install);
    if *kind == ConversionKind::Event && !rule.events.is_empty() && !rule.events.iter().any(|e| e == name) {
        return plain(Suppressed::OtherEvent);
    }
    if event.environment == Environment::Sandbox && !rule.sandbox {
        return plain(Suppressed::Sandbox);
    }
    if context.change.is_some() && context.is_superseded {
        return plain(Suppressed::Superseded);
    }
    if context.change.is_none() {
        if context.status == Status::Rejected {
            return plain(Suppressed::Rejected);
        }
        if context.status == Status::Pending && !rule.pending {
            return plain(Suppressed::Pending);
        }
    }
    // Whose it is, whether it is the first, and how long ago the installation was are all unknown yet. Also a
    // rule that tells of everything waits: told now, the winner would get it without its own click id.
    if decision.credit == Credit::InstallUnknown {
        return plain(Suppressed::InstallUnknown);
    }
    if rule.scope == Scope::Attributed && !won {
        return plain(if winner.is_some() { Suppressed::OtherPartner } else { Suppressed::Unattributed });
    }
    if partner.is_none() {
        return plain(Suppressed::NobodyToTell);
    }
    if !rule.rename.is_empty() && !rule.rename.contains_key(name) {
        return plain(Suppressed::Unmapped);
    }
    let seen = Seen { event, decision, app, is_install: context.is_install };
    if let Some(unmet) = condition::first_unmet(&rule.conditions, seen) {
        return Err((Suppressed::Condition, Some(Detail::Condition(unmet))));
    }
    // The birth itself is told whenever it was first heard of: the window is for what follows it. The window is
    // the one of the settings that hold while the event is decided, and a change of status goes by the time of
    // what it changes: who may be told of a purchase may be told that it was rejected.
    let born =
        context.install_at.or(winner.map(|w| w.touch.click.received_at)).filter(|_| !context.is_install);
    if let Some(age_ms) = born.map(|born| event.reference_at().since(born))
        && age_ms > rule.window.ms()
    {
        return Err((Suppressed::OutsideWindow, Some(Detail::Window { window: rule.window, age_ms })));
    }
    let about = callback::About { kind, name, is_install: context.is_install };
    let asked = Asked::by(rule, about, winner.filter(|_| won), settings)?;
    if won && asked.template.needs_partner_click_id() {
        let params = winner.map(|w| w.touch.click.params()).unwrap_or_default();
        if PartnerClickId::judge(params.get("click_id")) != PartnerClickId::Present {
            return plain(Suppressed::NoPartnerClickId);
        }
    }
    if rule.on == ConversionKind::Rejected
        && context.change.is_some()
        && partner.is_some_and(|partner| !(context.heard)(partner))
    {
        return plain(Suppressed::NeverTold);
    }
    if rule.first_only && (context.told_before)(rule, partner) {
        return plain(Suppressed::NotFirst);
    }
    Ok(asked)
}

/// Macros that print the amount.
const AMOUNTS: &[&str] = &["revenue", "revenue_minor"];

/// What a rule tells of the revenue, where its template tells it.
fn shared(event: &Event, rule: &Rule, asked: &Asked) -> Option<Detail> {
    let revenue = event.revenue.as_ref()?;
    let told = asked.template.macros().any(|used| AMOUNTS.contains(&used.key.as_str()));
    let micros = rule.share.of_revenue(revenue).filter(|_| told)?;
    Some(Detail::Shared {
        how: rule.share.to_string(),
        micros,
        of_micros: revenue.amount.micros,
        currency: revenue.currency,
    })
}

/// The values that a delivery stores: those its template asks for, and the URL of a click's own callback. A
/// partner's own settings (`cfg.…`) are read at each send, so that a changed token is the one that is sent.
#[expect(clippy::too_many_arguments, reason = "values are of all that is known")]
fn values(
    event: &Event,
    decision: &Decision,
    app: &App,
    settings: &Settings,
    rule: &Rule,
    asked: &Asked,
    partner: Option<Id<kind::Partner>>,
    context: Context<'_>,
) -> Vec<MacroValue> {
    let winner = decision.credit.winner();
    let facts = Facts {
        event,
        status: context.status,
        change: context.change,
        install: context.install,
        births: context.births,
        install_at: context.install_at,
        is_install: context.is_install,
        is_first: !(context.told_before)(rule, partner),
        winner: winner.map(|w| (w, w.touch.click.params())),
        is_winner: winner.is_some_and(|w| Some(w.touch.click.partner) == partner),
        app,
        rule,
        partner: partner.and_then(|p| settings.partners.get(&p)).map(|p| &**p),
        settings,
    };
    let audience =
        Audience { values: &facts, revenue_shared: rule.share != Share::None, winner: facts.is_winner };
    let url = asked.callback.iter().map(|url| url.clone().into_bytes());
    let mut values: Vec<MacroValue> =
        url.map(|decoded| MacroValue { name: CALLBACK.to_owned(), decoded, received: None }).collect();
    for used in asked.template.macros() {
        if used.key.starts_with("cfg.") || values.iter().any(|v| v.name == used.key) {
            continue;
        }
        if let Some(value) = audience.get(&used.key) {
            values.push(MacroValue {
                name: used.key.clone(),
                decoded: value.decoded.into_owned(),
                received: value.received.map(std::borrow::Cow::into_owned),
            });
        }
    }
    values
}

/// The values of a stored delivery, with the partner's settings as they are now.
pub struct Stored<'a> {
    /// What was stored.
    pub values: &'a [MacroValue],
    /// The partner's settings.
    pub cfg: Option<&'a std::collections::BTreeMap<String, String>>,
}

/// The URL of the click's own callback, where a delivery's stored values say that it goes there.
pub fn stored_callback(values: &[MacroValue]) -> Option<Result<&str, CallbackFault>> {
    let value = values.iter().find(|value| value.name == CALLBACK)?;
    Some(std::str::from_utf8(&value.decoded).map_err(|_| CallbackFault::Malformed))
}

impl Values for Stored<'_> {
    fn get(&self, name: &str) -> Option<Value<'_>> {
        if let Some(name) = name.strip_prefix("cfg.") {
            return self.cfg?.get(name).map(|v| Value::text(v.as_str()));
        }
        let value = self.values.iter().find(|v| v.name == name)?;
        Some(Value {
            decoded: value.decoded.as_slice().into(),
            received: value.received.as_deref().map(Into::into),
        })
    }
}
