//! Reads the signatures of a rule's document as the template's schemes.

use roundtrip_domain::template::sign::{DEFAULT_NAME, Encoding, Hash, Message, Scheme};

use super::document::{Signature, SignedMessage};
use super::likely::hint;

/// A signature's name and scheme. What the scheme itself can judge (a missing key, a message that is too long) is
/// left to the template's findings.
///
/// # Errors
/// The field whose word has no meaning here, and the sentence.
pub fn scheme(doc: &Signature) -> Result<(String, Scheme), (&'static str, String)> {
    let hash = match doc.hash.as_deref() {
        None => Hash::default(),
        Some(word) => Hash::from_name(word).ok_or_else(|| {
            let likely = hint(word, Hash::ALL.iter().map(|hash| hash.as_str()));
            ("hash", format!("there is no hash `{word}`{likely}"))
        })?,
    };
    let encoding = match doc.encoding.as_deref() {
        None => Encoding::default(),
        Some(word) => Encoding::from_name(word).ok_or_else(|| {
            let likely = hint(word, Encoding::ALL.iter().map(|encoding| encoding.as_str()));
            ("encoding", format!("there is no encoding `{word}`{likely}"))
        })?,
    };
    let message = match (&doc.message, &doc.join) {
        (SignedMessage::Text(text), None) => Message::Text(text.clone()),
        (SignedMessage::Parts(parts), by) => {
            Message::Join { by: by.clone().unwrap_or_default(), parts: parts.clone() }
        }
        (SignedMessage::Text(_), Some(_)) => {
            return Err(("join", "only a message that is a list of parts is joined".to_owned()));
        }
    };
    let name = doc.name.clone().unwrap_or_else(|| DEFAULT_NAME.to_owned());
    Ok((name, Scheme { hash, message, key: doc.key.clone(), encoding }))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn read(document: serde_json::Value) -> Result<(String, Scheme), (&'static str, String)> {
        scheme(&serde_json::from_value(document).unwrap())
    }

    #[test]
    fn a_signature_is_read_with_its_defaults() {
        let (name, scheme) = read(json!({ "message": "a{nonce}", "key": "cfg.secret" })).unwrap();
        assert_eq!(name, "signature");
        assert_eq!((scheme.hash, scheme.encoding), (Hash::HmacSha256, Encoding::Hex));
        assert_eq!(scheme.message, Message::Text("a{nonce}".into()));
        let (name, scheme) = read(json!({
            "name": "sig4",
            "hash": "hmac-sha1",
            "encoding": "base64url",
            "message": ["{idfa}", "{nonce}"],
            "join": ":",
        }))
        .unwrap();
        assert_eq!(
            (name.as_str(), scheme.hash, scheme.encoding),
            ("sig4", Hash::HmacSha1, Encoding::Base64Url)
        );
        let parts = vec!["{idfa}".into(), "{nonce}".into()];
        assert_eq!(scheme.message, Message::Join { by: ":".into(), parts });
    }

    #[test]
    fn words_that_are_none_name_their_field() {
        for (document, field, likely) in [
            (json!({ "message": "a", "hash": "hmac_sha256" }), "hash", "hmac-sha256"),
            (json!({ "message": "a", "encoding": "base46" }), "encoding", "base64"),
            (json!({ "message": "a", "join": ":" }), "join", "list"),
        ] {
            let (at, message) = read(document).unwrap_err();
            assert_eq!(at, field);
            assert!(message.contains(likely), "{message}");
        }
    }
}
