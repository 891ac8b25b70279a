//! A day's statement to a partner: how many facts arrived, a hash of each, and one signature over all.
//!
//! The cast: an [`Entry`] is what one delivery told; its line is written one way, so that the receiver can write the
//! same from its own records; a [`Digest`] hashes lines in their order and writes the text that a [`StatementKey`]
//! signs. Keys and lines are documented in docs/books.md and are a public contract: a change is a new version.

use std::collections::BTreeMap;
use std::fmt;

use ed25519_dalek::{Signature, Signer as _, SigningKey, VerifyingKey};
use sha2::{Digest as _, Sha256};

use crate::time::Timestamp;

/// The first line of what is signed.
pub const VERSION: &str = "roundtrip-statement-v1";

/// What one delivery told. Texts are as they were told; what was not told is empty.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// What the receiver dedupes on.
    pub event_id: String,
    /// The partner's click id.
    pub partner_click_id: String,
    /// The conversion kind.
    pub kind: String,
    /// The amount, as it was told.
    pub amount: String,
    /// Its currency.
    pub currency: String,
    /// When it arrived.
    pub delivered_at: Timestamp,
}

impl Entry {
    /// The line that is hashed: the fields between bars, with `%`, `|` and control characters percent-encoded.
    pub fn line(&self) -> String {
        let at = self.delivered_at.to_string();
        let fields = [&self.event_id, &self.partner_click_id, &self.kind, &self.amount, &self.currency, &at]
            .map(|f| escaped(f));
        fields.join("|")
    }

    /// SHA-256 of the line, in lower-case hexadecimal.
    pub fn hash(&self) -> String {
        hex::encode(Sha256::digest(self.line()))
    }
}

fn escaped(field: &str) -> String {
    let mut text = String::with_capacity(field.len());
    for c in field.chars() {
        if c == '%' || c == '|' || c.is_ascii_control() {
            text.push_str(&format!("%{:02X}", u32::from(c)));
        } else {
            text.push(c);
        }
    }
    text
}

/// Whose statement it is, and of which day.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Heading {
    /// The workspace's slug.
    pub workspace: String,
    /// The partner's id.
    pub partner: String,
    /// The day, UTC: `2026-06-04`.
    pub day: String,
    /// Whether the day was over, so that nothing can be added.
    pub is_final: bool,
}

/// Lines, hashed in their order.
#[derive(Debug, Clone, Default)]
pub struct Digest {
    hasher: Sha256,
    entries: u64,
    counts: BTreeMap<String, u64>,
}

impl Digest {
    /// Adds a hash in hexadecimal, of an entry of a kind.
    pub fn add(&mut self, kind: &str, hash: &str) {
        self.hasher.update(hash);
        self.hasher.update("\n");
        self.entries += 1;
        *self.counts.entry(kind.to_owned()).or_default() += 1;
    }

    /// How many entries of each kind.
    pub const fn counts(&self) -> &BTreeMap<String, u64> {
        &self.counts
    }

    /// How many entries.
    pub const fn entries(&self) -> u64 {
        self.entries
    }

    /// SHA-256 of all hashes, each followed by a line feed, in lower-case hexadecimal.
    pub fn total(&self) -> String {
        hex::encode(self.hasher.clone().finalize())
    }

    /// The text that is signed: lines of `name=value`, each ended by a line feed.
    pub fn signed_text(&self, heading: &Heading) -> String {
        let mut lines = vec![
            VERSION.to_owned(),
            format!("workspace={}", escaped(&heading.workspace)),
            format!("partner={}", escaped(&heading.partner)),
            format!("day={}", escaped(&heading.day)),
            format!("final={}", heading.is_final),
            format!("entries={}", self.entries),
        ];
        lines.extend(self.counts.iter().map(|(kind, n)| format!("count.{}={n}", escaped(kind))));
        lines.push(format!("total={}", self.total()));
        lines.push(String::new());
        lines.join("\n")
    }
}

/// The installation's Ed25519 key for statements.
#[derive(Clone)]
pub struct StatementKey(SigningKey);

impl fmt::Debug for StatementKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("StatementKey(…)")
    }
}

impl StatementKey {
    /// The key of 32 random bytes.
    pub fn from_seed(seed: [u8; 32]) -> Self {
        Self(SigningKey::from_bytes(&seed))
    }

    /// The public key.
    pub fn public(&self) -> [u8; 32] {
        self.0.verifying_key().to_bytes()
    }

    /// Signs a text.
    pub fn sign(&self, text: &str) -> [u8; 64] {
        self.0.sign(text.as_bytes()).to_bytes()
    }
}

/// Whether a signature is that key's, of exactly that text.
pub fn verifies(public: &[u8; 32], text: &str, signature: &[u8; 64]) -> bool {
    VerifyingKey::from_bytes(public)
        .is_ok_and(|key| key.verify_strict(text.as_bytes(), &Signature::from_bytes(signature)).is_ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(click: &str) -> Entry {
        Entry {
            event_id: "evt_01KAHS8Z4N2T7QX5W3R9M6B0CD".into(),
            partner_click_id: click.into(),
            kind: "purchase".into(),
            amount: "12.50".into(),
            currency: "EUR".into(),
            delivered_at: Timestamp::from_ms(1_780_564_904_120),
        }
    }

    #[test]
    fn the_text_is_a_contract() {
        let one = entry("a|b%c\n");
        assert_eq!(
            one.line(),
            "evt_01KAHS8Z4N2T7QX5W3R9M6B0CD|a%7Cb%25c%0A|purchase|12.50|EUR|2026-06-04T09:21:44.120Z"
        );
        let mut digest = Digest::default();
        for entry in [one, entry("x")] {
            digest.add(&entry.kind, &entry.hash());
        }
        let heading = Heading {
            workspace: "default".into(),
            partner: "prt_1".into(),
            day: "2026-06-04".into(),
            is_final: true,
        };
        insta::assert_snapshot!("statement_text", digest.signed_text(&heading));
    }

    #[test]
    fn only_the_same_text_verifies() {
        let key = StatementKey::from_seed([7; 32]);
        let signature = key.sign("text\n");
        assert!(verifies(&key.public(), "text\n", &signature));
        assert!(!verifies(&key.public(), "text", &signature));
        assert!(!verifies(&StatementKey::from_seed([8; 32]).public(), "text\n", &signature));
        assert!(!verifies(&[0; 32], "text\n", &signature));
        assert_eq!(format!("{key:?}"), "StatementKey(…)");
    }
}
