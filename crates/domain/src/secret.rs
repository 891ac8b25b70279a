//! Finding secrets in text that is kept or shown, in the forms that templates and receivers give them: plain,
//! percent-encoded up to three times in any style (`%2B`, `%2b`, `%252B`, `+` for a space) and escaped as in JSON
//! (`\"`, `\/`, `\u002b`), also both at once. It is NOT relied on for transformed secrets (other case, base64): those
//! are for the caller to name, see [`crate::template::secrets`].

/// Texts shorter than this, in bytes, are not taken for secrets: masking them would blot out half of what is shown.
pub const SECRET_BYTES_MIN: usize = 4;

/// How often a byte may be percent-encoded: a URL inside a URL inside a URL.
const PERCENT_LEVELS: usize = 3;
/// Most backslashes before an escaped character: JSON in JSON in JSON.
const BACKSLASHES_MAX: usize = 8;
/// The fewest bytes at a cut end that count as the beginning of a secret.
const CUT_MATCH_MIN: usize = 4;
/// Most readings of one stretch that are followed at once. Only secrets full of `%` and `\` have more than two.
const READINGS_MAX: usize = 32;

enum Match {
    Whole(usize),
    Cut,
    No,
}

/// Puts `word` in the place of each stretch of `text` that is one of the secrets or several that overlap; `None` if
/// there is none. Empty secrets are ignored. With `cut`, the text's end was cut off, and a secret that begins right
/// before it is masked as well.
pub fn masked(text: &[u8], secrets: &[impl AsRef<[u8]>], word: &str, cut: bool) -> Option<Vec<u8>> {
    let mut secrets: Vec<&[u8]> = secrets.iter().map(AsRef::as_ref).filter(|one| !one.is_empty()).collect();
    // The longest first, so that the others need not be looked for in it.
    secrets.sort_by_key(|secret| std::cmp::Reverse(secret.len()));
    let mut out: Option<Vec<u8>> = None;
    // Where the stretch that is masked ends.
    let mut end = 0;
    for at in 0..text.len() {
        let mut found = 0;
        for secret in &secrets {
            match match_at(&text[at..], secret) {
                Match::Whole(length) => found = found.max(length),
                Match::Cut if cut && text.len() - at >= CUT_MATCH_MIN => found = text.len() - at,
                Match::Cut | Match::No => {}
            }
        }
        if found > 0 {
            if at >= end {
                out.get_or_insert_with(|| text[..at].to_vec()).extend_from_slice(word.as_bytes());
            }
            end = end.max(at + found);
        } else if at >= end
            && let Some(out) = &mut out
        {
            out.push(text[at]);
        }
    }
    out
}

/// Whether `text` begins with `secret` in one of its written forms; the longest of them.
fn match_at(text: &[u8], secret: &[u8]) -> Match {
    let starts = match (text.first(), secret.first()) {
        (Some(b'%' | b'\\'), _) | (Some(b'+'), Some(b' ')) => true,
        (first, wanted) => first == wanted,
    };
    if !starts {
        return Match::No;
    }
    let (mut readings, mut next) = (vec![0], Vec::new());
    let mut is_cut = false;
    for &wanted in secret {
        next.clear();
        for &at in &readings {
            is_cut |= read(&text[at..], wanted, &mut |length| {
                if next.len() < READINGS_MAX && !next.contains(&(at + length)) {
                    next.push(at + length);
                }
            });
        }
        std::mem::swap(&mut readings, &mut next);
        if readings.is_empty() {
            return if is_cut { Match::Cut } else { Match::No };
        }
    }
    readings.into_iter().max().map_or(Match::No, Match::Whole)
}

/// Tells the length of every form of the byte that `text` begins with. Returns whether `text` ends before one is
/// whole.
fn read(text: &[u8], wanted: u8, found: &mut dyn FnMut(usize)) -> bool {
    match text.first() {
        None => return true,
        Some(&first) if first == wanted || first == b'+' && wanted == b' ' => found(1),
        Some(_) => {}
    }
    let mut is_cut = escapes(text, &mut |byte, length| {
        if byte == wanted || byte == b'+' && wanted == b' ' {
            found(length);
        }
    });
    // Backslashes, of which each may be percent-encoded itself, and the character that they escape.
    let mut backslashes: Vec<usize> = vec![0];
    for count in 1..=BACKSLASHES_MAX {
        let mut longer = Vec::new();
        for &at in &backslashes {
            is_cut |= character(&text[at..], &mut |byte, length| {
                if byte == b'\\' && longer.len() < READINGS_MAX && !longer.contains(&(at + length)) {
                    longer.push(at + length);
                }
            });
        }
        backslashes = longer;
        for &at in &backslashes {
            if wanted == b'\\' && count.is_power_of_two() {
                found(at);
            }
            if text.len() == at {
                is_cut = true;
            }
            let mut is_half = false;
            is_cut |= character(&text[at..], &mut |byte, length| match byte {
                b'"' | b'/' if byte == wanted => found(at + length),
                b'n' if wanted == b'\n' => found(at + length),
                b'r' if wanted == b'\r' => found(at + length),
                b't' if wanted == b'\t' => found(at + length),
                b'b' if wanted == 8 => found(at + length),
                b'f' if wanted == 12 => found(at + length),
                b'u' => {
                    is_half |= text.len() < at + length + 4;
                    let digits = text.get(at + length..at + length + 4);
                    let digits = digits.and_then(|digits| std::str::from_utf8(digits).ok());
                    if digits.and_then(|digits| u16::from_str_radix(digits, 16).ok()) == Some(wanted.into())
                        && wanted.is_ascii()
                    {
                        found(at + length + 4);
                    }
                }
                _ => {}
            });
            is_cut |= is_half;
        }
        if backslashes.is_empty() {
            break;
        }
    }
    is_cut
}

