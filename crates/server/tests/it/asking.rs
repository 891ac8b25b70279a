//! What a person types to see how deliveries stand: names as lists print them, words that were misspelt, and what is not
//! done without asking.

use std::io::{BufRead as _, BufReader};
use std::process::Stdio;

use rustix::process::Signal;
use serde_json::{Value, json};

use crate::house::House;
use crate::process::{roundtrip, run, serve_arguments};

fn document() -> Value {
    json!({
        "apps": { "shop": { "platform": "web", "currency": "EUR" } },
        "partners": { "acme": {} },
        "rules": { "sale": {
            "app": "shop", "partner": "acme", "on": "purchase", "url": "https://acme.example/?c={click_id}",
        } },
        "webhooks": { "crm": { "url": "https://owner.example/hooks" } },
    })
}

/// Exit code, output and complaints of a command.
fn said(house: &House, arguments: &[&str]) -> (Option<i32>, String, String) {
    let server = format!("--server=http://{}", house.server().address("admin"));
    let data = format!("--data={}", house.data().display());
    let all: Vec<&str> = arguments.iter().copied().chain([server.as_str(), data.as_str()]).collect();
    let output = run(&all);
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).expect("UTF-8");
    (output.status.code(), text(output.stdout), text(output.stderr))
}

#[tokio::test(flavor = "multi_thread")]
async fn names_words_and_questions() {
    let mut house = House::new(&[]);
    house.start();
    house.apply(&document()).await;

    for name in ["crm", "webhook:crm"] {
        let (code, out, err) = said(&house, &["webhook", "show", name]);
        assert_eq!(code, Some(0), "{name}: {err}");
        assert!(out.starts_with("webhook crm\n"), "{name}: {out}");
    }
    let (code, out, err) = said(&house, &["endpoint", "show", "rule:sale"]);
    assert_eq!(code, Some(0), "{err}");
    assert!(
        out.starts_with("rule:sale@acme: It is told.\n") && out.contains("state            active"),
        "{out}"
    );
    let (code, out, _) = said(&house, &["endpoint", "show", "webhook:crm", "--json"]);
    let shown: Value = serde_json::from_str(&out).expect("JSON");
    assert_eq!((code, &shown["endpoint"]["name"]), (Some(0), &json!("webhook:crm")));
    let (code, _, err) = said(&house, &["endpoint", "show", "webhook:crn"]);
    assert!(code == Some(1) && err.contains("there is one: crm"), "{err}");

    for (arguments, fix) in [
        (["deliveries", "--outcome", "htp_404"], "did you mean `http_404`?"),
        (["deliveries", "--since", "tomorrow"], "write 24h or 7d"),
    ] {
        let (code, out, err) = said(&house, &arguments);
        assert!(code == Some(1) && out.is_empty() && err.contains(fix), "{arguments:?}: {err}");
        assert!(!err.contains("to fix it: correct it"), "{err}");
    }
    let (code, _, err) =
        said(&house, &["replay", "--endpoint", "webhook:crm", "--since", "failin", "--dry-run"]);
    assert!(code == Some(1) && err.contains("did you mean `failing`?"), "{err}");

    // Nobody is at a terminal here: it is refused, and nothing is taken back.
    let (code, out, err) = said(&house, &["share", "--revoke-all"]);
    assert!(code == Some(1) && out.is_empty() && err.contains("give --yes"), "{err}");
    let (code, out, err) = said(&house, &["share", "--revoke-all", "--yes"]);
    assert_eq!(code, Some(0), "{err}");
    assert!(!out.is_empty(), "it says what it did");
    let (code, _, err) = said(&house, &["share", "dlv_1", "--yes"]);
    assert_eq!(code, Some(2), "there is nothing to agree to: {err}");
    house.end(Signal::TERM);
}

#[test]
fn a_started_server_says_where_its_pages_are() {
    let dir = tempfile::tempdir().expect("a directory");
    let arguments = serve_arguments(dir.path()).into_iter().filter(|argument| argument != "--json");
    let mut child = roundtrip()
        .args(arguments)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .expect("the binary starts");
    let lines = BufReader::new(child.stdout.take().expect("it is piped")).lines().map_while(Result::ok);
    // It ends with the last line of the greeting, or with the process.
    let mut greeting = Vec::new();
    for line in lines {
        greeting.push(line);
        if greeting.last().is_some_and(|line| line.starts_with("Ctrl-C")) {
            break;
        }
    }
    child.kill().expect("it runs");
    child.wait().expect("it ends");
    let greeting = greeting.join("\n");
    let admin = greeting.lines().find(|line| line.trim_start().starts_with("admin")).unwrap_or_default();
    assert!(admin.contains("http://127.0.0.1:") && admin.contains("dashboard"), "{greeting}");
    assert!(greeting.contains("admin.token"), "{greeting}");
}
