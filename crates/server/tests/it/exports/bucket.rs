//! A bucket: moto's S3, and before it a door that says 503 to every third request.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::process::{Child, Output, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use serde_json::json;

use super::{House, INSTALLS, arguments, done, export, files, furnished, refused, tool};
use crate::process::{WAIT, roundtrip};

/// moto's server. Dropping it ends it.
pub(crate) struct Moto {
    child: Child,
    /// Where it listens.
    pub(crate) address: SocketAddr,
}

impl Moto {
    /// Starts it, with a bucket called warehouse.
    pub(crate) fn start() -> Self {
        // Nobody else is likely to take a port that was free a moment ago.
        let free = TcpListener::bind("127.0.0.1:0").and_then(|socket| socket.local_addr());
        let address = free.expect("there is a free port");
        let child = tool("moto_server")
            .args(["-H", "127.0.0.1", "-p", &address.port().to_string()])
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("it starts");
        let moto = Self { child, address };
        let began = Instant::now();
        while TcpStream::connect(address).is_err() {
            assert!(began.elapsed() < WAIT, "moto does not listen");
            std::thread::park_timeout(Duration::from_millis(50));
        }
        assert_eq!(ask(address, "PUT", "/warehouse").0, 200, "the bucket is made");
        moto
    }
}

impl Drop for Moto {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Status and body of a request without one.
pub(crate) fn ask(address: SocketAddr, method: &str, path: &str) -> (u16, Vec<u8>) {
    let head = format!(
        "{method} {path} HTTP/1.1\r\nhost: {address}\r\nauthorization: AWS4-HMAC-SHA256 Credential=a/20260604/us-east-1/s3/aws4_request\r\n\
         content-length: 0\r\nconnection: close\r\n\r\n"
    );
    let answer = pass(address, head.as_bytes());
    let end = answer.windows(4).position(|four| four == b"\r\n\r\n").expect("it is HTTP");
    let status = std::str::from_utf8(&answer[9..12]).ok().and_then(|status| status.parse().ok());
    (status.expect("a status"), answer[end + 4..].to_vec())
}

/// Sends a whole request, and what comes back.
pub(crate) fn pass(to: SocketAddr, request: &[u8]) -> Vec<u8> {
    let mut stream = TcpStream::connect(to).expect("it listens");
    stream.set_read_timeout(Some(WAIT)).expect("a bound is set");
    stream.write_all(request).expect("it reads");
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer);
    answer
}

/// Stands before `behind` and turns every third request away; how many.
fn door(behind: SocketAddr) -> (SocketAddr, Arc<AtomicU32>) {
    door_that(behind, |n, _| (n % 3 == 0).then_some(503))
}

/// Stands before `behind` and answers with a status of its own where `turns` has one for a request, by its number and its
/// bytes; how often it did.
fn door_that(
    behind: SocketAddr,
    turns: impl Fn(usize, &str) -> Option<u16> + Send + 'static,
) -> (SocketAddr, Arc<AtomicU32>) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("there is a free port");
    let address = listener.local_addr().expect("it is bound");
    let turned_away = Arc::new(AtomicU32::new(0));
    let count = turned_away.clone();
    std::thread::spawn(move || {
        for (n, stream) in listener.incoming().flatten().enumerate() {
            let mut stream = stream;
            let Some(request) = whole_request(&mut stream) else { continue };
            let head = String::from_utf8_lossy(&request[..request.len().min(4_096)]).into_owned();
            if let Some(status) = turns(n, &head) {
                count.fetch_add(1, Ordering::Relaxed);
                let answer =
                    format!("HTTP/1.1 {status} No\r\ncontent-length: 0\r\nconnection: close\r\n\r\n");
                let _ = stream.write_all(answer.as_bytes());
            } else {
                let _ = stream.write_all(&pass(behind, &request));
            }
        }
    });
    (address, turned_away)
}

/// A request's head and its body, which has a length; told to close behind it.
pub(crate) fn whole_request(stream: &mut TcpStream) -> Option<Vec<u8>> {
    stream.set_read_timeout(Some(WAIT)).ok()?;
    let (mut bytes, mut chunk) = (Vec::new(), [0; 65_536]);
    loop {
        if let Some(end) = bytes.windows(4).position(|four| four == b"\r\n\r\n") {
            let head = String::from_utf8_lossy(&bytes[..end]).to_lowercase();
            let length =
                head.lines().find_map(|line| line.strip_prefix("content-length: ")?.trim().parse().ok());
            if bytes.len() >= end + 4 + length.unwrap_or(0) {
                let mut told = bytes[..end].to_vec();
                told.extend_from_slice(b"\r\nconnection: close");
                told.extend_from_slice(&bytes[end..]);
                return Some(told);
            }
        }
        match stream.read(&mut chunk).ok()? {
            0 => return None,
            n => bytes.extend_from_slice(&chunk[..n]),
        }
    }
}

