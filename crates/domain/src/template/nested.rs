//! URLs inside a URL: a parameter's value that is itself a percent-encoded URL, with macros in it.
//!
//! In a postback such a value is read as the template it is: `cb=https%3A%2F%2Fa.example%3Fc%3D%7Bclick_id%7D` fills
//! the click id in, percent-encoded once more than elsewhere. In links and destinations the bytes stay as they
//! are: the inner template is for the system that the outer URL leads to.

use super::expression::Piece;
use super::filter::Filter;
use super::finding::Findings;
use super::place::urldecode;
use super::position::{Position, Shape};
use super::reader::Reader;
use super::syntax::{Syntax, begins_escape, name_at};
use super::{Code, Dialect, Finding, Scope};

/// How deep URLs are looked for inside each other.
const DEPTH_MAX: u8 = 2;

/// The decoded text of a value, and where in the source each of its bytes comes from.
struct Decoded {
    text: String,
    /// The source offset of each byte, and that of the end.
    offsets: Vec<usize>,
}

impl Decoded {
    /// Decodes the literal bytes from one offset to another. A macro in between becomes one NUL, which is part of
    /// no other.
    fn of(source: &str, from: usize, to: usize, macros: &[(usize, usize)]) -> Option<Self> {
        let bytes = source.as_bytes();
        let mut macros = macros[macros.partition_point(|(at, _)| *at < from)..].iter().peekable();
        let (mut text, mut offsets) = (Vec::with_capacity(to - from), Vec::with_capacity(to - from + 1));
        let mut at = from;
        while at < to {
            offsets.push(at);
            if let Some((_, end)) = macros.next_if(|(begin, _)| *begin == at) {
                text.push(0);
                at = *end;
            } else if begins_escape(&bytes[at..to]) {
                text.extend(urldecode(&bytes[at..at + 3]));
                at += 3;
            } else {
                text.push(bytes[at]);
                at += 1;
            }
        }
        offsets.push(to);
        Some(Self { text: String::from_utf8(text).ok()?, offsets })
    }

    fn is_encoded(&self, index: usize) -> bool {
        matches!((self.offsets.get(index), self.offsets.get(index + 1)), (Some(from), Some(to)) if to - from == 3)
    }

    fn is_url(&self) -> bool {
        self.text.contains("://") || self.text.contains('?') && self.text.contains('=')
    }
}

impl Reader<'_> {
    /// Looks into the values of a URL's or form's parameters: for URLs in them, and for macros in brackets that
    /// the dialect does not have.
    pub(super) fn look_into_values<'t>(
        self,
        text: &'t str,
        pieces: Vec<Piece<'t>>,
        findings: &mut Findings,
    ) -> Vec<Piece<'t>> {
        if self.shape == Shape::Line {
            return pieces;
        }
        let mut found = Vec::new();
        for (from, to) in values(text, self.shape, &pieces) {
            self.note_foreign_value(text, from, to, &pieces, findings);
            self.note_encoded(text, from, to, findings);
            let nests = self.scope == Scope::Postback && text[from..to].contains('%');
            if nests {
                self.nested(text, from, to, &pieces, &mut found, findings);
            }
        }
        if found.is_empty() { pieces } else { divide(text, pieces, found) }
    }

    /// Finds the macros of the URL that a value is.
    fn nested<'t>(
        self,
        text: &'t str,
        from: usize,
        to: usize,
        pieces: &[Piece<'_>],
        found: &mut Vec<Piece<'t>>,
        findings: &mut Findings,
    ) {
        let Some(decoded) =
            Decoded::of(text, from, to, &spans(within(pieces, from, to))).filter(Decoded::is_url)
        else {
            return;
        };
        for (at, end, mut expression) in self.of_decoded(&decoded, 1) {
            expression.text = text[at..end].to_owned();
            let message = format!(
                "`{}` stands in a URL inside the URL; its value is percent-encoded {}",
                expression.name(),
                if expression.depth > 1 { "two times more" } else { "once more" },
            );
            findings.add(Finding::new(Code::MacroNested, self.place, at, message).about(expression.name()));
            found.push(Piece::Macro { at, expression });
        }
    }

    /// The macros of a decoded value, with where they stand in the source, in order.
    fn of_decoded(self, decoded: &Decoded, depth: u8) -> Vec<(usize, usize, super::expression::Expression)> {
        let inner = Self { shape: Shape::Url, ..self };
        // What is odd about the inner text is its own affair; the macros in it are told of by the caller.
        let mut untold = Findings::default();
        let text = &decoded.text;
        let pieces = if self.dialect == Dialect::Canonical {
            inner.scan_with(text, &[Syntax::Brace], &mut untold)
        } else {
            inner.scan_with(text, self.dialect.syntaxes(), &mut untold)
        };
        let spans = spans(&pieces);
        let mut found = Vec::new();
        if depth < DEPTH_MAX {
            for (from, to) in values(text, Shape::Url, &pieces) {
                if !text[from..to].contains('%') {
                    continue;
                }
                let deeper = Decoded::of(text, from, to, &spans).filter(Decoded::is_url);
                for (at, end, expression) in
                    deeper.map(|deeper| inner.of_decoded(&deeper, depth + 1)).unwrap_or_default()
                {
                    found.push((at, end, expression));
                }
            }
        }
        for piece in pieces {
            let Piece::Macro { at, expression } = piece else { continue };
            let end = at + expression.text.len();
            // Brackets that are not encoded have been read before, as part of the outer URL.
            if decoded.is_encoded(at) {
                found.push((at, end, expression));
            }
        }
        found.sort_by_key(|(at, ..)| *at);
        found
            .into_iter()
            .map(|(at, end, mut expression)| {
                for alternative in &mut expression.alternatives {
                    alternative.filters.push(Filter::Urlencode);
                    alternative.at =
                        decoded.offsets.get(alternative.at).copied().unwrap_or(decoded.offsets[at]);
                }
                expression.depth += 1;
                (decoded.offsets[at], decoded.offsets[end], expression)
            })
            .collect()
    }

    /// Reports a value that is a macro in encoded braces, as browsers copy them: it is text.
    fn note_encoded(self, text: &str, from: usize, to: usize, findings: &mut Findings) {
        let value = &text[from..to];
        let Some(name) = value
            .strip_prefix("%7B")
            .or_else(|| value.strip_prefix("%7b"))
            .and_then(|rest| rest.strip_suffix("%7D").or_else(|| rest.strip_suffix("%7d")))
        else {
            return;
        };
        if self.scope == Scope::Postback && !name.is_empty() && name_at(name, 0) == name {
            let message = format!("`{value}` is sent as it is; a macro is written `{{{name}}}`");
            findings.add(Finding::new(Code::MacroSyntaxForeign, self.place, from, message).about(value));
        }
    }

    /// Reports a value that is a macro as other systems write it, in brackets this dialect does not have.
    fn note_foreign_value(
        self,
        text: &str,
        from: usize,
        to: usize,
        pieces: &[Piece<'_>],
        findings: &mut Findings,
    ) {
        // What begins with `#` ends the query, so it is no value any more.
        let is_hash = from == to && text[from..].starts_with('#');
        let is_end =
            |end: usize| end == to || is_hash && matches!(text[end..].bytes().next(), None | Some(b'&'));
        let mark = |syntax: Syntax| {
            syntax.mark(text, from).filter(|mark| is_end(mark.end) && !mark.could_be_escape(text))
        };
        let is_foreign = |syntax: &&Syntax| {
            **syntax != Syntax::Bare
                && mark(**syntax).is_some_and(|mark| {
                    within(pieces, from, mark.end).iter().any(|piece| {
                        matches!(piece, Piece::Literal { at, text } if *at <= from && mark.end <= at + text.len())
                    })
                })
        };
        let known: &[Syntax] =
            if self.dialect == Dialect::Canonical { &[Syntax::Brace] } else { self.dialect.syntaxes() };
        if let Some(syntax) = Syntax::BRACKETS.iter().find(is_foreign)
            && !known.contains(syntax)
            && let Some(mark) = mark(*syntax)
        {
            let value = &text[from..mark.end];
            let message = format!("`{value}` looks like another system's macro; it is sent as it is");
            findings.add(Finding::new(Code::MacroSyntaxForeign, self.place, from, message).about(value));
        }
    }
}

