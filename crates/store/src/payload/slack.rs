//! A fact as a message for a channel: Slack's Block Kit.
//!
//! Bounds are those of Slack's documentation on blocks: a header of 150 characters, 10 fields in a section, 2,000
//! characters in a field. `&`, `<` and `>` are escaped, as its page on formatting text asks, so nothing that a visitor
//! sent can mention a person or draw a link.

use serde_json::{Value, json};

const HEADER_MAX: usize = 150;
const FIELDS_MAX: usize = 10;
const FIELD_MAX: usize = 2_000;

/// What the message shows of a body, with the words for it.
const SHOWN: &[(&str, &str)] = &[
    ("App", "/app"),
    ("Source", "/attribution/source"),
    ("Campaign", "/attribution/campaign"),
    ("Found by", "/attribution/match_type"),
    ("Platform", "/device/platform"),
    ("Country", "/device/country"),
    ("Status", "/status"),
    ("Partner", "/postback/partner"),
    ("Rule", "/postback/rule"),
    ("Ended", "/postback/reason"),
    ("About", "/notice/about"),
];

/// The message of a body that is kept.
pub(super) fn message(body: &str) -> String {
    let body: Value = serde_json::from_str(body).unwrap_or_default();
    let text = |pointer: &str| match body.pointer(pointer) {
        Some(Value::String(text)) => Some(text.clone()),
        Some(Value::Number(number)) => Some(number.to_string()),
        _ => None,
    };
    let (kind, name) = (text("/kind").unwrap_or_default(), text("/event_name").unwrap_or_default());
    let mut title = kind.replace('_', " ");
    if let Some(first) = title.get_mut(..1) {
        first.make_ascii_uppercase();
    }
    if name != kind && name.replace('_', " ") != kind.replace('_', " ") && kind != "organic_install" {
        title = format!("{title}: {name}");
    }
    let title = cut(&title, HEADER_MAX);
    let revenue = text("/revenue").map(|amount| match text("/currency") {
        Some(currency) => format!("{amount} {currency}"),
        None => amount,
    });
    let fields: Vec<Value> = SHOWN
        .iter()
        .filter_map(|(label, pointer)| Some((*label, text(pointer)?)))
        .chain(revenue.map(|revenue| ("Revenue", revenue)))
        .take(FIELDS_MAX)
        .map(|(label, value)| json!({ "type": "mrkdwn", "text": format!("*{label}*\n{}", cut(&escape(&value), FIELD_MAX - 32)) }))
        .collect();
    let mut blocks =
        vec![json!({ "type": "header", "text": { "type": "plain_text", "text": title, "emoji": false } })];
    let sentence = text("/notice/sentence").or_else(|| text("/attribution/reason"));
    if let Some(sentence) = &sentence {
        let text = cut(&escape(sentence), FIELD_MAX);
        blocks.push(json!({ "type": "section", "text": { "type": "mrkdwn", "text": text } }));
    }
    if !fields.is_empty() {
        blocks.push(json!({ "type": "section", "fields": fields }));
    }
    let evidence =
        format!("{} · {}", text("/timestamp").unwrap_or_default(), text("/event_id").unwrap_or_default());
    blocks.push(json!({ "type": "context", "elements": [{ "type": "mrkdwn", "text": escape(&evidence) }] }));
    // What is shown where blocks are not, such as in notifications.
    let fallback = match sentence {
        Some(sentence) => format!("{title}. {sentence}"),
        None => title,
    };
    json!({ "text": escape(&fallback), "blocks": blocks }).to_string()
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

/// The first characters of a text.
fn cut(text: &str, chars_max: usize) -> String {
    if text.chars().count() <= chars_max {
        return text.to_owned();
    }
    let mut short: String = text.chars().take(chars_max - 1).collect();
    short.push('…');
    short
}
