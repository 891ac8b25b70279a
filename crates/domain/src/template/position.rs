//! Where a reader stands in a URL or a form, worked out from left to right.
//!
//! What a word means, and whether brackets are meant as a macro at all, depends on the part of the request and the
//! parameter. The layout of the whole URL is known only once its macros are; this is what can be said before.
//! Not relied on for writing: there the layout counts.

use super::Place;
use super::place::urldecode;

/// Longest name of a parameter that says something about its value, in bytes.
const PARAMETER_BYTES_MAX: usize = 256;

/// What kind of text is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Shape {
    /// A URL.
    Url,
    /// `a=b&c=d`.
    Form,
    /// Anything without parameters: headers, JSON, plain text.
    Line,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Part {
    /// Before anything has said what it is: the scheme, or a setting that holds scheme and host.
    Start,
    Authority,
    Path,
    Query,
    Fragment,
    Line,
}

/// A place in a text, with what has been read before it.
#[derive(Debug, Clone)]
pub(super) struct Position<'t> {
    text: &'t str,
    shape: Shape,
    part: Part,
    read: usize,
    /// Slashes still to come that belong to `://`.
    slashes: usize,
    opens_with_macro: bool,
    /// Where the path's segment or the parameter's name begins.
    begin: usize,
    /// Where the parameter's value begins.
    value: Option<usize>,
    name_has_macro: bool,
}

impl<'t> Position<'t> {
    pub(super) fn new(text: &'t str, shape: Shape) -> Self {
        Self {
            text,
            shape,
            part: match shape {
                Shape::Url => Part::Start,
                Shape::Form => Part::Query,
                Shape::Line => Part::Line,
            },
            read: 0,
            slashes: 0,
            opens_with_macro: false,
            begin: 0,
            value: None,
            name_has_macro: false,
        }
    }

    /// Reads literal text up to an offset.
    pub(super) fn advance(&mut self, to: usize) {
        for index in self.read..to {
            self.literal(index);
        }
        self.read = self.read.max(to);
    }

    fn literal(&mut self, index: usize) {
        let byte = self.text.as_bytes()[index];
        if self.slashes > 0 {
            self.slashes -= 1;
            return;
        }
        match (self.part, byte) {
            (Part::Start, b':') if self.text[index + 1..].starts_with("//") => {
                (self.part, self.slashes) = (Part::Authority, 2);
            }
            (Part::Start, b':') if !self.opens_with_macro => self.part = Part::Path,
            (Part::Start | Part::Authority | Part::Path, b'/') | (Part::Authority, b'\\') => {
                (self.part, self.begin) = (Part::Path, index + 1);
            }
            (Part::Start | Part::Authority | Part::Path, b'?') => {
                // A macro of the path is in no parameter's name.
                (self.part, self.begin, self.name_has_macro) = (Part::Query, index + 1, false);
            }
            (Part::Start | Part::Authority | Part::Path, b'#') => self.part = Part::Fragment,
            (Part::Query, b'#') if self.shape == Shape::Url => self.part = Part::Fragment,
            (Part::Query, b'&') => {
                (self.begin, self.value, self.name_has_macro) = (index + 1, None, false);
            }
            (Part::Query, b'=') if self.value.is_none() => self.value = Some(index + 1),
            _ => {}
        }
    }

    /// Passes a macro.
    pub(super) fn skip(&mut self, to: usize) {
        if self.read == 0 && self.part == Part::Start {
            self.opens_with_macro = true;
        }
        if self.value.is_none() {
            self.name_has_macro = true;
        }
        self.read = to;
    }

    /// The part of the URL; `None` in a text that is no URL.
    pub(super) fn place(&self) -> Option<Place> {
        match self.part {
            _ if self.shape != Shape::Url => None,
            Part::Start | Part::Authority => Some(Place::Host),
            Part::Path => Some(Place::Path),
            Part::Query => Some(Place::Query),
            Part::Fragment => Some(Place::Fragment),
            Part::Line => None,
        }
    }

    /// Where the value of the parameter begins, when a value is being read.
    pub(super) fn value(&self) -> Option<usize> {
        self.value.filter(|_| self.part == Part::Query)
    }

    /// Whether the name of a parameter is being read.
    pub(super) fn is_in_name(&self) -> bool {
        self.part == Part::Query && self.value.is_none()
    }

    /// The decoded name of the parameter whose value is being read, if the name is fixed and of a usual length.
    pub(super) fn parameter(&self) -> Option<String> {
        let value = self.value().filter(|_| !self.name_has_macro)?;
        let name = self.text.get(self.begin..value - 1).filter(|name| name.len() <= PARAMETER_BYTES_MAX)?;
        let name = name.replace('+', " ");
        Some(String::from_utf8_lossy(&urldecode(name.as_bytes())).into_owned())
    }

    /// Whether a stretch is a whole value of a parameter, or a whole segment of a path.
    pub(super) fn is_whole(&self, at: usize, end: usize) -> bool {
        let next = self.text.as_bytes().get(end).copied();
        match self.part {
            Part::Query => {
                self.value == Some(at)
                    && (matches!(next, None | Some(b'&')) || next == Some(b'#') && self.shape == Shape::Url)
            }
            Part::Path => self.begin == at && at > 0 && matches!(next, None | Some(b'/' | b'?' | b'#')),
            _ => false,
        }
    }
}
