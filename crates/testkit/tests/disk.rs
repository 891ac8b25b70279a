//! The test disk: what it keeps, and what becomes of either process when the other is gone. Nothing stays mounted and
//! nobody waits for ever.

#![cfg(target_os = "linux")]

use std::fs::{self, File};
use std::io::{BufRead, BufReader, ErrorKind, Write};
use std::os::unix::process::CommandExt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use roundtrip_ambient::Entropy;
use roundtrip_testkit::disk::{self, Disk, Unsynced};
use rustix::process::{Pid, Signal, kill_process, kill_process_group};

/// How long something may take that should take a moment.
const PATIENCE: Duration = Duration::from_secs(60);
/// Set for the process that is killed with a disk in its hands.
const HOLDS: &str = "ROUNDTRIP_TEST_HOLDS_A_DISK";

#[test]
#[ignore = "the process of a test disk: whoever mounts one starts it"]
fn disk_process() {
    disk::serve();
}

/// Mounts a disk, opens a file on it, says where, and stays.
#[test]
#[ignore = "started by the test that kills it"]
fn holder_of_a_disk() {
    if std::env::var_os(HOLDS).is_none() {
        return;
    }
    let disk = Disk::mount();
    let open = disk.as_ref().map(|disk| {
        let mut file = File::create(disk.path().join("open")).unwrap();
        file.write_all(b"not synced").unwrap();
        file
    });
    let at = disk.as_ref().map_or_else(PathBuf::new, Disk::path);
    writeln!(std::io::stdout(), "\nDISK {}", at.display()).unwrap();
    if open.is_some() {
        // Until it is killed, or its parent is gone.
        std::io::stdin().lines().for_each(drop);
    }
}

fn until(what: &str, done: impl Fn() -> bool) {
    let began = Instant::now();
    while !done() {
        assert!(began.elapsed() < PATIENCE, "{what} takes for ever");
        std::thread::sleep(Duration::from_millis(1));
    }
}

fn is_mounted(at: &Path) -> bool {
    let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap();
    mounts.lines().any(|line| line.split(' ').nth(4) == at.to_str())
}

fn pid(number: u32) -> Pid {
    Pid::from_raw(number as i32).unwrap()
}

/// Whether a process is there and has not ended.
fn lives(process: u32) -> bool {
    let stat = fs::read_to_string(format!("/proc/{process}/stat")).unwrap_or_default();
    stat.rsplit_once(") ").is_some_and(|(_, state)| !state.starts_with(['Z', 'X']))
}

/// What is there after the power was gone: names, and what is in them.
fn after(disk: &Disk, unsynced: &Unsynced) -> Vec<(String, Vec<u8>)> {
    let dir = tempfile::tempdir().unwrap();
    disk.after_power_loss(dir.path(), unsynced).unwrap();
    let mut all: Vec<_> = fs::read_dir(dir.path())
        .unwrap()
        .map(|entry| entry.unwrap())
        .map(|entry| (entry.file_name().into_string().unwrap(), fs::read(entry.path()).unwrap()))
        .collect();
    all.sort();
    all
}

