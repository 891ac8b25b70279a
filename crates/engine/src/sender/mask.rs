//! Masks secrets in what is kept of an exchange. Which forms of a secret are found is told in
//! [`roundtrip_domain::secret`]; transformed ones (base64, upper case) are for the caller to name.

use bytes::Bytes;
use roundtrip_domain::secret::masked;

/// What stands in the place of a secret.
pub(super) const MASK: &str = "***";

/// Masks `secrets` in `text`. With `cut`, the text's end was cut off, and a secret that begins right
/// before it is masked as well.
pub(super) fn mask_text(text: &mut String, secrets: &[&[u8]], cut: bool) {
    if let Some(masked) = masked(text.as_bytes(), secrets, MASK, cut) {
        *text = String::from_utf8_lossy(&masked).into_owned();
    }
}

/// As [`mask_text`], for bytes.
pub(super) fn mask_bytes(bytes: &mut Bytes, secrets: &[&[u8]], cut: bool) {
    if let Some(masked) = masked(bytes, secrets, MASK, cut) {
        *bytes = Bytes::from(masked);
    }
}
