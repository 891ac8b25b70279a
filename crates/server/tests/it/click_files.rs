//! `roundtrip clicks` against a running server: what it lists, verifies, seals and erases, in words, as JSON, and by its
//! exit code. Clicks come through the front door.

use serde_json::{Value, json};

use crate::house::{ANDROID, Call, House, Line, our_click_id};
use crate::process::run;

const GAID: &str = "38400000-8cf0-11bd-b23e-10b96e40000d";

/// A server with a link, and nothing that came yet.
async fn opened() -> House {
    let mut house = House::new(&[]);
    house.start();
    house
        .apply(&json!({
            "apps": { "shop": { "platform": "web" } },
            "campaigns": { "sale": { "app": "shop", "landing_page": "https://shop.example/" } },
            "partners": { "acme": {} },
            "links": { "shop-acme": { "campaign": "sale", "partner": "acme" } },
        }))
        .await;
    house
}

async fn click(house: &House, query: &str) -> String {
    let visit = Call::get(&format!("/c/shop-acme?{query}")).browser(ANDROID);
    let answer = Line::to(&house.public()).call(&visit).await.expect("it is answered");
    our_click_id(answer.location()).expect("with our click id")
}

/// A command's exit code, and what it said on standard output and standard error.
fn clicks(house: &House, arguments: &[&str]) -> (Option<i32>, String, String) {
    let server = format!("--server=http://{}", house.server().address("admin"));
    let data = format!("--data={}", house.data().display());
    let all: Vec<&str> =
        ["clicks"].iter().chain(arguments).copied().chain([server.as_str(), data.as_str()]).collect();
    let output = run(&all);
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).expect("UTF-8");
    (output.status.code(), text(output.stdout), text(output.stderr))
}

/// What a command that went well said.
#[track_caller]
fn said(house: &House, arguments: &[&str]) -> String {
    let (code, out, err) = clicks(house, arguments);
    assert!(code == Some(0) && err.is_empty(), "{arguments:?}: {code:?} {err}");
    out
}

/// The JSON lines of a command that ends with that code.
#[track_caller]
fn lines(house: &House, arguments: &[&str], wanted: i32) -> Vec<Value> {
    let arguments: Vec<&str> = arguments.iter().copied().chain(["--json"]).collect();
    let (code, out, err) = clicks(house, &arguments);
    assert!(code == Some(wanted) && err.is_empty(), "{arguments:?}: {code:?} {err}");
    out.lines().map(|line| serde_json::from_str(line).expect("it is JSON")).collect()
}

/// What a command that failed said, once.
#[track_caller]
fn refused(house: &House, arguments: &[&str], wanted: i32, why: &str) {
    let (code, out, err) = clicks(house, arguments);
    assert!(
        code == Some(wanted) && err.contains(why) && out.is_empty(),
        "{arguments:?}: {code:?} {out} {err}"
    );
}

async fn audit(house: &House) -> Vec<Value> {
    let audit = house.admin().get("/api/v1/audit").await;
    audit["items"].as_array().expect("items").clone()
}

