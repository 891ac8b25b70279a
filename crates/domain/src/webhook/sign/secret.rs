//! The shared secret of `v1`, and the key pair of `v1a`: how they are read, made and shown.
//!
//! The cast: [`Secret`] and [`SigningKey`] are parsed once, where a person or a store hands them in, and cannot be
//! wrong afterwards. Both print themselves redacted in logs; [`Secret::shown`] and [`SigningKey::shown`] are the
//! only ways to the text. Not relied on: equality is not in constant time, it compares settings, never what a
//! stranger sent.

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

/// What a shown secret begins with.
pub const SECRET_PREFIX: &str = "whsec_";
/// What a shown private key begins with.
pub const PRIVATE_KEY_PREFIX: &str = "whsk_";
/// What a shown public key begins with.
pub const PUBLIC_KEY_PREFIX: &str = "whpk_";
/// The fewest bytes of a secret, decoded: the Standard Webhooks specification's bound.
pub const SECRET_BYTES_MIN: usize = 24;
/// The most bytes of a secret, decoded: the Standard Webhooks specification's bound.
pub const SECRET_BYTES_MAX: usize = 64;

/// Bytes of an Ed25519 seed, and of a public key.
const SEED_BYTES: usize = ed25519_dalek::SECRET_KEY_LENGTH;
/// Bytes of a seed and its public key, the longer form of a private key.
const KEY_PAIR_BYTES: usize = ed25519_dalek::KEYPAIR_LENGTH;

/// Why a text is no secret or key. The message names the rule and the fix, and never the text.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Invalid {
    /// What follows the prefix is no base64.
    #[error(
        "it is `{0}` and standard base64 with its padding (`A`–`Z`, `a`–`z`, `0`–`9`, `+`, `/`, `=`), and this is not; \
         copy the whole text, and none of the space around it. A word of your own is none: let one be made, or encode \
         32 random bytes"
    )]
    Base64(&'static str),
    /// The secret is too short or too long.
    #[error(
        "a secret is {SECRET_BYTES_MIN} to {SECRET_BYTES_MAX} bytes once its base64 is decoded, and this one is {0}; \
         let one be made, or encode 32 random bytes"
    )]
    SecretLength(usize),
    /// The private key does not begin as one.
    #[error("a private key begins with `{PRIVATE_KEY_PREFIX}`; `{PUBLIC_KEY_PREFIX}` is the public one")]
    KeyPrefix,
    /// The private key has another length.
    #[error(
        "a private key is {SEED_BYTES} bytes (the seed) or {KEY_PAIR_BYTES} (seed and public key) once its base64 is \
         decoded, and this one is {0}; other forms (DER, hex) are to be converted first"
    )]
    KeyLength(usize),
    /// The second half of the private key belongs to another seed.
    #[error(
        "the last {SEED_BYTES} bytes of the private key are not the public key of its first {SEED_BYTES}; give the \
         seed alone, or copy the key again"
    )]
    KeyPairTorn,
}

/// A shared secret: 24 to 64 random bytes, shown as `whsec_` and base64.
///
/// The decoded bytes are the key of `v1`. The bytes of the *shown text* are the key of the plain header, because
/// receivers of that kind use a secret as it was given to them.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret {
    shown: String,
    key: Vec<u8>,
}

impl Secret {
    /// Reads `whsec_…`, or the base64 alone, as the libraries of the specification do. It is shown with its prefix
    /// from then on, whichever was given.
    pub fn parse(text: &str) -> Result<Self, Invalid> {
        let encoded = text.strip_prefix(SECRET_PREFIX).unwrap_or(text);
        let key = STANDARD.decode(encoded).map_err(|_| Invalid::Base64(SECRET_PREFIX))?;
        if !(SECRET_BYTES_MIN..=SECRET_BYTES_MAX).contains(&key.len()) {
            return Err(Invalid::SecretLength(key.len()));
        }
        Ok(Self::of(key))
    }

    /// A new one of 32 random bytes.
    pub fn generate(entropy: [u8; 32]) -> Self {
        Self::of(entropy.to_vec())
    }

    fn of(key: Vec<u8>) -> Self {
        Self { shown: format!("{SECRET_PREFIX}{}", STANDARD.encode(&key)), key }
    }

    /// The text that the receiver is given: `whsec_…`.
    pub fn shown(&self) -> &str {
        &self.shown
    }

    /// The key of `v1`: 24 to 64 bytes.
    pub(super) fn key(&self) -> &[u8] {
        &self.key
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(whsec_…)")
    }
}

/// An Ed25519 key pair of an endpoint: it signs `v1a`, which a receiver checks with the public half alone.
#[derive(Clone, PartialEq, Eq)]
pub struct SigningKey(ed25519_dalek::SigningKey);

impl SigningKey {
    /// Reads `whsk_` and the base64 of a 32-byte seed, or of the seed and its public key (64 bytes).
    pub fn parse(text: &str) -> Result<Self, Invalid> {
        let encoded = text.strip_prefix(PRIVATE_KEY_PREFIX).ok_or(Invalid::KeyPrefix)?;
        let bytes = STANDARD.decode(encoded).map_err(|_| Invalid::Base64(PRIVATE_KEY_PREFIX))?;
        if let Ok(seed) = <[u8; SEED_BYTES]>::try_from(bytes.as_slice()) {
            return Ok(Self::generate(seed));
        }
        let pair = <[u8; KEY_PAIR_BYTES]>::try_from(bytes.as_slice());
        let pair = pair.map_err(|_| Invalid::KeyLength(bytes.len()))?;
        let key = ed25519_dalek::SigningKey::from_keypair_bytes(&pair).map_err(|_| Invalid::KeyPairTorn)?;
        Ok(Self(key))
    }

    /// A new one; the random bytes are its seed.
    pub fn generate(entropy: [u8; 32]) -> Self {
        Self(ed25519_dalek::SigningKey::from_bytes(&entropy))
    }

    /// The private text, which stays with the sender: `whsk_` and the base64 of seed and public key.
    pub fn shown(&self) -> String {
        format!("{PRIVATE_KEY_PREFIX}{}", STANDARD.encode(self.0.to_keypair_bytes()))
    }

    /// The text that the receiver is given: `whpk_` and the base64 of the raw 32 bytes of the public key, no DER.
    pub fn public(&self) -> String {
        format!("{PUBLIC_KEY_PREFIX}{}", STANDARD.encode(self.0.verifying_key().as_bytes()))
    }

    pub(super) fn pair(&self) -> &ed25519_dalek::SigningKey {
        &self.0
    }
}

impl fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SigningKey({})", self.public())
    }
}
