//! The brackets that macros are written in, and where such a macro ends.
//!
//! Only the text is looked at here: what a word means, and whether it may be a macro where it stands, is for the
//! reader to say.

/// Longest name of a macro, in bytes.
const NAME_BYTES_MAX: usize = 256;

/// Longest macro, in bytes. Without a bound, a long text of beginnings that never end would be read to its
/// end once for each.
pub(super) const MACRO_BYTES_MAX: usize = 4096;

/// One way to write a macro.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Syntax {
    /// `{x}`
    Brace,
    /// `{{x}}`
    DoubleBrace,
    /// `${x}`
    DollarBrace,
    /// `{$x}`
    BraceDollar,
    /// `#{x}`
    HashBrace,
    /// `%{x}`
    PercentBrace,
    /// `(x)`
    Round,
    /// `[x]`
    Square,
    /// `[[x]]`
    DoubleSquare,
    /// `[[[x]]]`
    TripleSquare,
    /// `#x#`
    Hash,
    /// `##x##`
    DoubleHash,
    /// `%x%`
    Percent,
    /// `%%x%%`
    DoublePercent,
    /// `__x__`
    Underscores,
    /// `<x>`
    Angle,
    /// A bare word that the dialect's vocabulary has, as a whole value: `cid=REPLACE`.
    Bare,
    /// FreeMarker: `${(a.b)!}`, `<#if a>1<#else>0</#if>`.
    FreeMarker,
}

impl Syntax {
    /// All but FreeMarker, which has a reader of its own; longest brackets first.
    pub(super) const BRACKETS: &'static [Self] = &[
        Self::TripleSquare,
        Self::DoubleSquare,
        Self::DoubleBrace,
        Self::DollarBrace,
        Self::HashBrace,
        Self::PercentBrace,
        Self::BraceDollar,
        Self::DoubleHash,
        Self::DoublePercent,
        Self::Underscores,
        Self::Angle,
        Self::Brace,
        Self::Round,
        Self::Square,
        Self::Hash,
        Self::Percent,
        Self::Bare,
    ];

    /// What stands before and behind the word.
    pub(super) const fn brackets(self) -> (&'static str, &'static str) {
        match self {
            Self::Brace => ("{", "}"),
            Self::DoubleBrace => ("{{", "}}"),
            Self::DollarBrace | Self::FreeMarker => ("${", "}"),
            Self::BraceDollar => ("{$", "}"),
            Self::HashBrace => ("#{", "}"),
            Self::PercentBrace => ("%{", "}"),
            Self::Round => ("(", ")"),
            Self::Square => ("[", "]"),
            Self::DoubleSquare => ("[[", "]]"),
            Self::TripleSquare => ("[[[", "]]]"),
            Self::Hash => ("#", "#"),
            Self::DoubleHash => ("##", "##"),
            Self::Percent => ("%", "%"),
            Self::DoublePercent => ("%%", "%%"),
            Self::Underscores => ("__", "__"),
            Self::Angle => ("<", ">"),
            Self::Bare => ("", ""),
        }
    }

    /// Whether more than a word may stand between the brackets: filters, alternatives, maps.
    pub(super) const fn has_grammar(self) -> bool {
        matches!(
            self,
            Self::Brace
                | Self::DoubleBrace
                | Self::DollarBrace
                | Self::BraceDollar
                | Self::HashBrace
                | Self::PercentBrace
        )
    }

    /// Whether ordinary text hardly ever has these brackets. The others are macros only where one is expected
    /// or where their word is known: `data[sub]=`, `Mozilla (Linux)` and `%20` are none.
    pub(super) const fn is_sure(self) -> bool {
        self.has_grammar()
            || matches!(
                self,
                Self::FreeMarker
                    | Self::DoubleSquare
                    | Self::TripleSquare
                    | Self::DoubleHash
                    | Self::DoublePercent
            )
    }

    /// The macro of this syntax that begins at an offset, judged by its text alone.
    pub(super) fn mark(self, text: &str, at: usize) -> Option<Mark<'_>> {
        let rest = text.get(at..)?;
        let (open, close) = self.brackets();
        let inside = rest.strip_prefix(open)?;
        let length = match self {
            Self::Bare => {
                let length = word_length(inside);
                (length > 0 && !follows_word(text, at)).then_some(length)?
            }
            Self::FreeMarker => return None,
            Self::DoubleBrace => {
                if let Some(mark) = liquid(text, at) {
                    return Some(mark);
                }
                grammar_length(inside)?
            }
            _ if self.has_grammar() => grammar_length(inside)?,
            Self::DoubleHash => called_length(inside)?,
            Self::Underscores => {
                let length = inside.find("__").filter(|length| *length <= NAME_BYTES_MAX)?;
                let opens = inside.bytes().next().is_some_and(|byte| byte.is_ascii_alphanumeric());
                (opens && word_length(&inside[..length]) == length).then_some(length)?
            }
            _ => {
                let length = word_length(inside);
                let opens = inside.bytes().next().is_some_and(|b| b.is_ascii_alphabetic() || b == b'_');
                opens.then_some(length)?
            }
        };
        if !inside[length..].starts_with(close) {
            return None;
        }
        let inner_at = at + open.len();
        let end = inner_at + length + close.len();
        let mut inner = &text[inner_at..inner_at + length];
        if self == Self::DoubleHash {
            inner = inner.split('(').next().unwrap_or(inner);
        }
        let is_macro = match self {
            Self::Percent => is_percent_macro(text, at, end, inner),
            // `a__b__c` is one word; `__A____B__` are two macros.
            Self::Underscores => !follows_word(text, at) && !goes_on(text, end),
            _ => true,
        };
        is_macro.then_some(Mark { syntax: self, at, end, inner, inner_at })
    }
}

