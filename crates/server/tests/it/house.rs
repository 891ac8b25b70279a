//! A house for a server under test: its directory, its settings, its partners and those who knock at it.
//!
//! The server is the real binary and is spoken to over its own sockets. Its files are touched only while it is down: to
//! read them, to damage them, and to make a slice old enough to be closed.

mod line;
mod partners;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use roundtrip_ambient::{Clock, Entropy};
use rusqlite::Connection;
use rustix::process::Signal;
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::process::{Server, WAIT};

pub(crate) use self::line::{ANDROID, Answer, Call, DESKTOP, Line, our_click_id};
pub(crate) use self::partners::{Partners, Told};

/// How often a state is looked at that nothing announces.
const LOOK_EVERY: Duration = Duration::from_millis(50);

/// By how much a slice is made older; it is closed after an hour.
const AGED_MS: i64 = 7_200_000;

/// Whole numbers by chance, the same ones for the same seed.
#[derive(Debug, Clone)]
pub(crate) struct Dice(Entropy);

impl Dice {
    /// Dice that fall as the seed says.
    pub(crate) fn seeded(seed: u64) -> Self {
        Self(Entropy::seeded(seed))
    }

    /// A number below `n`.
    pub(crate) fn below(&self, n: usize) -> usize {
        self.0.u32() as usize % n.max(1)
    }

    /// Whether one of `n` equal chances came up.
    pub(crate) fn one_in(&self, n: usize) -> bool {
        self.below(n) == 0
    }

    /// One of several.
    pub(crate) fn pick<'a, T>(&self, of: &'a [T]) -> &'a T {
        &of[self.below(of.len())]
    }

    /// A device's advertising id.
    pub(crate) fn gaid(&self) -> String {
        let hex = format!("{:032x}", self.0.u128() | 1);
        format!("{}-{}-4{}-8{}-{}", &hex[..8], &hex[8..12], &hex[13..16], &hex[17..20], &hex[20..])
    }
}

/// A data directory and the server that has it, if one runs.
pub(crate) struct House {
    dir: Option<TempDir>,
    data: PathBuf,
    flags: Vec<String>,
    env: Vec<(String, String)>,
    server: Option<Server>,
    /// Tokens of keys, by slug.
    pub(crate) keys: BTreeMap<String, String>,
    /// The admin key.
    pub(crate) token: String,
}

impl House {
    /// An empty house in a temporary directory; the server does not run yet.
    pub(crate) fn new(flags: &[&str]) -> Self {
        let dir = tempfile::tempdir().expect("there is room for a directory");
        let data = dir.path().join("data");
        let mut house = Self::at(&data, flags);
        house.dir = Some(dir);
        house
    }

    /// A house in a directory that somebody else looks after.
    pub(crate) fn at(data: &Path, flags: &[&str]) -> Self {
        Self {
            dir: None,
            data: data.to_owned(),
            flags: flags.iter().map(|flag| (*flag).to_owned()).collect(),
            env: Vec::new(),
            server: None,
            keys: BTreeMap::new(),
            token: String::new(),
        }
    }

    /// The data directory.
    pub(crate) fn data(&self) -> &Path {
        &self.data
    }

    /// The click log's directory.
    pub(crate) fn clicks(&self) -> PathBuf {
        self.data.join("clicks")
    }

    /// Has the server find these variables in its environment.
    pub(crate) fn with_env(mut self, env: &[(&str, String)]) -> Self {
        self.env = env.iter().map(|(name, value)| ((*name).to_owned(), value.clone())).collect();
        self
    }

    /// The flags beside those of every server under test.
    pub(crate) fn flags(&self) -> &[String] {
        &self.flags
    }

    /// Starts the server and waits until it is ready.
    pub(crate) fn start(&mut self) {
        let flags: Vec<&str> = self.flags.iter().map(String::as_str).collect();
        self.server = Some(Server::start_in(&self.data, &flags, &self.env));
        let token = std::fs::read_to_string(self.data.join("admin.token")).expect("there is an admin key");
        self.token = token.trim().to_owned();
    }

