//! Reads text in any dialect: which stretches of it are macros, and what each of them is.
//!
//! A canonical template is read by its own rules (`expression`). In any other dialect a macro is found by the
//! brackets that the dialect has, longest first, and its words are looked up in the dialect's vocabulary
//! (`foreign`). Whatever the dialect, the pieces joined again are the text.

use super::dialect::Dialect;
use super::expression::{Expression, Piece, Reading};
use super::finding::Findings;
use super::foreign::is_ours;
use super::freemarker;
use super::position::{Position, Shape};
use super::syntax::{Mark, Syntax, name_at};
use super::{Code, Finding, Place, Scope, Severity};
use std::collections::BTreeMap;

/// Most macros of one text in another system's dialect. Each is looked up in several tables.
const MACROS_MAX: usize = 1000;

/// The author's own meanings: a word and the canonical expression it stands for.
pub(super) type Meanings = BTreeMap<String, String>;

/// No meanings of the author's own.
pub(super) static NO_MEANINGS: Meanings = BTreeMap::new();

/// How text is read.
#[derive(Debug, Clone, Copy)]
pub(super) struct Reader<'a> {
    pub(super) dialect: Dialect,
    pub(super) macros: &'a Meanings,
    pub(super) scope: Scope,
    /// Where findings are placed until the caller knows better.
    pub(super) place: Place,
    pub(super) shape: Shape,
    /// In free text and JSON a bracket before a word may be just that, so it is only warned of.
    pub(super) free_text: bool,
}

impl<'a> Reader<'a> {
    /// For a URL.
    pub(super) fn url(dialect: Dialect, macros: &'a Meanings, scope: Scope) -> Self {
        Self { dialect, macros, scope, place: Place::Url, shape: Shape::Url, free_text: false }
    }

    pub(super) fn reading(self) -> Reading {
        Reading { scope: self.scope, place: self.place, free_text: self.free_text }
    }

    /// Whether it is read by the rules of our own templates.
    fn is_canonical(self) -> bool {
        self.dialect == Dialect::Canonical && self.macros.is_empty()
    }

