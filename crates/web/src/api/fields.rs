//! Takes a request's own fields (not a settings document's, which `store::settings` judges) out of its body.

use roundtrip_domain::problem::{Code, Problem};
use serde_json::{Map, Value};

/// The fields of a body that were not taken yet.
pub(super) struct Fields(Map<String, Value>);

impl Fields {
    /// The fields of an object.
    pub(super) fn of(body: Value) -> Result<Self, Problem> {
        match body {
            Value::Object(fields) => Ok(Self(fields)),
            _ => Err(Problem::new(Code::FieldType, "", "the body is an object")),
        }
    }

    /// A field of any type; null counts as absent.
    pub(super) fn any(&mut self, name: &str) -> Option<Value> {
        self.0.shift_remove(name).filter(|value| !value.is_null())
    }

    /// A field that has to be there.
    pub(super) fn must(&mut self, name: &str) -> Result<Value, Problem> {
        self.any(name).ok_or_else(|| Problem::new(Code::FieldMissing, name, format!("`{name}` is missing")))
    }

    /// A text.
    pub(super) fn text(&mut self, name: &str) -> Result<Option<String>, Problem> {
        match self.any(name) {
            None => Ok(None),
            Some(Value::String(text)) => Ok(Some(text)),
            Some(_) => Err(Problem::new(Code::FieldType, name, "it is a text")),
        }
    }

    /// True or false; false when absent.
    pub(super) fn truth(&mut self, name: &str) -> Result<bool, Problem> {
        match self.any(name) {
            None => Ok(false),
            Some(Value::Bool(is)) => Ok(is),
            Some(_) => Err(Problem::new(Code::FieldType, name, "it is true or false")),
        }
    }

    /// An object of texts, in its order; empty when absent.
    pub(super) fn texts(&mut self, name: &str) -> Result<Vec<(String, String)>, Problem> {
        let Some(value) = self.any(name) else { return Ok(Vec::new()) };
        let Value::Object(fields) = value else {
            return Err(Problem::new(Code::FieldType, name, "it is an object of texts"));
        };
        fields
            .into_iter()
            .map(|(key, value)| match value {
                Value::String(text) => Ok((key, text)),
                _ => Err(Problem::new(Code::FieldType, format!("{name}.{key}"), "it is a text")),
            })
            .collect()
    }

    /// Refuses what is left.
    pub(super) fn done(self) -> Result<(), Problem> {
        match self.0.keys().next() {
            None => Ok(()),
            Some(name) => {
                Err(Problem::new(Code::FieldUnknown, name.as_str(), format!("`{name}` is no field here")))
            }
        }
    }
}
