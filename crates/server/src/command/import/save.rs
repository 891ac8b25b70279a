//! Has the server apply what was imported: first dry, then after a person's yes.
//!
//! What is set up already stays: of a partner only settings are added, and a campaign is made only where there is
//! none of its name.

use anyhow::{Context as _, ensure};
use roundtrip_store::settings::document::Document;
use serde_json::{Map, Value, json};

use super::super::explain::encoded;
use super::super::{apply, library};
use super::Args;
use crate::client::{self, Client};
use crate::terminal;

/// Applies a document; false when nothing was applied because a person said no.
///
/// # Errors
/// When the server cannot be asked, or refuses.
pub(super) async fn apply(args: &Args, document: &Document, client: &Client) -> anyhow::Result<bool> {
    let path = format!("/api/v1/settings?workspace={}", encoded(&args.workspace));
    let settings = client::accepted(client.get(&path).await?).context("read the settings")?;
    let mut value = serde_json::to_value(document).context("write the document")?;
    value["workspace"] = args.workspace.as_str().into();
    keep(&mut value, &settings["document"])?;

    let request = |dry_run: bool, base: &Value| json!({ "document": value, "dry_run": dry_run, "prune": false, "base_version": base });
    let base = &settings["version"];
    let planned = client.post("/api/v1/apply", &request(true, base)).await?;
    let planned = client::accepted(planned).context("apply the import")?;
    let changes = planned["changes"].as_array().map_or(&[][..], Vec::as_slice);
    for warning in planned["warnings"].as_array().into_iter().flatten() {
        let field = warning["field"].as_str().unwrap_or_default();
        // The dry run judges everything; what was odd before is not this command's to tell.
        let is_ours = ["links", "rules"].iter().any(|table| {
            let slugs = value[*table].as_object().into_iter().flat_map(Map::keys);
            slugs.into_iter().any(|slug| field.starts_with(&format!("{table}.{slug}.")))
        });
        if is_ours {
            let message = warning["message"].as_str().unwrap_or_default();
            say(args, "warning", warning, || format!("warning: {field}: {message}"))?;
        }
    }
    for change in changes {
        say(args, "change", change, || apply::change_in_words(change))?;
    }
    if changes.is_empty() || args.dry_run {
        let end = json!({ "version": planned["version"], "changes": changes.len(), "applied": false });
        say(args, "end", &end, || apply::outcome_in_words(changes, &planned["version"], args.dry_run))?;
        return Ok(true);
    }
    if !args.yes && !library::agreed()? {
        terminal::line("Nothing was changed. With --yes nothing is asked.")?;
        return Ok(false);
    }
    let applied = client.post("/api/v1/apply", &request(false, base)).await?;
    let applied = client::accepted(applied).context("apply the import")?;
    let end = json!({ "version": applied["version"], "changes": changes.len(), "applied": true });
    say(args, "end", &end, || apply::outcome_in_words(changes, &applied["version"], false))?;
    Ok(true)
}

/// Joins what is set up already into the document, so that nothing of it is lost.
fn keep(document: &mut Value, known: &Value) -> anyhow::Result<()> {
    let drafts = document["partners"].as_object().cloned().unwrap_or_default();
    for (slug, draft) in drafts {
        let Some(old) = known["partners"].get(&slug) else { continue };
        let mut partner = old.clone();
        for (name, value) in draft["cfg"].as_object().into_iter().flatten() {
            if !partner["cfg"].is_object() {
                partner["cfg"] = json!({});
            }
            partner["cfg"][name.as_str()] = value.clone();
        }
        if let (Some(wanted), Some(had)) = (draft["ref_id"].as_str(), partner["ref_id"].as_str()) {
            ensure!(
                wanted == had,
                "apply the import: the partner {slug} has the ref_id `{had}`, and the URL says `{wanted}`; name another --partner"
            );
        } else if draft["ref_id"].is_string() {
            partner["ref_id"] = draft["ref_id"].clone();
        }
        document["partners"][slug.as_str()] = partner;
    }
    if let Some(campaigns) = document.get_mut("campaigns").and_then(Value::as_object_mut) {
        for (slug, draft) in campaigns.iter() {
            let Some(old) = known["campaigns"].get(slug) else { continue };
            ensure!(
                old["app"] == draft["app"],
                "apply the import: the campaign {slug} is of the app {}, not of {}; name another --campaign",
                old["app"],
                draft["app"]
            );
        }
        campaigns.retain(|slug, _| known["campaigns"].get(slug).is_none());
    }
    Ok(())
}

/// Prints an item: a JSON line with its type, or words.
fn say(args: &Args, kind: &str, item: &Value, words: impl FnOnce() -> String) -> std::io::Result<()> {
    if !args.json {
        return terminal::line(&words());
    }
    let mut line = Map::new();
    line.insert("type".into(), kind.into());
    if let Value::Object(fields) = item {
        line.extend(fields.iter().map(|(name, value)| (name.clone(), value.clone())));
    }
    terminal::line(&Value::Object(line).to_string())
}
