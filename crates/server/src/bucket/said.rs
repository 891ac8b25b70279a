//! What went wrong with a bucket, in words for a person: what it said, once, and what may help.
//!
//! The cast: `object_store` wraps an answer in what was asked, how often and for how long, and its chain of causes says
//! the same three times; S3's answers are documents of XML. [`Said`] takes out what was said.
//!
//! Not relied on: that an answer is XML, or that the library keeps its words. What is not understood is shown as it came, cut.

use std::error::Error as _;
use std::fmt;

use object_store::Error;

/// Before what a server answered.
const STATUS: &str = "Server returned non-2xx status code: ";
/// Where the address of a machine's own credentials is asked for first.
const METADATA: &str = "/latest/api/token";
/// The longest answer that is shown, in characters.
const SHOWN_MAX: usize = 300;

/// What a bucket, or the way there, said.
#[derive(Debug)]
pub(crate) struct Said {
    words: String,
    advice: Option<&'static str>,
}

impl Said {
    pub(super) fn of(error: &Error) -> Self {
        let (mut innermost, mut all) = (error.to_string(), error.to_string());
        let mut next = error.source();
        while let Some(cause) = next {
            innermost = cause.to_string();
            all.push_str(&innermost);
            next = cause.source();
        }
        if all.contains(METADATA) {
            return Self {
                words: "there are no credentials: none are in the environment, and this machine has no role"
                    .to_owned(),
                advice: Some("set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY for this command or server"),
            };
        }
        let words = match innermost.strip_prefix(STATUS) {
            Some(answer) => answered(answer),
            None => cut(&innermost),
        };
        Self { advice: advice(&words), words }
    }

    /// What a bucket said, if that is what went wrong.
    pub(crate) fn within(error: &std::io::Error) -> Option<&Self> {
        error.get_ref()?.downcast_ref()
    }

    /// What may help; none is known for what may pass by itself.
    pub(crate) const fn advice(&self) -> Option<&'static str> {
        self.advice
    }
}

impl fmt::Display for Said {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.words)
    }
}

impl std::error::Error for Said {}

/// A status and a body, without the XML around what it says.
fn answered(answer: &str) -> String {
    let (status, body) = answer.split_once(": ").unwrap_or((answer, ""));
    let said: Vec<&str> = ["Code", "Message"].into_iter().filter_map(|name| element(body, name)).collect();
    let said = if said.is_empty() { cut(body) } else { cut(&said.join(": ")) };
    let status = status.trim_end_matches(':');
    if said.is_empty() { status.to_owned() } else { format!("{status}: {said}") }
}

fn element<'a>(body: &'a str, name: &str) -> Option<&'a str> {
    let (_, rest) = body.split_once(&format!("<{name}>"))?;
    let (text, _) = rest.split_once(&format!("</{name}>"))?;
    (!text.trim().is_empty()).then_some(text.trim())
}

/// On one line, and not too long.
fn cut(text: &str) -> String {
    let line: Vec<&str> = text.split_whitespace().collect();
    let line = line.join(" ");
    match line.char_indices().nth(SHOWN_MAX) {
        Some((end, _)) => format!("{}…", line.get(..end).unwrap_or_default()),
        None => line,
    }
}

fn advice(words: &str) -> Option<&'static str> {
    let has = |part: &str| words.contains(part);
    if has("NoSuchBucket") {
        Some("make the bucket, or check its name and AWS_ENDPOINT_URL")
    } else if has("PermanentRedirect") || has("AuthorizationHeaderMalformed") || words.starts_with("301") {
        Some("set AWS_REGION to the bucket's region")
    } else if words.starts_with("401") || words.starts_with("403") {
        Some(
            "check the credentials in the environment (AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY) and what they may do with that bucket",
        )
    } else if has("connect to ") || has("cannot connect") {
        Some("check AWS_ENDPOINT_URL and the network")
    } else {
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As `object_store` nests what a server answered.
    fn nested(innermost: &str) -> Error {
        #[derive(Debug, thiserror::Error)]
        #[error("Error performing PUT http://h/b/k in 1ms - {0}")]
        struct Request(String, #[source] Answer);
        #[derive(Debug, thiserror::Error)]
        #[error("{0}")]
        struct Answer(String);
        let request = Request(innermost.to_owned(), Answer(innermost.to_owned()));
        Error::Generic { store: "S3", source: Box::new(request) }
    }

    #[test]
    fn what_a_bucket_answered_is_said_once_and_without_xml() {
        let answer = "Server returned non-2xx status code: 404 Not Found: <?xml version=\"1.0\"?>\n<Error><Code>NoSuchBucket</Code>\
                      <Message>The specified bucket does not exist</Message></Error>";
        let said = Said::of(&nested(answer));
        assert_eq!(said.to_string(), "404 Not Found: NoSuchBucket: The specified bucket does not exist");
        assert!(said.advice().is_some_and(|advice| advice.contains("make the bucket")));

        let said = Said::of(&nested("Server returned non-2xx status code: 403 Forbidden: "));
        assert_eq!(said.to_string(), "403 Forbidden");
        assert!(said.advice().is_some_and(|advice| advice.contains("AWS_SECRET_ACCESS_KEY")));

        let said = Said::of(&nested("connect to 127.0.0.1 port 9: Connection refused (os error 111)"));
        assert_eq!(said.to_string(), "connect to 127.0.0.1 port 9: Connection refused (os error 111)");
        assert!(said.advice().is_some_and(|advice| advice.contains("AWS_ENDPOINT_URL")));

        let said = Said::of(&nested(&format!("x {}", "é\n ".repeat(1_000))));
        assert!(said.to_string().chars().count() == SHOWN_MAX + 1 && said.advice().is_none(), "{said}");
    }

    #[test]
    fn a_machine_without_a_role_has_no_credentials() {
        let why = "Error performing PUT http://169.254.169.254/latest/api/token in 1ms - Server returned non-2xx status code: 403";
        let said = Said::of(&nested(why));
        assert!(said.to_string().contains("no credentials"), "{said}");
    }
}
