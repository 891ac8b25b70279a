//! Many connections at once, and connections that never say anything.

use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::task::JoinSet;

use super::{click, document, found, redirected, stored_clicks};
use crate::house::{House, Line};
use crate::process::WAIT;

/// Connections that hold a place.
const IDLE: usize = 500;
/// How long others may take meanwhile. It is far from what they take, and as far from the 10 s after which an idle
/// connection is closed: they must not have waited for that.
const MEANWHILE: Duration = Duration::from_secs(8);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn idle_and_slow_connections_stop_nobody_and_are_closed() {
    let mut house = House::new(&[]);
    house.start();
    house.apply(&document()).await;
    let mut idle = Vec::with_capacity(IDLE);
    for n in 0..IDLE {
        let mut stream = TcpStream::connect(house.public()).await.expect("it listens");
        // Some say nothing, some stop inside the line, some inside a header, some before the body that they announced.
        let beginning: &[u8] = match n % 4 {
            0 => b"",
            1 => b"GET /c/li",
            2 => b"GET /c/link HTTP/1.1\r\nhost: x\r\nx-slow: ",
            _ => b"POST /v1/events HTTP/1.1\r\nhost: x\r\ncontent-length: 10",
        };
        stream.write_all(beginning).await.expect("it reads");
        idle.push(stream);
    }
    let began = Instant::now();
    let ids = stored_clicks(&house, 50).await;
    let took = began.elapsed();
    assert_eq!(found(&house, &ids).await, 50);
    assert!(took < MEANWHILE, "50 clicks took {took:?} beside {IDLE} idle connections");

    // Nobody holds a place for ever: each of them is closed, without or with a word.
    let closed = async {
        for stream in &mut idle {
            let mut rest = Vec::new();
            // A reset is an end as well.
            drop(stream.read_to_end(&mut rest).await);
        }
    };
    tokio::time::timeout(WAIT, closed).await.expect("idle connections are closed");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_storm_of_connections_is_answered() {
    let mut house = House::new(&["--connections-max=64"]);
    house.start();
    house.apply(&document()).await;
    let address = house.public();
    let mut storm = JoinSet::new();
    for _ in 0..IDLE {
        let address = address.clone();
        storm.spawn(async move {
            let mut line = Line::to(&address);
            let (id, answer) = redirected(&mut line, &click("")).await;
            (!answer.is_unstored()).then_some(id)
        });
    }
    let mut ids = Vec::new();
    while let Some(ended) = storm.join_next().await {
        ids.extend(ended.unwrap_or_else(|error| std::panic::resume_unwind(error.into_panic())));
    }
    assert!(!ids.is_empty(), "no click of the storm was stored");
    assert_eq!(found(&house, &ids).await, ids.len());
    let unstored = house.metric("roundtrip_ingest_touches_unstored_total").await;
    assert_eq!(unstored as usize + ids.len(), IDLE, "each click is either stored or counted");
}
