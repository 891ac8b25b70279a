//! Sending with a token that is fetched: OAuth2's client credentials (RFC 6749, 4.4).
//!
//! The cast: [`Tokens`] keeps one slot for each client of each token server; whoever finds no good token in it
//! fetches one while the others wait for that fetch and share what it came to. [`Sender::send_with_token`] puts the
//! token on a request, and where the receiver answers 401 to one that was kept from before, drops it, fetches
//! another and sends once more, inside the same attempt and its deadline. What the first sending came to is kept
//! beside the second ([`TokenEvidence::refused`]).
//!
//! Tokens are fetched through the sender itself, so the token's server is guarded, bounded and not followed like any
//! other. Expiry is counted on the monotonic clock: a wall clock that jumps neither storms nor stalls.
//!
//! Not relied on: that a server tells the truth about expiry (a 401 is believed more), that it answers JSON, that it
//! keeps the token out of its errors (only `error`, a word of RFC 6749, is shown of them).

use std::collections::HashMap;
use std::fmt;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use base64::Engine as _;
use bytes::Bytes;
use http::Method;
use roundtrip_domain::template::auth::{ClientStyle, TokenAsk};
use serde::Deserialize;
use tokio::time::{Instant, timeout_at};
use url::form_urlencoded::{Serializer, byte_serialize};

use super::evidence::{Answer, BodyEnd, Evidence, Timings};
use super::outcome::{Failure, Outcome};
use super::request::{Prepared, Request};
use super::tap::micros;
use super::{Exchange, Limits, Sender};

/// The most clients that tokens are kept for. Beyond it those that nobody is asking for are forgotten, which costs
/// them a fetch.
const SLOTS_MAX: usize = 1_024;
/// What is read of a token server's answer, in bytes.
const ANSWER_BYTES_MAX: usize = 64 * 1024;
/// The longest token that is used, in bytes: more than most servers take as headers.
const TOKEN_BYTES_MAX: usize = 8 * 1024;
/// How long a token is used whose server does not say.
const LIFETIME_DEFAULT: Duration = Duration::from_secs(10 * 60);
/// The longest that a token is used, whatever its server says.
const LIFETIME_MAX: Duration = Duration::from_secs(24 * 60 * 60);
/// How long before its end a token is renewed, and at most a quarter of its life: it is to be good for the whole
/// exchange that it begins.
const RENEWED_BEFORE: Duration = Duration::from_secs(60);
/// How long after the receiver refused a new token no other is fetched because of a 401: the fault lies elsewhere, and
/// a backlog is not to ask the token's server once for each delivery.
const DISTRUST: Duration = Duration::from_secs(10);

/// What is kept of how a send came by its token.
#[derive(Clone, Debug)]
pub struct TokenEvidence {
    /// Scheme, host and port of the token's server.
    pub origin: String,
    /// Whether it was fetched for this send; else it was kept from before.
    pub fetched: bool,
    /// What the fetch came to: `http_STATUS`, the code of a [`Failure`], or `no_token` for a success without a usable
    /// one. `None` when there was none.
    pub outcome: Option<String>,
    /// How long the send waited for its token, in microseconds.
    pub wait_us: u64,
    /// One sentence about what went wrong with it, for a person.
    pub error: Option<String>,
    /// The sending that was answered 401, when the token was fetched anew and the request sent again.
    pub refused: Option<Box<Refused>>,
}

/// A sending that was answered 401.
#[derive(Clone, Debug)]
pub struct Refused {
    /// The address connected to.
    pub address: Option<SocketAddr>,
    /// The answer.
    pub answer: Option<Answer>,
    /// How long each phase took.
    pub timings: Timings,
}

/// The tokens of a sender.
#[derive(Default)]
pub(super) struct Tokens(Mutex<HashMap<TokenAsk, Arc<Slot>>>);

/// Held by whoever fetches.
#[derive(Default)]
struct Slot(tokio::sync::Mutex<Held>);

#[derive(Default)]
struct Held {
    token: Option<Token>,
    /// The last fetch, when it failed, and when that was.
    failed: Option<(Instant, Unfetched)>,
    /// Until when a 401 fetches no other token.
    distrusted_until: Option<Instant>,
}

#[derive(Clone)]
struct Token {
    value: Arc<str>,
    fetched_at: Instant,
    /// When another is fetched.
    until: Instant,
}

