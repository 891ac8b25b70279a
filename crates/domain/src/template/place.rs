//! Where in a request a value stands, and how it is written so that it stays there.
//!
//! A value may be anything a stranger put on a link. Whatever it is, it cannot end the string, parameter or
//! line it was put into; that is kept by the writers here and by nothing else.

use percent_encoding::percent_decode;
use std::fmt;

/// The part of a request a macro or a finding is in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Place {
    /// The method.
    Method,
    /// The URL as a whole.
    Url,
    /// The URL's scheme.
    Scheme,
    /// User and password in the URL.
    Userinfo,
    /// The URL's host and port.
    Host,
    /// The URL's path.
    Path,
    /// The URL's query.
    Query,
    /// What follows `#`.
    Fragment,
    /// The header of that index, from 0.
    Header(usize),
    /// The body.
    Body,
    /// What the signature of that index is made of, from 0.
    Signature(usize),
    /// What proves who sends the request.
    Auth,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Method => f.write_str("method"),
            Self::Url => f.write_str("url"),
            Self::Scheme => f.write_str("scheme"),
            Self::Userinfo => f.write_str("userinfo"),
            Self::Host => f.write_str("host"),
            Self::Path => f.write_str("path"),
            Self::Query => f.write_str("query"),
            Self::Fragment => f.write_str("fragment"),
            Self::Header(index) => write!(f, "header[{index}]"),
            Self::Body => f.write_str("body"),
            Self::Signature(index) => write!(f, "signature[{index}]"),
            Self::Auth => f.write_str("auth"),
        }
    }
}

/// How a value is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Spot {
    /// A whole scheme and host from a setting: any byte a URL can hold.
    Origin,
    /// In scheme, host or port: nothing that could end the host.
    Host,
    /// In the user and password, which are decoded before they are sent.
    Userinfo,
    /// In a path.
    Path,
    /// In a query, a fragment or a form body.
    Query,
    /// Inside a JSON string.
    JsonString,
    /// Where JSON has a value of its own.
    JsonValue,
    /// In a header or a text body.
    Text,
}

impl Spot {
    /// Whether what was written here leaves the URL its own host. Readers of URLs skip slashes before a host, so behind
    /// an empty one the next segment of the path, which a click may have filled, would be the host.
    pub(super) fn is_host_in(self, written: &[u8]) -> bool {
        match self {
            Self::Host => !written.is_empty(),
            Self::Origin => {
                let text = String::from_utf8_lossy(written);
                text.split_once("://").is_some_and(|(scheme, host)| {
                    !scheme.is_empty()
                        && !host.is_empty()
                        && !host.starts_with(['/', '\\', '?', '#', '@', ':'])
                })
            }
            _ => true,
        }
    }

    /// Whether the one who is told decodes percent escapes there, so that a received value can be given back in
    /// the form in which it came.
    pub(super) const fn is_decoded_by_the_reader(self) -> bool {
        matches!(self, Self::Path | Self::Query)
    }
}

const UNRESERVED: u8 = 1;
const IN_HOST: u8 = 2;
const IN_PATH: u8 = 4;
const IN_QUERY: u8 = 8;
const IN_ORIGIN: u8 = 16;

/// What each byte may do. `IN_PATH` and `IN_QUERY` are wider than RFC 3986: brackets, `|` and `^` are sent
/// bare by every browser, and a template that has them must come out as it was written.
const CLASS: [u8; 256] = {
    let mut table = [0u8; 256];
    let mut byte = 0x21;
    while byte < 0x7f {
        let b = byte as u8;
        let mut class = 0;
        if !matches!(b, b'"' | b'<' | b'>' | b'`' | b'{' | b'}' | b'\\') {
            class |= IN_ORIGIN;
            if b != b'#' {
                class |= IN_QUERY;
                if b != b'?' {
                    class |= IN_PATH;
                }
            }
        }
        if b.is_ascii_alphanumeric() || matches!(b, b'-' | b'.' | b'_' | b'~') {
            class |= UNRESERVED | IN_HOST;
        }
        if matches!(b, b':' | b'[' | b']') {
            class |= IN_HOST;
        }
        table[byte] = class;
        byte += 1;
    }
    table
};

const HEX: &[u8; 16] = b"0123456789ABCDEF";

/// Bytes being written, up to a bound. Once something did not fit, nothing more is written.
#[derive(Debug)]
pub(super) struct Out {
    bytes: Vec<u8>,
    max: usize,
    cut: bool,
}

