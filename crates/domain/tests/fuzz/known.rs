//! What is known of macros without reading a template: our names, and each system's words.

use crate::input::SENDING;
use roundtrip_domain::template::{Availability, Dialect, Parts, Template, VOCABULARY, Value, Values};
use std::sync::LazyLock;

/// What can stand around a word so that it is a macro.
const BRACKETS: &[(&str, &str)] = &[
    ("{", "}"),
    ("{{", "}}"),
    ("${", "}"),
    ("{$", "}"),
    ("#{", "}"),
    ("%{", "}"),
    ("(", ")"),
    ("[", "]"),
    ("[[", "]]"),
    ("[[[", "]]]"),
    ("#", "#"),
    ("##", "##"),
    ("%", "%"),
    ("__", "__"),
    ("<", ">"),
    ("${(", ")!}"),
    ("", ""),
];

/// A word of a system, in brackets of that system, and the canonical expression that it stands for.
pub(crate) struct Foreign {
    pub(crate) dialect: Dialect,
    pub(crate) text: String,
    pub(crate) expression: &'static str,
}

/// What is known of macros without reading a template.
pub(crate) struct Known {
    /// Names of ours that always have a value of their own.
    pub(crate) names: Vec<&'static str>,
    /// By system.
    pub(crate) words: Vec<Vec<Foreign>>,
    /// Words that are no macro in any brackets.
    pub(crate) lost: Vec<String>,
}

pub(crate) static KNOWN: LazyLock<Known> = LazyLock::new(Known::new);

impl Known {
    fn new() -> Self {
        let is_plain = |a: Availability| matches!(a, Availability::Click | Availability::Event);
        let known = VOCABULARY.iter().filter(|m| is_plain(m.availability)).map(|m| m.name);
        let names = known.chain(["param.x", "param.a-b.c", "cfg.token"]).collect();
        let (mut words, mut lost) = (Vec::new(), Vec::new());
        for dialect in Dialect::ALL {
            let (found, none) = foreign_words(*dialect);
            words.extend((!found.is_empty()).then_some(found));
            lost.extend(none.iter().map(|word| format!("{dialect:?}: {word} is no macro in any brackets")));
        }
        Self { names, words, lost }
    }
}

/// Another value for each name, in which no bracket is: a time for a time and the name for everything else.
pub(crate) struct Named;

impl Values for Named {
    fn get(&self, name: &str) -> Option<Value<'_>> {
        let is_time = name.contains("_time");
        let number = name.bytes().fold(7, |hash: u64, byte| hash * 31 % 1_000_003 + u64::from(byte));
        Some(Value::text(if is_time { (1_780_000_000 + number).to_string() } else { name.to_owned() }))
    }
}

/// The words of a system in brackets in which they are macros, and those that are none in any. All brackets are
/// tried with the first words, and then those that were macros with one of them, in turn.
fn foreign_words(dialect: Dialect) -> (Vec<Foreign>, Vec<&'static str>) {
    let (mut words, mut lost, mut usual) = (Vec::new(), Vec::new(), Vec::new());
    for (index, (word, expression)) in dialect.words().enumerate() {
        let before = words.len();
        let turn = index % usual.len().max(1);
        let tried: Vec<_> = usual[turn..].iter().chain(BRACKETS).copied().collect();
        for brackets in if index < 10 { BRACKETS } else { &tried } {
            let text = format!("{}{word}{}", brackets.0, brackets.1);
            if is_macro(dialect, word, &text, brackets.0) {
                words.push(Foreign { dialect, text, expression });
                if index >= 10 {
                    break;
                }
                if !usual.contains(brackets) {
                    usual.push(*brackets);
                }
            }
        }
        if words.len() == before {
            lost.push(word);
        }
    }
    (words, lost)
}

/// Whether a text is that word as a macro. One that is read as another word is not the one that is meant, and
/// brackets that are partly left are not those of the system.
fn is_macro(dialect: Dialect, word: &str, text: &str, open: &str) -> bool {
    let url = format!("https://p.example/?zz={text}&z=1");
    let (template, _) = Template::parse(Parts { dialect, ..Parts::get(url) });
    let rendered = template.render(&Named, &SENDING).url;
    let value = &rendered["https://p.example/?zz=".len()..];
    let is_left = open.chars().next().is_some_and(|bracket| {
        value.starts_with(bracket) || value.starts_with(&format!("%{:02X}", u32::from(bracket)))
    });
    !is_left && template.macros().next().is_some_and(|used| used.name == word)
}
