//! Signatures that a template computes: `{signature}` and `{signature.NAME}`.
//!
//! A [`Scheme`] says what is hashed, with which key, and how the result is written. It is worked out anew for each
//! sending, of the same values as the request, so that a `{timestamp}`, `{nonce}` or body in it is the one that is
//! sent. Signatures are made in the order in which they are named and a later one may cover an earlier one; one
//! that covers the body is made after it and cannot stand in it.
//!
//! The message is canonical text whose values are put in as they are, with no encoding: `raw` gives the received
//! bytes, `urlencode` encodes. A signature whose key the partner has not set is empty, and is reported as missing.
//!
//! Not relied on: this signs what is told to partners in *their* schemes. The signatures of webhooks and of clicks
//! that come in are made and checked elsewhere, and nothing here compares secrets.

use super::expression::{Expression, Piece, Reading};
use super::fill::{Context, Found, Report};
use super::finding::Findings;
use super::request::Use;
use super::{BODY_BYTES_MAX, Code, Finding, Place, Scope, Value};
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use hmac::{Hmac, KeyInit, Mac as _};
use sha1::Digest as _;
use std::borrow::Cow;

/// Most signatures one template can have.
pub const SIGNATURES_MAX: usize = 8;
/// Longest text of one message, and of what joins its parts, in bytes.
pub const MESSAGE_BYTES_MAX: usize = 8 * 1024;
/// Most parts of a joined message.
pub const MESSAGE_PARTS_MAX: usize = 64;
/// The name whose signature is `{signature}`.
pub const DEFAULT_NAME: &str = "signature";

/// Longest name of a signature, in bytes.
const NAME_BYTES_MAX: usize = 32;
/// Longest message that is signed once its macros are filled: a body and what stands around it.
const FILLED_BYTES_MAX: usize = BODY_BYTES_MAX + 8 * MESSAGE_BYTES_MAX;

/// What turns a message into a signature.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Hash {
    /// MD5 of the message.
    Md5,
    /// SHA-1 of the message.
    Sha1,
    /// SHA-256 of the message.
    Sha256,
    /// SHA-512 of the message.
    Sha512,
    /// HMAC with MD5.
    HmacMd5,
    /// HMAC with SHA-1.
    HmacSha1,
    /// HMAC with SHA-256.
    #[default]
    HmacSha256,
    /// HMAC with SHA-512.
    HmacSha512,
}

impl Hash {
    /// All of them, in the order in which they are listed to people.
    pub const ALL: &'static [Self] = &[
        Self::HmacSha256,
        Self::HmacSha1,
        Self::HmacSha512,
        Self::HmacMd5,
        Self::Sha256,
        Self::Sha1,
        Self::Sha512,
        Self::Md5,
    ];

    /// The stable word in configuration and stored rules.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Md5 => "md5",
            Self::Sha1 => "sha1",
            Self::Sha256 => "sha256",
            Self::Sha512 => "sha512",
            Self::HmacMd5 => "hmac-md5",
            Self::HmacSha1 => "hmac-sha1",
            Self::HmacSha256 => "hmac-sha256",
            Self::HmacSha512 => "hmac-sha512",
        }
    }

    /// Reads the stable word back.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|hash| hash.as_str() == name)
    }

    /// Whether it is made with a key beside the message.
    pub const fn has_key(self) -> bool {
        matches!(self, Self::HmacMd5 | Self::HmacSha1 | Self::HmacSha256 | Self::HmacSha512)
    }

    fn digest(self, key: &[u8], message: &[u8]) -> Option<Vec<u8>> {
        macro_rules! hmac {
            ($hash:ty) => {{
                // A key of any length will do; there is no error to pass on.
                let mut mac = Hmac::<$hash>::new_from_slice(key).ok()?;
                mac.update(message);
                mac.finalize().into_bytes().to_vec()
            }};
        }
        Some(match self {
            Self::Md5 => md5::Md5::digest(message).to_vec(),
            Self::Sha1 => sha1::Sha1::digest(message).to_vec(),
            Self::Sha256 => sha2::Sha256::digest(message).to_vec(),
            Self::Sha512 => sha2::Sha512::digest(message).to_vec(),
            Self::HmacMd5 => hmac!(md5::Md5),
            Self::HmacSha1 => hmac!(sha1::Sha1),
            Self::HmacSha256 => hmac!(sha2::Sha256),
            Self::HmacSha512 => hmac!(sha2::Sha512),
        })
    }
}

