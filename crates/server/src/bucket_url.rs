//! The address of a folder in a bucket, as settings and commands name it: `s3://NAME/FOLDER`.

use url::Url;

/// The kinds of buckets that this program was built for.
pub(crate) fn built_for() -> &'static [&'static str] {
    #[cfg(feature = "bucket")]
    return crate::bucket::SCHEMES;
    #[cfg(not(feature = "bucket"))]
    return &[];
}

/// The same, for a person.
pub(crate) fn built_for_words() -> String {
    let known = built_for().iter().map(|scheme| format!("{scheme}://")).collect::<Vec<_>>().join(", ");
    if known.is_empty() { "no buckets".to_owned() } else { known }
}

/// Reads one; without a slash at its end.
///
/// # Errors
/// What is wrong with it, in words that end no sentence.
pub(crate) fn parse(text: &str) -> Result<Url, String> {
    let url =
        Url::parse(text).map_err(|error| format!("`{text}` is no URL such as s3://NAME/FOLDER: {error}"))?;
    if !built_for().contains(&url.scheme()) {
        return Err(format!(
            "`{text}`: this program is built for {}, not for {}://",
            built_for_words(),
            url.scheme()
        ));
    }
    let bare = url.query().is_none() && url.fragment().is_none() && url.port().is_none();
    if !bare || !url.username().is_empty() || url.password().is_some() {
        // What it holds may be a secret, and would be written into logs and lists.
        return Err(
            "it is more than a bucket's name and a folder; credentials come from the environment".to_owned()
        );
    }
    if url.host_str().is_none_or(str::is_empty) {
        return Err(format!("`{text}` names no bucket"));
    }
    Ok(url)
}
