//! The page of webhooks: where each is, what it is told of, what signs for it, and how to change that.

use minijinja::Error;
use roundtrip_domain::endpoint::Endpoint;
use roundtrip_domain::settings::Settings;
use roundtrip_domain::time::{Timestamp, human};
use roundtrip_domain::webhook::{Form, Webhook};
use roundtrip_store::settings::webhook::url_shown;
use serde::Serialize;

use super::endpoints::{Standing, standing};
use super::{Inner, Refused, pages};
use crate::endpoints::{Endpoints, FIGURES_DAYS, Shown};
use crate::waits;
use crate::webhooks::{WebhookSigning, signing};

/// What a webhook is told, and what signs for it; the same on the list and on its endpoint's page.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(super) struct Subscription {
    slug: String,
    /// Without what opens it.
    url: String,
    /// The app whose facts it is told; absent: of all.
    app: Option<String>,
    kinds: Vec<String>,
    /// What its body is.
    form: &'static str,
    without: Vec<String>,
    /// Names of headers of its own.
    headers: Vec<String>,
    /// What else it is told of: sandbox, pending.
    also: Vec<&'static str>,
    /// Slack's hooks are not signed.
    is_signed: bool,
    signing: WebhookSigning,
    /// How a rotation stands, in words.
    rotation: String,
}

/// A webhook in the list.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
struct Listed {
    webhook: Subscription,
    endpoint: Shown,
    standing: Standing,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
struct Page {
    rows: Vec<Listed>,
    /// Whether one of them is signed.
    is_signed: bool,
    figures_days: i64,
}

/// What a webhook is told, and what signs for it now.
pub(super) fn subscription(webhook: &Webhook, settings: &Settings, now: Timestamp) -> Subscription {
    let signing = signing(webhook, now);
    let app = webhook.app.and_then(|id| settings.apps.get(&id)).map(|app| app.slug.clone());
    let also = [(webhook.sandbox, "sandbox events"), (webhook.pending, "conversions that wait for approval")];
    Subscription {
        slug: webhook.slug.clone(),
        url: url_shown(&webhook.url),
        app,
        kinds: webhook.wanted.words(),
        form: match (webhook.is_slack(), webhook.form) {
            (true, _) => "a Slack message",
            (false, Form::Full) => "full",
            (false, Form::Thin) => "thin: which fact, of which app, and when",
        },
        without: webhook.without.clone(),
        headers: webhook.headers.iter().map(|(name, _)| name.clone()).collect(),
        also: also.into_iter().filter(|(is, _)| *is).map(|(_, word)| word).collect(),
        is_signed: !webhook.is_slack(),
        rotation: rotation(&signing, now),
        signing,
    }
}

/// How a rotation stands, and what is to do next.
fn rotation(signing: &WebhookSigning, now: Timestamp) -> String {
    let left =
        |until: &str| Timestamp::parse(until).map_or_else(String::new, |at| human(at.since(now).max(0)));
    let slug = &signing.webhook;
    match (signing.older_secrets_until.first(), &signing.plain_header_is_older_until) {
        (None, _) => "No rotation is under way: one secret signs.".to_owned(),
        (Some(until), Some(plain)) => format!(
            "A rotation is under way: the new secret and the one before it both sign webhook-signature for another {}. {} carries the old one's for another {}; once the receiver has the new secret, `roundtrip webhook cut-over {slug}` ends that.",
            left(until),
            signing.plain_header,
            left(plain)
        ),
        (Some(until), None) => format!(
            "A rotation ends by itself in {}: until then the secret before this one signs webhook-signature too. {} carries the new one's already.",
            left(until),
            signing.plain_header
        ),
    }
}

/// Renders the page.
pub(super) async fn render(inner: &Inner, settings: &Settings) -> Result<Result<String, Error>, Refused> {
    let now = inner.now();
    let mut all = Endpoints { ledger: &inner.state.ledger, settings, now }.list().await?;
    let mut rows: Vec<Listed> = Vec::new();
    for webhook in &settings.webhooks {
        let id = waits::id(Endpoint::Webhook(webhook.id));
        let Some(at) = all.iter().position(|endpoint| endpoint.id == id) else { continue };
        let endpoint = all.swap_remove(at);
        rows.push(Listed {
            webhook: subscription(webhook, settings, now),
            standing: standing(&endpoint, now),
            endpoint,
        });
    }
    rows.sort_by(|a, b| a.webhook.slug.cmp(&b.webhook.slug));
    let is_signed = rows.iter().any(|row| row.webhook.is_signed);
    Ok(pages::render("webhooks.html", &Page { rows, is_signed, figures_days: FIGURES_DAYS }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rotation_says_how_far_it_is_and_what_is_next() {
        let at = Timestamp::from_ms;
        let mut signing = WebhookSigning {
            webhook: "orders".into(),
            plain_header: "x-signature".into(),
            plain_header_is_older_until: None,
            older_secrets_until: Vec::new(),
            public_key: None,
            older_keys_until: Vec::new(),
        };
        assert_eq!(rotation(&signing, at(0)), "No rotation is under way: one secret signs.");
        signing.older_secrets_until = vec![at(7_200_000).to_string()];
        assert!(rotation(&signing, at(0)).starts_with("A rotation ends by itself in 2 h"));
        signing.plain_header_is_older_until = Some(at(3_600_000).to_string());
        let both = rotation(&signing, at(0));
        assert!(both.contains("for another 2 h") && both.contains("for another 1 h"), "{both}");
        assert!(both.contains("webhook cut-over orders"), "{both}");
    }
}
