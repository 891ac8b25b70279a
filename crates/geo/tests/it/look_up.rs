//! What is found: each maker's field names, both versions of addresses, several databases together.

use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;

/// MaxMind's and DB-IP's nested records.
fn city() -> Mmdb {
    let berlin = json!({
        "city": { "geoname_id": 2_950_159, "names": { "de": "Berlin", "en": "Berlin", "ja": "ベルリン" } },
        "continent": { "code": "EU", "names": { "en": "Europe" } },
        "country": { "iso_code": "DE", "is_in_european_union": true, "names": { "en": "Germany" } },
        "location": { "latitude": 52.5, "longitude": 13.4, "accuracy_radius": 20, "time_zone": "Europe/Berlin" },
        "registered_country": { "iso_code": "US" },
        "subdivisions": [
            { "iso_code": "BE", "names": { "en": "Land Berlin" } },
            { "iso_code": "XX", "names": { "en": "A district" } },
        ],
    });
    // DB-IP's free database has names of subdivisions, and no codes.
    let paris = json!({
        "city": { "names": { "en": "Paris" } },
        "country": { "iso_code": "FR" },
        "subdivisions": [{ "names": { "en": "Île-de-France" } }],
    });
    Mmdb::new("Test-City", 6)
        .network("203.0.113.0/25", &berlin)
        .network("203.0.113.128/25", &paris)
        .network("2001:db8:1::/48", &berlin)
}

fn networks() -> Mmdb {
    let about = |number: u32, name: &str| json!({ "autonomous_system_number": number, "autonomous_system_organization": name });
    Mmdb::new("Test-ASN", 6)
        .network("203.0.113.0/24", &about(64_500, "Example Net"))
        .network("2001:db8::/32", &about(64_501, "Example Six"))
}

#[test]
fn nested_records_are_read_in_both_versions() {
    let folder = Folder::new();
    let geo = open(&[&folder.put("city.mmdb", &city()), &folder.put("asn.mmdb", &networks())]);
    assert_eq!(line(&geo, "203.0.113.9"), "DE BE Berlin Example Net 64500");
    assert_eq!(line(&geo, "203.0.113.200"), "FR Île-de-France Paris Example Net 64500");
    assert_eq!(line(&geo, "2001:db8:1::7"), "DE BE Berlin Example Six 64501");
    assert_eq!(line(&geo, "2001:db8:2::7"), "- - - Example Six 64501", "only the network is known");
    assert_eq!(line(&geo, "::ffff:203.0.113.9"), "DE BE Berlin Example Net 64500", "version 4 inside 6");
    assert!(at(&geo, "198.51.100.1").is_empty() && at(&geo, "2001:db9::1").is_empty());
    assert!(at(&geo, "10.0.0.1").is_empty() && at(&geo, "127.0.0.1").is_empty());
}

#[test]
fn special_addresses_are_not_looked_up_even_if_a_database_knows_them() {
    let folder = Folder::new();
    let odd = json!({ "country_code": "DE" });
    let database = Mmdb::new("Test-Country", 6).network("10.0.0.0/8", &odd).network("fc00::/7", &odd);
    let geo = open(&[&folder.put("country.mmdb", &database)]);
    assert!(at(&geo, "10.1.2.3").is_empty() && at(&geo, "fd00::1").is_empty());
}

#[test]
fn a_database_for_version_4_knows_nothing_of_6() {
    let folder = Folder::new();
    let geo = open(&[&folder.put("country.mmdb", &country("DE"))]);
    assert_eq!(line(&geo, "203.0.113.9"), "DE - - - -");
    assert_eq!(line(&geo, "::ffff:203.0.113.9"), "DE - - - -");
    assert!(at(&geo, "2001:db8:1::7").is_empty());
}

/// What one record says.
fn says(record: &Value) -> String {
    let folder = Folder::new();
    let other = json!({ "country_code": "AT" });
    let database = Mmdb::new("Test", 4).network("203.0.113.0/24", record).network("198.51.100.0/24", &other);
    line(&open(&[&folder.put("test.mmdb", &database)]), "203.0.113.1")
}

#[test]
fn each_makers_names_are_known() {
    for (record, want) in [
        (json!({ "country_code": "us" }), "US - - - -"),
        (
            json!({ "country_code": "DE", "state1": "Hesse", "state2": "", "city": "Kassel", "latitude": 51.3 }),
            "DE Hesse Kassel - -",
        ),
        (json!({ "country": "JP", "region": "13", "city": "Tokyo" }), "JP 13 Tokyo - -"),
        (json!({ "as_number": 64_502, "as_name": "Flat Net" }), "- - - Flat Net 64502"),
        (json!({ "asn": "AS64503", "as_organization": "Text Net" }), "- - - Text Net 64503"),
        (
            json!({ "isp": "Access", "organization": "Shop", "autonomous_system_number": 64_504, "autonomous_system_organization": "Backbone" }),
            "- - - Access 64504",
        ),
        (
            json!({ "country": { "iso_code": "SE" }, "traits": { "autonomous_system_number": 64_505, "isp": "Inside", "user_type": "cellular" } }),
            "SE - - Inside 64505",
        ),
        (json!({ "autonomous_system_number": 0, "country_code": "DE" }), "DE - - - -"),
    ] {
        assert_eq!(says(&record), want, "{record}");
    }
}

