//! Names for what a URL only describes: slugs, link ids, names of settings.

/// A slug of a text: lower case, what no slug holds becomes `-`. Empty where nothing is left.
pub(super) fn slug(text: &str) -> String {
    let mut slug = String::new();
    for character in text.chars() {
        match character.to_ascii_lowercase() {
            kept if kept.is_ascii_lowercase() || kept.is_ascii_digit() || kept == '_' => slug.push(kept),
            _ if !slug.ends_with('-') => slug.push('-'),
            _ => {}
        }
    }
    let slug = slug.trim_matches(['-', '_']);
    slug.chars().take(48).collect::<String>().trim_end_matches(['-', '_']).to_owned()
}

/// Whether a text can be a link's public id.
pub(super) fn is_link_id(text: &str) -> bool {
    (3..=64).contains(&text.len())
        && text.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_'))
}

/// A setting's name of a parameter's: the characters that may follow `cfg.`.
pub(super) fn setting(parameter: &str) -> String {
    let kept: String = parameter
        .chars()
        .map(|c| if c.is_ascii_alphanumeric() || c == '_' { c.to_ascii_lowercase() } else { '_' })
        .take(64)
        .collect();
    let kept = kept.trim_matches('_');
    if kept.is_empty() { "secret".to_owned() } else { kept.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_what_settings_take() {
        for (text, want) in [
            ("acme_int", "acme_int"),
            ("Summer Sale 2026!", "summer-sale-2026"),
            ("été / hiver", "t-hiver"),
            ("--_x_--", "x"),
            ("日本", ""),
        ] {
            assert_eq!(slug(text), want, "{text}");
        }
        assert_eq!(slug(&"a".repeat(100)).len(), 48);
        assert!(is_link_id("abc123") && !is_link_id("ab") && !is_link_id("a.b"));
        assert_eq!((setting("X-Api-Key"), setting("$$")), ("x_api_key".into(), "secret".into()));
    }
}
