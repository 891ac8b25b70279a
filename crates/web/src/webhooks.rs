//! What signs for a webhook, as the API answers it and the dashboard shows it. No secret is in it.

use roundtrip_domain::time::Timestamp;
use roundtrip_domain::webhook::Webhook;
use roundtrip_store::settings::webhook::public_key;
use schemars::JsonSchema;
use serde::Serialize;

/// What signs for a webhook; no secret is in it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub(crate) struct WebhookSigning {
    /// The webhook's slug.
    pub(crate) webhook: String,
    /// The header with the plain hex signature.
    pub(crate) plain_header: String,
    /// Until when the secret before this one signs the plain header; absent: this one does.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) plain_header_is_older_until: Option<String>,
    /// Until when secrets that were replaced sign on beside this one, newest first.
    pub(crate) older_secrets_until: Vec<String>,
    /// What checks `v1a`: `whpk_` and 32 bytes in base64; absent without a key pair.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) public_key: Option<String>,
    /// Until when key pairs that were replaced sign on, newest first.
    pub(crate) older_keys_until: Vec<String>,
}

/// What signs for a webhook now.
pub(crate) fn signing(webhook: &Webhook, now: Timestamp) -> WebhookSigning {
    let signing = &webhook.signing;
    let still = |until: &Timestamp| now < *until;
    let older = signing.older_secrets.iter();
    let ends = older.clone().map(|older| older.cut_over.min(older.until)).filter(still).max();
    WebhookSigning {
        webhook: webhook.slug.clone(),
        plain_header: signing.plain_header.as_str().to_owned(),
        plain_header_is_older_until: ends.map(|at| at.to_string()),
        older_secrets_until: older.map(|older| older.until).filter(still).map(|at| at.to_string()).collect(),
        public_key: public_key(signing),
        older_keys_until: signing
            .older_keys
            .iter()
            .map(|older| older.until)
            .filter(still)
            .map(|at| at.to_string())
            .collect(),
    }
}
