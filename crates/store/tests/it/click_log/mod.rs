//! What the click log promises: a hand-driven clock, troubles on order, and a directory copied in the middle of work
//! for a crash.

mod append;
mod damage;
mod erasing;
mod expiring;
mod lookup;
mod lookup_sealed;
mod moving;
#[cfg(target_os = "linux")]
mod power;
mod sealing;
mod slices;
mod trouble;
mod walk;

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use proptest::prelude::ProptestConfig;
use roundtrip_ambient::{Clock, Entropy};
use roundtrip_domain::click::{Click, Flags, LinkDialect, TouchKind};
use roundtrip_domain::click_id::{CheckKey, ClickId};
use roundtrip_domain::device::{DeviceId, DeviceIdKind, Print};
use roundtrip_domain::id::{Id, WorkspaceNo};
use roundtrip_domain::time::Timestamp;
use roundtrip_store::click_log::faults::{Faults, Point};
use roundtrip_store::click_log::{Append, ClickLog, Config, Found, OpenReport, Why, Work};

const KEY: CheckKey = CheckKey([7; 16]);
const START: Timestamp = Timestamp::from_ms(1_780_565_000_000);
const HOUR: i64 = 3_600_000;
const DAY: i64 = 86_400_000;
/// How long something may take that should take a moment.
const PATIENCE: Duration = Duration::from_secs(60);

/// As many cases as `PROPTEST_CASES` says; a few where it says nothing.
fn cases() -> ProptestConfig {
    let usual = ProptestConfig::default();
    if std::env::var_os("PROPTEST_CASES").is_some() { usual } else { ProptestConfig { cases: 24, ..usual } }
}

struct World {
    _tmp: tempfile::TempDir,
    clock: Clock,
    faults: Faults,
    config: Config,
}

impl World {
    fn new() -> Self {
        let tmp = tempfile::tempdir().unwrap();
        let faults = Faults::armed();
        let mut config = Config::new(tmp.path().join("clicks"), 5, vec![KEY]);
        config.faults = faults.clone();
        // Tests that are about the wait set it; the others must not depend on how busy the machine is.
        config.append_wait = Duration::from_secs(20);
        Self { _tmp: tmp, clock: Clock::manual(START), faults, config }
    }

    fn open(&self) -> (ClickLog, OpenReport) {
        ClickLog::open(self.config.clone(), self.clock.clone(), Entropy::seeded(1)).unwrap()
    }

    fn dir(&self) -> &Path {
        &self.config.dir
    }

    /// What a `kill -9` at this moment would leave, opened beside the log that goes on.
    fn crashed(&self) -> Self {
        let tmp = tempfile::tempdir().unwrap();
        let dir = tmp.path().join("clicks");
        copy_dir(self.dir(), &dir);
        let faults = Faults::armed();
        let config = Config { dir, faults: faults.clone(), ..self.config.clone() };
        Self { _tmp: tmp, clock: self.clock.clone(), faults, config }
    }

    fn files(&self, end: &str) -> Vec<PathBuf> {
        let mut files: Vec<_> = fs::read_dir(self.dir())
            .unwrap()
            .map(|e| e.unwrap().path())
            .filter(|p| p.to_string_lossy().ends_with(end) && p.to_string_lossy().contains("slice-"))
            .collect();
        files.sort();
        files
    }

    fn click(&self, n: u64) -> Click {
        let query = format!("click_id=partner-{n}&gaid=6d92078a-8246-4ba4-ae5b-{n:012x}&sub1=x");
        let mut click = Click {
            workspace: WorkspaceNo::DEFAULT,
            app: Id::from_bits(1),
            campaign: Id::from_bits(2),
            partner: Id::from_bits(3),
            link: Id::from_bits(4),
            kind: TouchKind::Click,
            dialect: LinkDialect::Linkrunner,
            flags: Flags::default(),
            received_at: self.clock.now(),
            query: query.into_bytes(),
            ip: Some([203, 0, 113, 9].into()),
            user_agent: Some("Mozilla/5.0 (Linux; Android 14) AppleWebKit/537.36".into()),
            referer: None,
            language: Some("en".into()),
            location: Default::default(),
        };
        click.flag();
        click
    }

    /// Stores so many clicks, and seals them in one segment: their hour is over.
    async fn sealed(&self, log: &ClickLog, n: u64) -> Vec<ClickId> {
        let ids = self.store_at_once(log, 0..n).await;
        assert!(log.close_now());
        publish(log);
        self.clock.advance(HOUR);
        seal_all(self, log);
        ids
    }

