//! Slices that were damaged, cut short or taken away while the server was down: named, set aside, and the start goes on.

use std::fs::{self, OpenOptions};
use std::os::unix::fs::FileExt as _;
use std::path::Path;

use rustix::process::Signal;
use serde_json::json;

use super::{document, found, stored_click, stored_clicks};
use crate::house::{Call, House, Line, until};
use crate::process::{WAIT, run};

/// Clicks of each slice.
const CLICKS: usize = 40;

/// A house whose server was killed: two closed slices and one that was being written.
struct Ruin {
    house: House,
    first: Vec<String>,
    second: Vec<String>,
    active: Vec<String>,
}

impl Ruin {
    async fn build() -> Self {
        let mut house = House::new(&[]);
        house.start();
        house.apply(&document()).await;
        let first = stored_clicks(&house, CLICKS).await;
        Self::next_slice(&mut house, 1).await;
        let second = stored_clicks(&house, CLICKS).await;
        Self::next_slice(&mut house, 2).await;
        let active = stored_clicks(&house, CLICKS).await;
        house.end(Signal::KILL);
        assert_eq!(house.slice_files(".closed.sqlite").len(), 2);
        assert_eq!(house.slice_files(".sqlite-wal").len(), 1 + manifest_log(&house));
        Self { house, first, second, active }
    }

    /// Has the server close what it wrote so far.
    async fn next_slice(house: &mut House, closed: usize) {
        house.end(Signal::KILL);
        house.age_slices();
        house.start();
        until("the slice is closed", async || {
            let n = house.metric("roundtrip_click_log_slices{state=\"closed\"}").await;
            (n == closed as f64).then_some(())
        })
        .await;
    }

    /// What was not touched is all there, and new clicks and events are taken.
    async fn goes_on(&self, sound: &[&[String]]) {
        for ids in sound {
            assert_eq!(found(&self.house, ids).await, ids.len(), "what was not damaged is gone");
        }
        let mut line = Line::to(&self.house.public());
        let id = stored_click(&mut line).await;
        assert_eq!(found(&self.house, &[id]).await, 1);
        let event = json!({ "event_id": "e-1", "event_name": "install", "install_id": "d-1" }).to_string();
        let call = Call::post("/v1/events", event).json_body().bearer(&self.house.keys["app-server"]);
        let answer = line.call(&call).await.expect("events are answered");
        assert_eq!(answer.status, 202, "{}", answer.text());
    }

    /// Waits until the damage is counted, then ends the server and looks for the name of the file in its log.
    async fn names(mut self, file: &Path, sound: &[&str]) {
        let house = &self.house;
        until("the damage is counted", async || {
            (house.metric("roundtrip_click_log_damaged").await >= 1.0).then_some(())
        })
        .await;
        let name = file.file_name().and_then(|name| name.to_str()).expect("it has a name").to_owned();
        let aside = house.clicks().join("damaged").join(&name);
        assert!(aside.exists(), "{} is not set aside", aside.display());
        let slices: Vec<&[String]> = sound.iter().map(|which| self.slice(which)).collect();
        self.goes_on(&slices).await;
        let log = self.house.end(Signal::TERM);
        let line = log
            .lines()
            .find(|line| line.contains("a file of the click log was damaged") && line.contains(&name));
        assert!(line.is_some(), "{name} is not named in {log}");
    }

    fn slice(&self, which: &str) -> &[String] {
        match which {
            "first" => &self.first,
            "second" => &self.second,
            _ => &self.active,
        }
    }
}

/// The manifest may have a log of its own.
fn manifest_log(house: &House) -> usize {
    usize::from(house.clicks().join("manifest.sqlite-wal").exists())
}

/// How many bytes of a file there are without the zeros that a slice's log is written ahead with.
fn written(path: &Path) -> u64 {
    let bytes = fs::read(path).expect("the file is there");
    bytes.iter().rposition(|byte| *byte != 0).map_or(0, |last| last as u64 + 1)
}

