//! Backups of the real server: made while it works and while it is down, restored, compared, broken on purpose.

mod broken;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Output;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use rusqlite::{Connection, OpenFlags};
use rustix::process::Signal;
use serde_json::{Value, json};
use tokio::net::TcpSocket;
use tokio::task::JoinSet;

use crate::house::{ANDROID, Call, House, Line, Partners, our_click_id, until};
use crate::process::{Server, run};

/// People who click and install while the backup is made.
const BUSY: usize = 4;
/// What each of them does at least while it is made.
const BUSY_MIN: u64 = 20;

/// Partners listen on loopback.
const FLAGS: [&str; 2] = ["--allow-private=127.0.0.0/8", "--allow-plain-http-out"];

/// A port that is taken and not listened on: who calls there is refused.
fn mute() -> (TcpSocket, String) {
    let socket = TcpSocket::new_v4().expect("a socket");
    socket.bind(([127, 0, 0, 1], 0).into()).expect("there is a free port");
    let address = socket.local_addr().expect("it is bound").to_string();
    (socket, address)
}

/// An app, a partner who is told at `address`, and one who never answers at `mute`.
fn document(address: &str, mute: &str) -> Value {
    let rule = |partner: &str, host: &str| {
        let url = format!("http://{host}/told/{partner}?c={{click_id}}&rt={{rt_click_id}}&e={{event_id}}");
        json!({ "app": "app", "on": "install", "partner": partner, "url": url })
    };
    json!({
        "apps": { "app": { "platform": "android", "bundle_id": "com.example.app", "currency": "EUR" } },
        "campaigns": { "app": { "app": "app" } },
        "partners": { "acme": {}, "mute": {} },
        "links": {
            "acme": { "campaign": "app", "partner": "acme" }, "mute": { "campaign": "app", "partner": "mute" },
        },
        "rules": { "acme": rule("acme", address), "mute": rule("mute", mute) },
        "keys": { "app-server": { "kind": "server", "app": "app" } },
    })
}

/// What was answered: our click ids, and our event ids by the sender's.
#[derive(Debug, Default, Clone)]
struct Seen {
    clicks: Vec<String>,
    events: BTreeMap<String, String>,
}

/// A click on a link, and an install that names it.
async fn visit(line: &mut Line, key: &str, link: &str, name: &str, seen: &mut Seen) {
    let call = Call::get(&format!("/c/{link}?click_id={name}")).browser(ANDROID);
    let answer = line.call_again(&call).await.unwrap_or_else(|why| panic!("{name}: {why}"));
    let id = our_click_id(answer.location()).expect("our click id");
    if !answer.is_unstored() {
        seen.clicks.push(id.clone());
    }
    let answer =
        line.call_again(&install(key, name, &id)).await.unwrap_or_else(|why| panic!("{name}: {why}"));
    assert_eq!(answer.status, 202, "{}", answer.text());
    let ours = answer.json()["event_id"].as_str().expect("our event id").to_owned();
    seen.events.insert(name.to_owned(), ours);
}

fn install(key: &str, name: &str, click: &str) -> Call {
    let event = json!({ "event_id": name, "event_name": "install", "install_id": name, "click_id": click });
    Call::post("/v1/events", event.to_string()).json_body().bearer(key)
}

/// Runs a command on a house's server.
async fn command(arguments: Vec<String>) -> Output {
    tokio::task::spawn_blocking(move || run(&arguments.iter().map(String::as_str).collect::<Vec<_>>()))
        .await
        .expect("the command was run")
}

/// `backup` to a file, online.
fn backup_of(house: &House, to: &Path) -> Vec<String> {
    let server = house.server().address("admin");
    vec![
        "backup".to_owned(),
        to.display().to_string(),
        "--json".to_owned(),
        format!("--server=http://{server}"),
        format!("--data={}", house.data().display()),
    ]
}

fn restore_to(archive: &Path, data: &Path) -> Vec<String> {
    vec![
        "restore".to_owned(),
        archive.display().to_string(),
        format!("--data={}", data.display()),
        "--json".to_owned(),
    ]
}

/// The lines that a command printed, the last one first.
fn last_line(output: &Output) -> Value {
    let text = String::from_utf8_lossy(&output.stdout);
    let last = text.lines().last().unwrap_or_default();
    serde_json::from_str(last)
        .unwrap_or_else(|_| panic!("{text}\n{}", String::from_utf8_lossy(&output.stderr)))
}

/// The last line of a command that must have worked.
fn done(output: &Output) -> Value {
    assert_eq!(output.status.code(), Some(0), "{}", String::from_utf8_lossy(&output.stderr));
    last_line(output)
}

