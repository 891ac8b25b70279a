//! Body templates: form, JSON and plain text.
//!
//! JSON is followed only as far as the difference between inside and outside a string; that what comes out
//! is JSON is checked once, on a filled-in sample, when the template is saved. A macro inside a string is
//! escaped; outside, a value that is JSON itself stands as it is, nothing becomes `null`, anything else a string.

use super::expression::{Piece, Subject};
use super::fill::Part;
use super::filter::Filter;
use super::finding::Findings;
use super::place::{Spot, literal_push};
use super::{Code, Finding, Place};

/// What a template sends after its headers.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Body {
    /// Nothing.
    #[default]
    None,
    /// `application/x-www-form-urlencoded`: `a={x}&b={y}`.
    Form(String),
    /// `application/json`.
    Json(String),
    /// `text/plain`.
    Text(String),
}

impl Body {
    /// The template's text; empty when there is none.
    pub fn text(&self) -> &str {
        match self {
            Self::None => "",
            Self::Form(text) | Self::Json(text) | Self::Text(text) => text,
        }
    }

    /// The `content-type` that is sent when the template's headers name none.
    pub const fn content_type(&self) -> Option<&'static str> {
        match self {
            Self::None => None,
            Self::Form(_) => Some("application/x-www-form-urlencoded"),
            Self::Json(_) => Some("application/json"),
            Self::Text(_) => Some("text/plain; charset=utf-8"),
        }
    }
}

/// Makes a form body ready to be written.
pub(super) fn compile_form(pieces: Vec<Piece<'_>>, findings: &mut Findings) -> Vec<Part> {
    let mut parts = Vec::new();
    let mut told = false;
    for piece in pieces {
        match piece {
            Piece::Literal { at, text } => {
                let mut fixed = Vec::with_capacity(text.len());
                for (index, byte) in text.bytes().enumerate() {
                    let before = fixed.len();
                    literal_push(&mut fixed, Place::Body, byte);
                    if fixed.len() - before > 1 && !told {
                        told = true;
                        findings.add(Finding::new(
                            Code::LiteralEncoded,
                            Place::Body,
                            at + index,
                            "a form cannot hold this character; it is sent percent-encoded",
                        ));
                    }
                }
                Part::fix(&mut parts, &fixed);
            }
            Piece::Macro { expression, .. } => parts.push(Part::Fill { expression, spot: Spot::Query }),
        }
    }
    parts
}

/// Makes a JSON body ready to be written, and checks that a filled-in sample of it is JSON.
pub(super) fn compile_json(pieces: Vec<Piece<'_>>, findings: &mut Findings) -> Vec<Part> {
    let mut parts = Vec::new();
    let mut sample = Vec::new();
    let (mut in_string, mut escaped) = (false, false);
    for piece in pieces {
        match piece {
            Piece::Literal { text, .. } => {
                for byte in text.bytes() {
                    match byte {
                        _ if escaped => escaped = false,
                        b'\\' if in_string => escaped = true,
                        b'"' => in_string = !in_string,
                        _ => {}
                    }
                }
                sample.extend_from_slice(text.as_bytes());
                Part::fix(&mut parts, text.as_bytes());
            }
            Piece::Macro { expression, .. } => {
                // After a lone backslash the value's first letter would be read as an escape; the sample
                // holds a letter that is none, so this is reported as JSON that is not valid.
                escaped = false;
                sample.extend_from_slice(if in_string { b"x" } else { b"null" });
                parts.push(Part::Fill {
                    expression,
                    spot: if in_string { Spot::JsonString } else { Spot::JsonValue },
                });
            }
        }
    }
    if let Err(error) = serde_json::from_slice::<serde::de::IgnoredAny>(&sample) {
        findings.add(Finding::new(
            Code::JsonInvalid,
            Place::Body,
            0,
            format!("the body is not JSON: {error}"),
        ));
    }
    parts
}

/// Reports `urlencode` where values are percent-encoded anyway.
pub(super) fn note_nested(pieces: &[Piece<'_>], place: impl Fn(usize) -> Place, findings: &mut Findings) {
    for piece in pieces {
        let Piece::Macro { expression, .. } = piece else { continue };
        if expression.depth > 0 {
            continue;
        }
        for alternative in &expression.alternatives {
            let nested = alternative.filters.last() == Some(&Filter::Urlencode)
                && !alternative.filters.contains(&Filter::Raw)
                && alternative.subject != Subject::Setting;
            if nested {
                let message =
                    format!("`{}` is percent-encoded twice, as a URL inside a URL needs", alternative.name);
                findings.add(
                    Finding::new(Code::FilterNested, place(alternative.at), alternative.at, message)
                        .about(&alternative.name),
                );
            }
        }
    }
}
