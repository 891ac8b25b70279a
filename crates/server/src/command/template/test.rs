//! `roundtrip template test`: one template, or a file of them.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context as _;
use clap::ValueEnum;
use roundtrip_ambient::{Clock, Entropy};
use roundtrip_domain::template::{
    Audience, Availability, Body, Dialect, Finding, Parts, Rendered, Scope, Sending, Severity, Template,
    UrlTemplate, Use, VOCABULARY, Value, vocabulary,
};

use super::{file, send};
use crate::terminal;

#[derive(Debug, clap::Args)]
pub(super) struct Test {
    /// The URL template.
    #[arg(required_unless_present_any = ["file", "library"])]
    url: Option<String>,
    /// A file with a JSON array of templates, each an object with `template` and, where known, `method`, `headers`,
    /// `body`, `kind` (click, impression, install, event), `mmp` (whose macros it has) and `param_map` (what its
    /// words mean).
    #[arg(long, value_name = "FILE", conflicts_with_all = ["url", "header", "body", "value", "scope", "library", "send"])]
    file: Option<PathBuf>,
    /// How macros are written: canonical (the default), generic, or the name of a system. With --file it is for all
    /// templates.
    #[arg(long, value_name = "NAME", value_parser = dialect)]
    dialect: Option<Dialect>,
    /// The method: GET, POST or PUT.
    #[arg(long, default_value = "GET")]
    method: String,
    /// A header, as `Name: value`; repeatable.
    #[arg(long, value_name = "HEADER")]
    header: Vec<String>,
    /// The body template.
    #[arg(long)]
    body: Option<String>,
    /// What the body is.
    #[arg(long, value_enum, default_value_t = BodyForm::Form)]
    body_form: BodyForm,
    /// A macro's value, as name=value; an empty one takes the sample away. Repeatable.
    #[arg(long, value_name = "NAME=VALUE")]
    pub(super) value: Vec<String>,
    /// What the template is for: it settles what {click_id} means.
    #[arg(long, value_enum, default_value_t = For::Postback)]
    scope: For,
    /// Empties the money macros, as for a rule that does not share revenue.
    #[arg(long)]
    hide_revenue: bool,
    /// Empties what belongs to the winning click, as for a partner that did not win.
    #[arg(long)]
    not_winner: bool,
    /// Prints JSON; with --file, one line for each template.
    #[arg(long)]
    pub(super) json: bool,
    #[command(flatten)]
    pub(super) sending: send::Flags,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum BodyForm {
    /// application/x-www-form-urlencoded.
    Form,
    /// application/json.
    Json,
    /// text/plain.
    Text,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum For {
    /// A request to a partner: {click_id} is the partner's own.
    Postback,
    /// Where a visitor is sent: {click_id} is Roundtrip's.
    Destination,
    /// A tracking link that a network fills in: {click_id} is the network's own.
    Link,
}

/// Reads a dialect's name.
fn dialect(name: &str) -> Result<Dialect, String> {
    let names = || Dialect::ALL.iter().map(|dialect| dialect.as_str()).collect::<Vec<_>>().join(", ");
    Dialect::from_name(name).ok_or_else(|| format!("there is no such dialect; there are {}", names()))
}

/// Runs the command.
///
/// # Errors
/// When an argument or the file cannot be read.
pub(super) fn run(test: &Test) -> anyhow::Result<ExitCode> {
    if test.sending.send {
        return send::run(test);
    }
    let is_refused = match &test.file {
        Some(path) => file::run(path, test.dialect, test.json)?,
        None => {
            let tried = try_out(test, &Clock::System, &Entropy::System)?;
            terminal::line(&if test.json { tried.json().to_string() } else { tried.text() })?;
            tried.is_refused()
        }
    };
    Ok(if is_refused { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

/// What came of one trial.
#[derive(Debug)]
pub(super) struct Tried {
    pub(super) rendered: Rendered,
    /// Whether it is a whole request; a destination is a URL alone.
    pub(super) request: bool,
    pub(super) uses: Vec<Use>,
    pub(super) findings: Vec<Finding>,
}

pub(super) fn try_out(test: &Test, clock: &Clock, entropy: &Entropy) -> anyhow::Result<Tried> {
    let parts = parts(test)?;
    let values = values(test)?;
    let audience = Audience { values: &values, revenue_shared: !test.hide_revenue, winner: !test.not_winner };
    let nonce = format!("{:016x}", entropy.u128() & u128::from(u64::MAX));
    let sending = Sending { attempt: 1, at_ms: clock.now().ms(), nonce: &nonce };
    Ok(match test.scope {
        For::Postback => {
            let (template, findings) = Template::parse(parts);
            let uses = template.macros().cloned().collect();
            Tried { rendered: template.render(&audience, &sending), request: true, uses, findings }
        }
        For::Destination | For::Link => {
            anyhow::ensure!(
                test.body.is_none() && test.header.is_empty(),
                "try a destination or link: it is a URL, and has no headers and no body"
            );
            let scope = if matches!(test.scope, For::Link) { Scope::Link } else { Scope::Destination };
            let (template, findings) = UrlTemplate::parse(&parts.url, scope, parts.dialect);
            let url = template.render(&audience, None);
            let rendered = Rendered {
                method: Default::default(),
                url: url.url,
                headers: Vec::new(),
                body: None,
                missing: url.missing,
                unexpanded: url.unexpanded,
                too_long: url.too_long,
                token: None,
                lacks_auth: false,
                secrets: Vec::new(),
            };
            Tried { rendered, request: false, uses: template.macros().cloned().collect(), findings }
        }
    })
}

fn parts(test: &Test) -> anyhow::Result<Parts> {
    if let Some(parts) = send::library_parts(test)? {
        return Ok(parts);
    }
    let headers = test.header.iter().map(|header| {
        let (name, value) = header
            .split_once(':')
            .with_context(|| format!("read the header `{header}`: it is no `Name: value`"))?;
        anyhow::Ok((name.trim().to_owned(), value.trim().to_owned()))
    });
    let body = match (&test.body, test.body_form) {
        (None, _) => Body::None,
        (Some(text), BodyForm::Form) => Body::Form(text.clone()),
        (Some(text), BodyForm::Json) => Body::Json(text.clone()),
        (Some(text), BodyForm::Text) => Body::Text(text.clone()),
    };
    Ok(Parts {
        dialect: test.dialect.unwrap_or_default(),
        method: test.method.clone(),
        url: test.url.clone().unwrap_or_default(),
        headers: headers.collect::<Result<_, _>>()?,
        body,
        ..Parts::default()
    })
}

/// The examples of the vocabulary, as far as this version fills them, and what the caller gave over them.
fn values(test: &Test) -> anyhow::Result<BTreeMap<String, Value<'static>>> {
    let filled = VOCABULARY.iter().filter(|known| match known.availability {
        Availability::Click => true,
        Availability::Event => matches!(test.scope, For::Postback),
        Availability::Sending | Availability::Later => false,
    });
    let mut values: BTreeMap<_, _> =
        filled.map(|known| (known.name.to_owned(), Value::text(known.example))).collect();
    values.extend(send::library_samples(test)?);
    for given in &test.value {
        let (name, value) = given
            .split_once('=')
            .with_context(|| format!("read the value `{given}`: it is no name=value"))?;
        let name = match (name, test.scope) {
            ("click_id", For::Postback | For::Link) => "partner_click_id".to_owned(),
            ("click_id", For::Destination) => "rt_click_id".to_owned(),
            ("user_agent", _) => "ua".to_owned(),
            // What is no name of ours is a parameter of the link, as it is when a template is filled in.
            (name, _) if name.contains('.') || VOCABULARY.iter().any(|known| known.name == name) => {
                name.to_owned()
            }
            (name, _) => format!("param.{name}"),
        };
        if value.is_empty() {
            values.remove(&name);
        } else {
            values.insert(name, Value::text(value.to_owned()));
        }
    }
    Ok(values)
}

impl Tried {
    pub(super) fn is_refused(&self) -> bool {
        self.rendered.too_long || self.findings.iter().any(|finding| finding.severity == Severity::Error)
    }

    pub(super) fn text(&self) -> String {
        let Rendered { method, url, headers, body, missing, unexpanded, too_long, .. } = &self.rendered;
        let mut text = if self.request { format!("{method} {url}\n") } else { format!("{url}\n") };
        for (name, value) in headers {
            text.push_str(&format!("{name}: {}\n", String::from_utf8_lossy(value)));
        }
        if let Some(body) = body {
            text.push_str(&format!("\n{}\n", String::from_utf8_lossy(body)));
        }
        let names: Vec<_> = self.uses.iter().map(|one| one.name.as_str()).collect();
        let list = |what: &str, names: &[String]| match names {
            [] => String::new(),
            names => format!("{what}: {}\n", names.join(", ")),
        };
        text.push('\n');
        text.push_str(&match names.as_slice() {
            [] => "macros: none\n".to_owned(),
            names => format!("macros: {}\n", names.join(", ")),
        });
        text.push_str(&list("empty, for want of a value", missing));
        text.push_str(&list("unknown, kept as text", unexpanded));
        if *too_long {
            text.push_str("too long: something was cut at its bound, and it would not be sent\n");
        }
        match self.findings.as_slice() {
            [] => text.push_str("findings: none"),
            findings => {
                text.push_str("findings:");
                findings.iter().for_each(|finding| text.push_str(&format!("\n  {finding}")));
            }
        }
        text
    }

    /// The same document as `POST /api/v1/template/test` answers.
    pub(super) fn json(&self) -> serde_json::Value {
        let Rendered { method, url, headers, body, missing, unexpanded, too_long, .. } = &self.rendered;
        let headers: Vec<_> = headers
            .iter()
            .map(|(name, value)| serde_json::json!({ "name": name, "value": String::from_utf8_lossy(value) }))
            .collect();
        let macros: Vec<_> = self
            .uses
            .iter()
            .map(|one| {
                let (kind, meaning) = kind_and_meaning(one);
                serde_json::json!({ "name": one.name, "kind": kind, "place": one.place.to_string(), "meaning": meaning })
            })
            .collect();
        let findings: Vec<_> = self
            .findings
            .iter()
            .map(|finding| {
                serde_json::json!({
                    "code": finding.code.as_str(), "severity": finding.severity.as_str(),
                    "place": finding.place.to_string(), "offset": finding.offset,
                    "name": finding.name, "likely": finding.likely, "message": finding.message,
                })
            })
            .collect();
        serde_json::json!({
            "ok": self.findings.iter().all(|finding| finding.severity != Severity::Error),
            "request": {
                "method": method.as_str(), "url": url, "headers": headers,
                "body": body.as_ref().map(|body| String::from_utf8_lossy(body).into_owned()),
            },
            "macros": macros, "missing": missing, "unexpanded": unexpanded, "too_long": too_long,
            "findings": findings,
        })
    }
}

/// What sort of macro it is, and what it stands for; the words of the API.
fn kind_and_meaning(one: &Use) -> (&'static str, &'static str) {
    match vocabulary::find(&one.key) {
        Some(known) => {
            let kind = match known.availability {
                Availability::Click => "click",
                Availability::Event => "event",
                Availability::Sending => "sending",
                Availability::Later => "later",
            };
            (kind, known.meaning)
        }
        None if one.key.starts_with("cfg.") => ("setting", "the partner's own setting of that name"),
        None => ("parameter", "the link parameter of that name"),
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser as _;
    use roundtrip_domain::time::Timestamp;

    use super::*;

    #[derive(clap::Parser)]
    struct Alone {
        #[command(flatten)]
        test: Test,
    }

    fn tried(arguments: &[&str]) -> Tried {
        let test = Alone::parse_from(std::iter::once(&"test").chain(arguments)).test;
        try_out(&test, &Clock::manual(Timestamp::from_ms(1_780_564_905_250)), &Entropy::seeded(1)).unwrap()
    }

    #[test]
    fn a_good_template_is_filled_in() {
        let tried = tried(&[
            "https://p.example/pb?cid={click_id}&g={gaid|md5}&t={timestamp}&c={colour}",
            "--method=POST",
            "--header=X-Token: {cfg.token}",
            "--body={\"amount\": {revenue}, \"currency\": \"{currency}\"}",
            "--body-form=json",
            "--value=click_id=a b",
            "--value=cfg.token=s3",
            "--value=colour=blue",
        ]);
        insta::assert_snapshot!(tried.text());
        assert!(!tried.is_refused());
    }

    #[test]
    fn a_bad_one_says_why() {
        let tried = tried(&["https://{gaid}.example/{clik_id}?x={ip|nope}"]);
        assert!(tried.is_refused());
        insta::assert_json_snapshot!(tried.json());
    }

    #[test]
    fn revenue_and_the_click_can_be_hidden_and_samples_taken_away() {
        let url = "https://p.example/?r={revenue}&c={click_id}&x={country}";
        assert_eq!(
            tried(&[url, "--hide-revenue", "--not-winner", "--value=country="]).rendered.url,
            "https://p.example/?r=&c=&x="
        );
        let ours =
            tried(&["https://shop.example/?c={click_id}", "--scope=destination", "--value=click_id=ours"]);
        assert_eq!(ours.rendered.url, "https://shop.example/?c=ours");
    }
}
