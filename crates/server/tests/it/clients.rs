//! What we sign, opened by verifiers that nobody here wrote: unmodified libraries of PyPI, npm and crates.io, the
//! verifiers inside other vendors' clients, and Ed25519 and HMAC of Node and Python themselves.
//!
//! The cast: the samples are signed by the code that ships, near the present moment because the libraries read the
//! machine's clock; `tests/clients/verify.mjs` and `verify.py` run the clients on all of them and know nothing of what
//! is expected; the expectation stands beside each sample here. `./test.sh` installs the clients.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::Command;

use roundtrip_ambient::{Clock, Entropy};
use roundtrip_domain::time::Timestamp;
use roundtrip_domain::webhook::sign::{
    OVERLAP_DEFAULT_MS, PLAIN_HEADER, PlainHeader, Secret, Signing, SigningKey, headers,
};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

const HOUR_MS: i64 = 3_600_000;
const MINUTE_MS: i64 = 60_000;

/// The design's example of an install.
const INSTALL: &str = r#"{"event_id": "evt_01KAHS8Z4N2T7QX5W3R9M6B0CD", "event_name": "install", "timestamp": "2026-06-04T09:21:44.120Z",
 "attribution": {"source": "meta", "campaign": "summer_uac", "ad_set": "lookalike_2pct", "deep_link": "myapp://product/123",
                 "partner": "prt_01KAHS8Z4N2T7QX5W3R9M6B0CE", "click_id": "01985c3a-7f10-7cc3-98c4-dc0c0c07398f", "match_type": "install_referrer", "reason": "the referrer names a click"},
 "device": {"platform": "android", "app_version": "4.2.0"},
 "user": {"customer_id": "u_8842", "is_organic": false},
 "revenue": "12.50", "currency": "EUR", "source_event_id": "s-1", "relates_to": null, "schema": 1}"#;
/// Text that is no ASCII, escapes, and spaces that a parser would not give back.
const FOREIGN: &str = "{ \"event_id\":\"evt_2\",\n\t\"campaign\": \"été ☀ \\u2603 \u{1f3af}\", \"path\":\"a\\/b\",  \"n\": 1.50 }\r\n";
const ID: &str = "evt_01KAHS8Z4N2T7QX5W3R9M6B0CD";

/// Where `./test.sh` puts the clients, once it is sure that they are those of `tests/clients`.
pub(crate) struct Installed {
    folder: PathBuf,
}

impl Installed {
    /// Finds them. Ends the test with what to do if they are not there, or older than what names them.
    pub(crate) fn find() -> Self {
        let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).with_file_name("webhook-clients");
        let mut hash = Sha256::new();
        for name in ["requirements.txt", "package.json", "package-lock.json"] {
            hash.update(std::fs::read(scripts().join(name)).expect("it is in the repository"));
        }
        let wanted: String = hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect();
        let found = std::fs::read_to_string(folder.join("installed")).unwrap_or_default();
        assert!(
            found.trim() == wanted,
            "the clients of crates/server/tests/clients are not installed in {}, or others are: run ./test.sh, which \
             installs them (or `./test.sh --clients`, which does only that)",
            folder.display()
        );
        Self { folder }
    }

    /// Runs Node.js of the pinned version, where npm's packages are found.
    pub(crate) fn node(&self) -> Command {
        let mut command = Command::new(self.folder.join("node"));
        command.current_dir(&self.folder).env_remove("NODE_OPTIONS");
        command
    }

    /// Runs Python with PyPI's packages.
    pub(crate) fn python(&self) -> Command {
        let mut command = Command::new(self.folder.join("venv/bin/python"));
        command.current_dir(&self.folder).env_remove("PYTHONPATH").env("PYTHONDONTWRITEBYTECODE", "1");
        command
    }
}

fn scripts() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/clients")
}

