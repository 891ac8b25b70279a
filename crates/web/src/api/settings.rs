//! All settings at once: the whole document, and applying one.

use roundtrip_domain::problem::{Code, Problem};
use roundtrip_store::settings::diff::Change;
use roundtrip_store::settings::document::Document;
use roundtrip_store::settings::{NewKey, Warning, document_of, edits_of};
use schemars::JsonSchema;
use serde::Serialize;
use serde_json::json;

use super::call::{Answer, Call, Failure, WORKSPACE_DEFAULT};
use super::change::change;
use super::fields::Fields;
use super::resources::DOCUMENT_CODES;
use super::route::{Route, schema};

/// All settings of a workspace.
#[derive(Serialize, JsonSchema)]
struct Settings {
    /// The version; counts up with each change.
    version: u64,
    /// The document, secrets masked. Sent back to `apply`, what is masked stays as it is.
    document: Document,
}

/// What to apply.
#[derive(JsonSchema)]
#[schemars(deny_unknown_fields)]
#[expect(dead_code, reason = "only its schema is used; bodies are read by `Fields` and judged by the store")]
struct Apply {
    /// The document: the resource part of `roundtrip.toml` as JSON.
    document: Document,
    /// Whether to answer what would change, and change nothing.
    #[schemars(default)]
    dry_run: bool,
    /// Whether to delete what is set up and not in the document.
    #[schemars(default)]
    prune: bool,
    /// The settings version that the document, or the dry run before, was made from; another one answers
    /// `version_conflict`. The same as `If-Match`.
    base_version: Option<u64>,
}

/// What was applied, or would be.
#[derive(Serialize, JsonSchema)]
struct Applied {
    /// The version that holds now.
    version: u64,
    /// What changed; empty when there was nothing to change.
    changes: Vec<Change>,
    /// What had better be known.
    warnings: Vec<Warning>,
    /// New keys with their tokens. They are not shown again, and not made by a dry run.
    keys: Vec<NewKey>,
}

pub(super) fn routes() -> Vec<Route> {
    vec![
        Route::get("/api/v1/settings", "settings_read", "Shows all settings of a workspace")
            .in_workspace()
            .answers(200, "The document and its version.", schema::<Settings>)
            .does(read),
        Route::post("/api/v1/apply", "settings_apply", "Makes the settings what a document says")
            .in_workspace()
            .versioned()
            .takes(schema::<Apply>)
            .answers(200, "What changed, or would.", schema::<Applied>)
            .codes(DOCUMENT_CODES)
            .does(apply),
    ]
}

async fn read(call: Call) -> Result<Answer, Failure> {
    let workspace = call.workspace()?;
    let (version, resources) = call.state.ledger.settings_read(workspace.workspace).await?;
    let document = document_of(&workspace.slug, &resources)?;
    Ok(Answer::ok(json!({ "version": version, "document": document })).at(version))
}

async fn apply(mut call: Call) -> Result<Answer, Failure> {
    let mut fields = Fields::of(call.body.take())?;
    let document = fields.must("document")?;
    let (is_dry, prune) = (fields.truth("dry_run")?, fields.truth("prune")?);
    let base = match fields.any("base_version") {
        None => None,
        Some(value) => Some(value.as_u64().ok_or_else(|| {
            Problem::new(Code::FieldType, "base_version", "it is a whole number, not negative")
        })?),
    };
    fields.done()?;
    let workspace = match (call.query.text("workspace"), document.get("workspace")) {
        (named, None | Some(serde_json::Value::Null)) => {
            call.enter(named.as_deref().unwrap_or(WORKSPACE_DEFAULT))?
        }
        (None, Some(serde_json::Value::String(own))) => call.enter(own)?,
        (Some(named), Some(serde_json::Value::String(own))) if named == *own => call.enter(own)?,
        (Some(_), Some(serde_json::Value::String(_))) => {
            let message = "the query and the document name different workspaces";
            return Err(Problem::new(Code::ParameterInvalid, "workspace", message).into());
        }
        (_, Some(_)) => {
            return Err(Problem::new(Code::ConfigInvalid, "workspace", "it is a text").into());
        }
    };
    // One try: a document that was written against other settings is not silently applied to newer ones.
    let done = change(&call, &workspace, 1, is_dry, |version, resources| {
        call.check_version(version)?;
        if base.is_some_and(|base| base != version) {
            let message = format!("the settings are at version {version} by now");
            return Err(Problem::new(Code::VersionConflict, "base_version", message).into());
        }
        Ok(edits_of(&document, resources, prune)?)
    })
    .await?;
    let keys = if is_dry { Vec::new() } else { done.plan.keys };
    let applied =
        Applied { version: done.version, changes: done.plan.changes, warnings: done.plan.warnings, keys };
    Ok(Answer::ok(json!(applied)).at(done.version))
}
