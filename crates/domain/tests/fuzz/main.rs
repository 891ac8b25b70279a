//! Templates against random input, in all dialects: what holds for every template and every value.
//!
//! `cargo test` tries a slice. As many as wanted: `FUZZ_INPUTS=10000000 cargo test --release -p roundtrip-domain
//! --test fuzz`. Inputs come from `FUZZ_SEED` (default 1) and their number, so each is the same on
//! every machine; a failure prints the seed of its input, and `FUZZ_SEED=… FUZZ_INPUTS=1` tries that one again.
//! What failed once goes into `FAILED_ONCE`, as the text it was.
//!
//! Not relied on for finding the smallest failing input: the properties beside the module shrink, this does not.

mod input;
mod known;

use self::input::{Pool, Rng, SENDING, mix, push_literal, wild_address, wild_parts};
use self::known::{Foreign, KNOWN, Known, Named};
use roundtrip_domain::params;
use roundtrip_domain::template::{
    BODY_BYTES_MAX, Body, Code, Dialect, FINDINGS_MAX, Finding, HEADER_BYTES_MAX, Parts, Place, Rendered,
    Scope, Template, URL_BYTES_MAX, UrlTemplate, Value, Values,
};
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::panic::{AssertUnwindSafe, catch_unwind};

/// How many inputs a plain `cargo test` tries.
const INPUTS_DEFAULT: u64 = if cfg!(debug_assertions) { 20_000 } else { 200_000 };

/// URL templates that failed once: dialect, text, and what was wrong then.
const FAILED_ONCE: &[(Dialect, &str, &str)] =
    &[(Dialect::Appsflyer, "https://p.example/?a={$\u{6fd5b}}", "panicked where a suffix is no ASCII")];

/// What goes wrong becomes a text; panics are caught by the loop.
type Checked = Result<(), String>;

macro_rules! holds {
    ($condition:expr, $($message:tt)+) => {
        if !$condition {
            return Err(format!("{}: {}", stringify!($condition), format!($($message)+)));
        }
    };
}

/// What an address or a line of a request is made of: nothing that could end it.
fn is_plain(text: &[u8]) -> bool {
    text.iter().all(u8::is_ascii_graphic)
}

fn check_findings(findings: &[Finding], texts: impl Fn(Place) -> Option<usize>) -> Checked {
    holds!(findings.len() <= FINDINGS_MAX, "{}", findings.len());
    for finding in findings {
        if let Some(len) = texts(finding.place) {
            holds!(finding.offset <= len, "{finding}");
        }
    }
    Ok(())
}

fn lines(text: &[u8]) -> usize {
    text.iter().filter(|byte| matches!(byte, b'\r' | b'\n')).count()
}

fn check_rendered(parts: &Parts, findings: &[Finding], pool: &Pool, rendered: &Rendered) -> Checked {
    holds!(rendered.url.len() <= URL_BYTES_MAX, "{}", rendered.url.len());
    holds!(is_plain(rendered.url.as_bytes()), "{}", rendered.url.escape_debug());
    for (name, value) in &rendered.headers {
        holds!(is_plain(name.as_bytes()) && !name.contains(':'), "{name:?}");
        holds!(value.iter().all(|byte| !byte.is_ascii_control() || *byte == b'\t'), "{name}: {value:?}");
        // User and password of the URL may be as long as a URL, and grow by a third.
        let most = if name == "authorization" { 2 * URL_BYTES_MAX } else { HEADER_BYTES_MAX };
        holds!(value.len() <= most, "{name}: {}", value.len());
    }
    if let Some(body) = &rendered.body {
        holds!(body.len() <= BODY_BYTES_MAX, "{}", body.len());
        match parts.body {
            Body::Text(ref text) => {
                holds!(lines(body) <= lines(text.as_bytes()), "{:?}", String::from_utf8_lossy(body));
            }
            Body::Form(_) => holds!(is_plain(body), "{:?}", String::from_utf8_lossy(body)),
            Body::Json(_) => {
                let is_sound = !rendered.too_long && !findings.iter().any(|f| f.code == Code::JsonInvalid);
                let read = serde_json::from_slice::<serde::de::IgnoredAny>(body);
                holds!(!is_sound || read.is_ok(), "{:?}", String::from_utf8_lossy(body));
            }
            Body::None => {}
        }
    }
    if pool.is_full {
        holds!(rendered.unexpanded.is_empty(), "{:?} of {}", rendered.unexpanded, rendered.url);
    }
    Ok(())
}