    /// Stores clicks one after the other, each in a commit of its own.
    async fn store(&self, log: &ClickLog, numbers: std::ops::Range<u64>) -> Vec<ClickId> {
        let mut ids = Vec::new();
        for n in numbers {
            ids.push(stored(log.append(self.click(n)).await));
        }
        ids
    }

    /// Stores clicks that come together, many in a commit. On a runtime of one thread they get their ids in their order.
    async fn store_at_once(&self, log: &ClickLog, numbers: std::ops::Range<u64>) -> Vec<ClickId> {
        let tasks: Vec<_> = numbers
            .map(|n| {
                let (log, click) = (log.clone(), self.click(n));
                tokio::spawn(async move { log.append(click).await })
            })
            .collect();
        let mut ids = Vec::new();
        for task in tasks {
            ids.push(stored(task.await.unwrap()));
        }
        ids
    }
}

/// Copies it as it is at one moment: if something changed meanwhile, once more.
fn copy_dir(from: &Path, to: &Path) {
    for _ in 0..1_000 {
        let before = listing(from);
        if before.as_ref().is_ok_and(|_| copy_once(from, to).is_ok()) && listing(from).ok() == before.ok() {
            return;
        }
        let _ = fs::remove_dir_all(to);
        std::thread::sleep(Duration::from_millis(2));
    }
    panic!("it never keeps still: {}", from.display());
}

fn copy_once(from: &Path, to: &Path) -> std::io::Result<()> {
    fs::create_dir_all(to)?;
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        let to = to.join(entry.file_name());
        match entry.path().is_dir() {
            true => copy_once(&entry.path(), &to)?,
            false => fs::copy(entry.path(), to).map(drop)?,
        }
    }
    Ok(())
}

/// Every file with its length and when it was written.
fn listing(dir: &Path) -> std::io::Result<Vec<(PathBuf, u64, std::time::SystemTime)>> {
    let mut files = Vec::new();
    for entry in fs::read_dir(dir)? {
        let path = entry?.path();
        match path.is_dir() {
            true => files.extend(listing(&path)?),
            false => {
                let about = fs::metadata(&path)?;
                files.push((path, about.len(), about.modified()?));
            }
        }
    }
    files.sort();
    Ok(files)
}

/// What the engine does when the ledger has the counts.
#[track_caller]
fn publish(log: &ClickLog) {
    for slice in log.to_publish() {
        log.published(slice.seq).unwrap();
    }
}

/// Everything that is to be done now.
#[track_caller]
fn seal_all(world: &World, log: &ClickLog) -> Vec<Work> {
    let mut done = Vec::new();
    while let Some(work) = log.seal(world.clock.now()).unwrap() {
        done.push(work);
        assert!(done.len() < 100, "it never ends: {done:?}");
    }
    done
}

/// Waits for what another thread does, and not for ever.
async fn until(what: &str, done: impl Fn() -> bool) {
    let began = Instant::now();
    while !done() {
        assert!(began.elapsed() < PATIENCE, "{what} takes for ever");
        tokio::task::yield_now().await;
    }
}

/// Waits until somebody is held at a point.
async fn held(world: &World, point: Point) {
    let faults = world.faults.clone();
    assert!(tokio::task::spawn_blocking(move || faults.wait_held(point)).await.unwrap(), "{point:?}");
}

#[track_caller]
fn stored(append: Append) -> ClickId {
    match append {
        Append::Stored(id) => id,
        other => panic!("not stored: {other:?}"),
    }
}

#[track_caller]
fn unstored(append: Append, want: Why) -> ClickId {
    match append {
        Append::Unstored { id, why } if why == want => id,
        other => panic!("wanted unstored for {want:?}: {other:?}"),
    }
}

async fn is_found(log: &ClickLog, id: ClickId) -> bool {
    match log.find(id).await.unwrap() {
        Found::Touch(touch) => {
            assert_eq!(touch.id, id);
            true
        }
        _ => false,
    }
}

async fn count_found(log: &ClickLog, ids: &[ClickId]) -> usize {
    let found = log.find_batch(ids).await.unwrap();
    found.iter().filter(|f| matches!(f, Found::Touch(_))).count()
}

fn gaid(n: u64) -> Print {
    let id = DeviceId::parse(DeviceIdKind::Gaid, &format!("6d92078a-8246-4ba4-ae5b-{n:012x}")).unwrap();
    Print::device(Id::from_bits(1), &id)
}

fn counted(log: &ClickLog) -> u64 {
    log.active_counts().iter().flat_map(|u| &u.counts).map(|c| c.count).sum()
}

fn flip(path: &Path, at: u64, bytes: usize) {
    let mut data = fs::read(path).unwrap();
    for byte in &mut data[at as usize..at as usize + bytes] {
        *byte ^= 0x5a;
    }
    fs::write(path, data).unwrap();
}
