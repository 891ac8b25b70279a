use std::time::{Duration, Instant};

use bytes::Bytes;
use roundtrip_engine::sender::{BodyEnd, Exchange, Failure, Limits, Outcome, Request};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpSocket, TcpStream};

use super::receiver::{OK, Receiver, reset};
use super::{AMPLE, SHORT, sender};

async fn get(receiver: &Receiver, limits: Limits) -> Exchange {
    let began = Instant::now();
    let exchange = sender().send(Request::get(receiver.url()), limits).await;
    // One deadline over everything: generous slack for a busy machine, far below any multiple of it.
    assert!(began.elapsed() < Duration::from_millis(limits.total_ms + 1_000), "{exchange:?}");
    // Whatever it did to us, who it was is known.
    assert_eq!(exchange.evidence.address, Some(receiver.address), "{exchange:?}");
    exchange
}

fn failed(exchange: &Exchange, failure: Failure) {
    assert_eq!(exchange.outcome, Outcome::Failed(failure), "{exchange:?}");
    assert!(exchange.evidence.error.is_some(), "{exchange:?}");
    assert!(exchange.evidence.answer.is_none(), "{exchange:?}");
}

fn answered(exchange: &Exchange, status: u16, end: BodyEnd) {
    assert_eq!(exchange.outcome, Outcome::Answered { status }, "{exchange:?}");
    let answer = exchange.evidence.answer.as_ref().unwrap();
    assert_eq!(answer.body_end, end, "{exchange:?}");
    assert_eq!(exchange.evidence.error.is_some(), end.is_error(), "{exchange:?}");
    assert!(answer.body.len() <= AMPLE.body_kept_max);
    assert!(answer.body_bytes_read <= (AMPLE.body_read_max + 32 * 1024) as u64);
}

#[tokio::test]
async fn a_reset_before_the_answer_is_a_reset() {
    let receiver = Receiver::start(|_, mut stream, seen| async move {
        seen.request(&mut stream).await;
        reset(stream);
    })
    .await;
    let exchange = get(&receiver, AMPLE).await;
    failed(&exchange, Failure::Reset);
    assert!(exchange.evidence.request_written);
    // A fresh connection is never tried twice, not even for a safe method.
    assert_eq!(receiver.seen.connections(), 1);
    assert!(!exchange.evidence.repeated);
}

#[tokio::test]
async fn a_close_or_reset_within_the_head_is_a_reset() {
    for answer in ["", "HTTP/1.1 200 OK\r\ncontent-le", "HTTP/1.1 2"] {
        failed(&get(&Receiver::once(answer).await, AMPLE).await, Failure::Reset);
    }
    let receiver = Receiver::start(|_, mut stream, seen| async move {
        seen.request(&mut stream).await;
        stream.write_all(b"HTTP/1.1 200 OK\r\nserver: x\r\n").await.unwrap();
        reset(stream);
    })
    .await;
    failed(&get(&receiver, AMPLE).await, Failure::Reset);
}

#[tokio::test]
async fn a_body_that_breaks_off_keeps_the_status_and_says_so() {
    let cut = "HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\nsuccess=tr";
    let exchange = get(&Receiver::once(cut).await, AMPLE).await;
    answered(&exchange, 200, BodyEnd::CutShort);
    let answer = exchange.evidence.answer.unwrap();
    assert_eq!(&answer.body[..], b"success=tr");
    assert!(answer.body_truncated);

    let chunked = "HTTP/1.1 503 No\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhello\r\n";
    answered(&get(&Receiver::once(chunked).await, AMPLE).await, 503, BodyEnd::CutShort);

    let receiver = Receiver::start(|_, mut stream, seen| async move {
        seen.request(&mut stream).await;
        stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\nab").await.unwrap();
        reset(stream);
    })
    .await;
    // Linux may throw away unread bytes on a reset, so the head is not sure to be seen.
    let exchange = get(&receiver, AMPLE).await;
    match exchange.outcome {
        Outcome::Answered { .. } => answered(&exchange, 200, BodyEnd::CutShort),
        Outcome::Failed(_) => failed(&exchange, Failure::Reset),
    }
}

#[tokio::test]
async fn nobody_listening_is_a_connect_failure() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    drop(listener);
    let exchange = sender().send(Request::get(format!("http://{address}/")), AMPLE).await;
    failed(&exchange, Failure::Connect);
    assert_eq!(exchange.evidence.address, Some(address));
    assert!(!exchange.evidence.request_written);
}

