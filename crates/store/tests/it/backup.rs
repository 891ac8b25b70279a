//! What a backup promises of the two stores together, and what reading one does not believe.

use std::fs;
use std::io::Write as _;
use std::path::Path;

use roundtrip_ambient::{Clock, Entropy};
use roundtrip_domain::click::Click;
use roundtrip_domain::time::Timestamp;
use roundtrip_store::backup::{self, Error, Progress};
use roundtrip_store::click_log::faults::Faults;
use roundtrip_store::click_log::{Append, ClickLog, Config, Found, OpenReport};
use roundtrip_store::ledger::{self, Ledger};
use roundtrip_testkit::{NOON, World, sample};
use rusqlite::Connection;

/// Both stores of one directory.
pub(crate) struct Pair {
    pub(crate) ledger: Ledger,
    pub(crate) clicks: ClickLog,
}

impl Pair {
    pub(crate) fn open(dir: &Path, clock: &Clock) -> Self {
        Self::open_with(dir, clock, Faults::default())
    }

    fn open_with(dir: &Path, clock: &Clock, faults: Faults) -> Self {
        Self::open_as(dir, clock, |config| config.faults = faults)
    }

    /// With what `change` changes of how the click log is opened.
    pub(crate) fn open_as(dir: &Path, clock: &Clock, change: impl FnOnce(&mut Config)) -> Self {
        let (pair, report) = Self::opened(dir, clock, change);
        assert!(report.damaged.is_empty() && report.missing.is_empty(), "{report:?}");
        pair
    }

    pub(crate) fn try_open(dir: &Path, clock: &Clock) -> (Self, OpenReport) {
        Self::opened(dir, clock, |_| {})
    }

    fn opened(dir: &Path, clock: &Clock, change: impl FnOnce(&mut Config)) -> (Self, OpenReport) {
        let (ledger, _) =
            Ledger::open(&ledger::Config::in_dir(dir), Entropy::seeded(9), clock.now()).unwrap();
        let identity = ledger.identity();
        let mut config = Config::new(dir.join("clicks"), identity.node, identity.check_keys.clone());
        config.floor = identity.click_floor;
        config.published = Some(ledger.slices_counted().unwrap());
        config.append_wait = std::time::Duration::from_secs(20);
        change(&mut config);
        let (clicks, report) = ClickLog::open(config, clock.clone(), Entropy::seeded(1)).unwrap();
        (Self { ledger, clicks }, report)
    }

    pub(crate) async fn close(self) {
        let clicks = self.clicks.clone();
        assert!(tokio::task::spawn_blocking(move || clicks.shutdown()).await.unwrap());
        self.ledger.close().await;
    }

    pub(crate) async fn store(&self, click: &Click) -> roundtrip_domain::click_id::ClickId {
        match self.clicks.append(click.clone()).await {
            Append::Stored(id) => id,
            other => panic!("not stored: {other:?}"),
        }
    }

    /// Has the slice closed that is being written.
    pub(crate) async fn close_slice(&self) {
        let clicks = self.clicks.clone();
        assert!(tokio::task::spawn_blocking(move || clicks.close_now()).await.unwrap());
    }

    /// What upkeep does every second.
    pub(crate) async fn publish(&self) {
        for slice in self.clicks.to_publish() {
            let seq = slice.seq;
            self.ledger.slice_publish(slice).await.unwrap();
            self.clicks.published(seq).unwrap();
        }
    }

    fn archive(&self, at: Timestamp) -> Vec<u8> {
        let mut archive = Vec::new();
        backup::begin(&self.ledger, &self.clicks, at, "0.0.0-test").unwrap().write(&mut archive).unwrap();
        archive
    }
}

/// A click of the sample world's.
pub(crate) async fn click(at: Timestamp) -> (World, Click) {
    let mut world = World::new(&sample()).await;
    let click = world.click("game-acme", at, "click_id=p-1").click;
    (world, click)
}

pub(crate) fn unpacked(archive: &[u8], dir: &Path) -> Result<backup::Restored, Error> {
    fs::create_dir_all(dir).unwrap();
    backup::unpack(archive, dir, &mut |_| {})
}

pub(crate) fn copy_dir(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let to = to.join(entry.file_name());
        if entry.path().is_dir() {
            copy_dir(&entry.path(), &to);
        } else {
            fs::copy(entry.path(), to).unwrap();
        }
    }
}

