//! The books, as the API answers them and `roundtrip status` prints them.
//!
//! Per partner (or webhook), kind and day: considered = planned + suppressed, and planned + replayed = ended + waiting +
//! held. What does not add up is shown as a difference, never smoothed away: it is a bug. How long things took comes
//! from histograms that are kept with the counts, so a percentile is at most an eighth off.

use std::collections::BTreeMap;

use roundtrip_domain::histogram::Histogram;
use roundtrip_domain::id::{Id, kind};
use roundtrip_domain::problem::Problem;
use roundtrip_domain::settings::Settings;
use roundtrip_domain::time::{Timestamp, human};
use roundtrip_store::ledger::{BalanceRow, Ledger, Receiver, success_permille};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::conversions;
use crate::problem;
use crate::report::Period;
use crate::story::Named;

/// Which durations half, nine in ten and 99 in 100 did not exceed; at most an eighth off.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Percentiles {
    /// Half.
    pub p50: i64,
    /// Nine in ten.
    pub p90: i64,
    /// 99 in 100.
    pub p99: i64,
}

impl Percentiles {
    fn of(histogram: &Histogram) -> Option<Self> {
        let at = |permille| histogram.permille(permille);
        Some(Self { p50: at(500)?, p90: at(900)?, p99: at(990)? })
    }
}

/// Figures of the books; of one row, or of all.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Figures {
    /// Conversions, whatever their status, for who has the credit now.
    #[serde(default)]
    pub conversions: i64,
    /// Conversions × matching rules.
    pub considered: i64,
    /// Deliveries that rules planned.
    pub planned: i64,
    /// Deliveries that replays made.
    pub replayed: i64,
    /// Rules that did not fire, by reason.
    pub suppressed: BTreeMap<String, i64>,
    /// Deliveries that ended, by state.
    pub ended: BTreeMap<String, i64>,
    /// Deliveries that wait and are sent when they are due.
    pub waiting: i64,
    /// Deliveries that wait because their endpoint is paused or disabled.
    #[serde(default)]
    pub held: i64,
    /// When the oldest of those that wait or are held was planned.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub oldest_planned_at: Option<String>,
    /// How long ago that is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub oldest_age: Option<String>,
    /// Delivered of all that ended and were not cancelled, in percent with one decimal, rounded down; absent while nothing
    /// ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub success_rate: Option<String>,
    /// Sends, by what they came to: `http_200`, `timeout`, ….
    #[serde(default)]
    pub sends: BTreeMap<String, i64>,
    /// How long sends took, in microseconds; absent while nothing was sent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub send_us: Option<Percentiles>,
    /// From planning to arrival, in milliseconds, a rule's delay and all waiting included; absent while nothing was
    /// delivered.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub latency_ms: Option<Percentiles>,
    /// considered − planned − suppressed; zero unless there is a bug.
    pub difference_rules: i64,
    /// planned + replayed − ended − waiting − held; zero unless there is a bug.
    pub difference_deliveries: i64,
}

impl Figures {
    fn of(row: BalanceRow, now: Timestamp) -> Self {
        let (difference_rules, difference_deliveries) = row.differences();
        Self {
            conversions: row.conversions,
            considered: row.considered,
            planned: row.planned,
            replayed: row.replayed,
            success_rate: rate(
                row.finished.iter().map(|(state, n)| (state.as_str(), u64::try_from(*n).unwrap_or(0))),
            ),
            suppressed: row.suppressed,
            ended: row.finished,
            waiting: row.waiting,
            held: row.held,
            oldest_planned_at: row.oldest.map(|at| at.to_string()),
            oldest_age: row.oldest.map(|at| human(now.since(at).max(0))),
            sends: row.sends,
            send_us: Percentiles::of(&row.send_time),
            latency_ms: Percentiles::of(&row.latency),
            difference_rules,
            difference_deliveries,
        }
    }

    /// Whether they add up.
    pub const fn is_balanced(&self) -> bool {
        self.difference_rules == 0 && self.difference_deliveries == 0
    }

    /// Rules that did not fire, whatever the reason.
    pub fn suppressed_all(&self) -> i64 {
        self.suppressed.values().sum()
    }

    /// Deliveries that ended in a state.
    pub fn ended_as(&self, state: &str) -> i64 {
        self.ended.get(state).copied().unwrap_or_default()
    }

    /// Deliveries that ended neither delivered nor given up, each with its state: `2 cancelled`.
    fn ended_otherwise(&self) -> impl Iterator<Item = (&str, i64)> {
        let others = self.ended.iter().filter(|(state, _)| !["delivered", "dead"].contains(&state.as_str()));
        others.map(|(state, n)| (state.as_str(), *n))
    }
}

