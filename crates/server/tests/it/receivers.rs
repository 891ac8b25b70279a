//! The receivers of `docs/receivers.md`, in Rust, Node and Python: each is started as its page says, and driven over
//! loopback with requests that the code which ships has signed.
//!
//! The cast: [`Receiver`] is the process; its table `received` is read behind its back. Node and Python come from
//! [`Installed`]. Not relied on: nothing here sends as the engine does; it writes HTTP by hand, so that it can also
//! send what the engine never would.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;
use std::time::Duration;

use roundtrip_ambient::Clock;
use roundtrip_domain::time::Timestamp;
use roundtrip_domain::webhook::sign::{
    OVERLAP_DEFAULT_MS, PlainHeader, Secret, Signing, SigningKey, headers,
};

use crate::clients::Installed;
use crate::process::WAIT;

const BODY: &str = "{\"event_id\": \"evt_1\", \"event_name\":  \"install\", \"campaign\": \"été ☀\"}";
const FIRST: &str = "evt_01KAHS8Z4N2T7QX5W3R9M6B0CD";
const SECOND: &str = "evt_01KAHS8Z4N2T7QX5W3R9M6B0CE";

fn examples() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../examples/receivers")
}

/// The command that starts the one in Rust, which cargo has built beside this test.
fn rust() -> Command {
    let test = std::env::current_exe().expect("this test is a file");
    let built = test.ancestors().nth(2).expect("it lies in target/PROFILE/deps").join("examples/receiver");
    let changed = |path: &Path| std::fs::metadata(path).and_then(|data| data.modified()).ok();
    let source = changed(&examples().join("rust/receiver.rs"));
    assert!(
        source.is_some() && changed(&built) >= source,
        "{} is not built, or is older than its source: `cargo build -p roundtrip-server --example receiver` builds it, \
         and so does every run of all tests",
        built.display()
    );
    Command::new(built)
}

fn node() -> Command {
    let mut command = Installed::find().node();
    command.arg(examples().join("node/receiver.mjs"));
    command
}

fn python() -> Command {
    let mut command = Installed::find().python();
    command.arg(examples().join("python/receiver.py"));
    command
}

/// A running receiver. Dropping it kills it.
struct Receiver {
    child: Child,
    address: String,
    database: PathBuf,
}

impl Receiver {
    /// Starts it and waits until it says where it listens.
    fn start(mut command: Command, dir: &Path, secret: &Secret) -> Self {
        let database = dir.join("received.db");
        let mut child = command
            .env("WEBHOOK_SECRET", secret.shown())
            .env("LISTEN", "127.0.0.1:0")
            .env("DATABASE", &database)
            .current_dir(dir)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .expect("it starts");
        let stdout = child.stdout.take().expect("it is piped");
        let (tell, told) = mpsc::channel();
        std::thread::spawn(move || {
            let mut line = String::new();
            let _ = BufReader::new(stdout).read_line(&mut line);
            let _ = tell.send(line);
        });
        let mut receiver = Self { child, address: String::new(), database };
        let line = told.recv_timeout(WAIT).expect("it says something in time");
        let address = line.trim().strip_prefix("listening on http://");
        let address = address.and_then(|rest| rest.strip_suffix("/webhooks"));
        address.unwrap_or_else(|| panic!("it said {line:?}")).clone_into(&mut receiver.address);
        receiver
    }

    /// Sends a request; the status of the answer.
    fn send(&self, line: &str, headers: &[(String, String)], body: &[u8]) -> u16 {
        let mut stream = TcpStream::connect(&self.address).expect("it listens");
        stream.set_read_timeout(Some(WAIT)).expect("a bound is set");
        stream.set_write_timeout(Some(WAIT)).expect("a bound is set");
        let mut head = format!("{line} HTTP/1.1\r\nhost: {}\r\nconnection: close\r\n", self.address);
        for (name, value) in headers {
            head.push_str(&format!("{name}: {value}\r\n"));
        }
        head.push_str(&format!("content-length: {}\r\n\r\n", body.len()));
        stream.write_all(head.as_bytes()).expect("it reads");
        // It may answer, and hang up, before it has read a body that it does not want.
        let _ = stream.write_all(body);
        let mut answer = Vec::new();
        let mut buffer = [0; 1024];
        while !answer.windows(2).any(|pair| pair == b"\r\n") {
            match stream.read(&mut buffer) {
                Ok(n) if n > 0 => answer.extend_from_slice(&buffer[..n]),
                end => panic!("no answer: {end:?}"),
            }
        }
        let answer = String::from_utf8_lossy(&answer);
        answer.get(9..12).and_then(|status| status.parse().ok()).expect("the answer is HTTP")
    }

