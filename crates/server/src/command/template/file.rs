//! A file of templates: each is read in the dialect that fits it best, filled in with samples, and judged.
//!
//! A row that cannot be read is told of in its line, and the rest goes on. Fields that are not known are left alone: such
//! files are collected by people for other ends, too.

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::Context as _;
use roundtrip_domain::template::sample::{self, Samples};
use roundtrip_domain::template::{
    Body, Dialect, Finding, Parts, Place, Rendered, Scope, Sending, Severity, Template, UrlTemplate, Use,
    UseKind,
};
use serde_json::{Map, Value, json};

use crate::terminal;

/// When the samples are sent; a fixed moment, so that a file gives the same lines each time.
const SENDING: Sending<'static> = Sending { attempt: 1, at_ms: 1_780_564_905_250, nonce: "9f86d081884c7d65" };

/// Tries the templates of a file and prints what came of them. Tells whether any could not be saved.
///
/// # Errors
/// When the file cannot be read, or holds no JSON array.
pub(super) fn run(path: &Path, dialect: Option<Dialect>, as_json: bool) -> anyhow::Result<bool> {
    let bytes = std::fs::read(path).with_context(|| format!("read {}", path.display()))?;
    let rows = rows(&bytes).with_context(|| format!("read {}", path.display()))?;
    let tried: Vec<Tried> =
        rows.iter().enumerate().map(|(index, row)| Tried::of(index, row, dialect)).collect();
    if as_json {
        tried.iter().try_for_each(|one| terminal::line(&one.json().to_string()))?;
    } else {
        terminal::line(&table(&tried))?;
    }
    Ok(tried.iter().any(|one| !one.is_ok()))
}

fn rows(bytes: &[u8]) -> anyhow::Result<Vec<Value>> {
    match serde_json::from_slice(bytes).context("it is no JSON")? {
        Value::Array(rows) => Ok(rows),
        _ => anyhow::bail!("it holds no JSON array of templates"),
    }
}

/// A template of the file, as far as it could be read.
struct Row {
    parts: Parts,
    scope: Scope,
    /// What the row says of its event and platform, as samples.
    given: BTreeMap<String, String>,
}

/// What came of one.
struct Tried {
    index: usize,
    name: String,
    dialect: Option<Dialect>,
    rendered: Option<Rendered>,
    macros: Vec<Macro>,
    findings: Vec<(String, String, Severity)>,
}

/// A macro as written, and what it was taken for.
struct Macro {
    text: String,
    kind: UseKind,
    name: Option<String>,
}

impl Tried {
    fn of(index: usize, row: &Value, dialect: Option<Dialect>) -> Self {
        let name =
            ["network", "kind"].iter().filter_map(|field| row[*field].as_str()).collect::<Vec<_>>().join(" ");
        match Row::read(row, dialect) {
            Ok(row) => row.fill(index, name),
            Err((code, message)) => Self {
                index,
                name,
                dialect: None,
                rendered: None,
                macros: Vec::new(),
                findings: vec![(code.to_owned(), message, Severity::Error)],
            },
        }
    }

    fn is_ok(&self) -> bool {
        self.rendered.is_some() && self.findings.iter().all(|(_, _, severity)| *severity != Severity::Error)
    }

    /// The line of `--json`.
    fn json(&self) -> Value {
        let request = self.rendered.as_ref().map(|request| {
            let mut headers = Map::new();
            for (name, value) in &request.headers {
                let value = String::from_utf8_lossy(value).into_owned();
                match headers.get_mut(name) {
                    Some(Value::String(before)) => before.push_str(&format!(", {value}")),
                    _ => {
                        headers.insert(name.clone(), value.into());
                    }
                }
            }
            let body = request.body.as_ref().map(|body| String::from_utf8_lossy(body).into_owned());
            json!({ "method": request.method.as_str(), "url": request.url, "headers": headers, "body": body })
        });
        let macros: Vec<_> = self
            .macros
            .iter()
            .map(|one| json!({ "text": one.text, "kind": one.kind.as_str(), "name": one.name }))
            .collect();
        let findings: Vec<_> = self
            .findings
            .iter()
            .map(|(code, message, _)| json!({ "code": code, "message": message }))
            .collect();
        json!({
            "index": self.index, "ok": self.is_ok(), "dialect": self.dialect.map(Dialect::as_str),
            "request": request, "macros": macros, "findings": findings,
        })
    }
}

