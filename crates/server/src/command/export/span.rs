//! Whole days and hours, and what their files are called.

use roundtrip_domain::time::Timestamp;
use roundtrip_store::export::{Format, What};

/// How a folder is cut.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Split {
    Day,
    Hour,
}

impl Split {
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        match text {
            "day" => Ok(Self::Day),
            "hour" => Ok(Self::Hour),
            _ => Err("it is day or hour".to_owned()),
        }
    }

    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Day => "day",
            Self::Hour => "hour",
        }
    }

    const fn ms(self) -> i64 {
        match self {
            Self::Day => 86_400_000,
            Self::Hour => 3_600_000,
        }
    }

    /// The beginning of the span that a moment is in.
    pub(super) const fn floor(self, at: Timestamp) -> Timestamp {
        at.floor_to(self.ms())
    }

    /// The end of the span that a moment is in.
    pub(super) const fn end(self, at: Timestamp) -> Timestamp {
        self.floor(at).plus_ms(self.ms())
    }

    /// The file of the span that begins then, in the way of Hive's partitions.
    pub(super) fn file(self, from: Timestamp, what: What, format: Format) -> String {
        let text = from.to_string();
        let (day, hour) = (text.get(..10).unwrap_or_default(), text.get(11..13).unwrap_or_default());
        let name = format!("{}.{}", what.name(), format.name());
        match self {
            Self::Day => format!("dt={day}/{name}"),
            Self::Hour => format!("dt={day}/hr={hour}/{name}"),
        }
    }
}

/// The spans from the one that `from` is in to the one that ends at `to`, which begins one.
pub(super) fn parts(
    split: Split,
    from: Timestamp,
    to: Timestamp,
) -> impl Iterator<Item = (Timestamp, Timestamp)> {
    let next = move |from: Timestamp| from.plus_ms(split.ms());
    std::iter::successors(Some(split.floor(from)), move |from| Some(next(*from)))
        .take_while(move |from| *from < to)
        .map(move |from| (from, next(from)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> Timestamp {
        Timestamp::parse(text).unwrap()
    }

    #[test]
    fn spans_are_whole_and_leave_no_gap() {
        let days: Vec<_> =
            parts(Split::Day, at("2026-02-27T13:00:00Z"), at("2026-03-02T00:00:00Z")).collect();
        assert_eq!(days.len(), 3);
        assert_eq!((days[0].0, days[2].1), (at("2026-02-27T00:00:00Z"), at("2026-03-02T00:00:00Z")));
        assert!(days.windows(2).all(|pair| pair[0].1 == pair[1].0));
        assert_eq!(parts(Split::Hour, at("2026-02-27T13:20:00Z"), at("2026-02-27T13:00:00Z")).count(), 0);
        let name = |split: Split| split.file(at("2026-02-27T13:00:00Z"), What::Clicks, Format::Csv);
        assert_eq!(name(Split::Day), "dt=2026-02-27/clicks.csv");
        assert_eq!(name(Split::Hour), "dt=2026-02-27/hr=13/clicks.csv");
    }
}
