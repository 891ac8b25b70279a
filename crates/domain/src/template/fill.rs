//! Fills a template's parts in: text as it is, macros with their values.

use super::expression::{Expression, Flow, Subject};
use super::place::{Out, Spot};
use super::{Sending, Values};
use std::borrow::Cow;

/// Most names reported as missing; a template can repeat one name thousands of times.
const NAMES_MAX: usize = 100;

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
}

/// Values for one rendering.
#[derive(Clone, Copy)]
pub(super) struct Context<'a> {
    pub(super) values: &'a dyn Values,
    pub(super) sending: Option<&'a Sending<'a>>,
}

impl Context<'_> {
    /// Writes all parts, at most `max` bytes.
    pub(super) fn fill(self, parts: &[Part], max: usize, report: &mut Report) -> Vec<u8> {
        let fixed: usize = parts
            .iter()
            .map(|part| match part {
                Part::Fixed(bytes) => bytes.len(),
                Part::Fill { .. } => 40,
            })
            .sum();
        let mut out = Out::new(max, fixed);
        for part in parts {
            match part {
                Part::Fixed(bytes) => out.fixed(bytes),
                Part::Fill { expression, spot } => self.expand(expression, *spot, &mut out, report),
            }
            if out.is_cut() {
                report.too_long = true;
                break;
            }
        }
        out.into_bytes()
    }

    fn expand(self, expression: &Expression, spot: Spot, out: &mut Out, report: &mut Report) {
        let (mut known, mut had_value) = (false, false);
        for alternative in &expression.alternatives {
            let value = match alternative.subject {
                Subject::Sending => self.sending.and_then(|sending| sending.get(&alternative.key)),
                _ => self.values.get(&alternative.key),
            };
            known |= alternative.subject != Subject::Loose;
            had_value |= value.is_some();
            let mut flow = match value {
                Some(value) => Flow { bytes: value.decoded, received: value.received, verbatim: false },
                None => Flow { bytes: Cow::Borrowed(&[]), received: None, verbatim: false },
            };
            for filter in &alternative.filters {
                filter.apply(&alternative.key, &mut flow);
            }
            if !flow.bytes.is_empty() {
                out.value(spot, &flow.bytes, flow.verbatim);
                return;
            }
        }
        let name = expression.alternatives.first().map_or("", |first| &first.name);
        if !known && !had_value {
            note(&mut report.unexpanded, name);
            out.kept(spot, &expression.text);
            return;
        }
        if !had_value {
            note(&mut report.missing, name);
        }
        out.value(spot, &[], false);
    }
}

fn note(names: &mut Vec<String>, name: &str) {
    if names.len() < NAMES_MAX && !names.iter().any(|known| known == name) {
        names.push(name.to_owned());
    }
}