impl Row {
    fn read(row: &Value, dialect: Option<Dialect>) -> Result<Self, (&'static str, String)> {
        let fields = row.as_object().ok_or(("row_invalid", "the row is no JSON object".to_owned()))?;
        let text =
            |name: &str| fields.get(name).and_then(Value::as_str).map(str::trim).filter(|t| !t.is_empty());
        let missing = || ("template_missing", "the row has no text in `template`".to_owned());
        let url = fields.get("template").and_then(Value::as_str).filter(|url| !url.trim().is_empty());
        // Blanks around it were pasted along.
        let url = url.ok_or_else(missing)?.trim().to_owned();
        let scope = match text("kind").map(str::to_ascii_lowercase).as_deref() {
            Some("click" | "impression" | "link" | "view") => Scope::Link,
            _ => Scope::Postback,
        };
        let headers = headers(fields.get("headers"));
        let body = body(fields.get("body"), &headers);
        let default = if body == Body::None { "GET" } else { "POST" };
        let mut parts = Parts {
            method: text("method").unwrap_or(default).to_owned(),
            macros: meanings(fields, scope),
            url,
            headers,
            body,
            ..Parts::default()
        };
        let hint = sample::hint(text("mmp"), text("network"), text("macro_style"));
        parts.dialect = dialect.unwrap_or_else(|| sample::dialect(&parts, scope, hint));
        if parts.dialect == Dialect::Generic || parts.dialect == Dialect::Canonical && dialect.is_none() {
            let style = text("macro_style").unwrap_or_default().to_ascii_lowercase();
            let bare = sample::bare_meanings(&parts.url);
            // Capitals are meant as macros where the row says so, or where there are several and no brackets.
            let is_meant = ["uppercase", "bare", "plain"].iter().any(|word| style.contains(word))
                || bare.len() > 1 && !parts.url.contains(['{', '[', '#', '<', '(', '%']);
            if is_meant && !bare.is_empty() {
                parts.dialect = Dialect::Generic;
                bare.into_iter().for_each(|(word, meaning)| {
                    parts.macros.entry(word).or_insert(meaning);
                });
            }
        }
        let given = [("event", "event_name"), ("platform", "platform")];
        let given =
            given.iter().filter_map(|(field, name)| Some(((*name).to_owned(), text(field)?.to_owned())));
        Ok(Self { given: given.collect(), parts, scope })
    }

    fn fill(self, index: usize, name: String) -> Tried {
        let dialect = self.parts.dialect;
        let has_more = self.parts.body != Body::None || !self.parts.headers.is_empty();
        let (template, mut findings) = Template::parse(self.parts.clone());
        let mut uses: Vec<Use> = template.macros().cloned().collect();
        let mut samples = self.samples(&uses);
        let mut rendered = template.render(&samples, &SENDING);
        if self.scope == Scope::Link {
            // The address is read as a link's; headers and body, which hardly any has, are a request's like others.
            let is_url = |place: Place| {
                !matches!(place, Place::Header(_) | Place::Body | Place::Signature(_) | Place::Auth)
            };
            uses.retain(|one| has_more && !is_url(one.place));
            findings.retain(|finding| has_more && !is_url(finding.place));
            let (url, more) =
                UrlTemplate::parse_with(&self.parts.url, self.scope, dialect, &self.parts.macros);
            findings.splice(0..0, more);
            uses.splice(0..0, url.macros().cloned());
            samples = self.samples(&uses);
            let link = url.render(&samples, Some(&SENDING));
            rendered = Rendered { url: link.url, too_long: rendered.too_long || link.too_long, ..rendered };
        }
        let mut findings: Vec<_> = findings
            .into_iter()
            .map(|Finding { code, message, severity, .. }| (code.as_str().to_owned(), message, severity))
            .collect();
        if let Some(message) = fault(&rendered) {
            findings.push(("request_invalid".to_owned(), message, Severity::Error));
        }
        let macros = self.macros(&uses);
        Tried { index, name, dialect: Some(dialect), rendered: Some(rendered), macros, findings }
    }

