//! Webhooks beyond their settings: what signs for them, rotating it, and the shape of what they get.

use roundtrip_domain::problem::{Code, Problem};
use roundtrip_domain::settings::Settings;
use roundtrip_domain::webhook::Webhook;
use roundtrip_store::payload;
use roundtrip_store::settings::webhook::new_secret;
use roundtrip_store::settings::{Edit, Resource, ResourceKind, stored};
use schemars::JsonSchema;
use serde::Serialize;
use serde_json::{Value, json};

use super::call::{Answer, Call, Failure};
use super::change::{TRIES, change};
use super::fields::Fields;
use super::resources::DOCUMENT_CODES;
use super::route::{Needs, Route, schema};
use crate::endpoints;
use crate::webhooks::{WebhookSigning, signing};

/// A webhook's secret was rotated.
#[derive(Serialize, JsonSchema)]
struct WebhookRotated {
    /// The settings version that holds now.
    version: u64,
    /// The new secret, `whsec_…`. It is not shown again.
    secret: String,
    /// What signs now.
    signing: WebhookSigning,
    /// What to do next, in words.
    sentence: String,
}

/// The newest secret signs the plain header.
#[derive(Serialize, JsonSchema)]
struct WebhookCutOver {
    /// Whether this call changed it; it was so already otherwise, and nothing was written.
    changed: bool,
    /// In words.
    sentence: String,
    /// What signs now.
    signing: WebhookSigning,
}

pub(super) fn routes() -> Vec<Route> {
    vec![
        Route::get("/api/v1/schema/webhook", "webhook_schema", "Shows the JSON Schema of what webhooks get")
            .needs(Needs::Nobody)
            .answers(200, "The JSON Schema.", |_| schemars::json_schema!({ "type": "object" }))
            .does(async |_| Ok(Answer::ok(payload::schema()))),
        Route::get("/api/v1/webhooks/{slug}/signing", "webhook_signing", "Shows what signs for a webhook")
            .in_workspace()
            .answers(200, "What signs.", schema::<WebhookSigning>)
            .does(read),
        Route::post("/api/v1/webhooks/{slug}/rotate", "webhook_rotate", "Gives a webhook a new secret")
            .in_workspace()
            .takes(|_| {
                schemars::json_schema!({
                    "type": "object", "additionalProperties": false,
                    "properties": { "overlap": { "type": "string", "description": "How long the old secret signs on, 0s to 30d; absent: as the webhook says, else 24h." } }
                })
            })
            .answers(200, "It has one.", schema::<WebhookRotated>)
            .codes(&[Code::VersionConflict])
            .codes(DOCUMENT_CODES)
            .does(rotate),
        Route::post(
            "/api/v1/webhooks/{slug}/cut-over",
            "webhook_cut_over",
            "Lets the newest secret sign the plain header from now on",
        )
        .in_workspace()
        .answers(200, "It does.", schema::<WebhookCutOver>)
        .codes(&[Code::VersionConflict])
        .codes(DOCUMENT_CODES)
        .does(cut_over),
    ]
}

fn found<'a>(settings: &'a Settings, slug: &str) -> Result<&'a Webhook, Problem> {
    let found = settings.webhooks.iter().find(|webhook| webhook.slug == slug);
    found.map(|webhook| &**webhook).ok_or_else(|| unknown(settings, slug))
}

fn unknown(settings: &Settings, slug: &str) -> Problem {
    Problem { field: "slug".to_owned(), ..endpoints::no_webhook(slug, settings) }
}

async fn read(call: Call) -> Result<Answer, Failure> {
    let settings = call.workspace()?;
    let now = call.state.clock.now();
    Ok(Answer::ok(json!(signing(found(&settings, call.path("slug"))?, now))))
}

