//! The headers by which a receiver knows that a webhook is ours.
//!
//! The cast: [`Signing`] is what one endpoint signs with: a current [`Secret`] and older ones that still overlap,
//! an Ed25519 [`SigningKey`] if the endpoint wants `v1a`, and the name of the plain header. [`headers`] makes the
//! headers of one attempt. [`Signing::rotate_secret`] and [`Signing::rotate_key`] put a new one in front.
//!
//! Two schemes leave together, for two kinds of receivers:
//!
//! - **Standard Webhooks** (the specification at `standard-webhooks/standard-webhooks`): `webhook-id`,
//!   `webhook-timestamp` and `webhook-signature` over id, dot, timestamp, dot, body. It has room for several
//!   signatures, so a rotation is seen by nobody: both secrets sign until the overlap ends. `v1` is always there and
//!   `v1a` only beside it, because hardly any library checks `v1a`.
//! - **The plain header**, `x-roundtrip-signature` unless it is renamed: the lower-case hex HMAC-SHA256 of the raw
//!   body, keyed with the bytes of the shown secret text. It has room for one value, so in a rotation the *old* secret
//!   signs it until its cut-over, and the new one from then on. The cut-over is the end of the overlap unless it is
//!   moved forward ([`Signing::cut_over`]) once the receiver has the new secret.
//!
//! Not relied on: nothing here reads a clock or makes a secret, both are arguments; nothing here verifies. The plain
//! header covers no time, so it alone does not stop a replay; the standard ones do. The body is signed as it is: that
//! it is UTF-8 JSON, which the libraries ask for, is its author's duty.

mod secret;
#[cfg(test)]
mod tests;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use ed25519_dalek::Signer as _;
use hmac::{Hmac, KeyInit, Mac as _};
use sha2::Sha256;

pub use self::secret::{
    Invalid, PRIVATE_KEY_PREFIX, PUBLIC_KEY_PREFIX, SECRET_BYTES_MAX, SECRET_BYTES_MIN, SECRET_PREFIX,
    Secret, SigningKey,
};
use crate::template::is_framing_header;
use crate::time::Timestamp;

/// The header that names the message: the event, the same through retries and replays.
pub const ID_HEADER: &str = "webhook-id";
/// The header with the Unix seconds of the attempt.
pub const TIMESTAMP_HEADER: &str = "webhook-timestamp";
/// The header with the signatures.
pub const SIGNATURE_HEADER: &str = "webhook-signature";
/// The plain header, unless an endpoint renames it.
pub const PLAIN_HEADER: &str = "x-roundtrip-signature";
/// Most signatures in one header, of all versions together.
pub const SIGNATURES_MAX: usize = 3;
/// How long a secret that was replaced signs on, unless said otherwise: 24 h, in milliseconds.
pub const OVERLAP_DEFAULT_MS: i64 = 86_400_000;
/// The longest such time: 30 d, in milliseconds.
pub const OVERLAP_MAX_MS: i64 = 30 * 86_400_000;

/// Longest name of the plain header, in bytes.
const NAME_BYTES_MAX: usize = 64;
/// Names that the sender sets itself, beside those that frame a request.
const TAKEN_NAMES: &[&str] = &["accept", "authorization", "content-encoding", "content-type", "user-agent"];
/// Beginnings of names that are taken.
const TAKEN_PREFIXES: &[&str] = &["webhook-", "x-roundtrip-"];

/// What one endpoint signs with.
///
/// The fields are as a store keeps them; any values are safe. What keeps the promise that no signature falls out of a
/// header before its overlap ends is that the lists grow by `rotate_*` alone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Signing {
    /// The newest secret. It always signs `v1`.
    pub secret: Secret,
    /// Those before it, newest first.
    pub older_secrets: Vec<OlderSecret>,
    /// Signs `v1a`, if the endpoint wants it.
    pub key: Option<SigningKey>,
    /// Those before it, newest first.
    pub older_keys: Vec<OlderKey>,
    /// The name of the plain header.
    pub plain_header: PlainHeader,
}