    fn samples(&self, uses: &[Use]) -> Samples {
        let mut samples = Samples::of(uses.iter());
        samples.given.extend(self.given.clone());
        // The setting that the URL begins with holds its scheme and host.
        let opens = |one: &&Use| one.place == Place::Host && self.parts.url.starts_with(&one.text);
        match uses.iter().find(opens) {
            Some(first) => samples.with_origin(&first.key),
            None => samples,
        }
    }

    /// One for each macro, whose alternatives are several uses.
    fn macros(&self, uses: &[Use]) -> Vec<Macro> {
        let mut macros = Vec::new();
        let mut last: Option<(Place, std::ops::Range<usize>)> = None;
        for one in uses {
            if matches!(one.place, Place::Signature(_) | Place::Auth) {
                continue;
            }
            let part = match one.place {
                Place::Header(index) => self.parts.headers.get(index).map_or("", |(_, value)| value.as_str()),
                Place::Body => self.parts.body.text(),
                _ => self.parts.url.as_str(),
            };
            let is_same = last
                .as_ref()
                .is_some_and(|(place, range)| *place == one.place && range.contains(&one.offset));
            if is_same {
                continue;
            }
            let from = one.offset.saturating_sub(one.text.len());
            let begin = (from..=one.offset)
                .rev()
                .find(|at| part.get(*at..).is_some_and(|rest| rest.starts_with(&one.text)))
                .unwrap_or(one.offset);
            last = Some((one.place, begin..begin + one.text.len()));
            let name = (one.kind != UseKind::Unknown).then(|| one.key.clone());
            macros.push(Macro { text: one.text.clone(), kind: one.kind, name });
        }
        macros
    }
}

/// What is wrong with a request that was filled in.
fn fault(request: &Rendered) -> Option<String> {
    if request.too_long {
        return Some("the request is longer than what may be sent".to_owned());
    }
    if let Some(byte) = request.url.bytes().find(|byte| !byte.is_ascii_graphic()) {
        return Some(format!("the URL holds the byte {byte:#04x}"));
    }
    if request.headers.iter().any(|(_, value)| value.iter().any(|byte| matches!(byte, b'\r' | b'\n'))) {
        return Some("a header holds a line break".to_owned());
    }
    match url::Url::parse(&request.url) {
        Ok(url) if url.host_str().is_some_and(|host| !host.is_empty()) => None,
        Ok(_) => Some("the URL has no host".to_owned()),
        Err(error) => Some(format!("the URL cannot be used: {error}")),
    }
}

/// `headers` as an object, or as a list of pairs, objects with `name` and `value`, or `Name: value` texts.
fn headers(value: Option<&Value>) -> Vec<(String, String)> {
    let plain = |value: &Value| match value {
        Value::String(text) => Some(text.clone()),
        Value::Number(_) | Value::Bool(_) => Some(value.to_string()),
        _ => None,
    };
    let of_one = |item: &Value| match item {
        Value::String(line) => {
            let (name, value) = line.split_once(':')?;
            Some((name.trim().to_owned(), value.trim().to_owned()))
        }
        Value::Array(pair) => Some((plain(pair.first()?)?, plain(pair.get(1)?)?)),
        Value::Object(fields) => match (fields.get("name"), fields.get("value")) {
            (Some(name), Some(value)) => Some((plain(name)?, plain(value)?)),
            _ => {
                let (name, value) = fields.iter().next()?;
                Some((name.clone(), plain(value)?))
            }
        },
        _ => None,
    };
    match value {
        Some(Value::Object(fields)) => fields
            .iter()
            .flat_map(|(name, value)| match value {
                Value::Array(values) => values.iter().filter_map(plain).map(|v| (name.clone(), v)).collect(),
                one => plain(one).map(|v| vec![(name.clone(), v)]).unwrap_or_default(),
            })
            .collect(),
        Some(Value::Array(items)) => items.iter().filter_map(of_one).collect(),
        _ => Vec::new(),
    }
}

