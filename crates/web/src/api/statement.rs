//! Daily statements to partners, and the key that signs them.

use roundtrip_domain::id::{Id, kind};
use roundtrip_domain::problem::{Code, Problem};
use serde_json::json;

use super::call::{Answer, Call, Failure};
use super::reconcile::partner_of;
use super::route::{Route, schema};
use crate::statement::{self, PublicKey, Statement};

pub(super) fn routes() -> Vec<Route> {
    vec![
        Route::get("/api/v1/statement/key", "statement_key", "Shows the public key of statements")
            .answers(200, "The key.", schema::<PublicKey>)
            .does(key),
        Route::get(
            "/api/v1/statement/{partner}/{day}",
            "statement_read",
            "States what arrived at a partner on a day (UTC), hashed and signed",
        )
        .in_workspace()
        .query(
            "after",
            "The delivery behind which entries are listed, 20,000 at most: `next` of the answer before.",
            json!({ "type": "string" }),
        )
        .answers(200, "The statement.", schema::<Statement>)
        .does(read),
    ]
}

async fn key(call: Call) -> Result<Answer, Failure> {
    Ok(Answer::ok(json!(statement::public_key(&call.state.ledger.identity().statement_key))))
}

async fn read(call: Call) -> Result<Answer, Failure> {
    let settings = call.workspace()?;
    let partner = partner_of(&settings, call.path("partner"))?;
    let refused = |_| Problem::new(Code::ParameterInvalid, "after", "a delivery's id begins with dlv_");
    let after = call
        .query
        .text("after")
        .map(|text| text.parse::<Id<kind::Delivery>>().map_err(refused))
        .transpose()?;
    let (ledger, now) = (&call.state.ledger, call.state.clock.now());
    Ok(Answer::ok(json!(statement::read(ledger, &settings, partner, call.path("day"), after, now).await?)))
}
