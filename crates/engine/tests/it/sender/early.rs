//! Receivers that answer before they have read, that close on what was sent, and that send anything at all.

use std::time::{Duration, Instant};

use bytes::Bytes;
use proptest::prelude::*;
use proptest::test_runner::{Config as Cases, TestRunner};
use roundtrip_engine::sender::{BodyEnd, Failure, Limits, Outcome, Request};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use super::receiver::{OK, Receiver};
use super::{AMPLE, SHORT, sender, until};

#[tokio::test]
async fn an_answer_before_the_request_is_read_counts_or_is_a_reset_but_is_never_repeated() {
    for size in [10, 32 << 20] {
        let receiver = Receiver::start(|_, mut stream, _| async move {
            // The first bytes, so that the request has begun; then an answer, and the rest is left unread. What is
            // unread when it closes turns the close into a reset, which may overtake the answer.
            let mut first = [0; 16];
            let _ = stream.read_exact(&mut first).await;
            let _ = stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok").await;
        })
        .await;
        let request = Request::post(receiver.url(), "text/plain", Bytes::from(vec![b'x'; size]));
        let exchange = sender().send(request, AMPLE).await;
        match exchange.outcome {
            Outcome::Answered { status } => assert_eq!(status, 200),
            Outcome::Failed(failure) => assert_eq!(failure, Failure::Reset, "{exchange:?}"),
        }
        assert!(exchange.evidence.request_written);
        assert_eq!(exchange.evidence.address, Some(receiver.address));
        assert_eq!(receiver.seen.connections(), 1, "a request that may have been read is sent once");
    }
}

#[tokio::test]
async fn an_answer_while_the_request_is_still_written_is_taken_and_the_connection_given_up() {
    let receiver = Receiver::start(|_, mut stream, _| async move {
        let mut first = [0; 16];
        let _ = stream.read_exact(&mut first).await;
        let _ = stream.write_all(b"HTTP/1.1 413 Too Large\r\ncontent-length: 0\r\n\r\n").await;
        // It stays open and reads nothing more, until the sender has gone.
        std::future::pending::<()>().await;
    })
    .await;
    let sender = sender();
    let request = Request::post(receiver.url(), "text/plain", Bytes::from(vec![b'x'; 32 << 20]));
    let exchange = sender.send(request, SHORT).await;
    assert_eq!(exchange.outcome, Outcome::Answered { status: 413 }, "{exchange:?}");
    until("the connection is closed", || sender.open_connections() == 0).await;
}

#[tokio::test]
async fn two_gigabytes_with_a_200_cost_the_limit_and_no_more() {
    let (told, written) = std::sync::mpsc::channel();
    let receiver = Receiver::start(move |_, mut stream, seen| {
        let told = told.clone();
        async move {
            if seen.request(&mut stream).await.is_none() {
                return;
            }
            let head = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n", 2_u64 << 30);
            let chunk = vec![b'x'; 64 << 10];
            let mut sent = 0_u64;
            let mut ended = stream.write_all(head.as_bytes()).await;
            // Lazily: only as much is made as is taken.
            while ended.is_ok() && sent < 2 << 30 {
                ended = stream.write_all(&chunk).await;
                sent += chunk.len() as u64;
            }
            let _ = told.send(sent);
        }
    })
    .await;
    let began = Instant::now();
    let exchange = sender().send(Request::get(receiver.url()), AMPLE).await;
    assert_eq!(exchange.outcome, Outcome::Answered { status: 200 });
    let answer = exchange.evidence.answer.unwrap();
    assert_eq!((answer.body_end, answer.body.len()), (BodyEnd::ReadLimit, AMPLE.body_kept_max));
    assert!(answer.body_bytes_read < (AMPLE.body_read_max + 32 * 1024) as u64);
    assert!(began.elapsed() < Duration::from_millis(AMPLE.total_ms));
    until("the connection is closed", || receiver.seen.ended() == 1).await;
    // What lay in the system's buffers when we closed is all that it got rid of.
    assert!(written.recv().unwrap() < 64 << 20);
}

#[tokio::test]
async fn a_bomb_is_bytes_like_others() {
    // The head of a gzip stream, then blocks of zeros that a reader would blow up a thousandfold.
    let gzip = [0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 3];
    for encoding in ["gzip", "br", "zstd", "deflate, gzip"] {
        let receiver = Receiver::start(move |_, mut stream, seen| async move {
            if seen.request(&mut stream).await.is_none() {
                return;
            }
            let head = format!("HTTP/1.1 200 OK\r\ncontent-encoding: {encoding}\r\n\r\n");
            let mut ended = stream.write_all(head.as_bytes()).await;
            if ended.is_ok() {
                ended = stream.write_all(&gzip).await;
            }
            while ended.is_ok() {
                ended = stream.write_all(&[0; 16 << 10]).await;
            }
        })
        .await;
        let exchange = sender().send(Request::get(receiver.url()), AMPLE).await;
        let answer = exchange.evidence.answer.unwrap();
        assert_eq!((answer.status, answer.body_end), (200, BodyEnd::ReadLimit));
        assert_eq!(&answer.body[..10], gzip, "as they came");
        assert_eq!(answer.body.len(), AMPLE.body_kept_max);
        let told = receiver.seen.requests()[0].to_ascii_lowercase();
        assert!(!told.contains("accept-encoding") && !told.contains("\r\nte:"), "{told}");
    }
}

