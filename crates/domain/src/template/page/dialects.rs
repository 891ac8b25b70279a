//! The page of all dialects and their words, in Markdown: `docs/dialects.md`. A test compares.

use super::super::Dialect;
use super::super::syntax::Syntax;

const HEAD: &str = "# Dialects\n\n\
A URL that was written for another system works here unchanged: a rule names the system as its `dialect`, and each \
of its words stands for a canonical expression ([macros.md](macros.md)). A word means different things in different \
systems, so a dialect's word is looked up in its own table first; a system that shares the common words asks those \
next. `cfg.…`, `param.…` and `signature.…` work in every dialect, and a template can give words a meaning of its own. \
This page is generated from the code (`crates/domain/src/template/dialect/`); a test compares.\n\n\
*Incomplete* means that the system's own list could not be read to the end: a word that is not here may still be one of \
its words.\n\n";

/// The page.
pub fn dialects() -> String {
    let mut page = String::from(HEAD);
    page.push_str("| dialect | system | macros | |\n| --- | --- | --- | --- |\n");
    for dialect in Dialect::ALL {
        let name = dialect.as_str();
        let mark = if dialect.is_incomplete() { "incomplete" } else { "" };
        page.push_str(&format!(
            "| [`{name}`](#{name}) | {} | {} | {mark} |\n",
            dialect.title(),
            brackets(*dialect)
        ));
    }
    for dialect in Dialect::ALL.iter().filter(|dialect| **dialect != Dialect::Canonical) {
        page.push_str(&section(*dialect));
    }
    page
}

/// How macros are written in a dialect.
fn brackets(dialect: Dialect) -> String {
    let written = |syntax: &Syntax| match syntax {
        Syntax::Bare => "bare words as a whole value".to_owned(),
        Syntax::FreeMarker => "FreeMarker: `${(x)!}`".to_owned(),
        _ => {
            let (open, close) = syntax.brackets();
            format!("`{open}x{close}`")
        }
    };
    if dialect == Dialect::Canonical {
        return written(&Syntax::Brace);
    }
    dialect.syntaxes().iter().map(written).collect::<Vec<_>>().join(" ")
}

fn section(dialect: Dialect) -> String {
    let mut text = format!("\n## {}\n\n{}\n", dialect.as_str(), dialect.note());
    table(&mut text, "", dialect.words());
    table(&mut text, "Parameters of its tracking links:\n\n", dialect.link_parameters());
    text
}

/// What is stood for, and the words for it, in the order in which each is first named.
fn table<'a>(text: &mut String, head: &str, rows: impl Iterator<Item = (&'a str, &'a str)>) {
    let mut meanings: Vec<(&str, Vec<String>)> = Vec::new();
    for (word, expression) in rows {
        let word = format!("`{}`", cell(word));
        match meanings.iter_mut().find(|(known, _)| *known == expression) {
            Some((_, words)) if words.contains(&word) => {}
            Some((_, words)) => words.push(word),
            None => meanings.push((expression, vec![word])),
        }
    }
    if meanings.is_empty() {
        return;
    }
    text.push_str(&format!("\n{head}| stands for | words |\n| --- | --- |\n"));
    for (expression, words) in meanings {
        text.push_str(&format!("| `{{{}}}` | {} |\n", cell(expression), words.join(" ")));
    }
}

/// Text in a cell: a bar would end it.
fn cell(text: &str) -> String {
    text.replace('|', "\\|")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_page_in_docs_is_the_generated_one() {
        super::super::tests::compare("dialects.md", &dialects());
    }

    #[test]
    fn every_word_is_on_the_page() {
        let page = dialects();
        for dialect in Dialect::ALL {
            assert!(page.contains(&format!("(#{})", dialect.as_str())));
            for (word, expression) in dialect.words() {
                assert!(page.contains(&format!("`{}`", cell(word))), "{dialect:?} {word}");
                assert!(page.contains(&format!("`{{{}}}`", cell(expression))), "{dialect:?} {expression}");
            }
        }
    }
}