/// Whatever the text and the values are, there is a request that stays on its lines.
fn check_request(parts: Parts, pool: &Pool, again: bool) -> Checked {
    let (template, findings) = Template::parse(parts.clone());
    holds!(*template.source() == parts, "{parts:?}");
    check_findings(&findings, |place| match place {
        Place::Method | Place::Signature(_) | Place::Auth => None,
        Place::Header(index) => parts.headers.get(index).map(|(_, value)| value.len()),
        Place::Body => Some(parts.body.text().len()),
        _ => Some(parts.url.len()),
    })?;
    for used in template.macros() {
        holds!(!used.key.is_empty() && !used.key.starts_with("param.{"), "{used:?}");
    }
    let rendered = template.render(pool, &SENDING);
    check_rendered(&parts, &findings, pool, &rendered).map_err(|wrong| format!("{wrong}\nof {parts:?}"))?;
    if again {
        let (again, same) = Template::parse(template.source().clone());
        holds!(again == template && same == findings, "{parts:?}");
        holds!(again.render(pool, &SENDING) == rendered, "{parts:?}");
        holds!(template.to_string().contains(&parts.url), "{parts:?}");
    }
    Ok(())
}

/// What an address alone can be for; a request is for a postback.
const SCOPES: [&Scope; 3] = [&Scope::Destination, &Scope::Link, &Scope::Postback];

/// An address stays on its line, and a destination leads to no scheme that runs something.
fn check_address(text: &str, scope: Scope, pool: &Pool, dialect: Dialect) -> Checked {
    let (template, findings) = UrlTemplate::parse(text, scope, dialect);
    holds!(template.source() == text, "{text:?}");
    check_findings(&findings, |_| Some(text.len()))?;
    let rendered = template.render(pool, None);
    holds!(rendered.url.len() <= URL_BYTES_MAX, "{text:?}");
    holds!(is_plain(rendered.url.as_bytes()), "{text:?} became {:?}", rendered.url);
    holds!(!pool.is_full || rendered.unexpanded.is_empty(), "{text:?}: {:?}", rendered.unexpanded);
    if scope != Scope::Destination {
        return Ok(());
    }
    let scheme = rendered.url.split(':').next().unwrap_or_default().to_ascii_lowercase();
    holds!(!["javascript", "data", "vbscript", "file", "blob"].contains(&scheme.as_str()), "{text:?}");
    Ok(())
}

/// How a value is written in a path, query or form; worked out another way than the module does it.
fn written(value: &Value<'_>) -> String {
    let mut text = String::new();
    let Some(received) = &value.received else {
        push_encoded(&mut text, &value.decoded);
        return text;
    };
    // `+` is put aside as a character of its own, and everything else is decoded and encoded.
    for (index, run) in received.split(|byte| *byte == b'+').enumerate() {
        text.push_str(if index > 0 { "+" } else { "" });
        push_encoded(&mut text, &params::decode(run));
    }
    text
}

fn push_encoded(text: &mut String, decoded: &[u8]) {
    for byte in decoded {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => {
                text.push(char::from(*byte))
            }
            _ => {
                let _ = write!(text, "%{byte:02X}");
            }
        }
    }
}

