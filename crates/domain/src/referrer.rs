//! Google Play's install referrer, raw.
//!
//! The store hands the app the text that our redirect put behind `referrer=`. It is encoded exactly
//! once, but some browsers and redirect hops encode it twice, so a text without any `=` is decoded once
//! more (developer.android.com/google/play/installreferrer, and what SDKs do).

use crate::params::{Params, decode};

/// The key under which our click id travels.
pub const CLICK_ID_KEY: &str = "rt_click_id";
/// Longest referrer that is read, in bytes; peers cap at 512 characters.
pub const BYTES_MAX: usize = 4_096;

/// What a referrer says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Referrer {
    /// It carries our click id (as text: not yet checked).
    Ours {
        /// The value of `rt_click_id`.
        click_id: String,
    },
    /// The store itself says that nobody sent the visitor.
    Organic,
    /// Another's referrer, kept as data.
    Foreign,
    /// Empty or "not set".
    Empty,
}

/// Reads a raw referrer in either encoding.
pub fn parse(raw: &str) -> Referrer {
    let raw = raw.trim();
    if raw.is_empty() {
        return Referrer::Empty;
    }
    let mut text = raw.as_bytes().to_vec();
    text.truncate(BYTES_MAX);
    // At most two more decodes: one for a text handed over still encoded, one for a double encoding.
    for _ in 0..2 {
        if text.contains(&b'=') {
            break;
        }
        text = decode(&text);
    }
    let params = Params::parse(&text);
    if let Some(click_id) = params.text(CLICK_ID_KEY) {
        return Referrer::Ours { click_id };
    }
    let medium = params.text("utm_medium");
    match medium.as_deref() {
        Some("organic") => Referrer::Organic,
        Some("(not set)") => Referrer::Empty,
        _ => Referrer::Foreign,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_both_encodings() {
        let id = "01980a6e-7b1c-7005-8123-456789abcdef";
        let ours = Referrer::Ours { click_id: id.into() };
        assert_eq!(parse(&format!("rt_click_id={id}&utm_source=acme")), ours);
        assert_eq!(parse(&format!("rt_click_id%3D{id}%26utm_source%3Dacme")), ours);
        assert_eq!(parse(&format!("rt_click_id%253D{id}%2526utm_source%253Dacme")), ours);
        assert_eq!(parse(&format!("utm_source=a+b&rt_click_id={id}")), ours);
        assert_eq!(parse("utm_source=google-play&utm_medium=organic"), Referrer::Organic);
        assert_eq!(parse("utm_source=(not%20set)&utm_medium=(not%20set)"), Referrer::Empty);
        assert_eq!(parse("af_tranid=x&pid=y"), Referrer::Foreign);
        assert_eq!(parse(""), Referrer::Empty);
        assert_eq!(parse("garbage"), Referrer::Foreign);
    }
}