/// A fetch that brought nothing.
#[derive(Clone)]
struct Unfetched {
    failure: Failure,
    outcome: Option<String>,
    detail: String,
}

/// A token for one send.
struct Got {
    value: Arc<str>,
    /// Whether it is newer than the wish for it.
    is_fresh: bool,
    /// What the fetch came to, when this send made it.
    outcome: Option<String>,
}

enum NoToken {
    Failed(Unfetched),
    /// The one that was refused is as good as another would be.
    Distrusted,
}

impl From<Unfetched> for NoToken {
    fn from(unfetched: Unfetched) -> Self {
        Self::Failed(unfetched)
    }
}

impl fmt::Debug for Tokens {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Tokens")
    }
}

impl Tokens {
    fn slot(&self, ask: &TokenAsk) -> Arc<Slot> {
        // A panic while the lock was held leaves at worst a slot too many.
        let mut slots = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if slots.len() >= SLOTS_MAX && !slots.contains_key(ask) {
            slots.retain(|_, slot| Arc::strong_count(slot) > 1);
        }
        slots.entry(ask.clone()).or_default().clone()
    }
}

impl Sender {
    /// Sends as [`Sender::send`] does, with a bearer token in `authorization` that is fetched as `ask` says, kept, and
    /// renewed shortly before its end. `limits` bound all of it: at most half of what is left of the time goes into a
    /// token.
    ///
    /// A 401 that a kept token is answered with drops it, fetches another, and sends the request once more; its outcome
    /// and evidence are the exchange's, and the first answer stands in [`TokenEvidence::refused`]. Without a token
    /// nothing is sent, and the outcome is [`Failure::TokenUnavailable`], or the failure itself when it was ours. The
    /// token is masked in the evidence.
    pub async fn send_with_token(&self, request: Request, ask: &TokenAsk, limits: Limits) -> Exchange {
        let began = Instant::now();
        let deadline = began + Duration::from_millis(limits.total_ms);
        let prepared = match Prepared::new(&request, &self.0.user_agent) {
            Ok(prepared) if self.may_call(&prepared) => prepared,
            // It would not be sent with a token either.
            Ok(_) | Err(_) => return self.send(request, limits).await,
        };
        let mut told = TokenEvidence {
            origin: origin_of(&ask.token_url),
            fetched: false,
            outcome: None,
            wait_us: 0,
            error: None,
            refused: None,
        };
        let mut exchange = match self.token(ask, None, &limits, deadline, &mut told).await {
            Ok(got) => self.send_twice(&request, ask, &limits, deadline, got, &mut told).await,
            Err(NoToken::Failed(unfetched)) => Err(unfetched),
            Err(NoToken::Distrusted) => Err(Unfetched::ours("there is no token")),
        }
        .unwrap_or_else(|unfetched| {
            let error = format!("no token: {}", unfetched.detail);
            told.error = Some(unfetched.detail);
            let evidence = Evidence {
                origin: prepared.origin.clone(),
                request: prepared.shown(),
                error: Some(error),
                ..Evidence::default()
            };
            Exchange { outcome: Outcome::Failed(unfetched.failure), evidence }
        });
        exchange.evidence.timings.total_us = micros(began.elapsed());
        exchange.evidence.token = Some(told);
        exchange
    }

    /// Sends with a token, and where that is refused and another may help, with another.
    async fn send_twice(
        &self,
        request: &Request,
        ask: &TokenAsk,
        limits: &Limits,
        deadline: Instant,
        got: Got,
        told: &mut TokenEvidence,
    ) -> Result<Exchange, Unfetched> {
        let first = self.send_bearing(request, &got.value, limits, deadline).await;
        if first.outcome != (Outcome::Answered { status: 401 }) {
            return Ok(first);
        }
        if got.is_fresh {
            self.distrust(ask, &got.value);
            return Ok(first);
        }
        let renewed = match self.token(ask, Some(&got.value), limits, deadline, told).await {
            Ok(renewed) => renewed,
            Err(NoToken::Distrusted) => return Ok(first),
            Err(NoToken::Failed(unfetched)) => {
                told.refused = Some(Refused::of(first));
                return Err(unfetched);
            }
        };
        told.refused = Some(Refused::of(first));
        let second = self.send_bearing(request, &renewed.value, limits, deadline).await;
        if second.outcome == (Outcome::Answered { status: 401 }) {
            self.distrust(ask, &renewed.value);
        }
        Ok(second)
    }

