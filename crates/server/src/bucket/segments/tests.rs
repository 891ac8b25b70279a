//! A server that speaks S3 badly: what comes of each request is written down beforehand.

use std::collections::VecDeque;
use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Instant;

use object_store::aws::AmazonS3Builder;

use super::super::Wire;
use super::*;

const SOON: Duration = Duration::from_secs(60);
const OBJECT: &[u8] = b"0123456789abcdefghijklmnopqrstuvwxyz";
const KEY: &str = "dt=2026-06-04/hr=09/0005-000000000042.parquet";

/// What one request comes to.
#[derive(Debug, Clone, Copy)]
enum Answer {
    /// A status with nothing behind it.
    Status(u16),
    /// What was asked for: a range, the length, or that it was put.
    Well,
    /// The range, and the last bytes of it are missing; the connection is cut.
    CutOff,
    /// A shorter range, said to be whole.
    Short,
    /// A longer answer than any that is read.
    Endless,
    /// Nothing, for as long as the client waits.
    Silence,
    /// The head, and then a byte a second.
    Drip,
    /// A list without the object.
    EmptyList,
    /// A list with it.
    List,
    /// The bucket is not there.
    NoBucket,
    /// Of objects to be deleted, that they are.
    Deleted,
    /// Of objects to be deleted, that they are not, in an answer that all is well.
    NotDeleted,
}

struct Hostile {
    address: std::net::SocketAddr,
    asked: Arc<Mutex<Vec<String>>>,
    /// Bytes of endless answers that somebody took.
    taken: Arc<AtomicU64>,
}

impl Hostile {
    /// Answers so, one request after the other; behind the last one as the last one says.
    fn new(answers: &[Answer]) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let (asked, taken) = (Arc::new(Mutex::new(Vec::new())), Arc::new(AtomicU64::new(0)));
        let (mut answers, told, counted) = (VecDeque::from(answers.to_vec()), asked.clone(), taken.clone());
        std::thread::spawn(move || {
            let mut last = Answer::Status(500);
            for stream in listener.incoming().flatten() {
                last = answers.pop_front().unwrap_or(last);
                let (answer, told, counted) = (last, told.clone(), counted.clone());
                std::thread::spawn(move || drop(serve(stream, answer, &told, &counted)));
            }
        });
        Self { address, asked, taken }
    }

    fn reached(&self, buckets: &SegmentBuckets) -> Reached {
        let wire = Wire { patience: patience(), ..Wire::default() };
        let store = AmazonS3Builder::new()
            .with_http_connector(wire)
            .with_retry(retries())
            .with_endpoint(format!("http://{}", self.address))
            .with_allow_http(true)
            .with_region("us-east-1")
            .with_access_key_id("k")
            .with_secret_access_key("s")
            .with_bucket_name("clicks")
            .build()
            .unwrap();
        buckets.reach("s3://clicks/a b", Arc::new(store), Path::from("a b")).unwrap()
    }

    fn asked(&self) -> Vec<String> {
        self.asked.lock().unwrap().clone()
    }
}

