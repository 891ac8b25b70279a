//! A full disk: visitors still leave, senders are told to come again, and it goes on by itself when there is room.
//!
//! The disk is a small tmpfs, which only root may mount; elsewhere the test says that it did not run.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use rustix::process::Signal;
use serde_json::json;
use tempfile::TempDir;

use super::{click, document, found, redirected, stored_clicks};
use crate::house::{Answer, Call, House, Line, Partners, say, until};

/// Room for the stores and what a test writes, and little enough to be filled in a moment.
const DISK: &str = "size=24m";
/// Most requests until the disk shows: the ledger's log may use its room once more before it needs new one.
const TRIES_MAX: usize = 3_000;
/// Bytes that each event brings along, so that the disk shows soon.
const LOAD_BYTES: usize = 12_000;

/// A disk of its own, unmounted in the end.
struct Disk {
    path: PathBuf,
    _dir: TempDir,
}

impl Disk {
    fn mount() -> Result<Self, String> {
        let dir = tempfile::tempdir().map_err(|error| error.to_string())?;
        let path = dir.path().to_owned();
        let mounted = Command::new("mount").args(["-t", "tmpfs", "-o", DISK, "tmpfs"]).arg(&path).output();
        let mounted = mounted.map_err(|error| format!("mount: {error}"))?;
        if !mounted.status.success() {
            return Err(String::from_utf8_lossy(&mounted.stderr).trim().to_owned());
        }
        Ok(Self { path, _dir: dir })
    }

    /// Writes a file until nothing more fits.
    fn fill(&self) -> PathBuf {
        let path = self.path.join("filler");
        let mut file = File::create(&path).expect("a name fits");
        for bytes in [1 << 16, 1 << 10, 1] {
            let zeros = vec![0; bytes];
            loop {
                match file.write_all(&zeros) {
                    Ok(()) => {}
                    Err(error) if error.kind() == std::io::ErrorKind::StorageFull => break,
                    Err(error) => panic!("the filler cannot be written: {error}"),
                }
            }
        }
        path
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        // Lazily: a test that failed may have left a reader.
        let _ = Command::new("umount").arg("-l").arg(&self.path).status();
    }
}

fn event(house: &House, id: &str) -> Call {
    let load = "x".repeat(LOAD_BYTES);
    let event = json!({ "event_id": id, "event_name": "level_up", "install_id": "d", "properties": { "load": load } });
    Call::post("/v1/events", event.to_string()).json_body().bearer(&house.keys["app-server"])
}

async fn send(line: &mut Line, call: &Call) -> Answer {
    line.call_again(call).await.unwrap_or_else(|why| panic!("an event was not answered: {why}"))
}

/// Sends an event. `None`: refused for want of room, as it has to be said.
async fn accepted(line: &mut Line, call: &Call) -> Option<String> {
    let answer = send(line, call).await;
    let document = answer.json();
    match answer.status {
        202 => Some(document["event_id"].as_str().expect("it has an id").to_owned()),
        503 => {
            assert_eq!(document["error"]["code"], "store_unavailable", "{document}");
            None
        }
        status => panic!("a full disk was answered {status}: {document}"),
    }
}

