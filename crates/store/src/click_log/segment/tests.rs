//! A segment reads back as it was written, whoever asks.

use bytes::Bytes;
use parquet::errors::ParquetError;
use parquet::file::metadata::{PageIndexPolicy, ParquetMetaDataReader};
use proptest::prelude::*;
use roundtrip_domain::click::{Click, Flags, LinkDialect, Touch, TouchKind};
use roundtrip_domain::click_id::ClickId;
use roundtrip_domain::id::{Id, WorkspaceNo};
use roundtrip_domain::location::{Country, Location};
use roundtrip_domain::time::Timestamp;

use super::super::index::Extent;
use super::lookup::{Failed, Footer};
use super::{
    About, COLUMNS, Cache, GROUP_ROWS, Opened, PAGE_ROWS, PAGE_ROWS_MAX, STRETCH_ROWS, Sealed, SegmentName,
    Source, Stream, encode, touch_at,
};

/// As many cases as `PROPTEST_CASES` says; a few where it says nothing.
fn cases() -> ProptestConfig {
    let usual = ProptestConfig::default();
    if std::env::var_os("PROPTEST_CASES").is_some() { usual } else { ProptestConfig { cases: 24, ..usual } }
}

fn touch(n: u64, click: Click) -> Touch {
    Touch { id: ClickId::from_bits(u128::from(n) << 80 | 7 << 76 | (u128::from(n) * 7_919)), click }
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

/// So many touches, each with a partner click id of its own.
fn partners(n: usize) -> Vec<Touch> {
    let query = |n: u64| format!("click_id=partner-{n}&sub1=site-{}", n % 40);
    (0..n as u64).map(|n| touch(n, click(query(n).as_bytes()))).collect()
}

fn written(touches: &[Touch]) -> Bytes {
    let mut out = Vec::new();
    let about = About { node: 5, seq: 42, made_from: &[40, 41], replaces: &[40, 41], slices: &[] };
    let encoded =
        encode::<ParquetError>(&mut out, &about, touches.iter().cloned().map(Ok)).expect("it is written");
    assert_eq!(encoded.extent.clicks, touches.len() as u64);
    out.into()
}

fn all(file: &Bytes) -> Vec<Touch> {
    let opened = Opened::open(file).expect("it opens");
    let mut touches = Vec::new();
    let mut stream = None;
    for at in 0..opened.stretches() {
        let batch = opened.read(file.clone(), at, &mut stream).expect("a stretch");
        assert!(batch.num_rows() <= STRETCH_ROWS);
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
    #![proptest_config(cases())]

    #[test]
    fn every_click_reads_back(clicks in proptest::collection::vec(any_click(), 1..40)) {
        let touches: Vec<Touch> = clicks.into_iter().enumerate().map(|(n, click)| touch(n as u64, click)).collect();
        prop_assert_eq!(all(&written(&touches)), touches);
    }
}

fn sealed(seq: u64) -> Sealed {
    Sealed { name: SegmentName::new(5, seq, 0), extent: Extent::EMPTY, bytes: 0, checksum: 0 }
}

/// Looks up from bytes in memory.
struct Looking<'a> {
    cache: &'a Cache,
    seq: u64,
    file: Bytes,
}

impl Looking<'_> {
    fn find(&self, id: ClickId) -> Result<Option<Touch>, Failed> {
        self.cache.find(&sealed(self.seq), id, || Ok(Source::Memory(self.file.clone())))
    }

    fn touch_at(&self, row: u32) -> Result<Option<Touch>, Failed> {
        self.cache.touch_at(&sealed(self.seq), row, || Ok(Source::Memory(self.file.clone())))
    }
}

proptest! {
    #![proptest_config(cases())]

    #[test]
    fn a_look_up_finds_what_a_list_holds(
        clicks in proptest::collection::vec(any_click(), 1..40),
        bytes_max in prop_oneof![Just(0_usize), Just(4_000), Just(1 << 20)],
        others in proptest::collection::vec(any::<u128>(), 4),
    ) {
        let touches: Vec<Touch> = clicks.into_iter().enumerate().map(|(n, click)| touch(n as u64, click)).collect();
        let cache = Cache::new(bytes_max, 2);
        let looking = Looking { cache: &cache, seq: 1, file: written(&touches) };
        for (n, touch) in touches.iter().enumerate() {
            prop_assert_eq!(&looking.find(touch.id).expect("it reads"), &Some(touch.clone()));
            prop_assert_eq!(&looking.touch_at(n as u32).expect("it reads"), &Some(touch.clone()));
        }
        prop_assert_eq!(looking.touch_at(touches.len() as u32).expect("it reads"), None);
        for other in others {
            let id = ClickId::from_bits(other);
            let there = touches.iter().any(|touch| touch.id == id);
            prop_assert_eq!(looking.find(id).expect("it reads").is_some(), there);
        }
        prop_assert!(cache.bytes() <= bytes_max);
    }
}

