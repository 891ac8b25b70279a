//! The word that was likely meant. Used for messages only; a suggestion is never applied by itself.

/// Longest word worth comparing; what is longer is no slip of the hand.
const WORD_BYTES_MAX: usize = 64;

/// The nearest of some words: the same but for case and separators, or one edit per three letters away, two
/// at most.
pub(super) fn nearest<'a>(wrong: &str, words: impl Iterator<Item = &'a str> + Clone) -> Option<&'a str> {
    if wrong.is_empty() || wrong.len() > WORD_BYTES_MAX {
        return None;
    }
    let plain = |text: &str| text.replace(['-', '_', '.', ' '], "").to_ascii_lowercase();
    if let Some(word) = words.clone().find(|word| plain(word) == plain(wrong)) {
        return Some(word);
    }
    let bound = (wrong.len() / 3).clamp(1, 2);
    words
        .filter(|word| word.len().abs_diff(wrong.len()) <= bound)
        .map(|word| (distance(wrong.as_bytes(), word.as_bytes()), word))
        .filter(|(distance, word)| *distance <= bound && *distance < word.len())
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, word)| word)
}

/// The end of a message: `; did you mean …?`, or nothing.
pub(super) fn hint<'a>(wrong: &str, words: impl Iterator<Item = &'a str> + Clone) -> String {
    nearest(wrong, words).map_or_else(String::new, |word| format!("; did you mean `{word}`?"))
}

/// Edit distance (Levenshtein): insertions, deletions and replacements.
fn distance(a: &[u8], b: &[u8]) -> usize {
    let mut above: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.iter().enumerate() {
        let mut row = vec![i + 1; b.len() + 1];
        for (j, y) in b.iter().enumerate() {
            row[j + 1] = (above[j + 1] + 1).min(row[j] + 1).min(above[j] + usize::from(x != y));
        }
        above = row;
    }
    above[b.len()]
}
