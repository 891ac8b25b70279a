//! Exports of the real server: to files, folders and a bucket, killed and gone on, and read by tools that nobody here
//! wrote.
//!
//! The cast: a ledger and a click log are furnished through the store before the server has them, so that what they hold is
//! months old; the server seals the clicks. `tests/clients/data_tools.py` reads the segments and what was exported with
//! DuckDB, pyarrow, pandas and chdb and runs the queries of `docs/queries.md`; `bucket` runs moto's S3 behind a door that
//! often says 503. `./test.sh` installs them.

pub(crate) mod bucket;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use roundtrip_ambient::{Clock, Entropy};
use roundtrip_domain::click::{Click, Touch, TouchKind};
use roundtrip_domain::id::WorkspaceNo;
use roundtrip_domain::location::{Country, Location};
use roundtrip_domain::time::Timestamp;
use roundtrip_store::click_log::{self, Append, ClickLog};
use roundtrip_store::ledger::{AttemptRow, Config, Ledger, Settled, Settlement};
use roundtrip_testkit::{NOON, Tell, World, sample};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

use crate::house::House;
use crate::process::{WAIT, roundtrip, run};

/// What can be exported.
const KINDS: [&str; 6] = ["installs", "events", "conversions", "decisions", "deliveries", "clicks"];
/// Installations, one every two hours; each pays once.
const INSTALLS: i64 = 36;
const HOUR_MS: i64 = 3_600_000;
/// Clicks of our workspace: of each installation one that won, of every third one that a partner's server told of, of every
/// fourth a view.
const CLICKS: i64 = INSTALLS + INSTALLS / 3 + INSTALLS / 4;
/// Clicks of another workspace.
const THEIRS: i64 = INSTALLS / 6;

fn scripts() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/clients")
}

/// A program of the tools that `./test.sh` installs. Ends the test with what to do if they are others, or not there.
fn tool(name: &str) -> Command {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).with_file_name("data-tools");
    let list = std::fs::read(scripts().join("data_tools.txt")).expect("it is in the repository");
    let wanted: String = Sha256::digest(list).iter().map(|byte| format!("{byte:02x}")).collect();
    let found = std::fs::read_to_string(folder.join("installed")).unwrap_or_default();
    assert!(
        found.trim() == wanted,
        "the tools of crates/server/tests/clients/data_tools.txt are not installed in {}, or others are: run ./test.sh, \
         which installs them (or `./test.sh --clients`, which does only that)",
        folder.display()
    );
    let mut command = Command::new(folder.join("venv/bin").join(name));
    command.env_remove("PYTHONPATH").env("PYTHONDONTWRITEBYTECODE", "1").stdin(Stdio::null());
    command
}

/// A click log that is furnished with touches of the past.
struct Log {
    clicks: ClickLog,
    clock: Clock,
}

impl Log {
    fn open(house: &House, ledger: &Ledger) -> Self {
        let (clock, identity) = (Clock::manual(NOON), ledger.identity());
        let keys = identity.check_keys.clone();
        let mut config = click_log::Config::new(house.clicks(), identity.node, keys);
        // However busy the machine is.
        config.append_wait = WAIT;
        let (clicks, _) = ClickLog::open(config, clock.clone(), Entropy::seeded(8)).expect("a click log");
        Self { clicks, clock }
    }

    /// Stores a touch that came a moment ago.
    async fn store(&self, mut click: Click) -> Touch {
        self.clock.jump(click.received_at.ms() + 3 - self.clock.now().ms());
        click.location = Location { country: Country::parse("DE"), asn: Some(64_500), ..Location::default() };
        click.flag();
        match self.clicks.append(click.clone()).await {
            Append::Stored(id) => Touch { id, click },
            Append::Unstored { why, .. } => panic!("it was not stored: {why:?}"),
        }
    }
}