#[test]
fn one_click_is_found_by_its_id_and_by_its_row() {
    let total = GROUP_ROWS + STRETCH_ROWS + 5;
    let touches = partners(total);
    let file = written(&touches);
    assert_eq!(file, written(&touches), "the same touches make the same bytes");
    let opened = Opened::open(&file).expect("it opens");
    assert_eq!(opened.stretches(), GROUP_ROWS / STRETCH_ROWS + 2);
    let cache = Cache::new(1 << 20, 8);
    let looking = Looking { cache: &cache, seq: 1, file };
    for n in [0, 1, PAGE_ROWS - 1, PAGE_ROWS, GROUP_ROWS - 1, GROUP_ROWS, total - 1] {
        assert_eq!(looking.find(touches[n].id).expect("it reads"), Some(touches[n].clone()), "row {n}");
        assert_eq!(looking.touch_at(n as u32).expect("it reads"), Some(touches[n].clone()), "row {n}");
        let beside = ClickId::from_bits(touches[n].id.bits() + 1);
        assert_eq!(looking.find(beside).expect("it reads"), None);
    }
    for id in [touches[0].id.bits() - 1, touches[total - 1].id.bits() + 1, 0, u128::MAX] {
        assert_eq!(looking.find(ClickId::from_bits(id)).expect("it reads"), None);
    }
    for row in [total as u32, u32::MAX] {
        assert_eq!(looking.touch_at(row).expect("it reads"), None);
    }
}

#[test]
fn stretches_are_read_in_any_order_and_one_that_is_damaged_alone_is_missing() {
    let total = GROUP_ROWS + STRETCH_ROWS + 5;
    let touches = partners(total);
    let file = written(&touches);
    let opened = Opened::open(&file).expect("it opens");
    let rows = |file: &Bytes, at: usize, stream: &mut Option<Stream>| -> Option<Vec<Touch>> {
        let batch = opened.read(file.clone(), at, stream).ok()?;
        (0..batch.num_rows()).map(|row| touch_at(&batch, row)).collect()
    };
    let wanted: Vec<Vec<Touch>> =
        touches.chunks(GROUP_ROWS).flat_map(|group| group.chunks(STRETCH_ROWS)).map(<[_]>::to_vec).collect();
    let last = wanted.len() - 1;
    let mut stream = None;
    for at in [0, 1, 2, 5, 4, 5, 6, 7, 8, last, 0, last - 1, last] {
        assert_eq!(rows(&file, at, &mut stream).as_ref(), Some(&wanted[at]), "stretch {at}");
    }
    assert!(opened.read(file.clone(), last + 1, &mut stream).is_err());

    // The partner's click ids of a page in the third stretch.
    let reader = ParquetMetaDataReader::new().with_page_index_policy(PageIndexPolicy::Required);
    let metadata = reader.parse_and_finish(&file).expect("a footer");
    let column = COLUMNS.iter().position(|column| column.name == "partner_click_id").expect("a column");
    let pages = metadata.page_index().and_then(|index| index.offset_index(0, column)).expect("an index");
    let page = &pages.page_locations()[2 * STRETCH_ROWS / PAGE_ROWS + 1];
    let mut changed = file.to_vec();
    let end = page.offset as usize + page.compressed_page_size as usize;
    changed[end - 100..end].fill(0x55);
    let (changed, mut stream) = (Bytes::from(changed), None);
    let read: Vec<_> = (0..=last).map(|at| rows(&changed, at, &mut stream)).collect();
    let same = read.iter().zip(&wanted).filter(|(read, wanted)| read.as_ref() == Some(wanted)).count();
    assert_eq!(same, last, "one is another, and the others are as they were");
    assert_ne!(read[2].as_ref(), Some(&wanted[2]));
}

#[test]
fn what_was_looked_up_is_kept_within_a_bound() {
    let touches = partners(PAGE_ROWS * 6);
    let file = written(&touches);
    let bound = 300_000;
    let cache = Cache::new(bound, 3);
    let mut most = 0;
    for seq in 0..6 {
        for touch in touches.iter().step_by(501) {
            let looking = Looking { cache: &cache, seq, file: file.clone() };
            assert!(looking.find(touch.id).expect("it reads").is_some());
            assert!(cache.bytes() <= bound, "{} bytes", cache.bytes());
            most = most.max(cache.bytes());
        }
    }
    assert!(most > bound / 2, "nothing much was kept: {most} bytes");
    // What is kept is not opened or read again.
    let gone = || Err(std::io::Error::from(std::io::ErrorKind::NotFound));
    let again = |seq| cache.find(&sealed(seq), touches[0].id, gone);
    assert!(again(5).expect("it is kept").is_some());
    assert!(matches!(again(0), Err(Failed::Open(_))), "a file of many that are open was closed");
    cache.forget(5);
    assert!(matches!(again(5), Err(Failed::Open(_))));
    for seq in 0..6 {
        cache.forget(seq);
    }
    assert_eq!(cache.bytes(), 0);
}