#[tokio::test]
async fn limits_are_set_within_their_range() {
    for (asked, total, connect) in [(0, 1_000, 1_000), (500, 1_000, 1_000), (3_000, 3_000, 3_000)] {
        let limits = Limits::WEBHOOK.within_ms(asked);
        assert_eq!((limits.total_ms, limits.connect_ms), (total, connect));
    }
    for (asked, total) in [(30_000, 30_000), (30_001, 30_000), (u64::MAX, 30_000)] {
        let limits = Limits::WEBHOOK.within_ms(asked);
        assert_eq!((limits.total_ms, limits.connect_ms), (total, 5_000));
    }
    let webhook = Limits::WEBHOOK;
    assert_eq!((webhook.connect_ms, webhook.total_ms), (5_000, 15_000));
    assert_eq!((webhook.body_read_max, webhook.body_kept_max), (64 * 1024, 4 * 1024));
    assert_eq!(Limits::POSTBACK.total_ms, 10_000);
    let silent = Receiver::then_silent("").await;
    let began = Instant::now();
    let exchange = sender().send(Request::get(silent.url()), Limits::WEBHOOK.within_ms(1)).await;
    assert_eq!(exchange.outcome, Outcome::Failed(Failure::Timeout));
    assert!((1_000..3_000).contains(&began.elapsed().as_millis()));
}

/// Bytes that look like an answer in places.
fn answers() -> impl Strategy<Value = Vec<u8>> {
    let piece = prop_oneof![
        Just(OK.as_bytes().to_vec()),
        Just(b"HTTP/1.1 200 OK\r\n".to_vec()),
        Just(b"HTTP/1.1 100 Continue\r\n\r\n".to_vec()),
        Just(b"HTTP/1.0 503 \r\n".to_vec()),
        Just(b"content-length: 5\r\n".to_vec()),
        Just(b"content-length: 18446744073709551616\r\n".to_vec()),
        Just(b"transfer-encoding: chunked\r\n".to_vec()),
        Just(b"transfer-encoding: gzip, chunked\r\n".to_vec()),
        Just(b"retry-after: 9999999999999999999999\r\n".to_vec()),
        Just(b"set-cookie: a=b\r\n folded: yes\r\n".to_vec()),
        Just(b"\r\n".to_vec()),
        Just(b"\n\n".to_vec()),
        Just(b"5\r\nhello\r\n".to_vec()),
        Just(b"fffffffff\r\n".to_vec()),
        Just(b"0\r\n\r\n".to_vec()),
        proptest::collection::vec(any::<u8>(), 0..40),
    ];
    proptest::collection::vec(piece, 0..8).prop_map(|pieces| pieces.concat())
}

#[test]
fn any_answer_has_an_outcome() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let mut runner = TestRunner::new(Cases { cases: 300, failure_persistence: None, ..Cases::default() });
    let ran = runner.run(&(answers(), any::<bool>()), |(bytes, closes)| {
        let exchange = runtime.block_on(async {
            let receiver =
                if closes { Receiver::once(bytes).await } else { Receiver::then_silent(bytes).await };
            let limits = Limits { total_ms: 40, connect_ms: 40, ..SHORT };
            let limits = if closes { AMPLE } else { limits };
            sender().send(Request::get(receiver.url()), limits).await
        });
        match exchange.outcome {
            Outcome::Answered { status } => {
                let answer = exchange.evidence.answer.unwrap();
                prop_assert_eq!(answer.status, status);
                prop_assert!(answer.body.len() as u64 <= answer.body_bytes_read);
                prop_assert!(!closes || answer.body_end != BodyEnd::Timeout);
            }
            Outcome::Failed(failure) => {
                let likely = [Failure::Protocol, Failure::Reset, Failure::Timeout, Failure::ConnectTimeout];
                prop_assert!(likely.contains(&failure), "{:?}", failure);
                prop_assert!(!closes || failure != Failure::Timeout, "nothing waits for one who has closed");
                prop_assert!(exchange.evidence.answer.is_none() && exchange.evidence.error.is_some());
            }
        }
        Ok(())
    });
    ran.unwrap();
}
