//! Where a template's values come from, and what is hidden from whom.

use super::vocabulary;
use std::borrow::Cow;
use std::collections::BTreeMap;

/// One value: its decoded bytes and, when it came on the wire, the very bytes that were received.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Value<'a> {
    /// The decoded bytes. Not always UTF-8: partners send what they like.
    pub decoded: Cow<'a, [u8]>,
    /// The bytes as they stood in the request, still percent-encoded. `{x|raw}` gives them back.
    pub received: Option<Cow<'a, [u8]>>,
}

impl<'a> Value<'a> {
    /// A value of our own making, which has no received form.
    pub fn text(text: impl Into<Cow<'a, str>>) -> Self {
        let decoded = match text.into() {
            Cow::Borrowed(text) => Cow::Borrowed(text.as_bytes()),
            Cow::Owned(text) => Cow::Owned(text.into_bytes()),
        };
        Self { decoded, received: None }
    }

    /// A value that was received: its decoded bytes and the bytes they were decoded from.
    pub fn received(decoded: impl Into<Cow<'a, [u8]>>, received: impl Into<Cow<'a, [u8]>>) -> Self {
        Self { decoded: decoded.into(), received: Some(received.into()) }
    }
}

/// A source of values. It is asked for the names of the vocabulary, for `param.NAME` (a link parameter;
/// also what an unknown `{NAME}` asks for) and for `cfg.NAME`. It is never asked for `click_id`, only for
/// `partner_click_id` or `rt_click_id`, and never for what [`Sending`] knows.
pub trait Values {
    /// The value of a macro; `None` when there is none.
    fn get(&self, name: &str) -> Option<Value<'_>>;
}

impl Values for BTreeMap<String, Value<'_>> {
    fn get(&self, name: &str) -> Option<Value<'_>> {
        BTreeMap::get(self, name).map(|value| Value {
            decoded: Cow::Borrowed(&value.decoded),
            received: value.received.as_deref().map(Cow::Borrowed),
        })
    }
}

impl<const N: usize> Values for [(&str, &str); N] {
    fn get(&self, name: &str) -> Option<Value<'_>> {
        self.iter().find(|(key, _)| *key == name).map(|(_, value)| Value::text(*value))
    }
}

/// What is known only while a request is sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sending<'a> {
    /// Number of the attempt, from 1.
    pub attempt: u32,
    /// When it is sent, unix milliseconds.
    pub at_ms: i64,
    /// Fresh random text for this attempt.
    pub nonce: &'a str,
}

impl Sending<'_> {
    /// The value of a macro that belongs to the attempt; `None` for all others.
    pub(super) fn get(&self, name: &str) -> Option<Value<'_>> {
        match name {
            "attempt" => Some(Value::text(self.attempt.to_string())),
            "timestamp" => Some(Value::text(self.at_ms.div_euclid(1000).to_string())),
            "timestamp_ms" => Some(Value::text(self.at_ms.to_string())),
            "timestamp_iso" => jiff::Timestamp::from_millisecond(self.at_ms)
                .ok()
                .map(|time| Value::text(format!("{time:.3}"))),
            "nonce" => Some(Value::text(self.nonce)),
            _ => None,
        }
    }
}

/// What the one who is told may see. It wraps a source of values and hides the rest.
pub struct Audience<'a> {
    /// The full values.
    pub values: &'a dyn Values,
    /// Whether the rule shares revenue. Without it every money macro is empty.
    pub revenue_shared: bool,
    /// Whether the one told won the conversion. Without it what belongs to the winning touch is empty.
    pub winner: bool,
}

impl Values for Audience<'_> {
    fn get(&self, name: &str) -> Option<Value<'_>> {
        if name.starts_with("param.") {
            // An unknown name without a value keeps its text. A hidden one does have a value and was
            // understood, so it becomes empty instead.
            let value = self.values.get(name)?;
            return Some(if self.winner { value } else { Value::text("") });
        }
        let Some(known) = vocabulary::find(name) else { return self.values.get(name) };
        if (known.money && !self.revenue_shared) || (known.winner_only && !self.winner) {
            return None;
        }
        self.values.get(name)
    }
}