#[test]
fn a_file_that_is_forgotten_while_it_is_opened_is_not_kept() {
    let touches: Vec<Touch> = (0..3).map(|n| touch(n, click(b"click_id=p"))).collect();
    let cache = Cache::new(1 << 20, 8);
    let bytes = written(&touches);
    let open = || {
        cache.forget(1);
        Ok(Source::Memory(bytes.clone()))
    };
    assert!(cache.find(&sealed(1), touches[0].id, open).expect("it is read all the same").is_some());
    let gone = || Err(std::io::Error::from(std::io::ErrorKind::NotFound));
    assert!(matches!(cache.find(&sealed(1), touches[0].id, gone), Err(Failed::Open(_))));
    let open = || Ok(Source::Memory(bytes.clone()));
    assert!(cache.find(&sealed(1), touches[0].id, open).expect("it reads").is_some());
    assert!(cache.find(&sealed(1), touches[0].id, gone).expect("it is kept").is_some());
}

/// It is deleted while a look-up has its footer in hand.
#[test]
fn pages_of_a_file_that_is_forgotten_meanwhile_are_not_kept() {
    let touches: Vec<Touch> =
        (0..200).map(|n| touch(n, click(format!("sub1=site-{}", n % 9).as_bytes()))).collect();
    let cache = Cache::new(1 << 20, 8);
    let bytes = written(&touches);
    let pages = cache.pages(&sealed(1), || Ok(Source::Memory(bytes.clone()))).expect("it opens");
    cache.forget(1);
    let page = pages.holding(0).expect("a page");
    assert_eq!(pages.received(&cache, &page).expect("it reads").len(), 200);
    assert_eq!(cache.bytes(), 0, "a page of a file that is gone");
    let pages = cache.pages(&sealed(1), || Ok(Source::Memory(bytes))).expect("it opens");
    let footer = cache.bytes();
    pages.received(&cache, &page).expect("it reads");
    assert!(cache.bytes() > footer, "beside its footer it is kept");
}

/// The library would make room for them before it reads one.
#[test]
fn a_dictionary_that_says_more_values_than_it_has_bytes_for_is_refused() {
    use parquet::file::metadata::ParquetMetaDataReader;
    let touches: Vec<Touch> =
        (0..300).map(|n| touch(n, click(format!("sub1=site-{}", n % 90).as_bytes()))).collect();
    let file = written(&touches);
    let metadata = ParquetMetaDataReader::new().parse_and_finish(&file).expect("a footer");
    let column = COLUMNS.iter().position(|column| column.name == "sub1").expect("the column");
    let start = metadata.row_group(0).column(column).byte_range().0 as usize;
    // Thrift: the field of the dictionary, in it the number of values, 90, as a varint of two bytes.
    let header = [0x4c, 0x15, 0xb4, 0x01];
    let at = file[start..].windows(4).position(|bytes| bytes == header).expect("a header") + start + 2;
    assert!(at < start + 40, "it is another column's");
    let mut changed = file.to_vec();
    changed[at..at + 2].copy_from_slice(&[0xfe, 0x7f]);
    let cache = Cache::new(1 << 20, 8);
    let looking = Looking { cache: &cache, seq: 1, file: changed.into() };
    let Err(Failed::Parquet(error)) = looking.find(touches[7].id) else { panic!("it is refused") };
    assert!(error.to_string().contains("more values than it has bytes for"), "{error}");
}

/// Whatever byte of a footer or of an index is changed, reading it is an answer or an error.
#[test]
fn a_changed_footer_is_an_error_and_no_panic() {
    let touches: Vec<Touch> =
        (0..1_100).map(|n| touch(n, click(format!("click_id=p{n}").as_bytes()))).collect();
    let file = written(&touches);
    // The end of a file says how long its footer is; the indices lie before it.
    let tail = file.len() - 8;
    let length = file[tail..tail + 4].iter().rev().fold(0, |n, byte| n << 8 | usize::from(*byte));
    let from = tail.saturating_sub(length + 3_000);
    for (at, with) in (from..file.len()).flat_map(|at| [(at, 0x55), (at, 0xff)]).step_by(5) {
        let mut changed = file.to_vec();
        changed[at] ^= with;
        let _ = Footer::read(&Source::Memory(changed.into()));
    }
    // No single byte is known that makes today's parser panic; a look-up does not depend on that.
    let error = Footer::read(&Source::Panics).map(drop).expect_err("an error");
    assert!(error.to_string().contains("makes no sense"), "{error}");
    let cache = Cache::new(1 << 20, 8);
    let found = cache.find(&sealed(1), touches[0].id, || Ok(Source::Panics));
    assert!(matches!(found, Err(Failed::Parquet(_))), "{found:?}");
}

