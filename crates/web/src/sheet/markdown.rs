//! A sheet as Markdown.

use std::fmt::Write as _;

use super::shape::{Field, LinkSheet, PostbackSheet, Sheet};

/// Writes a sheet. What people named cannot break out of its place: it stands in code or without line breaks.
pub fn page(sheet: &Sheet) -> String {
    let mut out = String::new();
    let _ = writeln!(out, "# {}: how to work with us\n", plain(&sheet.partner.name));
    let _ = writeln!(
        out,
        "For {} ({}), made from version {} of the settings.\n",
        plain(&sheet.partner.name),
        code(&sheet.partner.slug),
        sheet.version
    );
    if let Some(system) = &sheet.system {
        let _ = write!(out, "Click macros are those of {} ({}).", plain(&system.name), system.status);
        if let Some(about) = &system.about {
            let _ = write!(out, " {about}");
        }
        out.push_str("\n\n");
    }
    out.push_str("## Links\n\n");
    if sheet.links.is_empty() {
        out.push_str("There is no link for this partner yet.\n\n");
    }
    for link in &sheet.links {
        one_link(link, sheet.system.is_some(), &mut out);
    }
    out.push_str("## Postbacks\n\n");
    if sheet.postbacks.is_empty() {
        out.push_str("No rule tells this partner anything yet.\n\n");
    }
    for postback in &sheet.postbacks {
        one_postback(postback, &mut out);
    }
    if !sheet.notes.is_empty() {
        out.push_str("## Good to know\n\n");
        for note in &sheet.notes {
            let _ = writeln!(out, "- {}", plain(note));
        }
        out.push('\n');
    }
    if !sheet.settings.is_empty() {
        let names: Vec<String> = sheet.settings.iter().map(|name| code(name)).collect();
        let _ =
            writeln!(out, "## Your settings\n\nKept with us, and never shown here: {}.\n", names.join(", "));
    }
    out.truncate(out.trim_end().len());
    out.push('\n');
    out
}

fn one_link(link: &LinkSheet, has_system: bool, out: &mut String) {
    let _ = writeln!(out, "### {}\n", plain(&link.id));
    let platform = link.app.platform.as_deref().unwrap_or_default();
    let _ = writeln!(
        out,
        "Campaign {} for {} ({platform}).\n",
        plain(&link.campaign.name),
        plain(&link.app.name)
    );
    let _ = writeln!(out, "{}", fence(&link.click_url));
    let parameter = code(&link.click_parameter);
    if has_system {
        let _ = writeln!(out, "- Your click id arrives as {parameter}.");
    } else {
        let _ = writeln!(
            out,
            "- Your click id arrives as {parameter}: put your own macro in the place of `{{click_id}}`."
        );
    }
    let _ = writeln!(out, "- A click may earn something for {}.", link.click_window);
    let _ = writeln!(out, "- Told by your server: {}", code(&link.server_url));
    let _ = writeln!(out, "- Impressions: {}", code(&link.impression_url));
    for url in &link.also {
        let _ = writeln!(out, "- It is also at {}", code(url));
    }
    for url in &link.also_impressions {
        let _ = writeln!(out, "- Impressions also at {}", code(url));
    }
    let _ = writeln!(out, "- Parameters are named as in {}.", code(&link.dialect));
    if !link.allow_destinations.is_empty() {
        let places: Vec<String> = link.allow_destinations.iter().map(|place| code(place)).collect();
        let _ = writeln!(out, "- A click may ask for a destination below {}.", places.join(", "));
    }
    out.push('\n');
}

fn one_postback(postback: &PostbackSheet, out: &mut String) {
    let _ = writeln!(out, "### {}\n", plain(&postback.rule));
    let _ = writeln!(out, "{}\n", plain(&postback.fires));
    for condition in &postback.conditions {
        let _ = writeln!(out, "- {}", plain(condition));
    }
    if let Some(delay) = &postback.delay {
        let _ = writeln!(out, "- {}", plain(delay));
    }
    let _ = writeln!(out, "- {}", plain(&postback.revenue));
    let _ = writeln!(out, "- Told up to {} after the install or click.", postback.window);
    let sandbox = if postback.sandbox { "Test events are told too." } else { "Test events are not told." };
    let _ = writeln!(out, "- {sandbox}");
    if postback.pending {
        out.push_str("- Conversions that wait for approval are told too.\n");
    }
    for Field { name, value } in &postback.rename {
        let _ = writeln!(out, "- Our event {} is your {}.", code(name), code(value));
    }
    for Field { name, value } in &postback.also {
        let _ = writeln!(out, "- {}: {}", code(name), code(value));
    }
    out.push('\n');
    if let Some(example) = &postback.example {
        let mut template = format!("{} {}", postback.method, postback.url);
        push_rest(&mut template, &postback.headers, postback.body.as_deref());
        let _ = writeln!(out, "{}", fence(&template));
        let mut filled = example.line.clone();
        push_rest(&mut filled, &example.headers, example.body.as_deref());
        let _ = writeln!(out, "With sample values:\n\n{}", fence(&filled));
        for Field { name, value } in &postback.signatures {
            let _ = writeln!(out, "{} is computed: {}\n", code(name), plain(value));
        }
    } else {
        let names: Vec<String> = postback.callbacks.iter().map(|name| code(name)).collect();
        let _ = writeln!(
            out,
            "The URL is the one that your click's own link brings, in {}: https, a public host, no port, with Adjust's \
             macros.\n",
            names.join(" or ")
        );
    }
    if !postback.macros.is_empty() {
        out.push_str("| macro | is | such as |\n| --- | --- | --- |\n");
        for one in &postback.macros {
            let empty = one.empty.as_ref().map_or_else(String::new, |why| format!(" (empty: {why})"));
            let example = if one.example.is_empty() { String::new() } else { cell(&code(&one.example)) };
            let _ =
                writeln!(out, "| {} | {}{empty} | {example} |", cell(&code(&one.name)), plain(&one.meaning));
        }
        out.push('\n');
    }
}

fn push_rest(text: &mut String, headers: &[Field], body: Option<&str>) {
    for Field { name, value } in headers {
        text.push_str(&format!("\n{name}: {value}"));
    }
    if let Some(body) = body {
        text.push_str(&format!("\n\n{body}"));
    }
}

/// A text in one line, without what Markdown or HTML would read.
fn plain(text: &str) -> String {
    let mut out = String::new();
    for c in text.chars() {
        match c {
            c if c.is_control() => out.push(' '),
            '\\' | '`' | '*' | '_' | '[' | ']' | '<' | '>' | '#' | '|' => {
                out.push('\\');
                out.push(c);
            }
            c => out.push(c),
        }
    }
    out
}

/// The longest run of backticks in a text.
fn ticks(text: &str) -> usize {
    text.split(|c| c != '`').map(str::len).max().unwrap_or(0)
}

/// A text as inline code.
fn code(text: &str) -> String {
    let text: String = text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
    let tick = "`".repeat(ticks(&text) + 1);
    let space = if text.starts_with('`') || text.ends_with('`') { " " } else { "" };
    format!("{tick}{space}{text}{space}{tick}")
}

/// A text as a block of code, with the line break behind it.
fn fence(text: &str) -> String {
    let tick = "`".repeat(ticks(text).max(2) + 1);
    let text: String = text.chars().map(|c| if c.is_control() && c != '\n' { ' ' } else { c }).collect();
    format!("{tick}text\n{text}\n{tick}\n")
}

/// A text inside a table, where a bar would end the cell.
fn cell(text: &str) -> String {
    text.replace('|', "\\|")
}
