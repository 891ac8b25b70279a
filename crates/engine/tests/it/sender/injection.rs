//! Whatever stands in a URL, a header or a body, the receiver reads one request and the headers that were meant.

use std::collections::BTreeSet;

use bytes::Bytes;
use http::Method;
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};
use roundtrip_engine::sender::{Failure, Outcome, Request};

use super::receiver::Receiver;
use super::{AMPLE, sender};

/// Texts full of what ends lines, headers and requests.
fn wild() -> impl Strategy<Value = String> {
    let piece = prop_oneof![
        Just("\r\n".to_owned()),
        Just("\n".to_owned()),
        Just("\r".to_owned()),
        Just("\0".to_owned()),
        Just("\u{b}\u{85}\u{2028}".to_owned()),
        Just(" HTTP/1.1\r\nhost: evil.example\r\n\r\nGET / HTTP/1.1".to_owned()),
        Just("%0d%0ax-evil: 1".to_owned()),
        Just("\r\ncontent-length: 0\r\n\r\n".to_owned()),
        Just("\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n".to_owned()),
        "[ -~]{0,12}",
        "\\PC{0,4}",
    ];
    proptest::collection::vec(piece, 0..6).prop_map(|pieces| pieces.concat())
}

#[test]
fn no_value_adds_a_line_or_a_request() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let (receiver, sender) = runtime.block_on(async { (Receiver::polite().await, sender()) });
    // Half of the names and values are harmless, or hardly any request would be sent at all.
    let name = prop_oneof!["x-[a-z]{1,6}", wild()];
    let value = prop_oneof!["[ -~]{0,20}", "\\PC{0,20}", wild()];
    let values = (wild(), wild(), name, value, any::<bool>());
    let mut runner = TestRunner::new(Config { cases: 300, failure_persistence: None, ..Config::default() });
    let ran = runner.run(&values, |(in_path, in_query, name, value, post)| {
        let before = receiver.seen.requests().len();
        let request = Request {
            method: if post { Method::POST } else { Method::GET },
            url: format!("{}/{in_path}?q={in_query}", receiver.url()),
            headers: vec![("x-plain".to_owned(), value.clone()), (name.clone(), "1".to_owned())],
            body: if post { Bytes::from(value.clone()) } else { Bytes::new() },
        };
        let exchange = runtime.block_on(sender.send(request, AMPLE));
        let requests = receiver.seen.requests();
        match exchange.outcome {
            Outcome::Answered { status } => {
                prop_assert_eq!(status, 200);
                prop_assert_eq!(requests.len(), before + 1);
                let told = &requests[before];
                let (head, body) = told.split_once("\r\n\r\n").unwrap();
                let mut lines = head.split("\r\n");
                let line = lines.next().unwrap();
                prop_assert_eq!(line.split(' ').count(), 3, "{}", line);
                prop_assert!(line.ends_with(" HTTP/1.1"), "{}", line);
                let names: BTreeSet<String> =
                    lines.map(|one| one.split(':').next().unwrap().to_ascii_lowercase()).collect();
                let mut meant = BTreeSet::from(["host", "x-plain", "user-agent"].map(String::from));
                meant.insert(name.to_ascii_lowercase());
                if post {
                    meant.insert("content-length".to_owned());
                }
                prop_assert_eq!(names, meant);
                prop_assert_eq!(body, if post { value.as_str() } else { "" });
            }
            Outcome::Failed(failure) => {
                prop_assert!(matches!(failure, Failure::BadUrl | Failure::BadRequest), "{:?}", failure);
                prop_assert_eq!(requests.len(), before);
            }
        }
        Ok(())
    });
    ran.unwrap();
    let sent = receiver.seen.requests().len();
    assert!(sent > 60, "only {sent} were sent");
}
