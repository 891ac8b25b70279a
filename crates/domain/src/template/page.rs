//! The page of all macros, filters, signatures and findings, in Markdown: `docs/macros.md`. A test compares.

mod dialects;

pub use self::dialects::dialects;

use super::finding::Code;
use super::sign::{DEFAULT_NAME, Encoding, Hash, SIGNATURES_MAX};
use super::vocabulary::{Availability, FAMILIES, Macro, VOCABULARY};

const HEAD: &str = "# Macros\n\n\
A template is text with macros in it: `https://partner.example/p?clickid={click_id}&sum={revenue}`. It is parsed once \
when it is saved; what is odd about it is a *finding* then. This page is generated from the code \
(`crates/domain/src/template/`); a test compares. Try a template with `roundtrip template test`.\n\n\
## Rules\n\n\
- `{x}` percent-encodes the value in a URL or form, escapes it inside a JSON string, and never carries a line \
break into a header. `{x|raw}` gives the very bytes that were received.\n\
- A missing value is empty. An unknown macro is a parameter of the click's link of that name; if the link had none it \
keeps its text. Both are findings when the template is saved.\n\
- `{a||b}` is the first one that is not empty.\n\
- Macros work in path, query, headers and body. In scheme, host and port only a partner's own settings (`{cfg.name}`) \
may stand.\n\
- In a postback `{click_id}` is the partner's click id; in a destination (landing page, deep link) it is Roundtrip's. \
`{partner_click_id}` and `{rt_click_id}` always say which one.\n\
- In a postback, a parameter's value that is itself a percent-encoded URL is filled in too: its values are encoded once \
more for each URL around them. In destinations such a value keeps its bytes.\n\
- A template can be written in another system's words: see [dialects.md](dialects.md).\n\
- *money* is empty unless the rule shares revenue. *winner* is empty for a partner that is told of a conversion that it \
did not win.\n\n";

const FILTERS: &str = "## Filters\n\n\
`{x|filter}`, at most eight in a row: `{gaid|lower|sha1}`. `\\` escapes `|`, `}`, `,` and `\\` in an argument. A filter \
that cannot be used empties its macro. A value that is missing stays missing, but for `default`, `map`, `if`, `bool` \
and `not`.\n\n\
| filter | gives |\n| --- | --- |\n\
| `raw` | the received bytes, unchanged |\n\
| `lower`, `upper`, `alphanumeric` | the text in lower or upper case, or only its letters and digits |\n\
| `sha1`, `sha256`, `md5` | the hash, lower-case hex; of nothing, nothing |\n\
| `b64`, `b64url` | Base64, the standard or the URL alphabet |\n\
| `urlencode`, `urldecode` | percent-encoded once more, or decoded once more (`+` stays) |\n\
| `json` | as it stands between the quotes of a JSON string; a JSON body does that by itself |\n\
| `default:text` | the text when the value is missing |\n\
| `map:a=1,b=2,*=0` | the mapped value; `*` for all others |\n\
| `if:then,else` | the first text when the value says yes, else the second (nothing without one). Missing, empty, `0`, \
`false` and `no` say no |\n\
| `bool`, `not` | `1` when the value says yes and `0` when not; or the reverse |\n\
| `date:%Y-%m-%d,Europe/Berlin` | a time in that form and zone (UTC without one) |\n\
| `s`, `ms` | a time as unix seconds or milliseconds |\n\
| `cents` | a decimal amount times 100, rounded half to even. `{revenue_minor}` minds the currency, this does not |\n\
| `truncate:40` | at most that many characters |\n\n\
A time is RFC 3339, unix seconds or unix milliseconds; what only looks like a number is milliseconds from 10^11 on. \
A date's format with a `%` in it is strftime's (`%Y-%m-%d %H:%M`); one without is PHP's (`Y-m-d H:i:s`), where `\\` \
makes a letter plain and letters that PHP does not have are refused. Zones are IANA names.\n\n\
## Received bytes\n\n\
A link's parameter goes back so that the partner decodes what it sent, whichever way it decodes. In a path, query or \
form a bare `+` stays `+` (some read it as a space and some do not), `%2B` stays `%2B`, and bytes that are no UTF-8 \
stay what they are; only the case of an escape, or an escape that was not needed, can differ. In JSON, text and headers \
it is the decoded value, where `+` is a space. A filter that changes the value works on the decoded one.\n\n";

