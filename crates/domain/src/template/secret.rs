//! What of a partner's settings must not be kept or shown once a request is filled in. It is relied on by whoever
//! keeps or prints a request that was sent; it is NOT relied on for what identifies a person.

use super::Use;
use super::place::Place;
use crate::secret::SECRET_BYTES_MIN;

/// A setting's value as filters changed it.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Form {
    /// The setting's macro, as `cfg.token`; empty where several stand in it.
    pub key: String,
    /// What the value was changed to, before it was written into its place.
    pub bytes: Vec<u8>,
}

/// Leaves out the bytes, because requests pass through log statements.
impl std::fmt::Debug for Form {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Form").field("key", &self.key).finish_non_exhaustive()
    }
}

/// The texts that are to be masked: the settings, by their names without `cfg.`, and the forms that a rendering gave
/// them. A setting that the template uses in scheme and host and nowhere else says where to send, and of it only what
/// stands beside scheme, host and port is masked. Texts of fewer than [`SECRET_BYTES_MIN`] bytes are left out.
pub fn secrets<'a>(
    uses: impl IntoIterator<Item = &'a Use, IntoIter: Clone>,
    settings: impl IntoIterator<Item = (impl AsRef<str>, &'a String)>,
    forms: &[Form],
) -> Vec<Vec<u8>> {
    let uses = uses.into_iter();
    let mut all = Vec::new();
    for (name, value) in settings {
        let own = |key: &str| key.strip_prefix("cfg.") == Some(name.as_ref());
        let mut places = uses.clone().filter(|used| own(&used.key)).map(|used| used.place).peekable();
        let is_place = places.peek().is_some()
            && places.all(|place| matches!(place, Place::Scheme | Place::Host | Place::Url));
        let forms = forms.iter().filter(|form| own(&form.key)).map(|form| form.bytes.as_slice());
        if !is_place {
            add(&mut all, value.as_bytes());
            forms.for_each(|form| add(&mut all, form));
        } else if add_beside_host(&mut all, value.as_bytes()) {
            for form in forms {
                // Behind a filter as base64 the host cannot be told from the rest any more.
                if !add_beside_host(&mut all, form) {
                    add(&mut all, form);
                }
            }
        }
    }
    forms.iter().filter(|form| form.key.is_empty()).for_each(|form| add(&mut all, &form.bytes));
    all
}

fn add(all: &mut Vec<Vec<u8>>, secret: &[u8]) {
    let mut add = |secret: Vec<u8>| {
        if secret.len() >= SECRET_BYTES_MIN && !all.contains(&secret) {
            all.push(secret);
        }
    };
    add(secret.to_vec());
    if secret.iter().any(u8::is_ascii_control) {
        // Headers and texts are written without control bytes.
        add(secret.iter().copied().filter(|byte| !byte.is_ascii_control()).collect());
    }
}

/// The pieces of a path or query from which on they are masked by themselves too, in bytes. Shorter ones are words
/// more often than tokens.
const PIECE_BYTES_MIN: usize = 8;

/// Adds what stands beside scheme, host and port: user and password, path, query. Returns whether there is any.
fn add_beside_host(all: &mut Vec<Vec<u8>>, value: &[u8]) -> bool {
    let start = value.windows(3).position(|three| three == b"://").map_or(0, |at| at + 3);
    let behind = &value[start..];
    let end = behind.iter().position(|byte| b"/?#\\".contains(byte)).unwrap_or(behind.len());
    let (authority, rest) = behind.split_at(end);
    let userinfo = authority.iter().rposition(|byte| *byte == b'@').map(|at| &authority[..at]);
    if let Some(userinfo) = userinfo {
        add(all, userinfo);
        userinfo.splitn(2, |byte| *byte == b':').for_each(|one| add(all, one));
    }
    let mut rest = rest;
    while let [b'/' | b'?' | b'#' | b'\\', more @ ..] = rest {
        rest = more;
    }
    while let [more @ .., b'/'] = rest {
        rest = more;
    }
    add(all, rest);
    // A receiver may tell them back one by one.
    let pieces = rest.split(|byte| b"/?#\\&=;".contains(byte));
    pieces.filter(|piece| piece.len() >= PIECE_BYTES_MIN).for_each(|piece| add(all, piece));
    userinfo.is_some() || !rest.is_empty()
}

#[cfg(test)]
mod tests {
    use super::super::{Parts, Sending, Template};
    use super::*;
    use std::collections::BTreeMap;

    const TOKEN: &str = "se+cret/Tok=en";

