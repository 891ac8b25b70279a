//! How something is sent again, and how long it is accepted: `retry`, `timeout`, `success`, `accepts_within`.
//!
//! Rules and webhooks write these the same way. Both are judged by `Judge::retry`, which says what was set; what
//! was not has its default where it is sent (`domain::retry::Retry::policy`).

use std::borrow::Cow;

use roundtrip_domain::problem::Code;
use roundtrip_domain::retry::{
    ACCEPTANCE_MIN, Late, Receiver, Retry, TIMEOUTS, WAIT_MIN, WAITS_MAX, WAITS_SUM_MAX, is_retried,
};
use roundtrip_domain::settings as domain;
use roundtrip_domain::success::{self, Otherwise, Pattern, SuccessPattern};
use roundtrip_domain::time::Span;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::document;
use super::judge::{Entry, Judge};
use super::likely::hint;
use super::rule::WINDOW_MAX;
use super::shape::join;

/// The shortest horizon: what is to be tried for less than a minute has a list of waits.
const HORIZON_MIN: Span = Span::from_seconds(60);
/// What a table of `retry` can say.
const FIELDS: [&str; 3] = ["waits", "for", "on"];

/// When it is sent again: a list of waits, or a table of `waits`, `for` and `on`. Null says nothing.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct RetryDoc(pub Value);

impl JsonSchema for RetryDoc {
    fn schema_name() -> Cow<'static, str> {
        "Retry".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "description": "When it is sent again: a list of waits, or a table.",
            "anyOf": [
                { "type": "array", "items": { "type": "string" } },
                {
                    "type": "object", "additionalProperties": false,
                    "properties": {
                        "waits": {
                            "description": "The wait after the first, second, … send: at most 50, each at least 1s, \
                                            together at most 30d. An empty list sends once.",
                            "type": "array", "items": { "type": "string" }
                        },
                        "for": {
                            "description": "Nothing is sent later than this after the first send; 1m to 30d.",
                            "type": "string"
                        },
                        "on": {
                            "description": "Statuses from 300 to 499 after which it is sent again too; not for webhooks.",
                            "type": "array", "items": { "type": "integer", "minimum": 300, "maximum": 499 }
                        },
                    }
                },
            ]
        })
    }
}

/// What an answer of 2xx must say to be a success; all that is named.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Success {
    /// A text that stands in the first 4 KiB of the body, such as `success=true`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub contains: Option<String>,
    /// A text that does not stand there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub not_contains: Option<String>,
    /// A regular expression that matches somewhere there: `"success"\s*:\s*true`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub matches: Option<String>,
    /// What follows when the body says otherwise: `dead` (default), which gives it up, or `retry`.
    #[serde(default, rename = "else", skip_serializing_if = "document::is_default")]
    pub otherwise: Else,
}

/// What follows a 2xx whose body says otherwise.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Else {
    /// It is given up.
    #[default]
    Dead,
    /// It is sent again.
    Retry,
}

/// From when the time counts in which a receiver accepts something.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum AcceptsFrom {
    /// The partner's click; where it has none, the conversion.
    #[default]
    Click,
    /// The conversion.
    Conversion,
}

impl From<AcceptsFrom> for domain::AcceptsFrom {
    fn from(from: AcceptsFrom) -> Self {
        match from {
            AcceptsFrom::Click => Self::Click,
            AcceptsFrom::Conversion => Self::Conversion,
        }
    }
}

/// What becomes of what its receiver does not accept any more.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum IfLate {
    /// It expires.
    #[default]
    Expire,
    /// It is sent once more.
    TryOnce,
}

impl From<IfLate> for Late {
    fn from(late: IfLate) -> Self {
        match late {
            IfLate::Expire => Self::Expire,
            IfLate::TryOnce => Self::TryOnce,
        }
    }
}

/// The settings of a document that say how it is sent.
#[derive(Clone, Copy)]
pub(super) struct HowSent<'a> {
    pub(super) retry: &'a RetryDoc,
    pub(super) timeout: Option<&'a String>,
    pub(super) success: &'a Success,
}