/// `body` as text or as JSON. What the text is, its header says, or its first letter.
fn body(value: Option<&Value>, headers: &[(String, String)]) -> Body {
    let text = match value {
        None | Some(Value::Null) => return Body::None,
        Some(Value::String(text)) if text.is_empty() => return Body::None,
        Some(Value::String(text)) => text.clone(),
        Some(other) => return Body::Json(other.to_string()),
    };
    let kind = headers.iter().find(|(name, _)| name.eq_ignore_ascii_case("content-type"));
    let kind = kind.map(|(_, kind)| kind.to_ascii_lowercase()).unwrap_or_default();
    let begins = text.trim_start();
    let is_object = begins.strip_prefix('{').is_some_and(|rest| rest.trim_start().starts_with(['"', '}']));
    if kind.contains("json") || kind.is_empty() && (is_object || begins.starts_with("[{")) {
        Body::Json(text)
    } else if kind.contains("form") || kind.is_empty() && text.contains('=') && !text.contains(['\n', '<']) {
        Body::Form(text)
    } else {
        Body::Text(text)
    }
}

/// What the row says of its words: `param_map`, and the parameter that its tracking links carry the click id in.
fn meanings(fields: &Map<String, Value>, scope: Scope) -> BTreeMap<String, String> {
    let map = fields.get("param_map").and_then(Value::as_object);
    let mut meanings: BTreeMap<String, String> = map
        .into_iter()
        .flatten()
        .filter_map(|(word, meaning)| Some((word.clone(), sample::own_meaning(word, meaning.as_str()?)?)))
        .collect();
    let suffix = fields.get("click_suffix").and_then(Value::as_str).filter(|_| scope == Scope::Postback);
    for pair in suffix.unwrap_or_default().split(['&', '?', '/']) {
        let Some((name, value)) = pair.split_once('=') else { continue };
        let is_click_id = ["{subid}", "{click_id}", "{clickid}"].contains(&value);
        if is_click_id && !name.is_empty() {
            meanings.entry(name.to_owned()).or_insert_with(|| "partner_click_id".to_owned());
        }
    }
    meanings
}