/// A stretch of text that is a macro by its brackets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Mark<'t> {
    pub(super) syntax: Syntax,
    /// Where the brackets begin.
    pub(super) at: usize,
    /// Where they end.
    pub(super) end: usize,
    /// What stands between them.
    pub(super) inner: &'t str,
    pub(super) inner_at: usize,
}

impl Mark<'_> {
    /// Whether the `%` at one end begins a percent escape: `%ad_id%`, `%SITE%20`. Then only a word that is known is
    /// a macro.
    pub(super) fn could_be_escape(&self, text: &str) -> bool {
        let bytes = text.as_bytes();
        self.syntax == Syntax::Percent
            && (begins_escape(&bytes[self.at..]) || begins_escape(&bytes[self.end - 1..]))
    }
}

/// `%x%` is none where both signs begin escapes: in `%cafe%20` neither is a bracket. The caller asks for a known
/// word where the first of them could be one.
fn is_percent_macro(text: &str, at: usize, end: usize, inner: &str) -> bool {
    let bytes = text.as_bytes();
    inner.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
        && !(begins_escape(&bytes[at..]) && begins_escape(&bytes[end - 1..]))
}

/// Whether bytes begin with a percent escape.
pub(super) fn begins_escape(bytes: &[u8]) -> bool {
    matches!(bytes, [b'%', high, low, ..] if high.is_ascii_hexdigit() && low.is_ascii_hexdigit())
}

fn is_word_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'_'
}

/// Whether the byte before an offset belongs to a word, and not to a macro in `__`.
fn follows_word(text: &str, at: usize) -> bool {
    at.checked_sub(1).is_some_and(|index| is_word_byte(text.as_bytes()[index]))
        && !(text[..at].ends_with("__") && text[at..].starts_with("__"))
}

/// Whether a word goes on at an offset, other than by one more macro in `__`.
fn goes_on(text: &str, end: usize) -> bool {
    text.as_bytes().get(end).is_some_and(|byte| is_word_byte(*byte))
        && Syntax::Underscores.mark_length(&text[end..]).is_none()
}

impl Syntax {
    /// How long a macro in `__` is that text begins with, whatever stands around it.
    fn mark_length(self, text: &str) -> Option<usize> {
        let inside = text.strip_prefix("__")?;
        let length = inside.find("__").filter(|length| (1..=NAME_BYTES_MAX).contains(length))?;
        (word_length(&inside[..length]) == length && !inside.starts_with('_')).then_some(length + 4)
    }
}