impl Judge<'_> {
    /// Judges how a rule's or webhook's deliveries are sent.
    pub(super) fn retry(&mut self, entry: &Entry, how: HowSent<'_>, receiver: Receiver) -> Retry {
        let (waits, horizon, on) = match &how.retry.0 {
            Value::Null => (None, None, Vec::new()),
            Value::Array(waits) => (self.waits(entry, "retry", waits), None, Vec::new()),
            Value::Object(table) => self.retry_table(entry, table, receiver),
            _ => {
                let message =
                    "it is a list of waits (`[\"10s\", \"5m\"]`), or a table of `waits`, `for` and `on`";
                self.wrong(entry, Code::ConfigInvalid, "retry", message);
                (None, None, Vec::new())
            }
        };
        let timeout = self.span_within(entry, "timeout", how.timeout, *TIMEOUTS.start(), *TIMEOUTS.end());
        Retry { waits, horizon, on, timeout, success: self.success(entry, how.success) }
    }

    fn retry_table(
        &mut self,
        entry: &Entry,
        table: &Map<String, Value>,
        receiver: Receiver,
    ) -> (Option<Vec<Span>>, Option<Span>, Vec<u16>) {
        let (mut waits, mut horizon, mut on) = (None, None, Vec::new());
        for (name, value) in table {
            let field = join("retry", name);
            match (name.as_str(), value) {
                (_, Value::Null) => {}
                ("waits", Value::Array(list)) => waits = self.waits(entry, &field, list),
                ("for", Value::String(text)) => {
                    horizon = self.span_within(entry, &field, Some(text), HORIZON_MIN, WAITS_SUM_MAX);
                }
                ("on", Value::Array(_)) if receiver == Receiver::Webhook => {
                    let message =
                        "a webhook is sent again after every status but 2xx and 410; leave `on` out";
                    self.wrong(entry, Code::ConfigInvalid, &field, message);
                }
                ("on", Value::Array(list)) => on = self.statuses(entry, &field, list),
                ("waits" | "on", _) => self.wrong(entry, Code::ConfigInvalid, &field, "it is a list"),
                ("for", _) => {
                    self.wrong(entry, Code::ConfigInvalid, &field, "it is a text, such as \"12h\"");
                }
                (other, _) => {
                    let likely = hint(other, FIELDS.into_iter());
                    let message = format!("`{other}` is no setting here{likely}");
                    self.wrong(entry, Code::ConfigUnknownKey, &field, message);
                }
            }
        }
        (waits, horizon, on)
    }

    fn waits(&mut self, entry: &Entry, field: &str, list: &[Value]) -> Option<Vec<Span>> {
        if list.len() > WAITS_MAX {
            let message = format!("it has at most {WAITS_MAX} waits");
            self.wrong(entry, Code::ConfigInvalid, field, message);
            return None;
        }
        let mut waits = Vec::with_capacity(list.len());
        for (index, value) in list.iter().enumerate() {
            let at = format!("{field}[{index}]");
            match value {
                Value::String(text) => {
                    waits.extend(self.span_within(entry, &at, Some(text), WAIT_MIN, WAITS_SUM_MAX));
                }
                _ => self.wrong(entry, Code::ConfigInvalid, &at, "it is a text, such as \"10s\""),
            }
        }
        let sum = waits.iter().map(|wait| wait.ms()).sum::<i64>();
        if sum > WAITS_SUM_MAX.ms() {
            let message = format!("the waits add up to at most {WAITS_SUM_MAX}");
            self.wrong(entry, Code::ConfigInvalid, field, message);
            return None;
        }
        Some(waits)
    }

    fn statuses(&mut self, entry: &Entry, field: &str, list: &[Value]) -> Vec<u16> {
        let mut statuses: Vec<u16> = Vec::new();
        for (index, value) in list.iter().enumerate() {
            let at = format!("{field}[{index}]");
            match value.as_u64().and_then(|n| u16::try_from(n).ok()) {
                Some(status) if is_retried(status) => {
                    let message = format!("{status} is sent again without saying so; leave it out");
                    self.wrong(entry, Code::ConfigInvalid, &at, message);
                }
                Some(status @ 300..=499) if statuses.contains(&status) => {
                    self.wrong(entry, Code::ConfigInvalid, &at, format!("{status} is listed already"));
                }
                Some(status @ 300..=499) => statuses.push(status),
                _ => {
                    let message = "it is a status from 300 to 499, such as 404";
                    self.wrong(entry, Code::ConfigInvalid, &at, message);
                }
            }
        }
        statuses
    }

    fn success(&mut self, entry: &Entry, doc: &Success) -> SuccessPattern {
        let mut text = |name: &str, text: &Option<String>| {
            let text = text.as_ref()?;
            match success::is_bounded(text) {
                Ok(()) => Some(text.clone()),
                Err(message) => {
                    self.wrong(entry, Code::ConfigInvalid, &join("success", name), message);
                    None
                }
            }
        };
        let contains = text("contains", &doc.contains);
        let not_contains = text("not_contains", &doc.not_contains);
        let matches = doc.matches.as_ref().and_then(|text| match Pattern::parse(text) {
            Ok(pattern) => Some(pattern),
            Err(message) => {
                self.wrong(entry, Code::ConfigInvalid, "success.matches", message);
                None
            }
        });
        if *doc == (Success { otherwise: Else::Retry, ..Success::default() }) {
            let message = "`else` says what follows when the body says otherwise: than `contains`, `not_contains` \
                           or `matches`, one of which is missing";
            self.wrong(entry, Code::ConfigMissing, "success", message);
        }
        let otherwise = match doc.otherwise {
            Else::Dead => Otherwise::Dead,
            Else::Retry => Otherwise::Retry,
        };
        SuccessPattern { contains, not_contains, matches, otherwise }
    }

    /// Judges how long a rule's receiver accepts what it is told.
    pub(super) fn accepts(&mut self, entry: &Entry, doc: &document::Rule) -> domain::Accepts {
        match doc.accepts_within.as_deref() {
            None => domain::Accepts::AsPartner,
            Some(NEVER_ENDS) => domain::Accepts::Always,
            Some(_) => {
                let window = self.acceptance(entry, doc.accepts_within.as_ref());
                let delay = doc.delay.as_deref().and_then(Span::parse);
                if let Some((window, delay)) = window.zip(delay).filter(|(window, delay)| delay >= window) {
                    let message = format!(
                        "held back for {delay}, it is first sent when it is accepted no more ({window})"
                    );
                    self.wrong(entry, Code::ConfigInvalid, "delay", message);
                }
                window.map_or_else(Default::default, domain::Accepts::Within)
            }
        }
    }

    /// Judges an acceptance window.
    pub(super) fn acceptance(&mut self, entry: &Entry, text: Option<&String>) -> Option<Span> {
        self.span_within(entry, "accepts_within", text, ACCEPTANCE_MIN, WINDOW_MAX)
    }

    fn span_within(
        &mut self,
        entry: &Entry,
        field: &str,
        text: Option<&String>,
        min: Span,
        max: Span,
    ) -> Option<Span> {
        let span = self.span(entry, field, text, max)?;
        if span < min {
            self.wrong(entry, Code::ConfigInvalid, field, format!("it is at least {min}"));
            return None;
        }
        Some(span)
    }
}

/// What a rule writes whose receiver accepts everything, whatever its partner's window is.
pub(super) const NEVER_ENDS: &str = "none";