/// A house whose stores know clicks, installs, purchases and deliveries of three days in June 2026.
async fn furnished() -> House {
    let mut house = House::new(&["--click-retention=1000d"]);
    std::fs::create_dir_all(house.data()).expect("there is room");
    let mut document = sample();
    document["apps"]["game"]["events"] = json!({ "paid": "purchase" });
    document["rules"] = json!({
        "told": { "app": "game", "on": "install", "url": "https://p.example/?c={rt_click_id}" },
    });
    let entropy = Entropy::seeded(7);
    let (ledger, _) = Ledger::open(&Config::in_dir(house.data()), entropy.clone(), NOON).expect("a ledger");
    let mut world = World::around(ledger, entropy);
    world.apply(&document, false).await;
    let log = Log::open(&house, &world.ledger);
    for n in 0..INSTALLS {
        let at = NOON.plus_ms(2 * n * HOUR_MS);
        let link = if n % 3 == 0 { "game-zeta" } else { "game-acme" };
        let query = format!(
            "click_id=p{n}&sub1=%3Dcmd%7C{n}&site_id=s,\"{n}&sub2=%EF%BC%9D{n}&sub3=a%0Ab&keyword=%20%20%40x&cost_value=0.25&\
             gaid=38400000-8cf0-11bd-b23e-{n:012x}&own=%C3%A9"
        );
        let mut made = |kind, minutes: i64, query: &str| {
            world.touch(kind, link, at.plus_ms(-60_000 * minutes), query).click
        };
        if n % 3 == 0 {
            log.store(made(TouchKind::ServerClick, 9, "s2s=1&click_id=&sub10=x%FFy")).await;
        }
        if n % 4 == 0 {
            log.store(made(TouchKind::Impression, 8, &format!("click_id=v{n}"))).await;
        }
        if n % 6 == 0 {
            let theirs = made(TouchKind::Click, 7, "click_id=theirs");
            log.store(Click { workspace: WorkspaceNo(2), ..theirs }).await;
        }
        let click = log.store(made(TouchKind::Click, 1, &query)).await;
        world.clicks.add(click.clone());
        let install = world.event("game", "install", at).of(&format!("i{n}")).click(&click);
        world.record(install.customer(&format!("=1+{n}\r\n\"x\""))).await;
        let paid = world.event("game", "paid", at.plus_ms(1)).of(&format!("i{n}"));
        world.record(paid.revenue("12.345678").properties(r#"{"a":"b,\"c\""}"#)).await;
    }
    world.record(world.event("tool", "=HYPERLINK()", NOON.plus_ms(2)).of("t")).await;
    let planned = world.decide().await.planned;
    assert_eq!(planned.len(), INSTALLS as usize);
    // All of them ended long ago, so that nothing of them changes while the test looks.
    let settlements = planned.into_iter().enumerate().map(|(n, item)| {
        let (outcome, next) = match n % 4 {
            0 => ("http_404", Settled::Dead { reason: "refused_by_receiver".into() }),
            _ => ("http_200", Settled::Delivered),
        };
        let attempt = AttemptRow {
            n: 1,
            at: item.due,
            outcome: outcome.into(),
            status: outcome.strip_prefix("http_").and_then(|status| status.parse().ok()),
            total_us: 1_500,
            next: "…".into(),
            body: "{}".into(),
        };
        Settlement { item, attempt: Some(attempt), next }
    });
    world.ledger.delivery_settle(settlements.collect(), NOON.plus_ms(5)).await.expect("they are settled");
    world.ledger.close().await;
    drop(world);
    assert!(log.clicks.shutdown());
    house.start();
    // What upkeep takes away, it takes away before anybody looks.
    let _ = house.drained().await;
    house
}

/// The arguments of an export from a house's server.
fn arguments(house: &House, what: &str, to: &Path, more: &[&str]) -> Vec<String> {
    let fixed = ["export", what].map(str::to_owned);
    let server = format!("--server=http://{}", house.server().address("admin"));
    let data = format!("--data={}", house.data().display());
    fixed
        .into_iter()
        .chain([to.display().to_string(), server, data, "--json".to_owned()])
        .chain(more.iter().map(|flag| (*flag).to_owned()))
        .collect()
}

fn export(house: &House, what: &str, to: &Path, more: &[&str]) -> Output {
    run(&arguments(house, what, to, more).iter().map(String::as_str).collect::<Vec<_>>())
}

/// What an export that must have worked says at its end.
fn done(output: &Output) -> Value {
    assert_eq!(output.status.code(), Some(0), "{}", String::from_utf8_lossy(&output.stderr));
    let text = String::from_utf8_lossy(&output.stdout);
    let line: Value = serde_json::from_str(text.lines().last().expect("a last line")).expect("it is JSON");
    line["export"].clone()
}

fn refused(output: &Output, why: &str) {
    let text = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.code() == Some(1) && text.contains(why), "{text}");
}

/// Every file of a folder by its path in it, but those that tools leave out.
fn files(folder: &Path) -> BTreeMap<String, Vec<u8>> {
    let (mut found, mut left) = (BTreeMap::new(), vec![folder.to_owned()]);
    while let Some(at) = left.pop() {
        for entry in std::fs::read_dir(&at).into_iter().flatten().flatten() {
            let (path, name) = (entry.path(), entry.file_name().to_string_lossy().into_owned());
            if path.is_dir() {
                left.push(path);
            } else if !name.starts_with(['.', '_']) {
                let relative = path.strip_prefix(folder).expect("it is inside").display().to_string();
                found.insert(relative, std::fs::read(&path).expect("it can be read"));
            }
        }
    }
    found
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_killed_export_goes_on_and_ends_as_if_it_had_not_been() {
    let house = furnished().await;
    let dir = tempfile::tempdir().expect("a directory");
    let whole = dir.path().join("whole/");
    let flags = ["--split=hour", "--full"];
    let one_go = done(&export(&house, "events", &whole.join(""), &flags));
    let wanted = files(&whole);
    assert_eq!(one_go["rows"], 2 * INSTALLS + 1, "{one_go}");
    assert_eq!((wanted.len() as i64, &one_go["files"]), (INSTALLS, &json!(INSTALLS)));

    let cut = dir.path().join("cut/");
    let mut kills = 0;
    for _ in 0..6 {
        let before = files(&cut).len();
        let command = arguments(&house, "events", &cut.join(""), &flags);
        let mut child = roundtrip()
            .args(&command)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("it starts");
        // Killed as soon as it has written some files more.
        while files(&cut).len() < before + 4 && child.try_wait().expect("it is ours").is_none() {
            std::thread::yield_now();
        }
        let is_running = child.try_wait().expect("it is ours").is_none();
        child.kill().expect("it is ours");
        child.wait().expect("it ends");
        kills += u32::from(is_running);
        for (name, bytes) in files(&cut) {
            assert_eq!(Some(&bytes), wanted.get(&name), "{name} is whole though its export was killed");
        }
    }
    assert!(kills >= 2, "it was killed on its way");
    // More than any file has.
    std::fs::write(cut.join(".partial"), "what a kill leaves".repeat(10_000)).expect("it is written");
    let last = done(&export(&house, "events", &cut.join(""), &flags));
    assert_eq!(files(&cut), wanted, "the same rows, none twice, none missing");
    assert_eq!(
        last["files"].as_i64().unwrap_or(-1) + last["files_there"].as_i64().unwrap_or(-1),
        INSTALLS,
        "{last}"
    );
    let again = done(&export(&house, "events", &cut.join(""), &flags));
    assert_eq!(
        (&again["rows"], &again["files"], &again["files_there"]),
        (&json!(0), &json!(0), &json!(INSTALLS))
    );
    let replaced = done(&export(&house, "events", &cut.join(""), &["--split=hour", "--full", "--replace"]));
    assert_eq!((&replaced["rows"], files(&cut) == wanted), (&one_go["rows"], true));

    // A folder of one thing does not become one of another, and spans stay whole.
    refused(
        &export(&house, "installs", &cut.join(""), &flags),
        "it holds events of the workspace default as parquet",
    );
    refused(&export(&house, "events", &cut.join(""), &["--split=hour"]), "with personal data");
    let odd = export(&house, "events", &dir.path().join("odd/").join(""), &["--from=2026-06-05T03:00:00Z"]);
    refused(&odd, "--split hour, or one file");
    let future = export(&house, "events", &dir.path().join("odd/").join(""), &["--to=2999-01-01"]);
    refused(&future, "the last one that is over ends at");

    // One file: both ends, and never over another.
    let file = dir.path().join("two.csv");
    let ends = ["--from=2026-06-04T14:00:00Z", "--to=2026-06-04T16:00:00Z"];
    assert_eq!(
        done(&export(&house, "events", &file, &ends))["rows"],
        2,
        "the beginning is in it, the end is not"
    );
    refused(&export(&house, "events", &file, &ends), "--replace writes it once more");
    let text = std::fs::read_to_string(&file).expect("it is there");
    assert!(text.starts_with("event_id,received_at,") && text.lines().count() == 3, "{text}");
    assert!(!text.contains("=1+"), "personal data were not asked for");
    let output = export(&house, "events", Path::new("-"), &ends);
    let lines = String::from_utf8_lossy(&output.stdout);
    assert!(
        output.status.success() && lines.lines().count() == 2,
        "rows alone are on standard output: {lines}"
    );
    assert!(String::from_utf8_lossy(&output.stderr).contains(r#""rows":2"#), "the end is on standard error");
    refused(&export(&house, "events", Path::new("ftp://h/x"), &[]), "cannot write to ftp://");
    refused(&export(&house, "events", &dir.path().join("a.csv"), &["--app=nope"]), "there is no app `nope`");
    // What programs branch on; and what was not written yet binds nobody to its options.
    let said = |name: &str, flags: &[&str]| {
        let output = export(&house, "events", &dir.path().join(name), flags);
        let line: Value = serde_json::from_slice(&output.stdout).expect("one line of JSON");
        line["error"]["code"].as_str().map(str::to_owned)
    };
    for (name, flags, code) in [
        ("two.csv", &ends[..], "export_there"),
        ("x.json", &[], "export_format"),
        ("no/such/x.csv", &[], "export_io"),
        ("x.csv", &["--from=yesterday"], "export_span"),
        ("x.csv", &["--app=nope"], "parameter_invalid"),
        ("cut/", &[], "export_other"),
    ] {
        assert_eq!(said(name, flags).as_deref(), Some(code), "{name} {flags:?}");
    }
    let none = ["--from=2026-06-04", "--to=2026-06-04"];
    assert_eq!(done(&export(&house, "events", &dir.path().join("later/"), &none))["files"], 0);
    assert!(!dir.path().join("later/_roundtrip_export.json").exists(), "nothing is said to be there");
    let left = |name: &str| dir.path().join(name).exists();
    assert!(!left("a.csv") && !left(".a.csv.partial") && !left("cut/.partial"), "what failed leaves nothing");
}

/// Has the server seal every click that it has.
fn seal(house: &House) {
    let server = format!("--server=http://{}", house.server().address("admin"));
    let data = format!("--data={}", house.data().display());
    let sealed = run(&["clicks", "seal", &server, &data]);
    assert_eq!(sealed.status.code(), Some(0), "{}", String::from_utf8_lossy(&sealed.stderr));
    let list = run(&["clicks", "list", "--json", &server, &data]);
    let list: Value = serde_json::from_slice(&list.stdout).expect("it is JSON");
    let files = list["files"].as_array().expect("files");
    assert!(files.iter().all(|file| file["state"] == "sealed" || file["clicks"] == 0), "{list}");
    assert_eq!(list["clicks"], CLICKS + THEIRS, "{list}");
    assert!(files.len() as i64 >= INSTALLS, "a segment an hour: {list}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn tools_that_nobody_here_wrote_read_the_same_rows() {
    let house = furnished().await;
    seal(&house);
    let dir = tempfile::tempdir().expect("a directory");
    std::os::unix::fs::symlink(house.clicks(), dir.path().join("clicks")).expect("there is room");
    let exports = dir.path().join("exports");
    std::fs::create_dir(&exports).expect("there is room");
    for what in KINDS {
        done(&export(&house, what, &exports.join(what).join(""), &["--full"]));
        for form in ["csv", "ndjson"] {
            done(&export(&house, what, &exports.join(format!("{what}.{form}")), &["--full"]));
        }
    }
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let output = tool("python")
        .arg(scripts().join("data_tools.py"))
        .args([dir.path(), &root.join("docs/queries.md")])
        .output()
        .expect("it starts");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let text = String::from_utf8_lossy(&output.stdout);
    let found: Value = serde_json::from_str(text.lines().last().expect("a line")).expect("it is JSON");

    let sums = json!([["EUR", "444.444408"]]);
    let rows = [INSTALLS, 2 * INSTALLS + 1, 2 * INSTALLS + 1, 2 * INSTALLS + 1, INSTALLS, CLICKS];
    for (what, rows) in KINDS.into_iter().zip(rows) {
        for (tool, counted) in found["exports"][what].as_object().expect("tools") {
            let wanted = if tool.ends_with("sums") { sums.clone() } else { json!(rows) };
            assert_eq!(counted, &wanted, "{what} by {tool}");
        }
        assert!(found["exports"][what].as_object().is_some_and(|tools| tools.len() >= 7));
    }
    for (tool, counted) in found["segments"]["rows"].as_object().expect("tools") {
        assert_eq!(counted, CLICKS + THEIRS, "{tool}");
    }
    for (tool, counted) in found["segments"]["of one hour"].as_object().expect("tools") {
        assert_eq!(counted, 4, "{tool}: the first hour has one of each");
    }
    assert_eq!(found["segments"]["like the export"], CLICKS);
    let query =
        |name: &str| found["queries"][name].as_array().unwrap_or_else(|| panic!("{name}: {text}")).clone();
    let sum = |rows: &[Value], name: &str| -> f64 {
        let number = |value: &Value| value.as_f64().or_else(|| value.as_str()?.parse().ok());
        rows.iter().filter_map(|row| number(&row[name])).sum()
    };
    for name in ["duckdb revenue", "clickhouse revenue"] {
        let rows = query(name);
        assert_eq!(sum(&rows, "conversions"), (2 * INSTALLS + 1) as f64, "{name}");
        assert!((sum(&rows, "revenue") - 444.444_408).abs() < 1e-6, "{name}");
    }
    assert_eq!(sum(&query("pandas revenue"), "count"), INSTALLS as f64);
    let funnel = query("duckdb funnel");
    assert_eq!(
        (sum(&funnel, "clicks"), sum(&funnel, "installs")),
        ((INSTALLS + INSTALLS / 3) as f64, INSTALLS as f64),
        "no view, and nobody else's click"
    );
    assert_eq!(query("duckdb click").len(), 1);
    assert_eq!(query("duckdb delay")[0]["partner"], "acme");
    assert_eq!(sum(&query("duckdb failed"), "deliveries"), (INSTALLS / 4) as f64);
    assert_eq!(sum(&query("duckdb verdicts"), "touches"), INSTALLS as f64);
    assert_eq!(sum(&query("clickhouse clicks"), "clicks"), CLICKS as f64);
    assert_eq!(sum(&query("duckdb won"), "won"), INSTALLS as f64, "exports are joined by the click's id");
    for name in ["clickhouse events", "pandas csv"] {
        let rows = query(name);
        assert_eq!(sum(&rows, "events"), (2 * INSTALLS + 1) as f64, "{name}");
        assert!(rows.iter().any(|row| row["name"] == "=HYPERLINK()"), "{name}: {rows:?}");
    }
    let csv = std::fs::read_to_string(exports.join("events.csv")).expect("it is there");
    assert!(
        csv.contains(",'=HYPERLINK(),") && csv.contains("\"'=1+3\r\n\"\"x\"\"\""),
        "no cell is a formula"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn clicks_are_exported_from_wherever_they_lie_and_by_either_command() {
    let house = furnished().await;
    let dir = tempfile::tempdir().expect("a directory");
    let ends = ["--from=2026-06-04", "--to=2026-06-09"];
    let before = dir.path().join("before.ndjson");
    assert_eq!(done(&export(&house, "clicks", &before, &ends))["rows"], CLICKS);
    seal(&house);
    let sealed = dir.path().join("sealed.ndjson");
    assert_eq!(done(&export(&house, "clicks", &sealed, &ends))["rows"], CLICKS);
    let (before, sealed) =
        (std::fs::read(before).expect("it is there"), std::fs::read(sealed).expect("it is there"));
    assert!(before == sealed, "sealing changes nothing");
    let text = String::from_utf8(sealed).expect("it is text");
    for personal in ["38400000-8cf0", "203.0.113", "Mozilla", "own="] {
        assert!(!text.contains(personal), "{personal} was not asked for");
    }
    assert!(
        text.contains("\"country\":\"DE\"")
            && text.contains("\"sub1\":\"=cmd|0\"")
            && !text.contains("theirs")
    );

    // `roundtrip clicks export` is the same command.
    let fixed = ["clicks", "export"].map(str::to_owned);
    let alias = dir.path().join("alias.ndjson");
    let rest = arguments(&house, "clicks", &alias, &ends).split_off(2);
    let command: Vec<String> = fixed.into_iter().chain(rest).collect();
    assert_eq!(done(&run(&command.iter().map(String::as_str).collect::<Vec<_>>()))["rows"], CLICKS);
    assert_eq!(std::fs::read_to_string(alias).expect("it is there"), text);

    // A folder: whole hours, and all of them.
    let folder = dir.path().join("folder/");
    let flags = ["--split=hour", "--full", "--format=ndjson"];
    let hourly = done(&export(&house, "clicks", &folder.join(""), &flags));
    assert_eq!(hourly["rows"], CLICKS, "{hourly}");
    let parts = files(&folder);
    assert!(parts.contains_key("dt=2026-06-04/hr=11/clicks.ndjson"), "{:?}", parts.keys());
    let lines: Vec<Value> = parts
        .values()
        .flat_map(|bytes| bytes.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()))
        .map(|line| serde_json::from_slice(line).expect("it is JSON"))
        .collect();
    let ids: Vec<&str> = lines.iter().map(|line| line["click_id"].as_str().expect("an id")).collect();
    assert!(ids.windows(2).all(|pair| pair[0] < pair[1]), "in their order, none twice");
    assert!(
        lines.iter().any(|line| line["query"].as_str().is_some_and(|query| query.ends_with("own=%C3%A9")))
    );
    let again = done(&export(&house, "clicks", &folder.join(""), &flags));
    assert_eq!((&again["rows"], &again["files"]), (&json!(0), &json!(0)));

    // A file without an end says until when it goes: rows of the last minute may still be joined by others.
    let open = done(&export(&house, "clicks", &dir.path().join("open.csv"), &["--from=2026-06-04"]));
    let to = Timestamp::parse(open["to"].as_str().expect("an end")).expect("a moment");
    let ago = Clock::System.now().since(to);
    assert!((60_000..180_000).contains(&ago) && open["rows"] == CLICKS, "{open}");
}
