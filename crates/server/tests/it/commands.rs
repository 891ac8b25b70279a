use serde_json::Value;

use crate::process::run;

#[test]
fn a_template_is_tried_without_a_server() {
    let output =
        run(&["template", "test", "https://p.example/?c={click_id}", "--value=click_id=a b", "--json"]);
    assert_eq!(output.status.code(), Some(0));
    let said: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(said["request"]["url"], "https://p.example/?c=a%20b");
    let output = run(&["template", "test", "https://{gaid}.example/"]);
    assert_eq!(output.status.code(), Some(1), "it could not be saved");
    assert!(String::from_utf8(output.stdout).unwrap().contains("error macro_in_host"));
}

#[test]
fn a_key_is_not_made_in_a_directory_that_is_not_there() {
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path().join("mistyped");
    let output = run(&["key", "reset", &format!("--data={}", data.display())]);
    assert_eq!(output.status.code(), Some(1));
    assert!(!data.exists());
}