fn sizes(dir: &Path) -> String {
    let listed = Command::new("du").arg("-ak").arg(dir).output();
    listed
        .map_or_else(|error| error.to_string(), |listed| String::from_utf8_lossy(&listed.stdout).into_owned())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_disk_strands_nobody_and_passes() {
    let disk = match Disk::mount() {
        Ok(disk) => disk,
        Err(why) => {
            say(&format!(
                "SKIPPED: the disk-full test needs a small disk, and a tmpfs cannot be mounted here: {why}"
            ));
            return;
        }
    };
    let mut house = House::at(&disk.path.join("data"), &[]);
    house.start();
    house.apply(&document()).await;
    let mut line = Line::to(&house.public());
    let mut clicks = stored_clicks(&house, 20).await;
    let mut events: BTreeMap<String, String> = BTreeMap::new();
    for n in 0..20 {
        let id = format!("before-{n}");
        let ours = accepted(&mut line, &event(&house, &id)).await.expect("there is room");
        events.insert(id, ours);
    }
    house.drained().await;

    let filler = disk.fill();
    let mut refused: Vec<String> = Vec::new();
    let mut unstored: Vec<String> = Vec::new();
    for n in 0..TRIES_MAX {
        let (id, answer) = redirected(&mut line, &click("&sub1=abcdefghijklmnopqrstuvwxyz")).await;
        if answer.is_unstored() {
            unstored.push(id)
        } else {
            clicks.push(id)
        }
        let id = format!("full-{n}");
        match accepted(&mut line, &event(&house, &id)).await {
            Some(ours) => drop(events.insert(id, ours)),
            None => refused.push(id),
        }
        if refused.len() >= 20 && unstored.len() >= 20 {
            break;
        }
    }
    assert!(refused.len() >= 20 && unstored.len() >= 20, "the disk did not show: {}", sizes(&disk.path));

    let (status, ready) = house.server().get("admin", "/readyz", None);
    assert!(status == 503 && ready.contains("ledger: "), "{ready}");
    assert_eq!(house.metric("roundtrip_ready").await, 0.0);
    assert!(house.metric("roundtrip_ingest_touches_unstored_total").await >= unstored.len() as f64);
    assert!(house.metric("roundtrip_clicks_unstored_total{reason=\"disk_full\"}").await >= 1.0);
    assert!(house.metric("roundtrip_ingest_events_unavailable_total").await >= refused.len() as f64);
    assert_eq!(found(&house, &clicks).await, clicks.len(), "what was answered is found on a full disk too");

    let call = Call::post("/api/v1/backup", "").bearer(&house.token);
    let full = Line::to(house.server().address("admin")).call(&call).await.expect("it answers");
    assert_eq!((full.status, &full.json()["error"]["code"]), (503, &json!("backup_no_room")));
    assert!(!house.data().join("backup.tmp").exists(), "a backup that cannot be made takes no room");

    // A crash on a full disk is no end either: what is there is opened without needing room.
    house.end(Signal::KILL);
    house.start();
    line = Line::to(&house.public());
    for _ in 0..5 {
        let (id, answer) = redirected(&mut line, &click("")).await;
        if !answer.is_unstored() {
            clicks.push(id);
        }
    }
    assert_eq!(found(&house, &clicks).await, clicks.len(), "what was answered is found after a crash too");

    std::fs::remove_file(&filler).expect("the filler is there");
    until("it is ready again by itself", async || {
        (house.server().get("admin", "/readyz", None).0 == 200).then_some(())
    })
    .await;
    until("clicks are stored again", async || {
        let (id, answer) = redirected(&mut line, &click("")).await;
        (!answer.is_unstored()).then(|| clicks.push(id))
    })
    .await;
    for id in &refused {
        let answer = send(&mut line, &event(&house, id)).await;
        let document = answer.json();
        assert_eq!(
            (answer.status, &document["status"]),
            (202, &"accepted".into()),
            "half of {id} was written: {document}"
        );
        events.insert(id.clone(), document["event_id"].as_str().expect("it has an id").to_owned());
    }
    house.drained().await;
    assert_eq!(house.metric("roundtrip_loop_panics_total").await, 0.0);
    everything_is_there(&house, &clicks, &events).await;
    assert_eq!(house.admin().get("/api/v1/balance").await["balanced"], true);

    house.end(Signal::KILL);
    house.start();
    assert_eq!(house.metric("roundtrip_click_log_damaged").await, 0.0);
    everything_is_there(&house, &clicks, &events).await;
    house.end(Signal::TERM);
}

async fn everything_is_there(house: &House, clicks: &[String], events: &BTreeMap<String, String>) {
    assert_eq!(found(house, clicks).await, clicks.len(), "clicks that were answered are gone");
    let mut line = Line::to(&house.public());
    for (id, ours) in events {
        let document = send(&mut line, &event(house, id)).await.json();
        assert_eq!(
            (document["status"].as_str(), document["event_id"].as_str()),
            (Some("duplicate"), Some(ours.as_str()))
        );
    }
    let listed = house.admin().get("/api/v1/conversions?limit=1000").await;
    assert_eq!(listed["items"].as_array().map(Vec::len), Some(events.len().min(1_000)));
}

/// Deliveries that come due while the disk is full.
const DUE: usize = 12;
/// How long after its event each of them is sent: the disk is full by then.
const DELAY: &str = "15s";

/// The ends of sends cannot be stored: they are kept in memory and stored later, and nobody is told again meanwhile. If
/// the process dies as well, each is told once more after each start, with the same event id, and that is all.
async fn told_on_a_full_disk(dies: bool) {
    let disk = match Disk::mount() {
        Ok(disk) => disk,
        Err(why) => {
            say(&format!("SKIPPED: the test of sends on a full disk cannot mount a tmpfs here: {why}"));
            return;
        }
    };
    let partners = Partners::open(1).await;
    let mut document = document();
    document["rules"]["acme"] = json!({
        "app": "app", "on": "install", "partner": "acme", "scope": "all", "delay": DELAY,
        "url": format!("http://{}/told?e={{event_id}}", partners.address()),
    });
    let flags = ["--allow-private=127.0.0.0/8", "--allow-plain-http-out"];
    let mut house = House::at(&disk.path.join("data"), &flags);
    house.start();
    house.apply(&document).await;
    let mut line = Line::to(&house.public());
    let mut events: BTreeMap<String, String> = BTreeMap::new();
    for n in 0..DUE {
        let id = format!("install-{n}");
        let body = json!({ "event_id": id, "event_name": "install", "install_id": id }).to_string();
        let call = Call::post("/v1/events", body).json_body().bearer(&house.keys["app-server"]);
        events.insert(id, accepted(&mut line, &call).await.expect("there is room"));
    }
    until("all is planned", async || (waiting(&house).await == DUE).then_some(())).await;

    let filler = disk.fill();
    let mut refused = 0;
    for n in 0..TRIES_MAX {
        refused += usize::from(accepted(&mut line, &event(&house, &format!("full-{n}"))).await.is_none());
        if refused >= 20 {
            break;
        }
    }
    assert!(refused >= 20, "the disk did not show: {}", sizes(&disk.path));
    assert!(partners.told().is_empty(), "it was told before the disk was full; the delay is too short");
    let mut times = 1;
    let told = async |times: usize| {
        until("each is told, though its end cannot be stored", async || {
            (partners.told().len() >= times * DUE).then_some(())
        })
        .await;
    };
    told(times).await;
    assert_eq!(waiting(&house).await, DUE, "an end was stored on a full disk");
    if dies {
        house.end(Signal::KILL);
        house.start();
        times += 1;
        told(times).await;
        assert_eq!(waiting(&house).await, DUE, "an end was stored on a full disk");
    }

    std::fs::remove_file(&filler).expect("the filler is there");
    house.drained().await;
    let mut by_event: BTreeMap<String, usize> = BTreeMap::new();
    for told in partners.told() {
        *by_event.entry(told.parameter("e").to_owned()).or_default() += 1;
    }
    assert_eq!(by_event.len(), DUE, "somebody was not told: {by_event:?}");
    assert!(by_event.values().all(|n| *n == times), "told more than {times} times: {by_event:?}");
    let mut admin = house.admin();
    assert_eq!(admin.get("/api/v1/balance").await["balanced"], true);
    for event in events.values() {
        let story = admin.get(&format!("/api/v1/explain/{event}")).await;
        assert_eq!(story["deliveries"][0]["state"], "delivered", "{story}");
        assert_eq!(
            story["deliveries"][0]["sends"], 1,
            "the send whose end was lost with the process is not known: {story}"
        );
    }
    assert_eq!(house.metric("roundtrip_loop_panics_total").await, 0.0);
    house.end(Signal::TERM);
}

/// Deliveries that wait, as the books say.
async fn waiting(house: &House) -> usize {
    let waiting = house.admin().get("/api/v1/balance").await["waiting"]["deliveries"].as_u64();
    waiting.and_then(|n| usize::try_from(n).ok()).expect("the books say what waits")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ends_of_sends_wait_for_room_and_nobody_is_told_twice() {
    told_on_a_full_disk(false).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_crash_on_a_full_disk_tells_each_once_more() {
    told_on_a_full_disk(true).await;
}
