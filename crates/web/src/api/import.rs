//! Import: what a URL of another system becomes. Nothing is changed; the answer's document goes to `apply`.

use std::collections::BTreeMap;

use roundtrip_domain::event::ConversionKind;
use roundtrip_domain::import::{Input, Kind, import};
use roundtrip_domain::problem::{Code, Problem};
use roundtrip_domain::settings::KeyScope;
use roundtrip_domain::template::Body;
use schemars::JsonSchema;
use serde_json::json;

use super::call::{Answer, Call, Failure};
use super::fields::Fields;
use super::route::{Needs, Route, schema};

/// A URL to import.
#[derive(JsonSchema)]
#[schemars(deny_unknown_fields)]
#[expect(dead_code, reason = "only its schema is used; bodies are read by `Fields`")]
struct Pasted {
    /// The tracking URL or postback URL, as its owner uses it.
    url: String,
    /// `link` or `postback`; absent: it is looked at.
    r#as: Option<String>,
    /// The system that it comes from; absent: it is looked at.
    from: Option<String>,
    /// The app, by slug.
    app: Option<String>,
    /// The campaign, by slug.
    campaign: Option<String>,
    /// The partner, by slug.
    partner: Option<String>,
    /// What the link or rule is to be called.
    slug: Option<String>,
    /// For a postback: install, signup, purchase or event.
    on: Option<String>,
    /// For a postback: whether the partner may see amounts.
    share_revenue: Option<bool>,
    /// For a postback: its method.
    method: Option<String>,
    /// For a postback: its headers.
    headers: Option<BTreeMap<String, String>>,
    /// For a postback: its body, one of form, json and text.
    body: Option<BTreeMap<String, String>>,
}

pub(super) fn routes() -> Vec<Route> {
    vec![
        Route::post("/api/v1/import", "import_read", "Shows what a URL of another system becomes")
            .needs(Needs::Scope(KeyScope::Read))
            .takes(schema::<Pasted>)
            .answers(
                200,
                "The proposal: a document, what it carries and what it does not.",
                schema::<crate::import::Answer>,
            )
            .codes(&[
                Code::ImportUrlMissing,
                Code::ImportScheme,
                Code::ImportTwoQueries,
                Code::ImportEncodedTwice,
                Code::ImportAmbiguous,
                Code::ImportSystemUnknown,
                Code::ValueTooLong,
            ])
            .does(read),
    ]
}

async fn read(mut call: Call) -> Result<Answer, Failure> {
    let mut fields = Fields::of(call.body.take())?;
    let url =
        fields.text("url")?.ok_or_else(|| Problem::new(Code::FieldMissing, "url", "`url` is missing"))?;
    let kind = match fields.text("as")? {
        None => None,
        Some(word) => Some(
            Kind::from_name(&word)
                .ok_or_else(|| Problem::new(Code::FieldType, "as", "it is link or postback"))?,
        ),
    };
    let on = match fields.text("on")? {
        None => None,
        Some(word) => Some(ConversionKind::parse(&word).ok_or_else(|| {
            Problem::new(Code::FieldType, "on", "it is install, signup, purchase or event")
        })?),
    };
    let body = match fields.texts("body")?.as_slice() {
        [] => Body::None,
        [(kind, text)] if kind == "form" => Body::Form(text.clone()),
        [(kind, text)] if kind == "json" => Body::Json(text.clone()),
        [(kind, text)] if kind == "text" => Body::Text(text.clone()),
        _ => {
            let message = "a body has one of form, json and text";
            return Err(Problem::new(Code::FieldType, "body", message).into());
        }
    };
    let input = Input {
        url,
        kind,
        on,
        body,
        from: fields.text("from")?,
        app: fields.text("app")?,
        campaign: fields.text("campaign")?,
        partner: fields.text("partner")?,
        slug: fields.text("slug")?,
        share_revenue: fields.truth("share_revenue")?,
        public_url: Some(call.state.public_url.clone()).filter(|url| !url.is_empty()),
        method: fields.text("method")?,
        headers: fields.texts("headers")?,
    };
    fields.done()?;
    Ok(Answer::ok(json!(crate::import::answer(&import(&input)?))))
}
