use std::collections::HashSet;
use std::time::Duration;

use http::Method;
use roundtrip_engine::sender::{
    Config, Evidence, Failure, Outcome, RETRY_AFTER_MAX, Request, SentRequest, retry_after,
};

use super::receiver::{OK, Receiver};
use super::{AMPLE, sender, sender_with};

/// Sat, 21 Nov 2026 12:00:00 GMT.
const NOON_UNIX_MS: i64 = 1_795_262_400_000;

#[tokio::test]
async fn the_evidence_is_what_the_receiver_got() {
    let receiver = Receiver::polite().await;
    let sender =
        sender_with(Config { docs_url: Some("https://docs.example/sender".to_owned()), ..Config::default() });
    let mut request = Request::post(
        format!("{}?a=1&name=J%C3%B6rg|{{x}}#fragment", receiver.url()),
        "application/json",
        r#"{"event":"install"}"#,
    );
    request.headers.push(("X-Roundtrip-Delivery".to_owned(), "dlv_1".to_owned()));
    let exchange = sender.send(request, AMPLE).await;
    assert_eq!(exchange.outcome, Outcome::Answered { status: 200 }, "{exchange:?}");

    let SentRequest { line, headers, body } = &exchange.evidence.request;
    let mut told = format!("{line}\r\n");
    for (name, value) in headers {
        told += &format!("{name}: {value}\r\n");
    }
    told += &format!("\r\n{}", String::from_utf8_lossy(body));
    assert_eq!(told, receiver.seen.requests()[0]);
    let expected = format!(
        "POST /hook?a=1&name=J%C3%B6rg|{{x}} HTTP/1.1\r\nhost: {}\r\ncontent-type: application/json\r\n\
         x-roundtrip-delivery: dlv_1\r\nuser-agent: Roundtrip/{} (+https://docs.example/sender)\r\n\
         content-length: 19\r\n\r\n{{\"event\":\"install\"}}",
        receiver.address,
        env!("CARGO_PKG_VERSION"),
    );
    assert_eq!(told, expected);

    let evidence = &exchange.evidence;
    assert!(evidence.request_written);
    assert_eq!(evidence.origin, format!("http://{}", receiver.address));
    assert_eq!(evidence.address, Some(receiver.address));
    assert_eq!((evidence.tls.as_ref(), evidence.error.as_deref()), (None, None));
    let timings = evidence.timings;
    assert_eq!((timings.dns_us, timings.tls_us), (None, None));
    assert!(timings.connect_us.unwrap() + timings.first_byte_us.unwrap() <= timings.total_us);
    let answer = evidence.answer.as_ref().unwrap();
    assert_eq!((answer.status, answer.http_version), (200, "HTTP/1.1"));
    assert_eq!(answer.headers, [("content-length".to_owned(), "2".to_owned())]);
    assert_eq!((&answer.body[..], answer.body_bytes_read, answer.body_truncated), (&b"ok"[..], 2, false));
}

#[tokio::test]
async fn methods_without_a_body_say_nothing_of_its_length() {
    for (method, length) in [(Method::GET, false), (Method::DELETE, false), (Method::PUT, true)] {
        let receiver = Receiver::polite().await;
        let request = Request { method, ..Request::get(receiver.url()) };
        assert_eq!(sender().send(request, AMPLE).await.outcome, Outcome::Answered { status: 200 });
        assert_eq!(receiver.seen.requests()[0].contains("content-length: 0\r\n"), length);
    }
}

#[tokio::test]
async fn userinfo_becomes_basic_auth_and_is_never_shown() {
    let receiver = Receiver::polite().await;
    let url = format!("http://us%65r:p%40ss@{}/x", receiver.address);
    let exchange = sender().send(Request::get(url), AMPLE).await;
    // `user:p@ss`
    assert!(receiver.seen.requests()[0].contains("authorization: Basic dXNlcjpwQHNz\r\n"));
    let shown = exchange.evidence.request.headers.clone();
    assert!(shown.contains(&("authorization".to_owned(), "***".to_owned())), "{shown:?}");
    let everything = format!("{:?}{:?}", exchange.evidence, shown);
    for secret in ["dXNlcjpwQHNz", "p%40ss", "p@ss"] {
        assert!(!everything.contains(secret));
    }
}