/// A secret that was replaced.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OlderSecret {
    /// The secret.
    pub secret: Secret,
    /// It signs `v1` before this moment, and from then on nothing.
    pub until: Timestamp,
    /// It signs the plain header before this moment. Later than `until` is the same as `until`.
    pub cut_over: Timestamp,
}

impl OlderSecret {
    /// Whether the plain header is still its own.
    fn signs_plain(&self, now: Timestamp) -> bool {
        now < self.cut_over.min(self.until)
    }
}

/// A key pair that was replaced.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OlderKey {
    /// The key pair.
    pub key: SigningKey,
    /// It signs `v1a` before this moment, and from then on nothing.
    pub until: Timestamp,
}

/// The name of the plain header, in lower case.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PlainHeader(String);

/// Why a text does not name a plain header. The message names the rule and the fix.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NameInvalid {
    /// No header has such a name.
    #[error(
        "the name of a header is at most {NAME_BYTES_MAX} letters, digits and `-`, `_` or another mark that HTTP allows; \
         give one such as `{PLAIN_HEADER}`"
    )]
    NoToken,
    /// Somebody else sets it.
    #[error("the sender sets `{0}` itself; give another name, such as `x-signature`")]
    Taken(String),
}

impl Default for PlainHeader {
    fn default() -> Self {
        Self(PLAIN_HEADER.to_owned())
    }
}

impl PlainHeader {
    /// Reads a header name; upper case is lowered, as on the wire names have no case.
    pub fn parse(name: &str) -> Result<Self, NameInvalid> {
        let is_token = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
        if name.is_empty() || name.len() > NAME_BYTES_MAX || !name.bytes().all(is_token) {
            return Err(NameInvalid::NoToken);
        }
        let name = name.to_ascii_lowercase();
        let is_taken = name != PLAIN_HEADER
            && (is_framing_header(&name)
                || TAKEN_NAMES.contains(&name.as_str())
                || TAKEN_PREFIXES.iter().any(|prefix| name.starts_with(prefix)));
        if is_taken { Err(NameInvalid::Taken(name)) } else { Ok(Self(name)) }
    }

    /// The name.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// Why a rotation is refused; nothing was changed. The message names the rule and the fix.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// The overlap is negative or too long.
    #[error("an overlap is 0 to 30 days; give one such as `24h`, or `0s` if the old one is to end now")]
    Overlap,
    /// The header would have to carry too many signatures, and one that was promised would fall out.
    #[error(
        "at most {SIGNATURES_MAX} signatures go into one header (secrets and Ed25519 keys, those that overlap \
         included), and that many are promised until {free_at}, when the overlap of an earlier rotation ends"
    )]
    TooMany {
        /// When the next of those that overlap ends.
        free_at: Timestamp,
    },
}

impl Signing {
    /// With one secret and nothing else.
    pub fn new(secret: Secret) -> Self {
        Self {
            secret,
            older_secrets: Vec::new(),
            key: None,
            older_keys: Vec::new(),
            plain_header: PlainHeader::default(),
        }
    }

    /// Puts a new secret in front. The one before it signs on for `overlap_ms`, and so do those before that, if their
    /// own time was not shorter: none outlives the one that followed it. With 0 the new one alone signs from `now` on,
    /// the plain header too.
    pub fn rotate_secret(&mut self, new: Secret, overlap_ms: i64, now: Timestamp) -> Result<(), Refused> {
        let until = self.end_of_overlap(overlap_ms, now)?;
        let mut next = self.clone();
        let old = std::mem::replace(&mut next.secret, new);
        next.older_secrets.insert(0, OlderSecret { secret: old, until, cut_over: until });
        for older in &mut next.older_secrets {
            older.until = older.until.min(until);
        }
        next.take_over(self, now)
    }

    /// Puts a new key pair in front, or ends `v1a` with `None`. The one before it signs on as with
    /// [`Self::rotate_secret`].
    pub fn rotate_key(
        &mut self,
        new: Option<SigningKey>,
        overlap_ms: i64,
        now: Timestamp,
    ) -> Result<(), Refused> {
        let until = self.end_of_overlap(overlap_ms, now)?;
        let mut next = self.clone();
        if let Some(old) = std::mem::replace(&mut next.key, new) {
            next.older_keys.insert(0, OlderKey { key: old, until });
        }
        for older in &mut next.older_keys {
            older.until = older.until.min(until);
        }
        next.take_over(self, now)
    }