    /// Reads text into its pieces. Joined again, the pieces are the text.
    pub(super) fn scan<'t>(self, text: &'t str, findings: &mut Findings) -> Vec<Piece<'t>> {
        let pieces = if self.is_canonical() {
            self.reading().scan(text, findings)
        } else {
            self.scan_with(text, self.dialect.syntaxes_for(self.scope), findings)
        };
        self.look_into_values(text, pieces, findings)
    }

    /// Reads text in which macros are written in some syntaxes.
    pub(super) fn scan_with<'t>(
        self,
        text: &'t str,
        syntaxes: &[Syntax],
        findings: &mut Findings,
    ) -> Vec<Piece<'t>> {
        let bytes = text.as_bytes();
        let with_bare;
        let syntaxes = if self.dialect == Dialect::Generic && !self.macros.is_empty() {
            with_bare = [syntaxes, &[Syntax::Bare]].concat();
            &with_bare
        } else {
            syntaxes
        };
        let opening = Opening::of(syntaxes);
        let mut position = Position::new(text, self.shape);
        let mut pieces = Vec::new();
        let (mut literal, mut at, mut macros) = (0, 0, 0);
        while at < bytes.len() {
            if macros >= MACROS_MAX {
                let message = format!("there are more than {MACROS_MAX} macros");
                findings.add(Finding::new(Code::TemplateTooLong, self.place, at, message));
                break;
            }
            if !opening.is_at(bytes, at) {
                at += 1;
                continue;
            }
            position.advance(at);
            if opening.free_marker
                && let Some(found) = freemarker::find(text, at)
            {
                let expression = self.free_marker(&found, &position, findings);
                if let Some(expression) = expression {
                    push_literal(&mut pieces, text, literal, at);
                    pieces.push(Piece::Macro { at, expression });
                    macros += 1;
                    position.skip(found.end);
                    literal = found.end;
                }
                at = found.end;
                continue;
            }
            let expression = opening
                .syntaxes
                .iter()
                .filter_map(|syntax| syntax.mark(text, at))
                .find_map(|mark| Some((mark.end, self.expression(text, mark, &position, findings)?)));
            let expression = expression.or_else(|| self.ours(text, at, &position, findings));
            let Some((end, expression)) = expression else {
                if bytes[at] == b'{' && opening.syntaxes.contains(&Syntax::Brace) {
                    self.note_unclosed(text, at, findings);
                }
                at += 1;
                continue;
            };
            self.note_foreign_around(bytes, at, &expression, findings);
            push_literal(&mut pieces, text, literal, at);
            pieces.push(Piece::Macro { at, expression });
            macros += 1;
            position.skip(end);
            (literal, at) = (end, end);
        }
        push_literal(&mut pieces, text, literal, text.len());
        pieces
    }

    /// A macro of ours (`{cfg.…}`, `{param.…}`, `{signature.…}`), which is one in every dialect: nobody else has such
    /// names, and a template cannot do without settings.
    fn ours(
        self,
        text: &str,
        at: usize,
        position: &Position<'_>,
        findings: &mut Findings,
    ) -> Option<(usize, Expression)> {
        let mark = Syntax::Brace.mark(text, at).filter(|mark| is_ours(name_at(mark.inner, 0)))?;
        Some((mark.end, self.expression(text, mark, position, findings)?))
    }

    /// What a mark is; `None` if it is text after all.
    fn expression(
        self,
        text: &str,
        mark: Mark<'_>,
        position: &Position<'_>,
        findings: &mut Findings,
    ) -> Option<Expression> {
        if mark.syntax == Syntax::HashBrace && !is_hash_brace(text, mark, position) {
            return None;
        }
        if !mark.syntax.is_sure() && position.is_in_name() {
            // `data[sub]=`, `f(x)=`: brackets in a parameter's name belong to the name.
            return None;
        }
        let ground = self.ground(position, findings);
        let mut told = Findings::default();
        let alternatives = if mark.syntax.has_grammar() {
            self.inner(mark, &ground, &mut told)
        } else {
            match self.known(mark.inner, mark.inner_at, &ground, &mut told) {
                Some(_) if mark.syntax == Syntax::Bare && !self.is_bare_macro(mark, position) => return None,
                Some(_) if self.is_prose(text, mark) => return None,
                Some(known) => Some(known),
                None if self.is_expected(text, mark, position) => {
                    Some(self.word(mark.inner, mark.inner_at, mark.syntax, &ground, &mut told))
                }
                None => None,
            }
        };
        findings.append(told);
        let text = text[mark.at..mark.end].to_owned();
        let expression = Expression { text, alternatives: alternatives?, depth: 0 };
        if mark.syntax.has_grammar() {
            self.reading().one_sided_hash(&expression, findings);
        }
        Some(expression)
    }

    /// Whether brackets around a known word are rather part of a sentence: `User (country)` in a header or a body of a
    /// system that nobody named.
    fn is_prose(self, text: &str, mark: Mark<'_>) -> bool {
        // `f(x)` calls something.
        let is_called = mark.at.checked_sub(1).is_some_and(|at| text.as_bytes()[at].is_ascii_alphanumeric());
        if mark.syntax == Syntax::Round && self.dialect == Dialect::Generic && is_called {
            return true;
        }
        self.shape == Shape::Line
            && self.dialect == Dialect::Generic
            && matches!(mark.syntax, Syntax::Round | Syntax::Angle | Syntax::Hash)
            && !self.macros.contains_key(mark.inner)
    }

    /// Whether a known word without brackets is meant: a whole value, in capitals. In small letters only a word that
    /// the author gave a meaning is one.
    fn is_bare_macro(self, mark: Mark<'_>, position: &Position<'_>) -> bool {
        let is_capital = || !mark.inner.bytes().any(|b| b.is_ascii_lowercase());
        position.is_whole(mark.at, mark.end)
            && (self.macros.contains_key(mark.inner) || self.dialect != Dialect::Generic && is_capital())
    }

    /// Whether brackets that text can have too are meant as a macro, though nobody knows its word.
    fn is_expected(self, text: &str, mark: Mark<'_>, position: &Position<'_>) -> bool {
        if mark.syntax.is_sure() {
            return true;
        }
        if mark.syntax == Syntax::Bare || mark.could_be_escape(text) {
            return false;
        }
        let is_glued_to_value = position.value().is_some() && self.dialect != Dialect::Generic;
        match position.place() {
            Some(Place::Host) => mark.syntax != Syntax::Hash,
            Some(Place::Path) => mark.syntax != Syntax::Hash && position.is_whole(mark.at, mark.end),
            Some(Place::Query) | None => position.is_whole(mark.at, mark.end) || is_glued_to_value,
            _ => false,
        }
    }

    fn note_unclosed(self, text: &str, brace: usize, findings: &mut Findings) {
        let name = name_at(text, brace + 1);
        if name.is_empty() || Syntax::Brace.mark(text, brace).is_some() {
            return;
        }
        let severity = if self.free_text { Severity::Warning } else { Severity::Error };
        let message = format!("`{{{name}` begins a macro that does not end");
        findings.add(
            Finding::new(Code::MacroUnclosed, self.place, brace, message).about(name).severity(severity),
        );
    }

    /// Reports a bracket that the dialect does not have around one that it has.
    fn note_foreign_around(self, bytes: &[u8], at: usize, expression: &Expression, findings: &mut Findings) {
        let before = at.checked_sub(1).and_then(|index| bytes.get(index));
        let after = bytes.get(at + expression.text.len());
        let is_doubled = |open: u8, close: u8| before == Some(&open) && after == Some(&close);
        let is_brace = expression.text.starts_with('{');
        let is_odd = is_brace && (before == Some(&b'$') || is_doubled(b'{', b'}'))
            || expression.text.starts_with('[') && is_doubled(b'[', b']')
            || expression.text.starts_with('#') && is_doubled(b'#', b'#');
        if is_odd && !self.free_text {
            let message = "the bracket or `$` around the macro is sent as it is";
            findings
                .add(Finding::new(Code::MacroSyntaxForeign, self.place, at, message).about(&expression.text));
        }
    }
}

