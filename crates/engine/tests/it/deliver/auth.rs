//! Rules whose requests prove who sends them, from the event to the receiver's eyes and to what is kept.

use super::*;

/// A world with one rule that proves itself so, towards this receiver, and what its partner has set.
fn proving(receiver: &Receiver, auth: &Value, cfg: &Value) -> Value {
    let mut told = rule(receiver.address, "");
    told["auth"] = auth.clone();
    told["headers"] = json!({"x-api-key": "{cfg.api_key}", "x-event": "{event_name}"});
    let mut document = with(json!({"tell": told}));
    document["partners"]["acme"]["cfg"] = cfg.clone();
    document
}

/// The story of one install that is told, once it has ended.
async fn told(house: &House, install: &str) -> (Id<kind::Event>, Story) {
    let click = house.click("game-acme", &format!("click_id={install}")).await;
    let id = house.world.record(house.event("install").of(install).click_text(&click)).await;
    (id, house.until(id, "the delivery", finished).await)
}

fn evidence(story: &Story, attempt: usize) -> Value {
    serde_json::from_str(&story.deliveries[0].attempts[attempt].body).expect("evidence")
}

#[tokio::test(flavor = "multi_thread")]
async fn basic_bearer_and_headers_are_sent_and_not_kept() {
    for (auth, sent) in [
        // `me:open sesame`
        (
            json!({"basic": {"user": "me", "password": "cfg.password"}}),
            "authorization: Basic bWU6b3BlbiBzZXNhbWU=\r\n",
        ),
        (json!({"bearer": "cfg.token"}), "authorization: Bearer t0k-of-acme\r\n"),
    ] {
        // It tells back what it was told, as receivers like to do in errors.
        let receiver = Receiver::answering(|_, request| (200, request.to_owned())).await;
        let cfg = json!({"password": "open sesame", "token": "t0k-of-acme", "api_key": "k3y-of-acme"});
        let house = House::new(&proving(&receiver, &auth, &cfg), &[10]).await;
        let engine = Engine::start(house.config.clone());
        let (_, story) = told(&house, "i1").await;
        assert_eq!(story.deliveries[0].state, "delivered", "{story:?}");
        let request = &receiver.seen.requests()[0];
        assert!(request.contains(sent), "{request}");
        assert!(request.contains("x-api-key: k3y-of-acme\r\nx-event: install\r\n"), "{request}");
        let kept = &story.deliveries[0].attempts[0].body;
        for secret in ["bWU6b3BlbiBzZXNhbWU", "open sesame", "t0k-of-acme", "k3y-of-acme"] {
            assert!(!kept.contains(secret), "{secret}: {kept}");
        }
        assert!(kept.contains(r#"["authorization","***"]"#), "{kept}");
        house.world.books_balance().await;
        engine.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn without_its_credential_nothing_is_sent_until_it_is_set_and_replayed() {
    let receiver = Receiver::polite().await;
    let auth = json!({"bearer": "cfg.token"});
    let house = House::new(&proving(&receiver, &auth, &json!({})), &[10]).await;
    let engine = Engine::start(house.config.clone());
    let (id, story) = told(&house, "i1").await;
    let delivery = &story.deliveries[0];
    assert_eq!((delivery.state.as_str(), delivery.reason.as_str()), ("dead", "auth_missing"));
    let kept = evidence(&story, 0);
    assert!(kept["missing"].as_array().is_some_and(|all| all.contains(&json!("cfg.token"))), "{kept}");
    assert_eq!(receiver.seen.connections(), 0);

    house.world.apply(&proving(&receiver, &auth, &json!({"token": "t0k-of-acme"})), false).await;
    let replayed =
        house.world.ledger.delivery_replay(house.world.workspace, delivery.id, Clock::System.now()).await;
    assert!(matches!(replayed, Ok(Replay::Planned(_))), "{replayed:?}");
    let story = house.until(id, "the replay", |s| s.deliveries.len() == 2 && finished(s)).await;
    assert_eq!(story.deliveries[1].state, "delivered");
    assert!(receiver.seen.requests()[0].contains("authorization: Bearer t0k-of-acme\r\n"));
    house.world.books_balance().await;
    engine.stop().await;
}

fn granted(n: usize) -> (u16, String) {
    (200, format!(r#"{{"access_token":"token-{n}","token_type":"bearer","expires_in":3600}}"#))
}

fn oauth2(server: &Receiver) -> Value {
    json!({"oauth2": {
        "token_url": format!("http://{}/token", server.address),
        "client_id": "cfg.id", "client_secret": "cfg.secret", "scope": "postbacks", "style": "body"
    }})
}

fn client() -> Value {
    json!({"id": "client-7", "secret": "s3cr3t-of-acme"})
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_is_fetched_kept_and_replaced_inside_one_attempt() {
    let server = Receiver::answering(|n, _| granted(n)).await;
    // The third request is the first with a token that was revoked meanwhile.
    let receiver = Receiver::answering(|n, request| {
        let is_old = n >= 2 && request.contains("Bearer token-0");
        (if is_old { 401 } else { 200 }, String::new())
    })
    .await;
    let house = House::new(&proving(&receiver, &oauth2(&server), &client()), &[3_600_000]).await;
    let engine = Engine::start(house.config.clone());
    for (n, install) in ["i1", "i2", "i3", "i4"].into_iter().enumerate() {
        let (_, story) = told(&house, install).await;
        let delivery = &story.deliveries[0];
        // One attempt each: a token's end burns no step of the schedule.
        assert_eq!((delivery.state.as_str(), delivery.sends, delivery.attempts.len()), ("delivered", 1, 1));
        let kept = evidence(&story, 0);
        assert_eq!(kept["token"]["fetched"], n == 0 || n == 2, "{kept}");
        assert_eq!(kept["token"]["origin"], format!("http://{}", server.address));
        let refused = &kept["token"]["refused"];
        assert_eq!(refused["answer"]["status"], if n == 2 { json!(401) } else { Value::Null }, "{kept}");
        assert_eq!(kept["answer"]["status"], 200);
        let text = kept.to_string();
        assert!(!text.contains("token-0") && !text.contains("token-1") && !text.contains("s3cr3t"), "{text}");
    }
    assert_eq!((server.seen.requests().len(), receiver.seen.requests().len()), (2, 5));
    let asked = &server.seen.requests()[0];
    assert!(asked.ends_with("&scope=postbacks&client_id=client-7&client_secret=s3cr3t-of-acme"), "{asked}");
    house.world.books_balance().await;
    engine.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_ill_token_server_is_trouble_that_is_tried_again() {
    let server = Receiver::answering(|n, _| {
        if n == 0 { (503, r#"{"error":"temporarily_unavailable"}"#.to_owned()) } else { granted(n) }
    })
    .await;
    let receiver = Receiver::polite().await;
    let house = House::new(&proving(&receiver, &oauth2(&server), &client()), &[5, 5]).await;
    let engine = Engine::start(house.config.clone());
    let (_, story) = told(&house, "i1").await;
    let delivery = &story.deliveries[0];
    assert_eq!((delivery.state.as_str(), delivery.sends), ("delivered", 2), "{story:?}");
    assert_eq!(delivery.attempts[0].outcome, "token_unavailable");
    let kept = evidence(&story, 0);
    assert_eq!(kept["token"]["outcome"], "http_503");
    let error = kept["error"].as_str().expect("a sentence");
    assert_eq!(error, "no token: its server answered 503 temporarily_unavailable");
    assert_eq!((&kept["answer"], &kept["request_written"]), (&Value::Null, &json!(false)));
    assert_eq!(receiver.seen.requests().len(), 1);
    house.world.books_balance().await;
    engine.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_receiver_that_takes_no_token_ends_the_delivery() {
    let server = Receiver::answering(|n, _| granted(n)).await;
    let receiver = Receiver::answering(|_, _| (401, "no".to_owned())).await;
    let house = House::new(&proving(&receiver, &oauth2(&server), &client()), &[5, 5]).await;
    let engine = Engine::start(house.config.clone());
    let (_, story) = told(&house, "i1").await;
    let delivery = &story.deliveries[0];
    let end = (delivery.state.as_str(), delivery.reason.as_str(), delivery.sends);
    assert_eq!(end, ("dead", "refused_by_receiver", 1));
    assert_eq!((server.seen.requests().len(), receiver.seen.requests().len()), (1, 1));
    house.world.books_balance().await;
    engine.stop().await;
}

/// An ill proxy is ours: the delivery waits and is sent again, and the endpoint's concurrency is not halved.
#[tokio::test(flavor = "multi_thread")]
async fn an_ill_proxy_is_tried_again() {
    let receiver = Receiver::polite().await;
    let to = receiver.address;
    let proxy = Receiver::start(move |n, mut stream, seen| async move {
        if seen.request(&mut stream).await.is_none() {
            return;
        }
        if n == 0 {
            let _ = stream.write_all(b"HTTP/1.1 503 Busy\r\n\r\n").await;
        } else if let Ok(mut behind) = tokio::net::TcpStream::connect(to).await
            && stream.write_all(b"HTTP/1.1 200 OK\r\n\r\n").await.is_ok()
        {
            let _ = tokio::io::copy_bidirectional(&mut stream, &mut behind).await;
        }
    })
    .await;
    let mut house = House::new(&with(json!({"tell": rule(receiver.address, "")})), &[5, 5]).await;
    let config = sender::Config {
        proxy: Some(format!("http://u:p4ssw0rd@{}", proxy.address).parse().expect("a proxy")),
        ..Default::default()
    };
    let guard = Guard {
        allow_private: vec!["127.0.0.0/8".parse().expect("a subnet")],
        allow_plain_http: true,
        ..Guard::default()
    };
    house.config.sender = Sender::new(&config, guard).expect("a sender");
    let engine = Engine::start(house.config.clone());
    let (_, story) = told(&house, "i1").await;
    let delivery = &story.deliveries[0];
    assert_eq!((delivery.state.as_str(), delivery.sends), ("delivered", 2), "{story:?}");
    assert_eq!(delivery.attempts[0].outcome, "proxy");
    let kept = evidence(&story, 1);
    assert_eq!(kept["via"], proxy.address.to_string());
    assert_eq!(kept["address"], receiver.address.to_string());
    assert!(!kept.to_string().contains("p4ssw0rd"));
    house.world.books_balance().await;
    engine.stop().await;
}
