//! Reads text with macros in it: `{name}`, `{name|filter:argument}`, `{first||second|filter}`.
//!
//! A macro begins with `{` and a letter, `_`, `@`, `~` or `$`; any other brace is text, so JSON needs no
//! escapes. Filters belong to the alternative they follow: `{gaid_sha1||gaid|sha1}` hashes only the second.
//! In an argument a backslash makes `|`, `}`, `,` and `=` plain characters.

use super::filter::{FILTERS_MAX, Filter, Problem};
use super::finding::Findings;
use super::syntax::{bare_end, name_at};
use super::vocabulary::{self, Availability};
use super::{Code, Finding, Place, Scope, Severity, suggestion};

/// How many escaping filters are undone when secrets are looked for. Where the value stands it is escaped once more.
const ESCAPES_UNDONE_MAX: usize = 2;

/// What an alternative asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Subject {
    /// A name of the vocabulary that the values know.
    Known,
    /// A name that belongs to the attempt.
    Sending,
    /// `param.NAME`.
    Parameter,
    /// `cfg.NAME`.
    Setting,
    /// An unknown name: a link parameter if there is one, else its own text.
    Loose,
}

/// One choice of an expression.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Alternative {
    /// The name as written.
    pub(super) name: String,
    /// The name that values are asked for.
    pub(super) key: String,
    pub(super) subject: Subject,
    pub(super) filters: Vec<Filter>,
    /// Byte offset of the name in the text it was read from.
    pub(super) at: usize,
}

impl Alternative {
    /// Whether it is a setting that filters make something else of, which no decoding of escapes leads back to.
    pub(super) fn is_changed_setting(&self) -> bool {
        self.subject == Subject::Setting
            && (self.filters.len() > ESCAPES_UNDONE_MAX || !self.filters.iter().all(Filter::only_escapes))
    }
}

/// One macro with everything between its braces.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Expression {
    /// The text as written, brackets included.
    pub(super) text: String,
    pub(super) alternatives: Vec<Alternative>,
    /// How many URLs inside each other it stands in, below the outer one.
    pub(super) depth: u8,
}

impl Expression {
    /// The first name, as written: the one reports call it by.
    pub(super) fn name(&self) -> &str {
        self.alternatives.first().map_or("", |first| &first.name)
    }

    /// Whether it asks for nothing but the partner's own settings.
    pub(super) fn is_setting(&self) -> bool {
        self.alternatives.iter().all(|alternative| alternative.subject == Subject::Setting)
    }
}

/// A stretch of a template.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Piece<'t> {
    Literal { at: usize, text: &'t str },
    Macro { at: usize, expression: Expression },
}

/// How text is read by the rules of our own templates.
#[derive(Debug, Clone, Copy)]
pub(super) struct Reading {
    pub(super) scope: Scope,
    /// Where findings are placed until the caller knows better.
    pub(super) place: Place,
    /// In free text and JSON a brace before a word may be just that, so it is only warned of.
    pub(super) free_text: bool,
}

