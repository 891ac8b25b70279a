//! Reconciliation: somebody's own list of conversions, compared with what that partner was told; or the owner's own
//! orders, compared with purchases. Every difference has a cause.
//!
//! The cast: [`Row`] is a line of the list, already read (columns, decimals and time zones are the reader's business);
//! [`Fact`] is what happened here; [`Join`] is pure and puts them together; [`origins`] asks the ledger and the click
//! log about lines that match nothing. Facts are streamed: the join keeps those alone that share a key with a line, so
//! its memory is bounded by the list and not by the period.
//!
//! Two sums always hold, and are what [`Totals`] is: every line of the list has one verdict, and so has every fact of
//! the period (and every fact outside of it that a line matched).

mod join;
mod origin;
#[cfg(test)]
mod tests;
mod verdict;

use roundtrip_domain::money::{self, Amount};
use roundtrip_domain::time::Timestamp;
use roundtrip_store::ledger::{Fact as Kept, FactDelivery};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

pub use self::join::Join;
pub use self::origin::origins;
pub use self::verdict::{Cause, Verdict};

/// The kinds of conversions that can be compared.
pub const KINDS: [&str; 4] = ["install", "signup", "purchase", "event"];

/// Reads kinds of conversions. The error is the word that is none.
pub fn kinds(words: &[String]) -> Result<Vec<&'static str>, String> {
    let known =
        |word: &String| KINDS.into_iter().find(|kind| *kind == word.trim()).ok_or_else(|| word.clone());
    words.iter().map(known).collect()
}

/// Lines that one request may hold.
pub const ROWS_MAX: usize = 2_000;
/// How far before and after the period facts are looked for, in milliseconds: lists of other time zones and late
/// deliveries reach over its ends.
pub const AROUND_MS: i64 = 2 * 86_400_000;

/// A line of somebody's own list. Whatever is absent is not compared.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "ReconcileRow")]
pub struct Row {
    /// Its place in the list, from 1.
    pub line: u64,
    /// The partner's click id; Roundtrip's own is recognised here too.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub click_id: Option<String>,
    /// Roundtrip's click id, where the list has both.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rt_click_id: Option<String>,
    /// `evt_…`, or the conversion's `cnv_…`, as `{event_id}` and `{transaction_id}` told it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub event_id: Option<String>,
    /// The order's id.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub order_id: Option<String>,
    /// What happened, by the list's own word.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub event: Option<String>,
    /// Decimal, with a point.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub amount: Option<String>,
    /// ISO 4217.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub currency: Option<String>,
    /// When, RFC 3339; of a list that has days only, the first moment of the day.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub time: Option<String>,
    /// Of a list that has days only, the first moment after the day.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub time_to: Option<String>,
}

/// A conversion, and what the partner was told of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[schemars(rename = "ReconcileFact")]
pub struct Fact {
    /// `evt_…`.
    pub event: String,
    /// `install`, `signup`, `purchase` or `event`.
    pub kind: String,
    /// The event's name, as sent.
    pub name: String,
    /// Under which names the partner was told.
    #[serde(default)]
    pub told_as: Vec<String>,
    /// `approved`, `pending` or `rejected`.
    pub status: String,
    /// `production` or `sandbox`.
    pub environment: String,
    /// When its event reached Roundtrip.
    pub received_at: String,
    /// When it happened, as its sender says.
    pub occurred_at: String,
    /// As booked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub amount: Option<String>,
    /// ISO 4217.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub currency: Option<String>,
    /// Amounts that the partner was told, in whole units of the currency; empty when it was told none.
    #[serde(default)]
    pub told_amounts: Vec<String>,
    /// The order's id.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub order_id: Option<String>,
    /// The sender's own id of the event.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source_event_id: Option<String>,
    /// Roundtrip's click id, if the partner has the credit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub click_id: Option<String>,
    /// The partner's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub partner_click_id: Option<String>,
    /// Why rules did not tell the partner.
    #[serde(default)]
    pub suppressed: Vec<String>,
    /// What it is told, replays included, oldest first.
    #[serde(default)]
    pub deliveries: Vec<Delivery>,
}