#[tokio::test]
async fn a_listener_that_never_accepts_is_a_connect_timeout() {
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let listener = socket.listen(1).unwrap();
    let address = listener.local_addr().unwrap();
    // Fill the backlog until a connection no longer comes through.
    let mut filling = Vec::new();
    while let Ok(connected) =
        tokio::time::timeout(Duration::from_millis(100), TcpStream::connect(address)).await
    {
        filling.push(connected.unwrap());
        assert!(filling.len() < 64, "the backlog has no end here");
    }
    let limits = Limits { connect_ms: 150, ..AMPLE };
    let began = Instant::now();
    let exchange = sender().send(Request::get(format!("http://{address}/")), limits).await;
    failed(&exchange, Failure::ConnectTimeout);
    assert!(began.elapsed() < Duration::from_secs(1));
    assert!(!exchange.evidence.request_written);
}

#[tokio::test]
async fn silence_after_the_request_is_a_timeout() {
    let exchange = get(&Receiver::then_silent("").await, SHORT).await;
    failed(&exchange, Failure::Timeout);
    assert!(exchange.evidence.request_written);
    assert!(exchange.evidence.timings.total_us >= 300_000);
    assert_eq!(exchange.evidence.timings.first_byte_us, None);
}

#[tokio::test]
async fn a_receiver_that_does_not_read_is_a_timeout() {
    let receiver = Receiver::start(|_, stream, _| async move {
        std::future::pending::<()>().await;
        drop(stream);
    })
    .await;
    let body = Bytes::from(vec![b'x'; 32 << 20]);
    let request = Request::post(receiver.url(), "text/plain", body);
    failed(&sender().send(request, SHORT).await, Failure::Timeout);
}

async fn drip(first: &'static str, drop_by_drop: &'static str) -> Receiver {
    Receiver::start(move |_, mut stream, seen| async move {
        seen.request(&mut stream).await;
        stream.set_nodelay(true).unwrap();
        let mut written = stream.write_all(first.as_bytes()).await;
        let mut pace = tokio::time::interval(Duration::from_millis(20));
        for byte in drop_by_drop.bytes().cycle() {
            if written.is_err() {
                break;
            }
            pace.tick().await;
            written = stream.write_all(&[byte]).await;
        }
    })
    .await
}

#[tokio::test]
async fn dripping_does_not_extend_the_deadline() {
    let exchange = get(&drip("HTTP/1.1 200 OK\r\n", "x-slow: yes\r\n").await, SHORT).await;
    failed(&exchange, Failure::Timeout);
    assert!(exchange.evidence.timings.first_byte_us.is_some());

    let head = "HTTP/1.1 200 OK\r\ncontent-length: 1000\r\n\r\n";
    let exchange = get(&drip(head, "z").await, SHORT).await;
    answered(&exchange, 200, BodyEnd::Timeout);
    let answer = exchange.evidence.answer.unwrap();
    assert!(!answer.body.is_empty() && answer.body.iter().all(|byte| *byte == b'z'));
    assert_eq!(answer.body.len() as u64, answer.body_bytes_read);
    assert!(answer.body_truncated);
}

#[tokio::test]
async fn bodies_without_end_are_read_to_the_limit_and_kept_to_a_smaller_one() {
    let one_byte_chunks = "1\r\nx\r\n".repeat(4096);
    for (head, again) in [
        ("HTTP/1.1 200 OK\r\n\r\n", vec![b'x'; 64 << 10]),
        ("HTTP/1.1 200 OK\r\ncontent-length: 2147483648\r\n\r\n", vec![b'x'; 64 << 10]),
        ("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n", one_byte_chunks.into_bytes()),
    ] {
        let receiver = Receiver::endless(head, again).await;
        let exchange = get(&receiver, AMPLE).await;
        answered(&exchange, 200, BodyEnd::ReadLimit);
        let answer = exchange.evidence.answer.unwrap();
        assert_eq!(answer.body.len(), AMPLE.body_kept_max);
        assert!(answer.body_bytes_read >= AMPLE.body_read_max as u64);
        assert!(answer.body_truncated);
        // The receiver's writes fail, because the connection is closed rather than kept or drained.
        super::until("the connection is closed", || receiver.seen.ended() == 1).await;
    }
}

#[tokio::test]
async fn a_body_of_exactly_the_limit_is_complete() {
    let answer = format!("HTTP/1.1 200 OK\r\ncontent-length: 65536\r\n\r\n{}", "y".repeat(65536));
    answered(&get(&Receiver::once(answer).await, AMPLE).await, 200, BodyEnd::Complete);
}

#[tokio::test]
async fn chunks_that_are_no_chunks_are_malformed() {
    for body in ["zz\r\nhello", "-5\r\nhello\r\n", "ffffffffffffffffffff\r\nhello"] {
        let answer = format!("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n{body}");
        answered(&get(&Receiver::then_silent(answer).await, AMPLE).await, 200, BodyEnd::Malformed);
    }
}