    /// Lets the current secret sign the plain header from `at` on, if that is earlier than it would. For the moment
    /// when the receiver has it.
    pub fn cut_over(&mut self, at: Timestamp) {
        for older in &mut self.older_secrets {
            older.cut_over = older.cut_over.min(at);
        }
    }

    /// Whose secret signs the plain header at `now`: the oldest whose cut-over is still to come, else the current one.
    pub fn plain_secret(&self, now: Timestamp) -> &Secret {
        let older = self.older_secrets.iter().rev().find(|older| older.signs_plain(now));
        older.map_or(&self.secret, |older| &older.secret)
    }

    fn end_of_overlap(&self, overlap_ms: i64, now: Timestamp) -> Result<Timestamp, Refused> {
        if !(0..=OVERLAP_MAX_MS).contains(&overlap_ms) {
            return Err(Refused::Overlap);
        }
        Ok(now.plus_ms(overlap_ms))
    }

    /// Becomes what `place` holds, without those that have ended, unless there are too many.
    fn take_over(mut self, place: &mut Self, now: Timestamp) -> Result<(), Refused> {
        self.older_secrets.retain(|older| now < older.until);
        self.older_keys.retain(|older| now < older.until);
        let newest = 1 + usize::from(self.key.is_some());
        if newest + self.older_secrets.len() + self.older_keys.len() > SIGNATURES_MAX {
            let secrets = place.older_secrets.iter().map(|older| older.until);
            let ends = secrets.chain(place.older_keys.iter().map(|older| older.until));
            let free_at = ends.filter(|end| now < *end).min().unwrap_or(now);
            return Err(Refused::TooMany { free_at });
        }
        *place = self;
        Ok(())
    }
}

/// The headers that sign one attempt: names in lower case, values of printable ASCII. `id` is the event's id, which
/// has no dot in it; `now` is when the attempt is built for sending, not when it was queued; `body` is what is sent,
/// to the byte.
pub fn headers(signing: &Signing, id: &str, now: Timestamp, body: &[u8]) -> Vec<(String, String)> {
    let timestamp = now.seconds().to_string();
    let content = [id.as_bytes(), b".", timestamp.as_bytes(), b".", body].concat();

    let older_secrets = signing.older_secrets.iter().filter(|older| now < older.until);
    let older_keys = signing.older_keys.iter().filter(|older| now < older.until);
    let signatures: Vec<String> = std::iter::once(v1(&signing.secret, &content))
        .chain(signing.key.iter().map(|key| v1a(key, &content)))
        .chain(older_secrets.map(|older| v1(&older.secret, &content)))
        .chain(older_keys.map(|older| v1a(&older.key, &content)))
        .take(SIGNATURES_MAX)
        .collect();

    vec![
        (ID_HEADER.to_owned(), id.to_owned()),
        (TIMESTAMP_HEADER.to_owned(), timestamp),
        (SIGNATURE_HEADER.to_owned(), signatures.join(" ")),
        (signing.plain_header.0.clone(), plain(signing.plain_secret(now), body)),
    ]
}

fn v1(secret: &Secret, content: &[u8]) -> String {
    format!("v1,{}", STANDARD.encode(mac(secret.key(), content)))
}

fn v1a(key: &SigningKey, content: &[u8]) -> String {
    format!("v1a,{}", STANDARD.encode(key.pair().sign(content).to_bytes()))
}

/// 64 characters of lower-case hex.
fn plain(secret: &Secret, body: &[u8]) -> String {
    hex::encode(mac(secret.shown().as_bytes(), body))
}

fn mac(key: &[u8], message: &[u8]) -> [u8; 32] {
    let mut mac = Hmac::<Sha256>::new_from_slice(key).expect("HMAC takes a key of any length");
    mac.update(message);
    mac.finalize().into_bytes().into()
}
