//! Files that come, change, break and vanish while they are in use.

use roundtrip_geo::{Change, Refused, What};

use super::*;

fn loaded(changes: &[Change]) -> bool {
    matches!(changes, [Change { what: What::Loaded(_), .. }])
}

fn kept(changes: &[Change]) -> &str {
    match changes {
        [Change { what: What::Kept(why), .. }] => why,
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_replaced_file_is_noticed_and_an_unchanged_one_is_left_alone() {
    let folder = Folder::new();
    let path = folder.put("country.mmdb", &country("DE"));
    let (geo, changes) = Geo::open(vec![path.clone()]);
    let [Change { what: What::Loaded(about), .. }] = &changes[..] else { panic!("{changes:?}") };
    assert_eq!((about.kind.as_str(), about.networks), ("Test-Country", 1));
    assert_eq!(about.built_at.to_string(), "2026-06-04T09:20:00.000Z");
    assert_eq!(about.bytes, country("DE").bytes().len() as u64);
    assert_eq!((geo.refresh(), geo.counts().loads), (vec![], 1), "it did not change");
    replace(&path, &country("FR").bytes());
    assert_eq!(line(&geo, "203.0.113.9"), "DE - - - -", "until somebody looks");
    assert!(loaded(&geo.refresh()));
    assert_eq!(line(&geo, "203.0.113.9"), "FR - - - -");
    // Written over, of the same size.
    std::fs::write(&path, country("AT").bytes()).unwrap();
    assert!(loaded(&geo.refresh()));
    assert_eq!((line(&geo, "203.0.113.9").as_str(), geo.counts().loads), ("AT - - - -", 3));
}

#[test]
fn a_torn_file_leaves_the_old_one_in_use_and_says_so_once() {
    let folder = Folder::new();
    let path = folder.put("country.mmdb", &country("DE"));
    let geo = open(&[&path]);
    let whole = country("FR").bytes();
    for torn in [&whole[..whole.len() / 2], &whole[..0], &whole[..whole.len() - 1]] {
        replace(&path, torn);
        let changes = geo.refresh();
        assert!(kept(&changes).starts_with("it is no whole MaxMind database: "), "{changes:?}");
        assert_eq!(line(&geo, "203.0.113.9"), "DE - - - -");
        let sentence = geo.standing()[0].sentence().unwrap();
        assert!(
            sentence.contains("country.mmdb: it is no whole") && sentence.ends_with("is used on"),
            "{sentence}"
        );
        // It is read some more times, in case it was being written, and then no more.
        let before = geo.counts().failures;
        for _ in 0..5 {
            assert_eq!(geo.refresh(), [], "what was said is not said again");
        }
        assert_eq!(geo.counts().failures, before + 2);
    }
    replace(&path, &whole);
    assert!(loaded(&geo.refresh()));
    assert_eq!((line(&geo, "203.0.113.9").as_str(), geo.standing()[0].sentence()), ("FR - - - -", None));
}

#[test]
fn holes_inside_a_file_are_found_before_it_is_used() {
    let folder = Folder::new();
    let path = folder.put("country.mmdb", &country("DE"));
    let geo = open(&[&path]);
    // The tree points to where the second network's record was; a pointer to nowhere stands there now.
    let mut bytes = country("FR").network("198.51.100.0/24", &json!({ "country_code": "AT" })).bytes();
    let at = bytes.windows(2).position(|pair| pair == b"AT").unwrap();
    bytes[at - 1] = 0x3f;
    bytes[at] = 0xff;
    bytes[at + 1] = 0xff;
    replace(&path, &bytes);
    let changes = geo.refresh();
    assert!(kept(&changes).starts_with("it is no whole MaxMind database: "), "{changes:?}");
    assert_eq!(line(&geo, "203.0.113.9"), "DE - - - -");
}

#[test]
fn a_file_that_vanishes_is_used_on_and_one_that_comes_is_taken() {
    let folder = Folder::new();
    let path = folder.path("country.mmdb");
    let (geo, changes) = Geo::open(vec![path.clone()]);
    assert!(matches!(&changes[..], [Change { what: What::Missing(_), .. }]), "{changes:?}");
    assert!(geo.is_wanted() && at(&geo, "203.0.113.9").is_empty());
    let sentence = geo.standing()[0].sentence().unwrap();
    assert!(sentence.ends_with("addresses are not looked up in it"), "{sentence}");
    folder.put("country.mmdb", &country("DE"));
    assert!(loaded(&geo.refresh()));
    std::fs::remove_file(&path).unwrap();
    assert!(kept(&geo.refresh()).starts_with("it cannot be read: "));
    assert_eq!(geo.refresh(), [], "said once");
    assert_eq!(line(&geo, "203.0.113.9"), "DE - - - -");
    folder.put("country.mmdb", &country("FR"));
    assert!(loaded(&geo.refresh()));
    assert_eq!(line(&geo, "203.0.113.9"), "FR - - - -");
}

#[test]
fn one_bad_file_does_not_hold_up_the_others() {
    let folder = Folder::new();
    let (bad, good) = (folder.path("bad.mmdb"), folder.put("good.mmdb", &country("DE")));
    std::fs::write(&bad, "this is a text").unwrap();
    let (geo, changes) = Geo::open(vec![bad, good]);
    assert_eq!(changes.len(), 2);
    assert_eq!(line(&geo, "203.0.113.9"), "DE - - - -");
    assert_eq!(geo.standing().iter().filter(|standing| standing.trouble.is_some()).count(), 1);
}

#[test]
fn what_is_no_database_of_places_is_refused_by_its_reason() {
    let folder = Folder::new();
    let useless = Mmdb::new("Test-Proxy", 4).network("203.0.113.0/24", &json!({ "is_proxy": true }));
    let large = folder.path("large.mmdb");
    std::fs::File::create(&large).unwrap().set_len(roundtrip_geo::BYTES_MAX + 1).unwrap();
    let paths = vec![folder.put("useless.mmdb", &useless), folder.0.path().to_owned(), large];
    let (geo, _) = Geo::open(paths);
    let troubles: Vec<String> = geo.standing().into_iter().filter_map(|standing| standing.trouble).collect();
    let want = [
        Refused::Useless("Test-Proxy".to_owned()),
        Refused::NoFile,
        Refused::TooLarge(roundtrip_geo::BYTES_MAX + 1),
    ];
    assert_eq!(troubles, want.map(|refused| refused.to_string()));
}