#[tokio::test]
async fn interim_answers_are_skipped_but_not_without_end() {
    let hints = format!("HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early\r\nlink: </x>\r\n\r\n{OK}");
    answered(&get(&Receiver::once(hints).await, AMPLE).await, 200, BodyEnd::Complete);

    let flood = "HTTP/1.1 103 Early\r\nx: y\r\n\r\n".repeat(1024);
    failed(&get(&Receiver::endless("", flood).await, AMPLE).await, Failure::Protocol);
}

#[tokio::test]
async fn heads_that_are_too_large_are_a_protocol_failure() {
    let long_line = format!("HTTP/1.1 200 OK\r\nx-long: {}\r\n\r\n", "a".repeat(64 << 10));
    let many = format!("HTTP/1.1 200 OK\r\n{}\r\n", "a: b\r\n".repeat(200));
    for head in [long_line, many] {
        failed(&get(&Receiver::then_silent(head).await, AMPLE).await, Failure::Protocol);
    }
    let endless = Receiver::endless("HTTP/1.1 200 OK\r\nx: ", vec![b'a'; 4096]).await;
    failed(&get(&endless, AMPLE).await, Failure::Protocol);
}

#[tokio::test]
async fn garbage_is_a_protocol_failure() {
    for garbage in [
        &b"SSH-2.0-OpenSSH_9.2\r\n\r\n"[..],
        b"<html>hello</html>\r\n\r\n",
        b"HTTP/9.9 200 OK\r\n\r\n",
        b"HTTP/1.1 999999 OK\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nbad header\r\n\r\n",
        b"HTTP/1.1 200 OK\r\ncontent-length: 1\r\ncontent-length: 2\r\n\r\nab",
        b"HTTP/1.1 200 OK\r\ncontent-length: -1\r\n\r\n",
        b"\x00\x00\x12\x04\x00\x00\x00\x00\x00\xff\xfe\xfd\r\n\r\n",
        b"\x15\x03\x01\x00\x02\x02\x28",
        // HTTP/2: settings, then GOAWAY, then RST_STREAM.
        b"\x00\x00\x00\x04\x00\x00\x00\x00\x00\x00\x00\x08\x07\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\
          \x00\x00\x04\x03\x00\x00\x00\x00\x01\x00\x00\x00\x08",
    ] {
        let exchange = get(&Receiver::once(garbage).await, AMPLE).await;
        failed(&exchange, Failure::Protocol);
    }
}

#[tokio::test]
async fn compression_is_not_asked_for_and_never_undone() {
    // The first bytes of a gzip stream; what would follow is of no interest to somebody who never decodes.
    let mut answer = b"HTTP/1.1 200 OK\r\ncontent-encoding: gzip\r\ncontent-length: 10\r\n\r\n".to_vec();
    let gzip = [0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 3];
    answer.extend(gzip);
    let receiver = Receiver::once(answer).await;
    let exchange = get(&receiver, AMPLE).await;
    answered(&exchange, 200, BodyEnd::Complete);
    assert_eq!(&exchange.evidence.answer.unwrap().body[..], gzip);
    assert!(!receiver.seen.requests()[0].to_ascii_lowercase().contains("accept-encoding"));
}

#[tokio::test]
async fn redirects_are_shown_and_not_followed() {
    let inner = Receiver::polite().await;
    for status in [301, 302, 303, 307, 308] {
        let location = format!("http://{}/admin", inner.address);
        let answer = format!("HTTP/1.1 {status} Go\r\nlocation: {location}\r\ncontent-length: 0\r\n\r\n");
        let exchange = get(&Receiver::once(answer).await, AMPLE).await;
        answered(&exchange, status, BodyEnd::Complete);
        assert_eq!(exchange.evidence.answer.unwrap().location, Some(location));
    }
    assert_eq!(inner.seen.connections(), 0);
}

#[tokio::test]
async fn an_upgrade_nobody_asked_for_is_an_answer() {
    let answer = "HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: websocket\r\n\r\n";
    let exchange = get(&Receiver::then_silent(answer).await, SHORT).await;
    assert_eq!(exchange.outcome, Outcome::Answered { status: 101 }, "{exchange:?}");
}

#[tokio::test]
async fn a_surplus_answer_is_never_given_to_the_next_request() {
    let receiver = Receiver::start(|_, mut stream, seen| async move {
        while seen.request(&mut stream).await.is_some() {
            let forged = "HTTP/1.1 201 Created\r\ncontent-length: 6\r\n\r\nforged";
            let _ = stream.write_all(format!("{OK}{forged}").as_bytes()).await;
        }
        let _ = stream.read(&mut [0; 16]).await;
    })
    .await;
    let sender = sender();
    for _ in 0..3 {
        let exchange = sender.send(Request::get(receiver.url()), AMPLE).await;
        answered(&exchange, 200, BodyEnd::Complete);
    }
    assert_eq!(receiver.seen.connections(), 3);
}
