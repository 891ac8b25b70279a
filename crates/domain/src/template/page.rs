//! The page of all macros, filters and findings, in Markdown: `docs/macros.md`. A test compares.

use super::finding::Code;
use super::vocabulary::{Availability, FAMILIES, Macro, VOCABULARY};

const HEAD: &str = "# Macros\n\n\
A template is text with macros in it: `https://partner.example/p?clickid={click_id}&sum={revenue}`. It is parsed once \
when it is saved; what is odd about it is a *finding* then. This page is generated from the code \
(`crates/domain/src/template/`); a test compares. Try a template with `roundtrip template test`.\n\n\
## Rules\n\n\
- `{x}` percent-encodes the decoded value in a URL or form, escapes it inside a JSON string, and never carries a line \
break into a header. `{x|raw}` gives the very bytes that were received.\n\
- A missing value is empty. An unknown macro is a parameter of the click's link of that name; if the link had none it \
keeps its text. Both are findings when the template is saved.\n\
- `{a||b}` is the first one that is not empty.\n\
- Macros work in path, query, headers and body. In scheme, host and port only a partner's own settings (`{cfg.name}`) \
may stand.\n\
- In a postback `{click_id}` is the partner's click id; in a destination (landing page, deep link) it is Roundtrip's. \
`{partner_click_id}` and `{rt_click_id}` always say which one.\n\
- *money* is empty unless the rule shares revenue. *winner* is empty for a partner that is told of a conversion that it \
did not win.\n\n";

const FILTERS: &str = "## Filters\n\n\
`{x|filter}`, at most eight in a row: `{gaid|lower|sha1}`. `\\` escapes `|`, `}`, `,` and `\\` in an argument.\n\n\
| filter | gives |\n| --- | --- |\n\
| `raw` | the received bytes, unchanged |\n\
| `lower`, `upper`, `alphanumeric` | the text in lower or upper case, or only its letters and digits |\n\
| `sha1`, `sha256`, `md5` | the hash, lower-case hex; of nothing, nothing |\n\
| `b64`, `b64url` | Base64, the standard or the URL alphabet |\n\
| `urlencode` | percent-encoded once more |\n\
| `default:text` | the text when the value is missing |\n\
| `map:a=1,b=2,*=0` | the mapped value; `*` for all others |\n\
| `date:%Y-%m-%d,Europe/Berlin` | a time in that form and zone (UTC without one) |\n\
| `truncate:40` | at most that many characters |\n\n";

/// The page.
pub fn page() -> String {
    let mut page = String::from(HEAD);
    page.push_str(FILTERS);
    page.push_str("## Macros\n\n| macro | what it stands for | example | |\n| --- | --- | --- | --- |\n");
    for m in VOCABULARY.iter().filter(|m| m.availability != Availability::Later) {
        page.push_str(&row(m, ""));
    }
    for m in FAMILIES {
        page.push_str(&row(m, "NAME"));
    }
    page.push_str("\n## Known, and empty in this version\n\n");
    let later: Vec<String> = VOCABULARY
        .iter()
        .filter(|m| m.availability == Availability::Later)
        .map(|m| format!("`{{{}}}` ({})", m.name, m.meaning))
        .collect();
    page.push_str(&later.join(", "));
    page.push_str(".\n\n## Findings\n\nErrors keep a template from being saved.\n\n| code | severity | says |\n| --- | --- | --- |\n");
    for code in Code::ALL {
        page.push_str(&format!(
            "| `{}` | {} | {} |\n",
            code.as_str(),
            code.severity().as_str(),
            code.meaning()
        ));
    }
    page
}

fn row(m: &Macro, family: &str) -> String {
    let mut marks = Vec::new();
    if m.availability == Availability::Click {
        marks.push("also in destinations");
    }
    if m.availability == Availability::Sending {
        marks.push("new for each attempt");
    }
    if m.money {
        marks.push("money");
    }
    if m.winner_only {
        marks.push("winner");
    }
    format!("| `{{{}{family}}}` | {} | `{}` | {} |\n", m.name, m.meaning, m.example, marks.join(", "))
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_page_in_docs_is_the_generated_one() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/macros.md");
        if std::env::var_os("UPDATE_DOCS").is_some() {
            std::fs::write(path, super::page()).unwrap();
        }
        let written = std::fs::read_to_string(path).unwrap_or_default();
        assert!(
            written == super::page(),
            "docs/macros.md is stale: run UPDATE_DOCS=1 cargo test -p roundtrip-domain page"
        );
    }

    #[test]
    fn every_filter_is_on_the_page() {
        for name in super::super::filter::NAMES {
            assert!(super::FILTERS.contains(&format!("`{name}")), "{name}");
        }
    }
}