impl Out {
    pub(super) fn new(max: usize, capacity: usize) -> Self {
        Self { bytes: Vec::with_capacity(capacity.min(max)), max, cut: false }
    }

    pub(super) fn len(&self) -> usize {
        self.bytes.len()
    }

    /// What was written from an offset on.
    pub(super) fn from(&self, offset: usize) -> &[u8] {
        self.bytes.get(offset..).unwrap_or_default()
    }

    pub(super) fn is_cut(&self) -> bool {
        self.cut
    }

    pub(super) fn into_bytes(self) -> Vec<u8> {
        self.bytes
    }

    /// Writes one piece that must not be divided.
    fn unit(&mut self, unit: &[u8]) {
        if self.cut || self.bytes.len() + unit.len() > self.max {
            self.cut = true;
        } else {
            self.bytes.extend_from_slice(unit);
        }
    }

    /// Writes bytes that are already in their final form.
    pub(super) fn fixed(&mut self, bytes: &[u8]) {
        if self.cut {
            return;
        }
        let room = self.max - self.bytes.len();
        if bytes.len() <= room {
            self.bytes.extend_from_slice(bytes);
            return;
        }
        self.cut = true;
        let mut end = room;
        // Half an escape would be read as something else, so it is left out whole.
        if end >= 1 && bytes[end - 1] == b'%' {
            end -= 1;
        } else if end >= 2 && bytes[end - 2] == b'%' {
            end -= 2;
        }
        self.bytes.extend_from_slice(&bytes[..end]);
    }

    fn percent(&mut self, byte: u8) {
        self.unit(&[b'%', HEX[usize::from(byte >> 4)], HEX[usize::from(byte & 15)]]);
    }

    /// Writes the bytes of a class as they are and percent-encodes the others.
    fn encoded(&mut self, bytes: &[u8], class: u8) {
        let mut rest = bytes;
        while !self.cut
            && let Some(&first) = rest.first()
        {
            let run = rest.iter().take_while(|byte| CLASS[usize::from(**byte)] & class != 0).count();
            if run == 0 {
                self.percent(first);
                rest = &rest[1..];
            } else {
                self.fixed(&rest[..run]);
                rest = &rest[run..];
            }
        }
    }

    /// Writes bytes that are percent-encoded already, and encodes only what cannot stand in a URL. A `%`
    /// that begins no escape becomes `%25` here: it came from a value, and would swallow what follows it.
    fn received(&mut self, bytes: &[u8], class: u8) {
        for (index, &byte) in bytes.iter().enumerate() {
            if self.cut {
                return;
            }
            if byte == b'%' {
                match bytes.get(index + 1..index + 3) {
                    Some(digits) if digits.iter().all(u8::is_ascii_hexdigit) => {
                        self.unit(&bytes[index..index + 3]);
                    }
                    _ => self.percent(b'%'),
                }
            } else if is_escape_digit(bytes, index) {
                // Written together with its `%`.
            } else if CLASS[usize::from(byte)] & class != 0 {
                self.unit(&[byte]);
            } else {
                self.percent(byte);
            }
        }
    }

    /// Writes a value that was received so that every reader makes of it what it made of the bytes received. A
    /// bare `+` stays one, since some decode it to a space and some do not.
    pub(super) fn echo(&mut self, received: &[u8]) {
        let mut rest = received;
        while !self.cut
            && let Some(at) = rest.iter().position(|byte| matches!(byte, b'%' | b'+'))
        {
            self.encoded(&rest[..at], UNRESERVED);
            let escaped = rest
                .get(at + 1..at + 3)
                .filter(|_| rest[at] == b'%')
                .and_then(|digits| std::str::from_utf8(digits).ok())
                .filter(|digits| digits.bytes().all(|digit| digit.is_ascii_hexdigit()))
                .and_then(|digits| u8::from_str_radix(digits, 16).ok());
            match (rest[at], escaped) {
                (_, Some(byte)) => self.encoded(&[byte], UNRESERVED),
                (b'+', None) => self.unit(b"+"),
                (byte, None) => self.percent(byte),
            }
            rest = &rest[at + if escaped.is_some() { 3 } else { 1 }..];
        }
        self.encoded(rest, UNRESERVED);
    }

