//! Trying a template: what it becomes with sample values, which macros it uses, what is odd about it.
//! Nothing is sent.

use std::collections::BTreeMap;

use roundtrip_domain::problem::{Code, Problem};
use roundtrip_domain::template::detect::detect;
use roundtrip_domain::template::sign::Scheme;
use roundtrip_domain::template::{
    Availability, Body, Dialect, Finding, Parts, Scope, Sending, Severity, Template, UrlTemplate, Use,
    Value as Filled, Values, vocabulary,
};
use roundtrip_store::settings::document::Signature;
use roundtrip_store::settings::signature_scheme;
use schemars::JsonSchema;
use serde::Serialize;
use serde_json::json;

use super::call::{Answer, Call, Failure};
use super::fields::Fields;
use super::route::{Needs, Route, schema};
use roundtrip_domain::settings::KeyScope;

/// A template to try.
#[derive(JsonSchema)]
#[schemars(deny_unknown_fields)]
#[expect(dead_code, reason = "only its schema is used; bodies are read by `Fields`")]
struct Trial {
    /// `postback` (default), `destination` or `link`: settles whose `{click_id}` it is.
    scope: Option<String>,
    /// Whose macros it has; absent: `canonical`.
    dialect: Option<String>,
    /// What words mean: a macro of ours without its braces, by the word.
    macros: Option<BTreeMap<String, String>>,
    /// Signatures, as a rule's document has them; for a postback.
    signatures: Option<Vec<Signature>>,
    /// GET (default), POST or PUT.
    method: Option<String>,
    /// The URL template.
    url: String,
    /// Names and value templates.
    headers: Option<BTreeMap<String, String>>,
    /// The body template: one of form, json and text.
    body: Option<BTreeMap<String, String>>,
    /// Values by macro name, `cfg.NAME` and `param.NAME` included. Absent: each macro has its sample value.
    values: Option<BTreeMap<String, String>>,
}

/// Whose macros a template may have.
#[derive(Serialize, JsonSchema)]
struct Guess {
    /// The dialect's word.
    dialect: &'static str,
    /// Why, for a person.
    because: String,
    /// From 0 to 99; orders guesses, and is no probability.
    certainty: u8,
}

/// What became of it.
#[derive(Serialize, JsonSchema)]
struct Tried {
    /// The dialect that it was read in.
    dialect: &'static str,
    /// Whose macros it looks like, the best guess first. Nothing is changed by it.
    guesses: Vec<Guess>,
    /// Whether it could be saved: no finding is an error.
    ok: bool,
    /// The request, filled in.
    request: TriedRequest,
    /// The macros that it uses, in order.
    macros: Vec<TriedMacro>,
    /// Macros that were empty for want of a value.
    missing: Vec<String>,
    /// Unknown macros that kept their text.
    unexpanded: Vec<String>,
    /// Whether something was cut at its bound.
    too_long: bool,
    /// What there is to say about the template.
    findings: Vec<TriedFinding>,
}

/// A request, filled in.
#[derive(Serialize, JsonSchema)]
struct TriedRequest {
    /// The method.
    method: String,
    /// The URL.
    url: String,
    /// Headers, in order.
    headers: Vec<TriedHeader>,
    /// The body as text.
    body: Option<String>,
}

/// A header, filled in.
#[derive(Serialize, JsonSchema)]
struct TriedHeader {
    /// Its name.
    name: String,
    /// Its value as text.
    value: String,
}

/// A macro that a template uses.
#[derive(Serialize, JsonSchema)]
struct TriedMacro {
    /// As written.
    name: String,
    /// `click`, `event` or `sending` (when its value is known), `later` (this version never fills it), `setting`
    /// (the partner's own), `parameter` (the link's).
    kind: &'static str,
    /// The part of the request that it stands in.
    place: String,
    /// What it stands for.
    meaning: &'static str,
}

/// Something to say about a template.
#[derive(Serialize, JsonSchema)]
struct TriedFinding {
    /// Its stable code.
    code: &'static str,
    /// `info`, `warning` or `error`.
    severity: &'static str,
    /// The part of the request.
    place: String,
    /// Where in that part's text, in bytes.
    offset: usize,
    /// What it is about, as written.
    name: Option<String>,
    /// What was likely meant.
    likely: Option<String>,
    /// The sentence for a person.
    message: String,
}

pub(super) fn routes() -> Vec<Route> {
    vec![
        Route::post("/api/v1/template/test", "template_test", "Fills a template in with sample values")
            .needs(Needs::Scope(KeyScope::Read))
            .takes(schema::<Trial>)
            .answers(200, "The request and what is odd about it.", schema::<Tried>)
            .does(test),
    ]
}

