use std::fs;
use std::os::unix::fs::PermissionsExt as _;

use rustix::process::Signal;
use serde_json::Value;

use crate::process::{Server, roundtrip, run, serve_arguments};

#[test]
fn it_starts_answers_and_ends_on_a_signal() {
    let parent = tempfile::tempdir().unwrap();
    let data = parent.path().join("data");
    let server = Server::start(&data, &[]);
    assert_eq!(server.ready["ready"], true);
    assert_eq!(server.ready["public_url"], server.ready["public"]);
    assert_eq!(server.ready["data"], data.canonicalize().unwrap().display().to_string());
    let pid = server.ready["pid"].as_u64().unwrap();

    let mode = |path: &str| fs::metadata(data.join(path)).unwrap().permissions().mode() & 0o777;
    assert_eq!((mode("."), mode("admin.token")), (0o700, 0o600));
    let token = fs::read_to_string(data.join("admin.token")).unwrap().trim().to_owned();

    for listener in ["public", "admin"] {
        assert_eq!(server.get(listener, "/healthz", None), (200, "ok\n".to_owned()));
    }
    let (status, body) = server.get("admin", "/readyz", None);
    assert_eq!((status, body.as_str()), (200, "{\"ready\":true,\"reasons\":[],\"notes\":[]}\n"));
    let (status, body) = server.get("admin", "/metrics", None);
    assert!(status == 401 && body.contains("key_missing"), "{body}");
    let (status, body) = server.get("admin", "/metrics", Some("rta_guessed"));
    assert!(status == 401 && body.contains("key_unknown"), "{body}");
    let (status, body) = server.get("admin", "/metrics", Some(&token));
    assert_eq!(status, 200);
    for line in [
        "roundtrip_ready 1\n",
        "roundtrip_http_requests_total{listener=\"public\",answer=\"2xx\"} 1\n",
        "# EOF\n",
    ] {
        assert!(body.contains(line), "{line} in {body}");
    }
    let (status, body) = server.get("public", "/c/nowhere", None);
    assert!(status == 404 && body.contains("link_unknown"), "{body}");
    let (status, body) = server.get("admin", "/api/v1/workspaces", Some(&token));
    assert!(status == 200 && body.contains("\"default\""), "{body}");
    assert_eq!(server.get("admin", "/api/v1/workspaces", None).0, 401);
    let (_, body) = server.get("admin", "/metrics", Some(&token));
    assert!(body.contains("roundtrip_ingest_links_unknown_total 1\n"), "{body}");
    for private in ["/metrics", "/readyz", "/api/v1/workspaces"] {
        assert_ne!(server.get("public", private, Some(&token)).0, 200, "{private} is for the operator");
    }

    let second = roundtrip().args(serve_arguments(&data)).output().unwrap();
    let said = String::from_utf8(second.stderr).unwrap();
    assert_eq!(second.status.code(), Some(1));
    assert!(said.contains(&format!("process {pid} holds it")), "{said}");
    assert_eq!(second.stdout, b"");
    assert_eq!(server.get("public", "/healthz", None).0, 200, "the first one goes on");

    server.signal(Signal::TERM);
    let (status, log) = server.end();
    assert_eq!(status.code(), Some(0), "{log}");
    assert!(!log.contains(&token), "the key is in the log");
    for line in log.lines() {
        let line: Value = serde_json::from_str(line).expect("each line is JSON");
        assert!(line["message"].is_string() && line["level"].is_string(), "{line}");
    }
    for message in ["made the first admin key", "ready", "stopped"] {
        assert!(log.contains(&format!("\"message\":\"{message}\"")), "{message} in {log}");
    }

    let again = Server::start(&data, &[]);
    assert_eq!(
        fs::read_to_string(data.join("admin.token")).unwrap().trim(),
        token,
        "a restart keeps the key"
    );
    again.signal(Signal::INT);
    assert_eq!(again.end().0.code(), Some(0));
}

#[test]
fn a_killed_server_leaves_no_lock() {
    let data = tempfile::tempdir().unwrap();
    let server = Server::start(data.path(), &[]);
    server.signal(Signal::KILL);
    assert_eq!(server.end().0.code(), None);
    let again = Server::start(data.path(), &["--metrics-public"]);
    assert_eq!(again.get("admin", "/metrics", None).0, 200, "open where the operator says so");
}

#[test]
fn settings_that_cannot_be_used_are_listed_and_end_it() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("roundtrip.toml");
    fs::write(&file, "[server]\npublik = '127.0.0.1:1'\n\n[apps.shop]\nname = 'Shop'\n").unwrap();
    let config = format!("--config={}", file.display());
    let output = run(&["serve", &config, "--admin=here"]);
    assert_eq!(output.status.code(), Some(2));
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(said.starts_with("roundtrip: failed to use the settings: 2 problems\n"), "{said}");
    assert!(said.contains("server.publik") && said.contains("--admin"), "{said}");
}

#[test]
fn an_address_in_use_is_named() {
    let data = tempfile::tempdir().unwrap();
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let public = format!("--public={}", taken.local_addr().unwrap());
    let output = roundtrip().args(serve_arguments(data.path())).arg(&public).output().unwrap();
    assert_eq!(output.status.code(), Some(2), "a flag given twice is a usage error");

    let data = format!("--data={}", data.path().display());
    let output = run(&["serve", &data, &public, "--admin=127.0.0.1:0"]);
    let said = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(said.contains("bind the public listener to 127.0.0.1:"), "{said}");
}

#[test]
fn a_new_key_works_at_once_and_the_old_one_no_more() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start(dir.path(), &[]);
    let token = || fs::read_to_string(dir.path().join("admin.token")).unwrap().trim().to_owned();
    let old = token();
    assert_eq!(server.get("admin", "/metrics", Some(&old)).0, 200);
    let data = format!("--data={}", dir.path().display());
    let output = run(&["key", "reset", &data, "--json"]);
    assert!(output.status.success());
    let said: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert!(said["admin_token_file"].as_str().unwrap().ends_with("/admin.token"));
    assert_eq!(server.get("admin", "/metrics", Some(&old)).0, 401);
    assert_eq!(server.get("admin", "/metrics", Some(&token())).0, 200);
}
