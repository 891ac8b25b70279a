//! The operator's proxy, good and ill.

use std::net::{IpAddr, SocketAddr};

use roundtrip_engine::sender::{Config, Exchange, Failure, Outcome, Proxy, Request, Resolve, Sender};
use tokio::io::{AsyncWriteExt as _, copy_bidirectional};
use tokio::net::TcpStream;

use super::receiver::{Receiver, Seen, reset};
use super::{AMPLE, SHORT, loopback_guard};

/// A sender that leaves through the proxy at this address.
fn sender(proxy: SocketAddr, userinfo: &str, resolve: Resolve) -> Sender {
    let proxy: Proxy = format!("http://{userinfo}{proxy}").parse().unwrap();
    Sender::new(&Config { proxy: Some(proxy), resolve, ..Config::default() }, loopback_guard()).unwrap()
}

fn loopback() -> Resolve {
    Resolve::scripted(|_| Ok(vec![IpAddr::from([127, 0, 0, 1])]))
}

/// Connects to whatever it is asked for and passes the bytes on.
async fn honest() -> Receiver {
    Receiver::start(|_, mut stream, seen| async move { pass(&mut stream, &seen).await }).await
}

async fn pass(stream: &mut TcpStream, seen: &Seen) {
    let Some(request) = seen.request(stream).await else { return };
    let text = String::from_utf8_lossy(&request).into_owned();
    let target = text.split(' ').nth(1).unwrap_or_default().to_owned();
    let Ok(mut behind) = TcpStream::connect(&target).await else {
        let _ = stream.write_all(b"HTTP/1.1 502 Bad Gateway\r\n\r\n").await;
        return;
    };
    if stream.write_all(b"HTTP/1.1 200 Connection established\r\nvia: x\r\n\r\n").await.is_ok() {
        let _ = copy_bidirectional(stream, &mut behind).await;
    }
}

#[tokio::test]
async fn requests_leave_through_the_proxy_to_the_checked_address() {
    let (proxy, receiver) = (honest().await, Receiver::polite().await);
    let sender = sender(proxy.address, "us%65r:p%40ss@", loopback());
    let url = format!("http://partner.example:{}/x", receiver.address.port());
    let exchange = sender.send(Request::get(&url), AMPLE).await;
    assert_eq!(exchange.outcome, Outcome::Answered { status: 200 }, "{exchange:?}");
    let evidence = &exchange.evidence;
    assert_eq!(evidence.address, Some(receiver.address), "the destination, not the proxy");
    assert_eq!(evidence.via.as_deref(), Some(proxy.address.to_string().as_str()));
    assert!(evidence.timings.connect_us.is_some());

    // The name stays here: the proxy has nothing to look up. `user:p@ss`
    let wanted = format!(
        "CONNECT {0} HTTP/1.1\r\nHost: {0}\r\nProxy-Authorization: Basic dXNlcjpwQHNz\r\n\r\n",
        receiver.address
    );
    assert_eq!(proxy.seen.requests(), [wanted]);
    let told = &receiver.seen.requests()[0];
    assert!(told.starts_with("GET /x HTTP/1.1\r\nhost: partner.example:"), "{told}");
    assert!(!told.to_lowercase().contains("proxy"), "{told}");
    let everything = format!("{evidence:?}{:?}{sender:?}", evidence.request.headers);
    assert!(!everything.contains("p@ss") && !everything.contains("dXNlcjpwQHNz"));

    // A tunnel is kept like any connection.
    let again = sender.send(Request::get(&url), AMPLE).await;
    assert!(again.evidence.reused, "{again:?}");
    assert_eq!(again.evidence.via, exchange.evidence.via);
    assert_eq!((proxy.seen.connections(), receiver.seen.requests().len()), (1, 2));
}

#[tokio::test]
async fn addresses_are_checked_before_the_proxy_is_asked() {
    let proxy = honest().await;
    for answer in [&["10.0.0.1"][..], &["127.0.0.1", "169.254.169.254"], &["64:ff9b::a00:1"]] {
        let resolve = Resolve::scripted(move |_| Ok(answer.iter().map(|ip| ip.parse().unwrap()).collect()));
        let exchange = sender(proxy.address, "", resolve)
            .send(Request::get("http://partner.example:8080/"), AMPLE)
            .await;
        assert_eq!(exchange.outcome, Outcome::Failed(Failure::RefusedAddress), "{answer:?}: {exchange:?}");
    }
    let exchange =
        sender(proxy.address, "", loopback()).send(Request::get("http://192.168.0.1/"), AMPLE).await;
    assert_eq!(exchange.outcome, Outcome::Failed(Failure::RefusedAddress));
    assert_eq!(proxy.seen.connections(), 0);
}