/// Liquid, which is read as far as it names one value: `{{ x }}`, `{{${x}}}`, `{{a.${x} | default: 'y'}}`. What is done
/// to the value is left out.
fn liquid(text: &str, at: usize) -> Option<Mark<'_>> {
    let begin = at + 2;
    let inside = text.get(begin..)?;
    let end = inside.bytes().take(NAME_BYTES_MAX).position(|byte| byte == b'}')?;
    let (from, to, rest) = match inside[..end].find("${") {
        Some(dollar) => {
            let tree = inside[..dollar].trim_start();
            let is_tree = tree.is_empty() || tree.ends_with('.') && word_length(tree) == tree.len();
            is_tree.then_some((dollar + 2, end, end + 1))?
        }
        None => {
            let from = inside.len() - inside.trim_start_matches(' ').len();
            let to = from + word_length(&inside[from..]);
            // Without blanks it is no more than a word in double braces.
            (from > 0 && to <= end).then_some((from, to, to))?
        }
    };
    let inner = inside
        .get(from..to)
        .filter(|inner| !name_at(inner, 0).is_empty() && word_length(inner) == inner.len())?;
    let tail = inside.get(rest..)?;
    let length = tail.bytes().take(NAME_BYTES_MAX).position(|byte| byte == b'}')?;
    let done = tail[..length].trim();
    let is_plain =
        done.is_empty() || done.starts_with('|') && !done.bytes().any(|byte| byte.is_ascii_control());
    (is_plain && tail[length..].starts_with("}}")).then_some(Mark {
        syntax: Syntax::DoubleBrace,
        at,
        end: begin + rest + length + 2,
        inner,
        inner_at: begin + from,
    })
}

/// How long a word is that a word in parentheses may follow: `SUB_ID_SHORT(action)`.
fn called_length(inside: &str) -> Option<usize> {
    let length = word_length(inside);
    inside.bytes().next().filter(|byte| byte.is_ascii_alphabetic() || *byte == b'_')?;
    let Some(argument) = inside[length..].strip_prefix('(') else { return Some(length) };
    let called = word_length(argument);
    argument[called..].starts_with(')').then_some(length + called + 2)
}

/// How long the word is that text begins with.
fn word_length(text: &str) -> usize {
    text.bytes()
        .take(NAME_BYTES_MAX)
        .take_while(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-' | b'.'))
        .count()
}

/// How far it is to the `}` of a macro that holds more than a word.
fn grammar_length(inside: &str) -> Option<usize> {
    let opens = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'@' | b'~' | b'$');
    if !inside.bytes().next().is_some_and(opens) {
        return None;
    }
    let end = bare_end(inside, b"{}");
    let is_closed = inside.as_bytes().get(end) == Some(&b'}');
    (is_closed && !inside[..end].bytes().any(|byte| byte.is_ascii_control())).then_some(end)
}

/// How far it is to the first of some bytes that no backslash stands before; to the end of the text when
/// there is none within the bound of a macro.
pub(super) fn bare_end(text: &str, stops: &[u8]) -> usize {
    let mut escaped = false;
    for (index, byte) in text.bytes().enumerate().take(MACRO_BYTES_MAX) {
        if escaped {
            escaped = false;
        } else if byte == b'\\' {
            escaped = true;
        } else if stops.contains(&byte) {
            return index;
        }
    }
    text.len()
}

/// The name that begins at an offset; empty if none does.
pub(super) fn name_at(text: &str, at: usize) -> &str {
    let rest = text.get(at..).unwrap_or_default();
    let opens = |byte: u8| byte.is_ascii_alphabetic() || matches!(byte, b'_' | b'@' | b'~' | b'$');
    if !rest.bytes().next().is_some_and(opens) {
        return "";
    }
    let goes_on = |byte: u8| opens(byte) || byte.is_ascii_digit() || matches!(byte, b'-' | b'.');
    let end = rest.bytes().position(|byte| !goes_on(byte)).unwrap_or(rest.len());
    &rest[..end]
}
