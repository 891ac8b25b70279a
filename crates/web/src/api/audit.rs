//! Who changed what, and when.

use schemars::JsonSchema;
use serde::Serialize;
use serde_json::json;

use super::call::{Answer, Call, Failure};
use super::route::{Route, schema};

/// One change of settings.
#[derive(Serialize, JsonSchema)]
struct AuditEntry {
    /// The version that it made.
    version: u64,
    /// When, RFC 3339.
    at: String,
    /// Who: `admin.token`, or `key` and its slug.
    actor: String,
    /// What, in one line.
    summary: String,
}

/// Changes of settings.
#[derive(Serialize, JsonSchema)]
struct Audit {
    /// The newest first.
    items: Vec<AuditEntry>,
}

pub(super) fn routes() -> Vec<Route> {
    vec![
        Route::get("/api/v1/audit", "audit_list", "Lists the latest changes of settings")
            .in_workspace()
            .limited()
            .answers(200, "The newest first.", schema::<Audit>)
            .does(list),
    ]
}

async fn list(call: Call) -> Result<Answer, Failure> {
    let limit = call.limit()?;
    let workspace = call.workspace()?;
    let rows = call.state.ledger.audit_read(workspace.workspace, limit).await?;
    let items = rows
        .into_iter()
        .map(|row| AuditEntry {
            version: row.version,
            at: row.at.to_string(),
            actor: row.actor,
            summary: row.summary,
        })
        .collect();
    Ok(Answer::ok(json!(Audit { items })))
}
