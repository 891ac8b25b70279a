//! A bucket that is busy, slow, cut short or against it, and one that works.
//!
//! The cast: [`Ill`] speaks enough HTTP to be a bucket, keeps what it took, and fails as it is told to: it has no use for
//! signatures. `object_store` asks it through our own connections, with less patience than a command has.

use std::collections::BTreeMap;
use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::sync::Mutex;

use object_store::BackoffConfig;

use super::*;

/// What becomes of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fate {
    /// It is done.
    Done,
    /// Nothing is done, and that is said.
    Status(u16),
    /// It is done, and the answer is that.
    DoneAnd(u16),
    /// Nothing is done, and nothing is said until the other side gives up.
    Silent,
    /// It is done, and the answer ends in its middle.
    Cut,
}

impl Fate {
    /// How long a request may take. Where somebody is silent each test waits that long, so there it is what a large file
    /// needs on a busy machine; elsewhere nobody comes to it.
    const fn request_max(self) -> Duration {
        match self {
            Self::Silent => Duration::from_secs(3),
            _ => Duration::from_secs(30),
        }
    }
}

/// Says what becomes of a request: of its method and target, and of how many of that kind came before it.
type Judge = dyn Fn(&str, usize) -> Fate + Send + Sync;

/// What a bucket took, and what it is to do.
struct Ill {
    kept: Mutex<BTreeMap<String, Vec<u8>>>,
    /// Parts of uploads that were neither completed nor taken back.
    parts: Mutex<Vec<Vec<u8>>>,
    seen: Mutex<Vec<String>>,
    fate: Box<Judge>,
}

/// A request: its method and target, and its body.
fn request(stream: &mut TcpStream) -> Option<(String, String, String, Vec<u8>)> {
    stream.set_read_timeout(Some(Duration::from_secs(30))).ok()?;
    let (mut bytes, mut chunk) = (Vec::new(), vec![0; 1 << 16]);
    loop {
        if let Some(end) = bytes.windows(4).position(|four| four == b"\r\n\r\n") {
            let head = String::from_utf8_lossy(&bytes[..end]).into_owned();
            let mut words = head.split(' ');
            let (method, target) = (words.next()?.to_owned(), words.next()?.to_owned());
            let lower = head.to_lowercase();
            let length =
                lower.lines().find_map(|line| line.strip_prefix("content-length: ")?.trim().parse().ok());
            let length: usize = length.unwrap_or(0);
            if bytes.len() >= end + 4 + length {
                return Some((method, target, lower, bytes[end + 4..end + 4 + length].to_vec()));
            }
        }
        match stream.read(&mut chunk).ok()? {
            0 => return None,
            n => bytes.extend_from_slice(&chunk[..n]),
        }
    }
}

impl Ill {
    /// A bucket on a port of its own. `fate` is asked with the method and target of a request, and how many of that kind
    /// came before it.
    fn start(fate: impl Fn(&str, usize) -> Fate + Send + Sync + 'static) -> (Arc<Self>, Bucket) {
        Self::start_within(Fate::Done.request_max(), fate)
    }

