//! `bench delivery` with tiny numbers: it ends, says every number that it promises, and leaves nothing behind. What
//! the numbers are is not looked at: this machine may be busy.

use serde_json::Value;

use crate::process::run;

/// Runs it and gives its lines, after checks that hold for each run.
fn lines(arguments: &[&str]) -> Vec<Value> {
    let dir = tempfile::tempdir().unwrap();
    let place = format!("--dir={}", dir.path().display());
    let arguments = [&["bench", "delivery", "--json", &place], arguments].concat();
    let output = run(&arguments);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0, "the run's directory is removed");
    let text = String::from_utf8(output.stdout).unwrap();
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

fn value(lines: &[Value], what: &str) -> f64 {
    let line = lines.iter().find(|line| line["what"] == what);
    line.unwrap_or_else(|| panic!("{what} is among {lines:#?}"))["value"].as_f64().unwrap()
}

#[test]
fn deliveries_are_told_beside_the_yardstick() {
    let lines = lines(&["--deliveries=50", "--endpoints=5", "--rounds=1", "--waiting=20"]);
    for kind in ["postback", "webhook"] {
        for what in [
            "delivered and settled durably",
            "bare hyper client loop",
            "share of the bare loop",
            "connections opened",
            "memory after a round",
            "memory after sweeps, 20 waiting",
            "start, 20 waiting",
            "idle: asked to first byte, p99",
        ] {
            assert!(value(&lines, &format!("{kind}: {what}")) > 0.0, "{what}");
        }
        assert_eq!(value(&lines, &format!("{kind}: requests that arrived more than once")), 0.0);
        assert!(value(&lines, &format!("{kind}: idle: planned to first byte, p50")) >= 0.0);
    }
    assert!(value(&lines, "fdatasync of 16 KiB, p50") > 0.0);
}

#[test]
fn healthy_endpoints_are_held_against_a_world_without_ill_ones() {
    let lines = lines(&["--skew", "--deliveries=200", "--endpoints=20"]);
    for world in ["quiet", "busy", "skewed"] {
        assert!(value(&lines, &format!("{world}: healthy, due to first byte, p99")) > 0.0);
        assert_eq!(value(&lines, &format!("{world}: healthy that had not left at the end")), 0.0);
    }
    let floor = lines.iter().find(|line| line["what"] == "p99 of healthy, skewed to quiet").unwrap();
    assert_eq!(floor["floor"]["at_most"], 2.0);
    assert!(value(&lines, "p99 of healthy, skewed to busy") > 0.0);
}
