//! `share_revenue` of a rule: a switch, a word, or how.

use std::borrow::Cow;

use roundtrip_domain::money::{Amount, MICROS};
use roundtrip_domain::problem::Code;
use roundtrip_domain::sharing::{PERCENT_MAX, Share};
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::judge::{Entry, Judge};
use super::likely::hint;
use super::shape::join;

/// How much of the revenue is told: `"none"` or false (default), `"exact"` or true, `{rounded = "1"}` to the
/// nearest multiple of that step, `{percent = 70}` rounded to the minor unit. None empties every money macro;
/// all but exact empty `{event_value}`, which can hold the very amount.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct ShareRevenue(pub Value);

impl Default for ShareRevenue {
    fn default() -> Self {
        Self(Value::Bool(false))
    }
}

impl JsonSchema for ShareRevenue {
    fn schema_name() -> Cow<'static, str> {
        "ShareRevenue".into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        let number = Number::json_schema(generator).to_value();
        json_schema!({
            "description": "How much of the revenue is told: `none` or false, `exact` or true, rounded to the nearest \
                            multiple of a step, or a part in percent. All but exact empty `{event_value}`.",
            "anyOf": [
                { "type": "boolean" },
                { "type": "string", "enum": ["none", "exact"] },
                {
                    "type": "object", "required": ["rounded"], "additionalProperties": false,
                    "properties": { "rounded": number }
                },
                {
                    "type": "object", "required": ["percent"], "additionalProperties": false,
                    "properties": { "percent": number }
                },
            ]
        })
    }
}

/// A decimal number: a whole one, or a text such as `"12.50"`. A number with a point is refused, because it was
/// rounded to binary before anybody could read it.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Number(pub Value);

impl JsonSchema for Number {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "Number".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "anyOf": [{ "type": "integer" }, { "type": "string" }] })
    }
}

impl Number {
    /// Its value in millionths. The error is a sentence for a person.
    pub(super) fn micros(&self) -> Result<i64, &'static str> {
        let text = match &self.0 {
            Value::String(text) => text.clone(),
            Value::Number(number) if number.is_i64() || number.is_u64() => number.to_string(),
            Value::Number(_) => return Err("a number with a point is written as a text: \"12.50\""),
            _ => return Err("it is a whole number, or a decimal number as a text: \"12.50\""),
        };
        match Amount::parse(&text) {
            Ok(amount) if amount.rounded => Err("it has at most six decimals"),
            Ok(amount) => Ok(amount.micros),
            Err(_) => Err("it is a decimal number, not negative and at most 100,000,000,000"),
        }
    }
}

impl Judge<'_> {
    pub(super) fn share(&mut self, entry: &Entry, doc: &ShareRevenue) -> Share {
        match &doc.0 {
            Value::Bool(false) => Share::None,
            Value::Bool(true) => Share::Exact,
            Value::String(word) => match word.as_str() {
                "none" => Share::None,
                "exact" => Share::Exact,
                other => {
                    let likely = hint(other, ["none", "exact"].into_iter());
                    let message =
                        format!("it is `none`, `exact`, {{rounded = …}} or {{percent = …}}{likely}");
                    self.wrong(entry, Code::ConfigInvalid, "share_revenue", message);
                    Share::None
                }
            },
            Value::Object(how) if how.len() == 1 => {
                let Some((word, value)) = how.iter().next() else { return Share::None };
                self.share_how(entry, word, &Number(value.clone()))
            }
            _ => {
                let message = "it is true, false, `none`, `exact`, or one of {rounded = …} and {percent = …}";
                self.wrong(entry, Code::ConfigInvalid, "share_revenue", message);
                Share::None
            }
        }
    }

    fn share_how(&mut self, entry: &Entry, word: &str, number: &Number) -> Share {
        let field = join("share_revenue", word);
        let kind: fn(i64) -> Share = match word {
            "rounded" => Share::Rounded,
            "percent" => Share::Percent,
            other => {
                let likely = hint(other, ["rounded", "percent"].into_iter());
                let message = format!("`{other}` is no setting here{likely}");
                self.wrong(entry, Code::ConfigUnknownKey, &field, message);
                return Share::None;
            }
        };
        let max = if word == "percent" { PERCENT_MAX * MICROS } else { i64::MAX };
        match number.micros() {
            Ok(0) => {
                let message = "it is more than 0; to share nothing, write share_revenue = \"none\"";
                self.wrong(entry, Code::ConfigInvalid, &field, message);
                Share::None
            }
            Ok(micros) if micros > max => {
                let message = format!("it is at most {PERCENT_MAX} percent");
                self.wrong(entry, Code::ConfigInvalid, &field, message);
                Share::None
            }
            Ok(micros) => kind(micros),
            Err(message) => {
                self.wrong(entry, Code::ConfigInvalid, &field, message);
                Share::None
            }
        }
    }
}
