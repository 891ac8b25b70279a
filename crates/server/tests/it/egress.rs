//! The way out of the real server: through a proxy, from an address of its own, and listed for receivers.

use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex};

use rustix::process::Signal;
use serde_json::json;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, copy_bidirectional};
use tokio::net::{TcpListener, TcpStream};

use crate::house::{Call, DESKTOP, House, Line, Partners, our_click_id, until};
use crate::process::{roundtrip, serve_arguments};

/// Who asked a proxy, and for what.
type Asked = Arc<Mutex<Vec<(IpAddr, String)>>>;

/// A proxy that connects to whatever it is asked for.
async fn proxy() -> (SocketAddr, Asked) {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let address = listener.local_addr().expect("it has an address");
    let asked = Asked::default();
    let kept = asked.clone();
    tokio::spawn(async move {
        while let Ok((stream, from)) = listener.accept().await {
            tokio::spawn(tunnel(stream, from.ip(), kept.clone()));
        }
    });
    (address, asked)
}

async fn tunnel(mut stream: TcpStream, from: IpAddr, asked: Asked) {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        match stream.read_u8().await {
            Ok(byte) => head.push(byte),
            Err(_) => return,
        }
    }
    let head = String::from_utf8_lossy(&head).into_owned();
    let target = head.split(' ').nth(1).unwrap_or_default().to_owned();
    asked.lock().expect("nobody panics with it").push((from, head));
    if let Ok(mut behind) = TcpStream::connect(target).await
        && stream.write_all(b"HTTP/1.1 200 OK\r\n\r\n").await.is_ok()
    {
        let _ = copy_bidirectional(&mut stream, &mut behind).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn postbacks_leave_as_the_operator_says_and_receivers_can_read_how() {
    let partners = Partners::open(1).await;
    let (proxy, asked) = proxy().await;
    let out = format!("--outbound-proxy=http://gate:p4ss-of-proxy@{proxy}");
    let mut house = House::new(&[
        "--allow-private=127.0.0.0/8",
        "--allow-plain-http-out",
        "--outbound-bind-v4=127.0.0.9",
        "--egress-address=198.51.100.7",
        &out,
    ]);
    house.start();
    let url = format!("http://{}/p?c={{click_id}}", partners.address());
    house
        .apply(&json!({
            "apps": { "shop": { "platform": "web", "postback": { "auth": "none" } } },
            "campaigns": { "sale": { "app": "shop", "landing_page": "https://shop.example/" } },
            "partners": { "acme": { "cfg": { "token": "t0k-of-acme" } } },
            "links": { "shop-acme": { "campaign": "sale", "partner": "acme" } },
            "rules": { "sale": {
                "app": "shop", "on": "purchase", "pending": true, "url": url, "auth": { "bearer": "cfg.token" }
            } },
        }))
        .await;
    let mut line = Line::to(&house.public());
    let visit = Call::get("/c/shop-acme?click_id=a1").browser(DESKTOP);
    let answer = line.call(&visit).await.expect("a redirect");
    let click = our_click_id(answer.location()).expect("our click id");
    let call = Call::get(&format!("/postback?click_id={click}&order_id=o-1"));
    assert_eq!(line.call(&call).await.expect("an answer").status, 200);
    let told = until("the partner is told", async || partners.told().into_iter().next()).await;
    assert_eq!((told.path.as_str(), told.parameter("c")), ("/p", "a1"));

    let asked = asked.lock().expect("nobody panicked with it").clone();
    let [(from, head)] = asked.as_slice() else { panic!("asked once: {asked:?}") };
    assert_eq!(from.to_string(), "127.0.0.9");
    assert!(head.starts_with(&format!("CONNECT {} HTTP/1.1\r\n", partners.address())), "{head}");
    // `gate:p4ss-of-proxy`
    assert!(head.contains("\r\nProxy-Authorization: Basic Z2F0ZTpwNHNzLW9mLXByb3h5\r\n"), "{head}");

    let egress = house.admin().get("/api/v1/egress").await;
    assert_eq!(
        egress,
        json!({
            "addresses": ["198.51.100.7"], "bind_v4": "127.0.0.9", "bind_v6": null, "proxy": proxy.to_string(),
            "user_agent": format!("Roundtrip/{}", env!("CARGO_PKG_VERSION")), "plain_http": true,
            "private_ranges": ["127.0.0.0/8"], "ports": []
        })
    );
    house.drained().await;
    let log = house.end(Signal::TERM);
    assert!(!log.contains("p4ss-of-proxy") && !log.contains("t0k-of-acme"), "{log}");
}

/// What a command that asks the house's server prints.
fn said(house: &House, command: &[&str]) -> String {
    let server = format!("http://{}", house.server().address("admin"));
    let mut asked = roundtrip();
    asked.args(command).args(["--server", &server]).env("ROUNDTRIP_TOKEN", &house.token);
    let ended = asked.output().expect("the binary runs");
    assert!(ended.status.success(), "{command:?}: {}", String::from_utf8_lossy(&ended.stderr));
    String::from_utf8(ended.stdout).expect("it prints text")
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_settings_do_not_allow_waits_until_they_do_and_says_so() {
    let partners = Partners::open(1).await;
    let mut house = House::new(&[]);
    house.start();
    let url = format!("http://{}/p?c={{click_id}}", partners.address());
    house
        .apply(&json!({
            "apps": { "shop": { "platform": "web", "postback": { "auth": "none" } } },
            "campaigns": { "sale": { "app": "shop", "landing_page": "https://shop.example/" } },
            "partners": { "acme": {} },
            "links": { "shop-acme": { "campaign": "sale", "partner": "acme" } },
            "rules": { "sale": {
                "app": "shop", "partner": "acme", "on": "purchase", "pending": true, "url": url
            } },
        }))
        .await;
    let mut line = Line::to(&house.public());
    let visit = Call::get("/c/shop-acme?click_id=a1").browser(DESKTOP);
    let answer = line.call(&visit).await.expect("a redirect");
    let click = our_click_id(answer.location()).expect("our click id");
    let call = Call::get(&format!("/postback?click_id={click}&order_id=o-1"));
    assert_eq!(line.call(&call).await.expect("an answer").status, 200);
    let mut admin = house.admin();
    let endpoint = until("the endpoint is seen", async || {
        let endpoint = admin.get("/api/v1/endpoints/rule:sale@acme").await["endpoint"].clone();
        endpoint["live"]["not_allowed"].is_object().then_some(endpoint)
    })
    .await;
    let refused = &endpoint["live"]["not_allowed"];
    assert_eq!(refused["code"], "plain_http_refused", "{endpoint}");
    assert_eq!(refused["switch"], "--allow-plain-http-out", "{endpoint}");

    let stands = "It is told nothing: this server's own settings do not allow plain http URLs; `roundtrip serve \
                  --allow-plain-http-out` does. Waiting: 1.";
    assert_eq!(said(&house, &["endpoint", "list"]), format!("rule:sale@acme: {stands}\n"));
    let shown = said(&house, &["endpoint", "show", "rule:sale"]);
    assert!(shown.starts_with(&format!("rule:sale@acme: {stands}\n")), "{shown}");
    assert!(
        shown.contains("  not allowed      plain_http_refused; `roundtrip serve --allow-plain-http-out`"),
        "{shown}"
    );
    let books = said(&house, &["status"]);
    assert!(books.contains("settings do not allow it: 1 plain_http_refused."), "{books}");
    assert!(
        !books.contains("A send took") && !books.contains("Sends, by answer"),
        "nothing was sent: {books}"
    );
    let listed = said(&house, &["deliveries"]);
    assert!(listed.contains("not sent") && listed.contains("--allow-plain-http-out does"), "{listed}");
    let ready = admin.text("/readyz").await;
    assert!(ready.contains("1 endpoint is told nothing because this server's settings"), "{ready}");
    let log = house.end(Signal::TERM);
    assert!(log.contains("the server's own settings do not allow an endpoint's requests"), "{log}");

    // What was looked at once is looked at again when its time comes; on somebody's word, at once, and nothing is told twice.
    let mut allowed = House::at(house.data(), &["--allow-plain-http-out", "--allow-private=127.0.0.0/8"]);
    allowed.start();
    let house = &mut allowed;
    let waits = house.admin().get("/api/v1/deliveries?state=waiting").await["items"][0]["id"].clone();
    let id = waits.as_str().expect("it waits");
    let replayed = said(house, &["replay", id]);
    let sent = format!("{id}: It waited for its next send and is sent now, under its own id; ");
    assert!(replayed.starts_with(&sent), "{replayed}");
    house.drained().await;
    assert_eq!(partners.told().len(), 1);
    assert_eq!(said(house, &["endpoint", "list"]), "rule:sale@acme: It is told.\n");
    house.end(Signal::TERM);
}

#[test]
fn an_address_that_is_not_this_machines_stops_the_start() {
    let dir = tempfile::tempdir().expect("there is room for a directory");
    // A documentation address is nobody's.
    let ended = roundtrip()
        .args(serve_arguments(dir.path()))
        .arg("--outbound-bind-v4=192.0.2.1")
        .output()
        .expect("the binary runs");
    let said = String::from_utf8_lossy(&ended.stderr);
    assert_eq!(ended.status.code(), Some(1), "{said}");
    assert!(said.contains("192.0.2.1") && said.contains("outbound_bind_v4"), "{said}");
}
