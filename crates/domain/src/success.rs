//! When an answer of 2xx is a success: what its body must say.
//!
//! Some receivers answer 200 whatever happens and say in the body whether they took it (`success=false;
//! err_msg=…`). A [`SuccessPattern`] reads that. Not relied on: that the body is text, is whole, or is short.
//! Only its first [`BODY_JUDGED_MAX`] bytes are looked at, which is what the evidence shows too.

use regex::bytes::{Regex, RegexBuilder};

/// How many bytes of a body are judged: those that are kept with the attempt.
pub const BODY_JUDGED_MAX: usize = 4 * 1024;
/// Longest text or pattern that is looked for, in bytes.
pub const PATTERN_BYTES_MAX: usize = 512;
/// Most memory that a compiled pattern takes, in bytes. Matching takes time in proportion to it, at worst.
const COMPILED_BYTES_MAX: usize = 256 * 1024;

/// What the body of a 2xx must say; all that is asked must hold. The default asks nothing.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct SuccessPattern {
    /// A text that must stand in it.
    pub contains: Option<String>,
    /// A text that must not.
    pub not_contains: Option<String>,
    /// An expression that must match somewhere in it.
    pub matches: Option<Pattern>,
    /// What follows when it says otherwise.
    pub otherwise: Otherwise,
}

/// What follows a 2xx whose body says that it was not taken.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Otherwise {
    /// It is given up: a click id that is not known today is not known tomorrow.
    #[default]
    Dead,
    /// It is sent again.
    Retry,
}

/// What a body said.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Said {
    /// All that was asked of it, or nothing was.
    Accepted,
    /// Something else.
    Refused,
    /// It broke off before it could be told.
    CutShort,
}

/// A regular expression, read once. Two are equal when they are written the same.
#[derive(Debug, Clone)]
pub struct Pattern(Regex);

impl PartialEq for Pattern {
    fn eq(&self, other: &Self) -> bool {
        self.0.as_str() == other.0.as_str()
    }
}

impl Eq for Pattern {}

impl Pattern {
    /// Reads it.
    ///
    /// # Errors
    /// A sentence for a person: it is empty, too long, no expression, or too large when compiled.
    pub fn parse(text: &str) -> Result<Self, String> {
        is_bounded(text)?;
        let compiled = RegexBuilder::new(text)
            .size_limit(COMPILED_BYTES_MAX)
            .dfa_size_limit(COMPILED_BYTES_MAX)
            .nest_limit(32)
            .build();
        match compiled {
            Ok(regex) => Ok(Self(regex)),
            Err(regex::Error::CompiledTooBig(_)) => {
                Err("the expression is too large; repeat less of it".to_owned())
            }
            // The library's words span lines, with an arrow under the place; the last line says what it is.
            Err(error) => {
                let words = error.to_string();
                let last = words.lines().last().unwrap_or_default().trim();
                Err(format!("it is no regular expression: {}", last.trim_start_matches("error: ")))
            }
        }
    }

    /// As it was written.
    pub fn as_str(&self) -> &str {
        self.0.as_str()
    }
}

/// Whether a text that is looked for has a length that can be looked for.
///
/// # Errors
/// A sentence for a person.
pub fn is_bounded(text: &str) -> Result<(), String> {
    match text.len() {
        1..=PATTERN_BYTES_MAX => Ok(()),
        _ => Err(format!("it has 1 to {PATTERN_BYTES_MAX} bytes")),
    }
}

impl SuccessPattern {
    /// Whether it asks anything of a body.
    pub fn asks(&self) -> bool {
        self.contains.is_some() || self.not_contains.is_some() || self.matches.is_some()
    }

    /// Reads a body, of which the first bytes are there; `is_whole` is false when it broke off on its way.
    pub fn judge(&self, body: &[u8], is_whole: bool) -> Said {
        let body = body.get(..BODY_JUDGED_MAX).unwrap_or(body);
        if self.not_contains.as_ref().is_some_and(|text| holds(body, text)) {
            return Said::Refused;
        }
        let is_there = self.contains.as_ref().is_none_or(|text| holds(body, text))
            && self.matches.as_ref().is_none_or(|pattern| pattern.0.is_match(body));
        match (is_there, is_whole) {
            // What must not be in it could have been in what did not come.
            (true, false) if self.not_contains.is_some() => Said::CutShort,
            (true, _) => Said::Accepted,
            (false, true) => Said::Refused,
            (false, false) => Said::CutShort,
        }
    }
}