    /// The same, asked by somebody who waits so long for an answer.
    fn start_within(
        request_max: Duration,
        fate: impl Fn(&str, usize) -> Fate + Send + Sync + 'static,
    ) -> (Arc<Self>, Bucket) {
        let listener = TcpListener::bind("127.0.0.1:0").expect("there is a free port");
        let url = format!("http://{}", listener.local_addr().expect("it is bound"));
        let ill = Arc::new(Self {
            kept: Mutex::default(),
            parts: Mutex::default(),
            seen: Mutex::default(),
            fate: Box::new(fate),
        });
        let shared = ill.clone();
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let ill = shared.clone();
                std::thread::spawn(move || ill.answer(stream));
            }
        });
        let backoff = BackoffConfig {
            init_backoff: Duration::from_millis(1),
            max_backoff: Duration::from_millis(2),
            base: 2.0,
        };
        let patience = Patience {
            connect_max: Duration::from_secs(5),
            request_max,
            answer_max: ANSWER_BYTES_MAX,
            retry: RetryConfig { backoff, max_retries: 1, retry_timeout: Duration::from_secs(60) },
        };
        let builder = object_store::aws::AmazonS3Builder::new()
            .with_access_key_id("k")
            .with_secret_access_key("s")
            .with_region("us-east-1")
            .with_bucket_name("b")
            .with_endpoint(url)
            .with_allow_http(true)
            .with_retry(patience.retry.clone())
            .with_http_connector(Wire { patience, ..Wire::default() });
        let store = Arc::new(builder.build().expect("a client"));
        (ill, Bucket { store, prefix: Path::from("p"), shown: "s3://b/p".to_owned() })
    }

    fn seen(&self, begins: &str) -> usize {
        self.seen.lock().unwrap().iter().filter(|seen| seen.starts_with(begins)).count()
    }

    fn answer(&self, mut stream: TcpStream) {
        let Some((method, target, head, body)) = request(&mut stream) else { return };
        let (path, query) = target.split_once('?').unwrap_or((&target, ""));
        let what = format!(
            "{method} {}",
            if query.is_empty() { "object" } else { query.split('=').next().unwrap_or("") }
        );
        let fate = (self.fate)(&what, self.seen(&what));
        self.seen.lock().unwrap().push(what.clone());
        let (status, answer) = match fate {
            Fate::Status(status) => (status, Vec::new()),
            Fate::Silent => {
                // Until the client lets go.
                let _ = stream.read(&mut [0; 1]);
                return;
            }
            Fate::Done | Fate::Cut => self.do_it(&what, path, &head, body),
            Fate::DoneAnd(status) => {
                self.do_it(&what, path, &head, body);
                (status, Vec::new())
            }
        };
        let length = answer.len() + usize::from(fate == Fate::Cut) * 10;
        let shown = if method == "HEAD" { &[][..] } else { &answer[..] };
        let head = format!(
            "HTTP/1.1 {status} X\r\ncontent-length: {length}\r\netag: \"e\"\r\n\
             last-modified: Thu, 04 Jun 2026 09:00:00 GMT\r\nconnection: close\r\n\r\n"
        );
        let _ = stream.write_all(&[head.as_bytes(), shown].concat());
    }

    fn do_it(&self, what: &str, path: &str, head: &str, body: Vec<u8>) -> (u16, Vec<u8>) {
        let mut kept = self.kept.lock().unwrap();
        let mut parts = self.parts.lock().unwrap();
        match what {
            "PUT object" if head.contains("if-none-match: *") && kept.contains_key(path) => (412, Vec::new()),
            "PUT object" => {
                kept.insert(path.to_owned(), body);
                (200, Vec::new())
            }
            "GET object" | "HEAD object" => {
                kept.get(path).map_or((404, Vec::new()), |bytes| (200, bytes.clone()))
            }
            "POST uploads" => {
                let xml = "<InitiateMultipartUploadResult><Bucket>b</Bucket><Key>k</Key><UploadId>u</UploadId>\
                           </InitiateMultipartUploadResult>";
                (200, xml.into())
            }
            "PUT partNumber" => {
                parts.push(body);
                (200, Vec::new())
            }
            "DELETE uploadId" => {
                parts.clear();
                (204, Vec::new())
            }
            "POST uploadId" => {
                kept.insert(path.to_owned(), parts.drain(..).flatten().collect());
                let xml = "<CompleteMultipartUploadResult><Bucket>b</Bucket><Key>k</Key><ETag>e</ETag></CompleteMultipartUploadResult>";
                (200, xml.into())
            }
            _ => (400, what.into()),
        }
    }
}

/// A file of so many bytes, no two pieces of it alike.
fn file(length: usize) -> (File, Vec<u8>) {
    let bytes: Vec<u8> = (0..length).map(|n| (n / 251) as u8).collect();
    let mut file = tempfile::tempfile().expect("a file");
    file.write_all(&bytes).expect("there is room");
    (file, bytes)
}

const LARGE: usize = PIECE + 7;

#[tokio::test]
async fn what_is_busy_slow_or_cut_short_is_tried_again_and_ends_whole() {
    let fates = [
        Fate::Status(503),
        Fate::Status(500),
        Fate::Status(429),
        Fate::DoneAnd(503),
        Fate::Silent,
        Fate::Cut,
    ];
    for fate in fates {
        // The first request of each kind fares so, the others go through.
        let (ill, bucket) =
            Ill::start_within(
                fate.request_max(),
                move |_, before| if before == 0 { fate } else { Fate::Done },
            );
        let (small, bytes) = file(100);
        bucket.put_file("dt=1/small", small).await.unwrap_or_else(|error| panic!("{fate:?}: {error:#}"));
        assert_eq!(
            bucket.get("dt=1/small").await.expect("it reads").as_deref(),
            Some(&bytes[..]),
            "{fate:?}"
        );
        assert!(bucket.has("dt=1/small").await.expect("it answers"), "{fate:?}");
        assert!(!bucket.has("dt=1/other").await.expect("it answers"), "{fate:?}");
        assert!(ill.seen("PUT object") == 2 && ill.seen("GET object") == 2, "{fate:?}: it was asked again");
    }
}