    fn json_text(&mut self, text: &str) {
        let mut buffer = [0u8; 4];
        for character in text.chars() {
            if self.cut {
                return;
            }
            match character {
                '"' => self.unit(b"\\\""),
                '\\' => self.unit(b"\\\\"),
                '\n' => self.unit(b"\\n"),
                '\r' => self.unit(b"\\r"),
                '\t' => self.unit(b"\\t"),
                control if u32::from(control) < 0x20 => {
                    let code = u32::from(control) as usize;
                    self.unit(&[b'\\', b'u', b'0', b'0', HEX[code >> 4], HEX[code & 15]]);
                }
                other => self.unit(other.encode_utf8(&mut buffer).as_bytes()),
            }
        }
    }

    /// Writes a filled-in value. `verbatim` is the author's `raw`.
    pub(super) fn value(&mut self, spot: Spot, bytes: &[u8], verbatim: bool) {
        match spot {
            Spot::Origin => self.received(bytes, IN_ORIGIN),
            Spot::Host => self.encoded(bytes, IN_HOST),
            Spot::Userinfo => self.encoded(bytes, UNRESERVED),
            Spot::Path if verbatim => self.received(bytes, IN_PATH),
            Spot::Query if verbatim => self.received(bytes, IN_QUERY),
            Spot::Path | Spot::Query => self.encoded(bytes, UNRESERVED),
            Spot::JsonString => self.json_text(&String::from_utf8_lossy(bytes)),
            Spot::JsonValue => {
                if bytes.is_empty() {
                    self.unit(b"null");
                } else if serde_json::from_slice::<serde::de::IgnoredAny>(bytes).is_ok() {
                    self.unit(bytes);
                } else {
                    self.unit(b"\"");
                    self.json_text(&String::from_utf8_lossy(bytes));
                    self.unit(b"\"");
                }
            }
            Spot::Text => {
                for part in bytes.split(u8::is_ascii_control) {
                    self.fixed(part);
                }
            }
        }
    }

    /// Writes the text of a macro that stays as it was written.
    pub(super) fn kept(&mut self, spot: Spot, text: &str) {
        match spot {
            Spot::Origin | Spot::Host | Spot::Userinfo => self.encoded(text.as_bytes(), UNRESERVED),
            Spot::Path => self.encoded(text.as_bytes(), IN_PATH),
            Spot::Query => self.encoded(text.as_bytes(), IN_QUERY),
            Spot::JsonString | Spot::Text => self.value(spot, text.as_bytes(), true),
            Spot::JsonValue => {
                self.unit(b"\"");
                self.json_text(text);
                self.unit(b"\"");
            }
        }
    }
}

/// Whether the byte is one of the two digits of an escape that began before it.
fn is_escape_digit(bytes: &[u8], index: usize) -> bool {
    let begins = |back: usize| {
        index.checked_sub(back).is_some_and(|start| {
            bytes[start] == b'%'
                && bytes
                    .get(start + 1..start + 3)
                    .is_some_and(|digits| digits.iter().all(u8::is_ascii_hexdigit))
        })
    };
    begins(1) || begins(2)
}

/// Whether a literal byte of a template can stand in a URL's part as it is. A literal `%` always can: the
/// author's escapes are the author's.
pub(super) fn literal_stands(place: Place, byte: u8) -> bool {
    let class = match place {
        Place::Path => IN_PATH,
        Place::Query | Place::Body => IN_QUERY,
        _ => IN_ORIGIN,
    };
    CLASS[usize::from(byte)] & class != 0
}

/// Writes a literal byte of a template into a URL's part.
pub(super) fn literal_push(into: &mut Vec<u8>, place: Place, byte: u8) {
    if literal_stands(place, byte) {
        into.push(byte);
    } else {
        into.extend_from_slice(&[b'%', HEX[usize::from(byte >> 4)], HEX[usize::from(byte & 15)]]);
    }
}

/// Percent-encodes everything but unreserved bytes; the `urlencode` filter.
pub(super) fn urlencode(bytes: &[u8]) -> Vec<u8> {
    let mut out = Out::new(usize::MAX, bytes.len());
    out.bytes.reserve(bytes.len());
    out.encoded(bytes, UNRESERVED);
    out.into_bytes()
}

/// Percent-encodes a value that was received so that every reader makes of it what it made of the bytes received;
/// the `urlencode` filter of such a value.
pub(super) fn reencode(received: &[u8]) -> Vec<u8> {
    let mut out = Out::new(usize::MAX, 0);
    out.echo(received);
    out.into_bytes()
}

/// Decodes percent escapes.
pub(super) fn urldecode(bytes: &[u8]) -> Vec<u8> {
    percent_decode(bytes).collect()
}