/// A delivery to the partner.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[schemars(rename = "ReconcileDelivery")]
pub struct Delivery {
    /// `dlv_…`.
    pub id: String,
    /// `scheduled`, `delivered`, `dead`, ….
    pub state: String,
    /// Why it is in that state.
    pub reason: String,
    /// When it ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ended_at: Option<String>,
}

/// A page of facts.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[schemars(rename = "ReconcileFacts")]
pub struct Facts {
    /// In the order in which conversions arrived.
    pub items: Vec<Fact>,
    /// Send it as `after` for the next page; absent on the last one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next: Option<String>,
}

/// What is compared with what.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
#[schemars(rename = "ReconcileAgainst")]
pub enum Against {
    /// A partner's list with what that partner was told.
    #[default]
    Told,
    /// The owner's own orders with purchases.
    Orders,
}

/// How lists are compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Terms {
    /// With what.
    pub against: Against,
    /// Of which facts each has a verdict: received from here on,
    pub from: Timestamp,
    /// and before this.
    pub to: Timestamp,
    /// The days that the list is about, in its own time zone: facts outside of them are not missed in it.
    pub listed: Option<(Timestamp, Timestamp)>,
    /// By how much times may differ, in milliseconds.
    pub tolerance_ms: i64,
}

/// By how much times may differ unless somebody says otherwise, in milliseconds.
pub const TOLERANCE_MS: i64 = 15 * 60 * 1_000;

/// Both sums. `rows` = matched + other_amount + other_time + duplicate + missing_here + outside, and `facts` = matched +
/// other_amount + other_time + listed_not_told + missing_there + not_told.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[schemars(rename = "ReconcileTotals")]
pub struct Totals {
    /// Lines of the list.
    pub rows: u64,
    /// Facts of the period, and those outside of it that a line matched.
    pub facts: u64,
    /// The same on both sides.
    pub matched: u64,
    /// On both sides, with another amount or currency.
    pub other_amount: u64,
    /// On both sides, at another time.
    pub other_time: u64,
    /// Lines that repeat an earlier one.
    pub duplicate: u64,
    /// Lines of which nothing was told: nothing is known of them, or they are `listed_not_told`.
    pub missing_here: u64,
    /// Lines outside of the period that match nothing, or of another kind than is compared: not compared.
    pub outside: u64,
    /// Facts that are in the list although the partner was not told of them, or not of what holds now.
    pub listed_not_told: u64,
    /// Facts that should be in the list and are not.
    pub missing_there: u64,
    /// Facts of which the partner was not told, and that are not in the list: both sides agree.
    pub not_told: u64,
}

impl Totals {
    /// What does not add up: lines, and facts. Zeros unless there is a bug.
    pub const fn differences(&self) -> (i64, i64) {
        let both = self.matched + self.other_amount + self.other_time;
        let rows = both + self.duplicate + self.missing_here + self.outside;
        let facts = both + self.listed_not_told + self.missing_there + self.not_told;
        (self.rows as i64 - rows as i64, self.facts as i64 - facts as i64)
    }

    /// Whether everything that had to be compared is the same on both sides.
    pub const fn is_clean(&self) -> bool {
        self.other_amount + self.other_time + self.duplicate + self.missing_here + self.missing_there == 0
    }
}

/// One line or fact that is not simply the same on both sides.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[schemars(rename = "ReconcileFinding")]
pub struct Finding {
    /// What it is.
    pub verdict: Verdict,
    /// Why: a stable word.
    pub cause: Cause,
    /// More of the cause: the reason of a rule, the outcome of a send, the span between two times.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub detail: Option<String>,
    /// The cause in words.
    pub sentence: String,
    /// The line of the list.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub line: Option<u64>,
    /// `evt_…`; `roundtrip explain` tells its story.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub event: Option<String>,
    /// The conversion's kind.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kind: Option<String>,
    /// The click id, as the list has it, else the partner's as it is known here.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub click_id: Option<String>,
    /// The order's id.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub order_id: Option<String>,
    /// What is known here: the time, when that is what differs, else the amount.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub here: Option<String>,
    /// What the list says of the same.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub there: Option<String>,
    /// The delivery that a replay would repeat, where that repairs it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub replay: Option<String>,
}

