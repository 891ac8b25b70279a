//! Numbers of several rounds, the floors they are held against, and how both are printed.
//!
//! A number stands for its rounds by their median: one round that met a noisy neighbour does not move it.

use serde_json::{Value, json};

/// The quantile `q` (0 to 1) of sorted numbers, by nearest rank; 0 when there are none.
pub(super) fn percentile(sorted: &[f64], q: f64) -> f64 {
    let Some(last) = sorted.len().checked_sub(1) else { return 0.0 };
    #[expect(clippy::cast_precision_loss, reason = "a run has far fewer than 2^53 samples")]
    let rank = (q.clamp(0.0, 1.0) * sorted.len() as f64).ceil();
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "it lies within 0 and the length"
    )]
    let index = (rank as usize).saturating_sub(1).min(last);
    sorted[index]
}

/// The middle of numbers in any order; of an even count, between the two in the middle.
pub(super) fn median(values: &[f64]) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    match sorted.len() {
        0 => 0.0,
        n if n % 2 == 1 => sorted[n / 2],
        n => f64::midpoint(sorted[n / 2 - 1], sorted[n / 2]),
    }
}

/// What a number is held against.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Floor {
    /// It should be this or more.
    AtLeast(f64),
    /// It should be this or less.
    AtMost(f64),
    /// Nothing yet, for this reason.
    Waits(&'static str),
    /// Nothing: it explains other numbers.
    None,
}

impl Floor {
    fn is_met(self, value: f64) -> Option<bool> {
        match self {
            Self::AtLeast(floor) => Some(value >= floor),
            Self::AtMost(floor) => Some(value <= floor),
            Self::Waits(_) | Self::None => None,
        }
    }
}

/// One measured thing.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Measure {
    /// What it is, in the words of the documentation.
    pub(super) what: String,
    /// Its unit, such as `/s`; empty for a plain count.
    pub(super) unit: &'static str,
    /// Its value in each round.
    pub(super) rounds: Vec<f64>,
    /// What it is held against.
    pub(super) floor: Floor,
}

impl Measure {
    /// A number that was measured in several rounds.
    pub(super) fn of_rounds(what: impl Into<String>, unit: &'static str, rounds: Vec<f64>) -> Self {
        Self { what: what.into(), unit, rounds, floor: Floor::None }
    }

    /// A number that was measured once.
    pub(super) fn once(what: impl Into<String>, unit: &'static str, value: f64) -> Self {
        Self::of_rounds(what, unit, vec![value])
    }

    /// The same, held against a floor.
    pub(super) fn held_against(self, floor: Floor) -> Self {
        Self { floor, ..self }
    }

    /// The number that stands for its rounds.
    pub(super) fn value(&self) -> f64 {
        median(&self.rounds)
    }

    fn bounds(&self) -> (f64, f64) {
        let low = self.rounds.iter().copied().fold(f64::INFINITY, f64::min);
        let high = self.rounds.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        (low, high)
    }

    fn json(&self, bench: &str) -> Value {
        let mut line = json!({
            "bench": bench, "what": self.what, "unit": self.unit, "value": self.value(), "rounds": self.rounds,
        });
        let (name, floor) = match self.floor {
            Floor::AtLeast(floor) => ("at_least", json!(floor)),
            Floor::AtMost(floor) => ("at_most", json!(floor)),
            Floor::Waits(why) => ("waits", json!(why)),
            Floor::None => return line,
        };
        line["floor"] = json!({ name: floor });
        if let Some(met) = self.floor.is_met(self.value()) {
            line["met"] = met.into();
        }
        line
    }

    fn cells(&self) -> [String; 4] {
        let value = self.value();
        let (low, high) = self.bounds();
        let spread = if self.rounds.len() > 1 {
            format!("{} to {}", number(low), number(high))
        } else {
            String::new()
        };
        let floor = match (self.floor, self.floor.is_met(value)) {
            (Floor::AtLeast(floor), Some(met)) => format!("{} at least {}", mark(met), number(floor)),
            (Floor::AtMost(floor), Some(met)) => format!("{} at most {}", mark(met), number(floor)),
            (Floor::Waits(why), _) => format!("waits: {why}"),
            _ => String::new(),
        };
        let unit = if self.unit.is_empty() { String::new() } else { format!(" {}", self.unit) };
        [self.what.clone(), format!("{}{unit}", number(value)), spread, floor]
    }
}

fn mark(met: bool) -> &'static str {
    if met { "✓" } else { "✗" }
}

/// A number for people: three digits that mean something, thousands apart.
fn number(value: f64) -> String {
    let digits = match value.abs() {
        v if v >= 100.0 || v == 0.0 => 0,
        v if v >= 10.0 => 1,
        v if v >= 1.0 => 2,
        _ => 3,
    };
    let text = format!("{value:.digits$}");
    let (whole, rest) =
        text.split_once('.').map_or((text.as_str(), None), |(whole, rest)| (whole, Some(rest)));
    let (sign, whole) = whole.strip_prefix('-').map_or(("", whole), |whole| ("-", whole));
    let mut grouped = String::new();
    for (i, digit) in whole.chars().enumerate() {
        if i > 0 && (whole.len() - i) % 3 == 0 {
            grouped.push(',');
        }
        grouped.push(digit);
    }
    match rest {
        Some(rest) => format!("{sign}{grouped}.{rest}"),
        None => format!("{sign}{grouped}"),
    }
}

