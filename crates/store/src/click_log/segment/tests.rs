//! A segment reads back as it was written, whoever asks.

use bytes::Bytes;
use parquet::errors::ParquetError;
use proptest::prelude::*;
use roundtrip_domain::click::{Click, Flags, LinkDialect, Touch, TouchKind};
use roundtrip_domain::click_id::ClickId;
use roundtrip_domain::id::{Id, WorkspaceNo};
use roundtrip_domain::location::{Country, Location};
use roundtrip_domain::time::Timestamp;

use super::{About, COLUMNS, GROUP_ROWS, Opened, PAGE_ROWS, Pages, encode, find, touch_at};

fn touch(n: u64, click: Click) -> Touch {
    Touch { id: ClickId::from_bits(u128::from(n) << 80 | 7 << 76 | u128::from(n) * 7_919), click }
}

fn click(query: &[u8]) -> Click {
    Click {
        workspace: WorkspaceNo(7),
        app: Id::from_bits(1 << 100),
        campaign: Id::from_bits(2),
        partner: Id::from_bits(3),
        link: Id::from_bits(u128::MAX),
        kind: TouchKind::Click,
        dialect: LinkDialect::default(),
        flags: Flags::default(),
        received_at: Timestamp::from_ms(1_790_000_000_123),
        query: query.to_vec(),
        ip: None,
        user_agent: None,
        referer: None,
        language: None,
        location: Location::default(),
    }
}

fn written(touches: &[Touch]) -> Bytes {
    let mut out = Vec::new();
    let about = About { node: 5, seq: 42, made_from: &[40, 41], replaces: &[40, 41] };
    let encoded =
        encode::<ParquetError>(&mut out, &about, touches.iter().cloned().map(Ok)).expect("it is written");
    assert_eq!(encoded.extent.clicks, touches.len() as u64);
    out.into()
}

fn all(file: &Bytes) -> Vec<Touch> {
    let opened = Opened::open(file).expect("it opens");
    let mut touches = Vec::new();
    for page in 0..opened.pages() {
        let batch = opened.read(file.clone(), page).expect("a page");
        assert!(batch.num_rows() <= PAGE_ROWS);
        touches.extend((0..batch.num_rows()).map(|row| touch_at(&batch, row).expect("a touch")));
    }
    touches
}

fn any_click() -> impl Strategy<Value = Click> {
    let text = || any::<Option<String>>().prop_map(|text| text.as_deref().and_then(Location::text));
    let query = prop_oneof![
        proptest::collection::vec(any::<u8>(), 0..200),
        "(click_id|sub1|gaid|x|clickid|af_sub1)=[a-c%20\u{1}]{0,9}(&(click_id|sub1|gaid|x)=[a-c]{0,6}){0,5}"
            .prop_map(String::into_bytes),
    ];
    let seen = any::<[Option<String>; 3]>();
    (
        query,
        any::<Option<std::net::IpAddr>>(),
        seen,
        text(),
        text(),
        any::<Option<u32>>(),
        any::<u32>(),
        1_u8..5,
        1_u8..23,
    )
        .prop_map(
            |(query, ip, [user_agent, referer, language], region, network, asn, flags, kind, dialect)| {
                Click {
                    kind: TouchKind::from_number(kind).expect("a kind"),
                    dialect: LinkDialect::from_number(dialect).expect("a dialect"),
                    flags: Flags(flags),
                    ip,
                    user_agent,
                    referer,
                    language,
                    location: Location { country: Country::parse("de"), region, city: None, asn, network },
                    ..click(&query)
                }
            },
        )
}

proptest! {
    #![proptest_config(proptest::test_runner::Config::with_cases(24))]

    #[test]
    fn every_click_reads_back(clicks in proptest::collection::vec(any_click(), 1..40)) {
        let touches: Vec<Touch> = clicks.into_iter().enumerate().map(|(n, click)| touch(n as u64, click)).collect();
        prop_assert_eq!(all(&written(&touches)), touches);
    }
}

#[test]
fn one_click_is_found_by_its_id_and_by_its_row() {
    let total = GROUP_ROWS + PAGE_ROWS + 5;
    let touches: Vec<Touch> = (0..total as u64)
        .map(|n| touch(n, click(format!("click_id=partner-{n}&sub1=site-{}", n % 40).as_bytes())))
        .collect();
    let file = written(&touches);
    assert_eq!(file, written(&touches), "the same touches make the same bytes");
    let opened = Opened::open(&file).expect("it opens");
    assert_eq!(opened.rows(), total as u64);
    assert_eq!(opened.about(), Some((5, 42, vec![40, 41])));
    assert_eq!(opened.pages(), GROUP_ROWS / PAGE_ROWS + 2);
    let cache = Pages::new(1 << 20);
    for n in [0, 1, PAGE_ROWS - 1, PAGE_ROWS, GROUP_ROWS - 1, GROUP_ROWS, total - 1] {
        let page = opened.page_of_id(touches[n].id).expect("a page");
        let batch = cache.get(1, page, || opened.read(file.clone(), page)).expect("it reads");
        assert_eq!(find(&batch, touches[n].id), Some(Some(touches[n].clone())), "row {n}");
        let (same, row) = opened.page_of_row(n as u64).expect("a page");
        assert_eq!((same, touch_at(&batch, row).as_ref()), (page, Some(&touches[n])));
        let again =
            cache.get(1, page, || Err::<_, ParquetError>(ParquetError::General("not kept".to_owned())));
        assert_eq!(again.expect("it is kept").num_rows(), batch.num_rows());
        let beside = ClickId::from_bits(touches[n].id.bits() + 1);
        let none = opened.page_of_id(beside).map(|page| opened.read(file.clone(), page).expect("it reads"));
        assert_eq!(none.and_then(|batch| find(&batch, beside)), None);
    }
    assert_eq!(opened.page_of_row(total as u64), None);
    assert!(cache.get(2, 0, || Err::<_, ParquetError>(ParquetError::General("other".to_owned()))).is_err());
    cache.forget(1);
    assert!(cache.get(1, 0, || Err::<_, ParquetError>(ParquetError::General("gone".to_owned()))).is_err());
}

#[test]
fn a_file_that_is_cut_or_changed_is_an_error_and_no_panic() {
    let touches: Vec<Touch> =
        (0..3_000).map(|n| touch(n, click(format!("click_id=p{n}").as_bytes()))).collect();
    let file = written(&touches);
    for len in [0, 7, 100, file.len() / 2, file.len() - 1] {
        assert!(Opened::open(&file.slice(..len)).is_err(), "{len} bytes");
    }
    for at in (0..file.len()).step_by(97) {
        let mut changed = file.to_vec();
        changed[at] ^= 0x55;
        let changed = Bytes::from(changed);
        // A checksum of the whole file tells; here only nothing may panic.
        if let Ok(opened) = Opened::open(&changed) {
            for page in 0..opened.pages() {
                if let Ok(batch) = opened.read(changed.clone(), page) {
                    let _ = (0..batch.num_rows()).map(|row| touch_at(&batch, row)).count();
                }
            }
        }
    }
}

#[test]
fn the_columns_are_documented() {
    let docs = include_str!("../../../../../docs/data-model.md");
    for column in COLUMNS {
        let null = if column.required { "" } else { " or null" };
        let line = format!("| `{}` | {}{null} | {} |", column.name, column.form.name(), column.means);
        assert!(docs.contains(&line), "docs/data-model.md lacks:\n{line}");
    }
}
