//! The template library: what is known about networks and trackers. Compiled in; the same for every workspace.

use roundtrip_domain::problem::{Code, Problem};
use roundtrip_library::{Entry, entries, find, likely};
use schemars::JsonSchema;
use serde::Serialize;
use serde_json::json;

use super::call::{Answer, Call, Failure};
use super::route::{Route, schema};

/// The library.
#[derive(Serialize, JsonSchema)]
struct Library {
    /// The entries, in the order of their slugs.
    items: Vec<&'static Entry>,
}

pub(super) fn routes() -> Vec<Route> {
    let text = json!({ "type": "string" });
    vec![
        Route::get(
            "/api/v1/library",
            "library_list",
            "Lists known postback templates of networks and trackers",
        )
        .query("text", "Only entries with this text in slug, name or description, or of this kind.", text)
        .answers(200, "The entries.", schema::<Library>)
        .does(list),
        Route::get("/api/v1/library/{name}", "library_read", "Shows a known postback template")
            .answers(200, "The entry.", schema::<Entry>)
            .does(read),
    ]
}

async fn list(call: Call) -> Result<Answer, Failure> {
    let text = call.query.text("text").unwrap_or_default();
    let items = entries().iter().filter(|entry| entry.matches(&text)).collect();
    Ok(Answer::ok(json!(Library { items })))
}

async fn read(call: Call) -> Result<Answer, Failure> {
    let name = call.path("name");
    let entry = find(name).ok_or_else(|| unknown(name))?;
    Ok(Answer::ok(json!(entry)))
}

/// There is no such entry; says which one was likely meant.
pub(super) fn unknown(name: &str) -> Problem {
    let hint = likely(name).map_or_else(String::new, |known| format!("; did you mean `{known}`?"));
    Problem::new(Code::NotFound, "name", format!("the library has no entry `{name}`{hint}"))
}
