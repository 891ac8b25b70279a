//! What a look-up costs on the path of a click. `cargo bench -p roundtrip-geo`; databases of one's own are measured
//! with `GEO_DATABASES=city.mmdb,asn.mmdb`.

use std::hint::black_box;
use std::net::{IpAddr, Ipv4Addr};
use std::path::PathBuf;

use criterion::{Criterion, criterion_group, criterion_main};
use roundtrip_geo::Geo;
use roundtrip_testkit::Mmdb;
use serde_json::json;

/// Addresses all over version 4, spread by a multiplicative generator; the same in every run.
fn addresses() -> Vec<IpAddr> {
    let mut state = 0x9e37_79b9_u32;
    let mut next = || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        IpAddr::from(Ipv4Addr::from(state))
    };
    std::iter::repeat_with(&mut next).take(4_096).collect()
}

/// A city and a network for each of the 255 networks `1.x.0.0/16` to `255.x.0.0/16` of a few `x`.
fn made() -> (tempfile::TempDir, Vec<PathBuf>) {
    let mut city = Mmdb::new("Bench-City", 6);
    let mut asn = Mmdb::new("Bench-ASN", 6);
    for a in 1..=255_u32 {
        for b in (0..256_u32).step_by(32) {
            let network = format!("{a}.{b}.0.0/11");
            let place = json!({
                "city": { "geoname_id": a, "names": { "de": format!("Stadt {a}"), "en": format!("City {a}"), "fr": "Ville" } },
                "continent": { "code": "EU", "names": { "de": "Europa", "en": "Europe" } },
                "country": { "iso_code": "DE", "names": { "de": "Deutschland", "en": "Germany" } },
                "location": { "latitude": 52.5, "longitude": 13.4, "time_zone": "Europe/Berlin" },
                "subdivisions": [{ "iso_code": "BE", "names": { "en": "Land Berlin" } }],
            });
            city = city.network(&network, &place);
            let about = json!({ "autonomous_system_number": 64_500 + a, "autonomous_system_organization": format!("Network {a}") });
            asn = asn.network(&network, &about);
        }
    }
    let folder = tempfile::tempdir().expect("a folder");
    let paths = [("city.mmdb", city), ("asn.mmdb", asn)].map(|(name, database)| {
        let path = folder.path().join(name);
        std::fs::write(&path, database.bytes()).expect("a file");
        path
    });
    (folder, paths.to_vec())
}

fn look_up(c: &mut Criterion) {
    let (_folder, paths) = made();
    let addresses = addresses();
    let mut run = |name: &str, paths: Vec<PathBuf>| {
        let (geo, changes) = Geo::open(paths);
        for standing in geo.standing() {
            assert_eq!(standing.sentence(), None, "{changes:?}");
        }
        let mut at = addresses.iter().cycle();
        c.bench_function(name, |b| b.iter(|| at.next().map(|ip| black_box(geo.look_up(*ip)))));
    };
    run("no database", Vec::new());
    run("city", paths[..1].to_vec());
    run("city and network", paths);
    if let Ok(named) = std::env::var("GEO_DATABASES") {
        run("named", named.split(',').map(PathBuf::from).collect());
    }
}

criterion_group!(benches, look_up);
criterion_main!(benches);
