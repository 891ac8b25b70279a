//! Webhooks: judged, and what signs for them settled and stored.
//!
//! Not relied on for privacy of what is stored: what signs has to be known in full at each send, so the ledger's file
//! holds it. No document, diff, log line or answer shows it again.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use roundtrip_domain::id::Id;
use roundtrip_domain::problem::Code;
use roundtrip_domain::retry::Receiver;
use roundtrip_domain::template::is_framing_header;
use roundtrip_domain::time::{Span, Timestamp};
use roundtrip_domain::webhook::sign::{
    OVERLAP_DEFAULT_MS, OVERLAP_MAX_MS, OlderKey, OlderSecret, PlainHeader, Refused, Secret as Signer,
    Signing, SigningKey,
};
use roundtrip_domain::webhook::{self, Topic, Unwanted, Wanted, is_slack};
use serde_json::{Value, json};

use super::ResourceKind as Kind;
use super::document::{self, WebhookForm};
use super::form;
use super::judge::{Entry, Judge};
use super::likely::hint;
use super::plan::Step;
use super::retry::{HowSent, Success};
use super::secret::{MASK, Secret, is_indirect};
use crate::payload;

/// Most headers of its own that a webhook has.
const HEADERS_MAX: usize = 32;
/// Longest value of one, in bytes.
const HEADER_BYTES_MAX: usize = 4_096;
/// Longest URL, in bytes.
const URL_BYTES_MAX: usize = 2_048;

/// A webhook's URL as it is shown: of a Slack hook the path is the secret, and so is what stands behind a question
/// mark. Sent back in a document, it means "as it is".
pub fn url_shown(url: &str) -> String {
    let Ok(parsed) = url::Url::parse(url) else { return url.to_owned() };
    if is_slack(url) {
        return format!("{}/{MASK}", parsed.origin().ascii_serialization());
    }
    match url.split_once('?') {
        Some((before, _)) => format!("{before}?{MASK}"),
        None => url.to_owned(),
    }
}

/// Writes what signs, for the stored form.
pub(super) fn signing_write(signing: &Signing) -> Value {
    let older = |older: &OlderSecret| json!({ "secret": older.secret.shown(), "until": older.until.ms(), "cut_over": older.cut_over.ms() });
    let older_key = |older: &OlderKey| json!({ "key": older.key.shown(), "until": older.until.ms() });
    json!({
        "secret": signing.secret.shown(),
        "older": signing.older_secrets.iter().map(older).collect::<Vec<_>>(),
        "key": signing.key.as_ref().map(SigningKey::shown),
        "older_keys": signing.older_keys.iter().map(older_key).collect::<Vec<_>>(),
        "header": signing.plain_header.as_str(),
    })
}

/// Reads it back. The error names what is wrong and never a value.
pub(super) fn signing_read(value: Value) -> Result<Signing, String> {
    #[derive(serde::Deserialize)]
    struct Row {
        secret: String,
        older: Vec<Older>,
        key: Option<String>,
        older_keys: Vec<OldKey>,
        header: String,
    }
    #[derive(serde::Deserialize)]
    struct Older {
        secret: String,
        until: i64,
        cut_over: i64,
    }
    #[derive(serde::Deserialize)]
    struct OldKey {
        key: String,
        until: i64,
    }
    let row: Row = serde_json::from_value(value).map_err(|_| "what signs has another form")?;
    let secret = |text: &str| Signer::parse(text).map_err(|error| error.to_string());
    let key = |text: &str| SigningKey::parse(text).map_err(|error| error.to_string());
    let older = |older: &Older| -> Result<OlderSecret, String> {
        let (until, cut_over) = (Timestamp::from_ms(older.until), Timestamp::from_ms(older.cut_over));
        Ok(OlderSecret { secret: secret(&older.secret)?, until, cut_over })
    };
    let older_key = |older: &OldKey| -> Result<OlderKey, String> {
        Ok(OlderKey { key: key(&older.key)?, until: Timestamp::from_ms(older.until) })
    };
    Ok(Signing {
        secret: secret(&row.secret)?,
        older_secrets: row.older.iter().map(older).collect::<Result<_, _>>()?,
        key: row.key.as_deref().map(key).transpose()?,
        older_keys: row.older_keys.iter().map(older_key).collect::<Result<_, _>>()?,
        plain_header: PlainHeader::parse(&row.header).map_err(|error| error.to_string())?,
    })
}

/// Which code a refused rotation has.
const fn code_of(refused: Refused) -> Code {
    match refused {
        Refused::TooMany { .. } => Code::RotationRefused,
        Refused::Overlap => Code::ConfigInvalid,
    }
}

