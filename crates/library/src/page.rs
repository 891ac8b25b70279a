//! The page of the library, in Markdown: `docs/library.md`. A test compares.

use std::fmt::Write as _;

use crate::entry::Entry;
use crate::{STATUS, entries};

const HEAD: &str = "# The template library\n\n\
A rule can begin from what is known about a network or tracker: its postback URL, the settings it needs, how its click \
id reaches our link, and how it says that it took a request. Each entry is taken from the vendor's own pages, which it \
names, and has the status **community, unverified**: nobody tried it with a live account. Look at the rule before you \
rely on it; `unconfirmed` says where to look first.\n\n\
This page is generated from the code (`crates/library/`); a test compares.\n\n\
## Using it\n\n\
```sh\n\
roundtrip template list                      # everything; a text filters: roundtrip template list keitaro\n\
roundtrip template show everflow             # one entry whole\n\
roundtrip template add everflow --partner acme --app shop-android --on install \\\n\
\x20   --set host=www.acmetrk.example --set nid=1001     # makes the rule; shows the difference and asks first\n\
roundtrip template add everflow --partner acme --app shop-android --print   # the same as TOML to paste\n\
roundtrip template test --library everflow --value cfg.host=www.acmetrk.example --value cfg.nid=1001\n\
```\n\n\
`add` speaks to the running server as `apply` does: the partner and the app must be set up; the rule is named \
`PARTNER-KIND` unless `--slug` says otherwise; what is like that already is not changed, so a second run changes nothing. \
Settings that the partner has already need not be given again. A value may be `env:NAME` or `file:PATH`. What it \
sets is not in your `roundtrip.toml`: a file that has the partner without these settings takes them away at the next \
`apply`, so put what `--print` shows into the file if you keep one. Amounts are told only with `--share-revenue`. With `--yes` nothing is asked; without it, and without a terminal, nothing is changed.\n\n\
The same entries are in the API: `GET /api/v1/library` and `GET /api/v1/library/{name}`.\n\n\
## Trying it for real\n\n\
`roundtrip template test … --send` sends one real request, to the vendor's own way to try one where the entry has such \
(`check` below), else to the URL itself, and then **it counts at the receiver like any other**. It goes through the guarded \
client that postbacks go through: no private addresses (`--allow-private CIDR` opens a range), no plain http \
(`--allow-plain-http-out`), no redirects. Printed are the bytes sent, with settings masked, and the answer: status, \
headers, the first 4 KiB of the body, timings. The exit code is 0 only if the answer counts as a success.\n\n";

/// The page.
pub fn page() -> String {
    let mut page = String::from(HEAD);
    page.push_str("## Entries\n\n| entry | system | kind | told of | settings | check |\n| --- | --- | --- | --- | --- | --- |\n");
    for entry in entries() {
        let told: Vec<&str> = entry.on.iter().map(|on| on.name()).collect();
        let settings: Vec<String> = entry
            .settings
            .iter()
            .map(|setting| {
                format!("`{}`{}", setting.name, if setting.optional { " (may be absent)" } else { "" })
            })
            .collect();
        let _ = writeln!(
            page,
            "| [`{slug}`](#{slug}) | {} | {} | {} | {} | {} |",
            entry.name,
            entry.kind.name(),
            if told.is_empty() { "links only".to_owned() } else { told.join(", ") },
            settings.join(", "),
            if entry.check.is_some() { "yes" } else { "" },
            slug = entry.slug,
        );
    }
    for entry in entries() {
        section(entry, &mut page);
    }
    page
}

fn section(entry: &Entry, page: &mut String) {
    let (slug, name, kind) = (&entry.slug, &entry.name, entry.kind.name());
    let _ =
        writeln!(page, "\n### {slug}\n\n{name} · {kind}. Status: {STATUS}, known as of {}.\n", entry.known);
    let _ = writeln!(page, "{}\n", entry.about);
    if let Some(url) = &entry.url {
        let _ = writeln!(page, "```text\n{} {url}", entry.method);
        for (name, value) in &entry.headers {
            let _ = writeln!(page, "{name}: {value}");
        }
        if let Some(body) = &entry.body {
            let (field, text) = body.field();
            let _ = writeln!(page, "\n({field}) {text}");
        }
        page.push_str("```\n\n");
    }
    let mut points = Vec::new();
    if !entry.platforms.is_empty() {
        let names: Vec<&str> = entry.platforms.iter().map(|platform| platform.name()).collect();
        points.push(format!("For apps on {}.", names.join(" and ")));
    }
    for setting in &entry.settings {
        let absent = if setting.optional { " May be absent." } else { "" };
        points.push(format!(
            "`{{cfg.{}}}`: {} Example: `{}`.{absent}",
            setting.name, setting.about, setting.example
        ));
    }
    if !entry.needs.is_empty() {
        let names: Vec<String> = entry.needs.iter().map(|name| format!("`{{{name}}}`")).collect();
        points.push(format!("Cannot be used without {}.", names.join(", ")));
    }
    if let Some(click) = &entry.click {
        let mut line = match &click.suffix {
            Some(suffix) => format!("Click id: append `{suffix}` to our link in its panel."),
            None => format!("Click id: arrives as `{}`.", click.parameter),
        };
        if let Some(about) = &click.about {
            line.push(' ');
            line.push_str(about);
        }
        points.push(line);
    }
    if !entry.success.body_any.is_empty() {
        let texts: Vec<String> = entry.success.body_any.iter().map(|text| format!("`{text}`")).collect();
        points.push(format!("A success is 2xx with {} in the body.", texts.join(" or ")));
    }
    if let Some(about) = &entry.success.about {
        points.push(format!("Answers: {about}"));
    }
    if let Some(check) = &entry.check {
        points.push(format!("Check: {} `{}`", check.about, check.url));
    }
    points.extend(entry.unconfirmed.iter().map(|text| format!("**Unconfirmed:** {text}")));
    points.extend(entry.source.iter().map(|page| format!("Source: <{page}>")));
    for point in points {
        let _ = writeln!(page, "- {point}");
    }
}
