//! Workspaces: the walls between tenants. They are made and never deleted here; deleting one is a retention
//! matter, since facts refer to it.

use http::StatusCode;
use roundtrip_domain::problem::{Code, Problem};
use roundtrip_store::settings::{is_reserved, is_workspace_slug};
use schemars::JsonSchema;
use serde::Serialize;
use serde_json::json;

use super::auth::Caller;
use super::call::{Answer, Call, Failure};
use super::fields::Fields;
use super::route::{Needs, Route, schema};

/// A workspace.
#[derive(Serialize, JsonSchema)]
struct Workspace {
    /// Its slug, which is the namespace in URLs.
    slug: String,
    /// The version of its settings.
    version: u64,
}

/// A workspace to make.
#[derive(JsonSchema)]
#[schemars(deny_unknown_fields)]
#[expect(dead_code, reason = "only its schema is used; bodies are read by `Fields`")]
struct NewWorkspace {
    /// 1 to 50 characters of `a-z`, `0-9` and `-`, which is a DNS label with room for `-tracking`.
    slug: String,
}

/// The workspaces that the caller may enter.
#[derive(Serialize, JsonSchema)]
struct Workspaces {
    /// In the order of their slugs.
    items: Vec<Workspace>,
}

pub(super) fn routes() -> Vec<Route> {
    vec![
        Route::get("/api/v1/workspaces", "workspace_list", "Lists the workspaces that the caller may enter")
            .answers(200, "All of them.", schema::<Workspaces>)
            .does(list),
        Route::post("/api/v1/workspaces", "workspace_create", "Makes a workspace")
            .needs(Needs::Installation)
            .takes(schema::<NewWorkspace>)
            .answers(200, "It was there.", schema::<Workspace>)
            .answers(201, "It was made.", schema::<Workspace>)
            .codes(&[Code::SlugInvalid, Code::NameReserved])
            .does(create),
    ]
}

async fn list(call: Call) -> Result<Answer, Failure> {
    let catalog = call.state.ledger.catalog();
    let mut items: Vec<Workspace> = catalog
        .workspaces()
        .iter()
        .filter(|settings| match &call.caller {
            Caller::Installation => true,
            Caller::Key { workspace, .. } => *workspace == settings.workspace,
        })
        .map(|settings| Workspace { slug: settings.slug.clone(), version: settings.version })
        .collect();
    items.sort_by(|a, b| a.slug.cmp(&b.slug));
    Ok(Answer::ok(json!(Workspaces { items })))
}

async fn create(mut call: Call) -> Result<Answer, Failure> {
    let mut fields = Fields::of(call.body.take())?;
    let slug =
        fields.text("slug")?.ok_or_else(|| Problem::new(Code::FieldMissing, "slug", "`slug` is missing"))?;
    fields.done()?;
    if !is_workspace_slug(&slug) {
        let message =
            "a workspace's slug is 1 to 50 characters of a-z, 0-9 and -, and begins and ends with no -";
        return Err(Problem::new(Code::SlugInvalid, "slug", message).into());
    }
    if is_reserved(&slug) {
        let message = format!("`{slug}` is the first segment of a route");
        return Err(Problem::new(Code::NameReserved, "slug", message).into());
    }
    let known = call.state.ledger.catalog().namespace(&slug).map(|settings| settings.version);
    let status = if known.is_some() { StatusCode::OK } else { StatusCode::CREATED };
    if known.is_none() {
        call.state.ledger.workspace_create(&slug, call.state.clock.now(), &call.caller.actor()).await?;
    }
    let workspace = Workspace { slug, version: known.unwrap_or(0) };
    Ok(Answer { status, ..Answer::ok(json!(workspace)) })
}
