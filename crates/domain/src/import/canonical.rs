//! The same request in our own macros.
//!
//! Offered only where it is certain to come to the same: both templates are filled in with the same values, twice,
//! and every byte of the two requests is compared.

use crate::template::sample::Samples;
use crate::template::{
    Body, Dialect, Parts, Place, Rendered, Sending, Severity, Template, Use, UseKind, Value, Values,
};

/// Values that are the name they are asked by, so that two names are never mistaken for one another.
struct Names;

impl Values for Names {
    fn get(&self, name: &str) -> Option<Value<'_>> {
        // A parameter that nobody sent keeps an unknown macro's text in both templates.
        (!name.starts_with("param.")).then(|| Value::text(format!("v-{name}")))
    }
}

/// The request in our own macros; `None` where it has none of another dialect, or could come to something else.
pub(super) fn rewritten(parts: &Parts) -> Option<Parts> {
    if parts.dialect == Dialect::Canonical {
        return None;
    }
    let (template, findings) = Template::parse(parts.clone());
    let is_settled = template.macros().all(|used| used.kind != UseKind::Unknown);
    if !is_settled
        || template.macros().next().is_none()
        || findings.iter().any(|f| f.severity == Severity::Error)
    {
        return None;
    }
    let at = |wanted: fn(Place) -> bool| -> Vec<&Use> {
        template.macros().filter(|used| wanted(used.place)).collect()
    };
    let in_url =
        at(|place| !matches!(place, Place::Header(_) | Place::Body | Place::Signature(_) | Place::Auth));
    let mut ours = parts.clone();
    ours.dialect = Dialect::Canonical;
    ours.url = in_our_words(&parts.url, &in_url, parts.dialect)?;
    for (index, (_, value)) in ours.headers.iter_mut().enumerate() {
        let uses: Vec<&Use> = template.macros().filter(|used| used.place == Place::Header(index)).collect();
        *value = in_our_words(value, &uses, parts.dialect)?;
    }
    let in_body = at(|place| place == Place::Body);
    ours.body = match &parts.body {
        Body::None => Body::None,
        Body::Form(text) => Body::Form(in_our_words(text, &in_body, parts.dialect)?),
        Body::Json(text) => Body::Json(in_our_words(text, &in_body, parts.dialect)?),
        Body::Text(text) => Body::Text(in_our_words(text, &in_body, parts.dialect)?),
    };
    let (rewritten, findings) = Template::parse(ours.clone());
    let is_sound = findings.iter().all(|finding| finding.severity != Severity::Error);
    let sending = Sending { attempt: 1, at_ms: 1_780_564_905_250, nonce: "9f86d081884c7d65" };
    let is_same = |values: &dyn Values| {
        let (a, b) = (template.render(values, &sending), rewritten.render(values, &sending));
        let bytes = |r: &Rendered| (r.method, r.url.clone(), r.headers.clone(), r.body.clone());
        bytes(&a) == bytes(&b)
    };
    let samples = Samples::of(template.macros());
    (is_sound && is_same(&samples) && is_same(&Names)).then_some(ours)
}

/// A text with its macros in our words; the uses are those of its macros, in order.
fn in_our_words(text: &str, uses: &[&Use], dialect: Dialect) -> Option<String> {
    let mut out = String::new();
    let mut read = 0;
    let mut index = 0;
    while let Some(used) = uses.get(index) {
        let at = read + text.get(read..)?.find(&used.text)?;
        let end = at + used.text.len();
        // Alternatives of one macro stand inside it.
        let mut names = vec![*used];
        index += 1;
        while let Some(next) = uses.get(index).filter(|next| next.text == used.text && next.offset < end) {
            names.push(next);
            index += 1;
        }
        out.push_str(&text[read..at]);
        out.push('{');
        out.push_str(&expression(&names, dialect));
        out.push('}');
        read = end;
    }
    out.push_str(text.get(read..)?);
    Some(out)
}

/// What a macro asks for, in our words.
pub(super) fn expression(names: &[&Use], dialect: Dialect) -> String {
    let word = names.first().map_or("", |used| used.name.as_str());
    let is_one_word = names.iter().all(|used| used.name == word);
    if is_one_word
        && let Some((_, meaning)) = dialect.words().find(|(known, _)| *known == word)
        && names.iter().all(|used| meaning.contains(used.key.as_str()) || used.key == "partner_click_id")
    {
        return meaning.to_owned();
    }
    let mut keys: Vec<&str> = Vec::new();
    for used in names {
        if !keys.contains(&used.key.as_str()) {
            keys.push(&used.key);
        }
    }
    keys.join("||")
}