    async fn send_bearing(
        &self,
        request: &Request,
        token: &str,
        limits: &Limits,
        deadline: Instant,
    ) -> Exchange {
        let mut request = request.clone();
        request.headers.push(("authorization".to_owned(), format!("Bearer {token}")));
        let mut exchange = self.send(request, limits.until(deadline)).await;
        exchange.evidence.mask(&[token]);
        exchange
    }

    /// The receiver refused a token that is as new as can be.
    fn distrust(&self, ask: &TokenAsk, value: &str) {
        let slot = self.0.tokens.slot(ask);
        // Whoever holds it fetches another already.
        let Ok(mut held) = slot.0.try_lock() else { return };
        if held.token.as_ref().is_some_and(|token| *token.value == *value) {
            held.distrusted_until = Some(Instant::now() + DISTRUST);
        }
    }

    /// A token: the kept one while it is good, else a fetched one. `refused` is one that the receiver would not have.
    async fn token(
        &self,
        ask: &TokenAsk,
        refused: Option<&str>,
        limits: &Limits,
        deadline: Instant,
        told: &mut TokenEvidence,
    ) -> Result<Got, NoToken> {
        let came = Instant::now();
        let by = came + deadline.saturating_duration_since(came) / 2;
        let got = self.token_by(ask, refused, limits, came, by).await;
        told.wait_us += micros(came.elapsed());
        match &got {
            Ok(got) => {
                told.fetched |= got.outcome.is_some();
                told.outcome = got.outcome.clone().or(told.outcome.take());
            }
            Err(NoToken::Failed(unfetched)) => told.outcome.clone_from(&unfetched.outcome),
            Err(NoToken::Distrusted) => {}
        }
        got
    }

    async fn token_by(
        &self,
        ask: &TokenAsk,
        refused: Option<&str>,
        limits: &Limits,
        came: Instant,
        by: Instant,
    ) -> Result<Got, NoToken> {
        let slot = self.0.tokens.slot(ask);
        let Ok(mut held) = timeout_at(by, slot.0.lock()).await else {
            return Err(Unfetched::ours("the fetch of another send did not end in time").into());
        };
        let now = Instant::now();
        if let Some(refused) = refused
            && held.token.as_ref().is_some_and(|token| *token.value == *refused)
        {
            if held.distrusted_until.is_some_and(|until| now < until) {
                return Err(NoToken::Distrusted);
            }
            held.token = None;
        }
        // What was fetched while this send waited is what it would fetch, also when it is good for no time at all.
        if let Some(token) = held.token.as_ref().filter(|token| now < token.until || token.fetched_at >= came)
        {
            return Ok(Got { value: token.value.clone(), is_fresh: token.fetched_at >= came, outcome: None });
        }
        if let Some((at, unfetched)) = &held.failed
            && *at >= came
        {
            return Err(unfetched.clone().into());
        }
        match self.fetch(ask, limits, by).await {
            Ok((token, outcome)) => {
                let value = token.value.clone();
                *held = Held { token: Some(token), failed: None, distrusted_until: None };
                Ok(Got { value, is_fresh: true, outcome: Some(outcome) })
            }
            Err(unfetched) => {
                held.failed = Some((Instant::now(), unfetched.clone()));
                Err(unfetched.into())
            }
        }
    }

    async fn fetch(
        &self,
        ask: &TokenAsk,
        limits: &Limits,
        by: Instant,
    ) -> Result<(Token, String), Unfetched> {
        let limits =
            Limits { body_read_max: ANSWER_BYTES_MAX, body_kept_max: ANSWER_BYTES_MAX, ..limits.until(by) };
        let Exchange { outcome, evidence } = self.send(token_request(ask), limits).await;
        let status = match outcome {
            Outcome::Answered { status } => status,
            Outcome::Failed(failure) => {
                let ours = failure.is_ours();
                return Err(Unfetched {
                    failure: if ours { failure } else { Failure::TokenUnavailable },
                    outcome: Some(failure.code().to_owned()),
                    detail: evidence.error.unwrap_or_else(|| failure.code().to_owned()),
                });
            }
        };
        let answer = evidence.answer.as_ref();
        let unusable = |outcome: String, detail: String| Unfetched {
            failure: Failure::TokenUnavailable,
            outcome: Some(outcome),
            detail,
        };
        if !(200..300).contains(&status) {
            let word = answer.and_then(|answer| error_word(&answer.body)).map(|word| format!(" {word}"));
            let detail = format!("its server answered {status}{}", word.unwrap_or_default());
            return Err(unusable(format!("http_{status}"), detail));
        }
        let whole = answer.filter(|answer| answer.body_end == BodyEnd::Complete && !answer.body_truncated);
        let read = whole
            .ok_or("its server's answer did not arrive whole")
            .and_then(|answer| token_of(&answer.body))
            .map_err(|detail| unusable("no_token".to_owned(), detail.to_owned()))?;
        let (value, lifetime) = read;
        let now = Instant::now();
        let until = now + (lifetime - RENEWED_BEFORE.min(lifetime / 4));
        Ok((Token { value, fetched_at: now, until }, format!("http_{status}")))
    }