/// What a receiver of the sample is to make of it.
#[derive(Debug, Clone, Copy)]
struct Expected {
    /// By the libraries, with their five minutes.
    v1: bool,
    /// By a verifier that does not look at the time.
    v1_of_any_time: bool,
    /// By Ed25519 with the sample's public key; the time is not looked at.
    v1a: bool,
    /// By the plain header.
    plain: bool,
}

impl Expected {
    fn of(&self, client: &str) -> bool {
        match client {
            "npm replicate" => self.v1_of_any_time,
            _ if client.ends_with(" v1a") => self.v1a,
            _ if client.ends_with(" plain") => self.plain,
            _ => self.v1,
        }
    }
}

const ALL: Expected = Expected { v1: true, v1_of_any_time: true, v1a: true, plain: true };
const NONE: Expected = Expected { v1: false, v1_of_any_time: false, v1a: false, plain: false };
/// All but `v1a`, which is not there or not of this key.
const NO_V1A: Expected = Expected { v1a: false, ..ALL };

struct Sample {
    name: String,
    headers: Vec<(String, String)>,
    body: String,
    /// What the receiver was given.
    secret: String,
    public_key: String,
    plain_header: String,
    expected: Expected,
}

impl Sample {
    fn new(
        name: &str,
        signing: &Signing,
        now: Timestamp,
        body: &str,
        secret: &Secret,
        expected: Expected,
    ) -> Self {
        let public_key = signing.key.as_ref().map_or_else(|| key(99).public(), SigningKey::public);
        Self {
            name: name.to_owned(),
            headers: headers(signing, ID, now, body.as_bytes()),
            body: body.to_owned(),
            secret: secret.shown().to_owned(),
            public_key,
            plain_header: signing.plain_header.as_str().to_owned(),
            expected,
        }
    }

    fn holds(mut self, key: &SigningKey) -> Self {
        self.public_key = key.public();
        self
    }

    fn set(mut self, name: &str, value: &str) -> Self {
        for (found, old) in &mut self.headers {
            if found == name {
                *old = value.to_owned();
            }
        }
        self
    }

    fn json(&self) -> Value {
        let headers: serde_json::Map<String, Value> =
            self.headers.iter().map(|(name, value)| (name.clone(), json!(value))).collect();
        json!({
            "name": self.name, "headers": headers, "body": self.body, "secret": self.secret,
            "public_key": self.public_key, "plain_header": self.plain_header,
        })
    }
}

fn random(seed: u64) -> [u8; 32] {
    let mut bytes = [0; 32];
    Entropy::seeded(seed).fill(&mut bytes);
    bytes
}

fn secret(seed: u64) -> Secret {
    Secret::generate(random(seed))
}

fn key(seed: u64) -> SigningKey {
    SigningKey::generate(random(seed))
}

/// A secret of the shortest or longest kind.
fn secret_of(bytes: &[u8]) -> Secret {
    use base64::Engine as _;
    Secret::parse(&base64::engine::general_purpose::STANDARD.encode(bytes)).expect("it has an allowed length")
}