/// Everything a run has to say.
#[derive(Debug, Clone, Default)]
pub(super) struct Report {
    /// `clicks` or `events`.
    pub(super) bench: &'static str,
    /// Where and how it was measured: name and text.
    pub(super) about: Vec<(&'static str, String)>,
    /// What was measured, in the order it is shown.
    pub(super) measures: Vec<Measure>,
    /// What a reader should know before believing a number.
    pub(super) notes: Vec<String>,
}

impl Report {
    /// One line for where and how, one for each number, one for each note.
    pub(super) fn json_lines(&self) -> String {
        let mut about = json!({ "bench": self.bench });
        for (name, text) in &self.about {
            about[*name] = text.as_str().into();
        }
        let notes = self.notes.iter().map(|note| json!({ "bench": self.bench, "note": note }));
        let lines =
            std::iter::once(about).chain(self.measures.iter().map(|m| m.json(self.bench))).chain(notes);
        lines.map(|line| line.to_string()).collect::<Vec<_>>().join("\n")
    }

    /// The same for people.
    pub(super) fn table(&self) -> String {
        let mut text = String::new();
        let width = self.about.iter().map(|(name, _)| name.len()).max().unwrap_or(0);
        for (name, about) in &self.about {
            text.push_str(&format!("{name:width$}  {about}\n"));
        }
        let rows: Vec<[String; 4]> = self.measures.iter().map(Measure::cells).collect();
        let heads = ["measured", "median", "rounds", "floor"];
        let widths: Vec<usize> = (0..4)
            .map(|i| rows.iter().map(|row| row[i].chars().count()).chain([heads[i].len()]).max().unwrap_or(0))
            .collect();
        let mut line = |cells: [&str; 4]| {
            let row = format!(
                "{:<a$}  {:>b$}  {:<c$}  {}",
                cells[0],
                cells[1],
                cells[2],
                cells[3],
                a = widths[0],
                b = widths[1],
                c = widths[2]
            );
            text.push('\n');
            text.push_str(row.trim_end());
        };
        line(heads);
        for row in &rows {
            line([&row[0], &row[1], &row[2], &row[3]]);
        }
        for note in &self.notes {
            text.push_str(&format!("\n! {note}"));
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_are_of_the_sample() {
        let sorted: Vec<f64> = (1..=100).map(f64::from).collect();
        let quantiles = [0.0, 0.5, 0.99, 0.999, 1.0].map(|q| percentile(&sorted, q));
        assert_eq!(quantiles, [1.0, 50.0, 99.0, 100.0, 100.0]);
        assert_eq!(percentile(&[], 0.5), 0.0);
        assert_eq!(percentile(&[7.0], 0.999), 7.0);
    }

    #[test]
    fn the_median_ignores_one_bad_round() {
        assert_eq!(median(&[3.0, 1000.0, 2.0]), 3.0);
        assert_eq!(median(&[4.0, 2.0]), 3.0);
        assert_eq!(median(&[]), 0.0);
    }

    #[test]
    fn numbers_are_readable() {
        for (value, text) in [
            (44_123.4, "44,123"),
            (1_000_000.0, "1,000,000"),
            (123.4, "123"),
            (24.35, "24.4"),
            (1.234, "1.23"),
            (0.5, "0.500"),
            (0.0, "0"),
            (-1_234.0, "-1,234"),
        ] {
            assert_eq!(number(value), text);
        }
    }

    #[test]
    fn floors_are_met_or_not() {
        let measure = |value, floor| Measure::once("x", "", value).held_against(floor);
        assert_eq!(measure(0.5, Floor::AtLeast(0.5)).json("b")["met"], true);
        assert_eq!(measure(0.49, Floor::AtLeast(0.5)).json("b")["met"], false);
        assert_eq!(measure(10.1, Floor::AtMost(10.0)).json("b")["met"], false);
        let waits = measure(1.0, Floor::Waits("segments")).json("b");
        assert_eq!((&waits["met"], &waits["floor"]["waits"]), (&Value::Null, &json!("segments")));
    }

    #[test]
    fn a_report_prints_both_ways() {
        let report = Report {
            bench: "clicks",
            about: vec![("machine", "2 cores".to_owned()), ("disk", "ext4".to_owned())],
            measures: vec![
                Measure::of_rounds("redirects, 64 connections", "/s", vec![40_000.0, 44_000.0, 42_000.0]),
                Measure::once("of nginx", "", 0.52).held_against(Floor::AtLeast(0.5)),
            ],
            notes: vec!["a note".to_owned()],
        };
        insta::assert_snapshot!(report.table());
        insta::assert_snapshot!(report.json_lines());
    }
}
