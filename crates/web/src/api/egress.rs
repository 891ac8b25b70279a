//! Where requests leave from, so that receivers can allow-list the sender.

use schemars::JsonSchema;
use serde::Serialize;
use serde_json::json;

use super::call::{Answer, Call, Failure};
use super::route::{Route, schema};

/// How requests leave this installation. The server fills it in at the start; nothing here is looked up.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Egress {
    /// The addresses that the operator publishes: receivers see requests come from these.
    pub addresses: Vec<String>,
    /// The IPv4 address of this machine that is sent from; null: the system chooses.
    pub bind_v4: Option<String>,
    /// The IPv6 address of this machine that is sent from; null: the system chooses.
    pub bind_v6: Option<String>,
    /// Host and port of the proxy that requests leave through; null: there is none.
    pub proxy: Option<String>,
    /// The `user-agent` of requests that name none.
    pub user_agent: String,
    /// Whether http URLs are sent to.
    pub plain_http: bool,
    /// Private and other special address ranges that may be sent to.
    pub private_ranges: Vec<String>,
    /// Ports below 1024 that may be sent to, besides 80 and 443.
    pub ports: Vec<u16>,
}

pub(super) fn routes() -> Vec<Route> {
    vec![
        Route::get(
            "/api/v1/egress",
            "egress_read",
            "Tells from where requests leave, for receivers' allow-lists",
        )
        .answers(200, "How requests leave.", schema::<Egress>)
        .does(read),
    ]
}

async fn read(call: Call) -> Result<Answer, Failure> {
    Ok(Answer::ok(json!(*call.state.egress)))
}
