//! Secrets that do not print, and the tokens of keys.
//!
//! Not relied on for storage: a partner's own settings are kept as they are (they are sent to the partner),
//! only a key's token is reduced to its hash.

use std::borrow::Cow;
use std::fmt;

use roundtrip_ambient::Entropy;
use roundtrip_domain::settings::KeyKind;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

/// What is shown in a secret's place. Sent back in a document, it means "as it is".
pub const MASK: &str = "••••";

/// Shortest secret that a person may choose for a key, in characters. 32 characters of hexadecimal are 128
/// bits; shorter ones can be guessed from their unsalted hash.
pub(super) const SECRET_CHARS_MIN: usize = 32;

/// A text that redacts itself when printed. Serialized it is the text: documents that leave the program are
/// masked by [`super::stored::masked`].
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Secret(pub String);

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(MASK)
    }
}

impl JsonSchema for Secret {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "Secret".into()
    }

    fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
        schemars::json_schema!({ "type": "string" })
    }
}

/// Whether a text names a place where a secret is, rather than being one. Only the command line resolves
/// those: a server that read `file:` paths from a request would read any file for its caller.
pub fn is_indirect(text: &str) -> bool {
    text.starts_with("env:") || text.starts_with("file:")
}

/// What is kept of a key's token: SHA-256. Tokens are 256 random bits, so a slow hash would buy nothing.
pub fn hash_token(token: &str) -> [u8; 32] {
    Sha256::digest(token.as_bytes()).into()
}

/// A new token: a prefix that tells its kind, and 256 random bits as 52 Crockford characters.
pub(super) fn mint_token(kind: KeyKind, entropy: &Entropy) -> String {
    const CROCKFORD: &[u8; 32] = b"0123456789ABCDEFGHJKMNPQRSTVWXYZ";
    let mut bytes = [0_u8; 32];
    entropy.fill(&mut bytes);
    let mut token = String::with_capacity(56);
    token.push_str(match kind {
        KeyKind::Client => "rtc_",
        KeyKind::Server => "rts_",
        KeyKind::Postback => "rtp_",
        KeyKind::Admin => "rta_",
    });
    // 52 × 5 = 260 bits: the last character carries one bit of the token and four of padding.
    for index in 0..52 {
        let mut value = 0_usize;
        for bit in index * 5..index * 5 + 5 {
            let set = bytes.get(bit / 8).is_some_and(|byte| byte >> (7 - bit % 8) & 1 == 1);
            value = value << 1 | usize::from(set);
        }
        token.push(char::from(CROCKFORD[value]));
    }
    token
}
