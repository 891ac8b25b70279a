//! What is kept of a send: `attempt.body`, JSON in a version envelope.

use serde_json::{Value, json};

use crate::sender::{Answer, BodyEnd, Evidence, Timings};

/// Writes the evidence. Secrets have been masked by the caller.
pub(super) fn write(evidence: &Evidence, missing: &[String]) -> String {
    let request = &evidence.request;
    let headers = |list: &[(String, String)]| -> Value { list.iter().map(|(n, v)| json!([n, v])).collect() };
    let answer = |answer: Option<&Answer>| {
        answer.map(|a| {
            json!({
                "status": a.status,
                "version": a.http_version,
                "headers": headers(&a.headers),
                "body": String::from_utf8_lossy(&a.body),
                "body_bytes_read": a.body_bytes_read,
                "body_truncated": a.body_truncated,
                "body_end": body_end(a.body_end),
                "location": a.location,
            })
        })
    };
    let timings = |t: Timings| {
        json!({
            "dns": t.dns_us, "connect": t.connect_us, "tls": t.tls_us,
            "first_byte": t.first_byte_us, "total": t.total_us,
        })
    };
    let token = evidence.token.as_ref().map(|token| {
        json!({
            "origin": token.origin,
            "fetched": token.fetched,
            "outcome": token.outcome,
            "wait_us": token.wait_us,
            "error": token.error,
            // The first sending, when a kept token was refused and the request sent again with a new one.
            "refused": token.refused.as_ref().map(|refused| json!({
                "address": refused.address.map(|a| a.to_string()),
                "answer": answer(refused.answer.as_ref()),
                "timings_us": timings(refused.timings),
            })),
        })
    });
    json!({
        "v": 1,
        "origin": evidence.origin,
        "address": evidence.address.map(|a| a.to_string()),
        "via": evidence.via,
        "reused": evidence.reused,
        "repeated": evidence.repeated,
        "request_written": evidence.request_written,
        "tls": evidence.tls.as_ref().map(|tls| json!({"version": tls.version, "cipher": tls.cipher})),
        "request": {
            "line": request.line,
            "headers": headers(&request.headers),
            "body": String::from_utf8_lossy(&request.body),
        },
        "answer": answer(evidence.answer.as_ref()),
        "timings_us": timings(evidence.timings),
        "token": token,
        "missing": missing,
        "error": evidence.error,
    })
    .to_string()
}

const fn body_end(end: BodyEnd) -> &'static str {
    match end {
        BodyEnd::Complete => "complete",
        BodyEnd::ReadLimit => "read_limit",
        BodyEnd::Timeout => "timeout",
        BodyEnd::CutShort => "cut_short",
        BodyEnd::Malformed => "malformed",
    }
}
