//! What a dialect is made of: rows of a word and the canonical expression it stands for.

use super::super::syntax::Syntax;
use std::borrow::Cow;

/// A word and its canonical expression, without braces.
pub(super) type Row = (&'static str, &'static str);

/// How exactly a word has to be written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Spelling {
    /// Byte for byte.
    Exact,
    /// In any case.
    AnyCase,
    /// In any case, and with `-`, `_`, `.` or nothing between its parts.
    Folded,
}

/// What becomes of a word that the vocabulary does not have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Beyond {
    /// It has no meaning: the system leaves such text as it is.
    Nothing,
    /// The words that many systems share are asked.
    Shared,
    /// The system echoes every link parameter by its own name.
    Parameter,
}

/// One system's words.
pub(super) struct Vocabulary {
    /// The system's name, for people.
    pub(super) title: &'static str,
    /// Who uses it, and what is worth knowing of it.
    pub(super) note: &'static str,
    /// Its own list of words could not be read to the end.
    pub(super) is_incomplete: bool,
    pub(super) syntaxes: &'static [Syntax],
    pub(super) spelling: Spelling,
    pub(super) words: &'static [&'static [Row]],
    pub(super) beyond: Beyond,
    /// Where the system itself wants to be called: the parameter that takes its own click id, and the word for that id in
    /// the addresses it hands out. There the word is not ours but the partner's, who is that system.
    pub(super) called_at: &'static [Row],
    /// Parameters of its tracking links, and the canonical name of what each holds.
    pub(super) link: &'static [&'static [Row]],
}

/// Rows for numbered words: `numbered!("aff_sub" => "sub": 2 3)` is `aff_sub2` → `sub2`, `aff_sub3` → `sub3`.
macro_rules! numbered {
    ($before:literal => $expression:literal: $($number:literal)*) => {
        &[$((concat!($before, $number), concat!($expression, $number)),)*]
    };
}
pub(super) use numbered;

impl Vocabulary {
    /// The expression of a word.
    pub(super) fn find(&self, word: &str) -> Option<&'static str> {
        find(self.words, word, self.spelling)
    }
}

/// The expression of a word in some tables.
pub(super) fn find(
    tables: &'static [&'static [Row]],
    word: &str,
    spelling: Spelling,
) -> Option<&'static str> {
    tables
        .iter()
        .flat_map(|table| table.iter())
        .find(|(name, _)| is_same(name, word, spelling))
        .map(|(_, expression)| *expression)
}

/// Whether two words are the same in a spelling.
pub(super) fn is_same(a: &str, b: &str, spelling: Spelling) -> bool {
    match spelling {
        Spelling::Exact => a == b,
        Spelling::AnyCase => a.eq_ignore_ascii_case(b),
        Spelling::Folded => folded(a).eq(folded(b)),
    }
}

/// A word's letters and digits in lower case. Other bytes that are no separators stay, so that `~x` is not `x`.
fn folded(word: &str) -> impl Iterator<Item = u8> {
    word.bytes()
        .filter(|byte| !matches!(byte, b'-' | b'_' | b'.' | b' '))
        .map(|byte| byte.to_ascii_lowercase())
}

/// An expression with a filter behind each of its alternatives.
pub(super) fn filtered(expression: &str, filter: &str) -> Cow<'static, str> {
    let each: Vec<String> =
        expression.split("||").map(|alternative| format!("{alternative}|{filter}")).collect();
    each.join("||").into()
}