#[test]
fn a_field_of_an_odd_form_costs_only_itself() {
    for (record, want) in [
        (json!({}), "- - - - -"),
        (json!("a text"), "- - - - -"),
        (json!([1, 2]), "- - - - -"),
        (json!(7), "- - - - -"),
        (json!({ "country": 7, "city": "Kassel" }), "- - Kassel - -"),
        (json!({ "country": true, "country_code": "DE" }), "DE - - - -"),
        (json!({ "country": "Germany", "asn": 64_500 }), "- - - - 64500"),
        (json!({ "country_code": "ZZ", "city": "" }), "- - - - -"),
        (json!({ "country": { "iso_code": ["DE"] }, "asn": 64_500 }), "- - - - 64500"),
        (json!({ "city": { "names": ["Kassel"] }, "country_code": "DE" }), "DE - - - -"),
        (json!({ "city": { "names": { "de": "Kassel" } }, "country_code": "DE" }), "DE - - - -"),
        (json!({ "subdivisions": [], "country_code": "DE" }), "DE - - - -"),
        (json!({ "subdivisions": { "iso_code": "HE" }, "country_code": "DE" }), "DE HE - - -"),
        (json!({ "subdivisions": [[["HE"], {}], 1.5], "country_code": "DE" }), "DE HE - - -"),
        (json!({ "asn": -1.5, "country_code": "DE" }), "DE - - - -"),
        (json!({ "asn": 5_000_000_000_u64, "country_code": "DE" }), "DE - - - -"),
        (json!({ "asn": { "number": 7 }, "as_name": { "en": "x" }, "country_code": "DE" }), "DE - - - -"),
        (json!({ "city": " Sankt\nPeterzell\u{0} ", "country_code": "DE" }), "DE - SanktPeterzell - -"),
    ] {
        assert_eq!(says(&record), want, "{record}");
    }
    let long = says(&json!({ "city": "é".repeat(200) }));
    assert_eq!(long, format!("- - {} - -", "é".repeat(50)), "at most 100 bytes, whole characters");
}

#[test]
fn the_first_database_counts_and_places_are_not_mixed() {
    let folder = Folder::new();
    let first = Mmdb::new("Test-Country", 4)
        .network("203.0.113.0/25", &json!({ "country_code": "DE" }))
        .network("198.51.100.0/24", &json!({ "country_code": "US" }));
    let second = city();
    let (first, second) = (folder.put("first.mmdb", &first), folder.put("second.mmdb", &second));
    let geo = open(&[&first, &second]);
    assert_eq!(line(&geo, "203.0.113.9"), "DE BE Berlin - -", "both say DE, so the city is in it");
    assert_eq!(line(&geo, "203.0.113.200"), "FR Île-de-France Paris - -", "only the second knows it");
    assert_eq!(line(&geo, "198.51.100.1"), "US - - - -");
    let other = Mmdb::new("Test-Country", 4)
        .network("203.0.113.0/24", &json!({ "country_code": "AT", "asn": 64_500 }));
    let geo = open(&[&folder.put("other.mmdb", &other), &second]);
    assert_eq!(line(&geo, "203.0.113.9"), "AT - - - 64500", "Berlin is not in Austria");
}

proptest! {
    /// A file that was torn or scribbled on is refused, or found whole enough to be used; nothing panics.
    #[test]
    fn damage_does_no_harm(
        at in any::<proptest::sample::Index>(),
        bytes in proptest::collection::vec(any::<u8>(), 0..6),
        end in any::<proptest::sample::Index>(),
        ips in proptest::collection::vec(any::<std::net::IpAddr>(), 1..20),
    ) {
        let folder = Folder::new();
        let mut file = city().bytes();
        let start = at.index(file.len());
        for (place, byte) in file[start..].iter_mut().zip(&bytes) {
            *place = *byte;
        }
        if bytes.len() % 2 == 0 {
            file.truncate(end.index(file.len()));
        }
        let path = folder.path("city.mmdb");
        std::fs::write(&path, &file).unwrap();
        let (geo, changes) = Geo::open(vec![path]);
        prop_assert_eq!(changes.len(), 1);
        for ip in ips {
            let _ = geo.look_up(ip);
        }
        for low in 0..=255 {
            let _ = geo.look_up([203, 0, 113, low].into());
        }
    }
}
