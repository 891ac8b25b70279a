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

#[cfg(test)]
mod tests {
    use super::*;

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
