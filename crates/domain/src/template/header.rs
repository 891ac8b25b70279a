//! Header names and values of a template.
//!
//! A header that may not be set is reported when the template is saved and left out when it is rendered:
//! the framing of a request is the sender's alone.

use super::expression::Piece;
use super::fill::Part;
use super::finding::Findings;
use super::place::Spot;
use super::reader::Reader;
use super::{Code, Finding, Place};

/// Headers the sender sets itself, or that belong to the connection.
const RESERVED: &[&str] = &[
    "accept-encoding",
    "connection",
    "content-length",
    "expect",
    "host",
    "http2-settings",
    "keep-alive",
    "proxy-authenticate",
    "proxy-authorization",
    "proxy-connection",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
];

/// Beginnings of header names that are Roundtrip's own: signatures and ids, which a template could forge.
const RESERVED_PREFIXES: &[&str] = &["webhook-", "x-roundtrip-"];

fn is_token(name: &str) -> bool {
    !name.is_empty()
        && name.len() <= 256
        && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte))
}

/// Whether a header, named in lower case, frames the request or belongs to the connection.
pub fn is_framing_header(lower: &str) -> bool {
    RESERVED.contains(&lower)
}

fn is_reserved(name: &str) -> bool {
    let lower = name.to_ascii_lowercase();
    is_framing_header(&lower) || RESERVED_PREFIXES.iter().any(|prefix| lower.starts_with(prefix))
}

/// Checks a header's name; `false` if it is not to be sent.
pub(super) fn check_name(name: &str, place: Place, findings: &mut Findings) -> bool {
    let (code, message) = if !is_token(name) {
        (Code::HeaderInvalid, format!("`{}` is not the name of a header", name.escape_debug()))
    } else if is_reserved(name) {
        (Code::HeaderReserved, format!("the sender sets `{name}` itself"))
    } else {
        return true;
    };
    findings.add(Finding::new(code, place, 0, message).about(name));
    false
}

/// Makes a header's value, or a text body, ready to be written.
pub(super) fn compile_text(pieces: Vec<Piece<'_>>, keep_lines: bool) -> Vec<Part> {
    let mut parts = Vec::new();
    for piece in pieces {
        match piece {
            Piece::Literal { text, .. } if keep_lines => Part::fix(&mut parts, text.as_bytes()),
            Piece::Literal { text, .. } => {
                for run in text.as_bytes().split(|byte| byte.is_ascii_control() && *byte != b'\t') {
                    Part::fix(&mut parts, run);
                }
            }
            Piece::Macro { expression, .. } => parts.push(Part::Fill { expression, spot: Spot::Text }),
        }
    }
    parts
}

/// Reads a header's value.
pub(super) fn scan_value<'t>(
    reader: Reader<'_>,
    name: &str,
    value: &'t str,
    findings: &mut Findings,
) -> Vec<Piece<'t>> {
    let pieces = reader.scan(value, findings);
    for piece in &pieces {
        if let Piece::Literal { at, text } = piece
            && let Some(found) = text.bytes().position(|byte| byte.is_ascii_control() && byte != b'\t')
        {
            let message = format!("the value of `{name}` holds a line break or control byte");
            findings
                .add(Finding::new(Code::HeaderControlBytes, reader.place, at + found, message).about(name));
            break;
        }
    }
    pieces
}