/// All conversions by event.
async fn conversions(house: &House) -> BTreeMap<String, Value> {
    let mut admin = house.admin();
    let mut all = BTreeMap::new();
    let mut before = String::new();
    loop {
        let page = admin.get(&format!("/api/v1/conversions?limit=500{before}")).await;
        for conversion in page["items"].as_array().expect("a page has items") {
            all.insert(conversion["event"].as_str().expect("an event").to_owned(), conversion.clone());
        }
        match page["next"].as_str() {
            Some(next) => before = format!("&before={next}"),
            None => return all,
        }
    }
}

/// Rows of clicks in the files of a server that is down.
fn click_rows(house: &House) -> i64 {
    let mut rows = 0;
    for path in house.slice_files(".sqlite") {
        if !path.ends_with("manifest.sqlite") {
            let slice =
                Connection::open_with_flags(&path, OpenFlags::SQLITE_OPEN_READ_ONLY).expect("it opens");
            rows +=
                slice.query_row("SELECT count(*) FROM click", [], |row| row.get::<_, i64>(0)).expect("rows");
        }
    }
    rows
}

/// People who click and install until told to go.
struct Street {
    people: JoinSet<Seen>,
    is_over: Arc<AtomicBool>,
    done: Arc<AtomicU64>,
}

impl Street {
    fn open(house: &House, round: usize) -> Self {
        let (is_over, done) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
        let mut people = JoinSet::new();
        for who in 0..BUSY {
            let (is_over, done) = (is_over.clone(), done.clone());
            let (address, key) = (house.public(), house.keys["app-server"].clone());
            people.spawn(async move {
                let mut line = Line::to(&address);
                let mut seen = Seen::default();
                while !is_over.load(Ordering::SeqCst) {
                    let name = format!("busy-{round}-{who}-{}", seen.events.len());
                    visit(&mut line, &key, "acme", &name, &mut seen).await;
                    done.fetch_add(1, Ordering::SeqCst);
                }
                seen
            });
        }
        Self { people, is_over, done }
    }

    async fn is_busy(&self) {
        let goal = self.done.load(Ordering::SeqCst) + BUSY_MIN;
        until("the street is busy", async || (self.done.load(Ordering::SeqCst) >= goal).then_some(())).await;
    }

    async fn close(mut self) -> Seen {
        self.is_over.store(true, Ordering::SeqCst);
        let mut all = Seen::default();
        while let Some(seen) = self.people.join_next().await {
            let seen = seen.expect("nobody on the street fell");
            all.clicks.extend(seen.clicks);
            all.events.extend(seen.events);
        }
        all
    }
}

/// A house in which all happened that a backup has to bring along: a closed slice that is counted, one that is being
/// written, conversions that were told, and one delivery that waits.
async fn furnished(partners: &Partners, mute: &str) -> (House, Seen) {
    let mut house = House::new(&FLAGS);
    house.start();
    house.apply(&document(&partners.address().to_string(), mute)).await;
    let key = house.keys["app-server"].clone();
    let mut seen = Seen::default();
    let mut line = Line::to(&house.public());
    for n in 0..30 {
        visit(&mut line, &key, "acme", &format!("first-{n}"), &mut seen).await;
    }
    house.end(Signal::KILL);
    house.age_slices();
    house.start();
    until("the slice is closed", async || {
        (house.metric("roundtrip_click_log_slices{state=\"closed\"}").await == 1.0).then_some(())
    })
    .await;
    let mut line = Line::to(&house.public());
    for n in 0..20 {
        visit(&mut line, &key, "acme", &format!("second-{n}"), &mut seen).await;
    }
    house.drained().await;
    visit(&mut line, &key, "mute", "waits", &mut seen).await;
    until("the delivery waits for a retry", async || {
        let event = &seen.events["waits"];
        let story = house.admin().get(&format!("/api/v1/explain/{event}")).await;
        let attempts = story["deliveries"][0]["attempts"].as_array().map_or(0, Vec::len);
        (attempts > 0).then_some(())
    })
    .await;
    (house, seen)
}