fn serve(
    mut stream: TcpStream,
    answer: Answer,
    told: &Mutex<Vec<String>>,
    taken: &AtomicU64,
) -> io::Result<()> {
    stream.set_read_timeout(Some(SOON))?;
    let (mut bytes, mut chunk) = (Vec::new(), [0; 4_096]);
    let end = loop {
        if let Some(end) = bytes.windows(4).position(|four| four == b"\r\n\r\n") {
            break end;
        }
        match stream.read(&mut chunk)? {
            0 => return Ok(()),
            n => bytes.extend_from_slice(&chunk[..n]),
        }
    };
    let head = String::from_utf8_lossy(&bytes[..end]).into_owned();
    let line = |name: &str| {
        head.lines()
            .find_map(|line| line.to_lowercase().strip_prefix(name).map(|value| value.trim().to_owned()))
    };
    let length: usize = line("content-length:").and_then(|length| length.parse().ok()).unwrap_or(0);
    while bytes.len() < end + 4 + length {
        match stream.read(&mut chunk)? {
            0 => return Ok(()),
            n => bytes.extend_from_slice(&chunk[..n]),
        }
    }
    let method = head.split(' ').next().unwrap_or_default().to_owned();
    let new = if line("if-none-match:").as_deref() == Some("*") { " new" } else { "" };
    told.lock().unwrap().push(format!("{method}{new}"));
    let range = line("range:").and_then(|range| {
        let (from, to) =
            range.strip_prefix("bytes=")?.split_once('-').map(|(a, b)| (a.to_owned(), b.to_owned()))?;
        Some((from.parse::<usize>().ok()?, to.parse::<usize>().ok()?))
    });
    let (from, to) = range.unwrap_or((0, OBJECT.len() - 1));
    let part = OBJECT.get(from..=to).unwrap_or_default();
    let partial = |length: usize| {
        format!(
            "HTTP/1.1 206 Partial Content\r\ncontent-range: bytes {from}-{to}/{}\r\netag: \"e\"\r\n\
             last-modified: Thu, 04 Jun 2026 09:00:00 GMT\r\ncontent-length: {length}\r\nconnection: close\r\n\r\n",
            OBJECT.len()
        )
    };
    let xml = |status: &str, body: &str| {
        format!(
            "HTTP/1.1 {status}\r\ncontent-type: application/xml\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{body}",
            body.len()
        )
    };
    match answer {
        Answer::Status(status) => {
            write!(stream, "HTTP/1.1 {status} So\r\ncontent-length: 0\r\nconnection: close\r\n\r\n")?;
        }
        Answer::Well if method == "GET" => {
            stream.write_all(partial(part.len()).as_bytes())?;
            stream.write_all(part)?;
        }
        Answer::Well => {
            let length = if method == "HEAD" { OBJECT.len() } else { 0 };
            write!(
                stream,
                "HTTP/1.1 200 OK\r\netag: \"e\"\r\nlast-modified: Thu, 04 Jun 2026 09:00:00 GMT\r\n\
                 content-length: {length}\r\nconnection: close\r\n\r\n"
            )?;
        }
        Answer::CutOff => {
            stream.write_all(partial(part.len()).as_bytes())?;
            stream.write_all(&part[..part.len() - 1])?;
        }
        Answer::Short => {
            stream.write_all(partial(part.len() - 1).as_bytes())?;
            stream.write_all(&part[..part.len() - 1])?;
        }
        Answer::Endless => {
            stream.write_all(partial(usize::MAX >> 1).as_bytes())?;
            let zeros = [0; 65_536];
            while stream.write_all(&zeros).is_ok() {
                taken.fetch_add(zeros.len() as u64, Relaxed);
            }
        }
        Answer::Silence => drop(stream.read(&mut chunk)),
        Answer::Drip => {
            stream.write_all(partial(part.len()).as_bytes())?;
            stream.set_read_timeout(Some(Duration::from_secs(1)))?;
            for byte in part {
                stream.write_all(std::slice::from_ref(byte))?;
                // Until the client goes, or a second is over.
                if matches!(stream.read(&mut chunk), Ok(0)) {
                    break;
                }
            }
        }
        Answer::EmptyList => {
            let list = "<ListBucketResult><Name>clicks</Name><KeyCount>0</KeyCount><IsTruncated>false</IsTruncated></ListBucketResult>";
            stream.write_all(xml("200 OK", list).as_bytes())?;
        }
        Answer::List => {
            let list = format!(
                "<ListBucketResult><Name>clicks</Name><KeyCount>1</KeyCount><IsTruncated>false</IsTruncated><Contents>\
                 <Key>a b/{KEY}</Key><Size>{}</Size><LastModified>2026-06-04T09:00:00.000Z</LastModified>\
                 <ETag>e</ETag></Contents></ListBucketResult>",
                OBJECT.len()
            );
            stream.write_all(xml("200 OK", &list).as_bytes())?;
        }
        Answer::Deleted | Answer::NotDeleted => {
            let of_it = match answer {
                Answer::Deleted => format!("<Deleted><Key>a b/{KEY}</Key></Deleted>"),
                _ => format!(
                    "<Error><Key>a b/{KEY}</Key><Code>AccessDenied</Code><Message>no</Message></Error>"
                ),
            };
            stream.write_all(xml("200 OK", &format!("<DeleteResult>{of_it}</DeleteResult>")).as_bytes())?;
        }
        Answer::NoBucket => {
            let body = if method == "HEAD" { "" } else { "<Error><Code>NoSuchBucket</Code></Error>" };
            stream.write_all(xml("404 Not Found", body).as_bytes())?;
        }
    }
    Ok(())
}