    /// The filled-in request as it is kept, and the request.
    fn kept(parts: Parts, settings: &[(&str, &str)]) -> (String, String) {
        let cfg: BTreeMap<String, String> =
            settings.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        let values: BTreeMap<String, super::super::Value<'_>> = cfg
            .iter()
            .map(|(name, value)| (format!("cfg.{name}"), super::super::Value::text(value.as_str())))
            .collect();
        let (template, _) = Template::parse(parts);
        let sent = template.render(&values, &Sending { attempt: 1, at_ms: 0, nonce: "n" });
        let secrets = secrets(template.macros(), &cfg, &sent.secrets);
        let mut text = sent.url.clone();
        for (name, value) in &sent.headers {
            text.push_str(&format!("\n{name}: {}", String::from_utf8_lossy(value)));
        }
        text.push_str(&String::from_utf8_lossy(sent.body.as_deref().unwrap_or_default()));
        let masked = crate::secret::masked(text.as_bytes(), &secrets, "***", false);
        (masked.map_or_else(|| text.clone(), |masked| String::from_utf8(masked).expect("text")), text)
    }

    #[test]
    fn every_filter_is_seen_through() {
        for filters in [
            "",
            "|upper",
            "|lower",
            "|b64",
            "|b64url",
            "|urlencode",
            "|json",
            "|raw",
            "|alphanumeric",
            "|truncate:9",
            "|urldecode",
            "|default:other",
            "|map:a=b",
            "|upper|b64",
            "|b64|lower",
            "|urlencode|urlencode|urlencode|urlencode",
            "|json|json|b64|json",
            "|lower|upper|urlencode",
        ] {
            let url = format!("https://h.example/p?a={{cfg.token{filters}}}&z");
            let (kept, sent) = kept(Parts::get(&url), &[("token", TOKEN)]);
            assert_eq!(kept, "https://h.example/p?a=***&z", "{filters}: {sent}");
        }
        // A hash says nothing of the secret, and an author's own word is none.
        for filters in ["|sha256", "|md5|upper", "|if:live,test", "|map:*=other"] {
            let url = format!("https://h.example/p?a={{cfg.token{filters}}}");
            let (kept, sent) = kept(Parts::get(&url), &[("token", TOKEN)]);
            assert_eq!(kept, sent, "{filters}");
        }
    }

    #[test]
    fn nested_urls_and_user_and_password_hide_nothing() {
        let url = "https://u:{cfg.token|upper}@h.example/?cb=https%3A%2F%2Fi.example%3Ft%3D%7Bcfg.token%7D%26u%3Dhttps%253A%252F%252Fj.example%253Fs%253D%257Bcfg.token%257Cupper%257D";
        let (kept, sent) = kept(Parts::get(url), &[("token", TOKEN)]);
        assert!(sent.contains("se%252Bcret") && sent.contains("SE%25252BCRET"), "{sent}");
        assert!(kept.contains("%3Ft%3D***%26u") && kept.contains("%253D***\n"), "{kept}");
        assert!(kept.ends_with("authorization: Basic ***"), "{kept}");
    }

    #[test]
    fn a_setting_is_a_place_only_where_it_is_nothing_else() {
        for (url, value, wanted) in [
            ("https://{cfg.at}/p?c={click_id}", "h.example:8443", "https://h.example:8443/p?c="),
            ("https://{cfg.at}/p?c={cfg.at}", "h.example", "https://***/p?c=***"),
            ("https://{cfg.at}.h.example/p?c={cfg.at|upper}", "t0ken", "https://***.h.example/p?c=***"),
            ("{cfg.at}/p", "https://h.example/", "https://h.example//p"),
            ("{cfg.at}/p", "https://h.example:1/v1/t0ken-t0ken", "https://h.example:1/***/p"),
            ("{cfg.at}/p", "https://h.example?k=t0ken", "https://h.example?***/p"),
            ("{cfg.at}/p", "https://us%3Aer:t0ken@h.example/", "https://***@h.example//p"),
            ("{cfg.at|lower}/p", "https://H.example/v1/T0ken", "https://h.example/***/p"),
        ] {
            assert_eq!(kept(Parts::get(url), &[("at", value)]).0, wanted, "{url} {value}");
        }
    }

    #[test]
    fn what_is_not_used_is_masked_and_nothing_is_kept_without_need() {
        let (template, _) = Template::parse(Parts::get(
            "https://h.example/?t={cfg.token}&u={cfg.token|urlencode}&h={cfg.token|sha1}&g={gaid|upper}",
        ));
        let sent = template.render(
            &[("cfg.token", TOKEN), ("gaid", "a-b-c-d")],
            &Sending { attempt: 1, at_ms: 0, nonce: "n" },
        );
        assert_eq!((sent.secrets.len(), sent.secrets.capacity()), (0, 0));
        let cfg =
            BTreeMap::from([("other".to_owned(), "echoed".to_owned()), ("no".to_owned(), "abc".to_owned())]);
        assert_eq!(secrets(template.macros(), &cfg, &[]), [b"echoed"]);
    }
}
