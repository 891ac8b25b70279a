//! The few forms of FreeMarker that postback templates are written in: `${a.b}`, `${(a.b)!}`, `${(a.b)!"text"}`
//! and `<#if a.b>1<#else>0</#if>`.
//!
//! This reads what a template says about one value. It is no FreeMarker: any other directive or expression is
//! text, and a finding names it. A directive that is not understood is text from its beginning to its end, so no
//! part of it is filled in.

use super::expression::{Alternative, Expression};
use super::finding::Findings;
use super::position::Position;
use super::reader::Reader;
use super::syntax::{MACRO_BYTES_MAX, Syntax};
use super::{Code, Finding, Severity};

/// A stretch of text that is FreeMarker.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Found<'t> {
    pub(super) at: usize,
    pub(super) end: usize,
    text: &'t str,
    what: What<'t>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum What<'t> {
    /// A value, and what is done to it.
    Value { path: &'t str, filters: Vec<(&'static str, Option<&'t str>)> },
    /// One of two texts.
    If { path: &'t str, exists: bool, negated: bool, then: &'t str, other: &'t str },
    /// Something else.
    Odd,
}

impl<'t> Found<'t> {
    /// The path of the value it is about, if it was understood.
    pub(super) fn path(&self) -> Option<&'t str> {
        match self.what {
            What::Value { path, .. } | What::If { path, .. } => Some(path),
            What::Odd => None,
        }
    }
}

/// The FreeMarker that begins at an offset.
pub(super) fn find(text: &str, at: usize) -> Option<Found<'_>> {
    let rest = text.get(at..)?;
    let mut bound = rest.len().min(MACRO_BYTES_MAX);
    while !rest.is_char_boundary(bound) {
        bound -= 1;
    }
    let rest = &rest[..bound];
    if let Some(inside) = rest.strip_prefix("${") {
        let Some(length) = closing_brace(inside) else {
            return Some(Found { at, end: at + 2, text: &rest[..2], what: What::Odd });
        };
        let what = value(&inside[..length]).unwrap_or(What::Odd);
        return Some(Found { at, end: at + length + 3, text: &rest[..length + 3], what });
    }
    let name = rest.strip_prefix("<#").or_else(|| rest.strip_prefix("</#"))?;
    if !name.starts_with(|c: char| c.is_ascii_alphabetic()) {
        return None;
    }
    if rest.starts_with("<#if") {
        let length = end_of_if(rest)?;
        let what = condition(&rest[..length]).unwrap_or(What::Odd);
        return Some(Found { at, end: at + length, text: &rest[..length], what });
    }
    let length = rest.find('>')? + 1;
    Some(Found { at, end: at + length, text: &rest[..length], what: What::Odd })
}

/// Where the `}` is that no quotes stand around.
fn closing_brace(inside: &str) -> Option<usize> {
    let mut quote = None;
    for (index, byte) in inside.bytes().enumerate() {
        match (quote, byte) {
            (None, b'}') => return Some(index),
            (None, b'{') => return None,
            (None, b'"' | b'\'') => quote = Some(byte),
            (Some(open), byte) if open == byte => quote = None,
            _ => {}
        }
    }
    None
}

/// Where the directive ends that text begins with, directives within it included.
fn end_of_if(text: &str) -> Option<usize> {
    let mut depth = 0_usize;
    for (index, _) in text.match_indices('<') {
        if text[index..].starts_with("<#if") {
            depth += 1;
        } else if text[index..].starts_with("</#if>") {
            depth -= 1;
            if depth == 0 {
                return Some(index + "</#if>".len());
            }
        }
    }
    None
}

/// Reads a path, with or without parentheses, and gives what follows it.
fn path(text: &str) -> Option<(&str, &str)> {
    let text = text.trim();
    let is_path = |byte: u8| {
        byte.is_ascii_alphanumeric()
            || matches!(byte, b'_' | b'~' | b'$' | b'.' | b'+' | b'-' | b'@' | b'[' | b']')
    };
    let (path, rest) = match text.strip_prefix('(') {
        Some(inside) => inside.split_once(')')?,
        None => text.split_at(text.bytes().position(|byte| !is_path(byte)).unwrap_or(text.len())),
    };
    let path = path.trim();
    let opens = path.bytes().next().is_some_and(|b| !b.is_ascii_digit() && !matches!(b, b'.' | b'-' | b'+'));
    (opens && path.bytes().all(is_path)).then_some((path, rest.trim()))
}