impl Step<'_> {
    /// Settles what signs: what was there, what is new, and what overlaps. A secret that was made is shown.
    pub(super) fn signing(&mut self, doc: &mut document::Webhook) -> (Signing, Option<String>) {
        let now = self.world.at;
        let overlap_ms = doc
            .overlap
            .as_deref()
            .and_then(Span::parse)
            .map_or(OVERLAP_DEFAULT_MS, Span::ms)
            .clamp(0, OVERLAP_MAX_MS);
        let given = self.given("secret", doc.secret.take(), Signer::parse);
        let given_key = self.given("ed25519_key", doc.ed25519_key.take(), SigningKey::parse);
        let fresh = || {
            let mut bytes = [0; 32];
            self.world.entropy.fill(&mut bytes);
            bytes
        };
        let mut made = None;
        let mut signing = match self.old.and_then(|old| old.signing.clone()) {
            Some(signing) => signing,
            None => {
                let secret = given.clone().unwrap_or_else(|| {
                    let secret = Signer::generate(fresh());
                    made = Some(secret.shown().to_owned());
                    secret
                });
                Signing::new(secret)
            }
        };
        let key = match (doc.ed25519, given_key) {
            (false, _) => None,
            (true, Some(key)) => Some(key),
            (true, None) => signing.key.clone().or_else(|| Some(SigningKey::generate(fresh()))),
        };
        if let Some(secret) = given.filter(|given| *given != signing.secret)
            && let Err(refused) = signing.rotate_secret(secret, overlap_ms, now)
        {
            self.wrong(code_of(refused), "secret", &refused.to_string());
        }
        if key != signing.key
            && let Err(refused) = signing.rotate_key(key, overlap_ms, now)
        {
            self.wrong(code_of(refused), "ed25519", &refused.to_string());
        }
        if let Some(at) = doc.cut_over.as_deref().and_then(Timestamp::parse) {
            signing.cut_over(at);
        }
        if let Some(name) = &doc.signature_header {
            match PlainHeader::parse(name) {
                Ok(header) => signing.plain_header = header,
                Err(error) => self.wrong(Code::ConfigInvalid, "signature_header", &error.to_string()),
            }
        } else {
            signing.plain_header = PlainHeader::default();
        }
        (signing, made)
    }

    /// A secret that the document brings; `None` when it brings none, or the mask of the one that is there.
    fn given<T>(
        &mut self,
        field: &str,
        secret: Option<Secret>,
        parse: impl Fn(&str) -> Result<T, webhook::sign::Invalid>,
    ) -> Option<T> {
        let Secret(text) = secret.filter(|Secret(text)| text != MASK || self.old.is_none())?;
        if is_indirect(&text) {
            let message = "env: and file: are read by `roundtrip apply`, never by the server";
            self.wrong(Code::SecretInvalid, field, message);
            return None;
        }
        match parse(&text) {
            Ok(parsed) => Some(parsed),
            Err(error) => {
                self.wrong(Code::SecretInvalid, field, &error.to_string());
                None
            }
        }
    }
}

/// What a receiver needs to check `v1a`: the public half, `whpk_…`.
pub fn public_key(signing: &Signing) -> Option<String> {
    signing.key.as_ref().map(SigningKey::public)
}

/// A new secret from random bytes, as it is shown.
pub fn new_secret(entropy: [u8; 32]) -> String {
    format!("whsec_{}", STANDARD.encode(entropy))
}