/// Asks a server that answers so, on a thread that may block.
fn ask<T>(answers: &[Answer], run: impl FnOnce(&Reached) -> io::Result<T>) -> (io::Result<T>, Vec<String>) {
    let (hostile, buckets) = (Hostile::new(answers), SegmentBuckets::default());
    let done = run(&hostile.reached(&buckets));
    (done, hostile.asked())
}

fn read(within: Duration) -> impl Fn(&Reached) -> io::Result<Vec<Bytes>> {
    move |reached| reached.read(KEY, &[2..5, 30..33], within)
}

fn put(reached: &Reached) -> io::Result<Put> {
    reached.put_new(KEY, Bytes::from_static(OBJECT), SOON)
}

#[test]
fn what_is_busy_is_asked_again() {
    use Answer::{Status, Well};
    let parts = [&OBJECT[2..5], &OBJECT[30..33]];
    let (done, asked) = ask(&[Status(503), Status(429), Well], read(SOON));
    assert_eq!(
        (done.unwrap(), asked.len()),
        (parts.map(Bytes::from_static).to_vec(), 3),
        "parts that are near, in one"
    );
    let (done, asked) = ask(&[Status(503), Status(500), Well], put);
    assert_eq!((done.unwrap(), asked), (Put::Done, vec!["PUT new".to_owned(); 3]));
    let (done, asked) = ask(&[Status(503)], put);
    assert!(done.unwrap_err().to_string().contains("503"));
    assert_eq!(asked.len(), 5, "and not for ever");
    let (done, _) = ask(&[Status(503), Well], |reached| reached.length(KEY, SOON));
    assert_eq!(done.unwrap(), Some(OBJECT.len() as u64));
}

#[test]
fn an_object_that_is_there_is_never_replaced() {
    for status in [412, 409] {
        let (done, asked) = ask(&[Answer::Status(status)], put);
        assert_eq!((done.unwrap(), asked), (Put::IsThere, vec!["PUT new".to_owned()]), "{status}");
    }
    // It was put, and the answer was lost.
    let (done, asked) = ask(&[Answer::Status(503), Answer::Status(412)], put);
    assert_eq!((done.unwrap(), asked.len()), (Put::IsThere, 2));
}

#[test]
fn an_answer_that_is_not_whole_is_none() {
    use Answer::{CutOff, Short, Well};
    let (done, asked) = ask(&[CutOff, Well], read(SOON));
    assert_eq!((done.unwrap().len(), asked.len()), (2, 2), "it is asked again");
    for answers in [&[CutOff][..], &[Short]] {
        let (done, _) = ask(answers, read(SOON));
        assert_ne!(done.unwrap_err().kind(), io::ErrorKind::NotFound, "{answers:?}");
    }
    // What is too long is not read: five times as much as the longest answer, and what lies in between on the way.
    let (hostile, buckets) = (Hostile::new(&[Answer::Endless]), SegmentBuckets::default());
    let error = read(SOON)(&hostile.reached(&buckets)).unwrap_err();
    assert_ne!(error.kind(), io::ErrorKind::TimedOut, "{error}");
    let (asked, taken) = (hostile.asked().len() as u64, hostile.taken.load(Relaxed));
    assert!(taken <= asked * (ANSWER_BYTES_MAX as u64 + (8 << 20)), "{taken} bytes of {asked} answers");
}