/// How a signature reads in a settings file; what the words are is taken from the code.
fn signatures() -> String {
    let words = |words: Vec<&str>| format!("`{}`", words.join("`, `"));
    let hashes = words(Hash::ALL.iter().map(|hash| hash.as_str()).collect());
    let encodings = words(Encoding::ALL.iter().map(|encoding| encoding.as_str()).collect());
    format!(
        "## Signatures\n\n\
A template can have up to {SIGNATURES_MAX} signatures, each with a name. The one called `{DEFAULT_NAME}` is \
`{{signature}}`; each is `{{signature.NAME}}`, in the URL, a header or the body. They are made anew for each attempt, in \
order, of the values of that very request, and a later one can cover an earlier one.\n\n\
| part | |\n| --- | --- |\n\
| hash | {hashes} |\n\
| message | text with macros, put in as they are, with no encoding. `{{body}}` is the body as it is sent, \
`{{signature.NAME}}` an earlier signature. Or a list of such texts and what stands between them: one with a macro that is \
empty is left out |\n\
| key | for `hmac-…`: the partner's setting that holds it, as `cfg.secret` |\n\
| encoding | {encodings}; `base64url` is without padding |\n\n\
A signature covers decoded values: `a%2Fb` in the URL is `a/b` in the message, and `+` is a space. `{{x|raw}}` puts in the \
very bytes that were received, and `{{x|urlencode}}` encodes the value.\n\n\
A key cannot stand in the request. Without one the signature is empty and reported as missing. A signature that covers \
`{{body}}` cannot stand in the body.\n\n"
    )
}

/// The page.
pub fn page() -> String {
    let mut page = String::from(HEAD);
    page.push_str(FILTERS);
    page.push_str(&signatures());
    page.push_str("## Macros\n\n| macro | what it stands for | example | |\n| --- | --- | --- | --- |\n");
    for m in VOCABULARY.iter().filter(|m| m.availability != Availability::Later) {
        page.push_str(&row(m, ""));
    }
    for m in FAMILIES {
        page.push_str(&row(m, "NAME"));
    }
    page.push_str("\n## Known, and empty in this version\n\n");
    let later: Vec<String> = VOCABULARY
        .iter()
        .filter(|m| m.availability == Availability::Later)
        .map(|m| format!("`{{{}}}` ({})", m.name, m.meaning))
        .collect();
    page.push_str(&later.join(", "));
    page.push_str(".\n\n## Findings\n\nErrors keep a template from being saved.\n\n| code | severity | says |\n| --- | --- | --- |\n");
    for code in Code::ALL {
        page.push_str(&format!(
            "| `{}` | {} | {} |\n",
            code.as_str(),
            code.severity().as_str(),
            code.meaning()
        ));
    }
    page
}

fn row(m: &Macro, family: &str) -> String {
    let mut marks = Vec::new();
    if m.availability == Availability::Click {
        marks.push("also in destinations");
    }
    if m.availability == Availability::Sending {
        marks.push("new for each attempt");
    }
    if m.money {
        marks.push("money");
    }
    if m.winner_only {
        marks.push("winner");
    }
    format!("| `{{{}{family}}}` | {} | `{}` | {} |\n", m.name, m.meaning, m.example, marks.join(", "))
}

#[cfg(test)]
mod tests {
    /// Compares a page with the one in `docs/`, or writes it there.
    #[track_caller]
    pub(super) fn compare(name: &str, page: &str) {
        let path = format!("{}/../../docs/{name}", env!("CARGO_MANIFEST_DIR"));
        if std::env::var_os("UPDATE_DOCS").is_some() {
            std::fs::write(&path, page).unwrap();
        }
        let written = std::fs::read_to_string(&path).unwrap_or_default();
        assert!(
            written == page,
            "docs/{name} is stale: run UPDATE_DOCS=1 cargo test -p roundtrip-domain page"
        );
    }

    #[test]
    fn the_page_in_docs_is_the_generated_one() {
        compare("macros.md", &super::page());
    }

    #[test]
    fn every_filter_is_on_the_page() {
        for name in super::super::filter::NAMES {
            // Alone, or with an example of its argument.
            let is_named = |end: &str| super::FILTERS.contains(&format!("`{name}{end}"));
            assert!(is_named("`") || is_named(":"), "{name}");
        }
    }

    #[test]
    fn every_hash_and_encoding_is_on_the_page() {
        use super::super::sign::{Encoding, Hash};
        let page = super::page();
        let words = Hash::ALL.iter().map(|h| h.as_str()).chain(Encoding::ALL.iter().map(|e| e.as_str()));
        for word in words {
            assert!(page.contains(&format!("`{word}`")), "{word}");
        }
    }
}