    /// The running server.
    pub(crate) fn server(&self) -> &Server {
        self.server.as_ref().expect("the server runs")
    }

    /// Host and port of the public listener.
    pub(crate) fn public(&self) -> String {
        self.server().address("public").to_owned()
    }

    /// Ends the server by a signal; what it logged.
    pub(crate) fn end(&mut self, signal: Signal) -> String {
        let server = self.server.take().expect("the server runs");
        server.signal(signal);
        let (status, log) = server.end();
        if signal != Signal::KILL {
            assert_eq!(status.code(), Some(0), "{log}");
        }
        log
    }

    /// A connection of the operator's.
    pub(crate) fn admin(&self) -> Admin {
        Admin { line: Line::to(self.server().address("admin")), token: self.token.clone() }
    }

    /// Makes the settings what the document says, and remembers the keys.
    pub(crate) async fn apply(&mut self, document: &Value) {
        let applied = self.admin().post("/api/v1/apply", &json!({ "document": document })).await;
        for key in applied["keys"].as_array().expect("the answer lists keys") {
            let text =
                |name: &str| key[name].as_str().unwrap_or_else(|| panic!("{name} in {key}")).to_owned();
            self.keys.insert(text("slug"), text("token"));
        }
    }

    /// Makes the slices that a server which is down was writing as old as if it had begun them two hours ago, so that
    /// the next start closes them, as it would after an hour. Ids stay what they are: a row counts from the beginning.
    pub(crate) fn age_slices(&self) {
        assert!(self.server.is_none(), "a running server has the click log");
        let hour_ago = Clock::System.now().ms() - 3_600_000;
        for path in self.slice_files(".sqlite") {
            let file = path.file_name().and_then(|name| name.to_str()).expect("it has a name");
            let live = file.strip_prefix("slice-").and_then(|rest| rest.strip_suffix(".sqlite"));
            let Some(live) = live.filter(|live| !live.ends_with(".closed")) else { continue };
            let [node, began, seq] = live.split('-').collect::<Vec<_>>()[..] else {
                panic!("{file} is no slice")
            };
            let began: i64 = began.parse().expect("it says when it began");
            if began < hour_ago {
                continue;
            }
            let slice = Connection::open(&path).expect("a slice opens");
            let is_begun =
                slice.query_row("SELECT count(*) FROM meta WHERE name = 'began_ms'", [], |row| row.get(0));
            if is_begun != Ok(1) {
                // Its first commit was interrupted.
                continue;
            }
            let shift = format!(
                "BEGIN; UPDATE click SET id = id + ({AGED_MS} << 30); \
                 UPDATE meta SET value = value - {AGED_MS} WHERE name = 'began_ms'; COMMIT; \
                 PRAGMA wal_checkpoint(TRUNCATE)"
            );
            slice.execute_batch(&shift).expect("a slice can be changed");
            drop(slice);
            for suffix in ["", "-wal", "-shm"] {
                let from = self.clicks().join(format!("{file}{suffix}"));
                let to = self.clicks().join(format!("slice-{node}-{}-{seq}.sqlite{suffix}", began - AGED_MS));
                match std::fs::rename(&from, &to) {
                    Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                        panic!("{}: {error}", from.display())
                    }
                    _ => {}
                }
            }
        }
    }

    /// Files of the click log whose names end so, the oldest slice first.
    pub(crate) fn slice_files(&self, ending: &str) -> Vec<PathBuf> {
        let entries = std::fs::read_dir(self.clicks()).expect("the click log has a directory");
        let mut files: Vec<PathBuf> = entries.map(|entry| entry.expect("it can be listed").path()).collect();
        files.retain(|path| path.to_string_lossy().ends_with(ending));
        files.sort_by_key(|path| sequence(path));
        files
    }

    /// The value of a metric, by its name with labels.
    pub(crate) async fn metric(&self, name: &str) -> f64 {
        let page = self.admin().text("/metrics").await;
        let line = page.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
        let line = line.unwrap_or_else(|| panic!("{name} in {page}"));
        line.trim().parse().unwrap_or_else(|_| panic!("{name} is a number, not {line}"))
    }

    /// Waits until nothing is undecided and nothing waits to be told but to a partner who never answers.
    pub(crate) async fn drained_but(&self, partner: &str) {
        let mut admin = self.admin();
        until("all but the mute partner is told", async || {
            let balance = admin.get("/api/v1/balance").await;
            let rows = balance["rows"].as_array().expect("the books have rows");
            let waits = |row: &&Value| row["waiting"].as_u64() > Some(0) && row["partner"]["slug"] != partner;
            (balance["waiting"]["undecided"] == 0 && !rows.iter().any(|row| waits(&row))).then_some(())
        })
        .await;
    }

    /// Waits until nothing is undecided and nothing waits to be told.
    pub(crate) async fn drained(&self) {
        let mut admin = self.admin();
        let mut last = Value::Null;
        let mut looks = tokio::time::interval(LOOK_EVERY);
        let drained = async {
            loop {
                looks.tick().await;
                last = admin.get("/api/v1/balance").await["waiting"].clone();
                if last["undecided"] == 0 && last["deliveries"] == 0 {
                    break;
                }
            }
        };
        let ended = tokio::time::timeout(2 * WAIT, drained).await;
        assert!(ended.is_ok(), "work is left over: {last}");
    }
}