/// What of the deliveries that ended, by state, arrived, in percent with one decimal. Of thousandths, so that no float
/// decides what is shown.
pub(crate) fn rate<'a>(ended: impl IntoIterator<Item = (&'a str, u64)>) -> Option<String> {
    let permille = success_permille(ended)?;
    Some(format!("{}.{}", permille / 10, permille % 10))
}

/// Adds up rows. Differences are added by size, so that two of them cannot cancel each other.
#[derive(Debug, Default)]
struct Sum {
    row: BalanceRow,
    difference_rules: i64,
    difference_deliveries: i64,
}

impl Sum {
    fn add(&mut self, row: &BalanceRow) {
        let (rules, deliveries) = row.differences();
        self.difference_rules += rules.abs();
        self.difference_deliveries += deliveries.abs();
        let sum = &mut self.row;
        for (into, n) in [
            (&mut sum.conversions, row.conversions),
            (&mut sum.considered, row.considered),
            (&mut sum.planned, row.planned),
            (&mut sum.replayed, row.replayed),
            (&mut sum.waiting, row.waiting),
            (&mut sum.held, row.held),
        ] {
            *into += n;
        }
        for (into, counts) in [
            (&mut sum.suppressed, &row.suppressed),
            (&mut sum.finished, &row.finished),
            (&mut sum.sends, &row.sends),
        ] {
            for (word, n) in counts {
                *into.entry(word.clone()).or_default() += n;
            }
        }
        sum.send_time.merge(&row.send_time);
        sum.latency.merge(&row.latency);
        sum.oldest = [sum.oldest, row.oldest].into_iter().flatten().min();
    }

    fn figures(self, now: Timestamp) -> Figures {
        let (difference_rules, difference_deliveries) = (self.difference_rules, self.difference_deliveries);
        Figures { difference_rules, difference_deliveries, ..Figures::of(self.row, now) }
    }
}

/// What of the books is asked for.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Asked {
    /// Only what this partner is told, or would have been.
    pub partner: Option<Id<kind::Partner>>,
    /// One row per partner and kind for all days together, instead of one for each day.
    pub whole_period: bool,
}

/// The books of a partner, kind and day.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[schemars(rename = "BooksRow")]
pub struct Row {
    /// The day on which the conversions arrived, UTC; absent in rows of a whole period.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub day: Option<String>,
    /// Who is told, or would have been; absent: the rule tells whoever won, and nobody did.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub partner: Option<Named>,
    /// The webhook that is told, if it is the owner.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub webhook: Option<Named>,
    /// `install`, `signup`, `purchase` or `event`.
    pub kind: String,
    /// Its figures.
    #[serde(flatten)]
    pub figures: Figures,
}

/// What waits now, of whatever day: in the workspace, or for the partner that was asked about. The same deliveries that
/// lists and endpoints show as waiting and held.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Waiting {
    /// Deliveries that wait, whenever they were planned.
    pub deliveries: u64,
    /// Deliveries that are held, because their endpoint is paused or disabled.
    #[serde(default)]
    pub held: u64,
    /// How many of both are outside the books: tests of endpoints, and what tells of sandbox events.
    #[serde(default)]
    pub unbooked: u64,
    /// When the first of those that wait is due.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub oldest_due: Option<String>,
    /// How long that is over; absent if it is still to come.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub overdue: Option<String>,
    /// Events that wait for a decision, in all workspaces; counted up to 100,000.
    pub undecided: u64,
}

impl Waiting {
    /// What waits in a sentence without its end, such as `37 waiting, the oldest due for 3 m, and 2 held; 2 of them are
    /// tests or sandbox, outside the books`; `None` when nothing does.
    pub fn words(&self) -> Option<String> {
        let mut words = match (self.deliveries, &self.overdue) {
            (0, _) if self.held == 0 => return None,
            (0, _) => String::new(),
            (n, None) => format!("{n} waiting, none overdue"),
            (n, Some(overdue)) => format!("{n} waiting, the oldest due for {overdue}"),
        };
        if self.held > 0 {
            let and = if words.is_empty() { "" } else { ", and " };
            words.push_str(&format!("{and}{} held", self.held));
        }
        if self.unbooked > 0 {
            words.push_str(&format!("; {} of them tests or sandbox, outside the books", self.unbooked));
        }
        Some(words)
    }
}

/// The books.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Books {
    /// From when; the start of a day, UTC.
    pub from: String,
    /// To when, not included.
    pub to: String,
    /// Whether everything adds up.
    pub balanced: bool,
    /// How they stand, in words.
    pub sentence: String,
    /// By day, partner and kind.
    pub rows: Vec<Row>,
    /// All rows together; of differences, their sizes.
    pub total: Figures,
    /// Delivered of all that ended, in percent with one decimal; absent while nothing ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub success_rate: Option<String>,
    /// What waits now.
    pub waiting: Waiting,
}

