//! Daily statements to partners, and the key that signs them.

use roundtrip_domain::problem::{Code, Problem};
use serde_json::json;

use super::call::{Answer, Call, Failure};
use super::reconcile::partner_of;
use super::route::{Needs, Route, schema};
use crate::statement::{self, PublicKey, Statement};

pub(super) fn routes() -> Vec<Route> {
    vec![
        Route::get("/api/v1/statement/key", "statement_key", "Shows the public key of statements")
            .needs(Needs::Nobody)
            .answers(200, "The key.", schema::<PublicKey>)
            .does(key),
        Route::get(
            "/api/v1/statement/{partner}/{day}",
            "statement_read",
            "States what arrived at a partner on a day (UTC), hashed and signed",
        )
        .in_workspace()
        .query(
            "offset",
            "The entry from which on they are listed, 20,000 at most; the signature is over all of them.",
            json!({ "type": "integer", "minimum": 0, "default": 0 }),
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
    let offset = match call.query.text("offset") {
        None => 0,
        Some(text) => text
            .parse()
            .map_err(|_| Problem::new(Code::ParameterInvalid, "offset", "it is a number of entries"))?,
    };
    let (ledger, now) = (&call.state.ledger, call.state.clock.now());
    Ok(Answer::ok(json!(statement::read(ledger, &settings, partner, call.path("day"), offset, now).await?)))
}