/// How a signature's bytes are written.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Encoding {
    /// Lower-case hex.
    #[default]
    Hex,
    /// Upper-case hex.
    HexUpper,
    /// Base64 of the standard alphabet, padded.
    Base64,
    /// Base64 of the URL alphabet, without padding.
    Base64Url,
}

impl Encoding {
    /// All of them, in the order in which they are listed to people.
    pub const ALL: &'static [Self] = &[Self::Hex, Self::HexUpper, Self::Base64, Self::Base64Url];

    /// The stable word in configuration and stored rules.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Hex => "hex",
            Self::HexUpper => "hex-upper",
            Self::Base64 => "base64",
            Self::Base64Url => "base64url",
        }
    }

    /// Reads the stable word back.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|encoding| encoding.as_str() == name)
    }

    fn write(self, bytes: &[u8]) -> String {
        match self {
            Self::Hex => hex::encode(bytes),
            Self::HexUpper => hex::encode_upper(bytes),
            Self::Base64 => STANDARD.encode(bytes),
            Self::Base64Url => URL_SAFE_NO_PAD.encode(bytes),
        }
    }
}

/// What is signed, in canonical macros. `{body}` is the body as it is sent, `{signature.NAME}` an earlier signature.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Message {
    /// One text; a macro without a value is empty in it.
    Text(String),
    /// Several, with a text between each two. One with a macro that is empty is left out, and what would have stood
    /// beside it too.
    Join {
        /// What stands between two parts; may be empty.
        by: String,
        /// The parts.
        parts: Vec<String>,
    },
}

impl Default for Message {
    fn default() -> Self {
        Self::Text(String::new())
    }
}

/// How a signature is made, as its author wrote it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Scheme {
    /// What is made of the message.
    pub hash: Hash,
    /// What is signed.
    pub message: Message,
    /// The partner's setting that holds the key, as `cfg.secret`; only where the hash takes one. Its bytes are the
    /// key, and an empty one is a key too.
    pub key: Option<String>,
    /// How it is written.
    pub encoding: Encoding,
}

impl Scheme {
    /// What is wrong with it, whatever it is called and stands beside.
    fn faults(&self) -> Vec<String> {
        let mut faults = Vec::new();
        let hash = self.hash.as_str();
        match (&self.key, self.hash.has_key()) {
            (None, true) => {
                faults.push(format!("`{hash}` needs a key: the name of a setting, as `cfg.secret`"));
            }
            (Some(_), false) => {
                faults.push(format!("`{hash}` takes no key; write the setting into the message"));
            }
            (Some(key), true) if !key.strip_prefix("cfg.").is_some_and(is_setting_name) => {
                let shown = key.escape_debug();
                faults.push(format!("`{shown}` is no key: only a partner's setting is one, as `cfg.secret`"));
            }
            _ => {}
        }
        let (by, texts) = match &self.message {
            Message::Text(text) => (0, std::slice::from_ref(text)),
            Message::Join { by, parts } => (by.len(), parts.as_slice()),
        };
        let bytes = texts.iter().map(String::len).sum::<usize>();
        if by + bytes > MESSAGE_BYTES_MAX || texts.len() > MESSAGE_PARTS_MAX {
            faults.push(format!(
                "its message is longer than {MESSAGE_BYTES_MAX} bytes or {MESSAGE_PARTS_MAX} parts"
            ));
        } else if bytes == 0 {
            faults.push("it has no message".to_owned());
        }
        faults
    }
}

/// A stretch of a message.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Stretch {
    Text(String),
    Fill(Expression),
}

/// A scheme, read.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Signature {
    name: String,
    hash: Hash,
    encoding: Encoding,
    key: Option<String>,
    /// What stands between two parts; `None` for a message that is one text.
    by: Option<String>,
    parts: Vec<Vec<Stretch>>,
    covers_body: bool,
    /// It cannot be made, and is empty.
    is_broken: bool,
}

/// All signatures of a template, read.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Signatures {
    list: Vec<Signature>,
    uses: Vec<Use>,
}

/// Signatures of one sending, so far, and the body that later ones cover.
#[derive(Debug, Default)]
pub(super) struct Signed<'a> {
    made: Vec<(&'a str, String)>,
    body: Option<&'a [u8]>,
}

