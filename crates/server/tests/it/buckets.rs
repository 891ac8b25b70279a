//! Segments of the real server in a bucket: moto's S3, behind a door that is busy, or shut.

use std::collections::BTreeMap;
use std::io::Write as _;
use std::net::{SocketAddr, TcpListener};
use std::process::Stdio;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, AtomicU32, Ordering};

use roundtrip_ambient::{Clock, Entropy};
use roundtrip_domain::click_id::ClickId;
use roundtrip_store::click_log::{self, Append, ClickLog};
use roundtrip_store::ledger::{self, Ledger};
use roundtrip_testkit::{World, sample};
use rustix::process::Signal;
use serde_json::{Value, json};

use crate::exports::bucket::{Moto, ask, pass, whole_request};
use crate::house::{Call, House, Line, until};
use crate::process::{roundtrip, run};

const DAY_MS: i64 = 86_400_000;
const HOUR_MS: i64 = 3_600_000;
const BUCKET: &str = "s3://warehouse/a%20b/clicks";
const HOURS: u64 = 3;

/// Stands before a bucket.
struct Door {
    address: SocketAddr,
    how: Arc<AtomicU8>,
    turned_away: Arc<AtomicU32>,
}

/// Everybody is let in.
const OPEN: u8 = 0;
/// Every third is told to come again.
const BUSY: u8 = 1;
/// So is everybody.
const SHUT: u8 = 2;

impl Door {
    fn before(behind: SocketAddr) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("there is a free port");
        let address = listener.local_addr().expect("it is bound");
        let (how, turned_away) = (Arc::new(AtomicU8::new(BUSY)), Arc::new(AtomicU32::new(0)));
        let (now, count) = (how.clone(), turned_away.clone());
        std::thread::spawn(move || {
            for (n, mut stream) in listener.incoming().flatten().enumerate() {
                let (now, count) = (now.clone(), count.clone());
                std::thread::spawn(move || {
                    let Some(request) = whole_request(&mut stream) else { return };
                    let how = now.load(Ordering::Relaxed);
                    let answer = if how == SHUT || how == BUSY && n % 3 == 0 {
                        count.fetch_add(1, Ordering::Relaxed);
                        b"HTTP/1.1 503 Slow Down\r\ncontent-length: 0\r\nconnection: close\r\n\r\n".to_vec()
                    } else {
                        pass(behind, &request)
                    };
                    // Who went away needs no answer.
                    let _ = stream.write_all(&answer);
                });
            }
        });
        Self { address, how, turned_away }
    }

    fn is(&self, how: u8) {
        self.how.store(how, Ordering::Relaxed);
    }
}

fn gaid(n: u64) -> String {
    format!("6d92078a-8246-4ba4-ae5b-{n:012x}")
}

/// A house whose click log has twenty clicks of each of some hours three days ago, sealed. Returns the clicks' ids too.
async fn furnished(door: SocketAddr) -> (House, Vec<ClickId>) {
    let bucket = format!("--click-segments-bucket={BUCKET}/");
    let house = House::new(&[&bucket, "--click-segments-local=0s"]).with_env(&[
        ("AWS_ACCESS_KEY_ID", "k".to_owned()),
        ("AWS_SECRET_ACCESS_KEY", "s".to_owned()),
        ("AWS_REGION", "us-east-1".to_owned()),
        ("AWS_ENDPOINT_URL", format!("http://{door}")),
    ]);
    std::fs::create_dir_all(house.data()).expect("there is room");
    let past = Clock::System.now().plus_ms(-3 * DAY_MS);
    let (clock, entropy) = (Clock::manual(past), Entropy::seeded(7));
    let (ledger, _) =
        Ledger::open(&ledger::Config::in_dir(house.data()), entropy.clone(), past).expect("a ledger");
    let identity = ledger.identity();
    let config = click_log::Config::new(house.clicks(), identity.node, identity.check_keys.clone());
    let (log, _) = ClickLog::open(config, clock.clone(), entropy.clone()).expect("a click log");
    let mut world = World::around(ledger, entropy);
    world.apply(&sample(), false).await;
    let mut ids = Vec::new();
    for n in 0..HOURS * 20 {
        let query = format!("click_id=p{n}&gaid={}&sub1=x{n}", gaid(n));
        let touch = world.click("game-acme", clock.now(), &query);
        match log.append(touch.click).await {
            Append::Stored(id) => ids.push(id),
            other => panic!("{other:?}"),
        }
        if n % 20 == 19 {
            assert!(log.close_now());
            clock.advance(HOUR_MS);
        }
    }
    for slice in log.to_publish() {
        let seq = slice.seq;
        world.ledger.slice_publish(slice).await.expect("it is counted");
        log.published(seq).expect("it is noted");
    }
    log.seal_now().expect("it is sealed");
    assert_eq!(log.segments().len() as u64, HOURS);
    assert!(log.shutdown());
    world.ledger.close().await;
    (house, ids)
}

