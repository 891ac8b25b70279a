//! What there is, for whoever named something that there is not: the names themselves, while they are few, else the
//! request that lists them all.

/// Most names that a fix lists.
const NAMES_MAX: usize = 12;

/// The fix of a name that nothing has: `name one of …`. `table` is the settings' table of such things, which the API
/// has under the same name.
pub(crate) fn one_of<'a>(table: &str, names: impl IntoIterator<Item = &'a str>) -> String {
    let mut names: Vec<&str> = names.into_iter().collect();
    names.sort_unstable();
    names.dedup();
    match names.len() {
        0 => format!("there is none yet; add [{table}.NAME] to roundtrip.toml and apply it"),
        1 => format!("there is one: {}", names[0]),
        n if n <= NAMES_MAX => format!("name one of {}", names.join(", ")),
        n => {
            format!("`GET /api/v1/{table}` lists all {n}; they begin with {}", names[..NAMES_MAX].join(", "))
        }
    }
}

/// The one of those that a misspelt word was probably meant to be: at most a third of its letters, and three, are wrong.
pub(crate) fn nearest<'a>(text: &str, names: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let distance = |name: &str| strsim::damerau_levenshtein(text, name);
    let near = |name: &str, distance: usize| distance <= (name.chars().count() / 3).clamp(1, 3);
    let found = names.into_iter().map(|name| (distance(name), name)).min();
    found.filter(|(distance, name)| near(name, *distance)).map(|(_, name)| name)
}

/// The beginning of a fix that names the word that was probably meant; empty when none is near.
pub(crate) fn did_you_mean<'a>(text: &str, names: impl IntoIterator<Item = &'a str>) -> String {
    nearest(text, names).map_or_else(String::new, |name| format!("did you mean `{name}`? "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slip_is_recognised_and_another_word_is_not() {
        let words = ["http_404", "timeout", "dns", "failing"];
        let cases = [
            ("htp_404", Some("http_404")),
            ("timout", Some("timeout")),
            ("dnss", Some("dns")),
            ("failin", Some("failing")),
            ("tls", None),
            ("yesterday", None),
            ("", None),
        ];
        for (text, meant) in cases {
            assert_eq!(nearest(text, words), meant, "{text}");
        }
        assert_eq!(nearest("x", []), None);
    }

    #[test]
    fn few_are_named_and_of_many_what_lists_them() {
        let fix = |names: &[&str]| one_of("webhooks", names.iter().copied());
        assert_eq!(fix(&[]), "there is none yet; add [webhooks.NAME] to roundtrip.toml and apply it");
        assert_eq!(fix(&["crm"]), "there is one: crm");
        assert_eq!(fix(&["orders", "crm", "orders"]), "name one of crm, orders");
        let many: Vec<String> = (10..40).map(|n| format!("w{n}")).collect();
        let many: Vec<&str> = many.iter().map(String::as_str).collect();
        assert!(fix(&many).starts_with("`GET /api/v1/webhooks` lists all 30; they begin with w10, w11"));
    }
}