fn samples() -> Vec<Sample> {
    let now = Clock::System.now();
    let ago = |ms: i64| now.plus_ms(-ms);
    let mut all = Vec::new();

    // One secret.
    let (new, old, other) = (secret(1), secret(2), secret(3));
    let single = Signing::new(new.clone());
    let new_key = key(4);
    let mut with_key = single.clone();
    with_key.key = Some(new_key.clone());
    for (beside, signing, expected) in [("", &single, NO_V1A), (" beside v1a", &with_key, ALL)] {
        let name = |what: &str| format!("{what}{beside}");
        for (what, body) in [("install", INSTALL), ("foreign text", FOREIGN), ("empty object", "{}")] {
            all.push(Sample::new(&name(what), signing, now, body, &new, expected));
        }
        all.push(Sample::new(&name("4 min old"), signing, ago(4 * MINUTE_MS), INSTALL, &new, expected));
        let mistimed = Expected { v1: false, ..expected };
        all.push(Sample::new(&name("302 s old"), signing, ago(302_000), INSTALL, &new, mistimed));
        all.push(Sample::new(
            &name("10 min ahead"),
            signing,
            now.plus_ms(10 * MINUTE_MS),
            INSTALL,
            &new,
            mistimed,
        ));
        let wrong_secret = Expected { v1a: expected.v1a, ..NONE };
        all.push(Sample::new(&name("wrong secret"), signing, now, INSTALL, &other, wrong_secret));

        let mut changed = Sample::new(&name("changed body"), signing, now, INSTALL, &new, NONE);
        changed.body = INSTALL.replace("12.50", "92.50");
        all.push(changed);
        let mut spaced =
            Sample::new(&name("body parsed and printed again"), signing, now, INSTALL, &new, NONE);
        spaced.body = INSTALL.replace(": ", ":");
        all.push(spaced);
        // The plain header covers the body alone.
        let moved = Expected { plain: true, ..NONE };
        let moved_in_time =
            Sample::new(&name("another time"), signing, ago(9 * MINUTE_MS), INSTALL, &new, moved);
        all.push(moved_in_time.set("webhook-timestamp", &now.seconds().to_string()));
        let renamed = Sample::new(&name("another id"), signing, now, INSTALL, &new, moved);
        all.push(renamed.set("webhook-id", "evt_01KAHS8Z4N2T7QX5W3R9M6B0CE"));
        let foreign_plain = Expected { plain: false, ..expected };
        let foreign = Sample::new(&name("another plain value"), signing, now, INSTALL, &new, foreign_plain);
        all.push(foreign.set(PLAIN_HEADER, &"0".repeat(64)));
    }
    all.push(Sample::new("wrong public key", &with_key, now, INSTALL, &new, NO_V1A).holds(&key(5)));
    for bytes in [24, 64] {
        let secret = secret_of(&[random(6), random(7)].concat()[..bytes]);
        let signing = Signing::new(secret.clone());
        all.push(Sample::new(&format!("secret of {bytes} bytes"), &signing, now, INSTALL, &secret, NO_V1A));
    }
    let renamed = Signing {
        plain_header: PlainHeader::parse("X-Hook-Signature").expect("it is free"),
        ..single.clone()
    };
    all.push(Sample::new("renamed plain header", &renamed, now, INSTALL, &new, NO_V1A));

    // A rotation. The plain header is the old secret's until its cut-over.
    for (beside, keys) in [("", None), (" beside v1a", Some((key(8), key(9))))] {
        let name = |what: &str| format!("rotated, {what}{beside}");
        let begin = |rotated_ago: i64| {
            let mut signing = Signing::new(old.clone());
            signing.key = keys.as_ref().map(|(old_key, _)| old_key.clone());
            let overlap = signing.rotate_secret(new.clone(), OVERLAP_DEFAULT_MS, ago(rotated_ago));
            overlap.expect("there is room");
            signing
        };
        let v1a = keys.is_some();
        let (both, gone) = (Expected { v1a, ..ALL }, Expected { v1a, ..NONE });
        let standard_only = Expected { plain: false, ..both };

        let during = begin(HOUR_MS);
        all.push(Sample::new(&name("receiver has the old secret"), &during, now, INSTALL, &old, both));
        all.push(Sample::new(
            &name("receiver has the new secret"),
            &during,
            now,
            FOREIGN,
            &new,
            standard_only,
        ));
        all.push(Sample::new(&name("receiver has another secret"), &during, now, INSTALL, &other, gone));
        let mut cut_over = begin(HOUR_MS);
        cut_over.cut_over(now);
        all.push(Sample::new(&name("cut over, old secret"), &cut_over, now, INSTALL, &old, standard_only));
        all.push(Sample::new(&name("cut over, new secret"), &cut_over, now, INSTALL, &new, both));
        let after = begin(OVERLAP_DEFAULT_MS);
        all.push(Sample::new(&name("overlap ended, old secret"), &after, now, INSTALL, &old, gone));
        all.push(Sample::new(&name("overlap ended, new secret"), &after, now, INSTALL, &new, both));

        if let Some((old_key, new_key)) = keys {
            let mut signing = Signing::new(new.clone());
            signing.key = Some(old_key.clone());
            signing
                .rotate_key(Some(new_key.clone()), OVERLAP_DEFAULT_MS, ago(HOUR_MS))
                .expect("there is room");
            for (what, held, expected) in
                [("old key", &old_key, ALL), ("new key", &new_key, ALL), ("another key", &key(10), NO_V1A)]
            {
                all.push(Sample::new(&name(what), &signing, now, INSTALL, &new, expected).holds(held));
            }
            signing.rotate_key(Some(key(11)), 0, ago(1)).expect("there is room");
            all.push(Sample::new(&name("ended key"), &signing, now, INSTALL, &new, NO_V1A).holds(&new_key));
        }
    }
    // Three secrets at once, the most that one header carries.
    let mut three = Signing::new(old.clone());
    three.rotate_secret(other.clone(), OVERLAP_DEFAULT_MS, ago(2 * HOUR_MS)).expect("there is room");
    three.rotate_secret(new.clone(), OVERLAP_DEFAULT_MS, ago(HOUR_MS)).expect("there is room");
    for (what, held, plain) in [("oldest", &old, true), ("middle", &other, false), ("newest", &new, false)] {
        let expected = Expected { plain, ..NO_V1A };
        all.push(Sample::new(&format!("three secrets, {what}"), &three, now, INSTALL, held, expected));
    }

    all.push(public_vector());
    all
}

