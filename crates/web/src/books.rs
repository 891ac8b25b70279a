//! The books, as the API answers them and `roundtrip status` prints them.
//!
//! Per partner, kind and day: considered = planned + suppressed, and planned + replayed = ended + waiting + held. What
//! does not add up is shown as a difference, never smoothed away: it is a bug.

use std::collections::BTreeMap;

use roundtrip_domain::problem::Problem;
use roundtrip_domain::settings::Settings;
use roundtrip_domain::time::{Timestamp, human};
use roundtrip_store::ledger::{BalanceRow, Ledger, Receiver};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::conversions;
use crate::problem;
use crate::report::Period;
use crate::story::Named;

/// Figures of the books; of one row, or of all.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Figures {
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
    /// Deliveries that wait.
    pub waiting: i64,
    /// Deliveries that are held, because their endpoint is paused or disabled.
    #[serde(default)]
    pub held: i64,
    /// considered − planned − suppressed; zero unless there is a bug.
    pub difference_rules: i64,
    /// planned + replayed − ended − waiting − held; zero unless there is a bug.
    pub difference_deliveries: i64,
}

impl Figures {
    fn of(row: BalanceRow) -> Self {
        let (difference_rules, difference_deliveries) = row.differences();
        Self {
            considered: row.considered,
            planned: row.planned,
            replayed: row.replayed,
            suppressed: row.suppressed,
            ended: row.finished,
            waiting: row.waiting,
            held: row.held,
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

    /// Adds a row. Differences are added by size, so that two of them cannot cancel each other.
    fn add(&mut self, row: &Self) {
        self.considered += row.considered;
        self.planned += row.planned;
        self.replayed += row.replayed;
        self.waiting += row.waiting;
        self.held += row.held;
        for (reason, n) in &row.suppressed {
            *self.suppressed.entry(reason.clone()).or_default() += n;
        }
        for (state, n) in &row.ended {
            *self.ended.entry(state.clone()).or_default() += n;
        }
        self.difference_rules += row.difference_rules.abs();
        self.difference_deliveries += row.difference_deliveries.abs();
    }
}

/// The books of a partner, kind and day.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[schemars(rename = "BooksRow")]
pub struct Row {
    /// The day on which the conversions arrived, UTC.
    pub day: String,
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

/// What waits now, of whatever day.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Waiting {
    /// Deliveries that wait, in all workspaces.
    pub deliveries: u64,
    /// Deliveries that are held, in all workspaces, because their endpoint is paused or disabled.
    #[serde(default)]
    pub held: u64,
    /// When the first of them is due.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub oldest_due: Option<String>,
    /// How long that is over; absent if it is still to come.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub overdue: Option<String>,
    /// Events that wait for a decision, in all workspaces; counted up to 100,000.
    pub undecided: u64,
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
    now: Timestamp,
) -> Result<Books, Problem> {
    let store = |error: roundtrip_store::Error| problem::of_store(&error);
    let from = period.from.floor_to(86_400_000);
    let recount = ledger.balance(settings.workspace, from, period.to).await.map_err(store)?;
    let depth = ledger.queue_depth().await.map_err(store)?;
    let undecided = ledger.undecided_count().await.map_err(store)?;
    let mut total = Figures::default();
    let mut rows: Vec<Row> = Vec::with_capacity(recount.len());
    for ((day, receiver, kind), row) in recount {
        let figures = Figures::of(row);
        total.add(&figures);
        let mut day = day.to_string();
        day.truncate(10);
        let (partner, webhook) = match receiver {
            Receiver::Nobody => (None, None),
            Receiver::Partner(id) => (Some(conversions::partner(id, settings)), None),
            Receiver::Webhook(id) => (None, Some(conversions::webhook(id, settings))),
        };
        rows.push(Row { day, partner, webhook, kind, figures });
    }
    let balanced = rows.iter().all(|row| row.figures.is_balanced());
    let ended: i64 = total.ended.values().sum();
    // In thousandths, so that no float decides what is shown.
    let success_rate = (ended > 0).then(|| {
        let permille = total.ended_as("delivered") * 1_000 / ended;
        format!("{}.{}", permille / 10, permille % 10)
    });
    let overdue = depth.oldest.map(|due| now.since(due)).filter(|ms| *ms > 0).map(human);
    Ok(Books {
        from: from.to_string(),
        to: period.to.to_string(),
        balanced,
        sentence: sentence(&total, balanced),
        rows,
        total,
        success_rate,
        waiting: Waiting {
            deliveries: depth.waiting,
            held: depth.held,
            oldest_due: depth.oldest.map(|due| due.to_string()),
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
    let other: i64 = total
        .ended
        .iter()
        .filter(|(state, _)| !["delivered", "dead", "expired"].contains(&state.as_str()))
        .map(|(_, n)| n)
        .sum();
    let replayed = match total.replayed {
        0 => String::new(),
        n => format!(" + {n} replayed"),
    };
    let held = match total.held {
        0 => String::new(),
        n => format!(" + {n} held"),
    };
    let expired = match total.ended_as("expired") {
        0 => String::new(),
        n => format!(" + {n} expired"),
    };
    let others = match other {
        0 => String::new(),
        n => format!(" + {n} ended otherwise"),
    };
    format!(
        "The books balance: {} considered = {} planned + {} suppressed; {} planned{replayed} = {} delivered + {} waiting{held} + {} given up{expired}{others}.",
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
        let row = |planned, waiting| {
            Figures::of(BalanceRow { considered: 2, planned, waiting, ..BalanceRow::default() })
        };
        let mut total = Figures::default();
        total.add(&row(2, 2));
        assert!(total.is_balanced(), "{total:?}");
        total.add(&row(1, 1));
        total.add(&row(3, 3));
        assert_eq!((total.considered, total.planned), (6, 6), "the sums alone would look right");
        assert_eq!(total.difference_rules, 2);
        assert!(sentence(&total, total.is_balanced()).contains("do not add up"));
    }

    #[test]
    fn what_expired_has_a_word_of_its_own() {
        let finished = [("delivered".to_owned(), 2), ("expired".to_owned(), 3)].into();
        let row = BalanceRow { considered: 5, planned: 5, finished, ..BalanceRow::default() };
        let mut total = Figures::default();
        total.add(&Figures::of(row));
        assert!(total.is_balanced(), "{total:?}");
        let said = sentence(&total, true);
        assert!(said.ends_with("5 planned = 2 delivered + 0 waiting + 0 given up + 3 expired."), "{said}");
    }
}