impl<'a> Signed<'a> {
    /// The value of `signature`, `signature.NAME` or, in a message, `body`.
    pub(super) fn get(&'a self, key: &str) -> Option<Value<'a>> {
        if key == "body" {
            return self.body.map(|body| Value { decoded: Cow::Borrowed(body), received: None });
        }
        let wanted = signature_name(key)?;
        let (_, text) = self.made.iter().find(|(name, _)| *name == wanted)?;
        Some(Value::text(text.as_str()))
    }
}

/// The signature that a macro asks for.
fn signature_name(key: &str) -> Option<&str> {
    if key == DEFAULT_NAME { Some(key) } else { key.strip_prefix("signature.") }
}

impl Signatures {
    /// Reads schemes. Those that cannot be used are kept, so that their macros are empty and not unknown.
    pub(super) fn read(schemes: &[(String, Scheme)], findings: &mut Findings) -> Self {
        let mut all = Self::default();
        if schemes.len() > SIGNATURES_MAX {
            let message = format!("there are more than {SIGNATURES_MAX} signatures");
            findings.add(Finding::new(Code::SignatureInvalid, Place::Signature(SIGNATURES_MAX), 0, message));
        }
        for (index, (name, scheme)) in schemes.iter().take(SIGNATURES_MAX).enumerate() {
            let place = Place::Signature(index);
            let mut faults = scheme.faults();
            if !is_name(name) {
                let shown = name.escape_debug();
                let most = NAME_BYTES_MAX;
                faults.push(format!(
                    "`{shown}` names no signature: letters, digits, `_` and `-`, at most {most}"
                ));
            }
            if all.list.iter().any(|known| known.name == *name) {
                faults.push(format!("there are two signatures called `{name}`"));
            }
            let mut signature = Signature {
                name: name.clone(),
                hash: scheme.hash,
                encoding: scheme.encoding,
                key: scheme.key.clone(),
                by: None,
                parts: Vec::new(),
                covers_body: false,
                is_broken: !faults.is_empty(),
            };
            for fault in faults {
                findings.add(Finding::new(Code::SignatureInvalid, place, 0, fault).about(name));
            }
            if !signature.is_broken {
                all.read_message(&scheme.message, &mut signature, place, findings);
            }
            if let Some(key) = &scheme.key {
                all.uses.push(Use::setting(key, place));
            }
            all.list.push(signature);
        }
        all
    }

    /// Reads the message of a signature that comes after those read so far.
    fn read_message(
        &mut self,
        message: &Message,
        signature: &mut Signature,
        place: Place,
        findings: &mut Findings,
    ) {
        let reading = Reading { scope: Scope::Postback, place, free_text: true };
        let texts = match message {
            Message::Text(text) => std::slice::from_ref(text),
            Message::Join { by, parts } => {
                signature.by = Some(by.clone());
                parts
            }
        };
        for text in texts {
            let pieces = reading.scan(text, findings);
            let uses = Use::of(&pieces, |_| place);
            signature.parts.push(stretches(pieces));
            for used in &uses {
                signature.covers_body |= used.key == "body";
                let Some(wanted) = signature_name(&used.key) else { continue };
                match self.list.iter().find(|known| known.name == wanted) {
                    Some(earlier) => signature.covers_body |= earlier.covers_body,
                    None => {
                        signature.is_broken = true;
                        let message = format!("no signature before it is called `{wanted}`");
                        let finding = Finding::new(Code::SignatureInvalid, place, used.offset, message);
                        findings.add(finding.about(&used.name));
                    }
                }
            }
            self.uses.extend(uses);
        }
    }

    /// The macros in the messages, and the keys.
    pub(super) fn uses(&self) -> impl Iterator<Item = &Use> {
        self.uses.iter()
    }

