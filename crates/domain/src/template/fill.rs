//! Fills a template's parts in: text as it is, macros with their values.

use crate::secret::SECRET_BYTES_MIN;

use super::expression::{Expression, Subject};
use super::filter::Flow;
use super::place::{Out, Spot};
use super::secret::Form;
use super::sign::Signed;
use super::{Sending, Values};

/// Most names reported as missing; a template can repeat one name thousands of times.
const NAMES_MAX: usize = 100;

/// What a macro is taken to be as long, to reserve room.
const VALUE_BYTES_TYPICAL: usize = 40;

/// A stretch of a template, ready to be written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Part {
    /// Bytes in their final form.
    Fixed(Vec<u8>),
    /// A macro and how its value is written.
    Fill { expression: Expression, spot: Spot },
}

impl Part {
    /// Adds fixed bytes, joined to the part before if that is fixed too.
    pub(super) fn fix(parts: &mut Vec<Part>, bytes: &[u8]) {
        if let Some(Part::Fixed(before)) = parts.last_mut() {
            before.extend_from_slice(bytes);
        } else if !bytes.is_empty() {
            parts.push(Part::Fixed(bytes.to_vec()));
        }
    }
}

/// What filling in found out besides the bytes.
#[derive(Debug, Default)]
pub(super) struct Report {
    pub(super) missing: Vec<String>,
    pub(super) unexpanded: Vec<String>,
    pub(super) too_long: bool,
    /// A setting that stands in scheme or host came to nothing that could be one.
    pub(super) no_host: bool,
    /// The settings' values that filters changed.
    pub(super) secrets: Vec<Form>,
}

impl Report {
    pub(super) fn missing(&mut self, name: &str) {
        note(&mut self.missing, name);
    }

    pub(super) fn unexpanded(&mut self, name: &str) {
        note(&mut self.unexpanded, name);
    }

    /// Adds what was found out in another part of the same request.
    pub(super) fn append(&mut self, mut other: Report) {
        other.missing.iter().for_each(|name| self.missing(name));
        other.unexpanded.iter().for_each(|name| self.unexpanded(name));
        self.too_long |= other.too_long;
        self.secrets.append(&mut other.secrets);
    }
}

fn note(names: &mut Vec<String>, name: &str) {
    if names.len() < NAMES_MAX && !names.iter().any(|known| known == name) {
        names.push(name.to_owned());
    }
}

/// What an expression came to.
#[derive(Debug)]
pub(super) enum Found<'a> {
    /// A value with something in it.
    Value(Flow<'a>),
    /// There is a value, and it is empty or was emptied.
    Empty,
    /// There is none.
    Missing,
    /// There is none, and no name of it means anything.
    Unknown,
}

/// Values for one rendering.
#[derive(Clone, Copy)]
pub(super) struct Context<'a> {
    values: &'a dyn Values,
    sending: Option<&'a Sending<'a>>,
    signed: Option<&'a Signed<'a>>,
}

impl<'a> Context<'a> {
    /// Values without signatures.
    pub(super) fn of(values: &'a dyn Values, sending: Option<&'a Sending<'a>>) -> Self {
        Self { values, sending, signed: None }
    }

    /// The same values, and signatures that were made of them.
    pub(super) fn signed<'b>(self, signed: &'b Signed<'b>) -> Context<'b>
    where
        'a: 'b,
    {
        Context { values: self.values, sending: self.sending, signed: Some(signed) }
    }

    /// The value of a partner's setting.
    pub(super) fn setting(self, key: &str) -> Option<super::Value<'a>> {
        self.values.get(key)
    }

    /// Works an expression out: the first alternative that is not empty once its filters are through.
    pub(super) fn resolve(self, expression: &Expression) -> Found<'a> {
        let (mut known, mut had_value) = (false, false);
        for alternative in &expression.alternatives {
            let value = match alternative.subject {
                Subject::Sending => {
                    let ours = self.sending.and_then(|sending| sending.get(&alternative.key));
                    ours.or_else(|| self.signed.and_then(|signed| signed.get(&alternative.key)))
                }
                _ => self.values.get(&alternative.key),
            };
            known |= alternative.subject != Subject::Loose;
            had_value |= value.is_some();
            let mut flow = value.map_or_else(Flow::default, Flow::from);
            for filter in &alternative.filters {
                filter.apply(&alternative.key, &mut flow);
            }
            if !flow.bytes.is_empty() {
                return Found::Value(flow);
            }
        }
        match (known, had_value) {
            (_, true) => Found::Empty,
            (true, false) => Found::Missing,
            (false, false) => Found::Unknown,
        }
    }

    /// Writes all parts, at most `max` bytes.
    pub(super) fn fill(self, parts: &[Part], max: usize, report: &mut Report) -> Vec<u8> {
        let likely: usize = parts
            .iter()
            .map(|part| match part {
                Part::Fixed(bytes) => bytes.len(),
                Part::Fill { .. } => VALUE_BYTES_TYPICAL,
            })
            .sum();
        let mut out = Out::new(max, likely);
        for part in parts {
            match part {
                Part::Fixed(bytes) => out.fixed(bytes),
                Part::Fill { expression, spot } => {
                    let before = out.len();
                    self.expand(expression, *spot, &mut out, report);
                    self.note_secrets(expression, report);
                    report.no_host |= !spot.is_host_in(out.from(before));
                }
            }
            if out.is_cut() {
                report.too_long = true;
                break;
            }
        }
        out.into_bytes()
    }

    /// Keeps what filters make of settings, step by step, because the one who is told may undo the last one. A hash
    /// hides the setting, and behind it nothing is kept.
    fn note_secrets(self, expression: &Expression, report: &mut Report) {
        for alternative in expression.alternatives.iter().filter(|one| one.is_changed_setting()) {
            let Some(value) = self.values.get(&alternative.key) else { continue };
            let mut flow = Flow::from(value);
            for filter in &alternative.filters {
                if flow.bytes.is_empty() || !filter.shows(&flow.bytes) {
                    break;
                }
                filter.apply(&alternative.key, &mut flow);
                if flow.bytes.len() >= SECRET_BYTES_MIN {
                    report.secrets.push(Form { key: alternative.key.clone(), bytes: flow.bytes.to_vec() });
                }
            }
        }
    }

    fn expand(self, expression: &Expression, spot: Spot, out: &mut Out, report: &mut Report) {
        match self.resolve(expression) {
            Found::Value(flow) => match flow.received {
                Some(received) if !flow.verbatim && spot.is_decoded_by_the_reader() => out.echo(&received),
                _ => out.value(spot, &flow.bytes, flow.verbatim),
            },
            Found::Empty => out.value(spot, &[], false),
            Found::Missing => {
                report.missing(expression.name());
                out.value(spot, &[], false);
            }
            Found::Unknown => {
                report.unexpanded(expression.name());
                out.kept(spot, &expression.text);
            }
        }
    }
}
