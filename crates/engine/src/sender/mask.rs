//! Finding secrets in what is kept, in the forms that templates and receivers give them: plain,
//! percent-encoded in any style (`%2B`, `%2b`, `+` for a space) and backslash-escaped as in JSON. It is NOT
//! relied on for transformed secrets (hashed, base64): those are for the caller to name.

use bytes::Bytes;

/// What stands in the place of a secret.
pub(super) const MASK: &str = "***";

/// The fewest bytes at a cut end that count as the beginning of a secret.
const CUT_MATCH_MIN: usize = 4;

enum Match {
    Whole(usize),
    Cut,
    No,
}

/// Masks `secrets` in `text`. With `cut`, the text's end was cut off, and a secret that begins right
/// before it is masked as well.
pub(super) fn mask_text(text: &mut String, secrets: &[&str], cut: bool) {
    if let Some(masked) = masked(text.as_bytes(), secrets, cut) {
        *text = String::from_utf8_lossy(&masked).into_owned();
    }
}

/// As [`mask_text`], for bytes.
pub(super) fn mask_bytes(bytes: &mut Bytes, secrets: &[&str], cut: bool) {
    if let Some(masked) = masked(bytes, secrets, cut) {
        *bytes = Bytes::from(masked);
    }
}

fn masked(text: &[u8], secrets: &[&str], cut: bool) -> Option<Vec<u8>> {
    let mut out: Option<Vec<u8>> = None;
    let mut at = 0;
    'text: while at < text.len() {
        for secret in secrets {
            match match_at(&text[at..], secret.as_bytes()) {
                Match::Whole(length) => {
                    out.get_or_insert_with(|| text[..at].to_vec()).extend_from_slice(MASK.as_bytes());
                    at += length;
                    continue 'text;
                }
                Match::Cut if cut && text.len() - at >= CUT_MATCH_MIN => {
                    out.get_or_insert_with(|| text[..at].to_vec()).extend_from_slice(MASK.as_bytes());
                    return out;
                }
                Match::Cut | Match::No => {}
            }
        }
        if let Some(out) = &mut out {
            out.push(text[at]);
        }
        at += 1;
    }
    out
}

/// Whether `text` begins with `secret` in one of its written forms.
fn match_at(text: &[u8], secret: &[u8]) -> Match {
    if text.starts_with(secret) {
        return Match::Whole(secret.len());
    }
    let mut at = 0;
    for &wanted in secret {
        let rest = &text[at..];
        at += match rest {
            [] => return Match::Cut,
            [b'%', high, low, ..] if hex_pair(*high, *low) == Some(wanted) => 3,
            [b'\\', next, ..] if *next == wanted && matches!(wanted, b'"' | b'\\' | b'/') => 2,
            [first, ..] if *first == wanted => 1,
            [b'+', ..] if wanted == b' ' => 1,
            [b'%'] | [b'%', _] | [b'\\'] => return Match::Cut,
            _ => return Match::No,
        };
    }
    Match::Whole(at)
}

fn hex_pair(high: u8, low: u8) -> Option<u8> {
    let digit = |byte: u8| (byte as char).to_digit(16);
    u8::try_from(digit(high)? * 16 + digit(low)?).ok()
}
