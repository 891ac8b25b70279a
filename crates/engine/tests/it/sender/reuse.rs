use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use roundtrip_engine::sender::{Config, Failure, Limits, Outcome, Request, Resolve};
use tokio::io::AsyncWriteExt;
use tokio::sync::Notify;

use super::receiver::{OK, Receiver};
use super::{AMPLE, sender, sender_with, until};

const ANSWERED: Outcome = Outcome::Answered { status: 200 };

fn post(receiver: &Receiver) -> Request {
    Request::post(receiver.url(), "text/plain", "paid")
}

#[tokio::test]
async fn a_connection_serves_the_next_request() {
    let receiver = Receiver::polite().await;
    let sender = sender();
    let first = sender.send(post(&receiver), AMPLE).await;
    assert_eq!(first.outcome, ANSWERED);
    assert!(!first.evidence.reused && first.evidence.timings.connect_us.is_some());
    for _ in 0..5 {
        let next = sender.send(post(&receiver), AMPLE).await;
        assert_eq!(next.outcome, ANSWERED);
        assert!(next.evidence.reused && !next.evidence.repeated, "{next:?}");
        assert_eq!(next.evidence.timings.connect_us, None);
        assert_eq!(next.evidence.address, Some(receiver.address));
    }
    assert_eq!(receiver.seen.connections(), 1);
    assert_eq!((sender.idle_connections(), sender.open_connections()), (1, 1));
}

#[tokio::test]
async fn a_connection_the_peer_closed_while_idle_is_not_used() {
    let receiver = Receiver::once(OK).await;
    let sender = sender();
    for sent in 1..=3 {
        let exchange = sender.send(post(&receiver), AMPLE).await;
        assert_eq!(exchange.outcome, ANSWERED, "{exchange:?}");
        assert!(!exchange.evidence.reused && !exchange.evidence.repeated, "{exchange:?}");
        until("the close is noticed", || sender.idle_connections() == 0).await;
        assert_eq!(receiver.seen.requests().len(), sent);
    }
}

/// Answers the first request of its first connection, reads the second and closes; polite from then on.
async fn closes_on_second_request() -> Receiver {
    Receiver::start(|number, mut stream, seen| async move {
        let mut answered = 0;
        while seen.request(&mut stream).await.is_some() {
            if number == 0 && answered == 1 {
                return;
            }
            if stream.write_all(OK.as_bytes()).await.is_err() {
                return;
            }
            answered += 1;
        }
    })
    .await
}

#[tokio::test]
async fn a_safe_method_is_repeated_once_on_a_fresh_connection() {
    let receiver = closes_on_second_request().await;
    let sender = sender();
    assert_eq!(sender.send(Request::get(receiver.url()), AMPLE).await.outcome, ANSWERED);
    let second = sender.send(Request::get(receiver.url()), AMPLE).await;
    assert_eq!(second.outcome, ANSWERED, "{second:?}");
    assert!(second.evidence.repeated && !second.evidence.reused);
    assert!(second.evidence.timings.connect_us.is_some());
    assert_eq!(receiver.seen.connections(), 2);
}

#[tokio::test]
async fn a_post_that_may_have_been_processed_is_not_repeated() {
    let receiver = closes_on_second_request().await;
    let sender = sender();
    assert_eq!(sender.send(post(&receiver), AMPLE).await.outcome, ANSWERED);
    let second = sender.send(post(&receiver), AMPLE).await;
    assert_eq!(second.outcome, Outcome::Failed(Failure::Reset), "{second:?}");
    assert!(second.evidence.reused && !second.evidence.repeated && second.evidence.request_written);
    assert_eq!(receiver.seen.requests().len(), 2);
    assert_eq!(receiver.seen.connections(), 1);
}

#[tokio::test]
async fn the_last_answer_of_a_connection_is_not_parked() {
    for answer in [
        "HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: 2\r\n\r\nok",
        "HTTP/1.1 200 OK\r\nConnection: x, Close\r\ncontent-length: 2\r\n\r\nok",
        "HTTP/1.0 200 OK\r\ncontent-length: 2\r\n\r\nok",
    ] {
        let receiver = Receiver::then_silent(answer).await;
        let sender = sender();
        assert_eq!(sender.send(post(&receiver), AMPLE).await.outcome, ANSWERED);
        assert_eq!((sender.idle_connections(), sender.open_connections()), (0, 0), "{answer}");
    }
}

#[tokio::test]
async fn an_old_connection_is_not_reused() {
    let receiver = Receiver::polite().await;
    let sender = sender_with(Config { age_max_ms: 0, ..Config::default() });
    for _ in 0..2 {
        let exchange = sender.send(post(&receiver), AMPLE).await;
        assert_eq!(exchange.outcome, ANSWERED);
        assert!(!exchange.evidence.reused);
    }
    assert_eq!(receiver.seen.connections(), 2);
}

#[tokio::test]
async fn an_idle_connection_is_closed_without_further_traffic() {
    let receiver = Receiver::polite().await;
    let sender = sender_with(Config { idle_max_ms: 30, ..Config::default() });
    assert_eq!(sender.send(post(&receiver), AMPLE).await.outcome, ANSWERED);
    until("the receiver sees the close", || receiver.seen.ended() == 1).await;
    assert_eq!(sender.open_connections(), 0);
}