/// A page of so many rows is nothing that we write: whoever reads it would make room for what a changed byte says.
#[test]
fn a_page_of_too_many_rows_is_refused() {
    use arrow_array::{ArrayRef, FixedSizeBinaryArray, RecordBatch, TimestampMillisecondArray};
    use parquet::file::properties::WriterProperties;
    let file = |rows: usize| -> Bytes {
        let ids: Vec<[u8; 16]> = (0..rows as u128).map(u128::to_be_bytes).collect();
        let ids = FixedSizeBinaryArray::try_from_iter(ids.iter()).expect("ids");
        let moments = TimestampMillisecondArray::from_iter_values(0..rows as i64);
        let columns: [(&str, ArrayRef); 2] =
            [("click_id", std::sync::Arc::new(ids)), ("received_at", std::sync::Arc::new(moments))];
        let batch = RecordBatch::try_from_iter(columns).expect("a batch");
        let properties = WriterProperties::builder()
            .set_data_page_row_count_limit(1 << 20)
            .set_write_batch_size(1 << 20)
            .set_data_page_size_limit(64 << 20)
            .set_dictionary_enabled(false)
            .build();
        let mut out = Vec::new();
        let mut writer = parquet::arrow::ArrowWriter::try_new(&mut out, batch.schema(), Some(properties))
            .expect("a writer");
        writer.write(&batch).expect("it is written");
        writer.close().expect("it is closed");
        out.into()
    };
    assert!(Footer::read(&Source::Memory(file(PAGE_ROWS_MAX))).is_ok());
    let error = Footer::read(&Source::Memory(file(PAGE_ROWS_MAX + 1))).map(drop).expect_err("it is refused");
    assert!(error.to_string().contains("too many rows"), "{error}");
}

#[test]
fn a_file_that_is_cut_or_changed_is_an_error_and_no_panic() {
    let touches: Vec<Touch> =
        (0..3_000).map(|n| touch(n, click(format!("click_id=p{n}").as_bytes()))).collect();
    let file = written(&touches);
    for len in [0, 7, 100, file.len() / 2, file.len() - 1] {
        assert!(Opened::open(&file.slice(..len)).is_err(), "{len} bytes");
    }
    for at in (0..file.len()).step_by(131) {
        let mut changed = file.to_vec();
        changed[at] ^= 0x55;
        let changed = Bytes::from(changed);
        // A checksum of the whole file tells; here only nothing may panic.
        if let Ok(opened) = Opened::open(&changed) {
            let mut stream = None;
            for at in 0..opened.stretches() {
                if let Ok(batch) = opened.read(changed.clone(), at, &mut stream) {
                    (0..batch.num_rows()).for_each(|row| drop(touch_at(&batch, row)));
                }
            }
        }
        let cache = Cache::new(1 << 20, 8);
        let looking = Looking { cache: &cache, seq: 1, file: changed };
        for n in (0..touches.len()).step_by(PAGE_ROWS / 2) {
            let found = looking.find(touches[n].id);
            assert!(
                found.is_err() || found.is_ok_and(|t| t.is_none_or(|t| t.id == touches[n].id)),
                "byte {at}"
            );
            let _ = looking.touch_at(n as u32);
        }
    }
}

#[test]
fn spark_is_told_of_every_column() {
    let file = Source::Memory(written(&[touch(1, click(b""))]));
    let opened = Opened::open(&file).expect("it opens");
    let said = opened.said("org.apache.spark.sql.parquet.row.metadata").expect("it is there");
    let said: serde_json::Value = serde_json::from_str(said).expect("it is JSON");
    let fields = said["fields"].as_array().expect("fields");
    assert_eq!((said["type"].as_str(), fields.len()), (Some("struct"), COLUMNS.len()));
    for (field, column) in fields.iter().zip(COLUMNS) {
        assert_eq!((&field["name"], &field["nullable"]), (&column.name.into(), &(!column.required).into()));
    }
    let of =
        |name: &str| fields.iter().find(|field| field["name"] == name).map(|field| field["type"].clone());
    let wanted =
        [("click_id", "binary"), ("received_at", "timestamp"), ("workspace", "long"), ("sub1", "string")];
    for (name, form) in wanted {
        assert_eq!(of(name), Some(form.into()), "{name}");
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