async fn is_found(house: &House, id: &str) -> bool {
    house.admin().ask(&format!("/api/v1/clicks/{id}")).await.status == 200
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn files_are_listed_sealed_and_verified_until_a_byte_changes() {
    let house = opened().await;
    let none = said(&house, &["list"]);
    assert!(
        none.contains(" 0 clicks, ") && none.lines().next().is_some_and(|head| head.starts_with("number")),
        "{none}"
    );
    assert_eq!(
        said(&house, &["verify"]),
        "No file is closed yet; `roundtrip clicks seal` closes the one that clicks go into.\n"
    );
    for n in 0..3 {
        click(&house, &format!("click_id=a{n}")).await;
    }
    let list = said(&house, &["list"]);
    assert!(list.lines().any(|line| line.contains("  active  ") && line.contains("slice-")), "{list}");
    assert!(list.contains("1 file, 3 clicks, "), "{list}");

    let sealed = said(&house, &["seal"]);
    assert!(sealed.starts_with("sealed: dt=") && sealed.ends_with("3 clicks were sealed.\n"), "{sealed}");
    assert_eq!(said(&house, &["seal"]), "Nothing was to be done.\n");
    click(&house, "click_id=a3").await;
    let steps = lines(&house, &["seal"], 0);
    assert_eq!((&steps[0]["what"], &steps[0]["clicks"]), (&json!("sealed"), &json!(1)), "{steps:?}");

    let list = &lines(&house, &["list"], 0)[0];
    let files = list["files"].as_array().expect("files");
    let segments: Vec<&Value> = files.iter().filter(|file| file["state"] == "sealed").collect();
    let sum: u64 = segments.iter().filter_map(|file| file["clicks"].as_u64()).sum();
    assert_eq!((sum, &list["clicks"]), (4, &json!(4)), "{list}");
    let name = segments[0]["file"].as_str().expect("a name");
    assert_eq!(
        said(&house, &["verify"]),
        format!("Closed files that were compared: {}. Each is what was written.\n", segments.len())
    );
    let found = lines(&house, &["verify", name], 0);
    assert_eq!((&found[0]["file"], &found[0]["result"]), (&json!(name), &json!("sound")));
    refused(
        &house,
        &["verify", "dt=2026-06-04/hr=09/0000-000000000999.parquet"],
        1,
        "no file of that name is closed",
    );

    // A byte changes: it is said, ends with 1, and the file is set aside.
    let path = house.clicks().join(name);
    let mut bytes = std::fs::read(&path).expect("it is there");
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    std::fs::write(&path, bytes).expect("it can be changed");
    let (code, out, err) = clicks(&house, &["verify"]);
    assert!(code == Some(1) && err.is_empty(), "{out} {err}");
    assert!(
        out.contains(&format!("{name} was damaged; ")) && out.contains("Set aside in clicks/damaged/: "),
        "{out}"
    );
    assert!(out.ends_with(" Damaged, missing or not to be read: 1.\n"), "{out}");
    assert!(said(&house, &["list"]).contains("Set aside in clicks/damaged/: "));

    // A file is gone: the same.
    click(&house, "click_id=a4").await;
    said(&house, &["seal"]);
    let list = &lines(&house, &["list"], 0)[0];
    let last =
        list["files"].as_array().and_then(|files| files.iter().rfind(|file| file["state"] == "sealed"));
    let name = last.and_then(|file| file["file"].as_str()).expect("a segment");
    std::fs::remove_file(house.clicks().join(name)).expect("it was there");
    let found = lines(&house, &["verify", name], 1);
    assert_eq!(found[0]["result"], "missing", "{found:?}");
    assert!(said(&house, &["list"]).lines().any(|line| line.contains("  missing  ") && line.contains(name)));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_person_is_erased_with_a_proof_that_names_nobody() {
    let house = opened().await;
    let gone = [
        click(&house, &format!("click_id=a1&gaid={GAID}")).await,
        click(&house, &format!("click_id=a2&own={}", GAID.to_uppercase())).await,
    ];
    let stays = click(&house, "click_id=a3").await;
    said(&house, &["seal"]);
    let late = click(&house, &format!("click_id=a4&gaid={GAID}")).await;
    let whose = ["erase", "--workspace=default", "--device-id", GAID];
    let with = |more: &[&'static str]| -> Vec<&str> { whose.iter().chain(more).copied().collect() };
    let lines_before = audit(&house).await.len();

    // Counted first; nobody can be asked here, so nothing is erased without --yes.
    assert!(said(&house, &with(&["--dry-run"])).starts_with("3 clicks of 2 files would be erased; "));
    let dry = lines(&house, &with(&["--dry-run"]), 0);
    assert_eq!(
        (&dry.last().expect("an end")["end"]["erased"], &dry[0]["erased"]),
        (&json!(3), &json!(2)),
        "{dry:?}"
    );
    refused(&house, &with(&[]), 1, "--yes");
    assert_eq!(audit(&house).await.len(), lines_before, "what only counts leaves no line");
    for id in gone.iter().chain([&stays, &late]) {
        assert!(is_found(&house, id).await, "nothing is gone yet");
    }

    let words = said(&house, &with(&["--yes"]));
    assert!(words.starts_with("3 clicks of 2 files are gone; "), "{words}");
    let hash =
        words.split("keyed hash ").nth(1).and_then(|rest| rest.split('.').next()).expect("a hash").to_owned();
    assert!(hash.len() == 32 && hash.bytes().all(|byte| byte.is_ascii_hexdigit()), "{hash}");
    for id in gone.iter().chain([&late]) {
        assert!(!is_found(&house, id).await, "{id} is gone");
    }
    assert!(is_found(&house, &stays).await, "nobody else's is");
    assert!(said(&house, &["verify"]).ends_with("Each is what was written.\n"), "what is left is whole");
    let again = lines(&house, &with(&["--yes"]), 0);
    let end = &again.last().expect("an end")["end"];
    assert_eq!(
        (&end["erased"], &end["fingerprint"], &end["dry_run"]),
        (&json!(0), &json!(hash), &json!(false))
    );

    // The proof: began, what is gone, all done; by the hash, and nowhere by the identifier.
    let audit = audit(&house).await;
    let of = |part: &str| {
        let is = |line: &&Value| {
            line["summary"].as_str().is_some_and(|text| text.contains(&hash) && text.contains(part))
        };
        audit.iter().filter(is).count()
    };
    assert_eq!(
        (of("began"), of("3 clicks of 2 files are gone"), of("all files are done")),
        (2, 1, 2),
        "{audit:?}"
    );
    assert!(!json!(audit).to_string().to_lowercase().contains(GAID), "the identifier stands nowhere");
    for file in std::fs::read_dir(house.clicks()).expect("it is there").flatten() {
        if file.path().is_file() {
            let bytes = std::fs::read(file.path()).expect("it can be read");
            let has = bytes.windows(GAID.len()).any(|part| part.eq_ignore_ascii_case(GAID.as_bytes()));
            assert!(!has, "{} still has it", file.path().display());
        }
    }
    // The other ways to name clicks.
    assert!(
        said(&house, &["erase", "--workspace=default", "--click-id", &stays, "--yes"])
            .starts_with("1 click of 1 file is gone; ")
    );
    assert!(!is_found(&house, &stays).await);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_means_nothing_is_refused_and_only_the_installation_may() {
    let mut house = opened().await;
    click(&house, "click_id=a1").await;
    // Arguments that mean nothing are clap's to refuse, with 2.
    for arguments in [
        &["erase", "--device-id", GAID, "--yes"][..],
        &["erase", "--workspace=default", "--yes"],
        &["erase", "--workspace=default", "--device-id", GAID, "--ip", "203.0.113.9", "--yes"],
        &["erase", "--workspace=default", "--device-id", GAID, "--after", "x", "--yes"],
        &["seal", "now"],
        &["mend"],
    ] {
        let (code, out, err) = clicks(&house, arguments);
        assert!(
            code == Some(2) && out.is_empty() && err.contains("error: "),
            "{arguments:?}: {code:?} {err}"
        );
    }
    // What the server refuses names the field and what to do, with 1.
    for (arguments, why) in [
        (["--workspace=default", "--device-id=00000000-0000-0000-0000-000000000000"], "it is no device id"),
        (["--workspace=default", "--click-id=nope"], "it is no UUID"),
        (["--workspace=default", "--ip=203.0.113"], "neither IPv4 nor IPv6"),
        (["--workspace=default", "--partner-click-id="], "an empty identifier is nobody's"),
        (["--workspace=nope", "--click-id=019e92f5-1c00-7000-8000-000000000001"], "nope"),
    ] {
        refused(&house, &["erase", arguments[0], arguments[1], "--yes"], 1, why);
    }
    // A key of the workspace has its clicks exported, and nothing of the files.
    house
        .apply(&json!({ "keys": { "admin": { "kind": "admin", "scopes": ["read", "write", "personal"] } } }))
        .await;
    let token = format!("--token={}", house.keys["admin"]);
    for verb in [
        &["list"][..],
        &["verify"],
        &["seal"],
        &["erase", "--workspace=default", "--ip=203.0.113.9", "--yes"],
    ] {
        let arguments: Vec<&str> = verb.iter().copied().chain([token.as_str()]).collect();
        let (code, out, err) = clicks(&house, &arguments);
        assert!(
            code == Some(1) && out.is_empty() && err.starts_with("roundtrip: failed to "),
            "{verb:?}: {code:?} {err}"
        );
    }
    let (code, out, err) = clicks(&house, &["export", "-", "--to=2999-01-01", "--full", &token]);
    assert!(
        code == Some(0) && out.lines().count() == 1 && out.contains("\"partner_click_id\":\"a1\""),
        "{out} {err}"
    );
    assert!(err.starts_with("1 click in 1 file, "), "{err}");

    // An hour that can still get clicks is no part of a folder.
    let dir = tempfile::tempdir().expect("a directory");
    let folder = format!("{}/", dir.path().join("hours").display());
    let hours = said(&house, &["export", &folder, "--split=hour"]);
    assert!(
        hours.starts_with("0 clicks in 0 files")
            && hours.contains("; no hour is over yet that could have rows: "),
        "{hours}"
    );
    assert_eq!(std::fs::read_dir(&folder).expect("it is made").count(), 0, "nothing is said to be there");
    let now = said(&house, &["export", &format!("{folder}now.csv")]);
    assert!(
        now.starts_with("0 clicks in 1 file, ")
            && now.contains("rows can still come to what is newer, and --to"),
        "{now}"
    );

    // Nobody there: one line that says where it looked.
    let server = house.server().address("admin").to_owned();
    house.end(rustix::process::Signal::TERM);
    let output = run(&[
        "clicks",
        "list",
        &format!("--server=http://{server}"),
        &format!("--data={}", house.data().display()),
    ]);
    let err = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.code() == Some(1) && err.contains(&server) && err.lines().count() == 1, "{err}");
}