impl Reading {
    /// Reads text into its pieces. Joined again, the pieces are the text.
    pub(super) fn scan<'t>(self, text: &'t str, findings: &mut Findings) -> Vec<Piece<'t>> {
        let bytes = text.as_bytes();
        let mut pieces = Vec::new();
        let (mut literal, mut at) = (0, 0);
        let last_end = text.rfind('}').unwrap_or(0);
        while let Some(brace) = text[at..].find('{').map(|found| at + found) {
            match self.expression(text, brace, last_end, findings) {
                Read::Text { resume } => at = resume,
                Read::Macro(expression) => {
                    if literal < brace {
                        pieces.push(Piece::Literal { at: literal, text: &text[literal..brace] });
                    }
                    let end = brace + expression.text.len();
                    let before = brace.checked_sub(1).and_then(|index| bytes.get(index));
                    let doubled = before == Some(&b'{') && bytes.get(end) == Some(&b'}');
                    if !self.free_text && (before == Some(&b'$') || doubled) {
                        findings.add(
                            Finding::new(
                                Code::MacroSyntaxForeign,
                                self.place,
                                brace,
                                "the bracket or `$` around the macro is sent as it is",
                            )
                            .about(&expression.text),
                        );
                    }
                    pieces.push(Piece::Macro { at: brace, expression });
                    (literal, at) = (end, end);
                }
            }
        }
        if literal < text.len() {
            pieces.push(Piece::Literal { at: literal, text: &text[literal..] });
        }
        pieces
    }

    fn expression(self, text: &str, brace: usize, last_end: usize, findings: &mut Findings) -> Read {
        let first_at = brace + 1;
        let first = name_at(text, first_at);
        if first.is_empty() {
            return Read::Text { resume: first_at };
        }
        let mut at = first_at + first.len();
        let unclosed = |resume: usize, findings: &mut Findings| {
            let severity = if self.free_text { Severity::Warning } else { Severity::Error };
            findings.add(
                Finding::new(
                    Code::MacroUnclosed,
                    self.place,
                    brace,
                    format!("`{{{first}` begins a macro that does not end"),
                )
                .about(first)
                .severity(severity),
            );
            Read::Text { resume }
        };
        if at > last_end {
            return unclosed(at, findings);
        }
        let end = at + bare_end(&text[at..], b"}");
        if text.as_bytes().get(end) != Some(&b'}') {
            return unclosed(at, findings);
        }
        let mut found = Findings::default();
        let mut alternatives = vec![self.alternative(first, first_at, findings.is_full(), &mut found)];
        loop {
            match text.as_bytes().get(at) {
                Some(b'}') => break,
                Some(b'|') if text[at..].starts_with("||") => {
                    let name = name_at(text, at + 2);
                    if name.is_empty() {
                        findings.add(
                            Finding::new(
                                Code::MacroMalformed,
                                self.place,
                                at,
                                "`||` needs the name of another macro; a fixed text is written `|default:text`",
                            )
                            .about(first),
                        );
                        return Read::Text { resume: end + 1 };
                    }
                    alternatives.push(self.alternative(name, at + 2, findings.is_full(), &mut found));
                    at += 2 + name.len();
                }
                Some(b'|') => {
                    let name_end = at + 1 + bare_end(&text[at + 1..], b":|}");
                    let name = &text[at + 1..name_end];
                    let mut end = name_end;
                    let mut argument = None;
                    if text.as_bytes().get(name_end) == Some(&b':') {
                        end = name_end + 1 + bare_end(&text[name_end + 1..], b"|}");
                        argument = Some(&text[name_end + 1..end]);
                    }
                    if let Some(last) = alternatives.last_mut() {
                        self.filter(last, name, argument, at + 1, &mut found);
                    }
                    at = end;
                }
                _ => return unclosed(at, findings),
            }
        }
        findings.append(found);
        let expression = Expression { text: text[brace..=at].to_owned(), alternatives, depth: 0 };
        self.one_sided_hash(&expression, findings);
        Read::Macro(expression)
    }

    fn alternative(self, name: &str, at: usize, is_crowded: bool, findings: &mut Findings) -> Alternative {
        let behind = |prefix: &str| name.strip_prefix(prefix).is_some_and(|rest| !rest.is_empty());
        let finding = |code, message: &str| {
            Finding::new(code, self.place, at, format!("`{name}` {message}")).about(name)
        };
        let known = vocabulary::resolve(name, self.scope);
        let (subject, key) = if behind("cfg.") {
            (Subject::Setting, name.to_owned())
        } else if behind("param.") {
            (Subject::Parameter, name.to_owned())
        } else if behind("signature.") && self.scope == Scope::Postback
            || name == "body" && matches!(self.place, Place::Signature(_))
        {
            (Subject::Sending, name.to_owned())
        } else if let Some(known) = known {
            let is_click = self.scope != Scope::Postback;
            match known.availability {
                Availability::Later => {
                    findings.add(finding(Code::MacroNotFilled, "is known but never filled by this version"));
                }
                Availability::Event | Availability::Sending if is_click => findings
                    .add(finding(Code::MacroUnavailable, "is not known at the click; it is empty here")),
                _ => {}
            }
            let sending = known.availability == Availability::Sending;
            (if sending { Subject::Sending } else { Subject::Known }, known.name.to_owned())
        } else {
            findings.add(
                finding(
                    Code::MacroUnknown,
                    "is no macro; it keeps its text unless the link has such a parameter",
                )
                .likely(if is_crowded { None } else { suggestion::macro_name(name) }),
            );
            (Subject::Loose, format!("param.{name}"))
        };
        Alternative { name: name.to_owned(), key, subject, filters: Vec::new(), at }
    }

    pub(super) fn filter(
        self,
        alternative: &mut Alternative,
        name: &str,
        argument: Option<&str>,
        at: usize,
        findings: &mut Findings,
    ) {
        if alternative.filters.len() >= FILTERS_MAX {
            let message = format!("more than {FILTERS_MAX} filters stand after one macro");
            findings.add(Finding::new(Code::FilterArgument, self.place, at, message).about(name));
            alternative.filters.truncate(FILTERS_MAX - 1);
            alternative.filters.push(Filter::Broken);
            return;
        }
        let filter = match Filter::parse(name, argument) {
            Ok(filter) => filter,
            Err(Problem::Unknown { likely }) => {
                findings.add(
                    Finding::new(Code::FilterUnknown, self.place, at, format!("there is no filter `{name}`"))
                        .about(name)
                        .likely(likely),
                );
                Filter::Broken
            }
            Err(Problem::Argument(message)) => {
                findings.add(
                    Finding::new(Code::FilterArgument, self.place, at, format!("`{name}` {message}"))
                        .about(name),
                );
                Filter::Broken
            }
        };
        let is_time = match alternative.subject {
            Subject::Known | Subject::Sending => {
                vocabulary::find(&alternative.key).is_some_and(|m| m.is_time())
            }
            _ => true,
        };
        if filter.reads_time() && !is_time {
            let message = format!("`{}` is not a time; `{name}` leaves it empty", alternative.name);
            findings.add(
                Finding::new(Code::FilterArgument, self.place, at, message)
                    .about(name)
                    .severity(Severity::Warning),
            );
        }
        alternative.filters.push(filter);
    }

    /// `{gaid||idfa|sha1}` hashes the idfa and sends the gaid in the clear, which is hardly ever meant.
    pub(super) fn one_sided_hash(self, expression: &Expression, findings: &mut Findings) {
        let Some((last, before)) = expression.alternatives.split_last() else { return };
        let Some(ending) = last.filters.iter().find_map(Filter::hash_ending) else { return };
        let bare = |alternative: &&Alternative| {
            alternative.filters.iter().all(|filter| filter.hash_ending().is_none())
                && !alternative.name.ends_with(ending)
        };
        if let Some(open) = before.iter().find(bare) {
            let message = format!(
                "the hash covers `{}` only and `{}` is sent as it is; each alternative has its own filters",
                last.name, open.name
            );
            findings.add(Finding::new(Code::FilterOneSide, self.place, open.at, message).about(&open.name));
        }
    }
}

/// Reads a canonical expression that stands without its braces, as meanings of foreign words do. Without
/// alternatives it is none; the findings say what is wrong with it.
pub(super) fn meaning(text: &str, scope: Scope) -> (Vec<Alternative>, Findings) {
    let mut findings = Findings::default();
    let reading = Reading { scope, place: Place::Url, free_text: false };
    let whole = format!("{{{text}}}");
    match reading.expression(&whole, 0, whole.len() - 1, &mut findings) {
        Read::Macro(expression) if expression.text == whole => (expression.alternatives, findings),
        _ => (Vec::new(), findings),
    }
}

enum Read {
    /// It is text; reading goes on at that offset.
    Text {
        resume: usize,
    },
    Macro(Expression),
}