    /// Whether a request of this scheme and port may leave at all.
    fn may_call(&self, prepared: &Prepared) -> bool {
        let key = &prepared.target.key;
        self.0.connector.guard.check_scheme_and_port(key.https, key.port).is_ok()
    }
}

impl Unfetched {
    /// No fetch of this send's own.
    fn ours(detail: &str) -> Self {
        Self { failure: Failure::TokenUnavailable, outcome: None, detail: detail.to_owned() }
    }
}

impl Refused {
    fn of(exchange: Exchange) -> Box<Self> {
        let Evidence { address, answer, timings, .. } = exchange.evidence;
        Box::new(Self { address, answer, timings })
    }
}

/// The request of RFC 6749, 4.4.2.
fn token_request(ask: &TokenAsk) -> Request {
    let mut form = Serializer::new(String::new());
    form.append_pair("grant_type", "client_credentials");
    if let Some(scope) = &ask.scope {
        form.append_pair("scope", scope);
    }
    if let Some(audience) = &ask.audience {
        form.append_pair("audience", audience);
    }
    let mut headers = vec![
        ("content-type".to_owned(), "application/x-www-form-urlencoded".to_owned()),
        ("accept".to_owned(), "application/json".to_owned()),
    ];
    match ask.style {
        ClientStyle::Basic => {
            // Both are form-encoded before they are joined (RFC 6749, 2.3.1).
            let encode = |text: &str| byte_serialize(text.as_bytes()).collect::<String>();
            let pair = format!("{}:{}", encode(&ask.client_id), encode(&ask.client_secret));
            let pair = base64::engine::general_purpose::STANDARD.encode(pair);
            headers.push(("authorization".to_owned(), format!("Basic {pair}")));
        }
        ClientStyle::Body => {
            form.append_pair("client_id", &ask.client_id);
            form.append_pair("client_secret", &ask.client_secret);
        }
    }
    Request { method: Method::POST, url: ask.token_url.clone(), headers, body: Bytes::from(form.finish()) }
}

/// What RFC 6749, 5.1 says of an answer.
#[derive(Deserialize)]
struct Granted {
    access_token: String,
    token_type: Option<String>,
    expires_in: Option<serde_json::Value>,
}

/// The token and how long it lives.
fn token_of(body: &[u8]) -> Result<(Arc<str>, Duration), &'static str> {
    let granted: Granted =
        serde_json::from_slice(body).map_err(|_| "its server's answer is no JSON with an access_token")?;
    let token = granted.access_token;
    if token.is_empty() || token.len() > TOKEN_BYTES_MAX || !token.bytes().all(|byte| byte.is_ascii_graphic())
    {
        return Err("the access_token cannot stand in a header");
    }
    if !granted.token_type.is_none_or(|kind| kind.eq_ignore_ascii_case("bearer")) {
        return Err("the token_type is not bearer");
    }
    let lifetime = match granted.expires_in {
        None | Some(serde_json::Value::Null) => LIFETIME_DEFAULT,
        // Some servers write the number as a text, or with a fraction.
        Some(serde_json::Value::String(text)) => seconds(text.trim().parse().ok()),
        Some(value) => seconds(value.as_f64()),
    };
    Ok((token.into(), lifetime))
}

/// A server's number of seconds within our bounds; what is no number says nothing.
fn seconds(number: Option<f64>) -> Duration {
    match number {
        Some(number) if number.is_finite() => {
            Duration::from_secs_f64(number.clamp(0.0, LIFETIME_MAX.as_secs_f64()))
        }
        _ => LIFETIME_DEFAULT,
    }
}