async fn files(house: &House) -> Vec<Value> {
    let list = house.admin().get("/api/v1/click-files").await;
    list["files"].as_array().expect("it lists files").clone()
}

/// Waits until all segments lie in the bucket; their names.
async fn moved(house: &House, n: u64) -> Vec<String> {
    until("the segments are moved", async || {
        let files = files(house).await;
        let moved = files.iter().filter(|file| file["state"] == "moved" && file["bucket"] == BUCKET);
        let names: Vec<String> =
            moved.map(|file| file["file"].as_str().expect("it has a name").to_owned()).collect();
        (names.len() as u64 == n).then_some(names)
    })
    .await
}

/// Reports an install that names a click, or a device. Returns our id of the event.
async fn install(house: &House, name: &str, more: Value) -> String {
    let mut event = json!({ "event_id": name, "event_name": "install", "install_id": name });
    for (field, value) in more.as_object().expect("fields") {
        event[field] = value.clone();
    }
    let key = &house.keys["game-server"];
    let call = Call::post("/v1/events", event.to_string()).json_body().bearer(key);
    let answer =
        Line::to(&house.public()).call_again(&call).await.unwrap_or_else(|why| panic!("{name}: {why}"));
    assert_eq!(answer.status, 202, "{}", answer.text());
    answer.json()["event_id"].as_str().expect("our event id").to_owned()
}

/// Whether an event was credited to a click.
async fn is_credited(house: &House, event: &str, click: ClickId) -> bool {
    house.drained().await;
    let story = house.admin().get(&format!("/api/v1/explain/{event}")).await;
    let conversion = house.admin().get("/api/v1/conversions?limit=500").await;
    let of_it =
        conversion["items"].as_array().and_then(|all| all.iter().find(|c| c["event_id"] == event).cloned());
    let credited = of_it.map(|conversion| conversion["credit"].clone());
    assert!(credited.is_none() || credited == Some(json!("attributed")), "{credited:?}");
    story.to_string().contains(&click.to_string()) && story.to_string().contains("attributed")
}