fn value(inside: &str) -> Option<What<'_>> {
    let (path, mut rest) = path(inside)?;
    let mut filters = Vec::new();
    while !rest.is_empty() {
        if let Some(after) = rest.strip_prefix('!') {
            let after = after.trim_start();
            let quote = after.chars().next().filter(|c| matches!(c, '"' | '\''));
            if let Some(quote) = quote {
                let (text, after) = after[1..].split_once(quote)?;
                if text.contains('\\') {
                    return None;
                }
                filters.push(("default", Some(text)));
                rest = after.trim_start();
            } else {
                let length = after.bytes().take_while(|b| b.is_ascii_digit() || *b == b'.').count();
                if length > 0 {
                    filters.push(("default", Some(&after[..length])));
                }
                rest = after[length..].trim_start();
            }
            continue;
        }
        let name = rest.strip_prefix('?')?;
        let length = name.bytes().take_while(|b| b.is_ascii_alphabetic() || *b == b'_').count();
        match &name[..length] {
            // Values are percent-encoded wherever they need it, and are text already.
            "url" | "string" | "c" => {}
            "lower_case" => filters.push(("lower", None)),
            "upper_case" => filters.push(("upper", None)),
            _ => return None,
        }
        rest = name[length..].trim_start();
    }
    Some(What::Value { path, filters })
}

fn condition(text: &str) -> Option<What<'_>> {
    let inside = text.strip_prefix("<#if")?.strip_suffix("</#if>")?;
    if !inside.starts_with([' ', '(', '!', '+']) {
        return None;
    }
    let (condition, branches) = inside.split_once('>')?;
    let (then, other) = branches.split_once("<#else>").unwrap_or((branches, ""));
    if [then, other].iter().any(|branch| branch.contains(['<', '$', '{'])) {
        return None;
    }
    let condition = condition.trim();
    let (negated, condition) = match condition.strip_prefix('!') {
        Some(rest) => (true, rest),
        None => (false, condition),
    };
    let (path, rest) = path(condition)?;
    let (exists, is_false) = match rest {
        "" | "!" | "!false" | "== true" | "?? && true" => (false, false),
        "== false" => (false, true),
        "??" | "!?has_content" | "?has_content" => (true, false),
        _ => return None,
    };
    Some(What::If { path, exists, negated: negated != is_false, then, other })
}

impl Reader<'_> {
    /// What a stretch of FreeMarker says; `None` if it stays text.
    pub(super) fn free_marker(
        self,
        found: &Found<'_>,
        position: &Position<'_>,
        findings: &mut Findings,
    ) -> Option<Expression> {
        let ground = self.ground(position, findings);
        let at = found.at;
        let mut word = |path: &str| -> Vec<Alternative> {
            let offset = found.text.find(path).unwrap_or(0);
            self.word(path, at + offset, Syntax::FreeMarker, &ground, findings)
        };
        let alternatives = match &found.what {
            What::Value { path, filters } => {
                let mut word = word(path);
                for (name, argument) in filters {
                    let argument = argument.map(super::foreign::escape);
                    // An empty default is what a missing value is anyway.
                    if argument.as_deref() != Some("") {
                        self.filter_word(&mut word, name, argument.as_deref(), at, findings);
                    }
                }
                word
            }
            What::If { path, exists, negated, then, other } => {
                let mut word = word(path);
                let (yes, no) = if *negated { (other, then) } else { (then, other) };
                let mut pairs = vec![("", *no)];
                if !*exists {
                    pairs.extend([("0", *no), ("false", *no)]);
                }
                self.map_word(&mut word, &pairs, Some(yes), at, findings);
                word
            }
            What::Odd => {
                let message =
                    format!("`{}` is FreeMarker that is not read here; it is sent as it is", found.text);
                let severity = if self.free_text { Severity::Warning } else { Severity::Error };
                findings.add(
                    Finding::new(Code::MacroMalformed, self.place, at, message)
                        .about(found.text)
                        .severity(severity),
                );
                return None;
            }
        };
        Some(Expression { text: found.text.to_owned(), alternatives, depth: 0 })
    }
}
