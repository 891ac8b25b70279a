//! Who asks: the key of events, the token of postbacks.
//!
//! A token is hashed before it is looked up, so that the time of the look-up tells nothing about it. Tokens are
//! never kept, logged or repeated in a message.

use std::sync::Arc;

use axum::http::{HeaderMap, header};
use roundtrip_domain::problem::{Code, Problem};
use roundtrip_domain::settings::{Catalog, Key, KeyKind, Settings};
use sha2::{Digest, Sha256};

use super::limits::header_text;

/// The key of `Authorization: Bearer …`, if it may report events.
pub(super) fn event_key<'c>(
    headers: &HeaderMap,
    catalog: &'c Catalog,
) -> Result<(&'c Arc<Settings>, &'c Arc<Key>), Problem> {
    let field = "authorization";
    let missing = || Problem::new(Code::KeyMissing, field, "there is no Authorization: Bearer header");
    let value = header_text(headers, &header::AUTHORIZATION)?.ok_or_else(missing)?;
    let (scheme, token) = value.trim().split_once(' ').ok_or_else(missing)?;
    let token = token.trim();
    if !scheme.eq_ignore_ascii_case("bearer") || token.is_empty() {
        return Err(missing());
    }
    let found = catalog.key(&hash(token.as_bytes()));
    let (settings, key) =
        found.ok_or_else(|| Problem::new(Code::KeyUnknown, field, "nobody knows this key"))?;
    match key.kind {
        KeyKind::Client | KeyKind::Server => Ok((settings, key)),
        kind @ (KeyKind::Postback | KeyKind::Admin) => {
            let message = format!("this is a key of kind {}", kind.name());
            Err(Problem::new(Code::KeyKindWrong, field, message))
        }
    }
}

/// The key of a postback's `token`, if it may report to this namespace.
pub(super) fn postback_key<'c>(
    token: &[u8],
    settings: &Settings,
    catalog: &'c Catalog,
) -> Result<&'c Arc<Key>, Problem> {
    let Some((owner, key)) = catalog.key(&hash(token)) else {
        return Err(Problem::new(Code::TokenInvalid, "token", "nobody knows this token"));
    };
    if key.kind != KeyKind::Postback {
        let message = format!("the token is a key of kind {}", key.kind.name());
        return Err(Problem::new(Code::KeyKindWrong, "token", message));
    }
    if owner.workspace != settings.workspace {
        return Err(Problem::new(Code::NamespaceMismatch, "token", "the token is of another namespace"));
    }
    Ok(key)
}

fn hash(token: &[u8]) -> [u8; 32] {
    Sha256::digest(token).into()
}