/// The table for people.
fn table(tried: &[Tried]) -> String {
    let known = |one: &Tried| one.macros.iter().filter(|found| found.kind != UseKind::Unknown).count();
    let cells: Vec<[String; 5]> = tried
        .iter()
        .map(|one| {
            let first = one.findings.iter().max_by_key(|(_, _, severity)| *severity);
            [
                one.index.to_string(),
                if one.is_ok() { "ok" } else { "not ok" }.to_owned(),
                one.dialect.map_or("-", Dialect::as_str).to_owned(),
                format!("{}/{}", known(one), one.macros.len()),
                match first {
                    Some((code, message, Severity::Error)) => {
                        format!("{} {code}: {message}", one.name).trim_start().to_owned()
                    }
                    _ => one.name.clone(),
                },
            ]
        })
        .collect();
    let head = ["row", "", "dialect", "macros", "template"].map(str::to_owned);
    let width = |column: usize| {
        cells.iter().chain([&head]).map(|row| row[column].chars().count()).max().unwrap_or_default()
    };
    let widths = [width(0), width(1), width(2), width(3)];
    let mut text = String::new();
    for row in std::iter::once(&head).chain(&cells) {
        let line: Vec<String> = row
            .iter()
            .enumerate()
            .map(|(column, cell)| format!("{cell:width$}", width = widths.get(column).copied().unwrap_or(0)))
            .collect();
        text.push_str(line.join("  ").trim_end());
        text.push('\n');
    }
    let good = tried.iter().filter(|one| one.is_ok()).count();
    let all: usize = tried.iter().map(|one| one.macros.len()).sum();
    let mapped: usize = tried.iter().map(known).sum();
    text.push_str(&format!(
        "{good} of {} templates are good; {mapped} of {all} macros are known",
        tried.len()
    ));
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(rows: &Value) -> Vec<Value> {
        let Value::Array(rows) = rows else { panic!("an array") };
        rows.iter().enumerate().map(|(index, row)| Tried::of(index, row, None).json()).collect()
    }

    #[test]
    fn a_line_has_the_promised_shape() {
        let rows = json!([{
            "network": "Example Ads", "kind": "event", "mmp": "Keitaro (tracker calls the source)",
            "template": "https://p.example/?c={external_id}&t={access_token}&x={frob}", "stars": 5,
        }]);
        assert_eq!(
            lines(&rows)[0].to_string(),
            concat!(
                r#"{"index":0,"ok":true,"dialect":"keitaro","request":{"method":"GET","#,
                r#""url":"https://p.example/?c=a1b2c3&t=sample&x=%7Bfrob%7D","headers":{},"body":null},"#,
                r#""macros":[{"text":"{external_id}","kind":"value","name":"partner_click_id"},"#,
                r#"{"text":"{access_token}","kind":"setting","name":"cfg.access_token"},"#,
                r#"{"text":"{frob}","kind":"unknown","name":null}],"#,
                r#""findings":[{"code":"macro_guessed","message":"`access_token` is no word of this dialect; it is "#,
                r#"read as `{cfg.access_token}`"},{"code":"macro_unknown","message":"`frob` is no macro here; it keeps its text unless "#,
                r#"the link has such a parameter"}]}"#
            )
        );
    }

    #[test]
    fn what_cannot_be_read_is_told_and_the_rest_goes_on() {
        let rows = json!([
            7,
            {"network": "x"},
            {"template": ""},
            {"template": "no url {clickid}"},
            {"template": "https://{clickid}", "kind": "event"},
            {"template": "https://p.example/{click_id"},
            {"template": "https://p.example/?c={click_id}"},
        ]);
        let lines = lines(&rows);
        let told: Vec<_> =
            lines.iter().map(|line| (line["ok"].clone(), line["findings"][0]["code"].clone())).collect();
        assert_eq!(told[0], (json!(false), json!("row_invalid")));
        assert_eq!(told[1], (json!(false), json!("template_missing")));
        assert_eq!(told[2], (json!(false), json!("template_missing")));
        assert_eq!(told[3].0, json!(false));
        assert_eq!(told[5].0, json!(false));
        assert_eq!(told[6].0, json!(true));
        assert_eq!(lines[6]["index"], 6);
        assert_eq!(lines[6]["dialect"], "canonical");
    }

    #[test]
    fn methods_bodies_and_headers_in_all_their_forms() {
        let rows = json!([
            {"template": "https://p.example/", "body": {"id": "{click_id}", "n": 1},
             "headers": {"X-Key": "{api_key}", "X-Two": ["a", "b"]}},
            {"template": "https://p.example/", "body": "id={click_id}&t={event_time}", "headers": ["X-A: {event_name}"],
             "event": "level_up"},
            {"template": "https://p.example/", "body": "{\"id\":\"{click_id}\"}", "method": "put",
             "headers": [["X-A", "1"], {"name": "X-B", "value": "2"}, {"X-C": "3"}]},
        ]);
        let lines = lines(&rows);
        assert_eq!(lines[0]["request"]["method"], "POST");
        assert_eq!(lines[0]["request"]["body"], r#"{"id":"a1b2c3","n":1}"#);
        assert_eq!(
            lines[0]["request"]["headers"],
            json!({"X-Key": "sample", "X-Two": "a, b", "content-type": "application/json"})
        );
        assert_eq!(
            lines[0]["macros"][0],
            json!({"text": "{api_key}", "kind": "setting", "name": "cfg.api_key"})
        );
        assert_eq!(lines[1]["request"]["body"], "id=a1b2c3&t=1780564904");
        assert_eq!(lines[1]["request"]["headers"]["X-A"], "level_up");
        assert_eq!(lines[2]["request"]["method"], "PUT");
        assert_eq!(lines[2]["request"]["body"], r#"{"id":"a1b2c3"}"#);
        assert_eq!(lines[2]["request"]["headers"]["X-C"], "3");
    }

    #[test]
    fn links_are_read_as_links_and_rows_say_what_their_words_mean() {
        let rows = json!([
            {"kind": "click", "mmp": "AppsFlyer", "template": "https://app.appsflyer.com/{app_id}?c=[OFFER]&clickid={x}"},
            {"kind": "event", "mmp": "any", "template": "https://p.example/?a={DID}&b={token}&c={flag}",
             "param_map": {"DID": "idfa|gaid", "token": "credential.sdk_key", "flag": "is_attributed(0/1)"}},
            {"kind": "event", "mmp": "Keitaro (network calls the tracker)", "click_suffix": "&zz={subid}",
             "template": "http://t.example/postback?x={zz}"},
            {"kind": "event", "template": "{postback_url}?c={clickid}"},
            {"kind": "event", "network": "Voluum", "mmp": "any", "macro_style": "UPPERCASE words",
             "template": "https://t.example/postback?cid=REPLACE&payout=OPTIONAL"},
        ]);
        let lines = lines(&rows);
        let names = |index: usize| -> Vec<String> {
            let macros = lines[index]["macros"].as_array().unwrap().clone();
            macros.iter().map(|one| one["name"].as_str().unwrap_or("?").to_owned()).collect()
        };
        assert_eq!(names(0), ["app_id", "campaign", "partner_click_id"]);
        assert_eq!(lines[0]["dialect"], "appsflyer");
        assert_eq!(names(1), ["idfa", "cfg.sdk_key", "is_attributed"]);
        assert_eq!(names(2), ["partner_click_id"]);
        assert_eq!(lines[3]["request"]["url"], "https://partner.example?c=a1b2c3");
        assert_eq!(lines[4]["dialect"], "voluum");
        assert_eq!(lines[4]["request"]["url"], "https://t.example/postback?cid=a1b2c3&payout=2.00");
    }

    #[test]
    fn capitals_are_macros_where_they_are_meant_so() {
        let rows = json!([
            {"kind": "event", "template": " https://p.example/?click_id=CLICK_ID&cur=CURRENCY&x=USD\n"},
            {"kind": "event", "template": "https://p.example/?click_id={click_id}&cur=CURRENCY&p=PAYOUT"},
            {"kind": "event", "template": "https://p.example/?cur=CURRENCY&x=1"},
            {"kind": "event", "macro_style": "UPPERCASE words", "template": "https://p.example/?cur=CURRENCY&x=1"},
            {"kind": "event", "template": "https://p.example/?a=their_word&b=other_word", "param_map": {"their_word": "gaid"}},
        ]);
        let lines = lines(&rows);
        let url = |index: usize| lines[index]["request"]["url"].as_str().unwrap().to_owned();
        assert_eq!(url(0), "https://p.example/?click_id=a1b2c3&cur=EUR&x=USD");
        assert_eq!(url(1), "https://p.example/?click_id=a1b2c3&cur=CURRENCY&p=PAYOUT");
        assert_eq!(url(2), "https://p.example/?cur=CURRENCY&x=1");
        assert_eq!(url(3), "https://p.example/?cur=EUR&x=1");
        assert_eq!(url(4), "https://p.example/?a=38400000-8cf0-11bd-b23e-10b96e40000d&b=other_word");
    }

    #[test]
    fn people_get_a_table() {
        let rows = [
            json!({"network": "A", "kind": "event", "template": "https://p.example/?c={click_id}&x={frob}"}),
            json!(1),
        ];
        let tried: Vec<_> = rows.iter().enumerate().map(|(index, row)| Tried::of(index, row, None)).collect();
        let text = table(&tried);
        assert!(text.contains("generic"), "{text}");
        assert!(text.ends_with("1 of 2 templates are good; 1 of 2 macros are known"), "{text}");
    }

    #[test]
    fn a_file_that_is_no_array_is_refused() {
        assert!(rows(b"{}").unwrap_err().to_string().contains("JSON array"));
        assert!(rows(b"[").is_err());
        assert!(rows(b"[]").unwrap().is_empty());
    }
}