impl Drop for House {
    fn drop(&mut self) {
        if std::thread::panicking()
            && let Some(dir) = &mut self.dir
        {
            dir.disable_cleanup(true);
            say(&format!("the data directory is kept: {}", self.data.display()));
        }
    }
}

/// Says something to whoever runs the tests, whether or not their output is captured.
pub(crate) fn say(text: &str) {
    use std::io::Write as _;
    // A closed terminal is no reason to fail.
    let _ = writeln!(std::io::stderr().lock(), "{text}");
}

fn sequence(path: &Path) -> u64 {
    let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
    let number = name.split('.').next().and_then(|base| base.rsplit('-').next());
    number.and_then(|number| number.parse().ok()).unwrap_or(u64::MAX)
}

/// Looks again and again until `look` finds what it waits for, at most [`WAIT`].
pub(crate) async fn until<T>(what: &str, mut look: impl AsyncFnMut() -> Option<T>) -> T {
    let mut looks = tokio::time::interval(LOOK_EVERY);
    let found = tokio::time::timeout(WAIT, async {
        loop {
            looks.tick().await;
            if let Some(found) = look().await {
                break found;
            }
        }
    });
    found.await.unwrap_or_else(|_| panic!("waited in vain: {what}"))
}

/// A connection to the admin listener, with the key.
pub(crate) struct Admin {
    line: Line,
    token: String,
}

impl Admin {
    /// The answer to a GET, whatever its status.
    pub(crate) async fn ask(&mut self, path: &str) -> Answer {
        let call = Call::get(path).bearer(&self.token);
        self.line.call_again(&call).await.unwrap_or_else(|why| panic!("{path} was not answered: {why}"))
    }

    /// The document that a GET answers.
    pub(crate) async fn get(&mut self, path: &str) -> Value {
        let answer = self.ask(path).await;
        assert_eq!(answer.status, 200, "{path}: {}", answer.text());
        answer.json()
    }

    /// The page that a GET answers.
    pub(crate) async fn text(&mut self, path: &str) -> String {
        let answer = self.ask(path).await;
        assert_eq!(answer.status, 200, "{path}: {}", answer.text());
        answer.text()
    }

    /// The document that a POST answers.
    pub(crate) async fn post(&mut self, path: &str, body: &Value) -> Value {
        let call = Call::post(path, body.to_string()).json_body().bearer(&self.token);
        let answer =
            self.line.call(&call).await.unwrap_or_else(|why| panic!("{path} was not answered: {why}"));
        assert_eq!(answer.status, 200, "{path}: {}", answer.text());
        answer.json()
    }
}
