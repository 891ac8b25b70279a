//! Puts secrets in the place of `env:NAME` and `file:PATH`: in keys' and webhooks' secrets, in webhooks'
//! URLs and headers and in partners' `cfg`.
//!
//! The secret of a key or webhook may not stand in the file itself, since such files are meant to be committed. A partner's
//! setting may: most of them are ids and host names.

use std::path::{Path, PathBuf};

use serde_json::Value;

use super::print::Trouble;

/// Longest secret that is read, in bytes: what a partner's setting may have.
const BYTES_MAX: u64 = 8 * 1024;
/// Stands in a broken secret's place while the server judges the rest; it is never applied.
const STAND_IN: &str = "a-secret-that-could-not-be-read-and-is-never-applied";
/// The same for a URL.
const URL_STAND_IN: &str = "https://could-not-be-read.invalid/";

/// Where secrets are.
pub(super) trait Place {
    /// The value of an environment variable.
    fn variable(&self, name: &str) -> Result<String, String>;
    /// The content of a file.
    fn file(&self, path: &str) -> Result<String, String>;
}

/// This machine.
pub(super) struct Machine<'a> {
    /// What relative paths are relative to: the folder of the TOML file.
    pub(super) folder: &'a Path,
}

impl Place for Machine<'_> {
    fn variable(&self, name: &str) -> Result<String, String> {
        std::env::var(name).map_err(|error| match error {
            std::env::VarError::NotPresent => format!("the variable {name} is not set"),
            std::env::VarError::NotUnicode(_) => format!("the variable {name} is not UTF-8"),
        })
    }

    fn file(&self, path: &str) -> Result<String, String> {
        use std::io::Read as _;
        let path: PathBuf = self.folder.join(path);
        let mut text = String::new();
        std::fs::File::open(&path)
            .and_then(|file| file.take(BYTES_MAX + 1).read_to_string(&mut text))
            .map_err(|error| format!("{} cannot be read: {error}", path.display()))?;
        if text.len() as u64 > BYTES_MAX {
            return Err(format!("{} is larger than {BYTES_MAX} bytes", path.display()));
        }
        Ok(text)
    }
}

/// Resolves every secret of a document. What cannot be resolved is reported, and never with its content.
pub(super) fn resolve(document: &mut Value, place: &dyn Place) -> Vec<Trouble> {
    let mut troubles = Vec::new();
    let tables = |document: &mut Value, table: &str| -> Vec<(String, Value)> {
        document
            .get(table)
            .and_then(Value::as_object)
            .map_or_else(Vec::new, |t| t.iter().map(|(slug, value)| (slug.clone(), value.clone())).collect())
    };
    for (slug, mut partner) in tables(document, "partners") {
        let Some(cfg) = partner.get_mut("cfg").and_then(Value::as_object_mut) else { continue };
        for (name, value) in cfg.iter_mut() {
            // The stand-in is a setting like any other.
            let _ = one(value, &format!("partners.{slug}.cfg.{name}"), true, place, &mut troubles);
        }
        document["partners"][slug.as_str()] = partner;
    }
    for (slug, mut key) in tables(document, "keys") {
        let Some(secret) = key.get_mut("secret") else { continue };
        let _ = one(secret, &format!("keys.{slug}.secret"), false, place, &mut troubles);
        document["keys"][slug.as_str()] = key;
    }
    for (slug, mut webhook) in tables(document, "webhooks") {
        let field = |name: &str| format!("webhooks.{slug}.{name}");
        for name in ["secret", "ed25519_key"] {
            let Some(secret) = webhook.get_mut(name) else { continue };
            if one(secret, &field(name), false, place, &mut troubles).is_err()
                && let Some(webhook) = webhook.as_object_mut()
            {
                // No stand-in would be a secret of the right form; without one, nothing is said of it.
                webhook.shift_remove(name);
                webhook.shift_remove("ed25519");
            }
        }
        if let Some(url) = webhook.get_mut("url")
            && one(url, &field("url"), true, place, &mut troubles).is_err()
        {
            *url = URL_STAND_IN.into();
        }
        for (name, value) in webhook.get_mut("headers").and_then(Value::as_object_mut).into_iter().flatten() {
            let _ = one(value, &field(&format!("headers.{name}")), true, place, &mut troubles);
        }
        document["webhooks"][slug.as_str()] = webhook;
    }
    troubles
}

/// Resolves one; an error says that it was reported and that a stand-in has its place.
fn one(
    value: &mut Value,
    field: &str,
    may_be_plain: bool,
    place: &dyn Place,
    troubles: &mut Vec<Trouble>,
) -> Result<(), ()> {
    let Value::String(text) = value else { return Ok(()) };
    let read = if let Some(name) = text.strip_prefix("env:") {
        place.variable(name)
    } else if let Some(path) = text.strip_prefix("file:") {
        place.file(path)
    } else if may_be_plain {
        return Ok(());
    } else {
        Err("the secret of a key or webhook does not stand in the file".to_owned())
    };
    // Editors and `echo` end a file with a line break that nobody means.
    let read = read.map(|secret| secret.trim_end_matches(['\r', '\n']).to_owned());
    match read {
        Ok(secret) if !secret.is_empty() => {
            *text = secret;
            Ok(())
        }
        other => {
            troubles.push(Trouble {
                code: "secret_invalid".into(),
                field: field.to_owned(),
                message: other.err().unwrap_or_else(|| "the secret is empty".to_owned()),
                fix: "name a variable that is set (env:NAME) or a file that can be read (file:PATH)".into(),
                line: None,
            });
            STAND_IN.clone_into(text);
            Err(())
        }
    }
}