#[tokio::test]
async fn the_total_is_capped_and_the_longest_idle_gives_way() {
    let (first, second, third) =
        (Receiver::polite().await, Receiver::polite().await, Receiver::polite().await);
    let sender = sender_with(Config { connections_max: 2, ..Config::default() });
    for receiver in [&first, &second, &third] {
        assert_eq!(sender.send(post(receiver), AMPLE).await.outcome, ANSWERED);
        assert!(sender.open_connections() <= 2);
    }
    until("the first is closed", || first.seen.ended() == 1).await;
    assert!(sender.send(post(&second), AMPLE).await.evidence.reused);
    assert!(sender.send(post(&third), AMPLE).await.evidence.reused);
}

#[tokio::test]
async fn idle_connections_per_endpoint_are_capped() {
    let gate = Arc::new(tokio::sync::Barrier::new(5));
    let shared = gate.clone();
    let receiver = Receiver::start(move |_, mut stream, seen| {
        let gate = shared.clone();
        async move {
            while seen.request(&mut stream).await.is_some() {
                gate.wait().await;
                if stream.write_all(OK.as_bytes()).await.is_err() {
                    break;
                }
            }
        }
    })
    .await;
    let sender = sender_with(Config { idle_per_key_max: 2, ..Config::default() });
    let mut sends = tokio::task::JoinSet::new();
    for _ in 0..5 {
        let (sender, request) = (sender.clone(), post(&receiver));
        sends.spawn(async move { sender.send(request, AMPLE).await.outcome });
    }
    assert_eq!(sends.join_all().await, [ANSWERED; 5]);
    assert_eq!(receiver.seen.connections(), 5);
    assert_eq!((sender.idle_connections(), sender.open_connections()), (2, 2));
}

#[tokio::test]
async fn when_all_connections_are_busy_the_wait_ends_at_the_deadline_or_when_one_is_free() {
    let release = Arc::new(Notify::new());
    let shared = release.clone();
    let busy = Receiver::start(move |_, mut stream, seen| {
        let release = shared.clone();
        async move {
            while seen.request(&mut stream).await.is_some() {
                release.notified().await;
                if stream.write_all(OK.as_bytes()).await.is_err() {
                    break;
                }
            }
        }
    })
    .await;
    let other = Receiver::polite().await;
    let sender = sender_with(Config { connections_max: 1, ..Config::default() });
    let holding = tokio::spawn({
        let (sender, request) = (sender.clone(), post(&busy));
        async move { sender.send(request, AMPLE).await }
    });
    until("the slot is taken", || busy.seen.requests().len() == 1).await;

    let crowded = sender.send(post(&other), Limits { total_ms: 100, ..AMPLE }).await;
    assert_eq!(crowded.outcome, Outcome::Failed(Failure::PoolFull));
    assert!(!Failure::PoolFull.is_trouble());

    // The connection that becomes free would be kept for its own endpoint, were nobody waiting.
    let waiting = tokio::spawn({
        let (sender, request) = (sender.clone(), post(&other));
        async move { sender.send(request, AMPLE).await }
    });
    tokio::task::yield_now().await;
    release.notify_one();
    assert_eq!(holding.await.unwrap().outcome, ANSWERED);
    assert_eq!(waiting.await.unwrap().outcome, ANSWERED);
    assert_eq!(sender.open_connections(), 1);
}

#[tokio::test]
async fn dropping_a_send_frees_its_connection() {
    let receiver = Receiver::then_silent("").await;
    let sender = sender();
    let hanging = tokio::spawn({
        let (sender, request) = (sender.clone(), post(&receiver));
        async move { sender.send(request, AMPLE).await }
    });
    until("the request is there", || receiver.seen.requests().len() == 1).await;
    hanging.abort();
    until("the receiver sees the close", || receiver.seen.ended() == 1).await;
    assert_eq!(sender.open_connections(), 0);
}

#[tokio::test]
async fn a_name_is_looked_up_once_per_connection() {
    let receiver = Receiver::polite().await;
    let lookups = Arc::new(AtomicUsize::new(0));
    let counted = lookups.clone();
    let resolve = Resolve::scripted(move |_| {
        counted.fetch_add(1, Ordering::SeqCst);
        Ok(vec!["127.0.0.1".parse().unwrap()])
    });
    let sender = sender_with(Config { resolve, ..Config::default() });
    let url = format!("http://partner.example:{}/", receiver.address.port());
    for _ in 0..3 {
        assert_eq!(sender.send(Request::get(&url), AMPLE).await.outcome, ANSWERED);
    }
    assert_eq!(lookups.load(Ordering::SeqCst), 1);
    assert!(receiver.seen.requests()[0].contains("host: partner.example:"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_senders_share_few_connections() {
    let receivers = [Receiver::polite().await, Receiver::polite().await, Receiver::polite().await];
    let sender = sender_with(Config { connections_max: 5, idle_per_key_max: 2, ..Config::default() });
    let mut sends = tokio::task::JoinSet::new();
    for number in 0..300 {
        let (sender, request) = (sender.clone(), post(&receivers[number % 3]));
        sends.spawn(async move {
            let exchange = sender.send(request, AMPLE).await;
            assert!(sender.open_connections() <= 5);
            exchange.outcome
        });
    }
    assert_eq!(sends.join_all().await, [ANSWERED; 300]);
    for receiver in &receivers {
        assert_eq!(receiver.seen.requests().len(), 100);
    }
}
