//! A partner's sheet: what to hand to the partner.

use roundtrip_domain::problem::{Code, Problem};
use serde_json::json;

use super::call::{Answer, Call, Failure};
use super::library::unknown;
use super::route::{Route, schema};
use crate::sheet::{self, Sheet};

pub(super) fn routes() -> Vec<Route> {
    let text = json!({ "type": "string" });
    vec![
        Route::get(
            "/api/v1/partners/{slug}/sheet",
            "partner_sheet",
            "Shows what a partner needs to know: its links and the postbacks that it gets",
        )
        .in_workspace()
        .query("system", "The library's entry of what the partner runs: links end in its click macros.", text)
        .answers(200, "The sheet. Values of the partner's settings are never in it.", schema::<Sheet>)
        .does(read),
    ]
}

async fn read(call: Call) -> Result<Answer, Failure> {
    let workspace = call.workspace()?;
    let system = match call.query.text("system") {
        None => None,
        Some(name) => {
            let entry = roundtrip_library::find(&name);
            Some(entry.ok_or_else(|| Problem { field: "system".to_owned(), ..unknown(&name) })?)
        }
    };
    let slug = call.path("slug");
    let (ledger, public_url) = (&call.state.ledger, &call.state.public_url);
    let sheet = sheet::read(ledger, &workspace, slug, public_url, system)
        .await?
        .ok_or_else(|| Problem::new(Code::NotFound, "slug", format!("there is no partner `{slug}`")))?;
    let version = sheet.version;
    Ok(Answer::ok(json!(sheet)).at(version))
}
