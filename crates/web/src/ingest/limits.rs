//! What bounds a request: its head, its body, its wait, and how often it may come.
//!
//! Links are answered whatever their length (what is over-long is cut and flagged, since a click is never
//! dropped for its parameters); events and postbacks are refused, since their sender can correct them. The
//! HTTP server in front has its own, wider bounds.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use axum::body::Body;
use axum::http::request::Parts;
use axum::http::{HeaderMap, header};
use bytes::Bytes;
use http_body_util::{BodyExt, LengthLimitError, Limited};
use roundtrip_domain::params::QUERY_BYTES_MAX;
use roundtrip_domain::problem::{Code, Problem};
use roundtrip_domain::time::Timestamp;

/// Longest body of events or a postback, in bytes.
pub const BODY_BYTES_MAX: usize = 1 << 20;
/// Longest request target of events or a postback, in bytes.
pub const TARGET_BYTES_MAX: usize = QUERY_BYTES_MAX;
/// All header names and values of events or a postback together, in bytes.
pub const HEADER_BYTES_MAX: usize = 16 * 1024;
/// Most header lines of events or a postback.
pub const HEADER_LINES_MAX: usize = 64;
/// How long a body may take to arrive: a phone on a bad line sends 1 MiB in less.
const BODY_WAIT: Duration = Duration::from_secs(30);

/// Judges target and headers.
pub(super) fn check_head(parts: &Parts) -> Result<(), Problem> {
    let target = parts.uri.path_and_query().map_or(0, |target| target.as_str().len());
    if target > TARGET_BYTES_MAX {
        return Err(Problem::new(Code::UriTooLong, "", format!("the request target has {target} bytes")));
    }
    let bytes: usize = parts.headers.iter().map(|(name, value)| name.as_str().len() + value.len()).sum();
    if bytes > HEADER_BYTES_MAX || parts.headers.len() > HEADER_LINES_MAX {
        let message = format!("the headers have {bytes} bytes in {} lines", parts.headers.len());
        return Err(Problem::new(Code::HeaderTooLarge, "", message));
    }
    Ok(())
}

/// The text of a header that we read; `None` when it is not there.
pub(super) fn header_text<'h>(
    headers: &'h HeaderMap,
    name: &header::HeaderName,
) -> Result<Option<&'h str>, Problem> {
    let Some(value) = headers.get(name) else { return Ok(None) };
    let message = || Problem::new(Code::HeaderInvalid, name.as_str(), "the header is not printable ASCII");
    value.to_str().map(Some).map_err(|_| message())
}

/// Reads a body within [`BODY_BYTES_MAX`] and half a minute. `broken` is the code of a body that did not arrive.
pub(super) async fn read_body(parts: &Parts, body: Body, broken: Code) -> Result<Bytes, Problem> {
    let too_large =
        || Problem::new(Code::BodyTooLarge, "", format!("the body has more than {BODY_BYTES_MAX} bytes"));
    let encoding = header_text(&parts.headers, &header::CONTENT_ENCODING)?;
    if let Some(encoding) = encoding.filter(|e| !e.eq_ignore_ascii_case("identity")) {
        return Err(Problem::new(
            Code::HeaderInvalid,
            "content-encoding",
            format!("the encoding {encoding:?} is not read"),
        ));
    }
    let announced =
        parts.headers.get(header::CONTENT_LENGTH).and_then(|v| v.to_str().ok()?.parse::<usize>().ok());
    if announced.is_some_and(|bytes| bytes > BODY_BYTES_MAX) {
        return Err(too_large());
    }
    match tokio::time::timeout(BODY_WAIT, Limited::new(body, BODY_BYTES_MAX).collect()).await {
        Ok(Ok(collected)) => Ok(collected.to_bytes()),
        Ok(Err(error)) if error.is::<LengthLimitError>() => Err(too_large()),
        Ok(Err(_)) => Err(Problem::new(broken, "", "the body broke off")),
        Err(_) => Err(Problem::new(broken, "", "the body did not arrive within 30 seconds")),
    }
}

/// Who shares one rate.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Payer {
    /// A client key, by its id's bits.
    Key(u128),
    /// All postbacks of a workspace.
    Postbacks(u32),
}

#[derive(Debug, Clone, Copy)]
struct Bucket {
    /// Thousandths of a request; below zero is a debt that a large batch left.
    tokens_milli: i64,
    filled_at: Timestamp,
}

/// Token buckets. There is one for each known key and workspace, so the settings bound their number.
#[derive(Debug, Default)]
pub(super) struct Buckets(Mutex<HashMap<Payer, Bucket>>);

impl Buckets {
    /// Takes `cost` from the payer's bucket, which fills with `rate_per_s` and holds `burst`. A bucket that is
    /// not empty always gives, and may go into debt: so a full batch is never impossible, only waited for.
    /// The error is the number of whole seconds to wait.
    pub(super) fn take(
        &self,
        payer: Payer,
        cost: u32,
        rate_per_s: u32,
        burst: u32,
        now: Timestamp,
    ) -> Result<(), u64> {
        if rate_per_s == 0 {
            return Ok(());
        }
        let full_milli = i64::from(burst.max(1)) * 1000;
        let mut buckets = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let bucket = buckets.entry(payer).or_insert(Bucket { tokens_milli: full_milli, filled_at: now });
        // A clock that steps back gives nothing and takes nothing.
        let gained = now.since(bucket.filled_at).max(0).saturating_mul(i64::from(rate_per_s));
        bucket.tokens_milli = bucket.tokens_milli.saturating_add(gained).min(full_milli);
        bucket.filled_at = now;
        if bucket.tokens_milli <= 0 {
            let per_s = i64::from(rate_per_s) * 1000;
            return Err((1 - bucket.tokens_milli).unsigned_abs().div_ceil(per_s.unsigned_abs()));
        }
        bucket.tokens_milli -= i64::from(cost) * 1000;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bucket_fills_with_time_and_a_debt_is_waited_for() {
        let buckets = Buckets::default();
        let take = |ms: i64, cost| buckets.take(Payer::Key(1), cost, 10, 20, Timestamp::from_ms(ms));
        assert_eq!(take(0, 20), Ok(()));
        assert_eq!(take(0, 1), Err(1));
        assert_eq!(take(100, 51), Ok(()), "one token was there, so the batch goes into debt");
        assert_eq!(take(100, 1), Err(6), "50 tokens at 10 a second, and a little");
        assert_eq!(take(50, 1), Err(6), "a step back of the clock changes nothing");
        assert_eq!(take(10_000, 1), Ok(()));
        assert_eq!(buckets.take(Payer::Key(2), 1, 10, 20, Timestamp::from_ms(0)), Ok(()), "each has its own");
        for _ in 0..1_000 {
            assert_eq!(
                buckets.take(Payer::Postbacks(1), 1_000, 0, 0, Timestamp::from_ms(0)),
                Ok(()),
                "0 is no limit"
            );
        }
    }
}
