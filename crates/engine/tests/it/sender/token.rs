//! Tokens by OAuth2's client credentials, from real token servers on loopback, some of them ill.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use roundtrip_domain::template::auth::{ClientStyle, TokenAsk};
use roundtrip_engine::sender::{Exchange, Failure, Guard, Limits, Outcome, Request, Sender};
use tokio::io::AsyncWriteExt as _;
use tokio::sync::Semaphore;

use super::receiver::Receiver;
use super::{AMPLE, PATIENCE, SHORT, loopback_guard, sender, until};

fn ask(server: &Receiver) -> TokenAsk {
    TokenAsk {
        token_url: format!("http://{}/token", server.address),
        client_id: "roundtrip".into(),
        client_secret: "s3cr3t-of-client".into(),
        scope: Some("postbacks".into()),
        audience: None,
        style: ClientStyle::Basic,
    }
}

fn granted(token: &str, expires_in: &str) -> (u16, String) {
    let body = format!(r#"{{"access_token":"{token}","token_type":"Bearer","expires_in":{expires_in}}}"#);
    (200, body)
}

/// Gives `token-0`, `token-1`, ….
async fn token_server(expires_in: &'static str) -> Receiver {
    Receiver::answering(move |n, _| granted(&format!("token-{n}"), expires_in)).await
}

/// Takes the tokens whose number is at least what it is told, and says 401 to others.
async fn strict(least: Arc<AtomicUsize>) -> Receiver {
    Receiver::answering(move |_, request| {
        let number = request
            .lines()
            .find_map(|line| line.strip_prefix("authorization: Bearer token-")?.trim().parse::<usize>().ok());
        let is_good = number.is_some_and(|number| number >= least.load(Ordering::SeqCst));
        (if is_good { 200 } else { 401 }, format!("you sent {number:?}"))
    })
    .await
}

async fn send(sender: &Sender, receiver: &Receiver, ask: &TokenAsk, limits: Limits) -> Exchange {
    let began = Instant::now();
    let request = Request::post(receiver.url(), "text/plain", "hello");
    let exchange = sender.send_with_token(request, ask, limits).await;
    assert!(began.elapsed() < Duration::from_millis(limits.total_ms + 1_000), "{exchange:?}");
    exchange
}

#[tokio::test]
async fn one_token_serves_many_sends() {
    let (server, receiver) = (token_server("3600").await, Receiver::polite().await);
    let (sender, ask) = (sender(), ask(&server));
    let all: Vec<_> = (0..40)
        .map(|_| {
            let (sender, ask, url) = (sender.clone(), ask.clone(), receiver.url());
            tokio::spawn(async move { sender.send_with_token(Request::get(url), &ask, AMPLE).await })
        })
        .collect();
    let mut fetched = 0;
    for one in all {
        let exchange = one.await.unwrap();
        assert_eq!(exchange.outcome, Outcome::Answered { status: 200 }, "{exchange:?}");
        let token = exchange.evidence.token.as_ref().unwrap();
        assert_eq!(token.origin, format!("http://{}", server.address));
        fetched += usize::from(token.fetched);
        let shown = &exchange.evidence.request.headers;
        assert!(shown.contains(&("authorization".to_owned(), "***".to_owned())), "{shown:?}");
    }
    assert_eq!((fetched, server.seen.requests().len()), (1, 1));
    let requests = receiver.seen.requests();
    assert_eq!(requests.len(), 40);
    assert!(requests.iter().all(|request| request.contains("\r\nauthorization: Bearer token-0\r\n")));

    // `roundtrip:s3cr3t-of-client`
    let asked = &server.seen.requests()[0];
    assert!(asked.starts_with("POST /token HTTP/1.1\r\n"), "{asked}");
    assert!(asked.contains("authorization: Basic cm91bmR0cmlwOnMzY3IzdC1vZi1jbGllbnQ=\r\n"), "{asked}");
    assert!(asked.ends_with("\r\n\r\ngrant_type=client_credentials&scope=postbacks"), "{asked}");

    // Another secret is another client; so is another scope.
    let rotated = TokenAsk { client_secret: "another".into(), style: ClientStyle::Body, ..ask.clone() };
    send(&sender, &receiver, &rotated, AMPLE).await;
    let asked = &server.seen.requests()[1];
    assert!(asked.ends_with("&client_id=roundtrip&client_secret=another"), "{asked}");
    assert!(!asked.contains("authorization"), "{asked}");
    send(&sender, &receiver, &TokenAsk { scope: None, ..ask }, AMPLE).await;
    assert_eq!(server.seen.requests().len(), 3);
}

#[tokio::test]
async fn a_token_is_renewed_before_it_ends() {
    let (server, receiver) = (token_server("0.8").await, Receiver::polite().await);
    let (sender, ask) = (sender(), ask(&server));
    send(&sender, &receiver, &ask, AMPLE).await;
    let fetched_before = Instant::now();
    let mut last_begin = fetched_before;
    while server.seen.requests().len() < 2 {
        assert!(fetched_before.elapsed() < PATIENCE);
        let began = Instant::now();
        send(&sender, &receiver, &ask, AMPLE).await;
        if receiver.seen.requests().last().unwrap().contains("Bearer token-0") {
            last_begin = began;
        }
    }
    assert!(receiver.seen.requests().last().unwrap().contains("Bearer token-1"));
    // It lives for 800 ms and is given up a quarter of that earlier.
    assert!(last_begin - fetched_before < Duration::from_millis(600), "{:?}", last_begin - fetched_before);
    assert!(receiver.seen.requests().len() > 2, "it was used more than once");
}

#[tokio::test]
async fn a_token_that_lives_for_no_time_serves_those_who_waited_for_it() {
    let (server, receiver) = (token_server("0").await, Receiver::polite().await);
    let (sender, ask) = (sender(), ask(&server));
    for n in 1..=3 {
        let exchange = send(&sender, &receiver, &ask, AMPLE).await;
        assert_eq!(exchange.outcome, Outcome::Answered { status: 200 });
        assert_eq!(server.seen.requests().len(), n);
    }
}

#[tokio::test]
async fn without_a_token_nothing_is_sent_and_the_servers_own_answer_is_named() {
    let receiver = Receiver::polite().await;
    let secret = "s3cr3t-of-client";
    let echo = format!(r#"{{"error":"invalid_client","error_description":"{secret} is wrong"}}"#);
    for (answer, outcome, says) in [
        ((401, echo), "http_401", "its server answered 401 invalid_client"),
        ((503, "busy".to_owned()), "http_503", "its server answered 503"),
        ((302, String::new()), "http_302", "its server answered 302"),
        ((200, "<html>".to_owned()), "no_token", "no JSON with an access_token"),
        ((200, granted("a b", "1").1), "no_token", "cannot stand in a header"),
        ((200, "x".repeat(200_000)), "no_token", "did not arrive whole"),
    ] {
        let server = Receiver::answering(move |_, _| answer.clone()).await;
        let exchange = send(&sender(), &receiver, &ask(&server), AMPLE).await;
        assert_eq!(exchange.outcome, Outcome::Failed(Failure::TokenUnavailable), "{outcome}: {exchange:?}");
        let evidence = &exchange.evidence;
        let token = evidence.token.as_ref().unwrap();
        assert_eq!(token.outcome.as_deref(), Some(outcome));
        assert!(!token.fetched || outcome == "no_token", "{token:?}");
        let error = evidence.error.as_deref().unwrap();
        assert!(error.starts_with("no token: ") && error.contains(says), "{error}");
        assert!(!format!("{evidence:?}").contains(secret));
        assert!(!evidence.request_written && evidence.answer.is_none() && evidence.address.is_none());
        assert_eq!(evidence.request.line, "POST /hook HTTP/1.1", "what would have been sent");
    }
    // Nobody there, and somebody who says nothing.
    let silent = Receiver::then_silent("").await;
    let exchange = send(&sender(), &receiver, &ask(&silent), SHORT).await;
    assert_eq!(exchange.outcome, Outcome::Failed(Failure::TokenUnavailable));
    assert_eq!(exchange.evidence.token.unwrap().outcome.as_deref(), Some("timeout"));
    assert!(receiver.seen.requests().is_empty());
    assert!(Failure::TokenUnavailable.is_trouble());
}

#[tokio::test]
async fn a_token_server_is_guarded_like_any_receiver() {
    let receiver = Receiver::polite().await;
    for (url, outcome) in [
        ("http://10.1.2.3/token", "refused_address"),
        ("http://169.254.169.254/latest/meta-data", "refused_address"),
        ("http://127.0.0.1:22/token", "port_refused"),
        ("ftp://h.example/", "bad_url"),
        ("", "bad_url"),
    ] {
        let ask = TokenAsk {
            token_url: url.into(),
            client_id: "i".into(),
            client_secret: "s".into(),
            scope: None,
            audience: None,
            style: ClientStyle::Body,
        };
        let exchange = send(&sender(), &receiver, &ask, AMPLE).await;
        assert_eq!(exchange.outcome, Outcome::Failed(Failure::TokenUnavailable), "{url}");
        assert_eq!(exchange.evidence.token.unwrap().outcome.as_deref(), Some(outcome), "{url}");
    }
    assert!(receiver.seen.requests().is_empty());

    // What would not be sent at all is not worth a token.
    let server = token_server("3600").await;
    let https_only =
        Sender::new(&Default::default(), Guard { allow_plain_http: false, ..loopback_guard() }).unwrap();
    let exchange = https_only.send_with_token(Request::get(receiver.url()), &ask(&server), AMPLE).await;
    assert_eq!(exchange.outcome, Outcome::Failed(Failure::PlainHttpRefused));
    assert_eq!(server.seen.connections(), 0);
}

#[tokio::test]
async fn who_waits_for_a_fetch_shares_its_failure() {
    let gate = Arc::new(Semaphore::new(0));
    let server = {
        let gate = gate.clone();
        Receiver::start(move |_, mut stream, seen| {
            let gate = gate.clone();
            async move {
                while seen.request(&mut stream).await.is_some() {
                    let _ = gate.acquire().await;
                    let _ = stream.write_all(b"HTTP/1.1 500 X\r\ncontent-length: 0\r\n\r\n").await;
                }
            }
        })
        .await
    };
    let receiver = Receiver::polite().await;
    let (sender, ask) = (sender(), ask(&server));
    let all: Vec<_> = (0..20)
        .map(|_| {
            let (sender, ask, url) = (sender.clone(), ask.clone(), receiver.url());
            tokio::spawn(async move { sender.send_with_token(Request::get(url), &ask, AMPLE).await })
        })
        .collect();
    // On one thread all of them have come as far as the slot when the first has come as far as the server.
    until("the fetch is there", || server.seen.requests().len() == 1).await;
    gate.add_permits(100);
    for one in all {
        let exchange = one.await.unwrap();
        assert_eq!(exchange.outcome, Outcome::Failed(Failure::TokenUnavailable));
        assert_eq!(exchange.evidence.token.unwrap().outcome.as_deref(), Some("http_500"));
    }
    assert_eq!(server.seen.requests().len(), 1, "one fetch for all who waited for it");
    // Whoever comes later tries anew.
    send(&sender, &receiver, &ask, AMPLE).await;
    assert_eq!(server.seen.requests().len(), 2);
}

#[tokio::test]
async fn a_fetch_that_is_given_up_leaves_the_way_to_the_next() {
    let server = token_server("3600").await;
    let silent = Receiver::then_silent("").await;
    let receiver = Receiver::polite().await;
    let sender = sender();
    let hanging = ask(&silent);
    let first = tokio::spawn({
        let (sender, ask, url) = (sender.clone(), hanging.clone(), receiver.url());
        async move { sender.send_with_token(Request::get(url), &ask, AMPLE).await }
    });
    until("the fetch is there", || silent.seen.requests().len() == 1).await;
    // A silent server holds up its own clients alone.
    let other = send(&sender, &receiver, &ask(&server), AMPLE).await;
    assert_eq!(other.outcome, Outcome::Answered { status: 200 });
    first.abort();
    assert!(first.await.unwrap_err().is_cancelled());
    let exchange = send(&sender, &receiver, &hanging, SHORT).await;
    assert_eq!(exchange.outcome, Outcome::Failed(Failure::TokenUnavailable));
    assert_eq!(silent.seen.requests().len(), 2);
}

#[tokio::test]
async fn a_refused_token_is_replaced_and_the_request_sent_again_once() {
    let least = Arc::new(AtomicUsize::new(0));
    let (server, receiver) = (token_server("3600").await, strict(least.clone()).await);
    let (sender, ask) = (sender(), ask(&server));
    let first = send(&sender, &receiver, &ask, AMPLE).await;
    assert_eq!(first.outcome, Outcome::Answered { status: 200 });
    assert!(first.evidence.token.unwrap().refused.is_none());

    // The partner revoked it.
    least.store(1, Ordering::SeqCst);
    let second = send(&sender, &receiver, &ask, AMPLE).await;
    assert_eq!(second.outcome, Outcome::Answered { status: 200 }, "{second:?}");
    let token = second.evidence.token.as_ref().unwrap();
    assert!(token.fetched);
    let refused = token.refused.as_ref().unwrap();
    assert_eq!(refused.address, Some(receiver.address));
    let answer = refused.answer.as_ref().unwrap();
    assert_eq!((answer.status, &answer.body[..]), (401, &b"you sent Some(0)"[..]));
    assert_eq!(second.evidence.answer.as_ref().unwrap().status, 200);
    let bearers: Vec<String> = receiver
        .seen
        .requests()
        .iter()
        .map(|request| request.lines().find(|line| line.starts_with("authorization")).unwrap().to_owned())
        .collect();
    let with = |n: usize| format!("authorization: Bearer token-{n}");
    assert_eq!(bearers, [with(0), with(0), with(1)]);
    let [_, first, again] = &receiver.seen.requests()[..] else { panic!("three requests") };
    assert_eq!(first.replace("token-0", "token-1"), *again, "but for the token it is the same request");
    assert_eq!(server.seen.requests().len(), 2);
}

#[tokio::test]
async fn a_receiver_that_refuses_every_token_costs_no_fetch_for_each() {
    let least = Arc::new(AtomicUsize::new(usize::MAX));
    let (server, receiver) = (token_server("3600").await, strict(least.clone()).await);
    let (sender, ask) = (sender(), ask(&server));
    for _ in 0..5 {
        let exchange = send(&sender, &receiver, &ask, AMPLE).await;
        assert_eq!(exchange.outcome, Outcome::Answered { status: 401 });
        assert!(exchange.evidence.token.unwrap().refused.is_none());
    }
    assert_eq!((server.seen.requests().len(), receiver.seen.requests().len()), (1, 5));

    // The same when it begins to refuse after it has taken some: one renewal, and no second.
    least.store(0, Ordering::SeqCst);
    assert_eq!(send(&sender, &receiver, &ask, AMPLE).await.outcome, Outcome::Answered { status: 200 });
}

#[tokio::test]
async fn many_refused_at_once_fetch_one_token() {
    let least = Arc::new(AtomicUsize::new(0));
    let (server, receiver) = (token_server("3600").await, strict(least.clone()).await);
    let (sender, ask) = (sender(), ask(&server));
    send(&sender, &receiver, &ask, AMPLE).await;
    least.store(1, Ordering::SeqCst);
    let all: Vec<_> = (0..30)
        .map(|_| {
            let (sender, ask, url) = (sender.clone(), ask.clone(), receiver.url());
            tokio::spawn(async move { sender.send_with_token(Request::get(url), &ask, AMPLE).await.outcome })
        })
        .collect();
    for one in all {
        assert_eq!(one.await.unwrap(), Outcome::Answered { status: 200 });
    }
    assert_eq!(server.seen.requests().len(), 2);
}

#[tokio::test]
async fn a_refused_token_without_another_is_no_refusal_of_the_delivery() {
    let least = Arc::new(AtomicUsize::new(0));
    let receiver = strict(least.clone()).await;
    let server =
        Receiver::answering(|n, _| if n == 0 { granted("token-0", "3600") } else { (503, String::new()) })
            .await;
    let (sender, ask) = (sender(), ask(&server));
    send(&sender, &receiver, &ask, AMPLE).await;
    least.store(1, Ordering::SeqCst);
    let exchange = send(&sender, &receiver, &ask, AMPLE).await;
    // A 401 would end it; this is tried again.
    assert_eq!(exchange.outcome, Outcome::Failed(Failure::TokenUnavailable), "{exchange:?}");
    let token = exchange.evidence.token.unwrap();
    assert_eq!(token.outcome.as_deref(), Some("http_503"));
    assert_eq!(token.refused.unwrap().answer.unwrap().status, 401);
    assert!(exchange.evidence.answer.is_none());
}

#[tokio::test]
async fn an_echoed_token_is_not_kept() {
    let server = Receiver::answering(|_, _| granted("t0ken/of+mine", "3600")).await;
    let receiver = Receiver::answering(|_, request| (200, request.to_owned())).await;
    let exchange = send(&sender(), &receiver, &ask(&server), AMPLE).await;
    assert!(receiver.seen.requests()[0].contains("authorization: Bearer t0ken/of+mine\r\n"));
    let body = exchange.evidence.answer.unwrap().body;
    let body = String::from_utf8_lossy(&body);
    assert!(body.contains("authorization: Bearer ***\r\n") && !body.contains("t0ken"), "{body}");
}