/// Tells the byte that `text` begins with, as it is and as it reads decoded.
fn character(text: &[u8], found: &mut dyn FnMut(u8, usize)) -> bool {
    if let Some(&first) = text.first() {
        found(first, 1);
    }
    escapes(text, found)
}

/// Tells what the percent escape that `text` begins with stands for at each level. Returns whether it is cut off.
fn escapes(text: &[u8], found: &mut dyn FnMut(u8, usize)) -> bool {
    if text.first() != Some(&b'%') {
        return false;
    }
    let mut at = 1;
    for _ in 0..PERCENT_LEVELS {
        match text.get(at..at + 2) {
            Some(&[high, low]) => {
                let Some(byte) = hex_pair(high, low) else { return false };
                found(byte, at + 2);
                if byte != b'%' {
                    return false;
                }
                at += 2;
            }
            _ => return true,
        }
    }
    false
}

fn hex_pair(high: u8, low: u8) -> Option<u8> {
    let digit = |byte: u8| (byte as char).to_digit(16);
    u8::try_from(digit(high)? * 16 + digit(low)?).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(text: &str, secrets: &[&str]) -> String {
        masked(text.as_bytes(), secrets, "***", false)
            .map_or_else(|| text.to_owned(), |masked| String::from_utf8(masked).expect("text"))
    }

    #[test]
    fn every_level_of_percent_encoding_is_read() {
        for form in [
            "se+cret/tok=en 1%",
            "se%2Bcret%2Ftok%3Den%201%25",
            "se%2bcret%2ftok%3den+1%25",
            "se%252Bcret%252Ftok%253Den%25201%2525",
            "se%252Bcret%252Ftok%253Den%2B1%2525",
            "se%25252Bcret%25252Ftok%25253Den%2525201%252525",
            // An author's own escapes and ours, mixed.
            "%73e%2Bcret/tok%253Den 1%",
        ] {
            assert_eq!(text(&format!("a={form}&b"), &["se+cret/tok=en 1%"]), "a=***&b", "{form}");
        }
        for other in ["se%2Ccret", "se-cret", "se%2", "%", "se%zzcret", "secret"] {
            assert_eq!(text(other, &["se+cret"]), other);
        }
    }

    #[test]
    fn escapes_of_json_are_read_also_encoded_ones() {
        for form in [
            "a+b/\"\\\n<e",
            r#"a+b\/\"\\\n<e"#,
            r#"a\u002bb/\u0022\u005c\u000a\u003Ce"#,
            r#"a+b\\\/\\\"\\\\\\n<e"#,
            "a%2Bb%5C%2F%5C%22%5C%5C%5Cn%3Ce",
            "a%252Bb%252F%255C%2522%255C%255C%255Cn%253Ce",
        ] {
            assert_eq!(text(&format!("-{form}-"), &["a+b/\"\\\n<e"]), "-***-", "{form}");
        }
    }

    #[test]
    fn secrets_that_overlap_are_masked_together() {
        assert_eq!(text("-abcdefgh-", &["abcd", "cdefgh"]), "-***-");
        assert_eq!(text("-abcdab-", &["abcd", "ab"]), "-******-");
        assert_eq!(text("-aaaaaa-", &["aaaa"]), "-***-");
        assert_eq!(text("-%%%%25%2525-", &["%%%%%"]), "-***-");
        assert_eq!(text("nothing", &["", "secret"]), "nothing");
    }

    #[test]
    fn a_secret_at_a_cut_end_is_masked() {
        for (kept, shown) in [
            ("x se+cr", "x ***"),
            ("x se%2", "x ***"),
            ("x se%252", "x ***"),
            ("x se%", "x se%"),
            ("x se%2x", "x se%2x"),
            (r"x se\u00", "x ***"),
        ] {
            let masked = masked(kept.as_bytes(), &["se+cret"], "***", true);
            assert_eq!(masked.as_deref().unwrap_or(kept.as_bytes()), shown.as_bytes(), "{kept}");
        }
    }
}