#[tokio::test]
async fn a_large_file_that_cannot_be_put_leaves_nothing_behind() {
    // Which request fails for good, and how.
    for ill_at in ["POST uploads", "PUT partNumber", "POST uploadId"] {
        for fate in [Fate::Status(503), Fate::Status(403), Fate::Status(412), Fate::Silent, Fate::Cut] {
            // A completion whose answer is cut was done, and is not known to be.
            if (ill_at, fate) == ("PUT partNumber", Fate::Cut)
                || (ill_at, fate) == ("POST uploadId", Fate::Cut)
            {
                continue;
            }
            let (ill, bucket) =
                Ill::start_within(
                    fate.request_max(),
                    move |what, _| if what == ill_at { fate } else { Fate::Done },
                );
            let (large, _) = file(LARGE);
            let error = bucket.put_file("dt=1/large", large).await.expect_err("it cannot be put");
            let said = format!("{error:#}");
            assert!(said.contains("put dt=1/large into s3://b/p"), "{ill_at} {fate:?}: {said}");
            assert!(ill.parts.lock().unwrap().is_empty(), "{ill_at} {fate:?}: no piece takes room");
            assert!(ill.kept.lock().unwrap().is_empty(), "{ill_at} {fate:?}: nothing looks whole");
        }
    }
    // The pieces of an upload that cannot even be taken back are named.
    let (_, bucket) = Ill::start(|what, _| match what {
        "POST uploads" => Fate::Done,
        _ => Fate::Status(503),
    });
    let error = bucket.put_file("dt=1/large", file(LARGE).0).await.expect_err("it cannot be put");
    assert!(format!("{error:#}").contains("take back the pieces of dt=1/large"), "{error:#}");
}

#[tokio::test]
async fn a_large_file_that_is_put_after_trouble_is_whole() {
    for fate in [Fate::Status(503), Fate::Silent] {
        let (ill, bucket) = Ill::start_within(fate.request_max(), move |what, before| match (what, before) {
            ("POST uploads" | "PUT partNumber" | "POST uploadId", 0) if fate != Fate::Silent => fate,
            ("PUT partNumber", 0) => fate,
            _ => Fate::Done,
        });
        let (large, bytes) = file(LARGE);
        bucket.put_file("dt=1/large", large).await.unwrap_or_else(|error| panic!("{fate:?}: {error:#}"));
        let kept = ill.kept.lock().unwrap();
        assert!(kept.len() == 1 && kept.values().all(|kept| kept == &bytes), "{fate:?}");
        assert!(ill.parts.lock().unwrap().is_empty());
    }
}

#[tokio::test]
async fn what_is_there_already_is_not_created_again() {
    let (ill, bucket) = Ill::start(|_, _| Fate::Done);
    assert!(bucket.create("head", b"first".to_vec()).await.expect("it answers"));
    assert!(!bucket.create("head", b"second".to_vec()).await.expect("it answers"));
    assert_eq!(bucket.get("head").await.expect("it reads").as_deref(), Some(&b"first"[..]));
    assert_eq!(ill.seen("PUT object"), 2);
    // Two at a time: a conflict says that the other was first.
    let (_, bucket) = Ill::start(|_, _| Fate::Status(409));
    assert!(!bucket.create("head", b"x".to_vec()).await.expect("it answers"));
    // Done, and the answer said that it was not: the next try finds it there.
    let (ill, bucket) = Ill::start(|_, before| if before == 0 { Fate::DoneAnd(503) } else { Fate::Done });
    assert!(!bucket.create("head", b"mine".to_vec()).await.expect("it answers"));
    assert_eq!(ill.kept.lock().unwrap().values().collect::<Vec<_>>(), [b"mine"]);
    let (_, bucket) = Ill::start(|_, _| Fate::Status(403));
    let error = bucket.create("head", b"x".to_vec()).await.expect_err("it may not");
    assert!(format!("{error:#}").contains("put head into s3://b/p"), "{error:#}");
}