#[tokio::test]
async fn header_injection_is_impossible() {
    let receiver = Receiver::polite().await;
    let sender = sender();
    for (name, value) in [
        ("x-a", "b\r\nx-evil: 1"),
        ("x-a", "b\nx-evil: 1"),
        ("x-a", "b\rx"),
        ("x-a", "b\0"),
        ("x-a\r\nx-evil", "1"),
        ("x a", "1"),
        ("x-a:", "1"),
        ("", "1"),
        ("Host", "internal"),
        ("content-length", "0"),
        ("Transfer-Encoding", "chunked"),
        ("connection", "close"),
        ("keep-alive", "1"),
        ("expect", "100-continue"),
        ("upgrade", "h2c"),
        ("accept-encoding", "gzip"),
        ("proxy-authorization", "x"),
    ] {
        let mut request = Request::get(receiver.url());
        request.headers.push((name.to_owned(), value.to_owned()));
        let exchange = sender.send(request, AMPLE).await;
        assert_eq!(exchange.outcome, Outcome::Failed(Failure::BadRequest), "{name}: {value}");
    }
    let connect = Request { method: Method::CONNECT, ..Request::get(receiver.url()) };
    assert_eq!(sender.send(connect, AMPLE).await.outcome, Outcome::Failed(Failure::BadRequest));
    assert_eq!(receiver.seen.connections(), 0);

    // Line breaks in a URL are dropped or encoded by the URL parser, never written.
    let url = format!("{}?a=1\r\nx-evil: 1&b= HTTP/1.1%0d%0aHost: y", receiver.url());
    assert_eq!(sender.send(Request::get(url), AMPLE).await.outcome, Outcome::Answered { status: 200 });
    let requests = receiver.seen.requests();
    assert_eq!(requests.len(), 1);
    let lines: Vec<&str> = requests[0].split("\r\n").collect();
    assert_eq!(lines[0], "GET /hook?a=1x-evil:%201&b=%20HTTP/1.1%0d%0aHost:%20y HTTP/1.1");
    assert_eq!(lines.len(), 5, "{lines:?}");
}

#[tokio::test]
async fn answer_headers_are_bounded_but_the_telling_ones_are_kept() {
    let long = "v".repeat(9_000);
    let answer = format!(
        "HTTP/1.1 429 Slow\r\nset-cookie: session=1\r\nx-long: {long}\r\nretry-after: 120\r\n\
         location: /{long}\r\ncontent-length: 0\r\n\r\n"
    );
    let exchange = sender().send(Request::get(Receiver::once(answer).await.url()), AMPLE).await;
    assert_eq!(exchange.evidence.retry_after(0), Some(Duration::from_secs(120)));
    let answer = exchange.evidence.answer.unwrap();
    assert!(answer.headers_truncated);
    let kept: usize = answer.headers.iter().map(|(name, value)| name.len() + value.len() + 4).sum();
    assert!((8_000..=8_192).contains(&kept), "{kept}");
    assert_eq!(answer.headers[0], ("set-cookie".to_owned(), "***".to_owned()));
    assert_eq!(answer.retry_after.as_deref(), Some("120"));
    assert_eq!(answer.location.map(|location| location.len()), Some(2_048));
}

