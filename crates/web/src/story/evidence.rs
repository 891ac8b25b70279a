//! Reads what was kept of a send. The evidence is JSON that other releases wrote: whatever of it can be read is
//! shown, and nothing here fails.

use roundtrip_store::ledger::AttemptRow;
use serde_json::Value;

use super::mask::Mask;
use super::phases::Phases;
use super::shape::{Answer, Attempt, Param, Request};
use super::words;

/// A send, for a story. `is_webhook`: what was sent is a fact in our own form, whose parts are known by their names.
pub(super) fn attempt(row: &AttemptRow, mask: &Mask, is_webhook: bool) -> Attempt {
    let body: Value = serde_json::from_str(&row.body).unwrap_or_default();
    let text = |value: &Value| value.as_str().filter(|text| !text.is_empty()).map(|text| mask.text(text));
    let headers = |value: &Value| -> Vec<Param> {
        let pairs = value.as_array().map(Vec::as_slice).unwrap_or_default();
        pairs
            .iter()
            .filter_map(|pair| {
                let name = pair[0].as_str()?.to_owned();
                let raw = pair[1].as_str().unwrap_or_default();
                // The partner's own host is nobody's personal data, even where it looks like somebody's address.
                let value = if name.eq_ignore_ascii_case("host") { raw.to_owned() } else { mask.text(raw) };
                Some(Param { name, value })
            })
            .collect()
    };
    let request = text(&body["request"]["line"]).map(|line| Request {
        origin: body["origin"].as_str().filter(|origin| !origin.is_empty()).map(str::to_owned),
        line,
        headers: headers(&body["request"]["headers"]),
        body: body["request"]["body"]
            .as_str()
            .filter(|text| !text.is_empty())
            .map(|text| if is_webhook { mask.fact(text) } else { mask.text(text) }),
    });
    let status = body["answer"]["status"].as_u64().and_then(|status| u16::try_from(status).ok());
    let answer = status.map(|status| Answer {
        status,
        headers: headers(&body["answer"]["headers"]),
        body: body["answer"]["body"]
            .as_str()
            .filter(|text| !text.is_empty())
            .map(|text| if is_webhook { mask.echo(text) } else { mask.text(text) }),
        is_cut: body["answer"]["body_truncated"].as_bool().unwrap_or_default(),
    });
    let phase = |name: &str| body["timings_us"][name].as_u64();
    let phases = phase("total").map(|total_us| Phases {
        dns_us: phase("dns"),
        connect_us: phase("connect"),
        tls_us: phase("tls"),
        first_byte_us: phase("first_byte"),
        total_us,
    });
    let tls = body["tls"]["version"].as_str().map(|version| {
        let cipher = body["tls"]["cipher"].as_str();
        cipher.map_or_else(|| version.to_owned(), |cipher| format!("{version}, {cipher}"))
    });
    let missing = body["missing"].as_array().map(Vec::as_slice).unwrap_or_default();
    Attempt {
        n: row.n,
        at: row.at.to_string(),
        outcome: row.outcome.clone(),
        status: row.status,
        total_us: row.total_us,
        sentence: words::attempt(row),
        next: row.next.clone(),
        address: body["address"].as_str().map(str::to_owned),
        tls,
        phases,
        is_reused: body["reused"].as_bool().unwrap_or_default(),
        request,
        answer,
        error: text(&body["error"]),
        empty_macros: missing.iter().filter_map(|name| name.as_str().map(str::to_owned)).collect(),
    }
}