#[test]
fn what_was_not_synced_is_gone_with_the_power() {
    let Some(disk) = Disk::mount() else { return };
    let at = disk.path();
    assert!(is_mounted(&at));
    let mut file = File::create(at.join("a")).unwrap();
    file.write_all(b"one").unwrap();
    file.sync_all().unwrap();
    assert_eq!(after(&disk, &Unsynced::Lost), [], "the name was not synced");
    File::open(&at).unwrap().sync_all().unwrap();
    file.write_all(b"two").unwrap();
    assert_eq!(after(&disk, &Unsynced::Lost), [("a".into(), b"one".to_vec())]);
    let torn: Vec<_> =
        (0..20).map(|seed| after(&disk, &Unsynced::Torn(Entropy::seeded(seed)))[0].1.clone()).collect();
    assert!(
        torn.iter().any(|bytes| bytes == b"one") && torn.iter().any(|bytes| bytes == b"onetwo"),
        "{torn:?}"
    );
    let steps: Vec<String> = disk.steps().iter().map(|step| format!("{} {}", step.what, step.name)).collect();
    assert_eq!(steps, ["name a", "write a", "sync a", "sync names ", "write a"]);
    assert_eq!((disk.done(), disk.steps()), (5, Vec::new()), "what was told is not told again");
    disk.fail_syncs("a", 1);
    assert!(file.sync_all().is_err());
    disk.room(Some(1));
    assert_eq!(file.write_all(b"more").unwrap_err().kind(), ErrorKind::StorageFull);
    disk.room(None);
    disk.cut_at(disk.done() + 2);
    file.write_all(b"more").unwrap();
    assert!(!disk.is_dead());
    assert!(file.sync_all().is_err() && disk.is_dead(), "the power goes before the step");
    assert!(File::create(at.join("b")).is_err());
    assert!(disk.after_power_loss(&at.join("itself"), &Unsynced::Lost).is_err(), "there is no power");
    drop(file);
    let process = disk.process();
    assert_ne!(process, std::process::id());
    drop(disk);
    assert!(!is_mounted(&at) && !at.exists());
    until("the end of the disk's process", || !lives(process));
}

#[test]
fn a_test_that_is_killed_leaves_no_mount() {
    let mut holder = Command::new(std::env::current_exe().unwrap())
        .args(["holder_of_a_disk", "--exact", "--include-ignored", "--nocapture", "--test-threads=1"])
        .env(HOLDS, "1")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .process_group(0)
        .spawn()
        .unwrap();
    let said = BufReader::new(holder.stdout.take().unwrap()).lines().map(Result::unwrap);
    let at = said.filter_map(|line| line.strip_prefix("DISK ").map(PathBuf::from)).next();
    let at = at.expect("it says where its disk is");
    if at.as_os_str().is_empty() {
        holder.wait().unwrap();
        return;
    }
    assert!(is_mounted(&at));
    // As who runs tests ends one that hangs: the whole group, at once.
    kill_process_group(pid(holder.id()), Signal::KILL).unwrap();
    holder.wait().unwrap();
    until("the end of the mount", || !is_mounted(&at) && !at.exists());
}

#[test]
fn a_test_that_panics_with_a_file_open_leaves_no_mount() {
    let Some(disk) = Disk::mount() else { return };
    let (at, process) = (disk.path(), disk.process());
    let mut file = File::create(at.join("open")).unwrap();
    let panicked = catch_unwind(AssertUnwindSafe(move || {
        let _disk = disk;
        panic!("as a test does that fails");
    }));
    assert!(panicked.is_err());
    assert!(!is_mounted(&at) && !at.exists());
    assert!(file.write_all(b"x").is_err(), "it is refused, and does not wait");
    assert!(lives(process), "somebody has to refuse it");
    drop(file);
    until("the end of the disk's process", || !lives(process));
}

#[test]
fn a_disk_that_is_killed_is_said_to_be_gone() {
    let Some(disk) = Disk::mount() else { return };
    let (at, process) = (disk.path(), disk.process());
    let mut file = File::create(at.join("open")).unwrap();
    file.write_all(b"x").unwrap();
    // It answers nobody, and then it is gone: who waits for an answer then is refused.
    kill_process(pid(process), Signal::STOP).unwrap();
    let waits = std::thread::spawn(move || file.sync_all().and_then(|()| file.write_all(b"y")));
    kill_process(pid(process), Signal::KILL).unwrap();
    assert!(waits.join().unwrap().is_err());
    assert!(File::create(at.join("another")).is_err());
    let asked = catch_unwind(AssertUnwindSafe(|| disk.done()));
    let said = *asked.unwrap_err().downcast::<String>().unwrap();
    assert!(said.starts_with("the process of the test disk is gone"), "{said}");
    drop(disk);
    assert!(!is_mounted(&at) && !at.exists());
}
