//! The stored form of a document: `{"v":1,…}`, for keys the hash of their token, for webhooks what signs.
//!
//! Version 1 is the document's fields beside `v`. A later version gets its own branch in [`decode`], and old
//! rows keep theirs: history is never rewritten.

use serde_json::{Map, Value};

use roundtrip_domain::time::Timestamp;
use roundtrip_domain::webhook::sign::Signing;

use super::document::Any;
use super::{MASK, ResourceKind, webhook};

/// The version that is written.
const VERSION: u64 = 1;

/// A document with what the ledger keeps beside it.
#[derive(Debug, Clone, PartialEq)]
pub struct Stored {
    /// The document; a key's has no secret.
    pub document: Any,
    /// A key's SHA-256.
    pub hash: Option<[u8; 32]>,
    /// What signs for a webhook: its document has no secret.
    pub signing: Option<Signing>,
    /// The secrets that a webhook had before, the newest first: they do not come back.
    pub retired: Vec<Retired>,
}

/// A secret that was replaced; what is kept of it says nothing but whether another text is the same.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Retired {
    /// SHA-256 of the secret as it is shown.
    pub hash: [u8; 32],
    /// When it was replaced.
    pub at: Timestamp,
}

impl Stored {
    /// A document with nothing beside it.
    pub fn plain(document: Any) -> Self {
        Self { document, hash: None, signing: None, retired: Vec::new() }
    }
}

/// The fields of documents that are kept beside them, and never in them.
const BESIDE: &[&str] = &["secret", "ed25519_key"];

/// Writes the stored form.
pub fn encode(stored: &Stored) -> String {
    let mut body = Map::new();
    body.insert("v".into(), VERSION.into());
    if let Some(hash) = stored.hash {
        body.insert("hash".into(), hex::encode(hash).into());
    }
    if let Some(signing) = &stored.signing {
        body.insert("signing".into(), webhook::signing_write(signing));
    }
    if !stored.retired.is_empty() {
        body.insert("retired".into(), webhook::retired_write(&stored.retired));
    }
    if let Value::Object(fields) = stored.document.to_value() {
        body.extend(fields.into_iter().filter(|(name, _)| !BESIDE.contains(&name.as_str())));
    }
    Value::Object(body).to_string()
}

/// Reads the stored form. The error names what is wrong and never a value.
pub fn decode(kind: ResourceKind, body: &str) -> Result<Stored, String> {
    let mut body = match serde_json::from_str(body) {
        Ok(Value::Object(body)) => body,
        Ok(_) => return Err("it is no JSON object".into()),
        Err(error) => return Err(format!("it is no JSON: line {} column {}", error.line(), error.column())),
    };
    match body.remove("v").and_then(|v| v.as_u64()) {
        Some(VERSION) => {}
        Some(other) => return Err(format!("version {other} is newer than this program")),
        None => return Err("it has no version".into()),
    }
    let hash = match body.remove("hash") {
        None => None,
        Some(Value::String(text)) => {
            let mut hash = [0; 32];
            hex::decode_to_slice(text, &mut hash).map_err(|_| "its hash is not 64 hexadecimal digits")?;
            Some(hash)
        }
        Some(_) => return Err("its hash is no text".into()),
    };
    let signing = match body.remove("signing") {
        None => None,
        Some(value) => Some(webhook::signing_read(value)?),
    };
    let retired = match body.remove("retired") {
        None => Vec::new(),
        Some(value) => webhook::retired_read(value)?,
    };
    let document = Any::from_value(kind, Value::Object(body)).map_err(|error| error.to_string())?;
    if (kind == ResourceKind::Key) != hash.is_some() {
        return Err("a key has a hash, and nothing else has one".into());
    }
    if (kind == ResourceKind::Webhook) != signing.is_some() {
        return Err("a webhook has what signs for it, and nothing else has".into());
    }
    Ok(Stored { document, hash, signing, retired })
}

/// The document as people may see it: with its defaults left away and its secrets masked.
pub fn masked(document: &Any) -> Value {
    let mut value = document.to_value();
    if let Some(Value::Object(cfg)) = value.get_mut("cfg") {
        cfg.values_mut().for_each(|secret| *secret = MASK.into());
    }
    for name in BESIDE {
        if let Some(secret) = value.get_mut(*name) {
            *secret = MASK.into();
        }
    }
    if let Any::Webhook(webhook) = document {
        if let Some(Value::Object(headers)) = value.get_mut("headers") {
            headers.values_mut().for_each(|secret| *secret = MASK.into());
        }
        if let Some(url) = value.get_mut("url") {
            *url = webhook::url_shown(&webhook.url).into();
        }
    }
    value
}