/// Flips every bit of so many bytes in the middle of what a file has been written with.
fn flip_middle(path: &Path, bytes: usize) {
    let len = written(path);
    let file = OpenOptions::new().read(true).write(true).open(path).expect("the file is there");
    assert!(len > 2 * bytes as u64, "{} is too small to be damaged in the middle", path.display());
    let at = len / 2 - bytes as u64 / 2;
    let mut middle = vec![0; bytes];
    file.read_exact_at(&mut middle, at).expect("it can be read");
    middle.iter_mut().for_each(|byte| *byte = !*byte);
    file.write_all_at(&middle, at).expect("it can be written");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_closed_slice_damaged_in_the_middle_is_set_aside() {
    let mut ruin = Ruin::build().await;
    let file = ruin.house.slice_files(".closed.sqlite")[0].clone();
    flip_middle(&file, 3_000);
    ruin.house.start();
    let kept = found(&ruin.house, &ruin.first).await;
    assert!(kept <= CLICKS, "{kept}");
    ruin.names(&file, &["second", "active"]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_active_slice_damaged_in_the_middle_of_its_log_is_set_aside() {
    let mut ruin = Ruin::build().await;
    let logs = ruin.house.slice_files(".sqlite-wal");
    let log =
        logs.iter().find(|path| !path.ends_with("manifest.sqlite-wal")).expect("a slice was being written");
    flip_middle(log, 3_000);
    let file = log.with_extension("sqlite");
    ruin.house.start();
    // Each commit wrote the whole last page again, so little of what the bad frames held is lost.
    let kept = found(&ruin.house, &ruin.active).await;
    assert!(kept > CLICKS / 2, "only {kept} of {CLICKS} could be read");
    ruin.names(&file, &["first", "second"]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_torn_commit_is_no_damage() {
    let mut ruin = Ruin::build().await;
    let logs = ruin.house.slice_files(".sqlite-wal");
    let log =
        logs.iter().find(|path| !path.ends_with("manifest.sqlite-wal")).expect("a slice was being written");
    let file = OpenOptions::new().write(true).open(log).expect("the file is there");
    file.set_len(written(log) - 100).expect("it can be cut");
    ruin.house.start();
    assert_eq!(ruin.house.metric("roundtrip_click_log_damaged").await, 0.0);
    assert_eq!(found(&ruin.house, &ruin.active).await, CLICKS - 1, "the torn commit held one click");
    ruin.goes_on(&[&ruin.first, &ruin.second]).await;
    assert!(!ruin.house.clicks().join("damaged").exists());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_slice_that_is_gone_is_missed() {
    let mut ruin = Ruin::build().await;
    let file = ruin.house.slice_files(".closed.sqlite")[1].clone();
    fs::remove_file(&file).expect("it was there");
    ruin.house.start();
    assert_eq!(ruin.house.metric("roundtrip_click_log_slices{state=\"missing\"}").await, 1.0);
    assert_eq!(found(&ruin.house, &ruin.second).await, 0);
    ruin.goes_on(&[&ruin.first, &ruin.active]).await;
    let log = ruin.house.end(Signal::TERM);
    let name = file.file_name().and_then(|name| name.to_str()).expect("it has a name");
    let line = log.lines().find(|line| line.contains("a click slice is missing") && line.contains(name));
    assert!(line.is_some(), "{name} is not named in {log}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_ledger_that_is_none_ends_the_start_in_words() {
    let mut house = House::new(&[]);
    house.start();
    house.apply(&document()).await;
    house.end(Signal::TERM);
    let path = house.data().join("ledger.sqlite");
    let file = OpenOptions::new().write(true).open(&path).expect("there is a ledger");
    file.write_all_at(&[0xa5; 100], 0).expect("it can be written");
    let data = format!("--data={}", house.data().display());
    let began = tokio::task::spawn_blocking(move || {
        run(&["serve", &data, "--public=127.0.0.1:0", "--admin=127.0.0.1:0"])
    });
    let ended = tokio::time::timeout(WAIT, began).await.expect("it does not hang").expect("it runs");
    let said = String::from_utf8_lossy(&ended.stderr);
    assert_eq!(ended.status.code(), Some(1), "{said}");
    assert!(said.contains("open the ledger") && said.contains("not a database"), "{said}");
    assert!(said.contains("ledger.sqlite"), "it does not say which file: {said}");
}