#[tokio::test]
async fn secrets_are_masked_in_every_form_they_take() {
    const SECRET: &str = "a+b/c d\"e%";
    let forms = [
        SECRET.to_owned(),
        "a%2Bb%2Fc%20d%22e%25".to_owned(),
        "a%2bb%2fc+d%22e%25".to_owned(),
        r#"a+b/c d\"e%"#.to_owned(),
        r#"a+b\/c d\"e%"#.to_owned(),
    ];
    let echo = format!("got {} end", forms.join(" "));
    // What is kept ends within a secret.
    let filler = "-".repeat(AMPLE.body_kept_max - echo.len() - 5);
    let body = format!("{echo}{filler}{SECRET} and more");
    let answer = format!(
        "HTTP/1.1 302 Go\r\nlocation: /?t={}\r\nx-echo: {}\r\ncontent-length: {}\r\n\r\n{body}",
        forms[1],
        forms[2],
        body.len()
    );
    let receiver = Receiver::once(answer).await;
    let mut request =
        Request::post(format!("{}?token={}", receiver.url(), forms[1]), "text/plain", echo.clone());
    request.headers.push(("x-key".to_owned(), SECRET.to_owned()));
    let exchange = sender().send(request, AMPLE).await;
    assert_eq!(exchange.outcome, Outcome::Answered { status: 302 });
    // The receiver did get the secret; only what is kept is masked.
    assert!(receiver.seen.requests()[0].contains(SECRET));

    let Evidence { mut request, mut answer, .. } = exchange.evidence.clone();
    assert_eq!(&request.body[..], echo.as_bytes());
    let mut evidence = exchange.evidence;
    evidence.mask(&["", "zzz"]);
    assert_eq!((&evidence.request, &evidence.answer), (&request, &answer), "nothing to mask");
    evidence.mask(&["a+b", SECRET]);
    request = evidence.request;
    assert_eq!(request.line, "POST /hook?token=*** HTTP/1.1");
    assert!(request.headers.contains(&("x-key".to_owned(), "***".to_owned())));
    assert_eq!(&request.body[..], b"got *** *** *** *** *** end");
    answer = evidence.answer;
    let answer = answer.unwrap();
    assert_eq!(answer.location.as_deref(), Some("/?t=***"));
    assert!(answer.headers.contains(&("x-echo".to_owned(), "***".to_owned())));
    let body = String::from_utf8_lossy(&answer.body);
    assert!(body.starts_with("got *** *** *** *** *** end---"), "{body}");
    assert!(body.ends_with("-***"), "{body}");
}

#[test]
fn retry_after_reads_seconds_and_dates_and_nothing_else() {
    let seconds = |seconds| Some(Duration::from_secs(seconds));
    for (value, wait) in [
        ("0", seconds(0)),
        ("1", seconds(1)),
        (" 120 ", seconds(120)),
        ("86400", seconds(86_400)),
        ("86401", Some(RETRY_AFTER_MAX)),
        ("1000000000", Some(RETRY_AFTER_MAX)),
        ("99999999999999999999999999", Some(RETRY_AFTER_MAX)),
        ("-1", None),
        ("+1", None),
        ("1.5", None),
        ("", None),
        ("soon", None),
        ("1, 2", None),
        ("٣", None),
        ("Sat, 21 Nov 2026 12:00:30 GMT", seconds(30)),
        ("Sat, 21 Nov 2026 12:00:00 GMT", seconds(0)),
        ("Sat, 21 Nov 2026 11:59:59 GMT", None),
        ("Thu, 01 Jan 1970 00:00:00 GMT", None),
        ("Saturday, 21-Nov-26 12:00:30 GMT", seconds(30)),
        ("Sat Nov 21 12:00:30 2026", seconds(30)),
        ("Fri, 31 Dec 9999 23:59:59 GMT", Some(RETRY_AFTER_MAX)),
        ("Sat, 21 Nov 2026 12:00:30 CET", None),
        ("2026-11-21T12:00:30Z", None),
    ] {
        assert_eq!(retry_after(value, NOON_UNIX_MS), wait, "{value:?}");
    }
    assert_eq!(retry_after("Sat, 21 Nov 2026 12:00:30 GMT", i64::MIN), None);
    assert_eq!(retry_after("Sat, 21 Nov 2026 12:00:30 GMT", i64::MAX), None);
}

#[test]
fn failure_codes_are_distinct_snake_case() {
    let codes: HashSet<&str> = Failure::ALL.iter().map(|failure| failure.code()).collect();
    assert_eq!(codes.len(), Failure::ALL.len());
    assert!(codes.iter().all(|code| code.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_')));
    let refusals =
        ["bad_url", "bad_request", "plain_http_refused", "port_refused", "refused_address", "own_listener"];
    let ours = ["pool_full", "proxy", "local"];
    for failure in Failure::ALL {
        let (is_refusal, is_ours) = (refusals.contains(&failure.code()), ours.contains(&failure.code()));
        assert_eq!(failure.is_trouble(), !is_refusal && !is_ours, "{failure:?}");
        assert_eq!(failure.is_ours(), is_ours, "{failure:?}");
    }
}

#[tokio::test]
async fn debug_forms_keep_personal_data_out_of_logs() {
    let receiver = Receiver::once(OK.replace("ok", "me")).await;
    let request = Request::post(format!("{}?gaid=someone", receiver.url()), "text/plain", "someone");
    let request_shown = format!("{request:?}");
    let exchange = sender().send(request, AMPLE).await;
    for shown in [request_shown, format!("{exchange:?}")] {
        assert!(!shown.contains("someone"), "{shown}");
    }
}