/// Vector 3, as its authors signed it (`svix/svix-webhooks`, tests of `server/svix-server/src/worker.rs`), and vector 2
/// (`standard-webhooks/standard-webhooks`) beside it. It proves the verifiers of `v1a` without our signing.
fn public_vector() -> Sample {
    let signatures = "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE= v1a,hnO3f9T8Ytu9HwrXslvumlUpqtNVqkhqw/enGzPCXe5B\
                      dqzCInXqYXFymVJaA7AZdpXwVLPo3mNl8EM+m7TBAg==";
    let headers = [
        ("webhook-id", "msg_p5jXN8AQM9LWM0D4loKWxJek"),
        ("webhook-timestamp", "1614265330"),
        ("webhook-signature", signatures),
        (PLAIN_HEADER, ""),
    ];
    Sample {
        name: "the public vectors".to_owned(),
        headers: headers.map(|(name, value)| (name.to_owned(), value.to_owned())).to_vec(),
        body: r#"{"test": 2432232314}"#.to_owned(),
        secret: "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw".to_owned(),
        public_key: "whpk_1SiA4o9hyqTCpIqC5V9HUakiiaeACeqfZTInDBbOir4=".to_owned(),
        plain_header: PLAIN_HEADER.to_owned(),
        expected: Expected { v1: false, plain: false, ..ALL },
    }
}

/// Compares what came out, (sample, client) → outcome, with what is expected of each of `clients`.
fn compare(samples: &[Sample], clients: &[&str], came_out: &BTreeMap<(String, String), String>) {
    let names: BTreeSet<&str> = samples.iter().map(|sample| sample.name.as_str()).collect();
    assert_eq!(names.len(), samples.len(), "two samples share a name");
    let mut wrong = Vec::new();
    for sample in samples {
        for client in clients {
            let wanted = if sample.expected.of(client) { "accepted" } else { "refused" };
            let found = came_out.get(&(sample.name.clone(), (*client).to_owned()));
            if found.map(String::as_str) != Some(wanted) {
                wrong.push(format!("{client}, {}: {found:?} and not {wanted}", sample.name));
            }
        }
    }
    assert!(wrong.is_empty(), "{} outcomes are wrong:\n{}", wrong.len(), wrong.join("\n"));
    assert_eq!(came_out.len(), samples.len() * clients.len(), "a client ran that nobody asked for");
}