fn one(file: &Path, sql: &str) -> i64 {
    Connection::open(file).unwrap().query_row(sql, [], |row| row.get(0)).unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn counts_of_a_slice_are_in_exactly_one_of_the_two_copies() {
    let dir = tempfile::tempdir().unwrap();
    let (_world, click) = click(NOON).await;
    let pair = Pair::open(dir.path(), &Clock::manual(NOON));
    let mut said = 0_u64;
    // Slices are closed and published as fast as they can be, while one backup after the other is made.
    let busy = async {
        for _ in 0..40 {
            pair.store(&click).await;
            pair.close_slice().await;
            pair.publish().await;
        }
    };
    let (ledger, clicks) = (pair.ledger.clone(), pair.clicks.clone());
    let copying = tokio::task::spawn_blocking(move || {
        let mut archives = Vec::new();
        for _ in 0..25 {
            let mut archive = Vec::new();
            backup::begin(&ledger, &clicks, NOON, "0.0.0-test").unwrap().write(&mut archive).unwrap();
            archives.push(archive);
        }
        archives
    });
    let ((), archives) = tokio::join!(busy, copying);
    for (n, archive) in archives.unwrap().iter().enumerate() {
        let twin = dir.path().join(format!("twin-{n}"));
        unpacked(archive, &twin).unwrap();
        let of_ledger = format!("ATTACH '{}' AS l", twin.join("ledger.sqlite").display());
        let manifest = Connection::open(twin.join("clicks/manifest.sqlite")).unwrap();
        manifest.execute_batch(&of_ledger).unwrap();
        let count = |sql: &str| manifest.query_row(sql, [], |row| row.get::<_, i64>(0)).unwrap();
        let nowhere =
            count("SELECT count(*) FROM main.slice WHERE published AND seq NOT IN (SELECT seq FROM l.slice)");
        assert_eq!(nowhere, 0, "backup {n} has lost the counts of a slice");
        drop(manifest);
        let clock = Clock::manual(NOON);
        let pair = Pair::open(&twin, &clock);
        pair.close_slice().await;
        pair.publish().await;
        pair.close().await;
        let counted =
            one(&twin.join("ledger.sqlite"), "SELECT coalesce(sum(count), 0) FROM rollup WHERE metric = 1");
        let mut stored = 0;
        for entry in fs::read_dir(twin.join("clicks")).unwrap() {
            let path = entry.unwrap().path();
            if path.to_string_lossy().ends_with(".closed.sqlite") {
                stored += one(&path, "SELECT count(*) FROM click");
            }
        }
        assert_eq!(counted, stored, "backup {n} counts other clicks than it has");
        said = said.max(stored as u64);
        fs::remove_dir_all(&twin).unwrap();
    }
    assert!(said > 0, "no backup held anything");
    pair.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ids_go_on_after_the_last_one_of_the_backup_whatever_the_clock_says() {
    let dir = tempfile::tempdir().unwrap();
    let clock = Clock::manual(NOON);
    let (_world, click) = click(NOON).await;
    let pair = Pair::open(dir.path(), &clock);
    let mut ids = vec![pair.store(&click).await];
    pair.close_slice().await;
    pair.publish().await;
    clock.advance(60_000);
    for _ in 0..50 {
        ids.push(pair.store(&click).await);
    }
    let archive = pair.archive(clock.now());
    pair.close().await;
    for (name, at) in [("behind", NOON.plus_ms(-3_600_000)), ("later", NOON.plus_ms(86_400_000))] {
        let twin = dir.path().join(name);
        unpacked(&archive, &twin).unwrap();
        let clock = Clock::manual(at);
        let pair = Pair::open(&twin, &clock);
        let next = pair.store(&click).await;
        assert!(ids.iter().all(|id| *id != next), "{name}: an id was minted twice");
        assert!(next.ms() >= ids.last().unwrap().ms().max(at.ms()), "{name}: time went back in ids");
        for id in &ids {
            assert!(matches!(pair.clicks.find(*id).await.unwrap(), Found::Touch(_)), "{name}: {id} is gone");
        }
        pair.close().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn expiry_takes_nothing_out_of_a_backup_that_has_begun() {
    let dir = tempfile::tempdir().unwrap();
    let clock = Clock::manual(NOON);
    let (_world, click) = click(NOON).await;
    let pair = Pair::open(dir.path(), &clock);
    let id = pair.store(&click).await;
    pair.close_slice().await;
    let running = backup::begin(&pair.ledger, &pair.clicks, NOON, "0.0.0-test").unwrap();
    assert!(matches!(backup::begin(&pair.ledger, &pair.clicks, NOON, "x"), Err(Error::Running)));
    clock.advance(400 * 86_400_000);
    assert_eq!(pair.clicks.expire(clock.now()).unwrap().len(), 1);
    let mut archive = Vec::new();
    let mut last = Progress::Copying { done: 0, of: 1 };
    running.write(&mut archive).unwrap();
    backup::check(archive.as_slice(), &mut |progress| last = progress).unwrap();
    assert!(matches!(last, Progress::Files { done, of } if done == of && of > 0), "{last:?}");
    assert!(!dir.path().join("backup.tmp").exists());
    let twin = dir.path().join("twin");
    unpacked(&archive, &twin).unwrap();
    let restored = Pair::open(&twin, &Clock::manual(NOON));
    assert!(matches!(restored.clicks.find(id).await.unwrap(), Found::Touch(_)));
    restored.close().await;
    // The turn is free again.
    assert!(!pair.archive(NOON).is_empty());
    pair.close().await;
}

/// Where the clicks lie on another file system than the copies, there are no hard links.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_cannot_be_linked_is_read_where_it_lies_and_not_deleted_before() {
    const HOUR: i64 = 3_600_000;
    let dir = tempfile::tempdir().unwrap();
    let clock = Clock::manual(NOON);
    let (_world, click) = click(NOON).await;
    let faults = Faults::armed();
    let pair = Pair::open_with(dir.path(), &clock, faults.clone());
    let mut ids = vec![pair.store(&click).await];
    pair.close_slice().await;
    pair.publish().await;
    clock.advance(HOUR);
    assert!(pair.clicks.seal(clock.now()).unwrap().is_some());
    for _ in 0..2 {
        ids.push(pair.store(&click).await);
        pair.close_slice().await;
        pair.publish().await;
    }
    faults.refuse_links(true);
    let begun = clock.now();
    let running = backup::begin(&pair.ledger, &pair.clicks, begun, "0.0.0-test").unwrap();
    let spooled = fs::read_dir(dir.path().join("backup.tmp/clicks")).unwrap().map(|e| e.unwrap().file_name());
    assert_eq!(spooled.collect::<Vec<_>>(), ["manifest.sqlite"], "closed slices and segments are not copied");
    // Everything goes on meanwhile: closing, sealing, merging, expiring.
    let sealed: Vec<String> = pair.clicks.segments().into_iter().map(|s| s.file).collect();
    ids.push(pair.store(&click).await);
    pair.close_slice().await;
    pair.publish().await;
    clock.advance(HOUR);
    assert!(pair.clicks.seal(clock.now()).unwrap().is_some());
    clock.advance(400 * 24 * HOUR);
    assert_eq!(pair.clicks.expire(clock.now()).unwrap().len(), 2);
    assert!(pair.clicks.segments().is_empty());
    assert!(sealed.iter().all(|file| dir.path().join("clicks").join(file).exists()));
    let mut archive = Vec::new();
    running.write(&mut archive).unwrap();
    let twin = dir.path().join("twin");
    unpacked(&archive, &twin).unwrap();
    let restored = Pair::open(&twin, &Clock::manual(begun));
    for id in &ids[..3] {
        assert!(matches!(restored.clicks.find(*id).await.unwrap(), Found::Touch(_)));
    }
    assert!(matches!(restored.clicks.find(ids[3]).await.unwrap(), Found::NotStored));
    restored.close().await;
    // Behind the backup they go.
    let left = || -> Vec<_> {
        let paths = fs::read_dir(dir.path().join("clicks")).unwrap().map(|entry| entry.unwrap().path());
        let below = sealed.iter().map(|file| dir.path().join("clicks").join(file));
        let slices = paths.filter(|path| path.to_string_lossy().contains("slice-"));
        slices.chain(below.filter(|path| path.exists())).collect()
    };
    let until = std::time::Instant::now() + std::time::Duration::from_secs(20);
    while !left().is_empty() {
        assert!(std::time::Instant::now() < until, "{:?} are left", left());
        tokio::task::yield_now().await;
    }
    pair.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_reader_that_goes_away_and_a_process_that_died_leave_no_copies() {
    struct Gone(usize);
    impl std::io::Write for Gone {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0 = self.0.checked_sub(1).ok_or(std::io::ErrorKind::BrokenPipe)?;
            Ok(bytes.len())
        }
        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }
    let dir = tempfile::tempdir().unwrap();
    let pair = Pair::open(dir.path(), &Clock::manual(NOON));
    let begin = || backup::begin(&pair.ledger, &pair.clicks, NOON, "0.0.0-test").unwrap();
    let spool = dir.path().join("backup.tmp");
    for writes in [0, 3, 9] {
        let error = begin().write(Gone(writes)).unwrap_err();
        assert_eq!(error.code(), "backup_io", "{error}");
        assert!(!spool.exists());
    }
    fs::create_dir_all(spool.join("clicks")).unwrap();
    fs::write(spool.join("ledger.sqlite"), "half").unwrap();
    backup::clear_leftovers(dir.path()).unwrap();
    assert!(!spool.exists());
    pair.close().await;
}

/// What may be missing at the end: two blocks of zeros, and the padding of the last hash and its line break.
const HARMLESS: usize = 2 * 512 + 512 - 65;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_changed_byte_is_noticed_or_means_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let (_world, click) = click(NOON).await;
    let pair = Pair::open(dir.path(), &Clock::manual(NOON));
    pair.store(&click).await;
    pair.close_slice().await;
    pair.store(&click).await;
    let archive = pair.archive(NOON);
    pair.close().await;
    let whole = backup::check(archive.as_slice(), &mut |_| {}).unwrap();
    let (mut noticed, mut meaningless) = (0, 0);
    // The beginning and the end hold the most meaning per byte; the middle is pages of SQLite.
    let len = archive.len();
    let places =
        (0..6_000).step_by(7).chain((6_000..len - 8_000).step_by(1_013)).chain((len - 8_000..len).step_by(7));
    for at in places {
        let mut changed = archive.clone();
        changed[at] ^= 0x10;
        match backup::check(changed.as_slice(), &mut |_| {}) {
            Err(_) => noticed += 1,
            // Padding between the files, and how far the copying came.
            Ok(contents) => {
                assert_eq!(contents, whole, "byte {at}");
                meaningless += 1;
            }
        }
    }
    assert!(noticed > 4 * meaningless, "{noticed} noticed, {meaningless} not");
    for end in (0..len - HARMLESS).step_by(997).chain(len - 2_000..len - HARMLESS) {
        let error = backup::check(&archive[..end], &mut |_| {}).unwrap_err();
        assert_eq!(error.code(), "archive_truncated", "{end} of {len}: {error}");
    }
    let mut longer = archive.clone();
    longer.extend(b"more");
    assert_eq!(backup::check(longer.as_slice(), &mut |_| {}).unwrap_err().code(), "archive_damaged");
}

/// A tar file of these entries.
fn tar(entries: &[(&str, tar::EntryType, &[u8])]) -> Vec<u8> {
    let mut archive = Vec::new();
    for (name, kind, bytes) in entries {
        let mut header = tar::Header::new_gnu();
        header.as_gnu_mut().unwrap().name[..name.len()].copy_from_slice(name.as_bytes());
        header.set_entry_type(*kind);
        header.set_size(bytes.len() as u64);
        header.set_cksum();
        archive.write_all(header.as_bytes()).unwrap();
        archive.write_all(bytes).unwrap();
        archive.resize(archive.len().next_multiple_of(512), 0);
    }
    archive.resize(archive.len() + 1_024, 0);
    archive
}

#[test]
fn names_and_kinds_that_are_none_of_ours_are_refused() {
    use tar::EntryType as Kind;
    let head =
        br#"{"roundtrip_backup": 1, "made_by": "x", "at": "x", "online": true, "bytes": 1, "files": 1}"#;
    let head = ("roundtrip-backup.json", Kind::Regular, &head[..]);
    let outer = tempfile::tempdir().unwrap();
    let dir = outer.path().join("data");
    for name in [
        "../ledger.sqlite",
        "/etc/cron.d/x",
        "clicks/../../x",
        "clicks/.hidden",
        "clicks/a/b",
        "clicks/",
        "admin.token",
        "lock",
        "ledger.sqlite/x",
        "ledger.sqlite-shm",
        "",
    ] {
        let error = unpacked(&tar(&[head, (name, Kind::Regular, b"x")]), &dir).unwrap_err();
        assert_eq!(error.code(), "archive_damaged", "{name}: {error}");
    }
    for kind in
        [Kind::Symlink, Kind::Link, Kind::Directory, Kind::Char, Kind::Fifo, Kind::GNULongName, Kind::XHeader]
    {
        let error = unpacked(&tar(&[head, ("ledger.sqlite", kind, b"x")]), &dir).unwrap_err();
        assert_eq!(error.code(), "archive_damaged", "{kind:?}: {error}");
    }
    let twice = ("ledger.sqlite", Kind::Regular, &b"x"[..]);
    let error = unpacked(&tar(&[head, twice, twice]), &dir).unwrap_err();
    assert_eq!(error.code(), "archive_damaged", "{error}");
    assert_eq!(unpacked(&tar(&[twice]), &dir).unwrap_err().code(), "archive_not_ours");
    assert!(!outer.path().join("ledger.sqlite").exists());
    let huge = ("manifest.json", Kind::Regular, &b"{}"[..]);
    let error = backup::check(tar(&[head, huge]).as_slice(), &mut |_| {}).unwrap_err();
    assert_eq!(error.code(), "archive_damaged", "a list without its hash: {error}");
    let failed = ("pax", Kind::XGlobalHeader, &b"40 comment=roundtrip failed backup_io: full\n"[..]);
    let error = backup::check(tar(&[head, failed]).as_slice(), &mut |_| {}).unwrap_err();
    assert!(matches!(&error, Error::Unfinished(why) if why == "backup_io: full"), "{error}");
}

#[test]
fn every_error_is_in_the_documentation() {
    let page = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/backup.md");
    let page = fs::read_to_string(page).unwrap();
    for code in Error::CODES {
        assert!(page.contains(&format!("| `{code}` |")), "{code} is not in docs/backup.md");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sealed_clicks_are_restored_whatever_is_sealed_meanwhile() {
    let dir = tempfile::tempdir().unwrap();
    let (_world, click) = click(NOON).await;
    let pair = Pair::open(dir.path(), &Clock::manual(NOON));
    let ids = std::sync::Mutex::new(Vec::new());
    let busy = async {
        for n in 0..24 {
            let id = pair.store(&click).await;
            ids.lock().unwrap().push(id);
            pair.close_slice().await;
            pair.publish().await;
            let clicks = pair.clicks.clone();
            if n % 3 == 2 {
                tokio::task::spawn_blocking(move || clicks.seal_now()).await.unwrap().unwrap();
            }
        }
    };
    let (ledger, clicks) = (pair.ledger.clone(), pair.clicks.clone());
    let known = || ids.lock().unwrap().clone();
    let copying = tokio::task::spawn_blocking(move || {
        let mut archives = Vec::new();
        for _ in 0..8 {
            let mut archive = Vec::new();
            let before = clicks.stats().appended;
            backup::begin(&ledger, &clicks, NOON, "0.0.0-test").unwrap().write(&mut archive).unwrap();
            archives.push((before as usize, archive));
        }
        archives
    });
    let ((), archives) = tokio::join!(busy, copying);
    let mut archives = archives.unwrap();
    archives.push((24, pair.archive(NOON)));
    let offline = {
        pair.close().await;
        let mut archive = Vec::new();
        backup::write_offline(dir.path(), NOON, "0.0.0-test", &mut archive).unwrap();
        archive
    };
    archives.push((24, offline));
    let mut segments = 0;
    for (n, (before, archive)) in archives.iter().enumerate() {
        let twin = dir.path().join(format!("twin-{n}"));
        unpacked(archive, &twin).unwrap();
        let pair = Pair::open(&twin, &Clock::manual(NOON));
        let found = pair.clicks.find_batch(&known()[..*before]).await.unwrap();
        let there = found.iter().filter(|found| matches!(found, Found::Touch(_))).count();
        assert_eq!(there, *before, "backup {n}");
        let (sealed, slices) = (pair.clicks.segments(), pair.clicks.slices());
        let held = sealed.iter().map(|s| s.clicks).chain(slices.iter().map(|s| s.clicks)).sum::<u64>();
        assert!(held >= *before as u64 && held <= 24, "backup {n}: {held}");
        segments = segments.max(sealed.len());
        pair.close().await;
    }
    assert!(segments >= 8, "no backup held segments");
}
