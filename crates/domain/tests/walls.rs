//! The arrows of ARCHITECTURE.md, kept: which crate may depend on which.

use std::path::Path;

/// Each crate and which of ours it may depend on, at run time. Nobody depends on `testkit` but in tests.
const ARROWS: &[(&str, &[&str])] = &[
    ("domain", &[]),
    ("ambient", &["domain"]),
    ("geo", &["domain"]),
    ("store", &["domain", "ambient"]),
    ("engine", &["domain", "ambient", "store"]),
    ("library", &["domain"]),
    ("web", &["domain", "ambient", "geo", "store", "library"]),
    ("server", &["domain", "ambient", "geo", "store", "engine", "library", "web"]),
    ("testkit", &["domain", "ambient", "store"]),
];

fn crates() -> &'static Path {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/.."))
}

/// The names under `[dependencies]`.
fn dependencies(manifest: &str) -> Vec<String> {
    manifest
        .lines()
        .skip_while(|line| line.trim() != "[dependencies]")
        .skip(1)
        .take_while(|line| !line.starts_with('['))
        .filter_map(|line| line.split(['.', ' ', '=']).next())
        .filter(|name| !name.is_empty() && !name.starts_with('#'))
        .map(str::to_owned)
        .collect()
}

#[test]
fn crates_depend_downwards_only() {
    for (name, allowed) in ARROWS {
        let manifest = std::fs::read_to_string(crates().join(name).join("Cargo.toml")).unwrap();
        let found = dependencies(&manifest);
        assert!(
            *name == "domain" || found.iter().any(|d| d.starts_with("roundtrip-")),
            "{name}: nothing was read"
        );
        for dependency in found.iter().filter_map(|d| d.strip_prefix("roundtrip-")) {
            assert!(allowed.contains(&dependency), "{name} must not depend on {dependency}");
        }
    }
    let folders = std::fs::read_dir(crates()).unwrap().count();
    assert_eq!(folders, ARROWS.len(), "a new crate has no arrows yet: add it here and to ARCHITECTURE.md");
}

#[test]
fn domain_does_no_io_and_derives_no_format() {
    let manifest = std::fs::read_to_string(crates().join("domain/Cargo.toml")).unwrap();
    for banned in ["tokio", "rusqlite", "hyper", "axum", "getrandom", "rand"] {
        assert!(!dependencies(&manifest).iter().any(|d| d == banned), "domain must not depend on {banned}");
    }
    let mut folders = vec![crates().join("domain/src")];
    let mut seen = 0;
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
                continue;
            }
            let text = std::fs::read_to_string(&path).unwrap();
            // Tests may read files; what ships may not.
            let shipped = text.split("#[cfg(test)]\nmod tests {").next().unwrap_or_default();
            for banned in
                ["std::fs", "std::net::Tcp", "SystemTime", "Instant::now", "async fn", "derive(Serialize"]
            {
                assert!(!shipped.contains(banned), "{} must not use {banned}", path.display());
            }
            seen += 1;
        }
    }
    assert!(seen > 10, "the sources were not found");
}