async fn keyed(house: &mut House) {
    let mut document = sample();
    document["keys"] = json!({ "game-server": { "kind": "server", "app": "game" } });
    house.apply(&document).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn segments_of_a_server_move_into_a_bucket_and_decide_from_there() {
    let moto = Moto::start();
    let door = Door::before(moto.address);
    let (mut house, ids) = furnished(door.address).await;
    let mut whole = BTreeMap::new();
    let mut left = vec![house.clicks()];
    while let Some(dir) = left.pop() {
        for path in
            std::fs::read_dir(&dir).expect("it is there").map(|entry| entry.expect("it is listed").path())
        {
            if path.is_dir() {
                left.push(path);
            } else if path.extension().is_some_and(|end| end == "parquet") {
                let name = path.strip_prefix(house.clicks()).expect("it is inside").display().to_string();
                whole.insert(name, std::fs::read(&path).expect("it can be read"));
            }
        }
    }
    assert_eq!(whole.len() as u64, HOURS);
    house.start();
    keyed(&mut house).await;
    let names = moved(&house, HOURS).await;
    assert!(door.turned_away.load(Ordering::Relaxed) >= 2, "it was turned away and came again");
    assert_eq!(names, whole.keys().cloned().collect::<Vec<_>>());
    for (name, bytes) in &whole {
        assert!(!house.clicks().join(name).exists(), "{name} is not here any more");
        // The equals signs are in the name, the space is the prefix's.
        let (status, found) =
            ask(moto.address, "GET", &format!("/warehouse/a%20b/clicks/{}", name.replace('=', "%3D")));
        assert_eq!((status, &found == bytes), (200, true), "{name}");
    }
    let event = install(&house, "by-id", json!({ "click_id": ids[7].to_string() })).await;
    assert!(is_credited(&house, &event, ids[7]).await);

    // Nobody decides without the click that the bucket has.
    house.end(Signal::KILL);
    door.is(SHUT);
    house.start();
    let event = install(&house, "shut", json!({ "device": { "gaid": gaid(31) } })).await;
    let undecided =
        async |house: &House| house.admin().get("/api/v1/balance").await["waiting"]["undecided"].clone();
    until("a look-up failed", async || {
        (house.metric("roundtrip_click_log_bucket_failures_total").await >= 1.0).then_some(())
    })
    .await;
    assert_eq!(undecided(&house).await, 1);
    door.is(OPEN);
    assert!(is_credited(&house, &event, ids[31]).await);

    let command = |what: &[&str]| {
        let server = format!("--server=http://{}", house.server().address("admin"));
        let data = format!("--data={}", house.data().display());
        run(&what.iter().copied().chain([server.as_str(), &data]).collect::<Vec<_>>())
    };
    let list = command(&["clicks", "list"]);
    let text = String::from_utf8_lossy(&list.stdout).into_owned();
    assert!(text.contains(&format!("In {BUCKET}: 3 files, ")), "{text}");
    let verified = command(&["clicks", "verify"]);
    assert_eq!(verified.status.code(), Some(0), "{}", String::from_utf8_lossy(&verified.stdout));
    assert_eq!(house.metric("roundtrip_click_log_segments_moved").await, 3.0);

    // A backup does not hold them, and what is restored finds them.
    let dir = tempfile::tempdir().expect("a directory");
    let archive = dir.path().join("b.tar");
    let made = command(&["backup", &archive.display().to_string()]);
    let text = String::from_utf8_lossy(&made.stdout).into_owned();
    assert!(
        made.status.success() && text.contains("3 sealed files lie in buckets and are not in it"),
        "{text}"
    );
    let flags: Vec<String> = house.flags().to_vec();
    house.end(Signal::TERM);
    let data = dir.path().join("restored");
    let restored = run(&["restore", &archive.display().to_string(), &format!("--data={}", data.display())]);
    let text = String::from_utf8_lossy(&restored.stdout).into_owned();
    assert!(restored.status.success() && text.contains("3 sealed files lie in buckets"), "{text}");
    let env = [
        ("AWS_ACCESS_KEY_ID", "k".to_owned()),
        ("AWS_SECRET_ACCESS_KEY", "s".to_owned()),
        ("AWS_REGION", "us-east-1".to_owned()),
        ("AWS_ENDPOINT_URL", format!("http://{}", door.address)),
    ];
    let mut second = House::at(&data, &flags.iter().map(String::as_str).collect::<Vec<_>>()).with_env(&env);
    second.start();
    assert_eq!(moved(&second, HOURS).await, names);
    second.keys = house.keys.clone();
    let event = install(&second, "restored", json!({ "device": { "gaid": gaid(45) } })).await;
    assert!(is_credited(&second, &event, ids[45]).await);

    // Erased there too.
    let server = format!("--server=http://{}", second.server().address("admin"));
    let data = format!("--data={}", second.data().display());
    let device = format!("--device-id={}", gaid(2));
    let erase = ["clicks", "erase", "--workspace=default", "--yes", &device, &server, &data];
    let erased = run(&erase);
    let text = String::from_utf8_lossy(&erased.stdout).into_owned();
    assert!(erased.status.success() && text.contains("1 click of 1 file is gone"), "{text}");
    let (status, _) =
        ask(moto.address, "GET", &format!("/warehouse/a%20b/clicks/{}", names[0].replace('=', "%3D")));
    assert_eq!(status, 404, "the object is gone");
    let now = moved(&second, HOURS).await;
    assert_eq!(
        (&now[..2], now.contains(&names[0])),
        (&names[1..], false),
        "what is left of it moved as any other"
    );
}

#[test]
fn a_bucket_that_cannot_be_used_is_refused_at_the_start() {
    let dir = tempfile::tempdir().expect("a directory");
    for (bucket, why) in [
        ("ftp://x/y", "this program is built for s3://, not for ftp://"),
        ("gs://x/y", "not for gs://"),
        ("s3://key:secret@x/y", "credentials come from the environment"),
        ("s3://", "names no bucket"),
        ("clicks", "is no URL"),
    ] {
        let data = format!("--data={}", dir.path().join("data").display());
        let flag = format!("--click-segments-bucket={bucket}");
        let started =
            roundtrip().args(["serve", &data, &flag]).stdin(Stdio::null()).output().expect("it runs");
        let text = String::from_utf8_lossy(&started.stderr).into_owned();
        assert!(started.status.code() == Some(2) || started.status.code() == Some(1), "{bucket}: {text}");
        assert!(
            text.contains(why) && text.contains("--click-segments-bucket") && !text.contains("secret@"),
            "{bucket}: {text}"
        );
    }
}