async fn test(mut call: Call) -> Result<Answer, Failure> {
    let mut fields = Fields::of(call.body.take())?;
    let scope = match fields.text("scope")?.as_deref() {
        None | Some("postback") => Scope::Postback,
        Some("destination") => Scope::Destination,
        Some("link") => Scope::Link,
        Some(_) => {
            let message = "it is postback, destination or link";
            return Err(Problem::new(Code::FieldType, "scope", message).into());
        }
    };
    let dialect = match fields.text("dialect")? {
        None => Dialect::default(),
        Some(name) => Dialect::from_name(&name)
            .ok_or_else(|| Problem::new(Code::FieldType, "dialect", "there is no such dialect"))?,
    };
    let macros: BTreeMap<String, String> = fields.texts("macros")?.into_iter().collect();
    let signatures = signatures(&mut fields)?;
    let method = fields.text("method")?.unwrap_or_else(|| "GET".to_owned());
    let url =
        fields.text("url")?.ok_or_else(|| Problem::new(Code::FieldMissing, "url", "`url` is missing"))?;
    let headers = fields.texts("headers")?;
    let body = match fields.texts("body")?.as_slice() {
        [] => Body::None,
        [(kind, text)] => match kind.as_str() {
            "form" => Body::Form(text.clone()),
            "json" => Body::Json(text.clone()),
            "text" => Body::Text(text.clone()),
            _ => {
                return Err(Problem::new(
                    Code::FieldUnknown,
                    "body",
                    "a body has one of form, json and text",
                )
                .into());
            }
        },
        _ => {
            return Err(
                Problem::new(Code::FieldType, "body", "a body has only one of form, json and text").into()
            );
        }
    };
    let has_values = fields.any("values");
    let values = match has_values {
        None => None,
        Some(value) => {
            let mut inner = Fields::of(json!({ "values": value }))?;
            Some(inner.texts("values")?.into_iter().collect())
        }
    };
    fields.done()?;

    let values = Samples { given: values, scope };
    let nonce = format!("{:016x}", call.state.entropy.u128() as u64);
    let sending = Sending { attempt: 1, at_ms: call.state.clock.now().ms(), nonce: &nonce };
    let guesses = detect(&url, None)
        .into_iter()
        .map(|guess| Guess {
            dialect: guess.dialect.as_str(),
            because: guess.because,
            certainty: guess.certainty,
        })
        .collect();
    let tried = match scope {
        Scope::Postback => {
            let (template, findings) = Template::parse(Parts {
                dialect,
                macros,
                signatures,
                method,
                url,
                headers,
                body,
                auth: None,
            });
            let rendered = template.render(&values, &sending);
            let text = |bytes: &Vec<u8>| String::from_utf8_lossy(bytes).into_owned();
            Tried {
                dialect: dialect.as_str(),
                guesses,
                ok: is_saved(&findings),
                macros: template.macros().map(used).collect(),
                request: TriedRequest {
                    method: rendered.method.to_string(),
                    url: rendered.url,
                    headers: rendered
                        .headers
                        .iter()
                        .map(|(name, value)| TriedHeader { name: name.clone(), value: text(value) })
                        .collect(),
                    body: rendered.body.as_ref().map(text),
                },
                missing: rendered.missing,
                unexpanded: rendered.unexpanded,
                too_long: rendered.too_long,
                findings: findings.into_iter().map(found).collect(),
            }
        }
        Scope::Destination | Scope::Link => {
            let (template, findings) = UrlTemplate::parse_with(&url, scope, dialect, &macros);
            let rendered = template.render(&values, None);
            Tried {
                dialect: dialect.as_str(),
                guesses,
                ok: is_saved(&findings),
                macros: template.macros().map(used).collect(),
                request: TriedRequest {
                    method: "GET".into(),
                    url: rendered.url,
                    headers: Vec::new(),
                    body: None,
                },
                missing: rendered.missing,
                unexpanded: rendered.unexpanded,
                too_long: rendered.too_long,
                findings: findings.into_iter().map(found).collect(),
            }
        }
    };
    Ok(Answer::ok(json!(tried)))
}

/// The signatures of a trial.
fn signatures(fields: &mut Fields) -> Result<Vec<(String, Scheme)>, Problem> {
    let Some(value) = fields.any("signatures") else { return Ok(Vec::new()) };
    let list: Vec<Signature> = serde_json::from_value(value).map_err(|error| {
        Problem::new(Code::FieldType, "signatures", format!("they cannot be read: {error}"))
    })?;
    list.iter()
        .enumerate()
        .map(|(index, signed)| {
            signature_scheme(signed).map_err(|(field, message)| {
                Problem::new(Code::FieldType, format!("signatures[{index}].{field}"), message)
            })
        })
        .collect()
}

fn is_saved(findings: &[Finding]) -> bool {
    findings.iter().all(|finding| finding.severity != Severity::Error)
}

fn used(one: &Use) -> TriedMacro {
    let known = vocabulary::find(&one.key);
    TriedMacro {
        name: one.name.clone(),
        kind: match known.map(|m| m.availability) {
            Some(Availability::Click) => "click",
            Some(Availability::Event) => "event",
            Some(Availability::Sending) => "sending",
            Some(Availability::Later) => "later",
            None if one.key.starts_with("cfg.") => "setting",
            None => "parameter",
        },
        place: one.place.to_string(),
        meaning: match known {
            Some(known) => known.meaning,
            None if one.key.starts_with("cfg.") => "the partner's own setting of that name",
            None => "the link parameter of that name",
        },
    }
}

fn found(finding: Finding) -> TriedFinding {
    TriedFinding {
        code: finding.code.as_str(),
        severity: finding.severity.as_str(),
        place: finding.place.to_string(),
        offset: finding.offset,
        name: finding.name,
        likely: finding.likely,
        message: finding.message,
    }
}

/// The given values, or a sample for each macro.
struct Samples {
    given: Option<BTreeMap<String, String>>,
    scope: Scope,
}

impl Values for Samples {
    fn get(&self, name: &str) -> Option<Filled<'_>> {
        let Some(given) = &self.given else {
            return match name.strip_prefix("cfg.") {
                Some(_) => Some(Filled::text("sample")),
                None => vocabulary::find(name).map(|m| Filled::text(m.example)),
            };
        };
        // A caller writes names as the template does; the template asks for the settled ones.
        let click_id = match self.scope {
            Scope::Postback | Scope::Link => "partner_click_id",
            Scope::Destination => "rt_click_id",
        };
        let value = given
            .get(name)
            .or_else(|| given.get(name.strip_prefix("param.")?))
            .or_else(|| given.get("click_id").filter(|_| name == click_id))?;
        Some(Filled::text(value.as_str()))
    }
}