fn is_ours(exchange: &Exchange, because: &str) {
    assert_eq!(exchange.outcome, Outcome::Failed(Failure::Proxy), "{exchange:?}");
    assert!(!Failure::Proxy.is_trouble() && Failure::Proxy.is_ours());
    let error = exchange.evidence.error.as_deref().unwrap();
    assert!(error.contains(because), "{error}");
    assert!(!exchange.evidence.request_written);
}

#[tokio::test]
async fn an_ill_proxy_is_our_trouble_and_never_the_receivers() {
    let receiver = Receiver::polite().await;
    let request = || Request::get(receiver.url());
    for (answer, because) in [
        (&b"HTTP/1.1 407 Proxy Authentication Required\r\n\r\n"[..], "other credentials (407)"),
        (b"HTTP/1.1 502 Bad Gateway\r\ncontent-length: 3\r\n\r\nbad", "would not connect"),
        (b"HTTP/1.1 302 Found\r\nlocation: http://127.0.0.1/\r\n\r\n", "(302)"),
        (b"SSH-2.0-OpenSSH\r\n\r\n", "not HTTP"),
        (b"HTTP/1.1 200 OK\r\n\r\nHTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n", "more than a tunnel has"),
        (b"HTTP/1.1 200 OK\r\n", "closed the connection"),
        (b"", "closed the connection"),
    ] {
        let proxy = Receiver::once(answer).await;
        is_ours(&sender(proxy.address, "", loopback()).send(request(), AMPLE).await, because);
    }
    let endless = Receiver::endless("HTTP/1.1 200 OK\r\nx: ", vec![b'a'; 4096]).await;
    is_ours(&sender(endless.address, "", loopback()).send(request(), AMPLE).await, "longer than is read");
    let silent = Receiver::then_silent("").await;
    is_ours(&sender(silent.address, "", loopback()).send(request(), SHORT).await, "through the proxy within");
    let resets = Receiver::start(|_, mut stream, seen| async move {
        seen.request(&mut stream).await;
        reset(stream);
    })
    .await;
    is_ours(&sender(resets.address, "", loopback()).send(request(), AMPLE).await, "proxy ended");
    let gone = {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        listener.local_addr().unwrap()
    };
    is_ours(&sender(gone, "", loopback()).send(request(), AMPLE).await, "was not reached");
    let nameless: Proxy = "http://proxy.example:3128".parse().unwrap();
    let resolve = Resolve::scripted(|_| Err(std::io::Error::other("no such name")));
    let config = Config { proxy: Some(nameless), resolve, ..Config::default() };
    let sender = Sender::new(&config, loopback_guard()).unwrap();
    is_ours(&sender.send(request(), AMPLE).await, "name was not resolved");
    assert_eq!(receiver.seen.connections(), 0);
}

#[tokio::test]
async fn what_the_environment_says_of_proxies_is_not_read() {
    // The tests' own environment is left alone: a sender has no other way to hear of a proxy than its settings.
    assert!(Config::default().proxy.is_none());
    let receiver = Receiver::polite().await;
    let exchange = super::sender().send(Request::get(receiver.url()), AMPLE).await;
    assert_eq!((exchange.evidence.via, receiver.seen.connections()), (None, 1));
}

#[tokio::test]
async fn the_address_to_send_from_is_used_and_a_wrong_one_is_our_fault() {
    let receiver = Receiver::start(|_, mut stream, seen| async move {
        let from = stream.peer_addr().map(|address| address.ip().to_string()).unwrap_or_default();
        if seen.request(&mut stream).await.is_some() {
            let length = from.len();
            let _ = stream
                .write_all(format!("HTTP/1.1 200 X\r\ncontent-length: {length}\r\n\r\n{from}").as_bytes())
                .await;
        }
    })
    .await;
    let from = |address: &str| {
        let config = Config { bind_v4: Some(address.parse().unwrap()), ..Config::default() };
        Sender::new(&config, loopback_guard()).unwrap()
    };
    let exchange = from("127.0.0.7").send(Request::get(receiver.url()), AMPLE).await;
    assert_eq!(&exchange.evidence.answer.unwrap().body[..], b"127.0.0.7");
    // A documentation address is nobody's.
    let exchange = from("192.0.2.1").send(Request::get(receiver.url()), AMPLE).await;
    assert_eq!(exchange.outcome, Outcome::Failed(Failure::Local), "{exchange:?}");
    assert!(exchange.evidence.error.unwrap().starts_with("send from 192.0.2.1: "));
    assert!(Failure::Local.is_ours() && !Failure::Local.is_trouble());
}