/// The pieces that have a byte from one offset to another.
fn within<'p, 't>(pieces: &'p [Piece<'t>], from: usize, to: usize) -> &'p [Piece<'t>] {
    let begin = |piece: &Piece<'_>| match piece {
        Piece::Literal { at, .. } | Piece::Macro { at, .. } => *at,
    };
    let end = |piece: &Piece<'_>| match piece {
        Piece::Literal { at, text } => at + text.len(),
        Piece::Macro { at, expression } => at + expression.text.len(),
    };
    let first = pieces.partition_point(|piece| end(piece) <= from);
    let last = pieces.partition_point(|piece| begin(piece) < to);
    pieces.get(first..last).unwrap_or_default()
}

/// Where the macros among some pieces begin and end.
fn spans(pieces: &[Piece<'_>]) -> Vec<(usize, usize)> {
    pieces
        .iter()
        .filter_map(|piece| match piece {
            Piece::Macro { at, expression } => Some((*at, at + expression.text.len())),
            Piece::Literal { .. } => None,
        })
        .collect()
}

/// Where the values of parameters begin and end.
fn values(text: &str, shape: Shape, pieces: &[Piece<'_>]) -> Vec<(usize, usize)> {
    let mut values = Vec::new();
    let mut position = Position::new(text, shape);
    let mut current = None;
    for piece in pieces {
        match piece {
            Piece::Literal { at, text } => {
                for index in *at..at + text.len() {
                    position.advance(index + 1);
                    // The byte that ends a value is not part of it, nor is the one that begins it.
                    let now = position.value();
                    if current != now {
                        values.extend(current.map(|begin: usize| (begin, index)));
                        current = now;
                    }
                }
            }
            Piece::Macro { at, expression } => position.skip(at + expression.text.len()),
        }
    }
    values.extend(current.map(|begin| (begin, text.len())));
    values
}

/// Puts macros that stand in literals in their places.
fn divide<'t>(text: &'t str, pieces: Vec<Piece<'t>>, found: Vec<Piece<'t>>) -> Vec<Piece<'t>> {
    let mut found = found.into_iter().peekable();
    let mut divided = Vec::new();
    let push = |divided: &mut Vec<Piece<'t>>, from: usize, to: usize| {
        if from < to {
            divided.push(Piece::Literal { at: from, text: &text[from..to] });
        }
    };
    for piece in pieces {
        let Piece::Literal { at, text: literal } = &piece else {
            divided.push(piece);
            continue;
        };
        let (mut from, end) = (*at, at + literal.len());
        while let Some(inner) =
            found.next_if(|inner| matches!(inner, Piece::Macro { at, .. } if (from..end).contains(at)))
        {
            if let Piece::Macro { at, expression } = &inner {
                push(&mut divided, from, *at);
                from = at + expression.text.len();
            }
            divided.push(inner);
        }
        push(&mut divided, from, end);
    }
    divided
}

#[cfg(test)]
mod tests;