fn holds(body: &[u8], text: &str) -> bool {
    // Bounded by the two limits above: 4 KiB times half of one.
    body.windows(text.len().max(1)).any(|window| window == text.as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pattern(contains: &str, not_contains: &str, matches: &str) -> SuccessPattern {
        let some = |text: &str| (!text.is_empty()).then(|| text.to_owned());
        SuccessPattern {
            contains: some(contains),
            not_contains: some(not_contains),
            matches: some(matches).map(|text| Pattern::parse(&text).expect("an expression")),
            otherwise: Otherwise::Dead,
        }
    }

    #[test]
    fn a_body_is_read_as_receivers_write_it() {
        for (asked, body, want) in [
            (("", "", ""), "whatever", Said::Accepted),
            (("success=true", "", ""), "success=true;", Said::Accepted),
            (("success=true", "", ""), "success=false; err_msg=Invalid Trans. ID;", Said::Refused),
            (("", "success=false", ""), "success=false; err_msg=x", Said::Refused),
            (("", "success=false", ""), "OK", Said::Accepted),
            (("", "", r#""success"\s*:\s*true"#), "{\n \"success\" : true }", Said::Accepted),
            (("", "", r#""success"\s*:\s*true"#), "{\"success\":false}", Said::Refused),
            (("", "", "(?i)^ok$"), "Ok", Said::Accepted),
            (("ok", "error", ""), "ok, with error 7", Said::Refused),
            (("ok", "", ""), "", Said::Refused),
        ] {
            let (contains, not_contains, matches) = asked;
            assert_eq!(pattern(contains, not_contains, matches).judge(body.as_bytes(), true), want, "{body}");
        }
        assert_eq!(
            pattern("ok", "", "").judge(b"\xff\xfe ok \x00", true),
            Said::Accepted,
            "no text is needed"
        );
    }

    #[test]
    fn what_broke_off_refuses_nothing() {
        assert_eq!(pattern("ok", "", "").judge(b"{\"status\":\"o", false), Said::CutShort);
        assert_eq!(pattern("ok", "", "").judge(b"ok, and", false), Said::Accepted);
        assert_eq!(pattern("", "error", "").judge(b"half", false), Said::CutShort);
        assert_eq!(pattern("", "error", "").judge(b"error 5, ha", false), Said::Refused);
        assert_eq!(SuccessPattern::default().judge(b"", false), Said::Accepted);
    }

    #[test]
    fn only_the_first_bytes_count() {
        let mut body = vec![b' '; BODY_JUDGED_MAX - 2];
        body.extend(b"ok");
        assert_eq!(pattern("ok", "", "").judge(&body, true), Said::Accepted);
        body.insert(0, b' ');
        assert_eq!(pattern("ok", "", "").judge(&body, true), Said::Refused);
        assert_eq!(pattern("", "", "ok").judge(&body, true), Said::Refused);
    }

    #[test]
    fn expressions_are_bounded_and_explained() {
        let wrong = |text: &str| Pattern::parse(text).expect_err("it is refused");
        assert!(wrong("(").starts_with("it is no regular expression: unclosed group"), "{}", wrong("("));
        for large in ["((a{1,500}){1,500}){1,500}", r"\w{100}"] {
            assert!(wrong(large).starts_with("the expression is too large"), "{large}");
        }
        assert!(Pattern::parse(r#"(?i)"success"\s*:\s*(true|1|"ok\w*")"#).is_ok());
        assert!(wrong("").contains("1 to 512") && wrong(&"a".repeat(513)).contains("1 to 512"));
        let deep = "(".repeat(200) + &")".repeat(200);
        assert!(wrong(&deep).starts_with("it is no regular expression"), "{}", wrong(&deep));
    }
}
