//! How long the phases of a send took.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// How long the phases of a send took, in microseconds. What a connection in use skips is absent.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[schemars(rename = "SendPhases")]
pub struct Phases {
    /// The name's look-up.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dns_us: Option<u64>,
    /// The connection.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub connect_us: Option<u64>,
    /// The TLS handshake.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tls_us: Option<u64>,
    /// From the request to the first byte of the answer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub first_byte_us: Option<u64>,
    /// All of it.
    pub total_us: u64,
}

impl Phases {
    /// In one line: "name 1 ms, connection 12 ms, …".
    pub fn text(&self) -> String {
        let shown = |us: u64| match us {
            0..1_000 => format!("{us} µs"),
            1_000..10_000 => format!("{}.{} ms", us / 1_000, us % 1_000 / 100),
            _ => format!("{} ms", us / 1_000),
        };
        let phases = [
            ("name", self.dns_us),
            ("connection", self.connect_us),
            ("TLS", self.tls_us),
            ("first byte", self.first_byte_us),
            ("all", Some(self.total_us)),
        ];
        let phases = phases.into_iter().filter_map(|(word, us)| Some(format!("{word} {}", shown(us?))));
        phases.collect::<Vec<_>>().join(", ")
    }
}
