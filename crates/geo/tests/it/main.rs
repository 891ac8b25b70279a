//! Databases as files: what is found in them, and what becomes of them while they are in use.

mod look_up;
mod reload;

use std::path::{Path, PathBuf};

use roundtrip_domain::location::Location;
use roundtrip_geo::Geo;
use roundtrip_testkit::Mmdb;
use serde_json::json;

/// A folder with databases in it.
struct Folder(tempfile::TempDir);

impl Folder {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn put(&self, name: &str, database: &Mmdb) -> PathBuf {
        let path = self.path(name);
        std::fs::write(&path, database.bytes()).unwrap();
        path
    }
}

/// Puts a finished file in the place of another, as careful updaters do.
fn replace(path: &Path, bytes: &[u8]) {
    let fresh = path.with_extension("fresh");
    std::fs::write(&fresh, bytes).unwrap();
    std::fs::rename(&fresh, path).unwrap();
}

/// Databases that must all be usable.
fn open(paths: &[&PathBuf]) -> Geo {
    let (geo, changes) = Geo::open(paths.iter().map(|path| (*path).clone()).collect());
    for standing in geo.standing() {
        assert_eq!(standing.sentence(), None, "{changes:?}");
    }
    geo
}

fn at(geo: &Geo, ip: &str) -> Location {
    geo.look_up(ip.parse().unwrap())
}

/// A location in one line, `-` for what is not known.
fn line(geo: &Geo, ip: &str) -> String {
    let location = at(geo, ip);
    let value = |name| location.value(name).unwrap_or_else(|| "-".to_owned());
    Location::MACROS.map(value).join(" ")
}

/// A country database of one network, 203.0.113.0/24.
fn country(code: &str) -> Mmdb {
    Mmdb::new("Test-Country", 4).network("203.0.113.0/24", &json!({ "country_code": code }))
}
