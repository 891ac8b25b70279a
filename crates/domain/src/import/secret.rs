//! Credentials that stand literally in a postback, and their way into the partner's settings.
//!
//! A URL is seen by whoever may read rules, and lands in documents and diffs; a setting is shown masked.
//!
//! Not relied on for finding every credential: a name or a value that looks like none stays where it is.

use super::name;

/// Words of names whose values are credentials whatever they look like.
const SURE: &[&str] = &[
    "token",
    "secret",
    "password",
    "passwd",
    "pwd",
    "apikey",
    "authorization",
    "auth",
    "bearer",
    "credential",
];
/// Words of names whose values are credentials if they look random.
const LIKELY: &[&str] =
    &["key", "pass", "hash", "sig", "signature", "sign", "code", "access", "hmac", "security", "nonce"];

/// Shortest random value.
const RANDOM_BYTES_MIN: usize = 12;

/// Whether a literal value under that name is a credential.
pub(super) fn is_secret(name: &str, value: &str) -> bool {
    let value = value.trim();
    if value.is_empty() || is_placeholder(value) {
        return false;
    }
    let words = words(name);
    let has = |list: &[&str]| words.iter().any(|word| list.contains(&word.as_str()));
    has(SURE) || (has(LIKELY) || words.is_empty()) && is_random(value)
}

/// Whether it is written where a value is to be filled in by hand: `YOUR_TOKEN`, `XXXXXX`.
pub(super) fn is_placeholder(value: &str) -> bool {
    let lower = value.to_ascii_lowercase();
    let has_letters = value.bytes().any(|b| b.is_ascii_alphabetic());
    has_letters && lower.bytes().all(|b| matches!(b, b'x' | b'-' | b'_' | b'*'))
        || lower.starts_with("your")
        || lower.starts_with("insert")
        || lower.starts_with("replace")
}

/// The words of a name: `securityToken`, `api-key` and `x_auth` are two each.
fn words(name: &str) -> Vec<String> {
    let mut words = vec![String::new()];
    let mut was_lower = false;
    for c in name.chars() {
        if !c.is_ascii_alphanumeric() || c.is_ascii_uppercase() && was_lower {
            words.push(String::new());
        }
        if c.is_ascii_alphanumeric()
            && let Some(word) = words.last_mut()
        {
            word.push(c.to_ascii_lowercase());
        }
        was_lower = c.is_ascii_lowercase();
    }
    words.retain(|word| !word.is_empty());
    words
}

/// Whether a value looks like no word and no plain number.
pub(super) fn is_random(value: &str) -> bool {
    let is_plain =
        |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.' | b'+' | b'/' | b'=' | b'~');
    value.len() >= RANDOM_BYTES_MIN
        && value.bytes().all(is_plain)
        && value.bytes().any(|b| b.is_ascii_digit())
        && value.bytes().any(|b| b.is_ascii_alphabetic())
}

/// Puts a credential into the settings; the name that it has there.
pub(super) fn keep(cfg: &mut Vec<(String, String)>, parameter: &str, value: &str) -> String {
    let wanted = name::setting(parameter);
    let mut name = wanted.clone();
    let mut number = 2;
    while let Some((_, known)) = cfg.iter().find(|(known, _)| *known == name) {
        if known == value {
            return name;
        }
        name = format!("{wanted}_{number}");
        number += 1;
    }
    cfg.push((name.clone(), value.to_owned()));
    name
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_values_tell_credentials() {
        for (name, value) in [
            ("token", "abc"),
            ("security_token", "1234"),
            ("securityToken", "x1"),
            ("X-Api-Key", "9f86d081884c7d65"),
            ("Authorization", "Bearer abc"),
            ("key", "9f86d081884c7d65"),
        ] {
            assert!(is_secret(name, value), "{name}={value}");
        }
        for (name, value) in [
            ("key", "summer"),
            ("token", ""),
            ("token", "YOUR_TOKEN"),
            ("v", "XXXXXX"),
            ("transaction_id", "9f86d081884c7d65"),
            ("keyword", "9f86d081884c7d65"),
            ("event", "install"),
            ("key", "123456789012"),
        ] {
            assert!(!is_secret(name, value), "{name}={value}");
        }
    }

    #[test]
    fn a_setting_holds_one_value() {
        let mut cfg = Vec::new();
        assert_eq!(keep(&mut cfg, "token", "a"), "token");
        assert_eq!(keep(&mut cfg, "token", "a"), "token");
        assert_eq!(keep(&mut cfg, "Token", "b"), "token_2");
        assert_eq!(cfg.len(), 2);
    }
}