    fn post(&self, headers: &[(String, String)], body: &str) -> u16 {
        self.send("POST /webhooks", headers, body.as_bytes())
    }

    /// What it has recorded, in the order in which it did.
    fn recorded(&self) -> Vec<(String, String)> {
        let database = rusqlite::Connection::open(&self.database).expect("it is there");
        database.busy_timeout(Duration::from_secs(10)).expect("a bound is set");
        let mut statement =
            database.prepare("SELECT id, body FROM received ORDER BY rowid").expect("it has a table");
        let rows = statement.query_map([], |row| Ok((row.get(0)?, row.get(1)?))).expect("it is read");
        rows.map(|row| row.expect("it is text")).collect()
    }
}

impl Drop for Receiver {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn secret(byte: u8) -> Secret {
    Secret::generate([byte; 32])
}

/// The headers of one attempt, with those that the engine adds.
fn attempt(signing: &Signing, id: &str, number: u32, at: Timestamp) -> Vec<(String, String)> {
    let mut all = headers(signing, id, at, BODY.as_bytes());
    all.push(("content-type".to_owned(), "application/json".to_owned()));
    all.push(("x-roundtrip-delivery".to_owned(), "dlv_01KAHS8Z4N2T7QX5W3R9M6B0CF".to_owned()));
    all.push(("x-roundtrip-attempt".to_owned(), number.to_string()));
    all
}

fn with(mut headers: Vec<(String, String)>, name: &str, value: &str) -> Vec<(String, String)> {
    headers.retain(|(found, _)| found != name);
    if !value.is_empty() {
        headers.push((name.to_owned(), value.to_owned()));
    }
    headers
}

/// Everything that the page promises of a receiver.
fn drive(command: fn() -> Command) {
    let dir = tempfile::tempdir().expect("there is a temporary directory");
    let (ours, other) = (secret(1), secret(2));
    let signing = Signing::new(ours.clone());
    let now = || Clock::System.now();
    let ago = |ms: i64| now().plus_ms(-ms);
    let receiver = Receiver::start(command(), dir.path(), &ours);

    // What is not ours, or not as we sent it, is refused, and leaves nothing.
    let good = || attempt(&signing, FIRST, 1, now());
    let signature = good().into_iter().find(|(name, _)| name == "webhook-signature").expect("it is signed").1;
    for (what, headers, body) in [
        ("another secret", attempt(&Signing::new(other.clone()), FIRST, 1, now()), BODY),
        ("302 s old", attempt(&signing, FIRST, 1, ago(302_000)), BODY),
        ("10 min ahead", attempt(&signing, FIRST, 1, ago(-600_000)), BODY),
        (
            "a new time for an old signature",
            with(
                attempt(&signing, FIRST, 1, ago(400_000)),
                "webhook-timestamp",
                &now().seconds().to_string(),
            ),
            BODY,
        ),
        ("a changed body", good(), "{\"event_id\": \"evt_2\"}"),
        ("an empty body", good(), ""),
        ("another id", with(good(), "webhook-id", SECOND), BODY),
        ("no id", with(good(), "webhook-id", ""), BODY),
        ("no time", with(good(), "webhook-timestamp", ""), BODY),
        ("a time that is none", with(good(), "webhook-timestamp", "yesterday"), BODY),
        ("no signature", with(good(), "webhook-signature", ""), BODY),
        ("a signature that is none", with(good(), "webhook-signature", "v1,%%%"), BODY),
        ("a signature without a version", with(good(), "webhook-signature", "v1"), BODY),
        ("half a signature", with(good(), "webhook-signature", &signature[..20]), BODY),
        ("another version's", with(good(), "webhook-signature", &signature.replace("v1,", "v1a,")), BODY),
    ] {
        assert_eq!(receiver.post(&headers, body), 401, "{what}");
    }
    assert_eq!(receiver.recorded(), []);
    let long = "x".repeat(1024 * 1024 + 1);
    assert_eq!(receiver.post(&good(), &long), 413);
    assert_eq!(receiver.send("POST /elsewhere", &good(), BODY.as_bytes()), 404);

    // A retry and a replay bring the same id; eight at once do too.
    let first = [(FIRST.to_owned(), BODY.to_owned())];
    assert_eq!(receiver.post(&good(), BODY), 204);
    assert_eq!(receiver.recorded(), first);
    assert_eq!(receiver.post(&attempt(&signing, FIRST, 2, now()), BODY), 204, "a retry is welcome");
    let replay =
        with(attempt(&signing, FIRST, 1, now()), "x-roundtrip-delivery", "dlv_01KAHS8Z4N2T7QX5W3R9M6B0CG");
    assert_eq!(receiver.post(&replay, BODY), 204, "and so is a replay");
    assert_eq!(
        receiver.post(&attempt(&signing, FIRST, 3, ago(240_000)), BODY),
        204,
        "four minutes are not too old"
    );
    assert_eq!(receiver.recorded(), first);
    let statuses: Vec<u16> = std::thread::scope(|scope| {
        let sends: Vec<_> = (0..8)
            .map(|n| (n, scope.spawn(|| receiver.post(&attempt(&signing, SECOND, 1, now()), BODY))))
            .collect();
        sends.into_iter().map(|(_, send)| send.join().expect("it was sent")).collect()
    });
    assert_eq!(statuses, [204; 8]);
    let [first] = first;
    let both = [first, (SECOND.to_owned(), BODY.to_owned())];
    assert_eq!(receiver.recorded(), both);

    // It remembers through a restart.
    drop(receiver);
    let receiver = Receiver::start(command(), dir.path(), &ours);
    assert_eq!(receiver.post(&attempt(&signing, FIRST, 4, now()), BODY), 204);
    assert_eq!(receiver.recorded(), both);

    // A rotation: the old secret opens while they overlap, also with `v1a` beside, and then no more.
    let mut rotated = signing.clone();
    rotated.rotate_secret(other.clone(), OVERLAP_DEFAULT_MS, ago(1000)).expect("there is room");
    rotated.rotate_key(Some(SigningKey::generate([3; 32])), 0, ago(1000)).expect("there is room");
    let third = "evt_01KAHS8Z4N2T7QX5W3R9M6B0CG";
    assert_eq!(receiver.post(&attempt(&rotated, third, 1, now()), BODY), 204);
    rotated.rotate_secret(other.clone(), 0, ago(500)).expect("there is room");
    assert_eq!(receiver.post(&attempt(&rotated, third, 2, now()), BODY), 401);
    assert_eq!(receiver.recorded().len(), 3);
    drop(receiver);
    // With the new secret it goes on where it was.
    let receiver = Receiver::start(command(), dir.path(), &other);
    assert_eq!(receiver.post(&attempt(&rotated, third, 2, now()), BODY), 204);
    assert_eq!(receiver.recorded().len(), 3);
}

#[test]
fn the_receiver_in_rust_does_what_its_page_says() {
    drive(rust);
}

#[test]
fn the_receiver_in_node_does_what_its_page_says() {
    drive(node);
}

#[test]
fn the_receiver_in_python_does_what_its_page_says() {
    drive(python);
}

#[test]
fn the_plain_receiver_takes_one_secret_at_a_time_through_a_rotation() {
    let dir = tempfile::tempdir().expect("there is a temporary directory");
    let command = || {
        let mut command = Installed::find().node();
        command.arg(examples().join("node/plain.mjs")).env("SIGNATURE_HEADER", "x-signature");
        command
    };
    let now = Clock::System.now();
    let send = |receiver: &Receiver, signing: &Signing, body: &str| {
        receiver.post(&attempt(signing, FIRST, 1, now), body)
    };
    let (old, new) = (secret(1), secret(2));
    let plain_header = PlainHeader::parse("X-Signature").expect("it is free");
    let before = Signing { plain_header, ..Signing::new(old.clone()) };
    let mut overlapping = before.clone();
    overlapping.rotate_secret(new.clone(), OVERLAP_DEFAULT_MS, now).expect("there is room");
    let mut cut_over = overlapping.clone();
    cut_over.cut_over(now);

    let receiver = Receiver::start(command(), dir.path(), &old);
    assert_eq!(send(&receiver, &before, BODY), 204);
    assert_eq!(send(&receiver, &before, "{}"), 401, "a changed body");
    assert_eq!(
        receiver.post(&with(attempt(&before, FIRST, 1, now), "x-signature", ""), BODY),
        401,
        "no header"
    );
    assert_eq!(
        receiver.post(&with(attempt(&before, FIRST, 1, now), "x-signature", "ab"), BODY),
        401,
        "a short one"
    );
    assert_eq!(send(&receiver, &overlapping, BODY), 204, "the new secret is there, and the old one signs on");
    assert_eq!(send(&receiver, &cut_over, BODY), 401);
    drop(receiver);
    let receiver = Receiver::start(command(), dir.path(), &new);
    assert_eq!(send(&receiver, &overlapping, BODY), 401, "not yet");
    assert_eq!(send(&receiver, &cut_over, BODY), 204);
}