    /// Compares the signatures with what the request itself uses.
    pub(super) fn check(&self, in_request: &[Use], findings: &mut Findings) {
        let mut used = vec![false; self.list.len()];
        for one in in_request {
            let mut add = |code: Code, message: String| {
                findings.add(Finding::new(code, one.place, one.offset, message).about(&one.name));
            };
            if self.list.iter().any(|signature| signature.key.as_ref() == Some(&one.key)) {
                let message = format!("`{}` is the key of a signature and would be sent with it", one.name);
                add(Code::SignatureKeyShown, message);
            }
            let Some(wanted) = signature_name(&one.key) else { continue };
            match self.list.iter().position(|signature| signature.name == wanted) {
                None => {
                    let message = format!("nothing says how the signature `{wanted}` is made; it is empty");
                    add(Code::SignatureUndefined, message);
                }
                Some(index) => {
                    used[index] = true;
                    if one.place == Place::Body && self.list[index].covers_body {
                        add(
                            Code::SignatureInBody,
                            format!("`{}` signs the body that it stands in", one.name),
                        );
                    }
                }
            }
        }
        for (index, signature) in self.list.iter().enumerate() {
            let is_covered = self.uses.iter().any(|one| signature_name(&one.key) == Some(&signature.name));
            if !used[index] && !is_covered {
                let message = format!("the request does not carry the signature `{}`", signature.name);
                findings.add(
                    Finding::new(Code::SignatureUnused, Place::Signature(index), 0, message)
                        .about(&signature.name),
                );
            }
        }
    }

    /// Makes those that do not cover the body.
    pub(super) fn sign<'t>(&'t self, values: Context<'_>, report: &mut Report) -> Signed<'t> {
        let mut signed = Signed::default();
        self.make(false, values, &mut signed, report);
        signed
    }

    /// Makes those that cover the body. A request without one has an empty one.
    pub(super) fn sign_body<'t>(
        &'t self,
        values: Context<'_>,
        body: Option<&'t [u8]>,
        signed: &mut Signed<'t>,
        report: &mut Report,
    ) {
        signed.body = Some(body.unwrap_or_default());
        self.make(true, values, signed, report);
    }

    fn make<'t>(
        &'t self,
        covers_body: bool,
        values: Context<'_>,
        signed: &mut Signed<'t>,
        report: &mut Report,
    ) {
        for signature in self.list.iter().filter(|signature| signature.covers_body == covers_body) {
            if let Some(text) = signature.make(values.signed(signed), report) {
                signed.made.push((&signature.name, text));
            }
        }
    }
}

impl Signature {
    /// The signature; `None` if its key is not set or the message grew beyond its bound.
    fn make(&self, values: Context<'_>, report: &mut Report) -> Option<String> {
        if self.is_broken {
            return None;
        }
        let key = match &self.key {
            None => Cow::Borrowed(&[][..]),
            Some(name) => match values.setting(name) {
                Some(value) => value.decoded,
                None => {
                    report.missing(name);
                    return None;
                }
            },
        };
        let mut message = Vec::new();
        let mut is_first = true;
        for part in &self.parts {
            let before = message.len();
            if let Some(by) = &self.by
                && !is_first
            {
                message.extend_from_slice(by.as_bytes());
            }
            if self.write(part, values, &mut message, report) {
                is_first = false;
            } else {
                message.truncate(before);
            }
            if message.len() > FILLED_BYTES_MAX {
                report.too_long = true;
                return None;
            }
        }
        Some(self.encoding.write(&self.hash.digest(&key, &message)?))
    }

    /// Writes one part; `false` if it is to be left out.
    fn write(
        &self,
        part: &[Stretch],
        values: Context<'_>,
        message: &mut Vec<u8>,
        report: &mut Report,
    ) -> bool {
        let can_be_left_out = self.by.is_some();
        for stretch in part {
            if message.len() > FILLED_BYTES_MAX {
                break;
            }
            let expression = match stretch {
                Stretch::Text(text) => {
                    message.extend_from_slice(text.as_bytes());
                    continue;
                }
                Stretch::Fill(expression) => expression,
            };
            match values.resolve(expression) {
                Found::Value(flow) => message.extend_from_slice(&flow.bytes),
                _ if can_be_left_out => return false,
                Found::Empty => {}
                Found::Missing => report.missing(expression.name()),
                Found::Unknown => {
                    report.unexpanded(expression.name());
                    message.extend_from_slice(expression.text.as_bytes());
                }
            }
        }
        true
    }
}

fn stretches(pieces: Vec<Piece<'_>>) -> Vec<Stretch> {
    let read = |piece| match piece {
        Piece::Literal { text, .. } => Stretch::Text(text.to_owned()),
        Piece::Macro { expression, .. } => Stretch::Fill(expression),
    };
    pieces.into_iter().map(read).collect()
}

fn is_name(name: &str) -> bool {
    (1..=NAME_BYTES_MAX).contains(&name.len())
        && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-'))
}

pub(super) fn is_setting_name(name: &str) -> bool {
    !name.is_empty()
        && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-' | b'.'))
}