impl Judge<'_> {
    pub(super) fn webhook(&mut self, entry: &Entry, doc: &document::Webhook) -> Option<webhook::Webhook> {
        let app = doc.app.as_ref().map(|slug| self.refer(entry, "app", Kind::App, slug));
        let url = self.webhook_url(entry, &doc.url);
        let wanted = self.wanted(entry, &doc.events);
        self.overlap(entry, doc);
        let slack = is_slack(&doc.url);
        for (field, is_set) in [
            ("form", doc.form != WebhookForm::Full),
            ("without", !doc.without.is_empty()),
            ("headers", !doc.headers.is_empty()),
        ] {
            if slack && is_set {
                let message = "Slack's hooks take messages and nothing else, so this says nothing there";
                self.wrong(entry, Code::ConfigInvalid, field, message);
            }
        }
        for (index, path) in doc.without.iter().enumerate() {
            if !payload::PATHS.contains(&path.as_str()) {
                let likely = hint(path, payload::PATHS.iter().copied());
                let message = format!("`{path}` is no part of a body that can be left out{likely}");
                self.wrong(entry, Code::ConfigInvalid, &format!("without[{index}]"), message);
            }
        }
        let headers = self.webhook_headers(entry, doc);
        let how = HowSent { retry: &doc.retry, timeout: doc.timeout.as_ref(), success: &Success::default() };
        let retry = self.retry(entry, how, Receiver::Webhook);
        let app = match app {
            None => None,
            Some(target) => Some(Id::from_bits(target?.id)),
        };
        Some(webhook::Webhook {
            id: Id::from_bits(entry.id),
            slug: entry.slug.clone(),
            version: entry.version,
            app,
            url: url?,
            wanted: wanted?,
            form: match doc.form {
                WebhookForm::Full => webhook::Form::Full,
                WebhookForm::Thin => webhook::Form::Thin,
            },
            without: doc.without.clone(),
            headers,
            signing: entry.stored.signing.clone()?,
            sandbox: doc.sandbox,
            pending: doc.pending,
            rate: self.rate(entry, doc.rate),
            retry,
        })
    }

    fn webhook_url(&mut self, entry: &Entry, text: &str) -> Option<String> {
        let url = url::Url::parse(text).ok().filter(|url| {
            matches!(url.scheme(), "https" | "http") && url.host().is_some() && text.len() <= URL_BYTES_MAX
        });
        let Some(url) = url else {
            let message =
                "it is a URL with a host, such as https://api.example.com/hooks, of at most 2,048 bytes";
            self.wrong(entry, Code::ConfigInvalid, "url", message);
            return None;
        };
        if url.scheme() == "http" {
            let message = "plain http: everyone on the way reads it, and it is sent only where the operator allows that";
            self.warn(
                entry,
                "plain_http",
                roundtrip_domain::template::Severity::Warning,
                "url",
                message.to_owned(),
            );
        }
        Some(url.to_string())
    }

    fn wanted(&mut self, entry: &Entry, words: &[String]) -> Option<Wanted> {
        for (index, name) in
            words.iter().enumerate().filter_map(|(i, w)| Some((i, w.strip_prefix("event:")?)))
        {
            if !name.is_empty() && !form::is_event_name(name) {
                let message = "an event's name is 1 to 128 characters without control characters";
                self.wrong(entry, Code::ConfigInvalid, &format!("events[{index}]"), message);
            }
        }
        let wrong = match Wanted::parse(words) {
            Ok(wanted) => return Some(wanted),
            Err(wrong) => wrong,
        };
        for (index, why) in wrong {
            let word = words.get(index).map_or("", String::as_str);
            let message = match why {
                Unwanted::Unknown => {
                    let likely = hint(word, Topic::ALL.iter().map(|topic| topic.name()));
                    format!(
                        "`{word}` is nothing that can be told{likely}; an event by name is `event:{word}`"
                    )
                }
                Unwanted::NameMissing => "`event:` is followed by the event's name".to_owned(),
                Unwanted::NotDecided => {
                    format!("this release decides nothing of `{word}`, so nothing would ever be told")
                }
            };
            self.wrong(entry, Code::ConfigInvalid, &format!("events[{index}]"), message);
        }
        None
    }

    fn overlap(&mut self, entry: &Entry, doc: &document::Webhook) {
        let is_bad =
            |text: &String| Span::parse(text).is_none_or(|span| !(0..=OVERLAP_MAX_MS).contains(&span.ms()));
        if doc.overlap.as_ref().is_some_and(is_bad) {
            let message =
                "an overlap is a duration of at most 30d, such as `24h`; `0s` ends the old secret at once";
            self.wrong(entry, Code::ConfigInvalid, "overlap", message);
        }
        if doc.cut_over.as_deref().is_some_and(|text| Timestamp::parse(text).is_none()) {
            let message = "it is a time such as 2026-06-04T12:00:00Z";
            self.wrong(entry, Code::ConfigInvalid, "cut_over", message);
        }
        if doc.ed25519_key.is_some() && !doc.ed25519 {
            let message = "a private key is used only with `ed25519 = true`";
            self.wrong(entry, Code::ConfigInvalid, "ed25519_key", message);
        }
    }

    fn webhook_headers(&mut self, entry: &Entry, doc: &document::Webhook) -> Vec<(String, String)> {
        if doc.headers.len() > HEADERS_MAX {
            let message = format!("a webhook has at most {HEADERS_MAX} headers of its own");
            self.wrong(entry, Code::ConfigInvalid, "headers", message);
        }
        let signature = doc.signature_header.as_deref().unwrap_or(webhook::sign::PLAIN_HEADER);
        let mut headers = Vec::new();
        for (name, Secret(value)) in &doc.headers {
            let field = format!("headers.{name}");
            let lower = name.to_ascii_lowercase();
            let is_token = |b: u8| b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&b);
            if name.is_empty() || name.len() > 64 || !name.bytes().all(is_token) {
                let message = "a header's name is at most 64 letters, digits and `-`";
                self.wrong(entry, Code::ConfigInvalid, &field, message);
            } else if is_framing_header(&lower)
                || ["content-type", "user-agent"].contains(&lower.as_str())
                || lower.starts_with("webhook-")
                || lower.starts_with("x-roundtrip-")
                || lower == signature.to_ascii_lowercase()
            {
                self.wrong(entry, Code::ConfigInvalid, &field, "the sender sets this header itself");
            }
            if is_indirect(value) {
                let message = "env: and file: are read by `roundtrip apply`, never by the server";
                self.wrong(entry, Code::SecretInvalid, &field, message);
            } else if value.len() > HEADER_BYTES_MAX
                || !value.bytes().all(|b| b == b' ' || b.is_ascii_graphic())
            {
                let message = "a header's value is at most 4,096 printable ASCII characters";
                self.wrong(entry, Code::ConfigInvalid, &field, message);
            }
            headers.push((lower, value.clone()));
        }
        headers
    }
}
