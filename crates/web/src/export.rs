//! What can be exported, as the API lists it and the command reads it.

use roundtrip_domain::problem::{Code, Problem};
use roundtrip_domain::time::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// What can be exported.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Exports {
    /// The server's time.
    pub now: String,
    /// Each kind of facts.
    pub items: Vec<Export>,
}

/// A kind of facts.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Export {
    /// `installs`, `events`, `conversions`, `decisions`, `deliveries` or `clicks`.
    pub name: String,
    /// Before this moment there are no rows; absent where there are none at all. Of clicks, those of other workspaces count.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub first: Option<String>,
    /// Rows before then are all there: no more come.
    pub settled: String,
    /// In their order; more are only added at the end.
    pub columns: Vec<Column>,
}

/// A column of an export.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Column {
    /// Its name, which never changes.
    pub name: String,
    /// Its type in Parquet, which never changes.
    pub r#type: String,
    /// Whether every row has a value.
    pub required: bool,
    /// Whether it could tell who somebody is, and is empty unless `full=true` asks for it.
    pub personal: bool,
    /// What it holds.
    pub means: String,
}

/// Reads an end of a span: a day, which begins at midnight UTC, or a moment of RFC 3339.
///
/// # Errors
/// With `parameter_invalid` for anything else.
pub fn moment(field: &str, text: &str) -> Result<Timestamp, Problem> {
    let day = || (text.len() == 10).then(|| Timestamp::parse(&format!("{text}T00:00:00Z")))?;
    // A number would be seconds or milliseconds; ten digits look like a day to nobody.
    let is_number = text.bytes().all(|byte| byte.is_ascii_digit());
    let moment = if is_number { None } else { day().or_else(|| Timestamp::parse(text)) };
    moment.filter(|at| at.ms() >= 0).ok_or_else(|| {
        let message = format!("`{text}` is neither a day such as 2026-06-04 nor a moment of RFC 3339");
        Problem::new(Code::ParameterInvalid, field, message)
            .fixed_by("give 2026-06-04 or 2026-06-04T09:00:00Z, in UTC")
    })
}

#[cfg(test)]
mod tests {
    use super::moment;

    #[test]
    fn ends_are_days_or_moments() {
        let ms = |text: &str| moment("from", text).ok().map(|at| at.ms());
        assert_eq!(ms("2026-06-04"), Some(1_780_531_200_000));
        assert_eq!(ms("2026-06-04T02:00:00+02:00"), Some(1_780_531_200_000));
        assert_eq!(ms("2026-06-04T00:00:00.001Z"), Some(1_780_531_200_001));
        for bad in [
            "",
            "today",
            "2026-06",
            "2026-02-30",
            "1780531200",
            "1780531200000",
            "2026-06-04T00:00:00",
            "1969-12-31",
        ] {
            assert_eq!(ms(bad), None, "{bad}");
        }
    }
}