/// The word by which a token's server says what was wrong, such as `invalid_client`.
fn error_word(body: &[u8]) -> Option<String> {
    #[derive(Deserialize)]
    struct Denied {
        error: String,
    }
    let Denied { error } = serde_json::from_slice(body).ok()?;
    let is_word = (1..=40).contains(&error.len())
        && error.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_');
    is_word.then_some(error)
}

/// Scheme, host and port; empty when it is no URL.
fn origin_of(url: &str) -> String {
    url::Url::parse(url).map_or_else(|_| String::new(), |url| url.origin().ascii_serialization())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_of_token_servers_are_read_with_care() {
        let minutes = |n: u64| Duration::from_secs(60 * n);
        for (body, lifetime) in [
            (r#"{"access_token":"t","token_type":"Bearer","expires_in":3600}"#, minutes(60)),
            (r#"{"access_token":"t","token_type":"bearer","expires_in":"3600"}"#, minutes(60)),
            (r#"{"access_token":"t","expires_in":60.0,"more":{"a":[1]}}"#, minutes(1)),
            (r#"{"access_token":"t"}"#, LIFETIME_DEFAULT),
            (r#"{"access_token":"t","expires_in":null}"#, LIFETIME_DEFAULT),
            (r#"{"access_token":"t","expires_in":"soon"}"#, LIFETIME_DEFAULT),
            (r#"{"access_token":"t","expires_in":"NaN"}"#, LIFETIME_DEFAULT),
            (r#"{"access_token":"t","expires_in":{}}"#, LIFETIME_DEFAULT),
            (r#"{"access_token":"t","expires_in":-5}"#, Duration::ZERO),
            (r#"{"access_token":"t","expires_in":0}"#, Duration::ZERO),
            (r#"{"access_token":"t","expires_in":1e300}"#, LIFETIME_MAX),
            (r#"{"access_token":"t","expires_in":99999999999999999999}"#, LIFETIME_MAX),
        ] {
            assert_eq!(token_of(body.as_bytes()), Ok(("t".into(), lifetime)), "{body}");
        }
        for body in [
            "",
            "access_token=t",
            "[]",
            "{}",
            r#"{"access_token":7}"#,
            r#"{"access_token":""}"#,
            r#"{"access_token":"a b"}"#,
            r#"{"access_token":"a\r\nx-evil: 1"}"#,
            r#"{"access_token":"t\u00f6"}"#,
            r#"{"access_token":"t","token_type":"mac"}"#,
        ] {
            assert!(token_of(body.as_bytes()).is_err(), "{body}");
        }
        let long = format!(r#"{{"access_token":"{}"}}"#, "t".repeat(TOKEN_BYTES_MAX + 1));
        assert!(token_of(long.as_bytes()).is_err());
    }

    #[test]
    fn only_words_of_the_standard_are_shown_of_an_error() {
        assert_eq!(error_word(br#"{"error":"invalid_client"}"#).as_deref(), Some("invalid_client"));
        for body in [&b""[..], b"{}", br#"{"error":"secret s3cr3t is wrong"}"#, br#"{"error":""}"#] {
            assert_eq!(error_word(body), None);
        }
    }

    #[test]
    fn ids_and_secrets_are_encoded_before_they_are_joined() {
        let ask = TokenAsk {
            token_url: "https://h.example/t".into(),
            client_id: "a:b".into(),
            client_secret: "p@ss w&rd".into(),
            scope: Some("x y".into()),
            audience: None,
            style: ClientStyle::Basic,
        };
        let request = token_request(&ask);
        // `a%3Ab:p%40ss+w%26rd`
        let basic = ("authorization".to_owned(), "Basic YSUzQWI6cCU0MHNzK3clMjZyZA==".to_owned());
        assert!(request.headers.contains(&basic), "{:?}", request.headers);
        assert_eq!(&request.body[..], b"grant_type=client_credentials&scope=x+y");
        let ask = TokenAsk { style: ClientStyle::Body, scope: None, audience: Some("z".into()), ..ask };
        let request = token_request(&ask);
        assert_eq!(request.headers.len(), 2);
        let body = b"grant_type=client_credentials&audience=z&client_id=a%3Ab&client_secret=p%40ss+w%26rd";
        assert_eq!(&request.body[..], body);
    }
}