#[test]
fn nobody_waits_longer_than_he_said() {
    let bound = Duration::from_millis(700);
    for answer in [Answer::Silence, Answer::Drip] {
        let began = Instant::now();
        let (done, _) = ask(&[answer], read(bound));
        assert_eq!(done.unwrap_err().kind(), io::ErrorKind::TimedOut, "{answer:?}");
        assert!(began.elapsed() >= bound && began.elapsed() < SOON, "{answer:?}: {:?}", began.elapsed());
    }
}

#[test]
fn an_object_is_gone_only_if_its_bucket_says_so_and_is_there() {
    use Answer::{Deleted, EmptyList, NoBucket, NotDeleted, Status};
    let (done, _) = ask(&[Status(404), EmptyList], |reached| reached.length(KEY, SOON));
    assert_eq!(done.unwrap(), None);
    let (done, _) = ask(&[Status(404), EmptyList], read(SOON));
    assert_eq!(done.unwrap_err().kind(), io::ErrorKind::NotFound);
    let (done, _) = ask(&[NoBucket], |reached| reached.length(KEY, SOON));
    assert!(done.is_err(), "{done:?}");
    let (done, _) = ask(&[NoBucket], read(SOON));
    assert_ne!(done.unwrap_err().kind(), io::ErrorKind::NotFound);
    let (done, _) = ask(&[NoBucket], |reached| reached.delete(KEY, SOON));
    assert!(done.is_err(), "nothing is deleted where nothing is");
    // It is not given, and is listed.
    let listed = &[Status(404), Answer::List];
    let (done, asked) = ask(listed, |reached| reached.length(KEY, SOON));
    assert!(done.is_err() && asked == ["HEAD", "GET"], "{done:?}: {asked:?}");
    let (done, _) = ask(listed, read(SOON));
    assert_ne!(done.unwrap_err().kind(), io::ErrorKind::NotFound);
    // It is deleted if that is said of the object, and not only of the request.
    let (done, asked) = ask(&[Deleted], |reached| reached.delete(KEY, SOON));
    assert!(done.is_ok() && asked == ["POST"], "{done:?}: {asked:?}");
    for answer in [NotDeleted, Status(200), Status(403)] {
        let (done, asked) = ask(&[answer], |reached| reached.delete(KEY, SOON));
        assert!(done.is_err() && asked == ["POST"], "{answer:?}: {done:?}: {asked:?}");
    }
    for status in [403, 301] {
        let (done, _) = ask(&[Status(status)], |reached| reached.length(KEY, SOON));
        assert!(done.is_err(), "{status}");
    }
    // An answer to HEAD has no words, so that others are asked for.
    let (done, asked) = ask(&[Status(403), NoBucket], |reached| reached.length(KEY, SOON));
    assert!(done.unwrap_err().to_string().contains("NoSuchBucket") && asked == ["HEAD", "GET"], "{asked:?}");
    let (done, _) = ask(&[Status(403), EmptyList], |reached| reached.length(KEY, SOON));
    assert!(done.unwrap_err().to_string().contains("403"));
}

#[test]
fn a_server_that_stops_waits_for_no_bucket() {
    let (hostile, buckets) = (Hostile::new(&[Answer::Silence]), SegmentBuckets::default());
    let reached = hostile.reached(&buckets);
    std::thread::scope(|scope| {
        let waiting = scope.spawn(|| put(&reached));
        while hostile.asked().is_empty() {
            std::thread::yield_now();
        }
        buckets.stop();
        assert_eq!(waiting.join().unwrap().unwrap_err().kind(), io::ErrorKind::Interrupted);
    });
    assert_eq!(read(SOON)(&reached).unwrap_err().kind(), io::ErrorKind::Interrupted, "nor later");
    assert_eq!(hostile.asked().len(), 1);
}
