//! Why an export came to nothing: a stable code, what is wrong, and what to do.
//!
//! The same shape as the server's own errors, whose codes pass through: field or place, rule, fix, code.

use std::fmt;
use std::io;
use std::path::Path;

use serde_json::{Value, json};

use crate::client::Refusal;

/// What kind of trouble it is. docs/export.md lists all of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Code {
    /// It cannot go to such a place.
    Place,
    /// The end of a file's name says no format.
    Format,
    /// The file is there already.
    There,
    /// The folder or bucket holds another export.
    Other,
    /// Another export writes there.
    Running,
    /// The span of time is none, or none of whole days or hours.
    Span,
    /// A file or folder cannot be made, written or read.
    Io,
    /// The bucket did not do what it was asked.
    #[cfg(feature = "bucket")]
    Bucket,
}

impl Code {
    pub(super) const fn text(self) -> &'static str {
        match self {
            Self::Place => "export_place",
            Self::Format => "export_format",
            Self::There => "export_there",
            Self::Other => "export_other",
            Self::Running => "export_running",
            Self::Span => "export_span",
            Self::Io => "export_io",
            #[cfg(feature = "bucket")]
            Self::Bucket => "export_bucket",
        }
    }
}

/// Why there is none.
#[derive(Debug)]
pub(super) struct Refused {
    code: Code,
    words: String,
    advice: String,
}

impl Refused {
    pub(super) fn new(code: Code, words: impl Into<String>, advice: impl Into<String>) -> Self {
        Self { code, words: words.into(), advice: advice.into() }
    }

    /// What the system said of a path when it was to be made, written or read. `what` finishes the sentence "failed to …".
    pub(super) fn io(what: &str, path: &Path, error: &io::Error) -> Self {
        let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty() && !folder.is_dir());
        let advice = match (error.kind(), folder) {
            (io::ErrorKind::NotFound, Some(folder)) => {
                format!("make the folder {} first, or name another place", folder.display())
            }
            (io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem, _) => {
                "name a place that this user may write to".to_owned()
            }
            (io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded, _) => {
                "make room; the same command does the rest".to_owned()
            }
            _ => "see to what the system says, or name another place; the same command does the rest"
                .to_owned(),
        };
        Self::new(Code::Io, format!("{what} {}: {error}", path.display()), advice)
    }

    /// What a bucket said. `what` finishes the sentence "failed to …".
    #[cfg(feature = "bucket")]
    pub(super) fn bucket(error: &anyhow::Error) -> Self {
        let said = error.chain().find_map(|cause| cause.downcast_ref::<crate::bucket::Said>());
        let advice = said.and_then(crate::bucket::Said::advice);
        let advice =
            advice.unwrap_or("see to what it says, and run the same command again: it goes on where it was");
        Self::new(Code::Bucket, format!("{error:#}"), advice)
    }
}

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({})\n  to fix it: {}", self.words, self.code.text(), self.advice)
    }
}

impl std::error::Error for Refused {}

/// An error for programs: with its code, or the server's, or `failed`.
pub(super) fn document(error: &anyhow::Error) -> Value {
    let ours = error.chain().find_map(|cause| cause.downcast_ref::<Refused>());
    let theirs = || error.chain().find_map(|cause| cause.downcast_ref::<Refusal>())?.code.as_deref();
    let code = ours.map(|refused| refused.code.text()).or_else(theirs).unwrap_or("failed");
    json!({ "error": { "code": code, "message": format!("{error:#}") } })
}

#[cfg(test)]
mod tests {
    use anyhow::Context as _;

    use super::*;

    #[test]
    fn every_code_is_in_the_documentation() {
        let page = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/export.md");
        let page = std::fs::read_to_string(page).unwrap();
        let codes = [
            Code::Place,
            Code::Format,
            Code::There,
            Code::Other,
            Code::Running,
            Code::Span,
            Code::Io,
            #[cfg(feature = "bucket")]
            Code::Bucket,
        ];
        for code in codes.map(Code::text) {
            assert!(page.contains(&format!("| `{code}` |")), "{code} is not in docs/export.md");
        }
    }

    #[test]
    fn programs_are_told_the_code_through_whatever_was_added() {
        let refused = Refused::new(Code::There, "write x: it is there already", "name another");
        let error = Err::<(), _>(refused).context("export clicks").unwrap_err();
        let document = document(&error);
        assert_eq!(document["error"]["code"], "export_there");
        assert!(document["error"]["message"].as_str().unwrap().contains("to fix it: name another"));

        let answer = json!({ "error": { "code": "key_unknown", "message": "there is no such key" } });
        let error = crate::client::accepted((401, answer)).context("ask what there is").unwrap_err();
        assert_eq!(super::document(&error)["error"]["code"], "key_unknown");
        assert_eq!(super::document(&anyhow::anyhow!("x"))["error"]["code"], "failed");
    }

    #[test]
    fn what_the_system_says_comes_with_what_to_do() {
        let error = io::Error::from(io::ErrorKind::NotFound);
        let said = Refused::io("make", Path::new("/no/such/folder/x.csv"), &error).to_string();
        assert!(
            said.contains("make the folder /no/such/folder first") && said.contains("(export_io)"),
            "{said}"
        );
        let error = io::Error::from(io::ErrorKind::StorageFull);
        let said = Refused::io("write", Path::new("x.csv"), &error).to_string();
        assert!(said.contains("make room"), "{said}");
    }
}