#[tokio::test]
async fn what_is_not_said_is_not_taken_for_absent() {
    for fate in [Fate::Status(403), Fate::Status(503), Fate::Cut] {
        let (_, bucket) = Ill::start(move |_, _| fate);
        let error = bucket.get("head").await.expect_err("it does not say");
        assert!(format!("{error:#}").contains("read head in s3://b/p"), "{fate:?}: {error:#}");
        // The answer to this question has nothing in it that could be cut.
        if fate != Fate::Cut {
            assert!(bucket.has("head").await.is_err(), "{fate:?}");
        }
    }
}

#[test]
fn plain_http_stays_on_this_machine() {
    let to = |uri: &str, may| Target::of(&uri.parse().unwrap(), may);
    let target = to("http://127.0.0.1:9000/b/k?x=1", false).unwrap();
    assert_eq!((target.host.as_str(), target.port, target.tls), ("127.0.0.1", 9000, false));
    assert_eq!(
        (target.authority.to_str().unwrap(), target.path.to_string().as_str()),
        ("127.0.0.1:9000", "/b/k?x=1")
    );
    let target = to("https://b.s3.eu-central-1.amazonaws.com/k", false).unwrap();
    assert_eq!((target.port, target.tls), (443, true));
    assert_eq!(to("http://[::1]:9000/k", false).unwrap().host, "::1");
    assert!(to("http://minio.internal:9000/k", false).is_err());
    assert!(to("http://minio.internal:9000/k", true).is_ok());
    assert!(to("/k", false).is_err());
}

#[tokio::test]
async fn large_files_are_put_in_pieces_and_come_back_whole() {
    let store = Arc::new(object_store::memory::InMemory::new());
    let bucket = Bucket { store, prefix: Path::from("a b"), shown: "memory".to_owned() };
    assert!(!bucket.has("dt=1/x").await.unwrap());
    for length in [0, 5, PIECE - 1, PIECE, PIECE + 1, 2 * PIECE, 2 * PIECE + 7] {
        let bytes: Vec<u8> = (0..length).map(|n| (n / 251) as u8).collect();
        let mut file = tempfile::tempfile().unwrap();
        std::io::Write::write_all(&mut file, &bytes).unwrap();
        bucket.put_file("dt=1/x", file).await.unwrap();
        assert!(bucket.get("dt=1/x").await.unwrap().as_deref() == Some(&bytes[..]), "{length} bytes");
    }
    assert!(bucket.has("dt=1/x").await.unwrap());
}

/// Each of these made `object_store` panic at its first request.
#[cfg(feature = "s3")]
#[test]
fn an_environment_that_no_request_can_be_made_of_is_refused() {
    use object_store::aws::AmazonS3ConfigKey as Key;
    let with = |wanted: Key, text: &str| {
        check_environment(|key| (key == wanted).then(|| text.to_owned()))
            .map_err(|error| format!("{error:#}"))
    };
    for (key, text, named) in [
        (Key::Endpoint, "nonsense", "AWS_ENDPOINT_URL"),
        (Key::Endpoint, "127.0.0.1:9000", "AWS_ENDPOINT_URL"),
        (Key::Endpoint, "localhost:9000", "AWS_ENDPOINT_URL"),
        (Key::Endpoint, "ftp://h", "AWS_ENDPOINT_URL"),
        (Key::Endpoint, "http://u:secret@h", "AWS_ENDPOINT_URL"),
        (Key::Endpoint, "http://h h", "AWS_ENDPOINT_URL"),
        (Key::S3Endpoint, "", "AWS_ENDPOINT_URL_S3"),
        (Key::Region, "eu central", "AWS_REGION"),
        (Key::AccessKeyId, "k\n", "AWS_ACCESS_KEY_ID"),
        (Key::SecretAccessKey, "a secret", "AWS_SECRET_ACCESS_KEY"),
        (Key::Token, "t\u{e9}", "AWS_SESSION_TOKEN"),
    ] {
        let why = with(key, text).expect_err(text);
        assert!(why.contains(&format!("read {named}: ")) && !why.contains("secret@"), "{text}: {why}");
        assert!(!why.contains("a secret"), "{why}");
    }
    for (key, text) in [
        (Key::Endpoint, "http://127.0.0.1:9000"),
        (Key::Endpoint, "https://s3.example.com/minio/"),
        (Key::Endpoint, "http://[::1]:9000"),
        (Key::Region, "eu-central-1"),
        (Key::SecretAccessKey, "a+b/c=="),
    ] {
        with(key, text).unwrap_or_else(|why| panic!("{text}: {why}"));
    }
    assert!(check_environment(|_| None).is_ok());
}