/// The story of an event, without how long ago things happened.
async fn story(house: &House, event: &str) -> Value {
    fn timeless(value: &mut Value) {
        match value {
            Value::Object(fields) => {
                fields.retain(|_, value| {
                    !value.as_str().is_some_and(|text| text.ends_with(" ago.") || text.ends_with(" now."))
                });
                fields.values_mut().for_each(timeless);
            }
            Value::Array(items) => items.iter_mut().for_each(timeless),
            _ => {}
        }
    }
    let mut story = house.admin().get(&format!("/api/v1/explain/{event}")).await;
    timeless(&mut story);
    story
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_backup_under_load_is_one_moment_of_both_stores() {
    let partners = Partners::open(1).await;
    let (_port, port) = mute();
    let (mut house, before) = furnished(&partners, &port).await;
    let mut told = BTreeMap::new();
    for (name, event) in before.events.iter().filter(|(name, _)| name.as_str() != "waits") {
        told.insert(name.clone(), story(&house, event).await);
    }
    let dir = tempfile::tempdir().expect("a directory");
    let archive = dir.path().join("b.tar");

    let street = Street::open(&house, 1);
    street.is_busy().await;
    let made = done(&command(backup_of(&house, &archive)).await);
    street.is_busy().await;
    let later = street.close().await;
    assert_eq!(made["backup"]["online"], true, "{made}");
    assert_eq!(made["backup"]["path"], archive.display().to_string());
    assert_eq!(std::fs::read_dir(dir.path()).expect("it lists").count(), 1, "nothing is left beside it");
    assert!(!house.data().join("backup.tmp").exists(), "the server keeps no copy");
    let mode =
        std::os::unix::fs::PermissionsExt::mode(&archive.metadata().expect("it is there").permissions());
    assert_eq!(mode & 0o777, 0o600, "it holds secrets");
    house.drained_but("mute").await;
    let log = house.end(Signal::TERM);
    assert!(!log.contains("\"level\":\"ERROR\""), "{log}");

    let checked = done(
        &command(vec!["restore".into(), "--check".into(), archive.display().to_string(), "--json".into()])
            .await,
    );
    assert_eq!(checked["checked"]["sha256"], made["backup"]["sha256"]);
    let data = dir.path().join("restored");
    let restored = done(&command(restore_to(&archive, &data)).await);
    assert!(restored["restored"]["deliveries_waiting"].as_u64() >= Some(1), "{restored}");

    let mut twin = House::at(&data, &FLAGS);
    twin.keys = house.keys.clone();
    twin.start();
    assert_ne!(twin.token, house.token, "the admin key is not in a backup");
    assert_eq!(twin.metric("roundtrip_click_log_damaged").await, 0.0);
    assert_eq!(twin.metric("roundtrip_click_log_slices{state=\"missing\"}").await, 0.0);
    twin.drained_but("mute").await;

    // All that was answered before is there, and tells the same story.
    let there = conversions(&twin).await;
    for (name, event) in &before.events {
        assert!(there.contains_key(event), "{name} was answered before the backup and is gone");
    }
    for (name, was) in &told {
        assert_eq!(&story(&twin, &before.events[name]).await, was, "{name} has another story");
    }
    let mut admin = twin.admin();
    for id in &before.clicks {
        assert_eq!(admin.ask(&format!("/api/v1/clicks/{id}")).await.status, 200, "the click {id} is gone");
    }
    // Some of what came meanwhile is there, and every click that an event names is there as well.
    let meanwhile = later.events.values().filter(|event| there.contains_key(*event)).count();
    assert!((1..later.events.len()).contains(&meanwhile), "{meanwhile} of {}", later.events.len());
    for (event, conversion) in &there {
        assert_eq!(conversion["credit"], "attributed", "{event}: {conversion}");
        let click = conversion["click_id"].as_str().expect("a click");
        let answer = admin.ask(&format!("/api/v1/clicks/{click}")).await;
        assert_eq!(answer.status, 200, "{event} names {click}: {}", answer.text());
        assert_eq!(answer.json()["kept"], true, "{event} names {click}: {}", answer.text());
    }
    // What was answered is known again by its key.
    let mut line = Line::to(&twin.public());
    let again =
        line.call(&install(&twin.keys["app-server"], "waits", before.clicks.last().expect("a click"))).await;
    let again = again.expect("it answers").json();
    assert_eq!((&again["status"], &again["event_id"]), (&json!("duplicate"), &json!(before.events["waits"])));

    assert_eq!(admin.get("/api/v1/balance").await["balanced"], true);
    let mut more = Seen::default();
    visit(&mut line, &twin.keys["app-server"], "acme", "after", &mut more).await;
    assert!(more.clicks.iter().all(|id| !before.clicks.contains(id) && !later.clicks.contains(id)));
    let report = admin.get("/api/v1/report?by=link").await;
    twin.end(Signal::TERM);
    assert_eq!(report["total"]["clicks"], click_rows(&twin), "each click is counted once: {report}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_waited_is_sent_again_with_the_same_event_id() {
    let partners = Partners::open(2).await;
    let (_port, port) = mute();
    let (mut house, seen) = furnished(&partners, &port).await;
    let dir = tempfile::tempdir().expect("a directory");
    let archive = dir.path().join("b.tar");
    let before = partners.told().len();
    // Recorded, and not told yet as far as the backup knows.
    house.end(Signal::KILL);
    let ledger = Connection::open(house.data().join("ledger.sqlite")).expect("it opens");
    let waiting: i64 =
        ledger.query_row("SELECT count(*) FROM queue", [], |row| row.get(0)).expect("it counts");
    assert_eq!(waiting, 1);
    // A delivery that arrived is put back, as it stood before it was settled.
    let put_back = "INSERT INTO queue (workspace, teller, partner, retry, due, delivery, sends, reason) \
                    SELECT workspace, teller, partner, 0, 0, id, 0, 'planned' FROM delivery WHERE event = \
                    (SELECT event FROM delivery d JOIN finish f ON f.workspace = d.workspace AND f.delivery = d.id \
                     ORDER BY d.id LIMIT 1)";
    assert_eq!(ledger.execute(put_back, []).expect("it writes"), 1);
    ledger
        .execute_batch("DELETE FROM finish WHERE delivery IN (SELECT delivery FROM queue); DELETE FROM attempt WHERE delivery IN (SELECT delivery FROM queue WHERE sends = 0)")
        .expect("it writes");
    drop(ledger);

    let offline = vec![
        "backup".into(),
        archive.display().to_string(),
        "--offline".into(),
        "--json".into(),
        format!("--data={}", house.data().display()),
    ];
    let made = done(&command(offline).await);
    assert_eq!(made["backup"]["online"], false);
    let data = dir.path().join("restored");
    let restored = done(&command(restore_to(&archive, &data)).await);
    assert_eq!(restored["restored"]["deliveries_waiting"], 2, "{restored}");
    let mut twin = House::at(&data, &FLAGS);
    twin.keys = house.keys.clone();
    twin.start();
    let again = until("it is sent again", async || partners.told().get(before).cloned()).await;
    let first = partners.told().into_iter().take(before).find(|t| t.parameter("e") == again.parameter("e"));
    let first = first.expect("it had been told");
    assert_eq!(
        (again.path, again.parameters),
        (first.path, first.parameters),
        "the same fact, by the same id"
    );
    let mut admin = twin.admin();
    for id in &seen.clicks {
        assert_eq!(admin.ask(&format!("/api/v1/clicks/{id}")).await.status, 200, "the click {id} is gone");
    }
    twin.end(Signal::TERM);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_runs_is_not_copied_behind_its_back() {
    let mut house = House::new(&[]);
    // As a process leaves it that was killed while it made a backup.
    let leftover = house.data().join("backup.tmp/clicks");
    std::fs::create_dir_all(&leftover).expect("it is made");
    house.start();
    assert!(!leftover.exists(), "the copies of an earlier backup stay for ever");
    let dir = tempfile::tempdir().expect("a directory");
    let to = dir.path().join("b.tar");
    let data = format!("--data={}", house.data().display());
    let offline =
        |to: &Path| vec!["backup".to_owned(), to.display().to_string(), "--offline".to_owned(), data.clone()];
    let refused = command(offline(&to)).await;
    let said = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert!(refused.status.code() == Some(1) && said.contains("holds it"), "{said}");
    assert!(said.contains("leave --offline away"), "{said}");
    let online = done(&command(backup_of(&house, dir.path())).await);
    let named = PathBuf::from(online["backup"]["path"].as_str().expect("a path"));
    assert!(named.parent() == Some(dir.path()) && named.extension().is_some_and(|e| e == "tar"), "{online}");
    house.end(Signal::TERM);

    std::fs::write(&to, "mine").expect("it writes");
    let refused = command(offline(&to)).await;
    let said = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert!(refused.status.code() == Some(1) && said.contains("backups replace nothing"), "{said}");
    assert_eq!(std::fs::read(&to).expect("it is there"), b"mine");
    let nowhere = vec![
        "backup".into(),
        dir.path().join("c").display().to_string(),
        "--offline".into(),
        "--json".into(),
        format!("--data={}", dir.path().join("mistyped").display()),
    ];
    let refused = command(nowhere).await;
    assert_eq!(last_line(&refused)["error"]["code"], "backup_no_data");
    assert!(!dir.path().join("mistyped").exists() && !dir.path().join("c").exists());
    let down = command(vec![
        "backup".into(),
        dir.path().join("d").display().to_string(),
        data,
        "--server=http://127.0.0.1:9".into(),
    ])
    .await;
    let said = String::from_utf8_lossy(&down.stderr).into_owned();
    assert!(down.status.code() == Some(1) && said.contains("--offline"), "{said}");
    assert_eq!(std::fs::read_dir(dir.path()).expect("it lists").count(), 2, "failures leave nothing");
}

/// A restored directory serves.
fn serves(data: &Path) {
    let server = Server::start(data, &[]);
    assert_eq!(server.get("admin", "/readyz", None).0, 200);
    server.signal(Signal::TERM);
    assert_eq!(server.end().0.code(), Some(0));
}
