//! Log lines on standard error, for people or as JSON. `docs/logging.md` lists them.
//!
//! Never in a line: addresses of visitors, device ids, tokens, bodies, query strings. This module cannot
//! enforce that; who writes a line keeps to it.

use std::io::IsTerminal as _;

use tracing_subscriber::EnvFilter;

/// What a line looks like.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Format {
    /// Text; coloured on a terminal unless `NO_COLOR` is set.
    Human,
    /// One JSON object.
    Json,
}

/// How and what is logged.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Settings {
    /// What a line looks like.
    pub(crate) format: Format,
    /// A level, or a filter by target; [`filter`] has read it once.
    pub(crate) level: String,
}

/// The levels, for filters.
const LEVELS: [&str; 6] = ["off", "error", "warn", "info", "debug", "trace"];

/// Reads a level or filter. The HTTP library's own lines stay off: they could quote what a stranger sent.
///
/// # Errors
/// What is wrong with the text, when it is neither a level nor a filter.
pub(crate) fn filter(text: &str) -> Result<EnvFilter, String> {
    // The library reads a misspelt level as the name of a target, and would then log nothing else.
    for part in text.split(',').filter(|_| !text.contains('[')) {
        let level = part.rsplit_once('=').map_or(part, |(_, level)| level).trim();
        if !LEVELS.contains(&level.to_ascii_lowercase().as_str()) {
            return Err(format!("`{level}` is not one of {}", LEVELS.join(", ")));
        }
    }
    // Each try of a bucket would be a line; what became of them is one of ours.
    let buckets = if text.contains("object_store") { "" } else { ",object_store=warn" };
    let text = format!("{text},hyper=off,hyper_util=off{buckets}");
    EnvFilter::builder().parse(text).map_err(|error| error.to_string())
}

/// Starts logging. Called once per process; a second call changes nothing.
pub(crate) fn start(settings: &Settings) {
    let filter = filter(&settings.level).unwrap_or_else(|_| EnvFilter::new("info"));
    let builder = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    // A process has one subscriber; losing the race to set it means that lines are already written.
    let _ = match settings.format {
        Format::Json => builder.json().flatten_event(true).with_ansi(false).try_init(),
        Format::Human => {
            let colour = std::io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none();
            builder.with_ansi(colour).try_init()
        }
    };
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    #[test]
    fn filters_are_levels_or_targets() {
        for good in ["info", "DEBUG", "off", "warn,roundtrip_engine=debug", "roundtrip_store=trace"] {
            assert!(filter(good).is_ok(), "{good}");
        }
        for bad in ["loud", "info=loud", "", "=", "roundtrip_engine", "a=", "info,"] {
            assert!(filter(bad).is_err(), "{bad}");
        }
        assert!(filter("trace").unwrap().to_string().contains("hyper=off"));
        assert!(filter("info").unwrap().to_string().contains("object_store=warn"));
        assert!(filter("info,object_store=debug").unwrap().to_string().contains("object_store=debug"));
    }

    /// The messages of all log lines in a source file: the last text of each call of a log macro.
    fn messages(source: &str) -> Vec<String> {
        let mut found = Vec::new();
        for level in ["error", "warn", "info", "debug", "trace"] {
            for call in source.split(&format!("tracing::{level}!(")).skip(1) {
                found.push(
                    last_text(call).unwrap_or_else(|| panic!("a log line without a message: {call:.200}")),
                );
            }
        }
        found
    }

    /// The last string literal before the parenthesis that closes the call.
    fn last_text(call: &str) -> Option<String> {
        let (mut depth, mut text, mut last) = (1, None::<String>, None);
        let mut characters = call.chars();
        while let Some(character) = characters.next() {
            match (&mut text, character) {
                (Some(_), '"') => last = text.take(),
                (Some(text), '\\') => text.extend(characters.next()),
                (Some(text), _) => text.push(character),
                (None, '"') => text = Some(String::new()),
                (None, '(') => depth += 1,
                (None, ')') => depth -= 1,
                (None, _) => {}
            }
            if depth == 0 {
                break;
            }
        }
        last
    }

    fn sources(dir: &Path, found: &mut Vec<String>) {
        for entry in std::fs::read_dir(dir).unwrap().map(Result::unwrap) {
            if entry.file_type().unwrap().is_dir() {
                sources(&entry.path(), found);
            } else if entry.file_name() != "telemetry.rs" {
                found.push(std::fs::read_to_string(entry.path()).unwrap_or_default());
            }
        }
    }

    #[test]
    fn every_log_line_is_in_the_docs() {
        let root = Path::new(env!("CARGO_MANIFEST_DIR"));
        let page = std::fs::read_to_string(root.join("../../docs/logging.md")).unwrap();
        let mut files = Vec::new();
        for name in ["engine", "server", "store", "web"] {
            sources(&root.join("..").join(name).join("src"), &mut files);
        }
        let messages: Vec<_> = files.iter().flat_map(|source| messages(source)).collect();
        assert!(messages.len() >= 30, "the scan finds the lines: {messages:?}");
        let missing: Vec<_> = messages.iter().filter(|message| !page.contains(message.as_str())).collect();
        assert!(missing.is_empty(), "docs/logging.md does not list {missing:?}");
    }
}