/// Runs a script on the samples and compares.
fn run(mut command: Command, script: &str, clients: &[&str]) {
    let samples = samples();
    let dir = tempfile::tempdir().expect("there is a temporary directory");
    let file = dir.path().join("samples.json");
    let list: Vec<Value> = samples.iter().map(Sample::json).collect();
    std::fs::write(&file, serde_json::to_vec(&list).expect("it is JSON")).expect("it is written");
    let output = command.arg(scripts().join(script)).arg(&file).output().expect("it starts");
    let (out, errors) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{script} ended with {}:\n{out}\n{errors}", output.status);
    let mut came_out = BTreeMap::new();
    for line in out.lines() {
        let line: Value = serde_json::from_str(line).expect("each line is JSON");
        let field = |name: &str| line[name].as_str().expect("it is text").to_owned();
        let before = came_out.insert((field("sample"), field("client")), field("outcome"));
        assert_eq!(before, None, "twice: {line}");
    }
    compare(&samples, clients, &came_out);
}

#[test]
fn clients_of_npm_open_what_we_sign() {
    let clients =
        ["npm standardwebhooks", "npm svix", "npm replicate", "Node crypto v1a", "Node crypto plain"];
    run(Installed::find().node(), "verify.mjs", &clients);
}

#[test]
fn clients_of_pypi_open_what_we_sign() {
    let clients = [
        "PyPI standardwebhooks",
        "PyPI svix",
        "PyPI openai verify_signature",
        "PyPI openai unwrap",
        "PyPI cryptography v1a",
    ];
    run(Installed::find().python(), "verify.py", &clients);
}

#[test]
fn clients_of_crates_io_open_what_we_sign() {
    let samples = samples();
    let mut came_out = BTreeMap::new();
    for sample in &samples {
        let headers: http::HeaderMap = sample
            .headers
            .iter()
            .map(|(name, value)| {
                let name: http::HeaderName = name.parse().expect("a name");
                (name, value.parse().expect("a value"))
            })
            .collect();
        let body = sample.body.as_bytes();
        let standard = standardwebhooks::Webhook::new(&sample.secret).expect("a secret");
        let outcome = if standard.verify(body, &headers).is_ok() { "accepted" } else { "refused" };
        came_out.insert((sample.name.clone(), "crates.io standardwebhooks".to_owned()), outcome.to_owned());
    }
    compare(&samples, &["crates.io standardwebhooks"], &came_out);
}

#[test]
fn the_page_names_the_versions_that_are_run() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let read = |path: &Path| std::fs::read_to_string(path).expect("it is in the repository");
    let page = read(&root.join("docs/receivers.md"));
    let requirements = read(&scripts().join("requirements.txt"));
    let package: Value = serde_json::from_str(&read(&scripts().join("package.json"))).expect("it is JSON");
    let lock = read(&root.join("Cargo.lock"));

    let mut pins: Vec<(String, String)> = ["standardwebhooks", "svix", "openai"]
        .iter()
        .map(|name| {
            let pinned = requirements.lines().find_map(|line| line.strip_prefix(&format!("{name}==")));
            ((*name).to_owned(), pinned.expect("it is pinned").to_owned())
        })
        .collect();
    let dependencies = package["dependencies"].as_object().expect("it has some");
    assert_eq!(dependencies.len(), 3);
    pins.extend(
        dependencies
            .iter()
            .map(|(name, version)| (name.clone(), version.as_str().expect("it is text").to_owned())),
    );
    let (_, rest) = lock.split_once("name = \"standardwebhooks\"\nversion = \"").expect("it is locked");
    pins.push(("standardwebhooks".to_owned(), rest.split('"').next().unwrap_or_default().to_owned()));
    for (name, version) in pins {
        assert!(page.contains(&format!("`{name}` {version}")), "docs/receivers.md: `{name}` {version}");
    }
}