fn push_literal<'t>(pieces: &mut Vec<Piece<'t>>, text: &'t str, from: usize, to: usize) {
    if from < to {
        pieces.push(Piece::Literal { at: from, text: &text[from..to] });
    }
}

/// In a path `#{x}` is rather a fragment that holds `{x}`, unless the path goes on after it.
fn is_hash_brace(text: &str, mark: Mark<'_>, position: &Position<'_>) -> bool {
    match position.place() {
        Some(Place::Query) | None => true,
        Some(Place::Path) => {
            position.is_whole(mark.at, mark.end) && matches!(text.as_bytes().get(mark.end), Some(b'/' | b'?'))
        }
        _ => false,
    }
}

/// What a macro can begin with, so that other text is passed quickly.
struct Opening {
    syntaxes: Vec<Syntax>,
    free_marker: bool,
    bare: bool,
    bytes: [bool; 256],
}

impl Opening {
    fn of(wanted: &[Syntax]) -> Self {
        let syntaxes: Vec<Syntax> =
            Syntax::BRACKETS.iter().copied().filter(|syntax| wanted.contains(syntax)).collect();
        let mut bytes = [false; 256];
        bytes[usize::from(b'{')] = true;
        for syntax in &syntaxes {
            if let Some(&first) = syntax.brackets().0.as_bytes().first() {
                bytes[usize::from(first)] = true;
            }
        }
        let free_marker = wanted.contains(&Syntax::FreeMarker);
        if free_marker {
            bytes[usize::from(b'$')] = true;
            bytes[usize::from(b'<')] = true;
        }
        Self { bare: syntaxes.contains(&Syntax::Bare), free_marker, syntaxes, bytes }
    }

    fn is_at(&self, bytes: &[u8], at: usize) -> bool {
        let begins_value = || at.checked_sub(1).is_some_and(|before| matches!(bytes[before], b'=' | b'/'));
        self.bytes[usize::from(bytes[at])] || self.bare && bytes[at].is_ascii_alphanumeric() && begins_value()
    }
}

#[cfg(test)]
mod tests;
