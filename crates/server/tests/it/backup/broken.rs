//! Restores that cannot be, and those that are killed: the wanted directory is as it was.

use std::fs;
use std::io::Write as _;
use std::path::Path;
use std::process::Stdio;

use rustix::process::Signal;
use serde_json::Value;

use super::{backup_of, command, document, done, last_line, restore_to, serves};
use crate::house::{House, until};
use crate::process::roundtrip;

/// A house's backup, and what is in the directory beside it.
async fn archived(dir: &Path) -> Vec<u8> {
    let mut house = House::new(&[]);
    house.start();
    house.apply(&document("127.0.0.1:9", "127.0.0.1:9")).await;
    let archive = dir.join("b.tar");
    done(&command(backup_of(&house, &archive)).await);
    house.end(Signal::TERM);
    fs::read(&archive).expect("it is there")
}

async fn refused(archive: &Path, data: &Path) -> Value {
    let output = command(restore_to(archive, data)).await;
    assert_eq!(output.status.code(), Some(1), "{}", String::from_utf8_lossy(&output.stdout));
    last_line(&output)["error"].clone()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn archives_that_are_not_whole_are_refused_and_leave_nothing() {
    let dir = tempfile::tempdir().expect("a directory");
    let whole = archived(dir.path()).await;
    let bad = dir.path().join("bad.tar");
    let data = dir.path().join("data");
    let mut newer = whole.clone();
    let at = whole.windows(22).position(|w| w == b"\"roundtrip_backup\": 1,").expect("it names its form");
    newer[at + 20] = b'7';
    let mut changed = whole.clone();
    changed[whole.len() / 3] ^= 1;
    for (bytes, code) in [
        (&whole[..whole.len() / 2], "archive_truncated"),
        (&whole[..whole.len() - 2_048], "archive_truncated"),
        (&whole[..100], "archive_truncated"),
        (&b""[..], "archive_truncated"),
        (&[b'x'; 4_096][..], "archive_not_ours"),
        (&newer, "archive_version"),
        (&changed, "archive_damaged"),
    ] {
        fs::write(&bad, bytes).expect("it writes");
        let error = refused(&bad, &data).await;
        assert_eq!(error["code"], code, "{error}");
        assert!(error["message"].as_str().is_some_and(|text| text.contains("bad.tar")), "{error}");
    }
    let mut left: Vec<_> =
        fs::read_dir(dir.path()).expect("it lists").map(|e| e.expect("a name").file_name()).collect();
    left.sort();
    assert_eq!(left, ["b.tar", "bad.tar"], "nothing half-done is left");
    let missing = refused(&dir.path().join("nowhere.tar"), &data).await;
    assert!(missing["message"].as_str().is_some_and(|text| text.contains("nowhere.tar")), "{missing}");

    fs::create_dir(&data).expect("it is made");
    fs::write(data.join("mine"), "x").expect("it writes");
    assert_eq!(refused(&dir.path().join("b.tar"), &data).await["code"], "restore_not_empty");
    assert_eq!(fs::read_dir(&data).expect("it lists").count(), 1);
    fs::remove_file(data.join("mine")).expect("it is there");
    done(&command(restore_to(&dir.path().join("b.tar"), &data)).await);
    serves(&data);
    assert_eq!(refused(&dir.path().join("b.tar"), &data).await["code"], "restore_not_empty");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_restore_that_is_killed_leaves_the_directory_to_the_next_try() {
    let dir = tempfile::tempdir().expect("a directory");
    let whole = archived(dir.path()).await;
    let data = dir.path().join("data");
    let begin = || {
        let mut command = roundtrip();
        command.args(["restore", "-", "--data"]).arg(&data);
        command.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::piped()).spawn().expect("it starts")
    };
    let mut first = begin();
    let mut pipe = first.stdin.take().expect("it is piped");
    pipe.write_all(&whole[..whole.len() * 2 / 3]).expect("it reads");
    let half = dir.path().join(".data.restoring");
    until("it has begun", async || half.join("ledger.sqlite").exists().then_some(())).await;
    // While one restores, another is told so.
    let second = command(restore_to(&dir.path().join("b.tar"), &data)).await;
    let said = String::from_utf8_lossy(&second.stderr).into_owned();
    assert!(second.status.code() == Some(1) && said.contains("holds it"), "{said}");
    first.kill().expect("it runs");
    first.wait().expect("it has ended");
    drop(pipe);
    assert!(!data.exists(), "half a directory has the name of a whole one");
    assert!(half.exists());

    let mut again = begin();
    again.stdin.take().expect("it is piped").write_all(&whole).expect("it reads");
    let ended =
        tokio::task::spawn_blocking(move || again.wait_with_output()).await.expect("it was waited for");
    let ended = ended.expect("it has ended");
    assert_eq!(ended.status.code(), Some(0), "{}", String::from_utf8_lossy(&ended.stderr));
    assert!(!half.exists());
    serves(&data);
}