/// An export into a bucket.
fn to_bucket(house: &House, what: &str, place: &str, endpoint: SocketAddr, more: &[&str]) -> Output {
    let command = arguments(house, what, std::path::Path::new(place), more);
    let environment = [
        ("AWS_ACCESS_KEY_ID", "k".to_owned()),
        ("AWS_SECRET_ACCESS_KEY", "s".to_owned()),
        ("AWS_REGION", "us-east-1".to_owned()),
        ("AWS_ENDPOINT_URL", format!("http://{endpoint}")),
    ];
    roundtrip().args(command).envs(environment).stdin(Stdio::null()).output().expect("the binary runs")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_bucket_that_is_against_it_ends_an_export_clearly_and_the_next_one_goes_on() {
    let house = furnished().await;
    let moto = Moto::start();
    let dir = tempfile::tempdir().expect("a directory");
    let folder = dir.path().join("folder/");
    done(&export(&house, "clicks", &folder.join(""), &[]));
    let wanted = files(&folder);
    assert!(wanted.len() >= 3, "{:?}", wanted.keys());
    let place = "s3://warehouse/clicks";
    let there = |name: &str| match ask(moto.address, "GET", &format!("/warehouse/clicks/{name}")) {
        (200, bytes) => Some(bytes),
        (404, _) => None,
        (status, _) => panic!("{name}: {status}"),
    };

    // Files are refused behind the first two requests to put something, by each of the ways to say no for good.
    for status in [403, 412, 400] {
        let puts = AtomicU32::new(0);
        let (door, turned_away) = door_that(moto.address, move |_, head| {
            let is_file = head.starts_with("PUT ") && head.contains(".parquet");
            (is_file && puts.fetch_add(1, Ordering::Relaxed) > 0).then_some(status)
        });
        let output = to_bucket(&house, "clicks", place, door, &["--replace"]);
        refused(&output, "failed to export clicks: write dt=");
        assert!(
            String::from_utf8_lossy(&output.stderr).contains(&status.to_string()),
            "it says what was said"
        );
        assert!(turned_away.load(Ordering::Relaxed) >= 1);
        let kept: Vec<&String> = wanted.keys().filter(|name| there(name).is_some()).collect();
        assert_eq!(kept.len(), 1, "{status}: the one that was put");
        assert!(there(kept[0]).as_ref() == wanted.get(kept[0]), "{status}: and it is whole");
    }
    let went_on = done(&to_bucket(&house, "clicks", place, moto.address, &[]));
    assert_eq!((&went_on["files"], &went_on["files_there"]), (&json!(wanted.len() - 1), &json!(1)));
    for (name, bytes) in &wanted {
        assert!(there(name).as_ref() == Some(bytes), "{name}");
    }

    // Somebody else begins there at the same moment: what the bucket holds is looked at again.
    let (door, turned_away) = door_that(moto.address, |n, head| {
        (n == 0 && head.starts_with("GET ") && head.contains("_roundtrip_export.json")).then_some(404)
    });
    refused(
        &to_bucket(&house, "installs", place, door, &[]),
        "it holds clicks of the workspace default as parquet",
    );
    assert_eq!(turned_away.load(Ordering::Relaxed), 1);
    let head = there("_roundtrip_export.json").expect("it is there");
    assert!(String::from_utf8_lossy(&head).contains("\"clicks\""), "and is not written over");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_bucket_gets_what_a_folder_gets_though_it_is_busy() {
    let house = furnished().await;
    let moto = Moto::start();
    let (door, turned_away) = door(moto.address);
    let dir = tempfile::tempdir().expect("a directory");
    let folder = dir.path().join("folder/");
    done(&export(&house, "installs", &folder.join(""), &["--split=day"]));
    let wanted = files(&folder);
    assert!(wanted.len() >= 3, "{:?}", wanted.keys());

    let to_bucket = |what: &str, endpoint: SocketAddr, more: &[&str]| {
        to_bucket(&house, what, "s3://warehouse/a%20b/installs", endpoint, more)
    };
    let first = done(&to_bucket("installs", door, &[]));
    assert_eq!((&first["rows"], &first["files"]), (&json!(INSTALLS), &json!(wanted.len())));
    assert!(turned_away.load(Ordering::Relaxed) >= 2, "it was turned away and came again");
    for (name, bytes) in &wanted {
        let (status, found) = ask(moto.address, "GET", &format!("/warehouse/a%20b/installs/{name}"));
        assert_eq!((status, &found == bytes), (200, true), "{name}");
    }
    let again = done(&to_bucket("installs", door, &[]));
    assert_eq!((&again["files"], &again["files_there"]), (&json!(0), &json!(wanted.len())));
    refused(&to_bucket("events", door, &[]), "it holds installs of the workspace default as parquet");
    // What is missing is made again.
    let gone = wanted.keys().next().expect("a file");
    ask(moto.address, "DELETE", &format!("/warehouse/a%20b/installs/{gone}"));
    let mended = done(&to_bucket("installs", moto.address, &[]));
    assert_eq!(mended["files"], 1);
}