/// Reads the books of a workspace.
///
/// # Errors
/// With `store_unavailable` when the ledger cannot answer.
pub async fn read(
    ledger: &Ledger,
    settings: &Settings,
    period: &Period,
    asked: Asked,
    now: Timestamp,
) -> Result<Books, Problem> {
    let store = |error: roundtrip_store::Error| problem::of_store(&error);
    let from = period.from.floor_to(86_400_000);
    let recount = ledger.balance(settings.workspace, from, period.to).await.map_err(store)?;
    let queued = ledger.queued(settings.workspace, asked.partner).await.map_err(store)?;
    let undecided = ledger.undecided_count().await.map_err(store)?;
    let mut total = Sum::default();
    let mut grouped: BTreeMap<(Option<Timestamp>, Receiver, String), Sum> = BTreeMap::new();
    for ((day, receiver, kind), row) in recount {
        if asked.partner.is_some_and(|partner| receiver != Receiver::Partner(partner)) {
            continue;
        }
        total.add(&row);
        let day = (!asked.whole_period).then_some(day);
        grouped.entry((day, receiver, kind)).or_default().add(&row);
    }
    let total = total.figures(now);
    let mut rows: Vec<Row> = Vec::with_capacity(grouped.len());
    for ((day, receiver, kind), sum) in grouped {
        let day = day.map(|day| {
            let mut day = day.to_string();
            day.truncate(10);
            day
        });
        let (partner, webhook) = match receiver {
            Receiver::Nobody => (None, None),
            Receiver::Partner(id) => (Some(conversions::partner(id, settings)), None),
            Receiver::Webhook(id) => (None, Some(conversions::webhook(id, settings))),
        };
        rows.push(Row { day, partner, webhook, kind, figures: sum.figures(now) });
    }
    let balanced = total.is_balanced();
    let oldest = queued.oldest.filter(|_| queued.waiting > 0);
    let overdue = oldest.map(|due| now.since(due)).filter(|ms| *ms > 0).map(human);
    Ok(Books {
        from: from.to_string(),
        to: period.to.to_string(),
        balanced,
        sentence: sentence(&total, balanced),
        rows,
        success_rate: total.success_rate.clone(),
        total,
        waiting: Waiting {
            deliveries: queued.waiting,
            held: queued.held,
            unbooked: queued.unbooked,
            oldest_due: oldest.map(|due| due.to_string()),
            overdue,
            undecided,
        },
    })
}

fn sentence(total: &Figures, balanced: bool) -> String {
    if !balanced {
        return format!(
            "The books do not add up: {} rules and {} deliveries are missing or counted twice. This is a bug of Roundtrip; please report it.",
            total.difference_rules, total.difference_deliveries
        );
    }
    let replayed = match total.replayed {
        0 => String::new(),
        n => format!(" + {n} replayed"),
    };
    let held = match total.held {
        0 => String::new(),
        n => format!(" + {n} held"),
    };
    let others: String = total.ended_otherwise().map(|(state, n)| format!(" + {n} {state}")).collect();
    format!(
        "The books balance: {} considered = {} planned + {} suppressed; {} planned{replayed} = {} delivered + {} waiting{held} + {} given up{others}.",
        total.considered,
        total.planned,
        total.suppressed_all(),
        total.planned,
        total.ended_as("delivered"),
        total.waiting,
        total.ended_as("dead"),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn differences_are_shown_and_do_not_cancel() {
        let now = Timestamp::from_ms(0);
        let row = |planned, waiting| BalanceRow { considered: 2, planned, waiting, ..BalanceRow::default() };
        let total = |rows: &[BalanceRow]| {
            let mut sum = Sum::default();
            rows.iter().for_each(|row| sum.add(row));
            sum.figures(now)
        };
        assert!(total(&[row(2, 2)]).is_balanced());
        let off = total(&[row(2, 2), row(1, 1), row(3, 3)]);
        assert_eq!((off.considered, off.planned), (6, 6), "the sums alone would look right");
        assert_eq!(off.difference_rules, 2);
        assert!(sentence(&off, off.is_balanced()).contains("do not add up"));
    }

    #[test]
    fn every_end_has_its_word() {
        let ended = [("delivered", 2), ("cancelled", 1), ("expired", 3), ("dead", 1)];
        let row = BalanceRow {
            considered: 9,
            planned: 9,
            held: 1,
            waiting: 1,
            finished: ended.map(|(state, n)| (state.to_owned(), n)).into(),
            ..BalanceRow::default()
        };
        let figures = Figures::of(row, Timestamp::from_ms(0));
        assert_eq!(figures.success_rate.as_deref(), Some("33.3"));
        let said = sentence(&figures, figures.is_balanced());
        assert!(
            said.ends_with("= 2 delivered + 1 waiting + 1 held + 1 given up + 1 cancelled + 3 expired."),
            "{said}"
        );
    }
}
