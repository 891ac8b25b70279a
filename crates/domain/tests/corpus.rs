//! Templates of the field, in `data/`: each is read, filled in with samples, and looked at. Nobody is contacted.

use std::collections::{BTreeMap, BTreeSet};

use roundtrip_domain::template::sample::{self, Samples};
use roundtrip_domain::template::{
    Dialect, Finding, Parts, Scope, Sending, Severity, Template, UrlTemplate, Use, UseKind,
};
use serde_json::Value;

const SENDING: Sending<'static> = Sending { attempt: 1, at_ms: 1_780_564_905_250, nonce: "9f86d081884c7d65" };

/// Macros that are neither a canonical name nor a setting: row, macro, and why. Each has its own text or, where a
/// link has a parameter of that name, its value.
const UNMAPPED: &[(usize, &str, &str)] = &[
    (51, "{gdpid}", "the network's own word; its page does not say what it is"),
    (57, "{uidMap}", "a JSON object of hashed device ids under InMobi's own names; there is no such value"),
];

struct Row {
    index: usize,
    network: String,
    kind: String,
    dialect: Dialect,
    scope: Scope,
    parts: Parts,
}

fn rows() -> Vec<Row> {
    let text = include_str!("data/network-templates.json");
    let rows: Vec<Value> = serde_json::from_str(text).expect("the data is JSON");
    assert_eq!(rows.len(), 149);
    rows.iter().enumerate().map(|(index, row)| read(index, row)).collect()
}

fn read(index: usize, row: &Value) -> Row {
    let text = |name: &str| row[name].as_str().unwrap_or_default().to_owned();
    let scope = match text("kind").as_str() {
        "click" | "impression" => Scope::Link,
        _ => Scope::Postback,
    };
    let url = text("template");
    let hint = sample::hint(row["mmp"].as_str(), row["network"].as_str(), row["macro_style"].as_str());
    let macros: BTreeMap<String, String> = row["param_map"]
        .as_object()
        .into_iter()
        .flatten()
        .filter_map(|(word, meaning)| Some((word.clone(), sample::own_meaning(word, meaning.as_str()?)?)))
        .collect();
    let mut parts = Parts { macros, ..Parts::get(url) };
    parts.dialect = sample::dialect(&parts, scope, hint);
    let dialect = parts.dialect;
    Row { index, network: text("network"), kind: text("kind"), dialect, scope, parts }
}

/// A row's macros, its request, and what is said of it.
fn fill(row: &Row) -> (Vec<Use>, String, Vec<Finding>) {
    if row.scope == Scope::Link {
        let (url, findings) =
            UrlTemplate::parse_with(&row.parts.url, row.scope, row.dialect, &row.parts.macros);
        let values = Samples::of(url.macros());
        return (url.macros().cloned().collect(), url.render(&values, Some(&SENDING)).url, findings);
    }
    let (template, findings) = Template::parse(row.parts.clone());
    let rendered = template.render(&Samples::of(template.macros()), &SENDING);
    assert!(!rendered.too_long, "{}", row.index);
    (template.macros().cloned().collect(), rendered.url, findings)
}

/// One use for each macro, where alternatives of one macro are several.
fn macros<'u>(source: &str, uses: &'u [Use]) -> Vec<(usize, &'u Use)> {
    let mut found: Vec<(usize, &Use)> = Vec::new();
    for one in uses {
        let from = found.last().map_or(0, |(at, last)| at + last.text.len());
        if found.last().is_some_and(|(at, last)| (*at..at + last.text.len()).contains(&one.offset)) {
            continue;
        }
        let at = from + source[from..].find(&one.text).expect("a macro stands in its template");
        found.push((at, one));
    }
    found
}

/// A literal as a URL holds it.
fn encoded(literal: &str) -> String {
    let mut out = String::new();
    for byte in literal.bytes() {
        match byte {
            b' ' | b'"' | b'<' | b'>' | b'{' | b'}' | b'`' | 0x7f.. => out.push_str(&format!("%{byte:02X}")),
            _ => out.push(char::from(byte)),
        }
    }
    out
}

#[test]
fn every_row_gives_a_request_that_keeps_its_literals() {
    for row in rows() {
        let (uses, url, findings) = fill(&row);
        let story = format!(
            "{} {} as {:?}: {}\n{url}\n{findings:#?}",
            row.index, row.network, row.dialect, row.parts.url
        );
        let errors: Vec<_> = findings.iter().filter(|f| f.severity == Severity::Error).collect();
        assert!(errors.is_empty(), "{story}");
        let parsed = url::Url::parse(&url).unwrap_or_else(|error| panic!("{error}: {story}"));
        assert!(matches!(parsed.scheme(), "http" | "https") && parsed.host_str().is_some(), "{story}");
        assert!(url.bytes().all(|byte| byte.is_ascii_graphic()), "{story}");

        let (mut read, mut written) = (0, url.as_str());
        let source = row.parts.url.as_str();
        for (at, one) in macros(source, &uses) {
            let literal = encoded(&source[read..at]);
            let found = written.find(&literal).unwrap_or_else(|| panic!("`{literal}` is gone: {story}"));
            assert!(read > 0 || found == 0, "{story}");
            written = &written[found + literal.len()..];
            read = at + one.text.len();
        }
        assert!(written.ends_with(&encoded(&source[read..])), "{story}");
    }
}

#[test]
fn nearly_every_macro_has_a_meaning() {
    let (mut all, mut mapped) = (0, 0);
    let mut unmapped = BTreeSet::new();
    for row in rows() {
        let (uses, _, _) = fill(&row);
        for (_, one) in macros(&row.parts.url, &uses) {
            all += 1;
            if one.kind == UseKind::Unknown {
                unmapped.insert((row.index, one.text.clone()));
            } else {
                mapped += 1;
            }
        }
    }
    let listed: BTreeSet<_> = UNMAPPED.iter().map(|(row, text, _)| (*row, (*text).to_owned())).collect();
    assert_eq!(unmapped, listed, "the list of macros without a meaning is exact");
    assert!(mapped * 100 >= all * 95, "{mapped} of {all}");
}

/// What each row's macros were taken for, to be read through by a person.
#[test]
fn what_each_word_means() {
    let mut text = String::new();
    for row in rows() {
        let (uses, _, _) = fill(&row);
        let found = macros(&row.parts.url, &uses);
        text.push_str(&format!("{} {} ({}, {})\n", row.index, row.network, row.kind, row.dialect.as_str()));
        for (at, one) in found {
            let inside = at..at + one.text.len();
            let keys: Vec<_> = uses
                .iter()
                .filter(|used| inside.contains(&used.offset))
                .map(|used| used.key.as_str())
                .collect();
            let unknown = if one.kind == UseKind::Unknown { " (unknown)" } else { "" };
            text.push_str(&format!("  {} = {}{unknown}\n", one.text, keys.join(" || ")));
        }
    }
    insta::assert_snapshot!(text);
}