/// The settings of a webhook as people may write them back, with some fields changed.
fn edited(
    settings: &Settings,
    resources: &[Resource],
    slug: &str,
    fields: &[(&str, Option<Value>)],
) -> Result<Vec<Edit>, Failure> {
    let kind = ResourceKind::Webhook;
    let resource = resources.iter().find(|resource| resource.kind == kind && resource.slug == slug);
    let resource = resource.ok_or_else(|| unknown(settings, slug))?;
    let stored = stored::decode(kind, &resource.body).map_err(|why| {
        Problem::new(Code::ConfigInvalid, "slug", format!("the stored document cannot be read: {why}"))
    })?;
    let mut document = stored::masked(&stored.document);
    if let Some(document) = document.as_object_mut() {
        for (name, value) in fields {
            match value {
                Some(value) => drop(document.insert((*name).to_owned(), value.clone())),
                None => drop(document.shift_remove(*name)),
            }
        }
    }
    Ok(vec![Edit { kind, slug: slug.to_owned(), document: Some(document) }])
}

async fn rotate(mut call: Call) -> Result<Answer, Failure> {
    let mut fields = Fields::of(call.body.take())?;
    let overlap = fields.text("overlap")?;
    fields.done()?;
    let slug = call.path("slug").to_owned();
    let workspace = call.workspace()?;
    found(&workspace, &slug)?;
    let mut bytes = [0; 32];
    call.state.entropy.fill(&mut bytes);
    let secret = new_secret(bytes);
    // A cut-over that was set for an earlier rotation says nothing about this one.
    let mut news = vec![("secret", Some(json!(secret))), ("cut_over", None)];
    news.extend(overlap.as_ref().map(|overlap| ("overlap", Some(json!(overlap)))));
    let usual = std::sync::OnceLock::new();
    let done = change(&call, &workspace, TRIES, false, |_, resources| {
        let before = edited(&workspace, resources, &slug, &[])?;
        let before = before.first().and_then(|edit| edit.document.as_ref()?.get("overlap").cloned());
        drop(usual.set(before));
        edited(&workspace, resources, &slug, &news)
    })
    .await?;
    let mut version = done.version;
    if overlap.is_some() {
        // It was meant for this rotation; what the settings say holds for the next.
        let kept = [("overlap", usual.get().cloned().flatten())];
        let done = change(&call, &workspace, TRIES, false, |_, resources| {
            edited(&workspace, resources, &slug, &kept)
        })
        .await?;
        version = done.version;
    }
    let settings = call.workspace()?;
    let signing = signing(found(&settings, &slug)?, call.state.clock.now());
    let sentence = match (&signing.plain_header_is_older_until, signing.older_secrets_until.first()) {
        (Some(plain), Some(_)) => format!(
            "Give the receiver the new secret. Both sign `webhook-signature`; the old one signs `{}` until {plain}, or until `roundtrip webhook cut-over {slug}`.",
            signing.plain_header
        ),
        _ => "The new secret signs from now on, and nothing else does.".to_owned(),
    };
    tracing::info!(webhook.slug = slug, actor = call.caller.actor(), "a webhook's secret was rotated");
    Ok(Answer::ok(json!(WebhookRotated { version, secret, signing, sentence })).at(version))
}

async fn cut_over(call: Call) -> Result<Answer, Failure> {
    let slug = call.path("slug").to_owned();
    let workspace = call.workspace()?;
    found(&workspace, &slug)?;
    let now = call.state.clock.now();
    let before = signing(found(&workspace, &slug)?, now);
    if before.plain_header_is_older_until.is_none() {
        let sentence = match before.older_secrets_until.first() {
            Some(_) => {
                format!("Nothing was changed: the newest secret signs `{}` already.", before.plain_header)
            }
            None => format!(
                "Nothing was changed: no secret is being replaced, so there is nothing to cut over; \
                 `roundtrip webhook rotate {slug}` makes a new one."
            ),
        };
        return Ok(Answer::ok(json!(WebhookCutOver { changed: false, sentence, signing: before })));
    }
    let news = [("cut_over", Some(json!(now.to_string())))];
    let done =
        change(&call, &workspace, TRIES, false, |_, resources| edited(&workspace, resources, &slug, &news))
            .await?;
    let settings = call.workspace()?;
    let signing = signing(found(&settings, &slug)?, now);
    let sentence = format!("The newest secret signs `{}` from now on.", signing.plain_header);
    tracing::info!(webhook.slug = slug, actor = call.caller.actor(), "a webhook's newest secret took over");
    Ok(Answer::ok(json!(WebhookCutOver { changed: true, sentence, signing })).at(done.version))
}
