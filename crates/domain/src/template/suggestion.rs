//! What a wrong name was likely meant to be: another case, another system's word, or a slip of the hand.
//!
//! Used for messages only. A suggestion is never applied by itself.

use super::dialect;
use super::vocabulary::VOCABULARY;

/// Prefixes before a number that mean a sub parameter elsewhere.
const SUB_PREFIXES: &[&str] =
    &["af_sub", "aff_sub", "publisher_sub", "sub_id_", "sub_id", "subid", "sub_", "s", "p"];

/// The vocabulary's name that a wrong one likely meant.
pub(super) fn macro_name(wrong: &str) -> Option<&'static str> {
    if wrong.is_empty() || wrong.len() > 64 {
        return None;
    }
    let plain = wrong
        .trim_start_matches(['_', '$', '@', '~'])
        .trim_end_matches('_')
        .to_ascii_lowercase()
        .replace('-', "_");
    let exact = |name: &str| VOCABULARY.iter().find(|m| m.name == name).map(|m| m.name);
    if let Some(name) = exact(&plain) {
        return Some(name);
    }
    if let Some(name) = dialect::likely_name(wrong) {
        return Some(name);
    }
    for prefix in SUB_PREFIXES {
        if let Some(digits) = plain.strip_prefix(prefix)
            && !digits.is_empty()
            && digits.len() <= 2
            && let Some(name) = exact(&format!("sub{digits}"))
        {
            return Some(name);
        }
    }
    let squashed = |text: &str| text.replace(['_', '.'], "");
    let bare = squashed(&plain);
    if let Some(m) = VOCABULARY.iter().find(|m| squashed(m.name) == bare) {
        return Some(m.name);
    }
    nearest(&plain, VOCABULARY.iter().map(|m| m.name))
}

/// The nearest of some words, if it is near enough to be a slip: one edit per three letters, two at most.
pub(super) fn nearest<'a>(wrong: &str, words: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    let bound = (wrong.len() / 3).min(2);
    words
        .map(|word| (distance(wrong.as_bytes(), word.as_bytes()), word))
        .filter(|(distance, _)| (1..=bound).contains(distance))
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, word)| word)
}

/// Edit distance where two letters that changed places count once.
fn distance(a: &[u8], b: &[u8]) -> usize {
    if a.len().abs_diff(b.len()) > 2 {
        return usize::MAX;
    }
    let mut before: Vec<usize> = Vec::new();
    let mut above: Vec<usize> = (0..=b.len()).collect();
    for i in 1..=a.len() {
        let mut row = vec![i; b.len() + 1];
        for j in 1..=b.len() {
            let same = usize::from(a[i - 1] != b[j - 1]);
            row[j] = (above[j] + 1).min(row[j - 1] + 1).min(above[j - 1] + same);
            if i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] {
                row[j] = row[j].min(before[j - 2] + 1);
            }
        }
        before = std::mem::replace(&mut above, row);
    }
    above[b.len()]
}