impl Finding {
    /// Whether its line matches nothing, so that [`origins`] can say more of it.
    pub fn is_unknown(&self) -> bool {
        let is_open = matches!(self.cause, Cause::NeverOurs | Cause::OrderUnknown | Cause::NoKey);
        self.verdict == Verdict::MissingHere && self.event.is_none() && is_open
    }
}

/// The result.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Reconciliation {
    /// Both sums.
    pub totals: Totals,
    /// Whether nothing differs.
    pub clean: bool,
    /// Of lines, in their order; then of facts that no line matched, in the order in which they arrived.
    pub findings: Vec<Finding>,
    /// Findings beyond those listed; they are in the totals.
    pub findings_left_off: u64,
    /// By how much most matched times differ, in words, if that looks like a time zone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub time_zone_off_by: Option<String>,
}

/// Why nothing is known of a line.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[schemars(rename = "ReconcileOrigin")]
pub struct Origin {
    /// The line.
    pub line: u64,
    /// A stable word.
    pub cause: Cause,
    /// More of it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub detail: Option<String>,
}

/// Why nothing is known of lines.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[schemars(rename = "ReconcileOrigins")]
pub struct Origins {
    /// In the order of the lines.
    pub items: Vec<Origin>,
}

impl Fact {
    /// A fact of the ledger, as it is shown.
    pub fn of(kept: Kept) -> Self {
        let text = |name: &str| {
            let value = kept.values.iter().find(|value| value.name == name)?;
            Some(String::from_utf8_lossy(&value.decoded).into_owned()).filter(|text| !text.is_empty())
        };
        let mut told_amounts = Vec::new();
        for name in ["revenue", "payout"] {
            told_amounts.extend(text(name));
        }
        if told_amounts.is_empty() {
            let minor = text("revenue_minor").and_then(|minor| {
                let currency = money::Currency::parse(kept.currency.as_deref()?)?;
                Some(money::decimal(minor.parse::<i64>().ok()?.checked_mul(currency.minor_micros())?, 2))
            });
            told_amounts.extend(text("revenue_usd").or(minor));
        }
        let mut told_as: Vec<String> =
            ["mapped_event_name", "event_name", "goal"].into_iter().filter_map(text).collect();
        told_as.dedup();
        Self {
            event: kept.event.to_string(),
            told_as,
            told_amounts,
            amount: kept.amount_micros.map(|micros| money::decimal(micros, 2)),
            order_id: kept.order_id.clone().or_else(|| text("order_id")),
            partner_click_id: kept.partner_click_id.clone().or_else(|| text("partner_click_id")),
            kind: kept.kind,
            name: kept.name,
            status: kept.status,
            environment: kept.environment,
            received_at: kept.received_at.to_string(),
            occurred_at: kept.occurred_at.to_string(),
            currency: kept.currency,
            source_event_id: kept.source_event_id,
            click_id: kept.click.map(|id| id.to_string()),
            suppressed: kept.suppressed.iter().map(|reason| reason.code().to_owned()).collect(),
            deliveries: kept.deliveries.into_iter().map(Delivery::of).collect(),
        }
    }

    /// When its event reached Roundtrip; the epoch if that cannot be read.
    fn received(&self) -> Timestamp {
        Timestamp::parse(&self.received_at).unwrap_or(Timestamp::from_ms(0))
    }

    /// When it arrived at the partner, for the first and the last time.
    fn arrivals(&self) -> Option<(Timestamp, Timestamp)> {
        let delivered = self.deliveries.iter().filter(|delivery| delivery.state == "delivered");
        let times: Vec<Timestamp> =
            delivered.filter_map(|delivery| Timestamp::parse(delivery.ended_at.as_deref()?)).collect();
        Some((times.iter().min().copied()?, times.iter().max().copied()?))
    }
}

impl Delivery {
    fn of(kept: FactDelivery) -> Self {
        Self {
            id: kept.id.to_string(),
            state: kept.state,
            reason: kept.reason,
            ended_at: kept.ended_at.map(|at| at.to_string()),
        }
    }
}

/// An amount in millionths, if it is one.
fn micros(text: &str) -> Option<i64> {
    Amount::parse(text).ok().map(|amount| amount.micros)
}
