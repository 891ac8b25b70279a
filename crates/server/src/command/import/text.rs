//! One import for a person: comments that say what became of everything, and TOML.

use anyhow::Context as _;
use roundtrip_store::settings::document::Document;
use roundtrip_web::import::Answer;
use serde_json::{Value, json};

/// What became of a URL, as comments of TOML.
pub(super) fn told(line: Option<usize>, url: &str, answer: &Answer) -> String {
    let mut lines: Vec<String> = Vec::new();
    let place = line.map_or_else(String::new, |line| format!("line {line}: "));
    let what = if answer.kind == "link" { "a tracking link" } else { "a postback" };
    lines.push(match answer.systems.first() {
        Some(best) => format!("{place}{what}, read as {} ({})", best.system, best.because),
        None => format!("{place}{what}"),
    });
    lines.push(shortened(url, answer));
    let others: Vec<String> = answer.systems.iter().skip(1).take(3).map(|one| one.system.clone()).collect();
    if !others.is_empty() {
        lines.push(format!("It could also be of {}: --from SYSTEM.", others.join(", ")));
    }
    if let Some(new) = &answer.url {
        lines.extend([String::new(), "Hand out:".to_owned(), format!("  {new}")]);
        if let Some(same) = &answer.same_url
            && is_found(answer)
        {
            lines
                .extend(["The old URL works too, once its host leads here:".to_owned(), format!("  {same}")]);
        }
    }
    lines.extend([String::new(), "Carried:".to_owned()]);
    for one in &answer.carried {
        let value = if one.value.is_empty() || one.what.ends_with(&one.value) {
            String::new()
        } else {
            format!(" = {}", one.value)
        };
        let note = if one.note.is_empty() { String::new() } else { format!(" ({})", one.note) };
        lines.push(format!("  {}{value} -> {}{note}", one.what, one.to));
    }
    lines.push(String::new());
    if answer.not_carried.is_empty() {
        lines.push("Everything came along.".to_owned());
    } else {
        lines.push("NOT carried:".to_owned());
        for one in &answer.not_carried {
            let value = if one.value.is_empty() || one.what.ends_with(&one.value) {
                String::new()
            } else {
                format!(" = {}", one.value)
            };
            lines.push(format!("  {}{value}: {}", one.what, one.reason));
            lines.push(format!("    to do: {}", one.fix));
        }
    }
    if !answer.missing.is_empty() {
        lines.extend([String::new(), "Look at:".to_owned()]);
        for one in &answer.missing {
            lines.push(format!("  {}: {}", one.field, one.reason));
            lines.push(format!("    to do: {}", one.fix));
        }
    }
    for (slug, rule) in &answer.canonical {
        lines.extend([String::new(), format!("rules.{slug} in Roundtrip's own macros, without `dialect`:")]);
        lines.push(format!("  url = {:?}", rule.url));
        if let Some(body) = &rule.body {
            let text = [&body.form, &body.json, &body.text].into_iter().flatten().next();
            lines.extend(text.map(|text| format!("  body = {text:?}")));
        }
    }
    lines.iter().map(|line| if line.is_empty() { "#\n".to_owned() } else { format!("# {line}\n") }).collect()
}

/// Whether the old URL leads to the link.
fn is_found(answer: &Answer) -> bool {
    answer.not_carried.iter().all(|one| one.what != "path")
}

/// The URL as it came, without the credentials that moved into settings.
fn shortened(url: &str, answer: &Answer) -> String {
    let mut shown = url.trim().to_owned();
    for partner in answer.document.partners.values() {
        for secret in partner.cfg.values().filter(|secret| !secret.0.is_empty()) {
            // Where a credential stands: a short one may be part of another word.
            for (before, after) in [("=", ""), ("%3D", ""), ("%3d", ""), ("/", "/"), (":", "@"), ("/", ":")] {
                shown =
                    shown.replace(&format!("{before}{}{after}", secret.0), &format!("{before}••••{after}"));
            }
        }
    }
    shown.chars().filter(|c| !c.is_control()).take(2_000).collect()
}

/// A document as TOML. Credentials name a variable to put them in, since such files are meant to be committed.
pub(super) fn toml(document: &Document) -> anyhow::Result<String> {
    let mut value = serde_json::to_value(document).context("write the document")?;
    let mut notes = String::new();
    if let Some(partners) = value.get_mut("partners").and_then(Value::as_object_mut) {
        for (slug, partner) in partners {
            let Some(cfg) = partner.get_mut("cfg").and_then(Value::as_object_mut) else { continue };
            for (name, value) in cfg {
                let variable = format!("{slug}_{name}")
                    .to_uppercase()
                    .replace(|c: char| !c.is_ascii_alphanumeric(), "_");
                notes.push_str(&format!("# {variable}: what stood in the URL as a credential.\n"));
                *value = json!(format!("env:{variable}"));
            }
        }
    }
    let text = toml::to_string(&value).context("write the TOML")?;
    Ok(format!("{notes}{}", text.trim_end()))
}