/// Literal bytes survive, no macro stays, and each value is written where its macro stood, so that it decodes to
/// what it was.
fn check_known_request(rng: &mut Rng, pool: &Pool, names: &[&'static str]) -> Checked {
    let (mut url, mut expected) = ("https://p.example/".to_owned(), "https://p.example/".to_owned());
    let mut is_query = false;
    for _ in 0..1 + rng.below(6) {
        let mut literal = String::new();
        push_literal(rng, &mut literal);
        literal.push_str(match (is_query, rng.below(4)) {
            (false, 0 | 1) => "/",
            (false, 2) => "?a=",
            (true, 0 | 1) => "&k=",
            (true, 2) => "/?",
            _ => "",
        });
        is_query |= literal.contains('?');
        url.push_str(&literal);
        expected.push_str(&literal);
        let name = rng.pick(names);
        let value = pool.get(key_of(name)).unwrap_or_else(|| Value::text(""));
        let _ = write!(url, "{{{name}}}");
        let sent = written(&value);
        expected.push_str(&sent);
        match &value.received {
            Some(received) => {
                holds!(params::decode(sent.as_bytes()) == params::decode(received), "{received:?} as {sent}");
                holds!(
                    percent_decoded(sent.as_bytes()) == percent_decoded(received),
                    "{received:?} as {sent}"
                );
            }
            None => holds!(percent_decoded(sent.as_bytes()) == *value.decoded, "{value:?} as {sent}"),
        }
    }
    let mut end = String::new();
    push_literal(rng, &mut end);
    url.push_str(&end);
    expected.push_str(&end);
    let (template, _) = Template::parse(Parts::get(url.clone()));
    let rendered = template.render(pool, &SENDING);
    if rendered.too_long {
        // Cut at the bound, and never inside an escape.
        holds!(expected.starts_with(&rendered.url) && expected.len() > URL_BYTES_MAX, "{url}");
        holds!(URL_BYTES_MAX - rendered.url.len() < 3, "{url}");
        let rest = &expected[rendered.url.len()..];
        holds!(!rendered.url.ends_with('%') && rest.is_char_boundary(1), "{url}");
    } else {
        holds!(rendered.url == expected, "{url}: {} and not {expected}", rendered.url);
    }
    Ok(())
}

/// The name that values are asked for.
fn key_of(name: &str) -> &str {
    match name {
        "click_id" => "partner_click_id",
        "user_agent" => "ua",
        _ => name,
    }
}

/// Decodes percent escapes and leaves `+` as it is.
fn percent_decoded(bytes: &[u8]) -> Vec<u8> {
    percent_encoding::percent_decode(bytes).collect()
}

/// What an input is about, worked out from its seed.
struct Input {
    rng: Rng,
    pool: Pool,
    dialect: Dialect,
    kind: usize,
}

impl Input {
    fn of(seed: u64) -> Self {
        let mut rng = Rng(mix(seed));
        let pool = Pool::of(seed, &mut rng);
        let dialect = Dialect::ALL[rng.below(Dialect::ALL.len())];
        let kind = rng.below(8);
        Self { rng, pool, dialect, kind }
    }

    fn check(mut self, known: &Known) -> Checked {
        match self.kind {
            0 => check_known_request(&mut self.rng, &self.pool, &known.names),
            1 => {
                let words = &known.words[self.rng.below(known.words.len())];
                check_translation(&mut self.rng, &self.pool, words)
            }
            2 => {
                let text = wild_address(&mut self.rng);
                check_address(&text, *self.rng.pick(&SCOPES), &self.pool, self.dialect)
            }
            _ => {
                let parts = wild_parts(&mut self.rng, self.dialect);
                check_request(parts, &self.pool, self.rng.one_in(16))
            }
        }
    }

    /// The template, for a person who has to look into a panic.
    fn describe(mut self) -> String {
        match self.kind {
            0 | 1 => "a request of known words".to_owned(),
            2 => format!("{:?} {:?}", self.dialect, wild_address(&mut self.rng)),
            _ => format!("{:?}", wild_parts(&mut self.rng, self.dialect)),
        }
    }
}

/// A template in one system's words comes to the same as one in the canonical expressions they stand for.
fn check_translation(rng: &mut Rng, values: &dyn Values, words: &[Foreign]) -> Checked {
    let dialect = words[0].dialect;
    let (mut foreign, mut ours) = ("https://p.example/".to_owned(), "https://p.example/?".to_owned());
    foreign.push('?');
    for _ in 0..1 + rng.below(5) {
        let mut literal = "l=".to_owned();
        push_literal(rng, &mut literal);
        let one = &words[rng.below(words.len())];
        let _ = write!(foreign, "{literal}!&zz={}&", one.text);
        let _ = write!(ours, "{literal}!&zz={{{}}}&", one.expression);
    }
    let theirs = Template::parse(Parts { dialect, ..Parts::get(foreign.clone()) }).0;
    let ours = Template::parse(Parts::get(ours)).0;
    let (theirs, ours) = (theirs.render(values, &SENDING), ours.render(values, &SENDING));
    let is_same = theirs.url == ours.url;
    holds!(is_same, "{foreign} in {dialect:?}: {} and not {}", theirs.url, ours.url);
    Ok(())
}

fn number(name: &str, default: u64) -> u64 {
    match std::env::var(name) {
        Ok(text) => text.parse().unwrap_or_else(|_| panic!("{name} is not a number: {text}")),
        Err(_) => default,
    }
}

/// Tries one seed, and says which one it was before anything else is said.
fn try_seed(seed: u64, known: &Known) {
    match catch_unwind(AssertUnwindSafe(|| Input::of(seed).check(known))) {
        Ok(Ok(())) => {}
        Ok(Err(wrong)) => panic!("FUZZ_SEED={seed} FUZZ_INPUTS=1 fails: {wrong}"),
        Err(panic) => {
            let said = panic.downcast_ref::<String>().map(String::as_str);
            let said = said.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("no text");
            panic!("FUZZ_SEED={seed} FUZZ_INPUTS=1 panics: {said}\nof {}", Input::of(seed).describe());
        }
    }
}

#[test]
fn templates_hold_against_random_input() {
    let (seed, inputs) = (number("FUZZ_SEED", 1), number("FUZZ_INPUTS", INPUTS_DEFAULT));
    let known = &KNOWN;
    (seed..seed.saturating_add(inputs)).for_each(|seed| try_seed(seed, known));
}

#[test]
fn what_failed_once_holds() {
    let pool = Pool::of(0, &mut Rng(1));
    for (dialect, text, wrong) in FAILED_ONCE {
        for body in [Body::Form((*text).into()), Body::Json((*text).into()), Body::Text((*text).into())] {
            let parts = Parts {
                dialect: *dialect,
                method: "POST".into(),
                headers: vec![("X-A".into(), (*text).into())],
                body,
                ..Parts::get(*text)
            };
            let checked = check_request(parts, &pool, true);
            assert_eq!(checked, Ok(()), "{wrong}");
        }
        for scope in SCOPES {
            assert_eq!(check_address(text, *scope, &pool, *dialect), Ok(()), "{wrong}");
        }
    }
}

/// Every word of every system is a macro in some brackets, and comes to what it is said to stand for.
#[test]
fn all_words_of_all_dialects_are_read() {
    let mut wrong = KNOWN.lost.clone();
    for word in KNOWN.words.iter().flatten() {
        let told = format!("{:?}: {} is not {}", word.dialect, word.text, word.expression);
        let checked = check_translation(&mut Rng(4), &Named, std::slice::from_ref(word));
        wrong.extend(checked.err().map(|_| told));
    }
    assert!(wrong.is_empty(), "{} words: {wrong:#?}", wrong.len());
}

/// The generator would be worth nothing if it hardly ever made macros, or always the same.
#[test]
fn the_inputs_are_worth_trying() {
    let mut seen: BTreeMap<&str, usize> = BTreeMap::new();
    for seed in 0..2_000 {
        let mut rng = Rng(mix(seed));
        let parts = wild_parts(&mut rng, Dialect::Canonical);
        let (template, findings) = Template::parse(parts);
        let mut count = |what, holds| *seen.entry(what).or_default() += usize::from(holds);
        count("savable", findings.iter().all(|finding| finding.severity.as_str() != "error"));
        count("macros in the URL", template.url().macros().next().is_some());
        count("macros elsewhere", template.macros().count() > template.url().macros().count());
        count("signatures", template.macros().any(|used| matches!(used.place, Place::Signature(_))));
        for finding in findings {
            *seen.entry(finding.code.as_str()).or_default() += 1;
        }
    }
    for what in
        ["savable", "macros in the URL", "macros elsewhere", "signatures", "macro_unclosed", "json_invalid"]
    {
        assert!(seen.get(what).is_some_and(|count| *count >= 20), "{what}: {seen:?}");
    }
}
